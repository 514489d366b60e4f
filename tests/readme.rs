//! The README says what is true: its tables of keys are those of the configuration.

#![allow(clippy::unwrap_used)] // Helpers of tests fail by panicking.

use bcs_bkcmdb_synchronizer::config::{CONTAINER_SERVER, Program, SYNCHRONIZER};
use std::fmt::Write;
use std::fs;
use std::path::Path;

const README: &str = include_str!("../README.md");

/// The table of a program's living keys, as the README has to show it.
fn table(program: &Program) -> String {
    let mut table = String::from("| key | default | meaning |\n|---|---|---|\n");
    for key in program.keys.iter().filter(|key| !key.kind.is_ignored()) {
        let _ = writeln!(table, "| `{}` | {} | {} |", key.name, key.default_in_words(), key.help);
    }
    table
}

fn check(program: &Program) {
    let wanted = table(program);
    let name = program.name;
    assert!(README.contains(&wanted), "the README lacks this table of the {name}:\n{wanted}");
}

#[test]
fn the_table_of_the_synchronizer_is_that_of_its_configuration() {
    check(&SYNCHRONIZER);
}

#[test]
fn the_table_of_the_container_server_is_that_of_its_configuration() {
    check(&CONTAINER_SERVER);
}

#[test]
fn keys_that_no_longer_act_are_named() {
    for key in SYNCHRONIZER.keys.iter().filter(|key| key.kind.is_ignored()) {
        assert!(README.contains(&format!("`{}`", key.name)), "{} is not named", key.name);
    }
}

#[test]
fn what_the_troubleshooting_table_quotes_is_really_said() {
    let said = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let (_, rest) = README.split_once("### When it does not work").unwrap();
    let symptoms = rest.lines().skip_while(|line| !line.starts_with("|---")).skip(1);
    let symptoms: Vec<&str> =
        symptoms.map_while(|line| line.strip_prefix("| ")?.split(" | ").next()).collect();
    assert!(symptoms.len() > 12, "{symptoms:?}");
    // What stands between backticks; numbers and names stand for the dots.
    let quoted = symptoms.iter().flat_map(|symptom| symptom.split('`').skip(1).step_by(2));
    for part in quoted.flat_map(|text| text.split('…')).map(|part| part.trim_matches([' ', ':'])) {
        assert!(said.contains(part), "nobody says {part:?}");
    }
}

/// Every file below a directory of sources, as one text in which strings of several lines are of one.
fn sources(directory: &Path) -> String {
    let read = |path: &Path| match path.is_dir() {
        true => sources(path),
        false => fs::read_to_string(path).unwrap_or_default(),
    };
    let all: String = fs::read_dir(directory).unwrap().map(|entry| read(&entry.unwrap().path())).collect();
    all.split("\\\n").map(str::trim_start).collect::<Vec<_>>().concat()
}

#[test]
fn every_key_in_an_example_of_the_readme_exists() {
    let flags = README
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("--"))
        .filter(|word| word.contains('_'));
    for flag in flags {
        let name = flag.trim_end_matches(|end: char| !end.is_ascii_lowercase());
        let known = SYNCHRONIZER.key(name).or_else(|| CONTAINER_SERVER.key(name));
        assert!(known.is_some(), "--{name} is no flag");
    }
}
