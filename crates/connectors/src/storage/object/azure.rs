//! Where a container of Azure Blob Storage is and how to get at it.

use std::fmt;

use opendal::Operator;
use opendal::services::Azblob;

use super::{Manner, NO_CREDENTIALS, Target};

/// A container of Azure Blob Storage.
#[derive(Clone)]
pub struct AzureOptions {
    /// The container, which has to exist.
    pub container: String,
    /// The folder in the container; empty for the container itself.
    pub prefix: String,
    /// The account and what opens it.
    pub credentials: AzureCredentials,
}

/// What opens an account of Azure.
#[derive(Clone)]
pub enum AzureCredentials {
    /// As the portal shows it under "Access keys" or "Shared access signature"; names account and server, too.
    ConnectionString(String),
    /// An account's key.
    Key {
        /// The account's name.
        account: String,
        /// The key, in Base64.
        key: String,
        /// The server's address, where it is not `https://ACCOUNT.blob.core.windows.net`.
        endpoint: Option<String>,
    },
    /// A shared access signature, which can be limited in time and rights.
    Signature {
        /// The account's name.
        account: String,
        /// The signature: `sv=…&sig=…`.
        sas: String,
        /// The server's address, where it is not `https://ACCOUNT.blob.core.windows.net`.
        endpoint: Option<String>,
    },
    /// What the environment and the platform offer: variables, workload identity, managed identity.
    Platform {
        /// The account's name.
        account: String,
        /// The server's address, where it is not `https://ACCOUNT.blob.core.windows.net`.
        endpoint: Option<String>,
    },
}

impl AzureOptions {
    pub(super) fn location(&self) -> String {
        super::location("azblob", &self.container, &self.prefix)
    }

    pub(super) fn target(&self) -> Result<Target, String> {
        let (builder, endpoint) = match &self.credentials {
            AzureCredentials::ConnectionString(text) => {
                let wrong = "the connection string is not valid; copy it whole, as the portal shows it";
                let text: String = text.split_whitespace().collect();
                let builder = Azblob::from_connection_string(&text).map_err(|_| wrong)?;
                let endpoint = connection_endpoint(&text).ok_or(wrong)?;
                (builder, endpoint)
            }
            AzureCredentials::Key { account, key, endpoint } => {
                (Azblob::default().account_name(account).account_key(key), address(account, endpoint.as_deref()))
            }
            AzureCredentials::Signature { account, sas, endpoint } => {
                let sas = sas.trim().trim_start_matches('?');
                (Azblob::default().account_name(account).sas_token(sas), address(account, endpoint.as_deref()))
            }
            AzureCredentials::Platform { account, endpoint } => {
                (Azblob::default().account_name(account), address(account, endpoint.as_deref()))
            }
        };
        let hosts = vec![super::host(&endpoint)?];
        let builder = builder.endpoint(&endpoint).container(&self.container).root(&self.prefix);
        // The message of an error may repeat the key that it finds invalid.
        let operator = Operator::new(builder).map_err(|_| "the container's name or the account's key is not valid")?;
        let operator = operator.finish();
        Ok(Target {
            in_parts: operator.clone(),
            operator,
            hosts,
            manner: Manner::Conditions,
            no_credentials: NO_CREDENTIALS,
        })
    }
}

fn address(account: &str, endpoint: Option<&str>) -> String {
    endpoint.map_or_else(|| format!("https://{account}.blob.core.windows.net"), super::with_scheme)
}

/// The server that a connection string names, spelled out or in parts.
fn connection_endpoint(text: &str) -> Option<String> {
    let value = |name: &str| {
        let mut parts = text.split(';').filter_map(|part| part.split_once('='));
        parts.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    if let Some(endpoint) = value("BlobEndpoint") {
        return Some(super::with_scheme(endpoint));
    }
    let scheme = value("DefaultEndpointsProtocol").unwrap_or("https");
    let suffix = value("EndpointSuffix").unwrap_or("core.windows.net");
    Some(format!("{scheme}://{}.blob.{suffix}", value("AccountName")?))
}

impl fmt::Debug for AzureOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AzureOptions")
            .field("location", &self.location())
            .field("credentials", &self.credentials)
            .finish()
    }
}

impl fmt::Debug for AzureCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectionString(_) => f.write_str("ConnectionString(…)"),
            Self::Key { account, .. } => write!(f, "Key {{ account: {account:?}, … }}"),
            Self::Signature { account, .. } => write!(f, "Signature {{ account: {account:?}, … }}"),
            Self::Platform { account, .. } => write!(f, "Platform {{ account: {account:?}, … }}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_names_its_server_whole_or_in_parts() {
        let endpoint = |text| connection_endpoint(text);
        assert_eq!(
            endpoint(
                "DefaultEndpointsProtocol=https;AccountName=me;AccountKey=aGk=;EndpointSuffix=core.chinacloudapi.cn"
            ),
            Some("https://me.blob.core.chinacloudapi.cn".into())
        );
        assert_eq!(endpoint("AccountName=me;AccountKey=aGk="), Some("https://me.blob.core.windows.net".into()));
        assert_eq!(
            endpoint("BlobEndpoint=https://x.example/;SharedAccessSignature=sv=1&sig=2"),
            Some("https://x.example".into())
        );
        assert_eq!(endpoint("nonsense"), None);
    }

    #[test]
    fn a_secret_of_azure_shows_itself_nowhere() {
        crate::http::choose_cryptography();
        let (account, endpoint) = ("me".to_owned(), None);
        let secrets = [
            AzureCredentials::ConnectionString("AccountName=me;AccountKey=S3CRET!".into()),
            AzureCredentials::Key { account: account.clone(), key: "S3CRET!".into(), endpoint: endpoint.clone() },
            AzureCredentials::Signature { account, sas: "sig=S3CRET!".into(), endpoint },
        ];
        for credentials in secrets {
            let options = AzureOptions { container: "c".into(), prefix: "p".into(), credentials };
            let shown = format!("{options:?} {:?}", options.target().map(drop));
            assert!(shown.contains("azblob://c/p") && !shown.contains("S3CRET"), "{shown}");
        }
    }
}
