//! What the user typed, key by key. Nothing is judged here but the names of keys and the shape of values; all values are
//! raw texts with their places. The comments are the descriptions in the JSON schema. Where a key has a schema of its own,
//! schemars takes it for required, so each section says itself which keys it needs.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;

use super::hook::{FreezeDocument, HookDocument};
use super::jobs::JobsDocument;
use super::notifications::NotificationsDocument;
use super::server::ServerDocument;
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
    /// The places that keep the backups, by name, the one to prefer first.
    pub copies: Option<Named<CopyDocument>>,
    /// The applications to protect, by name.
    pub stacks: Option<Named<StackDocument>>,
    /// What `lifeboat serve` does by itself besides the backups and drills of stacks.
    pub jobs: Option<JobsDocument>,
    /// Where `lifeboat serve` is reached.
    pub server: Option<ServerDocument>,
    /// Whom `lifeboat serve` tells what is wrong.
    pub notifications: Option<NotificationsDocument>,
}

/// A place that keeps the backups.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "copy", extend("required" = ["url"]))]
pub struct CopyDocument {
    /// A folder, as a path or a `file://` URL; `s3://bucket/prefix`; `azblob://container/prefix`; `gs://bucket/prefix`
    /// (Google Cloud Storage); `b2://bucket/prefix` (Backblaze B2); `webdavs://host:port/path` (WebDAV over HTTPS;
    /// `webdav://` goes over HTTP, which encrypts nothing on the way); or `sftp://user@host:port/path`, where a path that begins with two slashes begins at the root, and any other where a
    /// login starts. Never holds a secret.
    pub url: Option<Text>,
    /// What it lies on, such as `disk`, `object` or `tape`: copies on different media count more. Default: `object` for
    /// `s3://`, `azblob://`, `gs://` and `b2://`, else `disk`.
    pub media: Option<Text>,
    /// Whether it is at another site than the data. Default: false.
    #[schemars(schema_with = "boolean")]
    pub offsite: Option<Text>,
    /// Whether nobody can change or delete what is in it for a time, not even with its credentials: object lock, or a
    /// server that only adds. Lifeboat believes it. Default: false.
    #[schemars(schema_with = "boolean")]
    pub immutable: Option<Text>,
    /// Whether it may be absent, such as a disk that is put into a drawer. Default: false.
    #[schemars(schema_with = "boolean")]
    pub removable: Option<Text>,
    /// The name of the place it stands at: copies at one site are lost together.
    pub site: Option<Text>,
    /// Who runs it, such as `hetzner` or `nas`. Default: the server's name, or this machine for a folder.
    pub provider: Option<Text>,
    /// With `azblob://`, the storage account. Else a name for the account it is in: copies of one account are lost
    /// together.
    pub account: Option<Text>,
    /// With `s3://`, the region to ask for. Else a name for the region it is in: copies of one region are lost together.
    pub region: Option<Text>,
    /// With `s3://`: the server, as `https://host:port`; default: Amazon's. With `azblob://` and `account`: the server, as
    /// `https://ACCOUNT.blob.core.usgovcloudapi.net`; default: the account's own in Azure's public cloud.
    pub endpoint: Option<Text>,
    /// With `s3://`: the id of the access key. Default: what the platform says, such as an instance's role.
    pub access_key_id: Option<Text>,
    /// A file that holds the id of the access key.
    pub access_key_id_file: Option<Text>,
    /// A command that prints the id of the access key.
    pub access_key_id_command: Option<OneOrMany>,
    /// With `s3://`: the secret of the access key. Better: `secret_access_key_file`.
    pub secret_access_key: Option<Text>,
    /// A file that holds the secret of the access key and that only its owner may read.
    pub secret_access_key_file: Option<Text>,
    /// A command that prints the secret of the access key.
    pub secret_access_key_command: Option<OneOrMany>,
    /// With `s3://`: the session's token, where the access key is a temporary one.
    pub session_token: Option<Text>,
    /// A file that holds the session's token and that only its owner may read.
    pub session_token_file: Option<Text>,
    /// A command that prints the session's token.
    pub session_token_command: Option<OneOrMany>,
    /// With `azblob://`: the connection string of the account. Better: `connection_string_file`.
    pub connection_string: Option<Text>,
    /// A file that holds the connection string and that only its owner may read.
    pub connection_string_file: Option<Text>,
    /// A command that prints the connection string.
    pub connection_string_command: Option<OneOrMany>,
    /// With `azblob://`: a key of `account`. Better: `account_key_file`.
    pub account_key: Option<Text>,
    /// A file that holds the key of `account` and that only its owner may read.
    pub account_key_file: Option<Text>,
    /// A command that prints the key of `account`.
    pub account_key_command: Option<OneOrMany>,
    /// With `azblob://`: a shared access signature of `account`. Better: `sas_token_file`.
    pub sas_token: Option<Text>,
    /// A file that holds the shared access signature and that only its owner may read.
    pub sas_token_file: Option<Text>,
    /// A command that prints the shared access signature.
    pub sas_token_command: Option<OneOrMany>,
    /// With `gs://`: a file with the key of a service account that only its owner may read. Default: what the platform
    /// says, such as a machine's service account.
    pub credential_file: Option<Text>,
    /// With `b2://`: the bucket's id, which stands beside its name on Backblaze's page of buckets.
    pub bucket_id: Option<Text>,
    /// With `b2://`: the id of the application key.
    pub application_key_id: Option<Text>,
    /// A file that holds the id of the application key.
    pub application_key_id_file: Option<Text>,
    /// A command that prints the id of the application key.
    pub application_key_id_command: Option<OneOrMany>,
    /// With `b2://`: the application key. Better: `application_key_file`.
    pub application_key: Option<Text>,
    /// A file that holds the application key and that only its owner may read.
    pub application_key_file: Option<Text>,
    /// A command that prints the application key.
    pub application_key_command: Option<OneOrMany>,
    /// With `webdavs://`: who logs in. Default: nobody, for a server that asks for no login.
    pub login_user: Option<Text>,
    /// With `webdavs://`: the password of `login_user`. Better: `login_password_file`.
    pub login_password: Option<Text>,
    /// A file that holds the password of `login_user` and that only its owner may read.
    pub login_password_file: Option<Text>,
    /// A command that prints the password of `login_user`.
    pub login_password_command: Option<OneOrMany>,
    /// With `sftp://`: the private key. Default: the keys of an ssh-agent, or those in `~/.ssh`.
    pub private_key_file: Option<Text>,
    /// With `sftp://`: the keys of known hosts. Default: `~/.ssh/known_hosts`.
    pub known_hosts_file: Option<Text>,
    /// This copy's own password. Better: `password_file`. Default: the one for all copies.
    pub password: Option<Text>,
    /// A file that holds this copy's own password and that only its owner may read.
    pub password_file: Option<Text>,
    /// A command that prints this copy's own password.
    pub password_command: Option<OneOrMany>,
    /// Which snapshots to keep in this copy. Default: what the stack says.
    pub retention: Option<RetentionDocument>,
    /// How fast to write to it, such as `8MiB/s` or `20Mbit/s`. Default: as fast as it goes.
    #[schemars(schema_with = "rate")]
    pub upload_limit: Option<Text>,
    /// How fast to read from it, such as `8MiB/s` or `20Mbit/s`. Default: as fast as it goes.
    #[schemars(schema_with = "rate")]
    pub download_limit: Option<Text>,
    /// How the backups are kept: `repository`, which is the default, or `archive`: one object for each source of each
    /// snapshot, which `age`, `zstd` and `tar` open without Lifeboat.
    #[schemars(schema_with = "layout")]
    pub layout: Option<Text>,
    /// With `layout: archive`: the folder of each object, with `${stack}`, `${source}`, `${host}`, `${iso_date()}` and
    /// `${iso_datetime()}` to be filled in. Default: `${stack}/${iso_datetime()}`.
    pub prefix: Option<Text>,
    /// With `layout: archive`: the public keys to encrypt to, as `age` takes them.
    pub recipients: Option<OneOrMany>,
    /// With `layout: archive`: a passphrase instead of recipients. Better: `passphrase_file`.
    pub passphrase: Option<Text>,
    /// A file that holds the passphrase and that only its owner may read.
    pub passphrase_file: Option<Text>,
    /// A command that prints the passphrase.
    pub passphrase_command: Option<OneOrMany>,
}

