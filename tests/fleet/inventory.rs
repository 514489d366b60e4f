//! What the inventory and the registry of bcs-storage say is followed by the whole fleet.

use crate::author::Author;
use crate::processes::{Fleet, PATIENCE};
use crate::world::listen;
use crate::zookeeper::{ZooKeepers, own_address};
use bcs_bkcmdb_synchronizer::coordination::layout;
use bcs_bkcmdb_synchronizer::sandbox::paas::{SimCluster, SimPaas, SimProject};
use serde_json::json;
use std::net::SocketAddr;

/// Clusters with their businesses, as paas-cc tells them.
fn tell(paas: &SimPaas, clusters: &[(&str, i64)]) {
    let project = |(id, bk_biz_id): &(&str, i64)| SimProject {
        id: format!("project-of-{id}"),
        bk_biz_id: *bk_biz_id,
        clusters: vec![SimCluster { id: (*id).to_owned(), ..SimCluster::default() }],
        ..SimProject::default()
    };
    paas.set_projects(clusters.iter().map(project).collect());
}

/// Records of a cluster in a business.
fn records(fleet: &Fleet, cluster: &str, biz: i64) -> usize {
    let records = fleet.world.cmdb.records(biz).unwrap();
    records.iter().filter(|record| record["bk_pod_cluster"] == cluster).count()
}

#[test]
fn a_changed_business_is_cleaned_and_a_cluster_that_left_stops_and_is_shown() {
    let mut fleet = Fleet::new(ZooKeepers::single(), 3);
    let ids = fleet.clusters();
    let [moves, leaves, stays] = [&ids[0][..], &ids[1], &ids[2]];
    let paas = SimPaas::new();
    let server = paas.serve(listen()).unwrap();
    tell(&paas, &[(moves, 2), (leaves, 2), (stays, 2)]);
    let keys = json!({"task_manager_type": "paas", "paas_addr": server.url(),
        "paas_access_token": "t0ken-paas", "cluster_pull_interval": 10});
    for _ in 0..2 {
        fleet.add(&own_address(), &[], &keys);
    }
    fleet.wait_shared(&[0, 1], PATIENCE);
    fleet.wait_equal(PATIENCE);
    let pods = |cluster: &str| fleet.world.storage.documents(cluster).len();

    tell(&paas, &[(moves, 3), (stays, 2)]);
    fleet.wait("the cluster is recorded in its new business", PATIENCE, |fleet| {
        records(fleet, moves, 3) == pods(moves) && records(fleet, moves, 2) == 0
    });
    let left = |fleet: &Fleet| fleet.get(0, "/api/v1/assignment").unwrap_or_default()["left"].clone();
    fleet.wait("the other one is shown", PATIENCE, |fleet| left(fleet) == json!([leaves]));
    fleet.wait("it is not worked on", PATIENCE, |fleet| {
        [0, 1].iter().all(|index| !fleet.states(*index).contains_key(leaves))
    });
    assert_eq!(records(&fleet, leaves, 2), pods(leaves), "records of a cluster that left stay");
    let author = Author::of(&fleet.zookeepers);
    fleet.wait("the old business is forgotten", PATIENCE, |_| {
        let node = author.read(&layout::child(layout::CLUSTERS, moves));
        node["bk_biz_id"] == 3 && node.get("previous_bk_biz_ids").is_none()
    });

    tell(&paas, &[(moves, 3), (leaves, 2), (stays, 2)]);
    fleet.wait("it is back", PATIENCE, |fleet| left(fleet) == json!([]) && fleet.is_shared_by(&[0, 1]));
    fleet.world.clusters[0].biz = 3;
    fleet.wait_equal(PATIENCE);
}

#[test]
fn bcs_storage_is_found_by_those_who_may_where_it_is_registered_beside_a_dead_one_and_where_it_moves_to() {
    let mut fleet = Fleet::new(ZooKeepers::single(), 2);
    let author = Author::signed_in(&fleet.zookeepers, "bcs", "s3cret-zk");
    let dead = SocketAddr::new(own_address().parse().unwrap(), 1);
    register(&author, "0000000001", dead);
    register(&author, "0000000002", fleet.world.storage_addr());
    let keys = json!({"storage_addrs": [], "zk_user": "bcs", "zk_password": "s3cret-zk"});
    fleet.add(&own_address(), &[], &keys);
    fleet.wait_equal(PATIENCE);

    fleet.world.kill_storage();
    let moved = fleet.world.storage.serve(listen()).unwrap();
    register(&author, "0000000003", moved.addr());
    author.delete(&layout::child(layout::STORAGES, "0000000002"));
    for cluster in fleet.clusters() {
        assert!(fleet.world.storage.delete(&cluster, "default", "web-0"));
    }
    fleet.wait_equal(PATIENCE);
}

/// Registers a bcs-storage; it stays registered until somebody deletes it.
fn register(author: &Author, name: &str, addr: SocketAddr) {
    let info = json!({"ip": addr.ip().to_string(), "port": addr.port(), "scheme": "http"});
    author.write(&layout::child(layout::STORAGES, name), &info.to_string());
}
