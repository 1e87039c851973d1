//! Folders for temporary data: made for one run, removed after it, and removed by the next run where a run was killed.

use std::fs::File;
use std::path::{Path, PathBuf};

use repository::Error;
use rustix::fs::FlockOperation;

/// A folder for one run. Its maker holds a lock on it, so that others can tell whether it is still in use.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _lock: File,
}

const PREFIX: &str = "run-";
/// How often a fresh folder is tried where another run sweeps it away between its making and its locking.
const ATTEMPTS: u32 = 10;

impl Scratch {
    /// Makes a folder below `parent`, which is made where it is missing. Removes what killed runs left there.
    pub fn create(parent: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(parent).map_err(Error::local(parent))?;
        remove_abandoned(parent)?;
        let mut attempts = 1;
        loop {
            let name = repository::format::crypto::random::<8>()?;
            let path = parent.join(format!("{PREFIX}{}", name.map(|byte| format!("{byte:02x}")).concat()));
            create_private(&path).map_err(Error::local(&path))?;
            match lock(&path) {
                Ok(lock) if path.exists() => return Ok(Self { path, _lock: lock }),
                Err(error) if attempts == ATTEMPTS => return Err(Error::Local { path, error }),
                _ => attempts += 1,
            }
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder and all in it. A run that ends without this leaves it to the next run.
    pub fn remove(self) -> Result<(), Error> {
        remove_tree(&self.path).map_err(Error::local(&self.path))
    }
}

/// Runs `body` with a folder and removes it whatever comes of it.
pub fn with_scratch<T, E: From<Error>>(parent: &Path, body: impl FnOnce(&Path) -> Result<T, E>) -> Result<T, E> {
    let scratch = Scratch::create(parent)?;
    let result = body(scratch.path());
    let removed = scratch.remove();
    let value = result?;
    removed?;
    Ok(value)
}

/// The lock of a folder, free again once the file is closed or its process is dead.
fn lock(path: &Path) -> std::io::Result<File> {
    let folder = File::open(path)?;
    rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    Ok(folder)
}

fn create_private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().mode(0o700).create(path)
}

fn remove_abandoned(parent: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(parent).map_err(Error::local(parent))? {
        let path = entry.map_err(Error::local(parent))?.path();
        let ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        // What cannot be opened or is locked belongs to a living run.
        if ours && let Ok(_lock) = lock(&path) {
            remove_tree(&path).map_err(Error::local(&path))?;
        }
    }
    Ok(())
}

/// Removes a tree in which restored modes may forbid it: folders are opened up first.
pub(crate) fn remove_tree(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            open_up(path)?;
            std::fs::remove_dir_all(path)
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn open_up(root: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_killed_runs_are_removed_and_living_ones_stay() {
        let parent = tempfile::tempdir().unwrap();
        let abandoned = parent.path().join("run-dead");
        std::fs::create_dir_all(abandoned.join("deep")).unwrap();
        std::fs::create_dir(parent.path().join("other")).unwrap();
        let living = Scratch::create(parent.path()).unwrap();
        assert!(!abandoned.exists());
        let second = Scratch::create(parent.path()).unwrap();
        assert!(living.path().exists());
        living.remove().unwrap();
        second.remove().unwrap();
        let left: Vec<_> = std::fs::read_dir(parent.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["other"]);
    }

    #[test]
    fn a_tree_that_forbids_its_removal_is_removed() {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::create(parent.path()).unwrap();
        let closed = scratch.path().join("closed");
        std::fs::create_dir_all(closed.join("inner")).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
        scratch.remove().unwrap();
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
