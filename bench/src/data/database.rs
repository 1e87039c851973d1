//! The two shapes in which relational databases lie on disk: heap files of pages that change in place, laid out as
//! PostgreSQL's are, and the SQL text of a dump.
//!
//! The heap is a likeness: page headers, line pointers and tuple headers have PostgreSQL's sizes and typical values, so
//! that pages compress and change as real ones do; no server would read them.

use super::random::Random;
use super::text::{Pen, decimal, hex};

/// Bytes of a page, PostgreSQL's `BLCKSZ`. In-place changes are made a page at a time, in dumps too.
pub const PAGE_BYTES: usize = 8192;
const PAGE_HEADER_BYTES: usize = 24;
const LINE_POINTER_BYTES: usize = 4;
const TUPLE_ALIGNMENT_BYTES: usize = 8;

/// Appends one heap page that is full of rows.
pub fn write_page(pen: &Pen, random: &mut Random, out: &mut Vec<u8>) {
    let mut page = [0_u8; PAGE_BYTES];
    let transaction = random.between(700_000, 900_000) as u32;
    let (mut lower, mut upper) = (PAGE_HEADER_BYTES, PAGE_BYTES);
    let mut tuple = Vec::new();
    loop {
        tuple.clear();
        write_tuple(pen, random, transaction, &mut tuple);
        let length = tuple.len();
        tuple.resize(length.next_multiple_of(TUPLE_ALIGNMENT_BYTES), 0);
        if upper - lower < tuple.len() + LINE_POINTER_BYTES {
            break;
        }
        // Rows fill the page from its end, pointers to them from its beginning.
        upper -= tuple.len();
        page[upper..upper + tuple.len()].copy_from_slice(&tuple);
        let pointer = upper as u32 | 1 << 15 | (length as u32) << 17;
        page[lower..lower + LINE_POINTER_BYTES].copy_from_slice(&pointer.to_le_bytes());
        lower += LINE_POINTER_BYTES;
    }
    page[..8].copy_from_slice(&random.between(1 << 32, 1 << 34).to_le_bytes());
    page[8..10].copy_from_slice(&(random.next() as u16).to_le_bytes());
    for (index, value) in [lower, upper, PAGE_BYTES, PAGE_BYTES | 4].into_iter().enumerate() {
        page[12 + 2 * index..14 + 2 * index].copy_from_slice(&(value as u16).to_le_bytes());
    }
    out.extend_from_slice(&page);
}

/// A row: two identifiers, two times, an amount, a state, two short texts.
fn write_tuple(pen: &Pen, random: &mut Random, transaction: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&(transaction + random.below(16) as u32).to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&(random.below(65_536) as u16).to_le_bytes());
    out.extend_from_slice(&(random.below(64) as u16).to_le_bytes());
    out.extend_from_slice(&[8, 0, 2, 9, 24, 0]);
    out.extend_from_slice(&random.below(50_000_000).to_le_bytes());
    random.bytes(out, 16);
    let created = random.between(700_000_000_000_000, 800_000_000_000_000);
    out.extend_from_slice(&created.to_le_bytes());
    out.extend_from_slice(&(created + random.below(1 << 40)).to_le_bytes());
    out.extend_from_slice(&(random.below(200_000) as u32).to_le_bytes());
    out.push(random.below(5) as u8);
    for words_max in [5, 17] {
        let length_at = out.len();
        out.push(0);
        let words = random.between(1, words_max + 1);
        pen.sentence(random, out, words);
        // A short varlena: its length, itself included, shifted by one, with the lowest bit set.
        out[length_at] = ((out.len() - length_at) << 1 | 1) as u8;
    }
}

/// Appends lines of a dump until `out` has grown by `count` bytes; the last line is cut.
pub fn write_sql(pen: &Pen, random: &mut Random, out: &mut Vec<u8>, count: usize) {
    let end = out.len() + count;
    let mut row = random.below(10_000_000);
    while out.len() < end {
        row += random.between(1, 3);
        out.extend_from_slice(b"INSERT INTO public.orders VALUES (");
        decimal(out, row);
        out.extend_from_slice(b", '2026-");
        decimal(out, random.between(10, 13));
        out.push(b'-');
        decimal(out, random.between(10, 29));
        out.push(b' ');
        decimal(out, random.between(10, 24));
        out.push(b':');
        decimal(out, random.between(10, 60));
        out.extend_from_slice(b":00+00', '");
        hex(random, out, 32);
        out.extend_from_slice(b"', '");
        hex(random, out, 64);
        out.extend_from_slice(b"', 'order-state-");
        decimal(out, random.below(5));
        out.extend_from_slice(b"', NULL, NULL, ");
        decimal(out, random.below(100_000));
        out.extend_from_slice(b".00, '");
        let words = random.between(2, 12);
        pen.sentence(random, out, words);
        out.extend_from_slice(b"', false, 'default');\n");
    }
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_its_size_and_its_bounds_in_place() {
        let mut page = Vec::new();
        write_page(&Pen::new(), &mut Random::new(1, "page", 0), &mut page);
        assert_eq!(page.len(), PAGE_BYTES);
        let word = |at: usize| usize::from(u16::from_le_bytes([page[at], page[at + 1]]));
        let (lower, upper) = (word(12), word(14));
        assert!(PAGE_HEADER_BYTES < lower && lower <= upper && upper < PAGE_BYTES, "{lower} {upper}");
        assert!(upper - lower < 300, "the page is full");
        let pointer = u32::from_le_bytes(page[lower - 4..lower].try_into().unwrap());
        assert_eq!(pointer as usize & 0x7fff, upper, "the last pointer names the row nearest to the free space");
    }

    #[test]
    fn sql_has_exactly_the_length_asked_for() {
        let mut out = b"--\n".to_vec();
        write_sql(&Pen::new(), &mut Random::new(1, "sql", 0), &mut out, 100_000);
        assert_eq!(out.len(), 100_003);
        let text = String::from_utf8(out).unwrap();
        assert!(text.lines().skip(1).take(100).all(|line| line.starts_with("INSERT INTO") && line.ends_with(");")));
    }
}
