//! One run: a seed decides every interleaving and every fault, then the faults stop and both sides
//! must become equal.

use super::chance::{Case, Chance, WILD};
use super::checks::{Oracle, Violation, dead_uuid, violation};
use super::cmdb::{Cmdb, Held, OLD_BIZ, OUR_BIZ, Write, Written};
use super::core::{Answer, Core, INTERVAL, LANES, RECHECK, Settings, Stage};
use super::mutations::{Broken, Misuse};
use super::placement::{Placement, fit};
use super::storage::{Generation, Storage};
use bcs_bkcmdb_synchronizer::model::{Field, Observation, PodRecord};
use bcs_bkcmdb_synchronizer::plan::{
    Cause, Effect, Failure, FieldSet, GuardSettings, Moment, Outcome, PointRead, Step,
};
use std::time::Duration;

/// The wild steps come in so many rounds, each followed by a rest: or the next fault would make good
/// what the last one did.
const ROUNDS: u32 = 4;
/// Steps a quiet part may take.
const QUIET: u32 = 6000;
/// Number of the first quiet step.
const FIRST_QUIET: u32 = 1_000_000;
/// A quiet run in which nothing happens for so long is at rest.
const AT_REST: Duration = Duration::from_secs(1800);

/// What may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Time,
    Change,
    Burst,
    DeleteMany,
    MakeEvent,
    Deliver,
    Break,
    Open,
    Subscribe,
    Mute,
    CheckWatch,
    Gate,
    Take(usize),
    Begin(usize),
    CarryOut(usize),
    Answer(usize),
    FullSync,
    Land,
    Outage,
    Restore,
    Restart,
    Leap,
    ChangeModules,
    ReadTopology,
    LosePermission,
    Drift,
    Approve,
}

/// What kind of run it is.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Whether anything happens that a full sync follows: without, events alone must do.
    interrupted: bool,
    /// Whether things happen that only a full sync can find.
    lossy: bool,
    slow: Slow,
}

/// Which part is slow in a run: every one of them lets others overtake it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slow {
    Nothing,
    Watch,
    Gate,
    Requests,
    Answers,
    FullSync,
}

impl Slow {
    const ALL: [Self; 6] =
        [Self::Nothing, Self::Watch, Self::Gate, Self::Requests, Self::Answers, Self::FullSync];

    /// Whether the action is one of the slow ones.
    fn takes(self, action: Action) -> bool {
        match action {
            Action::MakeEvent | Action::Deliver => self == Self::Watch,
            Action::Gate => self == Self::Gate,
            Action::CarryOut(_) => self == Self::Requests,
            Action::Answer(_) => self == Self::Answers,
            Action::FullSync => self == Self::FullSync,
            // A write without an answer may land until the last moment.
            Action::Land => true,
            _ => false,
        }
    }
}

pub struct Run {
    pub chance: Chance,
    pub core: Core,
    pub storage: Storage,
    pub cmdb: Cmdb,
    pub oracle: Oracle,
    case: Case,
    kind: Kind,
    outage: bool,
    quiet_steps: u32,
    /// When the next stream opens, and when the one that is open subscribes.
    open_at: Option<Moment>,
    subscribe_at: Option<Moment>,
    /// Watch streams given up because they were mute.
    pub renewals: u32,
    wild: bool,
    /// What happened, if anybody wants to know.
    pub trace: Option<Vec<String>>,
}

