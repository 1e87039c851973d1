//! JSON as CouchDB prints it. In its files an object is a tuple around a list of pairs, `{[{Key, Value}, …]}`, an array a
//! list, a string a binary. Whole numbers keep all their digits, floats are written in their shortest form and always
//! look like floats, and the order of an object's members is that of the file.

use crate::limits::INTEGER_BYTES_MAX;
use crate::term::{Items, Kind, Term};

/// What of a value is still to be written.
enum Open<'t> {
    Array(Items<'t>),
    Object(Members<'t>),
}

enum Members<'t> {
    /// `[{Key, Value}, …]`
    Pairs(Items<'t>),
    /// A map's keys and values by turns.
    Map(Items<'t>),
}

impl<'t> Members<'t> {
    fn next(&mut self) -> Result<Option<(Term<'t>, Term<'t>)>, &'static str> {
        match self {
            Self::Pairs(items) => match items.next() {
                None => Ok(None),
                Some(pair) => {
                    let [key, value] = pair.tuple_of().ok_or("a member of an object is no pair")?;
                    Ok(Some((key, value)))
                }
            },
            Self::Map(items) => Ok(items.next().zip(items.next())),
        }
    }
}

/// Appends `term`. On an error, which says what is no JSON, `out` holds a part.
pub(crate) fn write(out: &mut Vec<u8>, term: Term<'_>) -> Result<(), &'static str> {
    let mut open = Vec::new();
    value(out, term, &mut open)?;
    while let Some(top) = open.last_mut() {
        match top {
            Open::Array(items) => match items.next() {
                None => {
                    out.push(b']');
                    open.pop();
                }
                Some(item) => {
                    separate(out, b'[');
                    value(out, item, &mut open)?;
                }
            },
            Open::Object(members) => match members.next()? {
                None => {
                    out.push(b'}');
                    open.pop();
                }
                Some((key, item)) => {
                    separate(out, b'{');
                    name(out, key)?;
                    out.push(b':');
                    value(out, item, &mut open)?;
                }
            },
        }
    }
    Ok(())
}

/// The members of an object, in the two forms that CouchDB stores one in: `{[…]}`, or the list alone.
pub(crate) fn members<'t>(term: Term<'t>) -> Option<Items<'t>> {
    match term.tuple_of::<1>() {
        Some([list]) => list.list(),
        None => term.list(),
    }
}

