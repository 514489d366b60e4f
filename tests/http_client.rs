//! The outgoing HTTP client over real sockets: what is sent, and what a failure means.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod peer;

use bcs_bkcmdb_synchronizer::http::{Client, HttpError, Method, Options, Request, Response};
use peer::{Connection, Peer, Unresponsive};
use std::io::Read;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
/// A bound that no test that passes meets: beyond its patience.
const NEVER: Duration = Duration::from_secs(120);

fn client() -> Client {
    Client::new(&Options { idle_connections: 2, connect_timeout: NEVER, ..Options::default() })
}

fn request<'a>(method: Method, url: &'a str, body: Option<&'a [u8]>) -> Request<'a> {
    Request { method, url, headers: &[], body, timeout: Some(NEVER), idle_timeout: None }
}

fn get(url: &str) -> Result<Response, HttpError> {
    client().send(&request(Method::Get, url, None))
}

/// What `get` fails with, be it at the head or in the body.
fn failure(url: &str, timeout: Duration) -> HttpError {
    let request = Request { timeout: Some(timeout), ..request(Method::Get, url, None) };
    match client().send(&request) {
        Err(error) => error,
        Ok(response) => response.bytes(1000).expect_err("the answer is whole"),
    }
}

#[test]
fn every_method_carries_its_body_and_headers() {
    let peer = Peer::answering(|_| (200, "ok"));
    let url = format!("{}/a/b?c=d", peer.origin());
    for (method, name) in
        [(Method::Get, "GET"), (Method::Post, "POST"), (Method::Put, "PUT"), (Method::Delete, "DELETE")]
    {
        for body in [None, Some(&b"{\"x\":1}"[..])] {
            let headers = [("BK_User", "admin")];
            let request = Request { headers: &headers, ..request(method, &url, body) };
            assert_eq!(client().send(&request).unwrap().bytes(10).unwrap(), b"ok");
            let seen = peer.requests().pop().unwrap();
            assert_eq!((seen.method.as_str(), seen.target.as_str()), (name, "/a/b?c=d"));
            assert_eq!(seen.body, body.unwrap_or_default(), "{name}");
            assert_eq!(seen.header("bk_user"), Some("admin"));
        }
    }
}

#[test]
fn any_status_is_an_answer_and_no_redirect_is_followed() {
    for status in [200, 204, 302, 404, 500, 503] {
        let peer = Peer::start(move |mut connection| {
            connection.request();
            connection.write(
                format!("HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")
                    .as_bytes(),
            );
        });
        let answer = get(&peer.origin()).unwrap();
        assert_eq!((answer.status, answer.location.as_deref()), (status, Some("http://127.0.0.1:1/")));
        assert_eq!(peer.accepted(), 1);
    }
}

#[test]
fn connections_are_kept_and_used_again() {
    let peer = Peer::answering(|_| (200, "ok"));
    let client = client();
    for _ in 0..5 {
        client.send(&request(Method::Get, &peer.origin(), None)).unwrap().bytes(10).unwrap();
    }
    assert_eq!((peer.accepted(), peer.requests().len()), (1, 5));
}

