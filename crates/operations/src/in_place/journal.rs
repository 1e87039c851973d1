//! The undo folder's journal: what a swap is going to do, written and made durable before the first rename. One JSON
//! object a line. Paths are relative to the folder that holds the undo folder, so that a journal reaches nothing else.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};

use jiff::Timestamp;
use repository::Node;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::InPlaceError;

/// Folders in which what was there is kept.
const UNDO_PREFIX: &str = repository::source::KEPT_FOLDER_PREFIXES[1];
/// Folders in which restored copies are staged.
const STAGING_PREFIX: &str = repository::source::KEPT_FOLDER_PREFIXES[0];
const JOURNAL_NAME: &str = "journal.jsonl";
/// The version of the journal that this program writes.
const VERSION: u32 = 1;

/// Whether a name is that of an undo or staging folder: never part of the data around it.
pub(super) fn is_own_folder(name: &std::ffi::OsStr) -> bool {
    [UNDO_PREFIX, STAGING_PREFIX].iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()))
}

pub(super) fn undo_name(id: &str) -> String {
    format!("{UNDO_PREFIX}{id}")
}

pub(super) fn staging_name(id: &str, number: usize) -> String {
    format!("{STAGING_PREFIX}{id}-{number}")
}

/// The id in an undo folder's name.
pub(super) fn undo_id(folder: &Path) -> Option<&str> {
    folder.file_name()?.to_str()?.strip_prefix(UNDO_PREFIX)
}

/// Makes a folder that only its owner can look into.
pub(super) fn create_private(path: &Path) -> Result<(), InPlaceError> {
    std::fs::DirBuilder::new().mode(0o700).create(path).map_err(InPlaceError::io(path))
}

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub version: u32,
    pub id: String,
    pub created: Timestamp,
    /// The snapshot that is restored.
    pub snapshot: String,
    /// What is restored from this folder; absolute.
    pub targets: Vec<StoredPath>,
    /// Names of the staging folders beside this folder.
    pub staging: Vec<String>,
    /// The undo folders of the whole restore, this one among them; absolute.
    pub together: Vec<StoredPath>,
}

/// One step of a swap. What becomes of each path is told by what exists, see `swap.rs`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub(super) enum Step {
    /// A folder is made where there is none.
    MakeFolder { path: StoredPath },
    /// A staged entry is moved in where nothing is.
    Create { path: StoredPath, staged: StoredPath },
    /// An entry is moved away, and a staged one in.
    Exchange { path: StoredPath, staged: StoredPath },
    /// An entry is moved away.
    MoveAway { path: StoredPath },
    /// A folder's metadata will change.
    Metadata { path: StoredPath, before: Box<Node> },
}

impl Step {
    fn paths(&self) -> impl Iterator<Item = &StoredPath> {
        let (path, staged) = match self {
            Self::MakeFolder { path } | Self::MoveAway { path } | Self::Metadata { path, .. } => (path, None),
            Self::Create { path, staged } | Self::Exchange { path, staged } => (path, Some(staged)),
        };
        [path].into_iter().chain(staged)
    }
}

/// What follows the steps, each once it is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mark {
    /// All steps stand above; renames begin.
    Planned,
    /// Everything was done.
    Swapped,
    /// Everything was put back.
    Undone,
    /// What was kept is being removed.
    Dropping,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Restore(Header),
    Do(Step),
    Mark(Mark),
}

/// A path of any bytes, written as names in trees are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StoredPath(pub PathBuf);

impl Serialize for StoredPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&repository::format::go::quote(self.0.as_os_str().as_bytes()))
    }
}

impl<'de> Deserialize<'de> for StoredPath {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = repository::format::go::unquote(&text)
            .ok_or_else(|| serde::de::Error::custom("a path is not quoted as it should be"))?;
        Ok(Self(PathBuf::from(std::ffi::OsString::from_vec(bytes))))
    }
}

