//! `lifeboat snapshots`: what there is, and what proves it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use operations::manifest::{Manifest, SourceStatus};
use operations::{Fault, drill, snapshots};
use repository::format::receipt::Receipt;
use repository::format::snapshot::Snapshot;
use repository::{Error, Id};
use serde_json::{Value, json};

use crate::app::{App, Opened};
use crate::arguments;
use crate::open_archives::{self, Archived, OpenArchives};
use crate::output::{Outcome, bytes, count};

pub fn run(app: &App, arguments: &arguments::Snapshots) -> Result<Outcome, Fault> {
    let copies = app.copies_here(arguments.copy.as_deref())?;
    let (of_archives, repositories): (Vec<_>, Vec<_>) = copies.iter().partition(|copy| copy.archives().is_some());
    let opened = if repositories.is_empty() { Vec::new() } else { app.open_all(&repositories)? };
    let archived = open_archives::open_all(app, &of_archives)?;
    let is_complete = opened.len() + archived.len() == copies.len();
    let found = collect(app, arguments, &opened, &archived)?;
    let output = app.output();
    let several = copies.len() > 1;
    let mut all_whole = found.damaged.is_empty();
    for (id, listed) in &found.snapshots {
        let Listed { snapshot, copies, manifest, damage, drills, archived, archives } = listed;
        if let Some(error) = damage {
            all_whole = false;
            output.json("damaged", json!({ "id": id, "what": error.to_string() }));
        }
        let whole = manifest.as_ref().map(Manifest::status);
        let bytes_source = snapshot.summary.as_ref().map(|summary| summary.total_bytes_processed);
        let sources: Vec<&str> = snapshot.paths.iter().map(|path| path.trim_start_matches('/')).collect();
        let records = manifest.iter().flat_map(|manifest| &manifest.sources);
        let captured: serde_json::Map<String, Value> =
            records.filter_map(|(name, record)| Some((name.clone(), json!(record.captured?)))).collect();
        let drilled: serde_json::Map<String, Value> = drills
            .iter()
            .filter(|drill| drill::is_proof(drill))
            .map(|drill| {
                let proof = json!({ "level": drill.level, "at": Timestamp::from(drill.at), "partial": drill.partial });
                (drill.copy.clone(), proof)
            })
            .collect();
        output.json(
            "snapshot",
            json!({
                "id": id, "stack": snapshot.stack(), "time": Timestamp::from(snapshot.time), "sources": sources,
                "bytes_source": bytes_source, "copies": copies, "status": whole, "hostname": snapshot.hostname,
                "tags": snapshot.tags, "drilled": drilled, "captured": captured, "archives": archives,
            }),
        );
        // A drill that failed, of whichever copy, is worth more words than one that passed.
        let drill = drills.iter().find(|drill| !drill::is_proof(drill)).or(drills.iter().max_by_key(|drill| drill.at));
        let standing = if *archived { "archived".to_owned() } else { standing(damage.as_ref(), whole, drill) };
        let stack = snapshot.stack().unwrap_or("-");
        let time = minute(app, snapshot.time.into());
        // What other programs made says nothing of its size.
        let size = bytes_source.map_or_else(|| "-".to_owned(), bytes);
        let only =
            if snapshots::is_selection(snapshot) { format!("  only {}", sources.join(", ")) } else { String::new() };
        let places = if several { format!("  [{}]", copies.join(", ")) } else { String::new() };
        output.text(format!("{}  {time}  {stack:<16}  {:>9}  {standing}{only}{places}", id.short(), size));
        if repositories.is_empty() {
            archives.iter().for_each(|archive| output.text(format!("            {archive}")));
        }
        if arguments.problems {
            for (name, record) in manifest.iter().flat_map(|manifest| &manifest.sources) {
                for problem in &record.problems {
                    output.text(format!("            {name}: {problem}"));
                }
            }
        }
    }
    for (id, copy, error) in &found.damaged {
        let place = if several { format!(" in copy {copy}") } else { String::new() };
        output.text(format!("{}  DAMAGED{place}: {error}", id.short()));
        output.json("damaged", json!({ "id": id, "copy": copy, "what": error.to_string() }));
    }
    let status = match (all_whole, is_complete) {
        (true, true) => "ok",
        (true, false) => "partial",
        (false, _) => "damaged",
    };
    output.summary(json!({ "status": status, "snapshots": found.snapshots.len() }));
    output.chat(count(found.snapshots.len() as u64, "snapshot"));
    Ok(match status {
        "ok" => Outcome::Ok,
        "partial" => Outcome::Partial,
        _ => Outcome::Bad,
    })
}

/// A snapshot, and what all copies say of it.
struct Listed {
    snapshot: Snapshot,
    /// The copies that have it.
    copies: Vec<String>,
    /// `None` where another program made it, or `damage` says why.
    manifest: Option<Manifest>,
    damage: Option<Error>,
    /// The telling drill of each copy.
    drills: Vec<Receipt>,
    /// Only archives have it.
    archived: bool,
    /// Its archives, as `restore` takes them.
    archives: Vec<String>,
}

