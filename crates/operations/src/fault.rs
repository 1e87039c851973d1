//! The one error that people and scripts see. Exit code and error code follow from its kind in this file and
//! nowhere else. A message never repeats the text of its source: [`Fault::text`] joins the two where both are wanted.

use std::error::Error;
use std::fmt;

use repository::{FileKind, SourceError, StorageError};
use serde_json::{Value, json};

/// Something did not work, in words for the user.
pub struct Fault {
    /// What kind of thing went wrong.
    pub kind: FaultKind,
    /// What went wrong, without full stop, without the text of `source`.
    pub message: String,
    /// What the user can do about it.
    pub hint: Option<String>,
    /// What caused it.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

/// The kinds of fault. Each exists because somebody branches on it: a script on the exit code, a client on the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FaultKind {
    /// The command line does not make sense.
    Usage,
    /// The configuration does not make sense, or a secret it names cannot be had.
    Config,
    /// The run ended, but something was left out.
    Partial,
    /// There is no repository at the place.
    NoRepository,
    /// There is a repository at the place already.
    AlreadyExists,
    /// Another program holds the repository.
    Locked,
    /// The password opens no key.
    WrongPassword,
    /// The repository has a format that this version does not know, or only reads.
    Unsupported,
    /// Stored data is not what was stored.
    Damaged,
    /// A storage or disk is full.
    StorageFull,
    /// A storage, file or folder may not be read or written.
    Denied,
    /// A storage does not answer or answers with errors.
    Storage,
    /// A source could not be captured.
    Source,
    /// The snapshot, path, stack or copy that was named does not exist, or not uniquely.
    NotFound,
    /// The user, a signal or a client stopped the run.
    Cancelled,
    /// Anything else.
    Failed,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 16] = [
        Self::Usage,
        Self::Config,
        Self::Partial,
        Self::NoRepository,
        Self::AlreadyExists,
        Self::Locked,
        Self::WrongPassword,
        Self::Unsupported,
        Self::Damaged,
        Self::StorageFull,
        Self::Denied,
        Self::Storage,
        Self::Source,
        Self::NotFound,
        Self::Cancelled,
        Self::Failed,
    ];

    /// The one table: error code for clients, exit code for scripts.
    fn facts(self) -> (&'static str, u8) {
        match self {
            Self::Usage => ("usage", 2),
            Self::Config => ("config", 2),
            Self::Partial => ("partial", 3),
            Self::NoRepository => ("no-repository", 10),
            Self::AlreadyExists => ("already-exists", 1),
            Self::Locked => ("locked", 11),
            Self::WrongPassword => ("wrong-password", 12),
            Self::Unsupported => ("unsupported", 1),
            Self::Damaged => ("damaged", 1),
            Self::StorageFull => ("storage-full", 1),
            Self::Denied => ("denied", 1),
            Self::Storage => ("storage", 1),
            Self::Source => ("source", 1),
            Self::NotFound => ("not-found", 1),
            Self::Cancelled => ("cancelled", 130),
            Self::Failed => ("failed", 1),
        }
    }

    /// The stable error code that `--json` and the API give, in kebab-case.
    pub fn code(self) -> &'static str {
        self.facts().0
    }

    /// The exit code of the program. 10, 11, 12 and 130 are restic's.
    pub fn exit_code(self) -> u8 {
        self.facts().1
    }
}

impl Fault {
    /// A fault without hint and source.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// Says what the user can do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Attaches the cause. The message must not repeat its text.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// A file or folder of this machine could not be read or written. `doing` says what was tried and on what, such as
    /// `cannot read /etc/lifeboat/password`.
    pub fn local(doing: impl Into<String>, error: std::io::Error) -> Self {
        use std::io::ErrorKind;
        let (kind, hint) = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                (FaultKind::StorageFull, Some("free some space there"))
            }
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                (FaultKind::Denied, Some("check who may read and write it, or run Lifeboat as a user who may"))
            }
            _ => (FaultKind::Failed, None),
        };
        let fault = Self::new(kind, doing).with_source(error);
        hint.into_iter().fold(fault, Self::with_hint)
    }

    /// See [`FaultKind::code`].
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }

    /// See [`FaultKind::exit_code`].
    pub fn exit_code(&self) -> u8 {
        self.kind.exit_code()
    }

    /// The message and the texts of all causes, joined by colons, on one line.
    pub fn text(&self) -> String {
        let mut text = self.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }

    /// The line that `--json` prints: `{"message_type": "error", "code", "message", "hint"}`.
    pub fn to_json(&self) -> Value {
        json!({ "message_type": "error", "code": self.code(), "message": self.text(), "hint": self.hint })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text(), self.code())?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl Error for Fault {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}

