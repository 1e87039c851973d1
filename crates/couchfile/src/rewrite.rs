//! Writes `_dbs.couch` and `_nodes.couch` anew, without CouchDB, so that a data folder can be started on other nodes. CouchDB
//! ties every shard to a node; under another name none of its databases could be opened.
//!
//! [`rename_in_shard_maps`] and [`rename_in_nodes`] give nodes other names, [`lay_out_shard_maps`] and [`lay_out_nodes`] give
//! the databases to other nodes, [`new_nodes`] makes a list of nodes where there is none, [`put_shard_maps`] brings back what a shard map no longer names.
//!
//! A new file is written, as a compaction would: every document with all its leaves, histories, update numbers and
//! revisions, local documents, purges and security object as they were, and only what has to be is changed. A
//! revision keeps its id though its content changes: all nodes of a cluster have to be given the same, then they
//! agree again.
//!
//! What was written is to be opened and checked ([`Database::check`]) before it takes the old file's place.

mod layout;
mod put;
mod rename;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

#[cfg(feature = "fuzzing")]
pub(crate) use layout::laid_out_body;
pub use layout::{lay_out_nodes, lay_out_shard_maps, new_nodes, spread};
pub use put::put_shard_maps;
#[cfg(feature = "fuzzing")]
pub(crate) use rename::renamed_body;
pub use rename::{NodeNames, rename_in_nodes, rename_in_shard_maps};

use crate::attachment::Attachment;
use crate::document::{Document, DocumentInfo};
use crate::header::{Epoch, HeaderPlace, Purges};
use crate::revision::{Revision, RevisionNode, RevisionTree, Sizes, StoredBody};
use crate::term::encode::Encoder;
use crate::term::{Compression, Term};
use crate::tree::{Entries, TreeState};
use crate::writer::{Entry, Format, HeaderParts, Tally, Tree, TreeKind, Writer};
use crate::{Checksum, Database, Error, Level, ReadAt};

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewritten {
    /// Ids of the documents that were changed, as they are now.
    pub changed: Vec<String>,
    /// All documents, deleted ones included.
    pub documents: u64,
    /// The header of the new file, with which it ends.
    pub place: HeaderPlace,
}

type NewId<'c> = dyn Fn(&DocumentInfo, &BTreeSet<String>) -> Result<Option<String>, Error> + 'c;
type NewBody<'c> = dyn Fn(&Document) -> Result<Option<Vec<u8>>, Error> + 'c;

/// What becomes of the documents of a database.
struct Changes<'c> {
    /// A document's id from now on, given those that are taken; `None` leaves it out, as if it had never been.
    id: &'c NewId<'c>,
    /// The encoded body of a leaf, where it is another one.
    body: &'c NewBody<'c>,
    /// Documents that get one more revision, or are new, with its encoded body.
    put: Vec<(String, Vec<u8>)>,
    /// The node that the file is made for, where it becomes a file of its own: it then gets its own uuid, so that no node
    /// takes what it knows of the old one for knowledge of this one.
    owner: Option<&'c str>,
    /// It becomes another database: but for its format and security object nothing of what was there stays.
    anew: bool,
}

impl Default for Changes<'_> {
    fn default() -> Self {
        Self {
            id: &|info, _| Ok(Some(info.id.clone())),
            body: &|_| Ok(None),
            put: Vec::new(),
            owner: None,
            anew: false,
        }
    }
}