/// An open journal. Its lock tells others that its restore or undo is at work; it ends with the process.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Closing alone leaves it held while a program that another thread starts still has the file, just before it runs.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

impl Journal {
    /// Begins the journal of a new undo folder.
    pub fn create(folder: &Path, header: &Header) -> Result<Self, InPlaceError> {
        let path = folder.join(JOURNAL_NAME);
        let file = File::options().append(true).create_new(true).open(&path).map_err(InPlaceError::io(&path))?;
        let mut journal = Self { file, path };
        journal.lock(folder)?;
        journal.append([Line::Restore(header.clone())].iter())?;
        sync_folder(folder)?;
        Ok(journal)
    }

    /// Opens a journal for an undo. `None` where the folder has none.
    pub fn open(folder: &Path) -> Result<Option<Self>, InPlaceError> {
        let path = folder.join(JOURNAL_NAME);
        match File::options().append(true).read(true).open(&path) {
            Ok(file) => {
                let journal = Self { file, path };
                journal.lock(folder)?;
                Ok(Some(journal))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(InPlaceError::io(path)(error)),
        }
    }

    fn lock(&self, folder: &Path) -> Result<(), InPlaceError> {
        rustix::fs::flock(&self.file, FlockOperation::NonBlockingLockExclusive).map_err(|_| InPlaceError::UndoFolder {
            folder: folder.to_owned(),
            what: "another process is at work with it: wait until it is done".to_owned(),
        })
    }

    /// Writes down all steps. Once this returns, they survive a crash.
    pub fn plan(&mut self, steps: &[Step]) -> Result<(), InPlaceError> {
        self.append(steps.iter().cloned().map(Line::Do).chain([Line::Mark(Mark::Planned)]))
    }

    /// Writes down that something is done.
    pub fn mark(&mut self, mark: Mark) -> Result<(), InPlaceError> {
        self.append([Line::Mark(mark)])
    }

    fn append(&mut self, lines: impl IntoIterator<Item = impl std::borrow::Borrow<Line>>) -> Result<(), InPlaceError> {
        let write = |file: &File| {
            let mut writer = std::io::BufWriter::new(file);
            for line in lines {
                serde_json::to_writer(&mut writer, line.borrow())?;
                writer.write_all(b"\n")?;
            }
            writer.flush()?;
            file.sync_all()
        };
        write(&self.file).map_err(InPlaceError::io(&self.path))
    }
}

/// What a journal says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Record {
    /// `None` where not even the first line was written.
    pub header: Option<Header>,
    /// Only complete where there is a mark.
    pub steps: Vec<Step>,
    /// The last mark.
    pub mark: Option<Mark>,
}

impl Record {
    /// Reads the journal of an undo folder, which must be this user's own: whoever can write to it could have any file
    /// of the host renamed.
    pub fn load(folder: &Path) -> Result<Self, InPlaceError> {
        let refuse = |what: &str| InPlaceError::UndoFolder { folder: folder.to_owned(), what: what.to_owned() };
        let found = folder.symlink_metadata().map_err(InPlaceError::io(folder))?;
        if undo_id(folder).is_none() || !found.is_dir() {
            return Err(refuse("is not an undo folder of a restore in place"));
        }
        if found.uid() != rustix::process::geteuid().as_raw() || found.mode() & 0o077 != 0 {
            return Err(refuse("belongs to another user, or others can write to it: not trusted"));
        }
        let path = folder.join(JOURNAL_NAME);
        let text = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            text => text.map_err(InPlaceError::io(&path))?,
        };
        let record = Self::parse(&text).map_err(|what| refuse(&format!("its journal is damaged: {what}")))?;
        match &record.header {
            Some(header) if header.version != VERSION => Err(refuse("was written by a newer version of Lifeboat")),
            _ => Ok(record),
        }
    }

    fn parse(text: &[u8]) -> Result<Self, String> {
        let mut record = Self::default();
        // What follows the last line break was being written when the process ended.
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        for (number, line) in (1..).zip(text[..whole].split_inclusive(|byte| *byte == b'\n')) {
            let line = serde_json::from_slice(line).map_err(|error| format!("line {number}: {error}"))?;
            match line {
                Line::Restore(header) if number == 1 => record.header = Some(header),
                Line::Do(step) if number > 1 && record.mark.is_none() => {
                    if let Some(path) = step.paths().find(|path| !is_inside(&path.0)) {
                        return Err(format!("line {number}: {} leads elsewhere", path.0.display()));
                    }
                    record.steps.push(step);
                }
                Line::Mark(mark) if number > 1 => record.mark = Some(mark),
                _ => return Err(format!("line {number}: it does not belong here")),
            }
        }
        if let Some(header) = &record.header
            && let Some(name) = header.staging.iter().find(|name| !is_staging(name))
        {
            return Err(format!("{name} is no staging folder"));
        }
        Ok(record)
    }
}

