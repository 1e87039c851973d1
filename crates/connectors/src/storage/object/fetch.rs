//! Sends requests and takes in their answers, and gives up on a line that stands still.
//!
//! A limit on the whole time of a request would cut off uploads over slow lines, so there is none. Instead:
//!
//! - while a request is sent, bytes must move: the connection has to take more of the body at least every [`STALL`];
//! - the kernel closes a connection whose peer has acknowledged nothing for [`STALL`], so that a machine that is gone is
//!   noticed also where its silence could be patience;
//! - once all is sent, the answer has to begin within [`STALL`], or [`ANSWER_AFTER_BODY`] where there was a body: some of
//!   it is still in buffers on the way, and servers write objects to several disks before they answer;
//! - while an answer is read, bytes must come at least every [`STALL`].
//!
//! What came back is remembered beside the result ([`listening`]), since `opendal`'s errors are made for people: they
//! neither keep status and code apart nor leave out addresses, which can be signed.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use opendal::raw::{HttpBody, HttpFetch};
use opendal::{Buffer, ErrorKind};
use repository::limits::UNPACKED_BYTES_MAX;

use super::answer::Answer;
use crate::http::{Failure, root_cause};

/// A line on which nothing has moved for so long is given up.
pub(super) const STALL: Duration = Duration::from_secs(60);
/// The longest wait for an answer after a body was handed over.
pub(super) const ANSWER_AFTER_BODY: Duration = Duration::from_secs(180);
/// The longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(20);
/// How often an idle connection is asked whether its peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// How often it is looked at whether bytes move.
const LOOK: Duration = Duration::from_millis(500);
/// The body is handed over in pieces of this size, so that a slow line still shows movement.
pub(super) const PIECE_BYTES: usize = 64 << 10;
/// A refusal longer than this is no error document.
const REFUSAL_BYTES_MAX: usize = 64 << 10;

tokio::task_local! {
    static HEARD: RefCell<Heard>;
}

/// What came of the last request to the storage's own server.
#[derive(Debug, Default)]
pub(super) enum Heard {
    /// There was no request.
    #[default]
    Nothing,
    Success,
    Refusal(Answer),
    /// There was no answer, or no whole one.
    Failure {
        what: String,
        may_pass: bool,
    },
}

/// Runs `work` and gives, beside its result, what came of its last request.
pub(super) async fn listening<T>(work: impl Future<Output = T>) -> (T, Heard) {
    let heard = async {
        let result = work.await;
        (result, HEARD.with(RefCell::take))
    };
    HEARD.scope(RefCell::default(), heard).await
}

/// Sets what came of the last request, for one that was not sent through [`Fetch`].
#[cfg(feature = "webdav")]
pub(super) fn hear(heard: Heard) {
    // Fails outside of `listening`, where nobody asks.
    let _ = HEARD.try_with(|last| last.replace(heard));
}

#[cfg(feature = "webdav")]
impl Heard {
    /// A request without an answer.
    pub(super) fn of(error: reqwest::Error) -> Self {
        let Failure { what, may_pass } = Failure::of(error);
        Self::Failure { what, may_pass }
    }
}

/// The client of one storage.
pub(super) struct Fetch {
    client: reqwest::Client,
    /// The storage's servers. Requests to others are about credentials.
    hosts: Vec<String>,
    stall: Duration,
    answer_after_body: Duration,
}