/// An application to protect.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "stack", extend("required" = ["sources"]))]
pub struct StackDocument {
    /// When to back up: a cron expression such as `0 */4 * * *`, or `H H * * *` for a time of day that differs from host to host.
    pub schedule: Option<Text>,
    /// The time zone of schedules and of retention's days, such as `Africa/Nairobi`. Default: the machine's.
    pub timezone: Option<Text>,
    /// The hours in which backups and drills may begin by themselves, such as `22:00-06:00`. Default: any.
    #[schemars(schema_with = "hours")]
    pub hours: Option<Text>,
    /// What happens where a backup is due while the one before runs: `refuse`, which is the default, leaves it out; with `queue` one
    /// more follows.
    #[schemars(schema_with = "overlap")]
    pub overlap: Option<Text>,
    /// The copies to write to, the one to prefer first. Default: all, in the order of the file.
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
    /// Commands to run before a backup, in order. Each is a text for a shell, a list of program and arguments, or `run` with its
    /// options.
    pub before: Option<Vec<HookDocument>>,
    /// Commands to run after a backup, in order, however it ended, where it had got as far as `before`.
    pub after: Option<Vec<HookDocument>>,
    /// Containers that stand still while the sources are read.
    pub freeze: Option<FreezeDocument>,
    /// What to do once data was put back under the application, by a restore in place or into a server.
    pub after_restore: Option<AfterRestoreDocument>,
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
    /// When to drill: a cron expression such as `0 6 * * 0`.
    pub schedule: Option<Text>,
    /// 0: listed. 1: every byte read back. 2: structure checked. 3: restored and compared, which is the default.
    #[schemars(schema_with = "level")]
    pub level: Option<Text>,
}

