//! `lifeboat heal`: mends what can be mended, and says what cannot.

use std::collections::BTreeSet;
use std::sync::Arc;

use operations::archives::{self, Archived, Damaged};
use operations::config::CopySettings;
use operations::state::LastCheck;
use operations::{Fault, FaultKind, copies};
use repository::format::key_file::KdfCost;
use repository::heal::{self, FromCopies, How};
use repository::{Clock as _, File, Repository};
use serde_json::json;

use super::for_each_copy;
use crate::app::{App, Opened, not_a_copy_of};
use crate::arguments;
use crate::copy_report::{damage_json, left_json, outcome};
use crate::into_step::{Brought, IntoStep};
use crate::open_archives::{self, OpenArchives};
use crate::output::{Outcome, Output, bytes, complain, count};
use crate::wiring;

pub fn run(app: &App, arguments: &arguments::Heal) -> Result<Outcome, Fault> {
    let asked = app.copies_here(arguments.copy.as_deref())?;
    let all = app.repositories(None, None)?;
    for_each_copy(app.output(), &asked, |copy| {
        if let Some(settings) = copy.archives() {
            return heal_archives(app, &open_archives::open(app, copy, settings)?, arguments.read_data);
        }
        // One that lies in the same folder is this copy by another name: it cannot help, and its lock would be ours.
        let is_other = |other: &&CopySettings| other.name != copy.name && !copies::are_one(other, copy);
        let others: Vec<_> = all.iter().copied().filter(is_other).collect();
        let mut others = app.open_each(&others)?;
        let repository = open(app, copy, &others.opened)?;
        check_is_copy(&all, copy, &repository, &others.opened)?;
        // What is no copy of it cannot help.
        others.opened.retain(|other| other.repository.is_copy_of(&repository));
        let how = How { read_data: arguments.read_data, some_away: !others.faults.is_empty() };
        let givers: Vec<_> = others.opened.iter().map(|other| other.repository.clone()).collect();
        let result = heal::from_copies(&app.cx(), &repository, &givers, how);
        app.run.progress.finish();
        let healed = result?;
        for (other, fault) in &others.faults {
            app.output().passed_over(&other.name, fault);
        }
        let away: Vec<&str> = others.faults.iter().map(|(other, _)| other.name.as_str()).collect();
        let unread = unread_damage(app, copy, arguments.read_data);
        say(app, copy, &healed, arguments.read_data, !givers.is_empty(), &away, unread.as_deref());
        remember(app, copy, arguments.read_data, failure(&healed));
        Ok(if healed.is_whole() && unread.is_none() { Outcome::Ok } else { Outcome::Partial })
    })
}

