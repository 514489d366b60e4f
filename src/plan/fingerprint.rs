//! A record in 72 bytes: enough to tell whether, and where, two versions differ.

use crate::model::{FIELD_COUNT, Field, PodRecord};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// A set of fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(u16);

impl FieldSet {
    /// No field.
    pub const EMPTY: Self = Self(0);
    /// Every field.
    pub const ALL: Self = Self(u16::MAX);

    /// Adds a field.
    pub fn insert(&mut self, field: Field) {
        self.0 |= 1 << field as u16;
    }

    /// Takes a field out.
    pub fn remove(&mut self, field: Field) {
        self.0 &= !(1 << field as u16);
    }

    /// Whether the field is in.
    pub fn contains(self, field: Field) -> bool {
        self.0 & (1 << field as u16) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The fields, in table order.
    pub fn iter(self) -> impl Iterator<Item = Field> {
        Field::ALL.into_iter().filter(move |field| self.contains(*field))
    }

    /// Whether it holds fields, and only such that an update does not promise to change.
    pub fn only_immutable(self) -> bool {
        !self.is_empty() && self.iter().all(|field| !field.mutable())
    }
}

impl FromIterator<Field> for FieldSet {
    fn from_iter<I: IntoIterator<Item = Field>>(fields: I) -> Self {
        let mut set = Self::EMPTY;
        fields.into_iter().for_each(|field| set.insert(field));
        set
    }
}

/// Hashes of a record: 64 bits of the whole to decide *whether* something changed, 32 of each
/// field to decide *what*. Should a changed field collide (one in 2^32), the whole still differs:
/// the next full sync sees that and, finding no field, sends all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// Of the whole record.
    pub total: u64,
    fields: [u32; FIELD_COUNT],
}

impl Fingerprint {
    /// The fields in which the two records differ.
    pub fn difference(&self, other: &Self) -> FieldSet {
        let differs = |field: &Field| self.fields[*field as usize] != other.fields[*field as usize];
        Field::ALL.into_iter().filter(differs).collect()
    }

    /// The same record as far as the whole goes, with one field taken as `other` has it: for a
    /// field that is kept, whatever the storage says.
    pub(super) fn keeping(mut self, other: &Self, field: Field) -> Self {
        self.fields[field as usize] = other.fields[field as usize];
        self
    }

    /// What an update from `self` to `wanted` must send.
    pub fn to_send(&self, wanted: &Self) -> FieldSet {
        match self.difference(wanted) {
            found if found.is_empty() && self.total != wanted.total => FieldSet::ALL,
            found => found,
        }
    }
}

/// Makes fingerprints. The seed is one per process: nobody can prepare a collision.
#[derive(Clone, Copy, Debug)]
pub struct Fingerprinter {
    seed: u64,
}

impl Fingerprinter {
    /// A fingerprinter with that seed.
    pub const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The fingerprint of a record. An absent text and an empty one are the same.
    pub fn of(&self, record: &PodRecord) -> Fingerprint {
        let mut whole = [0_u8; FIELD_COUNT * 8];
        let mut fields = [0_u32; FIELD_COUNT];
        for field in Field::ALL {
            let hash = match field {
                Field::ModuleId => record.module_id as u64,
                Field::CloudId => record.cloud_id as u64,
                _ => self.text(record.text(field)),
            };
            let at = field as usize;
            whole[at * 8..][..8].copy_from_slice(&hash.to_le_bytes());
            // Both halves count: ids are small, hashes are even.
            fields[at] = (hash ^ (hash >> 32)) as u32;
        }
        Fingerprint { total: xxh3_64_with_seed(&whole, self.seed), fields }
    }

    /// The hash of one text.
    pub fn text(&self, text: &str) -> u64 {
        xxh3_64_with_seed(text.as_bytes(), self.seed)
    }
}

/// Where the work on a uuid is done: the same shard on every platform and in every process.
pub(crate) fn shard_of(uuid: &str, shards: usize) -> usize {
    (xxh3_64(uuid.as_bytes()) % shards.max(1) as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> PodRecord {
        let mut record = PodRecord::default();
        record.module_id = 41;
        for field in Field::ALL {
            record.set_text(field, field.name());
        }
        record
    }

    #[test]
    fn every_changed_field_is_found_and_no_other() {
        let prints = Fingerprinter::new(1);
        let base = prints.of(&record());
        for field in Field::ALL {
            let mut changed = record();
            match field {
                Field::ModuleId => changed.module_id += 1,
                Field::CloudId => changed.cloud_id += 1,
                _ => changed.set_text(field, "other"),
            }
            let changed = prints.of(&changed);
            assert_ne!(base.total, changed.total);
            assert_eq!(base.difference(&changed).iter().collect::<Vec<_>>(), [field]);
        }
        assert_eq!(prints.of(&record()), base);
    }

    #[test]
    fn a_difference_no_field_admits_sends_everything() {
        let a = Fingerprint { total: 1, fields: [0; FIELD_COUNT] };
        let b = Fingerprint { total: 2, ..a };
        assert_eq!(a.to_send(&b), FieldSet::ALL);
        assert_eq!(a.to_send(&a), FieldSet::EMPTY);
    }

    #[test]
    fn swapped_texts_of_two_fields_differ() {
        let prints = Fingerprinter::new(1);
        let (mut a, mut b) = (PodRecord::default(), PodRecord::default());
        a.set_text(Field::PodIp, "10.0.0.1");
        b.set_text(Field::HostInnerIp, "10.0.0.1");
        assert_ne!(prints.of(&a).total, prints.of(&b).total);
    }

    #[test]
    fn shards_are_spread_and_stable() {
        assert_eq!(shard_of("ab672ea2-8386-4be9-a719-ddcce584f85c", 1), 0);
        let mut seen = [0; 10];
        (0..10_000).for_each(|n| seen[shard_of(&format!("uid-{n}"), 10)] += 1);
        assert!(seen.iter().all(|count| (800..1200).contains(count)), "{seen:?}");
    }
}
