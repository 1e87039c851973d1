//! Which disk a path of this machine lies on, so that copies that die together are not counted twice.
//!
//! A file system's device number alone would tell two partitions of one disk apart. So a partition is followed to its
//! disk, and what lies on others (LUKS, LVM, a software RAID) to the first disk below it: two that share only a later
//! one are told apart; a file that is mounted as a disk (a loop device) to the disk that it lies on.
//! A pool of ZFS is one disk, and so is a machine that shares folders, whatever it has inside. This can count
//! too much where two names lead to one machine.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Layers of block devices that are followed at most; nobody stacks more.
const LAYERS_MAX: usize = 8;

/// The disk that `path` lies on, or would: the name that the kernel has for it, such as `sda`; for what is on no disk of
/// this machine, such as a share, whose it is. `None` where that cannot be told.
pub fn of(path: &Path) -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    of_path(path, &mounts, Path::new("/sys"))
}

/// Whether `path` lies, or would, in this machine's memory, which the next start empties.
pub fn is_memory(path: &Path) -> bool {
    let mounted = || mount_of(&there(path)?, &std::fs::read_to_string("/proc/self/mountinfo").ok()?);
    mounted().is_some_and(|mount| ["tmpfs", "ramfs"].contains(&&*mount.kind))
}

/// What is not there yet would be made in the nearest folder that is.
fn there(path: &Path) -> Option<PathBuf> {
    path.ancestors().find_map(|path| path.canonicalize().ok())
}

fn of_path(path: &Path, mounts: &str, sys: &Path) -> Option<String> {
    let mut path = path.to_owned();
    for _ in 0..LAYERS_MAX {
        let disk = of_mounted(&path, mounts, sys)?;
        match backing_file(&disk, sys) {
            Some(file) => path = file,
            None => return Some(disk),
        }
    }
    None
}

/// The file that a loop device shows as a disk.
fn backing_file(disk: &str, sys: &Path) -> Option<PathBuf> {
    let file = std::fs::read_to_string(sys.join("block").join(disk).join("loop/backing_file")).ok()?;
    Some(PathBuf::from(file.trim_end_matches('\n')))
}

fn of_mounted(path: &Path, mounts: &str, sys: &Path) -> Option<String> {
    let there = there(path)?;
    let device = there.metadata().ok()?.dev();
    let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    if let Some(disk) = disk_of(&number, sys) {
        return Some(disk);
    }
    // Btrfs, ZFS, overlays and shares have made-up numbers: what was mounted says more.
    let mount = mount_of(&there, mounts)?;
    let real = Path::new(&mount.source).metadata().ok().map(|node| node.rdev()).filter(|number| *number != 0);
    let disk = real.and_then(|real| disk_of(&format!("{}:{}", rustix::fs::major(real), rustix::fs::minor(real)), sys));
    disk.or_else(|| mount.whose()).or_else(|| Some(format!("{} ({number})", mount.source)))
}

/// The disk below the block device with this number.
fn disk_of(number: &str, sys: &Path) -> Option<String> {
    let mut device: PathBuf = sys.join("dev/block").join(number).canonicalize().ok()?;
    for _ in 0..LAYERS_MAX {
        if device.join("partition").exists() {
            device.pop();
        }
        let mut below: Vec<PathBuf> = std::fs::read_dir(device.join("slaves"))
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        below.sort();
        match below.first().and_then(|first| first.canonicalize().ok()) {
            Some(first) => device = first,
            None => break,
        }
    }
    Some(device.file_name()?.to_string_lossy().into_owned())
}

/// What is mounted somewhere.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    /// The type of its file system.
    kind: String,
    source: String,
}

impl Mount {
    /// What all its folders are lost with: the pool, or the machine that shares them. `None` where its source names nothing.
    fn whose(&self) -> Option<String> {
        let source = &self.source;
        if self.kind == "zfs" {
            return Some(format!("of the pool {}", source.split('/').next()?));
        }
        let server = match source.strip_prefix("//") {
            Some(share) => share.split('/').next(),
            // The address of a version 6 has colons, too, and the name of a user may come first.
            None => source.split_once(":/").map(|(server, _)| server.rsplit('@').next().unwrap_or(server)),
        };
        match server.filter(|server| !server.is_empty()) {
            Some(server) => Some(format!("of the machine {}", server.to_lowercase())),
            None => source.contains(['/', ':']).then(|| source.clone()),
        }
    }
}

