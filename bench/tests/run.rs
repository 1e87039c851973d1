//! The built program, run on very little data with `cp` and with stand-ins for the programs that may not be installed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context, Result};

fn run(folder: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeboat-bench"));
    command.args(["run", "--scale", "0.001", "--without", "lifeboat", "--without", "restic", "--without", "rustic"]);
    command.arg("--work").arg(folder.join("work")).args(arguments).output().context("run the benchmark")
}

/// A stand-in for borg that says its version and otherwise runs `script`, its sub-command being `$1`.
fn borg(folder: &Path, script: &str) -> Result<String> {
    let path = folder.join("borg");
    fs::write(&path, format!("#!/bin/sh\n[ \"$1\" = --version ] && echo borg 1 && exit\n{script}\n"))?;
    fs::set_permissions(&path, Permissions::from_mode(0o755))?;
    Ok(path.to_string_lossy().into_owned())
}

#[test]
fn a_run_measures_all_work_in_every_round_and_cleans_up() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("result.md");
    let output = run(folder.path(), &["--without", "borg", "--rounds", "2", "--out", out.to_str().unwrap()]).unwrap();
    assert!(output.status.success(), "{output:?}");
    let report = String::from_utf8(output.stdout).unwrap();
    assert_eq!(report, fs::read_to_string(out).unwrap());
    for round in ["1", "2"] {
        for work in ["first backup", "backup, no change", "full restore", "backup, second generation"] {
            assert!(report.contains(&format!("| {round} | cp | {work} | ")), "{work}: {report}");
        }
    }
    assert!(report.contains("| check, reading all data | – |"), "{report}");
    let left: Vec<_> =
        fs::read_dir(folder.path().join("work")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lifeboat-bench.lock"]);
}

#[test]
fn a_program_that_fails_is_reported_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let borg = borg(folder.path(), "[ \"$1\" = create ] && echo the disk is on fire >&2 && exit 2\nexit 0").unwrap();
    let output = run(folder.path(), &["--borg", &borg, "--rounds", "1"]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("**Failed:** borg at first backup, round 1: "), "{report}");
    assert!(report.contains("the disk is on fire"), "{report}");
    assert!(report.contains("| 1 | cp | full restore | "), "{report}");
}

#[test]
fn a_restore_that_brings_nothing_back_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let borg = borg(folder.path(), "[ \"$1\" = init ] && mkdir \"$3\"\nexit 0").unwrap();
    let output = run(folder.path(), &["--borg", &borg, "--rounds", "1"]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("borg at full restore, round 1: nothing was restored"), "{report}");
    assert!(!report.contains("| 1 | borg | full restore |"), "{report}");
}

#[test]
fn a_program_that_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let output = run(folder.path(), &["--borg", "/nowhere/borg", "--rounds", "1"]).unwrap();
    assert!(output.status.success(), "{output:?}");
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("- Left out: borg was not found as `/nowhere/borg`"), "{report}");
}

#[test]
fn a_second_generation_that_was_not_backed_up_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    // A stand-in that copies the data at its first backup and believes forever that nothing changed.
    let script = r#"
        case "$1" in
            init) mkdir "$3" ;;
            create) [ -e "${3%::*}/data" ] || cp -a "$4" "${3%::*}/data" ;;
            extract) cp -a "${2%::*}/data" . ;;
        esac"#;
    let output = run(folder.path(), &["--borg", &borg(folder.path(), script).unwrap(), "--rounds", "1"]).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("| 1 | borg | full restore |"), "{report}");
    assert!(report.contains("**Failed:** borg at restore of the second generation"), "{report}");
}
