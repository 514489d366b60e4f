//! The guarded listener with TLS: the same promises behind a handshake.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

#[path = "peer/certificates.rs"]
mod certificates;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bcs_bkcmdb_synchronizer::config::TlsFiles;
use bcs_bkcmdb_synchronizer::front::{Body, Front, Limits, Request, Response};
use bcs_bkcmdb_synchronizer::http::tls;
use certificates::Authority;
use crossbeam::channel::{Sender, bounded};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

const PATIENCE: Duration = Duration::from_secs(60);

type Client = StreamOwned<ClientConnection, TcpStream>;

fn start(server: &TlsFiles, request_time: Duration, ended: Sender<()>) -> Front {
    let handler = move |request: Request| {
        let ended = ended.clone();
        let body = match request.path.as_str() {
            "/stream" => Body::Stream(Box::new(move |out| {
                out.write_all(b"first")?;
                while out.flush().is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
                let _ = ended.send(());
                Ok(())
            })),
            path => Body::Bytes(format!("{path} {}", request.body.len()).into_bytes()),
        };
        Response { status: 200, content_type: "text/plain", headers: Vec::new(), body }
    };
    let limits = Limits { request_time, ..Limits::default() };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    Front::start("tls", listener, Some(tls::server_config(server).unwrap()), limits, Arc::new(handler))
        .unwrap()
}

fn plain(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn connect(addr: SocketAddr, config: &Arc<ClientConfig>) -> Client {
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), plain(addr))
}

/// Sends and reads until the answer holds `expected`.
fn ask(client: &mut Client, request: &str, expected: &str) -> io::Result<()> {
    client.write_all(request.as_bytes())?;
    let mut text = String::new();
    while !text.contains(expected) {
        let mut piece = [0; 1024];
        let length = client.read(&mut piece)?;
        if length == 0 {
            return Err(io::Error::other(format!("only {text:?}")));
        }
        text.push_str(&String::from_utf8_lossy(&piece[..length]));
    }
    Ok(())
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

#[test]
fn requests_and_large_bodies_pass_and_connections_are_reused() {
    let authority = Authority::new("ours");
    let front = start(&authority.issue("localhost"), PATIENCE, bounded(1).0);
    let config = tls::client_config(&authority.trusting(TlsFiles::default()), true).unwrap();
    let mut client = connect(front.addr(), &config);
    for number in 0..5 {
        ask(&mut client, &get(&format!("/{number}")), &format!("/{number} 0")).unwrap();
    }
    let body = "x".repeat(500_000);
    let request = format!("POST /big HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    ask(&mut client, &request, "/big 500000").unwrap();
    assert_eq!(front.counters().accepted, 1);
}

#[test]
fn with_a_ca_only_clients_with_its_certificate_get_in() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let front = start(&ours.trusting(ours.issue("localhost")), PATIENCE, bounded(1).0);
    let check = |files: TlsFiles, allowed: bool| {
        let config = tls::client_config(&ours.trusting(files), true).unwrap();
        let result = ask(&mut connect(front.addr(), &config), &get("/in"), "/in 0");
        assert_eq!(result.is_ok(), allowed, "{result:?}");
    };
    check(ours.issue("client"), true);
    check(theirs.issue("client"), false);
    check(TlsFiles::default(), false);
    // Counted when the client has its answer already, or a moment later.
    let deadline = Instant::now() + PATIENCE;
    while front.counters().handshakes < 2 && Instant::now() < deadline {
        std::thread::yield_now();
    }
    // Who only tries whether the port is open has failed in nothing.
    drop(plain(front.addr()));
    check(ours.issue("client"), true);
    assert_eq!(front.counters().handshakes, 2);
}

#[test]
fn handshakes_that_drip_or_make_no_sense_cost_only_their_own_connection() {
    let authority = Authority::new("ours");
    // A handshake of a busy machine is through within it.
    let front = start(&authority.issue("localhost"), Duration::from_secs(5), bounded(1).0);
    let config = tls::client_config(&authority.trusting(TlsFiles::default()), true).unwrap();
    let mut dripping: Vec<TcpStream> = (0..50).map(|_| plain(front.addr())).collect();
    // One whose time is over already does not take it.
    dripping.iter_mut().for_each(|stream| drop(stream.write_all(b"\x16\x03\x01")));
    let mut talks_http = plain(front.addr());
    talks_http.write_all(get("/").as_bytes()).unwrap();
    ask(&mut connect(front.addr(), &config), &get("/in"), "/in 0").unwrap();
    for mut stream in dripping {
        let mut rest = Vec::new();
        // Closed or reset: not left open.
        if let Err(error) = stream.read_to_end(&mut rest) {
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    }
    assert!(front.counters().timeouts >= 50, "{:?}", front.counters());
}

#[test]
fn a_stream_notices_a_client_that_closes_and_one_that_breaks_off() {
    let authority = Authority::new("ours");
    let (ended, ends) = bounded(2);
    let front = start(&authority.issue("localhost"), PATIENCE, ended);
    let config = tls::client_config(&authority.trusting(TlsFiles::default()), true).unwrap();
    for polite in [true, false] {
        let mut client = connect(front.addr(), &config);
        ask(&mut client, &get("/stream"), "5\r\nfirst\r\n").unwrap();
        let kept = polite.then(|| {
            client.conn.send_close_notify();
            client.flush().unwrap();
            client
        });
        ends.recv_timeout(PATIENCE).unwrap();
        drop(kept);
    }
}

#[test]
fn stop_ends_idle_streaming_and_handshaking_connections_at_once() {
    let authority = Authority::new("ours");
    let (ended, ends) = bounded(2);
    let front = start(&authority.issue("localhost"), 2 * PATIENCE, ended);
    let config = tls::client_config(&authority.trusting(TlsFiles::default()), true).unwrap();
    let mut streaming = connect(front.addr(), &config);
    ask(&mut streaming, &get("/stream"), "5\r\nfirst\r\n").unwrap();
    let mut idle = connect(front.addr(), &config);
    ask(&mut idle, &get("/in"), "/in 0").unwrap();
    let mut handshaking = plain(front.addr());
    handshaking.write_all(b"\x16\x03\x01").unwrap();
    let began = Instant::now();
    front.stop();
    // Their own times are longer.
    assert!(began.elapsed() < PATIENCE, "took {:?}", began.elapsed());
    ends.recv_timeout(PATIENCE).unwrap();
}
