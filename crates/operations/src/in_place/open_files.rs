//! Which processes have files open below the targets. Files are told by device and inode, not by path: a container sees
//! the same file under another path.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{DirEntryExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The number of the namespace of processes that a machine starts with (`PROC_PID_INIT_INO` in `include/linux/proc_ns.h` of
/// Linux).
const FIRST_NAMESPACE: &str = "pid:[4026531836]";

/// Whether processes of this machine are hidden from us: in a container only those of the container can be seen.
pub fn are_processes_hidden() -> bool {
    fs::read_link("/proc/self/ns/pid").is_ok_and(|link| is_own_namespace(&link))
}

fn is_own_namespace(link: &Path) -> bool {
    link != Path::new(FIRST_NAMESPACE)
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
    fn a_container_has_another_namespace_of_processes_than_the_machine() {
        assert!(!is_own_namespace(Path::new("pid:[4026531836]")));
        assert!(is_own_namespace(Path::new("pid:[4026532441]")));
    }
}
