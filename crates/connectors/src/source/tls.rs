//! Source `tls`: certificates with their private keys, and the scripts that lie beside them.
//!
//! All files are captured as they lie; certificates and keys are read besides, so that one that does not match, or has
//! run out, is known before it is needed. What is stored is what was read. Nothing of a private key but its public half is
//! kept, and nothing of it is shown.

pub(crate) mod pem;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{Cursor, Read as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use repository::source::{CERTIFICATES_FACT, NOT_AFTER_FACT, VOLUME_FACT};
use repository::{
    Cancel, Capture, CaptureCx, Data, Event, Events, Facts, Item, NodeKind, Problem, Source, SourceError,
};
use serde_json::{Value, json};

use self::pem::{Certificate, Key, Pem};
use super::container_files::{ContainerFilesOptions, ContainerFilesSource};
use super::files::{FilesOptions, FilesSource};
use super::layout;
use super::place::Place;
use super::walk::{Seen, walk};
use crate::containers::EngineAddress;

/// The kind's name in the configuration.
pub const KIND: &str = "tls";

/// The fact that holds what is known of the private keys of each file, by path.
const KEYS: &str = "keys";
/// The fact that an earlier snapshot had keys, and none is there since.
const KEYS_LOST: &str = "keys_lost";
/// What is known of a certificate: whether its key is here, and whether it was in an earlier snapshot and is not since.
const KEY_MATCHES: &str = "key_matches";
const KEY_LOST: &str = "key_lost";
/// What is wrong with a certificate whose key is gone while others are there.
const LOST_KEY: &str = "the private key of this certificate was in an earlier snapshot and is gone: put it back";
/// What is wrong with a folder of certificates where no key is, and no key is on purpose.
const WITHOUT_KEY: &str = "no private key is in the folder, and without it nobody can use this certificate: put it back, \
                           or where it is kept elsewhere on purpose, name the certificates as a source `files` instead";

/// A file larger than this holds neither; it is captured, and not looked into.
const READ_BYTES_MAX: u64 = 1 << 20;

/// Where certificates and keys lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsOptions {
    /// A folder with all of them, wherever it is.
    From {
        /// The folder.
        place: Place,
        /// Where the container engine is, for a place that it knows.
        engine: EngineAddress,
    },
    /// A certificate, with what signed it where that is in the same file, and its key.
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The private key's file.
        key: PathBuf,
    },
}

/// Certificates and their keys.
#[derive(Debug)]
pub struct TlsSource(TlsOptions);

impl TlsSource {
    /// Nothing is looked at yet.
    pub fn new(options: TlsOptions) -> Self {
        Self(options)
    }

    /// The capture of the files as they lie, and what is known of the volume that they lie in.
    fn open<'a>(&self, cx: &CaptureCx<'a>) -> Result<(Box<dyn Capture + 'a>, Option<Value>), SourceError> {
        let mut volume = None;
        let paths = match &self.0 {
            TlsOptions::From { place: Place::Container { container, path }, engine } => {
                let (container, engine, paths) = (container.clone(), engine.clone(), vec![path.clone()]);
                let options = ContainerFilesOptions { container, paths, exclude: Vec::new(), engine };
                return Ok((ContainerFilesSource::new(options)?.open(cx)?, None));
            }
            TlsOptions::From { place, engine } => {
                let found = place.on_host(engine, cx.cancel)?;
                volume = found.as_ref().and_then(|found| found.volume.clone());
                found.into_iter().map(|found| found.path).collect()
            }
            TlsOptions::Pair { cert, key } => vec![cert.clone(), key.clone()],
        };
        let paths = with_targets(paths, cx.cancel)?;
        let files = FilesSource::new(FilesOptions { paths, ..Default::default() })?;
        Ok((files.into_capture(cx)?, volume))
    }
}

impl Source for TlsSource {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn claims(&self, _: &Cancel) -> Result<BTreeSet<PathBuf>, SourceError> {
        Ok(BTreeSet::new())
    }

