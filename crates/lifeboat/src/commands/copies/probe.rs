//! `lifeboat copies test`: a probe is written, read, listed and deleted, so that it shows what the credentials may do before
//! a night or an intruder does.

use std::time::Duration;

use operations::Fault;
use operations::archives::PROBE;
use operations::config::{CopySettings, Location};
use repository::prune::Condemned;
use repository::{Clock as _, File, FileKind, Id, StorageError};
use serde::Serialize;
use serde_json::json;

use super::super::for_each;
use crate::app::App;
use crate::arguments;
use crate::open_archives::{self, OpenArchives};
use crate::output::{Outcome, seconds};
use crate::wiring;

/// Clocks that are further apart are worth a word: S3 refuses requests that are 15 minutes off.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(5 * 60);

pub fn run(app: &App, arguments: &arguments::CopiesTest) -> Result<Outcome, Fault> {
    let copies = match &arguments.copy[..] {
        [] => app.copies_here(None)?,
        names => names.iter().map(|name| app.settings.copy(name)).collect::<Result<_, _>>()?,
    };
    let name = |copy: &&CopySettings| format!("copy {}", copy.name);
    let outcome = for_each(app.output(), &copies, name, |copy| {
        let probe = match copy.archives() {
            Some(settings) => Probe::of_archives(app, &open_archives::open(app, copy, settings)?)?,
            None => Probe::of(app, copy)?,
        };
        Ok(probe.report(app, copy))
    })?;
    app.output().summary(json!({ "status": if outcome == Outcome::Ok { "ok" } else { "partial" } }));
    Ok(outcome)
}

/// Another copy that a probe of `copy` shows up in: both names lead to one place. Who does not answer has its own turn.
fn twin<'a>(app: &'a App, copy: &CopySettings, probe: Id) -> Option<&'a CopySettings> {
    let has_it = |other: &&CopySettings| {
        let listed = wiring::storage(other, &app.run).ok()?.list(FileKind::Condemned).ok()?;
        Some(listed.iter().any(|listed| listed.id == probe))
    };
    let others = app.settings.copies.iter().filter(|other| other.name != copy.name && other.archives().is_none());
    others.into_iter().find(|other| has_it(other) == Some(true))
}

/// What came of it.
#[derive(Serialize)]
struct Probe {
    /// A second file of the same name was refused, and the first one is as it was. Archives, which have names of their own
    /// each, do not need it.
    keeps_what_is_there: Option<bool>,
    /// These credentials may put something else in the place of a file.
    may_overwrite: bool,
    /// They may delete files.
    may_delete: bool,
    /// How far the clocks are apart, in seconds; `None` where the place does not tell the time.
    clock_apart_s: Option<f64>,
}

