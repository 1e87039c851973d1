//! SQL on its way into a server, through its client.

use std::io::Read;

use repository::{Cancel, SourceError};

use super::server::Server;
use crate::program::Ended;

/// Bytes given to the client at once.
const WRITE_BYTES: usize = 64 << 10;

/// Loads all of `sql`, which `what` names for messages. Gives what is wrong with it, if anything: the client gives up at the
/// first statement that fails.
pub fn load(server: &Server, sql: impl Read, what: &str, cancel: &Cancel) -> Result<Result<(), String>, SourceError> {
    match feed(server, &[], sql, what, cancel) {
        Ok(ended) if ended.is_well() => Ok(Ok(())),
        Ok(ended) => Ok(Err(ended.told())),
        // It says why it takes no more.
        Err(SourceError::Invalid { what }) => Ok(Err(what)),
        Err(error) => Err(error),
    }
}

/// Loads what can be loaded of `sql`. Gives what the client said of the rest, line by line, without the statements: there may
/// be hashes of passwords in them.
pub fn load_what_goes(
    server: &Server,
    sql: impl Read,
    what: &str,
    cancel: &Cancel,
) -> Result<Vec<String>, SourceError> {
    let ended = feed(server, &["--force"], sql, what, cancel)?;
    let reason = |line: &str| line.split_once(" near ").map_or(line, |(reason, _)| reason).to_owned();
    let mut told: Vec<String> = ended.said.lines().filter(|line| line.contains("ERROR")).map(reason).collect();
    // It goes on after refusals, and its end tells of them once more.
    if told.is_empty() && !ended.is_well() {
        told.push(ended.how());
    }
    Ok(told)
}

fn feed(
    server: &Server,
    words: &[&str],
    mut sql: impl Read,
    what: &str,
    cancel: &Cancel,
) -> Result<Ended, SourceError> {
    let client = server.client().args(["--batch", "--max-allowed-packet=1G"]).args(words).with_input();
    let mut running = client.start(server.stage(), cancel)?;
    let mut buffer = vec![0; WRITE_BYTES];
    loop {
        let length = sql.read(&mut buffer).map_err(SourceError::io(what))?;
        if length == 0 {
            break;
        }
        running.write(&buffer[..length])?;
    }
    running.close_input()?;
    while running.read(&mut buffer)? > 0 {}
    running.wait()
}
