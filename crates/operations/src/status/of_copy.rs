//! What is wrong with one copy of a stack, and what to do.

use std::time::Duration;

use jiff::Timestamp;
use repository::Id;
use repository::check::Glance;
use repository::format::receipt::Verdict;

use super::{CopyFault, CopyKnown, DRILL_AGE_MAX, HealthProblem, LastDrill, Newest, Severity, age, hours};
use crate::FaultKind;
use crate::score::{Holds, Place, Proof};
use crate::state::{LastCheck, StoredDamage};

/// A removable copy that was not seen for longer holds little that helps.
const REMOVABLE_AGE_MAX: Duration = Duration::from_secs(35 * 24 * 60 * 60);
/// Snapshots that a problem names one by one.
const SNAPSHOTS_LISTED_MAX: usize = 10;

/// What is wrong with a copy, as far as it is the copy's own.
pub(super) fn copy_problems(
    stack: &str,
    copy: &CopyKnown,
    drill: Option<&LastDrill>,
    now: Timestamp,
    problems: &mut Vec<HealthProblem>,
) {
    match &copy.fault {
        Some(fault) => problems.push(unopened(copy, fault, now)),
        None => {
            content_problems(copy, problems);
            proof_problems(stack, copy, drill, now, problems);
        }
    }
}

fn problem(copy: &CopyKnown, severity: Severity, text: String, fix: &str) -> HealthProblem {
    HealthProblem { copy: Some(copy.name.clone()), severity, text, fix: fix.to_owned() }
}

/// What is to be said of a copy that could not be looked into.
fn unopened(copy: &CopyKnown, fault: &CopyFault, now: Timestamp) -> HealthProblem {
    if copy.removable && fault.is_absence() {
        let (severity, text) = absence(copy, fault, now);
        return problem(copy, severity, text, "bring it back, then run `lifeboat sync`");
    }
    let CopyFault { kind, what, fix } = fault;
    let (verb, otherwise) = match kind {
        FaultKind::Storage | FaultKind::Denied => ("cannot be reached", "make it reachable, then look again"),
        FaultKind::Damaged => ("is damaged", "run `lifeboat check --read-data`"),
        FaultKind::NoRepository => ("holds no repository", "mount its disk, or name the right place"),
        _ => ("cannot be opened", "mend this, then look again"),
    };
    // Making a new repository would not bring the old one back.
    let fix = fix.as_deref().filter(|_| *kind != FaultKind::NoRepository).unwrap_or(otherwise);
    problem(copy, Severity::Critical, format!("copy {} {verb}: {what}", copy.name), fix)
}

/// What is wrong with where a copy lies and what is in it.
fn content_problems(copy: &CopyKnown, problems: &mut Vec<HealthProblem>) {
    let name = &copy.name;
    let mut add = |severity, text, fix: &str| problems.push(problem(copy, severity, text, fix));
    if let Some(other) = &copy.twin {
        let text =
            format!("copy {name} lies in the same folder as copy {other}, so they are one: there is one copy less");
        add(Severity::Warning, text, "name another place for it, or take it out of lifeboat.yaml");
    }
    if copy.place == Place::Memory {
        let text = format!("copy {name} lies in the memory of this host, and its next start empties it: it is no copy");
        add(Severity::Warning, text, "name a place on a disk for it, or take it out of lifeboat.yaml");
    }
    if !copy.damaged.is_empty() {
        let text = format!(
            "copy {name} holds damaged snapshots, which may be newer than those seen: {}",
            listed(&copy.damaged)
        );
        add(Severity::Critical, text, &format!("run `lifeboat heal --read-data --copy {name}`, then back up again"));
    }
    if !copy.lost.is_empty() {
        let text = format!("copy {name} lost snapshots that were drilled in it: {}", listed(&copy.lost));
        add(
            Severity::Critical,
            text,
            &format!("run `lifeboat heal --copy {name}`, which brings back what another copy has"),
        );
    }
    if copy.receipts_unread > 0 {
        let text = format!(
            "copy {name} has receipts of drills that could not be read, {} of them: what they prove is not known, and rules \
             remove nothing there",
            copy.receipts_unread
        );
        add(
            Severity::Warning,
            text,
            &format!("run `lifeboat check --copy {name}`, which names them; mend its disk or line"),
        );
    }
    let found = |at: Timestamp, what: &str| {
        format!("the check of copy {name} on {} found damage: {what}", at.strftime("%Y-%m-%d"))
    };
    if let Some(LastCheck { at, failure: Some(failure), .. }) = &copy.check {
        add(Severity::Critical, found(*at, failure), &mending(name, failure));
    }
    if let Some(StoredDamage { at, failure, fix }) = copy.check.as_ref().and_then(|check| check.stored.as_ref()) {
        add(Severity::Critical, found(*at, failure), fix);
    }
    let Glance { packs_lost, packs_unknown } = copy.glance;
    if packs_lost > 0 {
        let text = format!("copy {name} lost packs, or parts of them: {packs_lost}");
        add(Severity::Critical, text, &format!("run `lifeboat check --copy {name}`, which names what suffers"));
    }
    if packs_unknown > 0 {
        let text = format!(
            "copy {name} has packs that no index names, {packs_unknown} of them: a run did not end, or their index is lost"
        );
        let fix = format!("run `lifeboat check --copy {name}`; where it finds nothing, `lifeboat prune` removes them");
        add(Severity::Warning, text, &fix);
    }
}

