//! The HTTP API: what a program can do, the same as a user.
//!
//! Owns JSON shapes, statuses, the OpenAPI document and its pages. Every call parses, asks the
//! services and writes down the answer; an error of any kind is `application/problem+json`. Knows
//! nothing of engines, git or SQL, nor who may call: that is the guard's.

mod apps;
mod deployments;
mod docs;
mod events;
mod extract;
mod files;
mod jobs;
mod list;
mod logs;
mod models;
pub mod openapi;
mod preview_links;
mod resources;
mod runs;
mod sse;
mod system;
mod templates;
mod tokens;
mod turns;
mod usage;
mod versions;

use axum::Router;
use axum::extract::{DefaultBodyLimit, OriginalUri};
use axum::http::Method;
use axum::routing::{MethodRouter, any, delete, get, patch, post, put};

use crate::error::{AppError, ErrorKind};
use crate::services::Services;

/// Every call: its method, its path as the router reads it, and its handler. The tests hold this
/// against the OpenAPI document.
fn calls() -> Vec<(Method, &'static str, MethodRouter<Services>)> {
    let file_limit = DefaultBodyLimit::max(files::FILE_BODY_MAX);
    let turn_limit = DefaultBodyLimit::max(turns::BODY_MAX);
    vec![
        (Method::POST, "/api/v1/apps", post(apps::create)),
        (Method::GET, "/api/v1/apps", get(apps::list)),
        (Method::GET, "/api/v1/apps/{app}", get(apps::read)),
        (Method::PATCH, "/api/v1/apps/{app}", patch(apps::change)),
        (Method::DELETE, "/api/v1/apps/{app}", delete(apps::delete)),
        (Method::GET, "/api/v1/apps/{app}/export", get(apps::export)),
        (Method::GET, "/api/v1/apps/{app}/events", get(events::follow)),
        (Method::GET, "/api/v1/apps/{app}/model", get(models::read)),
        (Method::PUT, "/api/v1/apps/{app}/model", put(models::choose)),
        (Method::GET, "/api/v1/apps/{app}/usage", get(usage::of_app)),
        (Method::POST, "/api/v1/apps/{app}/turns", post(turns::create).layer(turn_limit)),
        (Method::GET, "/api/v1/apps/{app}/turns", get(turns::list)),
        (Method::GET, "/api/v1/apps/{app}/attachments/{id}", get(turns::attachment)),
        (Method::POST, "/api/v1/apps/{app}/turns/{turn}/continue", post(turns::go_on)),
        (Method::POST, "/api/v1/apps/{app}/previews", post(deployments::preview)),
        (Method::POST, "/api/v1/apps/{app}/publish", post(deployments::publish)),
        (Method::POST, "/api/v1/apps/{app}/rollback", post(deployments::rollback)),
        (Method::GET, "/api/v1/apps/{app}/releases", get(deployments::releases)),
        (Method::POST, "/api/v1/apps/{app}/preview-links", post(preview_links::create)),
        (Method::GET, "/api/v1/apps/{app}/preview-links", get(preview_links::list)),
        (Method::DELETE, "/api/v1/apps/{app}/preview-links/{id}", delete(preview_links::revoke)),
        (Method::GET, "/api/v1/apps/{app}/logs", get(logs::tail)),
        (Method::GET, "/api/v1/apps/{app}/resources", get(resources::read)),
        (Method::GET, "/api/v1/apps/{app}/versions", get(versions::list)),
        (Method::GET, "/api/v1/apps/{app}/versions/{id}/diff", get(versions::diff)),
        (Method::POST, "/api/v1/apps/{app}/versions/{id}/restore", post(versions::restore)),
        (Method::GET, "/api/v1/apps/{app}/files", get(files::list)),
        (Method::GET, "/api/v1/apps/{app}/files/{*path}", get(files::read)),
        (Method::PUT, "/api/v1/apps/{app}/files/{*path}", put(files::write).layer(file_limit)),
        (Method::DELETE, "/api/v1/apps/{app}/files/{*path}", delete(files::delete)),
        (Method::PUT, "/api/v1/apps/{app}/locks/{*path}", put(files::lock)),
        (Method::DELETE, "/api/v1/apps/{app}/locks/{*path}", delete(files::unlock)),
        (Method::POST, "/api/v1/apps/{app}/runs", post(runs::create)),
        (Method::GET, "/api/v1/apps/{app}/runs", get(runs::list)),
        (Method::GET, "/api/v1/apps/{app}/runs/{id}/log", get(runs::log)),
        (Method::GET, "/api/v1/jobs/{id}", get(jobs::read)),
        (Method::POST, "/api/v1/jobs/{id}/cancel", post(jobs::cancel)),
        (Method::GET, "/api/v1/jobs/{id}/events", get(jobs::events)),
        (Method::GET, "/api/v1/templates", get(templates::list)),
        (Method::GET, "/api/v1/models", get(models::list)),
        (Method::GET, "/api/v1/usage", get(usage::all)),
        (Method::POST, "/api/v1/tokens", post(tokens::create)),
        (Method::GET, "/api/v1/tokens", get(tokens::list)),
        (Method::DELETE, "/api/v1/tokens/{id}", delete(tokens::revoke)),
        (Method::GET, "/healthz", get(system::healthz)),
        (Method::GET, "/readyz", get(system::readyz)),
        (Method::GET, "/metrics", get(system::metrics)),
    ]
}

/// All calls, the OpenAPI document and the pages that show it. What is under `/api` and is no call
/// is answered here as well, so that pages can be merged with it.
pub fn router(services: Services) -> Router {
    let mut under_api = Router::new().route("/openapi.json", get(openapi::document));
    let mut beside = Router::new().merge(docs::router());
    for (_, path, handler) in calls() {
        match path.strip_prefix("/api") {
            Some(rest) => under_api = under_api.route(rest, handler),
            None => beside = beside.route(path, handler),
        }
    }
    let under_api = under_api.fallback(no_such_call).method_not_allowed_fallback(no_such_method);
    // The router takes this one address for none of those below `/api`.
    beside = beside.route("/api/", any(no_such_call));
    beside.method_not_allowed_fallback(no_such_method).nest("/api", under_api).with_state(services)
}

async fn no_such_call(OriginalUri(uri): OriginalUri) -> AppError {
    AppError::new(ErrorKind::NotFound, "not_found", format!("There is no call at {}.", uri.path()))
        .hint("The calls are listed at /docs.")
}

async fn no_such_method(method: Method) -> AppError {
    AppError::new(ErrorKind::MethodNotAllowed, "method_not_allowed", format!("This address does not take {method}."))
        .hint("The Allow header lists what it takes.")
}
