//! What the server tells whoever runs it: a line each on standard error, as the journal of systemd and log shippers read them.

use std::io::Write as _;
use std::sync::LazyLock;

use rustix::fs::FileType;

/// Whether the journal of systemd listens, which takes lines by a socket.
static IS_JOURNAL: LazyLock<bool> = LazyLock::new(|| {
    rustix::fs::fstat(std::io::stderr()).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Socket)
});

/// Writes `level: message key=value …`, on one line whatever is in it. Never a secret.
pub fn line(level: &str, message: &str, fields: &[(&str, &str)]) {
    let mut line = format!("{}{level}: {}", priority(level), plain(message));
    for (key, value) in fields {
        line.push_str(&format!(" {key}={}", quoted(&plain(value))));
    }
    // Where nobody listens, nobody is told.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// As of sd-daemon(3): the journal takes it off and files the line under it.
fn priority(level: &str) -> &'static str {
    match level {
        _ if !*IS_JOURNAL => "",
        "error" => "<3>",
        "warning" => "<4>",
        _ => "<6>",
    }
}

/// What would be taken for more than one value stands in quotes, as in logfmt.
fn quoted(value: &str) -> String {
    match value.is_empty() || value.contains([' ', '"', '=']) {
        true => format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")),
        false => value.to_owned(),
    }
}

fn plain(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_apart() {
        let all = ["ok", "", "two words", "a=b", "say \"no\" \\o"].map(quoted);
        assert_eq!(all, ["ok", "\"\"", "\"two words\"", "\"a=b\"", "\"say \\\"no\\\" \\\\o\""]);
        assert_eq!(plain("one\nline\x1b[0m"), "one line [0m");
    }
}
