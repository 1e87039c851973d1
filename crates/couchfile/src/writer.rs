//! Writes what this library reads: blocks, chunks, trees and headers, in the form that CouchDB gives them. It only ever
//! appends, so that a reader of what was there before is never disturbed.

mod tree;

use std::io::Write;

pub(crate) use tree::{Entry, Tally, Tree, TreeKind};

use crate::attachment::Attachment;
use crate::checksum::CHECKSUM_BYTES;
use crate::header::{Epoch, HeaderPlace};
use crate::limits::BLOCK_BYTES;
use crate::revision::StoredBody;
use crate::term::encode::Encoder;
use crate::term::{Compression, compress};
use crate::{Checksum, Error};

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// The checksum of headers and documents. CouchDB before 3.4 takes XXH3 for damage.
    pub checksum: Checksum,
    /// How terms are compressed. CouchDB reads all three, whatever it is set to.
    pub compression: Compression,
}

/// A file that is being written.
pub(crate) struct Writer<W> {
    out: W,
    position: u64,
    format: Format,
}

/// Where a body was put.
pub(crate) struct Written {
    pub(crate) offset: u64,
    /// Bytes of the file that it takes.
    pub(crate) length: u64,
}

impl<W: Write> Writer<W> {
    /// Goes on where `out` stands, which is at `position` of the file.
    pub(crate) fn new(out: W, position: u64, format: Format) -> Self {
        Self { out, position, format }
    }

    #[cfg(any(test, feature = "writer"))]
    pub(crate) fn into_inner(self) -> W {
        self.out
    }

    #[cfg(feature = "writer")]
    pub(crate) fn get_mut(&mut self) -> &mut W {
        &mut self.out
    }

    #[cfg(feature = "writer")]
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// `content` as a chunk.
    pub(crate) fn chunk(&mut self, content: &[u8], with_checksum: bool) -> Result<Written, Error> {
        let offset = self.position;
        let length = u32::try_from(content.len()).ok().filter(|length| length >> 31 == 0);
        let length = length.ok_or(Error::Write(std::io::ErrorKind::FileTooLarge.into()))?;
        let mut chunk = (length | u32::from(with_checksum) << 31).to_be_bytes().to_vec();
        if with_checksum {
            chunk.extend(self.format.checksum.of(content));
        }
        chunk.extend(content);
        self.bytes(&chunk)?;
        Ok(Written { offset, length: self.position - offset })
    }

    /// A term as a chunk without checksum: a node, or one of the objects that a header points to.
    pub(crate) fn term(&mut self, term: Encoder) -> Result<Written, Error> {
        let stored = compress(term.finish(), self.format.compression)?;
        self.chunk(&stored, false)
    }

    /// A document's content: `body` is an encoded object without the byte that starts a term.
    pub(crate) fn body(&mut self, body: &[u8], attachments: &[Attachment]) -> Result<Written, Error> {
        let mut list = Encoder::term();
        list.list(attachments.len());
        for attachment in attachments {
            attachment.encode(&mut list);
        }
        list.end_list();
        let mut object = Encoder::term();
        object.raw(body);
        let body = compress(object.finish(), self.format.compression)?;
        let attachments = compress(list.finish(), self.format.compression)?;
        let mut summary = Encoder::term();
        summary.tuple(2).binary(&body).binary(&attachments);
        self.chunk(&summary.finish(), true)
    }

    /// A header, at the start of the next block.
    pub(crate) fn header(&mut self, header: Encoder) -> Result<HeaderPlace, Error> {
        let over = self.position % BLOCK_BYTES;
        if over > 0 {
            self.raw(&vec![0; (BLOCK_BYTES - over) as usize])?;
        }
        let offset = self.position;
        let term = header.finish();
        let length = (CHECKSUM_BYTES + term.len()) as u32;
        self.raw(&[1])?;
        self.bytes(&[&length.to_be_bytes()[..], &self.format.checksum.of(&term), &term].concat())?;
        self.out.flush().map_err(Error::Write)?;
        Ok(HeaderPlace { offset, end: self.position, checksum: self.format.checksum })
    }

