//! A server on its way into a snapshot.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use repository::format::time::Time;
use repository::{Cancel, Capture, CaptureCx, Event, Events, Facts, Item, Problem, SourceError};

use super::dump::{Dump, NoComplaint};
use super::grants::{Grants, RIGHTS_TO_READ};

use super::history::History;
use super::hold::HeldUp;
use super::inventory::{self, Identity, Rows};
use super::server::{self, Server};
use super::session::Session;
use super::split::{Held, LogPosition};
use super::tools::{DumpTool, Kind};
use super::{DATABASES, DatabaseOptions, INVALID_VIEWS, USERS, VIEWS, facts, names};
use crate::program::{Guard, Program};
use crate::source::output::Output;
use crate::source::produced::{self, Produced, ProducedFile};
use crate::source::selection::Selection;
use crate::source::shrink::{self, Before};

/// As many tables as this are named; of more, how many they are.
const NAMED_MAX: usize = 20;

/// Opens the view: the transaction of the dump has begun when this returns.
pub fn open<'a>(
    options: &DatabaseOptions,
    selection: &Selection,
    cx: &CaptureCx<'a>,
) -> Result<Box<dyn Capture + 'a>, SourceError> {
    let cancel = cx.cancel.child();
    let server = Server::find(options, &cancel)?;
    let mut session = server.session(&cancel)?;
    let identity = inventory::identity(&mut session)?;
    let there = inventory::databases(&mut session)?;
    let mut problems: VecDeque<_> =
        selection.missing(there.iter().map(String::as_str)).into_iter().map(missing).collect();
    // In the order of their files, since the dump is parted in that order.
    let databases: BTreeMap<PathBuf, String> = there
        .into_iter()
        .filter(|name| selection.has(name))
        .map(|name| (Path::new(DATABASES).join(names::file_name(&name)), name))
        .collect();
    let grants = inventory::grants(&mut session)?;
    let reach = Reach::of(&grants, selection);
    if let Reach::Lacking(on) = &reach {
        let more = if on == ALL { format!(", RELOAD, {}", identity.right_to_see_log()) } else { String::new() };
        let what = format!(
            "who logs in may not read everything, so there may be databases and tables that are not in the snapshot; GRANT \
             {RIGHTS_TO_READ}{more} ON {on} TO the user"
        );
        problems.push_back(Problem::new(Path::new(server.name()), what));
    }
    let mut capture = MysqlCapture {
        events: cx.events,
        problems,
        produced: Produced::new(BTreeMap::new(), Time::from(cx.clock.now())),
        facts: facts::of_server(&identity),
        dump: None,
        position: None,
        counting: None,
        inconsistent: BTreeSet::new(),
        before: Before::new(cx, options.max_shrink_percent),
        selection: selection.clone(),
        guard: Guard(cancel.clone()),
    };
    if cx.look_only {
        cx.events.emit(Event::Note(format!("{}: what it holds is not counted in a dry run", server.name())));
        return Ok(Box::new(capture));
    }
    let mut files = BTreeMap::new();
    capture.take_accounts(&server, &identity, &reach, &mut files, &cancel)?;
    if databases.is_empty() {
        capture.problems.push_back(Problem::new(Path::new(server.name()), "it has no database to be captured"));
    } else {
        let names: Vec<String> = databases.values().cloned().collect();
        capture.take_inconsistent(&mut session, &names)?;
        let invalid = inventory::invalid_views(&mut session, &names)?;
        capture.tell_invalid(&server, &invalid, &mut files, &cancel)?;
        let tool = DumpTool::find(&server, identity.kind, identity.version, &cancel)?;
        refuse_part_of_rows(&mut session, &tool, &server)?;
        let history = History::plan(&mut session, &identity, &tool, &names)?;
        let lost = history.lost.iter().map(|(table, what)| Problem::new(Path::new(table), what));
        capture.problems.extend(lost);
        let wanted = WantedDump { tool, names: &names, left_out: &invalid, has_history: history.is_dumped };
        let begun = begin(&server, &identity, &grants, &wanted, &cancel)?;
        if grants.locks() && begun.counting.is_none() {
            let what = "rows are counted in the dump alone: changes could not be held up for the moment in which counting begins";
            let is_unplaced = identity.kind == Kind::Mysql && identity.has_log;
            let more = if is_unplaced { "; how far the log of changes had come is not known either" } else { "" };
            cx.events.emit(Event::Note(format!("{}: {what}{more}", server.name())));
        }
        capture.position = begun.position;
        for (number, path) in databases.keys().enumerate() {
            files.insert(path.clone(), begun.dump.file(number, &path.to_string_lossy()));
        }
        files.insert(VIEWS.into(), begun.dump.file(names.len(), VIEWS));
        (capture.dump, capture.counting) = (Some(begun.dump), begun.counting);
    }
    capture.produced = Produced::new(files, Time::from(cx.clock.now()));
    Ok(Box::new(capture))
}

