//! Source `container-files`: files out of a container, whether or not it runs and whether they lie in its own layer or in
//! what is mounted into it.
//!
//! The engine gives them as a tar, which is put into a scratch file before anything is yielded: so that what is captured
//! belongs to the instant of the recovery point, and comes in the order that a snapshot needs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use ignore::gitignore::Gitignore;
use repository::format::go;
use repository::format::node::Xattr;
use repository::format::time::Time;
use repository::{
    Cancel, Capture, CaptureCx, Data, Entry, Event, Facts, Item, Node, NodeKind, Problem, Source, SourceError,
};
use serde_json::{Value, json};
use tar::EntryType;

use super::walk::{compile_patterns, is_matched};
use crate::containers::{Container, ContainerName, Containers, EngineAddress};

/// The kind's name in the configuration.
pub const KIND: &str = "container-files";

/// The fact that says what the container was.
const CONTAINER: &str = "container";
/// The paths in the container. They are none of the host, so a restore in place must not take them for such.
const PATHS_IN_CONTAINER: &str = "paths_in_container";
/// More files than this are not kept in memory; a volume is read without that bound.
const ENTRIES_MAX: usize = 2_000_000;
/// How a tar ends (POSIX pax, "two blocks of zeros"). Where it does not, the engine gave up in between.
const END_BYTES: usize = 1024;
/// How pax records of extended attributes begin.
const XATTR: &str = "SCHILY.xattr.";

/// What a [`ContainerFilesSource`] captures.
#[derive(Clone, Debug)]
pub struct ContainerFilesOptions {
    /// Which container.
    pub container: ContainerName,
    /// Absolute paths in it. What a link among them leads to is captured, too.
    pub paths: Vec<PathBuf>,
    /// Gitignore patterns of what is left out, anchored at each of `paths`.
    pub exclude: Vec<String>,
    /// Where the engine is.
    pub engine: EngineAddress,
}

/// Files in a container.
#[derive(Clone, Debug)]
pub struct ContainerFilesSource {
    options: ContainerFilesOptions,
    exclude: Gitignore,
}

impl ContainerFilesSource {
    /// Fails with a message for the user where a pattern is malformed, or a path is not absolute or the root.
    pub fn new(options: ContainerFilesOptions) -> Result<Self, SourceError> {
        let exclude = compile_patterns("exclude", &options.exclude)?;
        let is_fine = |path: &PathBuf| {
            let mut parts = path.components();
            parts.next() == Some(Component::RootDir)
                && parts.clone().next().is_some()
                && parts.all(|part| matches!(part, Component::Normal(_)))
        };
        if let Some(path) = options.paths.iter().find(|path| !is_fine(path)) {
            let what = format!("paths: {} is not a path below / in the container, without `..`", path.display());
            return Err(SourceError::Unavailable { what });
        }
        if options.paths.is_empty() {
            let what = "paths: name at least one file or folder in the container".to_owned();
            return Err(SourceError::Unavailable { what });
        }
        Ok(Self { options, exclude })
    }

    /// Opens the view. It holds all it needs.
    pub(super) fn open<'a>(&self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        let containers = self.options.engine.open(cx.cancel)?;
        let container = containers.find(&self.options.container)?;
        let mut facts = Facts::new();
        facts.insert(CONTAINER.to_owned(), described(&containers, &container));
        let paths: Vec<_> = self.options.paths.iter().map(|path| path.display().to_string()).collect();
        facts.insert(PATHS_IN_CONTAINER.to_owned(), Value::from(paths));
        let mut found = Found { exclude: &self.exclude, leaves: BTreeMap::new(), problems: VecDeque::new() };
        if cx.look_only {
            let name = &container.name;
            cx.events.emit(Event::Note(format!("container {name}: its files are not counted in a dry run")));
        } else {
            found.take_all(cx, &containers, &container, &self.options.paths)?;
        }
        Ok(Box::new(ContainerCapture {
            cancel: cx.cancel,
            steps: found.leaves.into_iter(),
            waiting: found.problems,
            facts,
            is_done: false,
        }))
    }
}

/// What a container is, without what it was given to keep to itself.
fn described(containers: &Containers, container: &Container) -> Value {
    // An image that was removed meanwhile has none.
    let digests = containers.digests(&container.image_id).unwrap_or_default();
    json!({
        "name": container.name, "project": container.project(), "service": container.service(),
        "image": container.image, "digests": digests,
    })
}

impl Source for ContainerFilesSource {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn claims(&self, _: &Cancel) -> Result<BTreeSet<PathBuf>, SourceError> {
        Ok(BTreeSet::new())
    }

    fn capture<'a>(&'a self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        self.open(cx)
    }
}

/// What was found, by the path in the container.
struct Found<'a> {
    exclude: &'a Gitignore,
    leaves: BTreeMap<PathBuf, Leaf>,
    problems: VecDeque<Problem>,
}

