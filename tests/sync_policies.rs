//! `upsert-only` never deletes, `dry-run` never writes; both say so, and what they leave undone.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod world;

use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use bcs_bkcmdb_synchronizer::sync::snapshot::Control;
use serde_json::{Value, json};
use world::pods::{phase, pod, pod_with_uid, with};
use world::{BIZ, CLUSTER, PATIENCE, World, at_once};

const BOTH: [Generation; 2] = [Generation::Old, Generation::New];

/// A world of three recorded pods, whose service goes on with that policy.
fn recorded(generation: Generation, policy: &str) -> World {
    let mut world = World::single(generation);
    (0..3).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    world.stop();
    let mut world = world.with(json!({"sync_policy": policy}));
    world.start_and_settle();
    assert_eq!(world.status(CLUSTER).sync_policy, policy);
    world
}

fn uuids(world: &World) -> Vec<String> {
    let records = world.cmdb.records(BIZ).unwrap();
    let mut uuids: Vec<String> =
        records.iter().map(|record| record["bk_pod_uuid"].as_str().unwrap().to_owned()).collect();
    uuids.sort();
    uuids
}

/// Waits for one more full sync.
#[track_caller]
fn full_sync(world: &World) {
    let before = world.status(CLUSTER).full_sync.count;
    world.control(Control::Sync);
    world.wait("a further full sync", |world| {
        let status = world.status(CLUSTER);
        status.full_sync.count > before && status.senders.queued == 0 && status.senders.in_flight == 0
    });
}

#[test]
fn upsert_only_creates_and_updates_and_keeps_what_is_gone() {
    at_once(BOTH, |generation| {
        let world = recorded(generation, "upsert-only");
        world.put(phase(pod("web-0", 2), "Failed"));
        world.put(pod("web-3", 1));
        world.delete("web-1");
        world.wait("the change is recorded", |world| {
            world.cmdb.find(BIZ, "uid-web-0").is_some_and(|record| record["bk_pod_status"] == "Failed")
                && world.cmdb.find(BIZ, "uid-web-3").is_some()
        });
        full_sync(&world);
        full_sync(&world);
        assert_eq!(uuids(&world), ["uid-web-0", "uid-web-1", "uid-web-2", "uid-web-3"]);
        assert!(world.cmdb.writes().iter().all(|call| call.operation != "delete"));
        let status = world.status(CLUSTER);
        // One record more than there are pods: that is what the policy asks for.
        assert_eq!((status.pods.storage, status.pods.cmdb, status.pods.pending), (3, 4, 0), "{status:?}");
        assert_eq!((status.senders.deleted, status.full_sync.held_back_deletes), (0, 0));
    });
}

#[test]
fn upsert_only_holds_nothing_back_however_many_are_gone() {
    let mut world = World::single(Generation::Old);
    (0..60).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    world.stop();
    (0..60).for_each(|number| world.delete(&format!("web-{number}")));
    let mut world = world.with(json!({"sync_policy": "upsert-only"}));
    world.start_and_settle();
    let full_sync = world.status(CLUSTER).full_sync;
    assert_eq!((full_sync.last_outcome, full_sync.held_back_deletes), ("ok", 0));
    assert_eq!(world.last_error(), "");
    assert_eq!(world.cmdb.records(BIZ).unwrap().len(), 60);
}

#[test]
fn upsert_only_says_whose_record_stands_in_the_way_of_a_recreated_pod() {
    at_once(BOTH, |generation| {
        let world = recorded(generation, "upsert-only");
        world.delete("web-0");
        world.put(pod_with_uid("web-0", "uid-new", 5));
        world.wait("it is shown", |world| world.status(CLUSTER).pods.rejected == 1);
        let shown = world.rejected(CLUSTER).remove(0);
        assert_eq!((shown.uuid.as_str(), shown.kind), ("uid-new", "rejected"), "{shown:?}");
        assert!(shown.message.contains("uid-web-0, which sync_policy upsert-only keeps"), "{shown:?}");
        assert!(world.cmdb.writes().iter().all(|call| call.operation != "delete"));
        assert_eq!(uuids(&world), ["uid-web-0", "uid-web-1", "uid-web-2"]);
    });
}

