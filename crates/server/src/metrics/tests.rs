//! The text for stacks, copies and runs that are known, and what `deploy/` and the guide make of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use expect_test::expect;
use serde_json::json;

use super::*;
use crate::access::Role;
use crate::fixture::Server;
use crate::journal::End;
use crate::task::Task;

impl Server {
    fn lines(&self, prefix: &str) -> String {
        let text = text(&self.shared).unwrap();
        let lines: Vec<_> = text.lines().filter(|line| line.starts_with(prefix)).collect();
        lines.join("\n")
    }
}

fn whole() -> Server {
    let server = Server::new("");
    let drill = json!({ "status": "passed", "level": 3, "at": "2026-01-01T00:00:10Z", "rto_s": 1.5 });
    let stack = json!({
        "last_backup": "2026-01-01T00:00:00Z", "rpo_ok": false, "rto_ok": null, "last_drill": { "disk": drill },
        "score": { "copies": 2, "media": 1, "offsite": 0, "immutable": 0, "verified": 1 },
        "problems": [{ "severity": "critical", "text": "old", "fix": "back up" }],
    });
    server.tell("status", json!([{ "message_type": "summary", "stacks": { "a": stack } }]));
    let held = json!({ "snapshots": 7, "lag": { "snapshots": 1, "seconds": 60 }, "lacks": ["x"] });
    let copy = json!({
        "message_type": "copy", "name": "disk", "reachable": true, "absent": false, "stacks": { "a": held }, "problems": [],
    });
    server.tell("copies", json!([copy, { "message_type": "summary", "status": "ok" }]));
    server
}

