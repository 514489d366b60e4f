//! Coordination of an instance that is alone: every cluster of the inventory is its own, and its
//! fence is always open.
//!
//! One thread pulls the inventory. A pull that fails changes nothing, one that is not complete only
//! adds.

use super::{AssignmentView, Coordination, CoordinationStatus, Latest, Lock, Pull, WorkerView};
use crate::inventory::Inventory;
use crate::model::{Cluster, NoFence};
use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, bounded};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long a stop waits for a pull that is under way: it only reads, so it may as well end on its
/// own after that.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// The instance that is alone. Stops when dropped.
pub struct Standalone {
    instance: String,
    version: &'static str,
    assigned: Receiver<Arc<Vec<Cluster>>>,
    shared: Arc<Mutex<Shared>>,
    thread: Mutex<Option<Puller>>,
}

/// What is known, and what the service reported about it.
#[derive(Default)]
struct Shared {
    clusters: Arc<Vec<Cluster>>,
    problems: Vec<String>,
    /// Businesses without a record of a cluster, until that cluster returns to them.
    cleaned: HashSet<(String, i64)>,
}

/// The thread, and how to end it.
struct Puller {
    handle: JoinHandle<()>,
    /// Dropped: stop.
    stop: Sender<()>,
    /// Disconnected: ended.
    ended: Receiver<()>,
}

impl Standalone {
    /// Starts pulling at once, and again every `interval`. `instance` is `ip:port` for the
    /// assignment view.
    ///
    /// # Errors
    /// The machine grants no thread.
    pub fn start(
        instance: String,
        version: &'static str,
        pull: Pull,
        interval: Duration,
    ) -> std::io::Result<Self> {
        let (latest, assigned) = Latest::channel();
        let (stop, stopped) = bounded(0);
        let (end, ended) = bounded(0);
        let shared = Arc::new(Mutex::new(Shared::default()));
        let seen = Arc::clone(&shared);
        let handle = std::thread::Builder::new().name("inventory".to_owned()).spawn(move || {
            let _end: Sender<()> = end;
            pull_until_stopped(pull, interval, &stopped, &seen, &latest);
        })?;
        let thread = Mutex::new(Some(Puller { handle, stop, ended }));
        Ok(Self { instance, version, assigned, shared, thread })
    }
}

