//! Both listings of a full sync against the ledger: what is recorded, what is missing.

use super::entry::{Entry, Keys, Life};
use super::{Acked, Ledger, Missing, Order, Source, verify_order};
use crate::model::PodRecord;
use crate::plan::event_queue::LATEST;
use crate::plan::mutation::{Mutation, active};
use crate::plan::{Fingerprint, Fingerprinter, Moment};

/// What is to be known of a record the CMDB holds, once it was read: a page of these takes a tenth
/// of the memory of its records.
#[derive(Debug)]
pub struct SeenRecord {
    keys: Keys,
    fingerprint: Fingerprint,
}

impl SeenRecord {
    /// What is to be known of that record.
    pub fn of(record: &PodRecord, prints: &Fingerprinter) -> Self {
        let keys = Keys::new(&record.uuid, &record.namespace, &record.name, "");
        Self { keys, fingerprint: prints.of(record) }
    }

    fn uuid(&self) -> &str {
        self.keys.part(0)
    }

    fn namespace(&self) -> &str {
        self.keys.part(1)
    }

    fn name(&self) -> &str {
        self.keys.part(2)
    }
}

impl Ledger {
    /// A full sync begins.
    pub fn begin_full_sync(&mut self) {
        self.generation = self.generation.wrapping_add(1).max(1);
    }

    /// The CMDB listing holds this record.
    pub fn stored(&mut self, record: &PodRecord) {
        let seen = SeenRecord::of(record, &self.prints);
        self.seen(&seen);
    }

    /// The same, for a record that is gone already.
    pub fn seen(&mut self, seen: &SeenRecord) {
        let fingerprint = seen.fingerprint;
        let generation = self.generation;
        let slot = match self.index.by_uuid(seen.uuid()) {
            Some(slot) => slot,
            None => {
                let entry = Entry::new(seen.uuid(), seen.namespace(), seen.name(), "", Acked::Absent);
                self.insert(entry)
            }
        };
        let Some(entry) = self.index.get_mut(slot) else { return };
        entry.asking = false;
        if entry.written == generation && !active(Mutation::ListingOverwritesAcked) {
            // Either it was read before that write, or somebody else wrote what was not sent in it.
            let differs = match entry.acked {
                Acked::Present(held) => !held.difference(&fingerprint).is_empty(),
                Acked::Absent => true,
                Acked::Unknown => false,
            };
            if differs && !active(Mutation::TrustOverlappedWrite) {
                entry.acked = Acked::Unknown;
                if matches!(entry.life, Life::Tombstone(_)) {
                    entry.life = Life::Doomed;
                    self.tombstones -= 1;
                }
            }
            return;
        }
        entry.acked = Acked::Present(fingerprint);
        // It is of the whole record, host and all. Taken for one that kept its host, what differs in the
        // whole and, by a collision, in no field would pass for equal.
        entry.kept_host = false;
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
            entry.asking = false;
        }
    }

    /// The storage listing is complete: what it lacks.
    pub fn missing(&mut self, now: Moment) -> Missing {
        let generation = self.generation;
        let mut missing = Missing { superseded: self.superseded(), ..Missing::default() };
        for entry in self.index.iter_mut() {
            let recorded = entry.acked != Acked::Absent;
            missing.total += usize::from(recorded);
            if entry.listed == generation || matches!(entry.life, Life::Tombstone(_)) {
                continue;
            }
            let order = verify_order(entry, true);
            if entry.life == Life::Doomed && recorded {
                if entry.refusal().is_none_or(|refusal| refusal.retry_at <= now) {
                    missing.doomed.push(verify_order(entry, false));
                }
            } else if recorded {
                entry.life = Life::Extra;
                missing.recorded.push(order);
            } else {
                missing.unrecorded.push(order);
            }
        }
        missing
    }

    /// Records of pods whose name the listing shows with another uid. They are no claims of a listing
    /// that may lack what is there: read at once, whatever else is missing.
    fn superseded(&mut self) -> Vec<Order> {
        let generation = self.generation;
        let unlisted = |entry: &Entry| entry.listed != generation && !active(Mutation::HoldBackSuperseded);
        let heir_is_listed = |slot: u32, entry: &Entry| {
            let heir = self.index.by_name(entry.namespace(), entry.name()).filter(|heir| *heir != slot);
            heir.and_then(|heir| self.index.get(heir)).is_some_and(|heir| !unlisted(heir))
        };
        let open =
            |entry: &Entry| entry.acked != Acked::Absent && unlisted(entry) && entry.life != Life::Doomed;
        let slots = self.index.slots().filter(|(slot, entry)| open(entry) && heir_is_listed(*slot, entry));
        let slots: Vec<u32> = slots.map(|(slot, _)| slot).collect();
        for slot in &slots {
            self.mark_listed(*slot, Source::Listing);
            if let Some(entry) = self.index.get_mut(*slot) {
                entry.life = Life::Extra;
            }
        }
        slots.into_iter().flat_map(|slot| self.verify(slot, false).orders).collect()
    }

    /// Forgets what was dead for long, as far as the events go that arrived until that moment: an older
    /// one may be waiting at the gate. What this full sync's listing shows is about to be read, by its key.
    pub fn forget_dead(&mut self, until: Moment) {
        let long_dead = |entry: &Entry| matches!(entry.life, Life::Tombstone(since) if until.saturating_sub(since) > LATEST);
        let generation = self.generation;
        let expired = |entry: &Entry| long_dead(entry) && entry.listed != generation;
        let slots: Vec<u32> = self.index.slots().filter(|(_, e)| expired(e)).map(|(slot, _)| slot).collect();
        self.tombstones -= slots.len();
        slots.into_iter().for_each(|slot| self.index.remove(slot));
    }
}
