//! Places that are buckets, or near enough to one. Some of them are in this program only where it was built with them.

#[cfg(feature = "b2")]
use connectors::storage::B2Options;
#[cfg(feature = "gcs")]
use connectors::storage::GcsOptions;
#[cfg(feature = "webdav")]
use connectors::storage::WebdavOptions;
use connectors::storage::{AzureCredentials, AzureOptions, ObjectStorage, S3Options};
#[cfg(feature = "b2")]
use operations::config::B2Location;
#[cfg(feature = "gcs")]
use operations::config::GcsLocation;
#[cfg(feature = "webdav")]
use operations::config::WebdavLocation;
use operations::config::{AzureLocation, AzureLogin, Location, S3Location, SecretSource};
use operations::{Fault, FaultKind};
use repository::Cancel;

/// The bucket at `location`.
pub fn open(location: &Location, cancel: Cancel) -> Result<ObjectStorage, Fault> {
    Ok(match location {
        Location::S3(s3) => ObjectStorage::s3(&s3_options(s3)?, cancel)?,
        Location::Azure(azure) => ObjectStorage::azure(&azure_options(azure)?, cancel)?,
        #[cfg(feature = "gcs")]
        Location::Gcs(gcs) => ObjectStorage::gcs(&gcs_options(gcs)?, cancel)?,
        #[cfg(not(feature = "gcs"))]
        Location::Gcs(_) => return Err(left_out("Google Cloud Storage", "gcs")),
        #[cfg(feature = "b2")]
        Location::B2(b2) => ObjectStorage::b2(&b2_options(b2)?, cancel)?,
        #[cfg(not(feature = "b2"))]
        Location::B2(_) => return Err(left_out("Backblaze B2", "b2")),
        #[cfg(feature = "webdav")]
        Location::Webdav(webdav) => ObjectStorage::webdav(&webdav_options(webdav)?, cancel)?,
        #[cfg(not(feature = "webdav"))]
        Location::Webdav(_) => return Err(left_out("WebDAV", "webdav")),
        Location::Local(_) | Location::Sftp(_) => {
            return Err(Fault::new(FaultKind::Unsupported, format!("{location} is no bucket")));
        }
    })
}

/// A kind of place that this program was built without.
#[cfg_attr(
    all(feature = "gcs", feature = "b2", feature = "webdav"),
    cfg_attr(not(test), expect(dead_code, reason = "nothing is left out"))
)]
fn left_out(name: &str, feature: &str) -> Fault {
    let what = format!("this build of Lifeboat has no {name}; build it with `--features {feature}`");
    Fault::new(FaultKind::Unsupported, what)
}

fn read(secret: &SecretSource) -> Result<String, Fault> {
    Ok(secret.read()?.expose().to_owned())
}

fn s3_options(s3: &S3Location) -> Result<S3Options, Fault> {
    let key = s3.access_key.as_ref();
    Ok(S3Options {
        bucket: s3.bucket.clone(),
        prefix: s3.prefix.clone(),
        endpoint: s3.endpoint.clone(),
        region: s3.region.clone(),
        access_key_id: key.map(|key| read(&key.id)).transpose()?,
        secret_access_key: key.map(|key| read(&key.secret)).transpose()?,
        session_token: key.and_then(|key| key.session_token.as_ref()).map(read).transpose()?,
    })
}

fn azure_options(azure: &AzureLocation) -> Result<AzureOptions, Fault> {
    let endpoint = azure.endpoint.clone();
    let credentials = match &azure.login {
        AzureLogin::ConnectionString(text) => AzureCredentials::ConnectionString(read(text)?),
        AzureLogin::Key { account, key } => {
            AzureCredentials::Key { account: account.clone(), key: read(key)?, endpoint }
        }
        AzureLogin::Sas { account, token } => {
            AzureCredentials::Signature { account: account.clone(), sas: read(token)?, endpoint }
        }
        AzureLogin::Platform { account } => AzureCredentials::Platform { account: account.clone(), endpoint },
    };
    Ok(AzureOptions { container: azure.container.clone(), prefix: azure.prefix.clone(), credentials })
}

#[cfg(feature = "gcs")]
fn gcs_options(gcs: &GcsLocation) -> Result<GcsOptions, Fault> {
    let credential_file = gcs.credential_file.clone();
    if let Some(file) = &credential_file {
        // It is read again by what gets the tokens; this names what is wrong with it.
        SecretSource::File(file.clone()).read()?;
    }
    Ok(GcsOptions { bucket: gcs.bucket.clone(), prefix: gcs.prefix.clone(), credential_file, endpoint: None })
}

#[cfg(feature = "b2")]
fn b2_options(b2: &B2Location) -> Result<B2Options, Fault> {
    Ok(B2Options {
        bucket: b2.bucket.clone(),
        prefix: b2.prefix.clone(),
        bucket_id: b2.bucket_id.clone(),
        application_key_id: read(&b2.key_id)?,
        application_key: read(&b2.key)?,
    })
}

#[cfg(feature = "webdav")]
fn webdav_options(webdav: &WebdavLocation) -> Result<WebdavOptions, Fault> {
    let login = webdav.login.as_ref();
    Ok(WebdavOptions {
        address: webdav.address(),
        user: login.map(|login| login.user.clone()),
        password: login.map(|login| read(&login.password)).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_named_with_what_brings_it() {
        let fault = left_out("WebDAV", "webdav");
        assert_eq!(fault.kind, FaultKind::Unsupported);
        assert_eq!(fault.message, "this build of Lifeboat has no WebDAV; build it with `--features webdav`");
    }
}
