//! Every kind of entry, every awkward name and every piece of metadata comes back as it was: as root, and as a plain user
//! as far as a plain user can; what cannot be is named.

use std::ffi::OsStr;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};

use crate::mounts::Mounts;
use crate::support::{Dice, Ran, Site, can, peak_kib, program, root, run};
use crate::tree;

/// Names that programs stumble over.
fn awkward_names() -> Vec<Vec<u8>> {
    let mut names: Vec<Vec<u8>> = [
        &b"\xff\xfe not utf-8 \x80"[..],
        b"new\nline",
        b"\n",
        b" leading and trailing ",
        b"-rf",
        b"*?[a]{b}",
        b"\"quotes' and `ticks`",
        b"back\\slash\\n",
        b"\x01\x1b[31m\x7f",
        b"...",
        b"$HOME ${HOME}",
        b"#comment",
        "é e\u{301} \u{1f980}".as_bytes(),
        b"\\xff",
        b"CON:",
    ]
    .map(<[u8]>::to_vec)
    .into();
    names.push(vec![b'n'; 255]);
    names.push([&[0xe9][..], &[b'x'; 254]].concat());
    names
}

fn path(folder: &Path, name: &[u8]) -> PathBuf {
    folder.join(OsStr::from_bytes(name))
}

/// What any user can make.
pub fn grow(root: &Path) {
    let names = root.join("names");
    std::fs::create_dir(&names).unwrap();
    for (n, name) in awkward_names().into_iter().enumerate() {
        std::fs::write(path(&names, &name), format!("{n}")).unwrap();
        let folder = path(&names, &[&name[..name.len().min(250)], b"@dir"].concat());
        std::fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(OsStr::from_bytes(&name), path(&folder, &name)).unwrap();
    }
    let kinds = root.join("kinds");
    std::fs::create_dir(&kinds).unwrap();
    std::fs::write(kinds.join("empty"), "").unwrap();
    std::fs::create_dir(kinds.join("empty folder")).unwrap();
    std::os::unix::fs::symlink("nowhere/at/all", kinds.join("dangling")).unwrap();
    std::os::unix::fs::symlink("empty folder", kinds.join("to a folder")).unwrap();
    std::os::unix::fs::symlink(OsStr::from_bytes(&[&b"\xff/"[..], &[b'y'; 4000]].concat()), kinds.join("long"))
        .unwrap();
    let fifo = kinds.join("fifo");
    rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o640), 0).unwrap();
    std::fs::write(kinds.join("linked"), Dice::new(5).bytes(700_000)).unwrap();
    std::fs::create_dir(kinds.join("z")).unwrap();
    std::fs::hard_link(kinds.join("linked"), kinds.join("z/linked too")).unwrap();
    std::fs::hard_link(kinds.join("linked"), kinds.join("a third")).unwrap();
    std::fs::hard_link(kinds.join("dangling"), kinds.join("z/dangling too")).unwrap();
    std::fs::hard_link(kinds.join("empty"), kinds.join("z/empty too")).unwrap();
    sparse(&kinds.join("sparse"));

    let modes = root.join("modes");
    std::fs::create_dir(&modes).unwrap();
    for mode in [0o0644, 0o4755, 0o2755, 0o6711, 0o0400, 0o7777, 0o1644] {
        std::fs::write(modes.join(format!("file {mode:o}")), "").unwrap();
        std::fs::create_dir(modes.join(format!("folder {mode:o}"))).unwrap();
        std::fs::write(modes.join(format!("folder {mode:o}/held")), "x").unwrap();
    }
    let attributes = root.join("attributes");
    std::fs::create_dir(&attributes).unwrap();
    std::fs::write(attributes.join("file"), "x").unwrap();
    for name in ["", "file"] {
        let path = attributes.join(name);
        let set = |name: &str, value: &[u8]| rustix::fs::lsetxattr(&path, name, value, XattrFlags::empty()).unwrap();
        set("user.text", b"value");
        set("user.bytes", b"\x00\xff\n");
        set("user.empty", b"");
        set("user.long", &[7; 2000]);
    }
    for arguments in [["-m", "u:12345:rw,g:54321:r,m::rx", "file"], ["-dm", "u:12345:rwx,g:99:rx", "."]] {
        run(Command::new("setfacl").args(arguments).current_dir(&attributes)).ok();
    }
    let times = root.join("times");
    std::fs::create_dir(&times).unwrap();
    for (seconds, nanoseconds) in [(-1, 999_999_999), (-2_000_000_000, 1), (0, 0), (1, 123_456_789), (7_000_000_000, 1)]
    {
        let name = format!("{seconds}.{nanoseconds}");
        std::fs::write(times.join(&name), "").unwrap();
        std::fs::create_dir(times.join(format!("{name} folder"))).unwrap();
        std::os::unix::fs::symlink("x", times.join(format!("{name} link"))).unwrap();
        for suffix in ["", " folder", " link"] {
            set_time(&times.join(format!("{name}{suffix}")), seconds, nanoseconds);
        }
    }
    // Last, as they shut us out.
    for mode in [0o0644, 0o4755, 0o2755, 0o6711, 0o0400, 0o7777, 0o1644] {
        for name in [format!("file {mode:o}"), format!("folder {mode:o}")] {
            // A folder that its owner cannot enter comes in a test of its own.
            let mode = if name.starts_with("folder") { mode | 0o500 } else { mode };
            set_mode(&modes.join(name), mode);
        }
    }
    set_time(&modes, 1_000_000_000, 5);
    set_time(root, -5, 5);
}

