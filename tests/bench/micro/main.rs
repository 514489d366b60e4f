//! What one pod costs in each step: finding a document's end, converting it, hashing the record,
//! comparing it with the ledger.
//!
//! ```text
//! cargo bench --bench micro                              times, by criterion
//! cargo bench --bench micro -- --check                   instructions; fails at 10 % more than
//!                                                        instructions.txt says
//! cargo bench --bench micro -- --record                  writes that file
//! cargo bench --profile dev --bench micro -- --check     what CI runs: no second, optimised build
//! ```

#![allow(clippy::expect_used)] // a measurement that cannot begin has nothing to say

mod cases;
#[path = "../load/document.rs"]
#[allow(dead_code)] // the templates are for clusters of pods; here one pod will do
mod document;
mod instructions;

use criterion::Criterion;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["--check"] => instructions::run(false),
        ["--record"] => instructions::run(true),
        ["--rounds", name, rounds] => {
            instructions::rounds(name, rounds.parse().expect("a number of rounds"));
            ExitCode::SUCCESS
        }
        _ => {
            let mut criterion = Criterion::default().configure_from_args();
            for (name, case) in cases::ALL {
                let mut case = case();
                criterion.bench_function(name, |bencher| bencher.iter(&mut case));
            }
            criterion.final_summary();
            ExitCode::SUCCESS
        }
    }
}
