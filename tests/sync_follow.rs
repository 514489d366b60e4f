//! Following the storage: what happens to a pod reaches its record, promptly, once, and nothing
//! else is written. (design.md 3, rules 1, 2, 4 and 5.)

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod world;

use bcs_bkcmdb_synchronizer::sandbox::storage::{Behaviour, Generation};
use bcs_bkcmdb_synchronizer::sync::snapshot::Control;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::time::Duration;
use world::pods::{NAMESPACE, phase, pod, pod_with_uid, taskgroup, with};
use world::{BIZ, CLUSTER, ClusterSetup, PATIENCE, World, at_once};

const BOTH: [Generation; 2] = [Generation::Old, Generation::New];

#[test]
fn pods_that_were_there_before_are_recorded_field_by_field() {
    let mut world = World::single(Generation::New);
    for number in 0..120 {
        world.put(pod(&format!("web-{number}"), 1));
    }
    world.start();
    world.wait_equal(PATIENCE);
    assert_eq!(world.verdict().unwrap().total().recorded, 120);
}

/// The operations that changed the CMDB so far.
fn operations(world: &World) -> Vec<String> {
    world.cmdb.writes().into_iter().map(|call| call.operation).collect()
}

#[test]
fn a_pod_is_followed_from_its_creation_to_its_delete_without_a_full_sync() {
    at_once(BOTH, |generation| {
        let mut world = World::single(generation);
        world.start_and_settle();
        let full_syncs = world.status(CLUSTER).full_sync.count;
        world.put(pod("web-0", 1));
        world.wait_equal(PATIENCE);
        world.put(phase(pod("web-0", 2), "Failed"));
        world.wait_equal(PATIENCE);
        world.delete("web-0");
        world.wait_equal(PATIENCE);
        // The other half of a new generation's delete may still be on its way.
        world.wait("the queue is empty", |world| world.status(CLUSTER).senders.queued == 0);
        assert_eq!(operations(&world), ["create", "update", "delete"], "{generation:?}");
        let status = world.status(CLUSTER);
        assert_eq!((status.full_sync.count, status.senders.deleted), (full_syncs, 1), "{generation:?}");
        let proofs = world.service.as_ref().unwrap().source().deletes();
        assert_eq!(proofs[0].proof, "point read: not in bcs-storage");
    });
}

#[test]
fn changes_keep_their_order_when_the_sender_s_thread_ends_and_starts_between_them() {
    const PODS: usize = 3;
    const CHANGES: u64 = 300;
    let world = World::single(Generation::New).with(json!({"senders_per_cluster": 1}));
    let mut world = world.with_timings(|timings| timings.linger = Duration::ZERO);
    world.start_and_settle();
    for version in 1..=CHANGES {
        let name = format!("web-{}", version as usize % PODS);
        let address = format!("10.1.{}.{}", version / 100, version % 100);
        world.put(with(pod(&name, version), "/status/podIP", address));
        // Some changes meet a thread at work, some one that is about to end, some none.
        if version % 4 == 0 {
            let before = world.cmdb.writes().len();
            world.wait("a write", |world| {
                world.status(CLUSTER).senders.queued == 0 || world.cmdb.writes().len() > before
            });
        }
        // However slow the machine is, there is more than one write of each.
        if version == CHANGES / 2 {
            world.wait_equal(PATIENCE);
        }
    }
    world.wait_equal(PATIENCE);
    for number in 0..PODS {
        let uuid = format!("uid-web-{number}");
        let addresses = addresses_written(&world, &uuid);
        assert!(addresses.is_sorted(), "{uuid}: {addresses:?}");
        assert!(addresses.len() > 1, "{uuid} changed more than once");
    }
}

