//! A running CouchDB, reached over HTTP: what it says of its databases, and what is needed to write documents back and to
//! see what came of it.
//!
//! Nothing here retries. Writing revisions as they were is the same however often it is done, so a run that failed is run
//! again.

mod info;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use repository::Cancel;
use repository::limits::CANCEL_POLL;
use reqwest::{Method, StatusCode, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use zeroize::Zeroizing;

pub use self::info::{DatabaseInfo, DatabaseInfos};
use crate::http::{Somebody, choose_cryptography, who_is_there, without_answer};

/// Patience until the server is connected.
const CONNECT: Duration = Duration::from_secs(20);
/// Patience while nothing comes: writing a batch takes a while on a busy server.
const SILENCE: Duration = Duration::from_secs(300);
/// A longer answer is none of CouchDB's.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Characters of a reason that are shown.
const REASON_CHARACTERS_MAX: usize = 300;

/// Why a server did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CouchError {
    /// The address cannot be used. The message never shows it: a password may be in it.
    #[error("{0}")]
    Address(&'static str),
    /// The password cannot be had.
    #[error("{0}")]
    Password(String),
    /// Nobody listens at the address.
    #[error("{0}")]
    Absent(String),
    /// There is no way to the address, or it has a name that is not known here.
    #[error("{0}")]
    Unreachable(String),
    /// Somebody listens there, and gave no whole answer: silence, or a certificate that is not trusted.
    #[error("{0}")]
    Mute(String),
    /// The user may not do this, or is unknown.
    #[error("CouchDB refuses: {0}")]
    Denied(String),
    /// There is no such database, or what answers is no CouchDB.
    #[error("{0}")]
    NotFound(String),
    /// CouchDB does not take what it was sent.
    #[error("CouchDB answers {status}: {reason}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it says.
        reason: String,
    },
    /// The answer is not one of CouchDB's.
    #[error("what answers is no CouchDB: {0}")]
    Strange(String),
    /// The run was asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl CouchError {
    /// Whether it was answered, with something else than what was asked for.
    fn is_answer(&self) -> bool {
        matches!(self, Self::Denied(_) | Self::NotFound(_) | Self::Refused { .. } | Self::Strange(_))
    }

    fn of(error: reqwest::Error) -> Self {
        match who_is_there(&error) {
            Somebody::No => Self::Absent(without_answer(error)),
            Somebody::Yes => Self::Mute(without_answer(error)),
            Somebody::Unknown => Self::Unreachable(without_answer(error)),
        }
    }
}

/// A user of CouchDB.
pub struct Account {
    /// The name.
    pub user: String,
    /// The password.
    pub password: Zeroizing<String>,
}

/// A running CouchDB.
pub struct CouchServer {
    base: Url,
    account: Option<Account>,
    client: reqwest::Client,
    runtime: Runtime,
    cancel: Cancel,
}

/// A document that was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The document; `None` where the answer does not say.
    pub id: Option<String>,
    /// What CouchDB calls it, and its reason.
    pub what: String,
}

/// The revision of a document that CouchDB shows now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Now {
    /// The revision.
    pub revision: String,
    /// Whether it is a deletion.
    pub deleted: bool,
}

/// What `_bulk_docs` says of a document.
#[derive(Deserialize)]
struct Said {
    id: Option<String>,
    error: Option<String>,
    reason: Option<String>,
}

/// What `_all_docs` says.
#[derive(Deserialize)]
struct Rows {
    rows: Vec<Value>,
}

impl CouchServer {
    /// The server at `url`, which names no user and no password. Asks it nothing yet.
    pub fn new(url: &str, account: Option<Account>, cancel: Cancel) -> Result<Self, CouchError> {
        Self::with_patience(url, account, cancel, SILENCE)
    }

    /// As [`CouchServer::new`], for who does not wait as long while nothing comes.
    pub fn with_patience(
        url: &str,
        account: Option<Account>,
        cancel: Cancel,
        silence: Duration,
    ) -> Result<Self, CouchError> {
        let wrong = CouchError::Address;
        let mut base =
            Url::parse(url).map_err(|_| wrong("the address of CouchDB is no URL such as http://host:5984"))?;
        if !["http", "https"].contains(&base.scheme()) {
            return Err(wrong("the address of CouchDB begins with http:// or https://"));
        }
        if !base.username().is_empty() || base.password().is_some() {
            return Err(wrong(
                "the address of CouchDB must not hold a user or a password: everybody can read it there",
            ));
        }
        base.set_query(None);
        base.set_fragment(None);
        choose_cryptography();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(silence)
            // Another server must not get the password.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| CouchError::Unreachable(without_answer(error)))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CouchError::Unreachable(format!("set up connections: {error}")))?;
        Ok(Self { base, account, client, runtime, cancel })
    }

    /// Its address.
    pub fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Fails where the database `name` is not there, or this user may not read it.
    pub fn check_database(&self, name: &str) -> Result<(), CouchError> {
        let answer = self.ask(Method::GET, name, "", None)?;
        match answer.get("db_name").or(answer.get("doc_count")) {
            Some(_) => Ok(()),
            None => Err(CouchError::Strange("it does not describe the database".to_owned())),
        }
    }

    /// Writes documents, each a JSON object, and gives those that were not written. With `new_edits` each becomes a new
    /// revision; without it, they are the revisions that they say they are.
    pub fn write(&self, database: &str, documents: &[&str], new_edits: bool) -> Result<Vec<Refused>, CouchError> {
        // Put together as text: the numbers in it must stay as they are.
        let body = format!("{{\"new_edits\":{new_edits},\"docs\":[{}]}}", documents.join(","));
        let answer = self.ask(Method::POST, database, "/_bulk_docs", Some(body))?;
        let said: Vec<Said> = serde_json::from_value(answer).map_err(strange)?;
        Ok(said.into_iter().filter_map(Said::refused).collect())
    }

