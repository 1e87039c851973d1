//! Which paths were chosen, as one tree, so that several overlapping paths are one walk.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use repository::SourceError;

use crate::source::layout;

/// One part of the chosen paths, and what is chosen below it.
#[derive(Debug, Default)]
pub struct Plan {
    /// This very path was chosen, with all it holds.
    pub is_chosen: bool,
    /// Chosen paths further down, by their next part.
    pub below: BTreeMap<OsString, Plan>,
}

impl Plan {
    /// The plan from the root of the host for absolute `paths`.
    pub fn new(paths: &[PathBuf]) -> Self {
        let mut root = Self::default();
        for path in paths {
            let mut plan = &mut root;
            for part in path.components() {
                if let Component::Normal(name) = part {
                    plan = plan.below.entry(name.to_owned()).or_default();
                }
            }
            plan.is_chosen = true;
        }
        root
    }
}

/// The chosen paths, absolute; at least one exists.
pub fn chosen_paths(paths: &[PathBuf]) -> Result<Vec<PathBuf>, SourceError> {
    let absolute = paths.iter().map(|path| layout::absolute(path).unwrap_or_else(|_| path.clone()));
    let chosen: Vec<_> = absolute.collect();
    // Every other error is met, and named, on the walk.
    let is_missing = |path: &PathBuf| {
        path.symlink_metadata().is_err_and(|error| {
            matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
        })
    };
    if chosen.iter().all(is_missing) {
        let names: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        let what = match names.as_slice() {
            [name] => format!("{name} does not exist"),
            names => format!("none of the paths exists: {}", names.join(", ")),
        };
        return Err(SourceError::Unavailable { what });
    }
    Ok(chosen)
}

/// Host paths that are left out, in the spelling of the walk.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// Files that another source captures in a way of its own.
    pub claimed: HashSet<PathBuf>,
    /// The repository, with the spelling its location was given in.
    pub own: HashMap<PathBuf, PathBuf>,
    /// Folders for temporary files.
    pub scratch: HashSet<PathBuf>,
}

impl LeftOut {
    /// Translates paths into the spellings in which a walk of the `chosen` paths can come by them: a link on the way to
    /// a chosen path gives everything below it a second name.
    pub fn new<'a>(
        chosen: &[PathBuf],
        claimed: impl IntoIterator<Item = &'a PathBuf>,
        own: &[PathBuf],
        scratch: &Path,
    ) -> Self {
        let spelling = Spelling::new(chosen);
        Self {
            claimed: claimed.into_iter().flat_map(|path| spelling.all(path)).collect(),
            own: own
                .iter()
                .flat_map(|path| spelling.all(path).into_iter().map(move |spelled| (spelled, path.clone())))
                .collect(),
            scratch: spelling.all(scratch).into_iter().collect(),
        }
    }
}

/// Chosen paths whose real place is another, links in their folders resolved: (as spelled, real).
struct Spelling<'a>(Vec<(&'a Path, PathBuf)>);

impl<'a> Spelling<'a> {
    fn new(chosen: &'a [PathBuf]) -> Self {
        let real = |path: &Path| Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
        let pairs = chosen.iter().filter_map(|path| Some((path.as_path(), real(path)?)));
        Self(pairs.filter(|(spelled, real)| spelled != real).collect())
    }

    fn all(&self, path: &Path) -> Vec<PathBuf> {
        let mut all = vec![layout::absolute(path).unwrap_or_else(|_| path.to_path_buf())];
        all.extend(path.canonicalize().ok().filter(|real| *real != all[0]));
        for known in 0..all.len() {
            for (spelled, real) in &self.0 {
                match all[known].strip_prefix(real) {
                    Ok(below) if below.as_os_str().is_empty() => all.push(spelled.to_path_buf()),
                    Ok(below) => all.push(spelled.join(below)),
                    // A chosen path that lies within what is left out.
                    Err(_) if real.starts_with(&all[known]) => all.push(spelled.to_path_buf()),
                    Err(_) => {}
                }
            }
        }
        all
    }
}
