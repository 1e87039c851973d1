//! `lifeboat restore ARCHIVE --to DIR`: one source out of an archive, from the file or the object itself. It needs no
//! configuration where the archive is a file of this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use archive::read::Unpacked;
use archive::{ArchiveName, Identities};
use connectors::storage::LocalStorage;
use operations::config::{ArchiveKey, ArchiveSettings, SecretSource, Settings};
use operations::manifest::{MANIFEST_NAME, Manifest};
use operations::{Fault, FaultKind};
use repository::Clock as _;
use repository::restore::Options;
use repository::storage::archives::{ArchivePlace, ArchiveReader, StoredArchive};
use serde_json::json;

use crate::app::Run;
use crate::arguments;
use crate::output::{Outcome, bytes, count, seconds};
use crate::wiring;

pub fn run(run: Run, name: &str, arguments: &arguments::Restore) -> Result<Outcome, Fault> {
    let Some(target) = &arguments.to else {
        return Err(Fault::new(FaultKind::Usage, "say where to: an archive is restored to a new place, with --to DIR")
            .with_hint("--in-place works with snapshots of a repository"));
    };
    refuse_flags_of_snapshots(arguments)?;
    let is_url = name.contains("://") && !name.starts_with("file://");
    let has_key = arguments.identity.is_some() || arguments.passphrase_file.is_some();
    let settings = match run.find_settings() {
        // A file and a key: all there may be on an empty machine.
        _ if !is_url && has_key => None,
        Err(fault) if is_url => {
            return Err(fault.with_hint(
                "an object is fetched with the credentials of an archive copy in `copies:`; without any, download it and name its \
                 file, with --identity FILE or --passphrase-file FILE",
            ));
        }
        Err(_) => None,
        Ok(file) => Some(run.settings_in(&file)?),
    };
    let found = Found::by_name(&run, settings.as_ref(), name)?;
    let Found { place, object, .. } = &found;
    let file_name = object.path.rsplit_once('/').map_or(&*object.path, |(_, file_name)| file_name);
    if let Ok(name) = file_name.parse::<ArchiveName>() {
        let folder = target.join(&name.source);
        if std::fs::symlink_metadata(&folder).is_ok() {
            let what = format!("{} is there already", folder.display());
            return Err(Fault::new(FaultKind::Failed, what).with_hint("name another folder with --to, or remove it"));
        }
    }
    if arguments.dry_run {
        let size = bytes(object.bytes);
        run.output.summary(json!({ "status": "ok", "dry_run": true, "archive": name, "bytes": object.bytes }));
        run.output.text(format!("would restore {name}, {size}, to {}", target.display()));
        return Ok(Outcome::Ok);
    }
    let key = (arguments.identity.as_deref(), arguments.passphrase_file.as_deref());
    let identities = identities(key.0, key.1, found.settings)?;
    std::fs::create_dir_all(target)
        .map_err(|error| Fault::local(format!("cannot make {}", target.display()), error))?;
    let started = run.clock.now();
    let options = Options::for_this_process();
    let unpacked = archive::read::unpack(&run.cx(), ArchiveReader::new(&**place, object), &identities, target, options);
    run.progress.finish();
    let unpacked = unpacked.map_err(|error| incomplete(error, target))?;
    let took = run.clock.now().duration_since(started).as_secs_f64();
    report(&run, name, target, &unpacked, took)
}

fn refuse_flags_of_snapshots(arguments: &arguments::Restore) -> Result<(), Fault> {
    let given = [
        ("--keep-damaged", arguments.keep_damaged),
        ("--as-host", arguments.as_host),
        ("--copy", arguments.copy.is_some()),
        ("--stack", arguments.stack.is_some()),
        ("--database", !arguments.couch_files.database.is_empty()),
        ("--rename-node", !arguments.couch_files.rename_node.is_empty()),
        ("--nodes", !arguments.couch_files.nodes.is_empty()),
        ("--couchdb-version", arguments.couch_files.couchdb_version.is_some()),
    ];
    match given.iter().find(|(_, is_given)| *is_given) {
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
) -> Result<Identities, Fault> {
    match (key, passphrase, settings.map(|settings| &settings.key)) {
        (Some(file), _, _) => Ok(Identities::from_file(file)?),
        (None, Some(file), _) => Ok(Identities::passphrase(SecretSource::File(file.to_owned()).read()?.expose())),
        (None, None, Some(ArchiveKey::Passphrase(source))) => Ok(Identities::passphrase(source.read()?.expose())),
        (None, None, _) => Err(Fault::new(FaultKind::Usage, "an archive is opened with a key, and none is given")
            .with_hint("add --identity FILE with the secret key, or --passphrase-file FILE")),
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
    /// Of the archive copy it is in.
    settings: Option<&'a ArchiveSettings>,
}

impl<'a> Found<'a> {
    /// A file of this machine, or an object of an archive copy of the configuration.
    fn by_name(run: &Run, settings: Option<&'a Settings>, name: &str) -> Result<Self, Fault> {
        let copies = settings.iter().flat_map(|settings| &settings.copies);
        let archives = copies.filter_map(|copy| Some((copy, copy.archives()?)));
        let name = name.strip_prefix("file://").unwrap_or(name);
        let file = if name.contains("://") { None } else { std::path::absolute(name).ok() };
        let name = file.as_deref().map_or_else(|| name.to_owned(), |file| file.to_string_lossy().into_owned());
        for (copy, settings) in archives {
            let below = format!("{}/", copy.location.to_string().trim_end_matches('/'));
            let Some(path) = name.strip_prefix(&below) else { continue };
            let place = wiring::archives(copy, run)?;
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let listed = place.list(folder)?;
            let Some(object) = listed.into_iter().find(|object| object.path == path) else { continue };
            return Ok(Self { place, object, settings: Some(settings) });
        }
        let Some(file) = file else {
            let what = format!("{name} is not in any archive copy of the configuration");
            return Err(Fault::new(FaultKind::NotFound, what).with_hint(
                "`lifeboat snapshots --copy NAME` lists what a copy holds; an archive that was downloaded is restored \
                     by the path of its file",
            ));
        };
        Self::file(file)
    }

    fn file(file: PathBuf) -> Result<Self, Fault> {
        let (Some(folder), Some(name)) = (file.parent(), file.file_name().and_then(|name| name.to_str())) else {
            return Err(Fault::new(FaultKind::Usage, format!("{} is no file", file.display())));
        };
        let bytes = std::fs::metadata(&file)
            .map_err(|error| Fault::local(format!("cannot read {}", file.display()), error))?
            .len();
        let place = Arc::new(LocalStorage::new(folder.to_owned()));
        Ok(Self { place, object: StoredArchive { path: name.to_owned(), bytes }, settings: None })
    }
}

/// Holds what came back against the manifest that was packed with it.
fn report(run: &Run, name: &str, target: &Path, unpacked: &Unpacked, took: f64) -> Result<Outcome, Fault> {
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
        "status": if is_whole { "ok" } else { "partial" }, "archive": name, "target": target.to_string_lossy(),
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
