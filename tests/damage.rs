//! A flipped bit, a cut, a loss, in every kind of stored file: found and named, never restored silently, and mended as far
//! as the source still has what was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::{Dice, PASSWORD, Ran, Site, can, program, run, start, wait_until, write_secret};
use crate::tree;

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    /// One bit is another, in the middle.
    Flip,
    /// The second half is gone.
    Cut,
    /// The file is gone.
    Lose,
}

/// The kinds of stored file. Packs by what they hold, and where they are hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Config,
    Key,
    Index,
    Snapshot,
    DataPack,
    DataPackHeader,
    TreePack,
    Lock,
    Receipt,
    Condemned,
}

/// Whether a loss can be seen at all: nothing else names a key, a lock, a receipt or a list of condemned packs. A snapshot is
/// named by the receipt of its drill.
fn is_seen(kind: Kind, harm: Harm) -> bool {
    harm != Harm::Lose || matches!(kind, Kind::Config | Kind::Index | Kind::Snapshot | Kind::DataPack | Kind::TreePack)
}

/// Whether the newest snapshot cannot be brought back whole.
fn harms_restore(kind: Kind) -> bool {
    match kind {
        Kind::Config | Kind::Index | Kind::DataPack | Kind::TreePack => true,
        // The index knows what lies where, too.
        Kind::DataPackHeader | Kind::Key | Kind::Snapshot | Kind::Lock | Kind::Receipt | Kind::Condemned => false,
    }
}

/// A repository with every kind of file in it, whole, to be harmed and made whole again.
struct Patient {
    site: Site,
    files: BTreeMap<Kind, PathBuf>,
    /// The newest snapshot.
    newest: String,
}

impl Patient {
    fn new() -> Self {
        let site = Site::new();
        site.lifeboat(["init"]).ok();
        let mut dice = Dice::new(1);
        let data = site.data();
        std::fs::create_dir_all(data.join("folder/deep")).unwrap();
        for (name, bytes) in [("a.txt", 3_000), ("folder/b.txt", 9_000), ("folder/deep/c.txt", 1_000)] {
            std::fs::write(data.join(name), dice.text(bytes)).unwrap();
        }
        std::fs::write(data.join("large.bin"), dice.bytes(1_500_000)).unwrap();
        std::fs::write(data.join("empty"), "").unwrap();
        std::fs::write(data.join("gone.bin"), dice.bytes(600_000)).unwrap();
        site.backup();
        // A list of condemned packs.
        std::fs::remove_file(data.join("gone.bin")).unwrap();
        site.backup();
        site.lifeboat(["forget", "--keep-last", "1"]).ok();
        site.lifeboat(["prune"]).ok();
        std::fs::write(data.join("folder/d.txt"), dice.text(2_000)).unwrap();
        // Two, of which the newer will suffer.
        let newest = site.backup();
        // A key besides the one in use, a receipt, and the lock of a run that was killed.
        write_secret(&site.path("second"), &PASSWORD.to_lowercase());
        let known = site.stored("keys");
        site.lifeboat(["key", "add", "--new-password-file", "second"]).ok();
        let key = site.stored("keys").into_iter().find(|key| !known.contains(key)).unwrap();
        site.lifeboat(["drill"]).ok();
        let lock = leave_lock(&site);
        let mut files: BTreeMap<Kind, PathBuf> = BTreeMap::new();
        let mut keep = |kind: Kind, path: PathBuf| drop(files.insert(kind, path));
        keep(Kind::Config, site.repo().join("config"));
        keep(Kind::Key, key);
        // Of several, the one that names the newest snapshot's packs.
        keep(Kind::Snapshot, site.repo().join("snapshots").join(&newest));
        keep(Kind::Lock, lock);
        keep(Kind::Receipt, site.stored("lifeboat/receipts").remove(0));
        keep(Kind::Condemned, site.stored("lifeboat/condemned").remove(0));
        let largest = |kind: &str| packs_of(&site, kind).into_iter().max_by_key(|pack| pack.metadata().unwrap().len());
        keep(Kind::DataPack, largest("data").unwrap());
        keep(Kind::DataPackHeader, largest("data").unwrap());
        keep(Kind::TreePack, largest("tree").unwrap());
        let indexes = site.stored("index");
        keep(Kind::Index, indexes.iter().max_by_key(|file| file.metadata().unwrap().len()).unwrap().clone());
        copy_folder(&site.repo(), &site.path("pristine"));
        Self { site, files, newest }
    }

