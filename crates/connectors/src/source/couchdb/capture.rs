//! The view: everything is opened in order, then yielded by path.

mod asked;
mod check;
mod lost;
mod secret;
mod whole;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs::File;
use std::path::{Path, PathBuf};

use couchfile::ShardName;
use repository::source::{OpenFile, VOLUME_FACT};
use repository::{Capture, CaptureCx, Data, Entry, Event, Events, Facts, Item, NodeKind, Problem, SourceError};
use serde_json::{Map, Value, json};

use self::check::{Ahead, CheckedInPart};
use super::cross_check::CrossCheck;
use super::damage::{self, Damage};
use super::data_folder::{self, DataFolder, Found, Kind, Part};
use super::facts::{self, Counted, DAMAGED, DATA, MISSING, OLDER_XXH3, SEEN, UNSEEN, VERSION};
use super::opener::{Handle, How, Opened, OpenedFile, Opener};
use super::parent::Before;
use super::shard_map::{self, SHARD_MAP_FILES};
use super::stamp::Stamp;
use super::{CouchDbOptions, config, misplaced, unseen};
use crate::source::full_read::FullRead;
use crate::source::layout::{self, Placed, Step};

/// The database that CouchDB's secret decrypts.
const VAULT: &str = "medic-vault";
/// Files whose checks run before it is their turn, each in a thread.
const CHECKS_AHEAD: usize = 2;
/// How it is said that nobody can decrypt a database, whose name follows.
pub(super) const UNDECRYPTABLE: &str = "nobody can decrypt what is in database ";

/// A file on its way into the snapshot.
enum Leaf {
    /// Opened with the view.
    Opened(Box<OpenedFile>),
    /// Read when it is its turn.
    AsItLies,
}

/// The open view.
pub struct CouchDbCapture<'a> {
    events: &'a dyn Events,
    root: PathBuf,
    opener: Opener<'a>,
    full_read: FullRead,
    /// What was found so far. Once all of it was, it goes to `steps`.
    leaves: BTreeMap<PathBuf, Leaf>,
    /// What could not be opened, which is said once.
    failed: BTreeSet<PathBuf>,
    steps: Placed<Leaf>,
    /// The steps after the one that was given last, and the checks of their files.
    following: VecDeque<(Step<Leaf>, Option<Ahead>)>,
    /// What came last, by its name in the facts.
    last: Option<String>,
    /// What came last, where only a part of it was checked.
    in_part: Option<CheckedInPart>,
    waiting: VecDeque<Item>,
    is_done: bool,
    counted: Counted,
    owner: Option<String>,
    /// Whether the shard map could be opened.
    has_map: bool,
    /// Why a shard map could not be read.
    unread_map: Option<String>,
    /// Whether every shard map could be read.
    is_map_whole: bool,
    damaged: Map<String, Value>,
    older_xxh3: BTreeSet<String>,
    seen: Map<String, Value>,
    /// Database files that vanished before it was their turn.
    vanished: Vec<PathBuf>,
    paths: Facts,
    /// The server that was asked and is asked once more at the end.
    server: Option<CrossCheck>,
    version: Option<String>,
    /// The volumes that the data folder and the configuration lie in.
    volumes: Vec<Value>,
}

