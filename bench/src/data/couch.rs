//! Files that grow only at their end, laid out as CouchDB lays out its databases (`couch_file` in its sources): blocks of
//! 4096 bytes that each begin with a prefix byte, 0 for data and 1 where a header begins; documents as chunks of
//! length, checksum and body that start anywhere; a header after every few documents and at the end of the file.
//!
//! It is a likeness: bodies are plain JSON rather than Erlang terms packed with Snappy, checksums are random bytes, and
//! there are no trees. CouchDB does not open these files. What matters to a backup is like the real thing: where bytes
//! change between two backups, and how well they compress.

use std::io::{self, Write};

use super::random::Random;
use super::text::{Pen, base64, decimal, hex};

/// CouchDB's `SIZE_BLOCK`.
const BLOCK_BYTES: u64 = 4096;
const PREFIX_DATA: u8 = 0;
const PREFIX_HEADER: u8 = 1;
/// Bytes of a header's term: about what a real one has.
const HEADER_TERM_BYTES: usize = 200;
const CHECKSUM_BYTES: usize = 16;
/// Most documents committed with one header.
const COMMIT_DOCUMENTS_MAX: u64 = 64;
/// Bytes gathered in memory before they are written.
const BUFFER_BYTES: usize = 1024 * 1024;
const FORMS: [&str; 6] = ["pregnancy", "delivery", "immunization_visit", "assessment", "referral_follow_up", "stock"];

/// Continues a file that ends at `position` with whole commits until it has at least `end` bytes, and returns its new
/// length. The last commit is cut short, so a file is at most a document and a header longer than asked for.
pub fn append(out: &mut impl Write, pen: &Pen, seed: u64, name: &str, position: u64, end: u64) -> io::Result<u64> {
    let mut random = Random::new(seed, name, position);
    let mut blocks = Blocks { buffer: Vec::with_capacity(BUFFER_BYTES * 2), position };
    let mut document = Vec::new();
    if position == 0 {
        blocks.header(&mut random);
    }
    while blocks.position < end {
        for _ in 0..random.between(1, COMMIT_DOCUMENTS_MAX + 1) {
            document.clear();
            write_document(pen, &mut random, &mut document);
            blocks.chunk(&mut random, &document);
            if blocks.position >= end {
                break;
            }
        }
        blocks.header(&mut random);
        if blocks.buffer.len() >= BUFFER_BYTES {
            out.write_all(&blocks.buffer)?;
            blocks.buffer.clear();
        }
    }
    out.write_all(&blocks.buffer)?;
    Ok(blocks.position)
}

/// Bytes on their way into a file, with CouchDB's prefix bytes put in between.
struct Blocks {
    buffer: Vec<u8>,
    /// Length of the file with everything in `buffer`.
    position: u64,
}

impl Blocks {
    fn chunk(&mut self, random: &mut Random, body: &[u8]) {
        // The highest bit says that a checksum comes before the body.
        self.append(&(body.len() as u32 | 1 << 31).to_be_bytes());
        self.append_checksum(random);
        self.append(body);
    }

    fn header(&mut self, random: &mut Random) {
        let into_block = self.position % BLOCK_BYTES;
        if into_block > 0 {
            let padding = BLOCK_BYTES - into_block;
            self.buffer.resize(self.buffer.len() + padding as usize, 0);
            self.position += padding;
        }
        self.buffer.push(PREFIX_HEADER);
        self.position += 1;
        self.append(&((CHECKSUM_BYTES + HEADER_TERM_BYTES) as u32).to_be_bytes());
        self.append_checksum(random);
        let mut term = b"\x83h\x10d\x00\x09db_header".to_vec();
        let position = self.position;
        while term.len() < HEADER_TERM_BYTES {
            // Pointers into the file and counts: numbers near to the file's length.
            term.push(b'n');
            term.extend_from_slice(&(position - random.below(position.min(1 << 20))).to_le_bytes());
        }
        term.truncate(HEADER_TERM_BYTES);
        self.append(&term);
    }

    fn append_checksum(&mut self, random: &mut Random) {
        let mut checksum = Vec::with_capacity(CHECKSUM_BYTES);
        random.bytes(&mut checksum, CHECKSUM_BYTES);
        self.append(&checksum);
    }

    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.position.is_multiple_of(BLOCK_BYTES) {
                self.buffer.push(PREFIX_DATA);
                self.position += 1;
            }
            let fitting = (BLOCK_BYTES - self.position % BLOCK_BYTES).min(bytes.len() as u64) as usize;
            self.buffer.extend_from_slice(&bytes[..fitting]);
            self.position += fitting as u64;
            bytes = &bytes[fitting..];
        }
    }
}