#[test]
fn upsert_only_leaves_a_record_whose_immutable_field_changed_and_says_so() {
    let world = recorded(Generation::New, "upsert-only");
    let owner = json!([{"kind": "ReplicaSet", "name": "other", "controller": true}]);
    world.put(with(pod("web-0", 2), "/metadata/ownerReferences", owner));
    world.wait("it is shown", |world| world.status(CLUSTER).pods.rejected == 1);
    let shown = world.rejected(CLUSTER).remove(0);
    assert_eq!((shown.uuid.as_str(), shown.field.as_str()), ("uid-web-0", "bk_pod_workloadname"));
    assert!(shown.message.contains("upsert-only does not replace the record"), "{shown:?}");
    assert!(world.cmdb.writes().iter().all(|call| call.operation != "delete"));
}

#[test]
fn going_back_to_sync_deletes_what_upsert_only_kept() {
    let mut world = recorded(Generation::Old, "upsert-only");
    world.delete("web-1");
    full_sync(&world);
    assert_eq!(uuids(&world).len(), 3);
    world.stop();
    let mut world = world.with(json!({"sync_policy": "sync"}));
    world.start();
    world.wait_equal(PATIENCE);
    assert_eq!(uuids(&world), ["uid-web-0", "uid-web-2"]);
}

#[test]
fn a_dry_run_writes_nothing_and_counts_what_it_would_write() {
    at_once(BOTH, |generation| {
        let world = recorded(generation, "dry-run");
        let (writes, before) = (world.cmdb.writes().len(), world.cmdb.records(BIZ).unwrap());
        world.put(phase(pod("web-0", 2), "Failed"));
        (3..103).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
        world.delete("web-1");
        world.wait("all of it is counted", |world| {
            let senders = world.status(CLUSTER).senders;
            (senders.created, senders.updated, senders.deleted) == (100, 1, 1)
        });
        full_sync(&world);
        assert_eq!(world.cmdb.writes().len(), writes);
        assert_eq!(world.cmdb.records(BIZ).unwrap(), before);
        let deletes = world.service.as_ref().unwrap().source().deletes();
        assert!(deletes.is_empty(), "nothing was deleted: {deletes:?}");
        assert_eq!(world.rejected(CLUSTER), []);
    });
}

#[test]
fn a_dry_run_holds_back_what_a_real_run_would_hold_back() {
    let mut world = World::single(Generation::Old);
    (0..60).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    world.stop();
    (0..60).for_each(|number| world.delete(&format!("web-{number}")));
    let mut world = world.with(json!({"sync_policy": "dry-run"}));
    world.start();
    world.wait("they are held back", |world| world.status(CLUSTER).full_sync.held_back_deletes == 60);
    world.control(Control::ApproveDeletes);
    world.wait("they are counted", |world| world.status(CLUSTER).senders.deleted == 60);
    assert_eq!(world.cmdb.records(BIZ).unwrap().len(), 60);
}

#[test]
fn a_real_run_after_a_dry_run_writes_all_of_it() {
    let mut world = recorded(Generation::New, "dry-run");
    world.put(pod("web-3", 1));
    world.delete("web-0");
    world.wait("it is counted", |world| world.status(CLUSTER).senders.created == 1);
    world.stop();
    let mut world = world.with(json!({"sync_policy": "sync"}));
    world.start();
    world.wait_equal(PATIENCE);
    assert_eq!(uuids(&world), ["uid-web-1", "uid-web-2", "uid-web-3"]);
}

#[test]
fn a_previous_business_keeps_its_records_unless_deletes_are_allowed() {
    at_once(["upsert-only", "dry-run"], |policy| {
        let mut world = World::single(Generation::Old);
        world.put(pod("web-0", 1));
        world.start_and_settle();
        world.wait_equal(PATIENCE);
        world.stop();
        // The cluster moves to another business.
        world.clusters[0].biz = 3;
        world.write_tasks();
        let mut world = world.with(json!({"sync_policy": policy}));
        world.start();
        world.wait("a full sync", |world| world.status(CLUSTER).full_sync.count > 0);
        assert!(world.cmdb.writes().iter().all(|call| call.operation != "delete"), "{policy}");
        let records: Vec<Value> = world.cmdb.records(BIZ).unwrap();
        assert_eq!(records.len(), 1, "{policy}");
    });
}
