//! What `latest` means in an archive copy, where only names tell of what time, stack and repository an archive is.

use std::collections::BTreeSet;
use std::path::Path;

use jiff::Timestamp;
use operations::archives::Archived;
use operations::snapshots::{is_ahead, rank};
use operations::{Fault, FaultKind};
use repository::Problem;

/// What is asked for.
pub struct Wanted<'a> {
    /// The copy's name, for messages.
    pub copy: &'a str,
    pub stack: Option<&'a str>,
    pub source: Option<&'a str>,
    /// The beginnings of the ids of this host's repositories. Asked only where archives of several lie beside each other.
    pub own: &'a dyn Fn() -> Vec<String>,
}

/// The newest of `held` that has what is wanted, and what may have been newer.
pub fn latest<'a>(
    held: &'a [Archived],
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> Result<(&'a Archived, Vec<Problem>), Fault> {
    let of_stack: Vec<&Archived> =
        held.iter().filter(|held| wanted.stack.is_none_or(|stack| held.stack == stack)).collect();
    let has = |held: &&Archived| wanted.source.is_none_or(|source| held.archives.contains_key(source));
    let mut found: Vec<&Archived> = of_stack.iter().copied().filter(has).collect();
    let stacks: BTreeSet<&str> = found.iter().map(|held| held.stack.as_str()).collect();
    if stacks.len() > 1 {
        let names = stacks.into_iter().collect::<Vec<_>>().join(", ");
        let what = format!("`latest` could be of several stacks: {names}; say which with --stack");
        return Err(Fault::new(FaultKind::NotFound, what));
    }
    let repositories: BTreeSet<&str> = found.iter().filter_map(|held| held.repository.as_deref()).collect();
    if repositories.len() > 1 {
        let own = (wanted.own)();
        let is_own = |held: &&Archived| held.repository.as_ref().is_some_and(|id| own.contains(id));
        let of_own: Vec<&Archived> = found.iter().copied().filter(is_own).collect();
        if of_own.is_empty() {
            return Err(several(&found, &repositories, wanted));
        }
        found = of_own;
    }
    let newest = found.iter().copied().max_by_key(|held| rank(held.time, false, now));
    let newest = newest.ok_or_else(|| nothing(&of_stack, wanted))?;
    let ahead = found.iter().filter(|held| is_ahead(held.time, now)).map(|held| {
        let done = if held.id == newest.id { "taken all the same, as there is no other" } else { "passed over" };
        let what = format!("it is dated {}, and by the clock of this machine it is {now}: {done}", held.time);
        problem(held, &format!("{what}; set the clock if it is wrong"))
    });
    let is_lost = |held: &&&Archived| {
        let is_alike = held.stack == newest.stack && held.repository == newest.repository;
        is_alike && held.time > newest.time && wanted.source.is_some_and(|source| held.lost.contains_key(source))
    };
    let lost = of_stack.iter().filter(is_lost).map(|held| problem(held, "it is newer, and its archive is gone"));
    Ok((newest, ahead.chain(lost).collect()))
}

fn problem(held: &Archived, what: &str) -> Problem {
    Problem::new(Path::new(&format!("snapshot {} of {}", held.id.short(), held.time)), what.to_owned())
}

/// That archives of several repositories lie beside each other, and none is known to be this host's.
fn several(found: &[&Archived], repositories: &BTreeSet<&str>, wanted: &Wanted<'_>) -> Fault {
    let newest = |id: &&str| {
        let held = found.iter().rev().find(|held| held.repository.as_deref() == Some(id))?;
        let lies = held.archives.values().next().map_or("", |object| &object.path);
        Some(format!("{} of {} in repository {id} ({lies})", held.id.short(), held.time))
    };
    let each = repositories.iter().filter_map(newest).collect::<Vec<_>>().join("; ");
    let copy = wanted.copy;
    let what = format!(
        "copy {copy} has archives of several repositories, such as those of several hosts, and none of them can be asked \
         which is this host's; the newest of each: {each}"
    );
    let source = wanted.source.unwrap_or("SOURCE");
    Fault::new(FaultKind::NotFound, what).with_hint(format!("name one by its id: lifeboat:{copy}/ID/{source}"))
}

