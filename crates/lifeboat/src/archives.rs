//! Archive copies as commands use them: open, looked into, written to.

use std::path::Path;
use std::sync::Arc;

use archive::Identities;
pub use operations::archives::Held;
use operations::archives::{self, Contents};
use operations::config::{ArchiveKey, ArchiveSettings, CopySettings};
use operations::state::Seen;
use operations::{Fault, FaultKind};
use repository::storage::objects::ObjectPlace;
use repository::{Clock as _, Id};

use crate::app::App;
use crate::wiring;

/// An archive copy whose place was listed.
pub struct OpenArchives<'a> {
    pub copy: &'a CopySettings,
    pub settings: &'a ArchiveSettings,
    pub place: Arc<dyn ObjectPlace>,
    pub contents: Contents,
}

/// Lists an archive copy. One that is not where this host saw it last is a fault: its disk may only not be mounted, and an
/// empty folder must not pass for a copy that lost everything, nor be filled in its stead.
pub fn open<'a>(app: &App, copy: &'a CopySettings, settings: &'a ArchiveSettings) -> Result<OpenArchives<'a>, Fault> {
    let place = wiring::objects(copy, &app.run)?;
    let contents = archives::contents(&*place, &settings.prefix)?;
    if contents.has_guide {
        // Who may read a copy may not always write state; then nobody relies on it.
        let _ = app.state().save_seen(copy, &Seen { at: app.run.clock.now(), repository: Id::ZERO });
    } else if let Some(seen) = app.state().last_seen(copy) {
        let at = seen.at.strftime("%Y-%m-%d");
        let what = format!("{} held archives on {at}, and {} is not there now", copy.location, archives::GUIDE_NAME);
        return Err(Fault::new(FaultKind::NoRepository, what)
            .with_hint("mount its disk; a copy that is gone for good gets a new name in lifeboat.yaml"));
    }
    Ok(OpenArchives { copy, settings, place, contents })
}

impl OpenArchives<'_> {
    /// Makes a new place one of archives.
    pub fn begin(&self, app: &App) -> Result<(), Fault> {
        if !self.contents.has_guide {
            archives::write_guide(&app.cx(), &*self.place, &self.settings.prefix)?;
            let _ = app.state().save_seen(self.copy, &Seen { at: app.run.clock.now(), repository: Id::ZERO });
        }
        Ok(())
    }
}

/// What opens archives: a file with a key, a file with a passphrase, or what the configuration has.
pub fn identities(
    key: Option<&Path>,
    passphrase: Option<&Path>,
    settings: Option<&ArchiveSettings>,
) -> Result<Identities, Fault> {
    match (key, passphrase, settings.map(|settings| &settings.key)) {
        (Some(file), _, _) => Ok(Identities::from_file(file)?),
        (None, Some(file), _) => {
            let passphrase = operations::config::SecretSource::File(file.to_owned()).read()?;
            Ok(Identities::passphrase(passphrase.expose()))
        }
        (None, None, Some(ArchiveKey::Passphrase(source))) => Ok(Identities::passphrase(source.read()?.expose())),
        (None, None, _) => Err(Fault::new(FaultKind::Usage, "an archive is opened with a key, and none is given")
            .with_hint("add --identity FILE with the secret key, or --passphrase-file FILE")),
    }
}
