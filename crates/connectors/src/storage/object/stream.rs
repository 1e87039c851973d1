//! Archives to a WebDAV server, which takes a file in one request: the parts of an archive go into that request one after
//! the other, so that no more of it is in memory than one of them.
//!
//! A part that failed cannot be sent again, so a connection that breaks costs the whole archive; the next run sends it
//! anew. Since nobody knows the size before the end, some servers lose what they are sent; so it is asked for after.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use opendal::{Error, ErrorKind};
use repository::StorageError;
use repository::storage::archives::ArchiveWriter;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::JoinHandle;

use super::super::layout::PART_MARK;
use super::ObjectStorage;
use super::answer::Answer;
use super::fetch::{ANSWER_AFTER_BODY, Heard, PIECE_BYTES, STALL, hear};
use super::webdav::{Dav, chance};

/// A request's body that comes piece by piece.
struct Pieces(Receiver<Bytes>);

/// An archive on its way.
struct Upload<'a> {
    storage: &'a ObjectStorage,
    dav: &'a Dav,
    path: String,
    temp: String,
    /// `None` once the last was sent.
    pieces: Option<Sender<Bytes>>,
    answer: Option<JoinHandle<Heard>>,
    sent: u64,
    is_named: bool,
}

impl ObjectStorage {
    /// Begins an archive.
    pub(super) fn stream<'a>(&'a self, dav: &'a Dav, path: &str) -> Result<Box<dyn ArchiveWriter + 'a>, StorageError> {
        let folder = path.rsplit_once('/').map_or_else(|| "/".to_owned(), |(folder, _)| format!("{folder}/"));
        let failed = |failed| self.error(&format!("write {path}"), None, failed);
        self.wait_for(false, self.operator.create_dir(&folder)).map_err(failed)?;
        let temp = format!("{path}{PART_MARK}{:016x}", chance());
        let (pieces, receiver) = mpsc::channel(1);
        let address = format!("{}/{}", dav.address, opendal::raw::percent_encode_path(&temp));
        let request = dav.signed(self.client.put(address)).body(reqwest::Body::wrap(Pieces(receiver)));
        let spawned = async { Ok(tokio::spawn(answer_to(request))) };
        let answer = Some(self.wait_for(false, spawned).map_err(failed)?);
        let (path, pieces) = (path.to_owned(), Some(pieces));
        Ok(Box::new(Upload { storage: self, dav, path, temp, pieces, answer, sent: 0, is_named: false }))
    }
}

/// Sends a request, and says what came back.
async fn answer_to(request: reqwest::RequestBuilder) -> Heard {
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Heard::of(error),
    };
    let status = response.status();
    if status.is_success() {
        return Heard::Success;
    }
    // An error document is short; what is longer is cut off by the time that it takes.
    let body = tokio::time::timeout(STALL, response.bytes()).await;
    let body = body.ok().and_then(Result::ok).unwrap_or_default();
    Heard::Refusal(Answer::read(status.as_u16(), None, &body))
}

/// What a request that failed tells its caller; the rest is in what was heard.
fn failed(heard: Heard) -> Error {
    hear(heard);
    Error::new(ErrorKind::Unexpected, "the archive was not taken")
}

fn lasting(what: String) -> Error {
    failed(Heard::Failure { what, may_pass: false })
}

impl Upload<'_> {
    async fn send(&mut self, part: Bytes) -> opendal::Result<()> {
        let mut rest = part;
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PIECE_BYTES));
            let length = piece.len() as u64;
            let Some(pieces) = &self.pieces else { return Err(lasting("the upload has ended".to_owned())) };
            match tokio::time::timeout(STALL, pieces.send(piece)).await {
                Ok(Ok(())) => self.sent += length,
                // The request has ended before all was sent: it says why.
                Ok(Err(_)) => return self.answered().await,
                Err(_) => {
                    let what = format!("nothing moved for {} s", STALL.as_secs());
                    return Err(failed(Heard::Failure { what, may_pass: true }));
                }
            }
        }
        Ok(())
    }

    /// Waits for the server's answer.
    async fn answered(&mut self) -> opendal::Result<()> {
        self.pieces = None;
        let Some(answer) = self.answer.take() else { return Err(lasting("the upload has ended".to_owned())) };
        match tokio::time::timeout(ANSWER_AFTER_BODY, answer).await {
            Ok(Ok(Heard::Success)) => Ok(()),
            Ok(Ok(heard)) => Err(failed(heard)),
            _ => Err(failed(Heard::Failure { what: "no answer came".to_owned(), may_pass: true })),
        }
    }

    /// Gives the archive its name, once the server has all of it.
    async fn publish(&mut self) -> opendal::Result<()> {
        self.answered().await?;
        let operator = &self.storage.operator;
        let kept = operator.stat(&self.temp).await?.content_length();
        if kept != self.sent {
            let sent = self.sent;
            return Err(lasting(format!("the server kept {kept} of {sent} bytes: it takes no upload of unknown size")));
        }
        // The new one is whole by now, and some servers give no name that is taken.
        operator.delete(&self.path).await?;
        operator.rename(&self.temp, &self.path).await?;
        self.is_named = true;
        Ok(())
    }
}

impl ArchiveWriter for Upload<'_> {
    fn write(&mut self, part: Vec<u8>) -> Result<(), StorageError> {
        let storage = self.storage;
        let written = storage.wait_for(true, self.send(part.into()));
        written.map_err(|failed| storage.error(&format!("write {}", self.path), None, failed))
    }

    fn finish(mut self: Box<Self>) -> Result<(), StorageError> {
        let storage = self.storage;
        match storage.wait_for(false, self.publish()) {
            Ok(()) => storage.sweep(self.dav, &self.path),
            // Another host brought the same archive meanwhile.
            Err(failed) if failed.is_taken() => {}
            Err(failed) => return Err(storage.error(&format!("write {}", self.path), None, failed)),
        }
        Ok(())
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if self.is_named {
            return;
        }
        // Ends the request before its body does, so that no server takes what it has for the whole.
        if let Some(answer) = self.answer.take() {
            answer.abort();
        }
        // If this fails, a later run sweeps up what stays.
        let _ = self.storage.wait_for(false, self.storage.operator.delete(&self.temp));
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}
