//! What there is to protect on this machine, what of it a source reaches, and what of that a snapshot has.

mod captured;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use ignore::gitignore::Gitignore;
use repository::{Cancel, Problem, SourceError};

pub use self::captured::Captured;
use super::compose::{ComposeProject, history_folder};
use super::discover::{discover, is_of_machine};
use super::layout;
use super::walk::{Seen, compile_patterns, is_matched, walk};
use crate::containers::{Container, Containers, Mount, PROJECT, Volume};

/// Where version 1 of Compose, from 1.25 on, and version 2 say which files made a container.
const CONFIG_FILES: &str = "com.docker.compose.project.config_files";

/// The folder in a volume's folder that holds its files, with every engine that keeps volumes as folders.
const VOLUME_FOLDER: &str = "_data";

/// What a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ThingKind {
    /// A volume of the container engine.
    Volume,
    /// A file or folder of the host that a container is given.
    Bind,
    /// A file of a Compose project.
    ComposeFile,
    /// A file of SQLite.
    Database,
    /// A database of CouchDB.
    CouchDb,
    /// A certificate with its private key beside it.
    Certificate,
}

impl ThingKind {
    /// The kind's name on screen and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Volume => "volume",
            Self::Bind => "bind",
            Self::ComposeFile => "compose-file",
            Self::Database => "database",
            Self::CouchDb => "couchdb-database",
            Self::Certificate => "certificate",
        }
    }
}

/// Something worth protecting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thing {
    /// What it is.
    pub kind: ThingKind,
    /// A path, or the name of a volume.
    pub name: String,
    /// Where it lies on this host, where that is known.
    pub place: Option<PathBuf>,
    /// Containers and services that use it.
    pub used_by: BTreeSet<String>,
    /// A volume that the engine which answers does not know, and neither its project: it was never made, or is another
    /// engine's. Nothing can be captured of it.
    pub is_unknown: bool,
}

impl Thing {
    /// Of a database of CouchDB, what CouchDB calls it.
    pub fn database(&self) -> Option<&str> {
        let folder = self.place.as_deref().filter(|_| self.kind == ThingKind::CouchDb)?;
        self.name.strip_suffix(&in_folder(folder))
    }
}

/// How the name of a database in a folder ends: databases of two CouchDBs may be called alike.
fn in_folder(folder: &Path) -> String {
    format!(" in {}", folder.display())
}

/// Kind, name, who uses it, and whether nobody knows it.
impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind.name(), self.name)?;
        let users: Vec<&str> = self.used_by.iter().map(String::as_str).collect();
        if !users.is_empty() {
            write!(f, " (used by {})", users.join(", "))?;
        }
        if self.is_unknown {
            write!(
                f,
                ", not known to the container engine that answers: it was never made, or is another engine's (name its \
                 socket with DOCKER_HOST)"
            )?;
        }
        Ok(())
    }
}

/// What can be seen.
#[derive(Debug, Default)]
pub struct Sight {
    /// By kind and name.
    things: BTreeMap<(ThingKind, String), Thing>,
    /// Compose files of projects that are known by their names. A folder alone would name them otherwise.
    named_files: BTreeSet<PathBuf>,
    /// Folders with earlier versions of compose files. They describe what runs no more.
    histories: BTreeSet<PathBuf>,
    /// What the engine knows, where one answers.
    engine: Option<KnownToEngine>,
    /// What could not be looked at.
    pub problems: Vec<Problem>,
}

/// Volumes and Compose projects that the engine knows. Not each volume that a compose file speaks of was ever made.
#[derive(Debug)]
struct KnownToEngine {
    volumes: BTreeSet<String>,
    projects: BTreeSet<String>,
}

impl KnownToEngine {
    fn new(containers: &[Container], volumes: &[Volume]) -> Self {
        let of_containers = containers.iter().filter_map(Container::project);
        let of_volumes = volumes.iter().filter_map(|volume| volume.labels.get(PROJECT).map(String::as_str));
        Self {
            volumes: volumes.iter().map(|volume| volume.name.clone()).collect(),
            projects: of_containers.chain(of_volumes).map(str::to_owned).collect(),
        }
    }

    /// Whether it may be the engine that the project is to run in.
    fn has(&self, project: &ComposeProject) -> bool {
        self.projects.contains(&project.name)
            || project.volumes.values().any(|volume| self.volumes.contains(&volume.name))
    }
}

