//! What is said of a change. Nothing, where something is no longer wrong and the rest is as before: whoever was told of it hears
//! when all is well.

use jiff::Timestamp;

use super::message::Message;
use super::state::{Level, State, Trouble};

/// What to tell of `subject` on `host`, where it is worth a message.
pub fn message(host: &str, subject: &str, before: &State, now_is: &State, at: Timestamp) -> Option<Message> {
    let (was, is) = (before.level(), now_is.level());
    if is == Level::Well {
        return Some(recovered(host, subject, before, at));
    }
    // Two of the same kind have the same remedy.
    let count = |state: &State, like: &Trouble| state.troubles.iter().filter(|trouble| *trouble == like).count();
    let is_more = |trouble: &Trouble| count(now_is, trouble) > count(before, trouble);
    if is == was && !now_is.troubles.iter().any(is_more) {
        return None;
    }
    let word = match is {
        Level::Critical => "NOT SAFE",
        Level::Warning => "warning",
        Level::Notice | Level::Well => "notice",
    };
    let text: Vec<String> = now_is.troubles.iter().map(said).collect();
    Some(Message {
        title: format!("{subject} on {host}: {word}"),
        text: text.join("\n"),
        level: is,
        subject: subject.to_owned(),
        state: "problem",
        host: host.to_owned(),
        at,
    })
}

fn recovered(host: &str, subject: &str, before: &State, at: Timestamp) -> Message {
    let was: Vec<String> = before.troubles.iter().map(|trouble| format!("- {}", trouble.text)).collect();
    Message {
        title: format!("{subject} on {host}: well again"),
        text: format!("No longer so:\n{}", was.join("\n")),
        level: Level::Well,
        subject: subject.to_owned(),
        state: "recovered",
        host: host.to_owned(),
        at,
    }
}

/// A trouble, and what to do about it.
pub fn said(trouble: &Trouble) -> String {
    format!("- {}: {}\n  {}", trouble.level.name(), trouble.text, trouble.fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(troubles: &[(Level, &str, &str)]) -> State {
        let trouble = |(level, text, fix): &(Level, &str, &str)| Trouble {
            level: *level,
            text: (*text).to_owned(),
            fix: (*fix).to_owned(),
        };
        State { troubles: troubles.iter().map(trouble).collect() }
    }

    fn told(before: &State, now: &State) -> Option<(String, &'static str)> {
        message("host", "stack a", before, now, Timestamp::UNIX_EPOCH).map(|message| (message.title, message.state))
    }

    #[test]
    fn only_what_gets_different_is_told_and_that_all_is_well_again() {
        let well = State::default();
        let old = state(&[(Level::Warning, "6 h old", "back up")]);
        let older = state(&[(Level::Warning, "7 h old", "back up")]);
        let worse = state(&[(Level::Critical, "7 h old", "back up")]);
        let two = state(&[(Level::Warning, "7 h old", "back up"), (Level::Warning, "copy is gone", "mend it")]);
        let title = |word: &str| format!("stack a on host: {word}");
        assert_eq!(told(&well, &old), Some((title("warning"), "problem")));
        assert_eq!(old, older, "the same, only later");
        assert_eq!(told(&old, &worse), Some((title("NOT SAFE"), "problem")));
        assert_eq!(told(&worse, &old), Some((title("warning"), "problem")));
        assert_eq!(told(&old, &two), Some((title("warning"), "problem")), "something more is wrong");
        assert_eq!(told(&two, &old), None, "one of two was mended");
        let twice = state(&[(Level::Warning, "a is empty", "look"), (Level::Warning, "b is empty", "look")]);
        let once = state(&[(Level::Warning, "a is empty", "look")]);
        assert_eq!(told(&once, &twice), Some((title("warning"), "problem")), "another of the same kind");
        assert_eq!(told(&twice, &once), None);
        assert_eq!(told(&old, &well), Some((title("well again"), "recovered")));
    }
}
