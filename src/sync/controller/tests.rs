//! A controller whose coordination has died, and one with a cluster whose thread hangs.

use super::*;
use crate::coordination::{AssignmentView, CoordinationStatus};
use crate::front::{Front, Limits, Request, Response};
use crate::http::{Client, Options};
use crate::model::{ClusterKind, Fence, NoFence, Permit};
use crate::storage::{self, StaticAddresses};
use crate::{cmdb, cmdb::TopologyCache};

/// Coordination whose thread has died: nobody tells clusters any more.
struct Dead(Receiver<Arc<Vec<Cluster>>>);

impl Coordination for Dead {
    fn assigned(&self) -> &Receiver<Arc<Vec<Cluster>>> {
        &self.0
    }
    fn acquire(&self, _: &str) -> Lock {
        Lock::Pending { holder: None }
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

/// A storage that is never asked, and the CMDB of the configuration.
pub(in crate::sync) fn peers(config: &Config, timeout: Duration) -> Peers {
    let settings =
        storage::Settings { page_size: 1, timeout, watch_idle_timeout: timeout, list_concurrency: 1 };
    let addresses = Arc::new(StaticAddresses::new(Vec::new()));
    let storage = storage::Client::new(addresses, None, settings, Arc::default());
    let settings =
        cmdb::Settings { user: String::new(), supplier: String::new(), qps: 0, timeout, page_size: 1 };
    let http = Client::new(&Options::default());
    let cmdb = cmdb::Client::new(http, config.cmdb_addr.clone(), settings, Arc::default());
    let topology = Arc::new(TopologyCache::new(cmdb.clone()));
    Peers { storage, cmdb, topology }
}

pub(in crate::sync) fn config(cmdb: &str) -> Arc<Config> {
    let json = format!(
        r#"{{"zk":"","storage_addrs":["http://127.0.0.1:1"],"cmdb_addr":"{cmdb}","cmdb_user":"u",
            "paas_addr":"127.0.0.1:1"}}"#
    );
    Arc::new(Config::from_json(&json).unwrap())
}

#[test]
fn a_controller_that_ended_on_its_own_shows_in_the_health() {
    let config = config("127.0.0.1:1");
    let (tell, told) = bounded(1);
    let (clock, timings) = (Clock::start(), Timings::default());
    let handle =
        Controller::start(Arc::clone(&config), peers(&config, TICK), clock, timings, Arc::new(Dead(told)))
            .unwrap();
    assert!(handle.controller().health().ok);
    drop(tell);
    let deadline = Instant::now() + Duration::from_secs(60);
    while handle.controller().health().ok && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let health = handle.controller().health();
    assert_eq!(health.problems, ["the controller has ended: restart the service"]);
}

/// Coordination that has one cluster for us, under this fence.
struct Granting(Receiver<Arc<Vec<Cluster>>>, Arc<dyn Fence>);

