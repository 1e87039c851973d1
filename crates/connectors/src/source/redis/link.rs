//! The dump that a running server sends to whoever follows it: nothing of its disk is needed, and no command is held up.
//!
//! It is asked first for a dump that it writes to its own disk and sends from there, since then it does not mind how slowly the
//! dump is taken. Where it cannot write one, it sends what it makes as it makes it, and gives up on whoever takes nothing for a
//! minute (`repl-timeout`).

use repository::{Cancel, SourceError};

use super::line::Place;
use super::resp::{Connection, Reply};
use super::server::{Login, connect, refused};
use super::tail::{MARK_BYTES, Tail};
use crate::program::{Ended, Exit};
use crate::source::output::Origin;

/// How long an id of a history is.
const ID_CHARS: usize = 40;

/// A dump on its way.
pub struct Link {
    connection: Connection,
    framing: Framing,
    /// Of which history of changes the dump is a state, and which: what has the same of both holds the same.
    pub position: Option<(String, u64)>,
}

/// How the end of the dump is known.
enum Framing {
    /// So many bytes are left.
    Length(u64),
    /// A mark ends it.
    Mark(Vec<u8>, Tail),
}

impl Link {
    /// Asks for a dump, and waits until it begins.
    pub fn follow(place: &Place, login: &Login, cancel: &Cancel) -> Result<Self, SourceError> {
        match Self::try_follow(place, login, cancel, false) {
            Err(Failure::Lost(error)) => match Self::try_follow(place, login, cancel, true) {
                Ok(link) => Ok(link),
                Err(Failure::Ended(SourceError::Cancelled) | Failure::Lost(SourceError::Cancelled)) => {
                    Err(SourceError::Cancelled)
                }
                // Of both, the first tells what a user would mend: the disk of the server.
                Err(_) => Err(error),
            },
            Err(Failure::Ended(error)) => Err(error),
            Ok(link) => Ok(link),
        }
    }

    fn try_follow(place: &Place, login: &Login, cancel: &Cancel, by_mark: bool) -> Result<Self, Failure> {
        let mut connection = connect(place, login, cancel).map_err(Failure::Ended)?;
        // Those that do not know it send changes after the dump, which nobody reads.
        let mut wishes = vec![["REPLCONF", "rdb-only", "1"]];
        if by_mark {
            wishes.push(["REPLCONF", "capa", "eof"]);
        }
        for wish in wishes {
            connection.ask(&wish).map_err(Failure::Ended)?;
        }
        let position = match connection.ask(&["PSYNC", "?", "-1"]).map_err(Failure::Lost)? {
            Reply::Text(text) => position(&String::from_utf8_lossy(&text)),
            Reply::Error(error) if error.contains("BGSAVE") => {
                return Err(Failure::Lost(SourceError::unavailable(format!("{}: {error}", connection.what()))));
            }
            Reply::Error(error) => return Err(Failure::Ended(refused(connection.what(), login, &error))),
            _ => None,
        };
        let framing = Self::framing(&mut connection).map_err(Failure::Lost)?;
        Ok(Self { connection, framing, position })
    }

    /// Waits for the line that begins the dump. Empty ones only say that the server is at it.
    fn framing(connection: &mut Connection) -> Result<Framing, SourceError> {
        loop {
            let line = connection.line()?;
            if line.is_empty() {
                continue;
            }
            if let Some(mark) = line.strip_prefix(b"$EOF:").filter(|mark| mark.len() == MARK_BYTES) {
                return Ok(Framing::Mark(mark.to_vec(), Tail::default()));
            }
            let length = line.strip_prefix(b"$").and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
            return length.map(Framing::Length).ok_or_else(|| {
                let said = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
                SourceError::unavailable(format!("{}: it sends no dump but: {said}", connection.what()))
            });
        }
    }
}

/// Why there is no dump.
enum Failure {
    /// The server gave up on it, or on the connection.
    Lost(SourceError),
    /// It would be no other way the second time.
    Ended(SourceError),
}

/// `FULLRESYNC`, the id of the history, and how far it had come.
fn position(answer: &str) -> Option<(String, u64)> {
    let mut words = answer.split_whitespace();
    let (Some("FULLRESYNC"), Some(id), Some(offset)) = (words.next(), words.next(), words.next()) else { return None };
    let is_id = id.len() == ID_CHARS && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some((is_id.then(|| id.to_owned())?, offset.parse().ok()?))
}

