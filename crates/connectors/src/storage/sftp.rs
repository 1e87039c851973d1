//! A copy on a server that is reached by SSH, in restic's layout: stock restic opens it as it is.
//!
//! The connection is the system's `ssh`, so that keys, agents, jump hosts and known hosts work as they do for its user;
//! the host's key must be known. Inside it, SFTP version 3 is spoken ([`packet`]), which is all that OpenSSH offers.
//!
//! A file is written under a temporary name, made durable where the server can (`fsync@openssh.com`), and renamed. That
//! rename overwrites nothing on OpenSSH and whoever keeps to the draft; for others it is looked first. A folder cannot be
//! made durable over SFTP: a server that loses power may forget names of its last seconds.
//!
//! When the connection breaks, what was under way fails, and the next call makes a new one.

mod packet;
mod session;
mod ssh;

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use repository::storage::Listed;
use repository::{Cancel, File, FileKind, Id, Storage, StorageError};

use self::packet::{Attributes, Code, Kind, Name, READ, Reply, Request, WRITE_NEW, bytes_free};
use self::session::{Broken, Session, Waiting};
use self::ssh::Reason;
use super::layout::{id_of, is_digit, is_temporary, place};

/// Bytes of a file in one request. Every server takes as many (the draft, section 3).
const PIECE_BYTES: usize = 32 << 10;
/// Requests of one transfer under way at once. With [`PIECE_BYTES`], 2 MiB, as much as OpenSSH has under way itself.
const PIECES_SENT: usize = 64;
/// Folders that are read at once. A server may have a hundred open, and others have theirs.
const FOLDERS_READ: usize = 32;
/// A temporary file untouched for this long, by the server's clock, belongs to a process that is gone.
const LEFTOVER_SECONDS: u32 = 24 * 60 * 60;
/// Files are never changed, so not even their owner may write to them.
const FILE_MODE: u32 = 0o400;
const FOLDER_MODE: u32 = 0o700;
const FSYNC: &str = "fsync@openssh.com";
const STATVFS: &str = "statvfs@openssh.com";

/// Where a copy on a server is and how to get there.
#[derive(Clone)]
pub struct SftpOptions {
    /// Who to log in as; `None` for what `ssh` makes of it.
    pub user: Option<String>,
    /// The server: a name, an address, or a `Host` of `ssh`'s configuration.
    pub host: String,
    /// The port; `None` for what `ssh` makes of it.
    pub port: Option<u16>,
    /// The folder. Relative to the one the user logs in to unless it starts with `/`.
    pub path: String,
    /// The private key, without a passphrase; `None` for the agent and `ssh`'s own.
    pub private_key_file: Option<PathBuf>,
    /// The keys of hosts; `None` for `ssh`'s own. Where it is set, no other counts.
    pub known_hosts_file: Option<PathBuf>,
}

impl SftpOptions {
    fn location(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("sftp://{user}{}{port}/{}", self.host, self.path.trim_start_matches('/'))
    }
}

impl fmt::Debug for SftpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Files are named; what is in them never gets here.
        f.debug_struct("SftpOptions")
            .field("location", &self.location())
            .field("private_key_file", &self.private_key_file)
            .field("known_hosts_file", &self.known_hosts_file)
            .finish()
    }
}

/// A copy on a server that is reached by SSH.
pub struct SftpStorage {
    options: SftpOptions,
    session: Mutex<Option<Arc<Session>>>,
    /// Temporary files that listings came across, as full paths.
    temporary: Mutex<BTreeSet<String>>,
    cancel: Cancel,
}

/// How a request failed.
enum Failed {
    Broken(Broken),
    Refused {
        code: Code,
        message: String,
    },
    /// The server answered something other than what was asked for.
    Odd,
}

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl Failed {
    fn is(&self, expected: Code) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == expected)
    }
}

impl SftpStorage {
    /// The copy at `options`. Does not connect yet. Transfers of packs end soon after `cancel` is set.
    pub fn new(options: SftpOptions, cancel: Cancel) -> Self {
        Self { options, session: Mutex::default(), temporary: Mutex::default(), cancel }
    }

    /// The connection; a new one where there is none or the last one broke.
    fn session(&self) -> Result<Arc<Session>, Failed> {
        let mut current = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(session) = current.as_ref().filter(|session| session.is_open()) {
            return Ok(session.clone());
        }
        // The broken one goes first: it may have a process to wait for.
        *current = None;
        let session = Arc::new(Session::start(ssh::command(&self.options))?);
        *current = Some(session.clone());
        Ok(session)
    }

    fn full_path(&self, path: &str) -> String {
        match (self.options.path.as_str(), path) {
            ("", path) => path.to_owned(),
            (root, ".") => root.to_owned(),
            (root, path) => format!("{}/{path}", root.trim_end_matches('/')),
        }
    }

