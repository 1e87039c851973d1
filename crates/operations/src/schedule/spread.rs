//! What stands for `H`: a number that is always the same for one job of one host, and another for the next, so that a
//! fleet with one configuration does not reach for its storage in the same minute.

use sha2::{Digest, Sha256};

/// Whose `H` it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spread<'a> {
    /// The host's name.
    pub host: &'a str,
    /// The stack's name.
    pub stack: &'a str,
    /// What is done, such as `backup` or `drill`.
    pub job: &'a str,
}

impl Spread<'_> {
    /// A number below `size`, which must not be 0, for the `item`th item of the `field`th field. Every `H` of an
    /// expression has a number of its own: with one for all, minute and hour would depend on each other, and a fleet
    /// would meet at a few of the day's minutes.
    ///
    /// This is a promise: another release gives the same number, or every job of every host would move.
    pub(super) fn pick(&self, field: usize, item: usize, size: u8) -> u8 {
        let mut hash = Sha256::new();
        for part in [self.host, self.stack, self.job] {
            // With its length, so that a name's end cannot be taken for the next one's beginning.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.update([u8::try_from(field).unwrap_or(u8::MAX)]);
        hash.update((item as u64).to_be_bytes());
        let hash = hash.finalize();
        let number = hash.iter().take(8).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        u8::try_from(number % u64::from(size.max(1))).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_job_never_changes() {
        let spread = Spread { host: "backup-7", stack: "cht", job: "backup" };
        let picked: Vec<u8> = (0..5).map(|field| spread.pick(field, 0, 60)).collect();
        assert_eq!(picked, [14, 53, 30, 48, 55]);
    }

    #[test]
    fn hosts_stacks_jobs_fields_and_items_have_numbers_of_their_own() {
        let a = Spread { host: "a", stack: "b", job: "c" };
        let of = |spread: Spread<'_>, field, item| {
            (0..8usize).map(|more| spread.pick(field, item + more, 250)).collect::<Vec<_>>()
        };
        let all = [
            of(a, 0, 0),
            of(a, 1, 0),
            of(a, 0, 8),
            of(Spread { host: "x", ..a }, 0, 0),
            of(Spread { stack: "x", ..a }, 0, 0),
            of(Spread { job: "x", ..a }, 0, 0),
            of(Spread { host: "ab", stack: "", ..a }, 0, 0),
        ];
        for (number, one) in all.iter().enumerate() {
            assert!(!all[..number].contains(one), "{number}");
        }
    }

    #[test]
    fn a_fleet_is_spread_over_the_whole_range() {
        let mut counts = [0u32; 60];
        for host in 0..6000 {
            let host = format!("host-{host}");
            counts[usize::from(Spread { host: &host, stack: "s", job: "backup" }.pick(0, 0, 60))] += 1;
        }
        assert!(counts.iter().all(|count| (50..200).contains(count)), "{counts:?}");
    }
}
