//! The boundary between what the user typed and what it means: variables are replaced, numbers, spans and paths read,
//! defaults filled in, names looked up.

mod after_restore;
pub(super) mod copy;
pub(super) mod database;
mod hook;
mod jobs;
mod notifications;
mod place;

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;

use super::document::{
    CommandDocument, ComposeDocument, CouchDbDocument, Document, DrillDocument, FilesDocument, RetentionDocument,
    SourceDocument, SqliteDocument, StackDocument,
};
use super::duration;
use super::environment::Environment;
use super::mistake::Mistake;
use super::secret::{CommandLine, Secret, SecretSource, Typed};
use super::settings::{
    CommandSettings, ComposeSettings, CopySettings, CouchDbSettings, CouchLogin, CouchServerSettings, DrillSettings,
    FilesSettings, Settings, SourceKind, SourceSettings, SqliteSettings, StackSettings,
};
use super::text::{Named, OneOrMany, Place, Text};
use crate::drill;
use crate::retention::{Count, Policy, TagList, Within};
use crate::schedule::Expression;
use copy::TypedSecret;

/// Names become tags, folders and parts of URLs.
const NAME_CHARS_MAX: usize = 64;
/// The longest name of a file on Linux.
const FILE_NAME_BYTES_MAX: usize = 255;
/// Files that every snapshot has beside its sources.
const NAMES_TAKEN: [&str; 2] = ["lifeboat.json", "RESTORE.md"];

type Result<T> = std::result::Result<T, Mistake>;

/// Turns a document into settings.
pub struct Resolver<'a> {
    /// Where variables come from.
    pub environment: &'a Environment,
    /// The document's file, absolute. Relative paths start at its folder.
    pub file: &'a Path,
}

