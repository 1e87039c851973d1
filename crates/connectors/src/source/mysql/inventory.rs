//! What a server has: its databases, what they hold, and what who asks may see of it.

use std::collections::{BTreeMap, BTreeSet};

use repository::SourceError;

use super::accounts::Account;
use super::grants::Grants;
use super::names::{self, literal, quoted};
use super::session::Session;
use super::split::{Held, LogPosition};
use super::tools::{Kind, Version, version};

/// Databases that a server has for itself. Its users are captured in another way.
const OWN: &str = "('information_schema', 'performance_schema', 'mysql', 'sys')";
/// Tables counted by one question.
const TABLES_AT_ONCE: usize = 100;
/// Engines whose tables a transaction sees as of one moment, or that have nothing to be seen.
const CONSISTENT: &str = "('InnoDB', 'RocksDB', 'TokuDB', 'SEQUENCE', 'BLACKHOLE', 'ndbcluster')";

/// What the type of a table with a history is called.
const VERSIONED: &str = "SYSTEM VERSIONED";

/// What a server says of itself.
pub struct Identity {
    /// Its kind.
    pub kind: Kind,
    /// Its version, in its own words.
    pub said: String,
    /// The numbers of it.
    pub version: Version,
    /// Whether it keeps a log of changes.
    pub has_log: bool,
    /// How it takes capitals in the names of tables; a server that is to load its dump must do the same.
    pub lower_case_table_names: String,
}

impl Identity {
    /// What the server calls the right to see how far its log of changes has come (mariadb.com/kb/en/grant, BINLOG MONITOR).
    pub fn right_to_see_log(&self) -> &'static str {
        let is_renamed = self.kind == Kind::Mariadb && self.version >= [10, 5, 2];
        if is_renamed { "BINLOG MONITOR" } else { "REPLICATION CLIENT" }
    }
}

/// Asks a server what it is.
pub fn identity(session: &mut Session) -> Result<Identity, SourceError> {
    let row = session.ask("SELECT VERSION(), @@version_comment, @@log_bin, @@lower_case_table_names")?;
    let unknown = || SourceError::Unavailable { what: "the server does not tell its version".to_owned() };
    let [said, comment, has_log, lower] =
        row.into_iter().next().and_then(|row| row.try_into().ok()).ok_or_else(unknown)?;
    let version = version(&said).ok_or_else(unknown)?;
    let kind = Kind::of(&format!("{said} {comment}"));
    Ok(Identity { kind, said, version, has_log: has_log == "1", lower_case_table_names: lower })
}

/// The databases that hold what people put into a server.
pub fn databases(session: &mut Session) -> Result<Vec<String>, SourceError> {
    let rows =
        session.ask(&format!("SELECT schema_name FROM information_schema.schemata WHERE schema_name NOT IN {OWN}"))?;
    Ok(rows.into_iter().flatten().collect())
}

/// Asks what who asks may do.
pub fn grants(session: &mut Session) -> Result<Grants, SourceError> {
    Ok(Grants::of(&session.ask("SHOW GRANTS")?))
}

/// How far the log of changes of a MySQL has come.
pub fn log_position(session: &mut Session, identity: &Identity) -> Result<LogPosition, SourceError> {
    let is_renamed = identity.kind == Kind::Mysql && identity.version >= [8, 2, 0];
    let rows = session.ask(if is_renamed { "SHOW BINARY LOG STATUS" } else { "SHOW MASTER STATUS" })?;
    let row = rows.into_iter().next().unwrap_or_default();
    let [file, place, ..] = row.as_slice() else { return Err(strange(row.clone())) };
    let place: u64 = place.parse().map_err(|_| strange(row.clone()))?;
    // After the databases that the log leaves out.
    let gtid = row.get(4).map(|ids| ids.replace('\n', "")).filter(|ids| !ids.is_empty());
    Ok(LogPosition { file: Some((file.clone(), place)), gtid })
}

/// Tables of these databases that no transaction sees as of one moment, with their engines.
pub fn inconsistent(session: &mut Session, databases: &[String]) -> Result<Vec<String>, SourceError> {
    let rows = session.ask(&format!(
        "SELECT table_schema, table_name, engine FROM information_schema.tables WHERE table_type = 'BASE TABLE' \
         AND engine NOT IN {CONSISTENT} AND table_schema IN ({}) ORDER BY 1, 2",
        list(databases)
    ))?;
    let shown = |row: Vec<String>| match <[String; 3]>::try_from(row) {
        Ok([database, table, engine]) => format!("{database}.{table} ({engine})"),
        Err(row) => row.join("."),
    };
    Ok(rows.into_iter().map(shown).collect())
}

