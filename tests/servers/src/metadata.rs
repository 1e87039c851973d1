//! What a cloud tells its own machines: a service on loopback that hands out credentials for the time being, in the words of
//! Amazon's instances and containers and of Azure's machines.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// Credentials of a role, which expire.
pub struct RoleCredentials {
    /// Names the secret.
    pub access_key: String,
    /// The secret.
    pub secret_key: String,
    /// Goes with the two.
    pub session_token: String,
    /// The end of their time, as RFC 3339 writes it.
    pub expires: String,
}

/// A running metadata service.
pub struct MetadataService {
    /// Its port on this machine.
    pub port: u16,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

/// Whose machines it speaks to, and what it gives them.
enum Cloud {
    Amazon(Box<dyn Fn() -> RoleCredentials + Send + Sync>),
    Azure(Box<dyn Fn() -> String + Send + Sync>),
}

struct Shared {
    cloud: Cloud,
    given: Mutex<Vec<String>>,
    ended: Mutex<bool>,
}

/// What callers on Amazon's instances have to fetch first and to send along.
const SESSION: &str = "session-of-an-instance";

impl MetadataService {
    /// What containers have to send along.
    pub const AUTHORIZATION: &str = "secret-of-a-container";
    /// The path that containers are told to ask.
    pub const CONTAINER_PATH: &str = "/of-the-container";
    /// The path of Azure's service.
    pub const AZURE_PATH: &str = "/metadata/identity/oauth2/token";

    /// A service that gives credentials of a role at Amazon's paths.
    pub fn with_role(role: impl Fn() -> RoleCredentials + Send + Sync + 'static) -> Self {
        Self::start(Cloud::Amazon(Box::new(role)))
    }

    /// A service that gives tokens of an identity at Azure's path.
    pub fn with_identity(identity: impl Fn() -> String + Send + Sync + 'static) -> Self {
        Self::start(Cloud::Azure(Box::new(identity)))
    }

    fn start(cloud: Cloud) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { cloud, given: Mutex::default(), ended: Mutex::new(false) });
        let for_listener = shared.clone();
        let listener = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if *for_listener.ended.lock().unwrap() {
                    break;
                }
                if let Ok(stream) = stream {
                    for_listener.answer(stream);
                }
            }
        });
        Self { port, shared, listener: Some(listener) }
    }

    /// The service's address. Its name is another than that of the storages' servers, as in a cloud.
    pub fn endpoint(&self) -> String {
        format!("http://localhost:{}", self.port)
    }

    /// The secrets that were given out so far, in order.
    pub fn given(&self) -> Vec<String> {
        self.shared.given.lock().unwrap().clone()
    }
}

impl Drop for MetadataService {
    fn drop(&mut self) {
        *self.shared.ended.lock().unwrap() = true;
        // Wakes the one who waits for a caller.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

impl Shared {
    fn answer(&self, mut stream: TcpStream) {
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
        let Some(request) = lines.next() else { return };
        let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
        let sent = |name: &str| {
            let header = headers.iter().filter_map(|line| line.split_once(": "));
            header.filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
        };
        let asked = request.split('?').next().and_then(|line| line.split(" HTTP/").next());
        let (status, body) = match (asked, &self.cloud) {
            (Some("PUT /latest/api/token"), Cloud::Amazon(_))
                if sent("x-aws-ec2-metadata-token-ttl-seconds").is_some() =>
            {
                (200, SESSION.to_owned())
            }
            (Some(path), Cloud::Amazon(role))
                if path.starts_with("GET /latest/meta-data/iam/security-credentials/") =>
            {
                match (sent("x-aws-ec2-metadata-token"), path.rsplit('/').next()) {
                    (Some(SESSION), Some("")) => (200, "host".to_owned()),
                    (Some(SESSION), Some("host")) => (200, self.role(role())),
                    (Some(SESSION), _) => (404, String::new()),
                    _ => (401, String::new()),
                }
            }
            (Some("GET /of-the-container"), Cloud::Amazon(role)) => match sent("authorization") {
                Some(MetadataService::AUTHORIZATION) => (200, self.role(role())),
                _ => (401, String::new()),
            },
            (Some("GET /metadata/identity/oauth2/token"), Cloud::Azure(identity))
                if sent("metadata") == Some("true") =>
            {
                (200, self.token(identity()))
            }
            _ => (404, String::new()),
        };
        let head = format!("HTTP/1.1 {status} .\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        let _ = stream.write_all(format!("{head}{body}").as_bytes());
    }

    fn role(&self, given: RoleCredentials) -> String {
        self.given.lock().unwrap().extend([given.secret_key.clone(), given.session_token.clone()]);
        serde_json::json!({
            "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z", "AccessKeyId": given.access_key,
            "SecretAccessKey": given.secret_key, "Token": given.session_token, "Expiration": given.expires,
        })
        .to_string()
    }

    fn token(&self, token: String) -> String {
        self.given.lock().unwrap().push(token.clone());
        serde_json::json!({ "access_token": token, "expires_on": "", "token_type": "Bearer" }).to_string()
    }
}
