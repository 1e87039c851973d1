//! "Are we safe?": one pure function from what is known to what is wrong and how to mend it. Everything that shows health
//! reads it.

mod of_copy;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use repository::Id;
use repository::check::Glance;
use repository::format::receipt::{Receipt, Verdict};
use repository::source::{CERTIFICATES_FACT, NOT_AFTER_FACT};
use serde::Serialize;

use self::of_copy::{archives_proof, copy_problems, step_problems};
use crate::in_place::host_paths;
use crate::manifest::{Manifest, SourceRecord, SourceStatus, is_volume_folder};
use crate::score::{self, Assessment, CopyFacts, Holds, Live, Loss, Password, Place, Proof, RuleVerdict, Score};
use crate::state::{LastCheck, LastRun, LastStep};
use crate::{Fault, FaultKind, drill, snapshots};

/// What is known about one stack.
pub struct Known<'a> {
    /// The stack.
    pub stack: &'a str,
    /// The data itself.
    pub live: &'a Live,
    /// The receipts of all its copies, oldest first.
    pub receipts: &'a [Receipt],
    /// The copies it goes to, in the order of preference.
    pub copies: &'a [CopyKnown],
    /// How the last backup that this host tried ended, where that is known.
    pub last_run: Option<&'a LastRun>,
    /// How old the newest snapshot may be.
    pub rpo: Option<Duration>,
    /// How long a restore may take.
    pub rto: Option<Duration>,
}

/// What is known about the newest snapshot in a copy, of those that hold all sources where there are any; see
/// [`crate::snapshots::newest`].
#[derive(Clone, Debug)]
pub struct Newest {
    /// Its id.
    pub id: Id,
    /// When it was taken.
    pub time: Timestamp,
    /// It holds only some of the stack's sources, as there is no other.
    pub selection: bool,
    /// What was backed up.
    pub content: Told,
}

/// What a snapshot tells of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Its manifest.
    Content(Content),
    /// Nothing: its manifest cannot be read.
    Unreadable,
    /// Nothing without a key that this host need not have: it is known from archives alone.
    Sealed,
}

/// What a snapshot says of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Whether it is whole.
    pub status: SourceStatus,
    /// Sources of which it holds no file.
    pub empty: Vec<String>,
    /// Docker's volumes that its Compose projects name, but for those that a source of it reads.
    pub volumes: Vec<String>,
    /// Its certificates, the one that runs out first at the front.
    pub certificates: Vec<CertificateKnown>,
}

/// A certificate that was backed up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateKnown {
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// Its file on the host.
    pub file: String,
    /// Whose it is.
    pub subject: String,
}

impl From<&Manifest> for Content {
    fn from(manifest: &Manifest) -> Self {
        let empty = manifest.sources.iter().filter(|(_, record)| record.tree.files == 0);
        let volumes = manifest.sources.values().filter_map(|record| record.facts.get("volumes")?.as_object());
        let name = |volume: &serde_json::Value| Some(volume.get("name")?.as_str()?.to_owned());
        let read: BTreeSet<String> =
            manifest.sources.values().flat_map(SourceRecord::volumes).filter_map(name).collect();
        // Without a container engine, a volume is read by its folder.
        let folders: Vec<_> = manifest.sources.values().flat_map(host_paths).collect();
        let is_read = |name: &String| read.contains(name) || folders.iter().any(|path| is_volume_folder(path, name));
        Self {
            status: manifest.status(),
            empty: empty.map(|(name, _)| name.clone()).collect(),
            volumes: volumes
                .flat_map(|volumes| volumes.values())
                .filter_map(name)
                .filter(|name| !is_read(name))
                .collect(),
            certificates: certificates(manifest),
        }
    }
}

fn certificates(manifest: &Manifest) -> Vec<CertificateKnown> {
    let files = manifest.sources.values().filter_map(|record| record.facts.get(CERTIFICATES_FACT)?.as_object());
    let all = files.flatten().flat_map(|(file, certificates)| {
        certificates.as_array().into_iter().flatten().map(move |certificate| (file, certificate))
    });
    let mut known: Vec<_> = all
        .filter_map(|(file, certificate)| {
            let not_after = certificate.get(NOT_AFTER_FACT)?.as_str()?.parse().ok()?;
            let subject =
                certificate.get("subject").and_then(|subject| subject.as_str()).unwrap_or_default().to_owned();
            Some(CertificateKnown { not_after, file: file.clone(), subject })
        })
        .collect();
    known.sort();
    known
}