impl Origin for Link {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        match &mut self.framing {
            Framing::Length(0) => Ok(0),
            Framing::Length(left) => {
                let room = usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len());
                let length = self.connection.read(&mut buffer[..room])?;
                *left -= length as u64;
                if length == 0 { Err(early(&self.connection)) } else { Ok(length) }
            }
            Framing::Mark(mark, tail) => loop {
                let length = tail.give(buffer);
                if length > 0 || tail.held() == mark {
                    return Ok(length);
                }
                if tail.fill(|room| self.connection.read(room))? == 0 {
                    return Err(early(&self.connection));
                }
            },
        }
    }

    fn wait(&mut self) -> Result<Ended, SourceError> {
        Ok(Ended { exit: Exit::Code(0), said: String::new() })
    }
}

fn early(connection: &Connection) -> SourceError {
    SourceError::unavailable(format!("{} closed the connection before its dump had ended", connection.what()))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;
    use crate::source::server_at::Address;

    const MARK: &str = "0123456789abcdef0123456789abcdef01234567";

    /// A server that answers each command with the next of `answers`, and closes; for each of its connections.
    fn answering(connections: Vec<Vec<Vec<u8>>>) -> Place {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for answers in connections {
                let (mut stream, _) = listener.accept().unwrap();
                for answer in answers {
                    let _ = stream.read(&mut [0; 1000]);
                    for piece in answer.chunks(7) {
                        let _ = stream.write_all(piece);
                    }
                }
            }
        });
        Address::Tcp { host: "127.0.0.1".to_owned(), port }.into()
    }

    fn ok() -> Vec<u8> {
        b"+OK\r\n".to_vec()
    }

    fn begun(rest: &str) -> Vec<u8> {
        format!("+FULLRESYNC {MARK} 77\r\n\n\n{rest}").into_bytes()
    }

    fn follow(connections: Vec<Vec<Vec<u8>>>) -> Result<Link, SourceError> {
        Link::follow(&answering(connections), &Login::default(), &Cancel::new())
    }

    fn read_all(link: &mut Link) -> Result<Vec<u8>, SourceError> {
        let (mut all, mut buffer) = (Vec::new(), [0; 11]);
        loop {
            match link.read(&mut buffer)? {
                0 => return Ok(all),
                length => all.extend_from_slice(&buffer[..length]),
            }
        }
    }

    #[test]
    fn a_dump_with_a_length_ends_there() {
        let mut link = follow(vec![vec![ok(), begun("$25\r\nthe whole of a small dump and what follows")]]).unwrap();
        assert_eq!(read_all(&mut link).unwrap(), b"the whole of a small dump");
        assert_eq!(link.position, Some((MARK.to_owned(), 77)));
    }

    #[test]
    fn a_server_that_cannot_write_a_dump_sends_it_with_a_mark() {
        let sent = begun(&format!("$EOF:{MARK}\r\na dump with {} in it{MARK}", &MARK[..39]));
        let mut link = follow(vec![vec![ok(), begun("")], vec![ok(), ok(), sent]]).unwrap();
        assert_eq!(read_all(&mut link).unwrap(), format!("a dump with {} in it", &MARK[..39]).into_bytes());
    }

    #[test]
    fn a_dump_that_ends_early_is_noticed() {
        for sent in ["$25\r\nthe whole of a".to_owned(), format!("$EOF:{MARK}\r\na dump{}", &MARK[..39])] {
            let mut link = follow(vec![vec![ok(), begun(&sent)]]).unwrap();
            let error = read_all(&mut link).unwrap_err().to_string();
            assert!(error.ends_with("closed the connection before its dump had ended"), "{error}");
        }
    }

    #[test]
    fn one_who_may_not_is_told_what_to_do() {
        let denied = b"-NOPERM this user has no permissions to run the 'psync' command\r\n".to_vec();
        let error = follow(vec![vec![ok(), denied]]).err().unwrap().to_string();
        assert!(error.contains("ACL SETUSER default +psync +replconf"), "{error}");
        let odd = follow(vec![vec![ok(), begun("+what is this\r\n")], vec![]]).err().unwrap().to_string();
        assert!(odd.ends_with("it sends no dump but: +what is this"), "{odd}");
    }
}
