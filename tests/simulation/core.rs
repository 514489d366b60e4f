//! The pure core put together as `sync` does it, without its threads: each thing a thread would do
//! is a method the driver calls when its seed says so.

use super::cmdb::{Cmdb, OUR_BIZ, Write, Written};
use super::mutations::{Broken, Misuse};
use super::placement::Placement;
use super::storage::Storage;
use bcs_bkcmdb_synchronizer::model::{DeletedPod, Observation, ObservedPod, PodRecord};
use bcs_bkcmdb_synchronizer::plan::{
    Cause, Comparison, Effect, EventQueue, Failure, FieldSet, Fingerprinter, Guard, GuardSettings, Holder,
    Lacking, Lane, LaneSettings, Ledger, Moment, MuteCheck, Order, Outcome, PointRead, Proof, Pushed,
    Schedule, ScheduleSettings, Step, Stored,
};
use std::collections::VecDeque;
use std::time::Duration;

pub const LANES: usize = 2;
/// How long an unanswered write may still land.
pub const RECHECK: Duration = Duration::from_secs(30);
/// Between two periodic full syncs: what converges does so without one.
pub const INTERVAL: Duration = Duration::from_secs(86_400);

const TIMES: ScheduleSettings = ScheduleSettings {
    interval: INTERVAL,
    settle: Duration::from_secs(10),
    overflow_spacing: Duration::from_secs(30),
    mute_interval: Duration::from_secs(60),
    landing: RECHECK,
};
const MUTE_GRACE: Duration = Duration::from_secs(30);
/// From the headers of a watch to the first listing (design.md 6).
const SUBSCRIBED_AFTER: Duration = Duration::from_millis(500);

/// How the synchronizer is configured.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub queue: usize,
    /// Records of waiting jobs a lane keeps.
    pub parked_records: usize,
    pub deletes: bool,
    pub guard: GuardSettings,
    /// The watch is not suspected of being mute: finding that makes good what else went wrong.
    pub trusting: bool,
    pub broken: Option<Broken>,
}

/// Who holds the uuid, who the name.
type Holders = Result<(Option<Holder>, Option<Holder>), Failure>;

/// The answer to a step, on its way back.
pub enum Answer {
    Read(PointRead),
    Found(Result<Option<Stored>, Failure>),
    Holders(Box<Holders>),
    Written(Written),
}

/// One shard: its lane, its channel, and the request on its way.
pub struct Shard {
    pub lane: Lane,
    pub channel: VecDeque<Order>,
    pub flight: Option<(Step, Option<Answer>)>,
    /// The epoch in which that was decided.
    decided: u64,
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

/// What a listing of the CMDB has yet to tell.
pub enum Pages {
    /// All of it is as it was at the beginning.
    AtOnce(Vec<Vec<PodRecord>>),
    /// Each page is as it was when it was read: one that is not looked at yet, and the id the next is after.
    OneByOne { page: Vec<PodRecord>, after: u64 },
}

/// Where a full sync stands; it holds the gate all the time.
pub enum Stage {
    Flush,
    Cmdb(Pages),
    /// Names to list, and a page that is not compared yet, after how many of them it was read.
    Storage {
        names: Vec<String>,
        page: Vec<ObservedPod>,
        read: usize,
    },
}

pub struct FullSync {
    pub causes: Vec<Cause>,
    pub stage: Stage,
    comparison: Comparison,
    epoch: u64,
}

pub struct Core {
    pub now: Moment,
    pub settings: Settings,
    pub modules: Placement,
    pub queue: EventQueue,
    pub ledger: Ledger,
    pub shards: Vec<Shard>,
    pub schedule: Schedule,
    pub guard: Guard,
    mute: MuteCheck,
    pub full_sync: Option<FullSync>,
    /// Number of the watch stream, and whether it is there.
    stream: u64,
    pub connected: bool,
    /// Streams given up because they were mute.
    pub renewals: u32,
    seeded: bool,
    /// What the fence counts: interruptions of the permission to write. The ledger learns of one later.
    fence: u64,
    spread: usize,
}

impl Core {
    pub fn new(now: Moment, seed: u64, settings: Settings, modules: Placement) -> Self {
        let deletes =
            settings.deletes || settings.broken.is_some_and(|broken| broken.is(Misuse::IgnoreUpsertOnly));
        let lanes = LaneSettings {
            batch: 3,
            recheck_after: RECHECK,
            parked_records: settings.parked_records,
            deletes,
        };
        let lane = |n| Lane::new(lanes, seed ^ n);
        let mut schedule = Schedule::new(TIMES, seed);
        schedule.taken_over(now);
        let shard =
            |n| Shard { lane: lane(n), channel: VecDeque::new(), flight: None, decided: 0, asleep: None };
        Self {
            now,
            settings,
            modules,
            queue: EventQueue::new(settings.queue),
            ledger: Ledger::new(Fingerprinter::new(seed), seed),
            shards: (0..LANES as u64).map(shard).collect(),
            schedule,
            guard: Guard::new(settings.guard),
            mute: MuteCheck::new(MUTE_GRACE),
            full_sync: None,
            stream: 0,
            connected: false,
            renewals: 0,
            seeded: false,
            fence: 0,
            spread: 0,
        }
    }

