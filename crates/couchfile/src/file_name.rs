//! Names of the files below CouchDB's data folder. A database's name may contain slashes, which are folders on disk, and
//! dots nowhere, so that the last dot starts the suffix: the second in which the database was created.

use std::fmt;

/// The part of the ring of hashes that a shard holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardRange {
    /// The first hash.
    pub first: u32,
    /// The last hash.
    pub last: u32,
}

impl ShardRange {
    /// Reads `00000000-7fffffff`.
    pub fn parse(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-')?;
        let hash = |text: &str| -> Option<u32> {
            let plain = text.len() == 8 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            u32::from_str_radix(text, 16).ok().filter(|_| plain)
        };
        Some(Self { first: hash(first)?, last: hash(last)? })
    }
}

impl fmt::Display for ShardRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:08x}", self.first, self.last)
    }
}

/// A shard of a clustered database: `shards/00000000-7fffffff/db.1234567890`. Prints as that, which is also how CouchDB
/// names it; [`ShardName::file`] is its file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardName {
    /// Which part of the database.
    pub range: ShardRange,
    /// The database.
    pub database: String,
    /// What is appended to the database's name, its dot included: `.1234567890`.
    pub suffix: String,
}

impl ShardName {
    /// Reads a path below the data folder, with `.couch` or without, or with `.couch.compact`, under which a compacted shard
    /// lies until it takes the other's place.
    pub fn parse(path: &str) -> Option<Self> {
        let name = path.strip_suffix(".couch").or(path.strip_suffix(".couch.compact")).unwrap_or(path);
        let (range, rest) = name.strip_prefix("shards/")?.split_once('/')?;
        let dot = rest.rfind('.')?;
        let (database, suffix) = rest.split_at(dot);
        let digits = suffix.len() > 1 && suffix.bytes().skip(1).all(|byte| byte.is_ascii_digit());
        if database.is_empty() || !digits {
            return None;
        }
        let (database, suffix) = (database.to_owned(), suffix.to_owned());
        Some(Self { range: ShardRange::parse(range)?, database, suffix })
    }

    /// The path of its file below the data folder.
    pub fn file(&self) -> String {
        format!("{self}.couch")
    }
}

impl fmt::Display for ShardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { range, database, suffix } = self;
        write!(f, "shards/{range}/{database}{suffix}")
    }
}

/// A view's file: `.shards/00000000-7fffffff/db.1234567890_design/mrview/0123456789abcdef0123456789abcdef.view`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ViewName {
    /// The database file it belongs to, by its path without `.couch`: `shards/00000000-7fffffff/db.1234567890`, or `db`.
    pub database: String,
    /// The hash of the view's definition, 32 hexadecimal digits, which its header repeats.
    pub signature: String,
}

impl ViewName {
    /// Reads a path below the data folder.
    pub fn parse(path: &str) -> Option<Self> {
        let (database, file) = path.strip_prefix('.')?.rsplit_once("_design/mrview/")?;
        let signature = file.strip_suffix(".view")?;
        let hex = signature.len() == 32 && signature.bytes().all(|byte| byte.is_ascii_hexdigit());
        hex.then(|| Self { database: database.to_owned(), signature: signature.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_shards_are_taken_apart_and_put_together_again() {
        for (path, database) in [
            ("shards/00000000-7fffffff/medic-users-meta.1795232580.couch", "medic-users-meta"),
            ("shards/55555555-aaaaaaa9/odd/name+x_$(1)-y.1795229456.couch", "odd/name+x_$(1)-y"),
        ] {
            let name = ShardName::parse(path).unwrap();
            assert_eq!(name.database, database);
            assert_eq!(name.file(), path);
            assert_eq!(ShardName::parse(&name.to_string()), Some(name));
        }
        for other in [
            "_dbs.couch",
            "shards/00000000-7fffffff/db.couch",
            "shards/00000000-7fffffff/.123.couch",
            "shards/0-7fffffff/db.123.couch",
            "shards/00000000-7FFFFFFF/db.123.couch",
            "shards/00000000-7fffffff/db.123.couch.compact.data",
        ] {
            assert_eq!(ShardName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn names_of_views_say_whose_they_are() {
        let signature = "2da00b9a4e2604c99e4b65b70817033f";
        let name = |path: &str| ViewName::parse(path).map(|name| name.database);
        let shard = "shards/00000000-1fffffff/odd/appdb.1795229450";
        assert_eq!(name(&format!(".{shard}_design/mrview/{signature}.view")), Some(shard.to_owned()));
        assert_eq!(name(&format!("._users_design/mrview/{signature}.view")), Some("_users".to_owned()));
        assert_eq!(name(&format!(".{shard}_design/mrview/{signature}.compact.view")), None);
    }
}
