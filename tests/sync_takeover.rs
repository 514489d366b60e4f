//! A permission to write that was interrupted: another instance may have written since, so nothing
//! passes the gate before a full sync that began afterwards, and what is found is put right.
//! (design.md 3, rules 1 and 2; design.md 4.)

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod world;

use bcs_bkcmdb_synchronizer::cmdb::{self, TopologyCache};
use bcs_bkcmdb_synchronizer::config::Config;
use bcs_bkcmdb_synchronizer::coordination::{AssignmentView, Coordination, CoordinationStatus, Lock};
use bcs_bkcmdb_synchronizer::front::Response;
use bcs_bkcmdb_synchronizer::http::{Client, Options};
use bcs_bkcmdb_synchronizer::model::{Cluster, ClusterKind, Fence, Permit};
use bcs_bkcmdb_synchronizer::sandbox::storage::{Call, Fault, Generation};
use bcs_bkcmdb_synchronizer::storage::{self, StaticAddresses};
use bcs_bkcmdb_synchronizer::sync::snapshot::{ClusterState, ClusterStatus, Control, ControlOutcome};
use bcs_bkcmdb_synchronizer::sync::{Clock, Controller, ControllerHandle, Peers, Timings};
use crossbeam::channel::{Receiver, Sender, bounded};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use world::cmdb::Call as CmdbCall;
use world::pods::{phase, pod};
use world::{BIZ, CLUSTER, PATIENCE, World, wait_until};

/// A fence the test lowers and raises.
#[derive(Default)]
struct Gate {
    lowered: AtomicBool,
    epoch: AtomicU64,
}

impl Fence for Gate {
    fn permit(&self) -> Result<Permit, String> {
        match self.lowered.load(SeqCst) {
            true => Err("lowered".to_owned()),
            false => Ok(Permit { epoch: self.epoch(), ..Permit::default() }),
        }
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(SeqCst)
    }
}

impl Gate {
    fn lower(&self) {
        self.lowered.store(true, SeqCst);
    }

    /// The permission is back after an interruption.
    fn raise(&self) {
        self.epoch.fetch_add(1, SeqCst);
        self.lowered.store(false, SeqCst);
    }
}

/// Coordination that has the world's cluster for us, under that fence.
struct Granting(Receiver<Arc<Vec<Cluster>>>, Arc<Gate>);

impl Coordination for Granting {
    fn assigned(&self) -> &Receiver<Arc<Vec<Cluster>>> {
        &self.0
    }
    fn acquire(&self, _: &str) -> Lock {
        Lock::Held(Arc::clone(&self.1) as _)
    }
    fn release(&self, _: &str) {}
    fn business_cleaned(&self, _: &str, _: i64) {}
    fn status(&self) -> CoordinationStatus {
        unreachable!("the controller does not ask")
    }
    fn assignment(&self) -> AssignmentView {
        AssignmentView::default()
    }
    fn stop(&self) {}
}

/// The world's cluster, which belonged to these businesses before.
fn cluster(previous: &[i64]) -> Cluster {
    Cluster {
        id: CLUSTER.to_owned(),
        project_id: "project".to_owned(),
        bk_biz_id: BIZ,
        kind: ClusterKind::K8s,
        previous_bk_biz_ids: previous.to_vec(),
    }
}

/// A world whose cluster is followed under a fence of the test.
struct Fenced {
    handle: ControllerHandle,
    gate: Arc<Gate>,
    assign: Sender<Arc<Vec<Cluster>>>,
    world: World,
}

impl Fenced {
    /// Three pods, recorded and settled.
    fn settled() -> Self {
        Self::settled_with(json!({}))
    }

