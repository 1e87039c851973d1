//! What a request over HTTP that got no whole answer tells, without the address it went to.

use std::error::Error as StdError;
use std::io;

/// Encrypted connections use `ring`. To be called before anything of `opendal` or `reqwest` is made.
pub(crate) fn choose_cryptography() {
    // Fails where it was chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A request without a whole answer.
pub(crate) struct Failure {
    /// Why, in words; never the address, which can be signed.
    pub what: String,
    /// Whether trying again may help.
    pub may_pass: bool,
}

impl Failure {
    pub fn passing(what: impl Into<String>) -> Self {
        Self { what: what.into(), may_pass: true }
    }

    pub fn lasting(what: impl Into<String>) -> Self {
        Self { what: what.into(), may_pass: false }
    }

    pub fn of(error: reqwest::Error) -> Self {
        // Never the error's own text: it holds the address.
        let cause = root_cause(&error);
        let certificate = causes(&error).any(is_about_certificate);
        match (certificate, error.is_connect()) {
            (true, _) => Self::lasting(format!("the server's certificate is not trusted: {cause}")),
            (false, true) if causes(&error).any(is_timeout) => Self::passing("the server cannot be reached: timed out"),
            (false, true) => Self::passing(format!("the server cannot be reached: {cause}")),
            (false, false) => Self::passing(format!("the connection broke: {cause}")),
        }
    }
}

/// What to say of a request without a whole answer. Never the error's own text, which holds the address.
pub(crate) fn without_answer(error: reqwest::Error) -> String {
    Failure::of(error).what
}

/// Whether somebody listens where a request without a whole answer went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Somebody {
    /// The connection was refused.
    No,
    /// There was a connection, or only silence: a server that hangs, or one whose certificate is not trusted.
    Yes,
    /// There is no way there, or its name is not known.
    Unknown,
}

/// What a request without a whole answer tells of who is there.
pub(crate) fn who_is_there(error: &reqwest::Error) -> Somebody {
    let is_of_kind = |kinds: &[io::ErrorKind]| {
        causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|error| kinds.contains(&error.kind()))
    };
    let broken = [
        io::ErrorKind::UnexpectedEof,
        io::ErrorKind::ConnectionReset,
        io::ErrorKind::ConnectionAborted,
        io::ErrorKind::BrokenPipe,
    ];
    match () {
        () if !error.is_connect() || causes(error).any(is_about_tls) => Somebody::Yes,
        () if causes(error).any(is_timeout) || is_of_kind(&broken) => Somebody::Yes,
        () if is_of_kind(&[io::ErrorKind::ConnectionRefused]) => Somebody::No,
        () => Somebody::Unknown,
    }
}

/// Whether this is, or wraps, the refusal of a certificate.
fn is_about_certificate(cause: &(dyn StdError + 'static)) -> bool {
    matches!(of_tls(cause), Some(rustls::Error::InvalidCertificate(_)))
}

/// Whether this is, or wraps, what went wrong once both sides began to speak TLS, or one of them.
fn is_about_tls(cause: &(dyn StdError + 'static)) -> bool {
    of_tls(cause).is_some()
}

/// What an `io::Error` wraps is no source of it.
fn of_tls<'c>(cause: &'c (dyn StdError + 'static)) -> Option<&'c rustls::Error> {
    let wrapped = || cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    cause.downcast_ref().or_else(|| of_tls(wrapped()?))
}

fn is_timeout(cause: &(dyn StdError + 'static)) -> bool {
    cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        || cause.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout)
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error| (**error).source())
}

/// The innermost reason, which speaks of sockets and names and never of addresses with signatures.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    match causes(error).skip(1).last() {
        Some(cause) => cause.to_string(),
        None => "unknown reason".to_owned(),
    }
}
