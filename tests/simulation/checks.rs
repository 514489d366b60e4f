//! What must hold at every step (design.md 3), judged by what storage and CMDB really hold.

use super::chance::Case;
use super::cmdb::{Cmdb, OUR_BIZ, Write, Written};
use super::core::{Core, deletes_for_good};
use super::placement::fit;
use super::storage::Storage;
use bcs_bkcmdb_synchronizer::model::{Field, ObservedPod, PodRecord};
use bcs_bkcmdb_synchronizer::plan::{
    Acked, Effect, Failure, FieldSet, Lacking, Moment, Order, OrderKind, PointRead, Proof, Step,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// For so long a refused record that did not change is left alone.
const REFUSED_FOR: Duration = Duration::from_secs(3600);
/// Times it may be tried: its module is looked up once, and a second order may be on its way when the
/// first is refused.
const TRIED: u32 = 4;

/// A broken promise: the rule of design.md 3, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub rule: u8,
    pub what: String,
}

pub fn violation<T>(rule: u8, what: impl Into<String>) -> Result<T, Violation> {
    Err(Violation { rule, what: what.into() })
}

/// A violation and the run that came to it.
#[derive(Debug)]
pub struct Failed {
    pub case: Case,
    pub violation: Violation,
}

/// A record that was refused for good: what was sent, after how many versions of the pod, when and how
/// often.
struct Refused {
    record: PodRecord,
    versions: usize,
    at: Moment,
    times: u32,
}

/// What was so when the permission to write came back, and was learnt since.
struct Interruption {
    /// Versions of each pod there were.
    versions: BTreeMap<String, usize>,
    /// Uuids the storage has shown since, and those of events that passed after a full sync took over.
    confirmed: BTreeSet<String>,
    /// A full sync took the cluster over.
    over: bool,
}

/// The uuid of a pod that was dead before the run, under that name.
pub fn dead_uuid(name: &str) -> String {
    format!("dead-{name}")
}

/// What an observer who sees everything remembers.
#[derive(Default)]
pub struct Oracle {
    /// Per uuid the oldest place in its history that the newest acknowledged record can stand for.
    acknowledged: BTreeMap<String, usize>,
    /// Uuids a point read has shown to be gone.
    proven: BTreeSet<String>,
    /// Uuids whose record somebody else, or a write without an answer, may have changed.
    doubtful: BTreeSet<String>,
    refused: BTreeMap<String, Refused>,
    /// Uuids whose record was gone when it should be updated: not created again without a look.
    vanished: BTreeSet<String>,
    /// Uuids the last complete listing missed, of which the ledger knew nothing.
    unheard: BTreeSet<String>,
    /// Uuids whose version is lower than the one the synchronizer knows, since the storage was restored.
    lowered: BTreeSet<String>,
    /// A point read found what a listing missed, and no listing has been complete since.
    relist_owed: bool,
    /// Deletes that are held back, and since when.
    held: BTreeMap<String, Moment>,
    /// Uuids of records the last complete listing lacked with so many others that none was read, and how
    /// many versions of the pod there were.
    unread: BTreeMap<String, usize>,
    /// Uuids an immutable field of whose record was updated, and whether anybody else, or a write without
    /// an answer, wrote the record since.
    immutable: BTreeMap<String, bool>,
    /// Uuids whose record was written by somebody else between such an update and the look whether it was
    /// taken.
    undone: BTreeSet<String>,
    approved: bool,
    /// The last interruption of the permission to write.
    interruption: Option<Interruption>,
    /// Names and uuids the listing that is on has shown.
    listed: BTreeSet<String>,
    /// Requests to anybody on behalf of one pod.
    pub requests: u64,
}

impl Oracle {
    /// Its record may be anything from now on.
    pub fn doubt(&mut self, uuid: &str) {
        self.doubtful.insert(uuid.to_owned());
        if let Some(overwritten) = self.immutable.get_mut(uuid) {
            *overwritten = true;
        }
    }

    /// The same for all a write is about.
    pub fn doubt_all(&mut self, write: &Write) {
        let deleted = match write {
            Write::Delete(uuid, _) => Some(uuid),
            _ => None,
        };
        let written = write.records().iter().map(|record| &record.uuid);
        written.chain(deleted).for_each(|uuid| self.doubt(uuid));
    }

    /// The synchronizer forgot everything.
    pub fn restarted(&mut self) {
        self.refused.clear();
        self.vanished.clear();
        self.lowered.clear();
        self.relist_owed = false;
        self.held.clear();
        self.unread.clear();
        self.immutable.clear();
        self.undone.clear();
        self.approved = false;
        self.interruption = None;
    }