/// Something in a container.
#[derive(Clone)]
struct Leaf {
    node: Node,
    /// Where its bytes lie, where it has any.
    content: Option<Section>,
}

/// Some bytes of a scratch file.
#[derive(Clone)]
struct Section {
    file: Arc<File>,
    at: u64,
    end: u64,
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        if length == 0 {
            return Ok(0);
        }
        let read = self.file.read_at(&mut buffer[..length], self.at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.at += read as u64;
        Ok(read)
    }
}

impl Found<'_> {
    /// Takes what lies at each path, and at what it leads to where it is a link.
    fn take_all(
        &mut self,
        cx: &CaptureCx<'_>,
        containers: &Containers,
        container: &Container,
        paths: &[PathBuf],
    ) -> Result<(), SourceError> {
        let mut waiting: VecDeque<PathBuf> = paths.iter().cloned().collect();
        let mut last = None;
        while let Some(path) = waiting.pop_front() {
            if self.leaves.get(&path).is_some_and(|leaf| leaf.node.kind != NodeKind::Dir) {
                continue;
            }
            let target = match containers.link_target(container, &path) {
                Ok(target) => target.filter(|target| *target != path),
                Err(SourceError::Cancelled) => return Err(SourceError::Cancelled),
                Err(error) => {
                    self.problems.push_back(Problem::new(&path, error.to_string()));
                    last = Some(error);
                    continue;
                }
            };
            let tar = spool(containers.read(container, &path)?, cx, &path)?;
            self.take(&path, tar)?;
            waiting.extend(target);
        }
        match last {
            Some(error) if self.leaves.is_empty() => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes what one tar holds, which is what lay at `path`.
    fn take(&mut self, path: &Path, tar: Arc<File>) -> Result<(), SourceError> {
        let broken = |error: io::Error| SourceError::Invalid {
            what: format!("{}: what the container engine gave is no whole tar: {error}", path.display()),
        };
        let bytes = tar.metadata().map_err(broken)?.len();
        let whole = Section { end: bytes, file: Arc::clone(&tar), at: 0 };
        let mut archive = tar::Archive::new(io::BufReader::new(whole));
        for entry in archive.entries().map_err(broken)? {
            let mut entry = entry.map_err(broken)?;
            let Some(host) = place(path, &entry.path_bytes()).map_err(broken)? else { continue };
            if self.leaves.len() >= ENTRIES_MAX {
                let what = format!("{}: more than {ENTRIES_MAX} files; use the source `volume`", path.display());
                return Err(SourceError::Unavailable { what });
            }
            if self.is_excluded(path, &host, entry.header().entry_type() == EntryType::Directory) {
                continue;
            }
            let kind = entry.header().entry_type();
            if kind == EntryType::Link {
                self.take_link(path, &host, entry.link_name_bytes().as_deref()).map_err(broken)?;
                continue;
            }
            let Some(kind) = kind_of(kind) else {
                let what = format!("is a kind of file that is not read out of containers ({kind:?})");
                self.problems.push_back(Problem::new(&host, what));
                continue;
            };
            let node = node(&host, kind, &mut entry).map_err(broken)?;
            let at = entry.raw_file_position();
            let content = if node.kind == NodeKind::File {
                let end = at.checked_add(node.size).filter(|end| *end <= bytes);
                let end = end.ok_or_else(|| broken(io::Error::other("a file is longer than the tar")))?;
                Some(Section { file: Arc::clone(&tar), at, end })
            } else {
                None
            };
            self.put(host, Leaf { node, content });
        }
        Ok(())
    }

    /// A second name of a file: it gets bytes of its own.
    fn take_link(&mut self, path: &Path, host: &Path, target: Option<&[u8]>) -> io::Result<()> {
        let target = place(path, target.unwrap_or_default())?.unwrap_or_else(|| path.to_owned());
        match self.leaves.get(&target).cloned() {
            Some(mut leaf) => {
                leaf.node.name = name_of(host);
                self.put(host.to_owned(), leaf);
            }
            None => {
                let what = format!("is another name of {}, which was left out", target.display());
                self.problems.push_back(Problem::new(host, what));
            }
        }
        Ok(())
    }

    /// Puts in a leaf, and the folders on the way to it that nothing is known of.
    fn put(&mut self, host: PathBuf, leaf: Leaf) {
        let folders = host.ancestors().skip(1).take_while(|folder| folder.parent().is_some());
        for folder in folders {
            self.leaves.entry(folder.to_owned()).or_insert_with(|| {
                let mut node = Node::new(name_of(folder), NodeKind::Dir);
                node.mode = go::mode_from_posix(0o040_755);
                Leaf { node, content: None }
            });
        }
        self.leaves.insert(host, leaf);
    }

    /// Whether a path below `base`, or a folder on the way to it, is left out. The base itself never is.
    fn is_excluded(&self, base: &Path, host: &Path, is_folder: bool) -> bool {
        let below = host.ancestors().take_while(|path| path.starts_with(base) && *path != base);
        below.enumerate().any(|(depth, path)| is_matched(self.exclude, base, path, is_folder || depth > 0))
    }
}

/// Puts a tar into a file that has no name and is gone when it is closed.
fn spool(mut tar: impl Read, cx: &CaptureCx<'_>, path: &Path) -> Result<Arc<File>, SourceError> {
    let failed = |error: io::Error| match error.downcast::<SourceError>() {
        Ok(error) => error,
        Err(error) => SourceError::io(path)(error),
    };
    let mut file = tempfile::tempfile_in(cx.scratch).map_err(SourceError::io(cx.scratch))?;
    let bytes = io::copy(&mut tar, &mut file).map_err(failed)?;
    let mut end = [1; END_BYTES];
    let has_end = bytes >= END_BYTES as u64 && file.read_exact_at(&mut end, bytes - END_BYTES as u64).is_ok();
    if !has_end || end.iter().any(|byte| *byte != 0) {
        let what =
            format!("{}: the container engine stopped in the middle, as when files change; try again", path.display());
        return Err(SourceError::Invalid { what });
    }
    Ok(Arc::new(file))
}

/// Where a member of the tar of `path` lies in the container; `None` for what is above it. Names begin with the last part of
/// `path`. Those that Podman gives for a volume of a container that does not run begin with a slash, in place of the volume.
fn place(path: &Path, member: &[u8]) -> io::Result<Option<PathBuf>> {
    let (base, inside) = match member.strip_prefix(b"/") {
        Some(inside) => (path, below(inside)?),
        None => (path.parent().unwrap_or(path), below(member)?),
    };
    Ok(match (inside.as_os_str().is_empty(), member.starts_with(b"/")) {
        (true, false) => None,
        (true, true) => Some(path.to_owned()),
        (false, _) => Some(base.join(inside)),
    })
}

/// A member's path, which stays below where it is put. Empty for the folder itself.
fn below(bytes: &[u8]) -> io::Result<PathBuf> {
    let path = Path::new(OsStr::from_bytes(bytes));
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_) | Component::CurDir);
    if bytes.contains(&0) || !path.components().all(is_plain) {
        return Err(io::Error::other(format!("it holds the path {}", go::quote(bytes))));
    }
    Ok(path.components().filter(|part| *part != Component::CurDir).collect())
}

