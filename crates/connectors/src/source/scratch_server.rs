//! What the servers of our own have in common that a drill starts: each has a temporary folder, which nobody else sees, and runs
//! as nobody who could do harm.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use repository::{Cancel, SourceError};

use crate::program::{Program, Running};

/// How long a server may take to let somebody in.
pub const START_PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks whether it does.
pub const PAUSE: Duration = Duration::from_millis(50);
/// In the mode of a folder.
const OTHERS_MAY_ENTER: u32 = 0o001;
/// A user who is nobody, where there is none who belongs to the server.
const NOBODY: &str = "nobody";

/// The folder of a server, which is removed when this is dropped, and whom the server runs as.
pub struct Home {
    folder: tempfile::TempDir,
    /// By the numbers of user and group; where this is not root, nobody else.
    user: Option<(u32, u32)>,
}

impl Home {
    /// An empty folder whose name begins so. Where Lifeboat is root, the server runs as `user` or, where there is none, as nobody:
    /// some refuse to be root, and none needs to.
    pub fn make(prefix: &str, user: &str) -> Result<Self, SourceError> {
        let user = if is_root() { Some(numbers_of(user)?) } else { None };
        let place = place();
        let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(&place).map_err(SourceError::io(place))?;
        let home = Self { folder, user };
        home.give(home.path())?;
        Ok(home)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Whether the server runs as somebody else, who may read only what is given to them.
    pub fn is_for_another(&self) -> bool {
        self.user.is_some()
    }

    /// Gives a file or folder to whom the server runs as.
    pub fn give(&self, path: &Path) -> Result<(), SourceError> {
        let Some((uid, gid)) = self.user else { return Ok(()) };
        chown(path, Some(uid), Some(gid)).map_err(SourceError::io(path))
    }

    /// A program of the server: it runs in the folder, as whom the server does.
    pub fn own(&self, program: Program) -> Program {
        let program = program.in_folder(self.path());
        match self.user {
            Some((uid, gid)) => program.as_user(uid, gid),
            None => program,
        }
    }
}

/// Where such folders are made: among temporary files, where whoever a server runs as can reach them.
pub fn place() -> PathBuf {
    if is_root() { reached_by_others(std::env::temp_dir()) } else { std::env::temp_dir() }
}

/// This folder or, where not everybody can enter it, one that everybody can.
fn reached_by_others(folder: PathBuf) -> PathBuf {
    let may_enter = |folder: &Path| folder.metadata().is_ok_and(|found| found.mode() & OTHERS_MAY_ENTER != 0);
    let is_reached = |place: &PathBuf| place.ancestors().all(may_enter);
    let places = [folder.clone(), "/tmp".into(), "/var/tmp".into()];
    places.into_iter().find(is_reached).unwrap_or(folder)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn numbers_of(user: &str) -> Result<(u32, u32), SourceError> {
    let found = [user, NOBODY].iter().find_map(uzers::get_user_by_name);
    let user = found.ok_or_else(|| unavailable(&format!("there is no user {user} or {NOBODY} to run it as")))?;
    Ok((user.uid(), user.primary_group_id()))
}

/// Asks a server until it answers. Fails with the last refusal once it has ended, or its time is over.
pub fn wait_until_up<T>(
    running: &mut Running,
    cancel: &Cancel,
    mut ask: impl FnMut() -> Result<T, SourceError>,
) -> Result<T, SourceError> {
    let until = Instant::now() + START_PATIENCE;
    loop {
        cancel.check()?;
        match ask() {
            Err(SourceError::Cancelled) => return Err(SourceError::Cancelled),
            Err(_) if !running.has_ended() && Instant::now() < until => std::thread::sleep(PAUSE),
            answer => return answer,
        }
    }
}

/// The error that there is no such server.
pub fn unavailable(what: &str) -> SourceError {
    SourceError::unavailable(format!("a scratch server could not be started: {what}"))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::program::Stage;

    #[test]
    fn who_is_not_root_reaches_the_folder_also_where_temporary_files_are_private() {
        let private = tempfile::tempdir().unwrap();
        std::fs::set_permissions(private.path(), Permissions::from_mode(0o700)).unwrap();
        let below = private.path().join("tmp");
        std::fs::create_dir(&below).unwrap();
        assert_ne!(reached_by_others(below.clone()), below);
        std::fs::set_permissions(private.path(), Permissions::from_mode(0o711)).unwrap();
        assert_eq!(reached_by_others(below.clone()), below);
    }

    #[test]
    fn a_server_that_ends_or_answers_is_not_waited_for() {
        let start = |script: &str| Program::new("sh").args(["-c", script]).start(&Stage::Here, &Cancel::new()).unwrap();
        let mut asked = 0;
        let mut answer = || {
            asked += 1;
            if asked < 3 { Err(unavailable("not yet")) } else { Ok(asked) }
        };
        assert_eq!(wait_until_up(&mut start("sleep 60"), &Cancel::new(), &mut answer).unwrap(), 3);
        let started = Instant::now();
        let refused = wait_until_up(&mut start("exit 1"), &Cancel::new(), || Err::<(), _>(unavailable("never")));
        assert!(refused.unwrap_err().to_string().ends_with("never"));
        assert!(started.elapsed() < START_PATIENCE);
    }
}
