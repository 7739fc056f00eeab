//! Bodies at the listener: a request's body has to arrive at a minimum rate, and the end of a response's body is
//! reported to the connection's slot.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

use super::connections::ForwardedRequest;
use super::slot::Slot;
use crate::error::UploadTimedOut;

/// Minimum rate of a request's body in bytes per second, once the client has used up its credit of waiting time.
/// Apache's `mod_reqtimeout` requires the same rate.
const RATE_MIN: u32 = 500;

/// A request's body. Waiting for the client uses up its credit of time. Received bytes restore credit at [`RATE_MIN`],
/// up to the initial credit, so a client that sends faster than that has no time limit. Time in which the handler does
/// not read the body uses no credit.
pub(super) struct Received {
    inner: Incoming,
    slot: Arc<Slot>,
    credit: Duration,
    credit_max: Duration,
    waits_since: Option<Instant>,
    /// Created when the body first waits for the client.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Received {
    /// `patience`: how long the client may send nothing.
    pub(super) fn new(inner: Incoming, slot: Arc<Slot>, patience: Duration) -> Self {
        slot.reads_body(true);
        Self { inner, slot, credit: patience, credit_max: patience, waits_since: None, timer: None }
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<UploadTimedOut> {
        if self.waits_since.is_none() {
            let now = Instant::now();
            self.waits_since = Some(now);
            self.slot.awaits_body(true);
            let deadline = now + self.credit;
            match &mut self.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => self.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
        }
        match &mut self.timer {
            Some(timer) => timer.as_mut().poll(cx).map(|()| UploadTimedOut),
            None => Poll::Pending,
        }
    }

    fn came(&mut self, bytes: usize) {
        if let Some(since) = self.waits_since.take() {
            self.slot.awaits_body(false);
            self.credit = self.credit.saturating_sub(since.elapsed());
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.credit = (self.credit + Duration::from_secs(bytes.into()) / RATE_MIN).min(self.credit_max);
    }
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(frame) => {
                let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                let bytes = data.map_or(0, Bytes::len);
                self.came(bytes);
                Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)))
            }
            Poll::Pending => self.wait(cx).map(|error| Some(Err(axum::Error::new(error)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        self.slot.reads_body(false);
        self.slot.awaits_body(false);
    }
}

/// Bytes of a response that are forwarded before other tasks get a turn, in which these bytes are written.
const TURN: usize = 32 * 1024;

/// A response's body. When it is dropped, the connection waits for its next request.
pub(super) struct Answered {
    inner: Body,
    slot: Arc<Slot>,
    /// Bytes that were forwarded since the last pause.
    turn: usize,
    /// Counts the request of a client behind a proxy until the response ends.
    _request: Option<Arc<ForwardedRequest>>,
}

impl Answered {
    pub(super) fn new(inner: Body, slot: Arc<Slot>, request: Option<Arc<ForwardedRequest>>) -> Self {
        Self { inner, slot, turn: 0, _request: request }
    }
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        // Produces nothing for a client that does not read, because the library would buffer it.
        if self.slot.is_stalled(cx) {
            return Poll::Pending;
        }
        if self.turn >= TURN {
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = Pin::new(&mut self.inner).poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => self.turn += frame.data_ref().map_or(0, Bytes::len),
            _ => self.turn = 0,
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

impl Drop for Answered {
    fn drop(&mut self) {
        self.slot.answered();
    }
}
