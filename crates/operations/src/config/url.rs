//! What a copy's `url` names: a folder, or a place in one of the schemes that Lifeboat knows.
//!
//! ```text
//! /srv/backups, ./backups, file:///srv/backups    a folder
//! s3://BUCKET[/PREFIX]                             S3, or what speaks its protocol (with `endpoint`)
//! azblob://CONTAINER[/PREFIX]                      Azure Blob Storage
//! gs://BUCKET[/PREFIX]                             Google Cloud Storage
//! b2://BUCKET[/PREFIX]                             Backblaze B2
//! webdavs://HOST[:PORT][/PATH]                     WebDAV over HTTPS
//! webdav://HOST[:PORT][/PATH]                      WebDAV over HTTP, which encrypts nothing on the way
//! sftp://USER@HOST[:PORT]/PATH                     SFTP; PATH begins in the folder that a login starts in
//! sftp://USER@HOST[:PORT]//PATH                    SFTP; PATH begins at the root, as in restic's urls
//! ```
//! Nothing is decoded: a percent sign stands for itself. A url never holds a secret, since urls are shown everywhere; one
//! that does is refused without being repeated.

use std::fmt;
use std::path::PathBuf;

/// What a url names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Url {
    /// A folder, as it was typed: it may be relative.
    Folder(PathBuf),
    /// A place in a bucket.
    S3 {
        /// The bucket.
        bucket: String,
        /// The prefix of every key, without `/` at its ends; may be empty.
        prefix: String,
    },
    /// A place in a container of Azure Blob Storage.
    Azure {
        /// The container.
        container: String,
        /// The prefix of every name, without `/` at its ends; may be empty.
        prefix: String,
    },
    /// A place in a bucket of Google Cloud Storage.
    Gcs {
        /// The bucket.
        bucket: String,
        /// The prefix of every name, without `/` at its ends; may be empty.
        prefix: String,
    },
    /// A place in a bucket of Backblaze B2.
    B2 {
        /// The bucket.
        bucket: String,
        /// The prefix of every name, without `/` at its ends; may be empty.
        prefix: String,
    },
    /// A folder of a WebDAV server.
    Webdav {
        /// Whether the way there is encrypted.
        tls: bool,
        /// The machine's name or address; an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
        /// The folder, from the server's root, without `/` at its ends; may be empty.
        path: String,
    },
    /// A folder on another machine.
    Sftp {
        /// Who logs in.
        user: String,
        /// The machine's name or address; an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
        /// The folder: from the root where it begins with `/`, else from where a login starts. Never empty.
        path: String,
    },
}

/// Why a url is none, without its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrongUrl {
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub hint: String,
}

/// The port of SSH.
pub const SSH_PORT: u16 = 22;
/// A scheme longer than this is surely none, and not repeated.
const SCHEME_CHARS_MAX: usize = 12;
/// Every form there is.
const FORMS: &str = "write a folder, s3://bucket/prefix, azblob://container/prefix, gs://bucket/prefix, \
                     b2://bucket/prefix, webdavs://host/path or sftp://user@host:port/path";

type Result<T> = std::result::Result<T, WrongUrl>;

