//! What may be typed after `lifeboat restore`.
//!
//! It works in one of a few modes: to a new place, in place, to a running CouchDB, to a database server, an undo, the end of an undo. A flag that
//! would mean nothing in a mode is refused there, by name: clap drops `requires` where what is required conflicts with what
//! was given, so that alone would let it pass in silence.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::str::FromStr;

use archive::name::{EXTENSION, EXTENSION_DECRYPTED};
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser as _};
use connectors::source::couchdb::Version;
use operations::snapshots::Place;
use operations::{Fault, FaultKind};

/// How a URI begins that names a copy of the configuration.
const URI_SCHEME: &str = "lifeboat:";

/// The modes besides a restore to a new place.
const UNLESS_TO: [&str; 5] = ["in_place", "couch_url", "server", "undo", "drop_undo"];
/// The modes besides a restore in place.
const UNLESS_IN_PLACE: [&str; 5] = ["to", "couch_url", "server", "undo", "drop_undo"];
/// The modes besides documents written to a running CouchDB.
const UNLESS_COUCH_URL: [&str; 5] = ["to", "in_place", "server", "undo", "drop_undo"];
/// The modes besides databases restored into a server.
const UNLESS_SERVER: [&str; 5] = ["to", "in_place", "couch_url", "undo", "drop_undo"];
/// The modes in which nothing is taken from a copy.
const UNDOS: [&str; 2] = ["undo", "drop_undo"];
/// Where `SNAPSHOT` is not needed: in these modes, and where a stack says whose newest is meant.
const WITHOUT_SNAPSHOT: [&str; 3] = ["undo", "drop_undo", "stack"];
/// The modes in which no files are restored.
const NO_FILES: [&str; 4] = ["couch_url", "server", "undo", "drop_undo"];
/// The modes in which archives are not restored from.
const NO_ARCHIVES: [&str; 3] = ["couch_url", "undo", "drop_undo"];
/// The modes in which no databases are chosen.
const NO_DATABASES: [&str; 3] = ["couch_url", "undo", "drop_undo"];

/// What a restore takes its data from.
#[derive(Clone, Debug)]
pub enum RestoreFrom {
    /// A place in a snapshot.
    Snapshot(Place),
    /// A place in a snapshot of a copy that is named with it: `lifeboat:COPY/SNAPSHOT[/SOURCE[/PATH]]`.
    Uri { copy: String, place: Place },
    /// An archive, encrypted or decrypted, by the path of its file or object, or the URL of its object.
    Archive(String),
}

impl RestoreFrom {
    fn parse(text: &OsStr) -> Result<Self, String> {
        if let Some(uri) = text.as_bytes().strip_prefix(URI_SCHEME.as_bytes()) {
            return Self::parse_uri(uri);
        }
        // What follows a `?` is a signature.
        let is_archive = |text: &&str| {
            let object = text.split('?').next().unwrap_or_default();
            [EXTENSION, EXTENSION_DECRYPTED].iter().any(|end| object.ends_with(end))
                || text.starts_with('/')
                || text.contains("://")
        };
        match text.to_str().filter(is_archive) {
            Some(archive) => Ok(Self::Archive(archive.to_owned())),
            None => Place::parse(text).map(Self::Snapshot),
        }
    }

    /// What follows `lifeboat:`.
    fn parse_uri(uri: &[u8]) -> Result<Self, String> {
        let wrong = || "write lifeboat:COPY/SNAPSHOT[/SOURCE[/PATH]]".to_owned();
        let mut parts = uri.splitn(3, |byte| *byte == b'/');
        let (copy, snapshot) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let copy = std::str::from_utf8(copy).ok().filter(|copy| !copy.is_empty()).ok_or_else(wrong)?;
        let place = [snapshot, b":", parts.next().unwrap_or_default()].concat();
        let place = Place::parse(OsStr::from_bytes(&place)).map_err(|what| format!("{what}; {}", wrong()))?;
        Ok(Self::Uri { copy: copy.to_owned(), place })
    }
}

impl Restore {
    /// With a URI taken apart into the copy and the place that it means. Fails where another copy is named, too.
    pub fn without_uri(mut self) -> Result<Self, Fault> {
        if let Some(RestoreFrom::Uri { copy, place }) = self.place {
            if self.copy.as_ref().is_some_and(|named| *named != copy) {
                let what = format!("the URI names copy {copy}, and --copy another one: leave --copy out");
                return Err(Fault::new(FaultKind::Usage, what));
            }
            (self.copy, self.place) = (Some(copy), Some(RestoreFrom::Snapshot(place)));
        }
        Ok(self)
    }

