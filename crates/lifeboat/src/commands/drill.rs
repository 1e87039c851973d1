//! `lifeboat drill`: a real restore from a copy, compared with what was backed up.

use jiff::Timestamp;
use operations::config::{CopySettings, StackSettings};
use operations::drill::{self, DrillJob, DrillReport, LEVEL_MAX};
use operations::snapshots::{self, LATEST};
use operations::{Fault, FaultKind, retention};
use repository::format::receipt::Verdict;
use repository::{Event, Events as _, Id, Problem};
use serde_json::json;

use super::for_each;
use crate::alike::grouped;
use crate::app::App;
use crate::arguments;
use crate::output::{Outcome, bytes, count, seconds};

/// Differences shown one by one.
const DIFFERENCES_SHOWN: usize = 20;

pub fn run(app: &App, arguments: &arguments::Drill) -> Result<Outcome, Fault> {
    let mut drills = Vec::new();
    let snapshot = arguments.snapshot.as_deref().unwrap_or(LATEST);
    let mut stacks = app.stacks(&arguments.stack)?;
    if snapshot != LATEST {
        // An id names one snapshot, of whatever stack or program; the stack only lends its copies and level.
        stacks.truncate(1);
    }
    for stack in stacks {
        let mut copies = app.repositories(arguments.copy.as_deref(), Some(stack))?;
        if arguments.all_copies {
            copies = app.here(copies)?;
            for archives in app.copies(None, Some(stack))?.iter().filter(|copy| copy.archives().is_some()) {
                let name = &archives.name;
                app.output().chat(format!(
                    "copy {name} keeps archives: `lifeboat check --copy {name} --read-data` proves them"
                ));
            }
        } else {
            copies.truncate(1);
        }
        let level = arguments.level.or(stack.drill.as_ref().map(|drill| drill.level)).unwrap_or(LEVEL_MAX);
        drills.extend(copies.into_iter().map(|copy| (stack, copy, level)));
    }
    let name =
        |(stack, copy, _): &(&StackSettings, &CopySettings, u8)| format!("stack {}, copy {}", stack.name, copy.name);
    for_each(app.output(), &drills, name, |(stack, copy, level)| one(app, stack, copy, snapshot, *level))
}

/// Drills one copy of one stack and reports it.
pub fn one(app: &App, stack: &StackSettings, copy: &CopySettings, snapshot: &str, level: u8) -> Result<Outcome, Fault> {
    if level > LEVEL_MAX {
        let what = format!("level {level} needs containers or a rehearsal, which this version does not have");
        return Err(Fault::new(FaultKind::Usage, what).with_hint(format!("levels 0 to {LEVEL_MAX} work")));
    }
    let repository = app.open_own(copy)?;
    let snapshots::Resolved { id, snapshot: described, doubts } =
        snapshots::resolve_noting_doubts(&app.cx(), &repository, snapshot, Some(&stack.name))?;
    let job = DrillJob {
        copy: &copy.name,
        snapshot: id,
        described: &described,
        level,
        scratch: &app.scratch(),
        examine: &|kind, folder, recorded| connectors::source::examine(kind, folder, recorded, &app.run.cancel),
    };
    let result = drill::run(&app.cx(), &repository, &job);
    app.run.progress.finish();
    let report = result?;
    // Rules of other copies ask for it while this one is away; where state cannot be written, nobody relies on it.
    let _ = app.state().save_proven(copy, &retention::proven(&drill::receipts(&repository)?.read));
    let summary = json!({
        "status": report.verdict, "snapshot_id": id, "stack": described.stack(), "copy": copy.name, "level": report.level,
        "rto_s": report.rto.as_secs_f64(), "rpo_s": report.rpo.as_secs_f64(), "bytes_fetched": report.bytes_fetched,
        "left_out": report.left_out, "lacked": report.lacked, "sources": report.sources, "remarks": report.remarks, "receipt": report.receipt,
        "steps": report.steps.iter().map(|(name, seconds)| json!({ "step": name, "seconds": seconds })).collect::<Vec<_>>(),
    });
    let is_doubtful = !doubts.is_empty();
    for doubt in doubts {
        app.run.progress.emit(Event::Problem(doubt));
    }
    app.output().summary(summary);
    print(app, &report, copy, id, described.time.into());
    Ok(match report.verdict {
        Verdict::Passed if is_doubtful => Outcome::Partial,
        Verdict::Passed => Outcome::Ok,
        Verdict::Failed => Outcome::Bad,
        Verdict::Unknown => Outcome::Partial,
    })
}

fn print(app: &App, report: &DrillReport, copy: &CopySettings, id: Id, taken: Timestamp) {
    let output = app.output();
    for (name, source) in &report.sources {
        let verdict = word(source.status);
        let compared = format!("{} compared, {} read back", count(source.compared, "thing"), bytes(source.bytes));
        output.chat(format!("  {name}: {verdict} ({compared})"));
        for Problem { path, what, .. } in source.differences.iter().take(DIFFERENCES_SHOWN) {
            output.text(format!("    {path}{}{what}", if path.is_empty() { "" } else { ": " }));
        }
        if source.differences.len() > DIFFERENCES_SHOWN {
            output.text(format!("    and {} more", source.differences.len() - DIFFERENCES_SHOWN));
        }
    }
    for remark in &report.remarks {
        output.text(format!("  {remark}"));
    }
    let lacked = grouped(report.lacked.iter().map(|problem| format!("{}: {problem}", problem.source)));
    for line in lacked.iter().take(DIFFERENCES_SHOWN) {
        output.text(format!("    not in it: {line}"));
    }
    if lacked.len() > DIFFERENCES_SHOWN {
        output.text(format!("    and {} more", lacked.len() - DIFFERENCES_SHOWN));
    }
    let short = id.short();
    let name = &copy.name;
    let took = seconds(report.rto.as_secs_f64());
    let taken = super::snapshots::minute(app, taken);
    match report.verdict {
        Verdict::Passed if report.left_out > 0 => output.text(format!(
            "drill passed for what is in snapshot {short} of {taken}: that came back from copy {name} in {took}, level {}; of \
             what was left out of it, nothing is proven",
            report.level
        )),
        Verdict::Passed if report.level >= 2 => output.text(format!(
            "drill passed: snapshot {short} of {taken} came back from copy {name} in {took}, level {}",
            report.level
        )),
        Verdict::Passed => output.text(format!(
            "drill passed: snapshot {short} of {taken} in copy {name} was looked through in {took}, level {}",
            report.level
        )),
        Verdict::Failed if report.is_as_stored => output.text(format!(
            "drill FAILED: copy {name} gave snapshot {short} back as it was stored, and what was stored is damaged: \
             `lifeboat restore OLDER:SOURCE/DATABASE/ID --couch-url URL` writes a document back that an older snapshot has \
             whole; `lifeboat docs OLDER:SOURCE DATABASE ID` looks for it"
        )),
        Verdict::Failed => output.text(format!(
            "drill FAILED: snapshot {short} does not come back whole from copy {name}; \
             run `lifeboat check --read-data --copy {name}`"
        )),
        Verdict::Unknown => {
            output.text(format!("drill UNKNOWN: it could not run to its end, so nothing is proven of copy {name}"));
        }
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "FAILED",
        Verdict::Unknown => "UNKNOWN",
    }
}
