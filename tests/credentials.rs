//! Credentials that lie in no file of the configuration: what commands print, and what an ssh-agent holds. The built binary
//! backs up, brings copies into step and restores with them, against real servers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use servers::{AzureServer, Line, MetadataService, Proxy, S3Server, SftpServer};

use crate::secrets::{assert_none_below, assert_shows_none, watch};
use crate::support::{Dice, Running, Site, can, program, run, start, wait_until, write_secret};
use crate::tree;

/// What the command line of each process that was seen says, its words apart.
fn as_text(seen: &BTreeSet<Vec<u8>>) -> String {
    seen.iter().map(|line| String::from_utf8_lossy(line).replace('\0', " ") + "\n").collect()
}

#[test]
fn credentials_that_commands_print_open_buckets_and_show_nowhere() {
    // Of its secret, eight letters, one can say that it shows nowhere; Ceph's gateway has two.
    let (Some(s3), Some(azure)) = (servers::s3s_fs(), servers::azurite()) else { return };
    let (bucket, container, line) = (s3.bucket(), azure.container(), Proxy::to(s3.port));
    let site = Site::new();
    // They linger, so that the process list can be read while their output is on its way.
    let in_bucket = site
        .s3_copy(s3, line.port, &bucket)
        .replace("id_file: s3-id", "id_command: \"cat s3-id\"")
        .replace("key_file: s3-secret", "key_command: \"echo noise >&2; cat s3-secret; sleep 0.2\"");
    let in_container =
        format!("url: \"azblob://{container}/app\", connection_string_command: \"cat azure; sleep 0.2\"");
    write_secret(&site.path("azure"), &azure.connection_string());
    site.configure_copies(&[
        "disk: { url: repo }",
        &format!("s3: {{ {in_bucket} }}"),
        &format!("azure: {{ {in_container} }}"),
    ]);
    let config = std::fs::read_to_string(site.config()).unwrap();
    assert!(config.matches("_command: ").count() == 3 && config.matches("_file: ").count() == 1, "{config}");
    std::fs::write(site.data().join("a"), Dice::new(1).bytes(300_000)).unwrap();

    let secrets = [s3.secret_key, AzureServer::KEY];
    let mut seen = BTreeSet::new();
    let mut ran = |arguments: &[&str], code: i32| {
        let (ran, processes) = watch(&mut site.lifeboat_command(arguments));
        for (bytes, wherein) in [(&ran.stdout, "standard output"), (&ran.stderr, "standard error")] {
            assert_shows_none(&secrets, bytes, &format!("{wherein} of {arguments:?}"));
        }
        seen.extend(processes);
        ran.exits(code)
    };
    ran(&["init", "--verbose"], 0).says(["created copy s3", "created copy azure"]);
    ran(&["config", "show"], 0);
    ran(&["config", "show", "--json"], 0);
    ran(&["config", "check", "--verbose"], 0).says(["copy s3: opened", "copy azure: opened"]);
    ran(&["copies", "test", "--verbose"], 0);
    ran(&["backup", "--verbose"], 0);
    // One that fails says more than one that goes well.
    line.set(Line::Cut);
    std::fs::write(site.data().join("b"), Dice::new(2).bytes(300_000)).unwrap();
    ran(&["backup", "--json", "--verbose"], 3);
    line.set(Line::Open);
    ran(&["sync", "--verbose"], 0).says(["copy s3 got 1 snapshot"]);
    ran(&["status", "--json"], 3);
    for copy in ["s3", "azure"] {
        let target = format!("from-{copy}");
        ran(&["restore", "latest", "--copy", copy, "--to", &target, "--verbose"], 0);
        tree::assert_same_on_disk(&site.data(), &site.restored_data(&site.path(target)));
        ran(&["cat", "latest:RESTORE.md", "--copy", copy], 0);
    }

    for line in &seen {
        assert_shows_none(&secrets, line, "the process list");
    }
    for command in ["cat s3-secret", "cat azure"] {
        assert!(as_text(&seen).contains(command), "the watcher saw no {command}: {}", as_text(&seen));
    }
    // The copy on the disk, state, what was restored, the configuration: everything but what the commands print.
    let except = ["s3-id", "s3-secret", "azure"].map(|name| site.path(name));
    assert!(site.path("state").exists() && site.path("from-s3/RESTORE.md").exists());
    assert_none_below(&secrets, &site.path(""), &except);
}