    /// Harms one file of the whole repository. Gives its name in it.
    fn harm(&self, kind: Kind, harm: Harm) -> String {
        let site = &self.site;
        std::fs::remove_dir_all(site.repo()).unwrap();
        copy_folder(&site.path("pristine"), &site.repo());
        let file = &self.files[&kind];
        let mut bytes = std::fs::read(file).unwrap();
        let middle = if kind == Kind::DataPackHeader { bytes.len() - 10 } else { bytes.len() / 2 };
        match harm {
            Harm::Flip => bytes[middle] ^= 0b0001_0000,
            Harm::Cut => bytes.truncate(middle),
            Harm::Lose => {}
        }
        std::fs::remove_file(file).unwrap();
        if harm != Harm::Lose {
            std::fs::write(file, bytes).unwrap();
        }
        file.strip_prefix(site.repo()).unwrap().to_str().unwrap().to_owned()
    }

    fn restore(&self, more: &[&str]) -> (Ran, PathBuf) {
        let target = self.site.path("target");
        let _ = std::fs::remove_dir_all(&target);
        let target_text = target.to_str().unwrap();
        let mut arguments = vec!["restore", "latest", "--json", "--to", target_text];
        arguments.extend(more);
        (self.site.lifeboat(arguments), target)
    }
}

