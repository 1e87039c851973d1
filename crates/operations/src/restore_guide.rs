//! `RESTORE.md` in every snapshot: how to get this very snapshot back with stock tools, for the day Lifeboat is not at
//! hand.

use std::fmt::Write as _;

use repository::format::snapshot::Snapshot;

use crate::manifest::{Manifest, SourceRecord};
use crate::shell;

/// The guide for a snapshot of `manifest`, kept in a repository that `restic -r` finds at `location`.
pub fn text(manifest: &Manifest, location: &str) -> String {
    let mut text = String::new();
    let stack = &manifest.stack;
    let quoted = shell::quote(location);
    let tag = shell::quote(&Snapshot::stack_tag(stack));
    // Writing to a `String` cannot fail.
    let _ = write!(
        text,
        "# How to restore the stack {stack}

This snapshot lies in a repository of restic's format. Any `restic` from 0.14 on reads it; Lifeboat is not needed.
You need the repository's password, and the repository: when this was written it lay at

    {location}

1. Install restic (`apt install restic`) and set:

       export RESTIC_REPOSITORY={quoted}
       export RESTIC_PASSWORD_FILE=/path/to/the/password

2. Find this snapshot by its time (the newest is `latest`; any other is named by its id, in place of `latest` below) and
   check that everything is whole:

       restic snapshots --tag {tag}
       restic check --read-data

3. Restore all of it into an empty folder; as root, to get owners back:

       restic restore latest --tag {tag} --target /restore

`lifeboat.json` beside this file holds what was counted when the snapshot was taken.

## What is in it
"
    );
    for (name, record) in &manifest.sources {
        let _ = write!(text, "\n### {name} ({})\n\n{}", record.kind, describe(name, record, &tag));
    }
    text
}

fn describe(name: &str, record: &SourceRecord, tag: &str) -> String {
    let tree = &record.tree;
    let mut text = format!("{} files, {} folders, {} bytes, below `/{name}`.\n", tree.files, tree.dirs, tree.bytes);
    if record.problems_total > 0 {
        let _ = writeln!(
            text,
            "\n**Not everything is in it**: {} problems, listed in `lifeboat.json`.",
            record.problems_total
        );
    }
    let place = match record.kind.as_str() {
        "files" | "compose" => format!(
            "Each file lies below `/{name}` at the path it had on the host: what was `/srv/app` is `/{name}/srv/app`.\n\
             Get only this source with\n\n    \
             restic restore latest --tag {tag} --include {} --target /restore\n\n\
             Stop what uses the files, then copy them back with `cp -a`.\n",
            shell::quote(&format!("/{name}"))
        ),
        "sqlite" => format!(
            "Each database is one whole file below `/{name}` at the path it had on the host, taken with SQLite's online\n\
             backup. Stop the program that uses it, copy the file back, and remove `-wal`, `-shm` and `-journal` files\n\
             that lie beside the old one: they belong to another state. Check it with\n\n    \
             sqlite3 FILE 'PRAGMA integrity_check'\n"
        ),
        "command" => {
            "The output of a command, as one file. Get it with\n\n".to_owned()
                + &format!("    restic dump latest --tag {tag} {} > dump\n", shell::quote(&format!("/{name}/FILE")))
        }
        _ => String::new(),
    };
    text + "\n" + &place
}
