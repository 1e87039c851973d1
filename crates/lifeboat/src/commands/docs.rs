//! `lifeboat docs`: databases and documents of a CouchDB, straight out of a snapshot.

mod attachments;

use std::io::{self, ErrorKind, StdoutLock, Write as _};

use connectors::documents::{
    Since, Stored, StoredDataFolder, StoredDatabase, StoredShard, Summary, each_change, passable, since,
};
use couchfile::{Database, DocumentInfo, JsonOptions, Leaf, ReadAt};
use operations::{Fault, FaultKind};
use repository::file_reader::StoredFiles;
use serde_json::{Value, json};

use self::attachments::AttachmentFolder;
use crate::app::{App, Opened};
use crate::arguments;
use crate::documents::{self, Lost};
use crate::output::{Outcome, complain};

/// Local documents that CouchDB keeps for itself, and does not list.
const LOCAL_OWN: [&str; 2] = ["_local/purge-", "_local/shard-sync-"];
const LOCAL: &str = "_local/";

pub fn run(app: &App, arguments: &arguments::Docs) -> Result<Outcome, Fault> {
    let mut print = Printer::new(app);
    match print_all(app, arguments, &mut print) {
        Err(_) if print.is_closed => Ok(Outcome::Ok),
        done => done,
    }
}

fn print_all(app: &App, arguments: &arguments::Docs, print: &mut Printer) -> Result<Outcome, Fault> {
    let (place, stack) = (&arguments.place, arguments.stack.as_deref());
    let of_stack = stack.and_then(|name| app.settings.stack(name).ok());
    let copies = app.repositories(arguments.copy.as_deref(), of_stack)?;
    let (Opened { repository, .. }, found) = app.find_snapshot(&copies, &place.snapshot, stack)?;
    let index = app.index(&repository)?;
    let files = StoredFiles::new(&repository, &index);
    let tree = &found.snapshot.tree;
    let (folder, lost) = documents::data_folder(app, &repository, &index, &files, tree, &place.path)?;
    for doubt in found.doubts {
        lost.doubt(doubt);
    }
    let told = match &arguments.database {
        None => databases(&folder, &lost, print)?,
        Some(name) => {
            let database = &documents::database(&folder, name)?;
            let attachments = arguments.attachments.as_deref();
            let attachments = attachments.map(|to| AttachmentFolder::new(to, arguments.all_leaves)).transpose()?;
            let mut job = Job { app, arguments, database, lost: &lost, print, attachments, told: Told::default() };
            match (&arguments.id, &arguments.since) {
                (Some(id), _) => job.one(id)?,
                (None, Some(earlier)) => {
                    let (Opened { repository, .. }, found) = app.find_snapshot(&copies, earlier, stack)?;
                    let index = app.index(&repository)?;
                    let files = StoredFiles::new(&repository, &index);
                    let tree = &found.snapshot.tree;
                    let (folder, before) = documents::data_folder(app, &repository, &index, &files, tree, &place.path)?;
                    // A shard that is missing there is told of, and given whole.
                    job.changed(folder.database(name)?.as_ref())?;
                    lost.add(&before);
                }
                (None, None) if arguments.local => job.locals()?,
                (None, None) => job.all()?,
            }
            let Told { documents, left_out_deleted, attachments } = job.told;
            json!({ "database": name, "documents": documents, "left_out_deleted": left_out_deleted,
                    "attachments": attachments })
        }
    };
    let status = if lost.total() > 0 { "partial" } else { "ok" };
    let mut summary = json!({ "status": status, "snapshot_id": found.id, "problems": lost.total() });
    if let (Value::Object(summary), Value::Object(told)) = (&mut summary, told) {
        summary.extend(told);
    }
    app.output().summary(summary);
    Ok(if lost.total() > 0 { Outcome::Partial } else { Outcome::Ok })
}

fn databases(folder: &StoredDataFolder<'_>, lost: &Lost<'_>, print: &mut Printer) -> Result<Value, Fault> {
    let databases = folder.databases(&mut |path, what| lost.file(path, what))?;
    for database in &databases {
        print.database(database)?;
    }
    Ok(json!({ "databases": databases.len() }))
}

/// What was printed of a database.
#[derive(Default)]
struct Told {
    documents: u64,
    /// Deleted documents that were not asked for.
    left_out_deleted: u64,
    attachments: u64,
}

