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
    let is_in_gap = |seq: u64| gaps.iter().any(|(after, before)| (after.saturating_add(1)..*before).contains(&seq));
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use couchfile::{Checksum, Compression, CouchWriter, Format};
    use serde_json::json;

    use super::*;

    fn writer(uuid: &str) -> CouchWriter<Vec<u8>> {
        let format = Format { checksum: Checksum::Xxh3, compression: Compression::None };
        CouchWriter::create(Vec::new(), format, uuid, "couchdb@127.0.0.1").unwrap()
    }

    fn header(writer: &mut CouchWriter<Vec<u8>>) -> Header {
        writer.commit().unwrap();
        Database::open(&*writer.get_mut()).unwrap().header().clone()
    }

    /// What a visit gives: documents by id, and how many errors.
    fn visited(database: &Database<&[u8]>, since: u64) -> (BTreeMap<String, DocumentInfo>, usize) {
        let (mut found, mut errors) = (BTreeMap::new(), 0);
        let visited: Result<(), Error> = each_change(database, since, &mut |info| {
            match info {
                Ok(info) => drop(found.insert(info.id.clone(), info)),
                Err(_) => errors += 1,
            }
            Ok(())
        });
        visited.unwrap();
        (found, errors)
    }

    #[test]
    fn files_that_cannot_be_compared_are_given_whole() {
        let mut one = writer("one");
        one.put("a", &json!({})).unwrap();
        let early = header(&mut one);
        one.put("b", &json!({})).unwrap();
        let late = header(&mut one);
        assert_eq!(since(&early, &late), Since::Update(1));
        assert_eq!(since(&late, &late), Since::Update(2));
        assert!(matches!(since(&late, &early), Since::All(why) if why.contains("older state")));
        assert!(matches!(since(&early, &header(&mut writer("other"))), Since::All(why) if why.contains("uuid")));
    }

    #[test]
    fn what_the_list_of_updates_lost_is_found_by_id() {
        let mut writer = writer("one");
        for number in 0..120 {
            writer.put(&format!("doc-{number:03}"), &json!({ "n": number })).unwrap();
        }
        writer.commit().unwrap();
        let bytes = writer.into_inner();
        let whole = Database::open(&bytes[..]).unwrap();
        let (all, errors) = visited(&whole, 0);
        assert_eq!((all.len(), errors), (120, 0));
        assert_eq!(visited(&whole, 100).0.len(), 20);

        let mut mended = 0;
        for at in (0..bytes.len()).step_by(19) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x40;
            let Ok(database) = Database::open(&damaged[..]) else { continue };
            let is_whole_by_id =
                database.documents().all(|info| info.is_ok_and(|info| all.get(&info.id) == Some(&info)));
            let (found, errors) = visited(&database, 0);
            if is_whole_by_id && errors > 0 {
                assert_eq!(found, all, "byte {at}");
                mended += 1;
            }
        }
        assert!(mended > 10, "{mended}");
    }
}
