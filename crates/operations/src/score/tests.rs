use std::fmt::Write;

use expect_test::expect;
use proptest::prelude::*;

use super::*;

fn live() -> Live {
    Live { disks: BTreeSet::from(["sda".to_owned()]) }
}

/// A copy on a disk of this host that holds the newest snapshot and was drilled.
fn on_disk(name: &str, disk: &str) -> CopyFacts {
    CopyFacts {
        name: name.to_owned(),
        in_reach: true,
        holds: Holds::Newest,
        place: Place::Disk(disk.to_owned()),
        site: None,
        media: "disk".to_owned(),
        offsite: false,
        immutable: false,
        keeps_archives: false,
        proof: Proof::Passed,
        password: Password { whence: "the file /etc/lifeboat/password".to_owned(), is_here: true },
    }
}

/// The same in a bucket elsewhere.
fn in_bucket(name: &str, provider: &str, account: Option<&str>, region: Option<&str>) -> CopyFacts {
    let text = |text: Option<&str>| text.map(str::to_owned);
    let place = Place::Service { provider: provider.to_owned(), account: text(account), region: text(region) };
    CopyFacts { place, media: "object".to_owned(), offsite: true, ..on_disk(name, "") }
}

fn score(copies: &[CopyFacts]) -> [usize; 5] {
    let Score { copies, media, offsite, immutable, verified } = assess("cht", &live(), copies).score;
    [copies, media, offsite, immutable, verified]
}

#[test]
fn arrangements_are_counted_by_what_they_are_lost_with() {
    let disk = || on_disk("disk", "sdb");
    let s3 = |name: &str| in_bucket(name, "hetzner", None, None);
    for (what, copies, expected) in [
        ("the data alone", vec![], [1, 1, 0, 0, 0]),
        ("a copy beside the data", vec![on_disk("a", "sda")], [1, 1, 0, 0, 1]),
        (
            "a copy beside the data that claims much",
            vec![CopyFacts { offsite: true, immutable: true, media: "tape".to_owned(), ..on_disk("a", "sda") }],
            [1, 1, 0, 0, 1],
        ),
        ("a copy on a disk of its own", vec![disk()], [2, 1, 0, 0, 1]),
        ("two copies on one disk", vec![disk(), on_disk("b", "sdb")], [2, 1, 0, 0, 2]),
        ("two disks", vec![disk(), on_disk("b", "sdc")], [3, 1, 0, 0, 2]),
        ("the classic", vec![disk(), s3("s3")], [3, 2, 1, 0, 2]),
        ("with a lock", vec![disk(), CopyFacts { immutable: true, ..s3("s3") }], [3, 2, 1, 1, 2]),
        ("two buckets of one account", vec![s3("a"), s3("b")], [2, 2, 2, 0, 2]),
        (
            "two accounts",
            vec![in_bucket("a", "aws", Some("one"), None), in_bucket("b", "aws", Some("two"), None)],
            [3, 2, 2, 0, 2],
        ),
        (
            "two regions",
            vec![in_bucket("a", "aws", None, Some("eu")), in_bucket("b", "aws", None, Some("us"))],
            [3, 2, 2, 0, 2],
        ),
        (
            "a region that one does not name",
            vec![in_bucket("a", "aws", None, Some("eu")), in_bucket("b", "aws", None, None)],
            [2, 2, 2, 0, 2],
        ),
        (
            "two named regions and one that is not",
            vec![
                in_bucket("a", "aws", None, None),
                in_bucket("b", "aws", None, Some("eu")),
                in_bucket("c", "aws", None, Some("us")),
            ],
            [3, 2, 3, 0, 3],
        ),
        ("in memory", vec![CopyFacts { place: Place::Memory, immutable: true, ..disk() }], [1, 1, 0, 0, 0]),
        ("out of reach", vec![CopyFacts { in_reach: false, immutable: true, ..s3("s3") }], [1, 1, 0, 0, 0]),
        ("empty", vec![CopyFacts { holds: Holds::Nothing, ..s3("s3") }], [1, 1, 0, 0, 0]),
        ("behind", vec![CopyFacts { holds: Holds::Older, ..s3("s3") }], [2, 2, 1, 0, 0]),
        ("never drilled", vec![CopyFacts { proof: Proof::Never, ..s3("s3") }], [2, 2, 1, 0, 0]),
        ("damaged", vec![CopyFacts { proof: Proof::Damaged, ..s3("s3") }], [2, 2, 1, 0, 0]),
        ("failed a drill", vec![CopyFacts { proof: Proof::Failed, ..s3("s3") }], [2, 2, 1, 0, 0]),
        ("drilled in part", vec![CopyFacts { proof: Proof::InPart, ..s3("s3") }], [2, 2, 1, 0, 0]),
        ("drilled long ago", vec![CopyFacts { proof: Proof::Old(90), ..s3("s3") }], [2, 2, 1, 0, 0]),
    ] {
        assert_eq!(score(&copies), expected, "{what}");
    }
}

