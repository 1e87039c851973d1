use std::collections::BTreeMap;

use tempfile::TempDir;

use super::*;

const SMALL: Settings = Settings { scale: 0.004, seed: 1 };

/// Every file under `folder` by its path, with its contents.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(folder).unwrap().to_path_buf(), fs::read(path).unwrap());
            }
        }
    }
    found
}

fn generated(settings: Settings) -> (TempDir, BTreeMap<PathBuf, Vec<u8>>) {
    let folder = TempDir::new().unwrap();
    generate(folder.path(), settings).unwrap();
    let contents = contents(folder.path());
    (folder, contents)
}

fn changed<'a>(before: &'a BTreeMap<PathBuf, Vec<u8>>, after: &BTreeMap<PathBuf, Vec<u8>>) -> Vec<&'a Path> {
    assert!(before.keys().eq(after.keys()), "no file appears or disappears");
    before.iter().filter(|(path, bytes)| after[*path] != **bytes).map(|(path, _)| path.as_path()).collect()
}

/// How much of the bytes zstd level 3 leaves, in blobs of 1 MiB.
fn ratio(bytes: &[u8]) -> f64 {
    let packed: usize = bytes.chunks(1 << 20).map(|blob| zstd::bulk::compress(blob, 3).unwrap().len()).sum();
    packed as f64 / bytes.len() as f64
}

#[test]
fn the_same_seed_gives_the_same_bytes_in_every_generation() {
    let (one, first) = generated(SMALL);
    let (other, second) = generated(SMALL);
    assert!(first == second);
    for folder in [&one, &other] {
        grow(folder.path()).unwrap();
        change(folder.path()).unwrap();
    }
    assert!(contents(one.path()) == contents(other.path()));
}

#[test]
fn generating_again_brings_back_the_first_generation() {
    let (folder, first) = generated(SMALL);
    change(folder.path()).unwrap();
    generate(folder.path(), SMALL).unwrap();
    assert!(contents(folder.path()) == first);
}

#[test]
fn another_seed_changes_every_file() {
    let (_, first) = generated(SMALL);
    let (_, second) = generated(Settings { seed: 2, ..SMALL });
    assert_eq!(changed(&first, &second).len(), first.len());
}

#[test]
fn a_folder_that_holds_anything_else_is_left_alone() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("thesis.txt"), "years of work").unwrap();
    for result in [generate(folder.path(), SMALL), grow(folder.path()), change(folder.path())] {
        let message = result.unwrap_err().to_string();
        assert!(message.contains("was not made by `generate`"), "{message}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn scale_1_is_what_the_readme_says() {
    let files = plan(1.0);
    let mebibytes = |kind| {
        let sum: u64 = files.iter().filter(|file| file.kind == kind).map(|file| file.bytes).sum();
        sum as f64 / MIB
    };
    let near = |kind, expected: f64| (mebibytes(kind) - expected).abs() < 1.0;
    assert!(near(Kind::Couch, 2048.0) && near(Kind::Heap, 512.0) && near(Kind::Sql, 512.0) && near(Kind::Media, 512.0));
    let small: Vec<u64> = files.iter().filter(|file| file.kind == Kind::Small).map(|file| file.bytes).collect();
    assert_eq!(small.len(), 20_000);
    assert!(small.iter().all(|bytes| (1024..40 * 1024).contains(bytes)));
    assert!((100.0..200.0).contains(&mebibytes(Kind::Small)), "{}", mebibytes(Kind::Small));
}

#[test]
fn each_kind_compresses_as_the_readme_says() {
    let pen = Pen::new();
    let piece = |kind: Kind| {
        let file = DataFile { path: String::from("sample"), kind, bytes: 0 };
        let mut random = Random::new(1, "sample", 0);
        let mut out = Vec::new();
        match kind {
            Kind::Couch => {
                couch::append(&mut out, &pen, 1, "sample", 0, 4 << 20).unwrap();
            }
            _ => (0..512).for_each(|_| file.write_piece(&pen, &mut random, &mut out, PAGE_BYTES)),
        }
        ratio(&out)
    };
    // The ratios that the goals for Lifeboat's speed were set with.
    for (kind, expected) in
        [(Kind::Couch, 0.66), (Kind::Heap, 0.54), (Kind::Sql, 0.33), (Kind::Media, 1.0), (Kind::Small, 0.35)]
    {
        let ratio = piece(kind);
        assert!((ratio - expected).abs() < 0.02, "{kind:?}: {ratio:.3} instead of {expected}");
    }
}

#[test]
fn growth_appends_3_percent_to_the_append_only_files_alone() {
    let (folder, before) = generated(SMALL);
    grow(folder.path()).unwrap();
    let after = contents(folder.path());
    let grown = changed(&before, &after);
    assert_eq!(grown.len(), SHARD_SHARES.len());
    let (mut old, mut new) = (0, 0);
    for path in grown {
        assert!(path.extension().is_some_and(|extension| extension == "couch"));
        assert!(after[path].starts_with(&before[path]), "{} was only appended to", path.display());
        old += before[path].len();
        new += after[path].len();
    }
    let growth = new as f64 / old as f64 - 1.0;
    // At this scale a document more or less at the end of a file is felt; at scale 1 it is not.
    assert!((0.03..0.04).contains(&growth), "{growth}");
}

#[test]
fn the_second_generation_changes_1_percent_of_the_pages_and_of_the_small_files() {
    let (folder, before) = generated(Settings { scale: 0.02, ..SMALL });
    change(folder.path()).unwrap();
    let after = contents(folder.path());
    let changed = changed(&before, &after);
    let count = |prefix: &str| changed.iter().filter(|path| path.starts_with(prefix)).count();
    assert_eq!(count("documents"), 4, "of 400 small files");
    assert_eq!(count("couchdb"), SHARD_SHARES.len());
    assert_eq!(count("media"), 0);
    let (mut pages, mut pages_changed) = (0, 0);
    for path in changed.iter().filter(|path| path.starts_with("postgres") || path.starts_with("dumps")) {
        assert_eq!(before[*path].len(), after[*path].len());
        let (old, new) = (before[*path].chunks(PAGE_BYTES), after[*path].chunks(PAGE_BYTES));
        pages += old.len();
        pages_changed += old.zip(new).filter(|(old, new)| old != new).count();
    }
    // Files are rounded up to whole pages.
    let pages_wanted = (0.02 * (HEAP_MIB + SQL_MIB) * MIB) as usize / PAGE_BYTES;
    assert!((pages_wanted..pages_wanted + 6).contains(&pages), "{pages}");
    let share = pages_changed as f64 / pages as f64;
    assert!((0.009..0.011).contains(&share), "{share}");
}

#[test]
fn changing_twice_changes_other_pages() {
    let (folder, before) = generated(SMALL);
    change(folder.path()).unwrap();
    let once = contents(folder.path());
    change(folder.path()).unwrap();
    let twice = contents(folder.path());
    let dump = Path::new("dumps/database-1.sql");
    assert!(before[dump] != once[dump] && once[dump] != twice[dump]);
}
