//! A compose project as far as a backup must know it: its files, the files they name, services, volumes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use repository::{Cancel, Problem, SourceError};
use serde_json::Value;

use super::ComposeOptions;
use super::history;
use super::interpolate::parse_env_file;
use super::scope::{Place, Scope, resolve};
use super::service::{ComposeService, NamedVolume, mounts};
use crate::source::glob::{Expanded, expand};

/// The names Compose looks for in a folder, best first, and those it adds to one.
pub const FILE_NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml"];
const OVERRIDE_NAMES: [&str; 4] =
    ["compose.override.yaml", "compose.override.yml", "docker-compose.override.yml", "docker-compose.override.yaml"];
/// A compose or env file larger than this is not read for what it says.
pub const READ_BYTES_MAX: u64 = 8 << 20;
/// Files that include files that include files, and services that extend services, this deep.
const DEPTH_MAX: u32 = 32;

/// What a compose project consists of.
#[derive(Clone, Debug, Default)]
pub struct ComposeProject {
    /// The project's name, by which Docker labels its containers and volumes.
    pub name: String,
    /// Compose files: the given ones, those they include, and those they extend. Absolute paths.
    pub files: BTreeSet<PathBuf>,
    /// Env files: `.env`, given ones, and those that services name. Absolute paths.
    pub env_files: BTreeSet<PathBuf>,
    /// Files behind `configs` and `secrets`, and those of CHT's earlier versions. Absolute paths.
    pub attached_files: BTreeSet<PathBuf>,
    /// The compose files that were given, in order, as `docker compose -f` takes them. Absolute paths.
    pub given_files: Vec<PathBuf>,
    /// The env files that were given, in order, as `--env-file` takes them. Absolute paths.
    pub given_env: Vec<PathBuf>,
    /// Services by name.
    pub services: BTreeMap<String, ComposeService>,
    /// Named volumes by the name they have in the files.
    pub volumes: BTreeMap<String, NamedVolume>,
    /// What is missing or cannot be read.
    pub problems: Vec<Problem>,
}

/// Reads the project that `options` name. Fails only where there is no compose file at all.
pub fn read_compose_project(options: &ComposeOptions, cancel: &Cancel) -> Result<ComposeProject, SourceError> {
    let mut reading = Reading {
        project: ComposeProject::default(),
        given: Vec::new(),
        documents: BTreeMap::new(),
        done: BTreeSet::new(),
        cancel,
        options,
    };
    reading.given = reading.given_env_files()?;
    let files = reading.given_files()?;
    let Some(project_dir) = files.first().and_then(|file| file.parent()).map(Path::to_path_buf) else {
        let names: Vec<_> = options.files.iter().map(|path| path.display().to_string()).collect();
        return Err(SourceError::Unavailable { what: format!("no compose file found at {}", names.join(", ")) });
    };
    let mut named = None;
    for file in &files {
        let place = Place::new(file, &project_dir);
        let scope = reading.scope(&place, None);
        named = reading.file(file, &place, &scope, 0)?.or(named);
    }
    let scope = reading.scope(&Place::new(&files[0], &project_dir), None);
    reading.project.given_files = files;
    if let Some(folder) = history::folder(&reading.project) {
        let (files, problems) = history::files(&folder, cancel)?;
        reading.project.attached_files.extend(files);
        reading.project.problems.extend(problems);
    }
    let named = options.project.clone().or_else(|| scope.value("COMPOSE_PROJECT_NAME")).or(named);
    let folder = project_dir.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    reading.project.name = project_name(&named.filter(|name| !name.is_empty()).unwrap_or(folder));
    Ok(reading.project.finished())
}

