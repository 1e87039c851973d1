//! Where a path of the host lies in a snapshot, and the folders on the way to it.

use std::collections::{BTreeMap, VecDeque, btree_map};
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use repository::format::go;
use repository::fs::{NodeReader, ReadNode};
use repository::source::PATHS_FACT;
use repository::{Data, Entry, Facts, Item, Node, NodeKind, Problem, SourceError};
use serde_json::Value;

/// `path` from the root, without `.` and `..`. A link on the way is kept as it is spelled, unless a `..` follows: then
/// only the file system knows which folder is meant.
pub fn absolute(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    if !path.components().any(|part| part == Component::ParentDir) {
        return Ok(path.components().collect());
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(parent.canonicalize()?.join(name)),
        _ => path.canonicalize(),
    }
}

/// The path below the source's folder that stands for the absolute path `host`.
pub fn in_snapshot(host: &Path) -> PathBuf {
    host.components().filter(|part| matches!(part, Component::Normal(_))).collect()
}

/// An absolute path as a key of facts. Any bytes survive; ordinary names stay as they are.
pub fn fact_key(host: &Path) -> String {
    go::quote(host.as_os_str().as_bytes())
}

/// [`PATHS_FACT`] of these absolute paths, sorted.
pub fn paths_fact<'a>(hosts: impl Iterator<Item = &'a Path>) -> Result<Facts, SourceError> {
    let mut keys = Vec::new();
    for host in hosts {
        keys.push(fact_key(&std::path::absolute(host).map_err(SourceError::io(host))?));
    }
    keys.sort();
    keys.dedup();
    Ok([(PATHS_FACT.to_owned(), Value::from(keys))].into_iter().collect())
}

/// Where the file that the key of a fact names lies below the restored folder `dir`. `None` for a key that could lead
/// out of `dir`.
pub fn restored(dir: &Path, key: &str) -> Option<PathBuf> {
    let host = PathBuf::from(OsString::from_vec(go::unquote(key)?));
    let safe = host.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    safe.then(|| dir.join(in_snapshot(&host)))
}

/// Recounts a fact that maps paths of the host to values: `recount` is given each path below the restored folder `dir`
/// and what was recorded for it; `None` leaves it out, so that it shows as a difference.
pub fn recount<E>(
    dir: &Path,
    recorded: &Facts,
    fact: &str,
    mut recount: impl FnMut(&Path, &Value) -> Result<Option<Value>, E>,
) -> Result<Facts, E> {
    let mut counted = Facts::new();
    for (key, value) in recorded.get(fact).and_then(Value::as_object).into_iter().flatten() {
        if let Some(path) = restored(dir, key)
            && let Some(found) = recount(&path, value)?
        {
            counted.insert(key.clone(), found);
        }
    }
    Ok(counted)
}

/// Reads the metadata of what `path` leads to, links followed. The node bears `path`'s own name.
pub fn read_followed(reader: &NodeReader, path: &Path) -> io::Result<ReadNode> {
    let mut read = reader.read(&path.canonicalize()?)?;
    read.node.name = path.file_name().map_or_else(Vec::new, |name| name.as_bytes().to_vec());
    Ok(read)
}

/// The entry of a folder that is in the snapshot because something below it is, and what could not be read of it. The
/// folder is there even so: without it, what lies below would have no place.
pub fn folder_on_the_way(reader: &NodeReader, host: &Path) -> (Entry, Option<Problem>) {
    let (node, problem) = match read_followed(reader, host) {
        Ok(ReadNode { node, xattr_error: None, .. }) if node.kind == NodeKind::Dir => (node, None),
        Ok(ReadNode { node, xattr_error: Some(error), .. }) if node.kind == NodeKind::Dir => {
            (node, Some(xattrs(&error)))
        }
        Ok(_) => (unknown_folder(host), Some("was a folder a moment ago, and is none now".to_owned())),
        Err(error) => (unknown_folder(host), Some(format!("owner and mode of the folder could not be read: {error}"))),
    };
    let entry = Entry { path: in_snapshot(host), node, data: Data::None };
    (entry, problem.map(|what| Problem::new(host, what)))
}

