//! A connection to a server that speaks Redis's protocol, RESP 2: commands, their answers, and then a bare stream of bytes.

use std::io;
use std::time::{Duration, Instant};

use repository::{Cancel, SourceError};

use super::line::{Line, Place};

/// How long nothing may come. A server that makes ready a dump sends a byte every ten seconds.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// An answer that is longer than this is none that was asked for.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Lists in lists in answers.
const DEPTH_MAX: usize = 8;
const READ_BYTES: usize = 64 << 10;

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A word or a text.
    Text(Vec<u8>),
    /// Why it does not do what it was asked to.
    Error(String),
    /// A number.
    Number(i64),
    /// That there is nothing.
    Nothing,
    /// Several answers.
    List(Vec<Reply>),
}

/// A connection.
pub struct Connection {
    stream: Line,
    is_encrypted: bool,
    /// Whether anything came yet.
    has_answered: bool,
    /// What came and was not looked at yet.
    waiting: Vec<u8>,
    cancel: Cancel,
    /// Where it leads to, for messages.
    what: String,
}

impl Connection {
    /// Connects. Fails where nobody listens there.
    pub fn open(place: &Place, cancel: &Cancel) -> Result<Self, SourceError> {
        cancel.check()?;
        let what = format!("Redis at {place}");
        let stream = Line::open(place).map_err(|why| SourceError::unavailable(format!("{what}: {why}")))?;
        let (is_encrypted, has_answered) = (place.is_encrypted(), false);
        Ok(Self { stream, is_encrypted, has_answered, waiting: Vec::new(), cancel: cancel.clone(), what })
    }

    /// Where it leads to, for messages.
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Asks, and gives the answer, an error too.
    pub fn ask(&mut self, words: &[&str]) -> Result<Reply, SourceError> {
        self.send(words)?;
        self.answer(0)
    }

    /// Sends a command whose answer is read by [`Connection::line`].
    pub fn send(&mut self, words: &[&str]) -> Result<(), SourceError> {
        let mut command = format!("*{}\r\n", words.len());
        for word in words {
            command.push_str(&format!("${}\r\n{word}\r\n", word.len()));
        }
        let sent = self.stream.write_all(command.as_bytes());
        zeroize::Zeroize::zeroize(&mut command);
        sent.map_err(|error| self.lost(&error.to_string()))
    }

    /// Sends bytes that are part of a command.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.cancel.check()?;
        self.stream.write_all(bytes).map_err(|error| self.lost(&error.to_string()))
    }

    /// The answer to a command that was written.
    pub fn reply(&mut self) -> Result<Reply, SourceError> {
        self.answer(0)
    }

    fn answer(&mut self, depth: usize) -> Result<Reply, SourceError> {
        let line = self.line()?;
        let text = || String::from_utf8_lossy(line.get(1..).unwrap_or_default()).into_owned();
        let number = || text().parse::<i64>().ok();
        match (line.first(), number()) {
            (Some(b'+'), _) => Ok(Reply::Text(line[1..].to_vec())),
            (Some(b'-'), _) => Ok(Reply::Error(text())),
            (Some(b':'), Some(number)) => Ok(Reply::Number(number)),
            (Some(b'$' | b'*'), Some(-1)) => Ok(Reply::Nothing),
            (Some(b'$'), Some(length)) => self.text(length).map(Reply::Text),
            (Some(b'*'), Some(length)) if depth < DEPTH_MAX => {
                let mut list = Vec::new();
                for _ in 0..length {
                    list.push(self.answer(depth + 1)?);
                }
                Ok(Reply::List(list))
            }
            _ => Err(self.strange()),
        }
    }

    fn text(&mut self, length: i64) -> Result<Vec<u8>, SourceError> {
        let length = usize::try_from(length).ok().filter(|length| *length <= ANSWER_BYTES_MAX);
        let Some(length) = length else { return Err(self.strange()) };
        while self.waiting.len() < length + 2 {
            self.fill()?;
        }
        let rest = self.waiting.split_off(length + 2);
        let mut text = std::mem::replace(&mut self.waiting, rest);
        text.truncate(length);
        Ok(text)
    }

    /// The next line, without its end.
    pub fn line(&mut self) -> Result<Vec<u8>, SourceError> {
        loop {
            if let Some(end) = self.waiting.iter().position(|byte| *byte == b'\n') {
                let rest = self.waiting.split_off(end + 1);
                let line = std::mem::replace(&mut self.waiting, rest);
                return Ok(line.strip_suffix(b"\r\n").unwrap_or(&line[..end]).to_vec());
            }
            if self.waiting.len() > ANSWER_BYTES_MAX {
                return Err(self.strange());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Result<(), SourceError> {
        let mut buffer = vec![0; READ_BYTES];
        let length = self.read_stream(&mut buffer)?;
        if length == 0 {
            return Err(self.lost("it closed the connection"));
        }
        self.waiting.extend_from_slice(&buffer[..length]);
        Ok(())
    }

    /// The next bytes, whatever they are; none where the connection was closed.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        if self.waiting.is_empty() {
            return self.read_stream(buffer);
        }
        let length = buffer.len().min(self.waiting.len());
        buffer[..length].copy_from_slice(&self.waiting[..length]);
        self.waiting.drain(..length);
        Ok(length)
    }

    fn read_stream(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        let start = Instant::now();
        loop {
            self.cancel.check()?;
            match self.stream.read(buffer) {
                Ok(length) => {
                    self.has_answered |= length > 0;
                    return Ok(length);
                }
                Err(error) if is_waiting(&error) && start.elapsed() < SILENCE_MAX => {}
                Err(error) if is_waiting(&error) => {
                    return Err(self.lost(&format!("nothing came for {} s", SILENCE_MAX.as_secs())));
                }
                Err(error) => return Err(self.lost(&error.to_string())),
            }
        }
    }

    fn lost(&self, why: &str) -> SourceError {
        // A port with encryption hangs up on whoever speaks plainly.
        let is_plain_to_none = !self.is_encrypted && !self.has_answered;
        let hint = if is_plain_to_none { "; where it encrypts, let the url begin with rediss://" } else { "" };
        SourceError::unavailable(format!("{}: {why}{hint}", self.what))
    }

    fn strange(&self) -> SourceError {
        SourceError::unavailable(format!("{}: it does not answer like a Redis; is it one?", self.what))
    }
}