    fn error(&self, verb: &str, what: &str, failed: Failed) -> StorageError {
        let location = self.location();
        let tried = |text: &str| format!("{verb} {what}: {text}");
        let broken = match failed {
            Failed::Refused { code, message } => {
                let message: String = message.chars().filter(|char| !char.is_control()).take(200).collect();
                let what = tried(if message.is_empty() { "the server failed" } else { &message });
                return match code {
                    Code::Denied | Code::ReadOnly => StorageError::Denied { location, what },
                    Code::Full => StorageError::Full { location },
                    // As `EIO` of a disk: it may pass.
                    Code::Failure => StorageError::Transient { location, what },
                    _ => StorageError::Permanent { location, what },
                };
            }
            Failed::Odd => {
                let what = tried("the server gave an answer that does not fit");
                return StorageError::Permanent { location, what };
            }
            Failed::Broken(broken) => broken,
        };
        match broken {
            Broken::Ended(said) => match ssh::reason(&self.options, &said) {
                Reason::Denied(what) => StorageError::Denied { location, what },
                Reason::MayPass(said) => StorageError::Transient { location, what: tried(&said) },
                Reason::Final(what) => StorageError::Permanent { location, what },
            },
            Broken::Stalled => StorageError::Transient { location, what: tried("nothing came for a minute") },
            Broken::Cancelled => StorageError::Transient { location, what: tried("cancelled") },
            Broken::NotStarted(what) => StorageError::Permanent { location, what },
            Broken::NotSftp => {
                let what = "what answers is not SFTP; does a login script on the server print something?".to_owned();
                StorageError::Permanent { location, what }
            }
        }
    }

    fn missing_or(&self, verb: &str, file: File, failed: Failed) -> StorageError {
        match failed.is(Code::NoSuchFile) {
            true => StorageError::NotFound { file, location: self.location() },
            false => self.error(verb, &file.path(), failed),
        }
    }

    /// Whether waiting for a part of `file` is given up: for packs of a run that was cancelled since. All else is small,
    /// and is what a cancelled run still needs to leave the repository in order.
    fn given_up(&self, file: File) -> impl Fn() -> bool {
        let may_end = file.kind == FileKind::Pack && !self.cancel.is_cancelled();
        let cancel = self.cancel.clone();
        move || may_end && cancel.is_cancelled()
    }

