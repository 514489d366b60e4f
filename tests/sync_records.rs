//! What the CMDB does not take as it is: repaired where the design says so, shown with its reason
//! where not, tried again when its cause is gone, and never in the way of the others.
//! (design.md 5 and 3, rule 7.)

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod world;

use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use bcs_bkcmdb_synchronizer::sync::snapshot::{ClusterState, Control, RejectedRecord};
use serde_json::{Value, json};
use world::cmdb::{Fault, business};
use world::pods::{phase, pod, pod_with_uid, with};
use world::{BIZ, CLUSTER, PATIENCE, World};

/// A world with these pods and an ordinary one beside them, settled.
fn settled(pods: Vec<Value>) -> World {
    let mut world = World::single(Generation::New);
    pods.into_iter().for_each(|pod| world.put(pod));
    world.put(pod("ordinary", 1));
    world.start_and_settle();
    world.wait("the ordinary pod is recorded", |world| {
        world.cmdb.records(BIZ).unwrap().iter().any(|record| record["bk_pod_uuid"] == "uid-ordinary")
    });
    world
}

/// Waits until a pod is shown as rejected or degraded, for a field.
#[track_caller]
fn shown(world: &World, uuid: &str, field: &str) -> RejectedRecord {
    let find = |world: &World| {
        world.rejected(CLUSTER).into_iter().find(|shown| shown.uuid == uuid && shown.field == field)
    };
    world.wait(&format!("{uuid} is shown for {field}"), |world| find(world).is_some());
    find(world).unwrap()
}

/// A pod is recorded with one field otherwise than the storage has it, and shown so.
#[track_caller]
fn check_repair(changed: Value, field: &str, code: i64, recorded: &str) {
    let world = settled(vec![changed]);
    let shown = shown(&world, "uid-web-0", field);
    assert_eq!((shown.kind, shown.code, shown.name.as_str()), ("degraded", code, "web-0"), "{shown:?}");
    assert!(!shown.message.is_empty());
    world.wait_equal(PATIENCE);
    let record = world.cmdb.find(BIZ, "uid-web-0").unwrap();
    assert_eq!(record[field].as_str().unwrap_or_default(), recorded);
    assert_eq!(world.status(CLUSTER).pods.degraded, 1);
    // Known by now: nothing is written again while the pod does not change.
    let writes = world.cmdb.writes().len();
    let full_syncs = world.status(CLUSTER).full_sync.count;
    world.control(Control::Sync);
    world.wait("a further full sync", |world| world.status(CLUSTER).full_sync.count > full_syncs);
    world.wait("the queue is empty", |world| world.status(CLUSTER).senders.queued == 0);
    assert_eq!(world.cmdb.writes().len(), writes);
}

#[test]
fn labels_and_annotations_lose_only_the_entries_the_cmdb_refuses() {
    let odd = json!({"app": "web", "empty": "", "spaced": "a b"});
    check_repair(
        with(pod("web-0", 1), "/metadata/labels", odd.clone()),
        "bk_pod_labels",
        1_199_016,
        r#"{"app":"web"}"#,
    );
    check_repair(
        with(pod("web-0", 1), "/metadata/annotations", odd),
        "bk_pod_annotations",
        1_199_016,
        r#"{"app":"web"}"#,
    );
}

#[test]
fn an_optional_field_the_cmdb_refuses_is_left_empty() {
    check_repair(with(pod("web-0", 1), "/status/podIP", "fd00::9"), "bk_pod_ip", 1_199_016, "");
    check_repair(with(pod("web-0", 1), "/status/hostIP", "fd00::1"), "bk_host_innerip", 1_199_016, "");
}

#[test]
fn a_field_that_is_too_long_loses_its_biggest_entries_and_stays_json() {
    let annotations = json!({"big": "x".repeat(1900), "kubectl.kubernetes.io/last-applied-configuration": "y", "small": "z".repeat(90)});
    let world = settled(vec![with(pod("web-0", 1), "/metadata/annotations", annotations)]);
    let shown = shown(&world, "uid-web-0", "bk_pod_annotations");
    assert_eq!(shown.kind, "degraded");
    world.wait_equal(PATIENCE);
    let recorded = world.cmdb.find(BIZ, "uid-web-0").unwrap()["bk_pod_annotations"].clone();
    let recorded: Value = serde_json::from_str(recorded.as_str().unwrap()).unwrap();
    assert!(recorded.get("kubectl.kubernetes.io/last-applied-configuration").is_none(), "{recorded}");
    assert!(recorded.get("small").is_some(), "{recorded}");
}

