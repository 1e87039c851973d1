//! What can still be had of a damaged file. Since CouchDB only ever appends, every older header is the whole database as
//! of its time; the newest one under which everything can be read is the best state there is.

use crate::check::{Finding, Level};
use crate::header::{Header, HeaderPlace};
use crate::{Database, Error, ReadAt, headers};

/// The newest state of a file that is whole.
#[derive(Debug)]
pub struct Salvage {
    /// Its header; `None` where no state is whole. A copy of the file up to the end of this header is a valid file, and
    /// is what CouchDB opens.
    pub header: Option<Header>,
    /// Newer headers, the newest first, and why they will not do.
    pub refused: Vec<Refused>,
}

/// A header that will not do.
#[derive(Debug)]
pub struct Refused {
    /// Where it lies; `None` where it could not even be read.
    pub place: Option<HeaderPlace>,
    /// The first thing that is wrong.
    pub reason: Reason,
}

/// Why a header will not do.
#[derive(Debug)]
pub enum Reason {
    /// The header itself.
    Header(Error),
    /// What it leads to.
    Content(Box<Finding>),
}

/// Looks for the newest header as of which the file passes a check of `level`, and gives up after `headers_max` of them.
/// [`Level::Trees`] finds one under which every document has its entry; a deeper level also reads what they hold.
pub fn salvage<R: ReadAt>(reader: &R, level: Level, headers_max: usize) -> Result<Salvage, Error> {
    let mut refused = Vec::new();
    for header in headers(reader).take(headers_max) {
        let header = match header {
            Ok(header) => header,
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(error) => {
                refused.push(Refused { place: None, reason: Reason::Header(error) });
                continue;
            }
        };
        let place = header.place;
        let database = Database::at(reader, header);
        let report = database.check(level);
        match report.findings.into_iter().next() {
            None => return Ok(Salvage { header: Some(database.into_header()), refused }),
            Some(finding) => {
                refused.push(Refused { place: Some(place), reason: Reason::Content(Box::new(finding)) });
            }
        }
    }
    Ok(Salvage { header: None, refused })
}
