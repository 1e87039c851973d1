//! Writes a `lifeboat.yaml` for a person to read and change: what `lifeboat init` found, with comments.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::duration;
use super::secret::CommandLine;
use super::settings::{
    ContainerSettings, DatabaseServer, DatabaseSettings, FilesSettings, HaltSettings, MAX_SHRINK_PERCENT,
    PlaceSettings, SourceKind, SourceSettings, TlsSettings,
};
use super::url::Url;
use crate::retention::Policy;
use crate::{Fault, FaultKind};

/// What a new configuration says. Paths may be relative: to the folder that the configuration will lie in.
#[derive(Clone, Debug)]
pub struct NewConfig {
    /// The file with the password.
    pub password_file: PathBuf,
    /// Where the backups go, the place to prefer first. At least one.
    pub copies: Vec<NewCopy>,
    /// The name of the one stack.
    pub stack: String,
    /// What was found.
    pub sources: Vec<NewSource>,
    /// The path of this program, for the schedule that a comment proposes.
    pub program: PathBuf,
    /// What else it says of the stack.
    pub presets: Presets,
}

/// When a stack of a new configuration is backed up.
const BACKUP_AT: &str = "0 */4 * * *";

/// What a new configuration says of its stack besides the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presets {
    /// How old the newest backup may be, as it is typed.
    pub rpo: &'static str,
    /// When to drill: a cron expression.
    pub drill: Option<String>,
    /// The time zone, by its name.
    pub time_zone: Option<String>,
}

impl Default for Presets {
    fn default() -> Self {
        Self { rpo: "26h", drill: None, time_zone: None }
    }
}

/// A copy of a new configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCopy {
    /// Its name.
    pub name: String,
    /// Its place.
    pub url: Url,
}

impl NewCopy {
    /// Copies at these places, each named for the kind of place that it is.
    pub fn at(urls: impl IntoIterator<Item = Url>) -> Vec<Self> {
        let mut copies: Vec<Self> = Vec::new();
        for url in urls {
            let kind = match &url {
                Url::Folder(_) => "local",
                Url::S3 { .. } => "s3",
                Url::Azure { .. } => "azure",
                Url::Gcs { .. } => "google",
                Url::B2 { .. } => "b2",
                Url::Webdav { .. } => "webdav",
                Url::Sftp { .. } => "sftp",
            };
            let is_alike = |copy: &&Self| std::mem::discriminant(&copy.url) == std::mem::discriminant(&url);
            let name = match copies.iter().filter(is_alike).count() {
                0 => kind.to_owned(),
                others => format!("{kind}-{}", others + 1),
            };
            copies.push(Self { name, url });
        }
        copies
    }
}

/// A source of a new configuration.
#[derive(Clone, Debug)]
pub struct NewSource {
    /// The source.
    pub source: SourceSettings,
    /// Why it is there, as a comment.
    pub note: Option<String>,
}

/// Lists up to this many characters stand on one line.
const LINE_CHARS_MAX: usize = 100;

