//! One cluster of 5,000 pods: how soon it is live again, how fast changes pass, what noise costs.

use super::cmdb::Cmdb;
use super::program::Program;
use super::report::Reach::{AtMost, Told};
use super::report::{Figure, Section};
use super::storage::{Change, Storage};
use serde_json::json;
use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const PODS: u32 = 5_000;
/// Pods below this one restart; those above are deleted and made anew.
const RESTARTING: u32 = 4_500;
const DELAY: Duration = Duration::from_millis(5);
/// Changes a second; every fifth changes nothing that is recorded.
const RATE: u32 = 500;
/// A pod is made anew so many changes after its delete.
const GONE_FOR: usize = 100;
const NOISE_RATE: u32 = 10_000;
/// Settling: half a second for the subscription, ten until the second full sync (design.md 6).
const SETTLE: f64 = 10.5;

/// The three scenarios, one after the other on the same cluster.
pub fn one_cluster(short: bool) -> Vec<Section> {
    let (storage, storage_address) = Storage::start(1, PODS);
    let (cmdb, address) = Cmdb::start(DELAY);
    let start = || Program::start(storage_address, address, 1, &json!({}));
    let first = start();
    first.wait("a full CMDB", || cmdb.len() == PODS as usize);
    drop(first);
    let program = start();
    let listening = program.time_to_listening();
    let writes = cmdb.writes.load(Relaxed);
    program.wait_until_live(1);
    let live = program.started.elapsed().as_secs_f64();
    let start_section = Section {
        title: format!("Start, {PODS} unchanged pods"),
        figures: vec![
            Figure::new(
                "until the port takes connections",
                listening.as_secs_f64() * 1e3,
                "ms",
                AtMost(100.0),
            ),
            Figure::new("until live", live, "s", AtMost(SETTLE + 1.0)),
            Figure::new("writes", (cmdb.writes.load(Relaxed) - writes) as f64, "", AtMost(0.0)),
        ],
    };
    let steady = follow(&program, &storage, &cmdb, if short { 2_500 } else { 10_000 });
    vec![start_section, steady, noise(&program, &storage, &cmdb, if short { 3 } else { 10 })]
}

/// Change number `index`: of ten, six restarts, a delete, a new pod, and two that nobody records.
fn change(index: usize) -> (u32, Change) {
    let restarting = |n: usize| n as u32 % RESTARTING;
    let coming_and_going = |n: usize| RESTARTING + n as u32 % (PODS - RESTARTING);
    match (index % 10, index / 10) {
        (0 | 5, round) => (restarting(round * 7), Change::Noise),
        (3, round) => (coming_and_going(round), Change::Delete),
        (8, round) if round >= GONE_FOR => (coming_and_going(round - GONE_FOR), Change::Recreate),
        (digit, round) => (restarting(round * 7 + digit), Change::Restart),
    }
}

fn follow(program: &Program, storage: &Storage, cmdb: &Cmdb, changes: usize) -> Section {
    let before = program.usage();
    let writes = cmdb.writes.load(Relaxed);
    cmdb.take_acknowledged();
    let mut sent: HashMap<String, Instant> = HashMap::new();
    let mut visible = 0_u64;
    paced(RATE, changes, |index| {
        let (number, kind) = change(index);
        let uuids = storage.change(0, &[(number, kind)]);
        if kind != Change::Noise {
            visible += 1;
            let now = Instant::now();
            sent.extend(uuids.into_iter().map(|uuid| (uuid, now)));
        }
    });
    program.wait("every pod in step", || cmdb.len() == storage.len() && idle(cmdb));
    let written = cmdb.writes.load(Relaxed) - writes;
    let usage = program.usage();
    let acknowledged = cmdb.take_acknowledged();
    let missing = sent.keys().filter(|uuid| !acknowledged.contains_key(*uuid)).count();
    let lag = |(uuid, at): (&String, &Instant)| Some(acknowledged.get(uuid)?.saturating_duration_since(*at));
    let mut lags: Vec<f64> = sent.iter().filter_map(lag).map(|lag| lag.as_secs_f64() * 1e3).collect();
    lags.sort_by(f64::total_cmp);
    let percentile = |share: f64| lags[((lags.len() - 1) as f64 * share) as usize];
    Section {
        title: format!(
            "{RATE} events/s in one cluster of {PODS}, a fifth of them noise, CMDB 5 ms: {changes} events"
        ),
        figures: vec![
            Figure::new("writes per visible change", written as f64 / visible as f64, "", AtMost(1.0)),
            Figure::new("changes that never arrived", missing as f64, "", AtMost(0.0)),
            Figure::new("event sent to write acknowledged, p50", percentile(0.5), "ms", AtMost(8.0)),
            Figure::new("the same, p99", percentile(0.99), "ms", AtMost(20.0)),
            Figure::new("the same, most", percentile(1.0), "ms", Told),
            Figure::new(
                "time on a core for 10,000 events",
                per_ten_thousand(usage.cpu - before.cpu, changes),
                "s",
                AtMost(3.0),
            ),
        ],
    }
}

/// Whether no write was acknowledged for a while.
fn idle(cmdb: &Cmdb) -> bool {
    let before = cmdb.writes.load(Relaxed);
    std::thread::sleep(Duration::from_millis(200));
    cmdb.writes.load(Relaxed) == before
}

fn per_ten_thousand(cpu: Duration, events: usize) -> f64 {
    cpu.as_secs_f64() * 10_000.0 / events as f64
}

fn noise(program: &Program, storage: &Storage, cmdb: &Cmdb, seconds: u32) -> Section {
    /// Events of one write to the stream.
    const TOGETHER: u32 = 10;
    let (writes, before) = (cmdb.writes.load(Relaxed), program.usage());
    let start = Instant::now();
    paced(NOISE_RATE / TOGETHER, (NOISE_RATE / TOGETHER * seconds) as usize, |tick| {
        let first = tick as u32 * TOGETHER;
        let pods: Vec<_> = (first..first + TOGETHER).map(|n| (n % RESTARTING, Change::Noise)).collect();
        storage.change(0, &pods);
    });
    let wall = start.elapsed().as_secs_f64();
    let cpu = (program.usage().cpu - before.cpu).as_secs_f64();
    Section {
        title: "Noise: events that change no field of a record".to_owned(),
        figures: vec![
            Figure::new("events sent", f64::from(NOISE_RATE * seconds) / wall, "/s", Told),
            Figure::new("bytes of an event", storage.document_sizes().0 as f64, "", Told),
            Figure::new("writes", (cmdb.writes.load(Relaxed) - writes) as f64, "", AtMost(0.0)),
            Figure::new("share of a core", cpu / wall * 100.0, "%", AtMost(50.0)),
        ],
    }
}

/// Does something `times` times, evenly, `rate` times a second.
fn paced(rate: u32, times: usize, mut act: impl FnMut(usize)) {
    let start = Instant::now();
    for index in 0..times {
        let due = start + Duration::from_secs_f64(index as f64 / f64::from(rate));
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        act(index);
    }
}
