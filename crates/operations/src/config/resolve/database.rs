//! Database servers: at an address, or in a container.

use super::{Resolver, Result, copy};
use crate::config::address::SECRET_KEYS;
use crate::config::document::DatabaseDocument;
use crate::config::mistake::Mistake;
use crate::config::settings::{DatabaseServer, DatabaseSettings, MAX_SHRINK_PERCENT, RedisFilesSettings, SourceKind};
use crate::config::text::{OneOrMany, Text};

/// How the addresses of a kind of server look.
pub(super) struct Addresses {
    /// What they begin with.
    schemes: &'static [&'static str],
    /// One of them.
    example: &'static str,
}

/// Those of PostgreSQL, as libpq has them.
pub(super) const POSTGRES: Addresses = Addresses {
    schemes: &["postgresql://", "postgres://"],
    example: "postgresql://backup@db.example.org:5432?sslmode=require",
};

/// Those of MariaDB and MySQL.
pub(super) const MYSQL: Addresses =
    Addresses { schemes: &["mysql://", "mariadb://", SOCKET], example: "mysql://db.example.org:3306" };

/// Those of Redis and Valkey.
const REDIS: Addresses = Addresses {
    schemes: &["redis://", "rediss://", "valkey://", "valkeys://", SOCKET],
    example: "redis://db.example.org:6379",
};

/// How the address of a socket of this machine begins; its path follows.
const SOCKET: &str = "unix://";

impl Resolver<'_> {
    pub(super) fn database(
        &self,
        name: &Text,
        database: &DatabaseDocument,
        addresses: &Addresses,
    ) -> Result<DatabaseSettings> {
        let DatabaseDocument { url, service, project, container, .. } = database;
        if let Some(files) = &database.files {
            return Err(Mistake::at(files.place, "only of a Redis may the files be read while it runs")
                .with_hint("remove it, and say where the server is"));
        }
        let server = match (url, service.as_ref().or(container.as_ref())) {
            (Some(_), Some(other)) => {
                return Err(Mistake::at(other.place, "`url` is given too, and a server is in one place only")
                    .with_hint("remove one of the two"));
            }
            (Some(url), None) => DatabaseServer::Url(self.address(url, addresses)?),
            (None, None) if project.is_none() => {
                return Err(Mistake::at(name.place, "`service` is missing").with_hint(format!(
                    "add the name of a Compose service, or `container` with the name of a container, or `url`, such as `url: {}`",
                    addresses.example
                )));
            }
            (None, _) => DatabaseServer::Container(self.container(name, (service, project, container))?),
        };
        let preset = DatabaseSettings::new(server);
        let typed = (&database.password, &database.password_file, &database.password_command);
        Ok(DatabaseSettings {
            user: database.user.as_ref().map(|user| self.filled(user)).transpose()?,
            password: self.secret("password", typed as copy::TypedSecret<'_>)?,
            databases: self.texts(&database.databases)?,
            exclude: self.texts(&database.exclude)?,
            tools: database.tools.as_ref().map(|tools| self.path(tools)).transpose()?,
            max_shrink_percent: self.max_shrink(database.max_shrink.as_ref())?,
            ..preset
        })
    }

    /// How much may be lost before that is a problem, in percent.
    pub(super) fn max_shrink(&self, text: Option<&Text>) -> Result<u8> {
        text.map_or(Ok(MAX_SHRINK_PERCENT), |text| self.percent(text))
    }

    /// A share, in percent.
    pub(super) fn percent(&self, text: &Text) -> Result<u8> {
        let filled = self.filled(text)?;
        let number = filled.strip_suffix('%').and_then(|number| number.parse().ok()).filter(|number| *number <= 100);
        number.ok_or_else(|| {
            Mistake::at(text.place, "expected a share").with_hint("write it like 20%, from 0% up to 100%")
        })
    }

    /// A Redis gives all that it holds, by a protocol that needs no tools, or by its files.
    pub(super) fn redis(&self, name: &Text, database: &DatabaseDocument) -> Result<SourceKind> {
        let lists = [&database.databases, &database.exclude].into_iter().flatten().map(OneOrMany::place);
        if let Some(place) = lists.chain(database.tools.as_ref().map(|tools| tools.place)).next() {
            return Err(Mistake::at(
                place,
                "a Redis is captured with all its databases, and without tools of this machine",
            )
            .with_hint("remove the key"));
        }
        let Some(files) = &database.files else {
            return self.database(name, database, &REDIS).map(SourceKind::Redis);
        };
        let DatabaseDocument { url, service, project, container, user, .. } = database;
        let typed = (&database.password, &database.password_file, &database.password_command);
        let of_server = [url, service, project, container, user].into_iter().flatten().map(|text| text.place);
        if let Some(place) = of_server.chain(copy::places("password", typed).map(|(_, place)| place)).next() {
            return Err(Mistake::at(place, "`files` is given too, for which no server is asked")
                .with_hint("remove one of the two"));
        }
        Ok(SourceKind::RedisFiles(RedisFilesSettings {
            files: self.place_of_server(files, "Redis")?,
            max_shrink_percent: self.max_shrink(database.max_shrink.as_ref())?,
        }))
    }

    /// No message repeats it, as there may be a password in it.
    fn address(&self, text: &Text, addresses: &Addresses) -> Result<String> {
        let url = self.filled(text)?;
        match addresses.fault(&url) {
            Some((what, hint)) => Err(Mistake::at(text.place, what).with_hint(hint)),
            None => Ok(url),
        }
    }
}

/// What is wrong with the address of a server of this kind of source, and what to do; nothing where it may be used.
pub fn wrong_server_url(kind: &str, url: &str) -> Option<(&'static str, String)> {
    let addresses = match kind {
        "postgres" => &POSTGRES,
        "mysql" => &MYSQL,
        _ => &REDIS,
    };
    addresses.fault(url)
}

impl Addresses {
    fn fault(&self, url: &str) -> Option<(&'static str, String)> {
        let wrong = |what, hint: &str| Some((what, hint.to_owned()));
        let Some(rest) = self.schemes.iter().find_map(|scheme| url.strip_prefix(scheme)) else {
            return wrong("this is no address of such a server", &format!("write it like {}", self.example));
        };
        if url.starts_with(SOCKET) {
            let hint = "write the path after it, such as unix:///run/server.sock";
            return if rest.starts_with('/') { None } else { wrong("this names no socket", hint) };
        }
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = place.split_once('/').unwrap_or((place, ""));
        let has_password = authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
        let mut keys = query.split('&').filter_map(|part| part.split('=').next());
        match keys.find(|key| *key == "dbname" || SECRET_KEYS.contains(key)) {
            _ if has_password => wrong("a password stands in it", "give it in a file"),
            Some("password") => wrong("a password stands in it", "give it in a file"),
            Some("dbname") => wrong("a database stands in it", "name it on its own"),
            Some(_) => wrong("a secret stands in it", "take it out: a key of TLS may lie in a file that needs none"),
            None if !path.is_empty() => wrong("a database stands in it", "name it on its own"),
            None => None,
        }
    }
}
