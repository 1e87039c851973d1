//! `lifeboat key`: the passwords that open a copy.

use std::path::Path;

use jiff::Timestamp;
use operations::config::{CopySettings, Secret, SecretSource};
use operations::{Fault, FaultKind, snapshots};
use repository::format::key_file::KdfCost;
use repository::{Clock as _, Id, Repository};
use serde_json::json;

use super::for_each_copy;
use crate::app::App;
use crate::arguments::{Key, KeyAdd, OfCopy};
use crate::output::{Outcome, count};

pub fn run(app: &App, arguments: &Key) -> Result<Outcome, Fault> {
    match arguments {
        Key::List(of) => {
            let mut copies = app.repositories(of.copy.as_deref(), None)?;
            if of.copy.is_none() {
                copies = app.here(copies)?;
            }
            for_each_copy(app.output(), &copies, |copy| {
                if copies.len() > 1 {
                    app.output().text(format!("copy {}:", copy.name));
                }
                list(app, copy, &*app.open_own(copy)?)
            })
        }
        Key::Add(arguments) => {
            let repository = app.open_own(the_copy(app, &arguments.of)?)?;
            let id = add(app, &repository, arguments)?;
            app.output().summary(json!({ "status": "ok", "added": id }));
            app.output().text(format!("key {} added; its password opens this copy from now on", id.short()));
            Ok(Outcome::Ok)
        }
        Key::Remove(arguments) => {
            let repository = app.open_own(the_copy(app, &arguments.of)?)?;
            let id = find(&repository, &arguments.id)?;
            if id == repository.key_id() {
                let what = format!("key {} is the one in use, so it stays", id.short());
                return Err(Fault::new(FaultKind::Usage, what)
                    .with_hint("`lifeboat key change` replaces it by another password"));
            }
            repository.remove_key(id)?;
            app.output().summary(json!({ "status": "ok", "removed": id }));
            app.output().text(format!(
                "key {} removed; its password opens this copy no longer, unless another key was made of it",
                id.short()
            ));
            Ok(Outcome::Ok)
        }
        Key::Change(arguments) => change(app, arguments),
    }
}

/// The copy that is meant. Each has passwords of its own, so where there are several none is guessed.
fn the_copy<'a>(app: &'a App, of: &OfCopy) -> Result<&'a CopySettings, Fault> {
    let names: Vec<&str> = app.settings.repositories().map(|copy| copy.name.as_str()).collect();
    if of.copy.is_none() && names.len() > 1 {
        return Err(Fault::new(FaultKind::Usage, "say which copy: each has passwords of its own")
            .with_hint(format!("add --copy with one of: {}", names.join(", "))));
    }
    app.repository(of.copy.as_deref())
}

fn list(app: &App, copy: &CopySettings, repository: &Repository) -> Result<Outcome, Fault> {
    let (keys, damaged) = repository.keys_readable()?;
    for (id, key) in &keys {
        let in_use = *id == repository.key_id();
        let created = Timestamp::from(key.created);
        app.output().json(
            "key",
            json!({ "copy": copy.name, "id": id, "created": created, "username": key.username, "hostname": key.hostname, "in_use": in_use }),
        );
        app.output().text(format!(
            "{} {}  {}  {}@{}",
            if in_use { "*" } else { " " },
            id.short(),
            super::snapshots::minute(app, created),
            key.username,
            key.hostname
        ));
    }
    for (id, error) in &damaged {
        app.output().json("damaged", json!({ "id": id, "what": error.to_string() }));
        app.output().text(format!("! {}  DAMAGED: {error}", id.short()));
    }
    let status = if damaged.is_empty() { "ok" } else { "damaged" };
    app.output().summary(json!({ "status": status, "copy": copy.name, "keys": keys.len(), "damaged": damaged.len() }));
    app.output().chat(format!("{}; * is the one that was used just now", count(keys.len() as u64, "key")));
    Ok(if damaged.is_empty() { Outcome::Ok } else { Outcome::Bad })
}

