//! Tokens for programs.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use operations::{Fault, FaultKind};
use rusqlite::{OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::role::Role;
use super::secret::{self, Secret};
use crate::database::Database;
use crate::journal::time;

/// By this, scanners of leaked secrets know it.
const PREFIX: &str = "lifeboat_";
/// How exactly it is known when it was last used.
const USED_EVERY: Duration = Duration::from_secs(60);
const NAME_CHARS_MAX: usize = 100;

/// The tokens.
pub struct Tokens(Arc<Database>);

/// A token, but for what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Token {
    /// Its id.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The stacks that it may see; all where there is no list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stacks: Option<Vec<String>>,
    /// Who made it.
    pub created_by: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Until when it is good.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used_at: Option<Timestamp>,
}

/// What a new token is to be.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The stacks that it may see; all where there is no list.
    #[serde(default)]
    pub stacks: Option<Vec<String>>,
    /// After how many days it is good no more; never where it is not said.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 36500)]
    pub days: Option<u32>,
}

impl Tokens {
    /// The tokens in `database`.
    pub fn new(database: Arc<Database>) -> Self {
        Self(database)
    }

    /// Makes a token. The secret is shown once and not kept.
    ///
    /// # Errors
    ///
    /// Where its name is none.
    pub fn add(&self, new: &NewToken, by: &str, now: Timestamp) -> Result<(Token, Secret), Fault> {
        let name = new.name.trim();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.chars().any(char::is_control) {
            return Err(Fault::new(FaultKind::Usage, "this cannot be a token's name")
                .with_hint(format!("say what it is for, in at most {NAME_CHARS_MAX} characters")));
        }
        let expires_at = match new.days {
            Some(days @ 1..=36500) => {
                Some(now.saturating_add(Duration::from_secs(u64::from(days) * 86400)).unwrap_or(Timestamp::MAX))
            }
            Some(_) => return Err(Fault::new(FaultKind::Usage, "a token is good for 1 to 36500 days")),
            None => None,
        };
        let secret = Secret::new(PREFIX)?;
        let id = data_encoding::HEXLOWER.encode(&secret.hash()[..8]);
        let token = Token {
            id,
            name: name.to_owned(),
            role: new.role,
            stacks: new.stacks.clone(),
            created_by: by.to_owned(),
            created_at: now,
            expires_at,
            used_at: None,
        };
        let insert = "INSERT INTO token (id, hash, name, role, stacks, created_by, created_at, expires_at) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
        let stacks = token.stacks.as_ref().map(|stacks| serde_json::Value::from(stacks.clone()).to_string());
        let expires = expires_at.map(Timestamp::as_millisecond);
        self.0.with(|db| {
            db.execute(
                insert,
                params![token.id, secret.hash(), name, new.role.name(), stacks, by, now.as_millisecond(), expires],
            )
        })?;
        Ok((token, secret))
    }

    /// The token that this is, where it is still good.
    ///
    /// # Errors
    ///
    /// Where the memory cannot be read.
    pub fn who(&self, secret: &str, now: Timestamp) -> Result<Option<Token>, Fault> {
        let ask = format!("SELECT {COLUMNS} FROM token WHERE hash = ?1 AND (expires_at IS NULL OR expires_at > ?2)");
        let (hash, at) = (secret::hash(secret), now.as_millisecond());
        self.0.with(|db| {
            let token = db.prepare_cached(&ask)?.query_row(params![hash, at], read).optional()?;
            let is_news =
                |token: &Token| token.used_at.is_none_or(|used| now.duration_since(used).unsigned_abs() > USED_EVERY);
            if token.as_ref().is_some_and(is_news) {
                db.execute("UPDATE token SET used_at = ?2 WHERE hash = ?1", params![hash, at])?;
            }
            Ok(token)
        })
    }

    /// All tokens, the newest first.
    ///
    /// # Errors
    ///
    /// As [`Tokens::who`].
    pub fn all(&self) -> Result<Vec<Token>, Fault> {
        let ask = format!("SELECT {COLUMNS} FROM token ORDER BY created_at DESC, id");
        self.0.with(|db| db.prepare_cached(&ask)?.query_map([], read)?.collect())
    }

    /// Revokes a token.
    ///
    /// # Errors
    ///
    /// Where there is none with this id.
    pub fn remove(&self, id: &str) -> Result<(), Fault> {
        match self.0.with(|db| db.execute("DELETE FROM token WHERE id = ?1", [id]))? {
            0 => Err(Fault::new(FaultKind::NotFound, "there is no such token")),
            _ => Ok(()),
        }
    }
}

const COLUMNS: &str = "id, name, role, stacks, created_by, created_at, expires_at, used_at";

fn read(row: &Row<'_>) -> rusqlite::Result<Token> {
    let (role, stacks): (String, Option<String>) = (row.get(2)?, row.get(3)?);
    Ok(Token {
        id: row.get(0)?,
        name: row.get(1)?,
        // What this version does not know may do the least, and sees nothing.
        role: Role::parse(&role).unwrap_or(Role::Viewer),
        stacks: stacks.map(|stacks| serde_json::from_str(&stacks).unwrap_or_default()),
        created_by: row.get(4)?,
        created_at: time(row.get(5)?),
        expires_at: row.get::<_, Option<i64>>(6)?.map(time),
        used_at: row.get::<_, Option<i64>>(7)?.map(time),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_known_by_its_secret_until_it_expires_or_is_revoked() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("db");
        let tokens = Tokens::new(Arc::new(Database::open(&file).unwrap()));
        let at = |hours: i64| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(hours);
        let new =
            |days| NewToken { name: "ci".to_owned(), role: Role::Operator, stacks: Some(vec!["a".to_owned()]), days };
        let (token, secret) = tokens.add(&new(Some(1)), "ada", at(0)).unwrap();
        assert!(secret.text().starts_with("lifeboat_") && secret.text().len() == 9 + 43);
        assert!(!format!("{secret:?}").contains(&secret.text()[9..]));
        assert_eq!(tokens.who(secret.text(), at(23)).unwrap().map(|found| found.stacks), Some(token.stacks.clone()));
        assert_eq!(tokens.who(secret.text(), at(25)).unwrap(), None);
        assert_eq!(tokens.who("lifeboat_", at(0)).unwrap(), None);
        let (other, secret) = tokens.add(&new(None), "ada", at(0)).unwrap();
        assert!(tokens.who(secret.text(), at(1_000_000)).unwrap().is_some());
        tokens.remove(&other.id).unwrap();
        assert_eq!(tokens.who(secret.text(), at(0)).unwrap(), None);
        assert!(tokens.remove(&other.id).is_err() && tokens.add(&new(Some(0)), "ada", at(0)).is_err());
        drop(tokens);
        for part in std::fs::read_dir(folder.path()).unwrap() {
            let bytes = std::fs::read(part.unwrap().path()).unwrap();
            let kept = secret.text().as_bytes();
            assert!(!bytes.windows(kept.len()).any(|window| window == kept), "only the hash is kept");
        }
    }
}
