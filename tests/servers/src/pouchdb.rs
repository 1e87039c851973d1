//! A server that speaks CouchDB's HTTP protocol, and what tests do with it past the program under test.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::{Script, exchange, free_port, program, unique, workspace};

/// A running PouchDB Server.
pub struct PouchServer {
    /// Its port on this machine.
    pub port: u16,
    _script: Script,
}

impl PouchServer {
    /// The one user's name.
    pub const USER: &str = "me";
    /// The one user's password.
    pub const PASSWORD: &str = "secret";

    pub(super) fn start() -> Result<Self, String> {
        program("node")?;
        program("curl")?;
        let main = workspace().join("target/tools/pouchdb-server/node_modules/pouchdb-server/bin/pouchdb-server");
        let main = main.canonicalize().map_err(|_| "pouchdb-server is not installed (./dev setup)".to_owned())?;
        let port = free_port();
        let (script, _) = Script::start("pouchdb.sh", &[&port.to_string(), &main.display().to_string()])?;
        Ok(Self { port, _script: script })
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A new database that nobody but the user may read.
    pub fn database(&self) -> String {
        let name = unique();
        let (status, answer) = self.request("PUT", &name, None);
        assert_eq!(status, 201, "{answer}");
        let names = json!({ "names": [Self::USER], "roles": [] });
        let security = json!({ "admins": names, "members": names });
        assert_eq!(self.request("PUT", &format!("{name}/_security"), Some(&security)).0, 200);
        name
    }

    /// One request of the user, with a JSON body. Gives status and answer.
    pub fn request(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let body = body.map(Value::to_string).unwrap_or_default();
        let account = STANDARD.encode(format!("{}:{}", Self::USER, Self::PASSWORD));
        // HTTP/1.0, so that the answer comes in one piece.
        let head = format!(
            "{method} /{path} HTTP/1.0\r\nhost: 127.0.0.1:{}\r\naccept: application/json\r\n\
             authorization: Basic {account}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.port,
            body.len()
        );
        let (status, answer) = exchange(self.port, &head, body.as_bytes());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (status, serde_json::from_str(body).unwrap_or_default())
    }
}
