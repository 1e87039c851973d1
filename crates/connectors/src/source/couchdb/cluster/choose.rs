//! Which copy of a shard is taken, where several sources have one. The facts decide as long as all copies that may hold most
//! are whole; otherwise they have to be read.

use std::cmp::Reverse;
use std::path::PathBuf;

use couchfile::ShardName;
use repository::Facts;
use serde_json::Value;

use super::super::data_folder::COMPACTED;
use super::super::facts::{DAMAGED, FILES, UNSEEN};
use super::{Held, record};

/// A copy of a shard, as the facts of its source have it.
#[derive(Clone, Debug)]
pub(super) struct Copy<'f> {
    /// The source, by number.
    pub source: usize,
    /// Its file below the data folder.
    pub name: String,
    file: Option<&'f Value>,
    damaged: Option<&'f Value>,
}

/// What becomes of a shard.
#[derive(Debug)]
pub(super) enum Choice<'f> {
    /// No source has it.
    None,
    /// This copy is whole, and none is known to hold more.
    Copy {
        copy: Copy<'f>,
        /// Another one, whole as well, holds something else.
        differs: bool,
    },
    /// These have to be read: a damaged one may hold more than any whole one, or there is no whole one. The best by the
    /// facts comes first.
    ToBeRead(Vec<Copy<'f>>),
}

impl<'f> Copy<'f> {
    /// All copies of a shard.
    pub fn all(sources: &[(&str, &'f Facts)], held: &[Held], shard: &ShardName) -> Vec<Self> {
        let file = shard.file();
        let names = [file.clone(), format!("{file}{COMPACTED}")];
        let of_source = |(source, (_, facts)): (usize, &(&str, &'f Facts))| {
            let name = names.iter().find(|name| held[source].files.contains(*name))?;
            let (file, damaged) = (record(facts, FILES, name), record(facts, DAMAGED, name));
            Some(Self { source, name: name.clone(), file, damaged })
        };
        sources.iter().enumerate().filter_map(of_source).collect()
    }

    fn number(&self, name: &str) -> u64 {
        self.file.and_then(|file| file.get(name)?.as_u64()).unwrap_or(0)
    }

    /// Documents, deleted ones included. Copies that agree have as many.
    pub fn documents(&self) -> u64 {
        self.number("documents").saturating_add(self.number("deleted"))
    }

    pub fn updates(&self) -> u64 {
        self.number("update_seq")
    }

    /// Updates that it has, or had in an earlier snapshot.
    fn updates_ever(&self) -> u64 {
        self.updates().max(self.damaged.map_or(0, updates_lost))
    }

    fn worth(&self) -> impl Ord + use<> {
        (self.documents(), self.updates(), Reverse(self.source))
    }
}

/// Chooses. Of whole copies the one with the most documents is taken, then with the most updates: each copy counts its own
/// updates, so one that was made anew from another has all documents with fewer updates.
pub(super) fn choose(copies: Vec<Copy<'_>>) -> Choice<'_> {
    let (mut whole, mut damaged): (Vec<_>, Vec<_>) = copies.into_iter().partition(|copy| copy.damaged.is_none());
    whole.sort_by_key(|copy| Reverse(copy.worth()));
    damaged.sort_by_key(|copy| Reverse((copy.documents(), copy.updates_ever(), Reverse(copy.source))));
    let Some(best) = whole.first() else {
        return if damaged.is_empty() { Choice::None } else { Choice::ToBeRead(damaged) };
    };
    damaged.retain(|copy| copy.documents() > best.documents() || copy.updates_ever() > best.updates());
    let differs = whole.iter().any(|copy| copy.documents() != best.documents());
    let best = whole.swap_remove(0);
    match damaged.is_empty() {
        true => Choice::Copy { copy: best, differs },
        false => Choice::ToBeRead([vec![best], damaged].concat()),
    }
}

/// The sources that are known to have had more updates of a shard than `taken`, and have no file of it in the snapshot, with
/// that number.
pub(super) fn had_more(
    sources: &[(&str, &Facts)],
    held: &[Held],
    shard: &ShardName,
    taken: &Copy<'_>,
) -> Vec<(String, u64)> {
    let file = shard.file();
    let names = [file.clone(), format!("{file}{COMPACTED}")];
    let had = |(source, (name, facts)): (usize, &(&str, &Facts))| {
        if names.iter().any(|name| held[source].files.contains(name)) {
            return None;
        }
        let records = [UNSEEN, DAMAGED].map(|fact| record(facts, fact, &file));
        let had =
            records.into_iter().flatten().map(|record| updates_lost(record).max(updates_of(record, "last"))).max();
        had.filter(|had| *had > taken.updates()).map(|had| ((*name).to_owned(), had))
    };
    sources.iter().enumerate().filter_map(had).collect()
}

fn updates_lost(record: &Value) -> u64 {
    updates_of(record, "lost")
}

fn updates_of(record: &Value, name: &str) -> u64 {
    record.get(name).and_then(|known| known.get("update_seq")?.as_u64()).unwrap_or(0)
}

/// The files of copies, each with its source.
pub(super) fn files(copies: &[Copy<'_>]) -> Vec<(usize, PathBuf)> {
    copies.iter().map(|copy| (copy.source, PathBuf::from(&copy.name))).collect()
}
