//! What the shards learnt from the answers of the CMDB.

use super::entry::Life;
use super::entry::Repair;
use super::{Acked, Desired, Entry, Ledger, Refusal, TOMBSTONES};
use crate::convert::repair::Repairs;
use crate::model::Field;
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

    /// What was last seen and last wanted of a uuid.
    pub fn version_and_desired(&self, uuid: &str) -> (Option<u64>, Option<u64>) {
        let entry = self.index.by_uuid(uuid).and_then(|slot| self.index.get(slot));
        entry.map_or((None, None), |entry| (entry.version, entry.desired))
    }

    pub(super) fn desired_at(&self, slot: u32) -> Option<u64> {
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

    pub(super) fn release(&mut self, slot: u32) {
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
}
