//! A file's bytes on their way to the server and back.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, Hasher as _};
use std::ops::Range;

use repository::{File, FileKind};

use super::SftpStorage;
use super::packet::{Code, Kind, READ, Reply, Request, WRITE_NEW, bytes_free};
use super::request::{Failed, attributes, done, done_unless, handle, make_folder};
use super::session::Session;
use crate::storage::layout::place;

/// Bytes of a file in one request. Every server takes as many (the draft, section 3).
const PIECE_BYTES: usize = 32 << 10;
/// Requests of one transfer under way at once. With [`PIECE_BYTES`], 2 MiB, as much as OpenSSH has under way itself.
const PIECES_SENT: usize = 64;
/// A temporary file untouched for this long, by the server's clock, belongs to a process that is gone.
pub(super) const LEFTOVER_SECONDS: u32 = 24 * 60 * 60;
/// Files are never changed, so not even their owner may write to them.
pub(super) const FILE_MODE: u32 = 0o400;
const FSYNC: &str = "fsync@openssh.com";
const POSIX_RENAME: &str = "posix-rename@openssh.com";
const STATVFS: &str = "statvfs@openssh.com";

impl SftpStorage {
    /// Opens a new file for writing in a folder, which is made if need be.
    pub(super) fn create(&self, session: &Session, folder: &str, path: &str) -> Result<Vec<u8>, Failed> {
        let open = || handle(session.send(open_new(path))?);
        match open() {
            Err(failed) if failed.is(Code::NoSuchFile) => {
                make_folder(session, folder)?;
                open()
            }
            opened => opened,
        }
    }

    /// Writes the whole of a new file.
    fn fill(&self, session: &Session, file: File, handle: &[u8], bytes: &[u8]) -> Result<(), Failed> {
        write_pieces(session, handle, 0, bytes, &self.given_up(file.kind == FileKind::Pack))?;
        make_durable(session, handle)
    }

    /// Writes a file under a temporary name and gives it its own.
    pub(super) fn write(&self, session: &Session, file: File, bytes: &[u8]) -> Result<(), Failed> {
        let (folder, name) = place(file);
        let (folder, path) = (self.full_path(&folder), self.full_path(&file.path()));
        let temp = match folder.as_str() {
            "." => format!("{name}-tmp-{:016x}", chance()),
            folder => format!("{}/{name}-tmp-{:016x}", folder.trim_end_matches('/'), chance()),
        };
        // It saves sending what is there, and is all there is on servers whose rename overwrites.
        match attributes(session.send(Request::new(Kind::Lstat).bytes(path.as_bytes()))?) {
            Ok(_) => return Err(taken()),
            Err(failed) if failed.is(Code::NoSuchFile) => {}
            Err(failed) => return Err(failed),
        }
        let handle = self.create(session, &folder, &temp)?;
        let filled = self.fill(session, file, &handle, bytes);
        let closed = session.send(Request::new(Kind::Close).bytes(&handle)).map_err(Failed::from);
        let written = match filled {
            Ok(()) => closed.and_then(done),
            Err(failed) => Err(failed),
        };
        let written = written.map_err(|failed| self.full_or(session, &folder, bytes.len(), failed));
        let renamed = written.and_then(|()| rename(session, &temp, &path));
        match &renamed {
            Ok(()) => self.sweep(session, &path),
            // Nobody is served by a second error; a later run sweeps up what stays.
            Err(_) => drop(session.send(Request::new(Kind::Remove).bytes(temp.as_bytes()))),
        }
        renamed
    }

    /// A failed write to a place that has no room left is one for that reason: version 3 has no word for it.
    pub(super) fn full_or(&self, session: &Session, folder: &str, bytes: usize, failed: Failed) -> Failed {
        if !failed.is(Code::Failure) || !session.has(STATVFS) {
            return failed;
        }
        let ask = Request::new(Kind::Extended).bytes(STATVFS.as_bytes()).bytes(folder.as_bytes());
        let free = match session.send(ask).map(|waiting| waiting.wait(&|| false)) {
            Ok(Ok(Reply::Extended(answer))) => bytes_free(&answer),
            _ => None,
        };
        match free {
            Some(free) if free < bytes as u64 => Failed::Refused { code: Code::Full, message: String::new() },
            _ => failed,
        }
    }

