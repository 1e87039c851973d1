//! `lifeboat restore SNAPSHOT:SOURCE/DB[/ID] --couch-url URL`: documents out of a snapshot, written back into a running
//! CouchDB over HTTP.
//!
//! Revisions are written as they were, so that doing it twice changes nothing. What CouchDB shows is then read back: a
//! deletion or a newer revision that is there wins over what was written, and only `--as-new-revision` goes on top of it.

use std::collections::{BTreeMap, BTreeSet};

use connectors::couch_server::{Account, CouchError, CouchServer, Now};
use connectors::documents::{StoredDataFolder, StoredDatabase, Upload, UploadError, Write, each_change};
use couchfile::{Database, DocumentInfo, Leaf, ReadAt};
use operations::config::SecretSource;
use operations::snapshots::Place;
use operations::{Fault, FaultKind};
use repository::file_reader::StoredFiles;
use serde_json::json;
use zeroize::Zeroizing;

use crate::app::{App, Opened};
use crate::arguments::{self, ToCouch};
use crate::documents::{self, Lost};
use crate::output::{Outcome, count};

/// Documents in one request.
const BATCH_DOCUMENTS_MAX: usize = 200;
/// Bytes of JSON after which no more revisions of one document are read: they are held together. The shown one comes first.
const LEAVES_BYTES_MAX: usize = 256 << 20;
/// Bytes of JSON in one request, where it is more than one document's.
const BATCH_BYTES_MAX: usize = 4 << 20;
/// The password of the user, as CouchDB's containers call it.
const PASSWORD_VARIABLE: &str = "COUCHDB_PASSWORD";

pub fn run(app: &App, place: &Place, url: &str, arguments: &arguments::Restore) -> Result<Outcome, Fault> {
    let couch = &arguments.couch;
    let server = CouchServer::new(url, account(app, couch)?, app.run.cancel.clone()).map_err(fault)?;
    let stack = arguments.stack.as_deref();
    let of_stack = stack.and_then(|name| app.settings.stack(name).ok());
    let copies = app.repositories(arguments.copy.as_deref(), of_stack)?;
    let (Opened { repository, .. }, found) = app.find_snapshot(&copies, &place.snapshot, stack)?;
    let index = app.index(&repository)?;
    let files = StoredFiles::new(&repository, &index);
    let wanted = Wanted::of(place)?;
    let tree = &found.snapshot.tree;
    let (folder, lost) = documents::data_folder(app, &repository, &index, &files, tree, wanted.source.as_ref())?;
    for doubt in found.doubts {
        lost.doubt(doubt);
    }
    let (database, ids) = wanted.resolve(&folder, &lost, &couch.id)?;
    let target = couch.couch_db.as_deref().unwrap_or(&database.name);
    server.check_database(target).map_err(|error| match error {
        CouchError::NotFound(_) => fault(error)
            .with_hint("make the database first, or name another with --couch-db; a whole one comes back by its files"),
        error => fault(error),
    })?;
    let write = if couch.as_new_revision { Write::AsNew } else { Write::AsItWas };
    let mut job = Job {
        app,
        server: &server,
        target,
        lost: &lost,
        write,
        dry_run: arguments.dry_run,
        batch: Batch::default(),
        told: Told::default(),
    };
    match ids.is_empty() {
        true => job.all(&database)?,
        false => ids.iter().try_for_each(|id| job.one(&database, id))?,
    }
    job.send()?;
    Ok(job.told.tell(app, &found.id.to_hex(), &server, target, lost.total(), arguments.dry_run))
}

fn account(app: &App, couch: &ToCouch) -> Result<Option<Account>, Fault> {
    let Some(user) = couch.couch_user.clone() else { return Ok(None) };
    let password = match (&couch.couch_password_file, app.run.environment.get(PASSWORD_VARIABLE)) {
        (Some(file), _) => Zeroizing::new(SecretSource::File(file.clone()).read()?.expose().to_owned()),
        (None, Some(password)) => Zeroizing::new(password.to_owned()),
        (None, None) => {
            let question = format!("password of {user} at CouchDB:");
            app.output().ask_secret(&question).ok_or_else(|| {
                Fault::new(FaultKind::Usage, format!("there is no password for {user}"))
                    .with_hint(format!("set {PASSWORD_VARIABLE}, or name a file with --couch-password-file"))
            })?
        }
    };
    Ok(Some(Account { user, password }))
}

/// `SOURCE/DB[/ID]`, as it was typed: both names may have slashes.
struct Wanted<'p> {
    source: &'p str,
    rest: &'p str,
}

