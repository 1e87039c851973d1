//! Headers. CouchDB never changes a byte: each commit appends a header at the start of a block, and the last one whose
//! checksum is right is the file. All that lies behind it was never committed, or was lost by a crash.

use crate::blocks::{Blocks, usize_of};
use crate::checksum::CHECKSUM_BYTES;
use crate::limits::{BLOCK_BYTES, HEADER_BLOCKS_AT_ONCE, HEADER_BYTES_MAX};
use crate::revision::Sizes;
use crate::term::{Kind, Term, Terms, VERSION};
use crate::tree::TreeState;
use crate::{Checksum, Error, ReadAt};

/// The oldest and the newest disk version that can be read.
const DISK_VERSIONS: (i64, i64) = (6, 8);
/// Elements of the header tuple, its name included, as of disk version 8. More would be of a newer CouchDB.
const ELEMENTS_MAX: usize = 16;
/// Elements that every supported version has: up to the limit of revisions.
const ELEMENTS_MIN: usize = 11;

/// The place of a header and what vouches for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderPlace {
    /// Where the header's block starts. Everything that the header knows of lies before it.
    pub offset: u64,
    /// Behind the header's last byte. A copy of the file that ends here is the file as of this commit.
    pub end: u64,
    /// The checksum it was written with, and with it the age of the CouchDB that wrote it.
    pub checksum: Checksum,
}

/// Since when a node owned the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epoch {
    /// The node's name: `couchdb@127.0.0.1`.
    pub node: String,
    /// The update sequence from which on.
    pub seq: u64,
}

/// What a database's header says: most of what `GET /db` tells, without reading anything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Where it lies.
    pub place: HeaderPlace,
    /// The version of the file's format.
    pub disk_version: u32,
    /// The number of the last update.
    pub update_seq: u64,
    /// Documents that are not deleted.
    pub doc_count: u64,
    /// Deleted documents.
    pub doc_del_count: u64,
    /// Sizes of all documents, where the file has them.
    pub sizes: Option<Sizes>,
    /// Revisions that a document remembers.
    pub revs_limit: u64,
    /// Purges that are remembered, in disk versions from 7 on.
    pub purge_infos_limit: Option<u64>,
    /// What makes the file one of its kind; `None` in old files.
    pub uuid: Option<String>,
    /// Owners, the last one first.
    pub epochs: Vec<Epoch>,
    /// The update sequence as of the last compaction.
    pub compacted_seq: u64,
    /// Elements of the tuple, for whoever writes another.
    pub(crate) elements: usize,
    pub(crate) by_id: TreeState,
    pub(crate) by_seq: TreeState,
    pub(crate) local: TreeState,
    pub(crate) purges: Purges,
    pub(crate) security: Option<u64>,
    pub(crate) properties: Option<u64>,
}

/// What was purged, in both forms that files have it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purges {
    /// From disk version 7 on: by id of the purge, and by its number.
    Trees { by_uuid: TreeState, by_seq: TreeState },
    /// Before: how many there were, and where the last one's documents are listed.
    Last { seq: u64, list: Option<u64> },
}

impl Header {
    /// Deleted documents and others.
    pub fn documents(&self) -> u64 {
        self.doc_count.saturating_add(self.doc_del_count)
    }

