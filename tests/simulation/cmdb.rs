//! The CMDB as a model: its unique rules, its refusals, and writes that land late.

use super::placement::fault;
use bcs_bkcmdb_synchronizer::model::{Field, PodRecord};
use bcs_bkcmdb_synchronizer::plan::{Failure, FieldSet, Fingerprinter, Holder, Moment, Stored};
use std::collections::BTreeMap;

/// Where the cluster belongs now, and where it did before.
pub const OUR_BIZ: i64 = 2;
pub const OLD_BIZ: i64 = 3;

/// Records in a page of a listing.
pub const PAGE: usize = 3;

/// A record and whose it is.
#[derive(Clone, Debug)]
pub struct Held {
    /// Those that are made later have higher ones.
    id: u64,
    pub record: PodRecord,
    pub biz: i64,
    pub ours: bool,
}

impl Held {
    pub fn new(record: PodRecord, biz: i64, ours: bool) -> Self {
        Self { id: 0, record, biz, ours }
    }

    /// Whether the synchronizer's listing shows it.
    pub fn is_listed(&self) -> bool {
        self.ours && self.biz == OUR_BIZ
    }
}

/// A write, as it may land late.
#[derive(Clone, Debug)]
pub enum Write {
    Create(Vec<PodRecord>),
    Update(Box<PodRecord>, FieldSet),
    Delete(String, i64),
    /// What nobody should ever send: a delete of whatever has this name.
    DeleteName(String),
}

impl Write {
    /// The records it writes.
    pub fn records(&self) -> &[PodRecord] {
        match self {
            Self::Create(records) => records,
            Self::Update(record, _) => std::slice::from_ref(record),
            Self::Delete(..) | Self::DeleteName(_) => &[],
        }
    }
}

/// One result per record of a create, one otherwise; or a failure of the whole call.
pub type Written = Result<Vec<Result<(), Failure>>, Failure>;

pub struct Cmdb {
    pub records: BTreeMap<String, Held>,
    /// Whether an update changes what the CMDB does not promise to change.
    pub changes_immutable: bool,
    /// Modules of the business.
    pub modules: Vec<i64>,
    /// A record that meets "busy" whatever is asked about it.
    pub busy: Option<String>,
    /// Unanswered writes that may still land, each with its last moment.
    late: Vec<(Moment, Write)>,
    /// Writes that changed something.
    pub writes: u64,
    /// The highest id of a record so far.
    last_id: u64,
}

impl Cmdb {
    pub fn new(changes_immutable: bool) -> Self {
        Self {
            records: BTreeMap::new(),
            changes_immutable,
            modules: vec![41, 42],
            busy: None,
            late: Vec::new(),
            writes: 0,
            last_id: 0,
        }
    }

    pub fn insert(&mut self, held: Held) {
        self.last_id += 1;
        self.records.insert(held.record.uuid.clone(), Held { id: self.last_id, ..held });
    }

    /// Carries a write out.
    pub fn write(&mut self, write: &Write) -> Written {
        match write {
            Write::Create(records) => self.create(records),
            Write::Update(record, fields) => self.update(record, *fields).map(|()| vec![Ok(())]),
            Write::Delete(uuid, biz) => {
                self.patient(uuid)?;
                if self.records.get(uuid).is_some_and(|held| held.ours && held.biz == *biz) {
                    self.records.remove(uuid);
                    self.writes += 1;
                }
                Ok(vec![Ok(())])
            }
            Write::DeleteName(name) => {
                self.records.retain(|_, held| !(held.is_listed() && held.record.name == *name));
                self.writes += 1;
                Ok(vec![Ok(())])
            }
        }
    }

    fn patient(&self, uuid: &str) -> Result<(), Failure> {
        match self.busy.as_deref() == Some(uuid) {
            true => Err(Failure::Later { code: -1, message: "busy".into() }),
            false => Ok(()),
        }
    }

    fn create(&mut self, records: &[PodRecord]) -> Written {
        let unknown = |record: &PodRecord| !self.modules.contains(&record.module_id);
        if records.len() > 1 && records.iter().any(unknown) {
            return Err(Failure::Later { code: 1_199_999, message: "panic".into() });
        }
        Ok(records.iter().map(|record| self.create_one(record)).collect())
    }

