//! The task manager: on the master, inventory and workers become the lists the workers work from.
//!
//! Every instance runs it; only the master, the first of those registered, does anything. What is
//! decided is pure (`decide`); here it is read, and written with versions, so that two masters for
//! a moment cannot overwrite each other: the one whose read is older fails and looks again. Every
//! call is bound to the session in which this instance was found to be the master.

mod decide;
mod puller;

use crate::assignment::Presence;
use crate::coordination::election::{self, Member};
use crate::coordination::layout::{self, ClusterNode, ServerInfo};
use crate::coordination::{CallError, Client, Feed, Looker, Session};
use crate::inventory::{Confirmation, Inventory, Stability};
use crate::model::Cluster;
use crossbeam::channel::bounded;
use decide::{Lists, Steps};
use parking_lot::Mutex;
use puller::Puller;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use zookeeper::CreateMode;

/// Time between two looks when nothing wakes us, and after a failed one.
const CHECK: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_millis(300);

/// The task manager of one instance. Stops when dropped.
pub struct TaskManager {
    shared: Arc<Shared>,
    looker: Mutex<Looker>,
}

struct Shared {
    session: Arc<Session>,
    puller: Puller,
    reassign_delay: Duration,
    confirmation: Confirmation,
    reassignments: AtomicU64,
    report: Mutex<Report>,
}

/// What the last look found.
#[derive(Default)]
struct Report {
    master: bool,
    problems: Vec<String>,
}

/// What only a master knows, from its first look in one session on.
struct Master {
    session: i64,
    stability: Stability,
    /// The clusters' own nodes and their versions.
    nodes: BTreeMap<String, (ClusterNode, i32)>,
    /// Whether a write to one of them may have failed since they were read.
    stale: bool,
    /// Workers without a registration, and since when.
    vanished: BTreeMap<String, Instant>,
    /// Problems of the last pull.
    problems: Vec<String>,
}

impl TaskManager {
    /// Starts to watch for mastership. The inventory is pulled only while this instance is the
    /// master.
    ///
    /// # Errors
    /// The machine grants no thread.
    pub fn start(session: Arc<Session>, feed: Feed, reassign_delay: Duration) -> io::Result<Self> {
        let (wake, woken) = bounded(1);
        session.subscribe(layout::MEMBERS, wake.clone());
        let confirmation = feed.confirmation;
        let puller = Puller::start(feed, wake)?;
        let shared = Arc::new(Shared {
            session,
            puller,
            reassign_delay,
            confirmation,
            reassignments: AtomicU64::new(0),
            report: Mutex::default(),
        });
        let (managed, mut master) = (Arc::clone(&shared), None);
        let looker = Looker::start("task manager", woken, move || managed.turn(&mut master))?;
        Ok(Self { shared, looker: Mutex::new(looker) })
    }

    /// Whether this instance was the master at the last look, and still has a lease.
    pub fn is_master(&self) -> bool {
        self.shared.report.lock().master && self.shared.session.connected()
    }

    /// Clusters that were moved from one worker to another by this instance.
    pub fn reassignments(&self) -> u64 {
        self.shared.reassignments.load(Ordering::Relaxed)
    }

    /// What is wrong, in words.
    pub fn problems(&self) -> Vec<String> {
        self.shared.report.lock().problems.clone()
    }

    /// What is wrong with its threads, in words.
    pub fn trouble(&self) -> Option<String> {
        self.looker.lock().trouble().or_else(|| self.shared.puller.trouble())
    }

    /// Stops the threads.
    pub fn stop(&self) {
        self.looker.lock().stop();
        self.shared.puller.stop();
    }
}

impl Shared {
    /// One look with its report; the time until the next one.
    fn turn(&self, master: &mut Option<Master>) -> Duration {
        let outcome = self.look(master);
        if outcome == Err(CallError::SessionOver) {
            *master = None;
        }
        let mut report = self.report.lock();
        report.master = master.is_some();
        report.problems = master.as_ref().map_or_else(Vec::new, |master| master.problems.clone());
        self.puller.set_active(master.is_some());
        match outcome {
            Ok(pause) => pause,
            Err(error) => {
                if let Some(master) = master {
                    master.stale = true;
                }
                if !matches!(error, CallError::BadVersion(_) | CallError::SessionOver) {
                    report.problems.push(format!("task manager: {error}"));
                }
                log::debug!("task manager: {error}");
                RETRY
            }
        }
    }

