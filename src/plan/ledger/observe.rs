//! What an observation changes: the decision about every event, listed document and point read.

use super::entry::{Care, Entry, Life};
use super::{
    Acked, Decision, Desired, Ledger, Order, OrderKind, Refusal, Source, TOMBSTONES, Verdict, verify_order,
};
use crate::model::{DeletedPod, Field, ObservedPod, PodRecord};
use crate::plan::event_queue::{QueuedEvent, older};
use crate::plan::mutation::{Mutation, active};
use crate::plan::{FieldSet, Fingerprint, Fingerprinter, Moment};

impl Ledger {
    /// An event that passed the gate.
    pub fn event(&mut self, event: QueuedEvent, now: Moment) -> Decision {
        match (event.hint, event.pod) {
            (Some(hint), pod) => self.hint(&hint, pod.as_deref(), now),
            (None, Some(pod)) if self.may_be_over(&pod, event.doubtful) => {
                let slot = self.entry_of(&pod);
                self.verify(slot, false)
            }
            (None, Some(pod)) => self.observe(*pod, Source::Event, Some(event.received), now),
            (None, None) => Decision::of(Verdict::Stale),
        }
    }

    /// Whether an event may be older than the end of its pod, and that end forgotten or never known.
    /// Where its name is known, what holds that decides.
    fn may_be_over(&self, pod: &ObservedPod, doubtful: bool) -> bool {
        let doubtful = (doubtful && !active(Mutation::BelieveDoubtful)) || self.tombstones >= TOMBSTONES;
        let PodRecord { uuid, namespace, name, .. } = &pod.record;
        doubtful && self.index.by_uuid(uuid).is_none() && self.index.by_name(namespace, name).is_none()
    }