    fn capture<'a>(&'a self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        let (inner, volume) = self.open(cx)?;
        Ok(Box::new(TlsCapture {
            inner,
            volume,
            events: cx.events,
            now: cx.clock.now(),
            look_only: cx.look_only,
            found: BTreeMap::new(),
            waiting: VecDeque::new(),
            facts: None,
            previous: cx.previous.map(|previous| previous.facts),
            key: match &self.0 {
                TlsOptions::From { .. } => None,
                TlsOptions::Pair { key, .. } => Some(key.clone()),
            },
        }))
    }
}

/// `paths`, and the files that links among them and below them lead to: where certificates are renewed, what servers are
/// given is often a link to the newest. Links to folders are kept as links.
fn with_targets(paths: Vec<PathBuf>, cancel: &Cancel) -> Result<Vec<PathBuf>, SourceError> {
    let mut wanted = BTreeSet::new();
    for path in &paths {
        let real = path.canonicalize().map_err(SourceError::io(path))?;
        if real.is_dir() {
            walk(&real, cancel, &mut |seen| {
                if let Seen::Entry(link, kind) = seen
                    && kind.is_symlink()
                    && let Ok(target) = link.canonicalize()
                    && target.is_file()
                    && !target.starts_with(&real)
                {
                    wanted.insert(target);
                }
                true
            })?;
        }
        wanted.insert(real);
    }
    wanted.extend(paths);
    Ok(wanted.into_iter().collect())
}

/// The capture of the files, looked into on the way.
struct TlsCapture<'a> {
    inner: Box<dyn Capture + 'a>,
    /// What is known of the volume that they lie in.
    volume: Option<Value>,
    events: &'a dyn Events,
    now: Timestamp,
    look_only: bool,
    /// By the keys of facts.
    found: BTreeMap<String, Pem>,
    waiting: VecDeque<Item>,
    /// Once all files were seen.
    facts: Option<Facts>,
    /// What the parent snapshot says.
    previous: Option<&'a Facts>,
    /// A file that must hold a private key; where a folder is captured, that is asked of all its files together.
    key: Option<PathBuf>,
}

impl TlsCapture<'_> {
    /// Puts what was read in the place of the file, so that what is stored is what the facts are about.
    fn look_into(&mut self, host: &Path, bytes: u64, data: Data) -> Result<Data, SourceError> {
        let bytes = match data {
            Data::File { ref path, .. } => match read_bounded(path) {
                Ok(Some(bytes)) => bytes,
                // What cannot be read is reported by whoever stores it.
                Ok(None) | Err(_) => return Ok(data),
            },
            Data::Stream(mut stream) if bytes <= READ_BYTES_MAX => {
                let mut read = Vec::new();
                stream.read_to_end(&mut read).map_err(SourceError::io(host))?;
                read
            }
            other => return Ok(other),
        };
        let pem = Pem::parse(host, &bytes);
        for what in &pem.problems {
            self.problem(host, what.clone());
        }
        self.found.insert(layout::fact_key(host), pem);
        Ok(Data::Stream(Box::new(Cursor::new(bytes))))
    }

    fn problem(&mut self, host: &Path, what: impl Into<String>) {
        self.waiting.push_back(Item::Problem(Problem::new(host, what)));
    }

    /// Holds all that was found together, once the last file was seen.
    fn conclude(&mut self) -> Facts {
        let mut summary = Summary::of(&self.found, self.previous);
        if self.look_only {
            return summary.facts;
        }
        for (path, what) in summary.problems {
            self.problem(Path::new(&path), what);
        }
        for (path, what) in summary.notes {
            self.events.emit(Event::Note(format!("{path}: {what}")));
        }
        if self.found.values().all(|pem| pem.keys.is_empty()) {
            self.without_keys(&mut summary.facts);
        }
        let expired = self.found.iter().flat_map(|(path, pem)| pem.certificates.iter().map(move |one| (path, one)));
        let expired: Vec<_> = expired
            .filter(|(_, certificate)| certificate.not_after <= self.now)
            .map(|(path, certificate)| {
                let (subject, day) = (&certificate.subject, certificate.not_after.strftime("%Y-%m-%d"));
                (path.clone(), format!("the certificate of {subject} expired on {day}: renew it"))
            })
            .collect();
        for (path, what) in expired {
            self.problem(Path::new(&path), what);
        }
        summary.facts
    }

    /// Certificates of authorities are kept without keys. What serves nobody without its key is told each time.
    fn without_keys(&mut self, facts: &mut Facts) {
        let had_keys = self.previous.is_some_and(had_keys);
        if had_keys {
            facts.insert(KEYS_LOST.to_owned(), Value::from(true));
        }
        if let Some(key) = self.key.take() {
            self.problem(&key, "holds no private key");
            return;
        }
        let of_server = |(_, pem): &(&String, &Pem)| pem.certificates.iter().any(Certificate::needs_key);
        let any = self.found.iter().find(|(_, pem)| !pem.certificates.is_empty()).filter(|_| had_keys);
        let Some((path, _)) = self.found.iter().find(of_server).or(any) else { return };
        let path = path.clone();
        self.problem(Path::new(&path), WITHOUT_KEY);
    }
}

