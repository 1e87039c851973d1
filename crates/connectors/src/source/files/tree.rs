//! The walk of a `files` capture.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use repository::fs::{NodeReader, ReadNode};
use repository::source::OnlyGrows;
use repository::{Cancel, Capture, CaptureCx, Data, Entry, Event, Events, Facts, Item, NodeKind, Problem, SourceError};

use super::FilesSource;
use super::plan::{LeftOut, Plan, chosen_paths};
use crate::source::full_read::FullRead;
use crate::source::layout;
use crate::source::walk::{CACHE_TAG, is_cache_tag, is_kept_by_restore, is_matched};

/// The walk over all chosen paths, in the order of the snapshot.
pub struct FilesCapture<'a> {
    source: Cow<'a, FilesSource>,
    events: &'a dyn Events,
    cancel: &'a Cancel,
    reader: NodeReader,
    left_out: LeftOut,
    full_read: FullRead,
    /// The folders from the root down to where the walk is.
    open: Vec<Folder>,
    /// Found together with what was yielded last.
    waiting: VecDeque<Item>,
}

/// A folder whose names are being gone through.
struct Folder {
    host: PathBuf,
    names: std::vec::IntoIter<Name>,
    /// Chosen paths that lie further down.
    below: BTreeMap<OsString, Plan>,
    /// The chosen path it lies in. `None` on the way to one.
    chosen: Option<Arc<Chosen>>,
}

/// A name in a folder.
struct Name {
    name: OsString,
    is_folder: bool,
    /// It is captured with all it holds; otherwise it is only on the way to chosen paths further down.
    in_full: bool,
}

/// A chosen path.
struct Chosen {
    host: PathBuf,
    /// Its file system, where that matters.
    device: Option<u64>,
}

impl<'a> FilesCapture<'a> {
    pub fn new(source: Cow<'a, FilesSource>, cx: &CaptureCx<'a>) -> Result<Self, SourceError> {
        let paths = chosen_paths(&source.options.paths)?;
        let left_out = LeftOut::new(&paths, cx.claimed, cx.own_paths, cx.scratch);
        let full_read = FullRead::new(cx, source.options.full_read);
        let mut capture = Self {
            source,
            events: cx.events,
            cancel: cx.cancel,
            reader: NodeReader::default(),
            left_out,
            full_read,
            open: Vec::new(),
            waiting: VecDeque::new(),
        };
        let plan = Plan::new(&paths);
        let root = PathBuf::from("/");
        let chosen = plan.is_chosen.then(|| capture.chosen(&root));
        let names = match &chosen {
            Some(_) => capture.list(&root).map_err(SourceError::io(&root))?,
            None => Vec::new(),
        };
        capture.enter(root, names, plan.below, chosen);
        Ok(capture)
    }

    fn chosen(&self, host: &Path) -> Arc<Chosen> {
        let device = self.source.options.one_file_system.then(|| device_of(host).ok()).flatten();
        Arc::new(Chosen { host: host.to_path_buf(), device })
    }

    /// Goes into a folder next: through its `names` and those of chosen paths below, in order.
    fn enter(
        &mut self,
        host: PathBuf,
        mut names: Vec<Name>,
        below: BTreeMap<OsString, Plan>,
        chosen: Option<Arc<Chosen>>,
    ) {
        let on_the_way = below.keys().filter(|name| names.binary_search_by(|known| known.name.cmp(name)).is_err());
        let on_the_way: Vec<_> =
            on_the_way.map(|name| Name { name: name.clone(), is_folder: true, in_full: false }).collect();
        if !on_the_way.is_empty() {
            names.extend(on_the_way);
            names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        }
        self.open.push(Folder { host, names: names.into_iter(), below, chosen });
    }