struct Job<'a> {
    app: &'a App,
    arguments: &'a arguments::Docs,
    database: &'a StoredDatabase<'a>,
    lost: &'a Lost<'a>,
    print: &'a mut Printer,
    attachments: Option<AttachmentFolder>,
    told: Told,
}

impl Job<'_> {
    /// The shards that can be opened; the others are named.
    fn each_shard(
        &mut self,
        mut work: impl FnMut(&mut Self, &str, &Database<Stored<'_>>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        for shard in &self.database.shards {
            if let Some(opened) = self.open(shard)? {
                work(self, &shard.path, &opened)?;
            }
        }
        Ok(())
    }

    fn open<'f>(&self, shard: &StoredShard<'f>) -> Result<Option<Database<Stored<'f>>>, Fault> {
        match shard.open() {
            Ok(opened) => Ok(Some(opened)),
            Err(error) => self.lost.error(&shard.path, error).map(|()| None),
        }
    }

    fn all(&mut self) -> Result<(), Fault> {
        self.lost.missing(self.database);
        self.each_shard(|job, path, database| job.changes(path, database, 0))
    }

    fn changes<R: ReadAt>(&mut self, path: &str, database: &Database<R>, since: u64) -> Result<(), Fault> {
        each_change(database, since, &mut |found| {
            self.app.run.cancel.check()?;
            match found {
                Ok(info) => self.document(path, database, &info),
                Err(error) => self.lost.error(path, error),
            }
        })
    }

    /// What changed since the database was as `earlier`.
    fn changed(&mut self, earlier: Option<&StoredDatabase<'_>>) -> Result<(), Fault> {
        self.lost.missing(self.database);
        self.each_shard(|job, path, database| {
            let before = earlier.and_then(|earlier| earlier.shards.iter().find(|shard| shard.path == path));
            let since = match before.map(StoredShard::open) {
                Some(Ok(before)) => since(before.header(), database.header()),
                Some(Err(error)) => Since::All(format!("its earlier state cannot be read: {}", passable(error)?)),
                None => Since::All("the earlier snapshot does not have it".to_owned()),
            };
            match since {
                Since::Update(update) => job.changes(path, database, update),
                Since::All(why) => {
                    job.note(&format!("{path}: all documents are given: {why}"));
                    job.changes(path, database, 0)
                }
            }
        })
    }

    fn locals(&mut self) -> Result<(), Fault> {
        self.lost.missing(self.database);
        self.each_shard(|job, path, database| {
            for local in database.local_documents() {
                job.app.run.cancel.check()?;
                match local {
                    Ok(local) if LOCAL_OWN.iter().any(|own| local.id.starts_with(own)) => {}
                    Ok(local) => job.print(path, &local.id, local.to_json())?,
                    Err(error) => job.lost.error(path, error)?,
                }
            }
            Ok(())
        })
    }

    /// One document, by its id.
    fn one(&mut self, id: &str) -> Result<(), Fault> {
        if id.starts_with(LOCAL) {
            let (path, local) = documents::find(self.database, id, self.lost, |shard, opened| {
                Ok(opened.local_document(id)?.map(|local| (shard.path.clone(), local)))
            })?;
            return self.print(&path, id, local.to_json());
        }
        let found = documents::find(self.database, id, self.lost, |shard, opened| {
            Ok(opened.document(id)?.map(|info| (shard.path.clone(), shard.open(), info)))
        });
        let (path, opened, info) = found?;
        match opened {
            Ok(opened) => self.asked_for(&path, &opened, &info),
            Err(error) => self.lost.error(&path, error),
        }
    }

    fn asked_for<R: ReadAt>(&mut self, path: &str, database: &Database<R>, info: &DocumentInfo) -> Result<(), Fault> {
        let id = &info.id;
        if let Some(name) = &self.arguments.rev {
            let there = || {
                let bodies = info.revisions.nodes().iter().filter(|node| node.body.is_some());
                bodies.map(|node| node.revision.to_string()).collect::<Vec<_>>().join(", ")
            };
            let found = info.revisions.named(name).filter(|found| found.body().is_some());
            let found = found.ok_or_else(|| {
                Fault::new(FaultKind::NotFound, format!("the snapshot does not hold revision {name} of {id:?}"))
                    .with_hint(format!("it holds {}", there()))
            })?;
            return self.leaf(path, database, id, found);
        }
        if info.deleted && !self.arguments.all_leaves {
            let what = format!("document {id:?} is deleted in this snapshot");
            return Err(Fault::new(FaultKind::NotFound, what)
                .with_hint("--all-leaves shows its deletion; an earlier snapshot may have it"));
        }
        self.document(path, database, info)
    }

    fn document<R: ReadAt>(&mut self, path: &str, database: &Database<R>, info: &DocumentInfo) -> Result<(), Fault> {
        if info.deleted && !self.arguments.all_leaves {
            self.told.left_out_deleted += 1;
            return Ok(());
        }
        let leaves = info.leaves();
        let wanted = if self.arguments.all_leaves { leaves.len() } else { 1 };
        for leaf in leaves.into_iter().take(wanted) {
            self.leaf(path, database, &info.id, leaf)?;
        }
        Ok(())
    }

    fn leaf<R: ReadAt>(&mut self, path: &str, database: &Database<R>, id: &str, leaf: Leaf<'_>) -> Result<(), Fault> {
        let revision = leaf.revision();
        let document = match database.read(id, leaf) {
            Ok(Some(document)) => document,
            Ok(None) => {
                self.lost.name(path, format!("document {id:?}: revision {revision} is known by its name only"));
                return Ok(());
            }
            Err(error) => return self.unreadable(path, &format!("document {id:?}, revision {revision}"), error),
        };
        self.print(path, id, document.to_json(JsonOptions { revisions: self.arguments.revs, encodings: false }))?;
        for attachment in &document.attachments {
            let Some(folder) = &self.attachments else { break };
            let what = format!("attachment {:?} of document {id:?}, revision {revision}", attachment.name);
            let write = |out: &mut dyn io::Write| database.write_attachment(id, attachment, out);
            match folder.write(id, &revision.to_string(), &attachment.name, write)? {
                Ok(()) => self.told.attachments += 1,
                Err(error) => self.unreadable(path, &what, error)?,
            }
        }
        Ok(())
    }

    fn print(&mut self, path: &str, id: &str, json: Result<String, couchfile::Error>) -> Result<(), Fault> {
        match json {
            Ok(json) => {
                self.told.documents += 1;
                self.print.document(&json)
            }
            Err(error) => self.unreadable(path, &format!("document {id:?}"), error),
        }
    }

    fn unreadable(&self, path: &str, what: &str, error: couchfile::Error) -> Result<(), Fault> {
        self.lost.name(path, format!("{what}: {}", passable(error)?));
        Ok(())
    }

    fn note(&self, line: &str) {
        self.app.output().json("note", json!({ "text": line }));
        if !self.app.output().is_json() {
            complain(&format!("note: {line}"));
        }
    }
}

