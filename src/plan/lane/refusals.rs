//! What a request that failed means for its uuid: later, in doubt, mended, or refused.

use super::{Effect, Failure, Lane, MODULE_UNKNOWN};
use crate::convert::repair::Repairs;
use crate::model::Field;
use crate::plan::mutation::{Mutation, active};
use crate::plan::{Acked, Desired, Ledger, Moment, Refusal};
use std::time::Duration;

/// Codes that name what is wrong with a field (protocol.md 2).
const PATTERN: i64 = 1_199_016;
const TOO_LONG: i64 = 1_199_015;
/// After this many duplicates of one uuid in a row it waits like any other failure.
pub(super) const DUPLICATES_IN_A_ROW: u32 = 3;
/// How soon a fenced lane asks again.
const FENCED: Duration = Duration::from_secs(1);
/// A refused record that did not change is tried again after this time (design.md 3, rule 7).
const REFUSAL_LIFE: Duration = Duration::from_secs(3600);

impl Lane {
    /// A request about one uuid failed.
    pub(super) fn failed(
        &mut self,
        uuid: &str,
        failure: Failure,
        now: Moment,
        ledger: &mut Ledger,
    ) -> Vec<Effect> {
        let message = failure.to_string();
        let mut of_the_record = None;
        match failure {
            Failure::Unreachable(_) => {
                self.count_failure(uuid, true, now);
                self.resume(uuid);
            }
            Failure::Fenced(_) => {
                self.paused_until = Some(now + FENCED);
                self.resume(uuid);
            }
            Failure::Ambiguous(_) => {
                self.count_failure(uuid, true, now);
                self.in_doubt(uuid, now, ledger);
                of_the_record = Some(0);
            }
            Failure::Later { code, .. } => {
                self.count_failure(uuid, false, now);
                self.retry_later(uuid, now);
                of_the_record = Some(code);
            }
            Failure::NotFound => {
                self.count_failure(uuid, false, now);
                self.retry_later(uuid, now);
                of_the_record = Some(0);
            }
            Failure::Duplicate(_) => {
                self.count_answer();
                let Some(job) = self.jobs.get_mut(uuid) else { return Vec::new() };
                job.find_holder = true;
                job.duplicates += 1;
                if job.duplicates > DUPLICATES_IN_A_ROW {
                    self.retry_later(uuid, now);
                } else {
                    self.resume(uuid);
                }
                return vec![Effect::Answered];
            }
            Failure::Refused { code, message, field } => {
                self.count_answer();
                return self.mend(uuid, code, message, field, now, ledger);
            }
        }
        match of_the_record {
            Some(code) => self.retries(uuid, code, message, now, ledger),
            None => vec![Effect::Retry { message }],
        }
    }

    /// A write was not answered: read back soon, and once more when it can no longer land.
    fn in_doubt(&mut self, uuid: &str, now: Moment, ledger: &mut Ledger) {
        ledger.learn(uuid, Acked::Unknown);
        if let Some(job) = self.jobs.get_mut(uuid) {
            job.read_back = true;
            if !active(Mutation::NoRecheck) {
                job.recheck_at = Some(now + self.settings.recheck_after);
            }
        }
        self.retry_later(uuid, now);
    }