    /// The same with further keys.
    fn settled_with(keys: Value) -> Self {
        let world = World::single(Generation::New).with(keys);
        (0..3).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
        let config = Arc::new(Config::from_json(&world.config().to_string()).unwrap());
        let gate = Arc::new(Gate::default());
        let (assign, assigned) = bounded(1);
        assign.send(Arc::new(vec![cluster(&[])])).unwrap();
        let coordination = Arc::new(Granting(assigned, Arc::clone(&gate)));
        let timings = Timings { settle: Duration::from_secs(1), ..Timings::default() };
        let handle =
            Controller::start(Arc::clone(&config), peers(&config), Clock::start(), timings, coordination)
                .unwrap();
        let fenced = Self { handle, gate, assign, world };
        fenced.wait("it is live", |fenced| {
            fenced.handle.controller().cluster(CLUSTER).is_some_and(|one| one.state == ClusterState::Live)
        });
        fenced.world.wait_equal(PATIENCE);
        fenced
    }

    fn status(&self) -> ClusterStatus {
        self.handle.controller().cluster(CLUSTER).unwrap()
    }

    fn full_syncs(&self) -> u64 {
        self.status().full_sync.count
    }

    fn sync(&self) {
        assert_eq!(self.handle.controller().control(CLUSTER, Control::Sync), ControlOutcome::Accepted);
    }

    #[track_caller]
    fn wait(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        wait_until(what, PATIENCE, || condition(self));
    }

    /// A change comes, and nothing of it is written for as long as full syncs fail.
    #[track_caller]
    fn check_nothing_passes(&self) {
        let (writes, events) = (self.world.cmdb.writes().len(), self.status().watch.events.change);
        self.world.put(phase(pod("web-0", 2), "Failed"));
        self.wait("the event came", |fenced| fenced.status().watch.events.change > events);
        let failed = self.full_syncs();
        self.wait("full syncs were tried", |fenced| fenced.full_syncs() > failed + 1);
        assert_eq!(self.world.cmdb.writes().len(), writes);
        assert_eq!(self.status().watch.queued, 1);
    }
}

/// The peers of the configuration.
fn peers(config: &Config) -> Peers {
    let settings = storage::Settings {
        page_size: config.storage_page_size,
        timeout: config.storage_timeout,
        watch_idle_timeout: config.watch_idle_timeout,
        list_concurrency: config.storage_list_concurrency,
    };
    let addresses = Arc::new(StaticAddresses::new(config.storage_addrs.clone()));
    let storage = storage::Client::new(addresses, None, settings, Arc::default());
    let settings = cmdb::Settings {
        user: config.cmdb_user.clone(),
        supplier: config.cmdb_supplier_id.clone(),
        qps: config.cmdb_qps,
        timeout: config.cmdb_timeout,
        page_size: config.cmdb_page_size,
    };
    let http = Client::new(&Options::default());
    let cmdb = cmdb::Client::new(http, config.cmdb_addr.clone(), settings, Arc::default());
    let topology = Arc::new(TopologyCache::new(cmdb.clone()));
    Peers { storage, cmdb, topology }
}

/// Whether it asks for a page of the cluster's records.
fn lists(call: &CmdbCall) -> bool {
    call.operation == "findmany" && call.body.to_string().contains("greater")
}

#[test]
fn what_another_instance_wrote_meanwhile_or_left_on_its_way_is_put_right() {
    // What is on its way at the CMDB lands within this time.
    let fenced = Fenced::settled_with(json!({"cmdb_timeout": 6}));
    let ((list, listed), (land, landed)) = (bounded::<()>(1), bounded::<()>(1));
    let before = AtomicBool::new(true);
    fenced.gate.lower();
    fenced.world.cmdb.delete(BIZ, "uid-web-0");
    fenced.world.cmdb.set_witness(Arc::new(move |call, pass_on| {
        let answer = pass_on();
        if lists(call) && before.swap(false, SeqCst) {
            list.send(()).unwrap();
            let _ = landed.recv_timeout(PATIENCE);
        }
        answer
    }));
    fenced.gate.raise();
    // Its last request lands when the records have been listed: nothing tells, and the next periodic full
    // sync is minutes away.
    listed.recv_timeout(PATIENCE).unwrap();
    fenced.world.cmdb.delete(BIZ, "uid-web-1");
    land.send(()).unwrap();
    fenced.world.wait_equal(PATIENCE);
}

