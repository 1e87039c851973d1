//! Nodes under new names, in every place where `_dbs.couch` and `_nodes.couch` have them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use super::{Changes, Rewritten, rewrite, same};
use crate::document::{Document, DocumentInfo};
use crate::json;
use crate::term::Term;
use crate::term::encode::Encoder;
use crate::{Database, Error, ReadAt, is_node_name};

/// New names of nodes by their old ones. Names that are not in it stay.
pub type NodeNames = BTreeMap<String, String>;

/// Writes `_dbs.couch` anew to `out`, with new names in every shard map: in `by_node`, `by_range` and `changelog`.
///
/// # Errors
/// [`Error::Rename`] where two nodes would have the same name; what is damaged in `database`; what `out` says. Then
/// what was written is of no use.
pub fn rename_in_shard_maps<R: ReadAt, W: Write>(
    database: &Database<R>,
    names: &NodeNames,
    out: W,
) -> Result<Rewritten, Error> {
    check_names(names)?;
    rewrite(database, out, Changes { body: &|document| renamed_body(document, names), ..Changes::default() })
}

/// Writes `_nodes.couch` anew to `out`. Each of its documents is a node; its id is the node's name.
///
/// # Errors
/// As [`rename_in_shard_maps`].
pub fn rename_in_nodes<R: ReadAt, W: Write>(
    database: &Database<R>,
    names: &NodeNames,
    out: W,
) -> Result<Rewritten, Error> {
    check_names(names)?;
    let name = |info: &DocumentInfo, taken: &BTreeSet<String>| {
        let name = names.get(&info.id).unwrap_or(&info.id);
        if taken.contains(name) {
            return Err(Error::Rename(format!("there would be two nodes {name}")));
        }
        Ok(Some(name.clone()))
    };
    rewrite(database, out, Changes { id: &name, ..Changes::default() })
}

pub(super) fn check_names(names: &NodeNames) -> Result<(), Error> {
    match names.values().find(|name| !is_node_name(name)) {
        Some(name) => Err(Error::Rename(format!("{name:?} is no name of a node, which is NAME@HOST"))),
        None => Ok(()),
    }
}

/// The body of a shard map with other names; `None` where none of the old ones is in it.
pub(crate) fn renamed_body(document: &Document, names: &NodeNames) -> Result<Option<Vec<u8>>, Error> {
    let wrong = |what| Error::Malformed { offset: document.offset, what };
    let root = document.body.root();
    let members = json::members(root).ok_or(wrong("the body of a document is no object"))?;
    let mut rename = Rename { names, out: Encoder::default(), changed: false };
    rename.out.tuple(1).list(members.len());
    for member in members {
        let [key, value] = member.tuple_of().ok_or(wrong("a member of an object is no pair"))?;
        rename.out.tuple(2).raw(key.raw());
        match key.binary() {
            Some(b"by_node") => rename.names_of_members(value).ok_or(wrong("by_node of a shard map"))?,
            Some(b"by_range") => rename.lists_in_members(value).ok_or(wrong("by_range of a shard map"))?,
            Some(b"changelog") => rename.lists_in_list(value).ok_or(wrong("the changelog of a shard map"))?,
            _ => same(&mut rename.out, value),
        }
    }
    rename.out.end_list();
    if !rename.changed {
        return Ok(None);
    }
    let body = rename.out.finish();
    no_name_twice(&body, document)?;
    Ok(Some(body))
}

/// Writes parts of a shard map with other names.
struct Rename<'n> {
    names: &'n NodeNames,
    out: Encoder,
    changed: bool,
}

impl Rename<'_> {
    /// `{[{Node, Ranges}, …]}`
    fn names_of_members(&mut self, object: Term<'_>) -> Option<()> {
        let members = json::members(object)?;
        self.out.tuple(1).list(members.len());
        for member in members {
            let [node, ranges] = member.tuple_of()?;
            self.out.tuple(2);
            self.text(node)?;
            self.out.raw(ranges.raw());
        }
        self.out.end_list();
        Some(())
    }

    /// `{[{Range, [Node, …]}, …]}`
    fn lists_in_members(&mut self, object: Term<'_>) -> Option<()> {
        let members = json::members(object)?;
        self.out.tuple(1).list(members.len());
        for member in members {
            let [range, nodes] = member.tuple_of()?;
            self.out.tuple(2).raw(range.raw());
            self.list(nodes)?;
        }
        self.out.end_list();
        Some(())
    }

    /// `[[Operation, Range, Node], …]`, with more in between where shards were split.
    fn lists_in_list(&mut self, list: Term<'_>) -> Option<()> {
        let lists = list.list()?;
        self.out.list(lists.len());
        for list in lists {
            self.list(list)?;
        }
        self.out.end_list();
        Some(())
    }

    fn list(&mut self, list: Term<'_>) -> Option<()> {
        let items = list.list()?;
        self.out.list(items.len());
        for item in items {
            match item.binary() {
                Some(_) => self.text(item)?,
                None => same(&mut self.out, item),
            }
        }
        self.out.end_list();
        Some(())
    }

    fn text(&mut self, text: Term<'_>) -> Option<()> {
        match self.names.get(text.text()?) {
            None => same(&mut self.out, text),
            Some(name) => {
                self.changed |= text.text() != Some(name);
                self.out.binary(name.as_bytes());
            }
        }
        Some(())
    }
}

fn no_name_twice(body: &[u8], document: &Document) -> Result<(), Error> {
    let terms = crate::term::Terms::of_raw(body, document.offset)?;
    let renamed = Document { body: terms, ..document.clone() };
    let Some(map) = crate::ShardMap::of_document(&renamed)? else { return Ok(()) };
    let mut nodes = BTreeSet::new();
    let twice = map.by_node.iter().find(|(node, _)| !nodes.insert(node)).map(|(node, _)| node);
    let in_range = map.by_range.iter().find_map(|(_, nodes)| {
        let mut seen = BTreeSet::new();
        nodes.iter().find(|node| !seen.insert(*node))
    });
    match twice.or(in_range) {
        None => Ok(()),
        Some(node) => {
            let database = &document.id;
            Err(Error::Rename(format!("in the shard map of {database:?}, two nodes would have the name {node}")))
        }
    }
}
