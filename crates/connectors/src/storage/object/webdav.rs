//! A folder of a WebDAV server.
//!
//! The protocol has no word for "only where nothing is" but in renaming (`Overwrite: F`), and servers differ in whether
//! readers see a file that is still being sent. So a file is sent under a temporary name and renamed.
//!
//! What a broken connection left is swept up a day later, with the first file that is written after a listing saw it.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;
use opendal::services::Webdav;
use opendal::{EntryMode, Operator};
use repository::storage::Listed;
use repository::{File, FileKind, StorageError};

use super::super::layout::{PART_MARK, TEMP_MARK, is_digit, is_temporary};
use super::{Manner, ObjectStorage, Target};

/// A temporary file untouched for this long, by the server's clock, belongs to a process that is gone.
const LEFTOVER_SECONDS: i64 = 24 * 60 * 60;
/// Folders that are listed at once.
const LISTINGS_AT_ONCE: usize = 8;

/// A folder of a WebDAV server.
#[derive(Clone, Default)]
pub struct WebdavOptions {
    /// The folder's address, `https://…` or `http://…`. The folder is made where it is not there.
    pub address: String,
    /// Who logs in, where somebody has to.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
}

/// What is known of a server besides what `opendal` keeps to itself.
pub(super) struct Dav {
    /// The folder's address, without `/` at its end.
    pub(super) address: String,
    user: Option<String>,
    password: Option<String>,
    /// Temporary files that listings came across, and when each was last touched.
    temporary: Mutex<BTreeMap<String, Timestamp>>,
}

impl WebdavOptions {
    pub(super) fn location(&self) -> String {
        format!("webdav{}", self.address.trim_start_matches("http"))
    }

    pub(super) fn target(&self) -> Result<Target, String> {
        let wrong = "the address of the server is not one such as https://cloud.example.org/folder";
        let address = self.address.trim_end_matches('/');
        let server = address.find("://").map_or(0, |at| at + 3);
        let folder = address[server..].find('/').map_or(address.len(), |at| server + at);
        let hosts = vec![super::host(&address[..folder]).map_err(|_| wrong)?];
        let builder = Webdav::default()
            .endpoint(&address[..folder])
            .root(&address[folder..])
            .username(self.user.as_deref().unwrap_or_default())
            .password(self.password.as_deref().unwrap_or_default());
        let operator = Operator::new(builder).map_err(|_| "the login cannot be put into a request")?.finish();
        let dav = Dav {
            address: address.to_owned(),
            user: self.user.clone(),
            password: self.password.clone(),
            temporary: Mutex::default(),
        };
        let manner = Manner::Renames(Box::new(dav));
        Ok(Target { in_parts: operator.clone(), operator, hosts, manner, no_credentials: super::NO_CREDENTIALS })
    }
}

impl fmt::Debug for WebdavOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebdavOptions")
            .field("address", &self.address)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .finish()
    }
}

impl Dav {
    /// `request` with the login.
    pub(super) fn signed(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.user {
            Some(user) => request.basic_auth(user, self.password.as_deref()),
            None => request,
        }
    }

    fn temporary(&self) -> MutexGuard<'_, BTreeMap<String, Timestamp>> {
        self.temporary.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps in mind what a listing came across. Says whether `path` is one of a temporary file.
    pub(super) fn is_leftover(&self, path: &str, modified: Option<Timestamp>) -> bool {
        let name = path.rsplit('/').next().unwrap_or(path);
        let is_one = is_temporary(name.as_bytes()) || name.contains(PART_MARK);
        if let (true, Some(modified)) = (is_one, modified) {
            self.temporary().insert(path.to_owned(), modified);
        }
        is_one
    }
}

/// A number that no other writer has, in all likelihood.
pub(super) fn chance() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

impl ObjectStorage {
    /// Puts a file where nothing is.
    pub(super) fn put_renamed(&self, dav: &Dav, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        // It saves sending what is there, and is all there is on servers that rename over what is there.
        self.look_first(file)?;
        let path = file.path();
        let temp = format!("{path}{}{:016x}", String::from_utf8_lossy(TEMP_MARK), chance());
        let put = self.wait(Some(file), async {
            self.operator.write(&temp, bytes.to_vec()).await?;
            self.operator.rename(&temp, &path).await
        });
        match put {
            Ok(()) => self.sweep(dav, &path),
            // Nobody is served by a second error; a later run sweeps up what stays.
            Err(_) => drop(self.wait(None, self.operator.delete(&temp))),
        }
        put.map_err(|failed| self.error("write", Some(file), failed))
    }

    /// Removes the temporary files that listings came across, if they are old when the file at `path` was just written,
    /// by the server's own clock. An untidy folder is no reason to fail: the next run tries again.
    pub(super) fn sweep(&self, dav: &Dav, path: &str) {
        let seen = std::mem::take(&mut *dav.temporary());
        if seen.is_empty() {
            return;
        }
        let Ok(written) = self.wait(None, self.operator.stat(path)) else { return };
        let Some(now) = written.last_modified().map(|time| time.into_inner()) else { return };
        for (temp, modified) in seen {
            if now.duration_since(modified).as_secs() >= LEFTOVER_SECONDS {
                let _ = self.wait(None, self.operator.delete(&temp));
            }
        }
    }

    /// All packs. Servers refuse to list a tree at once, so its folders are listed, some at a time.
    pub(super) async fn list_packs(&self) -> opendal::Result<Vec<Listed>> {
        let mut folders = Vec::new();
        let mut entries = self.operator.lister("data/").await?;
        while let Some(entry) = entries.try_next().await? {
            let name = entry.path().trim_start_matches("data/").trim_end_matches('/').as_bytes();
            if entry.metadata().mode() == EntryMode::DIR && name.len() == 2 && name.iter().all(|byte| is_digit(*byte)) {
                folders.push(entry.path().to_owned());
            }
        }
        let listings = folders.into_iter().map(|folder| async move { self.list_in(FileKind::Pack, &folder).await });
        stream::iter(listings).buffer_unordered(LISTINGS_AT_ONCE).try_concat().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(address: &str) -> WebdavOptions {
        WebdavOptions { address: address.into(), user: Some("me".into()), password: Some("S3CRET".into()) }
    }

    #[test]
    fn an_address_is_taken_apart_and_its_password_shows_itself_nowhere() {
        for (address, root) in [("https://cloud", "/"), ("http://[::1]:80/dav/files/", "/dav/files/")] {
            let options = options(address);
            let target = options.target().unwrap();
            assert_eq!(target.operator.info().root(), root);
            let shown = format!("{options:?} {:?}", target.operator);
            assert!(!shown.contains("S3CRET"), "{shown}");
        }
        assert_eq!(options("https://cloud/x").location(), "webdavs://cloud/x");
        assert!(options("cloud").target().is_err() && options("https://me:pw@cloud").target().is_err());
    }
}