fn add(app: &App, repository: &Repository, arguments: &KeyAdd) -> Result<Id, Fault> {
    repository.check_writable()?;
    let password = new_password(app, arguments.new_password_file.as_deref())?;
    if let Some(id) = opened_by(repository, &password)?.first() {
        let what = format!("key {} has this password already; nothing was added", id.short());
        return Err(Fault::new(FaultKind::Usage, what).with_hint("give another password"));
    }
    Ok(repository.add_key(password.expose(), KdfCost::for_password(password.expose()), app.run.clock.now())?)
}

/// The keys that a password opens. Each costs a key derivation.
fn opened_by(repository: &Repository, password: &Secret) -> Result<Vec<Id>, Fault> {
    let (keys, _) = repository.keys_readable()?;
    Ok(keys.into_iter().filter(|(_, key)| key.unwrap(password.expose()).is_ok()).map(|(id, _)| id).collect())
}

/// Adds the new password first and removes the old one last, so that one of them always opens the copy. Every key goes that
/// the old one opens, and where an earlier change was interrupted, its key is the new one.
fn change(app: &App, arguments: &KeyAdd) -> Result<Outcome, Fault> {
    let copy = the_copy(app, &arguments.of)?;
    let repository = app.open_own(copy)?;
    repository.check_writable()?;
    let password = new_password(app, arguments.new_password_file.as_deref())?;
    let old_password = copy.password()?.read()?;
    if password.expose() == old_password.expose() {
        return Err(Fault::new(FaultKind::Usage, "the new password is the old one; nothing was changed")
            .with_hint("give another password; who knows the old one could still open the copy"));
    }
    let id = match opened_by(&repository, &password)?.first() {
        Some(id) => *id,
        None => repository.add_key(password.expose(), KdfCost::for_password(password.expose()), app.run.clock.now())?,
    };
    let old = opened_by(&repository, &old_password)?;
    // Proves that the new one opens it before the old one goes.
    let reopened = crate::wiring::open(copy, &password, &app.run)?;
    old.iter().try_for_each(|old| reopened.remove_key(*old))?;
    app.output().summary(json!({ "status": "ok", "added": id, "removed": old }));
    let removed: Vec<String> = old.iter().map(|old| old.short()).collect();
    app.output().text(format!("the password was changed: key {} instead of {}", id.short(), removed.join(" and ")));
    let source = copy.password()?;
    let is_shared = |other: &&CopySettings| other.name != copy.name && other.password().is_ok_and(|own| own == source);
    let others: Vec<&str> = app.settings.repositories().filter(is_shared).map(|other| &*other.name).collect();
    if others.is_empty() {
        app.output().text(format!("now put the new password where {source} is read from"));
    } else {
        app.output().text(format!(
            "now give copy {} a `password_file` of its own in lifeboat.yaml, with the new password; leave {source} as it is: {} \
             still needs the old one",
            copy.name,
            others.join(", ")
        ));
    }
    Ok(Outcome::Ok)
}

fn new_password(app: &App, file: Option<&Path>) -> Result<Secret, Fault> {
    match file {
        Some(file) => SecretSource::File(file.to_owned()).read(),
        None => {
            let hint = "put the new password into a file of mode 0600 and name it with --new-password-file";
            let missing = || Fault::new(FaultKind::Usage, "no new password was given").with_hint(hint);
            let first = app.output().ask_secret("new password:").ok_or_else(missing)?;
            let again = app.output().ask_secret("again:").ok_or_else(missing)?;
            if first.is_empty() || *first != *again {
                return Err(Fault::new(FaultKind::Usage, "the two are not the same, or empty; nothing was changed"));
            }
            Ok(Secret::new(first.to_string()))
        }
    }
}

fn find(repository: &Repository, digits: &str) -> Result<Id, Fault> {
    snapshots::check_digits(digits).map_err(|error| Fault::new(FaultKind::NotFound, error.to_string()))?;
    let (keys, damaged) = repository.keys_readable()?;
    // A damaged one is removed like any other.
    let ids = keys.iter().map(|(id, _)| *id).chain(damaged.iter().map(|(id, _)| *id));
    let mut matching = ids.filter(|id| id.to_hex().starts_with(&digits.to_lowercase()));
    match (matching.next(), matching.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => Err(Fault::new(FaultKind::NotFound, format!("several keys begin with {digits}"))),
        (None, _) => Err(Fault::new(FaultKind::NotFound, format!("there is no key {digits}"))
            .with_hint("`lifeboat key list` lists them")),
    }
}