/// All databases of a server, as grants have them.
const ALL: &str = "*.*";

/// How much who logs in may read of what is wanted.
enum Reach {
    /// All of it, and the rest.
    Everything,
    /// The databases that are named, and nothing else is wanted.
    Named,
    /// Not all of it: what rights are lacking on.
    Lacking(String),
}

impl Reach {
    fn of(grants: &Grants, selection: &Selection) -> Self {
        if grants.reads_all() {
            return Self::Everything;
        }
        let Some(names) = selection.names() else { return Self::Lacking(ALL.to_owned()) };
        match names.iter().find(|name| !grants.reads(name)) {
            None => Self::Named,
            Some(name) => Self::Lacking(format!("{}.*", names::quoted(name))),
        }
    }
}

fn missing(name: String) -> Problem {
    Problem::new(Path::new(&name), "there is no such database")
}

/// A tool that cannot be told to ask for all rows would write only some, and end as if these were all.
fn refuse_part_of_rows(session: &mut Session, tool: &DumpTool, server: &Server) -> Result<(), SourceError> {
    if server::tells(tool) {
        return Ok(());
    }
    let Some(rows_max) = session.rows_max()? else { return Ok(()) };
    let what = format!(
        "{}: its sql_select_limit gives {} no more than {rows_max} rows of a table: SET GLOBAL sql_select_limit=DEFAULT, and see \
         what sets it (the server's configuration, or init_connect)",
        server.name(),
        tool.name
    );
    Err(SourceError::Unavailable { what })
}

/// A dump that is to begin.
struct WantedDump<'a> {
    tool: DumpTool,
    names: &'a [String],
    /// Views that it cannot have.
    left_out: &'a [(String, String)],
    has_history: bool,
}

/// A dump that has begun, and what counts beside it.
struct Begun {
    dump: Dump,
    /// The place in the log of changes, where the tool does not tell it.
    position: Option<LogPosition>,
    counting: Option<Counting>,
}

/// Gives what the server counted.
type Counting = JoinHandle<Result<BTreeMap<String, Held>, SourceError>>;

/// Begins the dump and, where changes may be held up for that, a transaction that sees the same moment.
fn begin(
    server: &Server,
    identity: &Identity,
    grants: &Grants,
    wanted: &WantedDump<'_>,
    cancel: &Cancel,
) -> Result<Begun, SourceError> {
    let WantedDump { tool, names, left_out, has_history } = wanted;
    let has_position = identity.has_log && grants.locks() && grants.sees_log();
    let is_told_by_tool = has_position && tool.kind == Kind::Mariadb;
    let left_out = left_out.iter().map(|(database, view)| format!("--ignore-table={database}.{view}"));
    let program = dump_program(server, tool, is_told_by_tool).args(left_out);
    let program = program.args(has_history.then_some("--dump-history"));
    let program = program.arg("--databases").arg("--").args(names.iter());
    let log_of = Some(identity).filter(|_| has_position && !is_told_by_tool);
    let held_up = if grants.locks() { HeldUp::begin(server, log_of, cancel)? } else { None };
    let running = program.start(server.stage(), cancel)?;
    let output = Output::of(tool.name.to_owned(), NoComplaint, cancel, running);
    let dump = Dump::new(output, names.to_vec());
    dump.wait_for_data()?;
    let Some((mut session, position)) = held_up.and_then(HeldUp::end) else {
        return Ok(Begun { dump, position: None, counting: None });
    };
    let names = names.to_vec();
    let rows = if *has_history { Rows::All } else { Rows::Current };
    let count = move || inventory::count(&mut session, &names, rows);
    let thread = std::thread::Builder::new().name("count rows".to_owned()).spawn(count);
    Ok(Begun { dump, position, counting: Some(thread.map_err(SourceError::io("a thread"))?) })
}

