//! The ledger of one cluster: per pod what the storage last said, what was last handed to a shard
//! (`desired`) and what the CMDB last acknowledged (`acked`).
//!
//! Everything that is known about a pod passes through [`Ledger::observe`], whatever its source, and
//! comes out as an order for a shard or as nothing. Suppression compares with `desired`, never with
//! `acked`: a change back to what the CMDB holds must overtake the change that is still on its way.
//!
//! One point decides whenever two things that were seen contradict each other (two uids under one
//! name, a lower version in a listing, life after a delete): the point read. The orders for that are
//! [`OrderKind::Verify`].

mod entry;
mod index;
mod report;

pub use entry::{Acked, Refusal, Repair};
pub use report::{Counts, Trouble};

use super::event_queue::{QueuedEvent, older};
use super::{FieldSet, Fingerprint, Fingerprinter, Moment};
use crate::convert::repair::Repairs;
use crate::model::{DeletedPod, Field, ObservedPod, PodRecord};
use entry::{Entry, Life};
use index::Index;
use std::time::Duration;

/// How long a deleted uid is remembered: events that overtook its delete arrive within seconds.
const TOMBSTONE_LIFE: Duration = Duration::from_secs(300);
/// Deleted uids remembered at most; 20,000 × 250 bytes are 5 MiB.
const TOMBSTONES: usize = 20_000;

/// Where an observation comes from; it decides what a lower version means (design.md 3, rule 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The watch: a lower version is stale.
    Event,
    /// A full listing: a lower version is read again.
    Listing,
    /// A point read: what it says counts.
    Read,
}

/// A record the CMDB should hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Desired {
    /// The record, repaired where the CMDB refused fields of it before.
    pub record: PodRecord,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
    /// When the event that asked for it arrived; `None` from a listing or a point read.
    pub received: Option<Moment>,
    /// Its document has no host any more: the one the CMDB holds is kept.
    pub keeps_host: bool,
}

/// Work for the shard of a uuid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which pod.
    pub uuid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What to do.
    pub kind: OrderKind,
}

/// What to do about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// Make the CMDB hold this.
    Write(Box<Desired>),
    /// Read the name in the storage; the answer decides.
    Verify {
        /// A complete listing lacked it: finding it shows that listings miss pods.
        missing: bool,
    },
}

/// What an observation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The CMDB must change.
    Write,
    /// A point read decides.
    Verify,
    /// Nothing the CMDB records changed.
    Suppressed,
    /// Older than what is known.
    Stale,
    /// No host yet.
    Waiting,
    /// The business has no module for it.
    Unplaced,
    /// Refused as it is, and not due for another attempt.
    Refused,
    /// A delete of a pod nobody knows.
    UnknownDelete,
}

/// A verdict and the orders that follow.
#[derive(Debug)]
pub struct Decision {
    /// In one word.
    pub verdict: Verdict,
    /// For the shards.
    pub orders: Vec<Order>,
    /// The storage holds something for the CMDB that was not known before.
    pub news: bool,
}

impl Decision {
    fn of(verdict: Verdict) -> Self {
        Self { verdict, orders: Vec::new(), news: false }
    }
}

/// What a complete full sync did not find in the storage.
#[derive(Debug, Default)]
pub struct Missing {
    /// Recorded in the CMDB: each is a claim of a delete, subject to the guard.
    pub recorded: Vec<Order>,
    /// Not recorded: verified, so that a pod a page missed is not forgotten.
    pub unrecorded: Vec<Order>,
    /// Records the CMDB holds for this cluster.
    pub total: usize,
}

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    prints: Fingerprinter,
    index: Index,
    generation: u32,
    tombstones: usize,
}

impl Ledger {
    /// An empty ledger; `seed` is that of the fingerprints.
    pub fn new(prints: Fingerprinter, seed: u64) -> Self {
        Self { prints, index: Index::new(seed), generation: 1, tombstones: 0 }
    }

    /// An event that passed the gate.
    pub fn event(&mut self, event: QueuedEvent, now: Moment) -> Decision {
        match (event.hint, event.pod) {
            (Some(hint), pod) => self.hint(&hint, pod.as_deref(), now),
            (None, Some(pod)) => {
                let source = if event.read { Source::Read } else { Source::Event };
                self.observe(*pod, source, Some(event.received), now)
            }
            (None, None) => Decision::of(Verdict::Stale),
        }
    }