/// Writes the configuration. Reading the text gives back what `config` says. Fails if a path is not UTF-8, which YAML
/// cannot hold.
pub fn render(config: &NewConfig) -> Result<String, Fault> {
    let mut page = Page { text: String::new() };
    page.line(0, "# What Lifeboat backs up, and where to. `lifeboat config check` tries it out,");
    page.line(0, "# `lifeboat config schema` lists everything that may stand here.");
    page.line(0, "version: 1");
    page.line(0, "");
    page.line(
        0,
        "# Without this password the backups cannot be read: keep a copy of it on another machine or on paper.",
    );
    page.path(0, "password_file", &config.password_file)?;

    page.line(0, "");
    page.line(0, "# Where the backups go, the place to prefer first.");
    page.line(0, "copies:");
    for copy in &config.copies {
        page.copy(copy)?;
    }

    page.line(0, "");
    page.line(0, "stacks:");
    page.line(1, &format!("{}:", quote(&config.stack)));
    let program: String =
        config.program.display().to_string().chars().map(|c| if is_plain_char(c) { c } else { '?' }).collect();
    let Presets { rpo, drill, time_zone } = &config.presets;
    page.line(2, "# `lifeboat serve` acts on this. Without it, a line of root's crontab does:");
    page.line(2, &format!("#   {BACKUP_AT}  {program} --config /path/of/this/file --quiet backup {}", config.stack));
    page.text(2, "schedule", BACKUP_AT);
    if let Some(when) = drill {
        page.line(2, "# Proves the newest backup by a restore into a scratch folder.");
        page.line(2, &format!("drill: {{ schedule: \"{when}\", level: 3 }}"));
    }
    if let Some(time_zone) = time_zone {
        page.line(2, "# Where days, weeks and months begin, by which backups are kept.");
        page.text(2, "timezone", time_zone);
    }
    page.line(2, "# `lifeboat status` warns where the newest backup is older than this.");
    page.line(2, &format!("rpo: {rpo}"));
    page.line(2, "# The newest snapshot, and the newest that passed a drill, stay in any case.");
    page.line(2, &format!("retention: {}", Policy::preset().to_flow()));
    page.line(2, "sources:");
    for NewSource { source, note } in &config.sources {
        if let Some(note) = note {
            // A line break in a comment would end it.
            let note: String = note.chars().map(|c| if is_plain_char(c) { c } else { ' ' }).collect();
            page.line(3, &format!("# {note}"));
        }
        page.line(3, &format!("{}:", quote(&source.name)));
        if let Some(schedule) = &source.schedule {
            page.text(4, "schedule", schedule.as_str());
        }
        page.line(4, &format!("{}:", source.kind.name()));
        page.source(source)?;
    }
    Ok(page.text)
}

/// The text as far as it is written.
struct Page {
    text: String,
}

impl Page {
    /// A copy with what it may need besides its place, as comments.
    fn copy(&mut self, copy: &NewCopy) -> Result<(), Fault> {
        self.line(1, &format!("{}:", quote(&copy.name)));
        match &copy.url {
            Url::Folder(path) => {
                self.path(2, "url", path)?;
                self.line(2, "media: disk");
                return Ok(());
            }
            url => self.text(2, "url", &url.to_string()),
        }
        let comments: &[&str] = match &copy.url {
            Url::S3 { .. } => &[
                "# Without an access key, what the platform says is used, such as an instance's role.",
                "# endpoint: https://s3.example.org    # where it is not Amazon's",
                "# region: eu-1",
                "# access_key_id_file: /etc/lifeboat/s3-key-id",
                "# secret_access_key_file: /etc/lifeboat/s3-key",
            ],
            Url::Azure { .. } => &[
                "# Or `account:` alone, with what the platform says, such as a managed identity.",
                "connection_string_file: /etc/lifeboat/azure-connection-string",
            ],
            Url::Gcs { .. } => &[
                "# Without a key, what the platform says is used, such as the machine's service account.",
                "# credential_file: /etc/lifeboat/google.json",
            ],
            Url::B2 { .. } => &[
                "bucket_id: \"\"    # it stands beside the bucket's name",
                "application_key_id_file: /etc/lifeboat/b2-key-id",
                "application_key_file: /etc/lifeboat/b2-key",
            ],
            Url::Webdav { .. } => &[
                "# Without these, nobody logs in.",
                "# login_user: me",
                "# login_password_file: /etc/lifeboat/webdav-password",
            ],
            Url::Sftp { .. } => &[
                "# Without these, an ssh-agent and ~/.ssh are asked.",
                "# private_key_file: /etc/lifeboat/id_ed25519",
                "# known_hosts_file: /etc/lifeboat/known_hosts",
            ],
            Url::Folder(_) => &[],
        };
        for comment in comments {
            self.line(2, comment);
        }
        self.line(2, "# offsite: true    # where it is at another site than the data");
        Ok(())
    }

