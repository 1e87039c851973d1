//! What the crate's own writer writes is read back as it was put: the writer stands for a CouchDB in other tests.

use couchfile::{
    Checksum, Compression, CouchWriter, Database, Encoding, Error, Format, JsonOptions, Level, Reason, Revision,
    headers, salvage,
};
use serde_json::{Value, json};

const FORMATS: [Format; 3] = [
    Format { checksum: Checksum::Md5, compression: Compression::None },
    Format { checksum: Checksum::Xxh3, compression: Compression::Snappy },
    Format { checksum: Checksum::Xxh3, compression: Compression::Deflate },
];

fn writer(format: Format) -> CouchWriter<Vec<u8>> {
    CouchWriter::create(Vec::new(), format, "00112233445566778899aabbccddeeff", "couchdb@127.0.0.1").unwrap()
}

fn body(number: u64) -> Value {
    json!({"number": number, "big": u64::MAX - number, "float": 0.1, "text": "é".repeat(number as usize % 50), "n": null})
}

fn json_of<R: couchfile::ReadAt>(database: &Database<R>, id: &str) -> Value {
    let info = database.document(id).unwrap().unwrap();
    let options = JsonOptions { revisions: true, encodings: true };
    serde_json::from_str(&database.json(&info, options).unwrap().unwrap()).unwrap()
}

