//! Shards of which no copy is surely the best: all that may be were restored, are read here, and the one that holds most goes
//! into the data folder. Nothing of the others is removed.

use std::cmp::Reverse;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::{Path, PathBuf};

use couchfile::{Database, Level, ReadAt, ShardName, salvage};
use repository::{Cancel, SourceError};

use super::super::prefix::Prefix;

/// Where below the target copies are restored that have to be read before one is taken, each below the name of its source.
pub const COPIES_NOT_TAKEN: &str = "copies-not-taken";
/// Commits of a damaged file that are tried, the newest first.
const COMMITS_TRIED_MAX: usize = 100;

/// A shard whose copies have to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contest {
    /// The shard.
    pub shard: ShardName,
    /// The node that gets it, by number.
    pub node: usize,
    /// The copies by their sources' numbers and their files below the data folder there, the best by the facts first.
    pub copies: Vec<(usize, PathBuf)>,
}

impl Contest {
    /// Where a copy is restored to, below the target.
    pub fn place(source: &str, file: &Path) -> PathBuf {
        Path::new(COPIES_NOT_TAKEN).join(source).join(file)
    }

    /// What there is to decide, in words.
    pub fn told(&self, sources: &[&str]) -> String {
        let Self { shard, copies, .. } = self;
        let of: Vec<_> = copies.iter().filter_map(|(source, _)| sources.get(*source).copied()).collect();
        let what = match of[..] {
            [one] => {
                format!("that of {one} is damaged, and no other copy is there: it is put back as far as it is whole")
            }
            _ => format!(
                "of the copies of {}, some are damaged and may hold most: they are read, and the fullest is taken",
                of.join(", ")
            ),
        };
        format!("database {}, shard {}: {what}", shard.database, shard.range)
    }
}

/// What became of a shard.
#[derive(Debug, PartialEq, Eq)]
pub struct Settled {
    /// In words.
    pub told: String,
    /// Whether a CouchDB may be started on it: what it finds in the file can be read, but for single documents.
    pub is_usable: bool,
}

/// What a copy holds that can be read.
#[derive(Clone)]
struct Holding {
    /// Deleted ones included.
    documents: u64,
    updates: u64,
    /// Where it has to be cut, so that all that is left of it can be found.
    cut: Option<u64>,
    is_usable: bool,
    /// In words.
    what: String,
}

/// Puts the copy that holds most into the data folder `data`. They were restored below `target`, each at its
/// [place](Contest::place); `sources` are the names of all sources.
///
/// # Errors
/// A file that cannot be read or moved. What is damaged is none.
pub fn settle(
    contest: &Contest,
    sources: &[&str],
    target: &Path,
    data: &Path,
    cancel: &Cancel,
) -> Result<Settled, SourceError> {
    let Contest { shard, copies, .. } = contest;
    let mut read = Vec::new();
    for (number, (source, file)) in copies.iter().enumerate() {
        let name = sources.get(*source).copied().unwrap_or_default();
        let place = target.join(Contest::place(name, file));
        if let Some(holding) = look_at(&place, cancel)? {
            read.push((number, name, file, place, holding));
        }
    }
    let shown = format!("database {}, shard {}", shard.database, shard.range);
    let best = read.iter().max_by_key(|(number, _, _, _, holding)| {
        (holding.is_usable, holding.documents, holding.updates, Reverse(*number))
    });
    let Some((_, name, file, place, best)) = best else {
        return Ok(Settled { told: format!("{shown}: none of its copies could be restored"), is_usable: false });
    };
    put(place, &data.join(file), best.cut)?;
    let each: Vec<_> = read.iter().map(|(_, name, _, _, holding)| format!("{name} has {}", holding.what)).collect();
    let mut told = format!("{shown}: taken is the copy of {name}, which holds most; {}", each.join("; "));
    if best.cut.is_some() || read.len() > 1 {
        told.push_str(&format!("; what was not taken is kept below {}", target.join(COPIES_NOT_TAKEN).display()));
    }
    Ok(Settled { told, is_usable: best.is_usable })
}

