//! One cluster at work: its threads, started together and stopped in order.
//!
//! ```text
//! bcs-storage ──watch──> [watch: convert] ──event queue──> [gate] ──hash(uuid)──> [sender 0..N) ──> CMDB
//!             └─list───> [full sync] ── holds the gate while it lists, compares and hands over ──┘
//! ```

mod shown;

use crate::config::Config;
use crate::convert::{self, Converter};
use crate::journal::Journal;
use crate::model::{Cluster, Fence};
use crate::plan::{Cause, EventQueue, Fingerprinter, Guard, GuardSettings, Ledger, MuteCheck, Schedule};
use crate::pulse::Pulses;
use crate::sync::clock::Clock;
use crate::sync::documents::Documents;
use crate::sync::full_sync::FullSync;
use crate::sync::gate;
use crate::sync::history::History;
use crate::sync::numbers::Histogram;
use crate::sync::problems::Problems;
use crate::sync::shard::{Shard, shards};
use crate::sync::shared::{CurrentModules, Peers, Shared, Wake};
use crate::sync::snapshot::Control;
use crate::sync::stats::Stats;
use crate::sync::timings::Timings;
use crate::sync::watch::{self, WatchControl};
use crossbeam::channel::{Sender, bounded};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Stacks of the threads: none of them recurses; documents are bounded in depth by the parser.
const STACK: usize = 512 * 1024;
/// A thread that only reads may be left to end alone after this time.
const READERS_GRACE: Duration = Duration::from_millis(300);
/// How often a stop looks whether a thread has ended.
const END_POLL: Duration = Duration::from_millis(2);

/// A running cluster. Stops when dropped.
pub(super) struct Reconciler {
    shared: Arc<Shared>,
    control: Arc<WatchControl>,
    readers: Vec<JoinHandle<()>>,
    /// Senders that were still in a request when the time for stopping was over.
    senders: Vec<JoinHandle<()>>,
    stop: Option<Sender<()>>,
}

/// What reconcilers of one instance have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub config: Arc<Config>,
    pub peers: Peers,
    pub clock: Clock,
    pub timings: Timings,
    pub deletes: Arc<Journal>,
    pub fenced: Arc<AtomicU64>,
    pub prints: Fingerprinter,
}

impl Reconciler {
    /// Starts the threads of a cluster that read; those that write come with their work. A `paused`
    /// one writes nothing before it is resumed.
    ///
    /// # Errors
    /// The machine grants no further thread; those already started are stopped again.
    pub fn start(cluster: Cluster, fence: Arc<dyn Fence>, common: &Common, paused: bool) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let shared = Shared::start(cluster, fence, common, stopped);
        shared.paused.store(paused, Relaxed);
        let mut reconciler = Self {
            control: Arc::new(WatchControl::default()),
            readers: Vec::new(),
            senders: Vec::new(),
            stop: Some(stop),
            shared,
        };
        reconciler.spawn_all()?;
        Ok(reconciler)
    }

    fn spawn_all(&mut self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let gated = Arc::clone(&shared);
        self.readers.push(spawn(&shared, &format!("gate {}", shared.cluster.id), move || gate::run(&gated))?);
        let (full, control) = (Arc::clone(&shared), Arc::clone(&self.control));
        let full_sync = move || FullSync::new(&full, &control).run();
        self.readers.push(spawn(&shared, &format!("full {}", self.shared.cluster.id), full_sync)?);
        let (watched, control) = (Arc::clone(&shared), Arc::clone(&self.control));
        let watch = move || watch::run(&watched, &control);
        self.readers.push(spawn(&shared, &format!("watch {}", self.shared.cluster.id), watch)?);
        Ok(())
    }

    /// Which cluster.
    pub fn cluster(&self) -> &Cluster {
        &self.shared.cluster
    }

    /// The cluster with the previous businesses that are left by now.
    pub fn cluster_now(&self) -> Cluster {
        let previous_bk_biz_ids = self.shared.previous_businesses.lock().clone();
        Cluster { previous_bk_biz_ids, ..self.shared.cluster.clone() }
    }

    /// Ends reading at once and lets the senders finish what is ready, without waiting.
    pub fn begin_stop(&mut self) {
        self.shared.stopping.store(true, Relaxed);
        self.control.end(false);
        self.shared.peers.storage.stop();
        self.stop = None;
    }

    /// Stops, waiting until `deadline` at most. Returns the senders that are still in a request:
    /// until they end, this instance may write for the cluster.
    pub fn stop(mut self, deadline: Instant) -> Vec<JoinHandle<()>> {
        self.finish(deadline);
        std::mem::take(&mut self.senders)
    }

    fn finish(&mut self, deadline: Instant) {
        self.begin_stop();
        self.senders.append(&mut self.shared.take_senders());
        join_until(&mut self.senders, deadline, &self.shared.cluster.id);
        join_until(&mut self.readers, Instant::now() + READERS_GRACE, &self.shared.cluster.id);
    }

    /// Whether every thread lives that must.
    pub fn is_whole(&self) -> bool {
        let dead = || self.readers.iter().any(JoinHandle::is_finished);
        self.shared.stopping() || !dead() && !self.shared.shards.iter().any(Shard::has_died)
    }

    /// What is wrong with a thread that lives and does nothing, in words.
    pub fn stuck(&self, now: Instant) -> Option<String> {
        if self.shared.stopping() { None } else { self.shared.pulses.stuck(now) }
    }

    /// Whether a first full sync had an outcome, good or bad.
    pub fn had_outcome(&self) -> bool {
        self.shared.stats.full_sync.lock().last_outcome.is_some() || self.shared.problems.degraded()
    }

    /// The previous businesses as the inventory tells them now.
    pub fn set_previous_businesses(&self, businesses: &[i64]) {
        let mut previous = self.shared.previous_businesses.lock();
        let added = businesses.iter().any(|biz| !previous.contains(biz));
        *previous = businesses.to_vec();
        drop(previous);
        if added {
            self.request(Cause::Requested);
        }
    }

    /// Looks whether the permission to write was interrupted, for those who look only when they have
    /// something to do.
    pub fn check_epoch(&self) {
        self.shared.check_epoch();
    }

    /// Takes over what a new configuration changes without a new beginning.
    pub fn adjust(&self, config: &Config) {
        let shared = &self.shared;
        shared.schedule.lock().set_interval(config.full_sync_interval, shared.clock.now());
        shared.guard.lock().set_settings(guard_settings(config));
        *shared.modules_refresh.lock() = config.modules_refresh_interval;
        shared.sync_wake.wake();
    }

    /// Previous businesses found clean since the last call.
    pub fn take_cleaned_businesses(&self) -> Vec<i64> {
        std::mem::take(&mut self.shared.cleaned_businesses.lock())
    }

    /// Carries out an operator's request.
    pub fn control(&self, control: Control) {
        let id = &self.shared.cluster.id;
        log::debug!("cluster={id} operator asks: {control:?}");
        match control {
            Control::Sync => self.request(Cause::Requested),
            Control::ApproveDeletes => {
                self.shared.guard.lock().approve();
                self.request(Cause::Approved);
            }
            Control::Pause => self.shared.paused.store(true, Relaxed),
            Control::Resume => {
                self.shared.paused.store(false, Relaxed);
                self.shared.gate_wake.wake();
                self.request(Cause::Requested);
            }
        }
    }

    fn request(&self, cause: Cause) {
        self.shared.schedule.lock().request(cause, self.shared.clock.now());
        self.shared.sync_wake.wake();
    }

    // ---- what it shows ---------------------------------------------------------------------
}

