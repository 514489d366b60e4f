//! The command line: commands by derive, the key flags from the tables of the configuration.
//!
//! Ends with plain values: which command, and where its configuration comes from. Nothing is
//! opened, checked or started here.

use crate::config::{
    CONTAINER_SERVER, Fallback, Key, Kind, Program, SYNCHRONIZER, Sources, environment_of_process,
};
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
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
    /// Everything in one process.
    Sandbox(SandboxArgs),
    /// Completions for a shell.
    Completions(clap_complete::Shell),
    /// The man page of the program, or of one command.
    Man(Option<String>),
}

/// How a command prints its results.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Text,
    /// One JSON object, stable: fields are added, never renamed.
    Json,
}

/// Flags of `check-config`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckArgs {
    /// Also ask ZooKeeper, bcs-storage, CMDB and the source of clusters, and say what each answered
    #[arg(long)]
    pub connect: bool,
    /// How to print what the peers answered
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t, requires = "connect")]
    pub output: Output,
}

/// Which clusters a command is about.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct SelectionArgs {
    /// A cluster; repeat it for several. Without: every cluster of the inventory
    #[arg(long = "cluster", value_name = "ID")]
    pub clusters: Vec<String>,
    /// How to print the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    /// Requests a second to each side at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub qps: u32,
}

/// Flags of `sync`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncArgs {
    /// A cluster; repeat it for several. Without: every cluster of the inventory
    #[arg(long = "cluster", value_name = "ID")]
    pub clusters: Vec<String>,
    /// How to print the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
    /// Also carry out deletes that the delete guard would hold back; look at `diff` before
    #[arg(long)]
    pub approve_deletes: bool,
}

/// Flags of `purge`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub struct PurgeArgs {
    /// The cluster whose records go
    #[arg(long, value_name = "ID")]
    pub cluster: String,
    /// The business they are deleted from
    #[arg(long, value_name = "BIZ", value_parser = clap::value_parser!(i64).range(1..))]
    pub biz: i64,
    /// Do not ask
    #[arg(long)]
    pub yes: bool,
    /// How to print the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    pub output: Output,
}

/// Flags of `sandbox`.
#[derive(Args, Clone, Debug, PartialEq)]
pub struct SandboxArgs {
    /// Real Pods: one a line, or what `kubectl get pods -A -o json` prints; generated ones without
    #[arg(long, value_name = "FILE")]
    pub pods: Option<PathBuf>,
    /// Clusters to simulate
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub clusters: u32,
    /// Changes a second, all clusters together
    #[arg(long, value_name = "EVENTS_PER_SECOND", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub churn: u32,
    /// Seed of everything random; the same seed gives the same Pods
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// End after that many seconds with a verdict; without: at Ctrl-C
    #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub seconds: Option<u64>,
    /// Where the container server keeps its database; a temporary directory without
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Port of the status page; any free one without
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub port: u16,
    /// Port of the Prometheus metrics; any free one without
    #[arg(long = "metric_port", value_name = "PORT", default_value_t = 0)]
    pub metric_port: u16,
    /// Log level: 0 warnings, 1-3 information, 4 debug, 5 and above trace
    #[arg(long, value_name = "LEVEL", default_value_t = 0)]
    pub v: u8,
}

