//! A backup that is being written to one copy, and what goes on to the others meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use operations::Fault;
use operations::scratch::Scratch;
use repository::storage::follow::Follower;
use repository::{Event, Repository};

use crate::app::{App, Opened};
use crate::into_step::Brought;
use crate::output::complain;

/// A backup under way. End it with [`UnderWay::finish`], whatever comes of it.
pub struct UnderWay {
    /// The copy that is written. What is put there goes on to those that follow.
    pub repository: Arc<Repository>,
    /// By the names of their copies; those that are taken out have ended.
    followers: BTreeMap<String, Mutex<Option<Follower>>>,
    spool: Option<Scratch>,
}

impl UnderWay {
    /// Begins to write to the first of the copies; those of the others that are copies of the same repository follow it.
    pub fn begin(app: &App, first: &Opened<'_>, others: &[Opened<'_>]) -> Result<Self, Fault> {
        let is_far = |opened: &Opened<'_>| opened.copy.location.local().is_none();
        let all_far = is_far(first) && others.iter().all(is_far);
        let others = others.iter().filter(|other| other.repository.is_copy_of(&first.repository));
        let (names, others): (Vec<String>, Vec<&Repository>) =
            others.map(|other| (other.copy.name.clone(), &*other.repository)).unzip();
        // Where no copy is near, what was sent to the first must not be fetched again for the next.
        let spool = if all_far && !others.is_empty() { Some(Scratch::create(&app.scratch())?) } else { None };
        let folder = spool.as_ref().map(|spool| spool.path().to_owned());
        let (repository, followers) = first.repository.followed_by(&others, folder, &app.run.cancel);
        let followers = followers.into_iter().map(|follower| Mutex::new(Some(follower)));
        Ok(Self { repository: Arc::new(repository), followers: names.into_iter().zip(followers).collect(), spool })
    }

    /// Lets what is under way to a copy get there, and says what it got. Only the first asker is told.
    pub fn settle(&self, app: &App, name: &str) -> Brought {
        let follower = self.followers.get(name);
        let follower = follower.and_then(|follower| follower.lock().unwrap_or_else(PoisonError::into_inner).take());
        let Some(followed) = follower.map(Follower::finish) else { return Brought::default() };
        if let Some(failure) = followed.failure {
            app.cx().events.emit(Event::Note(format!("copy {name} no longer followed the backup: {failure}")));
        }
        Brought { packs: followed.packs.len(), bytes: followed.bytes }
    }

    /// Ends it: nothing of it is under way any more when the next backup begins.
    pub fn finish(self, app: &App) {
        for name in self.followers.keys() {
            let _ = self.settle(app, name);
        }
        // The snapshot, if there is one, is none the worse for it.
        if let Some(Err(error)) = self.spool.map(Scratch::remove) {
            complain(&format!("packs that waited here cannot be removed; the next backup tries again: {error}"));
        }
    }
}
