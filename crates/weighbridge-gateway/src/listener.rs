//! Where connections come from: TCP addresses, with TLS or without, and Unix sockets.

use std::io;
use std::task::{Context, Poll};

#[cfg(unix)]
use tokio::net::UnixStream;
use tokio::net::{TcpListener, TcpStream};

use crate::tls::Tls;
#[cfg(unix)]
use crate::unix_socket::UnixSocket;

/// Where a gateway is reached.
pub enum Listener {
    /// A TCP address; every connection begins with a TLS handshake where there is a certificate.
    Tcp(TcpListener, Option<Tls>),
    /// A socket in the file system, for programs on this machine.
    #[cfg(unix)]
    Unix(UnixSocket),
}

/// A connection as it was accepted.
pub(crate) enum Socket {
    Tcp(TcpStream),
    Tls(TcpStream, Tls),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Listener {
    pub(crate) fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Socket>> {
        match self {
            Self::Tcp(listener, tls) => listener.poll_accept(context).map_ok(|(stream, _)| match tls {
                Some(tls) => Socket::Tls(stream, tls.clone()),
                None => Socket::Tcp(stream),
            }),
            #[cfg(unix)]
            Self::Unix(socket) => socket.listener().poll_accept(context).map_ok(|(stream, _)| Socket::Unix(stream)),
        }
    }

    pub(crate) fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Tcp(_, tls) => tls.as_ref(),
            #[cfg(unix)]
            Self::Unix(_) => None,
        }
    }
}
