//! A folder for temporary files that is gone after a run, also after one that was killed.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use repository::SourceError;
use rustix::fs::FlockOperation;

/// How often a fresh folder is tried when another run sweeps it away between its making and its locking.
const ATTEMPTS: u32 = 10;

/// A folder that only its owner may look into. Locked as long as it is in use; dropping it removes it.
pub struct ScratchFolder {
    dir: tempfile::TempDir,
    _lock: File,
}

impl ScratchFolder {
    /// Makes a folder in `scratch` whose name begins with `prefix`, and removes those of runs that were killed.
    pub fn new(scratch: &Path, prefix: &str) -> Result<Self, SourceError> {
        sweep(scratch, prefix);
        let mut attempts = 1;
        loop {
            let mut builder = tempfile::Builder::new();
            let dir = builder.prefix(prefix).permissions(Permissions::from_mode(0o700)).tempdir_in(scratch);
            let dir = dir.map_err(SourceError::io(scratch))?;
            match lock(dir.path()) {
                Ok(lock) if dir.path().exists() => return Ok(Self { dir, _lock: lock }),
                Err(error) if attempts == ATTEMPTS => return Err(SourceError::io(dir.path())(error)),
                _ => attempts += 1,
            }
        }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// The lock of a folder, free again once the file is closed or its process is dead.
fn lock(path: &Path) -> io::Result<File> {
    let folder = File::open(path)?;
    rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    Ok(folder)
}

/// Removes the folders that nobody has locked. Where that fails, they only take space; the next run tries again.
fn sweep(scratch: &Path, prefix: &str) {
    for entry in std::fs::read_dir(scratch).into_iter().flatten().flatten() {
        let is_ours = entry.file_name().as_bytes().starts_with(prefix.as_bytes());
        if is_ours
            && entry.file_type().is_ok_and(|file_type| file_type.is_dir())
            && let Ok(_lock) = lock(&entry.path())
        {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_killed_runs_are_swept_and_those_in_use_stay() {
        let scratch = tempfile::tempdir().unwrap();
        let used = ScratchFolder::new(scratch.path(), "copies-").unwrap();
        std::fs::create_dir(scratch.path().join("copies-dead")).unwrap();
        std::fs::write(scratch.path().join("copies-dead/0.db"), "left over").unwrap();
        std::fs::create_dir(scratch.path().join("other")).unwrap();
        let fresh = ScratchFolder::new(scratch.path(), "copies-").unwrap();
        assert!(used.path().exists() && fresh.path().exists() && used.path() != fresh.path());
        assert!(scratch.path().join("other").exists() && !scratch.path().join("copies-dead").exists());
        drop((used, fresh));
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);
    }
}
