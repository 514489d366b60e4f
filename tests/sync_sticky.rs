//! What does not go away by itself, among real peers: a bounded number of requests, nobody else held
//! up, one line in the log when it begins and one when it ends, and back to normal without a restart.
//!
//! The log belongs to the whole process, so these tests have a program of their own.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod world;

use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use bcs_bkcmdb_synchronizer::sync::snapshot::{ClusterState, Control};
use log::{LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::time::Duration;
use world::cmdb::{Fault, business};
use world::pods::{phase, pod, with};
use world::{BIZ, CLUSTER, ClusterSetup, PATIENCE, World};

/// Every line above debug so far.
static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Capture;

impl Log for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= LevelFilter::Info
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            LINES.lock().push(format!("{} {}", record.level(), record.args()));
        }
    }

    fn flush(&self) {}
}

/// A world whose cluster has an id of its own: the tests run side by side and share the log.
fn world(id: &str) -> World {
    // The first one sets it, and it is the same for all.
    let _ = log::set_logger(&Capture);
    log::set_max_level(LevelFilter::Info);
    let mut setup = ClusterSetup::new(CLUSTER, Generation::New);
    setup.id = id.to_owned();
    World::new(vec![setup])
}

/// Lines about a cluster that contain the words.
fn lines(id: &str, words: &str) -> Vec<String> {
    let about = format!("cluster={id} ");
    LINES.lock().iter().filter(|line| line.contains(&about) && line.contains(words)).cloned().collect()
}

fn put(world: &World, pod: Value) {
    world.storage.put(&world.clusters[0].id, pod).unwrap();
}

/// Waits for some further full syncs.
#[track_caller]
fn full_syncs(world: &World, times: u64) {
    let source = world.service.as_ref().unwrap().source();
    let id = &world.clusters[0].id;
    for _ in 0..times {
        let before = world.status(id).full_sync.count;
        source.control(id, Control::Sync);
        world.wait("a further full sync", |world| world.status(id).full_sync.count > before);
    }
}

#[test]
fn a_record_that_is_always_refused_costs_one_request_a_version_and_one_line() {
    let id = "BCS-K8S-00011";
    let mut world = world(id);
    let bad = |version, phase_name: &str| {
        let owner = json!([{"kind": "Job", "name": "x".repeat(300), "controller": true}]);
        phase(with(pod("bad", version), "/metadata/ownerReferences", owner), phase_name)
    };
    put(&world, bad(1, "Running"));
    world.start_and_settle();
    world.wait("it is rejected", |world| world.status(id).pods.rejected == 1);
    let about = |world: &World| {
        let named = |call: &world::cmdb::Call| call.body.to_string().contains("uid-bad");
        world.cmdb.writes().iter().filter(|call| named(call)).count()
    };
    assert_eq!(about(&world), 1);
    full_syncs(&world, 5);
    assert_eq!(about(&world), 1, "a full sync does not try it again");
    for version in 2..6 {
        put(&world, bad(version, &format!("Phase{version}")));
        put(&world, pod(&format!("good-{version}"), 1));
        world.wait("the version was tried", |world| about(world) == version as usize);
        world.wait("another pod goes on", |world| {
            world.cmdb.find(BIZ, &format!("uid-good-{version}")).is_some()
        });
    }
    assert_eq!(lines(id, "uid-bad rejected").len(), 1, "{:?}", lines(id, ""));
    assert_eq!(world.status(id).state, ClusterState::Live);
    put(&world, pod("bad", 6));
    world.wait_equal(PATIENCE);
    world.wait("the end is told", |_| lines(id, "uid=uid-bad is recorded after all").len() == 1);
}

#[test]
fn a_cmdb_that_is_busy_costs_few_requests_and_two_lines_and_is_caught_up_with() {
    let id = "BCS-K8S-00012";
    let mut world = world(id).with(json!({"senders_per_cluster": 2}));
    world.start_and_settle();
    let full_syncs = world.status(id).full_sync.count;
    let writes: &[&str] = &["create", "createmany", "update", "delete"];
    world.cmdb.break_next(writes, Fault::Busy, usize::MAX);
    (0..200).for_each(|number| put(&world, pod(&format!("web-{number}"), 1)));
    world.wait("it is told", |world| world.status(id).state == ClusterState::Degraded);
    // Both shards have reached their longest pause: from here on each asks every few seconds.
    world.wait("many attempts", |world| world.status(id).senders.retries >= 12);
    assert!(world.cmdb.writes().len() < 40, "{} requests", world.cmdb.writes().len());
    assert_eq!(lines(id, "WARN").len(), 1, "{:?}", lines(id, ""));
    assert!(lines(id, "WARN")[0].contains("system busy"));
    world.cmdb.heal();
    world.wait_equal(PATIENCE);
    world.wait_live();
    world.wait("what was missed is looked for", |world| world.status(id).full_sync.count > full_syncs);
    assert_eq!(lines(id, "over: the CMDB takes writes again").len(), 1, "{:?}", lines(id, ""));
    assert_eq!(lines(id, "WARN").len(), 1);
    assert_eq!(world.status(id).last_error, None);
}

