//! One member of a tar archive and the node it stands for. The archive is POSIX's (IEEE Std 1003.1, "pax Interchange
//! Format"): what a plain header cannot say goes into a record before it. Extended attributes go under the names that
//! GNU tar and others use (`SCHILY.xattr.`).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use repository::format::go;
use repository::format::node::Xattr;
use repository::format::time::Time;
use repository::{Node, NodeKind};
use tar::{EntryType, Header};

/// How the names of records with extended attributes begin.
const XATTR: &str = "SCHILY.xattr.";
/// Bytes of a name in a plain header.
const NAME_BYTES_MAX: usize = 100;
/// Bytes of the name of a user or group in a plain header, without the zero that ends it.
const OWNER_BYTES_MAX: usize = 31;
/// Records before one member: names, times and attributes. Linux keeps less than this in the attributes of a file.
const RECORDS_BYTES_MAX: u64 = 4 << 20;

/// Adds what `node` stands for at `path`, relative. `link` is the path of an earlier member that is the same file.
/// `content` gives `node.size` bytes of a regular file.
pub fn append<W: Write>(
    to: &mut tar::Builder<W>,
    path: &Path,
    node: &Node,
    link: Option<&Path>,
    content: impl Read,
) -> io::Result<()> {
    let mut records: Vec<(String, Vec<u8>)> = Vec::new();
    let mut header = Header::new_ustar();
    let kind = match (link, node.kind) {
        (Some(_), _) => EntryType::Link,
        (None, NodeKind::Dir) => EntryType::Directory,
        (None, NodeKind::Symlink) => EntryType::Symlink,
        (None, NodeKind::BlockDevice) => EntryType::Block,
        (None, NodeKind::CharDevice) => EntryType::Char,
        (None, NodeKind::Fifo) => EntryType::Fifo,
        (None, NodeKind::File | NodeKind::Socket | NodeKind::Unknown) => EntryType::Regular,
    };
    header.set_entry_type(kind);
    header.set_size(if kind == EntryType::Regular { node.size } else { 0 });
    header.set_mode(go::permissions_from_mode(node.mode));
    header.set_uid(node.uid.into());
    header.set_gid(node.gid.into());
    header.set_mtime(u64::try_from(node.mtime.seconds).unwrap_or(0));
    let target = match link {
        Some(link) => link.as_os_str().as_bytes(),
        None => &node.link_target,
    };
    if matches!(kind, EntryType::Block | EntryType::Char) {
        header.set_device_major(rustix::fs::major(node.device))?;
        header.set_device_minor(rustix::fs::minor(node.device))?;
    }
    let mut path = path.as_os_str().as_bytes().to_vec();
    if kind == EntryType::Directory {
        path.push(b'/');
    }
    if let Some(ustar) = header.as_ustar_mut() {
        put(&mut ustar.name, &path, "path", &mut records, NAME_BYTES_MAX);
        put(&mut ustar.linkname, target, "linkpath", &mut records, NAME_BYTES_MAX);
        put(&mut ustar.uname, node.user.as_bytes(), "uname", &mut records, OWNER_BYTES_MAX);
        put(&mut ustar.gname, node.group.as_bytes(), "gname", &mut records, OWNER_BYTES_MAX);
    }
    header.set_cksum();
    if node.mtime.nanoseconds != 0 || node.mtime.seconds < 0 {
        records.push(("mtime".to_owned(), decimal(node.mtime).into_bytes()));
    }
    if link.is_none() {
        records.extend(node.xattrs.iter().map(|xattr| (format!("{XATTR}{}", xattr.name), xattr.value.clone())));
    }
    to.append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), value.as_slice())))?;
    to.append(&header, content)
}

/// Puts `text` into a field; where it does not fit, its beginning, and all of it into a record.
fn put(field: &mut [u8], text: &[u8], key: &str, records: &mut Vec<(String, Vec<u8>)>, bytes_max: usize) {
    let fitting = text.len().min(bytes_max);
    field[..fitting].copy_from_slice(&text[..fitting]);
    if fitting < text.len() {
        records.push((key.to_owned(), text.to_vec()));
    }
}

/// Seconds since 1970 with all their decimals.
fn decimal(time: Time) -> String {
    let (seconds, nanoseconds) = (i128::from(time.seconds), i128::from(time.nanoseconds));
    let total = seconds * 1_000_000_000 + nanoseconds;
    let sign = if total < 0 { "-" } else { "" };
    format!("{sign}{}.{:09}", total.abs() / 1_000_000_000, total.abs() % 1_000_000_000)
}

fn parse_decimal(text: &str) -> Option<Time> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, decimals) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !is_number(whole) || !is_number(decimals) {
        return None;
    }
    let nanoseconds: i128 = format!("{decimals:0<9}")[..9].parse().ok()?;
    let total = sign * (i128::from(whole.parse::<i64>().ok()?) * 1_000_000_000 + nanoseconds);
    Some(Time {
        seconds: i64::try_from(total.div_euclid(1_000_000_000)).ok()?,
        nanoseconds: u32::try_from(total.rem_euclid(1_000_000_000)).ok()?,
    })
}

