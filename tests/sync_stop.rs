//! Stopping, pausing, and changing whose cluster it is. (design.md 4, interface.md 1 and 3.)

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod world;

use bcs_bkcmdb_synchronizer::front::Response;
use bcs_bkcmdb_synchronizer::sandbox::storage::{Call, EVERY, Fault as StorageFault, Generation, StreamEnd};
use bcs_bkcmdb_synchronizer::sync::snapshot::{ClusterState, Control, ControlOutcome};
use crossbeam::channel::bounded;
use serde_json::json;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;
use world::cmdb::Fault;
use world::pods::{phase, pod};
use world::{BIZ, CLUSTER, ClusterSetup, PATIENCE, World};

/// A cluster whose service would wait far longer than anybody has patience, if it waited for a peer or
/// for its grace.
fn patient() -> World {
    World::single(Generation::Old).with(json!({"storage_timeout": 120, "shutdown_grace": 120}))
}

/// It waits for nobody: on the busiest machine it stops before anything that it could wait for is over.
#[track_caller]
fn check_stop(world: &mut World) {
    let started = Instant::now();
    world.stop();
    let took = started.elapsed();
    assert!(took < PATIENCE, "{took:?}");
}

#[test]
fn an_idle_service_stops_promptly() {
    let mut world = patient();
    world.put(pod("web-0", 1));
    world.start_and_settle();
    check_stop(&mut world);
    world.wait_within("the stream is closed", PATIENCE, |world| world.storage.counters().open_watches == 0);
}

#[test]
fn a_service_whose_peers_are_down_stops_promptly() {
    let mut world = patient();
    world.kill_storage();
    world.cmdb.kill();
    world.start();
    world.wait("the failure shows", |world| world.status(CLUSTER).state == ClusterState::Degraded);
    check_stop(&mut world);
}

#[test]
fn a_service_that_waits_for_a_hanging_storage_stops_promptly() {
    for call in [Call::List, Call::Watch, Call::Get] {
        let mut world = patient();
        world.put(pod("web-0", 1));
        world.start_and_settle();
        world.storage.faults().set(EVERY, call, StorageFault::Hang);
        let asked = |world: &World| {
            let counters = world.storage.counters();
            match call {
                Call::List => counters.list,
                Call::Watch => counters.watch,
                _ => counters.get,
            }
        };
        let before = asked(&world);
        match call {
            Call::List => world.control(Control::Sync),
            Call::Watch => world.storage.faults().end_streams(EVERY, StreamEnd::Cut),
            _ => world.delete("web-0"),
        }
        world.wait("it was asked", |world| asked(world) > before);
        check_stop(&mut world);
    }
}

#[test]
fn queued_writes_are_finished_before_the_service_ends() {
    let mut world = World::single(Generation::Old);
    world.start_and_settle();
    for number in 0..50 {
        world.put(pod(&format!("web-{number}"), 1));
    }
    world.wait("all events came", |world| world.status(CLUSTER).watch.events.add == 50);
    world.wait("they are handed over", |world| {
        let status = world.status(CLUSTER);
        status.pods.storage == 50
    });
    world.stop();
    world.wait_equal(PATIENCE);
}

/// The program itself; killed when dropped.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_program_ends_with_zero_after_a_signal_to_terminate() {
    for signal in ["-TERM", "-INT"] {
        let world = World::single(Generation::New);
        (0..20).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
        let child = Command::new(env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer"))
            .arg("-f")
            .arg(world.config_file())
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut program = Program(child);
        world.wait_equal(PATIENCE);
        let pid = program.0.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
        let mut code = None;
        world.wait("the program ends", |_| {
            code = program.0.try_wait().unwrap();
            code.is_some()
        });
        assert_eq!(code.unwrap().code(), Some(0), "{signal}");
    }
}

#[test]
fn a_program_whose_port_is_taken_ends_with_one() {
    let taken = world::listen();
    let world = World::single(Generation::New).with(json!({"port": taken.local_addr().unwrap().port()}));
    let output = Command::new(env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer"))
        .arg("-f")
        .arg(world.config_file())
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("port: cannot listen on 127.0.0.1"), "{words}");
}