/// Writes the archives that are damaged, and whatever else is lacking, anew. What no repository has stays: much of it may
/// still be readable.
fn heal_archives(app: &App, open: &OpenArchives<'_>, read_data: bool) -> Result<Outcome, Fault> {
    let damaged = damaged(app, open, &open.contents.snapshots, read_data)?;
    let paths: BTreeSet<String> = damaged.iter().map(|damaged| damaged.path.clone()).collect();
    let name = &open.copy.name;
    let stacks: Vec<_> = app.settings.stacks.iter().filter(|stack| stack.copies.contains(name)).collect();
    let each = app.open_each(&app.repositories(None, None)?)?;
    let step = IntoStep::of(app, &stacks).rewriting(paths.clone());
    let mut reports = step.bring(each, |asked| asked == name, |_| Brought::default())?;
    // A repository that is away matters where something is left.
    reports.retain(|reported, _| reported == name);
    let held = open_archives::open(app, open.copy, open.settings)?.contents.snapshots;
    let suspects = archives::part_of(&held, |path| paths.contains(path));
    let still = self::damaged(app, open, &suspects, read_data)?;
    let is_there =
        |path: &str| suspects.iter().flat_map(|held| held.archives.values()).any(|object| object.path == path);
    let is_left = |path: &str| !is_there(path) || still.iter().any(|still| still.path == path);
    let left: Vec<&Damaged> = damaged.iter().filter(|damaged| is_left(&damaged.path)).collect();
    let lacking: usize = reports.values().map(|report| report.synced.incomplete.len()).sum();
    let is_whole = left.is_empty() && outcome(reports.values()) == Outcome::Ok;
    let unread = unread_damage(app, open.copy, read_data).filter(|_| damaged.is_empty());
    let output = app.output();
    let written = damaged.len() - left.len();
    output.summary(json!({
        "status": if is_whole && unread.is_none() { "ok" } else { "partial" }, "copy": name, "read_data": read_data,
        "archives_rewritten": written,
        "archives_damaged": left.iter().map(|left| &left.path).collect::<Vec<_>>(), "incomplete": lacking,
    }));
    for Damaged { path, what, .. } in &left {
        output.text(format!("NOT MENDED: {path}: {what}"));
    }
    let mended = count(written as u64, "damaged archive");
    match (is_whole, damaged.is_empty()) {
        (true, true) if unread.is_some() => {}
        (true, true) => output.text(format!("copy {name} is whole; nothing to mend{}", unread_bytes(read_data))),
        (true, false) => {
            output.text(format!("copy {name} is whole now: {mended} written anew{}", unread_bytes(read_data)));
        }
        (false, _) => output.text(format!("copy {name} is NOT whole: {mended} written anew, {} left", left.len())),
    }
    if !left.is_empty() {
        output.text(
            "  what is damaged is kept until a repository gives it anew: bring one that has its snapshot into reach",
        );
    }
    unread.iter().for_each(|found| say_unread(output, name, found));
    let failure = left.first().map(|left| format!("{}: {}", left.path, left.what));
    if failure.is_some() || (is_whole && (read_data || !damaged.is_empty())) {
        remember(app, open.copy, read_data, failure);
    }
    Ok(if is_whole && unread.is_none() { Outcome::Ok } else { Outcome::Partial })
}

/// What a check found that read every byte, where this does not: what it mended of that is not known.
fn unread_damage(app: &App, copy: &CopySettings, read_data: bool) -> Option<String> {
    app.state().last_check(copy).filter(|check| check.read_data && !read_data)?.failure
}

/// How far "whole" goes.
fn unread_bytes(read_data: bool) -> &'static str {
    if read_data { "" } else { ", by names and sizes; --read-data reads every byte" }
}

fn say_unread(output: Output, name: &str, found: &str) {
    output.text(format!(
        "copy {name} is NOT known to be whole: when all of it was read, this was found: {found}; run `lifeboat heal --read-data \
         --copy {name}`"
    ));
}

/// What could not be mended, in short; `None` where the copy is whole.
fn failure(healed: &FromCopies) -> Option<String> {
    let unhealed = healed.unhealed.iter().map(|finding| {
        let file = finding.file.map_or_else(String::new, |file| format!("{file}: "));
        format!("{file}{}", finding.what)
    });
    let unread = healed.index.packs_unread.iter().map(|(id, what)| format!("{} was not read: {what}", File::pack(*id)));
    let lacking =
        healed.incomplete.iter().map(|lacking| format!("snapshot {}: {}", lacking.snapshot.short(), lacking.what));
    let mut all = unhealed.chain(unread).chain(lacking);
    let first = all.next()?;
    Some(match all.count() {
        0 => format!("not mended: {first}"),
        more => format!("not mended: {first}, and {more} more"),
    })
}

/// Keeps what was found for `lifeboat status`.
fn remember(app: &App, copy: &CopySettings, read_data: bool, failure: Option<String>) {
    let check = LastCheck::new(app.run.clock.now(), read_data, failure);
    if let Err(fault) = app.state().save_check(copy, &check) {
        complain(&format!("what it found cannot be kept for `lifeboat status`: {}", fault.text()));
    }
}

