//! A server for tests, without listening anywhere, and a receiver of notifications that records what it gets.

use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use operations::config::{self, Environment};
use repository::SystemClock;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

use crate::access::{NewToken, Role};
use crate::database::Database;
use crate::runner::Program;
use crate::shared::Shared;
use crate::{api, listen};

/// A server with a stack `a`, its backups every hour, and a daily `prune`. All its runs fail.
pub struct Server {
    folder: tempfile::TempDir,
    pub shared: Arc<Shared>,
}

impl Server {
    /// With these sections of the configuration besides.
    pub fn new(sections: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "version: 1\npassword: x\nstate_dir: {}\ncopies: {{ disk: {{ url: /b }} }}\njobs: {{ prune: {{ schedule: '@daily' }} \
             }}\nstacks: {{ 'a': {{ rpo: 6h, schedule: '@hourly', sources: {{ f: {{ files: {{ paths: [/x] }} }} }} }} \
             }}\n{sections}",
            folder.path().join("state").display()
        );
        std::fs::write(folder.path().join("lifeboat.yaml"), text).unwrap();
        let shared = open(folder.path());
        Self { folder, shared }
    }

    /// The same, started anew.
    pub fn again(self) -> Self {
        Self { shared: open(self.folder.path()), folder: self.folder }
    }

    /// Makes it know that a command said these lines.
    pub fn tell(&self, command: &str, lines: Value) {
        let add = "INSERT OR REPLACE INTO known (name, at, value) VALUES (?1, 0, ?2)";
        self.database().with(|db| db.execute(add, [command, &lines.to_string()])).unwrap();
    }

    /// Its memory, as another process would open it.
    pub fn database(&self) -> Database {
        Database::open(&self.folder.path().join("state/server/server.db")).unwrap()
    }

    /// What it answers to who has a token with `role`, or to nobody in particular.
    pub async fn ask(&self, method: &str, path: &str, role: Option<Role>) -> (StatusCode, String) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(role) = role {
            let new = NewToken { name: "t".to_owned(), role, stacks: None, days: None };
            let (_, secret) = self.shared.tokens.add(&new, "ada", self.shared.clock.now()).unwrap();
            request = request.header("authorization", format!("Bearer {}", secret.text()));
        }
        let answer = api::router(Arc::clone(&self.shared)).oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let status = answer.status();
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }
}

fn open(folder: &std::path::Path) -> Arc<Shared> {
    let settings = config::load(&folder.join("lifeboat.yaml"), &Environment::of([("TZ", "UTC")])).unwrap();
    let program = Program { path: "/bin/false".into(), arguments: Vec::new() };
    listen::open(settings, "host".to_owned(), program, Arc::new(SystemClock)).unwrap()
}

/// What `lifeboat status` says of the stack `a` with these problems.
pub fn status(problems: Value) -> Value {
    json!([{ "message_type": "summary", "stacks": { "a": { "last_backup": "2026-01-01T00:00:00Z", "problems": problems } } }])
}

/// A server that records requests and answers with one status after the other, the last again and again.
pub struct Recorder {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    pub async fn start(statuses: Vec<u16>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let recorder = Self { port: listener.local_addr().unwrap().port(), requests: Arc::default() };
        let requests = Arc::clone(&recorder.requests);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let request = read(&mut stream).await;
                let count = requests.lock().unwrap().len();
                // Before the answer, so that whoever has it finds the request here.
                requests.lock().unwrap().push(request);
                let status = statuses[count.min(statuses.len() - 1)];
                let rest = "Location: /elsewhere\r\nContent-Length: 0\r\nConnection: close";
                stream.write_all(format!("HTTP/1.1 {status} x\r\n{rest}\r\n\r\n").as_bytes()).await.unwrap();
            }
        });
        recorder
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Each whole request.
    pub fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// The bodies, as JSON.
    pub fn bodies(&self) -> Vec<Value> {
        let body = |request: &String| serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
        self.requests().iter().map(body).collect()
    }
}

async fn read(stream: &mut TcpStream) -> String {
    let mut request = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&request).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
        assert!(stream.read_buf(&mut request).await.unwrap() > 0, "{text}");
    }
}