/// What a member says.
#[derive(Debug)]
pub struct Member {
    /// Where it belongs, relative: ordinary parts only, at least one.
    pub path: PathBuf,
    /// Its metadata.
    pub node: Node,
    /// The earlier member that is the same file.
    pub link: Option<PathBuf>,
}

/// Gathers the records that precede a member.
#[derive(Default)]
pub struct MemberReader {
    records: BTreeMap<String, Vec<u8>>,
}

impl MemberReader {
    /// Reads what an entry of [`tar::Entries::raw`] says. `None` for one that speaks of the next.
    pub fn read<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>) -> io::Result<Option<Member>> {
        if entry.header().entry_type() == EntryType::XHeader {
            if entry.size() > RECORDS_BYTES_MAX {
                return Err(invalid(format!("records of {} bytes", entry.size())));
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            self.records = records(&bytes).ok_or_else(|| invalid("a record that ends nowhere".to_owned()))?;
            return Ok(None);
        }
        let records = std::mem::take(&mut self.records);
        member(entry.header(), records).map(Some)
    }
}

/// The records of a `pax` header: `LENGTH KEY=VALUE\n`, where the length covers all of it, and values may hold anything.
fn records(mut bytes: &[u8]) -> Option<BTreeMap<String, Vec<u8>>> {
    let mut records = BTreeMap::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
        let (record, rest) = bytes.split_at_checked(length)?;
        let record = record.get(space + 1..)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        let key = std::str::from_utf8(&record[..equals]).ok()?;
        records.insert(key.to_owned(), record[equals + 1..].to_vec());
        bytes = rest;
    }
    Some(records)
}

fn member(header: &Header, mut records: BTreeMap<String, Vec<u8>>) -> io::Result<Member> {
    let ustar = header.as_ustar().ok_or_else(|| invalid("a header of another kind".to_owned()))?;
    let mut text = |key: &str, field: &[u8]| {
        records.remove(key).unwrap_or_else(|| field.split(|byte| *byte == 0).next().unwrap_or_default().to_vec())
    };
    let path = path(&text("path", &ustar.name))?;
    let target = text("linkpath", &ustar.linkname);
    let (user, group) = (text("uname", &ustar.uname), text("gname", &ustar.gname));
    let kind = match header.entry_type() {
        EntryType::Regular | EntryType::Link => NodeKind::File,
        EntryType::Directory => NodeKind::Dir,
        EntryType::Symlink => NodeKind::Symlink,
        EntryType::Block => NodeKind::BlockDevice,
        EntryType::Char => NodeKind::CharDevice,
        EntryType::Fifo => NodeKind::Fifo,
        other => return Err(invalid(format!("a member of kind {other:?}"))),
    };
    let is_link = header.entry_type() == EntryType::Link;
    let number = |number: u64| u32::try_from(number).map_err(|_| invalid("an owner's number".to_owned()));
    let mut node = Node::new(path.file_name().unwrap_or_default().as_bytes(), kind);
    node.mode = go::mode_from_posix(repository::fs::type_bits(kind) | (header.mode()? & 0o7777));
    (node.uid, node.gid) = (number(header.uid()?)?, number(header.gid()?)?);
    node.user = String::from_utf8_lossy(&user).into_owned();
    node.group = String::from_utf8_lossy(&group).into_owned();
    node.size = header.size()?;
    node.mtime = match records.remove("mtime") {
        Some(text) => std::str::from_utf8(&text).ok().and_then(parse_decimal),
        None => i64::try_from(header.mtime()?).ok().map(|seconds| Time { seconds, nanoseconds: 0 }),
    }
    .ok_or_else(|| invalid("a time that is none".to_owned()))?;
    if matches!(kind, NodeKind::BlockDevice | NodeKind::CharDevice) {
        // Numbers of other members are not filled in.
        let (major, minor) = (header.device_major()?, header.device_minor()?);
        node.device = rustix::fs::makedev(major.unwrap_or(0), minor.unwrap_or(0));
    }
    node.xattrs = records
        .into_iter()
        .filter_map(|(key, value)| Some(Xattr { name: key.strip_prefix(XATTR)?.to_owned(), value }))
        .collect();
    let link = if is_link { Some(self::path(&target)?) } else { None };
    if kind == NodeKind::Symlink {
        node.link_target = target;
    }
    Ok(Member { path, node, link })
}

