//! The profile `cht`: the stack for a host of the Community Health Toolkit.

use connectors::source::{ChtHost, ChtNode, Place};
use jiff::tz::TimeZone;
use operations::config::{
    ComposeSettings, CouchDbSettings, FilesSettings, NewSource, PlaceSettings, Presets, SourceKind, SourceSettings,
    TlsSettings,
};

use crate::output::Output;

/// The profile's name, and that of the stack.
pub const STACK: &str = "cht";
/// Health workers synchronise all day: what is lost must be entered again from paper.
const RPO: &str = "6h";
/// When clinics are closed.
const DRILL: &str = "0 6 * * 0";

/// What the configuration says besides the sources.
pub fn presets() -> Presets {
    let time_zone = TimeZone::system().iana_name().map(str::to_owned);
    Presets { rpo: RPO, drill: Some(DRILL.to_owned()), time_zone }
}

/// A source for each part of the host. Where compose projects share a file, both have it.
pub fn sources(host: &ChtHost) -> Vec<NewSource> {
    let mut sources = Vec::new();
    let mut add = |name: String, kind, note: &str| {
        sources.push(NewSource { source: SourceSettings { name, schedule: None, kind }, note: Some(note.to_owned()) });
    };
    for (number, ChtNode { data, config }) in host.nodes.iter().enumerate() {
        let name = if host.nodes.len() == 1 { "records".to_owned() } else { format!("records-{}", number + 1) };
        let config = config.as_ref().map(settings);
        let couchdb = CouchDbSettings { config, ..CouchDbSettings::new(settings(data)) };
        let note = "CouchDB's files, each as of a commit, and the secret that decrypts medic-vault; CouchDB goes on";
        add(name, SourceKind::CouchDb(couchdb), note);
    }
    for (number, project) in host.projects.iter().enumerate() {
        // The project's name tells the engine's containers, and whoever restores, what is meant.
        let compose = ComposeSettings {
            files: project.files.clone(),
            env: project.env.clone(),
            project: Some(project.name.clone()),
        };
        let (name, note) = match number {
            0 => (
                "config",
                "the files that an upgrade writes anew, whose images are CHT's version, and those it wrote over",
            ),
            _ => ("upgrade-service", "it starts CHT, and is a project of its own"),
        };
        add(name.to_owned(), SourceKind::Compose(compose), note);
    }
    if let Some(from) = &host.certificates {
        let note = "the certificate and its key; without them CHT starts with a certificate that nobody knows";
        add("tls".to_owned(), SourceKind::Tls(TlsSettings::From { from: settings(from) }), note);
    }
    if !host.folders.is_empty() {
        let note = "what lies beside";
        add("files".to_owned(), SourceKind::Files(FilesSettings::new(host.folders.clone())), note);
    }
    sources
}

/// Shows what was found, and what was not.
pub fn show(host: &ChtHost, output: Output) {
    let version = host.version.as_deref().unwrap_or("of unknown version");
    output.chat(format!("  this is a host of the Community Health Toolkit, {version}"));
    for ChtNode { data, config } in &host.nodes {
        let config = config.as_ref().map_or_else(String::new, |config| format!(", configured in {}", settings(config)));
        output.chat(format!("    CouchDB: {}{config}", settings(data)));
    }
    if let Some(from) = &host.certificates {
        output.chat(format!("    certificate: {}", settings(from)));
    }
    for what in &host.missing {
        output.text(format!("  MISSING: {what}"));
    }
}

fn settings(place: &Place) -> PlaceSettings {
    match place {
        Place::Host(path) => PlaceSettings::Host(path.clone()),
        Place::Volume { name, below } => PlaceSettings::Volume { name: name.clone(), below: below.clone() },
        // None is found there: what lies in a container's own layer is lost with it.
        Place::Container { path, .. } => PlaceSettings::Host(path.clone()),
    }
}
