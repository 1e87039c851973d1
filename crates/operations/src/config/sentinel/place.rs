//! Where Sentinel's variables say that snapshots go, in each of their generations.

use std::path::{Path, PathBuf};

use super::super::address::Address;
use super::super::archive::PrefixTemplate;
use super::super::location::{AzureLocation, AzureLogin, Location, S3AccessKey, S3Location};
use super::super::mistake::nearest;
use super::super::resolve::copy::read_endpoint;
use super::super::secret::{Secret, SecretSource};
use super::super::url::Url;
use super::variables::{Named, ProcessVariables, Text, Variables};
use crate::{Fault, FaultKind};

/// Where Sentinel's own snapshots go where nobody says.
const PREFIX: &str = "altcha-sentinel-backups/db/${iso_date()}";
/// What the query of an S3 address may hold.
const QUERY: [&str; 3] = ["bucket", "prefix", "region"];

/// What to write where a bucket or a container is named.
const NAME_HINT: &str = "write its name alone, of at least 3 letters, digits and `-`";

/// A kind of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Provider {
    S3,
    Azure,
    Local,
}

const PROVIDERS: [(&str, Provider); 3] = [("s3", Provider::S3), ("azure", Provider::Azure), ("local", Provider::Local)];

/// Which provider a variable belongs to.
const BELONGS: [(&str, Provider); 9] = [
    ("STORAGE_S3_URL", Provider::S3),
    ("STORAGE_S3_BUCKET", Provider::S3),
    ("STORAGE_S3_REGION", Provider::S3),
    ("STORAGE_S3_ENDPOINT", Provider::S3),
    ("STORAGE_S3_ACCESS_KEY_ID", Provider::S3),
    ("STORAGE_S3_SECRET_ACCESS_KEY", Provider::S3),
    ("STORAGE_AZURE_CONTAINER", Provider::Azure),
    ("STORAGE_AZURE_CONNECTION_STRING", Provider::Azure),
    ("STORAGE_LOCAL_DIR", Provider::Local),
];

/// Where archives go.
pub struct ArchivePlace {
    /// What kind of place it is; the copy is called so.
    pub name: &'static str,
    /// The place.
    pub location: Location,
    /// The folder of each archive.
    pub prefix: PrefixTemplate,
}

/// Understands where snapshots go.
pub fn archive_place(variables: &Variables<'_>) -> Result<ArchivePlace, Fault> {
    let (name, provider) = provider(variables)?;
    let own_prefix = variables.snapshots("DB_PREFIX")?;
    let (location, url_prefix) = match provider {
        Provider::S3 => s3(variables)?,
        Provider::Azure => (Location::Azure(azure(variables)?), None),
        Provider::Local => (Location::Local(folder(required(variables, "STORAGE_LOCAL_DIR", "the folder")?)?), None),
    };
    let prefix = match (own_prefix, url_prefix) {
        (Some(own), Some(other)) if own.value != other.value => {
            let what = format!("it and `prefix` in {} are one setting, and differ", other.name);
            return Err(own.fault(&what, "give the prefix in one of the two"));
        }
        (Some(prefix), _) | (None, Some(prefix)) => {
            PrefixTemplate::parse(&prefix.value).map_err(|(what, hint)| prefix.fault(&what, hint))?
        }
        (None, None) => PrefixTemplate::parse(PREFIX).map_err(|(what, _)| Fault::new(FaultKind::Config, what))?,
    };
    Ok(ArchivePlace { name, location, prefix })
}

/// The provider that is named; else the one whose variables are set. Variables of another one are a mistake: whoever set
/// them believes that they do something.
fn provider(variables: &Variables<'_>) -> Result<(&'static str, Provider), Fault> {
    let named = match variables.snapshots("STORAGE_PROVIDER")? {
        None => None,
        Some(named) => {
            let known = PROVIDERS.iter().find(|(name, _)| named.value.eq_ignore_ascii_case(name));
            Some(*known.ok_or_else(|| named.fault("no such provider is known", "write s3, azure or local"))?)
        }
    };
    let mut chosen = named;
    for (name, provider) in BELONGS {
        let Some(set) = variables.snapshots_secret(name)? else { continue };
        let kind = PROVIDERS.iter().find(|(_, known)| *known == provider).copied();
        match (chosen, kind) {
            (Some((_, chosen)), _) if chosen == provider => {}
            (None, kind) => chosen = kind,
            (Some((chosen, _)), _) => {
                let what = format!("it is set, and snapshots go to provider {chosen}");
                return Err(
                    set.fault(&what, "unset it, or name the provider that it belongs to in SNAPSHOTS_STORAGE_PROVIDER")
                );
            }
        }
    }
    chosen.ok_or_else(|| {
        Fault::new(FaultKind::Config, "Sentinel's variables do not say where snapshots go").with_hint(
            "set SNAPSHOTS_STORAGE_PROVIDER to s3, azure or local, and the variables that belong to it, such as \
             SNAPSHOTS_STORAGE_LOCAL_DIR with a folder that is not in Sentinel's own volume",
        )
    })
}