    fn temporary(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.temporary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a new file for writing in a folder, which is made if need be.
    fn create(&self, session: &Session, folder: &str, path: &str) -> Result<Vec<u8>, Failed> {
        let open = || handle(session.send(open_new(path))?);
        match open() {
            Err(failed) if failed.is(Code::NoSuchFile) => {
                make_folder(session, folder)?;
                open()
            }
            opened => opened,
        }
    }

    /// Writes the whole of a new file and closes it.
    fn fill(&self, session: &Session, file: File, handle: &[u8], bytes: &[u8]) -> Result<(), Failed> {
        let given_up = self.given_up(file);
        let mut sent = VecDeque::new();
        for (number, piece) in bytes.chunks(PIECE_BYTES).enumerate() {
            if sent.len() == PIECES_SENT
                && let Some(waiting) = sent.pop_front()
            {
                done_unless(waiting, &given_up)?;
            }
            let at = (number * PIECE_BYTES) as u64;
            sent.push_back(session.send(Request::new(Kind::Write).bytes(handle).u64(at).bytes(piece))?);
        }
        for waiting in sent {
            done_unless(waiting, &given_up)?;
        }
        if session.has(FSYNC) {
            done(session.send(Request::new(Kind::Extended).bytes(FSYNC.as_bytes()).bytes(handle))?)?;
        }
        Ok(())
    }

    /// Writes a file under a temporary name and gives it its own.
    fn write(&self, session: &Session, file: File, bytes: &[u8]) -> Result<(), Failed> {
        let (folder, name) = place(file);
        let (folder, path) = (self.full_path(&folder), self.full_path(&file.path()));
        // Nobody else's: by chance alone, since neither process nor machine has a number that the others know of.
        let chance = std::hash::RandomState::new().build_hasher().finish();
        let temp = match folder.as_str() {
            "." => format!("{name}-tmp-{chance:016x}"),
            folder => format!("{}/{name}-tmp-{chance:016x}", folder.trim_end_matches('/')),
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
        let renamed = written.and_then(|()| {
            let rename = Request::new(Kind::Rename).bytes(temp.as_bytes()).bytes(path.as_bytes());
            done(session.send(rename)?).map_err(|failed| match failed {
                Failed::Refused { .. } => {
                    // Why it failed has no word of its own in version 3.
                    let there = session.send(Request::new(Kind::Lstat).bytes(path.as_bytes())).map(attributes);
                    if matches!(there, Ok(Ok(_))) { taken() } else { failed }
                }
                failed => failed,
            })
        });
        match &renamed {
            Ok(()) => self.sweep(session, &path),
            // Nobody is served by a second error; a later run sweeps up what stays.
            Err(_) => drop(session.send(Request::new(Kind::Remove).bytes(temp.as_bytes()))),
        }
        renamed
    }

    /// A failed write to a place that has no room left is one for that reason: version 3 has no word for it.
    fn full_or(&self, session: &Session, folder: &str, bytes: usize, failed: Failed) -> Failed {
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

    fn read(&self, session: &Session, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, ReadFailed> {
        let path = self.full_path(&file.path());
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
            self.read_pieces(session, file, &handle, range.start, &mut bytes)?;
            Ok(bytes)
        });
        // Nobody waits for it to be closed.
        let _ = session.send(Request::new(Kind::Close).bytes(&handle));
        read
    }

    /// Fills `bytes` with what a file has from `start` on.
    fn read_pieces(
        &self,
        session: &Session,
        file: File,
        handle: &[u8],
        start: u64,
        bytes: &mut [u8],
    ) -> Result<(), ReadFailed> {
        let given_up = self.given_up(file);
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
            let data = match waiting.wait(&given_up).map_err(Failed::from)? {
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

    fn list_in(&self, session: &Session, kind: FileKind) -> Result<Vec<Listed>, Failed> {
        let mut listed = Vec::new();
        let folders = match kind {
            FileKind::Config => vec![".".to_owned()],
            FileKind::Pack => {
                let data = read_folders(session, &[self.full_path("data")])?.pop().unwrap_or_default();
                let is_folder_of_packs =
                    |found: &&Name| found.name.len() == 2 && found.name.iter().all(|digit| is_digit(*digit));
                let names = data.iter().filter(is_folder_of_packs).filter(|found| found.attributes.may_be_folder());
                names.map(|found| format!("data/{}", String::from_utf8_lossy(&found.name))).collect()
            }
            kind => vec![kind.folder().to_owned()],
        };
        for some in folders.chunks(FOLDERS_READ) {
            let paths: Vec<String> = some.iter().map(|folder| self.full_path(folder)).collect();
            for (folder, names) in some.iter().zip(read_folders(session, &paths)?) {
                for found in names {
                    self.take(session, kind, folder, &found, &mut listed)?;
                }
            }
        }
        Ok(listed)
    }

    /// Takes a name of a folder into the list, if it is a file of `kind`.
    fn take(
        &self,
        session: &Session,
        kind: FileKind,
        folder: &str,
        found: &Name,
        listed: &mut Vec<Listed>,
    ) -> Result<(), Failed> {
        let path = || self.full_path(&format!("{folder}/{}", String::from_utf8_lossy(&found.name)));
        let Some(id) = id_of(kind, folder, &found.name) else {
            if is_temporary(&found.name) {
                self.temporary().insert(path());
            }
            return Ok(());
        };
        listed.extend(self.sized(session, id, found.attributes, &path)?);
        Ok(())
    }

    /// The file with its size, which is asked for where the listing did not say. `None` for what is no file.
    fn sized(
        &self,
        session: &Session,
        id: Id,
        mut found: Attributes,
        path: &dyn Fn() -> String,
    ) -> Result<Option<Listed>, Failed> {
        if found.is_link() || (found.may_be_file() && found.size.is_none()) {
            found = match attributes(session.send(Request::new(Kind::Stat).bytes(path().as_bytes()))?) {
                // Removed since.
                Err(failed) if failed.is(Code::NoSuchFile) => return Ok(None),
                answer => answer?,
            };
        }
        Ok(found.size.filter(|_| found.may_be_file()).map(|bytes| Listed { id, bytes }))
    }
}

/// How reading a file failed.
enum ReadFailed {
    Asking(Failed),
    /// For good.
    What(String),
}

impl From<Failed> for ReadFailed {
    fn from(failed: Failed) -> Self {
        Self::Asking(failed)
    }
}

fn taken() -> Failed {
    Failed::Refused { code: Code::Taken, message: String::new() }
}

fn open_new(path: &str) -> Request {
    Request::new(Kind::Open).bytes(path.as_bytes()).u32(WRITE_NEW).mode(FILE_MODE)
}

/// Makes a folder, and those above it.
fn make_folder(session: &Session, path: &str) -> Result<(), Failed> {
    let make = || done(session.send(Request::new(Kind::MkDir).bytes(path.as_bytes()).mode(FOLDER_MODE))?);
    let made = match make() {
        Err(failed) if failed.is(Code::NoSuchFile) => {
            let above = path.trim_end_matches('/').rsplit_once('/').map(|(above, _)| above);
            let Some(above) = above.filter(|above| !above.is_empty()) else { return Err(failed) };
            make_folder(session, above)?;
            make()
        }
        made => made,
    };
    match made {
        // Somebody else may have been faster; a failure has no other word.
        Err(failed @ Failed::Refused { .. }) => {
            match attributes(session.send(Request::new(Kind::Stat).bytes(path.as_bytes()))?) {
                Ok(found) if found.is_folder() => Ok(()),
                _ => Err(failed),
            }
        }
        made => made,
    }
}

/// The names in each of several folders. A folder that is not there holds nothing.
fn read_folders(session: &Session, paths: &[String]) -> Result<Vec<Vec<Name>>, Failed> {
    let mut open = Vec::new();
    for path in paths {
        open.push(session.send(Request::new(Kind::OpenDir).bytes(path.as_bytes()))?);
    }
    let mut folders = Vec::new();
    for opening in open {
        folders.push(match handle(opening) {
            Ok(handle) => (Some(handle), Vec::new()),
            Err(failed) if failed.is(Code::NoSuchFile) => (None, Vec::new()),
            Err(failed) => return Err(failed),
        });
    }
    // In rounds: each asks every folder that is not at its end for more.
    while folders.iter().any(|(handle, _)| handle.is_some()) {
        let mut asked = Vec::new();
        for (number, (handle, _)) in folders.iter().enumerate() {
            if let Some(handle) = handle {
                asked.push((number, session.send(Request::new(Kind::ReadDir).bytes(handle))?));
            }
        }
        for (number, waiting) in asked {
            let (handle, names) = &mut folders[number];
            match waiting.wait(&|| false)? {
                Reply::Names(more) => names.extend(more),
                Reply::Status { code: Code::End, .. } => {
                    if let Some(handle) = handle.take() {
                        session.send(Request::new(Kind::Close).bytes(&handle))?;
                    }
                }
                Reply::Status { code, message } => return Err(Failed::Refused { code, message }),
                _ => return Err(Failed::Odd),
            }
        }
    }
    Ok(folders.into_iter().map(|(_, names)| names).collect())
}

fn done(waiting: Waiting) -> Result<(), Failed> {
    done_unless(waiting, &|| false)
}

fn done_unless(waiting: Waiting, given_up: &dyn Fn() -> bool) -> Result<(), Failed> {
    match waiting.wait(given_up)? {
        Reply::Status { code: Code::Done, .. } => Ok(()),
        Reply::Status { code, message } => Err(Failed::Refused { code, message }),
        _ => Err(Failed::Odd),
    }
}

fn handle(waiting: Waiting) -> Result<Vec<u8>, Failed> {
    match waiting.wait(&|| false)? {
        Reply::Handle(handle) => Ok(handle),
        Reply::Status { code, message } => Err(Failed::Refused { code, message }),
        _ => Err(Failed::Odd),
    }
}

fn attributes(waiting: Waiting) -> Result<Attributes, Failed> {
    match waiting.wait(&|| false)? {
        Reply::Attributes(attributes) => Ok(attributes),
        Reply::Status { code, message } => Err(Failed::Refused { code, message }),
        _ => Err(Failed::Odd),
    }
}

impl Storage for SftpStorage {
    fn location(&self) -> String {
        self.options.location()
    }

    fn put(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        let written = self.session().and_then(|session| self.write(&session, file, bytes));
        written.map_err(|failed| match failed.is(Code::Taken) {
            true => StorageError::AlreadyExists { file, location: self.location() },
            false => self.error("write", &file.path(), failed),
        })
    }

    fn get(&self, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, StorageError> {
        let session = self.session().map_err(|failed| self.error("read", &file.path(), failed))?;
        self.read(&session, file, range).map_err(|failed| match failed {
            ReadFailed::Asking(failed) => self.missing_or("read", file, failed),
            ReadFailed::What(what) => {
                StorageError::Permanent { location: self.location(), what: format!("read {file}: {what}") }
            }
        })
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, StorageError> {
        let listed = self.session().and_then(|session| self.list_in(&session, kind));
        listed.map_err(|failed| self.error("list", kind.folder(), failed))
    }

    fn delete(&self, file: File) -> Result<(), StorageError> {
        let path = self.full_path(&file.path());
        let removed =
            self.session().and_then(|session| done(session.send(Request::new(Kind::Remove).bytes(path.as_bytes()))?));
        removed.map_err(|failed| self.missing_or("delete", file, failed))
    }
}
