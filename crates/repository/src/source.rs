//! The seam to what holds data: a folder, a database, the output of a command.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Cancel, Clock, Error, Events, Id, Node};

/// Exact facts about captured data, taken at the same instant as the data: row counts, versions, fingerprints. They go
/// into the manifest, and a drill compares them with what it counts in the restored data.
pub type Facts = serde_json::Map<String, serde_json::Value>;

/// The fact that lists a source's own paths on the host, by which a restore in place knows what belongs where.
pub const PATHS_FACT: &str = "paths";

/// The fact that holds the certificates of each file, by path; [`NOT_AFTER_FACT`] of each says until when it is valid.
pub const CERTIFICATES_FACT: &str = "certificates";

/// The fact that names the volume of a container engine that was captured, by its `name`. A list where there may be several.
pub const VOLUME_FACT: &str = "volume";

/// The fact that lists snapshots, by id, which hold whole what is damaged or missing in this one. They are not removed by
/// rules while the newest snapshot of the source names them.
pub const GOOD_IN_FACT: &str = "good_in";
/// In a part of a fact that was counted again: what is wrong with what was stored, in words.
pub const TOLD_FACT: &str = "told";

/// Until when a certificate is valid, in RFC 3339.
pub const NOT_AFTER_FACT: &str = "not_after";

/// What SQLite puts beside a database, by what it adds to the name (sqlite.org/tempfiles.html). They belong to one state
/// of the database: whoever captures or replaces it must see to them.
pub const SQLITE_SIDE_FILES: [&str; 3] = ["-wal", "-shm", "-journal"];

/// How the names of folders begin that a restore in place keeps beside its targets: staged data, and what was there
/// before. They are never captured: they are gone once the user drops them.
pub const KEPT_FOLDER_PREFIXES: [&str; 2] = [".lifeboat-staging-", ".lifeboat-undo-"];

/// Something that was left out of a snapshot, or is doubtful in it. A run with problems is *partial*.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The source it concerns; empty until the engine knows.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub source: String,
    /// The path on the host, or the name of what was captured. Not always valid UTF-8 on disk; shown lossily.
    pub path: String,
    /// What happened, in words for the user.
    pub what: String,
}

impl Problem {
    /// A problem with the file or folder at `path`.
    pub fn new(path: &Path, what: impl Into<String>) -> Self {
        Self { source: String::new(), path: path.to_string_lossy().into_owned(), what: what.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.what)
    }
}

/// Why a source could not be captured or examined at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// What the source needs is not there or refuses; the user can mend it.
    #[error("{what}")]
    Unavailable {
        /// What is missing and what to do about it.
        what: String,
    },
    /// The data arrived but cannot be right: a missing trailer, an early end, a failed integrity check.
    #[error("{what}")]
    Invalid {
        /// What is wrong.
        what: String,
    },
    /// Reading failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The run was asked to stop.
    #[error("cancelled")]
    Cancelled,
}

impl SourceError {
    /// See [`SourceError::Unavailable`].
    pub fn unavailable(what: impl Into<String>) -> Self {
        Self::Unavailable { what: what.into() }
    }

    /// Attaches the path that an I/O error is about.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io { path, error }
    }
}

/// Gives a file, opened now or earlier.
pub type OpenFile = Box<dyn FnOnce() -> io::Result<File> + Send>;

/// Whether an open file is laid out as one that only ever grows: the name alone does not tell. Asked before what was read of it
/// earlier is relied on; an error is a no.
pub type OnlyGrows = fn(&File) -> io::Result<bool>;

/// Where an entry's bytes come from.
pub enum Data {
    /// The entry has none: a folder, link, device or fifo.
    None,
    /// A regular file of this host. The engine opens it, skips it where it is unchanged since the parent snapshot, and
    /// sees to it that what it reads is one consistent state.
    File {
        /// Where it lies on this host.
        path: PathBuf,
        /// The file only ever grows between rewrites, so its tail alone may be read where this says that it is such a file.
        append_only: Option<OnlyGrows>,
    },
    /// The first bytes of a file that only ever grows, by the handle that was opened with the view: what it held then is
    /// read also if the file has grown since, or another took its name. The node says when that was.
    Prefix {
        /// Gives the open file. Called only where it has to be read, so that what is unchanged need not be opened.
        open: OpenFile,
        /// How many bytes.
        bytes: u64,
        /// What was read of it before may be relied on, so its tail alone is read.
        append_only: bool,
    },
    /// Bytes with no file behind them, such as a dump. The node's size is set by the engine.
    Stream(Box<dyn Read + Send>),
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::File { path, append_only } => write!(f, "File({}, {})", path.display(), append_only.is_some()),
            Self::Prefix { bytes, append_only, .. } => write!(f, "Prefix({bytes}, {append_only})"),
            Self::Stream(_) => f.write_str("Stream"),
        }
    }
}

