//! A real container engine: containers by their labels, files in and out, commands, and what was halted.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use connectors::containers::{
    Container, ContainerName, ContainerState, Containers, EngineAddress, Halt, Halts, Replaced,
};
use connectors::program::{Exit, Program, Stage};
use repository::{Cancel, Clock as _, SourceError, SystemClock};
use servers::DockerServer;

fn open(server: &DockerServer) -> Containers {
    EngineAddress::at(&server.socket).open(&Cancel::new()).unwrap()
}

fn named(containers: &Containers, name: &str) -> Container {
    containers.find(&ContainerName::Container(name.to_owned())).unwrap()
}

/// Labels as Compose sets them.
fn labels(project: &str, service: &str, number: u32) -> Vec<String> {
    let label = |key: &str, value: &str| [String::from("--label"), format!("com.docker.compose.{key}={value}")];
    let number = number.to_string();
    [label("project", project), label("service", service), label("container-number", &number), label("oneoff", "False")]
        .concat()
}

fn run_with(server: &DockerServer, name: &str, options: &[String]) {
    server.run(name, &options.iter().map(String::as_str).collect::<Vec<_>>());
}

/// Names and contents of the files in a tar.
fn unpacked(tar: impl std::io::Read) -> Vec<(String, String)> {
    let mut archive = tar::Archive::new(tar);
    let mut files = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        files.push((entry.path().unwrap().display().to_string(), text));
    }
    files
}

#[test]
fn services_are_found_by_the_labels_of_both_versions_of_compose() {
    for server in servers::engines() {
        let project = server.name();
        let (v1, v2) = (format!("{project}_cache_1"), format!("{project}-web-1"));
        run_with(server, &v1, &labels(&project, "cache", 1));
        run_with(server, &v2, &labels(&project, "web", 1));
        let containers = open(server);
        let service = |service: &str| {
            let wanted = ContainerName::Service { project: Some(project.clone()), service: service.to_owned() };
            containers.find(&wanted).unwrap()
        };
        assert_eq!((service("cache").name, service("web").name), (v1.clone(), v2.clone()));
        let found = service("web");
        assert_eq!(
            (found.project(), found.service(), found.state),
            (Some(&*project), Some("web"), ContainerState::Running)
        );
        assert_eq!(found.image, DockerServer::IMAGE);
        assert_eq!(containers.digests(&found.image_id).unwrap().is_empty(), !server.is_podman, "it was made here");
        assert_eq!(named(&containers, &v1.replace('_', "-")).name, v1);
        let missing = containers.find(&ContainerName::Container("nobody".into())).unwrap_err().to_string();
        assert!(missing.contains("container nobody is not here") && missing.contains(&v2), "{missing}");
    }
}

#[test]
fn files_come_out_of_and_go_into_containers_that_run_and_that_do_not() {
    for server in servers::engines() {
        let (name, volume) = (server.name(), server.name());
        let mount = format!("{volume}:/data");
        let script = "mkdir /own; echo layer >/own/a; echo volume >/data/b; ln -s /own /link; sleep 1000000";
        server.make(&name, &["-v", &mount], script);
        server.docker(&["start", &name]);
        server.docker(&["exec", &name, "sh", "-c", "until [ -L /link ]; do sleep 0.1; done"]);
        let containers = open(server);
        let container = named(&containers, &name);
        let read = |path: &str| unpacked(containers.read(&container, Path::new(path)).unwrap());
        let text = |path: &str, text: &str| (path.to_owned(), text.to_owned());
        for state in ["running", "exited"] {
            assert_eq!(server.state(&name), state);
            let folder = if server.is_podman { "own" } else { "own/" };
            assert_eq!(read("/own"), [text(folder, ""), text("own/a", "layer\n")]);
            assert_eq!(read("/data/b"), [text("b", "volume\n")], "{state}");
            assert_eq!(containers.link_target(&container, Path::new("/link")).unwrap(), Some(PathBuf::from("/own")));
            let mut builder = tar::Builder::new(Vec::new());
            let mut header = tar::Header::new_gnu();
            header.set_size(3);
            header.set_mode(0o600);
            builder.append_data(&mut header, "new", &state.as_bytes()[..3]).unwrap();
            containers.write(&container, Path::new("/data"), builder.into_inner().unwrap()).unwrap();
            assert_eq!(read("/data/new"), [text("new", &state[..3])]);
            if state == "running" {
                server.docker(&["kill", &name]);
                server.docker(&["wait", &name]);
            }
        }
        let mut nothing = String::new();
        let gone = containers.read(&container, Path::new("/gone")).unwrap().read_to_string(&mut nothing).unwrap_err();
        assert!(gone.to_string().contains("/gone"), "{gone}");
    }
}