/// What makes the application take up what was restored: all of it, in this order.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "after_restore", extend("required" = []))]
pub struct AfterRestoreDocument {
    /// Containers to restart, each by its Compose service or its own name.
    pub restart: Option<OneOrMany>,
    /// A request to send over HTTP.
    pub call: Option<CallDocument>,
    /// Commands to run, each a text for `sh -c` or a list of program and arguments.
    pub run: Option<Vec<OneOrMany>>,
    /// What tells that the application works again.
    pub ready: Option<ReadyDocument>,
}

/// A request over HTTP.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "call", extend("required" = ["url"]))]
pub struct CallDocument {
    /// Where to. An answer of success (2xx) is expected.
    pub url: Option<Text>,
    /// The method. Default: `POST`.
    pub method: Option<Text>,
    /// Headers, a line each: `NAME: VALUE`. Better: `headers_file`.
    pub headers: Option<Text>,
    /// A file with the headers that only its owner may read.
    pub headers_file: Option<Text>,
    /// A command that prints one header.
    pub headers_command: Option<OneOrMany>,
}

/// An address that answers with success (2xx) once the application is ready.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ready", extend("required" = ["url"]))]
pub struct ReadyDocument {
    /// The address, such as `http://127.0.0.1:8080/.ready`.
    pub url: Option<Text>,
    /// How long to wait for it. Default: `2m`.
    #[schemars(schema_with = "duration")]
    pub within: Option<Text>,
}

