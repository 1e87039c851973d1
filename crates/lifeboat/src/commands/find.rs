//! `lifeboat find`: in which snapshots a file is, by its name.

use operations::{Fault, snapshots};
use repository::walk::{self, Go, Step};
use serde_json::json;

use crate::app::App;
use crate::arguments;
use crate::output::{Outcome, bytes, count};

pub fn run(app: &App, arguments: &arguments::Find) -> Result<Outcome, Fault> {
    let stack = arguments.stack.as_deref();
    let copies = app.repositories(arguments.copy.as_deref(), None)?;
    let (repository, found) = match &arguments.snapshot {
        Some(name) => {
            let (opened, found) = app.find_snapshot(&copies, name, stack)?;
            (opened.repository, vec![(found.id, found.snapshot)])
        }
        None => {
            let repository = app.open_first(&copies)?.repository;
            let found = snapshots::of_stack(repository.snapshots(&app.run.cancel)?, stack);
            app.check_stack(stack, !found.is_empty())?;
            (repository, found)
        }
    };
    let index = app.index(&repository)?;
    let mut matches = 0;
    // Newest first: that is the one most are looking for.
    for (id, snapshot) in found.iter().rev() {
        walk::walk(&app.cx(), &repository, &index, &snapshot.tree, &mut |step| {
            if let Step::Reach(path, node) = step
                && is_match(arguments.pattern.as_bytes(), &node.name)
            {
                matches += 1;
                let time = super::snapshots::minute(app, node.mtime.into());
                app.output().text(format!("{}:{}  {}  {time}", id.short(), path.display(), bytes(node.size)));
                app.output().json(
                    "match",
                    json!({ "snapshot": id, "path": path.to_string_lossy(), "type": node.kind.name(),
                            "size": node.size, "mtime": node.mtime }),
                );
            }
            Ok(Go::In)
        })?;
    }
    app.output().summary(json!({ "status": "ok", "matches": matches, "snapshots": found.len() }));
    app.output().chat(format!("{matches} found in {}", count(found.len() as u64, "snapshot")));
    Ok(Outcome::Ok)
}

/// Shell patterns: `*` for any bytes, `?` for one. In time proportional to the product of both lengths, whatever the
/// pattern.
fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut pos) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while pos < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, pos));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[pos] => {
                at += 1;
                pos += 1;
            }
            _ => {
                // Let the last star take one byte more.
                let Some((star_at, taken)) = star else { return false };
                star = Some((star_at, taken + 1));
                at = star_at + 1;
                pos = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::is_match;

    #[test]
    fn patterns_match_whole_names() {
        for (pattern, name, expected) in [
            ("*.couch", "shard.couch", true),
            ("*.couch", "shard.couch.bak", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b", "xaxbx", false),
            ("", "", true),
            ("**", "anything", true),
            ("plain", "plain", true),
        ] {
            assert_eq!(is_match(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
    }
}
