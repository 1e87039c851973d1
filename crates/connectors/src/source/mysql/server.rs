//! The server, and how its client and its dump tool reach it.

use std::path::{Path, PathBuf};

use repository::{Cancel, SourceError};
use zeroize::Zeroizing;

use super::session::Session;
use super::tools::{DumpTool, Kind, Version};
use super::{DatabaseOptions, PORT};
use crate::program::{Exit, Program, Stage};
use crate::source::server_at::{Address, ServerAt, ServerUrl, running};
use crate::source::server_tls::{ServerTls, TlsMode};

/// What the client is called: by MariaDB, and by MySQL and older versions of MariaDB.
const CLIENTS: [&str; 2] = ["mariadb", "mysql"];
/// Variables by which images are told the password of `root`, or another user and the password.
const ROOT_PASSWORDS: [&str; 2] = ["MARIADB_ROOT_PASSWORD", "MYSQL_ROOT_PASSWORD"];
const USERS: [(&str, &str); 2] = [("MARIADB_USER", "MARIADB_PASSWORD"), ("MYSQL_USER", "MYSQL_PASSWORD")];
/// What each session begins with, since a server may be set up otherwise, and then answers in other quotes, gives only some of the
/// rows, or gives up on a long question. One statement: no tool takes two. How many rows the server would have given is kept. Who
/// may make accounts makes none by mistake (`NO_AUTO_CREATE_USER`, which MySQL 8 does not know any more). A server waits for
/// whoever takes its rows as long as tools of MySQL 8 ask for by themselves (`--network-timeout`): a dump is taken when it is its
/// turn. Who has locked a table is waited for no longer than [`LOCK_PATIENCE_S`].
const BEGINNING: &str = "SET @lifeboat_rows_max=@@SESSION.sql_select_limit, SESSION sql_select_limit=18446744073709551615, \
     SESSION sql_mode=CONCAT('' /*M!100000 , 'NO_AUTO_CREATE_USER'*/), SESSION sql_quote_show_create=1, \
     SESSION net_write_timeout=86400, SESSION lock_wait_timeout=";
/// What only one of the kinds knows of that.
const BEGINNING_BY_KIND: &str = "/*M!100101 , SESSION max_statement_time=0*/ /*!50708 , SESSION max_execution_time=0*/";
/// How long a table may be locked by somebody else before we give up, seconds: as long as for PostgreSQL.
pub const LOCK_PATIENCE_S: u32 = if cfg!(test) { 12 } else { 300 };
/// Since then the tools of MariaDB take what else is to be said to a server with its name (mariadb.com/kb/en/mariadb_connect:
/// Connector/C 3.3).
const TAKES_COMMANDS: Version = [10, 11, 0];
/// How a shell, and an engine, say that there is no such program.
const NO_PROGRAM: [i64; 2] = [126, 127];

/// A server that programs can be pointed at.
pub struct Server {
    stage: Stage,
    /// Else where the client looks by itself.
    address: Option<Address>,
    tls: ServerTls,
    user: Option<String>,
    password: Option<Zeroizing<String>>,
    /// The folder of the programs, where it is said.
    folder: Option<PathBuf>,
    client: &'static str,
    /// Of which kind its client is.
    client_kind: Kind,
    /// Its name, for messages.
    name: String,
}

impl Server {
    /// The server that the options name. A container must run.
    pub fn find(options: &DatabaseOptions, cancel: &Cancel) -> Result<Self, SourceError> {
        let password = options.password.as_ref().map(|password| password()).transpose();
        let password =
            password.map_err(|why| SourceError::unavailable(format!("the password cannot be had: {why}")))?;
        let (user, folder) = (options.user.clone(), options.tools.clone());
        let server = match &options.server {
            ServerAt::Url(url) => {
                let ServerUrl { user: named, address, tls, .. } = ServerUrl::parse(url, PORT)?;
                let name = format!("the server at {address}");
                Self { address: Some(address), tls, user: user.or(named), ..Self::at(Stage::Here, name) }
            }
            ServerAt::Container(name) => {
                let (containers, container) = running(name, &options.engine, cancel)?;
                let name = format!("the server in container {}", container.name);
                let stage = Stage::Container { containers, container };
                Self { user, password: password.clone(), ..Self::at(stage, name) }.with_own_login()?
            }
        };
        let password = server.password.clone().or(password);
        Self { folder, password, ..server }.with_client(cancel)
    }