#[test]
fn a_command_in_a_container_gives_its_output_and_its_exit_code() {
    for server in servers::engines() {
        let name = server.name();
        server.run(&name, &[]);
        let containers = open(server);
        let container = named(&containers, &name);
        let mut output = Vec::new();
        let script =
            "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; printf 'a\\000b'; echo bad >&2; exit 3";
        let ended = containers.exec(&container, &["/bin/sh", "-c", script], &mut output).unwrap();
        assert_eq!((ended.code, ended.errors.trim()), (3, "bad"));
        let expected: String = (0..20_000).map(|number| format!("line {number}\n")).collect();
        assert_eq!(output, [expected.as_bytes(), b"a\0b"].concat());
    }
}

#[test]
fn a_program_in_a_container_is_spoken_to_and_is_gone_when_nobody_wants_it_any_more() {
    for server in servers::engines() {
        let name = server.name();
        server.run(&name, &["-e", "OWN=of the container", "-e", "SECRET=a=b"]);
        let containers = Arc::new(open(server));
        let container = named(&containers, &name);
        assert_eq!(containers.environment(&container).unwrap()["SECRET"], "a=b");
        assert_eq!(containers.command(&container).unwrap(), ["/bin/sh", "-c", "sleep 1000000"]);
        let stage = Stage::Container { containers, container };
        let sh = |script: &str| Program::new("sh").arg("-c").arg(script);

        let greeting = sh("while read line; do echo \"$OWN $MINE $line\"; done; echo the reason >&2; exit 3");
        let mut running = greeting.variable("MINE", "mine").with_input().start(&stage, &Cancel::new()).unwrap();
        let mut buffer = [0; 1000];
        for word in ["one", "two"] {
            running.write(format!("{word}\n").as_bytes()).unwrap();
            let length = running.read(&mut buffer).unwrap();
            assert_eq!(String::from_utf8_lossy(&buffer[..length]), format!("of the container mine {word}\n"));
        }
        running.close_input().unwrap();
        assert_eq!(running.read(&mut buffer).unwrap(), 0);
        let ended = running.wait().unwrap();
        assert_eq!((ended.exit, ended.said.as_str()), (Exit::Code(3), "the reason"));
        let (printed, ended) = sh("echo out").run(&stage, &Cancel::new()).unwrap();
        assert_eq!((printed.as_slice(), ended.is_well(), ended.said.as_str()), (&b"out\n"[..], true, ""));
        let (_, ended) = Program::new("no-such-program").run(&stage, &Cancel::new()).unwrap();
        assert_eq!(ended.exit, Exit::Code(127), "{}", ended.told());

        // More than any pipe holds, both ways at once.
        let mut cat = Program::new("cat").with_input().start(&stage, &Cancel::new()).unwrap();
        cat.write(&vec![b'x'; 2_000_000]).unwrap();
        cat.close_input().unwrap();
        let mut read = 0;
        while let length @ 1.. = cat.read(&mut buffer).unwrap() {
            read += length;
        }
        assert_eq!((read, cat.wait().unwrap().is_well()), (2_000_000, true));

        // Told apart from others by how long it sleeps.
        let seconds = format!("{}", 500_000 + std::process::id());
        let is_there = || runs(&["sleep", &seconds]);
        let cancel = Cancel::new();
        let mut sleeping = Program::new("sleep").arg(&seconds).start(&stage, &cancel).unwrap();
        until(is_there);
        cancel.cancel();
        assert!(matches!(sleeping.read(&mut buffer), Err(SourceError::Cancelled)));
        drop(sleeping);
        until(|| !is_there());
    }
}

