//! One run: a seed decides every interleaving and every fault, then the faults stop and both sides
//! must become equal.

use super::chance::{Case, Chance, WILD};
use super::checks::{Oracle, Violation, violation};
use super::cmdb::Cmdb;
use super::core::{Core, INTERVAL, LANES, Shard, Stage};
use super::kind::{self, Kind};
use super::mutations::{Broken, Misuse};
use super::placement::Placement;
use super::storage::{Generation, Storage};
use super::theme::Theme;
use super::trace;
use bcs_bkcmdb_synchronizer::plan::{Cause, Moment, Step};
use std::time::Duration;

/// Steps a quiet part may take.
const QUIET: u32 = 6000;
/// Milliseconds that pass at once, at most.
pub const PACE: u64 = 1500;
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
    CheckEpoch,
    Drift,
    Approve,
    Sync,
    Rush,
    Recreate,
    Flash,
    Sprint(usize),
    WholeSync,
}

pub struct Run {
    pub chance: Chance,
    pub core: Core,
    pub storage: Storage,
    pub cmdb: Cmdb,
    pub oracle: Oracle,
    case: Case,
    pub kind: Kind,
    pub outage: bool,
    quiet_steps: u32,
    /// When the next stream opens, and when the one that is open subscribes.
    pub open_at: Option<Moment>,
    pub subscribe_at: Option<Moment>,
    /// Watch streams given up because they were mute.
    pub renewals: u32,
    pub wild: bool,
    /// What happened, if anybody wants to know.
    pub trace: Option<Vec<String>>,
}

impl Run {
    pub fn new(case: &Case, broken: Option<Broken>, trace: bool) -> Self {
        let mut chance = Chance::new(case.seed);
        let rng = &mut chance.rng;
        let generation = [Generation::Old, Generation::New][rng.usize(..2)];
        let mut storage = Storage::new(generation, rng.u8(..4) > 0, kind::names(rng));
        let mut cmdb = Cmdb::new(rng.bool());
        let (mut settings, mut kind) = (kind::settings(broken, rng), Kind::of(rng));
        Theme::of(case.seed).set(&mut kind, &mut settings, &mut storage, &mut cmdb);
        // It costs no chance, and leaves the kept cases what they are.
        storage.odd_keys = matches!(case.seed % 10, 1 | 4 | 8) && !kind.interrupted;
        kind.paged = matches!(case.seed % 23, 0 | 1 | 3 | 5 | 7 | 8 | 13 | 14 | 17 | 19..);
        let modules = Placement { modules: cmdb.modules.clone(), text_limit: rng.bool() };
        kind::furnish(&mut storage, &mut cmdb, rng);
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
        run.open();
        run.note(|run| format!("{kind:?} {generation:?} {:?}", run.core.settings));
        run
    }

