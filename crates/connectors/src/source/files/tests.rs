use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use proptest::prelude::*;
use repository::{NodeKind, SourceError};

use super::{FilesOptions, FilesSource};
use crate::source::testing::{Captured, Setup, as_plain_user};

fn write(dir: &Path, files: &[&str]) {
    for file in files {
        let path = dir.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, file).unwrap();
    }
}

fn options(paths: &[&Path]) -> FilesOptions {
    FilesOptions { paths: paths.iter().map(|path| path.to_path_buf()).collect(), ..FilesOptions::default() }
}

fn capture(options: FilesOptions) -> Captured {
    Setup::default().capture(&FilesSource::new(options).unwrap()).unwrap()
}

fn strings(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|pattern| (*pattern).to_owned()).collect()
}

#[test]
fn a_folder_is_captured_whole_with_the_folders_on_the_way() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["b/x", "b-c", "a/y"]);
    symlink("nowhere", dir.path().join("link")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("pipe"), 0o640.into()).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
    let captured = capture(options(&[dir.path()]));
    assert_eq!(captured.problems, [""; 0]);
    assert_eq!(captured.below(dir.path()), ["a/", "a/y", "b/", "b/x", "b-c", "link", "pipe", "socket"]);
    assert_eq!(captured.get(&dir.path().join("b/x")).bytes, b"b/x");
    assert_eq!(captured.get(&dir.path().join("link")).node.link_target, b"nowhere");
    assert_eq!(captured.get(&dir.path().join("pipe")).node.kind, NodeKind::Fifo);
    let tmp = fs::metadata(dir.path().parent().unwrap()).unwrap();
    assert_eq!(captured.get(dir.path().parent().unwrap()).node.inode, tmp.ino());
    let expected = serde_json::json!({ "paths": [dir.path()] });
    assert_eq!(serde_json::Value::from(captured.facts), expected);
}

#[test]
fn overlapping_and_nested_paths_are_one_walk() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["a/b/c/x", "a/b/y", "a/z", "d/e", "d/f", "g"]);
    let path = |name: &str| dir.path().join(name);
    let captured = capture(options(&[&path("d/f"), &path("a/b/c"), &path("a/b"), &path("a/b/y"), &path("a/b/")]));
    assert_eq!(captured.below(dir.path()), ["a/", "a/b/", "a/b/c/", "a/b/c/x", "a/b/y", "d/", "d/f"]);
    assert_eq!(captured.problems, [""; 0]);
}

#[test]
fn exclude_patterns_are_anchored_at_the_innermost_path() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["tmp/x", "app/tmp/x", "app/logs/a.log", "app/logs/keep.log", "app/sub/tmp/x", "cache/deep/x"]);
    let exclude = strings(&["/tmp", "*.log", "!keep.log", "cache/", "# a comment", ""]);
    let paths = [dir.path(), &dir.path().join("app"), &dir.path().join("cache/deep")];
    let captured = capture(FilesOptions { exclude, ..options(&paths) });
    let expected = [
        "app/",
        "app/logs/",
        "app/logs/keep.log",
        "app/sub/",
        "app/sub/tmp/",
        "app/sub/tmp/x",
        "cache/",
        "cache/deep/",
        "cache/deep/x",
    ];
    assert_eq!(captured.below(dir.path()), expected);
}

#[test]
fn a_malformed_pattern_is_named() {
    let error = FilesSource::new(FilesOptions { exclude: strings(&["[z-a]"]), ..options(&[Path::new("/")]) });
    assert!(error.unwrap_err().to_string().starts_with("exclude: `[z-a]` is not a gitignore pattern"));
    assert!(FilesSource::new(options(&[])).is_err());
}