/// Keeps the Pod records of the BlueKing CMDB equal to the Pods in bcs-storage.
///
/// Every configuration key is also a flag. Precedence: flag, environment variable
/// (BKCMDB_SYNC_PORT for the key port), configuration file, default.
#[derive(Parser)]
#[command(name = "bcs-bkcmdb-synchronizer", version, after_help = "With --help: every configuration key.")]
struct Line {
    /// Configuration file (JSON)
    #[arg(short = 'f', long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Subcommand)]
enum Verb {
    /// The service (the default)
    Run,
    /// Check the configuration, print every problem at once; exit 0 if it is good, 2 if not, 1 if a
    /// peer that --connect asked failed
    CheckConfig(CheckArgs),
    /// Read both sides, write nothing, and print what a full sync would change; exit 0 without
    /// drift, 3 with drift, 1 if a side could not be read
    Diff(SelectionArgs),
    /// One full sync without the service; exit 0, or 1 if anything failed or was left undone
    Sync(SyncArgs),
    /// Delete every record of a cluster from a business; asks before it does; exit 0, or 1
    Purge(PurgeArgs),
    /// The CMDB's container server: keeps the Pod records and answers questions about them
    ContainerServer {
        #[command(subcommand)]
        action: Option<ContainerAction>,
    },
    /// See it work: simulated bcs-storage and paas-cc, the container server and the synchronizer,
    /// in one process on this machine
    Sandbox(SandboxArgs),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the man page, of the program or of one command
    Man {
        /// Which command
        #[arg(value_parser = ["run", "check-config", "diff", "sync", "purge", "container-server", "sandbox"])]
        command: Option<String>,
    },
}

/// What can be done with the container server's database, also while it runs.
#[derive(Subcommand)]
enum ContainerAction {
    /// Write a complete copy of the database to FILE, which must not exist
    Backup {
        /// The copy
        file: PathBuf,
    },
    /// Look through the database: its integrity, and how many Pods it holds; exit 0 if it is sound
    Check,
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

/// Commands with their key flags. Those of the container server may stand before its name too;
/// whether a key belongs to the command is for the configuration to say.
fn definition() -> clap::Command {
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
        .help(help)
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
fn key_flags(matches: &ArgMatches) -> Vec<(String, String)> {
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
fn join_switches(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: &str) -> Command {
        let arguments = ["program"].into_iter().chain(line.split_whitespace()).map(OsString::from);
        parse(arguments).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    fn exit_code(line: &str) -> i32 {
        let arguments = ["program"].into_iter().chain(line.split_whitespace()).map(OsString::from);
        parse(arguments).map(|_| -1).unwrap_or_else(|error| error.exit_code())
    }

    fn check(line: &str, wanted: &[(&str, &str)]) {
        let (Command::Run(sources)
        | Command::CheckConfig(sources, _)
        | Command::ContainerServer(sources)
        | Command::ContainerCheck(sources)) = command(line)
        else {
            panic!("{line}: another command");
        };
        let given: Vec<(&str, &str)> =
            sources.flags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(given, wanted, "{line}");
    }

    #[test]
    fn the_definition_is_consistent() {
        definition().debug_assert();
    }

    #[test]
    fn run_is_the_default_command() {
        assert!(matches!(command(""), Command::Run(_)));
        assert!(matches!(command("--port 1"), Command::Run(_)));
    }

    #[test]
    fn flags_stand_before_or_after_the_command_and_the_latter_win() {
        check("--port 1 run", &[("port", "1")]);
        check("run --port 1", &[("port", "1")]);
        check("--port 1 check-config --port 2", &[("port", "1"), ("port", "2")]);
        check("--database x container-server --users a,b", &[("database", "x"), ("users", "a,b")]);
        check("container-server --database x check --v 4", &[("database", "x"), ("v", "4")]);
        for line in ["-f x run", "run --config x", "check-config -f x", "-f x"] {
            let (Command::Run(sources) | Command::CheckConfig(sources, _)) = command(line) else {
                panic!("{line}")
            };
            assert_eq!(sources.file, Some(PathBuf::from("x")), "{line}");
        }
    }

    #[test]
    fn switches_stand_alone_or_with_true_or_false() {
        check("--storage_verify_hostname", &[("storage_verify_hostname", "true")]);
        check("--storage_verify_hostname run", &[("storage_verify_hostname", "true")]);
        check("--storage_verify_hostname false run", &[("storage_verify_hostname", "false")]);
        check("run --storage_verify_hostname=false", &[("storage_verify_hostname", "false")]);
        check("--logtostderr --v 4", &[("logtostderr", "true"), ("v", "4")]);
        assert_eq!(exit_code("--storage_verify_hostname maybe"), 2);
    }

    #[test]
    fn odd_values_reach_the_configuration_which_judges_them() {
        check("--cloud_id -1", &[("cloud_id", "-1")]);
        check("--zk=", &[("zk", "")]);
    }

    #[test]
    fn usage_errors_exit_2_and_help_exits_0() {
        for line in
            ["--prot 1", "fly", "--port", "sandbox --clusters 0", "sandbox --for x", "--port 1 sandbox"]
        {
            assert_eq!(exit_code(line), 2, "{line}");
        }
        for line in
            ["purge", "purge --cluster x", "purge --cluster x --biz 0", "diff --qps 0", "sync --output x"]
        {
            assert_eq!(exit_code(line), 2, "{line}");
        }
        for line in ["--help", "-h", "--version", "sandbox --help", "help container-server"] {
            assert_eq!(exit_code(line), 0, "{line}");
        }
    }

    #[test]
    fn commands_on_clusters_take_flags_and_keys() {
        let Command::Diff(sources, flags) = command("diff --cluster a --cluster b --v 4 --output json")
        else {
            panic!()
        };
        assert_eq!((flags.clusters, flags.output), (vec!["a".to_owned(), "b".to_owned()], Output::Json));
        assert_eq!(sources.flags, [("v".to_owned(), "4".to_owned())]);
        let Command::Sync(_, flags) = command("sync --approve-deletes") else { panic!() };
        assert!(flags.approve_deletes && flags.clusters.is_empty());
        let Command::Purge(_, flags) = command("--zk= purge --cluster a --biz 7 --yes") else { panic!() };
        assert_eq!((flags.cluster.as_str(), flags.biz, flags.yes), ("a", 7, true));
        let Command::CheckConfig(_, flags) = command("check-config --connect") else { panic!() };
        assert!(flags.connect);
    }

    #[test]
    fn the_sandbox_takes_its_flags() {
        let line = "sandbox --pods p --clusters 2 --churn 50 --seed 7 --for 30 --data d --port 1 --metric_port 2 --v 4";
        let Command::Sandbox(arguments) = command(line) else { panic!() };
        assert_eq!((arguments.clusters, arguments.churn, arguments.seed), (2, 50, 7));
        assert_eq!((arguments.seconds, arguments.port, arguments.metric_port), (Some(30), 1, 2));
        assert_eq!((arguments.pods, arguments.data), (Some("p".into()), Some("d".into())));
    }

    #[test]
    fn each_command_has_a_man_page_of_its_own() {
        let mut page = Vec::new();
        man(Some("sandbox"), &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert!(page.contains("churn") && page.contains("bcs\\-bkcmdb\\-synchronizer\\-sandbox"), "{page}");
        assert_eq!(exit_code("man fly"), 2);
    }

    #[test]
    fn help_completions_and_man_page_know_every_living_key() {
        let (mut fish, mut page) = (Vec::new(), Vec::new());
        completions(clap_complete::Shell::Fish, &mut fish).unwrap();
        man(None, &mut page).unwrap();
        let help = definition().render_long_help().to_string();
        let (fish, page) = (String::from_utf8(fish).unwrap(), String::from_utf8(page).unwrap());
        for key in SYNCHRONIZER.keys.iter().filter(|key| !key.kind.is_ignored()) {
            assert!(
                help.contains(&format!("--{} ", key.name)) || help.contains(&format!("--{}[", key.name)),
                "{}",
                key.name
            );
            assert!(fish.contains(key.name), "completions lack {}", key.name);
            assert!(page.contains(key.name), "the man page lacks {}", key.name);
        }
    }
}
