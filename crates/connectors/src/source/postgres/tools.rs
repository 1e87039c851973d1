//! PostgreSQL's own programs, of a version that fits the server.

use std::fmt;
use std::path::{Path, PathBuf};

use repository::{Cancel, SourceError};

use crate::program::{Program, Stage};

/// Where distributions put the programs of each version, each in a folder of its own.
const FOLDERS: [(&str, &str); 2] = [("/usr/lib/postgresql", "bin"), ("/usr", "bin")];
/// How folders in `/usr` are called that hold a version, on Red Hat and its kin.
const RED_HAT_PREFIX: &str = "pgsql-";

/// A version of PostgreSQL. Ordered; what counts for tools is the major version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Such as 15.
    pub major: u32,
    /// Such as 18.
    pub minor: u32,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Version {
    /// By the server's own number, such as 150018.
    pub fn of_number(number: u32) -> Self {
        Self { major: number / 10_000, minor: number % 10_000 }
    }

    /// Of what a program says of itself, such as `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`. One that is not out yet
    /// says `18beta1`.
    pub fn said(text: &str) -> Option<Self> {
        let word = text.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
        let digits = |text: &str| text.chars().take_while(char::is_ascii_digit).collect::<String>();
        let major = digits(word);
        let minor = word.strip_prefix(major.as_str()).and_then(|rest| rest.strip_prefix('.')).map(digits);
        Some(Self { major: major.parse().ok()?, minor: minor.and_then(|minor| minor.parse().ok()).unwrap_or(0) })
    }
}

/// A folder with the programs, or those that are found by `PATH`.
#[derive(Clone, Debug)]
pub struct Tools {
    folder: Option<PathBuf>,
    /// Their version.
    pub version: Version,
}

impl Tools {
    /// The tools to work with a server of this version: of its own major version if there are such, else of the next that is
    /// there. Fails, with what to install, where there are none.
    pub fn find(
        stage: &Stage,
        only: Option<&Path>,
        tool: &str,
        server: Version,
        cancel: &Cancel,
    ) -> Result<Self, SourceError> {
        let mut found = Vec::new();
        for folder in folders(stage, only) {
            if let Some(version) = version(stage, folder.as_deref(), tool, cancel)? {
                if version.major == server.major {
                    return Ok(Self { folder, version });
                }
                found.push(Self { folder, version });
            }
        }
        found.sort_by_key(|tools| tools.version);
        let newest = found.last().map(|tools| tools.version);
        let fitting = found.into_iter().find(|tools| tools.version.major > server.major);
        fitting.ok_or_else(|| {
            let what = match newest {
                Some(version) => {
                    format!("{tool} {version} is older than the server, which is {server}, and cannot work with it")
                }
                None => format!("{tool} is not here, and the server, which is {server}, needs it"),
            };
            SourceError::Unavailable { what: format!("{what}: {}", advice(stage, tool, server)) }
        })
    }

    /// One of them.
    pub fn program(&self, name: &str) -> Program {
        program(self.folder.as_deref(), name)
    }

    /// `psql`, of whatever version: it works with servers of all of them. Fails, with what to install, where there is none.
    pub fn psql(stage: &Stage, only: Option<&Path>, cancel: &Cancel) -> Result<Program, SourceError> {
        for folder in folders(stage, only) {
            if version(stage, folder.as_deref(), "psql", cancel)?.is_some() {
                return Ok(program(folder.as_deref(), "psql"));
            }
        }
        let what = match stage {
            Stage::Here => {
                "psql is not here: install postgresql-client (Debian, Ubuntu), or name the container of the \
                            database, which has it, with `service` or `container`"
                    .to_owned()
            }
            Stage::Container { container, .. } => {
                format!("psql is not in container {}: give the `url` of the server instead", container.name)
            }
        };
        Err(SourceError::Unavailable { what })
    }
}

fn advice(stage: &Stage, tool: &str, server: Version) -> String {
    let major = server.major;
    match stage {
        Stage::Here if tool == "initdb" => {
            format!("install postgresql-{major} (Debian, Ubuntu) or postgresql{major}-server")
        }
        Stage::Here => format!(
            "install postgresql-client-{major} (Debian, Ubuntu) or postgresql{major} (others), or name the container of the \
             database, which has it, with `service` or `container`"
        ),
        Stage::Container { .. } => "give the `url` of the server instead, and install the tool here".to_owned(),
    }
}

/// Where to look, in this order; `None` is `PATH`.
fn folders(stage: &Stage, only: Option<&Path>) -> Vec<Option<PathBuf>> {
    if let Some(only) = only {
        return vec![Some(only.to_owned())];
    }
    let mut folders = vec![None];
    if matches!(stage, Stage::Here) {
        for (place, below) in FOLDERS {
            let versions = std::fs::read_dir(place).into_iter().flatten().flatten();
            let is_version = |name: &str| place != "/usr" || name.starts_with(RED_HAT_PREFIX);
            let named = versions.filter(|folder| folder.file_name().to_str().is_some_and(is_version));
            folders.extend(named.map(|folder| Some(folder.path().join(below))));
        }
    }
    folders
}

fn program(folder: Option<&Path>, name: &str) -> Program {
    match folder {
        Some(folder) => Program::new(folder.join(name)),
        None => Program::new(name),
    }
}

/// What version a program is; `None` where it is not there, or not to be made out.
fn version(stage: &Stage, folder: Option<&Path>, name: &str, cancel: &Cancel) -> Result<Option<Version>, SourceError> {
    match program(folder, name).arg("--version").run(stage, cancel) {
        Ok((printed, ended)) if ended.is_well() => Ok(Version::said(&String::from_utf8_lossy(&printed))),
        Ok(_) | Err(SourceError::Unavailable { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_programs_say_them() {
        let said = |text: &str| Version::said(text).map(|version| version.to_string());
        assert_eq!(said("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n").as_deref(), Some("15.18"));
        assert_eq!(said("pg_dump (PostgreSQL) 18beta1").as_deref(), Some("18.0"));
        assert_eq!(said("nothing"), None);
        assert_eq!(Version::of_number(150_018).to_string(), "15.18");
    }
}
