//! Which names in a place are files of a repository. The same on every storage, and restic's.

use repository::{File, FileKind, Id};

/// The folder a file lies in, relative to the root, and its name there.
pub(super) fn place(file: File) -> (String, String) {
    let path = file.path();
    let (folder, name) = path.rsplit_once('/').unwrap_or((".", &path));
    (folder.to_owned(), name.to_owned())
}

/// The id of the file `name` in `folder`, if a file of `kind` has that name and would be looked for there.
pub(super) fn id_of(kind: FileKind, folder: &str, name: &[u8]) -> Option<Id> {
    if kind == FileKind::Config {
        return (name == b"config").then_some(Id::ZERO);
    }
    let id = Id::from_hex(name).ok()?;
    let (expected_folder, expected_name) = place(File::new(kind, id));
    (folder == expected_folder && name == expected_name.as_bytes()).then_some(id)
}

/// What stands between the name a file will have and the rest of its temporary name; restic's choice.
pub(super) const TEMP_MARK: &[u8] = b"-tmp-";

/// What stands between the path an archive will have and the rest of its temporary one.
pub(super) const PART_MARK: &str = ".part-";

/// Whether this is the name of a file that is, or was, about to be written, by us or by restic.
pub(super) fn is_temporary(name: &[u8]) -> bool {
    let Some(mark) = name.windows(TEMP_MARK.len()).position(|window| window == TEMP_MARK) else { return false };
    let becomes = &name[..mark];
    becomes == b"config" || (becomes.len() == 64 && becomes.iter().all(|digit| is_digit(*digit)))
}

/// Whether this is a digit of an id: hexadecimal, in lower case.
pub(super) fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}
