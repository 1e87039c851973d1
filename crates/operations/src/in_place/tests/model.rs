//! Random trees: whatever lies on the host, a restore makes it the snapshot, and an undo makes it what it was.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::world::{World, delete};
use crate::in_place::undo;

/// One thing to put somewhere.
#[derive(Clone, Debug)]
enum Thing {
    File(u8),
    Folder(u32),
    Link(u8),
    /// Another name of a file that is there.
    Name(u8),
}

/// Paths of few names, so that two trees meet at many of them.
fn path() -> impl Strategy<Value = PathBuf> {
    prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|parts| parts.into_iter().collect())
}

fn thing() -> impl Strategy<Value = Thing> {
    let mode = prop::sample::select(vec![0o755, 0o700, 0o1777, 0o500]);
    prop_oneof![
        4 => (0u8..4).prop_map(Thing::File),
        2 => mode.prop_map(Thing::Folder),
        1 => (0u8..2).prop_map(Thing::Link),
        1 => (0u8..8).prop_map(Thing::Name),
    ]
}

fn tree() -> impl Strategy<Value = Vec<(PathBuf, Thing)>> {
    prop::collection::vec((path(), thing()), 0..12)
}

/// Makes the tree as far as it can be made. Times are few, so that they are often the same in both trees.
fn make(root: &Path, tree: &[(PathBuf, Thing)]) {
    fs::create_dir_all(root).unwrap();
    let mut files = Vec::new();
    for (path, thing) in tree {
        let path = root.join(path);
        if path.symlink_metadata().is_ok() || fs::create_dir_all(path.parent().unwrap()).is_err() {
            continue;
        }
        match thing {
            Thing::File(content) => {
                fs::write(&path, [*content]).unwrap();
                let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::from(content % 2));
                fs::File::open(&path).unwrap().set_modified(time).unwrap();
                files.push(path);
            }
            Thing::Folder(mode) => {
                fs::create_dir(&path).unwrap();
                fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(*mode)).unwrap();
            }
            Thing::Link(target) => symlink(format!("target-{target}"), &path).unwrap(),
            Thing::Name(of) => {
                if let Some(file) = files.get(usize::from(*of) % files.len().max(1)) {
                    fs::hard_link(file, &path).unwrap();
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn after_the_swap_the_host_is_the_snapshot_and_after_the_undo_what_it_was(taken in tree(), live in tree()) {
        let world = World::new();
        make(&world.path("data"), &taken);
        let snapshot = world.take(&[("files", "files", &["data"])]);
        let data = world.path("data");
        let wanted = super::world::see(&data);
        fs::remove_dir_all(&data).unwrap();
        make(&data, &live);
        let before = world.seen();
        let done = world.restore(&snapshot, "", &delete()).unwrap();
        prop_assert_eq!(super::world::see(&data), wanted);
        if let Some(folder) = done.undo.first() {
            undo(folder, false).unwrap();
        }
        prop_assert_eq!(world.seen(), before);
    }
}
