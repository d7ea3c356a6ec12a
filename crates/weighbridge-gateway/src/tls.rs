//! TLS from files: a certificate and its key, read again when they change. A pair that cannot be used is logged,
//! and the one before it stays.

mod files;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tracing::{debug, error, info};

use self::files::Contents;
pub use self::files::{TlsError, TlsFiles};

/// Handshakes under way at once: they cost more than anything else that a stranger can ask for.
const HANDSHAKES: usize = 256;

/// A certificate with its key, in use. Clones are the same.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: TlsFiles,
    in_use: RwLock<(Contents, Arc<ServerConfig>)>,
    handshake_timeout: Duration,
    handshakes: Semaphore,
}

impl Tls {
    /// Reads the files. A handshake that takes longer than `handshake_timeout` is broken off.
    ///
    /// # Errors
    /// When a file cannot be read or holds nothing that can be used, or the key is that of another certificate.
    pub fn load(files: TlsFiles, handshake_timeout: Duration) -> Result<Self, TlsError> {
        let contents = files.read()?;
        let config = contents.to_config(&files)?;
        let in_use = RwLock::new((contents, config));
        Ok(Self(Arc::new(Inner { files, in_use, handshake_timeout, handshakes: Semaphore::new(HANDSHAKES) })))
    }

    /// Whether the other is a clone of this one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The handshake of a connection; `None`, with a line in the log, where there is none.
    pub(crate) async fn accept(&self, connection: TcpStream) -> Option<TlsStream<TcpStream>> {
        let shaken = async {
            let _place = self.0.handshakes.acquire().await;
            TlsAcceptor::from(self.config()).accept(connection).await
        };
        match timeout(self.0.handshake_timeout, shaken).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(error)) => {
                debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => {
                debug!("a TLS handshake took too long");
                None
            }
        }
    }

    /// Looks at the files every so often, for good, and takes what is new.
    pub(crate) async fn watch(self, every: Duration) {
        let mut refused = None;
        loop {
            sleep(every).await;
            let tls = self.clone();
            let last = refused.take();
            // Reading a file may wait for a disk. One that panicked is as good as none.
            refused = tokio::task::spawn_blocking(move || tls.renew(last)).await.unwrap_or_default();
        }
    }

    /// Takes the files if they are new. Returns what was refused, so that it is told once.
    fn renew(&self, last: Option<Refused>) -> Option<Refused> {
        let files = &self.0.files;
        let contents = files.read();
        if contents.as_ref().is_ok_and(|contents| self.current().0 == *contents) {
            return None;
        }
        let seen = contents.as_ref().ok().cloned();
        match contents.and_then(|contents| Ok((contents.to_config(files)?, contents))) {
            Ok((config, contents)) => {
                info!(certificate = %files.certificate.display(), "a new certificate is in use");
                *self.0.in_use.write().unwrap_or_else(PoisonError::into_inner) = (contents, config);
                None
            }
            Err(problem) => {
                let refused = Refused { seen, problem: problem.to_string() };
                if last.as_ref() != Some(&refused) {
                    error!(error = %problem, "the new certificate cannot be used; the one before it stays");
                }
                Some(refused)
            }
        }
    }

    fn config(&self) -> Arc<ServerConfig> {
        self.current().1
    }

    fn current(&self) -> (Contents, Arc<ServerConfig>) {
        self.0.in_use.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Files that could not be used, and why.
#[derive(Clone, PartialEq)]
struct Refused {
    seen: Option<Contents>,
    problem: String,
}
