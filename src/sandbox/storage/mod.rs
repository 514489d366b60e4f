//! A simulated bcs-storage: protocol.md 1 over real HTTP, with its traps, in both generations.
//!
//! ```text
//! put, delete ─> collection (documents, pure) ─event─> watchers' inboxes ─> streams
//! list, get   ─> api ─> collection, seen through a projection
//! ```
//! Faults stand between the requests and the truth, so that a test can break one call of one
//! cluster. Everything random comes from one seed.

mod api;
mod collection;
mod document;
mod faults;
mod projection;
mod watch;

pub use collection::{Behaviour, Generation, PutError};
pub use document::Document;
pub use faults::{Call, EVERY, Fault, Faults, StreamEnd};

use crate::front::{Front, Handler};
use crate::model::ClusterKind;
use crate::sandbox::request::limits;
use collection::{Collection, Event};
use faults::FaultTable;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use watch::Inbox;

/// What was asked so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// List pages.
    pub list: usize,
    /// Point reads.
    pub get: usize,
    /// Watches begun.
    pub watch: usize,
    /// Watches whose subscription has begun and whose client is there, as far as a fifth of a
    /// second ago.
    pub open_watches: usize,
    /// Most clusters whose listing was under way at once: from a first page to a short one.
    pub peak_listings: usize,
}

struct State {
    clusters: BTreeMap<String, Collection>,
    faults: FaultTable,
    counters: Counters,
    listing: BTreeSet<String>,
    subscriptions: Vec<(String, Arc<Inbox>)>,
    rng: fastrand::Rng,
}

struct Shared {
    state: Mutex<State>,
}

/// A simulated bcs-storage. Clones share everything.
#[derive(Clone)]
pub struct SimStorage {
    shared: Arc<Shared>,
}

impl SimStorage {
    /// An empty storage; `seed` decides its `_id`s, the order of listings and of near events.
    pub fn new(seed: u64) -> Self {
        let state = State {
            clusters: BTreeMap::new(),
            faults: FaultTable::default(),
            counters: Counters::default(),
            listing: BTreeSet::new(),
            subscriptions: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
        };
        Self { shared: Arc::new(Shared { state: Mutex::new(state) }) }
    }

    /// Adds an empty cluster that behaves as its generation does by default.
    pub fn add_cluster(&self, id: &str, kind: ClusterKind, generation: Generation) {
        self.add_cluster_with(id, kind, Behaviour::of(generation));
    }

    /// Adds an empty cluster.
    pub fn add_cluster_with(&self, id: &str, kind: ClusterKind, behaviour: Behaviour) {
        self.shared.state.lock().clusters.insert(id.to_owned(), Collection::new(id, kind, behaviour));
    }

    /// Stores a pod or taskgroup under its `metadata.namespace` and `metadata.name`, in place of
    /// an earlier one, and tells the watchers.
    pub fn put(&self, cluster: &str, pod: impl Into<Arc<Value>>) -> Result<(), PutError> {
        self.store(cluster, |collection, rng| collection.put(pod.into(), Timestamp::now(), rng))
    }

    /// The same under a key of its own: the storage does not look whether the pod has that name too.
    pub fn put_under(
        &self,
        cluster: &str,
        (namespace, name): (&str, &str),
        pod: impl Into<Arc<Value>>,
    ) -> Result<(), PutError> {
        let key = (namespace.to_owned(), name.to_owned());
        self.store(cluster, |collection, rng| {
            Ok(collection.put_under(key, pod.into(), Timestamp::now(), rng))
        })
    }

    fn store(
        &self,
        cluster: &str,
        put: impl FnOnce(&mut Collection, &mut fastrand::Rng) -> Result<Event, PutError>,
    ) -> Result<(), PutError> {
        let mut guard = self.shared.state.lock();
        let state = &mut *guard;
        let unknown = || PutError::UnknownCluster(cluster.to_owned());
        let collection = state.clusters.get_mut(cluster).ok_or_else(unknown)?;
        let event = put(collection, &mut state.rng)?;
        state.publish(cluster, event);
        Ok(())
    }

