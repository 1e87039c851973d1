//! Plays a CouchDB that writes, for tests: documents, conflicts, deletions, attachments, local documents, purges, and a
//! header at each commit, appended to what is there. Trees are written anew at each commit, where CouchDB writes only
//! what changed of them; a reader cannot tell.
//!
//! What comes in is trusted, and everything is held in memory.

use std::collections::BTreeMap;
use std::io::Write;

use md5::{Digest as _, Md5};
use serde_json::Value;

use crate::attachment::{Attachment, Encoding};
use crate::document::{DocumentInfo, Purge};
use crate::header::{Epoch, HeaderPlace};
use crate::revision::{Revision, RevisionNode, RevisionTree, Sizes, StoredBody};
use crate::rewrite::{id_entry, seq_entry};
use crate::term::encode::Encoder;
use crate::writer::{Entry, Format, HeaderParts, Tally, Tree, TreeKind, Writer};
use crate::{Checksum, Error};

/// Bytes of a piece of an attachment.
const PIECE_BYTES: usize = 8192;

/// A database that is being written.
pub struct CouchWriter<W> {
    writer: Writer<W>,
    documents: BTreeMap<String, Known>,
    locals: BTreeMap<String, (u64, Vec<u8>)>,
    purges: Vec<Purge>,
    security: Option<u64>,
    properties: Option<u64>,
    update_seq: u64,
    uuid: String,
    epochs: Vec<Epoch>,
}

/// A document: its last update, and its revisions by name, each with its parent.
#[derive(Default)]
struct Known {
    seq: u64,
    revisions: BTreeMap<Revision, (Option<Revision>, Option<StoredBody>)>,
}

impl<W: Write> CouchWriter<W> {
    /// Starts a new file, as CouchDB does, with an empty header.
    pub fn create(out: W, format: Format, uuid: &str, node: &str) -> Result<Self, Error> {
        let mut created = Self {
            writer: Writer::new(out, 0, format),
            documents: BTreeMap::new(),
            locals: BTreeMap::new(),
            purges: Vec::new(),
            security: None,
            properties: None,
            update_seq: 0,
            uuid: uuid.to_owned(),
            epochs: vec![Epoch { node: node.to_owned(), seq: 0 }],
        };
        created.commit()?;
        created.set_security(&Value::Object(serde_json::Map::new()))?;
        Ok(created)
    }

    /// What is written to.
    pub fn get_mut(&mut self) -> &mut W {
        self.writer.get_mut()
    }

    /// Ends without a commit, as a crash would.
    pub fn into_inner(self) -> W {
        self.writer.into_inner()
    }

    /// Bytes of the file so far.
    pub fn position(&self) -> u64 {
        self.writer.position()
    }

    /// The number of the last update.
    pub fn update_seq(&self) -> u64 {
        self.update_seq
    }

    /// Writes a document or its next revision; `body` is an object without members that start with an underscore.
    pub fn put(&mut self, id: &str, body: &Value) -> Result<Revision, Error> {
        self.put_with(id, body, &[])
    }

    /// As [`CouchWriter::put`], with attachments that [`CouchWriter::attachment`] wrote. All of the revision's.
    pub fn put_with(&mut self, id: &str, body: &Value, attachments: &[Attachment]) -> Result<Revision, Error> {
        self.next_revision(id, body, attachments, false)
    }

    /// Deletes a document.
    pub fn delete(&mut self, id: &str) -> Result<Revision, Error> {
        self.next_revision(id, &Value::Object(serde_json::Map::new()), &[], true)
    }

    fn next_revision(
        &mut self,
        id: &str,
        body: &Value,
        attachments: &[Attachment],
        deleted: bool,
    ) -> Result<Revision, Error> {
        let tree = self.documents.get(id).map(Known::tree).unwrap_or_default();
        let mut history: Vec<_> = tree.winner().map_or(Vec::new(), |winner| winner.history().cloned().collect());
        let last = history.first();
        let seed = format!("{id} {deleted} {body} {}", last.map_or(String::new(), ToString::to_string));
        let revision = Revision {
            position: last.map_or(1, |last| last.position + 1),
            id: Checksum::Md5.of(seed.as_bytes()).to_vec(),
        };
        history.insert(0, revision.clone());
        self.put_history(id, &history, body, attachments, deleted)?;
        Ok(revision)
    }

