//! `lifeboat config`: the configuration described, shown and tried.

use operations::config::{CopySettings, Settings, SourceSettings};
use operations::{Fault, FaultKind, config, copies};
use serde_json::json;

use crate::app::{App, Run};
use crate::arguments::Config;
use crate::open_archives;
use crate::output::{Outcome, bytes, count};
use crate::sentinel;
use crate::wiring::{Around, find_containers};

pub fn run(run: Run, arguments: &Config) -> Result<Outcome, Fault> {
    match arguments {
        Config::Schema => {
            // The schema is JSON for people and programs alike.
            let text = serde_json::to_string_pretty(&config::schema()).unwrap_or_default();
            crate::output::print(&text);
            Ok(Outcome::Ok)
        }
        Config::Show => show(&run.configured()?),
        Config::Check => check(&run.configured()?),
    }
}

fn show(app: &App) -> Result<Outcome, Fault> {
    app.output().summary(json!({ "status": "ok", "file": app.settings.origin(), "settings": app.settings.to_json()? }));
    app.output().text(format!("# effective values of {}", app.settings.origin()));
    app.settings.to_yaml()?.lines().for_each(|line| app.output().text(line));
    Ok(Outcome::Ok)
}

/// Opens every copy and walks every source but commands, so that a mistake shows now and not tonight.
fn check(app: &App) -> Result<Outcome, Fault> {
    let output = app.output();
    output.text(format!("{}: well-formed", app.settings.origin()));
    let mut faults = 0;
    let mut report = |what: &str, result: Result<String, Fault>| {
        let (ok, text) = match result {
            Ok(text) => (true, text),
            Err(fault) => {
                faults += 1;
                (false, fault.text())
            }
        };
        output.text(format!("{what}: {}{text}", if ok { "" } else { "FAILED: " }));
        output.json("tried", json!({ "what": what, "ok": ok, "text": text }));
    };
    for copy in &app.settings.copies {
        if app.is_absent(copy)? {
            report(&format!("copy {}", copy.name), Ok("not here, which a removable copy may be".to_owned()));
            continue;
        }
        let opened = match copy.archives() {
            Some(settings) => open_archives::open(app, copy, settings).and_then(|open| {
                crate::wiring::recipients(&settings.key)?;
                Ok(format!("listed, {}", count(open.contents.snapshots.len() as u64, "archived snapshot")))
            }),
            None => app.open(copy).and_then(|repository| {
                repository.check_writable()?;
                Ok(format!("opened, version {}", repository.config().version))
            }),
        };
        report(&format!("copy {}", copy.name), opened);
    }
    for (copy, other) in at_one_folder(&app.settings) {
        report(&format!("copy {}", copy.name), Err(copies::one_with(other)));
    }
    for what in sentinel::notices(&app.settings) {
        report("note", Ok(what.to_owned()));
    }
    for stack in &app.settings.stacks {
        let around = Around::of(&app.settings, &app.run.environment);
        match find_containers(stack, &around, &app.run.cancel) {
            Ok(0) => {}
            found => report(
                &format!("stack {}, containers of hooks and freeze", stack.name),
                found.map(|found| count(found as u64, "container")).map_err(Fault::from),
            ),
        }
        let tried = app.sources(stack, &[]).and_then(|sources| {
            Ok(operations::backup::preview(&app.cx(), &sources, &[], &app.scratch(), &app.own_paths())?)
        });
        match tried {
            Ok(counts) => {
                let commands = stack.sources.iter().filter(|source| !counts.contains_key(&source.name));
                for SourceSettings { name, .. } in commands {
                    report(&format!("stack {}, source {name}", stack.name), Ok("a command, not started".to_owned()));
                }
                for (name, counted) in counts {
                    let what = format!("stack {}, source {name}", stack.name);
                    let text = format!("{}, {}", count(counted.files, "file"), bytes(counted.bytes));
                    let result = match counted.problems {
                        0 => Ok(text),
                        problems => {
                            let what = format!("{text}, {}", count(problems, "problem"));
                            Err(Fault::new(FaultKind::Partial, what))
                        }
                    };
                    report(&what, result);
                }
            }
            Err(fault) => report(&format!("stack {}", stack.name), Err(fault)),
        }
    }
    output.summary(json!({ "status": if faults == 0 { "ok" } else { "failed" }, "failed": faults }));
    Ok(if faults == 0 { Outcome::Ok } else { Outcome::Bad })
}

/// Copies that are called by different paths and lie in one folder.
fn at_one_folder(settings: &Settings) -> Vec<(&CopySettings, &CopySettings)> {
    let twin = |(number, copy)| {
        let other = settings.copies[..number].iter().find(|other| copies::are_one(copy, other))?;
        Some((copy, other))
    };
    settings.copies.iter().enumerate().filter_map(twin).collect()
}
