//! What a sender writes to the CMDB. With `dry-run` each write is said instead of sent and counts as
//! carried out, so that everything behind it goes on as it would.

use super::shared::Shared;
use crate::cmdb::CmdbError;
use crate::config::SyncPolicy;
use crate::model::{Field, PodRecord};
use crate::plan::Failure;
use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

/// The writes of one cluster.
#[derive(Clone, Copy)]
pub(super) struct Writes<'a> {
    shared: &'a Shared,
}

impl<'a> Writes<'a> {
    pub fn new(shared: &'a Shared) -> Self {
        Self { shared }
    }

    /// One record.
    pub fn create(self, record: &PodRecord) -> Result<(), Failure> {
        if self.only_said(&record.uuid, format_args!("create {}", Named(record))) {
            return Ok(());
        }
        self.answered(self.shared.peers.cmdb.create(&self.shared.scope(), record))
    }

    /// Several records in one call; the answer is one for each.
    pub fn create_many(self, records: &[&PodRecord]) -> Result<Vec<Result<(), Failure>>, Failure> {
        if self.are_only_said() {
            return Ok(records.iter().map(|record| self.create(record)).collect());
        }
        let results = self.answered(self.shared.peers.cmdb.create_many(&self.shared.scope(), records))?;
        Ok(results.into_iter().map(|result| result.map_err(failure)).collect())
    }

    /// These fields of a record.
    pub fn update(self, record: &PodRecord, fields: &[Field]) -> Result<(), Failure> {
        let names = || fields.iter().map(|field| field.name()).collect::<Vec<_>>().join(", ");
        if self.only_said(&record.uuid, format_args!("update {} of {}", names(), Named(record))) {
            return Ok(());
        }
        let Shared { peers, .. } = self.shared;
        self.answered(peers.cmdb.update(&self.shared.scope(), &record.uuid, record, fields))
    }

    /// The record of a uuid in a business.
    pub fn delete(self, biz: i64, uuid: &str) -> Result<(), Failure> {
        if self.only_said(uuid, format_args!("delete it from business {biz}")) {
            return Ok(());
        }
        self.answered(self.shared.peers.cmdb.delete(&self.shared.scope_in(biz), uuid).map(|_| ()))
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
