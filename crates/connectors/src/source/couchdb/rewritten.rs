//! A small database of the data folder, written anew beside the old file, read back, and only then put in its place.

use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::{Path, PathBuf};

use couchfile::rewrite::Rewritten;
use couchfile::{Database, Level};
use repository::SourceError;

pub(super) fn open(path: &Path) -> Result<Database<File>, SourceError> {
    let file = File::open(path).map_err(SourceError::io(path))?;
    Database::open(file).map_err(invalid(path))
}

pub(super) fn invalid(path: &Path) -> impl Fn(couchfile::Error) -> SourceError {
    move |error| SourceError::Invalid { what: format!("{}: {error}", path.display()) }
}

/// A file that was written and read back, and is not yet in its place.
pub(super) struct Beside {
    file: tempfile::NamedTempFile,
    path: PathBuf,
    pub rewritten: Rewritten,
}

impl Beside {
    /// Writes what is to take the place of `path`, and checks it. It has the old one's owner and mode.
    pub fn write(
        path: &Path,
        write: impl FnOnce(&mut BufWriter<&File>) -> Result<Rewritten, couchfile::Error>,
    ) -> Result<Self, SourceError> {
        Self::write_like(path, path, write)
    }

    /// As [`Beside::write`], with the owner and mode of `like`.
    pub fn write_like(
        path: &Path,
        like: &Path,
        write: impl FnOnce(&mut BufWriter<&File>) -> Result<Rewritten, couchfile::Error>,
    ) -> Result<Self, SourceError> {
        let io = |error| SourceError::io(path)(error);
        let folder = path.parent().unwrap_or(Path::new("/"));
        let file = tempfile::Builder::new().prefix(".lifeboat-rewritten-").tempfile_in(folder).map_err(io)?;
        let mut out = BufWriter::new(file.as_file());
        let rewritten = write(&mut out).map_err(invalid(path))?;
        out.flush().map_err(io)?;
        drop(out);
        let report = open(file.path())?.check(Level::Attachments);
        if let Some(finding) = report.findings.first() {
            return Err(SourceError::Invalid {
                what: format!("what was written for {} is wrong: {finding}", path.display()),
            });
        }
        let old = std::fs::metadata(like).map_err(SourceError::io(like))?;
        match fchown(file.as_file(), Some(old.uid()), Some(old.gid())) {
            // A plain user owns both files already.
            Err(error) if error.kind() != ErrorKind::PermissionDenied => return Err(io(error)),
            _ => {}
        }
        file.as_file().set_permissions(old.permissions()).map_err(io)?;
        file.as_file().sync_all().map_err(io)?;
        Ok(Self { file, path: path.to_owned(), rewritten })
    }

    /// What was written, to be read.
    pub fn open(&self) -> Result<Database<File>, SourceError> {
        open(self.file.path())
    }

    /// Puts it in its place.
    pub fn persist(self) -> Result<(), SourceError> {
        self.file.persist(&self.path).map_err(|error| SourceError::io(&self.path)(error.error))?;
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(SourceError::io(folder))
    }
}