    fn create_one(&mut self, record: &PodRecord) -> Result<(), Failure> {
        self.patient(&record.uuid)?;
        self.check(record, FieldSet::ALL)?;
        let same_name = |held: &Held| held.ours && held.record.name == record.name;
        if self.records.contains_key(&record.uuid) || self.records.values().any(same_name) {
            return Err(Failure::Duplicate("duplicate".into()));
        }
        self.writes += 1;
        self.insert(Held::new(record.clone(), OUR_BIZ, true));
        Ok(())
    }

    fn update(&mut self, record: &PodRecord, fields: FieldSet) -> Result<(), Failure> {
        self.patient(&record.uuid)?;
        self.records.get(&record.uuid).filter(|held| held.is_listed()).ok_or(Failure::NotFound)?;
        self.check(record, fields)?;
        self.writes += 1;
        let immutable = self.changes_immutable;
        let Some(held) = self.records.get_mut(&record.uuid) else { return Err(Failure::NotFound) };
        for field in fields.iter().filter(|field| field.mutable() || immutable) {
            match field {
                Field::ModuleId => held.record.module_id = record.module_id,
                Field::CloudId => held.record.cloud_id = record.cloud_id,
                _ => held.record.set_text(field, record.text(field)),
            }
        }
        Ok(())
    }

    fn check(&self, record: &PodRecord, fields: FieldSet) -> Result<(), Failure> {
        match fault(record, fields, &self.modules) {
            None => Ok(()),
            Some((code, field)) => {
                let message = format!("{} refused", field.name());
                Err(Failure::Refused { code, message, field: Some(field) })
            }
        }
    }

    // ---- late writes -----------------------------------------------------------------------

    pub fn land_later(&mut self, write: Write, until: Moment) {
        self.late.push((until, write));
    }

    pub fn has_late(&self) -> bool {
        !self.late.is_empty()
    }

    /// When the next of them lands at the latest.
    pub fn late_due(&self) -> Option<Moment> {
        self.late.iter().map(|(until, _)| *until).min()
    }

    /// One of the late writes lands.
    pub fn land_one(&mut self, rng: &mut fastrand::Rng) -> Write {
        let (_, write) = self.late.swap_remove(rng.usize(..self.late.len()));
        let _ = self.write(&write);
        write
    }

    /// All that can land until then only.
    pub fn land_until(&mut self, now: Moment) -> Vec<Write> {
        let (due, rest): (Vec<_>, _) =
            std::mem::take(&mut self.late).into_iter().partition(|(until, _)| *until <= now);
        self.late = rest;
        let due: Vec<Write> = due.into_iter().map(|(_, write)| write).collect();
        due.iter().for_each(|write| drop(self.write(write)));
        due
    }

    // ---- reads -----------------------------------------------------------------------------

    /// What a listing of the cluster in its business shows.
    pub fn listed(&self) -> impl Iterator<Item = &PodRecord> {
        self.records.values().filter(|held| held.is_listed()).map(|held| &held.record)
    }

    /// One page of that listing, after an id and in their order, as it is now; and the id the next one
    /// is after.
    pub fn page(&self, after: u64) -> (Vec<PodRecord>, u64) {
        let mut later: Vec<&Held> =
            self.records.values().filter(|held| held.is_listed() && held.id > after).collect();
        later.sort_unstable_by_key(|held| held.id);
        later.truncate(PAGE);
        (later.iter().map(|held| held.record.clone()).collect(), later.last().map_or(after, |held| held.id))
    }

    /// The record of a uuid as the listing shows it.
    pub fn held(&self, uuid: &str) -> Option<&PodRecord> {
        self.records.get(uuid).filter(|held| held.is_listed()).map(|held| &held.record)
    }

    pub fn read_back(&self, uuid: &str, prints: Fingerprinter) -> Option<Stored> {
        self.held(uuid).map(|record| Stored {
            namespace: record.namespace.clone(),
            name: record.name.clone(),
            fingerprint: prints.of(record),
        })
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
