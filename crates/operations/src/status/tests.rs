use std::collections::BTreeSet;
use std::sync::Arc;

use repository::format::time::Time;
use repository::repository::Found;
use repository::storage::fault::{self, Effect, Failure, When};
use repository::storage::memory::MemoryStorage;
use repository::storage::watched::{Asked, Watched};
use repository::{Error, FileKind, Index, Repository, Storage, StorageError};

use super::*;
use crate::memory::{FixedFiles, Memory};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// A receipt of a drill `days` ago.
fn receipt(days: u32, verdict: Verdict, level: u8) -> Receipt {
    Receipt {
        snapshot: Id::of(b"a snapshot"),
        stack: "cht".to_owned(),
        copy: "disk".to_owned(),
        level,
        verdict,
        partial: false,
        at: Time::from(now() - DAY * days),
        rto_s: 60.0,
        rpo_s: 60.0,
        program_version: "test".to_owned(),
    }
}

fn copy() -> CopyKnown {
    CopyKnown {
        keeps_archives: false,
        name: "disk".to_owned(),
        media: "disk".to_owned(),
        offsite: false,
        immutable: false,
        removable: false,
        site: None,
        place: Place::Disk("sdb".to_owned()),
        password: Password { whence: "the file /pw".to_owned(), is_here: true },
        fault: None,
        is_other: false,
        receipts_unread: 0,
        twin: None,
        newest: None,
        damaged: Vec::new(),
        glance: Glance::default(),
        snapshots: [Id::of(b"a snapshot")].into(),
        lost: Vec::new(),
        check: None,
        last_seen: None,
        last_step: None,
        lacking: Vec::new(),
        ahead: BTreeMap::new(),
        several_hosts: BTreeSet::new(),
    }
}

/// A snapshot, `days` old.
fn taken(days: u32) -> Newest {
    let time = now() - DAY * days;
    Newest {
        id: Id::of(&days.to_le_bytes()),
        time,
        selection: false,
        content: Told::Content(Content {
            status: SourceStatus::Ok,
            empty: Vec::new(),
            volumes: Vec::new(),
            certificates: Vec::new(),
        }),
    }
}

/// The health of a stack with these copies and drills.
fn with(copies: &[CopyKnown], receipts: &[Receipt], rpo: Option<Duration>) -> Health {
    let live = Live { disks: ["sda".to_owned()].into() };
    health(&Known { stack: "cht", live: &live, receipts, copies, last_run: None, rpo, rto: None }, now())
}

/// The health of a stack with these drills and nothing else to say.
fn drilled(receipts: &[Receipt]) -> Health {
    with(&[CopyKnown { newest: Some(taken(0)), ..copy() }], receipts, None)
}

/// What is wrong, without what could be better.
fn texts(health: &Health) -> Vec<String> {
    let wrong = health.problems.iter().filter(|problem| problem.severity > Severity::Notice);
    wrong.map(|problem| format!("{:?}: {}", problem.severity, problem.text)).collect()
}

/// The health of a stack whose copy is like this.
fn of(copy: CopyKnown) -> Health {
    with(&[copy], &[receipt(1, Verdict::Passed, 3)], None)
}

#[test]
fn a_glance_at_a_copy_that_lost_packs_is_critical() {
    let lost = Glance { packs_lost: 2, packs_unknown: 0 };
    let health = of(CopyKnown { newest: Some(taken(0)), glance: lost, ..copy() });
    assert!(says(&health, Severity::Critical, "copy disk lost packs, or parts of them: 2"), "{:?}", texts(&health));
    let unknown = Glance { packs_lost: 0, packs_unknown: 1 };
    let health = of(CopyKnown { newest: Some(taken(0)), glance: unknown, ..copy() });
    assert!(says(&health, Severity::Warning, "no index names, 1 of them"), "{:?}", texts(&health));
}

#[test]
fn a_source_without_a_file_is_said_to_be_empty() {
    let content = Told::Content(Content {
        status: SourceStatus::Ok,
        empty: vec!["uploads".to_owned()],
        volumes: Vec::new(),
        certificates: Vec::new(),
    });
    let health = of(CopyKnown { newest: Some(Newest { content, ..taken(0) }), ..copy() });
    assert!(says(&health, Severity::Warning, "source uploads is empty"), "{:?}", texts(&health));
}