fn dump_program(server: &Server, tool: &DumpTool, tells_position: bool) -> Program {
    let mut program = server.dump_tool(tool).args([
        "--single-transaction",
        "--quick",
        "--routines",
        "--events",
        "--triggers",
        "--hex-blob",
        "--skip-dump-date",
        "--no-tablespaces",
        "--max-allowed-packet=1G",
    ]);
    if tool.kind == Kind::Mysql {
        // With ids of transactions, it would lock the whole server for as long as it takes.
        program = program.arg("--set-gtid-purged=OFF");
        if tool.version[0] >= 8 {
            program = program.arg("--column-statistics=0");
        }
    }
    // That of MariaDB asks its transaction, and locks nobody out.
    if tells_position { program.arg("--master-data=2") } else { program }
}

struct MysqlCapture<'a> {
    events: &'a dyn Events,
    problems: VecDeque<Problem>,
    produced: Produced,
    facts: Facts,
    dump: Option<Dump>,
    /// The place in the log of changes, where the dump does not tell it.
    position: Option<LogPosition>,
    counting: Option<Counting>,
    /// Tables that two transactions may see differently, though they see the same moment.
    inconsistent: BTreeSet<String>,
    /// Until it was held against this snapshot.
    before: Option<Before<'a>>,
    selection: Selection,
    guard: Guard,
}

impl MysqlCapture<'_> {
    fn take_accounts(
        &mut self,
        server: &Server,
        identity: &Identity,
        reach: &Reach,
        files: &mut BTreeMap<PathBuf, ProducedFile>,
        cancel: &Cancel,
    ) -> Result<(), SourceError> {
        // A session of its own, since a refusal ends it.
        let accounts = inventory::accounts(&mut server.session(cancel)?, identity.kind, identity.version);
        match accounts {
            Ok(statements) => {
                let made = statements.iter().filter(|statement| statement.starts_with("CREATE ")).count();
                self.facts.insert(facts::ACCOUNTS.to_owned(), made.into());
                let text: String = statements.iter().map(|statement| format!("{statement};\n")).collect();
                files.insert(USERS.into(), ProducedFile::ready(USERS, text.into_bytes()));
                Ok(())
            }
            Err(SourceError::Cancelled) => Err(SourceError::Cancelled),
            Err(_) if matches!(reach, Reach::Named) => {
                let what = "users, their rights and the place in the log of changes are not in the snapshot, since who logs in may \
                            read no more than the databases that are named";
                self.events.emit(Event::Note(format!("{}: {what}", server.name())));
                Ok(())
            }
            Err(error) => {
                let what = format!("its users are not in the snapshot: {error}");
                self.problems.push_back(Problem::new(Path::new(server.name()), what));
                Ok(())
            }
        }
    }

    /// Names the views that no dump can have, and keeps how they were made, where who asks may see that.
    fn tell_invalid(
        &mut self,
        server: &Server,
        views: &[(String, String)],
        files: &mut BTreeMap<PathBuf, ProducedFile>,
        cancel: &Cancel,
    ) -> Result<(), SourceError> {
        let mut text = String::new();
        for (database, view) in views {
            // A session for each, since a refusal ends it.
            let definition = match inventory::view_definition(&mut server.session(cancel)?, database, view) {
                Ok(statement) => {
                    text.push_str(&format!("{statement};\n"));
                    format!("is in {INVALID_VIEWS}")
                }
                Err(SourceError::Cancelled) => return Err(SourceError::Cancelled),
                Err(error) => format!("could not be read: {error}"),
            };
            let what = format!(
                "what this view reads is gone, or may not be read, so it is not in the backup: mend it or drop it; how it was \
                 made {definition}"
            );
            self.problems.push_back(Problem::new(Path::new(&format!("{database}.{view}")), what));
        }
        if !text.is_empty() {
            files.insert(INVALID_VIEWS.into(), ProducedFile::ready(INVALID_VIEWS, text.into_bytes()));
        }
        Ok(())
    }

    /// Names the tables whose engines know no transactions.
    fn take_inconsistent(&mut self, session: &mut Session, names: &[String]) -> Result<(), SourceError> {
        let tables = inventory::inconsistent(session, names)?;
        if !tables.is_empty() {
            let more = tables.len().saturating_sub(NAMED_MAX);
            let named = tables.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
            let more = if more == 0 { String::new() } else { format!(" and {more} more") };
            self.events.emit(Event::Note(format!(
                "tables whose engine knows no transactions are captured as they are when it is their turn: {named}{more}"
            )));
        }
        let name = |table: String| table.rsplit_once(" (").map_or(table.clone(), |(name, _)| name.to_owned());
        self.inconsistent = tables.into_iter().map(name).collect();
        Ok(())
    }

    /// Holds what the server counted against what is in the dump.
    fn compare(&self, dumped: &BTreeMap<String, Held>, counted: &BTreeMap<String, Held>) -> Result<(), SourceError> {
        for (database, held) in counted {
            for (table, rows) in &held.tables {
                let name = format!("{database}.{table}");
                let in_dump = dumped.get(database).and_then(|held| held.tables.get(table));
                match in_dump {
                    Some(dumped) if dumped == rows || self.inconsistent.contains(&name) => {}
                    // One that was made after that moment.
                    None if *rows == 0 => {}
                    _ => {
                        let dumped = in_dump.map_or("does not have it".to_owned(), |dumped| format!("has {dumped}"));
                        let what =
                            format!("table {name} has {rows} rows as the server counts them, and the dump {dumped}");
                        return Err(SourceError::Invalid { what });
                    }
                }
            }
        }
        Ok(())
    }
}

