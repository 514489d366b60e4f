//! What the shards learnt from the answers of the CMDB.

use super::entry::Life;
use super::entry::Repair;
use super::{Acked, Desired, Entry, Failing, Heir, Ledger, Order, Refusal, TOMBSTONES, verify_order};
use crate::convert::repair::Repairs;
use crate::model::Field;
use crate::plan::mutation::{Mutation, active};
use crate::plan::{Fingerprint, Fingerprinter, Moment};

impl Ledger {
    /// What the CMDB holds for a uuid, as far as known.
    pub fn acked(&self, uuid: &str) -> Acked {
        self.index.by_uuid(uuid).and_then(|slot| self.index.get(slot)).map_or(Acked::Absent, |e| e.acked)
    }

    /// The fingerprint that is wanted for a uuid.
    pub fn desired(&self, uuid: &str) -> Option<u64> {
        self.index.by_uuid(uuid).and_then(|slot| self.index.get(slot))?.desired
    }

    pub(super) fn desired_at(&self, slot: u32) -> Option<u64> {
        self.index.get(slot)?.desired
    }

    /// The namespace and name of a uuid.
    pub fn name_of(&self, uuid: &str) -> Option<(&str, &str)> {
        let entry = self.index.get(self.index.by_uuid(uuid)?)?;
        Some((entry.namespace(), entry.name()))
    }

    /// The namespace and name bcs-storage is asked for the pod of a uuid by: its own key of the
    /// document where it showed one, else the names of the record.
    pub fn key_of(&self, uuid: &str) -> Option<(&str, &str)> {
        self.index.key(self.index.by_uuid(uuid)?)
    }

    /// The storage `_id` of a uuid.
    pub fn storage_id_of(&self, uuid: &str) -> Option<&str> {
        self.index.get(self.index.by_uuid(uuid)?).map(Entry::storage_id).filter(|id| !id.is_empty())
    }

    /// The seed-bound hasher of this ledger.
    pub fn prints(&self) -> Fingerprinter {
        self.prints
    }

    /// The CMDB acknowledged a write: it holds this, with the host it had if that was kept. Returns
    /// whether that ends a trouble the log told of.
    pub fn written(&mut self, uuid: &str, fingerprint: Fingerprint, keeps_host: bool) -> bool {
        let held = match self.acked(uuid) {
            // The host that was wanted is the one that was held when that was decided, perhaps before
            // another write.
            Acked::Present(held) if keeps_host && !active(Mutation::HostOfTheDecision) => {
                fingerprint.keeping(&held, Field::HostInnerIp)
            }
            _ => fingerprint,
        };
        self.learn(uuid, Acked::Present(held));
        if let Some(entry) = self.entry_mut(uuid) {
            entry.kept_host = keeps_host;
        }
        self.settle(uuid)
    }

    /// The record is as it is wanted: nothing is refused and nothing fails any more. Returns whether
    /// that ends a trouble the log told of.
    pub fn settle(&mut self, uuid: &str) -> bool {
        let mut over = false;
        if let Some(entry) = self.entry_mut(uuid) {
            entry.with_care_if_any(|care| over = care.settle());
        }
        over
    }

    /// What is now known of the CMDB's record.
    pub fn learn(&mut self, uuid: &str, acked: Acked) {
        let generation = self.generation;
        if let Some(entry) = self.entry_mut(uuid) {
            entry.acked = acked;
            entry.kept_host = false;
            entry.stored = generation;
            entry.written = generation;
        }
    }

    /// A record this ledger does not know was found in the CMDB.
    pub fn adopt(&mut self, uuid: &str, namespace: &str, name: &str, fingerprint: Fingerprint) {
        if self.index.by_uuid(uuid).is_none() {
            self.insert(Entry::new(uuid, namespace, name, "", Acked::Absent));
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
            self.doom_slot(slot);
        }
    }

    pub(super) fn doom_slot(&mut self, slot: u32) {
        if let Some(entry) = self.index.get_mut(slot).filter(|e| !matches!(e.life, Life::Tombstone(_))) {
            entry.life = Life::Doomed;
            entry.desired = None;
            entry.care = None;
            entry.reading = false;
        }
    }

    /// Another pod's point read found this uid under its name: from now on events about it are known
    /// for what they are. Returns the order to read it.
    pub fn expect(&mut self, heir: &Heir) -> Option<Order> {
        let Heir { uuid, namespace, name, storage_id, key } = heir;
        let slot = match self.index.by_uuid(uuid) {
            Some(slot) => slot,
            None => self.insert(Entry::new(uuid, namespace, name, storage_id, Acked::Absent)),
        };
        self.index.set_key(slot, key.as_deref());
        self.inherit(slot);
        let entry = self.index.get_mut(slot)?;
        if matches!(entry.life, Life::Tombstone(_)) {
            entry.life = Life::Extra;
            self.tombstones -= 1;
        }
        Some(verify_order(entry, false))
    }

    /// A point read of this pod begins.
    pub fn read_begins(&mut self, uuid: &str) {
        if let Some(entry) = self.entry_mut(uuid) {
            entry.reading = true;
        }
    }

    /// The point read is over. Whether it still counts: nothing was learnt about the pod from
    /// elsewhere since it began. Which of the two is newer, nobody can tell.
    pub fn read_counts(&mut self, uuid: &str) -> bool {
        self.entry_mut(uuid).is_none_or(|entry| std::mem::take(&mut entry.reading))
    }

