//! Restores in place below containers of a real engine: they are named, stopped where that is asked for, and never
//! started on files that are half restored.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use servers::DockerServer;

use crate::couchdb::COUCHDB;
use crate::support::{Ran, Running, Site, can, inside, program, root, run, start, wait_until};

/// Files of the site, so that a swap is more than one rename.
const FILES: usize = 200;

struct Below {
    site: Site,
    server: &'static DockerServer,
    /// The container that has the site's data at `/data`, and holds a file in it open.
    name: String,
}

impl Below {
    /// A site with a snapshot, whose files have changed since, and a container that works with them.
    fn new() -> Option<Self> {
        servers::docker().map(Self::on)
    }

    fn on(server: &'static DockerServer) -> Self {
        let (site, name) = (Site::initialised(), server.name());
        let below = Self { site, server, name };
        below.write("old");
        below.site.backup();
        below.write("new");
        let mount = format!("{}:/data", below.site.data().display());
        let labels = ["project=shop", "service=db"].map(|label| format!("com.docker.compose.{label}"));
        server.make(
            &below.name,
            &["--label", &labels[0], "--label", &labels[1], "-v", &mount],
            "exec sleep 1000000 3</data/0",
        );
        server.docker(&["start", &below.name]);
        below
    }

    fn write(&self, text: &str) {
        for number in 0..FILES {
            // Another inode each time, as nothing here may be written to while it is open.
            let file = self.site.data().join(number.to_string());
            let _ = fs::remove_file(&file);
            fs::write(file, text).unwrap();
        }
    }

    /// What all files hold; `None` where they differ.
    fn read(&self) -> Option<String> {
        let texts = (0..FILES).map(|number| fs::read_to_string(self.site.data().join(number.to_string())).ok());
        let texts: Vec<_> = texts.collect();
        if texts.iter().all(|text| *text == texts[0]) { texts[0].clone() } else { None }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.site.lifeboat_command(arguments);
        command.env("DOCKER_HOST", self.server.host());
        command
    }