    /// A claim that a pod is gone: whoever it may be about is read.
    fn hint(&mut self, hint: &DeletedPod, pod: Option<&ObservedPod>, now: Moment) -> Decision {
        let known = self
            .index
            .by_uuid(&hint.uuid)
            .or_else(|| self.index.by_id(&hint.storage_id))
            .or_else(|| self.index.by_name(&hint.namespace, &hint.name))
            .or_else(|| pod.and_then(|pod| self.index.by_uuid(&pod.record.uuid)));
        if let Some(slot) = known {
            let dead = self.index.get(slot).is_some_and(|e| matches!(e.life, Life::Tombstone(_)));
            return if dead && pod.is_none() {
                Decision::of(Verdict::Stale)
            } else {
                self.verify(slot, false)
            };
        }
        if let Some(pod) = pod {
            let record = &pod.record;
            let entry =
                Entry::new(&record.uuid, &record.namespace, &record.name, &pod.storage_id, Acked::Absent);
            let slot = self.index.insert(entry);
            return self.verify(slot, false);
        }
        if !hint.uuid.is_empty() && !hint.name.is_empty() && self.tombstones < TOMBSTONES {
            // The claim may have overtaken the pod's first event: that one is then not believed.
            let mut entry = Entry::new(&hint.uuid, &hint.namespace, &hint.name, "", Acked::Absent);
            entry.life = Life::Tombstone(now);
            self.tombstones += 1;
            let slot = self.index.insert(entry);
            self.index.release(slot);
        }
        Decision::of(Verdict::UnknownDelete)
    }

    /// A living pod was seen.
    pub fn observe(
        &mut self,
        mut pod: ObservedPod,
        source: Source,
        received: Option<Moment>,
        now: Moment,
    ) -> Decision {
        let mut orders = Vec::new();
        let record = &pod.record;
        let known = self.index.by_uuid(&record.uuid);
        let holder = self.index.by_name(&record.namespace, &record.name).filter(|slot| known != Some(*slot));
        if let Some(holder) = holder {
            if source != Source::Read {
                self.mark_listed(holder, source);
                return self.verify(holder, false);
            }
            self.release(holder);
            orders.extend(self.verify(holder, false).orders);
        }
        let slot = match known {
            Some(slot) => slot,
            None => self.index.insert(Entry::new(
                &record.uuid,
                &record.namespace,
                &record.name,
                &pod.storage_id,
                Acked::Absent,
            )),
        };
        if let Some(verdict) = self.contradiction(slot, &pod, source) {
            let mut decision = match verdict {
                Verdict::Verify => self.verify(slot, false),
                other => Decision::of(other),
            };
            decision.orders.extend(orders);
            return decision;
        }
        let before = self.index.get(slot).map(|entry| (entry.life, entry.version, entry.desired));
        let version = pod.version;
        self.accept(slot, &pod, source);
        let (verdict, desired) = self.weigh(slot, &mut pod, source, now);
        if let Some(fingerprint) = desired {
            let ObservedPod { record, scheduled, .. } = pod;
            orders.push(Order {
                uuid: record.uuid.clone(),
                namespace: record.namespace.clone(),
                name: record.name.clone(),
                kind: OrderKind::Write(Box::new(Desired {
                    record,
                    fingerprint,
                    received,
                    keeps_host: !scheduled,
                })),
            });
        } else if verdict == Verdict::Verify {
            orders.extend(self.verify(slot, false).orders);
        }
        let seen = match before {
            Some((Life::Living, Some(seen), _)) if version.is_some() => Some(seen) == version,
            Some((Life::Living, _, desired)) => desired.is_some() && desired == self.desired_at(slot),
            _ => false,
        };
        Decision { verdict, orders, news: verdict == Verdict::Write && !seen }
    }

    /// Whether what is known contradicts the observation, and what to make of that.
    fn contradiction(&mut self, slot: u32, pod: &ObservedPod, source: Source) -> Option<Verdict> {
        self.mark_listed(slot, source);
        let entry = self.index.get(slot)?;
        let was_gone = matches!(entry.life, Life::Doomed | Life::Tombstone(_));
        let lower = older(pod.version, entry.version);
        match source {
            Source::Read => None,
            Source::Event if lower => Some(Verdict::Stale),
            _ if was_gone || lower => Some(Verdict::Verify),
            _ => None,
        }
    }

