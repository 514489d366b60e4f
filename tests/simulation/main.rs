//! A simulation of one cluster: the pure core of the reconciler between a model of bcs-storage and a
//! model of the CMDB, in virtual time. A seed decides what the pods do, what fails, and in which
//! order everything happens.
//!
//! At every step (`checks`): nothing older follows what was acknowledged, nothing is deleted without
//! proof, nothing is written that the CMDB holds, nothing is refused silently (design.md 3, rules 2,
//! 4, 5, 7). After the faults stop (`endings`): both sides become equal without a periodic full sync
//! within a bounded number of steps (rule 1), a further full sync writes nothing, one busy record
//! holds nobody back, a mute watch is found (rules 5, 7, 8).
//!
//! `tests/simulate --help` tells how to run it.

mod chance;
mod checks;
mod cmdb;
mod core;
mod driver;
mod endings;
mod kind;
mod listings;
mod mishaps;
mod mutations;
mod placement;
mod requests;
mod runner;
mod shrink;
mod storage;
mod theme;
mod trace;
mod wire;

fn main() -> std::process::ExitCode {
    match runner::run(std::env::args().skip(1)) {
        Ok(true) => std::process::ExitCode::SUCCESS,
        Ok(false) => std::process::ExitCode::FAILURE,
        Err(usage) => {
            eprintln!("{usage}");
            std::process::ExitCode::from(2)
        }
    }
}
