//! The first full sync of one large cluster into an empty CMDB that answers after 20 ms, and the
//! second one, which must write nothing: `cargo bench --bench first_sync [-- PODS]`.

#![allow(clippy::expect_used)] // a measurement that cannot begin has nothing to say

mod cmdb;

use bcs_bkcmdb_synchronizer::config::Config;
use bcs_bkcmdb_synchronizer::model::ClusterKind;
use bcs_bkcmdb_synchronizer::sandbox::storage::{Generation, SimStorage};
use bcs_bkcmdb_synchronizer::service::Service;
use bcs_bkcmdb_synchronizer::sync::snapshot::{ClusterStatus, Control};
use serde_json::json;
use std::net::TcpListener;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const CLUSTER: &str = "BCS-K8S-00001";
const CMDB_DELAY: Duration = Duration::from_millis(20);
const POLL: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    // `cargo bench` passes flags of its own.
    let pods = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    let storage = SimStorage::new(1);
    storage.add_cluster(CLUSTER, ClusterKind::K8s, Generation::New);
    (0..pods).for_each(|n| storage.put(CLUSTER, pod(n)).expect("a sound pod"));
    let server = storage.serve(TcpListener::bind("127.0.0.1:0").expect("a free port")).expect("a thread");
    let (cmdb, cmdb_addr) = cmdb::Cmdb::start(CMDB_DELAY);
    let tasks = std::env::temp_dir().join(format!("first-sync-{}.json", std::process::id()));
    let task = json!([{"projectid": "p", "clusterid": CLUSTER, "bk_biz_id": 2}]);
    std::fs::write(&tasks, task.to_string()).expect("a writable temporary directory");
    let config = json!({
        "zk": "", "port": 0, "metric_port": 0, "task_manager_type": "file", "task_file": tasks,
        "storage_addrs": [server.url()], "cmdb_addr": format!("http://{cmdb_addr}"), "cmdb_user": "bcs",
    });
    let config = Config::from_json(&config.to_string()).expect("a sound configuration");
    let service = Service::start(config).expect("free ports");
    let status = || service.source().cluster(CLUSTER);

    wait(|| cmdb.len() == pods && status().is_some_and(|cluster| settled(&cluster, pods)));
    let first = cmdb.first_request.lock().map_or(Duration::ZERO, |first| first.elapsed());
    let creates = cmdb.create_calls.load(Relaxed);
    println!("first full sync: {pods} pods recorded {:.2} s after the first request", first.as_secs_f64());
    println!("  {creates} create calls over {} connections", cmdb.connections.load(Relaxed));

    let before = status().map_or(0, |cluster| cluster.full_sync.count);
    let asked = Instant::now();
    service.source().control(CLUSTER, Control::Sync);
    wait(|| status().is_some_and(|cluster| cluster.full_sync.count > before));
    let writes = cmdb.create_calls.load(Relaxed) - creates + cmdb.other_writes.load(Relaxed);
    println!("second full sync: {writes} writes, {:.2} s", asked.elapsed().as_secs_f64());
    service.stop();
    let _ = std::fs::remove_file(tasks);
    assert_eq!(writes, 0, "an unchanged cluster is written again");
}

fn settled(cluster: &ClusterStatus, pods: usize) -> bool {
    cluster.pods.cmdb == pods && cluster.pods.pending == 0
}

fn wait(mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not reached within {PATIENCE:?}");
        std::thread::sleep(POLL);
    }
}

/// A Pod of about 2 KB with what a record needs.
fn pod(n: usize) -> serde_json::Value {
    let name = format!("web-{n:06}");
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "default", "uid": format!("6d0cb7e0-4c8d-4f39-a7a9-{n:012x}"),
            "resourceVersion": (1000 + n).to_string(), "creationTimestamp": "2026-01-05T08:00:00Z",
            "labels": {"app": "web", "pod-template-hash": "6d4b75cb6d"},
            "annotations": {"io.tencent.bcs.clusterid": CLUSTER, "note": "x".repeat(400)},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d4b75cb6d",
                                 "uid": "1", "controller": true}]
        },
        "spec": {
            "nodeName": "node-1", "hostNetwork": false,
            "containers": [{"name": "web", "image": "registry.local/web:1.0", "env": [{"name": "A", "value": "y".repeat(600)}],
                            "ports": [{"containerPort": 80, "protocol": "TCP"}], "resources": {"limits": {"cpu": "1"}}}],
            "volumes": [{"name": "config", "configMap": {"name": "web"}}]
        },
        "status": {
            "phase": "Running", "hostIP": "10.0.0.1", "podIP": format!("10.{}.{}.{}", 1 + n / 65536, n / 256 % 256, n % 256),
            "startTime": "2026-01-05T08:00:01Z",
            "containerStatuses": [{"name": "web", "ready": true, "restartCount": 0, "containerID": format!("docker://{n}"),
                                   "state": {"running": {"startedAt": "2026-01-05T08:00:03Z"}}}]
        }
    })
}
