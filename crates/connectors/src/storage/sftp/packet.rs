//! The packets of SFTP version 3, as in draft-ietf-secsh-filexfer-02: those that a storage needs.

/// A file is opened for reading.
pub(super) const READ: u32 = 1;
/// `SSH_FXF_WRITE` alone: what is there stays as it is.
pub(super) const WRITE: u32 = 2;
/// A file is opened for writing, made, and must not have been there.
pub(super) const WRITE_NEW: u32 = 2 | 8 | 0x20;

/// Kinds of request.
#[derive(Clone, Copy)]
#[repr(u8)]
pub(super) enum Kind {
    Init = 1,
    Open = 3,
    Close = 4,
    Read = 5,
    Write = 6,
    Lstat = 7,
    SetStat = 9,
    OpenDir = 11,
    ReadDir = 12,
    Remove = 13,
    MkDir = 14,
    Stat = 17,
    Rename = 18,
    Extended = 200,
}

/// Why a server did not do what it was asked. Those above 8 are of later versions, which some servers use all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Done,
    End,
    NoSuchFile,
    Denied,
    /// Anything: version 3 has no other word for most errors.
    Failure,
    Taken,
    Full,
    ReadOnly,
    Other(u32),
}

impl Code {
    fn of(code: u32) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::End,
            2 | 10 => Self::NoSuchFile,
            3 => Self::Denied,
            4 => Self::Failure,
            11 => Self::Taken,
            12 => Self::ReadOnly,
            14 | 15 => Self::Full,
            other => Self::Other(other),
        }
    }
}

/// What a server answers.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The names of extensions.
    Version(Vec<String>),
    Status {
        code: Code,
        message: String,
    },
    Handle(Vec<u8>),
    Data(Vec<u8>),
    Names(Vec<Name>),
    Attributes(Attributes),
    Extended(Vec<u8>),
}

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(super) name: Vec<u8>,
    pub(super) attributes: Attributes,
}

/// What a server says of a file; each only if it wants to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(super) size: Option<u64>,
    mode: Option<u32>,
    /// When it was last written, in seconds since 1970, by the server's clock.
    pub(super) modified: Option<u32>,
}

impl Attributes {
    fn format(self) -> Option<u32> {
        self.mode.map(|mode| mode & 0o170_000)
    }

    pub(super) fn is_link(self) -> bool {
        self.format() == Some(0o120_000)
    }

    pub(super) fn is_folder(self) -> bool {
        self.format() == Some(0o040_000)
    }

    /// Whether it may be a folder, or lead to one.
    pub(super) fn may_be_folder(self) -> bool {
        matches!(self.format(), None | Some(0)) || self.is_folder() || self.is_link()
    }

    /// Whether it may be an ordinary file: where the server does not say, it is taken for one.
    pub(super) fn may_be_file(self) -> bool {
        matches!(self.format(), None | Some(0 | 0o100_000))
    }
}

/// A request under construction.
pub(super) struct Request(Vec<u8>);

impl Request {
    pub(super) fn new(kind: Kind) -> Self {
        // Room for the length and the number, which are known at the end.
        Self(vec![0, 0, 0, 0, kind as u8, 0, 0, 0, 0])
    }

