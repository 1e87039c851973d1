//! What a text in a compose file means, by where the file lies and which variables it sees.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::rc::Rc;

use super::interpolate::interpolate;
use crate::source::layout;

/// Where relative paths of a file begin.
pub struct Place {
    /// The folder the file lies in.
    pub own: PathBuf,
    /// The folder of the project, or of what was included.
    pub project: PathBuf,
}

impl Place {
    /// The place of `file` in the project in the folder `project`.
    pub fn new(file: &Path, project: &Path) -> Self {
        Self { own: file.parent().unwrap_or(file).to_path_buf(), project: project.to_path_buf() }
    }
}

/// The variables that a file sees.
pub struct Scope {
    /// The environment of Compose, which always wins.
    pub outer: BTreeMap<String, String>,
    /// Of several, the last wins.
    pub layers: Vec<Rc<BTreeMap<String, String>>>,
}

impl Scope {
    /// The value of a variable.
    pub fn value(&self, name: &str) -> Option<String> {
        let layered = || self.layers.iter().rev().find_map(|layer| layer.get(name));
        self.outer.get(name).or_else(layered).cloned()
    }

    /// Replaces variables; fails with the name of one that must be set and is not.
    pub fn replace(&self, text: &str) -> Result<String, String> {
        interpolate(text, &|name| self.value(name))
    }

    /// For what is only shown: text with a variable that must be set, and is not, stays as it is.
    pub fn shown(&self, text: &str) -> String {
        self.replace(text).unwrap_or_else(|_| text.to_owned())
    }
}

/// A path of a compose file from the root. Relative ones begin at the project's folder. Where nothing is there, they begin
/// at the file's own: several projects may have been given as one.
pub fn resolve(path: &str, place: &Place, scope: &Scope) -> PathBuf {
    let path = match (path.strip_prefix('~'), scope.value("HOME")) {
        (Some(below), Some(home)) if below.is_empty() || below.starts_with('/') => home + below,
        _ => path.to_owned(),
    };
    let in_project = tidy(&place.project.join(&path));
    let in_own = tidy(&place.own.join(&path));
    if in_project.symlink_metadata().is_err() && in_own.symlink_metadata().is_ok() { in_own } else { in_project }
}

/// Takes the dots out of a path, also of one that leads nowhere.
fn tidy(path: &Path) -> PathBuf {
    layout::absolute(path).unwrap_or_else(|_| {
        let mut tidied = PathBuf::new();
        for part in path.components() {
            match part {
                Component::ParentDir => {
                    tidied.pop();
                }
                part => tidied.push(part),
            }
        }
        tidied
    })
}
