//! What a copy's keys mean, for whichever kind of place its url names. A key that does not fit that kind is a mistake and
//! never passed over: whoever wrote it believes that it does something.

use std::num::NonZeroU64;

use super::super::archive::{ArchiveKey, ArchiveSettings, PrefixTemplate};
use super::super::document::CopyDocument;
use super::super::location::{
    AzureLocation, AzureLogin, B2Location, GcsLocation, Location, S3AccessKey, S3Location, SftpLocation,
    WebdavLocation, WebdavLogin,
};
use super::super::rate;
use super::super::settings::Layout;
use super::super::url::Url;
use super::{CopySettings, Mistake, Named, OneOrMany, Place, Resolver, Result, SecretSource, Text, required};

/// A secret as it was typed: `x`, `x_file` or `x_command`.
pub(super) type TypedSecret<'a> = (&'a Option<Text>, &'a Option<Text>, &'a Option<OneOrMany>);

/// The kinds of copy that a key belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fit {
    S3,
    S3OrAzure,
    Azure,
    Gcs,
    B2,
    Webdav,
    Sftp,
    /// Whatever is not a folder of this machine.
    Remote,
    Archive,
    Repository,
}

impl Resolver<'_> {
    /// The copies, of which those without a password of their own have `password`.
    pub(super) fn copies(
        &self,
        copies: Option<&Named<CopyDocument>>,
        password: Option<&SecretSource>,
    ) -> Result<Vec<CopySettings>> {
        let documents = copies.map_or(&[][..], |copies| &copies.0);
        if documents.is_empty() {
            let hint = "add for example `copies: {disk: {url: /srv/backups}}`";
            return Err(Mistake::of_file("`copies` is missing").with_hint(hint));
        }
        let has_own = documents.iter().any(|(_, copy)| places("password", password_of(copy)).next().is_some());
        let mut copies: Vec<CopySettings> = Vec::new();
        for (name, document) in documents {
            let copy = self.copy(name, document, password, has_own)?;
            if let Some(same) = copies.iter().find(|other| other.location.is_same_place(&copy.location)) {
                let what = format!("copy `{}` is at the very same place", same.name);
                let place = document.url.as_ref().map_or(name.place, |url| url.place);
                return Err(Mistake::at(place, what).with_hint("name another place, or remove one of the two"));
            }
            let contradicts = |other: &&CopySettings| other.site == copy.site && other.offsite != copy.offsite;
            if let (Some(site), Some(other)) = (&document.site, copies.iter().find(contradicts)) {
                let what =
                    format!("copy `{}` is at this site too, and only one of them says `offsite: true`", other.name);
                return Err(Mistake::at(site.place, what).with_hint("a site is away from the data, or it is not"));
            }
            copies.push(copy);
        }
        Ok(copies)
    }

    fn copy(
        &self,
        name: &Text,
        copy: &CopyDocument,
        password: Option<&SecretSource>,
        others_have_own: bool,
    ) -> Result<CopySettings> {
        let text = required(&copy.url, name, "url", "a folder, such as `url: /srv/backups`")?;
        let url = Url::parse(&self.filled(text)?)
            .map_err(|wrong| Mistake::at(text.place, wrong.what).with_hint(wrong.hint))?;
        let is_archive = self.is_archive(copy)?;
        check_fit(copy, &url, is_archive)?;
        let own = self.secret("password", password_of(copy))?;
        let layout = if is_archive {
            Layout::Archive(self.archive(name, copy)?)
        } else {
            let password = own.or_else(|| password.cloned()).ok_or_else(|| {
                if others_have_own {
                    Mistake::at(name.place, "this copy has no password")
                        .with_hint("add `password_file` to it, or at the beginning of the file for all copies")
                } else {
                    Mistake::of_file("there is no password")
                        .with_hint("add `password_file` with the name of a file that holds it")
                }
            })?;
            Layout::Repository { password }
        };
        let location = self.location(text, url, copy)?;
        let filled = |value: &Option<Text>| value.as_ref().map(|text| self.filled(text)).transpose();
        Ok(CopySettings {
            name: self.name(name)?,
            media: filled(&copy.media)?.unwrap_or_else(|| location.media().to_owned()),
            offsite: self.boolean(&copy.offsite)?,
            immutable: self.boolean(&copy.immutable)?,
            removable: self.boolean(&copy.removable)?,
            site: filled(&copy.site)?,
            provider: filled(&copy.provider)?.or_else(|| location.provider()),
            account: filled(&copy.account)?,
            region: filled(&copy.region)?,
            retention: copy.retention.as_ref().map(|retention| self.retention(retention)).transpose()?,
            upload_limit: self.rate(&copy.upload_limit)?,
            download_limit: self.rate(&copy.download_limit)?,
            layout,
            location,
        })
    }

    fn is_archive(&self, copy: &CopyDocument) -> Result<bool> {
        let Some(layout) = &copy.layout else { return Ok(false) };
        match &*self.text(layout)? {
            "repository" => Ok(false),
            "archive" => Ok(true),
            _ => Err(Mistake::at(layout.place, "unknown layout")
                .with_hint("write `layout: repository` or `layout: archive`, or remove it")),
        }
    }

    fn location(&self, text: &Text, url: Url, copy: &CopyDocument) -> Result<Location> {
        Ok(match url {
            Url::Folder(path) => {
                // It came out of a text, so it is one.
                Location::Local(self.path_of(text, &path.to_string_lossy())?)
            }
            Url::S3 { bucket, prefix } => Location::S3(S3Location {
                bucket,
                prefix,
                endpoint: copy.endpoint.as_ref().map(|endpoint| self.endpoint(endpoint)).transpose()?,
                region: copy.region.as_ref().map(|region| self.filled(region)).transpose()?,
                access_key: self.access_key(copy)?,
            }),
            Url::Azure { container, prefix } => {
                let endpoint = copy.endpoint.as_ref().map(|endpoint| self.azure_endpoint(endpoint)).transpose()?;
                let login = self.azure_login(text, copy)?;
                if let (Some(given), AzureLogin::ConnectionString(_)) = (&copy.endpoint, &login) {
                    return Err(Mistake::at(given.place, "`endpoint` and `connection_string` both name the server")
                        .with_hint("remove `endpoint`"));
                }
                Location::Azure(AzureLocation { container, prefix, endpoint, login })
            }
            Url::Gcs { bucket, prefix } => {
                let credential_file = copy.credential_file.as_ref().map(|file| self.path(file)).transpose()?;
                Location::Gcs(GcsLocation { bucket, prefix, credential_file })
            }
            Url::B2 { bucket, prefix } => Location::B2(self.b2(text, copy, bucket, prefix)?),
            Url::Webdav { tls, host, port, path } => {
                Location::Webdav(WebdavLocation { tls, host, port, path, login: self.webdav_login(copy)? })
            }
            Url::Sftp { user, host, port, path } => {
                let file = |file: &Option<Text>| file.as_ref().map(|file| self.path(file)).transpose();
                Location::Sftp(SftpLocation {
                    user,
                    host,
                    port,
                    path,
                    private_key_file: file(&copy.private_key_file)?,
                    known_hosts_file: file(&copy.known_hosts_file)?,
                })
            }
        })
    }

    fn endpoint(&self, text: &Text) -> Result<String> {
        self.endpoint_of(text, &self.filled(text)?)
    }

    fn endpoint_of(&self, text: &Text, endpoint: &str) -> Result<String> {
        // What stands there is not repeated: people write keys before an `@`.
        read_endpoint(endpoint).ok_or_else(|| {
            Mistake::at(text.place, "this is not the address of a server").with_hint(
                "write https://host or https://host:port; the bucket stands in `url`, keys have settings of their own",
            )
        })
    }

    /// As [`Resolver::endpoint`], with a path where the account is part of it, as in Azurite and Azure Stack.
    fn azure_endpoint(&self, text: &Text) -> Result<String> {
        let whole = self.filled(text)?;
        let whole = whole.trim_end_matches('/');
        let after_scheme = whole.find("://").map_or(0, |at| at + 3);
        let (server, path) = match whole[after_scheme..].find('/') {
            Some(at) => whole.split_at(after_scheme + at),
            None => (whole, ""),
        };
        let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '/';
        let server = self.endpoint_of(text, server)?;
        if !path.chars().all(is_fine) {
            return Err(Mistake::at(text.place, "this is not the address of a server")
                .with_hint("write https://host, or https://host:port/account; the container stands in `url`"));
        }
        Ok(format!("{server}{path}"))
    }

    fn access_key(&self, copy: &CopyDocument) -> Result<Option<S3AccessKey>> {
        let (id, secret, token) = s3_secrets(copy);
        let session_token = self.secret("session_token", token)?;
        let hint = "give both parts of the access key, or neither to use what the platform says";
        match (self.secret("access_key_id", id)?, self.secret("secret_access_key", secret)?) {
            (Some(id), Some(secret)) => Ok(Some(S3AccessKey { id, secret, session_token })),
            (None, None) => match places("session_token", token).next() {
                Some((_, place)) => {
                    Err(Mistake::at(place, "a session token needs the access key it belongs to").with_hint(hint))
                }
                None => Ok(None),
            },
            (id_given, _) => {
                let missing = if id_given.is_some() { "secret_access_key" } else { "access_key_id" };
                let given = places("access_key_id", id).chain(places("secret_access_key", secret)).next();
                let what = format!("`{missing}` is missing");
                Err(given
                    .map_or_else(|| Mistake::of_file(&what), |(_, place)| Mistake::at(place, &what))
                    .with_hint(hint))
            }
        }
    }

    fn azure_login(&self, url: &Text, copy: &CopyDocument) -> Result<AzureLogin> {
        let (string, key, sas) = azure_secrets(copy);
        let given: Vec<(String, Place)> = places("connection_string", string)
            .chain(places("account_key", key))
            .chain(places("sas_token", sas))
            .collect();
        let string = self.secret("connection_string", string)?;
        let key = self.secret("account_key", key)?;
        let sas = self.secret("sas_token", sas)?;
        if let [(first, _), (second, place), ..] = &given[..] {
            return Err(Mistake::at(*place, format!("`{first}` and `{second}` are both given"))
                .with_hint("one of connection_string, account_key and sas_token is enough"));
        }
        if let Some(string) = string {
            return Ok(AzureLogin::ConnectionString(string));
        }
        let Some(text) = &copy.account else {
            let place = given.first().map_or(url.place, |(_, place)| *place);
            return Err(Mistake::at(place, "`account` is missing")
                .with_hint("add the name of the storage account, or a `connection_string_file`"));
        };
        let account = self.filled(text)?;
        let is_name = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        if !(3..=24).contains(&account.len()) || !is_name(&account) {
            return Err(Mistake::at(text.place, "this cannot be the name of a storage account")
                .with_hint("write 3 to 24 small letters and digits"));
        }
        Ok(match (key, sas) {
            (Some(key), _) => AzureLogin::Key { account, key },
            (_, Some(token)) => AzureLogin::Sas { account, token },
            (None, None) => AzureLogin::Platform { account },
        })
    }

    fn b2(&self, url: &Text, copy: &CopyDocument, bucket: String, prefix: String) -> Result<B2Location> {
        let (id, key) = b2_secrets(copy);
        let missing = |key: &str| {
            Mistake::at(url.place, format!("`{key}` is missing"))
                .with_hint("B2 wants `bucket_id`, `application_key_id` and `application_key_file`")
        };
        Ok(B2Location {
            bucket,
            prefix,
            bucket_id: self.filled(copy.bucket_id.as_ref().ok_or_else(|| missing("bucket_id"))?)?,
            key_id: self.secret("application_key_id", id)?.ok_or_else(|| missing("application_key_id"))?,
            key: self.secret("application_key", key)?.ok_or_else(|| missing("application_key"))?,
        })
    }

    fn webdav_login(&self, copy: &CopyDocument) -> Result<Option<WebdavLogin>> {
        let typed = login_password_of(copy);
        let hint = "give both, or neither for a server that asks for no login";
        let (text, password) = match (&copy.login_user, self.secret("login_password", typed)?) {
            (Some(user), Some(password)) => (user, password),
            (Some(user), None) => {
                return Err(Mistake::at(user.place, "`login_password` is missing").with_hint(hint));
            }
            (None, _) => {
                return match places("login_password", typed).next() {
                    Some((_, place)) => Err(Mistake::at(place, "`login_user` is missing").with_hint(hint)),
                    None => Ok(None),
                };
            }
        };
        let user = self.filled(text)?;
        if user.contains(|c: char| c == ':' || c.is_control()) {
            return Err(Mistake::at(text.place, "this cannot be a user's name")
                .with_hint("write it without colons; the password has a key of its own"));
        }
        Ok(Some(WebdavLogin { user, password }))
    }

    fn archive(&self, name: &Text, copy: &CopyDocument) -> Result<ArchiveSettings> {
        let prefix = match &copy.prefix {
            None => PrefixTemplate::preset(),
            // Its `${…}` are places to fill in, so the environment has no say in it.
            Some(text) => PrefixTemplate::parse(&text.raw)
                .map_err(|(what, hint)| Mistake::at(text.place, what).with_hint(hint))?,
        };
        let passphrase = passphrase_of(copy);
        let given = places("passphrase", passphrase).next();
        let key = match (&copy.recipients, self.secret("passphrase", passphrase)?) {
            (Some(recipients), None) => ArchiveKey::Recipients(self.recipients(recipients)?),
            (None, Some(passphrase)) => ArchiveKey::Passphrase(passphrase),
            (Some(recipients), Some(_)) => {
                let place = given.map_or(recipients.place(), |(_, place)| place);
                return Err(Mistake::at(place, "`recipients` and a passphrase are both given")
                    .with_hint("`age` takes one or the other: remove one of the two"));
            }
            (None, None) => {
                return Err(Mistake::at(name.place, "an archive copy needs a key to encrypt with").with_hint(
                    "add `recipients: [age1…]`, the public keys that `age-keygen` prints, or `passphrase_file`",
                ));
            }
        };
        Ok(ArchiveSettings { prefix, key })
    }

    fn recipients(&self, recipients: &OneOrMany) -> Result<Vec<String>> {
        if recipients.texts().is_empty() {
            return Err(Mistake::at(recipients.place(), "the list is empty").with_hint("name at least one recipient"));
        }
        let one = |text: &Text| {
            let recipient = self.filled(text)?.trim().to_owned();
            match wrong_recipient(&recipient) {
                Some((what, hint)) => Err(Mistake::at(text.place, what).with_hint(hint)),
                None => Ok(recipient),
            }
        };
        recipients.texts().iter().map(one).collect()
    }

    fn rate(&self, rate: &Option<Text>) -> Result<Option<NonZeroU64>> {
        let Some(text) = rate else { return Ok(None) };
        let rate = rate::parse(&self.text(text)?);
        rate.map(Some).ok_or_else(|| {
            Mistake::at(text.place, "expected a bandwidth")
                .with_hint("write it like 8MiB/s, 500kB/s or 20Mbit/s; without a limit, remove the key")
        })
    }
}

