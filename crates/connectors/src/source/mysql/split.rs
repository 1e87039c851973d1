//! One dump of all databases, parted as it flows: a file for each database, and one for all views, which may need any of them.
//! What each database holds is counted on the way.
//!
//! Each file begins with what the dump begins with, so that it can be loaded alone. Lines that tell how far the server's log of
//! changes had come, and by which name the server was reached, are taken out, so that the same content gives the same files.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use super::sql::{Part, Reader, quoted_name};

/// What stands before the first database is never longer.
const PREAMBLE_BYTES_MAX: usize = 256 << 10;
/// The file of views, where there are none.
const NO_VIEWS: &[u8] = b"-- There are no views.\n";

/// What it takes to read the procedures and functions that somebody else defined: a right of its own.
const ROUTINES_OF_OTHERS: &str = "routines that somebody else defined take one more right: GRANT SELECT ON mysql.proc TO the user, or \
     GRANT SHOW_ROUTINE ON *.* of MySQL";

/// What a database holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// The rows of each table.
    pub tables: BTreeMap<String, u64>,
    /// How many sequences.
    pub sequences: u64,
    /// How many views.
    pub views: u64,
    /// How many procedures, functions and packages.
    pub routines: u64,
    /// How many triggers.
    pub triggers: u64,
    /// How many events.
    pub events: u64,
}

/// How far the server's log of changes had come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogPosition {
    /// The file of the log, and the place in it.
    pub file: Option<(String, u64)>,
    /// The same as ids of transactions.
    pub gtid: Option<String>,
}

/// Parts a dump.
pub struct Splitter {
    reader: Reader,
    /// What was given and not taken in.
    waiting: Vec<u8>,
    preamble: Vec<u8>,
    /// The databases, in the order of the dump.
    names: Vec<String>,
    /// The number of the file that is written: those of the databases, then that of the views.
    file: Option<usize>,
    /// The database that is spoken of.
    database: usize,
    held: Vec<Held>,
    position: LogPosition,
    is_complete: bool,
    /// Pieces of files, with their numbers.
    pieces: VecDeque<(usize, Vec<u8>)>,
}

/// What a part of a dump says.
enum Told {
    Nothing,
    /// By which name the tool reached the server.
    Host,
    /// What follows is about this database.
    Database(String),
    LogFile(String, u64),
    Gtid(String),
    /// All is there.
    Complete,
    /// Something was left out.
    LeftOut(String),
    Table(String),
    Rows(String, u64),
    Sequence,
    View,
    Routine,
    Trigger,
    Event,
}

impl Splitter {
    /// For a dump of these databases, in this order.
    pub fn new(names: Vec<String>) -> Self {
        Self {
            reader: Reader::default(),
            waiting: Vec::new(),
            preamble: Vec::new(),
            held: vec![Held::default(); names.len()],
            names,
            file: None,
            database: 0,
            position: LogPosition::default(),
            is_complete: false,
            pieces: VecDeque::new(),
        }
    }

    /// Takes in the next bytes of the dump. Fails, with what is wrong, at what can be no part of it.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.waiting.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            let (length, part) = self.reader.take(&self.waiting[at..])?;
            let has_part = part.is_some();
            let told = part.map_or(Told::Nothing, told);
            let is_kept = !matches!(told, Told::LogFile(..) | Told::Gtid(_) | Told::Host);
            self.note(told, has_part)?;
            if is_kept {
                self.put(at, at + length)?;
            }
            at += length;
            if length == 0 && (self.reader.is_at_top() || at == self.waiting.len()) {
                self.waiting.drain(..at);
                return Ok(());
            }
        }
    }

    /// After the end of the dump: what each database holds, and how far the log had come. Fails where something is missing.
    pub fn finish(&mut self) -> Result<(BTreeMap<String, Held>, LogPosition), String> {
        // The last line may have no end.
        self.push(b"\n")?;
        if !self.reader.is_at_top() || !self.waiting.is_empty() || !self.is_complete {
            return Err("gave a dump that ends early: its last line is not `-- Dump completed`".to_owned());
        }
        if let Some(missing) = self.names.get(self.file.map_or(0, |file| file + 1)) {
            return Err(format!("gave a dump without the database {missing}"));
        }
        if self.file != Some(self.names.len()) {
            self.begin(self.names.len());
            self.pieces.push_back((self.names.len(), NO_VIEWS.to_vec()));
        }
        let held = self.names.iter().cloned().zip(self.held.iter().cloned()).collect();
        Ok((held, self.position.clone()))
    }

    /// Pieces of files that are ready, each with the file's number.
    pub fn pieces(&mut self) -> &mut VecDeque<(usize, Vec<u8>)> {
        &mut self.pieces
    }

    /// Puts bytes that were taken in into the file that is written.
    fn put(&mut self, from: usize, to: usize) -> Result<(), String> {
        let bytes = &self.waiting[from..to];
        match (self.file, self.pieces.back_mut()) {
            (None, _) if self.preamble.len() + bytes.len() > PREAMBLE_BYTES_MAX => {
                return Err("gave a dump that names no database".to_owned());
            }
            (None, _) => self.preamble.extend_from_slice(bytes),
            (Some(file), Some((last, piece))) if *last == file => piece.extend_from_slice(bytes),
            (Some(file), _) => self.pieces.push_back((file, bytes.to_vec())),
        }
        Ok(())
    }

    fn begin(&mut self, file: usize) {
        self.file = Some(file);
        self.pieces.push_back((file, self.preamble.clone()));
    }

    fn note(&mut self, told: Told, is_part: bool) -> Result<(), String> {
        if is_part {
            self.is_complete = matches!(told, Told::Complete);
        }
        match told {
            Told::Database(name) => return self.enter(&name),
            Told::LogFile(file, place) => self.position.file = Some((file, place)),
            Told::Gtid(gtid) => self.position.gtid = Some(gtid),
            Told::LeftOut(why) => return Err(format!("left something out: {why}; {ROUTINES_OF_OTHERS}")),
            Told::Nothing | Told::Host | Told::Complete => {}
            told => {
                // Before the first database there is nothing to be counted.
                if let (Some(_), Some(held)) = (self.file, self.held.get_mut(self.database)) {
                    held.add(told);
                }
            }
        }
        Ok(())
    }

    /// Databases come one after the other; once all have come, they come again with their views.
    fn enter(&mut self, name: &str) -> Result<(), String> {
        let views = self.names.len();
        let next = self.file.map_or(0, |file| file + 1);
        let at = self.names.iter().position(|known| known == name);
        match at {
            Some(at) if at == next => {
                self.database = at;
                self.begin(at);
            }
            Some(at) if next >= views => {
                self.database = at;
                if next == views {
                    self.begin(views);
                }
            }
            _ => return Err(format!("gave a dump with the database {name} at a place that is not its own")),
        }
        Ok(())
    }
}