/// What only root can make, or read.
pub fn grow_as_root(root: &Path) {
    let only = root.join("only root");
    std::fs::create_dir(&only).unwrap();
    for (name, kind, device) in [
        ("null", FileType::CharacterDevice, rustix::fs::makedev(1, 3)),
        ("block", FileType::BlockDevice, rustix::fs::makedev(7, 300)),
    ] {
        rustix::fs::mknodat(CWD, only.join(name), kind, Mode::from_raw_mode(0o640), device).unwrap();
    }
    std::fs::write(only.join("nobody's"), "x").unwrap();
    std::os::unix::fs::symlink("x", only.join("nobody's link")).unwrap();
    for name in ["nobody's", "nobody's link"] {
        chown(&only.join(name), 65534, 54321);
    }
    std::fs::write(only.join("foreign set-uid"), "x").unwrap();
    chown(&only.join("foreign set-uid"), 12345, 12345);
    set_mode(&only.join("foreign set-uid"), 0o6755);
    std::fs::write(only.join("trusted"), "x").unwrap();
    for name in ["trusted", "nobody's link"] {
        rustix::fs::lsetxattr(only.join(name), "trusted.note", b"secret", XattrFlags::empty()).unwrap();
    }
    // cap_net_bind_service, as `setcap` writes it.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::fs::lsetxattr(only.join("nobody's"), "security.capability", &capability, XattrFlags::empty()).unwrap();
    let closed = only.join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::write(closed.join("held"), "x").unwrap();
    set_mode(&closed.join("held"), 0);
    chown(&closed, 12345, 12345);
    set_mode(&closed, 0);
}

fn chown(path: &Path, user: u32, group: u32) {
    rustix::fs::chownat(CWD, path, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)), AtFlags::SYMLINK_NOFOLLOW)
        .unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

const SPARSE_BYTES: u64 = 30 << 20;

/// A file that is nearly all hole, at its start, in its middle and at its end.
fn sparse(path: &Path) {
    let mut file = std::fs::File::create(path).unwrap();
    file.set_len(SPARSE_BYTES).unwrap();
    for at in [9 << 20, 20 << 20] {
        file.seek(SeekFrom::Start(at)).unwrap();
        file.write_all(b"an island").unwrap();
    }
    assert!(allocated(path) < 1 << 20);
}

fn allocated(path: &Path) -> u64 {
    path.symlink_metadata().unwrap().blocks() * 512
}

/// A site that the user `nobody` owns, and the binary where nobody can run it.
struct Nobodys {
    site: Site,
    binary: PathBuf,
}

const NOBODY: u32 = 65534;

impl Nobodys {
    fn new() -> Self {
        let site = Site::new();
        let binary = site.path("lifeboat");
        std::fs::copy(env!("CARGO_BIN_EXE_lifeboat"), &binary).unwrap();
        set_mode(&binary, 0o755);
        for name in ["", "data", "password", "lifeboat.yaml"] {
            chown(&site.path(name), NOBODY, NOBODY);
        }
        Self { site, binary }
    }

    /// The same command as nobody.
    fn command(&self, command: &Command) -> Command {
        let mut inner = Command::new("setpriv");
        inner.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(command.get_program());
        inner.args(command.get_args()).current_dir(command.get_current_dir().unwrap_or(Path::new("/"))).env_clear();
        inner.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        inner
    }

