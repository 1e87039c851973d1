//! What a server holds: its databases, and in each what is counted.

use std::collections::BTreeMap;

use repository::SourceError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::names::literal;
use super::session::Session;
use super::tools::Version;

/// A database of the server.
#[derive(Clone, Debug, Deserialize)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// How text in it is stored, such as `UTF8`.
    pub encoding: String,
    /// Of which version the rules are by which it is sorted, where they have one.
    pub collation_version: Option<String>,
    /// Whether anybody may connect to it.
    pub allows: bool,
    /// Whether who asks may.
    pub may: bool,
}

/// All but the one that nobody may change, by the question itself.
const DATABASES: &str = "SELECT datname AS name, pg_encoding_to_char(encoding) AS encoding, \
    to_jsonb(pg_database)->>'datcollversion' AS collation_version, \
    datallowconn AND datconnlimit <> -2 AS allows, has_database_privilege(oid, 'CONNECT') AS may \
    FROM pg_database WHERE datname <> 'template0' ORDER BY datname";

/// The server's version.
pub fn version(session: &mut Session) -> Result<Version, SourceError> {
    #[derive(Deserialize)]
    struct Row {
        number: u32,
    }
    let row: Row = session.ask_one("SELECT current_setting('server_version_num')::int AS number")?;
    Ok(Version::of_number(row.number))
}

/// The server's databases.
pub fn databases(session: &mut Session) -> Result<Vec<Database>, SourceError> {
    session.ask(DATABASES)
}

/// Whether somebody made anything in a database. What PostgreSQL itself makes there has lower numbers.
pub fn has_own_things(session: &mut Session) -> Result<bool, SourceError> {
    let of = |catalogue| format!("EXISTS (SELECT FROM {catalogue} WHERE oid >= 16384)");
    let catalogues =
        ["pg_class", "pg_proc", "pg_type", "pg_namespace", "pg_extension", "pg_largeobject_metadata"].map(of);
    is_so(session, &catalogues.join(" OR "))
}

/// The roles of the server, but those that PostgreSQL brings.
pub fn roles(session: &mut Session) -> Result<Vec<String>, SourceError> {
    names(session, "SELECT rolname AS name FROM pg_roles WHERE rolname !~ '^pg_'")
}

/// The roles that own things in the database of the session, or have rights to them. `None` where their names cannot be read.
pub fn roles_used(session: &mut Session) -> Result<Option<Vec<String>>, SourceError> {
    let own = "(SELECT oid FROM pg_database WHERE datname = current_database())";
    let rows: Option<Vec<Name>> = as_stored(
        session,
        &format!(
            "SELECT DISTINCT r.rolname AS name FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid \
             WHERE d.refclassid = 'pg_authid'::regclass AND r.rolname !~ '^pg_' AND (d.dbid = {own} \
             OR d.dbid = 0 AND d.classid = 'pg_database'::regclass AND d.objid = {own})"
        ),
    )?;
    Ok(rows.map(|rows| rows.into_iter().map(|row| row.name).collect()))
}

/// Asks for what all databases of a server share: each text there is in the encoding of the database that it was written from, mostly
/// UTF-8, and a server that takes it for one in the encoding of the session's own fails or gives something else. `None` where it is
/// not in UTF-8.
pub fn as_stored<T: DeserializeOwned>(session: &mut Session, query: &str) -> Result<Option<Vec<T>>, SourceError> {
    #[derive(Deserialize)]
    struct Row {
        raw: String,
    }
    let row: Row = session.ask_one(&format!(
        "SELECT encode(convert_to(coalesce(json_agg(q)::text, '[]'), getdatabaseencoding()), 'hex') AS raw FROM ({query}) AS q"
    ))?;
    Ok(serde_json::from_slice(&bytes(&row.raw)).ok())
}

#[derive(Deserialize)]
struct Name {
    name: String,
}

/// The roles that who logged in is no member of, and so can give nothing to.
pub fn roles_of_others(session: &mut Session) -> Result<Vec<String>, SourceError> {
    names(session, "SELECT rolname AS name FROM pg_roles WHERE NOT pg_has_role(session_user, oid, 'MEMBER')")
}

/// The names that a question gives, sorted.
fn names(session: &mut Session, question: &str) -> Result<Vec<String>, SourceError> {
    let rows: Vec<Name> = session.ask(question)?;
    let mut names: Vec<String> = rows.into_iter().map(|row| row.name).collect();
    names.sort();
    Ok(names)
}

/// Who logged in.
#[derive(Clone, Debug, Deserialize)]
pub struct Login {
    /// The role's name.
    pub name: String,
    /// Whether it may do anything.
    pub is_superuser: bool,
    /// Whether it may make roles.
    pub may_make_roles: bool,
}

/// Who logged in.
pub fn login(session: &mut Session) -> Result<Login, SourceError> {
    session.ask_one(
        "SELECT rolname AS name, rolsuper AS is_superuser, rolsuper OR rolcreaterole AS may_make_roles \
         FROM pg_roles WHERE rolname = session_user",
    )
}

