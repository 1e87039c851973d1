//! Where a bucket of Google Cloud Storage is and how to get at it.

use std::fmt;
use std::path::PathBuf;

use opendal::Operator;
use opendal::services::Gcs;

use super::{Manner, NO_CREDENTIALS, Target};

/// Google's own server. Tokens come from others.
const ENDPOINT: &str = "https://storage.googleapis.com";

/// A bucket of Google Cloud Storage.
#[derive(Clone, Default)]
pub struct GcsOptions {
    /// The bucket, which has to exist.
    pub bucket: String,
    /// The folder in the bucket; empty for the bucket itself.
    pub prefix: String,
    /// A file with the key of a service account, or with what Google's own programs keep. Without it, credentials come
    /// from the environment, from what `gcloud` keeps, or from the platform (a machine's service account).
    pub credential_file: Option<PathBuf>,
    /// The server's address, where it is not Google's own. No login is asked for there: what takes Google's place in
    /// tests has none.
    pub endpoint: Option<String>,
}

impl GcsOptions {
    pub(super) fn location(&self) -> String {
        super::location("gs", &self.bucket, &self.prefix)
    }

    pub(super) fn target(&self) -> Result<Target, String> {
        let endpoint = self.endpoint.as_deref().map_or_else(|| ENDPOINT.to_owned(), super::with_scheme);
        let hosts = vec![super::host(&endpoint)?];
        let mut builder = Gcs::default().bucket(&self.bucket).root(&self.prefix).endpoint(&endpoint);
        let mut no_credentials = NO_CREDENTIALS;
        if self.endpoint.is_some() {
            builder = builder.skip_signature();
        }
        if let Some(file) = &self.credential_file {
            let file = file.to_str().ok_or("the name of the credential file is not UTF-8")?;
            // Nothing of the machine's own may get in between.
            builder = builder.credential_path(file).disable_config_load().disable_vm_metadata();
            no_credentials = "Google gives no token for the credential file: it is no key of a service account, or one \
                              that was withdrawn, or Google was out of reach";
        }
        let operator = Operator::new(builder).map_err(|error| error.message().to_owned())?.finish();
        Ok(Target { in_parts: operator.clone(), operator, hosts, manner: Manner::Conditions, no_credentials })
    }
}

impl fmt::Debug for GcsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GcsOptions")
            .field("location", &self.location())
            .field("credential_file", &self.credential_file)
            .field("endpoint", &self.endpoint)
            .finish()
    }
}
