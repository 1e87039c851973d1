//! A storage that fails on purpose, the same way each time: for tests of everything that must survive a bad place.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use jiff::Timestamp;

use super::record::Verb;
use super::{File, FileKind, Listed, Storage, StorageError};
use crate::Cancel;

/// Which calls a rule is about. Calls are counted from 1, over all verbs, failed ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The nth call.
    Nth(u64),
    /// Every call after the nth: the plug is pulled.
    After(u64),
    /// Every call of a verb, for one kind of file or for all.
    Calls(Verb, Option<FileKind>),
    /// The nth call of a verb, for one kind of file or for all.
    NthOf(u64, Verb, Option<FileKind>),
    /// Each call with this probability in per cent.
    Percent(u8),
}

/// What happens to such a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing is done, and the failure is reported.
    Fail(Failure),
    /// The call is done in full, and a failure is reported all the same: the answer was lost.
    LoseAnswer(Failure),
    /// A get returns its bytes with one bit flipped. Other calls pass.
    FlipBit,
    /// A get returns a part of its bytes, from the first on. Other calls pass.
    CutShort,
}

/// The kinds of error a fault reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// [`StorageError::Transient`]
    Transient,
    /// [`StorageError::Permanent`]
    Permanent,
    /// [`StorageError::Full`]
    Full,
    /// [`StorageError::Denied`]
    Denied,
}

/// A storage that obeys rules of failure. The first rule that fits a call decides. With calls from one thread, the
/// same seed and rules always do the same.
pub struct Fault {
    inner: Arc<dyn Storage>,
    state: Mutex<State>,
}

struct State {
    rules: Vec<Rule>,
    calls: u64,
    random: u64,
}

struct Rule {
    when: When,
    effect: Effect,
    /// Calls of the verb and kind of [`When::NthOf`] so far.
    matched: u64,
}

impl Fault {
    /// A storage that does not fail until it is given rules.
    pub fn new(inner: Arc<dyn Storage>, seed: u64) -> Self {
        Self { inner, state: Mutex::new(State { rules: Vec::new(), calls: 0, random: seed }) }
    }

    /// The same with one more rule.
    #[must_use]
    pub fn with(self, when: When, effect: Effect) -> Self {
        self.add(when, effect);
        self
    }

    /// Adds a rule.
    pub fn add(&self, when: When, effect: Effect) {
        self.lock().rules.push(Rule { when, effect, matched: 0 });
    }

    /// Drops all rules: the place works again. Calls are counted on.
    pub fn mend(&self) {
        self.lock().rules.clear();
    }

    /// How many calls there were, failed ones included.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Does `deed`, or not, as the rules say. It is told how to spoil what it returns, if at all.
    fn call<T>(
        &self,
        verb: Verb,
        kind: FileKind,
        what: impl FnOnce() -> String,
        deed: impl FnOnce(Option<(Effect, u64)>) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        let (effect, random) = self.lock().next(verb, kind);
        match effect {
            Some(Effect::Fail(failure)) => Err(self.error(failure, what())),
            Some(Effect::LoseAnswer(failure)) => {
                deed(None)?;
                Err(self.error(failure, what()))
            }
            Some(spoil @ (Effect::FlipBit | Effect::CutShort)) => deed(Some((spoil, random))),
            None => deed(None),
        }
    }

    fn error(&self, failure: Failure, what: String) -> StorageError {
        let location = self.location();
        let what = format!("{what}: a fault of the test");
        match failure {
            Failure::Transient => StorageError::Transient { location, what },
            Failure::Permanent => StorageError::Permanent { location, what },
            Failure::Full => StorageError::Full { location },
            Failure::Denied => StorageError::Denied { location, what },
        }
    }
}

impl State {
    /// Counts a call and finds its effect; also draws a random number for it.
    fn next(&mut self, verb: Verb, kind: FileKind) -> (Option<Effect>, u64) {
        self.calls += 1;
        let mut effect = None;
        for at in 0..self.rules.len() {
            let random = self.draw();
            let calls = self.calls;
            let rule = &mut self.rules[at];
            let fits = match rule.when {
                When::Nth(n) => calls == n,
                When::After(n) => calls > n,
                When::Calls(of, only) => verb == of && only.is_none_or(|only| kind == only),
                When::NthOf(n, of, only) => {
                    let counts = verb == of && only.is_none_or(|only| kind == only);
                    rule.matched += u64::from(counts);
                    counts && rule.matched == n
                }
                When::Percent(percent) => random % 100 < u64::from(percent),
            };
            if fits && effect.is_none() {
                effect = Some(rule.effect);
            }
        }
        (effect, self.draw())
    }

