//! What is known of each copy: its index, its listing of packs, and which packs are really there.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{GiverDamage, Left};
use crate::format::pack::{BlobKind, PackedBlob};
use crate::index::ByPack;
use crate::{Error, Event, File, FileKind, Id, Index, Repository, RunCx, StorageError, prune};

/// The index of a copy, and how it fits the packs that are there.
pub(crate) struct View {
    pub index: Index,
    /// Packs that are there, with their sizes.
    pub listing: HashMap<Id, u64>,
    /// Packs that the index names.
    pub indexed: HashSet<Id>,
    /// The size that each pack's blobs make, by its number.
    pub bytes: Vec<u64>,
    by_pack: OnceLock<ByPack>,
}

impl View {
    /// Reads as much of the index as can be read: what a damaged index file names counts as not there. Gives the damaged
    /// files, too.
    pub fn load(cx: &RunCx<'_>, repository: &Repository) -> Result<(Self, Vec<(Id, Error)>), Error> {
        let (index, damaged) = Index::load_readable(cx, repository)?;
        let listed = repository.storage().list(FileKind::Pack)?;
        let listing = listed.into_iter().map(|listed| (listed.id, listed.bytes)).collect();
        let (indexed, bytes) = (index.pack_ids().iter().copied().collect(), index.pack_bytes());
        Ok((Self { index, listing, indexed, bytes, by_pack: OnceLock::new() }, damaged))
    }

    /// Whether the pack of this number is there and has the size its blobs make.
    pub fn is_whole(&self, pack: usize) -> bool {
        self.listing.get(&self.index.pack_ids()[pack]) == Some(&self.bytes[pack])
    }

    /// Whether the blob at a position lies within a pack that is there, however long that is.
    fn is_within(&self, kind: BlobKind, at: usize) -> bool {
        let location = self.index.location(kind, at);
        let end = u64::from(location.blob.offset) + u64::from(location.blob.length);
        self.listing.get(&location.pack).is_some_and(|bytes| end <= *bytes)
    }

    /// Whether a blob might be read from here one by one.
    pub fn may_give(&self, kind: BlobKind, id: &Id) -> bool {
        self.index.range(kind, id).any(|at| self.is_within(kind, at))
    }

    pub fn by_pack(&self) -> &ByPack {
        self.by_pack.get_or_init(|| ByPack::of(&self.index))
    }

    /// The blobs of the pack of this number, in the order they lie.
    pub fn blobs(&self, pack: usize) -> Vec<PackedBlob> {
        self.by_pack().blobs(&self.index, pack)
    }
}

/// The copy that is brought into step.
pub(crate) struct Target<'a> {
    pub repository: &'a Arc<Repository>,
    pub view: View,
    /// Packs that are known to be damaged: what they hold is not there, and their names cannot be used again.
    pub damaged: HashSet<Id>,
    /// Packs that wait to be deleted. What left the index because it was damaged may be among them.
    pub condemned: HashSet<Id>,
}

impl<'a> Target<'a> {
    /// A target of which this is known.
    pub fn new(repository: &'a Arc<Repository>, view: View, damaged: HashSet<Id>) -> Result<Self, Error> {
        let mut target = Self { repository, view, damaged, condemned: HashSet::new() };
        // Most copies have nothing but what is indexed, and are not asked for the lists.
        if target.view.listing.keys().any(|id| !target.view.indexed.contains(id)) {
            let (lists, _) = prune::load_condemned(repository)?;
            target.condemned = lists.into_iter().flat_map(|(_, list)| list.packs).collect();
        }
        Ok(target)
    }

    /// Whether a pack that is there may be named by an index. What the index names in part, or no longer, because it was
    /// damaged is not what its name says (`heal::index`).
    pub fn can_name(&self, id: &Id) -> bool {
        !self.view.indexed.contains(id) && !self.damaged.contains(id)
    }

    /// Whether a blob lies in a pack that is there and whole, as far as is known.
    pub fn holds(&self, kind: BlobKind, id: &Id) -> bool {
        let index = &self.view.index;
        index.range(kind, id).any(|at| {
            let pack = index.pack_number(kind, at);
            self.view.is_whole(pack) && !self.damaged.contains(&index.pack_ids()[pack])
        })
    }
}

