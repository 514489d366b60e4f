//! Which worker has which cluster.
//!
//! Pure and the same on every platform and instance: a named hash (xxh3-64 with a fixed seed) gives
//! every pair of cluster and worker a score. A score decides only where a cluster goes that has no
//! place; a cluster that has one stays, because moving it costs a full sync. It leaves its worker
//! when
//!
//! * the worker is gone for good, or
//! * the worker has more than its bound, 1.1 × the average rounded up, or
//! * a newcomer is to be filled to the average, with the clusters that score highest on it. A worker
//!   whose last cluster left the inventory counts as one.

use std::collections::{BTreeMap, BTreeSet};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Seed of the scores. Changing it moves clusters.
const SEED: u64 = 0x6263_7362_6b63_6d64;

/// Whether a worker can take clusters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is registered.
    Alive,
    /// It vanished less than `reassign_delay` ago: it keeps what it has and takes nothing.
    Waiting,
}

/// What is to be decided on.
#[derive(Clone, Debug, Default)]
pub struct Fleet<'a> {
    /// Ids of the clusters.
    pub clusters: BTreeSet<&'a str>,
    /// The workers. One that is not here is gone for good.
    pub workers: BTreeMap<&'a str, Presence>,
    /// Which worker has which cluster now.
    pub current: BTreeMap<&'a str, &'a str>,
    /// Most clusters one worker may have, whatever the average (the size of a znode); the rest
    /// stays without a worker.
    pub limit: usize,
}

/// Worker of each cluster that has one.
pub type Placement<'a> = BTreeMap<&'a str, &'a str>;

/// Most clusters one of `workers` workers may have: 1.1 × the average, rounded up, in integers.
pub fn bound(clusters: usize, workers: usize) -> usize {
    if workers == 0 { 0 } else { (11 * clusters).div_ceil(10 * workers) }
}

/// The affinity of a cluster to a worker; the highest wins, and of equal ones the lower name.
pub fn score(cluster: &str, worker: &str) -> u64 {
    let mut pair = Vec::with_capacity(cluster.len() + 1 + worker.len());
    pair.extend_from_slice(cluster.as_bytes());
    pair.push(0);
    pair.extend_from_slice(worker.as_bytes());
    xxh3_64_with_seed(&pair, SEED)
}

/// Decides who has what.
pub fn assign<'a>(fleet: &Fleet<'a>) -> Placement<'a> {
    let mut board = Board::new(fleet);
    board.shed();
    board.fill_newcomers();
    board.place_homeless();
    board.placement()
}

/// The state of a decision: every cluster is with a worker or homeless.
struct Board<'a> {
    held: BTreeMap<&'a str, Worker<'a>>,
    homeless: BTreeSet<&'a str>,
    bound: usize,
    /// The average, rounded down.
    floor: usize,
}

struct Worker<'a> {
    alive: bool,
    newcomer: bool,
    clusters: BTreeSet<&'a str>,
}

impl<'a> Board<'a> {
    fn new(fleet: &Fleet<'a>) -> Self {
        let mut held: BTreeMap<&str, Worker<'_>> = fleet
            .workers
            .iter()
            .map(|(name, presence)| {
                let alive = *presence == Presence::Alive;
                (*name, Worker { alive, newcomer: false, clusters: BTreeSet::new() })
            })
            .collect();
        let mut homeless = BTreeSet::new();
        for cluster in &fleet.clusters {
            match fleet.current.get(cluster).and_then(|worker| held.get_mut(worker)) {
                Some(worker) => worker.clusters.insert(*cluster),
                None => homeless.insert(*cluster),
            };
        }
        for worker in held.values_mut() {
            worker.newcomer = worker.alive && worker.clusters.is_empty();
        }
        let (count, workers) = (fleet.clusters.len(), held.len());
        let bound = bound(count, workers).min(fleet.limit);
        let floor = count.checked_div(workers).unwrap_or(0).min(bound);
        Self { held, homeless, bound, floor }
    }

    /// Workers above the bound lose what scores lowest on them.
    fn shed(&mut self) {
        for (name, worker) in self.held.iter_mut().filter(|(_, worker)| worker.alive) {
            let excess = worker.clusters.len().saturating_sub(self.bound);
            for cluster in ranked(name, worker.clusters.iter().copied()).into_iter().rev().take(excess) {
                worker.clusters.remove(cluster);
                self.homeless.insert(cluster);
            }
        }
    }

