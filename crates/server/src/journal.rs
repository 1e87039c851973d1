//! Every run, from when it was asked for to how it ended. It is written before anything is done, so that after a crash it is
//! known what was under way.

mod counts;

use std::sync::Arc;

use jiff::Timestamp;
use operations::Fault;
use operations::schedule::Memory;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, named_params, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::database::Database;
use crate::process::Process;
use crate::task::Task;

/// The runs.
pub struct Journal(Arc<Database>);

/// One run.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Run {
    /// Its id; later runs have greater ones.
    pub id: String,
    /// What is done.
    pub task: Task,
    /// The scheduled job that it is of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<String>,
    /// Why it was started, in words.
    pub cause: String,
    /// Who asked for it; nobody where it was due.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// How far it is, or how it ended.
    pub status: Status,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub queued_at: Timestamp,
    /// When it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// What went wrong, in short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What the command said at its end, as with `--json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub summary: Option<Value>,
    /// The process, while it runs.
    #[serde(skip)]
    pub process: Option<Process>,
}

/// How far a run is, or how it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It waits for its turn.
    Queued,
    /// It is under way.
    Running,
    /// All was done.
    Ok,
    /// Something was left out.
    Partial,
    /// It failed.
    Failed,
    /// Somebody stopped it.
    Cancelled,
    /// It was cut off, as by a power failure.
    CutOff,
}

impl Status {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::CutOff => "cut_off",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let all = [Self::Queued, Self::Running, Self::Ok, Self::Partial, Self::Failed, Self::Cancelled, Self::CutOff];
        all.into_iter().find(|status| status.name() == name)
    }

    /// Whether nothing more comes of it.
    pub fn is_end(self) -> bool {
        !matches!(self, Self::Queued | Self::Running)
    }
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// How.
    pub status: Status,
    /// What went wrong, in short.
    pub message: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// What the command said at its end.
    pub summary: Option<Value>,
}

/// Which runs to list; newest first.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Only those with smaller ids.
    pub before: Option<String>,
    /// Only of this kind.
    pub kind: Option<String>,
    /// Only of this stack.
    pub stack: Option<String>,
    /// Only with this status.
    pub status: Option<Status>,
    /// Only of these stacks, and of no stack: what who asks may see. `None`: all.
    pub visible: Option<Vec<String>>,
    /// So many at most.
    pub limit: usize,
}

const COLUMNS: &str =
    "id, task, job, cause, actor, status, queued_at, started_at, ended_at, message, hint, summary, process";

impl Journal {
    /// The runs in `database`.
    pub fn new(database: Arc<Database>) -> Self {
        Self(database)
    }

    /// Writes down that something was asked for.
    ///
    /// # Errors
    ///
    /// Where it cannot be written.
    pub fn queue(&self, task: &Task, cause: &str, actor: Option<&str>, now: Timestamp) -> Result<Run, Fault> {
        let run = new(task, cause, actor, now)?;
        self.0.with(|db| insert(db, &run))?;
        Ok(run)
    }

    /// Writes down that a job's run begins, together with what is kept of the job.
    ///
    /// # Errors
    ///
    /// As [`Journal::queue`].
    pub fn queue_job(
        &self,
        job: &str,
        memory: &Memory,
        task: &Task,
        cause: &str,
        now: Timestamp,
    ) -> Result<Run, Fault> {
        let run = Run { job: Some(job.to_owned()), ..new(task, cause, None, now)? };
        self.0.change(|db| {
            keep(db, job, memory)?;
            insert(db, &run)
        })?;
        Ok(run)
    }

    /// Writes down which process does a run.
    ///
    /// # Errors
    ///
    /// As [`Journal::queue`].
    pub fn begin(&self, id: &str, process: &Process, now: Timestamp) -> Result<(), Fault> {
        let begin = "UPDATE run SET status = 'running', started_at = ?2, process = ?3 WHERE id = ?1";
        self.0.with(|db| db.execute(begin, params![id, now.as_millisecond(), json(process)?])).map(drop)
    }

    /// Writes down how a run ended, and what is kept of its job by then. Only the first end counts.
    ///
    /// # Errors
    ///
    /// As [`Journal::queue`].
    pub fn end(&self, id: &str, end: &End, now: Timestamp) -> Result<(), Fault> {
        let update = "UPDATE run SET status = :status, ended_at = :at, message = :message, hint = :hint, summary = :summary, \
                      process = NULL WHERE id = :id AND ended_at IS NULL";
        self.0.change(|db| {
            let summary = end.summary.as_ref().map(json).transpose()?;
            db.execute(
                update,
                named_params! {
                    ":id": id, ":status": end.status.name(), ":at": now.as_millisecond(), ":message": end.message,
                    ":hint": end.hint, ":summary": summary,
                },
            )?;
            // A run that was cut off stays begun, so that it is started again.
            if end.status == Status::CutOff {
                return Ok(());
            }
            let job: Option<String> = db.query_row("SELECT job FROM run WHERE id = ?1", [id], |row| row.get(0))?;
            let Some(job) = job else { return Ok(()) };
            match memory(db, &job)? {
                Some(memory) => keep(db, &job, &memory.with_end(now)),
                None => Ok(()),
            }
        })
    }

