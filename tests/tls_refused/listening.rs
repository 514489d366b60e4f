//! Every port that promises TLS, of the service as it is configured: the status service and the
//! container server's API.

use crate::container::Server;
use crate::peer::certificates::Authority;
use crate::world::World;
use bcs_bkcmdb_synchronizer::config::TlsFiles;
use bcs_bkcmdb_synchronizer::http::{Client, HttpError, Method, Options, Request, tls};
use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

/// Years in which a certificate is valid, and whether it may be used today.
const VALIDITY: [(i32, i32, bool); 3] = [(2000, 4000, true), (2000, 2001, false), (3000, 4000, false)];

/// Both ports, with these keys of the configuration.
fn on_every_port(keys: &Value, check: impl Fn(&str, SocketAddr)) {
    let mut world = World::single(Generation::New).with(keys.clone());
    world.start();
    check("status service", world.service.as_ref().unwrap().status_addr());
    let server = Server::start(keys.clone());
    check("container server", server.server.as_ref().unwrap().addr());
}

#[test]
fn a_port_with_a_ca_lets_in_only_its_clients_that_are_valid_today() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let own = ours.issue("127.0.0.1");
    let keys = json!({"ca_file": ours.ca, "server_cert_file": own.cert, "server_key_file": own.key});
    on_every_port(&keys, |place, address| {
        for (from, until, valid) in VALIDITY {
            for (authority, known) in [(&ours, true), (&theirs, false)] {
                let client = ours.trusting(authority.issue_between("client", from, until));
                let result = ask(&client, true, address);
                assert_eq!(result.is_ok(), valid && known, "{place}, {from} to {until}, {known}: {result:?}");
            }
        }
        let stranger = ask(&ours.trusting(TlsFiles::default()), true, address);
        assert!(stranger.is_err(), "{place} without a certificate");
        let plain = exchange(address, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert!(!plain.starts_with(b"HTTP/1.1 200"), "{place} in plain HTTP");
    });
}

#[test]
fn a_port_does_not_speak_tls_older_than_1_2() {
    let ours = Authority::new("ours");
    let own = ours.issue("127.0.0.1");
    on_every_port(&json!({"server_cert_file": own.cert, "server_key_file": own.key}), |place, address| {
        // SSL 3.0, TLS 1.0, 1.1; and 1.2, to see that it is the version that is refused.
        for (version, spoken) in [(0, false), (1, false), (2, false), (3, true)] {
            let answer = exchange(address, &client_hello(version));
            // A handshake message (22), else an alert (21) that is fatal (2): protocol version (70).
            match spoken {
                true => assert_eq!(answer[0], 22, "{place}, 3.{version}: {answer:?}"),
                false => assert_eq!((answer[0], &answer[5..7]), (21, &[2, 70][..]), "{place}, 3.{version}"),
            }
        }
    });
}

/// The first bytes that answer `request`.
fn exchange(address: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    // Closed or reset after it is as good.
    let _ = stream.take(12).read_to_end(&mut answer);
    answer
}

/// Asks with a client of ours, as an operator's would.
fn ask(files: &TlsFiles, verify_hostname: bool, addr: SocketAddr) -> Result<Vec<u8>, HttpError> {
    let tls = Some(tls::client_config(files, verify_hostname).unwrap());
    let client = Client::new(&Options { tls, connect_timeout: PATIENCE, ..Options::default() });
    let url = format!("https://{addr}/healthz");
    let request = Request {
        method: Method::Get,
        url: &url,
        headers: &[],
        body: None,
        timeout: Some(PATIENCE),
        idle_timeout: None,
    };
    client.send(&request)?.bytes(10_000)
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
