//! The archives of `pg_dump` in its custom format, read as they flow.
//!
//! The format has no trailer: what proves an archive whole is that it ends between two blocks, and that every entry of its
//! table of contents which is to have data has a block of it. The source of the format is PostgreSQL's own
//! `src/bin/pg_dump/pg_backup_archiver.c` and `pg_backup_custom.c`, `ReadHead`, `ReadToc` and `_PrintTocData`.
//!
//! The header says when the archive was made. It is set to one moment for all, so that an unchanged database gives the same
//! bytes.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::{Arc, Mutex};

use crate::source::output::Proof;

const MAGIC: &[u8; 5] = b"PGDMP";
/// The minor versions of format 1 that are known: from PostgreSQL 9.3's to that of 17 and 18.
const MINOR_VERSIONS: std::ops::RangeInclusive<u8> = 12..=16;
/// Since this one, the header names the compression by a byte.
const WITH_COMPRESSION_BYTE: u8 = 15;
/// Since these, an entry has an access method of tables, and a kind of relation.
const WITH_TABLE_METHOD: u8 = 14;
const WITH_RELATION_KIND: u8 = 16;
/// The number of the custom format, and that of blocks with a table's data and with large objects.
const FORMAT_CUSTOM: u8 = 1;
const BLOCK_DATA: u8 = 1;
const BLOCK_BLOBS: u8 = 3;
/// Second, minute, hour, day, month, year since 1900, whether it is summer: the start of the year 2000.
const MOMENT: [u8; 7] = [0, 0, 0, 1, 0, 100, 0];
/// What the header tells besides: the database, the version of the server, and that of the program.
const HEADER_TEXTS: usize = 3;
/// The longest text that is kept, such as a name.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// Bytes of an archive that are read at once.
const PIECE_BYTES: usize = 64 << 10;
/// The part of a dump that holds data, by its number.
const SECTION_DATA: i64 = 3;
/// The kind of entry that sets a sequence to its value.
const SEQUENCE_SET: &str = "SEQUENCE SET";
/// The kind of entry that has the rows of a table.
const TABLE_DATA: &str = "TABLE DATA";
/// How kinds of entry begin that are about large objects, which are counted otherwise.
const BLOB: &str = "BLOB";
/// What an entry about a large object is called, with its number behind, or from which to which.
const LARGE_OBJECT: &[u8] = b"LARGE OBJECT";
/// How kinds of entry, or their names, begin that are about the database as a whole.
const DATABASE: &str = "DATABASE";
/// The kinds of entry that say how definitions are written.
const WRITTEN_AS: [&str; 2] = ["ENCODING", "STDSTRINGS"];
/// The kinds of entry whose owner says nothing about whose anything is.
const OF_NOBODY: [&str; 3] = ["ACL", "COMMENT", "SECURITY LABEL"];

/// What an archive holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// How many definitions there are of each kind, such as `TABLE` and `INDEX`; without what is about the database itself.
    pub objects: BTreeMap<String, u64>,
    /// The last value of each sequence, and whether it was given out, by schema and name in the database's own encoding.
    pub sequences: BTreeMap<Vec<u8>, (i64, bool)>,
    /// The tables whose rows are in it, named the same way.
    pub filled: BTreeSet<Vec<u8>>,
    /// Whose the things in it are, by their names in the same encoding.
    pub owners: BTreeSet<Vec<u8>>,
}

/// What an archive that was read to its end holds, for who did not read it.
pub type Shared = Arc<Mutex<Option<Contents>>>;

/// Reads an archive as it flows.
pub struct Archive {
    state: State,
    /// The piece that is being read.
    piece: Piece,
    /// What came of it.
    got: Got,
    minor: u8,
    int_bytes: usize,
    offset_bytes: usize,
    entries_left: u64,
    /// What an entry consists of, and where in it we are.
    fields: Vec<Field>,
    field: usize,
    entry: Entry,
    /// The numbers of entries that are to have data, and have none yet.
    awaited: BTreeSet<i64>,
    contents: Contents,
    shared: Shared,
    /// What the table of contents lists, where that is wanted, and whether it was read to its end.
    listed: Option<Vec<Listed>>,
    is_listed: bool,
}

