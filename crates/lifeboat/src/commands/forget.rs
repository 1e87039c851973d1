//! `lifeboat forget`: what stays and why, and what is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use operations::archives::{self, Archived};
use operations::config::{CopySettings, StackSettings};
use operations::retention::{self, Beside, Count, Decision, Group, Policy, TagList, Within};
use operations::{Fault, FaultKind, drill, snapshots};
use repository::forget::Why;
use repository::format::receipt::Receipt;
use repository::format::snapshot::Snapshot;
use repository::{Clock as _, Id, Repository, forget, prune};
use serde_json::json;

use super::{for_each, for_each_copy};
use crate::app::{App, Each, Opened};
use crate::arguments::{self, Keep};
use crate::open_archives::{self, OpenArchives};
use crate::output::{Outcome, bytes, count};

pub fn forget(app: &App, arguments: &arguments::Forget) -> Result<Outcome, Fault> {
    if arguments.snapshot.is_empty() {
        let copies = app.copies_here(arguments.copy.as_deref())?;
        let proven = proven_by_copy(app)?;
        return for_each_copy(app.output(), &copies, |copy| {
            if copies.len() > 1 {
                app.output().text(format!("copy {}:", copy.name));
            }
            if let Some(settings) = copy.archives() {
                return archives_by_rules(app, arguments, &open_archives::open(app, copy, settings)?, &proven);
            }
            let repository = app.open_own(copy)?;
            let receipts = drill::receipts(&repository)?.all()?;
            let snapshots = snapshots::of_stack(repository.snapshots(&app.run.cancel)?, arguments.stack.as_deref());
            let mut beside = Beside::of(&snapshots, &receipts, app.run.clock.now());
            beside.proven_elsewhere = in_others(&proven, copy);
            let remove = by_rules(app, arguments, copy, &retention::groups(snapshots), beside)?;
            remove_from(app, arguments, copy, &repository, remove, Why::Rules)
        });
    }
    by_name(app, arguments)
}

/// The snapshots that drills proved, by copy; of one that is away, as this host remembers it. They count in the other copies too, so
/// that the last proven state does not go with the copy that it was proven in.
fn proven_by_copy(app: &App) -> Result<BTreeMap<String, BTreeSet<Id>>, Fault> {
    let repositories = app.repositories(None, None)?;
    let Each { opened, .. } = app.open_each(&repositories)?;
    let of_copy = |copy: &CopySettings| -> Result<BTreeSet<Id>, Fault> {
        let Some(found) = opened.iter().find(|opened| opened.copy.name == copy.name) else {
            return Ok(app.state().proven(copy));
        };
        let proven = retention::proven(&drill::receipts(&found.repository)?.read);
        // Who may read a copy may not always write state; then nobody relies on it.
        let _ = app.state().save_proven(copy, &proven);
        Ok(proven)
    };
    repositories.into_iter().map(|copy| Ok((copy.name.clone(), of_copy(copy)?))).collect()
}

fn in_others(proven: &BTreeMap<String, BTreeSet<Id>>, copy: &CopySettings) -> BTreeSet<Id> {
    proven.iter().filter(|(name, _)| **name != copy.name).flat_map(|(_, ids)| ids).copied().collect()
}