/// Opens the view. Of files whose handles need not be held, `handles` are.
pub fn open<'a>(options: &CouchDbOptions, cx: &CaptureCx<'a>, handles: u64) -> Result<CouchDbCapture<'a>, SourceError> {
    let data = options.data_on_host(cx.cancel)?;
    let root = layout::absolute(&data.path).map_err(SourceError::io(&data.path))?;
    if !root.is_dir() {
        let what = format!("data: {} is not a folder; name the one with `_dbs.couch` and `shards`", root.display());
        return Err(SourceError::Unavailable { what });
    }
    let before = Before::new(cx.previous, &layout::fact_key(&root));
    // Where the parent snapshot has CouchDB's files right in it, its disk may not be mounted, and what is known goes on.
    if !before.had_shards_here() {
        misplaced::refuse(&root, cx.cancel)?;
    }
    let (config, unavailable) = match options.config_on_host(cx.cancel) {
        Ok(config) => (config, None),
        Err(SourceError::Cancelled) => return Err(SourceError::Cancelled),
        // The data is worth more than waiting until its configuration can be read, too.
        Err(error) => (None, Some(error)),
    };
    let volumes: Vec<Value> = std::iter::once(&data).chain(&config).filter_map(|place| place.volume.clone()).collect();
    let config = config.map(|config| layout::absolute(&config.path).map_err(SourceError::io(&config.path)));
    let config = config.transpose()?;
    let there = config.as_deref().filter(|config| config.exists());
    let paths = layout::paths_fact([Some(root.as_path()), there].into_iter().flatten())?;
    let full_read = FullRead::new(cx, options.full_read);
    let mut capture = CouchDbCapture {
        events: cx.events,
        opener: Opener::new(cx, before, handles, full_read.is_due),
        full_read,
        leaves: BTreeMap::new(),
        failed: BTreeSet::new(),
        steps: Placed::new(BTreeMap::new()),
        following: VecDeque::new(),
        last: None,
        in_part: None,
        waiting: VecDeque::new(),
        is_done: false,
        counted: Counted::default(),
        owner: None,
        has_map: false,
        unread_map: None,
        is_map_whole: false,
        damaged: Map::new(),
        older_xxh3: BTreeSet::new(),
        seen: Map::new(),
        vanished: Vec::new(),
        paths,
        volumes,
        root,
        server: None,
        version: None,
    };
    if !cx.look_only {
        capture.ask(options)?;
    }
    let root = capture.root.clone();
    let folder = DataFolder::new(&root, options.nouveau, cx);
    for part in Part::IN_ORDER {
        capture.take_part(&folder, part, cx)?;
        if part == Part::Top && !cx.look_only {
            capture.read_shard_map();
        }
    }
    if !cx.look_only {
        capture.look_for_missing_shards(&folder, cx)?;
        capture.look_for_twins();
    }
    if let Some(error) = unavailable {
        capture.problem(&root, format!("the configuration cannot be read: {error}"));
    }
    capture.take_config(config.as_deref(), options, cx)?;
    if !capture.has_databases() {
        capture.problem(&root, "there is no file of CouchDB in it; is its disk mounted?");
    } else if !misplaced::is_data_folder(&root) {
        let what = "neither `_dbs.couch` nor `shards` is in it, so its files are captured and none of them is known to be all \
                    of a database; name CouchDB's data folder";
        capture.problem(&root, what);
    }
    capture.steps = Placed::new(without_folders_on_the_way(std::mem::take(&mut capture.leaves)));
    Ok(capture)
}

