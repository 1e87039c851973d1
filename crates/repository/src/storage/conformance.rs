//! One suite that every storage must pass. The engine relies on each sentence of the [`Storage`] trait; here they are
//! put to the test, for the implementations and for each wrapper around them.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};
use std::io::{Read as _, Write as _};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::archives::{ArchivePlace, ArchiveReader, ArchiveSink, StoredArchive};
use super::{File, FileKind, Listed, Storage, StorageError};
use crate::limits::ARCHIVE_PART_BYTES;
use crate::{Cancel, Clock as _, Id};

/// More than a pack of the usual size, and no round number.
const LARGE_BYTES: usize = (17 << 20) + 3;
/// More than object stores list in one answer (1000).
const MANY_FILES: u32 = 1100;
/// Threads that do the same at once.
const THREADS: u32 = 8;

/// Puts every storage that `fresh` makes, each an empty place of its own, to the test. Panics where one fails it.
pub fn run(fresh: &dyn Fn() -> Arc<dyn Storage>) {
    run_in_turn(fresh);
    one_of_many_writers_wins_and_nobody_sees_a_part(&*fresh());
}

/// The suite without writers of one name in the same moment, for servers that are known to let several of them win.
pub fn run_in_turn(fresh: &dyn Fn() -> Arc<dyn Storage>) {
    an_absent_place_is_empty(&*fresh());
    every_kind_is_kept_listed_and_deleted_on_its_own(&*fresh());
    a_file_is_read_whole_and_in_parts(&*fresh());
    nothing_is_ever_overwritten(&*fresh());
    empty_and_large_files_are_kept(&*fresh());
    many_files_are_kept(&*fresh());
    a_place_that_tells_the_time_tells_it_right(&*fresh());
}

/// Puts a place of archives, which must be empty, to the test. Panics where it fails it.
pub fn archives(place: &dyn ArchivePlace) {
    let cancel = Cancel::new();
    assert!(done("list", place.list("")).is_empty(), "an empty place");
    let large: Vec<u8> = (0..ARCHIVE_PART_BYTES * 2 + 7).map(|number| (number * 31 % 251) as u8).collect();
    let write = |path: &str, bytes: &[u8]| {
        let mut sink = done("create", ArchiveSink::create(place, path, 0, &cancel));
        done("write", sink.write_all(bytes));
        sink
    };
    let object = |path: &str, bytes: usize| StoredArchive { path: path.to_owned(), bytes: bytes as u64 };
    let listed = |folder: &str| {
        let mut objects = done("list", place.list(folder));
        objects.sort();
        objects
    };
    let sink = write("cht/2026/a~b.age", &large);
    assert_eq!(listed(""), [], "an object that is not finished");
    assert_eq!(done("finish", sink.finish()), large.len() as u64);
    let sink = write("cht/small", b"what was there before");
    done("finish", sink.finish());
    let sink = write("cht/small", b"text");
    assert_eq!(done("read", place.read("cht/small", 0..4)), b"what", "it stays until the new one is whole");
    done("finish", sink.finish());
    done("finish", write("chtx/empty", b"").finish());
    drop(write("cht/given up", &large));
    let (first, small) = (object("cht/2026/a~b.age", large.len()), object("cht/small", 4));
    assert_eq!(listed("cht"), [first.clone(), small.clone()]);
    assert_eq!(listed(""), [first.clone(), small, object("chtx/empty", 0)]);
    assert_eq!(listed("none"), []);
    let mut read = Vec::new();
    done("read", ArchiveReader::new(place, &first).read_to_end(&mut read));
    assert!(read == large, "an object comes back as it was");
    assert_eq!(done("read", place.read("cht/small", 1..3)), b"ex");
    if let Some(written) = done("modified", place.modified("cht/small")) {
        let apart = crate::SystemClock.now().duration_since(written).unsigned_abs();
        assert!(apart < Duration::from_secs(600), "it was written just now, and not at {written}");
    }
    assert!(place.read("cht/small", 1..9).is_err(), "past the end");
    assert!(place.read("cht/none", 0..1).is_err(), "what is not there");
    done("delete", place.delete("cht/small"));
    done("delete again", place.delete("cht/small"));
    assert_eq!(listed("cht"), [first]);
}

