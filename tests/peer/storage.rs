//! Clients of bcs-storage for scripted peers.

use bcs_bkcmdb_synchronizer::config::{BaseUrl, TlsFiles};
use bcs_bkcmdb_synchronizer::http::{RequestStats, tls};
use bcs_bkcmdb_synchronizer::storage::{Client, Settings, StaticAddresses};
use std::sync::Arc;
use std::time::Duration;

pub const SECOND: Duration = Duration::from_secs(1);
pub const CLUSTER: &str = "BCS-K8S-1";

/// Pages of two documents, and bounds that no test that passes meets: beyond its patience.
pub fn settings() -> Settings {
    let never = 2 * super::PATIENCE;
    Settings { page_size: 2, timeout: never, watch_idle_timeout: never, list_concurrency: 2 }
}

pub fn client_with(
    origins: &[String],
    settings: Settings,
    tls: Option<&TlsFiles>,
) -> (Client, Arc<RequestStats>) {
    let url = |origin: &String| BaseUrl { origin: origin.clone(), prefix: String::new() };
    let addresses = Arc::new(StaticAddresses::new(origins.iter().map(url).collect()));
    let tls = tls.map(|files| tls::client_config(files, false).unwrap());
    let stats = Arc::new(RequestStats::default());
    (Client::new(addresses, tls, settings, stats.clone()), stats)
}

/// A client of those peers.
pub fn client(peers: &[&super::Peer]) -> Client {
    let origins: Vec<String> = peers.iter().map(|peer| peer.origin()).collect();
    client_with(&origins, settings(), None).0
}
