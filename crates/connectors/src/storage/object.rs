//! A copy in a bucket: S3 and what is compatible with it, Azure Blob Storage; and where the program was built with them,
//! Google Cloud Storage, Backblaze B2, and WebDAV, whose folders are near enough to a bucket.
//!
//! The layout is restic's, so that stock restic opens an S3 bucket as it is. One request carries one whole object; the
//! server shows it once it has all of it, so no reader sees a part.
//!
//! Nothing here but the streams of archives retries: [`repository::storage::retry::Retry`] does. Nothing waits by the wall clock: a request is given
//! up when no byte has moved for a while ([`fetch`]).

mod answer;
mod archives;
mod azure;
#[cfg(feature = "b2")]
mod b2;
mod fetch;
#[cfg(feature = "gcs")]
mod gcs;
mod s3;
#[cfg(feature = "webdav")]
mod stream;
#[cfg(feature = "webdav")]
mod webdav;

use std::future::Future;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use opendal::options::{ListOptions, ReadOptions, WriteOptions};
use opendal::{Buffer, EntryMode, ErrorKind, Metadata, Operator};
use repository::limits::CANCEL_POLL;
use repository::storage::Listed;
use repository::{Cancel, File, FileKind, Storage, StorageError};
use tokio::runtime::Runtime;

use self::answer::{Answer, Meaning};
use self::fetch::{Fetch, Heard};
use super::layout::id_of;

pub use self::azure::{AzureCredentials, AzureOptions};
#[cfg(feature = "b2")]
pub use self::b2::B2Options;
#[cfg(feature = "gcs")]
pub use self::gcs::GcsOptions;
pub use self::s3::S3Options;
#[cfg(feature = "webdav")]
pub use self::webdav::WebdavOptions;

/// Threads that move bytes and encrypt connections. The engine's own threads wait for them.
const RUNTIME_THREADS: usize = 2;
/// The largest distance of a range that is asked for as it is. Beyond it, the size is looked up first, since servers
/// differ in what they make of numbers near the end of their integers.
const RANGE_BYTES_MAX: u64 = 1 << 40;

/// A copy in a bucket or container.
///
/// A put is conditional (`If-None-Match: *`), so that of two writers one wins. Some servers ignore the condition. For
/// files that are named by their content that is harmless: both wrote the same. The config file is not, so it is looked
/// for before it is written.
///
/// Removing what is not there is no error for S3, so a file is looked for before it is removed; of two that remove one
/// file in the same moment, both may hear that they did.
pub struct ObjectStorage {
    location: String,
    /// What the bucket is called in messages: `bucket NAME`.
    bucket: String,
    operator: Operator,
    /// For objects that are sent in parts.
    in_parts: Operator,
    manner: Manner,
    /// What is said where there are no credentials.
    no_credentials: &'static str,
    /// For archives, which go past `opendal`.
    #[cfg(feature = "webdav")]
    client: reqwest::Client,
    runtime: Option<Runtime>,
    cancel: Cancel,
}

impl ObjectStorage {
    /// The copy in an S3 bucket. Asks the server nothing yet. Transfers of packs end soon after `cancel` is set.
    pub fn s3(options: &S3Options, cancel: Cancel) -> Result<Self, StorageError> {
        Self::build(options.location(), format!("bucket {}", options.bucket), cancel, || options.target())
    }

    /// The copy in a container of Azure Blob Storage. Asks the server nothing yet. Transfers of packs end soon after
    /// `cancel` is set.
    pub fn azure(options: &AzureOptions, cancel: Cancel) -> Result<Self, StorageError> {
        Self::build(options.location(), format!("container {}", options.container), cancel, || options.target())
    }

    /// The copy in a bucket of Google Cloud Storage. Asks the server nothing yet. Transfers of packs end soon after
    /// `cancel` is set.
    #[cfg(feature = "gcs")]
    pub fn gcs(options: &GcsOptions, cancel: Cancel) -> Result<Self, StorageError> {
        Self::build(options.location(), format!("bucket {}", options.bucket), cancel, || options.target())
    }

