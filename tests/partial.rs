//! What is left out of a snapshot, or of what comes back, is said: once for each cause, and wherever it matters.

use crate::support::Site;

#[test]
fn what_a_partial_snapshot_lacks_is_said_by_restore_and_drill() {
    let site = Site::new();
    let gone = site.path("gone");
    std::fs::write(&gone, "x").unwrap();
    std::fs::write(site.data().join("a"), "a").unwrap();
    site.configure(&format!("files: {{ files: {{ paths: [{:?}, {gone:?}] }} }}", site.data()));
    site.lifeboat(["init"]).ok();
    std::fs::remove_file(&gone).unwrap();
    site.lifeboat(["backup"]).exits(3);
    site.lifeboat(["restore", "latest", "--to", "back"]).ok().says(["this snapshot is PARTIAL: 1 thing"]);
    let gone = format!("not in it: files: {}", gone.display());
    let ran = site.lifeboat(["drill"]).ok();
    ran.says(["drill passed for what is in snapshot", "this snapshot is PARTIAL", &gone, "nothing is proven"]);
    site.lifeboat(["status"]).exits(1).says(["of a PARTIAL snapshot", "the last drill of copy disk was of a partial"]);
}

#[test]
fn many_problems_of_one_cause_are_told_together() {
    let site = Site::new();
    std::fs::write(site.data().join("a"), "a").unwrap();
    let gone: Vec<_> = (10..30).map(|number| site.path(format!("gone-{number}"))).collect();
    site.configure(&format!("files: {{ files: {{ paths: [{:?}, {}] }} }}", site.data(), listed(&gone)));
    site.lifeboat(["init"]).ok();
    let told = |arguments: &[&str]| {
        let ran = site.lifeboat(arguments).exits(3);
        (ran.errors().matches("gone-").count(), ran.errors().contains("and 17 more like it"))
    };
    assert_eq!(told(&["backup"]), (4, true), "three, and one that stands for the others");
    assert_eq!(told(&["backup", "--verbose"]), (20, false));
    assert_eq!(site.lifeboat(["backup", "--json"]).exits(3).of_type("problem").len(), 20);
    assert_eq!(site.lifeboat(["snapshots", "--problems"]).ok().text().matches("gone-").count(), 3 * 20);
}

/// Paths as YAML has them.
fn listed(paths: &[std::path::PathBuf]) -> String {
    paths.iter().map(|path| format!("{path:?}")).collect::<Vec<_>>().join(", ")
}
