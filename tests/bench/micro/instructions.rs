//! Instructions of each case, counted by callgrind: the same in every run, however busy the machine.
//!
//! A case runs in a process of its own, once for a few rounds and once for more; the difference is
//! what the rounds cost, whatever start and end of the process do. No tool beside valgrind is
//! needed, and no symbols.

use crate::cases;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

/// A case may take so many hundredths more than written down.
const TOLERANCE: u64 = 10;
const FEW: u64 = 5;
const MANY: u64 = 25;
/// An unoptimised build has counts of its own.
const BUILD: &str = if cfg!(debug_assertions) { "dev" } else { "release" };

/// Compares every case with what is written down, or writes it down.
pub fn run(record: bool) -> ExitCode {
    let known = read();
    let mut lines: Vec<String> = known.iter().filter(|(_, build, _)| build != BUILD).map(line).collect();
    let mut worse = 0;
    for (name, _) in cases::ALL {
        let count = count(name);
        lines.push(line(&(name.to_owned(), BUILD.to_owned(), count)));
        let before = known.iter().find(|(case, build, _)| case == name && build == BUILD);
        match before {
            Some((.., before)) => {
                let change = count as f64 / *before as f64 * 100.0 - 100.0;
                println!("{name:<10} {count:>10} instructions, {before} written down: {change:+.1} %");
                worse += u32::from(count * 100 > before * (100 + TOLERANCE));
            }
            None => {
                println!("{name:<10} {count:>10} instructions, none written down for a {BUILD} build");
                worse += 1;
            }
        }
    }
    if record {
        lines.sort();
        fs::write(file(), lines.concat()).expect("a writable file");
        return ExitCode::SUCCESS;
    }
    if worse > 0 {
        println!("{worse} cases take over {TOLERANCE} % more than written down; if that is meant: --record");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What the process that is counted does.
pub fn rounds(name: &str, rounds: u64) {
    let (_, case) = cases::ALL.into_iter().find(|(case, _)| *case == name).expect("a case of that name");
    let mut case = case();
    (0..rounds).for_each(|_| case());
}

/// Instructions of one round.
fn count(name: &str) -> u64 {
    (total(name, MANY) - total(name, FEW)) / (MANY - FEW)
}

fn total(name: &str, rounds: u64) -> u64 {
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["--rounds", name, &rounds.to_string()])
        .stdout(Stdio::null())
        .output()
        .expect("valgrind is installed");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let collected = told.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    collected.unwrap_or_else(|| panic!("callgrind tells no count: {told}"))
}

type Known = (String, String, u64);

fn line((name, build, count): &Known) -> String {
    format!("{name} {build} {count}\n")
}

fn read() -> Vec<Known> {
    let text = fs::read_to_string(file()).unwrap_or_default();
    let known = |line: &str| {
        let mut words = line.split(' ');
        Some((words.next()?.to_owned(), words.next()?.to_owned(), words.next()?.parse().ok()?))
    };
    text.lines().filter_map(known).collect()
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/micro/instructions.txt")
}