#[test]
fn a_certificate_that_has_run_out_or_soon_will_is_told() {
    let of_days = |days: u32, ran_out: bool| {
        let not_after = if ran_out { now() - DAY * days } else { now() + DAY * days };
        let file = "/etc/tls/cert.pem".to_owned();
        let certificates = vec![CertificateKnown { not_after, file, subject: "CN=shop.example".to_owned() }];
        let content = Content { status: SourceStatus::Ok, empty: Vec::new(), volumes: Vec::new(), certificates };
        of(CopyKnown { newest: Some(Newest { content: Told::Content(content), ..taken(0) }), ..copy() })
    };
    assert_eq!(texts(&of_days(22, false)), texts(&of(CopyKnown { newest: Some(taken(0)), ..copy() })));
    let soon = "the certificate of CN=shop.example in /etc/tls/cert.pem expires in 21 days, on 2026-03-22";
    assert!(says(&of_days(21, false), Severity::Warning, soon), "{:?}", texts(&of_days(21, false)));
    let over = "the certificate of CN=shop.example in /etc/tls/cert.pem expired on 2026-02-28";
    assert!(says(&of_days(1, true), Severity::Warning, over), "{:?}", texts(&of_days(1, true)));
}

#[test]
fn volumes_that_a_source_reads_are_not_missed() {
    let record = |kind: &str, facts: serde_json::Value| SourceRecord {
        kind: kind.to_owned(),
        status: SourceStatus::Ok,
        tree: Default::default(),
        captured: None,
        facts: facts.as_object().unwrap().clone(),
        emptied_of: None,
        problems: Vec::new(),
        problems_total: 0,
        notes: Vec::new(),
    };
    let volumes = ["shop_a", "shop_b", "shop_c"].map(|name| (name.to_owned(), serde_json::json!({ "name": name })));
    let named = serde_json::json!({ "volumes": serde_json::Map::from_iter(volumes) });
    let read = serde_json::json!({ "volume": { "name": "shop_b" } });
    // Where no engine answers.
    let by_path = serde_json::json!({ "paths": ["/var/lib/docker/volumes/shop_c/_data", "/srv/shop_a"] });
    let sources = [("compose", named), ("volume", read), ("tls", by_path)];
    let sources = sources.map(|(kind, facts)| (kind.to_owned(), record(kind, facts))).into();
    let content = Content::from(&Manifest { version: Manifest::VERSION, stack: "app".to_owned(), sources });
    assert_eq!(content.volumes, ["shop_a"]);
}

#[test]
fn the_certificates_of_a_manifest_are_known_in_the_order_in_which_they_run_out() {
    let facts = serde_json::json!({ "certificates": {
        "/a.pem": [
            { "subject": "CN=late", "not_after": "2027-01-01T00:00:00Z" },
            { "subject": "CN=soon", "not_after": "2026-01-01T00:00:00Z" },
            { "subject": "CN=odd", "not_after": "never" },
        ],
    } });
    let record = SourceRecord {
        kind: "tls".to_owned(),
        status: SourceStatus::Ok,
        tree: Default::default(),
        captured: None,
        facts: facts.as_object().unwrap().clone(),
        emptied_of: None,
        problems: Vec::new(),
        problems_total: 0,
        notes: Vec::new(),
    };
    let sources = [("tls".to_owned(), record)].into();
    let content = Content::from(&Manifest { version: Manifest::VERSION, stack: "app".to_owned(), sources });
    assert!(content.volumes.is_empty());
    let subjects: Vec<_> = content.certificates.iter().map(|one| one.subject.as_str()).collect();
    assert_eq!(subjects, ["CN=soon", "CN=late"]);
    assert_eq!(content.certificates[0].file, "/a.pem");
}

