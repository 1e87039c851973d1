//! A snapshot: one recovery point, as restic describes it.

use serde::{Deserialize, Serialize};

use super::id::Id;
use super::time::Time;

/// The JSON of a snapshot file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// When the backup began.
    pub time: Time,
    /// The snapshot it was compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Id>,
    /// The root tree.
    pub tree: Id,
    /// What was backed up. Lifeboat puts `/` and the source's name.
    #[serde(default, deserialize_with = "null_is_empty")]
    pub paths: Vec<String>,
    /// The host.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// The user.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub username: String,
    /// The user's number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub uid: u32,
    /// The group's number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gid: u32,
    /// Exclude patterns, for information.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub excludes: Vec<String>,
    /// Tags. Lifeboat's snapshots carry `stack:NAME`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "null_is_empty")]
    pub tags: Vec<String>,
    /// The snapshot this was made from by a program that rewrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original: Option<Id>,
    /// Who wrote it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program_version: String,
    /// What the backup did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<Summary>,
}

/// What the backup did, with restic's names. "Added" counts bytes of new blobs, before and after packing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "restic's names, which say what they are")]
pub struct Summary {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_start: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_end: Option<Time>,
    pub files_new: u64,
    pub files_changed: u64,
    pub files_unmodified: u64,
    pub dirs_new: u64,
    pub dirs_changed: u64,
    pub dirs_unmodified: u64,
    pub data_blobs: u64,
    pub tree_blobs: u64,
    pub data_added: u64,
    pub data_added_packed: u64,
    pub total_files_processed: u64,
    pub total_bytes_processed: u64,
}

const STACK_TAG: &str = "stack:";

impl Snapshot {
    /// The tag that says which stack a snapshot belongs to.
    pub fn stack_tag(stack: &str) -> String {
        format!("{STACK_TAG}{stack}")
    }

    /// The stack it belongs to; `None` for snapshots of other programs.
    pub fn stack(&self) -> Option<&str> {
        self.tags.iter().find_map(|tag| tag.strip_prefix(STACK_TAG))
    }

    /// Reads the JSON of a snapshot file.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Go writes a nil slice as `null`.
fn null_is_empty<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