    fn lifeboat<const N: usize>(&self, arguments: [&str; N]) -> Ran {
        let outer = self.site.lifeboat_command(arguments);
        let mut command = Command::new(&self.binary);
        command.args(outer.get_args()).current_dir(outer.get_current_dir().unwrap());
        command.envs(outer.get_envs().filter_map(|(name, value)| Some((name, value?))));
        run(&mut self.command(&command))
    }

    /// Makes the tree of [`grow`] as nobody, by giving it away.
    fn grow(&self) {
        grow(&self.site.data());
        let before = tree::read(&self.site.data());
        // Changing the owner clears set-uid bits; times and modes of folders stay.
        run(Command::new("chown").args(["-Rh", "65534:65534"]).arg(self.site.data())).ok();
        let modes = self.site.data().join("modes");
        for entry in std::fs::read_dir(&modes).unwrap().map(Result::unwrap) {
            let mode = before[&Path::new("modes").join(entry.file_name())].mode;
            set_mode(&entry.path(), mode);
        }
    }
}

#[test]
fn every_kind_and_name_and_piece_of_metadata_comes_back_for_root() {
    if !can(root().and_then(|()| program("setfacl"))) {
        return;
    }
    let site = Site::initialised();
    grow(&site.data());
    grow_as_root(&site.data());
    set_time(&site.data(), -5, 5);
    let before = tree::read(&site.data());
    site.backup();
    tree::assert_same(&before, &tree::read(&site.data()), "reading changes nothing");
    let target = site.restore("latest", "target");
    let restored = site.restored_data(&target);
    tree::assert_same(&before, &tree::read(&restored), "restored as root");
    assert!(allocated(&restored.join("kinds/sparse")) < SPARSE_BYTES / 8);
    site.lifeboat(["drill"]).ok();
    let again = site.lifeboat(["backup", "--json"]).ok().summary();
    assert_eq!((&again["files_new"], &again["files_changed"]), (&0.into(), &0.into()), "{again}");
    // A snapshot, and perhaps a tree of the folders above, which others use meanwhile.
    assert!(again["bytes_added"].as_u64().unwrap() < 2_000, "{again}");
}

#[test]
fn a_plain_user_gets_back_all_that_a_plain_user_can_make() {
    if !can(root().and_then(|()| program("setpriv")).and_then(|()| program("setfacl"))) {
        return;
    }
    let nobody = Nobodys::new();
    nobody.grow();
    let before = tree::read(&nobody.site.data());
    nobody.lifeboat(["init"]).ok();
    nobody.lifeboat(["backup"]).ok();
    nobody.lifeboat(["restore", "latest", "--to", "target"]).ok();
    let restored = nobody.site.restored_data(&nobody.site.path("target"));
    tree::assert_same(&before, &tree::read(&restored), "restored as a plain user");
    assert!(allocated(&restored.join("kinds/sparse")) < SPARSE_BYTES / 8);
    nobody.lifeboat(["drill"]).ok();
}

#[test]
fn what_a_plain_user_cannot_read_or_make_is_named() {
    if !can(root().and_then(|()| program("setpriv"))) {
        return;
    }
    let nobody = Nobodys::new();
    let site = &nobody.site;
    grow_as_root(&site.data());
    chown(&site.data().join("only root"), NOBODY, NOBODY);
    std::fs::write(site.data().join("mine"), "mine").unwrap();
    chown(&site.data().join("mine"), NOBODY, NOBODY);
    std::fs::write(site.data().join("roots"), "x").unwrap();
    set_mode(&site.data().join("roots"), 0o600);
    nobody.lifeboat(["init"]).ok();
    // A backup names what it cannot read, and is partial.
    let ran = nobody.lifeboat(["backup", "--json"]).exits(3);
    let problems: Vec<String> =
        ran.lines().iter().filter_map(|line| line["path"].as_str().map(str::to_owned)).collect();
    let named = |name: &str| problems.iter().any(|problem| problem.ends_with(name));
    assert!(named("roots") && named("only root/closed"), "{problems:?}");
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert_eq!(ran.summary()["status"], "partial");
    nobody.lifeboat(["snapshots", "--problems"]).ok().says(["PARTIAL", "roots", "closed"]);
    // A snapshot that root made restores as far as it goes, and what does not is said.
    run(Command::new("chown").args(["-R", "0:0"]).arg(site.repo())).ok();
    site.lifeboat(["backup"]).ok();
    run(Command::new("chown").args(["-R", "65534:65534"]).arg(site.repo())).ok();
    let ran = nobody.lifeboat(["restore", "latest", "--to", "target", "--verbose"]);
    let said = format!("{}{}", ran.text(), ran.errors());
    assert!(said.contains("not run as root: owners, devices and privileged attributes were left out"), "{ran}");
    assert!(said.contains("null is a device") && said.contains("block is a device"), "{ran}");
    let restored = site.restored_data(&site.path("target"));
    assert_eq!(std::fs::read(restored.join("mine")).unwrap(), b"mine");
    assert_eq!(std::fs::read(restored.join("roots")).unwrap(), b"x");
    // A set-uid bit must never come to stand on a file of another owner.
    let foreign = restored.join("only root/foreign set-uid").symlink_metadata().unwrap();
    assert_eq!((foreign.uid(), foreign.mode() & 0o6000), (NOBODY, 0), "{ran}");
    assert!(matches!(ran.status.code(), Some(0 | 3)), "{ran}");
}

