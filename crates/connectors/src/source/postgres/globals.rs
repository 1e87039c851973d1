//! What a server has besides its databases: roles, table spaces, settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use repository::{Cancel, Problem, SourceError};
use serde_json::json;

use super::inventory;
use super::names::quoted;
use super::server::Server;
use super::session::Session;
use super::tools::{Tools, Version};
use crate::program::Ended;
use crate::source::produced::ProducedFile;

/// The file with the roles.
pub const ROLES_FILE: &str = "roles.sql";
/// The file with the table spaces, where there are any.
const TABLE_SPACES_FILE: &str = "tablespaces.sql";
/// The file with the settings.
const SERVER_FILE: &str = "server.json";
/// How what `pg_dumpall` prints ends.
const TRAILER: &str = "-- PostgreSQL database cluster dump complete";

/// Files about the server, and what is lacking.
pub struct Globals {
    /// By path.
    pub files: BTreeMap<PathBuf, ProducedFile>,
    /// What could not be read.
    pub problems: Vec<Problem>,
    /// What to know of them.
    pub note: Option<String>,
    /// Whether the passwords of the roles are among them.
    pub has_passwords: bool,
    /// The names of the roles.
    pub roles: Vec<String>,
    /// The user that the server was made with.
    pub first_user: String,
}

impl Globals {
    /// Reads them. `session` is one with the database `through`. Where some databases alone are wanted, the passwords of all roles
    /// are not: who may only read these databases has all of the backup all the same.
    pub fn read(
        server: &Server,
        tools: &Tools,
        session: &mut Session,
        through: &str,
        version: Version,
        is_of_some: bool,
        cancel: &Cancel,
    ) -> Result<Self, SourceError> {
        let dump = |options: &[&str]| dump_all(server, tools, through, options, cancel);
        let (mut problems, mut note, mut has_passwords) = (Vec::new(), None, true);
        let roles = match dump(&["--roles-only"])? {
            Ok(roles) => roles,
            // Only who may read the passwords' hashes may have them.
            Err(_) if is_of_some && !inventory::login(session)?.is_superuser => {
                has_passwords = false;
                note = Some(format!(
                    "roles are in the backup without their passwords, which the user {} may not read: it is of some databases \
                     only, and whole without them",
                    server.user()
                ));
                dump(&["--roles-only", "--no-role-passwords"])?.map_err(|why| SourceError::Invalid { what: why })?
            }
            Err(why) => {
                has_passwords = false;
                problems.push(Problem::new(
                    ROLES_FILE.as_ref(),
                    format!(
                        "the passwords of roles are not in the backup, since the user {} may not read them: make it a \
                         superuser, or set the passwords anew after a restore ({why})",
                        server.user()
                    ),
                ));
                dump(&["--roles-only", "--no-role-passwords"])?.map_err(|why| SourceError::Invalid { what: why })?
            }
        };
        let (settings, spaces) = inventory::settings(session)?;
        let about = json!({ "version": version.to_string(), "settings": settings, "tablespaces": spaces });
        let about =
            serde_json::to_vec_pretty(&about).map_err(|error| SourceError::Invalid { what: error.to_string() })?;
        let mut files = BTreeMap::from([
            (PathBuf::from(ROLES_FILE), ProducedFile::ready(ROLES_FILE, roles)),
            (PathBuf::from(SERVER_FILE), ProducedFile::ready(SERVER_FILE, about)),
        ]);
        if !spaces.is_empty() {
            let spaces = dump(&["--tablespaces-only"])?.map_err(|why| SourceError::Invalid { what: why })?;
            files.insert(TABLE_SPACES_FILE.into(), ProducedFile::ready(TABLE_SPACES_FILE, spaces));
        }
        let (roles, first_user) = (inventory::roles(session)?, inventory::first_user(session)?);
        Ok(Self { files, problems, note, has_passwords, roles, first_user })
    }
}

/// What `pg_dumpall` prints, or why it is not whole.
fn dump_all(
    server: &Server,
    tools: &Tools,
    through: &str,
    options: &[&str],
    cancel: &Cancel,
) -> Result<Result<Vec<u8>, String>, SourceError> {
    let program = tools.program("pg_dumpall").args(options).arg(format!("--database={through}")).arg("--no-password");
    let (printed, ended) = server.at(program, through).run(server.stage(), cancel)?;
    if !ended.is_well() {
        return Ok(Err(format!("pg_dumpall {}", ended.told())));
    }
    let text = without_tokens(&printed);
    if !text.split(|byte| *byte == b'\n').any(|line| line == TRAILER.as_bytes()) {
        return Ok(Err(
            "pg_dumpall printed an output that does not end with its trailer, so it is not whole".to_owned()
        ));
    }
    Ok(Ok(text))
}

/// Whether the roles came back, by how `psql` ended. Those that are there already are told of, and do no harm.
pub fn check_roles(ended: &Ended) -> Result<(), SourceError> {
    let is_known = |line: &str| line.contains("ERROR:  role \"") && line.ends_with("already exists");
    let why = match ended.said.lines().find(|line| line.contains("ERROR:") && !is_known(line)) {
        None if ended.is_well() => return Ok(()),
        Some(line) => line.to_owned(),
        None => format!("psql {}", ended.told()),
    };
    Err(SourceError::Invalid { what: format!("the roles do not come back: {why}") })
}

/// Without the line that gives a role its password and its rights, as `pg_dumpall` writes it.
pub fn without_rights_of(printed: &[u8], role: &str) -> Vec<u8> {
    let lines = [role.to_owned(), quoted(role)].map(|name| format!("ALTER ROLE {name} WITH ").into_bytes());
    let is_its = |line: &[u8]| lines.iter().any(|its| line.starts_with(its));
    let kept = printed.split_inclusive(|byte| *byte == b'\n').filter(|line| !is_its(line));
    kept.flatten().copied().collect()
}

/// Newer versions put a random token around what they print, which would make every dump another one.
fn without_tokens(printed: &[u8]) -> Vec<u8> {
    let is_token = |line: &[u8]| line.starts_with(b"\\restrict ") || line.starts_with(b"\\unrestrict ");
    let kept = printed.split_inclusive(|byte| *byte == b'\n').filter(|line| !is_token(line));
    kept.flatten().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_keeps_what_it_has() {
        let printed = b"CREATE ROLE a;\nALTER ROLE a WITH SUPERUSER PASSWORD 'x';\nALTER ROLE \"a b\" WITH LOGIN;\nALTER ROLE ab WITH LOGIN;\n";
        let without = |role: &str| String::from_utf8(without_rights_of(printed, role)).unwrap();
        assert_eq!(without("a"), "CREATE ROLE a;\nALTER ROLE \"a b\" WITH LOGIN;\nALTER ROLE ab WITH LOGIN;\n");
        assert!(!without("a b").contains("\"a b\"") && without("a b").contains("SUPERUSER"));
    }

    #[test]
    fn random_tokens_are_taken_out() {
        let printed = b"--\n\\restrict aB3\nCREATE ROLE a;\n\\unrestrict aB3\n-- end";
        assert_eq!(without_tokens(printed), b"--\nCREATE ROLE a;\n-- end");
    }
}
