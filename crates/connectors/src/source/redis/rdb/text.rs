//! Texts of a dump: as they are, as numbers, or packed with LZF.

use super::{grammar, number};

/// No text is longer than a server takes in one piece, unless it is told otherwise.
const BYTES_MAX: u64 = 512 << 20;

/// The text that these bytes of a dump are. Fails, with what is wrong, where they are none.
pub fn decoded(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let malformed = || "a text in it cannot be read".to_owned();
    let first = *bytes.first().ok_or_else(malformed)?;
    let rest = &bytes[1..];
    Ok(match (first, rest) {
        (0xc0, [a]) => i8::from_le_bytes([*a]).to_string().into_bytes(),
        (0xc1, [a, b]) => i16::from_le_bytes([*a, *b]).to_string().into_bytes(),
        (0xc2, [a, b, c, d]) => i32::from_le_bytes([*a, *b, *c, *d]).to_string().into_bytes(),
        (grammar::PACKED, _) => {
            let (_, rest) = length(rest).ok_or_else(malformed)?;
            let (bytes, packed) = length(rest).ok_or_else(malformed)?;
            unpacked(packed, bytes).ok_or_else(malformed)?
        }
        _ => {
            let (length, text) = length(bytes).ok_or_else(malformed)?;
            if length != text.len() as u64 {
                return Err(malformed());
            }
            text.to_vec()
        }
    })
}

/// The length that begins here, and what follows it.
pub fn length(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let size = match *bytes.first()? {
        0x00..=0x3f => 1,
        0x40..=0x7f => 2,
        0x80 => 5,
        0x81 => 9,
        _ => return None,
    };
    let (token, rest) = bytes.split_at_checked(size)?;
    Some((number(token), rest))
}

/// LZF: runs of plain bytes, and pieces that came before, each by how far back and how long it is.
fn unpacked(mut packed: &[u8], bytes: u64) -> Option<Vec<u8>> {
    let length = usize::try_from(bytes).ok().filter(|_| bytes <= BYTES_MAX)?;
    let mut plain = Vec::with_capacity(length.min(packed.len().saturating_mul(4)));
    while let [control, rest @ ..] = packed {
        let control = usize::from(*control);
        if control < 32 {
            let (run, rest) = rest.split_at_checked(control + 1)?;
            plain.extend_from_slice(run);
            packed = rest;
        } else {
            let (more, rest) = if control >> 5 == 7 { rest.split_first()? } else { (&0, rest) };
            let (low, rest) = rest.split_first()?;
            let back = (control & 0x1f) << 8 | usize::from(*low);
            let from = plain.len().checked_sub(back + 1)?;
            // It may go on into what it makes.
            for at in from..from + (control >> 5) + usize::from(*more) + 2 {
                plain.push(*plain.get(at)?);
            }
            packed = rest;
        }
        if plain.len() > length {
            return None;
        }
    }
    (plain.len() == length).then_some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let _ = decoded(&bytes);
            let _ = decoded(&[&[grammar::PACKED, 20, 60], &*bytes].concat());
        }
    }

    #[test]
    fn texts_are_read_however_they_are_written() {
        let text = |bytes: &[u8]| String::from_utf8(decoded(bytes).unwrap()).unwrap();
        assert_eq!(text(b"\x03abc"), "abc");
        assert_eq!(text(b"\x00"), "");
        assert_eq!(text(b"\x40\x02ab"), "ab");
        assert_eq!(text(b"\xc0\xfb"), "-5");
        assert_eq!(text(b"\xc1\x39\x30"), "12345");
        assert_eq!(text(b"\xc2\x87\xd6\x12\x00"), "1234567");
        // One plain byte, then eight that came one byte before.
        assert_eq!(text(b"\xc3\x05\x0a\x00a\xe0\x00\x00"), "aaaaaaaaaa");
        for wrong in [&b""[..], b"\x05abc", b"\xc0", b"\xc3\x05\x0b\x00a\xe0\x00\x00", b"\xc3\x02\x02\x20\x05", b"\xff"]
        {
            assert!(decoded(wrong).is_err(), "{wrong:?}");
        }
    }
}
