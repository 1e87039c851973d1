//! A dump of Redis or Valkey, the format RDB (redis/src/rdb.c), read as it flows: what it holds, and whether it is whole.
//!
//! Every value is passed over by its structure, so memory does not grow with the data; what ends the dump is its checksum.

pub mod grammar;
#[cfg(test)]
mod tests;
pub mod text;

use std::collections::{BTreeMap, BTreeSet};

use self::grammar::Step;
use super::crc64::crc64;

/// How a dump begins: one of these, and the digits of its version.
const MAGICS: [&[u8]; 2] = [b"REDIS", b"VALKEY"];
const MAGIC_BYTES: usize = 9;
/// From this version on, a checksum ends the dump.
pub const CHECKSUM_SINCE: u32 = 5;
/// Bytes of the checksum, which is written little-endian.
const CHECKSUM_BYTES: usize = 8;

/// What a dump holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// The version of the format.
    pub version: u32,
    /// `None` where the server was told to make none.
    pub checksum: Option<u64>,
    /// How many keys each database has.
    pub databases: BTreeMap<u64, Keys>,
    /// How many keys there are of each type.
    pub types: BTreeMap<&'static str, u64>,
    /// How many libraries of functions.
    pub functions: u64,
    /// The types of modules that have values in it: without their modules, no server loads it.
    pub modules: BTreeSet<String>,
}

/// The keys of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// All of them.
    pub keys: u64,
    /// Those that expire.
    pub expiring: u64,
}

/// Reads a dump, piece by piece.
pub struct Parser {
    dump: Dump,
    place: Place,
    /// Parts that are under way, the innermost last.
    parts: Vec<Part>,
    /// Bytes to be passed over.
    skip: u64,
    /// What has come of the next number or opcode.
    token: Vec<u8>,
    /// How many compressed bytes follow.
    packed: u64,
    database: u64,
    is_expiring: bool,
    checksum: u64,
    /// Bytes before the piece that is looked at.
    offset: u64,
    /// The piece of the dump that is under way, and those that have ended; where they are wanted.
    piece: Option<Piece>,
    pieces: Option<Vec<Piece>>,
}

/// A mark or a key of a dump, and where it lies in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The mark, or the number of the value's type.
    pub opcode: u8,
    /// The database that it belongs to.
    pub database: u64,
    /// What follows the opcode begins here.
    pub from: u64,
    /// The first part of that ends here: of a key and its value, the key.
    pub first_ends: u64,
    /// All of it ends here.
    pub ends: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Magic,
    Opcodes,
    Checksum,
    Ended,
}

/// Steps that are repeated.
struct Part {
    steps: &'static [Step],
    at: usize,
    rounds: u64,
}

impl Default for Parser {
    fn default() -> Self {
        Self {
            dump: Dump::default(),
            place: Place::Magic,
            parts: Vec::new(),
            skip: 0,
            token: Vec::with_capacity(MAGIC_BYTES),
            packed: 0,
            database: 0,
            is_expiring: false,
            checksum: 0,
            offset: 0,
            piece: None,
            pieces: None,
        }
    }
}

impl Parser {
    /// One that tells of all that it finds, for whoever has the dump at hand.
    pub fn telling_pieces() -> Self {
        Self { pieces: Some(Vec::new()), ..Self::default() }
    }