#[test]
fn a_socket_is_kept_as_a_name_and_made_anew_by_its_program() {
    let site = Site::initialised();
    let socket = std::os::unix::net::UnixListener::bind(site.data().join("socket")).unwrap();
    std::fs::write(site.data().join("file"), "x").unwrap();
    site.backup();
    drop(socket);
    site.lifeboat(["ls", "-R", "latest"]).ok().says(["data/socket"]);
    site.lifeboat(["restore", "latest", "--to", "target", "--verbose"]).ok().says(["socket is a socket"]);
    let restored = site.restored_data(&site.path("target"));
    assert!(restored.join("file").exists() && !restored.join("socket").exists());
    site.lifeboat(["drill"]).ok();
}

/// Folders in each other, until the path of the innermost has `bytes` bytes.
fn deep(root: &Path, bytes: usize) -> PathBuf {
    let mut path = root.to_owned();
    while path.as_os_str().len() < bytes {
        let room = bytes - path.as_os_str().len();
        // A slash and at least one letter, in every step.
        let name = if room > 202 { 200 } else { room - 1 };
        path.push("d".repeat(name));
        std::fs::create_dir(&path).unwrap();
    }
    path
}

#[test]
fn paths_as_long_as_linux_opens_come_back() {
    let site = Site::initialised();
    let leaf = deep(&site.data(), 4000);
    std::fs::write(leaf.join("leaf"), "x").unwrap();
    let before = tree::read(&site.data());
    site.backup();
    let target = site.restore("latest", "t");
    tree::assert_same(&before, &tree::read(&site.restored_data(&target)), "a path of 4000 bytes");
    site.lifeboat(["drill"]).ok();
}

#[test]
fn a_path_too_long_for_its_new_place_keeps_nothing_else_from_being_restored() {
    let site = Site::initialised();
    let leaf = deep(&site.data(), 4089);
    std::fs::write(leaf.join("leaf"), "x").unwrap();
    std::fs::write(site.data().join("z"), "z").unwrap();
    site.backup();
    let ran = site.lifeboat(["restore", "latest", "--to", "target", "--json"]).exits(3);
    let restored = site.restored_data(&site.path("target"));
    assert_eq!(std::fs::read(restored.join("z")).unwrap(), b"z", "{ran}");
    let problems = ran.lines().into_iter().filter(|line| line["message_type"] == "problem").count();
    assert!(problems >= 1, "{ran}");
    // Without the long way to it, it has room.
    let inner = format!("latest:files{}", leaf.ancestors().nth(15).unwrap().display());
    site.lifeboat(["restore", &inner, "--to", "short"]).ok();
    let names: usize = tree::read(&site.path("short")).len();
    assert_eq!(names, 17, "the folder, fourteen in it and the leaf");
}

#[test]
fn a_path_longer_than_linux_opens_makes_the_backup_partial_and_is_named() {
    let site = Site::initialised();
    let leaf = deep(&site.data(), 3900);
    std::fs::write(site.data().join("z"), "z").unwrap();
    // Step by step, as a program could that works with open folders.
    let inner = "e".repeat(150);
    let opened = std::fs::File::open(&leaf).unwrap();
    rustix::fs::mkdirat(&opened, &inner, Mode::RWXU).unwrap();
    let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let opened = rustix::fs::openat(&opened, &inner, flags, Mode::empty()).unwrap();
    rustix::fs::mkdirat(&opened, &inner, Mode::RWXU).unwrap();
    let ran = site.lifeboat(["backup", "--json"]).exits(3);
    let problem = ran.lines().into_iter().find(|line| line["message_type"] == "problem").unwrap();
    assert!(problem["path"].as_str().unwrap().ends_with(&inner), "{ran}");
    let whole = format!("latest:files{}/z", site.data().display());
    site.lifeboat(["cat", &whole]).ok().says(["z"]);
}

