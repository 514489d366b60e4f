//! First full syncs, full syncs of what did not change, and the idle state after them.

use super::cmdb::Cmdb;
use super::program::{Program, Usage};
use super::report::Reach::{AtLeast, AtMost, Told};
use super::report::{Figure, Section};
use super::storage::Storage;
use super::writers;
use serde_json::json;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const DELAY: Duration = Duration::from_millis(20);
const MIB: f64 = 1_048_576.0;
/// Watches and settle syncs are over; what follows is the idle state.
const CALM: Duration = Duration::from_secs(3);

/// 10,000 pods in one cluster, beside ten one-by-one writers.
pub fn one_cluster(short: bool) -> Section {
    let pods = if short { 2_000 } else { 10_000 };
    let (_storage, storage_address) = Storage::start(1, pods);
    let (cmdb, address) = Cmdb::start(DELAY);
    let program = Program::start(storage_address, address, 1, &json!({}));
    program.wait("a full CMDB", || cmdb.len() == pods as usize);
    let wall = seconds_since_first_request(&cmdb);
    let (calls, connections) = (cmdb.create_calls.load(Relaxed), cmdb.connections.load(Relaxed));
    let usage = program.usage();
    drop(program);

    let plain = writers::one_by_one(pods / if short { 10 } else { 1 }, DELAY);
    let theirs = plain.as_secs_f64() * if short { 10.0 } else { 1.0 };
    Section {
        title: format!("First full sync, {pods} pods, one cluster, CMDB 20 ms"),
        figures: vec![
            Figure::new("after the first request", wall, "s", AtMost(1.0)),
            Figure::new("create calls", calls as f64, "", AtMost(110.0)),
            Figure::new("connections", connections as f64, "", AtMost(12.0)),
            Figure::new("time on a core", usage.cpu.as_secs_f64(), "s", Told),
            Figure::new("peak memory", usage.peak as f64 / MIB, "MiB", Told),
            Figure::new("ten one-by-one writers without keep-alive, same run", theirs, "s", Told),
            Figure::new("they take as many times as long", theirs / wall, "×", Told),
        ],
    }
}

/// 100,000 pods in 200 clusters: the first sync, one of what did not change, and idleness.
pub fn fleet(short: bool) -> Vec<Section> {
    let (clusters, pods) = if short { (40, 250) } else { (200, 500) };
    let total = clusters * pods;
    let (_storage, storage_address) = Storage::start(clusters, pods);
    let (cmdb, address) = Cmdb::start(DELAY);
    let program = Program::start(storage_address, address, clusters, &json!({}));
    program.wait("a full CMDB", || cmdb.len() == total as usize);
    let wall = seconds_since_first_request(&cmdb);
    let first = program.usage();
    let calls = cmdb.create_calls.load(Relaxed);
    program.wait_until_live(clusters);
    let first_section = Section {
        title: format!("First full sync, {total} pods in {clusters} clusters of ten senders, CMDB 20 ms"),
        figures: vec![
            Figure::new("after the first request", wall, "s", AtMost(12.0)),
            Figure::new("time on a core", first.cpu.as_secs_f64(), "s", AtMost(12.0)),
            Figure::new("peak memory", first.peak as f64 / MIB, "MiB", AtMost(250.0)),
            Figure::new("create calls", calls as f64, "", Told),
            Figure::new("connections", cmdb.connections.load(Relaxed) as f64, "", Told),
            Figure::new("threads", first.threads as f64, "", Told),
        ],
    };
    vec![first_section, unchanged(&program, &cmdb, clusters, total), idle(&program, clusters, total, short)]
}

fn unchanged(program: &Program, cmdb: &Cmdb, clusters: u32, total: u32) -> Section {
    std::thread::sleep(CALM);
    let (writes, before) = (cmdb.writes.load(Relaxed), program.usage());
    program.reset_peak();
    let start = Instant::now();
    program.full_sync(clusters);
    let wall = start.elapsed().as_secs_f64();
    let after = program.usage();
    Section {
        title: format!("Full sync of {total} unchanged pods in {clusters} clusters"),
        figures: vec![
            Figure::new("writes", (cmdb.writes.load(Relaxed) - writes) as f64, "", AtMost(0.0)),
            Figure::new("time on a core", (after.cpu - before.cpu).as_secs_f64(), "s", AtMost(3.0)),
            Figure::new("peak memory", after.peak as f64 / MIB, "MiB", AtMost(200.0)),
            Figure::new("duration", wall, "s", Told),
        ],
    }
}

fn idle(program: &Program, clusters: u32, total: u32, short: bool) -> Section {
    std::thread::sleep(CALM);
    let time = Duration::from_secs(if short { 5 } else { 30 });
    let before = program.usage();
    std::thread::sleep(time);
    let Usage { cpu, resident, threads, .. } = program.usage();
    let share = (cpu - before.cpu).as_secs_f64() / time.as_secs_f64() * 100.0;
    Section {
        title: format!("Idle, {total} pods in {clusters} clusters"),
        figures: vec![
            Figure::new("memory", resident as f64 / MIB, "MiB", AtMost(150.0)),
            Figure::new("share of a core", share, "%", AtMost(1.0)),
            Figure::new("threads", threads as f64, "", Told),
        ],
    }
}

/// Many clusters with few pods each: what a cluster costs by itself.
pub fn many_clusters(short: bool) -> Section {
    let (clusters, pods) = if short { (100, 10) } else { (1_000, 10) };
    let total = clusters * pods;
    let (storage, storage_address) = Storage::start(clusters, pods);
    let (cmdb, address) = Cmdb::start(DELAY);
    let program = Program::start(storage_address, address, clusters, &json!({"senders_per_cluster": 4}));
    program.wait("a full CMDB", || cmdb.len() == total as usize);
    let wall = seconds_since_first_request(&cmdb);
    let live = program.wait_until_live(clusters);
    std::thread::sleep(CALM);
    let time = Duration::from_secs(if short { 5 } else { 20 });
    let before = program.usage();
    std::thread::sleep(time);
    let usage = program.usage();
    let share = (usage.cpu - before.cpu).as_secs_f64() / time.as_secs_f64() * 100.0;
    Section {
        title: format!("{clusters} clusters of {pods} pods, 4 senders each"),
        figures: vec![
            Figure::new("all recorded after the first request", wall, "s", Told),
            Figure::new("clusters live", f64::from(live), "", AtLeast(f64::from(clusters))),
            Figure::new("watches open", storage.watches() as f64, "", AtLeast(f64::from(clusters))),
            Figure::new("time on a core until live", before.cpu.as_secs_f64(), "s", Told),
            Figure::new("peak memory", usage.peak as f64 / MIB, "MiB", Told),
            Figure::new("memory when idle", usage.resident as f64 / MIB, "MiB", Told),
            Figure::new("share of a core when idle", share, "%", Told),
            Figure::new("threads", usage.threads as f64, "", Told),
        ],
    }
}

fn seconds_since_first_request(cmdb: &Cmdb) -> f64 {
    cmdb.first_request().map_or(0.0, |first| first.elapsed().as_secs_f64())
}
