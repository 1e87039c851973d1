//! `lifeboat ls` and `lifeboat cat`: what is in a snapshot.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use operations::{Fault, FaultKind};
use repository::format::go;
use repository::format::pack::BlobKind;
use repository::format::snapshot::Snapshot;
use repository::walk::{self, Go, Step};
use repository::{Event, Events as _, Index, Node, NodeKind, Repository};
use serde_json::json;

use crate::app::App;
use crate::arguments;
use crate::output::{Outcome, count};

pub fn ls(app: &App, arguments: &arguments::Ls) -> Result<Outcome, Fault> {
    let place = &arguments.place;
    let (repository, snapshot) = named(app, arguments.copy.as_deref(), &place.snapshot, arguments.stack.as_deref())?;
    let index = app.index(&repository)?;
    let node = find(&repository, &index, &snapshot.tree, &place.path)?;
    let mut entries = 0;
    let mut list = |path: &Path, node: &Node| {
        entries += 1;
        show(app, &place.path.join(path), node, arguments.long);
    };
    match node.subtree {
        None => list(Path::new(""), &node),
        Some(tree) => walk::walk(&app.cx(), &repository, &index, &tree, &mut |step| {
            if let Step::Reach(path, node) = step {
                list(path, node);
            }
            Ok(if arguments.recursive { Go::In } else { Go::Past })
        })?,
    }
    app.output().summary(json!({ "status": "ok", "entries": entries }));
    if arguments.long {
        app.output().chat(count(entries, "entry"));
    }
    Ok(Outcome::Ok)
}

fn show(app: &App, path: &Path, node: &Node, long: bool) {
    let shown = path.to_string_lossy();
    app.output().json(
        "node",
        json!({
            "path": shown, "type": node.kind.name(), "size": node.size, "mtime": node.mtime, "uid": node.uid,
            "gid": node.gid, "user": node.user, "group": node.group,
            "mode": format!("{:04o}", go::permissions_from_mode(node.mode)),
            "link_target": (node.kind == NodeKind::Symlink).then(|| String::from_utf8_lossy(&node.link_target)),
        }),
    );
    let slash = if node.kind == NodeKind::Dir { "/" } else { "" };
    // A name with a line break must not look like two.
    let shown = go::quote(path.as_os_str().as_encoded_bytes());
    if long {
        let owner = |name: &str, number: u32| if name.is_empty() { number.to_string() } else { name.to_owned() };
        app.output().text(format!(
            "{} {:04o} {:>8} {:>8} {:>12} {} {shown}{slash}",
            node.kind.name(),
            go::permissions_from_mode(node.mode),
            owner(&node.user, node.uid),
            owner(&node.group, node.gid),
            node.size,
            super::snapshots::minute(app, node.mtime.into()),
        ));
    } else {
        app.output().text(format!("{shown}{slash}"));
    }
}

pub fn cat(app: &App, arguments: &arguments::Cat) -> Result<Outcome, Fault> {
    let place = &arguments.place;
    let (repository, snapshot) = named(app, arguments.copy.as_deref(), &place.snapshot, arguments.stack.as_deref())?;
    let index = app.index(&repository)?;
    let node = find(&repository, &index, &snapshot.tree, &place.path)?;
    if node.kind != NodeKind::File {
        let what = format!("{place} is not a file but a {}", node.kind.name());
        return Err(Fault::new(FaultKind::NotFound, what).with_hint("`lifeboat ls` lists what is in a folder"));
    }
    let mut output = std::io::stdout().lock();
    for id in &node.content {
        app.run.cancel.check()?;
        let blob = repository.blob(&index, BlobKind::Data, id)?;
        output.write_all(&blob).map_err(|error| Fault::local("cannot write to standard output", error))?;
    }
    output.flush().map_err(|error| Fault::local("cannot write to standard output", error))?;
    Ok(Outcome::Ok)
}

/// The snapshot called `name`, and the repository that it was found in.
fn named(app: &App, copy: Option<&str>, name: &str, stack: Option<&str>) -> Result<(Arc<Repository>, Snapshot), Fault> {
    let (opened, found) = app.find_snapshot(&app.repositories(copy, None)?, name, stack)?;
    for doubt in found.doubts {
        app.run.progress.emit(Event::Problem(doubt));
    }
    Ok((opened.repository, found.snapshot))
}

fn find(repository: &Repository, index: &Index, tree: &repository::Id, path: &Path) -> Result<Node, Fault> {
    walk::find(repository, index, tree, path)?.ok_or_else(|| {
        Fault::new(FaultKind::NotFound, format!("{} is not in the snapshot", path.display()))
            .with_hint("`lifeboat ls` lists what is in it")
    })
}
