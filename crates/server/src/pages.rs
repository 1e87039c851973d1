//! The admin app: pages rendered here, forms that are forms, and one small script for what is live. All but live progress works
//! without it.

mod assets;
mod home;
mod layout;
pub mod reference;
mod sign_in;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};

use crate::shared::Shared;

/// The routes of all pages.
pub fn router() -> Router<Arc<Shared>> {
    Router::new()
        .route("/", get(home::show))
        .route("/sign-in", get(sign_in::show).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/setup", get(sign_in::show_setup).post(sign_in::set_up))
        .route("/assets/{name}", get(assets::get))
}