#[test]
fn a_repaired_pod_is_recorded_whole_once_its_document_is_good() {
    let world = settled(vec![with(pod("web-0", 1), "/status/podIP", "fd00::9")]);
    shown(&world, "uid-web-0", "bk_pod_ip");
    world.put(pod("web-0", 2));
    world.wait("nothing is shown any more", |world| world.rejected(CLUSTER).is_empty());
    world.wait_equal(PATIENCE);
    assert_eq!(world.cmdb.find(BIZ, "uid-web-0").unwrap()["bk_pod_ip"], "172.20.0.9");
}

#[test]
fn a_pod_that_cannot_be_repaired_is_shown_with_field_code_and_message_until_it_changes() {
    let name = "x".repeat(300);
    let owner = |name: &str| json!([{"kind": "Job", "name": name, "controller": true}]);
    let world = settled(vec![with(pod("web-0", 1), "/metadata/ownerReferences", owner(&name))]);
    let shown = shown(&world, "uid-web-0", "bk_pod_workloadname");
    assert_eq!((shown.kind, shown.code), ("rejected", 1_199_015), "{shown:?}");
    assert!(shown.message.contains("bk_pod_workloadname"), "{shown:?}");
    assert_eq!((shown.namespace.as_str(), shown.name.as_str()), ("default", "web-0"));
    assert_eq!(world.status(CLUSTER).pods.rejected, 1);
    // It is not tried again for its own sake.
    let writes = world.cmdb.writes().len();
    world.put(with(with(pod("web-0", 2), "/metadata/ownerReferences", owner(&name)), "/spec/nodeName", "n"));
    world.wait("the event came", |world| world.status(CLUSTER).watch.events.suppressed > 0);
    assert_eq!(world.cmdb.writes().len(), writes);
    world.put(with(pod("web-0", 3), "/metadata/ownerReferences", owner("short")));
    world.wait_equal(PATIENCE);
    assert_eq!(world.rejected(CLUSTER), []);
}

/// The record somebody else made.
fn foreign(cluster: &str, uuid: &str, name: &str, module: i64) -> Value {
    json!({"bk_module_id": module, "bk_cloud_id": 0, "bk_host_innerip": "10.9.9.9", "bk_pod_name": name,
        "bk_pod_namespace": "default", "bk_pod_cluster": cluster, "bk_pod_uuid": uuid,
        "bk_pod_workloadtype": "Pod", "bk_pod_workloadname": name})
}

#[test]
fn a_uuid_another_cluster_holds_is_rejected_saying_by_whom() {
    let mut world = World::single(Generation::Old);
    world.cmdb.create(BIZ, foreign("BCS-K8S-00777", "uid-web-0", "web-0", 201));
    world.put(pod("web-0", 1));
    world.start();
    let shown = shown(&world, "uid-web-0", "");
    assert_eq!((shown.kind, shown.code), ("rejected", 1_199_014));
    assert!(shown.message.contains("BCS-K8S-00777"), "{shown:?}");
    assert_eq!(world.cmdb.records(BIZ).unwrap()[0]["bk_pod_cluster"], "BCS-K8S-00777");
}

#[test]
fn a_record_of_another_cluster_is_not_taken_for_what_a_create_in_doubt_left() {
    let mut world = World::single(Generation::Old);
    world.cmdb.create(BIZ, foreign("BCS-K8S-00777", "uid-web-0", "web-0", 201));
    world.put(pod("web-0", 1));
    world.cmdb.break_next(&["create"], Fault::Error500, 1);
    world.start();
    let shown = shown(&world, "uid-web-0", "");
    assert!(shown.message.contains("held by cluster BCS-K8S-00777"), "{shown:?}");
    let operations: Vec<String> = world.cmdb.writes().into_iter().map(|call| call.operation).collect();
    assert_eq!(operations, ["create", "create"]);
}

