//! Starts what is due and what was asked for, one look after the other. What is decided is decided by
//! `operations::schedule`, which is pure; this is the deed.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use operations::Fault;
use operations::schedule::{Job, Limits, Memory, Running, Verdict, decide, look_again};
use repository::Clock;

use crate::bell::Bell;
use crate::due::Scheduled;
use crate::journal::{Run, Status};
use crate::log;
use crate::runner::Runner;
use crate::task::Task;

/// The longest time between two looks: a clock that was set meanwhile is seen by then.
const LOOK_AGAIN_AFTER_MAX: Duration = Duration::from_secs(30);

/// How often runs of long ago are forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(24 * 60 * 60);

/// Starts runs.
pub struct Scheduler {
    runner: Arc<Runner>,
    clock: Arc<dyn Clock>,
    at_once: NonZeroUsize,
    jobs: Vec<Scheduled>,
    bell: Bell,
}

impl Scheduler {
    /// A scheduler of `jobs`, of which and of what was asked for so many run at once.
    pub fn new(
        runner: Arc<Runner>,
        clock: Arc<dyn Clock>,
        at_once: NonZeroUsize,
        jobs: Vec<Scheduled>,
        bell: Bell,
    ) -> Self {
        Self { runner, clock, at_once, jobs, bell }
    }

    /// Goes on until the bell says that the server ends. What fails is told and tried again: backups must not stop because a disk
    /// was full for a moment.
    pub fn run(&self) {
        let mut tidied: Option<Timestamp> = None;
        loop {
            let now = self.clock.now();
            if tidied.is_none_or(|at| now.duration_since(at).unsigned_abs() > TIDY_EVERY) {
                tidied = Some(now);
                if let Err(fault) = self.runner.tidy() {
                    log::line("warning", &format!("old runs are kept: {}", fault.text()), &[]);
                }
            }
            let patience = self.look().unwrap_or_else(|fault| {
                log::line("error", &format!("the scheduler goes on after this: {}", fault.text()), &[]);
                LOOK_AGAIN_AFTER_MAX
            });
            if !self.bell.wait(patience) {
                return;
            }
        }
    }

    /// One look: starts what may start. Gives how long nothing more is due.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be used.
    pub fn look(&self) -> Result<Duration, Fault> {
        self.start_queued()?;
        self.start_due()
    }

    /// Starts what was asked for, in that order, but for what must not run beside what does.
    fn start_queued(&self) -> Result<(), Fault> {
        for run in self.runner.journal.open(Status::Queued)? {
            let running = self.runner.running();
            let asked_for = running.iter().filter(|other| other.job.is_none()).count();
            // Whoever restores does not wait for others.
            let is_urgent = matches!(run.task, Task::Restore { .. });
            let is_in_turn = run.job.is_some() || asked_for < self.at_once.get();
            if (is_urgent || is_in_turn) && !is_busy(&run.task, &running) {
                self.runner.start(run)?;
            }
        }
        Ok(())
    }

    fn start_due(&self) -> Result<Duration, Fault> {
        let now = self.clock.now();
        let under_way = self.runner.running();
        let free = self.jobs.iter().filter(|job| {
            let others: Vec<_> = under_way.iter().filter(|run| run.job.as_ref() != Some(&job.name)).cloned().collect();
            !is_busy(&job.task, &others)
        });
        let free: Vec<(&Scheduled, Memory)> = free
            .map(|job| {
                let kept = self.runner.journal.memory(&job.name)?;
                let memory = kept.map_or_else(
                    || {
                        let memory = Memory::new(now);
                        self.runner.journal.keep(&job.name, &memory).map(|()| memory)
                    },
                    Ok,
                )?;
                Ok((job, memory))
            })
            .collect::<Result<_, Fault>>()?;
        let jobs: Vec<Job<'_>> = free.iter().map(|(job, memory)| to_decide(job, memory)).collect();
        let running: Vec<Running<'_>> = under_way.iter().filter_map(to_count).collect();
        let limits = Limits { at_once: self.at_once, at_once_of_kind: Default::default() };
        let decisions = decide(now, &jobs, &running, &limits);
        for (decision, (job, memory)) in decisions.iter().zip(&free) {
            match &decision.verdict {
                Verdict::Start(cause) => {
                    // Of two that must not run at once, both may have been found due.
                    if is_busy(&job.task, &self.runner.running()) {
                        continue;
                    }
                    let cause = cause.to_string();
                    let run = self.runner.journal.queue_job(&job.name, &decision.memory, &job.task, &cause, now)?;
                    self.runner.start(run)?;
                }
                verdict => {
                    if decision.memory != *memory {
                        self.runner.journal.keep(&job.name, &decision.memory)?;
                        log::line("info", &format!("job {} {verdict}", job.name), &[]);
                    }
                }
            }
        }
        Ok(until(now, look_again(&decisions)))
    }
}

fn until(now: Timestamp, next: Option<Timestamp>) -> Duration {
    let until = next.map(|next| next.duration_since(now)).and_then(|until| Duration::try_from(until).ok());
    until.unwrap_or_default().clamp(Duration::from_millis(50), LOOK_AGAIN_AFTER_MAX)
}

fn to_decide<'a>(job: &'a Scheduled, memory: &'a Memory) -> Job<'a> {
    Job {
        name: &job.name,
        kind: job.task.kind(),
        timetable: &job.timetable,
        overlap: job.overlap,
        hours: job.hours,
        memory,
    }
}

fn to_count(run: &Run) -> Option<Running<'_>> {
    Some(Running { name: run.job.as_deref()?, kind: run.task.kind() })
}

/// Whether something runs that `task` must not run beside: another of its kind for the same stack, or the very same.
fn is_busy(task: &Task, running: &[Run]) -> bool {
    running.iter().any(|run| {
        let other = &run.task;
        other.kind() == task.kind() && other.stack() == task.stack() && (task.stack().is_some() || other == task)
    })
}
