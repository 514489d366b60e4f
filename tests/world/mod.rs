//! The synchronizer among its peers, in one process and over real HTTP: a simulated bcs-storage,
//! a real container server behind a gate that tests can break, and the service itself.
//!
//! Every peer can be killed and come back on its port with what it held. Nothing here knows how
//! the service does its work: tests see documents on one side, records and requests on the other,
//! and the status in between.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)] // Each test file uses its own part.

pub mod cmdb;
pub mod pods;

use bcs_bkcmdb_synchronizer::config::Config;
use bcs_bkcmdb_synchronizer::convert::Settings;
use bcs_bkcmdb_synchronizer::model::{ClusterKind, Modules};
use bcs_bkcmdb_synchronizer::sandbox::storage::{Behaviour, Generation, SimServer, SimStorage};
use bcs_bkcmdb_synchronizer::sandbox::verdict::{self, ClusterSide, Verdict};
use bcs_bkcmdb_synchronizer::service::Service;
use bcs_bkcmdb_synchronizer::sync::Timings;
use bcs_bkcmdb_synchronizer::sync::snapshot::{
    ClusterState, ClusterStatus, Control, ControlOutcome, RejectedRecord,
};
use cmdb::Cmdb;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The cluster of worlds that have only one.
pub const CLUSTER: &str = "BCS-K8S-00001";
/// Its business.
pub const BIZ: i64 = 2;
/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Issue: both sides are equal again this long after their peers are back.
pub const CONVERGES: Duration = Duration::from_secs(15);
/// Between two looks at what is waited for.
const LOOK: Duration = Duration::from_millis(20);
/// Time between two looks counts as this at most: in what is more the machine stood still, and with it
/// whatever is waited for.
const STALL: Duration = Duration::from_secs(1);

/// Waits until `condition` holds; fails with `what` once that took longer than `limit`.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, condition: impl FnMut() -> bool) -> Duration {
    wait_or(limit, condition, || panic!("not within {limit:?}: {what}"))
}

/// The same, with something else to do at the end.
#[track_caller]
pub fn wait_or(limit: Duration, mut condition: impl FnMut() -> bool, too_late: impl Fn()) -> Duration {
    let (started, mut waited) = (Instant::now(), Duration::ZERO);
    let mut looked = started;
    while !condition() {
        if waited > limit {
            too_late();
        }
        std::thread::sleep(LOOK);
        waited += looked.elapsed().min(STALL);
        looked = Instant::now();
    }
    started.elapsed()
}

/// Checks all cases at once: most of their time is waiting.
pub fn at_once<T: Send>(cases: impl IntoIterator<Item = T>, check: impl Fn(T) + Sync) {
    let check = &check;
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(move || check(case));
        }
    });
}

/// A listener on a port that was in use a moment ago.
pub fn listen_again(addr: SocketAddr) -> TcpListener {
    let mut listener = None;
    wait_until("the port is free again", PATIENCE, || {
        listener = TcpListener::bind(addr).ok();
        listener.is_some()
    });
    listener.unwrap()
}

/// A listener on a free port.
pub fn listen() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// One cluster of a world.
#[derive(Clone)]
pub struct ClusterSetup {
    pub id: String,
    pub biz: i64,
    pub kind: ClusterKind,
    pub behaviour: Behaviour,
}

impl ClusterSetup {
    /// A cluster of that generation in business 2.
    pub fn new(id: &str, generation: Generation) -> Self {
        let kind = ClusterKind::from_id(id);
        // Tests are not about waiting: the trap itself has its own test in the storage client.
        let behaviour =
            Behaviour { subscription_delay: Duration::from_millis(50), ..Behaviour::of(generation) };
        Self { id: id.to_owned(), biz: BIZ, kind, behaviour }
    }
}

/// The peers, and the service once [`World::start`] was called. Gone when dropped.
pub struct World {
    pub storage: SimStorage,
    pub cmdb: Cmdb,
    pub clusters: Vec<ClusterSetup>,
    pub service: Option<Service>,
    storage_server: Option<SimServer>,
    storage_addr: SocketAddr,
    config: Value,
    timings: Timings,
    directory: TempDir,
}

impl World {
    /// One Kubernetes cluster.
    pub fn single(generation: Generation) -> Self {
        Self::new(vec![ClusterSetup::new(CLUSTER, generation)])
    }