impl Coordination for Granting {
    fn assigned(&self) -> &Receiver<Arc<Vec<Cluster>>> {
        &self.0
    }
    fn acquire(&self, _: &str) -> Lock {
        Lock::Held(Arc::clone(&self.1))
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

/// A fence that does not come back from the question, under no lock of ours.
struct Hanging(Receiver<()>);

impl Fence for Hanging {
    fn permit(&self) -> Result<Permit, String> {
        let _ = self.0.recv();
        Ok(Permit::default())
    }
}

/// How long a thread may be silent here: longer than a busy machine leaves it without a processor.
const HANG: Duration = Duration::from_secs(3);

pub(in crate::sync) fn cluster() -> Cluster {
    Cluster {
        id: "BCS-K8S-00001".to_owned(),
        project_id: "p".to_owned(),
        bk_biz_id: 2,
        kind: ClusterKind::K8s,
        previous_bk_biz_ids: Vec::new(),
    }
}

/// A controller with one cluster, whose CMDB is at `cmdb`.
fn with_cluster(cmdb: &str, fence: Arc<dyn Fence>) -> (Sender<Arc<Vec<Cluster>>>, ControllerHandle) {
    let config = config(cmdb);
    let (tell, told) = bounded(1);
    tell.send(Arc::new(vec![cluster()])).unwrap();
    let timings = Timings { hang: HANG, ..Timings::default() };
    let peers = peers(&config, Duration::from_secs(60));
    let coordination = Arc::new(Granting(told, fence));
    (tell, Controller::start(config, peers, Clock::start(), timings, coordination).unwrap())
}

#[test]
fn a_thread_that_hangs_outside_a_lock_shows_in_the_health_until_it_goes_on() {
    let tree = r#"{"result":true,"bk_error_code":0,"bk_error_msg":"","permission":null,"data":[{"bk_inst_id":2,
        "bk_inst_name":"b","bk_obj_id":"biz","child":[{"bk_inst_id":1,"bk_inst_name":"bkbcs","bk_obj_id":"set",
        "child":[{"bk_inst_id":1,"bk_inst_name":"bkbcs","bk_obj_id":"module","child":null}]}]}]}"#;
    let tree: serde_json::Value = serde_json::from_str(tree).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let handler = move |_: Request| Response::json(200, &tree);
    let front = Front::start("cmdb", listener, None, Limits::default(), Arc::new(handler)).unwrap();
    let (release, held) = bounded(0);
    let (_tell, handle) = with_cluster(&front.addr().to_string(), Arc::new(Hanging(held)));
    let controller = handle.controller();
    let becomes = |ok: bool| {
        let deadline = Instant::now() + Duration::from_secs(30);
        while controller.health().ok != ok {
            assert!(Instant::now() < deadline, "{:?}", controller.health());
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    becomes(false);
    let problem = controller.health().problems.concat();
    assert!(problem.starts_with("cluster BCS-K8S-00001: thread \"full BCS-K8S-00001\" hangs"), "{problem}");
    drop(release);
    becomes(true);
}

#[test]
fn a_peer_that_never_answers_is_no_reason_to_restart() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (_tell, handle) = with_cluster(&address.to_string(), Arc::new(NoFence));
    // Somebody asks, and waits for three times as long as a silent thread may be.
    let _asked = listener.accept().unwrap();
    let until = Instant::now() + HANG * 3;
    while Instant::now() < until {
        assert_eq!(handle.controller().health().problems, Vec::<String>::new());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Coordination that notes which locks are given back.
struct Noting(Receiver<Arc<Vec<Cluster>>>, Mutex<Vec<String>>);

impl Coordination for Noting {
    fn assigned(&self) -> &Receiver<Arc<Vec<Cluster>>> {
        &self.0
    }
    fn acquire(&self, _: &str) -> Lock {
        Lock::Pending { holder: None }
    }
    fn release(&self, id: &str) {
        self.1.lock().push(id.to_owned());
    }
    fn business_cleaned(&self, _: &str, _: i64) {}
    fn status(&self) -> CoordinationStatus {
        unreachable!("the controller does not ask")
    }
    fn assignment(&self) -> AssignmentView {
        AssignmentView::default()
    }
    fn stop(&self) {}
}

#[test]
fn the_lock_of_a_cluster_that_moves_on_is_kept_until_its_last_request_is_over() {
    let config = config("127.0.0.1:1");
    let (_tell, told) = bounded(1);
    let coordination = Arc::new(Noting(told, Mutex::default()));
    let (clock, timings) = (Clock::start(), Timings::default());
    let peers = peers(&config, TICK);
    let handle = Controller::start(config, peers, clock, timings, Arc::clone(&coordination) as _).unwrap();
    let controller = handle.controller();
    let (answer, request) = bounded::<()>(0);
    let sender = std::thread::spawn(move || assert!(request.recv().is_err()));
    let id = "BCS-K8S-00001".to_owned();
    controller.leaving.lock().insert(id.clone(), vec![sender]);
    // It came back with another business, and is assigned to somebody else before it could start.
    controller.assign(&[cluster()]);
    controller.assign(&[]);
    assert_eq!(*coordination.1.lock(), Vec::<String>::new());
    drop(answer);
    let deadline = Instant::now() + Duration::from_secs(30);
    while *coordination.1.lock() != [id.clone()] {
        assert!(Instant::now() < deadline, "{:?}", coordination.1.lock());
        std::thread::sleep(Duration::from_millis(10));
    }
}