    /// Deletes a pod and tells the watchers; `false`: it was not there.
    pub fn delete(&self, cluster: &str, namespace: &str, name: &str) -> bool {
        let mut state = self.shared.state.lock();
        let Some(collection) = state.clusters.get_mut(cluster) else { return false };
        let events = collection.delete(namespace, name, Timestamp::now());
        let found = !events.is_empty();
        for event in events {
            state.publish(cluster, event);
        }
        found
    }

    /// The living documents of a cluster, in no order.
    pub fn documents(&self, cluster: &str) -> Vec<Arc<Document>> {
        let state = self.shared.state.lock();
        state.clusters.get(cluster).map(|collection| collection.documents().to_vec()).unwrap_or_default()
    }

    /// One living document.
    pub fn document(&self, cluster: &str, namespace: &str, name: &str) -> Option<Arc<Document>> {
        self.shared.state.lock().clusters.get(cluster)?.get(namespace, name).cloned()
    }

    /// Breaks things.
    pub fn faults(&self) -> Faults<'_> {
        Faults { shared: &self.shared }
    }

    /// What was asked so far.
    pub fn counters(&self) -> Counters {
        self.shared.state.lock().counters.clone()
    }

    /// What answers requests, for a server of the caller's.
    pub fn handler(&self) -> Arc<dyn Handler> {
        Arc::new(api::Api { shared: self.shared.clone() })
    }

    /// Serves `listener`. Dropping the server stops it and its streams, and keeps the documents:
    /// they can be served again, on the same port.
    pub fn serve(&self, listener: TcpListener) -> io::Result<SimServer> {
        Ok(SimServer { front: Front::start("sim-storage", listener, None, limits(), self.handler())? })
    }
}

/// A simulated storage at work on a port; stops when dropped.
pub struct SimServer {
    front: Front,
}

impl SimServer {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.front.addr()
    }

    /// Its base URL, as in `storage_addrs`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }
}

impl State {
    /// Tells the watchers of `cluster` about a change, unless a fault keeps it from them.
    fn publish(&mut self, cluster: &str, event: Event) {
        if self.faults.lets_pass(cluster) {
            for (_, inbox) in self.subscriptions.iter().filter(|(of, _)| of == cluster) {
                inbox.push(event.clone());
            }
        }
    }
}

impl Shared {
    /// Tells the watchers of `cluster` (or [`EVERY`]), whatever the faults say.
    fn tell(&self, cluster: &str, event: &Event) {
        for (of, inbox) in &self.state.lock().subscriptions {
            if cluster == EVERY || of == cluster {
                inbox.push(event.clone());
            }
        }
    }

    fn reread(&self, then: Arc<Document>) -> Arc<Document> {
        match self.state.lock().clusters.get(&then.cluster) {
            Some(collection) => collection.reread(then),
            None => then,
        }
    }

    /// Counts a list page and says which fault it meets.
    fn begin_list(&self, cluster: &str) -> Option<Fault> {
        let mut guard = self.state.lock();
        let state = &mut *guard;
        state.counters.list += 1;
        state.listing.insert(cluster.to_owned());
        state.counters.peak_listings = state.counters.peak_listings.max(state.listing.len());
        state.faults.meet(cluster, Call::List)
    }

    fn end_list(&self, cluster: &str) {
        self.state.lock().listing.remove(cluster);
    }
}

/// A watch between its subscription and its end.
struct Subscription {
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
}

impl Subscription {
    fn new(shared: &Arc<Shared>, cluster: &str) -> Self {
        let inbox = Arc::<Inbox>::default();
        let mut state = shared.state.lock();
        state.subscriptions.push((cluster.to_owned(), inbox.clone()));
        state.counters.open_watches = state.subscriptions.len();
        Self { shared: shared.clone(), inbox }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.subscriptions.retain(|(_, inbox)| !Arc::ptr_eq(inbox, &self.inbox));
        state.counters.open_watches = state.subscriptions.len();
    }
}
