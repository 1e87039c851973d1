//! A line between a client and a server that can be cut, stopped and slowed down.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

/// What a line does with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Carries them.
    Open,
    /// Breaks every connection, old and new.
    Cut,
    /// Takes connections, and carries nothing.
    Still,
    /// Carries so many bytes a second in each direction of each connection.
    Slow(u64),
    /// Carries them, but for each so manieth request of HTTP.
    EveryNth(u64, Hiccup),
}

/// What happens to a request of HTTP on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hiccup {
    /// Its connection breaks.
    Cut,
    /// It does not get there; this status line, without the protocol, and this body come back.
    Answer(&'static str, &'static str),
    /// It gets there, and the answer breaks off.
    CutAnswer,
}

/// Bytes of an answer that breaks off.
const ANSWER_BYTES_CUT: usize = 60;

/// A port of this machine that leads to another.
pub struct Proxy {
    /// Its port on this machine.
    pub port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    line: Mutex<Line>,
    /// The bytes after which every connection breaks, counted from the client's side.
    cut_after: AtomicU64,
    connections: AtomicUsize,
    received: AtomicU64,
    requests: Mutex<Vec<String>>,
    /// Requests that could have gone wrong.
    turns: AtomicU64,
    ended: AtomicBool,
}

/// How often a connection looks at what its line does.
const LOOK: Duration = Duration::from_millis(20);

impl Proxy {
    /// A line to `port`.
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let own = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            line: Mutex::new(Line::Open),
            cut_after: AtomicU64::new(u64::MAX),
            connections: AtomicUsize::new(0),
            received: AtomicU64::new(0),
            requests: Mutex::default(),
            turns: AtomicU64::new(0),
            ended: AtomicBool::new(false),
        });
        let for_acceptor = shared.clone();
        let acceptor = std::thread::spawn(move || {
            let mut carriers = Vec::new();
            while !for_acceptor.ended.load(Ordering::SeqCst) {
                let Ok((client, _)) = listener.accept() else {
                    sleep(LOOK / 4);
                    continue;
                };
                client.set_nonblocking(false).unwrap();
                for_acceptor.connections.fetch_add(1, Ordering::SeqCst);
                if for_acceptor.line() == Line::Cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", port)) else { continue };
                let cut_answer = Arc::new(AtomicBool::new(false));
                for (from, to, counts) in
                    [(client.try_clone().unwrap(), server.try_clone().unwrap(), true), (server, client, false)]
                {
                    let (shared, cut_answer) = (for_acceptor.clone(), cut_answer.clone());
                    carriers.push(std::thread::spawn(move || shared.carry(from, to, counts, &cut_answer)));
                }
            }
            for carrier in carriers {
                carrier.join().unwrap();
            }
        });
        Self { port: own, shared, acceptor: Some(acceptor) }
    }

    /// What the line does from now on.
    pub fn set(&self, line: Line) {
        *self.shared.line.lock().unwrap() = line;
    }

    /// Every connection breaks once the client has sent so many bytes over it.
    pub fn cut_after(&self, bytes: u64) {
        self.shared.cut_after.store(bytes, Ordering::SeqCst);
    }

    /// Bytes that came back to the client so far.
    pub fn received(&self) -> u64 {
        self.shared.received.load(Ordering::SeqCst)
    }

    /// The requests of HTTP that clients sent since this was last asked, each as `METHOD /PATH?QUERY`.
    pub fn take_requests(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.requests.lock().unwrap())
    }

    /// Connections that were made so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn line(&self) -> Line {
        if self.ended.load(Ordering::SeqCst) { Line::Cut } else { *self.line.lock().unwrap() }
    }

    /// The hiccup of a request, if it is its turn.
    fn hiccup(&self) -> Option<Hiccup> {
        let Line::EveryNth(n, hiccup) = self.line() else { return None };
        (self.turns.fetch_add(1, Ordering::SeqCst) + 1).is_multiple_of(n).then_some(hiccup)
    }

    fn carry(&self, mut from: TcpStream, mut to: TcpStream, counts: bool, cut_answer: &AtomicBool) {
        from.set_read_timeout(Some(LOOK)).unwrap();
        let mut buffer = vec![0; 64 << 10];
        let mut carried = 0;
        loop {
            let length = match self.line() {
                Line::Cut => break,
                Line::Still => {
                    sleep(LOOK);
                    continue;
                }
                Line::Open | Line::EveryNth(..) => buffer.len(),
                Line::Slow(bytes) => {
                    sleep(LOOK);
                    ((bytes * LOOK.as_millis() as u64 / 1000) as usize).clamp(1, buffer.len())
                }
            };
            let length = match from.read(&mut buffer[..length]) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => break,
            };
            let request = request_line(&buffer[..length]).filter(|_| counts);
            match request.and_then(|_| self.hiccup()) {
                None => {}
                Some(Hiccup::Cut) => break,
                Some(Hiccup::Answer(status, body)) => {
                    let head =
                        format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                    let _ = from.write_all(format!("{head}{body}").as_bytes());
                    break;
                }
                Some(Hiccup::CutAnswer) => cut_answer.store(true, Ordering::SeqCst),
            }
            if let Some(request) = request {
                self.requests.lock().unwrap().push(request.to_owned());
            }
            if !counts && cut_answer.load(Ordering::SeqCst) {
                let _ = to.write_all(&buffer[..length.min(ANSWER_BYTES_CUT)]);
                break;
            }
            carried += length as u64;
            if !counts {
                self.received.fetch_add(length as u64, Ordering::SeqCst);
            }
            if (counts && carried > self.cut_after.load(Ordering::SeqCst)) || to.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }
}

/// The first line, without the protocol, of a request of HTTP that begins with these bytes. Clients wait for an answer
/// before they send the next one, so no request begins anywhere else.
fn request_line(bytes: &[u8]) -> Option<&str> {
    let line = bytes.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_suffix(" HTTP/1.1")?;
    ["GET /", "PUT /", "HEAD /", "POST /", "DELETE /"].iter().any(|verb| line.starts_with(verb)).then_some(line)
}
