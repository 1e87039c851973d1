//! Reads one file into chunks: unchanged files not at all, append-only files by their tail, all others so that what is
//! stored was one state of the file, or is reported.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::tree_builder::{Content, Leaf};
use crate::blob_writer::BlobWriter;
use crate::chunker::Chunker;
use crate::format::pack::BlobKind;
use crate::format::time::Time;
use crate::limits::{APPEND_ONLY_SAMPLES, CHUNKS_QUEUED, READ_ATTEMPTS, READ_BYTES};
use crate::source::{OnlyGrows, OpenFile};
use crate::{Error, Event, Id, Node, NodeKind, Problem, RunCx, fs};

/// What came of reading an entry.
pub(super) struct Read {
    /// The entry as it goes into the tree; `None` where it could not be read.
    pub leaf: Option<Leaf>,
    /// Why it is missing or doubtful.
    pub problem: Option<Problem>,
    /// The content was taken over from the parent, unread.
    pub reused: bool,
    /// A prefix was read from its beginning, since nothing of it could be relied on.
    pub is_whole_prefix: bool,
}

impl Read {
    pub fn without_content(node: Node) -> Self {
        Self::of(node, Vec::new())
    }

    fn of(node: Node, content: Vec<Content>) -> Self {
        Self { leaf: Some(Leaf { node, content }), problem: None, reused: false, is_whole_prefix: false }
    }

    fn failed(path: &Path, what: impl Into<String>) -> Self {
        Self { leaf: None, problem: Some(Problem::new(path, what)), reused: false, is_whole_prefix: false }
    }
}

pub(super) struct FileReader<'a> {
    pub cx: RunCx<'a>,
    pub blobs: &'a BlobWriter<'a>,
    pub chunker: &'a Chunker,
    pub bytes_read: &'a mut u64,
}

/// What of a file's `stat` changes when its content does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Version {
    bytes: u64,
    mtime: Time,
    ctime: Time,
    inode: u64,
    device: u64,
    is_regular: bool,
}

impl Version {
    fn of(file: &File) -> io::Result<Self> {
        let stat = rustix::fs::fstat(file)?;
        let node = fs::node_of_stat(b"", &stat);
        Ok(Self {
            bytes: node.size,
            mtime: node.mtime,
            ctime: node.ctime,
            inode: node.inode,
            device: stat.st_dev,
            is_regular: node.kind == NodeKind::File,
        })
    }
}

