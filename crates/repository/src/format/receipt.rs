//! The record of a drill, kept in the copy it was made from, so that no local state is needed to know what is proven.

use serde::{Deserialize, Serialize};

use super::id::Id;
use super::time::Time;

/// What came of a drill.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Everything was compared and equal.
    Passed,
    /// Something differs or cannot be read.
    Failed,
    /// The drill could not run; it says nothing about the copy.
    Unknown,
}

/// The JSON of a receipt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// The snapshot that was restored.
    pub snapshot: Id,
    /// Its stack.
    pub stack: String,
    /// The copy's name in the configuration of whoever ran the drill.
    pub copy: String,
    /// The level reached, 0 to 5.
    pub level: u8,
    /// What came of it.
    pub verdict: Verdict,
    /// The snapshot was partial: what was left out of it cannot come back, however well the rest does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// When it began.
    pub at: Time,
    /// Seconds from the start until the data was back and compared.
    pub rto_s: f64,
    /// Seconds between the snapshot and the drill: the age of the data that came back.
    pub rpo_s: f64,
    /// Program and version that ran it.
    pub program_version: String,
}

impl Receipt {
    /// Reads the JSON of a receipt.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(json).map_err(|error| error.to_string())
    }
}
