//! What things are lost with: from the configuration, and from this machine's disks. The score is worked out from it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use repository::Identity;

use crate::config::{
    ArchiveKey, CopySettings, CouchDbSettings, DatabaseServer, Location, PlaceSettings, RedisFilesSettings,
    SecretSource, Settings, SourceKind, StackSettings, TlsSettings,
};
use crate::disk;
use crate::score::{Live, Password, Place};

/// Characters of a public key that are shown: what all have in common, and a dozen that are its own.
const KEY_CHARACTERS: usize = 16;

/// The disks that a stack's data lies on. What a command prints lies nowhere. Which disk a container engine keeps its data
/// on, only it knows: it told of the `volumes` that were captured, by their names, and where such a folder is there, it tells.
/// Else the worse reading is taken, that it is on every disk which is not made to be unplugged.
pub fn live(settings: &Settings, stack: &StackSettings, volumes: &BTreeMap<String, PathBuf>) -> Live {
    let paths = stack.sources.iter().flat_map(|source| match &source.kind {
        SourceKind::Files(files) => &files.paths[..],
        SourceKind::Sqlite(sqlite) => &sqlite.paths[..],
        SourceKind::Compose(compose) => &compose.files[..],
        SourceKind::CouchDb(CouchDbSettings { data: PlaceSettings::Host(path), .. }) => std::slice::from_ref(path),
        SourceKind::Tls(
            TlsSettings::From { from: PlaceSettings::Host(path) } | TlsSettings::Pair { key: path, .. },
        ) => std::slice::from_ref(path),
        SourceKind::RedisFiles(RedisFilesSettings { files: PlaceSettings::Host(path), .. }) => {
            std::slice::from_ref(path)
        }
        SourceKind::CouchDb(_)
        | SourceKind::RedisFiles(_)
        | SourceKind::Command(_)
        | SourceKind::Tls(_)
        | SourceKind::Volume(_)
        | SourceKind::ContainerFiles(_)
        | SourceKind::Postgres(_)
        | SourceKind::Mysql(_)
        | SourceKind::Redis(_) => &[],
    });
    let mut disks: BTreeSet<String> = paths.filter_map(|path| disk::of(&without_glob(path))).collect();
    // On another host a folder of that name is none of it.
    let known = |kind: &SourceKind| volumes.get(volume(kind)?).filter(|folder| folder.is_dir());
    let (told, untold): (Vec<_>, Vec<_>) = stack
        .sources
        .iter()
        .filter(|source| is_with_an_engine(&source.kind))
        .map(|source| known(&source.kind).and_then(|folder| disk::of(folder)))
        .partition(Option::is_some);
    disks.extend(told.into_iter().flatten());
    if !untold.is_empty() {
        let fixed = settings.copies.iter().filter(|copy| !copy.removable).filter_map(|copy| match place(copy) {
            Place::Disk(disk) => Some(disk),
            Place::Memory | Place::Service { .. } => None,
        });
        disks.extend(fixed.chain(disk::of(Path::new("/"))));
    }
    Live { disks }
}

/// Whether a source is, or may be, in a volume or container.
fn is_with_an_engine(kind: &SourceKind) -> bool {
    match kind {
        SourceKind::Volume(_) | SourceKind::ContainerFiles(_) => true,
        SourceKind::Postgres(database) | SourceKind::Mysql(database) | SourceKind::Redis(database) => {
            matches!(database.server, DatabaseServer::Container(_))
        }
        SourceKind::CouchDb(couchdb) => !matches!(couchdb.data, PlaceSettings::Host(_)),
        SourceKind::RedisFiles(redis) => !matches!(redis.files, PlaceSettings::Host(_)),
        SourceKind::Tls(TlsSettings::From { from }) => !matches!(from, PlaceSettings::Host(_)),
        SourceKind::Files(_)
        | SourceKind::Sqlite(_)
        | SourceKind::Compose(_)
        | SourceKind::Command(_)
        | SourceKind::Tls(TlsSettings::Pair { .. }) => false,
    }
}

