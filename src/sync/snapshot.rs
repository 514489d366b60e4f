//! The state of the instance as `GET /api/v1/status` shows it (interface.md 3).
//!
//! Plain data, taken at one moment; names are fixed by the interface.

pub use crate::journal::DeletedRecord;

use crate::journal::{DeletePage, DeleteQuery};
use serde::Serialize;

/// The whole state.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// `ip:port` of this instance.
    pub instance: String,
    /// Its release.
    pub version: &'static str,
    /// When it started, RFC 3339.
    pub started_at: String,
    /// `zookeeper` or `standalone`.
    pub mode: &'static str,
    /// `master` or `worker`.
    pub role: &'static str,
    /// Whether `/readyz` says 200.
    pub ready: bool,
    /// What is wrong, in words: with the instance, then with each cluster.
    pub problems: Vec<String>,
    /// What is wrong with the instance itself, by kind.
    pub instance_problems: Vec<ProblemStatus>,
    /// How coordination is.
    pub coordination: Coordination,
    /// Every cluster of this instance, by id.
    pub clusters: Vec<ClusterStatus>,
}

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProblemStatus {
    /// What kind of thing, one word; the page knows what to do about each.
    pub kind: &'static str,
    /// What exactly, in words.
    pub message: String,
}

/// Coordination in one word.
#[derive(Clone, Debug, Serialize)]
pub struct Coordination {
    /// `connected`, `suspended` or `standalone`.
    pub state: &'static str,
    /// Seconds since the last acknowledged heartbeat.
    pub last_heartbeat_seconds_ago: Option<f64>,
}

/// State of a cluster on this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterState {
    /// Another instance still holds it.
    Waiting,
    /// The first full syncs are under way.
    Syncing,
    /// In step, following events.
    Live,
    /// Retrying; the reason is in `last_error`.
    Degraded,
    /// Coordination is in doubt: nothing is written.
    Suspended,
    /// Paused by an operator.
    Paused,
    /// On its way out.
    Stopping,
}

/// One cluster.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterStatus {
    /// Its id, `BCS-K8S-00001`.
    pub cluster_id: String,
    /// The business its records belong to.
    pub bk_biz_id: i64,
    /// The BCS project it belongs to.
    pub project_id: String,
    /// `k8s` or `mesos`.
    pub kind: &'static str,
    /// Its state in one word.
    pub state: ClusterState,
    /// What may be written for it: `sync`, `upsert-only` or `dry-run`; with the last one, what would be
    /// written counts as written.
    pub sync_policy: &'static str,
    /// Pods on both sides.
    pub pods: PodCounts,
    /// The watch stream.
    pub watch: WatchStatus,
    /// Full synchronisations.
    pub full_sync: FullSyncStatus,
    /// The sender shards.
    pub senders: SenderStatus,
    /// The longest time from an event to its acknowledged write within the last five minutes; none if
    /// no event led to a write.
    pub lag_seconds: Option<f64>,
    /// Documents and events of the storage that cannot be understood.
    pub invalid_documents: InvalidDocuments,
    /// The most telling problem while it lasts.
    pub last_error: Option<String>,
    /// Every problem while it lasts, the most telling first.
    pub problems: Vec<ProblemStatus>,
}

/// Documents and events of the storage that cannot be understood. Nothing is concluded from them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct InvalidDocuments {
    /// How many there are.
    pub count: usize,
    /// The first 50 of them.
    pub first: Vec<InvalidDocument>,
}

/// A document or event that cannot be understood, with as much of its identity as could be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InvalidDocument {
    /// `_id` of the storage document.
    pub storage_id: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// What is wrong with it.
    pub reason: String,
    /// When it was met first, RFC 3339.
    pub since: String,
}

/// Pods on both sides; in step means `storage = cmdb + rejected + pending`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PodCounts {
    /// Recordable pods in bcs-storage.
    pub storage: usize,
    /// Records in the CMDB.
    pub cmdb: usize,
    /// On their way to the CMDB.
    pub pending: usize,
    /// Refused by the CMDB, not recorded.
    pub rejected: usize,
    /// Without a host; not part of `storage`.
    pub unscheduled: usize,
    /// Recorded with an optional field shortened or left out.
    pub degraded: usize,
    /// Records of the cluster in the CMDB without a uuid, which are left as they are; not part of `cmdb`.
    pub unusable: usize,
}

/// The watch stream.
#[derive(Clone, Debug, Default, Serialize)]
pub struct WatchStatus {
    /// Whether there is a stream.
    pub connected: bool,
    /// Streams after the first one.
    pub reconnects: u64,
    /// Seconds since the last event of any type.
    pub last_event_seconds_ago: Option<f64>,
    /// Changes a connected watch did not deliver.
    pub missed: u64,
    /// Pods with events that wait to be looked at.
    pub queued: usize,
    /// Events since the start.
    pub events: EventCounts,
}

/// Events by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EventCounts {
    /// Pods said to be new.
    pub add: u64,
    /// Pods said to have changed.
    pub change: u64,
    /// Deletes, flagged changes among them.
    pub delete: u64,
    /// Changed no field of the record.
    pub suppressed: u64,
    /// Older than what is known.
    pub stale: u64,
    /// Deletes of something that is not known.
    pub unknown_delete: u64,
    /// Made no sense; the next full sync tells what they were about.
    pub invalid: u64,
}

