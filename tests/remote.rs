//! Copies on real servers: Ceph's object gateway, Azurite, a chrooted OpenSSH. The built binary brings them into step, mends
//! them and restores from each; stock restic opens what it can reach.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use servers::{AzureServer, Hiccup, Line, Proxy, S3Server, SftpServer};

use crate::support::{Dice, Ran, Site, can, peak_kib, program, run, wait_until, write_secret};
use crate::tree;

/// A site with a copy in a folder and one on each kind of server.
struct Remote {
    site: Site,
    s3: &'static S3Server,
    bucket: String,
    azure: &'static AzureServer,
    container: String,
    /// The way to the S3 server.
    line: Proxy,
    /// The way to Azurite.
    azure_line: Proxy,
    sftp: &'static SftpServer,
    /// The folder of the copy on the SFTP server.
    place: String,
}

const COPIES: [&str; 4] = ["disk", "s3", "azure", "nas"];

impl Remote {
    /// `None` where a server is not there, which was said then.
    fn new() -> Option<Self> {
        Self::with(servers::rgw()?)
    }

    fn with(s3: &'static S3Server) -> Option<Self> {
        let (azure, sftp) = (servers::azurite()?, servers::sftp()?);
        let site = Site::new();
        let (bucket, container) = (s3.bucket(), azure.container());
        let (line, azure_line, place) = (Proxy::to(s3.port), Proxy::to(azure.port), sftp.place());
        let remote = Self { site, s3, bucket, azure, container, line, azure_line, sftp, place };
        remote.configure();
        Some(remote)
    }

    fn configure(&self) {
        let (site, container) = (&self.site, &self.container);
        let [direct, by_line] = [self.azure.port, self.azure_line.port].map(|port| format!(":{port}/"));
        write_secret(&site.path("azure"), &self.azure.connection_string().replace(&direct, &by_line));
        let mut text =
            "version: 1\nstate_dir: state\npassword_file: password\ncopies:\n  disk: { url: repo }\n".to_owned();
        let _ = writeln!(text, "  s3: {{ {} }}", site.s3_copy(self.s3, self.line.port, &self.bucket));
        let _ = writeln!(text, "  azure: {{ url: \"azblob://{container}/app\", connection_string_file: azure }}");
        let (key, hosts) = (self.sftp.key_file(), self.sftp.known_hosts_file());
        let (user, port, place) = (SftpServer::USER, self.sftp.port, &self.place);
        let _ = writeln!(
            text,
            "  nas: {{ url: \"sftp://{user}@127.0.0.1:{port}/{place}\", private_key_file: {key:?}, known_hosts_file: {hosts:?} }}"
        );
        let _ =
            writeln!(text, "stacks:\n  app:\n    sources:\n      files: {{ files: {{ paths: [{:?}] }} }}", site.data());
        std::fs::write(site.config(), text).unwrap();
    }

    /// What the ways to the servers of objects do from now on.
    fn set_lines(&self, line: Line) {
        [&self.line, &self.azure_line].into_iter().for_each(|way| way.set(line));
    }

    /// The copy on the SFTP server, as this machine sees it.
    fn nas(&self) -> PathBuf {
        self.sftp.jail().join(self.place.trim_start_matches('/'))
    }

    fn lifeboat<const N: usize>(&self, arguments: [&str; N]) -> Ran {
        self.site.lifeboat(arguments)
    }

    /// Stock restic on a copy that it can reach.
    fn restic(&self, copy: &str, arguments: &[&str]) -> Ran {
        let mut command = Command::new("restic");
        command.arg("--password-file").arg(self.site.path("password")).arg("--no-cache").args(arguments);
        match copy {
            "s3" => {
                command.args(["-o", "s3.bucket-lookup=path", "--repo"]);
                command.arg(format!("s3:http://127.0.0.1:{}/{}/app", self.s3.port, self.bucket));
                command.env("AWS_ACCESS_KEY_ID", self.s3.access_key);
                command.env("AWS_SECRET_ACCESS_KEY", self.s3.secret_key);
                command.env("AWS_DEFAULT_REGION", S3Server::REGION);
            }
            "nas" => {
                let ssh = format!(
                    "ssh -p {} -i {} -o UserKnownHostsFile={} -o BatchMode=yes {}@127.0.0.1 -s sftp",
                    self.sftp.port,
                    self.sftp.key_file().display(),
                    self.sftp.known_hosts_file().display(),
                    SftpServer::USER
                );
                command.arg("-o").arg(format!("sftp.command={ssh}"));
                command.arg("--repo").arg(format!("sftp:{}@127.0.0.1:{}", SftpServer::USER, self.place));
            }
            _ => drop(command.arg("--repo").arg(self.site.repo())),
        }
        run(&mut command)
    }

