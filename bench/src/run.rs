//! The run: every round makes the data and the repositories anew and lets all programs do the same work in turn.
//!
//! Nothing is dropped. Every result of every round is kept, a program that fails is reported with what it said, and a
//! restore counts only after it was compared with the data, byte for byte.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::data::{self, Settings};
use crate::folder;
use crate::measure::{Cost, measure};
use crate::tool::{Program, Station, Tool, Work};

/// Marks a folder as one whose contents a run may delete, and keeps a second run out of it.
const CLAIM: &str = "lifeboat-bench.lock";
/// Bytes that the data has at scale 1, for the look at the free space.
const DATA_BYTES: f64 = 4.0e9;

/// One program's work in one round.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Counted from 1.
    pub round: usize,
    /// Which program.
    pub tool: Tool,
    /// Which work.
    pub work: Work,
    /// What it cost.
    pub cost: Cost,
    /// Size of the repository afterwards, in bytes.
    pub repository: u64,
    /// By how many bytes the work made the repository larger.
    pub growth: u64,
}

/// A program that could not do its work; it does no more in that round.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Counted from 1.
    pub round: usize,
    /// Which program.
    pub tool: Tool,
    /// What it was to do.
    pub step: &'static str,
    /// Why it could not.
    pub message: String,
}

/// Everything that came of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// In the order of time.
    pub samples: Vec<Sample>,
    /// In the order of time.
    pub failures: Vec<Failure>,
}

/// Lets `programs` work in `rounds` rounds within the folder `work_folder`, which is emptied afterwards unless `keep`.
pub fn run(work_folder: &Path, programs: &[Program], settings: Settings, rounds: usize, keep: bool) -> Result<Outcome> {
    let place = Place::claim(work_folder)?;
    ensure_space(&place.folder, settings.scale, programs.len())?;
    let mut outcome = Outcome::default();
    for round in 1..=rounds {
        // Every program comes first once, so none always finds the machine as the same other one left it.
        let mut programs: Vec<&Program> = programs.iter().collect();
        let turn = (round - 1) % programs.len().max(1);
        programs.rotate_left(turn);
        Round { number: round, rounds, place: &place, outcome: &mut outcome }.run(&programs, settings)?;
    }
    if !keep {
        place.empty()?;
    }
    Ok(outcome)
}

/// The folder that a run has to itself.
struct Place {
    folder: PathBuf,
    /// Held as long as the run lasts.
    lock: File,
}

impl Drop for Place {
    fn drop(&mut self) {
        // Closing alone leaves it held while a program that another thread starts still has the file, just before it runs.
        let _ = self.lock.unlock();
    }
}

impl Place {
    fn claim(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        let claim = folder.join(CLAIM);
        if !claim.exists() && fs::read_dir(&folder)?.next().is_some() {
            bail!("{} holds other things; name an empty or new folder with `--work`", folder.display());
        }
        let lock = File::create(&claim).with_context(|| format!("create {}", claim.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => bail!("another run is using {}", folder.display()),
            Err(TryLockError::Error(error)) => return Err(error).context(format!("lock {}", claim.display())),
        }
        let place = Self { folder, lock };
        // An interrupted run may have left its data.
        place.empty()?;
        fs::create_dir_all(place.logs())?;
        Ok(place)
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn restored(&self) -> PathBuf {
        self.folder.join("restored")
    }

    fn logs(&self) -> PathBuf {
        self.folder.join("logs")
    }

    fn empty(&self) -> Result<()> {
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path()).with_context(|| format!("remove {}", entry.path().display()))?;
            }
        }
        Ok(())
    }
}

fn ensure_space(folder: &Path, scale: f64, programs: usize) -> Result<()> {
    let space = rustix::fs::statvfs(folder).with_context(|| format!("ask for the space in {}", folder.display()))?;
    let free = space.f_bavail as f64 * space.f_frsize as f64;
    // The data, one restored copy, and a repository for each program, of which `cp`'s is as large as the data.
    let needed = DATA_BYTES * scale * (2.2 + programs as f64);
    ensure!(
        free >= needed,
        "{} has {:.1} GB free and the run needs {:.1}; name another folder with `--work` or make `--scale` smaller",
        folder.display(),
        free / 1e9,
        needed / 1e9
    );
    Ok(())
}

struct Round<'a> {
    number: usize,
    rounds: usize,
    place: &'a Place,
    outcome: &'a mut Outcome,
}

