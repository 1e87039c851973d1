//! What the built binary asks of a bucket, counted on the line to Ceph's gateway: requests cost money and time, so their
//! number is part of what is promised (docs/design/sync.md, docs/design/cache.md).

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde_json::Value;
use servers::{Proxy, S3Server};

use crate::support::{Dice, Site};
use crate::tree;

/// A site with a copy on the disk and one in a bucket.
struct Counted {
    site: Site,
    line: Proxy,
    s3: &'static S3Server,
    bucket: String,
}

const DISK: &str = "disk: { url: repo }";

/// How often each thing was asked, such as `put packs`.
type Asked = BTreeMap<String, usize>;

impl Counted {
    fn new() -> Option<Self> {
        let s3 = servers::rgw()?;
        let site = Site::new_below(Path::new(env!("CARGO_TARGET_TMPDIR")));
        Some(Self { site, line: Proxy::to(s3.port), s3, bucket: s3.bucket() })
    }

    /// The copies are these, in this order.
    fn configure(&self, copies: &[&str]) {
        let in_bucket = format!("s3: {{ {} }}", self.site.s3_copy(self.s3, self.line.port, &self.bucket));
        let copies: Vec<&str> = copies.iter().map(|copy| if *copy == "s3" { &*in_bucket } else { copy }).collect();
        self.site.configure_copies(&copies);
    }

    /// Backs up 20 MB that were not there before, to the disk alone.
    fn back_up_to_disk(&self, seed: u64) {
        self.configure(&[DISK]);
        std::fs::write(self.site.data().join(format!("noise-{seed}")), Dice::new(seed).bytes(20_000_000)).unwrap();
        self.site.backup();
        self.configure(&[DISK, "s3"]);
    }

    /// Runs a command that has to work. Gives its summary and what it asked of the bucket.
    fn ask(&self, arguments: &[&str]) -> (Value, Asked) {
        self.line.take_requests();
        let summary = self.site.lifeboat([arguments, &["--json"]].concat()).ok().summary();
        (summary, self.tally(&self.line.take_requests()))
    }

    fn tally(&self, requests: &[String]) -> Asked {
        let mut asked = Asked::new();
        requests.iter().for_each(|request| *asked.entry(self.kind(request)).or_default() += 1);
        asked
    }

    /// When each folder on the way to the data changed last: their times are in a snapshot, too.
    fn times_on_the_way(&self) -> Vec<(i64, i64)> {
        let times = |folder: &Path| folder.metadata().map(|found| (found.ctime(), found.ctime_nsec())).unwrap();
        self.site.data().ancestors().skip(1).map(times).collect()
    }

    /// Trees of a snapshot: its root, the source's folder, and one for each name in the path of the data.
    fn trees(&self) -> usize {
        self.site.data().components().count() + 1
    }

    /// A request in words.
    fn kind(&self, request: &str) -> String {
        let (method, address) = request.split_once(' ').unwrap();
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let (verb, path) = match query.split('&').find_map(|part| part.strip_prefix("prefix=")) {
            Some(prefix) => ("list", prefix.replace("%2F", "/")),
            None => (method, path.trim_start_matches(&format!("/{}/", self.bucket)).to_owned()),
        };
        let path = path.strip_prefix("app/").unwrap_or_else(|| panic!("what is {request}?"));
        let folder = path.trim_start_matches("lifeboat/").split('/').next().unwrap_or_default();
        format!("{} {}", verb.to_lowercase(), if folder == "data" { "packs" } else { folder })
    }
}

fn expected(asked: &[(&str, usize)]) -> Asked {
    asked.iter().filter(|(_, times)| *times > 0).map(|(what, times)| ((*what).to_owned(), *times)).collect()
}

/// What opening a copy costs.
const OPENING: [(&str, usize); 3] = [("get config", 1), ("list keys", 1), ("get keys", 1)];
/// What a shared lock costs. It is among those that are read after it is put; and a bucket does not say whether there was what
/// it deletes, so it is looked for.
const LOCK: [(&str, usize); 5] =
    [("list locks", 2), ("put locks", 1), ("get locks", 1), ("head locks", 1), ("delete locks", 1)];