    /// One of which nothing is known but where its programs run.
    fn at(stage: Stage, name: String) -> Self {
        let (client, client_kind) = ("", Kind::Mariadb);
        let tls = ServerTls::default();
        Self { stage, address: None, tls, user: None, password: None, folder: None, client, client_kind, name }
    }

    /// One that this process started, which listens at a socket alone.
    pub fn own(socket: &Path, cancel: &Cancel) -> Result<Self, SourceError> {
        let address = Some(Address::Unix(socket.to_owned()));
        let server = Self::at(Stage::Here, "the scratch server".to_owned());
        Self { address, user: Some("root".to_owned()), ..server }.with_client(cancel)
    }

    /// What the container knows of who may log in, where that is not said.
    fn with_own_login(self) -> Result<Self, SourceError> {
        let Stage::Container { containers, container } = &self.stage else { return Ok(self) };
        let variables = containers.environment(container)?;
        let own = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
        let root = ROOT_PASSWORDS.iter().find_map(|name| own(name)).map(|password| ("root".to_owned(), password));
        let found = root.or_else(|| USERS.iter().find_map(|(user, password)| Some((own(user)?, own(password)?))));
        match found {
            Some((user, password)) if self.user.is_none() && self.password.is_none() => {
                Ok(Self { user: Some(user), password: Some(Zeroizing::new(password)), ..self })
            }
            _ => Ok(self),
        }
    }

    fn with_client(self, cancel: &Cancel) -> Result<Self, SourceError> {
        for client in CLIENTS {
            if let Some(said) = self.version_of(client, cancel)? {
                return Ok(Self { client, client_kind: Kind::of(&said), ..self });
            }
        }
        let what = match self.stage {
            Stage::Here => "no client of MariaDB or MySQL is installed here; install mariadb-client, or name `tools`",
            Stage::Container { .. } => "there is no client of MariaDB or MySQL in the container",
        };
        Err(SourceError::unavailable(format!("{}: {what}", self.name)))
    }

