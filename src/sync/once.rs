//! One full sync of one cluster, and then the end: for the command `sync`.
//!
//! The same parts as a reconciler's, without the watch: the senders and the gate run, the full sync
//! runs on the caller's thread, and it is over when nothing is left that could be written.

use super::clock::Clock;
use super::gate;
use super::reconciler::{Common, join_until, spawn};
use super::run::{Run, SyncError};
use super::shared::{Peers, Shared};
use super::timings::Timings;
use crate::cmdb::CmdbError;
use crate::config::Config;
use crate::journal::Journal;
use crate::model::{Cluster, Fence};
use crate::plan::{Cause, Fingerprinter, Outcome};
use crossbeam::channel::bounded;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Between two looks at what is left to write.
const POLL: Duration = Duration::from_millis(50);
/// What is left may make no progress for so many times `cmdb_timeout`: a write, its read-back and
/// another try.
const TIMEOUTS: u32 = 3;
/// What whoever told the command to end is told.
pub const INTERRUPTED: &str = "interrupted; run it again";
/// A shard without work answers at once.
const FLUSH: Duration = Duration::from_secs(1);
/// A thread that only passes events on ends at once.
const GATE_GRACE: Duration = Duration::from_secs(1);

/// What full syncs of one command have in common.
pub struct Once {
    common: Common,
}

/// How far a full sync is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnceProgress {
    /// Records written or deleted so far.
    pub done: usize,
    /// Pods whose records are still to be written or deleted.
    pub left: usize,
}

/// What one full sync did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OnceReport {
    /// Records created.
    pub created: u64,
    /// Records updated.
    pub updated: u64,
    /// Records deleted.
    pub deleted: u64,
    /// Pods the CMDB refused.
    pub rejected: usize,
    /// Pods that could not be written for another reason.
    pub pending: usize,
    /// Deletes the guard holds back.
    pub held_back: usize,
    /// Why it failed, or what stands in the way of the rest.
    pub error: Option<String>,
}

impl Once {
    /// Nothing is asked yet.
    ///
    /// # Errors
    /// The machine grants no thread.
    pub fn new(config: Arc<Config>, peers: Peers) -> io::Result<Self> {
        let prints = Fingerprinter::new(fastrand::u64(..));
        let (clock, timings) = (Clock::start(), Timings::default());
        let deletes = Arc::new(Journal::start(config.delete_journal.as_deref())?);
        let fenced = Arc::default();
        Ok(Self { common: Common { config, peers, clock, timings, deletes, fenced, prints } })
    }

    /// Makes the records of a cluster equal to its pods. With `approve_deletes`, also where the
    /// delete guard would hold back. Ends early once `interrupted`; `on_progress` is called now and then.
    ///
    /// # Errors
    /// The machine grants no thread.
    pub fn run(
        &self,
        cluster: Cluster,
        fence: Arc<dyn Fence>,
        approve_deletes: bool,
        interrupted: &AtomicBool,
        on_progress: &mut dyn FnMut(OnceProgress),
    ) -> io::Result<OnceReport> {
        let (stop, stopped) = bounded(0);
        let shared = Shared::start(cluster, fence, &self.common, stopped);
        let gated = Arc::clone(&shared);
        let gate = spawn(&shared, &format!("gate {}", shared.cluster.id), move || gate::run(&gated))?;
        let report = unless(interrupted, &shared, || work(&shared, approve_deletes, on_progress));
        shared.stopping.store(true, Relaxed);
        drop(stop);
        let grace = self.common.config.shutdown_grace;
        join_until(&mut shared.take_senders(), Instant::now() + grace, &shared.cluster.id);
        join_until(&mut vec![gate], Instant::now() + GATE_GRACE, &shared.cluster.id);
        Ok(report)
    }
}

/// Does `work`, and stops the cluster as soon as `interrupted`.
fn unless(interrupted: &AtomicBool, shared: &Shared, work: impl FnOnce() -> OnceReport) -> OnceReport {
    let done = AtomicBool::new(false);
    let mut report = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Relaxed) && !interrupted.load(Relaxed) {
                std::thread::sleep(POLL);
            }
            if interrupted.load(Relaxed) {
                shared.stopping.store(true, Relaxed);
            }
        });
        let report = work();
        done.store(true, Relaxed);
        report
    });
    if interrupted.load(Relaxed) {
        report.error = Some(INTERRUPTED.to_owned());
    }
    report
}

