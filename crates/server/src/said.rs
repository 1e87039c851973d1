//! What a command said: its lines, and how it ended by them.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use serde_json::Value;

use crate::journal::{End, Status};

/// A line that is longer is cut: a message for people is not.
const LINE_BYTES_MAX: u64 = 4 << 20;
/// How much of a file is given at once.
const LINES_MAX: usize = 500;

/// A line, and where the next one begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The bytes before the next line.
    pub end: u64,
    /// The object, or `{"message_type": "text", "text": …}` for what was said beside the lines of JSON.
    pub value: Value,
}

/// Whole lines of a file from `start` on, a limited number. What is not there yet is no error.
///
/// # Errors
///
/// Where the file cannot be read.
pub fn lines(path: &Path, start: u64) -> std::io::Result<Vec<Line>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    file.seek(SeekFrom::Start(start))?;
    let mut reader = BufReader::new(file);
    let (mut lines, mut end) = (Vec::new(), start);
    while lines.len() < LINES_MAX {
        let mut line = Vec::new();
        let bytes = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if line.last() != Some(&b'\n') && (bytes as u64) < LINE_BYTES_MAX {
            break;
        }
        end += bytes as u64;
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if text.is_empty() {
            continue;
        }
        let object = serde_json::from_str::<Value>(text).ok().filter(Value::is_object);
        let value = object.unwrap_or_else(|| serde_json::json!({ "message_type": "text", "text": text }));
        lines.push(Line { end, value });
    }
    Ok(lines)
}

/// How a command ended, by its exit code, where that is known, and by what it said. One that did not say how it ended did
/// not end well, whatever its exit code.
pub fn end(path: &Path, exit: Option<i32>, is_cancelled: bool) -> End {
    let mut heard = Heard::default();
    let mut start = 0;
    while let Ok(lines) = lines(path, start) {
        let Some(last) = lines.last() else { break };
        start = last.end;
        lines.into_iter().for_each(|line| heard.hear(line.value));
    }
    heard.end(exit, is_cancelled)
}

/// What counts of all that was said.
#[derive(Default)]
struct Heard {
    summary: Option<Value>,
    error: Option<Value>,
    problems: u64,
    first_problem: Option<String>,
    last_text: Option<String>,
}

impl Heard {
    fn hear(&mut self, value: Value) {
        let text = |value: &Value, key: &str| value[key].as_str().map(str::to_owned);
        match value["message_type"].as_str() {
            Some("summary") => self.summary = Some(value),
            Some("error") => self.error = Some(value),
            Some("problem") => {
                self.problems += 1;
                let what = || Some(format!("{}: {}", text(&value, "path")?, text(&value, "what")?));
                self.first_problem = self.first_problem.take().or_else(what);
            }
            Some("text") => self.last_text = text(&value, "text").or(self.last_text.take()),
            _ => {}
        }
    }

    fn end(self, exit: Option<i32>, is_cancelled: bool) -> End {
        let status = self.status(exit, is_cancelled);
        let (mut message, mut hint) = match &self.error {
            Some(error) => (error["message"].as_str().map(str::to_owned), error["hint"].as_str().map(str::to_owned)),
            None => (self.told(), None),
        };
        match status {
            Status::Ok => (message, hint) = (None, None),
            Status::CutOff => {
                message = Some("it was cut off: its process is gone and did not say how it ended".to_owned());
            }
            Status::Cancelled => message = Some("it was cancelled".to_owned()),
            Status::Failed if message.is_none() => {
                message = Some("its process ended without saying how".to_owned());
                hint = Some("the log of the run may tell more".to_owned());
            }
            _ => {}
        }
        End { status, message, hint, summary: self.summary }
    }

    fn status(&self, exit: Option<i32>, is_cancelled: bool) -> Status {
        let has_ended = self.summary.is_some() || self.error.is_some();
        match exit {
            Some(0) if self.summary.is_some() => Status::Ok,
            Some(3) if has_ended => Status::Partial,
            Some(130) => Status::Cancelled,
            Some(_) => Status::Failed,
            None if is_cancelled => Status::Cancelled,
            None => self.status_said(),
        }
    }

