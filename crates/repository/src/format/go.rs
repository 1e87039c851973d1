//! The three habits of Go that restic's format rests on: `strconv.Quote`, `fs.FileMode` and `encoding/json`'s escapes.

use std::io;

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter};

/// Writes a name as Go's `strconv.Quote` does, without the outer quotes, so that any bytes survive in JSON.
pub fn quote(name: &[u8]) -> String {
    let mut quoted = String::with_capacity(name.len());
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            quote_char(c, &mut quoted);
        }
        for byte in chunk.invalid() {
            quoted.push_str(&format!("\\x{byte:02x}"));
        }
    }
    quoted
}

fn quote_char(c: char, quoted: &mut String) {
    match c {
        '"' => quoted.push_str("\\\""),
        '\\' => quoted.push_str("\\\\"),
        '\x07' => quoted.push_str("\\a"),
        '\x08' => quoted.push_str("\\b"),
        '\x0c' => quoted.push_str("\\f"),
        '\n' => quoted.push_str("\\n"),
        '\r' => quoted.push_str("\\r"),
        '\t' => quoted.push_str("\\t"),
        '\x0b' => quoted.push_str("\\v"),
        ' '..='~' => quoted.push(c),
        c if u32::from(c) < 0x80 => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
        c if is_printable(c) => quoted.push(c),
        c if u32::from(c) < 0x10000 => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
        c => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
    }
}

/// Go's `unicode.IsPrint` for characters beyond ASCII: letters, marks, numbers, punctuation, symbols. The standard
/// library keeps the same table behind `escape_debug`, which leaves combining marks alone except at a text's start.
fn is_printable(c: char) -> bool {
    let mut text = [b'a', 0, 0, 0, 0];
    let length = 1 + c.encode_utf8(&mut text[1..]).len();
    std::str::from_utf8(&text[..length]).is_ok_and(|text| text.escape_debug().nth(1) == Some(c))
}

/// Reads what [`quote`] or Go's `strconv.Quote` wrote. `None` where it is not such a text.
pub fn unquote(quoted: &str) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(quoted.len());
    let mut chars = quoted.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' | '\n' => return None,
            '\\' => unescape(&mut chars, &mut name)?,
            c => push_char(c, &mut name),
        }
    }
    Some(name)
}

fn unescape(chars: &mut std::str::Chars<'_>, name: &mut Vec<u8>) -> Option<()> {
    let simple = match chars.next()? {
        'a' => 0x07,
        'b' => 0x08,
        'f' => 0x0c,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 0x0b,
        '\\' => b'\\',
        '"' => b'"',
        'x' => u8::try_from(digits(chars, 2, 16)?).ok()?,
        escape @ ('u' | 'U') => {
            let count = if escape == 'u' { 4 } else { 8 };
            push_char(char::from_u32(digits(chars, count, 16)?)?, name);
            return Some(());
        }
        first @ '0'..='7' => {
            let value = first.to_digit(8)? * 64 + digits(chars, 2, 8)?;
            u8::try_from(value).ok()?
        }
        _ => return None,
    };
    name.push(simple);
    Some(())
}

fn digits(chars: &mut std::str::Chars<'_>, count: usize, radix: u32) -> Option<u32> {
    (0..count).try_fold(0u32, |value, _| value.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?))
}

