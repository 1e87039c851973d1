//! The log of changes of a Redis or Valkey, the format AOF (redis/src/aof.c), read as it flows: commands in the protocol's own
//! words, and before them, maybe, a dump.
//!
//! A server that runs adds to it meanwhile, so a log that is cut anywhere is nothing unusual. It is a state wherever a command
//! has ended that is no part of a transaction: there, a server that is killed would go on, too.

use super::rdb::Parser;

/// Digits of a number in it.
const LINE_BYTES_MAX: usize = 32;
/// A comment, such as the time, is never longer.
const COMMENT_BYTES_MAX: usize = 1024;
/// As much as is kept of the first word of a command.
const WORD_BYTES_MAX: usize = 8;

/// Reads a log, piece by piece.
#[derive(Default)]
pub struct Log {
    dump: Option<Parser>,
    at: At,
    line: Vec<u8>,
    /// The first word of the command that is under way.
    word: Vec<u8>,
    is_first: bool,
    /// Words of it that are to come.
    words: u64,
    in_transaction: bool,
    /// Bytes before the piece that is looked at.
    offset: u64,
    counted: Counted,
    /// What was counted when it was a state last.
    whole: Counted,
}

/// How much of a log was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Bytes.
    pub bytes: u64,
    /// Commands.
    pub commands: u64,
    /// Keys in the dump that it begins with.
    pub keys: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Beginning,
    Dump,
    /// In the line that begins a command, or a comment.
    Command,
    /// In the line that says how long a word is.
    Length,
    /// In a word of which so many bytes are to come, and then the end of a line.
    Word(u64),
    /// In the end of a line, of which so much has come.
    End(u8),
}

impl Log {
    /// Takes in the next bytes. Fails, with what is wrong, at what can be no part of a log.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        let mut at = 0;
        while at < bytes.len() {
            at += self.take(&bytes[at..]).map_err(|what| format!("{what} (byte {})", self.offset + at as u64))?;
            if self.at == At::Command && self.line.is_empty() && !self.in_transaction {
                self.whole = Counted { bytes: self.offset + at as u64, ..self.counted };
            }
        }
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// How much of it is a state: all up to the end of the last command that is no part of a transaction.
    pub fn whole(&self) -> Counted {
        self.whole
    }

