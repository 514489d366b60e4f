//! What the master writes, decided from what it read. Pure.

use crate::assignment::{self, Fleet, Presence};
use crate::coordination::layout::ClusterNode;
use crate::model::Cluster;
use std::collections::{BTreeMap, BTreeSet};

/// Bytes of a worker's list that are used: a znode holds 1 MiB, the request around it included.
const LIST_BYTES: usize = 1_000_000;

/// Lists of the workers as they stand, by instance.
pub(super) type Lists = BTreeMap<String, Vec<ClusterNode>>;

/// The nodes of clusters that must be written so that they say what is in force: `effective` are
/// the clusters to work on, `now` is the time for those that left.
pub(super) fn bookkeeping(
    nodes: &BTreeMap<String, ClusterNode>,
    effective: &[Cluster],
    now: &str,
) -> Vec<ClusterNode> {
    let mut changed = Vec::new();
    for cluster in effective {
        let mut wanted = ClusterNode::from(cluster);
        wanted.previous_bk_biz_ids = nodes.get(&cluster.id).map_or_else(Vec::new, |node| {
            let mut previous = node.previous_bk_biz_ids.clone();
            previous.push(node.bk_biz_id);
            previous.sort_unstable();
            previous.dedup();
            previous.retain(|business| ![0, cluster.bk_biz_id].contains(business));
            previous
        });
        if nodes.get(&cluster.id) != Some(&wanted) {
            changed.push(wanted);
        }
    }
    let here: BTreeSet<&str> = effective.iter().map(|cluster| cluster.id.as_str()).collect();
    let left =
        nodes.values().filter(|node| node.left_since.is_empty() && !here.contains(node.clusterid.as_str()));
    changed.extend(left.map(|node| ClusterNode { left_since: now.to_owned(), ..node.clone() }));
    changed
}

/// Clusters listed by several workers.
pub(super) fn listed_twice(lists: &Lists) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let all = lists.values().flatten().map(|entry| &entry.clusterid);
    all.filter(|id| !seen.insert(*id)).cloned().collect()
}

/// Steps that turn the lists into what they shall be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Steps {
    /// Workers that are gone: their nodes go.
    pub deletes: Vec<String>,
    /// First: lists that only lose entries.
    pub shrinks: Lists,
    /// Then: the lists as they shall be.
    pub grows: Lists,
    /// Clusters that change from one worker to another.
    pub moved: usize,
    /// Clusters for which there is no worker.
    pub unassigned: usize,
}

/// Decides who works on what. `holders` says who has the lock of a cluster that several workers
/// list.
pub(super) fn plan(
    effective: &[Cluster],
    lists: &Lists,
    workers: &BTreeMap<String, Presence>,
    holders: &BTreeMap<String, String>,
) -> Steps {
    let entries: BTreeMap<&str, ClusterNode> =
        effective.iter().map(|cluster| (cluster.id.as_str(), ClusterNode::from(cluster).entry())).collect();
    let current = current(lists, workers, holders);
    let fleet = Fleet {
        clusters: entries.keys().copied().collect(),
        workers: workers.iter().map(|(name, presence)| (name.as_str(), *presence)).collect(),
        current: current.clone(),
        limit: limit(entries.values()),
    };
    let placement = assignment::assign(&fleet);
    let mut wanted: Lists = workers.keys().map(|worker| (worker.clone(), Vec::new())).collect();
    for (id, worker) in &placement {
        if let (Some(list), Some(entry)) = (wanted.get_mut(*worker), entries.get(id)) {
            list.push(entry.clone());
        }
    }
    let moved =
        placement.iter().filter(|(id, worker)| current.get(*id).is_some_and(|old| old != *worker)).count();
    let unassigned = entries.len() - placement.len();
    let deletes = lists.keys().filter(|worker| !workers.contains_key(*worker)).cloned().collect();
    let (shrinks, grows) = two_phases(lists, wanted);
    Steps { deletes, shrinks, grows, moved, unassigned }
}

