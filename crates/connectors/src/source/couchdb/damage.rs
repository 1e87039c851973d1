//! What is wrong with a file, as it stands in the facts and as it is told to the user. It stays in the facts for as long as
//! it lasts, with the snapshot that holds the file whole.

use std::collections::BTreeSet;
use std::path::Path;

use couchfile::{Report, ShardName, ViewName};
use repository::Problem;
use serde_json::{Value, json};

use super::complete::in_words;
use super::data_folder::Kind;
use super::parent::Before;

/// Documents that are named one by one.
const DOCUMENTS_NAMED_MAX: usize = 20;
/// Findings that are told one by one.
const FINDINGS_TOLD_MAX: usize = 3;

/// Stands in a record whose snapshot was not found when the record was made.
const GOOD_IN_GONE: &str = "good_in_gone";

/// What a check found.
pub struct Damage {
    pub what: String,
    pub documents: Vec<String>,
    pub documents_total: usize,
    /// What the file had before, where that is lost: `{"uuid", "update_seq"}`.
    lost: Option<Value>,
}

impl Damage {
    /// A file in which not even a header can be read.
    pub fn of_header(what: String) -> Self {
        Self { what, documents: Vec::new(), documents_total: 0, lost: None }
    }

    /// A file that is there, and is not what it was.
    ///
    /// It is told until the file has had as many updates again. The one before is what stands in the damage of the parent
    /// snapshot, else that snapshot's header; so a file that CouchDB makes anew is told, also where the parent snapshot
    /// found no header, or no file. `None` where nothing is lost.
    pub fn of_loss(before: &Before<'_>, key: &str, now: &Value) -> Option<Self> {
        let standing = before.lost(key);
        let last = before.last(key).or(standing);
        if returned(before, key, now).is_some() {
            return None;
        }
        let lost = standing.filter(|standing| seq(now) < seq(standing));
        let lost = lost.or(last.filter(|last| seq(now) < seq(last) || (is_other(last, now) && seq(last) > 0)))?;
        Some(Self::of_less(lost, now))
    }

    /// As [`Damage::of_loss`], for the shard map. `forgotten` are the databases that it does not name, and of which earlier
    /// snapshots have shards.
    ///
    /// A map that was made anew says nothing of what became of them, however many updates it has had since: this is told
    /// until it names them again, or the map of before is back.
    pub fn of_loss_of_map(before: &Before<'_>, key: &str, now: &Value, forgotten: &[ShardName]) -> Option<Self> {
        let made_anew = || before.lost(key).filter(|lost| is_other(lost, now) && !forgotten.is_empty());
        let damage = Self::of_loss(before, key, now).or_else(|| Some(Self::of_less(made_anew()?, now)))?;
        if forgotten.is_empty() || !damage.lost.as_ref().is_some_and(|lost| is_other(lost, now)) {
            return Some(damage);
        }
        let what = format!(
            "{}; it does not name databases that earlier snapshots have: {}. Bring them back with `lifeboat restore`; where \
             this is a new CouchDB on purpose, give its source another name in the configuration",
            damage.what,
            in_words(&forgotten.iter().map(|shard| shard.database.clone()).collect::<BTreeSet<_>>())
        );
        Some(Self { what, ..damage })
    }

    fn of_less(lost: &Value, now: &Value) -> Self {
        let (then, ends) = (seq(lost), seq(now));
        let what = match is_other(lost, now) {
            true => format!(
                "another file stands in its place, which ends with update {ends}; the one before had {then}: CouchDB makes \
                 a file anew, as empty, where it finds none that it can read"
            ),
            false => format!(
                "it ends with update {ends}, and had {then} in an earlier snapshot: later updates are lost, unless an older \
                 copy was put in its place"
            ),
        };
        Self { lost: Some(identity(lost)), ..Self::of_header(what) }
    }

    /// A file that an earlier snapshot had, and that is not there.
    pub fn of_missing() -> Self {
        Self::of_header("its file is not there".to_owned())
    }

