//! Pods that come, change and go for as long as a test wants.

use crate::world::pods;
use bcs_bkcmdb_synchronizer::sandbox::storage::SimStorage;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::Duration;

/// Pause between two changes: 50 a second.
const PAUSE: Duration = Duration::from_millis(20);
/// Changes made by all churns of this process: versions and uids never come back.
static MADE: AtomicU64 = AtomicU64::new(0);
/// Pods of each cluster at most.
const PODS: usize = 5;

/// Puts a few pods into each cluster.
pub fn seed(storage: &SimStorage, clusters: &[String]) {
    for cluster in clusters {
        for number in 0..PODS - 2 {
            let uid = format!("uid-{cluster}-seed-{number}");
            storage.put(cluster, pods::pod_with_uid(&format!("web-{number}"), &uid, 1)).unwrap();
        }
    }
}

/// Changes pods until it is dropped.
pub struct Churn {
    stop: Arc<AtomicBool>,
    changes: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Churn {
    /// Starts to change pods of those clusters.
    pub fn start(storage: &SimStorage, clusters: Vec<String>) -> Self {
        let (stop, changes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, made, storage) = (Arc::clone(&stop), Arc::clone(&changes), storage.clone());
        let thread = std::thread::spawn(move || {
            let mut random = fastrand::Rng::with_seed(MADE.load(SeqCst));
            while !stopped.load(SeqCst) {
                made.fetch_add(1, SeqCst);
                let version = MADE.fetch_add(1, SeqCst) + 2;
                let cluster = &clusters[random.usize(..clusters.len())];
                let name = format!("web-{}", random.usize(..PODS));
                let known = storage.document(cluster, pods::NAMESPACE, &name);
                let uid = known.as_ref().and_then(|known| known.data.pointer("/metadata/uid")?.as_str());
                match (uid, random.usize(..5)) {
                    (Some(_), 0) => drop(storage.delete(cluster, pods::NAMESPACE, &name)),
                    (Some(uid), _) => {
                        let pod = pods::pod_with_uid(&name, uid, version);
                        let pod = pods::with(pod, "/metadata/labels/app", format!("v{version}"));
                        let pod = if random.bool() { pod } else { in_another_module(pod) };
                        storage.put(cluster, pod).unwrap();
                    }
                    (None, _) => {
                        let uid = format!("uid-{cluster}-{version}");
                        storage.put(cluster, pods::pod_with_uid(&name, &uid, version)).unwrap();
                    }
                }
                std::thread::sleep(PAUSE);
            }
        });
        Self { stop, changes, thread: Some(thread) }
    }

    /// Changes made so far.
    pub fn changes(&self) -> u64 {
        self.changes.load(SeqCst)
    }
}

/// The pod with annotations that name a module other than the default one.
fn in_another_module(pod: Value) -> Value {
    let annotations = json!({
        "set.bkcmdb.bkbcs.tencent.com": "game", "module.bkcmdb.bkbcs.tencent.com": "login",
    });
    pods::with(pod, "/metadata/annotations", annotations)
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.stop.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}
