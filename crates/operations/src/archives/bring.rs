//! Writes what an archive copy lacks.

use std::sync::Arc;

use archive::{ArchiveName, Recipients};
use jiff::Timestamp;
use repository::format::snapshot::Snapshot;
use repository::lock::{Access, with_lock};
use repository::storage::archives::{ArchivePlace, ArchiveSink};
use repository::{Error, Event, Id, Index, Repository, RunCx, StorageError};

use super::{Archived, path, put, seal};
use crate::config::PrefixTemplate;
use crate::manifest::{MANIFEST_NAME, Manifest};

/// What was brought to an archive copy.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Brought {
    /// The snapshots that became whole.
    pub snapshots: Vec<Id>,
    /// Archives that were written.
    pub archives: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Snapshots that are not whole, and why.
    pub incomplete: Vec<(Id, String)>,
}

/// An archive copy that is open.
pub struct ArchiveCopy<'a> {
    /// Where it is.
    pub place: &'a dyn ArchivePlace,
    /// Where in there.
    pub prefix: &'a PrefixTemplate,
    /// What this host is called there.
    pub host: &'a str,
    /// For whom.
    pub recipients: &'a Recipients,
    /// What it has already.
    pub held: &'a [Archived],
}

/// Writes what an archive copy lacks of the `wanted` snapshots, the newest first, out of the first of `from` that has them
/// whole. A snapshot that cannot be brought keeps no other from it, and neither does a copy that goes away; that the place
/// fails ends it.
pub fn bring(
    cx: &RunCx<'_>,
    from: &[Arc<Repository>],
    to: &ArchiveCopy<'_>,
    wanted: &[(Id, Snapshot)],
) -> Result<Brought, archive::Error> {
    let is_whole = |id: &Id| to.held.iter().any(|held| held.id == *id && held.is_whole());
    let mut missing: Vec<(&(Id, Snapshot), String)> =
        wanted.iter().filter(|(id, _)| !is_whole(id)).map(|wanted| (wanted, "no copy has it".to_owned())).collect();
    missing.sort_by_key(|((id, snapshot), _)| std::cmp::Reverse((snapshot.time, *id)));
    let mut brought = Brought::default();
    for repository in from {
        if missing.is_empty() {
            break;
        }
        // Nobody may take away meanwhile what the archives are made of.
        let not_asked = under_lock(cx, repository, |cx| out_of(cx, repository, to, &mut missing, &mut brought))?;
        // It may have what the others do not.
        not_asked.iter().for_each(|reason| missing.iter_mut().for_each(|(_, why)| why.clone_from(reason)));
    }
    brought.incomplete = missing.into_iter().map(|((id, _), why)| (*id, why)).collect();
    Ok(brought)
}

