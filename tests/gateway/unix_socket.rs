//! A gateway on a socket in the file system.

use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;

use harness::{Starting, Weighbridge, ask, client, demo_model};
use reqwest::Client;

fn listening_at(config: String, path: &Path) -> Starting {
    Weighbridge::with(config).with_argument("--listen").with_argument(&format!("unix:{}", path.display()))
}

/// A client that speaks over this socket, whatever a URL names.
fn through(path: &Path) -> Client {
    drop(client());
    Client::builder().no_proxy().timeout(harness::PATIENCE).unix_socket(path).build().expect("a client can be built")
}

#[tokio::test]
async fn it_answers_on_a_socket_that_is_its_users_alone_and_removes_it() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("w.sock");
    let program = listening_at(demo_model(), &path).start().await;
    assert_eq!(program.url(), format!("unix:{}", path.display()));
    let metadata = std::fs::metadata(&path).expect("it is there");
    assert!(metadata.file_type().is_socket() && metadata.permissions().mode() & 0o777 == 0o600, "{metadata:?}");
    // Whoever reaches it is on this machine, by whatever name it is called, and may do what an open gateway lets.
    let mut program = program.speaking(through(&path), "http://any.example");
    program.post_chat(&ask("demo", "Hello")).await.assert_says("Hello! How can I help you today?", "demo");
    assert!(program.stream_chat(&ask("demo", "Hello")).await.done);
    assert_eq!((program.get("/metrics").await.status, program.get("/admin/models").await.status), (200, 200));
    assert!(program.stop().await.success());
    assert!(!path.exists(), "it is left behind");
}

#[tokio::test]
async fn several_places_are_served_at_once() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("w.sock");
    let program = Weighbridge::with(format!("[server]\nsocket_mode = \"0660\"\n{}", demo_model()));
    let unix = format!("unix:{}", path.display());
    let arguments = ["--listen", "127.0.0.1:0", "--listen", &unix];
    let program = arguments.into_iter().fold(program, Starting::with_argument).start().await;
    assert_eq!(program.get("/health").await.status, 200);
    let local = through(&path).get("http://localhost/health").send().await.expect("it answers");
    assert_eq!(local.status(), 200);
    assert_eq!(std::fs::metadata(&path).expect("it is there").permissions().mode() & 0o777, 0o660);
}

#[tokio::test]
async fn what_was_left_behind_is_replaced_and_what_is_in_use_is_not() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let path = folder.path().join("w.sock");
    // Its listener is gone, its file is not.
    drop(UnixListener::bind(&path).expect("it can be bound"));
    assert!(path.exists());
    let program = listening_at(demo_model(), &path).start().await;
    let refused = listening_at(demo_model(), &path).fail().await.assert_code(1);
    assert!(refused.stderr.contains("another program listens there"), "{}", refused.stderr);
    let program = program.speaking(through(&path), "http://localhost");
    assert_eq!(program.get("/health").await.status, 200);
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").expect("it can be written");
    let refused = listening_at(demo_model(), &file).fail().await.assert_code(1);
    assert!(refused.stderr.contains("no socket"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(&file).ok().as_deref(), Some("mine"));
}
