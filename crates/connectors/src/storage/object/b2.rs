//! Where a bucket of Backblaze B2 is and how to get at it.

use std::fmt;

use futures_util::TryStreamExt as _;
use opendal::options::ListOptions;
use opendal::services::B2;
use opendal::{Error, ErrorKind, Metadata, Operator};

use super::{Manner, NO_CREDENTIALS, Target};

/// Below these lie all of its servers: those that answer, and those that take uploads.
const DOMAINS: [&str; 2] = ["backblazeb2.com", "backblaze.com"];

/// A bucket of Backblaze B2.
#[derive(Clone, Default)]
pub struct B2Options {
    /// The bucket, which has to exist.
    pub bucket: String,
    /// The folder in the bucket; empty for the bucket itself.
    pub prefix: String,
    /// The bucket's id.
    pub bucket_id: String,
    /// Names the key.
    pub application_key_id: String,
    /// The key, which is secret.
    pub application_key: String,
}

impl B2Options {
    pub(super) fn location(&self) -> String {
        super::location("b2", &self.bucket, &self.prefix)
    }

    pub(super) fn target(&self) -> Result<Target, String> {
        let builder = B2::default()
            .bucket(&self.bucket)
            .bucket_id(&self.bucket_id)
            .root(&self.prefix)
            .application_key_id(&self.application_key_id)
            .application_key(&self.application_key);
        let operator = Operator::new(builder).map_err(|error| error.message().to_owned())?.finish();
        Ok(Target {
            in_parts: operator.clone(),
            operator,
            hosts: DOMAINS.map(str::to_owned).to_vec(),
            manner: Manner::Overwrites,
            no_credentials: NO_CREDENTIALS,
        })
    }
}

/// The file at `path`. What `opendal` takes for it is the first whose name begins like it.
pub(super) async fn stat(operator: &Operator, path: &str) -> opendal::Result<Metadata> {
    let options = ListOptions { limit: Some(1), ..ListOptions::default() };
    let mut entries = operator.lister_options(path, options).await?;
    // Names come in order, so the shortest is first.
    match entries.try_next().await? {
        Some(entry) if entry.path() == path => Ok(entry.metadata().clone()),
        _ => Err(Error::new(ErrorKind::NotFound, "no file has this name")),
    }
}

impl fmt::Debug for B2Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("B2Options")
            .field("location", &self.location())
            .field("bucket_id", &self.bucket_id)
            .field("application_key_id", &self.application_key_id)
            .field("application_key", &"…")
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_b2_wants_is_asked_for_and_its_key_shows_itself_nowhere() {
        let options = B2Options {
            bucket: "bucket".into(),
            prefix: "a".into(),
            bucket_id: "e73ede".into(),
            application_key_id: "ID".into(),
            application_key: "S3CRET".into(),
        };
        let target = options.target().unwrap();
        assert!(target.hosts.iter().any(|host| host == "backblaze.com"));
        let shown = format!("{options:?} {:?}", target.operator);
        assert!(shown.contains("b2://bucket/a") && shown.contains("e73ede") && !shown.contains("S3CRET"), "{shown}");
        let without_id = B2Options { bucket_id: String::new(), ..options };
        assert_eq!(without_id.target().map(drop), Err("bucket_id is empty".to_owned()));
    }
}