impl CouchDbCapture<'_> {
    fn problem(&mut self, host: &Path, what: impl Into<String>) {
        self.waiting.push_back(Item::Problem(Problem::new(host, what)));
    }

    /// Opens what a part of the folder holds and was not opened yet.
    fn take_part(&mut self, folder: &DataFolder<'_>, part: Part, cx: &CaptureCx<'_>) -> Result<(), SourceError> {
        let listing = folder.list(part)?;
        self.waiting.extend(listing.problems.into_iter().map(Item::Problem));
        listing.left_out.iter().for_each(|host| data_folder::note(cx, host));
        self.take_found(folder, listing.found, cx.look_only)
    }

    fn take_found(&mut self, folder: &DataFolder<'_>, found: Vec<Found>, look_only: bool) -> Result<(), SourceError> {
        for found in found {
            match found {
                Found::File(host) if !look_only => {
                    if !self.leaves.contains_key(&host) && !self.failed.contains(&host) {
                        self.take(&host, folder.how(&host))?;
                    }
                }
                Found::File(host) | Found::Beside(host) => {
                    self.leaves.insert(host, Leaf::AsItLies);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, host: &Path, how: How) -> Result<(), SourceError> {
        let key = facts::key(&self.root, host);
        match self.opener.open(host, &key, how)? {
            Opened::File(file) => {
                self.note(host, &key, &file);
                self.leaves.insert(host.to_path_buf(), Leaf::Opened(file));
            }
            Opened::Compacted(compacted) => self.take(&compacted, how)?,
            Opened::Beside => {
                self.leaves.insert(host.to_path_buf(), Leaf::AsItLies);
            }
            Opened::Gone => self.gone(host, &key),
            Opened::Failed(error) => {
                self.failed.insert(host.to_path_buf());
                self.unopened(host, &key, &error);
            }
        }
        Ok(())
    }

    /// Says that a file is not in the snapshot, and where it is.
    fn unopened(&mut self, host: &Path, key: &str, error: &std::io::Error) {
        let before = self.opener.before;
        let good_in = before.good_in(Kind::of(host), key);
        let told = good_in.map(|snapshot| damage::told_good_in(&snapshot, before.is_gone(&snapshot)));
        self.problem(host, format!("{error}{}", told.unwrap_or_default()));
    }

    /// Removes what was noted of a file that is not captured after all.
    fn unnote(&mut self, key: &str) {
        for facts in [&mut self.counted.files, &mut self.counted.views, &mut self.seen, &mut self.damaged] {
            facts.remove(key);
        }
    }

    fn gone(&mut self, host: &Path, key: &str) {
        self.unnote(key);
        let what = format!("{}: vanished while it was being captured", host.display());
        self.events.emit(Event::Note(what));
    }

    /// Names shards of one database that are one file: a copy that stands in the place of another shard. CouchDB opens it, and
    /// the documents of that one are not here.
    fn look_for_twins(&mut self) {
        let mut first_of = BTreeMap::new();
        let mut twins = Vec::new();
        for (key, header) in &self.counted.files {
            let (Some(shard), Some(uuid)) = (ShardName::parse(key), header["uuid"].as_str()) else { continue };
            let first = first_of.entry((shard.database, uuid)).or_insert(key);
            if *first != key {
                let what = "is the same file, so one is a copy in the place of the other, whose documents are not here: put the \
                            right file back";
                twins.push((self.root.join(key), format!("{first} {what}")));
            }
        }
        twins.into_iter().for_each(|(host, what)| self.problem(&host, what));
    }

    /// Puts what a file says of itself into the facts.
    fn note(&mut self, host: &Path, key: &str, file: &OpenedFile) {
        let before = self.opener.before;
        self.seen.insert(key.to_owned(), Value::from(file.stamp.to_string()));
        let told = self.damaged.remove(key);
        self.older_xxh3.remove(key);
        let damage = match &file.header {
            Err(what) => Some(Damage::of_header(what.clone())),
            // What the shard map lost is known once it was read.
            Ok(Some(_)) if SHARD_MAP_FILES.contains(&key) => None,
            Ok(Some(header)) if file.kind == Kind::Database => {
                self.note_returned(host, key, header);
                Damage::of_loss(&before, key, header)
            }
            Ok(_) => None,
        };
        if let Some(damage) = damage {
            let record = damage.record(&before, file.kind, key);
            // The shard map may be opened several times.
            if told.as_ref() == Some(&record) {
                self.damaged.insert(key.to_owned(), record);
            } else {
                self.tell_damage(host, key, record);
            }
        }
        let noted = match file.kind {
            Kind::Database => &mut self.counted.files,
            Kind::View => &mut self.counted.views,
            Kind::Other => return,
        };
        noted.remove(key);
        if let Ok(Some(header)) = &file.header {
            noted.insert(key.to_owned(), header.clone());
            if file.kind == Kind::Database && header["checksum"] != "xxh3" && before.has_xxh3(key, &file.stamp, header)
            {
                self.older_xxh3.insert(key.to_owned());
            }
        }
    }

    fn tell_damage(&mut self, host: &Path, key: &str, record: Value) {
        let path = host.strip_prefix(&self.root).unwrap_or(host).to_string_lossy();
        self.waiting.push_back(Item::Problem(damage::problem(host, &path, &record)));
        self.damaged.insert(key.to_owned(), record);
    }

    fn take_config(
        &mut self,
        config: Option<&Path>,
        options: &CouchDbOptions,
        cx: &CaptureCx<'_>,
    ) -> Result<(), SourceError> {
        let found = config.map(|config| config::find(config, cx.cancel)).transpose()?.unwrap_or_default();
        self.waiting.extend(found.problems.into_iter().map(Item::Problem));
        for path in found.paths {
            self.leaves.entry(path).or_insert(Leaf::AsItLies);
        }
        if found.holds_secret || cx.look_only || self.is_secret_on_another_node(options)? {
            return Ok(());
        }
        let what = "CouchDB's secret is not in the snapshot; name the folder with CouchDB's own configuration as `config`, \
                    such as `local.d`, with a `secret` in its section `[couch_httpd_auth]`";
        match self.counted.maps.iter().any(|map| map.database == VAULT) {
            true => {
                let what = format!("{what}: without it, {UNDECRYPTABLE}{VAULT}");
                self.problem(config.unwrap_or(&self.root.clone()), what);
            }
            false => self.events.emit(Event::Note(what.to_owned())),
        }
        Ok(())
    }

    /// The next step. The checks of those after it begin: to read a file and to check the next one take about as long.
    fn step(&mut self) -> Option<(Step<Leaf>, Option<Ahead>)> {
        let step = self.following.pop_front().or_else(|| Some((self.steps.next()?, None)));
        while self.following.len() < CHECKS_AHEAD
            && let Some(step) = self.steps.next()
        {
            let ahead = self.check_ahead(&step);
            self.following.push_back((step, ahead));
        }
        step
    }

    /// The file by its handle, checked as far as it is new.
    fn opened(
        &mut self,
        host: &Path,
        file: Box<OpenedFile>,
        ahead: Option<Ahead>,
    ) -> Result<Option<Item>, SourceError> {
        let key = facts::key(&self.root, host);
        let Some(file) = self.at_hand(host, &key, file)? else { return Ok(None) };
        self.last = Some(key.clone());
        if let Some(error) = &file.xattr_error {
            self.problem(host, layout::xattrs(error));
        }
        self.check(host, &key, &file, ahead)?;
        let OpenedFile { node, stamp, kind, handle, header, .. } = *file;
        // What was stored of a damaged file is not relied on: its disk may read it well now.
        let is_relied_on = header.is_ok() && self.opener.before.damage(&key).is_none();
        let append_only = kind != Kind::Other && is_relied_on && !self.full_read.is_due;
        let bytes = node.size;
        let open: OpenFile = match handle {
            Handle::Held(held) => Box::new(move || Ok(held)),
            Handle::Released | Handle::Unchanged => {
                let host = host.to_path_buf();
                Box::new(move || reopen(&host, &stamp))
            }
        };
        let data = Data::Prefix { open, bytes, append_only };
        Ok(Some(Item::Entry(Box::new(Entry { path: layout::in_snapshot(host), node, data }))))
    }

    /// Opens a file again for which no handle was left. Where another took its name since, that one is cut anew.
    fn at_hand(
        &mut self,
        host: &Path,
        key: &str,
        file: Box<OpenedFile>,
    ) -> Result<Option<Box<OpenedFile>>, SourceError> {
        if !matches!(file.handle, Handle::Released) {
            return Ok(Some(file));
        }
        match self.opener.open(host, key, How::Read)? {
            Opened::File(again) if self.opener.still_has(&again, &file) => {
                Ok(Some(Box::new(OpenedFile { handle: again.handle, ..*file })))
            }
            Opened::File(again) => {
                self.note(host, key, &again);
                Ok(Some(again))
            }
            Opened::Failed(error) => {
                self.unnote(key);
                self.unopened(host, key, &error);
                Ok(None)
            }
            Opened::Compacted(_) | Opened::Beside => {
                self.unnote(key);
                self.problem(host, "a compaction of it ended halfway while it was being captured");
                Ok(None)
            }
            Opened::Gone => {
                self.gone(host, key);
                self.vanished.extend((file.kind == Kind::Database).then(|| host.to_path_buf()));
                Ok(None)
            }
        }
    }

    /// A database that was deleted meanwhile has left the shard map. What else vanished lacks.
    fn tell_vanished(&mut self) {
        let vanished = std::mem::take(&mut self.vanished);
        let now = if vanished.is_empty() { None } else { shard_map::maps_of_folder(&self.root) };
        for host in vanished {
            let shard = host.strip_prefix(&self.root).ok().and_then(Path::to_str).and_then(ShardName::parse);
            let is_deleted = shard
                .zip(now.as_ref())
                .is_some_and(|(shard, now)| !now.iter().any(|map| shard_map::is_of(map, &shard)));
            if !is_deleted {
                self.problem(&host, "it vanished while it was being captured, and its database was not deleted");
            }
        }
    }

    /// A folder. Links lead to the data folder at most, so below it none are looked for.
    fn folder(&mut self, host: &Path) -> Item {
        let below = host.starts_with(&self.root) && host != self.root;
        match self.opener.reader.read(host) {
            Ok(read) if below && read.xattr_error.is_none() && read.node.kind == NodeKind::Dir => {
                let path = layout::in_snapshot(host);
                Item::Entry(Box::new(Entry { path, node: read.node, data: Data::None }))
            }
            _ => layout::folder_item(&self.opener.reader, host, &mut self.waiting),
        }
    }

    fn as_it_lies(&mut self, host: &Path) -> Option<Item> {
        let read = match self.opener.reader.read(host) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.gone(host, &facts::key(&self.root, host));
                return None;
            }
            Err(error) => return Some(Item::Problem(Problem::new(host, error.to_string()))),
        };
        if let Some(error) = read.xattr_error {
            self.problem(host, layout::xattrs(&error));
        }
        let data = match read.node.kind {
            NodeKind::File => Data::File { path: host.to_path_buf(), append_only: None },
            _ => Data::None,
        };
        Some(Item::Entry(Box::new(Entry { path: layout::in_snapshot(host), node: read.node, data })))
    }
}

