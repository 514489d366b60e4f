//! The full sync thread: keeps the topology, runs full syncs when the schedule says so, and checks
//! whether the watch delivers. What one full sync does is in `run`.

use super::problems::Problem;
use super::run::{Run, SyncError};
use super::shared::Shared;
use super::watch::WatchControl;
use crate::model::Modules;
use crate::plan::{Cause, Moment, Outcome};
use crate::pulse;
use crossbeam::select;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A first topology that cannot be read is asked for again after this time.
const TOPOLOGY_RETRY: Duration = Duration::from_secs(3);
/// How often a thread that must not sync now looks whether it may.
const NOT_NOW: Duration = Duration::from_millis(500);

/// The thread of one cluster.
pub(super) struct FullSync<'a> {
    shared: &'a Shared,
    watch: &'a WatchControl,
    topology_due: Moment,
    /// The stream a full sync that checked a renewed watch looked at; its verdict waits for the grace.
    on_trial: Option<u64>,
}

impl<'a> FullSync<'a> {
    pub fn new(shared: &'a Shared, watch: &'a WatchControl) -> Self {
        Self { shared, watch, topology_due: Moment::ZERO, on_trial: None }
    }

    /// Runs until the cluster stops.
    pub fn run(mut self) {
        let shared = self.shared;
        while !shared.stopping() {
            pulse::beat();
            shared.check_epoch();
            let now = shared.clock.now();
            if now >= self.topology_due {
                self.refresh_topology(now);
            }
            self.check_watch(now);
            if self.may_sync() {
                let causes = shared.schedule.lock().take(now);
                if !causes.is_empty() {
                    self.full_sync(&causes);
                    continue;
                }
            }
            let sleep = self.sleep(now);
            pulse::within(sleep);
            select! {
                recv(shared.stopped) -> _ => return,
                recv(shared.sync_wake.receiver) -> _ => {}
                default(sleep) => {}
            }
        }
    }

    /// Without a permission to write a full sync could not hand anything over.
    fn may_sync(&self) -> bool {
        let shared = self.shared;
        !shared.paused.load(Relaxed) && shared.modules().is_some() && shared.fence.permit().is_ok()
    }

    fn sleep(&self, now: Moment) -> Duration {
        let due = match self.may_sync() {
            true => self.shared.schedule.lock().next_due(),
            false => Some(now + NOT_NOW),
        };
        let watch = self.shared.mute.lock().due();
        [Some(self.topology_due), due, watch]
            .into_iter()
            .flatten()
            .min()
            .map_or(TOPOLOGY_RETRY, |at| at.saturating_sub(now))
    }

    // ---- topology --------------------------------------------------------------------------

    fn refresh_topology(&mut self, now: Moment) {
        let shared = self.shared;
        let interval = *shared.modules_refresh.lock();
        match shared.peers.topology.get(shared.cluster.bk_biz_id, interval / 2) {
            Ok(modules) => {
                self.topology_due = now + interval.mul_f64(0.9 + fastrand::f64() * 0.2);
                shared.problems.clear(Problem::Topology);
                if shared.modules().as_deref() != Some(&*modules) {
                    shared.topology_changed(modules);
                }
            }
            Err(error) => {
                self.topology_due = now + TOPOLOGY_RETRY;
                shared.problems.set(Problem::Topology, format!("topology: {error}"));
            }
        }
    }

    // ---- the watch -------------------------------------------------------------------------

    fn check_watch(&mut self, now: Moment) {
        let shared = self.shared;
        let stream = shared.stats.watch_streams.load(Relaxed);
        let (missed, suspected) = {
            let mut mute = shared.mute.lock();
            (mute.missed(stream, now), mute.due().is_some())
        };
        if missed == 0 {
            if !suspected {
                self.acquit(stream, now);
            }
            return;
        }
        self.on_trial = None;
        shared.stats.missed.fetch_add(missed as u64, Relaxed);
        let message = format!("a connected watch did not deliver {missed} changes; it is renewed");
        shared.problems.set(Problem::MuteWatch, message);
        shared.schedule.lock().watch_was_mute(now);
        self.watch.end(true);
    }

    /// Nothing is held against the watch: whether it is the one that was looked at.
    fn acquit(&mut self, stream: u64, now: Moment) {
        match self.on_trial.take() {
            Some(looked_at) if looked_at == stream => {
                self.shared.problems.clear(Problem::MuteWatch);
            }
            // Another one meanwhile, of which nothing is known.
            Some(_) => self.shared.schedule.lock().watch_was_mute(now),
            None => {}
        }
    }

    // ---- full sync -------------------------------------------------------------------------

    fn full_sync(&mut self, causes: &[Cause]) {
        let shared = self.shared;
        let Some(modules) = shared.modules() else { return };
        let started = shared.clock.now();
        let stream = shared.stats.watch_streams.load(Relaxed);
        log::debug!("cluster={} full sync begins: {causes:?}", shared.cluster.id);
        let mut run = Run::new(shared, modules, causes);
        let result = run.all();
        let finished = shared.clock.now();
        let outcome = match &result {
            Ok(0) => Outcome::Ok,
            Ok(_) => Outcome::HeldBack,
            Err(SyncError::Stopped | SyncError::Interrupted) => Outcome::Aborted,
            Err(_) => Outcome::Failed,
        };
        run.note(outcome, started, finished);
        shared.schedule.lock().finished(causes, outcome, finished);
        match result {
            Ok(_) => {
                shared.seed(run.epoch);
                shared.problems.clear(Problem::FullSync);
                if causes.contains(&Cause::MuteWatch) {
                    self.on_trial = Some(stream);
                }
                super::previous_business::clean(shared);
            }
            Err(SyncError::Stopped | SyncError::Interrupted) => {}
            Err(error) => shared.problems.set(Problem::FullSync, error.to_string()),
        }
    }
}

impl Shared {
    /// The business has other modules now: everything is placed anew.
    pub(super) fn topology_changed(&self, modules: Arc<Modules>) {
        let config = &self.config;
        if modules.id(&config.default_set, &config.default_module).is_none() {
            let message = format!(
                "business {} has no module {:?} in set {:?}: create both in the CMDB, or pods without matching \
                 annotations stay unrecorded",
                self.cluster.bk_biz_id, config.default_module, config.default_set
            );
            self.problems.set(Problem::DefaultModule, message);
        } else {
            self.problems.clear(Problem::DefaultModule);
        }
        let first = self.modules().is_none();
        self.set_modules(modules);
        if !first {
            self.schedule.lock().request(Cause::Topology, self.clock.now());
            self.sync_wake.wake();
        }
    }
}
