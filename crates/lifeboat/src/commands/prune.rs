//! `lifeboat prune`: frees what no snapshot needs.

use std::sync::Arc;

use operations::Fault;
use operations::config::{CopySettings, duration};
use repository::{Repository, prune};
use serde_json::json;

use super::for_each_copy;
use crate::app::App;
use crate::arguments;
use crate::output::{Outcome, bytes, count};

pub fn run(app: &App, arguments: &arguments::Prune) -> Result<Outcome, Fault> {
    let mut copies = app.repositories(arguments.copy.as_deref(), None)?;
    if arguments.copy.is_none() {
        copies = app.here(copies)?;
    }
    let options = prune::Options {
        grace: arguments.grace.unwrap_or(repository::limits::PRUNE_GRACE),
        unused_percent_max: arguments.max_unused,
    };
    for_each_copy(app.output(), &copies, |copy| {
        let repository = app.open_own(copy)?;
        if copies.len() > 1 {
            app.output().text(format!("copy {}:", copy.name));
        }
        one(app, copy, &repository, options, arguments.dry_run)
    })
}

/// Prunes one copy and reports it.
pub fn one(
    app: &App,
    copy: &CopySettings,
    repository: &Arc<Repository>,
    options: prune::Options,
    dry_run: bool,
) -> Result<Outcome, Fault> {
    let output = app.output();
    if dry_run {
        let plan = prune::plan(&app.cx(), repository, options)?;
        let condemned: u64 = plan.deletable.values().sum();
        output.summary(json!({
            "status": "ok", "copy": copy.name, "dry_run": true, "bytes_used": plan.bytes_used, "bytes_unused": plan.bytes_unused,
            "packs_to_repack": plan.repack.len(), "packs_to_condemn": plan.condemn.len(),
            "packs_out_of_index": plan.deletable.len(), "bytes_out_of_index": condemned,
        }));
        output.text(format!(
            "needed {}, not needed {}; would pack {} anew and take {} out of the index",
            bytes(plan.bytes_used),
            bytes(plan.bytes_unused),
            count(plan.repack.len() as u64, "pack"),
            count(plan.condemn.len() as u64, "pack")
        ));
        app.say_doubt_of_clock(repository)?;
        return Ok(Outcome::Ok);
    }
    let result = prune::prune(&app.cx(), repository, options);
    app.run.progress.finish();
    let (plan, pruned) = result?;
    output.summary(json!({
        "status": "ok", "copy": copy.name, "bytes_used": plan.bytes_used, "bytes_unused": plan.bytes_unused,
        "packs_repacked": pruned.packs_repacked, "packs_deleted": pruned.packs_deleted,
        "bytes_freed": pruned.bytes_freed, "packs_condemned": pruned.packs_condemned,
        "bytes_condemned": pruned.bytes_condemned, "packs_taken_back": plan.taken_back.len(),
    }));
    output.text(format!("freed {} in {}", bytes(pruned.bytes_freed), count(pruned.packs_deleted as u64, "pack")));
    if pruned.packs_condemned > 0 {
        output.text(format!(
            "{} more go with the first prune after a grace period of {}; --grace 0s frees them now",
            bytes(pruned.bytes_condemned),
            duration::show(options.grace)
        ));
    }
    Ok(Outcome::Ok)
}
