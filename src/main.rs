//! Arguments, then configuration, then command; exit codes are decided here.

use bcs_bkcmdb_synchronizer::cli::{self, Command};
use bcs_bkcmdb_synchronizer::commands::CheckOutcome;
use bcs_bkcmdb_synchronizer::config::{Config, ContainerServerConfig, Loaded, Problems, Sources};
use bcs_bkcmdb_synchronizer::{commands, container_server, logging, sandbox, service};
use std::io;
use std::process::ExitCode;

/// The command did what it is for.
const GOOD: i32 = 0;
/// It could not.
const FAILED: i32 = 1;
/// It was not tried: the arguments or the configuration are wrong.
const BAD_CONFIGURATION: i32 = 2;

fn main() -> ExitCode {
    let code = cli::parse(std::env::args_os()).map_or_else(usage, execute);
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

/// What is wrong with the arguments, or the help or version that was asked for.
fn usage(message: clap::Error) -> i32 {
    // A reader that went away has seen enough.
    let _ = message.print();
    if message.use_stderr() { BAD_CONFIGURATION } else { GOOD }
}

fn execute(command: Command) -> i32 {
    match command {
        Command::Run(sources) => {
            with(Config::load(&sources), |config| config.v, |config| service::run(config, &sources))
        }
        Command::CheckConfig(sources, flags) => {
            match commands::check_config(Config::load(&sources), &flags) {
                CheckOutcome::Good => GOOD,
                CheckOutcome::Failed => FAILED,
                CheckOutcome::Bad => BAD_CONFIGURATION,
            }
        }
        Command::Diff(sources, flags) => work(&sources, |config| commands::diff(&config, &flags)),
        Command::Sync(sources, flags) => work(&sources, |config| commands::sync(&config, &flags)),
        Command::Purge(sources, flags) => work(&sources, |config| commands::purge(&config, &flags)),
        Command::ContainerServer(sources) => container(&sources, container_server::run),
        Command::ContainerBackup(sources, file) => {
            container(&sources, |config| container_server::run_backup(config, &file))
        }
        Command::ContainerCheck(sources) => {
            container(&sources, |config| container_server::run_check(config, &mut io::stdout()))
        }
        Command::ContainerFences(sources, reset) => container(&sources, |config| {
            container_server::run_fences(config, reset.as_deref(), &mut io::stdout())
        }),
        Command::Sandbox(options) => {
            logging::start(i64::from(options.v));
            sandbox::run(&options)
        }
        Command::Completions(shell) => code(cli::completions(shell, &mut io::stdout())),
        Command::Man(command) => code(cli::man(command.as_deref(), &mut io::stdout())),
    }
}

/// A command of the container server.
fn container(sources: &Sources, run: impl FnOnce(&ContainerServerConfig) -> i32) -> i32 {
    with(ContainerServerConfig::load(sources), |config| config.v, |config| run(&config))
}

fn code(result: io::Result<()>) -> i32 {
    if result.is_ok() { GOOD } else { FAILED }
}

/// Starts the log and runs a command with its configuration, if that is good.
fn with<T>(loaded: Result<Loaded<T>, Problems>, v: fn(&T) -> i64, run: impl FnOnce(T) -> i32) -> i32 {
    loaded.map_or_else(bad, |Loaded { config, warnings }| {
        logging::start(v(&config));
        warnings.iter().for_each(|warning| log::warn!(target: "config", "{warning}"));
        run(config)
    })
}

/// A command that does its work and ends: its results are what to read, not its log.
fn work(sources: &Sources, run: impl FnOnce(Config) -> i32) -> i32 {
    with(Config::load(sources), |config| commands::log_level(config.v), run)
}

fn bad(problems: Problems) -> i32 {
    eprintln!("{problems}");
    BAD_CONFIGURATION
}
