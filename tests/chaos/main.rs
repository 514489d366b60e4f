//! Everything breaks at once, and at random, around three processes of the program: links, answers,
//! instances, ZooKeeper's servers, the peers. After it both sides are equal, nobody deleted a
//! living pod, no two wrote for one cluster, and nothing has grown. Each storm begins with a write
//! that is held back on its way until its sender has lost the cluster: it arrives after the storm,
//! is refused, and changes nothing.
//!
//! ```text
//! BKCMDB_CHAOS_MINUTES=10 BKCMDB_CHAOS_SEED=7 cargo test --test chaos -- --nocapture
//! ```
//!
//! Without these the storm is short and its seed is 1. The seed decides which faults come in which
//! order; what they meet is up to the machine.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail by panicking.

#[path = "../fleet/churn.rs"]
mod churn;
mod growth;
mod late;
#[path = "../common/partition.rs"]
mod partition;
#[path = "../fleet/processes.rs"]
mod processes;
#[path = "../common/secrets.rs"]
mod secrets;
mod storm;
mod witness;
#[path = "../world/mod.rs"]
mod world;
#[path = "../common/zookeeper.rs"]
mod zookeeper;

use churn::Churn;
use growth::{Holdings, wait_until_no_more_than};
use late::Late;
use partition::Network;
use processes::Fleet;
use serde_json::{Value, json};
use std::env;
use std::sync::Arc;
use std::time::Duration;
use storm::{Links, Storm};
use witness::{FENCED, Witness};
use world::cmdb::BUSINESSES;
use zookeeper::{ZooKeepers, own_address};

const CLUSTERS: usize = 12;
const ALL: [usize; 3] = [0, 1, 2];
/// Between two quiet points. After the first round everything has been used once: what is held then
/// is what growth is measured from.
const SHORT: [Duration; 2] = [Duration::from_secs(20), Duration::from_secs(25)];
const LONG: Duration = Duration::from_secs(60);
/// From the end of all faults until both sides are equal: the longest pause between two attempts
/// of anything, and what a busy machine adds.
const CALM: Duration = Duration::from_secs(90);

#[test]
fn after_any_storm_both_sides_are_equal_nothing_was_deleted_without_proof_and_nothing_has_grown() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seed = number("BKCMDB_CHAOS_SEED").unwrap_or(1);
    let minutes = number("BKCMDB_CHAOS_MINUTES");
    let rounds = minutes.map_or(SHORT.to_vec(), |minutes| vec![LONG; minutes as usize]);

    let mut fleet = Fleet::new(ZooKeepers::start(3), CLUSTERS);
    let witness = Arc::new(Witness::new(fleet.world.storage.clone()));
    let seeing = Arc::clone(&witness);
    fleet.world.cmdb.set_witness(Arc::new(move |call, carry_out| seeing.observe(call, carry_out)));
    fleet.clusters().iter().for_each(|cluster| late::put_steady(&fleet.world.storage, cluster, 1));
    let links = ALL.iter().map(|_| add_instance(&mut fleet)).collect();
    let mut storm = Storm::new(seed, links, Arc::clone(&witness));
    calm(&fleet, &witness);

    let (mut first, mut last, mut changes) = (None, None, 0);
    let storms = rounds.len();
    for round in rounds {
        storm.brew(&fleet);
        let churn = Churn::start(&fleet.world.storage, fleet.clusters());
        storm.rage(&mut fleet, round);
        changes += churn.changes();
        drop(churn);
        calm(&fleet, &witness);
        check_refused(&storm.take_late(), &fleet, &witness);
        let before: &Holdings = first.get_or_insert_with(|| Holdings::of(&fleet));
        last = Some(wait_until_no_more_than(before, &fleet));
    }
    let seen = witness.seen();
    println!(
        "seed {seed}: {} faults {:?}\n{changes} changes of pods, {} writes, {} of them deletes, {} refused \
         by their fence\nheld after the first round {first:?}, after the last {last:?}",
        storm.counts().values().sum::<usize>(),
        storm.counts(),
        seen.writes,
        seen.deletes,
        seen.fenced,
    );
    assert!(seen.deletes > 0 && seen.writes > seen.deletes && seen.fenced >= storms);
}

/// Adds an instance with links of its own to all its peers.
fn add_instance(fleet: &mut Fleet) -> Links {
    let peers = [fleet.world.storage_addr(), fleet.world.cmdb.addr()].map(|addr| addr.to_string());
    let links: Links = peers.iter().chain(&fleet.zookeepers.hosts()).map(|peer| Network::to(peer)).collect();
    let hosts: Vec<String> = links.iter().map(Network::host).collect();
    let keys = json!({
        "storage_addrs": [format!("http://{}", hosts[0])], "cmdb_addr": format!("http://{}/api/v3", hosts[1]),
        "zk": hosts[2..], "storage_timeout": 5, "cmdb_timeout": 5,
        // Both sides must become equal without it.
        "full_sync_interval": 86400,
    });
    fleet.add(&own_address(), &[], &keys);
    links
}

/// Waits for a quiet point, and checks what came before.
#[track_caller]
fn calm(fleet: &Fleet, witness: &Witness) {
    fleet.zookeepers.wait_until_serving();
    fleet.wait_shared(&ALL, CALM);
    fleet.wait("both sides are equal", CALM, |fleet| {
        let violations = witness.seen().violations;
        assert!(violations.is_empty(), "{violations:#?}\n{}", fleet.report());
        fleet.world.verdict().is_ok_and(|verdict| verdict.is_equal())
    });
}

/// Lets a late write through at a quiet point: it is refused for its fence, and changes nothing.
#[track_caller]
fn check_refused(late: &Late, fleet: &Fleet, witness: &Witness) {
    let records = || -> Vec<Value> {
        let all = BUSINESSES.iter().flat_map(|biz| fleet.world.cmdb.records(*biz).unwrap());
        all.filter(|record| record["bk_pod_cluster"] == late.cluster).collect()
    };
    let (before, fenced) = (records(), witness.seen().fenced);
    let (status, answer) = late.let_through(fleet.world.cmdb.addr()).unwrap().answer();
    let (after, seen) = (records(), witness.seen());
    assert!(seen.violations.is_empty(), "{:#?}\n{}", seen.violations, fleet.report());
    assert_eq!((status, answer["bk_error_code"].as_i64().unwrap()), FENCED, "{late:?}: {answer}");
    assert_eq!(before, after, "{late:?} was refused, and changed records");
    assert_eq!(seen.fenced, fenced + 1);
}
