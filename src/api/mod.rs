//! The HTTP API: it offers programs everything that users can do.
//!
//! Owns JSON types, statuses, the OpenAPI document and its pages. Every call parses the request, calls the
//! services and serializes the result; every error is `application/problem+json`. Independent
//! of engines, git and SQL; the guard authenticates callers.

mod apps;
mod authorize;
mod deployments;
mod docs;
mod events;
mod extract;
mod file_sets;
mod files;
mod jobs;
mod list;
mod logs;
mod measurements;
mod models;
pub mod openapi;
mod preview_links;
mod resources;
mod runs;
mod sessions;
mod sse;
mod system;
mod templates;
mod tokens;
mod turns;
mod usage;
mod versions;

use axum::extract::{DefaultBodyLimit, OriginalUri};
use axum::http::Method;
use axum::routing::{MethodRouter, any, delete, get, patch, post, put};
use axum::{Extension, Router};

use authorize::{About, Needs, guarded};

use crate::error::{AppError, ErrorKind};
use crate::guard::Caller;
use crate::services::Services;

/// Every call: its method, its path in the router's syntax, the right that it needs, and its handler. A test compares it
/// with the OpenAPI document.
fn calls() -> Vec<(Method, &'static str, Needs, MethodRouter<Services>)> {
    use About::{App, Builder, Job, Shared};
    use Needs::{ManageLogins, Nothing, Read, Write};
    let file_limit = DefaultBodyLimit::max(files::FILE_BODY_MAX);
    let turn_limit = DefaultBodyLimit::max(turns::BODY_MAX);
    vec![
        (Method::POST, "/api/v1/apps", Write(Builder), post(apps::create)),
        (Method::GET, "/api/v1/apps", Read(Shared), get(apps::list)),
        (Method::GET, "/api/v1/apps/{app}", Read(App), get(apps::read)),
        (Method::PATCH, "/api/v1/apps/{app}", Write(App), patch(apps::change)),
        (Method::DELETE, "/api/v1/apps/{app}", Write(App), delete(apps::delete)),
        (Method::POST, "/api/v1/apps/{app}/duplicate", Write(Builder), post(apps::duplicate)),
        (Method::GET, "/api/v1/apps/{app}/export", Read(App), get(apps::export)),
        (Method::GET, "/api/v1/apps/{app}/events", Read(App), get(events::follow)),
        (Method::GET, "/api/v1/apps/{app}/model", Read(App), get(models::read)),
        (Method::PUT, "/api/v1/apps/{app}/model", Write(App), put(models::choose)),
        (Method::GET, "/api/v1/apps/{app}/usage", Read(App), get(usage::of_app)),
        (Method::GET, "/api/v1/apps/{app}/metrics", Read(App), get(measurements::metrics)),
        (Method::POST, "/api/v1/apps/{app}/turns", Write(App), post(turns::create).layer(turn_limit)),
        (Method::GET, "/api/v1/apps/{app}/turns", Read(App), get(turns::list)),
        (Method::GET, "/api/v1/apps/{app}/attachments/{id}", Read(App), get(turns::attachment)),
        (Method::POST, "/api/v1/apps/{app}/turns/{turn}/continue", Write(App), post(turns::resume)),
        (Method::POST, "/api/v1/apps/{app}/previews", Write(App), post(deployments::preview)),
        (Method::POST, "/api/v1/apps/{app}/publish", Write(App), post(deployments::publish)),
        (Method::POST, "/api/v1/apps/{app}/rollback", Write(App), post(deployments::rollback)),
        (Method::POST, "/api/v1/apps/{app}/start", Write(App), post(deployments::start)),
        (Method::GET, "/api/v1/apps/{app}/releases", Read(App), get(deployments::releases)),
        (Method::POST, "/api/v1/apps/{app}/preview-links", Write(App), post(preview_links::create)),
        (Method::GET, "/api/v1/apps/{app}/preview-links", Read(App), get(preview_links::list)),
        (Method::DELETE, "/api/v1/apps/{app}/preview-links/{id}", Write(App), delete(preview_links::revoke)),
        (Method::GET, "/api/v1/apps/{app}/logs", Read(App), get(logs::tail)),
        (Method::GET, "/api/v1/apps/{app}/resources", Read(App), get(resources::read)),
        (Method::GET, "/api/v1/apps/{app}/versions", Read(App), get(versions::list)),
        (Method::GET, "/api/v1/apps/{app}/versions/{id}/diff", Read(App), get(versions::diff)),
        (Method::POST, "/api/v1/apps/{app}/versions/{id}/restore", Write(App), post(versions::restore)),
        (Method::GET, "/api/v1/apps/{app}/files", Read(App), get(files::list)),
        (Method::GET, "/api/v1/apps/{app}/files/{*path}", Read(App), get(files::read)),
        (Method::PUT, "/api/v1/apps/{app}/files/{*path}", Write(App), put(files::write).layer(file_limit)),
        (Method::DELETE, "/api/v1/apps/{app}/files/{*path}", Write(App), delete(files::delete)),
        (Method::PUT, "/api/v1/apps/{app}/locks/{*path}", Write(App), put(files::lock)),
        (Method::DELETE, "/api/v1/apps/{app}/locks/{*path}", Write(App), delete(files::unlock)),
        (Method::GET, "/api/v1/apps/{app}/search", Read(App), get(file_sets::search)),
        (Method::POST, "/api/v1/apps/{app}/moves", Write(App), post(file_sets::move_files)),
        (Method::POST, "/api/v1/apps/{app}/runs", Write(App), post(runs::create)),
        (Method::GET, "/api/v1/apps/{app}/runs", Read(App), get(runs::list)),
        (Method::GET, "/api/v1/apps/{app}/runs/{id}/log", Read(App), get(runs::log)),
        (Method::GET, "/api/v1/jobs/{id}", Read(Job), get(jobs::read)),
        (Method::POST, "/api/v1/jobs/{id}/cancel", Write(Job), post(jobs::cancel)),
        (Method::GET, "/api/v1/jobs/{id}/events", Read(Job), get(jobs::events)),
        (Method::GET, "/api/v1/templates", Read(Shared), get(templates::list)),
        (Method::GET, "/api/v1/models", Read(Shared), get(models::list)),
        (Method::GET, "/api/v1/usage", Read(Builder), get(usage::all)),
        (Method::POST, "/api/v1/tokens", Needs::MakeToken, post(tokens::create)),
        (Method::GET, "/api/v1/tokens", ManageLogins, get(tokens::list)),
        (Method::DELETE, "/api/v1/tokens/{id}", ManageLogins, delete(tokens::revoke)),
        (Method::GET, "/api/v1/sessions", ManageLogins, get(sessions::list)),
        (Method::DELETE, "/api/v1/sessions", ManageLogins, delete(sessions::end_all)),
        (Method::DELETE, "/api/v1/sessions/{id}", ManageLogins, delete(sessions::end)),
        (Method::GET, "/healthz", Nothing, get(system::healthz)),
        (Method::GET, "/readyz", Nothing, get(system::readyz)),
        (Method::GET, "/metrics", Read(Builder), get(system::metrics)),
    ]
}

