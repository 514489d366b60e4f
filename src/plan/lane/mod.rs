//! A lane: the pure half of one sender shard.
//!
//! It folds orders into one [`Job`] per uuid, says which request comes next, and turns each answer
//! into what is left to do. One uuid has at most one request on its way, so its writes keep their
//! order. What must wait is parked on a timer and holds nobody back; only a CMDB that fails for
//! several uuids in a row pauses the lane, which then asks with one request at a time.
//!
//! A record is written only in the epoch of the ledger in which that was decided: what waits here
//! while the permission to write is interrupted is given up, and the full sync that follows decides
//! anew. What is proven gone stays gone.

mod answers;
mod failures;
mod job;
mod read_back;
mod refusals;
#[cfg(test)]
mod sticky;
#[cfg(test)]
mod tests;

use super::mutation::{Mutation, active};
use super::{Acked, Desired, FieldSet, Fingerprint, Ledger, Moment, Order, OrderKind, Proof};
use crate::model::{Field, ObservedPod, PodRecord};
use job::Job;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

/// Code of a record whose module does not exist in its business (protocol.md 2).
const MODULE_UNKNOWN: i64 = 1_118_401;

/// What a lane may do.
#[derive(Clone, Copy, Debug)]
pub struct LaneSettings {
    /// Pods per create-many call.
    pub batch: usize,
    /// How long an unanswered write may still land: `cmdb_timeout`.
    pub recheck_after: Duration,
    /// Records kept in memory for parked jobs; further ones are read again when their time comes.
    pub parked_records: usize,
    /// Whether records may be deleted (`sync_policy` other than `upsert-only`).
    pub deletes: bool,
}

/// The next thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read a document of bcs-storage.
    PointRead {
        /// On whose behalf.
        uuid: String,
        /// The storage's namespace of it.
        namespace: String,
        /// The storage's name of it.
        name: String,
    },
    /// Read the record of that uuid in the CMDB.
    ReadBack {
        /// Which.
        uuid: String,
    },
    /// Find out who holds the uuid or the name.
    FindHolder {
        /// The uuid that cannot be created.
        uuid: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// Delete a record that stands in the way.
    Evict {
        /// On whose behalf.
        uuid: String,
        /// What to delete.
        holder: Box<Holder>,
    },
    /// Create one record, or many in one call.
    Create(Vec<String>),
    /// Send these fields.
    Update {
        /// Which.
        uuid: String,
        /// Fields that differ.
        fields: FieldSet,
    },
    /// Delete the record.
    Delete {
        /// Which.
        uuid: String,
        /// Why it may be deleted.
        proof: Proof,
    },
    /// Hand on to the shard of the pod that a point read found under the name of one that is gone
    /// now. It reads for itself: since that read, events about the pod may have passed. Needs no
    /// answer.
    Hint(Order),
    /// Nothing until that moment, or until an order arrives.
    Wait(Option<Moment>),
}

/// What a point read in the storage said.
#[derive(Debug)]
pub enum PointRead {
    /// A living pod.
    Pod(Box<ObservedPod>),
    /// Nothing there.
    Gone,
    /// A document that cannot be understood: no proof of anything.
    Unusable(String),
    /// The storage could not be read.
    Failed(String),
}

/// A record as the CMDB holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

/// A record that makes a create fail as a duplicate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its uuid.
    pub uuid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its cluster.
    pub cluster: String,
    /// Its business.
    pub biz: i64,
    /// Whether it belongs to the cluster this lane works for.
    pub our_cluster: bool,
    /// Whether it is in the business the cluster belongs to now.
    pub our_biz: bool,
    /// Its fingerprint.
    pub fingerprint: Fingerprint,
}

/// Why a call failed, by what follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Nothing was sent.
    Unreachable(String),
    /// It may have been carried out, or may still be.
    Ambiguous(String),
    /// Worth a later try.
    Later {
        /// The CMDB's code.
        code: i64,
        /// Its words.
        message: String,
    },
    /// Refused for good.
    Refused {
        /// The CMDB's code.
        code: i64,
        /// Its words.
        message: String,
        /// The field it names.
        field: Option<Field>,
    },
    /// The uuid or the name exists.
    Duplicate(String),
    /// There is no such record.
    NotFound,
    /// This instance must not write now: nothing was sent.
    Fenced(String),
}

