//! Starts `lifeboat serve`, and talks to it as a program over HTTP does.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::{Running, Site, wait_until};

/// No answer takes so long, but a stream that goes on does.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs.
pub struct Server<'s> {
    pub site: &'s Site,
    pub address: String,
    running: Running,
}

/// An answer.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

/// Somebody who sends requests.
pub struct Guest<'s> {
    address: &'s str,
    /// Headers that say who it is.
    pub headers: Vec<(String, String)>,
}

impl<'s> Server<'s> {
    /// Starts the server of a site, on a port that is free.
    pub fn start(site: &'s Site) -> Self {
        let log = File::create(site.path("server.log")).unwrap();
        let mut command: Command = site.lifeboat_command(["serve"]);
        let running = Running(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        let listens = || text_after(&site_log(site), "listens on http://");
        wait_until("the server listens", || site_log(site).contains("jobs are scheduled"));
        let address = listens().unwrap();
        Self { site, address, running }
    }

    /// What it has printed.
    pub fn log(&self) -> String {
        site_log(self.site)
    }

    /// Somebody who has not signed in.
    pub fn stranger(&self) -> Guest<'_> {
        Guest { address: &self.address, headers: Vec::new() }
    }

    /// The first user, made by the link that was printed.
    pub fn first_user(&self) -> Guest<'_> {
        let code = text_after(&self.log(), "/setup?code=").unwrap();
        let form = format!("code={code}&name=ada&password={PASSWORD_TYPED}");
        let answer = self.page().post_form("/setup", &form);
        assert_eq!(answer.status, 303, "{}", answer.text());
        let cookie = answer.header("set-cookie").unwrap();
        let mut ada = self.page();
        ada.headers.push(("Cookie".to_owned(), cookie.split(';').next().unwrap().to_owned()));
        ada
    }

    /// A token with this role, for these stacks.
    pub fn token(&self, admin: &Guest<'_>, role: &str, stacks: Option<&[&str]>) -> (Guest<'_>, String) {
        let wanted = serde_json::json!({ "name": role, "role": role, "stacks": stacks });
        let answer = admin.post("/v1/admin/tokens", &wanted);
        assert_eq!(answer.status, 201, "{}", answer.text());
        let secret = answer.json()["secret"].as_str().unwrap().to_owned();
        let headers = vec![("Authorization".to_owned(), format!("Bearer {secret}"))];
        (Guest { address: &self.address, headers }, secret)
    }

    /// Somebody whose browser says that its own page sends.
    fn page(&self) -> Guest<'_> {
        Guest { address: &self.address, headers: vec![("Origin".to_owned(), format!("http://{}", self.address))] }
    }

    /// Ends it as a power failure would.
    pub fn kill(self) {
        drop(self.running);
    }

    /// Ends it as whoever runs it does.
    pub fn stop(mut self) {
        let pid = rustix::process::Pid::from_child(&self.running.0);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = RefCell::new(&mut self.running.0);
        wait_until("the server ends", || ended.borrow_mut().try_wait().unwrap().is_some());
    }
}

/// As it is typed into the form of the link.
const PASSWORD_TYPED: &str = "three+plain+words";

fn site_log(site: &Site) -> String {
    std::fs::read_to_string(site.path("server.log")).unwrap()
}

fn text_after(text: &str, before: &str) -> Option<String> {
    let (_, rest) = text.split_once(before)?;
    let (word, _) = rest.split_once([' ', '\n'])?;
    Some(word.to_owned())
}

impl Guest<'_> {
    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"")
    }

    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.send_json("POST", path, &[], body)
    }

    pub fn post_form(&self, path: &str, form: &str) -> Answer {
        self.send("POST", path, &[("Content-Type", "application/x-www-form-urlencoded")], form.as_bytes())
    }

    pub fn send_json(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let headers = [&[("Content-Type", "application/json")], headers].concat();
        self.send(method, path, &headers, body.to_string().as_bytes())
    }

    /// Sends a request and reads the answer to its end.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut line = TcpStream::connect(self.address).unwrap();
        line.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        let own = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in own.chain(headers.iter().copied()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        line.write_all(head.as_bytes()).unwrap();
        line.write_all(body).unwrap();
        let mut answer = Vec::new();
        line.read_to_end(&mut answer).unwrap();
        Answer::parse(&answer)
    }

    /// Waits until a run has ended, and gives it.
    pub fn end_of(&self, id: &str) -> Value {
        let path = format!("/v1/admin/runs/{id}");
        let run = || self.get(&path).json();
        let is_over = |run: &Value| !matches!(run["status"].as_str(), Some("queued" | "running"));
        wait_until("the run ends", || is_over(&run()));
        run()
    }

    /// Asks for something to be done, and gives the id of its run.
    pub fn start(&self, path: &str, body: &Value) -> String {
        let answer = self.post(path, body);
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["run_id"].as_str().unwrap().to_owned()
    }
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let split = bytes.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..split].to_vec()).unwrap();
        let status = head[9..12].parse().unwrap();
        let body = bytes[split + 4..].to_vec();
        let is_chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
        Self { status, body: if is_chunked { joined(&body) } else { body }, head }
    }

    pub fn text(&self) -> String {
        format!("{}\n\n{}", self.head, String::from_utf8_lossy(&self.body))
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// The parts of a body that comes in parts (RFC 9112, 7.1).
fn joined(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n").unwrap();
        let bytes = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap().trim(), 16).unwrap();
        if bytes == 0 {
            return whole;
        }
        whole.extend(&body[end + 2..end + 2 + bytes]);
        body = &body[end + 2 + bytes + 2..];
    }
}