#[test]
fn of_tagged_caches_the_folder_and_its_tag_stay() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["real/CACHEDIR.TAG", "real/big", "real/chosen/x", "fake/CACHEDIR.TAG", "fake/big"]);
    let tag = "Signature: 8a477f597d28d172789f06886806bc55\n# by a program";
    fs::write(dir.path().join("real/CACHEDIR.TAG"), tag).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, dir.path().join("CACHEDIR.TAG"), 0o640.into()).unwrap();
    let chosen = dir.path().join("real/chosen");
    let captured = capture(FilesOptions { exclude_caches: true, ..options(&[dir.path(), &chosen]) });
    let expected = [
        "CACHEDIR.TAG",
        "fake/",
        "fake/CACHEDIR.TAG",
        "fake/big",
        "real/",
        "real/CACHEDIR.TAG",
        "real/chosen/",
        "real/chosen/x",
    ];
    assert_eq!(captured.below(dir.path()), expected);
}

#[test]
fn mount_points_stay_as_empty_folders() {
    // Everything but /proc is kept out, so that the test is quick. The link /proc/self is chosen itself.
    let roots = fs::read_dir("/").unwrap().map(|entry| entry.unwrap().path());
    let setup = Setup { own_paths: roots.filter(|path| path != Path::new("/proc")).collect(), ..Setup::default() };
    let options = FilesOptions { one_file_system: true, ..options(&[Path::new("/proc/self"), Path::new("/")]) };
    let captured = setup.capture(&FilesSource::new(options).unwrap()).unwrap();
    assert_eq!(captured.below(Path::new("/")), ["proc/", "proc/self"]);
}

#[test]
fn what_others_claim_and_the_repository_itself_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["real/app.db", "real/app.db-wal", "real/x", "real/repo/config", "real/state/tmp/copy"]);
    symlink("real", dir.path().join("link")).unwrap();
    let spelled = dir.path().join("link/.");
    for path in [dir.path().join("real"), spelled.join("repo/.."), dir.path().join("link/../real")] {
        let setup = Setup {
            claimed: ["real/app.db", "real/app.db-wal"].map(|path| dir.path().join(path)).into(),
            own_paths: vec![dir.path().join("real/repo")],
            ..Setup::default()
        };
        let captured = setup.capture(&FilesSource::new(options(&[&path])).unwrap()).unwrap();
        let expected = ["real/", "real/state/", "real/state/tmp/", "real/state/tmp/copy", "real/x"];
        assert_eq!(captured.below(dir.path()), expected, "{path:?}");
        assert!(captured.notes[0].contains("keeps its repository or state"), "{:?}", captured.notes);
    }
}

#[test]
fn claims_and_the_repository_are_known_also_through_links() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["real/data/app.db", "real/data/x", "real/data/repo/config"]);
    symlink("real", dir.path().join("link")).unwrap();
    let setup = Setup {
        claimed: [dir.path().join("real/data/app.db")].into(),
        own_paths: vec![dir.path().join("real/data/repo")],
        ..Setup::default()
    };
    let source = FilesSource::new(options(&[&dir.path().join("link/data")])).unwrap();
    let captured = setup.capture(&source).unwrap();
    assert_eq!(captured.below(dir.path()), ["link/", "link/data/", "link/data/x"]);
    assert_eq!(captured.get(&dir.path().join("link")).node.kind, NodeKind::Dir);
    let within = FilesSource::new(options(&[&dir.path().join("link/data/repo/config")])).unwrap();
    let captured = setup.capture(&within).unwrap();
    assert!(captured.problems[0].contains("keeps its repository or state"), "{:?}", captured.problems);
}

#[test]
fn a_path_that_is_a_link_stays_a_link() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["real/x"]);
    symlink("real", dir.path().join("link")).unwrap();
    let captured = capture(options(&[&dir.path().join("link")]));
    assert_eq!(captured.get(&dir.path().join("link")).node.kind, NodeKind::Symlink);
    let captured = capture(options(&[dir.path(), &dir.path().join("link/x")]));
    assert_eq!(captured.below(dir.path()), ["link/", "link/x", "real/", "real/x"]);
    assert!(captured.notes[0].contains("kept as a folder"), "{:?}", captured.notes);
}

