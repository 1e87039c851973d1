//! `lifeboat copies`: every copy, what it holds, and how far it lags behind. For monitoring: the exit code is 0 where
//! all is well and 1 where not.

use operations::config::StackSettings;
use operations::copies::{Held, Lag, lag};
use operations::last_run::LastRun;
use operations::status::{self, CopyFault, CopyKnown, Health, Known, LastDrill};
use operations::{Fault, FaultKind, failure_domain};
use repository::Clock as _;
use repository::format::receipt::Verdict;
use serde_json::{Value, json};

use crate::app::App;
use crate::look::{self, Look};
use crate::output::{Outcome, count};

pub fn run(app: &App) -> Result<Outcome, Fault> {
    let stacks: Vec<&StackSettings> = app.settings.stacks.iter().collect();
    let copies = app.copies(None, None)?;
    let looks = look::into(app, &copies, &stacks)?;
    let all: Vec<&Look<'_>> = looks.iter().collect();
    let mut bad = Vec::new();
    for look in &all {
        let wrong = show(app, look, &all);
        if !wrong.is_empty() {
            bad.push(look.copy.name.clone());
        }
    }
    let status = if bad.is_empty() { "ok" } else { "bad" };
    app.output().summary(json!({ "status": status, "copies": looks.len(), "bad": bad }));
    Ok(if bad.is_empty() { Outcome::Ok } else { Outcome::Bad })
}

/// Shows a copy; what is wrong with it, in words.
fn show(app: &App, look: &Look<'_>, all: &[&Look<'_>]) -> Vec<String> {
    let copy = look.copy;
    let mut wrong = Vec::new();
    let mut lines = Vec::new();
    let mut stacks = serde_json::Map::new();
    let mut absent = false;
    match &look.seen {
        Err(CopyFault { kind, what, .. }) => {
            // A removable copy that is not there is no news.
            absent = copy.removable && matches!(kind, FaultKind::Storage | FaultKind::NoRepository);
            if absent {
                lines.push(format!("not here, which a removable copy may be: {what}"));
            } else {
                wrong.push(what.clone());
            }
        }
        Ok(seen) => {
            if look::is_other(all, look) {
                wrong.push("it is a repository of its own, not a copy of the others".to_owned());
            }
            if !seen.damaged.is_empty() {
                wrong.push(format!("{} damaged", count(seen.damaged.len() as u64, "snapshot")));
            }
            if seen.glance.packs_lost > 0 {
                wrong.push(format!("{} lost or cut", count(seen.glance.packs_lost as u64, "pack")));
            }
            for stack in app.settings.stacks.iter().filter(|stack| stack.copies.contains(&copy.name)) {
                let standing = Standing::of(app, stack, look, all);
                lines.push(standing.line(app, &stack.name));
                wrong.extend(standing.wrong(&stack.name));
                stacks.insert(stack.name.clone(), standing.json());
            }
        }
    }
    let output = app.output();
    let labels = [(copy.offsite, "off-site"), (copy.immutable, "immutable"), (copy.removable, "removable")];
    let labels: String = labels.iter().filter(|(is_so, _)| *is_so).map(|(_, label)| format!(", {label}")).collect();
    output.text(format!("{}: {} ({}{labels})", copy.name, copy.location, copy.media));
    for line in &lines {
        output.text(format!("  {line}"));
    }
    for what in &wrong {
        output.text(format!("  WRONG: {what}"));
    }
    output.json(
        "copy",
        json!({
            "name": copy.name, "location": copy.location.to_string(), "media": copy.media, "offsite": copy.offsite,
            "immutable": copy.immutable, "removable": copy.removable, "site": copy.site, "provider": copy.provider,
            "account": copy.account, "region": copy.region, "reachable": look.seen.is_ok(), "absent": absent,
            "stacks": stacks, "problems": wrong,
        }),
    );
    wrong
}

/// How a copy stands with one stack.
struct Standing {
    snapshots: usize,
    newest: Option<status::Newest>,
    lag: Lag,
    drill: Option<LastDrill>,
}

impl Standing {
    fn of(app: &App, stack: &StackSettings, look: &Look<'_>, all: &[&Look<'_>]) -> Self {
        let held = |look: &Look<'_>| -> Vec<_> {
            let seen = look.seen.as_ref().ok();
            seen.and_then(|seen| seen.stacks.get(&stack.name)).map_or_else(Vec::new, |held| held.snapshots.clone())
        };
        let own = held(look);
        let others: Vec<_> = all
            .iter()
            .filter(|other| other.copy.name != look.copy.name && stack.copies.contains(&other.copy.name))
            .map(|other| held(other))
            .collect();
        let others: Vec<&Held> = others.iter().map(|held| &held[..]).collect();
        let of_stack: Vec<&Look<'_>> =
            all.iter().copied().filter(|look| stack.copies.contains(&look.copy.name)).collect();
        let health = health(app, stack, &of_stack);
        Self {
            snapshots: own.len(),
            newest: look.seen.as_ref().ok().and_then(|seen| seen.stacks.get(&stack.name)?.newest.clone()),
            lag: lag(&own, &others),
            drill: health.last_drill.get(&look.copy.name).cloned(),
        }
    }

    fn wrong(&self, stack: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.lag.snapshots > 0 {
            wrong.push(format!("{stack}: it lags behind by {}", count(self.lag.snapshots as u64, "snapshot")));
        }
        if self.drill.as_ref().is_some_and(|drill| drill.status == Verdict::Failed) {
            wrong.push(format!("{stack}: its last drill failed"));
        }
        wrong
    }

    fn line(&self, app: &App, stack: &str) -> String {
        let newest = match &self.newest {
            Some(newest) => format!(", newest {}", super::snapshots::minute(app, newest.time)),
            None => String::new(),
        };
        let drill = match &self.drill {
            Some(drill) => {
                let status = format!("{:?}", drill.status).to_lowercase();
                format!("drill {status} {}, level {}", super::snapshots::minute(app, drill.at), drill.level)
            }
            None => "never drilled".to_owned(),
        };
        format!("{stack}: {}{newest}; {drill}", count(self.snapshots as u64, "snapshot"))
    }

    fn json(&self) -> Value {
        json!({
            "snapshots": self.snapshots,
            "newest": self.newest.as_ref().map(|newest| json!({ "id": newest.id, "time": newest.time })),
            "lag": self.lag, "last_drill": self.drill,
        })
    }
}

/// The health of a stack, from a look into its copies.
pub fn health(app: &App, stack: &StackSettings, looks: &[&Look<'_>]) -> Health {
    let copies: Vec<CopyKnown> = look::known(app, looks, stack);
    let receipts = look::receipts(looks);
    let live = failure_domain::live(stack);
    let (rpo, rto) = (stack.rpo, stack.rto);
    let last_run = LastRun::load(&app.settings.state_dir, &stack.name);
    let known = Known {
        stack: &stack.name,
        live: &live,
        receipts: &receipts,
        copies: &copies,
        last_run: last_run.as_ref(),
        rpo,
        rto,
    };
    status::health(&known, app.run.clock.now())
}