/// The volume whose data a source is, where it is named.
fn volume(kind: &SourceKind) -> Option<&String> {
    match kind {
        SourceKind::Volume(volume) => Some(&volume.name),
        SourceKind::CouchDb(CouchDbSettings { data: PlaceSettings::Volume { name, .. }, .. })
        | SourceKind::RedisFiles(RedisFilesSettings { files: PlaceSettings::Volume { name, .. }, .. })
        | SourceKind::Tls(TlsSettings::From { from: PlaceSettings::Volume { name, .. } }) => Some(name),
        _ => None,
    }
}

/// The part of a path that is no pattern.
fn without_glob(path: &Path) -> PathBuf {
    let is_pattern = |part: &std::ffi::OsStr| part.as_encoded_bytes().iter().any(|byte| b"*?[{".contains(byte));
    path.components().take_while(|part| !is_pattern(part.as_os_str())).collect()
}

/// What a copy is lost with. A folder with a `provider` is not a disk of this machine but somebody's, such as a share.
pub fn place(copy: &CopySettings) -> Place {
    match (&copy.location, &copy.provider) {
        (Location::Local(path), None) if disk::is_memory(path) => Place::Memory,
        (Location::Local(path), None) => {
            Place::Disk(disk::of(path).unwrap_or_else(|| format!("below {}", path.display())))
        }
        // A server on this machine keeps its data here, unless it is said to be elsewhere, as at the end of a tunnel. Which disk
        // only it knows, so the worse reading is taken.
        (_, Some(provider)) if is_this_machine(provider) && !copy.offsite => {
            Place::Disk(disk::of(Path::new("/")).unwrap_or_else(|| "of this machine".to_owned()))
        }
        (location, provider) => Place::Service {
            provider: provider.clone().unwrap_or_else(|| location.to_string()),
            account: copy.account.clone(),
            region: copy.region.clone(),
        },
    }
}

/// Whether a server of this name is this machine, as far as a name tells.
fn is_this_machine(name: &str) -> bool {
    let name = name.trim_matches(['[', ']']);
    let is_own_address = name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified());
    is_own_address || name.eq_ignore_ascii_case("localhost") || name == Identity::of_process().hostname
}

/// What opens a copy.
pub fn password(settings: &Settings, copy: &CopySettings) -> Password {
    match copy.password() {
        Ok(own @ SecretSource::Given(_)) if settings.password.as_ref() != Some(own) => {
            Password { whence: format!("the configuration of copy {}", copy.name), is_here: true }
        }
        Ok(source) => {
            // A command may ask another machine; what it asks is not known.
            let is_here = !matches!(source, SecretSource::Command { .. });
            Password { whence: source.to_string(), is_here }
        }
        // A passphrase opens it; a secret key is somewhere else, where this machine cannot lose it.
        Err(_) => match copy.archives().map(|archives| &archives.key) {
            Some(ArchiveKey::Passphrase(source)) => {
                Password { whence: source.to_string(), is_here: !matches!(source, SecretSource::Command { .. }) }
            }
            Some(ArchiveKey::Recipients(keys)) => {
                // Copies for the same keys are lost with the same secret ones.
                let mut keys: Vec<String> = keys.iter().map(|key| shortened(key)).collect();
                keys.sort_unstable();
                Password { whence: format!("the secret key of {}", keys.join(" or ")), is_here: false }
            }
            None => Password { whence: format!("copy {}", copy.name), is_here: false },
        },
    }
}

