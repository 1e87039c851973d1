//! The history of MariaDB's system-versioned tables: whether it can be in a dump, and why not.
//!
//! The tool is asked for all histories or for none, and ends at one that it cannot write. A history that no server would take back
//! must not come into a dump either: it would keep all that follows from being restored.

use repository::SourceError;

use super::inventory::{self, Identity};
use super::names::{literal, quoted};
use super::session::Session;
use super::tools::{DumpTool, Version};

/// Since then tools write history, and servers load it (mariadb.com/kb/en/mariadb-dump, `--dump-history`).
const KNOWS_HISTORY: Version = [10, 11, 0];

/// What becomes of the history of a server's tables.
#[derive(Debug, Default)]
pub struct History {
    /// Whether it is in the dump.
    pub is_dumped: bool,
    /// Tables without theirs, each a database and a name, and why.
    pub lost: Vec<(String, String)>,
}

impl History {
    /// What is to become of that of these databases.
    pub fn plan(
        session: &mut Session,
        identity: &Identity,
        tool: &DumpTool,
        databases: &[String],
    ) -> Result<Self, SourceError> {
        let tables = inventory::versioned(session, databases)?;
        if tables.is_empty() {
            return Ok(Self::default());
        }
        if identity.version < KNOWS_HISTORY || tool.version < KNOWS_HISTORY {
            let why = "that takes MariaDB 10.11 or later, the server and its dump tool: update them";
            return Ok(Self::lost(&tables, |_| why.to_owned()));
        }
        let mut refused = Vec::new();
        for (database, table) in &tables {
            let why = trouble(session, database, table)?;
            refused.extend(why.map(|why| (format!("{database}.{table}"), why)));
        }
        let Some((first, _)) = refused.first() else { return Ok(Self { is_dumped: true, lost: Vec::new() }) };
        Ok(Self::lost(&tables, |name| {
            let why = refused.iter().find(|(refused, _)| refused == name).map(|(_, why)| (*why).to_owned());
            why.unwrap_or_else(|| {
                format!(
                    "that of {first} cannot be, and a dump has all or none: back up its database by a source of its own"
                )
            })
        }))
    }

    fn lost(tables: &[(String, String)], why: impl Fn(&str) -> String) -> Self {
        let lost = tables.iter().map(|(database, table)| {
            let name = format!("{database}.{table}");
            let why = why(&name);
            (name, format!("the history of this system-versioned table is not in the backup: {why}"))
        });
        Self { is_dumped: false, lost: lost.collect() }
    }
}

/// Why the history of a table cannot be in a dump.
fn trouble(session: &mut Session, database: &str, table: &str) -> Result<Option<&'static str>, SourceError> {
    let columns = session.ask(&format!(
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = {} AND table_name = {} AND \
         generation_expression IN ('ROW START', 'ROW END') ORDER BY generation_expression DESC",
        literal(database),
        literal(table)
    ))?;
    let column = |at: usize, field: usize| columns.get(at).and_then(|row: &Vec<String>| row.get(field));
    if column(0, 1).is_some_and(|kind| kind == "bigint") {
        return Ok(Some("it is kept by transactions, which the dump tool cannot write"));
    }
    // Those that nobody named.
    let name = |at: usize, plain: &str| column(at, 0).map_or(plain.to_owned(), |name| quoted(name));
    let question = format!(
        "SELECT EXISTS(SELECT 1 FROM {}.{} FOR SYSTEM_TIME ALL WHERE {} >= {})",
        quoted(database),
        quoted(table),
        name(0, "row_start"),
        name(1, "row_end")
    );
    let is_strange = session.ask_one(&question)? == "1";
    Ok(is_strange.then_some(
        "it has rows that ended in the moment in which they began, which no server takes back: remove them with DELETE HISTORY",
    ))
}
