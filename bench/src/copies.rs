//! What two more copies cost: Lifeboat with one copy and with three, beside restic run three times, and restic run once and
//! then copied twice. All copies are folders of this machine, so that the processor is what is measured.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::data::{self, Settings};
use crate::measure::Cost;
use crate::tool::{PASSWORD, Program, RESTIC_OPTIONS};

/// What is compared, in the order of the table.
const LABELS: [&str; 5] =
    ["lifeboat, 1 copy", "lifeboat, 3 copies", "restic, 1 repository", "restic, 3 times", "restic, and `copy` twice"];

/// Runs all of it `rounds` times in `work` and prints the medians.
pub fn compare(work: &Path, lifeboat: &Program, restic: &Program, settings: Settings, rounds: usize) -> Result<()> {
    let mut costs: Vec<Vec<Cost>> = vec![Vec::new(); LABELS.len()];
    let data = work.join("copies-data");
    for _ in 0..rounds {
        for folder in ["copies-data", "copies"] {
            let folder = work.join(folder);
            if folder.exists() {
                fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
            }
        }
        data::generate(&data, settings)?;
        let home = work.join("copies");
        fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
        let bench = Bench { home: &home, data: &data, lifeboat, restic };
        costs[0].push(bench.lifeboat(1)?);
        costs[1].push(bench.lifeboat(3)?);
        let one = bench.restic("r1")?;
        costs[2].push(one);
        costs[3].push(sum(&[one, bench.restic("r2")?, bench.restic("r3")?]));
        costs[4].push(sum(&[one, bench.copied("r1", "c2")?, bench.copied("r1", "c3")?]));
    }
    fs::remove_dir_all(&data)?;
    fs::remove_dir_all(work.join("copies"))?;
    print(&costs)
}

fn print(costs: &[Vec<Cost>]) -> Result<()> {
    let mut output = io::stdout();
    writeln!(output, "| | processor | of one copy | on the clock | memory |\n| --- | --- | --- | --- | --- |")?;
    for (number, label) in LABELS.iter().enumerate() {
        let cost = median(&costs[number]);
        // Each program's three are held against its own one.
        let one = median(&costs[if number < 2 { 0 } else { 2 }]);
        writeln!(
            output,
            "| {label} | {:.1} s | {:.2} | {:.1} s | {} MiB |",
            cost.cpu.as_secs_f64(),
            cost.cpu.as_secs_f64() / one.cpu.as_secs_f64(),
            cost.wall.as_secs_f64(),
            cost.memory_peak >> 20
        )?;
    }
    Ok(())
}

/// The one in the middle by processor time.
fn median(costs: &[Cost]) -> Cost {
    let mut sorted = costs.to_vec();
    sorted.sort_by_key(|cost| cost.cpu);
    sorted[sorted.len() / 2]
}

fn sum(costs: &[Cost]) -> Cost {
    Cost {
        wall: costs.iter().map(|cost| cost.wall).sum(),
        cpu: costs.iter().map(|cost| cost.cpu).sum(),
        memory_peak: costs.iter().map(|cost| cost.memory_peak).max().unwrap_or(0),
    }
}

struct Bench<'a> {
    home: &'a Path,
    data: &'a Path,
    lifeboat: &'a Program,
    restic: &'a Program,
}

impl Bench<'_> {
    /// The first backup into so many copies.
    fn lifeboat(&self, copies: usize) -> Result<Cost> {
        let name = format!("l{copies}");
        let folder = self.home.join(&name);
        fs::create_dir(&folder)?;
        let places: String = (1..=copies).map(|copy| format!("  c{copy}: {{ url: c{copy} }}\n")).collect();
        let text = format!(
            "version: 1\nstate_dir: state\npassword_file: password\ncopies:\n{places}stacks:\n  bench:\n    sources:\n      \
             data: {{ files: {{ paths: ['{}'] }} }}\n",
            self.data.display()
        );
        fs::write(folder.join("lifeboat.yaml"), text)?;
        self.lifeboat.run_in(&folder, &["init"], "init")?;
        self.lifeboat.run_in(&folder, &["backup", "--quiet"], "backup")
    }

    /// The first backup into a new repository.
    fn restic(&self, name: &str) -> Result<Cost> {
        let folder = self.home.join(name);
        fs::create_dir(&folder)?;
        fs::write(folder.join("password"), PASSWORD)?;
        self.restic.run_in(&folder, &[&RESTIC_OPTIONS[..], &["init"]].concat(), "init")?;
        let data = self.data.to_string_lossy();
        self.restic.run_in(&folder, &[&RESTIC_OPTIONS[..], &["backup", &data]].concat(), "backup")
    }

    /// A repository copied into a new one, with its chunker's parameters, so that what is copied stays deduplicated.
    fn copied(&self, from: &str, name: &str) -> Result<Cost> {
        let folder = self.home.join(name);
        fs::create_dir(&folder)?;
        fs::write(folder.join("password"), PASSWORD)?;
        let from = format!("../{from}/repository");
        let source = ["--from-repo", &from, "--from-password-file", "password"];
        self.restic.run_in(
            &folder,
            &[&RESTIC_OPTIONS[..], &["init", "--copy-chunker-params"], &source].concat(),
            "init",
        )?;
        self.restic.run_in(&folder, &[&RESTIC_OPTIONS[..], &["copy"], &source].concat(), "copy")
    }
}
