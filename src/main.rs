//! Arguments, then configuration, then command; exit codes are decided here.

use bcs_bkcmdb_synchronizer::cli::{self, Command};
use bcs_bkcmdb_synchronizer::config::{Config, ContainerServerConfig, Loaded, Problems, Sources};
use bcs_bkcmdb_synchronizer::{container_server, logging, sandbox, service};
use std::io::{self, Write};
use std::process::ExitCode;

/// The command did what it is for.
const GOOD: i32 = 0;
/// It could not.
const FAILED: i32 = 1;
/// It was not tried: the arguments or the configuration are wrong.
const BAD_CONFIGURATION: i32 = 2;

fn main() -> ExitCode {
    let code = match cli::parse(std::env::args_os()) {
        Ok(command) => execute(command),
        Err(usage) => {
            // A reader that went away has seen enough.
            let _ = usage.print();
            if usage.use_stderr() { BAD_CONFIGURATION } else { GOOD }
        }
    };
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn execute(command: Command) -> i32 {
    match command {
        Command::Run(sources) => with(Config::load(&sources), |config| config.v, service::run),
        Command::CheckConfig(sources) => check(Config::load(&sources)),
        Command::ContainerServer(sources) => container(&sources, container_server::run),
        Command::ContainerBackup(sources, file) => {
            container(&sources, |config| container_server::run_backup(config, &file))
        }
        Command::ContainerCheck(sources) => {
            container(&sources, |config| container_server::run_check(config, &mut io::stdout()))
        }
        Command::Sandbox(options) => {
            logging::start(i64::from(options.v));
            sandbox::run(&options)
        }
        Command::Completions(shell) => printed(cli::completions(shell, &mut io::stdout())),
        Command::Man(command) => printed(cli::man(command.as_deref(), &mut io::stdout())),
    }
}

/// A command of the container server.
fn container(sources: &Sources, run: impl FnOnce(&ContainerServerConfig) -> i32) -> i32 {
    with(ContainerServerConfig::load(sources), |config| config.v, |config| run(&config))
}

fn printed(result: io::Result<()>) -> i32 {
    if result.is_ok() { GOOD } else { FAILED }
}

/// Starts the log and runs a command with its configuration, if that is good.
fn with<T>(loaded: Result<Loaded<T>, Problems>, v: fn(&T) -> i64, run: impl FnOnce(T) -> i32) -> i32 {
    match loaded {
        Ok(Loaded { config, warnings }) => {
            logging::start(v(&config));
            warnings.iter().for_each(|warning| log::warn!(target: "config", "{warning}"));
            run(config)
        }
        Err(problems) => bad(&problems),
    }
}

/// `check-config`.
fn check<T>(loaded: Result<Loaded<T>, Problems>) -> i32 {
    match loaded {
        Ok(Loaded { warnings, .. }) => {
            warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
            say("configuration is good");
            GOOD
        }
        Err(problems) => bad(&problems),
    }
}

fn bad(problems: &Problems) -> i32 {
    eprintln!("{problems}");
    BAD_CONFIGURATION
}

/// Prints a line; a reader that went away has seen enough.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
