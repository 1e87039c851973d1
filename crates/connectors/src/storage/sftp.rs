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

mod archives;
pub(crate) mod packet;
mod request;
mod session;
mod ssh;
mod transfer;

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use repository::storage::Listed;
use repository::{Cancel, File, FileKind, Id, Storage, StorageError};

use self::packet::{Attributes, Code, Kind, Name, Request, WRITE};
use self::request::{Failed, attributes, done, handle, read_folders};
use self::session::{Broken, Session};
use self::ssh::Reason;
use self::transfer::{FILE_MODE, ReadFailed};
use super::layout::{id_of, is_digit, is_temporary};

/// Folders that are read at once. A server may have a hundred open, and others have theirs.
const FOLDERS_READ: usize = 32;

/// Where SSH listens unless somebody says otherwise.
const SSH_PORT: u16 = 22;

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
        let port = self.port.filter(|port| *port != SSH_PORT).map(|port| format!(":{port}")).unwrap_or_default();
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        // A path from the root begins with a second `/`, as in restic's urls.
        format!("sftp://{user}{host}{port}/{}", self.path)
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

    /// Whether this user may write into a file that is there, or make it so that it may be written, neither of which a copy ever
    /// does. Changes nothing.
    pub fn may_overwrite(&self, file: File) -> Result<bool, StorageError> {
        let path = self.full_path(&file.path());
        let opened = self.session().and_then(|session| {
            let open = Request::new(Kind::Open).bytes(path.as_bytes()).u32(WRITE).no_attributes();
            let handle = handle(session.send(open)?)?;
            done(session.send(Request::new(Kind::Close).bytes(&handle))?)
        });
        // The mode keeps its owner from accidents alone: who may change it may write. It is set to what it is.
        let mode = || {
            let session = self.session()?;
            done(session.send(Request::new(Kind::SetStat).bytes(path.as_bytes()).mode(FILE_MODE))?)
        };
        match opened.map_err(|failed| self.missing_or("open", file, failed)) {
            Ok(()) => Ok(true),
            Err(StorageError::Denied { .. }) => Ok(mode().is_ok()),
            Err(error) => Err(error),
        }
    }

    fn full_path(&self, path: &str) -> String {
        match (self.options.path.as_str(), path) {
            ("", path) => path.to_owned(),
            (root, ".") => root.to_owned(),
            (root, path) => format!("{}/{path}", root.trim_end_matches('/')),
        }
    }

    /// Lets go of the connection: what a cancelled transfer still has on the way would hold up all that comes after it,
    /// such as the removal of a lock. The next call makes a new one.
    fn let_go(&self) {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).take();
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
            Broken::Cancelled => {
                self.let_go();
                StorageError::Transient { location, what: tried("cancelled") }
            }
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

    /// Whether waiting for a part of a file is given up: for large files of a run that was cancelled since. All else is
    /// what a cancelled run still needs to leave the repository in order.
    fn given_up(&self, is_large: bool) -> impl Fn() -> bool {
        let may_end = is_large && !self.cancel.is_cancelled();
        let cancel = self.cancel.clone();
        move || may_end && cancel.is_cancelled()
    }

    fn temporary(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.temporary.lock().unwrap_or_else(PoisonError::into_inner)
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
        let (path, given_up) = (self.full_path(&file.path()), self.given_up(file.kind == FileKind::Pack));
        self.read(&session, &path, range, &given_up).map_err(|failed| match failed {
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

    fn modified(&self, file: File) -> Result<Option<Timestamp>, StorageError> {
        let path = self.full_path(&file.path());
        let found = self
            .session()
            .and_then(|session| attributes(session.send(Request::new(Kind::Stat).bytes(path.as_bytes()))?));
        let found = found.map_err(|failed| self.missing_or("look at", file, failed))?;
        Ok(found.modified.and_then(|seconds| Timestamp::from_second(seconds.into()).ok()))
    }

    fn delete(&self, file: File) -> Result<(), StorageError> {
        let path = self.full_path(&file.path());
        let removed =
            self.session().and_then(|session| done(session.send(Request::new(Kind::Remove).bytes(path.as_bytes()))?));
        removed.map_err(|failed| self.missing_or("delete", file, failed))
    }
}
