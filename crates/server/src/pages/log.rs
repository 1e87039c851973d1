//! What a run said, line by line, in words.

use serde_json::Value;

use super::words::{plain, text};
use crate::journal::Run;
use crate::said;
use crate::shared::Shared;

/// The most that a page shows; the rest is in the events of the API.
const LINES_MAX: usize = 2000;

/// A line of a run's log.
pub struct LogLine {
    /// `problem`, `error`, `summary` or another name of what a command says.
    pub kind: String,
    /// What it says.
    pub text: String,
}

/// What a run has said so far; the last lines where it is much.
pub fn lines(shared: &Shared, run: &Run) -> Vec<LogLine> {
    let mut shown = std::collections::VecDeque::new();
    let mut start = 0;
    while let Ok(lines) = said::lines(&shared.runner.said_in(&run.id), start) {
        let Some(last) = lines.last() else { break };
        start = last.end;
        // What it said at its end is shown as its result.
        let is_result = |line: &&said::Line| run.summary.as_ref() == Some(&line.value);
        shown.extend(lines.iter().filter(|line| !is_result(line)).map(|line| told(&line.value)));
        let surplus = shown.len().saturating_sub(LINES_MAX);
        shown.drain(..surplus);
    }
    shown.into()
}

fn told(value: &Value) -> LogLine {
    let kind = text(&value["message_type"]);
    let told = match kind.as_str() {
        "text" | "note" => text(&value["text"]),
        "problem" => format!("{}: {}", text(&value["path"]), text(&value["what"])),
        "error" => format!("{} {}", text(&value["message"]), text(&value["hint"])),
        _ => facts(value).into_iter().map(|(name, value)| format!("{name}: {value}")).collect::<Vec<_>>().join(" · "),
    };
    LogLine { kind: kind.replace('_', " "), text: told.trim().to_owned() }
}

/// What an object says, name by name, but for what is empty.
pub fn facts(value: &Value) -> Vec<(String, String)> {
    let fields = value.as_object().into_iter().flatten().filter(|(name, _)| *name != "message_type");
    let told = fields.map(|(name, value)| (name.replace('_', " "), plain(value)));
    told.filter(|(_, value)| !value.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lines_are_told_in_words_and_what_is_empty_is_left_out() {
        let line = |value: Value| {
            let LogLine { kind, text } = told(&value);
            format!("{kind}| {text}")
        };
        assert_eq!(line(json!({ "message_type": "problem", "path": "/a", "what": "is gone" })), "problem| /a: is gone");
        assert_eq!(line(json!({ "message_type": "error", "message": "no", "hint": null })), "error| no");
        let summary = json!({ "message_type": "summary", "a_b": 1, "c": [], "d": {}, "e": ["x", "y"], "f": true });
        assert_eq!(line(summary), "summary| a b: 1 · e: x; y · f: yes");
        assert_eq!(line(json!({ "message_type": "passed_over", "copy": "nas" })), "passed over| copy: nas");
    }
}