/// Copies a database with changes. Shard maps are few and small: entries are held in memory until the trees are written.
fn rewrite<R: ReadAt, W: Write>(database: &Database<R>, out: W, changes: Changes<'_>) -> Result<Rewritten, Error> {
    // A file that lacks something must not become one that looks whole.
    if let Some(finding) = database.check(Level::Documents).findings.into_iter().next() {
        return Err(finding.error);
    }
    let header = database.header();
    let format = Format { checksum: header.place.checksum, compression: Compression::default() };
    let mut writer = Writer::new(out, 0, format);
    let security = copy_term(database, header.security, &mut writer)?;
    let properties = copy_term(database, header.properties, &mut writer)?;

    let mut changed = Vec::new();
    let mut infos = Vec::new();
    let mut taken = BTreeSet::new();
    for info in database.documents() {
        let info = info?;
        let Some(id) = (changes.id)(&info, &taken)? else { continue };
        let (copied, other_body) = copy_document(database, &info, &mut writer, changes.body)?;
        if other_body || id != info.id {
            changed.push(id.clone());
        }
        taken.insert(id.clone());
        infos.push(DocumentInfo { id, ..copied });
    }
    let (empty, anew) = (TreeState { root: None }, changes.anew);
    let mut update_seq = if anew { 0 } else { header.update_seq };
    for (id, body) in &changes.put {
        update_seq += 1;
        let known = infos.iter().position(|info| info.id == *id).map(|at| infos.swap_remove(at));
        infos.push(one_more_revision(known, id, body, update_seq, &mut writer)?);
        changed.push(id.clone());
    }

    let documents = infos.len() as u64;
    infos.sort_by(|one, other| one.id.cmp(&other.id));
    let by_id = writer.tree(TreeKind::Documents, infos.iter().map(|info| Ok(id_entry(info))))?;
    infos.sort_by_key(|info| info.seq);
    let by_seq = writer.tree(TreeKind::Counted, infos.iter().map(|info| Ok(seq_entry(info))))?;
    let kept = |tree| if anew { &empty } else { tree };
    let local = copy_tree(database, kept(&header.local), TreeKind::Plain, &mut writer)?;
    let purges = match &header.purges {
        Purges::Trees { by_uuid, by_seq } => [
            copy_tree(database, kept(by_uuid), TreeKind::Counted, &mut writer)?.encode(),
            copy_tree(database, kept(by_seq), TreeKind::Counted, &mut writer)?.encode(),
        ],
        Purges::Last { seq, list } => {
            let list = copy_term(database, list.filter(|_| !anew), &mut writer)?;
            let mut parts = [Encoder::default(), Encoder::default()];
            parts[0].unsigned(if anew { 0 } else { *seq });
            match list {
                Some(list) => parts[1].unsigned(list),
                None => parts[1].atom("nil"),
            };
            parts.map(Encoder::finish)
        }
    };
    let (mut uuid, mut epochs) = (header.uuid.clone(), header.epochs.clone());
    if let Some(owner) = changes.owner {
        let name = if anew { "another " } else { "" };
        uuid = uuid.map(|uuid| hex(&Checksum::Md5.of(format!("{name}{uuid} {owner}").as_bytes())));
        if anew {
            epochs = vec![Epoch { node: owner.to_owned(), seq: 0 }];
        }
        own(&mut epochs, owner, update_seq);
    }
    let parts = HeaderParts {
        elements: header.elements,
        disk_version: header.disk_version,
        update_seq,
        by_id,
        by_seq,
        local,
        purges,
        security,
        revs_limit: header.revs_limit,
        uuid: uuid.as_deref(),
        epochs: &epochs,
        compacted_seq: if anew { 0 } else { header.compacted_seq },
        purge_infos_limit: header.purge_infos_limit.unwrap_or_default(),
        properties,
    };
    let place = writer.header(parts.encode())?;
    Ok(Rewritten { changed, documents, place })
}

