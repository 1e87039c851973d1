//! Shard maps: which node holds which part of which database. They are documents in `_dbs.couch`, one for each database,
//! and without them a folder full of shards is nothing that CouchDB would open.

use crate::document::Document;
use crate::file_name::{ShardName, ShardRange};
use crate::json;
use crate::term::{Kind, Term};
use crate::{Database, Error, ReadAt};

/// The shard map of one database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardMap {
    /// The database.
    pub database: String,
    /// What the names of its shards end with, its dot included.
    pub suffix: String,
    /// For each node what it holds. This is what CouchDB goes by.
    pub by_node: Vec<(String, Vec<ShardRange>)>,
    /// For each range who holds it.
    pub by_range: Vec<(ShardRange, Vec<String>)>,
    /// How it came to be, each change as JSON: `["add","00000000-7fffffff","couchdb@127.0.0.1"]`.
    pub changelog: Vec<String>,
    /// The properties given at its creation, as JSON: whether it is partitioned, for one.
    pub properties: Option<String>,
}

impl ShardMap {
    /// Reads the document of `_dbs.couch` about a database; `None` where it is a document about something else.
    pub fn of_document(document: &Document) -> Result<Option<Self>, Error> {
        let offset = document.offset;
        let wrong = |what| Error::Malformed { offset, what };
        let find = |name: &str| member(document.body.root(), name);
        let Some(by_node) = find("by_node") else { return Ok(None) };
        let range = |text: &str| ShardRange::parse(text).ok_or(wrong("a range of a shard map"));
        let by_node = lists_by_name(by_node).ok_or(wrong("by_node of a shard map"))?;
        let by_range = match find("by_range") {
            Some(term) => lists_by_name(term).ok_or(wrong("by_range of a shard map"))?,
            None => Vec::new(),
        };
        Ok(Some(Self {
            database: document.id.clone(),
            suffix: find("shard_suffix").map_or(Some(String::new()), text).ok_or(wrong("shard_suffix"))?,
            by_node: by_node
                .into_iter()
                .map(|(node, ranges)| {
                    let ranges = ranges.iter().map(|text| range(text)).collect::<Result<_, _>>()?;
                    Ok((node, ranges))
                })
                .collect::<Result<_, _>>()?,
            by_range: by_range.into_iter().map(|(text, nodes)| Ok((range(&text)?, nodes))).collect::<Result<_, _>>()?,
            changelog: match find("changelog") {
                Some(term) => term
                    .list()
                    .and_then(|changes| changes.map(printed).collect())
                    .ok_or(wrong("the changelog of a shard map"))?,
                None => Vec::new(),
            },
            properties: find("props").map(|term| printed(term).ok_or(wrong("props of a shard map"))).transpose()?,
        }))
    }

    /// Into how many ranges it is cut.
    pub fn q(&self) -> usize {
        self.ranges().len()
    }

    /// How many nodes hold each range; the smallest number where they differ.
    pub fn n(&self) -> usize {
        let holders = |range| self.by_node.iter().filter(|(_, ranges)| ranges.contains(range)).count();
        self.ranges().iter().map(holders).min().unwrap_or(0)
    }

    /// The ranges that it is cut into, in order.
    pub fn ranges(&self) -> Vec<ShardRange> {
        let mut ranges: Vec<_> = self.by_node.iter().flat_map(|(_, ranges)| ranges).copied().collect();
        ranges.sort_unstable();
        ranges.dedup();
        ranges
    }

    /// Whether the ranges cover every hash, none of them twice.
    pub fn is_complete(&self) -> bool {
        let mut next = Some(0);
        for range in self.ranges() {
            if next != Some(range.first) || range.last < range.first {
                return false;
            }
            next = range.last.checked_add(1);
        }
        next.is_none()
    }

    /// The shards that `node` holds, by the names of their files.
    pub fn shards_of(&self, node: &str) -> impl Iterator<Item = ShardName> {
        let held = self.by_node.iter().filter(move |(name, _)| name == node);
        held.flat_map(|(_, ranges)| ranges).map(|range| ShardName {
            range: *range,
            database: self.database.clone(),
            suffix: self.suffix.clone(),
        })
    }
}

/// All shard maps of an opened `_dbs.couch`, deleted databases left out.
pub fn shard_maps<R: ReadAt>(database: &Database<R>) -> impl Iterator<Item = Result<ShardMap, Error>> {
    let map_of = |info: Result<crate::DocumentInfo, Error>| -> Result<Option<ShardMap>, Error> {
        let info = info?;
        let Some(winner) = info.revisions.winner().filter(|winner| !winner.deleted()) else { return Ok(None) };
        match database.read(&info.id, winner)? {
            Some(document) => ShardMap::of_document(&document),
            None => Ok(None),
        }
    };
    database.documents().filter_map(move |info| map_of(info).transpose())
}

/// A member of an object.
pub(crate) fn member<'t>(object: Term<'t>, name: &str) -> Option<Term<'t>> {
    json::members(object)?
        .filter_map(|member| member.tuple_of())
        .find_map(|[key, value]| (key.binary() == Some(name.as_bytes())).then_some(value))
}

/// `{[{Name, [Text, …]}, …]}`
fn lists_by_name(term: Term<'_>) -> Option<Vec<(String, Vec<String>)>> {
    json::members(term)?
        .map(|member| {
            let [name, list] = member.tuple_of()?;
            Some((name.text()?.to_owned(), strings(list)?))
        })
        .collect()
}

fn strings(list: Term<'_>) -> Option<Vec<String>> {
    list.list()?.map(|item| Some(item.text()?.to_owned())).collect()
}

/// A string, or a list of character codes: what CouchDB makes of the suffix, since it is a string to Erlang.
fn text(term: Term<'_>) -> Option<String> {
    match term.kind() {
        Kind::List(codes) => codes.map(|code| char::from_u32(u32::try_from(code.int()?).ok()?)).collect(),
        _ => Some(term.text()?.to_owned()),
    }
}

fn printed(term: Term<'_>) -> Option<String> {
    let mut out = Vec::new();
    json::write(&mut out, term).ok()?;
    String::from_utf8(out).ok()
}