    // ---- interruptions of the permission to write ------------------------------------------

    /// The permission to write was lost and is back.
    pub fn interrupted(&mut self, storage: &Storage) {
        let versions = storage.history.keys().map(|uuid| (uuid.clone(), storage.versions_of(uuid))).collect();
        self.interruption = Some(Interruption { versions, confirmed: BTreeSet::new(), over: false });
    }

    /// A full sync that began after the last interruption took the cluster over.
    pub fn took_over(&mut self) {
        self.interruption.iter_mut().for_each(|interruption| interruption.over = true);
    }

    /// Events about these passed the gate.
    pub fn passed(&mut self, uuids: Vec<String>) {
        if let Some(interruption) = self.interruption.as_mut().filter(|interruption| interruption.over) {
            interruption.confirmed.extend(uuids);
        }
    }

    fn confirmed(&mut self, uuid: &str) {
        if let Some(interruption) = &mut self.interruption {
            interruption.confirmed.insert(uuid.to_owned());
        }
    }

    /// Rule 3: what was decided before an interruption is not written after it. Somebody else may have
    /// written a newer version, or the pod be gone.
    fn check_interruption(&self, record: &PodRecord, storage: &Storage) -> Result<(), Violation> {
        let Some(interruption) = &self.interruption else { return Ok(()) };
        let uuid = &record.uuid;
        if !interruption.confirmed.contains(uuid) {
            return violation(3, format!("{uuid} is written as it was wanted before an interruption"));
        }
        if interruption.over || storage.restored || !storage.versions {
            return Ok(());
        }
        match (places(record, storage).last(), interruption.versions.get(uuid)) {
            (Some(newest), Some(versions)) if newest + 1 < *versions => violation(
                3,
                format!("{uuid}: version {newest} after an interruption, when there were {versions}"),
            ),
            _ => Ok(()),
        }
    }

    /// A point read was answered. It says nothing about pods whose documents are kept elsewhere.
    pub fn read(&mut self, key: &str, answer: &PointRead, storage: &Storage) {
        let Some(name) = storage.name_under(key) else { return };
        let found = match answer {
            PointRead::Gone => None,
            PointRead::Pod(pod) => Some(pod.record.uuid.as_str()),
            PointRead::Unusable(_) | PointRead::Failed(_) => return,
        };
        if let Some(found) = found {
            self.vanished.remove(found);
            self.lowered.remove(found);
            self.confirmed(found);
        }
        let has_name = |record: &PodRecord| record.name == name;
        let ever = storage.history.iter().filter(|(_, records)| records.first().is_some_and(has_name));
        let gone = ever.map(|(uuid, _)| uuid).filter(|uuid| Some(uuid.as_str()) != found);
        self.proven.extend(gone.cloned());
        self.proven.insert(dead_uuid(name));
    }

    /// The storage is restored from an earlier time: what the synchronizer knows will have lower versions,
    /// unless it was restored before.
    pub fn to_be_restored(&mut self, core: &Core, storage: &Storage) {
        let telling = storage.versions && !storage.restored;
        let uuids = storage.living().map(|pod| &pod.record.uuid);
        let known = uuids.filter(|uuid| telling && core.ledger.desired(uuid).is_some());
        self.lowered.extend(known.cloned());
    }

    /// Rule 2: a listed document with a lower version is read before it counts.
    pub fn check_compared(&self, lower: &[String], orders: &[Order]) -> Result<(), Violation> {
        let mut written = orders.iter().filter(|order| matches!(order.kind, OrderKind::Write(_)));
        let unread = |uuid: &String| lower.contains(uuid) && self.lowered.contains(uuid);
        match written.find_map(|order| Some(&order.uuid).filter(|uuid| unread(uuid))) {
            Some(uuid) => violation(2, format!("{uuid} is listed with a lower version, and not read")),
            None => Ok(()),
        }
    }

    // ---- writes ----------------------------------------------------------------------------