    /// The copy in a bucket of Backblaze B2. Asks the server nothing yet. Transfers of packs end soon after `cancel` is
    /// set.
    #[cfg(feature = "b2")]
    pub fn b2(options: &B2Options, cancel: Cancel) -> Result<Self, StorageError> {
        Self::build(options.location(), format!("bucket {}", options.bucket), cancel, || options.target())
    }

    /// The copy in a folder of a WebDAV server. Asks the server nothing yet. Transfers of packs end soon after `cancel`
    /// is set.
    #[cfg(feature = "webdav")]
    pub fn webdav(options: &WebdavOptions, cancel: Cancel) -> Result<Self, StorageError> {
        Self::build(options.location(), format!("folder {}", options.address), cancel, || options.target())
    }

    fn build(
        location: String,
        bucket: String,
        cancel: Cancel,
        target: impl FnOnce() -> Result<Target, String>,
    ) -> Result<Self, StorageError> {
        let failed = |what| StorageError::Permanent { location: location.clone(), what };
        crate::http::choose_cryptography();
        let Target { operator, in_parts, hosts, manner, no_credentials } = target().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(RUNTIME_THREADS)
            .thread_name("object-storage")
            .enable_all()
            .build()
            .map_err(|error| failed(format!("start threads: {error}")))?;
        let fetch = Fetch::new(hosts).map_err(failed)?;
        #[cfg(feature = "webdav")]
        let plain_client = fetch.client();
        let client = opendal::raw::HttpClient::with(fetch);
        let [operator, in_parts] =
            [operator, in_parts].map(|operator| operator.layer(opendal::layers::HttpClientLayer::new(client.clone())));
        Ok(Self {
            location,
            bucket,
            operator,
            in_parts,
            manner,
            no_credentials,
            #[cfg(feature = "webdav")]
            client: plain_client,
            runtime: Some(runtime),
            cancel,
        })
    }

    /// Waits for `request`. Where `file` is a pack, a run that is cancelled meanwhile does not wait for it to be moved;
    /// all else is small, and is what a cancelled run still needs to leave the repository in order.
    fn wait<T>(&self, file: Option<File>, request: impl Future<Output = opendal::Result<T>>) -> Result<T, Failed> {
        self.wait_for(file.is_some_and(|file| file.kind == FileKind::Pack), request)
    }

    /// Waits for `request`; where it `is_large`, not longer than until the run is cancelled.
    fn wait_for<T>(&self, is_large: bool, request: impl Future<Output = opendal::Result<T>>) -> Result<T, Failed> {
        let may_end = is_large && !self.cancel.is_cancelled();
        let cancelled = async {
            while !(may_end && self.cancel.is_cancelled()) {
                tokio::time::sleep(CANCEL_POLL).await;
            }
        };
        let watched = fetch::listening(async {
            tokio::select! {
                result = request => result.map_err(Some),
                () = cancelled => Err(None),
            }
        });
        let runtime = self.runtime.as_ref().ok_or(Failed::Cancelled)?;
        // Some of `opendal`'s services panic over an answer that they do not understand.
        let (result, heard) = catch_unwind(AssertUnwindSafe(|| runtime.block_on(watched)))
            .unwrap_or_else(|_| (Err(Some(opendal::Error::new(ErrorKind::Unexpected, "a panic"))), Heard::Success));
        result.map_err(|error| match error {
            Some(error) => Failed::Asking { kind: error.kind(), may_pass: error.is_temporary(), heard },
            None => Failed::Cancelled,
        })
    }