/// Verdicts and losses as a user reads them.
fn said(copies: &[CopyFacts]) -> String {
    let Assessment { rules, losses, .. } = assess("cht", &live(), copies);
    let mut said = String::new();
    for RuleVerdict { rule, kept, text, fix } in rules {
        let _ = writeln!(said, "{} {rule}: {text}", if kept { "+" } else { "-" });
        if let Some(fix) = fix {
            let _ = writeln!(said, "    {fix}");
        }
    }
    for loss in losses {
        let _ = writeln!(said, "{} {}", if loss.is_total { "!" } else { " " }, loss.text);
    }
    said
}

#[test]
fn a_copy_beside_the_data_is_told_what_it_does_not_save_from() {
    expect![[r#"
        - copies: 1 copy, the data itself being one; 3 are wanted; copy local does not count: it is on the disk sda, as the data is
            add a copy on another disk, machine or service below `copies:` in lifeboat.yaml
        - media: 1 of 2 media that are wanted: disk
            keep a copy on another medium, such as object storage, and name it with `media`
        - offsite: no copy is off-site: fire, theft or flood takes the data and every copy
            add a copy at another site, or say `offsite: true` of the one that is
        - immutable: no copy is immutable: whoever takes over this host can delete every copy it can reach
            put a copy under object lock, or behind a server that only adds, and say `immutable: true`
        - verified: copy local is not proven by a drill
            run `lifeboat drill cht --copy local`
        ! without the disk sda: the data and copy local gone; nothing is left
        ! without this host: the data and copy local gone; nothing is left
        ! without the password from the file /etc/lifeboat/password: copy local gone; the data itself stays, without a backup
    "#]].assert_eq(&said(&[CopyFacts { proof: Proof::Never, ..on_disk("local", "sda") }]));
}

#[test]
fn a_well_kept_rule_names_what_keeps_it() {
    let vault = CopyFacts {
        immutable: true,
        password: Password { whence: "the command `vault`".to_owned(), is_here: false },
        ..in_bucket("vault", "hetzner", Some("acme"), Some("eu"))
    };
    let nas = CopyFacts { site: Some("office".to_owned()), ..in_bucket("nas", "nas", None, None) };
    let nas = CopyFacts { offsite: false, media: "disk".to_owned(), ..nas };
    expect![[r#"
        + copies: 4 copies, the data itself being one; 3 are wanted
        + media: 2 of 2 media that are wanted: disk, object
        + offsite: off-site: vault
        + immutable: immutable: vault
        + verified: proven: disk, nas, vault
          without the disk sda: the data gone; copies disk, nas, vault stay
          without the site office: the data and copies disk, nas gone; copy vault stays
          without this host: the data and copy disk gone; copies nas, vault stay, if the password is kept elsewhere, too: it comes from the file /etc/lifeboat/password
          without the account acme at hetzner: copy vault gone; copies disk, nas stay
          without the account at nas: copy nas gone; copies disk, vault stay
          without the disk sdb: copy disk gone; copies nas, vault stay
          without the password from the command `vault`: copy vault gone; copies disk, nas stay
          without the password from the file /etc/lifeboat/password: copies disk, nas gone; copy vault stays
    "#]].assert_eq(&said(&[on_disk("disk", "sdb"), vault, nas]));
}

#[test]
fn a_copy_that_fails_is_named_with_what_mends_it() {
    let copies = [
        CopyFacts { in_reach: false, ..on_disk("usb", "sdc") },
        CopyFacts { holds: Holds::Older, ..in_bucket("s3", "aws", None, None) },
        CopyFacts { holds: Holds::Nothing, ..on_disk("new", "sdd") },
        CopyFacts { proof: Proof::Old(90), ..on_disk("old", "sde") },
        on_disk("twin", "sde"),
    ];
    expect![[r#"
        + copies: 3 copies, the data itself being one; 3 are wanted; copy new does not count: it holds no snapshot of cht; copy twin does not count: it is on the disk sde, as copy old is; copy usb does not count: it cannot be reached
        + media: 2 of 2 media that are wanted: disk, object
        + offsite: off-site: s3 (behind)
        - immutable: no copy is immutable: whoever takes over this host can delete every copy it can reach
            put a copy under object lock, or behind a server that only adds, and say `immutable: true`
        - verified: copy new holds no snapshot; copy old was last drilled 90 days ago; copy s3 lacks the newest snapshot; copy usb cannot be reached
            run `lifeboat sync`
        ! without the password from the file /etc/lifeboat/password: copies old, s3 (behind), twin gone; the data itself stays, without a backup
          without the disk sda: the data gone; copies old, s3 (behind), twin stay
          without this host: the data and copies old, twin gone; copy s3 (behind) stays, if the password is kept elsewhere, too: it comes from the file /etc/lifeboat/password
          without the account at aws: copy s3 (behind) gone; copies old, twin stay
          without the disk sde: copies old, twin gone; copy s3 (behind) stays
    "#]].assert_eq(&said(&copies));
}

#[test]
fn the_loss_of_a_place_takes_what_is_there_and_of_a_password_what_it_opens() {
    let copies = [on_disk("a", "sda"), on_disk("b", "sdb"), in_bucket("c", "aws", None, None)];
    let losses = assess("cht", &live(), &copies).losses;
    let of = |of: &str| losses.iter().find(|loss| loss.of == of).unwrap_or_else(|| panic!("{losses:?}"));
    assert_eq!((of("the disk sda").takes_data, &of("the disk sda").takes[..]), (true, &["a".to_owned()][..]));
    assert_eq!(of("the disk sdb").takes, ["b"]);
    assert_eq!(
        (&of("this host").takes[..], &of("this host").leaves[..]),
        (&["a".into(), "b".into()][..], &["c".to_owned()][..])
    );
    assert_eq!(of("the account at aws").takes, ["c"]);
    let password = of("the password from the file /etc/lifeboat/password");
    assert_eq!((password.takes.len(), password.is_total, password.takes_data), (3, true, false));
}

fn any_copy() -> impl Strategy<Value = CopyFacts> {
    let place = prop_oneof![
        prop::sample::select(vec!["sda", "sdb", "sdc"]).prop_map(|disk| Place::Disk(disk.to_owned())),
        (
            prop::sample::select(vec!["aws", "azure"]),
            prop::option::of(prop::sample::select(vec!["one", "two"])),
            prop::option::of(Just("eu"))
        )
            .prop_map(|(provider, account, region)| Place::Service {
                provider: provider.to_owned(),
                account: account.map(str::to_owned),
                region: region.map(str::to_owned),
            }),
    ];
    let holds = prop::sample::select(vec![Holds::Nothing, Holds::Older, Holds::Newest]);
    let proof = prop::sample::select(vec![Proof::Never, Proof::Failed, Proof::Old(50), Proof::InPart, Proof::Passed]);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let site = prop::option::of(prop::sample::select(vec!["office", "home"]));
    ("[a-e]", place, holds, proof, flags, site).prop_map(|(name, place, holds, proof, flags, site)| {
        let (in_reach, offsite, immutable, is_here) = flags;
        CopyFacts {
            in_reach,
            holds,
            place,
            proof,
            offsite,
            immutable,
            site: site.map(str::to_owned),
            password: Password { whence: format!("the file {is_here}"), is_here },
            ..on_disk(&name, "")
        }
    })
}

proptest! {
    #[test]
    fn one_more_copy_never_lowers_the_score(copies in prop::collection::vec(any_copy(), 0..6), more in any_copy()) {
        let before = score(&copies);
        let with_more: Vec<CopyFacts> = copies.into_iter().chain([more]).collect();
        let after = score(&with_more);
        for (before, after) in before.into_iter().zip(after) {
            prop_assert!(before <= after);
        }
    }

    #[test]
    fn the_order_of_copies_changes_nothing(copies in prop::collection::btree_map("[a-f]", any_copy(), 0..6)) {
        let copies: Vec<CopyFacts> = copies.into_iter().map(|(name, copy)| CopyFacts { name, ..copy }).collect();
        let turned: Vec<CopyFacts> = copies.iter().rev().cloned().collect();
        prop_assert_eq!(assess("cht", &live(), &copies), assess("cht", &live(), &turned));
    }

    #[test]
    fn every_loss_takes_or_leaves_each_copy_that_counts(copies in prop::collection::btree_map("[a-f]", any_copy(), 0..6)) {
        let copies: Vec<CopyFacts> = copies.into_iter().map(|(name, copy)| CopyFacts { name, ..copy }).collect();
        let counted = copies.iter().filter(|copy| copy.counts()).count();
        for loss in assess("cht", &live(), &copies).losses {
            prop_assert_eq!(loss.takes.len() + loss.leaves.len(), counted);
            prop_assert_eq!(loss.is_total, loss.leaves.is_empty());
        }
    }
}