/// What an answer leads to outside the lane.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    /// A point read found what a complete listing missed.
    ListingMissed,
    /// A pod whose delete no event told is gone.
    FoundGone {
        /// `_id` of its document.
        storage_id: String,
        /// Whether the CMDB holds a record of it, which is deleted now.
        deleted: bool,
    },
    /// The topology should be read again.
    RefreshTopology,
    /// A record was created or updated.
    Wrote {
        /// Whose.
        uuid: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Created, else updated.
        created: bool,
        /// When its event arrived.
        received: Option<Moment>,
    },
    /// A record was deleted.
    Deleted {
        /// Whose.
        uuid: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Why.
        proof: Proof,
    },
    /// A record was refused, and was not for this reason before.
    Refused {
        /// Whose.
        uuid: String,
        /// Why, with code and field.
        message: String,
    },
    /// A record keeps failing for a reason that should pass; it is told once.
    Failing {
        /// Whose.
        uuid: String,
        /// Why.
        message: String,
    },
    /// A record that was refused or kept failing is written.
    Mended {
        /// Whose.
        uuid: String,
    },
    /// A request failed and will be repeated.
    Retry {
        /// Why.
        message: String,
    },
    /// A request got a definite answer.
    Answered,
}

/// The lane.
#[derive(Debug)]
pub struct Lane {
    settings: LaneSettings,
    jobs: HashMap<String, Job>,
    ready: VecDeque<String>,
    parked: BTreeSet<(Moment, String)>,
    parked_records: usize,
    /// Pods per create-many right now: halved when a whole call fails, doubled when one succeeds.
    batch: usize,
    failures: u32,
    last_failed: Option<String>,
    paused_until: Option<Moment>,
    /// The ledger's epoch when the request that is on its way was decided.
    epoch: u64,
    rng: fastrand::Rng,
}

impl Lane {
    /// An idle lane.
    pub fn new(settings: LaneSettings, seed: u64) -> Self {
        Self {
            settings,
            jobs: HashMap::new(),
            ready: VecDeque::new(),
            parked: BTreeSet::new(),
            parked_records: 0,
            batch: settings.batch.max(1),
            failures: 0,
            last_failed: None,
            paused_until: None,
            epoch: 0,
            rng: fastrand::Rng::with_seed(seed),
        }
    }

    /// Uuids with open work.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Whether the lane waits because its CMDB does not answer.
    pub fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    /// Whether further orders may be taken in: enough is ready to fill the next calls otherwise.
    pub fn has_room(&self) -> bool {
        self.ready.len() < self.settings.batch.max(1) * 2
    }

    /// Takes an order in. One to write what the ledger wants no more is left out: a newer one is on
    /// its way, this lane learnt better from a read since, or the permission to write was interrupted.
    pub fn add(&mut self, order: Order, ledger: &Ledger) {
        if let OrderKind::Write(desired) = &order.kind
            && !desired.is_due(&order.uuid, ledger)
        {
            return;
        }
        let Some(job) = self.jobs.get_mut(&order.uuid) else {
            let mut job = Job::new(&order);
            job.fold(order.kind);
            self.jobs.insert(order.uuid.clone(), job);
            // What has not failed yet tells best whether the CMDB is back.
            match self.is_paused() {
                true => self.ready.push_front(order.uuid),
                false => self.ready.push_back(order.uuid),
            }
            return;
        };
        let parked = job.parked_until;
        if let (true, Some(at)) = (job.fold(order.kind), parked) {
            self.parked.remove(&(at, order.uuid.clone()));
            self.unpark(order.uuid);
        }
    }

    /// The record a uuid is to have; what [`Step::Create`] and [`Step::Update`] send.
    pub fn record(&self, uuid: &str) -> Option<&PodRecord> {
        self.wanted(uuid).map(|wanted| &wanted.record)
    }

    fn wanted(&self, uuid: &str) -> Option<&Desired> {
        self.jobs.get(uuid)?.wanted.as_deref()
    }

