//! The mount points of this host: renames do not cross them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use super::InPlaceError;

const MOUNT_INFO: &str = "/proc/self/mountinfo";

/// Every mount point that this process sees.
#[derive(Debug, Default)]
pub(super) struct Mounts(Vec<PathBuf>);

impl Mounts {
    pub fn of_this_host() -> Result<Self, InPlaceError> {
        let text = std::fs::read(MOUNT_INFO).map_err(InPlaceError::io(MOUNT_INFO))?;
        Ok(Self::parse(&text))
    }

    /// The fifth field of each line is the mount point, its spaces and such written in octal (proc(5)).
    pub fn parse(text: &[u8]) -> Self {
        let points = text.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
        Self(points.map(|point| PathBuf::from(OsString::from_vec(unescape(point)))).collect())
    }

    pub fn is_mount(&self, path: &Path) -> bool {
        self.0.iter().any(|point| point == path)
    }

    /// The mount points that lie below `path`.
    pub fn below<'a>(&'a self, path: &'a Path) -> impl Iterator<Item = &'a Path> {
        self.0.iter().map(PathBuf::as_path).filter(move |point| *point != path && point.starts_with(path))
    }
}

fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, after @ ..] = rest {
        let octal = (*first == b'\\').then(|| after.get(..3)).flatten().and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &after[3..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_spaces_in_their_names() {
        let text = b"36 35 98:0 /mnt1 /mnt/with\\040space rw,noatime master:1 - ext3 /dev/root rw\n\
                     37 35 98:0 / /mnt rw shared:2 - ext4 /dev/vda rw\nbroken\n";
        let mounts = Mounts::parse(text);
        assert!(mounts.is_mount(Path::new("/mnt/with space")));
        assert!(mounts.is_mount(Path::new("/mnt")));
        assert_eq!(mounts.below(Path::new("/mnt")).collect::<Vec<_>>(), [Path::new("/mnt/with space")]);
        assert_eq!(mounts.below(Path::new("/mnt/with")).count(), 0);
    }

    #[test]
    fn this_host_has_a_root() {
        assert!(Mounts::of_this_host().unwrap().is_mount(Path::new("/")));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_failing(text: Vec<u8>) {
            Mounts::parse(&text);
        }
    }
}
