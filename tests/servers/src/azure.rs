//! An Azure Blob server, and what tests do with it past the program under test.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jiff::Timestamp;

use crate::s3::{encoded, mac};
use crate::{Script, exchange, free_port, program, unique, workspace};

/// A running Azurite.
pub struct AzureServer {
    /// Its port on this machine.
    pub port: u16,
    /// The file of its certificate, where it speaks TLS.
    pub certificate: Option<PathBuf>,
    _script: Script,
}

impl AzureServer {
    /// The account that every Azurite has.
    pub const ACCOUNT: &str = "devstoreaccount1";
    /// Its key, which Azurite's documentation gives to everybody.
    pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

    pub(super) fn start(tls: bool) -> Result<Self, String> {
        program("node")?;
        program("curl")?;
        let main = workspace().join("target/tools/azurite/node_modules/azurite/dist/src/blob/main.js");
        if !main.exists() {
            return Err("azurite is not installed (./dev setup)".to_owned());
        }
        let port = free_port();
        let (number, main) = (port.to_string(), main.display().to_string());
        let mut arguments = vec![number.as_str(), &main];
        arguments.extend(tls.then_some("tls"));
        let (script, said) = Script::start("azurite.sh", &arguments)?;
        Ok(Self { port, certificate: tls.then(|| said.into()), _script: script })
    }

    /// The server's address, with the account.
    pub fn endpoint(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}/{}", self.port, Self::ACCOUNT)
    }

    /// A connection string as Azure's portal shows one.
    pub fn connection_string(&self) -> String {
        let (account, key, endpoint) = (Self::ACCOUNT, Self::KEY, self.endpoint());
        format!("DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};BlobEndpoint={endpoint};")
    }

    /// A token as Azure's directory gives it to an identity, for a server that speaks TLS. Azurite looks at who issued it,
    /// for what and for when, and takes any signature.
    pub fn token() -> String {
        #[expect(clippy::disallowed_methods, reason = "a server takes no simulated time")]
        let now = Timestamp::now().as_second();
        let claims = serde_json::json!({
            "aud": "https://storage.azure.com", "iss": "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/",
            "iat": now - 60, "nbf": now - 60, "exp": now + 900, "jti": unique(),
        });
        let parts = [r#"{"typ":"JWT","alg":"RS256"}"#, &claims.to_string(), "signature"];
        parts.map(|part| URL_SAFE_NO_PAD.encode(part)).join(".")
    }

    /// A new container of a server that speaks TLS.
    pub fn container_behind_tls(&self) -> String {
        let name = unique();
        let made = Command::new("curl")
            .args(["-sS", "--fail", "-X", "PUT", "-H", "x-ms-version: 2021-12-02", "-H", "content-length: 0", "-H"])
            .arg(format!("authorization: Bearer {}", Self::token()))
            .arg("--cacert")
            .arg(self.certificate.as_ref().unwrap())
            .arg(format!("{}/{name}?restype=container", self.endpoint()))
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        name
    }

    /// A new container.
    pub fn container(&self) -> String {
        let name = unique();
        let (status, answer) = self.request("PUT", &name, Some(("restype", "container")), &[], b"");
        assert_eq!(status, 201, "{answer}");
        name
    }

    /// Puts a blob, whatever is there.
    pub fn put(&self, container: &str, name: &str, body: &[u8]) {
        let path = format!("{container}/{}", encoded(name));
        let (status, answer) = self.request("PUT", &path, None, &[("x-ms-blob-type", "BlockBlob")], body);
        assert_eq!(status, 201, "{answer}");
    }

    /// One request, signed with the account's key. `headers` are named in order.
    fn request(
        &self,
        method: &str,
        path: &str,
        query: Option<(&str, &str)>,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> (u16, String) {
        let account = Self::ACCOUNT;
        #[expect(clippy::disallowed_methods, reason = "a server takes no simulated time")]
        let time = Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let mut named: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        named += &format!("x-ms-date:{time}\nx-ms-version:2024-08-04\n");
        let length = if body.is_empty() { String::new() } else { body.len().to_string() };
        let asked = query.map(|(name, value)| format!("\n{name}:{value}")).unwrap_or_default();
        // The account twice: once as the owner, once as a part of the path, which Azurite has it in.
        let to_sign = format!("{method}\n\n\n{length}\n\n\n\n\n\n\n\n\n{named}/{account}/{account}/{path}{asked}");
        let signature = STANDARD.encode(mac(&STANDARD.decode(Self::KEY).unwrap(), to_sign.as_bytes()));
        let query = query.map(|(name, value)| format!("?{name}={value}")).unwrap_or_default();
        let headers = named.replace('\n', "\r\n");
        let head = format!(
            "{method} /{account}/{path}{query} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n{headers}\
             authorization: SharedKey {account}:{signature}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.port,
            body.len()
        );
        exchange(self.port, &head, body)
    }
}
