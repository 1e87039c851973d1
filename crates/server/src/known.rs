//! What is known of stacks, snapshots, copies and coverage: what the commands said last. Pages and the API read it here, so that
//! none of them waits for a copy that is far away, and the server itself never opens a repository.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use operations::{Fault, FaultKind};
use repository::Clock;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::bell::Bell;
use crate::database::Database;
use crate::journal::time;
use crate::log;
use crate::runner::{News, Program, Runner};

/// How old it may be before it is asked for again, where nothing has happened.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(10 * 60);
/// Rows that are changed while others wait.
const ROWS_AT_ONCE: usize = 500;

/// What is known.
pub struct Known {
    database: Arc<Database>,
    clock: Arc<dyn Clock>,
    program: Program,
}

/// What a command said, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// When it was asked.
    pub at: Timestamp,
    /// The summary, or the error that there was instead.
    pub summary: Value,
    /// The lines before it.
    pub lines: Vec<Value>,
}

/// Which snapshots to list; newest first.
#[derive(Clone, Debug, Default)]
pub struct WantedSnapshots {
    /// Only those older than this one.
    pub before: Option<Timestamp>,
    /// Only of this stack.
    pub stack: Option<String>,
    /// Only of these stacks: what who asks may see. `None`: all.
    pub visible: Option<Vec<String>>,
    /// So many at most.
    pub limit: usize,
}

impl Known {
    /// What is in `database`, and `program` to know more.
    pub fn new(database: Arc<Database>, clock: Arc<dyn Clock>, program: Program) -> Self {
        Self { database, clock, program }
    }

    /// Asks for all again whenever a run has ended, and now and then, until the bell says that the server ends.
    pub fn keep_asking(&self, runner: &Runner, bell: &Bell) {
        loop {
            for (name, asked) in [
                ("snapshots", self.ask_snapshots()),
                ("status", self.ask("status")),
                ("copies", self.ask("copies")),
                ("coverage", self.ask("coverage")),
            ] {
                if let Err(fault) = asked {
                    log::line("warning", &format!("`lifeboat {name}` says nothing: {}", fault.text()), &[]);
                }
                runner.tell(News::Known);
            }
            if !bell.wait(ASK_AGAIN_AFTER) {
                return;
            }
        }
    }

