//! A file of a dump on its way into a server: only the databases and tables that are wanted of it, under the names that they
//! are to have.
//!
//! The dump says in comments whose turn it is. Of what follows, three statements name the database: those that make it, alter
//! it and use it. Everything else speaks of what is in the database that is used. What somebody wrote into the body of a
//! procedure stays as it is.

use std::collections::BTreeMap;
use std::io::{self, Read};

use super::names::quoted;
use super::sql::{Part, Reader, quoted_name};

const READ_BYTES: usize = 64 << 10;
/// No statement that names a database is longer.
const NAMING_BYTES_MAX: usize = 16 << 10;
/// How those begin.
const NAMING: [&[u8]; 3] = [b"CREATE DATABASE ", b"ALTER DATABASE ", b"USE "];
/// What stands in the comments before a table, and before its rows. Its triggers follow.
const TABLES: [&[u8]; 2] = [b"-- Table structure for table ", b"-- Dumping data for table "];
/// What stands in comments before anything else.
const OTHERS: [&[u8]; 6] = [
    b"-- Sequence structure for ",
    b"-- Temporary table structure for ",
    b"-- Temporary view structure for ",
    b"-- Final view structure for ",
    b"-- Dumping events for ",
    b"-- Dumping routines for ",
];

/// What is wanted of a dump.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// The databases, and what each is to be called.
    pub databases: BTreeMap<String, String>,
    /// Only these tables; all that the databases have, where empty.
    pub tables: Vec<String>,
}

/// Reads what is wanted of a dump.
pub struct Picked<R> {
    dump: R,
    choice: Choice,
    reader: Reader,
    turn: Turn,
    /// What was read and not taken in.
    waiting: Vec<u8>,
    /// The statement that is under way, while it may name a database.
    statement: Vec<u8>,
    is_long: bool,
    ready: Vec<u8>,
    given: usize,
    has_ended: bool,
}

/// Whose turn it is in the dump.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Turn {
    /// What all databases need.
    All,
    /// That of a database, by the name that it is to have; `None` where it is not wanted.
    Database(Option<(String, String)>),
    /// That of one of its tables.
    Table((String, String), String),
    /// That of anything else in it.
    Other((String, String)),
}

/// What a part of the dump is.
enum Is {
    /// A comment that says whose turn it is.
    Turn(Turn),
    Comment,
    Statement,
}

impl<R: Read> Picked<R> {
    /// Of this dump.
    pub fn new(dump: R, choice: Choice) -> Self {
        Self {
            dump,
            choice,
            reader: Reader::default(),
            turn: Turn::All,
            waiting: Vec::new(),
            statement: Vec::new(),
            is_long: false,
            ready: Vec::new(),
            given: 0,
            has_ended: false,
        }
    }

    fn is_wanted(&self) -> bool {
        match &self.turn {
            Turn::All => true,
            Turn::Database(database) => database.is_some(),
            Turn::Table(_, table) => self.choice.tables.is_empty() || self.choice.tables.contains(table),
            Turn::Other(_) => self.choice.tables.is_empty(),
        }
    }

    fn turn_at(&self, comment: &[u8]) -> Option<Turn> {
        if let Some(name) = comment.strip_prefix(b"-- Current Database: ").and_then(quoted_name) {
            return Some(Turn::Database(
                self.choice.databases.get_key_value(&name).map(|(a, b)| (a.clone(), b.clone())),
            ));
        }
        let (Turn::Database(Some(database)) | Turn::Table(database, _) | Turn::Other(database)) = &self.turn else {
            return None;
        };
        let table = TABLES.iter().find_map(|begin| quoted_name(comment.strip_prefix(*begin)?));
        match table {
            Some(table) => Some(Turn::Table(database.clone(), table)),
            None => OTHERS.iter().any(|begin| comment.starts_with(begin)).then(|| Turn::Other(database.clone())),
        }
    }

    fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.waiting.extend_from_slice(bytes);
        let waiting = std::mem::take(&mut self.waiting);
        let mut at = 0;
        loop {
            let was_between = self.reader.is_at_top();
            let (length, part) = self.reader.take(&waiting[at..])?;
            let is = match part {
                Some(Part::Comment(line)) => {
                    let line = line.to_vec();
                    Some(self.turn_at(&line).map_or(Is::Comment, Is::Turn))
                }
                Some(Part::Statement { .. }) => Some(Is::Statement),
                None => None,
            };
            let taken = &waiting[at..at + length];
            match is {
                Some(Is::Turn(turn)) => self.turn = turn,
                None if !was_between => self.take_in(taken),
                Some(Is::Statement) => {
                    self.take_in(taken);
                    self.end_statement();
                }
                // Blanks and delimiters, too.
                _ if self.is_wanted() => self.ready.extend_from_slice(taken),
                _ => {}
            }
            at += length;
            if length == 0 && (self.reader.is_at_top() || at == waiting.len()) {
                self.waiting = waiting[at..].to_vec();
                return Ok(());
            }
        }
    }

    /// Takes in some of a statement.
    fn take_in(&mut self, bytes: &[u8]) {
        if self.is_wanted() {
            self.statement.extend_from_slice(bytes);
        }
        if self.statement.len() > NAMING_BYTES_MAX {
            self.is_long = true;
            self.ready.append(&mut self.statement);
        }
    }

    fn end_statement(&mut self) {
        let statement = std::mem::take(&mut self.statement);
        let is_long = std::mem::take(&mut self.is_long);
        match &self.turn {
            Turn::Database(Some((from, to))) | Turn::Table((from, to), _) | Turn::Other((from, to))
                if !is_long
                    && from != to
                    && NAMING.iter().any(|begin| statement.trim_ascii_start().starts_with(begin)) =>
            {
                self.ready.extend(renamed(&statement, &quoted(from), &quoted(to)));
            }
            _ => self.ready.extend(statement),
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; READ_BYTES];
        let length = self.dump.read(&mut buffer)?;
        let pushed = match length {
            // The last line may have no end.
            0 => self.push(b"\n"),
            _ => self.push(&buffer[..length]),
        };
        self.has_ended = length == 0;
        pushed.map_err(|what| io::Error::new(io::ErrorKind::InvalidData, what))
    }
}