/// For storages in which others can leave files: `plant` makes a file at a path below the root, with folders as
/// needed. None of those that are no file of a repository may be listed.
pub fn passes_over_foreign_names(storage: &dyn Storage, plant: &dyn Fn(&str)) {
    let id = Id::of(b"real");
    let hex = id.to_hex();
    let folder = &hex[..2];
    for kind in FileKind::ALL {
        done("put", storage.put(at(kind, id), b"real"));
        if kind == FileKind::Config {
            continue;
        }
        let below = if kind == FileKind::Pack { format!("data/{folder}") } else { kind.folder().to_owned() };
        for name in ["README", ".nfs0000", &hex[1..], &format!("{hex}0"), &format!("{hex}-tmp-1"), "é", &"g".repeat(64)]
        {
            plant(&format!("{below}/{name}"));
        }
        plant(&format!("{below}/{}", hex.to_uppercase()));
        plant(&format!("{below}/{}/inner", Id::of(b"a folder").to_hex()));
    }
    plant("config-tmp-1");
    plant("README");
    plant(&format!("data/{}", Id::of(b"a pack too high").to_hex()));
    plant(&format!("data/lost+found/{hex}"));
    // A pack in the wrong folder is found by nobody who looks for it, so it is not there.
    plant(&format!("data/{}/{hex}", if folder == "00" { "01" } else { "00" }));
    for kind in FileKind::ALL {
        let listed = done("list", storage.list(kind));
        assert_eq!(listed, [Listed { id: at(kind, id).id, bytes: 4 }], "list {kind:?}");
    }
}

fn an_absent_place_is_empty(storage: &dyn Storage) {
    for kind in FileKind::ALL {
        assert_eq!(done("list", storage.list(kind)), [], "list {kind:?} of an empty place");
        let file = at(kind, Id::of(b"absent"));
        is_not_found(file, storage.get(file, None));
        is_not_found(file, storage.get(file, Some(0..0)));
        is_not_found(file, storage.delete(file));
    }
    assert!(!storage.location().is_empty(), "the place has a name");
}

fn every_kind_is_kept_listed_and_deleted_on_its_own(storage: &dyn Storage) {
    // One id for all kinds, so that kinds kept in one heap are mixed up.
    let id = Id::of(b"shared");
    for (size, kind) in FileKind::ALL.into_iter().enumerate() {
        done("put", storage.put(at(kind, id), &content(size as u32, size)));
    }
    for (size, kind) in FileKind::ALL.into_iter().enumerate() {
        let file = at(kind, id);
        assert_eq!(done("get", storage.get(file, None)), content(size as u32, size), "{file}");
        let listed = done("list", storage.list(kind));
        assert_eq!(listed, [Listed { id: file.id, bytes: size as u64 }], "list {kind:?}");
    }
    for (deleted, kind) in FileKind::ALL.into_iter().enumerate() {
        let file = at(kind, id);
        done("delete", storage.delete(file));
        is_not_found(file, storage.delete(file));
        is_not_found(file, storage.get(file, None));
        let left: usize = FileKind::ALL.into_iter().map(|kind| done("list", storage.list(kind)).len()).sum();
        assert_eq!(left, FileKind::ALL.len() - deleted - 1, "after deleting {file}");
        // What was deleted can be written again.
        done("put", storage.put(file, b"again"));
        assert_eq!(done("get", storage.get(file, None)), b"again", "{file}");
        done("delete", storage.delete(file));
    }
}

fn a_file_is_read_whole_and_in_parts(storage: &dyn Storage) {
    let file = File::pack(Id::of(b"parts"));
    let bytes = content(1, 1000);
    done("put", storage.put(file, &bytes));
    assert_eq!(done("get", storage.get(file, None)), bytes);
    for (start, end) in [(0, 1000), (0, 1), (1, 999), (999, 1000), (500, 1000), (0, 0), (500, 500), (1000, 1000)] {
        let part = done("get", storage.get(file, Some(start..end)));
        assert_eq!(part, bytes[start as usize..end as usize], "bytes {start}..{end}");
    }
    let backwards = Range { start: 600, end: 500 };
    for past in [0..1001, 999..1001, 1000..1001, 1001..1001, 5000..6000, 0..u64::MAX, u64::MAX..u64::MAX, backwards] {
        let result = storage.get(file, Some(past.clone()));
        assert!(matches!(result, Err(StorageError::Permanent { .. })), "bytes {past:?} of 1000: {result:?}");
    }
}

fn nothing_is_ever_overwritten(storage: &dyn Storage) {
    for kind in FileKind::ALL {
        let file = at(kind, Id::of(b"kept"));
        done("put", storage.put(file, b"first"));
        for second in [&b"second, and longer"[..], b"", b"first"] {
            match storage.put(file, second) {
                Err(StorageError::AlreadyExists { file: named, .. }) => assert_eq!(named, file),
                other => fail("a second put", other),
            }
            assert_eq!(done("get", storage.get(file, None)), b"first", "{file}");
        }
        assert_eq!(done("list", storage.list(kind)), [Listed { id: file.id, bytes: 5 }]);
    }
}

