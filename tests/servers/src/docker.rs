//! A container engine of its own, with an image made of busybox: Docker, or Podman with Docker's API.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::{Script, program, unique};

/// A running engine. Its containers end with it.
pub struct DockerServer {
    /// Where it listens.
    pub socket: PathBuf,
    /// Whether it is Podman.
    pub is_podman: bool,
    _script: Script,
}

impl DockerServer {
    /// The one image: `sh`, `cat`, `sleep`, `ln`, `mkdir`, `echo`, `touch`.
    pub const IMAGE: &str = "localhost/busybox:latest";

    /// Docker itself.
    pub(super) fn start() -> Result<Self, String> {
        Self::start_with(&["dockerd", "docker"], "dockerd.sh")
    }

    /// Podman, which Docker's client works with as well.
    pub(super) fn start_podman() -> Result<Self, String> {
        let podman = Self::start_with(&["podman", "docker", "curl"], "podman.sh")?;
        Ok(Self { is_podman: true, ..podman })
    }

    fn start_with(programs: &[&str], script: &str) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("not run as root".to_owned());
        }
        for name in programs {
            program(name)?;
        }
        if !Path::new("/bin/busybox").exists() {
            return Err("busybox-static is not installed".to_owned());
        }
        let (script, socket) = Script::start(script, &[])?;
        Ok(Self { socket: socket.into(), is_podman: false, _script: script })
    }

    /// What `DOCKER_HOST` must be.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Runs the `docker` client, which must succeed. Gives what it prints.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output = self.attempt(arguments);
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Runs the `docker` client, which may fail.
    pub fn attempt(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new("docker");
        command.args(arguments).env("DOCKER_HOST", self.host()).env("DOCKER_CONFIG", "/nonexistent");
        command.output().unwrap()
    }

    /// Makes and starts a container without network that sleeps, with these options of `docker create` before the image.
    pub fn run(&self, name: &str, options: &[&str]) {
        self.make(name, options, "sleep 1000000");
        self.docker(&["start", name]);
    }

    /// Makes a container that runs this for the shell once it is started.
    pub fn make(&self, name: &str, options: &[&str], script: &str) {
        let mut arguments = vec!["create", "--name", name, "--network", "none", "--stop-timeout", "1", "--init=false"];
        arguments.extend(options);
        arguments.extend([Self::IMAGE, "/bin/sh", "-c", script]);
        self.docker(&arguments);
    }

    /// What a container does: `running`, `paused`, `exited` or `created`.
    pub fn state(&self, container: &str) -> String {
        self.docker(&["inspect", "--format", "{{.State.Status}}", container])
    }

    /// A new name for a container or volume.
    pub fn name(&self) -> String {
        unique()
    }
}
