//! Containers that are stopped or paused while their data is captured, and the durable note of it.
//!
//! The note is on disk before the container is halted, and goes only after it runs again. So whatever ends this process,
//! the next one finds the note and puts the container right. Whoever holds a container halted holds a lock on its note,
//! which the kernel releases however the process ends: no other run starts a container that is halted for a reason.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use jiff::Timestamp;
use repository::{Cancel, Clock, SourceError};
use rustix::fs::FlockOperation;
use serde_json::{Value, json};

use super::guard::{GuardCommand, Watch};
use super::{Container, ContainerState, Containers, EngineAddress};
use crate::source::layout;

/// How the name of a note ends.
const SUFFIX: &str = ".json";
/// What a note calls the time after which a container is let go on, whoever holds it.
const UNTIL: &str = "until";

/// The engine's own default of how long a container is given to end.
const STOP_TIMEOUT_S: u64 = 10;
/// After that, the engine needs a moment.
const GRACE_MORE_S: u64 = 5;
/// How often to look whether a container has ended.
const POLL: Duration = Duration::from_millis(200);

/// How to halt a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// End it, and start it again.
    Stop,
    /// Hold its processes, and let them go on. They keep their memory and connections; what they have not written yet is
    /// not on disk.
    Pause,
}

impl Halt {
    fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Pause => "pause",
        }
    }

    /// What was done to a container.
    pub fn done(self) -> &'static str {
        match self {
            Self::Stop => "stopped",
            Self::Pause => "paused",
        }
    }
}

/// The folder with the notes of this host.
#[derive(Clone, Debug)]
pub struct Halts {
    folder: PathBuf,
    /// What this process holds halted, by the containers' ids: two sources may want the same container halted, and it
    /// goes on after the last of them.
    held: Arc<Mutex<BTreeMap<String, Weak<Held>>>>,
    /// What keeps watch over them from outside, and how it is started.
    watch: Option<Arc<Watch>>,
}

/// A container that is halted, for as long as one of these lives. [`Halted::resume`] says whether letting it go on worked.
pub struct Halted(Arc<Held>);

/// A container that is halted.
struct Held {
    socket: PathBuf,
    container: Container,
    halt: Halt,
    note: Option<Note>,
    /// The engine has said so.
    is_halted: bool,
    /// Its files are being replaced, so that it goes on only when it is told to.
    is_restored: bool,
}

/// What is replaced below a container that is halted for it. Both lists stand in its note: by them, whoever finds the note
/// tells whether the files are whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced {
    /// The paths that are replaced.
    pub paths: Vec<PathBuf>,
    /// The folders in which the journals of the replacing lie.
    pub places: Vec<PathBuf>,
}

/// Whether a container may go on below which something was being replaced; if not, why, and what to do.
pub type MayGoOn<'a> = &'a dyn Fn(&Replaced) -> Result<(), String>;

/// Why a container is halted.
#[derive(Clone, Copy)]
enum Purpose<'a> {
    /// What it works with is captured.
    Capture {
        /// For no longer than this.
        until: Option<Timestamp>,
    },
    /// What it works with is replaced.
    Restore(&'a Replaced),
}

/// A note that this process holds.
struct Note {
    path: PathBuf,
    /// Locked.
    _file: File,
}

/// What was put right.
#[derive(Debug, Default)]
pub struct PutRight {
    /// Containers that run again, by name.
    pub resumed: Vec<String>,
    /// Containers that could not be put right, by name or else by note, and why.
    pub problems: Vec<(String, String)>,
}

impl Halts {
    /// The notes below the state folder.
    pub fn below(state: &Path) -> Self {
        Self { folder: state.join("halted"), held: Arc::default(), watch: None }
    }

    /// The same, watched over by another process, which lets containers go on where this one is killed. It is started before the
    /// first container is halted, and ends with the last of these.
    #[must_use]
    pub fn watched_by(self, guard: GuardCommand) -> Self {
        Self { watch: Some(Arc::new(Watch::new(guard))), ..self }
    }

    /// Halts a container that runs, or holds one that these notes halted already. `None` where it does not run, so that
    /// nothing is to be done and nothing to be undone.
    pub fn halt(
        &self,
        containers: &Containers,
        container: &Container,
        halt: Halt,
        clock: &dyn Clock,
    ) -> Result<Option<Halted>, SourceError> {
        self.begin(containers, container, halt, Purpose::Capture { until: None }, clock)
    }

