use repository::format::time::Time;

use super::*;

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
        at: Time::from(now() - DAY * days),
        rto_s: 60.0,
        rpo_s: 60.0,
        program_version: "test".to_owned(),
    }
}

fn copy() -> CopyKnown {
    CopyKnown { name: "disk".to_owned(), media: Some("disk".to_owned()), offsite: false, unreachable: None }
}

/// The health of a stack with these drills and nothing else to say.
fn drilled(receipts: &[Receipt]) -> Health {
    let copies = [copy()];
    let known = Known { stack: "cht", snapshots: &[], receipts, copies: &copies, rpo: None, rto: None };
    health(&known, now())
}

fn texts(health: &Health) -> Vec<String> {
    health.problems.iter().map(|problem| format!("{:?}: {}", problem.severity, problem.text)).collect()
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