impl<'p> Wanted<'p> {
    fn of(place: &'p Place) -> Result<Self, Fault> {
        let text = place.path.to_str().unwrap_or_default();
        match text.split_once('/') {
            Some((source, rest)) if !rest.is_empty() => Ok(Self { source, rest }),
            _ => Err(Fault::new(FaultKind::Usage, "name the database, or the document: SNAPSHOT:SOURCE/DB[/ID]")
                .with_hint("`lifeboat docs SNAPSHOT:SOURCE` lists the databases")),
        }
    }

    /// The database, and the documents that are wanted of it; all where none is named. Of databases whose names begin
    /// alike, it is the longest.
    fn resolve<'r>(
        &self,
        folder: &StoredDataFolder<'r>,
        lost: &Lost<'_>,
        more: &[String],
    ) -> Result<(StoredDatabase<'r>, BTreeSet<String>), Fault> {
        let rest = lost.below_source(self.source, self.rest);
        let names = folder.names()?;
        let (name, id) = split(rest, &names).unwrap_or((rest, None));
        let database = documents::database(folder, name)?;
        Ok((database, more.iter().cloned().chain(id.map(str::to_owned)).collect()))
    }
}

fn split<'t>(text: &'t str, names: &BTreeSet<String>) -> Option<(&'t str, Option<&'t str>)> {
    let fits =
        |name: &&String| text.strip_prefix(name.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let name = names.iter().filter(fits).max_by_key(|name| name.len())?;
    let (name, rest) = text.split_at(name.len());
    Some((name, rest.strip_prefix('/').filter(|id| !id.is_empty())))
}

/// What was done.
#[derive(Default)]
struct Told {
    documents: u64,
    revisions: u64,
    /// Documents of which what was written is not what CouchDB shows.
    hidden: u64,
    /// Documents that were there already, just so.
    unchanged: u64,
    refused: u64,
    /// Documents that are deleted in the snapshot, which no new revision is made of.
    left_out_deleted: u64,
}

/// Documents that are sent together.
#[derive(Default)]
struct Batch {
    uploads: Vec<(String, Upload)>,
    bytes: usize,
    /// The revision of each document that the snapshot shows.
    winners: BTreeMap<String, Now>,
}

struct Job<'a> {
    app: &'a App,
    server: &'a CouchServer,
    target: &'a str,
    lost: &'a Lost<'a>,
    write: Write,
    dry_run: bool,
    batch: Batch,
    told: Told,
}