#[test]
fn no_event_passes_before_a_full_sync_has_read_both_sides_again() {
    let fenced = Fenced::settled();
    fenced.gate.lower();
    fenced.world.storage.faults().set(CLUSTER, Call::List, Fault::Error500);
    fenced.gate.raise();
    let before = fenced.full_syncs();
    fenced.wait("a full sync failed", |fenced| fenced.full_syncs() > before);
    fenced.check_nothing_passes();
    fenced.world.storage.faults().clear();
    fenced.world.wait_equal(PATIENCE);
}

#[test]
fn a_full_sync_that_began_before_the_interruption_lets_no_event_pass() {
    let fenced = Fenced::settled();
    let (lists, before) = (fenced.world.storage.counters().list, fenced.full_syncs());
    let faults = fenced.world.storage.faults();
    faults.next(CLUSTER, Call::List, Fault::Delay(Duration::from_secs(4)), 1);
    fenced.sync();
    fenced.wait("it lists", |fenced| fenced.world.storage.counters().list > lists);
    faults.set(CLUSTER, Call::List, Fault::Error500);
    fenced.gate.raise();
    fenced.wait("it ends", |fenced| fenced.full_syncs() > before);
    fenced.check_nothing_passes();
    faults.clear();
    fenced.world.wait_equal(PATIENCE);
}

#[test]
fn without_a_permission_no_full_sync_is_begun_and_nothing_queued_is_dropped() {
    let fenced = Fenced::settled();
    let writes = fenced.world.cmdb.writes().len();
    fenced.gate.lower();
    let before = fenced.full_syncs();
    fenced.sync();
    fenced.world.put(phase(pod("web-0", 2), "Failed"));
    fenced.wait("it is suspended, with a change to write", |fenced| {
        let status = fenced.status();
        status.state == ClusterState::Suspended && status.senders.queued == 1 && status.senders.retries > 1
    });
    assert_eq!((fenced.full_syncs(), fenced.world.cmdb.writes().len()), (before, writes));
    fenced.gate.raise();
    fenced.world.wait_equal(PATIENCE);
}

/// A business the cluster belonged to before.
const BEFORE: i64 = 3;

/// It still holds a record there.
fn left_before(fenced: &Fenced, uuid: &str, name: &str) {
    fenced.world.cmdb.create(
        BEFORE,
        json!({"bk_module_id": 301, "bk_cloud_id": 0, "bk_host_innerip": "10.9.9.9", "bk_pod_name": name,
            "bk_pod_namespace": "default", "bk_pod_cluster": CLUSTER, "bk_pod_uuid": uuid,
            "bk_pod_workloadtype": "Pod", "bk_pod_workloadname": name}),
    );
}

#[test]
fn what_a_previous_business_holds_makes_way_although_no_listing_shows_it() {
    let fenced = Fenced::settled();
    left_before(&fenced, "uid-web-3", "web-3");
    // No full sync succeeds, so that none cleans the business.
    fenced.world.cmdb.set_witness(Arc::new(move |call, pass_on| match lists(call) {
        true => Response::json(500, &json!({})),
        false => pass_on(),
    }));
    let before = fenced.full_syncs();
    fenced.assign.send(Arc::new(vec![cluster(&[BEFORE])])).unwrap();
    fenced.wait("it is told", |fenced| fenced.full_syncs() > before);
    fenced.world.put(pod("web-3", 1));
    fenced.world.wait_equal(PATIENCE);
}

#[test]
fn a_previous_business_that_is_told_later_is_cleaned_at_once() {
    let fenced = Fenced::settled();
    left_before(&fenced, "old", "old");
    fenced.assign.send(Arc::new(vec![cluster(&[BEFORE])])).unwrap();
    fenced.wait("nothing is left there", |fenced| fenced.world.cmdb.records(BEFORE).unwrap().is_empty());
    fenced.world.wait_equal(PATIENCE);
}
