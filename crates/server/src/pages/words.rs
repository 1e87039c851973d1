//! Times, sizes and names as people read them.

use jiff::Timestamp;
use serde_json::Value;

use crate::task::Task;

/// How long ago, or how soon.
pub fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs();
    let long = |seconds: i64| match seconds {
        ..5400 => format!("{} min", seconds / 60),
        5400..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86400),
    };
    match seconds {
        -59..60 => "just now".to_owned(),
        60.. => format!("{} ago", long(seconds)),
        _ => format!("in {}", long(-seconds)),
    }
}

/// To the minute.
pub fn minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// The time in a text of a command.
pub fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// How long it took.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        ..1.0 => format!("{:.0} ms", seconds * 1000.0),
        1.0..60.0 => format!("{seconds:.1} s"),
        60.0..3600.0 => format!("{:.1} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

/// With the unit that leaves a short number.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut number, mut unit) = (bytes as f64 / 1024.0, 0);
    while number >= 1024.0 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    format!("{number:.1} {}", UNITS[unit])
}

/// So much of an id as people compare.
pub fn short(id: &str) -> String {
    id.chars().take(8).collect()
}

/// A text, or nothing.
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// The texts of a list.
pub fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(text).collect()
}

/// What a value says, without the marks of JSON. What is empty says nothing.
pub fn plain(value: &Value) -> String {
    let joined =
        |texts: Vec<String>, by: &str| texts.into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(by);
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Array(all) => joined(all.iter().map(plain).collect(), "; "),
        Value::Object(all) => {
            let named = |(name, value): (&String, &Value)| match plain(value) {
                text if text.is_empty() => text,
                text => format!("{} {text}", name.replace('_', " ")),
            };
            joined(all.iter().map(named).collect(), ", ")
        }
    }
}

/// What a task does, as a button or a heading says it.
pub fn deed(task: &Task) -> String {
    let in_copy = |copy: &Option<String>| copy.as_ref().map_or(String::new(), |copy| format!(" {copy}"));
    match task {
        Task::Backup { stack, sources, .. } if sources.is_empty() => format!("Back up {stack}"),
        Task::Backup { stack, sources, .. } => format!("Back up {stack}, only {}", sources.join(", ")),
        Task::Drill { stack, copy: None, .. } => format!("Drill {stack} from every copy"),
        Task::Drill { stack, copy: Some(copy), .. } => format!("Drill {stack} from {copy}"),
        Task::Restore { uri, dry_run: true, .. } => format!("Preview of restoring {}", shortened(uri)),
        Task::Restore { uri, to: None, .. } => format!("Restore {} in place", shortened(uri)),
        Task::Restore { uri, .. } => format!("Restore {}", shortened(uri)),
        Task::Check { copy, read_data: true, .. } => format!("Check every byte{}", of(copy)),
        Task::Check { copy, .. } => format!("Check{}", in_copy(copy)),
        Task::Heal { copy, .. } => format!("Heal{}", in_copy(copy)),
        Task::Sync { copy } => format!("Sync{}", in_copy(copy)),
        Task::Prune { copy } => format!("Prune{}", in_copy(copy)),
        Task::TamperTest { copy } => format!("Tamper test{}", of(copy)),
    }
}

fn of(copy: &Option<String>) -> String {
    copy.as_ref().map_or(String::new(), |copy| format!(" of {copy}"))
}

/// A URI with its long ids cut short.
fn shortened(uri: &str) -> String {
    let is_id = |part: &str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut shown = String::new();
    for part in uri.split_inclusive(['/', ':']) {
        let name = part.trim_end_matches(['/', ':']);
        match is_id(name) {
            true => shown.push_str(&(short(name) + &part[name.len()..])),
            false => shown.push_str(part),
        }
    }
    shown
}

/// For the part of a URL behind `?` or in its path.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' | b'~' => escaped.push(char::from(byte)),
            _ => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_short_words() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!(ago(at(0), at(30)), "just now");
        assert_eq!(ago(at(0), at(3600)), "60 min ago");
        assert_eq!(ago(at(90_000), at(0)), "in 25 hours");
        assert_eq!((bytes(1023), bytes(1536)), ("1023 B".to_owned(), "1.5 KiB".to_owned()));
        assert_eq!(bytes(u64::MAX), "16384.0 PiB");
        assert_eq!((seconds(0.02), seconds(90.0)), ("20 ms".to_owned(), "1.5 min".to_owned()));
        let value = serde_json::json!([{ "a_b": 1, "c": [], "d": null }, { "e": true }]);
        assert_eq!(plain(&value), "a b 1; e yes");
        assert_eq!(shortened(&format!("lifeboat:disk/{}/a", "ab".repeat(32))), "lifeboat:disk/abababab/a");
        assert_eq!(escaped("ü &/"), "%C3%BC%20%26%2F");
    }
}
