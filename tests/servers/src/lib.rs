//! Real servers for tests, each started when the first test asks for it and stopped when the test process ends, however
//! it ends: each script runs until its standard input does.
//!
//! Only for tests: it panics where a test would.

#![expect(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test may panic, and says what it leaves out")]

mod azure;
mod certificates;
mod client;
mod docker;
mod mail;
mod mariadb;
mod metadata;
mod postgres;
mod pouchdb;
mod proxy;
mod redis;
mod s3;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub use azure::AzureServer;
pub use certificates::Certificates;
pub use client::{Client, Meanwhile};
pub use docker::DockerServer;
pub use mail::MailServer;
pub use mariadb::MariadbServer;
pub use metadata::{MetadataService, RoleCredentials};
pub use postgres::PostgresServer;
pub use pouchdb::PouchServer;
pub use proxy::{Hiccup, Line, Proxy};
pub use redis::RedisServer;
pub use s3::S3Server;

/// Ceph's object gateway. `None` where it cannot be started: the caller is left out, and has been named.
pub fn rgw() -> Option<&'static S3Server> {
    static SERVER: OnceLock<Result<S3Server, String>> = OnceLock::new();
    there(SERVER.get_or_init(|| start_rgw(&[])))
}

/// Ceph's object gateway with a role, of which it gives out credentials. `None` as for [`rgw`].
pub fn rgw_with_a_role() -> Option<&'static S3Server> {
    static SERVER: OnceLock<Result<S3Server, String>> = OnceLock::new();
    there(SERVER.get_or_init(|| start_rgw(&["roles"])))
}

fn start_rgw(more: &[&str]) -> Result<S3Server, String> {
    for name in ["radosgw", "ceph-mon", "ceph-osd", "ceph", "curl"] {
        program(name)?;
    }
    let port = free_port();
    let (own, monitor) = (port.to_string(), free_port().to_string());
    let arguments: Vec<&str> = [&*own, &monitor].into_iter().chain(more.iter().copied()).collect();
    let (script, _) = Script::start("rgw.sh", &arguments)?;
    Ok(S3Server::new(port, "AK", "SK", Some(script)))
}

/// s3s-fs, a small S3 server. `None` as for [`rgw`].
pub fn s3s_fs() -> Option<&'static S3Server> {
    static SERVER: OnceLock<Result<S3Server, String>> = OnceLock::new();
    there(SERVER.get_or_init(|| {
        let program = workspace().join("target/tools/bin/s3s-fs");
        if !program.exists() {
            return Err("s3s-fs is not built (./dev setup)".to_owned());
        }
        let port = free_port();
        let (script, _) = Script::start("s3s-fs.sh", &[&port.to_string(), &program.display().to_string()])?;
        Ok(S3Server { lists_for_restic: false, ..S3Server::new(port, "AK", "SKSKSKSK", Some(script)) })
    }))
}

/// Azurite. `None` as for [`rgw`].
pub fn azurite() -> Option<&'static AzureServer> {
    static SERVER: OnceLock<Result<AzureServer, String>> = OnceLock::new();
    there(SERVER.get_or_init(|| AzureServer::start(false)))
}

/// Azurite behind TLS, with a certificate that nobody signed. `None` as for [`rgw`].
pub fn azurite_tls() -> Option<&'static AzureServer> {
    static SERVER: OnceLock<Result<AzureServer, String>> = OnceLock::new();
    there(SERVER.get_or_init(|| AzureServer::start(true)))
}

/// PostgreSQL. `None` as for [`rgw`].
pub fn postgres() -> Option<&'static PostgresServer> {
    static SERVER: OnceLock<Result<PostgresServer, String>> = OnceLock::new();
    there(SERVER.get_or_init(PostgresServer::start))
}

/// PouchDB Server. `None` as for [`rgw`].
pub fn pouchdb() -> Option<&'static PouchServer> {
    static SERVER: OnceLock<Result<PouchServer, String>> = OnceLock::new();
    there(SERVER.get_or_init(PouchServer::start))
}

/// OpenSSH, with one user shut into a folder. `None` as for [`rgw`].
pub fn sftp() -> Option<&'static SftpServer> {
    static SERVER: OnceLock<Result<SftpServer, String>> = OnceLock::new();
    there(SERVER.get_or_init(|| SftpServer::start(free_port())))
}

/// rclone, as a WebDAV server of a folder. `None` as for [`rgw`].
pub fn webdav() -> Option<&'static WebdavServer> {
    static SERVER: OnceLock<Result<WebdavServer, String>> = OnceLock::new();
    there(SERVER.get_or_init(|| {
        program("rclone")?;
        let port = free_port();
        let (script, folder) = Script::start("webdav.sh", &[&port.to_string()])?;
        Ok(WebdavServer { port, folder: folder.into(), _script: script })
    }))
}

/// A Docker engine. `None` as for [`rgw`].
pub fn docker() -> Option<&'static DockerServer> {
    static SERVER: OnceLock<Result<DockerServer, String>> = OnceLock::new();
    there(SERVER.get_or_init(DockerServer::start))
}