    fn lifeboat(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    fn restore(&self, more: &[&str]) -> Ran {
        self.lifeboat(&[&["restore", "latest", "--in-place", "--yes"], more].concat())
    }

    fn state(&self) -> String {
        self.server.state(&self.name)
    }

    fn notes(&self) -> usize {
        fs::read_dir(self.site.path("state/halted")).map_or(0, Iterator::count)
    }

    fn undo_folder(&self) -> PathBuf {
        let entries = fs::read_dir(self.site.data().parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
        let is_undo = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(".lifeboat-undo-");
        entries.into_iter().find(is_undo).unwrap()
    }
}

#[test]
fn a_container_that_works_with_the_files_is_named_and_stopped_only_when_told_to() {
    for below in servers::engines().map(Below::on) {
        let named = format!("container {} (service db of shop) works with it", below.name);
        let refused = below.restore(&[]).exits(1);
        refused.says([&*named, "use --stop-containers"]);
        below.restore(&["--dry-run"]).exits(1).says([&*named]);
        assert_eq!((below.read().as_deref(), &*below.state()), (Some("new"), "running"));
        let shown = below.restore(&["--dry-run", "--stop-containers"]).ok();
        shown.says([&*named, "it is stopped for the restore, and started after it"]);
        assert_eq!((below.read().as_deref(), &*below.state()), (Some("new"), "running"));

        let began = below.server.docker(&["inspect", "--format", "{{.State.StartedAt}}", &below.name]);
        below.restore(&["--stop-containers"]).ok().says(["is stopped"]);
        assert_eq!((below.read().as_deref(), &*below.state(), below.notes()), (Some("old"), "running", 0));
        let since = below.server.docker(&["inspect", "--format", "{{.State.StartedAt}}", &below.name]);
        assert_ne!(began, since, "it was started anew");

        // An undo swaps as well.
        let undo = below.undo_folder();
        let undo = ["restore", "--undo", undo.to_str().unwrap()];
        below.lifeboat(&undo).exits(1).says(["works with what would be put back"]);
        // One that did not run is left alone.
        below.server.docker(&["kill", &below.name]);
        below.server.docker(&["wait", &below.name]);
        below.lifeboat(&undo).ok();
        assert_eq!(below.read().as_deref(), Some("new"));
        below.restore(&["--stop-containers"]).ok();
        assert_eq!((below.read().as_deref(), &*below.state(), below.notes()), (Some("old"), "exited", 0));
    }
}

#[test]
fn a_restore_that_fails_starts_what_it_stopped_on_the_data_before() {
    let Some(below) = Below::new() else { return };
    // Nobody else may have the files open, however many containers are stopped.
    let open = fs::File::open(below.site.data().join("7")).unwrap();
    let mut holder = Command::new("sleep");
    let holder: Running = start(holder.arg("1000").stdin(open));
    below.restore(&["--stop-containers"]).exits(1).says(["has it open"]);
    assert_eq!((below.read().as_deref(), &*below.state(), below.notes()), (Some("new"), "running", 0));
    drop(holder);
    let nowhere = format!("unix://{}", below.site.path("no.sock").display());
    let mut command = below.command(&["restore", "latest", "--in-place", "--yes", "--stop-containers"]);
    run(command.env("DOCKER_HOST", nowhere)).exits(1).says(["no container engine answers"]);
    // Damage in the copy is found before the swap.
    for pack in below.site.stored("data") {
        let mut bytes = fs::read(&pack).unwrap();
        bytes[20] ^= 1;
        fs::remove_file(&pack).unwrap();
        fs::write(&pack, bytes).unwrap();
    }
    let ran = below.restore(&["--stop-containers"]);
    assert!(!ran.status.success(), "{ran}");
    assert_eq!((below.read().as_deref(), &*below.state(), below.notes()), (Some("new"), "running", 0), "{ran}");
}

#[test]
fn a_container_is_never_started_on_files_that_are_half_restored() {
    let Some(below) = Below::new() else { return };
    below.restore(&["--stop-containers"]).ok();
    // As a run leaves things that was killed before the last line of its journal.
    let id = below.server.docker(&["inspect", "--format", "{{.Id}}", &below.name]);
    below.server.docker(&["kill", &below.name]);
    below.server.docker(&["wait", &below.name]);
    let undo = below.undo_folder();
    let journal = undo.join("journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    let cut = text.trim_end().rfind('\n').unwrap() + 1;
    assert!(text[cut..].contains("swapped"), "{text}");
    fs::File::options().write(true).open(&journal).unwrap().set_len(cut as u64).unwrap();
    let data = below.site.data();
    let note = serde_json::json!({
        "id": id, "name": below.name, "halt": "stop", "socket": below.server.socket, "at": "2020-01-01T00:00:00Z",
        "grace_s": 1, "replaced": { "paths": [data], "places": [data.parent().unwrap()] },
    });
    fs::create_dir_all(below.site.path("state/halted")).unwrap();
    let mut file = fs::File::create(below.site.path(format!("state/halted/{id}.json"))).unwrap();
    file.write_all(note.to_string().as_bytes()).unwrap();
    let ran = below.lifeboat(&["snapshots"]).ok();
    ran.says(["it stays stopped, since its files are half restored", "restore --undo"]);
    assert_eq!((&*below.state(), below.notes()), ("exited", 1));
    below.lifeboat(&["restore", "--undo", undo.to_str().unwrap()]).ok().says(["it runs again"]);
    assert_eq!((below.read().as_deref(), &*below.state(), below.notes()), (Some("new"), "running", 0));
}

#[test]
fn killed_at_any_time_it_leaves_files_and_container_so_that_they_can_be_put_right() {
    let Some(below) = Below::new() else { return };
    let mut states = Vec::new();
    for delay_ms in [0, 60, 120, 180, 240, 300, 360, 420, 480] {
        let arguments = ["restore", "latest", "--in-place", "--yes", "--stop-containers"];
        let mut restore = start(&mut below.command(&arguments));
        wait_until("the container is stopped", || {
            below.notes() > 0 && below.state() != "running" || below.read().as_deref() == Some("old")
        });
        std::thread::sleep(Duration::from_millis(delay_ms));
        // It may have ended by itself.
        let _ = restore.0.kill();
        restore.0.wait().unwrap();
        let after = below.lifeboat(&["snapshots"]).ok();
        if below.state() != "running" {
            after.says(["it stays stopped, since its files are half restored"]);
            below.lifeboat(&["restore", "--undo", below.undo_folder().to_str().unwrap()]).ok();
            assert_eq!(below.read().as_deref(), Some("new"));
            states.push("half");
        } else {
            let whole = below.read();
            assert!(whole.is_some(), "it runs on a mixture");
            states.push(if whole.as_deref() == Some("old") { "restored" } else { "untouched" });
        }
        assert_eq!((&*below.state(), below.notes()), ("running", 0));
        below.server.docker(&["kill", &below.name]);
        below.server.docker(&["wait", &below.name]);
        for entry in fs::read_dir(below.site.data().parent().unwrap()).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_string_lossy().starts_with(".lifeboat-") {
                fs::remove_dir_all(path).unwrap();
            }
        }
        below.write("new");
        below.server.docker(&["start", &below.name]);
    }
    eprintln!("killed after the container was stopped: {states:?}");
}

#[test]
fn a_couchdb_whose_image_is_too_old_for_the_files_keeps_them_from_being_put_below_it() {
    let Some(server) = servers::docker() else { return };
    let site = crate::couchdb::site();
    let [data, config] = [COUCHDB, "conf"].map(|path| site.data().join(path));
    fs::create_dir(&config).unwrap();
    fs::write(config.join("local.ini"), "[couch_httpd_auth]\nsecret = x\n").unwrap();
    site.configure(&format!("records: {{ couchdb: {{ data: {data:?}, config: {config:?} }} }}"));
    site.lifeboat(["backup"]).ok();
    let (image, name) = ("couchdb:3.3.2", server.name());
    server.docker(&["tag", DockerServer::IMAGE, image]);
    // The first path of those that are restored is not the data's.
    let mounts = [(&config, "/opt/couchdb/etc/local.d"), (&data, "/opt/couchdb/data")];
    let mounts = mounts.map(|(host, inside)| format!("{}:{inside}", host.display()));
    let of_mounts = mounts.iter().flat_map(|mount| ["-v", mount]);
    let options = ["create", "--name", &name, "--network", "none"].into_iter().chain(of_mounts);
    server.docker(&options.chain([image, "/bin/sh"]).collect::<Vec<_>>());
    let restore = |more: &[&str]| {
        let mut command = site.lifeboat_command([&["restore", "latest", "--in-place", "--yes"], more].concat());
        run(command.env("DOCKER_HOST", server.host()))
    };
    let told = format!("container {name}, of {image}: CouchDB 3.3.2 would take these files for empty databases");
    restore(&[]).exits(1).says([&*told, "they need 3.4 or newer"]);
    restore(&["--force"]).ok();
    server.docker(&["rm", &name]);
}

#[test]
fn where_no_other_process_can_be_seen_nothing_is_put_in_place_unasked() {
    if !can(root()) || !can(program("unshare")) {
        return;
    }
    let site = Site::initialised();
    fs::write(site.data().join("a"), "old").unwrap();
    site.backup();
    fs::write(site.data().join("a"), "new").unwrap();
    let restore = |more: &[&str]| {
        let inner = site.lifeboat_command([&["restore", "latest", "--in-place", "--yes"], more].concat());
        let mut command = inside(&["unshare", "--pid", "--fork", "--mount-proc"], &inner);
        run(command.env("DOCKER_HOST", format!("unix://{}", site.path("no.sock").display())))
    };
    restore(&[]).exits(1).says(["cannot be seen from inside this container", "--programs-stopped"]);
    assert_eq!(fs::read_to_string(site.data().join("a")).unwrap(), "new");
    restore(&["--programs-stopped"]).ok().says(["you said that none does"]);
    assert_eq!(fs::read_to_string(site.data().join("a")).unwrap(), "old");
}
