//! Paths with wildcards, as they stand in the configuration.

use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};
use repository::{Cancel, SourceError};

use super::layout;
use super::walk::{Seen, walk};

/// What a path of the configuration stands for.
pub enum Expanded {
    /// The path itself. It may not exist.
    Literal(PathBuf),
    /// What the wildcards match, sorted; maybe nothing.
    Matches(Vec<PathBuf>),
}

/// Expands `*`, `?`, `[…]`, `{…}` in each part of `pattern`, and `**` to folders of any depth (links not followed). Unlike
/// a shell, `*` matches names that begin with a dot, since a backup must not miss them. A path that exists just as it is
/// written is taken as it is.
pub fn expand(pattern: &Path, cancel: &Cancel) -> Result<Expanded, SourceError> {
    let text = pattern.to_str();
    let is_literal = text.is_none_or(|text| !text.contains(['*', '?', '[', '{']));
    if is_literal || pattern.symlink_metadata().is_ok() {
        return Ok(Expanded::Literal(layout::absolute(pattern).map_err(SourceError::io(pattern))?));
    }
    let pattern = std::path::absolute(pattern).map_err(SourceError::io(pattern))?;
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.components() {
        let part = match part {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => continue,
            Component::ParentDir => "..",
            // The whole path is UTF-8, as was asked above.
            Component::Normal(name) => name.to_str().unwrap_or_default(),
        };
        cancel.check()?;
        found = if part == "**" {
            folders_below(&found, cancel)?
        } else if part.contains(['*', '?', '[', '{']) {
            matches_in(&found, &matcher(part)?)
        } else {
            found.iter().map(|path| path.join(part)).filter(|path| path.symlink_metadata().is_ok()).collect()
        };
    }
    found.sort();
    found.dedup();
    Ok(Expanded::Matches(found))
}

fn matcher(part: &str) -> Result<GlobMatcher, SourceError> {
    let glob = GlobBuilder::new(part).literal_separator(true).build();
    let glob = glob.map_err(|error| SourceError::Unavailable { what: format!("`{part}` in a path: {error}") })?;
    Ok(glob.compile_matcher())
}

/// A folder that cannot be read matches nothing, as in a shell.
fn matches_in(folders: &[PathBuf], matcher: &GlobMatcher) -> Vec<PathBuf> {
    let names = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    names.filter(|entry| matcher.is_match(Path::new(&entry.file_name()))).map(|entry| entry.path()).collect()
}

fn folders_below(folders: &[PathBuf], cancel: &Cancel) -> Result<Vec<PathBuf>, SourceError> {
    let mut below = Vec::new();
    for folder in folders {
        below.push(folder.clone());
        walk(folder, cancel, &mut |seen| {
            if let Seen::Entry(path, file_type) = seen
                && file_type.is_dir()
            {
                below.push(path.to_path_buf());
            }
            true
        })?;
    }
    Ok(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &Path) -> Vec<PathBuf> {
        match expand(pattern, &Cancel::new()).unwrap() {
            Expanded::Literal(path) => vec![path],
            Expanded::Matches(paths) => paths,
        }
    }

    #[test]
    fn wildcards_match_names_part_by_part() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a/x.yml", "a/.y.yml", "b/x.yml", "b/c/d/x.yml", "b/x.txt", "we[i]rd"] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = |pattern: &str| {
            let paths = matches(&dir.path().join(pattern));
            paths.iter().map(|path| path.strip_prefix(dir.path()).unwrap().display().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(found("*/*.yml"), ["a/.y.yml", "a/x.yml", "b/x.yml"]);
        assert_eq!(found("**/x.{yml,txt}"), ["a/x.yml", "b/c/d/x.yml", "b/x.txt", "b/x.yml"]);
        assert_eq!(found("[a]/x.yml"), ["a/x.yml"]);
        assert_eq!(found("we[i]rd"), ["we[i]rd"]);
        assert_eq!(found("none*"), [""; 0]);
        assert_eq!(found("none"), ["none"]);
    }
}
