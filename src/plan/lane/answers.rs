//! What the answers of storage and CMDB mean for a lane.

use super::refusals::DUPLICATES_IN_A_ROW;
use super::{Effect, Failure, Holder, Lane, MODULE_UNKNOWN, PointRead};
use crate::plan::mutation::{Mutation, active};
use crate::plan::{Acked, FieldSet, Heir, Ledger, Moment, OrderKind, Proof, Source};
use std::time::Duration;

/// Codes of a whole create-many that, like [`MODULE_UNKNOWN`], blame the module of one record; the
/// second hides such a blame in the original server.
const MODULE_QUERY_FAILED: i64 = 1_118_402;
const INTERNAL_PANIC: i64 = 1_199_999;
/// A document that cannot be understood is read again after this time.
const UNUSABLE: Duration = Duration::from_secs(60);

impl Lane {
    /// The storage answered a [`super::Step::PointRead`].
    pub fn point_read(
        &mut self,
        uuid: &str,
        read: PointRead,
        now: Moment,
        ledger: &mut Ledger,
    ) -> Vec<Effect> {
        let counts = ledger.read_counts(uuid) && self.is_of_now(ledger);
        let Some(job) = self.jobs.get_mut(uuid) else { return Vec::new() };
        let missing = job.verify.unwrap_or(false);
        let mut effects = Vec::new();
        match read {
            PointRead::Failed(message) => {
                job.verify.get_or_insert(false);
                self.retry_later(uuid, now);
                return self.retries(uuid, 0, message, now, ledger);
            }
            PointRead::Unusable(message) => {
                job.verify.get_or_insert(false);
                self.park(uuid.to_owned(), now + UNUSABLE);
                return vec![Effect::Retry { message }];
            }
            _ if !counts && !active(Mutation::TrustOvertakenRead) => {
                // The gate took something about this uid in while the storage was asked, or the permission
                // to write was interrupted: ask again.
                job.verify.get_or_insert(false);
            }
            PointRead::Pod(pod) if pod.record.uuid == uuid => {
                job.verify = None;
                job.doom = None;
                job.successor = None;
                if missing {
                    effects.push(Effect::ListingMissed);
                }
                let received = job.wanted.as_ref().and_then(|wanted| wanted.received);
                job.wanted = None;
                let decision = ledger.observe(*pod, Source::Read, received, now);
                for order in decision.orders {
                    if let OrderKind::Write(desired) = order.kind {
                        job.wanted = Some(desired);
                    }
                }
                if job.wanted.is_none() {
                    job.give_up_write();
                    // Whether there is a record decides what becomes of a pod without a host.
                    job.read_back |= ledger.acked(uuid) == Acked::Unknown;
                }
            }
            PointRead::Pod(pod) => {
                if missing {
                    effects.push(found_gone(uuid, self.settings.deletes, ledger));
                }
                self.doomed(uuid, Proof::Superseded { by: pod.record.uuid.clone() }, ledger);
                if let Some(job) = self.jobs.get_mut(uuid) {
                    job.successor = Some(Box::new(Heir::from(*pod)));
                }
            }
            PointRead::Gone => {
                if missing {
                    effects.push(found_gone(uuid, self.settings.deletes, ledger));
                }
                self.doomed(uuid, Proof::Gone, ledger);
            }
        }
        self.resume(uuid);
        effects
    }

    /// Whether the permission to write was not interrupted since the request began.
    fn is_of_now(&self, ledger: &Ledger) -> bool {
        self.epoch == ledger.epoch() || active(Mutation::TrustInterruptedRead)
    }

    fn doomed(&mut self, uuid: &str, proof: Proof, ledger: &mut Ledger) {
        ledger.doom(uuid);
        if let Some(job) = self.jobs.get_mut(uuid) {
            job.give_up_write();
            job.verify = None;
            job.successor = None;
            job.doom = Some(proof);
        }
    }

    /// The CMDB answered a [`super::Step::Create`]: per uuid, or one failure for the whole call.
    pub fn created(
        &mut self,
        uuids: &[String],
        answer: Result<Vec<Result<(), Failure>>, Failure>,
        now: Moment,
        ledger: &mut Ledger,
    ) -> Vec<Effect> {
        let results = match answer {
            Ok(results) => {
                self.batch = (self.batch * 2).min(self.settings.batch.max(1));
                results
            }
            Err(failure) => return self.create_failed(uuids, failure, now, ledger),
        };
        let mut effects = Vec::new();
        // From the back: `resume` puts each before the others, so that their order stays.
        for (uuid, result) in uuids.iter().zip(results).rev() {
            match result {
                Ok(()) => effects.extend(self.wrote(uuid, FieldSet::EMPTY, true, ledger)),
                Err(failure) => effects.extend(self.failed(uuid, failure, now, ledger)),
            }
        }
        effects
    }