/// Views of these databases that the server itself cannot read, since what they stand on is gone: the database and the name of
/// each. A dump tool gives up at the first one.
pub fn invalid_views(session: &mut Session, databases: &[String]) -> Result<Vec<(String, String)>, SourceError> {
    // MySQL tells it where comments stand; MariaDB knows no columns of such a view.
    let rows = session.ask(&format!(
        "SELECT t.table_schema, t.table_name FROM information_schema.tables AS t WHERE t.table_type = 'VIEW' \
         AND t.table_schema IN ({}) AND (t.table_comment NOT IN ('VIEW', '') OR NOT EXISTS (SELECT 1 FROM \
         information_schema.columns AS c WHERE c.table_schema = t.table_schema AND c.table_name = t.table_name)) \
         ORDER BY 1, 2",
        list(databases)
    ))?;
    rows.into_iter()
        .map(|row| row.try_into().map(|[database, view]: [String; 2]| (database, view)).map_err(strange))
        .collect()
}

/// The statement that makes a view, which a server has also for those that it cannot read.
pub fn view_definition(session: &mut Session, database: &str, view: &str) -> Result<String, SourceError> {
    let row = session.ask(&format!("SHOW CREATE VIEW {}.{}", quoted(database), quoted(view)))?.into_iter().next();
    row.and_then(|row| row.into_iter().nth(1))
        .ok_or_else(|| strange(vec![format!("no definition of {database}.{view}")]))
}

/// Tables of these databases that keep what their rows were before: the database and the name of each.
pub fn versioned(session: &mut Session, databases: &[String]) -> Result<Vec<(String, String)>, SourceError> {
    let rows = session.ask(&format!(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE table_type = '{VERSIONED}' AND table_schema IN ({}) \
         ORDER BY 1, 2",
        list(databases)
    ))?;
    rows.into_iter()
        .map(|row| row.try_into().map(|[database, table]: [String; 2]| (database, table)).map_err(strange))
        .collect()
}

fn list(databases: &[String]) -> String {
    databases.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ")
}

/// Which rows of system-versioned tables are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Those that are there now, and their history.
    All,
    /// Without the history.
    Current,
}

/// What each of these databases holds, every row counted.
pub fn count(
    session: &mut Session,
    databases: &[String],
    counted_rows: Rows,
) -> Result<BTreeMap<String, Held>, SourceError> {
    let mut held: BTreeMap<String, Held> = databases.iter().map(|name| (name.clone(), Held::default())).collect();
    if held.is_empty() {
        return Ok(held);
    }
    let tables = session.ask(&format!(
        "SELECT table_schema, table_name, table_type FROM information_schema.tables WHERE table_schema IN ({})",
        list(databases)
    ))?;
    let mut counted = Vec::new();
    for row in tables {
        let [database, table, kind] = three(row)?;
        let Some(held) = held.get_mut(&database) else { continue };
        match &*kind {
            "VIEW" | "SYSTEM VIEW" => held.views += 1,
            "SEQUENCE" => held.sequences += 1,
            VERSIONED if counted_rows == Rows::All => counted.push((database, table, " FOR SYSTEM_TIME ALL")),
            _ => counted.push((database, table, "")),
        }
    }
    for tables in counted.chunks(TABLES_AT_ONCE) {
        let count = |(at, (database, table, of)): (usize, &(String, String, &str))| {
            format!("SELECT {at}, COUNT(*) FROM {}.{}{of}", quoted(database), quoted(table))
        };
        let question: Vec<_> = tables.iter().enumerate().map(count).collect();
        for row in session.ask(&question.join(" UNION ALL "))? {
            let (at, rows) = pair(&row)?;
            let known = usize::try_from(at).ok().and_then(|at| tables.get(at));
            if let Some((database, table, _)) = known
                && let Some(held) = held.get_mut(database)
            {
                held.tables.insert(table.clone(), rows);
            }
        }
    }
    type Field = fn(&mut Held) -> &mut u64;
    let others: [(&str, &str, Field); 3] = [
        ("routines", "routine_schema", |held| &mut held.routines),
        ("triggers", "trigger_schema", |held| &mut held.triggers),
        ("events", "event_schema", |held| &mut held.events),
    ];
    for (what, database, field) in others {
        let question = format!(
            "SELECT {database}, COUNT(*) FROM information_schema.{what} WHERE {database} IN ({}) GROUP BY 1",
            list(databases)
        );
        for row in session.ask(&question)? {
            let [database, number] = row.try_into().map_err(strange)?;
            if let Some(held) = held.get_mut(&database) {
                *field(held) = number.parse().unwrap_or_default();
            }
        }
    }
    Ok(held)
}

fn three(row: Vec<String>) -> Result<[String; 3], SourceError> {
    row.try_into().map_err(strange)
}

