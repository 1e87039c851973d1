//! Databases given to other nodes: each of their shards lies on one, evenly in the order of ranges.

use std::collections::BTreeSet;
use std::io::Write;

use super::{Changes, Rewritten, rewrite, same};
use crate::document::{Document, DocumentInfo};
use crate::file_name::ShardRange;
use crate::json;
use crate::shard_map::ShardMap;
use crate::term::encode::Encoder;
use crate::{Database, Error, ReadAt, is_node_name};

/// On which of `nodes` each range of a database lies, by the node's number: the first range on the first node, the second
/// on the second, and so on by turns. `ranges` are in order, as [`ShardMap::ranges`] gives them.
pub fn spread(ranges: &[ShardRange], nodes: usize) -> impl Iterator<Item = (ShardRange, usize)> {
    ranges.iter().enumerate().map(move |(number, range)| (*range, number % nodes.max(1)))
}

/// Writes `_dbs.couch` anew to `out`, for the data folder of `owner`, with every database laid out for `nodes` by [`spread`]:
/// in `by_node` and `by_range`; `changelog` tells of it. Deleted shard maps stay as they are.
///
/// # Errors
/// [`Error::Rename`] where the names are not those of nodes, each another; what is damaged in `database`; what `out` says.
pub fn lay_out_shard_maps<R: ReadAt, W: Write>(
    database: &Database<R>,
    nodes: &[String],
    owner: &str,
    out: W,
) -> Result<Rewritten, Error> {
    check(nodes, owner)?;
    let body = |document: &Document| laid_out_body(document, nodes);
    rewrite(database, out, Changes { body: &body, owner: Some(owner), ..Changes::default() })
}

/// Writes `_nodes.couch` anew to `out`, for the data folder of `owner`: exactly `nodes` are in it.
///
/// # Errors
/// As [`lay_out_shard_maps`].
pub fn lay_out_nodes<R: ReadAt, W: Write>(
    database: &Database<R>,
    nodes: &[String],
    owner: &str,
    out: W,
) -> Result<Rewritten, Error> {
    check(nodes, owner)?;
    // What else is in it, such as a design document, is no node.
    let id = |info: &DocumentInfo, _: &BTreeSet<String>| {
        Ok((!is_node_name(&info.id) || nodes.contains(&info.id)).then(|| info.id.clone()))
    };
    let mut put = Vec::new();
    for node in nodes {
        if database.document(node)?.is_none_or(|info| info.deleted) {
            put.push((node.clone(), empty_object()));
        }
    }
    rewrite(database, out, Changes { id: &id, put, owner: Some(owner), ..Changes::default() })
}

/// Writes a `_nodes.couch` to `out` where there is none, for the data folder of `owner`: exactly `nodes` are in it. Of
/// `like`, a `_dbs.couch`, it takes format and security object.
///
/// # Errors
/// As [`lay_out_shard_maps`].
pub fn new_nodes<R: ReadAt, W: Write>(
    like: &Database<R>,
    nodes: &[String],
    owner: &str,
    out: W,
) -> Result<Rewritten, Error> {
    check(nodes, owner)?;
    let none = |_: &DocumentInfo, _: &BTreeSet<String>| Ok(None);
    let put = nodes.iter().map(|node| (node.clone(), empty_object())).collect();
    rewrite(like, out, Changes { id: &none, put, owner: Some(owner), anew: true, ..Changes::default() })
}

/// `{}`, as the body of a document.
fn empty_object() -> Vec<u8> {
    let mut empty = Encoder::default();
    empty.tuple(1).list(0).end_list();
    empty.finish()
}

fn check(nodes: &[String], owner: &str) -> Result<(), Error> {
    if let Some(name) = nodes.iter().find(|name| !is_node_name(name)) {
        return Err(Error::Rename(format!("{name:?} is no name of a node, which is NAME@HOST")));
    }
    let mut taken = BTreeSet::new();
    if let Some(name) = nodes.iter().find(|name| !taken.insert(*name)) {
        return Err(Error::Rename(format!("there would be two nodes {name}")));
    }
    match nodes.iter().any(|name| name == owner) {
        true => Ok(()),
        false => Err(Error::Rename(format!("{owner} is none of the nodes"))),
    }
}