/// Makes `owner` the one that has owned the file since `seq`, as CouchDB does when it opens a file that another node wrote.
fn own(epochs: &mut Vec<Epoch>, owner: &str, seq: u64) {
    if epochs.first().is_some_and(|epoch| epoch.node == owner) {
        return;
    }
    // Who wrote nothing is not remembered.
    epochs.retain(|epoch| epoch.seq < seq);
    epochs.insert(0, Epoch { node: owner.to_owned(), seq });
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A document with a revision more on top of the one that CouchDB shows, be that a deletion; or a new one. Its id follows
/// from what it is made of, so that nodes on which the same is done agree.
fn one_more_revision<W: Write>(
    known: Option<DocumentInfo>,
    id: &str,
    body: &[u8],
    seq: u64,
    writer: &mut Writer<W>,
) -> Result<DocumentInfo, Error> {
    let before = known.as_ref().map(sum_of_sizes).unwrap_or_default();
    let mut info = known.unwrap_or_else(|| DocumentInfo {
        id: id.to_owned(),
        seq,
        deleted: false,
        sizes: Some(Sizes::default()),
        revisions: RevisionTree::default(),
        complete: true,
    });
    let last = info.revisions.winner().map(|winner| winner.revision().clone());
    let name = last.as_ref().map_or(String::new(), ToString::to_string);
    let digest = Checksum::Md5.of(&[id.as_bytes(), name.as_bytes(), body].concat());
    let position = last.as_ref().map_or(1, |last| last.position.saturating_add(1));
    let written = writer.body(body, &[])?;
    let sizes = Some(Sizes { active: 0, external: body.len() as u64 });
    let stored = StoredBody { deleted: false, offset: 0, seq, sizes, attachments: None }.moved(&written, &[]);
    let mut nodes = info.revisions.nodes().to_vec();
    let parent = nodes.iter().position(|node| Some(&node.revision) == last.as_ref());
    let at = parent.map_or(0, |parent| parent + 1);
    for node in &mut nodes {
        node.parent = node.parent.map(|above| if above as usize >= at { above + 1 } else { above });
    }
    if let Some(parent) = parent {
        // What it held is of an older revision now, which compactions leave behind.
        nodes[parent].leaf = false;
        nodes[parent].body = None;
    }
    let revision = Revision { position, id: digest.to_vec() };
    nodes.insert(
        at,
        RevisionNode { revision, parent: parent.map(|parent| parent as u32), leaf: true, body: Some(stored) },
    );
    info.revisions = RevisionTree::of_nodes(nodes);
    info.seq = seq;
    info.deleted = false;
    resize(&mut info, before);
    Ok(info)
}

/// Puts a document's sizes right, whose leaves had those of `before`.
fn resize(info: &mut DocumentInfo, before: Sizes) {
    let after = sum_of_sizes(info);
    if let Some(sizes) = &mut info.sizes {
        sizes.active = sizes.active.saturating_add(after.active).saturating_sub(before.active);
        sizes.external = sizes.external.saturating_add(after.external).saturating_sub(before.external);
    }
}

/// Copies what a document's leaves hold. What only older revisions hold is left behind, as compactions do.
fn copy_document<R: ReadAt, W: Write>(
    database: &Database<R>,
    info: &DocumentInfo,
    writer: &mut Writer<W>,
    change: impl Fn(&Document) -> Result<Option<Vec<u8>>, Error>,
) -> Result<(DocumentInfo, bool), Error> {
    let mut copied = info.clone();
    let mut changed = false;
    for node in copied.revisions.nodes_mut().iter_mut().filter(|node| !node.leaf) {
        node.body = None;
    }
    let mut bodies = BTreeMap::new();
    for leaf in info.leaves() {
        let (Some(body), Some(document)) = (leaf.body(), database.read(&info.id, leaf)?) else { continue };
        let attachments = copy_attachments(database, &document, writer)?;
        let other = change(&document)?;
        changed |= other.is_some();
        let encoded = other.as_deref().unwrap_or(document.body.root().raw());
        let written = writer.body(encoded, &attachments)?;
        let mut moved = body.moved(&written, &attachments);
        if let (Some(sizes), Some(other)) = (&mut moved.sizes, &other) {
            let (before, after) = (document.body.root().raw().len() as u64, other.len() as u64);
            // A name takes as much more room in JSON as it does here.
            sizes.external = sizes.external.saturating_add(after).saturating_sub(before);
        }
        bodies.insert(leaf.revision().clone(), moved);
    }
    let before = sum_of_sizes(info);
    for node in copied.revisions.nodes_mut().iter_mut().filter(|node| node.leaf) {
        if let Some(moved) = bodies.remove(&node.revision) {
            node.body = Some(moved);
        }
    }
    resize(&mut copied, before);
    Ok((copied, changed))
}

fn sum_of_sizes(info: &DocumentInfo) -> Sizes {
    info.leaves().iter().filter_map(|leaf| leaf.body()?.sizes).fold(Sizes::default(), |sum, sizes| Sizes {
        active: sum.active.saturating_add(sizes.active),
        external: sum.external.saturating_add(sizes.external),
    })
}

fn copy_attachments<R: ReadAt, W: Write>(
    database: &Database<R>,
    document: &Document,
    writer: &mut Writer<W>,
) -> Result<Vec<Attachment>, Error> {
    let mut copied = Vec::new();
    for attachment in &document.attachments {
        let mut chunks = Vec::new();
        attachment.read_stored(database.blocks(), &document.id, |piece| {
            chunks.push((writer.chunk(piece, false)?.offset, Some(piece.len() as u64)));
            Ok(())
        })?;
        copied.push(Attachment { chunks, ..attachment.clone() });
    }
    Ok(copied)
}

/// The id entry of a document: Id → `{Seq, Deleted, Sizes, Tree}`
pub(crate) fn id_entry(info: &DocumentInfo) -> Entry {
    let (mut key, mut value) = (Encoder::default(), Encoder::default());
    key.binary(info.id.as_bytes());
    value.tuple(4).unsigned(info.seq);
    encode_rest(info, &mut value);
    Entry { key: key.finish(), value: value.finish(), tally: Tally::of_document(info) }
}

/// Seq → `{Id, Deleted, Sizes, Tree}`
pub(crate) fn seq_entry(info: &DocumentInfo) -> Entry {
    let (mut key, mut value) = (Encoder::default(), Encoder::default());
    key.unsigned(info.seq);
    value.tuple(4).binary(info.id.as_bytes());
    encode_rest(info, &mut value);
    Entry { key: key.finish(), value: value.finish(), tally: Tally::one() }
}

fn encode_rest(info: &DocumentInfo, value: &mut Encoder) {
    let Sizes { active, external } = info.sizes.unwrap_or_default();
    value.unsigned(info.deleted.into()).tuple(2).unsigned(active).unsigned(external);
    info.revisions.encode(value);
}

fn copy_tree<R: ReadAt, W: Write>(
    database: &Database<R>,
    state: &TreeState,
    kind: TreeKind,
    writer: &mut Writer<W>,
) -> Result<Tree, Error> {
    let copy = |key: Term<'_>, value: Term<'_>, _| {
        Ok(Entry { key: key.raw().to_vec(), value: value.raw().to_vec(), tally: Tally::one() })
    };
    writer.tree(kind, Entries::new(database.walk(state, None), copy))
}

fn copy_term<R: ReadAt, W: Write>(
    database: &Database<R>,
    offset: Option<u64>,
    writer: &mut Writer<W>,
) -> Result<Option<u64>, Error> {
    let Some(offset) = offset else { return Ok(None) };
    let terms = database.term_at(offset)?;
    let mut copy = Encoder::term();
    copy.raw(terms.root().raw());
    Ok(Some(writer.term(copy)?.offset))
}

/// Writes a value as it is. An item of a run of bytes is a number without its tag.
fn same(out: &mut Encoder, term: Term<'_>) {
    match term.int() {
        Some(number) => out.integer(number.into()),
        None => out.raw(term.raw()),
    };
}
