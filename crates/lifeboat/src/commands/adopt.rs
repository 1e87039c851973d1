//! `lifeboat adopt`: an existing restic repository becomes a copy.

use operations::config::{NewCopy, SecretSource, Settings, Url};
use operations::{Fault, FaultKind};
use repository::Repository;
use repository::format::config::Config;
use serde_json::json;

use super::init::{self, Plan};
use crate::app::Run;
use crate::arguments;
use crate::output::{Outcome, count};
use crate::wiring;

pub fn run(run: &Run, arguments: &arguments::Adopt) -> Result<Outcome, Fault> {
    init::refuse_existing(run)?;
    let location = std::path::absolute(&arguments.repository)
        .map_err(|error| Fault::local(format!("cannot use {}", arguments.repository.display()), error))?;
    // Held against the rule for password files first: it is the file that the configuration will name.
    let password = SecretSource::File(arguments.password_file.clone()).read()?;
    let repository = Repository::open(wiring::local(&location, run), password.expose())?;
    let (snapshots, damaged) = repository.snapshots_readable(&run.cancel)?;
    let output = run.output;
    output.text(format!(
        "{} holds a restic repository of version {} with {}",
        location.display(),
        repository.config().version,
        count(snapshots.len() as u64, "snapshot")
    ));
    for (id, error) in &damaged {
        output.text(format!("damaged: snapshot {}: {error}", id.short()));
    }
    if repository.config().version < Config::VERSION {
        let what = "it is of version 1: Lifeboat can list and restore its snapshots, but not add to it";
        return Err(Fault::new(FaultKind::Unsupported, what).with_hint(
            "`restic migrate upgrade_repo_v2`, then `restic prune --repack-uncompressed`, make it version 2; then adopt it again",
        ));
    }
    let mut plan = Plan::look(run, &arguments.dir, arguments.stack.as_deref())?;
    plan.copies = NewCopy::at([Url::Folder(location.clone())]);
    plan.password_file = std::path::absolute(&arguments.password_file)
        .map_err(|error| Fault::local(format!("cannot use {}", arguments.password_file.display()), error))?;
    let settings: Settings = plan.write(run)?;
    let file = settings.file.display();
    output.summary(json!({
        "status": "ok", "config": settings.file, "repository": location, "version": repository.config().version,
        "snapshots": snapshots.len(), "damaged": damaged.len(),
    }));
    output.text(format!("wrote {file}, which names it as the copy of stack {}", plan.stack));
    output.text("its snapshots stay as they are; restic goes on working with it");
    output.text("files are cut differently from now on, so each is stored once more with the first backup");
    output.text("next: lifeboat backup, then lifeboat drill: what other programs put there belongs to no stack, and is not drilled");
    Ok(if damaged.is_empty() { Outcome::Ok } else { Outcome::Partial })
}
