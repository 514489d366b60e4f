//! Commands and their flags, as they stand in the help and the man page.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

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
    /// How to print the result
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
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
pub(super) struct Line {
    /// Configuration file (JSON)
    #[arg(short = 'f', long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

#[derive(Subcommand)]
pub(super) enum Verb {
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
pub(super) enum ContainerAction {
    /// Write a complete copy of the database to FILE, which must not exist
    Backup {
        /// The copy
        file: PathBuf,
    },
    /// Look through the database: its integrity, and how many Pods it holds; exit 0 if it is sound
    Check,
    /// Print under which fence each cluster was written last
    Fences {
        /// Forget that of this cluster: the next write is taken whatever its fence is
        #[arg(long, value_name = "CLUSTER")]
        reset: Option<String>,
    },
}
