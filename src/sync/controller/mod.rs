//! The controller: makes the set of running clusters equal to the set that is assigned.
//!
//! One thread listens to coordination. A new cluster waits for its lock, runs, and gives the lock
//! back only after its last writer has ended. What it shows, and what operators ask of it, is in
//! `operators`.

mod operators;
mod slot;

use self::slot::Slot;
use super::clock::Clock;
use super::reconciler::{Common, Reconciler};
use super::shared::Peers;
use super::timings::Timings;
use crate::config::Config;
use crate::coordination::{Coordination, Lock};
use crate::journal::Journal;
use crate::model::Cluster;
use crate::plan::Fingerprinter;
use crate::pulse::{self, Pulses};
use crossbeam::channel::{Receiver, Sender, bounded, unbounded};
use crossbeam::select;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often pending locks are asked for and clean businesses are told.
const TICK: Duration = Duration::from_millis(500);
/// What a sender may take beyond its grace to notice that the grace is over.
const LAST_REQUEST: Duration = Duration::from_millis(300);

/// What operators paused: it stays so until they resume it, also when the cluster comes later, or
/// leaves and comes back.
#[derive(Default)]
struct Paused {
    all: bool,
    clusters: BTreeSet<String>,
}

impl Paused {
    fn holds(&self, id: &str) -> bool {
        self.all || self.clusters.contains(id)
    }
}

/// A new configuration, and new clients if they have to change.
struct Change {
    config: Arc<Config>,
    peers: Option<Peers>,
}

/// The clusters of this instance.
pub struct Controller {
    common: Mutex<Arc<Common>>,
    changes: Sender<Change>,
    coordination: Arc<dyn Coordination>,
    slots: Mutex<BTreeMap<String, Slot>>,
    paused: Mutex<Paused>,
    /// Clusters that are not at work any more, with the senders whose last request is still under
    /// way: their locks are given back after it.
    leaving: Mutex<BTreeMap<String, Vec<JoinHandle<()>>>>,
    /// Whether coordination told the assigned clusters at least once.
    assigned: AtomicBool,
    /// Disconnected once the controller's thread has ended, however it ended.
    alive: Receiver<()>,
    /// The pulse of the controller's thread.
    pulses: Pulses,
}

/// The thread of a [`Controller`]. Stops when dropped.
pub struct ControllerHandle {
    controller: Arc<Controller>,
    thread: Option<JoinHandle<()>>,
    stop: Option<Sender<()>>,
}

impl Controller {
    /// Starts the controller's thread.
    ///
    /// # Errors
    /// The machine grants no thread.
    pub fn start(
        config: Arc<Config>,
        peers: Peers,
        clock: Clock,
        timings: Timings,
        coordination: Arc<dyn Coordination>,
    ) -> io::Result<ControllerHandle> {
        let prints = Fingerprinter::new(fastrand::u64(..));
        let deletes = Arc::new(Journal::start(config.delete_journal.as_deref())?);
        let fenced = Arc::default();
        let common = Common { config, peers, clock, timings, deletes, fenced, prints };
        let (changes, changed) = unbounded();
        let (life, alive) = bounded(0);
        let controller = Arc::new(Self {
            common: Mutex::new(Arc::new(common)),
            changes,
            coordination,
            slots: Mutex::default(),
            paused: Mutex::default(),
            leaving: Mutex::default(),
            assigned: AtomicBool::new(false),
            alive,
            pulses: Pulses::new(timings.hang),
        });
        let pulse = controller.pulses.begin("controller");
        let (stop, stopped) = bounded(0);
        let running = Arc::clone(&controller);
        let thread = std::thread::Builder::new().name("controller".to_owned()).spawn(move || {
            let _life = life;
            pulse.of(|| running.run(&stopped, &changed));
        })?;
        Ok(ControllerHandle { controller, thread: Some(thread), stop: Some(stop) })
    }

    fn run(&self, stopped: &Receiver<()>, changed: &Receiver<Change>) {
        loop {
            pulse::within(TICK);
            select! {
                recv(stopped) -> _ => break,
                recv(self.coordination.assigned()) -> clusters => match clusters {
                    Ok(clusters) => self.assign(&clusters),
                    Err(_) => break,
                },
                recv(changed) -> change => if let Ok(change) = change { self.take_change(change) },
                default(TICK) => {}
            }
            self.tick();
        }
        self.stop_all();
    }

    fn common(&self) -> Arc<Common> {
        Arc::clone(&self.common.lock())
    }

    /// Another configuration from now on. With `peers` every cluster begins anew with them; without,
    /// what can change while a cluster runs changes.
    pub fn reconfigure(&self, config: Arc<Config>, peers: Option<Peers>) {
        // A controller that has ended needs no configuration.
        let _ = self.changes.send(Change { config, peers });
    }

    /// Another limit on requests to the CMDB from now on.
    pub fn set_qps(&self, qps: u32) {
        self.common().peers.cmdb.set_qps(qps);
    }

    /// How long the senders may go on with what is queued when the service ends.
    pub fn shutdown_grace(&self) -> Duration {
        self.common().config.shutdown_grace
    }

    /// On the controller's thread, as whatever starts and stops clusters.
    fn take_change(&self, Change { config, peers }: Change) {
        let anew = peers.is_some();
        {
            let mut common = self.common.lock();
            let peers = peers.unwrap_or_else(|| common.peers.clone());
            *common = Arc::new(Common { config: Arc::clone(&config), peers, ..(**common).clone() });
        }
        let mut slots = self.slots.lock();
        let mut leaving = Vec::new();
        for slot in slots.values_mut() {
            let Slot::Running(reconciler) = slot else { continue };
            if !anew {
                reconciler.adjust(&config);
                continue;
            }
            let why = Some("it begins anew with the new configuration".to_owned());
            let waiting = Slot::Waiting { cluster: reconciler.cluster_now(), why };
            if let Slot::Running(mut reconciler) = std::mem::replace(slot, waiting) {
                reconciler.begin_stop();
                leaving.push(reconciler);
            }
        }
        drop(slots);
        self.finish(leaving);
    }