impl Probe {
    /// Fails where a probe cannot be written, or does not come back as it was.
    fn of(app: &App, copy: &CopySettings) -> Result<Self, Fault> {
        let storage = wiring::storage(copy, &app.run)?;
        // A list of nothing to be deleted: valid and harmless, should it have to stay.
        let probe = Condemned { time: app.run.clock.now().into(), packs: Vec::new() };
        let id = app.open_own(copy)?.save_json(FileKind::Condemned, &probe)?;
        let file = File::new(FileKind::Condemned, id);
        let bytes = storage.get(file, None)?;
        let broken = |what: &str| {
            Fault::from(StorageError::Permanent { location: storage.location(), what: format!("{file}: {what}") })
        };
        if Id::of(&bytes) != id {
            return Err(broken("what was written does not come back"));
        }
        if !storage.list(FileKind::Condemned)?.iter().any(|listed| listed.id == id) {
            return Err(broken("what was written is not listed"));
        }
        let twin = twin(app, copy, id);
        let now = app.run.clock.now();
        let modified = storage.modified(file)?;
        let clock_apart_s = modified.map(|at| now.duration_since(at).unsigned_abs().as_secs_f64());
        let second = storage.put(file, b"something else");
        let keeps_what_is_there = match second {
            Err(StorageError::AlreadyExists { .. }) => storage.get(file, None)? == bytes,
            Ok(()) => false,
            Err(error) => return Err(error.into()),
        };
        let may_overwrite = wiring::may_overwrite(copy, &app.run, file, &bytes)?;
        let may_delete = match storage.delete(file) {
            Ok(()) => true,
            Err(StorageError::Denied { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        if may_delete && storage.list(FileKind::Condemned)?.iter().any(|listed| listed.id == id) {
            return Err(broken("what was deleted is still listed"));
        }
        if let Some(twin) = twin {
            return Err(operations::copies::one_with(twin));
        }
        let keeps_what_is_there = Some(keeps_what_is_there);
        Ok(Self { keeps_what_is_there, may_overwrite, may_delete, clock_apart_s })
    }

    /// As [`Probe::of`], in an archive copy.
    fn of_archives(app: &App, open: &OpenArchives<'_>) -> Result<Self, Fault> {
        let place = &*open.place;
        // Where the archives will lie, since credentials can be bound to a prefix.
        let folder = open.settings.prefix.common_folder();
        let name = format!("{PROBE}{}", app.run.clock.now().as_nanosecond());
        let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
        let write = |bytes: &[u8]| {
            let mut writer = place.create(&path)?;
            writer.write(bytes.to_vec())?;
            writer.finish()
        };
        let (first, second) = (b"first", b"other");
        write(first)?;
        let broken = |what: &str| {
            Fault::from(StorageError::Permanent { location: place.location(), what: format!("{path}: {what}") })
        };
        let (objects, others): (Vec<_>, Vec<_>) =
            place.list(folder)?.into_iter().partition(|object| object.path == path);
        let object = objects.into_iter().next().ok_or_else(|| broken("what was written is not listed"))?;
        if object.bytes != first.len() as u64 || place.read(&path, 0..object.bytes)? != first {
            return Err(broken("what was written does not come back"));
        }
        let may_overwrite = match write(second) {
            Ok(()) => place.read(&path, 0..object.bytes)? != first,
            Err(StorageError::Denied { .. } | StorageError::Permanent { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        let may_delete = match place.delete(&path) {
            Ok(()) => !place.list(folder)?.iter().any(|object| object.path == path),
            Err(StorageError::Denied { .. }) => false,
            Err(error) => return Err(error.into()),
        };
        if may_delete {
            // Those that credentials which may not delete had to leave.
            let is_probe = |path: &str| path.rsplit('/').next().is_some_and(|name| name.starts_with(PROBE));
            others.iter().filter(|other| is_probe(&other.path)).try_for_each(|other| place.delete(&other.path))?;
        }
        // Our own writer overwrites nothing in a folder; whoever may delete there may put another file in its place.
        let is_folder = matches!(open.copy.location, Location::Local(_) | Location::Sftp(_));
        let may_overwrite = may_overwrite || (is_folder && may_delete);
        Ok(Self { keeps_what_is_there: None, may_overwrite, may_delete, clock_apart_s: None })
    }

    fn report(&self, app: &App, copy: &CopySettings) -> Outcome {
        let output = app.output();
        let mut wrong = Vec::new();
        output.text(format!("{}: {}", copy.name, copy.location));
        output.text("  writes, reads and lists");
        match self.keeps_what_is_there {
            None => {}
            Some(true) => output.text("  refuses a second file of the same name"),
            Some(false) => wrong.push(
                "takes a second file of the same name, so that of two that write at once one may destroy what the other wrote: \
                 let one host at a time work with it, or choose a server that honours If-None-Match"
                    .to_owned(),
            ),
        }
        let may = match (self.may_delete, self.may_overwrite) {
            (true, true) => "delete and overwrite what is stored",
            (true, false) => "delete what is stored",
            (false, true) => "overwrite what is stored, though not delete it",
            (false, false) => "add to it, but neither delete nor overwrite anything",
        };
        output.text(format!("  whoever has the credentials of this host can {may}"));
        if self.may_delete || self.may_overwrite {
            output.text("    unless the server keeps old versions or locks objects, which cannot be seen from here");
        } else {
            output.text("    forget and prune must run from elsewhere, with credentials that may delete");
        }
        if !self.may_delete && copy.archives().is_some() {
            output.text(format!(
                "    the probe stays, as {PROBE}*, until this test runs with credentials that may delete"
            ));
        }
        if copy.immutable && (self.may_delete || self.may_overwrite) {
            wrong.push(format!(
                "is configured as `immutable`, but a fresh file could be changed: be sure that the server keeps versions, \
                 or take `immutable` away from copy {}",
                copy.name
            ));
        }
        if let Some(apart) = self.clock_apart_s.filter(|apart| *apart > CLOCKS_APART_MAX.as_secs_f64()) {
            wrong.push(format!("its clock and that of this machine are {} apart: set them", seconds(apart)));
        }
        for what in &wrong {
            output.text(format!("  warning: it {what}"));
        }
        output.json("copy_test", json!({ "copy": copy.name, "probe": self, "warnings": wrong }));
        if wrong.is_empty() { Outcome::Ok } else { Outcome::Partial }
    }
}