    pub fn prints(&self) -> Fingerprinter {
        self.ledger.prints()
    }

    fn broke(&self, misuse: Misuse) -> bool {
        self.settings.broken.is_some_and(|broken| broken.is(misuse))
    }

    // ---- the watch -------------------------------------------------------------------------

    pub fn stream_opened(&mut self) {
        self.stream += 1;
        self.connected = true;
        if !self.broke(Misuse::KeepOldStreamsEvents) {
            self.queue.clear(self.now);
        }
        if self.stream == 1 || !self.broke(Misuse::NoRelistAfterBreak) {
            self.schedule.stream_opened(self.now, SUBSCRIBED_AFTER);
        }
    }

    /// An event of the watch, as the storage holds it.
    pub fn deliver(&mut self, event: Observation) {
        let event = match event {
            Observation::Pod(pod) => Observation::Pod(Box::new(self.modules.place(&pod))),
            deleted => deleted,
        };
        let id = match &event {
            Observation::Pod(pod) => &pod.storage_id,
            Observation::Deleted(hint) => &hint.storage_id,
        };
        self.mute.delivered(id);
        self.push(event);
    }

    fn push(&mut self, observation: Observation) {
        if self.queue.push(observation, self.now) == Pushed::Dropped {
            self.schedule.overflowed(self.now);
        }
    }

    fn push_hint(&mut self, order: Order) {
        let Order { uuid, namespace, name, .. } = order;
        self.push(Observation::Deleted(DeletedPod { storage_id: String::new(), namespace, name, uuid }));
    }

    /// When the watch should be checked.
    pub fn mute_due(&self) -> Option<Moment> {
        self.mute.due()
    }

    /// Looks whether the watch is mute; `true`: it is given up.
    pub fn check_watch(&mut self) -> bool {
        if self.mute.missed(self.stream, self.now) == 0
            || self.settings.trusting
            || self.broke(Misuse::NeverSuspect)
        {
            return false;
        }
        self.schedule.watch_was_mute(self.now);
        self.renewals += 1;
        !self.broke(Misuse::KeepMuteWatch)
    }

    // ---- topology, permission to write -----------------------------------------------------

    pub fn take_modules(&mut self, modules: &[i64]) {
        if self.modules.modules == modules || self.broke(Misuse::NeverReadTopology) {
            return;
        }
        self.modules.modules = modules.to_vec();
        self.queue.clear(self.now);
        if !self.broke(Misuse::NoRelistAfterTopology) {
            self.schedule.request(Cause::Topology, self.now);
        }
    }

    /// The permission to write was lost and is back; nobody has noticed yet.
    pub fn permission_was_lost(&mut self) {
        if !self.broke(Misuse::IgnoreLostPermission) {
            self.fence += 1;
        }
    }