/// An entry of the table of contents, for who picks some of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// Its number, by which others need it.
    pub number: i64,
    /// What it is, such as `TABLE`.
    pub kind: String,
    /// Its schema, in the database's own encoding.
    pub schema: Vec<u8>,
    /// What it is called there: of what belongs to a table, mostly the table's name, a space, and its own.
    pub name: Vec<u8>,
    /// Whose it is; of nobody where empty.
    pub owner: Vec<u8>,
    /// How it is made, of what is about the database as a whole, and of how that is written.
    pub definition: Vec<u8>,
    /// The numbers of the entries that it needs.
    pub needs: Vec<i64>,
}

impl Listed {
    /// Whether it is about the database as a whole.
    pub fn is_about_database(&self) -> bool {
        is_about_database(&self.kind, &self.name)
    }

    /// Whether it says how definitions are written.
    pub fn tells_how_written(&self) -> bool {
        WRITTEN_AS.contains(&&*self.kind)
    }

    /// Who must own it once it is restored. `None` where that is nobody.
    pub fn has_owner(&self) -> Option<&[u8]> {
        has_owner(&self.kind, &self.name, &self.owner).then_some(&self.owner)
    }
}

fn is_about_database(kind: &str, name: &[u8]) -> bool {
    kind.starts_with(DATABASE) || name.strip_prefix(DATABASE.as_bytes()).is_some_and(|rest| rest.starts_with(b" "))
}

fn has_owner(kind: &str, name: &[u8], owner: &[u8]) -> bool {
    !owner.is_empty() && !OF_NOBODY.contains(&kind) && !is_about_database(kind, name)
}

/// Reads the table of contents of an archive.
pub fn table_of_contents(mut file: impl Read) -> Result<Vec<Listed>, String> {
    let mut archive = Archive { listed: Some(Vec::new()), ..Archive::new(Shared::default()) };
    let mut piece = vec![0; PIECE_BYTES];
    while !archive.is_listed {
        match file.read(&mut piece).map_err(|error| format!("cannot be read: {error}"))? {
            0 => return Err("ends within its table of contents".to_owned()),
            length => archive.take(&mut piece[..length])?,
        }
    }
    Ok(archive.listed.unwrap_or_default())
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Magic,
    Version,
    Compression,
    Moment(usize),
    Texts(usize),
    EntryCount,
    Entry,
    /// Between two blocks, where an archive may end.
    Block,
    BlockNumber {
        has_blobs: bool,
    },
    Blob,
    ChunkLength {
        has_blobs: bool,
    },
    Chunk {
        has_blobs: bool,
    },
}

/// A piece of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// Bytes that are kept.
    Bytes(usize),
    /// A sign and as many bytes as the header says, the smallest first.
    Int,
    /// The length of a text, and the text.
    Text {
        keep: bool,
    },
    TextBody {
        keep: bool,
        left: u64,
    },
    /// Bytes that are passed over.
    Skip(u64),
}

/// What is known of the piece so far.
#[derive(Debug, Default)]
struct Got {
    bytes: Vec<u8>,
    /// A text that is no text at all.
    is_null: bool,
}

/// A part of an entry of the table of contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Number,
    HasData,
    Name,
    Kind,
    Section,
    Definition,
    Schema,
    Owner,
    OtherText,
    OtherNumber,
    /// Texts, until one is no text.
    Dependency,
    Offset,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    number: i64,
    has_data: bool,
    name: Vec<u8>,
    kind: String,
    section: i64,
    definition: Vec<u8>,
    schema: Vec<u8>,
    owner: Vec<u8>,
    needs: Vec<i64>,
}

/// The fields of an entry in this version of the format.
fn fields(minor: u8) -> Vec<Field> {
    use Field::{
        Definition, Dependency, HasData, Kind, Name, Number, Offset, OtherNumber, OtherText, Owner, Schema, Section,
    };
    // Two numbers of the catalogue; how to drop and how to copy.
    let mut fields =
        vec![Number, HasData, OtherText, OtherText, Name, Kind, Section, Definition, OtherText, OtherText, Schema];
    // The table space.
    fields.push(OtherText);
    if minor >= WITH_TABLE_METHOD {
        fields.push(OtherText);
    }
    if minor >= WITH_RELATION_KIND {
        fields.push(OtherNumber);
    }
    // Besides the owner, whether rows have numbers.
    fields.extend([Owner, OtherText, Dependency, Offset]);
    fields
}