#[test]
fn a_proxy_in_the_environment_is_not_used() {
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env(name, format!("http://{}", peer::nobody()));
    }
    command.env_remove("no_proxy").env_remove("NO_PROXY");
    let output = command.args(["--exact", "connections_are_kept_and_used_again"]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// `ok`, fifty times, as gzip.
const GZIPPED: [u8; 25] =
    [31, 139, 8, 0, 0, 0, 0, 0, 2, 3, 203, 207, 206, 167, 57, 4, 0, 239, 53, 40, 51, 100, 0, 0, 0];

fn gzipped(bytes: &'static [u8]) -> Peer {
    Peer::start(move |mut connection| {
        while connection.request().is_some() {
            let length = bytes.len();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n");
            connection.write(head.as_bytes());
            connection.write(bytes);
        }
    })
}

#[test]
fn gzip_is_offered_unpacked_and_bounded_unless_identity_is_asked_for() {
    let peer = gzipped(&GZIPPED);
    assert_eq!(get(&peer.origin()).unwrap().bytes(100).unwrap(), "ok".repeat(50).as_bytes());
    assert!(get(&peer.origin()).unwrap().bytes(99).is_err());
    let identity = Client::new(&Options { identity: true, ..Options::default() });
    identity.send(&request(Method::Get, &peer.origin(), None)).unwrap();
    let offers: Vec<_> =
        peer.requests().iter().map(|seen| seen.header("accept-encoding").unwrap().to_owned()).collect();
    assert_eq!(offers, ["gzip", "gzip", "identity"]);
    let torn = gzipped(&GZIPPED[..20]);
    assert!(get(&torn.origin()).unwrap().bytes(100).is_err());
}

#[test]
fn a_name_is_looked_up_and_all_its_addresses_tried() {
    let peer = Peer::answering(|_| (200, "ok"));
    let url = format!("http://localhost:{}/", peer.addr().port());
    let client = client();
    for _ in 0..3 {
        assert_eq!(client.send(&request(Method::Get, &url, None)).unwrap().bytes(10).unwrap(), b"ok");
    }
    assert_eq!(peer.accepted(), 1);
}

#[test]
fn a_header_that_cannot_be_sent_is_refused_without_showing_it() {
    let headers = [("x-token", "hidden\r\nx: y")];
    let request = Request { headers: &headers, ..request(Method::Get, "http://127.0.0.1:1/", None) };
    let error = client().send(&request).err().unwrap();
    assert!(matches!(error, HttpError::Invalid { .. }), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hidden"));
}

#[test]
fn nothing_was_sent_where_nobody_listens() {
    let unresponsive = Unresponsive::start();
    for (url, word) in [
        (format!("http://{}/", peer::nobody()), "refused"),
        (format!("http://{}/", unresponsive.addr), "timed out"),
        ("http://no-such-host.invalid/".to_owned(), "name"),
    ] {
        let error = failure(&url, SECOND / 5);
        assert!(matches!(error, HttpError::Unreachable { .. }), "{url}: {error:?}");
        assert!(!error.maybe_delivered() && error.to_string().contains(word), "{url}: {error}");
    }
}

#[test]
fn a_url_that_cannot_be_asked_is_named_without_its_secrets() {
    for url in ["ftp://user:hidden@h/x?token=hidden", "http://", "", "/path", "http://user:hidden@ h/"] {
        let error = failure(url, SECOND);
        assert!(matches!(error, HttpError::Invalid { .. }), "{url}: {error:?}");
        assert!(!error.to_string().contains("hidden"), "{error}");
    }
}

/// Answers one request with `script`, and expects a failure after which the request may have been
/// carried out.
fn check_doubtful<T>(timed_out: bool, script: impl Fn(&mut Connection) -> T + Send + Sync + 'static) {
    let peer = Peer::start(move |mut connection| {
        connection.request();
        script(&mut connection);
    });
    let timeout = if timed_out { SECOND } else { NEVER };
    let error = failure(&peer.origin(), timeout);
    assert!(error.maybe_delivered(), "{error:?}");
    assert_eq!(error.is_timeout(), timed_out, "{error:?}");
}

#[test]
fn an_answer_that_never_comes_or_never_ends_is_a_timeout() {
    check_doubtful(true, |connection| connection.wait_for_end());
    check_doubtful(true, |connection| {
        connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab");
        connection.wait_for_end();
    });
}

#[test]
fn an_answer_that_breaks_off_or_is_not_http_is_broken() {
    check_doubtful(false, |_| ());
    check_doubtful(false, |connection| connection.write(b"HTTP/1.1 200 OK\r\ncont"));
    check_doubtful(false, |connection| {
        connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab");
    });
    check_doubtful(false, |connection| {
        connection.begin_stream();
        connection.write(b"5\r\nab");
    });
    check_doubtful(false, |connection| connection.write(b"\x16\x03\x01 what is this\r\n\r\n"));
    check_doubtful(false, |connection| connection.answer(200, vec![b'x'; 1001]));
    check_doubtful(false, |connection| {
        connection.write(format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(100_000)).as_bytes());
    });
}

#[test]
fn a_kept_connection_that_the_peer_closes_without_an_answer_is_broken() {
    let peer = Peer::start(|mut connection| {
        connection.request();
        connection.answer(200, "ok");
        connection.request();
    });
    let client = client();
    let url = peer.origin();
    client.send(&request(Method::Get, &url, None)).unwrap().bytes(10).unwrap();
    let error = client.send(&request(Method::Delete, &url, None)).err().unwrap();
    assert!(matches!(error, HttpError::Broken { .. }), "{error:?}");
}

fn stream(url: &str) -> Request<'_> {
    Request { timeout: None, idle_timeout: Some(NEVER), ..request(Method::Post, url, Some(b"{}")) }
}