/// What is known about one copy.
#[derive(Clone, Debug)]
pub struct CopyKnown {
    /// Its name.
    pub name: String,
    /// What kind of medium it is on; free text.
    pub media: String,
    /// It lies at another place.
    pub offsite: bool,
    /// Nobody can change or delete what is in it for a time.
    pub immutable: bool,
    /// It may be absent.
    pub removable: bool,
    /// The site it stands at.
    pub site: Option<String>,
    /// What it is lost with.
    pub place: Place,
    /// What opens it.
    pub password: Password,
    /// Why it cannot be looked into.
    pub fault: Option<CopyFault>,
    /// It is not a copy of the repository that the first copy in reach is of, but another repository.
    pub is_other: bool,
    /// Another copy that lies in the same folder, by another path.
    pub twin: Option<String>,
    /// The stack's newest snapshot in it.
    pub newest: Option<Newest>,
    /// Snapshots in it, of whatever stack, that are damaged.
    pub damaged: Vec<Id>,
    /// What a glance at its packs shows.
    pub glance: Glance,
    /// The stack's snapshots in it whose root is there.
    pub snapshots: BTreeSet<Id>,
    /// Snapshots that were drilled in it and are gone, though nobody forgot them.
    pub lost: Vec<Id>,
    /// Receipts of drills in it that could not be read. Each may be the proof of any snapshot.
    pub receipts_unread: usize,
    /// The last check of it that tells something.
    pub check: Option<LastCheck>,
    /// It keeps archives. No drill restores them, since the key is better kept elsewhere: what is asked of them is that every
    /// byte was read back.
    pub keeps_archives: bool,
    /// When it was last there.
    pub last_seen: Option<Timestamp>,
    /// How bringing it into step ended last, where this host did so.
    pub last_step: Option<LastStep>,
    /// Snapshots that belong into it, are in another copy, and are not in it.
    pub lacking: Vec<Id>,
    /// The stack's snapshots in it that are dated in the future; see [`snapshots::is_ahead`].
    pub ahead: BTreeMap<Id, Timestamp>,
    /// The hosts that back up under the stack's name at the same time; see [`hosts_at_once`](crate::retention::hosts_at_once).
    pub several_hosts: BTreeSet<String>,
}

/// Why a copy cannot be looked into.
#[derive(Clone, Debug)]
pub struct CopyFault {
    /// What kind of thing is wrong.
    pub kind: FaultKind,
    /// What is wrong.
    pub what: String,
    /// What to do, where that is known.
    pub fix: Option<String>,
}

impl CopyFault {
    /// Whether this is how a removable copy looks that is somewhere else just now.
    pub fn is_absence(&self) -> bool {
        matches!(self.kind, FaultKind::Storage | FaultKind::NoRepository)
    }
}

impl From<Fault> for CopyFault {
    fn from(fault: Fault) -> Self {
        Self { kind: fault.kind, what: fault.text(), fix: fault.hint }
    }
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Would make the backups safer; nothing is wrong with what is there.
    Notice,
    /// Worth mending.
    Warning,
    /// Data may be lost.
    Critical,
}

/// Something that is wrong, why, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthProblem {
    /// The copy that it is of, where it is one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy: Option<String>,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub text: String,
    /// What to do, as a command where there is one.
    pub fix: String,
}