    /// Makes the slots match the assigned clusters.
    fn assign(&self, clusters: &[Cluster]) {
        let mut slots = self.slots.lock();
        let mut leaving = Vec::new();
        let ids: Vec<String> = slots.keys().cloned().collect();
        for id in ids {
            let keep = clusters.iter().find(|cluster| cluster.id == id);
            let same_work = |slot: &Slot| keep.is_some_and(|cluster| same_work(slot.cluster(), cluster));
            if slots.get(&id).is_some_and(same_work) {
                continue;
            }
            match slots.remove(&id) {
                Some(Slot::Running(mut reconciler)) => {
                    log::info!(
                        "cluster={id} stops: {}",
                        if keep.is_some() { "it changed" } else { "not assigned" }
                    );
                    reconciler.begin_stop();
                    leaving.push(reconciler);
                }
                Some(Slot::Waiting { .. }) => self.release_unless_leaving(&id),
                None => {}
            }
        }
        drop(slots);
        self.finish(leaving);
        let mut slots = self.slots.lock();
        for cluster in clusters {
            match slots.get(&cluster.id) {
                Some(Slot::Running(reconciler)) => {
                    reconciler.set_previous_businesses(&cluster.previous_bk_biz_ids);
                }
                _ => {
                    let slot = Slot::Waiting { cluster: cluster.clone(), why: None };
                    slots.insert(cluster.id.clone(), slot);
                }
            }
        }
        self.assigned.store(true, Relaxed);
    }

    /// Starts what got its lock, and tells coordination which businesses are clean.
    fn tick(&self) {
        self.release_left();
        let mut slots = self.slots.lock();
        for (id, slot) in slots.iter_mut() {
            match slot {
                Slot::Running(reconciler) => {
                    reconciler.check_epoch();
                    for biz in reconciler.take_cleaned_businesses() {
                        self.coordination.business_cleaned(id, biz);
                    }
                }
                Slot::Waiting { why, .. } if self.leaving.lock().contains_key(id) => {
                    *why = Some("a request of its former threads is still under way".to_owned());
                }
                Slot::Waiting { cluster, why } => match self.coordination.acquire(id) {
                    Lock::Pending { holder } => {
                        *why = holder.map(|holder| format!("{holder} still holds it"));
                    }
                    Lock::Held(fence) => match Reconciler::start(
                        cluster.clone(),
                        fence,
                        &self.common(),
                        self.paused.lock().holds(id),
                    ) {
                        Ok(reconciler) => {
                            log::info!("cluster={id} starts in business {}", cluster.bk_biz_id);
                            *slot = Slot::Running(reconciler);
                        }
                        Err(error) => {
                            let message =
                                format!("cannot start its threads: {error}; raise the limit of tasks");
                            if why.as_ref() != Some(&message) {
                                log::error!("cluster={id} {message}");
                            }
                            *why = Some(message);
                        }
                    },
                },
            }
        }
    }

    /// Stops every cluster, all at the same time.
    fn stop_all(&self) {
        let slots = std::mem::take(&mut *self.slots.lock());
        let mut running = Vec::new();
        for (id, slot) in slots {
            match slot {
                Slot::Running(mut reconciler) => {
                    reconciler.begin_stop();
                    running.push(reconciler);
                }
                Slot::Waiting { .. } => self.release_unless_leaving(&id),
            }
        }
        self.finish(running);
    }

    /// Waits for clusters that are stopping, all together for one grace, and gives their locks back
    /// as soon as nothing of this instance can write for them.
    fn finish(&self, stopping: Vec<Reconciler>) {
        let grace = self.common().config.shutdown_grace + LAST_REQUEST;
        pulse::within(grace);
        let deadline = Instant::now() + grace;
        for reconciler in stopping {
            let id = reconciler.cluster().id.clone();
            let writing = reconciler.stop(deadline);
            if writing.is_empty() {
                self.coordination.release(&id);
            } else {
                self.leaving.lock().insert(id, writing);
            }
        }
    }

    /// Gives back the lock of a cluster that is not at work. A request of its former threads may still be
    /// under way: then [`release_left`](Self::release_left) does it.
    fn release_unless_leaving(&self, id: &str) {
        if !self.leaving.lock().contains_key(id) {
            self.coordination.release(id);
        }
    }

    /// Gives back the locks of clusters whose last request is over.
    fn release_left(&self) {
        self.leaving.lock().retain(|id, writing| {
            let over = writing.iter().all(JoinHandle::is_finished);
            if over {
                self.coordination.release(id);
            }
            !over
        });
    }
}

impl ControllerHandle {
    /// The controller.
    pub fn controller(&self) -> Arc<Controller> {
        Arc::clone(&self.controller)
    }

    /// Stops every cluster, draining the senders, and the thread.
    pub fn stop(&mut self) {
        self.stop = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the controller panicked");
        }
    }
}

impl Drop for ControllerHandle {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether a running cluster may go on as it is.
fn same_work(old: &Cluster, new: &Cluster) -> bool {
    (old.bk_biz_id, old.kind, &old.project_id) == (new.bk_biz_id, new.kind, &new.project_id)
}

#[cfg(test)]
pub(super) mod tests;
