//! Hard links: names of one file in the snapshot must be names of one file on the host, and of no other. Whether a name
//! may stay is known only when all were seen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use repository::{Node, NodeKind};

/// Device and inode.
type FileKey = (u64, u64);

/// The names met so far that share a file, in the snapshot or on the host.
#[derive(Debug, Default)]
pub(super) struct Links {
    groups: BTreeMap<Group, Vec<Name>>,
    alone: u64,
    /// Groups that have a name which is created.
    created: std::collections::BTreeSet<Group>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    /// Names of one file of the snapshot.
    Shared(FileKey),
    /// A file of the snapshot with one name.
    Alone(u64),
}

#[derive(Debug)]
struct Name {
    path: PathBuf,
    /// The host's file and how many names it has, where it is the snapshot's in all else.
    same: Option<(FileKey, u64)>,
    /// How many names the snapshot's file has.
    links: u64,
}

impl Links {
    /// A name that both sides have. `live` is the host's node where it is the same as the snapshot's in all else.
    pub fn note(&mut self, path: &Path, snapshot: &Node, live: Option<&Node>) {
        let group = if snapshot.links > 1 {
            Group::Shared((snapshot.device_id, snapshot.inode))
        } else {
            self.alone += 1;
            Group::Alone(self.alone)
        };
        let same = live.map(|live| ((live.device_id, live.inode), live.links));
        self.groups.entry(group).or_default().push(Name { path: path.to_owned(), same, links: snapshot.links });
    }

    /// A name that the snapshot alone has.
    pub fn note_created(&mut self, snapshot: &Node) {
        if snapshot.kind != NodeKind::Dir && snapshot.links > 1 {
            self.created.insert(Group::Shared((snapshot.device_id, snapshot.inode)));
        }
    }

    /// Every name that both sides have, and whether it may stay.
    pub fn settle(self) -> Vec<(PathBuf, bool)> {
        let Self { groups, created, .. } = self;
        // Two files of the snapshot must not be one on the host.
        let mut uses: BTreeMap<FileKey, u32> = BTreeMap::new();
        let file_of = |names: &[Name]| names.first().and_then(|name| name.same).map(|(file, _)| file);
        for names in groups.values() {
            file_of(names).into_iter().for_each(|file| *uses.entry(file).or_default() += 1);
        }
        let mut settled = Vec::new();
        for (group, names) in groups {
            let file = file_of(&names);
            let one_file = names
                .iter()
                .all(|name| name.same.is_some_and(|(other, links)| Some(other) == file && links == name.links));
            let used_once = file.is_some_and(|file| uses.get(&file) == Some(&1));
            let stays = one_file && used_once && !created.contains(&group);
            settled.extend(names.into_iter().map(|name| (name.path, stays)));
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(inode: u64, links: u64) -> Node {
        Node { inode, links, device_id: 1, ..Node::new("x", NodeKind::File) }
    }

    fn settle(pairs: &[(&str, Node, Option<Node>)]) -> Vec<(String, bool)> {
        let mut links = Links::default();
        for (path, snapshot, live) in pairs {
            links.note(Path::new(path), snapshot, live.as_ref());
        }
        let mut settled: Vec<_> =
            links.settle().into_iter().map(|(path, stays)| (path.display().to_string(), stays)).collect();
        settled.sort();
        settled
    }

    #[test]
    fn names_of_one_file_stay_where_they_still_are() {
        let pairs = [("a", file(7, 2), Some(file(1, 2))), ("b", file(7, 2), Some(file(1, 2)))];
        assert_eq!(settle(&pairs), [("a".to_owned(), true), ("b".to_owned(), true)]);
    }

    #[test]
    fn one_name_that_differs_takes_the_others_along() {
        let pairs = [("a", file(7, 2), Some(file(1, 2))), ("b", file(7, 2), None)];
        assert_eq!(settle(&pairs), [("a".to_owned(), false), ("b".to_owned(), false)]);
        let pairs = [("a", file(7, 2), Some(file(1, 2))), ("b", file(7, 2), Some(file(2, 2)))];
        assert_eq!(settle(&pairs), [("a".to_owned(), false), ("b".to_owned(), false)]);
    }

    #[test]
    fn two_files_that_became_one_are_parted() {
        let pairs = [("a", file(7, 1), Some(file(1, 2))), ("b", file(8, 1), Some(file(1, 2)))];
        assert_eq!(settle(&pairs), [("a".to_owned(), false), ("b".to_owned(), false)]);
        // Each of the two has another name somewhere else.
        let pairs = [("a", file(7, 2), Some(file(1, 2))), ("b", file(8, 2), Some(file(1, 2)))];
        assert_eq!(settle(&pairs), [("a".to_owned(), false), ("b".to_owned(), false)]);
    }

    #[test]
    fn a_name_that_is_created_takes_the_others_along() {
        let mut links = Links::default();
        links.note(Path::new("a"), &file(7, 2), Some(&file(1, 2)));
        links.note_created(&file(7, 2));
        assert_eq!(links.settle(), [(PathBuf::from("a"), false)]);
    }
}