impl Run {
    pub fn new(case: &Case, broken: Option<Broken>, trace: bool) -> Self {
        let mut chance = Chance::new(case.seed);
        let rng = &mut chance.rng;
        let generation = [Generation::Old, Generation::New][rng.usize(..2)];
        let storage = Storage::new(generation, rng.u8(..4) > 0);
        let cmdb = Cmdb::new(rng.bool());
        let guard = if rng.u8(..4) == 0 {
            GuardSettings { percent: 30, min: 1, interval: INTERVAL }
        } else {
            GuardSettings { percent: 100, min: 0, interval: INTERVAL }
        };
        let settings = Settings { queue: [2, 100][rng.usize(..2)], deletes: rng.u8(..8) > 0, guard, broken };
        let kind =
            Kind { interrupted: rng.u8(..3) > 0, lossy: rng.u8(..4) == 0, slow: Slow::ALL[rng.usize(..6)] };
        let modules = Placement { modules: cmdb.modules.clone(), text_limit: rng.bool() };
        let core = Core::new(Moment::ZERO, case.seed, settings, modules);
        let mut run = Self {
            chance,
            core,
            storage,
            cmdb,
            oracle: Oracle::default(),
            case: case.clone(),
            kind,
            outage: false,
            quiet_steps: 0,
            open_at: None,
            subscribe_at: None,
            renewals: 0,
            wild: true,
            trace: trace.then(Vec::new),
        };
        run.furnish();
        run.open();
        run.note(|run| format!("{kind:?} {generation:?} {:?}", run.core.settings));
        run
    }