/// A lock whose holder was killed.
fn leave_lock(site: &Site) -> PathBuf {
    let text = std::fs::read_to_string(site.config()).unwrap();
    site.configure("never: { command: { run: \"echo $$$$ > pid; exec sleep 300\", name: never } }");
    let mut running = start(&mut site.lifeboat_command(["backup"]));
    let pid = site.path("pid");
    wait_until("the command runs", || std::fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')));
    running.0.kill().unwrap();
    running.0.wait().unwrap();
    run(std::process::Command::new("kill").arg("-9").arg(std::fs::read_to_string(&pid).unwrap().trim())).ok();
    std::fs::write(site.config(), text).unwrap();
    let mut locks = site.stored("locks");
    assert_eq!(locks.len(), 1);
    locks.remove(0)
}

/// The packs that an index names with blobs of this type, by the word of stock restic.
fn packs_of(site: &Site, kind: &str) -> Vec<PathBuf> {
    let mut packs = BTreeSet::new();
    for index in site.stored("index") {
        let name = index.file_name().unwrap().to_str().unwrap().to_owned();
        let shown = site.restic(["cat", "index", &name, "--no-lock"]).ok().text();
        let index: Value = serde_json::from_str(&shown).unwrap();
        for pack in index["packs"].as_array().unwrap() {
            if pack["blobs"].as_array().unwrap().iter().all(|blob| blob["type"] == kind) {
                let id = pack["id"].as_str().unwrap();
                packs.insert(site.repo().join("data").join(&id[..2]).join(id));
            }
        }
    }
    packs.into_iter().collect()
}

fn copy_folder(from: &Path, to: &Path) {
    run(std::process::Command::new("cp").arg("-a").arg(from).arg(to)).ok();
}

/// Every path that a JSON line of this type names.
fn named(ran: &Ran, message_type: &str, field: &str) -> BTreeSet<String> {
    let lines = ran.lines().into_iter().filter(|line| line["message_type"] == message_type);
    lines.filter_map(|line| line[field].as_str().map(str::to_owned)).collect()
}

/// Asserts that nothing restored differs from the source, that what is missing was named, and that success means all of it.
/// Gives the files that are missing, as their paths in the snapshot.
fn assert_honest(patient: &Patient, ran: &Ran, target: &Path, when: &str) -> BTreeSet<PathBuf> {
    let expected = tree::read(&patient.site.data());
    let root = patient.site.restored_data(target);
    let in_snapshot = root.strip_prefix(target).unwrap();
    let found = if root.exists() { tree::read(&root) } else { tree::Tree::new() };
    let problems = named(ran, "problem", "path");
    let is_named = |path: &Path| problems.iter().any(|problem| path.starts_with(problem) || problem.is_empty());
    let mut missing = BTreeSet::new();
    for (path, whole) in &expected {
        match found.get(path) {
            Some(found) if found.content == whole.content => {}
            Some(found) => panic!("{when}: {path:?} came back wrong\n  {whole:?}\n  {found:?}\n{ran}"),
            None => {
                let path = in_snapshot.join(path);
                let code = ran.status.code().unwrap();
                assert!(code == 1 || (code == 3 && is_named(&path)), "{when}: {path:?} is missing silently\n{ran}");
                missing.insert(path);
            }
        }
    }
    if ran.status.success() {
        tree::assert_same(&expected, &found, when);
    }
    missing
}

fn suffers(kind: Kind, harm: Harm, patient: &Patient) {
    let site = &patient.site;
    let file = patient.harm(kind, harm);
    let when = format!("{harm:?} {kind:?} ({file})");
    let expected_code = i32::from(is_seen(kind, harm));

    // Found and named.
    let check = site.lifeboat(["check", "--read-data", "--json"]).exits(expected_code);
    if is_seen(kind, harm) && !(kind == Kind::Index && harm == Harm::Lose) {
        let is_named = check.text().contains(&file);
        assert!(is_named, "{when}: check does not name the file\n{check}");
    }
    let affected: BTreeSet<PathBuf> = named(&check, "affected", "path").into_iter().map(PathBuf::from).collect();
    let affected_snapshots = named(&check, "affected", "snapshot");

    // Never restored silently.
    let (ran, target) = patient.restore(&[]);
    let is_whole = !harms_restore(kind);
    if kind == Kind::Snapshot {
        // What is the newest now is older, and lacks what came since: that must be said.
        if is_seen(kind, harm) {
            ran.exits(3).says([patient.newest.as_str()]);
        }
    } else {
        let missing = assert_honest(patient, &ran, &target, &when);
        assert_eq!(ran.status.success(), is_whole, "{when}: restore\n{ran}");
        if ran.status.code() == Some(3) {
            assert!(affected_snapshots.contains(&patient.newest), "{when}: {check}");
            for path in &missing {
                let told = affected.iter().any(|affected| path.starts_with(affected));
                assert!(told, "{when}: check does not say that {path:?} suffers\n{check}");
            }
        }
    }

    // What is kept all the same is long as it was, and zero where it was lost.
    if matches!(kind, Kind::DataPack) {
        let (ran, target) = patient.restore(&["--keep-damaged"]);
        let ran = ran.exits(3);
        let problems = named(&ran, "problem", "path");
        assert!(!problems.is_empty(), "{when}: {ran}");
        for path in problems {
            let kept = std::fs::read(target.join(&path)).unwrap();
            let host = Path::new("/").join(Path::new(&path).strip_prefix("files").unwrap());
            let whole = std::fs::read(host).unwrap();
            assert_eq!(kept.len(), whole.len(), "{when}: {path}");
            assert_ne!(kept, whole, "{when}: {path}");
            let wrong = kept.iter().zip(&whole).filter(|(kept, whole)| kept != whole && **kept != 0).count();
            assert_eq!(wrong, 0, "{when}: {path} has bytes that are neither right nor zero");
        }
    }

    // A drill fails.
    let drill = site.lifeboat(["drill", "--json"]);
    match kind {
        Kind::Snapshot if is_seen(kind, harm) => assert_ne!(drill.status.code(), Some(0), "{when}: {drill}"),
        _ => assert_eq!(drill.status.code(), Some(i32::from(!is_whole)), "{when}: {drill}"),
    }

    mends(kind, harm, patient, &file, &when);
}

/// The next backup works where it can, after `heal` where it cannot, and new snapshots are whole.
fn mends(kind: Kind, harm: Harm, patient: &Patient, file: &str, when: &str) {
    let site = &patient.site;
    let backup = site.lifeboat(["backup"]);
    let code = backup.status.code().unwrap();
    match (kind, harm) {
        (Kind::Config, _) => {
            backup.exits(1).says(["config"]);
            return;
        }
        (Kind::Lock, Harm::Flip | Harm::Cut) => {
            backup.exits(11).says([file]);
            std::fs::remove_file(site.repo().join(file)).unwrap();
        }
        (Kind::Index, Harm::Flip | Harm::Cut) => {
            backup.exits(1).says([file, "lifeboat heal"]);
            // A check that read every byte found it, so as much is read to call it whole again.
            site.lifeboat(["heal", "--read-data"]).ok();
        }
        // Only a reading of every byte can know of it.
        (Kind::DataPack | Kind::TreePack, Harm::Flip) => {
            drop(site.lifeboat(["heal", "--read-data"]).exits(3).says([file]))
        }
        _ => assert_eq!(code, 0, "{when}: {backup}"),
    }
    site.lifeboat(["backup"]).ok();
    let (ran, target) = patient.restore(&[]);
    let ran = match kind {
        // The damaged one stays named until it is removed.
        Kind::Snapshot if is_seen(kind, harm) => {
            site.lifeboat(["drill"]).exits(3).says([file]);
            let ran = ran.exits(3);
            match harm {
                Harm::Lose => site.lifeboat(["heal"]).exits(3).says(["it passed a drill and is gone"]),
                _ => site.lifeboat(["forget", "--force", &patient.newest]).ok(),
            };
            ran
        }
        _ => ran.ok(),
    };
    assert_honest(patient, &ran, &target, &format!("{when}, after the next backup"));
    tree::assert_same_on_disk(&site.data(), &site.restored_data(&target));
    site.lifeboat(["drill"]).ok();
}

/// Goes through the kinds to the end, so that one failure does not hide another.
fn each_kind_suffers(harm: Harm, kinds: impl IntoIterator<Item = Kind>) {
    let patient = Patient::new();
    let fails = |kind: &Kind| {
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| suffers(*kind, harm, &patient))).is_err()
    };
    let failed: Vec<Kind> = kinds.into_iter().filter(fails).collect();
    assert!(failed.is_empty(), "{harm:?}: {failed:?}");
}

