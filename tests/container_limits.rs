//! What the container server's own port bears: clients that send nothing, or drop by drop, bodies that
//! are too large or too deep, and clients without the right certificate.

#![allow(clippy::unwrap_used)] // All of it is test.

#[path = "peer/certificates.rs"]
mod certificates;
mod container;

use bcs_bkcmdb_synchronizer::config::TlsFiles;
use bcs_bkcmdb_synchronizer::http::{Client, Method, Options, tls};
use certificates::Authority;
use container::{Caller, PATIENCE, Server, pod};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

const LIST: &str = "/container/v3/findmany/container/bk_biz_id/2/pod";

/// Connections the port takes at the same time, and more than that.
const PLACES: usize = 2048;
const CROWD: usize = 2500;
/// How long a request may take to arrive.
const SLOW: Duration = Duration::from_secs(30);

fn connect(address: SocketAddr, first: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    // One that was closed already does not take it.
    let _ = stream.write_all(first);
    stream
}

/// Writes a record, reads it back and deletes it: long before the time of a slow client is over.
fn serves(caller: &Caller) {
    let begin = Instant::now();
    assert_eq!(caller.create(2, &pod("healthy"))["bk_error_code"], 0);
    assert_eq!(caller.names(2, json!({})), ["healthy"]);
    assert_eq!(caller.delete(2, json!({"bk_pod_uuid": "uid-healthy"}))["data"]["deleted_count"], 1);
    assert!(begin.elapsed() < SLOW, "{:?}", begin.elapsed());
}

/// A caller without connections from before.
fn fresh(server: &Server) -> Caller {
    Caller::new(server.caller.base.clone())
}

#[test]
fn thousands_of_idle_connections_do_not_stop_a_healthy_client() {
    let server = Server::start(json!({}));
    let address = server.server.as_ref().unwrap().addr();
    let mut crowd = Vec::new();
    for number in 0..CROWD {
        crowd.push(connect(address, b""));
        if number % 500 == 0 {
            serves(&fresh(&server));
        }
    }
    serves(&fresh(&server));
    let is_open = |stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
    };
    let open = crowd.iter().filter(|stream| is_open(stream)).count();
    assert!(open <= PLACES, "{open} are open");
}

#[test]
fn a_request_that_does_not_arrive_within_its_time_is_ended_and_others_are_served_meanwhile() {
    let server = Server::start(json!({}));
    let address = server.server.as_ref().unwrap().addr();
    let begin = Instant::now();
    let slow = [
        "POST /container/v3/findmany/container/bk_biz_id/2/pod HTTP/1.1\r\nHos",
        "POST /container/v3/findmany/container/bk_biz_id/2/pod HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{",
    ];
    let slow = slow.map(|begun| connect(address, begun.as_bytes()));
    serves(&fresh(&server));
    for mut stream in slow {
        let mut answer = String::new();
        stream.set_read_timeout(Some(SLOW + PATIENCE)).unwrap();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("30 s"), "{answer}");
    }
    let time = begin.elapsed();
    assert!(time + Duration::from_secs(1) > SLOW, "{time:?}");
}

#[test]
fn thousands_of_dripping_connections_do_not_stop_a_healthy_client() {
    let server = Server::start(json!({}));
    let address = server.server.as_ref().unwrap().addr();
    let begun = b"POST /container/v3/findmany/container/bk_biz_id/2/pod HTTP/1.1\r\nContent-Le";
    let mut crowd: Vec<TcpStream> = (0..CROWD).map(|_| connect(address, begun)).collect();
    let drip = |crowd: &mut Vec<TcpStream>| {
        for stream in crowd.iter_mut() {
            let _ = stream.write_all(b"n");
        }
    };
    // All of them young: a client may be turned away for as long as that lasts, and no longer.
    let deadline = Instant::now() + PATIENCE;
    while fresh(&server).raw(Method::Get, "/healthz", b"").is_err() {
        assert!(Instant::now() < deadline, "kept out by clients that drip");
        drip(&mut crowd);
    }
    for _ in 0..5 {
        drip(&mut crowd);
        serves(&fresh(&server));
    }
}

#[test]
fn lists_that_look_through_everything_hold_up_no_others() {
    const QUERY: Duration = Duration::from_secs(20);
    let mut server = Server::start(json!({"query_timeout": QUERY.as_secs()}));
    fill(&server, 50_000);
    let rule =
        |number| json!({"field": "bk_pod_name", "operator": "contains", "value": format!("no{number}")});
    let rules: Vec<_> = (0..500).map(rule).collect();
    let slow = json!({"pod_property_filter": {"condition": "OR", "rules": rules}}).to_string();
    let path = LIST.replace("/2/", "/3/");
    let callers: Vec<_> = (0..20).map(|_| fresh(&server)).collect();
    let ask = |caller: &Caller| caller.raw(Method::Post, &path, slow.as_bytes());
    let ask = &ask;
    std::thread::scope(|scope| {
        let lists: Vec<_> = callers.iter().map(|caller| scope.spawn(move || ask(caller))).collect();
        let (caller, mut rounds) = (fresh(&server), 0);
        // Eight are told at once to come again, four are read for as long as they may be.
        while lists.iter().filter(|list| list.is_finished()).count() < 12 {
            let begin = Instant::now();
            let (status, health) = caller.raw(Method::Get, "/healthz", b"").unwrap();
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&health));
            assert_eq!(caller.create(2, &pod(&format!("p{rounds}")))["bk_error_code"], 0);
            let feed = caller.call(Method::Get, &format!("/watch/pods?since={rounds}&timeout=0"), &json!({}));
            assert_eq!(feed["data"]["changes"].as_array().map(Vec::len), Some(1), "{feed}");
            assert!(begin.elapsed() < QUERY, "{:?}", begin.elapsed());
            rounds += 1;
        }
        assert!(rounds > 1);
        // Nobody waits for the others.
        server.server = None;
    });
}