/// Whether the snapshot with these facts had private keys, or one before it.
fn had_keys(previous: &Facts) -> bool {
    previous.get(KEYS).and_then(Value::as_object).is_some_and(|keys| !keys.is_empty())
        || previous.contains_key(KEYS_LOST)
}

/// The fingerprints of certificates whose private key was in the snapshot with these facts, or in one before it.
fn with_key(earlier: &Facts) -> BTreeSet<&str> {
    let files = earlier.get(CERTIFICATES_FACT).and_then(Value::as_object).into_iter().flatten();
    let certificates = files.filter_map(|(_, listed)| listed.as_array()).flatten();
    let had = certificates.filter(|one| one[KEY_MATCHES] == true || one[KEY_LOST] == true);
    had.filter_map(|one| one["fingerprint"].as_str()).collect()
}

/// A small regular file; `None` for a larger one.
fn read_bounded(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(READ_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= READ_BYTES_MAX).then_some(bytes))
}

impl Capture for TlsCapture<'_> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        if let Some(item) = self.waiting.pop_front() {
            return Ok(Some(item));
        }
        match self.inner.next()? {
            Some(Item::Entry(mut entry)) if entry.node.kind == NodeKind::File && !self.look_only => {
                let host = Path::new("/").join(&entry.path);
                entry.data = self.look_into(&host, entry.node.size, entry.data)?;
                if matches!(entry.data, Data::Stream(_)) {
                    // A second name of the file holds bytes of its own, so nothing is to be linked by a restore.
                    (entry.node.links, entry.node.device_id) = (1, 0);
                }
                Ok(Some(Item::Entry(entry)))
            }
            Some(item) => Ok(Some(item)),
            None if self.facts.is_some() => Ok(None),
            None => {
                self.facts = Some(self.conclude());
                Ok(self.waiting.pop_front())
            }
        }
    }

    fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
        let Some(own) = self.facts.filter(|_| self.waiting.is_empty()) else {
            return Err(SourceError::Invalid { what: "the certificates were not read to their end".to_owned() });
        };
        let mut facts = self.inner.finish()?;
        facts.extend(own);
        facts.extend(self.volume.map(|volume| (VOLUME_FACT.to_owned(), volume)));
        Ok(facts)
    }
}

/// What all files together say.
struct Summary {
    facts: Facts,
    /// By the keys of facts.
    problems: Vec<(String, String)>,
    notes: Vec<(String, String)>,
}