    fn source(&mut self, source: &SourceSettings) -> Result<(), Fault> {
        match &source.kind {
            SourceKind::Files(files) => {
                let preset = FilesSettings::new(Vec::new());
                self.paths("paths", &files.paths)?;
                self.list("exclude", &files.exclude, &preset.exclude);
                for (key, is_set) in
                    [("exclude_caches", files.exclude_caches), ("one_file_system", files.one_file_system)]
                {
                    if is_set {
                        self.line(5, &format!("{key}: true"));
                    }
                }
                self.list("append_only", &files.append_only, &preset.append_only);
                if files.full_read != preset.full_read {
                    self.text(5, "full_read", &duration::show(files.full_read));
                }
            }
            SourceKind::Sqlite(sqlite) => {
                self.paths("paths", &sqlite.paths)?;
                self.list("exclude", &sqlite.exclude, &[]);
                self.max_shrink(sqlite.max_shrink_percent);
            }
            SourceKind::Compose(compose) => {
                self.paths("files", &compose.files)?;
                if !compose.env.is_empty() {
                    self.paths("env", &compose.env)?;
                }
                if let Some(project) = &compose.project {
                    self.text(5, "project", project);
                }
            }
            SourceKind::Command(command) => {
                match &command.run {
                    CommandLine::Shell(text) => self.text(5, "run", text.expose()),
                    CommandLine::Program(parts) => {
                        let parts: Vec<String> = parts.iter().map(|part| part.expose().to_owned()).collect();
                        self.list("run", &parts, &[]);
                    }
                }
                if command.name != source.name {
                    self.text(5, "name", &command.name);
                }
                if let Some(trailer) = &command.trailer {
                    self.text(5, "trailer", trailer);
                }
            }
            SourceKind::CouchDb(couchdb) => {
                let preset = FilesSettings::new(Vec::new());
                self.place("data", &couchdb.data)?;
                if let Some(config) = &couchdb.config {
                    self.place("config", config)?;
                }
                if couchdb.full_read != preset.full_read {
                    self.text(5, "full_read", &duration::show(couchdb.full_read));
                }
                if couchdb.nouveau {
                    self.line(5, "nouveau: true");
                }
                // What is found on a host names no server: nobody knows the password.
            }
            SourceKind::Tls(TlsSettings::From { from }) => self.place("from", from)?,
            SourceKind::Volume(volume) => {
                let preset = FilesSettings::new(Vec::new());
                self.text(5, "name", &volume.name);
                self.list("exclude", &volume.exclude, &preset.exclude);
                self.list("append_only", &volume.append_only, &preset.append_only);
                if volume.full_read != preset.full_read {
                    self.text(5, "full_read", &duration::show(volume.full_read));
                }
                match volume.halt {
                    None => {}
                    Some(HaltSettings::Stop) => self.text(5, "halt", "stop"),
                    Some(HaltSettings::Pause) => self.text(5, "halt", "pause"),
                }
            }
            SourceKind::ContainerFiles(files) => {
                self.container(&files.of);
                self.paths("paths", &files.paths)?;
                self.list("exclude", &files.exclude, &[]);
            }
            SourceKind::Postgres(database) | SourceKind::Mysql(database) | SourceKind::Redis(database) => {
                self.database(database);
            }
            SourceKind::RedisFiles(redis) => {
                self.place("files", &redis.files)?;
                self.max_shrink(redis.max_shrink_percent);
            }
            SourceKind::Tls(TlsSettings::Pair { cert, key }) => {
                self.path(5, "cert", cert)?;
                self.path(5, "key", key)?;
            }
        }
        Ok(())
    }

    fn container(&mut self, container: &ContainerSettings) {
        match container {
            ContainerSettings::Container { container } => self.text(5, "container", container),
            ContainerSettings::Service { service, project } => {
                self.text(5, "service", service);
                if let Some(project) = project {
                    self.text(5, "project", project);
                }
            }
        }
    }

