//! The server, and how its client and its dump tool reach it.

use std::path::{Path, PathBuf};

use repository::{Cancel, SourceError};
use zeroize::Zeroizing;

use super::session::Session;
use super::{DatabaseOptions, PORT};
use crate::program::{Exit, Program, Stage};
use crate::source::server_at::{Address, ServerAt, running};

/// What the client is called: by MariaDB, and by MySQL and older versions of MariaDB.
const CLIENTS: [&str; 2] = ["mariadb", "mysql"];
/// Variables by which images are told the password of `root`, or another user and the password.
const ROOT_PASSWORDS: [&str; 2] = ["MARIADB_ROOT_PASSWORD", "MYSQL_ROOT_PASSWORD"];
const USERS: [(&str, &str); 2] = [("MARIADB_USER", "MARIADB_PASSWORD"), ("MYSQL_USER", "MYSQL_PASSWORD")];
/// How a shell, and an engine, say that there is no such program.
const NO_PROGRAM: [i64; 2] = [126, 127];

/// A server that programs can be pointed at.
pub struct Server {
    stage: Stage,
    /// Else where the client looks by itself.
    address: Option<Address>,
    user: Option<String>,
    password: Option<Zeroizing<String>>,
    /// The folder of the programs, where it is said.
    folder: Option<PathBuf>,
    client: &'static str,
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
                let (named, address) = Address::parse(url, PORT)?;
                let name = format!("the server at {address}");
                let user = user.or(named);
                Self { stage: Stage::Here, address: Some(address), user, password, folder, client: "", name }
            }
            ServerAt::Container(name) => {
                let (containers, container) = running(name, &options.engine, cancel)?;
                let name = format!("the server in container {}", container.name);
                let stage = Stage::Container { containers, container };
                Self { name, stage, address: None, user, password, folder, client: "" }.with_own_login()?
            }
        };
        server.with_client(cancel)
    }

    /// One that this process started, which listens at a socket alone.
    pub fn own(socket: &Path, cancel: &Cancel) -> Result<Self, SourceError> {
        let server = Self {
            stage: Stage::Here,
            address: Some(Address::Unix(socket.to_owned())),
            user: Some("root".to_owned()),
            password: None,
            folder: None,
            client: "",
            name: "the scratch server".to_owned(),
        };
        server.with_client(cancel)
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
            if self.version_of(client, cancel)?.is_some() {
                return Ok(Self { client, ..self });
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

    /// A program that is pointed at this server. What people have set up for programs like it does not count.
    pub fn program(&self, name: &str) -> Program {
        let mut program = self.plain(name).args(["--no-defaults", "--default-character-set=utf8mb4"]);
        match &self.address {
            Some(Address::Tcp { host, port }) => {
                program = program.arg("--protocol=tcp").arg(format!("--host={host}")).arg(format!("--port={port}"));
            }
            Some(Address::Unix(path)) => program = program.arg("--socket").arg(path),
            None => {}
        }
        if let Some(user) = &self.user {
            program = program.arg(format!("--user={user}"));
        }
        match &self.password {
            Some(password) => program.variable("MYSQL_PWD", password),
            None => program,
        }
    }

    /// Its client.
    pub fn client(&self) -> Program {
        self.program(self.client)
    }

    /// A session with it.
    pub fn session(&self, cancel: &Cancel) -> Result<Session, SourceError> {
        Session::begin(self, cancel)
    }
}
