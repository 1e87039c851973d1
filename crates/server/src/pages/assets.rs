//! Style sheet and script, out of the program itself.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use crate::api::Path;
use crate::problem::Problem;

const STYLE: &str = include_str!("../../assets/style.css");
const SCRIPT: &str = include_str!("../../assets/live.js");
const ICON: &str = include_str!("../../assets/icon.svg");

/// One of them. Browsers ask each time whether it is still the same, which costs less than a stale one.
pub async fn get(Path(name): Path<String>, asked: HeaderMap) -> Result<Response, Problem> {
    let (kind, text) = match &*name {
        "style.css" => ("text/css; charset=utf-8", STYLE),
        "live.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return Err(Problem::not_found("there is nothing at this path")),
    };
    let tag = format!("\"{}\"", data_encoding::HEXLOWER.encode(&Sha256::digest(text)[..8]));
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache"), (header::ETAG, &tag)];
    let is_known = asked.get(header::IF_NONE_MATCH).is_some_and(|known| known.as_bytes() == tag.as_bytes());
    Ok(if is_known { (StatusCode::NOT_MODIFIED, headers).into_response() } else { (headers, text).into_response() })
}
