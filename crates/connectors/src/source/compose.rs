//! Source `compose`: the files that describe an application of containers, and every file that they name.
//!
//! The files are read with the rules of the Compose specification, so that a project is captured also where Docker is not
//! running, or not there. Where an engine answers, what it knows of the project's containers is captured besides.

mod engine;
mod gone;
mod history;
mod interpolate;
mod project;
mod scope;
mod service;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Cursor;
use std::path::{Path, PathBuf};

use repository::fs::NodeReader;
use repository::{
    Cancel, Capture, CaptureCx, Data, Entry, Event, Facts, Id, Item, Node, NodeKind, Problem, Source, SourceError,
};
use serde_json::{Map, Value, json};

pub(super) use self::history::folder as history_folder;
pub use self::interpolate::{parse_env_file, parse_plain_env_file};
pub(super) use self::project::FILE_NAMES;
pub use self::project::{ComposeProject, read_compose_project};
pub use self::service::{BindMount, ComposeService, NamedVolume};

use self::engine::Answer;
use self::gone::Gone;
use self::project::{READ_BYTES_MAX, read_bounded};
use super::file_hash::file_hash;
use super::layout::{self, Placed, Step};
use crate::containers::EngineAddress;

/// The kind's name in the configuration.
pub const KIND: &str = "compose";

/// The fact that says with which files and env files the project is started.
const UP: &str = "up";
/// The fact that holds the hash of each file, by path.
const FILES: &str = "files";
/// The fact that holds the image of each service, by name.
const SERVICES: &str = "services";

/// What the snapshot is without when no engine answers.
const LACKS_CONTAINERS: &str = "image digests and the definitions of the containers are not in the snapshot";

/// Which project to capture.
#[derive(Clone, Default)]
pub struct ComposeOptions {
    /// Compose files, folders with one, or paths with wildcards; together they are one project. Relative paths in all of
    /// them begin at the folder of the first, as with `docker compose -f … -f …`, or else at their own.
    pub files: Vec<PathBuf>,
    /// Further env files, or paths with wildcards. They are captured, and set variables as `--env-file` does.
    pub env: Vec<PathBuf>,
    /// The project's name, where it is not that of the files or the folder.
    pub project: Option<String>,
    /// The environment that Compose is started with: it wins over all env files.
    pub variables: BTreeMap<String, String>,
    /// The container engine to ask about the project's containers; `None` asks none.
    pub engine: Option<EngineAddress>,
}

/// Shows no variables, since there may be a password among them.
impl std::fmt::Debug for ComposeOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { files, env, project, variables: _, engine: _ } = self;
        let mut shown = f.debug_struct("ComposeOptions");
        shown.field("files", files).field("env", env).field("project", project).finish_non_exhaustive()
    }
}

/// The files of a compose project.
#[derive(Debug)]
pub struct ComposeSource(ComposeOptions);

impl ComposeSource {
    /// Fails with a message for the user where no file is named.
    pub fn new(options: ComposeOptions) -> Result<Self, SourceError> {
        if options.files.is_empty() {
            return Err(SourceError::Unavailable {
                what: "files: name at least one compose file or folder".to_owned(),
            });
        }
        Ok(Self(options))
    }
}

impl Source for ComposeSource {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn claims(&self, _: &Cancel) -> Result<BTreeSet<PathBuf>, SourceError> {
        Ok(BTreeSet::new())
    }

    fn capture<'a>(&'a self, cx: &CaptureCx<'a>) -> Result<Box<dyn Capture + 'a>, SourceError> {
        let mut project = read_compose_project(&self.0, cx.cancel)?;
        let reader = NodeReader::default();
        let (mut leaves, mut files) = (BTreeMap::new(), Facts::new());
        for path in project.all_files() {
            cx.cancel.check()?;
            match Leaf::read(&reader, &path) {
                Ok((leaf, hash, problem)) => {
                    project.problems.extend(problem.map(|what| Problem::new(&path, what)));
                    files.insert(layout::fact_key(&path), hash);
                    leaves.insert(path, leaf);
                }
                Err(error) => project.problems.push(Problem::new(&path, error.to_string())),
            }
        }
        let mut known = layout::paths_fact(leaves.keys().map(PathBuf::as_path))?;
        let asked = self.0.engine.as_ref().filter(|_| !cx.look_only);
        let name = project.name.clone();
        let note = |what: String| cx.events.emit(Event::Note(format!("project {name}: {what}")));
        let answered_before = cx.previous.is_some_and(|previous| engine::answered(previous.facts));
        match asked.map(|address| engine::ask(address, &project.name, cx.cancel)).transpose()? {
            Some(Answer::Known(of_engine)) => {
                let path = Path::new("/").join(engine::DEFINITIONS);
                let hash = of_engine.definitions.bytes.as_deref().map(|bytes| Id::of(bytes).to_hex());
                files.insert(layout::fact_key(&path), Value::from(hash));
                known.extend([engine::fact(of_engine.facts)]);
                leaves.insert(path, of_engine.definitions);
            }
            Some(Answer::Silent(error)) => {
                let what = format!("{LACKS_CONTAINERS}: {error}");
                // Where it answered before, something is wrong with it now, or with the way to it.
                if answered_before {
                    known.extend([engine::unanswered()]);
                    project.problems.push(Problem::new(Path::new(&name), what));
                } else if cx.previous.is_none() {
                    note(what);
                }
            }
            // Once is enough where it is so each time.
            Some(Answer::NoContainers) if answered_before || cx.previous.is_none() => {
                let any_more = if answered_before { " any more" } else { "" };
                note(format!(
                    "the container engine knows no container of it{any_more}, so the snapshot tells no image digests"
                ));
            }
            Some(Answer::NoContainers) | None => {}
        }
        if let Some(previous) = cx.previous.filter(|_| !cx.look_only) {
            let gone = Gone::of(&project, previous.facts);
            for what in &gone.notes {
                cx.events.emit(Event::Note(format!("project {name}: {what}")));
            }
            known.extend(gone.fact());
            project.problems.extend(gone.problems);
        }
        known.extend(facts(&project, files));
        Ok(Box::new(ComposeCapture {
            cancel: cx.cancel,
            reader,
            steps: Placed::new(leaves),
            facts: known,
            waiting: project.problems.into_iter().map(Item::Problem).collect(),
            is_done: false,
        }))
    }
}