    /// Whether a host is put together. A stack that is named without a snapshot means all of it, as it lay on its host.
    pub fn is_as_host(&self) -> bool {
        let is_stack = self.place.is_none() && self.stack.is_some() && self.to.is_some();
        self.as_host || (is_stack && self.couch_files.database.is_empty() && self.couch_files.nodes.is_empty())
    }
}

#[derive(Debug, Args)]
pub struct Restore {
    /// SNAPSHOT[:SOURCE[/PATH]], where SNAPSHOT is an id, its first digits, or `latest`; or lifeboat:COPY/SNAPSHOT[/SOURCE[/PATH]];
    /// or an archive: its file, the path of its object, or its URL [default with --stack: latest]
    #[arg(required_unless_present_any = WITHOUT_SNAPSHOT, value_parser = OsStringValueParser::new().try_map(|text| RestoreFrom::parse(&text)))]
    pub place: Option<RestoreFrom>,
    /// Restore into this folder, which must be empty or new; an archive goes into its source's folder in there
    #[arg(long, value_name = "DIR", conflicts_with_all = UNLESS_TO)]
    pub to: Option<PathBuf>,
    /// With --to: everything at its path of the host below DIR, all sources together: a whole host into an empty root
    #[arg(long, requires = "to", conflicts_with = "database", conflicts_with_all = UNLESS_TO)]
    pub as_host: bool,
    /// Restore to where it came from; what is there now is kept for an undo
    #[arg(long, conflicts_with_all = UNLESS_IN_PLACE)]
    pub in_place: bool,
    /// In place: do not ask
    #[arg(long, short, requires = "in_place", conflicts_with_all = UNLESS_IN_PLACE)]
    pub yes: bool,
    /// In place: also move away what is not in the snapshot
    #[arg(long, requires = "in_place", conflicts_with_all = UNLESS_IN_PLACE)]
    pub delete: bool,
    /// In place: stop containers that work with what is restored, and start them after it
    #[arg(long, requires = "in_place", conflicts_with_all = UNLESS_IN_PLACE)]
    pub stop_containers: bool,
    /// In place, from inside a container where other programs cannot be seen: you stopped all that work with the files
    #[arg(long, requires = "in_place", conflicts_with_all = UNLESS_IN_PLACE)]
    pub programs_stopped: bool,
    /// In place and undo: also while programs have the files open
    #[arg(long, conflicts_with_all = ["to", "couch_url", "server", "drop_undo"])]
    pub force: bool,
    /// Show what would be done, change nothing
    #[arg(long, conflicts_with_all = UNDOS)]
    pub dry_run: bool,
    /// With --to: keep files with damaged parts, with zeros for what is lost
    #[arg(long, conflicts_with_all = UNLESS_TO)]
    pub keep_damaged: bool,
    /// The stack that `latest` means
    #[arg(long, value_name = "NAME", conflicts_with_all = UNDOS)]
    pub stack: Option<String>,
    /// The copy to restore from [default: the first in reach that has it]
    #[arg(long, value_name = "NAME", conflicts_with_all = UNDOS)]
    pub copy: Option<String>,
    /// With an archive: a file with the secret key, as `age -i` takes it
    #[arg(long, value_name = "FILE", conflicts_with_all = NO_ARCHIVES)]
    pub identity: Option<PathBuf>,
    /// With an archive: a file with the passphrase [default: that of the configuration]
    #[arg(long, value_name = "FILE", conflicts_with = "identity", conflicts_with_all = NO_ARCHIVES)]
    pub passphrase_file: Option<PathBuf>,
    /// Put back what an in-place restore replaced; DIR is the undo folder it named
    #[arg(long, value_name = "DIR", conflicts_with_all = ["place", "drop_undo"])]
    pub undo: Option<PathBuf>,
    /// Delete what an in-place restore kept for an undo
    #[arg(long, value_name = "DIR", conflicts_with = "place")]
    pub drop_undo: Option<PathBuf>,
    #[command(flatten)]
    pub couch_files: CouchFiles,
    #[command(flatten)]
    pub couch: ToCouch,
    #[command(flatten)]
    pub server: ToServer,
}

