//! What is done around a capture: commands before and after it, and containers that stand still meanwhile. As it is typed,
//! and what it means.

use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_saphyr::Spanned;
use zeroize::Zeroizing;

use super::document::{duration, halt};
use super::secret::CommandLine;
use super::settings::{ContainerSettings, HaltSettings};
use super::show;
use super::text::{OneOrMany, Place, Text};

/// How long a hook may take where nothing is said. Some write a dump.
pub const TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// How long containers may stand still where nothing is said: most clients wait for as long.
pub const MAX_DOWNTIME: Duration = Duration::from_secs(60);

/// A command before or after a capture: the command alone, or with its options.
pub enum HookDocument {
    /// The command.
    Line(OneOrMany),
    /// The command and its options.
    Options(Box<HookOptionsDocument>, Place),
}

/// A command before or after a capture, with its options.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "hook", extend("required" = ["run"]))]
pub struct HookOptionsDocument {
    /// A text for a shell, or a list of program and arguments. In a text the shell itself replaces `${VAR}`, so no list of
    /// processes shows what it holds; in a list it becomes an argument, so keep secrets out of it.
    pub run: Option<OneOrMany>,
    /// The Compose service in whose container it runs. Default: on this machine.
    pub service: Option<Text>,
    /// The project, where several have such a service.
    pub project: Option<Text>,
    /// The name of the container that it runs in, instead of a service.
    pub container: Option<Text>,
    /// After this long it is ended, and has failed. Default: `1h`.
    #[schemars(schema_with = "duration")]
    pub timeout: Option<Text>,
    /// What to do where it fails. `fail`: the run has failed, and before a capture nothing is captured. `warn`: the run goes on, and
    /// is partial. `continue`: the run goes on, and its result does not change. Default: `fail`.
    #[schemars(schema_with = "on_error")]
    pub on_error: Option<Text>,
}

/// Containers that stand still while the sources of a stack are read.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "freeze", extend("required" = ["mode"], "anyOf" = [{"required": ["services"]}, {"required": ["containers"]}]))]
pub struct FreezeDocument {
    /// `pause`: their processes are held, and go on. `stop`: they end, and are started again, so that what they had not written
    /// yet is on disk.
    #[schemars(schema_with = "halt")]
    pub mode: Option<Text>,
    /// Compose services; all containers of each.
    pub services: Option<OneOrMany>,
    /// The project, where several have such services.
    pub project: Option<Text>,
    /// Names of containers.
    pub containers: Option<OneOrMany>,
    /// After this long they go on, whatever is still to be read; the run is then partial. Default: `60s`.
    #[schemars(schema_with = "duration")]
    pub max_downtime: Option<Text>,
}

fn on_error(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["fail", "warn", "continue"] })
}

impl<'de> Deserialize<'de> for HookDocument {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Typed>::deserialize(deserializer)?;
        let place = Place::value(spanned.referenced);
        Ok(match spanned.value {
            Typed::Text(raw) => Self::Line(OneOrMany::One(Text { raw: Zeroizing::new(raw), place })),
            Typed::List(texts) => Self::Line(OneOrMany::Many(texts, place)),
            Typed::Options(options) => Self::Options(options, place),
        })
    }
}

impl JsonSchema for HookDocument {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TextListOrHook".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string" },
            { "type": "array", "items": { "type": "string" } },
            generator.subschema_for::<HookOptionsDocument>(),
        ] })
    }
}

enum Typed {
    Text(String),
    List(Vec<Text>),
    Options(Box<HookOptionsDocument>),
}

impl<'de> Deserialize<'de> for Typed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyOfThem;

        impl<'de> Visitor<'de> for AnyOfThem {
            type Value = Typed;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a text, a list of texts, or `run` with its options")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Typed, E> {
                Ok(Typed::Text(text.to_owned()))
            }

            // `true` is the command of that name, as in `run` of a source.
            fn visit_bool<E: Error>(self, value: bool) -> Result<Typed, E> {
                Ok(Typed::Text(value.to_string()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Typed, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Typed::List(texts))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Typed, A::Error> {
                let options = HookOptionsDocument::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Typed::Options(Box::new(options)))
            }
        }

        deserializer.deserialize_any(AnyOfThem)
    }
}

/// The commands before and after a capture, each in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Hooks {
    /// Those before it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<HookSettings>,
    /// Those after it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<HookSettings>,
}

/// A command before or after a capture. On this machine it runs in the folder of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HookSettings {
    /// The command.
    pub run: CommandLine,
    /// The container that it runs in.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerSettings>,
    /// How long it may take.
    #[serde(serialize_with = "show::duration")]
    pub timeout: Duration,
    /// What to do where it fails.
    pub on_error: OnError,
}

impl HookSettings {
    /// A command of this machine that must work.
    pub fn new(run: CommandLine) -> Self {
        Self { run, container: None, timeout: TIMEOUT, on_error: OnError::Fail }
    }
}

/// What to do where a hook fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnError {
    /// The run has failed. Before a capture, nothing is captured.
    Fail,
    /// The run goes on, and is partial.
    Warn,
    /// The run goes on as if nothing were wrong, which is told all the same.
    Continue,
}

/// Containers that stand still while the sources are read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FreezeSettings {
    /// How.
    pub mode: HaltSettings,
    /// Compose services. These and the containers are at least one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<String>,
    /// The project, where several have such services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Names of containers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<String>,
    /// After this long they go on.
    #[serde(serialize_with = "show::duration")]
    pub max_downtime: Duration,
}
