//! What a run does: a command of this very program, with its arguments.

use std::ffi::OsString;

use serde::{Deserialize, Serialize};

/// Something that the server does, on its own or because somebody asked. A secret is never part of it, as it becomes the
/// arguments of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Task {
    /// Takes a snapshot of a stack.
    Backup {
        /// The stack.
        stack: String,
        /// Only these sources; all where none is named.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        sources: Vec<String>,
        /// Only into these copies; all where none is named.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        copies: Vec<String>,
    },
    /// Restores a snapshot of a stack and compares it.
    Drill {
        /// The stack.
        stack: String,
        /// The copy to restore from; every one where none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        copy: Option<String>,
        /// The snapshot; the newest where none is named.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        snapshot: Option<String>,
        /// How deeply; as the stack says where it is not said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        level: Option<u8>,
    },
    /// Puts back what a snapshot has.
    Restore {
        /// What, as `SNAPSHOT[:SOURCE[/PATH]]`, `lifeboat:COPY/SNAPSHOT[/SOURCE[/PATH]]`, or an archive's path or URL.
        uri: String,
        /// The folder that it goes into. Without it, it goes to where it came from.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<String>,
        /// Only says what would be done.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        dry_run: bool,
    },
    /// Looks for damage in copies.
    Check {
        /// Only in this copy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        copy: Option<String>,
        /// Reads every byte.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        read_data: bool,
        /// Reads this share of the data, in percent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subset: Option<u8>,
    },
    /// Mends a copy from the others.
    Heal {
        /// Only this copy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        copy: Option<String>,
        /// Reads every byte.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        read_data: bool,
    },
    /// Brings copies into step.
    Sync {
        /// Only this copy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        copy: Option<String>,
    },
    /// Removes the snapshots that no rule keeps, and what no snapshot needs any more.
    Prune {
        /// Only in this copy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        copy: Option<String>,
    },
    /// Tries what who has this host's credentials may do to the copies.
    TamperTest {
        /// Only this copy.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        copy: Option<String>,
    },
}

/// The kinds of task; see [`Task::kind`].
pub const KINDS: [&str; 8] = ["backup", "drill", "restore", "check", "heal", "sync", "prune", "tamper-test"];

impl Task {
    /// What it does, in one word: limits and filters go by it.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Backup { .. } => "backup",
            Self::Drill { .. } => "drill",
            Self::Restore { .. } => "restore",
            Self::Check { .. } => "check",
            Self::Heal { .. } => "heal",
            Self::Sync { .. } => "sync",
            Self::Prune { .. } => "prune",
            Self::TamperTest { .. } => "tamper-test",
        }
    }

    /// The stack that it is about, where it is about one.
    pub fn stack(&self) -> Option<&str> {
        match self {
            Self::Backup { stack, .. } | Self::Drill { stack, .. } => Some(stack),
            _ => None,
        }
    }

    /// The copy that it is about, where it is about one.
    pub fn copy(&self) -> Option<&str> {
        match self {
            Self::Backup { .. } | Self::Restore { .. } => None,
            Self::Drill { copy, .. }
            | Self::Check { copy, .. }
            | Self::Heal { copy, .. }
            | Self::Sync { copy }
            | Self::Prune { copy }
            | Self::TamperTest { copy } => copy.as_deref(),
        }
    }

    /// The snapshot that was named.
    pub fn snapshot(&self) -> Option<&str> {
        match self {
            Self::Drill { snapshot, .. } => snapshot.as_deref(),
            _ => None,
        }
    }

    /// What is restored.
    pub fn uri(&self) -> Option<&str> {
        match self {
            Self::Restore { uri, .. } => Some(uri),
            _ => None,
        }
    }

    /// The folder that is restored into.
    pub fn to(&self) -> Option<&str> {
        match self {
            Self::Restore { to, .. } => to.as_deref(),
            _ => None,
        }
    }

    /// The command and its arguments, which come last of all. What was typed by somebody comes after `--` or as the value of an option, so that none of
    /// it is taken for an option.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut line = Line::default();
        match self {
            Self::Backup { stack, sources, copies } => {
                line.word("backup").options("--source", sources).options("--copy", copies).rest(stack)
            }
            Self::Drill { stack, copy, snapshot, level } => {
                line.word("drill").option("--copy", copy.as_ref()).option("--snapshot", snapshot.as_ref());
                line.option("--level", level.as_ref()).flag("--all-copies", copy.is_none());
                line.rest(stack)
            }
            Self::Restore { uri, to, dry_run } => {
                line.word("restore").flag("--dry-run", *dry_run).option("--to", to.as_ref());
                line.flag("--in-place", to.is_none()).flag("--yes", to.is_none());
                line.rest(uri)
            }
            Self::Check { copy, read_data, subset } => {
                line.word("check").option("--copy", copy.as_ref()).flag("--read-data", *read_data);
                line.option("--read-data-subset", subset.map(|percent| format!("{percent}%")).as_ref())
            }
            Self::Heal { copy, read_data } => {
                line.word("heal").option("--copy", copy.as_ref()).flag("--read-data", *read_data)
            }
            Self::Sync { copy } => line.word("sync").option("--copy", copy.as_ref()),
            Self::Prune { copy } => line.word("forget").word("--prune").option("--copy", copy.as_ref()),
            Self::TamperTest { copy } => {
                line.word("copies").word("test");
                match copy {
                    Some(copy) => line.rest(copy),
                    None => &mut line,
                }
            }
        };
        line.0
    }
}