/// What of a source of kind `couchdb` is restored as files.
#[derive(Debug, Args)]
#[command(next_help_heading = "Files of CouchDB: SNAPSHOT:SOURCE")]
pub struct CouchFiles {
    /// Only the files of this database; may be repeated. With --to they lie in DIR as in CouchDB's data folder. With --server:
    /// only this database
    #[arg(long, value_name = "DB", conflicts_with_all = NO_DATABASES)]
    pub database: Vec<String>,
    /// Only these shards of it, such as 00000000-15555554; may be repeated
    #[arg(long, value_name = "RANGE", requires = "database", conflicts_with = "as_host", conflicts_with_all = NO_FILES)]
    pub shard: Vec<String>,
    /// Give a node another name, which databases are tied to; may be repeated. The CouchDB must then be called so, too, so no
    /// container is started by itself. With --database in place: the name that the node has by now
    #[arg(long, value_name = "OLD=NEW", conflicts_with = "stop_containers", conflicts_with_all = NO_FILES)]
    pub rename_node: Vec<NewNodeName>,
    /// With --to: lay the databases out for exactly these nodes, each shard on one; SNAPSHOT alone takes all sources of
    /// kind couchdb together. Of several, each gets a folder of its name in DIR
    #[arg(
        long, value_name = "NAME,…", value_delimiter = ',', requires = "to",
        conflicts_with_all = ["database", "rename_node", "as_host"], conflicts_with_all = UNLESS_TO
    )]
    pub nodes: Vec<NodeName>,
    /// Refuse files that this version of CouchDB could not read, such as 3.3.2
    #[arg(long, value_name = "VERSION", conflicts_with_all = NO_FILES)]
    pub couchdb_version: Option<Version>,
}

/// What a node of CouchDB is called: `NAME@HOST`, which may be a folder's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeName(pub String);

impl FromStr for NodeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match couchfile::is_node_name(text) {
            true => Ok(Self(text.to_owned())),
            false => Err(format!("`{text}` is no name of a node, such as couchdb@db.example.org")),
        }
    }
}

/// A node and what it will be called.
#[derive(Clone, Debug)]
pub struct NewNodeName {
    pub old: String,
    pub new: String,
}

impl FromStr for NewNodeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split_once('=').map(|(old, new)| (old.parse::<NodeName>(), new.parse::<NodeName>()));
        match names {
            Some((Ok(NodeName(old)), Ok(NodeName(new)))) => Ok(Self { old, new }),
            _ => Err("write OLD=NEW with names of nodes, such as couchdb@127.0.0.1=couchdb@db.example.org".to_owned()),
        }
    }
}

/// Where documents are written back to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Documents back into a running CouchDB: SNAPSHOT:SOURCE/DB[/ID]")]
pub struct ToCouch {
    /// Write the documents to this CouchDB over HTTP; no user or password in it
    #[arg(long, value_name = "URL", conflicts_with_all = UNLESS_COUCH_URL)]
    pub couch_url: Option<String>,
    /// Its user; the password is $COUCHDB_PASSWORD, or asked for
    #[arg(long, value_name = "NAME", requires = "couch_url", conflicts_with_all = UNLESS_COUCH_URL)]
    pub couch_user: Option<String>,
    /// A file with the password
    #[arg(long, value_name = "FILE", requires = "couch_user", conflicts_with_all = UNLESS_COUCH_URL)]
    pub couch_password_file: Option<PathBuf>,
    /// The database to write to [default: the one of the same name]
    #[arg(long, value_name = "DB", requires = "couch_url", conflicts_with_all = UNLESS_COUCH_URL)]
    pub couch_db: Option<String>,
    /// Also this document; may be repeated
    #[arg(long, value_name = "ID", requires = "couch_url", conflicts_with_all = UNLESS_COUCH_URL)]
    pub id: Vec<String>,
    /// Write what the snapshot shows on top of what is there now, also of a deletion
    #[arg(long, requires = "couch_url", conflicts_with_all = UNLESS_COUCH_URL)]
    pub as_new_revision: bool,
}

/// Where databases are restored to.
#[derive(Debug, Args)]
#[command(
    next_help_heading = "Databases back into a running server: SNAPSHOT:SOURCE[/DB[/TABLE]] of kind postgres, mysql or redis"
)]
pub struct ToServer {
    /// Restore into this server, such as postgresql://admin@127.0.0.1:5432 or redis://127.0.0.1, without password and
    /// database; `configured` is the one that they came from
    #[arg(long, value_name = "URL", conflicts_with_all = UNLESS_SERVER)]
    pub server: Option<String>,
    /// Who logs in; the password is $PGPASSWORD, $MYSQL_PWD or $REDISCLI_AUTH, where one is needed
    #[arg(long, value_name = "NAME", requires = "server", conflicts_with_all = UNLESS_SERVER)]
    pub server_user: Option<String>,
    /// A file with the password
    #[arg(long, value_name = "FILE", requires = "server", conflicts_with_all = UNLESS_SERVER)]
    pub server_password_file: Option<PathBuf>,
    /// What the one database is to be called there; it is made where it is not there
    #[arg(long = "as", value_name = "NAME", requires = "server", conflicts_with_all = UNLESS_SERVER)]
    pub rename: Option<String>,
    /// Only this table of the one database, with its rows; may be repeated
    #[arg(long, value_name = "[SCHEMA.]TABLE", requires = "server", conflicts_with_all = UNLESS_SERVER)]
    pub table: Vec<String>,
    /// Drop what is there of the same name first; else only what is empty is restored into
    #[arg(long, requires = "server", conflicts_with_all = UNLESS_SERVER)]
    pub replace: bool,
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::arguments::Arguments;