fn name_of(path: &Path) -> Vec<u8> {
    path.file_name().unwrap_or_default().as_bytes().to_vec()
}

fn kind_of(kind: EntryType) -> Option<NodeKind> {
    Some(match kind {
        EntryType::Regular | EntryType::Continuous => NodeKind::File,
        EntryType::Directory => NodeKind::Dir,
        EntryType::Symlink => NodeKind::Symlink,
        EntryType::Block => NodeKind::BlockDevice,
        EntryType::Char => NodeKind::CharDevice,
        EntryType::Fifo => NodeKind::Fifo,
        _ => return None,
    })
}

/// The metadata of a member.
fn node<R: Read>(host: &Path, kind: NodeKind, entry: &mut tar::Entry<'_, R>) -> io::Result<Node> {
    let mut node = Node::new(name_of(host), kind);
    let number = |number: u64| u32::try_from(number).map_err(|_| io::Error::other("it holds an owner that is none"));
    let header = entry.header();
    node.mode = go::mode_from_posix(repository::fs::type_bits(kind) | (header.mode()? & 0o7777));
    (node.uid, node.gid) = (number(header.uid()?)?, number(header.gid()?)?);
    node.mtime = Time { seconds: i64::try_from(header.mtime()?).unwrap_or(0), nanoseconds: 0 };
    node.ctime = node.mtime;
    node.atime = node.mtime;
    if matches!(kind, NodeKind::BlockDevice | NodeKind::CharDevice) {
        let (major, minor) = (header.device_major()?, header.device_minor()?);
        node.device = rustix::fs::makedev(major.unwrap_or(0), minor.unwrap_or(0));
    }
    if kind == NodeKind::Symlink {
        node.link_target = entry.link_name_bytes().unwrap_or_default().into_owned();
    }
    if kind == NodeKind::File {
        (node.size, node.links) = (entry.size(), 1);
    }
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        if let Some(name) = record.key().ok().and_then(|key| key.strip_prefix(XATTR)) {
            node.xattrs.push(Xattr { name: name.to_owned(), value: record.value_bytes().to_vec() });
        }
    }
    node.xattrs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(node)
}

struct ContainerCapture<'a> {
    cancel: &'a Cancel,
    steps: std::collections::btree_map::IntoIter<PathBuf, Leaf>,
    waiting: VecDeque<Problem>,
    facts: Facts,
    is_done: bool,
}

