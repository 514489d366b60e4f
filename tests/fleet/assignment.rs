//! Who works on what: shared at once, taken over from the dead, left alone through restarts.

use crate::author;
use crate::churn::Churn;
use crate::processes::{Fleet, PATIENCE, SESSION};
use crate::zookeeper::{ZooKeepers, own_address, wait_for};
use bcs_bkcmdb_synchronizer::coordination::{Lock, ServerInfo};
use bcs_bkcmdb_synchronizer::fleet::Guest;
use serde_json::json;
use std::time::{Duration, Instant};

/// `reassign_delay` here: a restart does not take as long, on the busiest machine.
const DELAY: Duration = Duration::from_secs(20);
/// What is promised: this long for a first assignment, and beyond timeout and delay for a new one.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn three_instances_share_thirty_clusters_survive_their_master_and_restart_one_by_one() {
    let zookeepers = ZooKeepers::single();
    let mut fleet = Fleet::new(zookeepers, 30);
    for _ in 0..3 {
        fleet.add(&own_address(), &[], &json!({"reassign_delay": DELAY.as_secs()}));
    }
    fleet.wait_shared(&[0, 1, 2], SOON);
    fleet.wait_equal(PATIENCE);

    let churn = Churn::start(&fleet.world.storage, fleet.clusters());
    let master = fleet.master();
    fleet.instances[master].kill();
    let died = Instant::now();
    let limit = || (SESSION + DELAY + SOON).saturating_sub(died.elapsed());
    let survivors: Vec<usize> = (0..3).filter(|index| *index != master).collect();
    fleet.wait_shared(&survivors, limit());
    drop(churn);
    fleet.wait_equal(limit());

    fleet.instances[master].start();
    fleet.wait_shared(&[0, 1, 2], PATIENCE);
    let before = fleet.assignment(0);
    let churn = Churn::start(&fleet.world.storage, fleet.clusters());
    for index in 0..3 {
        let other = (index + 1) % 3;
        assert!(fleet.instances[index].terminate().success());
        fleet.instances[index].start();
        fleet.wait("it is back", PATIENCE, |fleet| {
            // One that is slow to answer shows nothing.
            let now = fleet.assignment(other);
            assert!(now.is_empty() || now == before, "a cluster moved: {now:?}, {before:?} before");
            fleet.is_shared_by(&[0, 1, 2])
        });
    }
    drop(churn);
    fleet.wait_equal(PATIENCE);
    fleet.wait("no cluster has moved", PATIENCE, |fleet| fleet.assignment(0) == before);
}

#[test]
fn a_cluster_somebody_else_holds_waits_until_it_is_given_back() {
    let fleet = Fleet::new(ZooKeepers::single(), 2);
    let held = fleet.clusters()[0].clone();
    let info = ServerInfo { ip: "10.9.9.9".to_owned(), port: 1, pid: 1, ..ServerInfo::default() };
    let holder = Guest::start(author::servers(&fleet.zookeepers), info).unwrap();
    wait_for("the lock", PATIENCE, || matches!(holder.acquire(&held), Lock::Held(_)));

    let fleet = fleet.start(1);
    let state = |fleet: &Fleet| fleet.get(0, &format!("/api/v1/clusters/{held}")).unwrap_or_default();
    fleet.wait("it waits for the one it names", PATIENCE, |fleet| {
        let state = state(fleet);
        state["state"] == "waiting" && state["last_error"].to_string().contains("10.9.9.9:1")
    });
    fleet.wait("the other cluster is live", PATIENCE, |fleet| {
        fleet.states(0).values().any(|state| state == "live")
    });
    assert!(fleet.world.cmdb.writes().iter().all(|call| call.cluster() != held));
    holder.stop();
    fleet.wait_shared(&[0], PATIENCE);
    fleet.wait_equal(PATIENCE);
}