#[test]
fn a_program_in_a_container_ends_with_all_that_it_started() {
    for server in servers::engines() {
        let name = server.name();
        server.run(&name, &[]);
        let containers = Arc::new(open(server));
        let container = named(&containers, &name);
        let stage = Stage::Container { containers, container };
        // Told apart from others by how long they sleep.
        let seconds = |number: u32| format!("{}", 600_000 + 10 * std::process::id() + number);
        let [kept, first, second] = [0, 1, 2].map(seconds);
        let other = ["exec", "-d", &name, "sleep", &kept];
        server.docker(&other);
        for script in [
            format!("sleep {first} & (sleep {second}; :) & echo up; wait"),
            // One that does not listen, and so do those it starts.
            format!("trap '' TERM; sleep {first} & sleep {second} & echo up; while :; do wait; done"),
            // One that has ended, and left others.
            format!("sleep {first} & sleep {second} & echo up"),
        ] {
            let cancel = Cancel::new();
            let mut running = Program::new("sh").args(["-c", &script]).start(&stage, &cancel).unwrap();
            assert_eq!(running.read(&mut [0; 10]).unwrap(), 3);
            until(|| [&first, &second].iter().all(|seconds| runs(&["sleep", seconds])));
            cancel.cancel();
            drop(running);
            until(|| ![&first, &second].iter().any(|seconds| runs(&["sleep", seconds])));
            assert!(runs(&["sleep", &kept]), "what others started goes on");
        }
    }
}

/// Whether a process of this machine, in whatever container, was started with exactly these words.
fn runs(words: &[&str]) -> bool {
    let wanted: String = words.iter().map(|word| format!("{word}\0")).collect();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .into_iter()
        .any(|process| std::fs::read_to_string(process.path().join("cmdline")).is_ok_and(|found| found == wanted))
}

