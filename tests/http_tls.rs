//! TLS of the outgoing client over real sockets, and the files it is made of.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod peer;

use bcs_bkcmdb_synchronizer::config::TlsFiles;
use bcs_bkcmdb_synchronizer::http::tls::{self, TlsError};
use bcs_bkcmdb_synchronizer::http::{Client, HttpError, Method, Options, Request};
use peer::Peer;
use peer::certificates::Authority;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// A bound that no test that passes meets: beyond its patience.
const NEVER: Duration = Duration::from_secs(120);

fn https_peer(files: &TlsFiles) -> Peer {
    Peer::start_tls(tls::server_config(files).unwrap(), |mut connection| {
        while connection.request().is_some() {
            connection.answer(200, "ok");
        }
    })
}

fn client(files: &TlsFiles, verify_hostname: bool) -> Client {
    let tls = tls::client_config(files, verify_hostname).unwrap();
    Client::new(&Options { tls: Some(tls), connect_timeout: NEVER, ..Options::default() })
}

fn ask(client: &Client, url: &str) -> Result<Vec<u8>, HttpError> {
    let request = Request {
        method: Method::Get,
        url,
        headers: &[],
        body: None,
        timeout: Some(NEVER),
        idle_timeout: None,
    };
    client.send(&request)?.bytes(100)
}

fn check_refused(result: Result<Vec<u8>, HttpError>, word: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, HttpError::Tls { .. }), "{error:?}");
    assert!(!error.maybe_delivered());
    assert!(error.to_string().contains(word), "{error}");
}

#[test]
fn the_chain_is_always_verified_and_the_name_only_if_asked_for() {
    let ours = Authority::new("ours");
    let theirs = Authority::new("theirs");
    let peer = https_peer(&ours.issue("storage.bcs.internal"));
    let trusting = |authority: &Authority| authority.trusting(TlsFiles::default());
    assert_eq!(ask(&client(&trusting(&ours), false), &peer.origin()).unwrap(), b"ok");
    check_refused(ask(&client(&trusting(&ours), true), &peer.origin()), "issued to another name");
    check_refused(ask(&client(&trusting(&theirs), false), &peer.origin()), "CA");
    check_refused(ask(&client(&trusting(&theirs), true), &peer.origin()), "CA");
    let by_address = https_peer(&ours.issue("127.0.0.1"));
    assert_eq!(ask(&client(&trusting(&ours), true), &by_address.origin()).unwrap(), b"ok");
}

#[test]
fn a_secured_connection_is_kept() {
    let authority = Authority::new("ours");
    let peer = https_peer(&authority.issue("storage"));
    let client = client(&authority.trusting(TlsFiles::default()), false);
    for _ in 0..5 {
        ask(&client, &peer.origin()).unwrap();
    }
    assert_eq!(peer.accepted(), 1);
}

#[test]
fn a_client_certificate_is_shown_and_a_missing_or_foreign_one_is_explained() {
    let authority = Authority::new("ours");
    let foreign = Authority::new("theirs");
    let peer = https_peer(&authority.trusting(authority.issue("storage")));
    let with = |files: TlsFiles| client(&authority.trusting(files), false);
    assert_eq!(ask(&with(authority.issue("client")), &peer.origin()).unwrap(), b"ok");
    check_refused(ask(&with(TlsFiles::default()), &peer.origin()), "client certificate");
    check_refused(ask(&with(foreign.issue("client")), &peer.origin()), "refused us");
}

