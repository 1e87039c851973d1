//! Requests to addresses that somebody wrote into the configuration. None goes to this machine or to a link-local address, such as
//! the one that gives a cloud's credentials to whoever asks, unless that is allowed; not by a name, not by a redirect.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use operations::config::{Secret, SecretSource};
use operations::{Fault, FaultKind};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Url, redirect};

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A POST.
pub struct Request {
    /// Where it goes. It may be a secret.
    pub url: String,
    /// A header, which may be a secret.
    pub header: Option<(&'static str, String)>,
    /// What is sent.
    pub body: Body,
}

/// What is sent.
pub enum Body {
    /// JSON.
    Json(String),
    /// Plain text.
    Text(String),
}

impl From<String> for Body {
    fn from(json: String) -> Self {
        Self::Json(json)
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Request(…)")
    }
}

/// Reads an address or a token, where no request waits for the command that may print it.
///
/// # Errors
///
/// As [`SecretSource::read`].
pub async fn secret(source: &SecretSource) -> Result<Secret, Fault> {
    let source = source.clone();
    let read = tokio::task::spawn_blocking(move || source.read()).await;
    read.unwrap_or_else(|_| Err(failed("its address or token cannot be read".to_owned())))
}

/// Sends it.
///
/// # Errors
///
/// Why that did not work; never with the address or what is in the request.
pub async fn send(request: &Request, allow_local: bool) -> Result<(), Fault> {
    let url: Url = request.url.parse().map_err(|_| wrong_address())?;
    let client = client(&url, allow_local).await?;
    let (kind, body) = match &request.body {
        Body::Json(json) => ("application/json", json),
        Body::Text(text) => ("text/plain; charset=utf-8", text),
    };
    let mut post = client.post(url).header(CONTENT_TYPE, kind).body(body.clone());
    if let Some((name, value)) = &request.header {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| failed("the token holds characters that no header takes".to_owned()))?;
        value.set_sensitive(true);
        post = post.header(*name, value);
    }
    let answer = post.send().await.map_err(|error| failed(without_address(&error)))?;
    match answer.status() {
        status if status.is_success() => Ok(()),
        status if status.is_redirection() => {
            Err(failed(format!("it answered {status}, and redirects are not followed"))
                .with_hint("write the address that it redirects to"))
        }
        status => Err(failed(format!("it answered {status}"))),
    }
}

/// A client that goes to the very addresses that were checked, so that a name cannot mean another one a moment later.
async fn client(url: &Url, allow_local: bool) -> Result<Client, Fault> {
    // Fails where it was chosen before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let is_http = matches!(url.scheme(), "http" | "https");
    let (Some(host), Some(port), true) = (url.host_str(), url.port_or_known_default(), is_http) else {
        return Err(wrong_address());
    };
    let name = host.trim_matches(['[', ']']);
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((name, port))).await;
    let addresses: Vec<SocketAddr> = match found {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(_)) | Err(_) => return Err(failed("the name of its server is not known".to_owned())),
    };
    if !allow_local && addresses.iter().any(|address| is_local(address.ip())) {
        return Err(failed("its address is of this machine, or link-local".to_owned())
            .with_hint("where that is meant, write `allow_local: true` beside the address"));
    }
    Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .timeout(PATIENCE)
        .resolve_to_addrs(host, &addresses)
        .build()
        .map_err(|error| failed(without_address(&error)))
}

/// Whether an address leads to this machine or no farther than its link.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_local_v4(address),
        IpAddr::V6(address) => is_local_v6(address),
    }
}

fn is_local_v4(address: Ipv4Addr) -> bool {
    // The whole of 0.0.0.0/8 is this host.
    address.is_loopback()
        || address.is_link_local()
        || address.octets()[0] == 0
        || address.is_broadcast()
        || address.is_multicast()
}

fn is_local_v6(address: Ipv6Addr) -> bool {
    // Where an address of IPv4 lies in one of IPv6: mapped, compatible, and of the gateways of RFC 6052.
    let last = Ipv4Addr::from(address.to_bits() as u32);
    let holds_v4 = matches!(address.segments(), [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..]);
    // Where Amazon's machines ask for credentials.
    let is_metadata = address == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    address.is_loopback()
        || address.is_unspecified()
        || address.is_unicast_link_local()
        || address.is_multicast()
        || is_metadata
        || (holds_v4 && is_local_v4(last))
}

/// The innermost reason: the error's own text holds the address.
fn without_address(error: &reqwest::Error) -> String {
    let first: &(dyn std::error::Error + 'static) = error;
    let causes = std::iter::successors(Some(first), |cause| cause.source());
    let cause = causes.skip(1).last().map_or_else(|| "unknown reason".to_owned(), ToString::to_string);
    match (error.is_timeout(), error.is_connect()) {
        (true, _) => "it did not answer in time".to_owned(),
        (_, true) => format!("it cannot be reached: {cause}"),
        _ => format!("the connection broke: {cause}"),
    }
}

fn wrong_address() -> Fault {
    Fault::new(FaultKind::Config, "this is no address that a request can go to")
        .with_hint("write it like https://ntfy.sh/topic below `notifications`")
}

fn failed(what: String) -> Fault {
    Fault::new(FaultKind::Failed, what)
}

#[cfg(test)]
mod tests;
