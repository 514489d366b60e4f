//! One assigned cluster on this instance: waiting or at work.

use crate::config::Config;
use crate::model::Cluster;
use crate::sync::reconciler::Reconciler;
use crate::sync::snapshot::{
    ClusterState, ClusterStatus, FullSyncStatus, InvalidDocuments, PodCounts, ProblemStatus, SenderStatus,
    WatchStatus,
};

/// An assigned cluster on this instance.
pub(super) enum Slot {
    /// Another instance still holds it, or its threads could not be started.
    Waiting { cluster: Cluster, why: Option<String> },
    /// At work.
    Running(Reconciler),
}

impl Slot {
    pub(super) fn cluster(&self) -> &Cluster {
        match self {
            Self::Waiting { cluster, .. } => cluster,
            Self::Running(reconciler) => reconciler.cluster(),
        }
    }

    pub(super) fn status(&self, config: &Config) -> ClusterStatus {
        match self {
            Self::Running(reconciler) => reconciler.status(),
            Self::Waiting { cluster, why } => ClusterStatus {
                cluster_id: cluster.id.clone(),
                bk_biz_id: cluster.bk_biz_id,
                project_id: cluster.project_id.clone(),
                kind: cluster.kind.as_str(),
                state: ClusterState::Waiting,
                sync_policy: config.policy_of(&cluster.id).name(),
                pods: PodCounts::default(),
                watch: WatchStatus::default(),
                full_sync: FullSyncStatus::default(),
                senders: SenderStatus::default(),
                invalid_documents: InvalidDocuments::default(),
                lag_seconds: None,
                last_error: why.clone(),
                problems: why
                    .iter()
                    .map(|why| ProblemStatus { kind: "waiting", message: why.clone() })
                    .collect(),
            },
        }
    }
}
