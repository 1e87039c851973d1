//! What a CouchDB that changed little costs: Lifeboat's source for it beside restic on the same folder, and beside a walk that
//! looks at every file. The files are such as CouchDB opens, made by the writer that tests use.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use couchfile::{Checksum, Compression, CouchWriter, Format, ShardRange};
use serde_json::json;

use crate::data::random::Random;
use crate::data::text::Pen;
use crate::folder;
use crate::measure::Cost;
use crate::tool::{PASSWORD, Program, RESTIC_OPTIONS};

/// Databases, each with this many shards.
const SHARDS_EACH: u32 = 8;
/// The only node.
const NODE: &str = "couchdb@127.0.0.1";
/// When the databases were made, in seconds since 1970.
const CREATED: u64 = 1_700_000_000;
/// Text of a document: as much as a filled-in form has, with its history.
const DOCUMENT_BYTES: usize = 12 << 10;
/// Documents between two commits.
const COMMIT_DOCUMENTS: u64 = 500;
const FORMAT: Format = Format { checksum: Checksum::Xxh3, compression: Compression::Snappy };

/// How much is made.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Shards in all; a multiple of eight.
    pub shards: u32,
    /// Bytes of all of them, about.
    pub bytes: u64,
    /// Another seed makes other documents.
    pub seed: u64,
}

/// Measures it in `work` and prints a table.
pub fn compare(work: &Path, lifeboat: &Program, restic: &Program, size: Size) -> Result<()> {
    let home = work.join("couchdb");
    if home.exists() {
        fs::remove_dir_all(&home).with_context(|| format!("remove {}", home.display()))?;
    }
    let data = home.join("data");
    fs::create_dir_all(&data).with_context(|| format!("create {}", data.display()))?;
    let mut databases = Databases::create(&data, size)?;
    let bench = Bench { home: &home, data: &data, lifeboat, restic };
    bench.begin()?;
    let mut output = io::stdout();
    writeln!(output, "{} shards, {} MiB\n", size.shards, folder::size(&data)? >> 20)?;
    writeln!(
        output,
        "| | lifeboat | restic | lifeboat/restic | memory of lifeboat |\n| --- | --- | --- | --- | --- |"
    )?;
    let mut line = |work: &str, (own, peer): (Cost, Cost)| {
        let (own_s, peer_s) = (own.wall.as_secs_f64(), peer.wall.as_secs_f64());
        let memory = own.memory_peak >> 20;
        writeln!(output, "| {work} | {own_s:.2} s | {peer_s:.2} s | {:.3} | {memory} MiB |", own_s / peer_s)
    };
    line("first backup", bench.both("first")?)?;
    let unchanged = bench.both("unchanged")?;
    line("no change", unchanged)?;
    databases.append(100)?;
    line("grown by 1 %", bench.both("grown")?)?;
    let nothing = bench.nothing()?;
    let walk = look_at_all(&data)?;
    let own = unchanged.0.wall.saturating_sub(nothing.wall);
    writeln!(
        io::stdout(),
        "\nNo change took {:.3} s more than the backup of one empty file; to look at every file takes {:.3} s.",
        own.as_secs_f64(),
        walk.as_secs_f64()
    )?;
    fs::remove_dir_all(&home).with_context(|| format!("remove {}", home.display()))
}

/// Shards that are open for writing, as a CouchDB has them.
struct Databases {
    shards: Vec<Shard>,
    size: Size,
}

struct Shard {
    writer: CouchWriter<BufWriter<File>>,
    random: Random,
    documents: u64,
}

impl Databases {
    fn create(data: &Path, size: Size) -> Result<Self> {
        let mut shards = Vec::new();
        let mut maps = writer(&data.join("_dbs.couch"), "maps")?;
        let mut nodes = writer(&data.join("_nodes.couch"), "nodes")?;
        nodes.put(NODE, &json!({}))?;
        finish(&mut nodes)?;
        for number in 0..size.shards / SHARDS_EACH {
            let name = format!("bench-{number}");
            let names: Vec<String> = ranges().map(|range| range.to_string()).collect();
            let by_range: serde_json::Map<_, _> = names.iter().map(|range| (range.clone(), json!([NODE]))).collect();
            let changelog: Vec<_> = names.iter().map(|range| json!(["add", range, NODE])).collect();
            let suffix: Vec<u8> = format!(".{CREATED}").into_bytes();
            maps.put(
                &name,
                &json!({ "shard_suffix": suffix, "changelog": changelog, "by_node": { NODE: names }, "by_range": by_range }),
            )?;
            for range in ranges() {
                let path = data.join("shards").join(range.to_string()).join(format!("{name}.{CREATED}.couch"));
                let random = Random::new(size.seed, &path.to_string_lossy(), 0);
                shards.push(Shard { writer: writer(&path, &format!("{name} {range}"))?, random, documents: 0 });
            }
        }
        finish(&mut maps)?;
        let mut databases = Self { shards, size };
        databases.append(1)?;
        Ok(databases)
    }