/// A statement with the first `from` in it replaced.
fn renamed(statement: &[u8], from: &str, to: &str) -> Vec<u8> {
    let at = memchr::memmem::find(statement, from.as_bytes());
    let Some(at) = at else { return statement.to_vec() };
    [&statement[..at], to.as_bytes(), &statement[at + from.len()..]].concat()
}

impl<R: Read> Read for Picked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.ready.len() && !self.has_ended {
            (self.given, self.ready) = (0, Vec::new());
            self.fill()?;
        }
        let length = buffer.len().min(self.ready.len() - self.given);
        buffer[..length].copy_from_slice(&self.ready[self.given..self.given + length]);
        self.given += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DUMP: &str = include_str!("split/fixtures/mariadb-10.11.sql");

    /// Gives a few bytes at a time.
    struct Dribble<'a>(&'a [u8], usize);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.1.min(self.0.len()).min(buffer.len());
            let (now, rest) = self.0.split_at(length);
            buffer[..length].copy_from_slice(now);
            self.0 = rest;
            Ok(length)
        }
    }

    fn picked(dump: &str, names: &[(&str, &str)], tables: &[&str], at_once: usize) -> String {
        let databases = names.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect();
        let choice = Choice { databases, tables: tables.iter().map(|table| (*table).to_owned()).collect() };
        let mut text = String::new();
        Picked::new(Dribble(dump.as_bytes(), at_once), choice).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn all_of_a_dump_stays_as_it_is_but_for_comments_and_however_it_is_cut() {
        let whole = picked(DUMP, &[("a", "a"), ("b", "b")], &[], 1 << 20);
        let kept: Vec<_> = DUMP.lines().filter(|line| !line.starts_with("--")).collect();
        let given: Vec<_> = whole.lines().filter(|line| !line.starts_with("--") && !line.is_empty()).collect();
        assert_eq!(given, kept.into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>());
        for at_once in [1, 7, 100] {
            assert_eq!(picked(DUMP, &[("a", "a"), ("b", "b")], &[], at_once), whole, "{at_once} bytes at once");
        }
    }

    #[test]
    fn one_database_gets_another_name_and_the_rest_is_left_out() {
        let text = picked(DUMP, &[("a", "new `one")], &[], 50);
        assert!(text.contains("CREATE DATABASE /*!32312 IF NOT EXISTS*/ `new ``one` /*!40100"), "{text}");
        assert_eq!(text.matches("USE `new ``one`;").count(), 2, "{text}");
        assert!(text.contains("VIEW `v` AS select") && text.contains("CREATE TABLE `t`"), "{text}");
        assert!(!text.contains("USE `b`") && !text.contains("EVENT `e`") && !text.contains("USE `a`"), "{text}");
        assert!(text.starts_with("/*M!999999") && text.contains("SET NAMES utf8mb4"), "{text}");
    }

    #[test]
    fn one_table_comes_with_its_rows_and_triggers_alone() {
        let text = picked(DUMP, &[("a", "a")], &["t"], 33);
        assert!(text.contains("USE `a`") && text.contains("(1,'it\\'s; (',0x00)") && text.contains("trigger r before"));
        for other in ["SEQUENCE", "VIEW", "PROCEDURE", "USE `b`"] {
            assert!(!text.contains(other), "{other}: {text}");
        }
        assert!(!picked(DUMP, &[("a", "a")], &["other"], 33).contains("`t`"));
    }

    #[test]
    fn what_only_looks_like_a_name_in_a_text_stays() {
        let row = "INSERT INTO `t` VALUES ('\n-- Current Database: `x`\nUSE `a`;\n');\n";
        let dump = format!("-- Current Database: `a`\nUSE `a`;\n{row}CREATE PROCEDURE p() SELECT 'USE `a`';\n");
        let text = picked(&dump, &[("a", "c")], &[], 3);
        assert_eq!(text.trim(), format!("USE `c`;\n{row}CREATE PROCEDURE p() SELECT 'USE `a`';"));
    }
}
