//! Random histories of one repository, compared step by step with plain maps of bytes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use repository::check::{self, ReadData};
use repository::prune;
use repository::{Clock as _, FileKind, Id, Repository, forget, heal};

use crate::support::*;

type Files = BTreeMap<String, Vec<u8>>;

struct Model {
    world: World,
    repository: Arc<Repository>,
    folder: tempfile::TempDir,
    random: Random,
    files: Files,
    snapshots: Vec<(Id, Files)>,
    history: Vec<String>,
}

const NAMES: [&str; 9] = ["a", "b.db", "c", "dir/a", "dir/b", "dir/deeper/a", "dir.x", "e", "zeros"];

impl Model {
    fn new(seed: u64) -> Self {
        let world = World::new();
        let repository = world.open();
        let folder = tempfile::tempdir().unwrap();
        let (files, snapshots, history) = Default::default();
        Self { world, repository, folder, random: Random(seed), files, snapshots, history }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn some_bytes(&mut self) -> Vec<u8> {
        let length = match self.random.below(4) {
            0 => self.random.below(100),
            1 => CHUNK_MIN + self.random.below(3),
            _ => self.random.below(3 * CHUNK_AVERAGE),
        };
        match self.random.below(4) {
            0 => vec![0; length],
            // A few seeds, so that different files share content.
            1 => noise(length, self.random.below(3) as u64),
            _ => self.random.noise(length),
        }
    }

    fn write(&mut self, name: &str, bytes: Vec<u8>) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        self.files.insert(name.to_owned(), bytes);
    }

    /// One random change of the folder.
    fn change(&mut self) {
        let name = NAMES[self.random.below(NAMES.len())];
        let known = self.files.contains_key(name);
        match self.random.below(5) {
            0 if known => {
                std::fs::remove_file(self.path(name)).unwrap();
                self.files.remove(name);
            }
            1 | 2 if known => {
                let mut bytes = self.files[name].clone();
                let tail = self.some_bytes();
                bytes.extend_from_slice(&tail);
                bytes.truncate(8 * CHUNK_AVERAGE);
                self.write(name, bytes);
            }
            3 if known && !self.files[name].is_empty() => {
                let mut bytes = self.files[name].clone();
                let at = self.random.below(bytes.len());
                bytes[at] ^= 0x55;
                self.write(name, bytes);
            }
            _ => {
                let bytes = self.some_bytes();
                self.write(name, bytes);
            }
        }
    }

    fn back_up(&mut self) {
        let_file_times_move_on();
        let append_only = self.random.below(4) == 0 && self.history.iter().all(|step| step != "change");
        let capture = FolderCapture::of(self.folder.path());
        let capture = if append_only { capture.append_only() } else { capture };
        let backup = back_up(&self.world.cx(), &self.repository, capture).unwrap();
        assert_eq!(backup.problems, []);
        self.snapshots.push((backup.id, self.files.clone()));
        let_file_times_move_on();
        self.world.clock.advance(Duration::from_secs(60));
    }

    fn forget(&mut self) {
        if self.snapshots.len() < 2 {
            return;
        }
        let (id, _) = self.snapshots.remove(self.random.below(self.snapshots.len()));
        forget::forget(&self.world.cx(), &self.repository, &[id], forget::Why::Named).unwrap();
    }

    fn prune(&mut self, grace: Duration) {
        let options = prune::Options { grace, unused_percent_max: [0, 5, 50][self.random.below(3)] };
        let (plan, pruned) = prune::prune(&self.world.cx(), &self.repository, options).unwrap();
        if grace.is_zero() {
            assert_eq!(pruned.packs_condemned, 0, "{plan:?}");
        }
        self.check();
        for at in 0..self.snapshots.len() {
            self.restore(at);
        }
    }

    fn restore(&self, at: usize) {
        let (id, files) = &self.snapshots[at];
        let restored = contents(&self.world.cx(), &self.repository, *id).unwrap();
        assert_eq!(restored.problems, []);
        assert!(restored.files.keys().eq(files.keys()), "{:?}", restored.files.keys());
        for (name, bytes) in files {
            assert!(restored.files[name] == *bytes, "{name} of snapshot {at}");
        }
    }

    fn check(&self) {
        let report = check::check(&self.world.cx(), &self.repository, ReadData::All).unwrap();
        assert_eq!((&report.findings, &report.affected), (&vec![], &vec![]));
        assert_eq!(report.snapshots, self.snapshots.len());
        assert_eq!(self.world.files(FileKind::Lock), []);
    }

    /// Damages or removes an index file and mends the index, which must then be as good as before.
    fn heal(&mut self) {
        let files = self.world.files(FileKind::Index);
        let Some(file) = self.random.pick(&files).copied() else { return };
        if self.random.below(2) == 0 {
            assert!(self.world.memory.remove(file));
        } else {
            assert!(self.world.memory.flip(file, 40));
        }
        let healed = heal::index(&self.world.cx(), &self.repository, false).unwrap();
        assert_eq!((healed.packs_missing, healed.packs_unreadable), (vec![], vec![]));
        self.check();
    }

    fn step(&mut self) {
        let roll = self.random.below(100);
        let step = match roll {
            0..45 => "change",
            45..70 => "back up",
            70..80 => "forget",
            80..85 => "prune at once",
            85..91 => "prune with grace",
            91..95 => "restore",
            95..98 => "heal",
            _ => "a day goes by",
        };
        self.history.push(step.to_owned());
        match step {
            "change" => self.change(),
            "back up" => self.back_up(),
            "forget" => self.forget(),
            "prune at once" => self.prune(Duration::ZERO),
            "prune with grace" => self.prune(Duration::from_secs(24 * 3600)),
            "restore" if !self.snapshots.is_empty() => {
                let at = self.random.below(self.snapshots.len());
                self.restore(at);
            }
            "heal" => self.heal(),
            "a day goes by" => self.world.clock.advance(Duration::from_secs(25 * 3600)),
            _ => {}
        }
    }
}

/// Says which seed and steps led to a failure.
struct Story<'a>(u64, &'a mut Model);

impl Drop for Story<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("seed {}: {:?} at {}", self.0, self.1.history, self.1.world.clock.now());
        }
    }
}

fn run(seed: u64, steps: usize) {
    let mut model = Model::new(seed);
    let story = Story(seed, &mut model);
    for _ in 0..steps {
        story.1.step();
    }
    story.1.prune(Duration::ZERO);
    // Nothing but what is needed is left: the packs of a repository without snapshots are none.
    let ids: Vec<_> = story.1.snapshots.drain(..).map(|(id, _)| id).collect();
    forget::forget(&story.1.world.cx(), &story.1.repository, &ids, forget::Why::Named).unwrap();
    story.1.prune(Duration::ZERO);
    for kind in [FileKind::Pack, FileKind::Index, FileKind::Condemned, FileKind::Snapshot] {
        assert_eq!(story.1.world.files(kind), []);
    }
}

#[test]
fn a_random_history_keeps_every_snapshot_1() {
    run(1, 150);
}

#[test]
fn a_random_history_keeps_every_snapshot_2() {
    run(2, 150);
}

#[test]
fn a_random_history_keeps_every_snapshot_3() {
    run(3, 150);
}
