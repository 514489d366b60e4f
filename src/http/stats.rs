//! What a client of ours counts: requests by operation and outcome, and how long they took.
//!
//! Plain numbers; who shows them, and under which names, is not known here.

use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;

/// Upper bounds of the duration buckets, in seconds: from a cached answer on the same host to the
/// default request timeout of 30 s.
pub const BUCKETS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 30.0];

/// How a request ended (interface.md 4, label `outcome`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It did what it was sent for.
    Ok,
    /// The peer understood it and said no.
    Refused,
    /// No connection, a broken one, or an answer that makes no sense.
    Error,
    /// No answer in time.
    Timeout,
}

impl Outcome {
    /// All of them, in the order of [`OperationStats::outcomes`].
    pub const ALL: [Self; 4] = [Self::Ok, Self::Refused, Self::Error, Self::Timeout];

    /// The label's value.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Error => "error",
            Self::Timeout => "timeout",
        }
    }
}

/// Counters of one operation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OperationStats {
    /// Requests by outcome, in the order of [`Outcome::ALL`].
    pub outcomes: [u64; 4],
    /// Requests that took at most [`BUCKETS`]`[i]`, each counted once, in the first bucket that
    /// holds it; longer ones are in none.
    pub buckets: [u64; BUCKETS.len()],
    /// Time all of them took.
    pub total: Duration,
}

impl OperationStats {
    /// Requests of that outcome.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// All requests.
    pub fn requests(&self) -> u64 {
        self.outcomes.iter().sum()
    }
}

/// The counters at one moment, by operation (`create`, `list`, …).
pub type StatsSnapshot = BTreeMap<&'static str, OperationStats>;

/// The counters of one client; shared with whoever shows them.
#[derive(Debug, Default)]
pub struct RequestStats {
    operations: Mutex<StatsSnapshot>,
}

impl RequestStats {
    /// Counts one request. The lock is held for a handful of additions.
    pub fn record(&self, operation: &'static str, outcome: Outcome, took: Duration) {
        let mut operations = self.operations.lock();
        let stats = operations.entry(operation).or_default();
        stats.outcomes[outcome as usize] += 1;
        stats.total += took;
        let seconds = took.as_secs_f64();
        if let Some(bucket) = BUCKETS.iter().position(|bound| seconds <= *bound) {
            stats.buckets[bucket] += 1;
        }
    }

    /// The counters now.
    pub fn snapshot(&self) -> StatsSnapshot {
        self.operations.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_operation_outcome_and_duration() {
        let stats = RequestStats::default();
        stats.record("list", Outcome::Ok, Duration::from_millis(7));
        stats.record("list", Outcome::Timeout, Duration::from_secs(60));
        stats.record("get", Outcome::Refused, Duration::ZERO);
        let snapshot = stats.snapshot();
        let list = &snapshot["list"];
        assert_eq!((list.count(Outcome::Ok), list.count(Outcome::Timeout), list.requests()), (1, 1, 2));
        assert_eq!(list.buckets, [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(list.total, Duration::from_millis(60_007));
        assert_eq!(snapshot["get"].count(Outcome::Refused), 1);
    }

    #[test]
    fn outcomes_stand_in_the_order_of_their_counters() {
        for (index, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, index, "{}", outcome.as_str());
        }
    }
}
