//! What a snapshot says of a source, held against what there is to protect.

use std::path::Path;

use repository::{Facts, Problem};

use super::{Thing, real};
use crate::source::{couchdb, tls};

/// A source, as a snapshot has it.
#[derive(Clone, Debug)]
pub struct Captured<'a> {
    /// Its kind.
    pub kind: &'a str,
    /// What it found.
    pub facts: &'a Facts,
    /// What was left out or is doubtful.
    pub problems: &'a [Problem],
    /// It was empty, and had files before.
    pub is_emptied: bool,
    /// The facts of all CouchDBs in the snapshot: they may be nodes of one cluster.
    pub couchdbs: Vec<&'a Facts>,
}

impl Captured<'_> {
    /// What the snapshot lacks of a thing that the source captures, in words; nothing where it is whole.
    pub fn lacks(&self, thing: &Thing) -> Vec<String> {
        if self.is_emptied {
            return vec!["it was empty when it was captured, and had files before".to_owned()];
        }
        if let Some(database) = thing.database().filter(|_| self.kind == couchdb::KIND) {
            let mut lacks = couchdb::lacks(self.facts, &self.couchdbs, database);
            let undecryptable = self.problems.iter().filter(|problem| couchdb::is_undecryptable(problem, database));
            lacks.extend(undecryptable.map(ToString::to_string));
            return lacks;
        }
        // A certificate is of no use without its key, wherever that lies; and what has no place here may be what a problem is of.
        let place = thing.place.as_deref().filter(|_| self.kind != tls::KIND).map(real);
        let is_of_it =
            |problem: &&Problem| place.as_ref().is_none_or(|place| Path::new(&problem.path).starts_with(place));
        self.problems.iter().filter(is_of_it).map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::PathBuf;

    use super::*;
    use crate::source::ThingKind;

    fn thing(kind: ThingKind, name: &str, place: &str) -> Thing {
        let place = Some(PathBuf::from(place));
        Thing { kind, name: name.to_owned(), place, used_by: BTreeSet::new(), is_unknown: false }
    }

    #[test]
    fn what_was_left_out_of_a_snapshot_is_lacking_of_what_it_lay_in() {
        let facts: Facts = serde_json::from_value(serde_json::json!({
            "nodes": ["n@h"], "databases": { "medic": { "suffix": ".1", "ranges": ["00000000-ffffffff"] } },
            "files": { "_dbs.couch": {}, "shards/00000000-ffffffff/medic.1.couch": {} },
        }))
        .unwrap();
        let problems = [Problem::new(Path::new("/srv/app/x.db"), "permission denied")];
        let of =
            |kind| Captured { kind, facts: &facts, problems: &problems, is_emptied: false, couchdbs: vec![&facts] };
        let files = of("files");
        let told = "/srv/app/x.db: permission denied";
        assert_eq!(files.lacks(&thing(ThingKind::Database, "/srv/app/x.db", "/srv/app/x.db")), [told]);
        assert_eq!(files.lacks(&thing(ThingKind::Bind, "/srv/app", "/srv/app")), [told]);
        assert_eq!(files.lacks(&thing(ThingKind::Bind, "/srv/ap", "/srv/ap")), [""; 0]);
        // Of a database of CouchDB, its facts tell: other files of its folder are no part of it.
        let medic = thing(ThingKind::CouchDb, "medic in /srv/app", "/srv/app");
        assert_eq!(of(couchdb::KIND).lacks(&medic), [""; 0]);
        assert_eq!(files.lacks(&medic), [told]);
        let vault =
            "config: CouchDB's secret is not in the snapshot: without it, nobody can decrypt what is in database medic";
        let problems = [Problem::new(Path::new("/srv/config"), vault)];
        let undecryptable = Captured { problems: &problems, ..of(couchdb::KIND) };
        assert_eq!(undecryptable.lacks(&medic).len(), 1);
        let problems = [Problem::new(Path::new("/srv/tls/key.pem"), "is not the key of cert.pem")];
        let tls = Captured { kind: "tls", problems: &problems, ..files.clone() };
        assert_eq!(tls.lacks(&thing(ThingKind::Certificate, "/srv/tls/cert.pem", "/srv/tls/cert.pem")).len(), 1);
        let volume = Thing { place: None, ..thing(ThingKind::Volume, "app_tls", "/") };
        assert_eq!(tls.lacks(&volume).len(), 1, "nobody knows that it is not in there");
        let emptied = Captured { is_emptied: true, ..of(couchdb::KIND) };
        assert!(emptied.lacks(&medic)[0].starts_with("it was empty"));
    }
}