#[test]
fn a_stream_lasts_longer_than_any_bound_as_long_as_it_is_not_silent() {
    const BOUND: Duration = Duration::from_secs(4);
    let peer = Peer::start(|mut connection| {
        connection.request();
        connection.begin_stream();
        for _ in 0..10 {
            connection.chunk("x");
            std::thread::sleep(BOUND / 8);
        }
        connection.wait_for_end();
    });
    let client = Client::new(&Options { connect_timeout: BOUND, ..Options::default() });
    let url = peer.origin();
    let request = Request { idle_timeout: Some(BOUND), ..stream(&url) };
    let mut answer = client.send(&request).unwrap();
    let mut all = String::new();
    let error = answer.body.read_to_string(&mut all).unwrap_err();
    assert_eq!(all.len(), 10);
    assert!(HttpError::reading(&answer.peer, &error).is_timeout(), "{error:?}");
}

#[test]
fn a_stream_without_a_head_times_out() {
    let peer = Peer::start(|mut connection| {
        connection.request();
        connection.wait_for_end();
    });
    let client = Client::new(&Options { connect_timeout: SECOND / 5, ..Options::default() });
    let error = client.send(&stream(&peer.origin())).err().unwrap();
    assert!(error.is_timeout(), "{error:?}");
}

/// Shuts a client down while another thread is busy with `url`; the thread has to end long before its
/// request would.
fn check_shutdown(url: &str, busy: impl Fn() -> bool) {
    let client = client();
    let worker = {
        let (client, url) = (client.clone(), url.to_owned());
        std::thread::spawn(move || {
            let result = client.send(&stream(&url)).map(|mut answer| {
                let read = std::io::copy(&mut answer.body, &mut std::io::sink());
                read.expect_err("a stream that was ended does not look complete")
            });
            result.is_ok()
        })
    };
    peer::wait_until("the thread is busy", busy);
    client.shutdown();
    peer::wait_until("the thread has ended", || worker.is_finished());
    worker.join().unwrap();
    let error = client.send(&stream(url)).err().unwrap();
    assert!(matches!(error, HttpError::Unreachable { .. }), "{error:?}");
}

#[test]
fn shutdown_ends_a_read_a_wait_for_the_head_and_a_connect_at_once() {
    let streaming = Peer::start(|mut connection| {
        connection.request();
        connection.begin_stream();
        connection.chunk("x");
        connection.wait_for_end();
    });
    check_shutdown(&streaming.origin(), || !streaming.requests().is_empty());
    let until_closed = Peer::start(|mut connection| {
        connection.request();
        connection.write(b"HTTP/1.1 200 OK\r\n\r\nx");
        connection.wait_for_end();
    });
    check_shutdown(&until_closed.origin(), || !until_closed.requests().is_empty());
    let silent = Peer::start(|mut connection| connection.wait_for_end());
    check_shutdown(&silent.origin(), || silent.accepted() > 0);
    let unresponsive = Unresponsive::start();
    let others = unresponsive.connecting();
    check_shutdown(&format!("http://{}", unresponsive.addr), || unresponsive.connecting() > others);
}
