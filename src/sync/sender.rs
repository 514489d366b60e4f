//! A sender shard: carries out what its lane decides, one request at a time.
//!
//! The lane says what, this thread asks the peers and brings the answers back. Work of one uuid is
//! always in the same shard, so its writes keep their order; nothing ever waits inside the thread
//! but the request itself.

use super::history::{Action, Change};
use super::problems::Problem;
use super::shared::Shared;
use super::snapshot::DeletedRecord;
use super::stats::Stats;
use super::writes::{Writes, failure};
use crate::cmdb::{CmdbError, StoredRecord};
use crate::config::SyncPolicy;
use crate::model::{Field, Modules, Observation, PodRecord};
use crate::plan::{
    Effect, FieldSet, Fingerprinter, Holder, Lane, LaneSettings, Order, PointRead, Proof, Step, Stored,
};
use crate::pulse;
use crossbeam::channel::TryRecvError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Records kept in memory for parked jobs, per shard: 64 × about 3 KB.
const PARKED_RECORDS: usize = 64;
/// A sleeping shard looks around after this time at the latest.
const LOOK: Duration = Duration::from_secs(5);
/// A paused shard looks after this time whether it may go on.
const PAUSED: Duration = Duration::from_millis(200);
/// A topology this young is not read again because a module was refused.
const TOPOLOGY_YOUNG: Duration = Duration::from_secs(5);

/// One sender shard.
pub(super) struct SenderShard<'a> {
    shared: &'a Shared,
    number: usize,
    lane: Lane,
    prints: Fingerprinter,
    /// The ledger's epoch when the step at hand was decided.
    epoch: u64,
    /// Set when the cluster stops: what is ready may still be written until then.
    drain_until: Option<Instant>,
}

impl<'a> SenderShard<'a> {
    pub fn new(shared: &'a Shared, number: usize) -> Self {
        let config = &shared.config;
        let settings = LaneSettings {
            batch: config.cmdb_batch_size,
            recheck_after: config.cmdb_timeout,
            parked_records: PARKED_RECORDS,
            deletes: shared.policy != SyncPolicy::UpsertOnly,
        };
        let (prints, epoch) = {
            let ledger = shared.ledger.lock();
            (ledger.prints(), ledger.epoch())
        };
        let lane = Lane::new(settings, fastrand::u64(..));
        Self { shared, number, lane, prints, epoch, drain_until: None }
    }

    /// Works until nothing was to be done for a while, or the cluster stops and what is ready is
    /// written or the grace is over.
    pub fn run(mut self) {
        loop {
            pulse::beat();
            self.take_messages();
            if self.drained_or_late() {
                return;
            }
            if self.shared.paused() {
                // A full sync that waits for this shard must not, and ends.
                self.answer_flushes();
                let look = self.shared.clock.now() + PAUSED;
                if self.sleep(Some(look)) && self.shared.shards[self.number].may_end() {
                    return;
                }
                continue;
            }
            let step = self.decide();
            self.publish();
            match step {
                Step::Wait(until) => {
                    self.answer_flushes();
                    if self.lane.is_empty() {
                        // What failed was given up or settled otherwise: nothing fails any more.
                        self.shared.sender_recovered(self.number);
                    }
                    if self.drain_until.is_some() {
                        return;
                    }
                    if self.sleep(until) && self.shared.shards[self.number].may_end() {
                        return;
                    }
                }
                Step::Hint(order) => self.shared.push_hint(order),
                step => self.carry_out(step),
            }
        }
    }

    /// What comes next, of what was decided since the permission to write was interrupted last.
    pub(super) fn decide(&mut self) -> Step {
        self.shared.check_epoch();
        let now = self.shared.clock.now();
        let mut ledger = self.shared.ledger.lock();
        self.epoch = ledger.epoch();
        self.lane.next(now, &mut ledger)
    }

    fn publish(&self) {
        self.shared.shards[self.number].open.store(self.lane.len(), Relaxed);
    }

