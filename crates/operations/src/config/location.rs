//! Where a copy lies and how it is got into, and how stock restic is told the same.

use std::fmt;
use std::net::IpAddr;
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
    /// A bucket of Google Cloud Storage.
    Gcs(GcsLocation),
    /// A bucket of Backblaze B2.
    B2(B2Location),
    /// A folder of a WebDAV server.
    Webdav(WebdavLocation),
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
    /// The server, as `http(s)://HOST[:PORT][/PATH]`, without `/` at its end. `None`: the account's own in Azure's public
    /// cloud, or the one that a connection string names.
    pub endpoint: Option<String>,
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

/// A place in a bucket of Google Cloud Storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GcsLocation {
    /// The bucket.
    pub bucket: String,
    /// The prefix of every name, without `/` at its ends; may be empty.
    pub prefix: String,
    /// A file with the key of a service account, or another that Google's own programs take. `None`: whoever the
    /// platform's own chain says, such as a machine's service account.
    pub credential_file: Option<PathBuf>,
}

/// A place in a bucket of Backblaze B2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct B2Location {
    /// The bucket.
    pub bucket: String,
    /// The prefix of every name, without `/` at its ends; may be empty.
    pub prefix: String,
    /// The bucket's id, which B2 wants beside its name.
    pub bucket_id: String,
    /// The application key's id.
    pub key_id: SecretSource,
    /// The application key.
    pub key: SecretSource,
}

/// A folder of a WebDAV server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebdavLocation {
    /// Whether the way there is encrypted.
    pub tls: bool,
    /// The machine's name or address; an IPv6 address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The folder, from the server's root, without `/` at its ends; may be empty.
    pub path: String,
    /// Who logs in. `None`: nobody is asked for.
    pub login: Option<WebdavLogin>,
}

/// Who logs in to a WebDAV server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebdavLogin {
    /// The user's name.
    pub user: String,
    /// The user's password there.
    pub password: SecretSource,
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
    /// What it lies on, where nobody says.
    pub fn media(&self) -> &'static str {
        match self {
            Self::S3(_) | Self::Azure(_) | Self::Gcs(_) | Self::B2(_) => "object",
            Self::Local(_) | Self::Webdav(_) | Self::Sftp(_) => "disk",
        }
    }

    /// Who runs it, where nobody says. `None` for a folder alone.
    pub fn provider(&self) -> Option<String> {
        match self {
            Self::Local(_) => None,
            Self::S3(s3) => Some(s3.endpoint.as_deref().map_or("amazon", host_of).to_owned()),
            Self::Azure(_) => Some("azure".to_owned()),
            Self::Gcs(_) => Some("google".to_owned()),
            Self::B2(_) => Some("backblaze".to_owned()),
            Self::Webdav(webdav) => Some(webdav.host.clone()),
            Self::Sftp(sftp) => Some(sftp.host.clone()),
        }
    }

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
            Self::Gcs(GcsLocation { bucket, prefix, .. }) => Url::Gcs { bucket, prefix },
            Self::B2(B2Location { bucket, prefix, .. }) => Url::B2 { bucket, prefix },
            Self::Webdav(WebdavLocation { tls, host, port, path, .. }) => Url::Webdav { tls, host, port, path },
            Self::Sftp(SftpLocation { user, host, port, path, .. }) => Url::Sftp { user, host, port, path },
        }
    }

    /// Whether both are the same place, whoever asks. All names of this machine are one; that two other names lead to one
    /// server cannot be told from them.
    pub fn is_same_place(&self, other: &Self) -> bool {
        let server = |location: &Self| match location {
            Self::S3(s3) => s3.endpoint.as_deref().map(of_endpoint),
            Self::Azure(azure) => {
                Some(format!("{:?} {:?}", azure.endpoint.as_deref().map(of_endpoint), azure.login.account()))
            }
            _ => None,
        };
        let url = |location: &Self| match location.url() {
            Url::Webdav { tls, host, port, path } => Url::Webdav { tls, host: of_host(&host), port, path },
            Url::Sftp { user, host, port, path } => Url::Sftp { user, host: of_host(&host), port, path },
            other => other,
        };
        url(self) == url(other) && server(self) == server(other)
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
            Self::Gcs(gcs) => return gcs.credential_file.iter().map(PathBuf::as_path).collect(),
            Self::B2(b2) => vec![&b2.key_id, &b2.key],
            Self::Webdav(webdav) => webdav.login.iter().map(|login| &login.password).collect(),
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
            Self::Gcs(gcs) => gcs.restic(),
            Self::B2(b2) => b2.restic(),
            Self::Webdav(webdav) => webdav.restic(),
            Self::Sftp(sftp) => sftp.restic(),
        }
    }
}