impl Job<'_> {
    fn all(&mut self, database: &StoredDatabase<'_>) -> Result<(), Fault> {
        self.lost.missing(database);
        for shard in &database.shards {
            let opened = match shard.open() {
                Ok(opened) => opened,
                Err(error) => {
                    self.lost.error(&shard.path, error)?;
                    continue;
                }
            };
            each_change(&opened, 0, &mut |found| {
                self.app.run.cancel.check()?;
                match found {
                    Ok(info) if !database.belongs(shard, &info.id) => {
                        self.doubtful(&shard.path, &info.id);
                        Ok(())
                    }
                    Ok(info) => self.document(&shard.path, &opened, &info),
                    Err(error) => self.lost.error(&shard.path, error),
                }
            })?;
        }
        Ok(())
    }

    fn one(&mut self, database: &StoredDatabase<'_>, id: &str) -> Result<(), Fault> {
        if id.starts_with("_local/") {
            let what = format!("{id} is a local document, which belongs to one server and is not written to another");
            return Err(Fault::new(FaultKind::Unsupported, what).with_hint("`lifeboat docs` prints it"));
        }
        let (path, opened, info) = documents::find(database, id, self.lost, |shard, opened| {
            Ok(opened.document(id)?.map(|info| (shard.path.clone(), shard.open(), info)))
        })?;
        match opened {
            Ok(opened) => self.document(&path, &opened, &info),
            Err(error) => self.lost.error(&path, error),
        }
    }

    /// Names a document that nobody may have written under this id, and leaves it out.
    fn doubtful(&self, path: &str, id: &str) {
        let what = format!(
            "was not written: no document of this id belongs into {path}, so it may come of a damaged page; where it is right \
             after all, name it with --id"
        );
        self.lost.document(self.target, &format!("{id:?}"), what);
    }

    fn document<R: ReadAt>(&mut self, path: &str, database: &Database<R>, info: &DocumentInfo) -> Result<(), Fault> {
        if self.batch.uploads.len() >= BATCH_DOCUMENTS_MAX || self.batch.bytes >= BATCH_BYTES_MAX {
            self.send()?;
        }
        let leaves = info.leaves();
        let wanted = match self.write {
            Write::AsItWas => leaves.len(),
            Write::AsNew if info.deleted => {
                self.told.left_out_deleted += 1;
                return Ok(());
            }
            Write::AsNew => 1,
        };
        let mut is_any = false;
        let before = self.batch.bytes;
        for leaf in leaves.iter().take(wanted) {
            if self.batch.bytes - before >= LEAVES_BYTES_MAX {
                let what = format!(
                    "document {:?}, revision {}: left out, since those before it have more than {} MiB together",
                    info.id,
                    leaf.revision(),
                    LEAVES_BYTES_MAX >> 20
                );
                self.lost.name(path, what);
                continue;
            }
            is_any |= self.leaf(path, database, &info.id, *leaf)?;
        }
        if let Some(winner) = leaves.first().filter(|_| is_any) {
            let winner = Now { revision: winner.revision().to_string(), deleted: winner.deleted() };
            self.batch.winners.insert(info.id.clone(), winner);
        }
        Ok(())
    }

    /// Puts a revision into the batch, where it can be read.
    fn leaf<R: ReadAt>(&mut self, path: &str, database: &Database<R>, id: &str, leaf: Leaf<'_>) -> Result<bool, Fault> {
        let what = |what: &str| format!("document {id:?}, revision {}: {what}", leaf.revision());
        let read = database.read(id, leaf).map_err(UploadError::from);
        match read.and_then(|found| found.map(|found| Upload::read(database, &found, self.write)).transpose()) {
            Ok(Some(upload)) => {
                self.batch.bytes += upload.json().len();
                self.batch.uploads.push((id.to_owned(), upload));
                return Ok(true);
            }
            Ok(None) => self.lost.name(path, what("it is known by its name only")),
            Err(UploadError::Read(error)) => self.lost.name(path, what(&connectors::documents::passable(error)?)),
            Err(error @ UploadError::TooLarge { .. }) => self.lost.name(path, what(&error.to_string())),
        }
        Ok(false)
    }

    /// Sends the batch, and reads back what came of it.
    fn send(&mut self) -> Result<(), Fault> {
        let Batch { mut uploads, winners, .. } = std::mem::take(&mut self.batch);
        let ids: Vec<&str> = winners.keys().map(String::as_str).collect();
        if ids.is_empty() {
            return Ok(());
        }
        if self.write == Write::AsNew {
            let now = self.server.now(self.target, &ids).map_err(fault)?;
            uploads.retain(|(id, _)| winners.get(id) != now.get(id));
            self.told.unchanged += (winners.len() - uploads.len()) as u64;
            for (id, upload) in &mut uploads {
                // A deleted document is written as if it had never been: CouchDB puts it on top of the deletion.
                if let Some(now) = now.get(id).filter(|now| !now.deleted) {
                    *upload = upload.on_top_of(&now.revision);
                }
            }
        }
        if self.dry_run {
            self.told.documents += uploads.iter().map(|(id, _)| id).collect::<BTreeSet<_>>().len() as u64;
            self.told.revisions += uploads.len() as u64;
            return Ok(());
        }
        let refused = self.write(&uploads)?;
        let written: BTreeSet<&str> =
            uploads.iter().map(|(id, _)| id.as_str()).filter(|id| !refused.contains(*id)).collect();
        self.told.documents += written.len() as u64;
        self.told.revisions += uploads.iter().filter(|(id, _)| written.contains(id.as_str())).count() as u64;
        if self.write == Write::AsItWas {
            let ids: Vec<&str> = written.into_iter().collect();
            let now = self.server.now(self.target, &ids).map_err(fault)?;
            for id in ids {
                self.look_at(id, winners.get(id), now.get(id));
            }
        }
        Ok(())
    }

    /// Writes revisions, and gives the documents of which one was refused.
    fn write(&mut self, uploads: &[(String, Upload)]) -> Result<BTreeSet<String>, Fault> {
        let documents: Vec<&str> = uploads.iter().map(|(_, upload)| upload.json()).collect();
        let mut refused = BTreeSet::new();
        if documents.is_empty() {
            return Ok(refused);
        }
        match self.server.write(self.target, &documents, self.write == Write::AsNew) {
            Ok(answers) => {
                for answer in answers {
                    let id = answer.id.unwrap_or_default();
                    self.refuse(&id, &answer.what);
                    refused.insert(id);
                }
            }
            // One of them is to blame for all: which one?
            Err(CouchError::Refused { status: 400..500, .. }) if uploads.len() > 1 => {
                let (first, second) = uploads.split_at(uploads.len() / 2);
                refused = self.write(first)?;
                refused.extend(self.write(second)?);
            }
            Err(error @ CouchError::Refused { status: 400..500, .. }) => {
                for (id, _) in uploads {
                    self.refuse(id, &error.to_string());
                    refused.insert(id.clone());
                }
            }
            Err(error) => return Err(fault(error)),
        }
        Ok(refused)
    }

    fn refuse(&mut self, id: &str, what: &str) {
        self.told.refused += 1;
        self.lost.document(self.target, id, format!("was not written: {what}"));
    }

    /// Holds what CouchDB shows of a document against what it showed in the snapshot.
    fn look_at(&mut self, id: &str, winner: Option<&Now>, now: Option<&Now>) {
        let Some(winner) = winner.filter(|winner| Some(*winner) != now) else { return };
        self.told.hidden += 1;
        let wrote = &winner.revision;
        let what = match now {
            None => format!("was accepted, and CouchDB does not have it: revision {wrote}"),
            Some(Now { revision, deleted: true }) => {
                format!("stays deleted: its deletion {revision} wins over {wrote}; write it with --as-new-revision")
            }
            Some(Now { revision, .. }) if winner.deleted => {
                format!("is not deleted: {revision} is there, and wins over the deletion {wrote} of the snapshot")
            }
            Some(Now { revision, .. }) => format!(
                "is shown as {revision}, which wins over {wrote}; to put the snapshot's on top, add --as-new-revision"
            ),
        };
        self.lost.document(self.target, id, what);
    }
}

