//! `lifeboat snapshots`: what there is, and what proves it.

use jiff::Timestamp;
use operations::manifest::{Manifest, SourceStatus};
use operations::{Fault, drill, snapshots};
use repository::Index;
use repository::format::receipt::Verdict;
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
    let index = Index::load(&app.cx(), &repository)?;
    let output = app.output();
    for (id, snapshot) in &found {
        let manifest = Manifest::load(&repository, &index, &snapshot.tree).ok().flatten();
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
        let proof = match (whole, drilled) {
            (_, Some(drill)) if drill.verdict == Verdict::Failed => format!("drill FAILED {}", day(drill.at.into())),
            (Some(SourceStatus::Partial), _) => "PARTIAL".to_owned(),
            (_, Some(drill)) => format!("proven {} (level {})", day(drill.at.into()), drill.level),
            (Some(SourceStatus::Ok), None) => "complete, not drilled".to_owned(),
            (None, None) => "made by another program".to_owned(),
        };
        let stack = snapshot.stack().unwrap_or("-");
        output.text(format!(
            "{}  {}  {stack:<16}  {:>9}  {proof}",
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
    output.summary(json!({ "status": if damaged.is_empty() { "ok" } else { "damaged" }, "snapshots": found.len() }));
    output.chat(count(found.len() as u64, "snapshot"));
    Ok(if damaged.is_empty() { Outcome::Ok } else { Outcome::Bad })
}

fn day(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d").to_string()
}

/// A moment in the machine's time zone, to the minute.
pub fn minute(app: &App, at: Timestamp) -> String {
    at.to_zoned(app.run.environment.time_zone().clone()).strftime("%Y-%m-%d %H:%M").to_string()
}