/// What is mounted where `path` lies: the mount with the longest point that is above it; of several, the last. See
/// proc(5) for the fields.
fn mount_of(path: &Path, mounts: &str) -> Option<Mount> {
    let plain = |field: &str| field.replace("\\040", " ");
    let mut best: Option<(&str, Mount)> = None;
    for line in mounts.lines() {
        let Some((before, after)) = line.split_once(" - ") else { continue };
        let (Some(point), mut fields) = (before.split(' ').nth(4), after.split(' ')) else { continue };
        let (Some(kind), Some(source)) = (fields.next(), fields.next()) else { continue };
        let is_longer = best.as_ref().is_none_or(|(best, _)| best.len() <= point.len());
        if is_longer && path.starts_with(plain(point)) {
            best = Some((point, Mount { kind: kind.to_owned(), source: plain(source) }));
        }
    }
    best.map(|(_, mount)| mount)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// A `/sys` with a disk `sda` of two partitions, a disk `sdb`, and a LUKS volume on `sda2`.
    fn sys() -> tempfile::TempDir {
        let sys = tempfile::tempdir().unwrap();
        let path = |name: &str| sys.path().join(name);
        fs::create_dir_all(path("dev/block")).unwrap();
        for (number, device) in [
            ("8:1", "devices/sda/sda1"),
            ("8:2", "devices/sda/sda2"),
            ("8:16", "devices/sdb"),
            ("253:0", "devices/virtual/dm-0"),
        ] {
            fs::create_dir_all(path(device).join("slaves")).unwrap();
            symlink(path(device), path("dev/block").join(number)).unwrap();
        }
        fs::write(path("devices/sda/sda1/partition"), "1").unwrap();
        fs::write(path("devices/sda/sda2/partition"), "2").unwrap();
        symlink(path("devices/sda/sda2"), path("devices/virtual/dm-0/slaves/sda2")).unwrap();
        sys
    }

    #[test]
    fn partitions_and_what_lies_on_them_are_followed_to_their_disk() {
        let sys = sys();
        let disk = |number: &str| disk_of(number, sys.path());
        assert_eq!(
            (disk("8:1"), disk("8:2"), disk("253:0")),
            (Some("sda".into()), Some("sda".into()), Some("sda".into()))
        );
        assert_eq!(disk("8:16"), Some("sdb".into()));
        assert_eq!(disk("0:42"), None);
    }

    #[test]
    fn a_file_that_is_mounted_lies_on_the_disk_of_the_file() {
        let (sys, folder) = (sys(), tempfile::tempdir().unwrap());
        let device = folder.path().metadata().unwrap().dev();
        let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        let path = |name: &str| sys.path().join(name);
        symlink(path("devices/sdb"), path("dev/block").join(number)).unwrap();
        fs::create_dir_all(path("block/loop0/loop")).unwrap();
        fs::write(path("block/loop0/loop/backing_file"), format!("{}\n", folder.path().join("image").display()))
            .unwrap();
        assert_eq!(backing_file("loop0", sys.path()), Some(folder.path().join("image")));
        assert_eq!(backing_file("sdb", sys.path()), None);
        assert_eq!(of_path(&folder.path().join("image"), "", sys.path()), Some("sdb".to_owned()));
    }

    #[test]
    fn the_nearest_mount_says_what_is_mounted() {
        let mounts = "20 1 0:20 / / rw - overlay overlay rw\n\
                      30 20 0:30 / /mnt/a\\040b rw shared:1 - nfs4 nas:/export rw\n\
                      31 20 0:31 / /mnt rw - btrfs /dev/sdz1 rw\nbroken\n";
        let source = |path: &str| mount_of(Path::new(path), mounts).map(|mount| mount.source);
        assert_eq!(source("/mnt/a b/c").as_deref(), Some("nas:/export"));
        assert_eq!(source("/mnt/a").as_deref(), Some("/dev/sdz1"));
        assert_eq!(source("/mntx").as_deref(), Some("overlay"));
    }

    #[test]
    fn a_pool_is_one_disk_and_so_is_a_machine_that_shares_folders() {
        let whose = |kind: &str, source: &str| {
            let mount = Mount { kind: kind.to_owned(), source: source.to_owned() };
            mount.whose().unwrap_or_default()
        };
        for source in ["tank", "tank/data", "tank/backup/x"] {
            assert_eq!(whose("zfs", source), "of the pool tank");
        }
        for (kind, source) in [
            ("nfs4", "nas:/a"),
            ("nfs", "nas:/b"),
            ("cifs", "//NAS/c"),
            ("fuse.sshfs", "backup@nas:/d"),
            ("smb3", "//nas/d"),
        ] {
            assert_eq!(whose(kind, source), "of the machine nas", "{source}");
        }
        assert_eq!(whose("nfs4", "[fe80::1]:/a"), "of the machine [fe80::1]");
        assert_eq!(whose("btrfs", "/dev/sdz1"), "/dev/sdz1");
        assert_eq!(whose("overlay", "overlay"), "");
    }

    #[test]
    fn what_lies_in_memory_is_told() {
        assert!(!is_memory(Path::new("/proc")));
        let mounts = "20 1 0:20 / / rw - ext4 /dev/sda rw\n21 20 0:21 / /dev/shm rw - tmpfs shm rw\n";
        let kind = |path: &str| mount_of(Path::new(path), mounts).unwrap().kind;
        assert_eq!((kind("/dev/shm/copy"), kind("/srv")), ("tmpfs".to_owned(), "ext4".to_owned()));
    }

    #[test]
    fn two_folders_of_one_file_system_are_on_one_disk_also_before_they_exist() {
        let folder = tempfile::tempdir().unwrap();
        let disk = of(folder.path());
        assert!(disk.is_some());
        assert_eq!(of(&folder.path().join("not/there/yet")), disk);
        assert_ne!(of(Path::new("/proc/self")), disk, "what is on no disk is told apart");
    }
}