/// Enough of a public key to know it by.
fn shortened(key: &str) -> String {
    match key.char_indices().nth(KEY_CHARACTERS) {
        Some((end, _)) => format!("{}…", &key[..end]),
        None => key.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Environment};

    fn settings(copies: &str) -> Settings {
        let text = format!(
            "version: 1\npassword_file: /pw\ncopies: {{{copies}}}\nstacks: {{s: {{sources: {{f: {{files: {{paths: [/]}}}}, c: {{command: {{run: x}}}}}}}}}}\n"
        );
        config::parse(&text, Path::new("/lifeboat.yaml"), &Environment::of([("HOME", "/h")])).unwrap()
    }

    #[test]
    fn a_folder_is_lost_with_its_disk_unless_somebody_else_runs_it() {
        let settings = settings(
            "a: {url: /}, b: {url: /mnt/b, provider: nas}, c: {url: 's3://bucket', region: eu, endpoint: 'https://s3.example.org:8443'}",
        );
        let [a, b, c] = &settings.copies[..] else { panic!("three copies") };
        let live = live(&settings, &settings.stacks[0], &BTreeMap::new());
        assert_eq!(live.disks.len(), 1);
        let Place::Disk(disk) = place(a) else { panic!("a disk") };
        assert!(live.disks.contains(&disk), "the copy lies beside the data");
        let service = |provider: &str, region: Option<&str>| Place::Service {
            provider: provider.to_owned(),
            account: None,
            region: region.map(str::to_owned),
        };
        assert_eq!(place(b), service("nas", None));
        assert_eq!(place(c), service("s3.example.org", Some("eu")));
    }

    #[test]
    fn a_server_on_this_machine_is_lost_with_it() {
        let settings = settings(
            "a: {url: 's3://bucket', region: eu, endpoint: 'http://127.0.0.1:9000'}, b: {url: 's3://other', region: eu, endpoint: 'http://localhost:9000'}, \
             c: {url: 'sftp://u@[::1]/x', private_key_file: /k}, d: {url: 's3://bucket', region: eu, endpoint: 'http://10.0.0.1', provider: nas}",
        );
        let places: Vec<Place> = settings.copies.iter().map(place).collect();
        assert!(places[..3].iter().all(|place| matches!(place, Place::Disk(_))), "{places:?}");
        assert!(matches!(places[3], Place::Service { .. }));
    }

    #[test]
    fn what_a_container_engine_keeps_may_lie_on_any_disk_that_stays() {
        let captured = |folder: &str| BTreeMap::from([("v".to_owned(), PathBuf::from(folder))]);
        let with_volume = |source: &str, volumes: &BTreeMap<String, PathBuf>| {
            let text = format!(
                "version: 1\npassword_file: /pw\ncopies: {{a: {{url: /mnt/a}}, usb: {{url: /proc, removable: true}}}}\n\
                 stacks: {{s: {{sources: {{one: {{{source}}}}}}}}}\n"
            );
            let settings =
                config::parse(&text, Path::new("/lifeboat.yaml"), &Environment::of([("HOME", "/h")])).unwrap();
            let Place::Disk(disk) = place(&settings.copies[0]) else { panic!("a disk") };
            live(&settings, &settings.stacks[0], volumes).disks.contains(&disk)
        };
        let with = |source: &str| with_volume(source, &BTreeMap::new());
        for source in [
            "volume: {name: v}",
            "container-files: {service: s, paths: [/x]}",
            "couchdb: {data: 'volume:v'}",
            "tls: {from: 'volume:v'}",
        ] {
            assert!(with(source), "{source}");
        }
        assert!(!with("command: {run: x}"), "what a command prints lies nowhere");
        // The engine told where a volume lies when it was captured. `/proc` is on none of the disks.
        for source in ["volume: {name: v}", "couchdb: {data: 'volume:v'}", "tls: {from: 'volume:v'}"] {
            assert!(!with_volume(source, &captured("/proc")), "{source}");
            assert!(with_volume(source, &captured("/")), "{source}");
            assert!(with_volume(source, &captured("/not/there")), "{source}: on another host it tells nothing");
        }
        assert!(with_volume("volume: {name: other}", &captured("/proc")));
        assert!(with_volume("container-files: {service: s, paths: [/x]}", &captured("/proc")));
    }

    #[test]
    fn passwords_are_the_same_where_they_come_from_the_same_place() {
        let settings = settings(
            "a: {url: /a}, b: {url: /b, password_file: /pw}, c: {url: /c, password: x}, d: {url: /d, password: y}, e: {url: /e, password_command: pass}",
        );
        let passwords: Vec<Password> = settings.copies.iter().map(|copy| password(&settings, copy)).collect();
        let [a, b, c, d, e] = &passwords[..] else { panic!("five copies") };
        assert_eq!(a, b);
        assert!(a != c && c != d && d != e);
        assert!(a.is_here && c.is_here && !e.is_here);
    }

    #[test]
    fn a_pattern_lies_where_its_folder_does() {
        assert_eq!(without_glob(Path::new("/srv/*/a.db")), Path::new("/srv"));
        assert_eq!(without_glob(Path::new("/srv/a.db")), Path::new("/srv/a.db"));
    }
}
