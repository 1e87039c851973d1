//! What reading costs: a program that fetches parts of a file from afar pays for every byte, and memory must not grow with
//! the file.

use std::cell::Cell;
use std::io;

use couchfile::{Checksum, Compression, CouchWriter, Database, Encoding, Format, Level, ReadAt};
use serde_json::json;

/// Bytes that count what is read of them.
struct Metered {
    bytes: Vec<u8>,
    largest: Cell<usize>,
    total: Cell<usize>,
}

impl Metered {
    /// The largest read and the sum of all since the last call.
    fn spent(&self) -> (usize, usize) {
        (self.largest.replace(0), self.total.replace(0))
    }
}

impl ReadAt for Metered {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.largest.set(self.largest.get().max(buffer.len()));
        self.total.set(self.total.get() + buffer.len());
        self.bytes.as_slice().read_at(offset, buffer)
    }

    fn length(&self) -> io::Result<u64> {
        self.bytes.length()
    }
}

#[test]
fn a_document_of_a_large_file_is_found_with_a_few_small_reads() {
    let format = Format { checksum: Checksum::Xxh3, compression: Compression::None };
    let mut writer = CouchWriter::create(Vec::new(), format, "0123", "a@b").unwrap();
    let attachment = writer.attachment("large", "x/y", &[5; 3 << 20], 1, Encoding::Identity).unwrap();
    writer.put_with("with-attachment", &json!({}), &[attachment]).unwrap();
    let text = "text ".repeat(60);
    for number in 0..15_000 {
        writer.put(&format!("doc-{number:06}"), &json!({"number": number, "text": text})).unwrap();
    }
    writer.commit().unwrap();
    let (largest, total) = (Cell::new(0), Cell::new(0));
    let metered = Metered { bytes: writer.into_inner(), largest, total };
    let length = metered.bytes.len();
    assert!(length > 10 << 20);

    let database = Database::open(&metered).unwrap();
    let (_, total) = metered.spent();
    assert!(total < 20_000, "opening took {total} bytes");

    let info = database.document("doc-007777").unwrap().unwrap();
    database.read(&info.id, info.leaves()[0]).unwrap().unwrap();
    let (_, total) = metered.spent();
    assert!(total < 10_000, "a document took {total} bytes");

    assert_eq!(database.changes(14_990).count(), 11);
    let (_, total) = metered.spent();
    assert!(total < 20_000, "the last changes took {total} bytes");

    let report = database.check(Level::Attachments);
    assert!(report.is_ok() && report.documents == 15_001);
    let (largest, total) = metered.spent();
    assert!(largest < 70_000, "a check read {largest} bytes at once");
    assert!(total < 5 * length, "a check of {length} bytes read {total}");
}

#[test]
fn a_reader_that_fails_or_lies_is_no_reason_to_panic() {
    struct Bad(u8);
    impl ReadAt for Bad {
        fn read_at(&self, _: u64, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0 {
                0 => Err(io::ErrorKind::PermissionDenied.into()),
                1 => Ok(0),
                _ => Ok(buffer.len() + 1),
            }
        }

        fn length(&self) -> io::Result<u64> {
            Ok(if self.0 == 2 { 100_000 } else { 1 << 40 })
        }
    }
    for kind in 0..3 {
        assert!(Database::open(Bad(kind)).is_err());
        assert!(couchfile::headers(&Bad(kind)).take(3).all(|header| header.is_err()));
    }
}