impl Drop for Reconciler {
    fn drop(&mut self) {
        let grace = self.shared.config.shutdown_grace + READERS_GRACE;
        self.finish(Instant::now() + grace);
    }
}

impl Shared {
    pub(super) fn start(
        cluster: Cluster,
        fence: Arc<dyn Fence>,
        common: &Common,
        stopped: crossbeam::channel::Receiver<()>,
    ) -> Arc<Self> {
        let config = &common.config;
        let settings = convert::Settings::from(&**config);
        let guard = guard_settings(config);
        let mut schedule = Schedule::new(common.timings.schedule(config), fastrand::u64(..));
        schedule.taken_over(common.clock.now());
        let policy = config.policy_of(&cluster.id);
        let mut ledger = Ledger::new(common.prints, fastrand::u64(..));
        ledger.interrupted(fence.epoch());
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            converter: Converter::new(cluster.kind, settings),
            problems: Problems::new(&cluster.id),
            documents: Documents::default(),
            previous_businesses: Mutex::new(cluster.previous_bk_biz_ids.clone()),
            cleaned_businesses: Mutex::default(),
            cluster,
            peers: Peers { storage: common.peers.storage.scoped(), ..common.peers.clone() },
            clock: common.clock,
            modules: CurrentModules::default(),
            gate: Mutex::new(()),
            ledger: Mutex::new(ledger),
            events: Mutex::new(EventQueue::new(config.event_queue_length)),
            shards: shards(config, common.timings.linger),
            schedule: Mutex::new(schedule),
            guard: Mutex::new(Guard::new(guard)),
            mute: Mutex::new(MuteCheck::new(common.timings.mute_grace)),
            stats: Stats::default(),
            lag: Histogram::default(),
            full_sync_duration: Histogram::default(),
            history: History::default(),
            deletes: Arc::clone(&common.deletes),
            fenced: Arc::clone(&common.fenced),
            fence,
            gate_wake: Wake::new(),
            sync_wake: Wake::new(),
            seeded: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            pulses: Pulses::new(common.timings.hang),
            stopped,
            policy,
            modules_refresh: Mutex::new(config.modules_refresh_interval),
            config: Arc::clone(config),
        })
    }
}

fn guard_settings(config: &Config) -> GuardSettings {
    GuardSettings {
        percent: config.delete_guard_percent,
        min: config.delete_guard_min,
        interval: config.full_sync_interval,
    }
}

pub(super) fn spawn(
    shared: &Shared,
    name: &str,
    run: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let pulse = shared.pulses.begin(name);
    std::thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(move || pulse.of(run))
}

/// Joins the threads that end in time and keeps the others, which are in a request: it is bounded by
/// its own timeout, and they end alone after it.
pub(super) fn join_until(threads: &mut Vec<JoinHandle<()>>, deadline: Instant, cluster: &str) {
    for thread in std::mem::take(threads) {
        while !thread.is_finished() && Instant::now() < deadline {
            std::thread::sleep(END_POLL);
        }
        let name = thread.thread().name().unwrap_or_default().to_owned();
        if !thread.is_finished() {
            log::warn!("cluster={cluster} thread {name:?} is still in a request and is left to end alone");
            threads.push(thread);
        } else if thread.join().is_err() {
            log::error!("cluster={cluster} thread {name:?} panicked");
        }
    }
}
