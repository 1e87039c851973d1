//! What the container engine knows of a project: which image each container really runs, and what it was made with. The
//! files alone do not say that: a tag moves on, and a container is older than what the files say now.

use std::collections::BTreeMap;

use repository::format::go;
use repository::{Cancel, Facts, Node, NodeKind, SourceError};
use serde_json::{Value, json};

use super::Leaf;
use crate::containers::{Containers, EngineAddress};

/// The file with the definitions of the containers, at the root of the source's folder.
pub const DEFINITIONS: &str = "lifeboat-containers.json";
/// What changes from one moment to the next though nobody changed a thing, and what only the engine can use.
const PASSING: [&str; 11] = [
    "AppArmorProfile",
    "ExecIDs",
    "GraphDriver",
    "HostnamePath",
    "HostsPath",
    "LogPath",
    "NetworkSettings",
    "ResolvConfPath",
    "RestartCount",
    "State",
    "Storage",
];

/// The fact that holds what the engine says of each container.
const CONTAINERS: &str = "containers";
/// The fact that an engine answered in an earlier snapshot, and has not since.
const UNANSWERED: &str = "engine_unanswered";

/// What came of asking the engine.
pub enum Answer {
    /// It knows containers of the project.
    Known(Box<OfEngine>),
    /// It knows none: the files say enough to go on.
    NoContainers,
    /// None answers, or not to the end. The files are captured all the same.
    Silent(SourceError),
}

/// What the engine says of a project.
pub struct OfEngine {
    /// By the containers' names. Without their environment, since facts are shown.
    pub facts: Facts,
    /// The definitions, environment and all: for whoever must make a container again without its compose file.
    pub definitions: Leaf,
}

/// Asks the engine.
pub fn ask(engine: &EngineAddress, project: &str, cancel: &Cancel) -> Result<Answer, SourceError> {
    let asked = engine.open(cancel).and_then(|containers| of_project(&containers, project));
    match asked {
        Ok(Some(found)) => Ok(Answer::Known(Box::new(found))),
        Ok(None) => Ok(Answer::NoContainers),
        Err(SourceError::Cancelled) => Err(SourceError::Cancelled),
        Err(error) => Ok(Answer::Silent(error)),
    }
}

/// Whether an engine answered in the parent snapshot, or in one before it.
pub fn answered(previous: &Facts) -> bool {
    previous.contains_key(CONTAINERS) || previous.contains_key(UNANSWERED)
}

/// The fact that keeps an answer expected.
pub fn unanswered() -> (String, Value) {
    (UNANSWERED.to_owned(), Value::from(true))
}

fn of_project(containers: &Containers, project: &str) -> Result<Option<OfEngine>, SourceError> {
    let (mut facts, mut definitions) = (Facts::new(), BTreeMap::new());
    for container in containers.containers()?.into_iter().filter(|container| container.project() == Some(project)) {
        // An image that was removed meanwhile has none.
        let digests = containers.digests(&container.image_id).unwrap_or_default();
        let fact = json!({
            "service": container.service(), "image": container.image, "image_id": container.image_id, "digests": digests,
        });
        facts.insert(container.name.clone(), fact);
        let mut definition = containers.definition(&container)?;
        if let Some(fields) = definition.as_object_mut() {
            fields.retain(|name, _| !PASSING.contains(&name.as_str()));
            // The engine gives them in no order.
            if let Some(mounts) = fields.get_mut("Mounts").and_then(Value::as_array_mut) {
                mounts.sort_by_key(|mount| mount["Destination"].to_string());
            }
        }
        definitions.insert(container.name, definition);
    }
    if facts.is_empty() {
        return Ok(None);
    }
    let invalid = |error: serde_json::Error| SourceError::Invalid { what: error.to_string() };
    let bytes = serde_json::to_vec_pretty(&json!(definitions)).map_err(invalid)?;
    let mut node = Node::new(DEFINITIONS, NodeKind::File);
    node.mode = go::mode_from_posix(0o100_600);
    (node.size, node.links) = (bytes.len() as u64, 1);
    Ok(Some(OfEngine { facts, definitions: Leaf { node, bytes: Some(bytes) } }))
}

/// What the engine says of each container, as a fact.
pub fn fact(facts: Facts) -> (String, Value) {
    (CONTAINERS.to_owned(), Value::Object(facts))
}
