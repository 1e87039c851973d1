//! Certificates for servers of tests, made by `openssl`: of somebody whom nobody trusts who was not told to.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::program;

/// The files. They are gone when this is dropped.
pub struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    /// Makes a pair for who signs, and one for `localhost` (not for `127.0.0.1`).
    pub(super) fn make() -> Result<Self, String> {
        program("openssl")?;
        let made = Self { folder: tempfile::tempdir().map_err(|error| error.to_string())? };
        let openssl = |words: &str| {
            let mut command = Command::new("openssl");
            let output = command.args(words.split(' ')).current_dir(made.folder.path()).output();
            let output = output.map_err(|error| error.to_string())?;
            let said = || String::from_utf8_lossy(&output.stderr).into_owned();
            if output.status.success() { Ok(()) } else { Err(said()) }
        };
        openssl("req -x509 -newkey rsa:2048 -nodes -days 3650 -keyout ca.key -out ca.pem -subj /CN=test-authority")?;
        openssl(
            "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost -addext \
             subjectAltName=DNS:localhost",
        )?;
        openssl(
            "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 3650 -copy_extensions copy -out \
             server.pem",
        )?;
        // Servers that do not run as root read them.
        let open = |path: &Path, mode| {
            std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(|error| error.to_string())
        };
        open(made.folder.path(), 0o755)?;
        for name in ["ca.pem", "server.pem", "server.key"] {
            open(&made.folder.path().join(name), 0o644)?;
        }
        Ok(made)
    }

    /// The certificate of who signed.
    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// The certificate of `localhost`.
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("server.pem")
    }

    /// Its key.
    pub fn key(&self) -> PathBuf {
        self.folder.path().join("server.key")
    }
}