#[test]
fn a_proof_goes_with_its_snapshot_and_a_failure_stays() {
    let drilled = |verdict, snapshots| {
        let copy = CopyKnown { newest: Some(taken(0)), snapshots, ..copy() };
        with(&[copy], &[receipt(1, verdict, 3)], None).last_drill
    };
    let there: BTreeSet<Id> = [Id::of(b"a snapshot")].into();
    assert_eq!(drilled(Verdict::Passed, there.clone()).len(), 1);
    assert_eq!(drilled(Verdict::Passed, BTreeSet::new()).len(), 0);
    assert_eq!(drilled(Verdict::Failed, BTreeSet::new()).len(), 1);
}

#[test]
fn a_failed_run_is_told_until_a_snapshot_is_taken() {
    let run = |days: u32, failure: Option<&str>| {
        let run =
            LastRun { at: now() - DAY * days, failure: failure.map(str::to_owned), hooks: Vec::new(), cancelled: None };
        let copies = [CopyKnown { newest: Some(taken(2)), ..copy() }];
        let live = Live { disks: ["sda".to_owned()].into() };
        let known = Known {
            stack: "cht",
            live: &live,
            receipts: &[],
            copies: &copies,
            last_run: Some(&run),
            rpo: None,
            rto: None,
        };
        says(&health(&known, now()), Severity::Critical, "the last backup failed, on 2026-02-28 12:00 UTC: no space")
    };
    assert!(run(1, Some("no space")));
    assert!(!run(1, None));
    assert!(!run(3, Some("no space")), "a newer snapshot was taken");
}

#[test]
fn hooks_that_failed_are_told_beside_the_failure_and_once() {
    let told = |failure: Option<&str>, hooks: &[&str], cancelled: Option<Timestamp>| {
        let hooks = hooks.iter().map(|hook| (*hook).to_owned()).collect();
        let run = LastRun { at: now() - DAY, failure: failure.map(str::to_owned), hooks, cancelled };
        let copies = [CopyKnown { newest: Some(taken(30)), ..copy() }];
        let live = Live { disks: ["sda".to_owned()].into() };
        let last_run = Some(&run);
        let known = Known { stack: "cht", live: &live, receipts: &[], copies: &copies, last_run, rpo: None, rto: None };
        let texts = health(&known, now()).problems.into_iter().map(|problem| problem.text);
        texts.filter(|text| text.contains("backup failed") || text.contains("hook")).collect::<Vec<_>>()
    };
    let failed = "the last backup failed, on 2026-02-28 12:00 UTC: no space";
    assert_eq!(
        told(Some("no space"), &["hook a failed", "hook b failed"], None),
        [failed, "in the last backup, on 2026-02-28 12:00 UTC, hook a failed, and 1 more"]
    );
    assert_eq!(told(Some("hook a failed, so nothing was backed up"), &["hook a failed"], None).len(), 1);
    assert_eq!(
        told(Some("no space"), &["hook a failed"], Some(now())),
        [failed, "in a backup that was cancelled, on 2026-03-01 12:00 UTC, hook a failed"]
    );
}

#[test]
fn a_snapshot_of_the_future_is_critical_and_hides_nothing() {
    let of_days = |days: u32| Newest { id: Id::of(b"ahead"), time: now() + DAY * days, ..taken(0) };
    let ahead = |copy: CopyKnown| CopyKnown { ahead: [(of_days(200).id, of_days(200).time)].into(), ..copy };
    let run =
        LastRun { at: now() - DAY, failure: Some("the data is gone".to_owned()), hooks: Vec::new(), cancelled: None };
    let live = Live { disks: ["sda".to_owned()].into() };
    let health = |copies: &[CopyKnown]| {
        let (last_run, rpo) = (Some(&run), Some(DAY / 4));
        health(&Known { stack: "cht", live: &live, receipts: &[], copies, last_run, rpo, rto: None }, now())
    };
    let id = of_days(200).id.short();
    let both = health(&[
        ahead(CopyKnown { newest: Some(of_days(200)), ..named("nas", None) }),
        CopyKnown { newest: Some(taken(3)), ..copy() },
    ]);
    let only = health(&[ahead(CopyKnown { newest: Some(of_days(200)), ..copy() })]);
    for health in [&both, &only] {
        let future = format!("snapshot {id} is from the future (2026-09-17T12:00:00Z)");
        assert!(says(health, Severity::Critical, &future), "{:?}", texts(health));
        assert!(says(health, Severity::Critical, "the last backup failed"), "{:?}", texts(health));
        assert_eq!(health.rpo_ok, Some(false));
    }
    assert_eq!(both.last_backup, Some(taken(3).time), "the newest that has been");
    assert!(says(&both, Severity::Critical, "the newest snapshot is 72 h old"), "{:?}", texts(&both));
}

