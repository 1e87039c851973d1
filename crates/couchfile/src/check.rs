//! Checks: is everything there that the header promises, and is it what was written? Document bodies have checksums and
//! attachments an MD5; trees have neither, so they are held against what they repeat: counts and sizes in every inner
//! node, the order of keys, and the two trees that both hold every document.

mod finding;
mod sum;
mod tree;

use std::collections::BTreeSet;

pub use finding::{Finding, Subject, TreeName};

use crate::blocks::Blocks;
use crate::document::{DocumentInfo, LocalDocument, Purge};
use crate::header::{Header, Purges};
use crate::limits::FINDINGS_MAX;
use crate::revision::Leaf;
use crate::view::{ViewHeader, trees};
use crate::{Checksum, Database, Error, ReadAt};
use sum::{Sum, same};
use tree::{Tally, check_tree};

/// How deep a check goes. Each level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The header, and that the roots of its trees can lie where it says.
    Header,
    /// Every node of every tree, what they count and their order, and the objects beside the trees.
    Trees,
    /// The checksum of every document's every leaf.
    Documents,
    /// The MD5 of every attachment.
    Attachments,
}

/// What a check saw and what it found wrong.
#[derive(Debug)]
#[non_exhaustive]
pub struct Report {
    /// How deep it went.
    pub level: Level,
    /// Tree nodes that were read.
    pub nodes: u64,
    /// Documents in the tree by id that are not deleted.
    pub documents: u64,
    /// Deleted ones.
    pub deleted_documents: u64,
    /// Leaves, conflicts and deletions included.
    pub leaves: u64,
    /// Bodies whose MD5 was right.
    pub bodies_md5: u64,
    /// Bodies whose XXH3 was right: versions before 3.4 would take these for damaged.
    pub bodies_xxh3: u64,
    /// Bodies that have no checksum: those of very old files.
    pub bodies_without_checksum: u64,
    /// Attachments whose MD5 was right. One that several revisions share counts for each.
    pub attachments: u64,
    /// Attachments that have no MD5: those of very old files.
    pub attachments_without_md5: u64,
    /// Bytes of attachments as stored.
    pub attachment_bytes: u64,
    /// Local documents.
    pub local_documents: u64,
    /// Purges that are remembered.
    pub purges: u64,
    /// Rows of views, where a view was checked.
    pub rows: u64,
    /// What is wrong, the first [`FINDINGS_MAX`] of it.
    pub findings: Vec<Finding>,
    /// How much is wrong in all.
    pub findings_total: u64,
    /// How much of it is about trees rather than what hangs on them.
    tree_findings: u64,
}

impl Report {
    fn new(level: Level) -> Self {
        Self {
            level,
            nodes: 0,
            documents: 0,
            deleted_documents: 0,
            leaves: 0,
            bodies_md5: 0,
            bodies_xxh3: 0,
            bodies_without_checksum: 0,
            attachments: 0,
            attachments_without_md5: 0,
            attachment_bytes: 0,
            local_documents: 0,
            purges: 0,
            rows: 0,
            findings: Vec::new(),
            findings_total: 0,
            tree_findings: 0,
        }
    }

    /// Whether nothing is wrong.
    pub fn is_ok(&self) -> bool {
        self.findings_total == 0
    }

    /// Ids of documents that are lost or cannot be trusted, in whole or in part, as far as findings name them.
    pub fn documents_concerned(&self) -> BTreeSet<&str> {
        self.findings.iter().filter_map(|finding| finding.subject.document()).collect()
    }

    /// Adds what the report `bodies` counted of bodies and attachments, and found there.
    fn add_bodies(&mut self, bodies: Self) {
        self.bodies_md5 += bodies.bodies_md5;
        self.bodies_xxh3 += bodies.bodies_xxh3;
        self.bodies_without_checksum += bodies.bodies_without_checksum;
        self.attachments += bodies.attachments;
        self.attachments_without_md5 += bodies.attachments_without_md5;
        self.attachment_bytes = self.attachment_bytes.saturating_add(bodies.attachment_bytes);
        self.findings_total += bodies.findings_total;
        let room = FINDINGS_MAX.saturating_sub(self.findings.len());
        self.findings.extend(bodies.findings.into_iter().take(room));
    }

