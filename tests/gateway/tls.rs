//! TLS: certificates from files, the versions and protocols that are spoken, and what happens when files change.

use std::path::Path;
use std::time::Duration;

use harness::{Starting, Weighbridge, ask, client, demo_model, eventually};
use rcgen::{BasicConstraints, CertificateParams, CertifiedKey, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Version};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A certificate of this machine and its key, in PEM.
fn certificate() -> (String, String) {
    let CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("it can be made");
    (cert.pem(), signing_key.serialize_pem())
}

fn write(folder: &Path, (certificate, key): &(String, String)) {
    std::fs::write(folder.join("key.pem"), key).expect("it can be written");
    std::fs::write(folder.join("cert.pem"), certificate).expect("it can be written");
}

fn serving_from(folder: &Path, settings: &str) -> Starting {
    let file = |name: &str| folder.join(name).display().to_string();
    Weighbridge::with(format!(
        "[server.tls]\ncert = {:?}\nkey = {:?}\n{settings}\n{}",
        file("cert.pem"),
        file("key.pem"),
        demo_model()
    ))
}

/// A client that trusts this certificate alone.
fn trusting(certificate: &str) -> ClientBuilder {
    // The process's cryptography is set up by the first plain client.
    drop(client());
    let root = Certificate::from_pem(certificate.as_bytes()).expect("it is a certificate");
    Client::builder().no_proxy().timeout(harness::PATIENCE).tls_certs_only([root])
}

async fn version_seen(client: Client, url: &str) -> Option<Version> {
    client.get(format!("{url}/health")).send().await.ok().map(|answer| answer.version())
}

#[tokio::test]
async fn answers_and_streams_come_over_tls_in_both_protocols() {
    let (folder, pair) = (tempfile::tempdir().expect("a folder can be made"), certificate());
    write(folder.path(), &pair);
    let program = serving_from(folder.path(), "").start().await;
    let url = program.url().to_owned();
    assert!(url.starts_with("https://"), "{url}");
    assert_eq!(version_seen(trusting(&pair.0).build().expect("it can be"), &url).await, Some(Version::HTTP_2));
    let old = trusting(&pair.0).http1_only().build().expect("it can be");
    assert_eq!(version_seen(old.clone(), &url).await, Some(Version::HTTP_11));
    for client in [old, trusting(&pair.0).build().expect("it can be")] {
        let program = serving_from(folder.path(), "").start().await;
        let url = program.url().to_owned();
        let program = program.speaking(client, &url);
        program.post_chat(&ask("demo", "Hello")).await.assert_says("Hello! How can I help you today?", "demo");
        let stream = program.stream_chat(&ask("demo", "Hello")).await;
        assert_eq!((stream.text().as_str(), stream.done), ("Hello! How can I help you today?", true));
    }
}

#[tokio::test]
async fn versions_before_1_2_are_not_spoken() {
    let (folder, pair) = (tempfile::tempdir().expect("a folder can be made"), certificate());
    write(folder.path(), &pair);
    let program = serving_from(folder.path(), "").start().await;
    // A ClientHello of TLS 1.1 with one suite, by hand: no client here still speaks it.
    let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let mut connection = TcpStream::connect(program.url().trim_start_matches("https://")).await.expect("it listens");
    connection.write_all(&hello).await.expect("it can be sent");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), connection.read_to_end(&mut answer)).await;
    // A fatal alert: protocol_version (70), or handshake_failure (40) where suites are looked at first.
    assert!(read.is_ok() && answer.first() == Some(&21), "{read:?} {answer:?}");
    let alert = answer.get(5..7);
    assert!(matches!(alert, Some([2, 70 | 40])), "{alert:?}");
}