    /// Newcomers are filled to the average: with what is homeless first, then with what others have
    /// above the average.
    fn fill_newcomers(&mut self) {
        let newcomers: Vec<&str> =
            self.held.iter().filter(|(_, worker)| worker.newcomer).map(|(name, _)| *name).collect();
        for newcomer in newcomers {
            let mut taken: BTreeSet<&str> =
                ranked(newcomer, self.homeless.iter().copied()).into_iter().take(self.floor).collect();
            self.homeless.retain(|cluster| !taken.contains(cluster));
            let offered: BTreeMap<&str, &str> = self
                .held
                .iter()
                .filter(|(_, worker)| worker.alive && !worker.newcomer)
                .flat_map(|(name, worker)| worker.clusters.iter().map(|cluster| (*cluster, *name)))
                .collect();
            for cluster in ranked(newcomer, offered.keys().copied()) {
                if taken.len() == self.floor {
                    break;
                }
                let donor = offered.get(cluster).and_then(|donor| self.held.get_mut(donor));
                if let Some(donor) = donor.filter(|donor| donor.clusters.len() > self.floor) {
                    donor.clusters.remove(cluster);
                    taken.insert(cluster);
                }
            }
            if let Some(worker) = self.held.get_mut(newcomer) {
                worker.clusters = taken;
            }
        }
    }

    /// What is homeless goes to the worker with room it scores highest on.
    fn place_homeless(&mut self) {
        for cluster in std::mem::take(&mut self.homeless) {
            let with_room = self
                .held
                .iter_mut()
                .filter(|(_, worker)| worker.alive && worker.clusters.len() < self.bound)
                .max_by_key(|(name, _)| (score(cluster, name), std::cmp::Reverse(**name)));
            if let Some((_, worker)) = with_room {
                worker.clusters.insert(cluster);
            }
        }
    }

    fn placement(self) -> Placement<'a> {
        self.held
            .into_iter()
            .flat_map(|(name, worker)| worker.clusters.into_iter().map(move |cluster| (cluster, name)))
            .collect()
    }
}

