//! The people who may come in.

use std::sync::Arc;

use jiff::Timestamp;
use operations::{Fault, FaultKind};
use rusqlite::{OptionalExtension as _, Row, params};
use serde::Serialize;

use super::password;
use super::role::Role;
use crate::database::Database;
use crate::journal::time;

/// The longest name.
const NAME_CHARS_MAX: usize = 64;

/// The users.
pub struct Users(Arc<Database>);

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct User {
    /// The name.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl Users {
    /// The users in `database`.
    pub fn new(database: Arc<Database>) -> Self {
        Self(database)
    }

    /// Adds a user.
    ///
    /// # Errors
    ///
    /// Where the name is taken or is none, or the password is too short.
    pub fn add(&self, name: &str, role: Role, password: &str, now: Timestamp) -> Result<User, Fault> {
        self.insert(name, role, password, now, true)
    }

    /// Adds the first user, an admin. Of two who try at once, one does.
    ///
    /// # Errors
    ///
    /// As [`Users::add`], and where there is a user.
    pub fn add_first(&self, name: &str, password: &str, now: Timestamp) -> Result<User, Fault> {
        self.insert(name, Role::Admin, password, now, false)
    }

    fn insert(&self, name: &str, role: Role, password: &str, now: Timestamp, is_one_more: bool) -> Result<User, Fault> {
        let is_plain = |character: char| character.is_alphanumeric() || "._-@+".contains(character);
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || !name.chars().all(is_plain) {
            return Err(Fault::new(FaultKind::Usage, "this cannot be a user's name")
                .with_hint(format!("use letters, digits and . _ - @ +, at most {NAME_CHARS_MAX} of them")));
        }
        let hash = password::hash(password)?;
        let insert = "INSERT INTO user (name, role, password, created_at) SELECT ?1, ?2, ?3, ?4 \
                      WHERE ?5 OR NOT EXISTS (SELECT 1 FROM user) ON CONFLICT DO NOTHING";
        let values = params![name, role.name(), hash, now.as_millisecond(), is_one_more];
        match self.0.with(|db| db.execute(insert, values))? {
            0 => Err(Fault::new(FaultKind::AlreadyExists, format!("there is a user {name} already"))
                .with_hint("choose another name")),
            _ => Ok(User { name: name.to_owned(), role, created_at: now }),
        }
    }

    /// The user whose name and password these are.
    ///
    /// # Errors
    ///
    /// Where the memory cannot be read.
    pub fn who(&self, name: &str, password: &str) -> Result<Option<User>, Fault> {
        let ask = "SELECT name, role, created_at, password FROM user WHERE name = ?1";
        let read = |row: &Row<'_>| Ok((read(row)?, row.get::<_, String>(3)?));
        let found = self.0.with(|db| db.query_row(ask, [name], read).optional())?;
        let (user, kept) = found.unzip();
        // Asked also where there is no such user, so that it takes as long.
        let is_right = password::is_right(password, kept.as_deref());
        Ok(user.filter(|_| is_right))
    }

    /// All users, by name.
    ///
    /// # Errors
    ///
    /// As [`Users::who`].
    pub fn all(&self) -> Result<Vec<User>, Fault> {
        let ask = "SELECT name, role, created_at FROM user ORDER BY name";
        self.0.with(|db| db.prepare_cached(ask)?.query_map([], read)?.collect())
    }

    /// Gives a user another password, and ends their sessions.
    ///
    /// # Errors
    ///
    /// Where there is no such user, or the password is too short.
    pub fn set_password(&self, name: &str, password: &str) -> Result<(), Fault> {
        let hash = password::hash(password)?;
        let changed = self.0.change(|db| {
            db.execute("DELETE FROM session WHERE user = ?1", [name])?;
            db.execute("UPDATE user SET password = ?2 WHERE name = ?1", params![name, hash])
        })?;
        if changed == 0 { Err(unknown(name)) } else { Ok(()) }
    }

    /// Gives a user another role. The last admin stays one.
    ///
    /// # Errors
    ///
    /// Where there is no such user, or nobody else is an admin.
    pub fn set_role(&self, name: &str, role: Role) -> Result<(), Fault> {
        let change = "UPDATE user SET role = ?2 WHERE name = ?1 AND (?2 = 'admin' OR role <> 'admin' OR \
                      (SELECT count(*) FROM user WHERE role = 'admin') > 1)";
        match self.0.with(|db| db.execute(change, params![name, role.name()]))? {
            0 => Err(self.last_admin_or_unknown(name)?),
            _ => Ok(()),
        }
    }

    /// Removes a user, with their sessions. The last admin stays.
    ///
    /// # Errors
    ///
    /// As [`Users::set_role`].
    pub fn remove(&self, name: &str) -> Result<(), Fault> {
        let remove = "DELETE FROM user WHERE name = ?1 AND (role <> 'admin' OR \
                      (SELECT count(*) FROM user WHERE role = 'admin') > 1)";
        match self.0.with(|db| db.execute(remove, [name]))? {
            0 => Err(self.last_admin_or_unknown(name)?),
            _ => Ok(()),
        }
    }

    fn last_admin_or_unknown(&self, name: &str) -> Result<Fault, Fault> {
        let is_there = self.all()?.iter().any(|user| user.name == name);
        let last = || {
            Fault::new(FaultKind::Denied, format!("{name} is the only admin"))
                .with_hint("make somebody else an admin first")
        };
        Ok(if is_there { last() } else { unknown(name) })
    }
}

fn unknown(name: &str) -> Fault {
    Fault::new(FaultKind::NotFound, format!("there is no user {name}"))
}

fn read(row: &Row<'_>) -> rusqlite::Result<User> {
    let role: String = row.get(1)?;
    // A role that this version does not know may do the least.
    Ok(User { name: row.get(0)?, role: Role::parse(&role).unwrap_or(Role::Viewer), created_at: time(row.get(2)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_come_in_by_their_passwords_and_the_last_admin_stays() {
        let folder = tempfile::tempdir().unwrap();
        let users = Users::new(Arc::new(Database::open(&folder.path().join("db")).unwrap()));
        let now = Timestamp::UNIX_EPOCH;
        users.add("ada", Role::Admin, "three plain words", now).unwrap();
        assert!(users.add("ada", Role::Viewer, "three other words", now).is_err());
        assert!(users.add_first("eve", "three other words", now).is_err(), "there is one");
        for name in ["", "a b", "a\n", &"x".repeat(65)] {
            assert!(users.add(name, Role::Viewer, "three plain words", now).is_err(), "{name}");
        }
        assert_eq!(users.who("ada", "three plain words").unwrap().map(|user| user.role), Some(Role::Admin));
        assert!(users.who("ada", "four plain words").unwrap().is_none());
        assert!(users.who("bob", "three plain words").unwrap().is_none());
        assert!(users.set_role("ada", Role::Viewer).is_err() && users.remove("ada").is_err());
        users.add("bob", Role::Admin, "more plain words", now).unwrap();
        users.set_role("ada", Role::Viewer).unwrap();
        assert!(users.remove("bob").is_err());
        users.remove("ada").unwrap();
        users.set_password("bob", "yet more plain words").unwrap();
        assert!(users.who("bob", "more plain words").unwrap().is_none());
        assert!(users.set_password("ada", "three plain words").unwrap_err().text().contains("no user ada"));
    }
}
