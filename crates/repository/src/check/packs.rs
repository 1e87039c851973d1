//! Checks packs: that they are there, have the size their blobs make, and, where asked, that every byte is right.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use super::{Finding, Lost, ReadData, Report, indexed_packs};
use crate::format::index_file::IndexedPack;
use crate::format::pack::{self, BlobKind, BlobOpener};
use crate::index::Location;
use crate::{Error, Event, File, FileKind, Id, Index, Repository, RunCx, StorageError};

/// The packs there are, with their sizes.
pub(super) type Listing = HashMap<Id, u64>;

pub(super) fn list(repository: &Repository) -> Result<Listing, Error> {
    Ok(repository.storage().list(FileKind::Pack)?.into_iter().map(|listed| (listed.id, listed.bytes)).collect())
}

/// Holds the listing of packs against the index. Gives the blobs that no whole pack holds.
pub(super) fn check_listing(listing: &Listing, index: &Index, report: &mut Report) -> Lost {
    report.packs = listing.len();
    let mut unusable: HashSet<Id> = HashSet::new();
    let mut indexed = 0;
    for pack in indexed_packs(index) {
        indexed += usize::from(listing.contains_key(&pack.id));
        if wrong_size(listing, &pack).is_some() {
            unusable.insert(pack.id);
        }
    }
    report.unused_packs = listing.len() - indexed;
    report_unusable(listing, index, &unusable, report);
    lost_with(listing, index, &unusable)
}

/// Says what is wrong with each of these packs.
pub(super) fn report_unusable(listing: &Listing, index: &Index, unusable: &HashSet<Id>, report: &mut Report) {
    for pack in indexed_packs(index).filter(|pack| unusable.contains(&pack.id)) {
        let finding = wrong_size(listing, &pack).unwrap_or_else(|| "it is too short".to_owned());
        report.find(Some(File::pack(pack.id)), finding);
    }
}

fn wrong_size(listing: &Listing, pack: &IndexedPack) -> Option<String> {
    let expected = pack.pack_bytes();
    match listing.get(&pack.id) {
        None => Some("it is missing".to_owned()),
        Some(bytes) if *bytes != expected => Some(format!("it has {bytes} bytes, its blobs make {expected}")),
        Some(_) => None,
    }
}

/// Whether the pack is there and long enough for the blob.
pub(super) fn holds(listing: &Listing, location: &Location) -> bool {
    let end = u64::from(location.blob.offset) + u64::from(location.blob.length);
    listing.get(&location.pack).is_some_and(|bytes| end <= *bytes)
}

/// The blobs of these packs that lie in no other, and not whole in them either, as far as sizes tell.
fn lost_with(listing: &Listing, index: &Index, unusable: &HashSet<Id>) -> Lost {
    let mut lost = Lost::new();
    if unusable.is_empty() {
        return lost;
    }
    for (_, blobs) in index.packs().into_iter().filter(|(id, _)| unusable.contains(id)) {
        for blob in blobs {
            if !index.locations(blob.kind, &blob.id).any(|location| holds(listing, &location)) {
                lost.insert((blob.kind, blob.id));
            }
        }
    }
    lost
}

/// What the reading of packs found so far.
#[derive(Default)]
struct Found {
    packs: usize,
    bytes: u64,
    findings: Vec<Finding>,
    damaged: HashSet<(BlobKind, Id, Id)>,
}

/// Reads packs (of `needed`, where given) whole, on all processors: name, header, and each blob's authentication code
/// and content.
pub(super) fn read(
    cx: &RunCx<'_>,
    repository: &Repository,
    index: &Index,
    read_data: ReadData,
    needed: Option<&HashSet<Id>>,
    report: &mut Report,
    lost: &mut Lost,
) -> Result<(), Error> {
    let mut chosen = choose(index, read_data)?;
    chosen.retain(|pack| needed.is_none_or(|needed| needed.contains(&pack.id)));
    let bytes_total = chosen.iter().map(IndexedPack::pack_bytes).sum();
    cx.events.emit(Event::StepStarted { name: "reading packs".to_owned(), bytes_total: Some(bytes_total) });
    let found = Mutex::new(Found::default());
    repository.on_all_processors(chosen, |opener, pack| read_pack(cx, repository, &pack, opener, &found))?;
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    report.packs_read = found.packs;
    report.bytes_read = found.bytes;
    report.findings.extend(found.findings);
    for (kind, id, _) in &found.damaged {
        let whole = |location: Location| !found.damaged.contains(&(*kind, *id, location.pack));
        if !index.locations(*kind, id).any(whole) {
            lost.insert((*kind, *id));
        }
    }
    Ok(())
}