const KINDS: [Kind; 10] = [
    Kind::Config,
    Kind::Key,
    Kind::Index,
    Kind::Snapshot,
    Kind::DataPack,
    Kind::DataPackHeader,
    Kind::TreePack,
    Kind::Lock,
    Kind::Receipt,
    Kind::Condemned,
];

#[test]
fn a_flipped_bit_is_found_and_named_and_never_restored_silently() {
    if can(program("restic")) {
        each_kind_suffers(Harm::Flip, KINDS);
    }
}

#[test]
fn a_file_that_was_cut_is_found_and_named_and_never_restored_silently() {
    if can(program("restic")) {
        each_kind_suffers(Harm::Cut, KINDS);
    }
}

#[test]
fn a_lost_file_is_found_and_named_and_never_restored_silently() {
    if can(program("restic")) {
        each_kind_suffers(Harm::Lose, KINDS.into_iter().filter(|kind| *kind != Kind::DataPackHeader));
    }
}

/// A site with two snapshots of `f`, whose content changed between them, and of `g`, which stays.
fn two_states() -> (Site, [String; 2]) {
    let site = Site::initialised();
    let write = |name: &str, seed: u64| std::fs::write(site.data().join(name), Dice::new(seed).bytes(600_000)).unwrap();
    write("f", 1);
    write("g", 2);
    let first = site.backup();
    write("f", 3);
    let second = site.backup();
    (site, [first, second])
}

