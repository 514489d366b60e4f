//! Whose turn it is to write: a command that writes does so only where no instance of the service
//! does (design.md 3, rule 3).
//!
//! With ZooKeeper it takes the cluster's lock as an instance would. Without, the status port of this
//! machine's service stands for the lock: who has the port has the clusters. While a command has
//! it, no service can start with it.

use crate::config::Config;
use crate::coordination::Lock;
use crate::fleet::Guest;
use crate::http::{Client, HttpError, Method, Options, Request, tls};
use crate::model::{Fence, NoFence};
use crate::service;
use crate::sync::INTERRUPTED;
use serde_json::Value;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Between two looks at a lock.
const POLL: Duration = Duration::from_millis(100);
/// What connecting to ZooKeeper may take beyond two session timeouts: one to connect, one that a
/// ZooKeeper without memory is given (design.md 4).
const SLACK: Duration = Duration::from_secs(10);
/// How long a service may take to say whether it has a cluster.
const ASK: Duration = Duration::from_secs(5);
/// Longest answer about one cluster.
const ANSWER: u64 = 1 << 20;

/// Why a command may not write.
#[derive(Debug, thiserror::Error)]
pub(super) enum TurnError {
    /// Somebody else does.
    #[error("cluster {id} is at work at {holder}: {instead}")]
    Taken {
        /// The cluster.
        id: String,
        /// `ip:port`.
        holder: String,
        /// What to do.
        instead: String,
    },
    /// Somebody is there, and does not say.
    #[error(
        "whatever listens on {address} does not say whether it has cluster {id}: {reason}; stop it, or run this with another --port if it is no synchronizer"
    )]
    Unclear {
        /// The cluster.
        id: String,
        /// Where.
        address: SocketAddr,
        /// Its answer.
        reason: String,
    },
    /// No lock within the time it may take.
    #[error("no lock for cluster {id}: {reason}")]
    NoLock {
        /// The cluster.
        id: String,
        /// What ZooKeeper says.
        reason: String,
    },
    /// The machine grants no thread or socket, or files cannot be used.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What somebody wants to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A full sync, which whoever has the cluster can do too.
    Sync,
    /// Every record goes, and would come back if somebody else had the cluster.
    Purge,
}

/// What to do where somebody else has the cluster.
#[derive(Clone, Copy)]
pub(super) struct Advice {
    work: Work,
    /// `http` or `https`, as this configuration says of every instance.
    scheme: &'static str,
    /// Whether a POST needs the token.
    token: bool,
}

impl Advice {
    fn new(config: &Config, work: Work) -> Self {
        Self { work, scheme: scheme(config), token: config.admin_token.is_some() }
    }

    /// As the error that somebody has the cluster.
    fn taken(self, id: &str, holder: String) -> TurnError {
        let Self { work, scheme, token } = self;
        let header = if token { " -H \"Authorization: Bearer TOKEN\"" } else { "" };
        let instead = match work {
            Work::Sync => format!(
                "ask it instead (curl -X POST{header} {scheme}://{holder}/api/v1/clusters/{id}/sync), or stop it first"
            ),
            Work::Purge => {
                "put the cluster into exclude_clusters there, take it out of the inventory or stop the \
                 instance, then run this again"
                    .to_owned()
            }
        };
        TurnError::Taken { id: id.to_owned(), holder, instead }
    }
}

/// The right to write, cluster by cluster. Given back when dropped.
pub(super) enum Turn {
    /// Without ZooKeeper; the port is ours as far as it was free.
    Alone { config: Box<Config>, port: Option<TcpListener>, advice: Advice },
    /// With ZooKeeper.
    Guest { guest: Box<Guest>, advice: Advice, patience: Duration },
}

/// Hears SIGINT and SIGTERM: from now on whoever writes has to look, so that the lock is given back and
/// not left to the end of the session. A second signal ends the process at once.
pub(super) fn interruption() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_default(signal, Arc::clone(&interrupted))?;
        flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}