    /// A whole call failed. One bad pod must not hold back the others: the next calls are smaller.
    fn create_failed(
        &mut self,
        uuids: &[String],
        failure: Failure,
        now: Moment,
        ledger: &mut Ledger,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let blamed = match &failure {
            Failure::Refused { code, .. } | Failure::Later { code, .. } => Some(*code),
            _ => None,
        };
        let [_, _, ..] = uuids else {
            let failed = uuids.first().map(|uuid| self.failed(uuid, failure, now, ledger));
            return failed.unwrap_or_default();
        };
        if let Some(code) = blamed {
            if !active(Mutation::NoSplit) {
                self.batch = (uuids.len() / 2).max(1);
            }
            if matches!(code, MODULE_UNKNOWN | MODULE_QUERY_FAILED | INTERNAL_PANIC) {
                effects.push(Effect::RefreshTopology);
            } else if matches!(failure, Failure::Later { .. }) {
                self.count_failure(&uuids[0], true, now);
            }
            effects.push(Effect::Retry { message: failure.to_string() });
            uuids.iter().rev().for_each(|uuid| self.resume(uuid));
            return effects;
        }
        // One call is one failure, however many pods it carried.
        let before = self.failures;
        for uuid in uuids.iter().rev() {
            self.failures = before;
            effects.extend(self.failed(uuid, failure.clone(), now, ledger));
        }
        effects
    }

    /// The CMDB answered a [`super::Step::Update`].
    pub fn updated(
        &mut self,
        uuid: &str,
        fields: FieldSet,
        answer: Result<(), Failure>,
        now: Moment,
        ledger: &mut Ledger,
    ) -> Vec<Effect> {
        match answer {
            Ok(()) => self.wrote(uuid, fields, false, ledger),
            Err(Failure::NotFound) => {
                self.count_answer();
                ledger.learn(uuid, Acked::Absent);
                if let Some(job) = self.jobs.get_mut(uuid).filter(|_| !active(Mutation::CreateUnread)) {
                    job.verify.get_or_insert(false);
                }
                self.resume(uuid);
                vec![Effect::Answered]
            }
            Err(failure) => self.failed(uuid, failure, now, ledger),
        }
    }

    fn wrote(&mut self, uuid: &str, fields: FieldSet, created: bool, ledger: &mut Ledger) -> Vec<Effect> {
        self.count_answer();
        let Some(job) = self.jobs.get_mut(uuid) else { return Vec::new() };
        let Some(wanted) = &job.wanted else { return Vec::new() };
        let received = wanted.received;
        let last = ledger.ask_is_last(uuid);
        let whole = match ledger.acked(uuid) {
            Acked::Absent => created,
            Acked::Unknown => false,
            Acked::Present(held) => wanted.is_whole_with(fields, &held, last),
        };
        let whole = whole || active(Mutation::TrustOverlappedWrite);
        let over = match whole {
            true => ledger.written(uuid, wanted.fingerprint, wanted.keeps_host),
            false => {
                ledger.learn(uuid, Acked::Unknown);
                false
            }
        };
        job.attempts = 0;
        job.duplicates = 0;
        if fields.iter().any(|field| !field.mutable()) && !active(Mutation::BelieveImmutableUpdate) {
            // Not every server changes what it does not promise to change: look.
            job.immutable_sent = Some(wanted.fingerprint.total);
            job.read_back = true;
        } else if whole {
            job.wanted = None;
        }
        let (namespace, name) = (job.namespace.clone(), job.name.clone());
        self.resume(uuid);
        let mut effects = vec![Effect::Wrote { uuid: uuid.to_owned(), namespace, name, created, received }];
        if over {
            effects.push(Effect::Mended { uuid: uuid.to_owned() });
        }
        effects
    }