    /// The observation is the pod's newest state: names lead to it.
    fn accept(&mut self, slot: u32, pod: &ObservedPod, source: Source) {
        if !pod.storage_id.is_empty() {
            self.index.set_id(slot, &pod.storage_id);
        }
        self.index.own_name(slot);
        self.mark_listed(slot, source);
        let Some(entry) = self.index.get_mut(slot) else { return };
        if matches!(entry.life, Life::Tombstone(_)) {
            self.tombstones -= 1;
        }
        entry.version = pod.version;
        entry.life = Life::Living;
        let shortened: FieldSet = pod.shortened.iter().copied().collect();
        if entry.care.is_some() || !shortened.is_empty() {
            entry.with_care(|care| care.shortened = shortened);
        }
    }

    /// Compares with what is wanted and what is held; a fingerprint means: hand it over.
    fn weigh(
        &mut self,
        slot: u32,
        pod: &mut ObservedPod,
        source: Source,
        now: Moment,
    ) -> (Verdict, Option<Fingerprint>) {
        let prints = self.prints;
        let Some(entry) = self.index.get_mut(slot) else { return (Verdict::Stale, None) };
        repair(entry, &mut pod.record, &prints);
        let mut wanted = prints.of(&pod.record);
        if !pod.scheduled {
            // A host that was recorded stays: an evicted pod loses it in its document only.
            let Acked::Present(held) = entry.acked else { return without_host(entry, source) };
            wanted = wanted.keeping(&held, Field::HostInnerIp);
            if held.difference(&wanted).is_empty() {
                wanted = held;
            }
        }
        if pod.record.module_id == 0 {
            let refusal = Refusal {
                field: Some(Field::ModuleId),
                code: 0,
                message:
                    "the business has neither the set and module of its annotations nor the default ones"
                        .to_owned(),
                since: entry.refusal().map_or(now, |refusal| refusal.since),
                retry_at: now,
                total: wanted.total,
            };
            entry.with_care(|care| care.refusal = Some(refusal));
            entry.desired = None;
            return (Verdict::Unplaced, None);
        }
        let held = entry.acked.is(wanted.total);
        let handed = entry.desired == Some(wanted.total);
        let not_due = entry.refusal().is_some_and(|r| r.total == wanted.total && now < r.retry_at);
        if held && (handed || entry.desired.is_none()) {
            entry.desired = Some(wanted.total);
            entry.with_care_if_any(|care| care.refusal = None);
            return (Verdict::Suppressed, None);
        }
        if handed && source == Source::Event {
            return (Verdict::Suppressed, None);
        }
        if not_due && source != Source::Read {
            return (Verdict::Refused, None);
        }
        if entry.refusal().is_some_and(|refusal| refusal.total != wanted.total) {
            entry.with_care(|care| care.refusal = None);
        }
        entry.desired = Some(wanted.total);
        (Verdict::Write, Some(wanted))
    }

    /// Orders a point read of an entry.
    fn verify(&self, slot: u32, missing: bool) -> Decision {
        let orders = self.index.get(slot).map(|entry| verify_order(entry, missing)).into_iter().collect();
        Decision { verdict: Verdict::Verify, orders, news: false }
    }

    fn mark_listed(&mut self, slot: u32, source: Source) {
        let generation = self.generation;
        if let (Source::Listing, Some(entry)) = (source, self.index.get_mut(slot)) {
            entry.listed = generation;
        }
    }

    // ---- full sync -------------------------------------------------------------------------

    /// A full sync begins.
    pub fn begin_full_sync(&mut self) {
        self.generation = self.generation.wrapping_add(1).max(1);
    }

    /// The CMDB listing holds this record.
    pub fn stored(&mut self, record: &PodRecord) {
        let fingerprint = self.prints.of(record);
        let generation = self.generation;
        let slot = match self.index.by_uuid(&record.uuid) {
            Some(slot) => slot,
            None => {
                let entry = Entry::new(&record.uuid, &record.namespace, &record.name, "", Acked::Absent);
                self.index.insert(entry)
            }
        };
        let Some(entry) = self.index.get_mut(slot) else { return };
        if entry.written == generation {
            return;
        }
        entry.acked = Acked::Present(fingerprint);
        entry.stored = generation;
        if matches!(entry.life, Life::Tombstone(_)) {
            // A create that was not answered landed after the delete.
            entry.life = Life::Extra;
            self.tombstones -= 1;
        }
    }