/// Does `work` under a shared lock, so that nothing is pruned meanwhile; without one where nothing may be written, as
/// `sync` does. Gives the reason where the repository could not be asked.
fn under_lock(
    cx: &RunCx<'_>,
    repository: &Arc<Repository>,
    mut work: impl FnMut(&RunCx<'_>) -> Result<(), archive::Error>,
) -> Result<Option<String>, archive::Error> {
    let mut done = None;
    let locked = with_lock(cx, repository, Access::Shared, |cx| {
        // Where it failed because the lock was lost, that is to be said.
        let failed = done.insert(work(cx)).is_err();
        if failed { cx.cancel.check() } else { Ok(()) }
    });
    match (done, locked) {
        (Some(done), Ok(())) => done.map(|()| None),
        (None, Err(Error::Storage(StorageError::Denied { .. } | StorageError::Full { .. }))) => work(cx).map(|()| None),
        (_, Err(Error::Cancelled)) => Err(Error::Cancelled.into()),
        // It is away, or being pruned: the next one is asked.
        (None, Err(error)) => {
            let reason = format!("{}: {error}", repository.storage().location());
            cx.events.emit(Event::Note(reason.clone()));
            Ok(Some(reason))
        }
        (_, Err(error)) => Err(error.into()),
        (None, Ok(())) => Ok(None),
    }
}

/// Brings what one repository has of the `missing` snapshots, and says of the others why not.
fn out_of(
    cx: &RunCx<'_>,
    repository: &Repository,
    to: &ArchiveCopy<'_>,
    missing: &mut Vec<(&(Id, Snapshot), String)>,
    brought: &mut Brought,
) -> Result<(), archive::Error> {
    let is_away = |error: &Error| !error.is_damage() && !matches!(error, Error::NotFound(_));
    let index = match Index::load_readable(cx, repository) {
        Ok((index, _)) => index,
        Err(Error::Cancelled) => return Err(Error::Cancelled.into()),
        Err(error) => {
            missing.iter_mut().for_each(|(_, why)| *why = error.to_string());
            return Ok(());
        }
    };
    let mut left = Vec::new();
    let mut away = None;
    for (snapshot, why) in std::mem::take(missing) {
        if let Some(away) = &away {
            left.push((snapshot, format!("{away}")));
            continue;
        }
        match one(cx, repository, &index, to, snapshot, brought) {
            Ok(true) => brought.snapshots.push(snapshot.0),
            Ok(false) => {}
            Err(archive::Error::Engine(Error::Cancelled)) => return Err(Error::Cancelled.into()),
            Err(archive::Error::Engine(Error::NotFound(_))) => left.push((snapshot, why)),
            Err(archive::Error::Engine(error)) => {
                left.push((snapshot, error.to_string()));
                away = Some(error).filter(is_away);
            }
            Err(error) => return Err(error),
        }
    }
    *missing = left;
    Ok(())
}

/// Writes what the copy lacks of one snapshot. `false`: another program made it, and it has no sources to write.
fn one(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    to: &ArchiveCopy<'_>,
    (id, snapshot): &(Id, Snapshot),
    brought: &mut Brought,
) -> Result<bool, archive::Error> {
    let there = to.held.iter().find(|held| held.id == *id).map(|held| &held.archives);
    let Some(manifest) = Manifest::load(repository, index, &snapshot.tree)? else {
        cx.events.emit(Event::Note(format!("snapshot {} was made by another program: no archive of it", id.short())));
        return Ok(false);
    };
    let of = manifest.sources.len();
    for (number, (source, record)) in manifest.sources.iter().enumerate() {
        if there.is_some_and(|there| there.contains_key(source)) {
            continue;
        }
        let time = whole_seconds(snapshot.time.into());
        let name = ArchiveName {
            stack: manifest.stack.clone(),
            source: source.clone(),
            time,
            number: number + 1,
            of,
            snapshot: *id,
            repository: Some(repository.config().id.short()),
        };
        // Whoever holds the repository's key can make up names that lead elsewhere.
        if name.to_string().parse().as_ref() != Ok(&name) {
            let what = format!("no archive can be called after source {source:?} of stack {:?}", name.stack);
            return Err(Error::MalformedTree { id: snapshot.tree, what }.into());
        }
        let path = path(to.prefix, &name, to.host);
        let step = format!("archive of {source}");
        cx.events.emit(Event::StepStarted { name: step, bytes_total: Some(record.tree.bytes) });
        let mut sink = ArchiveSink::create(to.place, &path, record.tree.bytes, cx.cancel)?;
        let job = archive::write::Job { repository, index, tree: &snapshot.tree, preface: MANIFEST_NAME, source };
        let written = archive::write::write(cx, &job, to.recipients, &mut sink)?;
        // What an interrupted run left there, or damage, of which much may still be readable, stays until this takes its
        // place. An old seal must not stand beside it. Where nothing may be deleted, the end of writing says so.
        let _ = to.place.delete(&seal::path(&path));
        sink.finish()?;
        put(cx, to.place, &seal::path(&path), seal::text(&name, &written).as_bytes())?;
        brought.bytes += written.bytes;
        brought.archives += 1;
    }
    Ok(true)
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    // Rounding down cannot leave the range.
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