/// The places where a secret is given, with the name of each key.
pub(super) fn places(
    name: &str,
    (given, file, command): TypedSecret<'_>,
) -> impl Iterator<Item = (String, Place)> + use<> {
    let places = [
        given.as_ref().map(|text| (name.to_owned(), text.place)),
        file.as_ref().map(|text| (format!("{name}_file"), text.place)),
        command.as_ref().map(|line| (format!("{name}_command"), line.place())),
    ];
    places.into_iter().flatten()
}

fn password_of(copy: &CopyDocument) -> TypedSecret<'_> {
    (&copy.password, &copy.password_file, &copy.password_command)
}

fn passphrase_of(copy: &CopyDocument) -> TypedSecret<'_> {
    (&copy.passphrase, &copy.passphrase_file, &copy.passphrase_command)
}

/// Id, secret and session token.
fn s3_secrets(copy: &CopyDocument) -> (TypedSecret<'_>, TypedSecret<'_>, TypedSecret<'_>) {
    (
        (&copy.access_key_id, &copy.access_key_id_file, &copy.access_key_id_command),
        (&copy.secret_access_key, &copy.secret_access_key_file, &copy.secret_access_key_command),
        (&copy.session_token, &copy.session_token_file, &copy.session_token_command),
    )
}

/// Connection string, account key and shared access signature.
fn azure_secrets(copy: &CopyDocument) -> (TypedSecret<'_>, TypedSecret<'_>, TypedSecret<'_>) {
    (
        (&copy.connection_string, &copy.connection_string_file, &copy.connection_string_command),
        (&copy.account_key, &copy.account_key_file, &copy.account_key_command),
        (&copy.sas_token, &copy.sas_token_file, &copy.sas_token_command),
    )
}

