//! One member of a fleet: session, locks, informer and task manager put together behind the face
//! the service knows ([`Coordination`]). Without ZooKeeper it is the instance that is alone. Also
//! where storage's wish for addresses meets coordination's discovery, which know nothing of each
//! other.

use crate::config::BaseUrl;
use crate::coordination::layout::{self, ClusterNode};
use crate::coordination::{
    AssignmentView, CallError, Client, Coordination, CoordinationStatus, Discovery, Feed, Lock, Locks, Role,
    ServerInfo, Servers, Session, Standalone, read_assignment,
};
use crate::model::Cluster;
use crate::storage::Addresses;
use crate::task_informer::TaskInformer;
use crate::task_manager::TaskManager;
use crossbeam::channel::Receiver;
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How old the assignment that is shown may be: reading it takes a call per worker.
const VIEW_AGE: Duration = Duration::from_secs(1);

/// Who this instance is and where it finds the others.
#[derive(Clone, Debug)]
pub struct Settings {
    /// ZooKeeper; without hosts the instance is alone.
    pub servers: Servers,
    /// How this instance registers; `ip` and `port` are its name.
    pub info: ServerInfo,
    /// The version shown when alone.
    pub version: &'static str,
    /// How long a vanished worker keeps its clusters.
    pub reassign_delay: Duration,
}

/// Starts coordination: with ZooKeeper if there is one, else alone. Returns at once; what is wrong
/// is in the status.
///
/// # Errors
/// The machine grants no thread, or `info` names no address.
pub fn start(settings: Settings, feed: Feed) -> io::Result<Box<dyn Coordination>> {
    let instance =
        settings.info.instance().ok_or_else(|| io::Error::other("this instance has no address and port"))?;
    if settings.servers.hosts.is_empty() {
        return Ok(Box::new(Standalone::start(instance, settings.version, feed)?));
    }
    Ok(Box::new(Member::start(settings, &instance, feed)?))
}

/// bcs-storage as ZooKeeper knows it, for the storage client.
impl Addresses for Discovery {
    fn snapshot(&self) -> Vec<BaseUrl> {
        self.urls().iter().map(|origin| BaseUrl { origin: origin.clone(), prefix: String::new() }).collect()
    }
}

/// A command that takes locks as an instance does, without being one. Stops when dropped.
pub struct Guest {
    session: Arc<Session>,
    locks: Locks,
}

impl Guest {
    /// Starts to look for a session; `info` tells others who has the lock.
    ///
    /// # Errors
    /// The machine grants no thread.
    pub fn start(servers: Servers, info: ServerInfo) -> io::Result<Self> {
        let session = Arc::new(Session::start(servers, Role::Guest(info.clone()))?);
        let locks = Locks::start(Arc::clone(&session), info)?;
        Ok(Self { session, locks })
    }

    /// As [`Coordination::acquire`].
    pub fn acquire(&self, cluster_id: &str) -> Lock {
        self.locks.acquire(cluster_id)
    }

    /// Gives a lock back. Call it once nothing is written for the cluster any more.
    pub fn release(&self, cluster_id: &str) {
        self.locks.release(cluster_id);
    }

    /// No record of the cluster is left in that business: it is not shown as one to be cleaned any
    /// more, and a cluster that left the inventory is forgotten.
    ///
    /// # Errors
    /// ZooKeeper does not take the change, in words.
    pub fn forget(&self, cluster_id: &str, bk_biz_id: i64) -> Result<(), String> {
        let client = self.session.client().ok_or("ZooKeeper: the session is over")?;
        forget(&client, cluster_id, bk_biz_id).map_err(|error| error.to_string())
    }

    /// What is wrong, in words.
    pub fn problem(&self) -> Option<String> {
        self.session.problem()
    }