    /// These clusters; the peers listen, nothing is in the storage, the service does not run.
    pub fn new(clusters: Vec<ClusterSetup>) -> Self {
        let directory = tempfile::Builder::new().prefix("bkcmdb-world-").tempdir().unwrap();
        let storage = SimStorage::new(1);
        for cluster in &clusters {
            storage.add_cluster_with(&cluster.id, cluster.kind, cluster.behaviour);
        }
        let storage_server = storage.serve(listen()).unwrap();
        let cmdb = Cmdb::start(directory.path());
        let config = json!({
            "address": "127.0.0.1", "port": 0, "metric_port": 0, "zk": "",
            "storage_addrs": [storage_server.url()], "cmdb_addr": cmdb.url(), "cmdb_user": "tester",
            "task_manager_type": "file", "task_file": directory.path().join("tasks.json"),
            "time_zone": "UTC", "cluster_pull_interval": 3600, "modules_refresh_interval": 100,
            // So long after the start one more full sync follows, for what a former owner left on its
            // way: later than anything is waited for, since it would find whatever else is missed.
            "cmdb_timeout": 90,
        });
        let storage_addr = storage_server.addr();
        let world = Self {
            storage,
            cmdb,
            clusters,
            service: None,
            storage_server: Some(storage_server),
            storage_addr,
            config,
            timings: Timings { settle: Duration::from_secs(1), ..Timings::default() },
            directory,
        };
        world.write_tasks();
        world
    }

    /// Changes keys of the synchronizer's configuration.
    pub fn with(mut self, keys: Value) -> Self {
        for (key, value) in keys.as_object().unwrap() {
            self.config[key] = value.clone();
        }
        self
    }

    /// Changes waits of the synchronizer.
    pub fn with_timings(mut self, change: impl FnOnce(&mut Timings)) -> Self {
        change(&mut self.timings);
        self
    }

    /// The task file as the clusters are now.
    pub fn write_tasks(&self) {
        let task = |cluster: &ClusterSetup| json!({"projectid": "project", "clusterid": cluster.id, "bk_biz_id": cluster.biz});
        let tasks: Vec<_> = self.clusters.iter().map(task).collect();
        // A rename: the service must never read half of it.
        let path = self.directory.path().join("tasks.new");
        std::fs::write(&path, Value::from(tasks).to_string()).unwrap();
        std::fs::rename(path, self.directory.path().join("tasks.json")).unwrap();
    }

    // ---- the service -----------------------------------------------------------------------

    /// The synchronizer's configuration.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// The configuration in a file, for the program itself.
    pub fn config_file(&self) -> PathBuf {
        let path = self.directory.path().join("synchronizer.json");
        std::fs::write(&path, self.config.to_string()).unwrap();
        path
    }

    /// Starts the service.
    pub fn start(&mut self) {
        let config = Config::from_json(&self.config.to_string()).unwrap();
        self.service = Some(Service::start_with(config, self.timings).unwrap());
    }

    /// Starts the service and waits until it has read both sides and every watch is subscribed.
    pub fn start_and_follow(&mut self) {
        self.start();
        let open = self.clusters.len();
        self.wait("the first full sync", |world| {
            world.storage.counters().open_watches >= open
                && world
                    .clusters
                    .iter()
                    .all(|cluster| world.status(&cluster.id).full_sync.last_outcome == "ok")
        });
    }

    /// Starts the service and waits until the settle syncs are over: from here on no full sync
    /// runs unless something asks for one.
    pub fn start_and_settle(&mut self) {
        self.start();
        self.wait_live();
        let open = self.clusters.len();
        self.wait("every watch is subscribed", |world| world.storage.counters().open_watches >= open);
    }

    /// Waits until every cluster is live.
    #[track_caller]
    pub fn wait_live(&self) {
        self.wait("every cluster is live", |world| {
            world.clusters.iter().all(|cluster| world.status(&cluster.id).state == ClusterState::Live)
        });
    }

    /// Stops the service.
    pub fn stop(&mut self) {
        self.service.take().unwrap().stop();
    }

    /// A cluster's state.
    #[track_caller]
    pub fn status(&self, cluster: &str) -> ClusterStatus {
        self.try_status(cluster).expect("the service knows the cluster")
    }

    /// A cluster's state, once the service knows it.
    pub fn try_status(&self, cluster: &str) -> Option<ClusterStatus> {
        self.service.as_ref()?.source().cluster(cluster)
    }

    /// What the only cluster complains about.
    pub fn last_error(&self) -> String {
        self.try_status(CLUSTER).and_then(|status| status.last_error).unwrap_or_default()
    }

