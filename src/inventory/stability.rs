//! What to believe of a pull: a cluster appears at once, but leaves, or changes whose it is, only
//! after equal complete pulls (design.md 4).
//!
//! One odd answer of paas-cc must not move thousands of records. Pure: no clock, no I/O.

use super::Inventory;
use crate::model::Cluster;
use std::collections::BTreeMap;

/// How many complete pulls must say the same before a cluster leaves or changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// One: who edits a file means it.
    AtOnce,
    /// Two in a row.
    Twice,
}

/// The clusters in force, and the changes that still need a second pull.
#[derive(Debug)]
pub struct Stability {
    confirmation: Confirmation,
    effective: BTreeMap<String, Cluster>,
    /// Per cluster what the last complete pull said about it, if not what is in force;
    /// `None`: that it is gone.
    pending: BTreeMap<String, Option<Cluster>>,
}

impl Stability {
    /// Starts from what is known to be in force; nothing on a first start.
    pub fn new(confirmation: Confirmation, known: Vec<Cluster>) -> Self {
        let effective = known.into_iter().map(|cluster| (cluster.id.clone(), cluster)).collect();
        Self { confirmation, effective, pending: BTreeMap::new() }
    }

    /// Takes in a pull; the clusters in force after it, sorted by id.
    ///
    /// A new cluster counts at once, also in an incomplete pull. Everything else that differs
    /// (gone, another business, project or kind) needs complete pulls; an incomplete one neither
    /// confirms nor clears it. A changed business goes into `previous_bk_biz_ids`.
    pub fn observe(&mut self, pull: &Inventory) -> Vec<Cluster> {
        let seen: BTreeMap<&str, &Cluster> = pull.clusters.iter().map(|c| (c.id.as_str(), c)).collect();
        if pull.complete {
            let claims: Vec<(String, Option<Cluster>)> = self
                .effective
                .keys()
                .map(|id| (id.clone(), seen.get(id.as_str()).map(|c| (*c).clone())))
                .collect();
            for (id, claim) in claims {
                self.consider(id, claim);
            }
        }
        for (id, cluster) in seen {
            // A cluster that just left is not in this pull, so it cannot come back here.
            self.effective.entry(id.to_owned()).or_insert_with(|| cluster.clone());
        }
        self.effective.values().cloned().collect()
    }

    /// The records of `cluster_id` in business `biz` are gone: it need not be remembered.
    pub fn forget_previous(&mut self, cluster_id: &str, biz: i64) {
        if let Some(cluster) = self.effective.get_mut(cluster_id) {
            cluster.previous_bk_biz_ids.retain(|previous| *previous != biz);
        }
    }

    /// What a complete pull says about a cluster in force.
    fn consider(&mut self, id: String, claim: Option<Cluster>) {
        let Some(current) = self.effective.get(&id) else { return };
        if claim.as_ref().is_some_and(|claim| same_owner(claim, current)) {
            self.pending.remove(&id);
            return;
        }
        let confirmed = match self.confirmation {
            Confirmation::AtOnce => true,
            Confirmation::Twice => self.pending.get(&id) == Some(&claim),
        };
        if !confirmed {
            self.pending.insert(id, claim);
            return;
        }
        self.pending.remove(&id);
        match claim {
            None => self.effective.remove(&id),
            Some(claim) => {
                let moved = moved(current, claim);
                self.effective.insert(id, moved)
            }
        };
    }
}

/// Whether both say the same; what happened before is not theirs to say.
fn same_owner(a: &Cluster, b: &Cluster) -> bool {
    (a.bk_biz_id, &a.project_id, a.kind) == (b.bk_biz_id, &b.project_id, b.kind)
}