/// One file, folder or other thing of a source, on its way into a snapshot.
#[derive(Debug)]
pub struct Entry {
    /// Path below the source's folder in the snapshot; relative, at least one part, no `.` or `..`. Its last part is
    /// the node's name.
    pub path: PathBuf,
    /// Metadata. `content` and `subtree` are the engine's to set.
    pub node: Node,
    /// Bytes.
    pub data: Data,
}

/// What a capture yields.
#[derive(Debug)]
pub enum Item {
    /// Something to store.
    Entry(Box<Entry>),
    /// Something that could not be captured.
    Problem(Problem),
}

/// What the parent snapshot says of a source.
#[derive(Clone, Copy)]
pub struct Previous<'a> {
    /// The snapshot.
    pub snapshot: Id,
    /// The facts of the source in it.
    pub facts: &'a Facts,
    /// Whether a copy that was reached has a snapshot: one that the facts name may have been removed since.
    pub has_snapshot: &'a (dyn Fn(&Id) -> bool + Sync),
}

impl fmt::Debug for Previous<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { snapshot, facts, has_snapshot: _ } = self;
        f.debug_struct("Previous").field("snapshot", snapshot).field("facts", facts).finish_non_exhaustive()
    }
}

/// What a source is given to open its view.
pub struct CaptureCx<'a> {
    /// Told of notes; problems are yielded as items instead.
    pub events: &'a dyn Events,
    /// Asked often whether to stop.
    pub cancel: &'a Cancel,
    /// The only source of time.
    pub clock: &'a dyn Clock,
    /// Host paths that other sources of the stack capture in a way of their own; see [`Source::claims`].
    pub claimed: &'a BTreeSet<PathBuf>,
    /// An existing folder for temporary files; the source makes a folder of its own in it and removes it.
    pub scratch: &'a Path,
    /// Host paths that are never captured, such as the repository itself and its scratch folder.
    pub own_paths: &'a [PathBuf],
    /// This source in the parent snapshot.
    pub previous: Option<Previous<'a>>,
    /// A dry run: what there is is counted and no content is read, so nothing need be copied, and nothing may be started.
    pub look_only: bool,
}

/// As of when the entries of a capture are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Each as of when it is read, so the capture is of the whole time that takes.
    Live,
    /// All as of when the view was opened. They come since then, and who gives them does not wait long for them to be taken.
    Flowing,
    /// All as of when the view was opened, for as long as it is open.
    Held,
}

/// One thing that holds data.
pub trait Source: Send + Sync {
    /// The kind's name in the configuration, such as `files` or `sqlite`.
    fn kind(&self) -> &'static str;

    /// Host paths that this source captures in its own consistent way, so that a `files` source of the same stack must
    /// leave them out. Called before any capture is opened; what it finds is remembered for the capture that follows.
    fn claims(&self, cancel: &Cancel) -> Result<BTreeSet<PathBuf>, SourceError>;

    /// Whether it finds losses by what its last snapshot says of it. Where that cannot be read, a capture is doubtful.
    fn finds_losses(&self) -> bool {
        false
    }

    /// As of when the entries of its captures are. What is [`View::Live`] is read as soon as all views are open.
    fn view(&self) -> View {
        View::Live
    }

    /// Opens the view: after this, what the capture yields belongs to one instant as far as the source can promise it.
    fn capture<'a>(&'a self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError>;
}

/// An open view of a source. Several are opened at once, on threads of their own.
pub trait Capture: Send {
    /// The next item. Folders come before what they hold; the parts of a folder come sorted by the bytes of their
    /// names, each with all that is below it before the next. `None` proves nothing: only [`Capture::finish`] does.
    fn next(&mut self) -> Result<Option<Item>, SourceError>;

    /// Told that the entry which came last was left out of the snapshot, since it could not be read: the facts must not say that
    /// it is there.
    fn left_out(&mut self) {}

    /// Told that the [`Data::Prefix`] which came last was read from its beginning. Where it was said to be append-only, the part
    /// that the parent snapshot has could not be relied on: it is another one now, or the repository lost it.
    fn read_whole(&mut self) {}

    /// When a part of the view was opened anew, if any was: it is of that later moment then.
    fn reopened(&self) -> Option<Timestamp> {
        None
    }

    /// Ends the capture: checks that it was whole and gives the facts. A snapshot is only written once every capture
    /// has finished.
    fn finish(self: Box<Self>) -> Result<Facts, SourceError>;
}

impl From<Error> for SourceError {
    fn from(error: Error) -> Self {
        match error {
            Error::Cancelled => Self::Cancelled,
            Error::Source(error) => error,
            Error::Local { path, error } => Self::Io { path, error },
            other => Self::Unavailable { what: other.to_string() },
        }
    }
}
