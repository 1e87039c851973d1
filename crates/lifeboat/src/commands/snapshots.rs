//! `lifeboat snapshots`: what there is, and what proves it.

use jiff::Timestamp;
use operations::manifest::{Manifest, SourceStatus};
use operations::{Fault, drill, snapshots};
use repository::Error;
use repository::format::receipt::Receipt;
use serde_json::json;

use crate::app::App;
use crate::arguments;
use crate::output::{Outcome, bytes, count};

pub fn run(app: &App, arguments: &arguments::Snapshots) -> Result<Outcome, Fault> {
    let copy = app.copy(arguments.copy.as_deref())?;
    let repository = app.open(copy)?;
    let (found, damaged) = repository.snapshots_readable(&app.run.cancel)?;
    let found = snapshots::of_stack(found, arguments.stack.as_deref());
    let receipts = drill::receipts(&repository)?;
    let drills = drill::telling_by_snapshot(&receipts);
    let index = app.index(&repository)?;
    let output = app.output();
    let mut all_whole = damaged.is_empty();
    for (id, snapshot) in &found {
        let (manifest, damage) = match Manifest::load(&repository, &index, &snapshot.tree) {
            Ok(manifest) => (manifest, None),
            Err(error) if error.is_damage() => (None, Some(error)),
            Err(error) => return Err(error.into()),
        };
        if let Some(error) = &damage {
            all_whole = false;
            output.json("damaged", json!({ "id": id, "what": error.to_string() }));
        }
        let whole = manifest.as_ref().map(Manifest::status);
        let drilled = drills.get(id);
        let proven = drilled.filter(|receipt| drill::is_proof(receipt));
        let bytes_source = snapshot.summary.as_ref().map_or(0, |summary| summary.total_bytes_processed);
        let sources: Vec<&str> = snapshot.paths.iter().map(|path| path.trim_start_matches('/')).collect();
        output.json(
            "snapshot",
            json!({
                "id": id, "stack": snapshot.stack(), "time": Timestamp::from(snapshot.time), "sources": sources,
                "bytes_source": bytes_source, "copies": [copy.name], "status": whole, "hostname": snapshot.hostname,
                "tags": snapshot.tags,
                "drilled": proven.map_or(json!({}), |drill| json!({
                    drill.copy.as_str(): { "level": drill.level, "at": Timestamp::from(drill.at) }
                })),
            }),
        );
        let standing = standing(damage.as_ref(), whole, drilled.copied());
        let stack = snapshot.stack().unwrap_or("-");
        output.text(format!(
            "{}  {}  {stack:<16}  {:>9}  {standing}",
            id.short(),
            minute(app, snapshot.time.into()),
            bytes(bytes_source)
        ));
        if arguments.problems {
            for (name, record) in manifest.iter().flat_map(|manifest| &manifest.sources) {
                for problem in &record.problems {
                    output.text(format!("            {name}: {problem}"));
                }
            }
        }
    }
    for (id, error) in &damaged {
        output.text(format!("{}  DAMAGED: {error}", id.short()));
        output.json("damaged", json!({ "id": id, "what": error.to_string() }));
    }
    output.summary(json!({ "status": if all_whole { "ok" } else { "damaged" }, "snapshots": found.len() }));
    output.chat(count(found.len() as u64, "snapshot"));
    Ok(if all_whole { Outcome::Ok } else { Outcome::Bad })
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
            snapshot: repository::Id::of(b"x"),
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