    /// The first packet of all, which has a version where others have a number.
    pub(super) fn init() -> Vec<u8> {
        Self::new(Kind::Init).numbered(3)
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(super) fn bytes(self, bytes: &[u8]) -> Self {
        let mut with_length = self.u32(bytes.len() as u32);
        with_length.0.extend(bytes);
        with_length
    }

    /// Attributes of a new file or folder: its permissions.
    pub(super) fn mode(self, mode: u32) -> Self {
        self.u32(4).u32(mode)
    }

    /// No attributes.
    pub(super) fn no_attributes(self) -> Self {
        self.u32(0)
    }

    /// The packet, ready to be sent as request `number`.
    pub(super) fn numbered(mut self, number: u32) -> Vec<u8> {
        let length = (self.0.len() - 4) as u32;
        self.0[..4].copy_from_slice(&length.to_be_bytes());
        self.0[5..9].copy_from_slice(&number.to_be_bytes());
        self.0
    }
}

/// Reads an answer, without its length in front. Gives the number of the request, too: for a version, its number.
/// `None` where it is not one.
pub(crate) fn parse(packet: &[u8]) -> Option<(u32, Reply)> {
    let mut fields = Fields(packet);
    let kind = fields.u8()?;
    let number = fields.u32()?;
    let reply = match kind {
        2 => {
            let mut extensions = Vec::new();
            while let Some(name) = fields.bytes() {
                extensions.push(String::from_utf8_lossy(name).into_owned());
                fields.bytes()?;
            }
            Reply::Version(extensions)
        }
        101 => {
            let code = Code::of(fields.u32()?);
            // Old servers leave the message out.
            let message = fields.bytes().map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
            Reply::Status { code, message }
        }
        102 => Reply::Handle(fields.bytes()?.to_vec()),
        103 => Reply::Data(fields.bytes()?.to_vec()),
        104 => {
            let count = fields.u32()?;
            let mut names = Vec::new();
            for _ in 0..count {
                let name = fields.bytes()?.to_vec();
                // How `ls` would show it.
                fields.bytes()?;
                names.push(Name { name, attributes: fields.attributes()? });
            }
            Reply::Names(names)
        }
        105 => Reply::Attributes(fields.attributes()?),
        201 => Reply::Extended(fields.0.to_vec()),
        _ => return None,
    };
    Some((number, reply))
}

/// The numbers of an answer to `statvfs@openssh.com`: the bytes that a user may still write.
pub(crate) fn bytes_free(answer: &[u8]) -> Option<u64> {
    let mut fields = Fields(answer);
    let _block = fields.u64()?;
    let fragment = fields.u64()?;
    let (_blocks, _free) = (fields.u64()?, fields.u64()?);
    fields.u64()?.checked_mul(fragment)
}

struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.take(length as usize)
    }

    fn attributes(&mut self) -> Option<Attributes> {
        let has = self.u32()?;
        let mut attributes = Attributes::default();
        if has & 1 != 0 {
            attributes.size = Some(self.u64()?);
        }
        if has & 2 != 0 {
            // Owner and group.
            self.u64()?;
        }
        if has & 4 != 0 {
            attributes.mode = Some(self.u32()?);
        }
        if has & 8 != 0 {
            // Before it, when it was last read.
            self.u32()?;
            attributes.modified = Some(self.u32()?);
        }
        if has & 0x8000_0000 != 0 {
            for _ in 0..self.u32()? {
                self.bytes()?;
                self.bytes()?;
            }
        }
        Some(attributes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn packets_are_those_of_the_draft() {
        assert_eq!(Request::init(), [0, 0, 0, 5, 1, 0, 0, 0, 3]);
        let open = Request::new(Kind::Open).bytes(b"ab").u32(READ).no_attributes().numbered(7);
        assert_eq!(open, [0, 0, 0, 19, 3, 0, 0, 0, 7, 0, 0, 0, 2, b'a', b'b', 0, 0, 0, 1, 0, 0, 0, 0]);
        let status = [101, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 2, b'n', b'o', 0, 0, 0, 0];
        assert_eq!(parse(&status), Some((7, Reply::Status { code: Code::NoSuchFile, message: "no".into() })));
        let mut names = vec![104, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1, b'f', 0, 0, 0, 0, 0, 0, 0, 0x0d];
        names.extend([0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x81, 0xa4, 0, 0, 0, 1, 0, 0, 0, 2]);
        let Some((9, Reply::Names(names))) = parse(&names) else { panic!("not parsed") };
        assert_eq!((names[0].attributes.size, names[0].attributes.modified), (Some(256), Some(2)));
        assert!(names[0].attributes.may_be_file() && !names[0].attributes.is_folder());
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_of_sftp_panic(kind in 0..=255_u8, rest in prop::collection::vec(any::<u8>(), 0..200)) {
            let packet: Vec<u8> = std::iter::once(kind).chain(rest).collect();
            let _ = parse(&packet);
            let _ = bytes_free(&packet);
        }
    }
}
