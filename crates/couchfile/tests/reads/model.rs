//! Random histories: what the writer was told is what is read, as of every commit, also after the file was rewritten.

use std::collections::BTreeMap;

use couchfile::rewrite::{NodeNames, rename_in_nodes};
use couchfile::{
    Checksum, Compression, CouchWriter, Database, Encoding, Format, JsonOptions, Level, Revision, headers,
};
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u16),
    Attach(u8, u16),
    Delete(u8),
    Conflict(u8, u8),
    Purge(u8),
    Local(u8),
    Commit,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..40_u8, 0..600_u16).prop_map(|(id, length)| Step::Put(id, length)),
        2 => (0..40_u8, 0..20_000_u16).prop_map(|(id, length)| Step::Attach(id, length)),
        2 => (0..40_u8).prop_map(Step::Delete),
        2 => (0..40_u8, any::<u8>()).prop_map(|(id, branch)| Step::Conflict(id, branch)),
        1 => (0..40_u8).prop_map(Step::Purge),
        1 => (0..5_u8).prop_map(Step::Local),
        2 => Just(Step::Commit),
    ];
    prop::collection::vec(step, 1..120)
}

/// Whether a leaf deletes the document, its body, and the content of its attachments.
type Held = (bool, Value, Vec<u8>);

/// What should be there: of each document its leaves by revision, and what each holds; then local documents and purges.
#[derive(Debug, Clone, Default, PartialEq)]
struct Model {
    documents: BTreeMap<String, BTreeMap<Revision, Held>>,
    locals: BTreeMap<String, u64>,
    purges: usize,
}

impl Model {
    /// The winner is what the next revision is made from, and no leaf any more.
    fn replace_winner(&mut self, id: &str, revision: Revision, held: Held) {
        let leaves = self.documents.entry(id.to_owned()).or_default();
        let winner = leaves.iter().max_by_key(|(revision, (deleted, _, _))| (!deleted, *revision));
        if let Some(winner) = winner.map(|(revision, _)| revision.clone()) {
            leaves.remove(&winner);
        }
        leaves.insert(revision, held);
    }

    fn read(database: &Database<&[u8]>) -> Self {
        let mut model = Self { purges: database.purges().count(), ..Self::default() };
        for info in database.documents() {
            let info = info.unwrap();
            let mut leaves = BTreeMap::new();
            for leaf in info.leaves() {
                let document = database.read(&info.id, leaf).unwrap().unwrap();
                let mut content = Vec::new();
                for attachment in &document.attachments {
                    database.write_attachment(&info.id, attachment, &mut content).unwrap();
                }
                let body = serde_json::from_str(&document.body_json().unwrap()).unwrap();
                leaves.insert(leaf.revision().clone(), (leaf.deleted(), body, content));
            }
            database.json(&info, JsonOptions::default()).unwrap().unwrap();
            model.documents.insert(info.id, leaves);
        }
        for local in database.local_documents() {
            let local = local.unwrap();
            model.locals.insert(local.id, local.revision);
        }
        model
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_written_is_read_as_of_every_commit(steps in steps(), format in 0..4_usize) {
        let checksum = [Checksum::Md5, Checksum::Xxh3][format % 2];
        let compression = [Compression::None, Compression::Snappy, Compression::Deflate][format % 3];
        let mut writer = CouchWriter::create(Vec::new(), Format { checksum, compression }, "0123", "a@b").unwrap();
        let mut model = Model::default();
        let mut commits = vec![(writer.commit().unwrap(), model.clone())];
        for step in steps {
            let id_of = |id: u8| format!("doc-{id}");
            match step {
                Step::Put(id, length) => {
                    let body = json!({"text": "x".repeat(length.into()), "n": length});
                    let revision = writer.put(&id_of(id), &body).unwrap();
                    model.replace_winner(&id_of(id), revision, (false, body, Vec::new()));
                }
                Step::Attach(id, length) => {
                    let content: Vec<u8> = (0..length).map(|at| (at / 7) as u8).collect();
                    let encoding = if length % 2 == 0 { Encoding::Gzip } else { Encoding::Identity };
                    let attachment = writer.attachment("a", "x/y", &content, 1, encoding).unwrap();
                    let revision = writer.put_with(&id_of(id), &json!({}), &[attachment]).unwrap();
                    model.replace_winner(&id_of(id), revision, (false, json!({}), content));
                }
                Step::Delete(id) => {
                    let revision = writer.delete(&id_of(id)).unwrap();
                    model.replace_winner(&id_of(id), revision, (true, json!({}), Vec::new()));
                }
                Step::Conflict(id, branch) => {
                    let revision = Revision { position: 1, id: vec![branch; 16] };
                    let leaves = model.documents.entry(id_of(id)).or_default();
                    // What was made from this branch before stays its successor.
                    if leaves.is_empty() || !leaves.contains_key(&revision) {
                        let history = [Revision { position: 2, id: vec![branch, leaves.len() as u8] }, revision.clone()];
                        let body = json!({"branch": branch});
                        writer.put_history(&id_of(id), &history, &body, &[], false).unwrap();
                        leaves.insert(history[0].clone(), (false, body, Vec::new()));
                    }
                }
                Step::Purge(id) => {
                    if model.documents.remove(&id_of(id)).is_some() {
                        model.purges += 1;
                    }
                    writer.purge(&id_of(id));
                }
                Step::Local(id) => {
                    let id = format!("_local/{id}");
                    writer.put_local(&id, &json!({"x": 1}));
                    *model.locals.entry(id).or_default() += 1;
                }
                Step::Commit => commits.push((writer.commit().unwrap(), model.clone())),
            }
        }
        let bytes = writer.into_inner();
        let found: Vec<_> = headers(&bytes).map(|header| header.unwrap()).collect();
        // The first header of all is the empty one that a new file begins with.
        prop_assert_eq!(found.len(), commits.len() + 1);
        for (header, (place, model)) in found.into_iter().zip(commits.iter().rev()) {
            prop_assert_eq!(header.place, *place);
            let database = Database::open(&bytes[..]).unwrap().as_of(header);
            let report = database.check(Level::Attachments);
            prop_assert!(report.is_ok(), "{}", report.findings[0]);
            prop_assert_eq!(&Model::read(&database), model);
            let mut rewritten = Vec::new();
            rename_in_nodes(&database, &NodeNames::new(), &mut rewritten).unwrap();
            prop_assert_eq!(&Model::read(&Database::open(&rewritten[..]).unwrap()), model);
        }
    }
}
