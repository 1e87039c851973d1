//! A dump in SQL, parted as the client that loads it does: into comments between statements, and statements.
//!
//! Only so is it known that a line is a comment of the dump and no part of a text or of somebody's procedure. Memory does not
//! grow with the data: of a statement no more than its beginning is kept.

#[cfg(test)]
mod tests;

/// What is kept of a statement: enough for what it does, and to what. A name has at most 64 characters.
const HEAD_BYTES_MAX: usize = 2 << 10;
/// A line between statements, such as one that names a database, is never longer.
const LINE_BYTES_MAX: usize = 64 << 10;
/// What stands before the rows of a statement.
const VALUES: &[u8] = b"VALUES";
const DELIMITER: &[u8] = b"DELIMITER ";
/// How a line begins that is a comment. The second stands at the top of dumps of MariaDB.
const COMMENTS: [&[u8]; 2] = [b"--", b"/*M!999999"];

/// A part of a dump that has ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// A line between statements that says something to whoever reads it; without its end.
    Comment(&'a [u8]),
    /// A statement.
    Statement {
        /// How it begins.
        head: &'a [u8],
        /// The rows that it inserts.
        rows: u64,
        /// It is a body, such as that of a procedure, which a delimiter of its own ends.
        is_body: bool,
    },
}

/// Where in the dump the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// Between statements.
    Top,
    /// In a statement, outside of everything that follows.
    Plain,
    /// In a text or a name, which this byte ends.
    Quoted(u8),
    /// After a backslash in one.
    Escaped(u8),
    /// In a comment that the end of the line ends.
    LineComment,
    /// After `/*`, and after `/*M`: an exclamation mark makes SQL of what follows.
    BlockBegins(bool),
    /// In a comment that `*/` ends; with whether the star has come.
    BlockComment(bool),
}

/// Parts a dump, piece by piece.
pub struct Reader {
    at: At,
    delimiter: Vec<u8>,
    head: Vec<u8>,
    /// The last two bytes of plain SQL.
    last: [u8; 2],
    /// What came last in plain SQL outside of brackets, blanks left out, while it is not known where the rows begin.
    word: [u8; VALUES.len()],
    has_values: bool,
    depth: u32,
    rows: u64,
    /// How much of the delimiter has come.
    matched: usize,
    /// Backslashes are plain letters, as a `sql_mode` may have it.
    plain_backslashes: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self {
            at: At::Top,
            delimiter: b";".to_vec(),
            head: Vec::new(),
            last: [b'\n'; 2],
            word: [0; VALUES.len()],
            has_values: false,
            depth: 0,
            rows: 0,
            matched: 0,
            plain_backslashes: false,
        }
    }
}

