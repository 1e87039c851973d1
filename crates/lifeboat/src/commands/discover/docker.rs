//! `lifeboat discover --docker`: what the container engine of this machine knows, and what of it a backup of the folder
//! would miss.

use std::collections::BTreeMap;

use connectors::containers::{Container, EngineAddress};
use connectors::source::{ComposeProject, Covered, Reach, Sight, server_kind_of_image};
use operations::Fault;
use operations::config::NewSource;
use serde_json::{Value, json};

use super::super::reach::reach;
use crate::app::Run;
use crate::output::count;

/// Looks at the engine, shows what it knows, and gives that as JSON. `projects` and `sources` are what was found in the
/// folder. Fails where no engine answers: it was asked for.
pub fn look(run: &Run, projects: &[ComposeProject], sources: &[NewSource]) -> Result<Value, Fault> {
    let engine = EngineAddress::of(run.environment.variables()).open(&run.cancel)?;
    let containers = engine.containers()?;
    let sight = Sight::new(Some(&engine), projects, &[], &run.cancel)?;
    let mut reaches = Vec::new();
    for found in sources {
        reaches.extend(reach(run, &found.source.kind, Some(&engine))?);
    }
    run.output.chat(format!("found in the container engine at {}:", engine.socket().display()));
    show_containers(run, &containers);
    let mut things = Vec::new();
    for thing in sight.things() {
        let covered = Reach::cover(&reaches, thing);
        if covered == Covered::No {
            run.output.text(format!("  NOT covered by a backup of this folder: {thing}"));
        }
        things.push(json!({
            "kind": thing.kind.name(), "name": thing.name, "path": thing.place, "used_by": thing.used_by,
            "known": !thing.is_unknown, "covered": covered == Covered::Yes, "rebuilt": covered == Covered::Rebuilt,
        }));
    }
    for problem in &sight.problems {
        run.output.text(format!("  problem: {problem}"));
    }
    Ok(json!({
        "socket": engine.socket(), "containers": containers.iter().map(described).collect::<Vec<_>>(), "things": things,
        "problems": sight.problems,
    }))
}

fn described(container: &Container) -> Value {
    json!({
        "name": container.name, "image": container.image, "project": container.project(), "service": container.service(),
        "server": server_kind_of_image(&container.image).map(|server| server.name()),
    })
}

/// By their Compose projects.
fn show_containers(run: &Run, containers: &[Container]) {
    let mut by_project: BTreeMap<Option<&str>, Vec<&Container>> = BTreeMap::new();
    for container in containers {
        by_project.entry(container.project()).or_default().push(container);
    }
    for (project, containers) in by_project {
        let name = project.map_or_else(|| "no compose project".to_owned(), |name| format!("compose project {name}"));
        run.output.chat(format!("  {name}, {}:", count(containers.len() as u64, "container")));
        for Container { name, image, .. } in containers {
            let server = server_kind_of_image(image).map_or(String::new(), |server| format!(" ({})", server.name()));
            run.output.chat(format!("    {name}: {image}{server}"));
        }
    }
}
