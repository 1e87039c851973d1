//! Pack headers: the range they are read from, the plain form, and the encrypted form.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repository::Id;
use repository::format::crypto::{Key, OVERHEAD_BYTES};
use repository::format::index_file::{IndexFile, IndexedPack};
use repository::format::pack::{self, PackedBlob};
use repository::limits::PACK_BYTES_MAX;

fuzz_target!(|input: &[u8]| {
    check_range(input);
    let key = Key::from_bytes(&[7; 64]);
    let mut forged = input.to_vec();
    assert!(pack::decode_header(&key, &mut forged, 0).is_err(), "bytes that nobody encrypted were accepted");

    let Ok(blobs) = repository_fuzz::within(input, 8, || pack::parse_header(input)) else { return };
    assert_eq!(pack::encode_header(&blobs), input);
    assert_eq!(pack::trailer_bytes(&blobs), input.len() + OVERHEAD_BYTES + 4);
    let mut end = 0;
    for blob in &blobs {
        assert_eq!(u64::from(blob.offset), end);
        end += u64::from(blob.length);
    }

    let stored = key.encrypt(input).expect("there are random bytes");
    assert_eq!(pack::decode_header(&key, &mut stored.clone(), end).as_ref(), Ok(&blobs));
    assert!(pack::decode_header(&key, &mut stored.clone(), end + 1).is_err());
    check_healing(blobs, end);
});

fn check_range(input: &[u8]) {
    let Some((size, rest)) = input.split_first_chunk() else { return };
    let Some(last_four) = rest.first_chunk() else { return };
    // Sizes of packs are small numbers, so not every bit of the input counts.
    let size = u64::from_le_bytes(*size) % (PACK_BYTES_MAX as u64 * 2);
    if let Ok(range) = pack::header_range(size, *last_four) {
        assert!(range.start < range.end && range.end + 4 == size);
        assert!(size <= PACK_BYTES_MAX as u64);
    }
}

/// A lost index is made anew from headers: what they say must be what the new index says when it is read.
fn check_healing(blobs: Vec<PackedBlob>, end: u64) {
    if end > PACK_BYTES_MAX as u64 {
        return;
    }
    let file = IndexFile { supersedes: Vec::new(), packs: vec![IndexedPack { id: Id::ZERO, blobs }] };
    assert_eq!(IndexFile::parse(&file.to_json()).as_ref(), Ok(&file));
}
