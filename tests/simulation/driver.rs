//! One run: a seed decides every interleaving and every fault, then the faults stop and both sides
//! must become equal.

use super::cmdb::{Cmdb, Held, OLD_BIZ, OUR_BIZ, Write};
use super::core::{Answer, Core, LANES, RECHECK, Stage, deletes_for_good};
use super::storage::{Generation, NO_MODULE, POISON, SPACED, Storage};
use bcs_bkcmdb_synchronizer::convert::repair::Repairs;
use bcs_bkcmdb_synchronizer::model::{Field, PodRecord};
use bcs_bkcmdb_synchronizer::plan::{Cause, Failure, Moment, Outcome, PointRead, Step};
use std::collections::BTreeMap;
use std::time::Duration;

/// Actions with faults, and how many the quiet end may take.
const WILD: usize = 400;
const QUIET: usize = 6000;
/// How much of the way to a broken promise is told.
const TOLD: usize = 100;

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Action {
    Change,
    MakeEvent,
    Deliver,
    Gate,
    Take(usize),
    Begin(usize),
    CarryOut(usize),
    Answer(usize),
    FullSync,
    Land,
    Time,
    Break,
    Subscribe,
    Restore,
    Outage,
    Restart,
}

pub struct Run {
    rng: fastrand::Rng,
    core: Core,
    storage: Storage,
    cmdb: Cmdb,
    queue: usize,
    deletes: bool,
    faults: bool,
    /// Whether anything happens that a full sync follows: without, events alone must do.
    interrupted: bool,
    outage: bool,
    subscribe_at: Moment,
    /// Per uuid the oldest place in its history that the newest acknowledged record can stand for.
    acknowledged: BTreeMap<String, usize>,
    /// What happened, if anybody wants to know.
    trace: Option<Vec<String>>,
}