/// The health of one stack.
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    /// Whether any copy could be looked into. Where not, that there is no last backup says nothing.
    pub is_known: bool,
    /// The newest snapshot's time.
    pub last_backup: Option<Timestamp>,
    /// The newest drill on each copy that says whether it restores; see [`crate::drill::telling`].
    pub last_drill: BTreeMap<String, LastDrill>,
    /// Whether the newest snapshot is young enough; `None` where no bound is set.
    pub rpo_ok: Option<bool>,
    /// Whether the newest passed drill was quick enough; `None` where no bound is set or none passed.
    pub rto_ok: Option<bool>,
    /// The 3-2-1-1-0 score.
    pub score: Score,
    /// Its rules, one by one.
    pub rules: Vec<RuleVerdict>,
    /// What single losses would take.
    pub losses: Vec<Loss>,
    /// What is wrong, worst first.
    pub problems: Vec<HealthProblem>,
}

/// A drill, in short.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LastDrill {
    /// What came of it.
    pub status: Verdict,
    /// The level reached.
    pub level: u8,
    /// When.
    pub at: Timestamp,
    /// The snapshot.
    pub snapshot: Id,
    /// The measured time to restore, in seconds.
    pub rto_s: f64,
    /// The snapshot was partial: nothing is proven of what was left out of it.
    pub partial: bool,
}

/// A drill older than this proves little about today's copy.
const DRILL_AGE_MAX: Duration = Duration::from_secs(35 * 24 * 60 * 60);
/// A snapshot older than this is said to be old where no `rpo` is set: a weekly one that failed to come.
const BACKUP_AGE_MAX: Duration = Duration::from_secs(8 * 24 * 60 * 60);

/// A certificate that runs out within this time should be renewed: those that renew by themselves do so earlier.
const CERTIFICATE_LEFT_MIN: Duration = Duration::from_secs(21 * 24 * 60 * 60);

/// Works out a stack's health.
pub fn health(known: &Known<'_>, now: Timestamp) -> Health {
    let newest = newest(known.copies, now);
    let last_backup = newest.map(|newest| newest.time);
    let is_known = known.copies.iter().any(|copy| copy.fault.is_none());
    let last_drill = last_drills(known);
    // How old one is that is dated in the future, nobody knows.
    let last_dated = last_backup.filter(|at| !snapshots::is_ahead(*at, now));
    let rpo_ok = known.rpo.map(|rpo| last_dated.is_some_and(|at| age(at, now) <= rpo));
    let passed = last_drill.values().filter(|drill| drill.status == Verdict::Passed);
    let slowest = passed.map(|drill| drill.rto_s).max_by(f64::total_cmp);
    let rto_ok = known.rto.and_then(|rto| slowest.map(|seconds| seconds <= rto.as_secs_f64()));
    let facts: Vec<CopyFacts> =
        known.copies.iter().map(|copy| facts(copy, newest, last_drill.get(&copy.name), now)).collect();
    // Two names of one folder are one copy.
    let apart = known.copies.iter().zip(&facts).filter(|(copy, _)| copy.twin.is_none());
    let apart: Vec<CopyFacts> = apart.map(|(_, facts)| facts.clone()).collect();
    let Assessment { score, rules, losses } = score::assess(known.stack, known.live, &apart);
    let mut problems = Vec::new();
    // Where no copy could be looked into, nothing is known of snapshots: that there are none would be a guess.
    if is_known {
        backup_problems(known.stack, newest, now, rpo_ok, &mut problems);
    }
    problems.extend(ahead_problem(known.copies, now));
    problems.extend(several_hosts_problem(known));
    problems.extend(known.last_run.and_then(|run| run_problem(known.stack, run, last_dated)));
    problems.extend(known.last_run.and_then(|run| hooks_problem(known.stack, run)));
    for (copy, facts) in known.copies.iter().zip(&facts) {
        copy_problems(known.stack, copy, last_drill.get(&copy.name), now, &mut problems);
        if let Some(newest) = newest.filter(|_| facts.in_reach) {
            step_problems(known.stack, copy, facts.holds, newest, &mut problems);
        }
    }
    if rto_ok == Some(false) {
        problems.push(HealthProblem {
            copy: None,
            severity: Severity::Warning,
            text: format!("a restore took {:.0} s in the last drill, longer than the target", slowest.unwrap_or(0.0)),
            fix: "keep a copy nearer to the host, or raise `rto`".to_owned(),
        });
    }
    // What keeps copies from being verified is said of each copy already.
    for RuleVerdict { rule, text, fix, .. } in rules.iter().filter(|rule| !rule.kept && rule.rule != "verified") {
        let fix = fix.clone().unwrap_or_default();
        problems.push(HealthProblem { copy: None, severity: Severity::Notice, text: format!("{rule}: {text}"), fix });
    }
    problems.sort_by_key(|problem| std::cmp::Reverse(problem.severity));
    Health { is_known, last_backup, last_drill, rpo_ok, rto_ok, score, rules, losses, problems }
}