#[test]
fn missing_paths_are_named_and_fail_only_together() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["x"]);
    let [there, gone, below_file] = ["x", "gone/deep", "x/y"].map(|name| dir.path().join(name));
    let captured = capture(options(&[&there, &gone]));
    assert_eq!(captured.problems, [format!("{}/gone: does not exist", dir.path().display())]);
    let captured = capture(options(&[&there, &below_file]));
    let what = "is not a folder, so the paths below it do not exist";
    assert_eq!(captured.problems, [format!("{}: {what}", there.display())]);
    assert_eq!(captured.below(dir.path()), ["x"]);
    let error = Setup::default().capture(&FilesSource::new(options(&[&gone])).unwrap()).unwrap_err();
    assert_eq!(error.to_string(), format!("{} does not exist", gone.display()));
}

#[test]
fn what_a_plain_user_may_not_read_is_named_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    as_plain_user(dir.path(), || {
        write(dir.path(), &["shut/x", "no-entry/x", "open/y"]);
        let chmod = |name: &str, mode| {
            fs::set_permissions(dir.path().join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        chmod("shut", 0o000);
        chmod("no-entry", 0o400);
        let captured = capture(options(&[dir.path()]));
        chmod("shut", 0o700);
        chmod("no-entry", 0o700);
        assert_eq!(captured.below(dir.path()), ["no-entry/", "open/", "open/y", "shut/"]);
        let name = |name: &str| dir.path().join(name).display().to_string();
        let expected = [
            format!("{}: Permission denied (os error 13)", name("no-entry/x")),
            format!("{}: the folder could not be listed: Permission denied (os error 13)", name("shut")),
        ];
        assert_eq!(captured.problems, expected);
    });
}

#[test]
fn append_only_files_are_read_in_full_when_it_is_due() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["b.txt"]);
    fs::write(dir.path().join("a.couch"), [1]).unwrap();
    let full_read = Duration::from_secs(7 * 86_400);
    let append_only = strings(&["*.couch"]);
    let source = FilesSource::new(FilesOptions { append_only, full_read, ..options(&[dir.path()]) }).unwrap();
    let mut setup = Setup::default();
    let device = fs::metadata(dir.path()).unwrap().dev();
    for (day, is_tail, at) in [(0, false, 1), (1, true, 1), (5, true, 1), (2, false, 9), (6, true, 9)] {
        setup.clock.advance(Duration::from_secs(day * 86_400));
        let captured = setup.capture(&source).unwrap();
        let couch = captured.get(&dir.path().join("a.couch"));
        assert_eq!((couch.append_only, couch.node.device_id), (is_tail, device));
        let text = captured.get(&dir.path().join("b.txt"));
        assert_eq!((text.append_only, text.node.device_id), (false, 0));
        assert_eq!(captured.facts["full_read_at"], format!("2026-01-{at:02}T00:00:00Z"));
        setup.previous = Some(captured.facts);
    }
    setup.previous.as_mut().unwrap().insert("full_read_at".to_owned(), "2999-01-01T00:00:00Z".into());
    assert!(!setup.capture(&source).unwrap().get(&dir.path().join("a.couch")).append_only);
}

#[test]
fn files_called_like_couchdbs_only_grow_where_they_are_laid_out_so() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.couch"), [1]).unwrap();
    fs::write(dir.path().join("b.view"), "text").unwrap();
    fs::write(dir.path().join("c.log"), "text").unwrap();
    let append_only = strings(&["*.couch", "*.view", "*.log"]);
    let full_read = Duration::from_secs(86_400);
    let source = FilesSource::new(FilesOptions { append_only, full_read, ..options(&[dir.path()]) }).unwrap();
    let first = Setup::default().capture(&source).unwrap().facts;
    let captured = Setup { previous: Some(first), ..Setup::default() }.capture(&source).unwrap();
    let only_grows = |name: &str| captured.get(&dir.path().join(name)).append_only;
    assert_eq!(["a.couch", "b.view", "c.log"].map(only_grows), [true, false, true]);
}