    /// Whether the permission to write was interrupted and nobody has noticed.
    pub fn is_unaware(&self) -> bool {
        self.ledger.epoch() != self.fence
    }

    /// Looks whether the permission to write was interrupted.
    pub fn check_epoch(&mut self) {
        if self.ledger.interrupted(self.fence) {
            self.seeded = false;
            self.schedule.taken_over(self.now);
            self.schedule.request(Cause::Recovered, self.now);
        }
    }

    /// Whether the fence refuses a write: it was decided before an interruption. What is proven gone stays
    /// gone.
    pub fn is_fenced(&self, shard: usize, step: &Step) -> bool {
        let old = self.shards[shard].decided != self.fence;
        old && !matches!(step, Step::Delete { proof, .. } if *proof != Proof::Replaced)
            && !self.broke(Misuse::PermitOfAnyEpoch)
    }

    // ---- the gate --------------------------------------------------------------------------

    pub fn gate_is_free(&self) -> bool {
        let held = self.full_sync.is_some() && !self.broke(Misuse::GateStaysOpen);
        self.seeded && !held && !self.queue.is_empty()
    }

    /// Lets events pass, up to so many; the uuids they are about.
    pub fn gate_turn(&mut self, most: usize) -> Vec<String> {
        let mut passed = Vec::new();
        for event in self.queue.take(most, |_| false) {
            passed.push(event.uuid().to_owned());
            let decision = self.ledger.event(event, self.now);
            self.hand_over(decision.orders);
        }
        passed
    }