    /// Of a process whose exit code nobody saw.
    fn status_said(&self) -> Status {
        let code = self.error.as_ref().and_then(|error| error["code"].as_str());
        let status = self.summary.as_ref().and_then(|summary| summary["status"].as_str());
        match (code, status) {
            (Some("cancelled"), _) => Status::Cancelled,
            (Some("partial"), _) => Status::Partial,
            (Some(_), _) => Status::Failed,
            (None, Some("ok" | "passed")) => Status::Ok,
            (None, Some("partial")) => Status::Partial,
            (None, Some(_)) => Status::Failed,
            (None, None) => Status::CutOff,
        }
    }

    /// The first problem, and how many more there were; else what the summary has of its own; else the last words.
    fn told(&self) -> Option<String> {
        match (&self.first_problem, self.problems) {
            (Some(first), 0 | 1) => return Some(first.clone()),
            (Some(first), several) => return Some(format!("{first}; and {} more", several - 1)),
            (None, _) => {}
        }
        let status = self.summary.as_ref().and_then(|summary| summary["status"].as_str());
        status.map(|status| format!("it ended as {status}; its log says more")).or_else(|| self.last_text.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(said: &str, exit: Option<i32>) -> (Status, Option<String>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), said).unwrap();
        let end = end(file.path(), exit, false);
        (end.status, end.message)
    }

    const OK: &str = "{\"message_type\":\"summary\",\"status\":\"ok\"}\n";

    #[test]
    fn who_does_not_say_how_it_ended_did_not_end_well() {
        assert_eq!(ended(OK, Some(0)), (Status::Ok, None));
        assert_eq!(ended(OK, None), (Status::Ok, None), "nobody saw its exit code");
        assert_eq!(ended("", Some(0)).0, Status::Failed);
        assert_eq!(ended("", None).0, Status::CutOff);
        assert_eq!(ended(OK, Some(1)).0, Status::Failed);
        assert_eq!(ended(OK.trim_end(), None).0, Status::CutOff, "half a line says nothing");
        assert_eq!(ended("thread panicked\n", Some(101)), (Status::Failed, Some("thread panicked".to_owned())));
    }

    #[test]
    fn what_went_wrong_is_told_in_short() {
        let error = "{\"message_type\":\"error\",\"code\":\"denied\",\"message\":\"no way\",\"hint\":\"try\"}\n";
        assert_eq!(ended(error, Some(1)), (Status::Failed, Some("no way".to_owned())));
        assert_eq!(ended(error, None), (Status::Failed, Some("no way".to_owned())));
        let problem = "{\"message_type\":\"problem\",\"path\":\"/a\",\"what\":\"is gone\"}\n";
        let partial = "{\"message_type\":\"summary\",\"status\":\"partial\"}\n";
        let told = ended(&format!("{problem}{problem}{partial}"), Some(3));
        assert_eq!(told, (Status::Partial, Some("/a: is gone; and 1 more".to_owned())));
        assert_eq!(ended("{\"message_type\":\"error\",\"code\":\"cancelled\"}\n", Some(130)).0, Status::Cancelled);
    }

    #[test]
    fn lines_can_be_read_from_any_place_on() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "{\"a\":1}\nplain\n\n{\"b\":2}\n{\"c\"").unwrap();
        let all = lines(file.path(), 0).unwrap();
        let values: Vec<_> = all.iter().map(|line| line.value.to_string()).collect();
        assert_eq!(values, ["{\"a\":1}", "{\"message_type\":\"text\",\"text\":\"plain\"}", "{\"b\":2}"]);
        assert_eq!(lines(file.path(), all[0].end).unwrap(), all[1..]);
        assert_eq!(lines(file.path(), all[2].end).unwrap(), []);
        assert_eq!(lines(Path::new("/nowhere/at/all"), 0).unwrap(), []);
    }
}