#[test]
fn https_where_the_peer_speaks_http_is_explained() {
    let authority = Authority::new("ours");
    let plain = Peer::start(|mut connection| {
        connection.write(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let url = format!("https://{}", plain.addr());
    check_refused(ask(&client(&authority.trusting(TlsFiles::default()), false), &url), "speak");
    check_refused(ask(&Client::new(&Options::default()), &url), "no TLS is configured");
}

#[test]
fn a_handshake_that_is_never_answered_ends_in_time_and_at_a_shutdown() {
    let authority = Authority::new("ours");
    let silent = Peer::start(|mut connection| connection.wait_for_end());
    let url = format!("https://{}", silent.addr());
    let tls = Some(tls::client_config(&authority.trusting(TlsFiles::default()), false).unwrap());
    let hasty = Client::new(&Options { tls: tls.clone(), connect_timeout: SECOND / 5, ..Options::default() });
    check_refused(ask(&hasty, &url), "");
    let patient = Client::new(&Options { tls, connect_timeout: NEVER, ..Options::default() });
    let worker = std::thread::spawn({
        let (patient, url) = (patient.clone(), url.clone());
        move || ask(&patient, &url)
    });
    peer::wait_until("the handshake has begun", || silent.accepted() == 2);
    patient.shutdown();
    peer::wait_until("it has ended", || worker.is_finished());
    assert!(!worker.join().unwrap().unwrap_err().maybe_delivered());
}

fn check_files(result: Result<(), TlsError>, words: &[&str]) {
    let text = result.unwrap_err().to_string();
    assert!(words.iter().all(|word| text.contains(word)), "{text}");
}

#[test]
fn files_that_cannot_be_used_are_named_with_what_to_do() {
    let authority = Authority::new("ours");
    let files = authority.issue("one");
    let (cert, key) = (files.cert.unwrap(), files.key.unwrap());
    let other = authority.issue("two");
    tls::check_pair(&cert, &key).unwrap();
    tls::check_ca(&authority.ca).unwrap();

    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &[u8]| -> PathBuf {
        fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name)
    };
    let missing = Path::new("/no/such.pem");
    let empty = write("empty.pem", b"");
    let binary = write("binary.pem", &[0xff, 0x00, 0xfe]);
    let hollow = write("hollow.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let torn = write("torn.pem", b"-----BEGIN CERTIFICATE-----\nAAAA\n");
    let modern = write("modern.pem", b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n");
    let old = write("old.pem", b"-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n");

    check_files(tls::check_pair(missing, &key), &["/no/such.pem", "able to read"]);
    check_files(tls::check_pair(&cert, missing), &["/no/such.pem", "able to read"]);
    check_files(tls::check_pair(dir.path(), &key), &["able to read"]);
    check_files(tls::check_pair(&empty, &key), &["empty.pem", "BEGIN CERTIFICATE"]);
    check_files(tls::check_pair(&binary, &key), &["binary.pem", "BEGIN CERTIFICATE"]);
    check_files(tls::check_pair(&torn, &key), &["torn.pem"]);
    check_files(tls::check_pair(&hollow, &key), &["hollow.pem"]);
    check_files(tls::check_pair(&cert, &empty), &["empty.pem", "BEGIN PRIVATE KEY"]);
    check_files(tls::check_pair(&cert, &cert), &["BEGIN PRIVATE KEY"]);
    check_files(tls::check_pair(&cert, &modern), &["modern.pem", "encrypted", "openssl pkey"]);
    check_files(tls::check_pair(&cert, &old), &["old.pem", "encrypted", "openssl pkey"]);
    check_files(tls::check_pair(&cert, &other.key.unwrap()), &["two.key.pem", "does not fit", "one.cert"]);
    check_files(tls::check_ca(&hollow), &["hollow.pem"]);
    check_files(tls::check_ca(&empty), &["empty.pem"]);
}

#[test]
fn half_an_identity_is_refused() {
    let files = Authority::new("ours").issue("one");
    let cert_only = TlsFiles { key: None, ..files.clone() };
    let key_only = TlsFiles { cert: None, ..files };
    check_files(tls::server_config(&cert_only).map(drop), &["one.cert.pem", "private key"]);
    check_files(tls::server_config(&key_only).map(drop), &["one.key.pem", "certificate"]);
    check_files(tls::server_config(&TlsFiles::default()).map(drop), &["HTTPS needs"]);
}
