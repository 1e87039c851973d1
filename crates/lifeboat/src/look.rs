//! A look into copies: what each of them holds, and what cannot be looked into. Each copy is opened once, however many
//! stacks are asked about.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::Timestamp;
use operations::config::{CopySettings, StackSettings};
use operations::drill::{self, Receipts};
use operations::manifest::{Manifest, SourceRecord};
use operations::status::{self, Content, CopyFault, CopyKnown, Health, Known, Newest, Told};
use operations::{Fault, FaultKind, copies, failure_domain, retention, snapshots, sync};
use repository::check::{self, Glance};
use repository::format::pack::BlobKind;
use repository::format::receipt::Receipt;
use repository::format::snapshot::Snapshot;
use repository::{Clock as _, Id, Index, receipt};

use crate::app::App;
use crate::open_archives::{self, OpenArchives};

/// What a look into one copy found.
pub struct Look<'a> {
    pub copy: &'a CopySettings,
    pub seen: Result<Seen, CopyFault>,
}

/// What a copy holds.
pub struct Seen {
    /// The repository's own id, which all its copies share. `None` for an archive copy.
    repository: Option<Id>,
    /// The repository that this host saw there before.
    before: Option<Id>,
    /// What it holds of each stack that was asked about.
    pub stacks: BTreeMap<String, Held>,
    /// Snapshots, of whatever stack, that cannot be read.
    pub damaged: Vec<Id>,
    pub glance: Glance,
    /// Snapshots that were drilled and are gone.
    pub lost: Vec<Id>,
    pub receipts: Receipts,
}

/// What a copy holds of one stack.
pub struct Held {
    /// Every snapshot whose root is there, oldest first.
    pub snapshots: Vec<(Id, Timestamp)>,
    /// What they say of themselves; nothing in an archive copy, whose names tell too little.
    described: Vec<(Id, Snapshot)>,
    /// Where the volumes lay that the newest one holds, by their names.
    volumes: BTreeMap<String, PathBuf>,
    pub newest: Option<Newest>,
}

/// Looks into all copies, at once. One that cannot be opened is part of what was found, and no error.
pub fn into<'a>(app: &App, copies: &[&'a CopySettings], stacks: &[&StackSettings]) -> Result<Vec<Look<'a>>, Fault> {
    let look = |copy: &&'a CopySettings| match seen(app, copy, stacks) {
        Err(fault) if fault.kind == FaultKind::Cancelled => Err(fault),
        seen => Ok(Look { copy, seen: seen.map_err(CopyFault::from) }),
    };
    std::thread::scope(|scope| {
        let look = &look;
        let looks: Vec<_> = copies.iter().map(|copy| scope.spawn(move || look(copy))).collect();
        let panicked = |_| Err(Fault::new(FaultKind::Failed, "looking into a copy panicked"));
        looks.into_iter().map(|look| look.join().unwrap_or_else(panicked)).collect()
    })
}

fn seen(app: &App, copy: &CopySettings, stacks: &[&StackSettings]) -> Result<Seen, Fault> {
    if let Some(settings) = copy.archives() {
        return Ok(seen_archives(&open_archives::open(app, copy, settings)?, stacks, app.run.clock.now()));
    }
    let repository = app.open(copy)?;
    let (mut found, damaged) = repository.snapshots_readable(&app.run.cancel)?;
    let index = Index::load(&app.cx(), &repository)?;
    let mut damaged: Vec<Id> = damaged.into_iter().map(|(id, _)| id).collect();
    // Without its root nothing of a snapshot can be read, as after a heal that could not bring it back.
    let rootless = found.extract_if(.., |(_, snapshot)| !index.contains(BlobKind::Tree, &snapshot.tree));
    damaged.extend(rootless.map(|(id, _)| id));
    let now = app.run.clock.now();
    let held = |stack: &&StackSettings| {
        let found = snapshots::of_stack(found.clone(), Some(&stack.name));
        let newest = snapshots::newest(&found, now);
        let manifest = newest.and_then(|(_, newest)| Manifest::load(&repository, &index, &newest.tree).ok()?);
        let records = manifest.iter().flat_map(|manifest| manifest.sources.values());
        let volumes = records.flat_map(SourceRecord::volume_folders).collect();
        let newest = newest.map(|(id, snapshot)| Newest {
            id: *id,
            time: snapshot.time.into(),
            selection: snapshots::is_selection(snapshot),
            content: manifest.as_ref().map_or(Told::Unreadable, |manifest| Told::Content(Content::from(manifest))),
        });
        let snapshots = found.iter().map(|(id, snapshot)| (*id, snapshot.time.into())).collect();
        (stack.name.clone(), Held { snapshots, described: found, volumes, newest })
    };
    Ok(Seen {
        repository: Some(repository.config().id),
        before: app.state().repository_seen(copy),
        stacks: stacks.iter().map(held).collect(),
        damaged,
        lost: receipt::orphans(&repository)?.into_iter().collect(),
        glance: check::at_a_glance(&app.cx(), &repository, &index)?,
        receipts: drill::receipts(&repository)?,
    })
}