    /// The next number of the splitmix64 generator (Steele, Lea, Flood 2014).
    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Storage for Fault {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn put(&self, file: File, bytes: &[u8]) -> Result<(), StorageError> {
        self.call(Verb::Put, file.kind, || format!("write {file}"), |_| self.inner.put(file, bytes))
    }

    fn get(&self, file: File, range: Option<Range<u64>>) -> Result<Vec<u8>, StorageError> {
        let what = || format!("read {file}");
        self.call(Verb::Get, file.kind, what, |spoil| {
            let mut bytes = self.inner.get(file, range)?;
            match spoil.filter(|_| !bytes.is_empty()) {
                Some((Effect::CutShort, random)) => bytes.truncate((random % bytes.len() as u64) as usize),
                Some((_, random)) => {
                    let bit = random % (bytes.len() as u64 * 8);
                    bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
                }
                None => {}
            }
            Ok(bytes)
        })
    }

    fn list(&self, kind: FileKind) -> Result<Vec<Listed>, StorageError> {
        self.call(Verb::List, kind, || format!("list {}", kind.folder()), |_| self.inner.list(kind))
    }

    fn modified(&self, file: File) -> Result<Option<Timestamp>, StorageError> {
        self.inner.modified(file)
    }

    fn give_up_with(&self, part: Option<&Cancel>) {
        self.inner.give_up_with(part);
    }

    fn delete(&self, file: File) -> Result<(), StorageError> {
        self.call(Verb::Delete, file.kind, || format!("delete {file}"), |_| self.inner.delete(file))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Id;
    use crate::storage::conformance;
    use crate::storage::memory::MemoryStorage;

    fn fault(seed: u64) -> (MemoryStorage, Fault) {
        let memory = MemoryStorage::new();
        (memory.clone(), Fault::new(Arc::new(memory), seed))
    }

    fn pack(name: u32) -> File {
        File::pack(Id::of(&name.to_le_bytes()))
    }

    #[test]
    fn without_rules_it_conforms() {
        conformance::run(&|| Arc::new(fault(0).1));
    }

    #[test]
    fn the_nth_call_fails_and_the_others_do_not() {
        let (memory, fault) = fault(0);
        let fault = fault.with(When::Nth(2), Effect::Fail(Failure::Full));
        let failed: Vec<_> = (1..=4).filter(|&name| fault.put(pack(name), b"a").is_err()).collect();
        assert_eq!(failed, [2]);
        assert_eq!((memory.files().len(), fault.calls()), (3, 4));
    }

    #[test]
    fn after_the_plug_is_pulled_nothing_works_until_it_is_mended() {
        let (memory, fault) = fault(0);
        let fault = fault.with(When::After(1), Effect::Fail(Failure::Transient));
        fault.put(pack(1), b"a").unwrap();
        fault.put(pack(2), b"a").unwrap_err();
        fault.get(pack(1), None).unwrap_err();
        fault.list(FileKind::Pack).unwrap_err();
        fault.delete(pack(1)).unwrap_err();
        assert_eq!(memory.files(), [pack(1)]);
        fault.mend();
        fault.delete(pack(1)).unwrap();
        assert_eq!(fault.calls(), 6);
    }

    #[test]
    fn calls_can_fail_by_verb_and_kind() {
        let (_, fault) = fault(0);
        let fault = fault
            .with(When::Calls(Verb::Delete, None), Effect::Fail(Failure::Denied))
            .with(When::NthOf(2, Verb::Put, Some(FileKind::Index)), Effect::Fail(Failure::Permanent));
        let index = |name| File::new(FileKind::Index, pack(name).id);
        fault.put(pack(1), b"a").unwrap();
        fault.put(index(1), b"a").unwrap();
        fault.put(pack(2), b"a").unwrap();
        assert!(matches!(fault.put(index(2), b"a"), Err(StorageError::Permanent { .. })));
        fault.put(index(3), b"a").unwrap();
        for name in 1..3 {
            assert!(matches!(fault.delete(pack(name)), Err(StorageError::Denied { .. })));
        }
    }

    #[test]
    fn a_put_can_be_done_and_reported_as_failed() {
        let (memory, fault) = fault(0);
        let fault = fault.with(When::Nth(1), Effect::LoseAnswer(Failure::Transient));
        fault.put(pack(1), b"abc").unwrap_err();
        assert_eq!(memory.read(pack(1)).unwrap(), b"abc");
    }

    #[test]
    fn a_get_can_return_one_flipped_bit_while_the_stored_file_stays_whole() {
        let (memory, fault) = fault(7);
        let fault = fault.with(When::Calls(Verb::Get, None), Effect::FlipBit);
        fault.put(pack(1), &[0; 1000]).unwrap();
        for _ in 0..50 {
            let ones: u32 = fault.get(pack(1), None).unwrap().iter().map(|byte| byte.count_ones()).sum();
            assert_eq!(ones, 1);
        }
        assert_eq!(fault.get(pack(1), Some(5..5)).unwrap(), b"");
        assert_eq!(memory.read(pack(1)).unwrap(), [0; 1000]);
    }

    #[test]
    fn the_same_seed_fails_the_same_calls_and_about_as_many_as_asked() {
        let failed = |seed| -> Vec<bool> {
            let fault = fault(seed).1.with(When::Percent(20), Effect::Fail(Failure::Transient));
            (0..500).map(|_| fault.list(FileKind::Lock).is_err()).collect()
        };
        assert_eq!(failed(1), failed(1));
        assert_ne!(failed(1), failed(2));
        let share = failed(1).iter().filter(|&&failed| failed).count();
        assert!((60..=140).contains(&share), "{share} of 500 at 20 %");
    }
}
