//! Puts an archive back into a folder, and finds out whether it is whole.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use repository::fs::{apply_metadata, create_special};
use repository::limits::READ_BYTES;
use repository::restore::{Options, Restored};
use repository::{Event, Node, NodeKind, Problem, RunCx};

use crate::Error;
use crate::error::{damaged, of_stream};
use crate::key::Identities;
use crate::member::{Member, MemberReader};

/// Zeros in pieces of this size become holes, as far as the file system makes them.
const HOLE_BYTES: usize = 64 << 10;
/// A file before the source, such as the manifest, is no longer than this.
const PREFACE_BYTES_MAX: u64 = 64 << 20;

/// What came out of an archive.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// What was restored.
    pub restored: Restored,
    /// The source it holds, as its folder is called.
    pub source: Option<String>,
    /// The file that stands before the source, with its name: the manifest.
    pub preface: Option<(String, Vec<u8>)>,
}

/// Unpacks an archive into `target/SOURCE`, which must not be there. The archive is whole and unchanged if this returns
/// `Ok`; what could not be restored as it was is among the problems.
pub fn unpack(
    cx: &RunCx<'_>,
    archive: impl Read,
    identities: &Identities,
    target: &Path,
    options: Options,
) -> Result<Unpacked, Error> {
    unpack_decrypted(cx, identities.decrypt(archive)?, target, options)
}

/// The same for what `age -d` made of an archive. That it is whole is known by zstd's checksum and by the end of the tar; that
/// nobody changed it, by nothing.
pub fn unpack_decrypted(
    cx: &RunCx<'_>,
    decrypted: impl Read,
    target: &Path,
    options: Options,
) -> Result<Unpacked, Error> {
    let decompressed = zstd::Decoder::new(decrypted).map_err(read)?;
    let mut tar = tar::Archive::new(decompressed);
    let mut unpacking = Unpacking { cx, target, options, unpacked: Unpacked::default(), open: Vec::new() };
    let mut members = MemberReader::default();
    for entry in tar.entries().map_err(read)?.raw(true) {
        cx.cancel.check()?;
        let mut entry = entry.map_err(read)?;
        if let Some(member) = members.read(&mut entry).map_err(read)? {
            unpacking.take(member, &mut entry)?;
        }
    }
    // Only its very end tells that nothing was cut off.
    let (mut rest, mut buffer) = (tar.into_inner(), vec![0; READ_BYTES]);
    while rest.read(&mut buffer).map_err(read)? > 0 {
        cx.cancel.check()?;
    }
    unpacking.leave_until(Path::new(""));
    Ok(unpacking.unpacked)
}

struct Unpacking<'a> {
    cx: &'a RunCx<'a>,
    target: &'a Path,
    options: Options,
    unpacked: Unpacked,
    /// The folders from the source's own down to where we are, all made here. Nothing is put anywhere else, so that no link
    /// can lead out of them. Each gets its metadata when it is left: making what it holds changes its times.
    open: Vec<(PathBuf, Node)>,
}

