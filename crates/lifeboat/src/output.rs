//! What goes to standard output and standard error: text for people, or JSON lines for programs.

use std::borrow::Cow;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use operations::status::Severity;
use operations::{Fault, FaultKind};
use serde::Serialize;
use serde_json::{Value, json};
use zeroize::Zeroizing;

/// How results are printed.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    json: bool,
    quiet: bool,
}

/// How a command ended, where it did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All of it was done.
    Ok,
    /// Something was left out, or is doubtful.
    Partial,
    /// What was looked at is bad: damage found, a drill failed.
    Bad,
}

impl Outcome {
    /// The worse of two.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Bad, _) | (_, Self::Bad) => Self::Bad,
            (Self::Partial, _) | (_, Self::Partial) => Self::Partial,
            (Self::Ok, Self::Ok) => Self::Ok,
        }
    }
}

impl From<Severity> for Outcome {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Notice => Self::Ok,
            Severity::Warning => Self::Partial,
            Severity::Critical => Self::Bad,
        }
    }
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Ok => Self::SUCCESS,
            Outcome::Bad => Self::from(1),
            Outcome::Partial => Self::from(3),
        }
    }
}

impl Output {
    pub fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    pub fn is_json(self) -> bool {
        self.json
    }

    pub fn is_quiet(self) -> bool {
        self.quiet
    }

    /// A line for people, left out with `--json`. It stays one line, whatever names are in it.
    pub fn text(self, line: impl AsRef<str>) {
        if !self.json {
            print(&one_line(line.as_ref()));
        }
    }

    /// A line for people that `--quiet` leaves out, too.
    pub fn chat(self, line: impl AsRef<str>) {
        if !self.quiet {
            self.text(line);
        }
    }

    /// One object, with its `message_type`; left out for people.
    pub fn json(self, message_type: &str, value: impl Serialize) {
        if self.json {
            print(&to_line(message_type, value));
        }
    }

    /// The last line of a command that worked.
    pub fn summary(self, value: impl Serialize) {
        self.json("summary", value);
    }

    /// What a command was asked for, byte for byte, whether for people or for programs.
    pub fn raw(self, bytes: &[u8]) {
        let _ = std::io::stdout().write_all(bytes);
    }

    /// Reports what kept a command from working.
    pub fn fault(self, fault: &Fault) -> ExitCode {
        if self.json {
            print(&fault.to_json().to_string());
        } else {
            complain(&format!("error: {}", fault.text()));
            if let Some(hint) = &fault.hint {
                complain(&format!("  {hint}"));
            }
        }
        ExitCode::from(fault.exit_code())
    }

    /// Names a copy that could not be used, where another one serves.
    pub fn passed_over(self, copy: &str, fault: &Fault) {
        let (code, message) = (fault.code(), fault.text());
        self.json("passed_over", json!({ "copy": copy, "code": code, "message": message, "hint": fault.hint }));
        if !self.json {
            complain(&format!("passed over copy {copy}: {message}"));
            fault.hint.iter().for_each(|hint| complain(&format!("  {hint}")));
        }
    }

    /// Names a removable copy that is somewhere else.
    pub fn absent(self, copy: &str) {
        self.json("absent", json!({ "copy": copy }));
        self.chat(format!("copy {copy} is not here, which a removable copy may be"));
    }

    /// Says what became of a container that an earlier run had halted.
    pub fn left_halted(self, container: &str, what: &str) {
        self.json("left_halted", json!({ "container": container, "message": what }));
        if !self.json {
            complain(&format!("container {container}: {what}"));
        }
    }

    /// Asks on the terminal. `None` where there is none to ask.
    pub fn ask(self, question: &str) -> Option<String> {
        if self.json || !std::io::stdin().is_terminal() {
            return None;
        }
        let mut error = std::io::stderr();
        // A terminal that cannot be written cannot be asked either.
        write!(error, "{question} ").and_then(|()| error.flush()).ok()?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).ok()?;
        Some(answer.trim().to_owned())
    }
}

