//! What follows each mark and each type of value in a dump (redis/src/rdb.h, valkey/src/rdb.h), as far as passing over it
//! needs.

/// One step through a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// So many bytes.
    Bytes(u64),
    /// A length, which says nothing that matters here.
    Length,
    /// A length, and so many bytes; or a number, or packed bytes, in place of a text.
    Text,
    /// A number written as text: a byte for its length, and so many bytes.
    Number,
    /// A length, and so many times these steps.
    Count(&'static [Step]),
    /// The number of the database of the keys that follow.
    Database,
    /// The length of packed bytes.
    PackedLength,
    /// So many bytes.
    PackedBytes,
    /// The type of a module.
    Module,
    /// The parts of a module's value, to their end.
    ModuleParts,
}

use Step::{Bytes, Count, Database, Length, Module, ModuleParts, Number, PackedBytes, PackedLength, Text};

/// A number of 64 bits, as times are.
const WORD: Step = Bytes(8);

/// Begins a text that is packed with LZF.
pub const PACKED: u8 = 0xc3;
/// What follows: its packed length, its length, and the packed bytes.
pub const PACKED_TEXT: [Step; 3] = [PackedLength, Length, PackedBytes];
/// Lengths of numbers from here on stand for infinity, and for what is no number.
pub const SPECIAL_NUMBERS: u8 = 253;

/// A library of functions.
pub const FUNCTION: u8 = 245;
/// How many seconds the next key was not used.
pub const IDLE: u8 = 248;
/// How often the next key is used, as a server counts it.
pub const FREQUENCY: u8 = 249;
/// When the next key expires.
pub const EXPIRES_MILLISECOND: u8 = 252;
/// See [`EXPIRES_MILLISECOND`].
pub const EXPIRES_SECOND: u8 = 253;
/// The end.
pub const END: u8 = 255;

/// What follows a mark between keys. `None` for what is no mark.
pub fn after_mark(mark: u8) -> Option<&'static [Step]> {
    Some(match mark {
        // The slot of a cluster that comes next, with sizes.
        244 => &[Length, Length, Length],
        FUNCTION => &[Text],
        // What a module keeps besides values: whose it is, when it is for, and its parts.
        247 => &[Length, Length, Length, ModuleParts],
        // How long the next key was not used, and how often it was.
        IDLE => &[Length],
        FREQUENCY => &[Bytes(1)],
        // Something about the dump, such as the server's version.
        250 => &[Text, Text],
        // How many keys come, and how many of them expire.
        251 => &[Length, Length],
        EXPIRES_MILLISECOND => &[WORD],
        EXPIRES_SECOND => &[Bytes(4)],
        254 => &[Database],
        END => &[],
        _ => return None,
    })
}

/// A key and its value, by the number of the value's type: what Redis calls the type, and its steps. `None` for what is no
/// type, or was one only before a release.
pub fn key_and_value(number: u8) -> Option<(&'static str, &'static [Step])> {
    Some(match number {
        0 => ("string", &[Text, Text]),
        // Each element on its own; or nodes of several, and with each how it is packed.
        1 | 14 => ("list", &[Text, Count(&[Text])]),
        18 => ("list", &[Text, Count(&[Length, Text])]),
        2 => ("set", &[Text, Count(&[Text])]),
        3 => ("zset", &[Text, Count(&[Text, Number])]),
        5 => ("zset", &[Text, Count(&[Text, WORD])]),
        4 => ("hash", &[Text, Count(&[Text, Text])]),
        // The earliest expiry of its fields; then each field with its own.
        24 => ("hash", &[Text, WORD, Count(&[Length, Text, Text])]),
        25 => ("hash", &[Text, WORD, Text]),
        // All elements packed into one text.
        10 => ("list", &[Text, Text]),
        11 | 20 => ("set", &[Text, Text]),
        12 | 17 => ("zset", &[Text, Text]),
        9 | 13 | 16 => ("hash", &[Text, Text]),
        7 => ("module", &[Text, Module, ModuleParts]),
        15 => ("stream", &STREAM_1),
        19 => ("stream", &STREAM_2),
        21 => ("stream", &STREAM_3),
        _ => return None,
    })
}

/// Entries, packed, by their first id.
const ENTRIES: Step = Count(&[Text, Text]);
/// The id of an entry, in lists.
const ENTRY_ID: Step = Bytes(16);
/// Entries that were given out and not confirmed: id, time, how often.
const PENDING: Step = Count(&[ENTRY_ID, WORD, Length]);
/// Each with when it was seen, and what was given to it.
const CONSUMERS: Step = Count(&[Text, WORD, Count(&[ENTRY_ID])]);
/// Also when it was active.
const ACTIVE_CONSUMERS: Step = Count(&[Text, WORD, WORD, Count(&[ENTRY_ID])]);

/// How many entries there are, and the last id; then groups.
const STREAM_1: [Step; 6] = [Text, ENTRIES, Length, Length, Length, Count(&[Text, Length, Length, PENDING, CONSUMERS])];
/// Also the first id, the highest deleted one, and how many were ever added; of each group how many it has read.
const STREAM_2: [Step; 11] = stream(Count(&[Text, Length, Length, Length, PENDING, CONSUMERS]));
const STREAM_3: [Step; 11] = stream(Count(&[Text, Length, Length, Length, PENDING, ACTIVE_CONSUMERS]));

const fn stream(groups: Step) -> [Step; 11] {
    [Text, ENTRIES, Length, Length, Length, Length, Length, Length, Length, Length, groups]
}

/// A part of a module's value, by its number: the end, two kinds of numbers, a short and a long fraction, a text.
pub const MODULE_PARTS: [&[Step]; 6] = [&[], &[Length], &[Length], &[Bytes(4)], &[WORD], &[Text]];
