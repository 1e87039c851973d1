//! What who asks may do, as the server's answer to `SHOW GRANTS` says it.

use super::session::Rows;
use super::sql::quoted_name;

/// What it takes to dump a database whole. Who may do nothing with routines is not even told that there are some.
const TO_READ: [&[&str]; 5] = [
    &["SELECT"],
    &["SHOW VIEW"],
    &["TRIGGER"],
    &["EVENT"],
    &["EXECUTE", "CREATE ROUTINE", "ALTER ROUTINE", "SHOW CREATE ROUTINE"],
];
/// The rights of [`TO_READ`], as they are granted.
pub const RIGHTS_TO_READ: &str = "SELECT, SHOW VIEW, TRIGGER, EVENT, EXECUTE";

/// What somebody may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Everywhere.
    of_all: Vec<String>,
    /// In databases whose names match a pattern.
    of_databases: Vec<(String, Vec<String>)>,
}

impl Grants {
    /// Rows are like ``GRANT SELECT, RELOAD ON *.* TO `backup`@`%` `` and ``GRANT SELECT ON `shop`.* TO `me`@`%` ``. Rights in
    /// single tables and columns are left out.
    pub fn of(rows: &Rows) -> Self {
        let mut grants = Self::default();
        for row in rows.iter().flatten() {
            let Some((rights, whom)) = row.strip_prefix("GRANT ").and_then(|row| row.split_once(" ON ")) else {
                continue;
            };
            let rights = rights.split(", ").map(str::to_owned);
            if whom.starts_with("*.* TO ") {
                grants.of_all.extend(rights);
            } else if let Some((pattern, _)) = whom.split_once(".* TO ")
                && let Some(pattern) = quoted_name(pattern.as_bytes())
            {
                grants.of_databases.push((pattern, rights.collect()));
            }
        }
        grants
    }

    /// May read every table. Without it, tables may be there that nobody tells of.
    pub fn reads_all(&self) -> bool {
        has(&self.of_all, &["SELECT"])
    }

    /// May read all that is in a database.
    pub fn reads(&self, database: &str) -> bool {
        let here = || self.of_databases.iter().filter(|(pattern, _)| is_like(pattern, database));
        TO_READ.iter().all(|names| has(&self.of_all, names) || here().any(|(_, rights)| has(rights, names)))
    }

    /// May hold up all changes for a moment.
    pub fn locks(&self) -> bool {
        has(&self.of_all, &["RELOAD", "FLUSH_TABLES"])
    }

    /// May see how far the log of changes has come.
    pub fn sees_log(&self) -> bool {
        has(&self.of_all, &["REPLICATION CLIENT", "BINLOG MONITOR", "SUPER"])
    }
}

fn has(granted: &[String], names: &[&str]) -> bool {
    granted.iter().any(|right| right == "ALL PRIVILEGES" || names.contains(&right.as_str()))
}

/// Whether a name matches a pattern of SQL: `%` stands for any letters, `_` for one, and `\` takes that from what follows.
fn is_like(pattern: &str, name: &str) -> bool {
    let mut letters = pattern.chars();
    match letters.next() {
        None => name.is_empty(),
        Some('%') => (0..=name.len()).any(|at| name.is_char_boundary(at) && is_like(letters.as_str(), &name[at..])),
        Some(letter) => {
            let mut rest = name.chars();
            let (wanted, is_any) = match letter {
                '\\' => (letters.next(), false),
                letter => (Some(letter), letter == '_'),
            };
            let found = rest.next();
            found.is_some() && (is_any || found == wanted) && is_like(letters.as_str(), rest.as_str())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grants(rows: &[&str]) -> Grants {
        Grants::of(&rows.iter().map(|row| vec![(*row).to_owned()]).collect())
    }

    #[test]
    fn what_somebody_may_do_everywhere_is_read_from_grants() {
        for all in [
            "GRANT ALL PRIVILEGES ON *.* TO `root`@`%` WITH GRANT OPTION",
            "GRANT SELECT, RELOAD, BINLOG MONITOR ON *.* TO `b`@`%`",
        ] {
            let grants = grants(&[all]);
            assert!(grants.reads_all() && grants.locks() && grants.sees_log(), "{all}");
        }
        let some = grants(&["GRANT USAGE ON *.* TO `b`@`%`", "GRANT SELECT ON `shop`.* TO `b`@`%`"]);
        assert!(!some.reads_all() && !some.locks() && !some.sees_log() && !some.reads("shop"));
    }

    #[test]
    fn who_may_do_all_in_one_database_reads_that_one_alone() {
        let owner = grants(&["GRANT USAGE ON *.* TO `o`@`%`", "GRANT ALL PRIVILEGES ON `my\\_shop`.* TO `o`@`%`"]);
        assert!(owner.reads("my_shop") && !owner.reads("myxshop") && !owner.reads("my_shops"));
        let parts = grants(&[
            "GRANT EXECUTE ON *.* TO `o`@`%`",
            "GRANT SELECT, SHOW VIEW, TRIGGER ON `shop%`.* TO `o`@`%`",
            "GRANT EVENT ON `shop_1`.* TO `o`@`%`",
            "GRANT SELECT ON `crm`.`t` TO `o`@`%`",
        ]);
        assert!(parts.reads("shop_1") && parts.reads("shopx1") && !parts.reads("shop") && !parts.reads("crm"));
    }

    #[test]
    fn patterns_are_those_of_sql() {
        for (pattern, name, matches) in [
            ("", "", true),
            ("%", "", true),
            ("a%z", "abcz", true),
            ("a%z", "abc", false),
            ("a_", "a", false),
            ("a_", "aä", true),
            ("a\\%", "a%", true),
            ("a\\%", "ab", false),
            ("a\\", "a", false),
        ] {
            assert_eq!(is_like(pattern, name), matches, "{pattern} {name}");
        }
    }
}