/// One JSON document: a report with free text, a person with many identifiers, or a report with a picture inlined.
fn write_document(pen: &Pen, random: &mut Random, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"_id\":\"");
    hex(random, out, 32);
    out.extend_from_slice(b"\",\"_rev\":\"");
    decimal(out, random.between(1, 9));
    out.push(b'-');
    hex(random, out, 32);
    out.extend_from_slice(b"\",\"type\":\"");
    match random.below(16) {
        0..=3 => write_person(pen, random, out),
        kind => {
            write_report(pen, random, out);
            if kind >= 8 {
                out.extend_from_slice(b",\"attachment\":{\"content_type\":\"image/jpeg\",\"data\":\"");
                let length = random.between(1024, 4736) as usize;
                base64(random, out, length);
                out.extend_from_slice(b"\"}");
            }
        }
    }
    out.extend_from_slice(b",\"reported_date\":");
    decimal(out, random.between(1_600_000_000_000, 1_760_000_000_000));
    out.push(b'}');
}

fn write_person(pen: &Pen, random: &mut Random, out: &mut Vec<u8>) {
    out.extend_from_slice(b"person\",\"name\":\"");
    pen.sentence(random, out, 2);
    out.extend_from_slice(b"\",\"phone\":\"+2547");
    decimal(out, random.between(10_000_000, 99_999_999));
    out.extend_from_slice(b"\",\"parent\":{\"_id\":\"");
    hex(random, out, 32);
    out.extend_from_slice(b"\",\"parent\":{\"_id\":\"");
    hex(random, out, 32);
    out.extend_from_slice(b"\",\"parent\":{\"_id\":\"");
    hex(random, out, 32);
    out.extend_from_slice(b"\"}}},\"date_of_birth\":\"");
    decimal(out, random.between(1940, 2026));
    out.extend_from_slice(b"-01-01\"");
}

fn write_report(pen: &Pen, random: &mut Random, out: &mut Vec<u8>) {
    out.extend_from_slice(b"data_record\",\"form\":\"");
    out.extend_from_slice(FORMS[random.below(FORMS.len() as u64) as usize].as_bytes());
    out.extend_from_slice(b"\",\"contact\":{\"_id\":\"");
    hex(random, out, 32);
    out.extend_from_slice(b"\",\"parent\":{\"_id\":\"");
    hex(random, out, 32);
    out.extend_from_slice(b"\"}},\"fields\":{\"patient_uuid\":\"");
    hex(random, out, 32);
    out.extend_from_slice(b"\",\"visit_number\":");
    decimal(out, random.below(12));
    for _ in 0..random.between(2, 10) {
        out.extend_from_slice(b",\"");
        pen.word(random, out);
        if random.below(2) == 0 {
            out.extend_from_slice(b"\":");
            decimal(out, random.below(1_000_000));
        } else {
            out.extend_from_slice(b"\":\"");
            let words = random.between(1, 12);
            pen.sentence(random, out, words);
            out.push(b'"');
        }
    }
    out.extend_from_slice(b"},\"geolocation\":{\"latitude\":-1.");
    decimal(out, random.below(1_000_000_000));
    out.extend_from_slice(b",\"longitude\":36.");
    decimal(out, random.below(1_000_000_000));
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(position: u64, end: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let length = append(&mut out, &Pen::new(), 1, "shard.couch", position, end).unwrap();
        assert_eq!(length, position + out.len() as u64);
        out
    }

    #[test]
    fn every_block_begins_with_a_prefix_byte() {
        let file = file(0, 1 << 20);
        let prefixes: Vec<u8> = file.chunks(BLOCK_BYTES as usize).map(|block| block[0]).collect();
        assert!(prefixes.iter().all(|prefix| *prefix <= PREFIX_HEADER));
        assert!(prefixes.contains(&PREFIX_DATA));
        assert_eq!(prefixes.first().zip(prefixes.last()), Some((&PREFIX_HEADER, &PREFIX_HEADER)));
    }

    #[test]
    fn a_file_ends_with_a_whole_header() {
        let file = file(0, 300_000);
        let last = file.len() - file.len() % BLOCK_BYTES as usize;
        let size = u32::from_be_bytes(file[last + 1..last + 5].try_into().unwrap());
        assert_eq!(file.len(), last + 5 + size as usize);
        assert_eq!(file[last + 5 + CHECKSUM_BYTES], 131, "terms begin with Erlang's version byte");
    }

    #[test]
    fn a_document_reads_as_json_once_the_prefixes_are_taken_out() {
        let file = file(0, 20_000);
        let plain: Vec<u8> = file.chunks(BLOCK_BYTES as usize).skip(1).flat_map(|block| &block[1..]).copied().collect();
        let text = String::from_utf8_lossy(&plain);
        let start = text.find("{\"_id\":\"").unwrap();
        let document = &text[start..start + text[start..].find(['\u{fffd}', '\0']).unwrap()];
        assert_eq!(document.matches('{').count(), document.matches('}').count(), "{document}");
    }

    #[test]
    fn a_file_is_barely_longer_than_asked_for() {
        let file = file(0, 1_000_000);
        assert!((1_000_000..1_016_000).contains(&file.len()), "{}", file.len());
    }

    #[test]
    fn the_continuation_depends_on_where_the_file_ended() {
        assert_eq!(file(5000, 50_000), file(5000, 50_000));
        assert_ne!(file(5000, 50_000)[..1000], file(9096, 54_096)[..1000]);
    }
}
