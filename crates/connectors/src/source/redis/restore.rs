//! A dump of a snapshot, restored into a running server: key by key, with the values as they stand in the dump, which is how
//! `RESTORE` takes them.
//!
//! The dump is walked through with no more than a piece of it in memory, whatever the size of its values.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use repository::{Cancel, Facts, SourceError};
use serde_json::{Value, json};

use super::crc64::crc64;
use super::feed::Feed;
use super::rdb::{Dump, Keys, Parser, Piece, grammar, text};
use super::scratch::{self, SavedDump};
use super::server::{Purpose, Server, Users};
use super::{DUMP, RedisOptions, USERS, facts};
use crate::source::into_server::{IntoServer, Restored, RestoredDatabase, Wanted};
use crate::source::produced::{FILES, below};

const READ_BYTES: usize = 64 << 10;
/// Letters of a key that are shown.
const SHOWN_CHARS_MAX: usize = 60;

/// A restore into a Redis or Valkey.
#[derive(Clone, Debug)]
pub struct RedisRestore {
    /// The server, and who asks.
    pub into: RedisOptions,
    /// What is restored: databases by their numbers. There are no tables.
    pub wanted: Wanted,
}

impl IntoServer for RedisRestore {
    fn files(&self, recorded: &Facts) -> Result<Vec<PathBuf>, SourceError> {
        if !self.wanted.tables.is_empty() {
            return Err(SourceError::unavailable("a Redis has no tables: name a database by its number"));
        }
        if let Some(name) = self.wanted.rename.as_ref().filter(|name| name.parse::<u32>().is_err()) {
            return Err(SourceError::unavailable(format!("{name} is no database of a Redis: give its number")));
        }
        if recorded.contains_key(facts::LOG) {
            // A server that has a log takes it alone. What databases it makes is not known yet.
            let files = recorded.get(FILES).and_then(Value::as_object).into_iter().flat_map(|files| files.keys());
            return Ok(files.filter(|file| *file != DUMP).map(PathBuf::from).collect());
        }
        self.wanted.chosen(recorded)?;
        let has_users = recorded.get(FILES).is_some_and(|files| !files[USERS].is_null());
        Ok([DUMP].into_iter().chain((self.wanted.is_all() && has_users).then_some(USERS)).map(PathBuf::from).collect())
    }

