//! `lifeboat check`: what is damaged, and who suffers.

mod databases;

use connectors::source::couchdb::StoredReport;
use operations::Fault;
use operations::archives;
use operations::config::CopySettings;
use operations::state::{LastCheck, StoredDamage};
use repository::check::{self, ReadData, Report};
use repository::{Clock as _, Event, FileKind};
use serde_json::json;

use super::for_each_copy;
use crate::app::App;
use crate::arguments;
use crate::open_archives::{self, Archived, OpenArchives};
use crate::output::{Outcome, bytes, complain, count};

pub fn check(app: &App, arguments: &arguments::Check) -> Result<Outcome, Fault> {
    let copies = app.copies_here(arguments.copy.as_deref())?;
    for_each_copy(app.output(), &copies, |copy| match copy.archives() {
        // A part of the bytes of an archive proves none of it.
        Some(settings) => check_archives(app, &open_archives::open(app, copy, settings)?, arguments.read_data),
        None => check_one(app, copy, arguments),
    })
}

/// Holds the archives of a copy against their seals.
fn check_archives(app: &App, open: &OpenArchives<'_>, read_data: bool) -> Result<Outcome, Fault> {
    let (name, snapshots) = (&open.copy.name, &open.contents.snapshots);
    let bytes_total = snapshots.iter().map(Archived::bytes).sum();
    if read_data {
        let step = Event::StepStarted { name: "reading archives".to_owned(), bytes_total: Some(bytes_total) };
        app.cx().events.emit(step);
    }
    let result = archives::check(&app.cx(), &*open.place, snapshots, read_data);
    app.run.progress.finish();
    let damaged = result?;
    let output = app.output();
    for damage in &damaged {
        output.text(format!("damaged: {}: {}", damage.path, damage.what));
        output.json("finding", json!({ "file": damage.path, "what": damage.what }));
    }
    let partly = snapshots.iter().filter(|held| !held.is_whole()).count();
    for held in snapshots.iter().filter(|held| !held.is_whole()) {
        let (short, there) = (held.id.short(), held.archives.len());
        let what = format!("snapshot {short} is not whole: {there} of {} archives are there", held.of);
        output.text(&what);
        output.json("finding", json!({ "file": null, "what": what }));
    }
    let failure = damaged.first().map(|first| format!("{}: {}", first.path, first.what));
    let is_ok = failure.is_none();
    let check = LastCheck::new(app.run.clock.now(), read_data, failure);
    if let Err(fault) = app.state().save_check(open.copy, &check) {
        complain(&format!("what it found cannot be kept for `lifeboat status`: {}", fault.text()));
    }
    output.summary(json!({
        "status": match (is_ok, partly) { (false, _) => "damaged", (true, 0) => "ok", (true, _) => "partial" },
        "copy": name, "snapshots": snapshots.len() - partly,
        "snapshots_not_whole": partly, "bytes_read": if read_data { bytes_total } else { 0 }, "findings": damaged.len(),
    }));
    let looked = count((snapshots.len() - partly) as u64, "archived snapshot");
    if !is_ok {
        output.text(format!("copy {name} is DAMAGED: {} in {looked}", count(damaged.len() as u64, "archive")));
        let how = if read_data { " --read-data" } else { "" };
        output.text(format!("  `lifeboat heal{how}` writes them anew out of a repository"));
        return Ok(Outcome::Bad);
    }
    let (how, size) =
        if read_data { ("read back and as written", bytes_total) } else { ("of the right size", bytes_total) };
    output.text(format!("copy {name}: {looked}, {}, all {how}", bytes(size)));
    if partly > 0 {
        output.text("  `lifeboat sync` completes what is kept; `lifeboat forget` removes the rest");
        return Ok(Outcome::Partial);
    }
    Ok(Outcome::Ok)
}