fn push_char(c: char, name: &mut Vec<u8>) {
    name.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Go's `fs.FileMode` type bits.
mod mode_bits {
    pub const DIR: u32 = 1 << 31;
    pub const SYMLINK: u32 = 1 << 27;
    pub const DEVICE: u32 = 1 << 26;
    pub const NAMED_PIPE: u32 = 1 << 25;
    pub const SOCKET: u32 = 1 << 24;
    pub const SETUID: u32 = 1 << 23;
    pub const SETGID: u32 = 1 << 22;
    pub const CHAR_DEVICE: u32 = 1 << 21;
    pub const STICKY: u32 = 1 << 20;
}

const POSIX_TYPES: [(u32, u32); 7] = [
    (0o040_000, mode_bits::DIR),
    (0o120_000, mode_bits::SYMLINK),
    (0o060_000, mode_bits::DEVICE),
    (0o020_000, mode_bits::DEVICE | mode_bits::CHAR_DEVICE),
    (0o010_000, mode_bits::NAMED_PIPE),
    (0o140_000, mode_bits::SOCKET),
    (0o100_000, 0),
];
const POSIX_FLAGS: [(u32, u32); 3] =
    [(0o4000, mode_bits::SETUID), (0o2000, mode_bits::SETGID), (0o1000, mode_bits::STICKY)];

/// A POSIX `st_mode` as Go's `fs.FileMode`.
pub fn mode_from_posix(mode: u32) -> u32 {
    let kind = POSIX_TYPES.iter().find(|(posix, _)| *posix == mode & 0o170_000).map_or(0, |(_, go)| *go);
    let flags = POSIX_FLAGS.iter().filter(|(posix, _)| mode & posix != 0).map(|(_, go)| go).sum::<u32>();
    kind | flags | (mode & 0o777)
}

/// The POSIX permission bits (with setuid, setgid and sticky, without the type) of a Go `fs.FileMode`.
pub fn permissions_from_mode(mode: u32) -> u32 {
    let flags = POSIX_FLAGS.iter().filter(|(_, go)| mode & go != 0).map(|(posix, _)| posix).sum::<u32>();
    flags | (mode & 0o777)
}

/// Encodes as Go's `encoding/json` does: compact, with `<`, `>`, `&` and the two Unicode line ends escaped.
pub fn to_json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    append_json(value, &mut bytes);
    bytes
}

/// [`to_json`] at the end of `bytes`.
pub fn append_json<T: Serialize>(value: &T, bytes: &mut Vec<u8>) {
    let mut serializer = serde_json::Serializer::with_formatter(bytes, GoFormatter(CompactFormatter));
    // Writing to a `Vec` cannot fail, and the types of this crate have text keys and no fallible `Serialize`.
    let encoded = value.serialize(&mut serializer);
    debug_assert!(encoded.is_ok());
}

struct GoFormatter(CompactFormatter);

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let (plain, special) = rest.split_at(at);
            writer.write_all(plain.as_bytes())?;
            let Some(c) = special.chars().next() else { break };
            write!(writer, "\\u{:04x}", u32::from(c))?;
            rest = &special[c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_quoted_as_go_does() {
        // Expected values printed by Go 1.19's strconv.Quote.
        let cases: [(&[u8], &str); 9] = [
            (b"plain name", "plain name"),
            (b"q\"b\\s", "q\\\"b\\\\s"),
            (b"nl\ntab\t\x07\x1b\x7f", "nl\\ntab\\t\\a\\x1b\\x7f"),
            (b"bad\xff\xfe", "bad\\xff\\xfe"),
            ("grün".as_bytes(), "grün"),
            ("a\u{301}".as_bytes(), "a\u{301}"),
            ("\u{200b}".as_bytes(), "\\u200b"),
            ("\u{a0}".as_bytes(), "\\u00a0"),
            ("\u{e0001}".as_bytes(), "\\U000e0001"),
        ];
        for (name, quoted) in cases {
            assert_eq!(quote(name), quoted);
            assert_eq!(unquote(quoted).as_deref(), Some(name));
        }
    }

    #[test]
    fn broken_quotes_are_refused() {
        for text in ["\\", "\\q", "\\x1", "\\u12", "\\ud800", "\\777", "a\"b"] {
            assert_eq!(unquote(text), None, "{text}");
        }
    }

    #[test]
    fn modes_are_gos() {
        assert_eq!(mode_from_posix(0o100_644), 0o644);
        assert_eq!(mode_from_posix(0o040_755), 0x8000_01ed);
        assert_eq!(mode_from_posix(0o120_777), 0x0800_01ff);
        assert_eq!(mode_from_posix(0o020_620), 0x0420_0190);
        assert_eq!(permissions_from_mode(mode_from_posix(0o107_755)), 0o7755);
    }

    #[test]
    fn json_is_escaped_as_go_does() {
        assert_eq!(to_json(&"a<b>&\u{2028}"), br#""a\u003cb\u003e\u0026\u2028""#);
    }

    proptest! {
        #[test]
        fn every_name_survives_quoting(name in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(unquote(&quote(&name)), Some(name));
        }
    }
}
