//! The change feed over real HTTP, and the metrics beside it.

#![allow(clippy::unwrap_used)] // All of it is test.

mod container;

use bcs_bkcmdb_synchronizer::container_server;
use bcs_bkcmdb_synchronizer::http::Method;
use container::{Caller, PATIENCE, Server, pod, pod_with};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long a call lasts for which nothing changes.
const CALL: Duration = Duration::from_secs(60);

fn watch(caller: &Caller, query: &str) -> (u16, Value) {
    let (status, body) = caller.raw(Method::Get, &format!("/container/v3/watch/pods?{query}"), b"").unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// The changes after `since` as "action name", and where to go on.
fn changes(caller: &Caller, query: &str) -> (Vec<String>, i64) {
    let (status, answer) = watch(caller, query);
    assert_eq!((status, &answer["bk_error_code"]), (200, &json!(0)), "{answer}");
    let changes = answer["data"]["changes"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let named =
        changes.map(|change| format!("{} {}", text(&change["action"]), text(&change["pod"]["bk_pod_name"])));
    (named.collect(), answer["data"]["sequence"].as_i64().unwrap())
}

#[test]
fn every_change_comes_once_and_in_order() {
    let server = Server::start(json!({}));
    let caller = &server.caller;
    assert_eq!(changes(caller, ""), (vec![], 0));
    caller.create_many(2, &[pod("a"), pod("b"), pod("a")]);
    caller.update(2, json!({"bk_pod_uuid": "uid-b"}), json!({"bk_pod_status": "Running"}));
    caller.update(2, json!({"bk_pod_uuid": "nobody"}), json!({"bk_pod_status": "Running"}));
    caller.delete(2, json!({"bk_pod_uuid": "uid-a"}));
    caller.delete(2, json!({"bk_pod_uuid": "uid-a"}));
    let all = ["create a", "create b", "update b", "delete a"].map(str::to_owned);
    assert_eq!(changes(caller, "since=0"), (all.to_vec(), 4));
    assert_eq!(changes(caller, "since=2"), (all[2..].to_vec(), 4));
    let (_, answer) = watch(caller, "since=2");
    assert_eq!(answer["data"]["changes"][0]["pod"], caller.find(2, "uid-b"));
    assert_eq!(answer["data"]["changes"][0]["sequence"], 3);
    assert_eq!(changes(caller, ""), (vec![], 4));
    assert_eq!(changes(caller, "since=4&timeout=0"), (vec![], 4));
    // The numbers go on after a restart.
    let Server { directory, server: running, .. } = server;
    running.unwrap().stop();
    let server = Server::start_in(directory, json!({}));
    server.caller.create(2, &pod("c"));
    assert_eq!(changes(&server.caller, "since=4"), (vec!["create c".to_owned()], 5));
}

#[test]
fn a_consumer_sees_its_own_business_and_account_only() {
    let server = Server::start(json!({}));
    let other = server.caller.with("HTTP_BK_SUPPLIER_ACCOUNT", Some("1"));
    server.caller.create(2, &pod("a"));
    server.caller.create(3, &pod_with("b", json!({"bk_module_id": 51})));
    other.create(2, &pod("a"));
    assert_eq!(changes(&server.caller, "since=0").0, ["create a", "create b"]);
    assert_eq!(changes(&server.caller, "since=0&bk_biz_id=3").0, ["create b"]);
    assert_eq!(changes(&other, "since=0"), (vec!["create a".to_owned()], 3));
    // What is not theirs still moves them on.
    assert_eq!(changes(&other, "since=0&bk_biz_id=3&timeout=0"), (vec![], 3));
}

#[test]
fn a_waiting_consumer_is_woken_by_a_change_of_interest() {
    let server = Server::start(json!({}));
    let caller = server.caller.clone();
    let waiting = std::thread::spawn(move || changes(&caller, "since=0&bk_biz_id=3&timeout=60"));
    until_watching(&server);
    server.caller.create(2, &pod("a"));
    server.caller.create(3, &pod_with("b", json!({"bk_module_id": 51})));
    let (named, sequence) = waiting.join().unwrap();
    assert_eq!((named, sequence), (vec!["create b".to_owned()], 2));
}

#[test]
fn a_number_the_feed_does_not_have_is_told_apart() {
    let server = Server::start(json!({}));
    server.caller.create(2, &pod("a"));
    let (status, answer) = watch(&server.caller, "since=7");
    assert_eq!((status, &answer["bk_error_code"]), (410, &json!(1199019)), "{answer}");
    let (status, answer) = watch(&server.caller, "since=x");
    assert_eq!((status, &answer["bk_error_code"]), (200, &json!(1199006)), "{answer}");
}

#[test]
fn a_number_older_than_the_retention_is_told_apart_and_the_way_back_works() {
    let server = Server::start(json!({"watch_retention": 1}));
    let deadline = Instant::now() + PATIENCE;
    let mut pods = 0;
    loop {
        server.caller.create(2, &pod(&format!("p{pods}")));
        pods += 1;
        let (status, answer) = watch(&server.caller, "since=0");
        if status == 410 {
            assert!(answer["bk_error_msg"].as_str().unwrap().contains("list everything"), "{answer}");
            break;
        }
        assert!(Instant::now() < deadline, "nothing was removed");
    }
    let (nothing, sequence) = changes(&server.caller, "");
    assert_eq!((nothing.len(), sequence), (0, pods));
    assert_eq!(server.caller.names(2, json!({})).len() as i64, pods);
    // Whoever is too late again begins again.
    let mut since = sequence;
    loop {
        server.caller.create(2, &pod(&format!("p{pods}")));
        let (status, answer) = watch(&server.caller, &format!("since={since}"));
        if status == 200 {
            let changes = answer["data"]["changes"].as_array().unwrap();
            assert_eq!(changes.len(), 1, "{answer}");
            assert_eq!(changes[0]["pod"]["bk_pod_name"], format!("p{pods}"));
            break;
        }
        assert!(Instant::now() < deadline, "{answer}");
        pods += 1;
        since = changes(&server.caller, "").1;
    }
}

#[test]
fn a_restored_backup_is_no_place_to_go_on_from() {
    let server = Server::start(json!({}));
    let (database, copy) =
        (server.directory.path().join("records.db"), server.directory.path().join("copy.db"));
    server.caller.create(2, &pod("a"));
    container_server::backup(&database, &copy).unwrap();
    let undone = server.caller.create(2, &pod("b"));
    assert_eq!(undone["bk_error_code"], 0, "{undone}");
    let (_, sequence) = changes(&server.caller, "since=1");
    let Server { directory, server: running, .. } = server;
    running.unwrap().stop();
    std::fs::rename(&copy, &database).unwrap();
    let server = Server::start_in(directory, json!({}));
    // As many changes as were undone, and more: none of them may pass for what comes next.
    for name in ["c", "d", "e"] {
        server.caller.create(2, &pod(name));
    }
    for since in [0, 1, sequence] {
        assert_eq!(watch(&server.caller, &format!("since={since}")).0, 410, "since {since}");
    }
    let (_, sequence) = changes(&server.caller, "");
    assert_eq!(server.caller.names(2, json!({})), ["a", "c", "d", "e"]);
    server.caller.create(2, &pod("f"));
    assert_eq!(changes(&server.caller, &format!("since={sequence}")).0, ["create f"]);
}

#[test]
fn a_stop_does_not_wait_for_those_who_wait() {
    let server = Server::start(json!({}));
    let caller = server.caller.clone();
    let waiting =
        std::thread::spawn(move || caller.raw(Method::Get, "/api/v3/watch/pods?since=0&timeout=60", b""));
    until_watching(&server);
    let begin = Instant::now();
    drop(server);
    // The call would last longer.
    assert!(begin.elapsed() < CALL);
    assert!(waiting.join().unwrap().is_err());
}

#[test]
fn a_consumer_that_waits_when_the_server_ends_is_answered() {
    let mut server = Server::start(json!({}));
    server.caller.create(2, &pod("a"));
    let caller = server.caller.clone();
    let waiting = std::thread::spawn(move || changes(&caller, "since=1&timeout=60"));
    until_watching(&server);
    let begin = Instant::now();
    server.server.take().unwrap().stop();
    // The call would last longer; and an answer means that it was not cut off.
    assert!(begin.elapsed() < CALL);
    assert_eq!(waiting.join().unwrap(), (vec![], 1));
}

#[test]
fn metrics_count_calls_by_outcome() {
    let server = Server::start(json!({}));
    server.caller.create(2, &pod("a"));
    server.caller.create(2, &pod("a"));
    let page = metrics(&server);
    for line in [
        "bkcmdb_container_requests_total{operation=\"create\",outcome=\"ok\"} 1",
        "bkcmdb_container_requests_total{operation=\"create\",outcome=\"refused\"} 1",
        "bkcmdb_container_request_duration_seconds_count{operation=\"create\"} 2",
        "bkcmdb_container_pods 1",
        "bkcmdb_container_writes_total 2",
        "bkcmdb_container_change_sequence 1",
        concat!("bkcmdb_container_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
    ] {
        assert!(page.lines().any(|got| got == line), "{line} is not in\n{page}");
    }
    assert!(page.lines().any(|line| line.starts_with("process_resident_memory_bytes ")), "{page}");
}

#[test]
fn metrics_count_what_the_ports_take_and_refuse() {
    let server = Server::start(json!({"body_limit": 1024}));
    let long = vec![b'x'; 1025];
    let (status, _) =
        server.caller.raw(Method::Post, "/api/v3/create/container/bk_biz_id/2/pod", &long).unwrap();
    assert_eq!(status, 413);
    let page = metrics(&server);
    for line in [
        "bkcmdb_container_port_accepted_total{port=\"container\"} 1",
        "bkcmdb_container_port_refused_total{port=\"container\",reason=\"too_large\"} 1",
        "bkcmdb_container_port_refused_total{port=\"container\",reason=\"full\"} 0",
        "bkcmdb_container_port_refused_total{port=\"metrics\",reason=\"bad_request\"} 0",
        "bkcmdb_container_port_panics_total{port=\"container\"} 0",
        "bkcmdb_container_port_connections{port=\"metrics\"} 1.0",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
    }
}

fn metrics(server: &Server) -> String {
    let (status, page) = server.metrics.raw(Method::Get, "/metrics", b"").unwrap();
    assert_eq!(status, 200);
    String::from_utf8(page).unwrap()
}

/// Returns once a watch call has been taken in.
fn until_watching(server: &Server) {
    let deadline = Instant::now() + PATIENCE;
    while !metrics(server).contains("requests_total{operation=\"watch\"") {
        assert!(Instant::now() < deadline, "no watch call arrived");
        std::thread::yield_now();
    }
}
