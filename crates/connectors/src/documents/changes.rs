//! The documents of one file in the order of their updates. Bodies lie in the file in about that order, so that each part
//! of it is fetched about once; in the order of ids, each document would be a jump to anywhere.

use couchfile::{Database, DocumentInfo, Error, Header, ReadAt};

/// Which documents changed since an earlier state of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    /// Those with a later update than this.
    Update(u64),
    /// All of them, since the two cannot be compared, for this reason.
    All(String),
}

/// Which documents of the file with the header `now` changed since it had the header `earlier`. A compaction changes
/// neither the numbers of updates nor the uuid.
pub fn since(earlier: &Header, now: &Header) -> Since {
    if earlier.uuid != now.uuid {
        return Since::All("its uuid is another one: the database was made anew in between".to_owned());
    }
    if earlier.update_seq > now.update_seq {
        let (before, after) = (earlier.update_seq, now.update_seq);
        return Since::All(format!("it went back from update {before} to {after}: an older state was put back"));
    }
    Since::Update(earlier.update_seq)
}

/// Visits the documents that were updated after `since`, and whatever error keeps one from being found. Where a part of the
/// list of updates is lost, the documents it named are looked for in the tree by id.
pub fn each_change<R: ReadAt, E>(
    database: &Database<R>,
    since: u64,
    visit: &mut dyn FnMut(Result<DocumentInfo, Error>) -> Result<(), E>,
) -> Result<(), E> {
    let mut gaps: Vec<(u64, u64)> = Vec::new();
    let (mut last, mut is_gap) = (since, false);
    for found in database.changes(since) {
        match found {
            Ok(info) => {
                if std::mem::take(&mut is_gap) {
                    gaps.push((last, info.seq));
                }
                last = last.max(info.seq);
                visit(whole(database, info))?;
            }
            Err(error) => {
                is_gap = true;
                visit(Err(error))?;
            }
        }
    }
    if is_gap {
        gaps.push((last, u64::MAX));
    }
    if gaps.is_empty() {
        return Ok(());
    }
    let is_in_gap = |seq: u64| gaps.iter().any(|(after, before)| (*after + 1..*before).contains(&seq));
    for found in database.documents() {
        match found {
            Ok(info) if !is_in_gap(info.seq) => {}
            found => visit(found)?,
        }
    }
    Ok(())
}

/// In very old files, the list of updates knows leaves only.
fn whole<R: ReadAt>(database: &Database<R>, info: DocumentInfo) -> Result<DocumentInfo, Error> {
    if info.complete {
        return Ok(info);
    }
    Ok(database.document(&info.id)?.unwrap_or(info))
}
