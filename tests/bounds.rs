//! What grows with what (design.md 3, rule 6), by counting: bytes that are allocated, lengths of queues,
//! open sockets. Nothing here looks at a clock.
//!
//! The allocator counts for the whole process, so these tests take turns, in a program of their own.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod peer;
mod world;

use bcs_bkcmdb_synchronizer::convert::Converter;
use bcs_bkcmdb_synchronizer::model::{ClusterKind, Modules, Observation};
use bcs_bkcmdb_synchronizer::plan::{
    EventQueue, Failure, Fingerprinter, Lane, LaneSettings, Ledger, Moment, Order, Source, Step,
};
use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use parking_lot::{Mutex, MutexGuard};
use peak_alloc::PeakAlloc;
use peer::Peer;
use peer::storage::{CLUSTER, client_with, settings};
use serde_json::json;
use std::time::Duration;
use world::cmdb::Fault;
use world::pods::{pod, with};
use world::{PATIENCE, World};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock()
}

/// Bytes that were allocated on top of those before, at the highest point of `work`.
fn peak(work: impl FnOnce()) -> usize {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    work();
    MEMORY.peak_usage().saturating_sub(before)
}

/// Bytes that stay allocated with what `work` returns.
fn kept<T>(work: impl FnOnce() -> T) -> (usize, T) {
    let before = MEMORY.current_usage();
    let result = work();
    (MEMORY.current_usage().saturating_sub(before), result)
}

/// A storage document with an annotation of that many bytes.
fn document(number: usize, padding: usize) -> Vec<u8> {
    let name = format!("web-{number}");
    let data = with(pod(&name, 1), "/metadata/annotations/padding", "x".repeat(padding));
    json!({"_id": format!("{number:024x}"), "namespace": "default", "resourceName": name, "data": data})
        .to_string()
        .into_bytes()
}

/// The observation of that document, as the watch and the listing make it.
fn observation(number: usize, padding: usize) -> Observation {
    let mut modules = Modules::default();
    modules.insert("bkbcs", "bkbcs", 1);
    let converter = Converter::new(ClusterKind::K8s, world::settings());
    converter.document(&document(number, padding), &modules).unwrap()
}

