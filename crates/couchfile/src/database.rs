//! A database file, seen as of one of its headers.

use std::io::Write;

use crate::attachment::Attachment;
use crate::blocks::Blocks;
use crate::document::{Document, DocumentInfo, JsonOptions, LocalDocument, Purge};
use crate::header::{FindHeaders, Header, Purges};
use crate::json;
use crate::revision::{Leaf, Revision};
use crate::term::Terms;
use crate::tree::{Entries, Key, TreeState, Walk};
use crate::{Error, ReadAt};

/// A database file as of one header. Nothing is kept in memory but the header; the system's cache, or that of the
/// [`ReadAt`], keeps what is read often.
#[derive(Debug)]
pub struct Database<R> {
    reader: R,
    header: Header,
}

impl<R: ReadAt> Database<R> {
    /// Opens a file as CouchDB would: as of the newest header whose checksum is right.
    ///
    /// # Errors
    /// [`Error::NoHeader`] where there is none, [`Error::UnsupportedVersion`] where that header is of a newer CouchDB: an
    /// older one further up in the file is not used in its place.
    pub fn open(reader: R) -> Result<Self, Error> {
        let length = length(&reader)?;
        let found = FindHeaders::new(Blocks::new(&reader, length)).next()?;
        let found = found.ok_or(Error::NoHeader { blocks: length.div_ceil(crate::limits::BLOCK_BYTES) })?;
        let header = Header::decode(&found)?;
        Ok(Self { reader, header })
    }

    pub(crate) fn at(reader: R, header: Header) -> Self {
        Self { reader, header }
    }

    pub(crate) fn into_header(self) -> Header {
        self.header
    }

    /// The file as of another of its [`headers`]: what it held when that was written.
    ///
    /// [`headers`]: Database::headers
    pub fn as_of(self, header: Header) -> Self {
        Self { header, ..self }
    }

    /// The header through which the file is seen.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What the file is read from.
    pub fn reader(&self) -> &R {
        &self.reader
    }