/// A file on its way into the snapshot.
struct Leaf {
    node: Node,
    /// The bytes that were hashed. `None` for a large file, which is read where it lies.
    bytes: Option<Vec<u8>>,
}

impl Leaf {
    /// Reads a file, so that what is stored is what was hashed; gives also its hash, and what could not be read of it. A
    /// file that is named by a link is captured under the link's name.
    fn read(reader: &NodeReader, path: &Path) -> std::io::Result<(Self, Value, Option<String>)> {
        let read = layout::read_followed(reader, path)?;
        let mut node = read.node;
        if node.kind != NodeKind::File {
            return Err(std::io::Error::other("is not a regular file"));
        }
        let problem = read.xattr_error.map(|error| layout::xattrs(&error));
        if node.size > READ_BYTES_MAX {
            return Ok((Self { node, bytes: None }, Value::Null, problem));
        }
        let bytes = read_bounded(path)?;
        node.size = bytes.len() as u64;
        (node.links, node.device_id) = (1, 0);
        let hash = Value::from(Id::of(&bytes).to_hex());
        Ok((Self { node, bytes: Some(bytes) }, hash, problem))
    }
}

fn facts(project: &ComposeProject, files: Facts) -> Facts {
    let services = project.services.iter().map(|(name, service)| {
        let mut facts = Map::new();
        facts.extend(service.image.as_ref().map(|image| ("image".to_owned(), Value::from(image.as_str()))));
        facts.extend(service.digest().map(|digest| ("digest".to_owned(), Value::from(digest))));
        (name.clone(), Value::Object(facts))
    });
    let volumes = project
        .volumes
        .iter()
        .map(|(key, volume)| (key.clone(), json!({ "name": volume.name, "external": volume.is_external })));
    let binds: BTreeSet<_> =
        project.services.values().flat_map(|service| &service.binds).map(|bind| layout::fact_key(&bind.host)).collect();
    let keys = |paths: &[PathBuf]| Value::from_iter(paths.iter().map(|path| layout::fact_key(path)));
    let facts = [
        (UP, json!({ "files": keys(&project.given_files), "env": keys(&project.given_env) })),
        ("project", Value::from(project.name.as_str())),
        (FILES, Value::Object(files)),
        (SERVICES, Value::Object(services.collect())),
        ("volumes", Value::Object(volumes.collect())),
        ("binds", Value::from_iter(binds)),
    ];
    facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

struct ComposeCapture<'a> {
    cancel: &'a Cancel,
    reader: NodeReader,
    steps: Placed<Leaf>,
    waiting: VecDeque<Item>,
    facts: Facts,
    is_done: bool,
}

impl Capture for ComposeCapture<'_> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        self.cancel.check()?;
        if let Some(item) = self.waiting.pop_front() {
            return Ok(Some(item));
        }
        Ok(match self.steps.next() {
            Some(Step::Folder(host)) => Some(layout::folder_item(&self.reader, &host, &mut self.waiting)),
            Some(Step::Leaf(host, leaf)) => {
                let path = layout::in_snapshot(&host);
                let data = match leaf.bytes {
                    Some(bytes) => Data::Stream(Box::new(Cursor::new(bytes))),
                    None => Data::File { path: host, append_only: None },
                };
                Some(Item::Entry(Box::new(Entry { path, node: leaf.node, data })))
            }
            None => {
                self.is_done = true;
                None
            }
        })
    }

    fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
        if !self.is_done {
            return Err(SourceError::Invalid { what: "the project's files were not read to their end".to_owned() });
        }
        Ok(self.facts)
    }
}

/// Hashes the restored files again. What was read out of them is the same where they are.
pub fn examine(dir: &Path, recorded: &Facts, cancel: &Cancel) -> Result<Facts, SourceError> {
    let files = layout::recount(dir, recorded, FILES, |path, recorded| {
        let hashed = file_hash(path, cancel)?;
        Ok::<_, SourceError>(hashed.map(|(_, hash)| if recorded.is_null() { Value::Null } else { Value::from(hash) }))
    })?;
    let mut facts = recorded.clone();
    facts.insert(FILES.to_owned(), Value::Object(files));
    Ok(facts)
}
