//! Restores in bad circumstances: as much as possible comes back, and what does not is named.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::path::Path;

use repository::format::pack::BlobKind;
use repository::restore::{self, Options};
use repository::{Data, Entry, Event, Events, Facts, File, Index, Item, Node, NodeKind, SourceError, walk};

use crate::support::*;

fn options() -> Options {
    Options::for_this_process()
}

#[test]
fn a_damaged_folder_is_named_and_everything_else_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    for (name, seed) in [("a/x", 1), ("b/y", 2), ("c/z", 3)] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, noise(5000, seed)).unwrap();
    }
    let world = World::new();
    let repository = world.open();
    let backup = back_up(&world.cx(), &repository, FolderCapture::of(folder.path())).unwrap();
    let index = Index::load(&world.cx(), &repository).unwrap();
    let lost = walk::find(&repository, &index, &backup.snapshot.tree, Path::new("data/b")).unwrap().unwrap();
    let location = index.find(BlobKind::Tree, &lost.subtree.unwrap()).unwrap();
    assert!(world.memory.flip(File::pack(location.pack), location.blob.offset as usize + 20));
    let restored = world.contents(backup.id).unwrap();
    assert_eq!(restored.files.keys().collect::<Vec<_>>(), ["a/x", "c/z"]);
    assert_eq!(restored.problems.len(), 1);
    assert_eq!(restored.problems[0].path, "data/b");
    assert!(restored.problems[0].what.contains("is damaged"), "{}", restored.problems[0]);
}

/// Two files with several names in one repository, of which one is damaged.
#[test]
fn a_damaged_file_stays_under_none_of_its_names() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), noise(200_000, 1)).unwrap();
    std::fs::hard_link(folder.path().join("a"), folder.path().join("b")).unwrap();
    std::fs::write(folder.path().join("c"), noise(200_000, 2)).unwrap();
    std::fs::hard_link(folder.path().join("c"), folder.path().join("d")).unwrap();
    let world = World::new();
    let repository = world.open();
    let backup = back_up(&world.cx(), &repository, FolderCapture::of(folder.path())).unwrap();
    let index = Index::load(&world.cx(), &repository).unwrap();
    let node = walk::find(&repository, &index, &backup.snapshot.tree, Path::new("data/a")).unwrap().unwrap();
    let location = index.find(BlobKind::Data, node.content.last().unwrap()).unwrap();
    assert!(world.memory.flip(File::pack(location.pack), location.blob.offset as usize));

    let restored = world.contents(backup.id).unwrap();
    assert_eq!(restored.files.keys().collect::<Vec<_>>(), ["c", "d"]);
    let named: Vec<_> = restored.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(named, ["data/a", "data/b"]);

    // Asked to, it leaves what is whole, zeros for the rest, and says so.
    let target = tempfile::tempdir().unwrap();
    let keep = Options { keep_damaged: true, ..options() };
    let restored = restore::tree(&world.cx(), &repository, &index, &backup.snapshot.tree, target.path(), keep).unwrap();
    assert_eq!(restored.problems.len(), 2);
    let (expected, found) = (noise(200_000, 1), std::fs::read(target.path().join("data/b")).unwrap());
    let lost = location.blob.plain_bytes() as usize;
    assert_eq!(found.len(), expected.len());
    assert!(found[..200_000 - lost] == expected[..200_000 - lost]);
    assert!(found[200_000 - lost..].iter().all(|byte| *byte == 0));
}

#[test]
fn a_damaged_file_of_one_chunk_is_kept_as_zeros_where_that_was_asked() {
    let world = World::new();
    let repository = world.open();
    let capture = StreamCapture::default().with("a", std::io::Cursor::new(b"hello".to_vec()));
    let backup = back_up(&world.cx(), &repository, capture).unwrap();
    let index = Index::load(&world.cx(), &repository).unwrap();
    let node = walk::find(&repository, &index, &backup.snapshot.tree, Path::new("data/a")).unwrap().unwrap();
    let location = index.find(BlobKind::Data, &node.content[0]).unwrap();
    assert!(world.memory.flip(File::pack(location.pack), location.blob.offset as usize));
    let target = tempfile::tempdir().unwrap();
    let keep = Options { keep_damaged: true, ..options() };
    let restored = restore::tree(&world.cx(), &repository, &index, &backup.snapshot.tree, target.path(), keep).unwrap();
    assert_eq!(restored.problems.len(), 1, "{:?}", restored.problems);
    assert_eq!(std::fs::read(target.path().join("data/a")).unwrap(), [0; 5]);
}

