//! Runs `lifeboat` and restic with folders of their own, so that tests neither meet each other nor the machine's own backups.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use serde_json::Value;
use servers::S3Server;
use tempfile::TempDir;

/// A password that only tests use, of the length of a generated one: opening it then costs no time.
pub const PASSWORD: &str = "TESTONLYTESTONLYTESTONLYTESTONLYTESTONLYTESTONLYTEST";

/// A folder with data, a configuration, a password, a repository's place and a state folder; removed at the end.
pub struct Site {
    folder: TempDir,
}

impl Site {
    /// A site whose stack `app` has the files below [`Site::data`] as its one source, `files`. There is no repository
    /// yet.
    pub fn new() -> Self {
        Self::new_below(&std::env::temp_dir())
    }

    /// As [`Site::new`], in this folder.
    pub fn new_below(folder: &Path) -> Self {
        let site = Self { folder: tempfile::tempdir_in(folder).unwrap() };
        std::fs::create_dir(site.data()).unwrap();
        write_secret(&site.path("password"), PASSWORD);
        site.configure(&format!("files: {{ files: {{ paths: [{:?}] }} }}", site.data()));
        site
    }

    /// A site with an empty repository.
    pub fn initialised() -> Self {
        let site = Self::new();
        site.lifeboat(["init"]).ok();
        site
    }