#[test]
fn a_duplicate_of_an_unknown_business_is_rejected_saying_what_to_look_for() {
    let mut world = World::single(Generation::Old);
    world.cmdb.create(3, foreign(CLUSTER, "uid-web-0", "web-0", 301));
    world.put(pod("web-0", 1));
    world.start();
    let shown = shown(&world, "uid-web-0", "");
    assert!(shown.message.contains("other businesses"), "{shown:?}");
    assert_eq!(world.cmdb.records(3).unwrap().len(), 1, "what is not known to be ours is left alone");
}

#[test]
fn a_record_that_holds_the_name_of_a_living_pod_makes_room_for_it() {
    let mut world = World::single(Generation::Old);
    world.put(pod_with_uid("web-0", "new", 1));
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    // Somebody put an older record back, under the name of the living pod.
    world.cmdb.delete(BIZ, "new");
    world.cmdb.create(BIZ, foreign(CLUSTER, "old", "web-0", 201));
    world.control(Control::Sync);
    world.wait_equal(PATIENCE);
    assert!(world.cmdb.find(BIZ, "new").is_some());
}

#[test]
fn what_others_changed_or_deleted_in_the_cmdb_is_put_right_by_a_full_sync() {
    let world = settled(vec![pod("web-0", 1), pod("web-1", 1)]);
    world.wait_equal(PATIENCE);
    world.cmdb.delete(BIZ, "uid-web-0");
    world.cmdb.create(BIZ, foreign(CLUSTER, "stray", "stray", 201));
    world.control(Control::Sync);
    world.wait_equal(PATIENCE);
    world.cmdb.delete(BIZ, "uid-web-1");
    // An update of a record that is gone creates it again.
    world.put(phase(pod("web-1", 2), "Failed"));
    world.wait_equal(PATIENCE);
}

#[test]
fn without_the_default_module_the_cluster_is_degraded_and_says_what_to_create() {
    let mut world = World::single(Generation::Old).with(json!({"modules_refresh_interval": 10}));
    let annotated =
        json!({"set.bkcmdb.bkbcs.tencent.com": "game", "module.bkcmdb.bkbcs.tencent.com": "login"});
    world.cmdb.set_topology(json!({"businesses": [business(BIZ, &["game/login"])]}));
    world.put(pod("homeless", 1));
    world.put(with(pod("placed", 1), "/metadata/annotations", annotated));
    world.start();
    world.wait("it is degraded", |world| world.status(CLUSTER).state == ClusterState::Degraded);
    let message = world.last_error();
    assert!(
        message.contains("business 2 has no module \"bkbcs\" in set \"bkbcs\": create both"),
        "{message}"
    );
    world.wait("the placed pod is recorded", |world| world.cmdb.find(BIZ, "uid-placed").is_some());
    assert!(shown(&world, "uid-homeless", "bk_module_id").message.contains("default"));
    world.cmdb.set_topology(json!({"businesses": [business(BIZ, &["game/login", "bkbcs/bkbcs"])]}));
    world.wait_equal(PATIENCE);
    world.wait_live();
}

#[test]
fn a_module_that_has_another_id_is_looked_up_when_the_old_one_is_refused() {
    let mut world = settled(Vec::new());
    let set = json!({"bk_set_id": 21, "bk_set_name": "bkbcs",
        "modules": [{"bk_module_id": 299, "bk_module_name": "bkbcs"}]});
    world.cmdb.set_topology(
        json!({"businesses": [{"bk_biz_id": BIZ, "bk_biz_name": "business 2", "sets": [set]}]}),
    );
    // The timer reads it 100 s later; a topology of a moment ago is not read again for a refusal.
    let mut version = 0;
    world.wait("a pod is in the new module", |world| {
        // The next change comes when nothing is left to do about the last one, however long that takes.
        if world.status(CLUSTER).senders.queued == 0 {
            version += 1;
            world.put(phase(pod("web-0", version), &format!("Phase{version}")));
        }
        world.cmdb.find(BIZ, "uid-web-0").is_some_and(|record| record["bk_module_id"] == 299)
    });
    world.wait_equal(PATIENCE);
    world.stop();
}

#[test]
fn what_was_placed_in_the_modules_of_before_does_not_pass_after_the_new_ones() {
    let mut world = World::single(Generation::Old).with(json!({"modules_refresh_interval": 10}));
    world.put(pod("web-0", 1));
    world.start_and_settle();
    world.control(Control::Pause);
    world.put(phase(pod("web-0", 2), "Failed"));
    world.wait("the event waits", |world| world.status(CLUSTER).watch.queued == 1);
    world.cmdb.set_topology(json!({"businesses": [business(BIZ, &["game/login", "bkbcs/bkbcs"])]}));
    world.wait("it is dropped", |world| world.status(CLUSTER).watch.queued == 0);
    world.control(Control::Resume);
    world.wait_equal(PATIENCE);
    assert_eq!(world.cmdb.find(BIZ, "uid-web-0").unwrap()["bk_module_id"], 202);
}