#[test]
fn a_listing_takes_the_memory_of_a_document_and_never_that_of_a_page() {
    let _turn = turn();
    const PAGES: usize = 5;
    const DOCUMENTS: usize = 200;
    let peer = Peer::start(|mut connection| {
        let one = document(7, 100 * KIB);
        while let Some(request) = connection.request() {
            let offset = request.target.split("offset=").nth(1).and_then(|rest| rest.split('&').next());
            let offset: usize = offset.and_then(|offset| offset.parse().ok()).unwrap_or(0);
            connection.begin_stream();
            connection.chunk(r#"{"result":true,"code":0,"message":"","data":["#);
            if offset < PAGES * DOCUMENTS {
                // Each page is another one.
                connection.chunk(offset.to_string());
                (1..DOCUMENTS).for_each(|_| {
                    connection.chunk(",");
                    connection.chunk(&one);
                });
            }
            connection.chunk("]}");
            connection.chunk("");
        }
    });
    let settings = bcs_bkcmdb_synchronizer::storage::Settings { page_size: DOCUMENTS as u32, ..settings() };
    let (client, _) = client_with(&[peer.origin()], settings, None);
    let mut documents = 0;
    let peak = peak(|| {
        let mut listing = client.listing(CLUSTER, ClusterKind::K8s, "data").unwrap();
        while listing.next_page(&mut |_| documents += 1).unwrap().is_some() {}
    });
    // 20 MB a page; the peer in this process holds one document and one chunk of it.
    assert_eq!(documents, PAGES * DOCUMENTS);
    assert!(peak < MIB, "{} KiB", peak / KIB);
}

#[test]
fn a_watch_takes_the_memory_of_an_event_however_many_there_are() {
    let _turn = turn();
    const EVENTS: usize = 200;
    let peer = Peer::start(|mut connection| {
        let value = String::from_utf8(document(7, 100 * KIB)).unwrap();
        let event = format!(r#"{{"type":3,"value":{value}}}"#);
        while connection.request().is_some() {
            connection.begin_stream();
            (0..EVENTS).for_each(|_| {
                connection.chunk(&event);
            });
            connection.chunk("");
        }
    });
    let (client, _) = client_with(&[peer.origin()], settings(), None);
    let mut events = 0;
    let peak = peak(|| {
        let mut stream = client.watch(CLUSTER, ClusterKind::K8s, None).unwrap();
        while let Ok(Some(event)) = stream.next() {
            events += usize::from(event.value.is_some());
        }
    });
    assert_eq!(events, EVENTS);
    assert!(peak < MIB, "{} KiB for 20 MB of events", peak / KIB);
}

#[test]
fn a_pod_takes_a_few_hundred_bytes_of_the_ledger_whatever_its_document_has() {
    let _turn = turn();
    const PODS: usize = 2_000;
    let of = |padding: usize| {
        let (bytes, ledger) = kept(|| {
            let mut ledger = Ledger::new(Fingerprinter::new(1), 2);
            for number in 0..PODS {
                let Observation::Pod(pod) = observation(number, padding) else { panic!("a pod") };
                assert_eq!(ledger.observe(*pod, Source::Listing, None, Moment::ZERO).orders.len(), 1);
            }
            ledger
        });
        assert_eq!(ledger.len(), PODS);
        bytes / PODS
    };
    let (small, large) = (of(0), of(1500));
    assert!(small < 500, "{small} bytes a pod");
    assert!(large <= small + 8, "{large} bytes a pod with a long annotation, {small} without");
}

#[test]
fn the_event_queue_grows_with_pods_and_not_with_events() {
    let _turn = turn();
    const PODS: usize = 500;
    let mut queue = EventQueue::new(PODS);
    let mut round = |pods: usize| {
        for number in 0..pods {
            queue.push(observation(number, 50), Moment::ZERO);
        }
        queue.len()
    };
    let (first, _) = kept(|| round(PODS));
    let (further, _) = kept(|| (0..10).for_each(|_| assert_eq!(round(PODS), PODS)));
    assert!(first < PODS * 4 * KIB, "{} bytes a pod", first / PODS);
    assert!(further < first / 10, "{further} bytes more for ten times the events, {first} before");
    // Beyond its bound it drops what it has: a full sync tells it again.
    let (more, length) = kept(|| round(10 * PODS));
    assert!(length <= PODS && more < first / 10, "{length} pods, {more} bytes more");
}

#[test]
fn jobs_that_wait_for_a_busy_cmdb_keep_few_records() {
    let _turn = turn();
    const PODS: usize = 2_000;
    const RECORDS: usize = 64;
    let mut ledger = Ledger::new(Fingerprinter::new(1), 2);
    let mut orders: Vec<Order> = Vec::new();
    for number in 0..PODS {
        let Observation::Pod(pod) = observation(number, 1500) else { panic!("a pod") };
        orders.extend(ledger.observe(*pod, Source::Event, None, Moment::ZERO).orders);
    }
    let settings = LaneSettings {
        batch: 1,
        recheck_after: Duration::from_secs(30),
        parked_records: RECORDS,
        deletes: true,
    };
    let busy = || Failure::Later { code: -1, message: "busy".to_owned() };
    let (bytes, lane) = kept(|| {
        let mut lane = Lane::new(settings, 3);
        let mut now = Moment::ZERO;
        for order in orders.drain(..) {
            lane.add(order, &ledger);
            // Each is tried once; the lane pauses, and time passes until it goes on.
            loop {
                match lane.next(now, &mut ledger) {
                    Step::Create(uuids) => {
                        lane.created(&uuids, Err(busy()), now, &mut ledger);
                        break;
                    }
                    Step::Wait(Some(at)) => now = now.max(at),
                    Step::PointRead { uuid, .. } => {
                        lane.point_read(
                            &uuid,
                            bcs_bkcmdb_synchronizer::plan::PointRead::Failed("away".to_owned()),
                            now,
                            &mut ledger,
                        );
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        lane
    });
    assert_eq!(lane.len(), PODS);
    // A record of these has 2 KB; the orders that were drained are given back meanwhile.
    assert!(bytes < RECORDS * 4 * KIB + PODS * KIB, "{} bytes a waiting pod", bytes / PODS);
}

/// Threads of this process that send.
fn senders() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let name = |task: std::fs::DirEntry| std::fs::read_to_string(task.path().join("comm")).ok();
    tasks.filter_map(name).filter(|name| name.starts_with("send")).count()
}

#[test]
fn a_shard_has_a_thread_only_while_there_is_work_and_the_next_change_brings_another() {
    let _turn = turn();
    let mut world = World::single(Generation::New);
    world.start_and_settle();
    for version in 1..=3_u64 {
        world.wait("no sender is left without work", |_| senders() == 0);
        world.cmdb.break_next(&["create", "createmany", "update"], Fault::Busy, usize::MAX);
        (0..40).for_each(|number| {
            let changed =
                with(pod(&format!("web-{number}"), version), "/status/podIP", format!("10.1.1.{version}"));
            world.put(changed);
        });
        world.wait("there are senders", |_| (1..=10).contains(&senders()));
        world.cmdb.heal();
        world.wait_equal(PATIENCE);
    }
}

/// Sockets of this process: those of the service and of its peers.
fn sockets() -> usize {
    let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let target = |file: std::fs::DirEntry| std::fs::read_link(file.path()).ok();
    files.filter_map(target).filter(|target| target.to_string_lossy().starts_with("socket:")).count()
}

#[test]
fn queues_stay_within_their_bounds_and_sockets_within_their_number_while_the_cmdb_hangs() {
    let _turn = turn();
    const SHARDS: usize = 2;
    const BATCH: usize = 5;
    const EVENTS: usize = 100;
    const PODS: usize = 300;
    let mut world = World::single(Generation::New).with(json!({"senders_per_cluster": SHARDS,
        "cmdb_batch_size": BATCH, "event_queue_length": EVENTS, "cmdb_timeout": 1}));
    world.start_and_settle();
    let mut before = None;
    for round in 0..3_u64 {
        world.cmdb.break_next(&["create", "createmany", "update"], Fault::Hang, usize::MAX);
        for number in 0..PODS {
            let changed =
                with(pod(&format!("web-{number}"), round + 1), "/status/podIP", format!("10.1.{round}.1"));
            world.put(changed);
        }
        world.wait("the failure shows", |world| !world.last_error().is_empty());
        for _ in 0..50 {
            let status = world.status(world::CLUSTER);
            // What a shard has on its way and at work: two batches each, and one turn of the gate.
            let bound = SHARDS * 4 * BATCH + 256 + PARKED;
            assert!(status.senders.queued <= bound, "{} orders, {bound} allowed", status.senders.queued);
            assert!(status.watch.queued <= EVENTS, "{} events", status.watch.queued);
            std::thread::sleep(Duration::from_millis(10));
        }
        world.cmdb.heal();
        world.wait_equal(PATIENCE);
        world.wait("all is quiet", |world| world.status(world::CLUSTER).senders.queued == 0);
        // Connections that wait to be used again: at most one for each thread that speaks. What hung is
        // closed a moment later.
        let first = *before.get_or_insert_with(sockets);
        world.wait(&format!("no more than {first} sockets and a few, round {round}"), |_| {
            sockets() <= first + 2 * SHARDS
        });
    }
}

/// Jobs that were tried and wait: at most those of a lane's pause.
const PARKED: usize = 200;
