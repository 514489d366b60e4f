//! `check-config --connect`: asks every peer once, reads only, and says what each answered.

use crate::config::{BaseUrl, Config, TaskManagerType};
use crate::coordination::{CallError, Discovery, Role, Session, layout};
use crate::feed;
use crate::model::{Cluster, ClusterKind};
use crate::service;
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long ZooKeeper may take to grant a session.
const SESSION: Duration = Duration::from_secs(10);
/// Between two looks whether it has.
const POLL: Duration = Duration::from_millis(50);
/// Businesses that are looked at.
const BUSINESSES: usize = 20;
/// Asked for where no cluster is known: a cluster without pods is answered like one with some.
const ANY_CLUSTER: &str = "BCS-K8S-00000";

/// What one peer answered.
#[derive(Debug, Serialize)]
pub(super) struct Finding {
    /// `zookeeper`, `storage_zk`, `bcs-storage`, `inventory`, `cmdb`.
    pub peer: &'static str,
    pub address: String,
    pub ok: bool,
    pub message: String,
}

/// Asks every peer.
pub(super) fn ask_peers(config: &Config) -> Vec<Finding> {
    let mut peers = Vec::new();
    if !config.zk.is_empty() {
        peers.push(zookeeper(config));
    }
    let (clusters, inventory) = inventory(config);
    peers.push(inventory);
    peers.extend(storages(config, clusters.first()));
    peers.extend(cmdb(config, &clusters));
    peers
}

/// A finding from what was learnt, or what went wrong.
fn finding(peer: &'static str, address: String, result: Result<String, String>) -> Finding {
    let ok = result.is_ok();
    Finding { peer, address, ok, message: result.unwrap_or_else(|error| error) }
}