impl Reader {
    /// Takes in the beginning of `bytes`, up to the end of one part at most; gives how many, and the part that ended. None
    /// are taken in where more must come first: they are to be given again with what follows.
    pub fn take<'a>(&'a mut self, bytes: &'a [u8]) -> Result<(usize, Option<Part<'a>>), String> {
        if self.at == At::Top {
            return self.take_at_top(bytes);
        }
        let length = self.take_statement(bytes);
        let room = HEAD_BYTES_MAX - self.head.len();
        self.head.extend_from_slice(&bytes[..length.min(room)]);
        if self.matched < self.delimiter.len() {
            return Ok((length, None));
        }
        self.at = At::Top;
        let head = self.head.trim_ascii();
        self.plain_backslashes = sets_mode(head).unwrap_or(self.plain_backslashes);
        let is_body = self.delimiter != b";";
        Ok((length, Some(Part::Statement { head, rows: self.rows, is_body })))
    }

    /// Whether the dump may end here.
    pub fn is_at_top(&self) -> bool {
        self.at == At::Top
    }

    fn take_at_top<'a>(&mut self, bytes: &'a [u8]) -> Result<(usize, Option<Part<'a>>), String> {
        let blanks = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        if blanks > 0 {
            return Ok((blanks, None));
        }
        let could_be = |begin: &&[u8]| bytes.len() < begin.len() && begin.starts_with(bytes);
        if COMMENTS.iter().chain([&DELIMITER]).any(could_be) {
            return Ok((0, None));
        }
        let is_comment = COMMENTS.iter().any(|begin| bytes.starts_with(begin));
        if is_comment || bytes.starts_with(DELIMITER) {
            let Some(end) = memchr::memchr(b'\n', bytes) else {
                let is_long = bytes.len() > LINE_BYTES_MAX;
                return if is_long { Err("has an endless line".to_owned()) } else { Ok((0, None)) };
            };
            if is_comment {
                return Ok((end + 1, Some(Part::Comment(bytes[..end].trim_ascii_end()))));
            }
            self.delimiter = bytes[DELIMITER.len()..end].trim_ascii().to_vec();
            if self.delimiter.is_empty() {
                return Err("has an empty delimiter".to_owned());
            }
            return Ok((end + 1, None));
        }
        self.begin();
        Ok((0, None))
    }

    fn begin(&mut self) {
        self.at = At::Plain;
        self.head.clear();
        (self.last, self.word, self.has_values) = ([b'\n'; 2], [0; VALUES.len()], false);
        (self.depth, self.rows, self.matched) = (0, 0, 0);
    }

    /// Goes on to the end of the statement, or of the bytes. Gives how far.
    fn take_statement(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while at < bytes.len() && self.matched < self.delimiter.len() {
            // Texts are long, and most of their bytes end nothing.
            if let At::Quoted(quote) = self.at {
                match memchr::memchr2(quote, b'\\', &bytes[at..]) {
                    None => return bytes.len(),
                    Some(next) => at += next,
                }
            }
            self.step(bytes[at]);
            at += 1;
        }
        at
    }

    fn step(&mut self, byte: u8) {
        match self.at {
            At::Plain => self.step_plainly(byte),
            At::Quoted(quote) if byte == quote => self.at = At::Plain,
            // Names know no backslashes.
            At::Quoted(quote @ (b'\'' | b'"')) if byte == b'\\' && !self.plain_backslashes => {
                self.at = At::Escaped(quote);
            }
            At::Escaped(quote) => self.at = At::Quoted(quote),
            At::LineComment if byte == b'\n' => self.be_plain(),
            At::BlockBegins(_) if byte == b'!' => self.be_plain(),
            At::BlockBegins(false) if byte == b'M' => self.at = At::BlockBegins(true),
            At::BlockComment(true) if byte == b'/' => self.be_plain(),
            At::BlockBegins(_) | At::BlockComment(_) => self.at = At::BlockComment(byte == b'*'),
            At::Top | At::Quoted(_) | At::LineComment => {}
        }
    }

    fn be_plain(&mut self) {
        (self.at, self.last, self.matched) = (At::Plain, [b' '; 2], 0);
    }

    fn step_plainly(&mut self, byte: u8) {
        let [_, before] = self.last;
        match byte {
            // A quote within a text is doubled: a text that ends, and another one that begins.
            b'\'' | b'"' | b'`' => self.at = At::Quoted(byte),
            b'#' => self.at = At::LineComment,
            b'*' if before == b'/' => self.at = At::BlockBegins(false),
            // Two dashes are a comment where a blank follows.
            _ if self.last == *b"--" && byte.is_ascii_whitespace() && byte != b'\n' => self.at = At::LineComment,
            _ => {}
        }
        self.count(byte);
        self.match_delimiter(byte);
        self.last = [before, byte];
    }

    /// Counts rows: what stands in brackets after `VALUES`, one in brackets each.
    fn count(&mut self, byte: u8) {
        match byte {
            b'(' => {
                if self.depth == 0 {
                    self.has_values |= self.word.eq_ignore_ascii_case(VALUES);
                    self.rows += u64::from(self.has_values);
                }
                self.depth += 1;
            }
            b')' => self.depth = self.depth.saturating_sub(1),
            _ if self.has_values || self.depth > 0 || byte.is_ascii_whitespace() => {}
            _ => {
                self.word.rotate_left(1);
                self.word[VALUES.len() - 1] = byte;
            }
        }
    }

    fn match_delimiter(&mut self, byte: u8) {
        if self.delimiter.get(self.matched) == Some(&byte) {
            self.matched += 1;
        } else {
            self.matched = usize::from(self.delimiter.first() == Some(&byte));
        }
    }
}

/// Whether a statement sets `sql_mode`, and then whether backslashes are plain letters.
fn sets_mode(head: &[u8]) -> Option<bool> {
    let head = std::str::from_utf8(&head[..head.len().min(HEAD_BYTES_MAX)]).ok()?;
    let (before, mode) = head.split_once("SET sql_mode")?;
    before.trim_start().starts_with("/*!").then(|| mode.contains("NO_BACKSLASH_ESCAPES"))
}

/// The name in backquotes that `text` begins with.
pub fn quoted_name(text: &[u8]) -> Option<String> {
    let mut rest = text.strip_prefix(b"`")?;
    let mut name = Vec::new();
    loop {
        let end = memchr::memchr(b'`', rest)?;
        name.extend_from_slice(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(b"`") {
            Some(after) => {
                name.push(b'`');
                rest = after;
            }
            None => return String::from_utf8(name).ok(),
        }
    }
}