/// A command line while it is put together.
#[derive(Default)]
struct Line(Vec<OsString>);

impl Line {
    fn word(&mut self, word: &str) -> &mut Self {
        self.0.push(word.into());
        self
    }

    fn flag(&mut self, name: &str, is_set: bool) -> &mut Self {
        if is_set { self.word(name) } else { self }
    }

    fn option(&mut self, name: &str, value: Option<&impl ToString>) -> &mut Self {
        match value {
            Some(value) => self.word(&format!("{name}={}", value.to_string())),
            None => self,
        }
    }

    fn options(&mut self, name: &str, values: &[String]) -> &mut Self {
        for value in values {
            self.option(name, Some(value));
        }
        self
    }

    fn rest(&mut self, word: &str) -> &mut Self {
        self.word("--").word(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(task: &str) -> String {
        let task: Task = serde_json::from_str(task).unwrap();
        let words: Vec<_> = task.arguments().into_iter().map(|word| word.into_string().unwrap()).collect();
        words.join(" ")
    }

    #[test]
    fn what_is_asked_for_becomes_a_command_and_never_an_option() {
        assert_eq!(line(r#"{"kind":"backup","stack":"--json"}"#), "backup -- --json");
        assert_eq!(
            line(r#"{"kind":"backup","stack":"a","sources":["-x"],"copies":["b","c"]}"#),
            "backup --source=-x --copy=b --copy=c -- a"
        );
        assert_eq!(line(r#"{"kind":"drill","stack":"a"}"#), "drill --all-copies -- a");
        assert_eq!(line(r#"{"kind":"drill","stack":"a","copy":"b","level":2}"#), "drill --copy=b --level=2 -- a");
        assert_eq!(line(r#"{"kind":"restore","uri":"lifeboat:a/1"}"#), "restore --in-place --yes -- lifeboat:a/1");
        assert_eq!(line(r#"{"kind":"restore","uri":"1","to":"/x"}"#), "restore --to=/x -- 1");
        assert_eq!(line(r#"{"kind":"check","subset":5}"#), "check --read-data-subset=5%");
        assert_eq!(line(r#"{"kind":"prune","copy":"a"}"#), "forget --prune --copy=a");
        assert_eq!(line(r#"{"kind":"tamper-test"}"#), "copies test");
    }
}
