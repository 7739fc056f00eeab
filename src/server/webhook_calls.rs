//! Records the calls that webhooks receive through the gateway.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request};
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use crate::domain::{AppName, Environment};
use crate::services::Services;
use crate::services::webhooks::WEBHOOK_PATH;
use crate::webhook_calls::{BODY_MAX, CallSource, NewCall};

/// Whether it may be a call of a webhook.
pub(super) fn may_be_call(parts: &Parts) -> bool {
    parts.method == Method::POST && parts.uri.path().trim_end_matches('/') == WEBHOOK_PATH
}

/// Answers a request with `answer`. If the app is a webhook, the call is recorded.
pub(super) async fn recorded<A: Future<Output = Response>>(
    services: &Services,
    name: &AppName,
    environment: Environment,
    client: IpAddr,
    request: Request<Body>,
    answer: impl FnOnce(Request<Body>) -> A,
) -> Response {
    let Some(app) = services.webhook(name).await else { return answer(request).await };
    let (at, begun) = (services.now(), Instant::now());
    let headers = texts(request.headers());
    let announced = request.body().size_hint().exact().unwrap_or(0);
    let copied = Arc::new(Mutex::new(Copied::default()));
    let shared = Arc::clone(&copied);
    let response = answer(request.map(|inner| Body::new(CopiedBody { inner, copied: shared }))).await;
    let Copied { start, size } = std::mem::take(&mut *copied.lock().unwrap_or_else(PoisonError::into_inner));
    let call = NewCall {
        environment,
        at,
        source: CallSource::Client(client),
        status: response.status().as_u16(),
        millis: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        headers,
        body: start,
        // An app may refuse a call before it has read the whole body.
        size: size.max(announced),
    };
    services.record_webhook_call(&app, call);
    response
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect()
}

/// What has passed of a body.
#[derive(Default)]
struct Copied {
    start: Vec<u8>,
    size: u64,
}

/// A request's body whose beginning is copied while it passes.
struct CopiedBody {
    inner: Body,
    copied: Arc<Mutex<Copied>>,
}

impl HttpBody for CopiedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            let mut copied = self.copied.lock().unwrap_or_else(PoisonError::into_inner);
            copied.size += data.len() as u64;
            let room = BODY_MAX - copied.start.len();
            copied.start.extend_from_slice(&data[..data.len().min(room)]);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_body_passes_unchanged_and_its_beginning_is_copied() {
        let copied = Arc::new(Mutex::new(Copied::default()));
        let sent: Vec<u8> = (0..=250_u8).cycle().take(BODY_MAX + 5_000).collect();
        let pieces: Vec<Result<Bytes, std::io::Error>> =
            sent.chunks(3_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let inner = Body::from_stream(futures_util::stream::iter(pieces));
        let body = CopiedBody { inner, copied: Arc::clone(&copied) };
        assert_eq!(body.collect().await.expect("passes").to_bytes(), sent);
        let copied = copied.lock().expect("unharmed");
        assert_eq!((copied.size, copied.start.as_slice()), (sent.len() as u64, &sent[..BODY_MAX]));
    }

    #[test]
    fn only_posts_to_the_path_are_calls() {
        let may = |method: Method, path: &str| {
            may_be_call(&Request::builder().method(method).uri(path).body(()).expect("a request").into_parts().0)
        };
        assert!(may(Method::POST, "/webhook") && may(Method::POST, "/webhook/?a=b"));
        assert!(!may(Method::GET, "/webhook") && !may(Method::POST, "/webhooks") && !may(Method::POST, "/"));
    }
}