/// Reads a copy. `None` where it is not there, since it could not be restored.
fn look_at(path: &Path, cancel: &Cancel) -> Result<Option<Holding>, SourceError> {
    let file = match repository::fs::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(SourceError::io(path)(error)),
    };
    let bytes = file.metadata().map_err(SourceError::io(path))?.len();
    let holding = holding(&file, bytes, cancel);
    // What failed because the run is to stop looks like damage.
    cancel.check()?;
    Ok(Some(holding))
}

fn holding(file: &File, bytes: u64, cancel: &Cancel) -> Holding {
    let up_to = |bytes| Prefix { file, bytes, cancel };
    let now = Database::open(up_to(bytes)).ok().map(|database| as_of(&database));
    if let Some(now) = now.as_ref().filter(|now| now.is_usable) {
        return now.clone();
    }
    let found = salvage(&up_to(bytes), Level::Trees, COMMITS_TRIED_MAX).ok().and_then(|found| found.header);
    let cut = found.and_then(|header| {
        let end = header.place.end;
        let before = as_of(&Database::open(up_to(end)).ok()?);
        let what =
            format!("{} as of its newest whole commit, update {}: it is damaged later", before.what, before.updates);
        Some(Holding { cut: (end < bytes).then_some(end), what, ..before })
    });
    match (now, cut) {
        // One that CouchDB can be started on: all of the rest is kept where copies lie that were not taken.
        (_, Some(cut)) => cut,
        (Some(now), None) => now,
        (None, None) => Holding {
            documents: 0,
            updates: 0,
            cut: None,
            is_usable: false,
            what: "no commit that can be read".to_owned(),
        },
    }
}

/// What a file holds as of a commit.
fn as_of<R: ReadAt>(database: &Database<R>) -> Holding {
    let (header, is_usable) = (database.header(), database.check(Level::Trees).is_ok());
    let report = database.check(Level::Attachments);
    // Not all findings are kept one by one.
    let untold = report.findings_total.saturating_sub(report.findings.len() as u64);
    let concerned = report.documents_concerned().len() as u64 + untold;
    let found = match is_usable {
        true => header.documents(),
        false => database.documents().filter(Result::is_ok).count() as u64,
    };
    let documents = found.saturating_sub(concerned);
    let what = match (is_usable, concerned) {
        (true, 0) => format!("{documents} documents"),
        (true, lost) => format!("{documents} documents, and {lost} of which something is lost"),
        (false, _) => format!("{documents} documents that can be read one by one, of {}", header.documents()),
    };
    Holding { documents, updates: header.update_seq, cut: None, is_usable, what }
}

/// Moves a copy to where it belongs; one that has to be cut is copied, and stays where it is as well.
fn put(from: &Path, to: &Path, cut: Option<u64>) -> Result<(), SourceError> {
    let io = |error| SourceError::io(to)(error);
    let folder = to.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder).map_err(SourceError::io(folder))?;
    let Some(end) = cut else { return fs::rename(from, to).map_err(io) };
    fs::copy(from, to).map_err(io)?;
    let file = File::options().write(true).open(to).map_err(io)?;
    file.set_len(end).map_err(io)?;
    file.sync_all().map_err(io)?;
    let old = fs::metadata(from).map_err(SourceError::io(from))?;
    match lchown(to, Some(old.uid()), Some(old.gid())) {
        // A plain user owns both already.
        Err(error) if error.kind() != ErrorKind::PermissionDenied => Err(io(error)),
        _ => Ok(()),
    }
}

/// Removes the folders that held nothing but copies that were taken.
pub fn tidy(target: &Path) {
    remove_if_empty(&target.join(COPIES_NOT_TAKEN));
}

