//! What the threads of one cluster share.
//!
//! Locks are taken in this order and no other: gate, ledger, guard, events, mute. Nothing is sent on a channel
//! while the ledger is locked, and senders never take the gate.

use super::clock::Clock;
use super::documents::Documents;
use super::history::History;
use super::numbers::Histogram;
use super::problems::{Problem, Problems};
use super::shard::Shard;
use super::stats::Stats;
use crate::cmdb::{self, TopologyCache};
use crate::config::{Config, SyncPolicy};
use crate::convert::{Converter, InvalidDocument};
use crate::journal::Journal;
use crate::model::{Cluster, DeletedPod, Fence, Modules, Observation};
use crate::plan::{Cause, EventQueue, Guard, Ledger, MuteCheck, Order, Pushed, Schedule};
use crate::pulse::Pulses;
use crate::storage;
use crossbeam::channel::{Receiver, Sender, TrySendError, bounded};
use parking_lot::{Mutex, RwLock};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The peers of the whole instance; clones share connections and limits.
#[derive(Clone)]
pub struct Peers {
    /// bcs-storage.
    pub storage: storage::Client,
    /// The CMDB.
    pub cmdb: cmdb::Client,
    /// Topologies of the businesses.
    pub topology: Arc<TopologyCache>,
}

/// The modules of the business as events are converted with.
#[derive(Default)]
pub(super) struct CurrentModules(RwLock<Option<Arc<Modules>>>);

/// A queue of one thread: woken by anybody, any number of wakes count once.
pub(super) struct Wake {
    sender: Sender<()>,
    pub receiver: Receiver<()>,
}

impl Wake {
    pub fn new() -> Self {
        let (sender, receiver) = bounded(1);
        Self { sender, receiver }
    }

    pub fn wake(&self) {
        match self.sender.try_send(()) {
            Ok(()) | Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
        }
    }
}

/// Everything of one cluster.
pub(super) struct Shared {
    /// Itself, for threads that are started when they are needed.
    pub me: Weak<Self>,
    pub cluster: Cluster,
    pub config: Arc<Config>,
    /// What may be written for this cluster.
    pub policy: SyncPolicy,
    /// Between two reads of the topology; may change while the cluster runs.
    pub modules_refresh: Mutex<Duration>,
    pub peers: Peers,
    pub fence: Arc<dyn Fence>,
    pub clock: Clock,
    pub converter: Converter,
    pub modules: CurrentModules,
    pub gate: Mutex<()>,
    pub ledger: Mutex<Ledger>,
    pub events: Mutex<EventQueue>,
    pub shards: Vec<Shard>,
    pub schedule: Mutex<Schedule>,
    pub guard: Mutex<Guard>,
    pub mute: Mutex<MuteCheck>,
    pub stats: Stats,
    pub lag: Histogram,
    pub full_sync_duration: Histogram,
    pub history: History,
    pub problems: Problems,
    pub documents: Documents,
    pub deletes: Arc<Journal>,
    /// Writes of the whole instance that its fences refused.
    pub fenced: Arc<AtomicU64>,
    pub previous_businesses: Mutex<Vec<i64>>,
    /// Previous businesses that turned out to be clean, for coordination.
    pub cleaned_businesses: Mutex<Vec<i64>>,
    pub gate_wake: Wake,
    pub sync_wake: Wake,
    /// A first full sync succeeded: the ledger knows the CMDB's records, events may pass. An
    /// interruption ends that, and the gate looks at it, under the ledger's lock.
    pub seeded: AtomicBool,
    pub paused: AtomicBool,
    pub stopping: AtomicBool,
    /// The signs of life of all its threads.
    pub pulses: Pulses,
    /// Disconnected when the cluster stops.
    pub stopped: Receiver<()>,
}

impl Shared {
    pub fn stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Whether an operator wants nothing to be written.
    pub fn paused(&self) -> bool {
        self.paused.load(Relaxed)
    }

