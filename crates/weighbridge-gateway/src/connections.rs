//! Connections: accepted up to a bound, each with a time for the head of its next request, and closed in
//! order. axum's own `serve` has neither of the two bounds.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tracing::{debug, warn};

/// How long to wait after the system had no connection to give, as when it is out of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// The connections of a server.
pub(crate) struct Connections {
    router: Router,
    places: Arc<Semaphore>,
    head_timeout: Duration,
    tasks: JoinSet<()>,
    graceful: GracefulShutdown,
}

impl Connections {
    /// At most `most` at a time, each with `head_timeout` for the head of a request; a connection that has been
    /// idle for so long is closed.
    pub(crate) fn new(router: Router, most: usize, head_timeout: Duration) -> Self {
        let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { router, places, head_timeout, tasks: JoinSet::new(), graceful: GracefulShutdown::new() }
    }

    /// Accepts connections until `stop` is ready. Where all places are taken, the next waits in the system's queue.
    pub(crate) async fn accept(&mut self, listener: TcpListener, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        loop {
            let next = next_connection(&listener, Arc::clone(&self.places));
            tokio::select! {
                () = &mut stop => return,
                Some((connection, place)) = next => self.serve(connection, place),
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    fn serve(&mut self, connection: TcpStream, place: OwnedSemaphorePermit) {
        // A token is a small piece that nothing follows for a while: it must not wait for an acknowledgement. A
        // connection that is closing already is told so by its next read.
        let _ = connection.set_nodelay(true);
        let service = TowerToHyperService::new(self.router.clone());
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.head_timeout)
            .serve_connection(TokioIo::new(connection), service);
        let served = self.graceful.watch(served);
        self.tasks.spawn(async move {
            if let Err(error) = served.await {
                debug!(%error, "a connection ended badly");
            }
            drop(place);
        });
    }

    /// Closes idle connections at once, the others when the answer under way has ended; ready when all are closed.
    pub(crate) fn close(self) -> impl Future<Output = ()> {
        let Self { mut tasks, graceful, .. } = self;
        // The signal goes out now, and not when somebody waits for the end.
        let signalled = tokio::spawn(graceful.shutdown());
        async move {
            // A task that panicked is as closed as any.
            while tasks.join_next().await.is_some() {}
            signalled.abort();
        }
    }
}

/// A connection and its place. `None` after a pause where the system had none to give.
async fn next_connection(listener: &TcpListener, places: Arc<Semaphore>) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((connection, _)) => Some((connection, place)),
        Err(error) => {
            warn!(%error, "cannot accept a connection");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}