/// Out of the old node first, then into the new one: at no time do two nodes list a cluster that is
/// moved.
fn two_phases(lists: &Lists, wanted: Lists) -> (Lists, Lists) {
    let (mut shrinks, mut grows) = (Lists::new(), Lists::new());
    for (worker, list) in wanted {
        let stays: BTreeSet<&str> = list.iter().map(|entry| entry.clusterid.as_str()).collect();
        let old = lists.get(&worker);
        let kept: Option<Vec<ClusterNode>> = old.map(|old| {
            old.iter().filter(|entry| stays.contains(entry.clusterid.as_str())).cloned().collect()
        });
        if kept.as_ref() != Some(&list) {
            grows.insert(worker.clone(), list);
        }
        if let Some(kept) = kept.filter(|kept| Some(kept) != old) {
            shrinks.insert(worker, kept);
        }
    }
    (shrinks, grows)
}

/// Which worker has which cluster: of several the lock's holder, else one that is there.
fn current<'a>(
    lists: &'a Lists,
    workers: &BTreeMap<String, Presence>,
    holders: &'a BTreeMap<String, String>,
) -> BTreeMap<&'a str, &'a str> {
    let mut current: BTreeMap<&str, &str> = BTreeMap::new();
    let rank = |id: &str, worker: &str| {
        let holds = holders.get(id).is_some_and(|holder| holder == worker);
        (holds, workers.get(worker) == Some(&Presence::Alive), workers.contains_key(worker))
    };
    for (worker, list) in lists {
        for entry in list {
            let id = entry.clusterid.as_str();
            let better = current.get(id).is_none_or(|other| rank(id, worker) > rank(id, other));
            if better {
                current.insert(id, worker);
            }
        }
    }
    current
}

