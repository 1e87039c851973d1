//! How the line to a database server is encrypted, as the query of its address says it.
//!
//! The words are those that people know from the server's own tools, and from libpq: whoever moves an address from one program
//! to another need not translate it. Values are paths and modes, never secrets, so they may be shown.

use std::path::PathBuf;

/// Names of what a query may say.
const MODE: [&str; 3] = ["ssl-mode", "sslmode", "tls-mode"];
const SWITCH: [&str; 2] = ["ssl", "tls"];
const CA_FILE: [&str; 4] = ["ssl-ca", "sslrootcert", "tls-ca", "ca_file"];
const CERT_FILE: [&str; 4] = ["ssl-cert", "sslcert", "tls-cert", "cert_file"];
const KEY_FILE: [&str; 4] = ["ssl-key", "sslkey", "tls-key", "key_file"];

/// What a server must prove before anything is said to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsMode {
    /// Nothing: the line is not encrypted.
    Disabled,
    /// Nothing: it is encrypted where the server can.
    Preferred,
    /// Nothing, but the line is encrypted.
    Required,
    /// That somebody trusted signed its certificate.
    VerifyCa,
    /// That, and that the certificate is of the host that is named.
    VerifyIdentity,
}

impl TlsMode {
    fn parse(value: &str) -> Option<Self> {
        match &*value.to_ascii_lowercase().replace('_', "-") {
            "disabled" | "disable" => Some(Self::Disabled),
            "preferred" | "prefer" => Some(Self::Preferred),
            "required" | "require" => Some(Self::Required),
            "verify-ca" => Some(Self::VerifyCa),
            "verify-identity" | "verify-full" => Some(Self::VerifyIdentity),
            _ => None,
        }
    }

    /// Whether it must be seen that the line is encrypted.
    pub fn is_needed(self) -> bool {
        self >= Self::Required
    }
}

/// What is said of the encryption.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerTls {
    /// `None`: as the tools do it by themselves.
    pub mode: Option<TlsMode>,
    /// The certificates of those that are trusted, PEM; else those that the system trusts.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown to the server, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM, without a password.
    pub key_file: Option<PathBuf>,
}

impl ServerTls {
    /// What `query` says, such as `ssl-mode=VERIFY_CA&ssl-ca=/etc/ca.pem`. Fails with what is wrong with it.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut tls = Self::default();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let file = || match value {
                "" => Err(format!("{key} names no file")),
                path => Ok(Some(PathBuf::from(path))),
            };
            match key {
                _ if MODE.contains(&key) => tls.mode = Some(TlsMode::parse(value).ok_or_else(|| wrong_mode(key))?),
                _ if SWITCH.contains(&key) => match value {
                    "true" | "1" => tls.mode = tls.mode.max(Some(TlsMode::Required)),
                    "false" | "0" => tls.mode = Some(TlsMode::Disabled),
                    _ => return Err(format!("{key} is true or false")),
                },
                _ if CA_FILE.contains(&key) => tls.ca_file = file()?,
                _ if CERT_FILE.contains(&key) => tls.cert_file = file()?,
                _ if KEY_FILE.contains(&key) => tls.key_file = file()?,
                // What it says may be a secret.
                _ => return Err("its query has something else than ssl-mode, ssl-ca, ssl-cert and ssl-key".to_owned()),
            }
        }
        tls.checked()
    }

    fn checked(mut self) -> Result<Self, String> {
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err("ssl-cert and ssl-key are given together or not at all".to_owned());
        }
        if self.ca_file.is_some() {
            match self.mode {
                // Who names whom to trust wants it to be asked for.
                None => self.mode = Some(TlsMode::VerifyIdentity),
                Some(mode) if mode < TlsMode::VerifyCa => {
                    return Err("ssl-ca is looked at with ssl-mode=VERIFY_CA or VERIFY_IDENTITY alone".to_owned());
                }
                Some(_) => {}
            }
        }
        if self.cert_file.is_some() && self.mode.is_none() {
            self.mode = Some(TlsMode::Required);
        }
        Ok(self)
    }

    /// Whether it must be seen that the line is encrypted.
    pub fn is_needed(&self) -> bool {
        self.mode.is_some_and(TlsMode::is_needed)
    }
}

fn wrong_mode(key: &str) -> String {
    format!("{key} is DISABLED, PREFERRED, REQUIRED, VERIFY_CA or VERIFY_IDENTITY")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_query_says_is_read_in_the_words_of_every_tool() {
        let mode = |query: &str| ServerTls::parse(query).unwrap().mode;
        for (query, expected) in [
            ("", None),
            ("ssl-mode=REQUIRED", Some(TlsMode::Required)),
            ("sslmode=require", Some(TlsMode::Required)),
            ("sslmode=verify-full", Some(TlsMode::VerifyIdentity)),
            ("ssl-mode=verify_ca", Some(TlsMode::VerifyCa)),
            ("ssl=true", Some(TlsMode::Required)),
            ("ssl=true&sslmode=verify-ca", Some(TlsMode::VerifyCa)),
            ("sslmode=verify-ca&ssl=true", Some(TlsMode::VerifyCa)),
            ("ssl=0", Some(TlsMode::Disabled)),
            ("ca_file=/ca.pem", Some(TlsMode::VerifyIdentity)),
            ("ssl-cert=/c.pem&ssl-key=/k.pem", Some(TlsMode::Required)),
        ] {
            assert_eq!(mode(query), expected, "{query}");
        }
        let all = ServerTls::parse("sslrootcert=/ca.pem&sslcert=/c.pem&sslkey=/k.pem").unwrap();
        let paths = [all.ca_file, all.cert_file, all.key_file].map(|path| path.unwrap());
        assert_eq!(paths, ["/ca.pem", "/c.pem", "/k.pem"].map(PathBuf::from));
    }

    #[test]
    fn what_would_be_ignored_is_refused() {
        for (query, told) in [
            ("ssl-mode=yes", "ssl-mode is DISABLED, PREFERRED"),
            ("ssl=maybe", "ssl is true or false"),
            ("ssl-ca=", "ssl-ca names no file"),
            ("ssl-cert=/c.pem", "given together"),
            ("ssl-mode=REQUIRED&ssl-ca=/ca.pem", "VERIFY_CA or VERIFY_IDENTITY alone"),
            ("charset=hunter2", "something else than"),
        ] {
            let error = ServerTls::parse(query).unwrap_err();
            assert!(error.contains(told) && !error.contains("hunter2"), "{query}: {error}");
        }
    }
}