impl Url {
    /// Reads a url. `~` is not replaced.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some(path) = text.strip_prefix("file://") {
            // Percent signs would have to be decoded, and a host would be another machine: a plain path says it better.
            if !path.starts_with('/') || path.contains('%') {
                let what = "a `file://` URL must hold an absolute path, without `%`";
                return Err(wrong(what, "write a plain path instead, such as /srv/backups"));
            }
            return Ok(Self::Folder(path.into()));
        }
        // A colon behind a slash or a dot belongs to a path.
        let Some((scheme, _)) = text.split(['/', '.']).next().and_then(|start| start.split_once(':')) else {
            return Ok(Self::Folder(text.into()));
        };
        let rest = text[scheme.len() + 1..].strip_prefix("//");
        match (scheme, rest) {
            ("s3", Some(rest)) => {
                let (bucket, prefix) = authority_and_prefix(rest, "bucket")?;
                Ok(Self::S3 { bucket, prefix })
            }
            ("azblob", Some(rest)) => {
                let (container, prefix) = authority_and_prefix(rest, "container")?;
                Ok(Self::Azure { container, prefix })
            }
            ("gs", Some(rest)) => {
                let (bucket, prefix) = authority_and_prefix(rest, "bucket")?;
                Ok(Self::Gcs { bucket, prefix })
            }
            ("b2", Some(rest)) => {
                let (bucket, prefix) = authority_and_prefix(rest, "bucket")?;
                Ok(Self::B2 { bucket, prefix })
            }
            ("webdav" | "webdavs", Some(rest)) => webdav(scheme == "webdavs", rest),
            ("sftp", Some(rest)) => sftp(rest),
            ("s3", None) => Err(wrong(
                "`s3:` must be followed by `//`",
                "write s3://bucket/prefix, and the server's address as `endpoint: https://…`",
            )),
            ("azblob" | "azure", _) => {
                Err(wrong("this is not how a container of Azure is written", "write azblob://container/prefix"))
            }
            ("gs" | "b2", None) => Err(wrong(
                format!("`{scheme}:` must be followed by `//`"),
                format!("write {scheme}://bucket/prefix; a colon behind the bucket is restic's way"),
            )),
            ("webdav" | "webdavs", None) => {
                Err(wrong(format!("`{scheme}:` must be followed by `//`"), "write webdavs://host/path"))
            }
            ("sftp", None) => Err(wrong(
                "`sftp:` must be followed by `//`",
                "write sftp://user@host:port/path; a path from the root begins with two slashes: sftp://user@host//srv/x",
            )),
            (other, _) => Err(unknown(other)),
        }
    }
}

fn wrong(what: impl Into<String>, hint: impl Into<String>) -> WrongUrl {
    WrongUrl { what: what.into(), hint: hint.into() }
}

fn unknown(scheme: &str) -> WrongUrl {
    let is_scheme = scheme.len() <= SCHEME_CHARS_MAX && scheme.chars().all(|c| c.is_ascii_alphanumeric());
    let named = if is_scheme { format!("`{scheme}:`") } else { "this".to_owned() };
    wrong(
        format!("{named} is no kind of place that Lifeboat knows"),
        format!("{FORMS}; a folder with a colon in its name: write ./ before it"),
    )
}

/// `BUCKET[/PREFIX]`, where a bucket is called `noun`.
fn authority_and_prefix(rest: &str, noun: &str) -> Result<(String, String)> {
    let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    if name.contains(['@', ':']) {
        return Err(wrong(
            format!("only the name of the {noun} stands between the slashes"),
            "keys and passwords have settings of their own, and so has the server's address",
        ));
    }
    let is_fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let starts_fine = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !(3..=63).contains(&name.len()) || !starts_fine || !name.chars().all(is_fine) {
        return Err(wrong(
            format!("this cannot be the name of a {noun}"),
            "write 3 to 63 letters, digits, `.`, `_` and `-`",
        ));
    }
    if prefix.contains(['?', '#']) {
        return Err(wrong("a prefix without `?` and `#` is expected", "settings have keys of their own, beside `url`"));
    }
    Ok((name.to_owned(), plain_path(prefix)?))
}

/// `USER@HOST[:PORT]/PATH`.
fn sftp(rest: &str) -> Result<Url> {
    let form = "write sftp://user@host:port/path";
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, host) =
        authority.rsplit_once('@').ok_or_else(|| wrong("the user is missing: nobody is before an `@`", form))?;
    if user.contains(':') {
        let hint = "remove it; Lifeboat logs in by `private_key_file`, or by the keys of an ssh-agent";
        return Err(wrong("a password does not belong into a url", hint));
    }
    // What begins with a dash would be an option to programs that it is given to.
    if !is_name(user, &['@', '+', '$', '\\']) {
        return Err(wrong("this cannot be a user's name", form));
    }
    let (host, port) = host_and_port(host, SSH_PORT, form)?;
    let (root, path) = path.strip_prefix('/').map_or(("", path), |absolute| ("/", absolute));
    let path = plain_path(path)?;
    if path.is_empty() || path == "~" || path.starts_with("~/") {
        let hint = "write sftp://user@host/folder, which begins where a login starts, or sftp://user@host//folder, \
                    which begins at the root";
        let what = if path.is_empty() { "the folder is missing" } else { "`~` is not replaced here" };
        return Err(wrong(what, hint));
    }
    Ok(Url::Sftp { user: user.to_owned(), host, port, path: format!("{root}{path}") })
}

