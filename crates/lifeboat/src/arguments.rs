//! What the user typed. What it means is decided by the commands.

mod restore;

use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use operations::config::duration;
use operations::snapshots::Place;

pub use restore::{CouchFiles, NewNodeName, Restore, RestoreFrom, ToCouch, ToServer};

/// Backups of self-hosted applications, proven by drills to restore.
#[derive(Debug, Parser)]
#[command(version = VERSION, max_term_width = 110, disable_help_subcommand = true)]
#[command(after_help = "Exit codes: 0 ok, 1 failed, 2 usage, 3 partial, 10 no repository, 11 locked, \
                        12 wrong password, 130 cancelled.")]
pub struct Arguments {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub command: Command,
}

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("LIFEBOAT_COMMIT"), ")");

/// A place in a snapshot: names of files may be of any bytes.
fn place() -> impl TypedValueParser<Value = Place> {
    OsStringValueParser::new().try_map(|text| Place::parse(&text))
}

/// Options of every command.
#[derive(Debug, Args)]
pub struct Common {
    /// Configuration file [default: $LIFEBOAT_CONFIG, ./lifeboat.yaml, /etc/lifeboat/lifeboat.yaml]
    #[arg(long, short, global = true, value_name = "FILE", help_heading = "Options of every command")]
    pub config: Option<PathBuf>,
    /// Print JSON lines, the last one a summary or an error
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub json: bool,
    /// Print results and problems only
    #[arg(long, short, global = true, help_heading = "Options of every command")]
    pub quiet: bool,
    /// Print more: notes, every file
    #[arg(long, short, global = true, conflicts_with = "quiet", help_heading = "Options of every command")]
    pub verbose: bool,
    /// With --json: also say how far it is, once a second
    #[arg(long, global = true, requires = "json", help_heading = "Options of every command")]
    pub progress: bool,
    /// Leave the processor and the disks to others where they want them
    #[arg(long, global = true, help_heading = "Options of every command")]
    pub background: bool,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Protect a folder in one go: configure, back up, prove that it restores
    Protect(Protect),
    /// Look into a folder, write lifeboat.yaml, create the repository
    Init(Init),
    /// Show what is here that should be backed up, and what is not covered
    Discover(Discover),
    /// Take a snapshot of every stack, or of those named
    Backup(Backup),
    /// List snapshots, and what proves them
    Snapshots(Snapshots),
    /// List what is in a snapshot
    Ls(Ls),
    /// Print a file out of a snapshot
    Cat(Cat),
    /// Find files by name in all snapshots
    Find(Find),
    /// Show what changed between two snapshots
    Diff(Diff),
    /// Print databases and documents of a CouchDB out of a snapshot, one JSON line each
    Docs(Docs),
    /// Restore a snapshot, a source, a folder or a file; or documents into a running CouchDB
    Restore(Box<Restore>),
    /// Prove that a copy restores: restore it to a scratch folder and compare everything
    Drill(Drill),
    /// Check a copy for damage
    Check(Check),
    /// Mend what can be mended, from the other copies and from what is whole: packs, snapshots, the index
    Heal(Heal),
    /// Bring the copies into step: move what each lacks, from the others
    Sync(Sync),
    /// Remove snapshots by the retention rules
    Forget(Box<Forget>),
    /// Remove data that no snapshot needs any more
    Prune(Prune),
    /// Take over an existing restic repository as a copy
    Adopt(Adopt),
    /// List, add and remove the passwords of a copy
    #[command(subcommand)]
    Key(Key),
    /// List the copies: what each holds, which lag behind, and what is wrong; exits as `status` does
    Copies(Copies),
    /// Say whether everything is safe, and what to mend
    Status(Status),
    /// Run all year: back up, drill and check on schedule, with a REST API and pages to see it
    Serve,
    /// List every volume, bind mount, compose file, database and certificate, and whether it is backed up and drilled
    Coverage(Coverage),
    /// Show, check or describe the configuration
    #[command(subcommand)]
    Config(Config),
    /// Print a completion script for a shell
    Completions(Completions),
    /// Let containers go on that a run leaves halted; started by that run
    #[command(hide = true)]
    KeepWatch(KeepWatch),
}

#[derive(Debug, Args)]
pub struct KeepWatch {
    /// The state folder, with the notes of what is halted
    pub state: PathBuf,
}