#[test]
fn a_folder_of_100_000_files_needs_little_memory() {
    const FILES: usize = 100_000;
    const RESIDENT_KIB_MAX: u64 = 200 << 10;
    let site = Site::initialised();
    let folder = site.data().join("many");
    std::fs::create_dir(&folder).unwrap();
    for n in 0..FILES {
        std::fs::write(folder.join(format!("{n:06}.json")), format!("{{\"n\":{n}}}")).unwrap();
    }
    let measure = |arguments: &[&str]| {
        let peak = peak_kib(&mut site.lifeboat_command(arguments));
        assert!(peak < RESIDENT_KIB_MAX, "{arguments:?} needed {peak} KiB");
    };
    measure(&["backup"]);
    measure(&["backup"]);
    measure(&["restore", "latest", "--to", "target"]);
    let restored = site.restored_data(&site.path("target")).join("many");
    let mut names: Vec<_> = std::fs::read_dir(&restored).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names.len(), FILES);
    for (n, name) in names.iter().enumerate() {
        assert_eq!(name.to_str(), Some(format!("{n:06}.json").as_str()));
        assert_eq!(std::fs::read_to_string(restored.join(name)).unwrap(), format!("{{\"n\":{n}}}"));
    }
}

/// Does something over and over in a thread of its own while `body` runs.
fn meanwhile<T>(mut deed: impl FnMut() + Send, body: impl FnOnce() -> T) -> T {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                deed();
            }
        });
        // Also where the test fails, or the thread would go on for ever.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        stop.store(true, Ordering::Relaxed);
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn a_log_that_grows_while_it_is_read_is_stored_as_a_state_it_had() {
    let site = Site::initialised();
    let log = site.data().join("app.log");
    std::fs::write(&log, Dice::new(6).text(8 << 20)).unwrap();
    let mut file = std::fs::File::options().append(true).open(&log).unwrap();
    let mut line = 0;
    let append = || {
        line += 1;
        file.write_all(format!("line {line} of many\n").as_bytes()).unwrap();
        std::thread::sleep(std::time::Duration::from_micros(50));
    };
    let (ids, before) = meanwhile(append, || {
        let before = log.metadata().unwrap().len();
        (vec![site.backup(), site.backup()], before)
    });
    let whole = std::fs::read(&log).unwrap();
    for id in ids {
        let target = site.restore(&id, "target");
        let stored = std::fs::read(site.restored_data(&target).join("app.log")).unwrap();
        assert!(stored.len() as u64 >= before && stored.len() < whole.len(), "{}", stored.len());
        assert!(whole.starts_with(&stored), "not a state the log ever had");
    }
}

#[test]
fn a_file_that_is_rewritten_all_the_time_is_reported() {
    let site = Site::initialised();
    let restless = site.data().join("restless.dat");
    std::fs::write(&restless, Dice::new(7).bytes(16 << 20)).unwrap();
    std::fs::write(site.data().join("calm"), "x").unwrap();
    let mut dice = Dice::new(8);
    let mut file = std::fs::File::options().write(true).open(&restless).unwrap();
    let rewrite = || {
        file.seek(SeekFrom::Start(dice.below(4000) * 4096)).unwrap();
        file.write_all(&dice.bytes(4096)).unwrap();
    };
    let ran = meanwhile(rewrite, || site.lifeboat(["backup", "--json"]));
    let ran = ran.exits(3);
    let problems: Vec<_> = ran.lines().into_iter().filter(|line| line["message_type"] == "problem").collect();
    assert_eq!(problems.len(), 1, "{ran}");
    assert_eq!(problems[0]["path"], restless.to_str().unwrap());
    site.lifeboat(["backup"]).ok();
    site.lifeboat(["drill"]).ok();
}

fn listed(site: &Site) -> Vec<String> {
    let root = format!("files{}/", site.data().display());
    let text = site.lifeboat(["ls", "-R", "latest"]).ok().text();
    let below = text.lines().filter_map(|line| Some(line.strip_prefix(&root)?.trim_end_matches('/').to_owned()));
    below.filter(|path| !path.is_empty()).collect()
}

