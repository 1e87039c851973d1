//! Trees of restic 0.14 that Lifeboat reads in full but writes in other bytes, each with the reason. Nothing is lost by
//! it: after `adopt`, the first backup stores such folders' trees once more.

use crate::fixture::{Fixture, write_again};

pub const TAGS: [&str; 4] = ["control", "letters", "link-bytes", "zone"];

/// The snapshot's nodes are as listed, and its only tree, with `replace` applied to Lifeboat's, is restic's.
fn check(tag: &str, replace: impl Fn(String) -> String) {
    let fixture = Fixture::open("restic-0.14-differing");
    let (nodes, listing) = (fixture.nodes(tag), fixture.listing(tag));
    if tag != "link-bytes" {
        assert_eq!(nodes, listing);
    }
    let root = fixture.snapshots[tag].tree;
    let (_, theirs) = fixture.trees().into_iter().find(|(id, _)| *id == root).unwrap();
    let ours = write_again(&theirs);
    assert_ne!(ours, theirs, "they no longer differ: say so above");
    assert_eq!(replace(String::from_utf8(ours).unwrap()), String::from_utf8(theirs).unwrap());
}

#[test]
fn backspace_and_form_feed_in_link_targets_have_short_escapes_since_go_1_22() {
    check("control", |ours| ours.replace("\\b", "\\u0008").replace("\\f", "\\u000c"));
}

#[test]
fn letters_newer_than_a_programs_unicode_are_escaped() {
    // restic 0.14 was built with the tables of Unicode 13. The name is quoted, and its backslash escaped for JSON.
    check("letters", |ours| ours.replace('\u{1f6df}', "\\\\U0001f6df"));
}

#[test]
fn link_targets_that_are_not_utf_8_are_lost_by_restic_0_14() {
    // It wrote an escape for each wrong byte, and no `linktarget_raw`. What it wrote is what is read.
    check("link-bytes", |ours| ours.replace('\u{fffd}', "\\ufffd"));
    let fixture = Fixture::open("restic-0.14-differing");
    let mut listing = fixture.listing("link-bytes");
    let (path, link) = listing.pop_first().unwrap();
    assert_eq!(link.target(), b"lost \xff\xe2\x82 bytes");
    let link = link.with_target("lost \u{fffd}\u{fffd}\u{fffd} bytes".as_bytes());
    assert_eq!(fixture.nodes("link-bytes").pop_first().unwrap(), (path, link));
}

#[test]
fn times_with_an_offset_are_the_same_moments_in_utc() {
    let fixture = Fixture::open("restic-0.14-differing");
    assert_eq!(fixture.nodes("zone"), fixture.listing("zone"));
    let root = fixture.snapshots["zone"].tree;
    let (_, theirs) = fixture.trees().into_iter().find(|(id, _)| *id == root).unwrap();
    assert!(String::from_utf8(theirs.clone()).unwrap().contains(r#""mtime":"2020-09-13T18:11:40.123+05:45""#));
    let ours = String::from_utf8(write_again(&theirs)).unwrap();
    assert!(ours.contains(r#""mtime":"2020-09-13T12:26:40.123Z""#), "{ours}");
}