/// What holds data: one kind with its options.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "source", extend("minProperties" = 1, "oneOf" = [
    {"required": ["files"]}, {"required": ["sqlite"]}, {"required": ["compose"]}, {"required": ["command"]},
    {"required": ["couchdb"]}, {"required": ["tls"]}, {"required": ["volume"]}, {"required": ["container-files"]},
    {"required": ["postgres"]}, {"required": ["mysql"]}, {"required": ["redis"]},
]))]
pub struct SourceDocument {
    /// When to back up this source, where that is another time than the stack's: a cron expression.
    pub schedule: Option<Text>,
    /// Files and folders.
    pub files: Option<FilesDocument>,
    /// SQLite databases, copied consistently while they are in use.
    pub sqlite: Option<SqliteDocument>,
    /// A Compose project: its files and the env files they name.
    pub compose: Option<ComposeDocument>,
    /// What a command prints.
    pub command: Option<CommandDocument>,
    /// The data folder of a CouchDB, captured consistently while it is in use.
    pub couchdb: Option<CouchDbDocument>,
    /// Certificates with their private keys.
    pub tls: Option<TlsDocument>,
    /// A named volume of Docker or Podman.
    pub volume: Option<VolumeDocument>,
    /// Files out of a container.
    #[serde(rename = "container-files")]
    pub container_files: Option<ContainerFilesDocument>,
    /// Databases of a PostgreSQL server, dumped and counted as of one moment.
    pub postgres: Option<DatabaseDocument>,
    /// Databases of a MariaDB or MySQL server, dumped and counted as of one moment.
    pub mysql: Option<DatabaseDocument>,
    /// What a Redis or Valkey holds, as of one moment. It is always all of it.
    pub redis: Option<DatabaseDocument>,
    /// Commands to run before this source is read, in order, as those of the stack.
    pub before: Option<Vec<HookDocument>>,
    /// Commands to run as soon as it was read, in order, however that ended.
    pub after: Option<Vec<HookDocument>>,
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
    /// How much of its rows a database may lose from one snapshot to the next before that is a problem for a week, such as
    /// `20%`. Default: 50%, of those with 100 rows and more; with 100% it never is, nor that one is gone.
    #[schemars(schema_with = "percent")]
    pub max_shrink: Option<Text>,
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

/// The data folder of a CouchDB.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "couchdb", extend("required" = ["data"]))]
pub struct CouchDbDocument {
    /// The folder with `_dbs.couch` and `shards`. Also `volume:NAME` or `volume:NAME/folder`.
    pub data: Option<Text>,
    /// CouchDB's own configuration: a folder such as `local.d`, a file, or `volume:NAME`. Without the secret in it, passwords that an
    /// application keeps in the database may be unreadable.
    pub config: Option<Text>,
    /// How often its files are read and checked in full, and not by what was added to them. Default: `7d`.
    #[schemars(schema_with = "duration")]
    pub full_read: Option<Text>,
    /// Whether to keep Nouveau's indexes, which are built anew otherwise. Default: false.
    #[schemars(schema_with = "boolean")]
    pub nouveau: Option<Text>,
    /// The running CouchDB, such as `http://127.0.0.1:5984`: what it says of its databases is compared with what was
    /// captured.
    pub url: Option<Text>,
    /// Its user, who must be an administrator.
    pub user: Option<Text>,
    /// The password of `user`. Better: `password_file`.
    pub password: Option<Text>,
    /// A file that holds the password of `user` and that only its owner may read.
    pub password_file: Option<Text>,
    /// A command that prints the password of `user`.
    pub password_command: Option<OneOrMany>,
}

/// Certificates with their private keys: a folder that holds all of them, or two files.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "tls", extend("oneOf" = [{"required": ["from"]}, {"required": ["cert", "key"]}]))]
pub struct TlsDocument {
    /// A folder; everything in it is captured. Also `volume:NAME` or `volume:NAME/folder`, and `service:/folder` in a
    /// container of a Compose service, or `project/service:/folder`.
    pub from: Option<Text>,
    /// The file with the certificate, and with what signed it.
    pub cert: Option<Text>,
    /// The file with its private key.
    pub key: Option<Text>,
}

/// A named volume of Docker or Podman.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "volume", extend("required" = ["name"]))]
pub struct VolumeDocument {
    /// The volume's name, as `docker volume ls` shows it.
    pub name: Option<Text>,
    /// What to leave out, as gitignore patterns.
    pub exclude: Option<OneOrMany>,
    /// Files that only ever grow, as gitignore patterns: only what was added to them is read. Default: `*.couch`,
    /// `*.view`.
    pub append_only: Option<OneOrMany>,
    /// How often such files are read in full all the same. Default: `7d`.
    #[schemars(schema_with = "duration")]
    pub full_read: Option<Text>,
    /// `stop` or `pause`: what to do with the containers that use it until it was read. Default: nothing.
    #[schemars(schema_with = "halt")]
    pub halt: Option<Text>,
}

/// Files out of a container, whether or not it runs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "container-files", extend("required" = ["paths"], "oneOf" = [{"required": ["service"]}, {"required": ["container"]}]))]
pub struct ContainerFilesDocument {
    /// The service of a Compose project.
    pub service: Option<Text>,
    /// The project, where several have such a service.
    pub project: Option<Text>,
    /// The container's name, instead of a service.
    pub container: Option<Text>,
    /// Files and folders in the container, from its root.
    pub paths: Option<OneOrMany>,
    /// What to leave out, as gitignore patterns.
    pub exclude: Option<OneOrMany>,
}

/// A database server: at an address, or in a container.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "database", extend("required" = [], "oneOf" = [{"required": ["url"]}, {"required": ["service"]}, {"required": ["container"]}, {"required": ["files"]}]))]
pub struct DatabaseDocument {
    /// The address, such as `postgresql://backup@db.example.org:5432`, `mysql://db.example.org`, `redis://db.example.org` or
    /// `unix:///run/mysqld/mysqld.sock`, without password and database. The tools of this machine are used. For an encrypted line,
    /// `rediss://` of a Redis, and `?sslmode=verify-full` (`ssl-mode`) with `sslrootcert=FILE` (`ssl-ca`) of the others.
    pub url: Option<Text>,
    /// The service of a Compose project, instead of an address. The tools in its container are used.
    pub service: Option<Text>,
    /// The project, where several have such a service.
    pub project: Option<Text>,
    /// The container's name, instead of a service.
    pub container: Option<Text>,
    /// Of a Redis, instead of an address: the folder of its data, of the host or as `volume:NAME`. Its dump and its log are captured
    /// as they are at one moment.
    pub files: Option<Text>,
    /// Who logs in. Default: whom the address names, or the container was made with.
    pub user: Option<Text>,
    /// The password of the user, where one is needed that the container does not know. Better: `password_file`.
    pub password: Option<Text>,
    /// A file that holds the password of the user and that only its owner may read.
    pub password_file: Option<Text>,
    /// A command that prints the password of the user.
    pub password_command: Option<OneOrMany>,
    /// Which databases: names, or patterns such as `shop_*`. Default: all.
    pub databases: Option<OneOrMany>,
    /// Databases to leave out, the same way.
    pub exclude: Option<OneOrMany>,
    /// The folder with the database's own programs, where they are not to be found by themselves.
    pub tools: Option<Text>,
    /// How much of its rows or keys a database may lose from one snapshot to the next before that is a problem for a week, such
    /// as `20%`. Default: 50%, of those with 100 and more; with 100% it never is, nor that one is gone.
    #[schemars(schema_with = "percent")]
    pub max_shrink: Option<Text>,
}

// Values that are not texts may still come out of the environment, so each of these allows `${VAR}`.

fn version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "const": 1 })
}

pub(super) fn boolean(_: &mut SchemaGenerator) -> Schema {
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

pub(super) fn percent(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[0-9]+%$|\\$\\{" })
}

pub(super) fn number(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [{ "type": "integer", "minimum": 1 }, { "type": "string", "pattern": "^\\$\\{" }] })
}

pub(super) fn hours(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[0-9]{1,2}:[0-9]{2}-[0-9]{1,2}:[0-9]{2}$|\\$\\{" })
}

fn overlap(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["refuse", "queue"] })
}

pub(super) fn halt(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["stop", "pause"] })
}

fn layout(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "enum": ["repository", "archive"] })
}

fn rate(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^[0-9.]+ *([kKmMgG]i?B|B|[kKmMgG]bit)/s$|\\$\\{" })
}

pub(super) fn duration(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^([0-9]+[smhdw])+$|\\$\\{" })
}

fn within(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": "^([0-9]+[ymdh])+$|\\$\\{" })
}