impl Summary {
    /// Holds keys against certificates, and both against what an earlier snapshot, or the one that was restored, says.
    fn of(found: &BTreeMap<String, Pem>, earlier: Option<&Facts>) -> Self {
        let (mut certificates, mut keys) = (Facts::new(), Facts::new());
        let (mut problems, mut notes) = (Vec::new(), Vec::new());
        let all = || found.values().flat_map(|pem| &pem.certificates);
        let all_keys = || found.values().flat_map(|pem| &pem.keys);
        let publics: BTreeSet<&[u8]> =
            all_keys().filter_map(|key| if let Key::Public(public) = key { Some(&public[..]) } else { None }).collect();
        // Without any key, the folder is told of as a whole; with one that cannot be compared, it may be that one.
        let are_compared = all_keys().next().is_some() && all_keys().all(|key| matches!(key, Key::Public(_)));
        let had_key = earlier.map(with_key).unwrap_or_default();
        let is_lost = |one: &Certificate| {
            are_compared && !publics.contains(&one.public_key[..]) && had_key.contains(one.fingerprint.as_str())
        };
        for (path, pem) in found {
            if pem.certificates.iter().any(is_lost) {
                problems.push((path.clone(), LOST_KEY.to_owned()));
            }
            let described = pem.certificates.iter().map(|one| {
                let mut described = json!({
                    "fingerprint": one.fingerprint, "subject": one.subject, "names": one.names, "issuer": one.issuer,
                    "not_before": one.not_before.to_string(), NOT_AFTER_FACT: one.not_after.to_string(),
                    KEY_MATCHES: publics.contains(&one.public_key[..]),
                });
                if is_lost(one) {
                    described[KEY_LOST] = Value::from(true);
                }
                described
            });
            if !pem.certificates.is_empty() {
                certificates.insert(path.clone(), Value::from_iter(described));
            }
            let mut states = Vec::new();
            for key in &pem.keys {
                states.push(match key {
                    Key::Public(public) => match all().find(|certificate| certificate.public_key == *public) {
                        Some(certificate) => json!({ "state": "matches", "certificate": certificate.fingerprint }),
                        None => {
                            let what = "this key belongs to none of the certificates here: put the right one beside it";
                            problems.push((path.clone(), what.to_owned()));
                            json!({ "state": "differs" })
                        }
                    },
                    Key::Encrypted => {
                        notes.push((path.clone(), "the key needs a passphrase, so it was not compared".to_owned()));
                        json!({ "state": "encrypted" })
                    }
                    Key::OtherKind => {
                        notes.push((path.clone(), "the key is of a kind that is not compared".to_owned()));
                        json!({ "state": "not compared" })
                    }
                });
            }
            if !states.is_empty() {
                keys.insert(path.clone(), Value::from(states));
            }
        }
        if all().next().is_none() {
            let path = found.keys().next().cloned().unwrap_or_default();
            problems
                .push((path, "no certificate is here: mend `from`, or `cert` and `key`, in lifeboat.yaml".to_owned()));
        }
        let facts = [(CERTIFICATES_FACT, certificates), (KEYS, keys)];
        let facts = facts.into_iter().map(|(name, value)| (name.to_owned(), Value::Object(value))).collect();
        Self { facts, problems, notes }
    }
}

/// Reads certificates and keys again in the restored folder. Whether a certificate has run out since is no difference.
pub fn examine(dir: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Facts, SourceError> {
    let mut found = BTreeMap::new();
    let files = [CERTIFICATES_FACT, KEYS].into_iter().filter_map(|fact| recorded.get(fact)?.as_object());
    for key in files.flat_map(|files| files.keys()) {
        cancel.check()?;
        let Some(path) = layout::restored(dir, key) else { continue };
        match read_bounded(&path) {
            Ok(bytes) => {
                found.insert(key.clone(), Pem::parse(&path, &bytes.unwrap_or_default()));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(SourceError::io(&path)(error)),
        }
    }
    let mut facts = recorded.clone();
    facts.extend(Summary::of(&found, Some(recorded)).facts);
    Ok(facts)
}