    pub(crate) fn decode(found: &FoundHeader) -> Result<Self, Error> {
        let place = found.place;
        let offset = place.offset;
        let wrong = |what| Error::UnsupportedHeader { offset, what };
        let root = found.terms.root();
        let parts = root.tuple().ok_or(wrong("it is no tuple"))?;
        let found = kind(root);
        if found != DATABASE {
            return Err(Error::OtherKind { offset, found, expected: DATABASE });
        }
        let parts: Vec<Term<'_>> = parts.collect();
        let version = parts.get(1).and_then(|version| version.int()).ok_or(wrong("it names no disk version"))?;
        if !(DISK_VERSIONS.0..=DISK_VERSIONS.1).contains(&version) {
            return Err(Error::UnsupportedVersion { offset, found: version });
        }
        if parts.len() > ELEMENTS_MAX {
            return Err(wrong("it has more parts than disk version 8 knows"));
        }
        if parts.len() < ELEMENTS_MIN {
            return Err(wrong("it has fewer parts than disk version 6 knows"));
        }
        let number = |index: usize, what| parts[index].unsigned().ok_or(wrong(what));
        let tree = |index: usize| TreeState::decode(parts[index], offset);
        let by_id = tree(4)?;
        let (doc_count, doc_del_count, sizes) = counts(&by_id, offset)?;
        // The third element was never used; the newest CouchDB keeps a pointer there that only it needs.
        Ok(Self {
            place,
            disk_version: version as u32,
            update_seq: number(2, "it names no update sequence")?,
            doc_count,
            doc_del_count,
            sizes,
            elements: parts.len(),
            by_id,
            by_seq: tree(5)?,
            local: tree(6)?,
            purges: purges(parts[7], parts[8], offset)?,
            security: pointer(parts[9]).ok_or(wrong("the security object lies nowhere"))?,
            revs_limit: number(10, "it names no limit of revisions")?,
            uuid: parts.get(11).and_then(|uuid| uuid.text()).map(str::to_owned),
            epochs: parts.get(12).map_or(Some(Vec::new()), |term| epochs(*term)).ok_or(wrong("its owners"))?,
            compacted_seq: parts.get(13).and_then(|seq| seq.unsigned()).unwrap_or(0),
            purge_infos_limit: parts.get(14).and_then(|limit| limit.unsigned()),
            properties: match parts.get(15) {
                Some(term) => pointer(*term).ok_or(wrong("the properties lie nowhere"))?,
                None => None,
            },
        })
    }
}

pub(crate) const DATABASE: &str = "a database";
pub(crate) const VIEW: &str = "a view";

/// What kind of file a header belongs to. Compactions write headers of their own, which stay in the file as older ones.
pub(crate) fn kind(root: Term<'_>) -> &'static str {
    fn name(term: Term<'_>) -> &str {
        term.tuple().and_then(|mut parts| parts.next()).and_then(Term::atom).unwrap_or("")
    }
    if name(root) == "db_header" {
        return DATABASE;
    }
    if name(root) == "comp_header" {
        return "an unfinished compaction";
    }
    // `{Signature, {mrheader, …}}`, or `{Signature, nil}` of a view into which nothing was taken yet.
    match root.tuple_of() {
        Some([_, header]) if name(header) == "mrheader" => VIEW,
        Some([signature, header]) if signature.binary().is_some() && header.is_atom("nil") => VIEW,
        _ => "something unknown",
    }
}

fn counts(by_id: &TreeState, offset: u64) -> Result<(u64, u64, Option<Sizes>), Error> {
    let Some(root) = &by_id.root else { return Ok((0, 0, Some(Sizes::default()))) };
    let wrong = Error::UnsupportedHeader { offset, what: "the tree of documents does not say how many there are" };
    let reduction = Terms::of_raw(&root.reduction, offset)?;
    Reduction::decode(reduction.root()).map(|found| (found.alive, found.deleted, found.sizes)).ok_or(wrong)
}

/// What the tree by id says of a part of it: `{Alive, Deleted, Sizes}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reduction {
    pub(crate) alive: u64,
    pub(crate) deleted: u64,
    pub(crate) sizes: Option<Sizes>,
}

impl Reduction {
    pub(crate) fn decode(term: Term<'_>) -> Option<Self> {
        let mut parts = term.tuple()?;
        let alive = parts.next()?.unsigned()?;
        let deleted = parts.next()?.unsigned()?;
        Some(Self { alive, deleted, sizes: parts.next().and_then(Sizes::decode) })
    }
}

