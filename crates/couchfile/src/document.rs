//! Documents: what the trees say of one, and one revision's content. The bodies are what CouchDB's checksums cover; the
//! trees that lead to them are covered by nothing, so a check holds the two trees against each other.

use crate::attachment::Attachment;
use crate::blocks::Chunk;
use crate::json;
use crate::revision::{Leaf, Line, Revision, RevisionNode, RevisionTree, Sizes, StoredBody, flag};
use crate::term::{Term, Terms};
use crate::{Checksum, Error};

/// What a tree says of a document: all of it but the contents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentInfo {
    /// Its id.
    pub id: String,
    /// Its last update.
    pub seq: u64,
    /// Whether all its leaves are deletions.
    pub deleted: bool,
    /// Sizes of all its leaves, where the file has them.
    pub sizes: Option<Sizes>,
    /// Its revisions.
    pub revisions: RevisionTree,
    /// Whether those are all that the file knows. Before CouchDB 2.0, the tree by update had leaves only, and such entries
    /// stay until the next compaction; the tree by id has everything.
    pub complete: bool,
}

impl DocumentInfo {
    /// Id → `{Seq, Deleted, Sizes, Tree}`, before 1.2 without the sizes.
    pub(crate) fn of_id_entry(key: Term<'_>, value: Term<'_>, offset: u64) -> Result<Self, Error> {
        let wrong = Error::Tree { offset, what: "the entry of a document has an unknown form" };
        let (Some(id), Some(parts)) = (key.text(), Parts::decode(value)) else { return Err(wrong) };
        let Some(seq) = parts.first.unsigned() else { return Err(wrong) };
        Self::of_parts(id, seq, &parts, offset)
    }

    /// Seq → `{Id, Deleted, Sizes, Tree}`
    pub(crate) fn of_seq_entry(key: Term<'_>, value: Term<'_>, offset: u64) -> Result<Self, Error> {
        let wrong = Error::Tree { offset, what: "the entry of an update has an unknown form" };
        if let (Some(seq), Some([id, alive, deleted])) = (key.unsigned(), value.tuple_of())
            && alive.list().is_some()
        {
            return Self::of_old_seq_entry(seq, id, alive, deleted).ok_or(wrong);
        }
        let (Some(seq), Some(parts)) = (key.unsigned(), Parts::decode(value)) else { return Err(wrong) };
        let Some(id) = parts.first.text() else { return Err(wrong) };
        Self::of_parts(id, seq, &parts, offset)
    }

    fn of_parts(id: &str, seq: u64, parts: &Parts<'_>, offset: u64) -> Result<Self, Error> {
        let deleted =
            flag(parts.deleted).ok_or(Error::Tree { offset, what: "a document is neither deleted nor not" })?;
        let sizes = parts.sizes.and_then(Sizes::decode);
        let revisions = RevisionTree::decode(parts.tree, offset)?;
        Ok(Self { id: id.to_owned(), seq, deleted, sizes, revisions, complete: true })
    }

    /// Seq → `{Id, [{Revision, Seq, Offset}, …], [the same for deletions]}`
    fn of_old_seq_entry(seq: u64, id: Term<'_>, alive: Term<'_>, deleted: Term<'_>) -> Option<Self> {
        let mut nodes = Vec::new();
        for (deleted, list) in [(false, alive), (true, deleted)] {
            for leaf in list.list()? {
                let [revision, seq, offset] = leaf.tuple_of()?;
                let (offset, seq) = (offset.unsigned()?, seq.unsigned()?);
                let body = StoredBody { deleted, offset, seq, sizes: None, attachments: None };
                let revision = Revision::decode(revision)?;
                nodes.push(RevisionNode { revision, parent: None, leaf: true, body: Some(body) });
            }
        }
        let deleted = nodes.iter().all(|node| node.body.as_ref().is_some_and(|body| body.deleted));
        let revisions = RevisionTree::of_nodes(nodes);
        Some(Self { id: id.text()?.to_owned(), seq, deleted, sizes: None, revisions, complete: false })
    }

    /// The leaves, the winner first.
    pub fn leaves(&self) -> Vec<Leaf<'_>> {
        self.revisions.leaves()
    }
}

struct Parts<'t> {
    first: Term<'t>,
    deleted: Term<'t>,
    sizes: Option<Term<'t>>,
    tree: Term<'t>,
}