    /// What a command said last: `status`, `copies` or `coverage`. `None` where it was not asked yet.
    ///
    /// # Errors
    ///
    /// Where the memory cannot be read.
    pub fn told(&self, command: &str) -> Result<Option<Told>, Fault> {
        let ask = "SELECT at, value FROM known WHERE name = ?1";
        let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?));
        let found = self.database.with(|db| db.query_row(ask, [command], read).optional())?;
        // What another version wrote is as if it had not been asked.
        Ok(found.and_then(|(at, value)| {
            let Value::Array(mut lines) = serde_json::from_str(&value).ok()? else { return None };
            Some(Told { at: time(at), summary: lines.pop()?, lines })
        }))
    }

    /// Snapshots, the newest first.
    ///
    /// # Errors
    ///
    /// Where the memory cannot be read.
    pub fn snapshots(&self, wanted: &WantedSnapshots) -> Result<Vec<Value>, Fault> {
        let visible = wanted.visible.as_ref().map(|stacks| Value::from(stacks.clone()).to_string());
        let before = wanted.before.map_or(i64::MAX, Timestamp::as_millisecond);
        let limit = i64::try_from(wanted.limit).unwrap_or(i64::MAX);
        let of_stack = if wanted.stack.is_some() { "stack = ?2" } else { "?2 IS NULL" };
        let ask = format!(
            "SELECT value FROM snapshot WHERE time < ?1 AND {of_stack} AND (?3 IS NULL OR stack IN (SELECT value FROM \
             json_each(?3))) ORDER BY time DESC LIMIT ?4"
        );
        let texts: Vec<String> = self.database.with(|db| {
            let mut asked = db.prepare_cached(&ask)?;
            let rows = asked.query_map(params![before, wanted.stack, visible, limit], |row| row.get(0))?;
            rows.collect()
        })?;
        Ok(texts.iter().filter_map(|text| serde_json::from_str(text).ok()).collect())
    }

    /// The snapshot with this id, or the only one whose id begins so.
    ///
    /// # Errors
    ///
    /// Where the memory cannot be read.
    pub fn snapshot(&self, id: &str) -> Result<Option<Value>, Fault> {
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        let ask = "SELECT value FROM snapshot WHERE id >= ?1 AND id < ?1 || 'g' LIMIT 2";
        let texts: Vec<String> =
            self.database.with(|db| db.prepare_cached(ask)?.query_map([id], |row| row.get(0))?.collect())?;
        match texts.as_slice() {
            [one] => Ok(serde_json::from_str(one).ok()),
            _ => Ok(None),
        }
    }

    /// The lines that a command says, the summary or error last.
    ///
    /// # Errors
    ///
    /// Where it cannot be started, or ends without a last word.
    pub fn say(&self, arguments: &[&str]) -> Result<Vec<Value>, Fault> {
        let arguments: Vec<_> = arguments.iter().map(Into::into).collect();
        let mut command = self.program.command(&arguments);
        let output = command
            .stderr(Stdio::null())
            .output()
            .map_err(|error| Fault::local(format!("cannot start {}", self.program.path.display()), error))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let is_last = |line: &Value| matches!(line["message_type"].as_str(), Some("summary" | "error"));
        match lines.last().is_some_and(is_last) {
            true => Ok(lines),
            false => {
                Err(Fault::new(FaultKind::Failed, format!("it ended with {} and without a last word", output.status)))
            }
        }
    }

    fn ask(&self, command: &str) -> Result<(), Fault> {
        let at = self.clock.now();
        let lines = Value::Array(self.say(&[command])?).to_string();
        let keep = "INSERT INTO known (name, at, value) VALUES (?1, ?2, ?3) \
                    ON CONFLICT (name) DO UPDATE SET at = excluded.at, value = excluded.value";
        self.database.with(|db| db.execute(keep, params![command, at.as_millisecond(), lines])).map(drop)
    }

    /// Snapshots are many, so only what changed is written, and not all at once. Where copies cannot be reached, what was known
    /// of their snapshots stays.
    fn ask_snapshots(&self) -> Result<(), Fault> {
        let mut lines = self.say(&["snapshots"])?;
        let is_whole = lines.pop().is_some_and(|last| last["status"] == "ok")
            && !lines.iter().any(|line| line["message_type"] == "passed_over");
        let found: BTreeMap<String, Value> = lines
            .into_iter()
            .filter(|line| line["message_type"] == "snapshot")
            .filter_map(|line| Some((line["id"].as_str()?.to_owned(), line)))
            .collect();
        let known = self.hashes()?;
        let changed: Vec<_> = found
            .iter()
            .map(|(id, line)| (id, line, line.to_string()))
            .filter(|(id, _, text)| known.get(*id) != Some(&hash(text)))
            .collect();
        for some in changed.chunks(ROWS_AT_ONCE) {
            self.database.change(|db| some.iter().try_for_each(|(id, line, text)| keep(db, id, line, text)))?;
        }
        let here: BTreeSet<&String> = found.keys().collect();
        let gone: Vec<_> = known.keys().filter(|id| is_whole && !here.contains(id)).collect();
        for some in gone.chunks(ROWS_AT_ONCE) {
            let forget = |db: &Connection, id: &str| db.execute("DELETE FROM snapshot WHERE id = ?1", [id]).map(drop);
            self.database.change(|db| some.iter().try_for_each(|id| forget(db, id)))?;
        }
        Ok(())
    }

    fn hashes(&self) -> Result<BTreeMap<String, [u8; 32]>, Fault> {
        let read = |row: &Row<'_>| Ok((row.get(0)?, hash(row.get_ref(1)?.as_str()?)));
        self.database.with(|db| db.prepare_cached("SELECT id, value FROM snapshot")?.query_map([], read)?.collect())
    }
}

fn keep(db: &Connection, id: &str, line: &Value, text: &str) -> rusqlite::Result<()> {
    let at: Option<Timestamp> = line["time"].as_str().and_then(|time| time.parse().ok());
    let keep = "INSERT INTO snapshot (id, stack, time, value) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO UPDATE SET \
                stack = excluded.stack, time = excluded.time, value = excluded.value";
    let (stack, at) = (line["stack"].as_str().unwrap_or_default(), at.unwrap_or(Timestamp::UNIX_EPOCH));
    db.execute(keep, params![id, stack, at.as_millisecond(), text]).map(drop)
}

fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// The part of a summary about each stack, of those that may be seen.
pub fn of_stacks<'a>(summary: &'a Value, visible: &Option<Vec<String>>) -> Map<String, Value> {
    let all = summary["stacks"].as_object().into_iter().flatten();
    let is_visible = |name: &str| visible.as_ref().is_none_or(|visible| visible.iter().any(|stack| stack == name));
    all.filter(|(name, _)| is_visible(name))
        .map(|(name, value): (&'a String, &'a Value)| (name.clone(), value.clone()))
        .collect()
}
