//! The admin app in a real browser: what an operator does with it, and what it refuses to others.

mod browser;
mod served;

use std::path::PathBuf;

use browser::{Browser, ENTER, TAB};
use served::{PASSWORD, Served};

use crate::support::{can, program, wait_until};

/// A server and a browser in which `ada`, the first user, has signed in. `None` where there is no browser.
fn signed_in() -> Option<(Served, Browser)> {
    let (served, browser) = opened()?;
    browser.open(&served.setup);
    browser.fill("#name", "ada");
    browser.fill("#password", PASSWORD);
    browser.press("Make the first user");
    browser.waits_for("Are we safe?");
    Some((served, browser))
}

fn opened() -> Option<(Served, Browser)> {
    if !can(program("chromium").and(program("chromedriver"))) {
        return None;
    }
    let served = Served::start();
    let browser = Browser::start(&served.downloads());
    Some((served, browser))
}

fn sign_in(served: &Served, browser: &Browser, name: &str, password: &str) {
    browser.forget_cookies();
    browser.open(&served.page("/sign-in"));
    browser.fill("#name", name);
    browser.fill("#password", password);
    browser.press("Sign in");
}

/// Takes a snapshot by the form, and gives its id.
fn create_snapshot(served: &Served, browser: &Browser) -> String {
    browser.open(&served.page("/snapshots/create?stack=app"));
    browser.press("Create snapshot");
    browser.waits_for("took");
    assert!(browser.has(".badge.ok"), "{}", browser.text());
    let link = browser.script("return document.querySelector('main a[href^=\"/snapshots/\"]').href");
    let link = link.as_str().unwrap();
    wait_until("the server knows the snapshot", || {
        browser.open(link);
        browser.text().contains("Sources")
    });
    link.rsplit('/').next().unwrap().to_owned()
}

