//! The service: puts the parts together, and takes them apart again in order.
//!
//! The one place that knows every module. Ready means: the configuration is valid, the ports
//! listen, the controller runs (design.md 8); a CMDB that is down shows in the status and does not
//! keep the service from starting.

mod parts;
mod state;

pub(crate) use self::parts::{Requests, discovery, http_client, peers, server_info, servers};
use self::parts::{coordination, listen};
use self::state::State;
use crate::config::{Config, Sources, TlsFiles};
use crate::feed::{self, LiveFeed};
use crate::front::Hosts;
use crate::http::tls;
use crate::inventory::FilterError;
use crate::observe::{MetricsServer, StatusServer};
use crate::reload::{Effect, Problem, Reloader, Target};
use crate::supervised::{self, Supervised};
use crate::sync::numbers::MetricsSource;
use crate::sync::snapshot::{ClusterState, StatusSource};
use crate::sync::{Clock, Controller, ControllerHandle, Timings};
use crate::warnings::Warnings;
use parking_lot::Mutex;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// This release.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
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
        let hosts = Hosts::of(&config.http_allowed_hosts);
        let token = config.admin_token.clone();
        let status = StatusServer::start(listener, server_tls, token, hosts.clone(), source.clone())?;
        let metrics = MetricsServer::start(metric_listener, source, numbers, hosts, vec![status.meter()])?;
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

    fn show(&self, problem: Option<Problem>) {
        *self.state.reload_problem.lock() = problem;
    }
}

impl Live {
    fn apply_all(&self, config: &Config, effects: &[Effect]) -> Result<(), StartError> {
        let State { controller, discovery, requests, warnings, .. } = &*self.state;
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
        warnings.watch(config);
        Ok(())
    }
}

/// `run`: the service until SIGTERM or SIGINT. `sources` are where its configuration is read again
/// from. Returns the exit code.
pub fn run(config: Config, sources: &Sources) -> i32 {
    let first = config.clone();
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
    let code = supervised::attend(&end, &service);
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

    fn drain(&self) -> Duration {
        self.state.controller.shutdown_grace()
    }

    fn line(&self) -> String {
        let status = self.state.status();
        let live = status.clusters.iter().filter(|cluster| cluster.state == ClusterState::Live).count();
        let line = format!("{}, {live} of {} clusters live", status.role, status.clusters.len());
        status.problems.first().map_or(line.clone(), |problem| format!("{line}; {problem}"))
    }
}
