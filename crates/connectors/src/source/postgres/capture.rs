//! A capture of the databases of a server.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use jiff::Timestamp;
use repository::format::time::Time;
use repository::{Cancel, Capture, CaptureCx, Clock, Event, Events, Facts, Item, Problem, SourceError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::archive::{Archive, Contents, Shared};
use super::globals::Globals;
use super::inventory::{self, Counted, Database};
use super::server::Server;
use super::session::Session;
use super::tools::{Tools, Version};
use super::{DatabaseOptions, facts, names, properties};
use crate::program::{Guard, Program};
use crate::source::output::Output;
use crate::source::produced::{self, Produced, ProducedFile};
use crate::source::selection::Selection;
use crate::source::shrink::{self, Before};

/// The folder of the databases in the snapshot.
const FOLDER: &str = "databases";
/// Databases that are tried for questions about the server, before those that are named.
const MAINTENANCE: [&str; 2] = ["postgres", TEMPLATE];
/// What new databases are copies of. Nobody can make one while somebody is connected to it, so it is captured only where there
/// is something in it, or it is named.
const TEMPLATE: &str = "template1";
/// The oldest version whose catalogues have all that is asked.
const OLDEST: u32 = 10;
/// How often a database is opened again, where tables are emptied or written anew meanwhile.
const HOLD_TRIES: usize = 4;
/// How long a dump waits for a table that somebody changes, before it gives up.
const LOCK_WAIT: &str = "--lock-wait-timeout=300000";

/// Opens the view of a server: one transaction in each database.
pub fn open<'a>(
    options: &DatabaseOptions,
    selection: &Selection,
    cx: &CaptureCx<'a>,
) -> Result<Box<dyn Capture + 'a>, SourceError> {
    // What runs beside the dump ends with the capture, however that ends.
    let cancel = cx.cancel.child();
    let guard = Guard(cancel.clone());
    let server = Arc::new(Server::find(options, &cancel)?);
    let psql = Tools::psql(server.stage(), options.tools.as_deref(), &cancel)?;
    let (mut session, through) = maintenance(&server, &psql, &options.databases, &cancel)?;
    let version = inventory::version(&mut session)?;
    if version.major < OLDEST {
        let what =
            format!("the server is of version {}, and the oldest that can be captured is {OLDEST}", version.major);
        return Err(SourceError::Unavailable { what });
    }
    let tools = Tools::find(server.stage(), options.tools.as_deref(), "pg_dump", version, &cancel)?;
    let (mut databases, mut problems) = choose(&mut session, selection, &server)?;
    if !options.databases.iter().any(|name| name == TEMPLATE) {
        leave_out_template(&mut databases, &server, &psql, &cancel)?;
    }
    let mut files = BTreeMap::new();
    let mut views = BTreeMap::new();
    let mut known = Facts::new();
    if cx.look_only {
        let named = databases.iter().map(|database| (path_of(&database.name), ProducedFile::ready("", Vec::new())));
        files.extend(named);
    } else {
        let globals = Globals::read(&server, &tools, &mut session, through, version, is_of_some(options), &cancel)?;
        files.extend(globals.files);
        problems.extend(globals.problems);
        if let Some(note) = globals.note {
            cx.events.emit(Event::Note(note));
        }
        let mut about = json!({ facts::VERSION: version.to_string(), facts::FIRST_USER: globals.first_user });
        if !globals.has_passwords {
            about[facts::ROLE_PASSWORDS] = false.into();
        }
        known.insert(facts::SERVER.to_owned(), about);
        known.insert(facts::ROLES.to_owned(), json!(globals.roles));
        for (database, session, snapshot) in snapshots(&server, &psql, databases, &cancel)? {
            let (path, shared) = (path_of(&database.name), Shared::default());
            let snapshot = Arc::new(Mutex::new(snapshot));
            let mut view = View { database, session, shared: Arc::clone(&shared), snapshot: Arc::clone(&snapshot) };
            let left_out = view.left_out(&server, &mut problems)?;
            let program = dump(&tools, &server, &view.database.name, &left_out);
            let what = format!("pg_dump of database {}", view.database.name);
            let (started, cancel) = (Arc::clone(&server), cancel.clone());
            let output = Output::new(what, Archive::new(shared), &cancel.clone(), move || {
                let snapshot = snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone();
                program.arg(format!("--snapshot={snapshot}")).start(started.stage(), &cancel)
            });
            files.insert(path.clone(), ProducedFile::printed(output));
            views.insert(path, view);
        }
    }
    Ok(Box::new(PostgresCapture {
        events: cx.events,
        clock: cx.clock,
        dumped_by: tools.version,
        server,
        psql,
        cancel,
        produced: Produced::new(files, Time::from(cx.clock.now())),
        problems: problems.into(),
        reopened: None,
        views,
        counting: None,
        databases: Facts::new(),
        known,
        before: Before::new(cx, options.max_shrink_percent),
        selection: selection.clone(),
        _guard: guard,
    }))
}