#[test]
fn hosts_that_back_up_under_one_name_are_told() {
    let of = |copy: CopyKnown| {
        let (live, copies) = (Live { disks: ["sda".to_owned()].into() }, [copy]);
        let known =
            Known { stack: "cht", live: &live, receipts: &[], copies: &copies, last_run: None, rpo: None, rto: None };
        says(&health(&known, now()), Severity::Warning, "hosts clinic and ward back up under the name cht")
    };
    assert!(!of(copy()));
    assert!(of(CopyKnown { several_hosts: ["ward".to_owned(), "clinic".to_owned()].into(), ..copy() }));
}

fn says(health: &Health, severity: Severity, text: &str) -> bool {
    health.problems.iter().any(|problem| problem.severity == severity && problem.text.contains(text))
}

#[test]
fn a_look_through_the_copy_proves_no_restore() {
    for level in [0, 1] {
        let health = drilled(&[receipt(1, Verdict::Passed, level)]);
        assert_eq!(health.score.verified, 0);
        assert!(says(&health, Severity::Warning, "never drilled"), "{:?}", texts(&health));
    }
    for level in [2, 3] {
        let health = drilled(&[receipt(1, Verdict::Passed, level)]);
        assert_eq!(health.score.verified, 1);
        assert!(!says(&health, Severity::Warning, "drill"), "{:?}", texts(&health));
    }
}

#[test]
fn a_drill_of_a_partial_snapshot_proves_nothing_of_what_was_left_out() {
    let of_partial = |days| Receipt { partial: true, ..receipt(days, Verdict::Passed, 3) };
    let health = drilled(&[receipt(9, Verdict::Passed, 3), of_partial(1)]);
    assert_eq!(health.score.verified, 0);
    assert!(says(&health, Severity::Warning, "was of a partial snapshot"), "{:?}", texts(&health));
    assert!(health.last_drill["disk"].partial);
    assert_eq!(drilled(&[of_partial(2), receipt(1, Verdict::Passed, 3)]).score.verified, 1);
}

#[test]
fn neither_a_shallow_nor_a_broken_off_drill_hides_an_earlier_failure() {
    for later in [receipt(1, Verdict::Passed, 1), receipt(1, Verdict::Unknown, 0)] {
        let health = drilled(&[receipt(9, Verdict::Passed, 3), receipt(2, Verdict::Failed, 0), later]);
        assert!(says(&health, Severity::Critical, "failed"), "{:?}", texts(&health));
        assert_eq!(health.score.verified, 0);
    }
    let mended = drilled(&[receipt(2, Verdict::Failed, 0), receipt(1, Verdict::Passed, 2)]);
    assert_eq!(mended.score.verified, 1);
    let broken = drilled(&[receipt(2, Verdict::Passed, 3), receipt(1, Verdict::Failed, 0)]);
    assert!(says(&broken, Severity::Critical, "failed"), "a failure counts at whatever level");
}

#[test]
fn a_snapshot_counts_as_proven_until_a_drill_of_it_fails() {
    let mut receipts = vec![receipt(3, Verdict::Passed, 3), receipt(2, Verdict::Unknown, 0)];
    let telling = drill::telling_by_snapshot(&receipts);
    assert!(telling.values().all(|receipt| drill::is_proof(receipt)));
    assert_eq!(telling.len(), 1);
    receipts.push(receipt(1, Verdict::Failed, 0));
    assert!(!drill::telling_by_snapshot(&receipts).values().any(|receipt| drill::is_proof(receipt)));
    assert!(drill::telling_by_snapshot(&[receipt(1, Verdict::Passed, 1)]).is_empty());
}

