//! Everything around the synchronizer: the simulated peers filled with pods, the container server
//! with its database and topology, and the configuration that leads the synchronizer to them.

use super::paas::{PaasServer, SimCluster, SimPaas, SimProject};
use super::storage::{Generation, SimServer, SimStorage};
use super::verdict::{self, ClusterSide, Verdict};
use super::workload::{Change, MODULES, Place, PodFile, Unreadable, Workload};
use super::{Options, census};
use crate::config::{Config, ContainerServerConfig};
use crate::container_server::ContainerServer;
use crate::convert::Settings;
use crate::http::{self, Client};
use crate::model::{ClusterKind, Modules};
use crate::sync::snapshot::RejectedRecord;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

/// `BK_User` and supplier of everything in the sandbox.
pub(super) const USER: &str = "sandbox";
pub(super) const SUPPLIER: &str = "0";
/// Set and module of pods that name no other.
const DEFAULT: &str = "bkbcs";
/// The businesses; clusters take turns.
const BUSINESSES: [i64; 2] = [100, 101];
/// Generated pods: at least so many together, and so many in each cluster.
const PODS: usize = 900;
const PODS_EACH: usize = 20;

/// One cluster of the sandbox.
#[derive(Clone, Debug)]
pub struct WorldCluster {
    /// Cluster id.
    pub id: String,
    /// Kubernetes or Mesos.
    pub kind: ClusterKind,
    /// Its business.
    pub bk_biz_id: i64,
}

/// The peers at work. Dropping it stops them and removes a temporary directory.
pub struct World {
    /// The simulated bcs-storage.
    pub storage: SimStorage,
    /// What happens in it.
    pub workload: Workload,
    /// The clusters.
    pub clusters: Vec<WorldCluster>,
    /// Pods that were read or generated.
    pub read: usize,
    /// Entries of the file that are no pods.
    pub unreadable: Vec<Unreadable>,
    storage_server: SimServer,
    paas_server: PaasServer,
    container: ContainerServer,
    directory: Directory,
}

/// Where the container server's files are.
enum Directory {
    Kept(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Directory {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }
}

/// What failed, with its reason; nobody decides anything by it.
fn failed<E: Display>(what: &str) -> impl FnOnce(E) -> String + '_ {
    move |error| format!("{what}: {error}")
}

impl World {
    /// Starts the peers and fills the storage.
    ///
    /// # Errors
    /// In words: pods that cannot be read, a directory that cannot be made, a port.
    pub fn start(options: &Options) -> Result<Self, String> {
        let file =
            options.pods.as_deref().map(PodFile::read).transpose().map_err(|error| error.to_string())?;
        let clusters = clusters(options.clusters as usize, file.is_none());
        let places = clusters.iter().map(|cluster| Place { id: cluster.id.clone(), kind: cluster.kind });
        let places: Vec<_> = places.collect();
        let (mut workload, read, unreadable) = match file {
            Some(PodFile { pods, unreadable }) => {
                let read = pods.len();
                (Workload::of_pods(options.seed, places, pods), read, unreadable)
            }
            None => {
                let pods = PODS.max(PODS_EACH * clusters.len());
                (Workload::generated(options.seed, places, pods, Timestamp::now()), pods, Vec::new())
            }
        };
        let storage = storage(options.seed, &clusters);
        for change in workload.take_initial() {
            apply(&storage, change)?;
        }
        let directory = directory(options.data.as_deref())?;
        let container = container_server(directory.path())?;
        let storage_server = storage.serve(free_port()?).map_err(failed("simulated bcs-storage"))?;
        let paas_server = paas(&clusters).serve(free_port()?).map_err(failed("simulated paas-cc"))?;
        Ok(Self {
            storage,
            workload,
            clusters,
            read,
            unreadable,
            storage_server,
            paas_server,
            container,
            directory,
        })
    }

    /// Lets the next thing happen.
    ///
    /// # Errors
    /// In words; it would be a mistake of the workload.
    pub fn step(&mut self) -> Result<(), String> {
        let changes = self.workload.step(Timestamp::now());
        changes.into_iter().try_for_each(|change| apply(&self.storage, change))
    }

    /// The synchronizer's configuration: as an operator would write it, but for short intervals,
    /// and a delete guard that lets an old database be emptied.
    ///
    /// # Errors
    /// In words.
    pub fn synchronizer_config(&self, options: &Options) -> Result<Config, String> {
        let text = json!({
            "address": "127.0.0.1", "port": options.port, "metric_port": options.metric_port, "v": options.v,
            "zk": "", "storage_addrs": [self.storage_url()],
            "cmdb_addr": self.cmdb_url(), "cmdb_user": USER, "cmdb_supplier_id": SUPPLIER,
            "paas_addr": self.paas_url(), "paas_app_code": USER, "paas_app_secret": "sandbox",
            "full_sync_interval": 60, "cluster_pull_interval": 30, "delete_guard_percent": 100,
        });
        Config::from_json(&text.to_string()).map_err(|problems| problems.to_string())
    }

