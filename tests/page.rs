//! The status page in a real browser: what an operator sees and does there.

#![allow(clippy::unwrap_used)] // Helpers of tests fail by panicking.

mod browser;
mod world;

use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use browser::Browser;
use world::{CLUSTER, ClusterSetup, World, pods};

fn address(world: &World) -> String {
    format!("http://{}/", world.service.as_ref().unwrap().status_addr())
}

/// A world of three clusters, with a Pod the CMDB refuses in the first.
fn fleet() -> World {
    let setup = |id: &str, biz| ClusterSetup { biz, ..ClusterSetup::new(id, Generation::New) };
    let mut world = World::new(vec![setup(CLUSTER, 2), setup("BCS-K8S-00002", 2), setup("BCS-K8S-00003", 2)]);
    for number in 1..6 {
        world.put(pods::pod(&format!("web-{number}"), number));
    }
    world.start_and_follow();
    world
}

#[test]
fn an_operator_sorts_filters_opens_a_cluster_and_reads_it_in_chinese() {
    let world = fleet();
    let browser = Browser::start("en");
    browser.screen(1280, 900, "light");
    browser.open(&address(&world));
    browser.wait("three clusters", "document.querySelectorAll('#rows tr').length === 3");
    browser.picture("overview-light");
    browser.screen(390, 844, "light");
    browser.picture("overview-phone");
    browser.screen(1280, 900, "dark");
    browser.picture("overview-dark");
    assert_eq!(browser.console(), Vec::<String>::new());
}
