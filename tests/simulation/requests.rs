//! Requests and their answers, right, wrong, lost and late.

use super::checks::Violation;
use super::cmdb::{Write, Written};
use super::core::{Answer, RECHECK};
use super::driver::Run;
use super::mutations::Misuse;
use super::trace;
use bcs_bkcmdb_synchronizer::plan::{Effect, Failure, PointRead, Step};
use std::time::Duration;

impl Run {
    pub fn carry_out(&mut self, shard: usize) -> Result<(), Violation> {
        let Some((step, None)) = self.core.shards[shard].flight.take() else { return Ok(()) };
        self.oracle.requests += 1;
        let answer = match self.core.write_of(shard, &step) {
            Some(write) => {
                self.note(|_| format!("  {}", trace::write(&write)));
                if self.core.is_fenced(shard, &step) {
                    Answer::Written(Err(Failure::Fenced("interrupted".into())))
                } else {
                    self.oracle.check_write(&step, &write, &self.core, &self.storage, &self.cmdb)?;
                    let answer = self.answer_to(&write);
                    self.oracle.answered(&write, &answer, self.core.now, &self.storage)?;
                    Answer::Written(answer)
                }
            }
            None => {
                self.note(|_| format!("  {step:?}"));
                self.answer_to_read(&step)
            }
        };
        if let Answer::Written(Err(failure)) = &answer {
            self.note(|_| format!("  failed: {failure}"));
        }
        self.core.shards[shard].flight = Some((step, Some(answer)));
        Ok(())
    }

    pub fn broke(&self, misuse: Misuse) -> bool {
        self.core.settings.broken.is_some_and(|broken| broken.is(misuse))
    }

    fn answer_to(&mut self, write: &Write) -> Written {
        if self.outage {
            return Err(Failure::Unreachable("connection refused".into()));
        }
        let done = |write: &Write| Ok(vec![Ok(()); write.records().len().max(1)]);
        match self.chance.fault_of(7, self.kind.theme.fault()) {
            Some(0) => Err(Failure::Later { code: -1, message: "busy".into() }),
            Some(1) if self.broke(Misuse::FencedIsDone) => done(write),
            Some(1) => Err(Failure::Fenced("lost".into())),
            Some(kind @ (2..=4 | 6)) => {
                self.unanswered(write, kind);
                match () {
                    () if self.broke(Misuse::UnansweredIsDone) => done(write),
                    () if self.broke(Misuse::UnansweredIsUnsent) => {
                        Err(Failure::Unreachable("timeout".into()))
                    }
                    () => Err(Failure::Ambiguous("timeout".into())),
                }
            }
            Some(5) if write.records().len() > 1 => self.partly(write),
            _ => self.cmdb.write(write),
        }
    }

    /// The answer to a write is lost: it took effect, will perhaps do so later, or never.
    fn unanswered(&mut self, write: &Write, kind: u32) {
        self.oracle.doubt_all(write);
        match kind {
            2 => drop(self.cmdb.write(write)),
            3 | 6 => {
                let until = self.core.now + RECHECK - Duration::from_millis(1);
                self.cmdb.land_later(write.clone(), until);
            }
            _ => {}
        }
    }

    /// A create-many of which one item fails.
    fn partly(&mut self, write: &Write) -> Written {
        let mut records = write.records().to_vec();
        let at = self.chance.rng.usize(..records.len());
        records.remove(at);
        let rest = Write::Create(records);
        let mut answer = self.cmdb.write(&rest);
        if let Ok(results) = &mut answer {
            results.insert(at, Err(Failure::Later { code: 1_199_020, message: "insert failed".into() }));
        }
        answer
    }

    fn answer_to_read(&mut self, step: &Step) -> Answer {
        let fails = self.outage || self.chance.fault(self.kind.theme.read_fault());
        let message = || "no answer".to_owned();
        match step {
            Step::PointRead { .. } if fails && self.broke(Misuse::FailedReadIsGone) => {
                Answer::Read(PointRead::Gone)
            }
            Step::PointRead { .. } if fails => Answer::Read(PointRead::Failed(message())),
            Step::ReadBack { .. } if fails => Answer::Found(Err(Failure::Unreachable(message()))),
            Step::FindHolder { .. } if fails => {
                Answer::Holders(Box::new(Err(Failure::Unreachable(message()))))
            }
            _ => {
                if let Step::PointRead { name, .. } = step {
                    let truth = self.storage.read(name, &self.core.modules);
                    // A read that was never asked proves nothing.
                    if !self.broke(Misuse::SkipPointRead) {
                        self.oracle.read(name, &truth, &self.storage);
                    }
                }
                match self.core.read(step, &self.storage, &self.cmdb) {
                    Some(answer) => answer,
                    None => panic!("{step:?} is no read"),
                }
            }
        }
    }

    pub fn answer(&mut self, shard: usize) -> Result<(), Violation> {
        let looked_at = match &self.core.shards[shard].flight {
            Some((Step::ReadBack { uuid }, _)) => Some(uuid.clone()),
            _ => None,
        };
        let effects = self.core.answer(shard);
        if let Some(uuid) = looked_at {
            self.oracle.looked_at(&uuid, &self.core);
        }
        if effects.contains(&Effect::RefreshTopology) && !self.outage {
            self.core.take_modules(&self.cmdb.modules);
        }
        self.oracle.check_effects(&effects, &self.core)?;
        self.oracle.check_belief(&effects, &self.core, &self.cmdb)
    }
}