    /// The names in a folder, sorted. What is found missing or broken on the way is reported.
    fn list(&mut self, folder: &Path) -> io::Result<Vec<Name>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            match entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?.is_dir()))) {
                Ok((name, is_folder)) => names.push(Name { name, is_folder, in_full: true }),
                // Vanished between the listing and the question for its type.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    self.problem(folder, format!("the folder could only be listed in part: {error}"));
                    break;
                }
            }
        }
        names.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(names)
    }

    fn problem(&mut self, host: &Path, what: impl Into<String>) {
        self.waiting.push_back(Item::Problem(Problem::new(host, what)));
    }

    fn note(&self, host: &Path, what: &str) {
        self.events.emit(Event::Note(format!("{}: {what}", host.display())));
    }

    /// Looks at one name; what is to be yielded goes to `waiting`.
    fn visit(&mut self, host: PathBuf, name: &Name, plan: Plan, parent: Option<Arc<Chosen>>) {
        let is_configured = plan.is_chosen || !plan.below.is_empty();
        if self.left_out.claimed.contains(&host) || (self.left_out.scratch.contains(&host) && !is_configured) {
            return;
        }
        if !is_configured && is_kept_by_restore(&name.name) {
            return self.note(&host, "left out, since a restore in place keeps it for its undo");
        }
        if let Some(own) = self.left_out.own.get(&host) {
            let own = own.display().to_string();
            match is_configured {
                true => self.problem(
                    &host,
                    format!("not captured: it is, or lies in, {own}, where Lifeboat keeps its repository or state"),
                ),
                false => self.note(&host, "left out, since Lifeboat keeps its repository or state there"),
            }
            return;
        }
        let chosen = match parent.filter(|_| name.in_full) {
            _ if plan.is_chosen => Some(self.chosen(&host)),
            Some(parent) if is_matched(&self.source.exclude, &parent.host, &host, name.is_folder) => None,
            parent => parent,
        };
        if chosen.is_none() && plan.below.is_empty() {
            return;
        }
        match self.read(&host, chosen.is_some(), &plan) {
            Ok(ReadNode { node, xattr_error, .. }) => {
                if let Some(error) = xattr_error {
                    self.problem(&host, layout::xattrs(&error));
                }
                match node.kind {
                    NodeKind::Dir => self.visit_folder(host, node, plan, chosen),
                    _ => self.visit_leaf(&host, node, &plan, chosen.as_deref()),
                }
            }
            Err(error) => self.unreadable(&host, &plan, &error),
        }
    }

    /// Reads a node. On the way to a chosen path, links are followed, since the path goes through them.
    fn read(&self, host: &Path, in_full: bool, plan: &Plan) -> io::Result<ReadNode> {
        if !in_full {
            return layout::read_followed(&self.reader, host);
        }
        let read = self.reader.read(host)?;
        if read.node.kind == NodeKind::Symlink && !plan.below.is_empty() {
            self.note(host, "kept as a folder, not as the link it is, since other paths go through it");
            return layout::read_followed(&self.reader, host);
        }
        Ok(read)
    }

    fn unreadable(&mut self, host: &Path, plan: &Plan, error: &io::Error) {
        let is_configured = plan.is_chosen || !plan.below.is_empty();
        match error.kind() {
            io::ErrorKind::NotFound if !is_configured => self.note(host, "vanished while it was being captured"),
            io::ErrorKind::NotFound => self.problem(host, "does not exist"),
            io::ErrorKind::InvalidFilename if host.as_os_str().len() >= PATH_BYTES_MAX => {
                self.problem(host, format!("its path is longer than the {PATH_BYTES_MAX} bytes that Linux can open"));
            }
            _ => self.problem(host, error.to_string()),
        }
    }

    fn visit_folder(&mut self, host: PathBuf, node: repository::Node, plan: Plan, chosen: Option<Arc<Chosen>>) {
        // A link that was followed is walked only on the way to what was chosen further down.
        let followed = chosen.is_some() && !plan.below.is_empty() && host.is_symlink();
        let within = chosen.filter(|chosen| !followed && chosen.device.is_none_or(|device| is_on(&host, device)));
        let mut names = Vec::new();
        if within.is_some() {
            match self.list(&host) {
                Ok(listed) => names = listed,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return self.unreadable(&host, &plan, &error);
                }
                Err(error) => self.problem(&host, format!("the folder could not be listed: {error}")),
            }
        }
        let options = &self.source.options;
        let tag = |name: &Name| name.name == OsStr::new(CACHE_TAG);
        if options.exclude_caches && names.iter().any(tag) && is_cache_tag(&host.join(CACHE_TAG)) {
            names.retain(tag);
        }
        self.waiting.push_back(entry(&host, node, Data::None));
        self.enter(host, names, plan.below, within);
    }

    fn visit_leaf(&mut self, host: &Path, mut node: repository::Node, plan: &Plan, chosen: Option<&Chosen>) {
        let Some(chosen) = chosen else {
            return self.problem(host, "is not a folder, so the paths below it do not exist");
        };
        if !plan.below.is_empty() {
            self.problem(host, "is not a folder, so the paths below it do not exist");
        }
        let data = match node.kind {
            NodeKind::File => {
                let mut append_only = is_matched(&self.source.append_only, &chosen.host, host, false);
                if append_only {
                    // The next capture compares the device, also where this one reads in full. Without it, no tail.
                    match device_of(host) {
                        Ok(device) => node.device_id = device,
                        Err(_) => append_only = false,
                    }
                }
                let append_only = (append_only && !self.full_read.is_due).then(|| only_grows(host));
                Data::File { path: host.to_path_buf(), append_only }
            }
            _ => Data::None,
        };
        self.waiting.push_back(entry(host, node, data));
    }
}

