//! `lifeboat discover`: what is here that should be backed up, and what is not covered.

mod docker;

use std::collections::BTreeSet;
use std::path::Path;

use connectors::containers::EngineAddress;
use connectors::source::{self, ChtHost, ComposeProject, Discovery, FoundServer, SentinelHost, ServerKind, Uncovered};
use operations::Fault;
use operations::config::{
    ComposeSettings, ContainerSettings, DatabaseServer, DatabaseSettings, FilesSettings, NewSource, Presets,
    SourceKind, SourceSettings, SqliteSettings,
};
use repository::SourceError;
use serde_json::json;

use super::{cht, sentinel};
use crate::app::Run;
use crate::arguments;
use crate::output::{Outcome, Output, bytes, count};

/// Databases and gaps shown one by one; `--json` gives all.
const SHOWN: usize = 20;

pub fn run(run: &Run, arguments: &arguments::Discover) -> Result<Outcome, Fault> {
    let found = look(run, &arguments.dir)?;
    found.show(run.output);
    let docker = match arguments.docker {
        true => Some(docker::look(run, &found.discovery.projects, &found.sources()?)?),
        false => None,
    };
    let discovery = &found.discovery;
    run.output.summary(json!({
        "status": "ok", "dir": discovery.dir, "files": discovery.files, "bytes": discovery.bytes,
        "databases": discovery.databases.iter().map(|db| json!({ "path": db.path, "bytes": db.bytes })).collect::<Vec<_>>(),
        "servers": discovery.servers.iter()
            .map(|server| json!({ "project": server.project, "service": server.service, "server": server.kind.name() }))
            .collect::<Vec<_>>(),
        "projects": discovery.projects.iter().map(project_json).collect::<Vec<_>>(),
        "cache_folders": discovery.cache_folders,
        "profile": found.stack(), "missing": found.missing(),
        "uncovered": found.uncovered().iter()
            .map(|gap| json!({ "name": gap.name, "why": gap.why, "server": gap.server.map(ServerKind::name) }))
            .collect::<Vec<_>>(),
        "problems": discovery.problems, "cut_short": discovery.is_cut_short, "docker": docker,
    }));
    run.output.chat("`lifeboat init` writes a configuration of this; `lifeboat protect` also backs up and drills");
    Ok(Outcome::Ok)
}

fn project_json(project: &ComposeProject) -> serde_json::Value {
    json!({
        "name": project.name, "files": project.files, "env_files": project.env_files,
        "services": project.services.iter().map(|(name, service)| (name.clone(), json!(service.image))).collect::<serde_json::Map<_, _>>(),
        "volumes": project.volumes.keys().collect::<Vec<_>>(),
    })
}

/// What was found in a folder, and the sources it makes.
pub struct Found {
    discovery: Discovery,
    profile: Option<Profile>,
}

/// An application that is known as a whole.
enum Profile {
    Cht(ChtHost),
    Sentinel(SentinelHost),
}

/// Looks into `dir`.
pub fn look(run: &Run, dir: &Path) -> Result<Found, Fault> {
    let mut discovery = source::discover(dir, &run.cancel)?;
    let variables = run.environment.variables();
    let engine = EngineAddress::of(variables);
    let cht = ChtHost::find(&mut discovery, &engine, variables, &run.cancel)?;
    let profile = match cht {
        Some(cht) => Some(Profile::Cht(cht)),
        None => SentinelHost::find(&discovery, &sentinel::servers(), &engine, &run.cancel)?.map(Profile::Sentinel),
    };
    if profile.is_none() && !discovery.projects.is_empty() {
        discovery.find_servers(&engine, &run.cancel)?;
    }
    Ok(Found { discovery, profile })
}

