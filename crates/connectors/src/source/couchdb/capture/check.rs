//! Whether what is captured is right, asked when it is a file's turn: its trees are held against what they repeat, documents and
//! attachments against their checksums. Retention trusts that what was captured without a word is whole.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use couchfile::{Database, Level, View};
use repository::SourceError;

use super::{CouchDbCapture, Leaf, reopen};
use crate::source::couchdb::damage::Damage;
use crate::source::couchdb::data_folder::Kind;
use crate::source::couchdb::facts;
use crate::source::couchdb::opener::{Handle, OpenedFile};
use crate::source::couchdb::parent::Checked;
use crate::source::couchdb::prefix::Prefix;
use crate::source::couchdb::stamp::Stamp;
use crate::source::layout::Step;

/// A file of which the part that the parent snapshot has was taken as checked.
pub(super) struct CheckedInPart {
    host: PathBuf,
    key: String,
    kind: Kind,
    stamp: Stamp,
    bytes: u64,
    /// The open file, where there is a handle.
    held: Option<File>,
}

/// A check that runs while the engine reads the file before.
pub(super) struct Ahead {
    is_part: bool,
    running: JoinHandle<Option<Damage>>,
}

impl CouchDbCapture<'_> {
    /// Begins [`CouchDbCapture::check`] of a file before it is its turn, where there is a handle and a thread for it.
    pub(super) fn check_ahead(&self, step: &Step<Leaf>) -> Option<Ahead> {
        let Step::Leaf(host, Leaf::Opened(file)) = step else { return None };
        let OpenedFile { node, stamp, kind, handle: Handle::Held(held), header: Ok(Some(_)), .. } = &**file else {
            return None;
        };
        let before = self.checked_before(&facts::key(&self.root, host), *kind, held, stamp);
        let is_part = before.is_some();
        let (file, kind, bytes, cancel) = (held.try_clone().ok()?, *kind, node.size, self.opener.cancel.clone());
        let check = move || checked(Prefix { file: &file, bytes, cancel: &cancel }, kind, before);
        let running = std::thread::Builder::new().name("check-ahead".to_owned()).spawn(check).ok()?;
        Some(Ahead { is_part, running })
    }

    fn checked_before(&self, key: &str, kind: Kind, held: &File, stamp: &Stamp) -> Option<Checked> {
        let before = self.opener.before.checked(kind, key, held, stamp, self.opener.cancel);
        before.filter(|_| !self.full_read.is_due)
    }

    /// Checks what was written since the parent snapshot, or all where a full reading is due.
    pub(super) fn check(
        &mut self,
        host: &Path,
        key: &str,
        file: &OpenedFile,
        ahead: Option<Ahead>,
    ) -> Result<(), SourceError> {
        let OpenedFile { node, stamp, kind, handle, header: Ok(Some(_)), .. } = file else { return Ok(()) };
        let in_part = |held| CheckedInPart {
            host: host.to_path_buf(),
            key: key.to_owned(),
            kind: *kind,
            stamp: *stamp,
            bytes: node.size,
            held,
        };
        let Handle::Held(held) = handle else {
            self.in_part = Some(in_part(None));
            return Ok(());
        };
        let cancel = self.opener.cancel;
        let ahead = ahead.and_then(|Ahead { is_part, running }| Some((is_part, running.join().ok()?)));
        let (is_part, found) = ahead.unwrap_or_else(|| {
            let before = self.checked_before(key, *kind, held, stamp);
            (before.is_some(), checked(Prefix { file: held, bytes: node.size, cancel }, *kind, before))
        });
        cancel.check()?;
        match found {
            Some(damage) => self.found(host, key, *kind, damage),
            None if is_part => self.in_part = Some(in_part(held.try_clone().ok())),
            None => {}
        }
        Ok(())
    }

    /// Checks all of a file of which the engine stored more than what was checked: the part of before is another one now.
    pub(super) fn check_rest(&mut self) {
        let Some(CheckedInPart { host, key, kind, stamp, bytes, held }) = self.in_part.take() else { return };
        let Some(file) = held.or_else(|| reopen(&host, &stamp).ok()) else { return };
        let cancel = self.opener.cancel;
        let found = checked(Prefix { file: &file, bytes, cancel }, kind, None);
        // What a reading says that was broken off is no finding; the capture ends with the next item.
        if let Some(damage) = found.filter(|_| !cancel.is_cancelled()) {
            self.found(&host, &key, kind, damage);
        }
    }

    fn found(&mut self, host: &Path, key: &str, kind: Kind, damage: Damage) {
        let damage = match self.damaged.get(key) {
            Some(record) => damage.after(record),
            None => damage,
        };
        let record = damage.record(&self.opener.before, kind, key);
        self.tell_damage(host, key, record);
    }
}

/// What is wrong with a file, as far as it was not checked `before`.
fn checked(file: Prefix<'_>, kind: Kind, before: Option<Checked>) -> Option<Damage> {
    let report = match kind {
        Kind::Database => Database::open(file).map(|database| match before {
            Some(Checked::Database(header)) => database.check_appended(Level::Attachments, &header),
            _ => database.check(Level::Attachments),
        }),
        Kind::View => View::open(file).map(|view| match before {
            Some(Checked::View(header)) => view.check_appended(Level::Attachments, &header),
            _ => view.check(Level::Attachments),
        }),
        Kind::Other => return None,
    };
    match report {
        Ok(report) => Damage::of_report(&report),
        Err(error) => Some(Damage::of_header(error.to_string())),
    }
}
