//! A server of e-mail, `aiosmtpd`.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::{Certificates, Script, free_port};

/// A running server of e-mail, which offers STARTTLS with the certificate of [`crate::certificates`].
pub struct MailServer {
    /// Its port on this machine.
    pub port: u16,
    mails: PathBuf,
    _script: Script,
}

impl MailServer {
    /// The one user's name.
    pub const USER: &str = "ada";
    /// The one user's password.
    pub const PASSWORD: &str = "right SECRET";

    pub(super) fn is_here() -> Result<(), String> {
        let has = Command::new("/usr/bin/python3").args(["-c", "import aiosmtpd"]).output();
        match has.is_ok_and(|output| output.status.success()) {
            true => Ok(()),
            false => Err("python3-aiosmtpd is not installed: ./dev setup".to_owned()),
        }
    }

    pub(super) fn start(certificates: &Certificates) -> Result<Self, String> {
        let port = free_port();
        let [certificate, key] = [certificates.certificate(), certificates.key()];
        let [certificate, key] = [&certificate, &key].map(|path| path.to_string_lossy());
        let (script, said) = Script::start("mail.py", &[&port.to_string(), Self::PASSWORD, &certificate, &key])?;
        Ok(Self { port, mails: said.into(), _script: script })
    }

    /// The mails it took: each `from`, `to`, `mail`, and whether it came `encrypted`.
    pub fn mails(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.mails).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
