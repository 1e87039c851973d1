//! Decides what is moved: which blobs the target lacks, and in which packs they come. Changes nothing.

use std::cell::RefCell;
use std::collections::HashSet;

use super::Incomplete;
use super::view::{Givers, Target, View};
use crate::format::pack::{BlobKind, PackedBlob};
use crate::walk;
use crate::{Error, Id, Index, RunCx};

/// A blob of a kind.
pub(crate) type Blob = (BlobKind, Id);

/// What has to be done so that some trees are whole in the target.
#[derive(Default)]
pub(crate) struct Work {
    /// Packs that come as they are, those that lie in the target already first.
    pub packs: Vec<Chosen>,
    /// Blobs that have to come one by one and be packed anew.
    pub blobs: Vec<Blob>,
    /// What no copy has whole.
    pub lost: HashSet<Blob>,
    /// Blobs that are needed, for each giver that is to give them.
    marks: Vec<Marks>,
}

/// A pack that is to be in the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    pub id: Id,
    pub bytes: u64,
    /// The giver whose index names it, and its number there.
    pub giver: usize,
    pub number: usize,
    /// It lies in the target already, and no index names it.
    pub is_there: bool,
}

/// How the blobs of a pack of a giver get into the target.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Route {
    /// With the whole pack.
    Move,
    /// The pack is there already and only has to be named by an index.
    Name,
    /// One by one: the pack is not whole, or something else lies in the target under its name.
    OneByOne,
}

fn route(target: &Target<'_>, giver: &View, pack: usize) -> Route {
    let id = giver.index.pack_ids()[pack];
    match target.view.listing.get(&id) {
        None if giver.is_whole(pack) => Route::Move,
        Some(bytes) if *bytes == giver.bytes[pack] && target.can_name(&id) => Route::Name,
        _ => Route::OneByOne,
    }
}

/// One flag byte for each position in a giver's index.
#[derive(Default)]
struct Marks {
    data: Vec<u8>,
    trees: Vec<u8>,
}

const NEEDED: u8 = 1;
const COVERED: u8 = 2;

impl Marks {
    fn of(index: &Index) -> Self {
        Self { data: vec![0; index.len(BlobKind::Data)], trees: vec![0; index.len(BlobKind::Tree)] }
    }

    fn kind(&self, kind: BlobKind) -> &[u8] {
        if kind == BlobKind::Data { &self.data } else { &self.trees }
    }

    fn set(&mut self, kind: BlobKind, range: std::ops::Range<usize>, flag: u8) {
        let marks = if kind == BlobKind::Data { &mut self.data } else { &mut self.trees };
        marks[range].iter_mut().for_each(|mark| *mark |= flag);
    }
}

impl Work {
    /// Finds what `roots` need and the target lacks. Asks as few givers as can give all of it; the first must have been
    /// asked already.
    pub fn plan(cx: &RunCx<'_>, givers: &Givers<'_>, target: &Target<'_>, roots: &[Id]) -> Result<Self, Error> {
        loop {
            let mut needs = Needs::new(givers, target);
            match needs.sweep(cx, roots) {
                Ok(()) => {}
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                // Where a giver stopped answering, another one may go on.
                Err(error) => {
                    if givers.look_further(cx)? {
                        continue;
                    }
                    return Err(error);
                }
            }
            // What the givers asked so far cannot give easily, another one may.
            let hard = needs.blobs.iter().chain(&needs.lost);
            hard.for_each(|(kind, id)| givers.note_packs_of(cx, *kind, id));
            if needs.blobs.is_empty() && needs.lost.is_empty() || !givers.look_further(cx)? {
                return Ok(needs.choose());
            }
        }
    }

    /// The needed blobs of a chosen pack.
    pub fn needed_of(&self, givers: &Givers<'_>, chosen: &Chosen) -> Vec<PackedBlob> {
        let (Some(view), Some(marks)) = (givers.all[chosen.giver].view(), self.marks.get(chosen.giver)) else {
            return Vec::new();
        };
        let positions = view.by_pack().positions(&view.index, chosen.number);
        let needed = positions.filter(|(kind, at)| marks.kind(*kind).get(*at).is_some_and(|mark| mark & NEEDED != 0));
        needed.map(|(kind, at)| view.index.location(kind, at).blob).collect()
    }

    pub fn bytes_to_move(&self) -> u64 {
        self.packs.iter().filter(|pack| !pack.is_there).map(|pack| pack.bytes).sum()
    }
}

struct Needs<'a> {
    givers: &'a Givers<'a>,
    target: &'a Target<'a>,
    /// The givers that give something, by number. Fixed for one planning: one may stop answering in between.
    views: Vec<(usize, &'a View)>,
    routes: Vec<Vec<Route>>,
    marks: Vec<Marks>,
    blobs: HashSet<Blob>,
    lost: HashSet<Blob>,
}

impl<'a> Needs<'a> {
    fn new(givers: &'a Givers<'a>, target: &'a Target<'a>) -> Self {
        let count = givers.all.len();
        let mut routes: Vec<Vec<Route>> = (0..count).map(|_| Vec::new()).collect();
        let mut marks: Vec<Marks> = (0..count).map(|_| Marks::default()).collect();
        let views: Vec<_> = givers.views().collect();
        for (number, view) in &views {
            routes[*number] = (0..view.bytes.len()).map(|pack| route(target, view, pack)).collect();
            marks[*number] = Marks::of(&view.index);
        }
        Self { givers, target, views, routes, marks, blobs: HashSet::new(), lost: HashSet::new() }
    }