/// The body of a shard map for `nodes`; `None` for what is no shard map, or deleted.
pub(crate) fn laid_out_body(document: &Document, nodes: &[String]) -> Result<Option<Vec<u8>>, Error> {
    let wrong = |what| Error::Malformed { offset: document.offset, what };
    let Some(map) = ShardMap::of_document(document)?.filter(|_| !document.deleted) else { return Ok(None) };
    let placed: Vec<_> =
        spread(&map.ranges(), nodes.len()).filter_map(|(range, at)| Some((range, nodes.get(at)?))).collect();
    let mut members: Vec<(&[u8], Vec<u8>)> = Vec::new();
    let mut changes = None;
    for member in json::members(document.body.root()).ok_or(wrong("the body of a document is no object"))? {
        let [key, value] = member.tuple_of().ok_or(wrong("a member of an object is no pair"))?;
        let name = key.binary().ok_or(wrong("a name of a member is no text"))?;
        match name {
            b"by_node" | b"by_range" => {}
            // What is there twice counts as it is read: the first.
            b"changelog" if changes.is_some() => {}
            b"changelog" => changes = Some(value.list().ok_or(wrong("the changelog of a shard map"))?),
            _ => {
                let mut out = Encoder::default();
                same(&mut out, value);
                members.push((name, out.finish()));
            }
        }
    }
    members.push((b"changelog", changelog(&map, &placed, changes.into_iter().flatten())));
    members.push((b"by_node", by_node(&placed, nodes)));
    members.push((b"by_range", by_range(&placed)));
    let mut out = Encoder::default();
    out.tuple(1).list(members.len());
    for (name, value) in members {
        out.tuple(2).binary(name).raw(&value);
    }
    out.end_list();
    Ok(Some(out.finish()))
}

fn by_node(placed: &[(ShardRange, &String)], nodes: &[String]) -> Vec<u8> {
    let held = |node: &String| placed.iter().filter(|(_, at)| *at == node).map(|(range, _)| *range).collect::<Vec<_>>();
    let held: Vec<_> = nodes.iter().map(|node| (node, held(node))).filter(|(_, ranges)| !ranges.is_empty()).collect();
    let mut out = Encoder::default();
    out.tuple(1).list(held.len());
    for (node, ranges) in held {
        out.tuple(2).binary(node.as_bytes()).list(ranges.len());
        for range in ranges {
            out.binary(range.to_string().as_bytes());
        }
        out.end_list();
    }
    out.end_list();
    out.finish()
}

fn by_range(placed: &[(ShardRange, &String)]) -> Vec<u8> {
    let mut out = Encoder::default();
    out.tuple(1).list(placed.len());
    for (range, node) in placed {
        out.tuple(2).binary(range.to_string().as_bytes()).list(1).binary(node.as_bytes()).end_list();
    }
    out.end_list();
    out.finish()
}

/// What the changelog told, and for each range the node that has it now, and those that have it no longer: as whoever moves
/// a shard by hand adds to it.
fn changelog<'t>(
    map: &ShardMap,
    placed: &[(ShardRange, &String)],
    before: impl Iterator<Item = crate::term::Term<'t>>,
) -> Vec<u8> {
    let mut changes: Vec<Vec<u8>> = Vec::new();
    for change in before {
        let mut out = Encoder::default();
        same(&mut out, change);
        changes.push(out.finish());
    }
    let told = |what: &str, range: &ShardRange, node: &str| {
        let mut out = Encoder::default();
        out.list(3).binary(what.as_bytes()).binary(range.to_string().as_bytes()).binary(node.as_bytes()).end_list();
        out.finish()
    };
    for (range, node) in placed {
        let holders: Vec<_> =
            map.by_node.iter().filter(|(_, held)| held.contains(range)).map(|(name, _)| name).collect();
        if !holders.contains(node) {
            changes.push(told("add", range, node));
        }
        changes.extend(holders.into_iter().filter(|name| name != node).map(|name| told("remove", range, name)));
    }
    let mut out = Encoder::default();
    out.list(changes.len());
    for change in &changes {
        out.raw(change);
    }
    out.end_list();
    out.finish()
}
