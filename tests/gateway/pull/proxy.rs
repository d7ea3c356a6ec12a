//! A proxy that lives in a test: it notes what it is asked for, sends plain requests on to one server whatever host
//! they name, and refuses tunnels.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// More than the head of any request here has.
const HEAD_BYTES_MAX: usize = 64 << 10;

pub(super) struct Proxy {
    pub(super) url: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Starts one that sends requests on to the server at `server`, an address of the form `http://HOST:PORT`.
    pub(super) async fn start(server: &str) -> Self {
        let server = server.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass_on(client, server.clone(), Arc::clone(&noted)));
            }
        });
        Self { url, seen }
    }

    /// The first line of the first request of each connection.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn pass_on(mut client: TcpStream, server: String, seen: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        head.push(client.read_u8().await?);
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    let is_tunnel = line.starts_with("CONNECT ");
    seen.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    if is_tunnel {
        return client.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n").await;
    }
    let mut server = TcpStream::connect(server).await?;
    server.write_all(&head).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}