/// The addresses of a pod as they were written, as numbers.
fn addresses_written(world: &World, uuid: &str) -> Vec<Ipv4Addr> {
    let written = |call: &world::cmdb::Call| -> Vec<Value> {
        let body = &call.body;
        let many = body["pod_list"].as_array().cloned().unwrap_or_default();
        let update = match body["condition"]["bk_pod_uuid"] == uuid {
            true => with(body["data"].clone(), "/bk_pod_uuid", uuid),
            false => Value::Null,
        };
        many.into_iter().chain([body["pod"].clone(), update]).collect()
    };
    let records = world.cmdb.writes().iter().flat_map(written).collect::<Vec<_>>();
    let ours = records.iter().filter(|record| record["bk_pod_uuid"] == uuid);
    ours.filter_map(|record| record["bk_pod_ip"].as_str()?.parse().ok()).collect()
}

#[test]
fn many_deletes_at_once_are_one_request_each() {
    at_once(BOTH, |generation| {
        let mut world = World::single(generation);
        let names: Vec<String> = (0..40).map(|number| format!("web-{number}")).collect();
        names.iter().for_each(|name| world.put(pod(name, 1)));
        world.start_and_settle();
        names.iter().for_each(|name| world.delete(name));
        world.wait_equal(PATIENCE);
        world.control(Control::Sync);
        world.wait("a further full sync", |world| world.status(CLUSTER).full_sync.count == 3);
        let deletes = operations(&world).iter().filter(|operation| *operation == "delete").count();
        assert_eq!(deletes, 40, "{generation:?}");
    });
}

/// A pod recreated under its name: the old uid goes, the new one comes, without a full sync.
#[track_caller]
fn check_recreation(behaviour: Behaviour, with_delete: bool) {
    let mut world =
        World::new(vec![ClusterSetup { behaviour, ..ClusterSetup::new(CLUSTER, Generation::Old) }]);
    world.put(pod_with_uid("web-0", "first", 5));
    world.start_and_settle();
    let full_syncs = world.status(CLUSTER).full_sync.count;
    let id = |world: &World| world.storage.document(CLUSTER, NAMESPACE, "web-0").unwrap().id.clone();
    let before = id(&world);
    if with_delete {
        world.delete("web-0");
    }
    world.put(pod_with_uid("web-0", "second", 6));
    assert_eq!(
        before == id(&world),
        !with_delete || behaviour.keep_id && behaviour.generation == Generation::New
    );
    world.wait_equal(PATIENCE);
    let (first, second) = (world.cmdb.find(BIZ, "first"), world.cmdb.find(BIZ, "second"));
    assert!(
        first.is_none() && second.is_some(),
        "{behaviour:?} {:?} {:?}",
        world.cmdb.writes(),
        world.verdict()
    );
    assert_eq!(world.status(CLUSTER).full_sync.count, full_syncs);
}

#[test]
fn a_pod_recreated_under_its_storage_id_replaces_the_old_one() {
    // The old generation replaces the document, the new one may also revive a deleted one.
    let cases = [(Generation::Old, false), (Generation::New, false), (Generation::New, true)];
    at_once(cases, |(generation, with_delete)| check_recreation(Behaviour::of(generation), with_delete));
}

#[test]
fn a_pod_recreated_under_another_storage_id_replaces_the_old_one() {
    check_recreation(Behaviour::of(Generation::Old), true);
    check_recreation(Behaviour { keep_id: false, ..Behaviour::of(Generation::New) }, true);
}

#[test]
fn what_the_cmdb_does_not_record_causes_no_request() {
    let mut world = World::single(Generation::New);
    world.put(pod("web-0", 1));
    world.start_and_settle();
    let before = (world.cmdb.counts(), world.storage.counters().get);
    for version in 2..12 {
        world.put(with(pod("web-0", version), "/status/conditions", json!([{"seen": version}])));
        world.wait("the event came", |world| world.status(CLUSTER).watch.events.suppressed == version - 1);
    }
    assert_eq!((world.cmdb.counts(), world.storage.counters().get), before);
}

