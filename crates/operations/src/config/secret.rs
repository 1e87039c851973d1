//! Secrets: where they come from, and how they are had without ever being shown. A secret is wiped from memory when
//! dropped and has no way into a log: its `Debug` and `Serialize` give `***`.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::{Serialize, Serializer};
use zeroize::Zeroizing;

use crate::{Fault, FaultKind, shell};

/// A file or output longer than this is surely no secret.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A password, key or token.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text as a secret.
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The secret itself. Never pass it to anything that prints, logs or builds a command line.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

/// Where a secret comes from: `x`, `x_file` or `x_command` in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// It stands in the configuration, or came out of the environment.
    Given(Secret),
    /// It is the content of a file that only its owner may read.
    File(PathBuf),
    /// It is the first line that a command prints.
    Command {
        /// The command.
        line: CommandLine,
        /// The folder it runs in: that of the configuration.
        folder: PathBuf,
    },
}

impl SecretSource {
    /// Gets the secret. White space around it is not part of it, as in restic, so that one password file serves both
    /// programs. Fails with [`FaultKind::Config`]; no message shows any of it.
    pub fn read(&self) -> Result<Secret, Fault> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            Self::File(path) => read_file(path),
            Self::Command { line, folder } => read_command(line, folder),
        }
    }
}

impl SecretSource {
    /// The file it is read from, where it is one.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Given(_) | Self::Command { .. } => None,
        }
    }
}

impl fmt::Display for SecretSource {
    /// Where it comes from, for messages.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(_) => f.write_str("the configuration"),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Command { line, .. } => write!(f, "the command `{line}`"),
        }
    }
}

fn read_file(path: &Path) -> Result<Secret, Fault> {
    let shown = path.display();
    let failed =
        |error| Fault { kind: FaultKind::Config, ..Fault::local(format!("cannot read the secret in {shown}"), error) };
    let mut file = File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            Fault::new(FaultKind::Config, format!("the file {shown} with a secret does not exist"))
                .with_hint("put the secret there, or mend the name in lifeboat.yaml")
        }
        _ => failed(error),
    })?;
    // The open file is asked, not the path, so that nobody can change it in between.
    let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Fault::new(
            FaultKind::Config,
            format!("others may read or change the secret in {shown} (mode {mode:04o})"),
        )
        .with_hint(format!("run: chmod 600 {}", shell::quote(&path.to_string_lossy()))));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    (&mut file).take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    secret_in(&bytes, &format!("the file {shown}"))
}

fn read_command(line: &CommandLine, folder: &Path) -> Result<Secret, Fault> {
    let name = format!("the command `{line}`");
    let hint = "run it by hand to see why; Lifeboat keeps what it prints to itself, as it may hold the secret";
    let failed = |error| {
        Fault::new(FaultKind::Config, format!("{name}, which should print a secret, cannot be run"))
            .with_source(Box::new(error) as Box<_>)
    };
    let (program, arguments) = line.program();
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    let mut bytes = Zeroizing::new(Vec::new());
    let read = match child.stdout.take() {
        Some(output) => output.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes),
        None => Ok(0),
    };
    // The output is closed by now: a command that prints without end is stopped by that.
    let status = child.wait().map_err(failed)?;
    read.map_err(failed)?;
    if !status.success() {
        return Err(Fault::new(FaultKind::Config, format!("{name}, which should print a secret, failed: {status}"))
            .with_hint(hint));
    }
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    secret_in(first, &format!("what {name} printed"))
}

/// The secret in `bytes`, which came from `whence`.
fn secret_in(bytes: &[u8], whence: &str) -> Result<Secret, Fault> {
    let wrong = |what: &str| Fault::new(FaultKind::Config, format!("{whence} {what}, so it is no secret"));
    if bytes.len() as u64 > SECRET_BYTES_MAX {
        return Err(wrong(&format!("is longer than {SECRET_BYTES_MAX} bytes")));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| wrong("is not UTF-8 text"))?;
    let text = text.trim_start_matches('\u{feff}').trim();
    if text.is_empty() {
        return Err(wrong("is empty"));
    }
    Ok(Secret::new(text.to_owned()))
}

/// A text in which variables were replaced. It shows itself as it was typed, since their values may be secrets. Two are
/// the same where their variables come to the same.
#[derive(Clone)]
pub struct Typed {
    typed: String,
    replaced: String,
}

impl Typed {
    /// What was typed, and what it came to.
    pub fn new(typed: String, replaced: String) -> Self {
        Self { typed, replaced }
    }

    /// The text with its variables replaced. Never pass it to anything that prints or logs.
    pub fn expose(&self) -> &str {
        &self.replaced
    }
}

impl From<String> for Typed {
    /// A text without variables.
    fn from(text: String) -> Self {
        Self { typed: text.clone(), replaced: text }
    }
}

impl PartialEq for Typed {
    fn eq(&self, other: &Self) -> bool {
        self.replaced == other.replaced
    }
}

impl Eq for Typed {}

impl fmt::Debug for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.typed.fmt(f)
    }
}