    /// What has ended since this was asked last.
    pub fn pieces(&mut self) -> Vec<Piece> {
        self.pieces.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The version of the format, once its beginning was read.
    pub fn version(&self) -> u32 {
        self.dump.version
    }

    /// Takes in the next bytes. Fails, with what is wrong, at what can be no part of a dump, and after its end.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        match bytes.get(self.take(bytes)?..) {
            Some([]) | None => Ok(()),
            Some(_) => Err(format!("something follows the end of the dump (byte {})", self.offset)),
        }
    }

    /// As [`Self::push`], but takes in nothing after the end. Gives how much it took in.
    pub fn take(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let (mut at, mut is_summed) = (0, self.place == Place::Checksum);
        while at < bytes.len() && self.place != Place::Ended {
            if self.skip > 0 {
                let length = usize::try_from(self.skip).unwrap_or(usize::MAX).min(bytes.len() - at);
                self.skip -= length as u64;
                at += length;
            } else {
                self.token.push(bytes[at]);
                at += 1;
                let before = self.offset + at as u64;
                self.look_at_token(before).map_err(|what| format!("{what} (byte {})", before - 1))?;
            }
            self.settle(self.offset + at as u64);
            if self.place == Place::Checksum && !is_summed {
                self.checksum = crc64(self.checksum, &bytes[..at]);
                is_summed = true;
            }
        }
        if !is_summed {
            self.checksum = crc64(self.checksum, &bytes[..at]);
        }
        self.offset += at as u64;
        Ok(at)
    }

    /// After the last byte: what the dump holds. Fails, with what is wrong, where it has not ended.
    pub fn finish(&self) -> Result<&Dump, String> {
        match self.place {
            Place::Ended => Ok(&self.dump),
            _ if self.offset == 0 => Err("it is empty".to_owned()),
            _ => Err(format!("it ends early, after {} bytes", self.offset)),
        }
    }

    /// Acts on the token, where all of it has come.
    fn look_at_token(&mut self, ends: u64) -> Result<(), String> {
        let token = std::mem::take(&mut self.token);
        if token.len() < self.token_length(&token)? {
            self.token = token;
            return Ok(());
        }
        match (self.place, self.step()) {
            (Place::Magic, _) => self.begin(&token)?,
            (Place::Checksum, _) => self.end(&token)?,
            // Nothing is taken in after it.
            (Place::Ended, _) => {}
            (Place::Opcodes, None) => self.open(token[0], ends)?,
            (Place::Opcodes, Some(step)) => self.go_on(step, &token)?,
        }
        self.token = token;
        self.token.clear();
        Ok(())
    }

    fn step(&self) -> Option<Step> {
        self.parts.last().and_then(|part| part.steps.get(part.at)).copied()
    }

    /// How many bytes the token has that begins like this.
    fn token_length(&self, token: &[u8]) -> Result<usize, String> {
        let step = match self.place {
            Place::Magic => return Ok(MAGIC_BYTES),
            Place::Checksum => return Ok(CHECKSUM_BYTES),
            Place::Ended => return Ok(1),
            Place::Opcodes => self.step(),
        };
        Ok(match (step, token[0]) {
            (None | Some(Step::Number), _) | (_, 0x00..=0x3f) => 1,
            (_, 0x40..=0x7f) => 2,
            (_, 0x80) => 5,
            (_, 0x81) => 9,
            (Some(Step::Text), grammar::PACKED) => 1,
            (Some(Step::Text), 0xc0) => 2,
            (Some(Step::Text), 0xc1) => 3,
            (Some(Step::Text), 0xc2) => 5,
            (_, other) => return Err(format!("{other:#04x} begins no length")),
        })
    }

    fn begin(&mut self, token: &[u8]) -> Result<(), String> {
        let digits = MAGICS.iter().find_map(|magic| token.strip_prefix(*magic));
        let version = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        self.dump.version = version.ok_or("it does not begin like a dump of Redis")?;
        self.place = Place::Opcodes;
        Ok(())
    }

    /// What follows an opcode, or the type of a value.
    fn open(&mut self, opcode: u8, from: u64) -> Result<(), String> {
        if self.pieces.is_some() {
            self.piece = Some(Piece { opcode, database: self.database, from, first_ends: from, ends: from });
        }
        let steps = if let Some((name, steps)) = grammar::key_and_value(opcode) {
            *self.dump.types.entry(name).or_default() += 1;
            let keys = self.dump.databases.entry(self.database).or_default();
            keys.keys += 1;
            keys.expiring += u64::from(std::mem::take(&mut self.is_expiring));
            steps
        } else {
            let steps = grammar::after_mark(opcode).ok_or_else(|| self.unknown(opcode))?;
            match opcode {
                grammar::EXPIRES_SECOND | grammar::EXPIRES_MILLISECOND => self.is_expiring = true,
                grammar::FUNCTION => self.dump.functions += 1,
                grammar::END if self.is_expiring => return Err("an expiry belongs to no key".to_owned()),
                grammar::END if self.dump.version >= CHECKSUM_SINCE => self.place = Place::Checksum,
                grammar::END => self.place = Place::Ended,
                _ => {}
            }
            steps
        };
        self.parts.push(Part { steps, at: 0, rounds: 1 });
        Ok(())
    }

    fn unknown(&self, opcode: u8) -> String {
        format!(
            "a value or mark of kind {opcode} is not known to this version of Lifeboat; the dump has version {}",
            self.dump.version
        )
    }

    /// Goes one step on, by the token that belongs to it.
    fn go_on(&mut self, step: Step, token: &[u8]) -> Result<(), String> {
        let number = number(token);
        match step {
            Step::ModuleParts => return self.take_module_part(number),
            Step::Number if token[0] < grammar::SPECIAL_NUMBERS => self.skip = u64::from(token[0]),
            Step::Text => match token[0] {
                grammar::PACKED => {
                    self.advance();
                    self.parts.push(Part { steps: &grammar::PACKED_TEXT, at: 0, rounds: 1 });
                    return Ok(());
                }
                // A number, which came with the token.
                0xc0.. => {}
                _ => self.skip = number,
            },
            Step::Count(steps) => {
                self.advance();
                if number > 0 {
                    self.parts.push(Part { steps, at: 0, rounds: number });
                }
                return Ok(());
            }
            Step::Database => {
                self.database = number;
                self.dump.databases.entry(number).or_default();
            }
            Step::PackedLength => self.packed = number,
            Step::Module => drop(self.dump.modules.insert(module_name(number))),
            Step::Number | Step::Length | Step::Bytes(_) | Step::PackedBytes => {}
        }
        self.advance();
        Ok(())
    }

    /// Values of modules are a list of parts, each with what it is; a zero ends it.
    fn take_module_part(&mut self, kind: u64) -> Result<(), String> {
        match grammar::MODULE_PARTS.get(usize::try_from(kind).unwrap_or(usize::MAX)) {
            Some([]) => self.advance(),
            Some(steps) => self.parts.push(Part { steps, at: 0, rounds: 1 }),
            None => return Err(format!("{kind} is no part of a module's value")),
        }
        Ok(())
    }

    fn advance(&mut self) {
        if let Some(part) = self.parts.last_mut() {
            part.at += 1;
        }
    }

    /// Goes on to where the next token is needed, or bytes are to be passed over.
    fn settle(&mut self, position: u64) {
        while self.skip == 0 {
            let is_outermost = self.parts.len() == 1;
            let Some(part) = self.parts.last_mut() else { break };
            if let (true, 1, Some(piece)) = (is_outermost, part.at, &mut self.piece)
                && piece.first_ends == piece.from
            {
                piece.first_ends = position;
            }
            match part.steps.get(part.at) {
                Some(Step::Bytes(bytes)) => (self.skip, part.at) = (*bytes, part.at + 1),
                Some(Step::PackedBytes) => (self.skip, part.at) = (self.packed, part.at + 1),
                Some(_) => return,
                None if part.rounds > 1 => (part.rounds, part.at) = (part.rounds - 1, 0),
                None => drop(self.parts.pop()),
            }
        }
        if self.skip == 0
            && let (Some(piece), Some(pieces)) = (self.piece.take(), &mut self.pieces)
        {
            pieces.push(Piece { ends: position, ..piece });
        }
    }

    fn end(&mut self, token: &[u8]) -> Result<(), String> {
        let stored = token.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        // A server that was told to make none writes a zero.
        if stored != 0 && stored != self.checksum {
            return Err("its checksum is another one".to_owned());
        }
        self.dump.checksum = (stored != 0).then_some(stored);
        self.place = Place::Ended;
        Ok(())
    }
}

/// The number that a token holds: of six or fourteen bits, or what follows its first byte.
fn number(token: &[u8]) -> u64 {
    let (first, rest) = match *token {
        [first @ 0x00..=0x7f, ref rest @ ..] => (u64::from(first & 0x3f), rest),
        [_, ref rest @ ..] => (0, rest),
        [] => (0, &[][..]),
    };
    rest.iter().fold(first, |number, byte| number << 8 | u64::from(*byte))
}

/// The name that is packed into a module's number: nine letters of six bits, before ten bits of a version.
fn module_name(number: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).map(|place| char::from(LETTERS[(number >> (58 - 6 * place) & 0x3f) as usize])).collect()
}
