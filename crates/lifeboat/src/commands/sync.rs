//! `lifeboat sync`: brings copies into step. A backup does the same at its end.

use operations::{Fault, FaultKind};
use serde_json::json;

use crate::app::App;
use crate::arguments;
use crate::copy_report::outcome;
use crate::into_step::{Brought, IntoStep};
use crate::output::Outcome;

pub fn run(app: &App, arguments: &arguments::Sync) -> Result<Outcome, Fault> {
    let asked = app.stacks(&arguments.stack)?;
    arguments.copy.iter().try_for_each(|name| app.settings.copy(name).map(drop))?;
    let copies = app.copies(None, None)?;
    if copies.len() < 2 {
        let what = "there is only one copy, so none can be brought into step with it";
        return Err(Fault::new(FaultKind::Config, what).with_hint("add another one below `copies:` in lifeboat.yaml"));
    }
    let each = app.open_each(&app.repositories(None, None)?)?;
    if each.opened.is_empty() {
        return Err(app.none_opened(each.faults));
    }
    let step = if arguments.all { IntoStep::of(app, &asked).with_everything() } else { IntoStep::of(app, &asked) };
    let is_asked = |name: &str| match arguments.copy.is_empty() {
        // A copy of other stacks alone may be away: it is not what was asked about.
        true => arguments.all || app.settings.copy(name).is_ok_and(|copy| step.goes_to(copy)),
        false => arguments.copy.iter().any(|asked| asked == name),
    };
    if arguments.dry_run {
        return step.preview(each, is_asked);
    }
    let reports = step.bring(each, is_asked, |_| Brought::default())?;
    let outcome = outcome(reports.values());
    let status = if outcome == Outcome::Ok { "ok" } else { "partial" };
    app.output().summary(json!({ "status": status, "copies": reports }));
    Ok(outcome)
}
