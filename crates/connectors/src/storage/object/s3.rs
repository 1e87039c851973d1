//! Where an S3 bucket is and how to get at it.

use std::fmt;

use opendal::Operator;
use opendal::services::S3;

use super::{Manner, NO_CREDENTIALS, Target};

/// The region that servers other than Amazon's take for granted.
const REGION_ELSEWHERE: &str = "us-east-1";

/// A bucket of S3 or of a server that is compatible with it.
#[derive(Clone, Default)]
pub struct S3Options {
    /// The bucket, which has to exist.
    pub bucket: String,
    /// The folder in the bucket; empty for the bucket itself.
    pub prefix: String,
    /// The server's address, `https://…`. `None` for Amazon's own.
    pub endpoint: Option<String>,
    /// The region the bucket is in. Needed for Amazon's own; elsewhere `us-east-1` unless set.
    pub region: Option<String>,
    /// Names the secret. Without the two, credentials come from the environment, a profile, or the platform (instance
    /// role, container role, web identity).
    pub access_key_id: Option<String>,
    /// The secret.
    pub secret_access_key: Option<String>,
    /// Goes with credentials that expire.
    pub session_token: Option<String>,
}

impl S3Options {
    pub(super) fn location(&self) -> String {
        super::location("s3", &self.bucket, &self.prefix)
    }

    pub(super) fn target(&self) -> Result<Target, String> {
        let endpoint = self.server()?;
        let hosts = vec![super::host(&endpoint)?];
        // A bucket that locks objects wants a checksum with each request; which ones it takes differs.
        let (operator, in_parts) = (self.operator(&endpoint, "md5")?, self.operator(&endpoint, "crc32c")?);
        Ok(Target { operator, in_parts, hosts, manner: Manner::Conditions, no_credentials: NO_CREDENTIALS })
    }

    /// The server's address.
    fn server(&self) -> Result<String, String> {
        match (&self.endpoint, &self.region) {
            (Some(endpoint), _) => Ok(super::with_scheme(endpoint)),
            (None, Some(region)) => {
                let domain = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
                Ok(format!("https://s3.{region}.{domain}"))
            }
            (None, None) => Err("set `region`, or `endpoint` for a server other than Amazon's".to_owned()),
        }
    }

    fn operator(&self, endpoint: &str, checksum: &str) -> Result<Operator, String> {
        let region = self.region.as_deref().unwrap_or(REGION_ELSEWHERE);
        let mut builder = S3::default()
            .bucket(&self.bucket)
            .root(&self.prefix)
            .region(region)
            .endpoint(endpoint)
            .checksum_algorithm(checksum);
        // The certificate of a bucket's own name holds for one level only.
        if self.endpoint.is_none() && !self.bucket.contains('.') {
            builder = builder.enable_virtual_host_style();
        }
        match (&self.access_key_id, &self.secret_access_key) {
            (Some(id), Some(secret)) => {
                builder = builder.access_key_id(id).secret_access_key(secret);
                // Nothing of the machine's own may get in between.
                builder = builder.disable_config_load().disable_ec2_metadata();
                if let Some(token) = &self.session_token {
                    builder = builder.session_token(token);
                }
            }
            (None, None) => {}
            _ => return Err("`access_key_id` and `secret_access_key` go together; one is missing".to_owned()),
        }
        Ok(Operator::new(builder).map_err(|error| error.message().to_owned())?.finish())
    }
}

impl fmt::Debug for S3Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Options")
            .field("location", &self.location())
            .field("endpoint", &self.endpoint)
            .field("region", &self.region)
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &self.secret_access_key.as_ref().map(|_| "…"))
            .field("session_token", &self.session_token.as_ref().map(|_| "…"))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_before_anything_is_asked() {
        crate::http::choose_cryptography();
        let what = |options: S3Options| options.target().map(drop).unwrap_err();
        let bucket = S3Options { bucket: "b".into(), ..S3Options::default() };
        assert!(what(bucket.clone()).contains("set `region`"));
        let here = S3Options { region: Some("eu-1".into()), ..bucket };
        assert!(what(S3Options { access_key_id: Some("AK".into()), ..here.clone() }).contains("go together"));
        assert!(what(S3Options { endpoint: Some("https://me:S3CRET@host".into()), ..here }).contains("credentials"));
    }

    #[test]
    fn a_secret_of_s3_shows_itself_nowhere() {
        let options = S3Options {
            bucket: "bucket".into(),
            prefix: "/a/".into(),
            region: Some("eu-1".into()),
            access_key_id: Some("AK".into()),
            secret_access_key: Some("S3CRET".into()),
            session_token: Some("S3CRET".into()),
            ..S3Options::default()
        };
        let shown = format!("{options:?}");
        assert!(shown.contains("s3://bucket/a") && shown.contains("AK") && !shown.contains("S3CRET"), "{shown}");
    }
}
