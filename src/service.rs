//! The service: puts the parts together, and takes them apart again in order.
//!
//! The one place that knows every module. Ready means: the configuration is valid, the ports
//! listen, the controller runs (design.md 8); a CMDB that is down shows in the status and does not
//! keep the service from starting.

use crate::cmdb::{self, TopologyCache};
use crate::config::{BaseUrl, Config, Sources, TlsFiles};
use crate::coordination::{Coordination, Discovery, Feed, ServerInfo, Servers};
use crate::feed::{self, LiveFeed};
use crate::fleet;
use crate::http::{self, RequestStats, tls};
use crate::inventory::FilterError;
use crate::journal::{DeletePage, DeleteQuery};
use crate::observe::{MetricsServer, StatusServer};
use crate::reload::{Effect, Reloader, Target};
use crate::storage::{self, Addresses, StaticAddresses};
use crate::supervised::{self, Supervised};
use crate::sync::numbers::{MetricsSource, Numbers};
use crate::sync::snapshot::{
    ClusterHistory, ClusterState, ClusterStatus, Control, ControlOutcome,
    Coordination as CoordinationSnapshot, DeletedRecord, Health, HeldBackDelete, ProblemStatus,
    RejectedRecord, Status, StatusSource,
};
use crate::sync::{Clock, Controller, ControllerHandle, Peers, Timings};
use crate::warnings::Warnings;
use parking_lot::Mutex;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// This release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Bound on connecting to any peer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections kept to the CMDB; more threads than that rarely write at the same time.
const CMDB_CONNECTIONS: usize = 64;

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be had.
    #[error("{key}: cannot listen on {addr}: {source}; is another instance running?")]
    Listen {
        /// `port` or `metric_port`.
        key: &'static str,
        /// Where.
        addr: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Certificates cannot be used.
    #[error("{0}")]
    Tls(#[from] tls::TlsError),
    /// A pattern cannot be used.
    #[error("{0}")]
    Filter(#[from] FilterError),
    /// The machine grants no thread or socket.
    #[error("cannot start: {0}")]
    Io(#[from] io::Error),
    /// Configuration that validation does not let pass.
    #[error("{0}")]
    Incomplete(&'static str),
}

/// A running instance. Stops when dropped.
pub struct Service {
    state: Arc<State>,
    status: Arc<StatusServer>,
    feed: LiveFeed,
    metrics: MetricsServer,
    controller: ControllerHandle,
}

/// What status and metrics are taken from.
struct State {
    instance: String,
    clock: Clock,
    controller: Arc<Controller>,
    coordination: Arc<dyn Coordination>,
    /// Who finds bcs-storage, unless its addresses are configured.
    discovery: Option<Arc<Discovery>>,
    requests: Requests,
    warnings: Warnings,
    /// What is wrong with the configuration as it was read again.
    reload_problem: Mutex<Option<String>>,
    stopping: Mutex<bool>,
}

/// Request counters per peer.
#[derive(Clone, Default)]
pub(crate) struct Requests {
    cmdb: Arc<RequestStats>,
    storage: Arc<RequestStats>,
    paas: Arc<RequestStats>,
}

impl Service {
    /// Starts an instance.
    ///
    /// # Errors
    /// A port that is taken, files that cannot be used, a machine without room. Peers that are down
    /// are no error.
    pub fn start(config: Config) -> Result<Self, StartError> {
        Self::start_with(config, Timings::default())
    }

    /// [`Service::start`] with waits of the caller's.
    ///
    /// # Errors
    /// The same.
    pub fn start_with(config: Config, timings: Timings) -> Result<Self, StartError> {
        let config = Arc::new(config);
        let clock = Clock::start();
        let requests = Requests::default();
        let listener = listen("port", SocketAddr::new(config.address, config.port))?;
        let metric_listener = listen("metric_port", SocketAddr::new(config.address, config.metric_port))?;
        let server_tls = match config.server_tls == TlsFiles::default() {
            true => None,
            false => Some(tls::server_config(&config.server_tls)?),
        };
        let listening = listener.local_addr()?;
        let metric_port = metric_listener.local_addr()?.port();
        let discovery = discovery(&config)?;
        let peers = peers(&config, discovery.clone(), &requests)?;
        let info = server_info(&config, listening, metric_port);
        let (feed, live_feed) = feed::start(&config, Arc::clone(&requests.paas))?;
        let coordination = coordination(&config, info, feed)?;
        let controller =
            Controller::start(Arc::clone(&config), peers, clock, timings, Arc::clone(&coordination))?;
        let warnings = Warnings::start(&config, Arc::clone(&coordination))?;
        let state = Arc::new(State {
            instance: listening.to_string(),
            clock,
            controller: controller.controller(),
            coordination,
            discovery,
            requests,
            warnings,
            reload_problem: Mutex::default(),
            stopping: Mutex::new(false),
        });
        let source: Arc<dyn StatusSource> = state.clone();
        let numbers: Arc<dyn MetricsSource> = state.clone();
        let status = StatusServer::start(listener, server_tls, config.admin_token.clone(), source.clone())?;
        let metrics = MetricsServer::start(metric_listener, source, numbers)?;
        Ok(Self { state, status: Arc::new(status), feed: live_feed, metrics, controller })
    }

    /// Where the status service listens.
    pub fn status_addr(&self) -> SocketAddr {
        self.status.addr()
    }

    /// Where the metrics are.
    pub fn metric_addr(&self) -> SocketAddr {
        self.metrics.addr()
    }

    /// The state, for a program that runs the service inside itself.
    pub fn source(&self) -> Arc<dyn StatusSource> {
        self.state.clone()
    }

    /// What a new configuration is put in force by.
    pub fn target(&self) -> impl Target {
        Live { state: Arc::clone(&self.state), status: Arc::clone(&self.status), feed: self.feed.clone() }
    }

    /// Why this instance must end.
    pub fn fatal(&self) -> Option<String> {
        self.state.coordination.status().fatal
    }

    /// Drains the senders and stops everything.
    pub fn stop(mut self) {
        self.finish();
    }

    fn finish(&mut self) {
        *self.state.stopping.lock() = true;
        self.controller.stop();
        self.state.coordination.stop();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A running service, for whoever reads the configuration again.
struct Live {
    state: Arc<State>,
    status: Arc<StatusServer>,
    feed: LiveFeed,
}

impl Target for Live {
    fn apply(&self, config: &Config, effects: &[Effect]) -> Result<(), String> {
        self.apply_all(config, effects).map_err(|error| error.to_string())
    }

    fn show(&self, problem: Option<String>) {
        *self.state.reload_problem.lock() = problem;
    }
}

impl Live {
    fn apply_all(&self, config: &Config, effects: &[Effect]) -> Result<(), StartError> {
        let State { controller, discovery, requests, .. } = &*self.state;
        let wanted = |effect| effects.contains(&effect);
        let peers = match wanted(Effect::Clusters) {
            true => Some(peers(config, discovery.clone(), requests)?),
            false => None,
        };
        if wanted(Effect::AtOnce) || peers.is_some() {
            controller.set_qps(config.cmdb_qps);
            controller.reconfigure(Arc::new(config.clone()), peers);
        }
        if wanted(Effect::Inventory) {
            self.feed.replace(config)?;
        }
        if wanted(Effect::StatusService) {
            let tls = match config.server_tls.cert.is_some() {
                true => Some(tls::server_config(&config.server_tls)?),
                false => None,
            };
            self.status.renew(tls, config.admin_token.clone());
        }
        Ok(())
    }
}

/// `run`: the service until SIGTERM or SIGINT. `sources` are where its configuration is read again
/// from. Returns the exit code.
pub fn run(config: Config, sources: &Sources) -> i32 {
    let (first, grace) = (config.clone(), config.shutdown_grace);
    let started =
        supervised::asked_to_end().map_err(StartError::Io).and_then(|end| Ok((end, Service::start(config)?)));
    let (end, service) = match started {
        Ok(started) => started,
        Err(error) => {
            log::error!("{error}");
            return 1;
        }
    };
    log::info!("status on {}, metrics on {}", service.status_addr(), service.metric_addr());
    let reloader = match Reloader::start(sources.clone(), &first, service.target()) {
        Ok(reloader) => reloader,
        Err(error) => {
            log::error!("{}", StartError::Io(error));
            return 1;
        }
    };
    let code = supervised::attend(&end, grace, &service);
    drop(reloader);
    service.stop();
    code
}

impl Supervised for Service {
    fn fatal(&self) -> Option<String> {
        Service::fatal(self)
    }

    fn broken(&self) -> Vec<String> {
        self.state.health().problems
    }

    fn line(&self) -> String {
        let status = self.state.status();
        let live = status.clusters.iter().filter(|cluster| cluster.state == ClusterState::Live).count();
        let line = format!("{}, {live} of {} clusters live", status.role, status.clusters.len());
        status.problems.first().map_or(line.clone(), |problem| format!("{line}; {problem}"))
    }
}

fn listen(key: &'static str, addr: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(addr).map_err(|source| StartError::Listen { key, addr, source })
}

// ---- the parts -----------------------------------------------------------------------------

pub(crate) fn peers(
    config: &Config,
    discovery: Option<Arc<Discovery>>,
    requests: &Requests,
) -> Result<Peers, StartError> {
    let settings = storage::Settings {
        page_size: config.storage_page_size,
        timeout: config.storage_timeout,
        watch_idle_timeout: config.watch_idle_timeout,
        list_concurrency: config.storage_list_concurrency,
    };
    let https = config.storage_addrs.iter().any(is_https) || config.storage_tls != TlsFiles::default();
    let storage_tls = match https {
        true => Some(tls::client_config(&config.storage_tls, config.storage_verify_hostname)?),
        false => None,
    };
    let addresses: Arc<dyn Addresses> = match discovery {
        Some(discovery) => discovery,
        None => Arc::new(StaticAddresses::new(config.storage_addrs.clone())),
    };
    let storage = storage::Client::new(addresses, storage_tls, settings, Arc::clone(&requests.storage));
    let settings = cmdb::Settings {
        user: config.cmdb_user.clone(),
        supplier: config.cmdb_supplier_id.clone(),
        qps: config.cmdb_qps,
        timeout: config.cmdb_timeout,
        page_size: config.cmdb_page_size,
    };
    let http = http_client(&config.cmdb_addr, CMDB_CONNECTIONS)?;
    let cmdb = cmdb::Client::new(http, config.cmdb_addr.clone(), settings, Arc::clone(&requests.cmdb));
    let topology = Arc::new(TopologyCache::new(cmdb.clone()));
    Ok(Peers { storage, cmdb, topology })
}

/// A client for a peer that proves itself by the machine's trusted roots.
pub(crate) fn http_client(peer: &BaseUrl, idle_connections: usize) -> Result<http::Client, StartError> {
    let tls = match is_https(peer) {
        true => Some(tls::client_config(&TlsFiles::default(), true)?),
        false => None,
    };
    let options = http::Options { tls, idle_connections, connect_timeout: CONNECT_TIMEOUT, identity: false };
    Ok(http::Client::new(&options))
}

fn is_https(peer: &BaseUrl) -> bool {
    peer.origin.starts_with("https://")
}

fn coordination(config: &Config, info: ServerInfo, feed: Feed) -> Result<Arc<dyn Coordination>, StartError> {
    let settings = fleet::Settings {
        servers: servers(config, &config.zk),
        info,
        version: VERSION,
        reassign_delay: config.reassign_delay,
    };
    Ok(Arc::from(fleet::start(settings, feed)?))
}

/// How this instance registers (protocol.md 5).
pub(crate) fn server_info(config: &Config, listening: SocketAddr, metric_port: u16) -> ServerInfo {
    let scheme = if config.server_tls == TlsFiles::default() { "http" } else { "https" };
    ServerInfo {
        ip: config.address.to_string(),
        port: listening.port(),
        metric_port,
        hostname: hostname(),
        scheme: scheme.to_owned(),
        version: VERSION.to_owned(),
        pid: std::process::id(),
        ..ServerInfo::default()
    }
}

/// The machine's name, as far as the kernel tells.
fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

pub(crate) fn servers(config: &Config, hosts: &[String]) -> Servers {
    Servers {
        hosts: hosts.to_vec(),
        user: config.zk_user.clone(),
        password: config.zk_password.clone(),
        session_timeout: config.zk_session_timeout,
    }
}

/// Finds bcs-storage where it registers in ZooKeeper, unless it is configured.
pub(crate) fn discovery(config: &Config) -> io::Result<Option<Arc<Discovery>>> {
    let wanted = config.storage_addrs.is_empty();
    wanted.then(|| Discovery::start(servers(config, &config.storage_zk)).map(Arc::new)).transpose()
}

// ---- what it shows -------------------------------------------------------------------------

impl State {
    /// What is wrong with the instance itself.
    fn instance_problems(&self) -> Vec<ProblemStatus> {
        let coordination = self.coordination.status();
        let kind = if coordination.state == "suspended" { "coordination" } else { "fleet" };
        let stopping = self.stopping.lock().then(|| ("stopping", "stopping".to_owned()));
        let discovery = self.discovery.as_ref().and_then(|discovery| discovery.problem());
        stopping
            .into_iter()
            .chain(coordination.problems.into_iter().map(|message| (kind, message)))
            .chain(discovery.map(|message| ("discovery", message)))
            .chain(self.reload_problem.lock().clone().map(|message| ("configuration", message)))
            .chain(self.controller.journal_problem().map(|message| ("journal", message)))
            .map(|(kind, message)| ProblemStatus { kind, message })
            .chain(self.warnings.all())
            .collect()
    }
}

impl StatusSource for State {
    fn status(&self) -> Status {
        let coordination = self.coordination.status();
        let readiness = self.readiness();
        Status {
            instance: self.instance.clone(),
            version: VERSION,
            started_at: self.clock.wall(Duration::ZERO),
            mode: coordination.mode,
            role: coordination.role,
            ready: readiness.ok,
            problems: readiness.problems,
            instance_problems: self.instance_problems(),
            coordination: CoordinationSnapshot {
                state: coordination.state,
                last_heartbeat_seconds_ago: coordination.last_heartbeat_seconds_ago,
            },
            clusters: self.controller.clusters(),
        }
    }

    fn cluster(&self, id: &str) -> Option<ClusterStatus> {
        self.controller.cluster(id)
    }

    fn rejected(&self, id: &str) -> Option<Vec<RejectedRecord>> {
        self.controller.rejected(id)
    }

    fn history(&self, id: &str) -> Option<ClusterHistory> {
        self.controller.history(id)
    }

    fn held_back(&self, id: &str) -> Option<Vec<HeldBackDelete>> {
        self.controller.held_back(id)
    }

    fn deletes(&self) -> Vec<DeletedRecord> {
        self.controller.deletes()
    }

    fn delete_page(&self, query: &DeleteQuery) -> DeletePage {
        self.controller.delete_page(query)
    }

    fn assignment(&self) -> serde_json::Value {
        serde_json::to_value(self.coordination.assignment()).unwrap_or_default()
    }

    fn health(&self) -> Health {
        let mut health = self.controller.health();
        let coordination = self.coordination.status();
        health.problems.extend(coordination.fatal);
        let discovery = self.discovery.as_ref().and_then(|discovery| discovery.lost());
        for thread in coordination.lost_threads.into_iter().chain(discovery) {
            health.problems.push(format!("coordination lost its thread {thread:?}: restart the service"));
        }
        health.ok = health.problems.is_empty();
        health
    }

    fn readiness(&self) -> Health {
        let mut readiness = self.controller.readiness();
        let coordination = self.coordination.status();
        if coordination.state == "suspended" {
            readiness.ok = false;
        }
        let of_instance = self.instance_problems().into_iter().map(|problem| problem.message);
        readiness.problems.splice(0..0, of_instance);
        if *self.stopping.lock() {
            readiness.ok = false;
        }
        readiness
    }

    fn control(&self, id: &str, control: Control) -> ControlOutcome {
        self.controller.control(id, control)
    }

    fn control_all(&self, control: Control) -> Vec<String> {
        self.controller.control_all(control)
    }
}

impl MetricsSource for State {
    fn numbers(&self) -> Numbers {
        let coordination = self.coordination.status();
        let mut numbers = Numbers {
            cmdb: self.requests.cmdb.snapshot(),
            storage: self.requests.storage.snapshot(),
            paas: self.requests.paas.snapshot(),
            reassignments: coordination.reassignments,
            zookeeper_sessions: coordination.sessions,
            ..Numbers::default()
        };
        self.controller.add_numbers(&mut numbers);
        numbers
    }
}