impl Fetch {
    /// A client for the servers `hosts`; also for names below them, where the bucket is a part of the name.
    pub(super) fn new(hosts: Vec<String>) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .tcp_user_timeout(STALL)
            .tcp_keepalive(KEEPALIVE)
            .tcp_keepalive_interval(KEEPALIVE)
            .tcp_keepalive_retries(3)
            .build()
            .map_err(|error| format!("set up connections: {}", root_cause(&error)))?;
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Ok(Self { client, hosts, stall: STALL, answer_after_body: ANSWER_AFTER_BODY })
    }

    /// What sends requests, for one that does not fit in memory.
    #[cfg(feature = "webdav")]
    pub(super) fn client(&self) -> reqwest::Client {
        self.client.clone()
    }

    /// The same, with less patience.
    #[cfg(test)]
    pub(super) fn with_patience(self, stall: Duration) -> Self {
        Self { stall, answer_after_body: stall, ..self }
    }

    /// Sends `request` and takes in the whole answer, which fits in memory as every object does.
    async fn exchange(&self, request: http::Request<Buffer>) -> Result<http::Response<Vec<Bytes>>, Failure> {
        let (parts, body) = request.into_parts();
        let url = reqwest::Url::parse(&parts.uri.to_string());
        let url = url.map_err(|_| Failure::lasting("the address is not valid"))?;
        let mut builder = self.client.request(parts.method, url).headers(parts.headers);
        let moved = Arc::new(AtomicU64::new(0));
        let patience_after = if body.is_empty() { self.stall } else { self.answer_after_body };
        let total = body.len() as u64;
        if !body.is_empty() {
            builder = builder.body(reqwest::Body::wrap(Moving { rest: body, moved: moved.clone() }));
        }
        let mut response = tokio::select! {
            response = builder.send() => response.map_err(Failure::of)?,
            () = stalled(&moved, total, self.stall, patience_after) => return Err(self.standing_still(&moved, total)),
        };

        let (mut answer, ()) = http::Response::new(()).into_parts();
        answer.status = response.status();
        answer.headers = std::mem::take(response.headers_mut());
        let succeeded = answer.status.is_success();
        let bytes_max = if succeeded { UNPACKED_BYTES_MAX } else { REFUSAL_BYTES_MAX };
        let (mut pieces, mut taken) = (Vec::new(), 0);
        loop {
            let piece = tokio::time::timeout(self.stall, response.chunk()).await;
            let piece = piece.map_err(|_| Failure::passing(format!("nothing came for {} s", self.stall.as_secs())))?;
            let Some(piece) = piece.map_err(Failure::of)? else { break };
            taken += piece.len();
            if taken > bytes_max {
                if succeeded {
                    return Err(Failure::lasting(format!("the answer is longer than {bytes_max} bytes")));
                }
                break;
            }
            pieces.push(piece);
        }
        Ok(http::Response::from_parts(answer, pieces))
    }

    fn standing_still(&self, moved: &AtomicU64, total: u64) -> Failure {
        let sent = moved.load(Ordering::Relaxed);
        Failure::passing(match sent < total {
            true => format!("nothing moved for {} s, after {sent} of {total} bytes", self.stall.as_secs()),
            false => "no answer came".to_owned(),
        })
    }

    fn is_ours(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let is_in = |ours: &String| {
            host.strip_suffix(ours.as_str()).is_some_and(|bucket| bucket.is_empty() || bucket.ends_with('.'))
        };
        self.hosts.iter().any(is_in)
    }
}

/// Ends once nothing has moved for too long.
async fn stalled(moved: &AtomicU64, total: u64, patience: Duration, patience_after: Duration) {
    let mut last = (moved.load(Ordering::Relaxed), tokio::time::Instant::now());
    loop {
        tokio::time::sleep(LOOK.min(patience)).await;
        let now = moved.load(Ordering::Relaxed);
        if now != last.0 {
            last = (now, tokio::time::Instant::now());
        }
        if last.1.elapsed() >= if now < total { patience } else { patience_after } {
            return;
        }
    }
}

impl HttpFetch for Fetch {
    async fn fetch(
        &self,
        #[cfg_attr(not(feature = "webdav"), expect(unused_mut, reason = "WebDAV's alone are changed"))]
        mut request: http::Request<Buffer>,
    ) -> opendal::Result<http::Response<HttpBody>> {
        // `opendal` would have what is there overwritten.
        #[cfg(feature = "webdav")]
        if request.method().as_str() == "MOVE" {
            request.headers_mut().insert("overwrite", http::HeaderValue::from_static("F"));
        }
        let ours = self.is_ours(request.uri().host().unwrap_or_default());
        let hear = |heard| {
            if ours {
                // Fails outside of `listening`, where nobody asks.
                let _ = HEARD.try_with(|last| last.replace(heard));
            }
        };
        let response = match self.exchange(request).await {
            Ok(response) => response,
            Err(Failure { what, may_pass }) => {
                let error = opendal::Error::new(ErrorKind::Unexpected, what.clone()).with_temporary(may_pass);
                hear(Heard::Failure { what, may_pass });
                return Err(error);
            }
        };
        let (parts, pieces) = response.into_parts();
        hear(match parts.status.is_success() {
            true => Heard::Success,
            false => {
                let code = parts.headers.get("x-ms-error-code").and_then(|code| code.to_str().ok());
                Heard::Refusal(Answer::read(parts.status.as_u16(), code, &pieces.concat()))
            }
        });
        let buffer: Buffer = pieces.into_iter().collect();
        let body = HttpBody::new(futures_util::stream::iter([Ok(buffer)]), None);
        Ok(http::Response::from_parts(parts, body))
    }
}

/// A request's body that counts what the connection has taken of it.
struct Moving {
    rest: Buffer,
    moved: Arc<AtomicU64>,
}

impl http_body::Body for Moving {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let length = self.rest.len().min(PIECE_BYTES);
        if length == 0 {
            return Poll::Ready(None);
        }
        let piece = self.rest.slice(..length).to_bytes();
        self.rest = self.rest.slice(length..);
        self.moved.fetch_add(length as u64, Ordering::Relaxed);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::thread::{JoinHandle, sleep};
    use std::time::Instant;

