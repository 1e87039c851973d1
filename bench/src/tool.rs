//! The programs that are compared, and how each is called: as its users call it, with a fresh repository on a local
//! folder, a password, zstd at level 3 where there is a choice, and a cache of its own.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, Permissions};
use std::iter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::measure::{Cost, Invocation, measure};

/// The repositories are thrown away after the run, so their password is no secret.
pub const PASSWORD: &str = "the data is made up";
/// What restic is called with in a folder that has its repository and its password.
pub const RESTIC_OPTIONS: [&str; 5] = ["--repo", "repository", "--password-file", "password", "--quiet"];

/// A program that is measured, in the order of the report's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Tool {
    /// This project.
    Lifeboat,
    /// restic, usually the distribution's.
    Restic,
    /// rustic, restic's format in Rust.
    Rustic,
    /// borg 1.
    Borg,
    /// `cp -a`: no compression, no encryption, no history. The floor.
    Cp,
}

impl Tool {
    /// The name of the program, of its folder, and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lifeboat => "lifeboat",
            Self::Restic => "restic",
            Self::Rustic => "rustic",
            Self::Borg => "borg",
            Self::Cp => "cp",
        }
    }
}

impl fmt::Display for Tool {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

/// What is measured, in the order in which it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The first backup, into an empty repository.
    First,
    /// A backup when nothing changed.
    Unchanged,
    /// The whole snapshot into an empty folder.
    Restore,
    /// Every byte of the repository read and verified.
    Check,
    /// A backup after the append-only files grew by 3 %.
    Growth,
    /// A backup after the changes of a whole second generation.
    Second,
}

impl Work {
    /// All of it.
    pub const ALL: [Self; 6] = [Self::First, Self::Unchanged, Self::Restore, Self::Check, Self::Growth, Self::Second];

    /// The name of its row in the report.
    pub fn label(self) -> &'static str {
        match self {
            Self::First => "first backup",
            Self::Unchanged => "backup, no change",
            Self::Restore => "full restore",
            Self::Check => "check, reading all data",
            Self::Growth => "backup, append-only files grown by 3 %",
            Self::Second => "backup, second generation",
        }
    }

    /// One word for names of logs and archives.
    pub fn name(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Unchanged => "unchanged",
            Self::Restore => "restore",
            Self::Check => "check",
            Self::Growth => "growth",
            Self::Second => "second",
        }
    }
}

/// A program found on this machine.
#[derive(Clone, Debug)]
pub struct Program {
    /// Which it is.
    pub tool: Tool,
    /// Its file, or a name that is looked up in `PATH`.
    pub path: PathBuf,
    /// The first line of what it says of its version.
    pub version: String,
}