/// The health of a stack with this newest snapshot, `days` old.
fn backed_up(days: u32, selection: bool, rpo: Option<Duration>) -> Health {
    let newest = Newest { selection, ..taken(days) };
    with(&[CopyKnown { newest: Some(newest), ..copy() }], &[receipt(1, Verdict::Passed, 3)], rpo)
}

#[test]
fn an_old_backup_is_said_to_be_old_even_where_no_target_is_set() {
    assert_eq!(texts(&backed_up(8, false, None)), [""; 0]);
    let old = backed_up(9, false, None);
    assert!(says(&old, Severity::Warning, "9 days old"), "{:?}", texts(&old));
    assert_eq!(old.rpo_ok, None);
    assert!(says(&backed_up(2, false, Some(DAY)), Severity::Critical, "older than the target"));
    assert_eq!(texts(&backed_up(20, false, Some(DAY * 30))), [""; 0], "whoever sets a target is taken at the word");
}

#[test]
fn a_snapshot_of_some_sources_is_no_backup_of_the_stack() {
    let health = backed_up(0, true, None);
    assert!(says(&health, Severity::Critical, "only of some"), "{:?}", texts(&health));
}

#[test]
fn a_damaged_snapshot_is_critical() {
    let copies = [CopyKnown { damaged: vec![Id::of(b"lost")], ..copy() }];
    let health = with(&copies, &[], None);
    assert!(says(&health, Severity::Critical, &Id::of(b"lost").short()), "{:?}", texts(&health));
}

#[test]
fn a_copy_that_cannot_be_looked_into_is_named_for_what_is_wrong_and_nothing_is_guessed() {
    let table = [
        (FaultKind::Storage, "cannot be reached: why", "make it reachable"),
        (FaultKind::WrongPassword, "cannot be opened: why", "mend this"),
        (FaultKind::Damaged, "is damaged: why", "check --read-data"),
        (FaultKind::NoRepository, "holds no repository: why", "mount its disk"),
    ];
    for (kind, text, fix) in table {
        let fault = Some(Fault::new(kind, "why").into());
        let copies = [CopyKnown { fault, ..copy() }];
        let mut problems = with(&copies, &[], None).problems;
        problems.retain(|problem| problem.severity > Severity::Notice);
        let [problem] = &problems[..] else { panic!("{problems:?}") };
        assert!(problem.text.contains(text) && problem.fix.contains(fix), "{problem:?}");
    }
    let hinted = CopyFault::from(Fault::new(FaultKind::WrongPassword, "why").with_hint("look here"));
    let copies = [CopyKnown { fault: Some(hinted), ..copy() }];
    assert_eq!(with(&copies, &[], None).problems[0].fix, "look here");
}

fn named(name: &str, days: Option<u32>) -> CopyKnown {
    CopyKnown { name: name.to_owned(), newest: days.map(taken), ..copy() }
}

#[test]
fn a_copy_that_lags_behind_is_named_and_does_not_count_as_verified() {
    let drilled = ["disk", "nas"].map(|name| Receipt { copy: name.to_owned(), ..receipt(1, Verdict::Passed, 3) });
    let in_step = with(&[named("disk", Some(0)), named("nas", Some(0))], &drilled, None);
    assert_eq!((texts(&in_step), in_step.score.verified), (vec![], 2));
    let behind = with(&[named("disk", Some(3)), named("nas", Some(0))], &drilled, None);
    assert!(says(&behind, Severity::Warning, "copy disk lags behind"), "{:?}", texts(&behind));
    assert_eq!((behind.score.verified, behind.last_backup), (1, Some(taken(0).time)), "the newest is in any copy");
    let empty = with(&[named("disk", Some(0)), named("nas", None)], &drilled, None);
    assert!(says(&empty, Severity::Warning, "copy nas holds no snapshot of cht"), "{:?}", texts(&empty));
    let other = with(&[named("disk", Some(0)), CopyKnown { is_other: true, ..named("nas", Some(1)) }], &drilled, None);
    assert!(says(&other, Severity::Critical, "a repository of its own"), "{:?}", texts(&other));
}

