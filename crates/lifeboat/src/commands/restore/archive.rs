//! `lifeboat restore ARCHIVE`: one source out of an archive, from the file or the object itself. To a new place it needs no
//! configuration where the archive is a file of this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::name::{EXTENSION, EXTENSION_DECRYPTED};
use archive::read::Unpacked;
use archive::{ArchiveName, Identities};
use connectors::storage::LocalStorage;
use operations::config::{ArchiveKey, ArchiveSettings, CopySettings, SecretSource, Settings};
use operations::manifest::{MANIFEST_NAME, Manifest};
use operations::snapshots::{LATEST, Place};
use operations::state::State;
use operations::{Fault, FaultKind};
use repository::restore::Options;
use repository::storage::archives::{ArchivePlace, ArchiveReader, StoredArchive};
use repository::{Clock as _, Event, Events as _, Id};
use serde_json::json;

use super::archived::{self, Archived};
use super::latest::{Wanted, latest};
use crate::app::{App, Run};
use crate::arguments;
use crate::open_archives;
use crate::output::{Outcome, bytes, count, seconds};
use crate::wiring;

pub fn run(run: Run, name: &str, arguments: &arguments::Restore) -> Result<Outcome, Fault> {
    check_where_to(arguments)?;
    refuse_flags(arguments, &[("--copy", arguments.copy.is_some()), ("--stack", arguments.stack.is_some())])?;
    let is_url = name.contains("://") && !name.starts_with("file://");
    let is_back = arguments.to.is_none();
    let is_decrypted = name.ends_with(EXTENSION_DECRYPTED);
    let has_key = arguments.identity.is_some() || arguments.passphrase_file.is_some() || is_decrypted;
    let is_file = !is_url && Path::new(name.strip_prefix("file://").unwrap_or(name)).exists();
    // A file and a key: all there may be on an empty machine.
    let settings = if has_key && is_file && !is_back { None } else { run.settings_if_any()? };
    if settings.is_none() && (is_url || is_back) {
        // There is none, which says where one would be looked for.
        return Err(run.find_settings().err().unwrap_or_else(no_settings).with_hint(
            "an object is fetched with the credentials of an archive copy in `copies:`, and put back where that says; \
             without any, download it and name its file, with --to DIR and --identity FILE or --passphrase-file FILE",
        ));
    }
    let found = Found::by_name(&run, settings.as_ref(), name)?;
    restore(run, settings.as_ref(), found, arguments)
}

/// Restores a source of a snapshot out of an archive copy that was named.
pub fn run_of_copy(
    run: Run,
    settings: &Settings,
    copy: &CopySettings,
    place: &Place,
    arguments: &arguments::Restore,
) -> Result<Outcome, Fault> {
    check_where_to(arguments)?;
    refuse_flags(arguments, &[])?;
    let found = Found::in_copy(&run, settings, copy, place, arguments)?;
    restore(run, Some(settings), found, arguments)
}

fn restore(
    run: Run,
    settings: Option<&Settings>,
    found: Found<'_>,
    arguments: &arguments::Restore,
) -> Result<Outcome, Fault> {
    let key = (arguments.identity.as_deref(), arguments.passphrase_file.as_deref());
    let own_identity = settings.and_then(|settings| settings.sentinel.as_ref()?.identity.as_ref());
    let identities = || match found.is_decrypted() {
        true => Ok(None),
        false => identities(key.0, key.1, found.settings, own_identity).map(Some),
    };
    let Found { object, shown, .. } = &found;
    let file_name = object.path.rsplit_once('/').map_or(&*object.path, |(_, file_name)| file_name);
    let encrypted = file_name.strip_suffix(EXTENSION_DECRYPTED).map(|stem| format!("{stem}{EXTENSION}"));
    let name = encrypted.as_deref().unwrap_or(file_name).parse::<ArchiveName>().ok();
    let Some(target) = &arguments.to else {
        let settings = settings.cloned().ok_or_else(no_settings)?;
        let (name, identities, is_doubtful) = (name.as_ref(), identities()?, found.is_doubtful);
        let archive = Archived { place: &*found.place, object, name, identities, is_doubtful, inside: &found.inside };
        return archived::put_back(&App { run, settings }, &archive, arguments);
    };
    if let Some(name) = name {
        let folder = target.join(&name.source);
        if std::fs::symlink_metadata(&folder).is_ok() {
            let what = format!("{} is there already", folder.display());
            return Err(Fault::new(FaultKind::Failed, what).with_hint("name another folder with --to, or remove it"));
        }
    }
    if arguments.dry_run {
        let size = bytes(object.bytes);
        run.output.summary(json!({ "status": "ok", "dry_run": true, "archive": shown, "bytes": object.bytes }));
        run.output.text(format!("would restore {shown}, {size}, to {}", target.display()));
        return Ok(Outcome::Ok);
    }
    let identities = identities()?;
    std::fs::create_dir_all(target)
        .map_err(|error| Fault::local(format!("cannot make {}", target.display()), error))?;
    let started = run.clock.now();
    let options = Options::for_this_process();
    let reader = ArchiveReader::new(&*found.place, object);
    let unpacked = archived::unpack(&run, reader, identities.as_ref(), target, options);
    run.progress.finish();
    let unpacked = unpacked.map_err(|error| incomplete(error, target))?;
    let took = run.clock.now().duration_since(started).as_secs_f64();
    let done = report(&run, shown, target, &unpacked, took, found.is_doubtful)?;
    Ok(if done == Outcome::Ok && found.is_doubtful { Outcome::Partial } else { done })
}

