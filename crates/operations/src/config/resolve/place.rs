//! Sources that lie in one place: a folder, or files that belong together.

use super::{Resolver, Result, required};
use crate::config::document::TlsDocument;
use crate::config::mistake::Mistake;
use crate::config::settings::TlsSettings;
use crate::config::text::Text;

impl Resolver<'_> {
    pub(super) fn tls(&self, name: &Text, tls: &TlsDocument) -> Result<TlsSettings> {
        let hint = "`from: /etc/ssl/shop`, a folder, or both `cert` and `key`";
        match (&tls.from, &tls.cert, &tls.key) {
            (Some(from), None, None) => Ok(TlsSettings::From { from: self.path(from)? }),
            (Some(_), Some(other), _) | (Some(_), None, Some(other)) => Err(Mistake::at(
                other.place,
                "`from` stands for all files, so `cert` and `key` have no place beside it",
            )
            .with_hint("remove `from`, or the other two")),
            (None, None, None) => Err(Mistake::at(name.place, "`from` is missing").with_hint(format!("add {hint}"))),
            (None, cert, key) => Ok(TlsSettings::Pair {
                cert: self.path(required(cert, name, "cert", hint)?)?,
                key: self.path(required(key, name, "key", hint)?)?,
            }),
        }
    }
}