/// Whether some databases are wanted, and not whatever the server has.
fn is_of_some(options: &DatabaseOptions) -> bool {
    !options.databases.is_empty() && !options.databases.iter().any(|pattern| pattern.bytes().all(|byte| byte == b'*'))
}

fn path_of(database: &str) -> PathBuf {
    Path::new(FOLDER).join(names::file_name(database))
}

/// A session for questions about the server, and the name of its database.
pub fn maintenance<'a>(
    server: &Server,
    psql: &Program,
    named: &'a [String],
    cancel: &Cancel,
) -> Result<(Session, &'a str), SourceError> {
    let mut last = None;
    let is_name = |name: &&str| !name.contains(['*', '?', '[', '{']);
    for name in MAINTENANCE.into_iter().chain(named.iter().map(String::as_str).filter(is_name)) {
        let begun = Session::begin(server, psql.clone(), name, cancel).and_then(|mut session| {
            session.settle()?;
            Ok(session)
        });
        match begun {
            Ok(session) => return Ok((session, name)),
            Err(SourceError::Cancelled) => return Err(SourceError::Cancelled),
            // What is said of the first tells more.
            Err(error) => last = last.or(Some(error)),
        }
    }
    let why = last.map(|error| error.to_string()).unwrap_or_default();
    Err(SourceError::Unavailable { what: format!("{} lets nobody in: {why}", server.name()) })
}

/// The databases to capture, and what is to be said of others.
fn choose(
    session: &mut Session,
    selection: &Selection,
    server: &Server,
) -> Result<(Vec<Database>, Vec<Problem>), SourceError> {
    let listed = inventory::databases(session)?;
    let mut problems = Vec::new();
    for missing in selection.missing(listed.iter().map(|database| database.name.as_str())) {
        problems.push(about(&missing, "is not on the server: take it out of `databases`, or see where it has gone"));
    }
    let mut chosen = Vec::new();
    for database in listed.into_iter().filter(|database| selection.has(&database.name)) {
        if !database.allows {
            let what = "allows no connections, so it is not in the backup: allow them, or name it in `exclude`";
            problems.push(about(&database.name, what));
        } else if !database.may {
            let what = format!(
                "the user {} may not connect to it, so it is not in the backup: GRANT CONNECT, or name it in `exclude`",
                server.user()
            );
            problems.push(about(&database.name, &what));
        } else {
            chosen.push(database);
        }
    }
    if chosen.is_empty() {
        let what = "no database is left to be captured: look at `databases` and `exclude`".to_owned();
        return Err(SourceError::Unavailable { what });
    }
    Ok((chosen, problems))
}

fn leave_out_template(
    databases: &mut Vec<Database>,
    server: &Server,
    psql: &Program,
    cancel: &Cancel,
) -> Result<(), SourceError> {
    let Some(at) = databases.iter().position(|database| database.name == TEMPLATE) else { return Ok(()) };
    let mut session = Session::begin(server, psql.clone(), TEMPLATE, cancel)?;
    if !inventory::has_own_things(&mut session)? {
        databases.remove(at);
    }
    Ok(())
}

fn about(database: &str, what: &str) -> Problem {
    Problem::new(format!("database {database}").as_ref(), what)
}

/// Opens a transaction in each database. All sessions are there before the first begins, so that all begin at once, as far as
/// that can be.
fn snapshots(
    server: &Server,
    psql: &Program,
    databases: Vec<Database>,
    cancel: &Cancel,
) -> Result<Vec<(Database, Session, String)>, SourceError> {
    let mut sessions = Vec::new();
    for database in databases {
        let session = Session::begin(server, psql.clone(), &database.name, cancel)?;
        sessions.push((database, session));
    }
    for (_, session) in &mut sessions {
        session.settle()?;
    }
    for (_, session) in &mut sessions {
        begin(session)?;
    }
    let mut open = Vec::new();
    for (database, mut session) in sessions {
        let snapshot = exported(&mut session, &database.name)?;
        open.push((database, session, snapshot));
    }
    Ok(open)
}

/// Begins a transaction, whose [`exported`] snapshot is to be received.
fn begin(session: &mut Session) -> Result<(), SourceError> {
    session.run("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")?;
    session.send("SELECT pg_export_snapshot() AS snapshot")
}