    /// A write is about to be sent.
    pub fn check_write(
        &mut self,
        step: &Step,
        write: &Write,
        core: &Core,
        storage: &Storage,
        cmdb: &Cmdb,
    ) -> Result<(), Violation> {
        self.check_delete(step, write, core, storage, cmdb)?;
        for record in write.records() {
            let fields = match write {
                Write::Update(_, fields) => *fields,
                _ => FieldSet::ALL,
            };
            if fields.contains(Field::HostInnerIp) && record.text(Field::HostInnerIp).is_empty() {
                return violation(1, format!("{} is written without a host", record.uuid));
            }
            self.check_order(record, storage)?;
            self.check_interruption(record, storage)?;
            if matches!(write, Write::Create(_)) && self.vanished.contains(&record.uuid) {
                let uuid = &record.uuid;
                return violation(1, format!("{uuid} vanished, and is created again without a look"));
            }
        }
        match (write, step) {
            // Nobody can tell how a record with a kept host looks as a whole: then all is sent.
            (Write::Update(record, _), Step::Update { fields: FieldSet::ALL, .. })
                if lost_its_host(record, storage) => {}
            (Write::Update(record, fields), _) => self.check_need(record, *fields, cmdb)?,
            _ => {}
        }
        Ok(())
    }

    /// Rule 4.
    fn check_delete(
        &self,
        step: &Step,
        write: &Write,
        core: &Core,
        storage: &Storage,
        cmdb: &Cmdb,
    ) -> Result<(), Violation> {
        let victims: Vec<&str> = match write {
            Write::Delete(uuid, biz) if *biz == OUR_BIZ => vec![uuid.as_str()],
            Write::DeleteName(name) => {
                let same = cmdb.listed().filter(|record| record.name == *name);
                same.map(|record| record.uuid.as_str()).collect()
            }
            Write::Delete(..) => Vec::new(),
            Write::Create(_) | Write::Update(..) => return Ok(()),
        };
        if !core.settings.deletes {
            return violation(4, "deleted although only upserts are allowed");
        }
        if let Some(uuid) = deletes_for_good(step)
            && !self.proven.contains(uuid)
        {
            return violation(4, format!("deleted {uuid} without a point read that shows it is gone"));
        }
        let replaced = match step {
            Step::Delete { uuid, proof: Proof::Replaced } => Some(uuid.as_str()),
            _ => None,
        };
        if let Some(uuid) = replaced.filter(|uuid| cmdb.changes_immutable && !self.doubtful.contains(*uuid)) {
            return violation(4, format!("replaced {uuid}, whose fields can all be updated"));
        }
        match victims.into_iter().find(|uuid| Some(*uuid) != replaced && storage.is_alive(uuid)) {
            Some(uuid) => violation(4, format!("deleted {uuid}, which is alive")),
            None => Ok(()),
        }
    }

    /// Rule 2. Without versions nobody can tell an old event; versions that start low again make one
    /// of before pass for new. A later event, or the full sync, puts that right.
    fn check_order(&self, record: &PodRecord, storage: &Storage) -> Result<(), Violation> {
        if storage.restored || !storage.versions {
            return Ok(());
        }
        let newest = places(record, storage).last();
        match (newest, self.acknowledged.get(&record.uuid)) {
            (Some(newest), Some(known)) if newest < *known => {
                violation(2, format!("{}: version {newest} after {known} was acknowledged", record.uuid))
            }
            _ => Ok(()),
        }
    }

    /// Rule 5: an update sends what differs. What an update cannot change it may try.
    fn check_need(&self, record: &PodRecord, fields: FieldSet, cmdb: &Cmdb) -> Result<(), Violation> {
        let Some(held) = cmdb.held(&record.uuid).filter(|_| !self.doubtful.contains(&record.uuid)) else {
            return Ok(());
        };
        let same = |field: &Field| match field {
            Field::ModuleId => record.module_id == held.module_id,
            Field::CloudId => record.cloud_id == held.cloud_id,
            _ => record.text(*field) == held.text(*field),
        };
        match fields.iter().find(|field| field.mutable() && same(field)) {
            Some(field) => {
                violation(5, format!("{}: {} is sent and held already", record.uuid, field.name()))
            }
            None => Ok(()),
        }
    }

