//! The folder of a Redis or Valkey that may be running: its dump, and its log of changes, as they are at one moment.
//!
//! A server never changes a dump: it puts a new one in its place. The log is several files, which a manifest lists; the server
//! adds to the last of them, and puts a new manifest in the place of the old one where it writes the log anew. So all files are
//! opened between two looks at the manifest that find it the same: what is open stays, whatever is removed after that.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use repository::{Cancel, SourceError};

use super::aof::Log;

/// How often to look again where the server writes its log anew just now.
const ATTEMPTS_MAX: usize = 20;
/// A manifest is never larger.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;
const MANIFEST_END: &str = ".manifest";
/// How the names of dumps end, and how those begin that are not complete.
const DUMP_END: &str = ".rdb";
const UNFINISHED: &str = "temp-";
/// The log of servers before version 7, in one file.
const OLD_LOG: &str = "appendonly.aof";
const READ_BYTES: usize = 64 << 10;

/// What a folder holds, open.
#[derive(Debug, Default)]
pub struct Folder {
    /// The dump, if there is one.
    pub dump: Option<Part>,
    /// The log, if there is one.
    pub log: Option<OpenLog>,
}

/// A log.
#[derive(Debug)]
pub struct OpenLog {
    /// Its folder, or its one file: on the host.
    pub path: PathBuf,
    /// The manifest's path below the folder, and its text; old logs have none.
    pub manifest: Option<(PathBuf, String)>,
    /// The files of it, in their order, by their paths below the folder.
    pub parts: Vec<(PathBuf, Part)>,
}

/// An open file, as far as it counts.
#[derive(Debug)]
pub struct Part {
    /// Its path on the host.
    pub path: PathBuf,
    /// Read from the beginning.
    pub file: File,
    /// So many bytes of it are taken.
    pub bytes: u64,
}

impl Folder {
    /// Opens what is in the folder at `path`. Fails where there is nothing of a Redis.
    pub fn open(path: &Path, cancel: &Cancel) -> Result<Self, SourceError> {
        if !path.is_dir() {
            return Err(SourceError::Unavailable { what: format!("{} is no folder that is there", path.display()) });
        }
        for _ in 0..ATTEMPTS_MAX {
            cancel.check()?;
            let found = (open_dump(path), open_log(path, cancel));
            match found {
                (Ok(None), Ok(None)) => {
                    let what = format!("{} holds no dump and no log of a Redis", path.display());
                    return Err(SourceError::Unavailable { what });
                }
                (Ok(dump), Ok(log)) => return Ok(Self { dump, log }),
                (Err(Trouble::Changed), _) | (_, Err(Trouble::Changed)) => {}
                (Err(Trouble::Other(error)), _) | (_, Err(Trouble::Other(error))) => return Err(error),
            }
        }
        let what = format!("{}: the server writes its log anew again and again", path.display());
        Err(SourceError::Unavailable { what })
    }
}

/// Why a folder was not opened.
enum Trouble {
    /// Something was put in the place of something else meanwhile.
    Changed,
    Other(SourceError),
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Io { error, .. } if error.kind() == ErrorKind::NotFound => Self::Changed,
            error => Self::Other(error),
        }
    }
}

fn open(path: PathBuf) -> Result<Part, SourceError> {
    let file = File::open(&path).map_err(SourceError::io(&path))?;
    let bytes = file.metadata().map_err(SourceError::io(&path))?.len();
    Ok(Part { path, file, bytes })
}

