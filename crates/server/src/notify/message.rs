//! What somebody is told.

use jiff::Timestamp;

use super::state::Level;

/// What somebody is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// In a line.
    pub title: String,
    /// At length, in lines of plain text.
    pub text: String,
    /// How bad it is.
    pub level: Level,
    /// What it is about, such as `stack NAME`.
    pub subject: String,
    /// `problem`, `recovered`, `digest` or `test`.
    pub state: &'static str,
    /// The host that tells it.
    pub host: String,
    /// When.
    pub at: Timestamp,
}

impl Message {
    /// One that says only that messages arrive.
    pub fn test(host: &str, at: Timestamp) -> Self {
        Self {
            title: format!("Lifeboat on {host}: a test"),
            text: "This is a test. Nothing is wrong.".to_owned(),
            level: Level::Well,
            subject: "test".to_owned(),
            state: "test",
            host: host.to_owned(),
            at,
        }
    }
}
