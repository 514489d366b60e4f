//! One full sync: hold the gate, flush the senders, list the CMDB into the ledger, list the storage
//! against it, hand over what differs.
//!
//! Only a complete listing says anything about what is missing, and even then each pod is read before
//! its record goes.

use super::problems::Problem;
use super::shared::Shared;
use crate::cmdb::{CmdbError, Unusable};
use crate::config::SyncPolicy;
use crate::convert::InvalidDocument;
use crate::model::{Modules, Observation, ObservedPod};
use crate::plan::{Cause, Comparison, Ledger, Moment, Order, Outcome, SeenRecord};
use crate::pulse;
use crate::storage::{Listing, StorageError, TooLarge};
use crossbeam::select;
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// How long the senders may take to become idle; a CMDB that hangs fails the listing anyway.
const FLUSH: Duration = Duration::from_secs(60);
/// How long a listing's place at the storage is kept for the writes that follow from it.
const WRITTEN: Duration = Duration::from_secs(5);
/// How long a shard may make no progress while a full sync hands over.
const HAND_OVER: Duration = Duration::from_secs(60);
/// How often a full sync looks whether a shard has room.
const ROOM_POLL: Duration = Duration::from_millis(5);

/// Why a full sync ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum SyncError {
    #[error("full sync: {0}")]
    Cmdb(#[from] CmdbError),
    #[error("full sync: {0}")]
    Storage(#[from] StorageError),
    #[error("full sync: the CMDB takes no writes; see the senders' retries")]
    Stuck,
    #[error("full sync: stopped or paused")]
    Stopped,
    #[error("full sync: the permission to write was interrupted")]
    Interrupted,
}

/// One run.
pub(super) struct Run<'a> {
    shared: &'a Shared,
    /// The ledger's epoch when it began; what was read in another one is not compared.
    pub epoch: u64,
    modules: Arc<Modules>,
    /// Orders per shard that are not sent yet: full create-many calls are worth waiting for.
    buffers: Vec<Vec<Order>>,
    comparison: Comparison,
    invalid: u64,
}

impl<'a> Run<'a> {
    pub fn new(shared: &'a Shared, modules: Arc<Modules>, causes: &[Cause]) -> Self {
        let connected = shared.stats.watch_connected.load(Relaxed);
        let stream = connected.then(|| shared.stats.watch_streams.load(Relaxed));
        let settled = shared.schedule.lock().is_settled();
        let deletes = shared.policy != SyncPolicy::UpsertOnly;
        let comparison = Comparison::new(causes, stream, settled, deletes);
        let buffers = shared.shards.iter().map(|_| Vec::new()).collect();
        let epoch = shared.ledger.lock().epoch();
        Self { shared, epoch, modules, buffers, comparison, invalid: 0 }
    }

    /// The whole of it; returns how many deletes are held back.
    pub fn all(&mut self) -> Result<usize, SyncError> {
        let shared = self.shared;
        let mut listing = shared.peers.storage.listing(
            &shared.cluster.id,
            shared.cluster.kind,
            shared.converter.projection(),
        )?;
        let held_back = self.compare_all(&mut listing)?;
        // Its place at the storage is given back once this cluster's records are on their way: else
        // those of all clusters would wait in memory for the CMDB at the same time.
        self.flush_senders(WRITTEN)?;
        drop(listing);
        Ok(held_back)
    }

    /// Both listings, and what follows from them, under the gate.
    fn compare_all(&mut self, listing: &mut Listing) -> Result<usize, SyncError> {
        let shared = self.shared;
        let _gate = pulse::resting(|| shared.gate.lock());
        self.flush_senders(FLUSH)?;
        self.list_cmdb()?;
        let listed = self.list_storage(listing);
        let held_back = match listed {
            Ok(()) => self.missing(),
            Err(error) => Err(error),
        };
        // What was compared is wanted from now on, and no event tells it again.
        self.send_rest()?;
        held_back
    }

