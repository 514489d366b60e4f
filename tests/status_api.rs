//! The status service and the metric port over real HTTP, in front of a state made by hand.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

#[path = "common/documented.rs"]
mod documented;
mod fake;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bcs_bkcmdb_synchronizer::config::Secret;
use bcs_bkcmdb_synchronizer::front::Hosts;
use bcs_bkcmdb_synchronizer::http::{Outcome, RequestStats};
use bcs_bkcmdb_synchronizer::observe::{MetricsServer, StatusServer};
use bcs_bkcmdb_synchronizer::sync::numbers::{ClusterNumbers, Histogram, MetricsSource, Numbers};
use bcs_bkcmdb_synchronizer::sync::snapshot::*;
use fake::{Fake, NASTY, cluster};
use serde_json::{Value, json};

impl MetricsSource for Fake {
    fn numbers(&self) -> Numbers {
        let lag = Histogram::default();
        lag.record(Duration::from_millis(30));
        lag.record(Duration::from_secs(5000));
        let stats = RequestStats::default();
        stats.record("create_many", Outcome::Timeout, Duration::from_secs(40));
        let cluster = ClusterNumbers {
            sync_lag: lag.snapshot(),
            full_sync_last_success: Some(1.75e9),
            full_sync_changes: [7, 8, 9],
            ..ClusterNumbers::default()
        };
        Numbers {
            cmdb: stats.snapshot(),
            clusters: BTreeMap::from([("BCS-K8S-1".to_owned(), cluster)]),
            ..Numbers::default()
        }
    }
}

fn fake(ok: bool) -> Arc<Fake> {
    let clusters = vec![
        cluster("BCS-K8S-1", ClusterState::Live, Some("no stream")),
        cluster(NASTY, ClusterState::Degraded, Some("</td><script>alert(1)</script>")),
    ];
    Arc::new(Fake { ok, ..Fake::new(clusters) })
}

fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

fn start(token: Option<&str>) -> (StatusServer, Arc<Fake>) {
    let source = fake(true);
    let server =
        StatusServer::start(listener(), None, token.map(Secret::new), Hosts::default(), source.clone())
            .unwrap();
    (server, source)
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        let value = serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body));
        documented::check(&value);
        value
    }

    fn error_code(&self) -> String {
        let error = &self.json()["error"];
        assert!(error["message"].is_string(), "{}", self.body);
        error["code"].as_str().unwrap().to_owned()
    }
}

