//! Sources out of a real container engine: volumes, files in containers, certificates in either; and containers that were
//! halted when a run was killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use servers::DockerServer;

use crate::support::{PASSWORD, Ran, Running, Site, can, program, run, start, wait_until};

/// `lifeboat` with this engine.
fn command(site: &Site, server: &DockerServer, arguments: &[&str]) -> Command {
    let mut command = site.lifeboat_command(arguments);
    command.env("DOCKER_HOST", server.host());
    command
}

fn lifeboat(site: &Site, server: &DockerServer, arguments: &[&str]) -> Ran {
    run(&mut command(site, server, arguments))
}

/// Runs a container as version 2 of Compose does, with a volume at `/data`. Gives its name.
fn service(server: &DockerServer, project: &str, service: &str, volume: &str) -> String {
    let name = format!("{project}-{service}-1");
    let (of_project, of_service) =
        (format!("com.docker.compose.project={project}"), format!("com.docker.compose.service={service}"));
    let mount = format!("{volume}:/data");
    server.run(&name, &["--label", &of_project, "--label", &of_service, "-v", &mount]);
    name
}

fn restored(site: &Site, server: &DockerServer) -> PathBuf {
    let target = site.path("restored");
    lifeboat(site, server, &["restore", "latest", "--to", target.to_str().unwrap()]).ok();
    target
}

/// The file called `name`, wherever it lies below `folder`.
fn found(folder: &Path, name: &str) -> PathBuf {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap() == name {
                return path;
            }
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            }
        }
    }
    panic!("{name} was not restored");
}

#[test]
fn volumes_and_files_of_containers_are_backed_up_drilled_and_restored() {
    for server in servers::engines() {
        let site = Site::initialised();
        let (project, volume) = (server.name(), server.name());
        server.docker(&["volume", "create", "--label", "keep=yes", &volume]);
        let name = service(server, &project, "web", &volume);
        let script = "mkdir -p /etc/web/sites; echo own >/etc/web/sites/a; echo no >/etc/web/x.log; echo vol >/data/b; \
                      ln -s /etc/web /web; ln -s sites/a /etc/web/link";
        server.docker(&["exec", &name, "/bin/sh", "-c", script]);
        site.configure(&format!(
            "data: {{ volume: {{ name: {volume} }} }}\n\
             web: {{ container-files: {{ service: web, project: {project}, paths: [/web, /data], exclude: '*.log' }} }}\n\
             gone: {{ container-files: {{ container: {project}_web_1, paths: /etc/web/sites }} }}"
        ));
        for state in ["running", "exited"] {
            assert_eq!(server.state(&name), state);
            let summary = lifeboat(&site, server, &["backup", "--json"]).ok().summary();
            let facts = &summary["sources"]["data"]["facts"]["volume"];
            assert_eq!(
                (&facts["name"], &facts["labels"]["keep"]),
                (&volume.clone().into(), &"yes".into()),
                "{summary}"
            );
            let facts = &summary["sources"]["web"]["facts"]["container"];
            assert_eq!((&facts["name"], &facts["service"]), (&name.clone().into(), &"web".into()), "{summary}");
            lifeboat(&site, server, &["drill"]).ok();
            let target = restored(&site, server);
            assert_eq!(fs::read_to_string(found(&target.join("data"), "b")).unwrap(), "vol\n");
            let web = target.join("web");
            match server.is_podman {
                // Podman gives what the link leads to under the link's name.
                true => assert_eq!(fs::read_to_string(web.join("web/sites/a")).unwrap(), "own\n"),
                false => assert_eq!(fs::read_link(web.join("web")).unwrap(), Path::new("/etc/web")),
            }
            assert_eq!(fs::read_link(web.join("etc/web/link")).unwrap(), Path::new("sites/a"));
            assert_eq!(fs::read_to_string(web.join("etc/web/sites/a")).unwrap(), "own\n");
            assert_eq!(fs::read_to_string(web.join("data/b")).unwrap(), "vol\n");
            assert!(!web.join("etc/web/x.log").exists(), "it is left out");
            assert_eq!(fs::read_to_string(target.join("gone/etc/web/sites/a")).unwrap(), "own\n");
            fs::remove_dir_all(target).unwrap();
            if state == "running" {
                server.docker(&["kill", &name]);
                server.docker(&["wait", &name]);
            }
        }
        // A restore in place must not take paths of a container for paths of the host.
        let restore = lifeboat(&site, server, &["restore", "latest:web", "--in-place", "--dry-run"]);
        assert!(!Path::new("/etc/web").exists() && !restore.text().contains("/etc/web/sites"), "{restore}");
        lifeboat(&site, server, &["backup", "--dry-run"]).ok();
    }
}

#[test]
fn certificates_are_found_in_volumes_and_in_containers() {
    let Some(server) = servers::docker() else { return };
    if !can(program("openssl")) {
        return;
    }
    let site = Site::initialised();
    let (project, volume) = (server.name(), server.name());
    let name = service(server, &project, "nginx", &volume);
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj"]);
    openssl.args(["/CN=shop.example", "-days", "90", "-keyout"]).arg(site.data().join("key.pem"));
    run(openssl.arg("-out").arg(site.data().join("cert.pem"))).ok();
    server.docker(&["exec", &name, "/bin/mkdir", "-p", "/etc/nginx/private", "/data/live"]);
    for folder in ["/etc/nginx/private", "/data/live"] {
        for file in ["cert.pem", "key.pem"] {
            let from = site.data().join(file);
            server.docker(&["cp", from.to_str().unwrap(), &format!("{name}:{folder}/{file}")]);
        }
    }
    site.configure(&format!(
        "one: {{ tls: {{ from: '{project}/nginx:/etc/nginx/private' }} }}\ntwo: {{ tls: {{ from: 'volume:{volume}/live' }} }}"
    ));
    let summary = lifeboat(&site, server, &["backup", "--json"]).ok().summary();
    for source in ["one", "two"] {
        let facts = summary["sources"][source]["facts"].to_string();
        assert!(facts.contains("\"matches\"") && facts.contains("CN=shop.example"), "{facts}");
    }
    lifeboat(&site, server, &["drill"]).ok();
    let target = restored(&site, server);
    let key = fs::read(site.data().join("key.pem")).unwrap();
    assert_eq!(fs::read(target.join("one/etc/nginx/private/key.pem")).unwrap(), key);
    assert_eq!(fs::read(found(&target.join("two"), "key.pem")).unwrap(), key);
}

