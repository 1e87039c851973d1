//! Containers of a stack that stand still while it is read, and never for longer than they may.
//!
//! A thread lets them go on when their time is over, whatever the reading does then. What was read after that is not of the same
//! moment, so it is known when that was.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::Timestamp;
use repository::{Cancel, Clock, Problem, SourceError, SystemClock};

use super::mounted::{is_own, own_mounts};
use super::{Container, ContainerName, ContainerState, EngineAddress, Halt, Halted, Halts};

/// Which containers stand still, how, and for how long at most.
#[derive(Clone, Debug)]
pub struct FreezeOptions {
    /// How.
    pub halt: Halt,
    /// Which. All containers of a service.
    pub containers: Vec<ContainerName>,
    /// After this long they go on.
    pub max_downtime: Duration,
    /// Where the engine is.
    pub engine: EngineAddress,
    /// Where it is noted which containers are halted.
    pub halts: Halts,
}

/// Containers that stand still until [`Frozen::release`], or until their time is over.
pub struct Frozen {
    still: Arc<Still>,
    /// Dropped: nothing waits for the end of their time any more.
    end: Sender<()>,
    watcher: JoinHandle<()>,
}

#[derive(Default)]
struct Still {
    containers: Mutex<StandingStill>,
}

#[derive(Default)]
struct StandingStill {
    halted: Vec<Halted>,
    /// Whether any was.
    any: bool,
    /// When their time was over, if it is.
    over: Option<Timestamp>,
    /// What did not go on, or had gone on before.
    problems: Vec<Problem>,
}

impl FreezeOptions {
    /// Makes them stand still. Those that do not run are left alone, and those that are not there are problems. `note` is told of
    /// each. Where one cannot be made to, the others go on again.
    pub fn begin(
        &self,
        cancel: &Cancel,
        clock: &dyn Clock,
        note: &mut dyn FnMut(String),
    ) -> Result<(Frozen, Vec<Problem>), SourceError> {
        let engine = self.engine.open(cancel)?;
        let (mut found, mut problems) = (Vec::<Container>::new(), Vec::new());
        for name in &self.containers {
            match engine.find_all(name) {
                Ok(all) => found.extend(all),
                Err(SourceError::Unavailable { what }) => {
                    problems.push(Problem::new(Path::new("freeze"), format!("{what}; nothing of it stood still")));
                }
                Err(error) => return Err(error),
            }
        }
        // A container may be meant by its own name and by its service.
        let mut ids = BTreeSet::new();
        found.retain(|container| ids.insert(container.id.clone()));
        let mounts = own_mounts();
        if let Some(own) = found.iter().find(|container| is_own(&container.id, &mounts)) {
            let what = format!("Lifeboat itself runs in container {}, which it cannot halt; take it out", own.name);
            return Err(SourceError::unavailable(what));
        }
        let frozen = Frozen::watched(self.max_downtime)?;
        let until = clock.now() + self.max_downtime;
        let halt_all = || {
            for container in found.into_iter().filter(|container| container.state == ContainerState::Running) {
                cancel.check()?;
                if frozen.over().is_some() {
                    break;
                }
                let halted = self.halts.halt_until(&engine, &container, self.halt, until, clock)?;
                if let Some(halted) = halted {
                    note(format!("container {} is {}", container.name, self.halt.done()));
                    frozen.still.hold(halted);
                }
            }
            Ok(())
        };
        match halt_all() {
            Ok(()) => Ok((frozen, problems)),
            Err(error) => {
                // Waited for: what comes after the run may need them.
                let left = frozen.release();
                left.into_iter().for_each(|problem| note(format!("container {}: {}", problem.path, problem.what)));
                Err(error)
            }
        }
    }
}

impl Frozen {
    fn watched(max_downtime: Duration) -> Result<Self, SourceError> {
        let still = Arc::<Still>::default();
        let (end, waiting) = channel();
        let watched = Arc::clone(&still);
        let watch = move || {
            if waiting.recv_timeout(max_downtime) == Err(RecvTimeoutError::Timeout) {
                watched.time_is_over();
            }
        };
        let watcher = std::thread::Builder::new().name("end of freeze".to_owned()).spawn(watch);
        Ok(Self { still, end, watcher: watcher.map_err(SourceError::io("a thread"))? })
    }

    /// When their time was over, where it is, and any of them stood still.
    pub fn over(&self) -> Option<Timestamp> {
        let containers = self.still.lock();
        containers.over.filter(|_| containers.any)
    }

    /// Lets them go on. Gives what does not, and what had gone on before, by nobody knows whom.
    pub fn release(self) -> Vec<Problem> {
        drop(self.end);
        // One that panicked has let nothing go on.
        let _ = self.watcher.join();
        let mut containers = self.still.lock();
        containers.go_on();
        std::mem::take(&mut containers.problems)
    }
}

impl Still {
    fn lock(&self) -> MutexGuard<'_, StandingStill> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps one that was halted, unless the time is over.
    fn hold(&self, halted: Halted) {
        let mut containers = self.lock();
        containers.halted.push(halted);
        containers.any = true;
        if containers.over.is_some() {
            containers.go_on();
        }
    }

    fn time_is_over(&self) {
        let mut containers = self.lock();
        // Whoever simulates time has no containers.
        containers.over = Some(SystemClock.now());
        containers.go_on();
    }
}

impl StandingStill {
    /// The last that was halted goes on first: it may be what the others need.
    fn go_on(&mut self) {
        while let Some(halted) = self.halted.pop() {
            let name = halted.name().to_owned();
            let what = match halted.resume() {
                Ok(true) => continue,
                Ok(false) => {
                    "it ran before everything was read, since somebody else let it go on; what was read is not surely of one moment"
                        .to_owned()
                }
                Err(error) => error.to_string(),
            };
            self.problems.push(Problem { source: String::new(), path: name, what });
        }
    }
}