    /// The whole run; `Err` says what promise was broken.
    pub fn all(&mut self) -> Result<(), Violation> {
        let steps = std::mem::take(&mut self.case.steps);
        let rounds = self.kind.theme.rounds();
        for round in 0..rounds {
            self.wild = true;
            for step in steps.iter().filter(|step| step.number * rounds / WILD == round) {
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
        add(52, core.is_unaware(), Action::CheckEpoch);
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
        let Kind { theme, interrupted, lossy, aimed, patchy, .. } = self.kind;
        let guarded = self.core.settings.guard.percent < 100;
        let paged = matches!(
            self.core.full_sync.as_ref().map(|full_sync| &full_sync.stage),
            Some(Stage::Storage { page, .. }) if !page.is_empty()
        );
        let rng = &mut self.chance.rng;
        let mut add = |key: u64, condition: bool, usual: u8, action: Action| {
            let happens = rng.u8(..theme.one_in(action, usual)) == 0;
            actions.extend((condition && happens).then_some((key, action)));
        };
        add(30, true, 1, Action::Change);
        add(31, true, 3, Action::Change);
        add(32, true, 60, Action::Burst);
        add(33, guarded, 60, Action::DeleteMany);
        add(34, interrupted && self.core.connected, if patchy { 12 } else { 40 }, Action::Break);
        add(35, interrupted, 40, Action::Outage);
        add(36, interrupted, 150, Action::Restore);
        add(37, interrupted, 100, Action::Restart);
        add(38, interrupted, if patchy { 15 } else { 60 }, Action::Leap);
        add(39, interrupted, 80, Action::ChangeModules);
        add(40, interrupted, 80, Action::LosePermission);
        add(41, lossy, 60, Action::Mute);
        add(42, lossy, 60, Action::Drift);
        add(43, self.core.guard.held_back() > 0, 30, Action::Approve);
        add(45, true, 80, Action::Sync);
        add(46, aimed && (theme != Theme::Overlap || paged), 4, Action::Rush);
        add(44, self.core.modules.modules != self.cmdb.modules, 10, Action::ReadTopology);
        if theme == Theme::Nothing {
            return;
        }
        add(47, theme == Theme::Heirs, 8, Action::Recreate);
        add(51, theme == Theme::Drops, 8, Action::Flash);
        add(48, true, 6, Action::Sprint(0));
        add(49, true, 6, Action::Sprint(1));
        let due = self.core.schedule.next_due().is_some_and(|due| due <= self.core.now);
        add(50, self.core.full_sync.is_some() || due, 20, Action::WholeSync);
    }

    fn act(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Time => {
                let pace = if self.wild { self.kind.theme.pace() } else { PACE };
                let soon = Duration::from_millis(self.chance.rng.u64(..pace));
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
            Action::Change => {
                let aim = self.aim();
                self.storage.change(aim.as_deref(), &mut self.chance.rng);
            }
            Action::Burst => {
                for _ in 0..self.chance.rng.usize(5..15) {
                    self.storage.change(None, &mut self.chance.rng);
                }
            }
            Action::DeleteMany => self.storage.delete_many(&mut self.chance.rng),
            Action::MakeEvent => {
                let lost = self.kind.lossy && self.chance.fault(20);
                self.storage.make_event(&mut self.chance.rng, lost);
            }
            Action::Deliver => self.deliver()?,
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
            Action::Gate => {
                let most = 1 + self.chance.rng.usize(..4);
                self.gate_turn(most);
            }
            Action::Take(shard) => self.core.take_orders(shard, 1 + self.chance.rng.usize(..4)),
            Action::Begin(shard) => self.core.begin(shard),
            Action::CarryOut(shard) => self.carry_out(shard)?,
            Action::Answer(shard) => self.answer(shard)?,
            Action::FullSync => self.full_sync()?,
            Action::Land => {
                let landed = self.cmdb.land_one(&mut self.chance.rng);
                self.oracle.doubt_all(&landed);
                self.note(|_| format!("  landed: {}", trace::write(&landed)));
            }
            Action::Outage => self.outage = !self.outage,
            Action::Restore => {
                self.oracle.to_be_restored(&self.core, &self.storage);
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
            Action::CheckEpoch => self.core.check_epoch(),
            Action::Drift => self.drift(),
            Action::Approve => self.approve(),
            Action::Rush => self.rush()?,
            Action::Recreate => self.storage.recreate(&mut self.chance.rng),
            Action::Flash => self.storage.flash(&mut self.chance.rng),
            Action::Sprint(shard) => self.sprint(shard)?,
            Action::WholeSync => self.whole_sync()?,
            Action::Sync => self.core.schedule.request(Cause::Requested, self.core.now),
        }
        Ok(())
    }

    /// A pod something about which is on its way, in a run that is after those.
    fn aim(&mut self) -> Option<String> {
        if !self.kind.aimed || self.chance.rng.u8(..4) == 0 {
            return None;
        }
        let core = &self.core;
        let steps = core.shards.iter().filter_map(|shard| Some(&shard.flight.as_ref()?.0));
        let asked = steps.filter_map(|step| Some(core.ledger.name_of(about(step)?)?.1.to_owned()));
        let read = core.full_sync.iter().flat_map(|full_sync| match &full_sync.stage {
            Stage::Storage { page, .. } => page.as_slice(),
            _ => &[],
        });
        let names: Vec<String> = asked.chain(read.map(|pod| pod.record.name.clone())).collect();
        self.chance.rng.choice(&names).cloned()
    }

    /// A change goes through to the gate at once, and overtakes whatever is on its way.
    fn rush(&mut self) -> Result<(), Violation> {
        match self.aim() {
            Some(name) if self.kind.theme == Theme::Overlap => {
                self.storage.edit(&name, &mut self.chance.rng);
            }
            _ if matches!(self.kind.theme, Theme::Gaps | Theme::Kept) => {
                (0..5).for_each(|_| self.storage.change(None, &mut self.chance.rng));
            }
            aim => self.storage.change(aim.as_deref(), &mut self.chance.rng),
        }
        while self.storage.has_changes() {
            self.storage.make_event(&mut self.chance.rng, false);
        }
        // One that comes twice, or in part, may go on for ever.
        for _ in 0..20 {
            if self.storage.has_events() {
                self.deliver()?;
            }
        }
        if self.core.gate_is_free() {
            self.gate_turn(usize::MAX);
        }
        if self.kind.theme == Theme::Overlap {
            (0..LANES).try_for_each(|shard| self.sprint(shard))?;
        }
        Ok(())
    }

    fn gate_turn(&mut self, most: usize) {
        let passed = self.core.gate_turn(most);
        self.oracle.passed(passed);
    }

    /// A shard does all it can, ahead of everybody else.
    fn sprint(&mut self, shard: usize) -> Result<(), Violation> {
        for _ in 0..20 {
            let Shard { channel, flight, .. } = &self.core.shards[shard];
            match flight {
                Some((_, Some(_))) => self.answer(shard)?,
                Some((_, None)) => self.carry_out(shard)?,
                None if !channel.is_empty() => self.core.take_orders(shard, usize::MAX),
                None if self.core.shards[shard].is_awake(self.core.now) => self.core.begin(shard),
                None => break,
            }
        }
        Ok(())
    }

    /// A full sync gets ahead.
    fn whole_sync(&mut self) -> Result<(), Violation> {
        self.full_sync()?;
        while self.core.full_sync.is_some() && self.chance.rng.u8(..12) > 0 {
            self.full_sync()?;
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
        self.cmdb.land_until(to).iter().for_each(|write| self.oracle.doubt_all(write));
        // Where time goes in leaps, a subscription must not come later than any does.
        if self.kind.theme != Theme::Nothing && self.subscribe_at.is_some_and(|at| at <= to) {
            self.storage.subscribe();
            self.subscribe_at = None;
        }
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
}

/// The pod a step is about.
fn about(step: &Step) -> Option<&str> {
    match step {
        Step::PointRead { uuid, .. }
        | Step::ReadBack { uuid }
        | Step::FindHolder { uuid, .. }
        | Step::Evict { uuid, .. }
        | Step::Update { uuid, .. }
        | Step::Delete { uuid, .. } => Some(uuid),
        Step::Create(uuids) => uuids.first().map(String::as_str),
        Step::Hint(_) | Step::Wait(_) => None,
    }
}