/// Prints JSON lines, each whole at once. Their numbers stay as CouchDB prints them, so none is parsed on the way.
struct Printer {
    out: StdoutLock<'static>,
    json: bool,
    /// Nobody reads any more: `| head` has seen enough.
    is_closed: bool,
}

impl Printer {
    fn new(app: &App) -> Self {
        Self { out: io::stdout().lock(), json: app.output().is_json(), is_closed: false }
    }

    fn document(&mut self, json: &str) -> Result<(), Fault> {
        match self.json {
            // The document's members are its own.
            true => self.line(&format!("{{\"message_type\":\"document\",\"doc\":{json}}}\n")),
            false => self.line(&format!("{json}\n")),
        }
    }

    fn database(&mut self, database: &Summary) -> Result<(), Fault> {
        // Plain values cannot fail to encode.
        let json = serde_json::to_string(database).unwrap_or_default();
        match self.json {
            true => self.line(&format!("{{\"message_type\":\"database\",{}\n", json.trim_start_matches('{'))),
            false => self.line(&format!("{json}\n")),
        }
    }

    fn line(&mut self, line: &str) -> Result<(), Fault> {
        self.out.write_all(line.as_bytes()).map_err(|error| {
            self.is_closed = error.kind() == ErrorKind::BrokenPipe;
            Fault::local("cannot write to standard output", error)
        })
    }
}
