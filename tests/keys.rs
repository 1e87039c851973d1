//! `lifeboat key`: the passwords that open a copy.

use serde_json::json;

use crate::support::{Site, program, run, write_secret};

#[test]
fn passwords_are_added_changed_and_removed() {
    let site = Site::initialised();
    site.backup();
    let listed = site.lifeboat(["key", "list", "--json"]).ok();
    assert_eq!((listed.of_type("key").len(), &listed.of_type("key")[0]["in_use"]), (1, &json!(true)));
    let old = listed.of_type("key")[0]["id"].as_str().unwrap().to_owned();
    site.lifeboat(["key", "add"]).exits(2).says(["--new-password-file"]);
    write_secret(&site.path("second"), "a second password");
    let added = site.lifeboat(["key", "add", "--new-password-file", "second", "--json"]).ok().summary();
    let added = added["added"].as_str().unwrap().to_owned();
    site.lifeboat(["key", "list"]).ok().says([&added[..8], "2 keys"]);
    if program("restic").is_ok() {
        let mut restic = site.restic_command(["snapshots"]);
        run(restic.arg("--password-file").arg(site.path("second"))).ok();
    }

    // The key in use is not removed, so that nobody locks themselves out.
    site.lifeboat(["key", "remove", &old]).exits(2).says(["lifeboat key change"]);
    site.lifeboat(["key", "remove", "ffff"]).exits(1).says(["lifeboat key list"]);
    site.lifeboat(["key", "remove", &added[..10]]).ok();
    assert_eq!(site.stored("keys").len(), 1);

    let changed = site.lifeboat(["key", "change", "--new-password-file", "second", "--json"]).ok().summary();
    assert_eq!(changed["removed"], json!([old]));
    site.lifeboat(["snapshots"]).exits(12).says(["password"]);
    std::fs::copy(site.path("second"), site.path("password")).unwrap();
    site.lifeboat(["snapshots"]).ok();
    write_secret(&site.path("empty"), "");
    site.lifeboat(["key", "change", "--new-password-file", "empty"]).exits(2);
    site.lifeboat(["key", "change", "--new-password-file", "password"])
        .exits(2)
        .says(["is the old one", "nothing was"]);
    assert_eq!(site.stored("keys").len(), 1);

    // A password that opens it already is no second key, and no key of the old one stays.
    site.lifeboat(["key", "add", "--new-password-file", "second"]).exits(2).says(["has this password already"]);
    let path = site.stored("keys").remove(0);
    let key = std::fs::read(&path).unwrap();
    write_secret(&site.path("third"), "a third password");
    site.lifeboat(["key", "change", "--new-password-file", "third"]).ok();
    // As one leaves it that was interrupted.
    std::fs::write(path, key).unwrap();
    site.lifeboat(["key", "change", "--new-password-file", "third"]).ok();
    assert_eq!(site.stored("keys").len(), 1);
}