/// Id and key.
fn b2_secrets(copy: &CopyDocument) -> (TypedSecret<'_>, TypedSecret<'_>) {
    (
        (&copy.application_key_id, &copy.application_key_id_file, &copy.application_key_id_command),
        (&copy.application_key, &copy.application_key_file, &copy.application_key_command),
    )
}

fn login_password_of(copy: &CopyDocument) -> TypedSecret<'_> {
    (&copy.login_password, &copy.login_password_file, &copy.login_password_command)
}

fn check_fit(copy: &CopyDocument, url: &Url, is_archive: bool) -> Result<()> {
    let (id, secret, token) = s3_secrets(copy);
    let (string, key, sas) = azure_secrets(copy);
    let (b2_id, b2_key) = b2_secrets(copy);
    let secrets = [
        ("access_key_id", id, Fit::S3),
        ("secret_access_key", secret, Fit::S3),
        ("session_token", token, Fit::S3),
        ("connection_string", string, Fit::Azure),
        ("account_key", key, Fit::Azure),
        ("sas_token", sas, Fit::Azure),
        ("application_key_id", b2_id, Fit::B2),
        ("application_key", b2_key, Fit::B2),
        ("login_password", login_password_of(copy), Fit::Webdav),
        ("password", password_of(copy), Fit::Repository),
        ("passphrase", passphrase_of(copy), Fit::Archive),
    ];
    let texts = [
        ("endpoint", &copy.endpoint, Fit::S3OrAzure),
        ("credential_file", &copy.credential_file, Fit::Gcs),
        ("bucket_id", &copy.bucket_id, Fit::B2),
        ("login_user", &copy.login_user, Fit::Webdav),
        ("private_key_file", &copy.private_key_file, Fit::Sftp),
        ("known_hosts_file", &copy.known_hosts_file, Fit::Sftp),
        ("account", &copy.account, Fit::Remote),
        ("region", &copy.region, Fit::Remote),
        ("prefix", &copy.prefix, Fit::Archive),
    ];
    let secrets =
        secrets.into_iter().flat_map(|(name, typed, fit)| places(name, typed).map(move |(key, at)| (key, at, fit)));
    let texts = texts.into_iter().filter_map(|(key, text, fit)| Some((key.to_owned(), text.as_ref()?.place, fit)));
    let recipients = copy.recipients.iter().map(|list| ("recipients".to_owned(), list.place(), Fit::Archive));
    for (key, place, fit) in secrets.chain(texts).chain(recipients) {
        let (fits, where_it_fits) = match fit {
            Fit::S3 => (matches!(url, Url::S3 { .. }), "copies in s3://"),
            Fit::S3OrAzure => (matches!(url, Url::S3 { .. } | Url::Azure { .. }), "copies in s3:// and azblob://"),
            Fit::Azure => (matches!(url, Url::Azure { .. }), "copies in azblob://"),
            Fit::Gcs => (matches!(url, Url::Gcs { .. }), "copies in gs://"),
            Fit::B2 => (matches!(url, Url::B2 { .. }), "copies in b2://"),
            Fit::Webdav => (matches!(url, Url::Webdav { .. }), "copies over webdavs:// and webdav://"),
            Fit::Sftp => (matches!(url, Url::Sftp { .. }), "copies over sftp://"),
            Fit::Remote => (!matches!(url, Url::Folder(_)), "copies that are not in a folder"),
            Fit::Archive => (is_archive, "copies with `layout: archive`"),
            Fit::Repository => (!is_archive, "repositories; an archive copy has `recipients` or `passphrase_file`"),
        };
        if !fits {
            let this = match url {
                _ if matches!(fit, Fit::Archive) => "a repository",
                _ if matches!(fit, Fit::Repository) => "an archive copy",
                Url::Folder(_) => "a folder",
                Url::S3 { .. } => "a copy in s3://",
                Url::Azure { .. } => "a copy in azblob://",
                Url::Gcs { .. } => "a copy in gs://",
                Url::B2 { .. } => "a copy in b2://",
                Url::Webdav { tls: true, .. } => "a copy over webdavs://",
                Url::Webdav { tls: false, .. } => "a copy over webdav://",
                Url::Sftp { .. } => "a copy over sftp://",
            };
            return Err(Mistake::at(place, format!("`{key}` does not fit {this}"))
                .with_hint(format!("remove it; it belongs to {where_it_fits}")));
        }
    }
    Ok(())
}

/// `http(s)://HOST[:PORT]`, without `/` at its end. `None` where it is something else.
pub fn read_endpoint(endpoint: &str) -> Option<String> {
    let endpoint = endpoint.trim_end_matches('/');
    let server = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"))?;
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    (!server.is_empty() && server.chars().all(is_fine)).then(|| endpoint.to_owned())
}

/// Why an archive cannot be encrypted to this, and what to do. The text is not repeated, as it may be a secret key.
pub fn wrong_recipient(recipient: &str) -> Option<(&'static str, &'static str)> {
    if recipient.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
        return Some((
            "this is a secret key, which must not stand here",
            "write the public key that belongs to it: `age-keygen -y FILE` prints it",
        ));
    }
    let is_key = |start| recipient.starts_with(start) && recipient.len() > 40;
    match ["age1", "ssh-ed25519 ", "ssh-rsa "].into_iter().any(is_key) {
        true => None,
        false => Some((
            "this is no public key of age or SSH",
            "write what begins with age1, ssh-ed25519 or ssh-rsa; `age-keygen` makes one",
        )),
    }
}