#[test]
fn awkward_names_survive() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(255);
    let names: [&[u8]; 7] = [b"inv\xffalid", b"new\nline", b"tab\t", b"\\x41", b"-", b" ", long.as_bytes()];
    for name in names {
        fs::write(dir.path().join(OsStr::from_bytes(name)), name).unwrap();
    }
    let captured = capture(options(&[dir.path()]));
    for name in names {
        assert_eq!(captured.get(&dir.path().join(OsStr::from_bytes(name))).node.name, name);
    }
    assert_eq!((captured.below(dir.path()).len(), captured.problems.len()), (7, 0));
}

#[test]
fn no_depth_ends_the_walk_and_what_is_too_long_to_open_is_named() {
    use rustix::fs::{CWD, Mode, OFlags};
    let dir = tempfile::tempdir().unwrap();
    let name = "d".repeat(100);
    let mut folder = rustix::fs::openat(CWD, dir.path(), OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..60 {
        rustix::fs::mkdirat(&folder, &name, Mode::RWXU).unwrap();
        folder = rustix::fs::openat(&folder, &name, OFlags::DIRECTORY, Mode::empty()).unwrap();
    }
    let captured = capture(options(&[dir.path()]));
    assert_eq!(captured.problems.len(), 1);
    assert!(captured.problems[0].ends_with("its path is longer than the 4096 bytes that Linux can open"));
    assert_eq!(captured.entries.last().unwrap().path.as_os_str().len() / 101, 40);
    // The standard library removes by handles, so it reaches the depths that paths do not.
    dir.close().unwrap();
}

#[test]
fn a_folder_of_many_files_is_walked_in_order() {
    let dir = tempfile::tempdir().unwrap();
    for number in 0..20_000 {
        fs::File::create(dir.path().join(format!("{number}"))).unwrap();
    }
    let captured = capture(options(&[dir.path()]));
    assert_eq!(captured.below(dir.path()).len(), 20_000);
}

#[test]
fn what_a_restore_in_place_keeps_is_not_captured() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[".lifeboat-undo-1/old", ".lifeboat-staging-1-0/new", ".lifeboat/x", "a"]);
    let captured = capture(options(&[dir.path()]));
    assert_eq!(captured.below(dir.path()), [".lifeboat/", ".lifeboat/x", "a"]);
}

#[test]
fn a_cancelled_walk_stops() {
    let setup = Setup::default();
    setup.cancel.cancel();
    let outcome = setup.capture(&FilesSource::new(options(&[Path::new("/")])).unwrap());
    assert!(matches!(outcome, Err(SourceError::Cancelled)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_choice_of_paths_yields_each_thing_below_them_once(
        files in prop::collection::btree_set("[ab]/[ab]/[abc\u{e9}]|[ab]-[ab]/[xy]", 1..12),
        chosen in prop::collection::vec(prop::sample::select(vec!["", "a", "b", "a/a", "a/b", "b/a", "a-a", "b-b"]), 1..4),
    ) {
        let dir = tempfile::tempdir().unwrap();
        for file in &files {
            write(dir.path(), &[file]);
        }
        let paths: Vec<_> = chosen.iter().map(|path| dir.path().join(path)).collect();
        let paths: Vec<_> = paths.iter().map(PathBuf::as_path).collect();
        // A tree that holds none of the chosen paths is an error, which another test shows.
        if let Ok(captured) = Setup::default().capture(&FilesSource::new(options(&paths)).unwrap()) {
            let found: Vec<_> = captured.below(dir.path()).into_iter().filter(|path| !path.ends_with('/')).collect();
            let is_chosen = |file: &&String| paths.iter().any(|path| dir.path().join(file).starts_with(path));
            let mut expected: Vec<_> = files.iter().filter(is_chosen).cloned().collect();
            expected.sort_by(|a, b| Path::new(a).cmp(Path::new(b)));
            prop_assert_eq!(found, expected);
        }
    }
}