/// The newest snapshot of all copies.
fn newest(copies: &[CopyKnown], now: Timestamp) -> Option<&Newest> {
    let newest = copies.iter().rev().filter(|copy| copy.fault.is_none()).filter_map(|copy| copy.newest.as_ref());
    newest.max_by_key(|newest| snapshots::rank(newest.time, newest.selection, now))
}

/// What the score is worked out from.
fn facts(copy: &CopyKnown, newest: Option<&Newest>, drill: Option<&LastDrill>, now: Timestamp) -> CopyFacts {
    let holds = match (&copy.newest, newest) {
        (Some(own), Some(newest)) if own.id == newest.id => Holds::Newest,
        (Some(_), _) => Holds::Older,
        (None, _) => Holds::Nothing,
    };
    let proof = match drill {
        _ if copy.keeps_archives => archives_proof(copy, now),
        _ if is_damaged(copy) => Proof::Damaged,
        Some(LastDrill { status: Verdict::Passed, at, .. }) if age(*at, now) > DRILL_AGE_MAX => {
            Proof::Old(age(*at, now).as_secs() / (24 * 60 * 60))
        }
        Some(LastDrill { status: Verdict::Passed, partial: true, .. }) => Proof::InPart,
        Some(LastDrill { status: Verdict::Passed, .. }) => Proof::Passed,
        Some(LastDrill { status: Verdict::Failed, .. }) => Proof::Failed,
        Some(LastDrill { status: Verdict::Unknown, .. }) | None => Proof::Never,
    };
    CopyFacts {
        keeps_archives: copy.keeps_archives,
        name: copy.name.clone(),
        in_reach: copy.fault.is_none(),
        holds,
        place: copy.place.clone(),
        site: copy.site.clone(),
        media: copy.media.clone(),
        offsite: copy.offsite,
        immutable: copy.immutable,
        proof,
        password: copy.password.clone(),
    }
}

/// Whether something is known to be wrong with a repository itself.
fn is_damaged(copy: &CopyKnown) -> bool {
    let is_found = copy.check.as_ref().is_some_and(|check| check.failure.is_some());
    is_found || copy.glance.packs_lost > 0 || !copy.damaged.is_empty() || !copy.lost.is_empty()
}

fn age(at: Timestamp, now: Timestamp) -> Duration {
    if at < now { now.duration_since(at).unsigned_abs() } else { Duration::ZERO }
}

fn last_drills(known: &Known<'_>) -> BTreeMap<String, LastDrill> {
    let of_stack =
        || known.receipts.iter().filter(|receipt| receipt.stack == known.stack && still_tells(known, receipt));
    let names: BTreeSet<&String> = of_stack().map(|receipt| &receipt.copy).collect();
    let last = |name: &String| {
        let of_copy = || of_stack().filter(|receipt| receipt.copy == *name);
        let telling = drill::telling(of_copy());
        // One that could not run is worth saying, but takes no failure back.
        let newest = of_copy().rfind(|receipt| drill::is_proof(receipt) || receipt.verdict != Verdict::Passed);
        telling.filter(|receipt| receipt.verdict == Verdict::Failed).or(newest)
    };
    names.into_iter().filter_map(|name| Some((name.clone(), LastDrill::of(last(name)?)))).collect()
}

/// Whether what was drilled is still there. A proof of a snapshot that is gone proves nothing of what is left; a failure
/// is not forgotten with its snapshot.
fn still_tells(known: &Known<'_>, receipt: &Receipt) -> bool {
    let copy = known.copies.iter().find(|copy| copy.name == receipt.copy && copy.fault.is_none());
    receipt.verdict != Verdict::Passed || copy.is_none_or(|copy| copy.snapshots.contains(&receipt.snapshot))
}