fn pull_until_stopped(
    mut pull: Pull,
    interval: Duration,
    stopped: &Receiver<()>,
    shared: &Mutex<Shared>,
    latest: &Latest<Arc<Vec<Cluster>>>,
) {
    let mut first = true;
    loop {
        let pulled = pull();
        {
            let mut shared = shared.lock();
            if shared.take(pulled) || first {
                latest.send(Arc::clone(&shared.clusters));
            }
        }
        first = false;
        if stopped.recv_timeout(interval) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

impl Shared {
    /// Takes a pull over; whether the clusters changed.
    fn take(&mut self, pulled: Result<Inventory, String>) -> bool {
        let inventory = match pulled {
            Ok(inventory) => inventory,
            Err(problem) => {
                self.problems = vec![problem];
                return false;
            }
        };
        self.problems = inventory.problems;
        let mut clusters: BTreeMap<String, Cluster> = BTreeMap::new();
        if !inventory.complete {
            clusters.extend(self.clusters.iter().map(|cluster| (cluster.id.clone(), cluster.clone())));
        }
        for mut cluster in inventory.clusters {
            self.cleaned.remove(&(cluster.id.clone(), cluster.bk_biz_id));
            cluster.previous_bk_biz_ids.retain(|biz| !self.cleaned.contains(&(cluster.id.clone(), *biz)));
            clusters.insert(cluster.id.clone(), cluster);
        }
        let clusters: Vec<Cluster> = clusters.into_values().collect();
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
        self.shared.lock().cleaned.insert((cluster_id.to_owned(), bk_biz_id));
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
            fatal: None,
        }
    }

    fn assignment(&self) -> AssignmentView {
        let clusters = self.shared.lock().clusters.iter().map(|cluster| cluster.id.clone()).collect();
        let worker = WorkerView {
            instance: self.instance.clone(),
            alive: true,
            version: self.version.to_owned(),
            clusters,
        };
        AssignmentView {
            master: Some(self.instance.clone()),
            workers: vec![worker],
            ..AssignmentView::default()
        }
    }

    fn stop(&self) {
        let Some(Puller { handle, stop, ended }) = self.thread.lock().take() else { return };
        drop(stop);
        match ended.recv_timeout(STOP_GRACE) {
            Err(RecvTimeoutError::Timeout) => log::debug!("inventory: a pull under way is left to end alone"),
            _ => drop(handle.join()),
        }
    }
}

impl Drop for Standalone {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClusterKind;
    use std::time::Instant;

    fn cluster(id: &str, bk_biz_id: i64, previous: &[i64]) -> Cluster {
        Cluster {
            id: id.to_owned(),
            project_id: "p".to_owned(),
            bk_biz_id,
            kind: ClusterKind::K8s,
            previous_bk_biz_ids: previous.to_vec(),
        }
    }

    fn inventory(clusters: Vec<Cluster>, complete: bool) -> Result<Inventory, String> {
        Ok(Inventory { clusters, complete, problems: Vec::new() })
    }

    /// The clusters after each of `pulls`.
    #[track_caller]
    fn check(pulls: Vec<Result<Inventory, String>>, expected: &[&[&str]]) {
        let mut shared = Shared::default();
        for (pull, expected) in pulls.into_iter().zip(expected) {
            shared.take(pull);
            let ids: Vec<&str> = shared.clusters.iter().map(|cluster| cluster.id.as_str()).collect();
            assert_eq!(ids, *expected);
        }
    }

    #[test]
    fn only_a_complete_pull_takes_a_cluster_away() {
        check(
            vec![
                inventory(vec![cluster("a", 1, &[]), cluster("b", 1, &[])], true),
                Err("paas-cc is down".to_owned()),
                inventory(vec![cluster("c", 1, &[])], false),
                inventory(vec![cluster("c", 1, &[])], true),
            ],
            &[&["a", "b"], &["a", "b"], &["a", "b", "c"], &["c"]],
        );
    }

    #[test]
    fn a_cleaned_business_is_not_cleaned_twice_but_again_after_the_cluster_was_back_there() {
        let mut shared = Shared::default();
        let previous = |shared: &mut Shared, biz, list: &[i64]| {
            shared.take(inventory(vec![cluster("a", biz, list)], true));
            shared.clusters[0].previous_bk_biz_ids.clone()
        };
        assert_eq!(previous(&mut shared, 2, &[1]), [1]);
        shared.cleaned.insert(("a".to_owned(), 1));
        assert!(previous(&mut shared, 2, &[1]).is_empty());
        assert_eq!(previous(&mut shared, 1, &[2]), [2]);
        assert_eq!(previous(&mut shared, 2, &[1]), [1]);
    }

    #[test]
    fn every_cluster_is_assigned_at_once_and_the_channel_ends_with_the_instance() {
        let pull: Pull = Box::new(|| inventory(vec![cluster("a", 1, &[])], true));
        let alone = Standalone::start("127.0.0.1:1".to_owned(), "1", pull, Duration::from_secs(60)).unwrap();
        let assigned = alone.assigned().recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!(*assigned, [cluster("a", 1, &[])]);
        assert!(matches!(alone.acquire("a"), Lock::Held(fence) if fence.permit().is_ok()));
        assert_eq!(alone.assignment().workers[0].clusters, ["a"]);
        alone.stop();
        assert!(alone.assigned().recv().is_err());
    }

    #[test]
    fn a_stop_does_not_wait_for_a_pull_that_hangs() {
        let (release, held) = bounded::<()>(0);
        let (begin, begun) = bounded::<()>(0);
        let pull: Pull = Box::new(move || {
            let _ = begin.send(());
            let _ = held.recv();
            Err("late".to_owned())
        });
        let alone = Standalone::start("127.0.0.1:1".to_owned(), "1", pull, Duration::from_secs(60)).unwrap();
        begun.recv().unwrap();
        let start = Instant::now();
        alone.stop();
        assert!(start.elapsed() < Duration::from_secs(1));
        drop(release);
    }
}
