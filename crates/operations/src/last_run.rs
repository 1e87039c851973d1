//! How the last backup of each stack ended that this host tried: a failed one leaves no trace in any copy.
//!
//! Lies in the state folder and may be deleted: what is lost with it is only the memory of a failure.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use repository::Id;
use serde::{Deserialize, Serialize};

use crate::Fault;

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRun {
    /// When.
    pub at: Timestamp,
    /// Why it failed, without secrets, as every [`Fault`]; `None` where it took a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl LastRun {
    /// Keeps it below `state`, in the place of the one before. Other programs never see half of it.
    pub fn save(&self, state: &Path, stack: &str) -> Result<(), Fault> {
        let path = path(state, stack);
        let failed = |error| Fault::local(format!("cannot write {}", path.display()), error);
        let folder = state.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(failed)?;
        let mut file = tempfile::NamedTempFile::new_in(&folder).map_err(failed)?;
        serde_json::to_writer(&mut file, self).map_err(|error| failed(error.into()))?;
        file.persist(&path).map_err(|error| failed(error.error))?;
        Ok(())
    }

    /// The last run of `stack`. `None` where none is known; what cannot be read tells nothing.
    pub fn load(state: &Path, stack: &str) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(path(state, stack)).ok()?).ok()
    }
}

const FOLDER: &str = "last-run";

/// Named by hash, since a stack's name may hold what a file name cannot.
fn path(state: &Path, stack: &str) -> PathBuf {
    state.join(FOLDER).join(format!("{}.json", Id::of(stack.as_bytes()).short()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_of_each_stack_is_remembered() {
        let state = tempfile::tempdir().unwrap();
        let at = "2026-03-01T12:00:00Z".parse().unwrap();
        let failed = LastRun { at, failure: Some("the disk is full".to_owned()) };
        let done = LastRun { at, failure: None };
        assert_eq!(LastRun::load(state.path(), "a/b"), None);
        failed.save(state.path(), "a/b").unwrap();
        done.save(state.path(), "c").unwrap();
        assert_eq!(LastRun::load(state.path(), "a/b"), Some(failed));
        done.save(state.path(), "a/b").unwrap();
        assert_eq!(LastRun::load(state.path(), "a/b"), Some(done));
        std::fs::write(path(state.path(), "c"), "{").unwrap();
        assert_eq!(LastRun::load(state.path(), "c"), None);
    }
}
