//! The pure core put together as `sync` does it, without its threads: each thing a thread would do
//! is a method the driver calls when its seed says so.

use super::cmdb::{Cmdb, OUR_BIZ, Write};
use super::storage::Storage;
use bcs_bkcmdb_synchronizer::model::{DeletedPod, Observation, ObservedPod, PodRecord};
use bcs_bkcmdb_synchronizer::plan::{
    Cause, Effect, EventQueue, Failure, Fingerprinter, Guard, GuardSettings, Holder, Lane, LaneSettings,
    Ledger, Moment, Order, Outcome, PointRead, Proof, Pushed, Schedule, ScheduleSettings, Source, Step,
    Stored,
};
use std::collections::VecDeque;
use std::time::Duration;

pub const LANES: usize = 2;
/// How long an unanswered write may still land.
pub const RECHECK: Duration = Duration::from_secs(30);
/// No run lasts so long: what converges does so without a periodic full sync.
pub const NEVER: Duration = Duration::from_secs(100_000_000);

/// Who holds the uuid, who the name.
type Holders = Result<(Option<Holder>, Option<Holder>), Failure>;

/// The answer to a step, on its way back.
pub enum Answer {
    Read(PointRead),
    Found(Result<Option<Stored>, Failure>),
    Holders(Box<Holders>),
    Written(Result<Vec<Result<(), Failure>>, Failure>),
}

const TIMES: ScheduleSettings = ScheduleSettings {
    interval: NEVER,
    settle: Duration::from_secs(10),
    overflow_spacing: Duration::from_secs(30),
    mute_interval: Duration::from_secs(60),
};

/// One shard: its lane, its channel, and the request on its way.
pub struct Shard {
    pub lane: Lane,
    pub channel: VecDeque<Order>,
    pub flight: Option<(Step, Option<Answer>)>,
    /// Nothing to do until then, unless an order comes.
    asleep: Option<Option<Moment>>,
}

impl Shard {
    /// Whether its lane may have something to do.
    pub fn is_awake(&self, now: Moment) -> bool {
        self.flight.is_none() && self.asleep.is_none_or(|until| until.is_some_and(|until| until <= now))
    }

    /// When it wakes by itself.
    pub fn due(&self) -> Option<Moment> {
        self.asleep.flatten()
    }
}

/// Where a full sync stands; it holds the gate all the time.
pub enum Stage {
    Flush,
    Cmdb(Vec<Vec<PodRecord>>),
    Storage(Vec<String>),
}

pub struct Core {
    pub now: Moment,
    pub queue: EventQueue,
    pub ledger: Ledger,
    pub shards: Vec<Shard>,
    pub schedule: Schedule,
    guard: Guard,
    pub full_sync: Option<(Vec<Cause>, Stage)>,
    seeded: bool,
    deletes: bool,
}

impl Core {
    pub fn new(now: Moment, seed: u64, queue: usize, deletes: bool) -> Self {
        let settings = LaneSettings { batch: 3, recheck_after: RECHECK, parked_records: 2, deletes };
        let lane = |n| Lane::new(settings, seed ^ n);
        let shard = |n| Shard { lane: lane(n), channel: VecDeque::new(), flight: None, asleep: None };
        Self {
            now,
            queue: EventQueue::new(queue),
            ledger: Ledger::new(Fingerprinter::new(seed), seed),
            shards: (0..LANES as u64).map(shard).collect(),
            schedule: Schedule::new(TIMES, seed),
            guard: Guard::new(GuardSettings { percent: 100, min: 0, interval: NEVER }),
            full_sync: None,
            seeded: false,
            deletes,
        }
    }

    pub fn prints(&self) -> Fingerprinter {
        self.ledger.prints()
    }

    // ---- events ----------------------------------------------------------------------------

    pub fn push(&mut self, observation: Observation) {
        if self.queue.push(observation, self.now) == Pushed::Dropped {
            self.schedule.overflowed(self.now);
        }
    }

    fn push_hint(&mut self, order: Order) {
        let Order { uuid, namespace, name, .. } = order;
        self.push(Observation::Deleted(DeletedPod { storage_id: String::new(), namespace, name, uuid }));
    }

    pub fn gate_is_free(&self) -> bool {
        self.seeded && self.full_sync.is_none() && !self.queue.is_empty()
    }

    pub fn gate_turn(&mut self, most: usize) {
        for event in self.queue.take(most, |_| false) {
            let decision = self.ledger.event(event, self.now);
            self.hand_over(decision.orders);
        }
    }

    fn hand_over(&mut self, orders: Vec<Order>) {
        for order in orders {
            let shard = order.shard(LANES);
            self.shards[shard].channel.push_back(order);
        }
    }

    // ---- shards ----------------------------------------------------------------------------

    /// Takes up to so many orders in.
    pub fn take_orders(&mut self, shard: usize, most: usize) {
        let Shard { lane, channel, asleep, .. } = &mut self.shards[shard];
        *asleep = None;
        for order in channel.drain(..most.min(channel.len())) {
            lane.add(order, &self.ledger);
        }
    }

    /// Begins the next request, if there is one.
    pub fn begin(&mut self, shard: usize) {
        let shard = &mut self.shards[shard];
        shard.asleep = None;
        match shard.lane.next(self.now, &mut self.ledger) {
            Step::Wait(until) => shard.asleep = Some(until),
            Step::Hint(order) => self.push_hint(order),
            step => shard.flight = Some((step, None)),
        }
    }

    /// Whether no shard has anything to do now.
    pub fn is_idle(&self) -> bool {
        let idle =
            |shard: &Shard| shard.channel.is_empty() && shard.flight.is_none() && !shard.is_awake(self.now);
        self.shards.iter().all(idle)
    }

