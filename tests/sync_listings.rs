//! Every way a listing can be empty or partial, and what is not deleted because of it (design.md 3,
//! rule 4): a listing is a hint, and a great many missing pods are not even that at first.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod world;

use bcs_bkcmdb_synchronizer::sandbox::storage::{Call, Fault, Generation};
use bcs_bkcmdb_synchronizer::sync::snapshot::{ClusterState, Control};
use serde_json::json;
use std::time::{Duration, Instant};
use world::pods::{phase, pod};
use world::{BIZ, CLUSTER, PATIENCE, World, at_once};

const PODS: usize = 60;

/// A settled world with [`PODS`] pods that listings show ten at a time; the guard is out of the way.
fn settled(generation: Generation) -> World {
    let keys = json!({"storage_page_size": 10, "delete_guard_percent": 100, "delete_guard_min": 100_000});
    let mut world = World::single(generation).with(keys);
    (0..PODS).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    world
}

/// One full sync whose listing meets `fault` at its page number `page`; returns how it ended. A fault that
/// fails it stays, and with it the outcome: it is tried again at once.
#[track_caller]
fn full_sync(world: &World, page: usize, fault: Fault) -> &'static str {
    let before = world.status(CLUSTER).full_sync.count;
    let faults = world.storage.faults();
    // What comes first is met first: pages before it are as they are, only a little late.
    if page > 0 {
        faults.next(CLUSTER, Call::List, Fault::Delay(Duration::ZERO), page);
    }
    match fault {
        Fault::Empty => faults.next(CLUSTER, Call::List, fault, 1),
        _ => faults.set(CLUSTER, Call::List, fault),
    }
    world.control(Control::Sync);
    world.wait("a further full sync", |world| world.status(CLUSTER).full_sync.count > before);
    world.status(CLUSTER).full_sync.last_outcome
}

/// Nothing is deleted, and both sides are equal in the end.
#[track_caller]
fn check(page: usize, fault: Fault, outcome: &str) {
    let world = settled(Generation::New);
    let told = full_sync(&world, page, fault);
    world.wait("what the listing missed is looked after", |world| {
        world.status(CLUSTER).senders.queued == 0 && world.status(CLUSTER).senders.in_flight == 0
    });
    assert_eq!(told, outcome, "{fault:?} at page {page}");
    assert_eq!(world.cmdb.records(BIZ).unwrap().len(), PODS, "{fault:?} at page {page}");
    assert_eq!(world.status(CLUSTER).senders.deleted, 0, "{fault:?} at page {page}");
    let writes = world.cmdb.writes().iter().filter(|call| call.operation == "delete").count();
    assert_eq!(writes, 0, "{fault:?} at page {page}");
    world.storage.faults().clear();
    world.wait_equal(PATIENCE);
    world.wait_live();
}

/// How a page can go wrong, and what the full sync makes of it. An empty page looks like the end: the
/// cluster, or what comes after the page, seems to be gone.
const FAULTS: [(Fault, &str); 8] = [
    (Fault::Refuse, "failed"),
    (Fault::Error500, "failed"),
    (Fault::Html, "failed"),
    (Fault::Truncated, "failed"),
    (Fault::DataNull, "failed"),
    (Fault::DataObject, "failed"),
    (Fault::Close, "failed"),
    (Fault::Empty, "ok"),
];

#[test]
fn a_listing_that_fails_at_its_first_page_deletes_nothing() {
    at_once(FAULTS, |(fault, outcome)| check(0, fault, outcome));
}

#[test]
fn a_listing_that_fails_at_a_later_page_deletes_nothing() {
    at_once(FAULTS, |(fault, outcome)| check(3, fault, outcome));
}

