//! The command line: commands by derive, the key flags from the tables of the configuration.
//!
//! Ends with plain values: which command, and where its configuration comes from. Nothing is
//! opened, checked or started here.

mod arguments;
mod keys;
#[cfg(test)]
mod tests;

pub use self::arguments::{CheckArgs, Output, PurgeArgs, SandboxArgs, SelectionArgs, SyncArgs};

use self::arguments::{ContainerAction, Line, Verb};
use self::keys::{definition, join_switches, key_flags};
use crate::config::{Sources, environment_of_process};
use clap::FromArgMatches;
use clap::error::ErrorKind;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;

/// What is to be done.
#[derive(Debug)]
pub enum Command {
    /// The service.
    Run(Sources),
    /// Say whether the configuration is good, and perhaps what each peer answers.
    CheckConfig(Sources, CheckArgs),
    /// Say what a full sync would change.
    Diff(Sources, SelectionArgs),
    /// One full sync without the service.
    Sync(Sources, SyncArgs),
    /// Delete every record of a cluster from a business.
    Purge(Sources, PurgeArgs),
    /// The CMDB's container server.
    ContainerServer(Sources),
    /// A copy of its database.
    ContainerBackup(Sources, PathBuf),
    /// A look through its database.
    ContainerCheck(Sources),
    /// The fences in its database; forget that of a cluster.
    ContainerFences(Sources, Option<String>),
    /// Everything in one process.
    Sandbox(SandboxArgs),
    /// Completions for a shell.
    Completions(clap_complete::Shell),
    /// The man page of the program, or of one command.
    Man(Option<String>),
}

/// Reads the arguments of the process, the first being its name. The error knows how to print
/// itself and which exit code it means (also `--help` and `--version`: 0).
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, clap::Error> {
    let matches = definition().try_get_matches_from(join_switches(arguments))?;
    let line = Line::from_arg_matches(&matches)?;
    let mut flags = key_flags(&matches);
    if let (Some(Verb::Sandbox(_)), [(key, _), ..]) = (&line.verb, &flags[..]) {
        let message = format!("--{key} does not stand before sandbox; see sandbox --help for its flags\n");
        return Err(definition().error(ErrorKind::ArgumentConflict, message));
    }
    let mut level = &matches;
    while let Some((_, inner)) = level.subcommand() {
        flags.extend(key_flags(inner));
        level = inner;
    }
    let sources = Sources { file: line.config, environment: environment_of_process(), flags };
    Ok(match line.verb {
        None | Some(Verb::Run) => Command::Run(sources),
        Some(Verb::CheckConfig(flags)) => Command::CheckConfig(sources, flags),
        Some(Verb::Diff(flags)) => Command::Diff(sources, flags),
        Some(Verb::Sync(flags)) => Command::Sync(sources, flags),
        Some(Verb::Purge(flags)) => Command::Purge(sources, flags),
        Some(Verb::ContainerServer { action }) => match action {
            None => Command::ContainerServer(sources),
            Some(ContainerAction::Backup { file }) => Command::ContainerBackup(sources, file),
            Some(ContainerAction::Check) => Command::ContainerCheck(sources),
            Some(ContainerAction::Fences { reset }) => Command::ContainerFences(sources, reset),
        },
        Some(Verb::Sandbox(arguments)) => Command::Sandbox(arguments),
        Some(Verb::Completions { shell }) => Command::Completions(shell),
        Some(Verb::Man { command }) => Command::Man(command),
    })
}

/// Writes the completions for a shell.
pub fn completions(shell: clap_complete::Shell, output: &mut dyn Write) -> io::Result<()> {
    let mut definition = definition();
    let name = definition.get_name().to_owned();
    // By way of a buffer: the generator panics when its output does not take what it writes.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition, name, &mut script);
    output.write_all(&script)
}

/// Writes the man page of the program, or of one of its commands.
pub fn man(command: Option<&str>, output: &mut dyn Write) -> io::Result<()> {
    let mut definition = definition();
    // Names the commands in full, "bcs-bkcmdb-synchronizer-sandbox".
    definition.build();
    let page = command.and_then(|name| definition.find_subcommand(name)).unwrap_or(&definition);
    clap_mangen::Man::new(page.clone()).render(output)
}
