//! Receivers that are told when something changes, over a real line.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::access::Role;
use crate::due;
use crate::fixture::{Recorder, Server, status};
use crate::journal::{End, Status};

fn server(recorder: &Recorder, more: &str) -> Server {
    let url = recorder.url("/hook");
    Server::new(&format!(
        "notifications: {{ to: {{ ops: {{ webhook: {{ url: '{url}', allow_local: true }}{more} }} }} }}\n"
    ))
}

fn old(severity: &str, hours: u32) -> Value {
    status(
        json!([{ "severity": severity, "text": format!("the newest snapshot is {hours} hours old"), "fix": "back up" }]),
    )
}

async fn look_at(server: &Server) -> Result<(), Fault> {
    look(&server.shared, &server.shared.settings.notifications.to[0], server.shared.clock.now()).await
}

fn told(recorder: &Recorder) -> Vec<String> {
    let said = |body: &Value| format!("{} {} {}", body["state"], body["severity"], body["title"]).replace('"', "");
    recorder.bodies().iter().map(said).collect()
}

#[tokio::test]
async fn a_change_is_told_once_also_where_it_could_not_be_sent_at_first_and_across_a_restart() {
    let recorder = Recorder::start(vec![200, 500, 200]).await;
    let server = server(&recorder, "");
    look_at(&server).await.unwrap();
    assert!(told(&recorder).is_empty(), "nothing is known yet");
    server.tell("status", old("warning", 7));
    look_at(&server).await.unwrap();
    server.tell("status", old("warning", 8));
    look_at(&server).await.unwrap();
    assert_eq!(told(&recorder), ["problem warning stack a on host: warning"]);
    server.tell("status", old("critical", 9));
    let fault = look_at(&server).await.unwrap_err();
    assert_eq!(fault.text(), "it answered 500 Internal Server Error");
    look_at(&server).await.unwrap();
    let critical = "problem critical stack a on host: NOT SAFE";
    assert_eq!(told(&recorder)[1..], [critical, critical], "the first was not taken");
    let server = server.again();
    look_at(&server).await.unwrap();
    server.tell("status", status(json!([])));
    look_at(&server).await.unwrap();
    look_at(&server).await.unwrap();
    assert_eq!(told(&recorder)[3..], ["recovered well stack a on host: well again"]);
    assert!(recorder.bodies()[3]["text"].as_str().unwrap().contains("9 hours old"));
}

#[tokio::test]
async fn who_wants_to_hear_of_what_is_critical_hears_of_nothing_less() {
    let recorder = Recorder::start(vec![200]).await;
    let server = server(&recorder, ", severity: critical");
    server.tell("status", old("warning", 7));
    look_at(&server).await.unwrap();
    assert!(told(&recorder).is_empty());
    server.tell("status", old("critical", 7));
    look_at(&server).await.unwrap();
    server.tell("status", old("warning", 7));
    look_at(&server).await.unwrap();
    assert_eq!(told(&recorder).len(), 2, "and hears when it is no longer so");
}

fn of<'a>(all: &'a [(String, State)], subject: &str) -> &'a State {
    &all.iter().find(|(name, _)| name == subject).unwrap().1
}

#[tokio::test]
async fn that_nothing_has_run_is_itself_told() {
    let recorder = Recorder::start(vec![200]).await;
    let server = server(&recorder, "");
    let started = server.shared.clock.now();
    let after = |hours| {
        let all = state::all(&server.shared, started, started + SignedDuration::from_hours(hours)).unwrap();
        let state = of(&all, "server");
        (state.level(), state.troubles.iter().map(|trouble| trouble.text.clone()).collect::<Vec<_>>().join("\n"))
    };
    assert_eq!(after(25).0, state::Level::Well);
    let (level, text) = after(27);
    assert_eq!(level, state::Level::Critical);
    assert!(text.contains("no run has ended since"), "{text}");
    let memory = operations::schedule::Memory::new(started);
    server.shared.runner.journal.keep("backup a", &memory).unwrap();
    assert_eq!(after(1).0, state::Level::Well);
    let (level, text) = after(3);
    assert_eq!(level, state::Level::Warning);
    assert!(text.starts_with("the job backup a was due at "), "{text}");
}

#[tokio::test]
async fn a_job_that_fails_is_told_until_the_same_is_done_well() {
    let recorder = Recorder::start(vec![200]).await;
    let server = server(&recorder, "");
    let (journal, now) = (&server.shared.runner.journal, server.shared.clock.now());
    let prune = due::jobs(&server.shared.settings, "host").into_iter().find(|job| job.name == "prune").unwrap();
    for (seconds, status, level) in [
        (1, Status::Failed, state::Level::Warning),
        (2, Status::Cancelled, state::Level::Warning),
        (3, Status::Ok, state::Level::Well),
        (4, Status::CutOff, state::Level::Warning),
    ] {
        let at = now + SignedDuration::from_secs(seconds);
        let run = journal.queue(&prune.task, "asked for", None, at).unwrap();
        let end = End { status, message: Some("why".to_owned()), hint: None, summary: None };
        journal.end(&run.id, &end, at).unwrap();
        let all = state::all(&server.shared, now, at).unwrap();
        assert_eq!(of(&all, "job prune").level(), level, "{status:?}");
        assert_eq!(of(&all, "job backup a").level(), state::Level::Well);
    }
}