/// That snapshots are dated in the future. Rules keep them, prune does not run, and until that day they would be the newest to
/// every other program, restic among them.
fn ahead_problem(copies: &[CopyKnown], now: Timestamp) -> Option<HealthProblem> {
    let ahead: BTreeMap<Id, Timestamp> = copies.iter().flat_map(|copy| copy.ahead.clone()).collect();
    let (id, at) = ahead.iter().max_by_key(|(_, at)| **at)?;
    let short = id.short();
    let text = match ahead.len() {
        1 => format!("snapshot {short} is from the future ({at}); it is {now}"),
        many => format!("{many} snapshots are from the future, {short} is of {at}; it is {now}"),
    };
    Some(HealthProblem {
        copy: None,
        severity: Severity::Critical,
        text,
        fix: format!(
            "set the clock of this machine if it is wrong; else of the one that made it, and remove what it made: \
             `lifeboat forget {short} --force`"
        ),
    })
}

/// That several hosts back up under the stack's name, so that rules remove nothing of it.
fn several_hosts_problem(known: &Known<'_>) -> Option<HealthProblem> {
    let hosts: BTreeSet<&String> = known.copies.iter().flat_map(|copy| &copy.several_hosts).collect();
    (!hosts.is_empty()).then(|| HealthProblem {
        copy: None,
        severity: Severity::Warning,
        text: format!(
            "hosts {} back up under the name {}: to each, the newest snapshot may be another's, and rules remove nothing",
            hosts.into_iter().map(String::as_str).collect::<Vec<_>>().join(" and "),
            known.stack
        ),
        fix: format!(
            "give their stacks different names; where only one is still at work: `lifeboat forget --stack {} --force`",
            known.stack
        ),
    })
}

/// That the last backup which this host tried failed, where none was taken since.
fn run_problem(stack: &str, run: &LastRun, last_backup: Option<Timestamp>) -> Option<HealthProblem> {
    let failure = run.failure.as_ref().filter(|_| last_backup.is_none_or(|backup| backup < run.at))?;
    Some(HealthProblem {
        copy: None,
        severity: Severity::Critical,
        text: format!("the last backup failed, on {}: {failure}", run.at.strftime("%Y-%m-%d %H:%M UTC")),
        fix: format!("mend this, then run `lifeboat backup {stack}`"),
    })
}

/// That hooks of the last backup failed, where its own failure does not say so.
fn hooks_problem(stack: &str, run: &LastRun) -> Option<HealthProblem> {
    let is_told = |hook: &String| run.failure.as_ref().is_some_and(|failure| failure.contains(hook));
    let untold: Vec<&String> = run.hooks.iter().filter(|hook| !is_told(hook)).collect();
    let (hook, more) = untold.split_first()?;
    let others = if more.is_empty() { String::new() } else { format!(", and {} more", more.len()) };
    let which = if run.cancelled.is_some() { "a backup that was cancelled" } else { "the last backup" };
    let at = run.cancelled.unwrap_or(run.at).strftime("%Y-%m-%d %H:%M UTC");
    Some(HealthProblem {
        copy: None,
        severity: Severity::Warning,
        text: format!("in {which}, on {at}, {hook}{others}"),
        fix: format!("mend it, then run `lifeboat backup {stack} --verbose`, which shows what it says"),
    })
}

impl LastDrill {
    fn of(receipt: &Receipt) -> Self {
        Self {
            status: receipt.verdict,
            level: receipt.level,
            at: receipt.at.into(),
            snapshot: receipt.snapshot,
            rto_s: receipt.rto_s,
            partial: receipt.partial,
        }
    }
}

