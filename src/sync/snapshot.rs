//! The state of the instance as `GET /api/v1/status` shows it (interface.md 3).
//!
//! Plain data, taken at one moment; names are fixed by the interface.

use serde::Serialize;

/// The whole state.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct Status {
    pub instance: String,
    pub version: &'static str,
    pub started_at: String,
    /// `zookeeper` or `standalone`.
    pub mode: &'static str,
    /// `master` or `worker`.
    pub role: &'static str,
    pub ready: bool,
    pub problems: Vec<String>,
    pub coordination: Coordination,
    pub clusters: Vec<ClusterStatus>,
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
#[allow(missing_docs)]
pub struct ClusterStatus {
    pub cluster_id: String,
    pub bk_biz_id: i64,
    pub project_id: String,
    pub kind: &'static str,
    pub state: ClusterState,
    pub pods: PodCounts,
    pub watch: WatchStatus,
    pub full_sync: FullSyncStatus,
    pub senders: SenderStatus,
    pub last_error: Option<String>,
}

/// Pods on both sides; in step means `storage = cmdb + rejected + pending`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct PodCounts {
    pub storage: usize,
    pub cmdb: usize,
    pub pending: usize,
    pub rejected: usize,
    pub unscheduled: usize,
    pub degraded: usize,
}

/// The watch stream.
#[derive(Clone, Debug, Default, Serialize)]
#[allow(missing_docs)]
pub struct WatchStatus {
    pub connected: bool,
    pub reconnects: u64,
    pub last_event_seconds_ago: Option<f64>,
    pub missed: u64,
    pub events: EventCounts,
}

/// Events by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct EventCounts {
    pub add: u64,
    pub change: u64,
    pub delete: u64,
    pub suppressed: u64,
    pub stale: u64,
    pub unknown_delete: u64,
    pub invalid: u64,
}

/// Full synchronisations.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct FullSyncStatus {
    pub count: u64,
    /// `ok`, `failed`, `held_back`, `aborted`, `never`.
    pub last_outcome: &'static str,
    pub last_finished_at: Option<String>,
    pub last_duration_seconds: Option<f64>,
    pub created: u64,
    pub updated: u64,
    pub deleted: u64,
    pub held_back_deletes: usize,
}

/// The sender shards together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct SenderStatus {
    pub count: usize,
    pub queued: usize,
    pub in_flight: usize,
    pub created: u64,
    pub updated: u64,
    pub deleted: u64,
    pub retries: u64,
}

/// A record the CMDB refused, wholly or in part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[allow(missing_docs)]
pub struct RejectedRecord {
    pub uuid: String,
    pub namespace: String,
    pub name: String,
    /// `rejected` or `degraded`.
    pub kind: &'static str,
    pub field: String,
    pub code: i64,
    pub message: String,
    pub since: String,
}

/// A delete that was carried out.
#[derive(Clone, Debug, Serialize)]
#[allow(missing_docs)]
pub struct DeletedRecord {
    pub time: String,
    pub cluster_id: String,
    pub uuid: String,
    pub namespace: String,
    pub name: String,
    pub proof: String,
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
#[allow(missing_docs)]
pub enum Control {
    Sync,
    ApproveDeletes,
    Pause,
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
    /// The last deletes, newest first.
    fn deletes(&self) -> Vec<DeletedRecord>;
    /// Who does what, the body of `GET /api/v1/assignment`.
    fn assignment(&self) -> serde_json::Value;
    /// Whether every thread that must live lives.
    fn health(&self) -> Health;
    /// Whether every assigned cluster had a first full sync with an outcome.
    fn readiness(&self) -> Health;
    /// Carries out an operator's request.
    fn control(&self, id: &str, control: Control) -> ControlOutcome;
}