    fn found(&mut self, subject: Subject, error: Error) {
        self.findings_total += 1;
        self.tree_findings += u64::from(matches!(subject, Subject::Tree(_) | Subject::Entries { .. }));
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { subject, error });
        }
    }
}

impl<R: ReadAt> Database<R> {
    /// Checks the file as of its header. What is wrong is in the report, never an error, and the check goes on behind it.
    pub fn check(&self, level: Level) -> Report {
        self.check_since(level, Since { offset: 0, seq: 0 })
    }

    /// As [`Database::check`], but what an `earlier` header of the same file knew is taken as checked before: only nodes,
    /// bodies and attachments that were written after it are read, and the pointers to older ones are believed. What is
    /// counted in the report is what was read. Where something is wrong, the whole file is checked, so that all that is lost
    /// is named.
    pub fn check_appended(&self, level: Level, earlier: &Header) -> Report {
        let since = Since { offset: earlier.place.end, seq: earlier.update_seq };
        let report = self.check_since(level, since);
        if report.is_ok() { report } else { self.check(level) }
    }

    fn check_since(&self, level: Level, since: Since) -> Report {
        let mut report = Report::new(level);
        let mut check = Check { database: self, since, body_bytes: 0 };
        check.roots(&mut report);
        if level >= Level::Trees {
            check.documents(&mut report);
            check.local_documents(&mut report);
            check.purges(&mut report);
            check.objects(&mut report);
        }
        report
    }
}

/// From where on a file is checked; from the beginning where both are 0.
#[derive(Clone, Copy)]
struct Since {
    /// What lies before is not read.
    offset: u64,
    /// The last update that was checked before.
    seq: u64,
}

/// A check that is going on.
struct Check<'d, R> {
    database: &'d Database<R>,
    since: Since,
    /// Bytes of all bodies so far. Together they cannot be longer than the file, unless some lie in each other.
    body_bytes: u64,
}

