//! Which jobs are to be started now, and why the others are not.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;

use super::hours::Hours;
use super::memory::Memory;
use super::timetable::Timetable;

/// A run that begins later than this after its time is told as late.
const LATE_AFTER: Duration = Duration::from_secs(5 * 60);
/// A run that was cut off is started again so often. One that takes the machine down with it must not do so for ever.
const RESTARTS_MAX: u32 = 2;
/// By how much a clock may go back and the jobs wait until it is again where it was. After a larger jump, waiting would be a
/// long time without backups.
const STEP_BACK_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A job as it is known when it is decided about.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// Its name, which no other has.
    pub name: &'a str,
    /// What it does, such as `backup` or `drill`: [`Limits`] go by it.
    pub kind: &'a str,
    /// When it is to run.
    pub timetable: &'a Timetable,
    /// What happens where its time comes while it runs.
    pub overlap: Overlap,
    /// When it may begin. `None`: at any time.
    pub hours: Option<Hours>,
    /// What is known of its past.
    pub memory: &'a Memory,
}

/// A run that is under way, whoever started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Running<'a> {
    /// The job's name.
    pub name: &'a str,
    /// What it does.
    pub kind: &'a str,
}

/// What happens where a job's time comes while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Overlap {
    /// It does not run for that time.
    #[default]
    Refuse,
    /// It runs once more as soon as it has ended, however many times came meanwhile.
    Queue,
}

/// How many jobs run at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of all.
    pub at_once: NonZeroUsize,
    /// Of those of one kind, where that is fewer.
    pub at_once_of_kind: BTreeMap<String, NonZeroUsize>,
}

/// What was decided about one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'a> {
    /// The job.
    pub name: &'a str,
    /// What, and why.
    pub verdict: Verdict,
    /// When its timetable has it next. `None` only at the end of the calendar.
    pub next: Option<Timestamp>,
    /// What to keep of it from now on; before it is started, where it is.
    pub memory: Memory,
}

/// What is to become of a job, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is to be started.
    Start(Cause),
    /// It would be started, but has to wait.
    Wait(Cause, Waiting),
    /// Nothing is to be done.
    NotDue,
    /// It runs.
    Running,
    /// It runs, so it will not run for this time, which came meanwhile.
    Refused {
        /// The first time that came.
        due: Timestamp,
    },
    /// It runs, and will run once more for this time, which came meanwhile.
    Queued {
        /// The first time that came.
        due: Timestamp,
    },
    /// The clock went back a little: its times up to this one were there before.
    ClockWentBack {
        /// Up to when.
        settled: Timestamp,
    },
    /// The clock went back by far, so what is kept of the job is from a clock that was wrong. Its times count from now on.
    CountedAnew {
        /// What was kept.
        settled: Timestamp,
    },
}

/// Why a job is to be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Its time has come.
    Due(Timestamp),
    /// Its time, and maybe others since, passed without it. One run makes up for all.
    Late(Timestamp),
    /// Its time came while it ran.
    Queued(Timestamp),
    /// The run that began then was cut off, as by a power failure.
    CutOff(Timestamp),
}

/// Why a job that is to be started has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// For the hours at which it may begin.
    Hours {
        /// When these begin.
        open: Option<Timestamp>,
    },
    /// For any other job to end.
    Slot,
    /// For another job of its kind to end.
    SlotOfKind,
}