impl Held {
    fn add(&mut self, told: Told) {
        match told {
            Told::Table(name) => drop(self.tables.entry(name).or_default()),
            Told::Rows(name, rows) => *self.tables.entry(name).or_default() += rows,
            Told::Sequence => self.sequences += 1,
            Told::View => self.views += 1,
            Told::Routine => self.routines += 1,
            Told::Trigger => self.triggers += 1,
            Told::Event => self.events += 1,
            _ => {}
        }
    }
}

fn told(part: Part<'_>) -> Told {
    match part {
        Part::Comment(line) => told_by_comment(line),
        Part::Statement { head, rows, is_body } => told_by_statement(head, rows, is_body),
    }
}

fn told_by_comment(line: &[u8]) -> Told {
    if let Some(name) = line.strip_prefix(b"-- Current Database: ") {
        return quoted_name(name).map_or(Told::Nothing, Told::Database);
    }
    if line.starts_with(b"-- Dump completed") {
        return Told::Complete;
    }
    if line.starts_with(b"-- Host: ") {
        return Told::Host;
    }
    let text = String::from_utf8_lossy(line);
    if text.starts_with("-- insufficient privileges") || text.starts_with("-- does not have permission") {
        return Told::LeftOut(text.trim_start_matches("-- ").to_owned());
    }
    if let Some(gtid) = text.strip_prefix("-- SET GLOBAL gtid_slave_pos='") {
        return Told::Gtid(gtid.trim_end_matches("';").to_owned());
    }
    log_position(&text).map_or(Told::Nothing, |(file, place)| Told::LogFile(file, place))
}

/// A line like `-- CHANGE MASTER TO MASTER_LOG_FILE='binlog.000001', MASTER_LOG_POS=826;`
fn log_position(line: &str) -> Option<(String, u64)> {
    let (_, after) = line.strip_prefix("-- CHANGE ")?.split_once("_LOG_FILE='")?;
    let (file, after) = after.split_once('\'')?;
    let digits = after.split_once("_LOG_POS=")?.1;
    let digits = digits.split(|letter: char| !letter.is_ascii_digit()).next()?;
    Some((file.to_owned(), digits.parse().ok()?))
}

fn told_by_statement(head: &[u8], rows: u64, is_body: bool) -> Told {
    let named = |begin: &str| head.strip_prefix(begin.as_bytes()).and_then(quoted_name);
    if head.starts_with(b"/*!50003 CREATE*/") {
        return Told::Trigger;
    }
    if head.starts_with(b"/*!50106 CREATE*/") {
        return Told::Event;
    }
    if is_body {
        return if head.starts_with(b"CREATE ") { Told::Routine } else { Told::Nothing };
    }
    if head.starts_with(b"/*!50001 CREATE ALGORITHM") {
        return Told::View;
    }
    if head.starts_with(b"CREATE SEQUENCE ") {
        return Told::Sequence;
    }
    let table = named("CREATE TABLE ").or_else(|| named("CREATE TABLE IF NOT EXISTS ")).map(Told::Table);
    let filled = || named("INSERT INTO ").or_else(|| named("INSERT  IGNORE INTO ")).map(|name| Told::Rows(name, rows));
    table.or_else(filled).unwrap_or(Told::Nothing)
}
