//! Shard maps that come back into a `_dbs.couch` that goes on without them: of databases that were deleted since, or made anew
//! under another suffix.

use std::io::Write;

use super::rename::{NodeNames, check_names, renamed_body};
use super::{Changes, Rewritten, rewrite};
use crate::shard_map::ShardMap;
use crate::{Database, Error, ReadAt};

/// Writes `database`, a `_dbs.couch`, anew to `out`, with the shard maps that `from` has of `databases`, each as a new
/// revision on top of what `database` knows of it, and with the nodes of `names` under their new names. All else stays as
/// it is.
///
/// # Errors
/// [`Error::Rename`] where `from` has no shard map of one of them, or a name is none of a node; what is damaged in either;
/// what `out` says.
pub fn put_shard_maps<R: ReadAt, S: ReadAt, W: Write>(
    database: &Database<R>,
    from: &Database<S>,
    databases: &[String],
    names: &NodeNames,
    out: W,
) -> Result<Rewritten, Error> {
    check_names(names)?;
    let body = |name: &String| Ok((name.clone(), shard_map_body(from, name, names)?));
    let put = databases.iter().map(body).collect::<Result<_, Error>>()?;
    rewrite(database, out, Changes { put, ..Changes::default() })
}

fn shard_map_body<R: ReadAt>(from: &Database<R>, name: &str, names: &NodeNames) -> Result<Vec<u8>, Error> {
    let missing = || Error::Rename(format!("there is no shard map of {name:?} to be taken over"));
    let info = from.document(name)?.filter(|info| !info.deleted).ok_or_else(missing)?;
    let winner = info.revisions.winner().ok_or_else(missing)?;
    let document = from.read(name, winner)?.ok_or_else(missing)?;
    ShardMap::of_document(&document)?.ok_or_else(missing)?;
    Ok(match renamed_body(&document, names)? {
        Some(renamed) => renamed,
        None => document.body.root().raw().to_vec(),
    })
}