    /// What a step writes.
    pub fn write_of(&self, shard: usize, step: &Step) -> Option<Write> {
        let record = |uuid: &String| self.shards[shard].lane.record(uuid).cloned();
        match step {
            Step::Create(uuids) => Some(Write::Create(uuids.iter().filter_map(record).collect())),
            Step::Update { uuid, fields } => Some(Write::Update(Box::new(record(uuid)?), *fields)),
            Step::Delete { uuid, .. } => Some(Write::Delete(uuid.clone(), OUR_BIZ)),
            Step::Evict { holder, .. } => Some(Write::Delete(holder.uuid.clone(), holder.biz)),
            _ => None,
        }
    }

    /// What a step that only reads is answered by a peer that works.
    pub fn read(&self, step: &Step, storage: &Storage, cmdb: &Cmdb) -> Option<Answer> {
        Some(match step {
            Step::PointRead { name, .. } => Answer::Read(match storage.read(name) {
                Some(pod) => PointRead::Pod(Box::new(pod)),
                None => PointRead::Gone,
            }),
            Step::ReadBack { uuid } => {
                let held = cmdb.records.get(uuid).filter(|held| held.ours && held.biz == OUR_BIZ);
                Answer::Found(Ok(held.map(|held| Stored {
                    namespace: held.record.namespace.clone(),
                    name: held.record.name.clone(),
                    fingerprint: self.prints().of(&held.record),
                })))
            }
            Step::FindHolder { uuid, name, .. } => {
                Answer::Holders(Box::new(Ok(cmdb.holders(uuid, name, self.prints()))))
            }
            _ => return None,
        })
    }

    /// Gives the lane the answer to its request.
    pub fn answer(&mut self, shard: usize) -> Vec<Effect> {
        let Some((step, Some(answer))) = self.shards[shard].flight.take() else { return Vec::new() };
        let paused = self.any_paused();
        let (lane, ledger, now) = (&mut self.shards[shard].lane, &mut self.ledger, self.now);
        let one = |answer: Result<Vec<Result<(), Failure>>, Failure>| answer.map(|_| ());
        let effects = match (step, answer) {
            (Step::PointRead { uuid, .. }, Answer::Read(read)) => lane.point_read(&uuid, read, now, ledger),
            (Step::ReadBack { uuid }, Answer::Found(found)) => lane.read_back(&uuid, found, now, ledger),
            (Step::FindHolder { uuid, .. }, Answer::Holders(found)) => {
                lane.holder_found(&uuid, *found, now, ledger)
            }
            (Step::Create(uuids), Answer::Written(answer)) => {
                let single = |answer: Vec<Result<(), Failure>>| match answer.as_slice() {
                    [Err(failure)] => Err(failure.clone()),
                    _ => Ok(answer),
                };
                let answer = if uuids.len() == 1 { answer.and_then(single) } else { answer };
                lane.created(&uuids, answer, now, ledger)
            }
            (Step::Update { uuid, fields }, Answer::Written(answer)) => {
                lane.updated(&uuid, fields, one(answer), now, ledger)
            }
            (Step::Delete { uuid, proof }, Answer::Written(answer)) => {
                lane.deleted(&uuid, proof, one(answer), now, ledger)
            }
            (Step::Evict { uuid, holder }, Answer::Written(answer)) => {
                lane.evicted(&uuid, &holder, one(answer), now, ledger)
            }
            (step, _) => panic!("{step:?} got the answer to something else"),
        };
        if paused && !self.any_paused() {
            self.schedule.request(Cause::Recovered, self.now);
        }
        self.react(&effects);
        effects
    }

    fn any_paused(&self) -> bool {
        self.shards.iter().any(|shard| shard.lane.is_paused())
    }

    fn react(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Hint(order) => self.push_hint(order.clone()),
                Effect::ListingMissed => self.schedule.listing_missed(self.now),
                _ => {}
            }
        }
    }

    // ---- full sync -------------------------------------------------------------------------

    pub fn begin_full_sync(&mut self) -> bool {
        let causes = self.schedule.take(self.now);
        if causes.is_empty() {
            return false;
        }
        self.full_sync = Some((causes, Stage::Flush));
        true
    }

    pub fn end_full_sync(&mut self, outcome: Outcome) {
        let Some((causes, _)) = self.full_sync.take() else { return };
        self.schedule.finished(&causes, outcome, self.now);
        self.seeded |= outcome == Outcome::Ok;
    }

    /// One page of what the CMDB held when it was asked.
    pub fn stored(&mut self, page: &[PodRecord]) {
        page.iter().for_each(|record| self.ledger.stored(record));
    }

    pub fn listed(&mut self, pod: ObservedPod) {
        let decision = self.ledger.observe(pod, Source::Listing, None, self.now);
        self.hand_over(decision.orders);
    }

    pub fn missing(&mut self) {
        let missing = self.ledger.missing(self.now);
        self.hand_over(missing.unrecorded);
        if self.deletes {
            self.hand_over(missing.doomed);
            let decision = self.guard.decide(missing.recorded, missing.total, false, self.now);
            self.hand_over(decision.carry_out);
        }
    }
}

/// Whether a step deletes a pod's record because the pod is gone.
pub fn deletes_for_good(step: &Step) -> Option<&str> {
    match step {
        Step::Delete { uuid, proof } if *proof != Proof::Replaced => Some(uuid),
        Step::Evict { holder, .. } if holder.biz == OUR_BIZ => Some(&holder.uuid),
        _ => None,
    }
}
