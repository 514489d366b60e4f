//! Documents and events nobody should send: none is silent, none stops or harms the others, and
//! the status says which one and what to look at. (design.md 3, rule 7.)

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod world;

use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use bcs_bkcmdb_synchronizer::sync::snapshot::Control;
use serde_json::{Value, json};
use world::pods::{phase, pod, with};
use world::{BIZ, CLUSTER, CONVERGES, PATIENCE, World, at_once};

/// A settled world with two pods.
fn settled() -> World {
    let mut world = World::single(Generation::Old);
    world.put(pod("web-0", 1));
    world.put(pod("web-1", 1));
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    world
}

/// After odd bytes on the stream the next event is followed as ever, on the same stream. What names no
/// document is over with the full sync it asks for.
#[track_caller]
fn check_event(bytes: impl Into<Vec<u8>>, invalid: u64, named: bool) {
    let bytes = bytes.into();
    let world = settled();
    let full_syncs = world.status(CLUSTER).full_sync.count;
    world.storage.faults().raw_event(CLUSTER, bytes.clone());
    world.put(phase(pod("web-0", 2), "Failed"));
    world.delete("web-1");
    world.wait_equal(PATIENCE);
    world.wait("the delete is counted", |world| world.status(CLUSTER).senders.deleted == 1);
    let status = world.status(CLUSTER);
    let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
    assert_eq!((status.watch.events.invalid, status.watch.reconnects), (invalid, 0), "{shown}");
    if named || invalid == 0 {
        let said = world.last_error().contains("passed over until the next full sync");
        assert_eq!(said, invalid > 0, "{shown}: {}", world.last_error());
        return;
    }
    world.wait("a full sync settles it", |world| {
        world.status(CLUSTER).full_sync.count > full_syncs && world.last_error().is_empty()
    });
}

