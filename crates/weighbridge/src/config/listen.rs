//! Where the gateway listens: addresses and Unix sockets.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

/// The most bytes of a socket's path: the system takes 107 on Linux and 103 on macOS, and the name under which it is
/// bound first is a little longer.
const MOST_PATH_BYTES: usize = 90;

/// One place to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl Listen {
    /// Where it listens where nothing is said.
    pub(crate) fn default_place() -> Self {
        Self::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)))
    }

    /// Whether only what runs on this machine reaches it.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    pub(crate) fn as_tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// An address and port, `localhost` and a port, or `unix:` and the path of a socket. Other names are not looked up:
/// what a name stands for can change, and with it who can reach the gateway.
pub(crate) fn parse_listen(text: &str) -> Option<Listen> {
    if let Some(path) = text.strip_prefix("unix:") {
        let fits = path.starts_with('/') && !path.ends_with('/') && path.len() <= MOST_PATH_BYTES;
        return (cfg!(unix) && fits).then(|| Listen::Unix(path.into()));
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return ("127.0.0.1", port.parse().ok()?).to_socket_addrs().ok()?.next().map(Listen::Tcp);
    }
    text.parse().ok().map(Listen::Tcp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_to_listen_is_an_address_or_a_path() {
        let said = |text| parse_listen(text).map(|place| (place.to_string(), place.is_local()));
        let place = |text: &str, local| Some((text.to_owned(), local));
        assert_eq!(said("127.0.0.1:80"), place("127.0.0.1:80", true));
        assert_eq!(said("localhost:80"), place("127.0.0.1:80", true));
        assert_eq!(said("[::1]:80"), place("[::1]:80", true));
        assert_eq!(said("0.0.0.0:80"), place("0.0.0.0:80", false));
        assert_eq!(said("unix:/run/w.sock"), place("unix:/run/w.sock", true));
        for wrong in ["", "here", "example.org:80", "unix:", "unix:w.sock", "unix:/run/", "80"] {
            assert_eq!(said(wrong), None, "{wrong}");
        }
        assert_eq!(said(&format!("unix:/{}", "x".repeat(100))), None);
    }
}
