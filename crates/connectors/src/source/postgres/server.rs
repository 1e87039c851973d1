//! The server, and how the tools reach it.

use std::sync::Arc;

use repository::{Cancel, SourceError};
use zeroize::Zeroizing;

use super::DatabaseOptions;
use crate::containers::{Container, Containers};
use crate::program::{Ended, Program, Stage};
use crate::source::server_at::{ServerAt, running};

/// What PostgreSQL calls its first user, where nobody chose another name.
const USER: &str = "postgres";
/// Variables by which images are told the user and the password: the official ones, and those of Bitnami.
const USERS: [&str; 2] = ["POSTGRES_USER", "POSTGRESQL_USERNAME"];
const PASSWORDS: [&str; 4] =
    ["POSTGRES_PASSWORD", "POSTGRESQL_PASSWORD", "POSTGRES_PASSWORD_FILE", "POSTGRESQL_PASSWORD_FILE"];
/// How long a server may take to let somebody in.
const CONNECT_TIMEOUT_S: &str = "30";

/// A server that the tools can be pointed at.
pub struct Server {
    stage: Stage,
    url: Option<String>,
    user: Option<String>,
    password: Option<Zeroizing<String>>,
    /// The folder of its socket, for a server that this process started.
    socket: Option<String>,
    /// Its name, for messages.
    name: String,
}

impl Server {
    /// The server that the options name. A container must run.
    pub fn find(options: &DatabaseOptions, cancel: &Cancel) -> Result<Self, SourceError> {
        let given = options.password.as_ref().map(|password| password());
        let given =
            given.transpose().map_err(|why| SourceError::unavailable(format!("the password cannot be had: {why}")))?;
        match &options.server {
            ServerAt::Url(url) => Ok(Self {
                stage: Stage::Here,
                url: Some(url.clone()),
                user: options.user.clone(),
                password: given,
                socket: None,
                name: "the server".to_owned(),
            }),
            ServerAt::Container(name) => {
                let (containers, container) = running(name, &options.engine, cancel)?;
                Self::in_container(containers, container, options.user.clone(), given, cancel)
            }
        }
    }

    fn in_container(
        containers: Arc<Containers>,
        container: Container,
        user: Option<String>,
        password: Option<Zeroizing<String>>,
        cancel: &Cancel,
    ) -> Result<Self, SourceError> {
        let variables = containers.environment(&container)?;
        let own = |names: &[&str]| names.iter().find_map(|name| variables.get(*name).filter(|value| !value.is_empty()));
        let name = format!("container {}", container.name);
        let user = user.or_else(|| own(&USERS).cloned()).unwrap_or_else(|| USER.to_owned());
        let [plain, bitnami, files @ ..] = PASSWORDS;
        let file = own(&files).cloned();
        let password = password.or_else(|| own(&[plain, bitnami]).cloned().map(Zeroizing::new));
        let stage = Stage::Container { containers, container };
        let password = match (password, file) {
            (None, Some(file)) => Some(read_password(&stage, &file, cancel)?),
            (password, _) => password,
        };
        Ok(Self { stage, url: None, user: Some(user), password, socket: None, name })
    }

    /// One that this process started, which listens in the folder `socket` alone.
    pub fn own(socket: &str, user: &str) -> Self {
        Self {
            stage: Stage::Here,
            url: None,
            user: Some(user.to_owned()),
            password: None,
            socket: Some(socket.to_owned()),
            name: "the scratch server".to_owned(),
        }
    }

    /// Where the tools run.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Its name, for messages.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The user that the tools log in as, for messages.
    pub fn user(&self) -> &str {
        self.user.as_deref().unwrap_or("that is configured")
    }

    /// Runs statements through `psql`, each whatever became of those before it.
    pub fn script(
        &self,
        psql: &Program,
        database: &str,
        statements: &[u8],
        cancel: &Cancel,
    ) -> Result<Ended, SourceError> {
        let psql = psql.clone().args(["-X", "-q", "-v", "VERBOSITY=terse", "--no-password"]).with_input();
        let mut running = self.at(psql, database).start(self.stage(), cancel)?;
        running.write(statements)?;
        running.close_input()?;
        running.wait()
    }

    /// `pg_restore` into a database of this server: it has to be told to use one at all.
    pub fn into(&self, restore: Program, database: &str) -> Program {
        let restore = self.at(restore, database);
        if self.url.is_some() { restore } else { restore.arg(format!("--dbname={database}")) }
    }

    /// A tool that is pointed at a database of this server.
    pub fn at(&self, tool: Program, database: &str) -> Program {
        let mut tool = tool
            .variable("LC_ALL", "C")
            .variable("PGAPPNAME", "lifeboat")
            .variable("PGCONNECT_TIMEOUT", CONNECT_TIMEOUT_S)
            .variable("PGDATABASE", database);
        if let Some(user) = &self.user {
            tool = tool.variable("PGUSER", user);
        }
        if let Some(password) = &self.password {
            tool = tool.variable("PGPASSWORD", password);
        }
        if let Some(socket) = &self.socket {
            tool = tool.variable("PGHOST", socket).variable("PGPORT", OWN_PORT);
        }
        match &self.url {
            // It names no database, so that the variable does.
            Some(url) => tool.arg(format!("--dbname={url}")),
            None => tool,
        }
    }
}

/// The number in the name of an own server's socket; nothing listens on such a port.
pub const OWN_PORT: &str = "5432";

fn read_password(stage: &Stage, file: &str, cancel: &Cancel) -> Result<Zeroizing<String>, SourceError> {
    let (printed, ended) = Program::new("cat").arg(file).run(stage, cancel)?;
    let printed = Zeroizing::new(printed);
    if !ended.is_well() {
        return Err(SourceError::unavailable(format!(
            "the password cannot be read in the container: cat {}",
            ended.told()
        )));
    }
    Ok(Zeroizing::new(String::from_utf8_lossy(printed.trim_ascii_end()).into_owned()))
}
