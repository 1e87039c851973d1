//! A repository in a folder, for reading only: just enough to open a fixture.

use std::fs;
use std::io::ErrorKind;
use std::ops::Range;
use std::path::PathBuf;

use repository::storage::Listed;
use repository::{File, FileKind, Storage, StorageError};

pub struct Folder(pub PathBuf);

impl Folder {
    fn read_only(&self) -> StorageError {
        StorageError::Denied { location: self.location(), what: "fixtures are only read".to_owned() }
    }

    fn failed(&self, what: impl ToString) -> StorageError {
        StorageError::Permanent { location: self.location(), what: what.to_string() }
    }

    fn list_folder(&self, path: PathBuf, listed: &mut Vec<Listed>) -> Result<(), StorageError> {
        let entries = match fs::read_dir(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(|error| self.failed(error))?,
        };
        for entry in entries {
            let entry = entry.map_err(|error| self.failed(error))?;
            let facts = entry.metadata().map_err(|error| self.failed(error))?;
            if facts.is_dir() {
                self.list_folder(entry.path(), listed)?;
            } else if let Ok(id) = entry.file_name().to_string_lossy().parse() {
                listed.push(Listed { id, bytes: facts.len() });
            }
        }
        Ok(())
    }
}

impl Storage for Folder {
    fn location(&self) -> String {
        self.0.display().to_string()
    }

    fn put(&self, _: File, _: &[u8]) -> Result<(), StorageError> {
        Err(self.read_only())
    }

    fn get(&self, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, StorageError> {
        let bytes = fs::read(self.0.join(file.path())).map_err(|error| match error.kind() {
            ErrorKind::NotFound => StorageError::NotFound { file, location: self.location() },
            _ => self.failed(error),
        })?;
        let Some(range) = range else { return Ok(bytes) };
        let part = bytes.get(range.start as usize..range.end as usize);
        part.map(<[u8]>::to_vec).ok_or_else(|| self.failed("the range ends past the file"))
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, StorageError> {
        let mut listed = Vec::new();
        self.list_folder(self.0.join(kind.folder()), &mut listed)?;
        Ok(listed)
    }

    fn delete(&self, _: File) -> Result<(), StorageError> {
        Err(self.read_only())
    }
}
