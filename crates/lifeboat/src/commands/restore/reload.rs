//! `after_restore`: what makes an application take up what was put back under it, and waiting until it works again.

use std::time::Duration;

use connectors::containers::{ContainerName, EngineAddress};
use connectors::hook::Hook;
use connectors::web::{Web, WebError};
use operations::config::{AfterRestoreSettings, CallSettings, CommandLine, ReadySettings, duration};
use operations::{Fault, FaultKind};
use repository::{Event, SourceError};
use serde_json::{Value, json};

use crate::app::App;
use crate::mask::Mask;
use crate::wiring;

/// Patience for a command.
const COMMAND: Duration = Duration::from_secs(600);

/// What came of it. The data is restored in any case.
pub enum Reload {
    /// All was done, and the application works again.
    Ready,
    /// All was done, and nothing says how to see whether the application works.
    NotLookedAt,
    /// This went wrong.
    Failed(String),
    /// The run was asked to stop before all was done.
    Cancelled,
}

impl Reload {
    /// Whether something is left to do for a person.
    pub fn is_wanting(&self) -> bool {
        matches!(self, Self::Failed(_) | Self::Cancelled)
    }

    /// As the summary of a restore has it.
    pub fn json(&self) -> Value {
        let (status, problem) = match self {
            Self::Ready => ("ok", None),
            Self::NotLookedAt => ("not_looked_at", None),
            Self::Failed(what) => ("failed", Some(what)),
            Self::Cancelled => ("cancelled", None),
        };
        json!({ "status": status, "problem": problem })
    }

    /// Says what came of it.
    pub fn tell(&self, app: &App) {
        app.output().text(match self {
            Self::Ready => "the application is ready again".to_owned(),
            Self::NotLookedAt => {
                "whether the application works again was NOT looked at: `ready` in `after_restore` says what \
                                  answers then"
                    .to_owned()
            }
            Self::Failed(what) => {
                format!("the data is restored, but the application was NOT brought to take it up: {what}")
            }
            Self::Cancelled => {
                "cancelled; the data is restored, and not all of what `after_restore` says is done: do the \
                                rest by hand, or restart the application"
                    .to_owned()
            }
        });
    }
}

/// Does what the stack's `after_restore` says; `None` where it says nothing. Containers that were `started` just now need no
/// restart. It never fails: by now there are things to tell of the restore itself.
pub fn run(app: &App, stack: &str, started: &[String]) -> Option<Reload> {
    let Ok(settings) = app.settings.stack(stack) else {
        app.output().text(format!(
            "stack {stack} is not in this configuration, so nothing was done to make the application take up what is restored"
        ));
        return None;
    };
    let after = settings.after_restore.as_ref()?;
    Some(match steps(app, after, started) {
        Ok(()) if after.ready.is_some() => Reload::Ready,
        Ok(()) => Reload::NotLookedAt,
        Err(fault) if fault.kind == FaultKind::Cancelled => Reload::Cancelled,
        Err(fault) => Reload::Failed(fault.text()),
    })
}

fn steps(app: &App, after: &AfterRestoreSettings, started: &[String]) -> Result<(), Fault> {
    let note = |what: String| app.output().chat(what);
    for name in &after.restart {
        if restart(app, name, started)? {
            note(format!("container {name} is restarted"));
        }
    }
    if let Some(call) = &after.call {
        send(app, call)?;
        note("the application was called to take up what was restored".to_owned());
    }
    for line in &after.run {
        command(app, line)?;
    }
    after.ready.as_ref().map_or(Ok(()), |ready| wait(app, ready))
}

fn restart(app: &App, name: &str, started: &[String]) -> Result<bool, Fault> {
    let containers = EngineAddress::of(app.run.environment.variables()).open(&app.run.cancel)?;
    let container = containers.find(&ContainerName::Service { project: None, service: name.to_owned() })?;
    if started.contains(&container.name) {
        return Ok(false);
    }
    containers.restart(&container)?;
    Ok(true)
}

fn send(app: &App, call: &CallSettings) -> Result<(), Fault> {
    let headers = call.headers.as_ref().map(|headers| headers.read()).transpose()?;
    let headers = headers.as_ref().map_or("", |headers| headers.expose());
    let web = Web::new(app.run.cancel.clone());
    let sent = web.and_then(|web| web.call(call.url.expose(), &call.method, headers));
    sent.map_err(|error| fault(error, "the call to it failed"))
}

fn wait(app: &App, ready: &ReadySettings) -> Result<(), Fault> {
    app.output().chat("waiting until the application is ready");
    let web = Web::new(app.run.cancel.clone());
    let waited = web.and_then(|web| web.wait_until_ready(ready.url.expose(), ready.within, &app.run.clock));
    waited.map_err(|error| fault(error, &format!("it is not ready after {}", duration::show(ready.within))))
}

fn fault(error: WebError, what: &str) -> Fault {
    match error {
        WebError::Cancelled => repository::Error::Cancelled.into(),
        WebError::Failed(why) => Fault::new(FaultKind::Failed, format!("{what}: {why}")),
    }
}

/// Runs a command to its end. What it prints is shown as it comes.
fn command(app: &App, line: &CommandLine) -> Result<(), Fault> {
    let hook = Hook {
        run: wiring::run_line(line),
        container: None,
        folder: app.settings.folder().to_owned(),
        timeout: COMMAND,
        engine: EngineAddress::of(app.run.environment.variables()),
    };
    let mask = Mask::of(app);
    let mut say = |said: &str| app.cx().events.emit(Event::Note(format!("`{line}`: {}", mask.masked(said))));
    hook.run(&[], &app.run.cancel, &mut say).map_err(|error| match error {
        SourceError::Cancelled => repository::Error::Cancelled.into(),
        error => Fault::new(FaultKind::Failed, format!("the command `{line}` {error}")),
    })
}
