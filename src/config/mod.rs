//! Configuration: read as text, validated once, immutable afterwards (interface.md 2).
//!
//! One table per program (`table`) defines every key. `source` reads file, environment and flags
//! into plain values (`value`), `draft` settles which one wins, and one pass of checks
//! (`synchronizer`, `container_server`) makes the typed configuration or names every problem.
//! Knows nothing of the modules that are configured.

mod container_server;
mod draft;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod key;
mod problem;
mod secret;
mod source;
mod synchronizer;
mod table;
mod url;
mod value;

pub use key::{Fallback, Key, Kind, Program};
pub use problem::{Origin, Problem, Problems, printable};
pub use secret::Secret;
pub use source::{Sources, environment_of_process};
pub use table::{CONTAINER_SERVER, SYNCHRONIZER};

#[cfg(test)]
mod tests;

use draft::Draft;
use source::Reading;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Where a peer is: scheme, host, port and an API prefix without a slash at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseUrl {
    /// `http://host:port`, IPv6 hosts in brackets.
    pub origin: String,
    /// `/api/v3`, or empty.
    pub prefix: String,
}

/// PEM files of one TLS role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates that are trusted.
    pub ca: Option<PathBuf>,
    /// Our certificate chain.
    pub cert: Option<PathBuf>,
    /// Its private key.
    pub key: Option<PathBuf>,
}

/// Where clusters are learnt from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TaskManagerType {
    /// paas-cc.
    Paas,
    /// A JSON file.
    File(PathBuf),
}

/// What a synchroniser may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// Everything.
    Sync,
    /// Never deletes.
    UpsertOnly,
    /// Nothing: counts and logs.
    DryRun,
}

impl SyncPolicy {
    /// As the key `sync_policy` names it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::UpsertOnly => "upsert-only",
            Self::DryRun => "dry-run",
        }
    }
}

/// The synchronizer's configuration, validated. Names are the keys of interface.md 2.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct Config {
    pub address: IpAddr,
    pub port: u16,
    pub metric_port: u16,
    pub v: i64,
    pub zk: Vec<String>,
    pub storage_zk: Vec<String>,
    pub storage_tls: TlsFiles,
    pub cmdb_addr: BaseUrl,
    pub cmdb_supplier_id: String,
    pub cmdb_user: String,
    pub paas_addr: Option<BaseUrl>,
    pub paas_env: String,
    pub paas_cluster_env: String,
    pub paas_app_code: String,
    pub paas_app_secret: Secret,
    pub paas_access_token: Secret,
    pub cluster_pull_interval: Duration,
    pub full_sync_interval: Duration,
    pub task_manager_type: TaskManagerType,
    pub server_tls: TlsFiles,
    pub storage_addrs: Vec<BaseUrl>,
    pub storage_verify_hostname: bool,
    pub storage_page_size: u32,
    pub storage_list_concurrency: usize,
    pub include_clusters: Vec<String>,
    pub exclude_clusters: Vec<String>,
    pub zk_user: String,
    pub zk_password: Secret,
    pub zk_session_timeout: Duration,
    pub reassign_delay: Duration,
    pub senders_per_cluster: usize,
    pub event_queue_length: usize,
    pub cmdb_batch_size: usize,
    pub cmdb_page_size: u32,
    pub cmdb_qps: u32,
    pub cmdb_timeout: Duration,
    pub storage_timeout: Duration,
    pub paas_timeout: Duration,
    pub watch_idle_timeout: Duration,
    pub modules_refresh_interval: Duration,
    pub default_set: String,
    pub default_module: String,
    pub cloud_id: i64,
    pub time_zone: jiff::tz::TimeZone,
    pub text_limit: usize,
    pub sync_policy: SyncPolicy,
    pub dry_run_clusters: Vec<String>,
    pub delete_guard_percent: u32,
    pub delete_guard_min: usize,
    pub shutdown_grace: Duration,
    pub admin_token: Option<Secret>,
    pub http_allowed_hosts: Vec<String>,
    pub delete_journal: Option<PathBuf>,
    /// Files that secrets were read from.
    pub secret_files: Vec<PathBuf>,
}