    /// Removes the temporary files that listings came across, if they are old when the file at `path` was just written,
    /// by the server's own clock. An untidy folder is no reason to fail: the next run tries again.
    fn sweep(&self, session: &Session, path: &str) {
        let seen = std::mem::take(&mut *self.temporary());
        if seen.is_empty() {
            return;
        }
        let modified = |path: &str| {
            let sent = session.send(Request::new(Kind::Lstat).bytes(path.as_bytes())).ok()?;
            attributes(sent).ok()?.modified
        };
        let Some(now) = modified(path) else { return };
        for temp in seen {
            if modified(&temp).is_some_and(|at| now.saturating_sub(at) >= LEFTOVER_SECONDS) {
                let _ = session.send(Request::new(Kind::Remove).bytes(temp.as_bytes()));
            }
        }
    }

    /// Reads the file at `path`, in full, or the bytes of `range`.
    pub(super) fn read(
        &self,
        session: &Session,
        path: &str,
        range: Option<Range<u64>>,
        given_up: &dyn Fn() -> bool,
    ) -> Result<Vec<u8>, ReadFailed> {
        // Both at once, to wait only one time.
        let stat = session.send(Request::new(Kind::Stat).bytes(path.as_bytes())).map_err(Failed::from)?;
        let open = Request::new(Kind::Open).bytes(path.as_bytes()).u32(READ).no_attributes();
        let open = session.send(open).map_err(Failed::from)?;
        let stat = attributes(stat);
        let handle = handle(open)?;
        let read = stat.map_err(ReadFailed::from).and_then(|stat| {
            let size = stat.size.ok_or(Failed::Odd)?;
            let range = range.unwrap_or(0..size);
            if range.start > range.end || range.end > size {
                return Err(ReadFailed::What(format!("bytes {range:?} of {size} asked for")));
            }
            let mut bytes = Vec::new();
            let wanted = usize::try_from(range.end - range.start).ok();
            let Some(wanted) = wanted.filter(|wanted| bytes.try_reserve_exact(*wanted).is_ok()) else {
                return Err(ReadFailed::What(format!("{size} bytes do not fit in memory")));
            };
            bytes.resize(wanted, 0);
            read_pieces(session, &handle, range.start, &mut bytes, given_up)?;
            Ok(bytes)
        });
        // Nobody waits for it to be closed.
        let _ = session.send(Request::new(Kind::Close).bytes(&handle));
        read
    }
}

/// Writes `bytes` into an open file, from `at` on.
pub(super) fn write_pieces(
    session: &Session,
    handle: &[u8],
    at: u64,
    bytes: &[u8],
    given_up: &dyn Fn() -> bool,
) -> Result<(), Failed> {
    let mut sent = VecDeque::new();
    for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
        if sent.len() == PIECES_SENT
            && let Some(waiting) = sent.pop_front()
        {
            done_unless(waiting, given_up)?;
        }
        let at = at + (number * PIECE_BYTES) as u64;
        sent.push_back(session.send(Request::new(Kind::Write).bytes(handle).u64(at).bytes(piece))?);
    }
    sent.into_iter().try_for_each(|waiting| done_unless(waiting, given_up))
}

/// Makes what was written into an open file durable, where the server can.
pub(super) fn make_durable(session: &Session, handle: &[u8]) -> Result<(), Failed> {
    if session.has(FSYNC) {
        done(session.send(Request::new(Kind::Extended).bytes(FSYNC.as_bytes()).bytes(handle))?)?;
    }
    Ok(())
}

