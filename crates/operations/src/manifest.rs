//! `lifeboat.json` in every snapshot's root: the exact facts taken at backup time, which a drill compares with what came
//! back, and the time that each source is of. An unchanged stack has an unchanged manifest; the snapshot knows its time.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use repository::backup::TreeFacts;
use repository::format::go;
use repository::format::pack::BlobKind;
use repository::source::VOLUME_FACT;
use repository::{Error, Facts, Id, Index, Problem, Repository, SourceError, walk};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The manifest's name in the snapshot's root.
pub const MANIFEST_NAME: &str = "lifeboat.json";
/// The name of the text that tells how to restore without Lifeboat.
pub const RESTORE_GUIDE_NAME: &str = "RESTORE.md";
/// Problems that are listed in the manifest one by one; their number is always exact.
pub const PROBLEMS_LISTED_MAX: usize = 1000;
/// Notes that are kept of a source; each is told once.
pub const NOTES_MAX: usize = 100;
/// A manifest larger than this is not one of ours.
const MANIFEST_BYTES_MAX: u64 = 256 << 20;

fn is_too_large(bytes: u64) -> bool {
    bytes > MANIFEST_BYTES_MAX
}

/// What a snapshot holds, by the word of who made it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format; 1.
    pub version: u32,
    /// The stack.
    pub stack: String,
    /// The sources, by their names, which are also their folders.
    pub sources: BTreeMap<String, SourceRecord>,
}

/// One source's part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceRecord {
    /// The kind, such as `files`.
    pub kind: String,
    /// Whether everything is in the snapshot.
    pub status: SourceStatus,
    /// The time that what was captured is of; `None` in snapshots of earlier versions. A manifest that differs in this alone from
    /// its parent's is that one again, so that an unchanged stack adds nothing but a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub captured: Option<Window>,
    /// What the engine counted while it wrote.
    pub tree: TreeFacts,
    /// What the source itself found, at the instant of the data.
    pub facts: Facts,
    /// How many files there were when there were last any, where there are none now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emptied_of: Option<u64>,
    /// What was left out or is doubtful, up to [`PROBLEMS_LISTED_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// How many problems there were.
    #[serde(default)]
    pub problems_total: usize,
    /// What was left out on purpose, or is worth knowing without being wrong, up to [`NOTES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The time that data is of: a database's moment lies in it, and files were read in it, each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// When it began.
    pub from: Timestamp,
    /// When it ended.
    pub to: Timestamp,
}

impl Window {
    /// The time that several are of together; `None` of none.
    pub fn around(windows: impl IntoIterator<Item = Self>) -> Option<Self> {
        windows.into_iter().reduce(|one, other| Self { from: one.from.min(other.from), to: one.to.max(other.to) })
    }
}

impl SourceRecord {
    /// Takes in all problems of the source.
    pub fn list(&mut self, problems: &[Problem]) {
        self.problems = problems.iter().take(PROBLEMS_LISTED_MAX).cloned().collect();
        self.problems_total = problems.len();
        self.status = if problems.is_empty() { SourceStatus::Ok } else { SourceStatus::Partial };
    }

    /// Whether it says the same, at whatever time it was captured.
    pub fn is_same_as(&self, other: &Self) -> bool {
        *self == Self { captured: self.captured, ..other.clone() }
    }

    /// How many files it had when it last had any.
    pub fn files_last(&self) -> u64 {
        if self.tree.files > 0 { self.tree.files } else { self.emptied_of.unwrap_or(0) }
    }

    /// The volumes of a container engine that were captured, as [`VOLUME_FACT`] has them.
    pub fn volumes(&self) -> &[Value] {
        match self.facts.get(VOLUME_FACT) {
            Some(Value::Array(volumes)) => volumes,
            Some(volume) => std::slice::from_ref(volume),
            None => &[],
        }
    }

    /// Where on the host the volumes lay that were captured, by their names: those whose folder tells the disk. What a driver or
    /// an option brings from elsewhere is only mounted there while it is used.
    pub fn volume_folders(&self) -> impl Iterator<Item = (String, PathBuf)> {
        let text = |volume: &Value, key| Some(volume.get(key)?.as_str()?.to_owned());
        let is_here = |volume: &&Value| {
            let options = volume.get("options").and_then(Value::as_object);
            let is_bind = |list: &Value| {
                list.as_str().is_some_and(|list| list.split(',').any(|word| word == "bind" || word == "rbind"))
            };
            let is_plain = options.is_none_or(|options| options.is_empty() || options.get("o").is_some_and(is_bind));
            volume.get("driver").is_none_or(|driver| driver == "local") && is_plain
        };
        self.volumes()
            .iter()
            .filter(is_here)
            .filter_map(move |volume| Some((text(volume, "name")?, path(&text(volume, "folder")?))))
    }
}

/// Whether this is the folder with the files of the volume `name`, as engines that keep volumes as folders lay them out.
pub fn is_volume_folder(path: &Path, name: &str) -> bool {
    path.ends_with(Path::new(name).join("_data"))
}

/// A path as facts have it: quoted as names in trees are, so that any bytes survive.
pub fn path(fact: &str) -> PathBuf {
    let bytes = go::unquote(fact).unwrap_or_else(|| fact.as_bytes().to_vec());
    PathBuf::from(OsString::from_vec(bytes))
}

/// Whether a source is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceStatus {
    /// Everything is in the snapshot.
    Ok,
    /// Something was left out or is doubtful.
    Partial,
}

impl Manifest {
    /// The version this program writes.
    pub const VERSION: u32 = 1;

    /// `partial` where any source is.
    pub fn status(&self) -> SourceStatus {
        let whole = self.sources.values().all(|record| record.status == SourceStatus::Ok);
        if whole { SourceStatus::Ok } else { SourceStatus::Partial }
    }

    /// The JSON as it is stored, made to be read by people too.
    pub fn to_json(&self) -> Vec<u8> {
        // Maps with text keys and plain values cannot fail to encode.
        let mut json = serde_json::to_vec_pretty(self).unwrap_or_default();
        json.push(b'\n');
        json
    }

    /// The JSON, for a snapshot that is being written.
    ///
    /// # Errors
    /// It is larger than what is read again.
    pub fn to_stored(&self) -> Result<Vec<u8>, Error> {
        let json = self.to_json();
        if is_too_large(json.len() as u64) {
            let what = format!(
                "what is to be noted of the sources has {} bytes, more than {MANIFEST_BYTES_MAX}; divide them among several \
                 stacks",
                json.len()
            );
            return Err(SourceError::Invalid { what }.into());
        }
        Ok(json)
    }

    /// Reads a stored manifest.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        if manifest.version != Self::VERSION {
            return Err(format!("manifest version {} is not known; update Lifeboat", manifest.version));
        }
        Ok(manifest)
    }

    /// The manifest of the snapshot whose root is `tree`. `None` where another program made the snapshot.
    pub fn load(repository: &Repository, index: &Index, tree: &Id) -> Result<Option<Self>, Error> {
        let Some(node) = walk::find(repository, index, tree, MANIFEST_NAME.as_ref())? else { return Ok(None) };
        let malformed = |what| Error::MalformedTree { id: *tree, what: format!("{MANIFEST_NAME}: {what}") };
        if is_too_large(node.size) {
            return Err(malformed(format!("it has {} bytes", node.size)));
        }
        let mut json = Vec::new();
        for id in &node.content {
            json.extend(repository.blob(index, BlobKind::Data, id)?);
        }
        Self::parse(&json).map(Some).map_err(malformed)
    }
}
