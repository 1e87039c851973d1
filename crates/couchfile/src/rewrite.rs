//! Gives nodes new names in `_dbs.couch` and `_nodes.couch`, without CouchDB, so that a data folder can be started on a host
//! of another name. CouchDB ties every shard to a node; under another name none of its databases could be opened.
//!
//! A new file is written, as a compaction would: every document with all its leaves, histories, update numbers and
//! revisions, local documents, purges, security object, uuid and owners as they were, and only the names changed. A
//! revision keeps its id though its content changes: all nodes of a cluster have to be given the same names, then they
//! agree again.
//!
//! What was written is to be opened and checked ([`Database::check`]) before it takes the old file's place.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use crate::attachment::Attachment;
use crate::document::{Document, DocumentInfo};
use crate::header::{HeaderPlace, Purges};
use crate::json;
use crate::revision::Sizes;
use crate::term::encode::Encoder;
use crate::term::{Compression, Term};
use crate::tree::{Entries, TreeState};
use crate::writer::{Entry, Format, HeaderParts, Tally, Tree, TreeKind, Writer};
use crate::{Database, Error, Level, ReadAt};

/// New names of nodes by their old ones. Names that are not in it stay.
pub type NodeNames = BTreeMap<String, String>;

/// What a renaming did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renamed {
    /// Ids of the documents that were changed, as they are now.
    pub changed: Vec<String>,
    /// All documents, deleted ones included.
    pub documents: u64,
    /// The header of the new file, with which it ends.
    pub place: HeaderPlace,
}

/// Writes `_dbs.couch` anew to `out`, with new names in every shard map: in `by_node`, `by_range` and `changelog`.
///
/// # Errors
/// [`Error::Rename`] where two nodes would have the same name; what is damaged in `database`; what `out` says. Then
/// what was written is of no use.
pub fn rename_in_shard_maps<R: ReadAt, W: Write>(
    database: &Database<R>,
    names: &NodeNames,
    out: W,
) -> Result<Renamed, Error> {
    check_names(names)?;
    rewrite(database, out, |info, _| Ok(info.id.clone()), |document| renamed_body(document, names))
}

/// Writes `_nodes.couch` anew to `out`. Each of its documents is a node; its id is the node's name.
///
/// # Errors
/// As [`rename_in_shard_maps`].
pub fn rename_in_nodes<R: ReadAt, W: Write>(
    database: &Database<R>,
    names: &NodeNames,
    out: W,
) -> Result<Renamed, Error> {
    check_names(names)?;
    let name = |info: &DocumentInfo, taken: &BTreeSet<String>| {
        let name = names.get(&info.id).unwrap_or(&info.id);
        if taken.contains(name) {
            return Err(Error::Rename(format!("there would be two nodes {name}")));
        }
        Ok(name.clone())
    };
    rewrite(database, out, name, |_| Ok(None))
}

fn check_names(names: &NodeNames) -> Result<(), Error> {
    match names.values().find(|name| !name.contains('@') || name.len() > usize::from(u8::MAX)) {
        Some(name) => Err(Error::Rename(format!("{name:?} is no name of a node, which is NAME@HOST"))),
        None => Ok(()),
    }
}

/// Copies a database. `rename` gives a document's new id, `change` an encoded body where it is a new one. Shard maps are
/// few and small: entries are held in memory until the trees are written.
fn rewrite<R: ReadAt, W: Write>(
    database: &Database<R>,
    out: W,
    rename: impl Fn(&DocumentInfo, &BTreeSet<String>) -> Result<String, Error>,
    change: impl Fn(&Document) -> Result<Option<Vec<u8>>, Error>,
) -> Result<Renamed, Error> {
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
        let id = rename(&info, &taken)?;
        let (copied, other_body) = copy_document(database, &info, &mut writer, &change)?;
        if other_body || id != info.id {
            changed.push(id.clone());
        }
        taken.insert(id.clone());
        infos.push(DocumentInfo { id, ..copied });
    }

    let documents = infos.len() as u64;
    infos.sort_by(|one, other| one.id.cmp(&other.id));
    let by_id = writer.tree(TreeKind::Documents, infos.iter().map(|info| Ok(id_entry(info))))?;
    infos.sort_by_key(|info| info.seq);
    let by_seq = writer.tree(TreeKind::Counted, infos.iter().map(|info| Ok(seq_entry(info))))?;
    let local = copy_tree(database, &header.local, TreeKind::Plain, &mut writer)?;
    let purges = match &header.purges {
        Purges::Trees { by_uuid, by_seq } => [
            copy_tree(database, by_uuid, TreeKind::Counted, &mut writer)?.encode(),
            copy_tree(database, by_seq, TreeKind::Counted, &mut writer)?.encode(),
        ],
        Purges::Last { seq, list } => {
            let list = copy_term(database, *list, &mut writer)?;
            let mut parts = [Encoder::default(), Encoder::default()];
            parts[0].unsigned(*seq);
            match list {
                Some(list) => parts[1].unsigned(list),
                None => parts[1].atom("nil"),
            };
            parts.map(Encoder::finish)
        }
    };
    let parts = HeaderParts {
        elements: header.elements,
        disk_version: header.disk_version,
        update_seq: header.update_seq,
        by_id,
        by_seq,
        local,
        purges,
        security,
        revs_limit: header.revs_limit,
        uuid: header.uuid.as_deref(),
        epochs: &header.epochs,
        compacted_seq: header.compacted_seq,
        purge_infos_limit: header.purge_infos_limit.unwrap_or_default(),
        properties,
    };
    let place = writer.header(parts.encode())?;
    Ok(Renamed { changed, documents, place })
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
    let after = sum_of_sizes(&copied);
    if let Some(sizes) = &mut copied.sizes {
        sizes.active = sizes.active.saturating_add(after.active).saturating_sub(before.active);
        sizes.external = sizes.external.saturating_add(after.external).saturating_sub(before.external);
    }
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

