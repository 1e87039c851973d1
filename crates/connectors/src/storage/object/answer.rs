//! What a server's refusal means: decided by its status and its error code, never by its words.

use std::fmt;

use serde_json::Value;

/// More of a server's words than this is not repeated.
const MESSAGE_CHARS_MAX: usize = 200;

/// A server's answer other than success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The HTTP status.
    pub(super) status: u16,
    /// The error code in the body or a header, such as `NoSuchBucket`. Empty where there is none.
    pub(super) code: String,
    /// The server's own words.
    pub(super) message: String,
}

/// What an answer means to who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    /// There is no such object.
    Absent,
    /// There is no such bucket or container.
    NoBucket,
    /// The object is there already.
    Taken,
    Denied,
    Full,
    /// Worth asking again.
    MayPass,
    Final,
}

impl Answer {
    /// Reads an answer's body, and Azure's header for answers that have none.
    pub(super) fn read(status: u16, code_header: Option<&str>, body: &[u8]) -> Self {
        let json: Option<Value> = serde_json::from_slice(body).ok();
        let body = String::from_utf8_lossy(body);
        let (code, message) = match &json {
            Some(json) => json_error(json),
            None => (element(&body, "Code"), element(&body, "Message")),
        };
        let code = code.or(code_header).unwrap_or_default().trim();
        // A code is a word; anything else is somebody else's page.
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let code = if code.len() <= 64 && code.bytes().all(is_word) { code } else { "" };
        let message = message.unwrap_or_default().lines().next().unwrap_or_default();
        let message = message.trim().chars().filter(|char| !char.is_control()).take(MESSAGE_CHARS_MAX).collect();
        Self { status, code: code.to_owned(), message }
    }

    /// What a server says of a file that is not there.
    pub(super) fn absent() -> Self {
        Self { status: 404, code: String::new(), message: String::new() }
    }

    pub(super) fn meaning(&self) -> Meaning {
        match self.code.as_str() {
            "NoSuchBucket" | "ContainerNotFound" | "bad_bucket_id" => Meaning::NoBucket,
            "PreconditionFailed" | "BlobAlreadyExists" | "ConditionNotMet" => Meaning::Taken,
            "QuotaExceeded"
            | "XMinioStorageFull"
            | "XMinioAdminBucketQuotaExceeded"
            | "InsufficientCapacity"
            | "cap_exceeded"
            | "storage_cap_exceeded" => Meaning::Full,
            "ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" => Meaning::Denied,
            "ConditionalRequestConflict"
            | "OperationAborted"
            | "RequestTimeout"
            | "SlowDown"
            | "InternalError"
            | "ServerBusy"
            | "OperationTimedOut"
            | "ContainerBeingDeleted"
            | "rateLimitExceeded"
            | "userRateLimitExceeded"
            | "expired_auth_token" => Meaning::MayPass,
            _ => match self.status {
                401 | 403 => Meaning::Denied,
                404 => Meaning::Absent,
                412 => Meaning::Taken,
                507 => Meaning::Full,
                // 499 and 52x are those of proxies and content networks.
                408 | 423 | 425 | 429 | 499 | 500 | 502..=504 | 520..=529 => Meaning::MayPass,
                _ => Meaning::Final,
            },
        }
    }

    /// What to do about it, where that is known.
    fn advice(&self) -> Option<&'static str> {
        Some(match self.code.as_str() {
            "InvalidAccessKeyId" => "the server does not know this access key id",
            "SignatureDoesNotMatch" => "the secret access key is wrong",
            "AuthenticationFailed" => "the account key or the access signature is wrong or has expired",
            "ExpiredToken" | "TokenRefreshRequired" => "the session token has expired; get a new one",
            "RequestTimeTooSkewed" => "this machine's clock differs from the server's; set it right",
            "AuthorizationHeaderMalformed" | "PermanentRedirect" | "TemporaryRedirect" => {
                "set `region` to the one the bucket is in"
            }
            "bad_auth_token" | "unauthorized" => "the application key is wrong, or may not do this",
            "bad_bucket_id" => "`bucket_id` is not the bucket's",
            _ if self.status == 401 => "it wants a login, or another one",
            _ if matches!(self.status, 301 | 307 | 308) => "set `region` to the one the bucket is in, or the endpoint",
            _ => return None,
        })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server answered {}", self.status)?;
        if !self.code.is_empty() {
            write!(f, " {}", self.code)?;
        }
        match self.advice() {
            Some(advice) => write!(f, ": {advice}"),
            None if self.message.is_empty() => Ok(()),
            None => write!(f, ": {}", self.message),
        }
    }
}

