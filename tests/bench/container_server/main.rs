//! What the container server does per second, and how long one call takes, over real HTTP on
//! loopback with every commit flushed: `cargo bench --bench container_server [-- PODS [DIRECTORY]]`.
//!
//! The database lies in DIRECTORY (the temporary directory if none is given), and the disk it is on
//! decides about the writes; its own flush time therefore stands above the table. Server and callers
//! share the machine's cores with whatever else runs on it: how late a thread that only sleeps wakes up
//! meanwhile stands beside the times of single calls, and below the table what held up each page that took too
//! long. Ends with 1, and names them, if figures are not what is wanted.

#![allow(clippy::unwrap_used)] // a measurement fails by panicking

#[path = "../../container/mod.rs"]
mod container;
mod figures;
mod load;

use bcs_bkcmdb_synchronizer::http::Method;
use container::{Caller, Server};
use figures::{Held, Lateness, Table, Wanted, flush_time, milliseconds, peak_memory, read_from_disk};
use load::{Load, PODS_PER_CALL, Rules};
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Callers of create-many.
const MANY_CALLERS: usize = 4;
/// Callers of create.
const SINGLE_CALLERS: usize = 10;
const SINGLE_CREATES: usize = 10_000;
/// Point updates: so many, at so many a second, from so many connections.
const UPDATES: usize = 5_000;
const UPDATE_RATE: u32 = 500;
const UPDATE_CALLERS: usize = 16;
/// Pages read for one figure; fewer where each looks at every record.
const PAGES: usize = 300;
const SCANS: usize = 3;
/// Records of a page.
const PAGE: u64 = 500;

fn main() -> ExitCode {
    // `cargo bench` passes flags of its own.
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let pods: usize = arguments.next().map_or(100_000, |pods| pods.parse().unwrap());
    let directory = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let load = Load::new(pods);
    let directory = tempfile::tempdir_in(directory).unwrap();
    let topology = directory.path().join("modules.json");
    std::fs::write(&topology, load.topology().to_string()).unwrap();
    println!("{}\n", flush_time(directory.path()));
    let server = Server::start_in(directory, json!({"topology_file": topology}));

    let mut table = Table::new(pods);
    create_many(&server.caller, &load, &mut table);
    room(server.directory.path(), &load, &mut table);
    pages(&server.caller, &load, &server.directory.path().join("records.db"), &mut table);
    everything(&server.caller, &mut table);
    // The system has written out by now what the load left behind.
    create_single(&server.caller, &load, &mut table);
    update(&server.caller, &load, &mut table);
    if table.end() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn post(caller: &Caller, verb: &str, body: &str) -> Value {
    send(caller, Method::Post, verb, body)
}

fn send(caller: &Caller, method: Method, verb: &str, body: &str) -> Value {
    let path = format!("/container/v3/{verb}/container/bk_biz_id/2/pod");
    let (_, answer) = caller.raw(method, &path, body.as_bytes()).unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["bk_error_code"], 0, "{answer}");
    answer
}

/// Fills the server; the last tenth is told apart, since it meets a large table.
fn create_many(caller: &Caller, load: &Load, table: &mut Table) {
    let calls = load.pods / PODS_PER_CALL;
    let time = |calls: std::ops::Range<usize>| {
        let (next, begin) = (AtomicUsize::new(calls.start), Instant::now());
        std::thread::scope(|scope| {
            for _ in 0..MANY_CALLERS {
                scope.spawn(|| {
                    loop {
                        let call = next.fetch_add(1, Ordering::Relaxed);
                        if call >= calls.end {
                            return;
                        }
                        let answer = post(caller, "createmany", &load.create_many(call));
                        assert_eq!(answer["data"]["exception"], json!([]));
                    }
                });
            }
        });
        begin.elapsed()
    };
    let most = calls - calls / 10;
    for (part, calls) in [("first nine tenths", 0..most), ("last tenth", most..calls)] {
        let what = format!("pods by create-many of {PODS_PER_CALL}, {MANY_CALLERS} connections, {part}");
        let pods = calls.len() * PODS_PER_CALL;
        table.rate(&what, Wanted::Rate(10_000), pods, time(calls));
    }
}

fn create_single(caller: &Caller, load: &Load, table: &mut Table) {
    let (next, begin) = (AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..SINGLE_CALLERS {
            scope.spawn(|| {
                loop {
                    let pod = next.fetch_add(1, Ordering::Relaxed);
                    if pod >= SINGLE_CREATES {
                        return;
                    }
                    post(caller, "create", &load.create(load.pods + pod));
                }
            });
        }
    });
    let what = format!("create, {SINGLE_CALLERS} connections");
    table.rate(&what, Wanted::Rate(2_000), SINGLE_CREATES, begin.elapsed());
}