    fn look(&self, kept: &mut Option<Master>) -> Result<Duration, CallError> {
        let Some(client) = self.session.client() else { return Err(CallError::SessionOver) };
        let members = election::members(&client, true)?;
        let ours = self.session.registration();
        if election::master(&members).is_none_or(|first| Some(&first.node) != ours.as_ref()) {
            *kept = None;
            return Ok(CHECK);
        }
        if kept.as_ref().is_none_or(|master| master.session != client.session()) {
            log::info!("this instance is the master");
            *kept = Some(Master::begin(&client, self.confirmation)?);
        }
        let Some(master) = kept.as_mut() else { return Ok(CHECK) };
        let effective = master.inventory(&client, self.puller.take())?;
        let versions = self.lists(&client)?;
        let (workers, pause) = master.workers(&members, versions.keys(), self.reassign_delay);
        let lists: Lists = versions.iter().map(|(name, (list, _))| (name.clone(), list.clone())).collect();
        let holders = holders(&client, &lists)?;
        let steps = decide::plan(&effective, &lists, &workers, &holders);
        master.note_unassigned(&steps);
        self.carry_out(&client, steps, versions)?;
        Ok(pause)
    }

    /// The workers' lists and their versions. A list that cannot be read is written anew.
    fn lists(&self, client: &Client) -> Result<BTreeMap<String, (Vec<ClusterNode>, i32)>, CallError> {
        let mut lists = BTreeMap::new();
        for name in client.children(layout::WORKERS, false)? {
            let path = layout::child(layout::WORKERS, &name);
            match client.read(&path, false) {
                Ok((data, stat)) => {
                    let list = layout::parse_worker(&data).map(|(list, _)| list).unwrap_or_else(|reason| {
                        log::warn!("{path}: {reason}; it is written anew");
                        Vec::new()
                    });
                    lists.insert(name, (list, stat.version));
                }
                Err(CallError::NoNode(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(lists)
    }

    /// Writes what changes, and nothing else: out of the old nodes, then into the new ones.
    fn carry_out(
        &self,
        client: &Client,
        steps: Steps,
        versions: BTreeMap<String, (Vec<ClusterNode>, i32)>,
    ) -> Result<(), CallError> {
        let mut versions: BTreeMap<String, i32> =
            versions.into_iter().map(|(name, (_, version))| (name, version)).collect();
        for name in &steps.deletes {
            log::info!("worker={name} is gone: its clusters move");
            client.delete(&layout::child(layout::WORKERS, name), versions.get(name).copied())?;
        }
        for (name, list) in steps.shrinks.into_iter().chain(steps.grows) {
            let (path, data) = (layout::child(layout::WORKERS, &name), layout::encode_worker(&list));
            log::info!("worker={name} {} clusters are assigned", list.len());
            let version = match versions.get(&name) {
                Some(version) => client.write(&path, &data, Some(*version))?.version,
                None => client.create(&path, &data, CreateMode::Persistent).map(|_| 0)?,
            };
            versions.insert(name, version);
        }
        self.reassignments.fetch_add(steps.moved as u64, Ordering::Relaxed);
        Ok(())
    }
}

impl Master {
    /// Takes mastership up: what is known is what stands in the clusters' nodes.
    fn begin(client: &Client, confirmation: Confirmation) -> Result<Self, CallError> {
        let nodes = read_nodes(client)?;
        let known = nodes.values().filter(|(node, _)| node.left_since.is_empty() && node.bk_biz_id != 0);
        let stability = Stability::new(confirmation, known.map(|(node, _)| node.cluster()).collect());
        let (vanished, problems) = (BTreeMap::new(), Vec::new());
        Ok(Self { session: client.session(), stability, nodes, stale: false, vanished, problems })
    }

    /// Takes in pulls, keeps the clusters' nodes, and returns the clusters in force.
    fn inventory(
        &mut self,
        client: &Client,
        pulls: VecDeque<Result<Inventory, String>>,
    ) -> Result<Vec<Cluster>, CallError> {
        let again = self.stale || !pulls.is_empty();
        let mut effective = self.stability.observe(&Inventory::default());
        for pull in pulls {
            match pull {
                Ok(mut inventory) => {
                    inventory.clusters.retain(|cluster| layout::valid_name(&cluster.id));
                    effective = self.stability.observe(&inventory);
                    self.problems = inventory.problems;
                }
                Err(problem) => self.problems = vec![problem],
            }
        }
        if again {
            self.nodes = read_nodes(client)?;
            self.stale = false;
        }
        let nodes = self.nodes.iter().map(|(id, (node, _))| (id.clone(), node.clone())).collect();
        for node in decide::bookkeeping(&nodes, &effective, &jiff::Timestamp::now().to_string()) {
            self.keep_node(client, node)?;
        }
        Ok(effective)
    }

    fn keep_node(&mut self, client: &Client, node: ClusterNode) -> Result<(), CallError> {
        let path = layout::child(layout::CLUSTERS, &node.clusterid);
        let version = match self.nodes.get(&node.clusterid) {
            Some((_, version)) => client.write(&path, &node.encode(), Some(*version))?.version,
            None => client.create(&path, &node.encode(), CreateMode::Persistent).map(|_| 0)?,
        };
        self.nodes.insert(node.clusterid.clone(), (node, version));
        Ok(())
    }

    /// Who counts as a worker, and when to look again: registered instances, and those with a node
    /// that are waited for.
    fn workers<'a>(
        &mut self,
        members: &[Member],
        noted: impl Iterator<Item = &'a String>,
        delay: Duration,
    ) -> (BTreeMap<String, Presence>, Duration) {
        let mut workers: BTreeMap<String, Presence> = members
            .iter()
            .filter(|member| layout::valid_name(&member.instance))
            .map(|member| (member.instance.clone(), Presence::Alive))
            .collect();
        let mut pause = CHECK;
        let mut vanished = BTreeMap::new();
        for name in noted.filter(|name| !workers.contains_key(*name)) {
            let since = self.vanished.get(name).copied().unwrap_or_else(Instant::now);
            vanished.insert(name.clone(), since);
        }
        for (name, since) in &vanished {
            let left = delay.saturating_sub(since.elapsed());
            if !left.is_zero() {
                workers.insert(name.clone(), Presence::Waiting);
                pause = pause.min(left);
            }
        }
        self.vanished = vanished;
        (workers, pause)
    }

    fn note_unassigned(&mut self, steps: &Steps) {
        self.problems.retain(|problem| !problem.ends_with(NO_ROOM));
        if steps.unassigned > 0 {
            self.problems.push(format!("{}{NO_ROOM}", steps.unassigned));
        }
    }
}

/// End of the message about clusters without a worker.
const NO_ROOM: &str = " clusters have no worker with room: add instances";

/// The clusters' own nodes and their versions. One that cannot be read counts as saying nothing.
fn read_nodes(client: &Client) -> Result<BTreeMap<String, (ClusterNode, i32)>, CallError> {
    let mut nodes = BTreeMap::new();
    for id in client.children(layout::CLUSTERS, false)? {
        let path = layout::child(layout::CLUSTERS, &id);
        match client.read(&path, false) {
            Ok((data, stat)) => {
                let node = ClusterNode::parse(&id, &data).unwrap_or_else(|reason| {
                    log::warn!("{path}: {reason}");
                    ClusterNode { clusterid: id.clone(), ..ClusterNode::default() }
                });
                nodes.insert(id, (node, stat.version));
            }
            Err(CallError::NoNode(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(nodes)
}

/// Who has the locks of clusters that several workers list.
fn holders(client: &Client, lists: &Lists) -> Result<BTreeMap<String, String>, CallError> {
    let mut holders = BTreeMap::new();
    for id in decide::listed_twice(lists) {
        match client.read(&layout::child(layout::LOCKS, &id), false) {
            Ok((data, _)) => {
                let holder = ServerInfo::parse(&data).and_then(|info| info.instance());
                holders.extend(holder.map(|holder| (id, holder)));
            }
            Err(CallError::NoNode(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(holders)
}