impl Run {
    pub fn new(seed: u64, trace: bool) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let generation = [Generation::Old, Generation::New][rng.usize(..2)];
        let storage = Storage::new(generation, rng.u8(..4) > 0);
        let cmdb = Cmdb::new(rng.bool());
        let (queue, deletes) = ([2, 100][rng.usize(..2)], rng.u8(..8) > 0);
        let interrupted = rng.bool();
        let core = Core::new(Moment::ZERO, seed, queue, deletes);
        let mut run = Self {
            rng,
            core,
            storage,
            cmdb,
            queue,
            deletes,
            faults: true,
            interrupted,
            outage: false,
            subscribe_at: Moment::ZERO,
            acknowledged: BTreeMap::new(),
            trace: trace.then(Vec::new),
        };
        run.furnish();
        run.stream_opens();
        run
    }

    /// What is there before the start: pods, records of dead ones, of a previous business and of
    /// another cluster.
    fn furnish(&mut self) {
        for _ in 0..self.rng.usize(..12) {
            self.storage.change(&mut self.rng);
        }
        let mut held: Vec<Held> = Vec::new();
        for pod in self.storage.living() {
            let Some(record) = fit(&pod.record) else { continue };
            match self.rng.u8(..6) {
                0 => held.push(Held { record, biz: OUR_BIZ, ours: true }),
                1 => held.push(Held { record, biz: OLD_BIZ, ours: true }),
                2 => held.push(Held { record, biz: OUR_BIZ, ours: false }),
                3 => {
                    let mut record = record;
                    record.uuid = format!("dead-{}", record.name);
                    let biz = if self.rng.bool() { OUR_BIZ } else { OLD_BIZ };
                    held.push(Held { record, biz, ours: true });
                }
                _ => {}
            }
        }
        for held in held {
            self.cmdb.records.insert(held.record.uuid.clone(), held);
        }
    }

    /// The whole run; `Err` says what promise was broken.
    pub fn all(&mut self) -> Result<(), String> {
        for _ in 0..WILD {
            self.step()?;
        }
        self.faults = false;
        self.outage = false;
        let quiet = self.settle()?;
        self.equal().map_err(|difference| format!("after {quiet} quiet actions: {difference}"))?;
        self.unchanged()
    }

    /// Until nothing is left to do.
    fn settle(&mut self) -> Result<usize, String> {
        for count in 0..QUIET {
            if !self.step()? {
                return Ok(count);
            }
        }
        Err(format!("not at rest after {QUIET} quiet actions"))
    }

    /// A further full sync, of an unchanged cluster, writes nothing.
    fn unchanged(&mut self) -> Result<(), String> {
        let writes = self.cmdb.writes;
        self.core.schedule.request(Cause::Requested, self.core.now);
        self.settle()?;
        match self.cmdb.writes - writes {
            0 => Ok(()),
            more => Err(format!("a full sync of an unchanged cluster wrote {more} times")),
        }
    }

    fn note(&mut self, what: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let what = what(self);
            self.trace.get_or_insert_default().push(what);
        }
    }

    // ---- one action ------------------------------------------------------------------------

    /// Whether anything was done.
    fn step(&mut self) -> Result<bool, String> {
        let mut actions = self.possible();
        if actions.is_empty() {
            return Ok(self.time_passes(true));
        }
        actions.push(Action::Time);
        let action = actions[self.rng.usize(..actions.len())];
        self.act(action)?;
        Ok(true)
    }

    fn possible(&mut self) -> Vec<Action> {
        let mut actions = Vec::new();
        let core = &mut self.core;
        let mut add = |condition: bool, action: Action| actions.extend(condition.then_some(action));
        add(self.storage.has_changes(), Action::MakeEvent);
        add(self.storage.has_events(), Action::Deliver);
        add(core.gate_is_free(), Action::Gate);
        add(self.cmdb.has_late(), Action::Land);
        add(self.subscribe_at != Moment::MAX && core.now >= self.subscribe_at, Action::Subscribe);
        let due = core.schedule.next_due().is_some_and(|due| due <= core.now);
        add(core.full_sync.is_some() || due, Action::FullSync);
        for n in 0..LANES {
            let shard = &core.shards[n];
            add(!shard.channel.is_empty() && shard.flight.is_none(), Action::Take(n));
            match &shard.flight {
                None => add(shard.is_awake(core.now), Action::Begin(n)),
                Some((_, None)) => add(true, Action::CarryOut(n)),
                Some((_, Some(_))) => add(true, Action::Answer(n)),
            }
        }
        if self.faults {
            add(true, Action::Change);
            add(self.rng.u8(..3) == 0, Action::Change);
            add(self.interrupted && self.rng.u8(..40) == 0, Action::Break);
            add(self.interrupted && self.rng.u8(..40) == 0, Action::Outage);
            add(self.interrupted && self.rng.u8(..150) == 0, Action::Restore);
            add(self.interrupted && self.rng.u8(..100) == 0, Action::Restart);
        }
        actions
    }

    fn act(&mut self, action: Action) -> Result<(), String> {
        if !matches!(action, Action::Time) {
            self.note(|run| format!("{:?} {action:?}", run.core.now));
        }
        match action {
            Action::Change => self.storage.change(&mut self.rng),
            Action::MakeEvent => self.storage.make_event(&mut self.rng),
            Action::Deliver => {
                let again = self.faults && self.rng.u8(..10) == 0;
                let event = self.storage.deliver(&mut self.rng, again);
                self.note(|_| format!("  event {event:?}"));
                self.core.push(event);
            }
            Action::Gate => self.core.gate_turn(1 + self.rng.usize(..4)),
            Action::Take(shard) => self.core.take_orders(shard, 1 + self.rng.usize(..4)),
            Action::Begin(shard) => self.core.begin(shard),
            Action::CarryOut(shard) => self.carry_out(shard)?,
            Action::Answer(shard) => drop(self.core.answer(shard)),
            Action::FullSync => self.full_sync(),
            Action::Land => self.cmdb.land_one(&mut self.rng),
            Action::Time => drop(self.time_passes(false)),
            Action::Break => self.stream_opens(),
            Action::Subscribe => {
                self.storage.subscribe();
                self.subscribe_at = Moment::MAX;
            }
            Action::Restore => {
                self.storage.restore();
                self.stream_opens();
            }
            Action::Outage => self.outage = !self.outage,
            Action::Restart => self.restart(),
        }
        Ok(())
    }

    /// The old stream ends, a new one opens and subscribes some time later.
    fn stream_opens(&mut self) {
        self.storage.break_stream();
        self.core.queue.clear();
        let now = self.core.now;
        self.core.schedule.stream_opened(now, Duration::from_millis(500));
        self.subscribe_at = now + Duration::from_millis(self.rng.u64(..5000));
    }

    /// All that is known is lost; writes on their way may still land.
    fn restart(&mut self) {
        for shard in 0..LANES {
            if let Some((step, None)) = &self.core.shards[shard].flight
                && let Some(write) = self.core.write_of(shard, step)
            {
                drop(self.cmdb.write(&write));
            }
        }
        self.core = Core::new(self.core.now, self.rng.u64(..), self.queue, self.deletes);
        self.stream_opens();
    }

    /// Time passes: a little, or with `leap` until something is due. Whether anything ever is.
    fn time_passes(&mut self, leap: bool) -> bool {
        let now = self.core.now;
        let next = if leap {
            let shards = (0..LANES).filter_map(|n| self.core.shards[n].due());
            let subscribe = Some(self.subscribe_at).filter(|at| *at != Moment::MAX);
            let due = shards.chain(self.core.schedule.next_due()).chain(subscribe).min();
            let Some(due) = due.filter(|due| *due < now + Duration::from_secs(1800)) else { return false };
            due.max(now)
        } else {
            now + Duration::from_millis(self.rng.u64(..1500))
        };
        self.core.now = next;
        self.cmdb.land_until(next);
        true
    }

    // ---- requests --------------------------------------------------------------------------

    fn carry_out(&mut self, shard: usize) -> Result<(), String> {
        let Some((step, None)) = self.core.shards[shard].flight.take() else { return Ok(()) };
        self.note(|_| format!("  {step:?}"));
        let answer = match self.core.write_of(shard, &step) {
            Some(write) => {
                self.check_write(&step, &write)?;
                Answer::Written(self.answer_to(&write))
            }
            None => self.answer_to_read(&step),
        };
        if let Answer::Written(Err(failure)) = &answer {
            self.note(|_| format!("  failed: {failure}"));
        }
        self.core.shards[shard].flight = Some((step, Some(answer)));
        Ok(())
    }

    fn answer_to(&mut self, write: &Write) -> Result<Vec<Result<(), Failure>>, Failure> {
        if self.outage {
            return Err(Failure::Unreachable("connection refused".into()));
        }
        if self.faults {
            match self.rng.u8(..24) {
                0 => return Err(Failure::Later { code: -1, message: "busy".into() }),
                1 => return Err(Failure::Fenced("lost".into())),
                2 => {
                    drop(self.cmdb.write(write));
                    return Err(Failure::Ambiguous("answer lost".into()));
                }
                3 => {
                    let until = self.core.now + RECHECK - Duration::from_millis(1);
                    self.cmdb.land_later(write.clone(), until);
                    return Err(Failure::Ambiguous("timeout".into()));
                }
                4 => return Err(Failure::Ambiguous("reset".into())),
                _ => {}
            }
        }
        let answer = self.cmdb.write(write);
        self.note_acknowledged(write, &answer);
        answer
    }

    fn answer_to_read(&mut self, step: &Step) -> Answer {
        let fails = self.outage || (self.faults && self.rng.u8(..16) == 0);
        let message = || "no answer".to_owned();
        match step {
            Step::PointRead { .. } if fails => Answer::Read(PointRead::Failed(message())),
            Step::ReadBack { .. } if fails => Answer::Found(Err(Failure::Unreachable(message()))),
            Step::FindHolder { .. } if fails => {
                Answer::Holders(Box::new(Err(Failure::Unreachable(message()))))
            }
            _ => match self.core.read(step, &self.storage, &self.cmdb) {
                Some(answer) => answer,
                None => panic!("{step:?} is no read"),
            },
        }
    }

    // ---- promises at every step ------------------------------------------------------------

    /// No delete of a living pod; no older record after a newer one.
    fn check_write(&self, step: &Step, write: &Write) -> Result<(), String> {
        if let Some(uuid) = deletes_for_good(step).filter(|uuid| self.storage.is_alive(uuid)) {
            return Err(format!("deleted {uuid}, which is alive"));
        }
        if !self.deletes && matches!(write, Write::Delete(..)) {
            return Err("deleted although only upserts are allowed".into());
        }
        // Without versions nobody can tell an old event; versions that start low again make one of
        // before pass for new. A later event, or the full sync, puts that right.
        if self.storage.restored || !self.storage.versions {
            return Ok(());
        }
        let records: &[PodRecord] = match write {
            Write::Create(records) => records,
            Write::Update(record, _) => std::slice::from_ref(&**record),
            Write::Delete(..) => &[],
        };
        for record in records {
            let newest = self.places(record).last().copied();
            let known = self.acknowledged.get(&record.uuid).copied();
            if let (Some(newest), Some(known)) = (newest, known)
                && newest < known
            {
                return Err(format!("{}: version {newest} after {known} was acknowledged", record.uuid));
            }
        }
        Ok(())
    }

    /// The places in its history at which the pod looked like this.
    fn places(&self, record: &PodRecord) -> Vec<usize> {
        let history = self.storage.history.get(&record.uuid).map_or(&[][..], Vec::as_slice);
        let alike = |old: &PodRecord| alike(&fit(old).unwrap_or_else(|| old.clone()), record, true);
        history.iter().enumerate().filter(|(_, old)| alike(old)).map(|(at, _)| at).collect()
    }

    fn note_acknowledged(&mut self, write: &Write, answer: &Result<Vec<Result<(), Failure>>, Failure>) {
        let (records, Ok(results)) = (
            match write {
                Write::Create(records) => records.as_slice(),
                Write::Update(record, _) => std::slice::from_ref(&**record),
                Write::Delete(..) => &[],
            },
            answer,
        ) else {
            return;
        };
        for (record, _) in records.iter().zip(results).filter(|(_, result)| result.is_ok()) {
            if let Some(oldest) = self.places(record).first().copied() {
                let known = self.acknowledged.entry(record.uuid.clone()).or_default();
                *known = oldest.max(*known);
            }
        }
    }

    // ---- full sync -------------------------------------------------------------------------

    fn full_sync(&mut self) {
        let Some((_, stage)) = &mut self.core.full_sync else {
            self.core.begin_full_sync();
            return;
        };
        if self.outage || (self.faults && self.rng.u8(..30) == 0) {
            return self.core.end_full_sync(Outcome::Failed);
        }
        match stage {
            Stage::Flush => {
                // A flush has a deadline: sometimes the senders are still at work.
                if self.core.is_idle() || self.rng.u8(..20) == 0 {
                    self.core.ledger.begin_full_sync();
                    let pages = self.cmdb.listed().chunks(3).map(<[PodRecord]>::to_vec).collect();
                    self.set_stage(Stage::Cmdb(pages));
                }
            }
            Stage::Cmdb(pages) => match pages.pop() {
                Some(page) => self.core.stored(&page),
                None => {
                    self.core.ledger.end_stored();
                    let names = self.storage.names();
                    self.set_stage(Stage::Storage(names));
                }
            },
            Stage::Storage(names) => match names.pop() {
                Some(name) => self.page(&name),
                None => {
                    self.core.missing();
                    self.core.end_full_sync(Outcome::Ok);
                }
            },
        }
    }

    /// A page is one document here; it may be missed or come twice.
    fn page(&mut self, name: &str) {
        let times = match self.rng.u8(..20) {
            0 if self.faults => 0,
            1 if self.faults => 2,
            _ => 1,
        };
        for _ in 0..times {
            if let Some(pod) = self.storage.read(name) {
                self.core.listed(pod);
            }
        }
    }

    fn set_stage(&mut self, stage: Stage) {
        if let Some((_, current)) = &mut self.core.full_sync {
            *current = stage;
        }
    }

    // ---- the end ---------------------------------------------------------------------------

    /// Both sides hold the same.
    fn equal(&self) -> Result<(), String> {
        let counts = self.core.ledger.counts();
        if counts.pending != 0 {
            return Err(format!("still pending: {counts:?}"));
        }
        for pod in self.storage.living() {
            let held = self.cmdb.records.get(&pod.record.uuid);
            let foreign = held.is_some_and(|held| !held.ours);
            let in_the_way = |held: &Held| held.ours && held.record.name == pod.record.name;
            let kept = !self.deletes && (held.is_none() || held.is_some_and(|held| held.biz != OUR_BIZ));
            if kept && self.cmdb.records.values().any(in_the_way) {
                continue;
            }
            let held = held.filter(|held| held.ours && held.biz == OUR_BIZ).map(|held| &held.record);
            match (fit(&pod.record), held) {
                _ if foreign => {}
                (None, _) => {}
                (Some(_), None) if !pod.scheduled => {}
                (Some(wanted), Some(held)) if alike(&wanted, held, pod.scheduled) => {}
                (Some(_), Some(_)) if !(self.deletes && pod.scheduled || self.cmdb.changes_immutable) => {}
                (Some(wanted), held) => {
                    return Err(format!("{}: wanted {wanted:?}, held {held:?}", pod.record.uuid));
                }
            }
        }
        for record in self.cmdb.listed().iter().filter(|_| self.deletes) {
            if !self.storage.is_alive(&record.uuid) {
                return Err(format!("{} is dead and still recorded", record.uuid));
            }
        }
        Ok(())
    }
}