/// A session that only reads, and whether the nodes of the fleet may be read.
fn zookeeper(config: &Config) -> Finding {
    let result = (|| {
        let servers = service::servers(config, &config.zk);
        let session = Session::start(servers, Role::Reader).map_err(|error| error.to_string())?;
        let client = await_some(SESSION, || session.client())
            .ok_or_else(|| session.problem().unwrap_or_else(|| "no session in time".to_owned()))?;
        match client.children(layout::WORKERS, false) {
            Ok(workers) => {
                Ok(format!("a session of {} s; {} workers known", client.timeout().as_secs(), workers.len()))
            }
            Err(CallError::NoNode(_)) => Ok("a session; no instance has started there yet".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    })();
    finding("zookeeper", config.zk.join(","), result)
}

/// The clusters, and whoever tells them.
fn inventory(config: &Config) -> (Vec<Cluster>, Finding) {
    let address = match (&config.task_manager_type, &config.paas_addr) {
        (TaskManagerType::File(path), _) => path.display().to_string(),
        (TaskManagerType::Paas, Some(base)) => full(base),
        (TaskManagerType::Paas, None) => String::new(),
    };
    let pulled = feed::start(config, Arc::default())
        .map_err(|error| error.to_string())
        .and_then(|(mut feed, _)| (feed.pull)());
    let (clusters, result) = match pulled {
        Err(error) => (Vec::new(), Err(error)),
        Ok(inventory) => {
            let found = format!("{} clusters", inventory.clusters.len());
            let result = match (inventory.complete, inventory.problems.as_slice()) {
                (true, []) => Ok(found),
                (true, problems) => Ok(format!("{found}; {}", problems.join("; "))),
                (false, problems) => Err(format!("{found}, but not all: {}", problems.join("; "))),
            };
            (inventory.clusters, result)
        }
    };
    (clusters, finding("inventory", address, result))
}

/// Every address of bcs-storage on its own: the service passes over a broken one.
fn storages(config: &Config, cluster: Option<&Cluster>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut addresses = config.storage_addrs.clone();
    if addresses.is_empty() {
        let hosts = config.storage_zk.join(",");
        match discover(config) {
            Ok(found) => addresses = found,
            Err(error) => return vec![finding("storage_zk", hosts, Err(error))],
        }
        findings.push(finding(
            "storage_zk",
            hosts,
            Ok(format!("{} bcs-storage registered", addresses.len())),
        ));
    }
    for address in addresses {
        let one = Config { storage_addrs: vec![address.clone()], storage_page_size: 1, ..config.clone() };
        findings.push(finding("bcs-storage", full(&address), storage(&one, cluster)));
    }
    findings
}

fn discover(config: &Config) -> Result<Vec<BaseUrl>, String> {
    let servers = service::servers(config, &config.storage_zk);
    let discovery = Discovery::start(servers).map_err(|error| error.to_string())?;
    let some = || Some(discovery.urls()).filter(|urls| !urls.is_empty());
    let urls = await_some(SESSION, some).ok_or_else(|| {
        discovery.problem().unwrap_or_else(|| {
            format!(
                "no bcs-storage is registered under {}; set storage_addrs, or look at its log",
                layout::STORAGES
            )
        })
    })?;
    Ok(urls.iter().map(|origin| BaseUrl { origin: origin.clone(), prefix: String::new() }).collect())
}

/// The first page of a cluster's pods, one document long.
fn storage(config: &Config, cluster: Option<&Cluster>) -> Result<String, String> {
    let (id, kind) = cluster.map_or((ANY_CLUSTER, ClusterKind::K8s), |cluster| (&cluster.id, cluster.kind));
    let peers =
        service::peers(config, None, &service::Requests::default()).map_err(|error| error.to_string())?;
    let listed = peers
        .storage
        .listing(id, kind, "resourceName")
        .and_then(|mut listing| listing.next_page(&mut |_| {}));
    match listed.map_err(|error| error.to_string())? {
        Some(0) | None => Ok(format!("answers; {id} has no pods there")),
        Some(_) => Ok(format!("answers; {id} has pods there")),
    }
}

/// The topology and the records of each business.
fn cmdb(config: &Config, clusters: &[Cluster]) -> Vec<Finding> {
    let businesses: BTreeSet<i64> = clusters.iter().map(|cluster| cluster.bk_biz_id).collect();
    let address = full(&config.cmdb_addr);
    if businesses.is_empty() {
        let message = "not asked, because no cluster and so no business is known".to_owned();
        return vec![finding("cmdb", address, Ok(message))];
    }
    let one = |biz: &i64| {
        let id =
            clusters.iter().find(|cluster| cluster.bk_biz_id == *biz).map_or(ANY_CLUSTER, |found| &found.id);
        let result = business(config, *biz, id).map(|good| format!("business {biz}: {good}"));
        finding("cmdb", address.clone(), result.map_err(|error| format!("business {biz}: {error}")))
    };
    let mut findings: Vec<Finding> = businesses.iter().take(BUSINESSES).map(one).collect();
    if businesses.len() > BUSINESSES {
        let left = format!("{} further businesses were not asked about", businesses.len() - BUSINESSES);
        findings.push(finding("cmdb", address.clone(), Ok(left)));
    }
    findings
}

fn business(config: &Config, biz: i64, cluster: &str) -> Result<String, String> {
    let peers =
        service::peers(config, None, &service::Requests::default()).map_err(|error| error.to_string())?;
    let modules = Arc::new(peers.cmdb.topology(biz).map_err(|error| error.to_string())?);
    peers.cmdb.list_page(biz, cluster, 0, &mut |_| {}).map_err(|error| error.to_string())?;
    let (set, module) = (&config.default_set, &config.default_module);
    match modules.id(set, module) {
        Some(_) => Ok("topology and pods can be read".to_owned()),
        None => Err(format!(
            "there is no module {module:?} in set {set:?}: create both in the CMDB, or pods without matching \
             annotations stay unrecorded"
        )),
    }
}

fn full(base: &BaseUrl) -> String {
    format!("{}{}", base.origin, base.prefix)
}

/// Looks again and again until there is something, or the time is over.
fn await_some<T>(limit: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        let found = look();
        if found.is_some() || Instant::now() >= deadline {
            return found;
        }
        std::thread::sleep(POLL);
    }
}
