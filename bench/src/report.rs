//! The result as Markdown: the goals, the medians, the ratios, and every single result.

use crate::data::Settings;
use crate::machine::Machine;
use crate::run::{Outcome, Sample};
use crate::tool::{Program, Tool, Work};

const MIB: f64 = 1024.0 * 1024.0;
const MB: f64 = 1e6;

/// What a run was, and what came of it.
#[derive(Debug)]
pub struct Report<'a> {
    /// Where and when.
    pub machine: &'a Machine,
    /// The data.
    pub settings: Settings,
    /// How often all was done.
    pub rounds: usize,
    /// The programs measured, in the order of the columns.
    pub programs: &'a [Program],
    /// Why each of the others was not measured.
    pub left_out: &'a [String],
    /// The results.
    pub outcome: &'a Outcome,
}

/// What a goal or a table is about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Measure {
    /// Seconds on the wall.
    Wall(Work),
    /// Seconds of processor time.
    Cpu(Work),
    /// MiB of memory at most.
    Memory(Work),
    /// Megabytes of the repository after this work.
    Repository(Work),
    /// Megabytes that this work added to the repository.
    Growth(Work),
}

/// A goal: Lifeboat's median is at most `at_most` times the peer's.
struct Goal {
    measure: Measure,
    peer: Tool,
    at_most: f64,
}

const GOALS: [Goal; 11] = [
    Goal { measure: Measure::Wall(Work::First), peer: Tool::Restic, at_most: 0.50 },
    Goal { measure: Measure::Wall(Work::First), peer: Tool::Rustic, at_most: 0.70 },
    Goal { measure: Measure::Repository(Work::First), peer: Tool::Restic, at_most: 1.05 },
    Goal { measure: Measure::Wall(Work::Growth), peer: Tool::Restic, at_most: 0.15 },
    Goal { measure: Measure::Wall(Work::Growth), peer: Tool::Rustic, at_most: 0.25 },
    Goal { measure: Measure::Wall(Work::Second), peer: Tool::Restic, at_most: 0.60 },
    Goal { measure: Measure::Growth(Work::Second), peer: Tool::Restic, at_most: 0.70 },
    Goal { measure: Measure::Wall(Work::Unchanged), peer: Tool::Restic, at_most: 0.30 },
    Goal { measure: Measure::Wall(Work::Restore), peer: Tool::Restic, at_most: 0.45 },
    Goal { measure: Measure::Wall(Work::Restore), peer: Tool::Rustic, at_most: 0.60 },
    Goal { measure: Measure::Wall(Work::Check), peer: Tool::Restic, at_most: 0.60 },
];
/// The goal for the memory of all work, in all rounds.
const MEMORY_GOAL_MIB: f64 = 200.0;

impl Measure {
    fn of(self, sample: &Sample) -> Option<f64> {
        let (work, value) = match self {
            Self::Wall(work) => (work, sample.cost.wall.as_secs_f64()),
            Self::Cpu(work) => (work, sample.cost.cpu.as_secs_f64()),
            Self::Memory(work) => (work, sample.cost.memory_peak as f64 / MIB),
            Self::Repository(work) => (work, sample.repository as f64 / MB),
            Self::Growth(work) => (work, sample.growth as f64 / MB),
        };
        (work == sample.work).then_some(value)
    }

    fn label(self) -> String {
        match self {
            Self::Wall(work) | Self::Cpu(work) | Self::Memory(work) => work.label().into(),
            Self::Repository(work) => format!("size of the repository after: {}", work.label()),
            Self::Growth(work) => format!("growth of the repository by: {}", work.label()),
        }
    }
}

/// The middle of all rounds, with the lowest and the highest.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    lowest: f64,
    highest: f64,
}

fn spread(mut values: Vec<f64>) -> Option<Spread> {
    values.sort_by(f64::total_cmp);
    let (lowest, highest) = (*values.first()?, *values.last()?);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
    Some(Spread { median, lowest, highest })
}