/// What tells whether a file of this name only ever grows. CouchDB's are known by their layout, as other programs use the same
/// names; of others the configuration says it.
fn only_grows(host: &Path) -> OnlyGrows {
    match host.extension().is_some_and(|ending| ending == "couch" || ending == "view") {
        true => |file| couchfile::has_block_marks(file),
        false => |_| Ok(true),
    }
}

/// Linux opens no longer path, the closing zero byte included (`PATH_MAX`).
const PATH_BYTES_MAX: usize = 4096;

impl Capture for FilesCapture<'_> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        loop {
            self.cancel.check()?;
            if let Some(item) = self.waiting.pop_front() {
                return Ok(Some(item));
            }
            let Some(folder) = self.open.last_mut() else { return Ok(None) };
            match folder.names.next() {
                Some(name) => {
                    let host = folder.host.join(&name.name);
                    let plan = folder.below.remove(&name.name).unwrap_or_default();
                    let chosen = folder.chosen.clone();
                    self.visit(host, &name, plan, chosen);
                }
                None => {
                    self.open.pop();
                }
            }
        }
    }

    fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
        if !self.open.is_empty() || !self.waiting.is_empty() {
            return Err(SourceError::Invalid { what: "the folders were not walked to their end".to_owned() });
        }
        let mut facts = layout::paths_fact(self.source.options.paths.iter().map(PathBuf::as_path))?;
        if !self.source.append_only.is_empty() {
            self.full_read.note(&mut facts);
        }
        Ok(facts)
    }
}

fn entry(host: &Path, node: repository::Node, data: Data) -> Item {
    debug_assert_eq!(host.file_name().map(OsStr::as_bytes), Some(node.name.as_slice()));
    Item::Entry(Box::new(Entry { path: layout::in_snapshot(host), node, data }))
}

fn device_of(host: &Path) -> io::Result<u64> {
    Ok(host.symlink_metadata()?.dev())
}

/// Whether `host` lies on the file system `device`. One that cannot be asked is looked into, and reported there.
fn is_on(host: &Path, device: u64) -> bool {
    device_of(host).map_or(true, |found| found == device)
}