    /// Every page of the storage against the ledger.
    fn list_storage(&mut self, listing: &mut Listing) -> Result<(), SyncError> {
        let shared = self.shared;
        let mut too_large = 0;
        shared.documents.listing_begins();
        loop {
            self.go_on()?;
            let mut pods = Vec::new();
            let mut invalid = 0;
            let page = listing.next_page(&mut |document| match shared
                .converter
                .document(document, &self.modules)
            {
                Ok(Observation::Pod(pod)) => pods.push(*pod),
                Ok(Observation::Deleted(_)) => {}
                Err(error) => {
                    invalid += 1;
                    shared.invalid_document(error);
                }
            })?;
            self.invalid += invalid;
            let seen = std::mem::replace(&mut too_large, listing.too_large().len());
            for document in &listing.too_large()[seen..] {
                self.invalid += 1;
                shared.invalid_document(unseen(document));
            }
            self.compare(pods)?;
            if page.is_none() {
                if shared.documents.listing_ends() {
                    shared.problems.clear(Problem::Documents);
                }
                return Ok(());
            }
        }
    }

    /// Waits until the senders have nothing to do now, for so long at most.
    fn flush_senders(&self, most: Duration) -> Result<(), SyncError> {
        let deadline = self.shared.clock.instant(self.shared.clock.now() + most);
        pulse::within(most);
        for flushed in self.shared.flush() {
            select! {
                recv(flushed) -> _ => {}
                recv(self.shared.stopped) -> _ => return Err(SyncError::Stopped),
                default(deadline.saturating_duration_since(std::time::Instant::now())) => {}
            }
        }
        // A paused shard says that it is done although it is not.
        self.go_on()
    }

    /// Neither stopped, paused nor interrupted meanwhile.
    fn go_on(&self) -> Result<(), SyncError> {
        pulse::beat();
        if self.shared.stopping() || self.shared.paused() {
            return Err(SyncError::Stopped);
        }
        self.shared.check_epoch();
        self.ledger().map(drop)
    }

