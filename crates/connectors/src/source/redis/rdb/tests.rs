use proptest::prelude::*;

use super::*;

/// Writes dumps as Redis does.
#[derive(Clone, Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn begin(magic: &str) -> Self {
        Self(magic.as_bytes().to_vec())
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    fn length(self, length: u64) -> Self {
        match length {
            0..0x40 => self.bytes(&[length as u8]),
            0x40..0x4000 => self.bytes(&(0x4000 | length as u16).to_be_bytes()),
            0x4000..=0xffff_ffff => self.bytes(&[0x80]).bytes(&(length as u32).to_be_bytes()),
            _ => self.bytes(&[0x81]).bytes(&length.to_be_bytes()),
        }
    }

    fn text(self, text: &[u8]) -> Self {
        self.length(text.len() as u64).bytes(text)
    }

    fn database(self, number: u64) -> Self {
        self.bytes(&[254]).length(number)
    }

    /// The mark of the end, and the checksum.
    fn end(self) -> Vec<u8> {
        let ended = self.bytes(&[255]);
        let sum = crc64(0, &ended.0);
        ended.bytes(&sum.to_le_bytes()).0
    }
}

fn parse(bytes: &[u8]) -> Result<Dump, String> {
    let mut parser = Parser::default();
    parser.push(bytes)?;
    parser.finish().cloned()
}

/// What a dump says that has this one value in database 0.
fn of_one(kind: u8, value: &[u8]) -> Result<Dump, String> {
    parse(&Writer::begin("REDIS0012").database(0).bytes(&[kind]).text(b"key").bytes(value).end())
}

#[test]
fn every_type_of_value_is_passed_over_exactly() {
    let three = |text: &[u8]| Writer::default().text(text).0;
    let id = [7; 16];
    let consumer = |times: usize| {
        let consumer = Writer::default().length(1).text(b"someone").bytes(&vec![1; 8 * times]);
        consumer.length(1).bytes(&id).0
    };
    let group = |reads: bool, times: usize| {
        let mut group = Writer::default().length(1).text(b"group").length(1 << 40).length(0);
        if reads {
            group = group.length(u64::MAX);
        }
        group.length(1).bytes(&id).bytes(&[2; 8]).length(3).bytes(&consumer(times)).0
    };
    let entries = Writer::default().length(1).text(&id).text(b"listpack").length(1).length(1 << 40).length(0);
    let stream_2 = entries.clone().length(1).length(0).length(0).length(0).length(9);
    let module = Writer::default().length(0x0123_4567_89ab_cdef);
    let module = module.length(1).length(5).length(2).length(9).length(3).bytes(&[0; 4]).length(4).bytes(&[0; 8]);
    let module = module.length(5).text(b"text").length(0);
    let pair = Writer::default().text(b"a").text(b"b");
    let cases: [(u8, &str, Vec<u8>); 26] = [
        (0, "string", three(b"value")),
        (0, "string", vec![0xc0, 5]),
        (0, "string", vec![0xc1, 5, 6]),
        (0, "string", vec![0xc2, 5, 6, 7, 8]),
        (0, "string", Writer(vec![0xc3]).length(3).length(300).bytes(b"lzf").0),
        (1, "list", Writer::default().length(2).bytes(&pair.0).0),
        (2, "set", Writer::default().length(1).text(b"a").0),
        (
            3,
            "zset",
            Writer::default()
                .length(3)
                .text(b"a")
                .bytes(&[3])
                .bytes(b"1.5")
                .text(b"b")
                .bytes(&[254])
                .text(b"c")
                .bytes(&[253])
                .0,
        ),
        (4, "hash", Writer::default().length(1).bytes(&pair.0).0),
        (5, "zset", Writer::default().length(1).text(b"a").bytes(&[0; 8]).0),
        (7, "module", module.0),
        (9, "hash", three(b"zipmap")),
        (10, "list", three(b"ziplist")),
        (11, "set", three(b"intset")),
        (12, "zset", three(b"ziplist")),
        (13, "hash", three(b"ziplist")),
        (14, "list", Writer::default().length(2).bytes(&pair.0).0),
        (15, "stream", entries.bytes(&group(false, 1)).0),
        (16, "hash", three(b"listpack")),
        (17, "zset", three(b"listpack")),
        (18, "list", Writer::default().length(1).length(2).text(b"listpack").0),
        (19, "stream", stream_2.clone().bytes(&group(true, 1)).0),
        (20, "set", three(b"listpack")),
        (21, "stream", stream_2.bytes(&group(true, 2)).0),
        (24, "hash", Writer::default().bytes(&[1; 8]).length(2).length(0).bytes(&pair.0).length(77).bytes(&pair.0).0),
        (25, "hash", Writer::default().bytes(&[1; 8]).text(b"listpack").0),
    ];
    for (kind, name, value) in cases {
        let dump = of_one(kind, &value).unwrap_or_else(|what| panic!("{kind}: {what}"));
        assert_eq!(dump.types, BTreeMap::from([(name, 1)]), "{kind}");
        assert_eq!(dump.databases, BTreeMap::from([(0, Keys { keys: 1, expiring: 0 })]), "{kind}");
        assert!(of_one(kind, &value[..value.len() - 1]).is_err(), "{kind} with a byte too few");
    }
}