impl Found {
    /// The name of the stack, where the application that was found gives it one.
    pub fn stack(&self) -> Option<&'static str> {
        self.profile.as_ref().map(|profile| match profile {
            Profile::Cht(_) => cht::STACK,
            Profile::Sentinel(_) => sentinel::STACK,
        })
    }

    /// What a new configuration says besides its sources.
    pub fn presets(&self) -> Presets {
        match &self.profile {
            Some(Profile::Cht(_)) => cht::presets(),
            Some(Profile::Sentinel(_)) => sentinel::presets(),
            None => Presets::default(),
        }
    }

    /// The sources of the application that was found, else a source for each kind of thing that was found: the files, the databases among them, each compose project.
    pub fn sources(&self) -> Result<Vec<NewSource>, SourceError> {
        match &self.profile {
            Some(Profile::Cht(cht)) => return Ok(cht::sources(cht)),
            Some(Profile::Sentinel(sentinel)) => return sentinel::sources(sentinel),
            None => {}
        }
        let found = &self.discovery;
        let mut sources = Vec::new();
        let mut add = |name: String, kind, note: String| {
            sources.push(NewSource { source: SourceSettings::new(name, kind), note: Some(note) });
        };
        // Databases first: their copies are made at one instant, before files are read.
        if !found.databases.is_empty() {
            let sqlite = SqliteSettings::new(vec![found.dir.clone()], Vec::new());
            let databases = count(found.databases.len() as u64, "SQLite database");
            add("databases".to_owned(), SourceKind::Sqlite(sqlite), format!("{databases}, copied while in use"));
        }
        let mut names: BTreeSet<_> = ["databases", "files"].map(str::to_owned).into();
        let mut unused = |mut name: String| {
            while !names.insert(name.clone()) {
                name.push('x');
            }
            name
        };
        for server in &found.servers {
            let FoundServer { project, service, .. } = server;
            let note = format!("{} in service {service} of {project}, taken through the server", server.kind.name());
            add(unused(service.clone()), server_source(server), note);
        }
        for project in &found.projects {
            let compose =
                ComposeSettings { files: project.files.iter().cloned().collect(), env: Vec::new(), project: None };
            let services = count(project.services.len() as u64, "service");
            let name =
                if found.projects.len() == 1 { "compose".to_owned() } else { format!("compose-{}", project.name) };
            add(unused(name), SourceKind::Compose(compose), format!("compose project {}, {services}", project.name));
        }
        let mut files = FilesSettings::new(vec![found.dir.clone()]);
        files.exclude_caches = !found.cache_folders.is_empty();
        add("files".to_owned(), SourceKind::Files(files), "everything else".to_owned());
        Ok(sources)
    }

    /// The names of what these sources do not cover.
    pub fn gaps(&self) -> Vec<String> {
        self.uncovered().iter().map(|gap| gap.name.clone()).chain(self.missing().to_owned()).collect()
    }

    fn uncovered(&self) -> &[Uncovered] {
        match &self.profile {
            Some(Profile::Cht(cht)) => &cht.uncovered,
            Some(Profile::Sentinel(sentinel)) => &sentinel.uncovered,
            None => &self.discovery.uncovered,
        }
    }

    fn missing(&self) -> &[String] {
        match &self.profile {
            Some(Profile::Cht(cht)) => &cht.missing,
            Some(Profile::Sentinel(sentinel)) => &sentinel.missing,
            None => &[],
        }
    }

    /// Shows what was found, in a few lines.
    pub fn show(&self, output: Output) {
        let found = &self.discovery;
        output.chat(format!("found in {}:", found.dir.display()));
        let cut = if found.is_cut_short { ", and more that was not looked at" } else { "" };
        output.chat(format!("  {}, {}{cut}", count(found.files, "file"), bytes(found.bytes)));
        if !found.databases.is_empty() {
            output.chat(format!("  {}:", count(found.databases.len() as u64, "SQLite database")));
        }
        for database in found.databases.iter().take(SHOWN) {
            output.chat(format!("    {} ({})", database.path.display(), bytes(database.bytes)));
        }
        more(output, found.databases.len());
        for project in &found.projects {
            let files: Vec<String> = project.files.iter().map(|file| file.display().to_string()).collect();
            output.chat(format!("  compose project {} ({})", project.name, files.join(", ")));
            for (name, service) in &project.services {
                output.chat(format!("    service {name}: {}", service.image.as_deref().unwrap_or("built here")));
            }
        }
        for FoundServer { project, service, kind } in &found.servers {
            output.chat(format!(
                "  {} in service {service} of {project} runs: it is taken through the server",
                kind.name()
            ));
        }
        if !found.cache_folders.is_empty() {
            let folders = count(found.cache_folders.len() as u64, "cache folder");
            output.chat(format!("  {folders} (CACHEDIR.TAG), left out"));
        }
        match &self.profile {
            Some(Profile::Cht(cht)) => cht::show(cht, output),
            Some(Profile::Sentinel(sentinel)) => sentinel::show(sentinel, output),
            None => {}
        }
        let uncovered = self.uncovered();
        if !uncovered.is_empty() {
            let backup = if self.profile.is_some() { "this stack" } else { "a backup of this folder" };
            output.text(format!("NOT covered by {backup}:"));
        }
        for gap in uncovered.iter().take(SHOWN) {
            output.text(format!("  {}: {}", gap.name, gap.why));
        }
        more(output, uncovered.len());
        for problem in found.problems.iter().take(SHOWN) {
            output.text(format!("  problem: {problem}"));
        }
        more(output, found.problems.len());
    }
}

/// Who may log in, its container knows.
/// A source that goes through a server in a container.
pub fn server_source(FoundServer { project, service, kind }: &FoundServer) -> SourceKind {
    let container = ContainerSettings::Service { service: service.clone(), project: Some(project.clone()) };
    let settings = DatabaseSettings::new(DatabaseServer::Container(container));
    match kind {
        ServerKind::Postgres => SourceKind::Postgres(settings),
        ServerKind::Mysql => SourceKind::Mysql(settings),
        // Others are not among what is found.
        _ => SourceKind::Redis(settings),
    }
}

fn more(output: Output, total: usize) {
    if total > SHOWN {
        output.chat(format!("    and {} more", total - SHOWN));
    }
}
