//! Does runs: starts the command of each as a process of its own, follows what it says, and writes down how it ended.
//!
//! What a process says goes into a file, not through the server. So a run survives the server's end by `kill -9`, and the next
//! server takes it over; and whoever follows a run reads that file, from any place in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use operations::Fault;
use repository::Clock;
use tokio::sync::broadcast;

use crate::bell::Bell;
use crate::journal::{End, Journal, Run, Status};
use crate::process::Process;
use crate::said;

/// Between two looks at a run.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(200);
/// How long runs are kept: a year, and what a page of a year needs.
const KEPT_FOR: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// News that nobody has taken yet. Who falls behind looks at everything once.
const NEWS_MAX: usize = 256;

/// The program that does the runs, with the arguments that every one begins with.
#[derive(Clone, Debug)]
pub struct Program {
    /// Its path.
    pub path: PathBuf,
    /// Such as the configuration's file.
    pub arguments: Vec<OsString>,
}

impl Program {
    /// The command for `arguments`, without input, that says what it does as JSON and lets others go first.
    pub fn command(&self, arguments: &[OsString]) -> Command {
        self.with(&["--json", "--background"], arguments)
    }

    /// The same, that says how far it is, too.
    pub fn followed(&self, arguments: &[OsString]) -> Command {
        self.with(&["--json", "--progress", "--background"], arguments)
    }

    /// The command that prints what was asked for and nothing else, for somebody who waits for it.
    pub fn printing(&self, arguments: &[OsString]) -> Command {
        self.with(&["--quiet"], arguments)
    }

    /// The options come first, as behind `--` nothing is one.
    fn with(&self, options: &[&str], arguments: &[OsString]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).args(options).args(arguments).stdin(Stdio::null());
        command
    }
}

/// Something has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A run has said more.
    Said(String),
    /// A run was asked for, has begun or has ended.
    Run(String),
    /// What is known of stacks, snapshots and copies is newer.
    Known,
}

/// Does runs.
pub struct Runner {
    /// Where they are written down.
    pub journal: Journal,
    clock: Arc<dyn Clock>,
    program: Program,
    folder: PathBuf,
    under_way: Mutex<BTreeMap<String, UnderWay>>,
    news: broadcast::Sender<News>,
    bell: Bell,
}

/// A run that is under way.
#[derive(Clone)]
struct UnderWay {
    run: Run,
    process: Process,
    is_cancelled: bool,
    is_cut_off: bool,
}

impl Runner {
    /// Keeps what runs say in `folder`, which is made.
    ///
    /// # Errors
    ///
    /// Where the folder cannot be made.
    pub fn new(
        journal: Journal,
        clock: Arc<dyn Clock>,
        program: Program,
        folder: PathBuf,
        bell: Bell,
    ) -> Result<Self, Fault> {
        std::fs::create_dir_all(&folder)
            .map_err(|error| Fault::local(format!("cannot make {}", folder.display()), error))?;
        let under_way = Mutex::default();
        Ok(Self { journal, clock, program, folder, under_way, news: broadcast::channel(NEWS_MAX).0, bell })
    }

    /// News from now on.
    pub fn news(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }

    /// Tells all who listen. Where nobody does, nobody is told.
    pub fn tell(&self, news: News) {
        let _ = self.news.send(news);
    }

    /// The program that does the runs.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// What a run says goes into this file: JSON lines, and what else there was.
    pub fn said_in(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.jsonl"))
    }

    /// The runs that are under way.
    pub fn running(&self) -> Vec<Run> {
        self.lock().values().map(|under_way| under_way.run.clone()).collect()
    }

    /// Starts a run that was written down.
    ///
    /// # Errors
    ///
    /// Where it cannot be written down that it begins. That its process cannot be started is its own end.
    pub fn start(self: &Arc<Self>, run: Run) -> Result<(), Fault> {
        match self.spawn(&run) {
            Ok((mut child, process)) => {
                if let Err(fault) = self.journal.begin(&run.id, &process, self.clock.now()) {
                    // Nothing is done that was not written down.
                    let _ = child.kill();
                    let _ = child.wait();
                    return Err(fault);
                }
                tell("run begins", &run, "running", None);
                self.follow(run, process, Some(child));
                Ok(())
            }
            Err(error) => {
                let fault = Fault::local(format!("cannot start {}", self.program.path.display()), error);
                let end = End { status: Status::Failed, message: Some(fault.text()), hint: fault.hint, summary: None };
                self.journal.end(&run.id, &end, self.clock.now())?;
                tell_end(&run, &end);
                self.tell(News::Run(run.id));
                Ok(())
            }
        }
    }

    fn spawn(&self, run: &Run) -> std::io::Result<(Child, Process)> {
        let said = log(&self.said_in(&run.id))?;
        let mut command = self.program.followed(&run.task.arguments());
        // Signals of a terminal are for the server, which passes on what it has to.
        command.process_group(0).stdout(said.try_clone()?).stderr(said);
        let child = command.spawn()?;
        match Process::of(child.id()) {
            Some(process) => Ok((child, process)),
            None => Err(std::io::Error::other("there is no /proc to see processes in")),
        }
    }

    /// Takes up what an earlier server left: follows what still runs, and writes down how the rest ended. Gives the runs
    /// that it had written down and not begun.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be used.
    pub fn take_over(self: &Arc<Self>) -> Result<Vec<Run>, Fault> {
        for run in self.journal.open(Status::Running)? {
            match run.process.clone().filter(Process::is_alive) {
                Some(process) => self.follow(run, process, None),
                None => self.write_end(&run, None, false)?,
            }
        }
        self.journal.open(Status::Queued)
    }

