//! One session, as calls that end: the crate's client with its relay.
//!
//! The relay bounds every call; here panics of the crate are caught (it unwraps what a server says)
//! and errors are sorted by what the caller does next.

use super::link::{Link, LinkError, Servers};
use super::relay::{Event, Relay};
use crate::pulse;
use crossbeam::channel::{Receiver, unbounded};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use zookeeper::{Acl, CreateMode, Stat, WatchedEvent, ZkError, ZkResult, ZooKeeper};

/// How long a goodbye may take, also to a server that hangs.
const CLOSE_BOUND: Duration = Duration::from_millis(300);

/// Why a call did not succeed, by what the caller does next.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no such node.
    #[error("ZooKeeper: {0} does not exist")]
    NoNode(String),
    /// The node exists already.
    #[error("ZooKeeper: {0} exists already")]
    NodeExists(String),
    /// Somebody else changed the node meanwhile: read it again.
    #[error("ZooKeeper: {0} was changed by another instance")]
    BadVersion(String),
    /// The connection broke; the call may have been carried out. Look, then try again.
    #[error("ZooKeeper: the connection broke during a call on {0}")]
    Lost(String),
    /// The session is over: nothing will succeed on it any more.
    #[error("ZooKeeper: the session is over")]
    SessionOver,
    /// An operator has to look: the words say at what.
    #[error("ZooKeeper: {path}: {reason}")]
    Refused {
        /// The node.
        path: String,
        /// In words.
        reason: String,
    },
}

/// A session. Dropping it ends the session, in bounded time.
pub struct Client {
    zookeeper: Option<ZooKeeper>,
    relay: Relay,
    events: Receiver<Event>,
    session: i64,
    timeout: Duration,
}

impl Client {
    /// Opens a session. `watcher` hears watch events, on a thread of the crate: it must not call
    /// back.
    pub(super) fn open(
        servers: &Servers,
        watcher: impl Fn(WatchedEvent) + Send + 'static,
    ) -> Result<Self, LinkError> {
        let link = Link::open_any(servers)?;
        let (session, timeout) = (link.key.id, Duration::from_millis(u64::from(link.key.timeout_ms)));
        let (sender, events) = unbounded();
        let (zookeeper, relay) = Relay::start(link, servers.clone(), sender, watcher)
            .map_err(|error| LinkError::Unreachable(error.to_string()))?;
        Ok(Self { zookeeper: Some(zookeeper), relay, events, session, timeout })
    }

    /// The session id.
    pub fn session(&self) -> i64 {
        self.session
    }

    /// The negotiated session timeout.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What happens to the session.
    pub(super) fn events(&self) -> &Receiver<Event> {
        &self.events
    }

    /// Data and version of a node; `watch` asks for one event when it changes.
    pub fn read(&self, path: &str, watch: bool) -> Result<(Vec<u8>, Stat), CallError> {
        self.call(path, |zookeeper| zookeeper.get_data(path, watch))
    }

    /// Names of the children of a node, in no order.
    pub fn children(&self, path: &str, watch: bool) -> Result<Vec<String>, CallError> {
        self.call(path, |zookeeper| zookeeper.get_children(path, watch))
    }

    /// Asks for one event when a node appears, changes or goes.
    pub fn watch(&self, path: &str) -> Result<(), CallError> {
        self.call(path, |zookeeper| zookeeper.exists(path, true)).map(drop)
    }

    /// What is known of a node, if it exists.
    pub fn stat(&self, path: &str) -> Result<Option<Stat>, CallError> {
        self.call(path, |zookeeper| zookeeper.exists(path, false))
    }

    /// Creates a node; returns its path, which for a sequential one is longer than `path`.
    pub fn create(&self, path: &str, data: &[u8], mode: CreateMode) -> Result<String, CallError> {
        self.call(path, |zookeeper| zookeeper.create(path, data.to_vec(), Acl::creator_all().clone(), mode))
    }

    /// Writes a node; with a version only if it still has that one.
    pub fn write(&self, path: &str, data: &[u8], version: Option<i32>) -> Result<Stat, CallError> {
        self.call(path, |zookeeper| zookeeper.set_data(path, data.to_vec(), version))
    }

    /// Deletes a node; with a version only if it still has that one.
    pub fn delete(&self, path: &str, version: Option<i32>) -> Result<(), CallError> {
        self.call(path, |zookeeper| zookeeper.delete(path, version))
    }

    /// Makes sure that a node and its parents exist; whether the node itself had to be created.
    pub fn ensure(&self, path: &str) -> Result<bool, CallError> {
        let mut created = false;
        for (end, _) in path.match_indices('/').skip(1).chain([(path.len(), "")]) {
            created = match self.create(&path[..end], &[], CreateMode::Persistent) {
                Ok(_) => true,
                Err(CallError::NodeExists(_)) => false,
                // A parent that others own refuses before the server looks whether the node is there.
                Err(error @ CallError::Refused { .. }) => match self.stat(&path[..end])? {
                    Some(_) => false,
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            };
        }
        Ok(created)
    }

    fn call<T>(&self, path: &str, ask: impl FnOnce(&ZooKeeper) -> ZkResult<T>) -> Result<T, CallError> {
        let Some(zookeeper) = &self.zookeeper else { return Err(CallError::SessionOver) };
        // A call that is not answered ends with the session.
        pulse::within(self.timeout);
        let asked = catch_unwind(AssertUnwindSafe(|| ask(zookeeper)));
        pulse::beat();
        match asked {
            Ok(answer) => answer.map_err(|error| sort(path, error)),
            Err(_) => Err(CallError::Refused {
                path: path.to_owned(),
                reason: "the answer could not be read".to_owned(),
            }),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.relay.hurry(CLOSE_BOUND);
        if let Some(zookeeper) = self.zookeeper.take()
            && catch_unwind(AssertUnwindSafe(|| drop(zookeeper))).is_err()
        {
            self.relay.abandon();
        }
    }
}

fn sort(path: &str, error: ZkError) -> CallError {
    let path = path.to_owned();
    match error {
        ZkError::NoNode => CallError::NoNode(path),
        ZkError::NodeExists => CallError::NodeExists(path),
        ZkError::BadVersion => CallError::BadVersion(path),
        ZkError::SessionExpired => CallError::SessionOver,
        ZkError::ConnectionLoss | ZkError::OperationTimeout | ZkError::SessionMoved => CallError::Lost(path),
        ZkError::NoAuth => CallError::Refused {
            path,
            reason: "not permitted; zk_user and zk_password must be those of the node's creator".to_owned(),
        },
        other => CallError::Refused { path, reason: format!("{other:?}") },
    }
}