    /// The copies that stock restic can read here, but for that on the disk.
    fn for_restic(&self) -> &'static [&'static str] {
        if self.s3.lists_for_restic { &["s3", "nas"] } else { &["nas"] }
    }

    fn packs(&self, copy: &str) -> BTreeSet<String> {
        if copy == "s3" {
            let keys = self.s3.keys(&self.bucket, "app/data/");
            return keys.iter().filter_map(|key| Some(key.rsplit_once('/')?.1.to_owned())).collect();
        }
        self.restic(copy, &["list", "packs", "--no-lock"]).ok().text().lines().map(str::to_owned).collect()
    }
}

/// Writes files of which some change with `round`.
fn write_files(site: &Site, round: u64) {
    for number in 0..4 {
        let seed = if number < 2 { number } else { number + 10 * round };
        let folder = site.data().join(format!("folder-{}", number % 2));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(format!("file-{number}")), Dice::new(seed).bytes(700_000)).unwrap();
    }
}

#[test]
fn four_copies_on_real_servers_are_filled_drilled_mended_forgotten_and_opened_by_restic() {
    servers::rgw().and_then(Remote::with).iter().for_each(a_year_in_short);
}

#[test]
fn the_same_with_the_s3_server_s3s_fs() {
    servers::s3s_fs().and_then(Remote::with).iter().for_each(a_year_in_short);
}

/// Backup, restore, drill, damage, heal, forget and prune.
fn a_year_in_short(remote: &Remote) {
    if !can(program("restic")) {
        return;
    }
    write_files(&remote.site, 1);
    remote.lifeboat(["init"]).ok().says(["created copy s3", "created copy azure", "created copy nas"]);
    let done = remote.lifeboat(["backup", "--json"]).ok().summary();
    for copy in COPIES {
        assert_eq!(done["copies"][copy]["status"], "ok", "{done}");
    }
    write_files(&remote.site, 2);
    remote.lifeboat(["backup"]).ok();

    // The same packs, byte for byte: what is named by its hash and whole is the same.
    let checked = remote.lifeboat(["check", "--read-data", "--json"]).ok().of_type("summary");
    let packs: BTreeSet<u64> = checked.iter().map(|summary| summary["packs_read"].as_u64().unwrap()).collect();
    assert_eq!((checked.len(), packs.len()), (COPIES.len(), 1), "{checked:?}");
    let packs = remote.packs("disk");
    assert!(packs.len() > 2);
    assert_eq!((remote.packs("s3"), remote.packs("nas")), (packs.clone(), packs));
    remote.lifeboat(["drill", "--all-copies"]).ok();
    remote.lifeboat(["copies"]).ok();
    for copy in COPIES {
        let target = remote.site.path(format!("from-{copy}"));
        remote.lifeboat(["restore", "latest", "--copy", copy, "--to", target.to_str().unwrap()]).ok();
        tree::assert_same_on_disk(&remote.site.data(), &remote.site.restored_data(&target));
    }
    for copy in remote.for_restic() {
        remote.restic(copy, &["check", "--read-data"]).ok().says(["no errors were found"]);
    }

    // Damage on three of the servers is mended from the others.
    let victim = remote.packs("s3").into_iter().next().unwrap();
    remote.s3.put(&remote.bucket, &format!("app/data/{}/{victim}", &victim[..2]), b"damaged");
    remote.azure.put(&remote.container, &format!("app/data/{}/{victim}", &victim[..2]), b"damaged");
    let index = remote.s3.keys(&remote.bucket, "app/index/").remove(0);
    remote.s3.put(&remote.bucket, &index, b"damaged");
    std::fs::remove_file(remote.nas().join("data").join(&victim[..2]).join(&victim)).unwrap();
    let snapshot = std::fs::read_dir(remote.nas().join("snapshots")).unwrap().next().unwrap().unwrap().path();
    std::fs::write(snapshot, "damaged").unwrap();
    remote.lifeboat(["check", "--read-data"]).exits(1).says([
        "copy s3 is DAMAGED",
        "copy azure is DAMAGED",
        "copy nas is DAMAGED",
    ]);
    remote.lifeboat(["heal", "--read-data"]).ok().says([
        "copy s3 is whole now",
        "copy azure is whole now",
        "copy nas is whole now",
    ]);
    for copy in remote.for_restic() {
        remote.restic(copy, &["check", "--read-data"]).ok().says(["no errors were found"]);
    }

    remote.lifeboat(["forget", "--keep-last", "1", "--prune"]).ok();
    remote.lifeboat(["prune", "--grace", "0s"]).ok();
    remote.lifeboat(["check", "--read-data"]).ok();
    remote.lifeboat(["sync"]).ok().says(["copy azure is in step"]);
}