fn purges(by_uuid: Term<'_>, by_seq: Term<'_>, offset: u64) -> Result<Purges, Error> {
    if let Some(seq) = by_uuid.unsigned() {
        let wrong = Error::UnsupportedHeader { offset, what: "the purged documents are listed nowhere" };
        return Ok(Purges::Last { seq, list: pointer(by_seq).ok_or(wrong)? });
    }
    Ok(Purges::Trees { by_uuid: TreeState::decode(by_uuid, offset)?, by_seq: TreeState::decode(by_seq, offset)? })
}

/// An offset, or that there is none; the outer `None` is for neither.
fn pointer(term: Term<'_>) -> Option<Option<u64>> {
    match term.kind() {
        Kind::Atom(b"nil" | b"undefined") => Some(None),
        _ => term.unsigned().map(Some),
    }
}

fn epochs(term: Term<'_>) -> Option<Vec<Epoch>> {
    let Some(list) = term.list() else { return term.is_atom("undefined").then(Vec::new) };
    list.map(|epoch| {
        let [node, seq] = epoch.tuple_of()?;
        Some(Epoch { node: node.atom()?.to_owned(), seq: seq.unsigned()? })
    })
    .collect()
}

/// A header whose checksum is right, not looked into yet.
pub(crate) struct FoundHeader {
    pub(crate) place: HeaderPlace,
    pub(crate) terms: Terms,
}

/// Goes through a file from its end to its start and yields every header whose checksum is right.
pub(crate) struct FindHeaders<'r, R: ?Sized> {
    blocks: Blocks<'r, R>,
    /// Blocks before this one were not looked at yet.
    next_block: u64,
    /// Offsets of blocks that are marked as headers, the last one to be looked at next.
    marked: Vec<u64>,
    at_once: u64,
}

impl<'r, R: ReadAt + ?Sized> FindHeaders<'r, R> {
    pub(crate) fn new(blocks: Blocks<'r, R>) -> Self {
        // Nearly always the header lies in the last blocks.
        Self { blocks, next_block: blocks.end().div_ceil(BLOCK_BYTES), marked: Vec::new(), at_once: 2 }
    }

    pub(crate) fn next(&mut self) -> Result<Option<FoundHeader>, Error> {
        loop {
            while let Some(offset) = self.marked.pop() {
                if let Some(found) = self.header_at(offset)? {
                    return Ok(Some(found));
                }
            }
            if self.next_block == 0 {
                return Ok(None);
            }
            self.look_for_marks()?;
        }
    }

    fn look_for_marks(&mut self) -> Result<(), Error> {
        let first = self.next_block.saturating_sub(self.at_once);
        let start = first * BLOCK_BYTES;
        let end = (self.next_block * BLOCK_BYTES).min(self.blocks.end());
        let raw = self.blocks.raw(start, end - start).inspect_err(|_| {
            // They would be tried for ever.
            self.next_block = 0;
        })?;
        for (index, block) in (0..).zip(raw.chunks(usize_of(BLOCK_BYTES))) {
            if block.first() == Some(&1) {
                self.marked.push(start + index * BLOCK_BYTES);
            }
        }
        self.next_block = first;
        self.at_once = (self.at_once * 4).min(HEADER_BLOCKS_AT_ONCE);
        Ok(())
    }

