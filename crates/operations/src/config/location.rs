//! Where a copy lies and how it is got into, and how stock restic is told the same.

use std::fmt;
use std::path::{Path, PathBuf};

use super::secret::SecretSource;
use super::url::{SSH_PORT, Url, joined};

/// A copy's place. It shows itself as its url, which holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A folder of this machine, absolute.
    Local(PathBuf),
    /// A bucket of S3, or of what speaks its protocol.
    S3(S3Location),
    /// A container of Azure Blob Storage.
    Azure(AzureLocation),
    /// A folder of another machine, over SSH.
    Sftp(SftpLocation),
}

/// A place in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Location {
    /// The bucket.
    pub bucket: String,
    /// The prefix of every key, without `/` at its ends; may be empty.
    pub prefix: String,
    /// The server, as `http(s)://HOST[:PORT]`, without `/` at its end. `None`: Amazon's.
    pub endpoint: Option<String>,
    /// The region. `None`: what the platform says.
    pub region: Option<String>,
    /// Who asks. `None`: whoever the platform's own chain says, such as an instance's role.
    pub access_key: Option<S3AccessKey>,
}

/// An access key of S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3AccessKey {
    /// Its id.
    pub id: SecretSource,
    /// Its secret part.
    pub secret: SecretSource,
    /// The token of a session, where the key is a temporary one.
    pub session_token: Option<SecretSource>,
}

/// A place in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AzureLocation {
    /// The container.
    pub container: String,
    /// The prefix of every name, without `/` at its ends; may be empty.
    pub prefix: String,
    /// How to get in.
    pub login: AzureLogin,
}

/// How to get into an account of Azure Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureLogin {
    /// A connection string, which names account, key and address.
    ConnectionString(SecretSource),
    /// A key of the account.
    Key {
        /// The account.
        account: String,
        /// Its key.
        key: SecretSource,
    },
    /// A shared access signature.
    Sas {
        /// The account.
        account: String,
        /// The signature, with or without a `?` before it.
        token: SecretSource,
    },
    /// Whoever the platform's own chain says, such as a managed identity.
    Platform {
        /// The account.
        account: String,
    },
}

/// A folder of another machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SftpLocation {
    /// Who logs in.
    pub user: String,
    /// The machine's name or address; an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The folder: from the root where it begins with `/`, else from where a login starts. Never empty.
    pub path: String,
    /// The private key. `None`: the keys of an ssh-agent, else those in `~/.ssh`.
    pub private_key_file: Option<PathBuf>,
    /// The hosts that are known. `None`: `~/.ssh/known_hosts`.
    pub known_hosts_file: Option<PathBuf>,
}

