//! Opens files of the data folder, each once. What came to be behind the open handle since, or took its name, does not
//! matter from then on: a compaction puts another file in its place and leaves the open one whole.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use couchfile::{Database, View};
use repository::fs::{NodeReader, ReadNode};
use repository::{Cancel, CaptureCx, Clock, Node, NodeKind, SourceError};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;

use super::data_folder::{COMPACTED, Kind};
use super::facts;
use super::parent::Before;
use super::prefix::Prefix;
use super::stamp::Stamp;

/// Times that a file is looked for while a compaction takes its name away and gives it to another.
const SWAP_TRIES: usize = 25;
const SWAP_PAUSE: Duration = Duration::from_millis(20);
/// Times that a file is looked at again that has not even a block, and so was just created, or is damaged.
const NEW_TRIES: usize = 5;
/// CouchDB's files are made of blocks of this many bytes, and a header starts with one.
const BLOCK_BYTES: u64 = 4096;
/// Handles that are left to the rest of the program.
const HANDLES_SPARED: u64 = 256;
/// Where the system says nothing, or next to nothing.
const HANDLES_MIN: u64 = 64;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Its handle is kept while there are some left; else it is opened again when it is its turn. Those that are opened
    /// first are held, so the others are shards of ordinary databases, where there are not more views than handles.
    WhileHandlesLast,
    /// Its handle is kept in any case.
    Held,
    /// It is opened and its handle kept in any case, also where it is unchanged since the parent snapshot.
    Read,
}

/// A file of the view.
pub struct OpenedFile {
    /// As of the opening; its size is what is captured.
    pub node: Node,
    pub xattr_error: Option<io::Error>,
    pub stamp: Stamp,
    pub kind: Kind,
    pub handle: Handle,
    /// What its header says; `None` where it is no file of CouchDB's own, an error in words where there is no header.
    pub header: Result<Option<Value>, String>,
}

/// Where a file is read from.
pub enum Handle {
    Held(File),
    /// There were more files than handles.
    Released,
    /// It is what it was in the parent snapshot, and need not be opened.
    Unchanged,
}

/// What came of opening.
pub enum Opened {
    File(Box<OpenedFile>),
    /// Only the file that a compaction left for it is there.
    Compacted(PathBuf),
    /// It is no regular file.
    Beside,
    /// It is no more.
    Gone,
    Failed(io::Error),
}

/// Opens files, and counts their handles.
pub struct Opener<'a> {
    pub cancel: &'a Cancel,
    pub reader: NodeReader,
    pub before: Before<'a>,
    clock: &'a dyn Clock,
    handles_left: u64,
    /// Files are opened also where they did not change.
    reads_all: bool,
}

impl<'a> Opener<'a> {
    pub fn new(cx: &CaptureCx<'a>, before: Before<'a>, handles_left: u64, reads_all: bool) -> Self {
        Self { cancel: cx.cancel, clock: cx.clock, reader: NodeReader::default(), before, handles_left, reads_all }
    }

    /// Opens what lies at `host`, called `key` in the facts.
    pub fn open(&mut self, host: &Path, key: &str, how: How) -> Result<Opened, SourceError> {
        for attempt in 0.. {
            let error = match self.look(host, key, how) {
                Ok(Opened::File(file)) if attempt < NEW_TRIES && file.may_be_new() => {
                    self.pause(SWAP_PAUSE)?;
                    continue;
                }
                Ok(opened) => {
                    self.cancel.check()?;
                    return Ok(self.count_handle(opened));
                }
                Err(error) => error,
            };
            if error.kind() != io::ErrorKind::NotFound {
                self.cancel.check()?;
                return Ok(Opened::Failed(error));
            }
            // In this order: the compacted file is asked for first, since it takes the name asked for second.
            let compacted = compacted(host);
            let is_swapped = Kind::of(host) != Kind::Other && is_there(&compacted);
            if !is_swapped && !is_there(host) {
                break;
            }
            if attempt == SWAP_TRIES {
                return Ok(match (is_swapped, Kind::of(host)) {
                    // CouchDB takes a compacted database when it starts, and a view never.
                    (true, Kind::Database) => Opened::Compacted(compacted),
                    (true, _) => Opened::Gone,
                    (false, _) => Opened::Failed(error),
                });
            }
            self.pause(SWAP_PAUSE)?;
        }
        Ok(Opened::Gone)
    }

    /// What was noted of a file in the parent snapshot; `None` where nothing was, or it was damaged. What did not change
    /// may have been damaged by a disk that reads it well now.
    fn known_header(&self, kind: Kind, key: &str) -> Option<Option<Value>> {
        let header = self.before.file(kind, key).cloned();
        ((kind == Kind::Other || header.is_some()) && self.before.damage(key).is_none()).then_some(header)
    }

