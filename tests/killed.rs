//! Kills `lifeboat` at random moments, hundreds of times. Whatever it was doing: the repository is valid at once, what was
//! backed up before restores identically, and the next backup runs without anybody's help.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::{Dice, Site, can, program};
use crate::tree::{self, Tree};

/// Kills of backup, forget and prune by each of the two tests, which share the machine's cores.
const KILLS: usize = 105;
/// Files that the data begins with.
const FILES: u64 = 24;
const FILE_BYTES: usize = 300_000;
/// Snapshots kept at a full cleaning.
const SNAPSHOTS_KEPT: usize = 4;

#[test]
fn killed_anywhere_it_loses_nothing() {
    if can(program("restic")) {
        Trial::new(20_260_101).run();
    }
}

#[test]
fn killed_anywhere_it_loses_nothing_with_another_seed() {
    if can(program("restic")) {
        Trial::new(20_260_102).run();
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Backup,
    Forget,
    Prune,
    PruneAtOnce,
    Heal,
}

struct Trial {
    seed: u64,
    dice: Dice,
    site: Site,
    /// What each snapshot holds.
    taken: BTreeMap<String, Tree>,
    /// How long each deed takes when nobody kills it.
    durations: BTreeMap<Deed, Duration>,
    kills: BTreeMap<Deed, usize>,
    /// What the kills left behind.
    locks_left: usize,
    packs_left: usize,
    temporary_left: usize,
}

/// Removes these, also the newest; where there is none, what the rules say.
fn forget(gone: impl Iterator<Item = String>) -> Vec<String> {
    let mut arguments: Vec<String> = ["forget", "--force"].map(str::to_owned).into_iter().chain(gone).collect();
    if arguments.len() == 2 {
        arguments.pop();
    }
    arguments
}

impl Trial {
    fn new(seed: u64) -> Self {
        eprintln!("the seed is {seed}");
        let (site, mut dice) = (Site::initialised(), Dice::new(seed));
        for number in 0..FILES {
            let content = if number % 3 == 0 { dice.text(FILE_BYTES) } else { dice.bytes(FILE_BYTES) };
            std::fs::write(site.data().join(format!("file {number}")), content).unwrap();
        }
        Self {
            seed,
            dice,
            site,
            taken: BTreeMap::new(),
            durations: BTreeMap::new(),
            kills: BTreeMap::new(),
            locks_left: 0,
            packs_left: 0,
            temporary_left: 0,
        }
    }

    fn run(mut self) {
        self.measure();
        let mut rounds = 0;
        while self.kills.iter().filter(|(deed, _)| **deed != Deed::Heal).map(|(_, kills)| kills).sum::<usize>() < KILLS
        {
            rounds += 1;
            assert!(rounds < 4 * KILLS, "the deeds end before they are killed: {:?}", self.kills);
            self.change();
            let deed = match self.dice.below(20) {
                0..=8 => Deed::Backup,
                9..=11 => Deed::Forget,
                12..=14 => Deed::Prune,
                15..=17 => Deed::PruneAtOnce,
                _ => Deed::Heal,
            };
            self.kill(deed);
            self.repository_is_valid(deed);
            self.an_earlier_snapshot_restores(deed);
            self.next_backup_runs();
            if rounds % 12 == 0 {
                self.clean();
            }
        }
        self.everything_ends_well();
    }

    /// Runs each deed once to its end, so that it is known how long it takes.
    fn measure(&mut self) {
        for _ in 0..3 {
            self.change();
            self.next_backup_runs();
        }
        for deed in [Deed::Backup, Deed::Forget, Deed::Prune, Deed::PruneAtOnce, Deed::Heal] {
            self.change();
            let begun = Instant::now();
            let mut command = self.prepare(deed);
            assert!(command.status().unwrap().success(), "{deed:?}");
            self.durations.insert(deed, begun.elapsed());
            self.note_snapshots();
        }
    }

    /// Changes the data: one file grows, one changes inside, one comes, one goes.
    fn change(&mut self) {
        let data = self.site.data();
        let mut names: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        let mut any = |dice: &mut Dice| names.swap_remove(usize::try_from(dice.below(names.len() as u64)).unwrap());
        let (grown, changed, gone) = (any(&mut self.dice), any(&mut self.dice), any(&mut self.dice));
        let mut content = std::fs::read(&grown).unwrap();
        content.extend(self.dice.bytes(50_000));
        content.truncate(FILE_BYTES * 2);
        std::fs::write(grown, content).unwrap();
        let mut content = std::fs::read(&changed).unwrap();
        let middle = content.len() / 2;
        content.splice(middle..middle + 1000, self.dice.bytes(2000));
        std::fs::write(changed, content).unwrap();
        std::fs::remove_file(gone).unwrap();
        std::fs::write(data.join(format!("file {}", self.dice.next())), self.dice.bytes(FILE_BYTES)).unwrap();
    }

    fn prepare(&mut self, deed: Deed) -> std::process::Command {
        let arguments = match deed {
            Deed::Backup => vec!["backup".to_owned()],
            Deed::Forget => {
                // All but two, so that the removal takes its time; two are left to restore.
                let gone = self.snapshots().into_iter().skip(2);
                forget(gone)
            }
            Deed::Prune => ["prune", "--max-unused", "0"].map(str::to_owned).to_vec(),
            Deed::PruneAtOnce => ["prune", "--max-unused", "0", "--grace", "0s"].map(str::to_owned).to_vec(),
            Deed::Heal => {
                let mut files = self.site.stored("index");
                let lost = files.swap_remove(usize::try_from(self.dice.below(files.len() as u64)).unwrap());
                std::fs::remove_file(lost).unwrap();
                vec!["heal".to_owned()]
            }
        };
        let mut command = self.site.lifeboat_command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Starts the deed and kills it at a random moment of the time it takes.
    fn kill(&mut self, deed: Deed) {
        let whole = self.durations[&deed].as_micros() as u64;
        let delay = Duration::from_micros(self.dice.below(whole + whole / 10));
        let mut command = self.prepare(deed);
        let begun = Instant::now();
        let mut child = command.spawn().unwrap();
        let mut ended = None;
        while ended.is_none() && begun.elapsed() < delay {
            std::thread::sleep(Duration::from_micros(500).min(delay.saturating_sub(begun.elapsed())));
            ended = child.try_wait().unwrap();
        }
        child.kill().unwrap();
        let status = child.wait().unwrap();
        if status.signal() == Some(9) {
            *self.kills.entry(deed).or_default() += 1;
            // Whoever is killed does not say how long it would have taken. Reaching further and further finds out, so
            // that kills do not gather at the beginning on a machine whose speed varies.
            self.durations.insert(deed, self.durations[&deed] * 6 / 5);
        } else {
            assert!(status.success(), "{deed:?} failed: {status}; seed {}", self.seed);
            self.durations.insert(deed, begun.elapsed());
        }
        self.locks_left += self.site.stored("locks").len();
        self.temporary_left += self.site.temporary().len();
        if deed == Deed::Heal {
            // The index is not whole before a heal ran to its end. That one needs no help either.
            self.site.lifeboat(["heal"]).ok();
        }
        self.note_snapshots();
    }

    /// Ids of the snapshots, in no particular order.
    fn snapshots(&self) -> Vec<String> {
        let names = self.site.stored("snapshots").into_iter();
        names
            .map(|file| file.file_name().unwrap().to_str().unwrap().to_owned())
            .filter(|name| name.len() == 64)
            .collect()
    }

    /// A snapshot that is new holds the data of now; what was forgotten is no longer expected.
    fn note_snapshots(&mut self) {
        let there = self.snapshots();
        self.taken.retain(|snapshot, _| there.contains(snapshot));
        for snapshot in there {
            self.taken.entry(snapshot).or_insert_with(|| tree::read(&self.site.data()));
        }
    }

    fn repository_is_valid(&mut self, deed: Deed) {
        // A lock that the kill left would hold restic off; that it goes by itself is what the next backup shows.
        let checked = self.site.restic(["check", "--no-lock"]);
        assert!(checked.status.success(), "after a kill of {deed:?}, seed {}: {checked}", self.seed);
        // restic's words for packs that no index names.
        self.packs_left += usize::from(checked.text().contains("additional files were found"));
    }

    fn an_earlier_snapshot_restores(&mut self, deed: Deed) {
        let number = usize::try_from(self.dice.below(self.taken.len() as u64)).unwrap();
        let (snapshot, expected) = self.taken.iter().nth(number).unwrap();
        let target = self.site.restore(snapshot, "out");
        let when = format!("snapshot {snapshot} after a kill of {deed:?}, seed {}", self.seed);
        tree::assert_same(expected, &tree::read(&self.site.restored_data(&target)), &when);
    }

    fn next_backup_runs(&mut self) {
        let snapshot = self.site.backup();
        assert!(self.site.stored("locks").is_empty(), "a lock stayed");
        self.taken.insert(snapshot, tree::read(&self.site.data()));
    }

    /// Keeps the repository small.
    fn clean(&mut self) {
        let gone: Vec<String> = self.taken.keys().skip(SNAPSHOTS_KEPT).cloned().collect();
        self.site.lifeboat(forget(gone.into_iter())).ok();
        self.site.lifeboat(["prune", "--grace", "0s"]).ok();
        self.note_snapshots();
    }

    fn everything_ends_well(&mut self) {
        self.clean();
        self.site.lifeboat(["prune", "--grace", "0s", "--max-unused", "0"]).ok();
        let checked = self.site.lifeboat(["check", "--read-data", "--json"]).ok().summary();
        assert_eq!(checked["unused_packs"], 0, "{checked}");
        self.site.restic(["check", "--read-data"]).ok().says(["no errors were found"]);
        for (snapshot, expected) in &self.taken {
            let target = self.site.restore(snapshot, "out");
            tree::assert_same(expected, &tree::read(&self.site.restored_data(&target)), snapshot);
        }
        assert_eq!(self.kills.len(), 5, "a deed was never killed: {:?}", self.kills);
        eprintln!(
            "seed {}: kills {:?}; they left {} locks, {} temporary files, packs in no index {} times",
            self.seed, self.kills, self.locks_left, self.temporary_left, self.packs_left
        );
        // On a fast machine none may come in the moment between a pack and the index that names it.
        let half_written = self.packs_left + self.temporary_left;
        assert!(self.locks_left > 0 && half_written > 0, "the kills came at harmless moments only");
    }
}
