//! The worker's side of the assignment: its own node in ZooKeeper becomes the set of clusters this
//! instance shall work on.
//!
//! The node lists the clusters; which businesses are still to be cleaned stands in each cluster's
//! own node. A node that is missing or cannot be read changes nothing: the master always writes
//! one, and until then the fences decide what may be written.

use crate::coordination::layout::{self, ClusterNode};
use crate::coordination::{CallError, Client, Latest, Looker, Session};
use crate::model::Cluster;
use crossbeam::channel::{Receiver, bounded};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Time between two looks when nothing wakes us, and after a failed one.
const CHECK: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(500);
/// Time after which every cluster's own node is read again: 200 clusters are 200 reads.
const REFRESH: Duration = Duration::from_secs(60);
/// Attempts to change a node others change too, before the next look.
const ATTEMPTS: usize = 3;

/// What changed between two sets of clusters, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Clusters that are new.
    pub added: Vec<String>,
    /// Clusters of which something is different.
    pub changed: Vec<String>,
    /// Clusters that are gone.
    pub removed: Vec<String>,
}

impl Changes {
    /// From `old` to `new`.
    pub fn between(old: &[Cluster], new: &[Cluster]) -> Self {
        let known: BTreeMap<&str, &Cluster> =
            old.iter().map(|cluster| (cluster.id.as_str(), cluster)).collect();
        let mut changes = Self::default();
        for cluster in new {
            match known.get(cluster.id.as_str()) {
                None => changes.added.push(cluster.id.clone()),
                Some(before) if **before != *cluster => changes.changed.push(cluster.id.clone()),
                Some(_) => {}
            }
        }
        let remaining: BTreeSet<&str> = new.iter().map(|cluster| cluster.id.as_str()).collect();
        changes.removed = known.into_keys().filter(|id| !remaining.contains(id)).map(str::to_owned).collect();
        changes
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.changed.is_empty() && self.removed.is_empty()
    }
}

/// The informer of one worker. Stops when dropped.
pub struct TaskInformer {
    shared: Arc<Shared>,
    assigned: Receiver<Arc<Vec<Cluster>>>,
    looker: Mutex<Looker>,
}

struct Shared {
    session: Arc<Session>,
    path: String,
    problem: Mutex<Option<String>>,
    /// Businesses found clean, to be taken off the clusters' nodes.
    cleaned: Mutex<BTreeSet<(String, i64)>>,
}

/// What the last look saw.
#[derive(Default)]
struct Seen {
    /// Per cluster its entry in the list, and the businesses its own node named then.
    known: BTreeMap<String, (ClusterNode, Vec<i64>)>,
    refreshed: Option<Instant>,
    sent: Option<Arc<Vec<Cluster>>>,
    /// Entries of the list that cannot be read.
    left_out: usize,
}

impl TaskInformer {
    /// Starts to follow the node of `instance`.
    ///
    /// # Errors
    /// The machine grants no thread.
    pub fn start(session: Arc<Session>, instance: &str) -> io::Result<Self> {
        let (wake, woken) = bounded(1);
        session.subscribe(layout::WORKERS, wake);
        let (latest, assigned) = Latest::channel();
        let shared = Arc::new(Shared {
            session,
            path: layout::child(layout::WORKERS, instance),
            problem: Mutex::default(),
            cleaned: Mutex::default(),
        });
        let (followed, mut seen) = (Arc::clone(&shared), Seen::default());
        let looker = Looker::start("task informer", woken, move || {
            let (problem, pause) = match followed.look(&mut seen) {
                Ok(None) => (None, CHECK),
                Ok(Some(clusters)) => {
                    seen.take(clusters, &latest);
                    (None, CHECK)
                }
                Err(error) => (Some(format!("assignment: {error}")), RETRY),
            };
            *followed.problem.lock() = problem;
            pause
        })?;
        Ok(Self { shared, assigned, looker: Mutex::new(looker) })
    }

    /// Whole sets of clusters; only the newest waits.
    pub fn assigned(&self) -> &Receiver<Arc<Vec<Cluster>>> {
        &self.assigned
    }

    /// No record of the cluster is left in that business.
    pub fn business_cleaned(&self, cluster_id: &str, bk_biz_id: i64) {
        self.shared.cleaned.lock().insert((cluster_id.to_owned(), bk_biz_id));
        self.looker.lock().poke();
    }

    /// What is wrong, in words.
    pub fn problem(&self) -> Option<String> {
        self.shared.problem.lock().clone()
    }

    /// What is wrong with its threads, in words.
    pub fn trouble(&self) -> Option<String> {
        self.looker.lock().trouble()
    }

    /// Stops the thread; the channel is disconnected.
    pub fn stop(&self) {
        self.looker.lock().stop();
    }
}

