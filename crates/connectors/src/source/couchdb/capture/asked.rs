//! The server is asked before anything is opened and once more at the end.

use repository::{Event, SourceError};

use super::CouchDbCapture;
use crate::couch_server::CouchError;
use crate::source::couchdb::CouchDbOptions;
use crate::source::couchdb::cross_check::CrossCheck;

impl CouchDbCapture<'_> {
    /// Asks the server, where one is named, before anything is opened.
    pub(super) fn ask(&mut self, options: &CouchDbOptions) -> Result<(), SourceError> {
        let Some(server) = &options.server else { return Ok(()) };
        match CrossCheck::begin(server, self.opener.cancel) {
            Ok(server) => {
                self.version = Some(server.version.clone());
                self.server = Some(server);
                Ok(())
            }
            Err(error) => self.not_asked(error),
        }
    }

    /// Compares what was captured with what the server says.
    pub(super) fn compare(&mut self, server: &CrossCheck) -> Result<(), SourceError> {
        match server.end(&self.counted) {
            Ok(compared) => {
                let root = self.root.clone();
                compared.problems.into_iter().for_each(|what| self.problem(&root, what));
                compared.notes.into_iter().for_each(|what| self.events.emit(Event::Note(what)));
                Ok(())
            }
            Err(error) => self.not_asked(error),
        }
    }

    fn not_asked(&mut self, error: CouchError) -> Result<(), SourceError> {
        if matches!(error, CouchError::Cancelled) {
            return Err(SourceError::Cancelled);
        }
        let what = "the files are in the snapshot, and were not compared with what CouchDB says; mend `url`, `user` or \
                    `password`, or remove them";
        self.problem(&self.root.clone(), format!("{what}: {error}"));
        Ok(())
    }
}
