//! Archive copies: what the configuration says of them. They hold one `tar`, `zstd`, `age` object for each source of each
//! snapshot, below a prefix that is filled in for each.

use std::fmt;

use archive::ArchiveName;
use archive::name::time_in_name;
use serde::{Serialize, Serializer};

use super::secret::SecretSource;

/// How an archive copy names and encrypts its objects.
#[derive(Clone, Debug, PartialEq)]
pub struct ArchiveSettings {
    /// The folder of each object.
    pub prefix: PrefixTemplate,
    /// To whom objects are encrypted.
    pub key: ArchiveKey,
}

/// What opens an archive copy's objects.
#[derive(Clone, Debug, PartialEq)]
pub enum ArchiveKey {
    /// The holders of these public keys, as `age` takes them. At least one.
    Recipients(Vec<String>),
    /// Whoever knows this passphrase.
    Passphrase(SecretSource),
}

/// A path with places to fill in. `${…}` in it means these places and never the environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixTemplate {
    parts: Vec<PrefixPart>,
}

/// A part of a [`PrefixTemplate`].
#[derive(Clone, Debug, PartialEq, Eq)]
enum PrefixPart {
    /// What stands there.
    Text(String),
    /// `${stack}`: the stack's name.
    Stack,
    /// `${source}`: the source's name.
    Source,
    /// `${host}`: the host's name.
    Host,
    /// `${iso_date()}`: the snapshot's day in UTC, such as `2026-03-01`.
    IsoDate,
    /// `${iso_datetime()}`: the snapshot's time in UTC, such as `2026-03-01T06-00-00Z`.
    IsoDateTime,
}

/// Every place, by the name it is written with.
const PLACES: [(&str, PrefixPart); 5] = [
    ("stack", PrefixPart::Stack),
    ("source", PrefixPart::Source),
    ("host", PrefixPart::Host),
    ("iso_date()", PrefixPart::IsoDate),
    ("iso_datetime()", PrefixPart::IsoDateTime),
];

impl PrefixTemplate {
    /// A template that keeps every snapshot's objects apart.
    pub fn preset() -> Self {
        Self { parts: vec![PrefixPart::Stack, PrefixPart::Text("/".to_owned()), PrefixPart::IsoDateTime] }
    }

    /// Reads a template; `$$` is a dollar. The error is for the user: what is wrong, and what to do.
    pub fn parse(text: &str) -> Result<Self, (String, &'static str)> {
        let places = "known here: ${stack}, ${source}, ${host}, ${iso_date()}, ${iso_datetime()}; $$ is a plain dollar";
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text.trim_matches('/');
        while let Some(dollar) = rest.find('$') {
            plain.push_str(&rest[..dollar]);
            rest = &rest[dollar + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                plain.push('$');
                rest = after;
                continue;
            }
            let inner = rest.strip_prefix('{').ok_or_else(|| ("a `$` stands alone here".to_owned(), places))?;
            let (name, after) =
                inner.split_once('}').ok_or_else(|| ("`${` is not closed by `}`".to_owned(), places))?;
            let (_, part) = PLACES
                .iter()
                .find(|(known, _)| *known == name)
                .ok_or_else(|| (format!("`${{{name}}}` is no place to fill in"), places))?;
            if !plain.is_empty() {
                parts.push(PrefixPart::Text(std::mem::take(&mut plain)));
            }
            parts.push(part.clone());
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(PrefixPart::Text(plain));
        }
        let template = Self { parts };
        let is_plain = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
        if !template.to_string().split('/').all(is_plain) {
            return Err(("no part of the path may be empty, `.` or `..`".to_owned(), "write the path out"));
        }
        Ok(template)
    }