impl From<repository::Error> for Fault {
    fn from(error: repository::Error) -> Self {
        use repository::Error as E;
        // What carries a cause is taken apart, so that the cause's text is not in the message too.
        let error = match error {
            E::Storage(error) => return error.into(),
            E::Source(error) => return error.into(),
            E::Local { path, error } => return Self::local(format!("cannot work with {}", path.display()), error),
            E::LockDamaged { file } => {
                return Self::new(FaultKind::Locked, E::LockDamaged { file }.to_string()).with_hint(format!(
                    "nobody can say whose it is, so no run removes it: see that nothing works on that copy, then remove its file {file}"
                ));
            }
            other => other,
        };
        let damaged = "run `lifeboat check --read-data` to learn which snapshots and files suffer; after `lifeboat heal \
                       --read-data` the next backup stores anew what is still in the source";
        let (kind, hint) = match &error {
            E::NoRepository { .. } => (
                FaultKind::NoRepository,
                Some(
                    "if its disk is not mounted, mount it; else `lifeboat init` creates a repository there, with --anew NAME where \
                     one was before",
                ),
            ),
            E::AlreadyInitialised { .. } => (
                FaultKind::AlreadyExists,
                Some("use it as it is, bring it in with `lifeboat adopt`, or name another place"),
            ),
            E::WrongPassword { .. } => (
                FaultKind::WrongPassword,
                Some(
                    "the password comes from `password`, `password_file` or `password_command` of lifeboat.yaml; \
                     `lifeboat config show` says which",
                ),
            ),
            E::UnsupportedVersion { .. } => {
                (FaultKind::Unsupported, Some("update Lifeboat: a newer program wrote this repository"))
            }
            E::ReadOnlyVersion => (
                FaultKind::Unsupported,
                Some("`restic migrate upgrade_repo_v2` makes it a version 2 repository, which can be written"),
            ),
            E::Locked { .. } => (
                FaultKind::Locked,
                Some(
                    "wait until the other program has ended; locks of programs that died are removed by themselves, \
                     after 30 minutes at most",
                ),
            ),
            E::ImplausibleClock { .. } => (
                FaultKind::Failed,
                Some(
                    "set the clock of this machine (`timedatectl`); a snapshot with a wrong time is removed by \
                     `lifeboat forget ID`, and after a long pause `lifeboat backup` comes first",
                ),
            ),
            E::LockLost => (FaultKind::Locked, Some("check that the copy can be reached and run the command again")),
            E::Damaged { file, .. } if file.kind == FileKind::Index => {
                (FaultKind::Damaged, Some("run `lifeboat heal`: it writes the index anew from the packs themselves"))
            }
            // Not of the kind that a place which is away has: it is there, and something in it is lost to sight.
            E::Unreadable { .. } => (
                FaultKind::Failed,
                Some(
                    "its place answers, so it is that file: a disk that fails, or a line on which what is large stalls; mend that \
                     first, then run the command again",
                ),
            ),
            E::Damaged { file, .. } if file.kind == FileKind::Snapshot => (
                FaultKind::Damaged,
                Some(
                    "nobody can say what it needs; `lifeboat heal` brings it back from another copy, and `lifeboat forget ID` \
                     removes it once you have given it up",
                ),
            ),
            E::Damaged { file, .. } if [FileKind::Config, FileKind::Key].contains(&file.kind) => (
                FaultKind::Damaged,
                Some(
                    "without it nothing there can be read: where another copy can be opened, `lifeboat heal` puts the config back, \
                     or adds a key file for the password in lifeboat.yaml",
                ),
            ),
            E::Damaged { .. } | E::BlobMissing { .. } | E::BlobDamaged { .. } | E::MalformedTree { .. } => {
                (FaultKind::Damaged, Some(damaged))
            }
            E::NotFound(_) => (FaultKind::NotFound, Some("`lifeboat snapshots` lists what there is")),
            E::Cancelled => (FaultKind::Cancelled, None),
            E::Internal(_) => (
                FaultKind::Failed,
                Some(
                    "this is a mistake in Lifeboat, please report it; `lifeboat check` says whether the copy is whole",
                ),
            ),
            _ => (FaultKind::Failed, None),
        };
        hint.into_iter().fold(Self::new(kind, error.to_string()), Self::with_hint)
    }
}

impl From<archive::Error> for Fault {
    fn from(error: archive::Error) -> Self {
        use archive::Error as E;
        let (kind, hint) = match error {
            E::Engine(error) => return error.into(),
            E::Place(error) => return error.into(),
            E::Key { .. } => (FaultKind::Config, None),
            E::WrongKey => (
                FaultKind::WrongPassword,
                Some("give the secret key with --identity FILE, or the passphrase with --passphrase-file FILE"),
            ),
            E::Damaged { .. } => {
                (FaultKind::Damaged, Some("take another archive or copy; `lifeboat sync` writes anew what you delete"))
            }
        };
        hint.into_iter().fold(Self::new(kind, error.to_string()), Self::with_hint)
    }
}