    /// Refused records of a cluster.
    pub fn rejected(&self, cluster: &str) -> Vec<RejectedRecord> {
        self.service.as_ref().and_then(|service| service.source().rejected(cluster)).unwrap_or_default()
    }

    /// An operator's request.
    #[track_caller]
    pub fn control(&self, control: Control) {
        let outcome = self.service.as_ref().unwrap().source().control(CLUSTER, control);
        assert_eq!(outcome, ControlOutcome::Accepted);
    }

    // ---- the storage -----------------------------------------------------------------------

    /// Puts a pod into the only cluster.
    pub fn put(&self, pod: Value) {
        self.storage.put(CLUSTER, pod).unwrap();
    }

    /// Deletes a pod of the only cluster.
    #[track_caller]
    pub fn delete(&self, name: &str) {
        assert!(self.storage.delete(CLUSTER, pods::NAMESPACE, name), "{name} is not there");
    }

    /// Where the storage's server listens.
    pub fn storage_addr(&self) -> SocketAddr {
        self.storage_addr
    }

    /// Ends the storage's server; connections are refused from now on.
    pub fn kill_storage(&mut self) {
        self.storage_server = None;
    }

    /// The storage is back on its port, with its documents.
    pub fn restart_storage(&mut self) {
        self.storage_server = Some(self.storage.serve(listen_again(self.storage_addr)).unwrap());
    }

    // ---- both sides ------------------------------------------------------------------------

    /// Waits for a condition, and shows both sides if it does not come.
    #[track_caller]
    pub fn wait(&self, what: &str, mut condition: impl FnMut(&Self) -> bool) -> Duration {
        self.wait_within(what, PATIENCE, &mut condition)
    }

    /// The same with a limit.
    #[track_caller]
    pub fn wait_within(
        &self,
        what: &str,
        limit: Duration,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Duration {
        let too_late = || panic!("not within {limit:?}: {what}\n{}", self.report());
        wait_or(limit, || self.knows_all() && condition(self), too_late)
    }

    fn knows_all(&self) -> bool {
        let known = |cluster: &ClusterSetup| self.try_status(&cluster.id).is_some();
        self.service.is_none() || self.clusters.iter().all(known)
    }

    /// Waits until both sides are equal, field by field, and nothing is refused.
    #[track_caller]
    pub fn wait_equal(&self, limit: Duration) -> Duration {
        self.wait_within("both sides are equal", limit, |world| {
            world.verdict().is_ok_and(|verdict| verdict.is_equal() && verdict.total().rejected == 0)
        })
    }

    /// Compares both sides.
    pub fn verdict(&self) -> Result<Verdict, String> {
        let mut businesses: Vec<i64> = cmdb::BUSINESSES.to_vec();
        businesses.extend(self.clusters.iter().map(|cluster| cluster.biz));
        businesses.sort_unstable();
        businesses.dedup();
        let mut records = Vec::new();
        for biz in businesses {
            records.append(&mut self.cmdb.records(biz)?);
        }
        let side = |cluster: &ClusterSetup| ClusterSide {
            id: cluster.id.clone(),
            bk_biz_id: cluster.biz,
            kind: cluster.kind,
            documents: self.storage.documents(&cluster.id),
            refused: self.rejected(&cluster.id),
        };
        let sides: Vec<_> = self.clusters.iter().map(side).collect();
        let modules: BTreeMap<i64, Modules> = self.cmdb.modules();
        Ok(verdict::judge(&sides, &records, &modules, &settings()))
    }

    fn report(&self) -> String {
        let mut report = match self.verdict() {
            Ok(verdict) => verdict.to_string(),
            Err(error) => error,
        };
        report.push_str(&format!("\n{:?}", self.cmdb.writes()));
        for cluster in &self.clusters {
            let status = self.try_status(&cluster.id).map(|status| serde_json::to_string(&status).unwrap());
            report.push_str(&format!("\n{}", status.unwrap_or_default()));
        }
        report.push_str(&format!("\nstorage {:?}\nCMDB {:?}", self.storage.counters(), self.cmdb.counts()));
        report
    }
}

/// How the service converts, as far as the judge must know it.
pub fn settings() -> Settings {
    Settings {
        cloud_id: 0,
        time_zone: TimeZone::UTC,
        text_limit: 2000,
        default_set: "bkbcs".to_owned(),
        default_module: "bkbcs".to_owned(),
    }
}
