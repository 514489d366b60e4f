//! What a port answers tells nothing about the machine: no directory, no library, no version but ours
//! where it is meant to be. All four ports of both programs, good requests and bad ones.

#![allow(clippy::unwrap_used)]

use bcs_bkcmdb_synchronizer::config::{Config, ContainerServerConfig, Sources};
use bcs_bkcmdb_synchronizer::container_server::ContainerServer;
use bcs_bkcmdb_synchronizer::service::{Service, VERSION};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

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

/// The whole answer.
fn ask(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    // A refused request may end with a reset; what came before counts.
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn check(addr: SocketAddr, directory: &Path, ours: &[&str]) {
    for request in REQUESTS {
        let answer = ask(addr, request);
        assert!(answer.starts_with("HTTP/1.1 "), "{request:?}: {answer:?}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let lower = head.to_ascii_lowercase();
        assert!(!lower.contains("\r\nserver:") && !lower.contains("x-powered-by"), "{head}");
        for leak in
            [directory.to_str().unwrap(), "root:", "tiny_http", "tiny-http", "rustls", "src/", "panicked"]
        {
            assert!(!body.contains(leak), "{request:?} tells {leak}: {body}");
        }
        if !ours.iter().any(|start| request.starts_with(start)) {
            assert!(!body.contains(VERSION), "{request:?} tells the version: {body}");
        }
    }
}

#[test]
fn no_answer_of_any_port_tells_directories_or_libraries() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let path = |name: &str| directory.path().join(name).display().to_string();
    file("tasks.json", "[]".to_owned());
    file("topology.json", r#"{"businesses":[]}"#.to_owned());
    let configuration = format!(
        r#"{{"zk":"","port":0,"metric_port":0,"storage_addrs":["http://127.0.0.1:1"],"cmdb_addr":"127.0.0.1:1",
            "cmdb_user":"u","task_manager_type":"file","task_file":"{}"}}"#,
        path("tasks.json")
    );
    let sources = |file| Sources { file: Some(file), ..Sources::default() };
    let config = Config::load(&sources(file("c.json", configuration))).unwrap().config;
    let service = Service::start(config).unwrap();
    // The page and the metrics name the release to whoever operates it.
    check(service.status_addr(), directory.path(), &["GET / "]);
    check(service.metric_addr(), directory.path(), &["GET /metrics"]);

    let configuration = format!(
        r#"{{"port":0,"metric_port":0,"database":"{}","topology_file":"{}"}}"#,
        path("records.db"),
        path("topology.json")
    );
    let config = ContainerServerConfig::load(&sources(file("s.json", configuration))).unwrap().config;
    let (listener, metric_listener) = ContainerServer::bind(&config).unwrap();
    let server = ContainerServer::start(&config, listener, metric_listener).unwrap();
    check(server.addr(), directory.path(), &[]);
    check(server.metric_addr(), directory.path(), &["GET /metrics"]);
}
