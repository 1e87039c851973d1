//! What `lifeboat serve` does by itself, and where it is reached.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::Path;

use super::{Mistake, Resolver, Result, Text, mistake_in};
use crate::config::jobs::{AT_ONCE, CheckDocument, CheckJob, JobDocument, JobSettings, JobsDocument, JobsSettings};
use crate::config::server::{Metrics, ServerDocument, ServerSettings, TlsFiles};
use crate::schedule::{Expression, Hours, Overlap};

impl Resolver<'_> {
    pub(super) fn jobs(&self, jobs: Option<&JobsDocument>) -> Result<JobsSettings> {
        let none = JobsDocument::default();
        let jobs = jobs.unwrap_or(&none);
        let job = |name, job: &Option<JobDocument>| job.as_ref().map(|job| self.job(name, job)).transpose();
        Ok(JobsSettings {
            at_once: jobs.at_once.as_ref().map_or(Ok(AT_ONCE), |text| self.at_once(text))?,
            time_zone: match &jobs.timezone {
                Some(zone) => self.time_zone(zone)?,
                None => self.environment.time_zone().clone(),
            },
            check: jobs.check.as_ref().map(|check| self.check_job(check)).transpose()?,
            sync: job("sync", &jobs.sync)?,
            prune: job("prune", &jobs.prune)?,
            tamper_test: job("tamper_test", &jobs.tamper_test)?,
        })
    }

    fn at_once(&self, text: &Text) -> Result<NonZeroUsize> {
        self.text(text)?.parse().map_err(|_| {
            Mistake::at(text.place, "expected how many jobs run at once").with_hint("write a number from 1 on")
        })
    }

    fn job(&self, name: &str, job: &JobDocument) -> Result<JobSettings> {
        Ok(JobSettings { schedule: self.schedule_of_job(name, &job.schedule)?, hours: self.hours(&job.hours)? })
    }

    fn check_job(&self, check: &CheckDocument) -> Result<CheckJob> {
        let read_data_subset = check.read_data_subset.as_ref().map(|text| self.percent(text)).transpose()?;
        let read_data = self.boolean(&check.read_data)?;
        match &check.read_data_subset {
            Some(text) if read_data => {
                Err(Mistake::at(text.place, "`read_data` reads all of it already").with_hint("remove one of the two"))
            }
            _ => Ok(CheckJob {
                schedule: self.schedule_of_job("check", &check.schedule)?,
                hours: self.hours(&check.hours)?,
                read_data,
                read_data_subset,
            }),
        }
    }

    fn schedule_of_job(&self, name: &str, schedule: &Option<Text>) -> Result<Expression> {
        self.schedule(schedule)?.ok_or_else(|| {
            Mistake::of_file(format!("`jobs: {name}: schedule` is missing"))
                .with_hint("add when it runs, such as `schedule: H 3 * * *`")
        })
    }

    pub(super) fn hours(&self, hours: &Option<Text>) -> Result<Option<Hours>> {
        let Some(text) = hours else { return Ok(None) };
        self.text(text)?
            .parse::<Hours>()
            .map(Some)
            .map_err(|()| Mistake::at(text.place, "expected hours of the day").with_hint("write them like 22:00-06:00"))
    }

    pub(super) fn overlap(&self, overlap: &Option<Text>) -> Result<Overlap> {
        let Some(text) = overlap else { return Ok(Overlap::default()) };
        match &*self.text(text)? {
            "refuse" => Ok(Overlap::Refuse),
            "queue" => Ok(Overlap::Queue),
            _ => Err(Mistake::at(text.place, "expected refuse or queue").with_hint(
                "refuse: a time that comes while it still runs is left out; queue: it runs once more afterwards",
            )),
        }
    }

    pub(super) fn server(&self, server: Option<&ServerDocument>, state_dir: &Path) -> Result<ServerSettings> {
        let local = ServerSettings::local(state_dir.join("restores"));
        let Some(server) = server else { return Ok(local) };
        let listen = match &server.listen {
            None => local.listen,
            Some(text) => self.text(text)?.parse::<SocketAddr>().map_err(|_| {
                Mistake::at(text.place, "expected an address and a port")
                    .with_hint("write it like 127.0.0.1:8484, or 0.0.0.0:8484 for every network of this machine")
            })?,
        };
        let restore_dir = server.restore_dir.as_ref().map_or(Ok(local.restore_dir), |path| self.path(path))?;
        let url = server.url.as_ref().map(|url| self.url_of_server(url)).transpose()?;
        let metrics = server.metrics.as_ref().map_or(Ok(local.metrics), |text| self.metrics(text))?;
        Ok(ServerSettings { listen, url, tls: self.tls_files(server)?, metrics, restore_dir })
    }

    fn metrics(&self, text: &Text) -> Result<Metrics> {
        match &*self.text(text)? {
            "open" => Ok(Metrics::Open),
            "token" => Ok(Metrics::Token),
            _ => Err(Mistake::at(text.place, "expected open or token")
                .with_hint("open: for anybody who reaches the server; token: for who has a token")),
        }
    }

    fn url_of_server(&self, text: &Text) -> Result<String> {
        let url = self.environment.replace(&text.raw).map_err(|what| mistake_in(text, what))?;
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        match rest.filter(|rest| !rest.is_empty() && !rest.contains(['@', '?', '#', ' '])) {
            Some(_) => Ok(url.trim_end_matches('/').to_owned()),
            None => Err(Mistake::at(text.place, "this is no address of a server")
                .with_hint("write it like https://backup.example.org")),
        }
    }

    fn tls_files(&self, server: &ServerDocument) -> Result<Option<TlsFiles>> {
        match (&server.certificate, &server.certificate_key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => {
                Ok(Some(TlsFiles { certificate: self.path(certificate)?, key: self.path(key)? }))
            }
            (Some(one), None) | (None, Some(one)) => {
                Err(Mistake::at(one.place, "`certificate` and `certificate_key` go together")
                    .with_hint("name both files, or none"))
            }
        }
    }
}