    /// Documents in the order of their ids, deleted ones included. Each of the nodes that cannot be read is an error, after
    /// which the walk goes on.
    pub fn documents(&self) -> impl Iterator<Item = Result<DocumentInfo, Error>> + use<'_, R> {
        Entries::new(self.walk(&self.header.by_id, None), DocumentInfo::of_id_entry)
    }

    /// As [`Database::documents`], beginning with the first id that is not less than `id` in the order of bytes.
    pub fn documents_from(&self, id: &str) -> impl Iterator<Item = Result<DocumentInfo, Error>> + use<'_, R> {
        let from = Key::Bytes(id.as_bytes().to_vec());
        Entries::new(self.walk(&self.header.by_id, Some(from)), DocumentInfo::of_id_entry)
    }

    /// Documents in the order of their last updates, those after `since` only; 0 gives all.
    pub fn changes(&self, since: u64) -> impl Iterator<Item = Result<DocumentInfo, Error>> + use<'_, R> {
        let from = Key::Number(since.saturating_add(1));
        Entries::new(self.walk(&self.header.by_seq, Some(from)), DocumentInfo::of_seq_entry)
    }

    /// What the file knows of a document; `None` where it never had it.
    pub fn document(&self, id: &str) -> Result<Option<DocumentInfo>, Error> {
        let first = self.documents_from(id).next().transpose()?;
        Ok(first.filter(|found| found.id == id))
    }

    /// The content of a leaf; `None` where the file knows only its name.
    ///
    /// # Errors
    /// [`Error::Checksum`] and others that say that it is lost.
    pub fn read(&self, id: &str, leaf: Leaf<'_>) -> Result<Option<Document>, Error> {
        let Some(body) = leaf.body() else { return Ok(None) };
        let chunk = self.blocks().chunk(body.offset)?;
        Document::decode(id, leaf, chunk, body.offset).map(Some)
    }

    /// The winner as CouchDB gives it, and the names of the other leaves. `None` where the file knows only its name.
    pub fn json(&self, info: &DocumentInfo, options: JsonOptions) -> Result<Option<String>, Error> {
        let leaves = info.leaves();
        let Some((winner, others)) = leaves.split_first() else { return Ok(None) };
        let named = |deleted| -> Vec<&Revision> {
            others.iter().filter(|leaf| leaf.deleted() == deleted).map(|leaf| leaf.revision()).collect()
        };
        let document = self.read(&info.id, *winner)?;
        document.map(|document| document.to_json_with(options, &named(false), &named(true))).transpose()
    }

    /// Writes the content of an attachment of document `id`, decoded. Its MD5 is known at the end only: what was written
    /// before an error may be wrong.
    pub fn write_attachment(&self, id: &str, attachment: &Attachment, out: &mut dyn Write) -> Result<(), Error> {
        attachment.read_decoded(self.blocks(), id, out)
    }

    /// Writes an attachment as it is stored, which may be its gzip form.
    pub fn write_stored_attachment(&self, id: &str, attachment: &Attachment, out: &mut dyn Write) -> Result<(), Error> {
        attachment.read_stored(self.blocks(), id, |piece| out.write_all(piece).map_err(Error::Write))
    }

    /// Local documents in the order of their ids.
    pub fn local_documents(&self) -> impl Iterator<Item = Result<LocalDocument, Error>> + use<'_, R> {
        Entries::new(self.walk(&self.header.local, None), LocalDocument::of_entry)
    }

    /// A local document by its id, `_local/` included.
    pub fn local_document(&self, id: &str) -> Result<Option<LocalDocument>, Error> {
        let from = Key::Bytes(id.as_bytes().to_vec());
        let mut entries = Entries::new(self.walk(&self.header.local, Some(from)), LocalDocument::of_entry);
        Ok(entries.next().transpose()?.filter(|found| found.id == id))
    }

    /// What was purged, in the order of the purges; nothing for disk version 6, which remembers the last one only.
    pub fn purges(&self) -> impl Iterator<Item = Result<Purge, Error>> + use<'_, R> {
        let empty = TreeState { root: None };
        let state = match &self.header.purges {
            Purges::Trees { by_seq, .. } => by_seq,
            Purges::Last { .. } => &empty,
        };
        Entries::new(self.walk(state, None), Purge::of_seq_entry)
    }

    /// The number of the last purge.
    pub fn purge_seq(&self) -> Result<u64, Error> {
        match &self.header.purges {
            Purges::Last { seq, .. } => Ok(*seq),
            Purges::Trees { .. } => self.purges().try_fold(0, |last, purge| Ok(purge?.seq.max(last))),
        }
    }

    /// The security object as JSON. Neither it nor the tree of local documents is covered by a checksum.
    pub fn security(&self) -> Result<String, Error> {
        let Some(offset) = self.header.security else { return Ok("{}".to_owned()) };
        let terms = self.term_at(offset)?;
        let mut out = b"{".to_vec();
        json::write_members(&mut out, terms.root()).map_err(|what| Error::Malformed { offset, what })?;
        out.push(b'}');
        String::from_utf8(out).map_err(|_| Error::Malformed { offset, what: "text that is not UTF-8" })
    }

    /// Whether the database is partitioned: a document's shard is then decided by the part of its id before the colon.
    pub fn partitioned(&self) -> Result<bool, Error> {
        let Some(offset) = self.header.properties else { return Ok(false) };
        let terms = self.term_at(offset)?;
        let list = terms.root().list().ok_or(Error::Malformed { offset, what: "the properties are no list" })?;
        Ok(list
            .filter_map(|property| property.tuple_of())
            .any(|[name, value]| name.is_atom("partitioned") && value.is_atom("true")))
    }

    /// All headers whose checksum is right, the newest first. Those that cannot be used are errors: the caller may go on.
    pub fn headers(&self) -> impl Iterator<Item = Result<Header, Error>> + use<'_, R> {
        headers(&self.reader)
    }

    pub(crate) fn blocks(&self) -> Blocks<'_, R> {
        Blocks::new(&self.reader, self.header.place.offset)
    }

    pub(crate) fn term_at(&self, offset: u64) -> Result<Terms, Error> {
        Terms::of_chunk(self.blocks().chunk(offset)?, offset)
    }

    pub(crate) fn walk(&self, state: &TreeState, from: Option<Key>) -> Walk<'_, R> {
        Walk::new(self.blocks(), state, from)
    }
}

/// All headers of a database file whose checksum is right, the newest first, without opening it: also of one whose newest
/// header is of no use.
pub fn headers<R: ReadAt>(reader: &R) -> impl Iterator<Item = Result<Header, Error>> + use<'_, R> {
    let mut started = Some(length(reader));
    let mut find = None;
    let mut next = move || -> Result<Option<Header>, Error> {
        if let Some(length) = started.take() {
            find = Some(FindHeaders::new(Blocks::new(reader, length?)));
        }
        let Some(finder) = &mut find else { return Ok(None) };
        finder.next()?.map(|found| Header::decode(&found)).transpose()
    };
    std::iter::from_fn(move || next().transpose())
}

pub(crate) fn length<R: ReadAt + ?Sized>(reader: &R) -> Result<u64, Error> {
    reader.length().map_err(|error| Error::Io { offset: 0, length: 0, error })
}
