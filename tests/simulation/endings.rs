//! The quiet end of a run: the faults stop, and then everything that was promised must come true.

use super::checks::{Violation, violation};
use super::cmdb::Held;
use super::core::INTERVAL;
use super::driver::Run;
use super::placement::{Placement, alike, fit};
use bcs_bkcmdb_synchronizer::model::{Field, ObservedPod, PodRecord};
use bcs_bkcmdb_synchronizer::plan::{Cause, Standing, Trouble};
use std::time::Duration;

/// One record that meets "busy" may keep the others waiting for so long at most.
const PATIENCE: Duration = Duration::from_secs(120);

impl Run {
    /// The faults stop, and both sides become equal.
    pub fn rest(&mut self) -> Result<(), Violation> {
        self.note(|_| "-- the faults stop".to_owned());
        self.calm_down();
        self.settle()?;
        if self.is_lossy() {
            // Only now: an event from before its pod's lost delete may still have been on its way.
            self.core.schedule.request(Cause::Requested, self.core.now);
            self.settle()?;
        }
        self.equal(None)
    }

    /// What must hold at rest.
    pub fn end(&mut self) -> Result<(), Violation> {
        self.release_held_back()?;
        self.unchanged()?;
        self.untouched()?;
        if self.chance.rng.u8(..3) == 0 {
            self.one_is_busy()?;
        }
        if self.chance.rng.u8(..3) == 0 {
            self.watch_is_mute()?;
        }
        Ok(())
    }

    /// Held-back deletes are carried out once somebody, or a later periodic full sync, confirms them.
    fn release_held_back(&mut self) -> Result<(), Violation> {
        if self.core.guard.held_back() == 0 {
            return Ok(());
        }
        self.note(|_| "-- held-back deletes are released".to_owned());
        if self.chance.rng.bool() {
            self.approve();
            self.settle()?;
        }
        for _ in 0..3 {
            if self.core.guard.held_back() == 0 {
                break;
            }
            self.time_passes(self.core.now + INTERVAL * 11 / 10);
            self.settle()?;
        }
        match self.core.guard.held_back() {
            0 => self.equal(None),
            held => violation(1, format!("{held} deletes are held back for ever")),
        }
    }

    /// Rule 5: a further full sync, of an unchanged cluster, writes nothing.
    fn unchanged(&mut self) -> Result<(), Violation> {
        let unknown = |pod: &ObservedPod| {
            let uuid = &pod.record.uuid;
            self.oracle.is_unheard_of(uuid, &self.core) || self.oracle.is_unread(uuid, &self.storage)
        };
        if self.storage.living().any(unknown) {
            self.note(|_| "-- a full sync finds what nobody could know of".to_owned());
            self.core.schedule.request(Cause::Requested, self.core.now);
            self.settle()?;
        }
        self.note(|_| "-- a full sync of an unchanged cluster".to_owned());
        let writes = self.cmdb.writes;
        self.core.schedule.request(Cause::Requested, self.core.now);
        self.settle()?;
        match self.cmdb.writes - writes {
            0 => Ok(()),
            more => violation(5, format!("a full sync of an unchanged cluster wrote {more} times")),
        }
    }

    /// Rule 5: events that change no field of a record cause no request.
    fn untouched(&mut self) -> Result<(), Violation> {
        self.note(|_| "-- events that change nothing".to_owned());
        let names: Vec<String> = self.storage.living().map(|pod| pod.record.name.clone()).collect();
        // More than the queue holds would be a matter for a full sync.
        let names = &names[..names.len().min(self.core.settings.queue)];
        names.iter().for_each(|name| self.storage.wrote(name));
        let requests = self.oracle.requests;
        self.settle()?;
        match self.oracle.requests - requests {
            0 => Ok(()),
            more => violation(5, format!("events that changed nothing caused {more} requests")),
        }
    }

    /// Rule 7: a record the CMDB has no time for holds nobody else back.
    fn one_is_busy(&mut self) -> Result<(), Violation> {
        let mut pods = self.recorded();
        let at = self.chance.rng.usize(..pods.len().max(1));
        if pods.len() < 2 || self.core.any_paused() {
            return Ok(());
        }
        let (busy, _) = pods.swap_remove(at);
        self.note(|_| format!("-- {busy} meets \"busy\", the others must not"));
        self.cmdb.busy = Some(busy.clone());
        // More than the queue holds would be a matter for a full sync.
        let others = pods.into_iter().map(|(_, name)| name).take(self.core.settings.queue - 1);
        for name in self.names_of(&busy).into_iter().chain(others) {
            self.storage.set_status(&name, "Busy");
        }
        let end = self.core.now + PATIENCE;
        while self.core.now < end {
            if !self.quiet_step()? {
                break;
            }
            if self.core.any_paused() {
                return violation(7, format!("{busy} alone fails, and a whole lane waits"));
            }
        }
        self.equal(Some(&busy))?;
        self.cmdb.busy = None;
        self.settle()?;
        self.equal(None)
    }

    /// Rule 8: a watch that is connected and silent is found by a full sync and renewed.
    fn watch_is_mute(&mut self) -> Result<(), Violation> {
        let pods = self.recorded();
        let Some((uuid, name)) = self.chance.rng.choice(&pods).cloned() else { return Ok(()) };
        if !self.core.connected || !self.core.schedule.is_settled() {
            return violation(8, "at rest without a settled watch");
        }
        self.note(|_| format!("-- the watch is mute while {uuid} changes"));
        self.storage.mute = true;
        self.core.settings.trusting = false;
        self.storage.set_status(&name, "Mute");
        let renewals = self.renewals;
        self.core.schedule.request(Cause::Requested, self.core.now);
        self.settle()?;
        if self.renewals == renewals {
            return violation(8, "the watch was mute, a full sync found what it did not tell, and it stays");
        }
        self.equal(None)
    }

