//! What this host remembers between runs: how the last backup of each stack ended, what the last check of each copy
//! found, and when each copy was last seen and last in step. A failed run leaves no trace in any copy.
//!
//! Small files in the state folder, which may be deleted: what is lost with them is only the memory of a failure.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use repository::Id;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Fault;
use crate::config::CopySettings;

/// How the last backup of a stack ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// When.
    pub at: Timestamp,
    /// Why it failed, without secrets, as every [`Fault`]; `None` where it took a snapshot.
    pub failure: Option<String>,
    /// Hooks that failed, in words, without secrets.
    #[serde(default)]
    pub hooks: Vec<String>,
    /// When a later one was cancelled, where the hooks are of that one.
    #[serde(default)]
    pub cancelled: Option<Timestamp>,
}

impl LastRun {
    /// The same as `before`, with hooks that failed in a run that was cancelled: of that there is nothing else to tell.
    pub fn with_cancelled(before: Option<Self>, at: Timestamp, hooks: Vec<String>) -> Self {
        let before = before.unwrap_or(Self { at, failure: None, hooks: Vec::new(), cancelled: None });
        Self { hooks, cancelled: Some(at), ..before }
    }
}

/// What the last check of a copy found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCheck {
    /// When.
    pub at: Timestamp,
    /// Whether every byte was read.
    pub read_data: bool,
    /// What was wrong with the copy, in short; `None` where nothing was.
    pub failure: Option<String>,
    /// When every byte was last read and right, in this check or an earlier one.
    #[serde(default)]
    pub proven: Option<Timestamp>,
    /// What the last reading of every byte found in the files of databases.
    #[serde(default)]
    pub stored: Option<StoredDamage>,
}

/// What is wrong in files of databases that the copy gives back as they were stored: no other copy mends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredDamage {
    /// When it was found.
    pub at: Timestamp,
    /// What it is, in short.
    pub failure: String,
    /// What helps.
    pub fix: String,
}

impl LastCheck {
    /// A check of every byte, or of less, and what was wrong.
    pub fn new(at: Timestamp, read_data: bool, failure: Option<String>) -> Self {
        let proven = (read_data && failure.is_none()).then_some(at);
        Self { at, read_data, failure, proven, stored: None }
    }
}

/// When a copy was last opened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// When.
    pub at: Timestamp,
    /// The repository that it was then.
    pub repository: Id,
}

/// How bringing a copy into step with the others ended last, for one stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastStep {
    /// When.
    pub at: Timestamp,
    /// When it last had all that belongs into it.
    pub in_step: Option<Timestamp>,
    /// What kept it from that since; `None` where nothing did.
    pub failure: Option<String>,
}

/// The memory of this host, as far as one configuration goes: several may share the state folder, and use the same names.
pub struct State {
    folder: PathBuf,
    configuration: PathBuf,
}

impl State {
    /// What is remembered below `folder` for the configuration in the file `configuration`.
    pub fn below(folder: &Path, configuration: &Path) -> Self {
        Self { folder: folder.to_owned(), configuration: configuration.to_owned() }
    }

    /// Remembers a run.
    pub fn save_run(&self, stack: &str, run: &LastRun) -> Result<(), Fault> {
        self.save("last-run", stack, run)
    }

    /// The last run of `stack`. `None` where none is known.
    pub fn last_run(&self, stack: &str) -> Option<LastRun> {
        self.load("last-run", stack)
    }

    /// Remembers a check or a heal that read no database, so what was found in these stays. What a reading of every byte found
    /// is not taken back by a check that read less, be it good or bad.
    pub fn save_check(&self, copy: &CopySettings, check: &LastCheck) -> Result<(), Fault> {
        self.save_check_of(&in_place(copy), check, false)
    }

    /// The same of a check that read all databases in a copy that is whole: what it says of them is what counts from now on.
    pub fn save_check_of_databases(&self, copy: &CopySettings, check: &LastCheck) -> Result<(), Fault> {
        self.save_check_of(&in_place(copy), check, true)
    }