    /// A request to the CMDB about this pod begins.
    pub fn ask_begins(&mut self, uuid: &str) {
        if let Some(entry) = self.entry_mut(uuid) {
            entry.asking = true;
        }
    }

    /// The request is over. Whether its answer is the latest that is known: no listing has told of the record
    /// since it began. One that has may be older, or newer, with what somebody else made of the record.
    pub fn ask_is_last(&mut self, uuid: &str) -> bool {
        let last = self.entry_mut(uuid).is_none_or(|entry| std::mem::take(&mut entry.asking));
        last || active(Mutation::TrustOverlappedWrite)
    }

    /// The record of a doomed pod is deleted (or never was): only its memory stays for a while.
    pub fn removed(&mut self, uuid: &str, now: Moment) {
        self.learn(uuid, Acked::Absent);
        let full = self.tombstones >= TOMBSTONES;
        let Some(slot) = self.index.by_uuid(uuid) else { return };
        let Some(entry) = self.index.get_mut(slot) else { return };
        entry.care = None;
        match entry.life {
            Life::Tombstone(_) => {}
            _ if full || active(Mutation::NoTombstones) => self.index.remove(slot),
            _ => {
                entry.life = Life::Tombstone(now);
                self.tombstones += 1;
            }
        }
    }

    /// Whether the record is refused, and the CMDB holds what it held then: nothing is to be done about
    /// it for now.
    pub fn is_left_alone(&self, uuid: &str) -> bool {
        let entry = self.index.by_uuid(uuid).and_then(|slot| self.index.get(slot));
        entry.is_some_and(|entry| entry.refusal().is_some() && !entry.moved_since_refusal())
    }

    /// Whether the record as it is wanted is refused.
    pub fn is_refused(&self, uuid: &str) -> bool {
        self.index.by_uuid(uuid).and_then(|slot| self.index.get(slot)).is_some_and(|e| e.refusal().is_some())
    }

    /// The record could not be written and will not be for now. Returns whether that is news: it is
    /// not when it was refused for the same reason before, in whatever version.
    pub fn refused(&mut self, uuid: &str, mut refusal: Refusal) -> bool {
        let Some(entry) = self.entry_mut(uuid) else { return false };
        if let Some(old) = entry.refusal() {
            refusal.since = old.since;
        }
        let told = Some((refusal.field, refusal.code));
        let mut news = true;
        let beside = match entry.acked {
            Acked::Present(held) => Some(held),
            Acked::Absent | Acked::Unknown => None,
        };
        entry.with_care(|care| {
            news = std::mem::replace(&mut care.told, told) != told;
            care.failing = None;
            care.beside = beside;
            care.refusal = Some(refusal);
        });
        news
    }

    /// The record has failed many times in a row and is still tried. Returns whether that is news.
    pub fn fails(&mut self, uuid: &str, failing: Failing) -> bool {
        let Some(entry) = self.entry_mut(uuid) else { return false };
        let mut news = true;
        entry.with_care(|care| {
            let since = care.failing.as_ref().map_or(failing.since, |known| known.since);
            news = care.failing.as_ref().is_none_or(|known| known.code != failing.code);
            care.failing = Some(Failing { since, ..failing });
        });
        news
    }

    /// The repairs a text of a pod's field had so far, and whether it was repaired already.
    pub fn repairs_of(&self, uuid: &str, field: Field, text: &str) -> (Repairs, bool) {
        let hash = self.prints.text(text);
        let entry = self.index.by_uuid(uuid).and_then(|slot| self.index.get(slot));
        let care = entry.and_then(|entry| entry.care.as_ref());
        let known = care.and_then(|care| care.repairs.iter().find(|repair| repair.field == field));
        match known {
            Some(repair) if repair.source == hash => (repair.repairs, false),
            Some(repair) if repair.result == hash => (repair.repairs, true),
            _ => (Repairs::default(), false),
        }
    }

    /// A field of `desired`, not repaired before, is written repaired from now on, until its source
    /// changes.
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
        let source = prints.text(desired.record.text(field));
        let text = repairs.apply(field, desired.record.text(field));
        desired.record.set_text(field, text);
        let result = prints.text(desired.record.text(field));
        entry.with_care(|care| {
            care.repairs.retain(|repair| repair.field != field);
            if !active(Mutation::ForgetRepairs) {
                care.repairs.push(Repair { field, repairs, source, result, code, since: now });
            }
        });
        let before = desired.fingerprint;
        desired.fingerprint = match desired.keeps_host {
            true => prints.of(&desired.record).keeping(&before, Field::HostInnerIp),
            false => prints.of(&desired.record),
        };
        if entry.desired == Some(before.total) {
            entry.desired = Some(desired.fingerprint.total);
        }
    }

    /// The repair of a field was not enough: its source, which only the storage has, needs these.
    pub fn repaired_further(&mut self, uuid: &str, field: Field, repairs: Repairs, code: i64) {
        let Some(entry) = self.entry_mut(uuid) else { return };
        entry.with_care_if_any(|care| {
            for repair in care.repairs.iter_mut().filter(|repair| repair.field == field) {
                (repair.repairs, repair.code) = (repairs, code);
            }
        });
    }
}
