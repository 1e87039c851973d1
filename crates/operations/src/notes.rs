//! The notes of a run, kept by source: what was left out on purpose, or is worth knowing without being wrong. They go into
//! the manifest, since who restores is seldom who saw the run.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use repository::{Event, Events};

use crate::backup::{COMMAND_KIND, NamedSource};
use crate::manifest::NOTES_MAX;

/// Keeps the notes of each source, and passes all events on.
pub struct Notes<'a> {
    events: &'a dyn Events,
    of_source: BTreeMap<&'a str, OfSource<'a>>,
}

impl<'a> Notes<'a> {
    /// What a command says may be anything, a password too, so its notes are passed on only.
    pub fn of(sources: &[&'a NamedSource], events: &'a dyn Events) -> Self {
        let kept = sources.iter().filter(|named| named.source.kind() != COMMAND_KIND);
        let of_source = kept.map(|named| (named.name.as_str(), OfSource { events, notes: Mutex::default() })).collect();
        Self { events, of_source }
    }

    /// Where a source tells what happens.
    pub fn events(&self, source: &str) -> &dyn Events {
        self.of_source.get(source).map_or(self.events, |events| events)
    }

    /// What was noted of a source, each once.
    pub fn take(&self, source: &str) -> Vec<String> {
        let taken = |of: &OfSource<'_>| std::mem::take(&mut *of.notes.lock().unwrap_or_else(PoisonError::into_inner));
        self.of_source.get(source).map(taken).unwrap_or_default()
    }
}

struct OfSource<'a> {
    events: &'a dyn Events,
    notes: Mutex<Vec<String>>,
}

impl Events for OfSource<'_> {
    fn emit(&self, event: Event) {
        if let Event::Note(note) = &event {
            let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
            if notes.len() < NOTES_MAX && !notes.contains(note) {
                notes.push(note.clone());
            }
        }
        self.events.emit(event);
    }
}

#[cfg(test)]
mod tests {
    use repository::events::Recorded;

    use super::*;
    use crate::memory::FixedFiles;

    #[test]
    fn notes_are_kept_once_by_source_and_passed_on_and_those_of_commands_are_not_kept() {
        let command = FixedFiles { kind: COMMAND_KIND, ..FixedFiles::new(&[]) };
        let sources = [FixedFiles::new(&[]).named("files"), command.named("dump")];
        let all: Vec<&NamedSource> = sources.iter().collect();
        let events = Recorded::default();
        let notes = Notes::of(&all, &events);
        for (source, note) in [("files", "one"), ("files", "one"), ("files", "two"), ("dump", "hunter2")] {
            notes.events(source).emit(Event::Note(note.to_owned()));
        }
        (0..2 * NOTES_MAX).for_each(|number| notes.events("files").emit(Event::Note(number.to_string())));
        let kept = notes.take("files");
        assert_eq!((&kept[..2], kept.len()), (&["one".to_owned(), "two".to_owned()][..], NOTES_MAX));
        assert_eq!(notes.take("dump"), [""; 0]);
        assert_eq!(events.events().len(), 4 + 2 * NOTES_MAX);
    }
}