    /// After the last byte: what was counted. Fails, with what is wrong, where it does not end as a state.
    pub fn finish(&self) -> Result<Counted, String> {
        match self.whole.bytes == self.offset {
            true => Ok(self.whole),
            false => Err(format!("it ends early, after {} bytes", self.offset)),
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<usize, String> {
        match self.at {
            At::Beginning => {
                self.at = if matches!(bytes[0], b'R' | b'V') { At::Dump } else { At::Command };
                Ok(0)
            }
            At::Dump => self.take_dump(bytes),
            At::Command | At::Length => self.take_line(bytes),
            At::Word(0) => {
                self.at = At::End(0);
                Ok(0)
            }
            At::Word(left) => {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                if self.is_first {
                    let room = WORD_BYTES_MAX.saturating_sub(self.word.len()).min(length);
                    self.word.extend_from_slice(&bytes[..room]);
                }
                self.at = At::Word(left - length as u64);
                Ok(length)
            }
            At::End(come) => {
                if bytes[0] != b"\r\n"[usize::from(come)] {
                    return Err("a word does not end where it should".to_owned());
                }
                self.at = At::End(come + 1);
                if come == 1 {
                    self.end_word();
                }
                Ok(1)
            }
        }
    }

    fn take_dump(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let dump = self.dump.get_or_insert_default();
        let length = dump.take(bytes)?;
        if let Ok(found) = dump.finish() {
            self.counted.keys = found.databases.values().map(|keys| keys.keys).sum();
            self.at = At::Command;
        }
        Ok(length)
    }

    fn take_line(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let end = memchr::memchr(b'\n', bytes);
        let length = end.map_or(bytes.len(), |end| end + 1);
        self.line.extend_from_slice(&bytes[..length]);
        let is_comment = self.at == At::Command && self.line.first() == Some(&b'#');
        if self.line.len() > if is_comment { COMMENT_BYTES_MAX } else { LINE_BYTES_MAX } {
            return Err("it has a line that is no part of a log".to_owned());
        }
        if end.is_none() {
            return Ok(length);
        }
        let line = std::mem::take(&mut self.line);
        if is_comment {
            return Ok(length);
        }
        let mark = if self.at == At::Command { b'*' } else { b'$' };
        let number = line.strip_prefix(&[mark]).and_then(|rest| rest.strip_suffix(b"\r\n"));
        let number = number.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
        match (self.at, number) {
            (At::Command, Some(words)) if words > 0 => {
                (self.words, self.is_first, self.at) = (words, true, At::Length);
                self.word.clear();
            }
            (At::Length, Some(length)) => self.at = At::Word(length),
            _ => return Err("it has a line that is no part of a log".to_owned()),
        }
        Ok(length)
    }

    fn end_word(&mut self) {
        (self.words, self.is_first, self.at) = (self.words - 1, false, At::Length);
        if self.words == 0 {
            self.at = At::Command;
            self.counted.commands += 1;
            self.in_transaction = match self.word.to_ascii_uppercase().as_slice() {
                b"MULTI" => true,
                b"EXEC" => false,
                _ => self.in_transaction,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$4\r\n\r\n*1\r\n";
    const MULTI: &[u8] = b"*1\r\n$5\r\nmulti\r\n";
    const EXEC: &[u8] = b"*1\r\n$4\r\nEXEC\r\n";

    fn read(pieces: &[&[u8]], at_once: usize) -> Result<Log, String> {
        let (mut log, all) = (Log::default(), pieces.concat());
        all.chunks(at_once).try_for_each(|piece| log.push(piece))?;
        Ok(log)
    }

    #[test]
    fn commands_are_counted_however_they_come_and_a_word_may_look_like_one() {
        let dump = include_bytes!("rdb/fixtures/redis-7.0.rdb");
        for at_once in [1, 7, 1 << 20] {
            let log = read(&[dump, b"#TS:1700000000\r\n", SET, MULTI, SET, EXEC], at_once).unwrap();
            let counted = log.finish().unwrap();
            assert_eq!((counted.commands, counted.bytes), (4, log.offset));
            assert!(counted.keys > 0);
        }
        assert_eq!(read(&[], 1).unwrap().finish(), Ok(Counted::default()));
    }

    #[test]
    fn what_is_cut_is_a_state_up_to_its_last_command_outside_of_a_transaction() {
        let all = [SET, SET, MULTI, SET, EXEC].concat();
        for cut in 0..all.len() {
            let whole = read(&[&all[..cut]], 5).unwrap().whole();
            let sets = (cut / SET.len()).min(2);
            assert_eq!((whole.bytes, whole.commands), ((sets * SET.len()) as u64, sets as u64), "cut at {cut}");
        }
        assert_eq!(read(&[&all], 5).unwrap().whole().commands, 5);
        assert!(read(&[MULTI], 5).unwrap().finish().is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic_and_however_they_are_cut_it_says_the_same(
            at in 0..1000_usize, damage: [u8; 6], at_once in 1..40_usize,
        ) {
            let mut all = [SET, MULTI, SET, EXEC, SET].concat();
            let at = at % (all.len() - damage.len());
            all[at..at + damage.len()].copy_from_slice(&damage);
            let says = |at_once| read(&[&all], at_once).ok().map(|log| (log.whole(), log.finish().ok()));
            proptest::prop_assert_eq!(says(at_once), says(1 << 20));
        }
    }

    #[test]
    fn what_is_no_log_is_told() {
        for wrong in [&b"hello\n"[..], b"*1\r\n$3\r\nSETxx", b"*0\r\n", b"*x\r\n", b"$3\r\n", &[b'*'; 100]] {
            assert!(read(&[wrong], 3).is_err(), "{wrong:?}");
        }
    }
}