/// The name of the user that the server was made with.
pub fn first_user(session: &mut Session) -> Result<String, SourceError> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
    }
    Ok(session.ask_one::<Row>("SELECT pg_get_userbyid(10) AS name")?.name)
}

/// Settings that somebody made, and where tables may lie: for whoever sets up the server again.
pub fn settings(session: &mut Session) -> Result<(Vec<Value>, Vec<Value>), SourceError> {
    let settings = "SELECT name, setting, unit, source FROM pg_settings \
        WHERE source NOT IN ('default', 'override', 'client', 'session') ORDER BY name";
    let spaces = "SELECT spcname AS name, pg_get_userbyid(spcowner) AS owner, \
        pg_tablespace_location(oid) AS location FROM pg_tablespace WHERE spcname !~ '^pg_' ORDER BY spcname";
    Ok((session.ask(settings)?, session.ask(spaces)?))
}

/// Tables and materialised views with rows of their own, and sequences; not those that belong to an extension, which come
/// with it, and not those of PostgreSQL itself.
const FROM_RELATIONS: &str = "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp_)' \
    AND c.relpersistence <> 't' AND NOT EXISTS (SELECT FROM pg_depend d \
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')";
/// What `pg_dump` needs to read it. Where rows are hidden from who asks, it refuses.
const IS_READABLE: &str = "(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') \
    AND NOT row_security_active(c.oid))";

/// A table or sequence that who asks may not read whole.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub struct Unreadable {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
}

/// What who asks may not read whole.
pub fn unreadable(session: &mut Session) -> Result<Vec<Unreadable>, SourceError> {
    session.ask(&format!(
        "SELECT n.nspname AS schema, c.relname AS name {FROM_RELATIONS} AND c.relkind IN ('r', 'm', 'p', 'S') \
         AND NOT {IS_READABLE} ORDER BY 1, 2"
    ))
}

/// How long to wait for a table that somebody changes; see [`hold`].
const LOCK_PATIENCE: &str = "300s";

/// Locks the tables against whoever would take one away, empty it or write it anew while it is read, as a dump does. Gives those
/// that were emptied or written anew since the transaction began: it sees them without rows (PostgreSQL's documentation, 13.6).
pub fn hold(session: &mut Session) -> Result<Vec<String>, SourceError> {
    #[derive(Deserialize)]
    struct Row {
        name: String,
    }
    session.execute(&format!(
        "SET LOCAL lock_timeout = '{LOCK_PATIENCE}'; DO $hold$ DECLARE t record; BEGIN \
         FOR t IN SELECT n.nspname AS s, c.relname AS r {FROM_RELATIONS} AND c.relkind IN ('r', 'p') AND {IS_READABLE} \
         LOOP EXECUTE format('LOCK TABLE ONLY %I.%I IN ACCESS SHARE MODE', t.s, t.r); END LOOP; END $hold$"
    ))?;
    // The column is as the transaction sees it, the function tells what is.
    let rows: Vec<Row> = session.ask(&format!(
        "SELECT n.nspname || '.' || c.relname AS name {FROM_RELATIONS} AND c.relkind IN ('r', 'm') \
         AND c.relfilenode IS DISTINCT FROM pg_relation_filenode(c.oid) ORDER BY 1"
    ))?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}

/// How many tables, views and sequences there are, whoever may read them.
pub fn relations(session: &mut Session) -> Result<u64, SourceError> {
    #[derive(Deserialize)]
    struct Row {
        count: u64,
    }
    let query = format!("SELECT count(*) AS count {FROM_RELATIONS} AND c.relkind IN ('r', 'm', 'p', 'S', 'v', 'f')");
    Ok(session.ask_one::<Row>(&query)?.count)
}

/// Schema and name in the database's own encoding, as hexadecimal digits, since no other one may have these letters.
const RAW_NAME: &str = "encode(convert_to(n.nspname || '.' || c.relname, getdatabaseencoding()), 'hex')";

/// Of bytes in hexadecimal digits.
fn bytes(digits: &str) -> Vec<u8> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.as_bytes().chunks(2).filter_map(byte).collect()
}

/// What was counted in a database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Rows of each table, by schema and name, quoted where SQL needs it.
    pub tables: BTreeMap<String, u64>,
    /// Large objects.
    pub large_objects: u64,
    /// Versions of extensions.
    pub extensions: BTreeMap<String, String>,
    /// Tables that have rows, by schema and name, as an archive has them: in the database's own encoding.
    pub filled: Vec<Vec<u8>>,
    /// The same names of all tables and sequences, as everybody reads them.
    pub names: BTreeMap<Vec<u8>, String>,
}

impl Counted {
    /// What a table or sequence is called that an archive names.
    pub fn name(&self, raw: &[u8]) -> String {
        self.names.get(raw).cloned().unwrap_or_else(|| String::from_utf8_lossy(raw).into_owned())
    }
}