fn empty_and_large_files_are_kept(storage: &dyn Storage) {
    let empty = File::pack(Id::of(b"empty"));
    done("put", storage.put(empty, b""));
    assert_eq!(done("get", storage.get(empty, None)), b"");
    assert_eq!(done("get", storage.get(empty, Some(0..0))), b"");
    assert!(storage.get(empty, Some(0..1)).is_err());

    let large = File::pack(Id::of(b"large"));
    let bytes = content(2, LARGE_BYTES);
    done("put", storage.put(large, &bytes));
    // Not with `assert_eq`, which would print 17 MiB.
    assert!(done("get", storage.get(large, None)) == bytes, "a large file comes back as it was");
    let tail = done("get", storage.get(large, Some(16 << 20..LARGE_BYTES as u64)));
    assert!(tail == bytes[16 << 20..], "a large file's tail comes back as it was");

    let mut listed = done("list", storage.list(FileKind::Pack));
    listed.sort();
    let mut expected = [Listed { id: empty.id, bytes: 0 }, Listed { id: large.id, bytes: LARGE_BYTES as u64 }];
    expected.sort();
    assert_eq!(listed, expected);
}

fn many_files_are_kept(storage: &dyn Storage) {
    let pack = |name: u32| File::pack(Id::of(&name.to_le_bytes()));
    let size = |name: u32| (name % 300) as usize;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for name in (thread..MANY_FILES).step_by(THREADS as usize) {
                    done("put", storage.put(pack(name), &content(name, size(name))));
                }
            });
        }
    });
    let listed = done("list", storage.list(FileKind::Pack));
    assert_eq!(listed.len(), MANY_FILES as usize, "every file is listed, and once");
    let listed: BTreeMap<Id, u64> = listed.into_iter().map(|listed| (listed.id, listed.bytes)).collect();
    let expected: BTreeMap<Id, u64> = (0..MANY_FILES).map(|name| (pack(name).id, size(name) as u64)).collect();
    assert!(listed == expected, "the listing names other files or sizes than were put");
    for name in (0..MANY_FILES).step_by(97) {
        assert_eq!(done("get", storage.get(pack(name), None)), content(name, size(name)));
    }
}

fn one_of_many_writers_wins_and_nobody_sees_a_part(storage: &dyn Storage) {
    const BYTES: usize = 1 << 20;
    for round in 0..4_u32 {
        let file = File::new(FileKind::Index, Id::of(&round.to_le_bytes()));
        let written = AtomicBool::new(false);
        let read = || loop {
            // Once more after all is written, so that every round sees the file.
            let last = written.load(Ordering::SeqCst);
            let seen = is_seen_whole(storage, file, BYTES);
            if last {
                assert!(seen, "{file} was written but is not there");
                return;
            }
        };
        let write = |writer: u8| match storage.put(file, &vec![writer; BYTES]) {
            Ok(()) => Some(writer),
            Err(StorageError::AlreadyExists { .. }) => None,
            other => fail("a put at the same time as others", other),
        };
        let winners: Vec<u8> = std::thread::scope(|scope| {
            let readers = [scope.spawn(read), scope.spawn(read)];
            let writers: Vec<_> = (0..THREADS as u8).map(|writer| scope.spawn(move || write(writer))).collect();
            let ended: Vec<_> = writers.into_iter().map(|writer| writer.join()).collect();
            written.store(true, Ordering::SeqCst);
            assert!(readers.into_iter().all(|reader| reader.join().is_ok()), "a reader saw what it must not see");
            assert!(ended.iter().all(Result::is_ok), "a writer failed");
            ended.into_iter().flatten().flatten().collect()
        });
        assert_eq!(winners.len(), 1, "writers that won: {winners:?}");
        let kept = done("get", storage.get(file, None));
        assert!(kept == vec![winners[0]; BYTES], "the winner's bytes are not what was kept");
    }
}

/// Whether a file of `bytes` equal bytes is there. Fails if a part or a mixture is.
fn is_seen_whole(storage: &dyn Storage, file: File, bytes: usize) -> bool {
    for listed in done("list", storage.list(file.kind)) {
        assert_eq!(listed.bytes, bytes as u64, "{file} is listed before it is whole");
    }
    match storage.get(file, None) {
        Ok(seen) => {
            assert_eq!(seen.len(), bytes, "a part of {file} is seen");
            assert!(seen.iter().all(|byte| *byte == seen[0]), "{file} is a mixture");
            true
        }
        Err(StorageError::NotFound { .. }) => false,
        other => fail("a get while others put", other),
    }
}

/// The file of `kind` named by `id`; the config file, which has no id.
fn at(kind: FileKind, id: Id) -> File {
    if kind == FileKind::Config { File::CONFIG } else { File::new(kind, id) }
}