    /// Tells also what was found out of the file before this.
    pub fn after(mut self, record: &Value) -> Self {
        if let Some(what) = record.get("what").and_then(Value::as_str) {
            self.what = format!("{what}; {}", self.what);
        }
        self.lost = self.lost.or(record.get("lost").cloned());
        self
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
            lost: None,
        })
    }

    /// As it is told of the file at `path` below the data folder.
    pub fn told(&self, path: &str) -> String {
        let named: Vec<&str> = self.documents.iter().map(String::as_str).collect();
        told(path, &self.what, &named, self.documents_total)
    }

    /// The record in the facts. Of a file that was damaged before, the snapshot that holds it whole stays the same.
    pub fn record(self, before: &Before<'_>, kind: Kind, key: &str) -> Value {
        let good_in = before.good_in(kind, key);
        let is_gone = good_in.as_deref().is_some_and(|snapshot| before.is_gone(snapshot));
        let known = || before.last(key).filter(|_| kind == Kind::Database).map(identity);
        let lost = self.lost.or_else(|| before.lost(key).cloned()).or_else(known);
        let mut record = json!({
            "what": self.what,
            "documents": self.documents,
            "documents_total": self.documents_total,
            "good_in": good_in,
            "lost": lost,
        });
        if is_gone {
            // The id is kept: a copy that is somewhere else may have that snapshot.
            record[GOOD_IN_GONE] = json!(true);
        }
        record
    }
}

/// What is told where a file that was lost is there again: nothing is wrong with it, but what took its place meanwhile has to be
/// looked for elsewhere. `None` where it is not so.
pub fn returned(before: &Before<'_>, key: &str, now: &Value) -> Option<String> {
    let standing = before.lost(key).filter(|standing| !is_other(standing, now) && seq(now) >= seq(standing))?;
    let between = before.last(key).or(Some(standing)).filter(|last| is_other(last, now))?;
    Some(format!(
        "the file that was lost is back; what stood in its place meanwhile, and ended with update {}, is in the snapshots since \
         alone",
        seq(between)
    ))
}

/// A database file's path without what tells that it is one.
pub fn without_ending(path: &str) -> &str {
    path.strip_suffix(".couch").or(path.strip_suffix(".couch.compact")).unwrap_or(path)
}

fn seq(facts: &Value) -> u64 {
    facts.get("update_seq").and_then(Value::as_u64).unwrap_or(0)
}

/// Old files have no uuid, and are then taken for the same.
pub fn is_other(one: &Value, other: &Value) -> bool {
    let uuid = |facts: &Value| facts.get("uuid").and_then(Value::as_str).map(str::to_owned);
    uuid(one).zip(uuid(other)).is_some_and(|(one, other)| one != other)
}

/// What tells later whether a file is that one again, or has as much.
pub fn identity(facts: &Value) -> Value {
    json!({ "uuid": facts.get("uuid"), "update_seq": facts.get("update_seq") })
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
        Some(snapshot) => told_good_in(snapshot, record.get(GOOD_IN_GONE).is_some()),
        None => "; no earlier snapshot is known to hold it whole".to_owned(),
    });
    Problem::new(host, what)
}

/// Which snapshot holds the newest good version of a file, as an end of what is told of it.
pub fn told_good_in(snapshot: &str, is_gone: bool) -> String {
    let short: String = snapshot.chars().take(8).collect();
    match is_gone {
        false => format!("; snapshot {short} holds its newest good version"),
        true => format!("; snapshot {short} held its newest good version, and is in no copy that was reached"),
    }
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
        None => format!("database {}", without_ending(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_from_outside_is_told_as_it_is() {
        let told = |good_in: &str| {
            let record = json!({ "what": "torn", "good_in": good_in });
            problem(Path::new("/x"), "shards/00000000-7fffffff/medic.1.couch", &record).what
        };
        assert!(told("a\u{e9}\u{e9}\u{e9}\u{e9}").contains("snapshot a\u{e9}"));
        assert!(told("0123456789").contains("snapshot 01234567 holds"));
    }
}
