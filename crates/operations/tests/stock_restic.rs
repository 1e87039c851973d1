//! Retention against stock `restic forget --dry-run --json`: the same snapshots must stay, for the same reasons.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use operations::retention::{Candidate, Count, Policy, Reason, TagList, Within, apply};
use repository::Id;
use serde_json::Value;

/// restic takes half a second a command. The test also passed with 45 snapshots and 40 policies.
const SNAPSHOTS: i64 = 24;
const POLICIES: usize = 12;

/// Runs restic on the repository in `folder`. Times are UTC, so that both programs cut days alike.
fn restic(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("restic")
        .args(["--repo", "repo", "--no-cache", "--quiet"])
        .args(arguments)
        .current_dir(folder)
        .env("RESTIC_PASSWORD", "x")
        .env("TZ", "UTC")
        .output()
        .expect("restic is installed");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Moments that the rules disagree about: dense ones, long gaps, ends of years and months, an ISO week 53, the future.
fn times() -> Vec<String> {
    let start: Timestamp = "2020-12-25T00:00:00Z".parse().unwrap();
    let mut times = BTreeSet::from(
        ["2024-02-29T23:59:59Z", "2024-03-31T12:00:00Z", "2100-01-01T00:00:00Z"].map(|t| t.parse().unwrap()),
    );
    let mut seconds = 0i64;
    for n in 0..SNAPSHOTS {
        times.insert(start + SignedDuration::from_secs(seconds));
        // A fixed sequence that mixes minutes, hours, days and months.
        seconds += [600, 5400, 20 * 3600, 3 * 86_400, 40 * 86_400][usize::try_from(n * n % 5 + n % 2).unwrap() % 5] + n;
    }
    times.into_iter().map(|time: Timestamp| time.strftime("%Y-%m-%d %H:%M:%S").to_string()).collect()
}

fn policies() -> Vec<(Policy, Vec<String>)> {
    let mut seed = 7u64;
    let mut next = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut made = Vec::new();
    while made.len() < POLICIES {
        let mut arguments = Vec::new();
        let mut count = |name: &str| match next(8) {
            0..4 => Count::AtMost(0),
            4 => {
                // Debian's restic 0.14 does not know -1 yet.
                arguments.push(format!("--keep-{name}=1000000"));
                Count::All
            }
            n => {
                let n = u32::try_from(n * n % 23).unwrap();
                arguments.push(format!("--keep-{name}={n}"));
                Count::AtMost(n)
            }
        };
        let counts = ["last", "hourly", "daily", "weekly", "monthly", "yearly"].map(&mut count);
        let mut within = |name: &str| {
            if next(4) != 0 {
                return None;
            }
            let part = |n| u32::try_from(n).unwrap();
            let span =
                Within { years: part(next(3)), months: part(next(13)), days: part(next(40)), hours: part(next(50)) };
            arguments.push(format!("--keep-within{name}={span}"));
            Some(span)
        };
        let spans = ["", "-hourly", "-daily", "-weekly", "-monthly", "-yearly"].map(&mut within);
        let tags =
            if next(3) == 0 { vec![TagList(vec!["a".into(), "b".into()]), TagList(vec!["c".into()])] } else { vec![] };
        arguments.extend(tags.iter().map(|list| format!("--keep-tag={}", list.0.join(","))));
        let policy = Policy {
            last: counts[0],
            hourly: counts[1],
            daily: counts[2],
            weekly: counts[3],
            monthly: counts[4],
            yearly: counts[5],
            within: spans[0],
            within_hourly: spans[1],
            within_daily: spans[2],
            within_weekly: spans[3],
            within_monthly: spans[4],
            within_yearly: spans[5],
            tags,
        };
        if !policy.is_empty() {
            made.push((policy, arguments));
        }
    }
    made
}

#[test]
fn the_same_snapshots_stay_as_with_stock_restic_and_for_the_same_reasons() {
    let folder = tempfile::tempdir().unwrap();
    restic(folder.path(), &["init"]);
    std::fs::write(folder.path().join("file"), "x").unwrap();
    for (n, time) in times().iter().enumerate() {
        let tags: &[&str] = [&["--tag", "a"][..], &["--tag", "a,b,d"], &["--tag", "c"], &[], &[]][n % 5];
        restic(folder.path(), &[&["backup", "file", "--time", time], tags].concat());
    }
    let listed: Vec<Value> = serde_json::from_slice(&restic(folder.path(), &["snapshots", "--json"])).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let candidates: Vec<Candidate> = listed
        .iter()
        .map(|snapshot| Candidate {
            id: text(&snapshot["id"]).parse::<Id>().unwrap(),
            time: text(&snapshot["time"]).parse().unwrap(),
            tags: snapshot["tags"].as_array().into_iter().flatten().map(text).collect(),
            drilled: false,
            drilled_elsewhere: false,
            is_last_good: false,
        })
        .collect();
    assert_eq!(candidates.len(), times().len());

    for (policy, arguments) in policies() {
        let mut all = vec!["forget", "--dry-run", "--json", "--group-by", ""];
        all.extend(arguments.iter().map(String::as_str));
        let groups: Value = serde_json::from_slice(&restic(folder.path(), &all)).unwrap();
        let mut theirs: BTreeMap<Timestamp, BTreeSet<String>> = BTreeMap::new();
        for reason in groups[0]["reasons"].as_array().unwrap() {
            // restic 0.14 gives no ids here, but no two snapshots have the same time.
            let time = text(&reason["snapshot"]["time"]).parse().unwrap();
            theirs.insert(time, reason["matches"].as_array().unwrap().iter().map(text).collect());
        }
        #[expect(clippy::disallowed_methods, reason = "stock restic asks the same clock")]
        let now = Timestamp::now();
        let mut ours: BTreeMap<Timestamp, BTreeSet<String>> = BTreeMap::new();
        for decision in apply(&candidates, &policy, now, &TimeZone::UTC) {
            // restic has kept the oldest since 0.16; Debian's is 0.14.
            let is_oldest = |reason: &Reason| {
                matches!(reason, Reason::Counted { oldest: true, .. } | Reason::Within { oldest: true, .. })
            };
            let is_the_oldest = candidates.iter().all(|candidate| candidate.time >= decision.time);
            assert!(is_the_oldest || !decision.reasons.iter().any(is_oldest));
            let is_restics =
                |reason: &&Reason| !matches!(reason, Reason::Newest | Reason::NewestDrilled) && !is_oldest(reason);
            let reasons: BTreeSet<_> = decision.reasons.iter().filter(is_restics).map(ToString::to_string).collect();
            if !reasons.is_empty() {
                ours.insert(decision.time, reasons);
            }
        }
        assert_eq!(ours, theirs, "{arguments:?}");
    }
}