impl Serialize for Typed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.typed)
    }
}

/// A command as the configuration gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// A text for `sh -c`.
    Shell(Typed),
    /// A program and its arguments, run without a shell. Never empty.
    Program(Vec<Typed>),
}

impl CommandLine {
    /// The program to start, and its arguments.
    pub fn program(&self) -> (&str, Vec<&str>) {
        match self {
            Self::Shell(text) => ("sh", vec!["-c", text.expose()]),
            Self::Program(parts) => {
                let mut parts = parts.iter().map(Typed::expose);
                (parts.next().unwrap_or_default(), parts.collect())
            }
        }
    }
}

impl fmt::Display for CommandLine {
    /// The text as typed, or the program's name alone: arguments may be private.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shell(text) => f.write_str(&text.typed),
            Self::Program(parts) => f.write_str(parts.first().map_or("", |part| &part.typed)),
        }
    }
}

impl Serialize for CommandLine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Shell(text) => text.serialize(serializer),
            Self::Program(parts) => parts.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn file(folder: &tempfile::TempDir, mode: u32, content: &[u8]) -> PathBuf {
        let path = folder.path().join(format!("it's {mode:o} {}", content.len()));
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn command(line: CommandLine) -> SecretSource {
        SecretSource::Command { line, folder: "/".into() }
    }

    fn shell(text: &str) -> SecretSource {
        command(CommandLine::Shell(text.to_owned().into()))
    }

    #[test]
    fn a_secret_shows_itself_nowhere() {
        let secret = Secret::new("hunter2".into());
        assert_eq!(format!("{secret:?}"), "***");
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
        let source = SecretSource::Given(secret);
        assert!(!format!("{source:?} {source}").contains("hunter2"));
    }

    #[test]
    fn a_file_gives_its_content_without_the_white_space_around_it() {
        let folder = tempfile::tempdir().unwrap();
        for content in ["pass word", "pass word\n", "pass word\r\n", "  pass word \n\n", "\u{feff}pass word\n"] {
            let secret = SecretSource::File(file(&folder, 0o600, content.as_bytes())).read().unwrap();
            assert_eq!(secret.expose(), "pass word", "{content:?}");
        }
        assert_eq!(SecretSource::File(file(&folder, 0o400, b"x")).read().unwrap().expose(), "x");
    }

    #[test]
    fn a_file_that_others_may_read_or_change_is_refused_with_the_command_that_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o644, 0o640, 0o604, 0o620, 0o602, 0o660] {
            let fault = SecretSource::File(file(&folder, mode, b"hunter2")).read().unwrap_err();
            assert_eq!(fault.kind, FaultKind::Config);
            assert!(fault.message.contains(&format!("mode 0{mode:o}")), "{fault:?}");
            let chmod = fault.hint.clone().unwrap().strip_prefix("run: ").unwrap().to_owned();
            assert!(Command::new("sh").args(["-c", &chmod]).status().unwrap().success());
            assert!(SecretSource::File(file(&folder, 0o600, b"hunter2")).read().is_ok());
            assert!(!format!("{fault:?}").contains("hunter2"));
        }
    }

    #[test]
    fn a_file_without_a_secret_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: PathBuf| SecretSource::File(path).read().unwrap_err().message;
        assert!(error(file(&folder, 0o600, b"\n")).ends_with("is empty, so it is no secret"));
        assert!(error(file(&folder, 0o600, b"\xff\xfe1")).ends_with("is not UTF-8 text, so it is no secret"));
        assert!(
            error(file(&folder, 0o600, &[b'x'; 70_000])).ends_with("is longer than 65536 bytes, so it is no secret")
        );
        assert!(error(folder.path().join("none")).ends_with("none with a secret does not exist"));
    }

    #[test]
    fn a_command_gives_its_first_line() {
        assert_eq!(shell("echo ' two  words '; echo more").read().unwrap().expose(), "two  words");
        let list = ["printf", "%s", "$HOME; x"].map(|word| word.to_owned().into()).to_vec();
        assert_eq!(command(CommandLine::Program(list)).read().unwrap().expose(), "$HOME; x", "no shell sees a list");
    }

    #[test]
    fn a_command_that_fails_never_shows_what_it_printed() {
        for text in ["read x; echo hunter2; echo hunter2 >&2; exit 3", "yes hunter2 | tr -d '\\n'", "exec true"] {
            let fault = shell(&format!("{text} # 2>&1")).read().unwrap_err();
            assert_eq!(fault.kind, FaultKind::Config);
            let named = fault.text().matches("hunter2").count();
            assert_eq!(named, text.matches("hunter2").count(), "the command itself is all that is shown: {fault:?}");
        }
        let list = vec!["/nowhere/program".to_owned().into(), "--token=hunter2".to_owned().into()];
        let fault = command(CommandLine::Program(list)).read().unwrap_err();
        assert_eq!(
            fault.text(),
            "the command `/nowhere/program`, which should print a secret, cannot be run: No such file or directory (os error 2)"
        );
    }
}