#[test]
fn a_server_that_is_away_makes_a_run_partial_and_is_filled_when_it_is_back() {
    let Some(remote) = Remote::new() else { return };
    write_files(&remote.site, 1);
    remote.lifeboat(["init"]).ok();
    remote.line.set(Line::Cut);
    let done = remote.lifeboat(["backup", "--json"]).exits(3).summary();
    assert_eq!((&done["status"], &done["copies"]["s3"]["status"]), (&json!("partial"), &json!("failed")));
    for copy in ["disk", "azure", "nas"] {
        assert_eq!(done["copies"][copy]["status"], "ok", "{done}");
    }
    let error = done["copies"]["s3"]["error"].as_str().unwrap();
    assert!(error.contains("s3://") && !done["copies"]["s3"]["hint"].is_null(), "{done}");
    remote.lifeboat(["status"]).exits(1).says(["copy s3 cannot be reached"]);
    // Every connection breaks again and again, with a pack half sent; what got there counts.
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) {
                for (line, milliseconds) in [(Line::Cut, 100), (Line::Open, 400)] {
                    remote.line.set(line);
                    std::thread::sleep(Duration::from_millis(milliseconds));
                }
            }
        });
        let synced = remote.lifeboat(["sync"]);
        ended.store(true, Ordering::SeqCst);
        synced.ok().says(["copy s3 got 1 snapshot"]);
    });
    remote.lifeboat(["check", "--read-data", "--copy", "s3"]).ok();
}

#[test]
fn requests_that_go_wrong_again_and_again_cost_time_and_nothing_else() {
    let Some(remote) = Remote::new() else { return };
    remote.lifeboat(["init"]).ok();
    for (round, hiccup) in
        [Hiccup::Cut, Hiccup::Answer("503 Slow Down", ""), Hiccup::Answer("500 Oh No", ""), Hiccup::CutAnswer]
            .into_iter()
            .enumerate()
    {
        write_files(&remote.site, round as u64);
        remote.set_lines(Line::EveryNth(6, hiccup));
        let ran = remote.lifeboat(["backup"]);
        remote.set_lines(Line::Open);
        ran.ok();
        for copy in ["s3", "azure"] {
            remote.lifeboat(["check", "--read-data", "--copy", copy]).ok();
        }
    }
    for copy in ["s3", "azure"] {
        assert_eq!(remote.lifeboat(["snapshots", "--copy", copy, "--json"]).ok().of_type("snapshot").len(), 4);
    }
}

#[test]
fn credentials_that_expired_and_a_clock_that_is_off_are_named_with_what_to_do() {
    let Some(remote) = Remote::new() else { return };
    write_files(&remote.site, 1);
    remote.lifeboat(["init"]).ok();
    let expired = "<?xml version=\"1.0\"?><Error><Code>ExpiredToken</Code></Error>";
    let skewed = "<?xml version=\"1.0\"?><Error><Code>RequestTimeTooSkewed</Code></Error>";
    let refused = "<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code></Error>";
    for (line, copy, body, says) in [
        (&remote.line, "s3", expired, "get a new one"),
        (&remote.line, "s3", skewed, "set it right"),
        (&remote.azure_line, "azure", refused, "has expired"),
    ] {
        line.set(Line::EveryNth(1, Hiccup::Answer("403 Forbidden", body)));
        let ran = remote.lifeboat(["backup"]);
        line.set(Line::Open);
        ran.exits(3).says([&*format!("copy {copy} FAILED"), says]);
    }
    remote.lifeboat(["sync"]).ok().says(["copy azure got 1 snapshot"]);
}

#[test]
fn a_copy_at_a_hundredth_of_the_speed_holds_up_no_other_and_a_server_that_dies_loses_nothing() {
    let Some(remote) = Remote::new() else { return };
    write_files(&remote.site, 1);
    remote.lifeboat(["init"]).ok();
    remote.line.set(Line::Slow(100_000));
    let done = std::thread::scope(|scope| {
        let running = scope.spawn(|| remote.lifeboat(["backup", "--json"]));
        let snapshots = || std::fs::read_dir(remote.nas().join("snapshots")).map_or(0, |folder| folder.count());
        wait_until("the fast copies have the snapshot", || snapshots() == 1);
        assert!(!running.is_finished(), "the slow copy is not done yet");
        // Its server goes away for good in the middle of a pack.
        remote.line.set(Line::Cut);
        running.join().unwrap().exits(3).summary()
    });
    assert_eq!((&done["copies"]["nas"]["status"], &done["copies"]["azure"]["status"]), (&json!("ok"), &json!("ok")));
    assert_eq!(done["copies"]["s3"]["status"], "failed");
    remote.line.set(Line::Open);
    remote.lifeboat(["sync"]).ok().says(["copy s3 got 1 snapshot"]);
    remote.lifeboat(["check", "--read-data"]).ok();
}