/// Bytes that differ from place to place and from seed to seed.
fn content(seed: u32, bytes: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let step = |_| {
        // xorshift32 (Marsaglia 2003)
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    };
    (0..bytes).map(step).collect()
}

fn is_not_found<T: Debug>(file: File, result: Result<T, StorageError>) {
    match result {
        Err(StorageError::NotFound { file: named, .. }) => assert_eq!(named, file),
        other => fail("asking for what is not there", other),
    }
}

/// Servers whose clock is wrong by more than this help nobody to find out that ours is.
const CLOCK_DEVIATION_MAX: Duration = Duration::from_secs(15 * 60);

fn a_place_that_tells_the_time_tells_it_right(storage: &dyn Storage) {
    let file = at(FileKind::Lock, Id::of(b"timed"));
    done("put", storage.put(file, b"x"));
    if let Some(at) = done("modified", storage.modified(file)) {
        let apart = crate::SystemClock.now().duration_since(at).unsigned_abs();
        assert!(apart < CLOCK_DEVIATION_MAX, "{file} was written {apart:?} from now");
        is_not_found(
            self::at(FileKind::Lock, Id::of(b"absent")),
            storage.modified(self::at(FileKind::Lock, Id::of(b"absent"))),
        );
    }
}

fn done<T>(what: &str, result: Result<T, impl Display>) -> T {
    result.unwrap_or_else(|error| fail(what, Err::<T, _>(error)))
}

#[expect(clippy::panic, reason = "a failed assertion, in a suite that only tests call")]
fn fail<T, R>(what: &str, result: Result<T, impl Display>) -> R {
    match result {
        Ok(_) => panic!("{what} succeeded"),
        Err(error) => panic!("{what} failed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::time::Duration;

    use super::*;
    use crate::storage::memory::MemoryStorage;

    /// Ways in which a storage can be wrong.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Wrong {
        Overwrites,
        ShowsParts,
        MixesKinds,
        ListsOnePage,
        ListsWrongSizes,
        CutsRanges,
        DeletesWhatIsNotThere,
        Forgets,
    }

    struct WrongStorage(Wrong, MemoryStorage);

    impl Storage for WrongStorage {
        fn location(&self) -> String {
            "wrong".into()
        }

        fn put(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
            match self.0 {
                Wrong::Overwrites => self.1.plant(file, bytes.to_vec()),
                Wrong::ShowsParts if self.1.read(file).is_none() => {
                    self.1.plant(file, bytes[..bytes.len() / 2].to_vec());
                    std::thread::sleep(Duration::from_millis(if bytes.len() == 1 << 20 { 20 } else { 0 }));
                    self.1.plant(file, bytes.to_vec());
                }
                Wrong::Forgets if bytes.len() > 16 << 20 => {}
                _ => return self.1.put(file, bytes),
            }
            Ok(())
        }

        fn get(&self, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, StorageError> {
            match (self.0, range) {
                (Wrong::CutsRanges, Some(range)) => {
                    let whole = self.1.get(file, None)?;
                    let (start, end) = (range.start.min(range.end), range.end.min(whole.len() as u64));
                    Ok(whole[start.min(end) as usize..end as usize].to_vec())
                }
                (_, range) => self.1.get(file, range),
            }
        }

        fn list(&self, kind: FileKind) -> Result<Vec<Listed>, StorageError> {
            let mut listed = self.1.list(kind)?;
            match self.0 {
                Wrong::MixesKinds if kind == FileKind::Lock => listed.extend(self.1.list(FileKind::Key)?),
                Wrong::ListsOnePage => listed.truncate(1000),
                Wrong::ListsWrongSizes => listed.iter_mut().for_each(|listed| listed.bytes += 1),
                _ => {}
            }
            Ok(listed)
        }

        fn delete(&self, file: File) -> Result<(), StorageError> {
            match self.1.delete(file) {
                Err(StorageError::NotFound { .. }) if self.0 == Wrong::DeletesWhatIsNotThere => Ok(()),
                result => result,
            }
        }
    }

    #[test]
    fn the_suite_catches_every_wrong_storage() {
        use Wrong::*;
        for wrong in [
            Overwrites,
            ShowsParts,
            MixesKinds,
            ListsOnePage,
            ListsWrongSizes,
            CutsRanges,
            DeletesWhatIsNotThere,
            Forgets,
        ] {
            let suite = || run(&|| Arc::new(WrongStorage(wrong, MemoryStorage::new())));
            assert!(catch_unwind(AssertUnwindSafe(suite)).is_err(), "{wrong:?} passes");
        }
    }
}
