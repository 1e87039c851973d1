//! Shows a run on the terminal: a bar on standard error where it is one, and every problem as a line of its own.

use std::io::IsTerminal as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use repository::{Event, Events, Problem};
use serde_json::json;

use crate::alike::Alike;
use crate::output::{Output, complain, one_line};

/// Redraws a second. More costs time and tells nothing.
const REDRAWS_HERTZ: u8 = 8;
/// How often programs are told how far a run is.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Receives the events of a run.
pub struct Progress {
    bar: ProgressBar,
    files: AtomicU64,
    output: Output,
    verbose: bool,
    untold: Untold,
    /// For programs that follow the run.
    told: Option<Told>,
}

/// How far a run is, as it is told to programs.
#[derive(Default)]
struct Told(Mutex<Step>);

/// What is under way.
#[derive(Default)]
struct Step {
    name: String,
    bytes_done: u64,
    bytes_total: Option<u64>,
    last: Option<Instant>,
}

/// The problems that were not shown since many like them were.
#[derive(Clone, Default)]
pub struct Untold(Arc<Mutex<Alike>>);

impl Untold {
    /// Says how many there are.
    pub fn tell(&self) {
        for line in self.alike(Alike::rest) {
            complain(&one_line(&format!("problem: {line} (--verbose names each)")));
        }
    }

    fn alike<T>(&self, ask: impl FnOnce(&mut Alike) -> T) -> T {
        ask(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Progress {
    /// A bar where standard error is a terminal and nobody asked for quiet.
    /// With `tells`, lines of JSON say how far it is.
    pub fn new(output: Output, verbose: bool, tells: bool) -> Self {
        let visible = std::io::stderr().is_terminal() && !output.is_quiet() && !output.is_json();
        let target =
            if visible { ProgressDrawTarget::stderr_with_hz(REDRAWS_HERTZ) } else { ProgressDrawTarget::hidden() };
        Self {
            bar: ProgressBar::with_draw_target(None, target),
            files: AtomicU64::new(0),
            output,
            verbose,
            untold: Untold::default(),
            told: tells.then(Told::default),
        }
    }

    /// Whether anybody sees the bar.
    pub fn is_visible(&self) -> bool {
        !self.bar.is_hidden()
    }

    /// Whether notes are shown while they come.
    pub fn shows_notes(&self) -> bool {
        self.verbose
    }

    /// Removes the bar, and says what was not shown.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
        self.untold.tell();
    }

    /// What was not shown, for whoever ends the command.
    pub fn untold(&self) -> Untold {
        self.untold.clone()
    }

    /// Shows a problem, however many like it there are: the name is what counts.
    pub fn by_name(&self, problem: &Problem) {
        self.output.json("problem", problem);
        if !self.output.is_json() {
            self.line(&format!("problem: {problem}"));
        }
    }

    fn step(&self, name: &str, bytes_total: Option<u64>) {
        self.bar.reset();
        self.files.store(0, Ordering::Relaxed);
        let template = match bytes_total {
            // No rate: what is taken over unread would make it absurd.
            Some(total) => {
                self.bar.set_length(total);
                "{prefix:12} {wide_bar} {bytes}/{total_bytes} {msg} {left}"
            }
            None => {
                self.bar.unset_length();
                "{prefix:12} {spinner} {bytes} {msg} {elapsed}"
            }
        };
        let left = |state: &ProgressState, text: &mut dyn std::fmt::Write| {
            let left: Duration = state.eta();
            // A writer in memory.
            let _ = write!(text, "{} left", crate::output::seconds(left.as_secs_f64()));
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style.with_key("left", left).progress_chars("━━─"));
        }
        self.bar.set_prefix(name.to_owned());
        self.bar.enable_steady_tick(Duration::from_millis(250));
    }

    /// Says how far it is where something follows the run, each step at its beginning and then not too often.
    fn tell(&self, change: impl FnOnce(&mut Step)) {
        let Some(Told(step)) = &self.told else { return };
        let mut step = step.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut step);
        if step.last.is_none_or(|last| last.elapsed() >= TELL_EVERY) {
            step.last = Some(Instant::now());
            let Step { name, bytes_done, bytes_total, last: _ } = &*step;
            self.output.json("progress", json!({ "step": name, "bytes_done": bytes_done, "bytes_total": bytes_total }));
        }
    }

    fn line(&self, line: &str) {
        self.bar.suspend(|| complain(&one_line(line)));
    }
}

impl Events for Progress {
    fn emit(&self, event: Event) {
        match event {
            Event::StepStarted { name, bytes_total } => {
                self.step(&name, bytes_total);
                self.tell(|step| *step = Step { name, bytes_total, ..Step::default() });
            }
            Event::Bytes(bytes) => {
                self.bar.inc(bytes);
                self.tell(|step| step.bytes_done += bytes);
            }
            Event::FileDone(path) => {
                let files = self.files.fetch_add(1, Ordering::Relaxed) + 1;
                // A message is a text to build; not for each of a million files.
                if files.is_multiple_of(64) {
                    self.bar.set_message(format!("{files} files"));
                }
                if self.verbose {
                    self.line(&path.display().to_string());
                }
            }
            Event::Problem(problem) => {
                let is_shown = || self.untold.alike(|alike| alike.is_shown(&problem.to_string(), &problem.what));
                if self.verbose || self.output.is_json() || is_shown() {
                    self.by_name(&problem);
                }
            }
            Event::Note(note) if self.verbose => self.line(&format!("note: {note}")),
            _ => {}
        }
    }
}
