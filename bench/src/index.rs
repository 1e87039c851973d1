//! Measures the index of a repository with very many blobs: how long it takes to open, and what it costs in memory.
//!
//! The index files are made up, encrypted and stored as a real repository's would be; no packs are needed to open them.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use connectors::storage::LocalStorage;
use repository::format::index_file::{IndexFile, IndexedPack};
use repository::format::key_file::KdfCost;
use repository::format::pack::{BlobKind, PackedBlob};
use repository::{Cancel, Clock as _, FileKind, Id, Index, Repository, RunCx, Silent, SystemClock};

const PASSWORD: &str = "benchmark";
/// Blobs in a pack of the ordinary size, cut at the ordinary average.
const BLOBS_PER_PACK: u64 = 64;

/// Makes an index of `blobs` blobs in `work` and opens it in a process of its own.
pub fn measure(work: &Path, blobs: u64) -> Result<()> {
    let folder = work.join("index");
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    make(&folder, blobs)?;
    let status = Command::new(std::env::current_exe()?).arg("index-open").arg(&folder).status()?;
    ensure!(status.success(), "opening the index failed: {status}");
    fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))
}

fn make(folder: &Path, blobs: u64) -> Result<()> {
    let storage = Arc::new(LocalStorage::new(folder.to_path_buf()));
    let repository = Repository::init(storage, PASSWORD, KdfCost::GENERATED, 256 << 10, SystemClock.now())?;
    let packs: Vec<u64> = (0..blobs.div_ceil(BLOBS_PER_PACK)).collect();
    for packs in packs.chunks(repository::limits::PACKS_PER_INDEX) {
        let packs = packs.iter().map(|pack| made_up_pack(*pack, blobs)).collect();
        let file = IndexFile { supersedes: Vec::new(), packs };
        repository.save_json_bytes(FileKind::Index, &file.to_json())?;
    }
    Ok(())
}

fn made_up_pack(pack: u64, blobs: u64) -> IndexedPack {
    let first = pack * BLOBS_PER_PACK;
    let blobs = (first..blobs.min(first + BLOBS_PER_PACK)).zip(0u32..).map(|(blob, place)| PackedBlob {
        id: Id::of(&blob.to_le_bytes()),
        kind: if blob % 50 == 0 { BlobKind::Tree } else { BlobKind::Data },
        offset: place * 180_000,
        length: 180_000,
        plain_length: Some(262_144),
    });
    IndexedPack { id: Id::of(format!("pack {pack}").as_bytes()), blobs: blobs.collect() }
}

/// Opens the index in `folder` and prints time and memory as a line of Markdown.
pub fn open(folder: &Path) -> Result<()> {
    let repository = Repository::open(Arc::new(LocalStorage::new(folder.to_path_buf())), PASSWORD)?;
    let cancel = Cancel::new();
    let cx = RunCx { events: &Silent, cancel: &cancel, clock: &SystemClock, lock: None };
    let before = resident_bytes()?;
    let started = Instant::now();
    let index = Index::load(&cx, &repository)?;
    let seconds = started.elapsed().as_secs_f64();
    let blobs = index.len(BlobKind::Data) + index.len(BlobKind::Tree);
    let each = (resident_bytes()?.saturating_sub(before)) as f64 / blobs as f64;
    let known = Id::of(&1u64.to_le_bytes());
    ensure!(index.contains(BlobKind::Data, &known), "a blob of the index is not found");
    writeln!(io::stdout(), "| {blobs} | {seconds:.1} s | {each:.0} | {:.0} MiB |", peak_bytes()? as f64 / 1048576.0)?;
    Ok(())
}

/// Resident memory now (proc(5), `VmRSS`).
fn resident_bytes() -> Result<u64> {
    status_bytes("VmRSS:")
}

/// The most there was (`VmHWM`).
fn peak_bytes() -> Result<u64> {
    status_bytes("VmHWM:")
}

fn status_bytes(field: &str) -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("the system does not say")?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kibibytes * 1024)
}
