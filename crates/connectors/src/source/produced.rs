//! Files of a snapshot that no file of the host stands behind, such as dumps. Their sizes and hashes are facts.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use repository::format::go;
use repository::format::time::Time;
use repository::{Cancel, Data, Entry, Event, Events, Facts, Item, Node, NodeKind, SourceError};
use serde_json::{Value, json};

use super::file_hash::file_hash;
use super::output::{Awaited, Output, Whole};

/// The fact that holds the files, by path.
pub const FILES: &str = "files";
/// What is known of each.
pub const BYTES: &str = "bytes";
/// See [`BYTES`].
pub const SHA256: &str = "sha256";

/// A file that is produced.
pub struct ProducedFile {
    content: Box<dyn Read + Send>,
    awaited: Awaited,
}

impl ProducedFile {
    /// Content that tells by `awaited` how it ended.
    pub fn new(content: impl Read + Send + 'static, awaited: Awaited) -> Self {
        Self { content: Box::new(content), awaited }
    }

    /// What a program prints.
    pub fn printed(output: Output) -> Self {
        let awaited = output.awaited();
        Self::new(output, awaited)
    }

    /// What is there already.
    pub fn ready(name: &str, bytes: Vec<u8>) -> Self {
        let awaited = Awaited::known(name, Whole::of(&bytes));
        Self { content: Box::new(Cursor::new(bytes)), awaited }
    }

    /// How it ended, once it was read.
    pub fn awaited(&self) -> Awaited {
        self.awaited.clone()
    }
}

/// Files that are produced, on their way into the snapshot: each when it is its turn.
pub struct Produced {
    now: Time,
    steps: VecDeque<(PathBuf, Option<Box<dyn Read + Send>>)>,
    awaited: BTreeMap<PathBuf, Awaited>,
}

impl Produced {
    /// `files` by their relative paths, made `now`. They are whose Lifeboat is, and nobody else's.
    pub fn new(files: BTreeMap<PathBuf, ProducedFile>, now: Time) -> Self {
        let (mut folders, mut steps, mut awaited) = (BTreeSet::new(), VecDeque::new(), BTreeMap::new());
        for (path, file) in files {
            let mut on_the_way: Vec<_> =
                path.ancestors().skip(1).filter(|folder| folder.parent().is_some()).map(Path::to_path_buf).collect();
            on_the_way.reverse();
            steps.extend(
                on_the_way.into_iter().filter(|folder| folders.insert(folder.clone())).map(|path| (path, None)),
            );
            awaited.insert(path.clone(), file.awaited);
            steps.push_back((path, Some(file.content)));
        }
        Self { now, steps, awaited }
    }

    /// All files, by path, each whole. What programs said, though all went well, is passed on. Fails where one was not whole,
    /// or was not read to its end.
    pub fn finish(&self, events: &dyn Events) -> Result<BTreeMap<PathBuf, Whole>, SourceError> {
        let mut files = BTreeMap::new();
        for (path, awaited) in &self.awaited {
            let whole = awaited.whole()?;
            if !whole.said.is_empty() {
                events.emit(Event::Note(format!("{} said: {}", awaited.what(), whole.said)));
            }
            files.insert(path.clone(), whole);
        }
        Ok(files)
    }
}

/// The files, and the folders on the way to them.
impl Iterator for Produced {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        let (path, content) = self.steps.pop_front()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (kind, data) = match content {
            Some(content) => (NodeKind::File, Data::Stream(content)),
            None => (NodeKind::Dir, Data::None),
        };
        Some(Item::Entry(Box::new(Entry { node: node(&name, kind, self.now), path, data })))
    }
}

/// A file or folder of a snapshot that stands on no host.
fn node(name: &str, kind: NodeKind, now: Time) -> Node {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let text = |name: &std::ffi::OsStr| name.to_string_lossy().into_owned();
    let mut node = Node::new(name, kind);
    let mode = if kind == NodeKind::Dir { 0o040_700 } else { 0o100_600 };
    node.mode = go::mode_from_posix(mode);
    (node.uid, node.gid, node.links) = (uid, gid, 1);
    node.user = uzers::get_user_by_uid(uid).map_or_else(String::new, |user| text(user.name()));
    node.group = uzers::get_group_by_gid(gid).map_or_else(String::new, |group| text(group.name()));
    (node.mtime, node.atime, node.ctime) = (now, now, now);
    node
}

/// Adds [`FILES`], the sizes and hashes of these.
pub fn add_files(facts: &mut Facts, files: &BTreeMap<PathBuf, Whole>) {
    facts.insert(FILES.to_owned(), files_fact(files));
}

fn files_fact(files: &BTreeMap<PathBuf, Whole>) -> Value {
    let facts = files.iter().map(|(path, whole)| {
        (path.to_string_lossy().into_owned(), json!({ BYTES: whole.bytes, SHA256: whole.sha256 }))
    });
    Value::Object(facts.collect())
}

/// Measures again, below the restored folder `dir`, the files that the `recorded` facts name. What is missing is left out.
pub fn recount_files(dir: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Value, SourceError> {
    let mut facts = Facts::new();
    for name in recorded.get(FILES).and_then(Value::as_object).into_iter().flat_map(|files| files.keys()) {
        if let Some(path) = below(dir, name)
            && let Some((bytes, sha256)) = file_hash(&path, cancel)?
        {
            facts.insert(name.clone(), json!({ BYTES: bytes, SHA256: sha256 }));
        }
    }
    Ok(Value::Object(facts))
}

/// Where a file that facts name lies below `dir`. `None` for a name that could lead out of it.
pub fn below(dir: &Path, name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    let is_safe = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    (is_safe && !name.is_empty()).then(|| dir.join(path))
}

#[cfg(test)]
mod tests {
    use repository::Silent;

    use super::*;

    fn produced(names: &[&str]) -> Produced {
        let file = |name: &&str| (PathBuf::from(name), ProducedFile::ready(name, b"content".to_vec()));
        Produced::new(names.iter().map(file).collect(), Time::from(jiff::Timestamp::UNIX_EPOCH))
    }

    #[test]
    fn folders_come_once_and_before_what_they_hold() {
        let mut produced = produced(&["roles.sql", "databases/b", "databases/a"]);
        let mut paths = Vec::new();
        while let Some(Item::Entry(entry)) = produced.next() {
            paths.push(entry.path.display().to_string());
        }
        assert_eq!(paths, ["databases", "databases/a", "databases/b", "roles.sql"]);
    }

    #[test]
    fn what_was_restored_is_measured_again_and_nothing_outside_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let files = produced(&["a"]).finish(&Silent).unwrap();
        let recorded: Facts = [(FILES.to_owned(), files_fact(&files))].into_iter().collect();
        let recount = || recount_files(dir.path(), &recorded, &Cancel::new()).unwrap();
        assert_eq!(recount(), json!({}));
        std::fs::write(dir.path().join("a"), "content").unwrap();
        assert_eq!(recount(), recorded[FILES]);
        std::fs::write(dir.path().join("a"), "contents").unwrap();
        assert_ne!(recount(), recorded[FILES]);
        assert_eq!(below(dir.path(), "../a"), None);
        assert_eq!(below(dir.path(), "/etc/passwd"), None);
    }
}
