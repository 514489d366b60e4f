//! Counters of one cluster.

use super::snapshot::EventCounts;
use crate::plan::{Moment, Outcome};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Counters that many threads add to.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub add: AtomicU64,
    pub change: AtomicU64,
    pub delete: AtomicU64,
    pub suppressed: AtomicU64,
    pub stale: AtomicU64,
    pub unknown_delete: AtomicU64,
    pub invalid: AtomicU64,
    pub created: AtomicU64,
    pub updated: AtomicU64,
    pub deleted: AtomicU64,
    pub retries: AtomicU64,
    pub missed: AtomicU64,
    /// Records of the CMDB that its last complete listing held and nothing can be done with.
    pub unusable_records: AtomicU64,
    pub in_flight: AtomicUsize,
    pub watch_connected: AtomicBool,
    pub watch_streams: AtomicU64,
    pub last_event: Mutex<Option<Moment>>,
    pub full_sync: Mutex<FullSyncStats>,
}

/// What full syncs did.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FullSyncStats {
    pub count: u64,
    pub last_outcome: Option<Outcome>,
    pub last_finished: Option<Moment>,
    pub last_success: Option<Moment>,
    pub last_duration: Option<Moment>,
    /// Of the last one: handed over, and for deletes carried out.
    pub created: u64,
    pub updated: u64,
    pub deleted: u64,
    /// Of all: the same.
    pub totals: [u64; 3],
    pub invalid_documents: u64,
}

impl Stats {
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub fn events(&self) -> EventCounts {
        EventCounts {
            add: self.add.load(Relaxed),
            change: self.change.load(Relaxed),
            delete: self.delete.load(Relaxed),
            suppressed: self.suppressed.load(Relaxed),
            stale: self.stale.load(Relaxed),
            unknown_delete: self.unknown_delete.load(Relaxed),
            invalid: self.invalid.load(Relaxed),
        }
    }
}

/// The outcome as interface.md 3 names it.
pub(super) fn outcome_name(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        None => "never",
        Some(Outcome::Ok) => "ok",
        Some(Outcome::HeldBack) => "held_back",
        Some(Outcome::Failed) => "failed",
        Some(Outcome::Aborted) => "aborted",
    }
}
