//! Configuration keys as flags: one for each, made from the tables of the configuration.

use super::arguments::Line;
use crate::config::{CONTAINER_SERVER, Fallback, Key, Kind, Program, SYNCHRONIZER};
use clap::{Arg, ArgMatches, CommandFactory};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

/// Commands with their key flags. Those of the container server may stand before its name too;
/// whether a key belongs to the command is for the configuration to say.
pub(super) fn definition() -> clap::Command {
    let only_container = CONTAINER_SERVER.keys.iter().filter(|key| SYNCHRONIZER.key(key.name).is_none());
    Line::command()
        .args(SYNCHRONIZER.keys.iter().map(|key| key_flag(&SYNCHRONIZER, key)))
        .args(only_container.map(|key| key_flag(&CONTAINER_SERVER, key).hide(true)))
        .mut_subcommand("run", |command| with_keys(command, &SYNCHRONIZER))
        .mut_subcommand("check-config", |command| with_keys(command, &SYNCHRONIZER))
        .mut_subcommand("diff", |command| with_keys(command, &SYNCHRONIZER))
        .mut_subcommand("sync", |command| with_keys(command, &SYNCHRONIZER))
        .mut_subcommand("purge", |command| with_keys(command, &SYNCHRONIZER))
        .mut_subcommand("container-server", |command| {
            with_keys(command, &CONTAINER_SERVER)
                .mut_subcommands(|action| with_keys(action, &CONTAINER_SERVER))
        })
}

fn with_keys(command: clap::Command, program: &'static Program) -> clap::Command {
    command.args(program.keys.iter().map(|key| key_flag(program, key)))
}

/// The flag of a key. A switch takes its value after `=` only: else `--key COMMAND` would be read
/// as the value (see [`join_switches`]).
fn key_flag(program: &Program, key: &'static Key) -> Arg {
    let default = match key.default {
        Fallback::Required => "required".to_owned(),
        _ => format!("default: {}", key.default_in_words()),
    };
    let help = format!("{} [{default}] [env: {}]", key.help, program.variable(key));
    let flag = Arg::new(key.name)
        .long(key.name)
        .value_name(value_name(key.kind))
        .help(help.clone())
        // The manual pages leave out what -h does, but for this.
        .long_help(help)
        .help_heading("Configuration keys")
        .allow_negative_numbers(true)
        .hide(key.kind.is_ignored())
        .hide_short_help(true);
    match key.kind.is_switch() {
        true => flag.num_args(0..=1).require_equals(true).default_missing_value("true"),
        false => flag,
    }
}

fn value_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Number { .. } => "NUMBER",
        Kind::Boolean => "true|false",
        Kind::List | Kind::Servers => "LIST",
        Kind::Secret => "OBJECT",
        Kind::Text | Kind::TextOrNumber | Kind::Choice(_) | Kind::Ignored { .. } => "TEXT",
    }
}

/// The key flags that were given at one level of the command line.
pub(super) fn key_flags(matches: &ArgMatches) -> Vec<(String, String)> {
    let keys = SYNCHRONIZER.keys.iter().chain(CONTAINER_SERVER.keys).map(|key| key.name);
    let names: BTreeSet<&str> = keys.collect();
    names
        .into_iter()
        .filter_map(|name| {
            let value = matches.try_get_one::<String>(name).ok().flatten()?;
            Some((name.to_owned(), value.clone()))
        })
        .collect()
}

/// Writes `--switch true` as `--switch=true`: only these two words are the value of a switch, any
/// other word after it is a command.
pub(super) fn join_switches(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut joined: Vec<OsString> = Vec::new();
    for argument in arguments {
        let follows_switch = joined.last().is_some_and(|last| is_switch(last));
        match joined.last_mut() {
            Some(switch) if follows_switch && (argument == "true" || argument == "false") => {
                switch.push("=");
                switch.push(argument);
            }
            _ => joined.push(argument),
        }
    }
    joined
}

fn is_switch(argument: &OsStr) -> bool {
    let name = argument.to_str().and_then(|text| text.strip_prefix("--"));
    let key = name.and_then(|name| SYNCHRONIZER.key(name).or_else(|| CONTAINER_SERVER.key(name)));
    key.is_some_and(|key| key.kind.is_switch())
}