    /// Writes the configuration with these sources: YAML lines, each `NAME: { KIND: { … } }`.
    pub fn configure(&self, sources: &str) {
        let sources = sources.lines().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "      {line}");
            text
        });
        let text = format!(
            "version: 1\nstate_dir: state\npassword_file: password\ncopies:\n  disk: {{ url: repo }}\n\
             stacks:\n  app:\n    sources:\n{sources}"
        );
        std::fs::write(self.config(), text).unwrap();
    }

    /// A site with a snapshot in two copies, `disk` and `nas`; gives its id, too.
    pub fn with_two_copies() -> (Self, String) {
        let site = Self::new();
        std::fs::write(site.data().join("a"), "one").unwrap();
        site.configure_two("");
        site.lifeboat(["init"]).ok().says(["created a repository in", "created copy nas"]);
        let first = site.backup();
        (site, first)
    }

    /// Names two copies, `disk` and `nas`, the second with `more` settings: `, KEY: VALUE`.
    pub fn configure_two(&self, more: &str) {
        let text = format!(
            "version: 1\nstate_dir: state\npassword_file: password\ncopies:\n  disk: {{ url: repo }}\n  \
             nas: {{ url: nas{more} }}\nstacks:\n  app:\n    sources:\n      files: {{ files: {{ paths: [{:?}] }} }}\n",
            self.data()
        );
        std::fs::write(self.config(), text).unwrap();
    }

    /// Takes away what is called `name`, as a disk that is unplugged.
    pub fn away(&self, name: &str) {
        std::fs::rename(self.path(name), self.path(format!("{name}-away"))).unwrap();
    }

    /// Brings back what [`Site::away`] took.
    pub fn back(&self, name: &str) {
        std::fs::rename(self.path(format!("{name}-away")), self.path(name)).unwrap();
    }

    /// Backs up while the copy in this folder is away, which makes the run partial; it lags behind then.
    pub fn backup_without(&self, folder: &str) -> String {
        self.away(folder);
        let done = self.lifeboat(["backup", "--json"]).exits(3).summary();
        self.back(folder);
        done["snapshot_id"].as_str().unwrap().to_owned()
    }

    /// Lets stock restic read every byte of the repository in this folder, where there is a restic.
    pub fn restic_finds_no_errors(&self, folder: &str) {
        if can(program("restic")) {
            let mut restic = Command::new("restic");
            restic.args(["check", "--read-data", "--no-cache", "--repo"]).arg(self.path(folder));
            restic.arg("--password-file").arg(self.path("password"));
            self.enclose(&mut restic);
            run(&mut restic).ok().says(["no errors were found"]);
        }
    }

    /// A path in the site's folder.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What is backed up.
    pub fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// The repository.
    pub fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    /// The configuration.
    pub fn config(&self) -> PathBuf {
        self.path("lifeboat.yaml")
    }

    /// Writes the configuration with these copies, each `NAME: { … }`, and the files below [`Site::data`] as the one source.
    pub fn configure_copies(&self, copies: &[&str]) {
        let text = format!(
            "version: 1\nstate_dir: state\npassword_file: password\ncopies:\n  {}\n\
             stacks:\n  app:\n    sources:\n      files: {{ files: {{ paths: [{:?}] }} }}\n",
            copies.join("\n  "),
            self.data()
        );
        std::fs::write(self.config(), text).unwrap();
    }

    /// The settings of a copy in a bucket, as YAML without braces. `port` leads to the server. Its credentials lie in files.
    pub fn s3_copy(&self, server: &S3Server, port: u16, bucket: &str) -> String {
        write_secret(&self.path("s3-id"), server.access_key);
        write_secret(&self.path("s3-secret"), server.secret_key);
        format!(
            "url: \"s3://{bucket}/app\", endpoint: \"http://127.0.0.1:{port}\", region: {}, \
             access_key_id_file: s3-id, secret_access_key_file: s3-secret",
            S3Server::REGION
        )
    }

    /// Where [`Site::data`] lies below the folder that a whole snapshot was restored to.
    pub fn restored_data(&self, target: &Path) -> PathBuf {
        target.join("files").join(self.data().strip_prefix("/").unwrap())
    }

    /// `lifeboat` with these arguments, to be run by the test itself. Its environment holds nothing of the machine's but
    /// the path.
    pub fn lifeboat_command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat"));
        command.arg("--config").arg(self.config()).args(arguments);
        self.enclose(&mut command);
        command
    }

    /// Runs `lifeboat`.
    pub fn lifeboat<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        run(&mut self.lifeboat_command(arguments))
    }

    /// Stock restic on the site's repository, with a cache of its own, to be run by the test itself.
    pub fn restic_command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("restic");
        command.arg("--repo").arg(self.repo()).arg("--password-file").arg(self.path("password"));
        command.arg("--cache-dir").arg(self.path("restic-cache")).args(arguments);
        self.enclose(&mut command);
        command
    }

    /// Runs stock restic.
    pub fn restic<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Ran {
        run(&mut self.restic_command(arguments))
    }

    /// Backs up and gives the new snapshot's id.
    pub fn backup(&self) -> String {
        self.lifeboat(["backup", "--json"]).ok().summary()["snapshot_id"].as_str().unwrap().to_owned()
    }

    /// Restores to a folder called `name`, which is emptied before, and gives the folder.
    pub fn restore(&self, snapshot: &str, name: &str) -> PathBuf {
        let target = self.path(name);
        let _ = std::fs::remove_dir_all(&target);
        self.lifeboat([OsStr::new("restore"), OsStr::new(snapshot), OsStr::new("--to"), target.as_os_str()]).ok();
        target
    }

    /// Files of a kind in the repository, such as `data` or `locks`, in order; without the [`Site::temporary`] ones.
    pub fn stored(&self, kind: &str) -> Vec<PathBuf> {
        self.below(kind).into_iter().filter(|file| !is_temporary(file)).collect()
    }

    /// The temporary files that killed processes left in the repository. No listing shows them.
    pub fn temporary(&self) -> Vec<PathBuf> {
        self.below("").into_iter().filter(|file| is_temporary(file)).collect()
    }

    fn below(&self, folder: &str) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![self.repo().join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }

    /// Gives a command the site's own environment, and nothing else of the machine's but the path.
    pub fn enclose(&self, command: &mut Command) {
        let path = command_path();
        command.env_clear().env("PATH", path).env("HOME", self.folder.path()).env("TZ", "UTC");
        command.env("TMPDIR", self.folder.path()).env("STATE_DIRECTORY", self.path("state"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
    }
}

/// A command as another program starts it, which is given with its arguments.
pub fn inside(wrapper: &[&str], inner: &Command) -> Command {
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(folder) = inner.get_current_dir() {
        command.current_dir(folder);
    }
    command.stdin(Stdio::null());
    command
}

#[expect(clippy::disallowed_methods, reason = "the test decides what the program's environment is")]
fn command_path() -> std::ffi::OsString {
    std::env::var_os("PATH").unwrap_or_default()
}

fn is_temporary(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().contains("-tmp-"))
}

