//! What the ledger tells about itself.

use super::Ledger;
use super::entry::{Entry, Life};
use crate::model::Field;
use crate::plan::Moment;

/// Pods by where they stand. Every recordable pod of the storage is counted once: in step, pending
/// or rejected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Recordable pods of the storage.
    pub storage: usize,
    /// Of those: the CMDB holds exactly what is wanted.
    pub in_step: usize,
    /// Of those: on their way.
    pub pending: usize,
    /// Of those: refused.
    pub rejected: usize,
    /// Records in the CMDB that no living pod stands for.
    pub extra: usize,
    /// Pods without a host.
    pub unscheduled: usize,
    /// Recorded, but not with every field as the storage has it.
    pub degraded: usize,
}

/// What is the matter with a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Refused: not recorded until its document changes, but for an attempt an hour.
    Rejected,
    /// It has failed many times for a reason that should pass, and is tried every few seconds.
    Retrying,
    /// Recorded, with a field otherwise than the storage has it.
    Degraded,
}

/// A record that is refused, fails, or is written otherwise than the storage has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Which pod.
    pub uuid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What is the matter.
    pub standing: Standing,
    /// Which field, if one is named.
    pub field: Option<Field>,
    /// The CMDB's code; 0 where this service decided.
    pub code: i64,
    /// In words.
    pub message: String,
    /// Since when; `None`: as long as the document is like this.
    pub since: Option<Moment>,
}

impl Ledger {
    /// How many pods the ledger knows, deleted ones that are still remembered included.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether it knows none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts by standing.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for entry in self.index.iter() {
            counts.add(entry);
        }
        counts
    }

    /// Whether every living pod is settled: in step, refused or without a host.
    pub fn is_settled(&self) -> bool {
        let counts = self.counts();
        counts.pending == 0 && counts.extra == 0
    }

    /// Everything refused, failing or repaired.
    pub fn troubles(&self) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        for entry in self.index.iter() {
            let Some(care) = &entry.care else { continue };
            let trouble = |standing, field, code, message, since| Trouble {
                uuid: entry.uuid().to_owned(),
                namespace: entry.namespace().to_owned(),
                name: entry.name().to_owned(),
                standing,
                field,
                code,
                message,
                since,
            };
            if let Some(refusal) = &care.refusal {
                let message = refusal.message.clone();
                let since = Some(refusal.since);
                troubles.push(trouble(Standing::Rejected, refusal.field, refusal.code, message, since));
            }
            if let Some(failing) = &care.failing {
                let (message, since) = (failing.message.clone(), Some(failing.since));
                troubles.push(trouble(Standing::Retrying, None, failing.code, message, since));
            }
            for repair in &care.repairs {
                let message = format!("the CMDB refused the field as it is; {}", repair.repairs);
                troubles.push(trouble(
                    Standing::Degraded,
                    Some(repair.field),
                    repair.code,
                    message,
                    Some(repair.since),
                ));
            }
            for field in care.shortened.iter() {
                let message = "shortened to text_limit by leaving out whole entries".to_owned();
                troubles.push(trouble(Standing::Degraded, Some(field), 0, message, None));
            }
        }
        troubles
    }
}

impl Counts {
    fn add(&mut self, entry: &Entry) {
        match entry.life {
            Life::Tombstone(_) => {}
            Life::Unscheduled => self.unscheduled += 1,
            Life::Extra | Life::Doomed => {
                self.extra += usize::from(entry.acked != super::Acked::Absent);
            }
            Life::Living => {
                self.storage += 1;
                if entry.refusal().is_some() {
                    self.rejected += 1;
                } else if entry.desired.is_some_and(|desired| entry.acked.is(desired)) {
                    self.in_step += 1;
                    let altered =
                        |care: &super::entry::Care| !care.repairs.is_empty() || !care.shortened.is_empty();
                    self.degraded += usize::from(entry.care.as_deref().is_some_and(altered));
                } else {
                    self.pending += 1;
                }
            }
        }
    }
}