fn exported(session: &mut Session, database: &str) -> Result<String, SourceError> {
    #[derive(Deserialize)]
    struct Snapshot {
        snapshot: String,
    }
    let row: Option<Snapshot> = session.receive()?.into_iter().next();
    let none = || SourceError::unavailable(format!("database {database}: the server gave no snapshot"));
    Ok(row.ok_or_else(none)?.snapshot)
}

/// The dump of a database, but for the snapshot that it is to see.
fn dump(tools: &Tools, server: &Server, database: &str, left_out: &[String]) -> Program {
    let program = tools
        .program("pg_dump")
        .args(["--format=custom", "--compress=0", LOCK_WAIT, "--no-password"])
        .args(left_out.iter().map(|pattern| format!("--exclude-table={pattern}")));
    server.at(program, database)
}

/// A database whose transaction is open.
struct View {
    database: Database,
    session: Session,
    shared: Shared,
    /// What the transaction exports, for the dump.
    snapshot: Arc<Mutex<String>>,
}

impl View {
    /// Sees to it that nobody empties a table or writes one anew from now on. Where somebody did since the transaction began, it would
    /// see no rows, so another one begins. The names of these tables are given then.
    ///
    /// The tables are not locked from the beginning: who changes one would be kept waiting, with all that use it, until
    /// everything that comes before this database was read.
    fn hold(&mut self, server: &Server, psql: &Program, cancel: &Cancel) -> Result<Vec<String>, SourceError> {
        let mut changed = Vec::new();
        for _ in 0..HOLD_TRIES {
            match inventory::hold(&mut self.session) {
                Ok(now) if now.is_empty() => return Ok(changed),
                Ok(now) => changed = now,
                Err(SourceError::Cancelled) => return Err(SourceError::Cancelled),
                // It met one that is gone, and its session with it.
                Err(error) => changed = vec![error.to_string()],
            }
            let mut session = Session::begin(server, psql.clone(), &self.database.name, cancel)?;
            begin(&mut session)?;
            *self.snapshot.lock().unwrap_or_else(PoisonError::into_inner) =
                exported(&mut session, &self.database.name)?;
            self.session = session;
        }
        Err(SourceError::unavailable(format!(
            "database {}: its tables do not hold still: {}; it is not in the backup: run it again",
            self.database.name,
            changed.join(", ")
        )))
    }

    /// Patterns of what cannot be read, each named as a problem: `pg_dump` gives up where it meets one, and nothing of the
    /// database would be in the backup.
    fn left_out(&mut self, server: &Server, problems: &mut Vec<Problem>) -> Result<Vec<String>, SourceError> {
        let unreadable = inventory::unreadable(&mut self.session)?;
        let named = unreadable.iter().map(|one| {
            let (schema, name) = (&one.schema, &one.name);
            let what = format!(
                "{schema}.{name} is not in the backup, since the user {} may not read it whole: GRANT USAGE and SELECT, and \
                 BYPASSRLS where rows are hidden, or take a superuser",
                server.user()
            );
            about(&self.database.name, &what)
        });
        problems.extend(named);
        Ok(unreadable.iter().map(|one| names::pattern(&one.schema, &one.name)).collect())
    }

    /// Counts beside the dump, in the same transaction, which stays open until this is joined.
    fn count(self) -> Result<Counting, SourceError> {
        let Self { database, mut session, shared, .. } = self;
        let count = move || {
            let counted = inventory::count(&mut session)?;
            let properties = properties::of_own(&mut session)?;
            let roles = inventory::roles_used(&mut session)?;
            Ok((Seen { counted, properties, roles }, session))
        };
        let thread = std::thread::Builder::new().name(format!("count {}", database.name)).spawn(count);
        let thread = thread.map_err(SourceError::io("a thread that counts"))?;
        Ok(Counting { database, thread, shared })
    }
}

/// What a transaction sees in its database.
struct Seen {
    counted: Counted,
    /// What belongs to the database itself, and the roles that it knows of, where these can be read.
    properties: Option<Value>,
    roles: Option<Vec<String>>,
}

/// What the thread that counts gives: also the session, since the transaction must outlive the dump.
type SeenOpen = Result<(Seen, Session), SourceError>;

/// A database that is counted while it is dumped.
struct Counting {
    database: Database,
    thread: JoinHandle<SeenOpen>,
    shared: Shared,
}

