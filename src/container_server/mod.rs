//! The container server: the CMDB's side of protocol.md 2, fit to stand alone.
//!
//! ```text
//! front ─> api ─┬─> calls, rules, filter   what was asked, and is it allowed     (pure)
//!               ├─> answer                 what may be longer than memory
//!               ├─> topology               which modules a business has
//!               └─> store                  SQLite: one writer, several readers
//! ```
//!
//! It knows nothing of clusters, of bcs-storage or of who writes to it.

mod answer;
mod api;
mod calls;
mod codes;
mod fields;
mod filter;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod maintenance;
mod metrics;
mod openapi;
mod renewal;
mod rules;
mod store;
mod topology;
mod watch;

use crate::config::{ContainerServerConfig, TlsFiles};
use crate::front::{Front, Hosts, Limits};
use crate::http::tls;
use crate::observe::MetricsServer;
use crate::supervised::{self, Supervised};
use answer::Answers;
use api::Api;
use metrics::{Metrics, PREFIX};
use renewal::Renewal;
use rules::Rules;
use signal_hook::consts::SIGHUP;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use store::{Store, Times};
use topology::Topology;

pub use maintenance::{MaintenanceError, backup, check, run_backup, run_check, run_fences};
pub use store::Report;

/// Connections at the same time on the API port.
const CONNECTIONS: usize = 2048;
/// Bytes of a request's head.
const HEAD_LIMIT: usize = 16 * 1024;
/// Time for a whole request to arrive.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// Silence between two requests of a connection; longer than clients keep theirs.
const IDLE_TIME: Duration = Duration::from_secs(120);
/// Time that requests under way have to be answered when the server stops.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the container server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be opened.
    #[error("database {}: {source}", path.display())]
    Store {
        /// The key `database`.
        path: std::path::PathBuf,
        /// Why.
        source: store::StoreError,
    },
    /// The topology cannot be read.
    #[error(transparent)]
    Topology(#[from] topology::TopologyError),
    /// The certificate files cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] tls::TlsError),
    /// A port cannot be served.
    #[error("{what}: {source}")]
    Port {
        /// Which.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// Nobody could ask it to end.
    #[error("signals cannot be caught: {0}")]
    Signals(io::Error),
    /// The built-in pattern of labels does not compile.
    #[error("{0}")]
    Pattern(#[from] regex::Error),
}

/// A container server at work; stops when dropped.
pub struct ContainerServer {
    /// Dropped first: it has a part in the port.
    _renewal: Option<Renewal>,
    api: Arc<Front>,
    metrics: MetricsServer,
    /// Dropped last: requests under way still need it.
    store: Arc<Store>,
}

impl ContainerServer {
    /// Opens database and topology and serves both listeners. `address`, `port` and `metric_port`
    /// of the configuration are the caller's business: see [`ContainerServer::bind`].
    pub fn start(
        config: &ContainerServerConfig,
        listener: TcpListener,
        metric_listener: TcpListener,
    ) -> Result<Self, StartError> {
        let files = renewal::versions(&config.server_tls);
        let tls = match config.server_tls == TlsFiles::default() {
            true => None,
            false => Some(tls::server_config(&config.server_tls)?),
        };
        let topology = Topology::open(&config.topology)?;
        let times = Times { retention: config.watch_retention, query: config.query_timeout };
        let store = Store::open(&config.database, times)
            .map_err(|source| StartError::Store { path: config.database.clone(), source })?;
        let store = Arc::new(store);
        let rules = Rules::new(config.strict_fields)?;
        let metrics = Metrics::new();
        let registry = metrics.registry(store.clone());
        let answers = Answers::new(directory_of(&config.database).to_owned());
        let api = Arc::new(Api::new(store.clone(), topology, rules, config.users.clone(), answers, metrics));
        let port = |what: &str| {
            let what = what.to_owned();
            move |source| StartError::Port { what, source }
        };
        let with_tls = tls.is_some();
        let hosts = Hosts::of(&config.http_allowed_hosts);
        let api = Front::start("container", listener, tls, limits(config.body_limit, &hosts), api)
            .map_err(port("port"))?;
        let api = Arc::new(api);
        let renewal = || Renewal::start(config.server_tls.clone(), files, api.clone());
        let renewal = with_tls.then(renewal).transpose().map_err(port("port"))?;
        let metrics = MetricsServer::serve(metric_listener, registry, PREFIX, hosts, vec![api.meter()])
            .map_err(port("metric_port"))?;
        Ok(Self { _renewal: renewal, api, metrics, store })
    }

    /// Binds the two ports of a configuration: the API's, then the metrics'.
    pub fn bind(config: &ContainerServerConfig) -> Result<(TcpListener, TcpListener), StartError> {
        let bind = |key: &str, port: u16| {
            TcpListener::bind((config.address, port)).map_err(|source| StartError::Port {
                what: format!("{key}: cannot listen on {}", SocketAddr::new(config.address, port)),
                source,
            })
        };
        Ok((bind("port", config.port)?, bind("metric_port", config.metric_port)?))
    }

    /// Where the API listens.
    pub fn addr(&self) -> SocketAddr {
        self.api.addr()
    }

    /// Where the metrics listen.
    pub fn metric_addr(&self) -> SocketAddr {
        self.metrics.addr()
    }

    /// Stops listening, answers what is under way, if that takes no longer than ten seconds, and closes the
    /// database. Who waits for a change is told that there is none. Dropped, it answers nothing.
    pub fn stop(self) {
        self.store.end_waiting();
        self.api.drain(DRAIN);
    }
}

/// Where a file lies: beside the database there is room for what is as large.
fn directory_of(file: &Path) -> &Path {
    file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn limits(body: usize, hosts: &Hosts) -> Limits {
    Limits {
        connections: CONNECTIONS,
        head: HEAD_LIMIT,
        body,
        request_time: REQUEST_TIME,
        idle_time: IDLE_TIME,
        hosts: hosts.clone(),
    }
}

/// The command `container-server`: serves until SIGTERM or SIGINT. Returns the exit code.
pub fn run(config: &ContainerServerConfig) -> i32 {
    let started = supervised::asked_to_end().and_then(|end| outlive_hangup().map(|()| end));
    let started = started.map_err(StartError::Signals).and_then(|end| {
        let (listener, metric_listener) = ContainerServer::bind(config)?;
        Ok((end, ContainerServer::start(config, listener, metric_listener)?))
    });
    let (end, server) = match started {
        Ok(started) => started,
        Err(error) => {
            log::error!("container server: {error}");
            return 1;
        }
    };
    log::info!("container server: API on {}, metrics on {}", server.addr(), server.metric_addr());
    let code = supervised::attend(&end, &server);
    server.stop();
    code
}

/// SIGHUP asks a service to read its files again; those that can change are looked at all the time.
fn outlive_hangup() -> io::Result<()> {
    signal_hook::flag::register(SIGHUP, Arc::default()).map(|_| ())
}

impl Supervised for ContainerServer {
    fn fatal(&self) -> Option<String> {
        None
    }

    /// A full disk is no reason to begin anew, and its check returns; a wedged writer's does not.
    fn broken(&self) -> Vec<String> {
        let _ = self.store.check();
        let lost = !self.store.has_writer();
        lost.then(|| "the store's writer has ended: restart the container server".to_owned())
            .into_iter()
            .collect()
    }

    fn drain(&self) -> Duration {
        DRAIN
    }

    fn line(&self) -> String {
        self.store.statistics().map_or_else(|fault| fault.to_string(), |now| format!("{} pods", now.pods))
    }
}