    /// Takes what waits, as far as the lane has room.
    fn take_messages(&mut self) {
        let shard = &self.shared.shards[self.number];
        while self.lane.has_room() {
            match shard.receiver.try_recv() {
                Ok(orders) => self.hear(orders),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    pub(super) fn hear(&mut self, orders: Vec<Order>) {
        self.shared.shards[self.number].received(orders.len());
        let ledger = self.shared.ledger.lock();
        orders.into_iter().for_each(|order| self.lane.add(order, &ledger));
    }

    /// Nothing can be done now. What a full lane leaves in the channel has to wait as well.
    fn answer_flushes(&self) {
        let shard = &self.shared.shards[self.number];
        if self.lane.has_room() && !shard.receiver.is_empty() {
            return;
        }
        for done in shard.flushes.try_iter() {
            // Whoever asked may have given up meanwhile.
            let _ = done.send(());
        }
    }

    fn drained_or_late(&mut self) -> bool {
        if !self.shared.stopping() {
            return false;
        }
        if self.shared.paused() {
            return true;
        }
        let grace = self.shared.config.shutdown_grace;
        Instant::now() >= *self.drain_until.get_or_insert_with(|| Instant::now() + grace)
    }

    /// Waits for something to do; whether there was nothing for so long that the thread may end.
    fn sleep(&mut self, until: Option<Duration>) -> bool {
        let now = self.shared.clock.now();
        let idle = self.lane.is_empty();
        let shard = &self.shared.shards[self.number];
        let most = if idle { shard.linger } else { LOOK };
        let wait = until.map_or(most, |until| until.saturating_sub(now).min(most));
        pulse::within(wait);
        // A lane without room lets the orders wait where they are bounded.
        let never = crossbeam::channel::never();
        let orders = if self.lane.has_room() { &shard.receiver } else { &never };
        crossbeam::select! {
            recv(orders) -> orders => if let Ok(orders) = orders { self.hear(orders) },
            recv(shard.flush_wake.receiver) -> _ => {}
            recv(self.shared.stopped) -> _ => {}
            default(wait) => return idle,
        }
        false
    }

    fn carry_out(&mut self, step: Step) {
        self.shared.stats.in_flight.fetch_add(1, Relaxed);
        let effects = match step {
            Step::PointRead { uuid, namespace, name } => self.point_read(&uuid, &namespace, &name),
            Step::ReadBack { uuid } => self.read_back(&uuid),
            Step::FindHolder { uuid, namespace, name } => self.find_holder(&uuid, &namespace, &name),
            Step::Evict { uuid, holder } => self.evict(&uuid, &holder),
            Step::Create(uuids) => self.create(&uuids),
            Step::Update { uuid, fields } => self.update(&uuid, fields),
            Step::Delete { uuid, proof } => self.delete(&uuid, proof),
            Step::Wait(_) | Step::Hint(_) => Vec::new(),
        };
        self.shared.stats.in_flight.fetch_sub(1, Relaxed);
        self.react(effects);
    }

    // ---- requests --------------------------------------------------------------------------

    fn point_read(&mut self, uuid: &str, namespace: &str, name: &str) -> Vec<Effect> {
        let Shared { peers, cluster, converter, .. } = self.shared;
        let read = match peers.storage.get(&cluster.id, cluster.kind, namespace, name) {
            Err(error) => PointRead::Failed(error.to_string()),
            Ok(None) => PointRead::Gone,
            Ok(Some(document)) => {
                let modules = self.shared.modules().unwrap_or_else(|| Modules::default().into());
                match converter.document(&document, &modules) {
                    Ok(Observation::Pod(pod)) => PointRead::Pod(pod),
                    Ok(Observation::Deleted(_)) => PointRead::Gone,
                    Err(invalid) => PointRead::Unusable(invalid.to_string()),
                }
            }
        };
        let now = self.shared.clock.now();
        self.lane.point_read(uuid, read, now, &mut self.shared.ledger.lock())
    }

    fn read_back(&mut self, uuid: &str) -> Vec<Effect> {
        let found = self.shared.peers.cmdb.find_by_uuid(self.shared.cluster.bk_biz_id, uuid);
        let answer = match found {
            Ok(found) => {
                Ok(found.filter(|stored| stored.cluster == self.shared.cluster.id).map(|stored| Stored {
                    fingerprint: self.prints.of(&stored.record),
                    namespace: stored.record.namespace,
                    name: stored.record.name,
                }))
            }
            Err(error) => Err(failure(error)),
        };
        let now = self.shared.clock.now();
        self.lane.read_back(uuid, answer, now, &mut self.shared.ledger.lock())
    }

    fn find_holder(&mut self, uuid: &str, namespace: &str, name: &str) -> Vec<Effect> {
        let answer = self.look_for_holder(uuid, namespace, name);
        let now = self.shared.clock.now();
        self.lane.holder_found(uuid, answer.map_err(failure), now, &mut self.shared.ledger.lock())
    }

    /// Who holds the uuid and who the name, in this business and the previous ones.
    fn look_for_holder(
        &self,
        uuid: &str,
        namespace: &str,
        name: &str,
    ) -> Result<(Option<Holder>, Option<Holder>), CmdbError> {
        let Shared { peers, cluster, .. } = self.shared;
        let mut businesses = vec![cluster.bk_biz_id];
        businesses
            .extend(self.shared.previous_businesses.lock().iter().filter(|biz| **biz != cluster.bk_biz_id));
        for biz in businesses {
            if let Some(stored) = peers.cmdb.find_by_uuid(biz, uuid)? {
                return Ok((Some(self.holder(stored)), None));
            }
            if let Some(stored) = peers.cmdb.find_by_name(biz, &cluster.id, namespace, name)? {
                return Ok((None, Some(self.holder(stored))));
            }
        }
        Ok((None, None))
    }

    fn holder(&self, stored: StoredRecord) -> Holder {
        let StoredRecord { biz, cluster, record, .. } = stored;
        Holder {
            fingerprint: self.prints.of(&record),
            our_cluster: cluster == self.shared.cluster.id,
            our_biz: biz == self.shared.cluster.bk_biz_id,
            uuid: record.uuid,
            namespace: record.namespace,
            name: record.name,
            cluster,
            biz,
        }
    }

    fn evict(&mut self, uuid: &str, holder: &Holder) -> Vec<Effect> {
        let answer = self.writes().make_way(holder.biz, &holder.uuid);
        let now = self.shared.clock.now();
        self.lane.evicted(uuid, holder, answer, now, &mut self.shared.ledger.lock())
    }

    fn create(&mut self, uuids: &[String]) -> Vec<Effect> {
        let records: Vec<&PodRecord> = uuids.iter().filter_map(|uuid| self.lane.record(uuid)).collect();
        let answer = match records.as_slice() {
            [record] => self.writes().create(record).map(|()| vec![Ok(())]),
            records => self.writes().create_many(records),
        };
        let now = self.shared.clock.now();
        self.lane.created(uuids, answer, now, &mut self.shared.ledger.lock())
    }

    fn update(&mut self, uuid: &str, fields: FieldSet) -> Vec<Effect> {
        let Some(record) = self.lane.record(uuid) else { return Vec::new() };
        let changed: Vec<Field> = fields.iter().collect();
        let answer = self.writes().update(record, &changed);
        let now = self.shared.clock.now();
        self.lane.updated(uuid, fields, answer, now, &mut self.shared.ledger.lock())
    }

    fn delete(&mut self, uuid: &str, proof: Proof) -> Vec<Effect> {
        let answer = match proof {
            Proof::Replaced => self.writes().make_way(self.shared.cluster.bk_biz_id, uuid),
            _ => self.writes().delete(uuid),
        };
        let now = self.shared.clock.now();
        self.lane.deleted(uuid, proof, answer, now, &mut self.shared.ledger.lock())
    }

    fn writes(&self) -> Writes<'a> {
        Writes::new(self.shared, self.epoch)
    }

    // ---- what follows ----------------------------------------------------------------------

    fn react(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            self.react_to(effect);
        }
    }

    fn react_to(&mut self, effect: Effect) {
        let shared = self.shared;
        match effect {
            Effect::ListingMissed => {
                shared.schedule.lock().listing_missed(shared.clock.now());
                shared.sync_wake.wake();
            }
            Effect::FoundGone { storage_id, deleted } => self.found_gone(&storage_id, deleted),
            Effect::RefreshTopology => self.refresh_topology(),
            Effect::Wrote { uuid, namespace, name, created, received } => {
                let (counter, action) = match created {
                    true => (&shared.stats.created, Action::Created),
                    false => (&shared.stats.updated, Action::Updated),
                };
                Stats::count(counter);
                let now = shared.clock.now();
                let lag = received.map(|received| now.saturating_sub(received));
                if let Some(lag) = lag {
                    shared.lag.record(lag);
                }
                shared.history.add(Change { action, uuid, namespace, name, lag, proof: None }, now);
                shared.sender_recovered(self.number);
            }
            Effect::Deleted { uuid, namespace, name, proof } => {
                Stats::count(&shared.stats.deleted);
                shared.sender_recovered(self.number);
                self.journal(uuid, namespace, name, &proof);
            }
            Effect::Refused { uuid, message } => {
                log::warn!("cluster={} uuid={uuid} rejected: {message}", shared.cluster.id);
            }
            Effect::Failing { uuid, message } => {
                log::warn!(
                    "cluster={} uuid={uuid} keeps failing and is tried again: {message}",
                    shared.cluster.id
                );
            }
            Effect::Mended { uuid } => {
                log::info!("cluster={} uuid={uuid} is recorded after all", shared.cluster.id);
            }
            Effect::Retry { message } => {
                Stats::count(&shared.stats.retries);
                if self.lane.is_paused() {
                    shared.problems.set(Problem::Sender(self.number), message);
                } else {
                    log::debug!("cluster={} will retry: {message}", shared.cluster.id);
                }
            }
            Effect::Answered => shared.sender_recovered(self.number),
        }
    }

    /// A full sync noticed what no event told.
    fn found_gone(&self, storage_id: &str, deleted: bool) {
        let shared = self.shared;
        if deleted {
            let mut stats = shared.stats.full_sync.lock();
            stats.deleted += 1;
            stats.totals[2] += 1;
        }
        let stream = shared.stats.watch_streams.load(Relaxed);
        shared.mute.lock().gone(storage_id, stream, shared.clock.now());
        shared.sync_wake.wake();
    }

    /// A module was refused: look whether the business has other ones now. The full sync thread
    /// takes a change over.
    fn refresh_topology(&self) {
        let not_older = Instant::now().checked_sub(TOPOLOGY_YOUNG).unwrap_or_else(Instant::now);
        match self.shared.peers.topology.refresh(self.shared.cluster.bk_biz_id, not_older) {
            Ok(modules) => {
                if self.shared.modules().as_deref() != Some(&*modules) {
                    self.shared.topology_changed(modules);
                }
            }
            Err(error) => self.shared.problems.set(Problem::Topology, error.to_string()),
        }
    }

    /// Tells of a record that is gone.
    fn journal(&self, uuid: String, namespace: String, name: String, proof: &Proof) {
        if self.writes().are_only_said() {
            return;
        }
        let cluster_id = self.shared.cluster.id.clone();
        log::info!("cluster={cluster_id} uuid={uuid} deleted {namespace}/{name}: {proof}");
        let now = self.shared.clock.now();
        let time = self.shared.clock.wall(now);
        let proof = proof.to_string();
        let change = Change {
            action: Action::Deleted,
            uuid: uuid.clone(),
            namespace: namespace.clone(),
            name: name.clone(),
            lag: None,
            proof: Some(proof.clone()),
        };
        self.shared.history.add(change, now);
        self.shared.deletes.add(DeletedRecord { time, cluster_id, uuid, namespace, name, proof });
    }
}