    /// The CMDB's API, with its prefix.
    pub fn cmdb_url(&self) -> String {
        format!("http://{}/api/v3", self.container.addr())
    }

    /// The simulated bcs-storage.
    pub fn storage_url(&self) -> String {
        self.storage_server.url()
    }

    /// The simulated paas-cc.
    pub fn paas_url(&self) -> String {
        self.paas_server.url()
    }

    /// Where the database is.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Whether the CMDB holds what the storage does, given what the status API lists as refused
    /// for a cluster.
    ///
    /// # Errors
    /// In words, if the CMDB cannot be read.
    pub fn verdict(
        &self,
        settings: &Settings,
        refused: impl Fn(&str) -> Vec<RejectedRecord>,
    ) -> Result<Verdict, String> {
        let client = Client::new(&http::Options::default());
        let mut records = Vec::new();
        for biz in BUSINESSES {
            records.append(&mut census::records(&client, &self.cmdb_url(), biz)?);
        }
        let side = |cluster: &WorldCluster| ClusterSide {
            id: cluster.id.clone(),
            bk_biz_id: cluster.bk_biz_id,
            kind: cluster.kind,
            documents: self.storage.documents(&cluster.id),
            refused: refused(&cluster.id),
        };
        let clusters: Vec<_> = self.clusters.iter().map(side).collect();
        let modules = BUSINESSES.into_iter().map(|biz| (biz, modules(biz))).collect();
        Ok(verdict::judge(&clusters, &records, &modules, settings))
    }
}

fn apply(storage: &SimStorage, change: Change) -> Result<(), String> {
    match change {
        Change::Put { cluster, pod } => storage.put(&cluster, pod).map_err(|error| error.to_string()),
        Change::Delete { cluster, namespace, name } => {
            storage.delete(&cluster, &namespace, &name);
            Ok(())
        }
    }
}

/// `count` clusters, the last of three or more generated ones a Mesos cluster.
fn clusters(count: usize, generated: bool) -> Vec<WorldCluster> {
    let cluster = |number: usize| {
        let mesos = generated && count >= 3 && number == count;
        let kind = if mesos { ClusterKind::Mesos } else { ClusterKind::K8s };
        let id = format!("BCS-{}-{number:05}", kind.as_str().to_uppercase());
        WorldCluster { id, kind, bk_biz_id: BUSINESSES[number % BUSINESSES.len()] }
    };
    (1..=count).map(cluster).collect()
}

/// A storage with these clusters, of both generations by turns.
fn storage(seed: u64, clusters: &[WorldCluster]) -> SimStorage {
    let storage = SimStorage::new(seed);
    for (cluster, generation) in clusters.iter().zip([Generation::New, Generation::Old].into_iter().cycle()) {
        storage.add_cluster(&cluster.id, cluster.kind, generation);
    }
    storage
}

/// A paas-cc with a project for each business.
fn paas(clusters: &[WorldCluster]) -> SimPaas {
    let paas = SimPaas::new();
    let project = |biz: i64| {
        let own = clusters.iter().filter(|cluster| cluster.bk_biz_id == biz);
        let cluster = |cluster: &WorldCluster| SimCluster {
            id: cluster.id.clone(),
            environment: "prod".to_owned(),
            kind: Some(cluster.kind.as_str().to_owned()),
            disabled: false,
        };
        SimProject {
            id: format!("sandbox{biz}"),
            bk_biz_id: biz,
            offlined: false,
            clusters: own.map(cluster).collect(),
        }
    };
    paas.set_projects(BUSINESSES.map(project).into());
    paas
}

fn container_server(directory: &Path) -> Result<ContainerServer, String> {
    let topology = directory.join("topology.json");
    let businesses: Vec<_> = BUSINESSES.into_iter().map(business).collect();
    std::fs::write(&topology, json!({"businesses": businesses}).to_string())
        .map_err(failed(&format!("cannot write {}", topology.display())))?;
    let text = json!({
        "address": "127.0.0.1", "port": 0, "metric_port": 0, "users": [USER],
        "database": directory.join("container-server.db"), "topology_file": topology,
    });
    let config =
        ContainerServerConfig::from_json(&text.to_string()).map_err(|problems| problems.to_string())?;
    let (listener, metrics) = ContainerServer::bind(&config).map_err(failed("container server"))?;
    ContainerServer::start(&config, listener, metrics).map_err(failed("container server"))
}