/// Clusters by falling score on `worker`.
fn ranked<'a>(worker: &str, clusters: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut scored: Vec<(std::cmp::Reverse<u64>, &str)> =
        clusters.map(|cluster| (std::cmp::Reverse(score(cluster, worker)), cluster)).collect();
    scored.sort_unstable();
    scored.into_iter().map(|(_, cluster)| cluster).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NO_LIMIT: usize = usize::MAX;

    fn names(prefix: &str, count: usize) -> Vec<String> {
        (0..count).map(|index| format!("{prefix}{index:05}")).collect()
    }

    /// A fleet of living workers that have nothing yet.
    fn fleet<'a>(clusters: &'a [String], workers: &'a [String]) -> Fleet<'a> {
        Fleet {
            clusters: clusters.iter().map(String::as_str).collect(),
            workers: workers.iter().map(|worker| (worker.as_str(), Presence::Alive)).collect(),
            current: BTreeMap::new(),
            limit: NO_LIMIT,
        }
    }

    fn loads<'a>(fleet: &Fleet<'a>, placement: &Placement<'a>) -> BTreeMap<&'a str, usize> {
        let count = |worker| placement.values().filter(|other| **other == worker).count();
        fleet.workers.keys().map(|worker| (*worker, count(*worker))).collect()
    }

    fn moved<'a>(before: &Placement<'a>, after: &Placement<'a>) -> BTreeSet<&'a str> {
        before
            .iter()
            .filter(|(cluster, worker)| after.get(*cluster) != Some(worker))
            .map(|(c, _)| *c)
            .collect()
    }

    #[test]
    fn scores_are_the_same_on_every_platform_and_version() {
        assert_eq!(score("BCS-K8S-00001", "10.0.0.1:8080"), 0xbb51_3ce9_0fad_7dc9);
        assert_ne!(score("a", "bc"), score("ab", "c"));
    }

    #[test]
    fn a_thousand_clusters_on_ten_workers_keep_the_promised_figures() {
        let (clusters, workers) = (names("BCS-K8S-", 1000), names("10.0.0.", 11));
        let mut ten = fleet(&clusters, &workers[..10]);
        let before = assign(&ten);
        assert_eq!(before.len(), 1000);
        assert!(loads(&ten, &before).values().all(|load| *load <= 110));

        let mut nine = fleet(&clusters, &workers[1..10]);
        nine.current = before.clone();
        let left = assign(&nine);
        let of_leaver: BTreeSet<&str> =
            before.iter().filter(|(_, worker)| **worker == workers[0]).map(|(cluster, _)| *cluster).collect();
        assert_eq!(moved(&before, &left), of_leaver);
        assert!(loads(&nine, &left).values().all(|load| *load <= 123));

        ten.current = before.clone();
        ten.workers.insert(&workers[10], Presence::Alive);
        let joined = assign(&ten);
        assert!(moved(&before, &joined).len() <= 91);
        assert!((90..=91).contains(&loads(&ten, &joined)[workers[10].as_str()]));
        assert!(loads(&ten, &joined).values().all(|load| *load <= 100));
    }

    #[test]
    fn a_vanished_worker_keeps_its_clusters_and_takes_none_while_it_is_waited_for() {
        let (clusters, workers) = (names("c", 100), names("w", 5));
        let mut fleet = fleet(&clusters[..90], &workers);
        let before = assign(&fleet);
        fleet.current = before.clone();
        fleet.workers.insert(&workers[0], Presence::Waiting);
        assert_eq!(assign(&fleet), before);
        fleet.clusters.extend(clusters[90..].iter().map(String::as_str));
        let after = assign(&fleet);
        assert!(moved(&before, &after).is_empty());
        assert_eq!(loads(&fleet, &after)[workers[0].as_str()], loads(&fleet, &before)[workers[0].as_str()]);
    }

    #[test]
    fn no_worker_gets_more_than_its_node_can_hold() {
        let (clusters, workers) = (names("c", 100), names("w", 2));
        let fleet = Fleet { limit: 30, ..fleet(&clusters, &workers) };
        let placement = assign(&fleet);
        assert_eq!(loads(&fleet, &placement).into_values().collect::<Vec<_>>(), [30, 30]);
    }

    #[test]
    fn empty_fleets_and_unknown_names_are_no_problem() {
        let (clusters, workers) = (names("c", 3), names("w", 1));
        assert!(assign(&fleet(&clusters, &[])).is_empty());
        assert!(assign(&fleet(&[], &workers)).is_empty());
        let mut stale = fleet(&clusters, &workers);
        stale.current = BTreeMap::from([("gone", "w00000"), ("c00000", "nobody")]);
        assert_eq!(assign(&stale).len(), 3);
    }

    /// A change of a fleet.
    #[derive(Clone, Debug)]
    enum Change {
        Join(usize),
        Leave(usize),
        Vanish(usize),
        Add(usize),
        Remove(usize),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            (0..12_usize).prop_map(Change::Join),
            (0..12_usize).prop_map(Change::Leave),
            (0..12_usize).prop_map(Change::Vanish),
            (0..200_usize).prop_map(Change::Add),
            (0..200_usize).prop_map(Change::Remove),
        ]
    }

    /// A fleet of three after these changes, each checked.
    fn check_history(changes: Vec<Change>, clusters: usize) -> Result<(), TestCaseError> {
        let (ids, addresses) = (names("c", 200), names("w", 12));
        let mut fleet = fleet(&ids[..clusters], &addresses[..3]);
        fleet.current = assign(&fleet);
        for change in changes {
            let before = fleet.current.clone();
            match change {
                Change::Join(index) => drop(fleet.workers.insert(&addresses[index], Presence::Alive)),
                Change::Leave(index) => drop(fleet.workers.remove(addresses[index].as_str())),
                Change::Vanish(index) => {
                    fleet.workers.entry(&addresses[index]).and_modify(|seen| *seen = Presence::Waiting);
                }
                Change::Add(index) => drop(fleet.clusters.insert(&ids[index])),
                Change::Remove(index) => drop(fleet.clusters.remove(ids[index].as_str())),
            }
            let after = assign(&fleet);
            check(&fleet, &before, &after)?;
            fleet.current = after;
            prop_assert_eq!(&assign(&fleet), &fleet.current, "a second look moves nothing");
        }
        Ok(())
    }

    #[test]
    fn a_worker_whose_last_cluster_left_is_filled_like_a_newcomer() {
        use Change::{Add, Join, Remove, Vanish};
        check_history(vec![Add(3), Add(4), Join(0), Vanish(3), Join(0), Remove(0)], 3).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn through_any_history_a_fleet_is_complete_bounded_calm_and_at_rest(
            changes in prop::collection::vec(change(), 1..40), clusters in 0..150_usize,
        ) {
            check_history(changes, clusters)?;
        }
    }

    fn check<'a>(
        fleet: &Fleet<'a>,
        before: &Placement<'a>,
        after: &Placement<'a>,
    ) -> Result<(), TestCaseError> {
        let (count, workers) = (fleet.clusters.len(), fleet.workers.len());
        let waiting = fleet.workers.values().any(|presence| *presence == Presence::Waiting);
        if !waiting && workers > 0 {
            prop_assert_eq!(after.len(), count, "complete");
        }
        for (worker, load) in loads(fleet, after) {
            let held = before.values().filter(|other| **other == worker).count();
            match fleet.workers[worker] {
                Presence::Alive => prop_assert!(load <= bound(count, workers), "bounded"),
                Presence::Waiting => prop_assert!(load <= held, "a vanished worker takes nothing"),
            }
        }
        let newcomers: BTreeSet<&str> = fleet
            .workers
            .keys()
            .filter(|worker| {
                let still_has =
                    |(cluster, old): (&&str, &&str)| old == *worker && fleet.clusters.contains(cluster);
                !before.iter().any(still_has)
            })
            .copied()
            .collect();
        for cluster in moved(before, after) {
            let old = before[cluster];
            let gone = !fleet.clusters.contains(cluster) || !fleet.workers.contains_key(old);
            let above = before.values().filter(|other| **other == old).count() > bound(count, workers);
            let joined = after.get(cluster).is_some_and(|new| newcomers.contains(new));
            prop_assert!(gone || above || joined, "{} moved for no reason", cluster);
        }
        Ok(())
    }
}