/// Counts all rows that can be read, in the transaction that the session is in. Each table of a hierarchy counts its own. An
/// unlogged table has none on a standby.
pub fn count(session: &mut Session) -> Result<Counted, SourceError> {
    #[derive(Deserialize)]
    struct Table {
        name: String,
        rows: u64,
        /// Schema and name, where its rows are in a dump: those of a view are made again from others.
        is_dumped: bool,
        raw: String,
    }
    #[derive(Deserialize)]
    struct Extension {
        name: String,
        version: String,
    }
    #[derive(Deserialize)]
    struct Objects {
        count: u64,
    }
    #[derive(Deserialize)]
    struct Named {
        name: String,
        raw: String,
    }
    let tables: Vec<Table> = session.ask_each(&format!(
        "SELECT format('SELECT row_to_json(r) FROM (SELECT %L AS name, %s AS rows, %L::bool AS is_dumped, %L AS raw) AS r', \
         format('%I.%I', n.nspname, c.relname), CASE WHEN c.relpersistence = 'u' AND pg_is_in_recovery() THEN '0' \
         ELSE format('(SELECT count(*) FROM ONLY %I.%I)', n.nspname, c.relname) END, \
         c.relkind = 'r', {RAW_NAME}) {FROM_RELATIONS} \
         AND (c.relkind = 'r' OR c.relkind = 'm' AND c.relispopulated) AND {IS_READABLE}"
    ))?;
    let extensions: Vec<Extension> = session.ask("SELECT extname AS name, extversion AS version FROM pg_extension")?;
    let objects: Objects = session.ask_one("SELECT count(*) AS count FROM pg_largeobject_metadata")?;
    let named: Vec<Named> = session.ask(&format!(
        "SELECT n.nspname || '.' || c.relname AS name, {RAW_NAME} AS raw {FROM_RELATIONS} AND c.relkind IN ('r', 'S')"
    ))?;
    let filled = tables.iter().filter(|table| table.rows > 0 && table.is_dumped);
    Ok(Counted {
        filled: filled.map(|table| bytes(&table.raw)).collect(),
        names: named.into_iter().map(|one| (bytes(&one.raw), one.name)).collect(),
        tables: tables.into_iter().map(|table| (table.name, table.rows)).collect(),
        large_objects: objects.count,
        extensions: extensions.into_iter().map(|extension| (extension.name, extension.version)).collect(),
    })
}

/// Whether there is a table, view or sequence of a name as SQL has it.
pub fn is_there(session: &mut Session, relation: &str) -> Result<bool, SourceError> {
    is_so(session, &format!("to_regclass({}) IS NOT NULL", literal(relation)))
}

/// Whether there is a table space of this name, in which who asks may make things.
pub fn may_use_table_space(session: &mut Session, space: &str) -> Result<bool, SourceError> {
    let is_it = format!("spcname = {} AND has_tablespace_privilege(oid, 'CREATE')", literal(space));
    is_so(session, &format!("EXISTS (SELECT FROM pg_tablespace WHERE {is_it})"))
}

/// Extensions of the session's database that are somebody else's, who alone may change them.
pub fn extensions_of_others(session: &mut Session) -> Result<Vec<String>, SourceError> {
    names(session, "SELECT extname AS name FROM pg_extension WHERE NOT pg_has_role(session_user, extowner, 'MEMBER')")
}

/// Whether there is a schema of this name.
pub fn has_schema(session: &mut Session, schema: &str) -> Result<bool, SourceError> {
    is_so(session, &format!("EXISTS (SELECT FROM pg_namespace WHERE nspname = {})", literal(schema)))
}

fn is_so(session: &mut Session, condition: &str) -> Result<bool, SourceError> {
    #[derive(Deserialize)]
    struct Row {
        is_so: bool,
    }
    Ok(session.ask_one::<Row>(&format!("SELECT {condition} AS is_so"))?.is_so)
}

/// How many rows a table has of its own, by its name as SQL has it.
pub fn rows(session: &mut Session, table: &str) -> Result<u64, SourceError> {
    #[derive(Deserialize)]
    struct Row {
        count: u64,
    }
    Ok(session.ask_one::<Row>(&format!("SELECT count(*) AS count FROM ONLY {table}"))?.count)
}

/// The last value of each sequence, and whether it was given out, by schema and name.
pub fn sequences(session: &mut Session) -> Result<BTreeMap<String, (i64, bool)>, SourceError> {
    #[derive(Deserialize)]
    struct Sequence {
        name: String,
        last: i64,
        called: bool,
    }
    let found: Vec<Sequence> = session.ask_each(&format!(
        "SELECT format('SELECT row_to_json(r) FROM (SELECT %L AS name, last_value AS last, is_called AS called \
         FROM %I.%I) AS r', n.nspname || '.' || c.relname, n.nspname, c.relname) {FROM_RELATIONS} \
         AND c.relkind = 'S' AND {IS_READABLE}"
    ))?;
    Ok(found.into_iter().map(|sequence| (sequence.name, (sequence.last, sequence.called))).collect())
}