    /// What a failure means to the caller. `verb` is what was tried.
    fn error(&self, verb: &str, file: Option<File>, failed: Failed) -> StorageError {
        let location = self.location();
        let tried = |text: &str| match file {
            Some(file) => format!("{verb} {file}: {text}"),
            None => format!("{verb}: {text}"),
        };
        let (kind, may_pass, heard) = match failed {
            Failed::Cancelled => return StorageError::Transient { location, what: tried("cancelled") },
            Failed::Asking { kind, may_pass, heard } => (kind, may_pass, heard),
        };
        let answer = match heard {
            Heard::Refusal(answer) => answer,
            Heard::Failure { what, may_pass: true } => {
                return StorageError::Transient { location, what: tried(&what) };
            }
            Heard::Failure { what, may_pass: false } => {
                return StorageError::Permanent { location, what: tried(&what) };
            }
            // B2 says yes to a search that finds nothing, and so does WebDAV.
            Heard::Success if kind == ErrorKind::NotFound && file.is_some() => Answer::absent(),
            // It said yes, and what then came made no sense: a proxy's own page, or a list that is cut off.
            Heard::Success => {
                let what = tried(&format!("the answer is not understood ({kind})"));
                return StorageError::Transient { location, what };
            }
            Heard::Nothing if may_pass => {
                return StorageError::Transient { location, what: tried("the credentials could not be loaded") };
            }
            Heard::Nothing => return StorageError::Denied { location, what: tried(self.no_credentials) },
        };
        let what = tried(&answer.to_string());
        match (answer.meaning(), file) {
            // Nothing has to be there for a file to be put, but the bucket.
            (Meaning::Absent, Some(_)) if verb == "write" => {
                let what = tried(&format!("there is no {}; make it first, or correct its name", self.bucket));
                StorageError::Permanent { location, what }
            }
            (Meaning::Absent, Some(file)) => StorageError::NotFound { file, location },
            (Meaning::Taken, Some(file)) if verb == "write" => StorageError::AlreadyExists { file, location },
            (Meaning::NoBucket, _) => {
                let what = tried(&format!("there is no {}; make it first, or correct its name", self.bucket));
                StorageError::Permanent { location, what }
            }
            (Meaning::Denied, _) => StorageError::Denied { location, what },
            (Meaning::Full, _) => StorageError::Full { location },
            (Meaning::MayPass, _) => StorageError::Transient { location, what },
            (Meaning::Absent | Meaning::Taken | Meaning::Final, _) => StorageError::Permanent { location, what },
        }
    }

    /// A file's size.
    fn size(&self, verb: &str, file: File) -> Result<u64, StorageError> {
        self.stat(verb, file).map(|stat| stat.content_length())
    }

    fn stat(&self, verb: &str, file: File) -> Result<Metadata, StorageError> {
        let path = file.path();
        let stat = match &self.manner {
            #[cfg(feature = "b2")]
            Manner::Overwrites => self.wait(None, b2::stat(&self.operator, &path)),
            _ => self.wait(None, self.operator.stat(&path)),
        };
        stat.map_err(|failed| self.error(verb, Some(file), failed))
    }