impl Round<'_> {
    fn run(mut self, programs: &[&Program], settings: Settings) -> Result<()> {
        let (data, restored) = (self.place.data(), self.place.restored());
        self.say("making the data")?;
        data::generate(&data, settings)?;
        let mut stations = Vec::new();
        for program in programs {
            let station = Station {
                program,
                home: self.place.folder.join(program.tool.name()),
                data: &data,
                restored: &restored,
            };
            match station.prepare() {
                Ok(()) => stations.push(station),
                Err(error) => self.fail(program.tool, "a new repository", &error)?,
            }
        }
        for work in Work::ALL {
            match work {
                Work::Growth => data::grow(&data)?,
                Work::Second => data::change(&data)?,
                Work::First | Work::Unchanged | Work::Restore | Work::Check => {}
            }
            let mut still_working = Vec::new();
            for station in stations {
                match self.work(&station, work) {
                    Ok(()) => still_working.push(station),
                    Err(error) => self.fail(station.program.tool, work.label(), &error)?,
                }
            }
            stations = still_working;
        }
        // What is backed up by shortcuts must come back whole, too. The data of all rounds are the same: once is enough.
        if self.number == 1 {
            for station in &stations {
                if let Err(error) = self.verify(station) {
                    self.fail(station.program.tool, "restore of the second generation", &error)?;
                }
            }
        }
        Ok(())
    }

    fn work(&mut self, station: &Station<'_>, work: Work) -> Result<()> {
        let Some(invocation) = station.invocation(work) else { return Ok(()) };
        let tool = station.program.tool;
        let restored = self.place.restored();
        if work == Work::Restore {
            recreate(&restored)?;
        }
        // Everybody finds what is read in memory.
        match work {
            Work::Restore | Work::Check => folder::warm(&station.repository())?,
            Work::First | Work::Unchanged | Work::Growth | Work::Second => folder::warm(&self.place.data())?,
        }
        let before = folder::size(&station.repository())?;
        let log = self.place.logs().join(format!("{}-{tool}-{}.log", self.number, work.name()));
        let cost = measure(&invocation, &log)?;
        let repository = folder::size(&station.repository())?;
        if work == Work::Restore {
            folder::ensure_restored(&self.place.data(), &restored)?;
            fs::remove_dir_all(&restored)?;
        }
        let growth = repository.saturating_sub(before);
        self.say(&format!("{tool:<8}  {:<38}  {:8.2} s", work.label(), cost.wall.as_secs_f64()))?;
        self.outcome.samples.push(Sample { round: self.number, tool, work, cost, repository, growth });
        Ok(())
    }

    /// Restores the latest backup and compares it with the data as they are now; not measured.
    fn verify(&self, station: &Station<'_>) -> Result<()> {
        let restored = self.place.restored();
        recreate(&restored)?;
        let log = self.place.logs().join(format!("{}-{}-verify.log", self.number, station.program.tool));
        measure(&station.restoration(Work::Second), &log)?;
        folder::ensure_restored(&self.place.data(), &restored)?;
        fs::remove_dir_all(&restored)?;
        Ok(())
    }

    fn fail(&mut self, tool: Tool, step: &'static str, error: &anyhow::Error) -> Result<()> {
        let message = format!("{error:#}");
        self.say(&format!("{tool} failed at {step}: {message}"))?;
        self.outcome.failures.push(Failure { round: self.number, tool, step, message });
        Ok(())
    }

    fn say(&self, text: &str) -> io::Result<()> {
        writeln!(io::stderr(), "round {} of {}  {text}", self.number, self.rounds)
    }
}

fn recreate(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("remove {}", folder.display()))?;
    }
    fs::create_dir(folder).with_context(|| format!("create {}", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_other_things_in_it_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("restic")).unwrap();
        let message = Place::claim(folder.path()).err().unwrap().to_string();
        assert!(message.contains("holds other things"), "{message}");
        assert!(folder.path().join("restic").exists());
    }

    #[test]
    fn two_runs_cannot_share_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        let first = Place::claim(folder.path()).unwrap();
        assert!(Place::claim(folder.path()).err().unwrap().to_string().contains("another run"));
        drop(first);
        Place::claim(folder.path()).unwrap();
    }

    #[test]
    fn a_run_that_does_not_fit_on_the_disk_is_refused_before_it_begins() {
        let folder = tempfile::tempdir().unwrap();
        let message = ensure_space(folder.path(), 1e6, 4).unwrap_err().to_string();
        assert!(message.contains("GB free") && message.contains("--scale"), "{message}");
        ensure_space(folder.path(), 1e-6, 4).unwrap();
    }
}