fn required(variables: &Variables<'_>, name: &str, what: &str) -> Result<Text, Fault> {
    variables.snapshots(name)?.ok_or_else(|| missing(name, what))
}

fn missing(name: &str, what: &str) -> Fault {
    Fault::new(FaultKind::Config, format!("SNAPSHOTS_{name} is missing")).with_hint(format!("set it to {what}"))
}

fn folder(text: Text) -> Result<PathBuf, Fault> {
    let path = Path::new(text.value.as_str());
    match path.is_absolute() && !text.value.contains('\0') {
        true => Ok(path.components().collect()),
        false => Err(text.fault("this is no path from the root", "write it like /srv/backups")),
    }
}

/// The bucket, and the prefix that an address of the newest generation holds.
fn s3(variables: &Variables<'_>) -> Result<(Location, Option<Text>), Fault> {
    let url = variables.snapshots("STORAGE_S3_URL")?;
    let parsed = match &url {
        None => None,
        Some(url) => Some(S3Url::parse(url)?),
    };
    let of_url = |part: fn(&S3Url) -> Option<String>| {
        let value = parsed.as_ref().and_then(part)?;
        Some(Named { name: url.as_ref()?.name.clone(), value: zeroize::Zeroizing::new(value) })
    };
    let same = |name: &str, other: Option<Text>| one_of(variables.snapshots(name)?, other);
    let bucket = same("STORAGE_S3_BUCKET", of_url(|url| url.bucket.clone()))?;
    let bucket = bucket.ok_or_else(|| missing("STORAGE_S3_BUCKET", "the name of the bucket"))?;
    let bucket = match Url::parse(&format!("s3://{}", *bucket.value)) {
        Ok(Url::S3 { bucket, prefix }) if prefix.is_empty() => bucket,
        _ => return Err(bucket.fault("this is no name of a bucket", NAME_HINT)),
    };
    let endpoint = same("STORAGE_S3_ENDPOINT", of_url(|url| Some(url.endpoint.clone())))?;
    let endpoint = match endpoint {
        None => None,
        Some(text) => Some(read_endpoint(&text.value).ok_or_else(|| {
            text.fault("this is not the address of a server", "write https://host or https://host:port")
        })?),
    };
    let mut region = same("STORAGE_S3_REGION", of_url(|url| url.region.clone()))?;
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        region = region.map_or_else(|| variables.get(name), |region| Ok(Some(region)))?;
    }
    let location = Location::S3(S3Location {
        bucket,
        prefix: String::new(),
        endpoint,
        region: region.map(|region| region.value.to_string()),
        access_key: access_key(variables, parsed.as_ref())?,
    });
    Ok((location, of_url(|url| url.prefix.clone())))
}

/// One setting that may be given in two places.
fn one_of(first: Option<Text>, second: Option<Text>) -> Result<Option<Text>, Fault> {
    match (&first, &second) {
        (Some(a), Some(b)) if a.value != b.value => {
            Err(a.fault(&format!("{} says something else", b.name), "give it in one of the two"))
        }
        _ => Ok(first.or(second)),
    }
}

/// The key that belongs to the bucket, else the one in its address, else Amazon's own variables, else what the platform says.
fn access_key(variables: &Variables<'_>, url: Option<&S3Url>) -> Result<Option<S3AccessKey>, Fault> {
    let own = pair(
        variables.snapshots_secret("STORAGE_S3_ACCESS_KEY_ID")?,
        variables.snapshots_secret("STORAGE_S3_SECRET_ACCESS_KEY")?,
        ["SNAPSHOTS_STORAGE_S3_ACCESS_KEY_ID", "SNAPSHOTS_STORAGE_S3_SECRET_ACCESS_KEY"],
    )?;
    if let Some((id, secret)) = own.or_else(|| url?.key.clone()) {
        return Ok(Some(S3AccessKey { id, secret, session_token: None }));
    }
    let names = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
    let of_amazon = pair(variables.secret(names[0])?, variables.secret(names[1])?, names)?;
    let Some((id, secret)) = of_amazon else { return Ok(None) };
    let session_token = variables.secret("AWS_SESSION_TOKEN")?.map(|token| token.value);
    Ok(Some(S3AccessKey { id, secret, session_token }))
}