#[test]
fn annotations_move_a_pod_to_another_module() {
    let world = settled(vec![pod("web-0", 1)]);
    let module = |world: &World| world.cmdb.find(BIZ, "uid-web-0").unwrap()["bk_module_id"].clone();
    world.wait_equal(PATIENCE);
    assert_eq!(module(&world), 201);
    let annotated =
        json!({"set.bkcmdb.bkbcs.tencent.com": "game", "module.bkcmdb.bkbcs.tencent.com": "login"});
    world.put(with(pod("web-0", 2), "/metadata/annotations", annotated));
    world.wait_equal(PATIENCE);
    assert_eq!(module(&world), 202);
}

#[test]
fn a_pod_without_a_host_waits_for_one_and_keeps_the_last_one() {
    let homeless = |version| with(phase(pod("web-0", version), "Pending"), "/status/hostIP", "");
    let world = settled(vec![homeless(1)]);
    assert_eq!(world.status(CLUSTER).pods.unscheduled, 1);
    assert!(world.cmdb.find(BIZ, "uid-web-0").is_none());
    world.put(pod("web-0", 2));
    world.wait("it is recorded", |world| world.cmdb.find(BIZ, "uid-web-0").is_some());
    world.put(with(phase(pod("web-0", 3), "Failed"), "/status/hostIP", ""));
    world.wait("its end is recorded", |world| {
        world.cmdb.find(BIZ, "uid-web-0").is_some_and(|record| record["bk_pod_status"] == "Failed")
    });
    assert_eq!(world.cmdb.find(BIZ, "uid-web-0").unwrap()["bk_host_innerip"], "10.0.0.1");
    world.delete("web-0");
    world.wait("it is gone", |world| world.cmdb.find(BIZ, "uid-web-0").is_none());
}

#[test]
fn one_record_the_cmdb_refuses_holds_back_none_of_a_large_batch() {
    let owner = json!([{"kind": "Job", "name": "x".repeat(300), "controller": true}]);
    let mut world = World::single(Generation::Old);
    (0..250).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    (0..5).for_each(|number| {
        world.put(with(pod(&format!("bad-{number}"), 1), "/metadata/ownerReferences", owner.clone()))
    });
    world.start();
    world.wait("all others are recorded", |world| world.cmdb.records(BIZ).unwrap().len() == 250);
    world.wait("five are rejected", |world| world.status(CLUSTER).pods.rejected == 5);
    world.wait("all of it is acknowledged", |world| {
        let pods = world.status(CLUSTER).pods;
        (pods.storage, pods.cmdb, pods.pending) == (255, 250, 0)
    });
}

#[test]
fn a_record_of_the_cmdb_without_a_uuid_is_shown_and_left_as_it_is_until_it_is_mended() {
    let mut world = World::single(Generation::New);
    world.put(pod("web-0", 1));
    world.cmdb.create(BIZ, foreign(CLUSTER, "u-stray", "stray", 201));
    world.cmdb.blank_uuid("u-stray");
    world.start_and_settle();
    let status = world.status(CLUSTER);
    assert_eq!((status.pods.unusable, status.pods.cmdb, status.state), (1, 1, ClusterState::Live));
    let problem = status.problems.iter().find(|problem| problem.kind == "records").unwrap();
    assert!(problem.message.contains("1 records of this cluster in the CMDB have no uuid"), "{problem:?}");
    assert!(problem.message.contains("(default/stray)"), "{problem:?}");
    assert!(world.cmdb.find(BIZ, "u-stray").is_some(), "it is left as it is");
    // It has one again, and is an extra record like any other.
    world.cmdb.blank_uuid("nobody");
    world.control(Control::Sync);
    world.wait("it is over", |world| {
        let status = world.status(CLUSTER);
        status.pods.unusable == 0 && status.problems.is_empty()
    });
    world.wait_equal(PATIENCE);
    assert!(world.cmdb.find(BIZ, "u-stray").is_none());
}