fn is_waiting(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;
    use crate::source::server_at::Address;

    /// A server that says this, whatever it is asked.
    fn saying(text: &'static [u8]) -> Connection {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place: Place =
            Address::Tcp { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() }.into();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 100]);
            stream.write_all(text).unwrap();
        });
        Connection::open(&place, &Cancel::new()).unwrap()
    }

    #[test]
    fn every_kind_of_answer_is_read() {
        let mut connection = saying(b"*5\r\n+OK\r\n-ERR no\r\n:-7\r\n$4\r\na\r\nb\r\n*2\r\n$-1\r\n$0\r\n\r\nrest");
        let text = |text: &[u8]| Reply::Text(text.to_vec());
        let list = Reply::List(vec![Reply::Nothing, text(b"")]);
        let answers = vec![text(b"OK"), Reply::Error("ERR no".to_owned()), Reply::Number(-7), text(b"a\r\nb"), list];
        assert_eq!(connection.ask(&["PING"]).unwrap(), Reply::List(answers));
        let mut rest = [0; 10];
        assert_eq!(connection.read(&mut rest).unwrap(), 4);
        assert_eq!(connection.read(&mut rest).unwrap(), 0);
    }

    #[test]
    fn what_is_no_redis_and_what_goes_away_are_told() {
        let told = |text| saying(text).ask(&["PING"]).unwrap_err().to_string();
        for strange in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"$99999999999\r\n", b"$x\r\n", b"\r\n"] {
            assert!(told(strange).ends_with("it does not answer like a Redis; is it one?"), "{}", told(strange));
        }
        let nested = b"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n";
        assert!(told(nested).contains("does not answer like"));
        assert!(told(b"$10\r\nabc").ends_with("it closed the connection"));
        let nobody: Place = Address::Unix("/nowhere/redis.sock".into()).into();
        let error = Connection::open(&nobody, &Cancel::new()).err().unwrap().to_string();
        assert!(error.starts_with("Redis at /nowhere/redis.sock: No such file"), "{error}");
    }

    #[test]
    fn waiting_ends_when_the_run_is_cancelled() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let place: Place =
            Address::Tcp { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() }.into();
        let cancel = Cancel::new();
        let mut connection = Connection::open(&place, &cancel).unwrap();
        let cancelling = std::thread::spawn({
            let cancel = cancel.clone();
            move || {
                std::thread::sleep(Duration::from_millis(200));
                cancel.cancel();
            }
        });
        assert!(matches!(connection.ask(&["PING"]), Err(SourceError::Cancelled)));
        cancelling.join().unwrap();
    }
}