    /// Appends `bytes`, with a mark at the start of each block.
    fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            if self.position.is_multiple_of(BLOCK_BYTES) {
                self.raw(&[0])?;
            }
            let room = (BLOCK_BYTES - self.position % BLOCK_BYTES) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.raw(now)?;
            bytes = later;
        }
        Ok(())
    }

    fn raw(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.out.write_all(bytes).map_err(Error::Write)?;
        self.position += bytes.len() as u64;
        Ok(())
    }
}

/// What the tree says of a revision's attachments: `[{Chunks, Length}, …]`, the same ones once.
pub(crate) fn attachments_of_revision(attachments: &[Attachment]) -> Vec<u8> {
    let mut parts: Vec<Vec<u8>> = attachments
        .iter()
        .map(|attachment| {
            let mut part = Encoder::default();
            part.tuple(2);
            attachment.encode_places(&mut part);
            part.unsigned(attachment.stored_length);
            part.finish()
        })
        .collect();
    parts.sort();
    parts.dedup();
    let mut list = Encoder::default();
    list.list(parts.len());
    for part in &parts {
        list.raw(part);
    }
    list.end_list();
    list.finish()
}

/// What a header says, each tree in its encoded form.
pub(crate) struct HeaderParts<'h> {
    /// How many elements there are: versions differ in how many they know.
    pub(crate) elements: usize,
    pub(crate) disk_version: u32,
    pub(crate) update_seq: u64,
    pub(crate) by_id: Tree,
    pub(crate) by_seq: Tree,
    pub(crate) local: Tree,
    /// The seventh and eighth element, whose meaning changed with disk version 7.
    pub(crate) purges: [Vec<u8>; 2],
    pub(crate) security: Option<u64>,
    pub(crate) revs_limit: u64,
    pub(crate) uuid: Option<&'h str>,
    pub(crate) epochs: &'h [Epoch],
    pub(crate) compacted_seq: u64,
    pub(crate) purge_infos_limit: u64,
    pub(crate) properties: Option<u64>,
}

impl HeaderParts<'_> {
    pub(crate) fn encode(&self) -> Encoder {
        let mut out = Encoder::term();
        out.tuple(self.elements).atom("db_header").unsigned(self.disk_version.into()).unsigned(self.update_seq);
        out.unsigned(0).raw(&self.by_id.encode()).raw(&self.by_seq.encode()).raw(&self.local.encode());
        out.raw(&self.purges[0]).raw(&self.purges[1]);
        pointer(&mut out, self.security, "nil");
        out.unsigned(self.revs_limit);
        if self.elements > 11 {
            match self.uuid {
                Some(uuid) => out.binary(uuid.as_bytes()),
                None => out.atom("undefined"),
            };
        }
        if self.elements > 12 {
            epochs(&mut out, self.epochs);
        }
        if self.elements > 13 {
            out.unsigned(self.compacted_seq);
        }
        if self.elements > 14 {
            out.unsigned(self.purge_infos_limit);
        }
        if self.elements > 15 {
            pointer(&mut out, self.properties, "undefined");
        }
        out
    }
}

fn epochs(out: &mut Encoder, epochs: &[Epoch]) {
    out.list(epochs.len());
    for epoch in epochs {
        out.tuple(2).atom(&epoch.node).unsigned(epoch.seq);
    }
    out.end_list();
}

fn pointer(out: &mut Encoder, offset: Option<u64>, none: &str) {
    match offset {
        Some(offset) => out.unsigned(offset),
        None => out.atom(none),
    };
}

impl StoredBody {
    /// A body as it was just written.
    pub(crate) fn moved(&self, written: &Written, attachments: &[Attachment]) -> Self {
        // Attachments count for the document, not for its revisions, which may share them.
        let sizes = self.sizes.map(|sizes| crate::Sizes { active: written.length, ..sizes });
        let attachments = Some(attachments_of_revision(attachments));
        Self { offset: written.offset, sizes, attachments, ..self.clone() }
    }
}