/// What was compared is wanted from then on: no event tells it again, and no listing that finds it wanted.
#[test]
fn what_the_pages_before_a_failed_one_told_is_written() {
    let world = settled(Generation::New);
    world.storage.faults().mute(CLUSTER);
    (0..PODS).for_each(|number| world.put(phase(pod(&format!("web-{number}"), 2), "Failed")));
    // No listing comes as far again.
    world.storage.faults().next(CLUSTER, Call::List, Fault::Delay(Duration::ZERO), 3);
    world.storage.faults().set(CLUSTER, Call::List, Fault::Error500);
    world.control(Control::Sync);
    world.wait("three pages of them are written", |world| {
        let records = world.cmdb.records(BIZ).unwrap();
        records.iter().filter(|record| record["bk_pod_status"] == "Failed").count() == 30
    });
    world.wait("it failed", |world| world.status(CLUSTER).full_sync.last_outcome == "failed");
    world.storage.faults().clear();
    world.wait_equal(PATIENCE);
}

/// A point read that finds what a listing lacked says that it may have lacked more.
#[test]
fn a_listing_that_missed_pods_is_repeated_for_those_nobody_knew_of() {
    let world = settled(Generation::Old);
    world.storage.faults().mute(CLUSTER);
    world.put(pod("unheard-of", 1));
    assert_eq!(full_sync(&world, 0, Fault::Empty), "ok");
    world.wait_equal(PATIENCE);
}

/// Pods missing from a listing stay unless a read says they are gone.
#[test]
fn of_what_an_empty_listing_lacks_only_the_really_gone_is_deleted() {
    let world = settled(Generation::Old);
    world.storage.faults().mute(CLUSTER);
    (0..7).for_each(|number| world.delete(&format!("web-{number}")));
    assert_eq!(full_sync(&world, 0, Fault::Empty), "ok");
    world.wait_equal(PATIENCE);
    assert_eq!(world.cmdb.records(BIZ).unwrap().len(), PODS - 7);
    world.wait("they are told", |world| world.service.as_ref().unwrap().source().deletes().len() == 7);
}

#[test]
fn a_pod_whose_read_fails_too_keeps_its_record_until_the_storage_can_be_read() {
    at_once([Fault::Error500, Fault::Html, Fault::Truncated, Fault::Close], |fault| {
        let world = settled(Generation::New);
        world.storage.faults().set(CLUSTER, Call::Get, fault);
        assert_eq!(full_sync(&world, 0, Fault::Empty), "ok");
        world.wait("reads are tried again", |world| world.status(CLUSTER).senders.retries > 2 * PODS as u64);
        assert_eq!(world.cmdb.records(BIZ).unwrap().len(), PODS, "{fault:?}");
        world.storage.faults().clear();
        world.wait_equal(PATIENCE);
        world.wait("every read was made", |world| world.status(CLUSTER).senders.queued == 0);
        assert_eq!(world.status(CLUSTER).senders.deleted, 0, "{fault:?}");
    });
}

#[test]
fn above_the_guard_not_even_a_read_is_made_and_the_status_says_which_deletes_wait() {
    let mut world = World::single(Generation::Old);
    (0..PODS).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    let reads = world.storage.counters().get;
    assert_eq!(full_sync(&world, 0, Fault::Empty), "held_back");
    let status = world.status(CLUSTER);
    assert_eq!((status.full_sync.held_back_deletes, status.state), (PODS, ClusterState::Live));
    let message = format!("{PODS} of {PODS} records are missing in the storage");
    assert!(status.last_error.as_deref().unwrap_or_default().contains(&message), "{status:?}");
    assert_eq!(status.problems[0].kind, "held_back_deletes");
    let held = world.service.as_ref().unwrap().source().held_back(CLUSTER).unwrap();
    assert_eq!((held.len(), held[0].uuid.as_str(), held[0].name.as_str()), (PODS, "uid-web-0", "web-0"));
    assert_eq!(world.storage.counters().get, reads, "no pod was read");
    // The next listing shows them all: the matter is over, without anybody's doing.
    world.control(Control::Sync);
    world.wait("nothing is held back", |world| {
        let status = world.status(CLUSTER);
        status.full_sync.held_back_deletes == 0 && status.last_error.is_none()
    });
    world.wait_equal(PATIENCE);
    assert_eq!(world.status(CLUSTER).senders.deleted, 0);
}