#[test]
fn a_full_sync_of_an_unchanged_cluster_writes_nothing() {
    let mut world = World::single(Generation::Old);
    for number in 0..30 {
        world.put(pod(&format!("web-{number}"), 1));
    }
    // Repaired, shortened and empty fields must compare equal too.
    let long = "x".repeat(3000);
    world.put(with(pod("odd-0", 1), "/metadata/annotations", json!({"a b": "c d", "long": long})));
    world.put(with(pod("odd-1", 1), "/status/podIP", ""));
    world.put(with(pod("odd-2", 1), "/metadata/labels", json!(null)));
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    let writes = world.cmdb.writes().len();
    for count in 3..5 {
        world.control(Control::Sync);
        world.wait("a further full sync", |world| world.status(CLUSTER).full_sync.count == count);
    }
    world.stop();
    assert_eq!(world.cmdb.writes().len(), writes);
    world.start_and_settle();
    world.stop();
    let further = world.cmdb.writes();
    let further: Vec<_> = further[writes..].iter().map(|call| call.body.clone()).collect();
    assert!(further.iter().all(|body| body["condition"]["bk_pod_uuid"] == "uid-odd-0"), "{further:?}");
}

#[test]
fn an_update_sends_only_the_fields_that_changed_and_names_its_cluster() {
    let mut world = World::single(Generation::New);
    world.put(pod("web-0", 1));
    world.start_and_settle();
    world.put(phase(pod("web-0", 2), "Failed"));
    world.wait_equal(PATIENCE);
    let update = world.cmdb.writes().pop().unwrap();
    let condition = json!({"bk_pod_uuid": "uid-web-0", "bk_pod_cluster": CLUSTER});
    assert_eq!(update.body, json!({"condition": condition, "data": {"bk_pod_status": "Failed"}}));
}

#[test]
fn a_change_back_overtakes_the_change_on_its_way() {
    let mut world = World::single(Generation::Old);
    world.put(pod("web-0", 1));
    world.start_and_settle();
    for version in (2..40).step_by(2) {
        world.put(phase(pod("web-0", version), "Failed"));
        world.put(pod("web-0", version + 1));
    }
    world.wait("the last event came", |world| world.status(CLUSTER).watch.events.change >= 38);
    world.wait_equal(PATIENCE);
    assert_eq!(world.cmdb.find(BIZ, "uid-web-0").unwrap()["bk_pod_status"], "Running");
}

#[test]
fn taskgroups_are_followed_like_pods() {
    let id = "BCS-MESOS-00001";
    at_once(BOTH, |generation| {
        let mut world = World::new(vec![ClusterSetup::new(id, generation)]);
        let (first, second) = ("0.web.default.1.11", "0.web.default.1.12");
        world.storage.put(id, taskgroup(first, "Running")).unwrap();
        world.start_and_settle();
        world.storage.put(id, taskgroup(first, "Failed")).unwrap();
        world.storage.put(id, taskgroup(second, "Starting")).unwrap();
        world.wait_equal(PATIENCE);
        assert!(world.storage.delete(id, NAMESPACE, first));
        world.wait_equal(PATIENCE);
        assert_eq!(world.cmdb.find(BIZ, second).unwrap()["bk_pod_clustertype"], "mesos");
    });
}

#[test]
fn clusters_of_one_instance_do_not_mix() {
    let ids = ["BCS-K8S-00001", "BCS-K8S-00002", "BCS-K8S-00003"];
    let mut world = World::new(ids.map(|id| ClusterSetup::new(id, Generation::New)).into());
    for (id, number) in ids.iter().zip(0..) {
        let put =
            |name: &str| world.storage.put(id, pod_with_uid(name, &format!("{name}-{number}"), 1)).unwrap();
        ["web-0", "web-1"].into_iter().for_each(put);
    }
    world.start_and_settle();
    assert!(world.storage.delete(ids[1], NAMESPACE, "web-0"));
    world.wait_equal(PATIENCE);
    assert_eq!(world.verdict().unwrap().total().recorded, 5);
}
