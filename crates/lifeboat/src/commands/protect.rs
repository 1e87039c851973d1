//! `lifeboat protect`: configure, back up, prove, report, in one go.

use operations::config::{self, CopySettings, StackSettings};
use operations::drill::LEVEL_MAX;
use operations::{Fault, FaultKind};

use super::backup::Done;
use super::init::copies;
use super::init::{self, Plan};
use super::{backup, discover, drill};
use crate::app::{App, Run};
use crate::arguments;
use crate::invocation;
use crate::output::Outcome;

pub fn run(run: Run, arguments: &arguments::Protect) -> Result<Outcome, Fault> {
    let output = run.output;
    let file = init::config_file(&run)?;
    let dir = std::fs::canonicalize(&arguments.dir)
        .map_err(|error| Fault::local(format!("cannot look into {}", arguments.dir.display()), error))?;
    if !dir.is_dir() {
        return Err(Fault::new(FaultKind::Usage, format!("{} is not a folder", dir.display()))
            .with_hint("name the folder that it lies in"));
    }
    let is_new = !file.exists();
    let gaps;
    let settings = if is_new {
        output.chat(format!("looking into {}", dir.display()));
        let mut plan = Plan::look(&run, &dir, None)?;
        plan.go_to(&arguments.to)?;
        plan.show(&run);
        gaps = plan.gaps();
        plan.write(&run)?
    } else if !arguments.to.is_empty() {
        let what = format!("{} is there already and says where backups go, so --to cannot", file.display());
        return Err(
            Fault::new(FaultKind::Usage, what).with_hint("leave --to out, or name another configuration with --config")
        );
    } else {
        output.chat(format!("using {}", file.display()));
        gaps = discover::look(&run, &dir)?.gaps();
        config::load(&file, &run.environment)?
    };
    let stack = init::stack_of(&settings, &dir)?.clone();
    if is_new {
        copies::run(&run, &settings, &[])?;
    }
    // Where a configuration was there, so must its repository be: a disk that is not mounted must not be taken for a new one.
    let app = App { run, settings };

    output.chat("");
    output.chat("backing up");
    let Done { report, outcome: backed_up, copies, .. } = backup::one(&app, &stack, &[], &[])?;
    output.chat("");
    output.chat("drill: restoring the snapshot from each copy to a scratch folder and comparing everything");
    let mut copies = copies.iter().map(|copy| app.settings.copy(copy)).collect::<Result<Vec<_>, _>>()?;
    // Archives are proven by `check --read-data`; their key is better kept elsewhere.
    copies.retain(|copy| copy.archives().is_none());
    let mut drilled = Outcome::Ok;
    for copy in &copies {
        drilled = drilled.and(drill::one(&app, &stack, copy, &report.snapshot.to_hex(), LEVEL_MAX)?);
    }

    say_what_is_next(&app, &stack, &copies, &gaps);
    Ok(match (backed_up, drilled) {
        (_, Outcome::Bad) => Outcome::Bad,
        (Outcome::Ok, Outcome::Ok) => Outcome::Ok,
        _ => Outcome::Partial,
    })
}

fn say_what_is_next(app: &App, stack: &StackSettings, copies: &[&CopySettings], gaps: &[String]) {
    let output = app.output();
    output.chat("");
    init::warn_of_password(&app.run, &app.settings);
    output.chat(format!("configuration: {}", app.settings.file.display()));
    for copy in copies {
        output.chat(format!("backups: {}, a restic repository; stock restic reads it too", copy.location));
    }
    if let [copy] = copies
        && copy.location.local().is_some()
    {
        output.chat(
            "  it lies on this machine: a second copy on another disk or site is what saves you from losing both",
        );
    }
    if !gaps.is_empty() {
        output.text(format!("NOT in these backups (`lifeboat discover` says why): {}", gaps.join(", ")));
    }
    output.chat("");
    output.chat("next:");
    let lifeboat = invocation::of(&app.run.environment, &app.settings);
    for (command, what) in [
        (format!("backup {}", stack.name), "the next snapshot; only what changed is stored"),
        ("snapshots".to_owned(), "what there is, and what is proven"),
        (format!("restore latest --stack {} --to DIR", stack.name), "get it back"),
        ("status".to_owned(), "are we safe?"),
    ] {
        output.chat(format!("  {lifeboat} {command}"));
        output.chat(format!("      {what}"));
    }
}
