//! When something is tried again: a record after a while, and everything after a pause where it is the
//! CMDB that fails and not a record.

use super::{Effect, Lane};
use crate::plan::mutation::{Mutation, active};
use crate::plan::{Backoff, Failing, Ledger, Moment};
use std::time::Duration;

/// Between attempts for one record.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(8));
/// Between attempts of a lane whose CMDB does not answer: it notices within this time that it is back.
const PAUSE: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(6));
/// Failures in a row, each of another uuid than the one before, after which the lane pauses.
const FAILURES_TO_PAUSE: u32 = 3;
/// Failed attempts in a row, some ten seconds, after which a record is shown as failing.
const ATTEMPTS_TO_SHOW: u32 = 5;

impl Lane {
    /// Tries a uuid again after a while.
    pub(super) fn retry_later(&mut self, uuid: &str, now: Moment) {
        let Some(job) = self.jobs.get_mut(uuid) else { return };
        job.attempts += 1;
        let at = RETRY.after(now, job.attempts, &mut self.rng);
        self.park(uuid.to_owned(), at);
    }

    pub(super) fn is_habit(&self, uuid: &str) -> bool {
        self.jobs.get(uuid).is_some_and(|job| job.attempts >= ATTEMPTS_TO_SHOW)
    }

    /// What a failure that will be repeated leads to: told once when it has become a habit.
    pub(super) fn retries(
        &self,
        uuid: &str,
        code: i64,
        message: String,
        now: Moment,
        ledger: &mut Ledger,
    ) -> Vec<Effect> {
        let failing = Failing { code, message: message.clone(), since: now };
        let mut effects = Vec::new();
        // Where the whole lane waits it is the CMDB that fails, not this record.
        if self.is_habit(uuid) && !self.is_paused() && ledger.fails(uuid, failing) {
            effects.push(Effect::Failing { uuid: uuid.to_owned(), message: message.clone() });
        }
        effects.push(Effect::Retry { message });
        effects
    }

    /// A request failed for a reason that is not its record's. A uuid that fails again and again
    /// says nothing about the others, unless the failure is `heavy`: the CMDB did not answer.
    pub(super) fn count_failure(&mut self, uuid: &str, heavy: bool, now: Moment) {
        let again = self.last_failed.as_deref() == Some(uuid);
        let alone = again || (self.is_habit(uuid) && !self.is_paused());
        if !heavy && alone && !active(Mutation::OneFailurePausesAll) {
            return;
        }
        self.last_failed = Some(uuid.to_owned());
        let least = if heavy || active(Mutation::OneFailurePausesAll) { FAILURES_TO_PAUSE } else { 0 };
        self.failures = (self.failures + 1).max(least);
        if self.failures >= FAILURES_TO_PAUSE {
            let attempt = self.failures - FAILURES_TO_PAUSE + 1;
            self.paused_until = Some(PAUSE.after(now, attempt, &mut self.rng));
        }
    }

    /// A request got a definite answer.
    pub(super) fn count_answer(&mut self) {
        self.failures = 0;
        self.last_failed = None;
        self.paused_until = None;
    }
}