type Key = (SecretSource, SecretSource);

/// Both parts of a key, or neither.
fn pair(
    id: Option<Named<SecretSource>>,
    secret: Option<Named<SecretSource>>,
    names: [&str; 2],
) -> Result<Option<Key>, Fault> {
    let lacks = |missing: &str, given: &str| {
        Fault::new(FaultKind::Config, format!("{missing} is missing"))
            .with_hint(format!("set it, or unset {given}, to which it belongs"))
    };
    match (id, secret) {
        (Some(id), Some(secret)) => Ok(Some((id.value, secret.value))),
        (None, None) => Ok(None),
        (Some(id), None) => Err(lacks(names[1], &id.name)),
        (None, Some(secret)) => Err(lacks(names[0], &secret.name)),
    }
}

/// `https://ID:SECRET@HOST/?bucket=…&prefix=…&region=…`
struct S3Url {
    endpoint: String,
    key: Option<Key>,
    bucket: Option<String>,
    prefix: Option<String>,
    region: Option<String>,
}

impl S3Url {
    fn parse(text: &Text) -> Result<Self, Fault> {
        let form = "write it like https://ID:SECRET@HOST/?bucket=NAME&prefix=PATH&region=NAME";
        let address = Address::parse(&text.value).ok_or_else(|| text.fault("this is no address", form))?;
        if !["https", "http"].contains(&&*address.scheme) || !address.path.trim_matches('/').is_empty() {
            return Err(text.fault("this is no address of a server that speaks S3", form));
        }
        if let Some((other, _)) = address.query.iter().find(|(key, _)| !QUERY.contains(&&**key)) {
            // Not repeated where it is like none: it may be a part of a secret that was not encoded.
            let meant = nearest(other, &QUERY).map(|near| format!("did you mean `{near}`? "));
            let hint = format!("{}known are {}; {form}", meant.unwrap_or_default(), QUERY.join(", "));
            return Err(text.fault("its query holds what is not understood", &hint));
        }
        let query = |key: &str| {
            let value = address.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.trim().to_owned());
            value.filter(|value| !value.is_empty())
        };
        let key = match (&address.user, address.secret()) {
            (Some(id), Some(secret)) => Some((SecretSource::Given(Secret::new(id.clone())), secret)),
            (None, None) => None,
            _ => return Err(text.fault("it holds one part of an access key", form)),
        };
        Ok(Self {
            endpoint: format!("{}://{}", address.scheme, address.server),
            key,
            bucket: query("bucket"),
            prefix: query("prefix"),
            region: query("region"),
        })
    }
}

fn azure(variables: &Variables<'_>) -> Result<AzureLocation, Fault> {
    let container = required(variables, "STORAGE_AZURE_CONTAINER", "the name of the container")?;
    let container = match Url::parse(&format!("azblob://{}", *container.value)) {
        Ok(Url::Azure { container, prefix }) if prefix.is_empty() => container,
        _ => return Err(container.fault("this is no name of a container", NAME_HINT)),
    };
    let name = "STORAGE_AZURE_CONNECTION_STRING";
    let string = variables.snapshots_secret(name)?;
    let string = string.ok_or_else(|| missing(name, "the connection string that Azure shows among the access keys"))?;
    Ok(AzureLocation {
        container,
        prefix: String::new(),
        endpoint: None,
        login: AzureLogin::ConnectionString(string.value),
    })
}

/// The place of the repository that archives are made out of: a folder, or a place that the archives' own login opens.
pub fn repository_place(
    variables: &ProcessVariables<'_>,
    archives: &Location,
    preset: &Path,
) -> Result<Location, Fault> {
    let Some(text) = variables.get("LIFEBOAT_REPOSITORY")? else { return Ok(Location::Local(preset.to_owned())) };
    let hint = "write a folder, or with provider s3 or azure a place that its login opens, as s3://BUCKET/PATH or \
                azblob://CONTAINER/PATH";
    let url = Url::parse(&text.value).map_err(|wrong| text.fault(&wrong.what, &wrong.hint))?;
    match (url, archives) {
        (Url::Folder(_), _) => folder(text).map(Location::Local),
        (Url::S3 { bucket, prefix }, Location::S3(s3)) => Ok(Location::S3(S3Location { bucket, prefix, ..s3.clone() })),
        (Url::Azure { container, prefix }, Location::Azure(azure)) => {
            Ok(Location::Azure(AzureLocation { container, prefix, ..azure.clone() }))
        }
        _ => Err(text.fault("this is not of the provider that snapshots go to", hint)),
    }
}