impl Sight {
    /// Looks around: at what the engine knows, where one answers, at these compose projects, and into these folders and
    /// those that containers use.
    pub fn new(
        containers: Option<&Containers>,
        projects: &[ComposeProject],
        folders: &[PathBuf],
        cancel: &Cancel,
    ) -> Result<Self, SourceError> {
        let mut sight = Self::default();
        let mut folders: BTreeSet<PathBuf> = folders.iter().map(|folder| real(folder)).collect();
        if let Some(containers) = containers {
            let volumes = containers.volumes()?;
            folders.extend(volumes.iter().filter_map(|volume| volume.folder().ok()));
            let containers = containers.containers()?;
            sight.see_engine(&containers, &volumes);
            sight.engine = Some(KnownToEngine::new(&containers, &volumes));
        }
        for project in projects {
            sight.named_files.extend(project.files.iter().map(|file| real(file)));
            sight.histories.extend(history_folder(project).map(|folder| real(&folder)));
            sight.see_project(project);
            folders.extend(project.files.iter().filter_map(|file| file.parent()).map(real));
        }
        let binds = sight.things.values().filter(|thing| thing.kind == ThingKind::Bind);
        folders.extend(binds.filter_map(|thing| thing.place.as_deref()).filter(|place| place.is_dir()).map(real));
        // The whole host is no application; what it holds is looked at where something uses it.
        folders.remove(Path::new("/"));
        let mut last: Option<&PathBuf> = None;
        for folder in &folders {
            if last.is_none_or(|last| !folder.starts_with(last)) {
                sight.see_folder(folder, cancel)?;
                last = Some(folder);
            }
        }
        Ok(sight)
    }

    /// What was seen, by kind and name.
    pub fn things(&self) -> impl Iterator<Item = &Thing> {
        self.things.values()
    }

    fn add(&mut self, kind: ThingKind, name: String, place: Option<PathBuf>, used_by: Option<&str>) {
        let empty = || Thing { kind, name: name.clone(), place: None, used_by: BTreeSet::new(), is_unknown: false };
        let thing = self.things.entry((kind, name.clone())).or_insert_with(empty);
        thing.place = thing.place.take().or(place);
        thing.used_by.extend(used_by.map(str::to_owned));
    }

    fn add_path(&mut self, kind: ThingKind, path: &Path, used_by: Option<&str>) {
        self.add(kind, path.display().to_string(), Some(path.to_owned()), used_by);
    }

    fn see_engine(&mut self, containers: &[Container], volumes: &[Volume]) {
        for volume in volumes {
            self.add(ThingKind::Volume, volume.name.clone(), Some(volume.place().to_owned()), None);
        }
        for container in containers {
            for mount in container.mounts.values() {
                match mount {
                    Mount::Volume { name } => self.add(ThingKind::Volume, name.clone(), None, Some(&container.name)),
                    Mount::Bind { host } if is_of_machine(host) => {}
                    Mount::Bind { host } => self.add_path(ThingKind::Bind, host, Some(&container.name)),
                }
            }
            let files = container.labels.get(CONFIG_FILES).into_iter().flat_map(|files| files.split(','));
            // They may have been on another machine.
            for file in files.map(Path::new).filter(|file| file.is_absolute() && file.is_file()) {
                self.named_files.insert(real(file));
                self.add_path(ThingKind::ComposeFile, file, container.project());
            }
        }
    }

    fn see_project(&mut self, project: &ComposeProject) {
        for file in &project.files {
            self.add_path(ThingKind::ComposeFile, file, Some(&project.name));
        }
        for (service, described) in &project.services {
            let user = format!("service {service} of {}", project.name);
            for key in &described.volumes {
                let name = project.volumes.get(key).map_or(key, |volume| &volume.name);
                let engine = self.engine.as_ref();
                let is_unknown = engine.is_some_and(|engine| !engine.volumes.contains(name));
                // In an engine that has the project, it was never made.
                if is_unknown && engine.is_some_and(|engine| engine.has(project)) {
                    continue;
                }
                self.add(ThingKind::Volume, name.clone(), None, Some(&user));
                self.things.entry((ThingKind::Volume, name.clone())).and_modify(|thing| thing.is_unknown = is_unknown);
            }
            // What may not be looked at is there for all that is known.
            let is_there = |host: &Path| !matches!(host.try_exists(), Ok(false));
            for bind in described.binds.iter().filter(|bind| !is_of_machine(&bind.host) && is_there(&bind.host)) {
                self.add_path(ThingKind::Bind, &bind.host, Some(&user));
            }
        }
    }

