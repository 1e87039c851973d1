//! What lies in a data folder, part by part, in the order in which the parts are opened: what is made from other files
//! comes before these. Indexes that are ahead of their database are thrown away by CouchDB, or never catch up.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::FileType;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use couchfile::{ShardName, is_node_name};
use repository::{Cancel, CaptureCx, Event, Problem, SourceError};

use super::opener::How;
use super::shard_map::{NODE_LIST, SHARD_MAP};
use crate::source::walk::is_kept_by_restore;
use crate::source::walk::{Seen, walk};

/// What Sentinel keeps of its work. Ahead of the data, it would pass over documents for ever; behind, it does some twice.
const FIRST_SHARDS: &str = "medic-sentinel";
/// Where shards lie.
pub const SHARDS: &str = "shards/";
/// Where CouchDB puts files that it is about to remove.
const DELETED: &str = ".delete";
/// Clouseau's indexes, which are built anew.
pub const SEARCH_INDEXES: &str = "search_indexes";
/// Nouveau's indexes.
pub const NOUVEAU: &str = "nouveau";
/// What compactions leave behind until they are done, by the ends of their names.
const UNFINISHED: [&str; 3] = [".compact.data", ".compact.meta", ".compact.view"];
/// A compacted database right before it takes the place of the other.
pub const COMPACTED: &str = ".compact";

/// A part of the folder. The order is that of opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Nouveau's indexes.
    Nouveau,
    /// Views.
    Views,
    /// What lies beside the shards: the shard map, the nodes, and whatever else.
    Top,
    /// The shards of databases.
    Shards,
}

impl Part {
    pub const IN_ORDER: [Self; 4] = [Self::Nouveau, Self::Views, Self::Top, Self::Shards];

    /// Where something right below the data folder belongs. Which indexes are left out is for the caller to say.
    fn of(name: &OsStr, is_folder: bool) -> Option<Self> {
        let bytes = name.as_bytes();
        match name.to_str() {
            Some(DELETED) => None,
            Some("shards") => Some(Self::Shards),
            Some(".shards") => Some(Self::Views),
            Some(NOUVEAU | SEARCH_INDEXES) => Some(Self::Nouveau),
            // Where both have one folder, Nouveau's is named after the node.
            Some(name) if is_folder && is_node_name(name) => Some(Self::Nouveau),
            _ if is_folder && bytes.starts_with(b".") && bytes.ends_with(b"_design") => Some(Self::Views),
            _ => Some(Self::Top),
        }
    }
}

/// Whether what has this name right below a data folder is left out, since CouchDB makes it anew: indexes of full text.
pub fn is_rebuilt(name: &OsStr, is_folder: bool, nouveau: bool) -> bool {
    Part::of(name, is_folder) == Some(Part::Nouveau) && (!nouveau || name == SEARCH_INDEXES)
}

/// What a file is by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A database, or a shard of one.
    Database,
    /// A view.
    View,
    /// Something else that is opened with the view and read by its handle.
    Other,
}

impl Kind {
    pub fn of(path: &Path) -> Self {
        let bytes = path.as_os_str().as_bytes();
        if bytes.strip_suffix(COMPACTED.as_bytes()).is_some_and(|database| database.ends_with(b".couch")) {
            return Self::Database;
        }
        match path.extension().map(OsStr::as_bytes) {
            Some(b"couch") => Self::Database,
            Some(b"view") => Self::View,
            _ => Self::Other,
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// A file that belongs to the view: by its path, for a database also where only its compacted form is there.
    File(PathBuf),
    /// Anything else, as it lies.
    Beside(PathBuf),
}

/// Lists a data folder.
pub struct DataFolder<'a> {
    /// Absolute.
    pub root: &'a Path,
    pub nouveau: bool,
    pub cancel: &'a Cancel,
    pub own_paths: Vec<&'a Path>,
}

/// What a listing gave.
#[derive(Debug, Default)]
pub struct Listing {
    pub found: Vec<Found>,
    pub problems: Vec<Problem>,
    /// Folders that are left out on purpose.
    pub left_out: Vec<PathBuf>,
}

impl<'a> DataFolder<'a> {
    pub fn new(root: &'a Path, nouveau: bool, cx: &CaptureCx<'a>) -> Self {
        let own_paths = cx.own_paths.iter().map(PathBuf::as_path).chain([cx.scratch]).collect();
        Self { root, nouveau, cancel: cx.cancel, own_paths }
    }

