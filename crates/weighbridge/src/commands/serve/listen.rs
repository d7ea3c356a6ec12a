//! The places where the gateway listens, bound before anything is loaded.

use tokio::net::TcpListener;
use weighbridge_gateway::{Listener, Tls};

use crate::config::{Config, Listen, TlsConfig};
use crate::failure::Failure;

/// The places and their addresses as a person writes them: `http://127.0.0.1:8080`, `unix:/run/w.sock`.
pub(super) async fn bind(config: &Config) -> Result<(Vec<Listener>, Vec<String>), Failure> {
    let tls = config.tls.as_ref().map(load_certificate).transpose()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let (mut listeners, mut urls) = (Vec::new(), Vec::new());
    for place in &config.listen {
        match place {
            Listen::Tcp(address) => {
                let listener = TcpListener::bind(address).await.map_err(|error| cannot_listen(place, &error))?;
                urls.push(format!("{scheme}://{}", listener.local_addr().map_err(Failure::failed)?));
                listeners.push(Listener::Tcp(listener, tls.clone()));
            }
            #[cfg(unix)]
            Listen::Unix(path) => {
                let socket = weighbridge_gateway::UnixSocket::bind(path, config.socket_mode);
                listeners.push(Listener::Unix(socket.map_err(|error| cannot_listen(place, &error))?));
                urls.push(place.to_string());
            }
            #[cfg(not(unix))]
            Listen::Unix(_) => {
                return Err(Failure::usage(format!("{place}: there are no such sockets on this system")));
            }
        }
    }
    Ok((listeners, urls))
}

/// Reads the certificate and its key.
pub(crate) fn load_certificate(tls: &TlsConfig) -> Result<Tls, Failure> {
    Tls::load(tls.files.clone(), tls.handshake_timeout)
        .map_err(|error| Failure::failed(format!("cannot use the certificate of [server.tls]: {error}")))
}

fn cannot_listen(place: &Listen, error: &std::io::Error) -> Failure {
    use std::io::ErrorKind;
    let what_to_do = match (error.kind(), place) {
        (ErrorKind::AddrInUse, _) => "another program listens there; stop it, or choose another place with --listen",
        (ErrorKind::AlreadyExists, _) => "move it away, or choose another place with --listen",
        (ErrorKind::PermissionDenied, Listen::Tcp(_)) => "ports below 1024 need rights; choose another with --listen",
        (_, Listen::Tcp(_)) => "choose an address of this machine with --listen",
        (_, Listen::Unix(_)) => "choose a folder that this user may write with --listen",
    };
    Failure::failed(format!("cannot listen on {place}: {error}; {what_to_do}"))
}