    /// The folder of an archive of the snapshot that was taken on `host`.
    pub fn fill(&self, name: &ArchiveName, host: &str) -> String {
        let fill = |part: &PrefixPart| match part {
            PrefixPart::Text(text) => text.clone(),
            PrefixPart::Stack => name.stack.clone(),
            PrefixPart::Source => name.source.clone(),
            // What a host calls itself must not lead elsewhere.
            PrefixPart::Host if matches!(host, "" | "." | "..") => "-".to_owned(),
            PrefixPart::Host => host.replace(['/', '\0'], "-"),
            PrefixPart::IsoDate => name.time.strftime("%Y-%m-%d").to_string(),
            PrefixPart::IsoDateTime => time_in_name(name.time),
        };
        self.parts.iter().map(fill).collect()
    }

    /// The folder that all archives lie below, whatever is filled in; empty where they lie anywhere.
    pub fn common_folder(&self) -> &str {
        let text = match self.parts.first() {
            Some(PrefixPart::Text(text)) => text.as_str(),
            _ => "",
        };
        if self.parts.len() < 2 { text } else { text.rsplit_once('/').map_or("", |(folder, _)| folder) }
    }
}

impl fmt::Display for PrefixTemplate {
    /// As it is typed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                PrefixPart::Text(text) => f.write_str(&text.replace('$', "$$"))?,
                place => {
                    let name = PLACES.iter().find(|(_, known)| known == place).map_or("", |(name, _)| name);
                    write!(f, "${{{name}}}")?;
                }
            }
        }
        Ok(())
    }
}

impl Serialize for PrefixTemplate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn places_are_found_and_text_between_them_is_kept() {
        let read = |text: &str| PrefixTemplate::parse(text).map(|template| template.parts);
        let text = |text: &str| PrefixPart::Text(text.to_owned());
        assert_eq!(
            read("/a-${stack}/${iso_date()}${iso_datetime()}/${source}.${host}/$$x/"),
            Ok(vec![
                text("a-"),
                PrefixPart::Stack,
                text("/"),
                PrefixPart::IsoDate,
                PrefixPart::IsoDateTime,
                text("/"),
                PrefixPart::Source,
                text("."),
                PrefixPart::Host,
                text("/$x"),
            ])
        );
        assert_eq!(read(&PrefixTemplate::preset().to_string()), Ok(PrefixTemplate::preset().parts));
        for (bad, what) in [
            ("${HOME}/x", "`${HOME}` is no place to fill in"),
            ("${iso_date}", "`${iso_date}` is no place to fill in"),
            ("${stack", "`${` is not closed by `}`"),
            ("a$b", "a `$` stands alone here"),
            ("", "no part of the path may be empty, `.` or `..`"),
            ("a/../b", "no part of the path may be empty, `.` or `..`"),
        ] {
            assert_eq!(read(bad).unwrap_err().0, what, "{bad}");
        }
    }

    #[test]
    fn places_are_filled_in_with_what_the_archive_is() {
        let name = ArchiveName {
            stack: "cht".to_owned(),
            source: "records".to_owned(),
            time: "2026-03-01T06:00:07Z".parse().unwrap(),
            number: 1,
            of: 3,
            snapshot: repository::Id::ZERO,
            repository: None,
        };
        let template = |text: &str| PrefixTemplate::parse(text).unwrap();
        let all = template("db/x-${stack}/${source}.${host}/${iso_date()}/${iso_datetime()}");
        assert_eq!(all.fill(&name, "h/1"), "db/x-cht/records.h-1/2026-03-01/2026-03-01T06-00-07Z");
        assert_eq!(all.common_folder(), "db");
        assert_eq!(template("db/all").common_folder(), "db/all");
        assert_eq!(template("x-${stack}").common_folder(), "");
        assert_eq!(PrefixTemplate::preset().common_folder(), "");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(text in "(a|/|\\$\\$|\\$\\{stack\\}|\\$\\{iso_date\\(\\)\\}|[$.{}]){0,8}") {
            if let Ok(template) = PrefixTemplate::parse(&text) {
                prop_assert_eq!(PrefixTemplate::parse(&template.to_string()), Ok(template));
            }
        }
    }
}