fn until(is_so: impl Fn() -> bool) {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while !is_so() {
        assert!(std::time::Instant::now() < end, "it takes too long");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

#[test]
fn what_was_halted_goes_on_and_what_an_earlier_run_left_halted_is_put_right() {
    for server in servers::engines() {
        let state = tempfile::tempdir().unwrap();
        let halts = Halts::below(state.path());
        let notes = || std::fs::read_dir(state.path().join("halted")).map_or(0, Iterator::count);
        let containers = open(server);
        for (halt, halted_state) in [(Halt::Stop, "exited"), (Halt::Pause, "paused")] {
            let name = server.name();
            server.run(&name, &[]);
            let container = named(&containers, &name);
            let halted = halts.halt(&containers, &container, halt, &SystemClock).unwrap().unwrap();
            assert_eq!((server.state(&name).as_str(), notes()), (halted_state, 1));
            let right = halts.put_right(&Cancel::new(), &SystemClock, &|_| Ok(()));
            assert!(right.resumed.is_empty() && right.problems.is_empty(), "it is halted for a reason: {right:?}");
            assert_eq!(server.state(&name), halted_state);
            halted.resume().unwrap();
            assert_eq!((server.state(&name).as_str(), notes()), ("running", 0));
            // A run that fails lets it go on, too.
            drop(halts.halt(&containers, &container, halt, &SystemClock).unwrap());
            assert_eq!((server.state(&name).as_str(), notes()), ("running", 0));
            // A run that ends at once leaves note and container as they are.
            std::mem::forget(halts.halt(&containers, &container, halt, &SystemClock).unwrap());
            assert_eq!(
                halts.put_right(&Cancel::new(), &SystemClock, &|_| Ok(())).resumed,
                [""; 0],
                "this process lives and holds the lock"
            );
            let note = state.path().join("halted").join(format!("{}.json", container.id));
            let copy = std::fs::read(&note).unwrap();
            std::fs::remove_file(&note).unwrap();
            std::fs::write(&note, copy).unwrap();
            assert_eq!(halts.put_right(&Cancel::new(), &SystemClock, &|_| Ok(())).resumed.concat(), name);
            assert_eq!((server.state(&name).as_str(), notes()), ("running", 0));
        }
        let name = server.name();
        server.make(&name, &[], "sleep 1000000");
        assert!(
            halts.halt(&containers, &named(&containers, &name), Halt::Stop, &SystemClock).unwrap().is_none(),
            "it did not run"
        );
        assert_eq!((server.state(&name).as_str(), notes()), ("created", 0));
        // Half a note is from before anything was halted.
        std::fs::write(state.path().join("halted/x.json"), "{\"id\": ").unwrap();
        assert!(halts.put_right(&Cancel::new(), &SystemClock, &|_| Ok(())).problems.is_empty());
        assert_eq!(notes(), 0);
    }
}

#[test]
fn a_container_that_is_still_being_stopped_for_a_run_that_was_killed_is_waited_for() {
    for server in servers::engines() {
        let state = tempfile::tempdir().unwrap();
        let containers = open(server);
        let name = server.name();
        // The first process of a container ends by no signal that it does not ask for, so it is killed after four seconds.
        server.run(&name, &["--stop-timeout", "4"]);
        let container = named(&containers, &name);
        let note = serde_json::json!({
            "id": container.id, "name": name, "halt": "stop", "socket": server.socket,
            "at": SystemClock.now().to_string(), "grace_s": 60,
        });
        std::fs::create_dir(state.path().join("halted")).unwrap();
        std::fs::write(state.path().join("halted/x.json"), note.to_string()).unwrap();
        std::thread::scope(|scope| {
            // Podman says that this failed where the container goes on before it has cleaned up behind it.
            scope.spawn(|| server.attempt(&["stop", &name]));
            std::thread::sleep(std::time::Duration::from_millis(500));
            assert_eq!(server.state(&name), if server.is_podman { "stopping" } else { "running" });
            let right = Halts::below(state.path()).put_right(&Cancel::new(), &SystemClock, &|_| Ok(()));
            assert_eq!(right.resumed.concat(), name, "{right:?}");
        });
        assert_eq!(server.state(&name), "running");
    }
}

#[test]
fn a_container_that_two_sources_want_halted_goes_on_after_the_last_of_them() {
    for server in servers::engines() {
        let state = tempfile::tempdir().unwrap();
        let halts = Halts::below(state.path());
        let containers = open(server);
        let name = server.name();
        server.run(&name, &[]);
        let halt =
            || halts.clone().halt(&containers, &named(&containers, &name), Halt::Pause, &SystemClock).unwrap().unwrap();
        let (first, second) = (halt(), halt());
        first.resume().unwrap();
        assert_eq!(server.state(&name), "paused");
        second.resume().unwrap();
        assert_eq!(server.state(&name), "running");
        // Held no more, it is halted anew.
        let third = halt();
        assert_eq!(server.state(&name), "paused");
        third.resume().unwrap();
        assert_eq!(server.state(&name), "running");
    }
}

#[test]
fn what_is_stopped_for_a_restore_goes_on_only_when_it_is_told_to_or_its_files_are_whole() {
    for server in servers::engines() {
        let name = server.name();
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        std::fs::create_dir(&data).unwrap();
        server.run(&name, &["-v", &format!("{}:/data", data.display())]);
        let containers = open(server);
        let users = containers.users(&[data.join("db")]).unwrap();
        assert!(users.len() == 1 && users[0].container.name == name, "{users:?}");
        assert!(containers.users(&[folder.path().join("other")]).unwrap().is_empty());

        let halts = Halts::below(folder.path());
        let replaced = Replaced { paths: vec![data.clone()], places: vec![folder.path().to_owned()] };
        let stop = || halts.stop_for_restore(&containers, &named(&containers, &name), &replaced, &SystemClock).unwrap();
        stop().unwrap().resume().unwrap();
        assert_eq!(server.state(&name), "running");
        drop(stop());
        assert_eq!(server.state(&name), "exited", "half of what is replaced is worse than none");
        assert!(halts.is_noted(&users[0].container) && stop().is_none());
        let right = halts.put_right(&Cancel::new(), &SystemClock, &|told| {
            assert_eq!(*told, replaced);
            Err("half way".to_owned())
        });
        assert_eq!(right.problems, [(name.clone(), "half way".to_owned())]);
        assert_eq!(server.state(&name), "exited");
        let right = halts.put_right(&Cancel::new(), &SystemClock, &|_| Ok(()));
        assert_eq!((right.resumed.concat(), server.state(&name)), (name, "running".to_owned()));
    }
}