#[test]
fn a_paused_cluster_writes_nothing_and_catches_up_when_resumed() {
    let mut world = World::single(Generation::New);
    world.put(pod("web-0", 1));
    world.put(pod("web-1", 1));
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    world.control(Control::Pause);
    world.wait("it is paused", |world| world.status(CLUSTER).state == ClusterState::Paused);
    let writes = world.cmdb.writes().len();
    world.put(phase(pod("web-0", 2), "Failed"));
    world.put(pod("web-2", 1));
    world.delete("web-1");
    world.wait("the events came", |world| {
        let events = world.status(CLUSTER).watch.events;
        events.add + events.change + events.delete >= 3
    });
    world.control(Control::Sync);
    assert_eq!(world.cmdb.writes().len(), writes);
    world.control(Control::Resume);
    world.wait_equal(PATIENCE);
    assert!(world.cmdb.writes().len() > writes);
}

/// So many looks of a thread that sleeps between them are enough to see that another one sleeps as well.
const LOOKS: u64 = 5;

/// How often the thread of that name has gone to sleep.
fn sleeps(name: &str) -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let status = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("status")).ok();
    let thread = tasks.filter_map(status).find(|status| status.starts_with(&format!("Name:\t{name}\n")));
    let thread = thread.expect("the thread lives");
    let count = thread.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
    count.unwrap().trim().parse().unwrap()
}

#[test]
fn a_gate_that_is_held_sleeps_although_events_wait() {
    let id = "HELD-1";
    let mut world = World::new(vec![ClusterSetup::new(id, Generation::Old)]);
    world.start_and_settle();
    let control = |control| world.service.as_ref().unwrap().source().control(id, control);
    assert_eq!(control(Control::Pause), ControlOutcome::Accepted);
    world.storage.put(id, pod("web-0", 1)).unwrap();
    world.wait("the event waits", |world| world.status(id).watch.queued == 1);
    // The thread of the full syncs, which has something to do, looks twice a second whether it may.
    assert_eq!(control(Control::Sync), ControlOutcome::Accepted);
    let (gate, full) = (sleeps("gate HELD-1"), sleeps("full HELD-1"));
    world.wait("looks of another thread", |_| sleeps("full HELD-1") >= full + LOOKS);
    let (slept, looked) = (sleeps("gate HELD-1") - gate, sleeps("full HELD-1") - full);
    assert!(slept <= looked, "{slept} times, the other one {looked} times");
    assert_eq!(control(Control::Resume), ControlOutcome::Accepted);
    world.wait_equal(PATIENCE);
}

#[test]
fn a_cluster_that_changes_its_business_leaves_nothing_in_the_old_one() {
    let mut world = World::single(Generation::Old);
    (0..10).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    // What is not the cluster's stays.
    let foreign = json!({"bk_module_id": 201, "bk_cloud_id": 0, "bk_host_innerip": "10.9.9.9",
        "bk_pod_name": "other", "bk_pod_namespace": "default", "bk_pod_cluster": "BCS-K8S-00777",
        "bk_pod_uuid": "other", "bk_pod_workloadtype": "Pod", "bk_pod_workloadname": "other"});
    world.cmdb.create(BIZ, foreign);
    world.clusters[0].biz = 3;
    world.write_tasks();
    world.wait("the old business has nothing of it", |world| {
        world.status(CLUSTER).bk_biz_id == 3 && world.cmdb.records(BIZ).unwrap().len() == 1
    });
    world.wait("the new one has all", |world| world.cmdb.records(3).unwrap().len() == 10);
    assert_eq!(world.rejected(CLUSTER), []);
}