impl<'t> Parts<'t> {
    fn decode(value: Term<'t>) -> Option<Self> {
        if let Some([first, deleted, sizes, tree]) = value.tuple_of() {
            return Some(Self { first, deleted, sizes: Some(sizes), tree });
        }
        let [first, deleted, tree] = value.tuple_of()?;
        Some(Self { first, deleted, sizes: None, tree })
    }
}

/// One revision of a document with its content, attachments as descriptions.
#[derive(Debug, Clone)]
pub struct Document {
    /// The document's id.
    pub id: String,
    /// This revision.
    pub revision: Revision,
    /// Whether it deletes the document.
    pub deleted: bool,
    /// Its attachments.
    pub attachments: Vec<Attachment>,
    /// The checksum that was right; `None` in files so old that they have none here.
    pub checksum: Option<Checksum>,
    /// Where in the file the content lies.
    pub offset: u64,
    /// Bytes of the file that it takes, attachments not counted.
    pub stored_length: u64,
    pub(crate) line: Line,
    pub(crate) body: Terms,
}

/// What [`Document::to_json`] adds to the members a client gets without asking for more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JsonOptions {
    /// `_revisions`: the history, as `?revs=true` gives it.
    pub revisions: bool,
    /// How attachments are stored, as `?att_encoding_info=true` tells.
    pub encodings: bool,
}

impl Document {
    /// `{Body, Attachments}`, each of them usually compressed on its own.
    pub(crate) fn decode(id: &str, leaf: Leaf<'_>, chunk: Chunk, offset: u64) -> Result<Self, Error> {
        let (checksum, stored_length) = (chunk.checksum, chunk.end - offset);
        let summary = Terms::of_chunk(chunk, offset)?;
        let wrong = |what| Error::Malformed { offset, what };
        let [body, attachments] = summary.root().tuple_of().ok_or(wrong("a document is no pair"))?;
        let body = part(body, offset)?;
        json::members(body.root()).ok_or(wrong("the body of a document is no object"))?;
        let stored = part(attachments, offset)?;
        let list = stored.root().list().ok_or(wrong("the attachments of a document are no list"))?;
        Ok(Self {
            id: id.to_owned(),
            revision: leaf.revision().clone(),
            deleted: leaf.deleted(),
            attachments: list.map(|term| Attachment::decode(term, offset)).collect::<Result<_, _>>()?,
            checksum,
            offset,
            stored_length,
            line: leaf.line(),
            body,
        })
    }

    /// This revision and those it came from, as far as the file remembers, the newest first.
    pub fn history(&self) -> impl Iterator<Item = &Revision> {
        self.line.history()
    }

    /// The document as CouchDB gives it, attachments as stubs.
    pub fn to_json(&self, options: JsonOptions) -> Result<String, Error> {
        self.to_json_with(options, &[], &[])
    }

    /// With the names of other leaves, as `?conflicts=true&deleted_conflicts=true` gives them.
    pub(crate) fn to_json_with(
        &self,
        options: JsonOptions,
        conflicts: &[&Revision],
        deleted_conflicts: &[&Revision],
    ) -> Result<String, Error> {
        let mut out = b"{".to_vec();
        json::write_name(&mut out, "_id");
        json::write_string(&mut out, &self.id);
        json::write_name(&mut out, "_rev");
        json::write_string(&mut out, &self.revision.to_string());
        self.write_body(&mut out)?;
        if self.deleted {
            json::write_name(&mut out, "_deleted");
            out.extend(b"true");
        }
        if options.revisions {
            json::write_name(&mut out, "_revisions");
            out.extend(format!("{{\"start\":{},\"ids\":", self.revision.position).bytes());
            write_strings(&mut out, self.history().map(Revision::id_text));
            out.push(b'}');
        }
        for (name, revisions) in [("_conflicts", conflicts), ("_deleted_conflicts", deleted_conflicts)] {
            if !revisions.is_empty() {
                json::write_name(&mut out, name);
                write_strings(&mut out, revisions.iter().map(ToString::to_string));
            }
        }
        if !self.attachments.is_empty() {
            json::write_name(&mut out, "_attachments");
            out.push(b'{');
            for attachment in &self.attachments {
                attachment.write_stub(&mut out, options.encodings);
            }
            out.push(b'}');
        }
        out.push(b'}');
        self.text(out)
    }

