//! The last requests of an app, in the *Logs* tab.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt};
use serde::Deserialize;
use tokio::time::Instant;

use super::log_views::log_tab_parts;
use super::page::show;
use super::query::AppQuery;
use super::requests_view::{RequestFilter, RequestRow, RequestRows, RequestsTab};
use crate::domain::{AppName, Environment};
use crate::error::{AppError, AppResult};
use crate::gateway::{REQUESTS_MAX, SeenReader};
use crate::services::Services;
use crate::web::Web;
use crate::web::chrome::Chrome;
use crate::web::extract::{Path, Query};
use crate::web::reply::{self, Caller};
use crate::web::visible;

/// Minimum interval between two messages to an open page: a busy app has thousands of requests a second.
const INTERVAL: Duration = Duration::from_millis(250);
/// Maximum length of the searched words in bytes.
const WORDS_MAX: usize = 200;

/// The query parameters. A form sends all of its fields, including empty ones.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RequestsQuery {
    q: String,
    status: String,
    environment: String,
    after: u64,
}

impl RequestsQuery {
    fn filter(&self) -> AppResult<RequestFilter> {
        let class = match self.status.as_str() {
            "" => None,
            "2" => Some(2),
            "3" => Some(3),
            "4" => Some(4),
            "5" => Some(5),
            _ => return Err(AppError::bad_request("This address cannot be read: status is a digit from 2 to 5.")),
        };
        let environment = match self.environment.as_str() {
            "" => None,
            key => Some(Environment::ALL.into_iter().find(|one| one.as_str() == key).ok_or_else(|| {
                AppError::bad_request("This address cannot be read: environment is preview or prod.")
            })?),
        };
        let words = self.q.trim().to_lowercase();
        let words = words.get(..words.floor_char_boundary(WORDS_MAX)).unwrap_or_default().to_owned();
        Ok(RequestFilter { words, class, environment })
    }
}

/// `GET /apps/{app}/requests`
pub async fn tab(
    State(web): State<Web>,
    chrome: Chrome,
    caller: Caller,
    Path(name): Path<AppName>,
    Query(query): Query<RequestsQuery>,
) -> AppResult<Response> {
    let services = &web.services;
    let app = services.app(&name).await?;
    let (filter, now) = (query.filter()?, services.now());
    let seen = services.seen(&app);
    let requests = seen.as_ref().map(|seen| seen.after(0)).unwrap_or_default();
    let last = requests.last().map_or(0, |request| request.number);
    let rows = requests.iter().rev().filter(|request| filter.shows(request));
    let stage = reply::render(&RequestsTab {
        app: &app.name,
        parts: log_tab_parts(&app.name, "Requests"),
        filter: &filter,
        classes: filter.classes(),
        environments: filter.environments(),
        rows: RequestRows { rows: rows.map(|request| RequestRow::new(request, now)).collect() },
        stream: seen.is_some().then(|| filter.stream(&app.name, last)),
        unseen: unseen(services),
        kept: REQUESTS_MAX,
        nothing: match (&seen, filter.is_empty()) {
            (None, _) if services.answers_http(&app).is_ok_and(|answers| !answers) => {
                "A scheduled job answers no requests."
            }
            (None, _) => "Nothing is deployed, so there are no requests.",
            (Some(_), true) => "No requests since Slipway was started. They appear here as they arrive.",
            (Some(_), false) => "None of the last requests matches.",
        },
    })?;
    show(services, chrome, caller, &app, "logs", stage, &AppQuery::default()).await
}

fn unseen(services: &Services) -> Option<&'static str> {
    match (services.is_seen(Environment::Preview), services.is_seen(Environment::Prod)) {
        (true, true) => None,
        (true, false) => Some(
            "Requests for production reach the app through the cluster's Ingress, not through Slipway, so they are not \
             listed here. The Ingress controller can log them.",
        ),
        (false, true) => Some(
            "Requests for the preview reach the app through the cluster's Ingress, not through Slipway, so they are not \
             listed here. The Ingress controller can log them.",
        ),
        (false, false) => Some(
            "Requests reach this app through the cluster's Ingress, not through Slipway, so none are listed here. The \
             Ingress controller can log them.",
        ),
    }
}

/// `GET /apps/{app}/requests/stream`: new requests as they arrive, as HTML.
pub async fn stream(
    State(web): State<Web>,
    Path(name): Path<AppName>,
    Query(query): Query<RequestsQuery>,
    headers: HeaderMap,
) -> AppResult<Sse<impl Stream<Item = Result<Event, Infallible>> + Send>> {
    let app = web.services.app(&name).await?;
    let Some(seen) = web.services.seen(&app) else {
        return Err(AppError::not_found("running version of this app"));
    };
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let source = Source {
        reader: seen.reader(),
        filter: query.filter()?,
        services: web.services.clone(),
        after: last.unwrap_or(query.after),
        next_at: Instant::now(),
    };
    let events = futures_util::stream::unfold(source, async |mut source| Some((Ok(source.next().await), source)));
    let draining = web.services.draining();
    Ok(Sse::new(events.take_until(draining)).keep_alive(KeepAlive::default()))
}

struct Source {
    reader: SeenReader,
    filter: RequestFilter,
    services: Services,
    after: u64,
    /// Earliest time of the next message.
    next_at: Instant,
}

impl Source {
    async fn next(&mut self) -> Event {
        loop {
            tokio::time::sleep_until(self.next_at).await;
            let requests: VecDeque<_> = self.reader.next(self.after).await.into();
            self.next_at = Instant::now() + INTERVAL;
            self.after = requests.back().map_or(self.after, |request| request.number);
            let now = self.services.now();
            let shown = requests.iter().rev().filter(|request| self.filter.shows(request));
            let rows = RequestRows { rows: shown.map(|request| RequestRow::new(request, now)).collect() };
            if rows.rows.is_empty() {
                continue;
            }
            if let Ok(html) = reply::render(&rows) {
                let json = serde_json::json!({ "html": visible::in_html(html) }).to_string();
                return Event::default().id(self.after.to_string()).event("requests").data(json);
            }
        }
    }
}
