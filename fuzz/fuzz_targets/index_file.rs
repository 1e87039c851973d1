//! Index files. What one says decides which bytes of which pack are read, and how much memory for.
#![no_main]

use libfuzzer_sys::fuzz_target;
use repository::format::index_file::IndexFile;
use repository::limits::{BLOB_BYTES_MAX, PACK_BYTES_MAX};

fuzz_target!(|input: &[u8]| {
    let Some(file) = repository_fuzz::survives(input, IndexFile::parse, IndexFile::to_json) else { return };
    for pack in &file.packs {
        assert!(pack.blobs.is_sorted_by_key(|blob| blob.offset));
        for blob in &pack.blobs {
            assert!(u64::from(blob.offset) + u64::from(blob.length) <= PACK_BYTES_MAX as u64);
            assert!(blob.plain_bytes() <= BLOB_BYTES_MAX);
            assert_ne!(blob.plain_length, Some(0), "the index in memory keeps zero for \"not compressed\"");
        }
        assert!(pack.pack_bytes() >= pack.blobs.len() as u64);
    }
});
