//! Pages and fragments: templates, and the handlers that fill them from the services.
//!
//! Every page works without scripts: forms are forms, tabs are addresses. htmx and a few modules of
//! our own make it quicker and live. Knows the services and the domain; knows nothing of engines,
//! git or SQL.

pub mod app;
pub mod assets;
pub mod chrome;
pub mod error_page;
pub mod extract;
pub mod format;
pub mod highlight;
pub mod home_view;
pub mod ui;
pub mod markdown;
pub mod plain_pages;
pub mod reply;
#[cfg(test)]
mod samples;

use app::deployment::encode_query as deployment_query;
use axum::http::HeaderMap;
use chrome::Chrome;

/// What the handlers share.
#[derive(Clone)]
pub struct Web {}

impl Web {
    fn chrome(&self, headers: &HeaderMap, password: bool) -> Chrome {
        Chrome::new(headers, password, false, String::new())
    }
}