    /// What a program says when it is asked for its version. `None` where there is no such program.
    pub fn version_of(&self, program: &str, cancel: &Cancel) -> Result<Option<String>, SourceError> {
        let (printed, ended) = match self.plain(program).arg("--version").run(&self.stage, cancel) {
            Err(SourceError::Unavailable { .. }) if matches!(self.stage, Stage::Here) => return Ok(None),
            ran => ran?,
        };
        if matches!(ended.exit, Exit::Code(code) if NO_PROGRAM.contains(&code)) {
            return Ok(None);
        }
        Ok(Some(String::from_utf8_lossy(&printed).trim().to_owned()))
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its programs run.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    fn plain(&self, program: &str) -> Program {
        match &self.folder {
            Some(folder) => Program::new(folder.join(program)),
            None => Program::new(program),
        }
    }

    /// A program of this kind that is pointed at this server, by its name and what `host` makes of it.
    fn program(&self, name: &str, kind: Kind, host: impl FnOnce(Option<&str>) -> Option<String>) -> Program {
        let mut program = self.plain(name).args(["--no-defaults", "--default-character-set=utf8mb4"]);
        let host = match &self.address {
            Some(Address::Tcp { host: name, port }) => {
                program = program.arg("--protocol=tcp").arg(format!("--port={port}"));
                host(Some(name))
            }
            Some(Address::Unix(path)) => {
                program = program.arg("--protocol=socket").arg("--socket").arg(path);
                host(None)
            }
            None => host(None),
        };
        program = program.args(host.map(|host| format!("--host={host}"))).args(tls_words(&self.tls, kind));
        if let Some(user) = &self.user {
            program = program.arg(format!("--user={user}"));
        }
        match &self.password {
            Some(password) => program.variable("MYSQL_PWD", password),
            None => program,
        }
    }

    /// Its client. What people have set up for it does not count.
    pub fn client(&self) -> Program {
        let client = self.program(self.client, self.client_kind, |host| host.map(str::to_owned));
        client.arg(format!("--init-command={}", beginning()))
    }

    /// Its dump tool, which begins its session as we do ours where it [can be told](tells).
    pub fn dump_tool(&self, tool: &DumpTool) -> Program {
        self.program(tool.name, tool.kind, |host| match tells(tool) {
            true => Some(with_beginning(host)),
            false => host.map(str::to_owned),
        })
    }

    /// Whether the line must be seen to be encrypted.
    pub fn needs_tls(&self) -> bool {
        self.tls.is_needed()
    }

    /// A session with it.
    pub fn session(&self, cancel: &Cancel) -> Result<Session, SourceError> {
        Session::begin(self, cancel)
    }
}

/// Whether a dump tool can be told what to say to the server before anything else.
pub fn tells(tool: &DumpTool) -> bool {
    tool.kind == Kind::Mariadb && tool.version >= TAKES_COMMANDS
}

fn beginning() -> String {
    format!("{BEGINNING}{LOCK_PATIENCE_S} {BEGINNING_BY_KIND}")
}

/// The name of a host with what else is to be said to its server.
fn with_beginning(host: Option<&str>) -> String {
    // In braces, nothing but these has a meaning.
    let host = host.map_or(String::new(), |host| format!("host={{{}}};", host.replace('}', "}}")));
    format!("{host}init-command={{{}}}", beginning())
}

/// What tools of this kind are told of the encryption. Those of MariaDB cannot look at who signed a certificate without looking
/// at whose it is; so they look at both.
fn tls_words(tls: &ServerTls, kind: Kind) -> Vec<String> {
    let file = |name: &str, path: &Option<PathBuf>| path.as_ref().map(|path| format!("--{name}={}", path.display()));
    let mode: &[&str] = match (kind, tls.mode) {
        (_, None) => &[],
        (Kind::Mysql, Some(TlsMode::Disabled)) => &["--ssl-mode=DISABLED"],
        (Kind::Mysql, Some(TlsMode::Preferred)) => &["--ssl-mode=PREFERRED"],
        (Kind::Mysql, Some(TlsMode::Required)) => &["--ssl-mode=REQUIRED"],
        (Kind::Mysql, Some(TlsMode::VerifyCa)) => &["--ssl-mode=VERIFY_CA"],
        (Kind::Mysql, Some(TlsMode::VerifyIdentity)) => &["--ssl-mode=VERIFY_IDENTITY"],
        (Kind::Mariadb, Some(TlsMode::Disabled)) => &["--skip-ssl"],
        (Kind::Mariadb, Some(TlsMode::Preferred | TlsMode::Required)) => &["--ssl", "--skip-ssl-verify-server-cert"],
        (Kind::Mariadb, Some(TlsMode::VerifyCa | TlsMode::VerifyIdentity)) => &["--ssl", "--ssl-verify-server-cert"],
    };
    let files = [("ssl-ca", &tls.ca_file), ("ssl-cert", &tls.cert_file), ("ssl-key", &tls.key_file)];
    let files = files.into_iter().filter_map(|(name, path)| file(name, path));
    mode.iter().map(|word| (*word).to_owned()).chain(files).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_tools_is_told_of_the_encryption_in_its_own_words() {
        let words = |query: &str, kind| tls_words(&ServerTls::parse(query).unwrap(), kind).join(" ");
        assert_eq!(words("", Kind::Mysql), "");
        assert_eq!(words("ssl=true", Kind::Mysql), "--ssl-mode=REQUIRED");
        assert_eq!(words("ssl=true", Kind::Mariadb), "--ssl --skip-ssl-verify-server-cert");
        assert_eq!(words("ssl=false", Kind::Mariadb), "--skip-ssl");
        let verified = "ssl-mode=VERIFY_CA&ssl-ca=/ca.pem&ssl-cert=/c.pem&ssl-key=/k.pem";
        let files = "--ssl-ca=/ca.pem --ssl-cert=/c.pem --ssl-key=/k.pem";
        assert_eq!(words(verified, Kind::Mysql), format!("--ssl-mode=VERIFY_CA {files}"));
        assert_eq!(words(verified, Kind::Mariadb), format!("--ssl --ssl-verify-server-cert {files}"));
    }

    #[test]
    fn what_a_server_is_told_goes_with_its_name() {
        let beginning = beginning();
        assert!(!beginning.contains(['{', '}', ';']), "it would end there: {beginning}");
        assert_eq!(with_beginning(None), format!("init-command={{{beginning}}}"));
        assert_eq!(with_beginning(Some("d}b")), format!("host={{d}}}}b}};init-command={{{beginning}}}"));
    }
}