    /// What is found on a host names no password: nobody knows it, or the container does.
    fn database(&mut self, database: &DatabaseSettings) {
        match &database.server {
            DatabaseServer::Url(url) => self.text(5, "url", url),
            DatabaseServer::Container(container) => self.container(container),
        }
        if let Some(user) = &database.user {
            self.text(5, "user", user);
        }
        self.list("databases", &database.databases, &[]);
        self.list("exclude", &database.exclude, &[]);
        self.max_shrink(database.max_shrink_percent);
    }

    fn max_shrink(&mut self, percent: u8) {
        if percent != MAX_SHRINK_PERCENT {
            self.text(5, "max_shrink", &format!("{percent}%"));
        }
    }

    fn line(&mut self, indent: usize, line: &str) {
        let indent = if line.is_empty() { 0 } else { indent * 2 };
        let _ = writeln!(self.text, "{:indent$}{line}", "");
    }

    fn text(&mut self, indent: usize, key: &str, text: &str) {
        self.line(indent, &format!("{key}: {}", quote(text)));
    }

    fn path(&mut self, indent: usize, key: &str, path: &Path) -> Result<(), Fault> {
        self.text(indent, key, &path_text(path)?);
        Ok(())
    }

    fn place(&mut self, key: &str, place: &PlaceSettings) -> Result<(), Fault> {
        match place {
            PlaceSettings::Host(path) => self.path(5, key, path)?,
            other => self.text(5, key, &other.to_string()),
        }
        Ok(())
    }

    fn paths(&mut self, key: &str, paths: &[PathBuf]) -> Result<(), Fault> {
        let texts: Vec<String> = paths.iter().map(|path| path_text(path)).collect::<Result<_, _>>()?;
        self.list(key, &texts, &[]);
        Ok(())
    }

    /// A list, unless it is the default.
    fn list(&mut self, key: &str, items: &[String], default: &[String]) {
        if items == default {
            return;
        }
        let items: Vec<String> = items.iter().map(|item| quote(item)).collect();
        let line = format!("{key}: [{}]", items.join(", "));
        if line.chars().count() <= LINE_CHARS_MAX {
            return self.line(5, &line);
        }
        self.line(5, &format!("{key}:"));
        for item in items {
            self.line(6, &format!("- {item}"));
        }
    }
}

/// A path as it is typed.
fn path_text(path: &Path) -> Result<String, Fault> {
    let text = path.to_str().ok_or_else(|| {
        Fault::new(FaultKind::Config, format!("{} is not UTF-8, so YAML cannot hold it", path.display()))
            .with_hint("rename it, or name the folder above it")
    })?;
    // What looks like a URL or a home folder is refused when read.
    let looks_special = path.is_relative() && (text.contains(':') || text.starts_with('~') || text.trim().is_empty());
    Ok(if looks_special { format!("./{text}") } else { text.to_owned() })
}

/// A text as YAML: plain where every YAML reader takes it for this very text, else in double quotes. Dollars are doubled,
/// so that no variable is replaced.
fn quote(text: &str) -> String {
    let text = text.replace('$', "$$");
    let is_simple = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '/' | '.' | '-');
    let starts_simple = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
        || text.starts_with("./")
        || text.starts_with("../");
    let words = ["null", "true", "false", "yes", "no", "on", "off", "y", "n"];
    if starts_simple && text.chars().all(is_simple) && !words.contains(&text.to_lowercase().as_str()) {
        return text;
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if is_plain_char(c) => quoted.push(c),
            c => {
                let _ = write!(quoted, "\\U{:08x}", u32::from(c));
            }
        }
    }
    quoted.push('"');
    quoted
}

/// Whether YAML shows a character as itself and takes it for no line break.
fn is_plain_char(c: char) -> bool {
    !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}