impl Report<'_> {
    /// The whole report.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        self.write_conditions(&mut out);
        if self.measured(Tool::Lifeboat) {
            self.write_goals(&mut out);
        }
        self.write_table(&mut out, "Time on the wall, seconds", &Work::ALL.map(Measure::Wall));
        self.write_table(&mut out, "Processor time, seconds", &Work::ALL.map(Measure::Cpu));
        self.write_table(&mut out, "Highest memory of the largest process, MiB", &Work::ALL.map(Measure::Memory));
        self.write_table(&mut out, "Repository, MB", &SIZES);
        self.write_ratios(&mut out);
        self.write_every_result(&mut out);
        out
    }

    fn write_conditions(&self, out: &mut String) {
        let machine = self.machine;
        line(out, &format!("### {}\n", machine.date));
        let rounds = if self.rounds == 1 { "1 round".into() } else { format!("median of {} rounds", self.rounds) };
        line(out, &format!("- Data: scale {}, seed {}; {rounds}", self.settings.scale, self.settings.seed));
        line(
            out,
            &format!(
                "- Machine: {}, {:.1} GiB of memory, {}, {}; load before the run {}",
                machine.processor, machine.memory_gib, machine.kernel, machine.file_system, machine.load
            ),
        );
        let versions: Vec<_> = self.programs.iter().map(|program| program.version.as_str()).collect();
        line(out, &format!("- Programs: {}", versions.join("; ")));
        for reason in self.left_out {
            line(out, &format!("- Left out: {reason}"));
        }
        for failure in &self.outcome.failures {
            let message = failure.message.trim().replace('\n', " / ");
            line(
                out,
                &format!("- **Failed:** {} at {}, round {}: {message}", failure.tool, failure.step, failure.round),
            );
        }
    }

    fn write_goals(&self, out: &mut String) {
        line(out, "\n**Goals**\n\n| work | against | goal | measured | |\n| --- | --- | --- | --- | --- |");
        for goal in &GOALS {
            let ratio = self.ratio(goal.measure, Tool::Lifeboat, goal.peer);
            let measured = ratio.map_or("not measured".into(), |ratio| format!("{ratio:.2}"));
            let label = goal.measure.label();
            let verdict = verdict(ratio, goal.at_most);
            line(out, &format!("| {label} | {} | ≤ {:.2} | {measured} | {verdict} |", goal.peer, goal.at_most));
        }
        let peak = self.memory_peak(Tool::Lifeboat);
        let measured = peak.map_or("not measured".into(), |peak| format!("{peak:.0} MiB"));
        let verdict = verdict(peak, MEMORY_GOAL_MIB);
        line(out, &format!("| highest memory of all work | – | ≤ {MEMORY_GOAL_MIB} MiB | {measured} | {verdict} |"));
    }

    fn write_table(&self, out: &mut String, title: &str, rows: &[Measure]) {
        line(out, &format!("\n**{title}**\n"));
        self.write_head(out, self.programs);
        for measure in rows {
            let mut row = format!("| {} |", measure.label());
            for program in self.programs {
                let cell = self.spread(*measure, program.tool).map_or("–".into(), |spread| self.cell(spread));
                row.push_str(&format!(" {cell} |"));
            }
            line(out, &row);
        }
    }

    fn cell(&self, spread: Spread) -> String {
        if self.rounds == 1 {
            return number(spread.median);
        }
        format!("{} ({}–{})", number(spread.median), number(spread.lowest), number(spread.highest))
    }

    /// The medians of the first program, Lifeboat where it was measured, divided by those of each other.
    fn write_ratios(&self, out: &mut String) {
        let Some((first, peers)) = self.programs.split_first() else { return };
        line(out, &format!("\n**{} divided by each other program: wall · processor · memory**\n", first.tool));
        self.write_head(out, peers);
        for work in Work::ALL {
            let mut row = format!("| {} |", work.label());
            for peer in peers {
                let ratios = [Measure::Wall(work), Measure::Cpu(work), Measure::Memory(work)].map(|measure| {
                    self.ratio(measure, first.tool, peer.tool).map_or("–".into(), |ratio| format!("{ratio:.2}"))
                });
                row.push_str(&format!(" {} |", ratios.join(" · ")));
            }
            line(out, &row);
        }
        for measure in SIZES {
            let mut row = format!("| {} |", measure.label());
            for peer in peers {
                let ratio = self.ratio(measure, first.tool, peer.tool);
                row.push_str(&format!(" {} |", ratio.map_or("–".into(), |ratio| format!("{ratio:.2}"))));
            }
            line(out, &row);
        }
    }

    fn write_every_result(&self, out: &mut String) {
        line(out, "\n<details><summary>Every result</summary>\n");
        line(out, "| round | program | work | wall, s | processor, s | memory, MiB | repository, MB | growth, MB |");
        line(out, "| --- | --- | --- | --- | --- | --- | --- | --- |");
        for sample in &self.outcome.samples {
            let Sample { round, tool, work, cost, repository, growth } = sample;
            let numbers = [
                cost.wall.as_secs_f64(),
                cost.cpu.as_secs_f64(),
                cost.memory_peak as f64 / MIB,
                *repository as f64 / MB,
                *growth as f64 / MB,
            ]
            .map(number);
            line(out, &format!("| {round} | {tool} | {} | {} |", work.label(), numbers.join(" | ")));
        }
        line(out, "\n</details>");
    }

    fn write_head(&self, out: &mut String, programs: &[Program]) {
        let mut head = String::from("| work |");
        let mut rule = String::from("| --- |");
        for program in programs {
            head.push_str(&format!(" {} |", program.tool));
            rule.push_str(" --- |");
        }
        line(out, &head);
        line(out, &rule);
    }

    fn measured(&self, tool: Tool) -> bool {
        self.programs.iter().any(|program| program.tool == tool)
    }

    fn spread(&self, measure: Measure, tool: Tool) -> Option<Spread> {
        let samples = self.outcome.samples.iter().filter(|sample| sample.tool == tool);
        spread(samples.filter_map(|sample| measure.of(sample)).collect())
    }

    fn ratio(&self, measure: Measure, tool: Tool, peer: Tool) -> Option<f64> {
        let (ours, theirs) = (self.spread(measure, tool)?.median, self.spread(measure, peer)?.median);
        (theirs > 0.0).then(|| ours / theirs)
    }

    fn memory_peak(&self, tool: Tool) -> Option<f64> {
        let samples = self.outcome.samples.iter().filter(|sample| sample.tool == tool);
        samples.map(|sample| sample.cost.memory_peak as f64 / MIB).max_by(f64::total_cmp)
    }
}

