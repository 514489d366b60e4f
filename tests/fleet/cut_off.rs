//! An instance whose cable to ZooKeeper is pulled while it still reaches everything else.
//!
//! The instance runs in a network namespace with two cables: one to ZooKeeper, one to its other
//! peers. So that no address or device of the machine is touched, the whole test runs in a
//! namespace of its own.

use crate::churn::Churn;
use crate::namespace::{is_inside, run, run_inside};
use crate::partition::Network;
use crate::processes::{Fleet, PATIENCE, SESSION};
use crate::world::wait_until;
use crate::zookeeper::{ZooKeepers, own_address};
use serde_json::json;
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What a look at the state may take on a busy machine.
const SLACK: Duration = Duration::from_secs(2);

#[test]
fn an_instance_cut_off_from_zookeeper_alone_stops_and_comes_back() {
    if !is_inside() {
        return run_inside("--net", "cut_off::an_instance_cut_off_from_zookeeper_alone_stops_and_comes_back");
    }
    let ip = |arguments: &[&str]| run("ip", arguments);
    ip(&["link", "set", "lo", "up"]);
    let island = Island::new();
    island.cable("zk", "10.0.1");
    island.cable("peers", "10.0.2");
    let mut fleet = Fleet::new(ZooKeepers::single(), 6);
    let zookeeper = Network::at(("10.0.1.1", 0), &fleet.zookeepers.hosts()[0]);
    let [storage, cmdb] = [fleet.world.storage_addr(), fleet.world.cmdb.addr()]
        .map(|addr| Network::at(("10.0.2.1", 0), &addr.to_string()));
    let keys = json!({"zk": [zookeeper.host()], "storage_addrs": [format!("http://{}", storage.host())],
        "cmdb_addr": format!("http://{}/api/v3", cmdb.host())});
    fleet.add("10.0.2.2", &island.enter(), &keys);
    fleet.add(&own_address(), &[], &json!({}));
    fleet.wait_shared(&[0, 1], PATIENCE);
    fleet.wait_equal(PATIENCE);

    let churn = Churn::start(&fleet.world.storage, fleet.clusters());
    ip(&["link", "set", "zk", "down"]);
    fleet.wait("it stops writing", SESSION * 2 / 3 + SLACK, |fleet| fleet.are_suspended(&[0]));
    let writes = fleet.writes_of(0);
    fleet.wait("the other one takes over", PATIENCE, |fleet| fleet.is_shared_by(&[1]));
    assert_eq!(fleet.writes_of(0), writes);

    ip(&["link", "set", "zk", "up"]);
    fleet.wait_shared(&[0, 1], PATIENCE);
    drop(churn);
    fleet.wait_equal(PATIENCE);
}

/// A network namespace: it lives as long as the process in it.
struct Island {
    holder: Child,
}

impl Island {
    fn new() -> Self {
        // It ends with its input, so it never outlives this process.
        let holder = Command::new("unshare").args(["--net", "cat"]).stdin(Stdio::piped()).spawn().unwrap();
        let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
        let island = Self { holder };
        wait_until("a namespace", PATIENCE, || network(&island.pid()) != network("self"));
        island.ip(&["link", "set", "lo", "up"]);
        island
    }

    fn pid(&self) -> String {
        self.holder.id().to_string()
    }

    /// What a command that shall run in it is prefixed with.
    fn enter(&self) -> Vec<String> {
        ["nsenter", "--net", "--target", &self.pid()].map(str::to_owned).to_vec()
    }

    /// A cable: `net`.1 on this side, on a device of that name, `net`.2 on the other.
    fn cable(&self, name: &str, net: &str) {
        let [here, there] = [1, 2].map(|end| format!("{net}.{end}/24"));
        run("ip", &["link", "add", name, "type", "veth", "peer", "name", name, "netns", &self.pid()]);
        run("ip", &["address", "add", &here, "dev", name]);
        run("ip", &["link", "set", name, "up"]);
        self.ip(&["address", "add", &there, "dev", name]);
        self.ip(&["link", "set", name, "up"]);
    }

    #[track_caller]
    fn ip(&self, arguments: &[&str]) {
        let [nsenter, enter @ ..] = &self.enter()[..] else { unreachable!() };
        assert!(Command::new(nsenter).args(enter).arg("ip").args(arguments).status().unwrap().success());
    }
}

impl Drop for Island {
    fn drop(&mut self) {
        self.holder.kill().unwrap();
        self.holder.wait().unwrap();
    }
}
