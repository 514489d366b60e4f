//! A simulation of one cluster: the pure core of the reconciler between a model of bcs-storage and a
//! model of the CMDB, in virtual time. A seed decides what the pods do, what fails, and in which
//! order everything happens.
//!
//! At every step: no living pod is deleted, nothing older follows what was acknowledged (design.md 3,
//! rules 2 and 4). After the faults stop: both sides become equal without a periodic full sync within
//! a bounded number of actions, and a further full sync writes nothing (rules 1 and 5).

mod cmdb;
mod core;
mod driver;
mod storage;

/// Seeds of every test run. `SIMULATION_SEEDS=FROM..TO` runs others.
const SEEDS: std::ops::Range<u64> = 0..3000;

fn seeds() -> std::ops::Range<u64> {
    let given = std::env::var("SIMULATION_SEEDS").ok();
    let range = given.as_deref().and_then(|text| text.split_once(".."));
    range.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?)).unwrap_or(SEEDS)
}

#[test]
fn both_sides_become_equal_whatever_failed_in_between() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let run =
        |first: u64| seeds().filter(|seed| seed % threads == first).find_map(|seed| driver::run(seed).err());
    let broken: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|first| scope.spawn(move || run(first))).collect();
        workers.into_iter().filter_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(broken.is_empty(), "{}", broken.join("\n\n"));
}
