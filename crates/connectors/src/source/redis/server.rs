//! The server that is captured: reached by its port or socket, or in its container by the `redis-cli` that is there.

use std::collections::BTreeMap;

use repository::{Cancel, SourceError};
use zeroize::Zeroizing;

use super::cluster;
use super::line::Place;
use super::link::Link;
use super::rdb::Keys;
use super::resp::{Connection, Reply};
use super::tail::{MARK_BYTES, Tail};
use crate::program::{Ended, Program, Running, Stage};
use crate::source::output::{Origin, Output, Proof};

/// The client, which images of the server bring along.
const CLIENT: &str = "redis-cli";
/// Variables of containers that hold the password, in well-known images.
const PASSWORD_VARIABLES: [&str; 3] = ["REDISCLI_AUTH", "REDIS_PASSWORD", "VALKEY_PASSWORD"];

/// Who asks, and what for.
#[derive(Clone, Default)]
pub struct Login {
    /// The user; the server's default one where there is none.
    pub user: Option<String>,
    /// The password; none is asked for where there is none.
    pub password: Option<Zeroizing<String>>,
    /// What the user must be allowed to do.
    pub purpose: Purpose,
}

/// What a server is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Its dump.
    #[default]
    Backup,
    /// To take what is in a snapshot.
    Restore,
}

impl Login {
    /// How the user is allowed what is asked for.
    pub fn hint(&self) -> String {
        let user = self.user.as_deref().unwrap_or("default");
        match self.purpose {
            Purpose::Backup => {
                format!("let the user make backups: ACL SETUSER {user} +psync +replconf +info +acl|list")
            }
            // Before version 7, there are no functions, and who allows some is refused.
            Purpose::Restore => format!(
                "let the user restore: ACL SETUSER {user} ~* +select +info +time +echo +restore +acl|list, and from Redis 7 on \
                 +function|load"
            ),
        }
    }
}

/// A server.
pub enum Server {
    /// One that listens for us.
    At {
        /// Where.
        place: Place,
        /// Who asks.
        login: Login,
    },
    /// One in a container.
    In {
        /// The container.
        stage: Stage,
        /// Who asks.
        login: Login,
        /// Where it listens in its container, where that is not the usual port.
        port: Option<String>,
    },
}

/// The users that a server has.
#[derive(Debug, PartialEq, Eq)]
pub enum Users {
    /// Each as a line of its own, with hashed passwords.
    Known(Vec<String>),
    /// It is too old to have any.
    None,
    /// It does not tell, in words.
    Untold(String),
}

impl Server {
    /// A server in a container, with what its container says of it where the login does not.
    pub fn in_container(
        stage: Stage,
        mut login: Login,
        variables: &BTreeMap<String, String>,
        words: &[String],
    ) -> Self {
        let after = |name: &str| words.iter().skip_while(|word| *word != name).nth(1).cloned();
        if login.password.is_none() {
            let of_variables = PASSWORD_VARIABLES.iter().find_map(|name| variables.get(*name)).cloned();
            let found = after("--requirepass").or(of_variables).filter(|password| !password.is_empty());
            login.password = found.map(Zeroizing::new);
        }
        Self::In { stage, login, port: after("--port") }
    }

    /// What it says of itself.
    pub fn info(&self, cancel: &Cancel) -> Result<BTreeMap<String, String>, SourceError> {
        let text = match self.ask(&["INFO"], cancel)? {
            Reply::Text(text) => text,
            Reply::Error(error) => return Err(self.refused(&error)),
            _ => {
                return Err(SourceError::unavailable(format!(
                    "{}: it says nothing of itself; is it a Redis?",
                    self.what()
                )));
            }
        };
        Ok(pairs(&String::from_utf8_lossy(&text)))
    }