impl Capture for CouchDbCapture<'_> {
    fn next(&mut self) -> Result<Option<Item>, SourceError> {
        (self.last, self.in_part) = (None, None);
        loop {
            self.opener.cancel.check()?;
            if let Some(item) = self.waiting.pop_front() {
                return Ok(Some(item));
            }
            let item = match self.step() {
                Some((Step::Folder(host), _)) => Some(self.folder(&host)),
                Some((Step::Leaf(host, Leaf::Opened(file)), ahead)) => self.opened(&host, file, ahead)?,
                Some((Step::Leaf(host, Leaf::AsItLies), _)) => self.as_it_lies(&host),
                None if !self.vanished.is_empty() => {
                    self.tell_vanished();
                    None
                }
                None => match self.server.take() {
                    Some(server) => {
                        self.compare(&server)?;
                        None
                    }
                    None if self.waiting.is_empty() => {
                        self.is_done = true;
                        return Ok(None);
                    }
                    None => None,
                },
            };
            if item.is_some() {
                return Ok(item);
            }
        }
    }

    fn left_out(&mut self) {
        if let Some(key) = self.last.take() {
            self.unnote(&key);
        }
    }

    fn read_whole(&mut self) {
        self.check_rest();
    }

    fn finish(self: Box<Self>) -> Result<Facts, SourceError> {
        if !self.is_done {
            return Err(SourceError::Invalid { what: "the data folder was not read to its end".to_owned() });
        }
        let (unseen, missing) = (self.unseen(), self.missing());
        let good_in = unseen::good_in(self.damaged.values().chain(unseen.values()));
        let mut facts = self.counted.into_facts();
        facts.extend(good_in);
        if !unseen.is_empty() {
            facts.insert(UNSEEN.to_owned(), unseen.into());
        }
        if !missing.is_empty() {
            facts.insert(MISSING.to_owned(), json!(missing));
        }
        self.full_read.note(&mut facts);
        facts.extend(self.paths);
        if !self.volumes.is_empty() {
            facts.insert(VOLUME_FACT.to_owned(), self.volumes.into());
        }
        facts.insert(DATA.to_owned(), json!(layout::fact_key(&self.root)));
        if !self.older_xxh3.is_empty() {
            facts.insert(OLDER_XXH3.to_owned(), json!(self.older_xxh3));
        }
        facts.insert(DAMAGED.to_owned(), self.damaged.into());
        facts.insert(SEEN.to_owned(), self.seen.into());
        facts.extend(self.version.map(|version| (VERSION.to_owned(), Value::from(version))));
        Ok(facts)
    }
}

/// A folder that was empty when it was listed may have got files until it was listed again.
fn without_folders_on_the_way(leaves: BTreeMap<PathBuf, Leaf>) -> BTreeMap<PathBuf, Leaf> {
    let mut next = leaves.keys().skip(1);
    let on_the_way: BTreeSet<_> =
        leaves.keys().filter(|path| next.next().is_some_and(|next| next.starts_with(path))).cloned().collect();
    leaves.into_iter().filter(|(path, _)| !on_the_way.contains(path)).collect()
}

/// Opens a file by its name, if that is still the file that was seen.
fn reopen(host: &Path, stamp: &Stamp) -> std::io::Result<File> {
    let file = repository::fs::open(host)?;
    let stat = rustix::fs::fstat(&file)?;
    if (stat.st_dev, stat.st_ino) != (stamp.device, stamp.inode) {
        return Err(std::io::Error::other("another file took its place while it was being captured"));
    }
    Ok(file)
}