fn no_settings() -> Fault {
    Fault::new(FaultKind::Config, "there is no configuration")
}

fn check_where_to(arguments: &arguments::Restore) -> Result<(), Fault> {
    if arguments.to.is_none() && !arguments.in_place && arguments.server.server.is_none() {
        let what = "say where to: --to DIR, --in-place, or --server configured for a database";
        return Err(Fault::new(FaultKind::Usage, what));
    }
    Ok(())
}

/// Refuses what is for snapshots of a repository, and `more`.
fn refuse_flags(arguments: &arguments::Restore, more: &[(&str, bool)]) -> Result<(), Fault> {
    let given = [
        ("--keep-damaged", arguments.keep_damaged),
        ("--as-host", arguments.as_host),
        ("--couch-url", arguments.couch.couch_url.is_some()),
        ("--database", !arguments.couch_files.database.is_empty() && arguments.server.server.is_none()),
        ("--rename-node", !arguments.couch_files.rename_node.is_empty()),
        ("--nodes", !arguments.couch_files.nodes.is_empty()),
        ("--couchdb-version", arguments.couch_files.couchdb_version.is_some()),
    ];
    match given.iter().chain(more).find(|(_, is_given)| *is_given) {
        Some((flag, _)) => {
            Err(Fault::new(FaultKind::Usage, format!("{flag} means nothing for an archive: leave it out")))
        }
        None => Ok(()),
    }
}

/// What opens the archive: a file with a key, a file with a passphrase, or what the configuration has.
fn identities(
    key: Option<&Path>,
    passphrase: Option<&Path>,
    settings: Option<&ArchiveSettings>,
    own: Option<&SecretSource>,
) -> Result<Identities, Fault> {
    match (key, passphrase, settings.map(|settings| &settings.key)) {
        (Some(file), _, _) => Ok(Identities::from_file(file)?),
        (None, Some(file), _) => Ok(Identities::passphrase(SecretSource::File(file.to_owned()).read()?.expose())),
        (None, None, Some(ArchiveKey::Passphrase(source))) => Ok(Identities::passphrase(source.read()?.expose())),
        (None, None, _) => match own {
            Some(own) => Ok(Identities::from_text(own.read()?.expose().as_bytes(), &own.to_string())?),
            None => Err(Fault::new(FaultKind::Usage, "an archive is opened with a key, and none is given")
                .with_hint("add --identity FILE with the secret key, or --passphrase-file FILE")),
        },
    }
}

fn incomplete(error: archive::Error, target: &Path) -> Fault {
    let began = matches!(error, archive::Error::Damaged { .. } | archive::Error::Engine(_));
    let mut fault = Fault::from(error);
    if began && fault.kind != FaultKind::Cancelled {
        fault.message = format!("{}; what is in {} is NOT complete", fault.message, target.display());
    }
    fault
}

/// An archive and where it lies.
struct Found<'a> {
    place: Arc<dyn ArchivePlace>,
    object: StoredArchive,
    /// What it is called in messages: never with a login or a signature.
    shown: String,
    /// Of the archive copy it is in.
    settings: Option<&'a ArchiveSettings>,
    /// It was asked for as the newest one, and another may be newer.
    is_doubtful: bool,
    /// The database in it that is wanted, and the table of that.
    inside: PathBuf,
}

impl<'a> Found<'a> {
    /// Whether somebody took the encryption off.
    fn is_decrypted(&self) -> bool {
        self.object.path.ends_with(EXTENSION_DECRYPTED)
    }