impl FileReader<'_> {
    /// Reads a file of this host. Errors are those that end the run; what concerns the file alone is a problem.
    pub fn file(
        &mut self,
        path: &Path,
        mut node: Node,
        parent: Option<&Node>,
        append_only: Option<OnlyGrows>,
    ) -> Result<Read, Error> {
        if let Some(content) = self.unchanged(&node, parent) {
            return Ok(Read { reused: true, ..Read::of(node, content) });
        }
        let (mut file, version) = match fs::open(path).and_then(|file| Ok((Version::of(&file)?, file))) {
            Ok((version, file)) if version.is_regular => (file, version),
            Ok(_) => return Ok(Read::failed(path, "it was replaced by something that is not a file")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.cx.events.emit(Event::Note(format!("{} vanished before it was read", path.display())));
                return Ok(Read { leaf: None, problem: None, reused: false, is_whole_prefix: false });
            }
            Err(error) => return Ok(Read::failed(path, format!("cannot be read: {error}"))),
        };
        version.write_to(&mut node);
        // One that changed and did not grow was written in place.
        let may_have_grown = |parent: &&Node| version.bytes > parent.size;
        let only_grows = |is_such: OnlyGrows| is_such(&file).unwrap_or(false);
        let tail = match parent.filter(may_have_grown).filter(|_| append_only.is_some_and(only_grows)) {
            Some(parent) => self.known_head(&mut file, &version, parent)?,
            None => None,
        };
        match self.consistent(&mut file, version, tail) {
            Ok(read) => {
                node.size = read.bytes;
                let problem = read.torn.then(|| Problem::new(path, TORN));
                Ok(Read { problem, ..Read::of(node, read.content) })
            }
            Err(Error::Local { error, .. }) => Ok(Read::failed(path, format!("cannot be read: {error}"))),
            Err(error) => Err(error),
        }
    }

    /// What the parent's file holds, where `node` is surely the same and all of it is stored.
    fn unchanged(&self, node: &Node, parent: Option<&Node>) -> Option<Vec<Content>> {
        let parent = parent.filter(|parent| node.is_unchanged_since(parent))?;
        let is_stored = parent.content.iter().all(|id| self.blobs.is_known(BlobKind::Data, id));
        is_stored.then(|| {
            self.cx.events.emit(Event::Bytes(node.size));
            parent.content.iter().copied().map(Content::Known).collect()
        })
    }

    /// Reads the first `bytes` of a file that only grows. `path` is what it is called in messages.
    pub fn prefix(
        &mut self,
        open: OpenFile,
        bytes: u64,
        path: &Path,
        mut node: Node,
        parent: Option<&Node>,
        append_only: bool,
    ) -> Result<Read, Error> {
        node.size = bytes;
        if let Some(content) = self.unchanged(&node, parent) {
            return Ok(Read { reused: true, ..Read::of(node, content) });
        }
        let failed = |error: io::Error| Read::failed(path, format!("cannot be read: {error}"));
        let (mut file, version) = match open().and_then(|file| Ok((Version::of(&file)?, file))) {
            Ok((version, file)) => (file, Version { bytes, ..version }),
            Err(error) => return Ok(failed(error)),
        };
        let tail = match parent.filter(|_| append_only) {
            Some(parent) => self.known_head(&mut file, &version, parent)?,
            None => None,
        };
        let is_whole_prefix = tail.is_none();
        let (start, head) = tail.map_or((0, Vec::new()), |tail| (tail.start, tail.head));
        let mut content = head.into_iter().map(Content::Known).collect();
        let read = file
            .seek(SeekFrom::Start(start))
            .map_err(Error::local(path))
            .and_then(|_| self.chunks(&mut file, bytes - start, &mut content));
        match read {
            Ok(read) if start + read == bytes => Ok(Read { is_whole_prefix, ..Read::of(node, content) }),
            // What only grows never shrinks: somebody cut it while it was read, and what is left is no state it had.
            Ok(read) => Ok(Read::failed(path, format!("it ends after {} bytes, and had {bytes}", start + read))),
            Err(Error::Local { error, .. }) => Ok(failed(error)),
            Err(error) => Err(error),
        }
    }

    /// Reads a stream to its end. A stream that fails ends the run: its source has no other copy of the bytes.
    pub fn stream(&mut self, mut stream: Box<dyn io::Read + Send>, mut node: Node) -> Result<Read, Error> {
        let mut content = Vec::new();
        node.size = self.chunks(&mut stream, u64::MAX, &mut content).map_err(|error| match error {
            // A source may say what it means; being cancelled is no failure of its own.
            Error::Local { error, .. } => Error::Source(error.downcast().unwrap_or_else(|error| {
                crate::SourceError::Invalid { what: format!("{}: {error}", node.display_name()) }
            })),
            other => other,
        })?;
        Ok(Read::of(node, content))
    }

    /// Reads until two readings agree or nothing changed meanwhile. A file that only grew while it was read is stored as
    /// it was at the start: the first reading's length, the same bytes on the second reading.
    fn consistent(&mut self, file: &mut File, version: Version, mut tail: Option<Tail>) -> Result<Reading, Error> {
        let mut before = version;
        let mut last: Option<(u64, Vec<Id>)> = None;
        for attempt in 1..=READ_ATTEMPTS {
            let (start, mut content) = match &tail {
                Some(tail) => (tail.start, tail.head.iter().copied().map(Content::Known).collect()),
                None => (0, Vec::new()),
            };
            // The second reading asks whether the file only grew. If it did not, its present length is what counts: a
            // part of a file that was changed in place is no state it ever had.
            let grown_from = last.as_ref().map(|(bytes, _)| *bytes).filter(|_| attempt == 2);
            let length = grown_from.unwrap_or(before.bytes).saturating_sub(start);
            file.seek(SeekFrom::Start(start)).map_err(Error::local("file"))?;
            let bytes = start + self.chunks(file, length, &mut content)?;
            let after = Version::of(file).map_err(Error::local("file"))?;
            if after == before && bytes == before.bytes {
                return Ok(Reading { bytes, content, torn: false });
            }
            let ids = content.iter().map(Content::wait).collect::<Result<Vec<_>, _>>()?;
            let agrees = last.as_ref() == Some(&(bytes, ids.clone()));
            let content = || ids.iter().copied().map(Content::Known).collect();
            if agrees || attempt == READ_ATTEMPTS {
                return Ok(Reading { bytes, content: content(), torn: !agrees });
            }
            if last.is_some() || after.bytes < bytes {
                // It does more than grow, so nothing about its head can be taken for granted.
                tail = None;
            }
            last = Some((bytes, ids));
            before = after;
        }
        Err(Error::Internal("no reading was made".to_owned()))
    }

    /// Cuts up to `length` bytes of `input` into chunks. Returns the bytes there were.
    fn chunks(&mut self, input: &mut dyn io::Read, length: u64, content: &mut Vec<Content>) -> Result<u64, Error> {
        let mut input = input.take(length);
        let window = self.chunker.bytes_max() + READ_BYTES;
        let small = usize::try_from(length).map_or(window, |length| length.saturating_add(1).min(window));
        let mut buffer = vec![0; small];
        let (mut start, mut end, mut total) = (0, 0, 0);
        loop {
            let ended = self.fill(&mut input, &mut buffer, &mut start, &mut end)?;
            while end > start && (ended || end - start >= self.chunker.bytes_max()) {
                let cut = self.chunker.cut(&buffer[start..end]);
                let mut chunk = self.blobs.buffer();
                chunk.extend_from_slice(&buffer[start..start + cut]);
                content.push(Content::Pending(self.blobs.store_data(chunk)?));
                settle_earlier(content)?;
                self.cx.events.emit(Event::Bytes(cut as u64));
                start += cut;
                total += cut as u64;
            }
            if ended {
                return Ok(total);
            }
        }
    }

    /// Moves what is left to the buffer's start and fills it up. True at the end of the input.
    fn fill(
        &mut self,
        input: &mut dyn io::Read,
        buffer: &mut [u8],
        start: &mut usize,
        end: &mut usize,
    ) -> Result<bool, Error> {
        buffer.copy_within(*start..*end, 0);
        *end -= *start;
        *start = 0;
        while *end < buffer.len() {
            self.cx.cancel.check()?;
            match input.read(&mut buffer[*end..]) {
                Ok(0) => return Ok(true),
                Ok(bytes) => {
                    *end += bytes;
                    *self.bytes_read += bytes as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Local { path: "file".into(), error }),
            }
        }
        Ok(false)
    }

    /// The part of an append-only file that need not be read: all but its last chunk, if the file is the same one, did
    /// not shrink, still has that last chunk in place, and sampled earlier chunks are what they were.
    fn known_head(&mut self, file: &mut File, version: &Version, parent: &Node) -> Result<Option<Tail>, Error> {
        let same_file = parent.inode == version.inode && parent.device_id == version.device;
        let Some((last, head)) = parent.content.split_last() else { return Ok(None) };
        if !same_file || parent.kind != NodeKind::File || version.bytes < parent.size {
            return Ok(None);
        }
        let index = self.blobs.index();
        let Some(lengths) =
            parent.content.iter().map(|id| index.plain_bytes(BlobKind::Data, id)).collect::<Option<Vec<u32>>>()
        else {
            return Ok(None);
        };
        let offsets: Vec<u64> = lengths
            .iter()
            .scan(0, |offset, length| Some(std::mem::replace(offset, *offset + u64::from(*length))))
            .collect();
        let start = offsets.last().copied().unwrap_or(0);
        if start + lengths.last().copied().map_or(0, u64::from) != parent.size {
            return Ok(None);
        }
        let samples = sample(head.len(), version.bytes ^ version.inode);
        let mut checks = samples.into_iter().map(|at| (offsets[at], lengths[at], &head[at])).collect::<Vec<_>>();
        checks.push((start, lengths.last().copied().unwrap_or(0), last));
        for (offset, length, id) in checks {
            if !self.still_has(file, offset, length, id)? {
                return Ok(None);
            }
        }
        Ok(Some(Tail { start, head: head.to_vec() }))
    }

    fn still_has(&mut self, file: &mut File, offset: u64, length: u32, id: &Id) -> Result<bool, Error> {
        let mut bytes = vec![0; length as usize];
        let read = file.seek(SeekFrom::Start(offset)).and_then(|_| file.read_exact(&mut bytes));
        *self.bytes_read += u64::from(length);
        Ok(read.is_ok() && Id::of(&bytes) == *id)
    }
}

