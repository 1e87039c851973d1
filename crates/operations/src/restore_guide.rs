//! `RESTORE.md` in every snapshot: how to get this very snapshot back with stock tools, for the day Lifeboat is not at
//! hand.

use std::fmt::Write as _;

use jiff::Timestamp;
use repository::format::snapshot::Snapshot;

use crate::config::ResticLocation;
use crate::manifest::{Manifest, SourceRecord};
use crate::shell;

/// A copy of the repository, as the guide names it.
#[derive(Clone, Debug)]
pub struct GuideCopy {
    /// Its name.
    pub name: String,
    /// How stock restic finds it.
    pub restic: ResticLocation,
}

/// The guide for a snapshot of `manifest`, whose repository has these copies, written at `time`.
pub fn text(manifest: &Manifest, copies: &[GuideCopy], time: Timestamp) -> String {
    let mut text = String::new();
    let stack = &manifest.stack;
    let tag = shell::quote(&Snapshot::stack_tag(stack));
    // A newer snapshot of some sources only must not pass for the latest of all.
    let paths = manifest.sources.keys().map(|name| format!(" --path {}", shell::quote(&format!("/{name}"))));
    let select = format!("--tag {tag}{}", paths.collect::<String>());
    let places = places(copies);
    let time = time.strftime("%Y-%m-%d %H:%M UTC");
    // Writing to a `String` cannot fail.
    let _ = write!(
        text,
        "# How to restore the stack {stack}

This snapshot lies in a repository of restic's format. Any `restic` from 0.14 on reads it; Lifeboat is not needed.
You need the repository, and the password of the copy that you take. When this was written the repository lay at

{places}
1. Install restic (`apt install restic`) and set what stands above, and

       export RESTIC_PASSWORD_FILE=/path/to/the/password

2. Find this snapshot by its time, {time} or a little later (the newest is `latest`; any other is named by its id, in place of `latest` below) and
   check that everything is whole:

       restic snapshots --tag {tag}
       restic check --read-data

3. Restore all of it into an empty folder; as root, to get owners back:

       restic restore latest {select} --target /restore

`lifeboat.json` beside this file holds what was counted when the snapshot was taken.

## What is in it
"
    );
    for (name, record) in &manifest.sources {
        let _ = write!(text, "\n### {name} ({})\n\n{}", record.kind, describe(name, record, &select));
    }
    text
}

/// Every copy: what to set for restic to find it.
fn places(copies: &[GuideCopy]) -> String {
    let mut text = String::new();
    for GuideCopy { name, restic } in copies {
        if copies.len() > 1 {
            let _ = writeln!(text, "Copy {name}:\n");
        }
        let _ = writeln!(text, "    export RESTIC_REPOSITORY={}", shell::quote(&restic.repository));
        for (variable, value) in &restic.variables {
            let _ = writeln!(text, "    export {variable}={}", shell::quote(value));
        }
        for (variable, what) in &restic.secrets {
            let _ = writeln!(text, "    export {variable}=...    # {what}");
        }
        if let Some(note) = &restic.note {
            let _ = writeln!(text, "\n{note}.");
        }
        text.push('\n');
    }
    if copies.len() > 1 {
        text.push_str("One of them is enough; all hold the same, but the newest snapshots may be missing in some.\n\n");
    }
    text
}

