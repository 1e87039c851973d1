//! Which containers work with paths of this host: where those are mounted into them, as folders of the host or as volumes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use repository::SourceError;

use super::{Container, ContainerState, Containers, Mount};

/// Files of a container that the engine mounts into each one, out of a folder that is called like its id.
const OWN_FILES: [&str; 3] = ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"];

/// A container that works with a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The container.
    pub container: Container,
    /// The first of the paths that it works with.
    pub path: PathBuf,
    /// What of this host is mounted into it, links resolved, but for the whole of it.
    places: Vec<PathBuf>,
}

impl User {
    /// The container with its Compose service, for messages.
    pub fn shown(&self) -> String {
        let container = &self.container;
        match (container.service(), container.project()) {
            (Some(service), Some(project)) => {
                format!("container {} (service {service} of {project})", container.name)
            }
            _ => format!("container {}", container.name),
        }
    }

    /// Whether it works with `path` as well, a part of it, or a folder around it.
    pub fn works_with(&self, path: &Path) -> bool {
        is_used(&self.places, path)
    }

    /// Whether it could write to the path now, or as soon as somebody lets it go on.
    pub fn is_up(&self) -> bool {
        self.container.state != ContainerState::Stopped
    }
}

impl Containers {
    /// The containers, also those that do not run, into which one of `paths`, a part of it, or a folder around it is
    /// mounted. Left out are this process's own container, and those that got the whole host.
    pub fn users(&self, paths: &[PathBuf]) -> Result<Vec<User>, SourceError> {
        let volumes: BTreeMap<_, _> =
            self.volumes()?.into_iter().map(|volume| (volume.name.clone(), volume.place().to_owned())).collect();
        let own_mounts = own_mounts();
        let all = self.containers()?.into_iter().filter(|container| !is_own(&container.id, &own_mounts));
        Ok(all.filter_map(|container| user(container, paths, &volumes)).collect())
    }
}

fn user(container: Container, paths: &[PathBuf], volumes: &BTreeMap<String, PathBuf>) -> Option<User> {
    let places = container.mounts.values().filter_map(|mount| match mount {
        Mount::Bind { host } => Some(host),
        Mount::Volume { name } => volumes.get(name),
    });
    // A link may lead to what is mounted, or be what is.
    let places = places.map(|place| place.canonicalize().unwrap_or_else(|_| place.clone()));
    // Who watches over the host has all of it, and works with none of it.
    let places: Vec<_> = places.filter(|place| place != Path::new("/")).collect();
    let path = paths.iter().find(|path| is_used(&places, path))?.clone();
    Some(User { container, path, places })
}

fn is_used(places: &[PathBuf], path: &Path) -> bool {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    places.iter().any(|place| place.starts_with(&path) || path.starts_with(place))
}

/// What is mounted for this process, as the kernel lists it.
pub(super) fn own_mounts() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
}

/// Whether this process runs in the container, by the kernel's list of its mounts (proc_pid_mountinfo(5)): the fourth
/// column is where in its file system something comes from, the fifth where it lies.
pub(super) fn is_own(id: &str, mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut columns = line.split(' ').skip(3);
        let (from, at) = (columns.next().unwrap_or_default(), columns.next().unwrap_or_default());
        OWN_FILES.contains(&at) && !id.is_empty() && from.split('/').any(|part| part == id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(mount: Mount) -> Container {
        Container {
            id: "c0ffee".to_owned(),
            name: "db".to_owned(),
            image: String::new(),
            image_id: String::new(),
            state: ContainerState::Running,
            labels: BTreeMap::new(),
            mounts: BTreeMap::from([(PathBuf::from("/data"), mount)]),
        }
    }

    #[test]
    fn whoever_has_a_path_mounted_a_part_of_it_or_what_is_around_it_works_with_it() {
        let volumes = BTreeMap::from([("data".to_owned(), PathBuf::from("/volumes/data/_data"))]);
        let works_with = |mount: &Mount, path: &str| user(container(mount.clone()), &[path.into()], &volumes).is_some();
        let bind = Mount::Bind { host: "/srv/couch/data".into() };
        for path in ["/srv/couch/data", "/srv/couch", "/srv/couch/data/shards/x.couch"] {
            assert!(works_with(&bind, path), "{path}");
        }
        for path in ["/srv/couch/data2", "/srv/couch/other", "/volumes"] {
            assert!(!works_with(&bind, path), "{path}");
        }
        let volume = Mount::Volume { name: "data".into() };
        assert!(works_with(&volume, "/volumes/data/_data/a") && !works_with(&volume, "/data"));
        assert!(!works_with(&Mount::Volume { name: "other".into() }, "/volumes/data/_data"));
        assert!(!works_with(&Mount::Bind { host: "/".into() }, "/srv/couch"), "it watches over the host");
    }

    #[test]
    fn a_container_works_with_each_path_that_it_has_mounted_not_the_first_alone() {
        let mut two = container(Mount::Bind { host: "/etc/couch".into() });
        two.mounts.insert("/more".into(), Mount::Bind { host: "/srv/couch".into() });
        let found = user(two, &["/etc/couch".into(), "/srv/couch/data".into()], &BTreeMap::new()).unwrap();
        assert_eq!(found.path, Path::new("/etc/couch"));
        assert!(found.works_with(Path::new("/srv/couch/data")) && !found.works_with(Path::new("/srv/other")));
    }

    #[test]
    fn a_path_and_a_mount_that_a_link_leads_to_are_one() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let found = user(container(Mount::Bind { host: link }), std::slice::from_ref(&real), &BTreeMap::new());
        assert_eq!(found.unwrap().path, real);
    }

    #[test]
    fn its_own_container_is_told_by_the_files_that_the_engine_mounts() {
        let line = |from: &str, at: &str| format!("36 35 98:0 {from} {at} rw,noatime - ext4 /dev/root rw\n");
        assert!(is_own("c0ffee", &line("/docker/containers/c0ffee/hostname", "/etc/hostname")));
        assert!(!is_own("c0ffee", &line("/docker/containers/c0ffee/mounts/shm", "/docker/containers/c0ffee/shm")));
        assert!(!is_own("c0ffee", &line("/docker/containers/beef/hostname", "/etc/hostname")) && !is_own("", ""));
    }
}
