//! Who sends a request, and whether they may.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};

use super::role::Role;
use crate::problem::Problem;
use crate::shared::Shared;

/// Somebody who has signed in, or a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user's name, or `token NAME`.
    pub name: String,
    /// What they may do.
    pub role: Role,
    /// The stacks that they may see; all where there is no list.
    pub stacks: Option<Vec<String>>,
}

/// Whoever sends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// Who it is, where that is known.
    pub caller: Option<Caller>,
    /// Where they are.
    pub address: String,
}

impl Caller {
    /// Only those who may do at least what `role` may go on.
    ///
    /// # Errors
    ///
    /// 403, saying which role it takes.
    pub fn require(&self, role: Role) -> Result<(), Problem> {
        if self.role >= role {
            return Ok(());
        }
        Err(Problem::forbidden(format!(
            "this needs the role {}, and {} is {}",
            role.name(),
            self.name,
            self.role.name()
        )))
    }

    /// Only those who may see a stack go on. For the others it is not there.
    ///
    /// # Errors
    ///
    /// 404.
    pub fn require_stack(&self, stack: &str) -> Result<(), Problem> {
        match self.sees(stack) {
            true => Ok(()),
            false => Err(Problem::not_found(format!("there is no stack {stack}"))),
        }
    }

    /// Only those who may see every stack go on: what they ask for is about all.
    ///
    /// # Errors
    ///
    /// 403.
    pub fn require_all_stacks(&self) -> Result<(), Problem> {
        match &self.stacks {
            None => Ok(()),
            Some(_) => Err(Problem::forbidden("this is about all stacks, and this token is for some")),
        }
    }

    /// Whether they may see a stack.
    pub fn sees(&self, stack: &str) -> bool {
        self.stacks.as_ref().is_none_or(|stacks| stacks.iter().any(|seen| seen == stack))
    }
}

impl FromRequestParts<Arc<Shared>> for Visitor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        let address =
            parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip().to_string());
        let address = address.unwrap_or_else(|| "unknown address".to_owned());
        Ok(Self { caller: caller(parts, shared)?, address })
    }
}

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Problem> {
        caller(parts, shared)?.ok_or_else(Problem::unauthorized)
    }
}

fn caller(parts: &Parts, shared: &Shared) -> Result<Option<Caller>, Problem> {
    let now = shared.clock.now();
    if let Some(header) = parts.headers.get(header::AUTHORIZATION) {
        let bearer = header.to_str().ok().and_then(|text| text.split_once(' '));
        let secret =
            bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, secret)| secret.trim());
        let token = secret.map(|secret| shared.tokens.who(secret, now)).transpose()?.flatten();
        // One that is wrong is not passed over for a cookie.
        let token = token.ok_or_else(Problem::unauthorized)?;
        return Ok(Some(Caller { name: format!("token {}", token.name), role: token.role, stacks: token.stacks }));
    }
    let Some(user) = shared.sessions.user(&cookies(&parts.headers), now)? else { return Ok(None) };
    if !is_safe(&parts.method) && !is_same_origin(&parts.headers) {
        return Err(Problem::forbidden("this request comes from another site"));
    }
    let user = shared.users.all()?.into_iter().find(|known| known.name == user);
    Ok(user.map(|user| Caller { name: user.name, role: user.role, stacks: None }))
}

/// All cookies: HTTP/1.1 has one header of them, but proxies may have split it.
pub fn cookies(headers: &HeaderMap) -> String {
    let all: Vec<_> = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok()).collect();
    all.join("; ")
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a page of this very server sent the request. Browsers say so in headers that no page can set; who says nothing is none.
pub fn is_same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text("sec-fetch-site") {
        Some(site) => matches!(site, "same-origin" | "none"),
        None => match (text("origin").and_then(|origin| origin.split_once("://")), text("host")) {
            (Some((_, origin)), Some(host)) => origin == host,
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_server_may_send_what_changes_something() {
        let asked = |pairs: &[(&'static str, &str)]| {
            let headers =
                pairs.iter().map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()));
            is_same_origin(&headers.collect())
        };
        assert!(asked(&[("sec-fetch-site", "same-origin")]) && asked(&[("sec-fetch-site", "none")]));
        assert!(!asked(&[("sec-fetch-site", "cross-site"), ("origin", "http://a"), ("host", "a")]));
        assert!(!asked(&[("sec-fetch-site", "same-site")]), "another server of the same domain");
        assert!(asked(&[("origin", "http://a:8484"), ("host", "a:8484")]));
        assert!(!asked(&[("origin", "http://b"), ("host", "a")]) && !asked(&[("origin", "null"), ("host", "null")]));
        assert!(!asked(&[("host", "a")]) && !asked(&[]));
    }
}