fn nothing(of_stack: &[&Archived], wanted: &Wanted<'_>) -> Fault {
    let Wanted { copy, source, .. } = wanted;
    let sources: BTreeSet<&str> = of_stack.iter().flat_map(|held| held.archives.keys()).map(String::as_str).collect();
    let names = sources.into_iter().collect::<Vec<_>>().join(", ");
    let what = match source {
        Some(source) if !names.is_empty() => format!("copy {copy} has no archive of a source {source}, but of {names}"),
        _ => format!("copy {copy} has no snapshot to restore"),
    };
    Fault::new(FaultKind::NotFound, what).with_hint(format!("`lifeboat snapshots --copy {copy}` lists what it holds"))
}

#[cfg(test)]
mod tests {
    use repository::Id;
    use repository::storage::archives::StoredArchive;

    use super::*;

    const NOW: &str = "2026-03-02T00:00:00Z";

    fn held(number: u8, stack: &str, time: &str, sources: &[&str], repository: &str) -> Archived {
        let object = |source: &&str| (source.to_string(), StoredArchive { path: format!("x/{source}"), bytes: 1 });
        Archived {
            id: Id::from_hex(format!("{number:02x}").repeat(32).as_bytes()).unwrap(),
            stack: stack.to_owned(),
            time: time.parse().unwrap(),
            archives: sources.iter().map(object).collect(),
            lost: [].into(),
            of: sources.len(),
            repository: Some(repository.to_owned()),
        }
    }

    fn find(all: &[Archived], stack: Option<&str>, source: &str, own: &[&str]) -> Result<(String, usize), String> {
        let own = || own.iter().map(|id| id.to_string()).collect();
        let wanted = Wanted { copy: "bundle", stack, source: Some(source), own: &own };
        let found = latest(all, &wanted, NOW.parse().unwrap());
        found.map(|(held, doubts)| (held.id.short()[..2].to_owned(), doubts.len())).map_err(|fault| fault.message)
    }

    #[test]
    fn it_is_the_newest_of_the_wanted_source_that_is_not_of_the_future() {
        let mut all = [
            held(1, "app", "2026-03-01T00:00:00Z", &["main", "redis"], "aaaaaaaa"),
            held(2, "app", "2026-03-01T01:00:00Z", &["main"], "aaaaaaaa"),
            held(3, "app", "2027-03-01T00:00:00Z", &["main"], "aaaaaaaa"),
        ];
        assert_eq!(find(&all, None, "redis", &[]), Ok(("01".to_owned(), 0)));
        assert_eq!(find(&all, None, "main", &[]), Ok(("02".to_owned(), 1)));
        assert_eq!(find(&all[2..], None, "main", &[]), Ok(("03".to_owned(), 1)));
        all[1].lost = [("redis".to_owned(), "x/redis".to_owned())].into();
        assert_eq!(find(&all, None, "redis", &[]), Ok(("01".to_owned(), 1)), "a newer one is lost");
        let error = find(&all, None, "files", &[]).unwrap_err();
        assert_eq!(error, "copy bundle has no archive of a source files, but of main, redis");
    }

    #[test]
    fn what_could_be_of_several_stacks_or_hosts_is_not_guessed() {
        let all = [
            held(1, "app", "2026-03-01T00:00:00Z", &["main"], "aaaaaaaa"),
            held(2, "app", "2026-03-01T01:00:00Z", &["main"], "bbbbbbbb"),
            held(3, "web", "2026-03-01T02:00:00Z", &["main"], "aaaaaaaa"),
        ];
        let error = find(&all, None, "main", &["aaaaaaaa"]).unwrap_err();
        assert_eq!(error, "`latest` could be of several stacks: app, web; say which with --stack");
        assert_eq!(find(&all, Some("app"), "main", &["aaaaaaaa"]), Ok(("01".to_owned(), 0)));
        assert_eq!(find(&all, Some("web"), "main", &[]), Ok(("03".to_owned(), 0)));
        let error = find(&all, Some("app"), "main", &["cccccccc"]).unwrap_err();
        assert!(error.contains("of several repositories") && error.contains("repository bbbbbbbb (x/main)"), "{error}");
    }
}
