//! `lifeboat discover`: what is here that should be backed up, and what is not covered.

use std::path::{Path, PathBuf};

use operations::Fault;
use operations::config::{FilesSettings, NewSource, SourceKind, SourceSettings};

use crate::app::Run;
use crate::arguments;
use crate::output::{Outcome, Output};

pub struct Found { dir: PathBuf }
impl Found {
    pub fn sources(&self) -> Vec<NewSource> {
        vec![NewSource { source: SourceSettings { name: "files".into(), kind: SourceKind::Files(FilesSettings::new(vec![self.dir.clone()])) }, note: None }]
    }
    pub fn show(&self, _output: Output) {}
}
pub fn look(_run: &Run, dir: &Path) -> Result<Found, Fault> { Ok(Found { dir: dir.to_owned() }) }
pub fn run(_run: &Run, _arguments: &arguments::Discover) -> Result<Outcome, Fault> { Ok(Outcome::Ok) }
