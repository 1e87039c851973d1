//! Where each root lies on this host now, and beside what its copy is staged: links on the way are resolved, folders that
//! are missing are named, and what no rename can reach is found.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use repository::NodeKind;

use super::mounts::Mounts;
use super::{Effect, Finding, InPlaceError, Root, Selection};

/// A root and its place on this host.
#[derive(Clone, Debug)]
pub struct Target {
    /// What is restored.
    pub root: Root,
    /// Its path on this host, links on the way resolved. Nothing may be there.
    pub live: PathBuf,
    /// The folder, by number in [`Located::places`], beside whose entries it is staged. It exists.
    pub place: usize,
    /// Folders on the way that are missing, outermost first.
    pub missing: Vec<PathBuf>,
    /// The number of its staging folder, shared with the source's other roots in the same place.
    pub staging: usize,
}

/// All targets.
#[derive(Debug, Default)]
pub struct Located {
    /// Sorted by path on this host, so that one that lies below another comes after it.
    pub targets: Vec<Target>,
    /// Existing folders in which staging and undo folders are made.
    pub places: Vec<PathBuf>,
    /// What was met on the way.
    pub findings: Vec<Finding>,
    /// Sources whose whole data is staged in one folder.
    pub whole: BTreeSet<String>,
    /// Paths on this host that belong to any source of the snapshot.
    pub known: Vec<PathBuf>,
    /// The place and source of each staging folder.
    pub stagings: Vec<(usize, String)>,
}

/// Finds where each root lies. Reads metadata of this host, and changes nothing.
pub fn locate(selection: &Selection) -> Result<Located, InPlaceError> {
    let mounts = Mounts::of_this_host()?;
    let mut located = Located { whole: selection.whole.clone(), ..Located::default() };
    located.known.clone_from(&selection.known);
    let mut standing = Vec::new();
    for root in &selection.roots {
        match stand(root, &mut located.findings) {
            Ok(found) => standing.push((root, found)),
            Err(finding) => located.findings.push(finding),
        }
    }
    standing.sort_by(|a, b| a.1.live.cmp(&b.1.live));
    for (root, Standing { live, existing, missing }) in standing {
        let outer = located.targets.iter().rev().find(|other| live.starts_with(&other.live));
        if outer.is_some_and(|other| other.live == live) {
            let what = format!("{} leads here too, and is left out", root.in_snapshot().display());
            located.findings.push(Finding::new(Effect::Warns, &live, what));
            located.whole.remove(&root.source);
            continue;
        }
        // Staged where no rename of another target moves the staging away.
        let place = match outer {
            Some(outer) => located.places[outer.place].clone(),
            None if mounts.is_mount(&live) && live.is_dir() => live.clone(),
            None => within(root, &live, &mounts).unwrap_or(existing),
        };
        let place = position(&mut located.places, place);
        let staging = position(&mut located.stagings, (place, root.source.clone()));
        find_mounts(&mounts, &live, &mut located.findings);
        located.targets.push(Target { root: root.clone(), live, place, missing, staging });
    }
    for source in located.whole.clone() {
        if located.stagings.iter().filter(|(_, name)| *name == source).count() > 1 {
            located.whole.remove(&source);
        }
    }
    Ok(located)
}

impl Target {
    /// What lies beside a database and belongs to its state before the restore.
    pub(super) fn side_files(&self) -> impl Iterator<Item = PathBuf> {
        self.root.side_files(&self.live).into_iter()
    }
}

/// The folder that `root` is a part of, where renames reach from it to `live`.
fn within(root: &Root, live: &Path, mounts: &Mounts) -> Option<PathBuf> {
    let folder = root.within.as_ref()?.canonicalize().ok()?;
    let is_reached = live != folder && live.starts_with(&folder);
    let mut between = live.ancestors().take_while(|path| *path != folder);
    (is_reached && !between.any(|path| mounts.is_mount(path))).then_some(folder)
}

