//! Slows down whoever tries passwords.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

/// So many may be wrong without waiting.
const WRONG_FREE: u32 = 5;
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(15 * 60);
/// After so long, wrong ones are forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);
/// More names and addresses than this are not kept in mind; those that were tried longest ago go first.
const KEPT_MAX: usize = 10_000;

/// How often was tried what is wrong, by name and by address.
#[derive(Default)]
pub struct Throttle(Mutex<BTreeMap<String, Wrong>>);

#[derive(Clone, Copy)]
struct Wrong {
    times: u32,
    last: Timestamp,
}

impl Throttle {
    /// How long to wait before `who` may try again. Zero: not at all.
    pub fn wait(&self, who: &[&str], now: Timestamp) -> Duration {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = who.iter().filter_map(|who| kept.get(*who)).map(|wrong| {
            let passed = now.duration_since(wrong.last).unsigned_abs();
            wait_after(wrong.times).saturating_sub(passed)
        });
        waits.max().unwrap_or_default()
    }

    /// `who` tried and was wrong.
    pub fn wrong(&self, who: &[&str], now: Timestamp) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|_, wrong| now.duration_since(wrong.last).unsigned_abs() < FORGOTTEN_AFTER);
        for who in who {
            if kept.len() >= KEPT_MAX && !kept.contains_key(*who) {
                let oldest = kept.iter().min_by_key(|(_, wrong)| wrong.last).map(|(name, _)| name.clone());
                oldest.map(|name| kept.remove(&name));
            }
            let wrong = kept.entry((*who).to_owned()).or_insert(Wrong { times: 0, last: now });
            *wrong = Wrong { times: wrong.times.saturating_add(1), last: now };
        }
    }

    /// `who` was right, so what was wrong before is forgotten.
    pub fn right(&self, who: &[&str]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for who in who {
            kept.remove(*who);
        }
    }
}

/// Twice as long each time.
fn wait_after(times: u32) -> Duration {
    match times.checked_sub(WRONG_FREE) {
        None => Duration::ZERO,
        Some(more) => Duration::from_secs(1_u64 << more.min(20)).min(WAIT_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_wrong_often_waits_longer_each_time_and_not_for_ever() {
        let throttle = Throttle::default();
        let at = |seconds: i64| Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(seconds);
        (0..4).for_each(|_| throttle.wrong(&["ada", "10.0.0.1"], at(0)));
        assert_eq!(throttle.wait(&["ada"], at(0)), Duration::ZERO);
        throttle.wrong(&["ada", "10.0.0.1"], at(0));
        assert_eq!(throttle.wait(&["ada"], at(0)), Duration::from_secs(1));
        assert_eq!(throttle.wait(&["bob", "10.0.0.1"], at(0)), Duration::from_secs(1), "from the same address");
        assert_eq!(throttle.wait(&["bob", "10.0.0.2"], at(0)), Duration::ZERO);
        (0..50).for_each(|_| throttle.wrong(&["ada"], at(1)));
        assert_eq!(throttle.wait(&["ada"], at(1)), WAIT_MAX);
        assert_eq!(throttle.wait(&["ada"], at(1 + 900)), Duration::ZERO);
        throttle.wrong(&["bob"], at(1 + 4000));
        assert_eq!(throttle.wait(&["ada"], at(2)), Duration::ZERO, "forgotten after an hour");
        throttle.wrong(&["bob"], at(0));
        throttle.right(&["bob"]);
        assert_eq!(throttle.wait(&["bob"], at(0)), Duration::ZERO);
        for number in 0..=KEPT_MAX as i64 + 10 {
            throttle.wrong(&[&format!("name {number}")], at(number / 100));
        }
        assert_eq!(throttle.0.lock().unwrap().len(), KEPT_MAX, "memory is bounded");
    }
}
