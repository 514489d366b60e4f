//! What an operator can do to a service at work, by the calls of its status service: pause, resume,
//! sync, approve; canaries; and the journal of deletes.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail by panicking.

mod world;

use bcs_bkcmdb_synchronizer::http::{Client, Method, Options, Request};
use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use serde_json::{Value, json};
use world::pods::{phase, pod};
use world::{BIZ, CLUSTER, ClusterSetup, PATIENCE, World, wait_until};

const OTHER: &str = "BCS-K8S-00002";

/// Two clusters with a pod each.
fn two() -> World {
    let world = World::new([CLUSTER, OTHER].map(|id| ClusterSetup::new(id, Generation::New)).into());
    world.storage.put(CLUSTER, pod("web-0", 1)).unwrap();
    world.storage.put(OTHER, pod("web-1", 1)).unwrap();
    world
}

/// A call of the status service: status and body.
fn call(world: &World, method: Method, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let url = format!("http://{}{path}", world.service.as_ref().unwrap().status_addr());
    let request =
        Request { method, url: &url, headers, body: None, timeout: Some(PATIENCE), idle_timeout: None };
    let answer = Client::new(&Options::default()).send(&request).unwrap();
    let status = answer.status;
    (status, serde_json::from_slice(&answer.bytes(1 << 24).unwrap()).unwrap_or_default())
}

fn post(world: &World, path: &str) -> (u16, Value) {
    call(world, Method::Post, path, &[])
}

fn get(world: &World, path: &str) -> Value {
    call(world, Method::Get, path, &[]).1
}

fn state(world: &World, id: &str) -> String {
    get(world, &format!("/api/v1/clusters/{id}"))["state"].as_str().unwrap_or_default().to_owned()
}

/// The phase the CMDB has of a pod.
fn recorded(world: &World, uuid: &str) -> Option<String> {
    Some(world.cmdb.find(BIZ, uuid)?["bk_pod_status"].as_str()?.to_owned())
}

#[test]
fn a_paused_cluster_writes_nothing_until_it_is_resumed_and_the_others_go_on() {
    let mut world = two();
    world.start_and_settle();
    assert_eq!(post(&world, &format!("/api/v1/clusters/{CLUSTER}/pause")).0, 202);
    assert_eq!(state(&world, CLUSTER), "paused");
    world.storage.put(CLUSTER, phase(pod("web-0", 2), "Failed")).unwrap();
    world.storage.put(OTHER, phase(pod("web-1", 2), "Failed")).unwrap();
    world.wait("the other one is written", |world| recorded(world, "uid-web-1").as_deref() == Some("Failed"));
    post(&world, &format!("/api/v1/clusters/{CLUSTER}/sync"));
    world.wait("the event came", |world| world.status(CLUSTER).watch.events.change >= 1);
    assert_eq!(recorded(&world, "uid-web-0").as_deref(), Some("Running"), "not even a full sync writes");
    post(&world, &format!("/api/v1/clusters/{CLUSTER}/resume"));
    world.wait_equal(PATIENCE);
}

#[test]
fn what_is_queued_when_a_cluster_is_paused_waits() {
    let mut world = two();
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    world.cmdb.break_all(world::cmdb::Fault::Error500);
    world.storage.put(CLUSTER, phase(pod("web-0", 2), "Failed")).unwrap();
    world.storage.put(OTHER, phase(pod("web-1", 2), "Failed")).unwrap();
    let retries = |world: &World, id: &str| world.status(id).senders.retries;
    world.wait("both are tried again and again", |world| {
        [CLUSTER, OTHER].iter().all(|id| retries(world, id) > 0)
    });
    post(&world, &format!("/api/v1/clusters/{CLUSTER}/pause"));
    // What is on its way comes to its end while the other one goes on.
    let further = |world: &World, times: u64| {
        let before = retries(world, OTHER);
        world.wait("the other one is tried further", |world| retries(world, OTHER) >= before + times);
    };
    further(&world, 1);
    world.wait("nothing is under way", |world| world.status(CLUSTER).senders.in_flight == 0);
    let before = retries(&world, CLUSTER);
    further(&world, 4);
    assert_eq!(retries(&world, CLUSTER), before);
    world.cmdb.heal();
    world.wait("the other one is written", |world| recorded(world, "uid-web-1").as_deref() == Some("Failed"));
    assert_eq!(recorded(&world, "uid-web-0").as_deref(), Some("Running"));
    post(&world, &format!("/api/v1/clusters/{CLUSTER}/resume"));
    world.wait_equal(PATIENCE);
}

