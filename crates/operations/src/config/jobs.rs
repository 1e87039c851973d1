//! What `lifeboat serve` does by itself besides the backups and drills of stacks, and how much of all that at once.

use std::num::NonZeroUsize;

use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::document::{boolean, hours, number, percent};
use super::show;
use super::text::Text;
use crate::schedule::{Expression, Hours};

/// How many jobs run at once, where nobody says: one may wait for the network while the other computes.
pub const AT_ONCE: NonZeroUsize = NonZeroUsize::MIN.saturating_add(1);

/// What is done by itself besides the backups and drills of stacks, by `lifeboat serve`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "jobs", extend("required" = []))]
pub struct JobsDocument {
    /// How many jobs run at once, backups and drills among them. Default: 2.
    #[schemars(schema_with = "number")]
    pub at_once: Option<Text>,
    /// The time zone of these schedules. Default: the machine's.
    pub timezone: Option<Text>,
    /// Checks of every copy for damage.
    pub check: Option<CheckDocument>,
    /// Brings copies that were away into step; a backup does so for those that are there.
    pub sync: Option<JobDocument>,
    /// Removes the snapshots that no rule keeps, and then what no snapshot needs any more.
    pub prune: Option<JobDocument>,
    /// Tries whether who has this host's credentials could change or delete what is in the copies.
    pub tamper_test: Option<JobDocument>,
}

/// When a job runs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "job", extend("required" = ["schedule"]))]
pub struct JobDocument {
    /// A cron expression such as `H 3 * * *`.
    pub schedule: Option<Text>,
    /// The hours in which it may begin, such as `22:00-06:00`. Default: any.
    #[schemars(schema_with = "hours")]
    pub hours: Option<Text>,
}

/// When copies are checked, and how much of them.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "check", extend("required" = ["schedule"]))]
pub struct CheckDocument {
    /// A cron expression such as `H 3 * * *`.
    pub schedule: Option<Text>,
    /// The hours in which it may begin, such as `22:00-06:00`. Default: any.
    #[schemars(schema_with = "hours")]
    pub hours: Option<Text>,
    /// Whether every byte is read. Default: false, names and sizes.
    #[schemars(schema_with = "boolean")]
    pub read_data: Option<Text>,
    /// How much of the data is read, such as `5%`: another part each time. Default: none.
    #[schemars(schema_with = "percent")]
    pub read_data_subset: Option<Text>,
}

/// What is done by itself besides the backups and drills of stacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobsSettings {
    /// How many jobs run at once.
    pub at_once: NonZeroUsize,
    /// The time zone of these schedules.
    #[serde(rename = "timezone", serialize_with = "show::time_zone")]
    pub time_zone: TimeZone,
    /// Checks of every copy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check: Option<CheckJob>,
    /// Bringing copies into step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<JobSettings>,
    /// Forgetting by the rules, and pruning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prune: Option<JobSettings>,
    /// Trying what credentials allow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tamper_test: Option<JobSettings>,
}

/// When a job runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobSettings {
    /// When.
    pub schedule: Expression,
    /// The hours in which it may begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
}

/// When copies are checked, and how much of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CheckJob {
    /// When.
    pub schedule: Expression,
    /// The hours in which it may begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hours: Option<Hours>,
    /// Whether every byte is read.
    pub read_data: bool,
    /// How much of the data is read, in percent.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "show::maybe_percent")]
    pub read_data_subset: Option<u8>,
}

impl JobsSettings {
    /// Nothing by itself.
    pub fn none(time_zone: TimeZone) -> Self {
        Self { at_once: AT_ONCE, time_zone, check: None, sync: None, prune: None, tamper_test: None }
    }
}