/// The copies that are read from, best first. All but the first are looked into only where the first cannot help.
pub(crate) struct Givers<'a> {
    pub all: Vec<Giver<'a>>,
    damage: Mutex<Vec<GiverDamage>>,
    left: Mutex<Vec<Left>>,
    /// What the first of those answered.
    failure: Mutex<Option<Error>>,
}

/// One of them.
pub(crate) struct Giver<'a> {
    pub repository: &'a Arc<Repository>,
    /// `None` inside where it cannot be read.
    view: OnceLock<Option<View>>,
    /// It did not answer. Asking it again for each of many files would take all retries each time.
    away: AtomicBool,
}

impl Giver<'_> {
    /// What is known of it, where it was looked into.
    pub fn view(&self) -> Option<&View> {
        self.view.get()?.as_ref()
    }

    pub fn is_asked(&self) -> bool {
        self.view.get().is_some()
    }
}

impl<'a> Givers<'a> {
    pub fn new(repositories: &'a [Arc<Repository>]) -> Self {
        let all = repositories
            .iter()
            .map(|repository| Giver { repository, view: OnceLock::new(), away: AtomicBool::new(false) })
            .collect();
        Self { all, damage: Mutex::default(), left: Mutex::default(), failure: Mutex::default() }
    }

    /// Looks into one more giver. False where all have been asked already.
    pub fn look_further(&self, cx: &RunCx<'_>) -> Result<bool, Error> {
        for giver in self.all.iter().filter(|giver| !giver.is_asked()) {
            match View::load(cx, giver.repository) {
                Ok((view, damaged)) => {
                    for (id, error) in damaged {
                        self.note_damage(cx, giver.repository, File::new(FileKind::Index, id), &error);
                    }
                    let _ = giver.view.set(Some(view));
                    return Ok(true);
                }
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => {
                    let _ = giver.view.set(None);
                    self.leave(giver.repository, error);
                }
            }
        }
        Ok(false)
    }

    /// Looks into the first giver that can be read. Fails where none can.
    pub fn look_first(&self, cx: &RunCx<'_>) -> Result<(), Error> {
        if self.look_further(cx)? || self.all.is_empty() {
            return Ok(());
        }
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        failure.map_or(Ok(()), Err)
    }

    /// Givers that were looked into and answer, by number.
    pub fn views(&self) -> impl Iterator<Item = (usize, &View)> {
        let here = self.all.iter().enumerate().filter(|(_, giver)| !giver.away.load(Ordering::SeqCst));
        here.filter_map(|(number, giver)| Some((number, giver.view()?)))
    }

    /// One blob from any of the givers looked into, else from `target`. Damage only where every giver could be asked.
    pub fn blob(&self, cx: &RunCx<'_>, target: &Target<'_>, kind: BlobKind, id: &Id) -> Result<Vec<u8>, Error> {
        let here = self.all.iter().filter(|giver| !giver.away.load(Ordering::SeqCst));
        let readers = here.filter_map(|giver| Some((&**giver.repository, &giver.view()?.index)));
        let last: (&Repository, &Index) = (target.repository, &target.view.index);
        let found = blob_from(readers.chain([last]), kind, id, |repository, error| match error {
            Error::BlobDamaged { pack, .. } if !std::ptr::eq(repository, last.0) => {
                self.note_damage(cx, repository, File::pack(*pack), error);
            }
            Error::Unreadable { file, .. } if !std::ptr::eq(repository, last.0) => {
                self.note_damage(cx, repository, *file, error);
            }
            error if !error.is_damage() => self.note_away(repository, error),
            _ => {}
        });
        match found {
            Err(error) if error.is_damage() => self.check_all_here().and(Err(error)),
            found => found,
        }
    }

    /// The givers that answer, in the order given.
    pub fn here(&self, first: Option<usize>) -> impl Iterator<Item = &Repository> {
        let first = first.and_then(|first| self.all.get(first));
        let others = self.all.iter().filter(move |giver| first.is_none_or(|first| !std::ptr::eq(*giver, first)));
        let order = first.into_iter().chain(others).filter(|giver| !giver.away.load(Ordering::SeqCst));
        order.map(|giver| &**giver.repository)
    }