fn damaged(app: &App, open: &OpenArchives<'_>, held: &[Archived], read_data: bool) -> Result<Vec<Damaged>, Fault> {
    let result = archives::check(&app.cx(), &*open.place, held, read_data);
    app.run.progress.finish();
    Ok(result?)
}

/// Fails where a copy is another repository than the first one in reach, by which all copies go: it may be whole, and is
/// no copy of anything.
fn check_is_copy(
    all: &[&CopySettings],
    copy: &CopySettings,
    repository: &Repository,
    others: &[Opened<'_>],
) -> Result<(), Fault> {
    let place = |name: &str| all.iter().position(|each| each.name == name);
    match others.first() {
        Some(first) if place(&first.copy.name) < place(&copy.name) && !first.repository.is_copy_of(repository) => {
            Err(not_a_copy_of(&first.copy.name))
        }
        _ => Ok(()),
    }
}

/// Opens the copy. Where its config file is missing or damaged, another copy gives it back first, and where its key files
/// are, another copy's master key is wrapped anew.
fn open(app: &App, copy: &CopySettings, others: &[Opened<'_>]) -> Result<Arc<Repository>, Fault> {
    let fault = match app.open_own(copy) {
        Err(fault) if fault.kind == FaultKind::Damaged => fault,
        opened => return opened,
    };
    let storage = wiring::storage(copy, &app.run)?;
    let password = copy.password()?.read()?;
    for other in others {
        if let Ok(true) = heal::config(&other.repository, storage.as_ref(), password.expose()) {
            app.output().text(format!("the config of copy {} was put back from copy {}", copy.name, other.copy.name));
            return app.open_own(copy);
        }
        let cost = KdfCost::for_password(password.expose());
        let (from, now) = (&other.repository, app.run.clock.now());
        if let Ok(true) = heal::key(from, storage.as_ref(), password.expose(), cost, now) {
            app.output().text(format!(
                "copy {} had lost its key files; it opens with the password of lifeboat.yaml again, by the master key of copy {}",
                copy.name, other.copy.name
            ));
            return app.open_own(copy);
        }
    }
    Err(fault.with_hint(
        "no other copy in reach could give it back: bring one of the same repository into reach, or name one below \
         `copies:`, and run this again; where config and key files are gone, and another copy is in reach, `lifeboat init --anew` \
         with the name of this one makes both anew and keeps the rest",
    ))
}

fn say(
    app: &App,
    copy: &CopySettings,
    healed: &FromCopies,
    read_data: bool,
    had_help: bool,
    away: &[&str],
    unread: Option<&str>,
) {
    let output = app.output();
    let name = &copy.name;
    let FromCopies { index, .. } = healed;
    let mut lines = vec![
        (healed.snapshots_replaced.len(), "snapshot", "put back"),
        (healed.packs_replaced.len(), "pack", "replaced by the same one of another copy"),
        (healed.packs_moved, "other pack", "brought from another copy"),
        (index.packs_added, "pack", "read anew for the index"),
        (index.index_files_replaced.len(), "damaged index file", "replaced"),
        (healed.packs_removed.len(), "damaged pack", "removed, all that is needed of it being elsewhere"),
        (index.receipts_removed, "receipt", "removed that cannot be read, or whose snapshot is gone: drill again"),
    ];
    lines.retain(|(number, ..)| *number > 0);
    for (number, thing, what) in &lines {
        output.text(format!("copy {name}: {} {what}", count(*number as u64, thing)));
    }
    if healed.blobs_repacked > 0 {
        output.text(format!("copy {name}: {} packed anew", count(healed.blobs_repacked, "blob")));
    }
    for id in &index.packs_missing {
        output.text(format!("lost: {}", File::pack(*id)));
    }
    let unreadable = index.packs_unreadable.iter().map(|(id, _)| id);
    let kept = index.packs_damaged.iter().chain(unreadable).filter(|id| !healed.packs_removed.contains(id));
    for id in kept {
        output.text(format!("damaged: {}; what is whole in it is used", File::pack(*id)));
    }
    for (id, what) in &index.packs_unread {
        output.text(format!("NOT READ: {}: {what}; it is left alone", File::pack(*id)));
    }
    for finding in &healed.unhealed {
        let file = finding.file.map_or_else(String::new, |file| format!("{file}: "));
        output.text(format!("NOT MENDED: {file}{}", finding.what));
    }
    if healed.unhealed.iter().any(|finding| finding.file.is_some_and(|file| file.kind == repository::FileKind::Key)) {
        output.text(format!(
            "  a damaged key file keeps restic from opening the copy: `lifeboat key remove ID --copy {name}` removes it; who used \
             its password gets another by `lifeboat key add --copy {name}`"
        ));
    }
    for incomplete in &healed.incomplete {
        output.text(format!("snapshot {} still LACKS something: {}", incomplete.snapshot.short(), incomplete.what));
    }
    for damage in &healed.damage {
        output.text(format!("damaged: {} in {}: {}", damage.file, damage.location, damage.what));
    }
    for left in &healed.left {
        output.text(format!("{} could not help: {}", left.location, left.what));
    }
    output.summary(json!({
        "status": if healed.is_whole() && unread.is_none() { "ok" } else { "partial" }, "copy": name, "read_data": read_data,
        "snapshots_replaced": healed.snapshots_replaced, "packs_replaced": healed.packs_replaced,
        "packs_moved": healed.packs_moved, "bytes_moved": healed.bytes_moved, "blobs_repacked": healed.blobs_repacked,
        "packs_removed": healed.packs_removed, "packs_added": index.packs_added, "packs_missing": index.packs_missing,
        "packs_damaged": index.packs_damaged, "packs_unread": index.packs_unread.iter().map(|(id, _)| id).collect::<Vec<_>>(),
        "blobs_dropped": index.blobs_dropped,
        "index_files_replaced": index.index_files_replaced, "receipts_removed": index.receipts_removed,
        "unhealed": healed.unhealed.iter().map(|finding| json!({ "file": finding.file.map(|file| File::path(&file)), "what": finding.what })).collect::<Vec<_>>(),
        "incomplete": healed.incomplete.iter().map(|lacking| json!({ "snapshot": lacking.snapshot, "what": lacking.what })).collect::<Vec<_>>(),
        "damage": healed.damage.iter().map(damage_json).collect::<Vec<_>>(),
        "left": healed.left.iter().map(left_json).collect::<Vec<_>>(),
    }));
    if let Some(found) = unread.filter(|_| healed.is_whole()) {
        say_unread(output, name, found);
        return;
    }
    if healed.is_whole() {
        let moved = if healed.bytes_moved > 0 {
            format!(", with {} from other copies", bytes(healed.bytes_moved))
        } else {
            String::new()
        };
        let state =
            if lines.is_empty() && healed.blobs_repacked == 0 { "is whole; nothing to mend" } else { "is whole now" };
        output.text(format!("copy {name} {state}{moved}{}", unread_bytes(read_data)));
        return;
    }
    if !index.packs_unread.is_empty() {
        output.text(
            "  what could not be read may be whole: mend the line or the disk, and run this again; where a disk is failing, \
             remove such a file by hand, and `lifeboat heal` brings it back",
        );
    }
    if !healed.incomplete.is_empty() {
        output.text("  what is still in the sources comes back with `lifeboat backup` and one more `lifeboat heal`");
        if !away.is_empty() {
            let away = away.join(", ");
            output.text(format!(
                "  what is not in reach may have it: bring copy {away} back, then run `lifeboat heal` again"
            ));
        } else if !had_help {
            output.text("  a copy at another place would have given it back: name one below `copies:`");
        }
        output.text(
            "  what is lost for good goes with its snapshots: `lifeboat restore ID --to DIR --keep-damaged` saves the rest, then \
             `lifeboat forget ID`",
        );
    }
}