    /// The CMDB listing is complete: what it lacks is not there.
    pub fn end_stored(&mut self) {
        let generation = self.generation;
        for entry in self.index.iter_mut().filter(|entry| entry.stored != generation) {
            entry.acked = Acked::Absent;
        }
    }

    /// The storage listing is complete: what it lacks, and what was dead for long is forgotten.
    pub fn missing(&mut self, now: Moment) -> Missing {
        self.sweep(now);
        let generation = self.generation;
        let mut missing = Missing::default();
        for entry in self.index.iter_mut() {
            let recorded = entry.acked != Acked::Absent;
            missing.total += usize::from(recorded);
            if entry.listed == generation || matches!(entry.life, Life::Doomed | Life::Tombstone(_)) {
                continue;
            }
            let order = verify_order(entry, true);
            if recorded {
                entry.life = Life::Extra;
                missing.recorded.push(order);
            } else {
                missing.unrecorded.push(order);
            }
        }
        missing
    }

    fn sweep(&mut self, now: Moment) {
        let expired = |entry: &Entry| matches!(entry.life, Life::Tombstone(since) if now.saturating_sub(since) > TOMBSTONE_LIFE);
        let slots: Vec<u32> = self.index.slots().filter(|(_, e)| expired(e)).map(|(slot, _)| slot).collect();
        self.tombstones -= slots.len();
        slots.into_iter().for_each(|slot| self.index.remove(slot));
    }

    // ---- what the shards learnt ------------------------------------------------------------

    /// What the CMDB holds for a uuid, as far as known.
    pub fn acked(&self, uuid: &str) -> Acked {
        self.index.by_uuid(uuid).and_then(|slot| self.index.get(slot)).map_or(Acked::Absent, |e| e.acked)
    }

    /// The fingerprint that is wanted for a uuid.
    pub fn desired(&self, uuid: &str) -> Option<u64> {
        self.index.by_uuid(uuid).and_then(|slot| self.index.get(slot))?.desired
    }

    fn desired_at(&self, slot: u32) -> Option<u64> {
        self.index.get(slot)?.desired
    }

    /// The namespace and name of a uuid.
    pub fn name_of(&self, uuid: &str) -> Option<(&str, &str)> {
        let entry = self.index.get(self.index.by_uuid(uuid)?)?;
        Some((entry.namespace(), entry.name()))
    }

    /// The storage `_id` of a uuid.
    pub fn storage_id_of(&self, uuid: &str) -> Option<&str> {
        self.index.get(self.index.by_uuid(uuid)?).map(Entry::storage_id).filter(|id| !id.is_empty())
    }

    /// The seed-bound hasher of this ledger.
    pub fn prints(&self) -> Fingerprinter {
        self.prints
    }

    /// The CMDB acknowledged a write: it holds this.
    pub fn written(&mut self, uuid: &str, fingerprint: Fingerprint) {
        self.learn(uuid, Acked::Present(fingerprint));
        if let Some(entry) = self.entry_mut(uuid) {
            entry.with_care_if_any(|care| care.refusal = None);
        }
    }

    /// What is now known of the CMDB's record.
    pub fn learn(&mut self, uuid: &str, acked: Acked) {
        let generation = self.generation;
        if let Some(entry) = self.entry_mut(uuid) {
            entry.acked = acked;
            entry.stored = generation;
            entry.written = generation;
        }
    }

    /// A record this ledger does not know was found in the CMDB.
    pub fn adopt(&mut self, uuid: &str, namespace: &str, name: &str, fingerprint: Fingerprint) {
        if self.index.by_uuid(uuid).is_none() {
            self.index.insert(Entry::new(uuid, namespace, name, "", Acked::Absent));
        }
        self.learn(uuid, Acked::Present(fingerprint));
        if let Some(entry) = self.entry_mut(uuid).filter(|entry| matches!(entry.life, Life::Tombstone(_))) {
            entry.life = Life::Extra;
            self.tombstones -= 1;
        }
    }

    /// The pod is proven gone: its name is free for another.
    pub fn doom(&mut self, uuid: &str) {
        if let Some(slot) = self.index.by_uuid(uuid) {
            self.release(slot);
        }
    }

    fn release(&mut self, slot: u32) {
        self.index.release(slot);
        if let Some(entry) = self.index.get_mut(slot).filter(|e| !matches!(e.life, Life::Tombstone(_))) {
            entry.life = Life::Doomed;
            entry.desired = None;
            entry.care = None;
        }
    }

