//! `lifeboat status`: are we safe? If not, why not, and what to do.

use jiff::Timestamp;
use operations::config::StackSettings;
use operations::score::{Loss, Score};
use operations::status::{Health, HealthProblem, Severity};
use operations::{Fault, schedule};
use repository::{Clock as _, Identity};
use serde_json::json;

use crate::app::App;
use crate::output::{Outcome, Output};
use crate::{arguments, look};

pub fn run(app: &App, arguments: &arguments::Status) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::Ok;
    let mut stacks = serde_json::Map::new();
    let asked = app.stacks(&arguments.stack)?;
    let copies = app.copies(None, None)?;
    let needed: Vec<_> =
        copies.into_iter().filter(|copy| asked.iter().any(|stack| stack.copies.contains(&copy.name))).collect();
    // A copy that cannot be opened is a problem, not an error.
    let looks = look::into(app, &needed, &asked)?;
    for stack in asked {
        let health = look::health(app, stack, &look::of_stack(&looks, stack));
        print(app, stack, &health);
        let next_run = next_run(app, stack);
        if let Some(at) = next_run {
            app.output().chat(format!(
                "  next backup by the schedule, where `lifeboat serve` runs: {}",
                super::snapshots::minute(app, at)
            ));
        }
        outcome = outcome.and(worst(&health).map_or(Outcome::Ok, Outcome::from));
        let mut value = serde_json::to_value(&health).unwrap_or_default();
        value["next_run"] = json!(next_run);
        stacks.insert(stack.name.clone(), value);
    }
    let status = match outcome {
        Outcome::Ok => "ok",
        Outcome::Partial => "warning",
        Outcome::Bad => "critical",
    };
    app.output().summary(json!({ "status": status, "stacks": stacks }));
    Ok(outcome)
}

/// When a backup is due by the schedule. `None` where there is none, and where backups are switched off.
fn next_run(app: &App, stack: &StackSettings) -> Option<Timestamp> {
    let is_disabled = app.settings.sentinel.as_ref().is_some_and(|sentinel| sentinel.disabled.is_some());
    let host = Identity::of_process().hostname;
    schedule::next_backup(stack, &host, app.run.clock.now()).filter(|_| !is_disabled)
}

fn worst(health: &Health) -> Option<Severity> {
    health.problems.iter().map(|problem| problem.severity).max()
}

fn print(app: &App, stack: &StackSettings, health: &Health) {
    let output = app.output();
    let name = &stack.name;
    let backed_up = match health.last_backup {
        Some(at) => format!("backed up {}", super::snapshots::minute(app, at)),
        None if health.is_known => "never backed up".to_owned(),
        None => "no copy can be looked into".to_owned(),
    };
    let word = match worst(health) {
        None | Some(Severity::Notice) => safe(&health.losses),
        Some(Severity::Warning) => "WARNING".to_owned(),
        Some(Severity::Critical) => "NOT SAFE".to_owned(),
    };
    output.text(format!("{name}: {word}; {backed_up}"));
    for (copy, drill) in &health.last_drill {
        let at = super::snapshots::minute(app, drill.at);
        let status = format!("{:?}", drill.status).to_lowercase();
        let took = crate::output::seconds(drill.rto_s);
        let of_part = if drill.partial { ", of a PARTIAL snapshot" } else { "" };
        output.chat(format!("  copy {copy}: drill {status} {at}, level {}, took {took}{of_part}", drill.level));
    }
    print_score(output, &health.score, &health.losses);
    health.problems.iter().for_each(|problem| print_problem(output, problem));
}

/// What is said where nothing is wrong: from which losses the data is not safe all the same.
fn safe(losses: &[Loss]) -> String {
    let takes_all: Vec<&str> =
        losses.iter().filter(|loss| loss.takes_data && loss.leaves.is_empty()).map(|loss| &*loss.of).collect();
    match &takes_all[..] {
        [] => "safe".to_owned(),
        of => format!("safe, but not from the loss of {}", of.join(" or ")),
    }
}

/// Shows the score, and what each loss would take.
pub fn print_score(output: Output, score: &Score, losses: &[Loss]) {
    output.chat(format!(
        "  3-2-1-1-0: copies {}, media {}, off-site {}, immutable {}, verified {}",
        score.copies, score.media, score.offsite, score.immutable, score.verified
    ));
    for loss in losses {
        output.chat(format!("  {}{}", if loss.is_total { "! " } else { "" }, loss.text));
    }
}

/// Shows what is wrong, and what to do.
pub fn print_problem(output: Output, problem: &HealthProblem) {
    let severity = match problem.severity {
        Severity::Critical => "critical",
        Severity::Warning => "warning",
        // What could be better is for whoever has time to read.
        Severity::Notice if output.is_quiet() => return,
        Severity::Notice => "notice",
    };
    output.text(format!("  {severity}: {}", problem.text));
    output.text(format!("    {}", problem.fix));
}