    /// The same, for no longer than `until`: after that it is let go on from outside, should this process not do it.
    pub fn halt_until(
        &self,
        containers: &Containers,
        container: &Container,
        halt: Halt,
        until: Timestamp,
        clock: &dyn Clock,
    ) -> Result<Option<Halted>, SourceError> {
        self.begin(containers, container, halt, Purpose::Capture { until: Some(until) }, clock)
    }

    /// Stops a container that runs, below which something will be replaced. It goes on only with [`Halted::resume`]: half
    /// of what is replaced is worse than none. What drops it without that leaves it, and its note, as they are.
    pub fn stop_for_restore(
        &self,
        containers: &Containers,
        container: &Container,
        replaced: &Replaced,
        clock: &dyn Clock,
    ) -> Result<Option<Halted>, SourceError> {
        self.begin(containers, container, Halt::Stop, Purpose::Restore(replaced), clock)
    }

    /// Whether a run, also one that ended early, has halted the container and not yet let it go on.
    pub fn is_noted(&self, container: &Container) -> bool {
        self.path(container).exists()
    }

    fn path(&self, container: &Container) -> PathBuf {
        self.folder.join(format!("{}{SUFFIX}", container.id))
    }

    fn begin(
        &self,
        containers: &Containers,
        container: &Container,
        halt: Halt,
        purpose: Purpose<'_>,
        clock: &dyn Clock,
    ) -> Result<Option<Halted>, SourceError> {
        let mut all = self.held.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(held) = all.get(&container.id).and_then(Weak::upgrade) {
            if (held.halt, halt) == (Halt::Pause, Halt::Stop) {
                let what = format!(
                    "container {} is to be stopped, and something else of this run has paused it already: let both stop it",
                    container.name
                );
                return Err(SourceError::unavailable(what));
            }
            return Ok(Some(Halted(held)));
        }
        if container.state != ContainerState::Running {
            return Ok(None);
        }
        let socket = containers.socket().to_owned();
        let grace_s = match halt {
            Halt::Stop => stop_timeout_s(&containers.definition(container)?).saturating_add(GRACE_MORE_S),
            Halt::Pause => GRACE_MORE_S,
        };
        // Once the engine was asked, what it does must be known: who asks to cancel here waits for it.
        let steady = EngineAddress::at(&socket).open(&Cancel::new())?;
        let mut text = json!({
            "id": container.id, "name": container.name, "halt": halt.name(), "socket": socket,
            "at": clock.now().to_string(), "grace_s": grace_s,
        });
        match purpose {
            Purpose::Capture { until } => {
                if let Some(until) = until {
                    text[UNTIL] = json!(until.to_string());
                }
                self.watch.as_ref().map_or(Ok(()), |watch| watch.begin())?;
            }
            Purpose::Restore(replaced) => text["replaced"] = replaced.to_json(),
        }
        let note = self.write(container, &text)?;
        // Nothing is replaced before the engine has stopped it.
        let mut held =
            Held { socket, container: container.clone(), halt, note: Some(note), is_halted: false, is_restored: false };
        match halt {
            Halt::Stop => steady.stop(&container.id)?,
            Halt::Pause => steady.pause(&container.id)?,
        }
        held.is_restored = matches!(purpose, Purpose::Restore(_));
        held.is_halted = true;
        let held = Arc::new(held);
        all.insert(container.id.clone(), Arc::downgrade(&held));
        Ok(Some(Halted(held)))
    }

