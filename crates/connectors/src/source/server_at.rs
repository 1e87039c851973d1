//! Where a database server is.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use repository::{Cancel, SourceError};

use crate::containers::{Container, ContainerName, ContainerState, Containers, EngineAddress};

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAt {
    /// At an address such as `postgresql://me@db:5432?sslmode=require`, without password and database. The tools of this machine
    /// are used.
    Url(String),
    /// In a container, whose own tools are used.
    Container(ContainerName),
}

/// The container of a server. Fails where it does not run.
pub fn running(
    name: &ContainerName,
    engine: &EngineAddress,
    cancel: &Cancel,
) -> Result<(Arc<Containers>, Container), SourceError> {
    let containers = Arc::new(engine.open(cancel)?);
    let container = containers.find(name)?;
    if container.state != ContainerState::Running {
        let what = format!("container {} does not run: start it", container.name);
        return Err(SourceError::Unavailable { what });
    }
    Ok((containers, container))
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// At a port of a machine.
    Tcp {
        /// Its name or number.
        host: String,
        /// The port.
        port: u16,
    },
    /// At a socket of this machine.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Address {
    /// What an address such as `mysql://me@db:3306` or `unix:///run/mysqld.sock` says, and whom it names. Where it names no port,
    /// that is `port`. Fails with a message for the user.
    pub fn parse(url: &str, port: u16) -> Result<(Option<String>, Self), SourceError> {
        let wrong = |what: &str| SourceError::Unavailable { what: format!("url: {what}") };
        if let Some(path) = url.strip_prefix("unix://") {
            return Ok((None, Self::Unix(path.into())));
        }
        let (_, rest) = url.split_once("://").ok_or_else(|| wrong("it does not begin with a scheme"))?;
        if rest.contains('?') {
            return Err(wrong("what follows the question mark means nothing here; remove it"));
        }
        let rest = rest.trim_end_matches('/');
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, rest),
        };
        let (host, digits) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, after)) => (host, after.strip_prefix(':')),
            None => place.split_once(':').map_or((place, None), |(host, digits)| (host, Some(digits))),
        };
        if host.is_empty() {
            return Err(wrong("it names no host"));
        }
        let port =
            digits.map_or(Ok(port), |digits| digits.parse().map_err(|_| wrong("its port is no number up to 65535")));
        Ok((user, Self::Tcp { host: host.to_owned(), port: port? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let tcp = |host: &str, port| Address::Tcp { host: host.to_owned(), port };
        let read = |url: &str| Address::parse(url, 3306).unwrap();
        assert_eq!(read("mysql://db"), (None, tcp("db", 3306)));
        assert_eq!(read("redis://me@db.example.org:7000/"), (Some("me".to_owned()), tcp("db.example.org", 7000)));
        assert_eq!(read("redis://[::1]:7000"), (None, tcp("::1", 7000)));
        assert_eq!(read("redis://[::1]").1.to_string(), "[::1]:3306");
        assert_eq!(read("unix:///run/a.sock"), (None, Address::Unix("/run/a.sock".into())));
        for wrong in ["db", "mysql://", "mysql://db:port", "mysql://db:70000", "mysql://db?ssl=1"] {
            assert!(Address::parse(wrong, 1).unwrap_err().to_string().starts_with("url: "), "{wrong}");
        }
    }
}
