//! What the swap will do, entry by entry: decided from the snapshot's tree and what lies on this host, before anything is
//! done. Both are read folder by folder; the plan holds only what changes.

mod decide;
mod links;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use repository::format::go;
use repository::format::tree::TreeReader;
use repository::fs::NodeReader;
use repository::walk::{self, Go, Step};
use repository::{Error, Id, Index, Node, NodeKind, Repository, RunCx, verify};
use rustix::fs::Access;
use serde::Serialize;

use super::journal::is_own_folder;
use super::locate::{Located, Target, real_path};
use super::mounts::Mounts;
use super::{Effect, Finding, InPlaceError, Options, verify_options};
use decide::{Decision, decide};
use links::Links;

/// The plan of a swap.
#[derive(Debug, Default)]
pub struct SwapPlan {
    /// Every change.
    pub changes: Vec<Change>,
    /// Entries that are the same in the snapshot and on this host.
    pub identical: u64,
    /// Entries on this host that are not in the snapshot and are left alone, what is below them not counted.
    pub extras_left: u64,
    /// What keeps the plan from being carried out.
    pub findings: Vec<Finding>,
}

/// One change to the host.
#[derive(Clone, Debug)]
pub struct Change {
    /// The target, by number.
    pub target: usize,
    /// The path on this host.
    pub path: PathBuf,
    /// What is done.
    pub action: Action,
}

impl Change {
    /// Whether it is worth showing: metadata that is set again only because renames changed it is not.
    pub fn is_visible(&self) -> bool {
        !matches!(self.action, Action::Metadata { differs: false, .. })
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match &self.action {
            Action::MakeFolder { .. } => "make folder",
            Action::Create => "create",
            Action::Replace => "replace",
            Action::ReplaceKind { .. } => "replace (another kind)",
            Action::MoveAway => "move away",
            Action::MoveSideFile => "move away (of the database before)",
            Action::Metadata { .. } => "set metadata of",
        };
        write!(f, "{what} {}", self.path.display())
    }
}

/// What is done to one path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// A folder on the way to a target is made.
    MakeFolder {
        /// Its metadata, where the snapshot has it.
        #[serde(skip)]
        after: Option<Box<Node>>,
    },
    /// It comes out of the snapshot, with all below it; nothing is there.
    Create,
    /// What is there differs, and is moved away for what the snapshot has.
    Replace,
    /// What is there is even of another kind.
    ReplaceKind {
        /// The kind that is moved away, with all below it.
        #[serde(serialize_with = "kind_name")]
        live: NodeKind,
    },
    /// It is not in the snapshot, and is moved away.
    MoveAway,
    /// It belongs to the state a database had before, and is moved away.
    MoveSideFile,
    /// A folder stays and gets its metadata back when its entries are done.
    Metadata {
        /// What it has now.
        #[serde(skip)]
        before: Box<Node>,
        /// What it gets.
        #[serde(skip)]
        after: Box<Node>,
        /// Whether the two differ; where not, the renames in the folder make it necessary.
        differs: bool,
    },
}

fn kind_name<S: serde::Serializer>(kind: &NodeKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.name())
}

