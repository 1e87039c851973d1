//! A server of our own, for a drill: made anew in a temporary folder, spoken to by a socket in it alone, gone afterwards.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use repository::{Cancel, SourceError};

use super::load::load;
use super::server::Server;
use super::tools::Kind;
use crate::program::{Program, Running, Stage};

/// How long the server may take to let somebody in.
const START_PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks whether it does.
const PAUSE: Duration = Duration::from_millis(50);
/// Whom to run as where Lifeboat is root: the first that there is.
const USERS: [&str; 2] = ["mysql", "nobody"];
/// In the mode of a folder.
const OTHERS_MAY_ENTER: u32 = 0o001;
/// What it needs not be: safe against a power cut, seen from anywhere else, or busy by itself.
const SETTINGS: [&str; 8] = [
    "--skip-networking",
    "--skip-log-bin",
    "--event-scheduler=OFF",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-strict-mode=OFF",
    "--max-allowed-packet=1G",
    "--log-bin-trust-function-creators=ON",
    "--log-error=error.log",
];

/// A running server. Ends when dropped.
pub struct Scratch {
    server: Server,
    /// Dropped before its folder is removed.
    running: Running,
    folder: tempfile::TempDir,
}

impl Scratch {
    /// Starts one of this kind, which takes capitals in names as the other one did.
    pub fn start(kind: Kind, lower_case_table_names: &str, cancel: &Cancel) -> Result<Self, SourceError> {
        let user = unprivileged()?;
        let place = place(user.is_some());
        let folder = tempfile::Builder::new().prefix("lifeboat-my-").tempdir_in(&place);
        let folder = folder.map_err(SourceError::io(place))?;
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).map_err(SourceError::io(folder.path()))?;
        }
        let own = |name: &str| {
            let program = Program::new(name).arg("--no-defaults").in_folder(folder.path());
            // Several that share a folder for temporary files remove each other's.
            let program = program.variable("TMPDIR", &folder.path().to_string_lossy());
            match user {
                Some((uid, gid)) => program.as_user(uid, gid),
                None => program,
            }
        };
        let data = folder.path().join("data");
        let data = format!("--datadir={}", data.display());
        let names = format!("--lower-case-table-names={}", lower_case_table_names.parse::<u8>().unwrap_or(0));
        let (make, server) = match kind {
            Kind::Mariadb => (
                own("mariadb-install-db").args(["--auth-root-authentication-method=normal", "--skip-test-db"]),
                own("mariadbd"),
            ),
            Kind::Mysql => (own("mysqld").arg("--initialize-insecure"), own("mysqld")),
        };
        let (_, ended) = make.arg(&data).arg(&names).run(&Stage::Here, cancel).map_err(|error| missing(kind, error))?;
        if !ended.is_well() {
            return Err(unavailable(&format!("making it {}", ended.told())));
        }
        let socket = folder.path().join("socket");
        let at = format!("--socket={}", socket.display());
        let running = server.arg(data).arg(names).arg(at).args(SETTINGS).start(&Stage::Here, cancel);
        let running = running.map_err(|error| missing(kind, error))?;
        let server = Server::own(&socket, cancel)?;
        let mut scratch = Self { server, running, folder };
        scratch.wait_until_up(&socket, cancel)?;
        Ok(scratch)
    }

    /// How the client reaches it.
    pub fn server(&self) -> &Server {
        &self.server
    }

    fn wait_until_up(&mut self, socket: &Path, cancel: &Cancel) -> Result<(), SourceError> {
        let until = Instant::now() + START_PATIENCE;
        loop {
            cancel.check()?;
            let asked = socket.exists().then(|| self.server.session(cancel)?.ask_one("SELECT 1"));
            match asked {
                Some(Ok(_)) => return Ok(()),
                Some(Err(SourceError::Cancelled)) => return Err(SourceError::Cancelled),
                _ if self.running.has_ended() || Instant::now() > until => return Err(self.not_up()),
                _ => std::thread::sleep(PAUSE),
            }
        }
    }

    fn not_up(&self) -> SourceError {
        let logs = ["error.log", "data/error.log"].map(|name| std::fs::read(self.folder.path().join(name)));
        let log = logs.into_iter().flatten().next().unwrap_or_default();
        let text = String::from_utf8_lossy(&log).into_owned();
        let errors: Vec<_> = text.lines().filter(|line| line.contains("[ERROR]")).collect();
        unavailable(&format!("it lets nobody in; it said: {}", errors.join("; ")))
    }

    /// Loads a file. Gives what is wrong with it, if anything is.
    pub fn load(&self, file: &Path, cancel: &Cancel) -> Result<Result<(), String>, SourceError> {
        let content = File::open(file).map_err(SourceError::io(file))?;
        load(&self.server, content, &file.to_string_lossy(), cancel)
    }
}

/// Where its folder is made: among temporary files, where a user who may not enter everything can reach them.
fn place(is_for_another: bool) -> PathBuf {
    let may_enter = |folder: &Path| folder.metadata().is_ok_and(|found| found.mode() & OTHERS_MAY_ENTER != 0);
    let is_reached = |place: &PathBuf| !is_for_another || place.ancestors().all(may_enter);
    let places = [std::env::temp_dir(), "/tmp".into(), "/var/tmp".into()];
    places.into_iter().find(is_reached).unwrap_or_else(std::env::temp_dir)
}

/// Whom to run a server as: nobody else where this is not root.
fn unprivileged() -> Result<Option<(u32, u32)>, SourceError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let found = USERS.iter().find_map(uzers::get_user_by_name);
    let user = found.ok_or_else(|| unavailable("there is no user nobody to run it as"))?;
    Ok(Some((user.uid(), user.primary_group_id())))
}

fn missing(kind: Kind, error: SourceError) -> SourceError {
    match error {
        SourceError::Cancelled => SourceError::Cancelled,
        error => unavailable(&format!("{error}; install the server of {}", kind.name())),
    }
}

fn unavailable(what: &str) -> SourceError {
    SourceError::Unavailable { what: format!("a scratch server could not be started: {what}") }
}