impl Archive {
    /// A reader that has read nothing. What the archive holds is in `shared` once it was whole.
    pub fn new(shared: Shared) -> Self {
        Self {
            state: State::Magic,
            piece: Piece::Bytes(MAGIC.len()),
            got: Got::default(),
            minor: 0,
            int_bytes: 0,
            offset_bytes: 0,
            entries_left: 0,
            fields: Vec::new(),
            field: 0,
            entry: Entry::default(),
            awaited: BTreeSet::new(),
            contents: Contents::default(),
            shared,
            listed: None,
            is_listed: false,
        }
    }

    fn expect(&mut self, state: State, piece: Piece) {
        (self.state, self.piece) = (state, piece);
        self.got.bytes.clear();
        self.got.is_null = false;
    }

    /// Takes bytes of the piece at hand. Gives how many, and whether it is complete.
    fn feed(&mut self, bytes: &mut [u8]) -> Result<(usize, bool), String> {
        match self.piece {
            Piece::Skip(left) => {
                let length = (bytes.len() as u64).min(left);
                self.piece = Piece::Skip(left - length);
                Ok((length as usize, length == left))
            }
            Piece::TextBody { keep, left } => {
                let length = (bytes.len() as u64).min(left);
                if keep {
                    if self.got.bytes.len() as u64 + left > TEXT_BYTES_MAX as u64 {
                        return Err("is damaged: a name in it is longer than any can be".to_owned());
                    }
                    self.got.bytes.extend_from_slice(&bytes[..length as usize]);
                }
                self.piece = Piece::TextBody { keep, left: left - length };
                Ok((length as usize, length == left))
            }
            Piece::Bytes(wanted) => Ok(self.collect(bytes, wanted)),
            Piece::Int => Ok(self.collect(bytes, 1 + self.int_bytes)),
            Piece::Text { keep } => {
                let (length, is_complete) = self.collect(bytes, 1 + self.int_bytes);
                if !is_complete {
                    return Ok((length, false));
                }
                let text_bytes = self.int();
                self.got.bytes.clear();
                self.got.is_null = text_bytes < 0;
                self.piece = Piece::TextBody { keep, left: u64::try_from(text_bytes).unwrap_or(0) };
                Ok((length, text_bytes <= 0))
            }
        }
    }

    fn collect(&mut self, bytes: &mut [u8], wanted: usize) -> (usize, bool) {
        let length = bytes.len().min(wanted - self.got.bytes.len());
        if let State::Moment(index) = self.state {
            for (at, byte) in bytes[..length].iter_mut().enumerate() {
                // A sign, the smallest byte, and bytes that are 0.
                *byte = if self.got.bytes.len() + at == 1 { MOMENT[index] } else { 0 };
            }
        }
        self.got.bytes.extend_from_slice(&bytes[..length]);
        (length, self.got.bytes.len() == wanted)
    }

