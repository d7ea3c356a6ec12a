//! How many requests are under way on a connection: one on which there are none for a while is closed, whatever
//! protocol it speaks.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use hyper::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tokio::sync::watch;

/// Counts the requests of one connection. Clones count together.
#[derive(Clone, Default)]
pub(super) struct Busy(Arc<watch::Sender<usize>>);

/// A request under way, until it is dropped.
struct Underway(Arc<watch::Sender<usize>>);

impl Busy {
    fn begin(&self) -> Underway {
        self.0.send_modify(|count| *count += 1);
        Underway(Arc::clone(&self.0))
    }

    /// Ready once there was no request for so long.
    pub(super) async fn idle_for(&self, time: Duration) {
        let mut count = self.0.subscribe();
        loop {
            // The sender lives as long as `self`.
            let _ = count.wait_for(|count| *count == 0).await;
            if tokio::time::timeout(time, count.wait_for(|count| *count > 0)).await.is_err() {
                return;
            }
        }
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Marks a request that came over a Unix socket: whoever sent it is on this machine.
#[derive(Clone, Copy)]
pub(crate) struct FromThisMachine;

/// The addresses, with a count of who is at them over this connection.
#[derive(Clone)]
pub(super) struct Counted {
    router: TowerToHyperService<Router>,
    busy: Busy,
    from_this_machine: bool,
}

impl Counted {
    pub(super) fn new(router: Router, busy: Busy) -> Self {
        Self { router: TowerToHyperService::new(router), busy, from_this_machine: false }
    }

    pub(super) fn on_this_machine(self) -> Self {
        Self { from_this_machine: true, ..self }
    }
}

impl Service<Request<Incoming>> for Counted {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Self::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let underway = self.busy.begin();
        if self.from_this_machine {
            request.extensions_mut().insert(FromThisMachine);
        }
        let answer = self.router.call(request);
        Box::pin(async move { Ok(answer.await?.map(|body| Body::new(Held { body, _underway: underway }))) })
    }
}

/// The body of an answer, which ends the request when it is dropped.
struct Held {
    body: Body,
    _underway: Underway,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
