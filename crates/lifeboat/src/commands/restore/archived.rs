//! An archive put back to where its source came from, by the same path as any snapshot: checked, compared, with an undo. It
//! becomes a snapshot of one source, in a repository that lasts as long as the restore does.

use std::path::Path;
use std::sync::Arc;

use archive::read::Unpacked;
use archive::{ArchiveName, Identities};
use connectors::source::{FilesOptions, FilesSource};
use operations::backup::{self, NamedSource, StackBackup};
use operations::manifest::{MANIFEST_NAME, Manifest};
use operations::scratch::with_scratch;
use operations::snapshots::Place;
use operations::surroundings::NoSurroundings;
use operations::{Fault, FaultKind};
use repository::format::key_file::KdfCost;
use repository::format::snapshot::Snapshot;
use repository::limits::CHUNK_BYTES_AVERAGE;
use repository::restore::Options;
use repository::storage::archives::{ArchivePlace, ArchiveReader, StoredArchive};
use repository::{Clock as _, Id, Index, Repository, walk};

use super::Chosen;
use super::couch_files::CouchDbRestore;
use super::server::{self, Stored};
use crate::app::{App, Run};
use crate::arguments;
use crate::output::Outcome;
use crate::wiring;

/// What the passing repository's one source is called.
const SOURCE: &str = "unpacked";

/// An archive, and what opens it.
pub struct Archived<'a> {
    pub place: &'a dyn ArchivePlace,
    pub object: &'a StoredArchive,
    /// `None` where it has another name than we give.
    pub name: Option<&'a ArchiveName>,
    /// `None` where it is not encrypted any more.
    pub identities: Option<Identities>,
    /// It was asked for as the newest one, and another may be newer.
    pub is_doubtful: bool,
    /// The database in it that is wanted, and the table of that.
    pub inside: &'a Path,
}

/// Unpacks an archive, which may have been decrypted before.
pub fn unpack(
    run: &Run,
    reader: ArchiveReader<'_>,
    identities: Option<&Identities>,
    target: &Path,
    options: Options,
) -> Result<Unpacked, archive::Error> {
    match identities {
        Some(identities) => archive::read::unpack(&run.cx(), reader, identities, target, options),
        None => archive::read::unpack_decrypted(&run.cx(), reader, target, options),
    }
}

/// Puts what is in an archive back in place, or into a server.
pub fn put_back(app: &App, archive: &Archived<'_>, arguments: &arguments::Restore) -> Result<Outcome, Fault> {
    with_scratch(&app.scratch(), |scratch| {
        let passing = Passing::of(app, archive, scratch)?;
        let place = Place { snapshot: passing.id.to_hex(), path: Path::new(&passing.source).join(archive.inside) };
        let (repository, index) = (&*passing.repository, &passing.index);
        let manifest = &passing.manifest;
        if let Some(server) = &arguments.server.server {
            let stored = Stored { repository, index, id: passing.id, tree: passing.snapshot.tree, manifest };
            return server::into_server(app, &stored, &place, server, arguments);
        }
        let couchdb = CouchDbRestore::of(Some(manifest), &place.path, arguments)?;
        let (id, snapshot, manifest) = (passing.id, &passing.snapshot, Some(manifest));
        let is_doubtful = archive.is_doubtful;
        let place = &place;
        Chosen { app, repository, index, id, snapshot, manifest, is_doubtful, place, couchdb, arguments }.in_place()
    })
}

/// A snapshot of what was in an archive.
struct Passing {
    repository: Arc<Repository>,
    index: Index,
    /// The snapshot that the archive was made of, as far as it is known.
    id: Id,
    /// Its tree holds the source and nothing else.
    snapshot: Snapshot,
    manifest: Manifest,
    source: String,
}

impl Passing {
    fn of(app: &App, archive: &Archived<'_>, scratch: &Path) -> Result<Self, Fault> {
        let (unpacked, repository) = (scratch.join(SOURCE), scratch.join("repository"));
        let own = scratch.join("own");
        for folder in [&unpacked, &own] {
            std::fs::create_dir(folder)
                .map_err(|error| Fault::local(format!("cannot make {}", folder.display()), error))?;
        }
        let reader = ArchiveReader::new(archive.place, archive.object);
        let options = Options::for_this_process();
        let out = unpack(&app.run, reader, archive.identities.as_ref(), &unpacked, options)?;
        if let Some(problem) = out.restored.problems.first() {
            return Err(nothing_changed(format!("not all of the archive can be unpacked: {problem}")));
        }
        let no_manifest = || nothing_changed("the archive does not say where it came from".to_owned());
        let (_, json) = out.preface.filter(|(name, _)| name == MANIFEST_NAME).ok_or_else(no_manifest)?;
        // It tells of the other sources, too, and so what is theirs in the folders that this one shares with them.
        let manifest = Manifest::parse(&json)
            .map_err(|_| nothing_changed("the manifest in the archive cannot be read".to_owned()))?;
        let source = out.source.filter(|source| manifest.sources.contains_key(source)).ok_or_else(no_manifest)?;
        let storage = wiring::local(&repository, &app.run);
        let now = app.run.clock.now();
        // Whoever may read the folder reads what was unpacked beside it.
        let repository = Arc::new(Repository::init(storage, SOURCE, KdfCost::FAST, CHUNK_BYTES_AVERAGE, now)?);
        let (taken, mut snapshot) = take(app, &repository, &unpacked, &own)?;
        let index = app.index(&repository)?;
        let inside = Path::new(SOURCE).join(unpacked.strip_prefix("/").unwrap_or(&unpacked));
        let folder = walk::find(&repository, &index, &snapshot.tree, &inside)?;
        snapshot.tree = folder.and_then(|folder| folder.subtree).ok_or_else(no_manifest)?;
        let id = archive.name.map_or(taken, |name| name.snapshot);
        Ok(Self { repository, index, id, snapshot, manifest, source })
    }
}

/// Takes a snapshot of what was unpacked. The folders `unpacked` and `own` lie in the scratch folder of this run.
fn take(app: &App, repository: &Arc<Repository>, unpacked: &Path, own: &Path) -> Result<(Id, Snapshot), Fault> {
    let unpacked = unpacked.canonicalize().unwrap_or_else(|_| unpacked.to_owned());
    let options = FilesOptions { paths: vec![unpacked], append_only: Vec::new(), ..FilesOptions::default() };
    let sources = [NamedSource { name: SOURCE.to_owned(), source: Box::new(FilesSource::new(options)?) }];
    let job = StackBackup {
        stack: SOURCE,
        sources: &sources,
        only: &[],
        tags: &[],
        scratch: own,
        own_paths: &[],
        copies: &[],
        count_first: false,
        others: &[],
        surroundings: &NoSurroundings,
    };
    let report = backup::run(&app.cx(), repository, &job)?;
    app.run.progress.finish();
    match report.problems.first() {
        Some(problem) => Err(nothing_changed(format!("what was unpacked cannot be read: {problem}"))),
        None => Ok((report.snapshot, repository.snapshot(report.snapshot)?)),
    }
}

fn nothing_changed(what: String) -> Fault {
    Fault::new(FaultKind::Failed, format!("nothing was changed: {what}")).with_hint("restore it with --to DIR")
}
