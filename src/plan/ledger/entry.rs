//! One pod in the ledger.

use crate::convert::repair::Repairs;
use crate::model::Field;
use crate::plan::mutation::{Mutation, active};
use crate::plan::{FieldSet, Fingerprint, Moment};

/// What the CMDB is known to hold for a uuid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acked {
    /// No record.
    Absent,
    /// A write was not answered: anything is possible until it is read back.
    Unknown,
    /// A record like this.
    Present(Fingerprint),
}

impl Acked {
    /// Whether it is exactly the record with that fingerprint.
    pub fn is(&self, total: u64) -> bool {
        matches!(self, Self::Present(print) if print.total == total)
    }
}

/// A record the CMDB does not take as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The field it names, if any.
    pub field: Option<Field>,
    /// Its code; 0 where this service found the fault itself.
    pub code: i64,
    /// Its words.
    pub message: String,
    /// When it was refused first.
    pub since: Moment,
    /// When it may be tried again though nothing changed.
    pub retry_at: Moment,
    /// The record that was refused, with a kept host among its fields; none where no record was.
    pub wanted: Option<Fingerprint>,
    /// Whether it had no host of its own: with one it may be recorded anew.
    pub kept_host: bool,
}

impl Refusal {
    /// Whether a record wanted like this is what was refused, or can do no more than that. Compared
    /// by field: as a whole, a record whose host is kept is not the one that has it. Which host is kept
    /// is for the CMDB's record to say.
    pub fn covers(&self, wanted: &Fingerprint, scheduled: bool) -> bool {
        let Some(refused) = &self.wanted else { return false };
        let mut differs = refused.difference(wanted);
        if self.kept_host {
            differs.remove(Field::HostInnerIp);
        }
        differs.is_empty() && !(self.kept_host && scheduled)
    }
}

/// A record that fails again and again for a reason that should pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// The CMDB's code; 0 where it is not the CMDB that fails.
    pub code: i64,
    /// Why, in words.
    pub message: String,
    /// Since when it is known to.
    pub since: Moment,
}

/// A field that is written otherwise than the storage has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repair {
    /// Which field.
    pub field: Field,
    /// How.
    pub repairs: Repairs,
    /// Hash of the unrepaired text: another text is tried as it is.
    pub source: u64,
    /// Hash of the repaired one.
    pub result: u64,
    /// The code that made it necessary.
    pub code: i64,
    /// Since when.
    pub since: Moment,
}

/// The rare part of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Care {
    pub refusal: Option<Refusal>,
    /// What the CMDB held when it refused.
    pub beside: Option<Fingerprint>,
    pub failing: Option<Failing>,
    /// The refusal the log has told of: it is told once, however often the record is tried.
    pub told: Option<(Option<Field>, i64)>,
    pub repairs: Vec<Repair>,
    pub shortened: FieldSet,
}

impl Care {
    pub fn is_empty(&self) -> bool {
        self.refusal.is_none()
            && self.failing.is_none()
            && self.told.is_none()
            && self.repairs.is_empty()
            && self.shortened.is_empty()
    }

    /// Nothing is refused any more.
    pub fn lift(&mut self) {
        self.refusal = None;
        self.beside = None;
    }

    /// Nothing is refused and nothing fails any more. Returns whether the log told otherwise.
    pub fn settle(&mut self) -> bool {
        self.lift();
        self.failing.take().is_some() | self.told.take().is_some()
    }
}

/// Where an entry is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Known from the CMDB, or from a claim that is being checked; no living document was seen.
    Extra,
    /// Seen alive in the storage.
    Living,
    /// Alive without a host: not recordable yet.
    Unscheduled,
    /// Proven gone; its record is being deleted.
    Doomed,
    /// Gone and deleted, at that moment: a late event about it is not believed without a read.
    Tombstone(Moment),
}

/// One pod: 72 bytes of what was acknowledged, 16 of what is wanted, its names, and where it is.
#[derive(Debug)]
pub(super) struct Entry {
    keys: Keys,
    pub version: Option<u64>,
    pub desired: Option<u64>,
    pub acked: Acked,
    pub life: Life,
    /// Generation of the last full sync that saw it in the storage listing.
    pub listed: u32,
    /// Generation of the last full sync that saw it in the CMDB listing, or during which it was
    /// written.
    pub stored: u32,
    /// Generation of the full sync during which it was last written: what the CMDB listing of that full
    /// sync holds may be older.
    pub written: u32,
    /// A point read of it is on its way, and nothing was learnt of it since that began.
    pub reading: bool,
    /// A request to the CMDB about it is on its way, and no listing of the CMDB has told of it since.
    pub asking: bool,
    /// The host of its record was kept although its document had none: `acked` has the host among its
    /// fields, and not in its total.
    pub kept_host: bool,
    /// What was handed over last had no host of its own: it does not say which one the record is to
    /// have.
    pub handed_homeless: bool,
    pub care: Option<Box<Care>>,
}