    fn see_folder(&mut self, folder: &Path, cancel: &Cancel) -> Result<(), SourceError> {
        let found = match discover(folder, cancel) {
            Ok(found) => found,
            Err(SourceError::Cancelled) => return Err(SourceError::Cancelled),
            Err(error) => {
                self.problems.push(Problem::new(folder, error.to_string()));
                return Ok(());
            }
        };
        for database in &found.databases {
            self.add_path(ThingKind::Database, &database.path, None);
        }
        for certificate in &found.certificates {
            self.add_path(ThingKind::Certificate, certificate, None);
        }
        for folder in &found.couchdb_folders {
            let databases = super::couchdb::databases(folder);
            if databases.is_empty() {
                let what =
                    "is a CouchDB whose shard map cannot be read or names no database: its databases are not listed";
                self.problems.push(Problem::new(folder, what));
            }
            for database in databases {
                let name = format!("{database}{}", in_folder(folder));
                self.add(ThingKind::CouchDb, name, Some(folder.clone()), None);
            }
        }
        self.histories.extend(found.projects.iter().filter_map(history_folder).map(|folder| real(&folder)));
        for project in &found.projects {
            let is_seen = |file: &PathBuf| {
                let file = real(file);
                self.named_files.contains(&file) || self.histories.iter().any(|folder| file.starts_with(folder))
            };
            if !project.files.iter().any(is_seen) {
                self.see_project(project);
            }
        }
        self.problems.extend(found.problems);
        if found.is_cut_short {
            self.problems.push(Problem::new(folder, "it holds more than was looked at"));
        }
        Ok(())
    }
}

/// What a source reaches.
#[derive(Clone, Debug)]
pub struct Reach {
    /// Things of other kinds it would pass over; `None` where it takes all that it finds.
    only: Option<ThingKind>,
    paths: Vec<PathBuf>,
    exclude: Gitignore,
    volumes: BTreeSet<String>,
    /// Whether Nouveau's indexes are taken from data folders of CouchDB, where these are what it takes.
    nouveau: Option<bool>,
}

/// Whether a thing is captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Covered {
    /// It is.
    Yes,
    /// It is left out, and made anew from what is captured.
    Rebuilt,
    /// It is not.
    No,
}

/// Whether a folder holds files, and `is_taken` is true for all of them. A file that cannot be seen is not taken.
fn each_file(folder: &Path, is_taken: impl Fn(&Path) -> bool) -> bool {
    let (mut any, mut all) = (false, true);
    let walked = walk(folder, &Cancel::new(), &mut |seen| {
        match seen {
            Seen::Entry(_, kind) if kind.is_dir() => {}
            Seen::Entry(path, _) => (any, all) = (true, all && is_taken(path)),
            Seen::Unreadable(..) => all = false,
            Seen::Names(..) => {}
        }
        all
    });
    any && all && walked.is_ok()
}

impl Reach {
    /// Everything below these paths but what the patterns leave out; they are anchored at each path.
    pub fn paths(paths: &[PathBuf], exclude: &[String]) -> Result<Self, SourceError> {
        let exclude = compile_patterns("exclude", exclude)?;
        let paths = paths.iter().map(|path| real(path)).collect();
        Ok(Self { only: None, paths, exclude, volumes: BTreeSet::new(), nouveau: None })
    }

    /// Of that, only what is of this kind.
    pub fn only(self, kind: ThingKind) -> Self {
        Self { only: Some(kind), ..self }
    }

    /// These volumes besides.
    pub fn with_volumes(self, volumes: impl IntoIterator<Item = String>) -> Self {
        Self { volumes: volumes.into_iter().collect(), ..self }
    }

    /// Which are data folders of CouchDB: indexes that it makes anew are left out.
    pub fn of_couchdb(self, nouveau: bool) -> Self {
        Self { nouveau: Some(nouveau), ..self }
    }