/// Appends the members of an object, each with a comma before it unless it is the first after a brace.
pub(crate) fn write_members(out: &mut Vec<u8>, object: Term<'_>) -> Result<(), &'static str> {
    for member in members(object).ok_or("no object")? {
        let [key, item] = member.tuple_of().ok_or("a member of an object is no pair")?;
        separate(out, b'{');
        name(out, key)?;
        out.push(b':');
        write(out, item)?;
    }
    Ok(())
}

/// Appends `"name":`, with a comma before it unless it is the first.
pub(crate) fn write_name(out: &mut Vec<u8>, name: &str) {
    separate(out, b'{');
    write_string(out, name);
    out.push(b':');
}

/// What lies between two values: nothing after an opening bracket, a comma elsewhere.
pub(crate) fn separate(out: &mut Vec<u8>, bracket: u8) {
    if out.last() != Some(&bracket) {
        out.push(b',');
    }
}

fn value<'t>(out: &mut Vec<u8>, term: Term<'t>, open: &mut Vec<Open<'t>>) -> Result<(), &'static str> {
    match term.kind() {
        Kind::Int(value) => out.extend(value.to_string().bytes()),
        Kind::Big(negative, bytes) => big(out, negative, bytes)?,
        Kind::Float(value) => float(out, value)?,
        Kind::Atom(atom @ (b"true" | b"false" | b"null")) => out.extend(atom),
        Kind::Atom(_) | Kind::Binary(_) => name(out, term)?,
        Kind::List(items) => {
            out.push(b'[');
            open.push(Open::Array(items));
        }
        Kind::Tuple(_) => {
            let list = term.tuple_of::<1>().and_then(|[list]| list.list()).ok_or("a tuple that is no object")?;
            out.push(b'{');
            open.push(Open::Object(Members::Pairs(list)));
        }
        Kind::Map(items) => {
            out.push(b'{');
            open.push(Open::Object(Members::Map(items)));
        }
    }
    Ok(())
}

fn name(out: &mut Vec<u8>, term: Term<'_>) -> Result<(), &'static str> {
    let (Kind::Binary(bytes) | Kind::Atom(bytes)) = term.kind() else { return Err("a name that is no string") };
    write_string(out, std::str::from_utf8(bytes).map_err(|_| "a string that is not UTF-8")?);
    Ok(())
}

pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend(b"\\\""),
            b'\\' => out.extend(b"\\\\"),
            0x08 => out.extend(b"\\b"),
            0x0c => out.extend(b"\\f"),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x00..0x20 => out.extend(format!("\\u{byte:04x}").bytes()),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// As JavaScript prints numbers, but whole ones with `.0`.
fn float(out: &mut Vec<u8>, value: f64) -> Result<(), &'static str> {
    if !value.is_finite() {
        return Err("a float that is no number");
    }
    if value == 0.0 {
        out.extend(b"0.0");
        return Ok(());
    }
    // The shortest digits that give this number again, and its exponent.
    let shortest = format!("{value:e}");
    let (digits, exponent) = shortest.split_once('e').ok_or("a float that is no number")?;
    let exponent: i32 = exponent.parse().map_err(|_| "a float that is no number")?;
    if (-6..21).contains(&exponent) {
        out.extend(format!("{value}").bytes());
        if value.fract() == 0.0 {
            out.extend(b".0");
        }
    } else {
        out.extend(format!("{digits}e{exponent:+}").bytes());
    }
    Ok(())
}

/// Decimal digits of an integer beyond 64 bits, by dividing it again and again.
fn big(out: &mut Vec<u8>, negative: bool, bytes: &[u8]) -> Result<(), &'static str> {
    const NINE_DIGITS: u64 = 1_000_000_000;
    if bytes.len() > INTEGER_BYTES_MAX {
        return Err("an integer of too many digits");
    }
    let mut words: Vec<u32> =
        bytes.chunks(4).map(|word| word.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))).collect();
    let mut parts = Vec::new();
    while !words.is_empty() {
        let mut rest = 0_u64;
        for word in words.iter_mut().rev() {
            let value = rest << 32 | u64::from(*word);
            *word = (value / NINE_DIGITS) as u32;
            rest = value % NINE_DIGITS;
        }
        parts.push(rest);
        while words.last() == Some(&0) {
            words.pop();
        }
    }
    if negative {
        out.push(b'-');
    }
    out.extend(parts.pop().unwrap_or_default().to_string().bytes());
    for part in parts.iter().rev() {
        out.extend(format!("{part:09}").bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::Terms;
    use crate::term::encode::Encoder;

    fn printed(encode: impl FnOnce(&mut Encoder) -> &mut Encoder) -> String {
        let mut encoder = Encoder::default();
        encode(&mut encoder);
        let mut out = Vec::new();
        write(&mut out, Terms::of_raw(&encoder.finish(), 0).unwrap().root()).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_are_printed_as_couchdb_prints_them() {
        for (value, expected) in [
            (1.0, "1.0"),
            (-0.0, "0.0"),
            (0.1, "0.1"),
            (1.5e-7, "1.5e-7"),
            (0.000_001, "0.000001"),
            (1e20, "100000000000000000000.0"),
            (1e21, "1e+21"),
            (-1.25e300, "-1.25e+300"),
            (123_456_789.125, "123456789.125"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(printed(|encoder| encoder.float(value)), expected);
        }
    }

    #[test]
    fn integers_keep_all_their_digits() {
        assert_eq!(printed(|encoder| encoder.integer(i128::MAX)), i128::MAX.to_string());
        assert_eq!(printed(|encoder| encoder.integer(i128::MIN + 1)), (i128::MIN + 1).to_string());
        assert_eq!(printed(|encoder| encoder.unsigned(u64::MAX)), u64::MAX.to_string());
        let googol = [vec![0; 40], vec![1]].concat();
        assert_eq!(
            printed(|encoder| encoder.big(true, &googol)),
            "-2135987035920910082395021706169552114602704522356652769947041607822219725780640550022962086936576"
        );
    }

    #[test]
    fn objects_arrays_and_strings_are_printed_compactly() {
        let text = printed(|encoder| {
            encoder.tuple(1).list(3);
            encoder.tuple(2).binary(b"a").list(2).atom("true").atom("null").end_list();
            encoder.tuple(2).binary("\u{e9}\"\\\n\u{1}/".as_bytes()).tuple(1).list(0).end_list();
            encoder.tuple(2).binary(b"").list(0).end_list();
            encoder.end_list()
        });
        assert_eq!(text, r#"{"a":[true,null],"é\"\\\n\u0001/":{},"":[]}"#);
    }

    #[test]
    fn what_is_no_json_is_refused() {
        for raw in [&[104, 2, 97, 1, 97, 1][..], &[109, 0, 0, 0, 1, 0xff], &[70, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0]] {
            let terms = Terms::of_raw(raw, 0).unwrap();
            assert!(write(&mut Vec::new(), terms.root()).is_err(), "{raw:?}");
        }
    }
}
