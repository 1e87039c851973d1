//! Shard maps that come back into a `_dbs.couch` that goes on without them: of databases that were deleted since, or made anew
//! under another suffix.

use std::io::Write;

use super::{Changes, Rewritten, rewrite};
use crate::shard_map::ShardMap;
use crate::{Database, Error, ReadAt};

/// Writes `database`, a `_dbs.couch`, anew to `out`, with the shard maps that `from` has of `databases`, each as a new
/// revision on top of what `database` knows of it. All else stays as it is.
///
/// # Errors
/// [`Error::Rename`] where `from` has no shard map of one of them; what is damaged in either; what `out` says.
pub fn put_shard_maps<R: ReadAt, S: ReadAt, W: Write>(
    database: &Database<R>,
    from: &Database<S>,
    databases: &[String],
    out: W,
) -> Result<Rewritten, Error> {
    let put =
        databases.iter().map(|name| Ok((name.clone(), shard_map_body(from, name)?))).collect::<Result<_, Error>>()?;
    rewrite(database, out, Changes { put, ..Changes::default() })
}

fn shard_map_body<R: ReadAt>(from: &Database<R>, name: &str) -> Result<Vec<u8>, Error> {
    let missing = || Error::Rename(format!("there is no shard map of {name:?} to be taken over"));
    let info = from.document(name)?.filter(|info| !info.deleted).ok_or_else(missing)?;
    let winner = info.revisions.winner().ok_or_else(missing)?;
    let document = from.read(name, winner)?.ok_or_else(missing)?;
    ShardMap::of_document(&document)?.ok_or_else(missing)?;
    Ok(document.body.root().raw().to_vec())
}
