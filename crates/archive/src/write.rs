//! Writes one source of a snapshot as an archive: out of a repository, as a stream, in the order of its tree.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use repository::format::pack::BlobKind;
use repository::restore::LinkKey;
use repository::storage::archives::ArchiveSink;
use repository::walk::{self, Go, Step};
use repository::{Event, Id, Index, Node, NodeKind, Repository, RunCx};
use sha2::{Digest as _, Sha256};

use crate::error::of_stream;
use crate::key::Recipients;
use crate::{Error, member};

/// zstd's own preset: stronger levels cost much time and gain little.
const LEVEL: i32 = 3;

/// What becomes an archive.
pub struct Job<'a> {
    /// Where it comes from.
    pub repository: &'a Repository,
    /// What is in there.
    pub index: &'a Index,
    /// The snapshot's root.
    pub tree: &'a Id,
    /// A file of the root to put before the source: the manifest.
    pub preface: &'a str,
    /// The source: a folder of the root.
    pub source: &'a str,
}

/// An archive that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its size.
    pub bytes: u64,
    /// The SHA-256 of what is stored.
    pub sha256: [u8; 32],
}

/// Writes the archive. Nothing of it is seen before the caller finishes `sink`, which is right after this has succeeded.
/// Whatever is damaged in the repository is an error: an archive is whole, or is not.
pub fn write(
    cx: &RunCx<'_>,
    job: &Job<'_>,
    recipients: &Recipients,
    sink: &mut ArchiveSink<'_>,
) -> Result<Written, Error> {
    let encrypted = recipients.encrypt(Hashed { inner: sink, hash: Sha256::new(), bytes: 0 })?;
    let mut compressed = zstd::Encoder::new(encrypted, LEVEL).map_err(written)?;
    compressed.include_checksum(true).map_err(written)?;
    let mut writer = Writer { cx, job, tar: tar::Builder::new(compressed), links: HashMap::new() };
    writer.root_member(job.preface)?;
    writer.root_member(job.source)?;
    let compressed = writer.tar.into_inner().map_err(written)?;
    let encrypted = compressed.finish().map_err(written)?;
    let Hashed { bytes, hash, .. } = encrypted.finish().map_err(written)?;
    Ok(Written { bytes, sha256: hash.finalize().into() })
}

/// Hashes and counts what goes through.
struct Hashed<W> {
    inner: W,
    hash: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

struct Writer<'a, W: Write> {
    cx: &'a RunCx<'a>,
    job: &'a Job<'a>,
    tar: tar::Builder<W>,
    /// The first name of each file that has several.
    links: HashMap<LinkKey, PathBuf>,
}

impl<W: Write> Writer<'_, W> {
    fn root_member(&mut self, name: &str) -> Result<(), Error> {
        let (repository, index) = (self.job.repository, self.job.index);
        let Some(node) = walk::find(repository, index, self.job.tree, Path::new(name))? else {
            return Err(repository::Error::NotFound(format!("{name} is not in the snapshot")).into());
        };
        let root = Path::new(name);
        self.member(root, &node)?;
        let Some(subtree) = node.subtree else { return Ok(()) };
        let mut failed = None;
        let cx = self.cx;
        walk::walk(cx, repository, index, &subtree, &mut |step| {
            if let Step::Reach(path, node) = step
                && failed.is_none()
            {
                failed = self.member(&root.join(path), node).err();
            }
            Ok(if failed.is_none() { Go::In } else { Go::Past })
        })?;
        failed.map_or(Ok(()), Err)
    }

    fn member(&mut self, path: &Path, node: &Node) -> Result<(), Error> {
        self.cx.cancel.check()?;
        if matches!(node.kind, NodeKind::Socket | NodeKind::Unknown) {
            let what = format!("{} is a {}, which an archive cannot hold", path.display(), node.kind.name());
            self.cx.events.emit(Event::Note(what));
            return Ok(());
        }
        let mut link = None;
        if node.links > 1 && node.kind != NodeKind::Dir {
            let key = LinkKey::of(node);
            link = self.links.get(&key).cloned();
            if link.is_none() {
                self.links.insert(key, path.to_owned());
            }
        }
        let content = Content { job: self.job, cx: self.cx, node, next: 0, blob: io::Cursor::default(), given: 0 };
        let result = match (&link, node.kind) {
            (None, NodeKind::File) => member::append(&mut self.tar, path, node, None, content),
            (link, _) => member::append(&mut self.tar, path, node, link.as_deref(), io::empty()),
        };
        result.map_err(written)
    }
}

/// A file's bytes, blob by blob. Fails where they are more or fewer than the node says, since a member must have just as
/// many as were announced.
struct Content<'a> {
    job: &'a Job<'a>,
    cx: &'a RunCx<'a>,
    node: &'a Node,
    next: usize,
    blob: io::Cursor<Vec<u8>>,
    given: u64,
}

impl Read for Content<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.blob.position() == self.blob.get_ref().len() as u64 {
            let Some(id) = self.node.content.get(self.next) else { break };
            self.cx.cancel.check().map_err(io::Error::other)?;
            let blob = self.job.repository.blob(self.job.index, BlobKind::Data, id).map_err(io::Error::other)?;
            self.cx.events.emit(Event::Bytes(blob.len() as u64));
            self.given += blob.len() as u64;
            self.next += 1;
            self.blob = io::Cursor::new(blob);
            if self.given > self.node.size {
                return Err(self.other_length());
            }
        }
        if self.next == self.node.content.len() && self.given != self.node.size {
            return Err(self.other_length());
        }
        self.blob.read(buffer)
    }
}

impl Content<'_> {
    fn other_length(&self) -> io::Error {
        let what = format!("{} has other content than its {} bytes", self.node.display_name(), self.node.size);
        io::Error::other(repository::Error::MalformedTree { id: *self.job.tree, what })
    }
}

fn written(error: io::Error) -> Error {
    of_stream(error, |error| repository::Error::Internal(format!("an archive cannot be written: {error}")).into())
}
