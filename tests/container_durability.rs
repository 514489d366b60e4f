//! What the container server acknowledged is there after `kill -9` and after SIGTERM, at whatever instant it
//! came, and the change feed tells of exactly that.
//!
//! The real binary is killed in a loop while several callers write. `BKCMDB_KILLS` sets how many
//! times (10 if unset): `BKCMDB_KILLS=100 cargo test --test container_durability`.

#![allow(clippy::unwrap_used)] // All of it is test.

mod container;
#[path = "container/process.rs"]
mod process;

use bcs_bkcmdb_synchronizer::http::Method;
use container::{Caller, config, pod_with};
use process::{Process, command};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

/// Callers that write at the same time, each to pods of its own.
const CALLERS: usize = 4;
/// Pods of one caller.
const PODS: usize = 20;

/// How long a write may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A pod's status counter, or `None` while it is not recorded.
type State = Option<u64>;

/// What one caller knows of its pods.
#[derive(Default)]
struct Knowledge {
    acknowledged: HashMap<usize, State>,
    /// Writes without an answer: they may or may not have happened.
    in_doubt: HashMap<usize, State>,
    counter: u64,
}

fn name(caller: usize, pod: usize) -> String {
    format!("c{caller}-p{pod}")
}

fn record(caller: usize, pod: usize, status: u64) -> Value {
    pod_with(&name(caller, pod), json!({"bk_pod_status": status.to_string()}))
}

/// Writes until the server is gone, and remembers what it acknowledged.
fn write(
    caller: &Caller,
    me: usize,
    knowledge: &mut Knowledge,
    acknowledged: &Sender<()>,
    random: &mut fastrand::Rng,
) {
    loop {
        knowledge.counter += 1;
        let status = knowledge.counter;
        let pod = random.usize(..PODS);
        let uuid = json!({"bk_pod_uuid": format!("uid-{}", name(me, pod))});
        let absent: Vec<_> =
            (0..PODS).filter(|pod| knowledge.acknowledged.get(pod).copied().flatten().is_none()).collect();
        let (call, wanted) = if absent.len() > PODS / 2 {
            let pods: Vec<_> = absent.iter().map(|pod| record(me, *pod, status)).collect();
            let wanted = absent.iter().map(|pod| (*pod, Some(status))).collect();
            ((Method::Post, "createmany", json!({"pod_list": pods})), wanted)
        } else if absent.contains(&pod) {
            ((Method::Post, "create", json!({"pod": record(me, pod, status)})), vec![(pod, Some(status))])
        } else if random.u8(..4) == 0 {
            ((Method::Delete, "delete", json!({"condition": uuid})), vec![(pod, None)])
        } else {
            let data = json!({"bk_pod_status": status.to_string()});
            ((Method::Put, "update", json!({"condition": uuid, "data": data})), vec![(pod, Some(status))])
        };
        let (method, verb, body) = call;
        let path = format!("/api/v3/{verb}/container/bk_biz_id/2/pod");
        match caller.raw(method, &path, body.to_string().as_bytes()) {
            Ok((200, answer)) => {
                let answer: Value = serde_json::from_slice(&answer).unwrap();
                assert_eq!(answer["bk_error_code"], 0, "{verb} {answer}");
                knowledge.acknowledged.extend(wanted);
                // Nobody counts any more once the kill is decided.
                let _ = acknowledged.send(());
            }
            Ok((status, _)) => panic!("{verb}: HTTP {status}"),
            Err(_) => {
                knowledge.in_doubt.extend(wanted);
                return;
            }
        }
    }
}

/// Compares the records with what was acknowledged; what was in doubt is certain afterwards.
fn verify(caller: &Caller, everyone: &mut [Knowledge]) {
    let answer = caller.list(2, json!({}));
    let stored: HashMap<&str, u64> = answer["data"]["info"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pod| {
            (pod["bk_pod_name"].as_str().unwrap(), pod["bk_pod_status"].as_str().unwrap().parse().unwrap())
        })
        .collect();
    for (me, knowledge) in everyone.iter_mut().enumerate() {
        for pod in 0..PODS {
            let found = stored.get(name(me, pod).as_str()).copied();
            let acknowledged = knowledge.acknowledged.get(&pod).copied().flatten();
            let doubted = knowledge.in_doubt.remove(&pod);
            assert!(
                found == acknowledged || doubted == Some(found),
                "{}: acknowledged {acknowledged:?}, in doubt {doubted:?}, found {found:?}",
                name(me, pod)
            );
            knowledge.acknowledged.insert(pod, found);
        }
    }
}