fn describe(name: &str, record: &SourceRecord, select: &str) -> String {
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
        "files" | "compose" | "tls" | "volume" => format!(
            "Each file lies below `/{name}` at the path it had on the host: what was `/srv/app` is `/{name}/srv/app`.\n\
             Get only this source with\n\n    \
             restic restore latest {select} --include {} --target /restore\n\n\
             Stop what uses the files, then copy them back with `cp -a`.\n",
            shell::quote(&format!("/{name}"))
        ),
        "container-files" => format!(
            "Each file lies below `/{name}` at the path it had in the container. Get only this source with\n\n    \
             restic restore latest {select} --include {} --target /restore\n\n\
             Put a file back with `docker cp -a FILE CONTAINER:PATH`, whether or not the container runs.\n",
            shell::quote(&format!("/{name}"))
        ),
        "sqlite" => format!(
            "Each database is one whole file below `/{name}` at the path it had on the host, taken with SQLite's online\n\
             backup. Stop the program that uses it, copy the file back, and remove `-wal`, `-shm` and `-journal` files\n\
             that lie beside the old one: they belong to another state. Check it with\n\n    \
             sqlite3 FILE 'PRAGMA integrity_check'\n"
        ),
        "postgres" => format!(
            "`roles.sql`, and one archive of `pg_dump` for each database below `/{name}/databases`. Get them with\n\n    \
             restic restore latest {select} --include {} --target /restore\n\n\
             On a new server of the same version or a later one, as its superuser:\n\n    \
             psql -f /restore/{name}/roles.sql postgres\n    \
             pg_restore --create --jobs=4 --dbname=postgres /restore/{name}/databases/NAME.dump\n\n\
             A role that is there already is told of and does no harm. Into a database that is there, leave `--create` out and\n\
             name it as `--dbname`; add `--no-owner` where the roles are not to come back. `server.json` has the settings.\n",
            shell::quote(&format!("/{name}"))
        ),
        "mysql" => format!(
            "One file of SQL for each database below `/{name}/databases`, `users.sql`, and `views.sql` with the views of all. Get\n\
             them with\n\n    \
             restic restore latest {select} --include {} --target /restore\n\n\
             Into a new server of the same kind, of the same version or a later one, as its `root`, in this order (the client of\n\
             MySQL is called `mysql`):\n\n    \
             mariadb < /restore/{name}/databases/NAME.sql      # each\n    \
             mariadb --force < /restore/{name}/users.sql\n    \
             mariadb < /restore/{name}/views.sql\n\n\
             Each file of a database replaces what is there of the same name. A user that is there already keeps the password.\n",
            shell::quote(&format!("/{name}"))
        ),
        "redis" => format!(
            "`dump.rdb` below `/{name}`, as Redis itself writes it, and `users.acl` where the server has users. Get them with\n\n    \
             restic restore latest {select} --include {} --target /restore\n\n\
             Stop the server, put `dump.rdb` into its folder of data (`dir`), and move away what lies there of `appendonly`: where it\n\
             is told to keep one, it would load that. Start it with `appendonly no`, look whether all is there, and then turn it on\n\
             again: `redis-cli CONFIG SET appendonly yes`. `users.acl` is what its `aclfile` names.\n\n\
             Where there is a folder `appendonlydir`, or `appendonly.aof`, the server kept a log of changes, which has the newest state:\n\
             put that into the folder of data instead, and start the server with `appendonly yes`.\n",
            shell::quote(&format!("/{name}"))
        ),
        "command" => {
            "The output of a command, as one file. Get it with\n\n".to_owned()
                + &format!("    restic dump latest {select} {} > dump\n", shell::quote(&format!("/{name}/FILE")))
        }
        "couchdb" => format!(
            "The data folder of a CouchDB lies below `/{name}` at the path it had on the host, each file as of a commit,\n\
             and CouchDB's own configuration at its path. Never start CouchDB on a folder that lacks files: it makes\n\
             missing shards anew, as empty. Get all of it with\n\n    \
             restic restore latest {select} --include {} --target /restore\n\n\
             Stop CouchDB, move its present data folder away, and copy the restored one to its place with `cp -a`; then the\n\
             configuration, then start it. The node must have the name it had. In `lifeboat.json`, `checksums` says\n\
             whether CouchDB 3.4 or newer is needed (`xxh3`), and `databases` how many documents each database has.\n",
            shell::quote(&format!("/{name}"))
        ),
        _ => String::new(),
    };
    text + "\n" + &place
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::config::{AzureLocation, AzureLogin, Location, Secret, SecretSource};

    #[test]
    fn every_copy_is_named_as_restic_takes_it_and_no_secret_is() {
        let secret = SecretSource::Given(Secret::new("hunter2".to_owned()));
        let login = AzureLogin::Key { account: "acme".into(), key: secret };
        let azure = AzureLocation { container: "box".into(), prefix: "cht".into(), endpoint: None, login };
        let copy = |name: &str, location: Location| GuideCopy { name: name.to_owned(), restic: location.restic() };
        let copies = [copy("disk", Location::Local("/srv/my backups".into())), copy("azure", Location::Azure(azure))];
        let shown = places(&copies);
        assert!(!shown.contains("hunter2"));
        expect![[r#"
            Copy disk:

                export RESTIC_REPOSITORY='/srv/my backups'

            Copy azure:

                export RESTIC_REPOSITORY=azure:box:/cht
                export AZURE_ACCOUNT_NAME=acme
                export AZURE_ACCOUNT_KEY=...    # a key of it

            One of them is enough; all hold the same, but the newest snapshots may be missing in some.

        "#]]
        .assert_eq(&shown);
        let alone = places(&copies[..1]);
        assert_eq!(alone, "    export RESTIC_REPOSITORY='/srv/my backups'\n\n", "one copy needs no name");
    }
}
