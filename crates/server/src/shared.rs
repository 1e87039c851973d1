//! What every request is answered from.

use std::sync::Arc;

use operations::config::Settings;
use repository::Clock;

use crate::access::{Sessions, Setup, Throttle, Tokens, Users};
use crate::answered::Answered;
use crate::audit::Audit;
use crate::bell::Bell;
use crate::database::Database;
use crate::known::Known;
use crate::metrics::AuditChecked;
use crate::runner::Runner;

/// The server.
pub struct Shared {
    /// The configuration.
    pub settings: Settings,
    /// The name of this host, by which schedules are spread.
    pub host: String,
    /// The server's memory.
    pub database: Arc<Database>,
    /// The only source of time.
    pub clock: Arc<dyn Clock>,
    /// What runs, and ran.
    pub runner: Arc<Runner>,
    /// What is known of stacks, snapshots and copies.
    pub known: Known,
    /// The people.
    pub users: Users,
    /// Those who have signed in.
    pub sessions: Sessions,
    /// The programs.
    pub tokens: Tokens,
    /// The link for the first user.
    pub setup: Setup,
    /// Slows down whoever tries passwords.
    pub throttle: Throttle,
    /// What was done by whom.
    pub audit: Audit,
    /// Whether that is as it was written.
    pub audit_checked: AuditChecked,
    /// Answers that are given again.
    pub answered: Answered,
    /// Wakes the scheduler.
    pub bell: Bell,
}
