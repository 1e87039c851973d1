//! What the last snapshot had and this one lacks: databases that are gone or are none any more, and most of the rows of one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ignore::gitignore::Gitignore;
use repository::{Facts, Problem};
use serde_json::Value;

use super::find::Kind;
use super::{COPIED, DATABASES, SqliteOptions};
use crate::source::layout;
use crate::source::shrink::{self, Before, Lost};
use crate::source::walk::is_matched;

/// Takes files that were databases in the last snapshot among those that were `found`, as they are none by now: their first
/// bytes are damaged, or they were encrypted.
pub fn add_damaged(
    found: &mut BTreeMap<PathBuf, Kind>,
    previous: &Facts,
    options: &SqliteOptions,
    exclude: &Gitignore,
) {
    for (path, _) in databases(previous) {
        let is_file = || path.symlink_metadata().is_ok_and(|metadata| metadata.is_file());
        if !found.contains_key(&path) && is_wanted(&path, options, exclude) && is_file() {
            let what = "was a SQLite database in the last snapshot and is none now: is it damaged, or encrypted?";
            found.insert(path, Kind::NotADatabase(what.to_owned()));
        }
    }
}

/// Databases with rows that are gone, and those that lost more of them than is set. One that could not be copied is told of by
/// itself.
pub fn lost(before: &Before<'_>, now: &Facts, options: &SqliteOptions, exclude: &Gitignore) -> Lost {
    let is_looked_for = |key: &str, was: u64| {
        let Some(path) = layout::restored(Path::new("/"), key) else { return false };
        match now.get(key) {
            Some(now) => now[COPIED] == true,
            // Files of small ones come and go.
            None => shrink::is_worth_telling(was) && is_wanted(&path, options, exclude),
        }
    };
    let sizes = shrink::rows_of(now);
    before.lost("rows", shrink::rows, |key| sizes.get(key).copied(), is_looked_for)
}

/// A loss with the path of its database.
pub fn placed((key, what): (String, String)) -> Option<Problem> {
    Some(Problem::new(&layout::restored(Path::new("/"), &key)?, what))
}

fn databases(facts: &Facts) -> impl Iterator<Item = (PathBuf, &Value)> {
    let all = facts.get(DATABASES).and_then(Value::as_object).into_iter().flatten();
    all.filter_map(|(key, database)| Some((layout::restored(Path::new("/"), key)?, database)))
}

/// Whether a database here would be found: it is named, or lies in a folder that is searched.
pub fn is_wanted(path: &Path, options: &SqliteOptions, exclude: &Gitignore) -> bool {
    options.paths.iter().any(|base| {
        path == base
            || path.strip_prefix(base).is_ok_and(|below| {
                let mut above = below.ancestors().take_while(|part| !part.as_os_str().is_empty());
                let is_file = |part: &Path| part == below;
                !above.any(|part| is_matched(exclude, base, &base.join(part), !is_file(part)))
            })
    })
}
