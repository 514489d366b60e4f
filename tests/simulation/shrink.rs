//! Finds the smallest part of a failing run that still fails, and tells it.

use super::chance::{Case, Kept};
use super::checks::{Failed, Violation};
use super::driver::Run;
use super::mutations::Broken;

/// Attempts at most.
const ATTEMPTS: usize = 4000;

/// Runs a case.
pub fn attempt(case: &Case, broken: Option<Broken>) -> Result<(), Violation> {
    Run::new(case, broken, false).all()
}

/// The smallest case that breaks the same rule.
pub fn shrink(failed: Failed, broken: Option<Broken>) -> Failed {
    let Failed { mut case, mut violation } = failed;
    let mut attempts = 0;
    let mut still_fails = |candidate: &Case, violation: &mut Violation| {
        attempts += 1;
        match attempt(candidate, broken) {
            Err(other) if other.rule == violation.rule && attempts <= ATTEMPTS => {
                *violation = other;
                true
            }
            _ => false,
        }
    };
    let mut size = case.steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < case.steps.len() {
            let mut fewer = case.clone();
            fewer.steps.drain(at..(at + size).min(case.steps.len()));
            if still_fails(&fewer, &mut violation) {
                case = fewer;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    for at in 0..case.steps.len() {
        let mut calmer = case.clone();
        calmer.steps[at] = Kept { calm: true, ..calmer.steps[at] };
        if still_fails(&calmer, &mut violation) {
            case = calmer;
        }
    }
    Failed { case, violation }
}

/// What happens in a case, step by step, and how it ends.
pub fn tell(failed: &Failed, broken: Option<Broken>) -> String {
    let mut run = Run::new(&failed.case, broken, true);
    let _ = run.all();
    let Failed { case, violation } = failed;
    let trace = run.trace.unwrap_or_default().join("\n");
    format!(
        "{trace}\nrule {} is broken: {}\nto see it again:  tests/simulate --case {case}\n\
         to keep it:       add that case, and what it is about, to tests/simulation/cases.txt",
        violation.rule, violation.what
    )
}
