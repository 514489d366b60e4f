//! Who does what, and who may write: coordination among instances.
//!
//! This file is the face the service sees, the same with ZooKeeper and without: clusters are
//! assigned, locks are acquired, fences come with them. [`Standalone`] is the instance that is
//! alone; `fleet` puts the one with ZooKeeper together. Knows `model` and inventory's plain answer;
//! nothing of bcs-storage, of the CMDB or of how a cluster is synchronised.
//!
//! Below it, from the wire up: `wire` (frames), `link` (one authenticated connection), `relay` (one
//! session over many connections), `client` (calls that end), `session` (heartbeat, `lease`,
//! `registration`, a new session after a lost one); on that stand `election`, `lock` with `fence`,
//! `discovery` and `view`, each a look that a `looker` repeats. Their threads are `worker`s.

mod client;
mod discovery;
pub mod election;
mod fence;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
#[cfg(test)]
mod hostile;
mod latest;
pub mod layout;
mod lease;
mod link;
mod lock;
mod looker;
mod registration;
mod relay;
mod session;
mod standalone;
mod view;
mod wire;
mod worker;

pub use client::{CallError, Client};
pub use discovery::Discovery;
pub use latest::Latest;
pub use layout::ServerInfo;
pub use link::Servers;
pub use lock::Locks;
pub(crate) use looker::Looker;
pub use session::{Role, Session};
pub use standalone::Standalone;
pub use view::read as read_assignment;

use crate::inventory::{Confirmation, Inventory};
use crate::model::{Cluster, Fence};
use crossbeam::channel::Receiver;
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// One pull of the inventory, filters applied; an error is words for status and log. May block as
/// long as its peer's timeout allows: it runs on a thread of its own.
pub type Pull = Box<dyn FnMut() -> Result<Inventory, String> + Send>;

/// Where clusters come from, how often to ask and what to believe.
pub struct Feed {
    /// Asks once.
    pub pull: Pull,
    /// Time between two pulls (`cluster_pull_interval`), asked for after each.
    pub interval: Box<dyn Fn() -> Duration + Send>,
    /// How many pulls must agree before a cluster leaves or changes its business.
    pub confirmation: Confirmation,
}

/// What the service may ask of coordination.
pub trait Coordination: Send + Sync {
    /// Whole sets of clusters this instance shall work on, sorted by id, one for every change; only
    /// the newest waits. Disconnected after [`stop`](Self::stop).
    fn assigned(&self) -> &Receiver<Arc<Vec<Cluster>>>;

    /// The lock of an assigned cluster. Never blocks: the first call asks for it, later ones tell
    /// what became of it; ask about once a second while it is pending. A [`Held`](Lock::Held)
    /// fence stays the same one until [`release`](Self::release), and goes down and up with the
    /// session; [`Fence::epoch`] tells that it did.
    fn acquire(&self, cluster_id: &str) -> Lock;

    /// Gives a lock back. Call it once nothing writes for the cluster any more.
    fn release(&self, cluster_id: &str);

    /// A listing of `bk_biz_id` showed that no record of the cluster is left there: the business is
    /// taken off `previous_bk_biz_ids`.
    fn business_cleaned(&self, cluster_id: &str, bk_biz_id: i64);

    /// How coordination is.
    fn status(&self) -> CoordinationStatus;

    /// Who does what, as far as this instance can see.
    fn assignment(&self) -> AssignmentView;

    /// Stops every thread and leaves the fleet; locks still held are given back. A second call does
    /// nothing.
    fn stop(&self);
}

/// What became of a lock.
#[derive(Clone)]
pub enum Lock {
    /// Not ours yet.
    Pending {
        /// `ip:port` of the instance that has it, as far as known.
        holder: Option<String>,
    },
    /// Ours.
    Held(Arc<dyn Fence>),
}

/// How coordination is, for status, health and metrics (interface.md 3 and 4).
#[derive(Clone, Debug, PartialEq)]
pub struct CoordinationStatus {
    /// `zookeeper` or `standalone`.
    pub mode: &'static str,
    /// `master` or `worker`.
    pub role: &'static str,
    /// `connected`, `suspended` or `standalone`.
    pub state: &'static str,
    /// Seconds since the last acknowledged heartbeat was sent.
    pub last_heartbeat_seconds_ago: Option<f64>,
    /// Sessions this process had (`zookeeper_sessions_total`).
    pub sessions: u64,
    /// Clusters this instance, as master, moved from one worker to another
    /// (`reassignments_total`).
    pub reassignments: u64,
    /// What is wrong, in words that say what to do.
    pub problems: Vec<String>,
    /// Threads that have ended though they should not, or hang, in words: only a restart brings them
    /// back.
    pub thread_troubles: Vec<String>,
    /// Milliseconds this machine's clock is ahead of ZooKeeper's, beyond what the network may account
    /// for; none without ZooKeeper.
    pub clock_ahead_ms: Option<i64>,
    /// Why this instance must end: its address belongs to another one.
    pub fatal: Option<String>,
}

/// The body of `GET /api/v1/assignment` (interface.md 3).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AssignmentView {
    /// `ip:port` of the master.
    pub master: Option<String>,
    /// Every worker that has a node, by instance.
    pub workers: Vec<WorkerView>,
    /// Clusters no living worker has, by id.
    pub unassigned: Vec<String>,
    /// Clusters that left the inventory and were not purged, by id.
    pub left: Vec<String>,
}

/// One worker of an [`AssignmentView`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct WorkerView {
    /// `ip:port`.
    pub instance: String,
    /// Whether it is registered now.
    pub alive: bool,
    /// Its version, if it is alive.
    pub version: String,
    /// Ids of its clusters.
    pub clusters: Vec<String>,
}