impl Told {
    fn tell(&self, app: &App, id: &str, server: &CouchServer, target: &str, problems: u64, dry_run: bool) -> Outcome {
        let Self { documents, revisions, hidden, unchanged, refused, left_out_deleted } = self;
        app.output().summary(json!({
            "status": if problems > 0 { "partial" } else { "ok" }, "snapshot_id": id, "database": target,
            "dry_run": dry_run, "documents": documents, "revisions": revisions, "hidden": hidden,
            "unchanged": unchanged, "refused": refused, "left_out_deleted": left_out_deleted, "problems": problems,
        }));
        let (done, what) = (if dry_run { "would write" } else { "wrote" }, count(*documents, "document"));
        let revisions = count(*revisions, "revision");
        app.output().text(format!("{done} {what} ({revisions}) into {target} at {}", server.address()));
        if *unchanged > 0 {
            app.output().chat(format!("{} there already, just so", count(*unchanged, "document")));
        }
        if *left_out_deleted > 0 {
            app.output().chat(format!("{} deleted in the snapshot and left out", count(*left_out_deleted, "document")));
        }
        if problems > 0 {
            app.output().text(format!("PARTIALLY: {}, named above", count(problems, "problem")));
            return Outcome::Partial;
        }
        Outcome::Ok
    }
}

fn fault(error: CouchError) -> Fault {
    let (kind, hint) = match &error {
        CouchError::Address(_) => (
            FaultKind::Usage,
            Some("name the user with --couch-user, and give the password in COUCHDB_PASSWORD or --couch-password-file"),
        ),
        CouchError::Absent(_) | CouchError::Unreachable(_) | CouchError::Mute(_) => (
            FaultKind::Failed,
            Some("nothing is half written: run it again once CouchDB answers; what was written stays as it is"),
        ),
        CouchError::Denied(_) | CouchError::Password(_) => (
            FaultKind::Denied,
            Some("name the user with --couch-user, and give the password in COUCHDB_PASSWORD or --couch-password-file"),
        ),
        CouchError::NotFound(_) => (FaultKind::NotFound, None),
        CouchError::Refused { .. } | CouchError::Strange(_) => {
            (FaultKind::Failed, Some("look whether --couch-url is CouchDB's own address"))
        }
        CouchError::Cancelled => (FaultKind::Cancelled, None),
    };
    hint.into_iter().fold(Fault::new(kind, error.to_string()), Fault::with_hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_told_from_its_database_also_where_both_have_slashes() {
        let names: BTreeSet<String> = ["medic", "odd", "odd/name", "medic-logs"].map(str::to_owned).into();
        let split = |text| split(text, &names);
        assert_eq!(split("medic"), Some(("medic", None)));
        assert_eq!(split("medic/"), Some(("medic", None)));
        assert_eq!(split("medic/_design/x//y"), Some(("medic", Some("_design/x//y"))));
        assert_eq!(split("odd/name/a"), Some(("odd/name", Some("a"))));
        assert_eq!(split("odd/names"), Some(("odd", Some("names"))));
        assert_eq!(split("medic-lo"), None);
    }
}
