//! A mistake in the configuration, on its way to the user: `lifeboat.yaml:12:7: stacks.cht.rpo: what is wrong`.

use std::path::Path;

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Error, MessageFormatter, Spanned, UserMessageFormatter};

use super::text::{Place, Text};
use crate::{Fault, FaultKind};

/// Keys of a source that are no kind of it.
const BESIDE_KIND: [&str; 3] = ["schedule", "before", "after"];
/// Kinds of source that the format has and later versions read.
const KINDS_LATER: [&str; 1] = ["mongodb"];
/// What some kinds are called elsewhere, and here.
const OTHER_NAMES: [(&str, &str); 3] = [("mariadb", "mysql"), ("valkey", "redis"), ("postgresql", "postgres")];

/// Something in the configuration that cannot be.
pub struct Mistake {
    /// Where. The field is found from it.
    place: Option<Place>,
    what: String,
    hint: Option<String>,
}

impl Mistake {
    /// A mistake at `place`.
    pub fn at(place: Place, what: impl Into<String>) -> Self {
        Self { place: Some(place), what: what.into(), hint: None }
    }

    /// A mistake of the file as a whole.
    pub fn of_file(what: impl Into<String>) -> Self {
        Self { place: None, what: what.into(), hint: None }
    }

    /// Says what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `name` is none of `known`: suggests the nearest and lists all.
    pub fn unknown(place: Place, what: impl Into<String>, name: &str, known: &[&str]) -> Self {
        let all = format!("known here: {}", known.join(", "));
        let hint = match nearest(name, known) {
            Some(near) => format!("did you mean `{near}`? {all}"),
            None => all,
        };
        Self::at(place, what).with_hint(hint)
    }

    /// The fault for the user, given the file's name and text.
    pub fn into_fault(self, file: &Path, text: &str) -> Fault {
        let (line, column) = self.place.map_or((1, 1), |place| (place.line, place.column));
        // The reader gives the place of the key for some mistakes in a value.
        let field_of = |place| field_at(text, place).or_else(|| field_at(text, Place { of_key: true, ..place }));
        let field = self.place.and_then(field_of).map_or(String::new(), |field| field + ": ");
        let fault = Fault::new(FaultKind::Config, format!("{}:{line}:{column}: {field}{}", file.display(), self.what));
        self.hint.into_iter().fold(fault, Fault::with_hint)
    }
}

impl From<&Error> for Mistake {
    /// Says the YAML reader's errors in the words of the configuration, without the values it quotes: they may be
    /// secrets.
    fn from(error: &Error) -> Self {
        let at = |what: String| Self { place: error.location().map(Place::value), what, hint: None };
        let at_key = |what: String| Self { place: error.location().map(Place::key), what, hint: None };
        match error.without_snippet() {
            Error::AliasError { error, .. } => Self { place: at(String::new()).place, ..Self::from(&**error) },
            Error::SerdeUnknownField { field, expected, .. } => {
                let later = "is not supported by this version of Lifeboat";
                if expected.contains(&"sqlite") && KINDS_LATER.contains(&field.as_str()) {
                    let kinds: Vec<&str> = expected.iter().copied().filter(|key| !BESIDE_KIND.contains(key)).collect();
                    return at_key(format!("kind `{field}` {later}"))
                        .with_hint(format!("it comes with a later one; this one has {}", kinds.join(", ")));
                }
                let here = OTHER_NAMES.iter().find(|(other, _)| expected.contains(&"sqlite") && other == field);
                if let Some((other, here)) = here {
                    return at_key(format!("unknown kind of source `{other}`"))
                        .with_hint(format!("write `{here}`, which is for {other} too"));
                }
                let what = if expected.contains(&"sqlite") { "unknown kind of source" } else { "unknown key" };
                match error.location() {
                    Some(place) => Self::unknown(Place::key(place), format!("{what} `{field}`"), field, expected),
                    None => at_key(format!("{what} `{field}`")),
                }
            }
            Error::DuplicateMappingKey { key, .. } => {
                let key = key.as_ref().map_or("this key".to_owned(), |key| format!("`{key}`"));
                at_key(format!("{key} is given twice")).with_hint("remove one of the two")
            }
            Error::Unexpected { expected: "string scalar", .. } => {
                at("expected a single value here".to_owned()).with_hint("write one text, without [ ] and { } around it")
            }
            Error::Unexpected { expected: "sequence start", .. } => {
                at("expected a list here".to_owned()).with_hint("write [a, b], or one item a line, each after `- `")
            }
            Error::Unexpected { expected: "mapping start", .. } => at("expected keys and values here".to_owned())
                .with_hint("write {key: value}, or one `key: value` a line, indented"),
            Error::SerdeInvalidType { expected, .. } => {
                at(format!("expected {expected}")).with_hint("write a text or [text, text]; numbers need quotes")
            }
            Error::NullIntoString { .. } => {
                at("there is no value here".to_owned()).with_hint("write one, or remove what stands before it")
            }
            Error::MultipleDocuments { .. } => at("the file holds more than one YAML document".to_owned())
                .with_hint("remove the line `---` and what does not belong here"),
            Error::UnknownAnchor { .. } => {
                at("a text that begins with `*` needs quotes".to_owned()).with_hint("write it like \"*.log\"")
            }
            Error::ExternalMessage { .. } => {
                let message = UserMessageFormatter.format_message(error.without_snippet()).into_owned();
                at(format!("this is not YAML: {message}")).with_hint(
                    "texts that hold `: ` or ` #`, or begin with one of * & ! | > % @ ` { [, need quotes, and so does ${VAR} between { } or [ ]; indent with spaces",
                )
            }
            _ => {
                at("this cannot be read as YAML".to_owned()).with_hint("put texts with unusual characters into quotes")
            }
        }
    }
}