    /// Gives the locks back and ends the session.
    pub fn stop(&self) {
        self.locks.stop();
        self.session.stop();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Takes a business off the node of a cluster, or the node away.
fn forget(client: &Client, cluster_id: &str, bk_biz_id: i64) -> Result<(), CallError> {
    let path = layout::child(layout::CLUSTERS, cluster_id);
    let (data, stat) = match client.read(&path, false) {
        Err(CallError::NoNode(_)) => return Ok(()),
        found => found?,
    };
    let Ok(mut node) = ClusterNode::parse(cluster_id, &data) else { return Ok(()) };
    let before = node.previous_bk_biz_ids.len();
    node.previous_bk_biz_ids.retain(|biz| *biz != bk_biz_id);
    let left = !node.left_since.is_empty() && node.bk_biz_id == bk_biz_id;
    if left && node.previous_bk_biz_ids.is_empty() {
        client.delete(&path, Some(stat.version))
    } else if node.previous_bk_biz_ids.len() < before {
        client.write(&path, &node.encode(), Some(stat.version)).map(drop)
    } else {
        Ok(())
    }
}

/// A member of a fleet. Stops when dropped.
struct Member {
    session: Arc<Session>,
    locks: Locks,
    informer: TaskInformer,
    manager: TaskManager,
    view: Mutex<Option<(Instant, AssignmentView)>>,
}

impl Member {
    fn start(settings: Settings, instance: &str, feed: Feed) -> io::Result<Self> {
        let session = Arc::new(Session::start(settings.servers, Role::Member(settings.info.clone()))?);
        Ok(Self {
            locks: Locks::start(Arc::clone(&session), settings.info)?,
            informer: TaskInformer::start(Arc::clone(&session), instance)?,
            manager: TaskManager::start(Arc::clone(&session), feed, settings.reassign_delay)?,
            session,
            view: Mutex::default(),
        })
    }

    /// What is wrong with its threads, in words.
    fn troubles(&self) -> [Option<String>; 4] {
        [self.session.trouble(), self.locks.trouble(), self.informer.trouble(), self.manager.trouble()]
    }
}

impl Coordination for Member {
    fn assigned(&self) -> &Receiver<Arc<Vec<Cluster>>> {
        self.informer.assigned()
    }

    fn acquire(&self, cluster_id: &str) -> Lock {
        self.locks.acquire(cluster_id)
    }

    fn release(&self, cluster_id: &str) {
        self.locks.release(cluster_id);
    }

    fn business_cleaned(&self, cluster_id: &str, bk_biz_id: i64) {
        self.informer.business_cleaned(cluster_id, bk_biz_id);
    }

    fn status(&self) -> CoordinationStatus {
        let mut problems: Vec<String> = self.session.problem().into_iter().collect();
        if problems.is_empty() {
            problems.extend(self.locks.problem());
            problems.extend(self.informer.problem());
            problems.extend(self.manager.problems());
        }
        CoordinationStatus {
            mode: "zookeeper",
            role: if self.manager.is_master() { "master" } else { "worker" },
            state: if self.session.connected() { "connected" } else { "suspended" },
            last_heartbeat_seconds_ago: self.session.last_heartbeat().map(|age| age.as_secs_f64()),
            sessions: self.session.sessions(),
            reassignments: self.manager.reassignments(),
            problems,
            thread_troubles: self.troubles().into_iter().flatten().collect(),
            clock_ahead_ms: self.session.clock_ahead_ms(),
            fatal: self.session.fatal(),
        }
    }

    fn assignment(&self) -> AssignmentView {
        let mut view = self.view.lock();
        if let Some((read, known)) = &*view
            && read.elapsed() < VIEW_AGE
        {
            return known.clone();
        }
        if let Some(Ok(new)) = self.session.client().map(|client| read_assignment(&client)) {
            *view = Some((Instant::now(), new));
        }
        view.as_ref().map(|(_, known)| known.clone()).unwrap_or_default()
    }

    fn stop(&self) {
        self.manager.stop();
        self.informer.stop();
        self.locks.stop();
        self.session.stop();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.stop();
    }
}