/// Plans the swap from the snapshot's tree and what lies on this host now. Reads the contents of files whose metadata is
/// that of the snapshot.
pub fn plan_swap(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    tree: &Id,
    located: &Located,
    options: &Options,
) -> Result<SwapPlan, InPlaceError> {
    let kept = options.protected.iter().chain(&options.claimed).chain(&located.known);
    let mut planner = Planner {
        cx,
        repository,
        index,
        reader: NodeReader::default(),
        verify: verify_options(),
        delete: options.delete,
        own: options.protected.iter().flat_map(|path| names_of(path)).collect(),
        protected: kept.flat_map(|path| names_of(path)).collect(),
        carved: BTreeSet::new(),
        rewritten: BTreeSet::new(),
        target: 0,
        links: Links::default(),
        plan: SwapPlan::default(),
        parents: HashMap::new(),
    };
    for (number, target) in located.targets.iter().enumerate() {
        let below =
            located.targets.iter().filter(|other| other.live != target.live && other.live.starts_with(&target.live));
        planner.carved = below.flat_map(|other| other.side_files().chain([other.live.clone()])).collect();
        planner.target = number;
        planner.delete = options.delete || target.root.is_one_whole();
        let live = |path: &PathBuf| Some(target.live.join(path.strip_prefix(&target.root.host).ok()?));
        planner.rewritten = options.rewritten.iter().filter_map(live).map(|path| path.components().collect()).collect();
        planner.target(target, &located.places[target.place], tree)?;
    }
    planner.outdated(located, &options.outdated)?;
    Ok(planner.finish())
}

/// Where a path lies, and where it leads if it is a link.
fn names_of(path: &Path) -> impl Iterator<Item = PathBuf> {
    [real_path(path)].into_iter().chain(path.canonicalize())
}

struct Planner<'a> {
    cx: &'a RunCx<'a>,
    repository: &'a Repository,
    index: &'a Index,
    reader: NodeReader,
    verify: verify::Options,
    delete: bool,
    /// What Lifeboat itself works with: neither replaced nor moved away.
    own: BTreeSet<PathBuf>,
    /// Never moved away as surplus.
    protected: BTreeSet<PathBuf>,
    /// Paths of other targets: theirs alone to plan.
    carved: BTreeSet<PathBuf>,
    /// Files that are swapped in whatever is there.
    rewritten: BTreeSet<PathBuf>,
    target: usize,
    links: Links,
    plan: SwapPlan,
    /// The metadata that folders around targets have now.
    parents: HashMap<PathBuf, (usize, Node)>,
}

/// A folder that is being merged, or looked through for what is protected.
struct Open {
    live: PathBuf,
    /// What it has now.
    before: Node,
    /// What it gets.
    after: Node,
    /// The snapshot's side; `None` where the snapshot has no such folder.
    tree: Option<(Id, TreeReader)>,
    waiting: Option<Node>,
    /// The host's side, sorted by the bytes of the names.
    names: VecDeque<std::ffi::OsString>,
    differs: bool,
}

/// One name, and what each side has there.
struct Pair {
    path: PathBuf,
    snapshot: Option<Node>,
    live: Option<Node>,
}

