//! A state made by hand, for tests of what shows it.

#![allow(dead_code)] // Each test file uses its own part.

use bcs_bkcmdb_synchronizer::sync::snapshot::*;
use parking_lot::Mutex;
use serde_json::{Value, json};

/// A name that is hostile to HTML, to metrics and to URLs.
pub const NASTY: &str = "<script>\"\\";

/// A status without a service behind it.
pub struct Fake {
    pub ok: bool,
    pub clusters: Vec<ClusterStatus>,
    /// Who does what.
    pub assignment: Value,
    /// What was asked for.
    pub controls: Mutex<Vec<(String, Control)>>,
}

impl Fake {
    /// A state with these clusters, all of it well.
    pub fn new(clusters: Vec<ClusterStatus>) -> Self {
        let assignment = json!({"master": null, "workers": [], "unassigned": [], "left": []});
        Self { ok: true, clusters, assignment, controls: Mutex::default() }
    }
}

/// A cluster of 12 pods.
pub fn cluster(id: &str, state: ClusterState, last_error: Option<&str>) -> ClusterStatus {
    ClusterStatus {
        cluster_id: id.into(),
        bk_biz_id: 2,
        project_id: "p".into(),
        kind: "k8s",
        state,
        sync_policy: "sync",
        pods: PodCounts { storage: 12, cmdb: 10, pending: 1, rejected: 1, ..PodCounts::default() },
        watch: WatchStatus { connected: true, reconnects: 3, ..WatchStatus::default() },
        full_sync: FullSyncStatus {
            count: 1,
            last_outcome: "ok",
            last_duration_seconds: Some(1.5),
            ..FullSyncStatus::default()
        },
        senders: SenderStatus::default(),
        invalid_documents: InvalidDocuments::default(),
        lag_seconds: Some(0.25),
        last_error: last_error.map(Into::into),
        problems: Vec::new(),
    }
}

impl StatusSource for Fake {
    fn status(&self) -> Status {
        Status {
            instance: "127.0.0.1:8080".into(),
            version: "1.2.3",
            started_at: "2026-11-22T08:00:00Z".into(),
            mode: "standalone",
            role: "master",
            ready: self.ok,
            problems: vec!["paas-cc is <away> & \"gone\"".into(), "cluster BCS-K8S-1: no stream".into()],
            instance_problems: vec![ProblemStatus { kind: "fleet", message: "paas-cc is away".into() }],
            coordination: Coordination { state: "standalone", last_heartbeat_seconds_ago: None },
            clusters: self.clusters.clone(),
        }
    }

    fn cluster(&self, id: &str) -> Option<ClusterStatus> {
        self.status().clusters.into_iter().find(|cluster| cluster.cluster_id == id)
    }

    fn rejected(&self, id: &str) -> Option<Vec<RejectedRecord>> {
        self.cluster(id).map(|_| {
            vec![RejectedRecord {
                uuid: "u".into(),
                namespace: "ns".into(),
                name: "web-0".into(),
                kind: "rejected",
                field: "bk_pod_ip".into(),
                code: 1199016,
                message: "pattern".into(),
                since: "2026-11-22T08:00:00Z".into(),
            }]
        })
    }

    fn history(&self, id: &str) -> Option<ClusterHistory> {
        self.cluster(id).map(|cluster| ClusterHistory {
            cluster_id: cluster.cluster_id,
            interval_seconds: 30,
            span_seconds: 3600,
            points: vec![HistoryPoint {
                seconds_ago: 60,
                created: 3,
                updated: 2,
                deleted: 1,
                lag_mean_seconds: Some(0.1),
                lag_max_seconds: Some(0.4),
            }],
            changes: Vec::new(),
        })
    }

    fn held_back(&self, id: &str) -> Option<Vec<HeldBackDelete>> {
        let since = "2026-11-22T08:00:00Z".into();
        let (uuid, namespace, name) = ("u".into(), "ns".into(), "web-0".into());
        self.cluster(id).map(|_| vec![HeldBackDelete { uuid, namespace, name, since }])
    }

    fn deletes(&self) -> Vec<DeletedRecord> {
        vec![DeletedRecord {
            time: "2026-11-22T08:00:00Z".into(),
            cluster_id: "BCS-K8S-1".into(),
            uuid: "u".into(),
            namespace: "ns".into(),
            name: "web-0".into(),
            proof: "point read".into(),
        }]
    }

    fn assignment(&self) -> Value {
        self.assignment.clone()
    }

    fn health(&self) -> Health {
        Health { ok: self.ok, problems: vec!["gate of BCS-K8S-1 ended".into()] }
    }

    fn readiness(&self) -> Health {
        self.health()
    }

    fn control(&self, id: &str, control: Control) -> ControlOutcome {
        if self.cluster(id).is_none() {
            return ControlOutcome::UnknownCluster;
        }
        self.controls.lock().push((id.into(), control));
        ControlOutcome::Accepted
    }
}
