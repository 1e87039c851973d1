//! Changes that are held up for a moment: until the dump and what counts beside it see the same.
//!
//! Who waits for all changes to end makes those that come after them wait, too. So nobody does that without a limit: where
//! changes that are under way take too long, the dump is counted alone. For the same reason the tool of MySQL is never asked for
//! the place in the log of changes: it would wait without end for the same lock. We ask while we hold it.

use std::sync::mpsc::{RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use repository::{Cancel, SourceError};

use super::inventory::{self, Identity};
use super::server::Server;
use super::session::Session;
use super::split::LogPosition;

/// How long to wait for changes that are under way to end, seconds: those that come after them wait, too.
const LOCK_PATIENCE_S: u32 = 5;
/// How long changes are held up at most until the dump has begun.
const HOLD_MAX: Duration = Duration::from_secs(5);

/// Changes that are held up, and a transaction that was begun meanwhile.
pub struct HeldUp {
    session: Session,
    position: Option<LogPosition>,
    /// Says that the dump has begun, by being closed.
    begun: Sender<()>,
    /// Lets the changes go on then, and after [`HOLD_MAX`] in any case. Whether the dump had begun by then.
    letting_go: JoinHandle<bool>,
}

impl HeldUp {
    /// `None` where changes that are under way take too long. `log_of`: the server whose place in its log is to be asked for.
    pub fn begin(server: &Server, log_of: Option<&Identity>, cancel: &Cancel) -> Result<Option<Self>, SourceError> {
        let (mut lock, mut session) = (server.session(cancel)?, server.session(cancel)?);
        // Begun before, since every moment counts later on. A session of its own, since a refusal ends it.
        let mut asking = match log_of {
            Some(identity) => Some((server.session(cancel)?, identity)),
            None => None,
        };
        session.ask("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")?;
        lock.ask(&format!("SET SESSION lock_wait_timeout = {LOCK_PATIENCE_S}"))?;
        match lock.ask("FLUSH TABLES WITH READ LOCK") {
            Ok(_) => {}
            Err(SourceError::Cancelled) => return Err(SourceError::Cancelled),
            Err(_) => return Ok(None),
        }
        session.ask("START TRANSACTION WITH CONSISTENT SNAPSHOT")?;
        let (begun, waiting) = std::sync::mpsc::channel();
        let let_go = move || {
            let has_begun = waiting.recv_timeout(HOLD_MAX) == Err(RecvTimeoutError::Disconnected);
            // Where that fails, the end of the session does it.
            let _ = lock.ask("UNLOCK TABLES");
            has_begun
        };
        let thread = std::thread::Builder::new().name("hold up changes".to_owned()).spawn(let_go);
        let letting_go = thread.map_err(SourceError::io("a thread"))?;
        let position = match asking.as_mut().map(|(session, identity)| inventory::log_position(session, identity)) {
            Some(Err(SourceError::Cancelled)) => return Err(SourceError::Cancelled),
            asked => asked.and_then(Result::ok),
        };
        Ok(Some(Self { session, position, begun, letting_go }))
    }

    /// Lets changes go on. Gives the session whose transaction sees what the dump sees, and the place in the log at which that is
    /// so; `None` where the dump took too long to begin.
    pub fn end(self) -> Option<(Session, Option<LogPosition>)> {
        drop(self.begun);
        self.letting_go.join().unwrap_or(false).then_some((self.session, self.position))
    }
}