impl Shared {
    /// The clusters as the node lists them now; `None` while there is no node to read.
    fn look(&self, seen: &mut Seen) -> Result<Option<Vec<Cluster>>, CallError> {
        let Some(client) = self.session.client() else { return Ok(None) };
        self.take_off_cleaned(&client, seen)?;
        let data = match client.read(&self.path, true) {
            Ok((data, _)) => data,
            Err(CallError::NoNode(_)) => return client.watch(&self.path).map(|()| None),
            Err(error) => return Err(error),
        };
        let refused = |reason| CallError::Refused { path: self.path.clone(), reason };
        let (entries, left_out) = layout::parse_worker(&data).map_err(refused)?;
        if std::mem::replace(&mut seen.left_out, left_out) < left_out {
            log::warn!("{}: {left_out} entries cannot be read and are left out", self.path);
        }
        let refresh = seen.refreshed.is_none_or(|last| last.elapsed() > REFRESH);
        let mut known = BTreeMap::new();
        for entry in entries {
            let unchanged =
                seen.known.get(&entry.clusterid).filter(|(before, _)| !refresh && *before == entry);
            let previous = match unchanged {
                Some((_, previous)) => previous.clone(),
                None => previous_businesses(&client, &entry.clusterid)?,
            };
            known.insert(entry.clusterid.clone(), (entry, previous));
        }
        if refresh {
            seen.refreshed = Some(Instant::now());
        }
        seen.known = known;
        Ok(Some(seen.known.values().map(|(entry, previous)| assemble(entry, previous)).collect()))
    }

    /// Takes cleaned businesses off their clusters' nodes; what fails is tried again.
    fn take_off_cleaned(&self, client: &Client, seen: &mut Seen) -> Result<(), CallError> {
        let cleaned: Vec<(String, i64)> = self.cleaned.lock().iter().cloned().collect();
        for (id, business) in cleaned {
            take_off(client, &id, business)?;
            seen.known.remove(&id);
            self.cleaned.lock().remove(&(id, business));
        }
        Ok(())
    }
}

impl Seen {
    /// Passes a set on if it is another one than the last.
    fn take(&mut self, clusters: Vec<Cluster>, latest: &Latest<Arc<Vec<Cluster>>>) {
        let before = self.sent.as_ref().map_or(&[][..], |sent| sent);
        let changes = Changes::between(before, &clusters);
        if self.sent.is_some() && changes.is_empty() {
            return;
        }
        log::info!(
            "assigned: {} clusters ({} added, {} changed, {} removed)",
            clusters.len(),
            changes.added.len(),
            changes.changed.len(),
            changes.removed.len()
        );
        let clusters = Arc::new(clusters);
        self.sent = Some(Arc::clone(&clusters));
        latest.send(clusters);
    }
}

/// A cluster of the list, with what its own node says about businesses to be cleaned.
fn assemble(entry: &ClusterNode, previous: &[i64]) -> Cluster {
    let mut cluster = entry.cluster();
    cluster.previous_bk_biz_ids =
        previous.iter().copied().filter(|business| *business != cluster.bk_biz_id).collect();
    cluster
}

fn previous_businesses(client: &Client, id: &str) -> Result<Vec<i64>, CallError> {
    match client.read(&layout::child(layout::CLUSTERS, id), false) {
        Ok((data, _)) => Ok(ClusterNode::parse(id, &data).unwrap_or_default().previous_bk_biz_ids),
        Err(CallError::NoNode(_)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Takes a business off a cluster's node, whoever else changes that node meanwhile.
fn take_off(client: &Client, id: &str, business: i64) -> Result<(), CallError> {
    let path = layout::child(layout::CLUSTERS, id);
    let mut outcome = Ok(());
    for _ in 0..ATTEMPTS {
        let (data, stat) = match client.read(&path, false) {
            Ok(found) => found,
            Err(CallError::NoNode(_)) => return Ok(()),
            Err(error) => return Err(error),
        };
        let Ok(mut node) = ClusterNode::parse(id, &data) else { return Ok(()) };
        if !node.previous_bk_biz_ids.contains(&business) {
            return Ok(());
        }
        node.previous_bk_biz_ids.retain(|other| *other != business);
        outcome = client.write(&path, &node.encode(), Some(stat.version)).map(drop);
        if !matches!(outcome, Err(CallError::BadVersion(_))) {
            break;
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: &str, bk_biz_id: i64) -> ClusterNode {
        ClusterNode { clusterid: id.to_owned(), bk_biz_id, ..ClusterNode::default() }
    }

    #[test]
    fn a_set_says_what_was_added_changed_and_removed() {
        let set = |entries: &[ClusterNode]| -> Vec<Cluster> {
            entries.iter().map(|entry| assemble(entry, &[])).collect()
        };
        let changes =
            Changes::between(&set(&[entry("a", 1), entry("b", 1)]), &set(&[entry("b", 2), entry("c", 1)]));
        assert_eq!(
            (&changes.added[..], &changes.changed[..], &changes.removed[..]),
            (&["c".to_owned()][..], &["b".to_owned()][..], &["a".to_owned()][..],)
        );
        assert!(Changes::between(&set(&[entry("a", 1)]), &set(&[entry("a", 1)])).is_empty());
    }

    #[test]
    fn businesses_to_clean_come_from_the_clusters_own_node_and_never_name_the_present_one() {
        assert_eq!(assemble(&entry("a", 2), &[1, 2, 3]).previous_bk_biz_ids, [1, 3]);
        assert!(assemble(&entry("b", 1), &[]).previous_bk_biz_ids.is_empty());
    }

    #[test]
    fn the_first_set_is_passed_on_even_when_it_is_empty_and_equal_ones_once() {
        let (latest, received) = Latest::channel();
        let mut seen = Seen::default();
        for (clusters, sent) in [(vec![], true), (vec![], false), (vec![entry("a", 1).cluster()], true)] {
            seen.take(clusters, &latest);
            assert_eq!(received.try_recv().is_ok(), sent);
        }
    }
}