    pub fn scope_in(&self, biz: i64) -> cmdb::Scope<'_> {
        cmdb::Scope { biz, cluster: &self.cluster.id, fence: self.fence.as_ref() }
    }

    /// Looks whether the permission to write was interrupted. Another instance may have written since:
    /// what was decided before is written no more, and nothing passes the gate before a full sync read
    /// both sides anew.
    pub fn check_epoch(&self) {
        let epoch = self.fence.epoch();
        let mut ledger = self.ledger.lock();
        if !ledger.interrupted(epoch) {
            return;
        }
        self.seeded.store(false, Relaxed);
        drop(ledger);
        let now = self.clock.now();
        let mut schedule = self.schedule.lock();
        schedule.taken_over(now);
        schedule.request(Cause::Recovered, now);
        drop(schedule);
        self.sync_wake.wake();
    }

    /// A full sync that began in that epoch has succeeded: events may pass. One that read before an
    /// interruption says nothing about now.
    pub fn seed(&self, epoch: u64) {
        let ledger = self.ledger.lock();
        if ledger.epoch() == epoch {
            self.seeded.store(true, Relaxed);
        }
        drop(ledger);
        self.gate_wake.wake();
    }

    /// Queues what an event, or a point read about another pod, says, for the gate.
    pub fn push(&self, observation: Observation) {
        let now = self.clock.now();
        let pushed = self.events.lock().push(observation, now);
        if pushed == Pushed::Dropped {
            self.schedule.lock().overflowed(now);
            self.sync_wake.wake();
        }
        self.gate_wake.wake();
    }

    /// Asks the shard of another uuid, by way of the gate, to verify it.
    pub fn push_hint(&self, order: Order) {
        let Order { uuid, namespace, name, .. } = order;
        self.push(Observation::Deleted(DeletedPod { storage_id: String::new(), namespace, name, uuid }));
    }

    /// Converts with the modules of now and queues the result, so that no event converted with
    /// older modules is queued after they changed.
    pub fn convert_and_push(&self, convert: impl FnOnce(&Modules) -> Option<Observation>) {
        let modules = self.modules.0.read();
        let Some(modules) = modules.as_ref() else { return };
        if let Some(observation) = convert(modules) {
            self.push(observation);
        }
    }

    /// The modules of now, once they are known.
    pub fn modules(&self) -> Option<Arc<Modules>> {
        self.modules.0.read().clone()
    }

    /// Takes new modules over. Events that were converted with others are dropped: the full sync
    /// that must follow sees what they told.
    pub fn set_modules(&self, modules: Arc<Modules>) {
        let mut current = self.modules.0.write();
        *current = Some(modules);
        self.events.lock().clear(self.clock.now());
    }

    /// Sends orders to the shards they belong to. The caller holds the gate.
    pub fn hand_over(&self, orders: Vec<Order>) {
        let mut split: Vec<Vec<Order>> = Vec::new();
        split.resize_with(self.shards.len(), Vec::new);
        for order in orders {
            split[order.shard(self.shards.len())].push(order);
        }
        for (number, orders) in split.into_iter().enumerate() {
            if !orders.is_empty() {
                self.send(number, orders);
            }
        }
    }

    /// Notes a document or event that nothing can be made of: the log hears of each once.
    pub fn invalid_document(&self, document: InvalidDocument) {
        let message = match (&*document.storage_id, &*document.namespace, &*document.name) {
            ("", "", "") => document.reason.clone(),
            _ => document.to_string(),
        };
        if self.documents.met(document, self.clock.now()) {
            log::warn!("cluster={} passed over until the next full sync: {message}", self.cluster.id);
        }
        self.problems.show(Problem::Documents, format!("passed over until the next full sync: {message}"));
    }

    /// What a complete listing of the CMDB held that nothing can be done with.
    pub fn unusable_records(&self, unusable: &cmdb::Unusable) {
        let cmdb::Unusable { count, first } = unusable;
        self.stats.unusable_records.store(*count as u64, Relaxed);
        if *count == 0 {
            self.problems.clear(Problem::Records);
            return;
        }
        let first = first.join(", ");
        let message = format!(
            "{count} records of this cluster in the CMDB have no uuid, and are left as they are: {first}"
        );
        self.problems.set(Problem::Records, message);
    }

    /// A sender shard works again; when it was the last one that failed, what was missed meanwhile
    /// is looked for.
    pub fn sender_recovered(&self, shard: usize) {
        if self.problems.clear(Problem::Sender(shard)) && !self.problems.any_sender() {
            self.schedule.lock().request(Cause::Recovered, self.clock.now());
            self.sync_wake.wake();
        }
    }
}
