//! `lifeboat check --read-data` reads CouchDB's files document by document, in the newest snapshot of each stack. Older
//! ones were the newest once, and to read all of them would take as often as long as there are snapshots.

use std::collections::BTreeSet;

use connectors::source::couchdb::{KIND, StoredCheck, StoredFinding, StoredReport, StoredSource};
use operations::Fault;
use operations::manifest::Manifest;
use operations::shell::quote;
use operations::snapshots;
use repository::{Index, Repository};
use serde_json::json;

use crate::app::App;

/// Reads the sources of kind `couchdb`. What keeps a snapshot or its manifest from being read, the check of the copy has
/// told.
pub fn check(app: &App, repository: &Repository) -> Result<StoredReport, Fault> {
    let cx = app.cx();
    let (found, _) = repository.snapshots_readable(cx.cancel)?;
    let (index, _) = Index::load_readable(&cx, repository)?;
    let stacks: BTreeSet<_> = found.iter().filter_map(|(_, snapshot)| snapshot.stack()).collect();
    let mut check = StoredCheck::new(cx, repository, &index);
    for stack in stacks {
        let of_stack = snapshots::of_stack(found.clone(), Some(stack));
        let Some((id, snapshot)) = snapshots::newest(&of_stack, cx.clock.now()) else { continue };
        let manifest = match Manifest::load(repository, &index, &snapshot.tree) {
            Ok(Some(manifest)) => manifest,
            Ok(None) => continue,
            Err(error) if error.is_damage() => continue,
            Err(error) => return Err(error.into()),
        };
        for (name, record) in manifest.sources.iter().filter(|(_, record)| record.kind == KIND) {
            check.source(&StoredSource { snapshot: *id, tree: snapshot.tree, name, facts: &record.facts })?;
        }
    }
    Ok(check.finish())
}

/// A finding in one line.
pub fn told(finding: &StoredFinding) -> String {
    format!("snapshot {}, source {}: {}", finding.snapshot.short(), finding.source, finding.what)
}

pub fn print(app: &App, report: &StoredReport) {
    let output = app.output();
    for finding in &report.findings {
        output.text(format!("damaged: {}", told(finding)));
        let StoredFinding { snapshot, source, path, database, shard, documents, documents_total, what } = finding;
        output.json(
            "finding",
            json!({
                "file": null, "what": what, "snapshot": snapshot, "source": source, "path": path, "database": database,
                "shard": shard, "documents": documents, "documents_total": documents_total,
            }),
        );
    }
    for known in &report.damaged_before {
        output.text(format!("damaged on the host when it was captured, and stored so: {known}"));
        output.json("damaged_before", json!({ "what": known }));
    }
}

/// What helps against the first finding. Where the bytes are what was stored, no copy can mend them.
pub fn fix(report: &StoredReport) -> Option<String> {
    let StoredFinding { source, database, documents, .. } = report.findings.first()?;
    let (database, document) =
        (database.as_deref().unwrap_or("DATABASE"), documents.first().map_or("ID", String::as_str));
    let (place, path) = (quote(&format!("OLDER:{source}")), quote(&format!("OLDER:{source}/{database}/{document}")));
    let (database, document) = (quote(database), quote(document));
    Some(format!(
        "the bytes are those that were stored, so `heal` does not help: `lifeboat docs {place} {database} {document}` looks \
         whether an older snapshot has the document, and `lifeboat restore {path} --couch-url URL` writes it back"
    ))
}

pub fn advise(app: &App, report: &StoredReport) {
    let output = app.output();
    if let Some(fix) = fix(report) {
        output.text(format!("  {fix}"));
    }
    output.text(
        "  look after the files on the host, which may be damaged, too: what is whole there is stored anew with the next full \
         reading (`full_read`)",
    );
}