/// What keeps a copy from being proven.
fn proof_problems(
    stack: &str,
    copy: &CopyKnown,
    drill: Option<&LastDrill>,
    now: Timestamp,
    problems: &mut Vec<HealthProblem>,
) {
    let name = &copy.name;
    let fix = format!("run `lifeboat drill {stack} --copy {name}`");
    let mut add = |severity, text, fix: &str| problems.push(problem(copy, severity, text, fix));
    if copy.keeps_archives {
        let text = match archives_proof(copy, now) {
            // That damage was found is said above.
            Proof::Passed | Proof::InPart | Proof::Failed | Proof::Damaged => return,
            Proof::Old(days) => format!("the archives of copy {name} were last read back {days} days ago"),
            Proof::Never => {
                format!("the archives of copy {name} were never read back: nothing proves that they are good")
            }
        };
        add(Severity::Warning, text, &format!("run `lifeboat check --copy {name} --read-data`"));
        return;
    }
    match drill {
        None => add(
            Severity::Warning,
            format!("copy {name} was never drilled at level 2 or more: nothing proves that it restores"),
            &fix,
        ),
        Some(drill) => match drill.status {
            Verdict::Failed => {
                let text = format!("the drill of copy {name} on {} failed", drill.at.strftime("%Y-%m-%d"));
                add(Severity::Critical, text, &format!("{fix}; then `lifeboat check --read-data`"));
            }
            Verdict::Unknown => {
                add(Severity::Warning, format!("the last drill of copy {name} could not run to its end"), &fix);
            }
            Verdict::Passed if age(drill.at, now) > DRILL_AGE_MAX => {
                let text = format!("the last drill of copy {name} is {} old", hours(age(drill.at, now)));
                add(Severity::Warning, text, &fix);
            }
            Verdict::Passed if drill.partial => {
                let text = format!(
                    "the last drill of copy {name} was of a partial snapshot: of what was left out of it, nothing is proven"
                );
                let mend =
                    format!("mend what `lifeboat snapshots {stack} --problems` names, and back up again; then {fix}");
                add(Severity::Warning, text, &mend);
            }
            Verdict::Passed => {}
        },
    }
}