impl Listed {
    fn new(snapshot: Snapshot, archived: bool) -> Self {
        let (copies, drills, archives) = (Vec::new(), Vec::new(), Vec::new());
        Self { snapshot, copies, manifest: None, damage: None, drills, archived, archives }
    }
}

#[derive(Default)]
struct Collected {
    /// Oldest first.
    snapshots: Vec<(Id, Listed)>,
    /// Snapshots that cannot be read, and in which copy.
    damaged: Vec<(Id, String, Error)>,
}

/// Every snapshot once, from all copies.
fn collect(
    app: &App,
    arguments: &arguments::Snapshots,
    opened: &[Opened<'_>],
    archived: &[OpenArchives<'_>],
) -> Result<Collected, Fault> {
    let mut all = Collected::default();
    let mut at = BTreeMap::new();
    let mut any_found = false;
    for Opened { copy, repository } in opened {
        let (found, damaged) = repository.snapshots_readable(&app.run.cancel)?;
        all.damaged.extend(damaged.into_iter().map(|(id, error)| (id, copy.name.clone(), error)));
        let mut receipts = app.receipts(repository)?;
        // A folder that was copied as files brings the receipts of the other copy with it.
        receipts.retain(|receipt| opened.len() == 1 || receipt.copy == copy.name);
        let drills = drill::telling_by_snapshot(&receipts);
        let index = app.index(repository)?;
        let found = snapshots::of_stack(found, arguments.stack.as_deref());
        any_found |= !found.is_empty();
        for (id, snapshot) in found {
            let number = *at.entry(id).or_insert_with(|| {
                all.snapshots.push((id, Listed::new(snapshot, false)));
                all.snapshots.len() - 1
            });
            let (_, listed) = &mut all.snapshots[number];
            listed.copies.push(copy.name.clone());
            listed.drills.extend(drills.get(&id).map(|drill| (*drill).clone()));
            if listed.manifest.is_none() {
                match Manifest::load(repository, &index, &listed.snapshot.tree) {
                    Ok(manifest) => listed.manifest = manifest,
                    Err(error) if error.is_damage() => listed.damage = Some(error),
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    for open in archived {
        let of_stack = |held: &&Archived| arguments.stack.as_ref().is_none_or(|stack| *stack == held.stack);
        for held in open.contents.snapshots.iter().filter(|held| held.is_whole()).filter(of_stack) {
            any_found = true;
            let number = *at.entry(held.id).or_insert_with(|| {
                all.snapshots.push((held.id, Listed::new(held.described(), true)));
                all.snapshots.len() - 1
            });
            let (_, listed) = &mut all.snapshots[number];
            listed.copies.push(open.copy.name.clone());
            let root = open.copy.location.to_string();
            let paths = held.archives.values().map(|object| format!("{}/{}", root.trim_end_matches('/'), object.path));
            listed.archives.extend(paths);
        }
    }
    all.snapshots.sort_by_key(|(_, listed)| listed.snapshot.time);
    app.check_stack(arguments.stack.as_deref(), any_found)?;
    Ok(all)
}

/// The worst that is known of a snapshot, else the best.
fn standing(damage: Option<&Error>, whole: Option<SourceStatus>, drill: Option<&Receipt>) -> String {
    if let Some(error) = damage {
        return format!("DAMAGED: {error}");
    }
    match (whole, drill) {
        (_, Some(drill)) if !drill::is_proof(drill) => format!("drill FAILED {}", day(drill.at.into())),
        (Some(SourceStatus::Partial), _) => "PARTIAL".to_owned(),
        (_, Some(drill)) => format!("proven {} (level {})", day(drill.at.into()), drill.level),
        (Some(SourceStatus::Ok), None) => "complete, not drilled".to_owned(),
        (None, None) => "made by another program".to_owned(),
    }
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// A moment in the machine's time zone, to the minute.
pub fn minute(app: &App, at: Timestamp) -> String {
    at.to_zoned(app.run.environment.time_zone().clone()).strftime("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use repository::format::receipt::Verdict;

    use super::*;

    #[test]
    fn a_snapshot_is_shown_by_the_worst_that_is_known_of_it() {
        let damage = Error::Internal("its root is lost".to_owned());
        let drill = |verdict, level| Receipt {
            snapshot: Id::of(b"x"),
            stack: "s".to_owned(),
            copy: "disk".to_owned(),
            level,
            verdict,
            partial: false,
            at: Timestamp::UNIX_EPOCH.into(),
            rto_s: 0.0,
            rpo_s: 0.0,
            program_version: String::new(),
        };
        let (passed, failed) = (drill(Verdict::Passed, 3), drill(Verdict::Failed, 0));
        let (ok, partial) = (Some(SourceStatus::Ok), Some(SourceStatus::Partial));
        assert!(standing(Some(&damage), None, Some(&passed)).starts_with("DAMAGED: "));
        assert_eq!(standing(None, ok, Some(&failed)), "drill FAILED 1970-01-01");
        assert_eq!(standing(None, partial, Some(&passed)), "PARTIAL");
        assert_eq!(standing(None, ok, Some(&passed)), "proven 1970-01-01 (level 3)");
        assert_eq!(standing(None, ok, None), "complete, not drilled");
        assert_eq!(standing(None, None, None), "made by another program");
    }
}
