//! The data that is backed up: a folder like that of a self-hosted application, in two generations.
//!
//! Every byte follows from the seed, so results of different machines and days are of the same data. What a change
//! writes follows from the seed and from how long the files are, so the folder needs no record of the past.

mod couch;
mod database;
pub mod random;
pub mod text;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use anyhow::{Context, Result, bail};

use database::PAGE_BYTES;
use random::Random;
use text::Pen;

/// Name of the file that says which data a folder holds. Only a folder with it is ever deleted or changed.
pub const MARKER: &str = "lifeboat-bench.txt";

const MIB: f64 = 1024.0 * 1024.0;
const COUCH_MIB: f64 = 2048.0;
const HEAP_MIB: f64 = 512.0;
const SQL_MIB: f64 = 512.0;
const MEDIA_MIB: f64 = 512.0;
const SMALL_FILES: f64 = 20_000.0;

/// Sizes of the CouchDB shards as hundredths of their sum: databases are never of one size.
const SHARD_SHARES: [f64; 8] = [0.03, 0.05, 0.08, 0.11, 0.13, 0.16, 0.20, 0.24];
const HEAP_SHARES: [f64; 4] = [0.1, 0.2, 0.3, 0.4];
const SQL_SHARES: [f64; 2] = [0.3, 0.7];
const MEDIA_SHARES: [f64; 4] = [0.25; 4];
/// KiB that small files have at least; most have up to double, the last kind up to 40 KiB.
const SMALL_FILE_KIB: [u64; 9] = [1, 1, 2, 2, 4, 4, 8, 8, 16];
const SMALL_FILE_KIB_MAX: u64 = 40;

const GROWTH: f64 = 0.03;
const CHANGED_PAGES: f64 = 0.01;
const CHANGED_SMALL_FILES: f64 = 0.01;
/// Bytes gathered in memory before they are written.
const BUFFER_BYTES: usize = 1024 * 1024;

/// Which data a folder holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// 1.0 makes about 4 GiB; files shrink with it, and so does the number of small ones.
    pub scale: f64,
    /// Data of different seeds have no byte in common.
    pub seed: u64,
}

/// Writes the first generation into `folder`, which must be missing, empty, or hold data written by this function.
pub fn generate(folder: &Path, settings: Settings) -> Result<()> {
    let mut present = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(_) => {
            fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
            fs::read_dir(folder)?
        }
    };
    if present.next().is_some() {
        read_marker(folder)?;
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
        fs::create_dir(folder)?;
    }
    // The marker comes first, so that a folder left half-filled can be filled again.
    fs::write(folder.join(MARKER), format!("scale {}\nseed {}\n", settings.scale, settings.seed))?;
    in_parallel(plan(settings.scale), |pen, file| file.create(folder, pen, settings.seed))
}

/// Appends 3 % to the append-only files and touches nothing else.
pub fn grow(folder: &Path) -> Result<()> {
    let settings = read_marker(folder)?;
    let files = plan(settings.scale).into_iter().filter(|file| file.kind == Kind::Couch).collect();
    in_parallel(files, |pen, file| file.grow(folder, pen, settings.seed))
}

/// Makes the second generation: 3 % appended to the append-only files, 1 % of the pages of heaps and dumps changed in
/// place, 1 % of the small files (200 at scale 1) rewritten.
pub fn change(folder: &Path) -> Result<()> {
    let settings = read_marker(folder)?;
    // Shards only ever grow, so their length tells this change from the one before.
    let shard = plan(settings.scale).swap_remove(0);
    let generation = fs::metadata(folder.join(&shard.path))?.len();
    let small_files = small_file_count(settings.scale);
    let rewritten = choose(
        &mut Random::new(settings.seed, "small files", generation),
        small_files,
        ((small_files as f64 * CHANGED_SMALL_FILES).round() as u64).max(1),
    );
    let small_paths: BTreeSet<String> = rewritten.into_iter().map(small_file_path).collect();
    in_parallel(plan(settings.scale), |pen, file| match file.kind {
        Kind::Couch => file.grow(folder, pen, settings.seed),
        Kind::Heap | Kind::Sql => file.change_pages(folder, pen, settings.seed, generation),
        Kind::Small if small_paths.contains(&file.path) => file.rewrite(folder, pen, settings.seed, generation),
        Kind::Small | Kind::Media => Ok(()),
    })
}

