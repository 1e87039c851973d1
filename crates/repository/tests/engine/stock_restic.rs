//! What is written here must be whole in restic's eyes, too.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use repository::format::key_file::KdfCost;
use repository::prune::{self, Options};
use repository::storage::memory::MemoryStorage;
use repository::{FileKind, Index, Repository, forget, heal, restore, sync};

use crate::support::*;

fn restic(folder: &Path, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new("restic");
    command.arg("--no-cache").arg("--repo").arg(folder).args(arguments).env("RESTIC_PASSWORD", PASSWORD);
    let output = command.output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}{}", said(&output.stdout), said(&output.stderr));
    output
}

fn write_out(world: &World, folder: &Path) {
    for file in world.memory.files() {
        let path = folder.join(file.path());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, world.memory.read(file).unwrap()).unwrap();
    }
}

#[test]
fn stock_restic_checks_and_restores_what_was_written_also_after_prune() {
    if Command::new("restic").arg("version").output().is_err() {
        println!("left out: restic is not installed");
        return;
    }
    let source = tempfile::tempdir().unwrap();
    let at = |name: &str| source.path().join(name);
    std::fs::create_dir_all(at("dir/deeper")).unwrap();
    std::fs::write(at("dir/big"), noise(3 << 20, 1)).unwrap();
    std::fs::write(at("dir/deeper/text"), "text\n".repeat(10_000)).unwrap();
    std::fs::write(at("empty"), b"").unwrap();
    std::os::unix::fs::symlink("dir/big", at("link")).unwrap();
    std::fs::hard_link(at("dir/big"), at("the same")).unwrap();
    let world = World::new();
    let repository = world.open();
    let first = back_up(&world.cx(), &repository, FolderCapture::of(source.path())).unwrap();
    std::fs::write(at("dir/deeper/text"), "other text\n".repeat(10_000)).unwrap();
    std::fs::write(at("zeros"), vec![0; 2 << 20]).unwrap();
    let_file_times_move_on();
    world.clock.advance(Duration::from_secs(60));
    let second = back_up(&world.cx(), &repository, FolderCapture::of(source.path())).unwrap();

    let compare = |id: repository::Id| {
        let (copy, theirs, ours) =
            (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_out(&world, copy.path());
        restic(copy.path(), &["check", "--read-data"]);
        restic(copy.path(), &["restore", &id.to_hex(), "--target", theirs.path().to_str().unwrap()]);
        let index = Index::load(&world.cx(), &repository).unwrap();
        let tree = repository.snapshot(id).unwrap().tree;
        let options = restore::Options::for_this_process();
        restore::tree(&world.cx(), &repository, &index, &tree, ours.path(), options).unwrap();
        let verified = repository::verify::Options { privileged: options.privileged };
        for folder in [ours.path(), theirs.path()] {
            let comparison =
                repository::verify::restored(&world.cx(), &repository, &index, &tree, folder, verified).unwrap();
            assert_eq!(comparison.differences, [], "{}", folder.display());
        }
    };
    compare(first.id);
    compare(second.id);
    forget::forget(&world.cx(), &repository, &[first.id], forget::Why::Named).unwrap();
    prune::prune(&world.cx(), &repository, Options { grace: Duration::ZERO, unused_percent_max: 0 }).unwrap();
    compare(second.id);
}

#[test]
fn stock_restic_checks_a_copy_that_was_brought_into_step_and_mended() {
    if Command::new("restic").arg("version").output().is_err() {
        println!("left out: restic is not installed");
        return;
    }
    let world = World::new();
    let copy = World::on(MemoryStorage::new());
    let storage = Arc::new(copy.memory.clone());
    Repository::init_copy(&world.open(), storage, PASSWORD, KdfCost::FAST, start()).unwrap();
    let bytes = |seed| std::io::Cursor::new(noise(600_000, seed));
    let ids: Vec<_> = (1..4)
        .map(|seed| StreamCapture::default().with("a", bytes(seed)).with("b", bytes(9)))
        .map(|capture| back_up(&world.cx(), &world.open(), capture).unwrap().id)
        .collect();
    let check = || {
        let folder = tempfile::tempdir().unwrap();
        write_out(&copy, folder.path());
        restic(folder.path(), &["check", "--read-data"]);
        let listed = restic(folder.path(), &["snapshots", "--json"]);
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert!(ids.iter().all(|id| listed.contains(&id.to_hex())), "{listed}");
    };
    sync::run(&copy.cx(), &[world.open()], &copy.open(), &ids).unwrap();
    check();
    // A pack, an index file and a snapshot are mended as they were, another pack blob by blob.
    for kind in [FileKind::Pack, FileKind::Index, FileKind::Snapshot] {
        assert!(copy.memory.flip(copy.files(kind)[0], 40));
    }
    let pack = world.files(FileKind::Pack)[1];
    assert!(copy.memory.remove(pack));
    let away = world.memory.read(pack).unwrap();
    assert!(world.memory.flip(pack, away.len() - 10));
    let healed =
        heal::from_copies(&copy.cx(), &copy.open(), &[world.open()], heal::How { read_data: true, some_away: false })
            .unwrap();
    assert!(healed.is_whole() && healed.blobs_repacked > 0, "{healed:?}");
    check();
}