    fn hand_over(&mut self, orders: Vec<Order>) {
        for order in orders {
            self.spread += 1;
            let shard = if self.broke(Misuse::AnyShard) { self.spread % LANES } else { order.shard(LANES) };
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
        let no_successor = self.broke(Misuse::NoSuccessor);
        self.check_epoch();
        let shard = &mut self.shards[shard];
        shard.asleep = None;
        shard.decided = self.ledger.epoch();
        match shard.lane.next(self.now, &mut self.ledger) {
            Step::Wait(until) => shard.asleep = Some(until),
            Step::Hint(_) if no_successor => {}
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

    pub fn any_paused(&self) -> bool {
        self.shards.iter().any(|shard| shard.lane.is_paused())
    }

    /// What a step writes.
    pub fn write_of(&self, shard: usize, step: &Step) -> Option<Write> {
        let lane = &self.shards[shard].lane;
        let record = |uuid: &String| lane.record(uuid).cloned();
        match step {
            Step::Create(uuids) => Some(Write::Create(uuids.iter().filter_map(record).collect())),
            Step::Update { uuid, .. } if self.broke(Misuse::SendEveryField) => {
                Some(Write::Update(Box::new(record(uuid)?), FieldSet::ALL))
            }
            Step::Update { uuid, fields } => Some(Write::Update(Box::new(record(uuid)?), *fields)),
            Step::Delete { uuid, .. } if self.broke(Misuse::DeleteByName) => {
                Some(Write::DeleteName(self.ledger.name_of(uuid)?.1.to_owned()))
            }
            Step::Delete { uuid, .. } => Some(Write::Delete(uuid.clone(), OUR_BIZ)),
            Step::Evict { holder, .. } => Some(Write::Delete(holder.uuid.clone(), holder.biz)),
            _ => None,
        }
    }

    /// What a step that only reads is answered by a peer that works.
    pub fn read(&self, step: &Step, storage: &Storage, cmdb: &Cmdb) -> Option<Answer> {
        Some(match step {
            Step::PointRead { .. } if self.broke(Misuse::SkipPointRead) => Answer::Read(PointRead::Gone),
            Step::PointRead { name, .. } => Answer::Read(match storage.read(name, &self.modules) {
                PointRead::Unusable(_) if self.broke(Misuse::GarbledIsGone) => PointRead::Gone,
                read => read,
            }),
            Step::ReadBack { uuid } => Answer::Found(Ok(cmdb.read_back(uuid, self.prints()))),
            Step::FindHolder { .. } if self.broke(Misuse::HolderUnasked) => {
                Answer::Holders(Box::new(Ok((None, None))))
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
        if let (Answer::Written(Err(Failure::Later { .. })), true) =
            (&answer, self.broke(Misuse::RetryInShard))
        {
            self.shards[shard].flight = Some((step, None));
            return Vec::new();
        }
        let paused = self.any_paused();
        let (lane, ledger, now) = (&mut self.shards[shard].lane, &mut self.ledger, self.now);
        let effects = told(lane, ledger, now, step, answer);
        if paused && !self.any_paused() {
            self.schedule.request(Cause::Recovered, self.now);
        }
        for effect in &effects {
            match effect {
                Effect::ListingMissed if !self.broke(Misuse::IgnoreMissedListing) => {
                    self.schedule.listing_missed(self.now);
                }
                Effect::FoundGone { storage_id, .. } => self.mute.gone(storage_id, self.stream, self.now),
                _ => {}
            }
        }
        effects
    }

    // ---- full sync -------------------------------------------------------------------------

    /// Begins one if it is due.
    pub fn begin_full_sync(&mut self) {
        self.check_epoch();
        let causes = self.schedule.take(self.now);
        if causes.is_empty() {
            return;
        }
        if causes.contains(&Cause::Settle) && self.broke(Misuse::ApproveAtSettle) {
            self.guard.approve();
        }
        let stream = self.connected.then_some(self.stream);
        let comparison = Comparison::new(&causes, stream, self.schedule.is_settled(), self.settings.deletes);
        self.full_sync =
            Some(FullSync { causes, stage: Stage::Flush, comparison, epoch: self.ledger.epoch() });
    }

    /// Whether the permission to write was interrupted since the full sync began.
    pub fn full_sync_is_interrupted(&self) -> bool {
        let interrupted = |full_sync: &FullSync| full_sync.epoch != self.ledger.epoch();
        self.full_sync.as_ref().is_some_and(interrupted) && !self.broke(Misuse::KeepInterruptedSync)
    }

    /// Whether the cluster is taken over with it.
    pub fn end_full_sync(&mut self, outcome: Outcome) -> bool {
        let Some(FullSync { causes, epoch, .. }) = self.full_sync.take() else { return false };
        self.schedule.finished(&causes, outcome, self.now);
        let good = matches!(outcome, Outcome::Ok | Outcome::HeldBack);
        self.seeded |= good && epoch == self.ledger.epoch();
        good && epoch == self.fence
    }

    pub fn set_stage(&mut self, next: Stage) {
        if let Some(FullSync { stage, .. }) = &mut self.full_sync {
            *stage = next;
        }
    }

    /// A page of the storage's listing is compared.
    pub fn compare(&mut self, pods: Vec<ObservedPod>) -> Vec<Order> {
        let Some(FullSync { comparison, .. }) = &mut self.full_sync else { return Vec::new() };
        let orders = comparison.page(pods, &mut self.ledger, &self.queue, &mut self.mute, self.now);
        self.hand_over(orders.clone());
        orders
    }

    /// Both listings are complete.
    pub fn missing(&mut self) -> Option<Lacking> {
        let FullSync { comparison, .. } = self.full_sync.as_mut()?;
        let (ledger, guard) = (&mut self.ledger, &mut self.guard);
        let lacking = comparison.missing(ledger, guard, &self.queue, &mut self.mute, self.now);
        self.hand_over(lacking.orders.clone());
        Some(lacking)
    }
}

/// Tells a lane what its request was answered.
fn told(lane: &mut Lane, ledger: &mut Ledger, now: Moment, step: Step, answer: Answer) -> Vec<Effect> {
    let one = |answer: Written| answer.map(|_| ());
    match (step, answer) {
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
    }
}

/// Whose record a step deletes because its pod is gone.
pub fn deletes_for_good(step: &Step) -> Option<&str> {
    match step {
        Step::Delete { uuid, proof } if *proof != Proof::Replaced => Some(uuid),
        Step::Evict { holder, .. } if holder.biz == OUR_BIZ => Some(&holder.uuid),
        _ => None,
    }
}