/// A path that stays below where it is put.
fn path(bytes: &[u8]) -> io::Result<PathBuf> {
    let path = Path::new(OsStr::from_bytes(bytes));
    let is_plain = |part: Component<'_>| matches!(part, Component::Normal(_));
    if bytes.is_empty() || bytes.contains(&0) || !path.components().all(is_plain) {
        return Err(invalid(format!("the path {}", go::quote(bytes))));
    }
    Ok(path.components().collect())
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not an archive of Lifeboat's: {what}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_all(bytes: &[u8]) -> io::Result<Vec<(Member, Vec<u8>)>> {
        let mut archive = tar::Archive::new(bytes);
        let mut reader = MemberReader::default();
        let mut members = Vec::new();
        for entry in archive.entries()?.raw(true) {
            let mut entry = entry?;
            if let Some(member) = reader.read(&mut entry)? {
                let mut content = Vec::new();
                entry.read_to_end(&mut content)?;
                members.push((member, content));
            }
        }
        Ok(members)
    }

    fn node_strategy() -> impl Strategy<Value = Node> {
        let name = prop::collection::vec(1_u8..=255, 1..200).prop_filter("a name", |name| Node::is_valid_name(name));
        let kind = prop::sample::select(vec![
            NodeKind::File,
            NodeKind::Dir,
            NodeKind::Symlink,
            NodeKind::Fifo,
            NodeKind::CharDevice,
        ]);
        let xattr = ("user\\.[a-z]{1,8}", prop::collection::vec(any::<u8>(), 0..60))
            .prop_map(|(name, value)| Xattr { name, value });
        let numbers =
            (any::<u32>(), any::<u32>(), 0_u32..0o10000, -5_000_000_000_i64..5_000_000_000, 0_u32..1_000_000_000);
        (name, kind, numbers, prop::collection::btree_map("[a-z]{1,3}", xattr, 0..3), "[a-zäö]{0,40}").prop_map(
            |(name, kind, (uid, gid, permissions, seconds, nanoseconds), xattrs, user)| {
                let mut node = Node::new(name, kind);
                node.mode = go::mode_from_posix(repository::fs::type_bits(kind) | permissions);
                (node.uid, node.gid, node.user) = (uid, gid, user);
                node.mtime = Time { seconds, nanoseconds };
                let by_name: BTreeMap<String, Xattr> =
                    xattrs.into_values().map(|xattr| (xattr.name.clone(), xattr)).collect();
                node.xattrs = by_name.into_values().collect();
                match kind {
                    NodeKind::Symlink => node.link_target = b"../some\xff/where".to_vec(),
                    NodeKind::CharDevice => node.device = rustix::fs::makedev(uid % 4096, gid % 0xf_ffff),
                    _ => {}
                }
                node
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nodes in prop::collection::vec((node_strategy(), "[a-z]{0,120}"), 1..8)) {
            let mut builder = tar::Builder::new(Vec::new());
            let mut expected = Vec::new();
            for (mut node, content) in nodes {
                if node.kind == NodeKind::File {
                    node.size = content.len() as u64;
                }
                let path = Path::new("source").join(OsStr::from_bytes(&node.name));
                append(&mut builder, &path, &node, None, content.as_bytes().take(node.size)).unwrap();
                expected.push((path, node, content));
            }
            let read = read_all(&builder.into_inner().unwrap()).unwrap();
            prop_assert_eq!(read.len(), expected.len());
            for ((member, content), (path, node, wanted)) in read.into_iter().zip(expected) {
                prop_assert_eq!(&member.path, &path);
                prop_assert_eq!(member.link, None);
                if node.kind == NodeKind::File {
                    prop_assert_eq!(content, wanted.as_bytes());
                }
                prop_assert_eq!(member.node, node);
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            let _ = read_all(&bytes);
            let _ = records(&bytes);
        }
    }

    #[test]
    fn a_hard_link_names_the_member_that_it_is() {
        let mut builder = tar::Builder::new(Vec::new());
        let long = Path::new("source").join("n".repeat(150));
        let mut node = Node::new("a", NodeKind::File);
        node.size = 3;
        append(&mut builder, &long, &node, None, &b"abc"[..]).unwrap();
        append(&mut builder, Path::new("source/b"), &node, Some(&long), io::empty()).unwrap();
        let read = read_all(&builder.into_inner().unwrap()).unwrap();
        assert_eq!(read[1].0.link.as_deref(), Some(&*long));
        assert_eq!(read[1].0.node.size, 0);
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        for bad in ["../x", "/etc/passwd", "a/../b", "", "."] {
            assert!(path(bad.as_bytes()).is_err(), "{bad}");
        }
        assert_eq!(path(b"a/b/").unwrap(), Path::new("a/b"));
    }

    #[test]
    fn times_before_1970_have_decimals_too() {
        let time = |seconds, nanoseconds| Time { seconds, nanoseconds };
        for (given, text) in [
            (time(1, 5), "1.000000005"),
            (time(-2, 500_000_000), "-1.500000000"),
            (time(-1, 0), "-1.000000000"),
            (time(0, 0), "0.000000000"),
        ] {
            assert_eq!(decimal(given), text);
            assert_eq!(parse_decimal(text), Some(given));
        }
        assert_eq!(parse_decimal("1.5"), Some(time(1, 500_000_000)));
        for bad in ["", "-", "x", "1.x", "1e5", "99999999999999999999"] {
            assert_eq!(parse_decimal(bad), None, "{bad}");
        }
    }
}