#[test]
fn parts_share_folders_and_what_an_earlier_one_brought_stays() {
    let world = World::new();
    let repository = world.open();
    let content = |text: &str| std::io::Cursor::new(text.as_bytes().to_vec());
    let capture = StreamCapture::default().with("a", content("one")).with("b", content("two"));
    let backup = back_up(&world.cx(), &repository, capture).unwrap();
    let index = Index::load(&world.cx(), &repository).unwrap();
    let part = |path: &str, below: &str| {
        let node = walk::find(&repository, &index, &backup.snapshot.tree, Path::new(path)).unwrap().unwrap();
        (node, Path::new(below).to_owned())
    };
    let parts =
        [part("data/a", "p"), part("data", "p"), part("data", "in/q"), part("data/b", "in/q/a"), part("data", "in/q")];
    let target = tempfile::tempdir().unwrap();
    let restored = restore::merged(&world.cx(), &repository, &index, &parts, target.path(), options()).unwrap();
    let read = |path: &str| std::fs::read_to_string(target.path().join(path)).unwrap();
    assert_eq!((read("p"), read("in/q/a"), read("in/q/b")), ("one".to_owned(), "one".to_owned(), "two".to_owned()));
    assert_eq!((restored.files, restored.dirs), (3, 1));
    let named: Vec<_> = restored.problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(named, ["p"], "a folder has no place where a file is");
}

/// Entries with made-up numbers, as a file system gives them that reuses the numbers of deleted files.
struct Reused(Vec<(&'static str, &'static [u8])>);

impl repository::Capture for Reused {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (name, bytes) = self.0.remove(0);
        let mut node = Node::new(name, NodeKind::File);
        (node.inode, node.device_id, node.links, node.mode) = (5, 1, 2, 0o600);
        node.uid = rustix::process::geteuid().as_raw();
        node.gid = rustix::process::getegid().as_raw();
        let data = Data::Stream(Box::new(std::io::Cursor::new(bytes)));
        Ok(Some(Item::Entry(Box::new(Entry { path: name.into(), node, data }))))
    }

    fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
        Ok(Facts::new())
    }
}

#[test]
fn files_that_only_share_a_number_are_not_linked() {
    let world = World::new();
    let repository = world.open();
    let capture = Reused(vec![("a", b"one"), ("b", b"other"), ("c", b"one")]);
    let backup = back_up(&world.cx(), &repository, capture).unwrap();
    let target = tempfile::tempdir().unwrap();
    let index = Index::load(&world.cx(), &repository).unwrap();
    let tree = backup.snapshot.tree;
    let restored = restore::tree(&world.cx(), &repository, &index, &tree, target.path(), options()).unwrap();
    assert_eq!(restored.problems, []);
    let read = |name: &str| std::fs::read(target.path().join("data").join(name)).unwrap();
    assert_eq!([read("a"), read("b"), read("c")], [b"one".to_vec(), b"other".to_vec(), b"one".to_vec()]);
    let inode = |name: &str| std::fs::metadata(target.path().join("data").join(name)).unwrap().ino();
    assert_eq!(inode("a"), inode("c"));
}

#[test]
fn nobody_else_can_look_into_a_restore_under_way() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("private")).unwrap();
    std::fs::write(folder.path().join("private/key"), b"secret").unwrap();
    std::fs::set_permissions(folder.path().join("private/key"), PermissionsExt::from_mode(0o644)).unwrap();
    std::fs::set_permissions(folder.path().join("private"), PermissionsExt::from_mode(0o755)).unwrap();
    let world = World::new();
    let repository = world.open();
    let backup = back_up(&world.cx(), &repository, FolderCapture::of(folder.path())).unwrap();
    struct Look(std::path::PathBuf, std::sync::Mutex<Vec<u32>>);
    impl Events for Look {
        fn emit(&self, event: Event) {
            if matches!(event, Event::FileDone(_)) {
                let mode = std::fs::metadata(self.0.join("data/private")).unwrap().mode();
                self.1.lock().unwrap().push(mode & 0o777);
            }
        }
    }
    let target = tempfile::tempdir().unwrap();
    let look = Look(target.path().to_owned(), Default::default());
    let cx = repository::RunCx { events: &look, ..world.cx() };
    let index = Index::load(&cx, &repository).unwrap();
    restore::tree(&cx, &repository, &index, &backup.snapshot.tree, target.path(), options()).unwrap();
    assert!(!look.1.lock().unwrap().is_empty());
    assert!(look.1.lock().unwrap().iter().all(|mode| *mode == 0o700));
    assert_eq!(std::fs::metadata(target.path().join("data/private")).unwrap().mode() & 0o777, 0o755);
}

#[test]
fn one_file_can_be_restored_alone() {
    let world = World::new();
    let repository = world.open();
    let capture = StreamCapture::default().with("a", std::io::Cursor::new(noise(100_000, 1)));
    let backup = back_up(&world.cx(), &repository, capture).unwrap();
    let index = Index::load(&world.cx(), &repository).unwrap();
    let node = walk::find(&repository, &index, &backup.snapshot.tree, Path::new("data/a")).unwrap().unwrap();
    let target = tempfile::tempdir().unwrap();
    let restored = restore::single(&world.cx(), &repository, &index, &node, target.path(), options()).unwrap();
    assert_eq!((restored.files, restored.problems), (1, vec![]));
    assert!(std::fs::read(target.path().join("a")).unwrap() == noise(100_000, 1));
    assert!(walk::find(&repository, &index, &backup.snapshot.tree, Path::new("data/b")).unwrap().is_none());
}