    /// What the database shows of these documents now; those that it never had are not in the result.
    pub fn now(&self, database: &str, ids: &[&str]) -> Result<BTreeMap<String, Now>, CouchError> {
        let body = json!({ "keys": ids }).to_string();
        let answer = self.ask(Method::POST, database, "/_all_docs", Some(body))?;
        let rows: Rows = serde_json::from_value(answer).map_err(strange)?;
        let now = rows.rows.iter().filter_map(|row| {
            let revision = row["value"]["rev"].as_str()?.to_owned();
            Some((row["id"].as_str()?.to_owned(), Now { revision, deleted: row["value"]["deleted"] == true }))
        });
        Ok(now.collect())
    }

    fn ask(&self, method: Method, database: &str, below: &str, body: Option<String>) -> Result<Value, CouchError> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{}{below}", self.base.path().trim_end_matches('/'), quoted(database)));
        let mut request = self.client.request(method, url);
        if let Some(Account { user, password }) = &self.account {
            request = request.basic_auth(user, Some(password.as_str()));
        }
        request = request.header("accept", "application/json");
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let cancelled = async {
            while !self.cancel.is_cancelled() {
                tokio::time::sleep(CANCEL_POLL).await;
            }
        };
        let (status, answer) = self.runtime.block_on(async {
            tokio::select! {
                answer = exchange(request) => answer,
                () = cancelled => Err(CouchError::Cancelled),
            }
        })?;
        let read: Result<Value, _> = serde_json::from_slice(&answer);
        match status {
            status if status.is_success() => read.map_err(strange),
            status => Err(refusal(status, database, &read.unwrap_or_default())),
        }
    }
}

async fn exchange(request: reqwest::RequestBuilder) -> Result<(StatusCode, Vec<u8>), CouchError> {
    let mut response = request.send().await.map_err(CouchError::of)?;
    let mut answer = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(CouchError::of)? {
        if answer.len() + piece.len() > ANSWER_BYTES_MAX {
            return Err(CouchError::Strange(format!("its answer is longer than {ANSWER_BYTES_MAX} bytes")));
        }
        answer.extend(piece);
    }
    Ok((response.status(), answer))
}

fn refusal(status: StatusCode, database: &str, answer: &Value) -> CouchError {
    let said = |name: &str| shown(answer[name].as_str().unwrap_or_default());
    let (error, reason) = (said("error"), said("reason"));
    let reason = if reason.is_empty() { error.clone() } else { reason };
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => CouchError::Denied(reason),
        StatusCode::NOT_FOUND if error == "not_found" => {
            CouchError::NotFound(format!("there is no database {database:?}"))
        }
        StatusCode::NOT_FOUND => CouchError::NotFound("there is no CouchDB at this address".to_owned()),
        status => CouchError::Refused { status: status.as_u16(), reason },
    }
}

impl Said {
    fn refused(self) -> Option<Refused> {
        let error = self.error?;
        let what = match self.reason {
            Some(reason) => format!("{}: {}", shown(&error), shown(&reason)),
            None => shown(&error),
        };
        Some(Refused { id: self.id, what })
    }
}

fn strange(error: serde_json::Error) -> CouchError {
    CouchError::Strange(error.to_string())
}

/// What came from outside, fit for a line on a screen.
fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(REASON_CHARACTERS_MAX).collect()
}

/// As a part of a path. CouchDB would make a space of a plus.
fn quoted(name: &str) -> String {
    name.bytes().fold(String::new(), |mut quoted, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            quoted.push(byte.into());
        } else {
            // Writing to a string cannot fail.
            let _ = write!(quoted, "%{byte:02X}");
        }
        quoted
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_password_is_refused_and_not_shown() {
        let refused = |url| CouchServer::new(url, None, Cancel::new()).map(drop).unwrap_err().to_string();
        for url in ["http://admin:hunter2@host:5984", "http://hunter2@host", "hunter2", "ftp://hunter2"] {
            assert!(!refused(url).contains("hunter2"), "{}", refused(url));
        }
        let server = CouchServer::new("https://host/couch/?x#y", None, Cancel::new()).unwrap();
        assert_eq!(server.address(), "https://host/couch");
    }

    #[test]
    fn names_of_databases_survive_the_way() {
        assert_eq!(quoted("odd/name+x_$(1)-y"), "odd%2Fname%2Bx_%24%281%29-y");
    }

    #[test]
    fn answers_are_told_apart() {
        let told = |status: u16, body: Value| refusal(StatusCode::from_u16(status).unwrap(), "db", &body).to_string();
        assert_eq!(told(404, json!({ "error": "not_found", "reason": "no_db_file" })), "there is no database \"db\"");
        assert_eq!(told(404, Value::Null), "there is no CouchDB at this address");
        assert_eq!(told(401, json!({ "error": "unauthorized" })), "CouchDB refuses: unauthorized");
        assert_eq!(told(413, json!({ "error": "x", "reason": "too\nlarge" })), "CouchDB answers 413: toolarge");
        let said: Said = serde_json::from_value(json!({ "id": "a", "error": "forbidden", "reason": "no" })).unwrap();
        assert_eq!(said.refused(), Some(Refused { id: Some("a".into()), what: "forbidden: no".into() }));
        let said: Said = serde_json::from_value(json!({ "ok": true, "id": "a", "rev": "1-a" })).unwrap();
        assert_eq!(said.refused(), None);
    }
}