    /// Notes that a giver did not answer, so that it is not asked again in this run.
    pub fn note_away(&self, repository: &Repository, error: &Error) {
        for giver in self.all.iter().filter(|giver| std::ptr::eq(&**giver.repository, repository)) {
            if !giver.away.swap(true, Ordering::SeqCst) {
                let left = Left { location: repository.storage().location(), what: error.to_string() };
                self.left.lock().unwrap_or_else(PoisonError::into_inner).push(left);
            }
        }
    }

    /// Fails where a giver did not answer: it may have what the others lack.
    pub fn check_all_here(&self) -> Result<(), Error> {
        match self.all.iter().find(|giver| giver.away.load(Ordering::SeqCst)) {
            None => Ok(()),
            Some(giver) => Err(Error::Storage(StorageError::Transient {
                location: giver.repository.storage().location(),
                what: "it stopped answering during the run".to_owned(),
            })),
        }
    }

    /// Notes the packs that a blob should lie in and that are not there or not whole.
    pub fn note_packs_of(&self, cx: &RunCx<'_>, kind: BlobKind, id: &Id) {
        for (number, view) in self.views() {
            for at in view.index.range(kind, id) {
                let pack = view.index.pack_number(kind, at);
                let file = File::pack(view.index.pack_ids()[pack]);
                if !view.is_whole(pack) {
                    let what = match view.listing.get(&file.id) {
                        None => "it is missing".to_owned(),
                        Some(bytes) => format!("it has {bytes} bytes, its blobs make {}", view.bytes[pack]),
                    };
                    self.note_damage(cx, self.all[number].repository, file, &Error::Damaged { file, what });
                }
            }
        }
    }

    /// Notes damage of a file, the first time it is met.
    pub fn note_damage(&self, cx: &RunCx<'_>, repository: &Repository, file: File, error: &Error) {
        let what = match error {
            Error::Damaged { what, .. } => what.clone(),
            Error::Unreadable { what, .. } => format!("it cannot be read: {what}"),
            Error::Storage(StorageError::NotFound { .. }) => "it is missing".to_owned(),
            error => error.to_string(),
        };
        let damage = GiverDamage { location: repository.storage().location(), file, what };
        let mut noted = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.iter().all(|noted| (&noted.location, noted.file) != (&damage.location, file)) {
            cx.events.emit(Event::Note(format!("{}: {file} is damaged: {}", damage.location, damage.what)));
            noted.push(damage);
        }
    }

    fn leave(&self, repository: &Repository, error: Error) {
        let left = Left { location: repository.storage().location(), what: error.to_string() };
        self.left.lock().unwrap_or_else(PoisonError::into_inner).push(left);
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// The damage found, and the givers that could not be read.
    pub fn into_findings(self) -> (Vec<GiverDamage>, Vec<Left>) {
        let mut damage = self.damage.into_inner().unwrap_or_else(PoisonError::into_inner);
        damage.sort();
        (damage, self.left.into_inner().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads a blob from the first that gives it whole. Damage in one is made up for by the next; where all fail, a failure
/// other than damage is returned, since the blob may be there after all.
pub(crate) fn blob_from<'r>(
    readers: impl IntoIterator<Item = (&'r Repository, &'r Index)>,
    kind: BlobKind,
    id: &Id,
    failed: impl Fn(&Repository, &Error),
) -> Result<Vec<u8>, Error> {
    let mut failure = Error::BlobMissing { id: *id, kind: kind.name() };
    for (repository, index) in readers {
        let read = repository.blob(index, kind, id);
        if let Err(error) = &read
            && !matches!(error, Error::Cancelled)
        {
            failed(repository, error);
        }
        match read {
            Ok(plain) => return Ok(plain),
            Err(Error::Cancelled) => return Err(Error::Cancelled),
            // What is merely absent says less than what is damaged, and that less than what could not be asked.
            Err(error) if !error.is_damage() => failure = error,
            Err(error) if failure.is_damage() && !matches!(error, Error::BlobMissing { .. }) => failure = error,
            Err(_) => {}
        }
    }
    Err(failure)
}
