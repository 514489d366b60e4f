//! Peers that die, hang, refuse or lie: nothing is lost, nothing is deleted without proof, the
//! status says what is wrong, and both sides are equal again soon after it is over.
//! (design.md 3, rules 1, 4 and 8.)

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod world;

use bcs_bkcmdb_synchronizer::sandbox::storage::{
    Behaviour, Call, EVERY, Fault as StorageFault, Generation, StreamEnd,
};
use bcs_bkcmdb_synchronizer::sync::snapshot::{ClusterState, Control};
use crossbeam::channel::bounded;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use world::cmdb::Fault;
use world::pods::{phase, pod};
use world::{BIZ, CLUSTER, CONVERGES, ClusterSetup, PATIENCE, World, at_once};

const BOTH: [Generation; 2] = [Generation::Old, Generation::New];

/// Creates, changes and deletes, `rounds` times over a few dozen pods.
fn churn(world: &World, rng: &mut fastrand::Rng, rounds: u64, version: &mut u64) {
    for _ in 0..rounds {
        *version += 1;
        let name = format!("web-{}", rng.u8(..40));
        match rng.u8(..4) {
            0 => drop(world.storage.delete(CLUSTER, world::pods::NAMESPACE, &name)),
            1 => world.put(pod(&name, *version)),
            _ => world.put(phase(pod(&name, *version), ["Pending", "Running", "Failed"][rng.usize(..3)])),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Victim {
    Cmdb,
    Storage,
    Both,
}

#[track_caller]
fn check_restart(victim: Victim, generation: Generation) {
    let mut world = World::single(generation);
    let (mut rng, mut version) = (fastrand::Rng::with_seed(3), 0);
    churn(&world, &mut rng, 60, &mut version);
    world.start_and_follow();
    churn(&world, &mut rng, 60, &mut version);
    if victim != Victim::Storage {
        world.cmdb.kill();
    }
    if victim != Victim::Cmdb {
        world.kill_storage();
    }
    churn(&world, &mut rng, 60, &mut version);
    world.wait("the failure shows", |world| {
        world.status(CLUSTER).state == ClusterState::Degraded && world.last_error().contains("127.0.0.1")
    });
    churn(&world, &mut rng, 60, &mut version);
    if victim != Victim::Storage {
        world.cmdb.restart();
    }
    if victim != Victim::Cmdb {
        world.restart_storage();
    }
    churn(&world, &mut rng, 60, &mut version);
    world.wait_equal(CONVERGES);
    world.wait_live();
}

#[test]
fn a_cmdb_that_dies_in_the_middle_of_churn_is_caught_up_with() {
    at_once(BOTH, |generation| check_restart(Victim::Cmdb, generation));
}

#[test]
fn a_storage_that_dies_in_the_middle_of_churn_is_caught_up_with() {
    at_once(BOTH, |generation| check_restart(Victim::Storage, generation));
}

#[test]
fn both_dying_in_the_middle_of_churn_are_caught_up_with() {
    at_once(BOTH, |generation| check_restart(Victim::Both, generation));
}

/// A CMDB that answers so for a while: shown with `words`, then caught up with.
#[track_caller]
fn check_cmdb(fault: Fault, words: &str) {
    let mut world = World::single(Generation::New).with(json!({"cmdb_timeout": 1}));
    (0..30).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.start_and_settle();
    world.cmdb.break_all(fault);
    for number in 0..30 {
        world.put(phase(pod(&format!("web-{number}"), 2), "Failed"));
    }
    world.delete("web-0");
    world.put(pod("new", 1));
    world.wait("the failure shows", |world| {
        world.status(CLUSTER).state == ClusterState::Degraded && world.last_error().contains(words)
    });
    assert!(!world.verdict().unwrap().is_equal());
    world.cmdb.heal();
    world.wait_equal(CONVERGES);
    world.wait_live();
}

#[test]
fn a_cmdb_that_answers_anything_else_than_its_protocol_is_retried() {
    let cases = [
        (Fault::Error500, "500"),
        (Fault::Html, "not an answer of the CMDB"),
        (Fault::Empty, "empty"),
        (Fault::Busy, "system busy"),
        (Fault::Hang, "1 s"),
    ];
    at_once(cases, |(fault, words)| check_cmdb(fault, words));
}

#[test]
fn answers_that_are_lost_after_the_write_lead_to_no_duplicate_and_no_loss() {
    let mut world = World::single(Generation::Old);
    (0..40).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.cmdb.break_next(&["create", "createmany"], Fault::LoseAnswer, 4);
    world.start();
    world.wait_equal(CONVERGES);
    world.cmdb.break_next(&["update", "delete"], Fault::LoseAnswer, 20);
    for number in 0..20 {
        world.put(phase(pod(&format!("web-{number}"), 2), "Failed"));
    }
    (20..30).for_each(|number| world.delete(&format!("web-{number}")));
    world.wait_equal(CONVERGES);
    assert_eq!(world.rejected(CLUSTER), []);
}

#[test]
fn a_cmdb_that_is_down_at_the_start_delays_the_first_full_sync_only() {
    let mut world = World::single(Generation::Old);
    world.put(pod("web-0", 1));
    world.cmdb.kill();
    world.start();
    world.wait("the failure shows", |world| world.last_error().contains("cannot connect"));
    assert!(world.service.as_ref().unwrap().source().health().ok);
    world.cmdb.restart();
    world.wait_equal(CONVERGES);
}

/// A storage that answers so to every call: nothing is deleted, it shows, then all is well.
#[track_caller]
fn check_storage(call: Call, fault: StorageFault, words: &str) {
    let mut world = World::single(Generation::Old)
        .with(json!({"storage_timeout": 1, "delete_guard_percent": 100, "delete_guard_min": 1000}));
    (0..20).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.start_and_settle();
    world.storage.faults().set(EVERY, call, fault);
    world.storage.faults().end_streams(EVERY, StreamEnd::Cut);
    world.put(pod("new", 1));
    world.delete("web-0");
    let full_syncs = world.status(CLUSTER).full_sync.count;
    world.wait("full syncs were tried", |world| {
        world.status(CLUSTER).full_sync.count > full_syncs && world.last_error().contains(words)
    });
    assert_eq!(world.status(CLUSTER).senders.deleted, 0);
    assert_eq!(world.cmdb.records(BIZ).unwrap().len(), 20);
    world.storage.faults().clear();
    world.storage.faults().end_streams(EVERY, StreamEnd::Cut);
    world.wait_equal(CONVERGES);
    world.wait_live();
}

#[test]
fn a_storage_that_answers_anything_else_than_its_protocol_deletes_nothing() {
    let cases = [
        (Call::Any, StorageFault::Refuse, "refused"),
        (Call::Any, StorageFault::Error500, "HTTP 500"),
        (Call::Any, StorageFault::Html, "127.0.0.1"),
        (Call::List, StorageFault::Truncated, "full sync"),
        (Call::Any, StorageFault::DataNull, "127.0.0.1"),
        (Call::Any, StorageFault::DataObject, "127.0.0.1"),
        (Call::Any, StorageFault::Close, "broke"),
        (Call::Any, StorageFault::Hang, "1 s"),
    ];
    at_once(cases, |(call, fault, words)| check_storage(call, fault, words));
}

#[test]
fn an_empty_listing_by_error_deletes_nothing() {
    let mut world =
        World::single(Generation::New).with(json!({"delete_guard_percent": 100, "delete_guard_min": 1000}));
    (0..20).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.start_and_settle();
    let reads = world.storage.counters().get;
    world.storage.faults().next(CLUSTER, Call::List, StorageFault::Empty, 1);
    world.control(Control::Sync);
    world.wait("every pod was read by its name", |world| world.storage.counters().get >= reads + 20);
    world.wait_equal(PATIENCE);
    assert_eq!(world.status(CLUSTER).senders.deleted, 0);
}

#[test]
fn deletes_above_the_guard_wait_for_an_approval() {
    let mut world = World::single(Generation::Old);
    (0..80).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.start_and_settle();
    world.stop();
    (0..60).for_each(|number| world.delete(&format!("web-{number}")));
    world.start();
    world.wait("60 deletes are held back", |world| {
        let full_sync = world.status(CLUSTER).full_sync;
        (full_sync.last_outcome, full_sync.held_back_deletes) == ("held_back", 60)
    });
    world.wait_live();
    assert_eq!(world.cmdb.records(BIZ).unwrap().len(), 80);
    // One of them came back since the operator looked.
    world.put(pod("web-0", 1));
    world.control(Control::ApproveDeletes);
    world.wait_equal(PATIENCE);
    assert_eq!(world.cmdb.records(BIZ).unwrap().len(), 21);
    world.wait("nothing is held back", |world| world.status(CLUSTER).full_sync.held_back_deletes == 0);
}

#[test]
fn a_mute_watch_is_found_and_renewed() {
    let mut world = World::single(Generation::Old).with_timings(|timings| {
        timings.mute_grace = Duration::from_secs(1);
        // For so long it is said.
        timings.mute_interval = Duration::from_secs(10);
    });
    world.put(pod("web-0", 1));
    world.start_and_settle();
    world.storage.faults().mute(CLUSTER);
    world.put(phase(pod("web-0", 2), "Failed"));
    world.put(pod("web-1", 1));
    world.control(Control::Sync);
    world.wait("the watch is found mute", |world| world.status(CLUSTER).watch.missed >= 2);
    world.wait("the watch is renewed", |world| world.status(CLUSTER).watch.reconnects >= 1);
    world.wait("it is said", |world| world.last_error().contains("did not deliver"));
    world.storage.faults().clear();
    world.wait_equal(PATIENCE);
    world.wait_live();
    assert_eq!(world.last_error(), "");
}

#[test]
fn a_watch_that_is_mute_about_a_delete_is_found() {
    let mut world =
        World::single(Generation::New).with_timings(|timings| timings.mute_grace = Duration::from_secs(1));
    world.put(pod("web-0", 1));
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    world.storage.faults().mute(CLUSTER);
    world.delete("web-0");
    world.control(Control::Sync);
    world.wait("the watch is found mute", |world| world.status(CLUSTER).watch.missed == 1);
    world.wait_equal(PATIENCE);
}

#[test]
fn a_write_that_lands_after_it_was_given_up_does_not_undo_what_came_later() {
    // Between the first look at what became of it and the last one.
    const TIMEOUT: u64 = 8;
    let mut world = World::single(Generation::Old).with(json!({"cmdb_timeout": TIMEOUT}));
    world.put(pod("web-0", 1));
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    // The one that looks for what a former owner left on its way would find it too.
    let settled = Instant::now();
    world.wait("that one is due", |_| settled.elapsed() > Duration::from_secs(TIMEOUT));
    let before = world.status(CLUSTER).full_sync.count;
    world.control(Control::Sync);
    world.wait("the full sync after the takeover", |world| world.status(CLUSTER).full_sync.count > before);
    // The first update is on its way until it was given up and looked for, and a full sync has seen nothing
    // of it.
    let ((look, looked), (land, lands_now)) = (bounded::<()>(1), bounded::<()>(1));
    let held = AtomicUsize::new(0);
    let landed = Arc::new(AtomicBool::new(false));
    let lands = Arc::clone(&landed);
    world.cmdb.set_witness(Arc::new(move |call, pass_on| {
        let first = call.operation == "update" && held.fetch_add(1, SeqCst) == 0;
        if first {
            let _ = lands_now.recv();
        }
        let answer = pass_on();
        lands.fetch_or(first, SeqCst);
        if call.operation == "findmany" && call.body.to_string().contains("uid-web-0") {
            let _ = look.try_send(());
        }
        answer
    }));
    world.put(phase(pod("web-0", 2), "Failed"));
    world.cmdb.wait_for_call("update");
    world.put(pod("web-0", 3));
    world.wait("it is looked for", |_| looked.try_recv().is_ok());
    let before = world.status(CLUSTER).full_sync.count;
    world.control(Control::Sync);
    world.wait("a further full sync", |world| world.status(CLUSTER).full_sync.count > before);
    land.send(()).unwrap();
    world.wait("it lands", |_| landed.load(SeqCst));
    world.wait_equal(PATIENCE);
}

#[test]
fn a_renewed_watch_that_delivers_a_little_late_is_believed_again() {
    let mut world = World::single(Generation::Old).with_timings(|timings| {
        // It is late by less than the grace, and the test by less than the interval.
        timings.mute_grace = Duration::from_secs(10);
        timings.mute_interval = Duration::from_secs(10);
    });
    world.put(pod("web-0", 1));
    world.start_and_settle();
    let before = world.status(CLUSTER).full_sync.count + 1;
    world.storage.faults().mute(CLUSTER);
    world.put(pod("web-1", 1));
    world.control(Control::Sync);
    world.wait("the watch is found mute", |world| world.last_error().contains("did not deliver"));
    world.wait("the renewed one is settled", |world| world.status(CLUSTER).full_sync.count == before + 2);
    world.put(pod("web-2", 1));
    world.wait("its check is over", |world| world.status(CLUSTER).full_sync.count == before + 3);
    assert!(world.last_error().contains("did not deliver"));
    world.storage.faults().clear();
    world.put(phase(pod("web-2", 2), "Failed"));
    world.wait_live();
    world.wait_equal(PATIENCE);
    assert_eq!((world.last_error().as_str(), world.status(CLUSTER).watch.missed), ("", 1));
}

#[test]
fn a_watch_that_delivers_is_never_suspected() {
    let mut world =
        World::single(Generation::New).with_timings(|timings| timings.mute_grace = Duration::from_secs(20));
    let (mut rng, mut version) = (fastrand::Rng::with_seed(5), 0);
    world.start_and_settle();
    for count in 3..9 {
        churn(&world, &mut rng, 60, &mut version);
        world.control(Control::Sync);
        world.wait("a further full sync", |world| world.status(CLUSTER).full_sync.count >= count);
    }
    // A stream delivers in order: with this one all of it was delivered.
    world.put(pod("last", 1));
    world.wait_equal(PATIENCE);
    assert_eq!(world.status(CLUSTER).watch.missed, 0);
    assert_eq!(world.status(CLUSTER).watch.reconnects, 0);
    // The one change that is held back now is the one that it is suspected of.
    world.storage.faults().mute(CLUSTER);
    world.put(pod("unheard-of", 1));
    world.control(Control::Sync);
    world.wait("it is found mute", |world| world.status(CLUSTER).watch.missed > 0);
    assert_eq!(world.status(CLUSTER).watch.missed, 1);
}

#[test]
fn events_that_do_not_fit_turn_into_a_full_sync() {
    let mut world = World::single(Generation::Old)
        .with(json!({"event_queue_length": 5, "senders_per_cluster": 1, "cmdb_batch_size": 1}))
        .with_timings(|timings| timings.overflow_spacing = Duration::from_secs(1));
    world.start_and_settle();
    let full_syncs = world.status(CLUSTER).full_sync.count;
    // The CMDB takes its time; it does not fail, which would ask for a full sync of its own.
    let (answer, wait) = bounded::<()>(0);
    world.cmdb.set_witness(Arc::new(move |_, pass_on| {
        let _ = wait.recv();
        pass_on()
    }));
    (0..60).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.wait("all events came", |world| world.status(CLUSTER).watch.events.add == 60);
    drop(answer);
    world.wait_equal(PATIENCE);
    world.wait("a full sync", |world| world.status(CLUSTER).full_sync.count > full_syncs);
    assert_eq!(world.status(CLUSTER).senders.retries, 0);
}

#[test]
fn a_storage_stream_that_keeps_ending_loses_no_change() {
    let mut world = World::single(Generation::New);
    let (mut rng, mut version) = (fastrand::Rng::with_seed(9), 0);
    // No settle sync is left that would find what was lost.
    world.start_and_settle();
    for end in [StreamEnd::Break, StreamEnd::Cut, StreamEnd::Break, StreamEnd::Cut] {
        churn(&world, &mut rng, 30, &mut version);
        world.storage.faults().end_streams(EVERY, end);
        churn(&world, &mut rng, 30, &mut version);
    }
    world.wait_equal(CONVERGES);
}

#[test]
fn what_an_ended_stream_told_is_dropped_when_the_next_one_is_open() {
    let mut world = World::single(Generation::Old);
    world.put(pod("web-0", 1));
    world.start_and_settle();
    world.control(Control::Pause);
    world.put(phase(pod("web-0", 2), "Failed"));
    world.wait("the event waits", |world| world.status(CLUSTER).watch.queued == 1);
    world.storage.faults().end_streams(EVERY, StreamEnd::Cut);
    world.wait("the next one is open", |world| {
        let watch = world.status(CLUSTER).watch;
        watch.connected && watch.reconnects == 1
    });
    world.wait("the event is dropped", |world| world.status(CLUSTER).watch.queued == 0);
    world.control(Control::Resume);
    world.wait_equal(PATIENCE);
}

#[test]
fn the_first_full_sync_of_a_stream_waits_for_its_subscription() {
    const DELAY: Duration = Duration::from_millis(400);
    let late = Behaviour { subscription_delay: DELAY, ..Behaviour::of(Generation::Old) };
    let setup = ClusterSetup { behaviour: late, ..ClusterSetup::new(CLUSTER, Generation::Old) };
    // No other full sync comes in time.
    let world = World::new(vec![setup]);
    let mut world = world.with_timings(|timings| timings.settle = Duration::from_secs(3600));
    let (list, listed) = bounded(1);
    world.cmdb.set_witness(Arc::new(move |call, pass_on| {
        if call.operation == "findmany" {
            let _ = list.try_send(Instant::now());
        }
        pass_on()
    }));
    let started = Instant::now();
    world.start();
    world.wait("the first full sync", |world| world.status(CLUSTER).full_sync.count == 1);
    // However slow the machine is, it is not too early.
    assert!(listed.recv().unwrap() - started >= DELAY);
    world.wait("the subscription", |world| world.storage.counters().open_watches == 1);
    world.put(pod("web-0", 1));
    world.wait_equal(PATIENCE);
}