#[test]
fn documents_that_never_convert_are_listed_and_told_once_each() {
    let id = "BCS-K8S-00013";
    let mut world = world(id);
    let document = |name: &str| {
        let mut data = pod(name, 1);
        data["metadata"]["uid"] = Value::Null;
        json!({"_id": format!("id-{name}"), "namespace": "default", "resourceName": name, "data": data})
    };
    for name in ["odd-1", "odd-2"] {
        world.storage.faults().raw_document(id, document(name).to_string());
    }
    put(&world, pod("web-0", 1));
    world.start_and_settle();
    full_syncs(&world, 3);
    let event = json!({"type": 1, "value": document("odd-3")});
    (0..3).for_each(|_| world.storage.faults().raw_event(id, event.to_string()));
    put(&world, phase(pod("web-0", 2), "Failed"));
    world.wait_equal(PATIENCE);
    let shown = world.status(id).invalid_documents;
    let names: Vec<&str> = shown.first.iter().map(|document| document.name.as_str()).collect();
    assert_eq!((shown.count, &names[..]), (3, &["odd-1", "odd-2", "odd-3"][..]));
    assert!(shown.first[0].reason.contains("no metadata.uid"), "{shown:?}");
    assert_eq!(world.status(id).state, ClusterState::Live);
    assert_eq!(lines(id, "cannot be recorded").len(), 3, "{:?}", lines(id, ""));
    // A listing that is complete knows better what the event was about.
    full_syncs(&world, 1);
    assert_eq!(world.status(id).invalid_documents.count, 2);
    world.storage.faults().clear();
    full_syncs(&world, 1);
    assert_eq!(world.status(id).invalid_documents.count, 0);
    assert_eq!(world.status(id).last_error, None);
    assert_eq!(lines(id, "over: every document can be understood").len(), 1);
}

#[test]
fn a_business_without_the_default_module_costs_no_request_and_two_lines() {
    let id = "BCS-K8S-00014";
    let mut world = world(id).with(json!({"modules_refresh_interval": 10}));
    world.cmdb.set_topology(json!({"businesses": [business(BIZ, &["game/login"])]}));
    let annotated =
        json!({"set.bkcmdb.bkbcs.tencent.com": "game", "module.bkcmdb.bkbcs.tencent.com": "login"});
    (0..50).for_each(|number| put(&world, pod(&format!("homeless-{number}"), 1)));
    put(&world, with(pod("placed", 1), "/metadata/annotations", annotated));
    world.start();
    world.wait("they are shown", |world| world.status(id).pods.rejected == 50);
    world.wait("the other is recorded", |world| world.cmdb.find(BIZ, "uid-placed").is_some());
    full_syncs(&world, 3);
    (0..50).for_each(|number| put(&world, phase(pod(&format!("homeless-{number}"), 2), "Failed")));
    full_syncs(&world, 1);
    assert_eq!(world.cmdb.writes().len(), 1, "only the placed pod is written");
    assert!(world.cmdb.counts()["find"] <= 3, "the topology is read on its timer: {:?}", world.cmdb.counts());
    assert_eq!(lines(id, "WARN").len(), 1, "{:?}", lines(id, ""));
    world.cmdb.set_topology(json!({"businesses": [business(BIZ, &["game/login", "bkbcs/bkbcs"])]}));
    world.wait_equal(PATIENCE);
    world.wait_live();
    assert_eq!(lines(id, "over: the default module is there").len(), 1);
    assert_eq!(world.rejected(id), []);
}

#[test]
fn held_back_deletes_are_told_once_however_many_full_syncs_find_them() {
    let id = "BCS-K8S-00015";
    let mut world = world(id);
    (0..60).for_each(|number| put(&world, pod(&format!("web-{number}"), 1)));
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    world.storage.faults().mute(id);
    (0..60).for_each(|number| assert!(world.storage.delete(id, "default", &format!("web-{number}"))));
    full_syncs(&world, 4);
    assert_eq!(world.status(id).full_sync.held_back_deletes, 60);
    assert_eq!(lines(id, "are held back").len(), 1, "{:?}", lines(id, ""));
    world.service.as_ref().unwrap().source().control(id, Control::ApproveDeletes);
    world.wait_equal(PATIENCE);
    world.wait("the end is told", |_| lines(id, "over: no deletes are held back").len() == 1);
}

#[test]
fn a_storage_that_is_away_costs_few_requests_and_two_lines() {
    let id = "BCS-K8S-00016";
    let mut world = world(id);
    (0..20).for_each(|number| put(&world, pod(&format!("web-{number}"), 1)));
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    world.kill_storage();
    world.wait("it is told", |world| world.status(id).state == ClusterState::Degraded);
    let failed = world.status(id).full_sync.count;
    world.wait("full syncs are tried", |world| world.status(id).full_sync.count >= failed + 3);
    let told = lines(id, "WARN").len();
    assert!((1..=2).contains(&told), "the stream and the listing: {:?}", lines(id, ""));
    world.restart_storage();
    put(&world, pod("new", 1));
    world.wait_within("both sides are equal", Duration::from_secs(20), |world| {
        world.verdict().is_ok_and(|verdict| verdict.is_equal())
    });
    world.wait_live();
    assert_eq!(lines(id, "WARN").len(), told, "{:?}", lines(id, ""));
    assert_eq!(lines(id, "over: the watch stream is open again").len(), 1);
}