fn work(shared: &Shared, approve_deletes: bool, on_progress: &mut dyn FnMut(OnceProgress)) -> OnceReport {
    let mut held_back = 0;
    let mut error = None;
    match full_sync(shared, Cause::Requested, on_progress) {
        Ok(0) => {}
        Ok(held) if approve_deletes => {
            log::info!("cluster={} {held} deletes were approved", shared.cluster.id);
            shared.guard.lock().approve();
            match full_sync(shared, Cause::Approved, on_progress) {
                Ok(held) => held_back = held,
                Err(failed) => error = Some(failed),
            }
        }
        Ok(held) => held_back = held,
        Err(failed) => error = Some(failed),
    }
    if error.is_none() {
        super::previous_business::clean(shared);
    }
    let counts = shared.ledger.lock().counts();
    OnceReport {
        created: shared.stats.created.load(Relaxed),
        updated: shared.stats.updated.load(Relaxed),
        deleted: shared.stats.deleted.load(Relaxed),
        rejected: counts.rejected,
        pending: counts.pending,
        held_back,
        error: error.or_else(|| shared.problems.first()),
    }
}

/// Both listings, and everything that follows from them; how many deletes are held back.
fn full_sync(
    shared: &Shared,
    cause: Cause,
    on_progress: &mut dyn FnMut(OnceProgress),
) -> Result<usize, String> {
    let words = |error: CmdbError| format!("topology: {error}");
    let modules = shared.peers.topology.get(shared.cluster.bk_biz_id, Duration::MAX).map_err(words)?;
    shared.topology_changed(Arc::clone(&modules));
    let started = shared.clock.now();
    let mut run = Run::new(shared, modules, &[cause]);
    let result = run.all();
    let outcome = match &result {
        Ok(0) => Outcome::Ok,
        Ok(_) => Outcome::HeldBack,
        Err(SyncError::Stopped | SyncError::Interrupted) => Outcome::Aborted,
        Err(_) => Outcome::Failed,
    };
    run.note(outcome, started, shared.clock.now());
    match &result {
        Ok(_) => shared.seed(run.epoch),
        Err(_) => shared.seeded.store(false, Relaxed),
    }
    // What was handed over is carried out whatever became of the rest.
    let stuck = !drain(shared, run.epoch, on_progress);
    match result {
        Ok(_) if is_interrupted(shared, run.epoch) => Err(SyncError::Interrupted.to_string()),
        Err(error) => Err(error.to_string()),
        Ok(_) if stuck => Err(shared
            .problems
            .first()
            .unwrap_or_else(|| "writes make no progress; the log of the CMDB may tell why".to_owned())),
        Ok(held) => Ok(held),
    }
}

impl Shared {
    /// Whether every shard says that nothing is left, after all that was sent to it before.
    fn is_idle(&self) -> bool {
        self.flush().iter().all(|flushed| flushed.recv_timeout(FLUSH).is_ok())
            && self.events.lock().is_empty()
            && self.shards.iter().all(|shard| shard.queued() == 0)
    }
}

/// Whether the permission to write was interrupted since: what was still to be written is not.
fn is_interrupted(shared: &Shared, epoch: u64) -> bool {
    shared.ledger.lock().epoch() != epoch
}

/// Stopped, or without the permission under which it began.
fn may_not_go_on(shared: &Shared, epoch: u64) -> bool {
    shared.stopping() || shared.fence.permit().is_err() || is_interrupted(shared, epoch)
}

/// Waits until nothing is left to write; `false` if that makes no progress any more.
fn drain(shared: &Shared, epoch: u64, on_progress: &mut dyn FnMut(OnceProgress)) -> bool {
    let patience = shared.config.cmdb_timeout * TIMEOUTS;
    let (mut last, mut since) = (None, Instant::now());
    loop {
        let stats = &shared.stats;
        let done = [&stats.created, &stats.updated, &stats.deleted].map(|count| count.load(Relaxed));
        let queued: usize = shared.shards.iter().map(|shard| shard.queued()).sum();
        let left = queued + shared.events.lock().len();
        let now = OnceProgress { done: done.iter().sum::<u64>() as usize, left };
        on_progress(now);
        if left == 0 && shared.is_idle() {
            return true;
        }
        if last != Some(now) {
            (last, since) = (Some(now), Instant::now());
        } else if since.elapsed() > patience || may_not_go_on(shared, epoch) {
            return false;
        }
        std::thread::sleep(POLL);
    }
}
