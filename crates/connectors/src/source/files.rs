//! Source `files`: folders and files as they lie on the host, with everything restic keeps of them.
//!
//! The walk keeps names only: memory is a function of the largest folders on the way down, not of the tree. It has a
//! stack of its own, so that no depth ends it. Nothing is left out silently but what the options ask for.

mod plan;
#[cfg(test)]
mod tests;
mod tree;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use ignore::gitignore::Gitignore;
use repository::{Cancel, Capture, CaptureCx, Facts, Source, SourceError};

use super::walk::compile_patterns;

/// The kind's name in the configuration.
pub const KIND: &str = "files";

/// What a [`FilesSource`] captures.
#[derive(Clone, Debug, Default)]
pub struct FilesOptions {
    /// Files and folders of the host; they may overlap. Each lies in the snapshot at its absolute path as it is spelled
    /// here, without the leading slash; the folders on the way to it are there with their own owner and mode. A path
    /// that is a link is kept as a link, as restic does; links on the way to a path are followed.
    pub paths: Vec<PathBuf>,
    /// Gitignore patterns of what is left out, anchored at each of `paths`: `/cache` leaves out `cache` right below a
    /// path, `cache` at any depth. Where paths overlap, the innermost path above a file counts. The paths themselves
    /// are never left out.
    pub exclude: Vec<String>,
    /// Mount points below a path are kept as empty folders. A file that is mounted on its own is captured all the same,
    /// since overlay file systems give files device numbers that differ from their folders'.
    pub one_file_system: bool,
    /// Of folders with a valid `CACHEDIR.TAG`, only the folder and the tag are kept.
    pub exclude_caches: bool,
    /// Gitignore patterns, anchored as `exclude`, of files that only ever grow between rewrites: their tail alone is
    /// read.
    pub append_only: Vec<String>,
    /// After this long, append-only files are read in full again.
    pub full_read: Duration,
}

/// Files and folders of the host.
#[derive(Clone, Debug)]
pub struct FilesSource {
    options: FilesOptions,
    exclude: Gitignore,
    append_only: Gitignore,
}

impl FilesSource {
    /// Fails with a message for the user where a pattern is malformed or no path is given.
    pub fn new(options: FilesOptions) -> Result<Self, SourceError> {
        if options.paths.is_empty() {
            return Err(SourceError::Unavailable { what: "paths: name at least one file or folder".to_owned() });
        }
        let exclude = compile_patterns("exclude", &options.exclude)?;
        let append_only = compile_patterns("append_only", &options.append_only)?;
        Ok(Self { options, exclude, append_only })
    }

    /// The same capture for a source that finds out where to look only when its own begins.
    pub(super) fn into_capture<'a>(self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        Ok(Box::new(tree::FilesCapture::new(Cow::Owned(self), cx)?))
    }
}

impl Source for FilesSource {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn claims(&self, _: &Cancel) -> Result<BTreeSet<PathBuf>, SourceError> {
        Ok(BTreeSet::new())
    }

    fn capture<'a>(&'a self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        Ok(Box::new(tree::FilesCapture::new(Cow::Borrowed(self), cx)?))
    }
}

/// The engine compares every byte and counts what it stored by itself, so nothing is left to recount.
pub fn examine(recorded: &Facts) -> Facts {
    recorded.clone()
}