/// What is to be said of a removable copy that is not here. How long it may be away counts from when it was last in step:
/// that it was plugged in and looked at brought nothing to it.
fn absence(copy: &CopyKnown, fault: &CopyFault, now: Timestamp) -> (Severity, String) {
    let name = &copy.name;
    let days = |at: Timestamp| age(at, now).as_secs() / (24 * 60 * 60);
    let Some(seen) = copy.last_seen else {
        let text = format!("removable copy {name} is not here and was never seen by this host: {}", fault.what);
        return (Severity::Warning, text);
    };
    let mut text = format!("removable copy {name} is not here; it was last seen {} days ago", days(seen));
    let Some(step) = &copy.last_step else { return overdue(seen, text, now) };
    match step.in_step {
        Some(at) if days(at) != days(seen) => text.push_str(&format!(", and last in step {} days ago", days(at))),
        Some(_) => {}
        None => text.push_str(", and never in step"),
    }
    if let Some(failure) = &step.failure {
        let text = format!("{text}; it could not be filled on {}: {failure}", step.at.strftime("%Y-%m-%d"));
        return (Severity::Warning, text);
    }
    overdue(step.in_step.map_or(seen, |at| at.min(seen)), text, now)
}

fn overdue(since: Timestamp, text: String, now: Timestamp) -> (Severity, String) {
    if age(since, now) > REMOVABLE_AGE_MAX {
        return (Severity::Warning, format!("{text}, OVERDUE"));
    }
    (Severity::Notice, text)
}

/// What proves archives: that every byte was read back and is what was written.
pub(super) fn archives_proof(copy: &CopyKnown, now: Timestamp) -> Proof {
    match &copy.check {
        Some(LastCheck { failure: Some(_), .. }) => Proof::Damaged,
        Some(LastCheck { proven: Some(at), .. }) if age(*at, now) <= DRILL_AGE_MAX => Proof::Passed,
        Some(LastCheck { proven: Some(at), .. }) => Proof::Old(age(*at, now).as_secs() / (24 * 60 * 60)),
        _ => Proof::Never,
    }
}

/// What keeps a copy from being in step with the others.
pub(super) fn step_problems(
    stack: &str,
    copy: &CopyKnown,
    holds: Holds,
    newest: &Newest,
    problems: &mut Vec<HealthProblem>,
) {
    let (name, copy_is_other) = (&copy.name, copy.is_other);
    let mut add = |text: String, fix: &str| {
        let copy = Some(name.clone());
        // Nothing that is backed up ever comes to another repository.
        let severity = if copy_is_other { Severity::Critical } else { Severity::Warning };
        problems.push(HealthProblem { copy, severity, text, fix: fix.to_owned() });
    };
    match (holds, &copy.newest) {
        _ if copy.is_other => add(
            format!(
                "copy {name} is a repository of its own, not a copy of the others, and cannot be brought into step"
            ),
            "name another place for the copy, or give this repository a configuration of its own",
        ),
        (Holds::Older, Some(own)) => add(
            format!(
                "copy {name} lags behind: its newest snapshot is of {}, the newest is of {}",
                own.time, newest.time
            ),
            "run `lifeboat sync`",
        ),
        (Holds::Nothing, _) => {
            add(format!("copy {name} holds no snapshot of {stack}, others do"), "run `lifeboat sync`");
        }
        (Holds::Newest, _) if !copy.lacking.is_empty() => {
            let ids = listed(&copy.lacking);
            let text = format!("copy {name} lacks snapshots that belong into it and others have: {ids}");
            add(text, "run `lifeboat sync`; where nobody removed them, ask what lost them");
        }
        _ => {}
    }
}

/// Snapshots for people: the first of them, and how many more there are. A copy that was away for a year lacks hundreds.
fn listed(ids: &[Id]) -> String {
    let (shown, more) = ids.split_at(ids.len().min(SNAPSHOTS_LISTED_MAX));
    let shown: Vec<String> = shown.iter().map(|id| id.short()).collect();
    let shown = shown.join(", ");
    if more.is_empty() { shown } else { format!("{shown} and {} more", more.len()) }
}

/// How the damage of a copy is mended. A password that nobody may remember is not.
fn mending(name: &str, failure: &str) -> String {
    let is_key = failure.contains(&format!("{}/", repository::FileKind::Key.folder()));
    let first = match is_key {
        true => format!("remove a damaged key file with `lifeboat key remove ID --copy {name}`, then "),
        false => String::new(),
    };
    format!("{first}run `lifeboat heal --copy {name} --read-data`, then `lifeboat check --copy {name} --read-data`")
}
