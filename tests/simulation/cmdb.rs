//! The CMDB as a model: its unique rules, its refusals, and writes that land late.

use super::storage::{NO_MODULE, POISON};
use bcs_bkcmdb_synchronizer::model::{Field, PodRecord};
use bcs_bkcmdb_synchronizer::plan::{Failure, FieldSet, Fingerprinter, Holder, Moment};
use std::collections::BTreeMap;

/// Where the cluster belongs now, and where it did before.
pub const OUR_BIZ: i64 = 2;
pub const OLD_BIZ: i64 = 3;

/// A record and whose it is.
#[derive(Clone, Debug)]
pub struct Held {
    pub record: PodRecord,
    pub biz: i64,
    pub ours: bool,
}

/// A write, as it may land late.
#[derive(Clone, Debug)]
pub enum Write {
    Create(Vec<PodRecord>),
    Update(Box<PodRecord>, FieldSet),
    Delete(String, i64),
}

pub struct Cmdb {
    pub records: BTreeMap<String, Held>,
    /// Whether an update changes what the CMDB does not promise to change.
    pub changes_immutable: bool,
    /// Unanswered writes that may still land, each with its last moment.
    late: Vec<(Moment, Write)>,
    /// Writes that changed something.
    pub writes: u64,
}

impl Cmdb {
    pub fn new(changes_immutable: bool) -> Self {
        Self { records: BTreeMap::new(), changes_immutable, late: Vec::new(), writes: 0 }
    }

    /// Carries a write out. One result per record of a create, one otherwise.
    pub fn write(&mut self, write: &Write) -> Result<Vec<Result<(), Failure>>, Failure> {
        match write {
            Write::Create(records) => self.create(records),
            Write::Update(record, fields) => self.update(record, *fields).map(|()| vec![Ok(())]),
            Write::Delete(uuid, biz) => {
                if self.records.get(uuid).is_some_and(|held| held.ours && held.biz == *biz) {
                    self.records.remove(uuid);
                    self.writes += 1;
                }
                Ok(vec![Ok(())])
            }
        }
    }

    fn create(&mut self, records: &[PodRecord]) -> Result<Vec<Result<(), Failure>>, Failure> {
        if records.len() > 1 && records.iter().any(|record| record.module_id == NO_MODULE) {
            return Err(Failure::Later { code: 1_199_999, message: "panic".into() });
        }
        Ok(records.iter().map(|record| self.create_one(record)).collect())
    }

    fn create_one(&mut self, record: &PodRecord) -> Result<(), Failure> {
        check(record, FieldSet::ALL)?;
        let same_name = |held: &Held| held.ours && held.record.name == record.name;
        if self.records.contains_key(&record.uuid) || self.records.values().any(same_name) {
            return Err(Failure::Duplicate("duplicate".into()));
        }
        self.writes += 1;
        let held = Held { record: record.clone(), biz: OUR_BIZ, ours: true };
        self.records.insert(record.uuid.clone(), held);
        Ok(())
    }

    fn update(&mut self, record: &PodRecord, fields: FieldSet) -> Result<(), Failure> {
        let immutable = self.changes_immutable;
        let held = self.records.get_mut(&record.uuid).filter(|held| held.ours && held.biz == OUR_BIZ);
        let held = held.ok_or(Failure::NotFound)?;
        check(record, fields)?;
        self.writes += 1;
        for field in fields.iter().filter(|field| field.mutable() || immutable) {
            match field {
                Field::ModuleId => held.record.module_id = record.module_id,
                Field::CloudId => held.record.cloud_id = record.cloud_id,
                _ => held.record.set_text(field, record.text(field)),
            }
        }
        Ok(())
    }

    // ---- late writes -----------------------------------------------------------------------

    pub fn land_later(&mut self, write: Write, until: Moment) {
        self.late.push((until, write));
    }

    pub fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// One of the late writes lands.
    pub fn land_one(&mut self, rng: &mut fastrand::Rng) {
        let (_, write) = self.late.swap_remove(rng.usize(..self.late.len()));
        let _ = self.write(&write);
    }

    /// All that can land until then only.
    pub fn land_until(&mut self, now: Moment) {
        let (due, rest) = std::mem::take(&mut self.late).into_iter().partition(|(until, _)| *until <= now);
        self.late = rest;
        let due: Vec<(Moment, Write)> = due;
        due.iter().for_each(|(_, write)| drop(self.write(write)));
    }

    // ---- reads -----------------------------------------------------------------------------

    /// What a listing of the cluster in its business shows.
    pub fn listed(&self) -> Vec<PodRecord> {
        let ours = self.records.values().filter(|held| held.ours && held.biz == OUR_BIZ);
        ours.map(|held| held.record.clone()).collect()
    }

    pub fn holders(&self, uuid: &str, name: &str, prints: Fingerprinter) -> (Option<Holder>, Option<Holder>) {
        let holder = |held: &Held| Holder {
            uuid: held.record.uuid.clone(),
            namespace: held.record.namespace.clone(),
            name: held.record.name.clone(),
            cluster: if held.ours { "OURS" } else { "OTHER" }.into(),
            biz: held.biz,
            our_cluster: held.ours,
            our_biz: held.biz == OUR_BIZ,
            fingerprint: prints.of(&held.record),
        };
        let by_uuid = self.records.get(uuid).map(holder);
        let same_name = |held: &&Held| held.ours && held.record.name == name;
        let by_name = self.records.values().find(same_name).map(holder).filter(|_| by_uuid.is_none());
        (by_uuid, by_name)
    }
}

/// The rules of single fields, as far as the model has them.
fn check(record: &PodRecord, fields: FieldSet) -> Result<(), Failure> {
    let refused = |code, field: Field| {
        Err(Failure::Refused { code, message: format!("{} refused", field.name()), field: Some(field) })
    };
    if fields.contains(Field::ModuleId) && record.module_id == NO_MODULE {
        return refused(1_118_401, Field::ModuleId);
    }
    if fields.contains(Field::WorkloadName) && record.text(Field::WorkloadName) == POISON {
        return refused(1_199_011, Field::WorkloadName);
    }
    if fields.contains(Field::Annotations) && record.text(Field::Annotations).contains(' ') {
        return refused(1_199_016, Field::Annotations);
    }
    Ok(())
}