    fn int(&self) -> i64 {
        let digits = self.got.bytes.get(1..).unwrap_or_default();
        let value = digits.iter().take(8).rev().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        if self.got.bytes.first() == Some(&0) { value } else { -value }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.got.bytes).into_owned()
    }

    /// The piece at hand is complete: what it means, and what comes next.
    fn advance(&mut self) -> Result<(), String> {
        match self.state {
            State::Magic if self.got.bytes != MAGIC => {
                return Err("printed something else than an archive in its custom format".to_owned());
            }
            State::Magic => self.expect(State::Version, Piece::Bytes(6)),
            State::Version => self.version()?,
            State::Compression => self.expect(State::Moment(0), Piece::Int),
            State::Moment(index) if index + 1 < MOMENT.len() => self.expect(State::Moment(index + 1), Piece::Int),
            State::Moment(_) => self.expect(State::Texts(1), Piece::Text { keep: false }),
            State::Texts(number) if number < HEADER_TEXTS => {
                self.expect(State::Texts(number + 1), Piece::Text { keep: false });
            }
            State::Texts(_) => self.expect(State::EntryCount, Piece::Int),
            State::EntryCount => {
                self.entries_left = u64::try_from(self.int()).unwrap_or(0);
                self.next_entry();
            }
            State::Entry => self.entry_field()?,
            State::Block => {
                let has_blobs = match self.got.bytes[0] {
                    BLOCK_DATA => false,
                    BLOCK_BLOBS => true,
                    other => return Err(format!("is damaged: it has a block of the unknown kind {other}")),
                };
                self.expect(State::BlockNumber { has_blobs }, Piece::Int);
            }
            State::BlockNumber { has_blobs } => {
                if !self.awaited.remove(&self.int()) {
                    return Err("is damaged: it has a block that its table of contents does not name".to_owned());
                }
                let next = if has_blobs { State::Blob } else { State::ChunkLength { has_blobs } };
                self.expect(next, Piece::Int);
            }
            State::Blob if self.int() == 0 => self.expect(State::Block, Piece::Bytes(1)),
            State::Blob => self.expect(State::ChunkLength { has_blobs: true }, Piece::Int),
            State::ChunkLength { has_blobs } => match self.int() {
                0 if has_blobs => self.expect(State::Blob, Piece::Int),
                0 => self.expect(State::Block, Piece::Bytes(1)),
                length => {
                    let length = u64::try_from(length).map_err(|_| "is damaged: a length in it is below 0")?;
                    self.expect(State::Chunk { has_blobs }, Piece::Skip(length));
                }
            },
            State::Chunk { has_blobs } => self.expect(State::ChunkLength { has_blobs }, Piece::Int),
        }
        Ok(())
    }

    /// Major, minor and patch version, bytes of an integer and of an offset, and the format.
    fn version(&mut self) -> Result<(), String> {
        let &[major, minor, patch, int_bytes, offset_bytes, format] = self.got.bytes.as_slice() else {
            return Err("is damaged in its header".to_owned());
        };
        if major != 1 || !MINOR_VERSIONS.contains(&minor) {
            return Err(format!(
                "printed an archive of version {major}.{minor}.{patch}, which this version of Lifeboat does not know"
            ));
        }
        if format != FORMAT_CUSTOM || !(1..=8).contains(&int_bytes) || !(1..=8).contains(&offset_bytes) {
            return Err("is damaged in its header".to_owned());
        }
        (self.minor, self.int_bytes, self.offset_bytes) = (minor, int_bytes.into(), offset_bytes.into());
        self.fields = fields(minor);
        let compression = if minor >= WITH_COMPRESSION_BYTE { Piece::Bytes(1) } else { Piece::Int };
        self.expect(State::Compression, compression);
        Ok(())
    }

    fn next_entry(&mut self) {
        if self.entries_left == 0 {
            self.is_listed = true;
            return self.expect(State::Block, Piece::Bytes(1));
        }
        self.entries_left -= 1;
        self.field = 0;
        self.entry = Entry::default();
        self.expect_field();
    }

    fn expect_field(&mut self) {
        let is_sequence = self.entry.kind == SEQUENCE_SET;
        let is_listed = self.listed.is_some();
        let has_schema = is_listed || is_sequence || self.entry.kind == TABLE_DATA;
        let piece = match self.fields[self.field] {
            Field::Number | Field::HasData | Field::Section | Field::OtherNumber => Piece::Int,
            Field::Name | Field::Kind => Piece::Text { keep: true },
            Field::Definition => Piece::Text { keep: is_sequence || is_listed && self.is_told_of() },
            Field::Owner => Piece::Text { keep: true },
            Field::Schema => Piece::Text { keep: has_schema },
            Field::Dependency => Piece::Text { keep: is_listed },
            Field::OtherText => Piece::Text { keep: false },
            Field::Offset => Piece::Skip(1 + self.offset_bytes as u64),
        };
        self.expect(State::Entry, piece);
    }

    /// Whether the definition of the entry at hand is listed.
    fn is_told_of(&self) -> bool {
        WRITTEN_AS.contains(&&*self.entry.kind) || is_about_database(&self.entry.kind, &self.entry.name)
    }

    fn entry_field(&mut self) -> Result<(), String> {
        match self.fields[self.field] {
            Field::Number => self.entry.number = self.int(),
            Field::HasData => self.entry.has_data = self.int() != 0,
            Field::Section => self.entry.section = self.int(),
            Field::Name => self.entry.name = self.got.bytes.clone(),
            Field::Kind => self.entry.kind = self.text(),
            Field::Definition => self.entry.definition = self.got.bytes.clone(),
            Field::Owner => self.entry.owner = self.got.bytes.clone(),
            Field::Schema => self.entry.schema = self.got.bytes.clone(),
            Field::OtherText | Field::OtherNumber | Field::Offset => {}
            Field::Dependency if !self.got.is_null => {
                if self.listed.is_some() {
                    let number = self.text().parse();
                    self.entry.needs.push(number.map_err(|_| "is damaged: an entry of it needs what has no number")?);
                }
                self.expect_field();
                return Ok(());
            }
            Field::Dependency => {}
        }
        self.field += 1;
        if self.field < self.fields.len() {
            self.expect_field();
            return Ok(());
        }
        self.take_entry()?;
        self.next_entry();
        Ok(())
    }

    fn take_entry(&mut self) -> Result<(), String> {
        let entry = std::mem::take(&mut self.entry);
        if let Some(listed) = &mut self.listed {
            let Entry { number, kind, schema, name, owner, definition, needs, .. } = entry.clone();
            listed.push(Listed { number, kind, schema, name, owner, definition, needs });
        }
        if entry.has_data {
            self.awaited.insert(entry.number);
        }
        if has_owner(&entry.kind, &entry.name, &entry.owner) {
            self.contents.owners.insert(entry.owner.clone());
        }
        if entry.kind == SEQUENCE_SET {
            let value = sequence_value(&String::from_utf8_lossy(&entry.definition)).ok_or_else(|| {
                let name = String::from_utf8_lossy(&entry.name);
                format!("is damaged: it does not say what the value of the sequence {name} is")
            })?;
            self.contents.sequences.insert(entry.qualified(), value);
        } else if entry.kind == TABLE_DATA {
            self.contents.filled.insert(entry.qualified());
        } else if is_definition(&entry) {
            *self.contents.objects.entry(entry.kind).or_default() += 1;
        }
        Ok(())
    }
}