    /// Uuids and names of pods that are recorded as they should be, and could change further.
    fn recorded(&self) -> Vec<(String, String)> {
        let fits = |pod: &&ObservedPod| {
            let wanted = self.wanted(pod);
            let held = self.cmdb.held(&pod.record.uuid);
            let same = |(wanted, held): (&PodRecord, &PodRecord)| alike(wanted, held);
            pod.scheduled && wanted.as_ref().zip(held).is_some_and(same)
        };
        let names = |pod: &ObservedPod| (pod.record.uuid.clone(), pod.record.name.clone());
        self.storage.living().filter(fits).map(names).collect()
    }

    fn names_of(&self, uuid: &str) -> Option<String> {
        let found = self.storage.living().find(|pod| pod.record.uuid == uuid);
        found.map(|pod| pod.record.name.clone())
    }

    /// The record the CMDB should hold for a pod, if it takes any.
    fn wanted(&self, pod: &ObservedPod) -> Option<PodRecord> {
        let modules = &self.cmdb.modules;
        let placement = Placement { modules: modules.clone(), ..self.core.modules.clone() };
        fit(&placement.place(pod).record, modules)
    }

    // ---- rule 1 ----------------------------------------------------------------------------

    /// Both sides hold the same, and what cannot be so is shown (rule 7).
    fn equal(&self, except: Option<&str>) -> Result<(), Violation> {
        let counts = self.core.ledger.counts();
        if counts.pending > usize::from(except.is_some()) {
            return violation(1, format!("still pending: {counts:?}"));
        }
        let troubles = self.core.ledger.troubles();
        let others = self.storage.living().filter(|pod| Some(pod.record.uuid.as_str()) != except);
        for pod in others {
            self.pod_is_equal(pod, &troubles)?;
        }
        let dead = |record: &&PodRecord| !self.storage.is_alive(&record.uuid);
        let kept = |record: &&PodRecord| !self.core.settings.deletes || self.oracle.holds_back(&record.uuid);
        match self.cmdb.listed().find(|record| dead(record) && !kept(record)) {
            Some(record) => violation(1, format!("{} is dead and still recorded", record.uuid)),
            None => Ok(()),
        }
    }

    fn pod_is_equal(&self, pod: &ObservedPod, troubles: &[Trouble]) -> Result<(), Violation> {
        let uuid = &pod.record.uuid;
        let shown = |rejected: bool| {
            troubles.iter().any(|t| t.uuid == *uuid && (t.standing == Standing::Rejected) == rejected)
        };
        let silent = |why: &str| violation(7, format!("{uuid} {why}, and nothing shows it"));
        let there = self.cmdb.records.get(uuid);
        let held = self.cmdb.held(uuid);
        let deletes = self.core.settings.deletes;
        let in_the_way = |other: &Held| other.ours && other.record.name == pod.record.name;
        let foreign = there.is_some_and(|there| !there.ours);
        let blocked = !deletes && held.is_none() && self.cmdb.records.values().any(in_the_way);
        if held.is_none() && !pod.scheduled {
            return Ok(());
        }
        let unheard_of = held.is_none() && self.oracle.is_unheard_of(uuid, &self.core);
        if foreign || blocked {
            return if shown(true) || unheard_of { Ok(()) } else { silent("cannot be recorded") };
        }
        let (wanted, held) = match (self.wanted(pod), held) {
            (None, _) if !pod.scheduled || shown(true) || unheard_of => return Ok(()),
            (None, _) => return silent("is refused"),
            // What stood in the way was removed by hand: as long as the refusal lasts nobody looks.
            (Some(_), None) if self.is_lossy() && shown(true) => return Ok(()),
            (Some(_), None) if unheard_of => return Ok(()),
            (Some(_), None) => return violation(1, format!("{uuid} is not recorded")),
            (Some(wanted), Some(held)) => (wanted, held),
        };
        if held.text(Field::HostInnerIp).is_empty() {
            return violation(1, format!("{uuid} is recorded without a host"));
        }
        if alike(&wanted, held) {
            return match wanted.text(Field::Annotations) == pod.record.text(Field::Annotations)
                || shown(false)
            {
                true if shown(true) => violation(7, format!("{uuid} is recorded and shown as rejected")),
                true => Ok(()),
                false => silent("has a repaired field"),
            };
        }
        let differs = |field: &Field| field.mutable() && wanted.text(*field) != held.text(*field);
        let only_immutable = wanted.module_id == held.module_id
            && !Field::ALL.iter().any(|f| differs(f) && (pod.scheduled || *f != Field::HostInnerIp));
        let taken = self.cmdb.changes_immutable && !self.oracle.was_undone(uuid);
        let can_replace = taken || (deletes && pod.scheduled);
        match only_immutable && !can_replace {
            true if shown(true) => Ok(()),
            true => silent("keeps an old value"),
            false if self.oracle.is_unread(uuid, &self.storage) => Ok(()),
            false => violation(1, format!("{uuid}: wanted {wanted:?}, held {held:?}")),
        }
    }
}
