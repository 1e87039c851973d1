//! `after_restore`: what makes an application take up what was put back under it, and waiting until it works again.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use connectors::containers::{ContainerName, EngineAddress};
use connectors::process;
use connectors::web::{Web, WebError};
use operations::config::{AfterRestoreSettings, CallSettings, CommandLine, ReadySettings, duration};
use operations::{Fault, FaultKind};
use repository::Clock as _;
use serde_json::{Value, json};

use crate::app::App;

/// Patience for a command.
const COMMAND: Duration = Duration::from_secs(600);
/// Between two looks at whether it has ended.
const WATCH_PAUSE: Duration = Duration::from_millis(20);

/// What came of it.
pub struct Reload {
    /// What went wrong, where something did. The data is restored all the same.
    pub problem: Option<String>,
}

impl Reload {
    /// As the summary of a restore has it.
    pub fn json(&self) -> Value {
        json!({ "status": if self.problem.is_none() { "ok" } else { "failed" }, "problem": self.problem })
    }

    /// Says what went wrong.
    pub fn tell(&self, app: &App) {
        if let Some(what) = &self.problem {
            app.output()
                .text(format!("the data is restored, but the application was NOT brought to take it up: {what}"));
        }
    }
}

/// Does what the stack's `after_restore` says; `None` where it says nothing. Containers that were `started` just now need no
/// restart.
pub fn run(app: &App, stack: &str, started: &[String]) -> Result<Option<Reload>, Fault> {
    let stack = app.settings.stack(stack).ok();
    let Some(after) = stack.and_then(|stack| stack.after_restore.as_ref()) else { return Ok(None) };
    let problem = match steps(app, after, started) {
        Ok(()) => None,
        Err(fault) if fault.kind == FaultKind::Cancelled => {
            return Err(Fault {
                message: "cancelled; the data is restored, and not all of what `after_restore` says is done".to_owned(),
                ..fault
            });
        }
        Err(fault) => Some(fault.text()),
    };
    Ok(Some(Reload { problem }))
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
    let Some(ready) = &after.ready else {
        app.output().text(
            "whether the application works again was NOT looked at: `ready` in `after_restore` says what answers then",
        );
        return Ok(());
    };
    wait(app, ready)
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

/// Runs a command to its end. What it prints goes to standard error.
fn command(app: &App, line: &CommandLine) -> Result<(), Fault> {
    let failed = |what: String| Fault::new(FaultKind::Failed, format!("the command `{line}` {what}"));
    let (program, words) = line.program();
    // In a group of its own, so that what it starts can be stopped with it.
    let mut child = Command::new(program)
        .args(words)
        .current_dir(app.settings.folder())
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .process_group(0)
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    let began = app.run.clock.now();
    loop {
        let looked = child.try_wait().inspect_err(|_| process::end_group(&mut child));
        match looked.map_err(|error| failed(format!("cannot be watched: {error}")))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(failed(format!("failed: {status}"))),
            None => {}
        }
        let is_late = app.run.clock.now().duration_since(began).unsigned_abs() > COMMAND;
        if is_late || !app.run.cancel.pause(&app.run.clock, WATCH_PAUSE) {
            process::end_group(&mut child);
            return Err(match is_late {
                true => failed(format!("was stopped after {}", duration::show(COMMAND))),
                false => repository::Error::Cancelled.into(),
            });
        }
    }
}
