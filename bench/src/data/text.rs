//! The small pieces that documents, rows and letters are made of.

use super::random::Random;

/// Syllables that words are built from. Two or three of them give words about as long as English ones.
const SYLLABLES: [&str; 32] = [
    "ba", "con", "de", "for", "ga", "her", "in", "ka", "li", "mo", "na", "or", "pre", "ra", "sa", "ter", "un", "ver",
    "wa", "tion", "ment", "ing", "al", "est", "ity", "ous", "ed", "ly", "no", "ti", "us", "per",
];
/// As many different words as a clinic's notes or a shop's tables hold.
const WORDS: usize = 4096;

/// Writes text, numbers and identifiers. All of it derives from the [`Random`] that is passed in.
#[derive(Debug)]
pub struct Pen {
    words: Vec<String>,
}

impl Pen {
    /// A pen with the vocabulary that all files share.
    pub fn new() -> Self {
        let mut random = Random::new(0, "vocabulary", 0);
        let syllable = |random: &mut Random| SYLLABLES[random.below(SYLLABLES.len() as u64) as usize];
        let words = (0..WORDS).map(|_| (0..random.between(2, 4)).map(|_| syllable(&mut random)).collect()).collect();
        Self { words }
    }

    /// Appends a word. Low-numbered words come more often, as in every language.
    pub fn word(&self, random: &mut Random, out: &mut Vec<u8>) {
        let range = WORDS as u64;
        let limit = random.between(1, range + 1);
        out.extend_from_slice(self.words[random.below(limit) as usize].as_bytes());
    }

    /// Appends `count` words with spaces between them.
    pub fn sentence(&self, random: &mut Random, out: &mut Vec<u8>, count: u64) {
        for index in 0..count {
            if index > 0 {
                out.push(b' ');
            }
            self.word(random, out);
        }
    }
}

/// Appends `count` hexadecimal digits, as in identifiers and revisions.
pub fn hex(random: &mut Random, out: &mut Vec<u8>, count: usize) {
    digits(random, out, count, b"0123456789abcdef", 4);
}

/// Appends `count` base64 characters, as in signatures and inlined pictures.
pub fn base64(random: &mut Random, out: &mut Vec<u8>, count: usize) {
    digits(random, out, count, b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 6);
}

/// Appends `count` characters of an alphabet that has two to the power of `bits` of them.
fn digits(random: &mut Random, out: &mut Vec<u8>, count: usize, alphabet: &[u8], bits: usize) {
    let per_number = 60 / bits;
    let mask = alphabet.len() as u64 - 1;
    let end = out.len() + count;
    while out.len() < end {
        let mut number = random.next();
        for _ in 0..per_number.min(end - out.len()) {
            out.push(alphabet[(number & mask) as usize]);
            number >>= bits;
        }
    }
}

/// Appends `value` in decimal.
pub fn decimal(out: &mut Vec<u8>, mut value: u64) {
    let start = out.len();
    loop {
        out.push(b'0' + (value % 10) as u8);
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out[start..].reverse();
}

/// Appends text of short lines, as in notes and configuration, until `out` has grown by `count` bytes.
pub fn letter(pen: &Pen, random: &mut Random, out: &mut Vec<u8>, count: usize) {
    let end = out.len() + count;
    while out.len() < end {
        let words = random.between(4, 14);
        pen.sentence(random, out, words);
        match random.below(4) {
            0 => {
                out.extend_from_slice(b" = ");
                decimal(out, random.below(100_000));
                out.push(b'\n');
            }
            1 => out.extend_from_slice(b".\n\n"),
            _ => out.extend_from_slice(b",\n"),
        }
    }
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        let mut out = Vec::new();
        for value in [0, 7, 10, 18_446_744_073_709_551_615] {
            decimal(&mut out, value);
            out.push(b' ');
        }
        assert_eq!(out, b"0 7 10 18446744073709551615 ");
    }

    #[test]
    fn identifiers_have_the_length_and_alphabet_asked_for() {
        let mut random = Random::new(1, "identifiers", 0);
        let mut out = Vec::new();
        hex(&mut random, &mut out, 33);
        assert_eq!(out.len(), 33);
        assert!(out.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
    }

    #[test]
    fn a_letter_has_exactly_the_length_asked_for() {
        let mut out = Vec::new();
        letter(&Pen::new(), &mut Random::new(1, "letter", 0), &mut out, 1234);
        assert_eq!(out.len(), 1234);
        assert!(out.is_ascii());
    }
}