impl Unpacking<'_> {
    fn take(&mut self, member: Member, content: &mut impl Read) -> Result<(), Error> {
        let Member { path, node, link } = member;
        let parent = path.parent().unwrap_or(Path::new(""));
        self.leave_until(parent);
        if parent.as_os_str().is_empty() {
            match node.kind {
                NodeKind::Dir if self.unpacked.source.is_none() => {
                    self.unpacked.source = Some(node.display_name().into_owned());
                }
                _ => return self.preface(&node, content),
            }
        } else if self.open.last().is_none_or(|(open, _)| open != parent) {
            return Err(Error::Damaged { what: format!("{} comes outside of its folder", path.display()) });
        }
        let full = self.target.join(&path);
        match (node.kind, link) {
            (NodeKind::Dir, _) => {
                DirBuilder::new().mode(0o700).create(&full).map_err(repository::Error::local(&full))?;
                self.unpacked.restored.dirs += 1;
                self.open.push((path, node));
            }
            (_, Some(first)) => self.link(&path, &full, &first)?,
            (NodeKind::File, None) => {
                self.file(&full, &node, content)?;
                self.unpacked.restored.files += 1;
                self.unpacked.restored.bytes += node.size;
                self.apply(&path, &node);
                self.cx.events.emit(Event::FileDone(path));
            }
            (NodeKind::BlockDevice | NodeKind::CharDevice, None) if !self.options.privileged => {
                let what = format!("{} is a device, which only root can make", path.display());
                self.cx.events.emit(Event::Note(what));
            }
            (_, None) => match create_special(&full, &node) {
                Ok(()) => self.apply(&path, &node),
                Err(error) => self.problem(&path, format!("it could not be made: {error}")),
            },
        }
        Ok(())
    }

    /// Gives the folders their metadata that `path` does not lie in.
    fn leave_until(&mut self, path: &Path) {
        while let Some((open, node)) = self.open.pop_if(|(open, _)| !path.starts_with(open)) {
            self.apply(&open, &node);
        }
    }

    /// Gives what came before a second name. Where there are no second names, a copy is better than nothing.
    fn link(&mut self, path: &Path, full: &Path, first: &Path) -> Result<(), Error> {
        if !self.is_made_here(first) {
            return Err(Error::Damaged { what: format!("{} links to what is not in it", path.display()) });
        }
        let first = self.target.join(first);
        let Ok(found) = std::fs::symlink_metadata(&first) else {
            // A device that only root can make, which was told of.
            self.problem(path, "not restored: it is another name of what could not be made");
            return Ok(());
        };
        if found.is_dir() {
            return Err(Error::Damaged { what: format!("{} links to a folder", path.display()) });
        }
        if std::fs::hard_link(&first, full).is_err() {
            if !found.is_file() {
                self.problem(path, "not restored: no second names can be made here");
                return Ok(());
            }
            std::fs::copy(&first, full).map_err(repository::Error::local(full))?;
        }
        if found.is_file() {
            self.unpacked.restored.files += 1;
            self.unpacked.restored.bytes += found.len();
        }
        Ok(())
    }

    /// Whether the folders on the way to `path` are folders here, and none of them a link.
    fn is_made_here(&self, path: &Path) -> bool {
        let folders = path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty());
        let is_folder =
            |folder: &Path| std::fs::symlink_metadata(self.target.join(folder)).is_ok_and(|found| found.is_dir());
        self.unpacked.source.as_ref().is_some_and(|source| path.starts_with(source))
            && folders.into_iter().all(is_folder)
    }

    fn preface(&mut self, node: &Node, content: &mut impl Read) -> Result<(), Error> {
        let is_first = self.unpacked.preface.is_none() && self.unpacked.source.is_none();
        if node.kind != NodeKind::File || node.size > PREFACE_BYTES_MAX || !is_first {
            return Err(Error::Damaged { what: format!("{} stands beside the source", node.display_name()) });
        }
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(read)?;
        self.unpacked.preface = Some((node.display_name().into_owned(), bytes));
        Ok(())
    }

    fn file(&self, full: &Path, node: &Node, content: &mut impl Read) -> Result<(), Error> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(full)
            .map_err(repository::Error::local(full))?;
        let mut buffer = vec![0; READ_BYTES.min(usize::try_from(node.size).unwrap_or(READ_BYTES).max(1))];
        loop {
            self.cx.cancel.check()?;
            let length = content.read(&mut buffer).map_err(read)?;
            if length == 0 {
                break;
            }
            self.cx.events.emit(Event::Bytes(length as u64));
            write_with_holes(&mut file, &buffer[..length]).map_err(repository::Error::local(full))?;
        }
        file.set_len(node.size).map_err(repository::Error::local(full))?;
        Ok(())
    }

    fn apply(&mut self, path: &Path, node: &Node) {
        for failure in apply_metadata(&self.target.join(path), node, self.options.privileged) {
            self.problem(path, failure);
        }
    }

    fn problem(&mut self, path: &Path, what: impl Into<String>) {
        let problem = Problem::new(path, what);
        self.cx.events.emit(Event::Problem(problem.clone()));
        self.unpacked.restored.problems.push(problem);
    }
}

fn write_with_holes(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    for piece in bytes.chunks(HOLE_BYTES) {
        if piece.len() == HOLE_BYTES && piece.iter().all(|byte| *byte == 0) {
            file.seek(SeekFrom::Current(HOLE_BYTES as i64))?;
        } else {
            file.write_all(piece)?;
        }
    }
    Ok(())
}

fn read(error: io::Error) -> Error {
    of_stream(error, damaged)
}

#[cfg(test)]
mod tests {
    use repository::{Cancel, Silent, SystemClock};

    use super::*;
    use crate::Recipients;
    use crate::member::append;

    const PASSPHRASE: &str = "correct horse";

    fn file(content: &[u8]) -> Node {
        Node { size: content.len() as u64, mode: 0o644, ..Node::new("f", NodeKind::File) }
    }

    fn folder() -> Node {
        Node { mode: 0o755, ..Node::new("d", NodeKind::Dir) }
    }

    fn symlink(target: &str) -> Node {
        Node { link_target: target.as_bytes().to_vec(), ..Node::new("l", NodeKind::Symlink) }
    }

    /// A key that costs no time, unlike a passphrase.
    fn key() -> (Recipients, Identities) {
        let secret = age::x25519::Identity::generate();
        let public = secret.to_public().to_string();
        (Recipients::keys([public.as_str()]).unwrap(), Identities::Keys(vec![Box::new(secret)]))
    }