    /// Lets every container go on that an earlier run halted and that no run holds any more.
    /// One that is still being stopped is waited for. One below which something was being replaced goes on if `may_go_on`
    /// says so.
    pub fn put_right(&self, cancel: &Cancel, clock: &dyn Clock, may_go_on: MayGoOn<'_>) -> PutRight {
        let mut done = PutRight::default();
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return done,
            Err(error) => {
                done.problems.push((self.folder.display().to_string(), error.to_string()));
                return done;
            }
        };
        for path in entries.flatten().map(|entry| entry.path()) {
            if !path.to_string_lossy().ends_with(SUFFIX) {
                continue;
            }
            match put_right(&path, cancel, clock, may_go_on) {
                Ok(resumed) => done.resumed.extend(resumed),
                Err((container, error)) => done.problems.push((container, error.to_string())),
            }
        }
        done
    }

    /// Whether there is a note of any run.
    pub(super) fn has_notes(&self) -> bool {
        self.notes().next().is_some()
    }

    fn notes(&self) -> impl Iterator<Item = PathBuf> {
        let entries = std::fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.to_string_lossy().ends_with(SUFFIX))
    }

    /// Lets containers go on that were to be halted for no longer than until `at`, whoever holds them; their notes stay. Gives the
    /// names of those that it let go on.
    pub(super) fn let_go_overdue(&self, at: Timestamp) -> Vec<String> {
        let overdue = |path: PathBuf| {
            let note: Value = serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()?;
            let until: Timestamp = note.get(UNTIL)?.as_str()?.parse().ok()?;
            let (id, socket) = (note.get("id")?.as_str()?, note.get("socket")?.as_str()?);
            let containers = (until <= at).then(|| EngineAddress::at(Path::new(socket)).open(&Cancel::new()))?.ok()?;
            // What goes wrong here is tried again soon.
            resume(&containers, id).ok()?
        };
        self.notes().filter_map(overdue).collect()
    }

    /// Writes the note, so that it outlives even the machine's power.
    fn write(&self, container: &Container, text: &Value) -> Result<Note, SourceError> {
        std::fs::create_dir_all(&self.folder).map_err(SourceError::io(&self.folder))?;
        let path = self.path(container);
        let mut file = loop {
            let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
            let file = open.map_err(SourceError::io(&path))?;
            if !lock(&file).map_err(SourceError::io(&path))? {
                let what =
                    format!("container {} is halted by another run of Lifeboat; try again later", container.name);
                return Err(SourceError::unavailable(what));
            }
            // Who puts containers right may have removed it between the opening and the lock.
            if is_at(&file, &path).map_err(SourceError::io(&path))? {
                break file;
            }
        };
        let written = file
            .set_len(0)
            .and_then(|()| file.write_all(text.to_string().as_bytes()))
            .and_then(|()| file.sync_all())
            .and_then(|()| File::open(&self.folder)?.sync_all());
        written.map_err(SourceError::io(&path))?;
        Ok(Note { path, _file: file })
    }
}

impl Replaced {
    fn to_json(&self) -> Value {
        // Facts quote paths in the same way, so that any bytes survive.
        let quoted = |paths: &[PathBuf]| paths.iter().map(|path| layout::fact_key(path)).collect::<Vec<_>>();
        json!({ "paths": quoted(&self.paths), "places": quoted(&self.places) })
    }

    fn of_json(value: &Value) -> Option<Self> {
        let paths = |name: &str| {
            let texts =
                value.get(name)?.as_array()?.iter().map(|text| layout::restored(Path::new("/"), text.as_str()?));
            texts.collect::<Option<Vec<_>>>()
        };
        Some(Self { paths: paths("paths")?, places: paths("places")? })
    }
}