#[test]
fn documents_of_all_kinds_come_back() {
    for format in FORMATS {
        let mut writer = writer(format);
        for number in 0..2000 {
            writer.put(&format!("doc-{:05}", number * 7919 % 2000), &body(number)).unwrap();
        }
        let text = "line\n".repeat(10_000);
        let attachments = [
            writer.attachment("a.txt", "text/plain", text.as_bytes(), 2, Encoding::Gzip).unwrap(),
            writer.attachment("ü/b.bin", "application/octet-stream", &[7; 20_000], 2, Encoding::Identity).unwrap(),
            writer.attachment("empty", "text/plain", b"", 2, Encoding::Identity).unwrap(),
        ];
        writer.put_with("doc-00001", &json!({"with": "attachments"}), &attachments).unwrap();
        writer.delete("doc-00002").unwrap();
        let other = |position| Revision { position, id: vec![0xff; 16] };
        writer.put_history("doc-00003", &[other(1)], &json!({"conflict": true}), &[], false).unwrap();
        writer.put_history("doc-00003", &[other(4), other(3)], &json!({}), &[], true).unwrap();
        writer.purge("doc-00004");
        writer.put_local("_local/checkpoint", &json!({"seq": 1}));
        writer.put_local("_local/checkpoint", &json!({"seq": 2}));
        writer.set_security(&json!({"admins": {"names": ["x"], "roles": []}})).unwrap();
        writer.set_partitioned().unwrap();
        let place = writer.commit().unwrap();
        let bytes = writer.into_inner();

        let database = Database::open(bytes).unwrap();
        let report = database.check(Level::Attachments);
        assert!(report.is_ok(), "{}", report.findings[0]);
        assert_eq!((report.documents, report.deleted_documents, report.leaves), (1998, 1, 2001));
        assert_eq!((report.attachments, report.local_documents, report.purges), (3, 1, 1));
        let header = database.header();
        assert_eq!((header.place, header.update_seq), (place, 2005));
        assert_eq!(json_of(&database, "doc-00000")["big"], u64::MAX);
        let with = json_of(&database, "doc-00001");
        assert_eq!(with["_attachments"]["a.txt"]["length"], 50_000);
        assert_eq!(with["_attachments"]["a.txt"]["encoding"], "gzip");
        assert_eq!(with["_revisions"]["start"], 2);
        assert_eq!(json_of(&database, "doc-00002")["_deleted"], true);
        let conflict = json_of(&database, "doc-00003");
        assert_eq!(conflict["_deleted_conflicts"], json!([format!("4-{}", "ff".repeat(16))]));
        assert_eq!(conflict["_conflicts"].as_array().unwrap().len(), 1);
        assert_eq!(database.document("doc-00004").unwrap(), None);
        assert_eq!(database.purges().next().unwrap().unwrap().id, "doc-00004");
        let local = database.local_document("_local/checkpoint").unwrap().unwrap();
        assert_eq!(local.to_json().unwrap(), r#"{"_id":"_local/checkpoint","_rev":"0-2","seq":2}"#);
        assert_eq!(database.security().unwrap(), r#"{"admins":{"names":["x"],"roles":[]}}"#);
        assert!(database.partitioned().unwrap());

        let info = database.document("doc-00001").unwrap().unwrap();
        let document = database.read("doc-00001", info.leaves()[0]).unwrap().unwrap();
        let mut content = Vec::new();
        database.write_attachment("doc-00001", &document.attachments[0], &mut content).unwrap();
        assert_eq!(content, text.as_bytes());
        content.clear();
        database.write_stored_attachment("doc-00001", &document.attachments[0], &mut content).unwrap();
        assert!(content.len() < 1000 && content.starts_with(&[0x1f, 0x8b]));
    }
}

#[test]
fn each_commit_is_a_state_of_its_own() {
    let mut writer = writer(FORMATS[1]);
    let mut places = vec![];
    for number in 0..5 {
        writer.put("counter", &json!({"number": number})).unwrap();
        places.push(writer.commit().unwrap());
    }
    writer.put("counter", &json!({"number": "never committed"})).unwrap();
    let bytes = writer.into_inner();
    let newest_first: Vec<_> = headers(&bytes).map(|header| header.unwrap().place).collect();
    assert_eq!(newest_first.len(), 6);
    assert!(newest_first.iter().zip(places.iter().rev()).all(|(one, other)| one == other));
    for (number, place) in (0..).zip(&places) {
        let cut = &bytes[..place.end as usize];
        assert_eq!(json_of(&Database::open(cut).unwrap(), "counter")["number"], number);
        // One byte less, and the state before it is the newest.
        let shorter = Database::open(&cut[..cut.len() - 1]).unwrap();
        assert!(shorter.header().place.end < place.end);
    }
    assert_eq!(json_of(&Database::open(&bytes[..]).unwrap(), "counter")["number"], 4);
}

#[test]
fn salvage_steps_back_to_the_newest_state_that_is_whole() {
    let mut writer = writer(FORMATS[0]);
    for number in 0..300 {
        writer.put(&format!("doc-{number:04}"), &body(number)).unwrap();
    }
    let good = writer.commit().unwrap();
    let from = writer.position() as usize;
    writer.put("late", &json!({"text": "x".repeat(3000)})).unwrap();
    let bad = writer.commit().unwrap();
    let mut bytes = writer.into_inner();
    let whole = salvage(&bytes, Level::Attachments, 10).unwrap();
    assert_eq!((whole.header.unwrap().place, whole.refused.len()), (bad, 0));

    // The content of the last document and the trees behind it are lost, as if pages had never reached the disk.
    bytes[from..bad.offset as usize].fill(0);
    let found = salvage(&bytes, Level::Documents, 10).unwrap();
    assert_eq!(found.header.unwrap().place, good);
    assert_eq!(found.refused.len(), 1);
    assert!(matches!(found.refused[0].reason, Reason::Content(_)));
    assert!(salvage(&bytes, Level::Documents, 1).unwrap().header.is_none());

    let opened = Database::open(&bytes[..]).unwrap();
    assert!(!opened.check(Level::Trees).is_ok());
    assert!(Database::open(&bytes[..good.end as usize]).unwrap().check(Level::Attachments).is_ok());
}

#[test]
fn a_check_names_the_documents_that_are_lost() {
    let mut writer = writer(FORMATS[0]);
    for number in 0..400 {
        writer.put(&format!("doc-{number:04}"), &json!({"marker": format!("body-{number:04}")})).unwrap();
    }
    writer.commit().unwrap();
    let bytes = writer.into_inner();
    let place_of = |text: &str| bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();

    let mut flipped = bytes.clone();
    flipped[place_of("body-0123")] ^= 1;
    let report = Database::open(&flipped[..]).unwrap().check(Level::Documents);
    assert_eq!(report.findings_total, 1);
    assert_eq!(report.documents_concerned().into_iter().collect::<Vec<_>>(), ["doc-0123"]);
    assert!(matches!(report.findings[0].error, Error::Checksum { .. }));
    assert!(Database::open(&flipped[..]).unwrap().check(Level::Trees).is_ok(), "trees are whole");

    // A node of the tree by id, of which only the tree by update still knows what was in it.
    let mut flipped = bytes.clone();
    let node = place_of("doc-0200");
    flipped[node - 5..node + 300].fill(0xff);
    let report = Database::open(&flipped[..]).unwrap().check(Level::Documents);
    let lost = report.documents_concerned();
    assert!(lost.contains("doc-0200") && lost.len() > 3 && lost.len() < 40, "{lost:?}");
    let reachable = Database::open(&flipped[..]).unwrap();
    assert_eq!(reachable.documents().filter(Result::is_ok).count() + lost.len(), 400);
}
