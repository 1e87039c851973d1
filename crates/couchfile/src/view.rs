//! View files. Their trees are ordered by ICU's collation, which this library does not have, so that rows can be counted
//! and reached but not put in order. What matters most to a backup is in the header: up to which update of the database
//! the view was built. A view that is ahead of its database is thrown away and built anew.

use crate::blocks::Blocks;
use crate::check::{Level, Report, TreeName, check_view};
use crate::database::length;
use crate::header::{FindHeaders, FoundHeader, HeaderPlace, VIEW, kind};
use crate::term::{Kind, Term, Terms};
use crate::tree::TreeState;
use crate::{Error, ReadAt};

/// What the header of a view file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewHeader {
    /// Where it lies.
    pub place: HeaderPlace,
    /// The hash of the view's definition, which is also the file's name, as hexadecimal digits.
    pub signature: String,
    /// The last update of the database that was taken in.
    pub update_seq: u64,
    /// The last purge of the database that was taken in.
    pub purge_seq: u64,
    /// The views that share the file.
    pub views: Vec<ViewState>,
    pub(crate) by_id: TreeState,
}

/// One of the views in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewState {
    /// Its rows.
    pub rows: u64,
    /// The last update that changed it.
    pub update_seq: u64,
    /// The last purge that changed it.
    pub purge_seq: u64,
    pub(crate) tree: TreeState,
}

/// A view file as of its newest header.
#[derive(Debug)]
pub struct View<R> {
    reader: R,
    header: ViewHeader,
}

impl<R: ReadAt> View<R> {
    /// Opens a file as CouchDB would: as of the newest header whose checksum is right.
    pub fn open(reader: R) -> Result<Self, Error> {
        let length = length(&reader)?;
        let found = FindHeaders::new(Blocks::new(&reader, length)).next()?;
        let found = found.ok_or(Error::NoHeader { blocks: length.div_ceil(crate::limits::BLOCK_BYTES) })?;
        let header = ViewHeader::decode(&found)?;
        Ok(Self { reader, header })
    }

    /// What the header says.
    pub fn header(&self) -> &ViewHeader {
        &self.header
    }

    /// Reads the trees and holds them against what is counted in them. Nothing in a view has a checksum, so that
    /// [`Level::Documents`] and beyond are the same as [`Level::Trees`].
    pub fn check(&self, level: Level) -> Report {
        check_view(Blocks::new(&self.reader, self.header.place.offset), &self.header, level, 0)
    }

    /// As [`View::check`], but nodes that an `earlier` header of the same file knew are taken as checked before. Where
    /// something is wrong, the whole file is checked.
    pub fn check_appended(&self, level: Level, earlier: &ViewHeader) -> Report {
        let blocks = Blocks::new(&self.reader, self.header.place.offset);
        let report = check_view(blocks, &self.header, level, earlier.place.end);
        if report.is_ok() { report } else { self.check(level) }
    }
}

impl ViewHeader {
    fn decode(found: &FoundHeader) -> Result<Self, Error> {
        let offset = found.place.offset;
        let wrong = |what| Error::UnsupportedHeader { offset, what };
        let root = found.terms.root();
        let kind = kind(root);
        let Some([signature, header]) = root.tuple_of().filter(|_| kind == VIEW) else {
            return Err(Error::OtherKind { offset, found: kind, expected: VIEW });
        };
        let signature = hexadecimal(signature.binary().ok_or(wrong("it has no signature"))?);
        if header.is_atom("nil") {
            // What CouchDB starts a view with. It stays the only header while the database has no update.
            let by_id = TreeState { root: None };
            return Ok(Self { place: found.place, signature, update_seq: 0, purge_seq: 0, views: Vec::new(), by_id });
        }
        // Since 3.2.1 the fifth of six is a map; before 2.3.1 it was one more tree; in between there were five.
        let parts: Vec<Term<'_>> = header.tuple().into_iter().flatten().collect();
        let (update_seq, purge_seq, by_id, views) = match parts[..] {
            [_, seq, purge_seq, by_id, _, views] | [_, seq, purge_seq, by_id, views] => (seq, purge_seq, by_id, views),
            _ => return Err(wrong("it has more parts than known views have")),
        };
        let views = views.list().ok_or(wrong("it has no list of views"))?;
        Ok(Self {
            place: found.place,
            signature,
            update_seq: update_seq.unsigned().ok_or(wrong("it names no update sequence"))?,
            purge_seq: purge_seq.unsigned().ok_or(wrong("it names no purge sequence"))?,
            by_id: TreeState::decode(by_id, offset)?,
            views: views.map(|view| ViewState::decode(view, offset)).collect::<Result<_, _>>()?,
        })
    }
}

impl ViewState {
    /// `{Tree, UpdateSeq, PurgeSeq}`, or with two more between them; `nil` where it is empty.
    fn decode(term: Term<'_>, offset: u64) -> Result<Self, Error> {
        let wrong = |what| Error::UnsupportedHeader { offset, what };
        let parts: Vec<Term<'_>> = match term.kind() {
            Kind::Atom(b"nil") => {
                return Ok(Self { rows: 0, update_seq: 0, purge_seq: 0, tree: TreeState { root: None } });
            }
            Kind::Tuple(parts) => parts.collect(),
            _ => return Err(wrong("a view has an unknown form")),
        };
        let ([tree, seq, purge_seq] | [tree, _, _, seq, purge_seq]) = parts[..] else {
            return Err(wrong("a view has an unknown form"));
        };
        let tree = TreeState::decode(tree, offset)?;
        let rows = match &tree.root {
            Some(root) => rows(&root.reduction, offset)?.ok_or(wrong("a view does not say how many rows it has"))?,
            None => 0,
        };
        Ok(Self {
            rows,
            update_seq: seq.unsigned().ok_or(wrong("a view names no update sequence"))?,
            purge_seq: purge_seq.unsigned().ok_or(wrong("a view names no purge sequence"))?,
            tree,
        })
    }
}

/// `{Rows, Reductions}`, in some versions with a size.
fn rows(reduction: &[u8], offset: u64) -> Result<Option<u64>, Error> {
    let terms = Terms::of_raw(reduction, offset)?;
    Ok(terms.root().tuple().and_then(|mut parts| parts.next()).and_then(Term::unsigned))
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The trees of a view file with their names.
pub(crate) fn trees(header: &ViewHeader) -> impl Iterator<Item = (TreeName, &TreeState)> {
    let views = (0..).zip(&header.views).map(|(number, view)| (TreeName::View(number), &view.tree));
    [(TreeName::ViewById, &header.by_id)].into_iter().chain(views)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Checksum;
    use crate::term::Compression;
    use crate::term::encode::Encoder;
    use crate::writer::{Format, Writer};

    #[test]
    fn a_view_into_which_nothing_was_taken_yet_is_empty() {
        let opened = |header: Encoder| {
            let format = Format { checksum: Checksum::Md5, compression: Compression::None };
            let mut writer = Writer::new(Vec::new(), 0, format);
            writer.header(header).unwrap();
            View::open(writer.into_inner())
        };
        let mut encoder = Encoder::term();
        encoder.tuple(2).binary(&[0xab; 16]).atom("nil");
        let view = opened(encoder).unwrap();
        assert_eq!((view.header().signature.clone(), view.header().update_seq), ("ab".repeat(16), 0));
        assert!(view.header().views.is_empty() && view.check(Level::Attachments).is_ok());
        let mut encoder = Encoder::term();
        encoder.tuple(2).atom("other").atom("nil");
        assert!(matches!(opened(encoder), Err(Error::OtherKind { .. })));
    }
}