/// Puts records into business 3, past the server: it would take longer.
fn fill(server: &Server, pods: usize) {
    let database = rusqlite::Connection::open(server.directory.path().join("records.db")).unwrap();
    database
        .execute(
            "INSERT INTO pod (bk_biz_id, bk_module_id, bk_cloud_id, bk_pod_name, bk_pod_namespace, bk_pod_cluster,
                              bk_pod_uuid, bk_pod_workloadtype, bk_pod_workloadname, bk_supplier_account,
                              create_time, last_time)
             WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?)
             SELECT 3, 51, 0, 'pod-' || x, 'default', 'c', 'u' || x, 'Pod', 'w', '0', '', '' FROM n",
            [pods],
        )
        .unwrap();
}

#[test]
fn a_body_that_is_too_large_is_refused_with_its_bound_and_a_smaller_one_is_not() {
    let server = Server::start(json!({"body_limit": 100_000}));
    let body = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length));
    let (status, answer) = server.caller.raw(Method::Post, LIST, body(100_000).as_bytes()).unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(status == 413 && answer.contains("100000"), "{status} {answer}");
    let (status, _) = server.caller.raw(Method::Post, LIST, body(90_000).as_bytes()).unwrap();
    assert_eq!(status, 200);
}

#[test]
fn json_may_be_nested_to_a_depth_and_no_deeper() {
    let server = Server::start(json!({}));
    for (open, close, depth, code) in [
        ("[", "]", 100, 0),
        ("[", "]", 200, 1199000),
        ("[", "]", 1_000_000, 1199000),
        ("{\"a\":", "}", 1_000_000, 1199000),
    ] {
        let body = format!("{{\"a\":{}1{}}}", open.repeat(depth), close.repeat(depth));
        let (status, answer) = server.caller.raw(Method::Post, LIST, body.as_bytes()).unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!((status, &answer["bk_error_code"]), (200, &json!(code)), "{open} {depth}");
    }
    serves(&server.caller);
}

#[test]
fn with_a_ca_only_clients_with_its_certificate_write_records() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let certificate = ours.issue("127.0.0.1");
    let server = Server::start(json!({"ca_file": ours.ca, "server_cert_file": certificate.cert,
        "server_key_file": certificate.key}));
    let address = server.server.as_ref().unwrap().addr();
    let caller = |files: TlsFiles| {
        let tls = tls::client_config(&ours.trusting(files), true).unwrap();
        let mut caller = Caller::new(format!("https://{address}"));
        caller.client = Client::new(&Options {
            tls: Some(tls),
            idle_connections: 1,
            connect_timeout: PATIENCE,
            identity: false,
        });
        caller
    };
    serves(&caller(ours.issue("client")));
    for stranger in [theirs.issue("client"), TlsFiles::default()] {
        assert!(caller(stranger).raw(Method::Get, "/healthz", b"").is_err());
    }
    // Nor does plain HTTP get in.
    assert!(!matches!(fresh(&server).raw(Method::Get, "/healthz", b""), Ok((200, _))));
}

#[test]
fn a_renewed_certificate_is_in_force_without_a_restart_and_a_broken_one_is_not() {
    let (first, second) = (Authority::new("first"), Authority::new("second"));
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let install = |authority: &Authority| {
        let issued = authority.issue("127.0.0.1");
        for (name, file) in [("key", issued.key.unwrap()), ("cert", issued.cert.unwrap())] {
            std::fs::copy(file, at("new")).unwrap();
            std::fs::rename(at("new"), at(name)).unwrap();
        }
    };
    install(&first);
    let server = Server::start(json!({"server_cert_file": at("cert"), "server_key_file": at("key")}));
    let address = server.server.as_ref().unwrap().addr();
    let trusts = |authority: &Authority| {
        let tls = tls::client_config(&authority.trusting(TlsFiles::default()), true).unwrap();
        let connect_timeout = PATIENCE;
        let client =
            Client::new(&Options { tls: Some(tls), idle_connections: 0, connect_timeout, identity: false });
        let caller = Caller { client, ..Caller::new(format!("https://{address}")) };
        caller.raw(Method::Get, "/healthz", b"").is_ok()
    };
    assert!(trusts(&first) && !trusts(&second));
    install(&second);
    let deadline = Instant::now() + PATIENCE;
    while !trusts(&second) {
        assert!(Instant::now() < deadline, "the old certificate is still shown");
    }
    assert!(!trusts(&first));
    // Three looks and more: nothing of it is taken, and the port goes on.
    std::fs::write(at("cert"), "no certificate").unwrap();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        assert!(trusts(&second));
    }
}