/// Compose's rule for names: lower case letters, digits, `-` and `_`, beginning with a letter or digit.
fn project_name(name: &str) -> String {
    let kept = name.to_lowercase();
    let kept: String = kept.chars().filter(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_')).collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}

impl ComposeProject {
    /// Every file of the project.
    pub fn all_files(&self) -> BTreeSet<PathBuf> {
        [&self.files, &self.env_files, &self.attached_files].into_iter().flatten().cloned().collect()
    }

    /// Gives volumes their full names, now that the project's name is known, and adds those that no file declares.
    fn finished(mut self) -> Self {
        for service in self.services.values() {
            for volume in &service.volumes {
                self.volumes.entry(volume.clone()).or_default();
            }
        }
        for (key, volume) in &mut self.volumes {
            if volume.name.is_empty() {
                volume.name = if volume.is_external { key.clone() } else { format!("{}_{key}", self.name) };
            }
        }
        self
    }
}

struct Reading<'a> {
    project: ComposeProject,
    /// The env files that were given, parsed.
    given: Vec<Rc<BTreeMap<String, String>>>,
    /// Compose files, parsed.
    documents: BTreeMap<PathBuf, Rc<Vec<Value>>>,
    /// Files read whole, so that a ring of includes ends.
    done: BTreeSet<PathBuf>,
    cancel: &'a Cancel,
    options: &'a ComposeOptions,
}

impl Reading<'_> {
    fn problem(&mut self, path: &Path, what: impl Into<String>) {
        let problem = Problem::new(path, what);
        // A file that several services name is named once.
        if !self.project.problems.contains(&problem) {
            self.project.problems.push(problem);
        }
    }

    /// The compose files that the options name.
    fn given_files(&mut self) -> Result<Vec<PathBuf>, SourceError> {
        let mut files = Vec::new();
        for pattern in &self.options.files {
            let paths = match expand(pattern, self.cancel)? {
                Expanded::Literal(path) => vec![path],
                Expanded::Matches(paths) if paths.is_empty() => vec![pattern.clone()],
                Expanded::Matches(paths) => paths.into_iter().filter(|path| path.is_file()).collect(),
            };
            for path in paths {
                match path.metadata() {
                    Ok(metadata) if metadata.is_dir() => match self.files_of_folder(&path) {
                        found if found.is_empty() => self.problem(&path, "no compose file in this folder"),
                        found => files.extend(found),
                    },
                    Ok(_) => files.push(path),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => self.problem(&path, "does not exist"),
                    Err(error) => self.problem(&path, error.to_string()),
                }
            }
        }
        Ok(files)
    }

    /// The files that Compose takes when it is started in `folder`.
    fn files_of_folder(&mut self, folder: &Path) -> Vec<PathBuf> {
        let place = Place { own: folder.to_path_buf(), project: folder.to_path_buf() };
        let scope = self.scope(&place, None);
        if let Some(list) = scope.value("COMPOSE_FILE").filter(|list| !list.is_empty()) {
            let separator = scope.value("COMPOSE_PATH_SEPARATOR").unwrap_or_else(|| ":".to_owned());
            return list.split(separator.as_str()).map(|file| resolve(file, &place, &scope)).collect();
        }
        let first = |names: &[&str]| names.iter().map(|name| folder.join(name)).find(|path| path.is_file());
        let Some(main) = first(&FILE_NAMES) else { return Vec::new() };
        [main].into_iter().chain(first(&OVERRIDE_NAMES)).collect()
    }

    fn given_env_files(&mut self) -> Result<Vec<Rc<BTreeMap<String, String>>>, SourceError> {
        let mut given = Vec::new();
        for pattern in &self.options.env {
            let paths = match expand(pattern, self.cancel)? {
                Expanded::Literal(path) => vec![path],
                Expanded::Matches(paths) if paths.is_empty() => vec![pattern.clone()],
                Expanded::Matches(paths) => paths,
            };
            for path in paths {
                let outer = Scope { outer: self.options.variables.clone(), layers: given.clone() };
                if self.take_env_file(&path, true) {
                    self.project.given_env.push(path.clone());
                    given.push(self.env_file(&path, &outer));
                }
            }
        }
        Ok(given)
    }

    /// The variables that a file at `place` sees: those of `.env` in the project's folder and in its own, of env files
    /// that were given, and of the environment. An included file sees those of the including one first.
    fn scope(&mut self, place: &Place, including: Option<&Scope>) -> Scope {
        let mut scope = Scope { outer: self.options.variables.clone(), layers: Vec::new() };
        let folders = BTreeSet::from([&place.project, &place.own]);
        let found = [&place.project, &place.own].into_iter().take(folders.len()).map(|folder| folder.join(".env"));
        for path in found.collect::<Vec<_>>() {
            if path.is_file() && self.take_env_file(&path, false) {
                let variables = self.env_file(&path, &scope);
                scope.layers.push(variables);
            }
        }
        scope.layers.extend(including.map_or_else(|| self.given.clone(), |including| including.layers.clone()));
        scope
    }

    fn env_file(&mut self, path: &Path, outer: &Scope) -> Rc<BTreeMap<String, String>> {
        let variables = match read_bounded(path) {
            Ok(bytes) => parse_env_file(&String::from_utf8_lossy(&bytes), &|name| outer.value(name)),
            Err(error) => {
                self.problem(path, error.to_string());
                BTreeMap::new()
            }
        };
        Rc::new(variables)
    }

    /// Adds an env file to the project; false where there is none.
    fn take_env_file(&mut self, path: &Path, is_required: bool) -> bool {
        match path.metadata() {
            Ok(metadata) if metadata.is_file() => {
                self.project.env_files.insert(path.to_path_buf());
                return true;
            }
            Ok(_) => self.problem(path, "is named as an env file, but is no regular file"),
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_required => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.problem(path, "the env file does not exist");
            }
            Err(error) => self.problem(path, error.to_string()),
        }
        false
    }

    /// The documents of a compose file. One that cannot be read or parsed has none; it is part of the project even so.
    fn parsed(&mut self, file: &Path) -> Rc<Vec<Value>> {
        if let Some(documents) = self.documents.get(file) {
            return Rc::clone(documents);
        }
        let parsed = read_bounded(file).map_err(|error| error.to_string()).and_then(|bytes| parse(&bytes));
        let documents = Rc::new(parsed.unwrap_or_else(|what| {
            self.problem(file, what);
            Vec::new()
        }));
        if file.is_file() {
            self.project.files.insert(file.to_path_buf());
        }
        self.documents.insert(file.to_path_buf(), Rc::clone(&documents));
        documents
    }

    /// Takes in a whole compose file; gives the project name it sets.
    fn file(&mut self, file: &Path, place: &Place, scope: &Scope, depth: u32) -> Result<Option<String>, SourceError> {
        self.cancel.check()?;
        if !self.done.insert(file.to_path_buf()) {
            return Ok(None);
        }
        let mut name = None;
        for document in self.parsed(file).iter() {
            name = document["name"].as_str().map(|name| scope.shown(name)).or(name);
            for included in list(&document["include"]) {
                self.include(included, file, place, scope, depth)?;
            }
            for (key, service) in map(&document["services"]) {
                let service = self.service(service, file, place, scope, depth);
                self.project.services.entry(key.clone()).or_default().merge(service);
            }
            for (_, attached) in map(&document["configs"]).chain(map(&document["secrets"])) {
                if let Some(path) = self.path(&attached["file"], file, place, scope) {
                    self.attach(path);
                }
            }
            for (key, volume) in map(&document["volumes"]) {
                let volume = NamedVolume::read(volume, &|text| scope.shown(text));
                self.project.volumes.insert(key.clone(), volume);
            }
        }
        Ok(name)
    }

    fn include(
        &mut self,
        included: &Value,
        file: &Path,
        place: &Place,
        scope: &Scope,
        depth: u32,
    ) -> Result<(), SourceError> {
        if depth == DEPTH_MAX {
            self.problem(file, "files include each other too deeply");
            return Ok(());
        }
        let paths = if included.is_string() { included } else { &included["path"] };
        let paths: Vec<_> = list(paths).filter_map(|path| self.path(path, file, place, scope)).collect();
        let Some(first) = paths.first() else { return Ok(()) };
        let folder = self.path(&included["project_directory"], file, place, scope);
        let folder = folder.unwrap_or_else(|| first.parent().unwrap_or(first).to_path_buf());
        let mut layers = Vec::new();
        for env_file in list(&included["env_file"]) {
            if let Some(path) = self.path(env_file, file, place, scope)
                && self.take_env_file(&path, true)
            {
                layers.push(self.env_file(&path, scope));
            }
        }
        for path in &paths {
            let place = Place::new(path, &folder);
            let mut inner = self.scope(&place, Some(scope));
            inner.layers.splice(0..0, layers.clone());
            self.file(path, &place, &inner, depth + 1)?;
        }
        Ok(())
    }

    fn service(&mut self, value: &Value, file: &Path, place: &Place, scope: &Scope, depth: u32) -> ComposeService {
        let mut service = self.extended(value, file, place, scope, depth);
        for option in ["env_file", "label_file"] {
            for named in list(&value[option]) {
                let path = if named.is_string() { named } else { &named["path"] };
                let is_required = named["required"].as_bool().unwrap_or(true);
                if let Some(path) = self.path(path, file, place, scope) {
                    self.take_env_file(&path, is_required);
                }
            }
        }
        service.merge(ComposeService {
            image: value["image"].as_str().map(|image| scope.shown(image)),
            is_built: !value["build"].is_null(),
            ..mounts(list(&value["volumes"]), &|text| scope.shown(text), &|path| resolve(path, place, scope))
        });
        service
    }

    /// The service that `value` extends, which may be that of another file.
    fn extended(&mut self, value: &Value, file: &Path, place: &Place, scope: &Scope, depth: u32) -> ComposeService {
        let extends = &value["extends"];
        let Some(name) = extends.as_str().or_else(|| extends["service"].as_str()) else {
            return ComposeService::default();
        };
        if depth == DEPTH_MAX {
            self.problem(file, format!("services extend each other too deeply at `{name}`"));
            return ComposeService::default();
        }
        let other = self.path(&extends["file"], file, place, scope);
        let (file, place) = match &other {
            Some(other) => (other.as_path(), &Place::new(other, other.parent().unwrap_or(other))),
            None => (file, place),
        };
        let documents = self.parsed(file);
        let found = documents.iter().rev().find_map(|document| document["services"].get(name));
        match found {
            Some(value) => self.service(value, file, place, scope, depth + 1),
            None => {
                // Where the file itself is missing or malformed, that has been said.
                if !documents.is_empty() {
                    self.problem(file, format!("has no service `{name}` to extend"));
                }
                ComposeService::default()
            }
        }
    }

    /// The path that a value of a compose file names; says so where it depends on a variable that is not set.
    fn path(&mut self, value: &Value, file: &Path, place: &Place, scope: &Scope) -> Option<PathBuf> {
        match scope.replace(value.as_str()?) {
            Ok(path) if path.is_empty() => None,
            Ok(path) => Some(resolve(&path, place, scope)),
            Err(name) => {
                self.problem(file, format!("names a file by the variable {name}, which is not set"));
                None
            }
        }
    }

    fn attach(&mut self, path: PathBuf) {
        match path.metadata() {
            Ok(metadata) if metadata.is_file() => {
                self.project.attached_files.insert(path);
            }
            Ok(_) => self.problem(&path, "is named as a config or secret, but is no regular file"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.problem(&path, "the config or secret does not exist");
            }
            Err(error) => self.problem(&path, error.to_string()),
        }
    }
}

/// The bytes of a regular file of at most [`READ_BYTES_MAX`].
pub fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::other("is not a regular file"));
    }
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(READ_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > READ_BYTES_MAX {
        return Err(io::Error::other(format!("is larger than the {READ_BYTES_MAX} bytes that are read")));
    }
    Ok(bytes)
}

/// The documents of a YAML file, or what is wrong with it and where. The message holds nothing of the file's text, since
/// there may be a password in it.
fn parse(bytes: &[u8]) -> Result<Vec<Value>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "is not UTF-8 text".to_owned())?;
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| match error.location() {
        Some(location) => format!("is not valid YAML at line {}, column {}", location.line(), location.column()),
        None => "is not valid YAML".to_owned(),
    })
}

/// The items of a list; a lone value counts as a list of one.
fn list(value: &Value) -> impl Iterator<Item = &Value> {
    let (items, lone) = match value {
        Value::Array(items) => (items.as_slice(), None),
        Value::Null => (&[][..], None),
        lone => (&[][..], Some(lone)),
    };
    items.iter().chain(lone)
}

fn map(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}