/// An ssh-agent that holds one key.
struct Agent {
    socket: PathBuf,
    _running: Running,
}

impl Agent {
    fn with(key: &Path, socket: PathBuf) -> Self {
        let mut command = Command::new("ssh-agent");
        command.arg("-D").arg("-a").arg(&socket);
        let agent = Self { _running: start(&mut command), socket };
        wait_until("the agent listens", || agent.socket.exists());
        run(agent.known_to(Command::new("ssh-add").arg("-q").arg(key))).ok();
        agent
    }

    fn known_to<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("SSH_AUTH_SOCK", &self.socket)
    }
}

#[test]
fn a_key_that_only_an_ssh_agent_holds_opens_an_sftp_server() {
    let Some(sftp) = servers::sftp() else { return };
    if !can(program("ssh-agent")) || !can(program("ssh-add")) {
        return;
    }
    let site = Site::new();
    let (user, port, place, hosts) = (SftpServer::USER, sftp.port, sftp.place(), sftp.known_hosts_file());
    site.configure_copies(&[&format!(
        "nas: {{ url: \"sftp://{user}@127.0.0.1:{port}/{place}\", known_hosts_file: {hosts:?} }}"
    )]);
    std::fs::write(site.data().join("a"), Dice::new(1).bytes(2_000_000)).unwrap();
    let refused = |arguments: &[&str]| site.lifeboat(arguments).exits(1).says(["log in", "Permission denied"]);
    refused(&["init"]);

    let agent = Agent::with(&sftp.key_file(), site.path("agent"));
    let mut seen = BTreeSet::new();
    for arguments in [
        &["init"][..],
        &["copies", "test"],
        &["backup"],
        &["check", "--read-data"],
        &["restore", "latest", "--to", "target"],
    ] {
        let (ran, processes) = watch(agent.known_to(&mut site.lifeboat_command(arguments)));
        ran.ok();
        seen.extend(processes);
    }
    tree::assert_same_on_disk(&site.data(), &site.restored_data(&site.path("target")));
    let seen = as_text(&seen);
    assert!(seen.contains("BatchMode=yes") && !seen.contains(" -i "), "ssh was given a key: {seen}");

    // Without the agent, nothing else opens it.
    drop(agent);
    refused(&["snapshots"]);
    refused(&["backup"]);
}

/// Backs up to a copy that what the platform says opens, and restores from it.
fn backs_up_and_restores(site: &Site, environment: &[(&str, String)], service: &MetadataService) {
    std::fs::write(site.data().join("a"), Dice::new(1).bytes(2_000_000)).unwrap();
    let mut before = 0;
    for arguments in [
        &["init", "--verbose"][..],
        &["copies", "test", "--verbose"],
        &["backup", "--json", "--verbose"],
        &["check", "--read-data"],
        &["config", "show"],
        &["restore", "latest", "--to", "target"],
    ] {
        let mut command = site.lifeboat_command(arguments);
        let (ran, processes) = watch(command.envs(environment.iter().map(|(name, value)| (name, value))));
        let given = service.given();
        let secrets: Vec<&str> = given.iter().map(String::as_str).collect();
        for (bytes, wherein) in [(&ran.stdout, "standard output"), (&ran.stderr, "standard error")] {
            assert_shows_none(&secrets, bytes, &format!("{wherein} of {arguments:?}"));
        }
        for line in &processes {
            assert_shows_none(&secrets, line, "the process list");
        }
        ran.ok();
        assert!(given.len() > before || arguments[0] == "config", "{arguments:?} asked the platform for nothing");
        before = given.len();
    }
    tree::assert_same_on_disk(&site.data(), &site.restored_data(&site.path("target")));
    let given = service.given();
    let secrets: Vec<&str> = given.iter().map(String::as_str).collect();
    assert_none_below(&secrets, &site.path(""), &[]);
}

