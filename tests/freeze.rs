//! Containers that stand still while a stack is read: for the time of the reading, never for longer than they may, and never for
//! ever, whatever becomes of Lifeboat.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use servers::DockerServer;

use crate::support::{Ran, Running, Site, run, start, wait_until};

/// Writes one number to two files, over and over: whoever sees two numbers saw it move.
const WRITER: &str = "n=0; while :; do n=$((n+1)); echo $n > /data/a; echo $n > /data/b; sleep 0.01; done";

struct Scene {
    site: Site,
    server: &'static DockerServer,
    /// A container that writes below the site's data, and belongs to service `web` of a project of the same name.
    name: String,
}

impl Drop for Scene {
    /// The container would go on writing for as long as the engine lives.
    fn drop(&mut self) {
        self.server.attempt(&["rm", "--force", &self.name]);
    }
}

impl Scene {
    fn on(server: &'static DockerServer, freeze: &str) -> Self {
        let scene = Self { site: Site::initialised(), server, name: server.name() };
        let mount = format!("{}:/data", scene.site.data().display());
        let labels = [format!("project={}", scene.name), "service=web".to_owned()];
        let labels = labels.map(|label| format!("com.docker.compose.{label}"));
        server.make(&scene.name, &["--label", &labels[0], "--label", &labels[1], "-v", &mount], WRITER);
        server.docker(&["start", &scene.name]);
        scene.configure(freeze, "echo done");
        scene
    }

    /// The data, and a command that is live as well and reads what the container does.
    fn configure(&self, freeze: &str, command: &str) {
        let look = format!("docker inspect --format '{{{{.State.Status}}}}' {}; {command}", self.name);
        self.site.configure(&format!(
            "files: {{ files: {{ paths: [{:?}] }} }}\nstate: {{ command: {{ run: {look:?}, name: state.txt }} }}",
            self.site.data()
        ));
        let mut text = fs::read_to_string(self.site.config()).unwrap();
        text.push_str(&format!("\n    freeze: {{ {freeze} }}\n"));
        fs::write(self.site.config(), text).unwrap();
    }

