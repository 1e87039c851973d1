//! What the user typed, key by key. Nothing is judged here but the names of keys and the shape of values; all values are
//! raw texts with their places. The comments are the descriptions in the JSON schema. Where a key has a schema of its own,
//! schemars takes it for required, so each section says itself which keys it needs.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::text::{Named, OneOrMany, Text};

/// The configuration of Lifeboat.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "lifeboat.yaml", extend("required" = ["version", "copies", "stacks"]))]
pub struct Document {
    /// The version of this format: 1.
    #[schemars(schema_with = "version")]
    pub version: Option<Text>,
    /// The folder for temporary files of backups and drills; a drill needs room in it for what it restores.
    /// Default: `$STATE_DIRECTORY`, else `/var/lib/lifeboat`, or `~/.local/state/lifeboat` for a plain user.
    pub state_dir: Option<Text>,
    /// The password that opens the backups. Better: `password_file`.
    pub password: Option<Text>,
    /// A file that holds the password and that only its owner may read.
    pub password_file: Option<Text>,
    /// A command that prints the password: a text for `sh -c`, or a list of program and arguments.
    pub password_command: Option<OneOrMany>,
    /// The places that keep the backups, by name.
    pub copies: Option<Named<CopyDocument>>,
    /// The applications to protect, by name.
    pub stacks: Option<Named<StackDocument>>,
}

/// A place that keeps the backups.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "copy", extend("required" = ["url"]))]
pub struct CopyDocument {
    /// A folder, as a path or a `file://` URL.
    pub url: Option<Text>,
    /// What it lies on, such as `disk`, `object` or `tape`: copies on different media count more. Default: `disk`.
    pub media: Option<Text>,
    /// Whether it is at another site than the data. Default: false.
    #[schemars(schema_with = "boolean")]
    pub offsite: Option<Text>,
    /// How the backups are kept there. Only `repository`, which is the default.
    #[schemars(schema_with = "layout")]
    pub layout: Option<Text>,
}

/// An application to protect.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "stack", extend("required" = ["sources"]))]
pub struct StackDocument {
    /// When to back up, as a cron expression such as `0 */4 * * *`.
    pub schedule: Option<Text>,
    /// The time zone of schedules and of retention's days, such as `Africa/Nairobi`. Default: the machine's.
    pub timezone: Option<Text>,
    /// The copies to write to. Default: all.
    pub copies: Option<OneOrMany>,
    /// Which snapshots to keep. Default: last 3, hourly 24, daily 7, weekly 4, monthly 12, yearly 3.
    pub retention: Option<RetentionDocument>,
    /// Drills: regular test restores.
    pub drill: Option<DrillDocument>,
    /// How old the newest backup may be, such as `6h`.
    #[schemars(schema_with = "duration")]
    pub rpo: Option<Text>,
    /// How long a restore may take, such as `2h`.
    #[schemars(schema_with = "duration")]
    pub rto: Option<Text>,
    /// Commands to run before a backup, each a text for `sh -c` or a list of program and arguments. If one fails, the
    /// run fails.
    pub before: Option<Vec<OneOrMany>>,
    /// What holds the data, by name.
    pub sources: Option<Named<SourceDocument>>,
}

/// Which snapshots to keep: one that any of these rules keeps. The newest, and the newest that passed a drill, stay
/// whatever the rules say.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "retention", extend("required" = []))]
pub struct RetentionDocument {
    /// The newest so many.
    #[schemars(schema_with = "count")]
    pub last: Option<Text>,
    /// The newest of each of so many hours.
    #[schemars(schema_with = "count")]
    pub hourly: Option<Text>,
    /// The newest of each of so many days.
    #[schemars(schema_with = "count")]
    pub daily: Option<Text>,
    /// The newest of each of so many weeks.
    #[schemars(schema_with = "count")]
    pub weekly: Option<Text>,
    /// The newest of each of so many months.
    #[schemars(schema_with = "count")]
    pub monthly: Option<Text>,
    /// The newest of each of so many years.
    #[schemars(schema_with = "count")]
    pub yearly: Option<Text>,
    /// All within this time before the newest.
    #[schemars(schema_with = "within")]
    pub within: Option<Text>,
    /// The newest of each hour within this time before the newest.
    #[schemars(schema_with = "within")]
    pub within_hourly: Option<Text>,
    /// The newest of each day within this time before the newest.
    #[schemars(schema_with = "within")]
    pub within_daily: Option<Text>,
    /// The newest of each week within this time before the newest.
    #[schemars(schema_with = "within")]
    pub within_weekly: Option<Text>,
    /// The newest of each month within this time before the newest.
    #[schemars(schema_with = "within")]
    pub within_monthly: Option<Text>,
    /// The newest of each year within this time before the newest.
    #[schemars(schema_with = "within")]
    pub within_yearly: Option<Text>,
    /// All that have one of these tags. `a,b` stands for both tags at once.
    pub tags: Option<OneOrMany>,
}