#[test]
fn a_sync_asks_a_bucket_for_what_the_design_gives_and_no_more() {
    let Some(counted) = Counted::new() else { return };
    counted.configure(&[DISK]);
    counted.site.lifeboat(["init"]).ok();
    counted.back_up_to_disk(1);
    counted.site.lifeboat(["init"]).ok();
    let moved = |summary: &Value| {
        let copy = &summary["copies"]["s3"];
        assert_eq!((copy["status"].as_str(), copy["snapshots"].as_array().map(Vec::len)), (Some("ok"), Some(1)));
        let packs = copy["packs_moved"].as_u64().unwrap() as usize;
        assert!((3..64).contains(&packs), "{summary}");
        packs
    };

    // A cold copy: it is listed, and gets each pack, an index and the snapshot once.
    let (summary, asked) = counted.ask(&["sync"]);
    let writes =
        |packs| [("list index", 1), ("list packs", 1), ("put packs", packs), ("put index", 1), ("put snapshots", 1)];
    let cold = [&OPENING[..], &LOCK, &writes(moved(&summary)), &[("list snapshots", 2)]].concat();
    assert_eq!(asked, expected(&cold));

    // One in step: its snapshots are read, to see what it has that others lack. No lock, no index, no pack.
    let (summary, asked) = counted.ask(&["sync"]);
    assert_eq!(summary["copies"]["s3"]["packs_moved"], 0);
    let in_step = [&OPENING[..], &[("list snapshots", 2), ("get snapshots", 1)]].concat();
    assert_eq!(asked, expected(&in_step));

    // One that lacks a snapshot: what that needs, and its index.
    counted.back_up_to_disk(2);
    let (summary, asked) = counted.ask(&["sync"]);
    let lacking = [
        &OPENING[..],
        &LOCK,
        &writes(moved(&summary)),
        &[("list snapshots", 2), ("get snapshots", 1), ("get index", 1)],
    ]
    .concat();
    assert_eq!(asked, expected(&lacking));

    // The other way: the disk was lost, and all comes from the bucket, packs whole and each tree by itself.
    std::fs::remove_dir_all(counted.site.repo()).unwrap();
    counted.site.lifeboat(["init", "--anew", "disk"]).ok();
    let (summary, asked) = counted.ask(&["sync"]);
    let copy = &summary["copies"]["disk"];
    assert_eq!(copy["snapshots"].as_array().map(Vec::len), Some(2), "{summary}");
    let packs = copy["packs_moved"].as_u64().unwrap() as usize;
    let source = [
        &OPENING[..],
        &LOCK,
        &[("list snapshots", 2), ("get snapshots", 4), ("list index", 1), ("get index", 2)],
        &[("list packs", 1), ("get packs", packs + 2 * counted.trees())],
    ]
    .concat();
    assert_eq!(asked, expected(&source));
}

#[test]
fn a_backup_into_a_bucket_and_a_restore_ask_for_what_the_design_gives_and_no_more() {
    let Some(counted) = Counted::new() else { return };
    counted.configure(&["s3"]);
    counted.site.lifeboat(["init"]).ok();
    let packs = || counted.s3.keys(&counted.bucket, "app/data/").len();
    // Of 20 MB that were not there before. Opened, it is five listings (locks are listed twice), and puts.
    let listings = [("list index", 1), ("list packs", 1), ("list snapshots", 1)];
    for (seed, manifests) in [(1, 0), (2, 1)] {
        std::fs::write(counted.site.data().join(format!("noise-{seed}")), Dice::new(seed).bytes(20_000_000)).unwrap();
        let before = packs();
        let (_, asked) = counted.ask(&["backup"]);
        let added = packs() - before;
        assert!((3..64).contains(&added), "{added} packs");
        let puts = [("put packs", added), ("put index", 1), ("put snapshots", 1), ("get packs", manifests)];
        assert_eq!(asked, expected(&[&OPENING[..], &LOCK, &listings, &puts].concat()));
    }
    // Nothing has changed: one snapshot. It is the one after a backup since which nobody else wrote on the way.
    let asked = std::iter::repeat_with(|| {
        counted.site.backup();
        let times = counted.times_on_the_way();
        let (_, asked) = counted.ask(&["backup"]);
        (times == counted.times_on_the_way()).then_some(asked)
    });
    let asked = asked.take(20).flatten().next().expect("something keeps writing into a folder on the way to the data");
    assert_eq!(asked, expected(&[&OPENING[..], &LOCK, &listings, &[("put snapshots", 1), ("get packs", 1)]].concat()));
    let stored = |kind: &str| counted.s3.keys(&counted.bucket, &format!("app/{kind}/")).len();
    let (snapshots, indexes) = (stored("snapshots"), stored("index"));

    let target = counted.site.path("target");
    counted.line.take_requests();
    counted.site.lifeboat(["restore", "latest", "--to", target.to_str().unwrap()]).ok();
    let requests = counted.line.take_requests();
    tree::assert_same_on_disk(&counted.site.data(), &counted.site.restored_data(&target));
    let mut asked = counted.tally(&requests);
    let pack_gets = asked.remove("get packs").unwrap();
    let found = [
        ("list snapshots", 1),
        ("get snapshots", snapshots),
        ("list receipts", 1),
        ("list index", 1),
        ("get index", indexes),
    ];
    assert_eq!(asked, expected(&[&OPENING[..], &found].concat()));
    // Each pack of data once, and that of the manifest before, to see what there is. Each tree comes for each of three passes,
    // and the root for the manifest.
    let mut times = BTreeMap::<&str, usize>::new();
    for request in requests.iter().filter(|request| request.contains("/app/data/")) {
        *times.entry(request).or_default() += 1;
    }
    let mut times: Vec<usize> = times.into_values().collect();
    times.sort_unstable();
    let (trees, manifest) = (times.pop().unwrap(), times.pop().unwrap());
    assert_eq!((trees, manifest), (3 * counted.trees() + 1, 2));
    assert!(times.len() > 3 && times.iter().all(|times| *times == 1), "{times:?}");
    assert_eq!(pack_gets, trees + manifest + times.len());
}