impl Entry {
    pub fn new(uuid: &str, namespace: &str, name: &str, storage_id: &str, acked: Acked) -> Self {
        let keys = Keys::new(uuid, namespace, name, storage_id);
        Self {
            keys,
            version: None,
            desired: None,
            acked,
            life: Life::Extra,
            listed: 0,
            stored: 0,
            written: 0,
            reading: false,
            asking: false,
            kept_host: false,
            handed_homeless: false,
            care: None,
        }
    }

    pub fn uuid(&self) -> &str {
        self.keys.part(0)
    }

    pub fn namespace(&self) -> &str {
        self.keys.part(1)
    }

    pub fn name(&self) -> &str {
        self.keys.part(2)
    }

    pub fn storage_id(&self) -> &str {
        self.keys.part(3)
    }

    pub fn set_storage_id(&mut self, storage_id: &str) {
        self.keys = Keys::new(self.uuid(), self.namespace(), self.name(), storage_id);
    }

    /// Proven gone, whether or not its record is deleted yet. Its name and `_id` lead to it until
    /// another pod takes them.
    pub fn is_dead(&self) -> bool {
        matches!(self.life, Life::Doomed | Life::Tombstone(_))
    }

    pub fn refusal(&self) -> Option<&Refusal> {
        self.care.as_ref()?.refusal.as_ref()
    }

    /// Whether the CMDB's record is known to be another one than at the time of the refusal: somebody,
    /// or a write without an answer, changed it since.
    pub fn moved_since_refusal(&self) -> bool {
        if active(Mutation::KeepMovedRefusal) {
            return false;
        }
        match (self.acked, self.care.as_ref().and_then(|care| care.beside.as_ref())) {
            (Acked::Present(held), Some(beside)) => !held.difference(beside).is_empty(),
            (Acked::Present(_), None) | (Acked::Absent, Some(_)) => true,
            (Acked::Absent, None) | (Acked::Unknown, _) => false,
        }
    }

    /// Whether a record wanted like this need not be tried again: it was refused, not long ago, and
    /// neither what is wanted nor the CMDB's record has changed since.
    pub fn stays_refused(&self, wanted: &Fingerprint, scheduled: bool, now: Moment) -> bool {
        let Some(refusal) = self.refusal() else { return false };
        let unchanged = refusal.covers(wanted, scheduled) && !self.moved_since_refusal();
        let recent = now < refusal.retry_at && !active(Mutation::RetryRefusedAtOnce);
        recent && (unchanged || active(Mutation::KeepRefusing))
    }

    /// Changes the rare part, which exists only while there is something in it.
    pub fn with_care(&mut self, change: impl FnOnce(&mut Care)) {
        let mut care = self.care.take().unwrap_or_default();
        change(&mut care);
        self.care = (!care.is_empty()).then_some(care);
    }

    /// The same, where there is a rare part already.
    pub fn with_care_if_any(&mut self, change: impl FnOnce(&mut Care)) {
        if self.care.is_some() {
            self.with_care(change);
        }
    }
}

/// The four names of a pod in one allocation.
#[derive(Debug)]
pub(super) struct Keys {
    text: Box<str>,
    ends: [u32; 3],
}

impl Keys {
    pub fn new(uuid: &str, namespace: &str, name: &str, storage_id: &str) -> Self {
        let mut text = String::with_capacity(uuid.len() + namespace.len() + name.len() + storage_id.len());
        let ends = [uuid, namespace, name].map(|part| {
            text.push_str(part);
            // A document is far smaller than 4 GiB: the storage client bounds it.
            text.len() as u32
        });
        text.push_str(storage_id);
        Self { text: text.into_boxed_str(), ends }
    }

    pub fn part(&self, index: usize) -> &str {
        let start = if index == 0 { 0 } else { self.ends[index - 1] as usize };
        let end = self.ends.get(index).map_or(self.text.len(), |end| *end as usize);
        &self.text[start..end]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_a_pod_survive_being_kept_in_one_text() {
        let mut entry = Entry::new("uid", "", "náme", "", Acked::Absent);
        assert_eq!(
            (entry.uuid(), entry.namespace(), entry.name(), entry.storage_id()),
            ("uid", "", "náme", "")
        );
        entry.set_storage_id("5f0c");
        assert_eq!(
            (entry.uuid(), entry.namespace(), entry.name(), entry.storage_id()),
            ("uid", "", "náme", "5f0c")
        );
    }
}
