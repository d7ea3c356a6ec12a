//! The edges of the HTTP server in `[server]`: certificates, sockets, and the bounds of a connection.

use std::time::Duration;

use weighbridge_gateway::TlsFiles;

use super::TlsConfig;
use super::reader::{Located, Place, Reader, Table};

/// A socket's rights where nothing is said: this user alone.
pub(super) const SOCKET_MODE: u32 = 0o600;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The keys as they stand.
#[derive(Default)]
pub(super) struct Edges {
    pub(super) tls: Option<Tls>,
    pub(super) socket_mode: Option<Located<String>>,
    pub(super) max_header_bytes: Option<usize>,
    pub(super) max_streams: Option<u32>,
}

pub(super) struct Tls {
    pub(super) place: Place,
    certificate: Option<Located<String>>,
    key: Option<Located<String>>,
    client_ca: Option<Located<String>>,
    handshake_timeout: Option<Duration>,
}

impl Edges {
    pub(super) fn read(table: &Table<'_, '_>) -> Self {
        let streams = table.integer("max_streams_per_connection", 1..65_536);
        Self {
            tls: table.table("tls", Tls::read),
            socket_mode: table.text("socket_mode"),
            max_header_bytes: table.size("max_header_bytes", 8192..(1 << 20) + 1),
            max_streams: streams.and_then(|streams| u32::try_from(streams).ok()),
        }
    }
}

impl Tls {
    fn read(table: &Table<'_, '_>) -> Self {
        Self {
            place: table.place.clone(),
            certificate: table.required_text("cert"),
            key: table.required_text("key"),
            client_ca: table.text("client_ca"),
            handshake_timeout: table.milliseconds("handshake_timeout_ms"),
        }
    }
}

/// Paths from the folder of the file. What the files hold is read at the start.
pub(super) fn tls(tls: &Tls, reader: &Reader<'_>) -> Option<TlsConfig> {
    let path = |text: &Located<String>| reader.folder().join(&text.value);
    let files = TlsFiles {
        certificate: path(tls.certificate.as_ref()?),
        key: path(tls.key.as_ref()?),
        client_ca: tls.client_ca.as_ref().map(path),
    };
    Some(TlsConfig { files, handshake_timeout: tls.handshake_timeout.unwrap_or(HANDSHAKE_TIMEOUT) })
}

pub(super) fn socket_mode(mode: Option<&Located<String>>, reader: &Reader<'_>) -> u32 {
    let Some(text) = mode else { return SOCKET_MODE };
    let digits = text.value.strip_prefix("0o").unwrap_or(&text.value);
    let octal = !digits.is_empty() && digits.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| octal && *mode <= 0o777);
    if mode.is_none() {
        let help = Some("\"0600\" lets this user connect, \"0660\" its group too".to_owned());
        reader.mistake(&text.place, format!("expected rights in octal, found \"{}\"", text.value), help);
    }
    mode.unwrap_or(SOCKET_MODE)
}