fn pair(row: &[String]) -> Result<(u64, u64), SourceError> {
    let number = |at: usize| row.get(at).and_then(|number| number.parse().ok());
    number(0).zip(number(1)).ok_or_else(|| strange(row.to_vec()))
}

fn strange(row: Vec<String>) -> SourceError {
    SourceError::Unavailable { what: format!("the server gives an answer that cannot be read: {}", row.join(", ")) }
}

/// How much a database holds: tables, views and sequences, routines and events; or how many of these `tables` it has, where some
/// are named. Nothing where it is not there.
pub fn objects(session: &mut Session, database: &str, tables: &[String]) -> Result<u64, SourceError> {
    let of = |what: &str, key: &str| {
        format!("(SELECT COUNT(*) FROM information_schema.{what} WHERE {key}_schema = {})", literal(database))
    };
    let question = match tables {
        [] => format!("SELECT {} + {} + {}", of("tables", "table"), of("routines", "routine"), of("events", "event")),
        _ => format!(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = {} AND table_name IN ({})",
            literal(database),
            list(tables)
        ),
    };
    session.ask_one(&question)?.parse().map_err(|_| strange(vec![question]))
}

/// Routines, triggers, events and views of a database in whose definitions somebody wrote the name of another one.
pub fn naming(session: &mut Session, database: &str, other: &str) -> Result<Vec<String>, SourceError> {
    let of = |kind: &str, table: &str, what: &str, definition: &str, key: &str| {
        format!(
            "SELECT {kind}, {what}, {definition} FROM information_schema.{table} WHERE {key}_schema = {}",
            literal(database)
        )
    };
    let question = [
        of("LOWER(routine_type)", "routines", "routine_name", "routine_definition", "routine"),
        of("'trigger'", "triggers", "trigger_name", "action_statement", "trigger"),
        of("'event'", "events", "event_name", "event_definition", "event"),
        of("'view'", "views", "table_name", "view_definition", "table"),
    ];
    let mut naming = Vec::new();
    for row in session.ask(&question.join(" UNION ALL "))? {
        let [kind, name, definition] = three(row)?;
        if names::says(&definition, other) {
            naming.push(format!("{kind} {name}"));
        }
    }
    naming.sort();
    Ok(naming)
}

/// Whom a server knows: users and roles, each with its host.
pub fn account_names(session: &mut Session) -> Result<BTreeSet<Account>, SourceError> {
    let rows = session.ask("SELECT user, host FROM mysql.user")?;
    rows.into_iter().map(|row| row.try_into().map(|[user, host]: [String; 2]| (user, host)).map_err(strange)).collect()
}

/// The accounts of a server, as statements that make them again, with hashed passwords. Roles come first, then users, then what
/// each may do.
pub fn accounts(session: &mut Session, kind: Kind, version: Version) -> Result<Vec<String>, SourceError> {
    // Hashes may hold bytes that are no text.
    if kind == Kind::Mysql && version >= [8, 0, 17] {
        session.ask("SET SESSION print_identified_with_as_hex = ON")?;
    }
    let is_role = if kind == Kind::Mariadb { "is_role" } else { "'N'" };
    let rows = session.ask(&format!(
        "SELECT user, host, {is_role} FROM mysql.user WHERE user NOT IN ('mysql.sys', 'mysql.session', \
         'mysql.infoschema', 'mariadb.sys', 'PUBLIC') ORDER BY 3 DESC, 1, 2"
    ))?;
    let (mut made, mut granted) = (Vec::new(), Vec::new());
    for row in rows {
        let [user, host, is_role] = three(row)?;
        let name = if is_role == "Y" { quoted(&user) } else { format!("{}@{}", quoted(&user), quoted(&host)) };
        if is_role == "Y" {
            made.push(format!("CREATE ROLE IF NOT EXISTS {name}"));
        } else {
            let shown = session.ask_one(&format!("SHOW CREATE USER {name}"))?;
            made.push(shown.replacen("CREATE USER ", "CREATE USER IF NOT EXISTS ", 1));
        }
        granted.extend(session.ask(&format!("SHOW GRANTS FOR {name}"))?.into_iter().flatten());
    }
    Ok(made.into_iter().chain(granted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_to_see_the_log_has_the_name_that_the_server_knows() {
        let called = |kind, version| {
            let (said, lower_case_table_names) = (String::new(), String::new());
            Identity { kind, said, version, has_log: true, lower_case_table_names }.right_to_see_log()
        };
        assert_eq!(called(Kind::Mariadb, [10, 5, 2]), "BINLOG MONITOR");
        for (kind, version) in [(Kind::Mariadb, [10, 4, 30]), (Kind::Mysql, [8, 4, 0]), (Kind::Mysql, [11, 0, 0])] {
            assert_eq!(called(kind, version), "REPLICATION CLIENT", "{kind:?} {version:?}");
        }
    }
}
