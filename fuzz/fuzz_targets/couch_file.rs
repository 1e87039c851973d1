//! Database files: everything that can be read of one is read. What passes a check can be rewritten, and passes again.
#![no_main]

use couchfile::rewrite::{NodeNames, rename_in_nodes, rename_in_shard_maps};
use couchfile::{Database, JsonOptions, Level, headers, salvage, shard_maps};
use libfuzzer_sys::fuzz_target;

/// As in `couch_term`, if all of the file is one deflated term.
const PER_BYTE: usize = 400 * 1040;

fuzz_target!(|input: &[u8]| repository_fuzz::within(input, PER_BYTE, || read(input)));

fn read(input: &[u8]) {
    let _ = headers(&input).take(100).count();
    let _ = salvage(&input, Level::Documents, 3);
    let Ok(database) = Database::open(input) else { return };
    let options = JsonOptions { revisions: true, encodings: true };
    for info in database.documents().take(1000).flatten() {
        let _ = database.document(&info.id);
        let _ = database.json(&info, options);
        for leaf in info.leaves().into_iter().take(10) {
            let Ok(Some(document)) = database.read(&info.id, leaf) else { continue };
            for attachment in document.attachments.iter().take(10) {
                let _ = database.write_attachment(&info.id, attachment, &mut std::io::sink());
            }
        }
    }
    let _ = database.changes(1).take(1000).count();
    for local in database.local_documents().take(1000).flatten() {
        let _ = local.to_json();
    }
    let _ = (database.purges().count(), database.purge_seq(), database.security(), database.partitioned());
    let _ = shard_maps(&database).count();

    let names = NodeNames::from([("a@b".to_owned(), "couchdb@127.0.0.1".to_owned())]);
    let _ = rename_in_shard_maps(&database, &names, std::io::sink());
    let report = database.check(Level::Attachments);
    let _ = report.findings.iter().map(|finding| finding.to_string().len()).sum::<usize>();
    let mut written = Vec::new();
    if rename_in_nodes(&database, &NodeNames::new(), &mut written).is_ok() && report.is_ok() {
        let again = Database::open(&written[..]).expect("what was written can be opened");
        let checked = again.check(Level::Attachments);
        assert!(checked.is_ok(), "{}", checked.findings[0]);
        assert_eq!((checked.documents, checked.leaves), (report.documents, report.leaves));
    }
}
