//! Source `tls`: from openssl's files to a drill, and what `status` says of them.

use std::process::Command;

use crate::support::{Site, can, program, run};

/// A certificate for so many days and its key, in the site's data.
fn certificate(site: &Site, days: u32) {
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl.args(["-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example"]);
    openssl.args(["-days", &days.to_string(), "-keyout"]).arg(site.data().join("key.pem"));
    run(openssl.arg("-out").arg(site.data().join("cert.pem"))).ok();
}

#[test]
fn a_certificate_is_backed_up_drilled_and_told_of_before_it_expires() {
    if !can(program("openssl")) {
        return;
    }
    let site = Site::initialised();
    site.configure("tls: { tls: { from: data } }");
    certificate(&site, 90);
    let summary = site.lifeboat(["backup", "--json"]).ok().summary();
    assert!(summary["sources"]["tls"]["facts"]["keys"].to_string().contains("\"matches\""), "{summary}");
    site.lifeboat(["drill"]).ok();
    site.lifeboat(["status"]).ok().says(["app: safe"]);
    certificate(&site, 10);
    site.lifeboat(["backup"]).ok();
    site.lifeboat(["drill"]).ok();
    site.lifeboat(["status"]).exits(3).says(["WARNING", "certificate of CN=shop.example in", "expires in", "renew it"]);
    let key = std::fs::read(site.data().join("key.pem")).unwrap();
    let restored = site.restore("latest", "restored").join("tls").join(site.data().strip_prefix("/").unwrap());
    assert_eq!(std::fs::read(restored.join("key.pem")).unwrap(), key);
    // A renewal that left the old key in its place.
    certificate(&site, 90);
    std::fs::write(site.data().join("key.pem"), key).unwrap();
    site.lifeboat(["backup"]).exits(3).says(["key.pem: this key belongs to none of the certificates here"]);
}