    /// The ledger, if it is still of the epoch in which this began.
    fn ledger(&self) -> Result<MutexGuard<'a, Ledger>, SyncError> {
        let ledger = self.shared.ledger.lock();
        if ledger.epoch() == self.epoch { Ok(ledger) } else { Err(SyncError::Interrupted) }
    }

    /// What the CMDB holds, into the ledger.
    fn list_cmdb(&self) -> Result<(), SyncError> {
        let shared = self.shared;
        let prints = {
            let mut ledger = self.ledger()?;
            ledger.begin_full_sync();
            ledger.prints()
        };
        let mut after = Some(0);
        let mut unusable = Unusable::default();
        while let Some(last) = after {
            self.go_on()?;
            let mut seen = Vec::new();
            let page = shared.peers.cmdb.scan_page(
                shared.cluster.bk_biz_id,
                &shared.cluster.id,
                last,
                &mut |stored| seen.push(SeenRecord::of(&stored.record, &prints)),
            )?;
            let mut ledger = self.ledger()?;
            seen.iter().for_each(|seen| ledger.seen(seen));
            unusable.extend(page.unusable);
            after = page.next;
        }
        self.ledger()?.end_stored();
        shared.unusable_records(&unusable);
        Ok(())
    }

    /// A page of the storage's pods against the ledger.
    fn compare(&mut self, pods: Vec<ObservedPod>) -> Result<(), SyncError> {
        let shared = self.shared;
        let now = shared.clock.now();
        let orders = {
            let (mut ledger, events, mut mute) = (self.ledger()?, shared.events.lock(), shared.mute.lock());
            self.comparison.page(pods, &mut ledger, &events, &mut mute, now)
        };
        orders.into_iter().try_for_each(|order| self.buffer(order))
    }

    /// What both listings together lack, after the guard.
    fn missing(&mut self) -> Result<usize, SyncError> {
        let shared = self.shared;
        let now = shared.clock.now();
        let lacking = {
            let (mut ledger, mut guard) = (self.ledger()?, shared.guard.lock());
            let (events, mut mute) = (shared.events.lock(), shared.mute.lock());
            self.comparison.missing(&mut ledger, &mut guard, &events, &mut mute, now)
        };
        if lacking.held_back > 0 {
            let message = format!(
                "{} of {} records are missing in the storage; their deletes are held back until a later \
                 full sync confirms them or an operator approves",
                lacking.held_back, lacking.total
            );
            shared.problems.set(Problem::HeldBack, message);
        } else {
            shared.problems.clear(Problem::HeldBack);
        }
        lacking.orders.into_iter().try_for_each(|order| self.buffer(order))?;
        Ok(lacking.held_back)
    }

    fn buffer(&mut self, order: Order) -> Result<(), SyncError> {
        let shard = order.shard(self.buffers.len());
        self.buffers[shard].push(order);
        if self.buffers[shard].len() >= self.shared.config.cmdb_batch_size.max(1) {
            self.send(shard)
        } else {
            Ok(())
        }
    }

    fn send_rest(&mut self) -> Result<(), SyncError> {
        (0..self.buffers.len()).try_for_each(|shard| self.send(shard))
    }

    /// Sends a shard its orders once it has room.
    fn send(&mut self, number: usize) -> Result<(), SyncError> {
        let orders = std::mem::take(&mut self.buffers[number]);
        if orders.is_empty() {
            return Ok(());
        }
        let shard = &self.shared.shards[number];
        let mut progress = (self.shared.clock.now(), shard.queued());
        while !shard.has_room() {
            if self.shared.stopped.recv_timeout(ROOM_POLL)
                != Err(crossbeam::channel::RecvTimeoutError::Timeout)
            {
                return Err(SyncError::Stopped);
            }
            self.go_on()?;
            let now = self.shared.clock.now();
            match shard.queued() {
                queued if queued != progress.1 => progress = (now, queued),
                _ if now.saturating_sub(progress.0) > HAND_OVER => return Err(SyncError::Stuck),
                _ => {}
            }
        }
        self.shared.send(number, orders);
        Ok(())
    }

    pub fn note(&self, outcome: Outcome, started: Moment, finished: Moment) {
        let took = finished.saturating_sub(started);
        self.shared.full_sync_duration.record(took);
        let (created, updated) = self.comparison.changes();
        let mut stats = self.shared.stats.full_sync.lock();
        stats.count += 1;
        stats.last_outcome = Some(outcome);
        stats.last_finished = Some(finished);
        stats.last_duration = Some(took);
        if matches!(outcome, Outcome::Ok | Outcome::HeldBack) {
            stats.last_success = Some(finished);
        }
        stats.created = created;
        stats.updated = updated;
        stats.deleted = 0;
        stats.totals[0] += created;
        stats.totals[1] += updated;
        stats.invalid_documents = self.invalid;
        // One that fails is a problem, which is logged once and not at every attempt; one of many that
        // find both sides equal is worth nobody's time.
        let equal = created + updated == 0 && self.invalid == 0 && stats.count > 1;
        let level = match outcome {
            Outcome::Ok if equal => log::Level::Debug,
            Outcome::Ok | Outcome::HeldBack => log::Level::Info,
            Outcome::Failed | Outcome::Aborted => log::Level::Debug,
        };
        log::log!(
            level,
            "cluster={} full sync {}: {} to create, {} to update, {} invalid documents, {:.1} s",
            self.shared.cluster.id,
            super::stats::outcome_name(Some(outcome)),
            created,
            updated,
            self.invalid,
            took.as_secs_f64()
        );
    }
}

/// A document nobody could take in as a whole.
fn unseen(document: &TooLarge) -> InvalidDocument {
    let (storage_id, namespace, name) = Default::default();
    InvalidDocument { storage_id, namespace, name, reason: document.to_string() }
}