#[test]
fn held_back_deletes_are_carried_out_by_a_periodic_full_sync_an_interval_later() {
    const INTERVAL: Duration = Duration::from_secs(10);
    let keys = json!({"full_sync_interval": INTERVAL.as_secs()});
    let mut world = World::single(Generation::New).with(keys);
    (0..PODS + 5).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    world.storage.faults().mute(CLUSTER);
    (0..PODS).for_each(|number| world.delete(&format!("web-{number}")));
    let asked = Instant::now();
    // Asking again is no second opinion.
    for _ in 0..2 {
        let count = world.status(CLUSTER).full_sync.count;
        world.control(Control::Sync);
        world.wait("a further full sync", |world| world.status(CLUSTER).full_sync.count > count);
        let held = world.status(CLUSTER).full_sync.held_back_deletes;
        assert!(held == PODS || asked.elapsed() >= INTERVAL, "{held}");
    }
    world.wait("one is carried out", |world| world.cmdb.records(BIZ).unwrap().len() < PODS + 5);
    // It began an interval after they were held back at the earliest, however slow the machine is.
    assert!(asked.elapsed() >= INTERVAL, "{:?}", asked.elapsed());
    world.wait("they are carried out", |world| world.cmdb.records(BIZ).unwrap().len() == 5);
    world.wait("nothing is held back", |world| world.status(CLUSTER).full_sync.held_back_deletes == 0);
    let proofs = world.service.as_ref().unwrap().source().deletes();
    assert!(proofs.iter().all(|delete| delete.proof.contains("point read")), "{proofs:?}");
}

/// bcs-storage is asked for a pod by the key it keeps the document under, whatever name the pod has.
#[test]
fn a_pod_that_the_storage_keeps_under_another_name_is_read_there_and_deleted_when_it_is_gone() {
    const KEY: (&str, &str) = ("kept", "under/another name");
    at_once([Generation::Old, Generation::New], |generation| {
        let keys = json!({"storage_page_size": 10, "delete_guard_percent": 100, "delete_guard_min": 100_000});
        let mut world = World::single(generation).with(keys);
        world.put(pod("web-0", 1));
        world.storage.put_under(CLUSTER, KEY, pod("odd", 1)).unwrap();
        world.start_and_settle();
        world.wait_equal(PATIENCE);
        assert_eq!(full_sync(&world, 0, Fault::Empty), "ok");
        world.wait("what the listing missed is looked after", |world| {
            let status = world.status(CLUSTER);
            status.senders.queued == 0 && status.senders.in_flight == 0
        });
        assert_eq!(world.status(CLUSTER).senders.deleted, 0, "{generation:?}");
        // Another pod follows it in its document, under a name of its own.
        world.storage.put_under(CLUSTER, KEY, pod("heir", 2)).unwrap();
        world.wait("the heir is recorded", |world| world.status(CLUSTER).senders.deleted == 1);
        world.wait_equal(PATIENCE);
        let deletes = |world: &World| world.service.as_ref().unwrap().source().deletes();
        world.wait("it is told", |world| !deletes(world).is_empty());
        let deletes = deletes(&world);
        assert_eq!((deletes[0].name.as_str(), deletes.len()), ("odd", 1), "{generation:?}");
        assert!(world.storage.delete(CLUSTER, KEY.0, KEY.1));
        world.wait("its end is found", |world| world.status(CLUSTER).senders.deleted == 2);
        world.wait_equal(PATIENCE);
        assert_eq!(world.cmdb.records(BIZ).unwrap().len(), 1, "{generation:?}");
        assert_eq!(world.status(CLUSTER).pods.storage, 1, "{generation:?}");
    });
}