/// What an archive copy holds, as far as the names of its objects tell. A snapshot that is not whole counts for nothing.
fn seen_archives(open: &OpenArchives<'_>, stacks: &[&StackSettings], now: Timestamp) -> Seen {
    let held = |stack: &&StackSettings| {
        let whole: Vec<&open_archives::Archived> =
            open.contents.snapshots.iter().filter(|held| held.stack == stack.name && held.is_whole()).collect();
        let is_selection = |held: &open_archives::Archived| {
            stack.sources.iter().any(|source| !held.archives.contains_key(&source.name))
        };
        let newest = whole.iter().max_by_key(|held| snapshots::rank(held.time, is_selection(held), now));
        let newest = newest.map(|held| Newest {
            id: held.id,
            time: held.time,
            selection: is_selection(held),
            content: Told::Sealed,
        });
        let snapshots = whole.iter().map(|held| (held.id, held.time)).collect();
        (stack.name.clone(), Held { snapshots, described: Vec::new(), volumes: BTreeMap::new(), newest })
    };
    Seen {
        repository: None,
        before: None,
        stacks: stacks.iter().map(held).collect(),
        damaged: Vec::new(),
        lost: Vec::new(),
        glance: Glance::default(),
        receipts: Receipts::default(),
    }
}

/// The looks into a stack's copies, in its order of preference.
pub fn of_stack<'a, 'b>(looks: &'b [Look<'a>], stack: &StackSettings) -> Vec<&'b Look<'a>> {
    stack.copies.iter().filter_map(|name| looks.iter().find(|look| look.copy.name == *name)).collect()
}

/// Whether a copy is of another repository than those of the others that could be looked into.
fn is_other(looks: &[&Look<'_>], look: &Look<'_>) -> bool {
    let place = |look: &&Look<'_>| {
        let seen = look.seen.as_ref().ok()?;
        Some((look.copy.name.clone(), (seen.repository?, seen.before)))
    };
    let (names, places): (Vec<_>, Vec<_>) = looks.iter().filter_map(place).unzip();
    let strangers = copies::strangers(&places);
    names.iter().zip(strangers).any(|(name, is_stranger)| is_stranger && *name == look.copy.name)
}

