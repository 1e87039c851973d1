//! Archive copies as commands use them: open, looked into, begun.

use std::sync::Arc;

use operations::archives::{self, Contents};
use operations::config::{ArchiveSettings, CopySettings};
use operations::state::Seen;
use operations::{Fault, FaultKind};
use repository::storage::archives::ArchivePlace;
use repository::{Clock as _, Id, Identity};

use crate::app::{self, App, Run};
use crate::output::count;
use crate::wiring;

pub use operations::archives::Archived;

/// An archive copy whose place was listed.
pub struct OpenArchives<'a> {
    pub copy: &'a CopySettings,
    pub settings: &'a ArchiveSettings,
    pub place: Arc<dyn ArchivePlace>,
    /// What this host is called there.
    pub host: String,
    pub contents: Contents,
}

/// Lists an archive copy. One without a guide and without archives is a fault: its disk may only not be mounted, and an
/// empty folder must not pass for a copy, nor be filled in its stead.
pub fn open<'a>(app: &App, copy: &'a CopySettings, settings: &'a ArchiveSettings) -> Result<OpenArchives<'a>, Fault> {
    let open = list(&app.run, copy, settings)?;
    if !open.is_begun() {
        if let Some(fault) = open.is_elsewhere() {
            return Err(fault);
        }
        let held =
            app.state().last_seen(copy).map(|seen| format!(", which held them on {}", seen.at.strftime("%Y-%m-%d")));
        let what = format!("there are no archives in {}{}", copy.location, held.unwrap_or_default());
        return Err(Fault::new(FaultKind::NoRepository, what)
            .with_hint("if its disk is not mounted, mount it; else `lifeboat init` begins an archive copy there"));
    }
    // Who may read a copy may not always write state; then nobody relies on it.
    let _ = app.state().save_seen(copy, &Seen { at: app.run.clock.now(), repository: Id::ZERO });
    Ok(open)
}

/// Opens those of `copies` that keep archives and can be opened; the others are passed over and named.
pub fn open_all<'a>(app: &App, copies: &[&'a CopySettings]) -> Result<Vec<OpenArchives<'a>>, Fault> {
    let mut opened = Vec::new();
    for copy in copies {
        let Some(settings) = copy.archives() else { continue };
        match open(app, copy, settings) {
            Ok(open) => opened.push(open),
            Err(fault) if fault.kind == FaultKind::Cancelled || copies.len() == 1 => return Err(fault),
            Err(fault) => app.output().passed_over(&copy.name, &fault),
        }
    }
    Ok(opened)
}

/// Begins an archive copy, as `init` does a repository. False where there is one. A place that `seen` says held one is not
/// begun anew: it looks the same whether its disk died or was not mounted.
pub fn begin(run: &Run, copy: &CopySettings, settings: &ArchiveSettings, seen: Option<&Seen>) -> Result<bool, Fault> {
    let open = list(run, copy, settings)?;
    if let Some(seen) = seen.filter(|_| !open.is_begun()) {
        return Err(open.is_elsewhere().unwrap_or_else(|| app::gone(copy, seen)));
    }
    if !open.contents.has_guide {
        archives::write_guide(&run.cx(), &*open.place, &settings.prefix)?;
    }
    Ok(!open.is_begun())
}

/// The snapshots that an archive copy holds, oldest first.
pub fn held(run: &Run, copy: &CopySettings) -> Result<Vec<Archived>, Fault> {
    let settings =
        copy.archives().ok_or_else(|| Fault::new(FaultKind::Usage, format!("copy {} keeps no archives", copy.name)))?;
    Ok(list(run, copy, settings)?.contents.snapshots)
}

fn list<'a>(run: &Run, copy: &'a CopySettings, settings: &'a ArchiveSettings) -> Result<OpenArchives<'a>, Fault> {
    let (place, host) = (wiring::archives(copy, run)?, Identity::of_process().hostname);
    let contents = archives::contents(&*place, &settings.prefix, &host)?;
    Ok(OpenArchives { copy, settings, place, host, contents })
}

impl OpenArchives<'_> {
    fn is_begun(&self) -> bool {
        self.contents.has_guide || !self.contents.snapshots.is_empty()
    }

    /// That the place is there, and what lies in it has another prefix: it was changed, and no disk is missing.
    fn is_elsewhere(&self) -> Option<Fault> {
        // Where that cannot be told, it is as if there were none.
        let found = archives::anywhere(&*self.place).unwrap_or_default();
        let (first, name, number) = (found.first()?, &self.copy.name, found.len() as u64);
        let (archives, lie) = (count(number, "archive"), if number == 1 { "lies" } else { "lie" });
        let what = format!(
            "{archives} {lie} in {} under another prefix than `prefix` of copy {name} names, such as {first}",
            self.copy.location
        );
        Some(Fault::new(FaultKind::Config, what).with_hint(format!(
            "put the old `prefix` back, or move them to where the new one leads; `lifeboat init --anew {name}` begins there without them"
        )))
    }
}