    /// A file of this machine, or an object of an archive copy of the configuration: by its URL, by the path that the
    /// configuration's own url begins, or by its path in the bucket or the folder alone.
    fn by_name(run: &Run, settings: Option<&'a Settings>, name: &str) -> Result<Self, Fault> {
        let name = name.strip_prefix("file://").unwrap_or(name);
        let is_url = name.contains("://");
        let file = if is_url { None } else { std::path::absolute(name).ok() };
        let full = file.as_deref().map_or_else(|| name.to_owned(), |file| file.to_string_lossy().into_owned());
        let copies = || settings.iter().flat_map(|settings| &settings.copies);
        for copy in copies() {
            let below = format!("{}/", copy.location.to_string().trim_end_matches('/'));
            let path = full.strip_prefix(&below).map(str::to_owned).or_else(|| copy.location.object_at(&full));
            if let Some(path) = path
                && let Some(found) = Self::at(run, copy, &path)?
            {
                return Ok(Self { shown: if is_url { found.shown } else { name.to_owned() }, ..found });
            }
        }
        if let Some(file) = file.filter(|file| file.exists() || settings.is_none() || !name.starts_with('/')) {
            return Self::file(file, name);
        }
        for copy in copies().filter(|_| !is_url) {
            if let Some(found) = Self::at(run, copy, name.trim_start_matches('/'))? {
                return Ok(found);
            }
        }
        // A login or a signature in it is not repeated.
        let shown = if is_url { "this URL" } else { name };
        let what = format!("{shown} is not in any archive copy of the configuration");
        Err(Fault::new(FaultKind::NotFound, what).with_hint(
            "`lifeboat snapshots --copy NAME` lists what a copy holds; an archive that was downloaded is restored by the path \
             of its file",
        ))
    }

    /// The object at `path` of a copy; `None` where the copy keeps no archives, or none there.
    fn at(run: &Run, copy: &'a CopySettings, path: &str) -> Result<Option<Self>, Fault> {
        let Some(settings) = copy.archives() else { return Ok(None) };
        let place = wiring::archives(copy, run)?;
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let object = place.list(folder)?.into_iter().find(|object| object.path == path);
        let shown = format!("{}/{path}", copy.location.to_string().trim_end_matches('/'));
        Ok(object.map(|object| Self {
            place,
            object,
            shown,
            settings: Some(settings),
            is_doubtful: false,
            inside: PathBuf::new(),
        }))
    }

    /// The archive of a source of a snapshot in this copy.
    fn in_copy(
        run: &Run,
        settings: &Settings,
        copy: &'a CopySettings,
        place: &Place,
        arguments: &arguments::Restore,
    ) -> Result<Self, Fault> {
        let stack = arguments.stack.as_deref();
        let mut parts = place.path.iter();
        let source = parts.next().map(|part| part.to_string_lossy().into_owned());
        let inside = parts.as_path().to_owned();
        if !inside.as_os_str().is_empty() && arguments.server.server.is_none() {
            let what = format!("copy {} keeps archives, and an archive's files are restored as a whole", copy.name);
            return Err(Fault::new(FaultKind::Usage, what).with_hint("name the source without a path in it"));
        }
        let held = open_archives::held(run, copy)?;
        let (archived, doubts) = if place.snapshot == LATEST {
            let own = || own_repositories(run, settings);
            let wanted = Wanted { copy: &copy.name, stack, source: source.as_deref(), own: &own };
            latest(&held, &wanted, run.clock.now())?
        } else {
            (by_id(&held, copy, &place.snapshot, stack)?, Vec::new())
        };
        let names: Vec<&str> = archived.archives.keys().map(String::as_str).collect();
        let source = match (&source, &names[..]) {
            (Some(source), _) => source,
            (None, [one]) => *one,
            (None, _) => "",
        };
        let object = archived.archives.get(source).ok_or_else(|| {
            let what = format!("name the source: it has archives of {}", names.join(", "));
            Fault::new(FaultKind::Usage, what).with_hint(format!("lifeboat:{}/{}/SOURCE", copy.name, place.snapshot))
        })?;
        let is_doubtful = !doubts.is_empty();
        doubts.into_iter().for_each(|doubt| run.progress.emit(Event::Problem(doubt)));
        match Self::at(run, copy, &object.path)? {
            Some(found) => Ok(Self { is_doubtful, inside, ..found }),
            None => Err(Fault::new(FaultKind::NotFound, format!("{} is gone from copy {}", object.path, copy.name))),
        }
    }

    fn file(file: PathBuf, shown: &str) -> Result<Self, Fault> {
        let (Some(folder), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
            return Err(Fault::new(FaultKind::Usage, format!("{} is no file", file.display())));
        };
        let bytes = std::fs::metadata(&file)
            .map_err(|error| Fault::local(format!("cannot read {}", file.display()), error))?
            .len();
        let place = Arc::new(LocalStorage::new(folder.to_owned()));
        let object = StoredArchive { path: name.to_owned(), bytes };
        Ok(Self { place, object, shown: shown.to_owned(), settings: None, is_doubtful: false, inside: PathBuf::new() })
    }
}