/// Inverts a byte in the middle of a pack.
fn flip(pack: &Path) {
    let mut bytes = std::fs::read(pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(pack, bytes).unwrap();
}

fn is_whole(site: &Site) {
    site.lifeboat(["check", "--read-data"]).ok();
    site.restic(["check", "--read-data"]).ok().says(["no errors were found"]);
    site.lifeboat(["drill"]).ok();
    site.lifeboat(["status"]).ok().says(["app: safe"]);
}

#[test]
fn the_hints_lead_out_of_damage_where_the_source_still_has_the_data() {
    if !can(program("restic")) {
        return;
    }
    let (site, _) = two_states();
    site.lifeboat(["drill"]).ok();
    // All data packs suffer, so that what is in `g` is hit for certain; `f` is made what it was, too.
    for pack in site.stored("data") {
        flip(&pack);
    }
    site.lifeboat(["check", "--read-data"]).exits(1).says(["lifeboat heal --read-data", "lifeboat backup"]);
    site.lifeboat(["status"]).exits(1).says(["the check of copy disk on"]);
    site.lifeboat(["heal", "--read-data"]).exits(3).says(["lifeboat backup", "lifeboat forget ID"]);
    site.lifeboat(["backup"]).ok();
    // What only the old snapshots held is lost for good, and goes with them.
    let listed = site.lifeboat(["snapshots", "--json"]).lines();
    let damaged: Vec<String> = listed
        .iter()
        .filter(|line| line["message_type"] == "snapshot")
        .map(|line| line["id"].as_str().unwrap().to_owned())
        .collect();
    let (_, old) = damaged.split_last().unwrap();
    for id in old {
        site.lifeboat(["forget", "--force", id]).ok();
    }
    site.lifeboat(["heal", "--read-data"]).ok().says(["copy disk is whole now"]);
    is_whole(&site);
}

#[test]
fn the_hints_lead_out_of_damage_that_is_for_good() {
    if !can(program("restic")) {
        return;
    }
    let (site, [first, _]) = two_states();
    let pack = site.stored("data").into_iter().max_by_key(|pack| pack.metadata().unwrap().len()).unwrap();
    flip(&pack);
    site.lifeboat(["check", "--read-data"]).exits(1);
    site.lifeboat(["heal", "--read-data"]).exits(3);
    site.lifeboat(["backup"]).ok();
    site.lifeboat(["forget", "--force", &first]).ok();
    let healed = site.lifeboat(["heal", "--read-data"]);
    if healed.status.code() == Some(3) {
        // The other one was hit as well.
        let second = site.lifeboat(["snapshots", "--json"]).lines()[0]["id"].as_str().unwrap().to_owned();
        site.lifeboat(["forget", "--force", &second]).ok();
        site.lifeboat(["heal", "--read-data"]).ok();
    }
    is_whole(&site);
}

#[test]
fn a_lost_snapshot_and_one_whose_root_is_lost_are_not_safe() {
    let (site, [_, second]) = two_states();
    site.lifeboat(["drill"]).ok();
    site.lifeboat(["status"]).ok();
    std::fs::rename(site.repo().join("snapshots").join(&second), site.path("lost")).unwrap();
    site.lifeboat(["status"]).exits(1).says(["NOT SAFE", "lost snapshots that were drilled in it"]);
    site.lifeboat(["copies"]).exits(1).says(["lost snapshots that were drilled in it"]);
    std::fs::rename(site.path("lost"), site.repo().join("snapshots").join(&second)).unwrap();
    site.lifeboat(["status"]).ok();
    // Every pack is lost; what is left of the index names nothing that is not there.
    std::fs::rename(site.repo().join("data"), site.path("data-away")).unwrap();
    site.lifeboat(["heal"]).exits(3);
    site.lifeboat(["backup"]).ok();
    site.lifeboat(["status"]).exits(1).says(["NOT SAFE", "holds damaged snapshots"]);
}
