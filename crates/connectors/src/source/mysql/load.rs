//! SQL on its way into a server, through its client.

use std::io::Read;

use repository::{Cancel, SourceError};

use super::server::Server;
use crate::program::Ended;

/// Bytes given to the client at once.
const WRITE_BYTES: usize = 64 << 10;

/// Why a load fails, by the number of its error, and what to do about it.
const HINTS: [(&str, &str); 5] = [
    ("ERROR 1153 ", TOO_LONG),
    ("ERROR 2006 ", TOO_LONG),
    ("ERROR 2013 ", TOO_LONG),
    ("ERROR 1205 ", "somebody else has a table locked: SHOW PROCESSLIST says who"),
    ("ERROR 1419 ", "SET GLOBAL log_bin_trust_function_creators=1, or log in as who has SUPER"),
];
const TOO_LONG: &str = "the server may take no statement as long as this one: SET GLOBAL max_allowed_packet=1073741824, and see whether \
     it runs";

/// Loads all of `sql`, which `what` names for messages. Gives what is wrong with it, if anything, without the statement, in which
/// there is somebody's data: the client gives up at the first one that fails.
pub fn load(server: &Server, sql: impl Read, what: &str, cancel: &Cancel) -> Result<Result<(), String>, SourceError> {
    match feed(server, &[], sql, what, cancel) {
        Ok(ended) if ended.is_well() => Ok(Ok(())),
        Ok(ended) => Ok(Err(reason(&ended.said).unwrap_or_else(|| ended.how()))),
        // It says why it takes no more.
        Err(SourceError::Invalid { what }) => {
            let (how, said) = what.split_once("; it said: ").unwrap_or((&what, ""));
            Ok(Err(reason(said).unwrap_or_else(|| how.to_owned())))
        }
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
    let mut told: Vec<String> = errors(&ended.said).collect();
    // It goes on after refusals, and its end tells of them once more.
    if told.is_empty() && !ended.is_well() {
        told.push(ended.how());
    }
    Ok(told)
}

/// The last error, with what to do about it.
fn reason(said: &str) -> Option<String> {
    let error = errors(said).last()?;
    let hint = HINTS.iter().find(|(number, _)| error.starts_with(number));
    Some(hint.map_or(error.clone(), |(_, hint)| format!("{error}; {hint}")))
}

/// The lines with errors, without what they quote of the statements. The client prints each statement before its error, and an empty
/// line between them.
fn errors(said: &str) -> impl Iterator<Item = String> {
    let is_number =
        |line: &str| line.strip_prefix("ERROR ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let before = std::iter::once("").chain(said.lines());
    let errors = before.zip(said.lines()).filter(move |(before, line)| before.is_empty() && is_number(line));
    errors.map(|(_, line)| line.split_once(" near ").map_or(line, |(reason, _)| reason).to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_error_nothing_is_told_of_the_rows_before_it() {
        let said = "--------------\nINSERT INTO t VALUES\n('secret\nERROR 1 no\n')\n--------------\n\n\
                    ERROR 1153 (08S01) at line 2: Got a packet bigger than 'max_allowed_packet' bytes";
        let told = reason(said).unwrap();
        assert!(
            told.starts_with("ERROR 1153 (08S01) at line 2: Got a packet") && told.contains("; the server may"),
            "{told}"
        );
        assert_eq!(reason("ERROR 1064 (42000): wrong near 'secret' at line 1").unwrap(), "ERROR 1064 (42000): wrong");
        assert_eq!(reason("secret"), None);
    }
}