/// A copy as stock restic finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResticLocation {
    /// What `restic -r` takes.
    pub repository: String,
    /// Environment variables that it needs, and their values.
    pub variables: Vec<(&'static str, String)>,
    /// Those whose values are secret, and what each of them is. The password is not among them.
    pub secrets: Vec<(&'static str, String)>,
    /// What else must be so, in a sentence.
    pub note: Option<String>,
}

impl Location {
    /// The folder, where it is one of this machine.
    pub fn local(&self) -> Option<&Path> {
        match self {
            Self::Local(path) => Some(path),
            _ => None,
        }
    }

    /// Its url, without what opens it.
    pub fn url(&self) -> Url {
        match self.clone() {
            Self::Local(path) => Url::Folder(path),
            Self::S3(S3Location { bucket, prefix, .. }) => Url::S3 { bucket, prefix },
            Self::Azure(AzureLocation { container, prefix, .. }) => Url::Azure { container, prefix },
            Self::Sftp(SftpLocation { user, host, port, path, .. }) => Url::Sftp { user, host, port, path },
        }
    }

    /// Whether both are the same place, whoever asks.
    pub fn is_same_place(&self, other: &Self) -> bool {
        let server = |location: &Self| match location {
            Self::S3(s3) => s3.endpoint.clone(),
            Self::Azure(azure) => azure.login.account().map(str::to_owned),
            _ => None,
        };
        self.url() == other.url() && server(self) == server(other)
    }

    /// Every file with a secret that it needs.
    pub fn secret_files(&self) -> Vec<&Path> {
        let sources: Vec<&SecretSource> = match self {
            Self::Local(_) => Vec::new(),
            Self::S3(s3) => s3
                .access_key
                .iter()
                .flat_map(|key| [Some(&key.id), Some(&key.secret), key.session_token.as_ref()])
                .flatten()
                .collect(),
            Self::Azure(azure) => match &azure.login {
                AzureLogin::ConnectionString(secret)
                | AzureLogin::Key { key: secret, .. }
                | AzureLogin::Sas { token: secret, .. } => vec![secret],
                AzureLogin::Platform { .. } => Vec::new(),
            },
            Self::Sftp(sftp) => return sftp.private_key_file.iter().map(PathBuf::as_path).collect(),
        };
        sources.into_iter().filter_map(SecretSource::file).collect()
    }

    /// The same place for stock restic, in the forms that every version from 0.14 on takes.
    pub fn restic(&self) -> ResticLocation {
        match self {
            Self::Local(path) => {
                let repository = path.display().to_string();
                ResticLocation { repository, variables: Vec::new(), secrets: Vec::new(), note: None }
            }
            Self::S3(s3) => s3.restic(),
            Self::Azure(azure) => azure.restic(),
            Self::Sftp(sftp) => sftp.restic(),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url().fmt(f)
    }
}

impl S3Location {
    fn restic(&self) -> ResticLocation {
        let server = match (&self.endpoint, &self.region) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, Some(region)) => format!("s3.{region}.amazonaws.com"),
            (None, None) => "s3.amazonaws.com".to_owned(),
        };
        let mut secrets = vec![
            ("AWS_ACCESS_KEY_ID", "the id of an access key".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "its secret".to_owned()),
        ];
        if self.access_key.as_ref().is_some_and(|key| key.session_token.is_some()) {
            secrets.push(("AWS_SESSION_TOKEN", "the token of its session".to_owned()));
        }
        ResticLocation {
            repository: format!("s3:{server}/{}", joined(&self.bucket, &self.prefix)),
            variables: self.region.iter().map(|region| ("AWS_DEFAULT_REGION", region.clone())).collect(),
            secrets,
            note: None,
        }
    }
}

impl AzureLocation {
    fn restic(&self) -> ResticLocation {
        let in_string = |part: &str| format!("what stands behind `{part}=` in the connection string");
        let secret = match &self.login {
            AzureLogin::ConnectionString(_) => ("AZURE_ACCOUNT_KEY", in_string("AccountKey")),
            AzureLogin::Sas { .. } => ("AZURE_ACCOUNT_SAS", "a shared access signature of it".to_owned()),
            AzureLogin::Key { .. } | AzureLogin::Platform { .. } => ("AZURE_ACCOUNT_KEY", "a key of it".to_owned()),
        };
        let repository = format!("azure:{}:/{}", self.container, self.prefix);
        let name = "AZURE_ACCOUNT_NAME";
        let (variables, secrets) = match self.login.account() {
            Some(account) => (vec![(name, account.to_owned())], vec![secret]),
            None => (Vec::new(), vec![(name, in_string("AccountName")), secret]),
        };
        ResticLocation { repository, variables, secrets, note: None }
    }
}

impl AzureLogin {
    /// The account, where the configuration says it by itself.
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::ConnectionString(_) => None,
            Self::Key { account, .. } | Self::Sas { account, .. } | Self::Platform { account } => Some(account),
        }
    }
}

