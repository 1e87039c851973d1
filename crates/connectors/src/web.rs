//! Requests over HTTP to the applications that are backed up: a call that makes one take up what was restored, and waiting
//! until one is ready. What goes wrong is told without the address and the headers, which may hold secrets.

use std::time::Duration;

use repository::limits::CANCEL_POLL;
use repository::{Cancel, Clock};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use tokio::runtime::Runtime;

use crate::http::{choose_cryptography, without_answer};

/// Patience for the answer to a call.
const CALL: Duration = Duration::from_secs(300);
/// Patience for one answer to the question whether an application is ready.
const ASK: Duration = Duration::from_secs(10);
/// Between two such questions.
const PAUSE: Duration = Duration::from_millis(500);
/// So many answers of success in a row show that an application is ready: the first may be those of the old process, which
/// ends soon after it was told to start anew.
const ANSWERS: usize = 6;

/// Why a request did not do what it should.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebError {
    /// It cannot be sent, or was not answered with success.
    #[error("{0}")]
    Failed(String),
    /// The run was asked to stop.
    #[error("cancelled")]
    Cancelled,
}

/// Sends requests. It follows nobody elsewhere: another server must not get the headers.
pub struct Web {
    client: reqwest::Client,
    runtime: Runtime,
    cancel: Cancel,
}

impl Web {
    /// Connects to nobody yet. Waiting ends soon after `cancel` is set.
    pub fn new(cancel: Cancel) -> Result<Self, WebError> {
        choose_cryptography();
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| WebError::Failed(without_answer(error)))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| WebError::Failed(format!("set up connections: {error}")))?;
        Ok(Self { client, runtime, cancel })
    }

    /// Sends a request with these headers, a line each, and waits for an answer of success (2xx).
    pub fn call(&self, url: &str, method: &str, headers: &str) -> Result<(), WebError> {
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| WebError::Failed("this is no method of HTTP".to_owned()))?;
        let request = self.client.request(method, url).headers(parse_headers(headers)?).timeout(CALL);
        expect_success(self.send(request)?)
    }

    /// Asks until there were several answers of success (2xx) in a row. Fails where there is another one after `within`, with
    /// what that said.
    pub fn wait_until_ready(&self, url: &str, within: Duration, clock: &dyn Clock) -> Result<(), WebError> {
        let started = clock.now();
        let mut in_a_row = 0;
        loop {
            let left = within.saturating_sub(clock.now().duration_since(started).unsigned_abs());
            let request = self.client.get(url).timeout(ASK.min(left.max(PAUSE)));
            match self.send(request).and_then(expect_success) {
                Ok(()) => in_a_row += 1,
                Err(WebError::Failed(what)) if left <= PAUSE => return Err(WebError::Failed(what)),
                Err(WebError::Failed(_)) => in_a_row = 0,
                Err(WebError::Cancelled) => return Err(WebError::Cancelled),
            }
            if in_a_row == ANSWERS {
                return Ok(());
            }
            if !self.cancel.pause(clock, PAUSE) {
                return Err(WebError::Cancelled);
            }
        }
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Result<StatusCode, WebError> {
        let cancelled = async {
            while !self.cancel.is_cancelled() {
                tokio::time::sleep(CANCEL_POLL).await;
            }
        };
        self.runtime.block_on(async {
            tokio::select! {
                answer = request.send() => {
                    answer.map(|answer| answer.status()).map_err(|error| WebError::Failed(without_answer(error)))
                }
                () = cancelled => Err(WebError::Cancelled),
            }
        })
    }
}

fn expect_success(status: StatusCode) -> Result<(), WebError> {
    match status.is_success() {
        true => Ok(()),
        false => Err(WebError::Failed(format!("it answers {status}"))),
    }
}

/// Headers, a line each. What is wrong is told by the number of the line.
fn parse_headers(text: &str) -> Result<HeaderMap, WebError> {
    let mut headers = HeaderMap::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let wrong = || WebError::Failed(format!("line {} of the headers is no header: write NAME: VALUE", number + 1));
        let (name, value) = line.split_once(':').ok_or_else(wrong)?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| wrong())?;
        let mut value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::net::TcpListener;
    use std::sync::mpsc;

    use repository::SystemClock;

    use super::*;

    /// A server that gives these answers, one a connection, and then is gone. Gives its port, and what it was asked.
    fn server(answers: &'static [&'static str]) -> (u16, mpsc::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (said, heard) = mpsc::channel();
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let head: Vec<String> = lines.map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
                said.send(head.join("\n")).unwrap();
                write!(stream, "HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
            }
            // Whoever hears that nothing more is said finds nobody there.
            drop(listener);
            drop(said);
        });
        (port, heard)
    }

    fn web() -> Web {
        Web::new(Cancel::new()).unwrap()
    }

    #[test]
    fn a_call_is_sent_with_its_headers_and_wants_success() {
        let (port, heard) = server(&["204 No Content", "403 Forbidden", "302 Found"]);
        let url = format!("http://127.0.0.1:{port}/reload?x=hunter2");
        assert_eq!(web().call(&url, "PUT", "Authorization: Bearer hunter2\n\nX-A:b"), Ok(()));
        let head = heard.recv().unwrap().to_lowercase();
        for part in ["put /reload?x=hunter2 http/1.1", "authorization: bearer hunter2", "x-a: b"] {
            assert!(head.contains(part), "{head}");
        }
        let failed = |headers| web().call(&url, "POST", headers).unwrap_err().to_string();
        assert_eq!(failed(""), "it answers 403 Forbidden");
        assert_eq!(failed(""), "it answers 302 Found");
        assert_eq!(failed("A: b\nhunter2"), "line 2 of the headers is no header: write NAME: VALUE");
        assert_eq!(heard.iter().count(), 2);
        let gone = failed("Authorization: hunter2");
        assert!(gone.starts_with("the server cannot be reached") && !gone.contains("hunter2"), "{gone}");
    }

    #[test]
    fn waiting_ends_with_successes_in_a_row_or_with_what_was_said_last() {
        const OK: &str = "200 OK";
        let (port, heard) = server(&["503 Service Unavailable", OK, OK, "502 Bad Gateway", OK, OK, OK, OK, OK, OK]);
        let url = format!("http://127.0.0.1:{port}/.ready");
        assert_eq!(web().wait_until_ready(&url, Duration::from_secs(30), &SystemClock), Ok(()));
        assert_eq!(heard.iter().count(), 10);
        let error = web().wait_until_ready(&url, Duration::from_millis(700), &SystemClock).unwrap_err();
        assert!(error.to_string().starts_with("the server cannot be reached"), "{error}");
        let cancel = Cancel::new();
        cancel.cancel();
        let stopped = Web::new(cancel).unwrap().wait_until_ready(&url, Duration::from_secs(60), &SystemClock);
        assert_eq!(stopped, Err(WebError::Cancelled));
    }
}
