//! Writes attachments into a folder. Ids and names come from whoever wrote to the database: any of their characters that
//! means something to a file system is written in hexadecimal, so that no path leads out of the folder.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

use operations::{Fault, FaultKind};
use repository::Id;

/// Bytes of a name. File systems take 255.
const NAME_BYTES_MAX: usize = 200;
/// Digits of the hash that ends a longer name.
const HASH_DIGITS: usize = 32;

/// Where attachments go: `ID/NAME` below it, or `ID/REVISION/NAME` where all revisions are written.
pub struct AttachmentFolder {
    root: PathBuf,
    by_revision: bool,
}

impl AttachmentFolder {
    /// Makes the folder, unless it is there.
    pub fn new(root: &Path, by_revision: bool) -> Result<Self, Fault> {
        fs::create_dir_all(root).map_err(|error| Fault::local(format!("cannot make {}", root.display()), error))?;
        Ok(Self { root: root.to_owned(), by_revision })
    }

    /// Writes one attachment, whose content `write` gives. What cannot be read whole leaves no file; its error is the inner
    /// one. A file that is there is a fault.
    pub fn write<E>(
        &self,
        id: &str,
        revision: &str,
        name: &str,
        write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<Result<(), E>, Fault> {
        let mut folder = self.folder(&self.root.join(file_name(id)))?;
        if self.by_revision {
            folder = self.folder(&folder.join(file_name(revision)))?;
        }
        let path = folder.join(file_name(name));
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::AlreadyExists => {
                Fault::new(FaultKind::AlreadyExists, format!("{} is there already", path.display()))
                    .with_hint("name an empty or new folder with --attachments")
            }
            _ => Fault::local(format!("cannot write {}", path.display()), error),
        };
        let file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(failed)?;
        let mut watched = Watched { out: BufWriter::new(file), failed: None };
        let read = write(&mut watched);
        let written = match watched.failed.take() {
            Some(error) => Err(error),
            None => watched.out.flush(),
        };
        if written.is_err() || read.is_err() {
            // What is not whole must not look as if it were.
            let _ = fs::remove_file(&path);
        }
        written.map_err(failed)?;
        Ok(read)
    }

    fn folder(&self, path: &Path) -> Result<PathBuf, Fault> {
        let doing = || format!("cannot make {}", path.display());
        match fs::create_dir(path) {
            Ok(()) => Ok(path.to_owned()),
            // Not through a link.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => match fs::symlink_metadata(path) {
                Ok(there) if there.is_dir() => Ok(path.to_owned()),
                _ => Err(Fault::local(doing(), error)),
            },
            Err(error) => Err(Fault::local(doing(), error)),
        }
    }
}

/// A file, and what kept it from being written: that is no fault of the attachment.
struct Watched {
    out: BufWriter<File>,
    failed: Option<io::Error>,
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write(bytes).map_err(|error| {
            let kind = error.kind();
            self.failed = Some(error);
            kind.into()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// `name` as the name of one file. Different names give different files.
fn file_name(name: &str) -> String {
    let mut quoted = String::new();
    for (position, byte) in name.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b"-_@".contains(&byte) || (byte == b'.' && position > 0);
        if plain {
            quoted.push(byte.into());
        } else {
            // Writing to a string cannot fail.
            let _ = write!(quoted, "%{byte:02X}");
        }
    }
    if quoted.len() > NAME_BYTES_MAX {
        quoted.truncate(NAME_BYTES_MAX - HASH_DIGITS - 1);
        quoted.push('~');
        quoted.push_str(&Id::of(name.as_bytes()).to_hex()[..HASH_DIGITS]);
    }
    // No document has an empty id, but an attachment might be called so.
    if quoted.is_empty() { "%".to_owned() } else { quoted }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leads_out_of_the_folder_and_no_two_become_one() {
        let long = "x/".repeat(500);
        let awkward = [
            "..",
            ".",
            "",
            "/",
            "../../etc/passwd",
            "a/b",
            "a%2Fb",
            "a\0b",
            ".hidden",
            "\u{e9}",
            "%",
            &long,
            &format!("{long}y"),
        ];
        let mut names: Vec<_> = awkward.iter().map(|name| file_name(name)).collect();
        for name in &names {
            assert!(!name.contains('/') && !name.contains('\0') && !name.starts_with('.'), "{name}");
            assert!(!name.is_empty() && name.len() <= NAME_BYTES_MAX, "{name}");
        }
        assert_eq!(file_name("report-1.final@2026_x.pdf"), "report-1.final@2026_x.pdf");
        names.sort();
        names.dedup();
        assert_eq!(names.len(), awkward.len());
    }

    #[test]
    fn a_file_that_is_there_is_refused_and_a_part_leaves_none() {
        let folder = tempfile::tempdir().unwrap();
        let attachments = AttachmentFolder::new(&folder.path().join("new"), true).unwrap();
        let write = |content: Result<&'static [u8], &'static str>| {
            attachments.write("id", "1-a", "name", |out: &mut dyn Write| {
                out.write_all(b"some").map_err(|_| "write")?;
                out.write_all(content?).map_err(|_| "write")
            })
        };
        let path = folder.path().join("new/id/1-a/name");
        assert_eq!(write(Err("damaged")).unwrap(), Err("damaged"));
        assert!(!path.exists());
        assert_eq!(write(Ok(b" more")).unwrap(), Ok(()));
        assert_eq!(write(Ok(b" else")).unwrap_err().kind, FaultKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"some more");

        fs::remove_dir_all(folder.path().join("new/id")).unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("new/id")).unwrap();
        assert!(write(Ok(b"")).is_err(), "not through a link");
    }
}