    const MODES: [&str; 6] = [
        "latest --to DIR",
        "latest --in-place",
        "latest --couch-url URL",
        "--undo DIR",
        "--drop-undo DIR",
        "latest --server URL",
    ];

    /// Each flag with what it needs beside it, and the modes in which it means something.
    const FLAGS: [(&str, [bool; 6]); 31] = [
        ("--as-host", [true, false, false, false, false, false]),
        ("--yes", [false, true, false, false, false, false]),
        ("--delete", [false, true, false, false, false, false]),
        ("--stop-containers", [false, true, false, false, false, false]),
        ("--programs-stopped", [false, true, false, false, false, false]),
        ("--force", [false, true, false, true, false, false]),
        ("--dry-run", [true, true, true, false, false, true]),
        ("--keep-damaged", [true, false, false, false, false, false]),
        ("--stack NAME", [true, true, true, false, false, true]),
        ("--copy NAME", [true, true, true, false, false, true]),
        ("--identity FILE", [true, true, false, false, false, true]),
        ("--passphrase-file FILE", [true, true, false, false, false, true]),
        ("--database DB", [true, true, false, false, false, true]),
        ("--database DB --shard 00000000-ffffffff", [true, true, false, false, false, false]),
        ("--rename-node a@b=c@d", [true, true, false, false, false, false]),
        ("--nodes a@b,c@d", [true, false, false, false, false, false]),
        ("--couchdb-version 3.5", [true, true, false, false, false, false]),
        ("--couch-user NAME", [false, false, true, false, false, false]),
        ("--couch-user NAME --couch-password-file FILE", [false, false, true, false, false, false]),
        ("--couch-db DB", [false, false, true, false, false, false]),
        ("--id ID", [false, false, true, false, false, false]),
        ("--as-new-revision", [false, false, true, false, false, false]),
        ("--server-user NAME", [false, false, false, false, false, true]),
        ("--server-password-file FILE", [false, false, false, false, false, true]),
        ("--as NAME", [false, false, false, false, false, true]),
        ("--table NAME", [false, false, false, false, false, true]),
        ("--replace", [false, false, false, false, false, true]),
        // Without what they need, they mean nothing in any mode.
        ("--shard 00000000-ffffffff", [false; 6]),
        ("--couch-password-file FILE", [false; 6]),
        // To a new place it is refused once it is known what is restored.
        ("--rename-node a@b=c@d --database DB", [true, true, false, false, false, false]),
        // It would start the CouchDB under its old name.
        ("--rename-node a@b=c@d --stop-containers", [false; 6]),
    ];

    fn is_understood(line: &str) -> bool {
        Arguments::try_parse_from(format!("lifeboat restore {line}").split(' ')).is_ok()
    }

    #[test]
    fn a_flag_that_means_nothing_in_a_mode_is_refused_there() {
        for (flag, meant_in) in FLAGS {
            for (mode, is_meant) in MODES.into_iter().zip(meant_in) {
                assert_eq!(is_understood(&format!("{mode} {flag}")), is_meant, "{mode} {flag}");
            }
        }
        for flag in ["--as-host", "--rename-node a@b=c@d", "--database DB"] {
            assert!(!is_understood(&format!("latest --to DIR --nodes a@b {flag}")), "{flag}");
        }
        assert!(!is_understood("latest --to DIR --as-host --database DB --shard 00000000-ffffffff"));
    }

    #[test]
    fn a_stack_says_whose_newest_snapshot_is_meant() {
        assert!(is_understood("--stack cht --to DIR --as-host") && is_understood("--stack cht --in-place"));
        // Where to is asked for in words of its own.
        assert!(is_understood("--stack cht") && is_understood("latest --stack cht"));
        assert!(!is_understood("--to DIR"));
    }

    #[test]
    fn modes_exclude_each_other() {
        for (number, mode) in MODES.into_iter().enumerate() {
            assert!(is_understood(mode), "{mode}");
            for other in &MODES[number + 1..] {
                let other = other.trim_start_matches("latest ");
                assert!(!is_understood(&format!("{mode} {other}")), "{mode} {other}");
            }
        }
    }
}
