//! What an earlier snapshot had of a project and this one has not. A wildcard matches what is there, so a file that vanishes
//! behind one leaves no trace in the files that are left, and the project would be started without what it described.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use repository::format::go;
use repository::{Facts, Problem};
use serde_json::{Value, json};

use super::project::ComposeProject;
use super::{FILES, SERVICES, UP};
use crate::source::layout;

/// The fact that names what is gone, for as long as it is: compose files, as paths are in facts, and services.
const GONE: &str = "gone";

/// What is gone since an earlier snapshot.
#[derive(Debug, Default)]
pub struct Gone {
    /// What is told of it now. Services are removed on purpose, too, so it is told in the first snapshot without them.
    pub problems: Vec<Problem>,
    /// What was told before.
    pub notes: Vec<String>,
    files: BTreeSet<String>,
    services: BTreeSet<String>,
}

impl Gone {
    /// Holds a project against the facts of its parent snapshot.
    pub fn of(project: &ComposeProject, previous: &Facts) -> Self {
        let mut gone = Self::default();
        let given: BTreeSet<String> = project.given_files.iter().map(|path| layout::fact_key(path)).collect();
        let names: BTreeSet<_> = project.given_files.iter().filter_map(|path| path.file_name()).collect();
        // A file of the same name elsewhere: the project was moved.
        let is_gone = |key: &&str| !given.contains(*key) && !names.contains(path(key).file_name().unwrap_or_default());
        let told = |what: &str| strings(previous.get(GONE).and_then(|gone| gone.get(what)));
        for key in strings(previous.get(UP).and_then(|up| up.get(FILES))).into_iter().filter(is_gone) {
            gone.files.insert(key.to_owned());
            // One that is named without a wildcard is a problem each time.
            if !project.problems.iter().any(|problem| problem.path == path(key).display().to_string()) {
                let what = "was a compose file of this project in the snapshot before, and is not there any more: put it \
                            back, unless it was removed on purpose";
                gone.problems.push(Problem::new(&path(key), what));
            }
        }
        for key in told(FILES).into_iter().filter(is_gone) {
            gone.notes.push(format!("compose file {key}, which an earlier snapshot has, is gone"));
            gone.files.insert(key.to_owned());
        }
        let is_missing = |name: &&str| !project.services.contains_key(*name);
        let earlier = previous.get(SERVICES).and_then(Value::as_object);
        let newly: Vec<&str> = earlier.into_iter().flat_map(|earlier| earlier.keys()).map(String::as_str).collect();
        let newly: Vec<&str> = newly.into_iter().filter(is_missing).collect();
        if !newly.is_empty() {
            let names = newly.join(", ");
            let what = format!("no compose file has these services any more, which the snapshot before has: {names}");
            gone.problems.push(Problem::new(Path::new(&project.name), what));
        }
        let before: Vec<&str> = told(SERVICES).into_iter().filter(is_missing).collect();
        if !before.is_empty() {
            gone.notes.push(format!("services that an earlier snapshot has are gone: {}", before.join(", ")));
        }
        gone.services = newly.into_iter().chain(before).map(str::to_owned).collect();
        gone
    }

    /// The fact that keeps it known.
    pub fn fact(&self) -> Option<(String, Value)> {
        let Self { files, services, .. } = self;
        let is_any = !files.is_empty() || !services.is_empty();
        is_any.then(|| (GONE.to_owned(), json!({ FILES: files, SERVICES: services })))
    }
}

fn strings(list: Option<&Value>) -> Vec<&str> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A path, as facts have it.
fn path(key: &str) -> PathBuf {
    go::unquote(key).map_or_else(|| PathBuf::from(key), |bytes| PathBuf::from(OsString::from_vec(bytes)))
}
