//! Tracks progress of request bodies, so that a slow client is not reported as a slow app.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::headers::clean_trailers;
use crate::error::UploadTimedOut;

/// Progress of a request body.
#[derive(Debug)]
pub(super) struct Upload {
    begun: Instant,
    /// Time of the last progress, in milliseconds after `begun`.
    last: AtomicU64,
    timed_out: AtomicBool,
}

impl Upload {
    pub(super) fn last_progress(&self) -> Instant {
        self.begun + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// Whether the client sent it too slowly.
    pub(super) fn timed_out(&self) -> bool {
        self.timed_out.load(Ordering::Relaxed)
    }

    fn progress(&self) {
        let millis = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }
}

/// The request with a tracked body; `None` if it has no body.
pub(super) fn watched(request: Request<Body>) -> (Request<Body>, Option<Arc<Upload>>) {
    if request.body().is_end_stream() {
        return (request, None);
    }
    let upload = Arc::new(Upload { begun: Instant::now(), last: AtomicU64::new(0), timed_out: AtomicBool::new(false) });
    let watch = Arc::clone(&upload);
    (request.map(|inner| Body::new(Watched { inner, watch })), Some(upload))
}

/// A request's body.
struct Watched {
    inner: Body,
    watch: Arc<Upload>,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut frame = Pin::new(&mut self.inner).poll_frame(cx);
        if let Poll::Ready(frame) = &mut frame {
            self.watch.progress();
            match frame {
                Some(Ok(frame)) => {
                    if let Some(trailers) = frame.trailers_mut() {
                        clean_trailers(trailers);
                    }
                }
                Some(Err(error)) if UploadTimedOut::is_cause_of(error) => {
                    self.watch.timed_out.store(true, Ordering::Relaxed);
                }
                Some(Err(_)) | None => {}
            }
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
