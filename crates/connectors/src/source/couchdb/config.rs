//! CouchDB's own configuration, and whether the secret is in it without which `medic-vault` cannot be read again.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use repository::{Cancel, Problem, SourceError};

use crate::source::walk::{Seen, walk};

/// Files of configuration are not longer; what is is not looked into.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Sections in which the secret may stand: that of CouchDB 3, and that of before.
const SECTIONS: [&str; 2] = ["[chttpd_auth]", "[couch_httpd_auth]"];
/// The variable that CHT's image makes the secret of.
const VARIABLE: &str = "COUCHDB_SECRET";

/// What was found.
#[derive(Default)]
pub struct Found {
    /// Files, and folders that are empty.
    pub paths: Vec<PathBuf>,
    pub problems: Vec<Problem>,
    pub holds_secret: bool,
}

/// Looks at the configuration at `config`, absolute.
pub fn find(config: &Path, cancel: &Cancel) -> Result<Found, SourceError> {
    let mut found = Found::default();
    let metadata = match std::fs::metadata(config) {
        Ok(metadata) => metadata,
        Err(error) => {
            found.problems.push(Problem::new(config, format!("the configuration cannot be read: {error}")));
            return Ok(found);
        }
    };
    if !metadata.is_dir() {
        found.holds_secret = holds_secret(config);
        found.paths.push(config.to_path_buf());
        return Ok(found);
    }
    walk(config, cancel, &mut |seen| match seen {
        Seen::Names(folder, names) => {
            found.paths.extend(names.is_empty().then(|| folder.to_path_buf()));
            true
        }
        Seen::Entry(path, file_type) => {
            if !file_type.is_dir() {
                found.holds_secret |= file_type.is_file() && holds_secret(path);
                found.paths.push(path.to_path_buf());
            }
            true
        }
        Seen::Unreadable(folder, error) => {
            found.problems.push(Problem::new(folder, format!("the folder could not be listed: {error}")));
            true
        }
    })?;
    Ok(found)
}

fn holds_secret(path: &Path) -> bool {
    let mut text = Vec::new();
    // What cannot be read here is reported when it is captured.
    let read = repository::fs::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut text));
    read.is_ok() && is_secret_in(&String::from_utf8_lossy(&text))
}

fn is_secret_in(text: &str) -> bool {
    let mut section = "";
    text.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            section = line;
        }
        let Some((name, value)) = line.split_once('=') else { return false };
        let name = name.trim();
        let is_named = (name == "secret" && SECTIONS.contains(&section)) || name == VARIABLE;
        is_named && !value.trim().is_empty()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_found_where_couchdb_or_cht_look_for_it() {
        assert!(is_secret_in("[admins]\na = b\n\n[couch_httpd_auth]\n; secret of old\nsecret = 0123\n"));
        assert!(is_secret_in("[chttpd_auth]\r\nsecret=x\r\n"));
        assert!(is_secret_in("COUCHDB_USER=medic\nCOUCHDB_SECRET=abc\n"));
        for other in [
            "[admins]\nsecret = a user of that name",
            "[couch_httpd_auth]\nsecret =\n",
            "[couch_httpd_auth]\n;secret = x",
            "COUCHDB_SECRET=",
            "",
        ] {
            assert!(!is_secret_in(other), "{other}");
        }
    }
}