/// Writes a file that only its owner may read.
pub fn write_secret(file: &Path, secret: &str) {
    std::fs::write(file, format!("{secret}\n")).unwrap();
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// What a program printed and how it ended.
pub struct Ran {
    pub line: String,
    pub status: ExitStatus,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ran {
    let line = format!("{command:?}");
    let output = command.output().unwrap_or_else(|error| panic!("{line}: {error}"));
    Ran { line, status: output.status, stdout: output.stdout, stderr: output.stderr }
}

/// Starts a command whose output nobody reads.
pub fn start(command: &mut Command) -> Running {
    Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// Runs a command that has to work, and gives the most memory that it had, in KiB.
pub fn peak_kib(command: &mut Command) -> u64 {
    let mut running = start(command);
    let status = format!("/proc/{}/status", running.0.id());
    let mut peak = 0;
    while running.0.try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
        peak = peak.max(line.trim().trim_end_matches(" kB").parse::<u64>().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(running.0.wait().unwrap().success(), "{command:?}");
    assert!(peak > 1000, "{command:?}: nothing was measured");
    peak
}

/// Waits until something is so, and fails the test where it does not come to be.
pub fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
    let started = std::time::Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited too long until {what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// A process that does not outlive the test, not even a failing one.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Ran {
    /// Asserts that it worked.
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// Asserts the exit code.
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self}");
        self
    }

    /// Asserts that what it printed holds each of `parts`.
    pub fn says<'a>(self, parts: impl IntoIterator<Item = &'a str>) -> Self {
        let said = format!("{}{}", self.text(), self.errors());
        for part in parts {
            assert!(said.contains(part), "it does not say {part:?}: {self}");
        }
        self
    }

    /// Standard output.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error.
    pub fn errors(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Standard output as JSON lines, each with a `message_type`, the last one a `summary` or `error`.
    pub fn lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}: {self}"));
        let lines: Vec<Value> = self.text().lines().map(parse).collect();
        assert!(lines.iter().all(|line| line["message_type"].is_string()), "{self}");
        let last = lines.last().unwrap_or_else(|| panic!("no line: {self}"));
        assert!(["summary", "error"].contains(&last["message_type"].as_str().unwrap()), "{self}");
        lines
    }

    /// The JSON lines of one type.
    pub fn of_type(&self, message_type: &str) -> Vec<Value> {
        self.lines().into_iter().filter(|line| line["message_type"] == message_type).collect()
    }

    /// The last JSON line, which must be a summary.
    pub fn summary(&self) -> Value {
        let last = self.lines().pop().unwrap();
        assert_eq!(last["message_type"], "summary", "{self}");
        last
    }

    /// The last JSON line, which must be an error: with a code, a message and a hint.
    pub fn error(&self) -> Value {
        let last = self.lines().pop().unwrap();
        assert_eq!(last["message_type"], "error", "{self}");
        assert!(last["code"].is_string() && last["message"].is_string(), "{self}");
        assert!(last["hint"].is_string() || last["hint"].is_null(), "{self}");
        last
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}\n--- stdout\n{}--- stderr\n{}", self.line, self.status, self.text(), self.errors())
    }
}

/// Whether a test can run. Where not, it says so and the test returns; with `LIFEBOAT_TEST_ALL` set, it fails.
#[must_use]
pub fn can(what: Result<(), String>) -> bool {
    let Err(why) = what else { return true };
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    #[expect(clippy::disallowed_methods, reason = "the test suite's own switch")]
    let all = std::env::var_os("LIFEBOAT_TEST_ALL").is_some();
    // Whoever is not root cannot mend that; `./dev test` says so.
    assert!(!all || why == NOT_ROOT, "left out: {name}: {why}");
    eprintln!("left out: {name}: {why}");
    false
}

const NOT_ROOT: &str = "not run as root";

/// For [`can`]: a program that the test needs.
pub fn program(name: &str) -> Result<(), String> {
    let found = std::env::split_paths(&command_path()).any(|folder| folder.join(name).is_file());
    if found { Ok(()) } else { Err(format!("{name} is not installed")) }
}

/// For [`can`]: rights that the test needs.
pub fn root() -> Result<(), String> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { Err(NOT_ROOT.to_owned()) }
}

/// Numbers that look random and are the same each time. For choices, never for secrets.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (splitmix64).
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Bytes that do not compress.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..count.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).collect();
        bytes.truncate(count);
        bytes
    }

    /// Text that compresses: numbered lines.
    pub fn text(&mut self, count: usize) -> Vec<u8> {
        let mut text = String::with_capacity(count + 64);
        while text.len() < count {
            let _ = writeln!(text, "{{\"_id\":\"{:016x}\",\"type\":\"report\",\"n\":{}}}", self.next(), text.len());
        }
        text.truncate(count);
        text.into_bytes()
    }
}
