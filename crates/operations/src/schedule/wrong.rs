//! What is wrong with an expression, and what to write instead.

use std::fmt;

/// Why a text is no cron expression, in words for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongExpression {
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub hint: String,
}

impl WrongExpression {
    pub(super) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }
}

impl fmt::Display for WrongExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.hint)
    }
}

impl std::error::Error for WrongExpression {}

/// A part of the expression as messages show it. It may come out of a variable, so nothing in it reaches a terminal as a
/// command to it.
pub(super) fn quoted(text: &str) -> String {
    format!("`{}`", text.escape_debug())
}
