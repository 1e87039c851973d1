//! Parsers of outside bytes that nothing outside of this crate calls, for the fuzz targets in `fuzz/`, which hold what is
//! said here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use repository::{Cancel, Facts, SourceError};

use crate::source::mysql::split::Splitter;
use crate::source::output::Proof as _;
use crate::source::redis::{aof, rdb};
use crate::source::{ComposeOptions, ComposeProject, container_files, couchdb, postgres, read_compose_project, tls};
use crate::storage::sftp::packet;

/// A file among certificates, named as one: how many certificates and keys it holds, or what is wrong with it.
pub fn tls_file(bytes: &[u8]) -> Result<usize, Vec<String>> {
    let pem = tls::pem::Pem::parse(Path::new("chain.pem"), bytes);
    if pem.problems.is_empty() { Ok(pem.certificates.len() + pem.keys.len()) } else { Err(pem.problems) }
}

/// What a container engine gave for the path `/a/b`: the files by their paths, each with its bytes.
pub fn container_tar(bytes: &[u8]) -> Result<BTreeMap<PathBuf, Vec<u8>>, SourceError> {
    container_files::read_tar(Path::new("/a/b"), bytes)
}

/// A dump of Redis that comes in pieces of `size` bytes: what it holds, or what is wrong with it.
pub fn redis_dump(bytes: &[u8], size: usize) -> Result<rdb::Dump, String> {
    let mut parser = rdb::Parser::default();
    for piece in bytes.chunks(size) {
        parser.push(piece)?;
    }
    parser.finish().cloned()
}

/// A log of changes of Redis that comes in pieces of `size` bytes: how much of it is a state, or what is wrong with it.
pub fn redis_log(bytes: &[u8], size: usize) -> Result<aof::Counted, String> {
    let mut log = aof::Log::default();
    bytes.chunks(size).try_for_each(|piece| log.push(piece))?;
    Ok(log.whole())
}

/// A dump in SQL of the databases `a` and `b` that comes in pieces of `size` bytes: its files, or what is wrong with it.
pub fn sql_dump(bytes: &[u8], size: usize) -> Result<Vec<Vec<u8>>, String> {
    let mut splitter = Splitter::new(vec!["a".to_owned(), "b".to_owned()]);
    for piece in bytes.chunks(size) {
        splitter.push(piece)?;
    }
    splitter.finish()?;
    let mut files = vec![Vec::new(); 3];
    for (file, piece) in splitter.pieces().drain(..) {
        files[file].extend(piece);
    }
    Ok(files)
}

/// What `pg_dump` prints, in two pieces. Gives the whole of it as it is stored, or what is wrong with it.
pub fn postgres_archive(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut proof = postgres::Archive::new(postgres::Shared::default());
    let mut bytes = bytes.to_vec();
    let half = bytes.len() / 2;
    let (first, second) = bytes.split_at_mut(half);
    proof.take(first)?;
    proof.take(second)?;
    proof.verdict("")?;
    Ok(bytes)
}

/// What an SFTP server answers.
pub fn sftp_answer(bytes: &[u8]) {
    let _ = packet::parse(bytes);
    let _ = packet::bytes_free(bytes);
}

/// What a manifest says of a CouchDB, in every reading that a restore, a drill and `docs` give it. `folder` is empty.
pub fn couch_facts(facts: &Facts, folder: &Path) {
    let _ = couchdb::nodes(facts);
    let _ = couchdb::known_damage(facts);
    let _ = couchdb::needed_version(facts);
    let databases = facts.get("databases").and_then(serde_json::Value::as_object).into_iter().flatten();
    for (database, _) in databases {
        let Ok(selected) = couchdb::files_of(facts, std::slice::from_ref(database), &[]) else { continue };
        let _ = selected.databases_and_index_folders();
        let _ = selected.indexes_not_in_it();
    }
    for (file, _) in couchdb::damaged(facts) {
        let _ = file.components().count();
    }
    if let Some(data) = couchdb::data_folder(facts, folder) {
        assert!(data.starts_with(folder), "{} leads out", data.display());
    }
    let _ = couchdb::examine(folder, facts, &Cancel::new());
    let _ = couchdb::check_part(folder, facts, &Cancel::new());
}

/// The compose file in `folder`, with the env file beside it.
pub fn compose_project(folder: &Path) -> Result<ComposeProject, SourceError> {
    let options = ComposeOptions {
        files: vec![folder.join("compose.yaml")],
        env: Vec::new(),
        project: None,
        ..Default::default()
    };
    read_compose_project(&options, &Cancel::new())
}
