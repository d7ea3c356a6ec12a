//! The edges of the HTTP server in `[server]`: certificates, sockets, and the bounds of a connection.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use weighbridge_gateway::{Compression, Cors, TlsFiles};

use super::TlsConfig;
use super::reader::{Located, Place, Reader, Table};

/// A socket's rights where nothing is said: this user alone.
pub(super) const SOCKET_MODE: u32 = 0o600;

/// How long a browser remembers what it was told.
const CORS_MAX_AGE: Duration = Duration::from_secs(600);

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The keys as they stand.
#[derive(Default)]
pub(super) struct Edges {
    pub(super) tls: Option<Tls>,
    pub(super) socket_mode: Option<Located<String>>,
    pub(super) cors: Option<RawCors>,
    pub(super) compression: Option<Compression>,
    pub(super) request_timeout: Option<Duration>,
    pub(super) repeat_window: Option<Duration>,
    pub(super) repeat_bytes: Option<usize>,
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

pub(super) struct RawCors {
    origins: Vec<Located<String>>,
    methods: Option<Vec<Located<String>>>,
    headers: Option<Vec<Located<String>>>,
    max_age: Option<Duration>,
}

impl Edges {
    pub(super) fn read(table: &Table<'_, '_>) -> Self {
        let streams = table.integer("max_streams_per_connection", 1..65_536);
        Self {
            tls: table.table("tls", Tls::read),
            cors: table.table("cors", RawCors::read),
            socket_mode: table.text("socket_mode"),
            compression: table.word("compression", &["all", "bodies", "none"], |word| match word {
                "all" => Some(Compression::All),
                "bodies" => Some(Compression::Bodies),
                "none" => Some(Compression::None),
                _ => None,
            }),
            request_timeout: table.milliseconds("request_timeout_ms"),
            repeat_window: table.milliseconds("idempotency_window_ms"),
            repeat_bytes: table.size("idempotency_max_bytes", 0..(1 << 36) + 1),
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

impl RawCors {
    fn read(table: &Table<'_, '_>) -> Self {
        Self {
            origins: table.required_texts("allow_origins"),
            methods: table.texts("allow_methods"),
            headers: table.texts("allow_headers"),
            max_age: table.milliseconds("max_age_ms"),
        }
    }
}

/// Which pages may ask. Where no key is wanted, every page that a browser of this machine shows could ask as whoever
/// sits before it, so that those that may have to be named.
pub(super) fn cors(cors: &RawCors, keyless: bool, reader: &Reader<'_>) -> Cors {
    let any = cors.origins.iter().find(|origin| origin.value == "*");
    if let (Some(any), true) = (any, keyless) {
        let help = Some("name the origins, or add [[callers]] with keys".to_owned());
        reader.mistake(&any.place, "every page of the web could ask here, since no key is wanted", help);
    }
    let named = || cors.origins.iter().filter_map(|origin| origin_of(origin, reader)).collect();
    let methods = cors.methods.as_ref().map(|methods| known_words(methods, "a method", reader));
    Cors {
        origins: any.is_none().then(named),
        methods: methods.unwrap_or_else(|| vec![Method::GET, Method::POST]),
        headers: cors
            .headers
            .as_ref()
            .map(|headers| known_words::<HeaderName>(headers, "the name of a header", reader)),
        max_age: cors.max_age.unwrap_or(CORS_MAX_AGE),
    }
}

/// An origin as browsers write it: a scheme and a host in small letters, and a port where it is not the scheme's own.
fn origin_of(origin: &Located<String>, reader: &Reader<'_>) -> Option<HeaderValue> {
    let host = ["http://", "https://"].iter().find_map(|scheme| origin.value.strip_prefix(scheme));
    let of_a_host = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-:[]_".contains(c);
    let value = host.filter(|host| !host.is_empty() && host.chars().all(of_a_host));
    let value = value.and_then(|_| HeaderValue::from_str(&origin.value).ok());
    if value.is_none() {
        let help = Some("as browsers write it: \"https://app.example\", without a path".to_owned());
        reader.mistake(&origin.place, format!("expected an origin, found \"{}\"", origin.value), help);
    }
    value
}

fn known_words<T: std::str::FromStr>(words: &[Located<String>], what: &str, reader: &Reader<'_>) -> Vec<T> {
    let read = |word: &Located<String>| {
        let parsed = word.value.parse().ok();
        if parsed.is_none() {
            reader.mistake(&word.place, format!("expected {what}, found \"{}\"", word.value), None);
        }
        parsed
    };
    words.iter().filter_map(read).collect()
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
