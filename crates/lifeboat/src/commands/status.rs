//! `lifeboat status`: are we safe? If not, why not, and what to do.

use operations::config::StackSettings;
use operations::manifest::Manifest;
use operations::status::{self, CopyKnown, Health, Known, Newest, Severity};
use operations::{Fault, drill, snapshots};
use repository::format::receipt::Receipt;
use repository::{Clock as _, Id, Index};
use serde_json::json;

use crate::app::App;
use crate::arguments;
use crate::output::Outcome;

pub fn run(app: &App, arguments: &arguments::Status) -> Result<Outcome, Fault> {
    let mut outcome = Outcome::Ok;
    let mut stacks = serde_json::Map::new();
    for stack in app.stacks(&arguments.stack)? {
        let health = of_stack(app, stack)?;
        print(app, stack, &health);
        if let Some(what) = stack.idle_schedules() {
            app.output().text(format!("  {what}"));
        }
        if !health.problems.is_empty() {
            let critical = health.problems.iter().any(|problem| problem.severity == Severity::Critical);
            outcome = if critical || outcome == Outcome::Bad { Outcome::Bad } else { Outcome::Partial };
        }
        let mut value = serde_json::to_value(&health).unwrap_or_default();
        value["next_run"] = serde_json::Value::Null;
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

/// Looks into every copy of the stack. A copy that cannot be opened is a problem, not an error.
pub fn of_stack(app: &App, stack: &StackSettings) -> Result<Health, Fault> {
    let mut copies = Vec::new();
    let mut newest: Option<Newest> = None;
    let mut receipts = Vec::new();
    for name in &stack.copies {
        let copy = app.settings.copy(name)?;
        let mut known = CopyKnown {
            name: copy.name.clone(),
            media: Some(copy.media.clone()),
            offsite: copy.offsite,
            fault: None,
            damaged: Vec::new(),
        };
        match look(app, stack, copy) {
            Ok(found) => {
                receipts.extend(found.receipts);
                known.damaged = found.damaged;
                newest = newest.into_iter().chain(found.newest).max_by_key(|newest| (!newest.selection, newest.time));
            }
            Err(fault) if fault.kind == operations::FaultKind::Cancelled => return Err(fault),
            Err(fault) => known.fault = Some(fault.into()),
        }
        copies.push(known);
    }
    receipts.sort_by_key(|receipt| receipt.at);
    let known =
        Known { stack: &stack.name, newest, receipts: &receipts, copies: &copies, rpo: stack.rpo, rto: stack.rto };
    Ok(status::health(&known, app.run.clock.now()))
}

/// What one copy says of a stack.
struct Found {
    newest: Option<Newest>,
    damaged: Vec<Id>,
    receipts: Vec<Receipt>,
}

fn look(app: &App, stack: &StackSettings, copy: &operations::config::CopySettings) -> Result<Found, Fault> {
    let repository = app.open(copy)?;
    let (found, damaged) = repository.snapshots_readable(&app.run.cancel)?;
    let found = snapshots::of_stack(found, Some(&stack.name));
    let index = Index::load(&app.cx(), &repository)?;
    let newest = snapshots::newest(&found).map(|(_, snapshot)| Newest {
        time: snapshot.time.into(),
        selection: snapshots::is_selection(snapshot),
        status: Manifest::load(&repository, &index, &snapshot.tree).ok().flatten().map(|manifest| manifest.status()),
    });
    let damaged = damaged.into_iter().map(|(id, _)| id).collect();
    Ok(Found { newest, damaged, receipts: drill::receipts(&repository)? })
}

fn print(app: &App, stack: &StackSettings, health: &Health) {
    let output = app.output();
    let name = &stack.name;
    let backed_up = match health.last_backup {
        Some(at) => format!("backed up {}", super::snapshots::minute(app, at)),
        None => "never backed up".to_owned(),
    };
    let word = match health.problems.iter().map(|problem| problem.severity).max() {
        None => "safe",
        Some(Severity::Warning) => "WARNING",
        Some(Severity::Critical) => "NOT SAFE",
    };
    output.text(format!("{name}: {word}; {backed_up}"));
    for (copy, drill) in &health.last_drill {
        let at = super::snapshots::minute(app, drill.at);
        let status = format!("{:?}", drill.status).to_lowercase();
        let took = crate::output::seconds(drill.rto_s);
        output.chat(format!("  copy {copy}: drill {status} {at}, level {}, took {took}", drill.level));
    }
    let score = &health.score;
    output.chat(format!(
        "  copies {}, media {}, off-site {}, immutable {}, verified {}",
        score.copies, score.media, score.offsite, score.immutable, score.verified
    ));
    for problem in &health.problems {
        let severity = if problem.severity == Severity::Critical { "critical" } else { "warning" };
        output.text(format!("  {severity}: {}", problem.text));
        output.text(format!("    {}", problem.fix));
    }
}
