//! One tree: every node is read, keys are held against the order and against the pointers above them, and what inner
//! nodes count against what is there.

use super::{Report, Subject, TreeName};
use crate::blocks::Blocks;
use crate::document::DocumentInfo;
use crate::header::Reduction;
use crate::revision::Sizes;
use crate::term::{Term, Terms};
use crate::tree::{Child, Key, Leaf, Step, TreeState, Walk};
use crate::{Error, ReadAt};

/// What is counted of entries, and in inner nodes of all that is below them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tally {
    /// Entries; of documents those that are not deleted.
    pub(super) alive: u64,
    deleted: u64,
    /// `None` where an entry does not say.
    sizes: Option<Sizes>,
}

impl Tally {
    const NONE: Self = Self { alive: 0, deleted: 0, sizes: Some(Sizes { active: 0, external: 0 }) };

    pub(super) fn one() -> Self {
        Self { alive: 1, ..Self::NONE }
    }

    pub(super) fn of_document(info: &DocumentInfo) -> Self {
        let deleted = u64::from(info.deleted);
        Self { alive: 1 - deleted, deleted, sizes: info.sizes }
    }

    /// A row, or several with the same key from the same document: `{dups, [Value, …]}`.
    pub(super) fn of_row(value: Term<'_>) -> Self {
        let same = value.tuple_of().filter(|[name, _]| name.is_atom("dups")).and_then(|[_, values]| values.list());
        Self { alive: same.map_or(1, |values| values.len() as u64), ..Self::NONE }
    }

    fn plus(self, other: Self) -> Self {
        let sizes = self.sizes.zip(other.sizes).map(|(one, other)| Sizes {
            active: one.active.saturating_add(other.active),
            external: one.external.saturating_add(other.external),
        });
        let (alive, deleted) = (self.alive.saturating_add(other.alive), self.deleted.saturating_add(other.deleted));
        Self { alive, deleted, sizes }
    }

    /// What a pointer's `reduction` says of all entries below it.
    fn of_reduction(tree: TreeName, reduction: &[u8], offset: u64) -> Result<Self, Error> {
        let terms = Terms::of_raw(reduction, offset)?;
        let root = terms.root();
        let counted = |alive| Self { alive, ..Self::NONE };
        let tally = match tree {
            TreeName::ById => Reduction::decode(root).map(|found| Self {
                alive: found.alive,
                deleted: found.deleted,
                sizes: found.sizes,
            }),
            TreeName::BySeq | TreeName::PurgesByUuid | TreeName::PurgesBySeq => root.unsigned().map(counted),
            TreeName::View(_) => root.tuple().and_then(|mut parts| parts.next()).and_then(Term::unsigned).map(counted),
            TreeName::Local | TreeName::ViewById => Some(Self::NONE),
        };
        tally.ok_or(Error::Tree { offset, what: "the pointer to it does not say what it holds" })
    }

    /// Whether an inner node's `reduction` says the same; what cannot be compared counts as the same.
    fn agrees(self, tree: TreeName, reduction: &[u8], offset: u64) -> Result<bool, Error> {
        let terms = Terms::of_raw(reduction, offset)?;
        let root = terms.root();
        Ok(match tree {
            TreeName::ById => Reduction::decode(root).is_some_and(|found| {
                let sizes = found.sizes.is_none() || self.sizes.is_none() || found.sizes == self.sizes;
                found.alive == self.alive && found.deleted == self.deleted && sizes
            }),
            TreeName::BySeq | TreeName::PurgesByUuid | TreeName::PurgesBySeq => root.unsigned() == Some(self.alive),
            TreeName::View(_) => {
                root.tuple().and_then(|mut parts| parts.next()).and_then(Term::unsigned) == Some(self.alive)
            }
            TreeName::Local | TreeName::ViewById => true,
        })
    }
}