#[test]
fn what_stands_between_keys_is_read() {
    let dump = Writer::begin("REDIS0011").bytes(&[250]).text(b"redis-ver").text(b"7.2.4");
    let dump = dump.bytes(&[250]).text(b"redis-bits").bytes(&[0xc0, 64]);
    let dump = dump.bytes(&[247]).length(99).length(2).length(1).length(5).text(b"of a module").length(0);
    let dump = dump.bytes(&[245]).text(b"#!lua name=lib").database(0).bytes(&[251]).length(3).length(2);
    let dump = dump.bytes(&[252]).bytes(&[0; 8]).bytes(&[248]).length(90).bytes(&[0]).text(b"a").text(b"b");
    let dump = dump.bytes(&[253]).bytes(&[0; 4]).bytes(&[249, 5]).bytes(&[0]).text(b"b").text(b"b");
    let dump = dump.bytes(&[0]).text(b"c").text(b"c").database(900).bytes(&[244]).length(1).length(2).length(3);
    let dump = parse(&dump.bytes(&[0]).text(b"d").text(b"d").end()).unwrap();
    assert_eq!((dump.version, dump.functions), (11, 1));
    let keys = [(0, Keys { keys: 3, expiring: 2 }), (900, Keys { keys: 1, expiring: 0 })];
    assert_eq!(dump.databases, BTreeMap::from(keys));
    assert!(dump.checksum.is_some());
}

#[test]
fn a_dump_of_valkey_is_one_too_and_old_ones_have_no_checksum() {
    let dump = parse(&Writer::begin("VALKEY080").bytes(&[250]).text(b"valkey-ver").text(b"9.0.0").end()).unwrap();
    assert_eq!(dump.version, 80);
    let old = parse(b"REDIS0003\xff").unwrap();
    assert_eq!((old.version, old.checksum), (3, None));
    // A server that was told to make none.
    assert_eq!(parse(b"REDIS0010\xff\0\0\0\0\0\0\0\0").unwrap().checksum, None);
}

#[test]
fn a_dump_of_redis_7_itself_is_read() {
    let dump = parse(include_bytes!("fixtures/redis-7.0.rdb")).unwrap();
    assert_eq!((dump.version, dump.functions), (10, 1));
    let keys = [(0, Keys { keys: 4, expiring: 0 }), (2, Keys { keys: 1, expiring: 1 })];
    assert_eq!(dump.databases, BTreeMap::from(keys));
}

#[test]
fn a_module_is_named() {
    // As redis/src/module.c packs names: nine letters of six bits, and the version.
    let number = "ReJSON-RL".bytes().fold(0_u64, |number, letter| {
        let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        number << 6 | letters.iter().position(|known| *known == letter).unwrap() as u64
    });
    let value = Writer::default().length(number << 10 | 3).length(0);
    assert_eq!(of_one(7, &value.0).unwrap().modules, BTreeSet::from(["ReJSON-RL".to_owned()]));
}