/// The one of `known` that `name` was probably meant to be.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let normal = |text: &str| text.to_lowercase().replace('-', "_");
    let distance = |known: &&&str| strsim::damerau_levenshtein(&normal(name), &normal(known));
    // restic's users write `keep_daily` for `daily`.
    let is_tail = |known: &&&str| known.len() > 3 && normal(name).ends_with(&normal(known));
    if let Some(known) = known.iter().find(is_tail) {
        return Some(*known);
    }
    let near = known.iter().min_by_key(distance)?;
    (distance(&near) <= (near.chars().count() / 3).max(1)).then_some(*near)
}

/// The dotted name of what stands at `place`, such as `stacks.cht.sources.data.files.paths[1]`. `None` for the file as a
/// whole and where the text is not YAML.
fn field_at(text: &str, place: Place) -> Option<String> {
    // Of a key that is given twice, the reader reports the second.
    let options = serde_saphyr::options! { with_snippet: false, duplicate_keys: DuplicateKeyPolicy::LastWins };
    let tree = serde_saphyr::from_str_with_options::<Tree>(text, options).ok()?;
    let mut parts = Vec::new();
    let found = tree.find(place, &mut parts) && !parts.is_empty();
    found.then(|| parts.concat().trim_start_matches('.').to_owned())
}

/// Any YAML, for the places alone.
struct Tree {
    place: Place,
    inner: Inner,
}

enum Inner {
    Leaf,
    List(Vec<Tree>),
    Map(Vec<(Text, Tree)>),
}

impl Tree {
    fn find(&self, place: Place, parts: &mut Vec<String>) -> bool {
        if !place.of_key && self.place == place {
            return true;
        }
        match &self.inner {
            Inner::Leaf => false,
            Inner::List(items) => items.iter().enumerate().any(|(number, item)| {
                parts.push(format!("[{number}]"));
                let found = item.find(place, parts);
                if !found {
                    parts.pop();
                }
                found
            }),
            Inner::Map(entries) => entries.iter().any(|(key, value)| {
                parts.push(format!(".{}", *key.raw));
                let is_key = place.of_key && (key.place.line, key.place.column) == (place.line, place.column);
                let found = is_key || value.find(place, parts);
                if !found {
                    parts.pop();
                }
                found
            }),
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Inner>::deserialize(deserializer)?;
        Ok(Self { place: Place::value(spanned.referenced), inner: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Inner {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Inner;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("any YAML")
            }

            fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<Inner, E> {
                Ok(Inner::Leaf)
            }

            fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<Inner, E> {
                Ok(Inner::Leaf)
            }

            fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<Inner, E> {
                Ok(Inner::Leaf)
            }

            fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<Inner, E> {
                Ok(Inner::Leaf)
            }

            fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Inner, E> {
                Ok(Inner::Leaf)
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Inner, E> {
                Ok(Inner::Leaf)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Inner, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Inner::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Inner, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Inner::Map(entries))
            }
        }

        deserializer.deserialize_any(Any)
    }
}
