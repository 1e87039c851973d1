//! The line to a server: a connection to a port, which may be encrypted, or a socket of this machine.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use repository::SourceError;
use repository::limits::CANCEL_POLL;

use super::PORT;
use super::encrypted::{self, Encrypted};
use crate::source::server_at::{Address, ServerUrl};
use crate::source::server_tls::{ServerTls, TlsMode};

/// How long to wait for a connection, and for each step of it.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// What the addresses of servers begin with that encrypt the line.
const ENCRYPTED_SCHEMES: [&str; 2] = ["rediss", "valkeys"];

/// Where a server listens, and how it is spoken to there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    address: Address,
    /// `None`: the line is not encrypted.
    tls: Option<ServerTls>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl From<Address> for Place {
    /// One whose line is not encrypted.
    fn from(address: Address) -> Self {
        Self { address, tls: None }
    }
}

impl Place {
    /// What an address such as `redis://me@db` or `rediss://db?ssl-ca=/etc/ca.pem` says, and whom it names. Fails with a message
    /// for the user.
    pub fn parse(url: &str) -> Result<(Option<String>, Self), SourceError> {
        let ServerUrl { scheme, user, address, tls } = ServerUrl::parse(url, PORT)?;
        let is_encrypted = ENCRYPTED_SCHEMES.contains(&scheme.as_str());
        let wrong = |what: &str| Err(SourceError::unavailable(format!("url: {what}")));
        match is_encrypted {
            false if tls != ServerTls::default() => {
                wrong("its query speaks of encryption; let it begin with rediss:// to have it encrypted")
            }
            true if tls.mode.is_some_and(|mode| mode < TlsMode::Required) => {
                wrong("rediss:// is always encrypted; let it begin with redis:// to have it plain")
            }
            _ => Ok((user, Self { address, tls: is_encrypted.then_some(tls) })),
        }
    }

    /// Whether the line is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }
}

/// An open line.
pub enum Line {
    /// To a port.
    Tcp(TcpStream),
    /// To a port, encrypted.
    Encrypted(Box<Encrypted>),
    /// To a socket.
    Unix(UnixStream),
}

impl Line {
    /// Opens one. Reading from it gives up soon, so that there is always time to look around; writing does so after
    /// [`CONNECT_PATIENCE`]. Fails with why there is none, and what to do.
    pub fn open(place: &Place) -> Result<Self, String> {
        let told = |error: io::Error| format!("{error}; does it run?");
        match (&place.address, &place.tls) {
            (Address::Unix(path), _) => Self::open_unix(path).map_err(told),
            (Address::Tcp { host, port }, None) => Self::open_tcp(host, *port).map(Self::Tcp).map_err(told),
            (Address::Tcp { host, port }, Some(tls)) => {
                let stream = Self::open_tcp(host, *port).map_err(told)?;
                stream.set_read_timeout(Some(CONNECT_PATIENCE)).map_err(told)?;
                let line = encrypted::begin(stream, host, tls)?;
                line.get_ref().set_read_timeout(Some(CANCEL_POLL)).map_err(told)?;
                Ok(Self::Encrypted(Box::new(line)))
            }
        }
    }

    fn open_unix(path: &std::path::Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(CANCEL_POLL))?;
        stream.set_write_timeout(Some(CONNECT_PATIENCE))?;
        Ok(Self::Unix(stream))
    }

    fn open_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
        let stream = connect(host, port)?;
        stream.set_read_timeout(Some(CANCEL_POLL))?;
        stream.set_write_timeout(Some(CONNECT_PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// The next bytes; fails with [`io::ErrorKind::WouldBlock`] where none came for a moment.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Encrypted(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    /// Sends all of it.
    pub fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            // What is encrypted is kept until it is flushed.
            Self::Encrypted(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }
}

/// The first address of a host that somebody listens at.
fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_a_line_is_encrypted_stands_at_the_beginning_of_the_address() {
        let is_encrypted = |url: &str| Place::parse(url).unwrap().1.is_encrypted();
        assert!(is_encrypted("rediss://db") && is_encrypted("valkeys://me@db:1?ssl-ca=/ca.pem"));
        assert!(!is_encrypted("redis://db") && !is_encrypted("unix:///run/redis.sock"));
        let told = |url: &str| Place::parse(url).unwrap_err().to_string();
        assert!(told("redis://db?ssl-ca=/ca.pem").contains("begin with rediss://"));
        assert!(told("rediss://db?ssl-mode=DISABLED").contains("begin with redis://"));
    }
}
