//! Which processes have files open below the targets. Files are told by device and inode, not by path: a container sees
//! the same file under another path.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The number of the namespace of processes that a machine starts with (`PROC_PID_INIT_INO` in `include/linux/proc_ns.h` of
/// Linux).
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// What the first process is called on a machine, be it one that shares its kernel with others, as in LXC and WSL.
const INITS: [&str; 3] = ["systemd", "init", "runit"];
/// What Docker, Podman and Kubernetes put into each container.
const MARKS_OF_CONTAINERS: [&str; 3] = ["/.dockerenv", "/run/.containerenv", "/var/run/secrets/kubernetes.io"];
/// How the control groups of containers are called that no mark tells of: those of Kubernetes, containerd and CRI-O.
const GROUPS_OF_PODS: [&str; 4] = ["kubepods", "cri-containerd", "crio-", "/containerd/"];

/// Which processes can be seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessesSeen {
    /// All of this machine.
    All,
    /// Those of a machine that shares its kernel with others: of LXC, of WSL. Its files are its own, but for folders that it
    /// was given.
    OwnMachine,
    /// Those of a container around a program. The files that it was given are there for others to work with.
    Container,
}

/// Looks which processes can be seen.
pub fn processes_seen() -> ProcessesSeen {
    let Ok(namespace) = fs::read_link("/proc/self/ns/pid") else { return ProcessesSeen::All };
    let first = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    let groups = fs::read_to_string("/proc/1/cgroup").unwrap_or_default();
    let is_marked = MARKS_OF_CONTAINERS.iter().any(|mark| Path::new(mark).exists())
        || GROUPS_OF_PODS.iter().any(|word| groups.contains(word));
    seen_from(&namespace, first.trim_end(), is_marked)
}

fn seen_from(namespace: &Path, first: &str, is_marked: bool) -> ProcessesSeen {
    // That of WSL is called `init(NAME)`.
    let first = first.split('(').next().unwrap_or_default();
    match namespace == Path::new(FIRST_NAMESPACE) {
        true => ProcessesSeen::All,
        false if INITS.contains(&first) && !is_marked => ProcessesSeen::OwnMachine,
        false => ProcessesSeen::Container,
    }
}

/// A file below a target that a process has open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OpenFile {
    pub path: PathBuf,
    pub process: Process,
}

/// A process, with its name for people.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Process {
    pub id: u32,
    pub name: String,
}

/// All open files of all processes, but for this one's own.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    /// By device and inode.
    files: BTreeMap<(u64, u64), BTreeSet<Process>>,
    /// Processes that could not be looked at.
    pub unseen: usize,
}

impl OpenFiles {
    /// Looks at every process. One that ends meanwhile has nothing open.
    pub fn of_this_host() -> Self {
        let mut open = Self::default();
        let own = std::process::id();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            if id != own {
                open.look_at(id, &entry.path());
            }
        }
        open
    }

    fn look_at(&mut self, id: u32, process: &Path) {
        let descriptors = match fs::read_dir(process.join("fd")) {
            Ok(descriptors) => descriptors,
            Err(error) => {
                self.unseen += usize::from(error.kind() == std::io::ErrorKind::PermissionDenied);
                return;
            }
        };
        let name = || fs::read_to_string(process.join("comm")).unwrap_or_default().trim_end().to_owned();
        let mut found = None;
        for descriptor in descriptors.flatten() {
            // Follows the descriptor to the very file, even one that was renamed.
            let Ok(file) = fs::metadata(descriptor.path()) else { continue };
            // An open folder (a working directory, a watch) does not keep its files from being replaced.
            if file.is_file() {
                let process = found.get_or_insert_with(|| Process { id, name: name() });
                self.files.entry((file.dev(), file.ino())).or_default().insert(process.clone());
            }
        }
    }

    /// The open files among `path`, where it is a file, and everything below it, where it is a folder. Other file
    /// systems below are not entered.
    pub fn below(&self, path: &Path) -> Vec<OpenFile> {
        let mut open = Vec::new();
        let Ok(root) = path.symlink_metadata() else { return open };
        let device = root.dev();
        // Nothing is open on most file systems, and then no tree need be walked.
        if !self.files.keys().any(|(dev, _)| *dev == device) {
            return open;
        }
        self.note(path, (device, root.ino()), &mut open);
        let mut waiting = if root.is_dir() { vec![path.to_owned()] } else { Vec::new() };
        while let Some(folder) = waiting.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                self.note(&entry.path(), (device, entry.ino()), &mut open);
                let same_device = |entry: &fs::DirEntry| entry.metadata().is_ok_and(|found| found.dev() == device);
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) && same_device(&entry) {
                    waiting.push(entry.path());
                }
            }
        }
        open.sort();
        open
    }

    fn note(&self, path: &Path, file: (u64, u64), open: &mut Vec<OpenFile>) {
        let processes = self.files.get(&file).into_iter().flatten();
        open.extend(processes.map(|process| OpenFile { path: path.to_owned(), process: process.clone() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_shares_its_kernel_is_told_from_a_container_around_a_program() {
        let seen = |namespace: &str, first: &str, is_marked| seen_from(Path::new(namespace), first, is_marked);
        let (first, other) = ("pid:[4026531836]", "pid:[4026532441]");
        assert_eq!(seen(first, "lifeboat", false), ProcessesSeen::All);
        for init in ["systemd", "init", "init(Debian)"] {
            assert_eq!(seen(other, init, false), ProcessesSeen::OwnMachine, "{init}");
            assert_eq!(seen(other, init, true), ProcessesSeen::Container, "an image may hold one, too");
        }
        for program in ["lifeboat", "docker-init", "sh", ""] {
            assert_eq!(seen(other, program, false), ProcessesSeen::Container, "{program}");
        }
    }
}