const TORN: &str = "changed each time it was read, so what was stored may be no state it ever had; \
                    use a source made for it, or exclude it";

struct Reading {
    bytes: u64,
    content: Vec<Content>,
    torn: bool,
}

struct Tail {
    start: u64,
    head: Vec<Id>,
}

impl Version {
    fn write_to(self, node: &mut Node) {
        node.size = self.bytes;
        node.mtime = self.mtime;
        node.atime = self.mtime;
        node.ctime = self.ctime;
        node.inode = self.inode;
    }
}

/// All positions below a small `count`. Below a larger one some, others whenever the file has grown: over time every chunk
/// gets its turn.
fn sample(count: usize, seed: u64) -> Vec<usize> {
    if count <= APPEND_ONLY_SAMPLES {
        return (0..count).collect();
    }
    let mut state = seed;
    let draw = || {
        // splitmix64 (Steele et al., OOPSLA 2014): enough to spread positions, and the same for the same file.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % count as u64) as usize
    };
    std::iter::repeat_with(draw).take(APPEND_ONLY_SAMPLES).collect()
}

/// Takes the id of a chunk that was handed over long ago: an id alone is a tenth of what a pending one takes, and a file may
/// have millions.
fn settle_earlier(content: &mut [Content]) -> Result<(), Error> {
    if let Some(at) = content.len().checked_sub(CHUNKS_QUEUED * 2)
        && let Some(earlier @ Content::Pending(_)) = content.get_mut(at)
    {
        *earlier = Content::Known(earlier.wait()?);
    }
    Ok(())
}
