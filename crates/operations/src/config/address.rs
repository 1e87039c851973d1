//! Addresses of servers and objects, taken apart: a login in them goes where no log and no message shows it.

use zeroize::Zeroizing;

use super::location::Location;
use super::secret::{Secret, SecretSource};

/// Keys of an address's query whose values are secrets (libpq's).
pub const SECRET_KEYS: [&str; 5] =
    ["password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"];

/// `SCHEME://[USER[:PASSWORD]@]HOST[:PORT][/PATH][?KEY=VALUE&…]`, its parts decoded. It has no `Debug`: a value may be a
/// secret.
pub struct Address {
    /// Before `://`.
    pub scheme: String,
    /// Who logs in.
    pub user: Option<String>,
    /// The password.
    pub password: Option<Zeroizing<String>>,
    /// Host and port as they stand there.
    pub server: String,
    /// Without the `/` before it.
    pub path: String,
    /// The query, in order.
    pub query: Vec<(String, String)>,
}

impl Address {
    /// Takes an address apart. `None` where it is none.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password that was not encoded may hold a slash.
        let (login, rest) = match rest.rsplit_once('@') {
            Some((login, rest)) => (Some(login), rest),
            None => (None, rest),
        };
        let (server, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, password) = match login {
            None => (None, None),
            Some(login) => match login.split_once(':') {
                Some((user, password)) => (Some(user), Some(password)),
                None => (Some(login), None),
            },
        };
        let pair = |pair: &str| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decoded(key)?, decoded(value)?))
        };
        Some(Self {
            scheme: scheme.to_ascii_lowercase(),
            user: user.filter(|user| !user.is_empty()).map(decoded).map_or(Some(None), |user| user.map(Some))?,
            password: match password.filter(|password| !password.is_empty()) {
                Some(password) => Some(Zeroizing::new(decoded(password)?)),
                None => None,
            },
            server: Some(server).filter(|server| !server.is_empty())?.to_owned(),
            path: decoded(path)?,
            query: query.split('&').filter(|part| !part.is_empty()).map(pair).collect::<Option<_>>()?,
        })
    }

    /// The password as settings hold it.
    pub fn secret(&self) -> Option<SecretSource> {
        self.password.as_ref().map(|password| SecretSource::Given(Secret::new(password.to_string())))
    }
}

impl Location {
    /// The path below this place of the object that an address over HTTP names, as a bucket's own pages show it. `None` where
    /// it lies elsewhere. What follows a `?`, such as a signature, is left out.
    pub fn object_at(&self, url: &str) -> Option<String> {
        let address = Address::parse(url.split(['?', '#']).next()?)?;
        let (server, path) = (address.server.as_str(), address.path.as_str());
        let inside = |folder: &str, path: &str| path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned);
        let (object, prefix) = match self {
            Self::S3(s3) => {
                let endpoint = s3.endpoint.as_deref().and_then(|endpoint| endpoint.split_once("://"));
                let is_own = |server: &str| match endpoint {
                    Some((_, own)) => server == own,
                    None => server.ends_with("amazonaws.com"),
                };
                // The bucket stands in the path, or before the server's name.
                let object = match server.strip_prefix(&format!("{}.", s3.bucket)) {
                    Some(server) if is_own(server) => Some(path.to_owned()),
                    _ if is_own(server) => inside(&s3.bucket, path),
                    _ => None,
                };
                (object?, &s3.prefix)
            }
            Self::Azure(azure) => {
                // An emulator has the account before the container.
                let below_account = path.split_once('/').map_or("", |(_, rest)| rest);
                let object = inside(&azure.container, path).or_else(|| inside(&azure.container, below_account));
                (object?, &azure.prefix)
            }
            _ => return None,
        };
        if prefix.is_empty() { Some(object) } else { inside(prefix, &object) }
    }
}

/// Decodes `%XX` (RFC 3986, 2.1). `None` where what comes out is no text.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                // Two hexadecimal digits fit into a byte.
                bytes.push(u8::try_from(high * 16 + low).ok()?);
                rest = &after[2..];
            }
            // A percent sign that begins nothing stands for itself, as in a password that was not encoded.
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::super::location::{AzureLocation, AzureLogin, S3Location};
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_decoded() {
        let read = |text: &str| Address::parse(text).unwrap();
        let whole = read("HTTPS://me%40x:p%2Fw@s3.example.org:9000/a%20b/?bucket=b&prefix=x/$%7Biso_date()%7D&flag");
        assert_eq!((&*whole.scheme, whole.user.as_deref()), ("https", Some("me@x")));
        assert_eq!(whole.password.as_ref().map(|text| text.as_str()), Some("p/w"));
        assert_eq!((&*whole.server, &*whole.path), ("s3.example.org:9000", "a b/"));
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(whole.query, [pair("bucket", "b"), pair("prefix", "x/${iso_date()}"), pair("flag", "")]);
        let raw = read("postgres://me:a/b@c%@db/shop");
        assert_eq!(raw.password.as_ref().map(|text| text.as_str()), Some("a/b@c%"));
        assert_eq!((&*raw.server, &*raw.path), ("db", "shop"));
        let bare = read("redis://:pw@[::1]:6379");
        assert_eq!((bare.user, &*bare.server), (None, "[::1]:6379"));
        for none in ["", "db.example.org", "redis://", "redis:///0", "http://%ff@h"] {
            assert!(Address::parse(none).is_none(), "{none}");
        }
    }

    #[test]
    fn an_object_is_found_by_the_address_that_its_bucket_shows() {
        let bucket = |endpoint: Option<&str>| {
            Location::S3(S3Location {
                bucket: "bkt".to_owned(),
                prefix: "below".to_owned(),
                endpoint: endpoint.map(str::to_owned),
                region: None,
                access_key: None,
            })
        };
        let object = Some("a/x~y.age".to_owned());
        let amazon = bucket(None);
        assert_eq!(amazon.object_at("https://bkt.s3.eu-1.amazonaws.com/below/a/x%7Ey.age?X-Amz-Signature=s"), object);
        assert_eq!(amazon.object_at("https://s3.amazonaws.com/bkt/below/a/x~y.age"), object);
        let own = bucket(Some("http://127.0.0.1:9000"));
        assert_eq!(own.object_at("http://127.0.0.1:9000/bkt/below/a/x~y.age"), object);
        for other in
            ["http://127.0.0.1:9001/bkt/below/a", "http://127.0.0.1:9000/bkt2/below/a", "http://127.0.0.1:9000/bkt/a"]
        {
            assert_eq!(own.object_at(other), None, "{other}");
        }
        let azure = Location::Azure(AzureLocation {
            container: "box".to_owned(),
            prefix: String::new(),
            endpoint: None,
            login: AzureLogin::Platform { account: "acme".to_owned() },
        });
        assert_eq!(azure.object_at("https://acme.blob.core.windows.net/box/a/x~y.age?sig=s"), object);
        assert_eq!(azure.object_at("http://127.0.0.1:10000/acme/box/a/x~y.age"), object);
        assert_eq!(azure.object_at("https://acme.blob.core.windows.net/boxes/a"), None);
    }
}