impl Header {
    pub fn new(id: &str, created: Timestamp, snapshot: String) -> Self {
        let (targets, staging, together) = Default::default();
        Self { version: VERSION, id: id.to_owned(), created, snapshot, targets, staging, together }
    }
}

fn is_inside(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

fn is_staging(name: &str) -> bool {
    name.starts_with(STAGING_PREFIX) && !name.contains('/')
}

/// Makes the names in a folder durable.
pub(super) fn sync_folder(folder: &Path) -> Result<(), InPlaceError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(InPlaceError::io(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        let path = |bytes: &[u8]| StoredPath(PathBuf::from(std::ffi::OsString::from_vec(bytes.to_vec())));
        let mut header = Header::new("x", Timestamp::UNIX_EPOCH, "abc".to_owned());
        header.targets = vec![path(b"/srv/\xff\n\"")];
        header.staging = vec![staging_name("x", 0)];
        let before = Node { mode: 0o700, ..Node::new("a", repository::NodeKind::Dir) };
        vec![
            Line::Restore(header),
            Line::Do(Step::Exchange { path: path(b"a/\xfe"), staged: path(b"s/a/\xfe") }),
            Line::Do(Step::Metadata { path: path(b""), before: Box::new(before) }),
            Line::Mark(Mark::Planned),
        ]
    }

    fn text(lines: &[Line]) -> Vec<u8> {
        lines.iter().flat_map(|line| [serde_json::to_vec(line).unwrap(), b"\n".to_vec()].concat()).collect()
    }

    #[test]
    fn paths_of_any_bytes_and_metadata_come_back() {
        let record = Record::parse(&text(&lines())).unwrap();
        let [Line::Restore(header), Line::Do(first), Line::Do(second), _] = &lines()[..] else { unreachable!() };
        assert_eq!(record.header.as_ref(), Some(header));
        assert_eq!(record.steps, [first.clone(), second.clone()]);
        assert_eq!(record.mark, Some(Mark::Planned));
    }

    #[test]
    fn a_journal_cut_anywhere_is_read_and_only_a_whole_one_is_planned() {
        let text = text(&lines());
        for end in 0..text.len() {
            let record = Record::parse(&text[..end]).unwrap();
            assert_eq!(record.mark, None, "cut at {end}");
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in ["../etc/passwd", "/etc/passwd", "a/../../b"] {
            let step = Step::MoveAway { path: StoredPath(path.into()) };
            let text = text(&[lines().remove(0), Line::Do(step)]);
            assert!(Record::parse(&text).unwrap_err().contains("leads elsewhere"), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_failing(bytes: Vec<u8>, at: proptest::sample::Index) {
            let _ = Record::parse(&bytes);
            let mut text = text(&lines());
            let at = at.index(text.len());
            text.splice(at..at, bytes);
            let _ = Record::parse(&text);
        }
    }
}
