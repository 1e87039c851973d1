//! `lifeboat copies`: every copy, what it holds, how far it lags behind, and what is wrong with it. For monitoring it exits
//! as `lifeboat status` does.

pub mod probe;

use operations::Fault;
use operations::config::StackSettings;
use operations::copies::{Held, Lag, lag};
use operations::status::{self, Health, HealthProblem, LastDrill, Severity};
use repository::Id;
use serde_json::{Value, json};

use crate::app::App;
use crate::look::{self, Look};
use crate::output::{Outcome, count};

pub fn run(app: &App) -> Result<Outcome, Fault> {
    let stacks: Vec<&StackSettings> = app.settings.stacks.iter().collect();
    let copies = app.copies(None, None)?;
    let looks = look::into(app, &copies, &stacks)?;
    let all: Vec<&Look<'_>> = looks.iter().collect();
    let mut outcome = Outcome::Ok;
    let mut bad = Vec::new();
    for look in &all {
        let worst = show(app, look, &all).unwrap_or(Severity::Notice);
        if worst > Severity::Notice {
            bad.push(look.copy.name.clone());
        }
        outcome = outcome.and(worst.into());
    }
    let status = if bad.is_empty() { "ok" } else { "bad" };
    let mut scores = serde_json::Map::new();
    for stack in stacks {
        let Health { score, rules, losses, .. } = look::health(app, stack, &look::of_stack(&looks, stack));
        app.output().chat(format!("{}:", stack.name));
        super::status::print_score(app.output(), &score, &losses);
        scores.insert(stack.name.clone(), json!({ "score": score, "rules": rules, "losses": losses }));
    }
    app.output().summary(json!({ "status": status, "copies": looks.len(), "bad": bad, "stacks": scores }));
    Ok(outcome)
}

/// Shows a copy; the worst that is wrong with it.
fn show(app: &App, look: &Look<'_>, all: &[&Look<'_>]) -> Option<Severity> {
    let copy = look.copy;
    let mut problems: Vec<HealthProblem> = Vec::new();
    let mut lines = Vec::new();
    let mut stacks = serde_json::Map::new();
    for stack in app.settings.stacks.iter().filter(|stack| stack.copies.contains(&copy.name)) {
        let of_stack: Vec<&Look<'_>> =
            all.iter().copied().filter(|look| stack.copies.contains(&look.copy.name)).collect();
        let health = look::health(app, stack, &of_stack);
        if look.seen.is_ok() {
            let standing = Standing {
                lacks: look::lacking(app, stack, &of_stack, look),
                ..Standing::of(stack, look, &of_stack, &health)
            };
            lines.push(standing.line(app, &stack.name));
            stacks.insert(stack.name.clone(), standing.json());
        }
        let own = health.problems.into_iter().filter(|problem| problem.copy.as_ref() == Some(&copy.name));
        // What is wrong with the copy as such shows in the health of each stack.
        for problem in own {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
    if !app.settings.stacks.iter().any(|stack| stack.copies.contains(&copy.name)) {
        problems.push(unused(look));
    }
    let output = app.output();
    let labels = [(copy.offsite, "off-site"), (copy.immutable, "immutable"), (copy.removable, "removable")];
    let labels: String = labels.iter().filter(|(is_so, _)| *is_so).map(|(_, label)| format!(", {label}")).collect();
    output.text(format!("{}: {} ({}{labels})", copy.name, copy.location, copy.media));
    for line in &lines {
        output.text(format!("  {line}"));
    }
    problems.iter().for_each(|problem| super::status::print_problem(output, problem));
    let fault = look.seen.as_ref().err();
    output.json(
        "copy",
        json!({
            "name": copy.name, "location": copy.location.to_string(), "media": copy.media, "offsite": copy.offsite,
            "immutable": copy.immutable, "removable": copy.removable, "site": copy.site, "provider": copy.provider,
            "account": copy.account, "region": copy.region, "reachable": fault.is_none(),
            "absent": fault.is_some_and(|fault| copy.removable && fault.is_absence()),
            "last_seen": app.state().last_seen(copy).map(|seen| seen.at), "stacks": stacks, "problems": problems,
        }),
    );
    problems.iter().map(|problem| problem.severity).max()
}

/// That no stack goes to a copy, and whether it is there: no stack's health says so.
fn unused(look: &Look<'_>) -> HealthProblem {
    let name = &look.copy.name;
    let (severity, text) = match &look.seen {
        Ok(_) => (Severity::Notice, format!("no stack goes to copy {name}")),
        Err(fault) if look.copy.removable && fault.is_absence() => {
            (Severity::Notice, format!("no stack goes to copy {name}, which is removable and not here"))
        }
        Err(fault) => {
            (Severity::Warning, format!("no stack goes to copy {name}, and it cannot be opened: {}", fault.what))
        }
    };
    let fix = "name it below `copies:` of a stack, or take it out of lifeboat.yaml".to_owned();
    HealthProblem { copy: Some(name.clone()), severity, text, fix }
}

/// How a copy stands with one stack.
struct Standing {
    snapshots: usize,
    newest: Option<status::Newest>,
    lag: Lag,
    lacks: Vec<Id>,
    drill: Option<LastDrill>,
    keeps_archives: bool,
}

impl Standing {
    fn of(stack: &StackSettings, look: &Look<'_>, of_stack: &[&Look<'_>], health: &Health) -> Self {
        let held = |look: &Look<'_>| -> Vec<_> {
            let seen = look.seen.as_ref().ok();
            seen.and_then(|seen| seen.stacks.get(&stack.name)).map_or_else(Vec::new, |held| held.snapshots.clone())
        };
        let own = held(look);
        let others: Vec<_> =
            of_stack.iter().filter(|other| other.copy.name != look.copy.name).map(|other| held(other)).collect();
        let others: Vec<&Held> = others.iter().map(|held| &held[..]).collect();
        Self {
            snapshots: own.len(),
            newest: look.seen.as_ref().ok().and_then(|seen| seen.stacks.get(&stack.name)?.newest.clone()),
            lag: lag(&own, &others),
            lacks: Vec::new(),
            drill: health.last_drill.get(&look.copy.name).cloned(),
            keeps_archives: look.copy.archives().is_some(),
        }
    }

    fn line(&self, app: &App, stack: &str) -> String {
        let newest = match &self.newest {
            Some(newest) => format!(", newest {}", super::snapshots::minute(app, newest.time)),
            None => String::new(),
        };
        let lag = match self.lag.snapshots {
            0 if !self.lacks.is_empty() => format!(", lacks {}", count(self.lacks.len() as u64, "snapshot")),
            0 => String::new(),
            behind => format!(", {} behind", count(behind as u64, "snapshot")),
        };
        let drill = match &self.drill {
            Some(drill) => {
                let status = format!("{:?}", drill.status).to_lowercase();
                format!("drill {status} {}, level {}", super::snapshots::minute(app, drill.at), drill.level)
            }
            // What proves archives is of the copy, not of a stack.
            None if self.keeps_archives => "archives".to_owned(),
            None => "never drilled".to_owned(),
        };
        format!("{stack}: {}{newest}{lag}; {drill}", count(self.snapshots as u64, "snapshot"))
    }

    fn json(&self) -> Value {
        json!({
            "snapshots": self.snapshots,
            "newest": self.newest.as_ref().map(|newest| json!({ "id": newest.id, "time": newest.time })),
            "lag": self.lag, "lacks": self.lacks, "last_drill": self.drill,
        })
    }
}