impl SftpLocation {
    fn restic(&self) -> ResticLocation {
        // The short form has no place for a port, nor for the colons of an address.
        let repository = if self.port == SSH_PORT && !self.host.contains(':') {
            format!("sftp:{}@{}:{}", self.user, self.host, self.path)
        } else {
            Location::Sftp(self.clone()).to_string()
        };
        let note = "restic starts `ssh`, so the private key must lie in `~/.ssh` or in an ssh-agent, and the host's key \
                    in `~/.ssh/known_hosts`";
        ResticLocation { repository, variables: Vec::new(), secrets: Vec::new(), note: Some(note.to_owned()) }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use expect_test::expect;

    use super::super::secret::Secret;
    use super::*;

    fn secret() -> SecretSource {
        SecretSource::Given(Secret::new("hunter2".to_owned()))
    }

    fn s3() -> S3Location {
        let key = S3AccessKey { id: secret(), secret: secret(), session_token: None };
        let (bucket, prefix) = ("bucket".to_owned(), "a/b".to_owned());
        S3Location { bucket, prefix, endpoint: None, region: None, access_key: Some(key) }
    }

    fn azure(login: AzureLogin) -> Location {
        Location::Azure(AzureLocation { container: "box".into(), prefix: String::new(), login })
    }

    fn sftp(host: &str, port: u16, path: &str) -> Location {
        let (user, host, path) = ("backup".into(), host.into(), path.into());
        let key = Some("/etc/lifeboat/id".into());
        Location::Sftp(SftpLocation { user, host, port, path, private_key_file: key, known_hosts_file: None })
    }

    fn every() -> Vec<Location> {
        let account = || "acme".to_owned();
        vec![
            Location::Local("/srv/b".into()),
            Location::S3(s3()),
            Location::S3(S3Location { region: Some("eu-1".into()), ..s3() }),
            Location::S3(S3Location {
                prefix: String::new(),
                endpoint: Some("http://127.0.0.1:9000".into()),
                access_key: Some(S3AccessKey { id: secret(), secret: secret(), session_token: Some(secret()) }),
                ..s3()
            }),
            azure(AzureLogin::ConnectionString(secret())),
            azure(AzureLogin::Key { account: account(), key: secret() }),
            azure(AzureLogin::Sas { account: account(), token: secret() }),
            azure(AzureLogin::Platform { account: account() }),
            sftp("nas", 22, "lifeboat"),
            sftp("nas", 2222, "/srv/x"),
            sftp("::1", 22, "/srv/x"),
        ]
    }

    #[test]
    fn every_place_is_named_as_restic_takes_it() {
        let mut said = String::new();
        for location in every() {
            let ResticLocation { repository, variables, secrets, .. } = location.restic();
            let _ = writeln!(said, "{location}\n    {repository}");
            for (name, value) in variables {
                let _ = writeln!(said, "    {name}={value}");
            }
            for (name, what) in secrets {
                let _ = writeln!(said, "    {name}: {what}");
            }
        }
        expect![[r#"
            /srv/b
                /srv/b
            s3://bucket/a/b
                s3:s3.amazonaws.com/bucket/a/b
                AWS_ACCESS_KEY_ID: the id of an access key
                AWS_SECRET_ACCESS_KEY: its secret
            s3://bucket/a/b
                s3:s3.eu-1.amazonaws.com/bucket/a/b
                AWS_DEFAULT_REGION=eu-1
                AWS_ACCESS_KEY_ID: the id of an access key
                AWS_SECRET_ACCESS_KEY: its secret
            s3://bucket
                s3:http://127.0.0.1:9000/bucket
                AWS_ACCESS_KEY_ID: the id of an access key
                AWS_SECRET_ACCESS_KEY: its secret
                AWS_SESSION_TOKEN: the token of its session
            azblob://box
                azure:box:/
                AZURE_ACCOUNT_NAME: what stands behind `AccountName=` in the connection string
                AZURE_ACCOUNT_KEY: what stands behind `AccountKey=` in the connection string
            azblob://box
                azure:box:/
                AZURE_ACCOUNT_NAME=acme
                AZURE_ACCOUNT_KEY: a key of it
            azblob://box
                azure:box:/
                AZURE_ACCOUNT_NAME=acme
                AZURE_ACCOUNT_SAS: a shared access signature of it
            azblob://box
                azure:box:/
                AZURE_ACCOUNT_NAME=acme
                AZURE_ACCOUNT_KEY: a key of it
            sftp://backup@nas/lifeboat
                sftp:backup@nas:lifeboat
            sftp://backup@nas:2222//srv/x
                sftp://backup@nas:2222//srv/x
            sftp://backup@[::1]//srv/x
                sftp://backup@[::1]//srv/x
        "#]]
        .assert_eq(&said);
    }

    #[test]
    fn no_place_shows_a_secret() {
        for location in every() {
            assert!(!format!("{location} {location:?} {:?}", location.restic()).contains("hunter2"));
        }
    }

    #[test]
    fn a_place_is_the_same_whoever_asks() {
        let other_key = Location::S3(S3Location { access_key: None, ..s3() });
        let other_server = Location::S3(S3Location { endpoint: Some("https://other".into()), ..s3() });
        assert!(Location::S3(s3()).is_same_place(&other_key));
        assert!(!Location::S3(s3()).is_same_place(&other_server));
        assert!(!sftp("nas", 22, "a").is_same_place(&sftp("nas", 22, "/a")));
    }
}
