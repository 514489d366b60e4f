//! The controller: makes the set of running clusters equal to the set that is assigned.
//!
//! One thread listens to coordination. A new cluster waits for its lock, runs, and gives the lock
//! back only after its last writer has ended.

use super::clock::Clock;
use super::history::History;
use super::numbers::Numbers;
use super::reconciler::{Common, Reconciler};
use super::shared::Peers;
use super::snapshot::{
    ClusterHistory, ClusterState, ClusterStatus, Control, ControlOutcome, DeletedRecord, FullSyncStatus,
    Health, HeldBackDelete, InvalidDocuments, PodCounts, ProblemStatus, RejectedRecord, SenderStatus,
    WatchStatus,
};
use super::timings::Timings;
use crate::config::Config;
use crate::coordination::{Coordination, Lock};
use crate::journal::{DeletePage, DeleteQuery, Journal};
use crate::model::Cluster;
use crate::plan::Fingerprinter;
use crossbeam::channel::{Receiver, Sender, TryRecvError, bounded, unbounded};
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

/// An assigned cluster on this instance.
enum Slot {
    /// Another instance still holds it, or its threads could not be started.
    Waiting { cluster: Cluster, why: Option<String> },
    /// At work.
    Running(Reconciler),
}

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
        });
        let (stop, stopped) = bounded(0);
        let running = Arc::clone(&controller);
        let thread = std::thread::Builder::new().name("controller".to_owned()).spawn(move || {
            let _life = life;
            running.run(&stopped, &changed);
        })?;
        Ok(ControllerHandle { controller, thread: Some(thread), stop: Some(stop) })
    }

    fn run(&self, stopped: &Receiver<()>, changed: &Receiver<Change>) {
        loop {
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
                Some(Slot::Waiting { .. }) => self.coordination.release(&id),
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
                Slot::Waiting { .. } => self.coordination.release(&id),
            }
        }
        self.finish(running);
    }

    /// Waits for clusters that are stopping, all together for one grace, and gives their locks back
    /// as soon as nothing of this instance can write for them.
    fn finish(&self, stopping: Vec<Reconciler>) {
        let deadline = Instant::now() + self.common().config.shutdown_grace + LAST_REQUEST;
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

    // ---- what it shows ---------------------------------------------------------------------

    /// Every cluster of this instance, by id.
    pub fn clusters(&self) -> Vec<ClusterStatus> {
        let config = Arc::clone(&self.common().config);
        self.slots.lock().values().map(|slot| slot.status(&config)).collect()
    }

    /// One cluster.
    pub fn cluster(&self, id: &str) -> Option<ClusterStatus> {
        let config = Arc::clone(&self.common().config);
        self.slots.lock().get(id).map(|slot| slot.status(&config))
    }

    /// Refused records of one cluster.
    pub fn rejected(&self, id: &str) -> Option<Vec<RejectedRecord>> {
        match self.slots.lock().get(id)? {
            Slot::Running(reconciler) => Some(reconciler.rejected()),
            Slot::Waiting { .. } => Some(Vec::new()),
        }
    }

    /// The last hour of one cluster.
    pub fn history(&self, id: &str) -> Option<ClusterHistory> {
        match self.slots.lock().get(id)? {
            Slot::Running(reconciler) => Some(reconciler.history()),
            Slot::Waiting { .. } => Some(History::default().snapshot(id, self.common().clock)),
        }
    }

    /// Deletes of one cluster that are held back.
    pub fn held_back(&self, id: &str) -> Option<Vec<HeldBackDelete>> {
        match self.slots.lock().get(id)? {
            Slot::Running(reconciler) => Some(reconciler.held_back()),
            Slot::Waiting { .. } => Some(Vec::new()),
        }
    }

    /// The last deletes, newest first.
    pub fn deletes(&self) -> Vec<DeletedRecord> {
        self.common().deletes.last()
    }

    /// One page of the delete journal.
    pub fn delete_page(&self, query: &DeleteQuery) -> DeletePage {
        self.common().deletes.page(query)
    }

    /// What is wrong with the delete journal, in words.
    pub fn journal_problem(&self) -> Option<String> {
        self.common().deletes.problem()
    }

    /// Carries out an operator's request.
    pub fn control(&self, id: &str, control: Control) -> ControlOutcome {
        let slots = self.slots.lock();
        let Some(slot) = slots.get(id) else { return ControlOutcome::UnknownCluster };
        match control {
            Control::Pause => _ = self.paused.lock().clusters.insert(id.to_owned()),
            Control::Resume => self.resume(id, slots.keys()),
            Control::Sync | Control::ApproveDeletes => {}
        }
        // One that waits for its lock begins with a full sync, and has nothing to approve.
        if let Slot::Running(reconciler) = slot {
            reconciler.control(control);
        }
        ControlOutcome::Accepted
    }

    /// Takes one cluster out of what is paused, also where all of them were.
    fn resume<'a>(&self, id: &str, all: impl Iterator<Item = &'a String>) {
        let mut paused = self.paused.lock();
        if std::mem::take(&mut paused.all) {
            paused.clusters.extend(all.cloned());
        }
        paused.clusters.remove(id);
    }

    /// Carries out an operator's request about every cluster, those that come later included; the
    /// ids of those that are here.
    pub fn control_all(&self, control: Control) -> Vec<String> {
        let slots = self.slots.lock();
        if matches!(control, Control::Pause | Control::Resume) {
            *self.paused.lock() = Paused { all: control == Control::Pause, clusters: BTreeSet::new() };
        }
        for slot in slots.values() {
            if let Slot::Running(reconciler) = slot {
                reconciler.control(control);
            }
        }
        slots.keys().cloned().collect()
    }

    /// Whether the controller and every thread of every cluster live.
    pub fn health(&self) -> Health {
        let slots = self.slots.lock();
        let broken = slots.iter().filter(|(_, slot)| matches!(slot, Slot::Running(r) if !r.is_whole()));
        let mut problems: Vec<String> =
            broken.map(|(id, _)| format!("cluster {id} lost a thread: restart the service")).collect();
        if self.alive.try_recv() == Err(TryRecvError::Disconnected) {
            problems.push("the controller has ended: restart the service".to_owned());
        }
        Health { ok: problems.is_empty(), problems }
    }

    /// Whether every assigned cluster had a first outcome; what fails is named.
    pub fn readiness(&self) -> Health {
        let slots = self.slots.lock();
        let mut ok = self.assigned.load(Relaxed);
        let mut problems = Vec::new();
        if !ok {
            problems.push("the assigned clusters are not known yet".to_owned());
        }
        for (id, slot) in slots.iter() {
            match slot {
                Slot::Running(reconciler) => {
                    if !reconciler.had_outcome() {
                        ok = false;
                        problems.push(format!("cluster {id} had no full sync yet"));
                    } else if let Some(problem) = reconciler.problem() {
                        problems.push(format!("cluster {id}: {problem}"));
                    }
                }
                Slot::Waiting { why, .. } => {
                    ok = false;
                    let why = why.as_deref().unwrap_or("its lock is not ours yet");
                    problems.push(format!("cluster {id} waits: {why}"));
                }
            }
        }
        Health { ok, problems }
    }

    /// Numbers of the clusters, for the metrics.
    pub fn add_numbers(&self, numbers: &mut Numbers) {
        numbers.writes_refused_by_fence = self.common().fenced.load(Relaxed);
        for (id, slot) in self.slots.lock().iter() {
            if let Slot::Running(reconciler) = slot {
                numbers.clusters.insert(id.clone(), reconciler.numbers());
            }
        }
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

impl Slot {
    fn cluster(&self) -> &Cluster {
        match self {
            Self::Waiting { cluster, .. } => cluster,
            Self::Running(reconciler) => reconciler.cluster(),
        }
    }

    fn status(&self, config: &Config) -> ClusterStatus {
        match self {
            Self::Running(reconciler) => reconciler.status(),
            Self::Waiting { cluster, why } => ClusterStatus {
                cluster_id: cluster.id.clone(),
                bk_biz_id: cluster.bk_biz_id,
                project_id: cluster.project_id.clone(),
                kind: cluster.kind.as_str(),
                state: ClusterState::Waiting,
                sync_policy: config.policy_of(&cluster.id).name(),
                pods: PodCounts::default(),
                watch: WatchStatus::default(),
                full_sync: FullSyncStatus::default(),
                senders: SenderStatus::default(),
                invalid_documents: InvalidDocuments::default(),
                lag_seconds: None,
                last_error: why.clone(),
                problems: why
                    .iter()
                    .map(|why| ProblemStatus { kind: "waiting", message: why.clone() })
                    .collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coordination::{AssignmentView, CoordinationStatus};
    use crate::http::{Client, Options};
    use crate::storage::{self, StaticAddresses};
    use crate::{cmdb, cmdb::TopologyCache};

    /// Coordination whose thread has died: nobody tells clusters any more.
    struct Dead(Receiver<Arc<Vec<Cluster>>>);

    impl Coordination for Dead {
        fn assigned(&self) -> &Receiver<Arc<Vec<Cluster>>> {
            &self.0
        }
        fn acquire(&self, _: &str) -> Lock {
            Lock::Pending { holder: None }
        }
        fn release(&self, _: &str) {}
        fn business_cleaned(&self, _: &str, _: i64) {}
        fn status(&self) -> CoordinationStatus {
            unreachable!("the controller does not ask")
        }
        fn assignment(&self) -> AssignmentView {
            AssignmentView::default()
        }
        fn stop(&self) {}
    }

    /// Peers that are never asked.
    fn peers(config: &Config) -> Peers {
        let settings =
            storage::Settings { page_size: 1, timeout: TICK, watch_idle_timeout: TICK, list_concurrency: 1 };
        let addresses = Arc::new(StaticAddresses::new(Vec::new()));
        let storage = storage::Client::new(addresses, None, settings, Arc::default());
        let settings = cmdb::Settings {
            user: String::new(),
            supplier: String::new(),
            qps: 0,
            timeout: TICK,
            page_size: 1,
        };
        let http = Client::new(&Options::default());
        let cmdb = cmdb::Client::new(http, config.cmdb_addr.clone(), settings, Arc::default());
        let topology = Arc::new(TopologyCache::new(cmdb.clone()));
        Peers { storage, cmdb, topology }
    }

    #[test]
    fn a_controller_that_ended_on_its_own_shows_in_the_health() {
        let json = r#"{"zk":"","storage_addrs":["http://127.0.0.1:1"],"cmdb_addr":"127.0.0.1:1","cmdb_user":"u",
            "paas_addr":"127.0.0.1:1"}"#;
        let config = Arc::new(Config::from_json(json).unwrap());
        let (tell, told) = bounded(1);
        let (clock, timings) = (Clock::start(), Timings::default());
        let handle =
            Controller::start(Arc::clone(&config), peers(&config), clock, timings, Arc::new(Dead(told)))
                .unwrap();
        assert!(handle.controller().health().ok);
        drop(tell);
        let deadline = Instant::now() + Duration::from_secs(10);
        while handle.controller().health().ok && Instant::now() < deadline {
            std::thread::yield_now();
        }
        let health = handle.controller().health();
        assert_eq!(health.problems, ["the controller has ended: restart the service"]);
    }
}