/// A host by one name, where names show that they are one.
fn of_host(host: &str) -> String {
    let host = host.trim_matches(['[', ']']).to_ascii_lowercase();
    let is_own = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified());
    if is_own { "localhost".to_owned() } else { host }
}

/// A server by one name, with the port that its protocol implies.
fn of_endpoint(endpoint: &str) -> String {
    let (scheme, authority) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    match authority.rsplit_once(':').filter(|(_, port)| is_port(port)) {
        Some((host, port)) => format!("{scheme}://{}:{port}", of_host(host)),
        None => format!("{scheme}://{}:{}", of_host(authority), if scheme == "http" { 80 } else { 443 }),
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
        let (mut variables, secrets) = match self.login.account() {
            Some(account) => (vec![(name, account.to_owned())], vec![secret]),
            None => (Vec::new(), vec![(name, in_string("AccountName")), secret]),
        };
        // restic makes the server's name of the account's and of this.
        let suffix = self.endpoint.as_ref().and_then(|endpoint| Some(endpoint.split_once(".blob.")?.1.to_owned()));
        let note = (self.endpoint.is_some() && suffix.is_none())
            .then(|| "restic finds servers by the account's name alone; this one has another".to_owned());
        variables.extend(suffix.map(|suffix| ("AZURE_ENDPOINT_SUFFIX", suffix)));
        ResticLocation { repository, variables, secrets, note }
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

impl GcsLocation {
    fn restic(&self) -> ResticLocation {
        let file = "the name of a file with the key of a service account".to_owned();
        ResticLocation {
            repository: format!("gs:{}:/{}", self.bucket, self.prefix),
            variables: Vec::new(),
            secrets: vec![("GOOGLE_APPLICATION_CREDENTIALS", file)],
            note: None,
        }
    }
}

impl B2Location {
    fn restic(&self) -> ResticLocation {
        let secrets = vec![
            ("B2_ACCOUNT_ID", "the id of an application key".to_owned()),
            ("B2_ACCOUNT_KEY", "the application key itself".to_owned()),
        ];
        let repository = format!("b2:{}:{}", self.bucket, self.prefix);
        ResticLocation { repository, variables: Vec::new(), secrets, note: None }
    }
}

impl WebdavLocation {
    /// The folder's address, as programs that speak HTTP take it.
    pub fn address(&self) -> String {
        // What `webdav` and `webdavs` stand for.
        format!("http{}", Location::Webdav(self.clone()).to_string().trim_start_matches("webdav"))
    }

    fn restic(&self) -> ResticLocation {
        let mut variables = vec![
            ("RCLONE_CONFIG_LIFEBOAT_TYPE", "webdav".to_owned()),
            ("RCLONE_CONFIG_LIFEBOAT_URL", self.address()),
            ("RCLONE_CONFIG_LIFEBOAT_VENDOR", "other".to_owned()),
        ];
        let mut secrets = Vec::new();
        if let Some(login) = &self.login {
            variables.push(("RCLONE_CONFIG_LIFEBOAT_USER", login.user.clone()));
            secrets.push(("RCLONE_CONFIG_LIFEBOAT_PASS", "what `rclone obscure` prints for the password".to_owned()));
        }
        let note = "restic knows no WebDAV and starts `rclone`, which must be installed".to_owned();
        ResticLocation { repository: "rclone:lifeboat:".to_owned(), variables, secrets, note: Some(note) }
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

/// The host of `http(s)://HOST[:PORT]`.
fn host_of(endpoint: &str) -> &str {
    let server = endpoint.split_once("://").map_or(endpoint, |(_, server)| server);
    match server.strip_prefix('[').and_then(|address| address.split_once(']')) {
        Some((address, _)) => address,
        None => server.split_once(':').map_or(server, |(host, _)| host),
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
        Location::Azure(AzureLocation { container: "box".into(), prefix: String::new(), endpoint: None, login })
    }

    fn sftp(host: &str, port: u16, path: &str) -> Location {
        let (user, host, path) = ("backup".into(), host.into(), path.into());
        let key = Some("/etc/lifeboat/id".into());
        Location::Sftp(SftpLocation { user, host, port, path, private_key_file: key, known_hosts_file: None })
    }

    fn webdav(login: Option<WebdavLogin>) -> Location {
        let (host, path) = ("cloud".to_owned(), "dav/files".to_owned());
        Location::Webdav(WebdavLocation { tls: login.is_some(), host, port: 443, path, login })
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
            Location::Gcs(GcsLocation {
                bucket: "bucket".into(),
                prefix: "a".into(),
                credential_file: Some("/etc/lifeboat/google.json".into()),
            }),
            Location::B2(B2Location {
                bucket: "bucket".into(),
                prefix: "a/b".into(),
                bucket_id: "e73ede9969c64887".into(),
                key_id: secret(),
                key: secret(),
            }),
            webdav(Some(WebdavLogin { user: "me".into(), password: secret() })),
            webdav(None),
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
            gs://bucket/a
                gs:bucket:/a
                GOOGLE_APPLICATION_CREDENTIALS: the name of a file with the key of a service account
            b2://bucket/a/b
                b2:bucket:a/b
                B2_ACCOUNT_ID: the id of an application key
                B2_ACCOUNT_KEY: the application key itself
            webdavs://cloud/dav/files
                rclone:lifeboat:
                RCLONE_CONFIG_LIFEBOAT_TYPE=webdav
                RCLONE_CONFIG_LIFEBOAT_URL=https://cloud/dav/files
                RCLONE_CONFIG_LIFEBOAT_VENDOR=other
                RCLONE_CONFIG_LIFEBOAT_USER=me
                RCLONE_CONFIG_LIFEBOAT_PASS: what `rclone obscure` prints for the password
            webdav://cloud:443/dav/files
                rclone:lifeboat:
                RCLONE_CONFIG_LIFEBOAT_TYPE=webdav
                RCLONE_CONFIG_LIFEBOAT_URL=http://cloud:443/dav/files
                RCLONE_CONFIG_LIFEBOAT_VENDOR=other
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

    #[test]
    fn a_server_is_one_by_each_of_the_names_that_this_machine_has_for_itself() {
        let at = |endpoint: &str| Location::S3(S3Location { endpoint: Some(endpoint.into()), ..s3() });
        let same = |one: &str, other: &str| at(one).is_same_place(&at(other));
        assert!(
            same("http://127.0.0.1:9000", "http://localhost:9000")
                && same("http://[::1]:9000", "http://localhost:9000")
        );
        assert!(same("https://S3.example.org", "https://s3.example.org:443"));
        assert!(!same("http://127.0.0.1:9000", "http://127.0.0.1:9001") && !same("http://s3", "https://s3"));
        assert!(sftp("127.0.0.1", 22, "a").is_same_place(&sftp("localhost", 22, "a")));
        assert!(!sftp("nas", 22, "a").is_same_place(&sftp("nas2", 22, "a")));
    }
}