impl Program {
    /// Asks the program at `path` for its version. The error says why it cannot be measured.
    pub fn find(tool: Tool, path: &Path) -> Result<Self> {
        let argument = if tool == Tool::Restic { "version" } else { "--version" };
        // A path with a folder in it must hold from any current folder; a bare name is looked up in PATH.
        let path = if path.components().count() > 1 { std::path::absolute(path)? } else { path.to_path_buf() };
        let output = Command::new(&path)
            .arg(argument)
            .output()
            .with_context(|| format!("{tool} was not found as `{}`", path.display()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        let version = text.lines().next().unwrap_or_default().trim().to_owned();
        ensure!(
            output.status.success() && !version.is_empty(),
            "{tool} (`{} {argument}`) tells no version: {}",
            path.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(Self { tool, path, version })
    }

    /// Runs it in `folder`, which is also its home. What it prints goes into `log` there.
    pub fn run_in(&self, folder: &Path, arguments: &[&str], log: &str) -> Result<Cost> {
        let words = arguments.iter().map(OsString::from);
        let environment = vec![("HOME", folder.as_os_str().to_owned())];
        let command = iter::once(self.path.clone().into_os_string()).chain(words).collect();
        let invocation = Invocation { command, environment, folder: folder.to_owned() };
        measure(&invocation, &folder.join(format!("{log}.log")))
    }
}

/// One program with its repository, its cache and what else it needs, all in a folder of its own.
#[derive(Debug)]
pub struct Station<'a> {
    /// The program.
    pub program: &'a Program,
    /// Its folder.
    pub home: PathBuf,
    /// What it backs up.
    pub data: &'a Path,
    /// Where it restores to. Missing or empty.
    pub restored: &'a Path,
}

impl Station<'_> {
    /// The folder whose size is the size of the backups.
    pub fn repository(&self) -> PathBuf {
        self.home.join("repository")
    }

    /// Makes an empty repository, throwing away any that is there.
    pub fn prepare(&self) -> Result<()> {
        if self.home.exists() {
            fs::remove_dir_all(&self.home).with_context(|| format!("remove {}", self.home.display()))?;
        }
        fs::create_dir_all(&self.home).with_context(|| format!("create {}", self.home.display()))?;
        // Lifeboat's `init` makes its own, as it does for everybody: 256 random bits, which need no slow derivation. The
        // others cannot know how good a password is.
        if self.program.tool != Tool::Lifeboat {
            fs::write(self.password_file(), PASSWORD)?;
            fs::set_permissions(self.password_file(), Permissions::from_mode(0o600))?;
        }
        if self.program.tool == Tool::Lifeboat {
            fs::write(self.configuration_file(), self.configuration())?;
        }
        if let Some(invocation) = self.initialisation() {
            measure(&invocation, &self.home.join("init.log"))?;
        }
        Ok(())
    }

    fn password_file(&self) -> PathBuf {
        self.home.join("password")
    }

    fn configuration_file(&self) -> PathBuf {
        self.home.join("lifeboat.yaml")
    }

    fn configuration(&self) -> String {
        let quoted = |path: &Path| format!("'{}'", path.to_string_lossy().replace('\'', "''"));
        format!(
            "version: 1\n\
             state_dir: {state}\n\
             password_file: {password}\n\
             copies:\n\
             \x20 disk: {{ url: {repository}, media: disk }}\n\
             stacks:\n\
             \x20 bench:\n\
             \x20   sources:\n\
             \x20     data: {{ files: {{ paths: [{data}] }} }}\n",
            state = quoted(&self.home.join("state")),
            password = quoted(&self.password_file()),
            repository = quoted(&self.repository()),
            data = quoted(self.data),
        )
    }

    fn initialisation(&self) -> Option<Invocation> {
        match self.program.tool {
            Tool::Lifeboat | Tool::Restic | Tool::Rustic => Some(self.call(&[&"init"])),
            Tool::Borg => Some(self.call(&[&"init", &"--encryption=repokey-blake2", &self.repository()])),
            Tool::Cp => None,
        }
    }

    /// The command that does `work`; nothing where the program has no such command.
    pub fn invocation(&self, work: Work) -> Option<Invocation> {
        let (repository, data) = (self.repository(), self.data);
        Some(match (self.program.tool, work) {
            (_, Work::Restore) => self.restoration(Work::Unchanged),

            (Tool::Lifeboat, Work::Check) => self.call(&[&"check", &"--read-data"]),
            (Tool::Lifeboat, _) => self.call(&[&"backup"]),

            (Tool::Restic | Tool::Rustic, Work::Check) => self.call(&[&"check", &"--read-data"]),
            (Tool::Restic | Tool::Rustic, _) => self.call(&[&"backup", &data]),

            (Tool::Borg, Work::Check) => self.call(&[&"check", &"--verify-data", &repository]),
            (Tool::Borg, _) => self.call(&[&"create", &"--compression=zstd,3", &self.archive(work), &data]),

            (Tool::Cp, Work::First) => self.call(&[&"-a", &data, &repository]),
            (Tool::Cp, Work::Check) => return None,
            (Tool::Cp, _) => self.call(&[&"-a", &"--update", &data.join("."), &repository]),
        })
    }

    /// The command that restores the latest snapshot, which is the one that `backup` made.
    pub fn restoration(&self, backup: Work) -> Invocation {
        let restored = self.restored;
        match self.program.tool {
            Tool::Lifeboat => self.call(&[&"restore", &"latest", &"--to", &restored]),
            Tool::Restic => self.call(&[&"restore", &"latest", &"--target", &restored]),
            Tool::Rustic => self.call(&[&"restore", &"latest", &restored]),
            Tool::Borg => Invocation { folder: restored.into(), ..self.call(&[&"extract", &self.archive(backup)]) },
            Tool::Cp => self.call(&[&"-a", &self.repository().join("."), &restored]),
        }
    }

    fn archive(&self, work: Work) -> PathBuf {
        let mut name = self.repository().into_os_string();
        name.push(format!("::{}", work.name()));
        PathBuf::from(name)
    }

    /// The program with these arguments, after those that say where its repository is, and with the environment that
    /// keeps its caches in its folder.
    fn call(&self, arguments: &[&dyn AsRef<OsStr>]) -> Invocation {
        let (repository, password) = (self.repository(), self.password_file());
        let configuration = self.configuration_file();
        let common: &[&dyn AsRef<OsStr>] = match self.program.tool {
            Tool::Lifeboat => &[&"--config", &configuration, &"--quiet"],
            Tool::Restic => &[&"--repo", &repository, &"--password-file", &password, &"--quiet"],
            Tool::Rustic => {
                &[&"--repository", &repository, &"--password-file", &password, &"--no-progress", &"--log-level=warn"]
            }
            Tool::Borg | Tool::Cp => &[],
        };
        let words = common.iter().chain(arguments).map(|word| OsString::from(word.as_ref()));
        let mut environment = vec![
            ("HOME", self.home.clone().into_os_string()),
            ("XDG_CONFIG_HOME", self.home.join("config").into_os_string()),
            ("XDG_CACHE_HOME", self.home.join("cache").into_os_string()),
        ];
        if self.program.tool == Tool::Borg {
            environment.push(("BORG_BASE_DIR", self.home.clone().into_os_string()));
            environment.push(("BORG_PASSPHRASE", PASSWORD.into()));
        }
        Invocation {
            command: iter::once(self.program.path.clone().into_os_string()).chain(words).collect(),
            environment,
            folder: self.home.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(tool: Tool, work: Work) -> Option<String> {
        let program = Program { tool, path: PathBuf::from(tool.name()), version: String::new() };
        let station = Station {
            program: &program,
            home: PathBuf::from("/home"),
            data: Path::new("/data"),
            restored: Path::new("/restored"),
        };
        let command = station.invocation(work)?.command;
        Some(command.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn each_program_is_called_as_its_users_call_it() {
        let restic = "restic --repo /home/repository --password-file /home/password --quiet";
        assert_eq!(command(Tool::Restic, Work::Growth), Some(format!("{restic} backup /data")));
        assert_eq!(command(Tool::Restic, Work::Check), Some(format!("{restic} check --read-data")));
        let lifeboat = "lifeboat --config /home/lifeboat.yaml --quiet";
        assert_eq!(command(Tool::Lifeboat, Work::First), Some(format!("{lifeboat} backup")));
        assert_eq!(command(Tool::Lifeboat, Work::Restore), Some(format!("{lifeboat} restore latest --to /restored")));
        let borg = "borg create --compression=zstd,3 /home/repository::second /data";
        assert_eq!(command(Tool::Borg, Work::Second), Some(borg.into()));
    }

    #[test]
    fn what_is_restored_is_the_snapshot_of_the_unchanged_data() {
        assert_eq!(command(Tool::Borg, Work::Restore), Some("borg extract /home/repository::unchanged".into()));
        let position = |work| Work::ALL.iter().position(|other| *other == work);
        assert!(
            position(Work::Unchanged) < position(Work::Restore) && position(Work::Restore) < position(Work::Growth)
        );
    }

    #[test]
    fn cp_has_nothing_to_check() {
        assert_eq!(command(Tool::Cp, Work::Check), None);
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let error = Program::find(Tool::Rustic, Path::new("no-such-rustic")).unwrap_err();
        assert_eq!(error.to_string(), "rustic was not found as `no-such-rustic`");
    }
}