#[test]
fn a_removable_copy_may_be_absent_and_no_other() {
    let absent_since = |removable, kind, days: Option<u32>| {
        let fault = Some(Fault::new(kind, "why").into());
        let last_seen = days.map(|days| now() - DAY * days);
        let copies = [named("disk", Some(0)), CopyKnown { removable, fault, last_seen, ..named("usb", None) }];
        let found = with(&copies, &[receipt(1, Verdict::Passed, 3)], None).problems;
        found.iter().find(|problem| problem.text.contains("usb")).unwrap().severity
    };
    let absent = |removable, kind| absent_since(removable, kind, Some(30));
    assert_eq!(absent(true, FaultKind::NoRepository), Severity::Notice);
    assert_eq!(absent_since(true, FaultKind::NoRepository, Some(36)), Severity::Warning, "it is overdue");
    assert_eq!(absent_since(true, FaultKind::NoRepository, None), Severity::Warning, "nobody knows of it");
    assert_eq!(absent(false, FaultKind::NoRepository), Severity::Critical);
    assert_eq!(absent(true, FaultKind::Damaged), Severity::Critical, "it is here, and bad");
}

/// All that a look into a copy reads; see `lifeboat/src/look.rs`.
fn look(memory: &Memory, storage: Arc<dyn Storage>) -> Result<(), Error> {
    assert_eq!(Repository::found_at(&*storage)?, Found::Repository, "what cannot be read is there");
    let repository = Repository::open(storage, "secret")?;
    repository.snapshots_readable(&memory.cancel)?;
    let index = Index::load(&memory.cx(), &repository)?;
    repository::receipt::orphans(&repository)?;
    repository::check::at_a_glance(&memory.cx(), &repository, &index)?;
    drill::receipts(&repository).map(drop)
}

#[test]
fn a_file_that_cannot_be_read_is_no_absence_of_its_copy() {
    let memory = Memory::new();
    memory.back_up(&[FixedFiles::new(&[("a", "1")]).named("one")], &[]).unwrap();
    for kind in [FileKind::Condemned, FileKind::Receipt, FileKind::Lock] {
        memory.repository.save_json(kind, &serde_json::json!({})).unwrap();
    }
    for kind in FileKind::ALL {
        let watch = move |_: &MemoryStorage, asked: Asked<'_>| match asked {
            Asked::Get(file) if file.kind == kind => {
                Err(StorageError::Permanent { location: "usb".to_owned(), what: "input/output error".to_owned() })
            }
            _ => Ok(()),
        };
        let looked = look(&memory, Arc::new(Watched { inner: memory.storage.clone(), watch }));
        if [FileKind::Config, FileKind::Key, FileKind::Index, FileKind::Condemned].contains(&kind) {
            let fault = CopyFault::from(Fault::from(looked.unwrap_err()));
            assert!(!fault.is_absence(), "{kind:?}: {fault:?}");
            assert!(fault.what.contains("input/output error"), "{kind:?}: {fault:?}");
        } else {
            looked.unwrap();
        }
    }
    // Where nothing is answered for, it is the place.
    let place =
        fault::Fault::new(Arc::new(memory.storage.clone()), 1).with(When::After(0), Effect::Fail(Failure::Permanent));
    let away = look(&memory, Arc::new(place)).unwrap_err();
    assert!(CopyFault::from(Fault::from(away)).is_absence());
}

#[test]
fn receipts_that_could_not_be_read_are_told_and_so_is_a_copy_that_is_another_one() {
    let drilled = [receipt(1, Verdict::Passed, 3)];
    let unread = with(&[CopyKnown { receipts_unread: 2, ..named("disk", Some(0)) }], &drilled, None);
    assert!(says(&unread, Severity::Warning, "receipts of drills that could not be read, 2 of them"));
    let twin = CopyKnown { twin: Some("disk".to_owned()), ..named("nas", Some(0)) };
    let twins = with(&[named("disk", Some(0)), twin], &drilled, None);
    assert!(says(&twins, Severity::Warning, "copy nas lies in the same folder as copy disk"), "{:?}", texts(&twins));
}

