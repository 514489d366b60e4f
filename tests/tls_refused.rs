//! What must never pass for secure, on either side: certificates of another CA, expired ones and ones
//! that are not valid yet, none at all, and TLS older than 1.2.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod peer;

use bcs_bkcmdb_synchronizer::config::TlsFiles;
use bcs_bkcmdb_synchronizer::front::{Front, Limits, Request, Response};
use bcs_bkcmdb_synchronizer::http::{self, Client, HttpError, Method, Options, tls};
use peer::Peer;
use peer::certificates::Authority;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// A port of ours, as the status service and the container server have it.
fn port(files: &TlsFiles) -> Front {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let handler = |_: Request| Response::json(200, &"in");
    Front::start(
        "tls",
        listener,
        Some(tls::server_config(files).unwrap()),
        Limits::default(),
        Arc::new(handler),
    )
    .unwrap()
}

/// Asks with a client of ours, as bcs-storage, the CMDB and paas-cc are spoken to.
fn ask(files: &TlsFiles, verify_hostname: bool, addr: SocketAddr) -> Result<Vec<u8>, HttpError> {
    let tls = Some(tls::client_config(files, verify_hostname).unwrap());
    let client = Client::new(&Options { tls, connect_timeout: PATIENCE, ..Options::default() });
    let url = format!("https://{addr}");
    let request = http::Request {
        method: Method::Get,
        url: &url,
        headers: &[],
        body: None,
        timeout: Some(PATIENCE),
        idle_timeout: None,
    };
    client.send(&request)?.bytes(100)
}

/// Years in which a certificate is valid, and whether it may be used today.
const VALIDITY: [(i32, i32, bool); 3] = [(2000, 4000, true), (2000, 2001, false), (3000, 4000, false)];

#[test]
fn a_server_needs_a_certificate_of_our_ca_that_is_valid_today() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let trusting = ours.trusting(TlsFiles::default());
    for (from, until, valid) in VALIDITY {
        for (authority, known) in [(&ours, true), (&theirs, false)] {
            let server = port(&authority.issue_between("127.0.0.1", from, until));
            for verify_hostname in [true, false] {
                let result = ask(&trusting, verify_hostname, server.addr());
                assert_eq!(result.is_ok(), valid && known, "{from} to {until}, known {known}: {result:?}");
            }
        }
    }
}

#[test]
fn a_client_needs_a_certificate_of_our_ca_that_is_valid_today() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let server = port(&ours.trusting(ours.issue("127.0.0.1")));
    for (from, until, valid) in VALIDITY {
        for (authority, known) in [(&ours, true), (&theirs, false)] {
            let client = ours.trusting(authority.issue_between("client", from, until));
            let result = ask(&client, true, server.addr());
            assert_eq!(result.is_ok(), valid && known, "{from} to {until}, known {known}: {result:?}");
        }
    }
    assert!(ask(&ours.trusting(TlsFiles::default()), true, server.addr()).is_err(), "without a certificate");
}

/// A complete ClientHello that offers nothing newer than `version`, with ciphers of its time.
fn client_hello(version: u8) -> Vec<u8> {
    let ciphers = [0xc0, 0x09, 0xc0, 0x2b, 0xc0, 0x13, 0xc0, 0x2f];
    let groups = [0, 10, 0, 4, 0, 2, 0, 23];
    let signatures = [0, 13, 0, 8, 0, 6, 4, 3, 4, 1, 2, 1];
    let mut hello = vec![3, version];
    hello.extend([7; 32]);
    hello.extend([0, 0, ciphers.len() as u8]);
    hello.extend(ciphers);
    hello.extend([1, 0, 0, (groups.len() + signatures.len()) as u8]);
    hello.extend(groups);
    hello.extend(signatures);
    let mut message = vec![1, 0, 0, hello.len() as u8];
    message.extend(hello);
    let mut record = vec![22, 3, 1, 0, message.len() as u8];
    record.extend(message);
    record
}

#[test]
fn a_port_does_not_speak_tls_older_than_1_2() {
    let authority = Authority::new("ours");
    let server = port(&authority.issue("localhost"));
    // SSL 3.0, TLS 1.0, 1.1; and 1.2, to see that it is the version that is refused.
    for (version, spoken) in [(0, false), (1, false), (2, false), (3, true)] {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(&client_hello(version)).unwrap();
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).unwrap();
        // A handshake message (22), else an alert (21) that is fatal (2): protocol version (70).
        let expected: (u8, &[u8]) = if spoken { (22, &[]) } else { (21, &[2, 70]) };
        assert_eq!(answer[0], expected.0, "3.{version}: {answer:?}");
        assert!(answer[5..].starts_with(expected.1), "3.{version}: {answer:?}");
    }
}

#[test]
fn a_client_does_not_take_tls_older_than_1_2_from_a_server() {
    let authority = Authority::new("ours");
    for version in [0, 1, 2] {
        let old = Peer::start(move |mut connection| {
            let mut hello = vec![22, 3, version, 0, 42, 2, 0, 0, 38, 3, version];
            hello.extend([7; 32]);
            hello.extend([0, 0xc0, 0x13, 0]);
            connection.write(&hello);
            connection.wait_for_end();
        });
        let result = ask(&authority.trusting(TlsFiles::default()), false, old.addr());
        assert!(matches!(result, Err(HttpError::Tls { .. })), "3.{version}: {result:?}");
    }
}