/// `HOST[:PORT][/PATH]`.
fn webdav(tls: bool, rest: &str) -> Result<Url> {
    let form = "write webdavs://host:port/path";
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    if authority.contains('@') {
        return Err(wrong(
            "only the name of the server stands between the slashes",
            "who logs in has keys of its own: `login_user` and `login_password_file`",
        ));
    }
    if path.contains(['?', '#']) {
        return Err(wrong("a path without `?` and `#` is expected", "settings have keys of their own, beside `url`"));
    }
    let (host, port) = host_and_port(authority, default_port(tls), form)?;
    Ok(Url::Webdav { tls, host, port, path: plain_path(path)? })
}

/// The port of HTTPS or HTTP.
fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// `HOST[:PORT]`; the host without brackets.
fn host_and_port(text: &str, default_port: u16, form: &str) -> Result<(String, u16)> {
    let (host, port) = match text.strip_prefix('[').and_then(|host| host.split_once(']')) {
        Some((address, "")) => (address, None),
        Some((address, port)) => (address, Some(port.strip_prefix(':').unwrap_or(port))),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        None => default_port,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| {
            wrong("a port is a number from 1 to 65535", format!("{form}; an IPv6 address needs brackets: [::1]"))
        })?,
    };
    if !is_name(host, &[':', '%']) {
        return Err(wrong("this cannot be a host's name", form));
    }
    Ok((host.to_owned(), port))
}

fn is_name(text: &str, others: &[char]) -> bool {
    let is_fine = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-') || others.contains(&c);
    !text.is_empty() && !text.starts_with('-') && text.chars().all(is_fine)
}

/// A host as it stands in a url, and its port where that is not the usual one.
fn shown(host: &str, port: u16, default_port: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    if port == default_port { host } else { format!("{host}:{port}") }
}

/// A path without slashes at its ends, of which no part leads elsewhere.
fn plain_path(path: &str) -> Result<String> {
    let path = path.trim_end_matches('/');
    let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    if !path.is_empty() && !path.split('/').all(is_plain) {
        return Err(wrong("no part of the path may be empty, `.` or `..`", "write the path out"));
    }
    Ok(path.to_owned())
}

impl fmt::Display for Url {
    /// The shortest form that is read back as the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::S3 { bucket, prefix } => write!(f, "s3://{}", joined(bucket, prefix)),
            Self::Azure { container, prefix } => write!(f, "azblob://{}", joined(container, prefix)),
            Self::Gcs { bucket, prefix } => write!(f, "gs://{}", joined(bucket, prefix)),
            Self::B2 { bucket, prefix } => write!(f, "b2://{}", joined(bucket, prefix)),
            Self::Webdav { tls, host, port, path } => {
                let scheme = if *tls { "webdavs" } else { "webdav" };
                write!(f, "{scheme}://{}", joined(&shown(host, *port, default_port(*tls)), path))
            }
            Self::Sftp { user, host, port, path } => write!(f, "sftp://{user}@{}/{path}", shown(host, *port, SSH_PORT)),
        }
    }
}