/// Code and message of an error of Google's (`error.errors[0].reason`) or of B2's (`code`).
fn json_error(json: &Value) -> (Option<&str>, Option<&str>) {
    let error = json.get("error").unwrap_or(json);
    let code = error["errors"][0]["reason"].as_str().or(error["code"].as_str());
    (code, error["message"].as_str())
}

/// The text of the first XML element called `name`.
fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, after) = xml.split_once(&format!("<{name}>"))?;
    Some(after.split_once(&format!("</{name}>"))?.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, code: &str) -> Answer {
        Answer::read(status, None, format!("<Error><Code>{code}</Code></Error>").as_bytes())
    }

    #[test]
    fn every_refusal_becomes_the_kind_that_callers_branch_on() {
        for (meaning, answers) in [
            (Meaning::Absent, [(404, "NoSuchKey"), (404, "BlobNotFound"), (404, "")].as_slice()),
            (Meaning::NoBucket, &[(404, "NoSuchBucket"), (404, "ContainerNotFound")]),
            (Meaning::Taken, &[(412, "PreconditionFailed"), (409, "BlobAlreadyExists"), (412, "")]),
            (
                Meaning::Denied,
                &[(403, "AccessDenied"), (401, ""), (403, "RequestTimeTooSkewed"), (400, "ExpiredToken")],
            ),
            (Meaning::Full, &[(507, "XMinioStorageFull"), (403, "QuotaExceeded"), (507, "")]),
            (
                Meaning::MayPass,
                &[(503, "SlowDown"), (500, ""), (429, ""), (409, "ConditionalRequestConflict"), (522, "")],
            ),
            (
                Meaning::Final,
                &[(301, "PermanentRedirect"), (400, "InvalidArgument"), (501, ""), (409, "SomethingElse")],
            ),
        ] {
            for (status, code) in answers {
                assert_eq!(answer(*status, code).meaning(), meaning, "{status} {code}");
            }
        }
    }

    #[test]
    fn errors_in_json_are_read_as_those_in_xml_are() {
        let google =
            r#"{"error": {"code": 412, "message": "At least one\nS3CRET", "errors": [{"reason": "conditionNotMet"}]}}"#;
        let b2 = |status: u16, code: &str| {
            let text = format!(r#"{{"status": {status}, "code": "{code}", "message": "Says B2"}}"#);
            Answer::read(status, None, text.as_bytes())
        };
        let answer = Answer::read(412, None, google.as_bytes());
        assert_eq!(answer.to_string(), "the server answered 412 conditionNotMet: At least one");
        assert_eq!(answer.meaning(), Meaning::Taken);
        assert_eq!(b2(400, "odd").to_string(), "the server answered 400 odd: Says B2");
        for (meaning, status, code) in [
            (Meaning::MayPass, 401, "expired_auth_token"),
            (Meaning::Denied, 401, "unauthorized"),
            (Meaning::Full, 403, "storage_cap_exceeded"),
            (Meaning::NoBucket, 400, "bad_bucket_id"),
            (Meaning::Absent, 404, "not_found"),
            (Meaning::MayPass, 429, "too_many_requests"),
        ] {
            assert_eq!(b2(status, code).meaning(), meaning, "{code}");
        }
    }

    #[test]
    fn an_answer_says_what_to_do_and_repeats_no_more_than_a_line() {
        let wrong =
            "<Error><Code>SignatureDoesNotMatch</Code><Message>long</Message><StringToSign>S3CRET</StringToSign>";
        assert_eq!(
            Answer::read(403, None, wrong.as_bytes()).to_string(),
            "the server answered 403 SignatureDoesNotMatch: the secret access key is wrong"
        );
        let other = format!("<Error><Code>Odd</Code><Message>{}\nS3CRET</Message></Error>", "x".repeat(1000));
        let said = Answer::read(400, None, other.as_bytes()).to_string();
        assert!(said.starts_with("the server answered 400 Odd: xxx") && said.len() < 300 && !said.contains("S3CRET"));
        assert_eq!(Answer::read(404, Some("BlobNotFound"), b"").code, "BlobNotFound");
        assert_eq!(Answer::read(502, None, b"<html><Code>not a code</Code>").to_string(), "the server answered 502");
    }
}
