//! Locks: one ephemeral node per cluster, created by whoever synchronises it.
//!
//! One thread keeps what is wanted and what is held in step with ZooKeeper. A node of an earlier
//! session of this very process is removed at once instead of waited for: that session's lease is
//! over, so nothing writes under it.

use super::client::{CallError, Client};
use super::fence::{Held, LockFence, Root};
use super::layout;
use super::looker::Looker;
use super::session::Session;
use super::{Lock, ServerInfo};
use crate::model::Fence;
use crossbeam::channel::bounded;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zookeeper::{CreateMode, Stat};

/// Time between two looks when nothing wakes us, and after a failed one.
const CHECK: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(300);

/// The locks of this instance. Stops when dropped; the nodes go with the session.
pub struct Locks {
    shared: Arc<Shared>,
    looker: Mutex<Looker>,
}

struct Shared {
    session: Arc<Session>,
    info: ServerInfo,
    book: Mutex<Book>,
    problem: Mutex<Option<String>>,
}

#[derive(Default)]
struct Book {
    wanted: BTreeMap<String, Arc<LockFence>>,
    /// Given back, but the node may still stand.
    released: BTreeSet<String>,
}

impl Locks {
    /// Starts the thread. `info` is written into the locks.
    ///
    /// # Errors
    /// The machine grants no thread.
    pub fn start(session: Arc<Session>, info: ServerInfo) -> io::Result<Self> {
        let (wake, woken) = bounded(1);
        session.subscribe(layout::LOCKS, wake);
        let shared = Arc::new(Shared { session, info, book: Mutex::default(), problem: Mutex::default() });
        let seen = Arc::clone(&shared);
        let mut checked = None;
        let looker = Looker::start("zk locks", woken, move || {
            let failed = seen.look(&mut checked).err();
            let pause = if failed.is_some() { RETRY } else { CHECK };
            seen.note(failed);
            pause
        })?;
        Ok(Self { shared, looker: Mutex::new(looker) })
    }

    /// As [`Coordination::acquire`](super::Coordination::acquire).
    pub fn acquire(&self, cluster_id: &str) -> Lock {
        let mut book = self.shared.book.lock();
        if let Some(fence) = book.wanted.get(cluster_id) {
            return if fence.was_held() {
                Lock::Held(Arc::clone(fence) as Arc<dyn Fence>)
            } else {
                Lock::Pending { holder: fence.holder() }
            };
        }
        let fence = Arc::new(LockFence::new(cluster_id, Arc::clone(&self.shared.session)));
        book.wanted.insert(cluster_id.to_owned(), fence);
        drop(book);
        self.looker.lock().poke();
        Lock::Pending { holder: None }
    }

    /// As [`Coordination::release`](super::Coordination::release).
    pub fn release(&self, cluster_id: &str) {
        {
            let mut book = self.shared.book.lock();
            let Some(fence) = book.wanted.remove(cluster_id) else { return };
            fence.lower(None);
            book.released.insert(cluster_id.to_owned());
        }
        self.looker.lock().poke();
    }

    /// What is wrong, in words: as long as it lasts, no lock is taken or given back.
    pub fn problem(&self) -> Option<String> {
        self.shared.problem.lock().clone()
    }

    /// What is wrong with its threads, in words.
    pub fn trouble(&self) -> Option<String> {
        self.looker.lock().trouble()
    }

    /// Stops the thread; every fence is down.
    pub fn stop(&self) {
        self.looker.lock().stop();
        for fence in self.shared.book.lock().wanted.values() {
            fence.lower(None);
        }
    }
}

impl Shared {
    /// How the last look ended. What the session tells itself is not repeated.
    fn note(&self, failed: Option<CallError>) {
        let failed = failed.filter(|error| !matches!(error, CallError::SessionOver | CallError::Lost(_)));
        *self.problem.lock() = failed.map(|error| format!("locks: {error}"));
    }

