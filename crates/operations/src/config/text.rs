//! Values as they were typed, each with its place, so that every later mistake can point at it.

use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::{Location, Spanned};
use zeroize::Zeroizing;

/// A value of any simple kind: text, number, yes or no. `${VAR}` is not replaced yet. Wiped when dropped, since any may
/// be a secret; so it has no `Debug` either.
#[derive(Clone)]
pub struct Text {
    /// The text between the quotes, if there are any.
    pub raw: Zeroizing<String>,
    /// Where it stands.
    pub place: Place,
}

/// Where something stands in a file, counted from 1, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
    /// A map and its first key begin at the same place. This tells which of the two is meant.
    pub of_key: bool,
}

impl Place {
    /// The place of a value.
    pub fn value(location: Location) -> Self {
        Self { line: location.line(), column: location.column(), of_key: false }
    }

    /// The place of a key.
    pub fn key(location: Location) -> Self {
        Self { of_key: true, ..Self::value(location) }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<String>::deserialize(deserializer)?;
        Ok(Self { raw: Zeroizing::new(spanned.value), place: Place::value(spanned.referenced) })
    }
}

impl JsonSchema for Text {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Text".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string" })
    }
}

/// Things by name, in the order of the file.
pub struct Named<T>(pub Vec<(Text, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Names<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("names, each with what belongs to it")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut named = Vec::new();
                while let Some(mut name) = map.next_key::<Text>()? {
                    name.place.of_key = true;
                    named.push((name, map.next_value()?));
                }
                Ok(Named(named))
            }
        }

        deserializer.deserialize_map(Names(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        format!("Named{}", T::schema_name()).into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "additionalProperties": generator.subschema_for::<T>() })
    }
}

/// One text or a list of texts. serde's `untagged` would lose the places.
pub enum OneOrMany {
    /// One text.
    One(Text),
    /// A list and where it stands.
    Many(Vec<Text>, Place),
}

impl OneOrMany {
    /// Where it stands.
    pub fn place(&self) -> Place {
        match self {
            Self::One(text) => text.place,
            Self::Many(_, place) => *place,
        }
    }

    /// The texts, where one stands for a list of one.
    pub fn texts(&self) -> &[Text] {
        match self {
            Self::One(text) => std::slice::from_ref(text),
            Self::Many(texts, _) => texts,
        }
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<TextOrList>::deserialize(deserializer)?;
        let place = Place::value(spanned.referenced);
        Ok(match spanned.value {
            TextOrList::Text(raw) => Self::One(Text { raw: Zeroizing::new(raw), place }),
            TextOrList::List(texts) => Self::Many(texts, place),
        })
    }
}

impl JsonSchema for OneOrMany {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TextOrList".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" } }] })
    }
}

enum TextOrList {
    Text(String),
    List(Vec<Text>),
}

impl<'de> Deserialize<'de> for TextOrList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = TextOrList;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a text or a list of texts")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<TextOrList, E> {
                Ok(TextOrList::Text(text.to_owned()))
            }

            // `run: true` is the command of that name. Numbers are refused: what was typed as 0x10 would arrive as 16.
            fn visit_bool<E: Error>(self, value: bool) -> Result<TextOrList, E> {
                Ok(TextOrList::Text(value.to_string()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<TextOrList, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(TextOrList::List(texts))
            }
        }

        deserializer.deserialize_any(Either)
    }
}