/// One request with further header lines (each with CRLF).
fn ask(addr: SocketAddr, line: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let host = if headers.contains("Host:") { String::new() } else { format!("Host: {addr}\r\n") };
    stream
        .write_all(format!("{line} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

#[test]
fn every_get_of_the_interface_answers_with_its_shape() {
    let (server, _) = start(None);
    let get = |path: &str| {
        let answer = ask(server.addr(), &format!("GET {path}"), "");
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.head.contains("content-type: application/json"), "{path}: {}", answer.head);
        answer.json()
    };
    assert_eq!(get("/api/v1/status")["clusters"][0]["pods"]["storage"], 12);
    assert_eq!(get("/api/v1/clusters/BCS-K8S-1")["state"], "live");
    assert_eq!(get("/api/v1/clusters/%3Cscript%3E%22%5C")["state"], "degraded");
    let rejected = get("/api/v1/clusters/BCS-K8S-1/rejected");
    assert_eq!(
        (&rejected["cluster_id"], &rejected["rejected"][0]["code"]),
        (&json!("BCS-K8S-1"), &json!(1199016))
    );
    let held = get("/api/v1/clusters/BCS-K8S-1/deletes");
    assert_eq!((&held["cluster_id"], &held["held_back"][0]["name"]), (&json!("BCS-K8S-1"), &json!("web-0")));
    let history = get("/api/v1/clusters/BCS-K8S-1/history");
    assert_eq!((&history["points"][0]["created"], &history["changes"]), (&json!(3), &json!([])));
    assert_eq!(get("/api/v1/status")["instance_problems"][0]["kind"], "fleet");
    assert_eq!(get("/api/v1/assignment")["workers"], json!([]));
    assert_eq!(get("/api/v1/deletes")["deletes"][0]["proof"], "point read");
    assert_eq!(get("/healthz")["ok"], true);
    assert_eq!(get("/readyz?verbose")["ok"], true);
}

#[test]
fn a_head_request_has_the_status_and_no_body() {
    let (server, _) = start(None);
    for path in ["/", "/healthz", "/api/v1/status"] {
        let answer = ask(server.addr(), &format!("HEAD {path}"), "");
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{path}");
    }
}

#[test]
fn trouble_shows_as_503_with_its_problems() {
    let server = StatusServer::start(listener(), None, None, Hosts::default(), fake(false)).unwrap();
    for path in ["/healthz", "/readyz"] {
        let answer = ask(server.addr(), &format!("GET {path}"), "");
        assert_eq!(answer.status, 503, "{path}");
        assert_eq!(answer.json(), json!({"ok": false, "problems": ["gate of BCS-K8S-1 ended"]}), "{path}");
    }
}

#[test]
fn what_is_not_there_or_not_meant_says_so_in_the_one_error_shape() {
    let (server, _) = start(None);
    for (line, status, code) in [
        ("GET /nothing", 404, "not_found"),
        ("GET /api/v1/clusters/other", 404, "unknown_cluster"),
        ("GET /api/v1/clusters/other/rejected", 404, "unknown_cluster"),
        ("GET /api/v1/clusters/other/history", 404, "unknown_cluster"),
        ("GET /api/v1/clusters/other/deletes", 404, "unknown_cluster"),
        ("POST /api/v1/clusters/other/sync", 404, "unknown_cluster"),
        ("POST /api/v1/status", 405, "method_not_allowed"),
        ("DELETE /", 405, "method_not_allowed"),
        ("GET /api/v1/clusters/BCS-K8S-1/sync", 405, "method_not_allowed"),
    ] {
        let answer = ask(server.addr(), line, "");
        assert_eq!((answer.status, answer.error_code().as_str()), (status, code), "{line}");
    }
    assert!(ask(server.addr(), "PUT /healthz", "").head.contains("allow: get, head"));
    assert!(ask(server.addr(), "GET /api/v1/clusters/BCS-K8S-1/pause", "").head.contains("allow: post"));
}

#[test]
fn every_control_is_accepted_and_reaches_the_controller() {
    let (server, source) = start(None);
    for action in ["sync", "deletes/approve", "pause", "resume"] {
        let answer = ask(server.addr(), &format!("POST /api/v1/clusters/BCS-K8S-1/{action}"), "");
        assert_eq!(answer.status, 202, "{action}");
        assert_eq!(answer.json()["cluster_id"], "BCS-K8S-1");
    }
    let expected = [Control::Sync, Control::ApproveDeletes, Control::Pause, Control::Resume];
    let controls: Vec<Control> = source.controls.lock().iter().map(|(_, control)| *control).collect();
    assert_eq!(controls, expected);
}

#[test]
fn control_needs_the_token_or_without_one_a_local_caller() {
    let post = "POST /api/v1/clusters/BCS-K8S-1/sync";
    let (open, source) = start(None);
    assert_eq!(ask(open.addr(), post, "Host: rebound.example\r\n").status, 403);
    assert_eq!(ask(open.addr(), post, "Origin: http://evil.example\r\n").status, 403);
    // A forwarded header cannot make a peer local, nor a local one foreign.
    assert_eq!(ask(open.addr(), post, "X-Forwarded-For: 9.9.9.9\r\n").status, 202);
    assert_eq!(source.controls.lock().len(), 1);

    let (guarded, source) = start(Some("s3cret"));
    for headers in ["", "Authorization: Bearer wrong\r\n", "Authorization: s3cret\r\n"] {
        let answer = ask(guarded.addr(), post, headers);
        assert_eq!((answer.status, answer.error_code().as_str()), (401, "unauthorized"), "{headers:?}");
        assert!(answer.head.contains("www-authenticate: bearer") && !answer.body.contains("s3cret"));
    }
    assert_eq!(source.controls.lock().len(), 0);
    assert_eq!(ask(guarded.addr(), post, "Authorization: Bearer s3cret\r\n").status, 202);
    assert_eq!(ask(guarded.addr(), "GET /api/v1/status", "").status, 200, "reading needs no token");
}

#[test]
fn the_page_is_one_document_under_a_strict_policy_and_shows_no_state_by_itself() {
    let (server, _) = start(None);
    let page = ask(server.addr(), "GET /", "Accept-Language: zh-CN,en;q=0.5\r\n");
    assert_eq!(page.status, 200);
    let policy = page.head.lines().find_map(|line| line.strip_prefix("content-security-policy: ")).unwrap();
    assert!(policy.starts_with("default-src 'none'; style-src 'nonce-"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
    assert!(page.body.contains("<html lang=\"zh-CN\">"));
    assert!(
        !page.body.contains("alert(1)") && !page.body.contains("BCS-K8S-1"),
        "the script asks for the state"
    );
    let other = ask(server.addr(), "GET /", "");
    assert!(other.body.contains("<html lang=\"en\">"));
    assert_ne!(page.body.len(), 0);
    let nonce = |page: &Answer| page.body.split("nonce=\"").nth(1).unwrap()[..32].to_owned();
    assert_ne!(nonce(&page), nonce(&other), "a nonce is used once");
}

#[test]
fn with_allowed_hosts_a_page_under_another_name_reads_nothing() {
    let hosts = Hosts::of(&["status.example.com".to_owned()]);
    let status = StatusServer::start(listener(), None, None, hosts.clone(), fake(true)).unwrap();
    let metrics = MetricsServer::start(listener(), fake(true), fake(true), hosts, Vec::new()).unwrap();
    for (addr, path) in
        [(status.addr(), "/api/v1/status"), (status.addr(), "/healthz"), (metrics.addr(), "/metrics")]
    {
        let check = |line: &str, headers: &str, wanted: u16| {
            let answer = ask(addr, line, headers);
            assert_eq!(answer.status, wanted, "{line} {headers:?}: {}", answer.body);
            if wanted == 421 {
                assert_eq!(answer.error_code(), "misdirected");
                assert!(answer.body.contains("http_allowed_hosts"), "{}", answer.body);
            }
        };
        let get = format!("GET {path}");
        check(&get, "", 200);
        for good in ["localhost", "LocalHost:1", "[::1]:8080", "10.0.0.5", "STATUS.example.com.:8080"] {
            check(&get, &format!("Host: {good}\r\n"), 200);
        }
        for bad in [
            "evil.example",
            "evil.example:8080",
            "",
            "127.0.0.1.evil.example",
            "status.example.com.evil.example",
        ] {
            check(&get, &format!("Host: {bad}\r\n"), 421);
        }
        check("POST /api/v1/sync", "Host: evil.example\r\n", 421);
        check(&get, "Host: localhost\r\nHost: evil.example\r\n", 400);
        check(&get, "Host: l\u{f6}calhost\r\n", 400);
        check(&format!("GET http://evil.example{path}"), "", 400);
    }
}

#[test]
fn the_metric_port_speaks_the_names_of_the_interface() {
    let server =
        MetricsServer::start(listener(), fake(true), fake(true), Hosts::default(), Vec::new()).unwrap();
    let answer = ask(server.addr(), "GET /metrics", "");
    assert_eq!(answer.status, 200);
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let open = ask(server.addr(), "GET /metrics", "Accept: application/openmetrics-text\r\n");
    assert!(open.body.ends_with("# EOF\n") && open.body.contains("# TYPE bkcmdb_sync_build info"));
    for line in [
        "bkcmdb_sync_build_info{version=\"1.2.3\"} 1",
        "bkcmdb_sync_is_master 1.0",
        "bkcmdb_sync_coordination_up 1.0",
        "bkcmdb_sync_assigned_clusters 2.0",
        "bkcmdb_sync_reassignments_total 0",
        "bkcmdb_sync_events_total{cluster=\"BCS-K8S-1\",type=\"unknown_delete\"} 0",
        "bkcmdb_sync_event_queue_length{cluster=\"BCS-K8S-1\"} 0.0",
        "bkcmdb_sync_sender_queue_length{cluster=\"BCS-K8S-1\"} 0.0",
        "bkcmdb_sync_sync_lag_seconds_count{cluster=\"BCS-K8S-1\"} 2",
        "bkcmdb_sync_sync_lag_seconds_bucket{le=\"0.05\",cluster=\"BCS-K8S-1\"} 1",
        "bkcmdb_sync_sync_lag_seconds_bucket{le=\"+Inf\",cluster=\"BCS-K8S-1\"} 2",
        "bkcmdb_sync_full_sync_duration_seconds_count{cluster=\"BCS-K8S-1\"} 0",
        "bkcmdb_sync_full_sync_last_success_timestamp_seconds{cluster=\"BCS-K8S-1\"} 1750000000.0",
        "bkcmdb_sync_full_sync_changes_total{cluster=\"BCS-K8S-1\",action=\"update\"} 8",
        "bkcmdb_sync_pods{cluster=\"BCS-K8S-1\",side=\"cmdb\"} 10.0",
        "bkcmdb_sync_pods{cluster=\"<script>\\\"\\\\\",side=\"storage\"} 12.0",
        "bkcmdb_sync_rejected_pods{cluster=\"BCS-K8S-1\"} 1.0",
        "bkcmdb_sync_watch_connected{cluster=\"BCS-K8S-1\"} 1.0",
        "bkcmdb_sync_watch_reconnects_total{cluster=\"BCS-K8S-1\"} 3",
        "bkcmdb_sync_watch_missed_total{cluster=\"BCS-K8S-1\"} 0",
        "bkcmdb_sync_held_back_deletes{cluster=\"BCS-K8S-1\"} 0.0",
        "bkcmdb_sync_cmdb_requests_total{operation=\"create_many\",outcome=\"timeout\"} 1",
        "bkcmdb_sync_cmdb_request_duration_seconds_bucket{le=\"+Inf\",operation=\"create_many\"} 1",
        "# TYPE bkcmdb_sync_storage_requests_total counter",
        "# TYPE bkcmdb_sync_paas_requests_total counter",
        "bkcmdb_sync_zookeeper_sessions_total 0",
        "bkcmdb_sync_writes_refused_by_fence_total 0",
        "bkcmdb_sync_port_connections{port=\"metrics\"} 1.0",
        "bkcmdb_sync_port_refused_total{port=\"metrics\",reason=\"timeout\"} 0",
    ] {
        assert!(answer.body.lines().any(|found| found == line), "{line} is missing in\n{}", answer.body);
    }
    for name in
        ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_threads"]
    {
        let line =
            answer.body.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}"));
        assert!(line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() >= 0.0, "{line}");
    }
    assert_eq!(ask(server.addr(), "GET /", "").status, 404);
    assert_eq!(ask(server.addr(), "POST /metrics", "").status, 405);
}