    /// Fails where a file is there already.
    fn look_first(&self, file: File) -> Result<(), StorageError> {
        match self.size("look for", file) {
            Ok(_) => Err(StorageError::AlreadyExists { file, location: self.location.clone() }),
            Err(StorageError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The files of `kind` in the folder at `path`, which ends with a slash; or the one at `path`.
    async fn list_in(&self, kind: FileKind, path: &str) -> opendal::Result<Vec<Listed>> {
        let recursive = kind == FileKind::Pack && self.manner.lists_trees();
        let options = ListOptions { recursive, limit: self.manner.list_limit(), ..ListOptions::default() };
        let mut listed = Vec::new();
        let mut entries = self.operator.lister_options(path, options).await?;
        while let Some(entry) = entries.try_next().await? {
            if !entry.path().starts_with(path) {
                let what = "the server lists what was not asked for";
                return Err(opendal::Error::new(ErrorKind::Unexpected, what));
            }
            #[cfg(feature = "webdav")]
            self.manner.notice(&entry);
            let (folder, name) = entry.path().rsplit_once('/').unwrap_or((".", entry.path()));
            if entry.metadata().mode() == EntryMode::FILE
                && let Some(id) = id_of(kind, folder, name.as_bytes())
            {
                listed.push(Listed { id, bytes: entry.metadata().content_length() });
            }
        }
        Ok(listed)
    }

    /// Whether these credentials may put something in the place of a file, which a copy never does. Puts `bytes` there.
    pub fn may_overwrite(&self, file: File, bytes: &[u8]) -> Result<bool, StorageError> {
        let path = file.path();
        let written = self.wait(Some(file), self.operator.write(&path, bytes.to_vec()));
        match written.map(drop).map_err(|failed| self.error("overwrite", Some(file), failed)) {
            Ok(()) => Ok(true),
            Err(StorageError::Denied { .. } | StorageError::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn past_the_end(&self, file: File, range: &Range<u64>, size: Option<u64>) -> StorageError {
        let of = size.map(|size| format!(" of {size}")).unwrap_or_default();
        let what = format!("read {file}: bytes {range:?}{of} asked for");
        StorageError::Permanent { location: self.location(), what }
    }
}

/// What options come to.
struct Target {
    operator: Operator,
    /// The same place for objects that are sent in parts.
    in_parts: Operator,
    /// The server's name; where there are several, the domains they are in.
    hosts: Vec<String>,
    manner: Manner,
    /// What is said where there are no credentials.
    no_credentials: &'static str,
}

/// How a kind of place keeps files from being overwritten, and what else it does in a way of its own.
enum Manner {
    /// A put is made on condition that nothing is there. Trees are listed at once.
    Conditions,
    /// There are no conditions. The server keeps what was overwritten as an old version.
    #[cfg(feature = "b2")]
    Overwrites,
    /// A file is put elsewhere and renamed on condition that nothing is there. Folders are listed one by one.
    #[cfg(feature = "webdav")]
    Renames(Box<webdav::Dav>),
}

impl Manner {
    fn lists_trees(&self) -> bool {
        match self {
            #[cfg(feature = "webdav")]
            Self::Renames(_) => false,
            _ => true,
        }
    }

    /// Entries to ask for at once, where what the server gives by itself is too few.
    fn list_limit(&self) -> Option<usize> {
        match self {
            // By itself it gives a hundred. More than a thousand are charged as several requests.
            #[cfg(feature = "b2")]
            Self::Overwrites => Some(1000),
            _ => None,
        }
    }

    /// Keeps temporary files in mind, and says whether `entry` is one.
    #[cfg(feature = "webdav")]
    fn notice(&self, entry: &opendal::Entry) -> bool {
        match self {
            Self::Renames(dav) => {
                dav.is_leftover(entry.path(), entry.metadata().last_modified().map(|time| time.into_inner()))
            }
            _ => false,
        }
    }
}

/// The name users know a place by.
fn location(scheme: &str, bucket: &str, prefix: &str) -> String {
    let prefix = prefix.trim_matches('/');
    format!("{scheme}://{bucket}{}{prefix}", if prefix.is_empty() { "" } else { "/" })
}

/// A server's address as it is used: encrypted unless it says otherwise.
fn with_scheme(endpoint: &str) -> String {
    let endpoint = endpoint.trim().trim_end_matches('/');
    if endpoint.contains("://") { endpoint.to_owned() } else { format!("https://{endpoint}") }
}

/// The name of the server at an address.
fn host(endpoint: &str) -> Result<String, String> {
    let wrong = || "`endpoint` is not an address such as https://s3.example.org".to_owned();
    let uri: http::Uri = endpoint.parse().map_err(|_| wrong())?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("`endpoint` must not hold credentials; they have settings of their own".to_owned());
    }
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
        return Err(wrong());
    }
    uri.host().map(str::to_owned).ok_or_else(wrong)
}

const NO_CREDENTIALS: &str = "no credentials: none are configured, and neither the environment nor a profile nor the \
                              platform (instance role, managed identity) gives any that are still good";

/// How waiting for a request failed.
enum Failed {
    Cancelled,
    /// Of `opendal`'s error, its text is left out: it holds addresses, which can be signed.
    Asking {
        kind: ErrorKind,
        may_pass: bool,
        heard: Heard,
    },
}

#[cfg(feature = "webdav")]
impl Failed {
    /// Whether it failed because something is there already.
    fn is_taken(&self) -> bool {
        matches!(self, Self::Asking { heard: Heard::Refusal(answer), .. } if answer.meaning() == Meaning::Taken)
    }
}

impl Storage for ObjectStorage {
    fn location(&self) -> String {
        self.location.clone()
    }

    fn put(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        let path = file.path();
        let options = match &self.manner {
            Manner::Conditions => {
                // Some servers ignore conditions.
                if file == File::CONFIG {
                    self.look_first(file)?;
                }
                WriteOptions { if_not_exists: true, ..WriteOptions::default() }
            }
            #[cfg(feature = "b2")]
            Manner::Overwrites => {
                self.look_first(file)?;
                WriteOptions::default()
            }
            #[cfg(feature = "webdav")]
            Manner::Renames(dav) => return self.put_renamed(dav, file, bytes),
        };
        let written = self.wait(Some(file), self.operator.write_options(&path, bytes.to_vec(), options));
        written.map(drop).map_err(|failed| self.error("write", Some(file), failed))
    }

    fn get(&self, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, StorageError> {
        if let Some(range) = &range
            && (range.is_empty() || range.end - range.start > RANGE_BYTES_MAX)
        {
            // Neither can be put into a request.
            let size = self.size("read", file)?;
            return match range.start == range.end && range.end <= size {
                true => Ok(Vec::new()),
                false => Err(self.past_the_end(file, range, Some(size))),
            };
        }
        let path = file.path();
        let mut options = ReadOptions::default();
        if let Some(range) = &range {
            options.range = range.clone().into();
        }
        let read: Result<Buffer, _> = self.wait(Some(file), self.operator.read_options(&path, options));
        match (read, &range) {
            (Ok(bytes), None) => Ok(bytes.to_vec()),
            (Ok(bytes), Some(range)) if bytes.len() as u64 == range.end - range.start => Ok(bytes.to_vec()),
            (Err(Failed::Asking { heard: Heard::Refusal(Answer { status: 416, .. }), .. }), Some(range)) => {
                Err(self.past_the_end(file, range, None))
            }
            // Asked for what goes past the end, servers give what there is.
            (Ok(_) | Err(Failed::Asking { heard: Heard::Success, .. }), Some(range)) => {
                let size = self.size("read", file)?;
                if range.end > size {
                    return Err(self.past_the_end(file, range, Some(size)));
                }
                let what = format!("read {file}: other bytes came than {range:?} of {size}");
                Err(StorageError::Transient { location: self.location(), what })
            }
            (Err(failed), _) => Err(self.error("read", Some(file), failed)),
        }
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, StorageError> {
        // The config file is looked for by a listing, too: asked for a single file, a server need not say that it is the
        // bucket that is not there.
        let path = if kind == FileKind::Config { "config".to_owned() } else { format!("{}/", kind.folder()) };
        let listed = match (&self.manner, kind) {
            #[cfg(feature = "webdav")]
            (Manner::Renames(_), FileKind::Pack) => self.wait(None, self.list_packs()),
            // Asked for the listing of a file that is not there, it says so.
            #[cfg(feature = "webdav")]
            (Manner::Renames(_), FileKind::Config) => {
                return match self.size("list", File::CONFIG) {
                    Ok(bytes) => Ok(vec![Listed { id: File::CONFIG.id, bytes }]),
                    Err(StorageError::NotFound { .. }) => Ok(Vec::new()),
                    Err(error) => Err(error),
                };
            }
            _ => self.wait(None, self.list_in(kind, &path)),
        };
        listed.map_err(|failed| self.error(&format!("list {}", kind.folder()), None, failed))
    }

    fn modified(&self, file: File) -> Result<Option<Timestamp>, StorageError> {
        Ok(self.stat("look at", file)?.last_modified().map(|time| time.into_inner()))
    }

    fn delete(&self, file: File) -> Result<(), StorageError> {
        let path = file.path();
        self.size("delete", file)?;
        let deleted = self.wait(None, self.operator.delete(&path));
        deleted.map_err(|failed| self.error("delete", Some(file), failed))
    }
}

impl Drop for ObjectStorage {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not waited for: a look-up of a name that hangs would hold up the end of the program.
            runtime.shutdown_timeout(Duration::ZERO);
        }
    }
}
