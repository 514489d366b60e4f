//! How each part is made from the configuration; the commands make the same parts with it.

use super::{StartError, VERSION};
use crate::cmdb::{self, TopologyCache};
use crate::config::{BaseUrl, Config, TlsFiles};
use crate::coordination::{Coordination, Discovery, Feed, ServerInfo, Servers};
use crate::fleet;
use crate::http::{self, RequestStats, tls};
use crate::storage::{self, Addresses, StaticAddresses};
use crate::sync::Peers;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// Bound on connecting to any peer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections kept to the CMDB; more threads than that rarely write at the same time.
const CMDB_CONNECTIONS: usize = 64;

/// Request counters per peer.
#[derive(Clone, Default)]
pub(crate) struct Requests {
    pub(super) cmdb: Arc<RequestStats>,
    pub(super) storage: Arc<RequestStats>,
    pub(super) paas: Arc<RequestStats>,
}

pub(super) fn listen(key: &'static str, addr: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(addr).map_err(|source| StartError::Listen { key, addr, source })
}

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

pub(super) fn coordination(
    config: &Config,
    info: ServerInfo,
    feed: Feed,
) -> Result<Arc<dyn Coordination>, StartError> {
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