impl<R: ReadAt> Check<'_, R> {
    fn roots(&self, report: &mut Report) {
        let header = self.database.header();
        let purges = match &header.purges {
            Purges::Trees { by_uuid, by_seq } => [Some(by_uuid), Some(by_seq)],
            Purges::Last { .. } => [None, None],
        };
        let trees = [
            (TreeName::ById, Some(&header.by_id)),
            (TreeName::BySeq, Some(&header.by_seq)),
            (TreeName::Local, Some(&header.local)),
            (TreeName::PurgesByUuid, purges[0]),
            (TreeName::PurgesBySeq, purges[1]),
        ];
        let end = header.place.offset;
        for (name, state) in trees {
            let root = state.and_then(|state| state.root.as_ref());
            if let Some(root) = root.filter(|root| root.offset >= end) {
                let error = Error::PastEnd { offset: root.offset, needed: root.offset, end };
                report.found(Subject::Tree(name), error);
            }
        }
    }

    /// Both trees of documents, then each against the other, and what hangs on them.
    fn documents(&mut self, report: &mut Report) {
        let database = self.database;
        let header = database.header();
        let mut by_id = Sum::new();
        let blocks = database.blocks();
        let since = self.since;
        // Whatever was updated later lies in later nodes of both trees.
        let is_compared = |info: &DocumentInfo| since.offset == 0 || info.seq > since.seq;
        check_tree(blocks, TreeName::ById, &header.by_id, since.offset, report, |report, key, value, offset| {
            let info = DocumentInfo::of_id_entry(key, value, offset)?;
            if is_compared(&info) {
                by_id.add(&info);
            }
            report.leaves += info.revisions.nodes().iter().filter(|node| node.leaf).count() as u64;
            *(if info.deleted { &mut report.deleted_documents } else { &mut report.documents }) += 1;
            self.document(report, &info);
            Ok(Tally::of_document(&info))
        });
        let mut by_seq = Sum::new();
        // Bodies lie in the file in about the order of their updates, so that each part of it is read about once.
        let (mut bodies, mut are_complete) = (Report::new(report.level), true);
        check_tree(blocks, TreeName::BySeq, &header.by_seq, since.offset, report, |_, key, value, offset| {
            let info = DocumentInfo::of_seq_entry(key, value, offset)?;
            are_complete &= info.complete;
            self.bodies(&mut bodies, &info);
            if is_compared(&info) {
                by_seq.add(&info);
            }
            if info.seq > header.update_seq {
                return Err(Error::Tree { offset, what: "it holds an update that the header does not know yet" });
            }
            Ok(Tally::one())
        });
        let agree = by_id.agrees(&by_seq) && report.tree_findings == 0;
        if !agree || !are_complete {
            // The list of updates leads to other bodies, or not to all of them.
            (bodies, self.body_bytes) = (Report::new(report.level), 0);
            database.documents().flatten().for_each(|info| self.bodies(&mut bodies, &info));
        }
        report.add_bodies(bodies);
        if !agree {
            match since.offset {
                0 => self.compare(report),
                offset => {
                    let what = "the trees by id and by update differ in what was written last";
                    report.found(Subject::Tree(TreeName::BySeq), Error::Tree { offset, what });
                }
            }
        }
    }

    /// What one document's entry says.
    fn document(&self, report: &mut Report, info: &DocumentInfo) {
        let end = self.database.header().place.offset;
        let about = || Subject::Document { id: info.id.clone() };
        let leaves = info.leaves();
        if info.deleted == leaves.iter().any(|leaf| !leaf.deleted()) {
            report.found(about(), Error::Malformed { offset: end, what: "its deletion contradicts its revisions" });
        }
        for leaf in leaves {
            match leaf.body() {
                None => {
                    report.found(about(), Error::Malformed { offset: end, what: "a leaf of it has no content" });
                }
                Some(body) if body.offset >= end => {
                    let error = Error::PastEnd { offset: body.offset, needed: body.offset, end };
                    report.found(revision_of(info, leaf), error);
                }
                Some(body) => {
                    let is_past =
                        |(offset, length): &(u64, Option<u64>)| offset.saturating_add(length.unwrap_or(1)) > end;
                    if let Some((offset, length)) = body.attachment_places().into_iter().find(is_past) {
                        let needed = offset.saturating_add(length.unwrap_or(1));
                        report.found(revision_of(info, leaf), Error::PastEnd { offset, needed, end });
                    }
                }
            }
        }
    }

    /// What hangs on one document's entry, as far as the level asks for it. What the entry itself has wrong is told elsewhere.
    fn bodies(&mut self, report: &mut Report, info: &DocumentInfo) {
        if report.level < Level::Documents {
            return;
        }
        let end = self.database.header().place.offset;
        let is_to_read = |offset: u64| (self.since.offset..end).contains(&offset);
        for leaf in info.leaves() {
            let Some(body) = leaf.body().filter(|body| is_to_read(body.offset)) else { continue };
            // Trees that lead to the same long body again and again would make a small file endless.
            if self.body_bytes > end {
                let what = "its content is part of more than the file can hold";
                report.found(revision_of(info, leaf), Error::Malformed { offset: body.offset, what });
                continue;
            }
            match self.database.read(&info.id, leaf) {
                Err(error) => report.found(revision_of(info, leaf), error),
                Ok(None) => {}
                Ok(Some(document)) => {
                    self.body_bytes = self.body_bytes.saturating_add(document.stored_length);
                    match document.checksum {
                        Some(Checksum::Md5) => report.bodies_md5 += 1,
                        Some(Checksum::Xxh3) => report.bodies_xxh3 += 1,
                        None => report.bodies_without_checksum += 1,
                    }
                    if report.level >= Level::Attachments {
                        self.attachments(report, &document);
                    }
                }
            }
        }
    }

    fn attachments(&self, report: &mut Report, document: &crate::Document) {
        // A later revision of a document has its older attachments where they were.
        let since = self.since.offset;
        for attachment in document.attachments.iter().filter(|attachment| !attachment.lies_before(since)) {
            match attachment.read_stored(self.database.blocks(), &document.id, |_| Ok(())) {
                Ok(()) => {
                    report.attachments += 1;
                    report.attachments_without_md5 += u64::from(attachment.md5.is_none());
                    report.attachment_bytes = report.attachment_bytes.saturating_add(attachment.stored_length);
                }
                Err(error) => {
                    let (id, revision) = (document.id.clone(), document.revision.clone());
                    report.found(Subject::Attachment { id, revision, name: attachment.name.clone() }, error);
                }
            }
        }
    }

    /// Names the documents that the two trees tell differently of, or only one of them. Comes only after damage, since
    /// it looks each document up.
    fn compare(&self, report: &mut Report) {
        let database = self.database;
        let header = database.header();
        let offset = header.place.offset;
        let differs = |what| Error::Malformed { offset, what };
        for info in database.changes(0).flatten() {
            match database.document(&info.id) {
                Ok(Some(found)) if same(&found, &info) => {}
                Ok(found) => {
                    let what = match found {
                        Some(_) => "the trees by id and by update differ about it",
                        None => "it is missing in the tree by id",
                    };
                    report.found(Subject::Document { id: info.id }, differs(what));
                }
                Err(error) => report.found(Subject::Document { id: info.id }, error),
            }
        }
        for info in database.documents().flatten() {
            let found = database.changes(info.seq.saturating_sub(1)).next();
            if !matches!(found, Some(Ok(found)) if found.id == info.id) {
                let what = "it is missing in the tree by update";
                report.found(Subject::Document { id: info.id }, differs(what));
            }
        }
    }

    fn local_documents(&self, report: &mut Report) {
        let state = &self.database.header().local;
        check_tree(
            self.database.blocks(),
            TreeName::Local,
            state,
            self.since.offset,
            report,
            |report, key, value, offset| {
                LocalDocument::of_entry(key, value, offset)?;
                report.local_documents += 1;
                Ok(Tally::one())
            },
        );
    }

    fn purges(&self, report: &mut Report) {
        let Purges::Trees { by_uuid, by_seq } = &self.database.header().purges else { return };
        let blocks = self.database.blocks();
        let (mut uuids, mut seqs) = (Sum::new(), Sum::new());
        // There are few of them, so they are read from the first on also where only what was appended is checked.
        check_tree(blocks, TreeName::PurgesByUuid, by_uuid, 0, report, |_, key, value, offset| {
            uuids.add_purge(&Purge::of_uuid_entry(key, value, offset)?);
            Ok(Tally::one())
        });
        check_tree(blocks, TreeName::PurgesBySeq, by_seq, 0, report, |report, key, value, offset| {
            seqs.add_purge(&Purge::of_seq_entry(key, value, offset)?);
            report.purges += 1;
            Ok(Tally::one())
        });
        if !uuids.agrees(&seqs) {
            let what = "the two trees of purges differ";
            let error = Error::Malformed { offset: self.database.header().place.offset, what };
            report.found(Subject::Tree(TreeName::PurgesBySeq), error);
        }
    }

    fn objects(&self, report: &mut Report) {
        // Disk version 6 has its last purge as an object.
        if let Purges::Last { list: Some(offset), .. } = &self.database.header().purges
            && let Err(error) = self.database.term_at(*offset)
        {
            report.found(Subject::Tree(TreeName::PurgesBySeq), error);
        }
        if let Err(error) = self.database.security() {
            report.found(Subject::Security, error);
        }
        if let Err(error) = self.database.partitioned() {
            report.found(Subject::Properties, error);
        }
    }
}

fn revision_of(info: &DocumentInfo, leaf: Leaf<'_>) -> Subject {
    Subject::Revision { id: info.id.clone(), revision: leaf.revision().clone(), deleted: leaf.deleted() }
}

pub(crate) fn check_view<R: ReadAt + ?Sized>(
    blocks: Blocks<'_, R>,
    header: &ViewHeader,
    level: Level,
    since: u64,
) -> Report {
    let mut report = Report::new(level);
    for (name, state) in trees(header) {
        if let Some(root) = state.root.as_ref().filter(|root| root.offset >= blocks.end()) {
            let error = Error::PastEnd { offset: root.offset, needed: root.offset, end: blocks.end() };
            report.found(Subject::Tree(name), error);
        } else if level >= Level::Trees {
            check_tree(blocks, name, state, since, &mut report, |report, _, value, _| {
                if name == TreeName::ViewById {
                    return Ok(Tally::one());
                }
                let tally = Tally::of_row(value);
                report.rows = report.rows.saturating_add(tally.alive);
                Ok(tally)
            });
        }
    }
    report
}