/// Names of the (set, module) pairs of each business and the ids they have in it.
fn placed(biz: i64) -> impl Iterator<Item = (&'static str, &'static str, i64)> {
    let pairs = [(DEFAULT, DEFAULT)].into_iter().chain(MODULES);
    pairs.zip(1..).map(move |((set, module), number)| (set, module, biz * 100 + number))
}

fn modules(biz: i64) -> Modules {
    let mut modules = Modules::default();
    placed(biz).for_each(|(set, module, id)| modules.insert(set, module, id));
    modules
}

/// One business of the topology file (interface.md 2).
fn business(biz: i64) -> Value {
    let mut sets: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for (set, module, id) in placed(biz) {
        sets.entry(set).or_default().push(json!({"bk_module_id": id, "bk_module_name": module}));
    }
    let set = |((name, modules), number): ((&str, Vec<Value>), i64)| json!({"bk_set_id": biz * 10 + number, "bk_set_name": name, "modules": modules});
    let sets: Vec<_> = sets.into_iter().zip(1..).map(set).collect();
    json!({"bk_biz_id": biz, "bk_biz_name": format!("sandbox {biz}"), "sets": sets})
}

fn directory(data: Option<&Path>) -> Result<Directory, String> {
    match data {
        Some(path) => {
            let what = format!("cannot make the directory {}", path.display());
            std::fs::create_dir_all(path).map_err(failed(&what))?;
            Ok(Directory::Kept(path.to_owned()))
        }
        None => {
            let temporary = tempfile::Builder::new().prefix("bkcmdb-sandbox-").tempdir();
            temporary
                .map(Directory::Temporary)
                .map_err(failed("cannot make a temporary directory; set TMPDIR"))
        }
    }
}

fn free_port() -> Result<TcpListener, String> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed("no free port on loopback"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::tz::TimeZone;

    fn options() -> Options {
        Options {
            pods: None,
            clusters: 3,
            churn: 0,
            seed: 1,
            seconds: None,
            data: None,
            port: 0,
            metric_port: 0,
            v: 0,
        }
    }

    fn settings() -> Settings {
        let default = || DEFAULT.to_owned();
        Settings {
            cloud_id: 0,
            time_zone: TimeZone::UTC,
            text_limit: 0,
            default_set: default(),
            default_module: default(),
        }
    }

    #[test]
    fn a_world_nobody_synchronises_differs_by_every_pod_that_has_a_host() {
        let mut world = World::start(&options()).unwrap();
        (0..100).for_each(|_| world.step().unwrap());
        let verdict = world.verdict(&settings(), |_| Vec::new()).unwrap();
        let total = verdict.total();
        assert_eq!((total.recorded, total.invalid, total.rejected), (0, 0, 0), "{verdict}");
        assert_eq!(total.pods, total.waiting + total.differences);
        assert!(total.waiting > 10 && total.differences > 700 && !verdict.is_equal(), "{verdict}");
    }

    #[test]
    fn the_generations_take_turns_and_the_last_cluster_is_mesos() {
        let kinds = |count, generated| -> Vec<_> {
            clusters(count, generated).into_iter().map(|cluster| cluster.kind.as_str()).collect()
        };
        assert_eq!(kinds(3, true), ["k8s", "k8s", "mesos"]);
        assert_eq!(kinds(2, true), ["k8s", "k8s"]);
        assert_eq!(kinds(3, false), ["k8s", "k8s", "k8s"]);
        assert_eq!(clusters(3, true)[2].id, "BCS-MESOS-00003");
    }

    #[test]
    fn the_synchronizer_is_configured_as_an_operator_would() {
        let world = World::start(&options()).unwrap();
        let config = world.synchronizer_config(&options()).unwrap();
        assert!(config.zk.is_empty() && config.storage_addrs[0].origin == world.storage_url());
        assert_eq!(format!("{}{}", config.cmdb_addr.origin, config.cmdb_addr.prefix), world.cmdb_url());
    }

    #[test]
    fn a_temporary_directory_goes_and_a_given_one_stays() {
        let world = World::start(&options()).unwrap();
        let temporary = world.directory().to_owned();
        assert!(temporary.join("container-server.db").exists());
        drop(world);
        assert!(!temporary.exists());
        let given = tempfile::tempdir().unwrap();
        let data = given.path().join("deep/er");
        drop(World::start(&Options { data: Some(data.clone()), ..options() }).unwrap());
        assert!(data.join("container-server.db").exists());
    }
}