    /// Whether a thing is captured by any of these, as the configuration says. A folder is where each of its files is.
    pub fn cover<'a>(reaches: impl IntoIterator<Item = &'a Self>, thing: &Thing) -> Covered {
        let reaches: Vec<&Self> = reaches.into_iter().collect();
        let Some(place) = thing.place.as_deref().map(real) else {
            return if reaches.iter().any(|reach| reach.covers(thing)) { Covered::Yes } else { Covered::No };
        };
        let takes_every_file = || {
            let is_taken = |file: &Path| reaches.iter().any(|reach| reach.only.is_none() && reach.takes(file));
            thing.kind == ThingKind::Bind && place.is_dir() && each_file(&place, is_taken)
        };
        match () {
            () if reaches.iter().any(|reach| reach.covers(thing)) || takes_every_file() => Covered::Yes,
            () if reaches.iter().any(|reach| reach.rebuilds(&place)) => Covered::Rebuilt,
            () => Covered::No,
        }
    }

    /// Whether it captures a thing, as the configuration says.
    pub fn covers(&self, thing: &Thing) -> bool {
        if thing.is_unknown || self.only.is_some_and(|only| only != thing.kind) {
            return false;
        }
        if thing.kind == ThingKind::Volume && self.volumes.contains(&thing.name) {
            return true;
        }
        match thing.place.as_deref() {
            Some(place) => self.takes(&real(place)),
            // Without an engine, the name of its folder tells a volume.
            None if thing.kind == ThingKind::Volume => {
                let folder = Path::new(&thing.name).join(VOLUME_FOLDER);
                self.paths.iter().any(|path| path.ends_with(&folder) && self.takes(path))
            }
            None => false,
        }
    }

    /// Whether it takes something in a thing, which is a folder.
    pub fn takes_part_of(&self, thing: &Thing) -> bool {
        let place = thing.place.as_deref().map(real);
        place.is_some_and(|place| self.only.is_none() && self.paths.iter().any(|path| path.starts_with(&place)))
    }

    fn rebuilds(&self, place: &Path) -> bool {
        let first = |base: &PathBuf| place.strip_prefix(base).ok()?.iter().next().map(|first| base.join(first));
        let is_left_out = |path: &PathBuf, nouveau| {
            path.file_name().is_some_and(|name| super::couchdb::is_rebuilt(name, path.is_dir(), nouveau))
        };
        self.nouveau.is_some_and(|nouveau| self.paths.iter().filter_map(first).any(|path| is_left_out(&path, nouveau)))
    }

    /// Whether it captures what lies at `place`.
    fn takes(&self, place: &Path) -> bool {
        !self.rebuilds(place)
            && self.paths.iter().any(|base| {
                let below = place.ancestors().take_while(|path| path.starts_with(base) && path != base);
                let is_excluded =
                    |(depth, path): (usize, &Path)| is_matched(&self.exclude, base, path, depth > 0 || path.is_dir());
                place.starts_with(base) && !below.enumerate().any(is_excluded)
            })
    }
}

