//! What sessions leave behind: nothing. Alone in its file, because it counts the threads and files
//! of its process.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

#[path = "common/partition.rs"]
mod partition;
#[path = "common/sessions.rs"]
mod sessions;
#[path = "common/zookeeper.rs"]
mod zookeeper;

use bcs_bkcmdb_synchronizer::coordination::{Discovery, Feed, Lock, Servers};
use bcs_bkcmdb_synchronizer::fleet::{self, Settings};
use bcs_bkcmdb_synchronizer::inventory::{Confirmation, Inventory};
use partition::Network;
use sessions::{client, info, member, servers};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use zookeeper::{ZooKeepers, wait_for};

const SOON: Duration = Duration::from_secs(90);
const CYCLES: u64 = 50;
/// The shortest timeout these servers grant: fifty lost sessions take a minute with it.
const SHORTEST: Duration = Duration::from_millis(400);

/// One test at a time: they count what belongs to the whole process.
static COUNTED: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    COUNTED.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Threads and open files of this process.
fn held() -> [usize; 2] {
    ["/proc/self/task", "/proc/self/fd"].map(|path| std::fs::read_dir(path).unwrap().count())
}

#[track_caller]
fn wait_until_no_more_than(before: [usize; 2]) {
    wait_for("threads and files are as few as before", SOON, || {
        held().iter().zip(before).all(|(now, before)| *now <= before)
    });
}

#[test]
fn fifty_sessions_that_were_stopped_leave_nothing_behind() {
    let _alone = alone();
    let zookeepers = ZooKeepers::single();
    let cycle = || {
        let session = member(&zookeepers, 1001);
        client(&session);
        session.stop();
    };
    cycle();
    wait_for("the first one is gone", SOON, || zookeepers.sessions() == 0);
    let before = held();
    (0..CYCLES).for_each(|_| cycle());
    wait_for("no session is left", SOON, || zookeepers.sessions() == 0);
    wait_until_no_more_than(before);
}

#[test]
fn fifty_sessions_that_expired_leave_nothing_behind() {
    let _alone = alone();
    let zookeepers = ZooKeepers::single();
    let network = Network::to(&zookeepers.hosts()[0]);
    let servers = Servers { hosts: vec![network.host()], session_timeout: SHORTEST, ..servers(&zookeepers) };
    let feed = Feed {
        pull: Box::new(|| Ok(Inventory { clusters: Vec::new(), complete: true, problems: Vec::new() })),
        interval: Box::new(|| SHORTEST),
        confirmation: Confirmation::AtOnce,
    };
    let discovery = Discovery::start(servers.clone()).unwrap();
    let settings = Settings { servers, info: info(1001), version: "1", reassign_delay: SHORTEST };
    let instance = fleet::start(settings, feed).unwrap();
    let whole = || {
        let locked = matches!(instance.acquire("a"), Lock::Held(fence) if fence.permit().is_ok());
        let found = discovery.problem().is_some_and(|problem| problem.contains("no bcs-storage"));
        locked && found && instance.status().role == "master" && zookeepers.sessions() == 2
    };
    wait_for("everything stands", SOON, whole);
    let (before, first) = (held(), instance.status().sessions);
    for cycle in 1..=CYCLES {
        network.cut();
        wait_for("both sessions expire", SOON, || zookeepers.sessions() == 0);
        network.heal();
        wait_for("everything stands again", SOON, || instance.status().sessions >= first + cycle && whole());
    }
    wait_until_no_more_than(before);
    assert_eq!(instance.status().thread_troubles, [""; 0]);
}
