//! What the metrics show beyond the status snapshot: histograms and request counters.
//!
//! Plain numbers of one moment, gathered at scrape time; the names they go by are `observe`'s.

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::http::StatsSnapshot;

/// Upper bounds of the buckets in seconds: from a cached write to a full sync of a very large cluster.
pub const BOUNDS: [f64; 14] =
    [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0];

/// Durations by size, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistogramSnapshot {
    /// Durations of at most [`BOUNDS`]`[i]`, each counted once, in the first bucket that holds it;
    /// longer ones are in none.
    pub buckets: [u64; BOUNDS.len()],
    /// All durations.
    pub count: u64,
    /// Their sum in seconds.
    pub sum: f64,
}

/// Durations by size, as they happen.
#[derive(Debug, Default)]
pub struct Histogram {
    now: Mutex<HistogramSnapshot>,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let mut now = self.now.lock();
        now.count += 1;
        now.sum += seconds;
        if let Some(bucket) = BOUNDS.iter().position(|bound| seconds <= *bound) {
            now.buckets[bucket] += 1;
        }
    }

    /// The numbers now.
    pub fn snapshot(&self) -> HistogramSnapshot {
        self.now.lock().clone()
    }
}

/// One cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterNumbers {
    /// From the arrival of a storage event to the acknowledgement of its write.
    pub sync_lag: HistogramSnapshot,
    /// Full synchronisations, failed ones included.
    pub full_sync_duration: HistogramSnapshot,
    /// When the last full sync ended well, in seconds since 1970.
    pub full_sync_last_success: Option<f64>,
    /// Records created, updated and deleted by full syncs since the start.
    pub full_sync_changes: [u64; 3],
    /// Pods with events waiting at the gate.
    pub event_queue_length: usize,
}

/// The whole instance.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Requests to the CMDB.
    pub cmdb: StatsSnapshot,
    /// Requests to bcs-storage.
    pub storage: StatsSnapshot,
    /// Requests to paas-cc.
    pub paas: StatsSnapshot,
    /// Clusters moved between workers, by this instance as master.
    pub reassignments: u64,
    /// ZooKeeper sessions so far.
    pub zookeeper_sessions: u64,
    /// Writes that were not sent because the lease or the lock was in doubt.
    pub writes_refused_by_fence: u64,
    /// Clusters by id.
    pub clusters: BTreeMap<String, ClusterNumbers>,
}

/// Gathers the numbers; the controller implements it.
pub trait MetricsSource: Send + Sync + 'static {
    /// The numbers now. Called once a scrape.
    fn numbers(&self) -> Numbers;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_once_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        for millis in [0, 10, 11, 2_000_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let snapshot = histogram.snapshot();
        assert_eq!(snapshot.buckets[..3], [2, 1, 0]);
        assert_eq!(snapshot.buckets.iter().sum::<u64>(), 3, "the longest is in no bucket");
        assert_eq!((snapshot.count, snapshot.sum), (4, 2000.021));
    }
}
