//! Where a database server is.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use repository::{Cancel, SourceError};

use super::server_tls::ServerTls;
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
    /// What the part between the scheme and the path of an address says, such as `me@db:3306`, and whom it names. Where it names
    /// no port, that is `port`. Fails with what is wrong.
    fn parse(rest: &str, port: u16) -> Result<(Option<String>, Self), &'static str> {
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user.to_owned()), place),
            None => (None, rest),
        };
        let (host, digits) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, after)) => (host, after.strip_prefix(':')),
            None => place.split_once(':').map_or((place, None), |(host, digits)| (host, Some(digits))),
        };
        if host.is_empty() {
            return Err("it names no host");
        }
        let port = digits.map_or(Ok(port), |digits| digits.parse().map_err(|_| "its port is no number up to 65535"));
        Ok((user, Self::Tcp { host: host.to_owned(), port: port? }))
    }
}

/// What the address of a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl {
    /// What it begins with, such as `rediss`.
    pub scheme: String,
    /// Whom it names.
    pub user: Option<String>,
    /// Where the server listens.
    pub address: Address,
    /// How the line is encrypted.
    pub tls: ServerTls,
}

impl ServerUrl {
    /// Reads an address such as `mysql://me@db:3306?ssl-mode=REQUIRED` or `unix:///run/mysqld.sock`. Where it names no port,
    /// that is `port`. Fails with a message for the user.
    pub fn parse(url: &str, port: u16) -> Result<Self, SourceError> {
        let wrong = |what: &str| SourceError::Unavailable { what: format!("url: {what}") };
        let (scheme, rest) = url.split_once("://").ok_or_else(|| wrong("it does not begin with a scheme"))?;
        let scheme = scheme.to_owned();
        if scheme == "unix" {
            let address = Address::Unix(rest.into());
            return Ok(Self { scheme, user: None, address, tls: ServerTls::default() });
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, address) = Address::parse(place.trim_end_matches('/'), port).map_err(wrong)?;
        let tls = ServerTls::parse(query).map_err(|what| wrong(&what))?;
        Ok(Self { scheme, user, address, tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let tcp = |host: &str, port| Address::Tcp { host: host.to_owned(), port };
        let read = |url: &str| ServerUrl::parse(url, 3306).map(|url| (url.user, url.address)).unwrap();
        assert_eq!(read("mysql://db"), (None, tcp("db", 3306)));
        assert_eq!(read("redis://me@db.example.org:7000/"), (Some("me".to_owned()), tcp("db.example.org", 7000)));
        assert_eq!(read("redis://[::1]:7000"), (None, tcp("::1", 7000)));
        assert_eq!(read("mysql://db/?ssl=1"), (None, tcp("db", 3306)));
        assert_eq!(ServerUrl::parse("rediss://db?ssl-ca=/a", 1).unwrap().scheme, "rediss");
        assert_eq!(read("redis://[::1]").1.to_string(), "[::1]:3306");
        assert_eq!(read("unix:///run/a.sock"), (None, Address::Unix("/run/a.sock".into())));
        for wrong in ["db", "mysql://", "mysql://db:port", "mysql://db:70000", "mysql://db?charset=x"] {
            assert!(ServerUrl::parse(wrong, 1).unwrap_err().to_string().starts_with("url: "), "{wrong}");
        }
    }
}
