//! `lifeboat check` and `lifeboat heal`: what is damaged, who suffers, and what can be mended.

use operations::Fault;
use operations::config::CopySettings;
use repository::check::{self, ReadData, Report};
use repository::{FileKind, heal};
use serde_json::json;

use super::for_each;
use crate::app::App;
use crate::arguments;
use crate::output::{Outcome, bytes, count};

pub fn check(app: &App, arguments: &arguments::Check) -> Result<Outcome, Fault> {
    let copies = app.copies(arguments.copy.as_deref(), None)?;
    let name = |copy: &&CopySettings| format!("copy {}", copy.name);
    for_each(app.output(), &copies, name, |copy| check_one(app, copy, arguments))
}

fn check_one(app: &App, copy: &CopySettings, arguments: &arguments::Check) -> Result<Outcome, Fault> {
    let repository = app.open(copy)?;
    let read_data = match arguments.read_data_subset {
        _ if arguments.read_data => ReadData::All,
        Some(percent) => ReadData::Percent(percent),
        None => ReadData::None,
    };
    let result = check::check(&app.cx(), &repository, read_data);
    app.run.progress.finish();
    let report = result?;
    print(app, &report, read_data, &copy.name);
    Ok(if report.is_ok() { Outcome::Ok } else { Outcome::Bad })
}

fn print(app: &App, report: &Report, read_data: ReadData, copy: &str) {
    let output = app.output();
    for finding in &report.findings {
        let file = finding.file.map_or_else(String::new, |file| format!("{file}: "));
        output.text(format!("damaged: {file}{}", finding.what));
        output.json("finding", json!({ "file": finding.file.map(|file| file.path()), "what": finding.what }));
    }
    for affected in &report.affected {
        let path = affected.path.display();
        output.text(format!("suffers: {}:{path}", affected.snapshot.short()));
        output.json("affected", json!({ "snapshot": affected.snapshot, "path": affected.path.to_string_lossy() }));
    }
    let listed = report.affected.len();
    if report.affected_total > listed {
        output.text(format!("suffers: and {} more", report.affected_total - listed));
    }
    output.summary(json!({
        "status": if report.is_ok() { "ok" } else { "damaged" }, "copy": copy, "snapshots": report.snapshots,
        "packs": report.packs, "packs_read": report.packs_read, "bytes_read": report.bytes_read,
        "unused_packs": report.unused_packs, "findings": report.findings.len(), "affected": report.affected_total,
    }));
    if report.unused_packs > 0 {
        let packs = count(report.unused_packs as u64, "pack");
        let why = if report.is_ok() { "left by an interrupted run or kept by prune; harmless" } else { "see below" };
        output.chat(format!("{packs} in no index: {why}"));
    }
    let looked = format!("{} and {}", count(report.snapshots as u64, "snapshot"), count(report.packs as u64, "pack"));
    if !report.is_ok() {
        let findings = count(report.findings.len() as u64, "damage");
        output.text(format!(
            "copy {copy} is DAMAGED: {findings} in {looked}; {} suffer",
            count(report.affected_total as u64, "file")
        ));
        advise(app, report);
        return;
    }
    match read_data {
        ReadData::None => {
            output.text(format!("copy {copy}: {looked}, structure is whole; --read-data would read every byte"));
        }
        _ => output.text(format!(
            "copy {copy}: {looked}, whole; {} of {} read and verified",
            bytes(report.bytes_read),
            count(report.packs_read as u64, "pack")
        )),
    }
}

/// What helps depends on what is damaged.
fn advise(app: &App, report: &Report) {
    let hits =
        |kind: FileKind| report.findings.iter().any(|finding| finding.file.is_some_and(|file| file.kind == kind));
    let output = app.output();
    if hits(FileKind::Snapshot) {
        output.text("  a damaged snapshot cannot be mended: `lifeboat forget ID` removes it; one that is gone is forgotten by `lifeboat heal`");
    }
    if hits(FileKind::Index) || report.unused_packs > 0 {
        output.text("  `lifeboat heal` rebuilds the index from the packs, which may bring back all of it");
    } else if hits(FileKind::Receipt) {
        output.text("  `lifeboat heal` removes receipts that cannot be read; `lifeboat drill` makes new ones");
    }
    if hits(FileKind::Key) || hits(FileKind::Condemned) {
        output.text(
            "  a damaged key file: `lifeboat key remove ID`, then `lifeboat key add`; a damaged list: `lifeboat prune`",
        );
    }
    if hits(FileKind::Pack) || report.findings.iter().any(|finding| finding.file.is_none()) {
        output.text(
            "  `lifeboat heal --read-data` takes what is damaged out of the index; then `lifeboat backup` stores anew what is \
             still in the sources",
        );
    }
}

pub fn heal(app: &App, arguments: &arguments::Heal) -> Result<Outcome, Fault> {
    let copy = app.copy(arguments.copy.as_deref())?;
    let repository = app.open(copy)?;
    let result = heal::index(&app.cx(), &repository, arguments.read_data);
    app.run.progress.finish();
    let healed = result?;
    let output = app.output();
    for id in &healed.packs_missing {
        output.text(format!("lost: {} is named by the index, but not there", repository::File::pack(*id)));
    }
    for (id, what) in &healed.packs_unreadable {
        output.text(format!("lost: {}: {what}", repository::File::pack(*id)));
    }
    for id in &healed.packs_damaged {
        output.text(format!("damaged: {}: what is still whole in it stays in use", repository::File::pack(*id)));
    }
    let remains = healed.packs_missing.len() + healed.packs_unreadable.len() + healed.packs_damaged.len();
    output.summary(json!({
        "status": if remains == 0 { "ok" } else { "partial" }, "copy": copy.name, "packs_added": healed.packs_added,
        "packs_missing": healed.packs_missing, "packs_damaged": healed.packs_damaged,
        "receipts_removed": healed.receipts_removed, "blobs_dropped": healed.blobs_dropped, "index_files_replaced": healed.index_files_replaced,
        "packs_unreadable": healed.packs_unreadable.iter().map(|(id, _)| id).collect::<Vec<_>>(),
    }));
    if healed.changed_anything() {
        output.text(format!(
            "the index of copy {} was written anew: {} read from their own headers, {} replaced",
            copy.name,
            count(healed.packs_added as u64, "pack"),
            count(healed.index_files_replaced.len() as u64, "damaged index file")
        ));
    } else {
        output.text(format!("the index of copy {} agrees with its packs; nothing to mend", copy.name));
    }
    if healed.receipts_removed > 0 {
        let receipts = count(healed.receipts_removed as u64, "receipt");
        output.text(format!("{receipts} removed that cannot be read, or whose snapshots are gone: drill again"));
    }
    if remains > 0 {
        output.text("what is lost is gone from this copy; `lifeboat check --read-data` names the files that suffer");
        output.text("  back up again: what is still in the sources is then stored anew");
    }
    Ok(if remains == 0 { Outcome::Ok } else { Outcome::Partial })
}
