//! Problems of one cause, told together: a disk that fails has hundreds of lines that differ in a name, and the one of another
//! cause would be lost among them.

use std::collections::BTreeMap;

/// Lines alike that are shown one by one.
const SHOWN_MAX: usize = 3;
/// Kinds of lines that are told apart. Where there are more, the rest is shown line by line.
const KINDS_MAX: usize = 1000;
/// A word of so many hexadecimal digits is an id or a range, also where no digit below ten is in it.
const HEX_MIN: usize = 8;

/// Counts lines by what they have in common.
#[derive(Debug, Default)]
pub struct Alike {
    kinds: BTreeMap<String, Kind>,
}

#[derive(Debug)]
struct Kind {
    first: String,
    number: usize,
}

impl Alike {
    /// Whether a line is to be shown. Lines are alike where `what` they say is, but for numbers and ids.
    pub fn is_shown(&mut self, line: &str, what: &str) -> bool {
        let common = common(what);
        let is_full = self.kinds.len() >= KINDS_MAX;
        match self.kinds.get_mut(&common) {
            Some(kind) => {
                kind.number += 1;
                kind.number <= SHOWN_MAX
            }
            None if is_full => true,
            None => {
                self.kinds.insert(common, Kind { first: line.to_owned(), number: 1 });
                true
            }
        }
    }

    /// What is to be said of the lines that were not shown. Begins anew.
    pub fn rest(&mut self) -> Vec<String> {
        let kinds = std::mem::take(&mut self.kinds).into_values();
        let more = kinds.filter(|kind| kind.number > SHOWN_MAX);
        more.map(|Kind { first, number }| format!("and {} more like it: {first}", number - SHOWN_MAX)).collect()
    }
}

/// Lines, of which those alike are told together.
pub fn grouped(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut alike = Alike::default();
    let mut shown: Vec<String> = lines.into_iter().filter(|line| alike.is_shown(line, line)).collect();
    shown.extend(alike.rest());
    shown
}

/// What a line has in common with those alike: all but words with digits, which are numbers, ids, ranges or paths.
fn common(what: &str) -> String {
    let is_own = |word: &str| {
        let word = word.trim_matches(|end: char| end.is_ascii_punctuation());
        let is_hex = word.len() >= HEX_MIN && word.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        is_hex || word.bytes().any(|byte| byte.is_ascii_digit()) || word.contains('/')
    };
    let words: Vec<&str> = what.split_whitespace().map(|word| if is_own(word) { "#" } else { word }).collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_one_cause_are_told_together_and_others_are_not_lost_among_them() {
        let shard = |number: usize| format!("database medic, shard {number:08x}-{number:08x}: input/output error");
        let mut lines: Vec<String> = (0..200).map(shard).collect();
        lines.insert(100, "database medic-logs, shard aaaaaaaa-bfffffff: there is no valid header".to_owned());
        let shown = grouped(lines);
        assert_eq!(shown.len(), 5, "{shown:?}");
        assert_eq!(shown[..3], [0, 1, 2].map(shard));
        assert!(shown[3].contains("no valid header"), "{shown:?}");
        assert_eq!(shown[4], format!("and 197 more like it: {}", shard(0)));
        let few = || (0..SHOWN_MAX).map(shard);
        assert_eq!(grouped(few()), few().collect::<Vec<_>>());
    }

    #[test]
    fn ids_and_paths_make_no_difference_and_words_do() {
        assert_eq!(common("shard aaaaaaaa-bfffffff: cut off"), common("shard 00000000-15555554: cut off"));
        assert_eq!(common("/srv/a is gone"), common("/srv/b is gone"));
        assert_ne!(common("database medic: torn"), common("database orders: torn"));
    }

    #[test]
    fn no_number_of_kinds_takes_all_memory() {
        let letters =
            |number: usize| number.to_string().bytes().map(|digit| char::from(digit + 49)).collect::<String>();
        let mut alike = Alike::default();
        let mut lines = (0..KINDS_MAX + 10).map(letters);
        assert!(lines.all(|line| alike.is_shown(&line, &line)));
        assert_eq!(alike.kinds.len(), KINDS_MAX);
        assert_eq!(alike.rest(), [""; 0]);
    }
}
