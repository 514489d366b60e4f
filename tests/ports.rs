//! All four ports of both programs, each with the limits it has in service: a crowd that asks for nothing
//! keeps nobody else from an answer, bodies have a bound, and no answer tells anything about the machine,
//! no directory, no library, no version but ours where it is meant to be.

#![allow(clippy::unwrap_used)]

use bcs_bkcmdb_synchronizer::config::{Config, ContainerServerConfig, Sources};
use bcs_bkcmdb_synchronizer::container_server::ContainerServer;
use bcs_bkcmdb_synchronizer::service::{Service, VERSION};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// Requests of all kinds; each ends the connection or is the last.
const REQUESTS: [&str; 12] = [
    "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /no/such/path HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /../../etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "POST /api/v1/clusters/x/sync HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    "POST /api/v3/createmany/container/pod HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nConnection: close\r\n\r\n{",
    "DELETE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "TRACE / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    "GET / HTTP/1.1\r\n\r\n",
    "GET / HTTP/9.9\r\nHost: a\r\n\r\n",
    "\x16\x03\x01 no HTTP at all\r\n\r\n",
];

/// A port, and what a health check or a scrape asks of it.
struct Port {
    addr: SocketAddr,
    asked: &'static str,
}

/// Both programs, without anybody to talk to.
struct Programs {
    directory: TempDir,
    service: Service,
    server: ContainerServer,
}

impl Programs {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| -> PathBuf {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let sources = |file| Sources { file: Some(file), ..Sources::default() };
        let tasks = file("tasks.json", "[]");
        let configuration = format!(
            r#"{{"zk":"","port":0,"metric_port":0,"storage_addrs":["http://127.0.0.1:1"],"cmdb_addr":"127.0.0.1:1",
                "cmdb_user":"u","task_manager_type":"file","task_file":{tasks:?}}}"#
        );
        let config = Config::load(&sources(file("c.json", &configuration))).unwrap().config;
        let service = Service::start(config).unwrap();

        let topology = file("topology.json", r#"{"businesses":[]}"#);
        let database = directory.path().join("records.db");
        let configuration =
            format!(r#"{{"port":0,"metric_port":0,"database":{database:?},"topology_file":{topology:?}}}"#);
        let config = ContainerServerConfig::load(&sources(file("s.json", &configuration))).unwrap().config;
        let (listener, metric_listener) = ContainerServer::bind(&config).unwrap();
        let server = ContainerServer::start(&config, listener, metric_listener).unwrap();
        Self { directory, service, server }
    }

    fn ports(&self) -> [Port; 4] {
        let port = |addr, asked| Port { addr, asked };
        [
            port(self.service.status_addr(), "/healthz"),
            port(self.service.metric_addr(), "/metrics"),
            port(self.server.addr(), "/healthz"),
            port(self.server.metric_addr(), "/metrics"),
        ]
    }
}

/// A client that has sent `first`.
fn connect(addr: SocketAddr, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(first).unwrap();
    stream
}

/// The whole answer.
fn ask(addr: SocketAddr, request: &str) -> String {
    let mut stream = connect(addr, request.as_bytes());
    let mut answer = Vec::new();
    // A refused request may end with a reset; what came before counts.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn is_answered(port: &Port) {
    let Port { addr, asked } = port;
    let answer = ask(*addr, &format!("GET {asked} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{asked}: {answer:?}");
}

#[test]
fn a_thousand_idle_and_a_hundred_dripping_clients_keep_nobody_from_an_answer_on_any_port() {
    let programs = Programs::start();
    for port in programs.ports() {
        let mut dripping: Vec<TcpStream> = (0..100).map(|_| connect(port.addr, b"GET / HT")).collect();
        let mut idle = Vec::new();
        for _ in 0..10 {
            idle.extend((0..100).map(|_| connect(port.addr, b"")));
            // The port may have closed any of them to make room.
            dripping.iter_mut().for_each(|dripper| drop(dripper.write_all(b"T")));
            is_answered(&port);
        }
    }
}

#[test]
fn a_body_above_the_bound_is_refused_before_it_is_sent_and_the_port_goes_on() {
    let programs = Programs::start();
    for port in programs.ports() {
        for length in ["33554433", "1000000000000", "99999999999999999999999"] {
            let request = format!(
                "POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n",
                port.asked
            );
            let answer = ask(port.addr, &request);
            let refused = answer.starts_with("HTTP/1.1 413 ") || answer.starts_with("HTTP/1.1 400 ");
            assert!(refused, "{length} bytes to {}: {answer:?}", port.asked);
        }
        is_answered(&port);
    }
}

#[test]
fn no_answer_of_any_port_tells_directories_or_libraries() {
    let programs = Programs::start();
    let directory = programs.directory.path().to_str().unwrap();
    // The page and the metrics name the release to whoever operates it.
    let ours = [&["GET / "][..], &["GET /metrics"], &[], &["GET /metrics"]];
    for (port, ours) in programs.ports().iter().zip(ours) {
        for request in REQUESTS {
            tells_nothing(request, &ask(port.addr, request), directory, ours);
        }
    }
}

fn tells_nothing(request: &str, answer: &str, directory: &str, ours: &[&str]) {
    assert!(answer.starts_with("HTTP/1.1 "), "{request:?}: {answer:?}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let lower = head.to_ascii_lowercase();
    assert!(!lower.contains("\r\nserver:") && !lower.contains("x-powered-by"), "{head}");
    for leak in [directory, "root:", "tiny_http", "tiny-http", "rustls", "src/", "panicked"] {
        assert!(!body.contains(leak), "{request:?} tells {leak}: {body}");
    }
    if !ours.iter().any(|start| request.starts_with(start)) {
        assert!(!body.contains(VERSION), "{request:?} tells the version: {body}");
    }
}
