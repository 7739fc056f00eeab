//! The pages of one app.

pub mod actions;
pub mod bar;
pub mod code;
pub mod conversation;
pub mod deployment;
pub mod files_view;
pub mod history;
pub mod history_views;
pub mod logs;
pub mod page;
pub mod preview;
pub mod preview_views;
pub mod stream;
pub mod trying;
pub mod turn_view;

use axum::Router;
use axum::routing::{get, post};

use super::Web;

/// Everything below `/apps/{app}`.
pub fn routes() -> Router<Web> {
    Router::new()
        .route("/apps/{app}", get(preview::tab))
        .route("/apps/{app}/stream", get(stream::stream))
        .route("/apps/{app}/turns", get(conversation::earlier).post(conversation::start))
        .route("/apps/{app}/turns/{turn}/steps", get(conversation::steps))
        .route("/apps/{app}/previews", get(actions::back).post(actions::deploy))
        .route("/apps/{app}/publish", get(actions::back).post(actions::publish))
        .route("/apps/{app}/rollback", get(actions::back).post(actions::rollback))
        .route("/apps/{app}/delete", get(actions::back).post(actions::delete))
        .route("/apps/{app}/code", get(code::tab))
        .route("/apps/{app}/code/{*path}", get(code::file).post(code::save))
        .route("/apps/{app}/delete-file/{*path}", post(code::delete))
        .route("/apps/{app}/versions", get(history::versions))
        .route("/apps/{app}/versions/{version}", get(history::version))
        .route("/apps/{app}/versions/{version}/restore", post(history::restore))
        .route("/apps/{app}/releases", get(history::releases))
        .route("/apps/{app}/logs", get(logs::tab))
        .route("/apps/{app}/logs.txt", get(logs::text))
        .route("/apps/{app}/logs/stream", get(logs::stream))
        .route("/apps/{app}/settings", get(actions::settings))
        .route("/apps/{app}/runs", get(actions::back).post(trying::run_now))
        .route("/apps/{app}/runs/{run}", get(trying::run_log))
        .route("/apps/{app}/try", post(trying::try_request))
        .route("/apps/{app}/webhook-test", post(trying::test_webhook))
        .route("/apps/{app}/webhook-secret", get(trying::webhook_secret))
}
