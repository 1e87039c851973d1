//! Wakes the scheduler before its time.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The bell. All its clones are one.
#[derive(Clone, Default)]
pub struct Bell(Arc<(Mutex<Rung>, Condvar)>);

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Rung {
    #[default]
    No,
    /// There is something to look at.
    Look,
    /// The server ends.
    End,
}

impl Bell {
    /// There is something to look at: a run was asked for, or one has ended.
    pub fn ring(&self) {
        self.set(Rung::Look);
    }

    /// The server ends; nothing more is started.
    pub fn end(&self) {
        self.set(Rung::End);
    }

    fn set(&self, rung: Rung) {
        let (state, bell) = &*self.0;
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state != Rung::End {
            *state = rung;
        }
        bell.notify_all();
    }

    /// Whether to go on, once it rang or after `patience`.
    pub fn wait(&self, patience: Duration) -> bool {
        let (state, bell) = &*self.0;
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = bell.wait_timeout_while(state, patience, |rung| *rung == Rung::No);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match *state {
            Rung::End => false,
            _ => {
                *state = Rung::No;
                true
            }
        }
    }
}