/// Follows the change feed from its beginning: it leads to the records there are, and each change fits what
/// was before it. None came twice, and none is missing.
fn follow(caller: &Caller) {
    let (mut pods, mut since) = (HashMap::new(), 0);
    loop {
        let page = caller.call(Method::Get, &format!("/watch/pods?since={since}&timeout=0"), &json!({}));
        let changes = page["data"]["changes"].as_array().unwrap_or_else(|| panic!("{page}"));
        for change in changes {
            let (sequence, pod) = (change["sequence"].as_i64().unwrap(), change["pod"].clone());
            assert!(sequence > since, "{sequence} after {since}");
            since = sequence;
            let id = pod["bk_pod_id"].as_i64().unwrap();
            let before = match change["action"].as_str().unwrap() {
                "delete" => pods.remove(&id),
                _ => pods.insert(id, pod),
            };
            assert_eq!(before.is_none(), change["action"] == "create", "{change}");
        }
        if changes.is_empty() {
            break;
        }
    }
    let answer = caller.list(2, json!({}));
    let info = answer["data"]["info"].as_array().unwrap();
    let stored: HashMap<_, _> =
        info.iter().map(|pod| (pod["bk_pod_id"].as_i64().unwrap(), pod.clone())).collect();
    assert!(pods == stored, "the feed leads to {pods:#?}, there are {stored:#?}");
}

/// Lets everybody write until some hundred writes are acknowledged, then does `end`.
fn under_load(
    caller: &Caller,
    everyone: &mut [Knowledge],
    random: &mut fastrand::Rng,
    end: impl FnOnce(),
) -> usize {
    let (acknowledged, count) = channel();
    // Ended while writes are under way: the moment is counted in writes, not in time.
    let enough = random.usize(20..200);
    std::thread::scope(|scope| {
        for (me, knowledge) in everyone.iter_mut().enumerate() {
            let (caller, acknowledged) = (caller.clone(), acknowledged.clone());
            let mut random = random.fork();
            scope.spawn(move || write(&caller, me, knowledge, &acknowledged, &mut random));
        }
        for _ in 0..enough {
            count.recv_timeout(PATIENCE).unwrap();
        }
        end();
    });
    enough
}

#[test]
fn a_stop_under_load_loses_nothing_and_leaves_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut everyone: Vec<Knowledge> = (0..CALLERS).map(|_| Knowledge::default()).collect();
    let mut random = fastrand::Rng::with_seed(7);
    let mut process = Process::start(directory.path(), json!({}));
    let caller = process.caller.clone();
    under_load(&caller, &mut everyone, &mut random, || {
        assert!(process.terminate(), "it did not end well");
        let log = directory.path().join("records.db-wal");
        assert!(directory.path().join("records.db").exists() && !log.exists(), "the log is still there");
    });
    let process = Process::start(directory.path(), json!({}));
    verify(&process.caller, &mut everyone);
    follow(&process.caller);
}

#[test]
fn sighup_does_not_end_the_server() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Process::start(directory.path(), json!({}));
    process.signal("-HUP");
    let (status, _) = process.caller.raw(Method::Get, "/healthz", b"").unwrap();
    assert_eq!(status, 200);
    assert!(process.terminate(), "it did not end well");
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    let kills: u64 = std::env::var("BKCMDB_KILLS").map_or(10, |kills| kills.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let mut everyone: Vec<Knowledge> = (0..CALLERS).map(|_| Knowledge::default()).collect();
    let mut random = fastrand::Rng::with_seed(kills);
    let mut total = 0;
    for _ in 0..kills {
        let mut process = Process::start(directory.path(), json!({}));
        verify(&process.caller, &mut everyone);
        let caller = process.caller.clone();
        total += under_load(&caller, &mut everyone, &mut random, || process.kill());
    }
    let process = Process::start(directory.path(), json!({}));
    verify(&process.caller, &mut everyone);
    follow(&process.caller);
    // What an operator would do: copy the database of the running server, and look through both.
    let copy = directory.path().join("copy.db");
    assert!(command(directory.path(), &["backup", copy.to_str().unwrap()]).0);
    let (again, _) = command(directory.path(), &["backup", copy.to_str().unwrap()]);
    assert!(!again, "a copy is not written over");
    let (sound, original) = command(directory.path(), &["check"]);
    assert!(sound && original.contains("the database is sound"), "{original}");
    let config = config(directory.path(), json!({"database": copy}));
    std::fs::write(directory.path().join("config.json"), config.to_string()).unwrap();
    let (sound, found) = command(directory.path(), &["check"]);
    // The copy has all of it but the feed, which stands in the first line.
    let records = |report: &str| report.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert!(sound && records(&found) == records(&original), "{found}{original}");
    drop(process);
    println!("{kills} kills, {total} acknowledged writes, none lost");
}