/// The liveness and readiness probes without details, for load balancers and monitors, which use the server's address
/// instead of its host name.
pub fn probes(services: Services) -> Router {
    Router::new()
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
        .layer(Extension(Caller::Stranger))
        .with_state(services)
}

/// All calls, the OpenAPI document and its pages. Unknown addresses under `/api`
/// are answered here too, so the router of the pages can be merged with it.
pub fn router(services: Services) -> Router {
    let mut under_api = Router::new().route("/openapi.json", get(openapi::document));
    let mut beside = Router::new().merge(docs::router());
    for (_, path, needs, handler) in calls() {
        let handler = guarded(needs, handler, &services);
        match path.strip_prefix("/api") {
            Some(rest) => under_api = under_api.route(rest, handler),
            None => beside = beside.route(path, handler),
        }
    }
    let under_api = under_api.fallback(no_such_call).method_not_allowed_fallback(no_such_method);
    // The router's wildcard below `/api` does not match this address.
    beside = beside.route("/api/", any(no_such_call));
    beside.method_not_allowed_fallback(no_such_method).nest("/api", under_api).with_state(services)
}

async fn no_such_call(OriginalUri(uri): OriginalUri) -> AppError {
    AppError::new(ErrorKind::NotFound, "not_found", format!("There is no API call at {}.", uri.path()))
        .hint("The calls are listed at /docs.")
}

async fn no_such_method(method: Method) -> AppError {
    AppError::new(ErrorKind::MethodNotAllowed, "method_not_allowed", format!("This address does not support {method}."))
        .hint("The Allow header lists the supported methods.")
}
