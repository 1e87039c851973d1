//! What a running CouchDB says, held against what was captured. It is asked before anything is opened and once more at
//! the end; without an answer the files are captured all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use repository::Cancel;
use zeroize::Zeroizing;

use super::facts::Counted;
use crate::documents::{Account, CouchError, CouchServer, DatabaseInfo};

/// Patience while nothing comes: a backup must not wait long for what it can do without.
const SILENCE: Duration = Duration::from_secs(30);
/// Databases that are named one by one.
const DATABASES_NAMED_MAX: usize = 20;

/// Gives a password, or why there is none.
pub type Password = Arc<dyn Fn() -> Result<Zeroizing<String>, String> + Send + Sync>;

/// The CouchDB to ask.
#[derive(Clone)]
pub struct ServerOptions {
    /// Its address, without user and password.
    pub url: String,
    /// Who asks, and the password.
    pub login: Option<(String, Password)>,
}

impl fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerOptions")
    }
}

/// What came of asking whether a CouchDB runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It runs; with the version that it says, where it tells us.
    Runs(Option<String>),
    /// Nothing answers there.
    Nothing,
    /// Something is in the way, in words.
    Unknown(String),
}

/// Asks whether a CouchDB runs.
pub fn ask(options: &ServerOptions, cancel: &Cancel) -> Answer {
    match connect(options, cancel).and_then(|server| server.version()) {
        Ok(version) => Answer::Runs(Some(version)),
        // Some tell nobody but their users.
        Err(CouchError::Denied(_)) => Answer::Runs(None),
        Err(CouchError::Unreachable(_)) => Answer::Nothing,
        Err(error) => Answer::Unknown(error.to_string()),
    }
}

fn connect(options: &ServerOptions, cancel: &Cancel) -> Result<CouchServer, CouchError> {
    let account = options.login.as_ref().map(|(user, password)| {
        let password = password().map_err(CouchError::Password)?;
        Ok(Account { user: user.clone(), password })
    });
    CouchServer::with_patience(&options.url, account.transpose()?, cancel.clone(), SILENCE)
}

/// A CouchDB that was asked before the capture began.
pub struct CrossCheck {
    server: CouchServer,
    /// Which version it says it is.
    pub version: String,
    before: Vec<DatabaseInfo>,
}

/// What came of it, in words.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Compared {
    pub problems: Vec<String>,
    pub notes: Vec<String>,
}

impl CrossCheck {
    /// Asks what there is.
    pub fn begin(options: &ServerOptions, cancel: &Cancel) -> Result<Self, CouchError> {
        let server = connect(options, cancel)?;
        let version = server.version()?;
        let before = server.infos(&server.databases()?)?;
        Ok(Self { server, version, before })
    }

    /// Asks once more, and compares.
    pub fn end(&self, counted: &Counted) -> Result<Compared, CouchError> {
        let now: BTreeSet<_> = self.server.databases()?.into_iter().collect();
        // One that was deleted meanwhile may well be missing.
        let before: Vec<_> = self.before.iter().filter(|info| now.contains(&info.name)).collect();
        let mut compared = compare(&before, &counted.documents_of_whole_databases());
        compared.notes.extend(
            self.server
                .compactions()?
                .into_iter()
                .map(|what| format!("CouchDB is compacting {what}: the next backup reads all of what comes of it")),
        );
        Ok(compared)
    }
}

/// `captured` has each database of the snapshot, with its documents, deleted ones too; without a number where not all of it
/// is in this folder.
fn compare(before: &[&DatabaseInfo], captured: &BTreeMap<String, Option<u64>>) -> Compared {
    let mut problems = Vec::new();
    let lacking: Vec<_> = before.iter().map(|info| &*info.name).filter(|name| !captured.contains_key(*name)).collect();
    if !lacking.is_empty() {
        let what = "CouchDB has databases that the snapshot lacks; is `data` the folder of the CouchDB at `url`?";
        problems.push(format!("{what} {}", named(&lacking)));
    }
    for info in before {
        let told = info.documents.saturating_add(info.deleted);
        if let Some(Some(found)) = captured.get(&info.name)
            && *found < told
        {
            problems.push(format!(
                "database {}: CouchDB had {told} documents, deleted ones too, before the backup began, and the snapshot \
                 has {found}",
                info.name
            ));
        }
    }
    Compared { problems, notes: Vec::new() }
}

fn named(names: &[&str]) -> String {
    let more = names.len().saturating_sub(DATABASES_NAMED_MAX);
    let shown = names.iter().take(DATABASES_NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    if more > 0 { format!("{shown} and {more} more") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_and_what_is_less_is_told() {
        let info = |name: &str, documents, deleted| DatabaseInfo { name: name.to_owned(), documents, deleted };
        let told =
            [info("same", 3, 1), info("grown", 3, 0), info("less", 3, 1), info("part", 9, 9), info("gone", 1, 0)];
        let captured = [("same", Some(4)), ("grown", Some(5)), ("less", Some(3)), ("part", None), ("new", Some(1))];
        let captured = captured.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        let found = compare(&told.iter().collect::<Vec<_>>(), &captured);
        assert_eq!(found.problems.len(), 2, "{found:?}");
        assert!(found.problems[0].ends_with("gone") && found.problems[1].starts_with("database less: CouchDB had 4"));
    }
}
