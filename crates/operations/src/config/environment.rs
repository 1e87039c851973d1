//! The seam to the environment: its variables, and what else the configuration's defaults depend on. Also the one rule
//! for `${VAR}`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::tz::TimeZone;

/// What the process was started with. Nothing else in Lifeboat asks for environment variables.
#[derive(Clone)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    time_zone: TimeZone,
    is_root: bool,
}

impl Environment {
    /// The environment of this process. Variables that are not UTF-8 count as unset.
    #[expect(clippy::disallowed_methods, reason = "this is the seam that everything else goes through")]
    pub fn of_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self {
            variables: std::env::vars_os().filter_map(text).collect(),
            time_zone: TimeZone::system(),
            is_root: rustix::process::geteuid().is_root(),
        }
    }

    /// An environment with these variables, in UTC, of a plain user. For tests and simulations.
    pub fn of<K: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect();
        Self { variables, time_zone: TimeZone::UTC, is_root: false }
    }

    /// A variable's value, if it is set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// All variables, for what reads them by rules of its own, such as Compose files.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.variables
    }

    /// The machine's time zone.
    pub fn time_zone(&self) -> &TimeZone {
        &self.time_zone
    }

    /// Where state goes that no configuration places: the folder that systemd names in `$STATE_DIRECTORY`; else
    /// `/var/lib/lifeboat` for root, and for others by the XDG base directories.
    /// `None` if a plain user has no home.
    pub fn state_dir(&self) -> Option<PathBuf> {
        // The XDG specification says to ignore values that are not absolute.
        let absolute = |name| self.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        if let Some(given) = absolute("STATE_DIRECTORY") {
            return Some(given);
        }
        if self.is_root {
            return Some(PathBuf::from("/var/lib/lifeboat"));
        }
        let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
        Some(state.join("lifeboat"))
    }

    /// Replaces `${VAR}` and `${VAR:-default}`; `$$` is a dollar. Any other `$` stays as it is, so that shell commands
    /// keep their `$1`. As in a shell, the default also stands in for an empty value. The error is for the user.
    pub fn replace(&self, text: &str) -> Result<String, String> {
        self.expand(text, |_, value, replaced| replaced.push_str(value))
    }

    /// The same for a text that a shell will run with this environment: `${VAR}` stays for the shell to replace, since a
    /// secret in a text for `sh -c` would stand in the list of processes. A variable that is not set is still an error.
    pub fn for_shell(&self, text: &str) -> Result<String, String> {
        self.expand(text, |inner, _, replaced| {
            replaced.push_str("${");
            replaced.push_str(inner);
            replaced.push('}');
        })
    }

    fn expand(&self, text: &str, fill: impl Fn(&str, &str, &mut String)) -> Result<String, String> {
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            replaced.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                replaced.push('$');
                rest = after;
            } else if let Some(inner) = rest.strip_prefix('{') {
                let end = inner.find('}').ok_or("`${` is not closed by `}`")?;
                fill(&inner[..end], self.value_of(&inner[..end])?, &mut replaced);
                rest = &inner[end + 1..];
            } else {
                replaced.push('$');
            }
        }
        replaced.push_str(rest);
        Ok(replaced)
    }

    /// The value of what stands between the braces.
    fn value_of<'a>(&'a self, inner: &'a str) -> Result<&'a str, String> {
        let (name, default) = match inner.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inner, None),
        };
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!("`${{{inner}}}` is neither ${{VAR}} nor ${{VAR:-default}}"));
        }
        if default.is_some_and(|default| default.contains("${")) {
            return Err(format!("the default of ${{{name}}} may not hold another ${{…}}"));
        }
        match (self.get(name), default) {
            (Some(""), Some(default)) | (None, Some(default)) => Ok(default),
            (Some(value), _) => Ok(value),
            (None, None) => Err(format!("the environment variable {name} is not set")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn variables_and_defaults_are_replaced_and_other_dollars_stay() {
        let environment = Environment::of([("A", "1"), ("EMPTY", ""), ("TRICKY", "${A} $$")]);
        let replace = |text| environment.replace(text);
        assert_eq!(replace("x${A}y${A}"), Ok("x1y1".to_owned()));
        assert_eq!(replace("${NO:-a:-b c}${EMPTY:-d}${EMPTY}${A:-e}"), Ok("a:-b cd1".to_owned()));
        assert_eq!(replace("$$ $${A} $A $1 $"), Ok("$ ${A} $A $1 $".to_owned()));
        assert_eq!(replace("${TRICKY}"), Ok("${A} $$".to_owned()), "what comes out is not looked at again");
    }

    #[test]
    fn a_shell_gets_the_names_of_variables_and_not_their_values() {
        let environment = Environment::of([("A", "hunter2")]);
        assert_eq!(environment.for_shell("x ${A} ${B:-c} $A $1 $$ $${#A}"), Ok("x ${A} ${B:-c} $A $1 $ ${#A}".to_owned()));
        assert_eq!(environment.for_shell("${B}"), Err("the environment variable B is not set".to_owned()));
    }

    #[test]
    fn what_cannot_be_replaced_is_said() {
        let environment = Environment::of([("A", "secret-value")]);
        let error = |text: &str| environment.replace(text).unwrap_err();
        assert_eq!(error("${NO}"), "the environment variable NO is not set");
        assert_eq!(error("${NO"), "`${` is not closed by `}`");
        assert_eq!(error("${A-b}"), "`${A-b}` is neither ${VAR} nor ${VAR:-default}");
        assert_eq!(error("${1}"), "`${1}` is neither ${VAR} nor ${VAR:-default}");
        assert_eq!(error("${}"), "`${}` is neither ${VAR} nor ${VAR:-default}");
        assert_eq!(error("${NO:-${A}}"), "the default of ${NO} may not hold another ${…}");
    }

    #[test]
    fn the_process_has_an_environment() {
        assert!(Environment::of_process().get("PATH").is_some_and(|path| path.contains('/')));
    }

    #[test]
    fn state_lies_where_the_user_may_write() {
        let state = |variables: &[(&str, &str)]| Environment::of(variables.iter().copied()).state_dir();
        assert_eq!(state(&[("HOME", "/home/a")]), Some("/home/a/.local/state/lifeboat".into()));
        assert_eq!(state(&[("HOME", "/home/a"), ("XDG_STATE_HOME", "/s")]), Some("/s/lifeboat".into()));
        assert_eq!(
            state(&[("HOME", "/home/a"), ("XDG_STATE_HOME", "s")]),
            Some("/home/a/.local/state/lifeboat".into())
        );
        assert_eq!(state(&[]), None);
        let root = Environment { is_root: true, ..Environment::of([("HOME", "/root")]) };
        assert_eq!(root.state_dir(), Some("/var/lib/lifeboat".into()));
        let service = [("HOME", "/root"), ("STATE_DIRECTORY", "/var/lib/private/lifeboat")];
        let service = Environment { is_root: true, ..Environment::of(service) };
        assert_eq!(service.state_dir(), Some("/var/lib/private/lifeboat".into()));
    }

    proptest! {
        #[test]
        fn doubling_the_dollars_keeps_any_text_as_it_is(text in "[a${}:\\-]{0,20}") {
            let environment = Environment::of([("a", "1")]);
            prop_assert_eq!(environment.replace(&text.replace('$', "$$")), Ok(text));
        }
    }
}
