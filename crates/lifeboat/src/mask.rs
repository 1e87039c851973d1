//! Secrets that Lifeboat knows, taken out of what hooks print: they have its environment, and so its secrets.
//!
//! It cannot know all: a hook may read others from anywhere. So what hooks print is kept nowhere, and only shown with `--verbose`.

use operations::config::SecretSource;
use zeroize::Zeroizing;

use crate::app::App;

/// Parts of the names of variables that hold secrets.
const SECRET_NAMES: [&str; 7] = ["PASS", "SECRET", "TOKEN", "KEY", "CREDENTIAL", "CONNECTION_STRING", "DSN"];
/// What is shorter would take letters out of any text.
const SECRET_CHARS_MIN: usize = 4;
/// The same, of one line of several.
const LINE_CHARS_MIN: usize = 8;
/// What stands for a secret.
const MASKED: &str = "***";

/// Known secrets, the longest first.
pub struct Mask(Vec<Zeroizing<String>>);

impl Mask {
    /// Of the environment those in variables that are called so, or that are addresses with a login; the passwords of the
    /// copies that are given; and what lies in the files with secrets that the configuration names.
    pub fn of(app: &App) -> Self {
        let variables = app.run.environment.variables().iter();
        let of_environment = variables.filter(|(name, value)| is_secret(name, value)).map(|(_, value)| value.clone());
        let is_at_hand = |source: &&SecretSource| !matches!(source, SecretSource::Command { .. });
        let copies = app.settings.copies.iter().filter_map(|copy| copy.password().ok());
        let passwords = copies.filter(is_at_hand).filter_map(|source| Some(source.read().ok()?.expose().to_owned()));
        // One that cannot be read cannot be printed either.
        let of_files = app.settings.secret_files().into_iter().filter_map(|file| std::fs::read_to_string(file).ok());
        Self::new(of_environment.chain(passwords).chain(of_files))
    }

    fn new(secrets: impl Iterator<Item = String>) -> Self {
        let mut secrets: Vec<_> = secrets
            .map(Zeroizing::new)
            .flat_map(|secret| parts(&secret))
            .filter(|part| part.chars().count() >= SECRET_CHARS_MIN)
            .collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self(secrets)
    }

    /// The line without them.
    pub fn masked(&self, line: &str) -> String {
        self.0.iter().fold(line.to_owned(), |line, secret| line.replace(&***secret, MASKED))
    }
}

/// What may be printed of a secret: its lines, which are looked at one by one, and the password of an address.
fn parts(secret: &str) -> Vec<Zeroizing<String>> {
    let login = secret.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
    let password = login.and_then(|(login, _)| login.split_once(':')).map(|(_, password)| password);
    // A line of one or two letters, as in some keys, would take them out of any text.
    let is_long = |line: &&str| line.chars().count() >= LINE_CHARS_MIN || !secret.trim().contains('\n');
    let lines = secret.lines().map(str::trim).filter(is_long);
    lines.chain(password).map(|part| Zeroizing::new(part.to_owned())).collect()
}

fn is_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    SECRET_NAMES.iter().any(|part| name.contains(part)) || (value.contains("://") && value.contains('@'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_the_longest_first() {
        let mask = Mask::new(["hunter2", "hunter2-long", "abc"].map(str::to_owned).into_iter());
        assert_eq!(mask.masked("a hunter2-long, hunter2 and abc"), "a ***, *** and abc");
    }

    #[test]
    fn lines_of_a_secret_and_the_password_of_an_address_are_taken_out_by_themselves() {
        let key = "-----BEGIN KEY-----\nc2VjcmV0LWtleQ==\nab\n-----END KEY-----\n";
        let mask = Mask::new([key, "postgres://me:p@ss-word@host/db"].map(str::to_owned).into_iter());
        assert_eq!(mask.masked("a c2VjcmV0LWtleQ== ab"), "a *** ab");
        assert_eq!(mask.masked("as postgres://me:p@ss-word@host/db, by p@ss-word"), "as ***, by ***");
    }

    #[test]
    fn variables_with_secrets_are_known_by_name_or_by_a_login() {
        for (name, value) in [("DB_PASSWORD", "x"), ("api_token", "x"), ("DATABASE_URL", "postgres://a:b@c")] {
            assert!(is_secret(name, value), "{name}");
        }
        for (name, value) in [("HOME", "/root"), ("SITE", "https://example.org"), ("MAIL", "a@b")] {
            assert!(!is_secret(name, value), "{name}");
        }
    }
}
