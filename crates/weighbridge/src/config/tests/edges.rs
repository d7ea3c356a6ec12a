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