/// Decides about `jobs`, in their order. Those that have waited longest are first to be started where not all can be.
pub fn decide<'a>(now: Timestamp, jobs: &[Job<'a>], running: &[Running<'_>], limits: &Limits) -> Vec<Decision<'a>> {
    let mut decisions: Vec<_> = jobs.iter().map(|job| alone(now, job, running)).collect();
    let mut slots = Slots::new(running, limits);
    let mut wanted: Vec<(Cause, usize)> = decisions
        .iter()
        .enumerate()
        .filter_map(|(place, decision)| {
            let Verdict::Start(cause) = decision.verdict else { return None };
            Some((cause, place))
        })
        .collect();
    wanted.sort_by_key(|(cause, _)| cause.since());
    for (cause, place) in wanted {
        let (job, decision) = (&jobs[place], &mut decisions[place]);
        match slots.take(job.kind) {
            Ok(()) => {
                let restarts = if matches!(cause, Cause::CutOff(_)) { job.memory.restarts + 1 } else { 0 };
                decision.memory = decision.memory.with_begin(now, restarts);
            }
            Err(waiting) => decision.verdict = Verdict::Wait(cause, waiting),
        }
    }
    decisions
}

/// When to decide again, where no job ends before: at the first time of any job, or when the hours of one begin.
pub fn look_again(decisions: &[Decision<'_>]) -> Option<Timestamp> {
    let opening = |decision: &Decision<'_>| match decision.verdict {
        Verdict::Wait(_, Waiting::Hours { open }) => open,
        _ => None,
    };
    decisions.iter().flat_map(|decision| [decision.next, opening(decision)]).flatten().min()
}

/// Decides about a job as if there were no others.
fn alone<'a>(now: Timestamp, job: &Job<'a>, running: &[Running<'_>]) -> Decision<'a> {
    let mut memory = job.memory.clone();
    let is_running = running.iter().any(|run| run.name == job.name);
    let due = job.timetable.next_after(memory.settled).filter(|due| *due <= now);
    let settled = memory.settled;
    let ahead = if settled > now { settled.duration_since(now).unsigned_abs() } else { Duration::ZERO };
    let verdict = match (is_running, due) {
        _ if ahead > STEP_BACK_MAX => {
            memory.settled = now;
            Verdict::CountedAnew { settled }
        }
        (true, None) => Verdict::Running,
        (true, Some(due)) => {
            memory.settled = now;
            match job.overlap {
                Overlap::Refuse => Verdict::Refused { due },
                Overlap::Queue => {
                    let first = *memory.queued.get_or_insert(due);
                    Verdict::Queued { due: first }
                }
            }
        }
        (false, due) => match cause(now, due, &memory) {
            Some(cause) => match job.hours.filter(|hours| !hours.contains(now, job.timetable.zone())) {
                None => Verdict::Start(cause),
                Some(hours) => {
                    let open = hours.opens_after(now, job.timetable.zone());
                    Verdict::Wait(cause, Waiting::Hours { open })
                }
            },
            None if ahead > Duration::ZERO => Verdict::ClockWentBack { settled },
            None => Verdict::NotDue,
        },
    };
    let next = job.timetable.next_after(memory.settled.max(now));
    Decision { name: job.name, verdict, next, memory }
}

/// Why a job that does not run should be started.
fn cause(now: Timestamp, due: Option<Timestamp>, memory: &Memory) -> Option<Cause> {
    if let Some(queued) = memory.queued {
        return Some(Cause::Queued(queued));
    }
    if let Some(due) = due {
        let is_late = now.duration_since(due).unsigned_abs() > LATE_AFTER;
        return Some(if is_late { Cause::Late(due) } else { Cause::Due(due) });
    }
    memory.unended().filter(|_| memory.restarts < RESTARTS_MAX).map(Cause::CutOff)
}

impl Cause {
    /// Since when it waits.
    fn since(self) -> Timestamp {
        let (Self::Due(at) | Self::Late(at) | Self::Queued(at) | Self::CutOff(at)) = self;
        at
    }
}

/// What is free of the limits.
struct Slots<'a> {
    limits: &'a Limits,
    taken: usize,
    taken_of_kind: BTreeMap<String, usize>,
}

impl<'a> Slots<'a> {
    fn new(running: &[Running<'_>], limits: &'a Limits) -> Self {
        let mut taken_of_kind = BTreeMap::new();
        for run in running {
            *taken_of_kind.entry(run.kind.to_owned()).or_default() += 1;
        }
        Self { limits, taken: running.len(), taken_of_kind }
    }

    fn take(&mut self, kind: &str) -> Result<(), Waiting> {
        let of_kind = self.taken_of_kind.entry(kind.to_owned()).or_default();
        if self.limits.at_once_of_kind.get(kind).is_some_and(|most| *of_kind >= most.get()) {
            return Err(Waiting::SlotOfKind);
        }
        if self.taken >= self.limits.at_once.get() {
            return Err(Waiting::Slot);
        }
        *of_kind += 1;
        self.taken += 1;
        Ok(())
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start(cause) => write!(f, "is started: {cause}"),
            Self::Wait(cause, waiting) => write!(f, "{waiting}: {cause}"),
            Self::NotDue => f.write_str("is not due"),
            Self::Running => f.write_str("runs"),
            Self::Refused { due } => write!(f, "still runs, so it is left out at {due}"),
            Self::Queued { due } => write!(f, "still runs, and then runs once more for {due}"),
            Self::ClockWentBack { settled } => write!(f, "waits, as the clock went back: it is done up to {settled}"),
            Self::CountedAnew { settled } => {
                write!(f, "is counted anew from now on, as the clock went back: it was done up to {settled}")
            }
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Due(at) => write!(f, "due at {at}"),
            Self::Late(at) => write!(f, "due since {at}, made up for once"),
            Self::Queued(at) => write!(f, "due at {at}, when it still ran"),
            Self::CutOff(at) => write!(f, "the run of {at} was cut off"),
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hours { open: Some(open) } => write!(f, "waits for its hours, which begin at {open}"),
            Self::Hours { open: None } => f.write_str("waits for its hours"),
            Self::Slot => f.write_str("waits for another job to end"),
            Self::SlotOfKind => f.write_str("waits for another job of its kind to end"),
        }
    }
}
