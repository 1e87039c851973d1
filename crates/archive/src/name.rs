//! What an archive is called, and what its name says: everything that retention and `sync` need to know of it, so that an
//! archive copy works without a key, and a person sees what a file is.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use repository::Id;

/// How the names of archives end.
pub const EXTENSION: &str = ".tar.zst.age";

/// The same of one that `age` decrypted.
pub const EXTENSION_DECRYPTED: &str = ".tar.zst";

/// Stands between the parts of a name. No name of a stack or source holds it.
const SEPARATOR: char = '~';

/// The name of the archive of one source of one snapshot:
/// `STACK~SOURCE~2026-03-01T06-00-00Z~1of3~SNAPSHOT~REPOSITORY.tar.zst.age`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ArchiveName {
    /// The stack.
    pub stack: String,
    /// The source.
    pub source: String,
    /// When the snapshot was taken, in whole seconds.
    pub time: Timestamp,
    /// Which of the snapshot's sources it is, from 1 on.
    pub number: usize,
    /// How many sources the snapshot has: it is whole where so many archives of it are there.
    pub of: usize,
    /// The snapshot.
    pub snapshot: Id,
    /// The first eight digits of the id of the repository that the snapshot is of, which tells the archives of two hosts apart
    /// where all else is the same. `None`: written before names had this part.
    pub repository: Option<String>,
}

impl fmt::Display for ArchiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stack, source, number, of, snapshot, .. } = self;
        let (time, to, id) = (time_in_name(self.time), SEPARATOR, snapshot.to_hex());
        write!(f, "{stack}{to}{source}{to}{time}{to}{number}of{of}{to}{id}")?;
        self.repository.iter().try_for_each(|repository| write!(f, "{to}{repository}"))?;
        f.write_str(EXTENSION)
    }
}

impl FromStr for ArchiveName {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let stem = name.strip_suffix(EXTENSION).ok_or(())?;
        let parts: Vec<&str> = stem.split(SEPARATOR).collect();
        let [stack, source, time, number, snapshot, ref repository @ ..] = parts[..] else { return Err(()) };
        let (number, of) = number.split_once("of").ok_or(())?;
        let parsed = Self {
            stack: stack.to_owned(),
            source: source.to_owned(),
            time: jiff::civil::DateTime::strptime(TIME_IN_NAME, time)
                .and_then(|time| time.to_zoned(TimeZone::UTC))
                .map_err(drop)?
                .timestamp(),
            number: number.parse().map_err(drop)?,
            of: of.parse().map_err(drop)?,
            snapshot: Id::from_hex(snapshot.as_bytes()).map_err(drop)?,
            repository: repository.first().map(|digits| (*digits).to_owned()),
        };
        // Only what we would write is ours.
        let is_digits = |text: &String| text.len() == 8 && text.bytes().all(|b| b"0123456789abcdef".contains(&b));
        let is_ours = (1..=parsed.of).contains(&parsed.number)
            && !stack.is_empty()
            && !source.is_empty()
            && parsed.repository.as_ref().is_none_or(is_digits);
        if is_ours && parsed.to_string() == name { Ok(parsed) } else { Err(()) }
    }
}

/// ISO 8601 with what no file system and no shell minds.
const TIME_IN_NAME: &str = "%Y-%m-%dT%H-%M-%SZ";

/// A time as names and prefixes show it: UTC, whole seconds.
pub fn time_in_name(time: Timestamp) -> String {
    time.strftime(TIME_IN_NAME).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_says_what_the_archive_is() {
        let name = ArchiveName {
            stack: "cht".to_owned(),
            source: "records.2".to_owned(),
            time: "2026-03-01T06:00:07Z".parse().unwrap(),
            number: 1,
            of: 3,
            snapshot: Id::of(b"snapshot"),
            repository: Some("00ff1234".to_owned()),
        };
        let id = Id::of(b"snapshot").to_hex();
        assert_eq!(name.to_string(), format!("cht~records.2~2026-03-01T06-00-07Z~1of3~{id}~00ff1234.tar.zst.age"));
        assert_eq!(name.to_string().parse(), Ok(name.clone()));
        let early = ArchiveName { repository: None, ..name };
        assert_eq!(early.to_string(), format!("cht~records.2~2026-03-01T06-00-07Z~1of3~{id}.tar.zst.age"));
        assert_eq!(early.to_string().parse(), Ok(early));
        for other in [
            format!("cht~records~2026-03-01T06-00-07Z~1of3~{id}~00FF1234.tar.zst.age"),
            format!("cht~records~2026-03-01T06-00-07Z~1of3~{id}~00ff1234~x.tar.zst.age"),
            format!("cht~records~2026-03-01T06-00-07Z~4of3~{id}.tar.zst.age"),
            format!("cht~records~2026-03-01T06-00-07Z~01of3~{id}.tar.zst.age"),
            format!("cht~records~2026-03-01T06-00-07Z~1of3~{id}.tar.zst"),
            format!("cht~records~2026-13-01T06-00-07Z~1of3~{id}.tar.zst.age"),
            format!("~records~2026-03-01T06-00-07Z~1of3~{id}.tar.zst.age"),
            "cht~records~2026-03-01T06-00-07Z~1of3~ab12.tar.zst.age".to_owned(),
            "notes.tar.zst.age".to_owned(),
        ] {
            assert_eq!(other.parse::<ArchiveName>(), Err(()), "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_name_is_read_back_or_refused(name in "[a-z~0-9Zof.-]{0,90}(\\.tar\\.zst\\.age)?") {
            if let Ok(parsed) = name.parse::<ArchiveName>() {
                prop_assert_eq!(parsed.to_string(), name);
            }
        }
    }
}