impl Counting {
    /// Waits for the counts. The transaction ends.
    fn end(self) -> Result<Seen, SourceError> {
        let joined = self.thread.join();
        let panicked =
            |_| SourceError::Invalid { what: format!("database {}: it was not counted", self.database.name) };
        joined.map_err(panicked)?.map(|(seen, _)| seen)
    }
}

struct PostgresCapture<'a> {
    events: &'a dyn Events,
    clock: &'a dyn Clock,
    /// The version of `pg_dump`.
    dumped_by: Version,
    server: Arc<Server>,
    psql: Program,
    cancel: Cancel,
    produced: Produced,
    problems: VecDeque<Problem>,
    /// When a database was last opened again.
    reopened: Option<Timestamp>,
    /// Databases whose turn has not come, by the paths of their files.
    views: BTreeMap<PathBuf, View>,
    counting: Option<(PathBuf, Counting)>,
    /// Facts of the databases that are done.
    databases: Facts,
    /// Facts of the server.
    known: Facts,
    /// Until it was held against this snapshot.
    before: Option<Before<'a>>,
    selection: Selection,
    _guard: Guard,
}

impl PostgresCapture<'_> {
    /// The database whose dump was read is counted to its end.
    fn end_counting(&mut self) -> Result<(), SourceError> {
        let Some((path, counting)) = self.counting.take() else { return Ok(()) };
        let (database, shared) = (counting.database.clone(), Arc::clone(&counting.shared));
        let Seen { counted, properties, roles } = counting.end()?;
        let contents: Option<Contents> = shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        let Some(contents) = contents else {
            let what = format!("the dump of database {} was not read to its end", database.name);
            return Err(SourceError::Invalid { what });
        };
        let lacking: Vec<_> = counted.filled.iter().filter(|table| !contents.filled.contains(*table)).collect();
        if let Some(table) = lacking.first() {
            let (name, count, table) = (&database.name, lacking.len(), counted.name(table));
            let what = format!("the dump of database {name} lacks the rows of {count} tables, such as {table}");
            return Err(SourceError::Invalid { what });
        }
        let mut about = facts::about(&database, &path.to_string_lossy());
        match facts::what_is_not_dumped(properties.as_ref(), &database.encoding, self.dumped_by) {
            None => about.extend(properties.map(|properties| (properties::PROPERTIES.to_owned(), properties))),
            Some(why) => self.events.emit(Event::Note(format!(
                "database {}: its owner, rights, settings and comment are not compared after a restore: {why}",
                database.name
            ))),
        }
        about.extend(roles.map(|roles| (facts::ROLES.to_owned(), facts::roles_needed(&roles, &contents))));
        let sequences = contents.sequences.iter().map(|(name, value)| (counted.name(name), *value)).collect();
        about.extend(facts::counted(&counted, &contents, &sequences));
        self.databases.insert(database.name, Value::Object(about));
        Ok(())
    }
}

impl Capture for PostgresCapture<'_> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        if let Some(problem) = self.problems.pop_front() {
            return Ok(Some(Item::Problem(problem)));
        }
        self.end_counting()?;
        let next = self.produced.next();
        if next.is_none()
            && let Some(before) = self.before.take()
        {
            let is_wanted = |name: &str, _| self.selection.has(name) && name != TEMPLATE;
            let now = shrink::rows_of(&self.databases);
            let lost = before.lost("rows", shrink::rows, |name| now.get(name).copied(), is_wanted);
            self.problems.extend(lost.note(&mut self.known).into_iter().map(|(name, what)| about(&name, &what)));
            return self.next();
        }
        if let Some(Item::Entry(entry)) = &next
            && let Some(mut view) = self.views.remove(&entry.path)
        {
            let changed = view.hold(&self.server, &self.psql, &self.cancel)?;
            if !changed.is_empty() {
                self.reopened = Some(self.clock.now());
                let (name, changed) = (&view.database.name, changed.join(", "));
                self.events.emit(Event::Note(format!(
                    "database {name} was opened again, since this was changed meanwhile as no transaction can pass over: {changed}"
                )));
            }
            self.counting = Some((entry.path.clone(), view.count()?));
        }
        Ok(next)
    }

    fn reopened(&self) -> Option<Timestamp> {
        self.reopened
    }

    fn finish(mut self: Box<Self>) -> Result<Facts, SourceError> {
        self.end_counting()?;
        let files = self.produced.finish(self.events)?;
        let mut facts = std::mem::take(&mut self.known);
        produced::add_files(&mut facts, &files);
        facts.insert(facts::DATABASES.to_owned(), Value::Object(std::mem::take(&mut self.databases)));
        Ok(facts)
    }
}
