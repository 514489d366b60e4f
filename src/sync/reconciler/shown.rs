//! What a cluster shows of itself: status, metrics, what failed and what is held back.

use super::Reconciler;
use crate::plan::{HeldDelete, Standing, Trouble};
use crate::sync::clock::rounded;
use crate::sync::numbers::ClusterNumbers;
use crate::sync::snapshot::{
    ClusterHistory, ClusterState, ClusterStatus, FullSyncStatus, HeldBackDelete, InvalidDocument, PodCounts,
    RejectedRecord, SenderStatus, WatchStatus,
};
use crate::sync::stats::outcome_name;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

impl Reconciler {
    /// The most telling problem.
    pub fn problem(&self) -> Option<String> {
        self.shared.problems.first()
    }

    /// State for the status page.
    pub fn status(&self) -> ClusterStatus {
        let shared = &*self.shared;
        let cluster = &shared.cluster;
        let counts = shared.ledger.lock().counts();
        let full_sync = *shared.stats.full_sync.lock();
        let last_event = *shared.stats.last_event.lock();
        ClusterStatus {
            cluster_id: cluster.id.clone(),
            bk_biz_id: cluster.bk_biz_id,
            project_id: cluster.project_id.clone(),
            kind: cluster.kind.as_str(),
            state: self.state(),
            sync_policy: shared.policy.name(),
            pods: PodCounts {
                storage: counts.storage,
                cmdb: counts.in_step + counts.extra,
                pending: counts.pending,
                rejected: counts.rejected,
                unscheduled: counts.unscheduled,
                degraded: counts.degraded,
                unusable: shared.stats.unusable_records.load(Relaxed) as usize,
            },
            watch: WatchStatus {
                connected: shared.stats.watch_connected.load(Relaxed),
                reconnects: shared.stats.watch_streams.load(Relaxed).saturating_sub(1),
                last_event_seconds_ago: last_event.map(|at| rounded(shared.clock.now().saturating_sub(at))),
                missed: shared.stats.missed.load(Relaxed),
                queued: shared.events.lock().len(),
                events: shared.stats.events(),
            },
            full_sync: FullSyncStatus {
                count: full_sync.count,
                last_outcome: outcome_name(full_sync.last_outcome),
                last_finished_at: full_sync.last_finished.map(|at| shared.clock.wall(at)),
                last_duration_seconds: full_sync.last_duration.map(rounded),
                created: full_sync.created,
                updated: full_sync.updated,
                deleted: full_sync.deleted,
                held_back_deletes: shared.guard.lock().held_back(),
            },
            senders: SenderStatus {
                count: shared.shards.len(),
                queued: shared.shards.iter().map(|shard| shard.queued()).sum(),
                in_flight: shared.stats.in_flight.load(Relaxed),
                created: shared.stats.created.load(Relaxed),
                updated: shared.stats.updated.load(Relaxed),
                deleted: shared.stats.deleted.load(Relaxed),
                retries: shared.stats.retries.load(Relaxed),
            },
            lag_seconds: shared.history.recent_lag(shared.clock.now()).map(rounded),
            invalid_documents: shared.documents.shown(|kept| InvalidDocument {
                storage_id: kept.document.storage_id,
                namespace: kept.document.namespace,
                name: kept.document.name,
                reason: kept.document.reason,
                since: shared.clock.wall(kept.since),
            }),
            last_error: shared.problems.first(),
            problems: shared.problems.all(),
        }
    }

    fn state(&self) -> ClusterState {
        let shared = &*self.shared;
        if shared.stopping() {
            ClusterState::Stopping
        } else if shared.fence.permit().is_err() {
            ClusterState::Suspended
        } else if shared.paused.load(Relaxed) {
            ClusterState::Paused
        } else if shared.problems.degraded() {
            ClusterState::Degraded
        } else if shared.schedule.lock().is_settled() {
            ClusterState::Live
        } else {
            ClusterState::Syncing
        }
    }

    /// Deletes that are held back.
    pub fn held_back(&self) -> Vec<HeldBackDelete> {
        let held = self.shared.guard.lock().held();
        let show = |HeldDelete { uuid, namespace, name, since }| {
            let since = self.shared.clock.wall(since);
            HeldBackDelete { uuid, namespace, name, since }
        };
        held.into_iter().map(show).collect()
    }

    /// Refused and repaired records.
    pub fn rejected(&self) -> Vec<RejectedRecord> {
        let clock = self.shared.clock;
        let started = clock.wall(Duration::ZERO);
        let troubles = self.shared.ledger.lock().troubles();
        let show = |trouble: Trouble| RejectedRecord {
            uuid: trouble.uuid,
            namespace: trouble.namespace,
            name: trouble.name,
            kind: match trouble.standing {
                Standing::Rejected => "rejected",
                Standing::Retrying => "retrying",
                Standing::Degraded => "degraded",
            },
            field: trouble.field.map(|field| field.name().to_owned()).unwrap_or_default(),
            code: trouble.code,
            message: trouble.message,
            since: trouble.since.map_or_else(|| started.clone(), |since| clock.wall(since)),
        };
        troubles.into_iter().map(show).collect()
    }

    /// The last hour.
    pub fn history(&self) -> ClusterHistory {
        self.shared.history.snapshot(&self.shared.cluster.id, self.shared.clock)
    }

    /// Numbers for the metrics.
    pub fn numbers(&self) -> ClusterNumbers {
        let shared = &*self.shared;
        let full_sync = *shared.stats.full_sync.lock();
        ClusterNumbers {
            sync_lag: shared.lag.snapshot(),
            full_sync_duration: shared.full_sync_duration.snapshot(),
            full_sync_last_success: full_sync.last_success.map(|at| shared.clock.unix_seconds(at)),
            full_sync_changes: full_sync.totals,
            event_queue_length: shared.events.lock().len(),
        }
    }
}
