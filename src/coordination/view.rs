//! Who does what, read from ZooKeeper for people to look at.

use super::client::{CallError, Client};
use super::election::{self, Member};
use super::layout::{self, ClusterNode};
use super::{AssignmentView, WorkerView};
use std::collections::{BTreeMap, BTreeSet};

/// Most nodes of clusters read for one view: those that no living worker has. A fleet at rest has
/// none but the ones that left.
const NODES: usize = 2_000;

/// Reads the assignment as it stands. Any instance can.
pub fn read(client: &Client) -> Result<AssignmentView, CallError> {
    let members = election::members(client, false)?;
    let mut lists = BTreeMap::new();
    for name in client.children(layout::WORKERS, false)? {
        match client.read(&layout::child(layout::WORKERS, &name), false) {
            Ok((data, _)) => {
                let (list, _) = layout::parse_worker(&data).unwrap_or_default();
                lists.insert(name, list.into_iter().map(|entry| entry.clusterid).collect());
            }
            Err(CallError::NoNode(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let (mut view, homeless) = arrange(&members, lists, client.children(layout::CLUSTERS, false)?);
    for id in homeless.into_iter().take(NODES) {
        match client.read(&layout::child(layout::CLUSTERS, &id), false) {
            Ok((data, _)) => {
                let node = ClusterNode::parse(&id, &data).unwrap_or_default();
                if node.left_since.is_empty() { view.unassigned.push(id) } else { view.left.push(id) }
            }
            Err(CallError::NoNode(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(view)
}

/// Workers with what they have, and the clusters that no living one of them has.
fn arrange(
    members: &[Member],
    lists: BTreeMap<String, Vec<String>>,
    clusters: Vec<String>,
) -> (AssignmentView, BTreeSet<String>) {
    let alive: BTreeMap<&str, &Member> = members.iter().map(|m| (m.instance.as_str(), m)).collect();
    let mut homeless: BTreeSet<String> = clusters.into_iter().collect();
    let mut workers: BTreeMap<String, WorkerView> = alive
        .iter()
        .map(|(name, member)| {
            let instance = (*name).to_owned();
            let version = member.info.version.clone();
            (instance.clone(), WorkerView { instance, alive: true, version, clusters: Vec::new() })
        })
        .collect();
    for (name, clusters) in lists {
        let worker = workers
            .entry(name.clone())
            .or_insert_with(|| WorkerView { instance: name, ..WorkerView::default() });
        if worker.alive {
            clusters.iter().for_each(|id| drop(homeless.take(id)));
        }
        worker.clusters = clusters;
    }
    let master = election::master(members).map(|member| member.instance.clone());
    let view =
        AssignmentView { master, workers: workers.into_values().collect(), ..AssignmentView::default() };
    (view, homeless)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::ServerInfo;

    #[test]
    fn clusters_of_workers_that_are_not_there_are_nobodys() {
        let member = Member {
            node: "w10000000001".to_owned(),
            instance: "w1".to_owned(),
            info: ServerInfo { version: "7".to_owned(), ..ServerInfo::default() },
            mzxid: 1,
        };
        let lists = BTreeMap::from([
            ("w1".to_owned(), vec!["a".to_owned()]),
            ("w2".to_owned(), vec!["b".to_owned()]),
        ]);
        let (view, homeless) = arrange(&[member], lists, ["a", "b", "c"].map(str::to_owned).to_vec());
        assert_eq!(view.master.as_deref(), Some("w1"));
        let shown: Vec<(&str, bool, &str)> =
            view.workers.iter().map(|w| (w.instance.as_str(), w.alive, w.version.as_str())).collect();
        assert_eq!(shown, [("w1", true, "7"), ("w2", false, "")]);
        assert_eq!(homeless, BTreeSet::from(["b".to_owned(), "c".to_owned()]));
    }
}
