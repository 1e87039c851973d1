//! `lifeboat forget` and `lifeboat prune`: what stays and why, and what is removed.

use std::collections::BTreeSet;
use std::sync::Arc;

use operations::config::{CopySettings, duration};
use operations::retention::{self, Count, Decision, Policy, TagList, Within};
use operations::{Fault, FaultKind, drill, snapshots};
use repository::forget::Why;
use repository::{Clock as _, Id, Repository, forget, prune};
use serde_json::json;

use super::for_each;
use crate::app::{App, Opened};
use crate::arguments::{self, Keep};
use crate::output::{Outcome, bytes, count};

pub fn forget(app: &App, arguments: &arguments::Forget) -> Result<Outcome, Fault> {
    let copies = app.copies(arguments.copy.as_deref(), None)?;
    if arguments.snapshot.is_empty() {
        let name = |copy: &&CopySettings| format!("copy {}", copy.name);
        return for_each(app.output(), &copies, name, |copy| {
            let repository = app.open(copy)?;
            if copies.len() > 1 {
                app.output().text(format!("copy {}:", copy.name));
            }
            let remove = by_rules(app, arguments, copy, &repository)?;
            remove_from(app, arguments, copy, &repository, remove, Why::Rules)
        });
    }
    // Which snapshots are meant is known before the first one goes.
    let opened = app.open_all(&copies)?;
    let chosen = named(app, arguments, &opened)?;
    if !arguments.force {
        chosen.iter().try_for_each(|(opened, remove)| refuse_the_last_ones(app, &opened.repository, remove))?;
    }
    let name = |(opened, _): &(&Opened<'_>, Vec<Id>)| format!("copy {}", opened.copy.name);
    for_each(app.output(), &chosen, name, |(Opened { copy, repository }, remove)| {
        remove_from(app, arguments, copy, repository, remove.clone(), Why::Named)
    })
}

/// The snapshots that the user names, in each copy that has any of them. A name that no copy knows is an error.
fn named<'a, 'b>(
    app: &App,
    arguments: &arguments::Forget,
    opened: &'b [Opened<'a>],
) -> Result<Vec<(&'b Opened<'a>, Vec<Id>)>, Fault> {
    let mut chosen: Vec<BTreeSet<Id>> = vec![BTreeSet::new(); opened.len()];
    for name in &arguments.snapshot {
        let mut unknown = None;
        let mut is_known = false;
        for (Opened { repository, .. }, chosen) in opened.iter().zip(&mut chosen) {
            match snapshots::resolve_to_remove(&app.cx(), repository, name, arguments.stack.as_deref()) {
                Ok(id) => {
                    chosen.insert(id);
                    is_known = true;
                }
                Err(error @ repository::Error::NotFound(_)) => unknown = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        if let Some(error) = unknown.filter(|_| !is_known) {
            return Err(error.into());
        }
    }
    let chosen = opened.iter().zip(chosen).filter(|(_, chosen)| !chosen.is_empty());
    Ok(chosen.map(|(opened, chosen)| (opened, chosen.into_iter().collect())).collect())
}

/// Removes snapshots from one copy, or says what would be removed.
fn remove_from(
    app: &App,
    arguments: &arguments::Forget,
    copy: &CopySettings,
    repository: &Arc<Repository>,
    remove: Vec<Id>,
    why: Why,
) -> Result<Outcome, Fault> {
    if !arguments.dry_run && !remove.is_empty() {
        forget::forget(&app.cx(), repository, &remove, why)?;
    }
    let removed = count(remove.len() as u64, "snapshot");
    app.output().summary(json!({ "status": "ok", "copy": copy.name, "dry_run": arguments.dry_run, "removed": remove }));
    let text = if arguments.dry_run { format!("would remove {removed}") } else { format!("removed {removed}") };
    app.output().text(text);
    if arguments.prune && !arguments.dry_run {
        let options = prune::Options::default();
        return run_prune(app, copy, repository, options, false);
    }
    if !arguments.dry_run && !remove.is_empty() {
        app.output().chat("their data stays until `lifeboat prune`");
    }
    Ok(Outcome::Ok)
}

/// The newest snapshot of a stack, and the newest that a drill proved, are what a restore would begin with. A name that
/// was mistyped, or `latest`, must not remove them.
fn refuse_the_last_ones(app: &App, repository: &Repository, named: &[Id]) -> Result<(), Fault> {
    let receipts = drill::receipts(repository)?;
    let telling = drill::telling_by_snapshot(&receipts);
    let is_proven = |id: &Id| telling.get(id).is_some_and(|receipt| drill::is_proof(receipt));
    // Those that cannot be read protect nothing, and may all be removed.
    let (snapshots, _) = repository.snapshots_readable(&app.run.cancel)?;
    for (id, snapshot) in snapshots.iter().filter(|(id, _)| named.contains(id)) {
        let mut of_stack = snapshots.iter().filter(|(_, other)| other.stack() == snapshot.stack());
        let is_newest = of_stack.clone().next_back().is_some_and(|(newest, _)| newest == id);
        let is_newest_proven = of_stack.rfind(|(id, _)| is_proven(id)).is_some_and(|(newest, _)| newest == id);
        let what = match (is_newest, is_newest_proven) {
            (false, false) => continue,
            (true, _) => "is the newest of its stack",
            (false, true) => "is the newest of its stack that passed a drill",
        };
        return Err(Fault::new(FaultKind::Usage, format!("snapshot {} {what}; nothing was removed", id.short()))
            .with_hint("add --force to remove it all the same"));
    }
    Ok(())
}

/// Asks the rules of each stack; prints every snapshot with its decision.
fn by_rules(
    app: &App,
    arguments: &arguments::Forget,
    copy: &CopySettings,
    repository: &Repository,
) -> Result<Vec<Id>, Fault> {
    let given = policy(&arguments.keep)?;
    let receipts = drill::receipts(repository)?;
    let snapshots = snapshots::of_stack(repository.snapshots(&app.run.cancel)?, arguments.stack.as_deref());
    app.check_stack(arguments.stack.as_deref(), !snapshots.is_empty())?;
    let now = app.run.clock.now();
    let mut remove = Vec::new();
    for group in retention::groups(snapshots) {
        let stack = &group.stack;
        let settings = app.settings.stacks.iter().find(|settings| settings.name == *stack);
        let policy = match (&given, settings) {
            (Some(policy), _) => policy,
            (None, Some(settings)) => app.settings.retention(settings, copy),
            (None, None) => {
                app.output().text(format!("stack {stack} is not in the configuration: nothing of it is removed"));
                continue;
            }
        };
        let zone = settings.map_or(app.run.environment.time_zone(), |settings| &settings.time_zone);
        app.output().text(format!("stack {stack} ({}):", group.paths.join(" ")));
        let decisions = group.decide(&receipts, policy, now, zone);
        decisions.iter().for_each(|decision| show(app, copy, stack, decision));
        if arguments.dry_run {
            retention::calendar(&decisions, zone).iter().for_each(|line| app.output().text(format!("  {line}")));
            app.output().text(format!("  {}", retention::LEGEND));
        }
        remove.extend(decisions.iter().filter(|decision| !decision.is_kept()).map(|decision| decision.id));
    }
    Ok(remove)
}

fn show(app: &App, copy: &CopySettings, stack: &str, decision: &Decision) {
    let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
    let word = if decision.is_kept() { "keep  " } else { "remove" };
    let time = super::snapshots::minute(app, decision.time);
    app.output().text(format!("  {word}  {}  {time}  {}", decision.id.short(), reasons.join(", ")));
    app.output().json(
        "verdict",
        json!({ "copy": copy.name, "stack": stack, "id": decision.id, "time": decision.time, "keep": decision.is_kept(), "reasons": reasons }),
    );
}

/// The rules given on the command line; `None` where none is.
fn policy(keep: &Keep) -> Result<Option<Policy>, Fault> {
    let any_given = *keep != Keep::default();
    let policy = Policy {
        last: number(keep.keep_last.as_deref(), "--keep-last")?,
        hourly: number(keep.keep_hourly.as_deref(), "--keep-hourly")?,
        daily: number(keep.keep_daily.as_deref(), "--keep-daily")?,
        weekly: number(keep.keep_weekly.as_deref(), "--keep-weekly")?,
        monthly: number(keep.keep_monthly.as_deref(), "--keep-monthly")?,
        yearly: number(keep.keep_yearly.as_deref(), "--keep-yearly")?,
        within: within(keep.keep_within.as_deref(), "--keep-within")?,
        within_hourly: within(keep.keep_within_hourly.as_deref(), "--keep-within-hourly")?,
        within_daily: within(keep.keep_within_daily.as_deref(), "--keep-within-daily")?,
        within_weekly: within(keep.keep_within_weekly.as_deref(), "--keep-within-weekly")?,
        within_monthly: within(keep.keep_within_monthly.as_deref(), "--keep-within-monthly")?,
        within_yearly: within(keep.keep_within_yearly.as_deref(), "--keep-within-yearly")?,
        tags: keep.keep_tag.iter().map(|tags| TagList(tags.split(',').map(str::to_owned).collect())).collect(),
    };
    if any_given && policy.is_empty() {
        let what = "these rules keep nothing";
        return Err(Fault::new(FaultKind::Usage, what)
            .with_hint("keep at least one; `lifeboat forget ID` removes single snapshots"));
    }
    Ok(any_given.then_some(policy))
}

fn number(text: Option<&str>, option: &str) -> Result<Count, Fault> {
    let Some(text) = text else { return Ok(Count::default()) };
    match text {
        "all" | "-1" | "unlimited" => Ok(Count::All),
        _ => text.parse().map(Count::AtMost).map_err(|_| {
            Fault::new(FaultKind::Usage, format!("{option} {text} is not a number")).with_hint("give a number or `all`")
        }),
    }
}

fn within(text: Option<&str>, option: &str) -> Result<Option<Within>, Fault> {
    let parsed = text.map(str::parse::<Within>).transpose();
    parsed.map_err(|error| Fault::new(FaultKind::Usage, format!("{option}: {error}")))
}

pub fn prune(app: &App, arguments: &arguments::Prune) -> Result<Outcome, Fault> {
    let copies = app.copies(arguments.copy.as_deref(), None)?;
    let options = prune::Options {
        grace: arguments.grace.unwrap_or(repository::limits::PRUNE_GRACE),
        unused_percent_max: arguments.max_unused,
    };
    let name = |copy: &&CopySettings| format!("copy {}", copy.name);
    for_each(app.output(), &copies, name, |copy| {
        let repository = app.open(copy)?;
        if copies.len() > 1 {
            app.output().text(format!("copy {}:", copy.name));
        }
        run_prune(app, copy, &repository, options, arguments.dry_run)
    })
}

fn run_prune(
    app: &App,
    copy: &CopySettings,
    repository: &Arc<Repository>,
    options: prune::Options,
    dry_run: bool,
) -> Result<Outcome, Fault> {
    let output = app.output();
    if dry_run {
        let plan = prune::plan(&app.cx(), repository, options)?;
        let condemned: u64 = plan.deletable.values().sum();
        output.summary(json!({
            "status": "ok", "copy": copy.name, "dry_run": true, "bytes_used": plan.bytes_used, "bytes_unused": plan.bytes_unused,
            "packs_to_repack": plan.repack.len(), "packs_to_condemn": plan.condemn.len(),
            "packs_out_of_index": plan.deletable.len(), "bytes_out_of_index": condemned,
        }));
        output.text(format!(
            "needed {}, not needed {}; would pack {} anew and take {} out of the index",
            bytes(plan.bytes_used),
            bytes(plan.bytes_unused),
            count(plan.repack.len() as u64, "pack"),
            count(plan.condemn.len() as u64, "pack")
        ));
        return Ok(Outcome::Ok);
    }
    let result = prune::prune(&app.cx(), repository, options);
    app.run.progress.finish();
    let (plan, pruned) = result?;
    output.summary(json!({
        "status": "ok", "copy": copy.name, "bytes_used": plan.bytes_used, "bytes_unused": plan.bytes_unused,
        "packs_repacked": pruned.packs_repacked, "packs_deleted": pruned.packs_deleted,
        "bytes_freed": pruned.bytes_freed, "packs_condemned": pruned.packs_condemned,
        "bytes_condemned": pruned.bytes_condemned, "packs_taken_back": plan.taken_back.len(),
    }));
    output.text(format!("freed {} in {}", bytes(pruned.bytes_freed), count(pruned.packs_deleted as u64, "pack")));
    if pruned.packs_condemned > 0 {
        output.text(format!(
            "{} more go with the first prune after a grace period of {}; --grace 0s frees them now",
            bytes(pruned.bytes_condemned),
            duration::show(options.grace)
        ));
    }
    Ok(Outcome::Ok)
}