    /// What of a cluster it lacks, in words, where it is a node of one that has others: a dump has the keys of one node alone.
    pub fn lacks_of_cluster(
        &self,
        info: &BTreeMap<String, String>,
        cancel: &Cancel,
    ) -> Result<Option<String>, SourceError> {
        if info.get("cluster_enabled").is_none_or(|enabled| enabled != "1") {
            return Ok(None);
        }
        let slots = match self.ask(&["CLUSTER", "NODES"], cancel)? {
            Reply::Text(text) => cluster::own_slots(&String::from_utf8_lossy(&text)),
            _ => None,
        };
        Ok(match slots {
            Some(cluster::SLOTS) => None,
            Some(slots) => Some(format!("it is a node of a cluster and has {slots} of its {} slots", cluster::SLOTS)),
            None => Some("it is a node of a cluster and does not tell which slots it has".to_owned()),
        })
    }

    /// Its users.
    pub fn users(&self, cancel: &Cancel) -> Result<Users, SourceError> {
        let lines: Vec<_> = match self.ask(&["ACL", "LIST"], cancel)? {
            Reply::Error(error) if error.contains("unknown command") => return Ok(Users::None),
            Reply::Error(error) => return Ok(Users::Untold(error)),
            Reply::List(list) => list
                .into_iter()
                .filter_map(|reply| match reply {
                    Reply::Text(text) => String::from_utf8(text).ok(),
                    _ => None,
                })
                .collect(),
            Reply::Text(text) => String::from_utf8_lossy(&text).lines().map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let is_user = |line: &String| line.starts_with("user ");
        match lines.iter().find(|line| !is_user(line)) {
            Some(odd) => Ok(Users::Untold(format!("it answers: {odd}"))),
            None => Ok(Users::Known(lines)),
        }
    }

    /// Its dump, and of which history of changes it is a state, where that is known.
    pub fn dump(
        &self,
        proof: impl Proof + 'static,
        cancel: &Cancel,
    ) -> Result<(Output, Option<(String, u64)>), SourceError> {
        let what = self.what();
        match self {
            Self::At { place, login } => {
                let link = Link::follow(place, login, cancel)?;
                let position = link.position.clone();
                Ok((Output::of(what, proof, cancel, link), position))
            }
            Self::In { stage, .. } => {
                let running = self.client().args(["--rdb", "-"]).start(stage, cancel)?;
                let printed = Printed { running, tail: Tail::default(), has_ended: false };
                Ok((Output::of(what, proof, cancel, printed), None))
            }
        }
    }

    fn ask(&self, words: &[&str], cancel: &Cancel) -> Result<Reply, SourceError> {
        match self {
            Self::At { place, login } => connect(place, login, cancel)?.ask(words),
            Self::In { stage, .. } => {
                let (printed, ended) = self.client().args(words.iter().copied()).run(stage, cancel)?;
                let text = String::from_utf8_lossy(&printed).trim_end().to_owned();
                // Errors are printed like answers.
                let is_error = text
                    .split(' ')
                    .next()
                    .is_some_and(|word| word.len() > 2 && word.bytes().all(|byte| byte.is_ascii_uppercase()));
                match ended.is_well() {
                    true if !is_error => Ok(Reply::Text(text.into_bytes())),
                    _ if is_error => Ok(Reply::Error(text)),
                    _ => Err(SourceError::unavailable(format!("{} {}", self.what(), ended.told()))),
                }
            }
        }
    }

    /// Its client in its container.
    pub fn client(&self) -> Program {
        let mut client = Program::new(CLIENT);
        if let Self::In { login, port, .. } = self {
            if let Some(user) = &login.user {
                client = client.args(["--user", user.as_str()]);
            }
            if let Some(port) = port {
                client = client.args(["-p", port.as_str()]);
            }
            if let Some(password) = &login.password {
                client = client.variable("REDISCLI_AUTH", password);
            }
        }
        client
    }

    /// The time by its clock, in milliseconds since 1970.
    pub fn time(&self, cancel: &Cancel) -> Result<u64, SourceError> {
        let text = |reply: Reply| match reply {
            Reply::Text(text) => String::from_utf8_lossy(&text).into_owned(),
            _ => String::new(),
        };
        let said = match self.ask(&["TIME"], cancel)? {
            Reply::List(list) => list.into_iter().map(text).collect::<Vec<_>>().join("\n"),
            Reply::Error(error) => return Err(self.refused(&error)),
            other => text(other),
        };
        let mut numbers = said.lines().map_while(|line| line.trim().parse::<u64>().ok());
        match (numbers.next(), numbers.next()) {
            (Some(seconds), Some(microseconds)) => Ok(seconds.saturating_mul(1000) + microseconds / 1000),
            _ => Err(SourceError::unavailable(format!("{} does not tell the time", self.what()))),
        }
    }

    /// Sees to it that it has a database of this number.
    pub fn select(&self, number: &str, cancel: &Cancel) -> Result<(), SourceError> {
        match self.ask(&["SELECT", number], cancel)? {
            Reply::Error(error) if !error.starts_with("ERR ") => Err(self.refused(&error)),
            Reply::Error(error) => {
                Err(SourceError::unavailable(format!("{} has no database {number} for us: {error}", self.what())))
            }
            _ => Ok(()),
        }
    }

    /// How many keys each of its databases has.
    pub fn databases(&self, cancel: &Cancel) -> Result<BTreeMap<u64, Keys>, SourceError> {
        Ok(self.info(cancel)?.iter().filter_map(|(name, values)| database(name, values)).collect())
    }

    /// What it is, for messages.
    pub fn what(&self) -> String {
        match self {
            Self::At { place, .. } => format!("Redis at {place}"),
            Self::In { stage: Stage::Container { container, .. }, .. } => {
                format!("{CLIENT} in container {}", container.name)
            }
            Self::In { .. } => CLIENT.to_owned(),
        }
    }

    /// Who asks, and what for.
    pub fn login(&self) -> &Login {
        let (Self::At { login, .. } | Self::In { login, .. }) = self;
        login
    }

    fn refused(&self, error: &str) -> SourceError {
        refused(&self.what(), self.login(), error)
    }
}

/// What `redis-cli --rdb -` prints. It prints the mark that the server ends the dump with as well, and words about how it gets
/// on, which are not passed on where all went well.
struct Printed {
    running: Running,
    tail: Tail,
    has_ended: bool,
}

impl Origin for Printed {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, SourceError> {
        while !self.has_ended {
            let length = self.tail.give(buffer);
            if length > 0 {
                return Ok(length);
            }
            self.has_ended = self.tail.fill(|room| self.running.read(room))? == 0;
        }
        // A dump without a mark ends with a byte of ones and a checksum.
        let is_mark = self.tail.held().len() == MARK_BYTES && self.tail.held().iter().all(u8::is_ascii_hexdigit);
        Ok(if is_mark { 0 } else { self.tail.give_rest(buffer) })
    }