    fn by_name(&self, more: &str) -> String {
        format!("containers: [{}], {more}", self.name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.site.lifeboat_command(arguments);
        command.env("DOCKER_HOST", self.server.host()).env("DOCKER_CONFIG", "/nonexistent");
        command
    }

    fn lifeboat(&self, arguments: &[&str]) -> Ran {
        run(&mut self.command(arguments))
    }

    /// What the container did while the snapshot was taken.
    fn state_then(&self) -> String {
        let text = self.lifeboat(&["cat", "latest:state/state.txt"]).ok().text();
        text.lines().next().unwrap().to_owned()
    }

    fn state(&self) -> String {
        self.server.state(&self.name)
    }

    fn runs_soon(&self) {
        wait_until("the container runs again", || self.state() == "running");
    }

    fn notes(&self) -> usize {
        fs::read_dir(self.site.path("state/halted")).map_or(0, Iterator::count)
    }

    /// Begins a backup, and waits until the container stands still.
    fn begin(&self, halted: &str) -> Running {
        let running = start(&mut self.command(&["backup"]));
        wait_until("the container stands still", || self.state() == halted);
        wait_until("the note says so", || self.notes() > 0);
        running
    }
}

/// The processes that keep watch for this site, by their numbers.
pub fn guards(site: &Site) -> Vec<Pid> {
    let state = site.path("state");
    let of = |entry: fs::DirEntry| {
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        let is_one = words.contains(&&b"keep-watch"[..]) && words.contains(&state.as_os_str().as_encoded_bytes());
        Pid::from_raw(number).filter(|_| is_one)
    };
    fs::read_dir("/proc").unwrap().filter_map(|entry| of(entry.unwrap())).collect()
}

#[test]
fn what_is_frozen_stands_still_while_all_is_read_and_runs_afterwards() {
    for server in servers::engines() {
        for (mode, halted) in [("pause", "paused"), ("stop", "exited")] {
            let scene = Scene::on(server, "mode: pause, containers: [x]");
            let of_service = format!("mode: {mode}, services: [web], project: {}", scene.name);
            for freeze in [scene.by_name(&format!("mode: {mode}")), of_service] {
                scene.configure(&freeze, "echo done");
                scene.lifeboat(&["backup"]).ok();
                assert_eq!((&*scene.state_then(), &*scene.state()), (halted, "running"));
                assert_eq!(scene.notes(), 0);
                wait_until("nobody keeps watch any more", || guards(&scene.site).is_empty());
                let target = scene.site.path("out");
                let _ = fs::remove_dir_all(&target);
                scene.lifeboat(&["restore", "latest", "--to", target.to_str().unwrap()]).ok();
                let data: PathBuf = scene.site.restored_data(&target);
                let number = |name: &str| fs::read_to_string(data.join(name)).unwrap().trim().parse().unwrap_or(0_u64);
                // It may have been stopped between the two, and never further apart than that.
                let (a, b) = (number("a"), number("b"));
                assert!(a == b || a == b + 1 || b == 0 || a == 0, "{a} and {b} are not of one moment");
            }
        }
    }
}

#[test]
fn one_that_does_not_run_is_left_alone_and_one_that_is_not_there_makes_the_run_partial() {
    let Some(server) = servers::docker() else { return };
    let scene = Scene::on(server, "mode: stop, containers: [x]");
    scene.configure(&scene.by_name("mode: stop"), "echo done");
    server.docker(&["kill", &scene.name]);
    server.docker(&["wait", &scene.name]);
    scene.lifeboat(&["backup"]).ok();
    assert_eq!(scene.state(), "exited");
    // Nor is anything over where nothing stood still.
    scene.configure(&scene.by_name("mode: stop, max_downtime: 1s"), "sleep 2; echo done");
    scene.lifeboat(&["backup"]).ok();
    server.docker(&["start", &scene.name]);
    scene.lifeboat(&["config", "check"]).ok().says(["containers of hooks and freeze: 1 container"]);
    scene.configure(&format!("mode: pause, containers: [{}, no-such-one]", scene.name), "echo done");
    scene.lifeboat(&["config", "check"]).exits(1).says(["FAILED: container no-such-one is not here"]);
    let summary = scene.lifeboat(&["backup", "--json"]).exits(3).summary();
    let problem = summary["sources"]["files"]["problems"][0]["what"].as_str().unwrap();
    assert!(problem.contains("container no-such-one is not here") && problem.contains("stood still"), "{problem}");
    assert_eq!((&*scene.state_then(), &*scene.state()), ("paused", "running"));
}

#[test]
fn what_takes_longer_than_it_may_is_partial_and_the_containers_go_on() {
    let Some(server) = servers::docker() else { return };
    for mode in ["pause", "stop"] {
        let scene = Scene::on(server, "mode: pause, containers: [x]");
        fs::write(scene.site.path("slow"), "").unwrap();
        let slow = "while [ -e slow ]; do sleep 0.1; done; echo done";
        scene.configure(&scene.by_name(&format!("mode: {mode}, max_downtime: 20s")), slow);
        let halted = if mode == "pause" { "paused" } else { "exited" };
        let mut backup = scene.command(&["backup", "--json"]);
        let backup = backup.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let backup = Running(backup);
        wait_until("the container stands still", || scene.state() == halted);
        let began = Instant::now();
        scene.runs_soon();
        assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
        fs::remove_file(scene.site.path("slow")).unwrap();
        let (status, lines) = output(backup);
        assert_eq!(status, Some(3), "{lines}");
        let summary: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        assert_eq!(summary["status"], "partial");
        let problem = summary["sources"]["state"]["problems"][0]["what"].as_str().unwrap();
        assert!(problem.contains("went on after 20 s (max_downtime)"), "{problem}");
        // What was read before that is of one moment.
        assert_eq!(summary["sources"]["files"]["status"], "ok");
        assert_eq!((&*scene.state(), scene.notes()), ("running", 0));
    }
}

/// The exit code and the output of what runs to its end.
fn output(mut running: Running) -> (Option<i32>, String) {
    let mut text = String::new();
    std::io::Read::read_to_string(&mut running.0.stdout.take().unwrap(), &mut text).unwrap();
    (running.0.wait().unwrap().code(), text)
}

#[test]
fn killed_while_containers_stand_still_they_run_again_without_another_command() {
    for server in servers::engines() {
        for (mode, halted) in [("pause", "paused"), ("stop", "exited")] {
            let scene = Scene::on(server, "mode: pause, containers: [x]");
            fs::write(scene.site.path("slow"), "").unwrap();
            scene.configure(&scene.by_name(&format!("mode: {mode}")), "while [ -e slow ]; do sleep 0.1; done");
            let mut backup = scene.begin(halted);
            assert_eq!(guards(&scene.site).len(), 1);
            backup.0.kill().unwrap();
            backup.0.wait().unwrap();
            let killed = Instant::now();
            scene.runs_soon();
            assert!(killed.elapsed() < Duration::from_secs(20), "{:?}", killed.elapsed());
            wait_until("nothing is left to do", || scene.notes() == 0 && guards(&scene.site).is_empty());
        }
    }
}

#[test]
fn killed_with_what_keeps_watch_as_by_a_reboot_they_run_again_with_the_next_command() {
    let Some(server) = servers::docker() else { return };
    for (mode, halted) in [("pause", "paused"), ("stop", "exited")] {
        let scene = Scene::on(server, "mode: pause, containers: [x]");
        fs::write(scene.site.path("slow"), "").unwrap();
        scene.configure(&scene.by_name(&format!("mode: {mode}")), "while [ -e slow ]; do sleep 0.1; done");
        let mut backup = scene.begin(halted);
        for guard in guards(&scene.site) {
            // Signals that end a whole session or service do not end it.
            for signal in [Signal::HUP, Signal::INT, Signal::TERM] {
                kill_process(guard, signal).unwrap();
            }
            kill_process(guard, Signal::KILL).unwrap();
        }
        backup.0.kill().unwrap();
        backup.0.wait().unwrap();
        assert_eq!(scene.state(), halted);
        scene.lifeboat(&["snapshots"]).ok().says([&*format!("container {}: was left halted", scene.name)]);
        assert_eq!((&*scene.state(), scene.notes()), ("running", 0));
    }
}

#[test]
fn a_run_that_hangs_holds_containers_no_longer_than_it_may() {
    let Some(server) = servers::docker() else { return };
    let scene = Scene::on(server, "mode: pause, containers: [x]");
    fs::write(scene.site.path("slow"), "").unwrap();
    let slow = "while [ -e slow ]; do sleep 0.1; done";
    scene.configure(&scene.by_name("mode: pause, max_downtime: 15s"), slow);
    let mut backup = scene.begin("paused");
    let began = Instant::now();
    let pid = Pid::from_child(&backup.0);
    kill_process(pid, Signal::STOP).unwrap();
    assert_eq!(scene.state(), "paused");
    scene.runs_soon();
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
    // It is told, too.
    kill_process(pid, Signal::CONT).unwrap();
    fs::remove_file(scene.site.path("slow")).unwrap();
    assert_eq!(backup.0.wait().unwrap().code(), Some(3));
}

#[test]
fn a_run_that_is_cancelled_lets_containers_go_on() {
    let Some(server) = servers::docker() else { return };
    for (mode, halted) in [("pause", "paused"), ("stop", "exited")] {
        let scene = Scene::on(server, "mode: pause, containers: [x]");
        fs::write(scene.site.path("slow"), "").unwrap();
        scene.configure(&scene.by_name(&format!("mode: {mode}")), "while [ -e slow ]; do sleep 0.1; done");
        let mut backup = scene.begin(halted);
        kill_process(Pid::from_child(&backup.0), Signal::INT).unwrap();
        assert_eq!(backup.0.wait().unwrap().code(), Some(130));
        assert_eq!((&*scene.state(), scene.notes()), ("running", 0));
    }
}

#[test]
fn a_run_that_is_cancelled_while_containers_stop_still_runs_the_hooks_after_it() {
    let Some(server) = servers::docker() else { return };
    // The engine kills it after this long, and nothing cuts that short.
    let stubborn = Scene { site: Site::initialised(), server, name: server.name() };
    server.make(&stubborn.name, &["--stop-timeout", "5"], "trap '' TERM; while :; do sleep 1; done");
    server.docker(&["start", &stubborn.name]);
    stubborn.configure(&stubborn.by_name("mode: stop"), "echo done");
    let mut text = fs::read_to_string(stubborn.site.config()).unwrap();
    text.push_str("    after: ['echo $LIFEBOAT_STATUS > told']\n");
    fs::write(stubborn.site.config(), text).unwrap();
    let mut backup = start(&mut stubborn.command(&["backup"]));
    wait_until("it is being stopped", || stubborn.notes() > 0);
    kill_process(Pid::from_child(&backup.0), Signal::INT).unwrap();
    let asked = Instant::now();
    assert_eq!(backup.0.wait().unwrap().code(), Some(130));
    assert!(asked.elapsed() > Duration::from_secs(2), "the engine took longer than a run is otherwise given");
    assert_eq!(fs::read_to_string(stubborn.site.path("told")).unwrap().trim(), "cancelled");
    assert_eq!((&*stubborn.state(), stubborn.notes()), ("running", 0));
}

#[test]
fn hooks_after_a_source_may_need_what_stood_still() {
    let Some(server) = servers::docker() else { return };
    let scene = Scene::on(server, "mode: pause, containers: [x]");
    scene.configure(&scene.by_name("mode: pause"), "echo done");
    let text = fs::read_to_string(scene.site.config()).unwrap();
    let hook = format!("after: [{{ run: 'echo $LIFEBOAT_STATUS > /told', container: {}, timeout: 20s }}]", scene.name);
    let text = text.replace("files: { files:", &format!("files: {{ {hook}, files:"));
    fs::write(scene.site.config(), text).unwrap();
    scene.lifeboat(&["backup"]).ok();
    assert_eq!(server.docker(&["exec", &scene.name, "cat", "/told"]), "ok");
    assert_eq!(scene.state_then(), "paused");
}

#[test]
fn that_somebody_else_let_a_container_go_on_is_a_problem() {
    let Some(server) = servers::docker() else { return };
    let scene = Scene::on(server, "mode: pause, containers: [x]");
    scene.configure(&scene.by_name("mode: pause"), &format!("docker unpause {}", scene.name));
    scene.lifeboat(&["backup"]).exits(3).says([&*scene.name, "somebody else let it go on"]);
    assert_eq!((&*scene.state(), scene.notes()), ("running", 0));
}
