//! The README says what is true: its tables of keys are those of the configuration.

use bcs_bkcmdb_synchronizer::config::{CONTAINER_SERVER, Program, SYNCHRONIZER};
use std::fmt::Write;

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