#[test]
fn the_first_copy_may_die_while_it_is_written_and_the_next_one_is() {
    let Some(remote) = Remote::new() else { return };
    let text = std::fs::read_to_string(remote.site.config()).unwrap();
    let s3_first = text.replace("  app:\n", "  app:\n    copies: [s3, nas, azure]\n");
    std::fs::write(remote.site.config(), s3_first).unwrap();
    remote.lifeboat(["init"]).ok();
    std::fs::write(remote.site.data().join("noise"), Dice::new(7).bytes(60 << 20)).unwrap();
    remote.line.set(Line::Slow(4_000_000));
    let done = std::thread::scope(|scope| {
        let running = scope.spawn(|| remote.lifeboat(["backup", "--json"]));
        wait_until("a pack is there", || !remote.s3.keys(&remote.bucket, "app/data/").is_empty());
        remote.line.set(Line::Cut);
        running.join().unwrap().exits(3).summary()
    });
    let status = |copy: &str| done["copies"][copy]["status"].as_str().unwrap_or_default();
    assert_eq!((status("s3"), status("nas"), status("azure")), ("failed", "ok", "ok"), "{done}");
    assert_eq!(std::fs::read_dir(remote.site.path("state/scratch")).unwrap().count(), 0, "nothing waits here any more");
    remote.line.set(Line::Open);
    remote.lifeboat(["backup", "--json"]).ok();
    assert_eq!(
        remote.lifeboat(["snapshots", "--copy", "s3", "--json"]).ok().of_type("snapshot").len(),
        2,
        "it was filled"
    );
    remote.lifeboat(["check", "--read-data"]).ok();
}

#[test]
fn memory_stays_bounded_with_four_copies_and_slow_uplinks_whatever_the_size() {
    let Some(remote) = Remote::new() else { return };
    let text = std::fs::read_to_string(remote.site.config()).unwrap();
    let limited = text
        .replace(" }\n  azure", ", upload_limit: 8MiB/s }\n  azure")
        .replace(" }\n  nas", ", upload_limit: 8MiB/s }\n  nas");
    let archives = "bundle: { url: bundles, layout: archive, recipients: \
                    [age15w6w29yg9vv22n34d98tsndzuqdxll7g0tgfss3dkg9je0d7tghqj53ja6] }";
    let limited = limited.replace(" }\nstacks", &format!(", upload_limit: 8MiB/s }}\n  {archives}\nstacks"));
    assert_eq!(limited.matches("8MiB/s").count(), 3);
    std::fs::write(remote.site.config(), limited).unwrap();
    remote.lifeboat(["init"]).ok();
    let site = &remote.site;
    let packs = || site.stored("data").iter().map(|pack| pack.metadata().unwrap().len()).sum::<u64>() >> 20;
    // Gives the MiB of packs that it made.
    let assert_bounded = |what: &str| {
        let (before, begun) = (packs(), Instant::now());
        let mebibytes = peak_kib(&mut site.lifeboat_command(["backup"])) >> 10;
        let (added, seconds) = (packs() - before, begun.elapsed().as_secs());
        eprintln!("{what}, {added} MiB of packs: {mebibytes} MiB of memory, {seconds} s");
        assert!(mebibytes < 300, "{what} took {mebibytes} MiB of memory");
        assert!(seconds >= added / 9, "{what}: the lines were not held to 8 MiB/s");
        added
    };
    let noise = site.data().join("noise");
    std::fs::write(&noise, Dice::new(1).bytes(180 << 20)).unwrap();
    assert_bounded("180 MiB of noise");
    // More than three times what memory may hold, and made faster than the lines carry it. It compresses to a tenth, so
    // that they do so in some 12 seconds; no piece of it comes twice, so none is left out.
    std::fs::remove_file(&noise).unwrap();
    write_records(&site.data().join("records"), 1 << 30);
    let added = assert_bounded("1 GiB of records");
    assert!((80..200).contains(&added), "{added} MiB of packs");
}