/// What a problem says where a node has lost its extended attributes.
pub fn xattrs(error: &io::Error) -> String {
    format!("extended attributes could not be read: {error}")
}

fn unknown_folder(host: &Path) -> Node {
    let name = host.file_name().map_or_else(Vec::new, |name| name.as_bytes().to_vec());
    let mut node = Node::new(name, NodeKind::Dir);
    node.mode = go::mode_from_posix(0o040_700);
    node
}

/// Files of the host in the order a capture yields them, with the folders on the way to each.
pub struct Placed<T> {
    /// Paths compare part by part, each part by its bytes: that is depth-first order.
    leaves: btree_map::IntoIter<PathBuf, T>,
    steps: VecDeque<Step<T>>,
    last: PathBuf,
}

/// One step through [`Placed`].
pub enum Step<T> {
    /// A folder on the way to a leaf.
    Folder(PathBuf),
    /// One of the files, and what was given with it.
    Leaf(PathBuf, T),
}

impl<T> Placed<T> {
    /// `leaves` by absolute path. None of the paths may lie below another.
    pub fn new(leaves: BTreeMap<PathBuf, T>) -> Self {
        Self { leaves: leaves.into_iter(), steps: VecDeque::new(), last: PathBuf::new() }
    }
}

impl<T> Iterator for Placed<T> {
    type Item = Step<T>;

    fn next(&mut self) -> Option<Step<T>> {
        if self.steps.is_empty() {
            let (leaf, value) = self.leaves.next()?;
            let mut folders: Vec<_> = leaf
                .ancestors()
                .skip(1)
                .take_while(|folder| folder.parent().is_some() && !self.last.starts_with(folder))
                .map(Path::to_path_buf)
                .collect();
            folders.reverse();
            self.steps.extend(folders.into_iter().map(Step::Folder));
            self.last.clone_from(&leaf);
            self.steps.push_back(Step::Leaf(leaf, value));
        }
        self.steps.pop_front()
    }
}

/// The item of a step to a folder; its problem, if any, goes to `waiting`.
pub fn folder_item(reader: &NodeReader, host: &Path, waiting: &mut VecDeque<Item>) -> Item {
    let (entry, problem) = folder_on_the_way(reader, host);
    waiting.extend(problem.map(Item::Problem));
    Item::Entry(Box::new(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_once_and_before_what_they_hold() {
        let leaves = ["/b/c/x", "/b/c-d", "/a", "/b/c/y", "/b/e/f/z"].map(|path| (PathBuf::from(path), ())).into();
        let steps: Vec<_> = Placed::new(leaves)
            .map(|step| match step {
                Step::Folder(path) => format!("{}/", path.display()),
                Step::Leaf(path, ()) => path.display().to_string(),
            })
            .collect();
        let expected = ["/a", "/b/", "/b/c/", "/b/c/x", "/b/c/y", "/b/c-d", "/b/e/", "/b/e/f/", "/b/e/f/z"];
        assert_eq!(steps, expected);
    }

    #[test]
    fn any_path_survives_as_a_key_and_none_leads_out() {
        let host = Path::new(std::ffi::OsStr::from_bytes(b"/a\xff/\"b\n\\"));
        assert_eq!(restored(Path::new("/r"), &fact_key(host)), Some(Path::new("/r").join(in_snapshot(host))));
        assert_eq!(restored(Path::new("/r"), "/a/../../etc"), None);
    }

    #[test]
    fn dots_are_taken_out_of_paths() {
        assert_eq!(absolute(Path::new("/usr/./bin/")).unwrap(), Path::new("/usr/bin"));
        assert_eq!(absolute(Path::new("/proc/../usr/../tmp")).unwrap(), Path::new("/tmp"));
    }
}