/// Removes the snapshots that the user names from every copy. One that is away may still have them, and gives them back to
/// the others with the next sync; so that is said, and the run is partial.
fn by_name(app: &App, arguments: &arguments::Forget) -> Result<Outcome, Fault> {
    // Which snapshots are meant is known before the first one goes.
    let copies = app.copies(arguments.copy.as_deref(), None)?;
    let (of_archives, repositories): (Vec<_>, Vec<_>) = copies.iter().partition(|copy| copy.archives().is_some());
    let Each { opened, faults: mut missed, .. } = app.open_each(&repositories)?;
    let mut archived = Vec::new();
    for copy in of_archives {
        let Some(settings) = copy.archives() else { continue };
        match open_archives::open(app, copy, settings) {
            Ok(open) => archived.push(open),
            Err(fault) if fault.kind == FaultKind::Cancelled => return Err(fault),
            Err(fault) => missed.push((copy, fault)),
        }
    }
    if opened.is_empty() && archived.is_empty() {
        return Err(app.none_opened(missed));
    }
    missed.iter().for_each(|(copy, fault)| app.output().passed_over(&copy.name, fault));
    let chosen = named(app, arguments, &opened, &archived)?;
    let of_archives: Vec<(&OpenArchives<'_>, Vec<Id>)> = archived
        .iter()
        .map(|open| Ok((open, named_archives(arguments, open, &chosen)?)))
        .collect::<Result<_, Fault>>()?;
    if !arguments.force {
        chosen.iter().try_for_each(|(opened, remove)| refuse_the_last_ones(app, &opened.repository, remove))?;
        of_archives
            .iter()
            .try_for_each(|(open, remove)| refuse_the_last_archives(open, remove, app.run.clock.now()))?;
    }
    let name = |(opened, _): &(&Opened<'_>, Vec<Id>)| format!("copy {}", opened.copy.name);
    let outcome = for_each(app.output(), &chosen, name, |(Opened { copy, repository }, remove)| {
        remove_from(app, arguments, copy, repository, remove.clone(), Why::Named)
    })?;
    let of_archives: Vec<_> = of_archives.into_iter().filter(|(_, remove)| !remove.is_empty()).collect();
    let name = |(open, _): &(&OpenArchives<'_>, Vec<Id>)| format!("copy {}", open.copy.name);
    let of_archives =
        for_each(app.output(), &of_archives, name, |(open, remove)| remove_archives(app, arguments, open, remove))?;
    Ok(outcome.and(of_archives).and(may_still_have(app, arguments, &missed)))
}

/// Names the copies that may still have what was removed from the others.
fn may_still_have(app: &App, arguments: &arguments::Forget, missed: &[(&CopySettings, Fault)]) -> Outcome {
    let output = app.output();
    for (copy, _) in missed {
        let (name, ids) = (&copy.name, arguments.snapshot.join(" "));
        output
            .json("summary", json!({ "status": "failed", "copy": name, "dry_run": arguments.dry_run, "removed": [] }));
        output.text(format!(
            "copy {name} may still have it, and `lifeboat sync` would bring it back from there: when it is in reach, run \
             `lifeboat forget {ids} --copy {name}` first"
        ));
    }
    if missed.is_empty() { Outcome::Ok } else { Outcome::Partial }
}

/// Whether `name`, the first digits of an id, means this snapshot.
fn is_meant(name: &str, held: &Archived) -> bool {
    snapshots::check_digits(name).is_ok() && held.id.to_hex().starts_with(&name.to_ascii_lowercase())
}

/// The snapshots of an archive copy that the user names, or that go from another copy.
fn named_archives(
    arguments: &arguments::Forget,
    open: &OpenArchives<'_>,
    chosen: &[(&Opened<'_>, Vec<Id>)],
) -> Result<Vec<Id>, Fault> {
    let snapshots = &open.contents.snapshots;
    let gone_elsewhere = |held: &&Archived| chosen.iter().any(|(_, ids)| ids.contains(&held.id));
    let mut named: BTreeSet<Id> = snapshots.iter().filter(gone_elsewhere).map(|held| held.id).collect();
    for name in &arguments.snapshot {
        let is_of_stack = |held: &&Archived| arguments.stack.as_ref().is_none_or(|stack| *stack == held.stack);
        let mut meant = snapshots.iter().filter(is_of_stack).filter(|held| is_meant(name, held));
        named.extend(meant.next().map(|held| held.id));
        if meant.next().is_some() {
            let what = format!("several snapshots in copy {} begin with {name}", open.copy.name);
            return Err(Fault::new(FaultKind::NotFound, what).with_hint("give more digits of the id"));
        }
    }
    Ok(named.into_iter().collect())
}

fn refuse_the_last_archives(open: &OpenArchives<'_>, named: &[Id], now: Timestamp) -> Result<(), Fault> {
    let snapshots = &open.contents.snapshots;
    for held in snapshots.iter().filter(|held| named.contains(&held.id)) {
        let of_stack = || snapshots.iter().filter(|other| other.stack == held.stack && other.is_whole());
        let newest = [of_stack().next_back(), of_stack().rfind(|other| !snapshots::is_ahead(other.time, now))];
        if newest.into_iter().flatten().any(|newest| newest.id == held.id) {
            return Err(refused(held.id, "is the newest of its stack"));
        }
    }
    Ok(())
}

/// Asks the rules which archived snapshots go.
fn archives_by_rules(
    app: &App,
    arguments: &arguments::Forget,
    open: &OpenArchives<'_>,
    proven: &BTreeMap<String, BTreeSet<Id>>,
) -> Result<Outcome, Fault> {
    let mut held = open.contents.snapshots.clone();
    held.retain(|held| arguments.stack.as_ref().is_none_or(|stack| *stack == held.stack));
    if !arguments.keep.keep_tag.is_empty() {
        return Err(Fault::new(FaultKind::Usage, "archives carry no tags, so --keep-tag cannot be kept there")
            .with_hint(format!(
                "leave it out, or name the other copies with --copy; copy {} keeps archives",
                open.copy.name
            )));
    }
    let told = Told::by_repositories(app)?;
    let foreign = held.extract_if(.., |held| !told.is_of_them(held)).count();
    if foreign > 0 {
        app.output().text(format!(
            "left alone: {} of another repository, such as another host's: its own rules decide, or `lifeboat forget ID`",
            count(foreign as u64, "snapshot")
        ));
    }
    let groups = told.tagged(archives::groups(&held));
    let beside = || Beside { proven_elsewhere: in_others(proven, open.copy), ..told.beside(app) };
    let mut remove = by_rules(app, arguments, open.copy, &groups, beside())?;
    // What is not whole pushes nothing out, and goes where it would not be kept if it were.
    let parts: Vec<Id> = held.iter().filter(|held| !held.is_whole()).map(|held| held.id).collect();
    if !parts.is_empty() {
        app.output().text("not whole; `lifeboat sync` completes what is kept:");
        let groups = told.tagged(archives::groups_with_parts(&held));
        let decided = by_rules(app, arguments, open.copy, &groups, beside())?;
        remove.extend(decided.into_iter().filter(|id| parts.contains(id)));
    }
    let unsealed = &open.contents.unsealed;
    if let Some(first) = unsealed.first() {
        // It may be the only one there is, and its seal alone be lost; or one that is being written.
        let archives = count(unsealed.len() as u64, "archive");
        app.output().text(format!(
            "left alone: {archives} without a seal (*.sha256), such as {first}: not finished, or the seal is lost; remove what \
             no run is writing by hand"
        ));
    }
    if !arguments.dry_run && !remove.is_empty() {
        archives::check_clock(&app.cx(), &*open.place, &open.settings.prefix, &held)?;
    }
    remove_archives(app, arguments, open, &remove)
}

/// What repositories tell of the snapshots in archive copies: the names of archives say neither what was left out nor what passed
/// a drill. `sync` goes by the same, else one would bring back what the other removes.
struct Told {
    all: Vec<(Id, Snapshot)>,
    receipts: Vec<Receipt>,
    /// The first digits of their ids.
    repositories: BTreeSet<String>,
}

impl Told {
    /// Asks all repositories in reach. It is a fault where none is: the last good version of what was lost might go.
    fn by_repositories(app: &App) -> Result<Self, Fault> {
        let opened = app.open_all(&app.repositories(None, None)?).map_err(|mut fault| {
            fault.message = format!("rules remove no archives while no repository can be asked: {}", fault.message);
            fault
        })?;
        let (mut all, mut receipts) = (BTreeMap::new(), Vec::new());
        for Opened { repository, .. } in &opened {
            all.extend(repository.snapshots_readable(&app.run.cancel)?.0);
            receipts.extend(drill::receipts(repository)?.all()?);
        }
        receipts.sort_by_key(|receipt| receipt.at);
        let all: Vec<(Id, Snapshot)> = all.into_iter().collect();
        let repositories = opened.iter().map(|opened| opened.repository.config().id.short()).collect();
        Ok(Self { all, receipts, repositories })
    }

    fn is_of_them(&self, held: &Archived) -> bool {
        held.repository.as_ref().is_none_or(|repository| self.repositories.contains(repository))
    }

    fn beside(&self, app: &App) -> Beside<'_> {
        Beside::of(&self.all, &self.receipts, app.run.clock.now())
    }

    fn tagged(&self, mut groups: Vec<Group>) -> Vec<Group> {
        let tags: BTreeMap<Id, &Vec<String>> = self.all.iter().map(|(id, snapshot)| (*id, &snapshot.tags)).collect();
        for (id, snapshot) in groups.iter_mut().flat_map(|group| &mut group.snapshots) {
            if let Some(tags) = tags.get(id) {
                snapshot.tags.clone_from(tags);
            }
        }
        groups
    }
}

fn remove_archives(
    app: &App,
    arguments: &arguments::Forget,
    open: &OpenArchives<'_>,
    remove: &[Id],
) -> Result<Outcome, Fault> {
    let held = &open.contents.snapshots;
    let freed = held.iter().filter(|held| remove.contains(&held.id)).map(Archived::bytes).sum();
    if !arguments.dry_run {
        archives::remove(&app.cx(), &*open.place, held, remove)?;
    }
    let output = app.output();
    output.summary(json!({ "status": "ok", "copy": open.copy.name, "dry_run": arguments.dry_run, "removed": remove }));
    let (removed, freed) = (count(remove.len() as u64, "snapshot"), bytes(freed));
    let word = if arguments.dry_run { "would remove" } else { "removed" };
    output.text(format!("{word} {removed}, {freed}"));
    Ok(Outcome::Ok)
}

/// The snapshots that the user names, in each copy that has any of them. A name that no copy knows is an error.
fn named<'a, 'b>(
    app: &App,
    arguments: &arguments::Forget,
    opened: &'b [Opened<'a>],
    archived: &[OpenArchives<'_>],
) -> Result<Vec<(&'b Opened<'a>, Vec<Id>)>, Fault> {
    let mut chosen: Vec<BTreeSet<Id>> = vec![BTreeSet::new(); opened.len()];
    for name in &arguments.snapshot {
        let mut unknown = None;
        let mut is_known = archived.iter().any(|open| open.contents.snapshots.iter().any(|held| is_meant(name, held)));
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
    if arguments.dry_run && matches!(why, Why::Rules) {
        app.say_doubt_of_clock(repository)?;
    }
    if arguments.prune && !arguments.dry_run {
        let options = prune::Options::default();
        return super::prune::one(app, copy, repository, options, false);
    }
    if !arguments.dry_run && !remove.is_empty() {
        app.output().chat("their data stays until `lifeboat prune`");
    }
    Ok(Outcome::Ok)
}

/// The newest snapshot of a stack, the newest that a drill proved, the newest whole one and those with the last good version of
/// something are what a restore would begin with. A name that was mistyped, or `latest`, must not remove them.
fn refuse_the_last_ones(app: &App, repository: &Repository, named: &[Id]) -> Result<(), Fault> {
    let receipts = drill::receipts(repository)?.all()?;
    let telling = drill::telling_by_snapshot(&receipts);
    let is_proven = |id: &Id| telling.get(id).is_some_and(|receipt| drill::is_proof(receipt));
    // Those that cannot be read protect nothing, and may all be removed.
    let (snapshots, _) = repository.snapshots_readable(&app.run.cancel)?;
    let now = app.run.clock.now();
    let last_good = retention::last_good(&snapshots, now);
    for (id, snapshot) in snapshots.iter().filter(|(id, _)| named.contains(id)) {
        let of_stack = snapshots.iter().filter(|(_, other)| other.stack() == snapshot.stack());
        let is_newest = |among: &dyn Fn(&Id, &Snapshot) -> bool| {
            of_stack.clone().rfind(|(id, snapshot)| among(id, snapshot)).is_some_and(|(newest, _)| newest == id)
        };
        // Beside one that is dated in the future.
        if is_newest(&|_, _| true) || is_newest(&|_, other| !snapshots::is_ahead(other.time.into(), now)) {
            return Err(refused(*id, "is the newest of its stack"));
        }
        if is_newest(&|id, _| is_proven(id)) {
            return Err(refused(*id, "is the newest of its stack that passed a drill"));
        }
        if is_newest(&|_, snapshot| !snapshots::is_partial(snapshot)) {
            return Err(refused(*id, "is the newest of its stack that is not partial"));
        }
        if last_good.contains(id) {
            return Err(refused(*id, retention::LAST_GOOD));
        }
    }
    Ok(())
}

fn refused(id: Id, what: &str) -> Fault {
    Fault::new(FaultKind::Usage, format!("snapshot {} {what}; nothing was removed", id.short()))
        .with_hint("add --force to remove it all the same")
}

/// Asks the rules of each stack; prints every snapshot with its decision.
fn by_rules(
    app: &App,
    arguments: &arguments::Forget,
    copy: &CopySettings,
    groups: &[Group],
    mut beside: Beside<'_>,
) -> Result<Vec<Id>, Fault> {
    let given = policy(&arguments.keep)?;
    app.check_stack(arguments.stack.as_deref(), !groups.is_empty())?;
    let now = app.run.clock.now();
    let mut remove = Vec::new();
    if arguments.force {
        beside.several_hosts.clear();
    }
    for group in groups {
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
        let decisions = group.decide(&beside, policy, now, zone);
        decisions.iter().for_each(|decision| show(app, copy, stack, decision));
        if arguments.dry_run {
            retention::calendar(&decisions, zone).iter().for_each(|line| app.output().text(format!("  {line}")));
            app.output().text(format!("  {}", retention::LEGEND));
        }
        let gone: Vec<Id> =
            decisions.iter().filter(|decision| !decision.is_kept()).map(|decision| decision.id).collect();
        if let (Some(_), Some(settings)) = (&given, settings.filter(|settings| is_filled(settings, copy))) {
            let own = app.settings.retention(settings, copy);
            let own = group.decide(&beside, own, now, zone);
            let back = own.iter().filter(|decision| decision.is_kept() && gone.contains(&decision.id)).count();
            say_undone(app, copy, stack, back, policy);
        }
        if let Some(hosts) = beside.several_hosts.get(stack) {
            say_several_hosts(app, copy, stack, hosts);
        }
        remove.extend(gone);
    }
    Ok(remove)
}

/// Says why the rules remove nothing of a stack.
fn say_several_hosts(app: &App, copy: &CopySettings, stack: &str, hosts: &BTreeSet<String>) {
    app.output().json("several_hosts", json!({ "copy": copy.name, "stack": stack, "hosts": hosts }));
    app.output().text(format!(
        "  {} back up under this name, and the rules of one would remove what another keeps: give their stacks different \
         names; where only one is still at work, or these rules are meant for all, add --force",
        hosts.iter().map(String::as_str).collect::<Vec<_>>().join(" and ")
    ));
}

/// Whether other copies bring to this one what the configuration keeps there.
fn is_filled(stack: &StackSettings, copy: &CopySettings) -> bool {
    stack.copies.len() > 1 && stack.copies.contains(&copy.name)
}

/// Says that what the flags remove comes back, as the copy's own rules keep it.
fn say_undone(app: &App, copy: &CopySettings, stack: &str, back: usize, given: &Policy) {
    if back == 0 {
        return;
    }
    let (name, rules) = (&copy.name, given.to_flow());
    app.output().json("comes_back", json!({ "copy": name, "stack": stack, "snapshots": back, "retention": given }));
    app.output().text(format!(
        "  {} of these: lifeboat.yaml keeps them in copy {name}, so the next `lifeboat backup` or `lifeboat sync` brings back what \
         another copy has; for these rules to last, write `retention: {rules}` below {name} in `copies:`",
        count(back as u64, "snapshot")
    ));
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