    fn save_check_of(&self, place: &str, check: &LastCheck, has_read_databases: bool) -> Result<(), Fault> {
        let before = self.load::<LastCheck>("last-check", place);
        let mut check = check.clone();
        if !has_read_databases {
            check.stored = before.as_ref().and_then(|before| before.stored.clone());
        }
        if let Some(before) = before.filter(|_| !check.read_data) {
            if before.failure.is_some() && before.read_data {
                return Ok(());
            }
            check.proven = check.proven.or(before.proven);
        }
        self.save("last-check", place, &check)
    }

    /// The last check of `copy` that tells something. `None` where none is known.
    pub fn last_check(&self, copy: &CopySettings) -> Option<LastCheck> {
        self.load("last-check", &in_place(copy))
    }

    /// Remembers that a copy was there.
    pub fn save_seen(&self, copy: &CopySettings, seen: &Seen) -> Result<(), Fault> {
        self.save("last-seen", &in_place(copy), seen)
    }

    /// When `copy` was last at its place. `None` where it is not known ever to have been.
    pub fn last_seen(&self, copy: &CopySettings) -> Option<Seen> {
        self.load("last-seen", &in_place(copy))
    }

    /// The repository that `copy` was when it was last seen. `None` where that is not known, and of archives.
    pub fn repository_seen(&self, copy: &CopySettings) -> Option<Id> {
        self.last_seen(copy).map(|seen| seen.repository).filter(|id| *id != Id::ZERO)
    }

    /// Remembers how bringing `copy` into step ended for `stack`, and why not, where it did not.
    pub fn save_step(
        &self,
        copy: &CopySettings,
        stack: &str,
        at: Timestamp,
        failure: Option<String>,
    ) -> Result<(), Fault> {
        let before = self.last_step(copy, stack).and_then(|before| before.in_step);
        let in_step = if failure.is_none() { Some(at) } else { before };
        self.save("last-step", &of_stack(copy, stack), &LastStep { at, in_step, failure })
    }

    /// How bringing `copy` into step ended last for `stack`. `None` where that was never tried.
    pub fn last_step(&self, copy: &CopySettings, stack: &str) -> Option<LastStep> {
        self.load("last-step", &of_stack(copy, stack))
    }

    /// Remembers the snapshots that drills proved in a copy.
    pub fn save_proven(&self, copy: &CopySettings, proven: &BTreeSet<Id>) -> Result<(), Fault> {
        self.save("proven", &in_place(copy), proven)
    }

    /// The snapshots that drills proved in a copy when it was last asked. Empty where none is known.
    pub fn proven(&self, copy: &CopySettings) -> BTreeSet<Id> {
        self.load("proven", &in_place(copy)).unwrap_or_default()
    }

    /// The folder for what is kept near of a copy that is far.
    pub fn cache_of(&self, copy: &CopySettings) -> PathBuf {
        self.path("cache", &in_place(copy)).with_extension("")
    }

