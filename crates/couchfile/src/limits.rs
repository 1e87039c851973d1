//! Every bound of the reader in one place, with its unit in its name. What a file claims is held against these before
//! anything is allocated, so that memory is a function of these and never of the file.

/// CouchDB writes its files in blocks of this size; the first byte of each says what starts there.
pub const BLOCK_BYTES: u64 = 4096;
/// The largest header. Those of databases have about 200 bytes; those of views hold a reduction for each view.
pub const HEADER_BYTES_MAX: u64 = 256 << 10;
/// Blocks that are looked through at once for a header.
pub const HEADER_BLOCKS_AT_ONCE: u64 = 64;
/// The largest chunk that is read into memory: a document's body, a node of a tree. Attachments are not among them, they
/// are read in pieces. CouchDB refuses documents of more than 8 MB unless told otherwise.
pub const CHUNK_BYTES_MAX: u64 = 128 << 20;
/// What is read of a chunk before its length is known. Most nodes and documents are no longer.
pub const CHUNK_BYTES_FIRST: u64 = 1024;
/// The largest term, decompressed.
pub const TERM_BYTES_MAX: u64 = 128 << 20;
/// Values in one term. A value takes 16 bytes of memory, and as little as one of the file. No document that CouchDB takes
/// without being told otherwise has more than half as many.
pub const TERM_VALUES_MAX: usize = 8 << 20;
/// Snappy cannot make 64 bytes out of less than three.
pub const SNAPPY_RATIO_MAX: u64 = 32;
/// Nor can deflate do better than this.
pub const DEFLATE_RATIO_MAX: u64 = 1040;
/// An integer of more bytes than this is not turned into decimal digits, which takes time by the square.
pub const INTEGER_BYTES_MAX: usize = 16 << 10;
/// Levels of a tree. CouchDB's nodes have many children, so that real trees stay below ten.
pub const TREE_DEPTH_MAX: usize = 64;
/// Decompressed bytes of all nodes between the root of a tree and the entry that is looked at.
pub const TREE_PATH_BYTES_MAX: u64 = 256 << 20;
/// Bytes of an attachment that are read at once.
pub const ATTACHMENT_BYTES_AT_ONCE: usize = 64 << 10;
/// Findings that a report lists; the others are only counted.
pub const FINDINGS_MAX: usize = 1000;
