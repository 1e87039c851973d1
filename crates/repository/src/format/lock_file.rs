//! Locks as restic writes them, with what Lifeboat needs to prove that a holder is dead.

use serde::{Deserialize, Serialize};

use super::time::Time;

/// The JSON of a lock file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockFile {
    /// When it was written or last renewed.
    pub time: Time,
    /// Whether the holder must be alone.
    pub exclusive: bool,
    /// The holder's host.
    #[serde(default)]
    pub hostname: String,
    /// The holder's user.
    #[serde(default)]
    pub username: String,
    /// The holder's process.
    #[serde(default)]
    pub pid: i32,
    /// The holder's user number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// The holder's group number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    /// Which process exactly. restic passes the key over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifeboat: Option<Process>,
}

/// A process that can be told from every other one, also after a reboot, in another container, or where its number was
/// given to a newer process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The kernel's random id of this boot.
    pub boot_id: String,
    /// The inode of the process number name space; containers have one each.
    pub pid_namespace: String,
    /// Clock ticks after boot at which the process started.
    pub start_ticks: u64,
}

impl LockFile {
    /// Reads the JSON of a lock file.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }
}
