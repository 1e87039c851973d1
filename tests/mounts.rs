//! Disks of a test's own: mounts that no other process sees, and that end with the one that made them.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Ran, Running, Site, program, root, run, wait_until};

/// A mount namespace, held by a process that sleeps.
pub struct Mounts {
    holder: Running,
}

impl Mounts {
    /// Whether this machine lets us.
    pub fn possible() -> Result<(), String> {
        root()?;
        ["unshare", "nsenter", "mount"].into_iter().try_for_each(program)?;
        let tried = run(Command::new("unshare").args(["--mount", "sh", "-c", "mount -t tmpfs none /mnt"]));
        if tried.status.success() { Ok(()) } else { Err(format!("mounting is not allowed here: {tried}")) }
    }

    pub fn new() -> Self {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", "echo; exec sleep 600"]).stdin(Stdio::null());
        let mut holder: Child = command.stdout(Stdio::piped()).spawn().unwrap();
        // It says a line once it is in its namespace.
        let mut said = [0];
        std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut said).unwrap();
        let mounts = Self { holder: Running(holder) };
        wait_until("the namespace is there", || run(&mut mounts.within(Command::new("true"))).status.success());
        mounts
    }

    /// The same command, run where the mounts are.
    pub fn within(&self, command: Command) -> Command {
        let mut inner = Command::new("nsenter");
        inner.arg("--mount").arg("--target").arg(self.holder.0.id().to_string());
        inner.args(["--", "env", "-i"]);
        for (name, value) in command.get_envs() {
            if let Some(value) = value {
                let mut pair = name.to_owned();
                pair.push("=");
                pair.push(value);
                inner.arg(pair);
            }
        }
        // A folder that is entered before the namespace is would show what lies below its mounts.
        let folder = command.get_current_dir().unwrap_or(Path::new("/"));
        inner.args(["/bin/sh", "-c", "cd \"$0\" && exec \"$@\""]).arg(folder);
        inner.arg(command.get_program()).args(command.get_args()).stdin(Stdio::null());
        inner
    }

    /// Runs `lifeboat` there.
    pub fn lifeboat<S: AsRef<OsStr>>(&self, site: &Site, arguments: impl IntoIterator<Item = S>) -> Ran {
        run(&mut self.within(site.lifeboat_command(arguments)))
    }

    /// Runs a program there, which must work.
    pub fn run<S: AsRef<OsStr>>(&self, name: &str, arguments: impl IntoIterator<Item = S>) -> Ran {
        let mut command = Command::new(name);
        command.args(arguments);
        run(&mut self.within(command)).ok()
    }

    /// Mounts an empty file system in memory.
    pub fn tmpfs(&self, folder: &Path, options: &str) {
        std::fs::create_dir_all(folder).unwrap();
        let folder = folder.to_str().unwrap();
        self.run("mount", ["-t", "tmpfs", "-o", options, "none", folder]);
    }
}