#[test]
fn excludes_and_caches_are_left_out_as_the_configuration_says() {
    let site = Site::new();
    let data = site.data();
    for folder in ["cache", "deep/cache", "node_modules/x", "tagged/in", "untrue", "keep"] {
        std::fs::create_dir_all(data.join(folder)).unwrap();
        std::fs::write(data.join(folder).join("file"), "x").unwrap();
    }
    for name in ["a.log", "deep/b.log", "important.log", "deep/c.txt"] {
        std::fs::write(data.join(name), "x").unwrap();
    }
    std::fs::write(data.join("tagged/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n").unwrap();
    std::fs::write(data.join("untrue/CACHEDIR.TAG"), "Signature: none\n").unwrap();
    site.configure(&format!(
        "files: {{ files: {{ paths: [{data:?}], exclude: [\"*.log\", \"!important.log\", /cache, node_modules/], exclude_caches: true }} }}"
    ));
    site.lifeboat(["init"]).ok();
    site.backup();
    let mut found = listed(&site);
    found.sort();
    let expected = [
        "deep",
        "deep/c.txt",
        "deep/cache",
        "deep/cache/file",
        "important.log",
        "keep",
        "keep/file",
        "tagged",
        "tagged/CACHEDIR.TAG",
        "untrue",
        "untrue/CACHEDIR.TAG",
        "untrue/file",
    ];
    assert_eq!(found, expected);
    site.lifeboat(["drill"]).ok();
}

#[test]
fn a_source_stays_on_its_file_system_where_it_is_told_to() {
    if !can(Mounts::possible()) {
        return;
    }
    let (site, mounts) = (Site::initialised(), Mounts::new());
    let other = site.data().join("other");
    std::fs::write(site.data().join("here"), "").unwrap();
    mounts.tmpfs(&other, "size=1m");
    mounts.run("touch", [other.join("file")]);
    mounts.lifeboat(&site, ["backup"]).ok();
    assert_eq!(listed(&site), ["here", "other", "other/file"]);
    site.configure(&format!("files: {{ files: {{ paths: [{:?}], one_file_system: true }} }}", site.data()));
    mounts.lifeboat(&site, ["backup"]).ok();
    assert_eq!(listed(&site), ["here", "other"]);
}

#[test]
fn a_file_that_is_only_called_like_one_of_couchdb_is_backed_up_as_it_is() {
    let site = Site::initialised();
    let mut bytes = Dice::new(7).bytes(12 << 20);
    let mut backed_up = |at: Option<usize>, more: usize| {
        at.into_iter().for_each(|at| bytes[at..at + 1000].fill(b'x'));
        bytes.resize(bytes.len() + more, b'y');
        // Written in place: the file stays the same one.
        let mut options = std::fs::OpenOptions::new();
        let file = options.create(true).write(true).truncate(false).open(site.data().join("x.view")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
        let target = site.restore(&site.backup(), &format!("target-{}", at.unwrap_or(0)));
        assert!(std::fs::read(site.restored_data(&target).join("x.view")).unwrap() == bytes, "{at:?} {more}");
    };
    backed_up(None, 0);
    backed_up(Some(5_000_000), 100_000);
    backed_up(Some(7_000_000), 0);
}

#[test]
fn a_file_whose_name_is_no_text_is_fetched_alone_and_says_nothing_to_the_terminal() {
    let site = Site::initialised();
    let name = OsStr::from_bytes(b"a\xff\x1b[31m\nsnapshot is complete");
    std::fs::write(site.data().join(name), "content").unwrap();
    std::os::unix::fs::symlink("/nowhere", site.data().join("link")).unwrap();
    site.backup();
    let mut place = std::ffi::OsString::from("latest:files/");
    place.push(site.data().join(name).strip_prefix("/").unwrap());
    let lifeboat = |arguments: &[&OsStr]| site.lifeboat(arguments.iter().copied());
    assert_eq!(lifeboat(&[OsStr::new("cat"), &place]).ok().stdout, b"content");
    lifeboat(&[OsStr::new("restore"), &place, OsStr::new("--to"), OsStr::new("out")]).ok();
    assert_eq!(std::fs::read(site.path("out").join(name)).unwrap(), b"content");
    for arguments in
        [&["ls", "latest", "-R"][..], &["find", "a*"], &["backup", "--verbose"], &["snapshots", "--problems"]]
    {
        let ran = site.lifeboat(arguments);
        let said = [&ran.stdout[..], &ran.stderr].concat();
        let is_bare = said.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"snapshot is complete"));
        assert!(!said.contains(&0x1b) && !is_bare, "{ran}");
    }
}
