//! Whole folders: their size, their contents in the page cache, and whether a restored one equals the original.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::data::MARKER;

const BUFFER_BYTES: usize = 1024 * 1024;

/// Sum of the lengths of all files, in bytes; 0 for a folder that is missing.
pub fn size(folder: &Path) -> Result<u64> {
    if !folder.exists() {
        return Ok(0);
    }
    Ok(files(folder)?.into_values().sum())
}

/// Reads every file, so that what is measured next finds it in memory as far as the memory goes.
pub fn warm(folder: &Path) -> Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    for path in files(folder)?.into_keys() {
        let mut file = File::open(folder.join(path))?;
        while file.read(&mut buffer)? > 0 {}
    }
    Ok(())
}

/// Fails unless the data were restored, byte for byte, somewhere under `restored`: programs differ in how much of the
/// original path they put there.
pub fn ensure_restored(data: &Path, restored: &Path) -> Result<()> {
    let all = files(restored)?;
    let Some(marker) = all.keys().find(|path| path.file_name().is_some_and(|name| name == MARKER)) else {
        bail!("nothing was restored: {MARKER} is not among the {} files restored", all.len());
    };
    let root = restored.join(marker.parent().unwrap_or(Path::new("")));
    let (before, after) = (files(data)?, files(&root)?);
    ensure!(before.len() == after.len(), "{} files were restored of {}", after.len(), before.len());
    let (mut left, mut right) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    for (path, length) in &before {
        ensure!(after.get(path) == Some(length), "{} was restored with another length", path.display());
        let (mut original, mut copy) = (File::open(data.join(path))?, File::open(root.join(path))?);
        let mut to_compare = *length;
        while to_compare > 0 {
            let count = to_compare.min(BUFFER_BYTES as u64) as usize;
            original.read_exact(&mut left[..count])?;
            copy.read_exact(&mut right[..count])?;
            ensure!(left[..count] == right[..count], "{} was restored with other contents", path.display());
            to_compare -= count as u64;
        }
    }
    Ok(())
}

/// All regular files with their lengths, by their path within `folder`.
fn files(folder: &Path) -> Result<BTreeMap<PathBuf, u64>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).with_context(|| format!("list {}", next.display()))? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() {
                let path = entry.path();
                found.insert(path.strip_prefix(folder)?.to_path_buf(), metadata.len());
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn restored_with(change: impl Fn(&Path)) -> Result<()> {
        let (data, restored) = (tempfile::tempdir()?, tempfile::tempdir()?);
        let copy = restored.path().join("tmp/data");
        for folder in [data.path(), &copy] {
            fs::create_dir_all(folder.join("a"))?;
            fs::write(folder.join(MARKER), "scale 1\nseed 1\n")?;
            fs::write(folder.join("a/b"), "bytes")?;
        }
        change(&copy);
        ensure_restored(data.path(), restored.path())
    }

    #[test]
    fn a_faithful_restore_is_accepted_wherever_it_lies() {
        restored_with(|_| ()).unwrap();
    }

    #[test]
    fn a_restore_that_lacks_or_changes_a_file_is_refused() {
        let refused = |expected: &str, change: fn(&Path)| {
            let message = restored_with(change).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        };
        refused("nothing was restored", |copy| fs::remove_dir_all(copy).unwrap());
        refused("1 files were restored of 2", |copy| fs::remove_file(copy.join("a/b")).unwrap());
        refused("another length", |copy| fs::write(copy.join("a/b"), "byte").unwrap());
        refused("other contents", |copy| fs::write(copy.join("a/b"), "byteS").unwrap());
    }

    #[test]
    fn the_size_is_that_of_all_files_below() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), "12345").unwrap();
        fs::write(folder.path().join("c"), "123").unwrap();
        assert_eq!(size(folder.path()).unwrap(), 8);
        assert_eq!(size(&folder.path().join("missing")).unwrap(), 0);
    }
}