    /// Lists a part as it is now.
    pub fn list(&self, part: Part) -> Result<Listing, SourceError> {
        let mut listing = Listing::default();
        let mut files = BTreeSet::new();
        for (name, file_type) in self.names(part, &mut listing)? {
            let host = self.root.join(&name);
            if is_rebuilt(&name, file_type.is_dir(), self.nouveau) || self.is_left_out(&host) {
                listing.left_out.push(host);
            } else if file_type.is_dir() {
                self.folder(&host, part, &mut files, &mut listing)?;
            } else {
                file(host, file_type, part, &mut files, &mut listing);
            }
        }
        listing.found.extend(files.into_iter().map(Found::File));
        listing.found.sort_by_cached_key(|found| match found {
            Found::File(path) => (!self.is_first(path), found.clone()),
            Found::Beside(_) => (true, found.clone()),
        });
        Ok(listing)
    }

    /// What belongs to `part` right below the data folder.
    fn names(&self, part: Part, listing: &mut Listing) -> Result<Vec<(OsString, FileType)>, SourceError> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(self.root).map_err(SourceError::io(self.root))? {
            match entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?))) {
                Ok(named) if Part::of(&named.0, named.1.is_dir()) == Some(part) => names.push(named),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => listing.problems.push(unlisted(self.root, &error)),
            }
        }
        Ok(names)
    }

    fn folder(
        &self,
        folder: &Path,
        part: Part,
        files: &mut BTreeSet<PathBuf>,
        listing: &mut Listing,
    ) -> Result<(), SourceError> {
        walk(folder, self.cancel, &mut |seen| match seen {
            Seen::Names(folder, names) => {
                if names.is_empty() {
                    listing.found.push(Found::Beside(folder.to_path_buf()));
                }
                true
            }
            Seen::Entry(path, file_type) if file_type.is_dir() => {
                let is_left_out = self.is_left_out(path);
                listing.left_out.extend(is_left_out.then(|| path.to_path_buf()));
                !is_left_out
            }
            Seen::Entry(path, file_type) => {
                file(path.to_path_buf(), file_type, part, files, listing);
                true
            }
            Seen::Unreadable(folder, error) => {
                listing.problems.push(unlisted(folder, &error));
                true
            }
        })
    }

    /// How a file is opened.
    pub fn how(&self, host: &Path) -> How {
        let is_read = [SHARD_MAP, NODE_LIST].iter().any(|name| host == self.root.join(name));
        match is_read {
            true => How::Read,
            false if self.is_first(host) => How::Held,
            false => How::WhileHandlesLast,
        }
    }

    /// What Lifeboat itself keeps, should it lie here.
    fn is_left_out(&self, host: &Path) -> bool {
        self.own_paths.contains(&host) || host.file_name().is_some_and(is_kept_by_restore)
    }

    fn is_first(&self, host: &Path) -> bool {
        let path = host.strip_prefix(self.root).ok().and_then(Path::to_str);
        path.and_then(ShardName::parse).is_some_and(|shard| shard.database == FIRST_SHARDS)
    }
}

/// Sorts a file in, or leaves it out.
fn file(host: PathBuf, file_type: FileType, part: Part, files: &mut BTreeSet<PathBuf>, listing: &mut Listing) {
    let (is_index, is_known) = (part == Part::Nouveau, part != Part::Top);
    let bytes = host.as_os_str().as_bytes();
    if !file_type.is_file() && (is_known || Kind::of(&host) != Kind::Other) {
        let what = "it is no file, but a link or the like, and what it leads to is not captured with it; move CouchDB's files \
                    into the data folder";
        listing.problems.push(Problem::new(&host, what));
    }
    if UNFINISHED.iter().any(|end| bytes.ends_with(end.as_bytes())) {
        return;
    }
    if let Some(database) = bytes.strip_suffix(COMPACTED.as_bytes()).filter(|database| database.ends_with(b".couch")) {
        files.insert(OsString::from_vec(database.to_vec()).into());
    } else if file_type.is_file() && (is_index || Kind::of(&host) != Kind::Other) {
        files.insert(host);
    } else {
        listing.found.push(Found::Beside(host));
    }
}

fn unlisted(folder: &Path, error: &std::io::Error) -> Problem {
    Problem::new(folder, format!("the folder could not be listed: {error}"))
}

/// Says what is left out on purpose.
pub fn note(cx: &CaptureCx<'_>, host: &Path) {
    let why = match host.file_name().and_then(OsStr::to_str) {
        Some(SEARCH_INDEXES) => "left out, since CouchDB builds these indexes anew",
        Some(name) if is_kept_by_restore(OsStr::new(name)) => {
            "left out, since a restore in place keeps it for its undo"
        }
        Some(name) if name == NOUVEAU || is_node_name(name) => {
            "left out, since Nouveau builds these indexes anew, which can take hours on a large site; `nouveau: true` \
             keeps them, and they must then not be ahead of the data"
        }
        _ => "left out, since Lifeboat keeps its repository or state there",
    };
    cx.events.emit(Event::Note(format!("{}: {why}", host.display())));
}
