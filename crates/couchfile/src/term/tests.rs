use proptest::prelude::*;

use super::encode::Encoder;
use super::*;

fn decoded(bytes: &[u8]) -> Result<Terms, Error> {
    Terms::of_stored(bytes.to_vec(), 0)
}

#[test]
fn values_of_all_kinds_are_read() {
    let mut encoder = Encoder::term();
    encoder.tuple(9).integer(-1).integer(200).unsigned(u64::MAX).float(1.5).atom("nil").binary(b"x");
    encoder.list(2).integer(1).integer(2).end_list();
    encoder.list(0).end_list();
    encoder.raw(&[STRING, 0, 2, 7, 8]);
    let terms = decoded(&encoder.finish()).unwrap();
    let [minus, small, big, float, atom, binary, list, empty, bytes] = terms.root().tuple_of().unwrap();
    assert_eq!((minus.int(), small.int(), big.int()), (Some(-1), Some(200), None));
    assert_eq!(big.unsigned(), Some(u64::MAX));
    assert!(matches!(float.kind(), Kind::Float(1.5)));
    assert!(atom.is_atom("nil"));
    assert_eq!(binary.text(), Some("x"));
    assert_eq!(list.list().unwrap().map(|item| item.int().unwrap()).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(empty.list().unwrap().len(), 0);
    assert_eq!(bytes.list().unwrap().map(|item| item.int().unwrap()).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(bytes.raw(), [STRING, 0, 2, 7, 8]);
}

#[test]
fn integers_of_any_length_are_the_same_number() {
    for (encoded, expected) in [
        (&[SMALL_BIG, 1, 1, 5][..], Some(-5)),
        (&[SMALL_BIG, 8, 1, 0, 0, 0, 0, 0, 0, 0, 128], Some(i64::MIN)),
        (&[SMALL_BIG, 8, 0, 0, 0, 0, 0, 0, 0, 0, 128], None),
        (&[SMALL_BIG, 9, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], Some(1)),
        (&[LARGE_BIG, 0, 0, 0, 1, 0, 9], Some(9)),
        (&[SMALL_BIG, 0, 0], Some(0)),
    ] {
        assert_eq!(Terms::of_raw(encoded, 0).unwrap().root().int(), expected, "{encoded:?}");
    }
}

#[test]
fn old_floats_are_text() {
    let mut encoded = vec![VERSION, FLOAT];
    encoded.extend(b"1.50000000000000000000e+00");
    encoded.resize(2 + FLOAT_TEXT_BYTES, 0);
    assert!(matches!(decoded(&encoded).unwrap().root().kind(), Kind::Float(1.5)));
}

#[test]
fn a_million_lists_in_each_other_need_no_stack() {
    let mut encoded = vec![VERSION];
    for _ in 0..1_000_000 {
        encoded.extend([LIST, 0, 0, 0, 1]);
    }
    encoded.extend(vec![NIL; 1_000_001]);
    let terms = decoded(&encoded).unwrap();
    assert_eq!(terms.root().raw().len(), encoded.len() - 1);
    drop(terms);
    encoded.pop();
    assert!(decoded(&encoded).is_err());
}

#[test]
fn what_is_cut_off_or_goes_on_is_refused() {
    let mut encoder = Encoder::term();
    encoder.tuple(3).binary(b"abc").list(1).unsigned(7_000_000_000).end_list().atom("x");
    let whole = encoder.finish();
    assert!(decoded(&whole).is_ok());
    for length in 0..whole.len() {
        assert!(decoded(&whole[..length]).is_err(), "{length}");
    }
    assert!(decoded(&[&whole[..], &[0]].concat()).is_err());
}

#[test]
fn lengths_that_the_compressed_form_cannot_hold_are_refused_unread() {
    for bomb in [&[1, 0xff, 0xff, 0xff, 0x0f, 0][..], &[VERSION, 80, 0x00, 0xff, 0xff, 0xff, 1, 2, 3]] {
        assert!(matches!(decoded(bomb), Err(Error::Term { .. })), "{bomb:?}");
    }
    assert!(matches!(decoded(&[VERSION, 80, 0xff, 0xff, 0xff, 0xff, 1]), Err(Error::TooLarge { .. })));
    assert!(matches!(decoded(&[0x28, 0xb5, 0x2f, 0xfd, 0]), Err(Error::UnsupportedCompression { .. })));
}

#[test]
fn a_bomb_of_many_values_is_refused_before_they_fill_the_memory() {
    // Ten million empty lists deflate to some kilobytes.
    let count = 10_000_000_u32;
    let mut plain = vec![VERSION, LIST];
    plain.extend(count.to_be_bytes());
    plain.resize(plain.len() + count as usize + 1, NIL);
    let bomb = compress(plain, Compression::Deflate).unwrap();
    assert!(bomb.len() < 20_000);
    assert!(matches!(decoded(&bomb), Err(Error::TooLarge { unit: "values", .. })));
}

proptest! {
    #[test]
    fn compressed_terms_come_back(text in prop::collection::vec(any::<u8>(), 0..3000), repeat in 1..50_usize) {
        let text = text.repeat(repeat);
        let mut encoder = Encoder::term();
        encoder.binary(&text);
        let plain = encoder.finish();
        for how in [Compression::None, Compression::Snappy, Compression::Deflate] {
            let stored = compress(plain.clone(), how).unwrap();
            let terms = Terms::of_stored(stored, 0).unwrap();
            prop_assert_eq!(terms.root().binary(), Some(&text[..]));
        }
    }

    #[test]
    fn integers_come_back(value: i64) {
        let mut encoder = Encoder::term();
        encoder.integer(value.into());
        let terms = decoded(&encoder.finish()).unwrap();
        prop_assert_eq!(terms.root().int(), Some(value));
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        bytes.insert(0, VERSION);
        if let Ok(terms) = decoded(&bytes) {
            prop_assert_eq!(terms.root().raw(), &bytes[1..]);
        }
    }
}