#[test]
fn of_many_snapshots_the_first_are_named_and_the_rest_counted() {
    let lacking: Vec<Id> = (0..224_u32).map(|number| Id::of(&number.to_le_bytes())).collect();
    let copies = [named("disk", Some(0)), CopyKnown { lacking: lacking.clone(), ..named("nas", Some(0)) }];
    let text = texts(&with(&copies, &[], None)).into_iter().find(|text| text.contains("lacks")).unwrap();
    assert!(text.contains(&lacking[9].short()) && !text.contains(&lacking[10].short()), "{text}");
    assert!(text.ends_with(" and 214 more"), "{text}");
    let copies = [named("disk", Some(0)), CopyKnown { lacking: lacking[..10].to_vec(), ..named("nas", Some(0)) }];
    let text = texts(&with(&copies, &[], None)).into_iter().find(|text| text.contains("lacks")).unwrap();
    assert!(text.ends_with(&lacking[9].short()), "{text}");
}

#[test]
fn rules_that_are_not_kept_are_notices_and_make_nothing_worse() {
    let health = drilled(&[receipt(1, Verdict::Passed, 3)]);
    assert_eq!(texts(&health), [""; 0]);
    let notices: Vec<&str> = health.problems.iter().map(|problem| problem.text.split(':').next().unwrap()).collect();
    assert_eq!(notices, ["copies", "media", "offsite", "immutable"]);
    assert!(health.problems.iter().all(|problem| !problem.fix.is_empty()));
}

#[test]
fn what_lies_in_volumes_is_said_not_to_be_in_the_backups() {
    let json = br#"{"version":1,"stack":"cht","sources":{"compose":{"kind":"compose","status":"ok",
        "tree":{"files":1,"dirs":1,"others":0,"bytes":1,"root":"59c0c7c9c864846efd2565d5808de9a229ed2fa1ee872a17f258ec65daf362b1"},
        "facts":{"volumes":{"db":{"external":false,"name":"cht_db"}}}}}}"#;
    let content = Content::from(&Manifest::parse(json).unwrap());
    assert_eq!((&content.volumes[..], content.empty.len()), (&["cht_db".to_owned()][..], 0));
    let health = of(CopyKnown { newest: Some(Newest { content: Told::Content(content), ..taken(0) }), ..copy() });
    assert!(says(&health, Severity::Notice, "Docker's volumes cht_db"), "{:?}", health.problems);
}

#[test]
fn archives_are_proven_by_reading_them_back_and_never_asked_for_a_drill() {
    let archives = || CopyKnown { keeps_archives: true, newest: Some(taken(0)), ..copy() };
    let health = of(archives());
    let texts: Vec<&str> = health.problems.iter().map(|problem| problem.text.as_str()).collect();
    assert!(texts.iter().any(|text| text.contains("were never read back")), "{texts:?}");
    assert!(texts.iter().all(|text| !text.contains("drilled")), "{texts:?}");
    let checked = |check| of(CopyKnown { check: Some(check), ..archives() });
    let health = checked(LastCheck::new(now(), true, None));
    assert!(health.problems.iter().all(|problem| problem.severity == Severity::Notice), "{:?}", health.problems);
    let lesser = LastCheck { proven: Some(now()), ..LastCheck::new(now(), false, None) };
    assert!(!says(&checked(lesser), Severity::Warning, "read back"), "what was read yesterday is still proven");
    let damaged = checked(LastCheck::new(now(), true, Some("a.age: 3 bytes".to_owned())));
    assert!(says(&damaged, Severity::Critical, "found damage") && !says(&damaged, Severity::Warning, "read back"));
    let sealed = of(CopyKnown { newest: Some(Newest { content: Told::Sealed, ..taken(0) }), ..archives() });
    assert!(sealed.problems.iter().all(|problem| !problem.text.contains("manifest")), "{:?}", sealed.problems);
}
