//! Documents as they are written into a running CouchDB: attachments inside.

use std::fmt::Write as _;
use std::io;

use couchfile::{Database, Document, ReadAt, Revision};
use data_encoding::{BASE64, Encoder};
use serde_json::Value;

/// Attachments of one revision, together. They are sent in one piece, which is held in memory.
const ATTACHMENT_BYTES_MAX: u64 = 256 << 20;

/// How a revision is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// As the revision it was, with its history.
    AsItWas,
    /// As a new revision on top of what is there.
    AsNew,
}

/// A revision, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload(String);

/// Why a revision cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] couchfile::Error),
    /// Its attachments are too large to be sent.
    #[error(
        "its attachments have {bytes} bytes, more than {ATTACHMENT_BYTES_MAX}: write them with --attachments of `lifeboat docs`, and attach them by hand"
    )]
    TooLarge {
        /// How large.
        bytes: u64,
    },
}

impl Upload {
    /// Reads what `document`, which is in `database`, needs to be sent.
    pub fn read<R: ReadAt>(database: &Database<R>, document: &Document, write: Write) -> Result<Self, UploadError> {
        let bytes = document.attachments.iter().fold(0_u64, |sum, attachment| sum.saturating_add(attachment.length));
        if bytes > ATTACHMENT_BYTES_MAX {
            return Err(UploadError::TooLarge { bytes });
        }
        // Text, so that the numbers in the body stay as they are.
        let mut json = format!("{{\"_id\":{}", string(&document.id));
        if write == Write::AsItWas {
            add(&mut json, format_args!(",\"_rev\":{}", string(&document.revision.to_string())));
            let ids: Vec<_> = document.history().map(Revision::id_text).collect();
            let position = document.revision.position;
            add(&mut json, format_args!(",\"_revisions\":{{\"start\":{position},\"ids\":{}}}", Value::from(ids)));
        }
        if document.deleted {
            json.push_str(",\"_deleted\":true");
        }
        for (position, attachment) in document.attachments.iter().enumerate() {
            json.push_str(if position == 0 { ",\"_attachments\":{" } else { "," });
            let (name, kind) = (string(&attachment.name), string(&attachment.content_type));
            add(&mut json, format_args!("{name}:{{\"content_type\":{kind},"));
            if write == Write::AsItWas {
                add(&mut json, format_args!("\"revpos\":{},", attachment.revpos));
            }
            json.push_str("\"data\":\"");
            write_base64(&mut json, |out| database.write_attachment(&document.id, attachment, out))?;
            json.push_str("\"}");
        }
        if !document.attachments.is_empty() {
            json.push('}');
        }
        let body = document.body_json()?;
        match body.strip_prefix('{') {
            Some("}") | None => json.push('}'),
            Some(members) => add(&mut json, format_args!(",{members}")),
        }
        Ok(Self(json))
    }

    /// The JSON object.
    pub fn json(&self) -> &str {
        &self.0
    }

    /// The same, on top of the revision `parent`.
    #[must_use]
    pub fn on_top_of(&self, parent: &str) -> Self {
        Self(format!("{{\"_rev\":{},{}", string(parent), &self.0[1..]))
    }
}

/// Appends what `write` writes, as base64.
fn write_base64<E>(json: &mut String, write: impl FnOnce(&mut dyn io::Write) -> Result<(), E>) -> Result<(), E> {
    let encoding = BASE64;
    let mut base64 = Base64(encoding.new_encoder(json));
    write(&mut base64)?;
    base64.0.finalize();
    Ok(())
}

struct Base64<'o>(Encoder<'o>);

impl io::Write for Base64<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn string(text: &str) -> String {
    Value::from(text).to_string()
}

fn add(json: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = json.write_fmt(what);
}

#[cfg(test)]
mod tests {
    use couchfile::{Checksum, Compression, CouchWriter, Format};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_revision_is_sent_with_its_history_and_attachments_or_as_a_new_one() {
        let format = Format { checksum: Checksum::Xxh3, compression: Compression::Snappy };
        let mut writer = CouchWriter::create(Vec::new(), format, "0123", "couchdb@127.0.0.1").unwrap();
        let attachments = [
            writer.attachment("a \"b\".txt", "text/plain", b"hello", 2, couchfile::Encoding::Gzip).unwrap(),
            writer.attachment("c", "image/png", &[0, 255, 1, 2], 1, couchfile::Encoding::Identity).unwrap(),
        ];
        let first = writer.put("x/\"1", &json!({ "n": 1 })).unwrap();
        let second = writer.put_with("x/\"1", &json!({ "n": 2, "f": 1.0 }), &attachments).unwrap();
        writer.put("empty", &json!({})).unwrap();
        let gone = writer.put("gone", &json!({ "n": 1 })).map(|_| writer.delete("gone").unwrap()).unwrap();
        writer.commit().unwrap();
        let database = Database::open(writer.into_inner()).unwrap();
        let upload = |id: &str, write| {
            let info = database.document(id).unwrap().unwrap();
            let document = database.read(id, info.leaves()[0]).unwrap().unwrap();
            Upload::read(&database, &document, write).unwrap()
        };
        let as_it_was: Value = serde_json::from_str(upload("x/\"1", Write::AsItWas).json()).unwrap();
        assert_eq!(
            as_it_was,
            json!({
                "_id": "x/\"1", "_rev": second.to_string(), "n": 2, "f": 1.0,
                "_revisions": { "start": 2, "ids": [second.id_text(), first.id_text()] },
                "_attachments": {
                    "a \"b\".txt": { "content_type": "text/plain", "revpos": 2, "data": "aGVsbG8=" },
                    "c": { "content_type": "image/png", "revpos": 1, "data": "AP8BAg==" },
                },
            })
        );
        let upload_new = upload("x/\"1", Write::AsNew);
        let as_new: Value = serde_json::from_str(upload_new.on_top_of("7-f").json()).unwrap();
        assert_eq!(as_new["_rev"], "7-f");
        assert_eq!(as_new["_attachments"]["c"], json!({ "content_type": "image/png", "data": "AP8BAg==" }));
        assert!(as_new.get("_revisions").is_none() && upload_new.json().contains("\"f\":1.0"));
        assert_eq!(upload("empty", Write::AsNew).json(), r#"{"_id":"empty"}"#);
        let deletion: Value = serde_json::from_str(upload("gone", Write::AsItWas).json()).unwrap();
        assert_eq!((&deletion["_deleted"], &deletion["_rev"]), (&json!(true), &json!(gone.to_string())));
    }
}