#[test]
fn what_is_no_dump_is_told() {
    let told = |bytes: &[u8]| parse(bytes).unwrap_err();
    assert_eq!(told(b""), "it is empty");
    assert_eq!(told(b"-NOAUTH Authentication required.\r\n"), "it does not begin like a dump of Redis (byte 8)");
    assert_eq!(told(b"REDIS"), "it ends early, after 5 bytes");
    let unknown =
        "a value or mark of kind 26 is not known to this version of Lifeboat; the dump has version 13 (byte 9)";
    assert_eq!(told(b"REDIS0013\x1a"), unknown);
    let whole = Writer::begin("REDIS0010").database(0).bytes(&[0]).text(b"key").text(b"value").end();
    let more = [&*whole, b"\n"].concat();
    assert!(told(&more).starts_with("something follows the end of the dump"), "{}", told(&more));
    assert!(told(b"REDIS0010\xfc\0\0\0\0\0\0\0\0\xff").starts_with("an expiry belongs to no key"));
    assert!(told(b"REDIS0010\xfe\xc5").starts_with("0xc5 begins no length"));
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let dump = Writer::begin("REDIS0010").bytes(&[250]).text(b"redis-ver").text(b"7.0.15").database(0);
    let whole = dump
        .bytes(&[0])
        .text(b"key")
        .text(&[b'v'; 100])
        .bytes(&[4])
        .text(b"hash")
        .length(1)
        .text(b"a")
        .text(b"b")
        .end();
    parse(&whole).unwrap();
    for at in 0..whole.len() {
        assert!(parse(&whole[..at]).is_err(), "cut at {at}");
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << bit;
            assert!(parse(&flipped).is_err(), "bit {bit} of byte {at} flipped");
        }
    }
}

/// A key with a value, as bytes of a dump.
fn any_key() -> impl Strategy<Value = Vec<u8>> {
    let text = || prop::collection::vec(any::<u8>(), 0..300);
    let texts = |step: usize| {
        prop::collection::vec(text(), 0..8).prop_map(move |mut texts| {
            texts.truncate(texts.len() / step * step);
            let count = Writer::default().length((texts.len() / step) as u64);
            texts.iter().fold(count, |writer, text| writer.text(text)).0
        })
    };
    let value = prop_oneof![
        text().prop_map(|text| (0, Writer::default().text(&text).0)),
        any::<i16>().prop_map(|number| (0, [&[0xc1][..], &number.to_le_bytes()].concat())),
        texts(1).prop_map(|value| (2, value)),
        texts(2).prop_map(|value| (4, value)),
    ];
    (text(), value).prop_map(|(key, (kind, value))| Writer(vec![kind]).text(&key).bytes(&value).0)
}

proptest! {
    #[test]
    fn however_a_dump_is_parted_it_holds_the_same(
        keys in prop::collection::vec((any_key(), any::<bool>()), 0..20),
        pieces in prop::collection::vec(1..200_usize, 1..10),
    ) {
        let mut dump = Writer::begin("REDIS0010").database(3);
        for (key, expires) in &keys {
            if *expires {
                dump = dump.bytes(&[252]).bytes(&[9; 8]);
            }
            dump = dump.bytes(key);
        }
        let bytes = dump.end();
        let (mut parser, mut rest, mut pieces) = (Parser::default(), &*bytes, pieces.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(*pieces.next().unwrap()));
            parser.push(piece).unwrap();
            rest = after;
        }
        let expiring = keys.iter().filter(|(_, expires)| *expires).count() as u64;
        prop_assert_eq!(parser.finish().unwrap().databases[&3], Keys { keys: keys.len() as u64, expiring });
        prop_assert_eq!(parser.finish().cloned(), parse(&bytes));
    }

    #[test]
    fn any_bytes_are_judged_and_nothing_breaks(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
        let _ = parse(&[b"REDIS0010", &*bytes].concat());
    }
}
