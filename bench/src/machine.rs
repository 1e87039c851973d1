//! The machine and the day of a run: without them a number means nothing.

use std::fs;
use std::path::Path;

use jiff::Timestamp;
use rustix::system::uname;

/// What a reader needs to know to compare two runs.
#[derive(Clone, Debug)]
pub struct Machine {
    /// When the run began, in UTC.
    pub date: String,
    /// Model of the processor and number of cores that may be used.
    pub processor: String,
    /// Memory of the machine in GiB.
    pub memory_gib: f64,
    /// Name and release of the kernel.
    pub kernel: String,
    /// Kind of file system that everything lies on.
    pub file_system: String,
    /// Load average over the last minute before the run: what else was going on.
    pub load: String,
}

impl Machine {
    /// Looks at this machine; `folder` is where the run takes place.
    pub fn look(folder: &Path) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, |count| count.get());
        let model = value_of(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "unknown processor".into());
        let memory_kib = value_of(&read("/proc/meminfo"), "MemTotal")
            .and_then(|value| value.trim_end_matches(" kB").parse::<f64>().ok())
            .unwrap_or_default();
        let kernel = uname();
        Self {
            date: today(),
            processor: format!("{model}, {cores} cores"),
            memory_gib: memory_kib / 1024.0 / 1024.0,
            kernel: format!("{} {}", kernel.sysname().to_string_lossy(), kernel.release().to_string_lossy()),
            file_system: file_system_of(&read("/proc/self/mounts"), folder).unwrap_or_else(|| "unknown".into()),
            load: read("/proc/loadavg").split(' ').next().unwrap_or_default().to_owned(),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the benchmark stands outside Lifeboat and its seams")]
fn today() -> String {
    Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// The value of the first line `name : value`.
fn value_of(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim().to_owned()))
}

/// The kind of the file system with the longest mount point that `folder` lies under.
fn file_system_of(mounts: &str, folder: &Path) -> Option<String> {
    let under = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (mount_point, kind) = (fields.next()?, fields.next()?);
        folder.starts_with(mount_point).then_some((mount_point.len(), kind))
    });
    // Of two mounts on one folder the later one is seen.
    under.max_by_key(|(length, _)| *length).map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_in_the_kernel_s_lists() {
        let text = "processor\t: 0\nmodel name\t: EPYC: the one\n";
        assert_eq!(value_of(text, "model name"), Some("EPYC: the one".into()));
        assert_eq!(value_of(text, "MemTotal"), None);
    }

    #[test]
    fn the_nearest_mount_point_gives_the_file_system() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/b /tmpfiles xfs rw 0 0\n";
        assert_eq!(file_system_of(mounts, Path::new("/tmp/x")), Some("tmpfs".into()));
        assert_eq!(file_system_of(mounts, Path::new("/tmpfiles/x")), Some("xfs".into()));
        assert_eq!(file_system_of(mounts, Path::new("/home")), Some("ext4".into()));
    }
}
