//! Volumes, and where their data lies on this machine.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use repository::SourceError;
use serde_json::{Value, json};

use crate::source::layout;

/// The driver whose volumes are folders of this machine.
const LOCAL: &str = "local";
/// What the names of options contain whose values are secrets, as mounts of network file systems have them.
const SECRET_WORDS: [&str; 5] = ["pass", "secret", "token", "key", "cred"];

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// Its driver; `local` for a folder of this machine.
    pub driver: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// What it was made with.
    options: BTreeMap<String, String>,
    /// Where the engine says that its data lies.
    mountpoint: PathBuf,
}

impl Volume {
    pub(super) fn of(volume: bollard::models::Volume) -> Self {
        Self {
            name: volume.name,
            driver: volume.driver,
            labels: volume.labels.into_iter().collect(),
            options: volume.options.into_iter().collect(),
            mountpoint: volume.mountpoint.into(),
        }
    }

    /// A volume of which only the folder is known.
    pub(super) fn at(name: &str, mountpoint: PathBuf) -> Self {
        let (name, driver) = (name.to_owned(), LOCAL.to_owned());
        Self { name, driver, labels: BTreeMap::new(), options: BTreeMap::new(), mountpoint }
    }

    /// The Compose project it belongs to.
    pub fn project(&self) -> Option<&str> {
        self.labels.get(super::PROJECT).map(String::as_str)
    }

    /// What is needed to make it again. Passwords among its options are left out.
    pub fn facts(&self) -> Value {
        let options: BTreeMap<_, _> = self.options.iter().map(|(key, value)| (key, masked(key, value))).collect();
        json!({
            "name": self.name, "driver": self.driver, "labels": self.labels, "options": options,
            "folder": layout::fact_key(self.place()),
        })
    }

    /// Where its data lies, as far as the engine says; nobody has looked.
    pub fn place(&self) -> &Path {
        match self.bound() {
            Some(device) => device,
            None => &self.mountpoint,
        }
    }

    /// The folder that holds its data. Fails, with what to do, where this process cannot read it.
    pub fn folder(&self) -> Result<PathBuf, SourceError> {
        let name = &self.name;
        let folder = self.place();
        if let Err(error) = std::fs::read_dir(folder) {
            let shown = folder.display();
            return Err(SourceError::unavailable(match error.kind() {
                std::io::ErrorKind::PermissionDenied => {
                    format!("volume {name}: {shown} may not be read: run Lifeboat as root")
                }
                std::io::ErrorKind::NotFound => format!(
                    "volume {name}: {shown} is not on this machine: run Lifeboat where the container engine runs, or use \
                     the source `container-files`"
                ),
                _ => format!("volume {name}: {shown}: {error}"),
            }));
        }
        // Such a volume is mounted while a container uses it, and an empty folder else.
        if self.bound().is_none() && (self.driver != LOCAL || !self.options.is_empty()) && !is_mount_point(folder) {
            return Err(SourceError::unavailable(format!(
                "volume {name} of driver {} is only there while a container uses it: start one",
                self.driver
            )));
        }
        Ok(folder.to_owned())
    }

    /// The folder of the host that it stands for, where it is made that way.
    fn bound(&self) -> Option<&Path> {
        let is_bind =
            self.options.get("o").is_some_and(|list| list.split(',').any(|word| word == "bind" || word == "rbind"));
        let device = self.options.get("device").map(Path::new);
        device.filter(|device| is_bind && self.driver == LOCAL && device.is_absolute())
    }

    /// A path in it. Fails for one that leads out.
    pub fn path(&self, below: &Path) -> Result<PathBuf, SourceError> {
        if !below.components().all(|part| matches!(part, Component::Normal(_))) {
            return Err(SourceError::unavailable(format!("{} is no path in volume {}", below.display(), self.name)));
        }
        Ok(self.folder()?.join(below))
    }
}

/// Whether another file system begins at `folder`, by the kernel's list (proc_pid_mountinfo(5)); its fifth column is the
/// place, with some characters as octal numbers.
fn is_mount_point(folder: &Path) -> bool {
    let Some(folder) = folder.to_str() else { return false };
    let quoted = folder.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011").replace('\n', "\\012");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mounts.lines().any(|line| line.split(' ').nth(4) == Some(&quoted))
}

/// An option's value without the secrets in it: `o` holds a list like `username=me,password=secret`.
fn masked(key: &str, value: &str) -> String {
    let is_secret = |key: &str| SECRET_WORDS.iter().any(|word| key.to_lowercase().contains(word));
    if is_secret(key) {
        return "***".to_owned();
    }
    let mask = |part: &str| match part.split_once('=') {
        Some((key, _)) if is_secret(key) => format!("{key}=***"),
        _ => part.to_owned(),
    };
    value.split(',').map(mask).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(driver: &str, options: &[(&str, &str)], mountpoint: &Path) -> Volume {
        Volume {
            name: "v".to_owned(),
            driver: driver.to_owned(),
            labels: BTreeMap::new(),
            options: options.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
            mountpoint: mountpoint.to_owned(),
        }
    }

    #[test]
    fn passwords_of_network_volumes_are_no_facts() {
        let options = [("type", "cifs"), ("o", "username=me,password=hunter2,vers=3.0"), ("api-key", "hunter2")];
        let facts = volume("local", &options, Path::new("/x")).facts().to_string();
        assert!(!facts.contains("hunter2") && facts.contains("username=me,password=***,vers=3.0"), "{facts}");
    }

    #[test]
    fn data_is_only_where_it_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let error = |volume: &Volume| volume.folder().unwrap_err().to_string();
        assert_eq!(volume("local", &[], dir.path()).folder().unwrap(), dir.path());
        assert!(error(&volume("local", &[], &dir.path().join("gone"))).contains("is not on this machine"));
        let nfs = [("type", "nfs"), ("device", ":/share"), ("o", "addr=nas")];
        assert!(error(&volume("local", &nfs, dir.path())).contains("only there while a container uses it"));
        assert!(error(&volume("rclone", &[], dir.path())).contains("only there while a container uses it"));
        let device = dir.path().display().to_string();
        let bound = [("type", "none"), ("device", &*device), ("o", "bind")];
        assert_eq!(volume("local", &bound, Path::new("/nowhere")).folder().unwrap(), dir.path());
        let local = volume("local", &[], dir.path());
        assert_eq!(local.path(Path::new("a/b")).unwrap(), dir.path().join("a/b"));
        assert!(local.path(Path::new("../b")).is_err());
    }
}