#[test]
fn all_clusters_are_paused_resumed_and_synced_by_one_call_those_that_come_later_too() {
    let mut world = two();
    let late = ClusterSetup::new("BCS-K8S-00003", Generation::Old);
    world.storage.add_cluster_with(&late.id, late.kind, late.behaviour);
    world.storage.put(&late.id, pod("late", 1)).unwrap();
    world.start_and_settle();
    let answer = post(&world, "/api/v1/pause");
    assert_eq!(answer, (202, json!({"clusters": [CLUSTER, OTHER], "accepted": true})));
    world.clusters.push(late.clone());
    world.write_tasks();
    world.wait("the new one is paused", |world| state(world, &late.id) == "paused");
    assert_eq!([CLUSTER, OTHER].map(|id| state(&world, id)), ["paused", "paused"]);
    assert_eq!(world.cmdb.find(BIZ, "uid-late"), None);
    post(&world, &format!("/api/v1/clusters/{OTHER}/resume"));
    world.wait("only one goes on", |world| state(world, OTHER) == "live");
    assert_eq!(state(&world, &late.id), "paused");
    post(&world, "/api/v1/resume");
    world.wait_equal(PATIENCE);
    let before = world.status(OTHER).full_sync.count;
    assert_eq!(post(&world, "/api/v1/sync").0, 202);
    world.wait("a further full sync", |world| world.status(OTHER).full_sync.count > before);
}

#[test]
fn a_pause_outlives_a_cluster_that_leaves_and_comes_back() {
    let mut world = two();
    world.start_and_settle();
    post(&world, &format!("/api/v1/clusters/{OTHER}/pause"));
    let other = world.clusters.pop().unwrap();
    world.write_tasks();
    world.wait("it left", |world| world.try_status(OTHER).is_none());
    world.storage.put(OTHER, pod("new", 1)).unwrap();
    world.clusters.push(other);
    world.write_tasks();
    world.wait("it is back", |world| world.try_status(OTHER).is_some() && state(world, OTHER) == "paused");
    assert_eq!(world.cmdb.find(BIZ, "uid-new"), None);
}

#[test]
fn held_back_deletes_are_carried_out_when_they_are_approved() {
    let mut world =
        World::single(Generation::New).with(json!({"delete_guard_min": 1, "delete_guard_percent": 10}));
    (0..10).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.start_and_settle();
    world.stop();
    (0..10).for_each(|number| world.delete(&format!("web-{number}")));
    // No settle sync is left that would carry out what nobody has carried out at once.
    world.start_and_settle();
    world.wait("they are held back", |world| world.status(CLUSTER).full_sync.held_back_deletes == 10);
    assert_eq!(world.cmdb.records(BIZ).unwrap().len(), 10);
    assert_eq!(post(&world, &format!("/api/v1/clusters/{CLUSTER}/deletes/approve")).0, 202);
    world.wait("they are gone", |world| world.cmdb.records(BIZ).unwrap().is_empty());
}

#[test]
fn a_canary_is_followed_without_being_written() {
    let mut world = two().with(json!({"dry_run_clusters": ["*-00002"]}));
    world.start();
    world.wait("the other one is written", |world| recorded(world, "uid-web-0").is_some());
    world.wait("the canary would be", |world| world.status(OTHER).senders.created == 1);
    let policy = |id| get(&world, &format!("/api/v1/clusters/{id}"))["sync_policy"].clone();
    assert_eq!([policy(CLUSTER), policy(OTHER)], [json!("sync"), json!("dry-run")]);
    assert!(world.cmdb.writes().iter().all(|write| write.cluster() == CLUSTER));
}

#[test]
fn clusters_are_included_and_excluded_by_globs() {
    let mut world = two().with(json!({"include_clusters": ["BCS-K8S-*"], "exclude_clusters": [OTHER]}));
    world.clusters.pop();
    world.start_and_settle();
    let status = get(&world, "/api/v1/status");
    assert_eq!(status["clusters"].as_array().unwrap().len(), 1, "{status}");
}

#[test]
fn steering_needs_the_token_where_there_is_one() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "s3cret-admin-token\n").unwrap();
    let mut world = two().with(json!({"admin_token_file": token.path()}));
    world.start_and_settle();
    for path in
        ["/api/v1/pause", "/api/v1/resume", "/api/v1/sync", &format!("/api/v1/clusters/{CLUSTER}/pause")]
    {
        assert_eq!(post(&world, path).0, 401, "{path}");
        let wrong = [("Authorization", "Bearer wrong")];
        assert_eq!(call(&world, Method::Post, path, &wrong).0, 401, "{path}");
        assert_eq!(call(&world, Method::Get, path, &[]).0, 405, "{path}");
    }
    assert_eq!(state(&world, CLUSTER), "live");
    let right = [("Authorization", "Bearer s3cret-admin-token")];
    assert_eq!(call(&world, Method::Post, "/api/v1/pause", &right).0, 202);
    assert_eq!(state(&world, CLUSTER), "paused");
    let foreign = [("Host", "rebound.example"), ("Authorization", "Bearer s3cret-admin-token")];
    assert_eq!(call(&world, Method::Post, "/api/v1/resume", &foreign).0, 202, "the token is enough");
}