    /// Writes a revision as a replication brings it: with its own history, the newest first. Where that branches off from
    /// what is known, a conflict arises.
    pub fn put_history(
        &mut self,
        id: &str,
        history: &[Revision],
        body: &Value,
        attachments: &[Attachment],
        deleted: bool,
    ) -> Result<(), Error> {
        self.update_seq += 1;
        let seq = self.update_seq;
        let encoded = encoded(body);
        let written = self.writer.body(&encoded, attachments)?;
        let lengths = attachments.iter().map(|attachment| attachment.length).sum::<u64>();
        let sizes = Sizes { active: 0, external: body.to_string().len() as u64 + lengths };
        let stored = StoredBody { deleted, offset: 0, seq, sizes: Some(sizes), attachments: None };
        let stored = stored.moved(&written, attachments);
        let known = self.documents.entry(id.to_owned()).or_default();
        known.seq = seq;
        for (index, revision) in history.iter().enumerate() {
            let parent = history.get(index + 1).cloned();
            let node = known.revisions.entry(revision.clone()).or_insert((parent.clone(), None));
            if node.0.is_none() {
                node.0 = parent;
            }
        }
        if let Some(node) = history.first().and_then(|revision| known.revisions.get_mut(revision)) {
            node.1 = Some(stored);
        }
        Ok(())
    }

    /// Writes the content of an attachment, for a revision that is put afterwards.
    pub fn attachment(
        &mut self,
        name: &str,
        content_type: &str,
        content: &[u8],
        revpos: u64,
        encoding: Encoding,
    ) -> Result<Attachment, Error> {
        let stored = match encoding {
            Encoding::Identity => content.to_vec(),
            Encoding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(content).and_then(|()| encoder.finish()).map_err(Error::Write)?
            }
        };
        let mut chunks = Vec::new();
        for piece in stored.chunks(PIECE_BYTES) {
            chunks.push((self.writer.chunk(piece, false)?.offset, Some(piece.len() as u64)));
        }
        Ok(Attachment {
            name: name.to_owned(),
            content_type: content_type.to_owned(),
            length: content.len() as u64,
            stored_length: stored.len() as u64,
            revpos,
            md5: Some(Md5::digest(&stored).into()),
            encoding,
            chunks,
        })
    }

    /// Writes a local document; `id` begins with `_local/`.
    pub fn put_local(&mut self, id: &str, body: &Value) {
        let entry = self.locals.entry(id.to_owned()).or_default();
        *entry = (entry.0 + 1, encoded(body));
    }

    /// Removes a document as if it had never been.
    pub fn purge(&mut self, id: &str) {
        let Some(known) = self.documents.remove(id) else { return };
        let revisions = known.tree().leaves().iter().map(|leaf| leaf.revision().clone()).collect();
        self.update_seq += 1;
        let seq = self.purges.len() as u64 + 1;
        let uuid = format!("{:032x}", u128::from_be_bytes(Checksum::Md5.of(format!("{id} {seq}").as_bytes())));
        self.purges.push(Purge { seq, uuid, id: id.to_owned(), revisions });
    }

    /// Says who may read and administer the database.
    pub fn set_security(&mut self, security: &Value) -> Result<(), Error> {
        let mut term = Encoder::term();
        // The list alone, without the tuple around it.
        let object = encoded(security);
        term.raw(object.get(2..).unwrap_or_default());
        self.security = Some(self.writer.term(term)?.offset);
        Ok(())
    }

    /// Makes the database a partitioned one.
    pub fn set_partitioned(&mut self) -> Result<(), Error> {
        let mut term = Encoder::term();
        term.list(1).tuple(2).atom("partitioned").atom("true").end_list();
        self.properties = Some(self.writer.term(term)?.offset);
        Ok(())
    }

    /// Writes the trees and a header: what was put counts from now on.
    pub fn commit(&mut self) -> Result<HeaderPlace, Error> {
        let mut infos: Vec<_> = self.documents.iter().map(|(id, known)| known.info(id)).collect();
        let by_id = self.writer.tree(TreeKind::Documents, infos.iter().map(|info| Ok(id_entry(info))))?;
        infos.sort_by_key(|info| info.seq);
        let by_seq = self.writer.tree(TreeKind::Counted, infos.iter().map(|info| Ok(seq_entry(info))))?;
        let locals = self.locals.iter().map(|(id, (revision, body))| Ok(local_entry(id, *revision, body)));
        let local = self.writer.tree(TreeKind::Plain, locals)?;
        let purges = self.purge_trees()?;
        let header = HeaderParts {
            elements: 16,
            disk_version: 8,
            update_seq: self.update_seq,
            by_id,
            by_seq,
            local,
            purges: purges.map(|tree| tree.encode()),
            security: self.security,
            revs_limit: 1000,
            uuid: Some(&self.uuid),
            epochs: &self.epochs,
            compacted_seq: 0,
            purge_infos_limit: 1000,
            properties: self.properties,
        };
        self.writer.header(header.encode())
    }

    fn purge_trees(&mut self) -> Result<[Tree; 2], Error> {
        let by_seq = self.purges.iter().map(|purge| {
            let (mut key, mut value) = (Encoder::default(), Encoder::default());
            key.unsigned(purge.seq);
            value.tuple(3).binary(purge.uuid.as_bytes());
            encode_purge(purge, &mut value);
            Ok(Entry { key: key.finish(), value: value.finish(), tally: Tally::one() })
        });
        let by_seq = self.writer.tree(TreeKind::Counted, by_seq)?;
        self.purges.sort_by(|one, other| one.uuid.cmp(&other.uuid));
        let by_uuid = self.purges.iter().map(|purge| {
            let (mut key, mut value) = (Encoder::default(), Encoder::default());
            key.binary(purge.uuid.as_bytes());
            value.tuple(3).unsigned(purge.seq);
            encode_purge(purge, &mut value);
            Ok(Entry { key: key.finish(), value: value.finish(), tally: Tally::one() })
        });
        let by_uuid = self.writer.tree(TreeKind::Counted, by_uuid)?;
        self.purges.sort_by_key(|purge| purge.seq);
        Ok([by_uuid, by_seq])
    }
}