fn check_one(app: &App, copy: &CopySettings, arguments: &arguments::Check) -> Result<Outcome, Fault> {
    let repository = app.open_own(copy)?;
    let read_data = match arguments.read_data_subset {
        _ if arguments.read_data => ReadData::All,
        Some(percent) => ReadData::Percent(percent),
        None => ReadData::None,
    };
    let result = check::check(&app.cx(), &repository, read_data);
    app.run.progress.finish();
    let report = result?;
    let databases =
        if read_data == ReadData::All { databases::check(app, &repository) } else { Ok(Default::default()) };
    app.run.progress.finish();
    let databases = databases?;
    let is_ok = report.is_ok() && databases.findings.is_empty();
    print(app, &report, &databases, read_data, &copy.name);
    let of_copy = report.findings.iter().map(|finding| {
        let file = finding.file.map_or_else(String::new, |file| format!("{file}: "));
        format!("{file}{}", finding.what)
    });
    let of_databases: Vec<String> = databases.findings.iter().map(databases::told).collect();
    // Where the copy is damaged, its databases may be so by that alone, and are looked at again once it is mended.
    let (failure, stored) = match report.is_ok() {
        true => (None, in_short(of_databases)),
        false => (in_short(of_copy.chain(of_databases).collect()), None),
    };
    // What a part that was read shows is not taken back by a look at names and sizes; that the rest is fine, it does not show.
    let has_looked = read_data == ReadData::All || (failure.is_some() && read_data != ReadData::None);
    let now = app.run.clock.now();
    let stored = stored.zip(databases::fix(&databases));
    let stored = stored.map(|(failure, fix)| StoredDamage { at: now, failure, fix });
    let check = LastCheck { stored, ..LastCheck::new(now, has_looked, failure) };
    let saved = match read_data == ReadData::All && report.is_ok() {
        true => app.state().save_check_of_databases(copy, &check),
        false => app.state().save_check(copy, &check),
    };
    if let Err(fault) = saved {
        complain(&format!("what it found cannot be kept for `lifeboat status`: {}", fault.text()));
    }
    Ok(if is_ok { Outcome::Ok } else { Outcome::Bad })
}

/// The first finding, and how many more there are; `None` where there is none.
fn in_short(findings: Vec<String>) -> Option<String> {
    let more = findings.len().checked_sub(1)?;
    let first = findings.into_iter().next()?;
    Some(if more > 0 { format!("{first}, and {more} more") } else { first })
}

fn print(app: &App, report: &Report, databases: &StoredReport, read_data: ReadData, copy: &str) {
    let output = app.output();
    let is_ok = report.is_ok() && databases.findings.is_empty();
    for finding in &report.findings {
        let file = finding.file.map_or_else(String::new, |file| format!("{file}: "));
        output.text(format!("damaged: {file}{}", finding.what));
        output.json("finding", json!({ "file": finding.file.map(|file| file.path()), "what": finding.what }));
    }
    for affected in &report.affected {
        let whole = affected.path.as_os_str().is_empty();
        let path = if whole { "the whole snapshot".into() } else { affected.path.to_string_lossy() };
        output.text(format!("suffers: {}: {path}", affected.snapshot.short()));
        output.json("affected", json!({ "snapshot": affected.snapshot, "path": affected.path.to_string_lossy() }));
    }
    let listed = report.affected.len();
    if report.affected_total > listed {
        output.text(format!("suffers: and {} more", report.affected_total - listed));
    }
    databases::print(app, databases);
    let findings = report.findings.len() + databases.findings.len();
    output.summary(json!({
        "status": if is_ok { "ok" } else { "damaged" }, "copy": copy, "snapshots": report.snapshots,
        "packs": report.packs, "packs_read": report.packs_read, "bytes_read": report.bytes_read,
        "unused_packs": report.unused_packs, "findings": findings, "affected": report.affected_total,
        "couchdb_files": databases.files, "couchdb_documents": databases.documents,
    }));
    if report.unused_packs > 0 {
        let packs = count(report.unused_packs as u64, "pack");
        let why = if report.is_ok() { "left by an interrupted run or kept by prune; harmless" } else { "see below" };
        output.chat(format!("{packs} in no index: {why}"));
    }
    let looked = format!("{} and {}", count(report.snapshots as u64, "snapshot"), count(report.packs as u64, "pack"));
    if !is_ok {
        let findings = count(findings as u64, "damage");
        output.text(format!(
            "copy {copy} is DAMAGED: {findings} in {looked}; what suffers: {}",
            count(report.affected_total as u64, "file or folder")
        ));
        if report.is_ok() {
            databases::advise(app, databases);
        } else {
            advise(app, report);
        }
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
    if databases.files > 0 {
        let (files, documents) = (count(databases.files as u64, "file"), count(databases.documents, "document"));
        output.text(format!("  {files} of CouchDB with {documents}, every one read and as the newest snapshots say"));
    }
}

/// What helps depends on what is damaged.
fn advise(app: &App, report: &Report) {
    let hits =
        |kind: FileKind| report.findings.iter().any(|finding| finding.file.is_some_and(|file| file.kind == kind));
    let output = app.output();
    if hits(FileKind::Snapshot) {
        output.text("  `lifeboat heal` brings snapshots back that another copy has; `lifeboat forget ID` removes a damaged one that none has");
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
            "  `lifeboat heal --read-data` mends it from other copies and from what is whole; what no copy has, `lifeboat backup` \
             stores anew where the sources still have it",
        );
        output.text(
            "  what is lost for good goes with its snapshots: `lifeboat restore ID --to DIR --keep-damaged` saves the rest, then \
             `lifeboat forget ID`",
        );
    }
}
