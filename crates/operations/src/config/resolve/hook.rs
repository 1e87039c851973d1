//! What is done around a capture.

use std::time::Duration;

use super::{Resolver, Result, required};
use crate::config::hook::{
    FreezeDocument, FreezeSettings, HookDocument, HookOptionsDocument, HookSettings, Hooks, MAX_DOWNTIME, OnError,
    TIMEOUT,
};
use crate::config::mistake::Mistake;
use crate::config::settings::{ContainerSettings, DatabaseServer, SourceKind, SourceSettings};
use crate::config::text::{OneOrMany, Place, Text};

impl Resolver<'_> {
    pub(super) fn hooks(&self, before: &Option<Vec<HookDocument>>, after: &Option<Vec<HookDocument>>) -> Result<Hooks> {
        let resolved = |hooks: &Option<Vec<HookDocument>>| {
            hooks.iter().flatten().map(|hook| self.hook(hook)).collect::<Result<Vec<_>>>()
        };
        Ok(Hooks { before: resolved(before)?, after: resolved(after)? })
    }

    fn hook(&self, hook: &HookDocument) -> Result<HookSettings> {
        match hook {
            HookDocument::Line(line) => Ok(HookSettings::new(self.command_line(line)?)),
            HookDocument::Options(options, place) => self.hook_of(options, *place),
        }
    }

    fn hook_of(&self, hook: &HookOptionsDocument, place: Place) -> Result<HookSettings> {
        let missing = || {
            Mistake::at(place, "`run` is missing")
                .with_hint("add the command, such as `run: php occ maintenance:mode --on`")
        };
        let run = self.command_line(hook.run.as_ref().ok_or_else(missing)?)?;
        let container = match (&hook.service, &hook.project, &hook.container) {
            (None, None, None) => None,
            (None, Some(project), None) => {
                return Err(
                    Mistake::at(project.place, "`project` needs a `service`").with_hint("add it, or remove this")
                );
            }
            // One of the two is there, so the place is never told.
            (service, project, container) => {
                let name = service.as_ref().or(container.as_ref()).or(project.as_ref());
                name.map(|name| self.container(name, (service, project, container))).transpose()?
            }
        };
        let timeout = match &hook.timeout {
            None => TIMEOUT,
            Some(span) => self.some_time(span)?,
        };
        let on_error = hook.on_error.as_ref().map_or(Ok(OnError::Fail), |text| self.on_error(text))?;
        Ok(HookSettings { run, container, timeout, on_error })
    }

    fn on_error(&self, text: &Text) -> Result<OnError> {
        match &*self.text(text)? {
            "fail" => Ok(OnError::Fail),
            "warn" => Ok(OnError::Warn),
            "continue" => Ok(OnError::Continue),
            _ => Err(Mistake::at(text.place, "expected fail, warn or continue")
                .with_hint("fail: the run fails; warn: it is partial; continue: its result does not change")),
        }
    }

    /// A span of time that is not nothing.
    fn some_time(&self, text: &Text) -> Result<Duration> {
        let span = self.duration(text)?;
        if span.is_zero() {
            return Err(Mistake::at(text.place, "this leaves no time").with_hint("write a longer one, such as 60s"));
        }
        Ok(span)
    }

    pub(super) fn freeze(
        &self,
        stack: &Text,
        freeze: &FreezeDocument,
        sources: &[SourceSettings],
    ) -> Result<FreezeSettings> {
        let mode = required(&freeze.mode, stack, "mode", "`mode: pause` or `mode: stop` to `freeze`")?;
        let names = |texts: &Option<OneOrMany>| {
            texts.iter().flat_map(OneOrMany::texts).map(|name| self.engine_name(name)).collect::<Result<Vec<_>>>()
        };
        let (services, containers) = (names(&freeze.services)?, names(&freeze.containers)?);
        if let (true, Some(project)) = (services.is_empty(), &freeze.project) {
            return Err(Mistake::at(project.place, "`project` belongs to `services`")
                .with_hint("remove it: a container's name needs no project"));
        }
        let is_captured = |kind: &SourceKind| match kind {
            SourceKind::Postgres(database) | SourceKind::Mysql(database) | SourceKind::Redis(database) => {
                matches!(&database.server, DatabaseServer::Container(server) if match server {
                    ContainerSettings::Service { service, .. } => services.contains(service),
                    ContainerSettings::Container { container } => containers.contains(container),
                })
            }
            _ => false,
        };
        if let Some(source) = sources.iter().find(|source| is_captured(&source.kind)) {
            let what = format!("the server of source `{}` would stand still, and could not be asked", source.name);
            return Err(Mistake::at(mode.place, what)
                .with_hint("take it out of `freeze`: what it holds is captured as of one moment all the same"));
        }
        if services.is_empty() && containers.is_empty() {
            return Err(Mistake::at(mode.place, "`freeze` names no container")
                .with_hint("add `services: [web]`, or `containers` with their names"));
        }
        Ok(FreezeSettings {
            mode: self.halt(mode)?,
            services,
            project: freeze.project.as_ref().map(|project| self.engine_name(project)).transpose()?,
            containers,
            max_downtime: freeze.max_downtime.as_ref().map_or(Ok(MAX_DOWNTIME), |span| self.some_time(span))?,
        })
    }
}