fn real(path: &Path) -> PathBuf {
    path.canonicalize().or_else(|_| layout::absolute(path)).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{ComposeOptions, read_compose_project};

    #[test]
    fn indexes_that_couchdb_makes_anew_are_left_out_on_purpose() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        std::fs::create_dir_all(data.join("nouveau")).unwrap();
        let thing = |place: PathBuf| Thing {
            kind: ThingKind::Bind,
            name: place.display().to_string(),
            place: Some(place),
            used_by: BTreeSet::new(),
            is_unknown: false,
        };
        let reach = |nouveau| Reach::paths(std::slice::from_ref(&data), &[]).unwrap().of_couchdb(nouveau);
        let cover = |nouveau, place| Reach::cover(&[reach(nouveau)], &thing(place));
        assert_eq!(cover(false, data.join("nouveau")), Covered::Rebuilt);
        assert_eq!(cover(true, data.join("nouveau")), Covered::Yes);
        assert_eq!(cover(true, data.join("search_indexes/a")), Covered::Rebuilt);
        assert_eq!(cover(false, data.join("shards")), Covered::Yes);
        assert_eq!(cover(false, dir.path().join("other")), Covered::No);
    }

    #[test]
    fn volumes_of_a_project_that_the_engine_does_not_know_are_shown_as_unknown_and_not_as_covered() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("compose.yml");
        std::fs::write(
            &file,
            "name: shop\nservices: {db: {image: x, volumes: ['a:/a', 'b:/b']}}\nvolumes: {a: {}, b: {}}\n",
        )
        .unwrap();
        let project = read_compose_project(&ComposeOptions { files: vec![file], ..Default::default() }, &Cancel::new());
        let project = project.unwrap();
        let seen = |volumes: &[&str], projects: &[&str]| {
            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let engine = Some(KnownToEngine { volumes: names(volumes), projects: names(projects) });
            let mut sight = Sight { engine, ..Sight::default() };
            sight.see_project(&project);
            let volumes = sight.things.into_values().filter(|thing| thing.kind == ThingKind::Volume);
            volumes.collect::<Vec<_>>()
        };
        let reach = Reach::paths(&[], &[]).unwrap().with_volumes(["shop_a".to_owned()]);
        let unknown = seen(&["other_data"], &["other"]);
        assert_eq!(unknown.len(), 2);
        assert!(unknown.iter().all(|thing| thing.is_unknown && Reach::cover([&reach], thing) == Covered::No));
        assert!(unknown[0].to_string().contains("not known to the container engine that answers"), "{}", unknown[0]);
        // Without an engine, the folder's name tells.
        let unseen = Thing { is_unknown: false, ..unknown[0].clone() };
        for (folder, is_covered) in [("shop_a/_data", true), ("shop_b/_data", false), ("shop_a", false)] {
            let reach = Reach::paths(&[dir.path().join("volumes").join(folder)], &[]).unwrap();
            assert_eq!(reach.covers(&unseen), is_covered, "{folder}");
        }
        // Where it knows the project, what it does not have was never made.
        for (volumes, projects) in [(&["shop_a"][..], &[][..]), (&["shop_a"], &["shop"])] {
            let known = seen(volumes, projects);
            assert!(known.len() == 1 && !known[0].is_unknown && reach.covers(&known[0]), "{known:?}");
        }
        assert!(seen(&[], &["shop"]).is_empty());
    }

    #[test]
    fn without_an_engine_compose_files_say_what_there_is() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let pem = |name: &str| {
            std::fs::read_to_string(format!("{}/src/source/tls/fixtures/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
        };
        write(
            "app/compose.yml",
            "name: shop\nservices:\n  db: {image: x, volumes: ['data:/var/lib', '../conf:/c', '/dev/null:/n']}\nvolumes: {data: {}}\n",
        );
        write("conf/tls/cert.pem", &pem("ec.crt"));
        write("conf/tls/key.pem", &pem("ec.key"));
        write("conf/ca/root.pem", &pem("rsa.crt"));
        let database = rusqlite::Connection::open(dir.path().join("conf/x.db")).unwrap();
        database.execute_batch("CREATE TABLE t (a)").unwrap();
        drop(database);
        let options = ComposeOptions { files: vec![dir.path().join("app")], ..Default::default() };
        let project = read_compose_project(&options, &Cancel::new()).unwrap();
        let sight = Sight::new(None, &[project], &[], &Cancel::new()).unwrap();
        let shown: Vec<_> = sight
            .things()
            .map(|thing| format!("{} {}", thing.kind.name(), thing.name).replace(&dir.path().display().to_string(), ""))
            .collect();
        let expected = [
            "volume shop_data",
            "bind /conf",
            "compose-file /app/compose.yml",
            "database /conf/x.db",
            // What has no key beside it is public.
            "certificate /conf/tls/cert.pem",
        ];
        assert_eq!(shown, expected);
        assert_eq!(sight.things().next().unwrap().used_by, ["service db of shop".to_owned()].into());
        // A folder is covered where each of its files is, by whichever sources.
        let of = |name: &str| Reach::paths(&[dir.path().join("conf").join(name)], &[]).unwrap();
        let bind = sight.things().find(|thing| thing.kind == ThingKind::Bind).unwrap();
        assert_eq!(Reach::cover(&[of("tls"), of("ca"), of("x.db")], bind), Covered::Yes);
        assert_eq!(Reach::cover(&[of("tls"), of("x.db")], bind), Covered::No);
        let of_database = of("x.db").only(ThingKind::Database);
        assert_eq!(Reach::cover(&[of("tls"), of("ca"), of_database], bind), Covered::No);
        let covered = |reach: &Reach| -> Vec<&str> {
            sight.things().filter(|thing| reach.covers(thing)).map(|thing| thing.kind.name()).collect()
        };
        let reach = |exclude: &[&str]| {
            let exclude: Vec<_> = exclude.iter().map(|pattern| pattern.to_string()).collect();
            Reach::paths(&[dir.path().join("conf")], &exclude).unwrap()
        };
        assert_eq!(covered(&reach(&[])), ["bind", "database", "certificate"]);
        assert_eq!(covered(&reach(&["tls/"])), ["bind", "database"]);
        assert_eq!(covered(&reach(&["*.db"])), ["bind", "certificate"]);
        assert_eq!(covered(&reach(&[]).only(ThingKind::Database)), ["database"]);
        assert_eq!(covered(&reach(&["*"]).with_volumes(["shop_data".to_owned()])), ["volume", "bind"]);
    }
}
