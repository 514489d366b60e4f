//! What a look at the CMDB's own record means: whether a write landed, and whether one was taken.

use super::job::Job;
use super::{Effect, Failure, Lane, Stored};
use crate::plan::mutation::{Mutation, active};
use crate::plan::{Acked, FieldSet, Ledger, Moment};

impl Lane {
    /// The CMDB answered a [`super::Step::ReadBack`].
    pub fn read_back(
        &mut self,
        uuid: &str,
        answer: Result<Option<Stored>, Failure>,
        now: Moment,
        ledger: &mut Ledger,
    ) -> Vec<Effect> {
        let found = match answer {
            Ok(found) => found,
            Err(failure) => return self.failed(uuid, failure.of_a_read(), now, ledger),
        };
        self.count_answer();
        let deletes = self.settings.deletes;
        let Some(job) = self.jobs.get_mut(uuid) else { return Vec::new() };
        if !ledger.ask_is_last(uuid) {
            // Which of the two saw the record as it is now, nobody can tell: look again.
            job.read_back = true;
            self.resume(uuid);
            return vec![Effect::Answered];
        }
        job.read_back = false;
        match &found {
            Some(stored) => ledger.adopt(uuid, &stored.namespace, &stored.name, stored.fingerprint),
            None => ledger.learn(uuid, Acked::Absent),
        }
        let mut effects = vec![Effect::Answered];
        match judge(job, found.as_ref(), deletes) {
            Found::Nothing => {}
            Found::Unwanted => {
                // Only a look whether something landed late: whatever is not as wanted is read anew.
                if !as_desired(uuid, found.as_ref(), ledger) && !ledger.is_left_alone(uuid) {
                    job.verify.get_or_insert(false);
                }
            }
            Found::AsWanted => {
                if ledger.settle(uuid) {
                    effects.push(Effect::Mended { uuid: uuid.to_owned() });
                }
            }
            Found::Untaken(left, why_not) => {
                let message = format!("the CMDB does not change this field, and {why_not}");
                return self.refuse(uuid, left.iter().next(), 0, message, now, ledger);
            }
        }
        self.resume(uuid);
        effects
    }
}

/// What was found, in the light of what is to be done.
enum Found {
    /// There is work to do, and this does not change it.
    Nothing,
    /// Nothing is to be written.
    Unwanted,
    /// What is to be written is there.
    AsWanted,
    /// An immutable field stayed as it was, and the record may not be replaced: why not.
    Untaken(FieldSet, &'static str),
}

/// Also notes whether the record must be replaced.
fn judge(job: &mut Job, found: Option<&Stored>, deletes: bool) -> Found {
    let sent = job.immutable_sent.take();
    let (wanted, stored) = match (&job.wanted, found) {
        (Some(wanted), Some(stored)) => (wanted, stored),
        (None, _) if job.doom.is_none() => return Found::Unwanted,
        _ => return Found::Nothing,
    };
    let left = wanted.to_send(&stored.fingerprint);
    if left.is_empty() {
        return Found::AsWanted;
    }
    let total = wanted.fingerprint.total;
    let untaken = sent == Some(total) && left.only_immutable() && !active(Mutation::NeverReplace);
    job.replace = untaken.then_some(total);
    match (untaken, deletes, wanted.keeps_host) {
        (false, _, _) => Found::Nothing,
        (_, false, _) => Found::Untaken(left, "sync_policy upsert-only does not replace the record"),
        (_, _, true) => Found::Untaken(left, "without a host the pod could not be recorded anew"),
        _ => Found::Nothing,
    }
}

/// Whether the CMDB holds what the ledger wants.
fn as_desired(uuid: &str, found: Option<&Stored>, ledger: &Ledger) -> bool {
    match (ledger.desired(uuid), found) {
        (Some(total), Some(stored)) => stored.fingerprint.total == total,
        (None, None) => true,
        _ => false,
    }
}