/// The body of a shard map with other names; `None` where none of the old ones is in it.
pub(crate) fn renamed_body(document: &Document, names: &NodeNames) -> Result<Option<Vec<u8>>, Error> {
    let wrong = |what| Error::Malformed { offset: document.offset, what };
    let root = document.body.root();
    let members = json::members(root).ok_or(wrong("the body of a document is no object"))?;
    let mut rename = Rename { names, out: Encoder::default(), changed: false };
    rename.out.tuple(1).list(members.len());
    for member in members {
        let [key, value] = member.tuple_of().ok_or(wrong("a member of an object is no pair"))?;
        rename.out.tuple(2).raw(key.raw());
        match key.binary() {
            Some(b"by_node") => rename.names_of_members(value).ok_or(wrong("by_node of a shard map"))?,
            Some(b"by_range") => rename.lists_in_members(value).ok_or(wrong("by_range of a shard map"))?,
            Some(b"changelog") => rename.lists_in_list(value).ok_or(wrong("the changelog of a shard map"))?,
            _ => rename.same(value),
        }
    }
    rename.out.end_list();
    if !rename.changed {
        return Ok(None);
    }
    let body = rename.out.finish();
    no_name_twice(&body, document)?;
    Ok(Some(body))
}

/// Writes parts of a shard map with other names.
struct Rename<'n> {
    names: &'n NodeNames,
    out: Encoder,
    changed: bool,
}

impl Rename<'_> {
    /// `{[{Node, Ranges}, …]}`
    fn names_of_members(&mut self, object: Term<'_>) -> Option<()> {
        let members = json::members(object)?;
        self.out.tuple(1).list(members.len());
        for member in members {
            let [node, ranges] = member.tuple_of()?;
            self.out.tuple(2);
            self.text(node)?;
            self.out.raw(ranges.raw());
        }
        self.out.end_list();
        Some(())
    }

    /// `{[{Range, [Node, …]}, …]}`
    fn lists_in_members(&mut self, object: Term<'_>) -> Option<()> {
        let members = json::members(object)?;
        self.out.tuple(1).list(members.len());
        for member in members {
            let [range, nodes] = member.tuple_of()?;
            self.out.tuple(2).raw(range.raw());
            self.list(nodes)?;
        }
        self.out.end_list();
        Some(())
    }

    /// `[[Operation, Range, Node], …]`, with more in between where shards were split.
    fn lists_in_list(&mut self, list: Term<'_>) -> Option<()> {
        let lists = list.list()?;
        self.out.list(lists.len());
        for list in lists {
            self.list(list)?;
        }
        self.out.end_list();
        Some(())
    }

    fn list(&mut self, list: Term<'_>) -> Option<()> {
        let items = list.list()?;
        self.out.list(items.len());
        for item in items {
            match item.binary() {
                Some(_) => self.text(item)?,
                None => self.same(item),
            }
        }
        self.out.end_list();
        Some(())
    }

    /// What has no names in it. An item of a run of bytes is a number without its tag.
    fn same(&mut self, term: Term<'_>) {
        match term.int() {
            Some(number) => self.out.integer(number.into()),
            None => self.out.raw(term.raw()),
        };
    }

    fn text(&mut self, text: Term<'_>) -> Option<()> {
        match self.names.get(text.text()?) {
            None => self.same(text),
            Some(name) => {
                self.changed |= text.text() != Some(name);
                self.out.binary(name.as_bytes());
            }
        }
        Some(())
    }
}

fn no_name_twice(body: &[u8], document: &Document) -> Result<(), Error> {
    let terms = crate::term::Terms::of_raw(body, document.offset)?;
    let renamed = Document { body: terms, ..document.clone() };
    let Some(map) = crate::ShardMap::of_document(&renamed)? else { return Ok(()) };
    let mut nodes = BTreeSet::new();
    let twice = map.by_node.iter().find(|(node, _)| !nodes.insert(node)).map(|(node, _)| node);
    let in_range = map.by_range.iter().find_map(|(_, nodes)| {
        let mut seen = BTreeSet::new();
        nodes.iter().find(|node| !seen.insert(*node))
    });
    match twice.or(in_range) {
        None => Ok(()),
        Some(node) => {
            let database = &document.id;
            Err(Error::Rename(format!("in the shard map of {database:?}, two nodes would have the name {node}")))
        }
    }
}