/// A site with one copy, in a new bucket of Ceph's gateway, whose configuration names no credentials.
fn site_without_credentials(server: &S3Server) -> Site {
    let site = Site::new();
    let (bucket, port, region) = (server.bucket(), server.port, S3Server::REGION);
    site.configure_copies(&[&format!(
        "s3: {{ url: \"s3://{bucket}/app\", endpoint: \"http://127.0.0.1:{port}\", region: {region} }}"
    )]);
    site
}

#[test]
fn the_role_of_an_instance_opens_a_bucket() {
    let Some(server) = servers::rgw_with_a_role() else { return };
    let service = MetadataService::with_role(|| server.role_credentials());
    let environment = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.endpoint())];
    backs_up_and_restores(&site_without_credentials(server), &environment, &service);
}

#[test]
fn the_role_of_a_container_opens_a_bucket() {
    let Some(server) = servers::rgw_with_a_role() else { return };
    let service = MetadataService::with_role(|| server.role_credentials());
    let environment = [
        ("AWS_CONTAINER_CREDENTIALS_FULL_URI", service.endpoint() + MetadataService::CONTAINER_PATH),
        ("AWS_CONTAINER_AUTHORIZATION_TOKEN", MetadataService::AUTHORIZATION.to_owned()),
    ];
    backs_up_and_restores(&site_without_credentials(server), &environment, &service);
}

#[test]
fn credentials_of_a_role_are_asked_for_again_when_their_time_is_over() {
    let Some(server) = servers::rgw_with_a_role() else { return };
    // Their time is over two minutes before they end, and so before the run does.
    let service = MetadataService::with_role(|| {
        let mut credentials = server.role_credentials();
        #[expect(clippy::disallowed_methods, reason = "a server takes no simulated time")]
        let ends = jiff::Timestamp::now() + std::time::Duration::from_secs(2 * 60 + 2);
        credentials.expires = ends.to_string();
        credentials
    });
    let site = site_without_credentials(server);
    let config = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), config.replace("region: us", "upload_limit: 200kB/s, region: us")).unwrap();
    let environment = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.endpoint())];
    run(site.lifeboat_command(["init"]).envs(environment.clone())).ok();
    std::fs::write(site.data().join("a"), Dice::new(1).bytes(2_000_000)).unwrap();
    let before = service.given().len();
    run(site.lifeboat_command(["backup"]).envs(environment)).ok();
    let asked = (service.given().len() - before) / 2;
    assert!(asked > 1, "a run of ten seconds asked {asked} times");
}

#[test]
fn a_role_whose_time_is_over_is_told_as_a_matter_of_credentials() {
    let Some(server) = servers::rgw_with_a_role() else { return };
    let service = MetadataService::with_role(|| {
        let mut credentials = server.role_credentials();
        credentials.expires = "2026-01-01T00:00:00Z".to_owned();
        credentials
    });
    let site = site_without_credentials(server);
    let environment = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", service.endpoint())];
    run(site.lifeboat_command(["init"]).envs(environment)).exits(1).says(["gives any that are still good"]);
    // Nor is there anything where the platform gives nothing.
    let nobody = [("AWS_EC2_METADATA_DISABLED", "true")];
    run(site.lifeboat_command(["init"]).envs(nobody)).exits(1).says(["no credentials: none are configured"]);
}

#[test]
fn a_managed_identity_opens_a_container() {
    let Some(server) = servers::azurite_tls() else { return };
    let service = MetadataService::with_identity(AzureServer::token);
    let site = Site::new();
    site.configure_copies(&[&format!(
        "azure: {{ url: \"azblob://{}/app\", endpoint: {:?}, account: {} }}",
        server.container_behind_tls(),
        server.endpoint(),
        AzureServer::ACCOUNT
    )]);
    let certificate = server.certificate.as_ref().unwrap().display().to_string();
    let environment =
        [("AZURE_IMDS_ENDPOINT", service.endpoint() + MetadataService::AZURE_PATH), ("SSL_CERT_FILE", certificate)];
    backs_up_and_restores(&site, &environment, &service);
}