    /// Adds one part in `of` of the size to each shard.
    fn append(&mut self, of: u64) -> Result<()> {
        let pen = Pen::new();
        let each = self.size.bytes / u64::from(self.size.shards) / of;
        for shard in &mut self.shards {
            let end = shard.writer.position() + each;
            while shard.writer.position() < end {
                let mut text = Vec::with_capacity(DOCUMENT_BYTES + 16);
                while text.len() < DOCUMENT_BYTES {
                    pen.word(&mut shard.random, &mut text);
                    text.push(b' ');
                }
                let id = format!("{:016x}", shard.random.next());
                shard.writer.put(&id, &json!({ "type": "data_record", "note": String::from_utf8_lossy(&text) }))?;
                shard.documents += 1;
                if shard.documents % COMMIT_DOCUMENTS == 0 {
                    shard.writer.commit()?;
                }
            }
            finish(&mut shard.writer)?;
        }
        Ok(())
    }
}

fn ranges() -> impl Iterator<Item = ShardRange> {
    let width = u32::MAX / SHARDS_EACH;
    (0..SHARDS_EACH).map(move |number| ShardRange {
        first: number * (width + 1),
        last: if number + 1 == SHARDS_EACH { u32::MAX } else { (number + 1) * (width + 1) - 1 },
    })
}

fn writer(path: &Path, uuid: &str) -> Result<CouchWriter<BufWriter<File>>> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    Ok(CouchWriter::create(BufWriter::new(file), FORMAT, uuid, NODE)?)
}

fn finish(writer: &mut CouchWriter<BufWriter<File>>) -> Result<()> {
    writer.commit()?;
    Ok(writer.get_mut().flush()?)
}

/// How long it takes to ask the system about every file, as any program must.
fn look_at_all(folder: &Path) -> Result<Duration> {
    let started = Instant::now();
    walk(folder, &mut |_| ())?;
    Ok(started.elapsed())
}

fn walk(folder: &Path, visit: &mut dyn FnMut(&fs::Metadata)) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))? {
        let path = entry?.path();
        let metadata = fs::symlink_metadata(&path).with_context(|| format!("look at {}", path.display()))?;
        if metadata.is_dir() {
            walk(&path, visit)?;
        }
        visit(&metadata);
    }
    Ok(())
}

struct Bench<'a> {
    home: &'a Path,
    data: &'a Path,
    lifeboat: &'a Program,
    restic: &'a Program,
}

impl Bench<'_> {
    fn begin(&self) -> Result<()> {
        let (own, peer) = (self.home.join("lifeboat"), self.home.join("restic"));
        fs::create_dir(&own)?;
        fs::create_dir(&peer)?;
        fs::write(own.join("one"), "")?;
        let text = format!(
            "version: 1\nstate_dir: state\npassword_file: password\ncopies:\n  disk: {{ url: repository }}\nstacks:\n  \
             bench:\n    sources:\n      data: {{ couchdb: {{ data: '{}' }} }}\n  nothing:\n    sources:\n      \
             one: {{ files: {{ paths: [one] }} }}\n",
            self.data.display()
        );
        fs::write(own.join("lifeboat.yaml"), text)?;
        self.lifeboat.run_in(&own, &["init"], "init")?;
        fs::write(peer.join("password"), PASSWORD)?;
        self.restic.run_in(&peer, &[&RESTIC_OPTIONS[..], &["init"]].concat(), "init")?;
        Ok(())
    }

    /// A backup with each program.
    fn both(&self, log: &str) -> Result<(Cost, Cost)> {
        let data = self.data.to_string_lossy();
        let own = self.lifeboat.run_in(&self.home.join("lifeboat"), &["backup", "bench", "--quiet"], log)?;
        let restic = [&RESTIC_OPTIONS[..], &["backup", &data]].concat();
        Ok((own, self.restic.run_in(&self.home.join("restic"), &restic, log)?))
    }

    /// What every backup costs: the second one of a single empty file.
    fn nothing(&self) -> Result<Cost> {
        let own = self.home.join("lifeboat");
        self.lifeboat.run_in(&own, &["backup", "nothing", "--quiet"], "nothing")?;
        self.lifeboat.run_in(&own, &["backup", "nothing", "--quiet"], "nothing")
    }
}