    /// What is there before the start: pods, records of dead ones, of a previous business and of
    /// another cluster.
    fn furnish(&mut self) {
        let rng = &mut self.chance.rng;
        for _ in 0..rng.usize(..12) {
            self.storage.change(rng);
        }
        let mut held: Vec<Held> = Vec::new();
        for pod in self.storage.living() {
            let Some(mut record) = fit(&pod.record, &self.cmdb.modules) else { continue };
            if record.text(Field::HostInnerIp).is_empty() {
                record.set_text(Field::HostInnerIp, "10.0.0.3");
            }
            match rng.u8(..6) {
                0 => held.push(Held { record, biz: OUR_BIZ, ours: true }),
                1 => held.push(Held { record, biz: OLD_BIZ, ours: true }),
                2 => held.push(Held { record, biz: OUR_BIZ, ours: false }),
                3 => {
                    record.uuid = dead_uuid(&record.name);
                    let biz = if rng.bool() { OUR_BIZ } else { OLD_BIZ };
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
    pub fn all(&mut self) -> Result<(), Violation> {
        let steps = std::mem::take(&mut self.case.steps);
        for round in 0..ROUNDS {
            self.wild = true;
            for step in steps.iter().filter(|step| step.number * ROUNDS / WILD == round) {
                self.chance.begin(step.number, !step.calm);
                self.step()?;
            }
            self.wild = false;
            self.rest()?;
        }
        self.end()
    }

    /// The faults stop.
    pub fn calm_down(&mut self) {
        self.outage = false;
        self.storage.mute = false;
        self.cmdb.modules = vec![41, 42];
        self.storage.heal();
    }

    /// Whether things were lost that only a full sync can find.
    pub fn is_lossy(&self) -> bool {
        self.kind.lossy
    }

    /// Until nothing is left to do.
    pub fn settle(&mut self) -> Result<(), Violation> {
        for _ in 0..QUIET {
            if !self.quiet_step()? {
                return Ok(());
            }
        }
        violation(1, format!("not at rest after {QUIET} quiet steps"))
    }

    /// A step in which nothing fails; whether there was anything to do.
    pub fn quiet_step(&mut self) -> Result<bool, Violation> {
        self.quiet_steps += 1;
        self.chance.begin(FIRST_QUIET + self.quiet_steps, false);
        self.step()
    }

    pub fn note(&mut self, what: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let what = format!("{:>9.3}s  {}", self.core.now.as_secs_f64(), what(self));
            self.trace.get_or_insert_default().push(what);
        }
    }

    // ---- one step --------------------------------------------------------------------------

    /// Whether anything was done.
    fn step(&mut self) -> Result<bool, Violation> {
        let mut actions = self.possible();
        if self.wild {
            let skips = self.chance.rng.u8(..6) > 0;
            actions.retain(|(_, action)| !(skips && self.kind.slow.takes(*action)));
            self.afflictions(&mut actions);
        } else if actions.is_empty() {
            return Ok(self.leap_to_next());
        }
        actions.push((0, Action::Time));
        if let Some(action) = self.chance.choose(&actions) {
            if action != Action::Time {
                self.note(|_| format!("{action:?}"));
            }
            self.act(action)?;
        }
        if self.core.queue.len() > self.core.settings.queue {
            return violation(6, "the event queue holds more than it may");
        }
        Ok(true)
    }

    /// What the synchronizer and its peers can do by themselves.
    fn possible(&self) -> Vec<(u64, Action)> {
        let mut actions = Vec::with_capacity(24);
        let (core, now) = (&self.core, self.core.now);
        let due = |at: Option<Moment>| at.is_some_and(|at| at <= now);
        let mut add =
            |key: u64, condition: bool, action: Action| actions.extend(condition.then_some((key, action)));
        add(1, self.storage.has_changes(), Action::MakeEvent);
        add(2, self.storage.has_events(), Action::Deliver);
        add(3, core.gate_is_free(), Action::Gate);
        add(4, self.wild && self.cmdb.has_late(), Action::Land);
        add(5, due(self.subscribe_at), Action::Subscribe);
        add(6, due(self.open_at), Action::Open);
        add(7, core.full_sync.is_some() || due(core.schedule.next_due()), Action::FullSync);
        add(8, due(core.mute_due()), Action::CheckWatch);
        add(9, !self.wild && core.modules.modules != self.cmdb.modules, Action::ReadTopology);
        for (n, shard) in core.shards.iter().enumerate() {
            let key = 10 + 4 * n as u64;
            add(key, !shard.channel.is_empty() && shard.flight.is_none(), Action::Take(n));
            match &shard.flight {
                None => add(key + 1, shard.is_awake(now), Action::Begin(n)),
                Some((_, None)) => add(key + 2, true, Action::CarryOut(n)),
                Some((_, Some(_))) => add(key + 3, true, Action::Answer(n)),
            }
        }
        // With the topology forgotten there is nothing to wait for.
        let never = core.settings.broken.is_some_and(|broken| broken.is(Misuse::NeverReadTopology));
        actions.retain(|(_, action)| !(never && *action == Action::ReadTopology));
        actions
    }

    /// What happens to them in the wild part.
    fn afflictions(&mut self, actions: &mut Vec<(u64, Action)>) {
        let Kind { interrupted, lossy, .. } = self.kind;
        let guarded = self.core.settings.guard.percent < 100;
        let rng = &mut self.chance.rng;
        let mut add = |key: u64, condition: bool, one_in: u8, action: Action| {
            let happens = rng.u8(..one_in) == 0;
            actions.extend((condition && happens).then_some((key, action)));
        };
        add(30, true, 1, Action::Change);
        add(31, true, 3, Action::Change);
        add(32, true, 60, Action::Burst);
        add(33, guarded, 60, Action::DeleteMany);
        add(34, interrupted && self.core.connected, 40, Action::Break);
        add(35, interrupted, 40, Action::Outage);
        add(36, interrupted, 150, Action::Restore);
        add(37, interrupted, 100, Action::Restart);
        add(38, interrupted, 60, Action::Leap);
        add(39, interrupted, 80, Action::ChangeModules);
        add(40, interrupted, 80, Action::LosePermission);
        add(41, lossy, 60, Action::Mute);
        add(42, lossy, 60, Action::Drift);
        add(43, self.core.guard.held_back() > 0, 30, Action::Approve);
        add(44, self.core.modules.modules != self.cmdb.modules, 10, Action::ReadTopology);
    }

    fn act(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Time => {
                let soon = Duration::from_millis(self.chance.rng.u64(..1500));
                self.time_passes(self.core.now + soon);
            }
            Action::Leap => {
                let a_day = self.chance.rng.u8(..8) == 0;
                let long = if a_day {
                    INTERVAL * 12 / 10
                } else {
                    Duration::from_secs(self.chance.rng.u64(60..1200))
                };
                self.time_passes(self.core.now + long);
            }
            Action::Change => self.storage.change(&mut self.chance.rng),
            Action::Burst => {
                for _ in 0..self.chance.rng.usize(5..15) {
                    self.storage.change(&mut self.chance.rng);
                }
            }
            Action::DeleteMany => self.storage.delete_many(&mut self.chance.rng),
            Action::MakeEvent => {
                let lost = self.kind.lossy && self.chance.fault(20);
                self.storage.make_event(&mut self.chance.rng, lost);
            }
            Action::Deliver => self.deliver(),
            Action::Break => self.break_stream(),
            Action::Open => self.open(),
            Action::Subscribe => {
                self.storage.subscribe();
                self.subscribe_at = None;
            }
            Action::Mute => self.storage.mute = !self.storage.mute,
            Action::CheckWatch => {
                if self.core.check_watch() {
                    self.renewals += 1;
                    self.break_stream();
                }
            }
            Action::Gate => self.core.gate_turn(1 + self.chance.rng.usize(..4)),
            Action::Take(shard) => self.core.take_orders(shard, 1 + self.chance.rng.usize(..4)),
            Action::Begin(shard) => self.core.begin(shard),
            Action::CarryOut(shard) => self.carry_out(shard)?,
            Action::Answer(shard) => self.answer(shard)?,
            Action::FullSync => self.full_sync()?,
            Action::Land => {
                let landed = self.cmdb.land_one(&mut self.chance.rng);
                self.note(|_| format!("  landed: {}", told(&landed)));
            }
            Action::Outage => self.outage = !self.outage,
            Action::Restore => {
                self.storage.restore();
                self.break_stream();
            }
            Action::Restart => self.restart(),
            Action::ChangeModules => {
                let modules = [vec![41, 42], vec![41], vec![42]];
                self.cmdb.modules = modules[self.chance.rng.usize(..3)].clone();
            }
            Action::ReadTopology => self.core.take_modules(&self.cmdb.modules),
            Action::LosePermission => self.lose_permission(),
            Action::Drift => self.drift(),
            Action::Approve => self.approve(),
        }
        Ok(())
    }

    pub fn approve(&mut self) {
        self.core.guard.approve();
        self.oracle.approved();
        self.core.schedule.request(Cause::Approved, self.core.now);
    }

    // ---- time ------------------------------------------------------------------------------

    pub fn time_passes(&mut self, to: Moment) {
        self.core.now = to;
        self.cmdb.land_until(to);
    }

    /// Nothing can be done now: on to what is due next. Whether anything ever is.
    fn leap_to_next(&mut self) -> bool {
        let now = self.core.now;
        let shards = self.core.shards.iter().filter_map(|shard| shard.due());
        let schedule = self.core.schedule.next_due();
        let others = [schedule, self.core.mute_due(), self.cmdb.late_due(), self.subscribe_at, self.open_at];
        let due = shards.chain(others.into_iter().flatten()).min();
        let Some(due) = due.filter(|due| *due < now + AT_REST) else { return false };
        self.time_passes(due.max(now));
        true
    }

    // ---- the watch -------------------------------------------------------------------------

    fn deliver(&mut self) {
        let again = self.chance.fault(10);
        let event = self.storage.deliver(&mut self.chance.rng, again);
        self.note(|_| format!("  {}", told_event(&event)));
        self.core.deliver(event);
    }

    fn break_stream(&mut self) {
        self.storage.break_stream(&mut self.chance.rng);
        self.core.connected = false;
        self.subscribe_at = None;
        self.open_at = Some(self.core.now + Duration::from_millis(self.chance.rng.u64(..5000)));
    }

    /// A new stream opens, perhaps at another address; it subscribes some time later.
    fn open(&mut self) {
        self.storage.open_stream();
        self.storage.mute &= self.wild && self.chance.rng.u8(..4) == 0;
        self.open_at = None;
        self.core.stream_opened();
        self.subscribe_at = Some(self.core.now + Duration::from_millis(self.chance.rng.u64(..5000)));
    }

    // ---- what befalls the synchronizer -----------------------------------------------------

    /// All that is known is lost; writes on their way may still land, as late as any.
    fn restart(&mut self) {
        for shard in 0..LANES {
            if let Some((step, None)) = &self.core.shards[shard].flight
                && let Some(write) = self.core.write_of(shard, step)
            {
                self.oracle.doubt_all(&write);
                match self.chance.rng.u8(..3) {
                    0 => drop(self.cmdb.write(&write)),
                    1 => self.cmdb.land_later(write, self.core.now + RECHECK),
                    _ => {}
                }
            }
        }
        let modules = Placement { modules: self.cmdb.modules.clone(), ..self.core.modules.clone() };
        self.core = Core::new(self.core.now, self.chance.rng.u64(..), self.core.settings, modules);
        self.oracle.restarted();
        self.break_stream();
    }

    /// For a while another instance wrote for this cluster.
    fn lose_permission(&mut self) {
        let placement = Placement { modules: self.cmdb.modules.clone(), ..self.core.modules.clone() };
        for pod in self.storage.living() {
            let wanted = fit(&placement.place(pod).record, &self.cmdb.modules);
            let Some(held) = self.cmdb.records.get_mut(&pod.record.uuid).filter(|held| held.is_listed())
            else {
                continue;
            };
            let Some(mut wanted) = wanted.filter(|_| self.chance.rng.bool()) else { continue };
            if wanted.text(Field::HostInnerIp).is_empty() {
                wanted.set_text(Field::HostInnerIp, held.record.text(Field::HostInnerIp));
            }
            self.oracle.doubt(&pod.record.uuid);
            // What it sent last may still be on its way.
            match self.chance.rng.u8(..4) {
                0 => {
                    let late = Write::Update(Box::new(wanted), FieldSet::ALL);
                    self.cmdb.land_later(late, self.core.now + RECHECK);
                }
                _ => held.record = wanted,
            }
        }
        self.core.permission_was_lost();
    }

    /// Somebody changes the CMDB by hand.
    fn drift(&mut self) {
        let uuids: Vec<String> = self.cmdb.listed().map(|record| record.uuid.clone()).collect();
        let Some(uuid) = self.chance.rng.choice(&uuids) else { return };
        self.oracle.doubt(uuid);
        if self.chance.rng.bool() {
            self.cmdb.records.remove(uuid);
        } else if let Some(held) = self.cmdb.records.get_mut(uuid) {
            held.record.set_text(Field::Status, "Unknown");
        }
    }

    // ---- requests --------------------------------------------------------------------------

    fn carry_out(&mut self, shard: usize) -> Result<(), Violation> {
        let Some((step, None)) = self.core.shards[shard].flight.take() else { return Ok(()) };
        self.oracle.requests += 1;
        let answer = match self.core.write_of(shard, &step) {
            Some(write) => {
                self.note(|_| format!("  {}", told(&write)));
                self.oracle.check_write(&step, &write, &self.core, &self.storage, &self.cmdb)?;
                let answer = self.answer_to(&write);
                self.oracle.answered(&write, &answer, self.core.now, &self.storage)?;
                Answer::Written(answer)
            }
            None => {
                self.note(|_| format!("  {step:?}"));
                self.answer_to_read(&step)
            }
        };
        if let Answer::Written(Err(failure)) = &answer {
            self.note(|_| format!("  failed: {failure}"));
        }
        self.core.shards[shard].flight = Some((step, Some(answer)));
        Ok(())
    }

    fn broke(&self, misuse: Misuse) -> bool {
        self.core.settings.broken.is_some_and(|broken| broken.is(misuse))
    }

    fn answer_to(&mut self, write: &Write) -> Written {
        if self.outage {
            return Err(Failure::Unreachable("connection refused".into()));
        }
        let done = |write: &Write| Ok(vec![Ok(()); write.records().len().max(1)]);
        match self.chance.fault_of(7, 28) {
            Some(0) => Err(Failure::Later { code: -1, message: "busy".into() }),
            Some(1) if self.broke(Misuse::FencedIsDone) => done(write),
            Some(1) => Err(Failure::Fenced("lost".into())),
            Some(kind @ (2..=4 | 6)) => {
                self.unanswered(write, kind);
                match () {
                    () if self.broke(Misuse::UnansweredIsDone) => done(write),
                    () if self.broke(Misuse::UnansweredIsUnsent) => {
                        Err(Failure::Unreachable("timeout".into()))
                    }
                    () => Err(Failure::Ambiguous("timeout".into())),
                }
            }
            Some(5) if write.records().len() > 1 => self.partly(write),
            _ => self.cmdb.write(write),
        }
    }

    /// The answer to a write is lost: it took effect, will perhaps do so later, or never.
    fn unanswered(&mut self, write: &Write, kind: u32) {
        self.oracle.doubt_all(write);
        match kind {
            2 => drop(self.cmdb.write(write)),
            3 | 6 => {
                let until = self.core.now + RECHECK - Duration::from_millis(1);
                self.cmdb.land_later(write.clone(), until);
            }
            _ => {}
        }
    }

    /// A create-many of which one item fails.
    fn partly(&mut self, write: &Write) -> Written {
        let mut records = write.records().to_vec();
        let at = self.chance.rng.usize(..records.len());
        records.remove(at);
        let rest = Write::Create(records);
        let mut answer = self.cmdb.write(&rest);
        if let Ok(results) = &mut answer {
            results.insert(at, Err(Failure::Later { code: 1_199_020, message: "insert failed".into() }));
        }
        answer
    }

    fn answer_to_read(&mut self, step: &Step) -> Answer {
        let fails = self.outage || self.chance.fault(16);
        let message = || "no answer".to_owned();
        match step {
            Step::PointRead { .. } if fails && self.broke(Misuse::FailedReadIsGone) => {
                Answer::Read(PointRead::Gone)
            }
            Step::PointRead { .. } if fails => Answer::Read(PointRead::Failed(message())),
            Step::ReadBack { .. } if fails => Answer::Found(Err(Failure::Unreachable(message()))),
            Step::FindHolder { .. } if fails => {
                Answer::Holders(Box::new(Err(Failure::Unreachable(message()))))
            }
            _ => {
                if let Step::PointRead { name, .. } = step {
                    let truth = self.storage.read(name, &self.core.modules);
                    // A read that was never asked proves nothing.
                    if !self.broke(Misuse::SkipPointRead) {
                        self.oracle.read(name, &truth, &self.storage);
                    }
                }
                match self.core.read(step, &self.storage, &self.cmdb) {
                    Some(answer) => answer,
                    None => panic!("{step:?} is no read"),
                }
            }
        }
    }

    fn answer(&mut self, shard: usize) -> Result<(), Violation> {
        let effects = self.core.answer(shard);
        if effects.contains(&Effect::RefreshTopology) && !self.outage {
            self.core.take_modules(&self.cmdb.modules);
        }
        self.oracle.check_effects(&effects, &self.core)
    }

    // ---- full sync -------------------------------------------------------------------------

    fn full_sync(&mut self) -> Result<(), Violation> {
        let Some(full_sync) = &mut self.core.full_sync else {
            self.core.begin_full_sync();
            return Ok(());
        };
        let (stage, causes) = (&mut full_sync.stage, full_sync.causes.clone());
        if self.outage || self.chance.fault(30) {
            let half = matches!(stage, Stage::Cmdb(_));
            if half && self.broke(Misuse::HalfListingCounts) {
                self.list_storage();
            } else {
                self.core.end_full_sync(Outcome::Failed);
            }
            return Ok(());
        }
        match stage {
            Stage::Flush => {
                // A flush has a deadline: sometimes the senders are still at work.
                if self.core.is_idle() || self.chance.rng.u8(..20) == 0 {
                    self.core.ledger.begin_full_sync();
                    let records: Vec<_> = self.cmdb.listed().cloned().collect();
                    self.core.set_stage(Stage::Cmdb(records.chunks(3).map(<[_]>::to_vec).collect()));
                }
            }
            Stage::Cmdb(pages) => match pages.pop() {
                Some(page) => page.iter().for_each(|record| self.core.ledger.stored(record)),
                None => self.list_storage(),
            },
            Stage::Storage(names, read) => match (read.take(), names.pop()) {
                (Some(page), name) => {
                    names.extend(name);
                    self.core.compare(page);
                }
                (None, Some(name)) => self.read_page(&name),
                (None, None) => {
                    let Some(lacking) = self.core.missing() else { return Ok(()) };
                    let periodic = causes.contains(&Cause::Periodic);
                    self.oracle.check_missing(&lacking, periodic, &self.core, &self.storage, &self.cmdb)?;
                    let held_back = lacking.held_back > 0;
                    self.core.end_full_sync(if held_back { Outcome::HeldBack } else { Outcome::Ok });
                }
            },
        }
        Ok(())
    }

    /// The listing of the storage begins; it may be empty by mistake.
    fn list_storage(&mut self) {
        self.core.ledger.end_stored();
        let names = if self.chance.fault(40) { Vec::new() } else { self.storage.names() };
        self.oracle.listing_begins();
        self.core.set_stage(Stage::Storage(names, None));
    }

    /// A page is read, to be compared later. Its document may be missed or come twice.
    fn read_page(&mut self, name: &str) {
        let times = match self.chance.fault_of(2, 20) {
            Some(0) => 0,
            Some(_) => 2,
            None => 1,
        };
        let pod = self.storage.list(name, &self.core.modules);
        let page: Vec<_> = std::iter::repeat_n(pod, times).flatten().collect();
        page.iter().for_each(|pod| self.oracle.listed(pod));
        if let Some(full_sync) = &mut self.core.full_sync
            && let Stage::Storage(_, read) = &mut full_sync.stage
        {
            *read = Some(page);
        }
    }
}

/// A record in a line.
fn record(record: &PodRecord) -> String {
    let texts = [Field::HostInnerIp, Field::WorkloadName, Field::Annotations, Field::Status];
    let texts = texts.map(|field| record.text(field).chars().take(20).collect::<String>());
    format!("{} {} in {} {}", record.uuid, record.name, record.module_id, texts.join("|"))
}

/// An event in a line.
fn told_event(event: &Observation) -> String {
    match event {
        Observation::Pod(pod) => {
            format!("event: {} version {:?} {}", pod.storage_id, pod.version, record(&pod.record))
        }
        Observation::Deleted(hint) => {
            format!("event: {} {} {} deleted", hint.storage_id, hint.uuid, hint.name)
        }
    }
}

/// A write in a line.
fn told(write: &Write) -> String {
    match write {
        Write::Create(records) => format!("create {:?}", records.iter().map(record).collect::<Vec<_>>()),
        Write::Update(wanted, fields) => {
            let names: Vec<_> = fields.iter().map(Field::name).collect();
            format!("update {} to {}", names.join(" "), record(wanted))
        }
        Write::Delete(uuid, biz) => format!("delete {uuid} in business {biz}"),
        Write::DeleteName(name) => format!("delete whatever is called {name}"),
    }
}