    /// The header at `offset`; `None` where there is none after all, or a damaged one.
    fn header_at(&self, offset: u64) -> Result<Option<FoundHeader>, Error> {
        let missing_to_none = |error| match error {
            Error::PastEnd { .. } => Ok(None),
            error => Err(error),
        };
        let (head, start) = match self.blocks.run(offset + 1, 4) {
            Ok(found) => found,
            Err(error) => return missing_to_none(error),
        };
        let length = head.iter().fold(0, |length, byte| length << 8 | u64::from(*byte));
        if length <= CHECKSUM_BYTES as u64 || length > HEADER_BYTES_MAX {
            return Ok(None);
        }
        let (mut stored, end) = match self.blocks.run(start, length) {
            Ok(found) => found,
            Err(error) => return missing_to_none(error),
        };
        let data = stored.split_off(CHECKSUM_BYTES);
        if data.first() != Some(&VERSION) {
            return Ok(None);
        }
        let Some(checksum) = Checksum::verify(&data, &stored) else { return Ok(None) };
        let place = HeaderPlace { offset, end, checksum };
        Ok(Some(FoundHeader { place, terms: Terms::of_stored(data, offset)? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::term::Compression;
    use crate::writer::{Format, HeaderParts, Tree, Writer};
    use crate::{Database, View};

    fn file_with(disk_version: u32, elements: usize, checksum: Checksum) -> Vec<u8> {
        let format = Format { checksum, compression: Compression::None };
        let mut writer = Writer::new(Vec::new(), 0, format);
        let older = HeaderParts { disk_version: 8, ..parts(16) };
        writer.header(older.encode()).unwrap();
        let mut header = HeaderParts { disk_version, ..parts(elements.min(16)) }.encode().finish();
        if elements > 16 {
            // The count stands behind the version byte and the tuple's tag. 106 is an empty list.
            header[2] = elements as u8;
            header.extend(std::iter::repeat_n(106, elements - 16));
        }
        let mut raw = crate::term::encode::Encoder::default();
        raw.raw(&header);
        writer.header(raw).unwrap();
        writer.into_inner()
    }

    fn parts(elements: usize) -> HeaderParts<'static> {
        let nil = Tree::default().encode();
        HeaderParts {
            elements,
            disk_version: 8,
            update_seq: 7,
            by_id: Tree::default(),
            by_seq: Tree::default(),
            local: Tree::default(),
            purges: [nil.clone(), nil],
            security: None,
            revs_limit: 1000,
            uuid: Some("0123"),
            epochs: &[],
            compacted_seq: 3,
            purge_infos_limit: 1000,
            properties: None,
        }
    }

    #[test]
    fn headers_of_every_length_that_was_ever_written_are_read() {
        for (version, elements) in [(6, 11), (6, 12), (6, 14), (7, 15), (7, 16), (8, 16)] {
            for checksum in [Checksum::Md5, Checksum::Xxh3] {
                let database = Database::open(file_with(version, elements, checksum)).unwrap();
                let header = database.header();
                assert_eq!((header.disk_version, header.update_seq, header.documents()), (version, 7, 0));
                assert_eq!(header.uuid.is_some(), elements > 11);
                assert_eq!(header.compacted_seq, if elements > 13 { 3 } else { 0 });
                assert_eq!(header.place.checksum, checksum);
            }
        }
    }

    #[test]
    fn a_newer_version_is_refused_and_no_older_header_used_in_its_place() {
        for (version, elements) in [(9, 16), (5, 16), (0, 16), (8, 17)] {
            let file = file_with(version, elements, Checksum::Md5);
            let refused = Database::open(&file).unwrap_err();
            assert!(refused.is_unsupported() && !refused.is_damage(), "{refused}");
            if elements == 16 {
                let message = format!("the header at 4096 is of disk version {version}; versions 6 to 8 can be read");
                assert_eq!(refused.to_string(), message);
            }
            let mut headers = crate::headers(&file);
            assert!(headers.next().unwrap().is_err());
            assert_eq!(headers.next().unwrap().unwrap().place.offset, 0, "but it is still there");
            assert!(headers.next().is_none());
        }
        assert!(matches!(View::open(file_with(9, 16, Checksum::Md5)), Err(Error::OtherKind { .. })));
    }

    #[test]
    fn a_header_that_claims_to_be_longer_than_any_is_passed_over() {
        let mut file = file_with(8, 16, Checksum::Md5);
        file[4096 + 1..4096 + 5].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
        assert_eq!(Database::open(&file).unwrap().header().place.offset, 0);
        file[4096 + 1..4096 + 5].copy_from_slice(&[0, 0, 0, 3]);
        assert_eq!(Database::open(&file).unwrap().header().place.offset, 0);
    }
}