    /// A run. `None` where there is none with this id.
    ///
    /// # Errors
    ///
    /// Where it cannot be read.
    pub fn run(&self, id: &str) -> Result<Option<Run>, Fault> {
        let ask = format!("SELECT {COLUMNS} FROM run WHERE id = ?1");
        self.0.with(|db| db.query_row(&ask, [id], read).optional())
    }

    /// Runs that have not ended, the oldest first.
    ///
    /// # Errors
    ///
    /// As [`Journal::run`].
    pub fn open(&self, status: Status) -> Result<Vec<Run>, Fault> {
        let ask = format!("SELECT {COLUMNS} FROM run WHERE status = ?1 ORDER BY id");
        self.0.with(|db| db.prepare_cached(&ask)?.query_map([status.name()], read)?.collect())
    }

    /// Runs, the newest first.
    ///
    /// # Errors
    ///
    /// As [`Journal::run`].
    pub fn list(&self, wanted: &Wanted) -> Result<Vec<Run>, Fault> {
        let mut conditions = vec!["1"];
        let mut named: Vec<(&str, &dyn rusqlite::ToSql)> = Vec::new();
        let status = wanted.status.map(Status::name);
        let visible = wanted.visible.as_ref().map(|stacks| Value::from(stacks.clone()).to_string());
        if let Some(before) = &wanted.before {
            conditions.push("id < :before");
            named.push((":before", before));
        }
        if let Some(kind) = &wanted.kind {
            conditions.push("kind = :kind");
            named.push((":kind", kind));
        }
        if let Some(stack) = &wanted.stack {
            conditions.push("stack = :stack");
            named.push((":stack", stack));
        }
        if let Some(status) = &status {
            conditions.push("status = :status");
            named.push((":status", status));
        }
        if let Some(visible) = &visible {
            conditions.push("(stack IS NULL OR stack IN (SELECT value FROM json_each(:visible)))");
            named.push((":visible", visible));
        }
        let limit = i64::try_from(wanted.limit).unwrap_or(i64::MAX);
        named.push((":limit", &limit));
        let ask = format!("SELECT {COLUMNS} FROM run WHERE {} ORDER BY id DESC LIMIT :limit", conditions.join(" AND "));
        self.0.with(|db| db.prepare_cached(&ask)?.query_map(&*named, read)?.collect())
    }

    /// Forgets runs that ended before `before`, and gives their ids.
    ///
    /// # Errors
    ///
    /// As [`Journal::queue`].
    pub fn forget(&self, before: Timestamp) -> Result<Vec<String>, Fault> {
        let forget = "DELETE FROM run WHERE ended_at < ?1 RETURNING id";
        self.0.with(|db| {
            let mut forgotten = db.prepare(forget)?;
            let ids = forgotten.query_map([before.as_millisecond()], |row| row.get(0))?;
            ids.collect()
        })
    }

    /// What is kept of a job. `None` where it is new.
    ///
    /// # Errors
    ///
    /// As [`Journal::run`].
    pub fn memory(&self, job: &str) -> Result<Option<Memory>, Fault> {
        self.0.with(|db| memory(db, job))
    }

    /// Keeps what was decided about a job that is not started.
    ///
    /// # Errors
    ///
    /// As [`Journal::queue`].
    pub fn keep(&self, job: &str, memory: &Memory) -> Result<(), Fault> {
        self.0.with(|db| keep(db, job, memory))
    }
}

fn new(task: &Task, cause: &str, actor: Option<&str>, now: Timestamp) -> Result<Run, Fault> {
    Ok(Run {
        id: id(now)?,
        task: task.clone(),
        job: None,
        cause: cause.to_owned(),
        actor: actor.map(str::to_owned),
        status: Status::Queued,
        queued_at: now,
        started_at: None,
        ended_at: None,
        message: None,
        hint: None,
        summary: None,
        process: None,
    })
}

/// The milliseconds, so that ids grow with time, and 32 random bits.
fn id(now: Timestamp) -> Result<String, Fault> {
    let random = getrandom::u32().map_err(|error| Fault::local("the system gives no random numbers", error.into()))?;
    Ok(format!("{:012x}{random:08x}", now.as_millisecond().max(0)))
}

fn insert(db: &Connection, run: &Run) -> rusqlite::Result<()> {
    let insert = "INSERT INTO run (id, task, kind, stack, copy, job, cause, actor, status, queued_at) \
                  VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
    let task = &run.task;
    db.execute(
        insert,
        params![
            run.id,
            json(task)?,
            task.kind(),
            task.stack(),
            task.copy(),
            run.job,
            run.cause,
            run.actor,
            run.status.name(),
            run.queued_at.as_millisecond(),
        ],
    )
    .map(drop)
}