/// Full synchronisations.
#[derive(Clone, Debug, Serialize)]
pub struct FullSyncStatus {
    /// How many since the start.
    pub count: u64,
    /// `ok`, `failed`, `held_back`, `aborted`, `never`.
    pub last_outcome: &'static str,
    /// When the last one ended, RFC 3339.
    pub last_finished_at: Option<String>,
    /// How long it took.
    pub last_duration_seconds: Option<f64>,
    /// Creates the last one asked for.
    pub created: u64,
    /// Updates the last one asked for.
    pub updated: u64,
    /// Deletes the last one led to.
    pub deleted: u64,
    /// Deletes the guard holds back.
    pub held_back_deletes: usize,
}

impl Default for FullSyncStatus {
    /// There was none yet.
    fn default() -> Self {
        Self {
            count: 0,
            last_outcome: "never",
            last_finished_at: None,
            last_duration_seconds: None,
            created: 0,
            updated: 0,
            deleted: 0,
            held_back_deletes: 0,
        }
    }
}

/// The sender shards together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SenderStatus {
    /// How many shards.
    pub count: usize,
    /// Pods that wait or are worked on.
    pub queued: usize,
    /// Requests under way.
    pub in_flight: usize,
    /// Records created since the start.
    pub created: u64,
    /// Records updated since the start.
    pub updated: u64,
    /// Records deleted since the start.
    pub deleted: u64,
    /// Attempts that have to be repeated.
    pub retries: u64,
}

/// A record the CMDB refused, wholly or in part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RejectedRecord {
    /// Uid of the pod; its name in Mesos.
    pub uuid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `rejected`, `degraded`, or `retrying`: it keeps failing for a reason that should pass.
    pub kind: &'static str,
    /// The field the CMDB named; empty if none.
    pub field: String,
    /// The CMDB's code; 0 for what was shortened before it was sent.
    pub code: i64,
    /// Why, in words.
    pub message: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// The last hour of a cluster, since it came to this instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClusterHistory {
    /// Of which cluster.
    pub cluster_id: String,
    /// Width of a point.
    pub interval_seconds: u64,
    /// How far back points go.
    pub span_seconds: u64,
    /// The intervals in which something was written, oldest first.
    pub points: Vec<HistoryPoint>,
    /// The last changes, newest first.
    pub changes: Vec<RecentChange>,
}

/// What was written within one interval.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HistoryPoint {
    /// How long ago the interval began.
    pub seconds_ago: u64,
    /// Records created.
    pub created: u64,
    /// Records updated.
    pub updated: u64,
    /// Records deleted.
    pub deleted: u64,
    /// From event to acknowledged write, on average; none if no event led to a write.
    pub lag_mean_seconds: Option<f64>,
    /// The longest of them.
    pub lag_max_seconds: Option<f64>,
}

/// An acknowledged write.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RecentChange {
    /// When, RFC 3339.
    pub time: String,
    /// `create`, `update` or `delete`.
    pub action: &'static str,
    /// Uid of the pod; its name in Mesos.
    pub uuid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// From its event to the acknowledgement; none for what a full sync found.
    pub lag_seconds: Option<f64>,
    /// Why it could be deleted.
    pub proof: Option<String>,
}

/// A delete the guard holds back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldBackDelete {
    /// Uid of the pod; its name in Mesos.
    pub uuid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Since when, RFC 3339.
    pub since: String,
}

/// Health or readiness.
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    /// The verdict.
    pub ok: bool,
    /// Why not, and what else is wrong.
    pub problems: Vec<String>,
}

/// What came of an operator's request about a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlOutcome {
    /// It will be done.
    Accepted,
    /// No such cluster here.
    UnknownCluster,
}

/// An operator's request about a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// A full sync now.
    Sync,
    /// Carry out the deletes that are held back.
    ApproveDeletes,
    /// Write nothing until [`Resume`](Self::Resume).
    Pause,
    /// Write again.
    Resume,
}

/// What the status service shows and steers; the controller implements it.
pub trait StatusSource: Send + Sync + 'static {
    /// The whole state.
    fn status(&self) -> Status;
    /// One cluster.
    fn cluster(&self, id: &str) -> Option<ClusterStatus>;
    /// Refused records of one cluster.
    fn rejected(&self, id: &str) -> Option<Vec<RejectedRecord>>;
    /// The last hour of one cluster.
    fn history(&self, id: &str) -> Option<ClusterHistory>;
    /// Deletes of one cluster that are held back, by uuid.
    fn held_back(&self, id: &str) -> Option<Vec<HeldBackDelete>>;
    /// The last deletes of this process, newest first.
    fn deletes(&self) -> Vec<DeletedRecord>;
    /// One page of the delete journal.
    fn delete_page(&self, query: &DeleteQuery) -> DeletePage {
        DeletePage::of_memory(&self.deletes(), query)
    }
    /// Who does what, the body of `GET /api/v1/assignment`.
    fn assignment(&self) -> serde_json::Value;
    /// Whether every thread that must live lives.
    fn health(&self) -> Health;
    /// Whether every assigned cluster had a first full sync with an outcome.
    fn readiness(&self) -> Health;
    /// Carries out an operator's request.
    fn control(&self, id: &str, control: Control) -> ControlOutcome;
    /// The same for every cluster of this instance; their ids.
    fn control_all(&self, control: Control) -> Vec<String> {
        let ids = self.status().clusters.into_iter().map(|cluster| cluster.cluster_id);
        ids.filter(|id| self.control(id, control) == ControlOutcome::Accepted).collect()
    }
}
