//! What a running CouchDB says, held against what was captured. It is asked before anything is opened and once more at
//! the end; without an answer the files are captured all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use repository::Cancel;

use super::complete::in_words;
use super::facts::Counted;
use crate::couch_server::{Account, CouchError, CouchServer, DatabaseInfos};
use crate::source::Password;

/// Patience while nothing comes: a backup must not wait long for what it can do without.
const SILENCE: Duration = Duration::from_secs(30);

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
    /// Somebody listens there, and it cannot be told who: in words.
    Mute(String),
    /// Nobody listens there.
    Nothing,
    /// Something is in the way, in words.
    Unknown(String),
}

/// Asks whether a CouchDB runs.
pub fn ask(options: &ServerOptions, cancel: &Cancel) -> Answer {
    ask_within(options, cancel, SILENCE)
}

fn ask_within(options: &ServerOptions, cancel: &Cancel, silence: Duration) -> Answer {
    let server = match connect(options, cancel, silence) {
        // Who it does not know is told so, if not the version.
        Err(CouchError::Password(_)) => connect(&ServerOptions { login: None, ..options.clone() }, cancel, silence),
        server => server,
    };
    match server.and_then(|server| server.version()) {
        Ok(version) => Answer::Runs(Some(version)),
        // Some tell nobody but their users.
        Err(CouchError::Denied(_)) => Answer::Runs(None),
        Err(CouchError::Absent(_)) => Answer::Nothing,
        Err(CouchError::Mute(why)) => Answer::Mute(why),
        Err(error) => Answer::Unknown(error.to_string()),
    }
}

fn connect(options: &ServerOptions, cancel: &Cancel, silence: Duration) -> Result<CouchServer, CouchError> {
    let account = options.login.as_ref().map(|(user, password)| {
        let password = password().map_err(CouchError::Password)?;
        Ok(Account { user: user.clone(), password })
    });
    CouchServer::with_patience(&options.url, account.transpose()?, cancel.clone(), silence)
}

/// A CouchDB that was asked before the capture began.
pub struct CrossCheck {
    server: CouchServer,
    /// Which version it says it is.
    pub version: String,
    before: DatabaseInfos,
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
        let server = connect(options, cancel, SILENCE)?;
        let version = server.version()?;
        let before = server.infos(&server.databases()?)?;
        Ok(Self { server, version, before })
    }

    /// Asks once more, and compares.
    pub fn end(&self, counted: &Counted) -> Result<Compared, CouchError> {
        let now: BTreeSet<_> = self.server.databases()?.into_iter().collect();
        // One that was deleted meanwhile may well be missing.
        let mut before = self.before.clone();
        before.told.retain(|info| now.contains(&info.name));
        before.untold.retain(|(name, _)| now.contains(name));
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
fn compare(before: &DatabaseInfos, captured: &BTreeMap<String, Option<u64>>) -> Compared {
    let mut problems = Vec::new();
    let there = before.told.iter().map(|info| &info.name).chain(before.untold.iter().map(|(name, _)| name));
    let lacking: Vec<_> = there.filter(|name| !captured.contains_key(*name)).collect();
    if !lacking.is_empty() {
        let what = "CouchDB has databases that the snapshot lacks; is `data` the folder of the CouchDB at `url`?";
        problems.push(format!("{what} {}", in_words(lacking)));
    }
    if let Some((_, why)) = before.untold.first() {
        let untold: Vec<_> = before.untold.iter().map(|(name, _)| name).collect();
        let what = "CouchDB cannot tell how many documents these databases have, so they were not compared";
        problems.push(format!("{what}: {}; it says of the first: {why}", in_words(untold)));
    }
    for info in &before.told {
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use std::sync::Arc;

    use super::*;
    use crate::couch_server::DatabaseInfo;

    #[test]
    fn what_lacks_and_what_is_less_is_told() {
        let info = |name: &str, documents, deleted| DatabaseInfo { name: name.to_owned(), documents, deleted };
        let told =
            [info("same", 3, 1), info("grown", 3, 0), info("less", 3, 1), info("part", 9, 9), info("gone", 1, 0)];
        let untold = ["new", "broken"].map(|name| (name.to_owned(), "internal_server_error".to_owned()));
        let before = DatabaseInfos { told: told.into(), untold: untold.into() };
        let captured = [("same", Some(4)), ("grown", Some(5)), ("less", Some(3)), ("part", None), ("new", Some(1))];
        let captured = captured.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
        let found = compare(&before, &captured);
        assert_eq!(found.problems.len(), 3, "{found:?}");
        assert!(found.problems[0].ends_with("gone, broken"), "{found:?}");
        assert!(found.problems[1].contains("not compared: new, broken; it says of the first: internal"), "{found:?}");
        assert!(found.problems[2].starts_with("database less: CouchDB had 4"), "{found:?}");
    }

    /// What is heard of a server that does `serve` with each connection.
    fn heard(scheme: &str, serve: impl Fn(&mut TcpStream) + Send + 'static) -> Answer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut open = Vec::new();
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                serve(&mut stream);
                open.push(stream);
            }
        });
        let password: Password = Arc::new(|| Err("its file is gone".to_owned()));
        let options = ServerOptions { url, login: Some(("medic".to_owned(), password)) };
        ask_within(&options, &Cancel::new(), Duration::from_millis(300))
    }

    fn says(answer: &'static str) -> impl Fn(&mut TcpStream) + Send + 'static {
        move |stream| {
            let mut asked = [0; 1024];
            let _ = stream.read(&mut asked);
            let head = format!("HTTP/1.1 {answer}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{{}}");
            let _ = stream.write_all(head.as_bytes());
        }
    }

    #[test]
    fn who_does_not_answer_is_told_from_where_nobody_is() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let options = ServerOptions { url: format!("http://{nobody}"), login: None };
        assert_eq!(ask(&options, &Cancel::new()), Answer::Nothing);
        let silent = heard("http", |_| {});
        let hangs_up = heard("http", |stream| drop(stream.shutdown(std::net::Shutdown::Both)));
        let no_tls = heard("https", says("400 Bad Request"));
        for answer in [silent, hangs_up, no_tls] {
            assert!(matches!(answer, Answer::Mute(_)), "{answer:?}");
        }
        // A proxy says so where there is no CouchDB behind it.
        let proxy = heard("http", says("502 Bad Gateway"));
        assert!(matches!(proxy, Answer::Unknown(_)), "{proxy:?}");
        // Without the password it says that it runs all the same.
        assert_eq!(heard("http", says("401 Unauthorized")), Answer::Runs(None));
    }
}
