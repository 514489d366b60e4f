//! A thousand connections that say nothing and then a hundred that begin to drip keep nobody from an answer:
//! with HTTPS, where half a handshake is the drip, and on the ports of the sandbox's peers. The plain
//! ports of both programs are in `ports`.

#![allow(clippy::unwrap_used)] // Helpers of tests fail by panicking.

#[path = "peer/certificates.rs"]
mod certificates;
mod container;

use bcs_bkcmdb_synchronizer::config::TlsFiles;
use bcs_bkcmdb_synchronizer::http::{Client, Method, Options as ClientOptions, Request, tls};
use bcs_bkcmdb_synchronizer::sandbox::Options;
use bcs_bkcmdb_synchronizer::sandbox::world::World;
use bcs_bkcmdb_synchronizer::service::Service;
use certificates::Authority;
use container::Server;
use serde_json::json;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

const IDLE: usize = 1000;
const DRIPPING: usize = 100;
/// How long a proper request may take. Nobody waits for the crowd, whose times are 30 s and more.
const SOON: Duration = Duration::from_secs(25);

/// What a client that drips begins with: half a request, or half a TLS handshake, which is to be 512
/// bytes long.
const HALF_A_REQUEST: &[u8] = b"GET /healthz HTTP/1.1\r\nHo";
const HALF_A_HANDSHAKE: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// Asks on a connection of its own.
fn ask(url: &str, trusting: Option<&TlsFiles>) -> Result<u16, String> {
    let tls = trusting.map(|files| tls::client_config(files, true).unwrap());
    let client = Client::new(&ClientOptions { tls, connect_timeout: SOON, ..ClientOptions::default() });
    let request = Request {
        method: Method::Get,
        url,
        headers: &[],
        body: None,
        timeout: Some(SOON),
        idle_timeout: None,
    };
    let answer = client.send(&request).map_err(|error| error.to_string())?;
    let status = answer.status;
    answer.bytes(1 << 24).map(|_| status).map_err(|error| error.to_string())
}

/// `url` answers 200 before the crowd comes, and each time somebody asks while it is there.
#[track_caller]
fn check(url: &str, trusting: Option<&TlsFiles>) {
    let address = url.split('/').nth(2).unwrap();
    let connect = || TcpStream::connect(address).unwrap();
    let answers = |crowd: usize| {
        let begin = Instant::now();
        assert_eq!(ask(url, trusting), Ok(200), "{url}, {crowd} others");
        assert!(begin.elapsed() < SOON, "{url}, {crowd} others: {:?}", begin.elapsed());
    };
    let mut idle = Vec::new();
    for crowd in 0..IDLE {
        // An answer means too that all who came before are in: a port's queue is 128 long.
        if crowd % 100 == 0 {
            answers(crowd);
        }
        idle.push(connect());
    }
    answers(IDLE);
    let mut dripping: Vec<TcpStream> = (0..DRIPPING).map(|_| connect()).collect();
    let begun = if trusting.is_some() { HALF_A_HANDSHAKE } else { HALF_A_REQUEST };
    // One that was closed to make room does not take it.
    let send = |stream: &mut TcpStream, bytes: &[u8]| drop(stream.write_all(bytes));
    dripping.iter_mut().for_each(|stream| send(stream, begun));
    for _ in 0..3 {
        dripping.iter_mut().for_each(|stream| send(stream, b"s"));
        answers(IDLE + DRIPPING);
    }
    drop(idle);
}

fn sandbox() -> Options {
    Options {
        pods: None,
        clusters: 1,
        churn: 0,
        seed: 1,
        seconds: None,
        data: None,
        port: 0,
        metric_port: 0,
        v: 0,
    }
}

#[test]
fn the_sandbox_s_peers_and_a_metric_port_bear_a_crowd() {
    let world = World::start(&sandbox()).unwrap();
    let service = Service::start(world.synchronizer_config(&sandbox()).unwrap()).unwrap();
    check(&format!("http://{}/metrics", service.metric_addr()), None);
    let pods = "bcsstorage/v1/k8s/dynamic/all_resources/clusters/BCS-K8S-00001/Pod?limit=1";
    check(&format!("{}/{pods}", world.storage_url()), None);
    check(&format!("{}/projects/?desire_all_data=1", world.paas_url()), None);
    service.stop();
}

#[test]
fn the_status_port_bears_a_crowd_with_https() {
    let authority = Authority::new("ours");
    let world = World::start(&sandbox()).unwrap();
    let mut config = world.synchronizer_config(&sandbox()).unwrap();
    config.server_tls = authority.issue("127.0.0.1");
    let service = Service::start(config).unwrap();
    let trusting = authority.trusting(TlsFiles::default());
    check(&format!("https://{}/healthz", service.status_addr()), Some(&trusting));
    service.stop();
}

#[test]
fn the_container_server_bears_a_crowd_with_https() {
    let authority = Authority::new("ours");
    let files = authority.issue("127.0.0.1");
    let server = Server::start(json!({"server_cert_file": files.cert, "server_key_file": files.key}));
    let address = server.server.as_ref().unwrap().addr();
    let trusting = authority.trusting(TlsFiles::default());
    check(&format!("https://{address}/healthz"), Some(&trusting));
}
