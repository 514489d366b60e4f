//! What the service exists for, measured: speed, memory and time on a core of the real program,
//! with peers of its own in this process.
//!
//! ```text
//! cargo bench --bench load                           everything, 5 minutes
//! cargo bench --bench load -- --short                the same scenarios, smaller, 1 minute
//! cargo bench --bench load -- events ledger          some of them
//! cargo bench --bench load -- --write FILE           as Markdown into FILE too, in
//!                                                    place of the last run
//! cargo bench --bench load -- --program FILE         another build of the program, to compare
//! ```
//! The peers check nothing and keep little, so that they are never what is measured; `control` shows
//! how much they can do. The exit code is 1 if a figure misses what it should reach, and the
//! last lines name those that do.

#![allow(clippy::expect_used)] // a measurement that cannot begin has nothing to say

#[path = "../micro/cases.rs"]
mod cases;
mod cmdb;
mod document;
mod events;
mod first_sync;
mod http;
mod parts;
mod program;
mod report;
mod storage;
mod writers;

use report::Section;
use std::path::PathBuf;
use std::process::ExitCode;

/// A scenario: its name and what it finds, in a shorter form if asked.
type Scenario = (&'static str, fn(bool) -> Vec<Section>);

const SCENARIOS: [Scenario; 9] = [
    ("ledger", |_| vec![parts::ledger()]),
    ("binary", |_| vec![parts::binary()]),
    ("control", |short| vec![writers::control(short)]),
    ("one", |short| vec![first_sync::one_cluster(short)]),
    ("fleet", first_sync::fleet),
    ("clusters", |short| vec![first_sync::many_clusters(short)]),
    ("events", events::one_cluster),
    ("listing", |short| vec![parts::listing(short)]),
    ("smallest", |_| vec![parts::smallest()]),
];

fn main() -> ExitCode {
    let mut short = false;
    let mut file = None;
    let mut names = Vec::new();
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--short" => short = true,
            "--write" => file = arguments.next(),
            "--program" => arguments.next().map(PathBuf::from).into_iter().for_each(program::measure),
            // `cargo bench` passes this one.
            "--bench" => {}
            name => names.push(name.to_owned()),
        }
    }
    let mut sections = Vec::new();
    for (name, run) in SCENARIOS {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            for section in run(short) {
                println!("{}", section.markdown());
                sections.push(section);
            }
        }
    }
    if let Some(file) = file {
        report::write(&file, &sections).expect("a writable file");
    }
    let missed: Vec<String> = sections.iter().flat_map(Section::missed).collect();
    if missed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("{} figures miss what they should reach:\n  {}", missed.len(), missed.join("\n  "));
    ExitCode::FAILURE
}