    /// A claim that a pod is gone: whoever it may be about is read.
    fn hint(&mut self, hint: &DeletedPod, pod: Option<&ObservedPod>, now: Moment) -> Decision {
        let named = pod.and_then(|pod| Some((self.index.by_uuid(&pod.record.uuid)?, pod)));
        if let Some((slot, pod)) = named {
            self.note_key(slot, pod);
        }
        // Uuid, `_id` and name may lead to different pods, and the claim may be about any of them.
        let mut known: Vec<u32> = [
            self.index.by_uuid(&hint.uuid),
            self.index.by_id(&hint.storage_id),
            self.index.by_name(&hint.namespace, &hint.name),
            named.map(|(slot, _)| slot),
        ]
        .into_iter()
        .flatten()
        .collect();
        known.sort_unstable();
        known.dedup();
        let some_known = !known.is_empty();
        let life_of = |slot: &u32| self.index.get(*slot).map(|entry| entry.life);
        let is_doomed = |slot: &u32| life_of(slot) == Some(Life::Doomed);
        let is_alive = |slot: &u32| !self.index.get(*slot).is_some_and(Entry::is_dead);
        if known.iter().any(is_alive) {
            known.retain(is_alive);
        } else if let Some(pod) = pod {
            known = vec![self.entry_of(pod)];
        } else {
            known.retain(is_doomed);
        }
        if some_known || !known.is_empty() {
            let entries = known.into_iter().filter_map(|slot| self.index.get(slot));
            let orders: Vec<Order> = entries.map(|entry| verify_order(entry, false)).collect();
            let verdict = if orders.is_empty() { Verdict::Stale } else { Verdict::Verify };
            return Decision { verdict, orders, news: false };
        }
        if !hint.uuid.is_empty() && !hint.name.is_empty() && self.tombstones < TOMBSTONES {
            // The claim may have overtaken the pod's first event: that one is then not believed.
            let mut entry =
                Entry::new(&hint.uuid, &hint.namespace, &hint.name, &hint.storage_id, Acked::Absent);
            entry.life = Life::Tombstone(now);
            self.tombstones += 1;
            self.index.insert(entry);
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
        let record = &pod.record;
        let known = self.index.by_uuid(&record.uuid);
        if let Some(slot) = known {
            self.note_key(slot, &pod);
        }
        let holder = self.index.by_name(&record.namespace, &record.name).filter(|slot| known != Some(*slot));
        if let Some(holder) = holder {
            let dead = self.index.get(holder).is_some_and(Entry::is_dead);
            match source {
                Source::Event if dead && !active(Mutation::BelieveEventUnderDeadName) => {
                    // A late event about another dead pod of that name looks the same.
                    let slot = self.entry_of(&pod);
                    return self.verify(slot, false);
                }
                Source::Event | Source::Listing if !dead => {
                    if active(Mutation::NoSupersede) {
                        return Decision::of(Verdict::Stale);
                    }
                    self.mark_listed(holder, source);
                    let mut decision = self.verify(holder, false);
                    if let Some(slot) = known {
                        self.mark_listed(slot, source);
                        // By the time of that read the name may be a third one's, and this one dead too.
                        let recorded = self.index.get(slot).is_some_and(|e| e.acked != Acked::Absent);
                        if recorded {
                            decision.orders.extend(self.verify(slot, false).orders);
                        }
                    }
                    return decision;
                }
                // Whatever made this pod known beside the other had the other one read too, or its record
                // is gone: a name is recorded once.
                Source::Read if !dead => self.doom_slot(holder),
                _ => {}
            }
        }
        let slot = self.entry_of(&pod);
        let repeated = self.index.get(slot).is_some_and(|entry| entry.listed == self.generation);
        if let Some(verdict) = self.contradiction(slot, &pod, source) {
            return match verdict {
                Verdict::Verify => self.verify(slot, false),
                other => Decision::of(other),
            };
        }
        let before = self.index.get(slot).map(|entry| (entry.life, entry.version, entry.desired));
        let version = pod.version;
        self.accept(slot, &pod);
        let resend = match source {
            // What a listing lacked and nobody read may be in doubt, and nobody on the way to see.
            Source::Event => before.is_some_and(|(life, ..)| life == Life::Extra),
            // A page that repeats a document says nothing new.
            Source::Listing => !repeated,
            Source::Read => true,
        };
        let (verdict, desired) = self.weigh(slot, &mut pod, source, resend, now);
        let mut orders = Vec::new();
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
                    epoch: self.epoch,
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

    /// The entry of a pod, new if need be; names of dead pods lead to it.
    fn entry_of(&mut self, pod: &ObservedPod) -> u32 {
        let record = &pod.record;
        let slot = match self.index.by_uuid(&record.uuid) {
            Some(slot) => {
                self.inherit(slot);
                slot
            }
            None => {
                let (uuid, namespace, name) = (&record.uuid, &record.namespace, &record.name);
                self.insert(Entry::new(uuid, namespace, name, &pod.storage_id, Acked::Absent))
            }
        };
        self.note_key(slot, pod);
        slot
    }

    /// A point read of the pod asks where this document is from now on, believed or not, unless a newer
    /// one was seen.
    fn note_key(&mut self, slot: u32, pod: &ObservedPod) {
        if self.index.get(slot).is_some_and(|entry| !older(pod.version, entry.version)) {
            self.index.set_key(slot, pod.key.as_deref());
        }
    }

    /// Whether what is known contradicts the observation, and what to make of that.
    fn contradiction(&mut self, slot: u32, pod: &ObservedPod, source: Source) -> Option<Verdict> {
        self.mark_listed(slot, source);
        let entry = self.index.get_mut(slot)?;
        let was_gone = entry.is_dead();
        let lower = older(pod.version, entry.version);
        match source {
            Source::Read => None,
            Source::Event if lower => {
                // A read that is on its way may find that versions start low again: then this was newer than it.
                entry.reading &= active(Mutation::TrustReadOverStale);
                Some(Verdict::Stale)
            }
            Source::Listing if lower && active(Mutation::NeverAcceptLower) => Some(Verdict::Stale),
            _ if was_gone || (lower && !active(Mutation::AcceptLowerListing)) => Some(Verdict::Verify),
            _ => None,
        }
    }

    /// The observation is the pod's newest state: names lead to it.
    fn accept(&mut self, slot: u32, pod: &ObservedPod) {
        if !pod.storage_id.is_empty() {
            self.index.set_id(slot, &pod.storage_id);
        }
        self.index.set_key(slot, pod.key.as_deref());
        self.index.own_name(slot);
        let Some(entry) = self.index.get_mut(slot) else { return };
        if matches!(entry.life, Life::Tombstone(_)) {
            self.tombstones -= 1;
        }
        entry.version = pod.version;
        entry.life = Life::Living;
        entry.reading = false;
        let shortened: FieldSet = pod.shortened.iter().copied().collect();
        if entry.care.is_some() || !shortened.is_empty() {
            let shown = if active(Mutation::HideShortened) { FieldSet::EMPTY } else { shortened };
            entry.with_care(|care| care.shortened = shown);
        }
    }

    /// Compares with what is wanted and what is held; a fingerprint means: hand it over. `resend`:
    /// even if it was handed over before, for it may have been lost.
    fn weigh(
        &mut self,
        slot: u32,
        pod: &mut ObservedPod,
        source: Source,
        resend: bool,
        now: Moment,
    ) -> (Verdict, Option<Fingerprint>) {
        let prints = self.prints;
        let Some(entry) = self.index.get_mut(slot) else { return (Verdict::Stale, None) };
        repair(entry, &mut pod.record, &prints);
        let plain = prints.of(&pod.record);
        if !pod.scheduled && !matches!(entry.acked, Acked::Present(_)) {
            return without_host(entry, source);
        }
        if !pod.scheduled && active(Mutation::ForgetHost) {
            return (Verdict::Waiting, None);
        }
        let wanted = beside_held(entry, plain, pod.scheduled);
        if pod.record.module_id == 0 {
            return (unplaced(entry, wanted, now), None);
        }
        let held = entry.acked.is(wanted.total);
        let handed = entry.desired == Some(wanted.total) && !(pod.scheduled && entry.handed_homeless);
        if held && (handed || entry.desired.is_none() || active(Mutation::SuppressAgainstAcked)) {
            entry.desired = Some(wanted.total);
            entry.with_care_if_any(|care| {
                care.settle();
            });
            return (Verdict::Suppressed, None);
        }
        if handed && !resend {
            return (Verdict::Suppressed, None);
        }
        if entry.stays_refused(&wanted, pod.scheduled, now) {
            // A listing of the CMDB that overlapped a write may have left the record in doubt: it is looked at.
            let in_doubt = entry.acked == Acked::Unknown && source == Source::Listing;
            return (if in_doubt { Verdict::Verify } else { Verdict::Refused }, None);
        }
        if entry.refusal().is_some_and(|refusal| !refusal.covers(&wanted, pod.scheduled)) {
            entry.with_care(Care::lift);
        }
        entry.desired = Some(wanted.total);
        entry.handed_homeless = !pod.scheduled;
        (Verdict::Write, Some(wanted))
    }
}

/// What is wanted of a pod whose record alone has this fingerprint, in the light of what is held.
fn beside_held(entry: &mut Entry, plain: Fingerprint, scheduled: bool) -> Fingerprint {
    let Acked::Present(held) = entry.acked else { return plain };
    // A host that was recorded stays: an evicted pod loses it in its document only.
    let wanted = if scheduled { plain } else { plain.keeping(&held, Field::HostInnerIp) };
    if !held.difference(&wanted).is_empty() {
        return wanted;
    }
    if !scheduled {
        return held;
    }
    if entry.kept_host {
        // It has the host again that was kept: that makes the record whole.
        entry.acked = Acked::Present(wanted);
        entry.kept_host = false;
    }
    wanted
}

/// The business has no module for the pod.
fn unplaced(entry: &mut Entry, wanted: Fingerprint, now: Moment) -> Verdict {
    let message = "the business has neither the set and module of its annotations nor the default ones";
    let refusal = Refusal {
        field: Some(Field::ModuleId),
        code: 0,
        message: message.to_owned(),
        since: entry.refusal().map_or(now, |refusal| refusal.since),
        retry_at: now,
        wanted: Some(wanted),
        kept_host: false,
    };
    entry.with_care(|care| care.refusal = Some(refusal));
    entry.desired = None;
    Verdict::Unplaced
}

/// Applies the repairs whose source is unchanged, forgets the others.
fn repair(entry: &mut Entry, record: &mut PodRecord, prints: &Fingerprinter) {
    entry.with_care_if_any(|care| {
        care.repairs.retain(|repair| prints.text(record.text(repair.field)) == repair.source);
        for repair in &mut care.repairs {
            let text = repair.repairs.apply(repair.field, record.text(repair.field));
            record.set_text(repair.field, text);
            repair.result = prints.text(record.text(repair.field));
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
    entry.with_care_if_any(|care| {
        care.settle();
    });
    (Verdict::Waiting, None)
}