impl Turn {
    /// Prepares; no cluster is ours yet.
    pub fn begin(config: &Config, work: Work) -> Result<Self, TurnError> {
        let advice = Advice::new(config, work);
        let at = SocketAddr::new(config.address, config.port);
        if config.zk.is_empty() {
            let port = match TcpListener::bind(at) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => None,
                bound => Some(bound?),
            };
            return Ok(Self::Alone { config: Box::new(config.clone()), port, advice });
        }
        // A guest serves nothing; its port only names it.
        let name = SocketAddr::new(config.address, config.port.max(1));
        let guest = Guest::start(
            service::servers(config, &config.zk),
            service::server_info(config, name, config.metric_port),
        )?;
        let patience = config.zk_session_timeout * 2 + SLACK;
        Ok(Self::Guest { guest: Box::new(guest), advice, patience })
    }

    /// The permission to write for a cluster, until [`give_back`](Self::give_back).
    pub fn take(&self, id: &str, interrupted: &AtomicBool) -> Result<Arc<dyn Fence>, TurnError> {
        match self {
            Self::Alone { port: Some(_), .. } => Ok(Arc::new(NoFence)),
            Self::Alone { config, port: None, advice } => {
                ask(config, id, *advice)?;
                Ok(Arc::new(NoFence))
            }
            Self::Guest { guest, advice, patience } => lock(guest, id, *advice, *patience, interrupted),
        }
    }

    /// Nothing is written for the cluster any more.
    pub fn give_back(&self, id: &str) {
        if let Self::Guest { guest, .. } = self {
            guest.release(id);
        }
    }

    /// No record of a cluster is left in a business.
    pub fn forget(&self, id: &str, biz: i64) -> Result<(), String> {
        match self {
            Self::Alone { .. } => Ok(()),
            Self::Guest { guest, .. } => guest.forget(id, biz),
        }
    }
}

/// Waits for the lock, but for nobody who has it.
fn lock(
    guest: &Guest,
    id: &str,
    advice: Advice,
    patience: Duration,
    interrupted: &AtomicBool,
) -> Result<Arc<dyn Fence>, TurnError> {
    let deadline = Instant::now() + patience;
    loop {
        let reason = match guest.acquire(id) {
            Lock::Pending { holder: Some(holder) } => {
                return Err(advice.taken(id, holder));
            }
            Lock::Pending { holder: None } => "ZooKeeper has not answered in time".to_owned(),
            Lock::Held(fence) => match fence.permit() {
                Ok(_) => return Ok(fence),
                Err(reason) => reason,
            },
        };
        if interrupted.load(Relaxed) {
            return Err(TurnError::NoLock { id: id.to_owned(), reason: INTERRUPTED.to_owned() });
        }
        if Instant::now() >= deadline {
            let reason = guest.problem().unwrap_or(reason);
            return Err(TurnError::NoLock { id: id.to_owned(), reason });
        }
        std::thread::sleep(POLL);
    }
}

/// Asks whoever has the port whether it has the cluster; no error if it has not.
fn ask(config: &Config, id: &str, advice: Advice) -> Result<(), TurnError> {
    let address = SocketAddr::new(reachable(config.address), config.port);
    let unclear = |reason: String| TurnError::Unclear { id: id.to_owned(), address, reason };
    let (status, body) = fetch(config, address, id).map_err(|error| unclear(error.to_string()))?;
    match status {
        200 if body["cluster_id"] == id => Err(advice.taken(id, address.to_string())),
        404 => Ok(()),
        status => Err(unclear(format!("HTTP {status}"))),
    }
}

fn fetch(config: &Config, address: SocketAddr, id: &str) -> Result<(u16, Value), Box<dyn std::error::Error>> {
    let server = &config.server_tls;
    let tls = match server.cert.is_some() {
        true => Some(tls::client_of_own_listener(server)?),
        false => None,
    };
    let client = Client::new(&Options { tls, connect_timeout: ASK, ..Options::default() });
    let path = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC);
    let url = format!("{}://{address}/api/v1/clusters/{path}", scheme(config));
    let request = Request {
        method: Method::Get,
        url: &url,
        headers: &[],
        body: None,
        timeout: Some(ASK),
        idle_timeout: None,
    };
    let answer = client.send(&request)?;
    let status = answer.status;
    let body = answer
        .bytes(ANSWER)
        .or_else(|error: HttpError| if status == 404 { Ok(Vec::new()) } else { Err(error) })?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}

/// What the status service of this configuration speaks.
fn scheme(config: &Config) -> &'static str {
    if config.server_tls.cert.is_some() { "https" } else { "http" }
}

/// Where a service that listens on `address` can be asked from this machine.
fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}