/// A copy before this one that lies in the same folder.
fn twin(looks: &[&Look<'_>], look: &Look<'_>) -> Option<String> {
    let before = looks.iter().take_while(|other| other.copy.name != look.copy.name);
    before.map(|other| other.copy).find(|other| copies::are_one(other, look.copy)).map(|other| other.name.clone())
}

/// The snapshots of a stack that `sync` would bring to a copy.
pub fn lacking(app: &App, stack: &StackSettings, looks: &[&Look<'_>], look: &Look<'_>) -> Vec<Id> {
    let Ok(seen) = &look.seen else { return Vec::new() };
    if is_other(looks, look) {
        return Vec::new();
    }
    let all: BTreeMap<Id, &Snapshot> = looks
        .iter()
        .filter(|other| !is_other(looks, other))
        .filter_map(|other| other.seen.as_ref().ok()?.stacks.get(&stack.name))
        .flat_map(|held| held.described.iter().map(|(id, snapshot)| (*id, snapshot)))
        .collect();
    let mut all: Vec<(Id, Snapshot)> = all.into_iter().map(|(id, snapshot)| (id, snapshot.clone())).collect();
    all.sort_by_key(|(id, snapshot)| (snapshot.time, *id));
    let mut lacking = sync::wanted(&app.settings, look.copy, &[&stack.name], &all, app.run.clock.now());
    let held = seen.stacks.get(&stack.name);
    let is_there = |id: &Id| held.is_some_and(|held| held.snapshots.iter().any(|(held, _)| held == id));
    // What is damaged is there, and said of elsewhere.
    lacking.retain(|id| !is_there(id) && !seen.damaged.contains(id));
    lacking
}

/// What is known of a stack's copies.
fn known(app: &App, looks: &[&Look<'_>], stack: &StackSettings) -> Vec<CopyKnown> {
    let (state, now) = (app.state(), app.run.clock.now());
    let known = |look: &&Look<'_>| {
        let copy = look.copy;
        let seen = look.seen.as_ref().ok();
        let held = seen.and_then(|seen| seen.stacks.get(&stack.name));
        CopyKnown {
            name: copy.name.clone(),
            media: copy.media.clone(),
            offsite: copy.offsite,
            immutable: copy.immutable,
            removable: copy.removable,
            site: copy.site.clone(),
            place: failure_domain::place(copy),
            password: failure_domain::password(&app.settings, copy),
            fault: look.seen.as_ref().err().cloned(),
            is_other: is_other(looks, look),
            twin: twin(looks, look),
            newest: held.and_then(|held| held.newest.clone()),
            damaged: seen.map_or_else(Vec::new, |seen| seen.damaged.clone()),
            glance: seen.map_or_else(Glance::default, |seen| seen.glance),
            lost: seen.map_or_else(Vec::new, |seen| seen.lost.clone()),
            receipts_unread: seen.map_or(0, |seen| seen.receipts.unread.len()),
            check: state.last_check(copy),
            keeps_archives: copy.archives().is_some(),
            last_seen: state.last_seen(copy).map(|seen| seen.at),
            last_step: state.last_step(copy, &stack.name),
            lacking: lacking(app, stack, looks, look),
            snapshots: held.into_iter().flat_map(|held| &held.snapshots).map(|(id, _)| *id).collect(),
            several_hosts: held.map_or_else(BTreeSet::new, |held| retention::hosts_at_once(&held.described)),
            ahead: held
                .into_iter()
                .flat_map(|held| held.snapshots.iter().copied())
                .filter(|(_, at)| snapshots::is_ahead(*at, now))
                .collect(),
        }
    };
    looks.iter().map(known).collect()
}

/// The receipts of all copies, oldest first. Each lies in the copy that it is of; where one was copied as files, it counts once.
fn receipts(looks: &[&Look<'_>]) -> Vec<Receipt> {
    let mut receipts: Vec<Receipt> = Vec::new();
    for receipt in looks.iter().filter_map(|look| look.seen.as_ref().ok()).flat_map(|seen| &seen.receipts.read) {
        if !receipts.contains(receipt) {
            receipts.push(receipt.clone());
        }
    }
    receipts.sort_by_key(|receipt| receipt.at);
    receipts
}

/// The health of a stack, from a look into its copies.
pub fn health(app: &App, stack: &StackSettings, looks: &[&Look<'_>]) -> Health {
    let copies: Vec<CopyKnown> = known(app, looks, stack);
    let receipts = receipts(looks);
    // What the first copies say counts.
    let held = looks.iter().rev().filter_map(|look| look.seen.as_ref().ok()?.stacks.get(&stack.name));
    let volumes = held.flat_map(|held| held.volumes.clone()).collect();
    let live = failure_domain::live(&app.settings, stack, &volumes);
    let last_run = app.state().last_run(&stack.name);
    let known = Known {
        stack: &stack.name,
        live: &live,
        receipts: &receipts,
        copies: &copies,
        last_run: last_run.as_ref(),
        rpo: stack.rpo,
        rto: stack.rto,
    };
    status::health(&known, app.run.clock.now())
}