#[derive(Debug, Args)]
pub struct Protect {
    /// The folder to protect
    pub dir: PathBuf,
    /// Where the backups go: a folder, s3://…, azblob://…, sftp://… or another; may be repeated [default: ./lifeboat-backups]
    #[arg(long, value_name = "URL")]
    pub to: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Init {
    /// The folder to look into
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// The stack's name [default: the folder's]
    #[arg(long, value_name = "NAME")]
    pub stack: Option<String>,
    /// Where the backups go: a folder, s3://…, azblob://…, sftp://… or another; may be repeated [default: ./lifeboat-backups]
    #[arg(long, value_name = "URL")]
    pub copy: Vec<String>,
    /// Make this copy anew, though it was there once and its place is empty now, or though it has archives of a lost
    /// repository, which stay; may be repeated
    #[arg(long, value_name = "COPY")]
    pub anew: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct Discover {
    /// The folder to look into
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// Look at all containers and volumes of this machine, too
    #[arg(long)]
    pub docker: bool,
}

#[derive(Debug, Args)]
pub struct Backup {
    /// The stacks [default: all]
    pub stack: Vec<String>,
    /// Only these sources
    #[arg(long, value_name = "NAME")]
    pub source: Vec<String>,
    /// Only into this copy; may be repeated [default: all of the stack]
    #[arg(long, value_name = "NAME")]
    pub copy: Vec<String>,
    /// Add a tag
    #[arg(long, value_name = "TAG")]
    pub tag: Vec<String>,
    /// Show what would be captured, store nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Snapshots {
    /// Only those of this stack
    pub stack: Option<String>,
    /// The copy to look in [default: all]
    #[arg(long, value_name = "NAME")]
    pub copy: Option<String>,
    /// Show what was left out of each, one by one
    #[arg(long)]
    pub problems: bool,
}

#[derive(Debug, Args)]
pub struct Ls {
    /// SNAPSHOT[:SOURCE[/PATH]]; SNAPSHOT is an id, its first digits, or `latest`
    #[arg(default_value = "latest", value_parser = place())]
    pub place: Place,
    /// Go into folders
    #[arg(long, short = 'R')]
    pub recursive: bool,
    /// Show mode, owner, size and time
    #[arg(long, short)]
    pub long: bool,
    /// The stack that `latest` means
    #[arg(long, value_name = "NAME")]
    pub stack: Option<String>,
    /// The copy to look in
    #[arg(long, value_name = "NAME")]
    pub copy: Option<String>,
}

#[derive(Debug, Args)]
pub struct Cat {
    /// SNAPSHOT:SOURCE/PATH of a file, or SNAPSHOT:lifeboat.json
    #[arg(value_parser = place())]
    pub place: Place,
    /// The stack that `latest` means
    #[arg(long, value_name = "NAME")]
    pub stack: Option<String>,
    /// The copy to read from
    #[arg(long, value_name = "NAME")]
    pub copy: Option<String>,
}

#[derive(Debug, Args)]
pub struct Find {
    /// A name, with * and ? for any characters
    pub pattern: String,
    /// Only in this snapshot
    #[arg(long, value_name = "SNAPSHOT")]
    pub snapshot: Option<String>,
    /// Only in this stack's snapshots
    #[arg(long, value_name = "NAME")]
    pub stack: Option<String>,
    /// The copy to look in
    #[arg(long, value_name = "NAME")]
    pub copy: Option<String>,
}

#[derive(Debug, Args)]
pub struct Docs {
    /// SNAPSHOT:SOURCE with CouchDB's data folder, or SNAPSHOT:SOURCE/PATH of one of several
    #[arg(value_parser = place())]
    pub place: Place,
    /// The database [default: list all]
    #[arg(value_name = "DB")]
    pub database: Option<String>,
    /// The document [default: print all]
    pub id: Option<String>,
    /// Print every leaf, conflicts and deletions too
    #[arg(long, requires = "database", conflicts_with = "rev")]
    pub all_leaves: bool,
    /// Print this revision, as long as the database holds it
    #[arg(long, value_name = "REV", requires = "id")]
    pub rev: Option<String>,
    /// Print the history of each revision, as `revs=true` does
    #[arg(long, requires = "database")]
    pub revs: bool,
    /// Also write the attachments: DIR/ID/NAME, with --all-leaves DIR/ID/REV/NAME
    #[arg(long, value_name = "DIR", requires = "database", conflicts_with = "local")]
    pub attachments: Option<PathBuf>,
    /// Print the _local documents instead
    #[arg(long, requires = "database", conflicts_with_all = ["id", "all_leaves", "revs", "rev"])]
    pub local: bool,
    /// Only what changed since this snapshot
    #[arg(long, value_name = "SNAPSHOT", requires = "database", conflicts_with_all = ["id", "local"])]
    pub since: Option<String>,
    /// The stack that `latest` means
    #[arg(long, value_name = "NAME")]
    pub stack: Option<String>,
    /// The copy to read from
    #[arg(long, value_name = "NAME")]
    pub copy: Option<String>,
}

#[derive(Debug, Args)]
pub struct Diff {
    /// The older: SNAPSHOT[:SOURCE[/PATH]]
    #[arg(value_parser = place())]
    pub from: Place,
    /// The newer: SNAPSHOT[:SOURCE[/PATH]]
    #[arg(value_parser = place())]
    pub to: Place,
    /// Show changes of metadata alone, too
    #[arg(long)]
    pub metadata: bool,
    /// The stack that `latest` means
    #[arg(long, value_name = "NAME")]
    pub stack: Option<String>,
    /// The copy to look in
    #[arg(long, value_name = "NAME")]
    pub copy: Option<String>,
}

#[derive(Debug, Args)]
pub struct Drill {
    /// The stacks [default: all]
    pub stack: Vec<String>,
    /// The copy to restore from
    #[arg(long, value_name = "NAME", conflicts_with = "all_copies")]
    pub copy: Option<String>,
    /// Drill every copy
    #[arg(long)]
    pub all_copies: bool,
    /// The snapshot [default: the newest]
    #[arg(long, value_name = "ID")]
    pub snapshot: Option<String>,
    /// 0 listed, 1 every byte read, 2 restored and its facts counted, 3 compared exactly [default: the stack's, or 3]
    #[arg(long, value_parser = clap::value_parser!(u8).range(0..=5))]
    pub level: Option<u8>,
}

#[derive(Debug, Args)]
pub struct Check {
    /// The copy to check [default: all]
    #[arg(long, value_name = "NAME")]
    pub copy: Option<String>,
    /// Read every byte
    #[arg(long, conflicts_with = "read_data_subset")]
    pub read_data: bool,
    /// Read this share of the packs, another one each time
    #[arg(long, value_name = "N%", value_parser = percent)]
    pub read_data_subset: Option<f64>,
}

#[derive(Debug, Args)]
pub struct Copies {
    #[command(subcommand)]
    pub action: Option<CopiesAction>,
}

/// What else to do with copies.
#[derive(Debug, Subcommand)]
pub enum CopiesAction {
    /// Write, read, list and delete a probe; say what who has these credentials may do
    Test(CopiesTest),
}

#[derive(Debug, Args)]
pub struct CopiesTest {
    /// The copies [default: all]
    pub copy: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Sync {
    /// The stacks [default: all]
    pub stack: Vec<String>,
    /// The copy to bring into step; may be repeated [default: all]
    #[arg(long, value_name = "NAME")]
    pub copy: Vec<String>,
    /// Also snapshots that belong to no stack of the configuration, such as those of other hosts or programs
    #[arg(long)]
    pub all: bool,
    /// Show what would be moved, move nothing
    #[arg(long)]
    pub dry_run: bool,
}

#[derive(Debug, Args)]
pub struct Heal {
    /// The copy to mend [default: all]
    #[arg(long, value_name = "NAME")]
    pub copy: Option<String>,
    /// Read every byte. What no copy has whole leaves the index, so that the next backup stores it anew
    #[arg(long)]
    pub read_data: bool,
}

#[derive(Debug, Args)]
pub struct Forget {
    /// Remove these snapshots instead of asking the rules
    pub snapshot: Vec<String>,
    /// Only snapshots of this stack
    #[arg(long, value_name = "NAME")]
    pub stack: Option<String>,
    /// Show what stays and why, remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Prune afterwards
    #[arg(long)]
    pub prune: bool,
    /// Also remove, where it is named, a stack's newest snapshot, or the newest that passed a drill; by rules, also of a
    /// stack that several hosts back up under one name
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub keep: Keep,
    /// The copy to remove from [default: all, each by its own rules]
    #[arg(long, value_name = "NAME")]
    pub copy: Option<String>,
}

/// restic's rules, in place of the configured ones. N is a number or `all`.
#[derive(Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Rules in place of the configured ones (N is a number or `all`)")]
pub struct Keep {
    /// The last N
    #[arg(long, value_name = "N")]
    pub keep_last: Option<String>,
    /// The newest of each of the last N hours that have one
    #[arg(long, value_name = "N")]
    pub keep_hourly: Option<String>,
    /// The same for days
    #[arg(long, value_name = "N")]
    pub keep_daily: Option<String>,
    /// The same for weeks
    #[arg(long, value_name = "N")]
    pub keep_weekly: Option<String>,
    /// The same for months
    #[arg(long, value_name = "N")]
    pub keep_monthly: Option<String>,
    /// The same for years
    #[arg(long, value_name = "N")]
    pub keep_yearly: Option<String>,
    /// All within this time before the newest, such as 2y5m7d3h
    #[arg(long, value_name = "TIME")]
    pub keep_within: Option<String>,
    /// The newest of each hour within this time
    #[arg(long, value_name = "TIME")]
    pub keep_within_hourly: Option<String>,
    /// The same for days
    #[arg(long, value_name = "TIME")]
    pub keep_within_daily: Option<String>,
    /// The same for weeks
    #[arg(long, value_name = "TIME")]
    pub keep_within_weekly: Option<String>,
    /// The same for months
    #[arg(long, value_name = "TIME")]
    pub keep_within_monthly: Option<String>,
    /// The same for years
    #[arg(long, value_name = "TIME")]
    pub keep_within_yearly: Option<String>,
    /// All with these tags; several separated by commas must all be there
    #[arg(long, value_name = "TAG[,TAG]")]
    pub keep_tag: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Prune {
    /// Show what would be removed, remove nothing
    #[arg(long)]
    pub dry_run: bool,
    /// How long data is kept after it left the index, such as 12h; 0s deletes at once [default: 24h]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub grace: Option<std::time::Duration>,
    /// Unneeded bytes that may stay in packs, in percent
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub max_unused: u8,
    /// The copy to prune [default: all]
    #[arg(long, value_name = "NAME")]
    pub copy: Option<String>,
}

#[derive(Debug, Args)]
pub struct Adopt {
    /// The repository's folder
    pub repository: PathBuf,
    /// The file with its password
    #[arg(long, value_name = "FILE")]
    pub password_file: PathBuf,
    /// The folder that new backups are of
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// The stack's name [default: the folder's]
    #[arg(long, value_name = "NAME")]
    pub stack: Option<String>,
}

/// What to do with a copy's passwords.
#[derive(Debug, Subcommand)]
pub enum Key {
    /// List the key files
    List(OfCopy),
    /// Add a password
    Add(KeyAdd),
    /// Remove a password by its key's id
    Remove(KeyRemove),
    /// Replace the password in use by another
    Change(KeyAdd),
}

#[derive(Debug, Args)]
pub struct OfCopy {
    /// The copy
    #[arg(long, value_name = "NAME")]
    pub copy: Option<String>,
}

#[derive(Debug, Args)]
pub struct KeyAdd {
    /// The file with the new password; asked for on the terminal where not given
    #[arg(long, value_name = "FILE")]
    pub new_password_file: Option<PathBuf>,
    #[command(flatten)]
    pub of: OfCopy,
}

#[derive(Debug, Args)]
pub struct KeyRemove {
    /// The key's id, or its first digits
    pub id: String,
    #[command(flatten)]
    pub of: OfCopy,
}

#[derive(Debug, Args)]
pub struct Status {
    /// The stacks [default: all]
    pub stack: Vec<String>,
}

#[derive(Debug, Args)]
pub struct Coverage {
    /// Further folders to look into
    pub dir: Vec<PathBuf>,
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print the JSON schema of lifeboat.yaml
    Schema,
    /// Print the effective values, secrets masked
    Show,
    /// Read it, and try every copy and source
    Check,
}

#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>().ok();
    number.filter(|share| *share > 0.0 && *share <= 100.0).ok_or_else(|| "give a share above 0%, such as 5%".to_owned())
}

fn parse_duration(text: &str) -> Result<std::time::Duration, String> {
    duration::parse(text).ok_or_else(|| "give a time such as 30m, 12h or 7d; 0s for none".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
