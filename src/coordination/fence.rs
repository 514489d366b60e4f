//! The fence of one cluster: open while the lease runs and the lock is ours.

use super::client::{CallError, Client};
use super::layout;
use super::session::Session;
use crate::boottime::boottime;
use crate::model::{Fence, Permit};
use parking_lot::Mutex;
use std::sync::Arc;

/// The root node as the servers know it: what tells one ZooKeeper from its successor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Root {
    /// Transaction that created it.
    pub czxid: i64,
    /// When, in milliseconds since 1970, by the servers' clock.
    pub ctime_ms: i64,
}

impl Root {
    /// As the servers know it now, if there is one.
    pub fn read(client: &Client) -> Result<Option<Self>, CallError> {
        let stat = client.stat(layout::ROOT)?;
        Ok(stat.map(|stat| Self { czxid: stat.czxid, ctime_ms: stat.ctime }))
    }
}

/// The fence of one cluster, through all sessions.
pub(super) struct LockFence {
    cluster_id: String,
    session: Arc<Session>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lock: Option<Held>,
    acquired: u64,
    holder: Option<String>,
}

/// A lock node of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Session that holds it.
    pub session: i64,
    /// Transaction that created it.
    pub czxid: i64,
    /// The ZooKeeper it stands in.
    pub root: Root,
}

impl Held {
    /// The number a CMDB compares: it grows from lock to lock.
    ///
    /// That is what the lock's czxid does within one ZooKeeper. A ZooKeeper that lost its data
    /// counts from the beginning again, and a CMDB that remembers would refuse us for ever: so the
    /// czxid is counted from the root's, above the second in which the root was made. The upper
    /// half of a czxid counts elections, of which there are fewer than seconds.
    pub fn number(&self) -> i64 {
        ((self.root.ctime_ms / 1000) << 32).wrapping_add(self.czxid - self.root.czxid)
    }
}

impl LockFence {
    pub fn new(cluster_id: &str, session: Arc<Session>) -> Self {
        Self { cluster_id: cluster_id.to_owned(), session, state: Mutex::default() }
    }

    /// The lock, if it is ours.
    pub fn held(&self) -> Option<Held> {
        self.state.lock().lock
    }

    /// Whether the lock was ever ours.
    pub fn was_held(&self) -> bool {
        self.state.lock().acquired > 0
    }

    /// The lock is ours.
    pub fn raise(&self, lock: Held) {
        let mut state = self.state.lock();
        if state.lock != Some(lock) {
            state.acquired += 1;
        }
        state.lock = Some(lock);
        state.holder = None;
    }

    /// The lock is not ours, but `holder`'s if known.
    pub fn lower(&self, holder: Option<String>) {
        let mut state = self.state.lock();
        state.lock = None;
        state.holder = holder;
    }

    /// `ip:port` of who has the lock.
    pub fn holder(&self) -> Option<String> {
        self.state.lock().holder.clone()
    }
}

impl Fence for LockFence {
    fn permit(&self) -> Result<Permit, String> {
        let state = self.state.lock();
        let Some(lock) = state.lock else {
            return Err(match &state.holder {
                Some(holder) => format!("the lock of {} is held by {holder}", self.cluster_id),
                None => format!("the lock of {} is not ours", self.cluster_id),
            });
        };
        // Read first: a pause between the two makes the permission shorter, never longer.
        let now = boottime();
        let remaining = self.session.lease(lock.session)?;
        let header = format!("{}:{}", self.cluster_id, lock.number());
        // Read last, so that it is never older than the rest.
        let epoch = state.acquired + self.session.lease_gaps();
        Ok(Permit { remaining: Some(remaining), until: Some(now + remaining), header: Some(header), epoch })
    }

    fn epoch(&self) -> u64 {
        self.state.lock().acquired + self.session.lease_gaps()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_grows_within_one_zookeeper_and_into_its_successor() {
        let second = 1_790_000_000;
        let at = |root_second: i64, root: i64, czxid: i64| {
            Held { session: 1, czxid, root: Root { czxid: root, ctime_ms: root_second * 1000 + 999 } }
                .number()
        };
        let numbers = [
            at(second, 0x1_0000_0002, 0x1_0000_0003),
            at(second, 0x1_0000_0002, 0x1_0fff_0000),
            at(second, 0x1_0000_0002, 0x9_0000_0001),
            at(second + 60, 0x1_0000_0002, 0x1_0000_0003),
            at(second + 3600, 2, 3),
        ];
        assert!(numbers.is_sorted_by(|earlier, later| earlier < later), "{numbers:?}");
    }
}
