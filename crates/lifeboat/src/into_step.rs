//! Bringing copies into step, as a backup does at its end, and `sync` and `heal` when they are asked: what is lacking is moved
//! to repositories as packs, and written to archive copies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use archive::ArchiveName;
use operations::archives::{self, ArchiveCopy};
use operations::config::{CopySettings, StackSettings};
use operations::status::CopyFault;
use operations::sync::{self, Member, Union};
use operations::{Fault, FaultKind, copies};
use repository::format::snapshot::Snapshot;
use repository::sync::{Incomplete, Synced};
use repository::{Clock as _, Error, Id};
use serde_json::{Value, json};

use crate::app::{App, Each, not_a_copy_of};
use crate::copy_report::{CopyReport, CopyStatus, damage_json, outcome};
use crate::open_archives::{self, OpenArchives};
use crate::output::{Outcome, bytes, count};
use crate::wiring;

/// What a copy got while a backup was running.
#[derive(Clone, Copy, Debug, Default)]
pub struct Brought {
    pub packs: usize,
    pub bytes: u64,
}

/// Brings copies into step, with what belongs to some stacks.
pub struct IntoStep<'a> {
    app: &'a App,
    stacks: Vec<&'a str>,
    /// Also what belongs to no stack of the configuration.
    everything: bool,
    /// Paths of archives that are there and not good.
    rewritten: BTreeSet<String>,
}