impl Output {
    /// Asks for a secret on the terminal, without showing what is typed. `None` where there is none to ask.
    pub fn ask_secret(self, question: &str) -> Option<Zeroizing<String>> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &silent).ok()?;
        let answer = self.ask(question).map(Zeroizing::new);
        // The terminal must not stay silent; if even this fails, `stty echo` mends it.
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &before);
        complain("");
        answer
    }
}

/// A usage error, or the help or version that was asked for.
pub fn usage(error: &clap::Error, json: bool) -> ExitCode {
    if !error.use_stderr() {
        // Where not even this can be printed, there is nobody to tell.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if json {
        let text = error.render().to_string();
        let mut paragraphs = text.split("\n\n").map(str::trim);
        let message = paragraphs.next().unwrap_or_default().trim_start_matches("error: ");
        let message = message.split_whitespace().collect::<Vec<_>>().join(" ");
        let tip = paragraphs.find_map(|paragraph| paragraph.strip_prefix("tip: ")).unwrap_or("see `lifeboat --help`");
        return Output::new(true, false).fault(&Fault::new(FaultKind::Usage, message).with_hint(tip));
    }
    // The exit code says it, too.
    let _ = error.print();
    ExitCode::from(FaultKind::Usage.exit_code())
}

fn to_line(message_type: &str, value: impl Serialize) -> String {
    let mut object = serde_json::Map::new();
    object.insert("message_type".to_owned(), message_type.into());
    if let Ok(Value::Object(fields)) = serde_json::to_value(value) {
        object.extend(fields);
    }
    Value::Object(object).to_string()
}

/// Standard output may be a pipe that nobody reads any more (`| head`); then there is nobody to tell.
pub fn print(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line on standard error.
pub fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{}", harmless(line, &['\n', '\t']));
}

/// Text that takes one line, whatever names are in it.
pub fn one_line(text: &str) -> Cow<'_, str> {
    harmless(text, &[])
}

/// Text without control characters, but for those that are `allowed`: a file's name must not speak to the terminal.
fn harmless<'t>(text: &'t str, allowed: &[char]) -> Cow<'t, str> {
    let is_harmful = |character: char| character.is_control() && !allowed.contains(&character);
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmful(character) { shown.extend(character.escape_default()) } else { shown.push(character) }
    }
    Cow::Owned(shown)
}

/// Bytes for people: three digits and a unit.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// Seconds for people.
pub fn seconds(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{seconds:.2} s")
    } else if seconds < 10.0 {
        format!("{seconds:.1} s")
    } else if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if seconds < 7200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}

/// A count and its noun.
pub fn count(number: u64, noun: &str) -> String {
    let plural = match noun.strip_suffix('y') {
        _ if number == 1 => noun.to_owned(),
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{noun}s"),
    };
    format!("{number} {plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_plain() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1000), "0.98 KiB");
        assert_eq!(bytes(1 << 20), "1.00 MiB");
        assert_eq!(bytes(150 << 30), "150 GiB");
        assert_eq!(seconds(0.04), "0.04 s");
        assert_eq!(seconds(300.0), "5 min");
        assert_eq!(count(1, "entry"), "1 entry");
        assert_eq!(count(2, "entry"), "2 entries");
        assert_eq!(count(0, "file"), "0 files");
        assert_eq!(count(2, "key"), "2 keys");
    }

    #[test]
    fn names_do_not_speak_to_the_terminal() {
        assert_eq!(one_line("a\nsnapshot is complete\x1b[31m\x7f"), "a\\nsnapshot is complete\\u{1b}[31m\\u{7f}");
        assert_eq!(harmless("two\nlines\r\x07", &['\n']), "two\nlines\\r\\u{7}");
        assert!(matches!(one_line("é plain"), Cow::Borrowed("é plain")));
    }
}