    /// Puts a file in the place of the one before. Other programs never see half of it.
    fn save(&self, kind: &str, name: &str, value: &impl Serialize) -> Result<(), Fault> {
        let path = self.path(kind, name);
        let failed = |error| Fault::local(format!("cannot write {}", path.display()), error);
        let folder = self.folder.join(kind);
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(failed)?;
        serde_json::to_writer(&mut file, value).map_err(|error| failed(error.into()))?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// What cannot be read tells nothing.
    fn load<T: DeserializeOwned>(&self, kind: &str, name: &str) -> Option<T> {
        serde_json::from_slice(&std::fs::read(self.path(kind, name)).ok()?).ok()
    }

    /// Named by hash, since a name may hold what a file name cannot.
    fn path(&self, kind: &str, name: &str) -> PathBuf {
        let whose = [self.configuration.as_os_str().as_encoded_bytes(), b"\0", name.as_bytes()].concat();
        self.folder.join(kind).join(format!("{}.json", Id::of(&whose).short()))
    }
}

/// A copy that was given another place is another one.
fn in_place(copy: &CopySettings) -> String {
    format!("{} in {}", copy.name, copy.location)
}

fn of_stack(copy: &CopySettings, stack: &str) -> String {
    format!("{stack} of {}", in_place(copy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_of_each_stack_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::below(folder.path(), Path::new("/lifeboat.yaml"));
        let at = "2026-03-01T12:00:00Z".parse().unwrap();
        let failed = LastRun { at, failure: Some("the disk is full".to_owned()), hooks: Vec::new(), cancelled: None };
        let done = LastRun { at, failure: None, hooks: Vec::new(), cancelled: None };
        assert_eq!(state.last_run("a/b"), None);
        state.save_run("a/b", &failed).unwrap();
        state.save_run("c", &done).unwrap();
        assert_eq!(state.last_run("a/b"), Some(failed));
        state.save_run("a/b", &done).unwrap();
        assert_eq!(state.last_run("a/b"), Some(done));
        let other = State::below(folder.path(), Path::new("/other.yaml"));
        assert_eq!(other.last_run("c"), None, "another configuration's stack of the same name");
        std::fs::write(state.path("last-run", "c"), "{").unwrap();
        assert_eq!(state.last_run("c"), None);
    }

    #[test]
    fn what_a_reading_of_every_byte_found_stays_until_another_one_finds_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::below(folder.path(), Path::new("/lifeboat.yaml"));
        let at = "2026-03-01T12:00:00Z".parse().unwrap();
        let check = |read_data, failure: Option<&str>| {
            state.save_check_of("nas", &LastCheck::new(at, read_data, failure.map(str::to_owned)), false).unwrap();
            state.load::<LastCheck>("last-check", "nas").unwrap().failure
        };
        let proven = || state.load::<LastCheck>("last-check", "nas").unwrap().proven;
        assert_eq!(check(false, Some("a pack is gone")).as_deref(), Some("a pack is gone"));
        assert_eq!(check(false, None), None);
        assert_eq!(check(true, Some("a bit is wrong")).as_deref(), Some("a bit is wrong"));
        assert_eq!(check(false, None).as_deref(), Some("a bit is wrong"));
        assert_eq!(check(false, Some("a pack is gone")).as_deref(), Some("a bit is wrong"), "it is still there");
        assert_eq!(proven(), None);
        assert_eq!(check(true, None), None);
        assert_eq!((check(false, None), proven()), (None, Some(at)), "it was read the day before");
        assert_eq!((check(false, Some("a pack is gone")).is_some(), proven()), (true, Some(at)));
        assert_eq!((check(true, Some("a bit is wrong")).is_some(), proven()), (true, None));
    }

    #[test]
    fn what_was_found_in_databases_stays_until_they_are_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let state = State::below(folder.path(), Path::new("/lifeboat.yaml"));
        let at = "2026-03-01T12:00:00Z".parse().unwrap();
        let damage = StoredDamage { at, failure: "a document".to_owned(), fix: "look elsewhere".to_owned() };
        let save = |read_data, failure: Option<&str>, stored, has_read_databases| {
            let check = LastCheck { stored, ..LastCheck::new(at, read_data, failure.map(str::to_owned)) };
            state.save_check_of("nas", &check, has_read_databases).unwrap();
            state.load::<LastCheck>("last-check", "nas").unwrap().stored
        };
        let told = Some(damage.clone());
        assert_eq!(save(true, None, told.clone(), true), told);
        assert_eq!(save(false, None, None, false), told, "names and sizes were looked at");
        assert_eq!(save(true, Some("a bit is wrong"), None, false), told, "a part was read, and is damaged");
        assert_eq!(save(true, None, None, false), told, "the copy was healed");
        assert_eq!(save(true, None, None, true), None);
    }
}
