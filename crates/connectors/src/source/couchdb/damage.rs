//! What is wrong with a file, as it stands in the facts and as it is told to the user. It stays in the facts for as long as
//! it lasts, with the snapshot that holds the file whole.

use std::collections::BTreeSet;
use std::path::Path;

use couchfile::{Report, ShardName, ViewName};
use repository::Problem;
use serde_json::{Value, json};

use super::data_folder::Kind;
use super::previous::Before;

/// Documents that are named one by one.
const DOCUMENTS_NAMED_MAX: usize = 20;
/// Findings that are told one by one.
const FINDINGS_TOLD_MAX: usize = 3;

/// What a check found.
pub struct Damage {
    pub what: String,
    pub documents: Vec<String>,
    pub documents_total: usize,
}

impl Damage {
    /// A file in which not even a header can be read.
    pub fn of_header(what: String) -> Self {
        Self { what, documents: Vec::new(), documents_total: 0 }
    }

    /// `None` where nothing is wrong.
    pub fn of_report(report: &Report) -> Option<Self> {
        if report.is_ok() {
            return None;
        }
        let mut told: Vec<_> = report.findings.iter().take(FINDINGS_TOLD_MAX).map(ToString::to_string).collect();
        let more = report.findings_total.saturating_sub(told.len() as u64);
        if more > 0 {
            told.push(format!("and {more} more findings"));
        }
        let concerned: BTreeSet<&str> = report.documents_concerned();
        Some(Self {
            what: told.join("; "),
            documents: concerned.iter().take(DOCUMENTS_NAMED_MAX).map(|id| (*id).to_owned()).collect(),
            documents_total: concerned.len(),
        })
    }

    /// As it is told of the file at `path` below the data folder.
    pub fn told(&self, path: &str) -> String {
        let named: Vec<&str> = self.documents.iter().map(String::as_str).collect();
        told(path, &self.what, &named, self.documents_total)
    }

    /// The record in the facts. Of a file that was damaged before, the snapshot that holds it whole stays the same.
    pub fn record(self, before: &Before<'_>, kind: Kind, key: &str) -> Value {
        let good_in = match before.damage(key) {
            Some(damage) => damage.get("good_in").cloned().unwrap_or_default(),
            None => json!(before.good(kind, key).map(|snapshot| snapshot.to_hex())),
        };
        json!({
            "what": self.what,
            "documents": self.documents,
            "documents_total": self.documents_total,
            "good_in": good_in,
        })
    }
}

/// The problem that a record tells of. `path` is the file below the data folder.
pub fn problem(host: &Path, path: &str, record: &Value) -> Problem {
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    let documents = record.get("documents").and_then(Value::as_array);
    let named: Vec<_> = documents.into_iter().flatten().filter_map(Value::as_str).collect();
    let total = record.get("documents_total").and_then(Value::as_u64).unwrap_or(0);
    let total = usize::try_from(total).unwrap_or(usize::MAX);
    let mut what = told(path, text("what").unwrap_or("damaged"), &named, total);
    what.push_str(&match text("good_in") {
        Some(snapshot) => {
            format!("; snapshot {} holds its newest good version", snapshot.chars().take(8).collect::<String>())
        }
        None => "; no earlier snapshot is known to hold it whole".to_owned(),
    });
    Problem::new(host, what)
}

fn told(path: &str, what: &str, named: &[&str], total: usize) -> String {
    let mut told = format!("{}: {what}", name(path));
    if !named.is_empty() {
        told.push_str(&format!("; documents lost or in doubt ({total}): {}", named.join(", ")));
        if total > named.len() {
            told.push_str(", …");
        }
    }
    told
}

/// What a file is to the user.
pub fn name(path: &str) -> String {
    if let Some(shard) = ShardName::parse(path) {
        return format!("database {}, shard {}", shard.database, shard.range);
    }
    match ViewName::parse(path).map(|view| (ShardName::parse(&view.database), view)) {
        Some((Some(shard), _)) => {
            format!("a view of database {}, shard {} (CouchDB can build it anew)", shard.database, shard.range)
        }
        Some((None, view)) => format!("a view of database {} (CouchDB can build it anew)", view.database),
        None => format!("database {}", path.strip_suffix(".couch").unwrap_or(path)),
    }
}