fn backup_problems(
    stack: &str,
    newest: Option<&Newest>,
    now: Timestamp,
    rpo_ok: Option<bool>,
    problems: &mut Vec<HealthProblem>,
) {
    let fix = format!("run `lifeboat backup {stack}`");
    let Some(Newest { time: newest, selection, content, .. }) = newest else {
        let text = "there is no backup yet".to_owned();
        problems.push(HealthProblem { copy: None, severity: Severity::Critical, text, fix });
        return;
    };
    let newest = *newest;
    if *selection {
        problems.push(HealthProblem {
            copy: None,
            severity: Severity::Critical,
            text: "there is no snapshot of all sources, only of some".to_owned(),
            fix: fix.clone(),
        });
    }
    let told = match content {
        Told::Content(content) => Some(content),
        Told::Unreadable | Told::Sealed => None,
    };
    for name in told.iter().flat_map(|content| &content.empty) {
        problems.push(HealthProblem {
            copy: None,
            severity: Severity::Warning,
            text: format!("source {name} is empty: the newest snapshot holds no file of it"),
            fix: "see whether its disk is mounted and its paths are right, or take it out of lifeboat.yaml".to_owned(),
        });
    }
    if let Some(Content { volumes, .. }) = told.filter(|content| !content.volumes.is_empty()) {
        problems.push(HealthProblem {
            copy: None,
            severity: Severity::Notice,
            text: format!(
                "not in the backups, unless a command captures them: Docker's volumes {}",
                volumes.join(", ")
            ),
            fix: "add a `volume` source for each, or a `command` that asks their server; `lifeboat discover` says what else is not \
                  covered"
                .to_owned(),
        });
    }
    let certificates = told.iter().flat_map(|content| &content.certificates);
    problems.extend(certificates.filter_map(|certificate| certificate_problem(stack, certificate, now)));
    match content {
        Told::Content(Content { status: SourceStatus::Ok, .. }) | Told::Sealed => {}
        Told::Content(Content { status: SourceStatus::Partial, .. }) => problems.push(HealthProblem {
            copy: None,
            severity: Severity::Critical,
            text: "the newest snapshot is partial: something was left out or is doubtful".to_owned(),
            fix: format!("see `lifeboat snapshots {stack} --problems`, mend the cause and back up again"),
        }),
        Told::Unreadable => problems.push(HealthProblem {
            copy: None,
            severity: Severity::Critical,
            text: "the newest snapshot's manifest cannot be read".to_owned(),
            fix: "run `lifeboat heal`, which brings back an index that was lost, then `lifeboat check --read-data`"
                .to_owned(),
        }),
    }
    if snapshots::is_ahead(newest, now) {
        return;
    }
    let old = hours(age(newest, now));
    if rpo_ok == Some(false) {
        let text = format!("the newest snapshot is {old} old, older than the target");
        problems.push(HealthProblem { copy: None, severity: Severity::Critical, text, fix });
    } else if rpo_ok.is_none() && age(newest, now) > BACKUP_AGE_MAX {
        let text = format!("the newest snapshot is {old} old, and no `rpo` says how old it may be");
        let fix = format!("{fix}, and set `rpo` in lifeboat.yaml");
        problems.push(HealthProblem { copy: None, severity: Severity::Warning, text, fix });
    }
}

/// That a certificate has run out, or soon will.
fn certificate_problem(stack: &str, certificate: &CertificateKnown, now: Timestamp) -> Option<HealthProblem> {
    let CertificateKnown { not_after, file, subject } = certificate;
    let day = not_after.strftime("%Y-%m-%d");
    let text = if *not_after <= now {
        format!("the certificate of {subject} in {file} expired on {day}")
    } else if not_after.duration_since(now).unsigned_abs() <= CERTIFICATE_LEFT_MIN {
        let days = not_after.duration_since(now).unsigned_abs().as_secs() / (24 * 60 * 60);
        format!("the certificate of {subject} in {file} expires in {days} days, on {day}")
    } else {
        return None;
    };
    let fix = format!("renew it, or see why that did not happen by itself; then run `lifeboat backup {stack}`");
    Some(HealthProblem { copy: None, severity: Severity::Warning, text, fix })
}

/// A duration for people.
fn hours(duration: Duration) -> String {
    let hours = duration.as_secs() / 3600;
    match hours {
        0 => format!("{} min", duration.as_secs() / 60),
        1..=72 => format!("{hours} h"),
        _ => format!("{} days", hours / 24),
    }
}

#[cfg(test)]
mod tests;
