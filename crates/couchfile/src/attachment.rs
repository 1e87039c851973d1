//! Attachments. Their content lies in chunks without checksums of their own; the document names the MD5 of what is stored,
//! which for text is usually the gzip form.

use std::io::Write;

use flate2::write::GzDecoder;
use md5::{Digest as _, Md5};

use crate::blocks::Blocks;
use crate::limits::ATTACHMENT_BYTES_AT_ONCE;
use crate::term::encode::Encoder;
use crate::term::{Kind, Term};
use crate::{Error, ReadAt, json};

/// How an attachment is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// As it was sent.
    Identity,
    /// Compressed by CouchDB or by the sender.
    Gzip,
}

/// An attachment of a revision, without its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name, which may contain slashes.
    pub name: String,
    /// Its media type.
    pub content_type: String,
    /// Bytes of its content, decoded.
    pub length: u64,
    /// Bytes as stored.
    pub stored_length: u64,
    /// The position of the revision that brought it.
    pub revpos: u64,
    /// The MD5 of what is stored; `None` in very old files.
    pub md5: Option<[u8; 16]>,
    /// How it is stored.
    pub encoding: Encoding,
    /// Where the chunks lie, and how long each is where that is known.
    pub(crate) chunks: Vec<(u64, Option<u64>)>,
}

impl Attachment {
    /// `{Name, Type, Chunks, StoredLength, Length, RevPos, Md5, Encoding}`, shorter in older files, or that with a list of
    /// further properties beside it.
    pub(crate) fn decode(term: Term<'_>, offset: u64) -> Result<Self, Error> {
        let wrong = |what| Error::Malformed { offset, what };
        let parts = term.tuple().ok_or(wrong("an attachment is no tuple"))?;
        if let Some([base, _]) = term.tuple_of()
            && base.tuple().is_some()
        {
            return Self::decode_base(base, offset);
        }
        match parts.len() {
            2 => Err(wrong("an attachment of a form that was given up before CouchDB 0.11")),
            _ => Self::decode_base(term, offset),
        }
    }

    fn decode_base(term: Term<'_>, offset: u64) -> Result<Self, Error> {
        let wrong = |what| Error::Malformed { offset, what };
        let parts: Vec<_> = term.tuple().ok_or(wrong("an attachment is no tuple"))?.collect();
        let (name, kind, chunks, stored_length, length, revpos, md5, encoding) = match parts[..] {
            [name, kind, chunks, stored, length, revpos, md5, encoding] => {
                (name, kind, chunks, stored, length, revpos, md5, Some(encoding))
            }
            [name, kind, chunks, length, revpos, md5] => (name, kind, chunks, length, length, revpos, md5, None),
            _ => return Err(wrong("an attachment has an unknown form")),
        };
        let encoding = match encoding {
            None => Encoding::Identity,
            Some(term) if term.is_atom("identity") || term.is_atom("false") => Encoding::Identity,
            Some(term) if term.is_atom("gzip") || term.is_atom("true") => Encoding::Gzip,
            Some(_) => return Err(wrong("an attachment is stored in an unknown way")),
        };
        let md5 = match md5.binary().ok_or(wrong("an attachment's MD5 is none"))? {
            [] => None,
            md5 => Some(md5.try_into().map_err(|_| wrong("an attachment's MD5 is none"))?),
        };
        Ok(Self {
            name: text(name).ok_or(wrong("an attachment without a name"))?,
            content_type: text(kind).ok_or(wrong("an attachment without a type"))?,
            length: length.unsigned().ok_or(wrong("an attachment without a length"))?,
            stored_length: stored_length.unsigned().ok_or(wrong("an attachment without a length"))?,
            revpos: revpos.unsigned().ok_or(wrong("an attachment of no revision"))?,
            md5,
            encoding,
            chunks: places(chunks).ok_or(wrong("an attachment lies nowhere"))?,
        })
    }

    /// Whether all of it was written before `offset`.
    pub(crate) fn lies_before(&self, offset: u64) -> bool {
        offset > 0 && self.chunks.iter().all(|(start, _)| *start < offset)
    }

    pub(crate) fn encode(&self, out: &mut Encoder) {
        out.tuple(8).binary(self.name.as_bytes()).binary(self.content_type.as_bytes());
        self.encode_places(out);
        out.unsigned(self.stored_length).unsigned(self.length).unsigned(self.revpos);
        out.binary(self.md5.as_ref().map_or(&[], |md5| md5.as_slice()));
        out.atom(match self.encoding {
            Encoding::Identity => "identity",
            Encoding::Gzip => "gzip",
        });
    }

    /// `[{Offset, Length}, …]`
    pub(crate) fn encode_places(&self, out: &mut Encoder) {
        out.list(self.chunks.len());
        for (offset, length) in &self.chunks {
            match length {
                Some(length) => out.tuple(2).unsigned(*offset).unsigned(*length),
                None => out.unsigned(*offset),
            };
        }
        out.end_list();
    }