    fn run(&self, dir: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Restored, SourceError> {
        self.run_into(&self.into.server(Purpose::Restore, cancel)?, dir, recorded, cancel)
    }
}

/// A dump, and what is known of it.
struct Given {
    path: PathBuf,
    facts: Facts,
    /// Where a server of our own wrote it.
    _saved: Option<SavedDump>,
}

/// What a running server can be given: the dump of the snapshot or, where it has a log of changes, one that a server of our own
/// writes after it has loaded that.
fn given(dir: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Given, SourceError> {
    let Some(log) = recorded.get(facts::LOG).and_then(Value::as_object) else {
        return Ok(Given { path: dir.join(DUMP), facts: recorded.clone(), _saved: None });
    };
    let files: Vec<_> = log.keys().filter_map(|name| below(dir, name)).collect();
    let saved = scratch::dump_of_log(&files, cancel)?;
    let path = saved.path();
    let facts = facts::of_dump(&walk(&path, cancel, |_, _| Ok(()))?);
    Ok(Given { path, facts, _saved: Some(saved) })
}

impl RedisRestore {
    /// See [`IntoServer::run`].
    pub(super) fn run_into(
        &self,
        server: &Server,
        dir: &Path,
        recorded: &Facts,
        cancel: &Cancel,
    ) -> Result<Restored, SourceError> {
        let given = given(dir, recorded, cancel)?;
        let path = &given.path;
        let chosen = self.wanted.chosen(&given.facts)?;
        for (name, _) in &chosen {
            // What is sent after a number that is refused would end up in another database.
            server.select(&self.wanted.name_of(name), cancel)?;
        }
        let there = server.databases(cancel)?;
        if !self.wanted.replace {
            for (name, _) in &chosen {
                check_room(server, &self.wanted.name_of(name), keys_of(&there, &self.wanted.name_of(name)))?;
            }
        }
        let names: Vec<_> = chosen.iter().map(|(name, _)| name.as_str()).collect();
        let mut restored = Restored { problems: self.send(server, path, &names, cancel)?, ..Restored::default() };
        if chosen.is_empty() {
            let what = "the snapshot has no keys, so none was written; keys that are there stay";
            restored.notes.push(what.to_owned());
        }
        let over = over(path, &names, server.time(cancel)?, cancel)?;
        let found = server.databases(cancel)?;
        for (name, known) in chosen {
            let restored_as = self.wanted.name_of(name);
            let over = over.iter().filter(|(database, _)| database == name).map(|(_, keys)| *keys).sum();
            let counted = Some(compared(known, over, keys_of(&found, &restored_as)));
            if over > 0 {
                restored
                    .notes
                    .push(format!("database {name}: keys that are not there since their time is over: {over}"));
            }
            restored.databases.push(RestoredDatabase {
                name: name.clone(),
                restored_as,
                problems: Vec::new(),
                counted,
            });
        }
        if self.files(recorded)?.contains(&PathBuf::from(USERS)) {
            restored.notes.extend(users_note(server, &dir.join(USERS), cancel)?);
        }
        Ok(restored)
    }
}

fn keys_of(databases: &BTreeMap<u64, Keys>, name: &str) -> Keys {
    name.parse().ok().and_then(|number: u64| databases.get(&number)).copied().unwrap_or_default()
}

/// Sees to it that nothing is written over.
fn check_room(server: &Server, database: &str, there: Keys) -> Result<(), SourceError> {
    if there.keys == 0 {
        return Ok(());
    }
    Err(SourceError::unavailable(format!(
        "{}: database {database} has {} keys: restore into another with --as NUMBER, or let keys of the same name be replaced \
         with --replace",
        server.what(),
        there.keys
    )))
}

/// What was recorded of a database and what was found, where the time of so many keys has come to its end since: a server
/// throws these away when it gets to it.
fn compared(known: &Value, over: u64, found: Keys) -> (Value, Value) {
    let fact = |keys: u64, expiring: u64| json!({ "keys": keys, "expiring": expiring });
    let recorded = |name: &str| known[name].as_u64().unwrap_or_default();
    let expected = |name: &str, found: u64| {
        let most = recorded(name);
        if (most.saturating_sub(over)..=most).contains(&found) { found } else { most - over.min(most) }
    };
    let expected = fact(expected("keys", found.keys), expected("expiring", found.expiring));
    (expected, fact(found.keys, found.expiring))
}

/// The users that the server lacks, and what to do.
fn users_note(server: &Server, path: &Path, cancel: &Cancel) -> Result<Option<String>, SourceError> {
    let name = |line: &str| line.strip_prefix("user ").and_then(|rest| rest.split(' ').next()).map(str::to_owned);
    let text = std::fs::read_to_string(path).map_err(SourceError::io(path))?;
    let there: Vec<_> = match server.users(cancel)? {
        Users::Known(lines) => lines.iter().filter_map(|line| name(line)).collect(),
        Users::None | Users::Untold(_) => Vec::new(),
    };
    let lacking: Vec<_> = text.lines().filter_map(name).filter(|user| !there.contains(user)).collect();
    Ok((!lacking.is_empty()).then(|| {
        format!(
            "the server lacks the users {}; they are in {USERS} of the snapshot, each a line for ACL SETUSER or for its aclfile",
            lacking.join(", ")
        )
    }))
}

/// What comes before a key, and belongs to it.
#[derive(Clone, Copy, Default)]
struct Marks {
    expires_ms: Option<u64>,
    idle_s: Option<u64>,
    frequency: Option<u8>,
}

impl RedisRestore {
    /// Sends all that is wanted of the dump. Gives what the server did not take.
    fn send(&self, server: &Server, path: &Path, names: &[&str], cancel: &Cancel) -> Result<Vec<String>, SourceError> {
        let file = File::open(path).map_err(SourceError::io(path))?;
        let mut feed = Feed::open(server, cancel)?;
        let (mut marks, mut selected) = (Marks::default(), None);
        walk(path, cancel, |piece, version| {
            let dump = DumpFile { file: &file, path };
            if grammar::key_and_value(piece.opcode).is_some() {
                let (marks, name) = (std::mem::take(&mut marks), piece.database.to_string());
                if !names.contains(&name.as_str()) {
                    return Ok(());
                }
                if selected != Some(piece.database) {
                    let number = self.wanted.name_of(&name);
                    feed.command(2, format!("database {number}"))?;
                    feed.word(b"SELECT")?;
                    feed.word(number.as_bytes())?;
                    selected = Some(piece.database);
                }
                return self.send_key(&mut feed, &dump, piece, version, marks);
            }
            match piece.opcode {
                grammar::FUNCTION if self.wanted.is_all() => self.send_functions(&mut feed, &dump, piece),
                _ => dump.mark(piece, &mut marks),
            }
        })?;
        feed.finish()
    }

    fn send_key(
        &self,
        feed: &mut Feed,
        dump: &DumpFile<'_>,
        piece: &Piece,
        version: u32,
        marks: Marks,
    ) -> Result<(), SourceError> {
        let key = dump.text(piece.from, piece.first_ends)?;
        let number = |number: u64| number.to_string().into_bytes();
        let mut after: Vec<Vec<u8>> = Vec::new();
        if self.wanted.replace {
            after.push(b"REPLACE".to_vec());
        }
        if marks.expires_ms.is_some() {
            after.push(b"ABSTTL".to_vec());
        }
        if let Some(idle) = marks.idle_s {
            after.extend([b"IDLETIME".to_vec(), number(idle)]);
        }
        if let Some(frequency) = marks.frequency {
            after.extend([b"FREQ".to_vec(), number(frequency.into())]);
        }
        feed.command(4 + after.len(), format!("key {}", shown(&key)))?;
        feed.word(b"RESTORE")?;
        feed.word(&key)?;
        feed.word(&number(marks.expires_ms.unwrap_or(0)))?;
        // The type, the value, the version of the format, and a checksum of these (redis/src/cluster.c, createDumpPayload).
        let length = 1 + (piece.ends - piece.first_ends) + 2 + 8;
        feed.bytes(format!("${length}\r\n").as_bytes())?;
        let mut sum = crc64(0, &[piece.opcode]);
        feed.bytes(&[piece.opcode])?;
        dump.read(piece.first_ends, piece.ends, |bytes| {
            sum = crc64(sum, bytes);
            feed.bytes(bytes)
        })?;
        let version = u16::try_from(version).unwrap_or(u16::MAX).to_le_bytes();
        feed.bytes(&version)?;
        feed.bytes(&crc64(sum, &version).to_le_bytes())?;
        feed.bytes(b"\r\n")?;
        after.iter().try_for_each(|word| feed.word(word))
    }

    fn send_functions(&self, feed: &mut Feed, dump: &DumpFile<'_>, piece: &Piece) -> Result<(), SourceError> {
        let code = dump.text(piece.from, piece.ends)?;
        let words: &[&[u8]] =
            if self.wanted.replace { &[b"FUNCTION", b"LOAD", b"REPLACE"] } else { &[b"FUNCTION", b"LOAD"] };
        feed.command(words.len() + 1, "a library of functions".to_owned())?;
        words.iter().try_for_each(|word| feed.word(word))?;
        feed.word(&code)
    }
}

/// Of these databases, how many keys of each have no time left at `now_ms`.
fn over(path: &Path, names: &[&str], now_ms: u64, cancel: &Cancel) -> Result<Vec<(String, u64)>, SourceError> {
    let file = File::open(path).map_err(SourceError::io(path))?;
    let mut marks = Marks::default();
    let mut over: Vec<_> = names.iter().map(|name| ((*name).to_owned(), 0)).collect();
    walk(path, cancel, |piece, _| {
        if grammar::key_and_value(piece.opcode).is_none() {
            return DumpFile { file: &file, path }.mark(piece, &mut marks);
        }
        let is_over = std::mem::take(&mut marks).expires_ms.is_some_and(|expires| expires <= now_ms);
        let name = piece.database.to_string();
        if let Some((_, keys)) = over.iter_mut().find(|(database, _)| is_over && *database == name) {
            *keys += 1;
        }
        Ok(())
    })?;
    Ok(over)
}

/// Goes through a dump, piece by piece, and then says whether it was whole, and what it holds.
fn walk(
    path: &Path,
    cancel: &Cancel,
    mut each: impl FnMut(&Piece, u32) -> Result<(), SourceError>,
) -> Result<Dump, SourceError> {
    let invalid = |what: String| SourceError::Invalid { what: format!("{}: {what}", path.display()) };
    let mut file = File::open(path).map_err(SourceError::io(path))?;
    let (mut parser, mut buffer) = (Parser::telling_pieces(), vec![0; READ_BYTES]);
    loop {
        cancel.check()?;
        let length = file.read(&mut buffer).map_err(SourceError::io(path))?;
        if length == 0 {
            return parser.finish().cloned().map_err(invalid);
        }
        parser.push(&buffer[..length]).map_err(invalid)?;
        let version = parser.version();
        parser.pieces().iter().try_for_each(|piece| each(piece, version))?;
    }
}

/// A dump, read here and there.
struct DumpFile<'a> {
    file: &'a File,
    path: &'a Path,
}

impl DumpFile<'_> {
    fn read(
        &self,
        from: u64,
        ends: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), SourceError>,
    ) -> Result<(), SourceError> {
        let (mut at, mut buffer) = (from, vec![0; READ_BYTES]);
        while at < ends {
            let length = usize::try_from(ends - at).unwrap_or(usize::MAX).min(buffer.len());
            self.file.read_exact_at(&mut buffer[..length], at).map_err(SourceError::io(self.path))?;
            take(&buffer[..length])?;
            at += length as u64;
        }
        Ok(())
    }

    fn all(&self, from: u64, ends: u64) -> Result<Vec<u8>, SourceError> {
        let mut all = Vec::new();
        self.read(from, ends, |bytes| {
            all.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(all)
    }

    fn text(&self, from: u64, ends: u64) -> Result<Vec<u8>, SourceError> {
        text::decoded(&self.all(from, ends)?)
            .map_err(|what| SourceError::Invalid { what: format!("{}: {what}", self.path.display()) })
    }

    /// Takes in what a mark says of the key that follows.
    fn mark(&self, piece: &Piece, marks: &mut Marks) -> Result<(), SourceError> {
        let read = || self.all(piece.from, piece.ends);
        let number = |bytes: Vec<u8>| bytes.iter().rev().fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        match piece.opcode {
            grammar::EXPIRES_MILLISECOND => marks.expires_ms = Some(number(read()?)),
            grammar::EXPIRES_SECOND => marks.expires_ms = Some(number(read()?).saturating_mul(1000)),
            grammar::IDLE => marks.idle_s = text::length(&read()?).map(|(seconds, _)| seconds),
            grammar::FREQUENCY => marks.frequency = read()?.first().copied(),
            _ => {}
        }
        Ok(())
    }
}

/// A key for messages: as much of it as can be read.
fn shown(key: &[u8]) -> String {
    let text = String::from_utf8_lossy(key);
    text.chars().take(SHOWN_CHARS_MAX).map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}