/// Each update has its moment, whether the one before it has been answered or not: what waits
/// behind a slow one counts as slow.
fn update(caller: &Caller, load: &Load, table: &mut Table) {
    let (next, begin) = (AtomicUsize::new(0), Instant::now());
    let lateness = Lateness::watch();
    let mut times: Vec<Duration> = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..UPDATE_CALLERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut times = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= UPDATES {
                            return times;
                        }
                        let due = begin + Duration::from_secs(1) * number as u32 / UPDATE_RATE;
                        std::thread::sleep(due.saturating_duration_since(Instant::now()));
                        send(caller, Method::Put, "update", &load.update(number));
                        times.push(due.elapsed());
                    }
                })
            })
            .collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    table.times(&format!("point update at {UPDATE_RATE}/s"), Wanted::Milliseconds(10), &mut times);
    lateness.tell(table);
}

/// Pages by everything that has an index: the first one, and any other there is. The database is in
/// the system's cache, as far as that lets it stay: how fast a disk reads is not the question.
fn pages(caller: &Caller, load: &Load, database: &Path, table: &mut Table) {
    let cached = || std::io::copy(&mut File::open(database).unwrap(), &mut std::io::sink()).unwrap();
    let lateness = Lateness::watch();
    for (what, rule) in load.selections() {
        let wanted = Wanted::Milliseconds(20);
        cached();
        let count = read_pages(caller, load, (what, rule), wanted, |_| 0, table);
        assert!(count >= PAGE, "no page of {PAGE} by {what}: there are {count}");
        if count > PAGE {
            cached();
            let any = |page: usize| page as u64 * 7_919 * PAGE % (count - PAGE);
            read_pages(caller, load, (&format!("{what}, at any offset"), rule), wanted, any, table);
        }
    }
    lateness.tell(table);
    let what = "namespace, which has no index";
    read_pages(caller, load, (what, Load::without_index), Wanted::Nothing, |_| 0, table);
}

/// Reads pages that begin where `start` says; returns how many records there were in all.
fn read_pages(
    caller: &Caller,
    load: &Load,
    (what, rule): (&str, Rules),
    wanted: Wanted,
    start: impl Fn(usize) -> u64,
    table: &mut Table,
) -> u64 {
    let (mut times, mut count, disk) = (Vec::new(), 0, read_from_disk());
    for page in 0..if matches!(wanted, Wanted::Nothing) { SCANS } else { PAGES } {
        let mut body = rule(load, page);
        body["page"] = json!({"start": start(page), "limit": PAGE, "sort": "bk_pod_id"});
        let path = "/container/v3/findmany/container/bk_biz_id/2/pod";
        let body = body.to_string();
        let (held, begin) = (Held::now(), Instant::now());
        let (_, answer) = caller.raw(Method::Post, path, body.as_bytes()).unwrap();
        let time = begin.elapsed();
        times.push(time);
        if matches!(wanted, Wanted::Milliseconds(most) if time > Duration::from_millis(most)) {
            table.note(format!("{} for page {page} by {what}: {}", milliseconds(time), held.since()));
        }
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        // A look at every record may take longer than a query may, if they come from the disk.
        if answer["bk_error_code"] != 0 && matches!(wanted, Wanted::Nothing) {
            continue;
        }
        count = answer["data"]["count"].as_u64().unwrap_or_else(|| panic!("{answer}"));
        let records = answer["data"]["info"].as_array().map(|info| info.len() as u64);
        assert_eq!(records, Some(count.saturating_sub(start(page)).min(PAGE)), "{body}");
    }
    let disk = (read_from_disk() - disk) as f64 / 1e6;
    let what = format!("page of {PAGE} by {what} (of {count}; {disk:.1} MB of all pages came from the disk)");
    table.times(&what, wanted, &mut times);
    count
}

/// What the records take on the disk, each once more in the change feed.
fn room(directory: &Path, load: &Load, table: &mut Table) {
    let size = |name: &str| std::fs::metadata(directory.join(name)).map_or(0, |file| file.len());
    let (database, log) = (size("records.db"), size("records.db-wal"));
    let what = "database with a change of each record in its feed, and its log";
    let each = database / load.pods as u64;
    let measured = format!("{} MB ({each} bytes a pod), {} MB", database / 1_000_000, log / 1_000_000);
    table.row(what, &measured);
}

/// All records in one answer, read and thrown away.
fn everything(caller: &Caller, table: &mut Table) {
    let (before, begin) = (peak_memory(), Instant::now());
    let headers: Vec<_> = caller.headers.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let url = format!("{}/container/v3/findmany/container/bk_biz_id/2/pod", caller.base);
    let request = bcs_bkcmdb_synchronizer::http::Request {
        method: Method::Post,
        url: &url,
        headers: &headers,
        body: Some(b"{}"),
        timeout: Some(Duration::from_secs(120)),
        idle_timeout: None,
    };
    let mut response = caller.client.send(&request).unwrap();
    let bytes = std::io::copy(&mut response.body, &mut std::io::sink()).unwrap();
    let megabytes = bytes / 1_000_000;
    let took = begin.elapsed().as_secs_f64();
    table.row(&format!("all records in one answer ({megabytes} MB)"), &format!("{took:.1} s"));
    let grown = peak_memory().saturating_sub(before) / 1_000_000;
    table.row("memory that answer took, at the peak", &format!("{grown} MB"));
}
