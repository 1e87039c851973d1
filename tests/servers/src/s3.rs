//! An S3 server, and what tests do with it past the program under test.

use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::metadata::RoleCredentials;
use crate::{Script, exchange, unique};

/// A running S3 server.
pub struct S3Server {
    /// Its port on this machine.
    pub port: u16,
    /// The one user's access key id.
    pub access_key: &'static str,
    /// The one user's secret access key.
    pub secret_key: &'static str,
    /// Whether stock restic finds what is in folders. It asks with an empty delimiter, which s3s-fs 0.14 takes for one, so
    /// that it answers with folders alone.
    pub lists_for_restic: bool,
    pub(super) _script: Option<Script>,
}

impl S3Server {
    /// The region that requests are signed for.
    pub const REGION: &str = "us-east-1";

    pub(super) fn new(port: u16, access_key: &'static str, secret_key: &'static str, script: Option<Script>) -> Self {
        Self { port, access_key, secret_key, lists_for_restic: true, _script: script }
    }

    /// The server's address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A new bucket.
    pub fn bucket(&self) -> String {
        let name = unique();
        let (status, answer) = self.request("PUT", &format!("/{name}"), "", b"");
        assert_eq!(status, 200, "{answer}");
        name
    }

    /// A new bucket that keeps old versions of objects.
    pub fn versioned_bucket(&self) -> String {
        let name = self.bucket();
        let xml = b"<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
                    <Status>Enabled</Status></VersioningConfiguration>";
        let (status, answer) = self.request("PUT", &format!("/{name}"), "versioning=", xml);
        assert_eq!(status, 200, "{answer}");
        name
    }

    /// Puts an object, whatever is there.
    pub fn put(&self, bucket: &str, key: &str, body: &[u8]) {
        let (status, answer) = self.request("PUT", &format!("/{bucket}/{}", encoded(key)), "", body);
        assert_eq!(status, 200, "{answer}");
    }

    /// The keys of up to a thousand objects that begin with `prefix`, which must need no percent-encoding but for slashes.
    pub fn keys(&self, bucket: &str, prefix: &str) -> Vec<String> {
        let query = format!("list-type=2&prefix={}", prefix.replace('/', "%2F"));
        let (status, listing) = self.request("GET", &format!("/{bucket}"), &query, b"");
        assert_eq!(status, 200, "{listing}");
        listing.split("<Key>").skip(1).filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned())).collect()
    }

    /// Fresh credentials of the role `host`, from the server's own token service, which only [`crate::rgw_with_a_role`] has. They open
    /// every bucket for a quarter of an hour.
    pub fn role_credentials(&self) -> RoleCredentials {
        let asked = "Action=AssumeRole&DurationSeconds=900&RoleArn=arn%3Aaws%3Aiam%3A%3A%3Arole%2Fhost\
                     &RoleSessionName=lifeboat&Version=2011-06-15";
        let (status, answer) = self.request("POST", "/", "", asked.as_bytes());
        assert_eq!(status, 200, "{answer}");
        let said = |name: &str| {
            let rest = answer.split_once(&format!("<{name}>")).unwrap().1;
            rest.split('<').next().unwrap().to_owned()
        };
        RoleCredentials {
            access_key: said("AccessKeyId"),
            secret_key: said("SecretAccessKey"),
            session_token: said("SessionToken"),
            expires: said("Expiration"),
        }
    }

    /// One signed request; `path` and `query` are percent-encoded already. Gives status and answer.
    pub fn request(&self, method: &str, path: &str, query: &str, body: &[u8]) -> (u16, String) {
        let host = format!("127.0.0.1:{}", self.port);
        #[expect(clippy::disallowed_methods, reason = "a server takes no simulated time")]
        let time = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let day = &time[..8];
        let digest = hex(&Sha256::digest(body));
        let signed = "host;x-amz-content-sha256;x-amz-date";
        let canonical = format!(
            "{method}\n{path}\n{query}\nhost:{host}\nx-amz-content-sha256:{digest}\nx-amz-date:{time}\n\n{signed}\n{digest}"
        );
        let scope = format!("{day}/{}/s3/aws4_request", Self::REGION);
        let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let mut key = format!("AWS4{}", self.secret_key).into_bytes();
        for part in [day, Self::REGION, "s3", "aws4_request"] {
            key = mac(&key, part.as_bytes());
        }
        let signature = hex(&mac(&key, to_sign.as_bytes()));
        let query = if query.is_empty() { String::new() } else { format!("?{query}") };
        let head = format!(
            "{method} {path}{query} HTTP/1.1\r\nhost: {host}\r\nx-amz-date: {time}\r\nx-amz-content-sha256: {digest}\r\n\
             authorization: AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}\r\n\
             content-length: {}\r\nconnection: close\r\n\r\n",
            self.access_key,
            body.len()
        );
        exchange(self.port, &head, body)
    }
}

/// A path with everything encoded but what stands for itself.
pub(super) fn encoded(path: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    path.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

pub(super) fn mac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
