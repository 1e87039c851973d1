//! How everything is that somebody is told about: the stacks, the jobs, the server.

use jiff::Timestamp;
use operations::Fault;
use operations::status::Severity;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::due;
use crate::journal::{Run, Status};
use crate::shared::Shared;

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing is wrong.
    #[default]
    Well,
    /// It could be better.
    Notice,
    /// Worth mending.
    Warning,
    /// Data may be lost.
    Critical,
}

impl Level {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Well => "well",
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Notice, Self::Warning, Self::Critical].into_iter().find(|level| level.name() == name)
    }
}

impl From<Severity> for Level {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Notice => Self::Notice,
            Severity::Warning => Self::Warning,
            Severity::Critical => Self::Critical,
        }
    }
}

/// Something that is wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Trouble {
    /// How bad it is.
    pub level: Level,
    /// What is wrong.
    pub text: String,
    /// What to do about it.
    pub fix: String,
}

/// Ages and times in the text change by the minute; what to do stays, as long as it is the same trouble.
impl PartialEq for Trouble {
    fn eq(&self, other: &Self) -> bool {
        (self.level, &self.fix) == (other.level, &other.fix)
    }
}

/// How something is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// What is wrong, worst first.
    pub troubles: Vec<Trouble>,
}

impl State {
    fn new(mut troubles: Vec<Trouble>) -> Self {
        troubles.sort_by(|one, other| (other.level, &one.fix).cmp(&(one.level, &other.fix)));
        Self { troubles }
    }

    /// The worst of it.
    pub fn level(&self) -> Level {
        self.troubles.iter().map(|trouble| trouble.level).max().unwrap_or_default()
    }

    /// Only what is as bad or worse.
    #[must_use]
    pub fn from(mut self, severity: Severity) -> Self {
        self.troubles.retain(|trouble| trouble.level >= severity.into());
        self
    }
}

/// Each subject, such as `stack NAME`, and how it is. What is not known yet is left out.
///
/// # Errors
///
/// Where the server's memory cannot be read.
pub fn all(shared: &Shared, started: Timestamp, now: Timestamp) -> Result<Vec<(String, State)>, Fault> {
    let mut all = of_stacks(shared)?;
    all.extend(of_jobs(shared)?);
    all.push(("server".to_owned(), of_server(shared, started, now)?));
    Ok(all)
}

fn of_stacks(shared: &Shared) -> Result<Vec<(String, State)>, Fault> {
    let told = shared.known.told("status")?.map(|told| told.summary).unwrap_or_default();
    let known = shared.settings.stacks.iter().filter_map(|stack| Some((stack, told["stacks"].get(&stack.name)?)));
    Ok(known.map(|(stack, health)| (format!("stack {}", stack.name), of_stack(health))).collect())
}

/// Of what `lifeboat status` says of a stack.
pub fn of_stack(health: &Value) -> State {
    let problems = health["problems"].as_array().into_iter().flatten();
    let troubles = problems.filter_map(|problem| {
        Some(Trouble {
            level: Level::parse(problem["severity"].as_str()?)?,
            text: problem["text"].as_str()?.to_owned(),
            fix: problem["fix"].as_str().unwrap_or_default().to_owned(),
        })
    });
    State::new(troubles.collect())
}

fn of_jobs(shared: &Shared) -> Result<Vec<(String, State)>, Fault> {
    let jobs = due::jobs(&shared.settings, &shared.host).into_iter();
    jobs.map(|job| {
        let last = shared.runner.journal.last_ended(&job.task)?;
        Ok((format!("job {}", job.name), last.map(|run| of_run(&run)).unwrap_or_default()))
    })
    .collect()
}

/// A job that failed is worth mending; whether data may be lost by it, its stack says.
fn of_run(run: &Run) -> State {
    let level = match run.status {
        Status::Failed | Status::CutOff | Status::Partial => Level::Warning,
        Status::Ok | Status::Cancelled | Status::Queued | Status::Running => return State::default(),
    };
    let how = match run.status {
        Status::CutOff => "was cut off",
        Status::Partial => "left something out",
        _ => "failed",
    };
    let why = run.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
    let text = format!("the last run {how}{why}");
    let fix = run.hint.clone().unwrap_or_else(|| "its log, on the page Runs, says more".to_owned());
    State::new(vec![Trouble { level, text, fix }])
}

/// That nothing runs which should.
fn of_server(shared: &Shared, started: Timestamp, now: Timestamp) -> Result<State, Fault> {
    let jobs = due::jobs(&shared.settings, &shared.host);
    let mut troubles = Vec::new();
    let limit = shared.settings.notifications.nothing_ran_for;
    // A server that was down has not seen anything end; what it has to catch up is given the same time.
    let since = shared.runner.journal.last_end()?.map_or(started, |last| last.max(started));
    let is_long = now > since && now.duration_since(since).unsigned_abs() > limit;
    if is_long && !jobs.is_empty() {
        let text = format!("no run has ended since {}", since.strftime("%Y-%m-%d %H:%M UTC"));
        let fix = "see the page Runs, and whether `lifeboat serve` says why in its log".to_owned();
        troubles.push(Trouble { level: Level::Critical, text, fix });
    }
    for job in &jobs {
        let memory = shared.runner.journal.memory(&job.name)?;
        if let Some(due) = memory.and_then(|memory| job.late_since(&memory, now)) {
            // The server may just have been started, and starts it now.
            if now.duration_since(due.max(started)) > due::LATE_AFTER {
                let text =
                    format!("the job {} was due at {} and has not begun", job.name, due.strftime("%Y-%m-%d %H:%M UTC"));
                let fix = format!("see the page Runs for what holds up {}", job.name);
                troubles.push(Trouble { level: Level::Warning, text, fix });
            }
        }
    }
    Ok(State::new(troubles))
}