impl Planner<'_> {
    fn target(&mut self, target: &Target, place: &Path, tree: &Id) -> Result<(), InPlaceError> {
        for folder in &target.missing {
            // Where an outer target brings it along, it only gets its metadata back.
            let is_planned =
                |change: &Change| change.path == *folder && matches!(change.action, Action::MakeFolder { .. });
            if self.plan.changes.iter().any(is_planned) {
                continue;
            }
            // The names on the way are the same on both sides: links are only followed where the folders exist.
            let depth = target.live.components().count() - folder.components().count();
            let path = target.root.in_snapshot().ancestors().nth(depth).map(Path::to_owned).unwrap_or_default();
            let after = walk::find(self.repository, self.index, tree, &path)?;
            let after = after.filter(|node| node.kind == NodeKind::Dir && path.components().count() > 1).map(Box::new);
            self.change(folder, Action::MakeFolder { after });
        }
        for path in target.missing.iter().chain([&target.live]) {
            if let Some(parent) = path.parent().filter(|parent| parent.starts_with(place)) {
                self.note_parent(parent)?;
            }
        }
        for path in target.side_files() {
            if self.read(&path)?.is_some() {
                self.change(&path, Action::MoveSideFile);
            }
        }
        let live = self.read(&target.live)?;
        let mut open: Vec<Open> = Vec::new();
        open.extend(self.entry(&target.live, Some(&target.root.node), live)?);
        while let Some(folder) = open.last_mut() {
            self.cx.cancel.check()?;
            match self.next(folder)? {
                Some(Pair { path, snapshot, live }) => open.extend(self.entry(&path, snapshot.as_ref(), live)?),
                None => open.pop().into_iter().for_each(|folder| self.close(folder)),
            }
        }
        for (path, same) in std::mem::take(&mut self.links).settle() {
            if same {
                self.plan.identical += 1;
            } else {
                self.change(&path, Action::Replace);
            }
        }
        Ok(())
    }

    /// Moves away what must not meet what is restored. A rename must reach it from one of the places.
    fn outdated(&mut self, located: &Located, outdated: &[PathBuf]) -> Result<(), InPlaceError> {
        let mounts = Mounts::of_this_host()?;
        for path in outdated {
            let Some(live) = self.read(path)? else { continue };
            let path = &real_path(path);
            let reaches = |place: &PathBuf| {
                path.starts_with(place)
                    && !path.ancestors().take_while(|above| above != place).any(|at| mounts.is_mount(at))
            };
            match located.targets.iter().position(|target| reaches(&located.places[target.place])) {
                Some(target) => {
                    self.target = target;
                    path.parent().map_or(Ok(()), |parent| self.note_parent(parent))?;
                    self.note_closed(path, &live);
                    self.change(path, Action::MoveSideFile);
                }
                None => {
                    let what = "was made of what is replaced, and no rename reaches it: move it away, or use --force";
                    self.plan.findings.push(Finding::new(Effect::BlocksUnlessForced, path, what));
                }
            }
        }
        Ok(())
    }

    fn change(&mut self, path: &Path, action: Action) {
        self.plan.changes.push(Change { target: self.target, path: path.to_owned(), action });
    }

    fn read(&self, path: &Path) -> Result<Option<Node>, InPlaceError> {
        match self.reader.read(path) {
            Ok(read) => Ok(Some(read.node)),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(error) => Err(InPlaceError::io(path)(error)),
        }
    }

    /// Entries made in the folder around a target change its time, which is not the target's to change.
    fn note_parent(&mut self, parent: &Path) -> Result<(), InPlaceError> {
        if let Some(node) = self.read(parent)? {
            self.parents.entry(parent.to_owned()).or_insert((self.target, node));
        }
        Ok(())
    }

    /// The next name that either side of a folder has.
    fn next(&self, folder: &mut Open) -> Result<Option<Pair>, InPlaceError> {
        loop {
            if let (None, Some((id, reader))) = (&folder.waiting, &mut folder.tree) {
                let id = *id;
                folder.waiting = reader.next().map_err(|what| Error::MalformedTree { id, what })?;
            }
            let in_snapshot = folder.waiting.as_ref().map(|node| node.name.as_slice());
            let here = folder.names.front().map(|name| name.as_bytes());
            let (take_snapshot, take_here) = match (in_snapshot, here) {
                (None, None) => return Ok(None),
                (Some(a), Some(b)) => (a <= b, b <= a),
                (a, b) => (a.is_some(), b.is_some()),
            };
            let snapshot = if take_snapshot { folder.waiting.take() } else { None };
            let name = if take_here { folder.names.pop_front() } else { None };
            let path = match (&snapshot, &name) {
                (Some(node), _) => walk::join(&folder.live, &node.name),
                (None, Some(name)) => folder.live.join(name),
                (None, None) => return Ok(None),
            };
            if self.carved.contains(&path) || path.file_name().is_some_and(is_own_folder) {
                continue;
            }
            let live = if take_here { self.read(&path)? } else { None };
            return Ok(Some(Pair { path, snapshot, live }));
        }
    }

    /// Plans one name. Gives the folder to go into, if any.
    fn entry(
        &mut self,
        path: &Path,
        snapshot: Option<&Node>,
        live: Option<Node>,
    ) -> Result<Option<Open>, InPlaceError> {
        if let (Some(snapshot), Some(live)) = (snapshot, &live)
            && self.own.contains(path)
        {
            self.leave_own(path, snapshot, live)?;
            return Ok(None);
        }
        let live_kind = live.as_ref().map(|node| node.kind);
        let decision = decide(snapshot.map(|node| node.kind), live_kind, self.delete, self.verify.privileged);
        match (decision, snapshot, live) {
            (Decision::Merge, Some(snapshot), Some(live)) => return self.open(path, live, Some(snapshot)).map(Some),
            (Decision::Compare, Some(snapshot), Some(live)) => self.compare(path, snapshot, &live)?,
            (Decision::Create, Some(snapshot), _) => {
                self.note_links(snapshot)?;
                self.change(path, Action::Create);
            }
            (Decision::ReplaceKind(kind), Some(snapshot), Some(live)) => {
                self.note_links(snapshot)?;
                for inside in self.protected_below(path) {
                    let what =
                        format!("lies in {}, which is a {} in the snapshot", path.display(), snapshot.kind.name());
                    let what = format!("{what} and would be moved away with it: move it elsewhere, or use --to");
                    self.plan.findings.push(Finding::new(Effect::Blocks, &inside, what));
                }
                self.note_closed(path, &live);
                self.change(path, Action::ReplaceKind { live: kind });
            }
            (Decision::MoveAway, _, Some(_)) if self.is_protected(path) => self.plan.extras_left += 1,
            (Decision::MoveAway, _, Some(live))
                if live.kind == NodeKind::Dir && !self.protected_below(path).is_empty() =>
            {
                return self.open(path, live, None).map(Some);
            }
            (Decision::MoveAway, _, Some(live)) => {
                self.note_closed(path, &live);
                self.change(path, Action::MoveAway);
            }
            (Decision::LeaveExtra, ..) => self.plan.extras_left += 1,
            _ => {}
        }
        Ok(None)
    }

    /// What this very run reads or writes stays as it is; the user hears of it where the snapshot has something else.
    fn leave_own(&mut self, path: &Path, snapshot: &Node, live: &Node) -> Result<(), InPlaceError> {
        let is_file = live.kind != NodeKind::Dir && snapshot.kind == live.kind;
        if is_file && verify::node(self.cx, self.index, &self.reader, snapshot, path, self.verify)?.is_empty() {
            self.plan.identical += 1;
            return Ok(());
        }
        self.plan.extras_left += 1;
        let what = "is left as it is, since Lifeboat works with it; the snapshot's may differ: restore it with --to";
        self.plan.findings.push(Finding::new(Effect::Warns, path, what));
        Ok(())
    }

    fn compare(&mut self, path: &Path, snapshot: &Node, live: &Node) -> Result<(), InPlaceError> {
        if self.rewritten.contains(path) {
            self.change(path, Action::Replace);
            return Ok(());
        }
        let same = verify::node(self.cx, self.index, &self.reader, snapshot, path, self.verify)?.is_empty();
        // A name more or less for one file is told by all its names together.
        if snapshot.links > 1 || live.links > 1 {
            self.links.note(path, snapshot, Some(live).filter(|_| same));
        } else if same {
            self.plan.identical += 1;
        } else {
            self.change(path, Action::Replace);
        }
        Ok(())
    }

    /// Other names of the files in what is moved in whole are then other names of these.
    fn note_links(&mut self, snapshot: &Node) -> Result<(), InPlaceError> {
        if snapshot.kind != NodeKind::Dir {
            self.links.note_created(snapshot);
        }
        let Some(tree) = snapshot.subtree.filter(|_| snapshot.kind == NodeKind::Dir) else { return Ok(()) };
        let links = &mut self.links;
        walk::walk(self.cx, self.repository, self.index, &tree, &mut |step| {
            if let Step::Reach(_, node) = step {
                links.note_created(node);
            }
            Ok(Go::In)
        })?;
        Ok(())
    }

    fn open(&self, path: &Path, live: Node, snapshot: Option<&Node>) -> Result<Open, InPlaceError> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path).map_err(InPlaceError::io(path))? {
            names.push(entry.map_err(InPlaceError::io(path))?.file_name());
        }
        names.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
        let mut tree = None;
        if let Some(id) = snapshot.and_then(|node| node.subtree) {
            tree = Some((id, walk::open_tree(self.repository, self.index, &id)?));
        }
        let differs = match snapshot {
            None => false,
            Some(node) => !verify::node(self.cx, self.index, &self.reader, node, path, self.verify)?.is_empty(),
        };
        let after = snapshot.cloned().unwrap_or_else(|| live.clone());
        let (live_path, names) = (path.to_owned(), names.into());
        Ok(Open { live: live_path, before: live, after, tree, waiting: None, names, differs })
    }

    fn close(&mut self, folder: Open) {
        let Open { live, before, after, differs, .. } = folder;
        if !differs {
            self.plan.identical += 1;
        }
        let (before, after) = (Box::new(before), Box::new(after));
        // Kept by `finish` where something in the folder changes.
        self.change(&live, Action::Metadata { before, after, differs });
    }

    fn is_protected(&self, path: &Path) -> bool {
        self.protected.contains(path)
    }

    fn protected_below(&self, path: &Path) -> Vec<PathBuf> {
        let below = |paths: &BTreeSet<PathBuf>| {
            let from = paths.range(path.to_owned()..).take_while(|other| other.starts_with(path));
            from.filter(|other| *other != path && other.symlink_metadata().is_ok()).cloned().collect::<Vec<_>>()
        };
        let mut found = below(&self.protected);
        found.extend(below(&self.carved));
        found
    }

    /// Only root can rename a folder into another one without the right to write to it, so its mode is changed for a
    /// moment; the journal must know the mode it had.
    fn note_closed(&mut self, path: &Path, live: &Node) {
        let is_closed = go::permissions_from_mode(live.mode) & 0o200 == 0;
        if live.kind == NodeKind::Dir && is_closed && !self.verify.privileged {
            let (before, after) = (Box::new(live.clone()), Box::new(live.clone()));
            self.change(path, Action::Metadata { before, after, differs: true });
        }
    }

    fn finish(mut self) -> SwapPlan {
        let mut planned: BTreeSet<PathBuf> = BTreeSet::new();
        let mut touched: BTreeSet<PathBuf> = BTreeSet::new();
        for change in &self.plan.changes {
            match change.action {
                Action::Metadata { .. } => drop(planned.insert(change.path.clone())),
                _ => touched.extend(change.path.parent().map(Path::to_owned)),
            }
        }
        for (path, (target, node)) in std::mem::take(&mut self.parents) {
            if !planned.contains(&path) {
                let action = Action::Metadata { before: Box::new(node.clone()), after: Box::new(node), differs: false };
                self.plan.changes.push(Change { target, path, action });
            }
        }
        self.plan.changes.retain(|change| {
            !matches!(change.action, Action::Metadata { differs: false, .. }) || touched.contains(&change.path)
        });
        for change in &self.plan.changes {
            let Action::Metadata { before, .. } = &change.action else { continue };
            self.plan.findings.extend(closed_folder(&change.path, before, touched.contains(&change.path)));
        }
        self.plan
    }
}

/// A folder that cannot be written to, nor opened by its owner.
fn closed_folder(path: &Path, live: &Node, is_touched: bool) -> Option<Finding> {
    if !is_touched || live.uid == rustix::process::geteuid().as_raw() {
        return None;
    }
    rustix::fs::access(path, Access::WRITE_OK | Access::EXEC_OK).err().map(|error| {
        let error = std::io::Error::from(error);
        Finding::new(Effect::Blocks, path, format!("cannot be written to ({error}): run as root, or use --to"))
    })
}