/// The cluster as claimed, remembering every business that may still hold records of it.
fn moved(from: &Cluster, mut to: Cluster) -> Cluster {
    let left = from.previous_bk_biz_ids.iter().chain([&from.bk_biz_id]);
    to.previous_bk_biz_ids = left.copied().filter(|biz| *biz != to.bk_biz_id).collect();
    to.previous_bk_biz_ids.sort_unstable();
    to.previous_bk_biz_ids.dedup();
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClusterKind;

    fn cluster(id: &str, biz: i64) -> Cluster {
        Cluster {
            id: id.to_owned(),
            project_id: "p".to_owned(),
            bk_biz_id: biz,
            kind: ClusterKind::K8s,
            previous_bk_biz_ids: Vec::new(),
        }
    }

    /// Pulls written as `A2 B3` (cluster and business), incomplete ones with a leading `~`, and
    /// what is in force after each, `A3(2)` for a business before.
    fn check(confirmation: Confirmation, pulls: &[(&str, &str)]) {
        let mut stability = Stability::new(confirmation, Vec::new());
        for (step, (pull, expected)) in pulls.iter().enumerate() {
            let clusters = pull.trim_start_matches('~').split_whitespace();
            let inventory = Inventory {
                clusters: clusters.map(|word| cluster(&word[..1], word[1..].parse().unwrap())).collect(),
                complete: !pull.starts_with('~'),
                problems: Vec::new(),
            };
            let shown: Vec<String> = stability.observe(&inventory).iter().map(show).collect();
            assert_eq!(shown.join(" "), *expected, "after pull {step}: {pull}");
        }
    }

    fn show(cluster: &Cluster) -> String {
        let previous: Vec<String> = cluster.previous_bk_biz_ids.iter().map(i64::to_string).collect();
        let previous = if previous.is_empty() { String::new() } else { format!("({})", previous.join(",")) };
        format!("{}{}{previous}", cluster.id, cluster.bk_biz_id)
    }

    #[test]
    fn a_cluster_leaves_after_two_complete_pulls_without_it() {
        check(Confirmation::Twice, &[("A2 B3", "A2 B3"), ("A2", "A2 B3"), ("A2", "A2")]);
        check(Confirmation::Twice, &[("A2", "A2"), ("", "A2"), ("A2", "A2"), ("", "A2"), ("", "")]);
        check(
            Confirmation::Twice,
            &[("A2", "A2"), ("~", "A2"), ("~", "A2"), ("", "A2"), ("~", "A2"), ("", "")],
        );
    }

    #[test]
    fn a_cluster_moves_after_two_equal_complete_pulls() {
        check(Confirmation::Twice, &[("A2", "A2"), ("A3", "A2"), ("A3", "A3(2)")]);
        check(
            Confirmation::Twice,
            &[("A2", "A2"), ("A3", "A2"), ("A4", "A2"), ("A3", "A2"), ("A3", "A3(2)")],
        );
        check(Confirmation::Twice, &[("A2", "A2"), ("A3", "A2"), ("", "A2"), ("A3", "A2"), ("A3", "A3(2)")]);
        check(Confirmation::Twice, &[("A2", "A2"), ("A3", "A2"), ("~A3", "A2"), ("A3", "A3(2)")]);
    }

    #[test]
    fn every_business_a_cluster_had_is_remembered_but_its_own() {
        let at_once = [("A2", "A2"), ("A3", "A3(2)"), ("A4", "A4(2,3)"), ("A2", "A2(3,4)")];
        check(Confirmation::AtOnce, &at_once);
        let mut stability = Stability::new(Confirmation::AtOnce, Vec::new());
        for biz in [2, 3] {
            let clusters = vec![cluster("A", biz)];
            stability.observe(&Inventory { clusters, complete: true, problems: Vec::new() });
        }
        stability.forget_previous("A", 2);
        stability.forget_previous("B", 2);
        let incomplete = Inventory::default();
        assert_eq!(stability.observe(&incomplete), [cluster("A", 3)]);
    }

    #[test]
    fn a_new_cluster_counts_at_once_even_in_a_partial_pull() {
        check(Confirmation::Twice, &[("~A2", "A2"), ("~B3", "A2 B3"), ("A2 B3 C4", "A2 B3 C4")]);
    }

    #[test]
    fn who_edits_a_file_means_it_but_a_broken_file_says_nothing() {
        check(Confirmation::AtOnce, &[("A2 B3", "A2 B3"), ("~", "A2 B3"), ("A3", "A3(2)"), ("", "")]);
    }

    #[test]
    fn a_new_master_starts_from_what_is_in_force() {
        let mut known = cluster("A", 2);
        known.previous_bk_biz_ids = vec![9];
        let mut stability = Stability::new(Confirmation::Twice, vec![known.clone()]);
        let pull = Inventory { complete: true, ..Inventory::default() };
        assert_eq!(stability.observe(&pull), [known]);
        assert_eq!(stability.observe(&pull), []);
    }
}