/// The one snapshot whose id begins with these digits.
fn by_id<'a>(
    held: &'a [open_archives::Archived],
    copy: &CopySettings,
    digits: &str,
    stack: Option<&str>,
) -> Result<&'a open_archives::Archived, Fault> {
    let is_meant = |archived: &&open_archives::Archived| {
        stack.is_none_or(|stack| archived.stack == stack) && archived.id.to_hex().starts_with(digits)
    };
    let found: Vec<_> = held.iter().filter(is_meant).collect();
    match found[..] {
        [one] => Ok(one),
        [] => Err(Fault::new(FaultKind::NotFound, format!("copy {} has no snapshot {digits}", copy.name))
            .with_hint(format!("`lifeboat snapshots --copy {}` lists what it holds", copy.name))),
        _ => Err(Fault::new(FaultKind::Usage, format!("copy {} has several snapshots {digits}", copy.name))
            .with_hint("write more digits")),
    }
}

/// How the ids of this host's repositories begin: as they were last seen or, where none was, as far as they can be opened now.
fn own_repositories(run: &Run, settings: &Settings) -> Vec<String> {
    let state = State::below(&settings.state_dir, &settings.file);
    let open = |copy: &CopySettings| {
        let password = copy.password().ok()?.read().ok()?;
        Some(wiring::open(copy, &password, run).ok()?.config().id)
    };
    let repositories = || settings.copies.iter().filter(|copy| copy.archives().is_none());
    let mut ids: Vec<Id> = repositories().filter_map(|copy| state.repository_seen(copy)).collect();
    if ids.is_empty() {
        ids = repositories().filter_map(open).collect();
    }
    ids.into_iter().map(Id::short).collect()
}

/// Holds what came back against the manifest that was packed with it.
fn report(
    run: &Run,
    name: &str,
    target: &Path,
    unpacked: &Unpacked,
    took: f64,
    is_doubtful: bool,
) -> Result<Outcome, Fault> {
    let Unpacked { restored, source, preface } = unpacked;
    let manifest = preface.as_ref().filter(|(name, _)| name == MANIFEST_NAME);
    let manifest = manifest.and_then(|(_, json)| Manifest::parse(json).ok());
    let record = source.as_ref().zip(manifest.as_ref()).and_then(|(source, manifest)| manifest.sources.get(source));
    let mut differences = Vec::new();
    if let Some(record) = record {
        // The root of a source is not counted by the manifest, and sockets are not in an archive.
        let dirs = restored.dirs.saturating_sub(1);
        for (what, found, recorded) in [
            ("files", restored.files, record.tree.files),
            ("folders", dirs, record.tree.dirs),
            ("bytes", restored.bytes, record.tree.bytes),
        ] {
            if found != recorded {
                differences.push(format!("{found} {what}, and {recorded} were backed up"));
            }
        }
    }
    let left_out = record.map_or(0, |record| record.problems_total);
    let is_whole = differences.is_empty() && restored.problems.is_empty();
    run.output.summary(json!({
        "status": if is_whole && !is_doubtful { "ok" } else { "partial" }, "archive": name, "target": target.to_string_lossy(),
        "stack": manifest.as_ref().map(|manifest| &manifest.stack), "source": source, "files": restored.files,
        "dirs": restored.dirs, "bytes": restored.bytes, "compared": record.is_some(), "differences": differences,
        "problems": restored.problems, "left_out_at_backup": left_out, "duration_s": took,
    }));
    let output = run.output;
    differences.iter().for_each(|difference| output.text(format!("DIFFERS from the manifest: {difference}")));
    if left_out > 0 {
        let things = count(left_out as u64, "thing");
        output.text(format!("this snapshot is PARTIAL: {things} left out or doubtful when it was made"));
    }
    let (files, size) = (count(restored.files, "file"), bytes(restored.bytes));
    let source = source.as_deref().unwrap_or("nothing");
    let place = target.join(source).display().to_string();
    if !is_whole {
        let problems = count((restored.problems.len() + differences.len()) as u64, "problem");
        output.text(format!("restored {source} to {place} PARTIALLY: {problems}, named above"));
        return Ok(Outcome::Partial);
    }
    let proof = if record.is_some() { ", as its manifest says" } else { "" };
    output.text(format!("restored {files}, {size}, to {place} in {}{proof}", seconds(took)));
    Ok(Outcome::Ok)
}