/// Goes through a tree and gives each entry to `entry`, which says what it counts for. Of nodes that lie before the offset
/// `since`, the pointers to them are believed.
pub(super) fn check_tree<R: ReadAt + ?Sized>(
    blocks: Blocks<'_, R>,
    name: TreeName,
    state: &TreeState,
    since: u64,
    report: &mut Report,
    mut entry: impl FnMut(&mut Report, Term<'_>, Term<'_>, u64) -> Result<Tally, Error>,
) {
    let mut walk = Walk::new(blocks, state, None).since(since);
    let mut check = TreeCheck { name, last_key: None, open: Vec::new() };
    while let Some(step) = walk.next() {
        match step {
            Step::Enter => {
                report.nodes += 1;
                check.open.push(Some(Tally::NONE));
            }
            Step::Leaf(child, leaf) => {
                report.nodes += 1;
                let tally = check.leaf(report, &leaf, &mut entry);
                check.ends(report, &child, tally);
            }
            Step::Leave(child) => {
                let tally = check.open.pop().flatten();
                check.ends(report, &child, tally);
            }
            Step::Older(child) => check.older(report, child),
            Step::Lost(child, error) => {
                check.lost(report, child.last_key, error);
                check.count(None);
            }
        }
    }
}

struct TreeCheck {
    name: TreeName,
    last_key: Option<Key>,
    /// What was counted of each inner node that is open; `None` where something below it is lost.
    open: Vec<Option<Tally>>,
}

impl TreeCheck {
    fn leaf(
        &mut self,
        report: &mut Report,
        leaf: &Leaf,
        entry: &mut impl FnMut(&mut Report, Term<'_>, Term<'_>, u64) -> Result<Tally, Error>,
    ) -> Option<Tally> {
        let mut tally = Some(Tally::NONE);
        let mut empty = true;
        for found in leaf.entries() {
            empty = false;
            let mut key_of = None;
            let counted = found.and_then(|(key, value)| {
                key_of = Some(Key::of(key));
                entry(report, key, value, leaf.offset)
            });
            if let Some(key) = &key_of
                && let Some(last) = &self.last_key
                && key.compare(last).is_some_and(|order| order.is_le())
            {
                report.found(Subject::Tree(self.name), self.wrong(leaf.offset, "its keys are not in order"));
            }
            match counted {
                Ok(counted) => tally = tally.map(|tally| tally.plus(counted)),
                Err(error) => {
                    tally = None;
                    self.lost(report, key_of.clone(), error);
                }
            }
            self.last_key = key_of.or(self.last_key.take());
        }
        if empty {
            report.found(Subject::Tree(self.name), self.wrong(leaf.offset, "it is empty"));
        }
        tally
    }

    /// A node is done: its last key and its counts are held against the pointer to it.
    fn ends(&mut self, report: &mut Report, child: &Child, tally: Option<Tally>) {
        if let Some(expected) = &child.last_key
            && self.last_key.as_ref() != Some(expected)
        {
            let error = self.wrong(child.offset, "it does not end with the key that the pointer to it has");
            report.found(Subject::Tree(self.name), error);
        }
        if let Some(tally) = tally {
            match tally.agrees(self.name, &child.reduction, child.offset) {
                Ok(true) => {}
                Ok(false) => {
                    let error = self.wrong(child.offset, "it does not hold what the pointer to it counts");
                    report.found(Subject::Tree(self.name), error);
                }
                Err(error) => report.found(Subject::Tree(self.name), error),
            }
        }
        self.count(tally);
    }

    fn older(&mut self, report: &mut Report, child: Child) {
        let tally = Tally::of_reduction(self.name, &child.reduction, child.offset);
        self.last_key = child.last_key.or(self.last_key.take());
        let tally = tally.map_err(|error| report.found(Subject::Tree(self.name), error)).ok();
        self.count(tally);
    }

    fn count(&mut self, tally: Option<Tally>) {
        if let Some(above) = self.open.last_mut() {
            *above = above.zip(tally).map(|(above, tally)| above.plus(tally));
        }
    }

    fn lost(&mut self, report: &mut Report, up_to: Option<Key>, error: Error) {
        let after = self.last_key.as_ref().map(printed);
        let subject = Subject::Entries { tree: self.name, after, up_to: up_to.as_ref().map(printed) };
        report.found(subject, error);
        self.last_key = up_to.or(self.last_key.take());
    }

    fn wrong(&self, offset: u64, what: &'static str) -> Error {
        Error::Tree { offset, what }
    }
}

fn printed(key: &Key) -> String {
    match key {
        Key::Number(number) => number.to_string(),
        Key::Bytes(bytes) => format!("{:?}", String::from_utf8_lossy(bytes)),
        // An id stands behind the key in a view, but it is the row that is lost.
        Key::Other(_) => "a key".to_owned(),
    }
}