#[tokio::test]
async fn a_digest_comes_once_a_day_at_its_time() {
    let recorder = Recorder::start(vec![200]).await;
    let server = server(&recorder, ", digest: '07:00'");
    server.tell("status", old("warning", 7));
    let receiver = &server.shared.settings.notifications.to[0];
    let at = async |time: &str| {
        let told = Told::new(&server.shared, "ops");
        digest::tell_if_due(&server.shared, receiver, &told, time.parse().unwrap()).await.unwrap();
        recorder.requests().len()
    };
    assert_eq!(at("2026-03-01T08:00:00Z").await, 0, "today's time is over");
    assert_eq!(at("2026-03-02T06:59:00Z").await, 0);
    assert_eq!(at("2026-03-02T07:00:00Z").await, 1);
    assert_eq!(at("2026-03-02T23:00:00Z").await, 1);
    assert_eq!(at("2026-03-09T09:00:00Z").await, 2, "after days without a server, one comes");
    let body = &recorder.bodies()[0];
    assert_eq!(body["title"], "Backups on host: 1 of 1 stacks need a look");
    let text = body["text"].as_str().unwrap();
    assert!(text.starts_with("a: warning; backed up 2026-01-01 00:00 UTC\n- warning: the newest"), "{text}");
}

#[tokio::test]
async fn a_job_is_pinged_when_it_begins_and_when_it_ends() {
    let recorder = Recorder::start(vec![200]).await;
    let url = recorder.url("/uuid/");
    let server = Server::new(&format!(
        "notifications: {{ to: {{ hc: {{ healthchecks: {{ url: '{url}', jobs: [prune], allow_local: true }} }} }} }}\n"
    ));
    let receiver = server.shared.settings.notifications.to[0].clone();
    let pinging = tokio::spawn(pings::keep_pinging(Arc::clone(&server.shared), receiver));
    // It listens from its first moment on.
    tokio::task::yield_now().await;
    let now = server.shared.clock.now();
    for name in ["backup a", "prune"] {
        let job = due::jobs(&server.shared.settings, "host").into_iter().find(|job| job.name == name).unwrap();
        let memory = operations::schedule::Memory::new(now);
        let run = server.shared.runner.journal.queue_job(name, &memory, &job.task, "due", now).unwrap();
        server.shared.runner.start(run).unwrap();
    }
    let mut patience = 500;
    while recorder.requests().iter().all(|request| !request.contains("/fail")) && patience > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        patience -= 1;
    }
    pinging.abort();
    let lines: Vec<_> = recorder.requests().iter().map(|request| request.lines().next().unwrap().to_owned()).collect();
    assert_eq!(lines, ["POST /uuid/start HTTP/1.1", "POST /uuid/fail HTTP/1.1"]);
}

#[tokio::test]
async fn a_test_is_sent_for_an_admin_and_says_what_did_not_work() {
    let recorder = Recorder::start(vec![200, 404]).await;
    let server = server(&recorder, "");
    let test = "/v1/admin/notifications/ops/test";
    assert_eq!(server.ask("POST", test, None).await.0, 401);
    assert_eq!(server.ask("POST", test, Some(Role::Operator)).await.0, 403);
    assert_eq!(server.ask("POST", "/v1/admin/notifications/x/test", Some(Role::Admin)).await.0, 404);
    assert!(recorder.requests().is_empty());
    assert_eq!(server.ask("POST", test, Some(Role::Admin)).await.0, 204);
    assert_eq!(told(&recorder), ["test well Lifeboat on host: a test"]);
    let (status, problem) = server.ask("POST", test, Some(Role::Admin)).await;
    assert_eq!(status, 502);
    assert!(problem.contains("it answered 404 Not Found") && !problem.contains("/hook"), "{problem}");
    let deeds = server.shared.audit.list(None, 9).unwrap();
    assert_eq!(deeds.iter().filter(|deed| deed.action == "test notification").count(), 2);
    let (_, list) = server.ask("GET", "/v1/admin/notifications", Some(Role::Viewer)).await;
    assert_eq!(list, r#"{"items":[{"name":"ops","kind":"webhook","severity":"warning"}]}"#);
}

#[test]
fn it_is_tried_again_later_and_later_but_never_given_up() {
    let seconds: Vec<u64> = (0..10).map(|failures| after_failure(failures).as_secs()).collect();
    assert_eq!(seconds, [30, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]);
    assert_eq!(after_failure(u32::MAX), TRY_AGAIN_AFTER_MAX);
}
