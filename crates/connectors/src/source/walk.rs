//! A plain walk for looking around: in no order, following no link, with a stack of its own so that no depth ends it.

use std::ffi::{OsStr, OsString};
use std::fs::FileType;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use repository::source::KEPT_FOLDER_PREFIXES;
use repository::{Cancel, SourceError};

/// What the walk comes by.
pub enum Seen<'a> {
    /// Something in a folder. For a folder, the answer says whether to look into it.
    Entry(&'a Path, FileType),
    /// All names in a folder, before any of them is seen. The answer says whether to look at them.
    Names(&'a Path, &'a [(OsString, FileType)]),
    /// A folder that cannot be read.
    Unreadable(&'a Path, io::Error),
}

/// Whether a folder is what a restore in place keeps for its undo, or the place it is put together in: data that is gone, and
/// never captured.
pub fn is_kept_by_restore(name: &OsStr) -> bool {
    KEPT_FOLDER_PREFIXES.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()))
}

/// Shows `visit` everything below the folder `root`, but for what [`is_kept_by_restore`]. What vanishes meanwhile is passed over.
pub fn walk(root: &Path, cancel: &Cancel, visit: &mut dyn FnMut(Seen<'_>) -> bool) -> Result<(), SourceError> {
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        cancel.check()?;
        let mut names = Vec::new();
        match std::fs::read_dir(&folder) {
            Ok(entries) => {
                for entry in entries {
                    match entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?))) {
                        Ok((name, file_type)) if file_type.is_dir() && is_kept_by_restore(&name) => {}
                        Ok(named) => names.push(named),
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => {
                            visit(Seen::Unreadable(&folder, error));
                            break;
                        }
                    }
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && folder != root => {}
            Err(error) => {
                visit(Seen::Unreadable(&folder, error));
            }
        }
        if !visit(Seen::Names(&folder, &names)) {
            continue;
        }
        for (name, file_type) in names {
            cancel.check()?;
            let path: PathBuf = folder.join(name);
            if visit(Seen::Entry(&path, file_type)) && file_type.is_dir() {
                folders.push(path);
            }
        }
    }
    Ok(())
}

/// Compiles gitignore patterns to be matched by [`is_matched`].
pub fn compile_patterns(option: &str, patterns: &[String]) -> Result<Gitignore, SourceError> {
    let invalid = |pattern: &str, error: ignore::Error| SourceError::Unavailable {
        what: format!("{option}: `{pattern}` is not a gitignore pattern: {error}"),
    };
    let mut builder = GitignoreBuilder::new("/");
    for pattern in patterns {
        builder.add_line(None, pattern).map_err(|error| invalid(pattern, error))?;
    }
    builder.build().map_err(|error| invalid(&patterns.join("`, `"), error))
}

/// Whether the patterns match `path`, which lies at or below `base`, the folder that they are anchored at.
pub fn is_matched(patterns: &Gitignore, base: &Path, path: &Path, is_folder: bool) -> bool {
    if patterns.is_empty() {
        return false;
    }
    let below = path.strip_prefix(base).unwrap_or(path);
    patterns.matched(Path::new("/").join(below), is_folder).is_ignore()
}

/// Whether the file at `tag` marks its folder as a cache, by the signature of the Cache Directory Tagging
/// Specification (bford.info/cachedir).
pub fn is_cache_tag(tag: &Path) -> bool {
    use std::io::Read as _;
    const SIGNATURE: &[u8] = b"Signature: 8a477f597d28d172789f06886806bc55";
    let mut start = [0; SIGNATURE.len()];
    // Only a regular file is opened: opening a fifo would wait for ever.
    std::fs::symlink_metadata(tag).is_ok_and(|metadata| metadata.is_file())
        && std::fs::File::open(tag).and_then(|mut file| file.read_exact(&mut start)).is_ok()
        && start == SIGNATURE
}

/// The name of a cache tag.
pub const CACHE_TAG: &str = "CACHEDIR.TAG";
