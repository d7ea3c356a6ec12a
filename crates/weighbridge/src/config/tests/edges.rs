//! The keys of the server's edges.

use super::*;

#[test]
fn several_places_are_listened_on_and_all_of_them_want_callers_or_this_machine() {
    let listen = |text: &str| {
        let config = parse(&format!("[server]\nlisten = {text}\n{DEMO}")).expect("it has no mistakes");
        let places: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
        (places.join(" "), config.limits.local_host_only, config.limits.open_admin)
    };
    let both = "127.0.0.1:80 unix:/run/w.sock".to_owned();
    assert_eq!(listen("[\"127.0.0.1:80\", \"unix:/run/w.sock\"]"), (both, true, true));
    assert_eq!(listen("\"unix:/run/w.sock\""), ("unix:/run/w.sock".to_owned(), true, true));
    assert_eq!(listen("[]"), ("127.0.0.1:8080".to_owned(), true, true));
    check_mistakes(
        &format!("[server]\nlisten = [\"unix:w.sock\", \"[::1]:80\", \"0.0.0.0:80\", \"[::1]:80\"]\n{DEMO}"),
        &[
            (2, "server.listen[0]", "unix:/run"),
            (2, "server.listen[2]", "there are no [[callers]]"),
            (2, "server.listen[3]", "stands before already"),
        ],
    );
}

#[test]
fn rights_of_a_socket_are_octal() {
    let mode = |text: &str| parse(&format!("[server]\nsocket_mode = {text}\n{DEMO}")).ok().map(|it| it.socket_mode);
    assert_eq!(parse(DEMO).ok().map(|config| config.socket_mode), Some(0o600));
    assert_eq!(mode("\"0660\""), Some(0o660));
    assert_eq!(mode("\"0o777\""), Some(0o777));
    for wrong in ["\"\"", "\"rw\"", "\"0888\"", "\"01777\"", "\"+7\"", "384"] {
        assert_eq!(mode(wrong), None, "{wrong}");
    }
}

#[test]
fn a_certificate_comes_with_its_key_and_an_address() {
    let config =
        parse(&format!("[server.tls]\ncert = \"c.pem\"\nkey = \"k.pem\"\n{DEMO}")).expect("it has no mistakes");
    let tls = config.tls.expect("it has a certificate");
    assert_eq!((tls.files.certificate.as_path(), tls.files.client_ca), (Path::new("c.pem"), None));
    assert_eq!(tls.handshake_timeout.as_secs(), 10);
    check_mistakes(
        &format!("[server.tls]\ncert = \"c.pem\"\nkeys = \"k.pem\"\n{DEMO}"),
        &[(1, "server.tls", "missing key \"key\""), (3, "server.tls.keys", "did you mean \"key\"?")],
    );
    check_mistakes(
        &format!("[server]\nlisten = \"unix:/w.sock\"\ntls = {{ cert = \"c\", key = \"k\" }}\n{DEMO}"),
        &[(3, "server.tls", "no address but sockets")],
    );
}

#[test]
fn connections_have_their_bounds() {
    let server = "[server]\nmax_header_bytes = 8192\nmax_streams_per_connection = 7\n";
    let limits = parse(&format!("{server}{DEMO}")).expect("it has no mistakes").limits;
    assert_eq!((limits.head_bytes, limits.streams), (8192, 7));
    check_mistakes(
        &format!("[server]\nmax_header_bytes = 100\nmax_streams_per_connection = 0\n{DEMO}"),
        &[
            (2, "server.max_header_bytes", "a whole number from 8192"),
            (3, "server.max_streams_per_connection", "a whole number from 1"),
        ],
    );
}

#[test]
fn pages_that_may_ask_are_named_by_their_origin() {
    let cors = |text: &str| parse(&format!("[server.cors]\n{text}\n{DEMO}")).ok().and_then(|it| it.limits.cors);
    assert_eq!(parse(DEMO).ok().map(|config| config.limits.cors), Some(None));
    let one = cors("allow_origins = \"https://app.example\"").expect("it has no mistakes");
    assert_eq!(one.origins.map(|origins| origins.len()), Some(1));
    assert_eq!((one.methods.len(), one.headers, one.max_age.as_secs()), (2, None, 600));
    let more = "allow_origins = [\"http://localhost:3000\", \"http://[::1]:3000\"]\nallow_headers = [\"X-Team\"]";
    let more = cors(more).expect("it has no mistakes");
    assert_eq!((more.origins.map(|it| it.len()), more.headers.map(|it| it.len())), (Some(2), Some(1)));
    check_mistakes(
        &format!(
            "[server.cors]\nallow_origins = [\"app.example\", \"https://App.example\", \"https://a.example/\"]\nallow_methods = [\"G T\"]\nallow_headers = [\"x team\"]\n{DEMO}"
        ),
        &[
            (2, "server.cors.allow_origins[0]", "https://app.example"),
            (2, "server.cors.allow_origins[1]", "expected an origin"),
            (2, "server.cors.allow_origins[2]", "without a path"),
            (3, "server.cors.allow_methods[0]", "expected a method"),
            (4, "server.cors.allow_headers[0]", "the name of a header"),
        ],
    );
    check_mistakes(&format!("[server.cors]\n{DEMO}"), &[(1, "server.cors", "missing key \"allow_origins\"")]);
}

#[test]
fn all_pages_may_ask_only_where_keys_are_wanted() {
    let any = "allow_origins = [\"*\"]\n";
    for open in ["", "[server]\nauth = \"none\"\n", "[server]\nlisten = \"unix:/w.sock\"\n"] {
        let config = format!("{open}[server.cors]\n{any}{DEMO}");
        let line = 2 + open.lines().count();
        check_mistakes(&config, &[(line, "server.cors.allow_origins[0]", "no key is wanted")]);
    }
    let hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let caller = format!("[[callers]]\nname = \"a\"\nkey_sha256 = \"{hash}\"\n");
    let config = parse(&format!("[server.cors]\n{any}{DEMO}{caller}")).expect("it has no mistakes");
    assert_eq!(config.limits.cors.map(|cors| cors.origins), Some(None));
}

#[test]
fn answers_are_bounded_compressed_and_kept_as_the_config_says() {
    let plain = parse(DEMO).expect("it has no mistakes").limits;
    assert_eq!((plain.compression, plain.request_timeout), (weighbridge_gateway::Compression::All, None));
    assert_eq!((plain.repeat_window.as_secs(), plain.repeat_bytes), (86_400, 64 << 20));
    let server = "[server]\ncompression = \"bodies\"\nrequest_timeout_ms = 5\nidempotency_window_ms = 7\nidempotency_max_bytes = 9\n";
    let limits = parse(&format!("{server}{DEMO}")).expect("it has no mistakes").limits;
    assert_eq!(limits.compression, weighbridge_gateway::Compression::Bodies);
    assert_eq!(limits.request_timeout.map(|time| time.as_millis()), Some(5));
    assert_eq!((limits.repeat_window.as_millis(), limits.repeat_bytes), (7, 9));
    check_mistakes(
        &format!("[server]\ncompression = \"gzip\"\nidempotency_window = 1\n{DEMO}"),
        &[
            (2, "server.compression", "one of \"all\", \"bodies\", \"none\""),
            (3, "server.idempotency_window", "did you mean \"idempotency_window_ms\"?"),
        ],
    );
}