impl Entry {
    fn qualified(&self) -> Vec<u8> {
        [&self.schema[..], b".", &self.name].concat()
    }
}

/// Whether an entry defines something in the database. Its data is counted otherwise, large objects too, with rights and comments on
/// these, which a dump of definitions alone has not; and what is about the database as a whole bears its name, which may be another
/// where it is restored.
fn is_definition(entry: &Entry) -> bool {
    let is_data = entry.section == SECTION_DATA || entry.kind.ends_with(" DATA") || entry.kind.starts_with(BLOB);
    let is_about_large_object = entry.name.starts_with(LARGE_OBJECT) && OF_NOBODY.contains(&&*entry.kind);
    !is_data && !is_about_large_object && !is_about_database(&entry.kind, &entry.name)
}

/// Of `SELECT pg_catalog.setval('NAME', 7, true);`, the number and whether it was given out.
fn sequence_value(definition: &str) -> Option<(i64, bool)> {
    let (_, rest) = definition.rsplit_once("', ")?;
    let (value, is_called) = rest.trim().strip_suffix(");")?.split_once(", ")?;
    Some((value.parse().ok()?, is_called.parse().ok()?))
}

impl Proof for Archive {
    fn take(&mut self, mut bytes: &mut [u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            let (length, is_complete) = self.feed(bytes)?;
            bytes = &mut std::mem::take(&mut bytes)[length..];
            if is_complete {
                self.advance()?;
            }
        }
        Ok(())
    }

    fn verdict(&mut self, said: &str) -> Result<(), String> {
        if self.state != State::Block || !self.got.bytes.is_empty() {
            return Err("printed an archive that ends early".to_owned());
        }
        if !self.awaited.is_empty() {
            return Err(format!("printed an archive that lacks the data of {} tables", self.awaited.len()));
        }
        if said.lines().any(|line| line.contains(": error: ") || line.contains("FATAL: ")) {
            return Err("told of an error, though it says that all went well".to_owned());
        }
        *self.shared.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(std::mem::take(&mut self.contents));
        Ok(())
    }
}
