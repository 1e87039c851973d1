//! Compose files of earlier versions: the upgrade service of the Community Health Toolkit (CHT) keeps what it writes over,
//! from the first upgrade on. They are part of the project whether or not there are any yet when it is set up.

use std::path::{Path, PathBuf};

use repository::{Cancel, Problem, SourceError};

use super::project::ComposeProject;
use crate::source::walk::{Seen, walk};

/// Where they are, below the folder of the others (`src/containers.js` of medic/cht-upgrade-service).
const HISTORY: &str = "data/backup";
/// How the names of CHT's images begin.
const IMAGE_PREFIX: &str = "cht-";

/// The folder with the earlier versions of a project's files, whether or not it is there; `None` where the project is no CHT.
pub fn folder(project: &ComposeProject) -> Option<PathBuf> {
    let is_of_cht = |image: &String| {
        let name = image.split('@').next().and_then(|image| image.rsplit('/').next());
        name.is_some_and(|name| name.starts_with(IMAGE_PREFIX))
    };
    let is_cht = project.services.values().any(|service| service.image.as_ref().is_some_and(is_of_cht));
    Some(project.given_files.first().filter(|_| is_cht)?.parent()?.join(HISTORY))
}

/// The regular files in that folder, and what of it cannot be read.
pub fn files(folder: &Path, cancel: &Cancel) -> Result<(Vec<PathBuf>, Vec<Problem>), SourceError> {
    let (mut files, mut problems) = (Vec::new(), Vec::new());
    // The walk takes a root that is not there for one that cannot be read.
    if matches!(folder.try_exists(), Ok(false)) {
        return Ok((files, problems));
    }
    walk(folder, cancel, &mut |seen| {
        match seen {
            Seen::Entry(path, kind) if kind.is_file() => files.push(path.to_owned()),
            Seen::Unreadable(path, error) => {
                problems.push(Problem::new(path, format!("could not be looked into: {error}")));
            }
            Seen::Entry(..) | Seen::Names(..) => {}
        }
        true
    })?;
    Ok((files, problems))
}