impl<'a> IntoStep<'a> {
    pub fn of(app: &'a App, stacks: &[&'a StackSettings]) -> Self {
        Self {
            app,
            stacks: stacks.iter().map(|stack| &*stack.name).collect(),
            everything: false,
            rewritten: BTreeSet::new(),
        }
    }

    /// Also writes these archives anew, by their paths. Each stays as it is until the new one is written.
    pub fn rewriting(self, archives: BTreeSet<String>) -> Self {
        Self { rewritten: archives, ..self }
    }

    /// Also brings what belongs to no stack of the configuration.
    pub fn with_everything(self) -> Self {
        Self { everything: true, ..self }
    }

    /// Brings the copies for which `is_asked` into step with all that were opened, and says what came of each. `ready` is
    /// asked before the turn of a copy, by its name, for what it got on another way. A copy that could not be asked for what
    /// the others lack is reported, too.
    pub fn bring(
        &self,
        each: Each<'_>,
        is_asked: impl Fn(&str) -> bool,
        ready: impl Fn(&str) -> Brought + Sync,
    ) -> Result<BTreeMap<String, CopyReport>, Fault> {
        let (members, mut reports) = self.members(each);
        reports.retain(|name, _| is_asked(name) || self.is_source(name));
        let sources = || self.app.settings.copies.iter().filter(|copy| self.is_source(&copy.name));
        if let [only] = &members[..]
            && sources().all(|copy| copy.name == only.settings.name)
        {
            // There is no other that could have or lack anything: nothing need be asked.
            if is_asked(&only.settings.name) {
                reports.insert(only.settings.name.clone(), CopyReport::of(Synced::default(), None));
            }
            self.end(&reports, is_asked);
            return Ok(reports);
        }
        let union = sync::union(&self.app.cx(), &members)?;
        let all = &union.snapshots;
        let targets: Vec<(usize, Vec<Id>)> = members
            .iter()
            .enumerate()
            .filter(|(number, member)| is_asked(&member.settings.name) && answered(&union, *number))
            .map(|(number, member)| (number, self.wanted(member.settings, all)))
            .collect();
        let brought = Mutex::new(BTreeMap::<usize, Brought>::new());
        let done = sync::run(&self.app.cx(), &members, &targets, |number| {
            let got = ready(&members[number].settings.name);
            brought.lock().unwrap_or_else(PoisonError::into_inner).insert(number, got);
        });
        self.app.run.progress.finish();
        let mut brought = brought.into_inner().unwrap_or_else(PoisonError::into_inner);
        for ((number, _), result) in targets.iter().zip(done) {
            let report = match result {
                Err(Error::Cancelled) => return Err(Error::Cancelled.into()),
                Err(error) => failed(Fault::from(error)),
                Ok(mut synced) => {
                    // It is all the same to the user when a pack came.
                    let Brought { packs, bytes } = brought.remove(number).unwrap_or_default();
                    synced.packs_moved += packs;
                    synced.bytes_moved += bytes;
                    synced.packs_there = synced.packs_there.saturating_sub(packs);
                    CopyReport::of(synced, None)
                }
            };
            reports.insert(members[*number].settings.name.clone(), report);
        }
        reports.extend(self.write_archives(&members, all, &is_asked)?);
        self.add_doubts(union, &members, &mut reports, &is_asked);
        self.end(&reports, is_asked);
        Ok(reports)
    }

    /// Whether a copy may have what others lack.
    fn is_source(&self, name: &str) -> bool {
        self.everything || self.app.settings.copy(name).is_ok_and(|copy| self.goes_to(copy))
    }

    /// Adds what keeps the union from being all there is: whoever does not say what it has, or cannot read it, may have
    /// what the others lack.
    fn add_doubts(
        &self,
        union: Union,
        members: &[Member<'_>],
        reports: &mut BTreeMap<String, CopyReport>,
        is_asked: impl Fn(&str) -> bool,
    ) {
        for (number, error) in union.failed {
            let name = &members[number].settings.name;
            if is_asked(name) || self.is_source(name) {
                reports.insert(name.clone(), failed(Fault::from(error)));
            }
        }
        for (number, damage) in union.damage {
            let name = &members[number].settings.name;
            let is_elsewhere = union.snapshots.iter().any(|(id, _)| *id == damage.file.id);
            let is_told = is_asked(name);
            if !is_told && (is_elsewhere || !self.is_source(name)) {
                continue;
            }
            let done = reports.iter_mut().filter(|(_, report)| report.error.is_none());
            for (other, report) in done.filter(|(other, _)| *other == name || !is_elsewhere) {
                report.status = CopyStatus::Behind;
                if other == name || !is_told {
                    report.synced.damage.push(damage.clone());
                }
            }
        }
    }

    /// Says what came of each copy, and keeps it for when a removable one is not here.
    fn end(&self, reports: &BTreeMap<String, CopyReport>, is_asked: impl Fn(&str) -> bool) {
        let all_asked = reports.values().all(|report| report.error.is_none());
        reports.iter().for_each(|(name, report)| self.say(name, report, all_asked));
        let (state, now) = (self.app.state(), self.app.run.clock.now());
        for (name, report) in reports.iter().filter(|(name, _)| is_asked(name)) {
            let Some(failure) = report.failure() else { continue };
            if failure.is_none() && !all_asked {
                // What a copy that could not be asked has, it may lack.
                continue;
            }
            let Ok(copy) = self.app.settings.copy(name) else { continue };
            let stacks = self.app.settings.stacks.iter().filter(|stack| self.stacks.contains(&&*stack.name));
            for stack in stacks.filter(|stack| stack.copies.contains(name)) {
                // Who may read copies may not always write state; then nobody relies on it.
                let _ = state.save_step(copy, &stack.name, now, failure.clone());
            }
        }
    }

    /// Shows what [`IntoStep::take`] would do.
    pub fn preview(&self, each: Each<'_>, is_asked: impl Fn(&str) -> bool) -> Result<Outcome, Fault> {
        let (members, mut reports) = self.members(each);
        reports.retain(|name, _| is_asked(name) || self.is_source(name));
        let union = sync::union(&self.app.cx(), &members)?;
        let all = &union.snapshots;
        let mut plans = serde_json::Map::new();
        for (number, member) in members.iter().enumerate().filter(|(_, member)| is_asked(&member.settings.name)) {
            let name = &member.settings.name;
            if !answered(&union, number) {
                continue;
            }
            let plan = match sync::plan(&self.app.cx(), &members, number, &self.wanted(member.settings, all)) {
                Err(Error::Cancelled) => return Err(Error::Cancelled.into()),
                Err(error) => {
                    reports.insert(name.clone(), failed(Fault::from(error)));
                    continue;
                }
                Ok(plan) => plan,
            };
            let (snapshots, packs) = (count(plan.snapshots.len() as u64, "snapshot"), count(plan.packs as u64, "pack"));
            self.app.output().text(format!("copy {name}: would bring {snapshots}, {} in {packs}", bytes(plan.bytes)));
            let synced = Synced { incomplete: plan.incomplete.clone(), ..Synced::default() };
            reports.insert(name.clone(), CopyReport::of(synced, None));
            let ids: Vec<&Id> = plan.snapshots.iter().map(|(id, _)| id).collect();
            plans.insert(
                name.clone(),
                json!({ "snapshots": ids, "packs": plan.packs, "bytes": plan.bytes, "blobs": plan.blobs,
                        "incomplete": plan.incomplete.len() }),
            );
        }
        self.app.run.progress.finish();
        for copy in self.app.settings.copies.iter().filter(|copy| self.goes_to(copy) && is_asked(&copy.name)) {
            let Some(settings) = copy.archives() else { continue };
            let open = match open_archives::open(self.app, copy, settings) {
                Ok(open) => open,
                Err(fault) if fault.kind == FaultKind::Cancelled => return Err(fault),
                Err(fault) => {
                    reports.insert(copy.name.clone(), unopened(copy, fault));
                    continue;
                }
            };
            let is_whole = |id: &Id| open.contents.snapshots.iter().any(|held| held.id == *id && held.is_whole());
            let wanted = self.wanted_archives(copy, all);
            let snapshots: Vec<Id> = wanted.into_iter().map(|(id, _)| id).filter(|id| !is_whole(id)).collect();
            let archives = count(snapshots.len() as u64, "snapshot");
            self.app.output().text(format!("copy {}: would write archives of {archives}", copy.name));
            plans.insert(copy.name.clone(), json!({ "snapshots": snapshots }));
        }
        self.add_doubts(union, &members, &mut reports, &is_asked);
        // Those that nothing can be brought to, or not all, as `take` would find them.
        for (name, report) in reports.iter().filter(|(_, report)| report.status != CopyStatus::Ok) {
            self.say(name, report, false);
            let damage: Vec<Value> = report.synced.damage.iter().map(damage_json).collect();
            plans
                .entry(name.clone())
                .and_modify(|plan| plan["damage"] = json!(damage))
                .or_insert_with(|| json!(report));
        }
        let outcome = outcome(reports.values());
        let status = if outcome == Outcome::Ok { "ok" } else { "partial" };
        self.app.output().summary(json!({ "status": status, "dry_run": true, "copies": plans }));
        Ok(outcome)
    }

    /// Writes what the archive copies lack, out of the copies that were opened.
    fn write_archives(
        &self,
        members: &[Member<'_>],
        all: &[(Id, Snapshot)],
        is_asked: &impl Fn(&str) -> bool,
    ) -> Result<BTreeMap<String, CopyReport>, Fault> {
        let mut reports = BTreeMap::new();
        for copy in self.app.settings.copies.iter().filter(|copy| self.goes_to(copy) && is_asked(&copy.name)) {
            let Some(settings) = copy.archives() else { continue };
            let report = match open_archives::open(self.app, copy, settings) {
                Ok(open) => self.write_to(&open, members, all).or_else(unless_cancelled)?,
                Err(fault) if fault.kind == FaultKind::Cancelled => return Err(fault),
                Err(fault) => unopened(copy, fault),
            };
            self.app.run.progress.finish();
            reports.insert(copy.name.clone(), report);
        }
        Ok(reports)
    }

    fn write_to(
        &self,
        open: &OpenArchives<'_>,
        members: &[Member<'_>],
        all: &[(Id, Snapshot)],
    ) -> Result<CopyReport, Fault> {
        let to = ArchiveCopy {
            place: &*open.place,
            prefix: &open.settings.prefix,
            host: &open.host,
            recipients: &wiring::recipients(&open.settings.key)?,
            held: &archives::part_of(&open.contents.snapshots, |path| !self.rewritten.contains(path)),
        };
        // All members, those that are near first.
        let from = sync::sources(members, members.len());
        let archives::Brought { snapshots, archives, bytes, incomplete } =
            archives::bring(&self.app.cx(), &from, &to, &self.wanted_archives(open.copy, all))?;
        let incomplete = incomplete.into_iter().map(|(snapshot, what)| Incomplete { snapshot, what }).collect();
        let synced = Synced { snapshots, bytes_moved: bytes, incomplete, ..Synced::default() };
        Ok(CopyReport::of(synced, Some(archives)))
    }

    /// Whether any of the stacks goes to a copy.
    pub fn goes_to(&self, copy: &CopySettings) -> bool {
        let stacks = self.app.settings.stacks.iter().filter(|stack| self.stacks.contains(&&*stack.name));
        stacks.into_iter().any(|stack| stack.copies.contains(&copy.name))
    }

    fn wanted(&self, copy: &CopySettings, all: &[(Id, Snapshot)]) -> Vec<Id> {
        let settings = &self.app.settings;
        let mut wanted = sync::wanted(settings, copy, &self.stacks, all, self.app.run.clock.now());
        if self.everything {
            wanted.extend(sync::foreign(settings, all));
        }
        wanted
    }

    fn wanted_archives(&self, copy: &CopySettings, all: &[(Id, Snapshot)]) -> Vec<(Id, Snapshot)> {
        let mut wanted = self.wanted(copy, all);
        // What is damaged is mended for as long as it is there.
        wanted.extend(self.rewritten.iter().filter_map(|path| {
            let name = path.rsplit_once('/').map_or(&**path, |(_, name)| name);
            Some(name.parse::<ArchiveName>().ok()?.snapshot)
        }));
        // What belongs to no stack was made by other programs, and has no name there.
        let is_wanted = |(id, snapshot): &&(Id, Snapshot)| wanted.contains(id) && snapshot.stack().is_some();
        all.iter().filter(is_wanted).cloned().collect()
    }

    /// The copies of one repository, and what is to be said of those that are none, or cannot be opened.
    fn members<'b>(&self, each: Each<'b>) -> (Vec<Member<'b>>, BTreeMap<String, CopyReport>) {
        let mut reports = BTreeMap::new();
        for (copy, fault) in each.faults {
            reports.insert(copy.name.clone(), unopened(copy, fault));
        }
        reports.extend(each.failed.into_iter().map(|(copy, fault)| (copy.name.clone(), failed(fault))));
        let mut members: Vec<Member<'b>> = Vec::new();
        for opened in each.opened {
            let member = Member { settings: opened.copy, repository: opened.repository };
            match members.first() {
                Some(first) if !member.repository.is_copy_of(&first.repository) => {
                    let fault = not_a_copy_of(&first.settings.name);
                    reports.insert(member.settings.name.clone(), failed(fault));
                }
                _ => match members.iter().find(|other| copies::are_one(member.settings, other.settings)) {
                    Some(other) => {
                        let fault = copies::one_with(other.settings);
                        reports.insert(member.settings.name.clone(), failed(fault));
                    }
                    None => members.push(member),
                },
            }
        }
        (members, reports)
    }

    /// `all_asked`: every copy said what it has.
    fn say(&self, name: &str, report: &CopyReport, all_asked: bool) {
        let output = self.app.output();
        let Synced { snapshots, packs_moved, bytes_moved, incomplete, damage, left, .. } = &report.synced;
        let what = report.error.as_deref().unwrap_or_default();
        match report.status {
            CopyStatus::Absent => {
                output.chat(format!("copy {name} is not here, which a removable copy may be: {what}"))
            }
            CopyStatus::Failed => output.text(format!("copy {name} FAILED: {what}")),
            CopyStatus::Ok if snapshots.is_empty() && all_asked => output.chat(format!("copy {name} is in step")),
            CopyStatus::Ok if snapshots.is_empty() => {
                output.chat(format!("copy {name} has all that the copies in reach have"));
            }
            CopyStatus::Behind if snapshots.is_empty() => {}
            CopyStatus::Ok | CopyStatus::Behind => output.chat(format!(
                "copy {name} got {}, {} in {}",
                count(snapshots.len() as u64, "snapshot"),
                bytes(*bytes_moved),
                match report.archives {
                    Some(archives) => count(archives as u64, "archive"),
                    None => count(*packs_moved as u64, "pack"),
                }
            )),
        }
        if let Some(hint) = report.hint.as_ref().filter(|_| report.status == CopyStatus::Failed) {
            output.text(format!("  {hint}"));
        }
        for incomplete in incomplete {
            output.text(format!("copy {name} LACKS snapshot {}: {}", incomplete.snapshot.short(), incomplete.what));
        }
        for damage in damage {
            output
                .text(format!("damaged: {} in {}: {}; run `lifeboat heal`", damage.file, damage.location, damage.what));
        }
        for left in left {
            output.text(format!("{} could not help: {}", left.location, left.what));
        }
    }
}

/// Whether a member said what it has.
fn answered(union: &Union, number: usize) -> bool {
    union.failed.iter().all(|(failed, _)| *failed != number)
}

/// What is to be said of a copy that cannot be opened: a removable one may be somewhere else.
fn unopened(copy: &CopySettings, fault: Fault) -> CopyReport {
    let fault = CopyFault::from(fault);
    let status = if copy.removable && fault.is_absence() { CopyStatus::Absent } else { CopyStatus::Failed };
    CopyReport { status, ..failed(fault) }
}

fn unless_cancelled(fault: Fault) -> Result<CopyReport, Fault> {
    if fault.kind == FaultKind::Cancelled { Err(fault) } else { Ok(failed(fault)) }
}

fn failed(fault: impl Into<CopyFault>) -> CopyReport {
    let CopyFault { what, fix, .. } = fault.into();
    CopyReport { status: CopyStatus::Failed, synced: Synced::default(), archives: None, error: Some(what), hint: fix }
}