    /// The next thing to do. Its answer must be given before the next call, unless it is
    /// [`Step::Wait`] or [`Step::Hint`].
    pub fn next(&mut self, now: Moment, ledger: &mut Ledger) -> Step {
        self.wake_parked(now);
        self.epoch = ledger.epoch();
        if let Some(until) = self.paused_until.filter(|until| *until > now && !self.ready.is_empty()) {
            return Step::Wait(Some(until));
        }
        while let Some(uuid) = self.ready.pop_front() {
            match self.step_of(&uuid, ledger) {
                // One that has failed so often could make a whole call fail with it.
                Some(Step::Create(first)) if !self.is_habit(&uuid) => return self.fill_batch(first, ledger),
                Some(step) => {
                    match &step {
                        Step::PointRead { .. } => ledger.read_begins(&uuid),
                        _ => ledger.ask_begins(&uuid),
                    }
                    return step;
                }
                None => {
                    if let Some(successor) = self.finish(uuid, now, ledger) {
                        return Step::Hint(successor);
                    }
                }
            }
        }
        Step::Wait(self.parked.first().map(|(at, _)| *at))
    }

    fn step_of(&mut self, uuid: &str, ledger: &Ledger) -> Option<Step> {
        let deletes = self.settings.deletes;
        self.jobs.get_mut(uuid)?.step(uuid, ledger, deletes)
    }

    /// Adds further creates that are ready, in their order, up to the batch size.
    fn fill_batch(&mut self, mut batch: Vec<String>, ledger: &mut Ledger) -> Step {
        let mut kept = VecDeque::new();
        while batch.len() < self.batch {
            let Some(uuid) = self.ready.pop_front() else { break };
            match self.step_of(&uuid, ledger) {
                Some(Step::Create(_)) if !self.is_habit(&uuid) => batch.push(uuid),
                _ => kept.push_back(uuid),
            }
        }
        kept.append(&mut self.ready);
        self.ready = kept;
        batch.iter().for_each(|uuid| ledger.ask_begins(uuid));
        Step::Create(batch)
    }

    /// Nothing is left to do for this uuid, except perhaps a later look. Returns the order to
    /// look at the pod that has its name now.
    fn finish(&mut self, uuid: String, now: Moment, ledger: &mut Ledger) -> Option<Order> {
        let job = self.jobs.get_mut(&uuid)?;
        let successor = job.successor.take();
        let successor = successor.and_then(|heir| ledger.expect(&heir));
        if job.doom.take().is_some() && ledger.acked(&uuid) == Acked::Absent {
            ledger.removed(&uuid, now);
        }
        match job.recheck_at {
            Some(at) => self.park(uuid, at.max(now)),
            None => {
                self.jobs.remove(&uuid);
            }
        }
        successor
    }

    fn wake_parked(&mut self, now: Moment) {
        while let Some((at, _)) = self.parked.first() {
            if *at > now {
                return;
            }
            let Some((_, uuid)) = self.parked.pop_first() else { return };
            if let Some(job) =
                self.jobs.get_mut(&uuid).filter(|job| job.recheck_at.is_some_and(|at| at <= now))
            {
                job.recheck_at = None;
                job.read_back = true;
            }
            self.unpark(uuid);
        }
    }

    fn unpark(&mut self, uuid: String) {
        let Some(job) = self.jobs.get_mut(&uuid) else { return };
        job.parked_until = None;
        self.parked_records -= usize::from(std::mem::take(&mut job.parked_record));
        self.ready.push_back(uuid);
    }

    /// Parks a job. Beyond the bound its record is let go and read again when its time comes.
    fn park(&mut self, uuid: String, at: Moment) {
        let Some(job) = self.jobs.get_mut(&uuid) else { return };
        if job.wanted.is_some() {
            if self.parked_records < self.settings.parked_records {
                self.parked_records += 1;
                job.parked_record = true;
            } else {
                job.wanted = None;
                if !active(Mutation::LoseParked) {
                    job.verify.get_or_insert(false);
                }
            }
        }
        job.parked_until = Some(at);
        self.parked.insert((at, uuid));
    }

    /// Goes on with a uuid before any other.
    fn resume(&mut self, uuid: &str) {
        if self.jobs.contains_key(uuid) {
            self.ready.push_front(uuid.to_owned());
        }
    }
}