/// How many entries a list may have, should all be as long as the longest.
fn limit<'a>(entries: impl Iterator<Item = &'a ClusterNode>) -> usize {
    entries.map(|entry| entry.encode().len() + 1).max().map_or(usize::MAX, |longest| LIST_BYTES / longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClusterKind;

    fn cluster(id: &str, bk_biz_id: i64) -> Cluster {
        Cluster {
            id: id.to_owned(),
            project_id: "p".to_owned(),
            bk_biz_id,
            kind: ClusterKind::K8s,
            previous_bk_biz_ids: Vec::new(),
        }
    }

    fn list(ids: &[&str]) -> Vec<ClusterNode> {
        ids.iter().map(|id| ClusterNode::from(&cluster(id, 1))).collect()
    }

    fn lists(workers: &[(&str, &[&str])]) -> Lists {
        workers.iter().map(|(worker, ids)| ((*worker).to_owned(), list(ids))).collect()
    }

    fn present(workers: &[&str]) -> BTreeMap<String, Presence> {
        workers.iter().map(|worker| ((*worker).to_owned(), Presence::Alive)).collect()
    }

    fn nodes(nodes: Vec<ClusterNode>) -> BTreeMap<String, ClusterNode> {
        nodes.into_iter().map(|node| (node.clusterid.clone(), node)).collect()
    }

    #[test]
    fn nodes_that_say_what_is_in_force_are_not_written() {
        let known = nodes(list(&["a", "b"]));
        assert!(bookkeeping(&known, &[cluster("a", 1), cluster("b", 1)], "now").is_empty());
    }

    #[test]
    fn a_changed_business_is_remembered_until_it_is_clean_and_not_when_the_cluster_is_back() {
        let check = |previous: &[i64], from: i64, to: i64, expected: &[i64]| {
            let node = ClusterNode {
                previous_bk_biz_ids: previous.to_vec(),
                ..ClusterNode::from(&cluster("a", from))
            };
            let written = bookkeeping(&nodes(vec![node]), &[cluster("a", to)], "now");
            assert_eq!(written[0].previous_bk_biz_ids, expected);
        };
        check(&[], 1, 2, &[1]);
        check(&[1], 2, 3, &[1, 2]);
        check(&[1], 2, 1, &[2]);
        check(&[], 0, 2, &[]);
    }

    #[test]
    fn what_a_worker_cleaned_does_not_come_back() {
        let mut in_force = cluster("a", 2);
        in_force.previous_bk_biz_ids = vec![1];
        let cleaned = nodes(vec![ClusterNode::from(&cluster("a", 2))]);
        assert!(bookkeeping(&cleaned, &[in_force], "now").is_empty());
    }

    #[test]
    fn a_cluster_that_left_keeps_its_node_and_its_time() {
        let left = bookkeeping(&nodes(list(&["a"])), &[], "now");
        assert_eq!(left[0].left_since, "now");
        assert!(bookkeeping(&nodes(left.clone()), &[], "later").is_empty());
        let back = bookkeeping(&nodes(left), &[cluster("a", 1)], "later");
        assert_eq!(back[0].left_since, "");
    }

    #[test]
    fn a_move_leaves_the_old_node_before_it_enters_the_new_one() {
        let all: Vec<Cluster> = ["a", "b", "c", "d"].map(|id| cluster(id, 1)).to_vec();
        let before = lists(&[("w1", &["a", "b", "c", "d"])]);
        let steps = plan(&all, &before, &present(&["w1", "w2"]), &BTreeMap::new());
        assert_eq!((steps.moved, steps.unassigned), (2, 0));
        assert_eq!(steps.shrinks["w1"].len(), 2);
        assert_eq!(steps.grows.keys().collect::<Vec<_>>(), ["w2"]);
        let both = steps.shrinks["w1"].iter().filter(|entry| steps.grows["w2"].contains(entry)).count();
        assert_eq!(both, 0);
    }

    #[test]
    fn a_worker_that_is_gone_loses_its_node_and_its_clusters() {
        let all = [cluster("a", 1), cluster("b", 1)];
        let before = lists(&[("w1", &["a"]), ("w2", &["b"])]);
        let steps = plan(&all, &before, &present(&["w1"]), &BTreeMap::new());
        assert_eq!((steps.deletes, steps.moved), (vec!["w2".to_owned()], 1));
        assert_eq!(steps.grows, lists(&[("w1", &["a", "b"])]));
    }

    #[test]
    fn a_fleet_at_rest_is_not_written_and_a_changed_business_only_where_it_is() {
        let all = [cluster("a", 1), cluster("b", 1)];
        let before = lists(&[("w1", &["a"]), ("w2", &["b"])]);
        let workers = present(&["w1", "w2"]);
        assert_eq!(plan(&all, &before, &workers, &BTreeMap::new()), Steps::default());
        let steps = plan(&[cluster("a", 2), cluster("b", 1)], &before, &workers, &BTreeMap::new());
        assert!(steps.shrinks.is_empty());
        assert_eq!(steps.grows.keys().collect::<Vec<_>>(), ["w1"]);
    }

    #[test]
    fn a_cluster_listed_twice_stays_with_the_holder_of_its_lock() {
        let all = [cluster("a", 1), cluster("b", 1), cluster("c", 1), cluster("d", 1)];
        let before = lists(&[("w1", &["a", "b"]), ("w2", &["a", "c", "d"])]);
        assert_eq!(listed_twice(&before), BTreeSet::from(["a".to_owned()]));
        for (holder, loser) in [("w1", "w2"), ("w2", "w1")] {
            let holders = BTreeMap::from([("a".to_owned(), holder.to_owned())]);
            let steps = plan(&all, &before, &present(&["w1", "w2"]), &holders);
            assert_eq!(steps.shrinks.keys().collect::<Vec<_>>(), [loser]);
            assert_eq!(steps.moved, 0);
        }
    }

    #[test]
    fn a_list_never_outgrows_its_node() {
        let all: Vec<Cluster> = (0..20_000).map(|index| cluster(&format!("BCS-K8S-{index:05}"), 1)).collect();
        let steps = plan(&all, &Lists::new(), &present(&["w1"]), &BTreeMap::new());
        let bytes = crate::coordination::layout::encode_worker(&steps.grows["w1"]).len();
        assert!(bytes > LIST_BYTES / 2 && bytes <= LIST_BYTES + 2, "{bytes}");
        assert_eq!(steps.unassigned, 20_000 - steps.grows["w1"].len());
    }
}