/// Drills: regular test restores.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "drill", extend("required" = []))]
pub struct DrillDocument {
    /// When to drill, as a cron expression such as `0 6 * * 0`.
    pub schedule: Option<Text>,
    /// 0: listed. 1: every byte read back. 2: structure checked. 3: restored and compared, which is the default.
    #[schemars(schema_with = "level")]
    pub level: Option<Text>,
}

/// What holds data: one kind with its options.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "source", extend("minProperties" = 1, "maxProperties" = 1))]
pub struct SourceDocument {
    /// Files and folders.
    pub files: Option<FilesDocument>,
    /// SQLite databases, copied consistently while they are in use.
    pub sqlite: Option<SqliteDocument>,
    /// A Compose project: its files and the env files they name.
    pub compose: Option<ComposeDocument>,
    /// What a command prints.
    pub command: Option<CommandDocument>,
}

/// Files and folders.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "files", extend("required" = ["paths"]))]
pub struct FilesDocument {
    /// Files and folders; relative to the folder of this configuration.
    pub paths: Option<OneOrMany>,
    /// What to leave out, as gitignore patterns.
    pub exclude: Option<OneOrMany>,
    /// Leave out folders that hold a `CACHEDIR.TAG`. Default: false.
    #[schemars(schema_with = "boolean")]
    pub exclude_caches: Option<Text>,
    /// Stay on the file system that each path is on. Default: false.
    #[schemars(schema_with = "boolean")]
    pub one_file_system: Option<Text>,
    /// Files that only ever grow, as gitignore patterns: only what was added to them is read. Default: `*.couch`,
    /// `*.view`.
    pub append_only: Option<OneOrMany>,
    /// How often such files are read in full all the same. Default: `7d`.
    #[schemars(schema_with = "duration")]
    pub full_read: Option<Text>,
}

/// SQLite databases.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "sqlite", extend("required" = ["paths"]))]
pub struct SqliteDocument {
    /// Databases, folders to look for them in, or globs.
    pub paths: Option<OneOrMany>,
    /// What to leave out, as gitignore patterns.
    pub exclude: Option<OneOrMany>,
}

/// A Compose project.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "compose", extend("required" = ["files"]))]
pub struct ComposeDocument {
    /// Compose files, or globs.
    pub files: Option<OneOrMany>,
    /// Env files besides those that the compose files name.
    pub env: Option<OneOrMany>,
    /// The project's name, where it is not that of the folder.
    pub project: Option<Text>,
}

/// What a command prints.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "command", extend("required" = ["run"]))]
pub struct CommandDocument {
    /// A text for `sh -c`, or a list of program and arguments. In a text the shell itself replaces `${VAR}`, so no list of
    /// processes shows what it holds; in a list it becomes an argument, so keep secrets out of it.
    pub run: Option<OneOrMany>,
    /// The name of the file in the snapshot. Default: the source's name.
    pub name: Option<Text>,
    /// A text that must end the output; without it, the run fails.
    pub trailer: Option<Text>,
}

// Values that are not texts may still come out of the environment, so each of these allows `${VAR}`.

fn version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "const": 1 })
}

fn boolean(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "type": "boolean" }, { "type": "string", "pattern": "^\\$\\{" }] })
}

fn count(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [
        { "type": "integer", "minimum": 0 },
        { "const": "all" },
        { "type": "string", "pattern": "^\\$\\{" },
    ] })
}

fn level(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [
        { "type": "integer", "minimum": 0, "maximum": 3 },
        { "type": "string", "pattern": "^\\$\\{" },
    ] })
}

fn layout(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "const": "repository" })
}

fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^([0-9]+[smhdw])+$|\\$\\{" })
}

fn within(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^([0-9]+[ymdh])+$|\\$\\{" })
}
