//! Coordination of an instance that is alone: every cluster of the inventory is its own, and its
//! fence is always open.
//!
//! One thread pulls the inventory; what is believed of a pull is the inventory's own rule.

use super::{AssignmentView, Coordination, CoordinationStatus, Feed, Latest, Lock, Looker, WorkerView};
use crate::inventory::{Confirmation, Inventory, Stability};
use crate::model::{Cluster, NoFence};
use crossbeam::channel::{Receiver, never};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

/// The instance that is alone. Stops when dropped.
pub struct Standalone {
    instance: String,
    version: &'static str,
    assigned: Receiver<Arc<Vec<Cluster>>>,
    shared: Arc<Mutex<Shared>>,
    inventory: Mutex<Looker>,
}

/// What is known, and what the service reported about it.
struct Shared {
    stability: Stability,
    clusters: Arc<Vec<Cluster>>,
    /// Clusters that were there once.
    left: BTreeSet<String>,
    problems: Vec<String>,
}

impl Standalone {
    /// Starts pulling at once. `instance` is `ip:port` for the assignment view.
    ///
    /// # Errors
    /// The machine grants no thread.
    pub fn start(instance: String, version: &'static str, feed: Feed) -> io::Result<Self> {
        let (latest, assigned) = Latest::channel();
        let shared = Arc::new(Mutex::new(Shared::new(feed.confirmation)));
        let (mut feed, mut first, seen) = (feed, true, Arc::clone(&shared));
        let inventory = Looker::start("inventory", never(), move || {
            let pulled = (feed.pull)();
            let mut shared = seen.lock();
            if shared.take(pulled) || first {
                latest.send(Arc::clone(&shared.clusters));
            }
            first = false;
            (feed.interval)()
        })?;
        Ok(Self { instance, version, assigned, shared, inventory: Mutex::new(inventory) })
    }
}

impl Shared {
    fn new(confirmation: Confirmation) -> Self {
        let stability = Stability::new(confirmation, Vec::new());
        Self { stability, clusters: Arc::default(), left: BTreeSet::new(), problems: Vec::new() }
    }

    /// Takes a pull over; whether the clusters changed.
    fn take(&mut self, pulled: Result<Inventory, String>) -> bool {
        let inventory = match pulled {
            Ok(inventory) => inventory,
            Err(problem) => {
                self.problems = vec![problem];
                return false;
            }
        };
        let clusters = self.stability.observe(&inventory);
        self.problems = inventory.problems;
        self.left.extend(self.clusters.iter().map(|cluster| cluster.id.clone()));
        for cluster in &clusters {
            self.left.remove(&cluster.id);
        }
        let changed = clusters != *self.clusters;
        self.clusters = Arc::new(clusters);
        changed
    }
}

impl Coordination for Standalone {
    fn assigned(&self) -> &Receiver<Arc<Vec<Cluster>>> {
        &self.assigned
    }

    fn acquire(&self, _cluster_id: &str) -> Lock {
        Lock::Held(Arc::new(NoFence))
    }

    fn release(&self, _cluster_id: &str) {}

    fn business_cleaned(&self, cluster_id: &str, bk_biz_id: i64) {
        self.shared.lock().stability.forget_previous(cluster_id, bk_biz_id);
    }

    fn status(&self) -> CoordinationStatus {
        CoordinationStatus {
            mode: "standalone",
            role: "master",
            state: "standalone",
            last_heartbeat_seconds_ago: None,
            sessions: 0,
            reassignments: 0,
            problems: self.shared.lock().problems.clone(),
            thread_troubles: self.inventory.lock().trouble().into_iter().collect(),
            clock_ahead_ms: None,
            fatal: None,
        }
    }

    fn assignment(&self) -> AssignmentView {
        let shared = self.shared.lock();
        let worker = WorkerView {
            instance: self.instance.clone(),
            alive: true,
            version: self.version.to_owned(),
            clusters: shared.clusters.iter().map(|cluster| cluster.id.clone()).collect(),
        };
        AssignmentView {
            master: Some(self.instance.clone()),
            workers: vec![worker],
            unassigned: Vec::new(),
            left: shared.left.iter().cloned().collect(),
        }
    }

    fn stop(&self) {
        self.inventory.lock().stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::Pull;
    use crate::model::ClusterKind;
    use std::time::{Duration, Instant};

    fn cluster(id: &str, bk_biz_id: i64) -> Cluster {
        Cluster {
            id: id.to_owned(),
            project_id: "p".to_owned(),
            bk_biz_id,
            kind: ClusterKind::K8s,
            previous_bk_biz_ids: Vec::new(),
        }
    }

    fn inventory(clusters: Vec<Cluster>) -> Result<Inventory, String> {
        Ok(Inventory { clusters, complete: true, problems: Vec::new() })
    }

    fn start(pull: Pull) -> Standalone {
        let feed =
            Feed { pull, interval: Box::new(|| Duration::from_secs(60)), confirmation: Confirmation::AtOnce };
        Standalone::start("127.0.0.1:1".to_owned(), "1", feed).unwrap()
    }

    #[test]
    fn a_failed_pull_changes_nothing_and_says_why() {
        let mut shared = Shared::new(Confirmation::AtOnce);
        assert!(shared.take(inventory(vec![cluster("a", 1)])));
        assert!(!shared.take(Err("paas-cc is down".to_owned())));
        assert_eq!(*shared.clusters, [cluster("a", 1)]);
        assert_eq!(shared.problems, ["paas-cc is down"]);
    }

    #[test]
    fn a_cluster_that_left_is_shown_until_it_is_back() {
        let mut shared = Shared::new(Confirmation::AtOnce);
        for (clusters, left) in [(vec![cluster("a", 1)], 0), (vec![], 1), (vec![cluster("a", 1)], 0)] {
            shared.take(inventory(clusters));
            assert_eq!(shared.left.len(), left);
        }
    }

    #[test]
    fn a_business_that_was_cleaned_is_not_cleaned_again() {
        let mut shared = Shared::new(Confirmation::AtOnce);
        let previous = |shared: &mut Shared, biz| {
            shared.take(inventory(vec![cluster("a", biz)]));
            shared.clusters[0].previous_bk_biz_ids.clone()
        };
        assert!(previous(&mut shared, 1).is_empty());
        assert_eq!(previous(&mut shared, 2), [1]);
        shared.stability.forget_previous("a", 1);
        assert!(previous(&mut shared, 2).is_empty());
    }

    #[test]
    fn a_thread_that_is_gone_is_named() {
        let alone = start(Box::new(|| panic!("for this test")));
        assert!(alone.assigned().recv_timeout(Duration::from_secs(60)).is_err());
        // What it had is gone a moment before the thread is.
        let deadline = Instant::now() + Duration::from_secs(60);
        while alone.status().thread_troubles.is_empty() && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert_eq!(alone.status().thread_troubles, ["thread \"inventory\" has ended"]);
    }

    #[test]
    fn every_cluster_is_assigned_at_once_and_the_channel_ends_with_the_instance() {
        let alone = start(Box::new(|| inventory(vec![cluster("a", 1)])));
        let assigned = alone.assigned().recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(*assigned, [cluster("a", 1)]);
        assert!(matches!(alone.acquire("a"), Lock::Held(fence) if fence.permit().is_ok()));
        assert_eq!(alone.assignment().workers[0].clusters, ["a"]);
        alone.stop();
        assert!(alone.assigned().recv().is_err());
    }
}