/// Podman, which speaks Docker's language. `None` as for [`rgw`].
pub fn podman() -> Option<&'static DockerServer> {
    static SERVER: OnceLock<Result<DockerServer, String>> = OnceLock::new();
    there(SERVER.get_or_init(DockerServer::start_podman))
}

/// MariaDB. `None` as for [`rgw`].
pub fn mariadb() -> Option<&'static MariadbServer> {
    static SERVER: OnceLock<Result<MariadbServer, String>> = OnceLock::new();
    there(SERVER.get_or_init(|| MariadbServer::start(&[])))
}

/// Certificates for a server on `localhost`. `None` as for [`rgw`].
pub fn certificates() -> Option<&'static Certificates> {
    static MADE: OnceLock<Result<Certificates, String>> = OnceLock::new();
    there(MADE.get_or_init(Certificates::make))
}

/// A Redis of the test's own, with these arguments. `None` as for [`rgw`].
pub fn redis(arguments: &[&str]) -> Option<RedisServer> {
    static FOUND: OnceLock<Result<(), String>> = OnceLock::new();
    there(FOUND.get_or_init(RedisServer::is_here))?;
    Some(RedisServer::start(arguments).unwrap())
}

/// A server of e-mail of the test's own. `None` as for [`rgw`].
pub fn mail() -> Option<MailServer> {
    static FOUND: OnceLock<Result<(), String>> = OnceLock::new();
    there(FOUND.get_or_init(MailServer::is_here))?;
    Some(MailServer::start(certificates()?).unwrap())
}

/// The container engines, for a test that has to hold on each. Those that cannot be started are left out as for [`rgw`].
pub fn engines() -> impl Iterator<Item = &'static DockerServer> {
    [docker, podman].into_iter().filter_map(|engine| engine())
}

/// A running WebDAV server.
pub struct WebdavServer {
    /// Its port on this machine.
    pub port: u16,
    /// What it serves, as this machine sees it.
    pub folder: PathBuf,
    _script: Script,
}

impl WebdavServer {
    /// The one user's name.
    pub const USER: &str = "me";
    /// The one user's password.
    pub const PASSWORD: &str = "secret";
}

/// An SFTP server of OpenSSH.
pub struct SftpServer {
    /// Its port on this machine.
    pub port: u16,
    folder: PathBuf,
    _script: Script,
}

impl SftpServer {
    /// The one user's name.
    pub const USER: &str = "nobody";

    /// Starts one, for a test that stops it by dropping it.
    pub fn start(port: u16) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("not run as root".to_owned());
        }
        if !Path::new("/usr/sbin/sshd").exists() {
            return Err("openssh-server is not installed".to_owned());
        }
        for name in ["ssh", "ssh-keygen"] {
            program(name)?;
        }
        let (script, said) = Script::start("sftp.sh", &[&port.to_string()])?;
        Ok(Self { port, folder: PathBuf::from(said), _script: script })
    }

    /// The user's private key.
    pub fn key_file(&self) -> PathBuf {
        self.folder.join("client")
    }

    /// The host's public key.
    pub fn known_hosts_file(&self) -> PathBuf {
        self.folder.join("known_hosts")
    }

    /// The folder that the user is shut into, as this machine sees it.
    pub fn jail(&self) -> PathBuf {
        self.folder.join("jail")
    }

    /// A new path that the user may make a folder at, absolute in the jail. Nothing is there yet.
    pub fn place(&self) -> String {
        format!("/upload/{}", unique())
    }
}

/// A running script. Ends with its standard input, which closes with this or with the process.
struct Script {
    child: Child,
    input: Option<ChildStdin>,
}

impl Script {
    /// Starts a script and waits until it is ready. Gives what it said after the word.
    fn start(name: &str, arguments: &[&str]) -> Result<(Self, String), String> {
        let mut command = Command::new(workspace().join("tests/servers").join(name));
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        let input = child.stdin.take();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(said) = line.strip_prefix("ready") else {
            let mut errors = String::new();
            let _ = child.stderr.take().unwrap().read_to_string(&mut errors);
            let _ = child.wait();
            return Err(format!("{name} did not start: {errors}"));
        };
        Ok((Self { child, input }, said.trim().to_owned()))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.input.take();
        let _ = self.child.wait();
    }
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A word that was not given before, also not by another process.
pub fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// One HTTP request, as it is. Gives status and body.
fn exchange(port: u16, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer)
}

fn there<T>(server: &'static Result<T, String>) -> Option<&'static T> {
    let why = match server {
        Ok(server) => return Some(server),
        Err(why) => why,
    };
    let name = test_name();
    #[expect(clippy::disallowed_methods, reason = "the test suite's own switch")]
    let all = std::env::var_os("LIFEBOAT_TEST_ALL").is_some();
    assert!(!all, "left out: {name}: {why}");
    // Past the test harness, which would keep it to itself.
    let _ = writeln!(std::io::stderr(), "left out: {name}: {why}");
    None
}

fn test_name() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
}

#[expect(clippy::disallowed_methods, reason = "where programs are is not the program's business but the tests'")]
fn program(name: &str) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    if found { Ok(()) } else { Err(format!("{name} is not installed")) }
}

/// The root of the sources.
fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}