    use super::*;

    const PATIENCE: Duration = Duration::from_millis(700);

    /// Serves one connection.
    fn server(serve: impl FnOnce(TcpStream) + Send + 'static) -> (u16, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        (port, std::thread::spawn(move || serve(listener.accept().unwrap().0)))
    }

    /// Puts `bytes` to a server and says what came of it and how long it took.
    fn put(bytes: usize, serve: impl FnOnce(TcpStream) + Send + 'static) -> (Heard, Duration) {
        crate::http::choose_cryptography();
        let (port, served) = server(serve);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let started = Instant::now();
        let (_, heard) = runtime.block_on(listening(async {
            let fetch = Fetch::new(vec!["127.0.0.1".to_owned()]).unwrap().with_patience(PATIENCE);
            let request = http::Request::put(format!("http://127.0.0.1:{port}/x?sig=S3CRET"));
            fetch.fetch(request.body(Buffer::from(vec![1; bytes])).unwrap()).await.map(drop)
        }));
        let took = started.elapsed();
        drop(runtime);
        served.join().unwrap();
        (heard, took)
    }

    fn failed(heard: Heard) -> String {
        match heard {
            Heard::Failure { what, may_pass: true } => what,
            other => panic!("{other:?}"),
        }
    }

    const BYTES: usize = 64 << 20;

    fn read_slowly(stream: &mut TcpStream, bytes: usize, pause: Duration) {
        let mut buffer = vec![0; 2 << 20];
        let mut read = 0;
        while read < bytes {
            read += stream.read(&mut buffer).unwrap();
            sleep(pause);
        }
    }

    #[test]
    fn an_upload_over_a_slow_line_is_not_cut_off_as_long_as_bytes_move() {
        let (heard, took) = put(BYTES, |mut stream| {
            read_slowly(&mut stream, BYTES, Duration::from_millis(40));
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        });
        assert!(matches!(heard, Heard::Success), "{heard:?}");
        assert!(took > PATIENCE * 3 / 2, "{took:?} shows nothing");
    }

    #[test]
    fn a_download_over_a_slow_line_is_not_cut_off_as_long_as_bytes_move() {
        let (heard, took) = put(10, |mut stream| {
            let _ = stream.read(&mut [0; 1000]);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").unwrap();
            for _ in 0..10 {
                sleep(PATIENCE / 4);
                stream.write_all(b"x").unwrap();
            }
        });
        assert!(matches!(heard, Heard::Success), "{heard:?}");
        assert!(took > PATIENCE * 2, "{took:?} shows nothing");
    }

    #[test]
    fn a_server_that_takes_nothing_more_is_given_up_soon() {
        let (heard, took) = put(BYTES, |mut stream| {
            let _ = stream.read(&mut [0; 1000]);
            sleep(PATIENCE * 4);
        });
        let what = failed(heard);
        assert!(what.contains("nothing moved for") && what.contains(&format!("of {BYTES} bytes")), "{what}");
        assert!((PATIENCE..PATIENCE * 3).contains(&took), "{took:?}");
    }

    #[test]
    fn a_server_that_never_answers_or_stops_in_the_middle_is_given_up_soon() {
        for answer in ["", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"] {
            let (heard, took) = put(10, move |mut stream| {
                let _ = stream.read(&mut [0; 1000]);
                stream.write_all(answer.as_bytes()).unwrap();
                sleep(PATIENCE * 4);
            });
            let what = failed(heard);
            assert!(what.contains(if answer.is_empty() { "no answer came" } else { "nothing came for" }), "{what}");
            assert!((PATIENCE..PATIENCE * 3).contains(&took), "{took:?}");
        }
    }

    #[test]
    fn an_answer_that_is_cut_off_is_a_failure_that_names_no_address() {
        let (heard, _) = put(10, |mut stream| {
            let _ = stream.read(&mut [0; 1000]);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").unwrap();
        });
        let what = failed(heard);
        assert!(what.starts_with("the connection broke: ") && !what.contains("S3CRET"), "{what}");
    }

    #[test]
    fn requests_about_credentials_are_told_from_those_to_the_bucket() {
        crate::http::choose_cryptography();
        let fetch = Fetch::new(vec!["s3.eu-1.amazonaws.com".to_owned()]).unwrap();
        for (host, ours) in [
            ("s3.eu-1.amazonaws.com", true),
            ("bucket.S3.eu-1.amazonaws.com", true),
            ("sts.eu-1.amazonaws.com", false),
            ("169.254.169.254", false),
            ("evils3.eu-1.amazonaws.com", false),
        ] {
            assert_eq!(fetch.is_ours(host), ours, "{host}");
        }
    }
}