impl Capture for ContainerCapture<'_> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        self.cancel.check()?;
        if let Some(problem) = self.waiting.pop_front() {
            return Ok(Some(Item::Problem(problem)));
        }
        let Some((host, leaf)) = self.steps.next() else {
            self.is_done = true;
            return Ok(None);
        };
        let data = leaf.content.map_or(Data::None, |section| Data::Stream(Box::new(section)));
        let path = super::layout::in_snapshot(&host);
        Ok(Some(Item::Entry(Box::new(Entry { path, node: leaf.node, data }))))
    }

    fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
        if !self.is_done {
            return Err(SourceError::Invalid { what: "the container's files were not read to their end".to_owned() });
        }
        Ok(self.facts)
    }
}

/// The files of a tar of what lay at `path`, each with its bytes.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_tar(path: &Path, bytes: &[u8]) -> Result<BTreeMap<PathBuf, Vec<u8>>, SourceError> {
    let mut file = tempfile::tempfile().map_err(SourceError::io(path))?;
    io::Write::write_all(&mut file, bytes).map_err(SourceError::io(path))?;
    let exclude = compile_patterns("exclude", &[])?;
    let mut found = Found { exclude: &exclude, leaves: BTreeMap::new(), problems: VecDeque::new() };
    found.take(path, Arc::new(file))?;
    let mut files = BTreeMap::new();
    for (path, leaf) in found.leaves {
        let Some(mut content) = leaf.content else { continue };
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(SourceError::io(&path))?;
        assert_eq!(bytes.len() as u64, leaf.node.size, "{}", path.display());
        files.insert(path, bytes);
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A tar of one small file.
    fn of_a_file() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(3);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        builder.append_data(&mut header, "a", &b"abc"[..]).unwrap();
        builder.into_inner().unwrap()
    }

    proptest! {
        #[test]
        fn whatever_an_engine_gives_is_read_or_refused(at in 0..600_usize, byte: u8, more in 0..600_usize, other: u8) {
            let mut tar = of_a_file();
            (tar[at], tar[more]) = (byte, other);
            let _ = read_tar(Path::new("/b/a"), &tar);
        }

        #[test]
        fn a_size_beyond_the_tar_is_refused(size in 3 * 512_u64..) {
            let mut tar = of_a_file();
            let mut header = tar::Header::from_byte_slice(&tar[..512]).clone();
            // Too large for octal digits is written in base 256.
            header.set_size(size);
            header.set_cksum();
            tar[..512].copy_from_slice(header.as_bytes());
            prop_assert!(read_tar(Path::new("/b/a"), &tar).is_err());
        }
    }

    #[test]
    fn a_member_that_leads_out_is_refused() {
        for bad in ["../x", "/etc/passwd", "a/../b", "a\0b"] {
            assert!(below(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert_eq!(below(b"./a/b/").unwrap(), Path::new("a/b"));
        assert_eq!(below(b"./").unwrap(), Path::new(""));
    }

    #[test]
    fn a_tar_that_breaks_off_is_refused() {
        let setup = crate::source::testing::Setup::default();
        let whole = of_a_file();
        let events = repository::events::Recorded::default();
        let cx = CaptureCx {
            events: &events,
            cancel: &setup.cancel,
            clock: &setup.clock,
            claimed: &setup.claimed,
            scratch: setup.scratch.path(),
            own_paths: &[],
            previous: None,
            look_only: false,
        };
        let spooled = |bytes: &[u8]| spool(bytes, &cx, Path::new("/a"));
        let file = spooled(&whole).unwrap();
        let exclude = compile_patterns("exclude", &[]).unwrap();
        let mut found = Found { exclude: &exclude, leaves: BTreeMap::new(), problems: VecDeque::new() };
        found.take(Path::new("/b/a"), file).unwrap();
        assert_eq!(found.leaves.into_keys().collect::<Vec<_>>(), [PathBuf::from("/b"), PathBuf::from("/b/a")]);
        let cut = spooled(&whole[..whole.len() - END_BYTES]).unwrap_err().to_string();
        assert!(cut.contains("stopped in the middle"), "{cut}");
    }

    #[test]
    fn members_are_named_from_the_folder_or_from_its_parent() {
        let at = |member: &str| place(Path::new("/srv/data"), member.as_bytes()).ok().flatten();
        for (member, host) in
            [("data/", "/srv/data"), ("data/a", "/srv/data/a"), ("/", "/srv/data"), ("/a/b", "/srv/data/a/b")]
        {
            assert_eq!(at(member).as_deref(), Some(Path::new(host)), "{member}");
        }
        for member in ["", "../a", "/../a", "//a", "data/../../a"] {
            assert_eq!(at(member), None, "{member}");
        }
    }
}