    /// The members that the application stored, without any that begin with an underscore.
    pub fn body_json(&self) -> Result<String, Error> {
        let mut out = b"{".to_vec();
        self.write_body(&mut out)?;
        out.push(b'}');
        self.text(out)
    }

    fn write_body(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        json::write_members(out, self.body.root()).map_err(|what| Error::Malformed { offset: self.offset, what })
    }

    fn text(&self, out: Vec<u8>) -> Result<String, Error> {
        String::from_utf8(out).map_err(|_| Error::Malformed { offset: self.offset, what: "text that is not UTF-8" })
    }
}

/// A local document: one that is never replicated, has no history and no checksum, and lies in the tree itself.
#[derive(Debug, Clone)]
pub struct LocalDocument {
    /// Its id, which begins with `_local/`.
    pub id: String,
    /// How often it was written.
    pub revision: u64,
    /// Where in the file the tree node lies.
    pub offset: u64,
    pub(crate) body: Terms,
}

impl LocalDocument {
    /// Id → `{Revision, Body}`
    pub(crate) fn of_entry(key: Term<'_>, value: Term<'_>, offset: u64) -> Result<Self, Error> {
        let wrong = Error::Tree { offset, what: "the entry of a local document has an unknown form" };
        let (Some(id), Some([revision, body])) = (key.text(), value.tuple_of()) else { return Err(wrong) };
        let number = revision.unsigned().or_else(|| revision.text()?.parse().ok());
        let Some(revision) = number else { return Err(wrong) };
        let body = part(body, offset)?;
        json::members(body.root()).ok_or(wrong)?;
        Ok(Self { id: id.to_owned(), revision, offset, body })
    }

    /// The document as CouchDB gives it.
    pub fn to_json(&self) -> Result<String, Error> {
        let mut out = b"{".to_vec();
        json::write_name(&mut out, "_id");
        json::write_string(&mut out, &self.id);
        json::write_name(&mut out, "_rev");
        json::write_string(&mut out, &format!("0-{}", self.revision));
        let malformed = |what| Error::Malformed { offset: self.offset, what };
        json::write_members(&mut out, self.body.root()).map_err(malformed)?;
        out.push(b'}');
        String::from_utf8(out).map_err(|_| malformed("text that is not UTF-8"))
    }
}

/// Something that was purged: removed so that not even its deletion is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    /// Its number.
    pub seq: u64,
    /// Its id.
    pub uuid: String,
    /// The document.
    pub id: String,
    /// The revisions that were purged.
    pub revisions: Vec<Revision>,
}

impl Purge {
    /// Seq → `{Uuid, Id, Revisions}`
    pub(crate) fn of_seq_entry(key: Term<'_>, value: Term<'_>, offset: u64) -> Result<Self, Error> {
        let found = value.tuple_of().and_then(|[uuid, id, revisions]| Self::of_parts(key, uuid, id, revisions));
        found.ok_or(Error::Tree { offset, what: "the entry of a purge has an unknown form" })
    }

    /// Uuid → `{Seq, Id, Revisions}`
    pub(crate) fn of_uuid_entry(key: Term<'_>, value: Term<'_>, offset: u64) -> Result<Self, Error> {
        let found = value.tuple_of().and_then(|[seq, id, revisions]| Self::of_parts(seq, key, id, revisions));
        found.ok_or(Error::Tree { offset, what: "the entry of a purge has an unknown form" })
    }

    fn of_parts(seq: Term<'_>, uuid: Term<'_>, id: Term<'_>, revisions: Term<'_>) -> Option<Self> {
        Some(Self {
            seq: seq.unsigned()?,
            uuid: uuid.text()?.to_owned(),
            id: id.text()?.to_owned(),
            revisions: revisions.list()?.map(Revision::decode).collect::<Option<_>>()?,
        })
    }
}

/// A part of a document: compressed on its own since 1.2, before that just there.
fn part(term: Term<'_>, offset: u64) -> Result<Terms, Error> {
    match term.binary() {
        Some(stored) => Terms::of_stored(stored.to_vec(), offset),
        None => Terms::of_raw(term.raw(), offset),
    }
}

fn write_strings(out: &mut Vec<u8>, texts: impl Iterator<Item = String>) {
    out.push(b'[');
    for text in texts {
        json::separate(out, b'[');
        json::write_string(out, &text);
    }
    out.push(b']');
}
