//! The admin app: pages rendered here, forms that are forms, and one small script for what is live. All but live progress works
//! without it.

mod assets;
mod browse;
mod button;
mod calendar;
mod compare;
mod copies;
mod coverage;
mod create;
mod drills;
mod form;
mod home;
mod layout;
mod log;
mod plot;
pub mod reference;
mod restore;
mod run;
mod runs;
mod schedule;
mod settings;
mod sign_in;
mod snapshots;
mod stack;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::shared::Shared;

/// The routes of all pages.
pub fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(home::show))
        .route("/stacks/{name}", get(stack::show))
        .route("/snapshots", get(snapshots::show))
        .route("/snapshots/create", get(create::show).post(create::create))
        .route("/snapshots/compare", get(compare::show))
        .route("/snapshots/{id}", get(snapshots::show_one))
        .route("/snapshots/{id}/files", get(browse::show))
        .route("/restore", get(restore::show).post(restore::restore))
        .route("/runs", get(runs::show))
        .route("/runs/start", post(button::start))
        .route("/runs/{id}", get(run::show))
        .route("/runs/{id}/log", get(run::show_log))
        .route("/runs/{id}/cancel", post(run::cancel))
        .route("/copies", get(copies::show))
        .route("/drills", get(drills::show))
        .route("/coverage", get(coverage::show))
        .route("/schedule", get(schedule::show))
        .route("/settings", get(settings::show))
        .route("/settings/users", post(settings::add_user))
        .route("/settings/users/change", post(settings::change_user))
        .route("/settings/users/remove", post(settings::remove_user))
        .route("/settings/tokens", post(settings::add_token))
        .route("/settings/tokens/remove", post(settings::remove_token))
        .route("/settings/audit", get(settings::audit))
        .route("/settings/configuration", get(settings::configuration))
        .route("/sign-in", get(sign_in::show).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/setup", get(sign_in::show_setup).post(sign_in::set_up))
        .route("/assets/{name}", get(assets::get))
}