    /// A record was refused: its module is looked up again, an optional field is repaired, or the
    /// record is given up until its source changes.
    fn mend(
        &mut self,
        uuid: &str,
        code: i64,
        message: String,
        field: Option<Field>,
        now: Moment,
        ledger: &mut Ledger,
    ) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(uuid) else { return Vec::new() };
        let Some(wanted) = job.wanted.as_deref_mut() else {
            self.resume(uuid);
            return Vec::new();
        };
        if code == MODULE_UNKNOWN && job.refused_module != Some(wanted.record.module_id) {
            job.refused_module = Some(wanted.record.module_id);
            job.verify = Some(false);
            self.resume(uuid);
            return vec![Effect::RefreshTopology];
        }
        let mut repaired = false;
        for field in suspects(code, field, wanted) {
            let (before, again) = ledger.repairs_of(uuid, field, wanted.record.text(field));
            let Some(repairs) = next_repair(before, field, code, wanted) else { continue };
            repaired = true;
            if again {
                // Steps add up from the source, or the next sight of the pod would differ.
                ledger.repaired_further(uuid, field, repairs, code);
                job.verify = Some(false);
            } else {
                ledger.repaired(uuid, field, repairs, code, wanted, now);
            }
        }
        if repaired {
            self.resume(uuid);
            return vec![Effect::Answered];
        }
        self.refuse(uuid, field, code, message, now, ledger)
    }

    pub(super) fn refuse(
        &mut self,
        uuid: &str,
        field: Option<Field>,
        code: i64,
        message: String,
        now: Moment,
        ledger: &mut Ledger,
    ) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(uuid) else { return Vec::new() };
        let wanted = job.wanted.take();
        job.give_up_write();
        let is_due = |total| ledger.desired(uuid) == Some(total) || active(Mutation::RefuseOvertaken);
        let Some(wanted) = wanted.filter(|wanted| is_due(wanted.fingerprint.total)) else {
            // A newer version is on its way: what the CMDB says of this one is of no interest.
            self.resume(uuid);
            return vec![Effect::Answered];
        };
        let shown = match field {
            Some(field) => format!("{} refused with {code}: {message}", field.name()),
            None => format!("refused with {code}: {message}"),
        };
        let (wanted, kept_host) = (Some(wanted.fingerprint), wanted.keeps_host);
        let retry_at = now + REFUSAL_LIFE;
        if active(Mutation::RefuseSilently) {
            return Vec::new();
        }
        let news =
            ledger.refused(uuid, Refusal { field, code, message, since: now, retry_at, wanted, kept_host });
        self.resume(uuid);
        vec![told(news, uuid, shown)]
    }

    /// A delete was refused: the pod stays recorded, and it shows why.
    pub(super) fn delete_refused(
        &mut self,
        uuid: &str,
        code: i64,
        words: &str,
        now: Moment,
        ledger: &mut Ledger,
    ) -> Vec<Effect> {
        self.count_answer();
        let message = format!("the CMDB does not delete a record: {words}");
        if self.jobs.get(uuid).is_some_and(|job| job.wanted.is_some()) {
            return self.refuse(uuid, None, code, message, now, ledger);
        }
        let retry_at = now + REFUSAL_LIFE;
        let refusal = Refusal {
            field: None,
            code,
            message: message.clone(),
            since: now,
            retry_at,
            wanted: None,
            kept_host: false,
        };
        let news = ledger.refused(uuid, refusal);
        self.park(uuid.to_owned(), retry_at);
        vec![told(news, uuid, message)]
    }
}

/// A refusal, where it is one already known as such: an answer like any other.
fn told(news: bool, uuid: &str, message: String) -> Effect {
    if news { Effect::Refused { uuid: uuid.to_owned(), message } } else { Effect::Answered }
}

/// The fields a refusal is about: the one it names, else those its code can mean.
fn suspects(code: i64, named: Option<Field>, wanted: &Desired) -> Vec<Field> {
    let candidates: &[Field] = match (named, code) {
        (Some(field), _) => return vec![field],
        (None, PATTERN) => &[Field::Labels, Field::Annotations],
        (None, TOO_LONG) => &[Field::Labels, Field::Annotations, Field::Containers, Field::Volumes],
        (None, _) => &[],
    };
    candidates.iter().copied().filter(|field| !wanted.record.text(*field).is_empty()).collect()
}

/// The first step of the repair ladder, from `repairs` on, that changes something: those known
/// already count where the record was handed over before they were found.
fn next_repair(mut repairs: Repairs, field: Field, code: i64, wanted: &Desired) -> Option<Repairs> {
    let text = wanted.record.text(field);
    while repairs.apply(field, text) == text {
        repairs = repairs.next(field, code)?;
    }
    Some(repairs)
}

impl Failure {
    /// The same for a request that only reads: a refusal says nothing about the record.
    pub(super) fn of_a_read(self) -> Self {
        match self {
            Self::Refused { code, message, .. } => Self::Later { code, message },
            other => other,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreachable(message) | Self::Ambiguous(message) | Self::Fenced(message) => {
                f.write_str(message)
            }
            // Without a code it is no word of the CMDB but what stands between.
            Self::Later { code: 0, message } => f.write_str(message),
            Self::Later { code, message } => write!(f, "the CMDB answered {code}: {message}"),
            Self::Refused { code, message, .. } => write!(f, "the CMDB refused with {code}: {message}"),
            Self::Duplicate(message) => write!(f, "duplicate: {message}"),
            Self::NotFound => f.write_str("the CMDB has no such record"),
        }
    }
}