    /// Stops a run. Whether there was anything to stop.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be used.
    pub fn cancel(&self, id: &str) -> Result<bool, Fault> {
        if let Some(under_way) = self.lock().get_mut(id) {
            under_way.is_cancelled = true;
            under_way.process.stop();
            return Ok(true);
        }
        let is_queued = self.journal.run(id)?.is_some_and(|run| run.status == Status::Queued);
        if is_queued {
            let message = Some("it was cancelled before it began".to_owned());
            let end = End { status: Status::Cancelled, message, hint: None, summary: None };
            self.journal.end(id, &end, self.clock.now())?;
            self.tell(News::Run(id.to_owned()));
        }
        Ok(is_queued)
    }

    /// Asks all runs to stop, and waits for `patience` at most. They are as if cut off: the next server starts those of jobs anew.
    pub fn stop_all(&self, patience: Duration) {
        for under_way in self.lock().values_mut() {
            under_way.is_cut_off = true;
            under_way.process.stop();
        }
        let mut waited = Duration::ZERO;
        while waited < patience && !self.lock().is_empty() {
            self.clock.sleep(LOOK_AGAIN_AFTER);
            waited += LOOK_AGAIN_AFTER;
        }
    }

    /// Forgets runs of long ago, with what they said.
    ///
    /// # Errors
    ///
    /// Where the journal cannot be used.
    pub fn tidy(&self) -> Result<(), Fault> {
        let Ok(before) = self.clock.now().checked_sub(KEPT_FOR) else { return Ok(()) };
        for id in self.journal.forget(before)? {
            // What cannot be removed is in nobody's way.
            let _ = std::fs::remove_file(self.said_in(&id));
        }
        Ok(())
    }

    fn follow(self: &Arc<Self>, run: Run, process: Process, child: Option<Child>) {
        let under_way = UnderWay { run: run.clone(), process: process.clone(), is_cancelled: false, is_cut_off: false };
        self.lock().insert(run.id.clone(), under_way);
        self.tell(News::Run(run.id.clone()));
        let runner = Arc::clone(self);
        // A thread each: there are few at once, and one waits for nothing else.
        std::thread::spawn(move || runner.wait(&run, &process, child));
    }

    fn wait(&self, run: &Run, process: &Process, mut child: Option<Child>) {
        let said = self.said_in(&run.id);
        let mut bytes = 0;
        let exit = loop {
            let (has_ended, exit) = match &mut child {
                // A child that cannot be waited for is gone.
                Some(child) => match child.try_wait() {
                    Ok(None) => (false, None),
                    Ok(Some(exit)) => (true, exit.code()),
                    Err(_) => (true, None),
                },
                None => (!process.is_alive(), None),
            };
            let now = said.metadata().map_or(0, |metadata| metadata.len());
            if now > bytes {
                bytes = now;
                self.tell(News::Said(run.id.clone()));
            }
            if has_ended {
                break exit;
            }
            self.clock.sleep(LOOK_AGAIN_AFTER);
        };
        let under_way = self.lock().get(&run.id).cloned();
        let is_cut_off = under_way.as_ref().is_some_and(|under_way| under_way.is_cut_off);
        let is_cancelled = under_way.is_some_and(|under_way| under_way.is_cancelled);
        let written = if is_cut_off { self.write_cut_off(run) } else { self.write_end(run, exit, is_cancelled) };
        if let Err(fault) = written {
            // The next server finds it by what it said.
            crate::log::line("error", &fault.text(), &[("run", &run.id)]);
        }
        self.lock().remove(&run.id);
        self.tell(News::Run(run.id.clone()));
        self.bell.ring();
    }

    fn write_end(&self, run: &Run, exit: Option<i32>, is_cancelled: bool) -> Result<(), Fault> {
        let end = said::end(&self.said_in(&run.id), exit, is_cancelled);
        self.journal.end(&run.id, &end, self.clock.now())?;
        tell_end(run, &end);
        Ok(())
    }

    fn write_cut_off(&self, run: &Run) -> Result<(), Fault> {
        let end = said::end(&self.said_in(&run.id), None, false);
        let is_done = matches!(end.status, Status::Ok | Status::Partial);
        let message = Some("the server was stopped while it ran".to_owned());
        let end = if is_done { end } else { End { status: Status::CutOff, message, hint: None, ..end } };
        self.journal.end(&run.id, &end, self.clock.now())?;
        tell_end(run, &end);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell_end(run: &Run, end: &End) {
    tell("run ended", run, end.status.name(), end.message.as_deref());
}

/// A line for whoever reads the log, with the fields that it is searched by.
fn tell(what: &str, run: &Run, status: &str, why: Option<&str>) {
    let level = match status {
        "failed" | "cut_off" => "error",
        "partial" => "warning",
        _ => "info",
    };
    let mut fields = vec![("run", &*run.id), ("kind", run.task.kind())];
    fields.extend(run.task.stack().map(|stack| ("stack", stack)));
    fields.extend(run.job.as_deref().map(|job| ("job", job)));
    fields.push(("status", status));
    fields.extend(why.map(|why| ("why", why)));
    crate::log::line(level, what, &fields);
}

/// For its owner alone: names of files are in it.
fn log(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}