    fn sweep(&mut self, cx: &RunCx<'_>, roots: &[Id]) -> Result<(), Error> {
        let (givers, target) = (self.givers, self.target);
        let lost_trees = RefCell::new(Vec::new());
        let this = RefCell::new(self);
        walk::sweep_with(
            cx,
            |id| givers.blob(cx, target, BlobKind::Tree, id),
            roots,
            |id| this.borrow_mut().note((BlobKind::Data, id)),
            |id| this.borrow_mut().note((BlobKind::Tree, id)),
            |id, _| {
                lost_trees.borrow_mut().push((BlobKind::Tree, id));
                Ok(())
            },
        )?;
        let this = this.into_inner();
        this.lost.extend(lost_trees.into_inner());
        Ok(())
    }

    fn note(&mut self, (kind, id): Blob) {
        if self.target.holds(kind, &id) {
            return;
        }
        for (number, view) in &self.views {
            let range = view.index.range(kind, &id);
            let routes = &self.routes[*number];
            if range.clone().any(|at| routes[view.index.pack_number(kind, at)] != Route::OneByOne) {
                self.marks[*number].set(kind, range, NEEDED);
                return;
            }
        }
        let mut views = self.views.iter().map(|(_, view)| *view).chain([&self.target.view]);
        if views.any(|view| view.may_give(kind, &id)) {
            self.blobs.insert((kind, id));
        } else {
            self.lost.insert((kind, id));
        }
    }

    /// Few packs: first those that are there already, then those that bring most. A pack is chosen where it brings
    /// something that none before it did.
    fn choose(mut self) -> Work {
        let mut packs = Vec::new();
        for (giver, view) in self.views {
            let (routes, marks) = (&self.routes[giver], &mut self.marks[giver]);
            let brings = |marks: &Marks, number: usize| -> u64 {
                let positions = view.by_pack().positions(&view.index, number);
                let new = positions.filter(|(kind, at)| marks.kind(*kind)[*at] == NEEDED);
                new.map(|(kind, at)| u64::from(view.index.location(kind, at).blob.length)).sum()
            };
            let numbers = (0..routes.len()).filter(|number| routes[*number] != Route::OneByOne);
            let mut candidates: Vec<_> = numbers.map(|number| (number, brings(marks, number))).collect();
            candidates.retain(|(_, bytes)| *bytes > 0);
            candidates.sort_by_key(|(number, bytes)| {
                (routes[*number] == Route::Move, std::cmp::Reverse(*bytes), view.index.pack_ids()[*number])
            });
            for (number, _) in candidates {
                if brings(marks, number) == 0 {
                    continue;
                }
                for (kind, at) in view.by_pack().positions(&view.index, number) {
                    if marks.kind(kind)[at] == NEEDED {
                        let id = view.index.location(kind, at).blob.id;
                        marks.set(kind, view.index.range(kind, &id), COVERED);
                    }
                }
                let (id, bytes) = (view.index.pack_ids()[number], view.bytes[number]);
                packs.push(Chosen { id, bytes, giver, number, is_there: routes[number] == Route::Name });
            }
        }
        // Two givers may each have chosen the pack for other blobs of it.
        let mut seen = HashSet::new();
        packs.retain(|pack| seen.insert(pack.id));
        packs.sort_by_key(|pack| !pack.is_there);
        let mut blobs: Vec<Blob> = self.blobs.into_iter().collect();
        blobs.sort_unstable();
        Work { packs, blobs, lost: self.lost, marks: self.marks }
    }
}

/// Those of the snapshots, given as id and root, that need something lost. One sweep for each, so only asked where
/// something is.
pub(crate) fn incomplete(
    cx: &RunCx<'_>,
    givers: &Givers<'_>,
    target: &Target<'_>,
    lost: &HashSet<Blob>,
    snapshots: impl IntoIterator<Item = (Id, Id)>,
) -> Result<Vec<Incomplete>, Error> {
    let mut incomplete = Vec::new();
    if lost.is_empty() {
        return Ok(incomplete);
    }
    for (snapshot, root) in snapshots {
        let found = RefCell::new(None);
        let look = |kind, id| {
            if lost.contains(&(kind, id)) {
                found.borrow_mut().get_or_insert((kind, id));
            }
        };
        let read = |id: &Id| givers.blob(cx, target, BlobKind::Tree, id);
        let (data, tree) = (|id| look(BlobKind::Data, id), |id| look(BlobKind::Tree, id));
        walk::sweep_with(cx, read, &[root], data, tree, |id, _| {
            found.borrow_mut().get_or_insert((BlobKind::Tree, id));
            Ok(())
        })?;
        if let Some((kind, id)) = found.into_inner() {
            let what = format!("{} blob {id}, which it needs, is whole in none of the copies asked", kind.name());
            incomplete.push(Incomplete { snapshot, what });
        }
    }
    Ok(incomplete)
}