impl Known {
    fn info(&self, id: &str) -> DocumentInfo {
        let revisions = self.tree();
        let deleted = revisions.leaves().iter().all(|leaf| leaf.deleted());
        let sizes =
            revisions.leaves().iter().filter_map(|leaf| leaf.body()?.sizes).fold(Sizes::default(), |sum, sizes| {
                Sizes { active: sum.active + sizes.active, external: sum.external + sizes.external }
            });
        DocumentInfo { id: id.to_owned(), seq: self.seq, deleted, sizes: Some(sizes), revisions, complete: true }
    }

    /// Each revision before those made from it, all of one branch before the next.
    fn tree(&self) -> RevisionTree {
        let mut below: BTreeMap<Option<&Revision>, Vec<&Revision>> = BTreeMap::new();
        for (revision, (parent, _)) in &self.revisions {
            below.entry(parent.as_ref()).or_default().push(revision);
        }
        let mut nodes = Vec::new();
        let mut pending: Vec<_> = below.get(&None).into_iter().flatten().map(|start| (*start, None)).collect();
        while let Some((revision, parent)) = pending.pop() {
            let index = nodes.len() as u32;
            let next = below.get(&Some(revision));
            let body = self.revisions.get(revision).and_then(|(_, body)| body.clone());
            nodes.push(RevisionNode { revision: revision.clone(), parent, leaf: next.is_none(), body });
            pending.extend(next.into_iter().flatten().map(|revision| (*revision, Some(index))));
        }
        RevisionTree::of_nodes(nodes)
    }
}

fn encode_purge(purge: &Purge, out: &mut Encoder) {
    out.binary(purge.id.as_bytes()).list(purge.revisions.len());
    for revision in &purge.revisions {
        out.tuple(2).unsigned(revision.position).binary(&revision.id);
    }
    out.end_list();
}

fn local_entry(id: &str, revision: u64, body: &[u8]) -> Entry {
    let (mut key, mut value) = (Encoder::default(), Encoder::default());
    key.binary(id.as_bytes());
    value.tuple(2).unsigned(revision).raw(body);
    Entry { key: key.finish(), value: value.finish(), tally: Tally::one() }
}

fn encoded(json: &Value) -> Vec<u8> {
    let mut out = Encoder::default();
    encode(json, &mut out);
    out.finish()
}

/// Recursion ends with the nesting that `serde_json` allows.
fn encode(json: &Value, out: &mut Encoder) {
    match json {
        Value::Null => out.atom("null"),
        Value::Bool(true) => out.atom("true"),
        Value::Bool(false) => out.atom("false"),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => out.integer(number.into()),
            (None, Some(number)) => out.unsigned(number),
            (None, None) => out.float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => out.binary(text.as_bytes()),
        Value::Array(items) => {
            out.list(items.len());
            items.iter().for_each(|item| encode(item, out));
            out.end_list()
        }
        Value::Object(members) => {
            out.tuple(1).list(members.len());
            for (name, value) in members {
                out.tuple(2).binary(name.as_bytes());
                encode(value, out);
            }
            out.end_list()
        }
    };
}