#[test]
fn events_of_unknown_types_are_counted_and_passed_over() {
    let cases =
        [&br#"{"type":17,"value":{"_id":"5f0c"}}"#[..], &br#"{"type":"delete","value":{"_id":"5f0c"}}"#[..]];
    at_once(cases, |bytes| check_event(bytes, 1, false));
}

#[test]
fn events_without_a_value_are_counted_and_passed_over() {
    let cases = [&br#"{"type":1}"#[..], &br#"{"type":2,"value":null}"#[..], &br#"{"type":3,"value":[]}"#[..]];
    at_once(cases, |bytes| check_event(bytes, 1, false));
}

#[test]
fn a_change_told_by_an_event_without_a_value_is_found_without_the_periodic_full_sync() {
    let world = settled();
    world.storage.faults().drop_events(CLUSTER, 2);
    world.delete("web-1");
    world.put(phase(pod("web-0", 2), "Failed"));
    world.storage.faults().raw_event(CLUSTER, br#"{"type":2,"value":null}"#);
    world.wait_equal(CONVERGES);
}

#[test]
fn a_nop_is_nothing() {
    check_event(br#"{"type":0,"value":null}"#, 0, false);
}

#[test]
fn a_delete_of_something_unknown_deletes_nothing() {
    check_event(br#"{"type":2,"value":{"_id":"ffffffffffffffffffffffff"}}"#, 0, true);
}

#[test]
fn events_about_documents_that_name_no_pod_are_counted_and_passed_over() {
    check_event(
        br#"{"type":1,"value":{"_id":"5f0c","resourceName":"x","namespace":"default","data":{}}}"#,
        1,
        true,
    );
    check_event(br#"{"type":1,"value":{"_id":"5f0c","data":{"metadata":{"name":5,"uid":[]}}}}"#, 1, true);
    check_event(
        b"{\"type\":1,\"value\":{\"_id\":\"5f0c\",\"data\":{\"metadata\":{\"uid\":\"\xff\xfe\"}}}}",
        1,
        false,
    );
}

/// A document in every listing that cannot be recorded: shown, and the others go on.
#[track_caller]
fn check_listed(document: impl Into<Vec<u8>>, words: &str) {
    let world = settled();
    world.storage.faults().raw_document(CLUSTER, document);
    world.put(phase(pod("web-0", 2), "Failed"));
    world.put(pod("web-2", 1));
    world.delete("web-1");
    world.control(Control::Sync);
    world.wait("it is said", |world| world.last_error().contains(words));
    world.wait_equal(PATIENCE);
    assert_eq!(world.status(CLUSTER).full_sync.last_outcome, "ok");
    world.storage.faults().clear();
    world.control(Control::Sync);
    world.wait("nothing is said any more", |world| world.last_error().is_empty());
}

#[test]
fn listed_documents_without_uid_or_name_are_named_and_passed_over() {
    let mut nameless = json!({"_id": "5f0c", "namespace": "default", "resourceName": "odd",
        "data": pod("odd", 1)});
    nameless["data"]["metadata"]["uid"] = Value::Null;
    check_listed(nameless.to_string(), "uid");
    nameless["data"]["metadata"] = json!({"uid": "u", "namespace": "default"});
    nameless["resourceName"] = Value::Null;
    check_listed(nameless.to_string(), "name");
}

#[test]
fn listed_documents_of_other_shapes_are_named_and_passed_over() {
    check_listed("null", "object");
    check_listed(r#"{"_id":"5f0c","data":7}"#, "5f0c");
    check_listed(
        r#"{"_id":"5f0c","namespace":"default","resourceName":"odd","data":{"metadata":[]}}"#,
        "odd",
    );
}

#[test]
fn wrong_types_in_optional_fields_do_not_cost_the_record() {
    let world = settled();
    let odd = with(pod("odd", 1), "/status/containerStatuses", json!("none"));
    let odd = with(with(odd, "/metadata/labels", json!([1])), "/spec/volumes", json!({"a": 1}));
    world.put(with(odd, "/metadata/resourceVersion", json!({})));
    world.wait("it is recorded", |world| world.cmdb.find(BIZ, "uid-odd").is_some());
    world.wait_equal(PATIENCE);
}

#[test]
fn the_record_of_a_pod_whose_document_makes_no_sense_stays_until_it_makes_sense_again() {
    at_once([Generation::Old, Generation::New], |generation| {
        let mut world = World::single(generation);
        world.put(pod("web-0", 1));
        world.start_and_settle();
        world.wait_equal(PATIENCE);
        let reads = world.storage.counters().get;
        world.put(with(pod("web-0", 2), "/metadata/uid", Value::Null));
        world.control(Control::Sync);
        world.wait("it was read by its name", |world| {
            let status = world.status(CLUSTER);
            world.storage.counters().get > reads && status.senders.retries + status.senders.deleted > 0
        });
        assert_eq!(world.status(CLUSTER).senders.deleted, 0, "{generation:?}");
        assert!(world.cmdb.find(BIZ, "uid-web-0").is_some(), "{generation:?}");
        world.put(pod("web-0", 3));
        world.wait_equal(PATIENCE);
    });
}

#[test]
fn documents_of_five_megabytes_are_recorded_shortened() {
    let world = settled();
    let mut large = with(pod("large", 1), "/metadata/annotations", json!({"config": "x".repeat(5 << 20)}));
    world.put(large.clone());
    world.wait("it is recorded", |world| world.cmdb.find(BIZ, "uid-large").is_some());
    world.control(Control::Sync);
    world.wait("a listing with it", |world| world.status(CLUSTER).full_sync.count >= 3);
    large["status"]["phase"] = "Failed".into();
    world.put(with(large, "/metadata/resourceVersion", "2"));
    world.wait_equal(PATIENCE);
    assert!(
        world.rejected(CLUSTER).iter().any(|shown| shown.uuid == "uid-large" && shown.kind == "degraded")
    );
}

#[test]
fn documents_listed_twice_are_recorded_once() {
    let mut world = World::single(Generation::New).with(json!({"storage_page_size": 7}));
    (0..20).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.storage.faults().duplicate_documents(CLUSTER);
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    let created: usize =
        world.cmdb.writes().iter().map(|call| call.body["pod_list"].as_array().map_or(1, Vec::len)).sum();
    assert_eq!(created, 20);
}