/// Writes a file of records of 96 bytes, each with a number of its own that does not compress.
fn write_records(file: &Path, bytes: usize) {
    const RECORD: &[u8; 96] =
        b"{\"_id\":\"0123456789abcdef\",\"type\":\"data_record\",\"form\":\"home_visit\",\"reported_date\":1764000000},\n";
    let mut dice = Dice::new(1);
    let mut piece = RECORD.repeat((1 << 20) / 96);
    let mut out = std::fs::File::create(file).unwrap();
    for _ in 0..bytes.div_ceil(piece.len()) {
        for record in piece.chunks_exact_mut(96) {
            let number = dice.next();
            for (at, digit) in record[8..24].iter_mut().enumerate() {
                *digit = b"0123456789abcdef"[(number >> (4 * at)) as usize & 15];
            }
        }
        out.write_all(&piece).unwrap();
    }
}

#[test]
fn what_the_credentials_may_do_is_said_and_a_host_that_may_not_delete_still_backs_up() {
    let Some(remote) = Remote::new() else { return };
    write_files(&remote.site, 1);
    remote.lifeboat(["init"]).ok();
    let tested = remote.lifeboat(["copies", "test"]).ok();
    // Files on the SFTP server are read-only, which their owner may change.
    assert_eq!(tested.text().matches("can delete and overwrite what is stored").count(), 4, "{tested}");
    assert_eq!(tested.text().matches("refuses a second file of the same name").count(), 4, "{tested}");
    let probes: Vec<_> = remote.lifeboat(["copies", "test", "--json", "s3", "nas"]).ok().lines();
    assert_eq!((&probes[0]["copy"], &probes[0]["probe"]["may_delete"]), (&json!("s3"), &json!(true)));
    assert!(probes[1]["probe"]["clock_apart_s"].as_f64().unwrap() < 60.0);

    // Nobody may delete in the bucket any more.
    let bucket = &remote.bucket;
    let policy = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Deny", "Principal": "*",
        "Action": "s3:DeleteObject", "Resource": format!("arn:aws:s3:::{bucket}/*") }] });
    let (status, answer) = remote.s3.request("PUT", &format!("/{bucket}"), "policy=", policy.to_string().as_bytes());
    assert!((200..300).contains(&status), "{answer}");
    remote.lifeboat(["copies", "test", "s3"]).ok().says(["can overwrite what is stored, though not delete it"]);
    for round in 2..4 {
        write_files(&remote.site, round);
        remote.lifeboat(["backup"]).ok();
    }
    remote.lifeboat(["drill", "--copy", "s3"]).ok();
    remote.lifeboat(["forget", "--keep-last", "1", "--copy", "s3"]).exits(1).says(["denies access"]);
}

#[test]
fn a_stack_with_remote_copies_alone_sends_its_packs_twice_and_fetches_none() {
    let Some(remote) = Remote::new() else { return };
    write_files(&remote.site, 1);
    let text = std::fs::read_to_string(remote.site.config()).unwrap();
    std::fs::write(remote.site.config(), text.replace("    sources:", "    copies: [s3, nas]\n    sources:")).unwrap();
    remote.lifeboat(["init"]).ok();
    // Each connection carries little back: no pack could be fetched over this line.
    let before = remote.line.received();
    remote.lifeboat(["backup"]).ok().says(["copy nas got 1 snapshot"]);
    let fetched = remote.line.received() - before;
    assert!(fetched < 200_000, "{fetched} bytes came back, of 2.8 MB of packs");
    assert!(std::fs::read_dir(remote.site.path("state/scratch")).unwrap().next().is_none(), "the spool is gone");
    remote.lifeboat(["check", "--read-data", "--copy", "nas"]).ok();
}

#[test]
fn wrong_credentials_are_named_and_no_secret_is_shown() {
    let Some(remote) = Remote::new() else { return };
    write_files(&remote.site, 1);
    remote.lifeboat(["init"]).ok();
    let secret = "WRONGSECRETWRONGSECRETWRONGSECRETWRONGSEC";
    write_secret(&remote.site.path("s3-secret"), secret);
    let ran = remote.lifeboat(["backup"]).exits(3).says(["copy s3 FAILED", "denies access"]);
    let shown = remote.lifeboat(["config", "show"]).ok();
    // Two letters, which the name of a temporary folder may hold as well.
    let is_key_id = |word: &str| word == remote.s3.access_key;
    for text in [ran.text(), ran.errors(), shown.text()] {
        assert!(!text.contains(secret) && !text.contains(AzureServer::KEY), "{text}");
        assert!(!text.split(|letter: char| !letter.is_alphanumeric()).any(is_key_id), "{text}");
    }
}
