//! ALTCHA Sentinel's variables, out of the environment and its `.env`, as this program's configuration.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use connectors::source::parse_plain_env_file;
use operations::config::{Environment, Settings, sentinel};
use operations::{Fault, FaultKind};
use serde_json::json;
use zeroize::Zeroizing;

use crate::app::App;
use crate::output::Outcome;

/// The file in the data folder with what was set in Sentinel's own pages, and with the secrets that it made itself.
const ENV_FILE: &str = ".env";

/// What the variables configure; `None` where none of those for snapshots is set.
pub fn settings(environment: &Environment) -> Result<Option<Settings>, Fault> {
    let file = sentinel::data_folder(environment)?.join(ENV_FILE);
    let of_file = match std::fs::read_to_string(&file).map(Zeroizing::new) {
        Ok(text) => parse_plain_env_file(&text),
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => BTreeMap::new(),
        // Where nothing else speaks of a Sentinel, it is no concern of ours.
        Err(error) => {
            let nothing = sentinel::settings(environment, &file, &BTreeMap::new())?.is_none();
            let fault = Fault::local(format!("cannot read {}", file.display()), error);
            return if nothing { Ok(None) } else { Err(Fault { kind: FaultKind::Config, ..fault }) };
        }
    };
    sentinel::settings(environment, &file, &of_file)
}

/// What is not in the backups though it is a part of Sentinel.
pub fn notices(settings: &Settings) -> impl Iterator<Item = &str> {
    settings.sentinel.iter().flat_map(|sentinel| sentinel.notices.iter().map(String::as_str))
}

/// Says that backups are switched off, where they are.
pub fn disabled(app: &App) -> Option<Outcome> {
    let why = app.settings.sentinel.as_ref()?.disabled.as_ref()?;
    app.output().summary(json!({ "status": "disabled", "why": why }));
    app.output().text(format!("nothing was backed up: {why}"));
    Some(Outcome::Ok)
}