#[tokio::test]
async fn a_new_certificate_is_used_and_one_that_cannot_be_is_not() {
    let (folder, first, second) = (tempfile::tempdir().expect("a folder can be made"), certificate(), certificate());
    write(folder.path(), &first);
    let program = serving_from(folder.path(), "").start().await;
    let url = program.url().to_owned();
    // A fresh client each time: an open connection keeps the certificate that it began with.
    let accepted = async |pair: &(String, String)| {
        version_seen(trusting(&pair.0).build().expect("it can be"), &url).await.is_some()
    };
    assert!(accepted(&first).await && !accepted(&second).await);
    // The key of another: the old pair stays, and the log says why.
    write(folder.path(), &(second.0.clone(), first.1.clone()));
    assert!(eventually(async || program.stderr().contains("it is not the key of")).await, "{}", program.stderr());
    assert!(accepted(&first).await);
    write(folder.path(), &second);
    assert!(eventually(async || accepted(&second).await).await, "{}", program.stderr());
    assert!(!accepted(&first).await && program.stderr().contains("a new certificate is in use"));
    assert_eq!(program.stderr().matches("it is not the key of").count(), 1, "a mistake is told once");
}

#[tokio::test]
async fn files_that_cannot_be_used_stop_the_start_and_are_named() {
    let (folder, pair) = (tempfile::tempdir().expect("a folder can be made"), certificate());
    let refused = async |expected: &[&str]| {
        let refused = serving_from(folder.path(), "").fail().await.assert_code(1);
        assert!(expected.iter().all(|piece| refused.stderr.contains(piece)), "{}", refused.stderr);
        assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
    };
    refused(&["cert.pem", "No such file"]).await;
    write(folder.path(), &(String::from("no certificate"), pair.1.clone()));
    refused(&["cert.pem", "there is no certificate in it"]).await;
    write(folder.path(), &(pair.0.clone(), pair.0.clone()));
    refused(&["key.pem", "there is no private key in it"]).await;
    write(folder.path(), &(pair.0.clone(), certificate().1));
    refused(&["key.pem", "it is not the key of"]).await;
}

#[tokio::test]
async fn a_handshake_that_stands_still_is_broken_off() {
    let (folder, pair) = (tempfile::tempdir().expect("a folder can be made"), certificate());
    write(folder.path(), &pair);
    let program = serving_from(folder.path(), "handshake_timeout_ms = 300").start().await;
    let mut connection = TcpStream::connect(program.url().trim_start_matches("https://")).await.expect("it listens");
    connection.write_all(&[22, 3, 1]).await.expect("it can be sent");
    let mut rest = Vec::new();
    let closed = tokio::time::timeout(Duration::from_secs(10), connection.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "the connection is still open");
}

#[tokio::test]
async fn with_roots_for_clients_nobody_without_a_certificate_is_let_in() {
    let (folder, pair) = (tempfile::tempdir().expect("a folder can be made"), certificate());
    write(folder.path(), &pair);
    let key = || KeyPair::generate().expect("a key can be made");
    let mut root = CertificateParams::new(Vec::<String>::new()).expect("it has no names");
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = key();
    let root_certificate = root.self_signed(&root_key).expect("it can be signed");
    std::fs::write(folder.path().join("ca.pem"), root_certificate.pem()).expect("it can be written");
    let issuer = Issuer::new(root, root_key);
    let mut client = CertificateParams::new(["client".to_owned()]).expect("it is a name");
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let client_key = key();
    let signed = client.signed_by(&client_key, &issuer).expect("it can be signed");
    let identity = format!("{}{}", signed.pem(), client_key.serialize_pem());

    let roots = format!("client_ca = {:?}", folder.path().join("ca.pem").display().to_string());
    let program = serving_from(folder.path(), &roots).start().await;
    let identity = Identity::from_pem(identity.as_bytes()).expect("it is a certificate with its key");
    let known = trusting(&pair.0).identity(identity).build().expect("it can be");
    assert!(version_seen(known, program.url()).await.is_some());
    let stranger = trusting(&pair.0).build().expect("it can be");
    assert!(version_seen(stranger, program.url()).await.is_none());
}
