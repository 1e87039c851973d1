//! The dump tool: of the same kind as the server, and not older than it.

use repository::{Cancel, SourceError};

use super::server::Server;

/// A kind of server. Their tools do not understand each other's any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MariaDB.
    Mariadb,
    /// MySQL, and what is built on it.
    Mysql,
}

impl Kind {
    /// Its name on screen.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mariadb => "MariaDB",
            Self::Mysql => "MySQL",
        }
    }

    /// By what a server or a tool says of its version.
    pub fn of(version: &str) -> Self {
        if version.contains("MariaDB") { Self::Mariadb } else { Self::Mysql }
    }

    fn dump_tools(self) -> &'static [&'static str] {
        match self {
            Self::Mariadb => &["mariadb-dump", "mysqldump"],
            Self::Mysql => &["mysqldump"],
        }
    }
}

/// The first three numbers of a version.
pub type Version = [u64; 3];

/// The tool that dumps a server.
pub struct DumpTool {
    /// What it is called.
    pub name: &'static str,
    /// Of which kind it is.
    pub kind: Kind,
    /// Its version.
    pub version: Version,
}

impl DumpTool {
    /// The tool for a server of this kind and version. Fails, with what to install, where there is none.
    pub fn find(server: &Server, kind: Kind, version: Version, cancel: &Cancel) -> Result<Self, SourceError> {
        let mut others = Vec::new();
        for name in kind.dump_tools() {
            let Some(said) = server.version_of(name, cancel)? else { continue };
            match tool_version(&said) {
                // What changes within a series does not change what a dump is.
                Some(found) if Kind::of(&said) == kind && found[..2] >= version[..2] => {
                    return Ok(Self { name, kind, version: found });
                }
                _ => others.push(said),
            }
        }
        let (kind, [major, minor, _]) = (kind.name(), version);
        let what =
            if others.is_empty() { "none is installed".to_owned() } else { format!("here is {}", others.join(", ")) };
        Err(SourceError::Unavailable {
            what: format!(
                "{} is {kind} {major}.{minor}, which takes a dump tool of {kind} {major}.{minor} or later, and {what}; \
                 install it, name its folder as `tools`, or name the server's container",
                server.name()
            ),
        })
    }
}

/// The version of the server that a tool was made with: `mysqldump  Ver 10.19 Distrib 10.11.6-MariaDB, for …`,
/// `mariadb-dump from 11.4.2-MariaDB, client 10.19 for …`, `mysqldump  Ver 8.0.36 for …`.
fn tool_version(said: &str) -> Option<Version> {
    let after = ["Distrib ", " from ", "Ver "].iter().find_map(|word| said.split_once(word))?.1;
    version(after)
}

/// The numbers that a text begins with.
pub fn version(text: &str) -> Option<Version> {
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let mut numbers = text[..end].split('.').map_while(|number| number.parse().ok());
    Some([numbers.next()?, numbers.next()?, numbers.next().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_each_tool_says_them() {
        for (said, expected, kind) in [
            (
                "mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)",
                [10, 11, 19],
                Kind::Mariadb,
            ),
            ("mariadb-dump from 11.4.2-MariaDB, client 10.19 for Linux (x86_64)", [11, 4, 2], Kind::Mariadb),
            ("mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)", [5, 7, 44], Kind::Mysql),
            ("mysqldump  Ver 8.4.0 for Linux on x86_64 (MySQL Community Server - GPL)", [8, 4, 0], Kind::Mysql),
        ] {
            assert_eq!((tool_version(said), Kind::of(said)), (Some(expected), kind), "{said}");
        }
        assert_eq!(version("10.11.19-MariaDB-0+deb12u1-log"), Some([10, 11, 19]));
        assert_eq!(version("none"), None);
        assert_eq!(tool_version("something else"), None);
    }
}