    /// Whether the open file `again` still has what was noted of `file`. An inode may have been given to another file.
    pub fn still_has(&self, again: &OpenedFile, file: &OpenedFile) -> bool {
        let Handle::Held(held) = &again.handle else { return false };
        let prefix = Prefix { file: held, bytes: file.node.size, cancel: self.cancel };
        let is_same = || header(file.kind, prefix).is_ok_and(|header| header.ok() == file.header.clone().ok());
        again.stamp.is_same_file(&file.stamp) && again.stamp.size >= file.node.size && is_same()
    }

    fn count_handle(&mut self, opened: Opened) -> Opened {
        if let Opened::File(file) = &opened
            && matches!(file.handle, Handle::Held(_))
        {
            self.handles_left = self.handles_left.saturating_sub(1);
        }
        opened
    }

    pub fn pause(&self, duration: Duration) -> Result<(), SourceError> {
        self.cancel.pause(self.clock, duration);
        Ok(self.cancel.check()?)
    }

    fn look(&mut self, host: &Path, key: &str, how: How) -> io::Result<Opened> {
        let ReadNode { node, xattr_error, file_system } = self.reader.read(host)?;
        if node.kind != NodeKind::File {
            return Ok(Opened::Beside);
        }
        let kind = Kind::of(host);
        let stamp = Stamp::of(&node, file_system);
        if how != How::Read
            && !self.reads_all
            && self.before.is_unchanged(key, &stamp)
            && let Some(header) = self.known_header(kind, key)
        {
            let file = OpenedFile::new(node, xattr_error, stamp, kind, Handle::Unchanged, Ok(header));
            return Ok(Opened::File(Box::new(file)));
        }
        let file = repository::fs::open(host)?;
        let stat = rustix::fs::fstat(&file)?;
        let name = host.file_name().map_or(&b""[..], |name| name.as_bytes());
        let opened = Node { xattrs: node.xattrs, ..self.reader.from_stat(name, &stat) };
        let stamp = Stamp::of(&opened, stat.st_dev);
        let header = header(kind, Prefix { file: &file, bytes: stamp.size, cancel: self.cancel })?;
        let handle =
            if how == How::WhileHandlesLast && self.handles_left == 0 { Handle::Released } else { Handle::Held(file) };
        Ok(Opened::File(Box::new(OpenedFile::new(opened, xattr_error, stamp, kind, handle, header))))
    }
}

impl OpenedFile {
    fn new(
        mut node: Node,
        xattr_error: Option<io::Error>,
        stamp: Stamp,
        kind: Kind,
        handle: Handle,
        header: Result<Option<Value>, String>,
    ) -> Self {
        // Behind the header lies what was not committed, and a restored file has no use for it. Where there is none,
        // everything is kept for whoever may still make something of it.
        let end = header.as_ref().ok().and_then(|facts| facts.as_ref()?.get("bytes")?.as_u64());
        node.size = end.map_or(stamp.size, |end| end.min(stamp.size));
        // By it the next capture knows that the file is the same.
        node.device_id = stamp.device;
        Self { node, xattr_error, stamp, kind, handle, header }
    }

    fn may_be_new(&self) -> bool {
        self.header.is_err() && self.stamp.size < BLOCK_BYTES
    }
}

/// What the header says. That the file is damaged is another thing than that it could not be read.
fn header(kind: Kind, file: Prefix<'_>) -> io::Result<Result<Option<Value>, String>> {
    let found = match kind {
        Kind::Database => Database::open(file).map(|database| Some(facts::of_database(&database))),
        Kind::View => View::open(file).map(|view| Some(facts::of_view(&view))),
        Kind::Other => Ok(None),
    };
    match found {
        Err(couchfile::Error::Io { error, .. }) => Err(error),
        found => Ok(found.map_err(|error| error.to_string())),
    }
}

/// What a compaction of the file is called right before it takes its name: `x.couch.compact`, `x.compact.view`.
fn compacted(host: &Path) -> PathBuf {
    if Kind::of(host) == Kind::View {
        return host.with_extension("compact.view");
    }
    let mut path = OsString::from(host);
    path.push(COMPACTED);
    path.into()
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Files that may be held open, after the limit was raised as far as the system lets a process do by itself.
pub fn handles() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let allowed = if setrlimit(Resource::Nofile, raised).is_ok() { raised.current } else { limit.current };
    // Other sources may hold some.
    let in_use = std::fs::read_dir("/proc/self/fd").map_or(0, |handles| handles.count() as u64);
    allowed.unwrap_or(u64::MAX).saturating_sub(HANDLES_SPARED + in_use).max(HANDLES_MIN)
}