fn read_marker(folder: &Path) -> Result<Settings> {
    let path = folder.join(MARKER);
    let Ok(marker) = fs::read_to_string(&path) else {
        bail!("{} was not made by `generate`: it has no {MARKER}; name another folder", folder.display());
    };
    let field = |name: &str| marker.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    match (field("scale").map(str::parse), field("seed").map(str::parse)) {
        (Some(Ok(scale)), Some(Ok(seed))) => Ok(Settings { scale, seed }),
        _ => bail!("{}: expected the lines `scale NUMBER` and `seed NUMBER`", path.display()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Couch,
    Heap,
    Sql,
    Media,
    Small,
}

/// One file of the first generation.
#[derive(Debug)]
struct DataFile {
    path: String,
    kind: Kind,
    /// Length; append-only files become a little longer, since they end with a whole header.
    bytes: u64,
}

/// All files, the largest first of their kind where it matters to the threads that write them.
fn plan(scale: f64) -> Vec<DataFile> {
    let mut files = Vec::new();
    let mut big = |kind: Kind, mebibytes: f64, shares: &[f64], path: &dyn Fn(usize) -> String| {
        for (index, share) in shares.iter().enumerate().rev() {
            let pages = (mebibytes * share * scale * MIB / PAGE_BYTES as f64).ceil() as u64;
            files.push(DataFile { path: path(index), kind, bytes: pages * PAGE_BYTES as u64 });
        }
    };
    big(Kind::Couch, COUCH_MIB, &SHARD_SHARES, &|index| {
        let start = index as u64 * 0x2000_0000;
        format!("couchdb/data/shards/{start:08x}-{:08x}/records.1700000000.couch", start + 0x1fff_ffff)
    });
    big(Kind::Heap, HEAP_MIB, &HEAP_SHARES, &|index| format!("postgres/base/16384/{}", 24_576 + index));
    big(Kind::Sql, SQL_MIB, &SQL_SHARES, &|index| format!("dumps/database-{index}.sql"));
    big(Kind::Media, MEDIA_MIB, &MEDIA_SHARES, &|index| format!("media/recording-{index}.bin"));
    for index in 0..small_file_count(scale) {
        let path = small_file_path(index);
        let mut random = Random::new(0, &path, 0);
        let kib = SMALL_FILE_KIB[random.below(SMALL_FILE_KIB.len() as u64) as usize];
        let kib_max = if kib == 16 { SMALL_FILE_KIB_MAX } else { kib * 2 };
        files.push(DataFile { path, kind: Kind::Small, bytes: random.between(kib * 1024, kib_max * 1024) });
    }
    files
}

fn small_file_count(scale: f64) -> u64 {
    ((SMALL_FILES * scale).round() as u64).max(1)
}

fn small_file_path(index: u64) -> String {
    format!("documents/{:02}/{:02}/note-{index:05}.txt", index / 2000, index / 100 % 20)
}

impl DataFile {
    fn create(&self, folder: &Path, pen: &Pen, seed: u64) -> Result<()> {
        let path = folder.join(&self.path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = File::create_new(&path).with_context(|| format!("create {}", path.display()))?;
        if self.kind == Kind::Couch {
            couch::append(&mut file, pen, seed, &self.path, 0, self.bytes)?;
            return Ok(());
        }
        let mut random = Random::new(seed, &self.path, 0);
        let mut out = BufWriter::with_capacity(BUFFER_BYTES, file);
        let mut piece = Vec::with_capacity(PAGE_BYTES);
        let mut left = self.bytes;
        while left > 0 {
            piece.clear();
            self.write_piece(pen, &mut random, &mut piece, left.min(PAGE_BYTES as u64) as usize);
            out.write_all(&piece)?;
            left -= piece.len() as u64;
        }
        out.flush()?;
        Ok(())
    }

    /// Appends `count` bytes of this file's kind. Heaps only come in whole pages, and their lengths are multiples.
    fn write_piece(&self, pen: &Pen, random: &mut Random, out: &mut Vec<u8>, count: usize) {
        match self.kind {
            Kind::Heap => database::write_page(pen, random, out),
            Kind::Sql => database::write_sql(pen, random, out, count),
            Kind::Small => text::letter(pen, random, out, count),
            Kind::Media | Kind::Couch => random.bytes(out, count),
        }
    }

    fn grow(&self, folder: &Path, pen: &Pen, seed: u64) -> Result<()> {
        let path = folder.join(&self.path);
        let length = fs::metadata(&path).with_context(|| format!("look at {}", path.display()))?.len();
        let mut file = OpenOptions::new().append(true).open(&path)?;
        let end = length + (length as f64 * GROWTH) as u64;
        couch::append(&mut file, pen, seed, &self.path, length, end)?;
        Ok(())
    }

    fn change_pages(&self, folder: &Path, pen: &Pen, seed: u64, generation: u64) -> Result<()> {
        let path = folder.join(&self.path);
        let file = OpenOptions::new().write(true).open(&path).with_context(|| format!("open {}", path.display()))?;
        let pages = self.bytes / PAGE_BYTES as u64;
        let mut random = Random::new(seed, &self.path, generation);
        let changed = ((pages as f64 * CHANGED_PAGES).round() as u64).max(1);
        let mut page = Vec::with_capacity(PAGE_BYTES);
        for index in choose(&mut random, pages, changed) {
            page.clear();
            self.write_piece(pen, &mut random, &mut page, PAGE_BYTES);
            file.write_all_at(&page, index * PAGE_BYTES as u64)?;
        }
        Ok(())
    }

    fn rewrite(&self, folder: &Path, pen: &Pen, seed: u64, generation: u64) -> Result<()> {
        let mut random = Random::new(seed, &self.path, generation);
        let length = self.bytes + random.below(1024);
        let mut contents = Vec::new();
        self.write_piece(pen, &mut random, &mut contents, length as usize);
        let path: PathBuf = folder.join(&self.path);
        fs::write(&path, contents).with_context(|| format!("write {}", path.display()))
    }
}

/// `count` different numbers below `end`, in rising order.
fn choose(random: &mut Random, end: u64, count: u64) -> BTreeSet<u64> {
    let mut chosen = BTreeSet::new();
    while (chosen.len() as u64) < count.min(end) {
        chosen.insert(random.below(end));
    }
    chosen
}

/// Calls `work` for every file, on as many threads as the machine has cores; the first error ends it.
fn in_parallel(files: Vec<DataFile>, work: impl Fn(&Pen, &DataFile) -> Result<()> + Sync) -> Result<()> {
    let pen = Pen::new();
    let queue = Mutex::new(files.into_iter());
    let next = || queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).next();
    let worker = || {
        while let Some(file) = next() {
            work(&pen, &file)?;
        }
        Ok(())
    };
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(worker)).collect();
        running.into_iter().try_for_each(|thread| match thread.join() {
            Ok(result) => result,
            Err(panicked) => std::panic::resume_unwind(panicked),
        })
    })
}

#[cfg(test)]
mod tests;