    /// Appends what `_attachments` says of it where its content is left out, encoding included.
    pub(crate) fn write_stub(&self, out: &mut Vec<u8>, encoding: bool) {
        json::write_name(out, &self.name);
        out.extend(b"{\"content_type\":");
        json::write_string(out, &self.content_type);
        out.extend(format!(",\"revpos\":{}", self.revpos).bytes());
        if let Some(md5) = &self.md5 {
            out.extend(b",\"digest\":");
            json::write_string(out, &format!("md5-{}", base64(md5)));
        }
        out.extend(format!(",\"length\":{},\"stub\":true", self.length).bytes());
        if encoding && self.encoding == Encoding::Gzip {
            out.extend(format!(",\"encoding\":\"gzip\",\"encoded_length\":{}", self.stored_length).bytes());
        }
        out.push(b'}');
    }

    /// Gives the stored bytes to `take`, piece by piece, and checks their length and MD5 at the end: what came before an
    /// error may be wrong.
    pub(crate) fn read_stored<R: ReadAt + ?Sized>(
        &self,
        blocks: Blocks<'_, R>,
        id: &str,
        mut take: impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let damaged = |what| Error::Attachment { id: id.to_owned(), name: self.name.clone(), what };
        let mut md5 = Md5::new();
        let mut length = 0_u64;
        for (offset, expected) in &self.chunks {
            let read = blocks.pieces(*offset, ATTACHMENT_BYTES_AT_ONCE, |piece| {
                md5.update(piece);
                take(piece)
            })?;
            if expected.is_some_and(|expected| expected != read) {
                return Err(damaged("a piece of it is not as long as it was"));
            }
            length = length.saturating_add(read);
            // Pieces may not be counted twice to make a small file endless.
            if length > self.stored_length {
                return Err(damaged("it is longer than it was"));
            }
        }
        if length != self.stored_length {
            return Err(damaged("it is shorter than it was"));
        }
        match self.md5 {
            Some(expected) if expected != <[u8; 16]>::from(md5.finalize()) => Err(damaged("its MD5 is wrong")),
            _ => Ok(()),
        }
    }

    /// As [`Attachment::read_stored`], with the content that a client gets.
    pub(crate) fn read_decoded<R: ReadAt + ?Sized>(
        &self,
        blocks: Blocks<'_, R>,
        id: &str,
        out: &mut dyn Write,
    ) -> Result<(), Error> {
        if self.encoding == Encoding::Identity {
            return self.read_stored(blocks, id, |piece| out.write_all(piece).map_err(Error::Write));
        }
        let damaged = |what| Error::Attachment { id: id.to_owned(), name: self.name.clone(), what };
        let mut decoder = GzDecoder::new(Bounded { out, left: self.length, failed: None });
        let read = self.read_stored(blocks, id, |piece| {
            decoder.write_all(piece).map_err(|_| match decoder.get_mut().failed.take() {
                Some(error) => Error::Write(error),
                None => damaged("its gzip form is damaged"),
            })
        });
        read?;
        let finished = decoder.try_finish();
        match (finished, decoder.get_mut()) {
            (_, Bounded { failed: Some(_), .. }) => {
                let error = decoder.get_mut().failed.take();
                Err(error.map_or(damaged("its gzip form is damaged"), Error::Write))
            }
            (Ok(()), Bounded { left: 0, .. }) => Ok(()),
            _ => Err(damaged("its gzip form is damaged")),
        }
    }
}

/// Passes on as many bytes as the attachment may have: a small gzip form can hold much more.
struct Bounded<'w> {
    out: &'w mut dyn Write,
    left: u64,
    /// What went wrong on the other side, which is not the attachment's fault.
    failed: Option<std::io::Error>,
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(std::io::ErrorKind::InvalidData)?;
        self.out.write_all(bytes).map_err(|error| {
            let kind = error.kind();
            self.failed = Some(error);
            kind
        })?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// `[{Offset, Length}, …]`, in old files without the lengths.
pub(crate) fn places(term: Term<'_>) -> Option<Vec<(u64, Option<u64>)>> {
    term.list()?
        .map(|place| match place.tuple_of() {
            Some([offset, length]) => Some((offset.unsigned()?, Some(length.unsigned()?))),
            None => Some((place.unsigned()?, None)),
        })
        .collect()
}

/// Text is a binary, or in old files a list of bytes.
fn text(term: Term<'_>) -> Option<String> {
    match term.kind() {
        Kind::Binary(bytes) => String::from_utf8(bytes.to_vec()).ok(),
        Kind::List(items) => {
            String::from_utf8(items.map(|item| item.int()?.try_into().ok()).collect::<Option<_>>()?).ok()
        }
        _ => None,
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let word = group.iter().chain([&0, &0]).take(3).fold(0, |word, byte| word << 8 | u32::from(*byte));
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place)) as usize & 63];
            text.push(if place <= group.len() { digit.into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_base64() {
        for (bytes, expected) in
            [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (&[0xfb, 0xff, 0xfe, 1], "+//+AQ==")]
        {
            assert_eq!(base64(bytes), expected);
        }
    }
}
