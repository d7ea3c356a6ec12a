//! Connections: accepted up to a bound, each with a time for the head of its next request, and closed in
//! order. HTTP/1.1 and HTTP/2 stand side by side: over TLS the handshake says which, else the first bytes.

mod busy;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

pub(crate) use self::busy::FromThisMachine;
use self::busy::{Busy, Counted};
use crate::gateway::Limits;
use crate::listener::{Listener, Socket};

/// How long to wait after the system had no connection to give, as when it is out of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// What an idle connection that was told to close may still take: for the half of a head that was on its way, and
/// for a client of HTTP/2 to go.
const LINGER: Duration = Duration::from_secs(2);

/// How often a client of HTTP/2 is asked whether it is there, and how long it may take to say so: one whose machine
/// went away would hold its streams for good.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// What a stream of HTTP/2 may hold back for a client that does not read.
const SEND_BUFFER: usize = 64 << 10;

/// hyper takes no less than this for a head of HTTP/1.
const LEAST_HEAD: usize = 8 << 10;

/// The connections of a server.
pub(crate) struct Connections {
    router: Router,
    places: Arc<Semaphore>,
    bounds: Bounds,
    tasks: JoinSet<()>,
    closing: watch::Sender<bool>,
}

/// What bounds a connection.
#[derive(Clone, Copy)]
struct Bounds {
    /// For the head of a request, and for a connection on which there is none.
    head_timeout: Duration,
    head_bytes: usize,
    streams: u32,
}

impl Connections {
    /// As many at a time, with such heads and for so long, as `limits` say.
    pub(crate) fn new(router: Router, limits: &Limits) -> Self {
        let places = Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS)));
        let bounds = Bounds {
            head_timeout: limits.head_timeout,
            head_bytes: limits.head_bytes.max(LEAST_HEAD),
            streams: limits.streams,
        };
        Self { router, places, bounds, tasks: JoinSet::new(), closing: watch::Sender::new(false) }
    }

    /// Accepts connections until `stop` is ready. Where all places are taken, the next waits in the system's queue.
    pub(crate) async fn accept(&mut self, listeners: &[Listener], stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let mut turn = 0;
        loop {
            turn += 1;
            let next = next_connection(listeners, turn, Arc::clone(&self.places));
            tokio::select! {
                () = &mut stop => return,
                Some((socket, place)) = next => self.serve(socket, place),
                Some(_) = self.tasks.join_next() => {}
            }
        }
    }

    fn serve(&mut self, socket: Socket, place: OwnedSemaphorePermit) {
        let (router, bounds, closing) = (self.router.clone(), self.bounds, self.closing.subscribe());
        self.tasks.spawn(async move {
            converse_on(socket, router, bounds, closing).await;
            drop(place);
        });
    }

    /// Closes idle connections at once, the others when the answers under way have ended; ready when all are closed.
    pub(crate) fn close(self) -> impl Future<Output = ()> {
        let Self { mut tasks, closing, .. } = self;
        // The signal goes out now, and not when somebody waits for the end.
        closing.send_replace(true);
        async move {
            // A task that panicked is as closed as any.
            while tasks.join_next().await.is_some() {}
            drop(closing);
        }
    }
}

/// A connection and its place. `None` after a pause where the system had none to give.
async fn next_connection(
    listeners: &[Listener],
    turn: usize,
    places: Arc<Semaphore>,
) -> Option<(Socket, OwnedSemaphorePermit)> {
    let place = places.acquire_owned().await.ok()?;
    // Each is asked first in its turn, so that a busy one does not keep another waiting.
    let (behind, first) = listeners.split_at(turn % listeners.len().max(1));
    let accepted = poll_fn(|context| {
        let mut ready = first.iter().chain(behind).map(|listener| listener.poll_accept(context));
        ready.find(Poll::is_ready).unwrap_or(Poll::Pending)
    });
    match accepted.await {
        Ok(socket) => Some((socket, place)),
        Err(error) => {
            warn!(%error, "cannot accept a connection");
            tokio::time::sleep(PAUSE).await;
            None
        }
    }
}

async fn converse_on(socket: Socket, router: Router, bounds: Bounds, closing: watch::Receiver<bool>) {
    // A token is a small piece that nothing follows for a while: it must not wait for an acknowledgement. A
    // connection that is closing already is told so by its next read.
    let busy = Busy::default();
    match socket {
        Socket::Tcp(stream) => {
            let _ = stream.set_nodelay(true);
            converse(stream, Counted::new(router, busy.clone()), busy, bounds, closing).await;
        }
        Socket::Tls(stream, tls) => {
            let _ = stream.set_nodelay(true);
            if let Some(stream) = tls.accept(stream).await {
                converse(stream, Counted::new(router, busy.clone()), busy, bounds, closing).await;
            }
        }
        #[cfg(unix)]
        Socket::Unix(stream) => {
            let service = Counted::new(router, busy.clone()).on_this_machine();
            converse(stream, service, busy, bounds, closing).await;
        }
    }
}

async fn converse<I>(io: I, service: Counted, busy: Busy, bounds: Bounds, mut closing: watch::Receiver<bool>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = bounds.builder();
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(io), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = busy.idle_for(bounds.head_timeout) => None,
        // An error means that the server is gone, which is as good a reason.
        _ = closing.wait_for(|closing| *closing) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = busy.idle_for(LINGER) => return debug!("an idle connection was dropped"),
            }
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended badly");
    }
}

impl Bounds {
    fn builder(self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // A head that is too large gets a 431, and so does one of more than a hundred headers.
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.head_timeout).max_buf_size(self.head_bytes);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.streams)
            .max_header_list_size(u32::try_from(self.head_bytes).unwrap_or(u32::MAX))
            .max_send_buf_size(SEND_BUFFER)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_TIMEOUT);
        builder
    }
}