struct Standing {
    live: PathBuf,
    /// The innermost folder on the way that is there.
    existing: PathBuf,
    missing: Vec<PathBuf>,
}

fn stand(root: &Root, findings: &mut Vec<Finding>) -> Result<Standing, Finding> {
    let blocks = |path: &Path, what: String| Finding::new(Effect::Blocks, path, what);
    let (Some(mut parent), Some(name)) = (root.host.parent(), root.host.file_name()) else {
        return Err(blocks(&root.host, "the whole host cannot be restored in place".to_owned()));
    };
    let mut names = Vec::new();
    let existing = loop {
        match (parent.canonicalize(), parent.parent(), parent.file_name()) {
            (Ok(real), _, _) if real.is_dir() => break real,
            (Ok(_), _, _) => return Err(blocks(parent, "is not a folder: move it away, or use --to".to_owned())),
            (Err(error), Some(above), Some(name)) if error.kind() == ErrorKind::NotFound => {
                if parent.symlink_metadata().is_ok() {
                    return Err(blocks(parent, "is a link to nothing: mend it, or use --to".to_owned()));
                }
                names.push(name);
                parent = above;
            }
            (Err(error), _, _) => return Err(blocks(parent, format!("cannot be entered: {error}"))),
        }
    };
    let mut live = existing.clone();
    let mut missing = Vec::new();
    for name in names.into_iter().rev() {
        live.push(name);
        missing.push(live.clone());
    }
    live.push(name);
    if let Some(real) = followed(root, &live) {
        let what = format!("is a link: what lies in {} is replaced, and the link stays", real.display());
        findings.push(Finding::new(Effect::Warns, &live, what));
        let existing = real.parent().unwrap_or(&real).to_owned();
        return Ok(Standing { live: real, existing, missing });
    }
    Ok(Standing { live, existing, missing })
}

/// Where a link leads that stands for the root itself: the user has moved the data elsewhere and left a link. Links
/// further down are data like any other.
fn followed(root: &Root, live: &Path) -> Option<PathBuf> {
    if root.node.kind == NodeKind::Symlink || !live.is_symlink() {
        return None;
    }
    let real = live.canonicalize().ok()?;
    let same_kind = match root.node.kind {
        NodeKind::Dir => real.is_dir(),
        NodeKind::File => real.is_file(),
        _ => false,
    };
    (same_kind && real.parent().is_some()).then_some(real)
}

fn find_mounts(mounts: &Mounts, live: &Path, findings: &mut Vec<Finding>) {
    let what = "is a mount point of its own, which no rename can replace: use --to";
    findings.extend(mounts.below(live).map(|point| Finding::new(Effect::Blocks, point, what)));
    if mounts.is_mount(live) && !live.is_dir() {
        findings.push(Finding::new(Effect::Blocks, live, what));
    }
}

/// `path` with the links on the way to it resolved, as far as they can be.
pub(super) fn real_path(path: &Path) -> PathBuf {
    let real = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    real().unwrap_or_else(|| path.to_owned())
}

fn position<T: PartialEq>(items: &mut Vec<T>, item: T) -> usize {
    items.iter().position(|other| *other == item).unwrap_or_else(|| {
        items.push(item);
        items.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_below_a_target_and_files_that_are_mounts_block() {
        let mounts = Mounts::parse(b"1 1 0:1 / /srv/data/inner rw - x x x\n2 1 0:1 / /etc/hosts rw - x x x\n");
        let found = |live: &str| {
            let mut findings = Vec::new();
            find_mounts(&mounts, Path::new(live), &mut findings);
            findings.into_iter().map(|finding| (finding.effect, finding.path)).collect::<Vec<_>>()
        };
        assert_eq!(found("/srv/data"), [(Effect::Blocks, PathBuf::from("/srv/data/inner"))]);
        assert_eq!(found("/etc/hosts"), [(Effect::Blocks, PathBuf::from("/etc/hosts"))]);
        assert_eq!(found("/srv/data/other"), []);
    }
}