impl Capture for MysqlCapture<'_> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        self.guard.0.check()?;
        if let Some(item) = self.problems.pop_front().map(Item::Problem).or_else(|| self.produced.next()) {
            return Ok(Some(item));
        }
        // All was read, so that it is known what there is.
        let Some(before) = self.before.take() else { return Ok(None) };
        let held = self.dump.as_ref().map(Dump::finish).transpose()?.map(|(found, _)| found.held).unwrap_or_default();
        let now = |name: &str| Some(held.get(name)?.tables.values().sum());
        let lost = before.lost("rows", shrink::rows, now, |name, _| self.selection.has(name)).note(&mut self.facts);
        self.problems.extend(lost.into_iter().map(|(name, what)| Problem::new(Path::new(&name), what)));
        Ok(self.problems.pop_front().map(Item::Problem))
    }

    fn finish(mut self: Box<Self>) -> Result<Facts, SourceError> {
        let files = self.produced.finish(self.events)?;
        let mut facts = std::mem::take(&mut self.facts);
        if let Some(dump) = &self.dump {
            let (found, said) = dump.finish()?;
            if !said.is_empty() {
                self.events.emit(Event::Note(format!("the dump tool said: {said}")));
            }
            if let Some(counting) = self.counting.take() {
                let panicked = |_| SourceError::Unavailable { what: "counting rows broke off".to_owned() };
                match counting.join().map_err(panicked)? {
                    Ok(counted) => self.compare(&found.held, &counted)?,
                    Err(SourceError::Cancelled) => return Err(SourceError::Cancelled),
                    // A table that is changed meanwhile cannot be counted as it was; the dump was.
                    Err(error) => {
                        self.events.emit(Event::Note(format!("rows were counted in the dump alone: {error}")))
                    }
                }
            }
            facts.extend(facts::of_log(self.position.as_ref().unwrap_or(&found.position)));
            facts.insert(facts::DATABASES.to_owned(), facts::of_databases(&found.held));
        }
        produced::add_files(&mut facts, &files);
        Ok(facts)
    }
}