    /// The CMDB answered a [`super::Step::Delete`].
    pub fn deleted(
        &mut self,
        uuid: &str,
        proof: Proof,
        answer: Result<(), Failure>,
        now: Moment,
        ledger: &mut Ledger,
    ) -> Vec<Effect> {
        match answer {
            Ok(()) => {}
            Err(Failure::Refused { code, message, .. }) => {
                return self.delete_refused(uuid, code, &message, now, ledger);
            }
            Err(failure) => return self.failed(uuid, failure, now, ledger),
        }
        self.count_answer();
        let last = ledger.ask_is_last(uuid);
        ledger.learn(uuid, if last { Acked::Absent } else { Acked::Unknown });
        let Some(job) = self.jobs.get_mut(uuid) else { return Vec::new() };
        // A record that a listing has shown since may be another one.
        job.read_back |= !last;
        job.attempts = 0;
        job.replace = None;
        let (namespace, name) = (job.namespace.clone(), job.name.clone());
        self.resume(uuid);
        vec![Effect::Deleted { uuid: uuid.to_owned(), namespace, name, proof }]
    }

    /// The CMDB answered a [`super::Step::FindHolder`]: who has the uuid, who has the name.
    pub fn holder_found(
        &mut self,
        uuid: &str,
        answer: Result<(Option<Holder>, Option<Holder>), Failure>,
        now: Moment,
        ledger: &mut Ledger,
    ) -> Vec<Effect> {
        let (by_uuid, by_name) = match answer {
            Ok(found) => found,
            Err(failure) => return self.failed(uuid, failure.of_a_read(), now, ledger),
        };
        self.count_answer();
        let Some(job) = self.jobs.get_mut(uuid) else { return Vec::new() };
        job.find_holder = false;
        let refusal = match (by_uuid, by_name) {
            (Some(ours), _) if ours.our_cluster && ours.our_biz => {
                let last = ledger.ask_is_last(uuid);
                ledger.learn(uuid, if last { Acked::Present(ours.fingerprint) } else { Acked::Unknown });
                None
            }
            (Some(old), _) | (None, Some(old)) if old.our_cluster && !self.settings.deletes => Some(format!(
                "it is held by the record of uuid {}, which sync_policy upsert-only keeps",
                old.uuid
            )),
            (Some(old), _) if old.our_cluster => {
                job.evict = Some(Box::new(old));
                None
            }
            (Some(other), _) => {
                Some(format!("the uuid is held by cluster {} in business {}", other.cluster, other.biz))
            }
            (None, Some(old)) if old.our_cluster => {
                // Whoever the storage shows under the name now is right.
                job.verify = (!active(Mutation::EvictUnread)).then_some(false);
                job.evict = Some(Box::new(old));
                None
            }
            (None, Some(other)) => {
                Some(format!("the name is held by cluster {} in business {}", other.cluster, other.biz))
            }
            (None, None) if job.duplicates <= DUPLICATES_IN_A_ROW => {
                // Whoever held it may just have been deleted.
                self.retry_later(uuid, now);
                return vec![Effect::Answered];
            }
            (None, None) => Some(
                "the CMDB says duplicate, but neither this business nor a previous one holds it: \
                 look for the uuid in the other businesses"
                    .to_owned(),
            ),
        };
        match refusal {
            Some(message) => self.refuse(uuid, None, 1_199_014, message, now, ledger),
            None => {
                self.resume(uuid);
                vec![Effect::Answered]
            }
        }
    }

    /// The CMDB answered a [`super::Step::Evict`].
    pub fn evicted(
        &mut self,
        uuid: &str,
        holder: &Holder,
        answer: Result<(), Failure>,
        now: Moment,
        ledger: &mut Ledger,
    ) -> Vec<Effect> {
        match answer {
            Ok(()) => {}
            Err(Failure::Refused { code, message, .. }) => {
                return self.delete_refused(uuid, code, &message, now, ledger);
            }
            Err(failure) => return self.failed(uuid, failure, now, ledger),
        }
        self.count_answer();
        let proof = if holder.our_biz {
            ledger.doom(&holder.uuid);
            ledger.removed(&holder.uuid, now);
            Proof::Superseded { by: uuid.to_owned() }
        } else {
            Proof::BusinessChanged
        };
        if let Some(job) = self.jobs.get_mut(uuid) {
            job.evict = None;
        }
        self.resume(uuid);
        let (namespace, name) = (holder.namespace.clone(), holder.name.clone());
        vec![Effect::Deleted { uuid: holder.uuid.clone(), namespace, name, proof }]
    }
}

fn found_gone(uuid: &str, deletes: bool, ledger: &Ledger) -> Effect {
    Effect::FoundGone {
        storage_id: ledger.storage_id_of(uuid).unwrap_or_default().to_owned(),
        deleted: deletes && ledger.acked(uuid) != Acked::Absent,
    }
}