    /// Looks at all locks; at those that are held and stand only if `checked` is long ago, because
    /// every lock of the whole fleet wakes us when it comes or goes.
    fn look(&self, checked: &mut Option<Instant>) -> Result<(), CallError> {
        let check_all = checked.is_none_or(|last| last.elapsed() >= CHECK);
        let Some(client) = self.session.client() else { return Ok(()) };
        for (_, fence) in self.wanted() {
            if fence.held().is_some_and(|lock| lock.session != client.session()) {
                fence.lower(None);
            }
        }
        if Root::read(&client)? != self.session.root() {
            // Locks under another root are no locks of the one whose leases still run; the session ends.
            self.wanted().iter().for_each(|(_, fence)| fence.lower(None));
            return Err(CallError::NoNode(layout::ROOT.to_owned()));
        }
        self.give_back(&client)?;
        // Asked after that: what is given back from here on is left to the next look, which finds a
        // node that this one may still create.
        let wanted = self.wanted();
        let standing: BTreeSet<String> = match client.children(layout::LOCKS, true) {
            Ok(names) => names.into_iter().collect(),
            Err(error) => {
                if matches!(error, CallError::NoNode(_)) {
                    // No lock stands where its parent does not, and whoever makes it anew is free to take any.
                    wanted.iter().for_each(|(_, fence)| fence.lower(None));
                }
                return Err(error);
            }
        };
        for (id, fence) in wanted {
            if fence.held().is_some() && !standing.contains(&id) {
                log::warn!("cluster={id} the lock was removed by somebody else");
                fence.lower(None);
            }
            if check_all || fence.held().is_none() {
                self.settle(&client, &id, &fence, standing.contains(&id))?;
            }
        }
        if check_all {
            *checked = Some(Instant::now());
        }
        Ok(())
    }

    fn wanted(&self) -> Vec<(String, Arc<LockFence>)> {
        let book = self.book.lock();
        book.wanted.iter().map(|(id, fence)| (id.clone(), Arc::clone(fence))).collect()
    }

    /// Deletes the nodes of released locks, if they are ours.
    fn give_back(&self, client: &Client) -> Result<(), CallError> {
        let released = self.book.lock().released.clone();
        for id in released {
            let path = layout::child(layout::LOCKS, &id);
            if client.stat(&path)?.is_some_and(|stat| stat.ephemeral_owner == client.session()) {
                match client.delete(&path, None) {
                    Ok(()) | Err(CallError::NoNode(_)) => {}
                    Err(error) => return Err(error),
                }
            }
            self.book.lock().released.remove(&id);
        }
        Ok(())
    }

    /// Takes the lock, or finds out whose it is.
    fn settle(&self, client: &Client, id: &str, fence: &LockFence, stands: bool) -> Result<(), CallError> {
        let path = layout::child(layout::LOCKS, id);
        let data = serde_json::to_vec(&self.info).unwrap_or_default();
        if !stands {
            match client.create(&path, &data, CreateMode::Ephemeral) {
                Ok(_) | Err(CallError::NodeExists(_)) => {}
                Err(error) => return Err(error),
            }
        }
        let (data, stat) = match client.read(&path, false) {
            Ok(found) => found,
            Err(CallError::NoNode(_)) => {
                fence.lower(None);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let holder = ServerInfo::parse(&data).unwrap_or_default();
        if stat.ephemeral_owner == client.session() {
            self.hold(client, id, fence, &stat);
        } else if (holder.pid, &holder.hostname, holder.instance())
            == (self.info.pid, &self.info.hostname, self.info.instance())
        {
            fence.lower(None);
            match client.delete(&path, Some(stat.version)) {
                Ok(()) | Err(CallError::NoNode(_) | CallError::BadVersion(_)) => {}
                Err(error) => return Err(error),
            }
        } else {
            fence.lower(holder.instance());
        }
        Ok(())
    }

    /// The node is ours; so is the lock, unless it was given back meanwhile.
    fn hold(&self, client: &Client, id: &str, fence: &LockFence, stat: &Stat) {
        let Some(root) = self.session.root() else { return };
        let book = self.book.lock();
        if book.wanted.get(id).is_some_and(|wanted| std::ptr::eq(&raw const **wanted, fence)) {
            if fence.held().is_none() {
                log::info!("cluster={id} lock acquired");
            }
            fence.raise(Held { session: client.session(), czxid: stat.czxid, root });
        }
    }
}
