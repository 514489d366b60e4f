//! A fleet: ZooKeeper, the peers, and several processes of the program itself, each with an
//! address of its own as on machines of their own.

#![allow(dead_code)] // Each test program uses its own part.

use crate::churn;
use crate::secrets;
use crate::world::{ClusterSetup, World, wait_or};
use crate::zookeeper::{ZooKeepers, frozen, own_address};
use bcs_bkcmdb_synchronizer::http::{Client, Method, Options, Request};
use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// `zk_session_timeout`: the shortest the configuration allows.
pub const SESSION: Duration = Duration::from_secs(4);
/// `reassign_delay`: longer than a restart of an instance on a busy machine.
pub const DELAY: Duration = Duration::from_secs(6);
/// How long anything may take that has no bound of its own.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The port of every instance: addresses differ, as in an installation.
const PORT: u16 = 8080;

/// ZooKeeper, peers and instances. Killed when dropped.
pub struct Fleet {
    pub instances: Vec<Instance>,
    pub zookeepers: ZooKeepers,
    pub world: World,
    directory: TempDir,
    client: Client,
}

/// One process of the program.
pub struct Instance {
    /// `ip:port`, its name in ZooKeeper.
    pub name: String,
    /// Whom the CMDB takes it for.
    pub user: String,
    /// What comes before the program, and its arguments.
    command: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Fleet {
    /// Peers with `clusters` clusters that have a few pods each, and ZooKeeper; no instance yet.
    pub fn new(zookeepers: ZooKeepers, clusters: usize) -> Self {
        let generation = |number| if number % 2 == 0 { Generation::New } else { Generation::Old };
        let setup = |number| ClusterSetup::new(&format!("BCS-K8S-{number:05}"), generation(number));
        let world = World::new((0..clusters).map(setup).collect()).with(json!({
            "zk": zookeepers.hosts(), "zk_session_timeout": SESSION.as_secs(),
            "reassign_delay": DELAY.as_secs(), "senders_per_cluster": 2,
            "port": PORT, "metric_port": PORT + 1,
        }));
        let client = Client::new(&Options::default());
        let directory = tempfile::Builder::new().prefix("bkcmdb-fleet-").tempdir().unwrap();
        let fleet = Self { instances: Vec::new(), zookeepers, world, directory, client };
        churn::seed(&fleet.world.storage, &fleet.clusters());
        fleet
    }

    /// Starts `count` instances at once.
    pub fn start(mut self, count: usize) -> Self {
        for _ in 0..count {
            let address = own_address();
            self.add(&address, &[], &json!({}));
        }
        self
    }

    /// Starts a further instance at `address`, by way of `prefix`, with further keys.
    pub fn add(&mut self, address: &str, prefix: &[String], keys: &Value) {
        let user = format!("instance-{}", self.instances.len());
        let mut config = self.world.config().clone();
        config["address"] = address.into();
        config["cmdb_user"] = user.clone().into();
        // As it is in service: clusters move here, and what a former owner left on its way is looked for.
        config["cmdb_timeout"] = 30.into();
        for (key, value) in keys.as_object().unwrap() {
            config[key] = value.clone();
        }
        let file = self.directory.path().join(format!("{user}.json"));
        fs::write(&file, config.to_string()).unwrap();
        let program = env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer").to_owned();
        let arguments = [program, "--config".to_owned(), file.to_str().unwrap().to_owned()];
        let command = prefix.iter().cloned().chain(arguments).collect();
        let log = self.directory.path().join(format!("{user}.log"));
        let mut instance = Instance { name: format!("{address}:{PORT}"), user, command, log, child: None };
        instance.start();
        self.instances.push(instance);
    }

    /// Every cluster of the inventory.
    pub fn clusters(&self) -> Vec<String> {
        self.world.clusters.iter().map(|cluster| cluster.id.clone()).collect()
    }

    // ---- what the instances say ------------------------------------------------------------

    /// An answer of an instance; `None` if it gives none.
    pub fn get(&self, instance: usize, path: &str) -> Option<Value> {
        let url = format!("http://{}{path}", self.instances[instance].name);
        serde_json::from_slice(&self.fetch(&url)?).ok()
    }

    /// A number of its metrics; 0 if it has none of that name.
    pub fn metric(&self, instance: usize, name: &str) -> f64 {
        let address = self.instances[instance].name.strip_suffix(&format!(":{PORT}")).unwrap();
        let mut text = None;
        self.wait("its metrics", PATIENCE, |fleet| {
            text = fleet.fetch(&format!("http://{address}:{}/metrics", PORT + 1));
            text.is_some()
        });
        let text = String::from_utf8(text.unwrap()).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_default()
    }

    fn fetch(&self, url: &str) -> Option<Vec<u8>> {
        let request = Request {
            method: Method::Get,
            url,
            headers: &[],
            body: None,
            timeout: Some(Duration::from_secs(3)),
            idle_timeout: None,
        };
        self.client.send(&request).ok()?.bytes(1 << 24).ok()
    }

    /// A text of its status, by JSON pointer.
    pub fn status(&self, instance: usize, pointer: &str) -> Option<String> {
        Some(self.get(instance, "/api/v1/status")?.pointer(pointer)?.as_str()?.to_owned())
    }

    /// The state of each cluster an instance has.
    pub fn states(&self, instance: usize) -> BTreeMap<String, String> {
        let status = self.get(instance, "/api/v1/status").unwrap_or_default();
        let clusters = status["clusters"].as_array().cloned().unwrap_or_default();
        let text = |cluster: &Value, key: &str| cluster[key].as_str().unwrap_or_default().to_owned();
        clusters.iter().map(|cluster| (text(cluster, "cluster_id"), text(cluster, "state"))).collect()
    }

    /// Whether every one of `instances` has a sound session whose last heartbeat is younger than
    /// `since`.
    pub fn are_connected(&self, instances: &[usize], since: Instant) -> bool {
        instances.iter().all(|index| {
            let status = self.get(*index, "/api/v1/status").unwrap_or_default();
            let age = status["coordination"]["last_heartbeat_seconds_ago"].as_f64();
            let young = age.is_some_and(|age| age < since.elapsed().as_secs_f64());
            young && status["coordination"]["state"] == "connected"
        })
    }

    /// Whether none of `instances` may write, and no request of theirs is under way.
    pub fn are_suspended(&self, instances: &[usize]) -> bool {
        instances.iter().all(|index| {
            let status = self.get(*index, "/api/v1/status").unwrap_or_default();
            let suspended =
                |cluster: &Value| cluster["state"] == "suspended" && cluster["senders"]["in_flight"] == 0;
            status["clusters"].as_array().is_some_and(|all| !all.is_empty() && all.iter().all(suspended))
        })
    }

    /// The clusters of each worker as `instance` sees the assignment.
    pub fn assignment(&self, instance: usize) -> BTreeMap<String, Vec<String>> {
        let view = self.get(instance, "/api/v1/assignment").unwrap_or_default();
        let workers = view["workers"].as_array().cloned().unwrap_or_default();
        let of = |worker: &Value| {
            let clusters = worker["clusters"].as_array().unwrap();
            let clusters = clusters.iter().map(|id| id.as_str().unwrap().to_owned()).collect();
            (worker["instance"].as_str().unwrap().to_owned(), clusters)
        };
        workers.iter().map(of).collect()
    }

    /// The index of the master among those that run, once there is one.
    #[track_caller]
    pub fn master(&self) -> usize {
        let leads = |fleet: &Self, index: &usize| fleet.status(*index, "/role").as_deref() == Some("master");
        let mut master = None;
        self.wait("a master", PATIENCE, |fleet| {
            master = (0..fleet.instances.len()).find(|index| leads(fleet, index));
            master.is_some()
        });
        master.unwrap()
    }

    /// Whether every cluster is with exactly one of `instances`, in the assignment and at work, and
    /// each of them has some.
    pub fn is_shared_by(&self, instances: &[usize]) -> bool {
        let assignment = self.assignment(instances[0]);
        let mut at_work = Vec::new();
        for index in instances {
            let states = self.states(*index);
            let mut assigned = assignment.get(&self.instances[*index].name).cloned().unwrap_or_default();
            assigned.sort();
            let running = states.iter().filter(|(_, state)| *state != "waiting");
            let running: Vec<String> = running.map(|(id, _)| id.clone()).collect();
            if assigned != running || running.is_empty() {
                return false;
            }
            at_work.extend(running);
        }
        at_work.sort();
        at_work == self.clusters() && assignment.values().map(Vec::len).sum::<usize>() == at_work.len()
    }

    /// How often an instance wrote.
    pub fn writes_of(&self, instance: usize) -> usize {
        let user = &self.instances[instance].user;
        self.world.cmdb.writes().iter().filter(|call| call.user == *user).count()
    }

    // ---- what a test waits for -------------------------------------------------------------

    /// Waits for a condition; shows both sides and the instances' logs if it does not come.
    #[track_caller]
    pub fn wait(&self, what: &str, limit: Duration, mut condition: impl FnMut(&Self) -> bool) -> Duration {
        let too_late = || panic!("not within {limit:?}: {what}\n{}", self.report());
        wait_or(limit, || condition(self), too_late)
    }

    /// Waits until `instances` share the clusters.
    #[track_caller]
    pub fn wait_shared(&self, instances: &[usize], limit: Duration) {
        self.wait("the clusters are shared", limit, |fleet| fleet.is_shared_by(instances));
    }

    /// Waits until both sides are equal, and fails if two instances ever wrote for one cluster.
    #[track_caller]
    pub fn wait_equal(&self, limit: Duration) {
        self.wait("both sides are equal", limit, |fleet| {
            fleet.world.verdict().is_ok_and(|verdict| verdict.is_equal())
        });
        self.check_one_writer();
    }

    /// design.md 3, rule 3, as the CMDB sees it: those who write for a cluster follow one another,
    /// each with a higher fence than the one before, and nobody comes back with a lower one.
    #[track_caller]
    pub fn check_one_writer(&self) {
        let mut last: BTreeMap<String, (i64, String)> = BTreeMap::new();
        for call in self.world.cmdb.writes() {
            let cluster = call.cluster().to_owned();
            let fence = call.fence.unwrap_or_else(|| panic!("a write without a fence: {call:?}"));
            let (known, user) = last.entry(cluster.clone()).or_insert_with(|| (fence, call.user.clone()));
            assert!(
                fence > *known || (fence == *known && *user == call.user),
                "{cluster}: {} wrote with {fence} after {user} with {known}\n{}",
                call.user,
                self.report()
            );
            (*known, *user) = (fence, call.user);
        }
    }

    /// Both sides, and what the instances say and logged.
    pub fn report(&self) -> String {
        let verdict = self.world.verdict().map_or_else(|error| error, |verdict| verdict.to_string());
        let mut report = format!("{verdict}\n");
        for (index, instance) in self.instances.iter().enumerate() {
            let log = fs::read_to_string(&instance.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let tail = lines[lines.len().saturating_sub(60)..].join("\n");
            let assignment = self.get(index, "/api/v1/assignment").unwrap_or_default();
            let states = self.states(index);
            let held = |_: &Child| format!("{} threads, {} files", instance.threads(), instance.files());
            let held = instance.child.as_ref().map_or("stopped".to_owned(), held);
            let name = &instance.name;
            report.push_str(&format!("--- {name}: {held}\n{tail}\n{assignment}\n{states:?}\n"));
        }
        report
    }
}

impl Instance {
    /// What it has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Starts the process; returns at once.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM; the exit status.
    pub fn terminate(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.child.take().unwrap().wait().unwrap()
    }

    /// SIGTERM; returns at once.
    pub fn ask_to_stop(&self) {
        let pid = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Starts the process again, after its end if it has been asked to stop.
    pub fn restart(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.wait().unwrap();
        }
        self.start();
    }

    /// SIGSTOP: it stands still and is not told.
    pub fn freeze(&self) {
        frozen::freeze(self.child.as_ref().unwrap().id());
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        frozen::thaw(self.child.as_ref().unwrap().id());
    }

    /// Threads it has.
    pub fn threads(&self) -> usize {
        fs::read_dir(self.proc("task")).unwrap().count()
    }

    /// Files and sockets it has open.
    pub fn files(&self) -> usize {
        fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// KiB of memory it has.
    pub fn memory(&self) -> usize {
        let status = fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    fn proc(&self, what: &str) -> String {
        format!("/proc/{}/{what}", self.child.as_ref().unwrap().id())
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.kill();
        secrets::check_file(&self.log);
    }
}