/// A name and a prefix that may be empty.
pub(super) fn joined(name: &str, prefix: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{name}/{prefix}") }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use expect_test::expect;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_form_is_read_and_shown_in_its_shortest_way() {
        let sftp = |user: &str, host: &str, port, path: &str| Url::Sftp {
            user: user.into(),
            host: host.into(),
            port,
            path: path.into(),
        };
        let s3 = |bucket: &str, prefix: &str| Url::S3 { bucket: bucket.into(), prefix: prefix.into() };
        let webdav =
            |tls, host: &str, port, path: &str| Url::Webdav { tls, host: host.into(), port, path: path.into() };
        for (text, url, shown) in [
            ("/srv/b", Url::Folder("/srv/b".into()), "/srv/b"),
            ("file:///srv/b", Url::Folder("/srv/b".into()), "/srv/b"),
            ("./a:b", Url::Folder("./a:b".into()), "./a:b"),
            ("s3://bucket", s3("bucket", ""), "s3://bucket"),
            ("s3://my.bucket/", s3("my.bucket", ""), "s3://my.bucket"),
            ("s3://bucket/a/b%20/", s3("bucket", "a/b%20"), "s3://bucket/a/b%20"),
            (
                "azblob://container/x",
                Url::Azure { container: "container".into(), prefix: "x".into() },
                "azblob://container/x",
            ),
            ("sftp://backup@nas:22/lifeboat", sftp("backup", "nas", 22, "lifeboat"), "sftp://backup@nas/lifeboat"),
            ("sftp://b@nas:2222/a/b/", sftp("b", "nas", 2222, "a/b"), "sftp://b@nas:2222/a/b"),
            ("sftp://b@nas//srv/x", sftp("b", "nas", 22, "/srv/x"), "sftp://b@nas//srv/x"),
            ("sftp://b@[::1]:2222/x", sftp("b", "::1", 2222, "x"), "sftp://b@[::1]:2222/x"),
            ("gs://bucket/a", Url::Gcs { bucket: "bucket".into(), prefix: "a".into() }, "gs://bucket/a"),
            ("b2://my-bucket/", Url::B2 { bucket: "my-bucket".into(), prefix: String::new() }, "b2://my-bucket"),
            ("webdavs://cloud:443/a/b%20/", webdav(true, "cloud", 443, "a/b%20"), "webdavs://cloud/a/b%20"),
            ("webdav://[::1]:8080", webdav(false, "::1", 8080, ""), "webdav://[::1]:8080"),
            ("sftp://b@[fe80::1]/x", sftp("b", "fe80::1", 22, "x"), "sftp://b@[fe80::1]/x"),
        ] {
            let read = Url::parse(text).unwrap();
            assert_eq!((&read, read.to_string().as_str()), (&url, shown), "{text}");
            assert_eq!(Url::parse(shown), Ok(url), "{shown}");
        }
    }

    #[test]
    fn what_is_no_url_is_told_what_to_write_and_no_secret_is_repeated() {
        let mut said = String::new();
        for text in [
            "ftp://hunter2@host/x",
            "hunter2hunter2hunter2:x",
            "s3:bucket/x",
            "s3://AKIA:hunter2@bucket/x",
            "s3://a",
            "s3://bucket/a//b",
            "s3://bucket/../x",
            "s3://bucket/x?key=hunter2",
            "azure://container",
            "azblob:container:/x",
            "sftp:user@host:/x",
            "sftp://host/x",
            "sftp://user:hunter2@host/x",
            "sftp://user@host:0/x",
            "sftp://user@::1/x",
            "sftp://user@-oProxyCommand=x/x",
            "sftp://-l@host/x",
            "sftp://user@host",
            "sftp://user@host//",
            "sftp://user@host/~/x",
            "sftp://user@host/x/../y",
            "gs:bucket:/x",
            "b2://keyid:hunter2@bucket",
            "https://cloud.example.org/remote.php/dav",
            "webdav:host/x",
            "webdavs://me:hunter2@host/x",
            "webdavs:///x",
            "webdavs://host/x?token=hunter2",
        ] {
            let WrongUrl { what, hint } = Url::parse(text).expect_err(text);
            assert!(!format!("{what} {hint}").contains("hunter2"), "{text}");
            let _ = writeln!(said, "{}\n    {what}\n    {hint}", text.replace("hunter2", "SECRET"));
        }
        expect![[r#"
            ftp://SECRET@host/x
                `ftp:` is no kind of place that Lifeboat knows
                write a folder, s3://bucket/prefix, azblob://container/prefix, gs://bucket/prefix, b2://bucket/prefix, webdavs://host/path or sftp://user@host:port/path; a folder with a colon in its name: write ./ before it
            SECRETSECRETSECRET:x
                this is no kind of place that Lifeboat knows
                write a folder, s3://bucket/prefix, azblob://container/prefix, gs://bucket/prefix, b2://bucket/prefix, webdavs://host/path or sftp://user@host:port/path; a folder with a colon in its name: write ./ before it
            s3:bucket/x
                `s3:` must be followed by `//`
                write s3://bucket/prefix, and the server's address as `endpoint: https://…`
            s3://AKIA:SECRET@bucket/x
                only the name of the bucket stands between the slashes
                keys and passwords have settings of their own, and so has the server's address
            s3://a
                this cannot be the name of a bucket
                write 3 to 63 letters, digits, `.`, `_` and `-`
            s3://bucket/a//b
                no part of the path may be empty, `.` or `..`
                write the path out
            s3://bucket/../x
                no part of the path may be empty, `.` or `..`
                write the path out
            s3://bucket/x?key=SECRET
                a prefix without `?` and `#` is expected
                settings have keys of their own, beside `url`
            azure://container
                this is not how a container of Azure is written
                write azblob://container/prefix
            azblob:container:/x
                this is not how a container of Azure is written
                write azblob://container/prefix
            sftp:user@host:/x
                `sftp:` must be followed by `//`
                write sftp://user@host:port/path; a path from the root begins with two slashes: sftp://user@host//srv/x
            sftp://host/x
                the user is missing: nobody is before an `@`
                write sftp://user@host:port/path
            sftp://user:SECRET@host/x
                a password does not belong into a url
                remove it; Lifeboat logs in by `private_key_file`, or by the keys of an ssh-agent
            sftp://user@host:0/x
                a port is a number from 1 to 65535
                write sftp://user@host:port/path; an IPv6 address needs brackets: [::1]
            sftp://user@::1/x
                a port is a number from 1 to 65535
                write sftp://user@host:port/path; an IPv6 address needs brackets: [::1]
            sftp://user@-oProxyCommand=x/x
                this cannot be a host's name
                write sftp://user@host:port/path
            sftp://-l@host/x
                this cannot be a user's name
                write sftp://user@host:port/path
            sftp://user@host
                the folder is missing
                write sftp://user@host/folder, which begins where a login starts, or sftp://user@host//folder, which begins at the root
            sftp://user@host//
                the folder is missing
                write sftp://user@host/folder, which begins where a login starts, or sftp://user@host//folder, which begins at the root
            sftp://user@host/~/x
                `~` is not replaced here
                write sftp://user@host/folder, which begins where a login starts, or sftp://user@host//folder, which begins at the root
            sftp://user@host/x/../y
                no part of the path may be empty, `.` or `..`
                write the path out
            gs:bucket:/x
                `gs:` must be followed by `//`
                write gs://bucket/prefix; a colon behind the bucket is restic's way
            b2://keyid:SECRET@bucket
                only the name of the bucket stands between the slashes
                keys and passwords have settings of their own, and so has the server's address
            https://cloud.example.org/remote.php/dav
                `https:` is no kind of place that Lifeboat knows
                write a folder, s3://bucket/prefix, azblob://container/prefix, gs://bucket/prefix, b2://bucket/prefix, webdavs://host/path or sftp://user@host:port/path; a folder with a colon in its name: write ./ before it
            webdav:host/x
                `webdav:` must be followed by `//`
                write webdavs://host/path
            webdavs://me:SECRET@host/x
                only the name of the server stands between the slashes
                who logs in has keys of its own: `login_user` and `login_password_file`
            webdavs:///x
                this cannot be a host's name
                write webdavs://host:port/path
            webdavs://host/x?token=SECRET
                a path without `?` and `#` is expected
                settings have keys of their own, beside `url`
        "#]].assert_eq(&said);
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_shown_so_that_it_reads_the_same(text in "(s3|azblob|gs|b2|webdavs?|sftp|ftp)?(://)?[a-z@:/.~%\\[\\]0-9-]{0,24}") {
            if let Ok(url) = Url::parse(&text) {
                prop_assert_eq!(Url::parse(&url.to_string()), Ok(url));
            }
        }
    }
}
