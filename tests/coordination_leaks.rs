//! What sessions leave behind: nothing. Alone in its file, because it counts the threads of its
//! process.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

#[path = "common/sessions.rs"]
mod sessions;
#[path = "common/zookeeper.rs"]
mod zookeeper;

use sessions::{client, member};
use std::time::Duration;
use zookeeper::{ZooKeepers, wait_for};

const SOON: Duration = Duration::from_secs(15);

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

#[test]
fn sessions_and_threads_do_not_pile_up() {
    let zookeepers = ZooKeepers::single();
    let cycle = || {
        let session = member(&zookeepers, 1001);
        client(&session);
        session.stop();
    };
    cycle();
    wait_for("the first one is gone", SOON, || zookeepers.sessions() == 0);
    let before = threads();
    (0..50).for_each(|_| cycle());
    wait_for("no session is left", SOON, || zookeepers.sessions() == 0);
    wait_for("no thread is left", SOON, || threads() <= before);
}