fn keep(db: &Connection, job: &str, memory: &Memory) -> rusqlite::Result<()> {
    let keep =
        "INSERT INTO job (name, memory) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET memory = excluded.memory";
    db.execute(keep, params![job, json(memory)?]).map(drop)
}

/// What cannot be understood, as it was written by another version, is as if there were nothing.
fn memory(db: &Connection, job: &str) -> rusqlite::Result<Option<Memory>> {
    let found = db.query_row("SELECT memory FROM job WHERE name = ?1", [job], |row| row.get::<_, String>(0));
    Ok(found.optional()?.and_then(|text| serde_json::from_str(&text).ok()))
}

fn read(row: &Row<'_>) -> rusqlite::Result<Run> {
    let task: String = row.get("task")?;
    let status: String = row.get("status")?;
    let odd = |what: String| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, what.into());
    let summary: Option<String> = row.get("summary")?;
    let process: Option<String> = row.get("process")?;
    Ok(Run {
        id: row.get("id")?,
        task: serde_json::from_str(&task).map_err(|error| odd(error.to_string()))?,
        job: row.get("job")?,
        cause: row.get("cause")?,
        actor: row.get("actor")?,
        status: Status::parse(&status).ok_or_else(|| odd(status))?,
        queued_at: time(row.get("queued_at")?),
        started_at: row.get::<_, Option<i64>>("started_at")?.map(time),
        ended_at: row.get::<_, Option<i64>>("ended_at")?.map(time),
        message: row.get("message")?,
        hint: row.get("hint")?,
        summary: summary.and_then(|text| serde_json::from_str(&text).ok()),
        process: process.and_then(|text| serde_json::from_str(&text).ok()),
    })
}

/// A time in the file that is out of the calendar was not written by this program.
pub fn time(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(milliseconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn json(value: &impl Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(hours)
    }

    fn backup(stack: &str) -> Task {
        Task::Backup { stack: stack.to_owned(), sources: Vec::new(), copies: Vec::new() }
    }

    fn journal(folder: &std::path::Path) -> Journal {
        Journal::new(Arc::new(Database::open(&folder.join("db")).unwrap()))
    }

    fn end(status: Status) -> End {
        End { status, message: None, hint: None, summary: None }
    }

    #[test]
    fn a_job_counts_as_ended_when_its_run_has_and_not_when_that_was_cut_off() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        let memory = Memory { begun: Some(at(1)), ..Memory::new(at(1)) };
        let ended = |status| {
            let run = journal.queue_job("backup a", &memory, &backup("a"), "due", at(1)).unwrap();
            journal.end(&run.id, &end(status), at(2)).unwrap();
            journal.memory("backup a").unwrap().unwrap().ended
        };
        assert_eq!(ended(Status::Failed), Some(at(2)));
        assert_eq!(ended(Status::CutOff), None);
        assert_eq!(ended(Status::Ok), Some(at(2)));
    }

    #[test]
    fn of_two_ends_the_first_counts() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        let run = journal.queue(&backup("a"), "asked for", Some("ada"), at(0)).unwrap();
        journal.end(&run.id, &end(Status::Failed), at(1)).unwrap();
        journal.end(&run.id, &end(Status::Ok), at(2)).unwrap();
        let run = journal.run(&run.id).unwrap().unwrap();
        assert_eq!((run.status, run.ended_at, run.actor.as_deref()), (Status::Failed, Some(at(1)), Some("ada")));
    }

    #[test]
    fn runs_are_listed_page_by_page_to_those_who_may_see_them_and_forgotten_in_time() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(folder.path());
        for hour in 0..10 {
            let run = journal.queue(&backup(if hour % 2 == 0 { "a" } else { "b" }), "due", None, at(hour)).unwrap();
            journal.end(&run.id, &end(Status::Ok), at(hour)).unwrap();
        }
        journal.queue(&Task::Sync { copy: None }, "due", None, at(10)).unwrap();
        let list = |wanted: Wanted| journal.list(&Wanted { limit: 4, ..wanted }).unwrap();
        let hours = |runs: &[Run]| runs.iter().map(|run| run.queued_at.as_second() / 3600).collect::<Vec<_>>();
        let first = list(Wanted::default());
        assert_eq!(hours(&first), [10, 9, 8, 7]);
        assert_eq!(hours(&list(Wanted { before: Some(first[3].id.clone()), ..Wanted::default() })), [6, 5, 4, 3]);
        let visible = Some(vec!["b".to_owned()]);
        assert_eq!(hours(&list(Wanted { visible, ..Wanted::default() })), [10, 9, 7, 5]);
        assert_eq!(hours(&list(Wanted { stack: Some("a".to_owned()), ..Wanted::default() })), [8, 6, 4, 2]);
        assert_eq!(hours(&list(Wanted { status: Some(Status::Queued), ..Wanted::default() })), [10]);
        assert_eq!(journal.forget(at(5)).unwrap().len(), 5);
        assert_eq!(hours(&list(Wanted { stack: Some("a".to_owned()), ..Wanted::default() })), [8, 6]);
    }
}