    /// A write was answered.
    pub fn answered(
        &mut self,
        write: &Write,
        answer: &Written,
        now: Moment,
        storage: &Storage,
    ) -> Result<(), Violation> {
        let one = answer.as_ref().err().map(|failure| vec![Err(failure.clone())]);
        let results = answer.as_ref().ok().or(one.as_ref()).map_or(&[][..], Vec::as_slice);
        for (record, result) in write.records().iter().zip(results) {
            match result {
                Ok(()) => {
                    self.acknowledged(record, storage);
                    if matches!(write, Write::Update(_, fields) if fields.iter().any(|field| !field.mutable()))
                    {
                        self.immutable.insert(record.uuid.clone(), false);
                    }
                }
                Err(Failure::Refused { .. }) => self.check_refused(record, now, storage)?,
                Err(Failure::NotFound) => {
                    self.vanished.insert(record.uuid.clone());
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn acknowledged(&mut self, record: &PodRecord, storage: &Storage) {
        self.refused.remove(&record.uuid);
        if let Some(oldest) = places(record, storage).next() {
            let known = self.acknowledged.entry(record.uuid.clone()).or_default();
            *known = oldest.max(*known);
        }
    }

    // ---- refusals --------------------------------------------------------------------------

    /// Rule 7: what is refused is not tried again at once.
    fn check_refused(&mut self, record: &PodRecord, now: Moment, storage: &Storage) -> Result<(), Violation> {
        let uuid = &record.uuid;
        let versions = storage.versions_of(uuid);
        let again = |old: &&Refused| {
            old.record == *record && old.versions == versions && now.saturating_sub(old.at) < REFUSED_FOR
        };
        let telling = storage.versions && !storage.restored && !self.doubtful.contains(uuid);
        let before = self.refused.get(uuid).filter(again).filter(|_| telling);
        let times = 1 + before.map_or(0, |old| old.times);
        if times > TRIED {
            return violation(7, format!("{uuid} was refused {times} times though nothing changed"));
        }
        let at = before.map_or(now, |old| old.at);
        self.refused.insert(uuid.clone(), Refused { record: record.clone(), versions, at, times });
        Ok(())
    }

    /// Rule 7: what is refused is shown.
    pub fn check_effects(&mut self, effects: &[Effect], core: &Core) -> Result<(), Violation> {
        self.relist_owed |= effects.contains(&Effect::ListingMissed);
        for effect in effects {
            if let Effect::Refused { uuid, .. } = effect
                && !core.ledger.is_refused(uuid)
            {
                return violation(7, format!("{uuid} was refused, and nothing shows it"));
            }
            if let Effect::Refused { uuid, .. } = effect
                && core.ledger.desired(uuid).is_some_and(|wanted| core.ledger.acked(uuid).is(wanted))
            {
                return violation(7, format!("{uuid} is as it is wanted, and counts as refused"));
            }
        }
        Ok(())
    }

    /// Rules 1 and 5 rest on it: what was written is known as it is, but for what an update may leave.
    /// Otherwise the next change is not sent, or sent though it is there.
    pub fn check_belief(&self, effects: &[Effect], core: &Core, cmdb: &Cmdb) -> Result<(), Violation> {
        for effect in effects {
            if let Effect::Wrote { uuid, .. } = effect
                && let (Acked::Present(known), Some(held)) = (core.ledger.acked(uuid), cmdb.held(uuid))
                && !self.doubtful.contains(uuid)
                && known.difference(&core.prints().of(held)).iter().any(|field| field.mutable())
            {
                return violation(1, format!("{uuid} was written, and its record is taken for another one"));
            }
        }
        Ok(())
    }

    /// The lane has looked at a record. If it is refused now, an update of an immutable field may seem not to
    /// have been taken.
    pub fn looked_at(&mut self, uuid: &str, core: &Core) {
        match self.immutable.get(uuid).filter(|_| core.ledger.is_refused(uuid)) {
            Some(true) => drop(self.undone.insert(uuid.to_owned())),
            Some(false) => drop(self.undone.remove(uuid)),
            None => {}
        }
    }

    /// Whether somebody else undid an update of an immutable field before anybody could see that it was taken.
    pub fn was_undone(&self, uuid: &str) -> bool {
        self.undone.contains(uuid)
    }

    // ---- the delete guard ------------------------------------------------------------------

    pub fn listing_begins(&mut self) {
        self.listed.clear();
    }

    pub fn listed(&mut self, pod: &ObservedPod) {
        self.listed.extend([pod.record.uuid.clone(), pod.record.name.clone()]);
        self.confirmed(&pod.record.uuid);
    }

    /// Whether nobody could know of this pod: no event told of it, and the last listing missed it
    /// (protocol.md 1.1). Where a listing is known to miss pods, another one is owed.
    pub fn is_unheard_of(&self, uuid: &str, core: &Core) -> bool {
        !self.relist_owed && self.unheard.contains(uuid) && core.ledger.name_of(uuid).is_none()
    }

    /// The operator looked at what is held back, and agrees.
    pub fn approved(&mut self) {
        self.approved = !self.held.is_empty();
    }

    pub fn holds_back(&self, uuid: &str) -> bool {
        self.held.contains_key(uuid)
    }

    /// Whether nobody could know how this pod looks: the last listing lacked it with so many others that none
    /// was read, and it has not changed since.
    pub fn is_unread(&self, uuid: &str, storage: &Storage) -> bool {
        self.unread.get(uuid) == Some(&storage.versions_of(uuid))
    }

    /// Rule 4, its second half: what a full sync may do about missing records.
    pub fn check_missing(
        &mut self,
        lacking: &Lacking,
        periodic: bool,
        core: &Core,
        storage: &Storage,
        cmdb: &Cmdb,
    ) -> Result<(), Violation> {
        let uuids = storage.living().map(|pod| &pod.record.uuid);
        let unheard = |uuid: &&String| !self.listed.contains(*uuid) && core.ledger.name_of(uuid).is_none();
        self.unheard = uuids.filter(unheard).cloned().collect();
        self.relist_owed = false;
        let limits = core.settings.guard;
        let is_above =
            |count: usize| count > limits.min && count * 100 > limits.percent as usize * lacking.total;
        let recorded = |uuid: &String| core.ledger.acked(uuid) != Acked::Absent;
        let shown = |uuid: &String| {
            let name = core.ledger.name_of(uuid).map_or("", |(_, name)| name);
            self.listed.contains(uuid) || self.listed.contains(name)
        };
        let known: BTreeSet<&String> = storage.history.keys().chain(cmdb.records.keys()).collect();
        let lacks: Vec<&String> = known.into_iter().filter(|uuid| recorded(uuid) && !shown(uuid)).collect();
        if !core.settings.deletes {
            // What is read then is not deleted.
            let unread = lacks.iter().filter(|_| is_above(lacks.len()));
            self.unread = unread.map(|uuid| ((*uuid).clone(), storage.versions_of(uuid))).collect();
            return Ok(());
        }
        let of_kind = |claim: bool| {
            let orders = lacking.orders.iter();
            let kind = OrderKind::Verify { missing: claim };
            orders
                .filter(move |order| order.kind == kind)
                .map(|order| &order.uuid)
                .filter(|uuid| recorded(uuid))
        };
        let carried: BTreeSet<&String> = of_kind(true).collect();
        let doomed: BTreeSet<&String> = of_kind(false).collect();
        let above = is_above(carried.len() + lacking.held_back);
        let confirmed = |since: &Moment| periodic && core.now.saturating_sub(*since) >= limits.interval;
        let may = |uuid: &String| self.held.get(uuid).is_some_and(|since| self.approved || confirmed(since));
        if let Some(uuid) = carried.iter().find(|uuid| above && !may(uuid)) {
            return violation(4, format!("the delete of {uuid} should have been held back"));
        }
        let held =
            lacks.into_iter().filter(|uuid| above && !carried.contains(uuid) && !doomed.contains(uuid));
        let held: BTreeMap<String, Moment> =
            held.map(|uuid| (uuid.clone(), self.held.get(uuid).copied().unwrap_or(core.now))).collect();
        self.unread = held.keys().map(|uuid| (uuid.clone(), storage.versions_of(uuid))).collect();
        self.held = held;
        self.approved = false;
        Ok(())
    }
}

/// The places in its history at which the pod looked like this, as far as a record tells: its module
/// depends on the topology, and an evicted pod keeps its host.
fn places<'a>(record: &'a PodRecord, storage: &'a Storage) -> impl DoubleEndedIterator<Item = usize> + 'a {
    let history = storage.history.get(&record.uuid).map_or(&[][..], Vec::as_slice);
    history.iter().enumerate().filter(|(_, old)| looks_like(old, record)).map(|(at, _)| at)
}

fn looks_like(old: &PodRecord, record: &PodRecord) -> bool {
    Field::ALL.into_iter().all(|field| {
        let (was, is) = (old.text(field), record.text(field));
        match field {
            Field::HostInnerIp => was.is_empty() || was == is,
            Field::Annotations => was == is || repaired(old) == is,
            _ => was == is,
        }
    })
}

fn lost_its_host(record: &PodRecord, storage: &Storage) -> bool {
    let history = storage.history.get(&record.uuid).map_or(&[][..], Vec::as_slice);
    history.iter().any(|old| old.text(Field::HostInnerIp).is_empty())
}

/// The annotations as the CMDB takes them.
fn repaired(old: &PodRecord) -> String {
    let mut alone = PodRecord::default();
    alone.set_text(Field::Annotations, old.text(Field::Annotations));
    fit(&alone, &[0]).map(|record| record.text(Field::Annotations).to_owned()).unwrap_or_default()
}
