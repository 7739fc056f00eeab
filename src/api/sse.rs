//! Server-sent events: stored events as frames of a stream, and the position from which a stream resumes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{CACHE_CONTROL, HeaderName};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, future};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::domain::EventId;
use crate::error::{AppError, AppResult};
use crate::events::Kept;
use crate::store::StoreError;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Idle time after which a comment is sent, so that proxies do not close the stream.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The start of a stream.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AfterQuery {
    /// The id of the last received event, for clients that cannot send `Last-Event-ID`, which takes precedence. Without
    /// both, the stream starts with the oldest stored event.
    #[param(value_type = Option<i64>, minimum = 0)]
    pub after: Option<String>,
}

impl AfterQuery {
    /// The event after which the stream starts. `last`: the newest event that its reader can have received.
    pub fn event(self, headers: &HeaderMap, last: EventId) -> AppResult<EventId> {
        let mut values = headers.get_all(LAST_EVENT_ID).iter();
        let header = match (values.next(), values.next()) {
            (None, _) => None,
            (Some(value), None) => Some(value.to_str().map_err(|_| not_an_event("Last-Event-ID"))?),
            (Some(_), Some(_)) => return Err(AppError::bad_request("Last-Event-ID is given more than once.")),
        };
        // A browser that has received no event yet sends no id, or an empty one.
        let (name, text) = match (header.filter(|text| !text.is_empty()), &self.after) {
            (Some(text), _) => ("Last-Event-ID", text),
            (None, Some(text)) => ("after", text.as_str()),
            (None, None) => return Ok(EventId(0)),
        };
        let id: EventId = text.parse().map_err(|_| not_an_event(name))?;
        if id > last {
            return Err(AppError::bad_request(format!("There is no event {id} yet.")));
        }
        Ok(id)
    }
}

fn not_an_event(name: &str) -> AppError {
    AppError::bad_request(format!("{name} is not the id of an event: ids are whole numbers."))
}

/// A stream of stored events. It ends early if they cannot be read; the client reconnects automatically
/// with the last id that it received.
pub fn kept(events: impl Stream<Item = Result<Arc<Kept>, StoreError>> + Send + 'static) -> Response {
    stream(
        events
            .take_while(|event| {
                if let Err(error) = event {
                    tracing::error!(%error, "failed to read events: an event stream ends early");
                }
                future::ready(event.is_ok())
            })
            .filter_map(async |event| {
                let event = event.ok()?;
                Some(Event::default().id(event.id.to_string()).event(event.body.name()).data(event.json()))
            }),
    )
}

/// A stream of events, each sent immediately.
pub fn stream(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    let mut response = Sse::new(events.map(Ok::<_, Infallible>)).keep_alive(keep_alive).into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Disables buffering in proxies, which would delay events.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(header: &[&[u8]], query: Option<&str>) -> AppResult<EventId> {
        let mut headers = HeaderMap::new();
        for value in header {
            headers.append(LAST_EVENT_ID, HeaderValue::from_bytes(value).expect("a header"));
        }
        AfterQuery { after: query.map(str::to_owned) }.event(&headers, EventId(100))
    }

    #[test]
    fn a_stream_resumes_after_the_last_received_event() {
        assert_eq!(after(&[], None), Ok(EventId(0)));
        assert_eq!(after(&[b"7"], Some("3")), Ok(EventId(7)));
        assert_eq!(after(&[b""], Some("3")), Ok(EventId(3)));
        assert_eq!(after(&[b"100"], None), Ok(EventId(100)));
        for bad in [&b"x"[..], b"-1", b"+1", b"007", b"1.5", b"101", b"99999999999999999999", b"\xff", b" "] {
            assert!(after(&[bad], None).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        assert!(after(&[b"1", b"2"], None).is_err());
        assert!(after(&[], Some("")).is_err());
    }
}
