//! The keys of the JSON that scripts read: added freely, never taken away or renamed without a word in the changes.

use crate::support::Site;

/// Commands, each with the keys of its summary (of its error, where it fails).
const PROMISED: [&str; 21] = [
    "init: config created password repository status",
    "backup: bytes_added bytes_read bytes_source copies duration_s files_changed files_new files_unmodified hooks parent problems snapshot_id sources stack started_at status",
    "backup --dry-run: dry_run sources stack status",
    "snapshots: snapshots status",
    "ls: entries status",
    "find a: matches snapshots status",
    "diff latest latest: added bytes_added bytes_removed changed metadata removed status",
    "drill: bytes_fetched copy lacked left_out level receipt remarks rpo_s rto_s snapshot_id sources stack status steps",
    "check: affected bytes_read copy couchdb_documents couchdb_files findings packs packs_read snapshots status unused_packs",
    "heal: blobs_dropped blobs_repacked bytes_moved copy damage incomplete index_files_replaced left packs_added packs_damaged packs_missing packs_moved packs_removed packs_replaced packs_unread read_data receipts_removed snapshots_replaced status unhealed",
    "sync: code hint message",
    "forget: copy dry_run removed status",
    "prune: bytes_condemned bytes_freed bytes_unused bytes_used copy packs_condemned packs_deleted packs_repacked packs_taken_back status",
    "prune --dry-run: bytes_out_of_index bytes_unused bytes_used copy dry_run packs_out_of_index packs_to_condemn packs_to_repack status",
    "key list: copy damaged keys status",
    "copies: bad copies stacks status",
    "copies test: status",
    "status: stacks status",
    "config check: failed status",
    "restore latest --to restored: bytes bytes_fetched copy dirs duration_s files left_out_at_backup problems snapshot_id status target",
    "restore latest --in-place --dry-run: bytes_staged changes dry_run extras_left findings identical skipped snapshot_id status",
];

#[test]
fn the_keys_of_every_summary_are_what_scripts_were_promised() {
    let site = Site::new();
    std::fs::write(site.data().join("a"), "one").unwrap();
    for promised in PROMISED {
        let (command, _) = promised.split_once(':').unwrap();
        let ran = site.lifeboat(command.split(' ').chain(["--json"]));
        let last = ran.lines().pop().unwrap();
        let keys = last.as_object().unwrap().keys().map(String::as_str).filter(|key| *key != "message_type");
        assert_eq!(format!("{command}: {}", keys.collect::<Vec<_>>().join(" ")), promised);
    }
}

#[test]
fn what_a_sync_says_of_each_copy_is_what_scripts_were_promised() {
    let site = Site::initialised();
    let text = std::fs::read_to_string(site.config()).unwrap();
    std::fs::write(site.config(), text.replace("stacks:", "  nas: { url: nas }\nstacks:")).unwrap();
    site.lifeboat(["init"]).ok();
    site.backup();
    let done = site.lifeboat(["sync", "--json"]).ok().summary();
    for copy in ["disk", "nas"] {
        let keys: Vec<&String> = done["copies"][copy].as_object().unwrap().keys().collect();
        let promised = "blobs_repacked bytes_added damage incomplete left packs_moved packs_there snapshots status";
        assert_eq!(keys, promised.split(' ').collect::<Vec<_>>());
    }
    std::fs::rename(site.path("nas"), site.path("nas-away")).unwrap();
    let partial = site.lifeboat(["sync", "--json"]).exits(3).summary();
    assert_eq!(partial["status"], "partial");
    assert!(partial["copies"]["nas"]["error"].is_string() && partial["copies"]["nas"]["hint"].is_string(), "{partial}");
}