#[test]
fn an_old_business_that_deletes_nothing_is_asked_a_few_times_and_shown() {
    let mut world = World::single(Generation::Old);
    world.start_and_settle();
    world.cmdb.create(
        BIZ,
        json!({"bk_module_id": 201, "bk_cloud_id": 0, "bk_host_innerip": "10.9.9.9", "bk_pod_name": "old",
            "bk_pod_namespace": "default", "bk_pod_cluster": CLUSTER, "bk_pod_uuid": "old",
            "bk_pod_workloadtype": "Pod", "bk_pod_workloadname": "old"}),
    );
    let nothing = json!({"result": true, "bk_error_code": 0, "bk_error_msg": "", "permission": null,
        "data": {"deleted_count": 0}});
    world.cmdb.set_witness(Arc::new(move |call, pass_on| match call.operation.as_str() {
        "delete" => Response::json(200, &nothing),
        _ => pass_on(),
    }));
    world.clusters[0].biz = 3;
    world.write_tasks();
    world.wait("it is said", |world| world.last_error().contains("a delete of them finds none"));
    let deletes = world.cmdb.writes().iter().filter(|call| call.operation == "delete").count();
    assert!((1..10).contains(&deletes), "{deletes} deletes");
    assert_eq!(world.status(CLUSTER).senders.deleted, 0);
    world.cmdb.set_witness(Arc::new(|_, pass_on| pass_on()));
    world.control(Control::Sync);
    world.wait("the old business is clean", |world| world.cmdb.records(BIZ).unwrap().is_empty());
    world.wait_live();
}

#[test]
fn a_pause_stops_the_clean_up_of_an_old_business() {
    // The thread that cleans up reads the topology once it is through.
    let mut world = World::single(Generation::Old).with(json!({"modules_refresh_interval": 10}));
    world.start_and_settle();
    (0..5).for_each(|number| {
        world.cmdb.create(
            BIZ,
            json!({"bk_module_id": 201, "bk_cloud_id": 0, "bk_host_innerip": "10.9.9.9",
                "bk_pod_name": format!("old-{number}"), "bk_pod_namespace": "default", "bk_pod_cluster": CLUSTER,
                "bk_pod_uuid": format!("old-{number}"), "bk_pod_workloadtype": "Pod", "bk_pod_workloadname": "old"}),
        );
    });
    let (answer, wait) = bounded::<()>(0);
    world.cmdb.set_witness(Arc::new(move |call, pass_on| {
        if call.operation == "delete" {
            let _ = wait.recv();
        }
        pass_on()
    }));
    world.clusters[0].biz = 3;
    world.write_tasks();
    world.cmdb.wait_for_call("delete");
    world.control(Control::Pause);
    let topologies = |world: &World| world.cmdb.counts()["find"];
    let before = topologies(&world);
    drop(answer);
    world.wait("its thread goes on to something else", |world| topologies(world) > before);
    assert_eq!((world.cmdb.counts()["delete"], world.cmdb.records(BIZ).unwrap().len()), (1, 4));
    world.control(Control::Resume);
    world.wait("the old business is clean", |world| world.cmdb.records(BIZ).unwrap().is_empty());
    world.wait_equal(PATIENCE);
}

#[test]
fn a_cluster_that_left_keeps_its_records_and_is_followed_no_more() {
    let mut world = World::single(Generation::Old);
    world.put(pod("web-0", 1));
    world.start_and_settle();
    world.wait_equal(PATIENCE);
    let cluster = std::mem::take(&mut world.clusters);
    world.write_tasks();
    world.wait("it is gone", |world| world.try_status(CLUSTER).is_none());
    world.delete("web-0");
    world.clusters = cluster;
    assert_eq!(world.cmdb.records(BIZ).unwrap().len(), 1);
    world.write_tasks();
    world.wait_equal(PATIENCE);
}

#[test]
fn a_write_on_the_wire_does_not_hold_a_stop_beyond_the_grace() {
    let mut world = World::single(Generation::Old).with(json!({"shutdown_grace": 0}));
    world.start_and_settle();
    world.cmdb.break_all(Fault::Hang);
    world.put(pod("web-0", 1));
    world.cmdb.wait_for_call("create");
    check_stop(&mut world);
}
