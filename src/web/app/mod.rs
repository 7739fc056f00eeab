//! The pages of one app.

pub mod actions;
pub mod answer_views;
pub mod bar;
pub mod code;
pub mod code_sets;
mod code_stage;
pub mod conversation;
pub mod deployment;
pub mod feed;
pub mod files_view;
pub mod find_view;
pub mod history;
pub mod history_views;
pub mod live_turn;
pub mod log_views;
pub mod logs;
pub mod messages;
pub mod metrics;
pub mod metrics_view;
pub mod model;
mod naming;
pub mod page;
pub mod preview;
pub mod preview_views;
mod query;
pub mod release;
mod release_view;
pub mod requests;
pub mod requests_view;
pub mod share;
pub mod stream;
pub mod trouble;
pub mod trying;
pub mod turn_view;
pub mod usage;
pub mod version_card;
pub mod webhook;
pub mod webhook_views;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};

use super::Web;

/// Everything below `/apps/{app}`.
pub fn routes() -> Router<Web> {
    let with_files = DefaultBodyLimit::max(super::upload::FORM_MAX);
    let with_upload = DefaultBodyLimit::max(code_sets::FORM_MAX);
    Router::new()
        .route("/apps/{app}", get(preview::tab))
        .route("/apps/{app}/stream", get(stream::stream))
        .route("/apps/{app}/turns", get(conversation::earlier).post(conversation::start).layer(with_files))
        .route("/apps/{app}/attachments/{id}", get(conversation::attachment))
        .route("/apps/{app}/turns/{turn}/steps", get(conversation::steps))
        .route("/apps/{app}/turns/{turn}/text", get(conversation::text))
        .route("/apps/{app}/turns/{turn}/continue", get(actions::back_from_turn).post(conversation::continue_turn))
        .route("/apps/{app}/turns/{turn}/edit", get(actions::back_from_turn).post(conversation::edit))
        .route("/apps/{app}/previews", get(actions::back).post(actions::deploy))
        .route("/apps/{app}/publish", get(actions::back).post(actions::publish))
        .route("/apps/{app}/qr", get(actions::qr))
        .route("/apps/{app}/start", get(actions::back).post(actions::start))
        .route("/apps/{app}/rollback", get(actions::back).post(actions::rollback))
        .route("/apps/{app}/rename", get(naming::rename_page).post(naming::rename))
        .route("/apps/{app}/duplicate", get(naming::duplicate_page).post(naming::duplicate))
        .route("/apps/{app}/delete", get(actions::back).post(actions::delete))
        .route("/apps/{app}/code", get(code::tab))
        .route("/apps/{app}/code/{*path}", get(code::file).post(code::save))
        .route("/apps/{app}/delete-file/{*path}", post(code::delete))
        .route("/apps/{app}/rename-file/{*path}", post(code_sets::rename))
        .route("/apps/{app}/upload", get(code_sets::back).post(code_sets::upload).layer(with_upload))
        .route("/apps/{app}/pictures/{*path}", get(code::picture))
        .route("/apps/{app}/lock-file/{*path}", post(code::lock))
        .route("/apps/{app}/unlock-file/{*path}", post(code::unlock))
        .route("/apps/{app}/versions", get(history::versions))
        .route("/apps/{app}/versions/{version}", get(history::version))
        .route("/apps/{app}/versions/{version}/restore", post(history::restore))
        .route("/apps/{app}/releases", get(history::releases))
        .route("/apps/{app}/releases/{environment}/{release}", get(release::release))
        .route("/apps/{app}/releases/{environment}/{release}/deploy", get(release::back).post(release::deploy))
        .route("/apps/{app}/releases/preview/{release}/publish", get(release::back_to_preview).post(release::publish))
        .route("/apps/{app}/logs", get(logs::tab))
        .route("/apps/{app}/logs.txt", get(logs::text))
        .route("/apps/{app}/logs/stream", get(logs::stream))
        .route("/apps/{app}/requests", get(requests::tab))
        .route("/apps/{app}/requests/stream", get(requests::stream))
        .route("/apps/{app}/metrics", get(metrics::tab))
        .route("/apps/{app}/usage", get(usage::line))
        .route("/apps/{app}/settings", get(actions::settings))
        .route("/apps/{app}/model", get(actions::back).post(model::choose))
        .route("/apps/{app}/browser-errors", get(preview::browser_errors).post(preview::fix_browser_errors))
        .route("/apps/{app}/pages", get(preview::pages))
        .route("/apps/{app}/endpoints", get(preview::endpoints_list))
        .route("/apps/{app}/fix", get(actions::back).post(actions::fix))
        .route("/apps/{app}/auto-preview", get(actions::back).post(actions::auto_preview))
        .route("/apps/{app}/share", get(share::tab).post(share::create))
        .route("/apps/{app}/share/{id}/revoke", get(share::back).post(share::revoke))
        .route("/apps/{app}/runs", get(actions::back).post(trying::run_now))
        .route("/apps/{app}/runs/{run}", get(trying::run_log))
        .route("/apps/{app}/try", get(actions::back).post(trying::try_request))
        .route("/apps/{app}/try/curl", get(actions::back).post(trying::as_curl))
        .route("/apps/{app}/webhook-test", get(actions::back).post(webhook::test))
        .route("/apps/{app}/webhook-test/curl", get(actions::back).post(webhook::test_as_curl))
        .route("/apps/{app}/webhook-calls", get(webhook::list))
        .route("/apps/{app}/webhook-calls/{call}/again", post(webhook::send_again))
        .route("/apps/{app}/webhook-secret", get(webhook::secret))
        .route("/apps/{app}/webhook-secret/rotate", get(actions::back).post(webhook::rotate))
}