/// Gives a written file its name; [`Code::Taken`] where another has it.
pub(super) fn rename(session: &Session, temp: &str, path: &str) -> Result<(), Failed> {
    let rename = Request::new(Kind::Rename).bytes(temp.as_bytes()).bytes(path.as_bytes());
    done(session.send(rename)?).map_err(|failed| match failed {
        Failed::Refused { .. } => {
            // Why it failed has no word of its own in version 3.
            let there = session.send(Request::new(Kind::Lstat).bytes(path.as_bytes())).map(attributes);
            if matches!(there, Ok(Ok(_))) { taken() } else { not_renamed(failed) }
        }
        failed => failed,
    })
}

/// Says what a server that only takes new files must allow besides.
fn not_renamed(failed: Failed) -> Failed {
    match failed {
        Failed::Refused { code: Code::Denied, message } => Failed::Refused {
            code: Code::Denied,
            message: format!("{message}; a file gets its name once it is written, so the server must allow `rename`"),
        },
        failed => failed,
    }
}

/// Gives a file its name, in the place of the one that has it.
pub(super) fn replace(session: &Session, temp: &str, path: &str) -> Result<(), Failed> {
    let posix =
        Request::new(Kind::Extended).bytes(POSIX_RENAME.as_bytes()).bytes(temp.as_bytes()).bytes(path.as_bytes());
    match done(session.send(posix)?) {
        Err(Failed::Refused { .. }) => {}
        answer => return answer,
    }
    // A server that does not know it: the plain one replaces nothing, so the other goes first. The new one is whole.
    match rename(session, temp, path) {
        Err(Failed::Refused { .. }) => {}
        answer => return answer,
    }
    done(session.send(Request::new(Kind::Remove).bytes(path.as_bytes()))?)?;
    rename(session, temp, path)
}

/// Fills `bytes` with what a file has from `start` on.
fn read_pieces(
    session: &Session,
    handle: &[u8],
    start: u64,
    bytes: &mut [u8],
    given_up: &dyn Fn() -> bool,
) -> Result<(), ReadFailed> {
    let ask = |piece: Range<usize>| {
        let (at, length) = (start + piece.start as u64, piece.len() as u32);
        let sent = session.send(Request::new(Kind::Read).bytes(handle).u64(at).u32(length));
        sent.map(|waiting| (piece, waiting))
    };
    let length = bytes.len();
    let mut pieces = (0..length).step_by(PIECE_BYTES).map(|at| at..length.min(at + PIECE_BYTES));
    let mut sent = VecDeque::new();
    for piece in pieces.by_ref().take(PIECES_SENT) {
        sent.push_back(ask(piece).map_err(Failed::from)?);
    }
    while let Some((piece, waiting)) = sent.pop_front() {
        let data = match waiting.wait(given_up).map_err(Failed::from)? {
            Reply::Data(data) if !data.is_empty() && data.len() <= piece.len() => data,
            Reply::Status { code: Code::End, .. } => {
                let ended = start + piece.start as u64;
                return Err(ReadFailed::What(format!("it ends after {ended} bytes, before its size")));
            }
            Reply::Status { code, message } => return Err(Failed::Refused { code, message }.into()),
            _ => return Err(Failed::Odd.into()),
        };
        let filled = piece.start + data.len();
        bytes[piece.start..filled].copy_from_slice(&data);
        // A server may give less than was asked for.
        let next = if filled < piece.end { Some(filled..piece.end) } else { pieces.next() };
        if let Some(next) = next {
            sent.push_back(ask(next).map_err(Failed::from)?);
        }
    }
    Ok(())
}

/// How reading a file failed.
pub(super) enum ReadFailed {
    Asking(Failed),
    /// For good.
    What(String),
}

impl From<Failed> for ReadFailed {
    fn from(failed: Failed) -> Self {
        Self::Asking(failed)
    }
}

/// What makes a name nobody else's: by chance alone, since neither process nor machine has a number that the others know of.
pub(super) fn chance() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

fn taken() -> Failed {
    Failed::Refused { code: Code::Taken, message: String::new() }
}

fn open_new(path: &str) -> Request {
    Request::new(Kind::Open).bytes(path.as_bytes()).u32(WRITE_NEW).mode(FILE_MODE)
}