#[test]
fn a_compose_project_is_backed_up_with_what_its_containers_really_run() {
    let Some(server) = servers::docker() else { return };
    let site = Site::initialised();
    let (project, volume) = (server.name(), server.name());
    let name = service(server, &project, "web", &volume);
    let env = format!("{project}-env-1");
    let label = format!("com.docker.compose.project={project}");
    server.run(&env, &["--label", &label, "-e", "TOKEN=hunter2"]);
    let text = format!("name: {project}\nservices: {{web: {{image: 'busybox:newer'}}}}\n");
    fs::write(site.data().join("compose.yaml"), text).unwrap();
    site.configure("compose: { compose: { files: data } }");
    let backup = lifeboat(&site, server, &["backup", "--json"]).ok();
    assert!(!backup.text().contains("hunter2"), "what is shown holds no environment");
    let fact = &backup.summary()["sources"]["compose"]["facts"]["containers"][&name];
    assert_eq!((&fact["service"], &fact["image"]), (&"web".into(), &DockerServer::IMAGE.into()), "{backup}");
    assert!(fact["image_id"].as_str().unwrap().starts_with("sha256:"), "{backup}");
    let again = lifeboat(&site, server, &["backup", "--json"]).ok().summary();
    let facts = |summary: &serde_json::Value| summary["sources"]["compose"]["facts"].clone();
    assert_eq!(facts(&again), facts(&backup.summary()), "nothing in it changes by itself");
    lifeboat(&site, server, &["drill"]).ok();
    let file = restored(&site, server).join("compose/lifeboat-containers.json");
    // Taken down, it lacks them; that is said when it comes to be so.
    let told = "knows no container of it any more";
    server.docker(&["rm", "--force", &name, &env]);
    lifeboat(&site, server, &["backup"]).ok().says([told]);
    assert!(!lifeboat(&site, server, &["backup"]).ok().to_string().contains(told));
    let definitions: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    assert_eq!(definitions[&env]["Config"]["Env"][0], "TOKEN=hunter2");
    assert!(definitions[&name]["State"].is_null(), "it changes by itself");
    use std::os::unix::fs::PermissionsExt as _;
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn containers_halted_for_a_backup_that_was_killed_run_again_with_the_next_command() {
    for server in servers::engines() {
        for (halt, halted) in [("stop", "exited"), ("pause", "paused")] {
            let site = Site::initialised();
            let (project, volume) = (server.name(), server.name());
            let name = service(server, &project, "db", &volume);
            let data = format!("data: {{ volume: {{ name: {volume}, halt: {halt} }} }}");
            // As long as the command runs, so does the backup; and it runs no longer than there is a site.
            fs::write(site.path("slow"), "").unwrap();
            let slow = "while [ -e slow ]; do sleep 0.1; done";
            site.configure(&format!("slow: {{ command: {{ run: '{slow}' }} }}\n{data}"));
            let mut backup: Running = start(&mut command(&site, server, &["backup"]));
            wait_until("the container is halted", || server.state(&name) == halted);
            // Another run leaves alone what is halted for a reason.
            lifeboat(&site, server, &["snapshots"]).ok();
            assert_eq!(server.state(&name), halted);
            // All at once, as by a reboot: what keeps watch would let the container go on.
            for guard in crate::freeze::guards(&site) {
                rustix::process::kill_process(guard, rustix::process::Signal::KILL).unwrap();
            }
            backup.0.kill().unwrap();
            backup.0.wait().unwrap();
            assert_eq!(server.state(&name), halted);
            lifeboat(&site, server, &["snapshots"]).ok().says([&*format!("container {name}: was left halted")]);
            assert_eq!(server.state(&name), "running");
            // Where the run ends as it should, nothing is left to do.
            site.configure(&data);
            lifeboat(&site, server, &["backup"]).ok();
            assert_eq!(server.state(&name), "running");
            assert_eq!(fs::read_dir(site.path("state/halted")).unwrap().count(), 0);
        }
    }
}

#[test]
fn without_an_engine_it_is_said_what_to_do_and_paths_still_work() {
    let site = Site::initialised();
    fs::write(site.data().join("a"), "a").unwrap();
    let nowhere = format!("unix://{}", site.path("no.sock").display());
    site.configure("data: { volume: { name: shop_data } }\nfiles: { files: { paths: [data] } }");
    let backup = |host: &str| run(site.lifeboat_command(["backup"]).env("DOCKER_HOST", host));
    backup(&nowhere).exits(1).says(["volume shop_data", "no container engine answers at", "start Docker or Podman"]);
    let remote = backup("ssh://me:hunter2@host").exits(1).says(["only sockets of this machine are used"]);
    assert!(!remote.errors().contains("hunter2") && !remote.errors().contains(PASSWORD));
    site.lifeboat(["backup", "--source", "files"]).ok();
}