#[test]
fn what_is_known_of_stacks_copies_and_drills_is_told() {
    let server = whole();
    expect![[r#"
        lifeboat_stack_rpo_seconds{stack="a"} 21600
        lifeboat_stack_rpo_ok{stack="a"} 0
        lifeboat_stack_problems{stack="a",severity="notice"} 0
        lifeboat_stack_problems{stack="a",severity="warning"} 0
        lifeboat_stack_problems{stack="a",severity="critical"} 1
        lifeboat_stack_score{stack="a",rule="copies"} 2
        lifeboat_stack_score{stack="a",rule="media"} 1
        lifeboat_stack_score{stack="a",rule="offsite"} 0
        lifeboat_stack_score{stack="a",rule="immutable"} 0
        lifeboat_stack_score{stack="a",rule="verified"} 1
        lifeboat_drill_timestamp_seconds{stack="a",copy="disk"} 1767225610
        lifeboat_drill_passed{stack="a",copy="disk"} 1
        lifeboat_drill_level{stack="a",copy="disk"} 3
        lifeboat_drill_rto_seconds{stack="a",copy="disk"} 1.5
        lifeboat_copy_reachable{copy="disk"} 1
        lifeboat_copy_absent{copy="disk"} 0
        lifeboat_copy_problems{copy="disk",severity="notice"} 0
        lifeboat_copy_problems{copy="disk",severity="warning"} 0
        lifeboat_copy_problems{copy="disk",severity="critical"} 0
        lifeboat_copy_snapshots{copy="disk",stack="a"} 7
        lifeboat_copy_lacks{copy="disk",stack="a"} 1
        lifeboat_copy_lag_snapshots{copy="disk",stack="a"} 1
        lifeboat_copy_lag_seconds{copy="disk",stack="a"} 60"#]]
    .assert_eq(
        &[
            server.lines("lifeboat_stack_rpo"),
            server.lines("lifeboat_stack_problems"),
            server.lines("lifeboat_stack_score"),
            server.lines("lifeboat_drill_"),
            server.lines("lifeboat_copy_"),
        ]
        .join("\n"),
    );
    let age: f64 = server.lines("lifeboat_stack_backup_age_seconds{").rsplit_once(' ').unwrap().1.parse().unwrap();
    assert!(age > 0.0);
}

#[test]
fn what_is_not_known_is_not_told_as_zero() {
    let server = Server::new("");
    assert_eq!(server.lines("lifeboat_stack_last_backup_timestamp_seconds"), "");
    assert_eq!(server.lines("lifeboat_copy_reachable"), "");
    assert_eq!(server.lines("lifeboat_run_last_end_timestamp_seconds"), "");
    assert_eq!(server.lines("lifeboat_stack_rpo_seconds"), "lifeboat_stack_rpo_seconds{stack=\"a\"} 21600");
}

#[test]
fn runs_are_counted_and_jobs_that_do_not_begin_are_late() {
    let server = Server::new("");
    let (journal, now) = (&server.shared.runner.journal, server.shared.clock.now());
    let task = Task::Check { copy: None, read_data: false, subset: None };
    let run = journal.queue(&task, "asked for", None, now).unwrap();
    assert_eq!(server.lines("lifeboat_runs_queued{kind=\"check\"}"), "lifeboat_runs_queued{kind=\"check\"} 1");
    journal.end(&run.id, &End { status: Status::Failed, message: None, hint: None, summary: None }, now).unwrap();
    let failed = "lifeboat_runs_total{kind=\"check\",status=\"failed\"}";
    assert_eq!(server.lines(failed), format!("{failed} 1"));
    assert_ne!(server.lines("lifeboat_run_last_end_timestamp_seconds"), "");
    let late = |job: &str| server.lines(&format!("lifeboat_job_late{{job=\"{job}\"")).ends_with(" 1");
    assert!(!late("backup a") && !late("prune"));
    let memory = |hours| operations::schedule::Memory::new(now - jiff::SignedDuration::from_hours(hours));
    journal.keep("backup a", &memory(3)).unwrap();
    assert!(late("backup a") && !late("prune"));
    journal.keep("backup a", &operations::schedule::Memory { begun: Some(now), ..memory(3) }).unwrap();
    assert!(!late("backup a"), "it runs");
}

#[test]
fn the_audit_log_is_told_to_be_whole_until_it_is_changed() {
    let server = Server::new("");
    server.shared.audit.add("ada", "drill", "a", "ok", server.shared.clock.now()).unwrap();
    assert_eq!(server.lines("lifeboat_audit_ok"), "lifeboat_audit_ok 1");
    let database = server.database();
    let change = "DROP TRIGGER audit_is_as_written; UPDATE audit SET actor = 'bob'";
    database.with(|db| db.execute_batch(change)).unwrap();
    let again = AuditChecked::default();
    assert!(!again.is_whole(&server.shared).unwrap());
}

#[tokio::test]
async fn the_metrics_are_for_who_has_a_token_unless_they_are_open() {
    let closed = Server::new("");
    assert_eq!(closed.ask("GET", "/metrics", None).await.0, 401);
    assert_eq!(closed.ask("GET", "/metrics", Some(Role::Viewer)).await.0, 200);
    let open = Server::new("server: { metrics: open }\n");
    let (status, text) = open.ask("GET", "/metrics", None).await;
    assert!(status == 200 && text.starts_with("# HELP lifeboat_build_info "), "{status} {text}");
}

#[test]
fn values_of_labels_cannot_break_out_of_their_quotes() {
    let mut page = Page::default();
    page.family("a", "b");
    page.sample(&[("c", "x\"} 1\n\\")], 2.0);
    assert_eq!(page.text, "# HELP a b\n# TYPE a gauge\na{c=\"x\\\"} 1\\n\\\\\"} 2\n");
}

fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| word.starts_with("lifeboat_")).map(str::to_owned).collect()
}

fn file(path: &str) -> String {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    std::fs::read_to_string(root.join(path)).unwrap()
}

#[test]
fn the_dashboard_and_the_rules_go_by_series_that_there_are_and_the_guide_tells_all() {
    let text = text(&whole().shared).unwrap();
    let families: BTreeSet<String> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).map(str::to_owned).collect();
    for path in ["deploy/prometheus/alerts.yml", "deploy/grafana/dashboard.json"] {
        let named = names(&file(path));
        assert!(named.len() > 5, "{path} goes by {named:?}");
        assert!(named.is_subset(&families), "{path}: {:?}", named.difference(&families));
    }
    serde_json::from_str::<Value>(&file("deploy/grafana/dashboard.json")).unwrap();
    assert_eq!(names(&file("docs/guides/monitoring.md")), families);
}