    /// The record of a doomed pod is deleted (or never was): only its memory stays for a while.
    pub fn removed(&mut self, uuid: &str, now: Moment) {
        self.learn(uuid, Acked::Absent);
        let full = self.tombstones >= TOMBSTONES;
        let Some(slot) = self.index.by_uuid(uuid) else { return };
        let Some(entry) = self.index.get_mut(slot) else { return };
        match entry.life {
            Life::Tombstone(_) => {}
            _ if full => self.index.remove(slot),
            _ => {
                entry.life = Life::Tombstone(now);
                self.tombstones += 1;
            }
        }
    }

    /// Whether the record as it is wanted is refused.
    pub fn is_refused(&self, uuid: &str) -> bool {
        self.index.by_uuid(uuid).and_then(|slot| self.index.get(slot)).is_some_and(|e| e.refusal().is_some())
    }

    /// The record could not be written and will not be for now.
    pub fn refused(&mut self, uuid: &str, mut refusal: Refusal) {
        if let Some(entry) = self.entry_mut(uuid) {
            if let Some(old) = entry.refusal() {
                refusal.since = old.since;
            }
            entry.with_care(|care| care.refusal = Some(refusal));
        }
    }

    /// The repairs a field of a pod has so far.
    pub fn repairs_of(&self, uuid: &str, field: Field) -> Repairs {
        let entry = self.index.by_uuid(uuid).and_then(|slot| self.index.get(slot));
        let care = entry.and_then(|entry| entry.care.as_ref());
        let found = care.and_then(|care| care.repairs.iter().find(|repair| repair.field == field));
        found.map_or_else(Repairs::default, |repair| repair.repairs)
    }

    /// A field of `desired` is written repaired from now on, until its source changes.
    pub fn repaired(
        &mut self,
        uuid: &str,
        field: Field,
        repairs: Repairs,
        code: i64,
        desired: &mut Desired,
        now: Moment,
    ) {
        let prints = self.prints;
        let Some(entry) = self.entry_mut(uuid) else { return };
        let unrepaired = desired.record.text(field);
        entry.with_care(|care| match care.repairs.iter_mut().find(|repair| repair.field == field) {
            Some(repair) => {
                repair.repairs = repairs;
                repair.code = code;
            }
            None => {
                let source = prints.text(unrepaired);
                care.repairs.push(Repair { field, repairs, source, code, since: now });
            }
        });
        let text = repairs.apply(field, unrepaired);
        desired.record.set_text(field, text);
        desired.fingerprint = prints.of(&desired.record);
        entry.desired = Some(desired.fingerprint.total);
    }

    fn entry_mut(&mut self, uuid: &str) -> Option<&mut Entry> {
        let slot = self.index.by_uuid(uuid)?;
        self.index.get_mut(slot)
    }
}

impl Entry {
    fn with_care_if_any(&mut self, change: impl FnOnce(&mut entry::Care)) {
        if self.care.is_some() {
            self.with_care(change);
        }
    }
}

/// Applies the repairs whose source is unchanged, forgets the others.
fn repair(entry: &mut Entry, record: &mut PodRecord, prints: &Fingerprinter) {
    entry.with_care_if_any(|care| {
        care.repairs.retain(|repair| prints.text(record.text(repair.field)) == repair.source);
        for repair in &care.repairs {
            let text = repair.repairs.apply(repair.field, record.text(repair.field));
            record.set_text(repair.field, text);
        }
    });
}

/// A pod without a host and without a record.
fn without_host(entry: &mut Entry, source: Source) -> (Verdict, Option<Fingerprint>) {
    if entry.desired.is_some() && source != Source::Read {
        // A create with its host may be on its way.
        return (Verdict::Verify, None);
    }
    entry.desired = None;
    entry.life = Life::Unscheduled;
    (Verdict::Waiting, None)
}

fn verify_order(entry: &Entry, missing: bool) -> Order {
    Order {
        uuid: entry.uuid().to_owned(),
        namespace: entry.namespace().to_owned(),
        name: entry.name().to_owned(),
        kind: OrderKind::Verify { missing },
    }
}

impl Order {
    /// Which of so many shards does it.
    pub fn shard(&self, shards: usize) -> usize {
        super::fingerprint::shard_of(&self.uuid, shards)
    }
}
