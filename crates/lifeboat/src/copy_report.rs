//! What a run did for one copy, for people and for programs.

use repository::sync::{GiverDamage, Left, Synced};
use serde::Serialize;
use serde_json::{Value, json};

use crate::output::Outcome;

/// How a copy stands at the end of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CopyStatus {
    /// It has all that belongs into it.
    Ok,
    /// It lacks something.
    Behind,
    /// It is a removable copy that is somewhere else.
    Absent,
    /// It cannot be reached or opened, or failed on the way.
    Failed,
}

/// What a run did for a copy.
pub struct CopyReport {
    pub status: CopyStatus,
    /// What was moved to it; of an archive copy snapshots and bytes.
    pub synced: Synced,
    /// Archives that were written. `None` for a repository.
    pub archives: Option<usize>,
    pub error: Option<String>,
    pub hint: Option<String>,
}

impl Serialize for CopyReport {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { status, synced, archives, error, hint } = self;
        let incomplete: Vec<Value> = synced
            .incomplete
            .iter()
            .map(|incomplete| json!({ "snapshot": incomplete.snapshot, "what": incomplete.what }))
            .collect();
        let damage: Vec<Value> = synced.damage.iter().map(damage_json).collect();
        let left: Vec<Value> = synced.left.iter().map(left_json).collect();
        let mut value = json!({
            "status": status, "bytes_added": synced.bytes_moved, "packs_moved": synced.packs_moved,
            "packs_there": synced.packs_there, "blobs_repacked": synced.blobs_repacked, "snapshots": synced.snapshots,
            "incomplete": incomplete, "damage": damage, "left": left,
        });
        if let Some(archives) = archives {
            value["archives_written"] = json!(archives);
        }
        if let Some(error) = error {
            value["error"] = json!(error);
            value["hint"] = json!(hint);
        }
        value.serialize(serializer)
    }
}

/// Damage that was met in a copy, for programs.
pub fn damage_json(GiverDamage { location, file, what }: &GiverDamage) -> Value {
    json!({ "location": location, "file": file.path(), "what": what })
}

/// A copy that could not help, for programs.
pub fn left_json(Left { location, what }: &Left) -> Value {
    json!({ "location": location, "what": what })
}

impl CopyReport {
    pub fn of(synced: Synced, archives: Option<usize>) -> Self {
        let status = if synced.incomplete.is_empty() { CopyStatus::Ok } else { CopyStatus::Behind };
        Self { status, synced, archives, error: None, hint: None }
    }

    /// What keeps the copy from being in step, `Some(None)` where nothing does; `None` where it is not here.
    pub fn failure(&self) -> Option<Option<String>> {
        let lacks = || {
            let incomplete = self.synced.incomplete.iter().map(|incomplete| &incomplete.what);
            incomplete.chain(self.synced.damage.iter().map(|damage| &damage.what)).next().cloned()
        };
        match self.status {
            CopyStatus::Absent => None,
            CopyStatus::Ok => Some(None),
            CopyStatus::Failed => Some(Some(self.error.clone().unwrap_or_default())),
            CopyStatus::Behind => Some(Some(lacks().unwrap_or_else(|| "another copy is damaged".to_owned()))),
        }
    }
}

/// What the reports of all copies make of a run.
pub fn outcome<'a>(reports: impl IntoIterator<Item = &'a CopyReport>) -> Outcome {
    let is_fine = |report: &CopyReport| {
        matches!(report.status, CopyStatus::Ok | CopyStatus::Absent) && report.synced.damage.is_empty()
    };
    if reports.into_iter().all(is_fine) { Outcome::Ok } else { Outcome::Partial }
}