#[test]
fn without_a_token_a_foreign_page_cannot_steer() {
    let mut world = two();
    world.start_and_settle();
    let foreign = [("Origin", "http://evil.example")];
    assert_eq!(call(&world, Method::Post, "/api/v1/pause", &foreign).0, 403);
    assert_eq!(state(&world, CLUSTER), "live");
}

#[test]
fn deletes_are_shown_with_their_proof_across_restarts() {
    let directory = tempfile::tempdir().unwrap();
    let mut world = World::single(Generation::Old).with(json!({"delete_journal": directory.path()}));
    (0..3).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.start_and_settle();
    (0..2).for_each(|number| world.delete(&format!("web-{number}")));
    world.wait_equal(PATIENCE);
    world.stop();
    world.start_and_settle();
    world.delete("web-2");
    world.wait("all are in the journal", |world| {
        get(world, "/api/v1/deletes")["deletes"].as_array().is_some_and(|deletes| deletes.len() == 3)
    });
    let page = get(&world, "/api/v1/deletes?limit=1");
    let newest = &page["deletes"][0];
    assert_eq!((&newest["uuid"], &newest["cluster_id"]), (&json!("uid-web-2"), &json!(CLUSTER)));
    assert_eq!(newest["proof"], "point read: not in bcs-storage");
    let next = get(&world, &format!("/api/v1/deletes?limit=5&before={}", page["next"].as_str().unwrap()));
    assert_eq!((next["deletes"].as_array().unwrap().len(), &next["next"]), (2, &Value::Null));
    assert_eq!(get(&world, "/api/v1/deletes?cluster=other")["deletes"], json!([]));
    assert_eq!(call(&world, Method::Get, "/api/v1/deletes?limit=x", &[]).0, 400);
}

#[test]
fn a_journal_that_cannot_be_written_is_a_problem_and_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("journal");
    std::fs::write(&place, "in the way").unwrap();
    let mut world = World::single(Generation::New).with(json!({"delete_journal": place}));
    world.put(pod("web-0", 1));
    world.start_and_settle();
    world.delete("web-0");
    world.wait_equal(PATIENCE);
    let problems = || get(&world, "/api/v1/status")["instance_problems"].to_string();
    wait_until("the problem shows", PATIENCE, || problems().contains("delete journal"));
    assert_eq!(call(&world, Method::Get, "/readyz", &[]).0, 200);
    let newest = || get(&world, "/api/v1/deletes")["deletes"][0]["uuid"].clone();
    wait_until("memory has it", PATIENCE, || newest() == "uid-web-0");
}

#[test]
fn a_certificate_that_ends_soon_is_a_problem() {
    let directory = tempfile::tempdir().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["storage".to_owned()]).unwrap();
    let (year, month, day) = in_days(20);
    params.not_after = rcgen::date_time_ymd(year, month, day);
    let key = rcgen::KeyPair::generate().unwrap();
    let file = |name: &str, text: String| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let cert = file("cert.pem", params.self_signed(&key).unwrap().pem());
    let key = file("key.pem", key.serialize_pem());
    let mut world = World::single(Generation::New).with(json!({"storage_cert": cert, "storage_key": key}));
    world.start();
    let problems = || get(&world, "/api/v1/status")["instance_problems"].clone();
    wait_until("the problem shows", PATIENCE, || problems()[0]["kind"] == "certificate");
    let message = problems()[0]["message"].as_str().unwrap().to_owned();
    assert!(message.contains("storage_cert") && message.contains("renew it"), "{message}");
}

/// The date in so many days.
fn in_days(days: i64) -> (i32, u8, u8) {
    let seconds = jiff::Timestamp::now().as_second() + days * 24 * 3600;
    let at = jiff::Timestamp::from_second(seconds).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
    (at.year().into(), at.month().unsigned_abs(), at.day().unsigned_abs())
}

#[test]
fn a_missing_permission_in_the_cmdb_says_what_to_grant() {
    let mut world = World::single(Generation::New);
    world.cmdb.break_all(world::cmdb::Fault::NoPermission);
    world.start();
    world.wait("it is told", |world| world.last_error().contains("9900403"));
    assert!(world.last_error().contains("let the user of cmdb_user read and edit"), "{}", world.last_error());
}