    fn wait(&mut self) -> Result<Ended, SourceError> {
        let mut ended = self.running.wait()?;
        if ended.is_well() {
            ended.said.clear();
        }
        Ok(ended)
    }
}

/// A connection, on which it was said who asks.
pub fn connect(place: &Place, login: &Login, cancel: &Cancel) -> Result<Connection, SourceError> {
    let mut connection = Connection::open(place, cancel)?;
    log_in(&mut connection, login)?;
    Ok(connection)
}

/// Says who asks, where a password is given.
fn log_in(connection: &mut Connection, login: &Login) -> Result<(), SourceError> {
    let Some(password) = &login.password else { return Ok(()) };
    let answer = match &login.user {
        Some(user) => connection.ask(&["AUTH", user, password])?,
        None => connection.ask(&["AUTH", password])?,
    };
    match answer {
        Reply::Error(error) if error.contains("no password is set") || error.contains("without any password") => Ok(()),
        Reply::Error(error) => Err(refused(connection.what(), login, &error)),
        _ => Ok(()),
    }
}

/// What a server says to a wish that it does not grant, and what to do.
pub fn refused(what: &str, login: &Login, error: &str) -> SourceError {
    let hint = match error.split(' ').next().unwrap_or_default() {
        "NOAUTH" => "give its password: `password_file`".to_owned(),
        "WRONGPASS" => "see whether `user` and `password_file` are right".to_owned(),
        "NOPERM" => login.hint(),
        "LOADING" => "it still loads its data; try again when it has".to_owned(),
        "MASTERDOWN" | "NOMASTERLINK" => match login.purpose {
            Purpose::Backup => "it is a replica that has lost its master; back up the master".to_owned(),
            Purpose::Restore => "it is a replica that has lost its master; restore into the master".to_owned(),
        },
        _ if error.contains("unknown command") && login.purpose == Purpose::Backup => {
            "it gives nobody a dump, as some providers have it; use what the provider has for backups".to_owned()
        }
        _ => "see its log".to_owned(),
    };
    SourceError::unavailable(format!("{what} refuses: {error}; {hint}"))
}

/// What `INFO` says of a database: `db0`, and `keys=3,expires=1,avg_ttl=0`.
pub fn database(name: &str, values: &str) -> Option<(u64, Keys)> {
    let value = |name: &str| {
        values.split(',').find_map(|value| value.strip_prefix(name)?.strip_prefix('=')?.parse::<u64>().ok())
    };
    Some((name.strip_prefix("db")?.parse().ok()?, Keys { keys: value("keys")?, expiring: value("expires")? }))
}

/// What stands in lines like `name:value`.
pub fn pairs(text: &str) -> BTreeMap<String, String> {
    let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    text.lines().filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_tells_its_own_password_and_port_and_none_is_shown() {
        let words = ["redis-server", "--requirepass", "secret", "--port", "7000"].map(str::to_owned);
        let server = Server::in_container(Stage::Here, Login::default(), &BTreeMap::new(), &words);
        let Server::In { login, port, .. } = &server else { panic!() };
        assert_eq!(login.password.as_ref().map(|password| password.as_str()), Some("secret"));
        assert_eq!(port.as_deref(), Some("7000"));
        let shown = format!("{:?}", server.client());
        assert!(!shown.contains("secret"), "{shown}");
        let variables = BTreeMap::from([("REDIS_PASSWORD".to_owned(), "other".to_owned())]);
        let given = Login { password: Some(Zeroizing::new("given".to_owned())), ..Login::default() };
        let Server::In { login, .. } = Server::in_container(Stage::Here, given, &variables, &[]) else { panic!() };
        assert_eq!(login.password.as_ref().map(|password| password.as_str()), Some("given"));
    }

    #[test]
    fn what_a_server_says_of_its_databases_is_read() {
        let keys = Keys { keys: 3, expiring: 1 };
        let info = pairs("# Keyspace\r\ndb10:keys=3,expires=1,avg_ttl=0,subexpiry=0\r\n");
        assert_eq!(info.iter().filter_map(|(name, values)| database(name, values)).collect::<Vec<_>>(), [(10, keys)]);
        assert_eq!(database("db0", "keys=x,expires=1"), None);
    }

    #[test]
    fn every_refusal_says_what_to_do() {
        let said = |error: &str| refused("Redis at here:1", &Login::default(), error).to_string();
        let expected = "Redis at here:1 refuses: NOAUTH Authentication required.; give its password: `password_file`";
        assert_eq!(said("NOAUTH Authentication required."), expected);
        assert!(said("NOPERM no").ends_with("ACL SETUSER default +psync +replconf +info +acl|list"));
        assert!(said("ERR unknown command 'PSYNC'").contains("some providers"));
        assert!(said("ERR something").ends_with("see its log"));
        let restorer = Login { user: Some("me".to_owned()), purpose: Purpose::Restore, ..Login::default() };
        let said = |error: &str| refused("Redis at here:1", &restorer, error).to_string();
        assert!(said("NOPERM no").contains("let the user restore: ACL SETUSER me ~* +select +info +time"));
        assert!(said("MASTERDOWN Link").ends_with("restore into the master"));
        assert!(said("ERR unknown command 'TIME'").ends_with("see its log"));
    }
}