/// The record the CMDB takes for this one, if any.
fn fit(record: &PodRecord) -> Option<PodRecord> {
    if record.module_id == NO_MODULE || record.text(Field::WorkloadName) == POISON {
        return None;
    }
    let mut record = record.clone();
    if record.text(Field::Annotations) == SPACED {
        let repairs = Repairs::default().next(Field::Annotations, 1_199_016)?;
        record.set_text(Field::Annotations, repairs.apply(Field::Annotations, SPACED));
    }
    Some(record)
}

/// Whether both are the same, as far as the host counts.
fn alike(a: &PodRecord, b: &PodRecord, host: bool) -> bool {
    let mut a = a.clone();
    if !host || a.text(Field::HostInnerIp).is_empty() {
        a.set_text(Field::HostInnerIp, b.text(Field::HostInnerIp));
    }
    a == *b
}

/// Runs a seed; a broken promise is told with the way to it.
pub fn run(seed: u64) -> Result<(), String> {
    Run::new(seed, false).all().map_err(|broken| {
        let mut again = Run::new(seed, true);
        let _ = again.all();
        let trace = again.trace.unwrap_or_default();
        let last = trace.len().saturating_sub(TOLD);
        format!("seed {seed} broke a promise: {broken}\n{}", trace[last..].join("\n"))
    })
}