/// Whether the lock was free. It is released with the file, however the process ends.
fn lock(file: &File) -> io::Result<bool> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether `file` is what lies at `path`.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match path.metadata() {
        Ok(there) => Ok((there.dev(), there.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Puts right what one note tells of. Gives the name of a container that was made to go on.
fn put_right(
    path: &Path,
    cancel: &Cancel,
    clock: &dyn Clock,
    may_go_on: MayGoOn<'_>,
) -> Result<Option<String>, (String, SourceError)> {
    let unnamed = |error| (path.display().to_string(), error);
    let io = |error| unnamed(SourceError::io(path)(error));
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        open => open.map_err(io)?,
    };
    if !lock(&file).map_err(io)? {
        return Ok(None);
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(io)?;
    let note: Value = serde_json::from_str(&text).unwrap_or_default();
    let field = |name: &str| note.get(name).and_then(Value::as_str).map(str::to_owned);
    let (Some(id), Some(name), Some(socket)) = (field("id"), field("name"), field("socket")) else {
        // It was cut short, so the container was not halted yet.
        return std::fs::remove_file(path).map_err(io).map(|()| None);
    };
    if let Some(replaced) = note.get("replaced") {
        let may = Replaced::of_json(replaced)
            .ok_or_else(|| format!("{} does not say what was being replaced; look, and remove it", path.display()))
            .and_then(|replaced| may_go_on(&replaced));
        may.map_err(|what| (name.clone(), SourceError::unavailable(what)))?;
    }
    let resumed = EngineAddress::at(Path::new(&socket)).open(cancel).and_then(|containers| {
        wait_for_halt(&containers, &id, &note, cancel, clock)?;
        let resumed = resume(&containers, &id)?;
        std::fs::remove_file(path).map_err(SourceError::io(path))?;
        Ok(resumed)
    });
    resumed.map_err(|error| (name, error))
}

/// An engine that was asked to stop a container goes on doing so also when who asked was killed. Until it must be done, a
/// container that runs may be about to stop, and must not be taken for one that was never halted.
fn wait_for_halt(
    containers: &Containers,
    id: &str,
    note: &Value,
    cancel: &Cancel,
    clock: &dyn Clock,
) -> Result<(), SourceError> {
    let at = note.get("at").and_then(Value::as_str).and_then(|at| at.parse::<Timestamp>().ok());
    let grace_s = note.get("grace_s").and_then(Value::as_u64).unwrap_or(0);
    let passed = at.map_or(Duration::MAX, |at| clock.now().duration_since(at).unsigned_abs());
    let mut left = Duration::from_secs(grace_s).saturating_sub(passed);
    while !left.is_zero() {
        cancel.check()?;
        let found = containers.containers()?.into_iter().find(|container| container.id == id);
        if found.is_none_or(|container| container.state != ContainerState::Running) {
            return Ok(());
        }
        clock.sleep(POLL.min(left));
        left = left.saturating_sub(POLL);
    }
    Ok(())
}

/// How long a container is given to end before it is killed.
fn stop_timeout_s(definition: &Value) -> u64 {
    definition["Config"]["StopTimeout"].as_u64().unwrap_or(STOP_TIMEOUT_S)
}

/// Lets a container go on, whatever it does now. Gives its name where there was something to do: it may run already, or
/// be gone.
fn resume(containers: &Containers, id: &str) -> Result<Option<String>, SourceError> {
    let found = containers.containers()?.into_iter().find(|container| container.id == id);
    let Some(container) = found else { return Ok(None) };
    let asked = match container.state {
        ContainerState::Running => return Ok(None),
        ContainerState::Paused => containers.unpause(id),
        ContainerState::Stopped => containers.start(id),
    };
    let runs = |container: &Container| container.id == id && container.state == ContainerState::Running;
    match asked {
        Ok(()) => Ok(Some(container.name)),
        // Somebody else may have been faster.
        Err(_) if containers.containers()?.iter().any(runs) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Halted {
    /// The container's name.
    pub fn name(&self) -> &str {
        &self.0.container.name
    }

    /// Lets the container go on, unless another source still holds it. Whether it was halted until now: somebody else may have
    /// let it go on before.
    pub fn resume(self) -> Result<bool, SourceError> {
        Arc::into_inner(self.0).map_or(Ok(true), |mut held| held.go_on())
    }
}

impl Held {
    /// Lets the container go on, and removes the note. Whether it was halted until now.
    fn go_on(&mut self) -> Result<bool, SourceError> {
        let Some(note) = self.note.take() else { return Ok(true) };
        let name = &self.container.name;
        // A run that was cancelled must not leave it halted.
        let containers = EngineAddress::at(&self.socket).open(&Cancel::new())?;
        let resumed = resume(&containers, &self.container.id).map_err(|error| {
            let verb = if self.halt == Halt::Stop { "start" } else { "unpause" };
            SourceError::unavailable(format!("container {name} is still halted: {error}; run `docker {verb} {name}`"))
        })?;
        if !self.is_halted {
            // The engine may be about to halt it: the note stays, and the next run sees to it.
            return Ok(true);
        }
        std::fs::remove_file(&note.path).map_err(SourceError::io(&note.path))?;
        Ok(resumed.is_some())
    }
}

impl Drop for Held {
    /// For a run that fails. What goes wrong here is left to the note, which stands until the next run.
    fn drop(&mut self) {
        if !self.is_restored {
            let _ = self.go_on();
        }
    }
}
