//! What is done by itself, and when next.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::Timestamp;

use super::layout::{Frame, SignedIn, shown};
use super::words::{ago, minute};
use crate::api::blocking;
use crate::api::stacks::{JobTimes, times};
use crate::problem::Problem;
use crate::shared::Shared;

#[derive(Template)]
#[template(path = "schedule.html")]
struct SchedulePage {
    frame: Frame,
    jobs: Vec<Job>,
}

/// A job, as the page shows it.
struct Job {
    name: String,
    hours: String,
    begun: String,
    soon: String,
    next: Vec<String>,
}

/// The page.
pub async fn show(State(shared): State<Arc<Shared>>, SignedIn(caller): SignedIn) -> Response {
    let who = caller.clone();
    let made = blocking(move || {
        let now = shared.clock.now();
        let jobs = times(&shared)?.into_iter().filter(|job| job.stack.as_ref().is_none_or(|stack| who.sees(stack)));
        let mut jobs: Vec<_> = jobs.collect();
        jobs.sort_by_key(|job| job.next.first().copied());
        let jobs = jobs.into_iter().map(|job| Job::new(job, now)).collect();
        Ok::<_, Problem>(SchedulePage { frame: Frame::new("Schedule", "/schedule", &who), jobs })
    });
    shown(&caller, made.await)
}

impl Job {
    fn new(job: JobTimes, now: Timestamp) -> Self {
        Self {
            name: job.name,
            hours: job.hours.unwrap_or_else(|| "any".to_owned()),
            begun: job.begun.map_or_else(|| "never".to_owned(), |at| ago(at, now)),
            soon: job.next.first().map_or_else(|| "never".to_owned(), |at| ago(*at, now)),
            next: job.next.into_iter().map(minute).collect(),
        }
    }
}
