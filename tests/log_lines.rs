//! The log of a busy run: every line is built alike, and what lasts is told once.

#![allow(clippy::unwrap_used)] // Helpers of tests fail by panicking.

#[path = "common/log_lines.rs"]
mod log_lines;
mod program;
mod world;

use bcs_bkcmdb_synchronizer::http::Method;
use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use log_lines::check_lines;
use program::Program;
use serde_json::{Value, json};
use world::cmdb::Fault;
use world::pods::{phase, pod, with};
use world::{CLUSTER, ClusterSetup, PATIENCE, World, wait_until};

const OTHER: &str = "BCS-K8S-00002";

fn refused(name: &str) -> Value {
    let owner = json!([{"kind": "Job", "name": "x".repeat(300), "controller": true}]);
    with(pod(name, 1), "/metadata/ownerReferences", owner)
}

/// A program that meets every fault there is, one after the other, and recovers.
fn busy() -> Program {
    let setup = |id: &str| ClusterSetup::new(id, Generation::New);
    let world = World::new(vec![setup(CLUSTER), setup(OTHER)])
        .with(json!({"v": 100, "dry_run_clusters": [OTHER], "full_sync_interval": 10}));
    world.put(pod("web-0", 1));
    world.put(refused("refused"));
    world.storage.put(OTHER, pod("canary", 1)).unwrap();
    let mut program = Program::start(world);
    let tasks = program.world.config()["task_file"].as_str().unwrap().to_owned();
    std::fs::write(tasks, "[").unwrap();
    program.wait_logged("uuid=uid-canary dry-run: would create");
    program.wait_logged("uuid=uid-refused rejected: ");

    program.world.cmdb.break_all(Fault::Error500);
    program.world.put(phase(pod("web-0", 2), "Failed"));
    program.wait_cluster("/state", json!("degraded"));
    // The fault lasts for many attempts.
    wait_until("attempts", PATIENCE, || program.cluster("/senders/retries").as_u64() > Some(2));
    program.world.cmdb.heal();
    program.wait_logged("over: the CMDB takes writes again");

    program.world.kill_storage();
    program.wait_logged("the watch stream broke: ");
    program.world.restart_storage();
    program.wait_logged("over: the watch stream is open again");

    program.world.put(with(pod("nobody", 1), "/metadata/uid", Value::Null));
    program.wait_logged("passed over until the next full sync");
    program.world.delete("web-0");
    program.wait_logged("uuid=uid-web-0 deleted default/web-0: point read");
    for call in ["pause", "resume", "sync"] {
        program.text(Method::Post, &format!("/api/v1/clusters/{CLUSTER}/{call}"), &[]);
    }
    program.wait_logged("Sync asked for by 127.0.0.1");
    program.wait_logged("inventory: task_file ");
    program.world.write_tasks();
    program.wait_logged("inventory: all of it can be read again");
    program.change(json!({"cmdb_qps": 999, "zk": "127.0.0.1:1"}));
    program.wait_logged("restart the service");
    program
}

#[test]
fn every_line_of_a_busy_run_is_built_alike_and_what_lasts_is_told_once() {
    let mut program = busy();
    assert!(
        std::process::Command::new("kill").arg(program.child.id().to_string()).status().unwrap().success()
    );
    wait_until("it ended", PATIENCE, || program.child.try_wait().unwrap().is_some());
    let troubles = check_lines(&program.log(), &[CLUSTER, OTHER]);
    assert!(troubles.len() > 4, "{troubles:?}");
    let repeated: Vec<_> = troubles.iter().filter(|(_, times)| **times > 1).collect();
    assert!(repeated.is_empty(), "{repeated:#?}");
}