/// The rows about the repository.
const SIZES: [Measure; 3] =
    [Measure::Repository(Work::First), Measure::Growth(Work::Growth), Measure::Growth(Work::Second)];

fn verdict(measured: Option<f64>, at_most: f64) -> String {
    match measured {
        None => "not measured".into(),
        Some(measured) if measured <= at_most => "reached".into(),
        Some(measured) => format!("**missed** by {:.0} %", (measured / at_most - 1.0) * 100.0),
    }
}

/// Three significant digits or so: hundredths below 10, tenths below 100, whole numbers above.
fn number(value: f64) -> String {
    match value {
        _ if value < 9.995 => format!("{value:.2}"),
        _ if value < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::*;
    use crate::measure::Cost;
    use crate::run::Failure;

    fn median(values: &[f64]) -> Option<f64> {
        spread(values.to_vec()).map(|spread| spread.median)
    }

    fn sample(round: usize, tool: Tool, work: Work, seconds: f64, repository: u64) -> Sample {
        let wall = Duration::from_secs_f64(seconds);
        let cost = Cost { wall, cpu: wall * 2, memory_peak: (seconds * MIB) as u64 };
        Sample { round, tool, work, cost, repository, growth: repository / 10 }
    }

    fn markdown(samples: Vec<Sample>, failures: Vec<Failure>, rounds: usize) -> String {
        let program = |tool: Tool| Program { tool, path: PathBuf::new(), version: format!("{tool} 1.2") };
        let machine = Machine {
            date: "2026-11-21 08:00 UTC".into(),
            processor: "a processor, 2 cores".into(),
            memory_gib: 23.4,
            kernel: "Linux 6.1".into(),
            file_system: "ext4".into(),
            load: "0.01".into(),
        };
        let report = Report {
            machine: &machine,
            settings: Settings { scale: 1.0, seed: 1 },
            rounds,
            programs: &[program(Tool::Lifeboat), program(Tool::Restic)],
            left_out: &["rustic was not found as `rustic`".into()],
            outcome: &Outcome { samples, failures },
        };
        report.markdown()
    }

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 100.0]), Some(3.0));
    }

    #[test]
    fn a_bad_round_stays_in_the_spread() {
        let spread = spread(vec![1.0, 50.0, 2.0]);
        assert_eq!(spread, Some(Spread { median: 2.0, lowest: 1.0, highest: 50.0 }));
    }

    #[test]
    fn goals_are_judged_by_the_ratio_of_the_medians() {
        let mut samples = Vec::new();
        for (round, ours, theirs) in [(1, 4.0, 10.0), (2, 40.0, 10.0), (3, 5.0, 12.0)] {
            samples.push(sample(round, Tool::Lifeboat, Work::First, ours, 1_100_000));
            samples.push(sample(round, Tool::Restic, Work::First, theirs, 1_000_000));
        }
        let text = markdown(samples, Vec::new(), 3);
        assert!(text.contains("| first backup | restic | ≤ 0.50 | 0.50 | reached |"), "{text}");
        assert!(text.contains("| first backup | rustic | ≤ 0.70 | not measured | not measured |"), "{text}");
        assert!(text.contains("after: first backup | restic | ≤ 1.05 | 1.10 | **missed** by 5 % |"), "{text}");
        assert!(text.contains("| highest memory of all work | – | ≤ 200 MiB | 40 MiB | reached |"), "{text}");
        assert!(text.contains("| first backup | 5.00 (4.00–40.0) | 10.0 (10.0–12.0) |"), "{text}");
        assert!(text.contains("| first backup | 0.50 · 0.50 · 0.50 |"), "{text}");
    }

    #[test]
    fn what_was_left_out_and_what_failed_is_named() {
        let failure = Failure { round: 2, tool: Tool::Restic, step: "full restore", message: "no\nspace".into() };
        let text = markdown(Vec::new(), vec![failure], 1);
        assert!(text.contains("- Left out: rustic was not found as `rustic`"), "{text}");
        assert!(text.contains("- **Failed:** restic at full restore, round 2: no / space"), "{text}");
        assert!(text.contains("| first backup | – | – |"), "{text}");
    }

    #[test]
    fn every_row_of_a_table_has_as_many_cells_as_its_head() {
        let text = markdown(vec![sample(1, Tool::Restic, Work::Check, 3.0, 7)], Vec::new(), 1);
        let rows: Vec<&str> = text.lines().collect();
        for pair in rows.windows(2).filter(|pair| pair.iter().all(|row| row.starts_with('|'))) {
            assert_eq!(pair[0].matches('|').count(), pair[1].matches('|').count(), "{pair:?}");
        }
    }

    #[test]
    fn numbers_have_about_three_digits() {
        assert_eq!([0.344, 9.996, 99.96, 2497.4].map(number), ["0.34", "10.0", "100", "2497"]);
    }
}