/// Names in a folder, sorted.
fn names(folder: &Path) -> Result<Vec<String>, SourceError> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(SourceError::io(folder))? {
        names.extend(entry.map_err(SourceError::io(folder))?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn open_dump(folder: &Path) -> Result<Option<Part>, Trouble> {
    let listed = names(folder)?;
    let mut dumps = listed.iter().filter(|name| name.ends_with(DUMP_END) && !name.starts_with(UNFINISHED));
    match (dumps.next(), dumps.next()) {
        (None, _) => Ok(None),
        (Some(name), None) => Ok(Some(open(folder.join(name))?)),
        (Some(one), Some(other)) => {
            let what = format!("{} holds several dumps, {one} and {other}: move away what is old", folder.display());
            Err(Trouble::Other(SourceError::Unavailable { what }))
        }
    }
}

fn open_log(folder: &Path, cancel: &Cancel) -> Result<Option<OpenLog>, Trouble> {
    let Some((below, name)) = find_manifest(folder)? else {
        return match open(folder.join(OLD_LOG)) {
            Ok(mut part) => {
                cut(&mut part, cancel)?;
                Ok(Some(OpenLog { path: part.path.clone(), manifest: None, parts: vec![(OLD_LOG.into(), part)] }))
            }
            Err(SourceError::Io { error, .. }) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        };
    };
    let path = folder.join(&below).join(&name);
    let text = read_manifest(&path)?;
    let listed = listed(&text).ok_or_else(|| {
        let what = format!("{} is no manifest that this version of Lifeboat can read", path.display());
        Trouble::Other(SourceError::Invalid { what })
    })?;
    let mut parts = Vec::new();
    for name in &listed.files {
        parts.push((below.join(name), open(folder.join(&below).join(name))?));
    }
    if read_manifest(&path)? != text {
        return Err(Trouble::Changed);
    }
    // The server adds to the last one alone.
    if let Some((_, last)) = parts.last_mut() {
        cut(last, cancel)?;
    }
    Ok(Some(OpenLog { path: folder.join(&below), manifest: Some((below.join(name), listed.text)), parts }))
}

/// The manifest in a folder of this one, or in this one: its folder and its name.
fn find_manifest(folder: &Path) -> Result<Option<(PathBuf, String)>, SourceError> {
    let of = |below: &Path| -> Result<Option<(PathBuf, String)>, SourceError> {
        let name = names(&folder.join(below))?
            .into_iter()
            .find(|name| name.ends_with(MANIFEST_END) && !name.starts_with(UNFINISHED));
        Ok(name.map(|name| (below.to_owned(), name)))
    };
    for name in names(folder)? {
        if folder.join(&name).is_dir()
            && let Ok(Some(found)) = of(Path::new(&name))
        {
            return Ok(Some(found));
        }
    }
    of(Path::new(""))
}

fn read_manifest(path: &Path) -> Result<String, SourceError> {
    let mut text = String::new();
    let file = File::open(path).map_err(SourceError::io(path))?;
    file.take(MANIFEST_BYTES_MAX).read_to_string(&mut text).map_err(SourceError::io(path))?;
    Ok(text)
}

/// What a manifest lists.
#[derive(Debug, PartialEq, Eq)]
struct Listed {
    files: Vec<String>,
    /// The manifest of these alone: what the server is about to remove is left out.
    text: String,
}

/// Lines such as `file appendonly.aof.1.base.rdb seq 1 type b`.
fn listed(text: &str) -> Option<Listed> {
    let mut found = Listed { files: Vec::new(), text: String::new() };
    for line in text.lines().filter(|line| !line.is_empty()) {
        if line.starts_with('#') {
            continue;
        }
        let mut words = line.split(' ');
        let (name, kind) =
            match (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?, words.next()?) {
                ("file", name, "seq", _, "type", kind) => (name, kind),
                _ => return None,
            };
        let is_plain = !name.contains(['/', '"']) && !name.starts_with('.');
        match kind {
            "b" | "i" if is_plain => {
                found.files.push(name.to_owned());
                found.text.push_str(line);
                found.text.push('\n');
            }
            "h" => {}
            _ => return None,
        }
    }
    (!found.files.is_empty()).then_some(found)
}

/// Takes no more of a log than what is a state.
fn cut(part: &mut Part, cancel: &Cancel) -> Result<(), SourceError> {
    let Part { path, file, bytes } = part;
    let (mut log, mut buffer) = (Log::default(), vec![0; READ_BYTES]);
    let mut input = (&*file).take(*bytes);
    loop {
        cancel.check()?;
        let length = input.read(&mut buffer).map_err(SourceError::io(&*path))?;
        if length == 0 {
            break;
        }
        log.push(&buffer[..length])
            .map_err(|what| SourceError::Invalid { what: format!("{}: {what}", path.display()) })?;
    }
    *bytes = log.whole().bytes;
    file.seek(SeekFrom::Start(0)).map_err(SourceError::io(&*path))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_lists_what_counts() {
        let text = "#comment\nfile a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type h\nfile a.2.incr.aof seq 2 type i startoffset 0\n";
        let found = listed(text).unwrap();
        assert_eq!(found.files, ["a.1.base.rdb", "a.2.incr.aof"]);
        assert_eq!(found.text, "file a.1.base.rdb seq 1 type b\nfile a.2.incr.aof seq 2 type i startoffset 0\n");
        for wrong in ["", "file ../x seq 1 type b\n", "file x seq 1 type z\n", "x\n"] {
            assert_eq!(listed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_folder_of_a_redis_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let told = |path: &Path| Folder::open(path, &Cancel::new()).unwrap_err().to_string();
        assert!(told(folder.path()).ends_with("holds no dump and no log of a Redis"));
        assert!(told(&folder.path().join("gone")).ends_with("gone is no folder that is there"));
        std::fs::write(folder.path().join("a.rdb"), "").unwrap();
        std::fs::write(folder.path().join("b.rdb"), "").unwrap();
        assert!(told(folder.path()).ends_with("a.rdb and b.rdb: move away what is old"));
        std::fs::remove_file(folder.path().join("b.rdb")).unwrap();
        std::fs::write(folder.path().join("x.manifest"), "file gone.aof seq 1 type b\n").unwrap();
        assert!(told(folder.path()).ends_with("writes its log anew again and again"));
    }
}