fn choose(index: &Index, read_data: ReadData) -> Result<Vec<IndexedPack>, Error> {
    let share = match read_data {
        ReadData::None => return Ok(Vec::new()),
        ReadData::All => 1.0,
        ReadData::Percent(percent) => (percent / 100.0).clamp(0.0, 1.0),
    };
    let mut chosen = Vec::new();
    let mut left_out = None;
    for pack in indexed_packs(index) {
        let [low, high] = crate::format::crypto::random::<2>()?;
        let draw = f64::from(u16::from_le_bytes([low, high])) / f64::from(u16::MAX);
        if share >= 1.0 || draw < share {
            chosen.push(pack);
        } else {
            left_out = Some(pack);
        }
    }
    // A small share of few packs must not come to nothing, which would look like a check.
    if chosen.is_empty() {
        chosen.extend(left_out);
    }
    Ok(chosen)
}

fn read_pack(
    cx: &RunCx<'_>,
    repository: &Repository,
    pack: &IndexedPack,
    opener: &mut BlobOpener<'_>,
    found: &Mutex<Found>,
) -> Result<(), Error> {
    cx.cancel.check()?;
    let file = File::pack(pack.id);
    let (length, damages) = match repository.storage().get(file, None) {
        Ok(bytes) => (Some(bytes.len() as u64), damages_in(cx, repository, pack, opener, bytes)?),
        // The listing found that it is missing, or a place on the disk cannot be read: look on for the rest.
        Err(error @ (StorageError::NotFound { .. } | StorageError::Permanent { .. })) => {
            let blobs = pack.blobs.iter().map(|blob| (Some((blob.kind, blob.id)), None));
            let itself = match error {
                StorageError::NotFound { .. } => None,
                error => Some(error.to_string()),
            };
            (None, blobs.chain([(None, itself)]).collect())
        }
        Err(error) => return Err(error.into()),
    };
    cx.events.emit(Event::Bytes(length.unwrap_or(0)));
    let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
    found.packs += usize::from(length.is_some());
    found.bytes += length.unwrap_or(0);
    for (blob, what) in damages {
        found.findings.extend(what.map(|what| Finding { file: Some(file), what }));
        found.damaged.extend(blob.map(|(kind, id)| (kind, id, pack.id)));
    }
    Ok(())
}

/// A blob that cannot be read, where it is one, and what is to be said about it or the pack.
type Damage = (Option<(BlobKind, Id)>, Option<String>);

/// Everything that is wrong with the bytes of one pack.
fn damages_in(
    cx: &RunCx<'_>,
    repository: &Repository,
    pack: &IndexedPack,
    opener: &mut BlobOpener<'_>,
    mut bytes: Vec<u8>,
) -> Result<Vec<Damage>, Error> {
    let mut damages = Vec::new();
    let name = Id::of(&bytes);
    if name != pack.id {
        damages.push((None, Some(format!("its content has the SHA-256 {name}"))));
    }
    if let Err(what) = check_header(repository, pack, &bytes) {
        damages.push((None, Some(what)));
    }
    for blob in &pack.blobs {
        cx.cancel.check()?;
        let (start, end) = (blob.offset as usize, blob.offset as usize + blob.length as usize);
        let opened = match bytes.get_mut(start..end) {
            Some(stored) => opener.open(blob, stored).map(drop),
            None => Err("the pack ends before it".to_owned()),
        };
        if let Err(what) = opened {
            let what = format!("{} blob {}: {what}", blob.kind.name(), blob.id);
            damages.push((Some((blob.kind, blob.id)), Some(what)));
        }
    }
    Ok(damages)
}

/// The pack's own header must list what the index lists.
fn check_header(repository: &Repository, pack: &IndexedPack, bytes: &[u8]) -> Result<(), String> {
    let last = bytes.last_chunk::<4>().ok_or("it is too short for a pack")?;
    let range = pack::header_range(bytes.len() as u64, *last)?;
    let (start, end) = (range.start as usize, range.end as usize);
    let blobs = pack::decode_header(repository.key(), &mut bytes[start..end].to_vec(), range.start)?;
    if blobs == pack.blobs { Ok(()) } else { Err("its header and the index list different blobs".to_owned()) }
}