fn remove_if_empty(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_if_empty(&entry.path());
        }
    }
    // One that holds something stays, and that is all that is asked of it.
    let _ = fs::remove_dir(folder);
}

#[cfg(test)]
mod tests {
    use couchfile::{Checksum, Compression, CouchWriter, Format, ShardRange, headers};
    use serde_json::json;

    use super::*;

    const FILE: &str = "shards/00000000-7fffffff/orders.1700000000.couch";

    /// A copy with as many documents, each in a commit of its own.
    fn write(target: &Path, source: &str, documents: usize) -> PathBuf {
        let path = target.join(Contest::place(source, Path::new(FILE)));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let format = Format { checksum: Checksum::Md5, compression: Compression::Snappy };
        let file = File::create(&path).unwrap();
        let mut writer = CouchWriter::create(file, format, &format!("{documents:032x}"), source).unwrap();
        for number in 0..documents {
            writer.put(&format!("{source} {number}"), &json!({})).unwrap();
            writer.commit().unwrap();
        }
        path
    }

    fn settled(target: &Path, sources: &[&str]) -> (Settled, Vec<String>) {
        let shard = ShardName {
            range: ShardRange::parse("00000000-7fffffff").unwrap(),
            database: "orders".to_owned(),
            suffix: ".1700000000".to_owned(),
        };
        let copies = (0..sources.len()).map(|source| (source, PathBuf::from(FILE))).collect();
        let contest = Contest { shard, node: 0, copies };
        let settled = settle(&contest, sources, target, &target.join("data"), &Cancel::new()).unwrap();
        tidy(target);
        let ids = Database::open(File::open(target.join("data").join(FILE)).unwrap())
            .map_or(Vec::new(), |database| database.documents().filter_map(Result::ok).map(|info| info.id).collect());
        (settled, ids)
    }

    /// Damages all that was written between the last two headers.
    fn tear(path: &Path) {
        let mut bytes = fs::read(path).unwrap();
        let places: Vec<_> = headers(&bytes).take(2).map(|header| header.unwrap().place).collect();
        let torn = places[1].end as usize..places[0].offset as usize;
        bytes[torn].fill(0xff);
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_damaged_copy_that_holds_more_is_cut_and_taken_before_a_whole_one_that_is_almost_empty() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "whole", 1);
        let torn = write(dir.path(), "torn", 9);
        tear(&torn);
        let (settled, ids) = settled(dir.path(), &["whole", "torn"]);
        assert!(settled.is_usable && settled.told.contains("taken is the copy of torn"), "{settled:?}");
        assert!(
            settled.told.contains("whole has 1 documents") && settled.told.contains("newest whole commit"),
            "{settled:?}"
        );
        assert!(ids.len() > 4 && ids.len() < 9 && ids[0].starts_with("torn"), "{ids:?}");
        assert!(torn.exists(), "what is cut off is kept");
        assert!(dir.path().join(Contest::place("whole", Path::new(FILE))).exists());
    }

    #[test]
    fn a_whole_copy_is_taken_where_it_holds_more_than_is_left_of_the_damaged_one() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "whole", 8);
        tear(&write(dir.path(), "torn", 3));
        let (settled, ids) = settled(dir.path(), &["whole", "torn"]);
        assert!(settled.is_usable && settled.told.contains("taken is the copy of whole"), "{settled:?}");
        assert_eq!(ids.len(), 8);
    }

    #[test]
    fn what_has_no_commit_that_can_be_read_is_put_back_and_no_couchdb_may_be_started_on_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = write(dir.path(), "torn", 3);
        fs::write(&path, vec![0xff; 9000]).unwrap();
        let (settled, ids) = settled(dir.path(), &["torn"]);
        assert!(!settled.is_usable && ids.is_empty(), "{settled:?}");
        assert_eq!(fs::read(dir.path().join("data").join(FILE)).unwrap().len(), 9000);
        assert!(!dir.path().join(COPIES_NOT_TAKEN).exists(), "nothing is left there");
    }
}