impl From<StorageError> for Fault {
    fn from(error: StorageError) -> Self {
        let (kind, hint) = match &error {
            StorageError::NotFound { .. } => {
                (FaultKind::Damaged, Some("run `lifeboat check` to learn which snapshots and files suffer"))
            }
            StorageError::AlreadyExists { .. } => {
                (FaultKind::AlreadyExists, Some("another program may be writing there at the same time"))
            }
            StorageError::Full { .. } => (
                FaultKind::StorageFull,
                Some(
                    "free some space there, or run `lifeboat forget` and then, unless it keeps archives, `lifeboat prune --grace 0s`",
                ),
            ),
            StorageError::Denied { .. } => {
                (FaultKind::Denied, Some("check who may read and write there, or run Lifeboat as a user who may"))
            }
            StorageError::Transient { .. } => {
                (FaultKind::Storage, Some("it was tried several times; check the way to it and run the command again"))
            }
            StorageError::Permanent { .. } => (FaultKind::Storage, None),
        };
        hint.into_iter().fold(Self::new(kind, error.to_string()), Self::with_hint)
    }
}

impl From<SourceError> for Fault {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Io { path, error } => {
                let fault = Self::local(format!("cannot read {}", path.display()), error);
                let otherwise = "nothing was backed up; see whether its disk is mounted and its path is right, or take it out of lifeboat.yaml";
                let hint = fault.hint.clone().or_else(|| Some(otherwise.to_owned()));
                Self { kind: FaultKind::Source, hint, ..fault }
            }
            SourceError::Cancelled => Self::new(FaultKind::Cancelled, "cancelled"),
            error @ (SourceError::Unavailable { .. } | SourceError::Invalid { .. }) => {
                Self::new(FaultKind::Source, error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;
    use std::io;

    use expect_test::expect;

    use super::*;

    #[test]
    fn codes_and_exit_codes_are_what_scripts_were_promised() {
        let mut table = String::new();
        for kind in FaultKind::ALL {
            let _ = writeln!(table, "{} {}", kind.code(), kind.exit_code());
        }
        expect![[r#"
            usage 2
            config 2
            partial 3
            no-repository 10
            already-exists 1
            locked 11
            wrong-password 12
            unsupported 1
            damaged 1
            storage-full 1
            denied 1
            storage 1
            source 1
            not-found 1
            cancelled 130
            failed 1
        "#]]
        .assert_eq(&table);
        let codes: BTreeSet<_> = FaultKind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), FaultKind::ALL.len(), "two kinds share a code");
    }

    #[test]
    fn a_message_never_repeats_the_text_of_its_source() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        for error in [
            repository::Error::Local { path: "/srv/x".into(), error: denied() },
            repository::Error::Source(SourceError::Io { path: "/srv/x".into(), error: denied() }),
        ] {
            let fault = Fault::from(error);
            let source = fault.source().map(ToString::to_string).unwrap_or_default();
            assert!(!source.is_empty() && !fault.message.contains(&source), "{fault:?}");
            assert_eq!(fault.text().matches(&source).count(), 1);
            assert!(fault.text().contains("/srv/x"));
        }
    }

    #[test]
    fn kinds_that_scripts_branch_on_survive_the_way_up_from_the_engine() {
        let at = || "/srv/backups".to_owned();
        let exit = |error: repository::Error| Fault::from(error).exit_code();
        assert_eq!(exit(repository::Error::NoRepository { location: at() }), 10);
        assert_eq!(exit(repository::Error::Locked { holder: "pid 7 on host".into() }), 11);
        assert_eq!(exit(repository::Error::WrongPassword { keys: 1 }), 12);
        assert_eq!(exit(repository::Error::Cancelled), 130);
        assert_eq!(exit(repository::Error::Source(SourceError::Cancelled)), 130);
        assert_eq!(Fault::from(StorageError::Full { location: at() }).kind, FaultKind::StorageFull);
    }

    #[test]
    fn the_json_line_carries_code_message_causes_and_hint() {
        let fault = Fault::from(repository::Error::Local {
            path: "/srv/x".into(),
            error: io::Error::from(io::ErrorKind::StorageFull),
        });
        expect![[r#"{"code":"storage-full","hint":"free some space there","message":"cannot work with /srv/x: no storage space","message_type":"error"}"#]]
        .assert_eq(&fault.to_json().to_string());
        let fault = Fault::from(repository::Error::WrongPassword { keys: 2 });
        expect![[r#"
            wrong password: it opens none of the 2 key files (wrong-password)
            hint: the password comes from `password`, `password_file` or `password_command` of lifeboat.yaml; `lifeboat config show` says which"#]]
        .assert_eq(&format!("{fault:?}"));
    }
}