/// The container server's configuration, validated.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub struct ContainerServerConfig {
    pub address: IpAddr,
    pub port: u16,
    pub metric_port: u16,
    pub v: i64,
    pub database: PathBuf,
    pub topology: TopologySource,
    pub users: Vec<String>,
    pub strict_fields: bool,
    pub server_tls: TlsFiles,
    pub body_limit: usize,
    pub query_timeout: Duration,
    pub watch_retention: Duration,
    pub http_allowed_hosts: Vec<String>,
}

/// Where the container server learns which modules a business has.
#[derive(Clone, Debug)]
pub enum TopologySource {
    /// A JSON file (interface.md 2).
    File(PathBuf),
    /// The CMDB.
    Cmdb(BaseUrl),
}

/// The environment as the configuration sees it; a plain map so that tests need no process.
pub type Environment = BTreeMap<String, String>;

/// A configuration that is good, and what an operator should still hear.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The configuration.
    pub config: T,
    /// One sentence each, beginning with the key.
    pub warnings: Vec<String>,
}

impl Config {
    /// Reads and checks the synchronizer's configuration. The error holds every problem.
    pub fn load(sources: &Sources) -> Result<Loaded<Self>, Problems> {
        load(&SYNCHRONIZER, sources, synchronizer::check)
    }

    /// What may be written for a cluster: a canary of `dry_run_clusters` is only looked at.
    pub fn policy_of(&self, cluster_id: &str) -> SyncPolicy {
        let fits = |pattern: &String| {
            globset::Glob::new(pattern).is_ok_and(|glob| glob.compile_matcher().is_match(cluster_id))
        };
        match self.dry_run_clusters.iter().any(fits) {
            true => SyncPolicy::DryRun,
            false => self.sync_policy,
        }
    }

    /// The same from the text of a configuration file, without environment and flags.
    pub fn from_json(text: &str) -> Result<Self, Problems> {
        from_json(&SYNCHRONIZER, text, synchronizer::check)
    }
}

impl ContainerServerConfig {
    /// Reads and checks the container server's configuration. The error holds every problem.
    pub fn load(sources: &Sources) -> Result<Loaded<Self>, Problems> {
        load(&CONTAINER_SERVER, sources, container_server::check)
    }

    /// The same from the text of a configuration file, without environment and flags.
    pub fn from_json(text: &str) -> Result<Self, Problems> {
        from_json(&CONTAINER_SERVER, text, container_server::check)
    }
}

fn load<T>(
    program: &'static Program,
    sources: &Sources,
    check: fn(&mut Draft<'_>) -> T,
) -> Result<Loaded<T>, Problems> {
    let mut reading = Reading::new(program);
    if let Some(path) = &sources.file {
        reading.file(path);
    }
    reading.environment(&sources.environment);
    reading.flags(&sources.flags);
    judge(reading, &sources.environment, check).map_err(|mut problems| {
        if sources.file.is_none() {
            let hint = "no configuration file was given: name it with -f FILE (only `sandbox` needs none)";
            problems.0.push(Problem::whole(hint));
        }
        problems
    })
}

fn from_json<T>(
    program: &'static Program,
    text: &str,
    check: fn(&mut Draft<'_>) -> T,
) -> Result<T, Problems> {
    let mut reading = Reading::new(program);
    reading.json(text, Origin::Text);
    judge(reading, &Environment::new(), check).map(|loaded| loaded.config)
}

fn judge<T>(
    reading: Reading,
    environment: &Environment,
    check: fn(&mut Draft<'_>) -> T,
) -> Result<Loaded<T>, Problems> {
    // Without its file every required key would seem to be missing.
    if reading.is_unreadable() {
        return Err(Problems(reading.problems));
    }
    let mut draft = Draft::new(environment, reading);
    let config = check(&mut draft);
    draft.finish(config)
}