impl Resolver<'_> {
    /// Understands a document.
    pub fn settings(&self, document: &Document) -> Result<Settings> {
        let version = document
            .version
            .as_ref()
            .ok_or_else(|| Mistake::of_file("`version` is missing").with_hint("write `version: 1` at the beginning"))?;
        if self.text(version)? != "1" {
            return Err(Mistake::at(version.place, "this version of Lifeboat reads `version: 1` only")
                .with_hint("update Lifeboat, or mend the number"));
        }
        let state_dir = match &document.state_dir {
            Some(path) => self.path(path)?,
            None => self.environment.state_dir().ok_or_else(|| {
                Mistake::of_file("`state_dir` is missing, and there is no home folder to put state into")
                    .with_hint("write for example `state_dir: /var/lib/lifeboat`")
            })?,
        };
        let password =
            self.secret("password", (&document.password, &document.password_file, &document.password_command))?;
        let copies = self.copies(document.copies.as_ref(), password.as_ref())?;
        let no_stack =
            || Mistake::of_file("`stacks` is missing").with_hint("add what to back up: `lifeboat init` writes it");
        let stacks = document.stacks.as_ref().filter(|stacks| !stacks.0.is_empty()).ok_or_else(no_stack)?;
        let stacks = stacks.0.iter().map(|(name, stack)| self.stack(name, stack, &copies)).collect::<Result<_>>()?;
        let jobs = self.jobs(document.jobs.as_ref())?;
        let server = self.server(document.server.as_ref(), &state_dir)?;
        Ok(Settings {
            file: self.file.to_owned(),
            state_dir,
            password,
            copies,
            stacks,
            jobs,
            server,
            notifications: self.notifications(document.notifications.as_ref())?,
            sentinel: None,
        })
    }

    fn stack(&self, name: &Text, stack: &StackDocument, copies: &[CopySettings]) -> Result<StackSettings> {
        let hint = "what to back up, such as `sources: {data: {files: {paths: [/srv/data]}}}`";
        let sources = required(&stack.sources, name, "sources", hint)?;
        if sources.0.is_empty() {
            return Err(Mistake::at(name.place, "a stack needs at least one source").with_hint(hint));
        }
        let names = self.copies_of_stack(name, &stack.copies, copies)?;
        let retention = match &stack.retention {
            Some(retention) => self.retention(retention)?,
            None => Policy::preset(),
        };
        self.check_tags(name, &retention, &names, copies)?;
        let sources = sources.0.iter().map(|(name, source)| self.source(name, source)).collect::<Result<Vec<_>>>()?;
        Ok(StackSettings {
            name: self.name(name)?,
            schedule: self.schedule(&stack.schedule)?,
            time_zone: match &stack.timezone {
                Some(zone) => self.time_zone(zone)?,
                None => self.environment.time_zone().clone(),
            },
            hours: self.hours(&stack.hours)?,
            overlap: self.overlap(&stack.overlap)?,
            copies: names,
            retention,
            drill: stack.drill.as_ref().map(|drill| self.drill(drill)).transpose()?,
            rpo: stack.rpo.as_ref().map(|span| self.duration(span)).transpose()?,
            rto: stack.rto.as_ref().map(|span| self.duration(span)).transpose()?,
            hooks: self.hooks(&stack.before, &stack.after)?,
            freeze: stack.freeze.as_ref().map(|freeze| self.freeze(name, freeze, &sources)).transpose()?,
            after_restore: stack.after_restore.as_ref().map(|after| self.after_restore(name, after)).transpose()?,
            sources,
        })
    }

    /// Archives carry no tags, so a rule that keeps snapshots by their tags could not be kept there.
    fn check_tags(&self, stack: &Text, policy: &Policy, names: &[String], copies: &[CopySettings]) -> Result<()> {
        let archives = copies.iter().filter(|copy| copy.archives().is_some() && names.contains(&copy.name));
        for copy in archives {
            if !copy.retention.as_ref().unwrap_or(policy).tags.is_empty() {
                let what = format!("`retention: tags` cannot be kept in copy {}: archives carry no tags", copy.name);
                return Err(Mistake::at(stack.place, what)
                    .with_hint(format!("give copy {} a `retention` of its own, without tags", copy.name)));
            }
        }
        Ok(())
    }

    fn copies_of_stack(
        &self,
        stack: &Text,
        wanted: &Option<OneOrMany>,
        copies: &[CopySettings],
    ) -> Result<Vec<String>> {
        let known: Vec<&str> = copies.iter().map(|copy| copy.name.as_str()).collect();
        let is_repository = |name: &str| copies.iter().any(|copy| copy.name == name && copy.archives().is_none());
        let archives_alone = |place| {
            Mistake::at(place, "all copies of this stack are archives, which are made out of a repository")
                .with_hint("add a copy without `layout: archive`, such as a folder of this machine")
        };
        let Some(wanted) = wanted else {
            return match known.iter().any(|name| is_repository(name)) {
                true => Ok(known.into_iter().map(str::to_owned).collect()),
                false => Err(archives_alone(stack.place)),
            };
        };
        let mut names = Vec::new();
        for text in wanted.texts() {
            let name = self.text(text)?;
            if !known.contains(&&*name) {
                return Err(Mistake::unknown(text.place, format!("there is no copy `{name}`"), &name, &known));
            }
            if names.contains(&name) {
                return Err(
                    Mistake::at(text.place, format!("`{name}` is given twice")).with_hint("remove one of the two")
                );
            }
            names.push(name);
        }
        if names.is_empty() {
            return Err(Mistake::at(wanted.place(), "a stack needs at least one copy")
                .with_hint("name one, or remove `copies` to write to all"));
        }
        if !names.iter().any(|name| is_repository(name)) {
            return Err(archives_alone(wanted.place()));
        }
        Ok(names)
    }

    fn retention(&self, retention: &RetentionDocument) -> Result<Policy> {
        let r = retention;
        let policy = Policy {
            last: self.count(&r.last)?,
            hourly: self.count(&r.hourly)?,
            daily: self.count(&r.daily)?,
            weekly: self.count(&r.weekly)?,
            monthly: self.count(&r.monthly)?,
            yearly: self.count(&r.yearly)?,
            within: self.within(&r.within)?,
            within_hourly: self.within(&r.within_hourly)?,
            within_daily: self.within(&r.within_daily)?,
            within_weekly: self.within(&r.within_weekly)?,
            within_monthly: self.within(&r.within_monthly)?,
            within_yearly: self.within(&r.within_yearly)?,
            tags: self
                .texts(&r.tags)?
                .iter()
                .map(|list| TagList(list.split(',').map(|tag| tag.trim().to_owned()).collect()))
                .collect(),
        };
        // Without a rule everything is kept, which nobody means who writes `last: 0`.
        let counts = [&r.last, &r.hourly, &r.daily, &r.weekly, &r.monthly, &r.yearly];
        match counts.into_iter().flatten().next().filter(|_| policy.is_empty()) {
            Some(named) => Err(Mistake::at(named.place, "these rules keep nothing")
                .with_hint("keep at least one; `retention: {}` keeps everything")),
            None => Ok(policy),
        }
    }

    fn drill(&self, drill: &DrillDocument) -> Result<DrillSettings> {
        let level = match &drill.level {
            None => drill::LEVEL_MAX,
            Some(text) => match self.text(text)?.parse::<u8>() {
                Ok(level) if level <= drill::LEVEL_MAX => level,
                Ok(4 | 5) => {
                    return Err(Mistake::at(
                        text.place,
                        "drill levels 4 and 5 are not supported by this version of Lifeboat",
                    )
                    .with_hint("they come with a later one; write 3, or remove `level`"));
                }
                _ => {
                    return Err(Mistake::at(text.place, "a drill level is a number from 0 to 3")
                        .with_hint("0: listed, 1: every byte read, 2: structure checked, 3: restored and compared"));
                }
            },
        };
        Ok(DrillSettings { schedule: self.schedule(&drill.schedule)?, level })
    }

    fn source(&self, name: &Text, source: &SourceDocument) -> Result<SourceSettings> {
        let kinds = [
            source.files.as_ref().map(|files| self.files(name, files).map(SourceKind::Files)),
            source.sqlite.as_ref().map(|sqlite| self.sqlite(name, sqlite).map(SourceKind::Sqlite)),
            source.compose.as_ref().map(|compose| self.compose(name, compose).map(SourceKind::Compose)),
            source.command.as_ref().map(|command| self.command(name, command).map(SourceKind::Command)),
            source.couchdb.as_ref().map(|couchdb| self.couchdb(name, couchdb).map(SourceKind::CouchDb)),
            source.tls.as_ref().map(|tls| self.tls(name, tls).map(SourceKind::Tls)),
            source.volume.as_ref().map(|volume| self.volume(name, volume).map(SourceKind::Volume)),
            source
                .container_files
                .as_ref()
                .map(|files| self.container_files(name, files).map(SourceKind::ContainerFiles)),
            source
                .postgres
                .as_ref()
                .map(|database| self.database(name, database, &database::POSTGRES).map(SourceKind::Postgres)),
            source
                .mysql
                .as_ref()
                .map(|database| self.database(name, database, &database::MYSQL).map(SourceKind::Mysql)),
            source.redis.as_ref().map(|database| self.redis(name, database)),
        ];
        let mut given = kinds.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(kind), None) => {
                let schedule = self.schedule(&source.schedule)?;
                let hooks = self.hooks(&source.before, &source.after)?;
                let settings = SourceSettings { name: self.name(name)?, schedule, kind: kind?, hooks };
                if NAMES_TAKEN.contains(&&*settings.name) {
                    let what = format!("`{}` is the name of a file in every snapshot", settings.name);
                    return Err(Mistake::at(name.place, what).with_hint("choose another name for the source"));
                }
                Ok(settings)
            }
            (None, _) => Err(Mistake::at(name.place, "a source needs a kind with its options").with_hint(
                "write for example `files: {paths: [/srv/data]}`; kinds: files, sqlite, compose, command, couchdb, tls, volume, container-files, postgres, mysql, redis",
            )),
            (Some(_), Some(_)) => Err(Mistake::at(name.place, "a source has one kind only")
                .with_hint("make two sources of it, each with a name of its own")),
        }
    }

    fn files(&self, name: &Text, files: &FilesDocument) -> Result<FilesSettings> {
        let preset = FilesSettings::new(self.paths(&files.paths, name, "paths")?);
        Ok(FilesSettings {
            exclude: self.texts(&files.exclude)?,
            exclude_caches: self.boolean(&files.exclude_caches)?,
            one_file_system: self.boolean(&files.one_file_system)?,
            append_only: match &files.append_only {
                None => preset.append_only,
                patterns => self.texts(patterns)?,
            },
            full_read: match &files.full_read {
                None => preset.full_read,
                Some(span) => self.duration(span)?,
            },
            ..preset
        })
    }

    fn sqlite(&self, name: &Text, sqlite: &SqliteDocument) -> Result<SqliteSettings> {
        Ok(SqliteSettings {
            max_shrink_percent: self.max_shrink(sqlite.max_shrink.as_ref())?,
            ..SqliteSettings::new(self.paths(&sqlite.paths, name, "paths")?, self.texts(&sqlite.exclude)?)
        })
    }

    fn compose(&self, name: &Text, compose: &ComposeDocument) -> Result<ComposeSettings> {
        Ok(ComposeSettings {
            files: self.paths(&compose.files, name, "files")?,
            env: compose.env.iter().flat_map(OneOrMany::texts).map(|path| self.path(path)).collect::<Result<_>>()?,
            project: compose.project.as_ref().map(|project| self.filled(project)).transpose()?,
        })
    }

    fn command(&self, name: &Text, command: &CommandDocument) -> Result<CommandSettings> {
        let run = required(&command.run, name, "run", "the command, such as `run: pg_dump mydb`")?;
        let file = match &command.name {
            None => self.name(name)?,
            Some(text) => {
                let file = self.filled(text)?;
                if file.contains(['/', '\0']) || file == "." || file == ".." || file.len() > FILE_NAME_BYTES_MAX {
                    return Err(Mistake::at(text.place, "this is not a name for a file")
                        .with_hint("write a name without `/`, of at most 255 bytes"));
                }
                file
            }
        };
        Ok(CommandSettings {
            run: self.command_line(run)?,
            name: file,
            trailer: command.trailer.as_ref().map(|trailer| self.filled(trailer)).transpose()?,
        })
    }

    fn couchdb(&self, name: &Text, couchdb: &CouchDbDocument) -> Result<CouchDbSettings> {
        let data = required(&couchdb.data, name, "data", "the data folder, such as `data: /opt/couchdb/data`")?;
        let preset = CouchDbSettings::new(self.place_of_server(data, "CouchDB")?);
        Ok(CouchDbSettings {
            config: couchdb.config.as_ref().map(|config| self.place_of_server(config, "CouchDB")).transpose()?,
            full_read: match &couchdb.full_read {
                None => preset.full_read,
                Some(span) => self.duration(span)?,
            },
            nouveau: self.boolean(&couchdb.nouveau)?,
            server: self.couch_server(couchdb)?,
            ..preset
        })
    }

    fn couch_server(&self, couchdb: &CouchDbDocument) -> Result<Option<CouchServerSettings>> {
        let typed = (&couchdb.password, &couchdb.password_file, &couchdb.password_command);
        let password = self.secret("password", typed)?;
        let password_at = copy::places("password", typed).next().map(|(_, place)| place);
        let Some(url) = &couchdb.url else {
            return match couchdb.user.as_ref().map(|user| user.place).or(password_at) {
                Some(place) => Err(Mistake::at(place, "`url` is missing")
                    .with_hint("write the address of CouchDB, such as `url: http://127.0.0.1:5984`")),
                None => Ok(None),
            };
        };
        let login = match (&couchdb.user, password) {
            (Some(user), Some(password)) => Some(CouchLogin { user: self.filled(user)?, password }),
            (None, None) => None,
            (Some(user), None) => {
                return Err(Mistake::at(user.place, "`password_file` is missing")
                    .with_hint("give the password of the user; CouchDB tells nothing without"));
            }
            (None, Some(_)) => {
                return Err(Mistake::at(password_at.unwrap_or(url.place), "`user` is missing")
                    .with_hint("write whose password it is"));
            }
        };
        Ok(Some(CouchServerSettings { url: self.couch_url(url)?, login }))
    }

    /// No message repeats it, as there may be a password in it.
    fn couch_url(&self, text: &Text) -> Result<String> {
        let url = self.filled(text)?;
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
        let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        match host {
            Some(host) if host.contains('@') => Err(Mistake::at(text.place, "a user or a password stands in it")
                .with_hint("write them as `user` and `password_file`")),
            Some(host) if !host.is_empty() => Ok(url),
            _ => Err(Mistake::at(text.place, "this is no address of a CouchDB")
                .with_hint("write it like http://127.0.0.1:5984")),
        }
    }

    /// `x`, `x_file` or `x_command`: at most one.
    fn secret(&self, name: &str, typed: TypedSecret<'_>) -> Result<Option<SecretSource>> {
        let mut places = copy::places(name, typed);
        if let (Some((first, _)), Some((second, place))) = (places.next(), places.next()) {
            return Err(Mistake::at(place, format!("`{first}` and `{second}` are both given"))
                .with_hint("remove one of the two"));
        }
        Ok(match typed {
            (Some(text), ..) => Some(SecretSource::Given(Secret::new(self.filled(text)?))),
            (_, Some(path), _) => Some(SecretSource::File(self.path(path)?)),
            (.., Some(line)) => {
                let folder = self.folder().to_owned();
                Some(SecretSource::Command { line: self.command_line(line)?, folder })
            }
            (None, None, None) => None,
        })
    }

    fn command_line(&self, command: &OneOrMany) -> Result<CommandLine> {
        match command {
            OneOrMany::One(text) => {
                // Judged as it will read, kept as it was typed.
                self.filled(text)?;
                let run = self.environment.for_shell(&text.raw).map_err(|what| mistake_in(text, what))?;
                Ok(CommandLine::Shell(Typed::new(text.raw.to_string(), run)))
            }
            OneOrMany::Many(texts, place) => {
                let part = |text: &Text| Ok(Typed::new(text.raw.to_string(), self.text(text)?));
                let parts: Vec<Typed> = texts.iter().map(part).collect::<Result<_>>()?;
                if parts.first().is_none_or(|program| program.expose().is_empty()) {
                    return Err(
                        Mistake::at(*place, "a command needs a program").with_hint("write for example [pg_dump, mydb]")
                    );
                }
                Ok(CommandLine::Program(parts))
            }
        }
    }

    /// A list of paths that must not be empty.
    fn paths(&self, paths: &Option<OneOrMany>, name: &Text, key: &str) -> Result<Vec<PathBuf>> {
        let paths = required(paths, name, key, &format!("for example `{key}: [/srv/data]`"))?;
        if paths.texts().is_empty() {
            return Err(Mistake::at(paths.place(), "the list is empty").with_hint("name at least one path"));
        }
        paths.texts().iter().map(|path| self.path(path)).collect()
    }

    fn path(&self, path: &Text) -> Result<PathBuf> {
        self.path_of(path, &self.filled(path)?)
    }

    /// `path` came out of `text`. Made absolute; `.` and doubled `/` are taken out.
    fn path_of(&self, text: &Text, path: &str) -> Result<PathBuf> {
        if path == "~" || path.starts_with("~/") {
            return Err(Mistake::at(text.place, "`~` is not replaced here").with_hint("write ${HOME} instead"));
        }
        if path.contains('\0') {
            return Err(Mistake::at(text.place, "a path cannot hold a NUL character"));
        }
        Ok(self.folder().join(path).components().filter(|part| *part != Component::CurDir).collect())
    }

    fn folder(&self) -> &Path {
        self.file.parent().unwrap_or(Path::new("/"))
    }

    fn name(&self, name: &Text) -> Result<String> {
        let text = &*name.raw;
        let is_fine = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
        let starts_fine = text.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        if !starts_fine || !text.chars().all(is_fine) || text.chars().count() > NAME_CHARS_MAX {
            return Err(Mistake::at(name.place, "this cannot be a name").with_hint(format!(
                "use letters, digits, `.`, `_` and `-`, not `.` or `-` first, at most {NAME_CHARS_MAX} of them"
            )));
        }
        Ok(text.clone())
    }

    fn schedule(&self, schedule: &Option<Text>) -> Result<Option<Expression>> {
        let Some(text) = schedule else { return Ok(None) };
        Expression::parse(&self.text(text)?)
            .map(Some)
            .map_err(|wrong| Mistake::at(text.place, wrong.what).with_hint(wrong.hint))
    }

    fn time_zone(&self, text: &Text) -> Result<TimeZone> {
        let zone = self.text(text)?;
        TimeZone::get(&zone).map_err(|_| {
            Mistake::at(text.place, format!("unknown time zone `{zone}`"))
                .with_hint("write the name of a region and city, such as Africa/Nairobi, or UTC")
        })
    }

    fn count(&self, count: &Option<Text>) -> Result<Count> {
        let Some(text) = count else { return Ok(Count::default()) };
        match &*self.text(text)? {
            "all" => Ok(Count::All),
            number => number.parse().map(Count::AtMost).map_err(|_| {
                Mistake::at(text.place, "expected a number of snapshots")
                    .with_hint("write a number from 0 on, or `all` to keep all of them")
            }),
        }
    }

    fn within(&self, span: &Option<Text>) -> Result<Option<Within>> {
        let Some(text) = span else { return Ok(None) };
        let within = Within::from_str(&self.text(text)?).map_err(|_| {
            Mistake::at(text.place, "expected a span of time")
                .with_hint("write it like 2y5m7d3h: years, months, days, hours (here `m` is months)")
        })?;
        Ok(Some(within))
    }

    fn duration(&self, text: &Text) -> Result<Duration> {
        duration::parse(&self.text(text)?).ok_or_else(|| {
            Mistake::at(text.place, "expected a span of time")
                .with_hint("write it like 30m, 6h, 7d or 1h30m (w, d, h, m, s; here `m` is minutes)")
        })
    }

    fn boolean(&self, value: &Option<Text>) -> Result<bool> {
        let Some(text) = value else { return Ok(false) };
        match &*self.text(text)? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => {
                Err(Mistake::at(text.place, "expected true or false")
                    .with_hint("write one of the two, in small letters"))
            }
        }
    }

    fn texts(&self, texts: &Option<OneOrMany>) -> Result<Vec<String>> {
        texts.iter().flat_map(OneOrMany::texts).map(|text| self.text(text)).collect()
    }

    /// A text that must not be empty.
    fn filled(&self, text: &Text) -> Result<String> {
        let filled = self.text(text)?;
        if filled.trim().is_empty() {
            return Err(Mistake::at(text.place, "the value is empty").with_hint("write one, or remove the key"));
        }
        Ok(filled)
    }

    /// A text with its variables replaced.
    fn text(&self, text: &Text) -> Result<String> {
        self.environment.replace(&text.raw).map_err(|what| mistake_in(text, what))
    }
}

fn mistake_in(text: &Text, what: String) -> Mistake {
    Mistake::at(text.place, what)
        .with_hint("set the variable, give a default with ${VAR:-default}, or write $$ for a plain dollar")
}

/// A key that what is called `name` must have.
fn required<'a, T>(value: &'a Option<T>, name: &Text, key: &str, hint: &str) -> Result<&'a T> {
    let place: Place = name.place;
    value.as_ref().ok_or_else(|| Mistake::at(place, format!("`{key}` is missing")).with_hint(format!("add {hint}")))
}
