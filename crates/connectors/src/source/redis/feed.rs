//! Commands on their way into a server, many before the first answer is waited for; by a connection, or through `redis-cli` in
//! the server's container.

use std::collections::{BTreeMap, VecDeque};

use repository::{Cancel, SourceError};

use super::resp::{Connection, Reply};
use super::server::{Server, connect};
use crate::program::Running;

/// Commands, and bytes of them, that are sent before their answers are read: few enough that a server never waits for us.
const COMMANDS_MAX: usize = 256;
const BYTES_MAX: usize = 4 << 20;
/// What a server says of one key, or library of functions, that it does not take, whatever it does with others.
const OF_ONE: [&str; 3] = ["BUSYKEY", "Bad data format", "already exists"];
/// What `redis-cli` says at the end of all, besides errors.
const PRINTED_BYTES: usize = 4 << 10;

/// Commands on their way.
pub struct Feed {
    way: Way,
    /// What the server is called, for messages.
    what: String,
    /// What to do where the user may not.
    how_to_allow: String,
    /// What the commands are about whose answers were not read.
    asked: VecDeque<String>,
    bytes: usize,
    refused: BTreeMap<String, (u64, String)>,
}

enum Way {
    Connection(Connection),
    Client(Running),
}

impl Feed {
    /// Into this server.
    pub fn open(server: &Server, cancel: &Cancel) -> Result<Self, SourceError> {
        let way = match server {
            Server::At { place, login } => Way::Connection(connect(place, login, cancel)?),
            Server::In { stage, .. } => Way::Client(server.client().arg("--pipe").with_input().start(stage, cancel)?),
        };
        let (what, how_to_allow) = (server.what(), server.login().hint());
        Ok(Self { way, what, how_to_allow, asked: VecDeque::new(), bytes: 0, refused: BTreeMap::new() })
    }

    /// Begins a command of so many words, which is about `what`.
    pub fn command(&mut self, words: usize, what: String) -> Result<(), SourceError> {
        if self.asked.len() >= COMMANDS_MAX || self.bytes > BYTES_MAX {
            self.settle()?;
        }
        self.asked.push_back(what);
        self.bytes(format!("*{words}\r\n").as_bytes())
    }

    /// A word of it.
    pub fn word(&mut self, word: &[u8]) -> Result<(), SourceError> {
        let mut all = Vec::with_capacity(word.len() + 16);
        all.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        all.extend_from_slice(word);
        all.extend_from_slice(b"\r\n");
        self.bytes(&all)
    }

    /// Some of it, as it is.
    pub fn bytes(&mut self, bytes: &[u8]) -> Result<(), SourceError> {
        self.bytes += bytes.len();
        match &mut self.way {
            Way::Connection(connection) => connection.write(bytes),
            Way::Client(client) => client.write(bytes),
        }
    }

    /// Reads the answers to all that was sent. Fails where one says that nothing further will be taken either.
    fn settle(&mut self) -> Result<(), SourceError> {
        self.bytes = 0;
        while let Some(what) = self.asked.pop_front() {
            let Way::Connection(connection) = &mut self.way else { continue };
            if let Reply::Error(error) = connection.reply()? {
                self.refuse(error, &what)?;
            }
        }
        Ok(())
    }

    fn refuse(&mut self, error: String, what: &str) -> Result<(), SourceError> {
        if !OF_ONE.iter().any(|word| error.contains(word)) {
            let what = format!("{} does not take {what}: {error}{}", self.what, self.hint(&error));
            return Err(SourceError::Unavailable { what });
        }
        self.refused.entry(error).or_insert_with(|| (0, what.to_owned())).0 += 1;
        Ok(())
    }

    /// What to do about an error.
    fn hint(&self, error: &str) -> String {
        let hint = if error.contains("payload version") {
            "the dump is of a newer server than this one, so restore into one of that version"
        } else if error.contains("READONLY") {
            "restore into its master"
        } else if error.contains("MOVED") {
            "it is part of a cluster, which takes only the keys of its own slots"
        } else if error.contains("NOPERM") {
            &self.how_to_allow
        } else {
            return String::new();
        };
        format!("; {hint}")
    }

    /// Ends it. Gives what the server did not take, in words.
    pub fn finish(mut self) -> Result<Vec<String>, SourceError> {
        self.settle()?;
        if let Way::Client(client) = &mut self.way {
            client.close_input()?;
            let mut buffer = [0; PRINTED_BYTES];
            while client.read(&mut buffer)? > 0 {}
            let ended = client.wait()?;
            if !ended.is_well() {
                let lines: Vec<String> = ended.said.lines().map(str::to_owned).collect();
                for line in lines.iter().filter(|line| !line.is_empty()) {
                    self.refuse(line.clone(), "all of it")?;
                }
                if self.refused.is_empty() {
                    return Err(SourceError::Unavailable { what: format!("{} {}", self.what, ended.told()) });
                }
            }
        }
        let told = |(error, (count, first)): (String, (u64, String))| match count {
            1 => format!("{first} was not taken: {error}"),
            _ => format!("{first} and {} more were not taken: {error}", count - 1),
        };
        Ok(self.refused.into_iter().map(told).collect())
    }
}