    type Members<'a> = [(&'a str, Node, Option<&'a str>, &'a [u8])];

    fn archive(recipients: &Recipients, members: &Members<'_>) -> Vec<u8> {
        let compressed = zstd::Encoder::new(recipients.encrypt(Vec::new()).unwrap(), 1).unwrap();
        let mut tar = tar::Builder::new(compressed);
        for (path, node, link, content) in members {
            append(&mut tar, Path::new(path), node, link.map(Path::new), *content).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap().finish().unwrap()
    }

    fn unpack_to(target: &Path, archive: &[u8], identities: &Identities) -> Result<Unpacked, Error> {
        let cancel = Cancel::new();
        let cx = RunCx { events: &Silent, cancel: &cancel, clock: &SystemClock, lock: None };
        unpack(&cx, archive, identities, target, Options { privileged: false, keep_damaged: false })
    }

    fn whole(recipients: &Recipients, content: &[u8]) -> Vec<u8> {
        let members: &Members<'_> = &[
            ("lifeboat.json", file(b"{}"), None, b"{}"),
            ("records", folder(), None, b""),
            ("records/a", file(content), None, content),
            ("records/b", file(content), Some("records/a"), b""),
            ("records/l", symlink("a"), None, b""),
        ];
        archive(recipients, members)
    }

    #[test]
    fn what_was_packed_comes_back_with_its_holes_and_links() {
        let (recipients, identities) = key();
        let mut content = vec![0; 3 * HOLE_BYTES + 5];
        content[HOLE_BYTES] = 7;
        let target = tempfile::tempdir().unwrap();
        let unpacked = unpack_to(target.path(), &whole(&recipients, &content), &identities).unwrap();
        assert_eq!(unpacked.source.as_deref(), Some("records"));
        assert_eq!(unpacked.preface, Some(("lifeboat.json".to_owned(), b"{}".to_vec())));
        let Restored { files, dirs, bytes, problems, .. } = unpacked.restored;
        assert_eq!((files, dirs, bytes), (2, 1, 2 * content.len() as u64));
        assert_eq!(problems, []);
        for name in ["a", "b", "l"] {
            assert!(std::fs::read(target.path().join("records").join(name)).unwrap() == content, "{name}");
        }
        assert_eq!(rustix::fs::stat(target.path().join("records/a")).unwrap().st_nlink, 2);
    }

    #[test]
    fn a_passphrase_opens_it_and_another_does_not() {
        let bytes = whole(&Recipients::passphrase(PASSPHRASE), b"text");
        let target = tempfile::tempdir().unwrap();
        unpack_to(target.path(), &bytes, &Identities::passphrase(PASSPHRASE)).unwrap();
        let other = unpack_to(target.path(), &bytes, &Identities::passphrase("wrong"));
        assert!(matches!(other, Err(Error::WrongKey)), "{other:?}");
        assert!(matches!(unpack_to(target.path(), &bytes, &key().1), Err(Error::WrongKey)));
    }

    #[test]
    fn an_archive_that_was_cut_off_or_changed_anywhere_is_never_taken_for_whole() {
        let (recipients, identities) = key();
        let content: Vec<u8> =
            (0..90_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let bytes = whole(&recipients, &content);
        for end in (0..bytes.len()).step_by(bytes.len() / 60).chain([bytes.len() - 1]) {
            let target = tempfile::tempdir().unwrap();
            assert!(unpack_to(target.path(), &bytes[..end], &identities).is_err(), "cut at {end}");
        }
        for at in (0..bytes.len()).step_by(bytes.len() / 60) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 4;
            let target = tempfile::tempdir().unwrap();
            assert!(unpack_to(target.path(), &bytes, &identities).is_err(), "changed at {at}");
        }
    }

    #[test]
    fn an_archive_of_somebody_elses_writes_nowhere_else() {
        let (recipients, identities) = key();
        let outside = tempfile::tempdir().unwrap();
        let out = outside.path().to_str().unwrap();
        let through = symlink(out);
        let attacks: [&Members<'_>; 4] = [
            &[("s", folder(), None, b""), ("s/l", through.clone(), None, b""), ("s/l/x", file(b"1"), None, b"1")],
            &[("s", folder(), None, b""), ("s/l", through.clone(), None, b""), ("s/x", file(b""), Some("s/l/x"), b"")],
            &[("s", folder(), None, b""), ("s/../../x", file(b"1"), None, b"1")],
            &[("l", through, None, b""), ("l/x", file(b"1"), None, b"1")],
        ];
        for members in attacks {
            let target = tempfile::tempdir().unwrap();
            assert!(unpack_to(target.path(), &archive(&recipients, members), &identities).is_err());
        }
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