/// What axe finds that is serious or worse: the rule and what breaks it.
fn serious(browser: &Browser) -> Vec<String> {
    let axe =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/axe-core/node_modules/axe-core/axe.min.js");
    let axe = std::fs::read_to_string(axe).unwrap();
    browser.script(&axe);
    let found = browser.script(
        "return axe.run(document, { resultTypes: ['violations'] }).then((all) => all.violations\
         .filter((one) => ['serious', 'critical'].includes(one.impact))\
         .map((one) => one.id + ': ' + one.nodes.map((node) => node.html).join(' | ').slice(0, 400)))",
    );
    found.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_first_start_prints_a_link_that_makes_the_first_user_and_then_is_good_no_more() {
    let Some((served, browser)) = opened() else { return };
    browser.open(&served.url);
    assert!(browser.url().ends_with("/sign-in"), "nobody comes in without signing in");
    assert!(browser.text().contains("There is no user yet"));
    browser.open(&served.setup);
    browser.fill("#name", "ada");
    browser.fill("#password", PASSWORD);
    browser.press("Make the first user");
    browser.waits_for("Are we safe?");
    assert!(browser.text().contains("ada admin"));
    browser.press("Sign out");
    browser.waits_for("Sign in");
    browser.open(&served.setup);
    browser.waits_for("This link is not good any more.");
}

#[test]
fn an_operator_takes_a_snapshot_looks_into_it_and_restores_it() {
    let Some((served, browser)) = signed_in() else { return };
    let id = create_snapshot(&served, &browser);
    // Folder by folder, to a file whose name needs escaping.
    let mut path = String::new();
    for part in served.site.data().strip_prefix("/").unwrap().components() {
        path = format!("{path}/{}", part.as_os_str().to_str().unwrap());
    }
    browser.open(&served.page(&format!("/snapshots/{id}/files")));
    browser.press("files/");
    browser.waits_for("Restore this folder");
    browser.open(&served.page(&format!("/snapshots/{id}/files?path=files{path}")));
    browser.press("below/");
    browser.waits_for("a <b> & ü.txt");
    browser.click("a[download]");
    let downloads = served.downloads();
    wait_until("the file is here", || {
        let mut files = std::fs::read_dir(&downloads).unwrap().map(|entry| entry.unwrap().path());
        files.any(|file| std::fs::read(file).is_ok_and(|bytes| bytes == b"x"))
    });
    // The whole of it, looked at first.
    browser.open(&served.page(&format!("/restore?uri=lifeboat:nas/{id}")));
    browser.fill("#to", "here");
    browser.press("Preview");
    browser.waits_for("dry run");
    assert!(!served.site.path("restored/here").exists(), "a preview restores nothing");
    browser.press("Restore this");
    browser.waits_for("To where");
    browser.click("button[value=restore]");
    browser.waits_for("took");
    assert!(browser.has(".badge.ok"), "{}", browser.text());
    let letter = served.site.restored_data(&served.site.path("restored/here")).join("letter.txt");
    assert_eq!(std::fs::read_to_string(letter).unwrap(), "dear all");
}

#[test]
fn a_restore_in_place_takes_the_name_of_the_stack() {
    let Some((served, browser)) = signed_in() else { return };
    let id = create_snapshot(&served, &browser);
    let letter = served.site.data().join("letter.txt");
    std::fs::write(&letter, "spoilt").unwrap();
    let ask = |word: &str| {
        browser.open(&served.page(&format!("/restore?uri=lifeboat:disk/{id}&place=in-place")));
        browser.fill("#confirm", word);
        browser.click("button[value=restore]");
    };
    ask("other");
    browser.waits_for("that was not confirmed");
    assert_eq!(std::fs::read_to_string(&letter).unwrap(), "spoilt");
    ask("app");
    browser.waits_for("took");
    assert_eq!(std::fs::read_to_string(&letter).unwrap(), "dear all", "{}", browser.text());
}

#[test]
fn two_snapshots_are_compared_and_what_was_removed_can_be_restored() {
    let Some((served, browser)) = signed_in() else { return };
    create_snapshot(&served, &browser);
    std::fs::rename(served.site.data().join("letter.txt"), served.site.data().join("answer.txt")).unwrap();
    create_snapshot(&served, &browser);
    browser.press("Compare with the one before");
    browser.waits_for("1 added, 1 removed");
    let removed = browser.script("return document.querySelector('a[aria-label$=\"letter.txt\"]').href");
    browser.open(removed.as_str().unwrap());
    browser.fill("#to", "back");
    browser.click("button[value=restore]");
    browser.waits_for("took");
    let letter = served.site.path("restored/back/letter.txt");
    assert_eq!(std::fs::read_to_string(letter).unwrap(), "dear all", "{}", browser.text());
}

#[test]
fn a_run_is_cancelled_and_can_be_done_again() {
    let Some((served, browser)) = signed_in() else { return };
    browser.open(&served.page("/snapshots/create?stack=slow"));
    browser.press("Create snapshot");
    browser.waits_for("running");
    browser.press("Cancel");
    browser.waits_for("it was cancelled");
    browser.press("Do it again");
    browser.waits_for("running");
    browser.press("Cancel");
    browser.waits_for("it was cancelled");
}

#[test]
fn the_keyboard_alone_takes_a_snapshot() {
    let Some((served, browser)) = signed_in() else { return };
    browser.open(&served.page("/"));
    browser.key(TAB);
    assert_eq!(browser.script("return document.activeElement.innerText"), "Skip to content");
    let go_to = |text: &str| {
        let found = (0..60).any(|_| {
            browser.key(TAB);
            browser.script("return document.activeElement.innerText") == text
        });
        assert!(found, "the keyboard does not reach {text:?}: {}", browser.text());
        browser.key(ENTER);
    };
    go_to("Snapshots");
    browser.waits_for("There is no snapshot here yet.");
    go_to("Create snapshot");
    browser.waits_for("Next");
    go_to("Next");
    browser.waits_for("the whole stack");
    go_to("Create snapshot");
    browser.waits_for("took");
    assert!(browser.has(".badge.ok"), "{}", browser.text());
}

#[test]
fn a_wrong_password_does_not_let_in_and_an_expired_session_leads_to_where_one_signs_in() {
    let Some((served, browser)) = signed_in() else { return };
    sign_in(&served, &browser, "ada", "three wrong words");
    browser.waits_for("name or password is wrong");
    sign_in(&served, &browser, "ada", PASSWORD);
    browser.waits_for("Are we safe?");
    // As if nothing had been done for a long time.
    let database = rusqlite::Connection::open(served.site.path("state/server/server.db")).unwrap();
    assert!(database.execute("UPDATE session SET seen_at = 0", []).unwrap() > 0);
    browser.open(&served.page("/snapshots"));
    assert!(browser.url().ends_with("/sign-in"), "{}", browser.url());
}

#[test]
fn a_viewer_sees_no_button_and_is_refused_where_one_is_sent_all_the_same() {
    let Some((served, browser)) = signed_in() else { return };
    let id = create_snapshot(&served, &browser);
    browser.open(&served.page("/settings"));
    browser.fill("#user", "vic");
    browser.fill("#user-password", PASSWORD);
    browser.press("Add user");
    browser.waits_for("vic");
    sign_in(&served, &browser, "vic", PASSWORD);
    browser.waits_for("vic viewer");
    let snapshot = format!("/snapshots/{id}");
    for page in ["/", "/snapshots", &snapshot, "/copies", "/drills", "/runs"] {
        browser.open(&served.page(page));
        let buttons = browser.script("return [...document.querySelectorAll('main form[method=post]')].length");
        assert_eq!(buttons, 0, "{page}: {}", browser.text());
    }
    let send = |path: &str, body: &str| {
        browser.script(&format!(
            "return fetch('{path}', {{ method: 'POST', body: new URLSearchParams({body}) }}).then((answer) => answer.status)"
        ))
    };
    let restore = format!("{{ uri: 'lifeboat:disk/{id}', place: 'folder', to: 'x', action: 'restore' }}");
    assert_eq!(send("/restore", &restore), 403);
    assert_eq!(send("/runs/start", "{ task: '{\"kind\":\"sync\"}' }"), 403);
    assert_eq!(send("/settings/users", "{ name: 'eve', role: 'admin', password: 'three plain words' }"), 403);
    assert_eq!(send("/settings/users/remove", "{ name: 'ada' }"), 403);
    browser.open(&served.page(&format!("/snapshots/{id}/files")));
    browser.waits_for("this needs the role operator");
}

#[test]
fn a_token_is_shown_once() {
    let Some((served, browser)) = signed_in() else { return };
    browser.open(&served.page("/settings"));
    browser.fill("#token", "monitoring");
    browser.press("Make token");
    browser.waits_for("This is shown once");
    let secret = browser.script("return document.querySelector('#secret').innerText");
    let secret = secret.as_str().unwrap();
    assert!(secret.starts_with("lifeboat_"));
    browser.open(&served.page("/settings"));
    browser.waits_for("monitoring");
    assert!(!browser.text().contains(secret));
}

#[test]
fn every_page_fits_400_pixels_and_axe_finds_nothing_serious_in_light_and_dark() {
    let Some((served, browser)) = signed_in() else { return };
    let id = create_snapshot(&served, &browser);
    browser.open(&served.page("/drills"));
    browser.press("Drill app from disk");
    browser.waits_for("took");
    let drill = browser.url().strip_prefix(&served.url).unwrap().to_owned();
    wait_until("the server knows the drill", || {
        browser.open(&served.page("/drills"));
        browser.has(".badge.passed")
    });
    wait_until("the server knows what holds data", || {
        browser.open(&served.page("/coverage"));
        browser.text().contains("notes.db")
    });
    let pictures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/screenshots");
    std::fs::create_dir_all(&pictures).unwrap();
    let pages = [
        ("home", "/".to_owned()),
        ("stack", "/stacks/app".to_owned()),
        ("snapshots", "/snapshots".to_owned()),
        ("snapshot", format!("/snapshots/{id}")),
        ("files", format!("/snapshots/{id}/files?path=files")),
        ("compare", format!("/snapshots/compare?from={id}&to={id}")),
        ("create", "/snapshots/create?stack=app".to_owned()),
        ("pick", "/restore".to_owned()),
        ("restore", format!("/restore?uri=lifeboat:disk/{id}")),
        ("runs", "/runs".to_owned()),
        ("drill", drill),
        ("copies", "/copies".to_owned()),
        ("drills", "/drills".to_owned()),
        ("coverage", "/coverage".to_owned()),
        ("schedule", "/schedule".to_owned()),
        ("settings", "/settings".to_owned()),
        ("audit", "/settings/audit".to_owned()),
        ("configuration", "/settings/configuration".to_owned()),
        ("problem", "/stacks/nothing".to_owned()),
    ];
    let mut wrong = Vec::new();
    for (name, page) in &pages {
        for (width, scheme) in [(1400, "light"), (400, "dark"), (1600, "dark")] {
            browser.width(width);
            browser.scheme(scheme);
            browser.open(&served.page(page));
            if width < 1600 {
                browser.picture(&pictures.join(format!("{name}-{width}.png")));
            }
            let surplus = browser.script("return document.documentElement.scrollWidth - innerWidth").as_i64().unwrap();
            if surplus > 0 {
                wrong.push(format!("{name} at {width}: {surplus} pixels too wide"));
            }
            wrong.extend(serious(&browser).into_iter().map(|what| format!("{name} at {width}, {scheme}: {what}")));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    browser.script("document.querySelector('main').append(new Image())");
    assert!(!serious(&browser).is_empty(), "axe looks at the page: a picture without words is found");
}
