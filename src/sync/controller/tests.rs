//! A controller whose coordination has died.

use super::*;
use crate::coordination::{AssignmentView, CoordinationStatus};
use crate::http::{Client, Options};
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

/// Peers that are never asked.
fn peers(config: &Config) -> Peers {
    let settings =
        storage::Settings { page_size: 1, timeout: TICK, watch_idle_timeout: TICK, list_concurrency: 1 };
    let addresses = Arc::new(StaticAddresses::new(Vec::new()));
    let storage = storage::Client::new(addresses, None, settings, Arc::default());
    let settings =
        cmdb::Settings { user: String::new(), supplier: String::new(), qps: 0, timeout: TICK, page_size: 1 };
    let http = Client::new(&Options::default());
    let cmdb = cmdb::Client::new(http, config.cmdb_addr.clone(), settings, Arc::default());
    let topology = Arc::new(TopologyCache::new(cmdb.clone()));
    Peers { storage, cmdb, topology }
}

#[test]
fn a_controller_that_ended_on_its_own_shows_in_the_health() {
    let json = r#"{"zk":"","storage_addrs":["http://127.0.0.1:1"],"cmdb_addr":"127.0.0.1:1","cmdb_user":"u",
        "paas_addr":"127.0.0.1:1"}"#;
    let config = Arc::new(Config::from_json(json).unwrap());
    let (tell, told) = bounded(1);
    let (clock, timings) = (Clock::start(), Timings::default());
    let handle =
        Controller::start(Arc::clone(&config), peers(&config), clock, timings, Arc::new(Dead(told))).unwrap();
    assert!(handle.controller().health().ok);
    drop(tell);
    let deadline = Instant::now() + Duration::from_secs(10);
    while handle.controller().health().ok && Instant::now() < deadline {
        std::thread::yield_now();
    }
    let health = handle.controller().health();
    assert_eq!(health.problems, ["the controller has ended: restart the service"]);
}
