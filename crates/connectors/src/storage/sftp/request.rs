//! What is asked of a server, beside moving files, and how it fails.

use super::packet::{Attributes, Code, Kind, Name, Reply, Request};
use super::session::{Broken, Session, Waiting};

const FOLDER_MODE: u32 = 0o700;

/// How a request failed.
pub(super) enum Failed {
    Broken(Broken),
    Refused {
        code: Code,
        message: String,
    },
    /// The server answered something other than what was asked for.
    Odd,
}

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl Failed {
    pub(super) fn is(&self, expected: Code) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == expected)
    }
}

/// Makes a folder, and those above it.
pub(super) fn make_folder(session: &Session, path: &str) -> Result<(), Failed> {
    let make = || done(session.send(Request::new(Kind::MkDir).bytes(path.as_bytes()).mode(FOLDER_MODE))?);
    let made = match make() {
        Err(failed) if failed.is(Code::NoSuchFile) => {
            let above = path.trim_end_matches('/').rsplit_once('/').map(|(above, _)| above);
            let Some(above) = above.filter(|above| !above.is_empty()) else { return Err(failed) };
            make_folder(session, above)?;
            make()
        }
        made => made,
    };
    match made {
        // Somebody else may have been faster; a failure has no other word.
        Err(failed @ Failed::Refused { .. }) => {
            match attributes(session.send(Request::new(Kind::Stat).bytes(path.as_bytes()))?) {
                Ok(found) if found.is_folder() => Ok(()),
                _ => Err(failed),
            }
        }
        made => made,
    }
}

/// The names in each of several folders. A folder that is not there holds nothing.
pub(super) fn read_folders(session: &Session, paths: &[String]) -> Result<Vec<Vec<Name>>, Failed> {
    let mut open = Vec::new();
    for path in paths {
        open.push(session.send(Request::new(Kind::OpenDir).bytes(path.as_bytes()))?);
    }
    let mut folders = Vec::new();
    for opening in open {
        folders.push(match handle(opening) {
            Ok(handle) => (Some(handle), Vec::new()),
            Err(failed) if failed.is(Code::NoSuchFile) => (None, Vec::new()),
            Err(failed) => return Err(failed),
        });
    }
    // In rounds: each asks every folder that is not at its end for more.
    while folders.iter().any(|(handle, _)| handle.is_some()) {
        let mut asked = Vec::new();
        for (number, (handle, _)) in folders.iter().enumerate() {
            if let Some(handle) = handle {
                asked.push((number, session.send(Request::new(Kind::ReadDir).bytes(handle))?));
            }
        }
        for (number, waiting) in asked {
            let (handle, names) = &mut folders[number];
            match waiting.wait(&|| false)? {
                Reply::Names(more) => names.extend(more),
                Reply::Status { code: Code::End, .. } => {
                    if let Some(handle) = handle.take() {
                        session.send(Request::new(Kind::Close).bytes(&handle))?;
                    }
                }
                Reply::Status { code, message } => return Err(Failed::Refused { code, message }),
                _ => return Err(Failed::Odd),
            }
        }
    }
    Ok(folders.into_iter().map(|(_, names)| names).collect())
}

pub(super) fn done(waiting: Waiting) -> Result<(), Failed> {
    done_unless(waiting, &|| false)
}

pub(super) fn done_unless(waiting: Waiting, given_up: &dyn Fn() -> bool) -> Result<(), Failed> {
    match waiting.wait(given_up)? {
        Reply::Status { code: Code::Done, .. } => Ok(()),
        Reply::Status { code, message } => Err(Failed::Refused { code, message }),
        _ => Err(Failed::Odd),
    }
}

pub(super) fn handle(waiting: Waiting) -> Result<Vec<u8>, Failed> {
    match waiting.wait(&|| false)? {
        Reply::Handle(handle) => Ok(handle),
        Reply::Status { code, message } => Err(Failed::Refused { code, message }),
        _ => Err(Failed::Odd),
    }
}

pub(super) fn attributes(waiting: Waiting) -> Result<Attributes, Failed> {
    match waiting.wait(&|| false)? {
        Reply::Attributes(attributes) => Ok(attributes),
        Reply::Status { code, message } => Err(Failed::Refused { code, message }),
        _ => Err(Failed::Odd),
    }
}
