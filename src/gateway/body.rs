//! A response body on its way to the client: reading it drives the connection to the app.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::pool::Connection;
use super::routes::InFlight;

/// The response with its body attached to the connection.
pub(super) async fn answer(
    response: Response<Incoming>,
    connection: Box<Connection>,
    in_flight: InFlight,
    idle: Duration,
) -> Response<Body> {
    let (parts, incoming) = response.into_parts();
    let mut body =
        Answer { incoming, rest: Some(Rest { connection: Some(connection), in_flight }), idle, patience: None };
    if body.incoming.is_end_stream() {
        std::future::poll_fn(|cx| {
            body.finish(cx);
            Poll::Ready(())
        })
        .await;
    }
    Response::from_parts(parts, Body::new(body))
}

/// The response to a rejected protocol upgrade; its connection is driven elsewhere.
pub(super) fn answer_driven_elsewhere(
    response: Response<Incoming>,
    in_flight: InFlight,
    idle: Duration,
) -> Response<Body> {
    response.map(|incoming| {
        Body::new(Answer { incoming, rest: Some(Rest { connection: None, in_flight }), idle, patience: None })
    })
}

/// A response body.
struct Answer {
    incoming: Incoming,
    /// Returned to the pool when the body has ended.
    rest: Option<Rest>,
    idle: Duration,
    /// Created at the first wait for the app, which short responses never need.
    patience: Option<Pin<Box<IdleTimeout>>>,
}

struct Rest {
    connection: Option<Box<Connection>>,
    in_flight: InFlight,
}

impl Answer {
    fn finish(&mut self, cx: &mut Context<'_>) {
        self.patience = None;
        if let Some(Rest { connection: Some(connection), in_flight }) = self.rest.take() {
            in_flight.live().pool.checkin(connection, cx);
        }
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                self.patience = None;
                if self.incoming.is_end_stream() {
                    self.finish(cx);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                self.rest = None;
                Poll::Ready(Some(Err(io::Error::other(error))))
            }
            Poll::Ready(None) => {
                self.finish(cx);
                Poll::Ready(None)
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = this.poll_incoming(cx) {
            return Poll::Ready(frame);
        }
        if let Some(connection) = this.rest.as_mut().and_then(|rest| rest.connection.as_mut()) {
            // Received data becomes a frame; the end of the connection becomes an error or the end of the body.
            let _ = connection.drive(cx);
            if let Poll::Ready(frame) = this.poll_incoming(cx) {
                return Poll::Ready(frame);
            }
        }
        let Some(rest) = &this.rest else { return Poll::Pending };
        let patience = this.patience.get_or_insert_with(|| Box::pin(IdleTimeout::new(this.idle, &rest.in_flight)));
        match patience.as_mut().poll(cx) {
            Poll::Ready(error) => {
                this.rest = None;
                this.patience = None;
                Poll::Ready(Some(Err(error)))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// Ends when a response has been idle for too long, or its instance has to stop.
struct IdleTimeout {
    idle: Pin<Box<Sleep>>,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl IdleTimeout {
    fn new(idle: Duration, in_flight: &InFlight) -> Self {
        let closing = in_flight.live().closing.clone().cancelled_owned();
        Self { idle: Box::pin(tokio::time::sleep(idle)), closing: Box::pin(closing) }
    }
}

impl Future for IdleTimeout {
    type Output = io::Error;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Error> {
        if self.closing.as_mut().poll(cx).is_ready() {
            return Poll::Ready(io::Error::new(io::ErrorKind::ConnectionAborted, "the instance is being replaced"));
        }
        self.idle.as_mut().poll(cx).map(|()| io::Error::new(io::ErrorKind::TimedOut, "the app stopped sending"))
    }
}
