//! What a sender writes to the CMDB. With `dry-run` each write is said instead of sent and counts as
//! carried out, so that everything behind it goes on as it would.
//!
//! A record is written only as long as the permission to write was not interrupted since that was
//! decided: another instance may have written a newer version meanwhile, or the pod be gone. A record
//! whose pod is proven gone is deleted whenever it may be: a uid never comes back.

use super::shared::Shared;
use crate::cmdb::{CmdbError, Scope};
use crate::config::SyncPolicy;
use crate::model::{Fence, Field, Permit, PodRecord};
use crate::plan::Failure;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

/// The writes of one cluster that were decided in one epoch of its ledger.
#[derive(Clone, Copy)]
pub(super) struct Writes<'a> {
    shared: &'a Shared,
    decided: Decided<'a>,
}

/// The cluster's fence as what was decided in one of its epochs meets it.
#[derive(Clone, Copy)]
struct Decided<'a> {
    fence: &'a dyn Fence,
    epoch: u64,
}

impl Fence for Decided<'_> {
    fn permit(&self) -> Result<Permit, String> {
        let permit = self.fence.permit()?;
        match permit.epoch == self.epoch {
            true => Ok(permit),
            false => Err("the permission to write was interrupted; a full sync looks anew".to_owned()),
        }
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl<'a> Writes<'a> {
    pub fn new(shared: &'a Shared, epoch: u64) -> Self {
        Self { shared, decided: Decided { fence: shared.fence.as_ref(), epoch } }
    }

    fn scope_in(&self, biz: i64) -> Scope<'_> {
        Scope { biz, cluster: &self.shared.cluster.id, fence: &self.decided }
    }

    fn scope(&self) -> Scope<'_> {
        self.scope_in(self.shared.cluster.bk_biz_id)
    }

    /// One record.
    pub fn create(self, record: &PodRecord) -> Result<(), Failure> {
        if self.only_said(&record.uuid, format_args!("create {}", Named(record))) {
            return Ok(());
        }
        self.answered(self.shared.peers.cmdb.create(&self.scope(), record))
    }

    /// Several records in one call; the answer is one for each.
    pub fn create_many(self, records: &[&PodRecord]) -> Result<Vec<Result<(), Failure>>, Failure> {
        if self.are_only_said() {
            return Ok(records.iter().map(|record| self.create(record)).collect());
        }
        let results = self.answered(self.shared.peers.cmdb.create_many(&self.scope(), records))?;
        Ok(results.into_iter().map(|result| result.map_err(failure)).collect())
    }

    /// These fields of a record.
    pub fn update(self, record: &PodRecord, fields: &[Field]) -> Result<(), Failure> {
        let names = || fields.iter().map(|field| field.name()).collect::<Vec<_>>().join(", ");
        if self.only_said(&record.uuid, format_args!("update {} of {}", names(), Named(record))) {
            return Ok(());
        }
        let Shared { peers, .. } = self.shared;
        self.answered(peers.cmdb.update(&self.scope(), &record.uuid, record, fields))
    }

    /// The record of a uuid that is proven gone.
    pub fn delete(self, uuid: &str) -> Result<(), Failure> {
        let biz = self.shared.cluster.bk_biz_id;
        self.delete_from(&self.shared.scope_in(biz), uuid)
    }

    /// A record, in whatever business, that stands in the way of one that is wanted.
    pub fn make_way(self, biz: i64, uuid: &str) -> Result<(), Failure> {
        self.delete_from(&self.scope_in(biz), uuid)
    }

    fn delete_from(self, scope: &Scope<'_>, uuid: &str) -> Result<(), Failure> {
        if self.only_said(uuid, format_args!("delete it from business {}", scope.biz)) {
            return Ok(());
        }
        self.answered(self.shared.peers.cmdb.delete(scope, uuid).map(|_| ()))
    }

    /// Whether nothing is written at all.
    pub fn are_only_said(self) -> bool {
        self.shared.policy == SyncPolicy::DryRun
    }

    fn only_said(self, uuid: &str, what: fmt::Arguments<'_>) -> bool {
        if self.are_only_said() {
            log::info!("cluster={} uuid={uuid} dry-run: would {what}", self.shared.cluster.id);
        }
        self.are_only_said()
    }

    fn answered<T>(self, answer: Result<T, CmdbError>) -> Result<T, Failure> {
        if let Err(CmdbError::Fenced(_)) = &answer {
            self.shared.fenced.fetch_add(1, Relaxed);
        }
        answer.map_err(failure)
    }
}

/// A record as the log names it.
struct Named<'a>(&'a PodRecord);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.namespace, self.0.name)
    }
}

/// The CMDB's error as the core sees it.
pub(super) fn failure(error: CmdbError) -> Failure {
    let message = error.to_string();
    match error {
        CmdbError::Unreachable(_) => Failure::Unreachable(message),
        CmdbError::Ambiguous(_) => Failure::Ambiguous(message),
        CmdbError::Later { code, message } => Failure::Later { code, message },
        CmdbError::Refused { code, message, field } => Failure::Refused { code, message, field },
        CmdbError::Duplicate { message } => Failure::Duplicate(message),
        CmdbError::NotFound => Failure::NotFound,
        CmdbError::Fenced(_) => Failure::Fenced(message),
    }
}
