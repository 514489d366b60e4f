//! The configuration read again while the service runs: the program itself, its file changed under
//! it, and SIGHUP.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail by panicking.

#[path = "peer/certificates.rs"]
mod certificates;
mod program;
mod world;

use bcs_bkcmdb_synchronizer::config::TlsFiles;
use bcs_bkcmdb_synchronizer::http::Method;
use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use certificates::Authority;
use program::Program;
use serde_json::{Value, json};
use std::fs;
use std::process::Command;
use world::pods::{NAMESPACE, pod};
use world::{BIZ, CLUSTER, PATIENCE, World, wait_until};

fn start() -> Program {
    let world = World::single(Generation::New);
    world.put(pod("web-0", 1));
    let program = Program::start(world);
    wait_until("the pod is recorded", PATIENCE, || program.world.cmdb.find(BIZ, "uid-web-0").is_some());
    program
}

#[test]
fn a_changed_policy_holds_without_a_restart_and_back() {
    let mut program = start();
    program.change(json!({"sync_policy": "dry-run"}));
    program.wait_cluster("/sync_policy", json!("dry-run"));
    program.world.put(pod("web-1", 1));
    program.wait_cluster("/senders/created", json!(1));
    assert!(program.world.cmdb.find(BIZ, "uid-web-1").is_none());
    program.change(json!({"sync_policy": "sync"}));
    wait_until("it is written", PATIENCE, || program.world.cmdb.find(BIZ, "uid-web-1").is_some());
    program.wait_logged("configuration: sync_policy changed; every cluster begins anew with it");
}

#[test]
fn level_intervals_limits_and_clusters_change_while_the_watch_goes_on() {
    let mut program = start();
    program.world.storage.faults().mute(CLUSTER);
    assert!(program.world.storage.delete(CLUSTER, NAMESPACE, "web-0"));
    program.change(json!({"v": 4, "cmdb_qps": 500, "full_sync_interval": 10, "delete_guard_min": 0}));
    program.wait_logged("in force");
    // The log keeps what the status shows for one interval only.
    program.wait_logged("their deletes are held back");
    program.wait_logged("DEBUG");
    assert_eq!(program.cluster("/watch/reconnects"), json!(0), "nothing was interrupted");
    program.wait_logged("full sync begins: [Periodic]");
    program.change(json!({"exclude_clusters": [CLUSTER]}));
    program.wait_cluster("", Value::Null);
}

#[test]
fn another_task_file_is_followed() {
    let mut program = start();
    let file = program.path("others.json");
    fs::write(&file, json!([{"projectid": "p", "clusterid": "BCS-K8S-7", "bk_biz_id": 2}]).to_string())
        .unwrap();
    program.change(json!({"task_file": file}));
    program.wait_cluster("/cluster_id", json!("BCS-K8S-7"));
}

#[test]
fn a_broken_file_leaves_the_old_one_in_force_and_is_a_problem_until_it_is_good() {
    let mut program = start();
    program.write("{\"cmdb_user\": 7,");
    wait_until("the problem shows", PATIENCE, || program.problems().contains("is not in force"));
    program.world.put(pod("web-1", 1));
    wait_until("it is written", PATIENCE, || program.world.cmdb.find(BIZ, "uid-web-1").is_some());
    program.change(json!({}));
    wait_until("the problem is over", PATIENCE, || program.problems() == "[]");
    assert_eq!(program.log().matches("is not in force").count(), 1, "told once");
}

#[test]
fn what_needs_a_restart_is_named() {
    let mut program = start();
    program.change(json!({"port": 1, "reassign_delay": 99, "v": 4}));
    wait_until("it is named", PATIENCE, || {
        program.problems().contains("port, reassign_delay changed in the configuration: restart the service")
    });
    program.wait_logged("port, reassign_delay changed in the configuration: restart the service");
    program.wait_logged("DEBUG");
    // There is nothing to correct in the file, which is what the page advises for the other kind.
    assert!(program.problems().contains(r#""kind":"restart""#), "{}", program.problems());
}

#[test]
fn what_needs_a_restart_does_not_come_in_with_what_does_not() {
    let mut program = start();
    let authority = Authority::new("ours");
    let issued = authority.issue("status");
    program.change(json!({
        "storage_addrs": ["http://127.0.0.1:1"], "server_cert_file": issued.cert, "server_key_file": issued.key,
        "text_limit": 1999,
    }));
    program.wait_logged("configuration: text_limit changed; every cluster begins anew with it");
    let named = "storage_addrs, server_cert_file changed in the configuration: restart the service";
    wait_until("they are named", PATIENCE, || program.problems().contains(named));
    program.wait_cluster("/state", json!("live"));
    assert_eq!(program.cluster("/last_error"), Value::Null, "bcs-storage is asked where it was");
}

#[test]
fn a_certificate_under_another_name_is_watched_instead() {
    let directory = tempfile::tempdir().unwrap();
    let self_signed = |name: &str, year: i32| {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let at = |ending: &str| directory.path().join(format!("{name}.{ending}"));
        fs::write(at("cert"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(at("key"), key.serialize_pem()).unwrap();
        json!({"storage_cert": at("cert"), "storage_key": at("key")})
    };
    let world = World::single(Generation::New).with(self_signed("old", 2020));
    let mut program = Program::start(world);
    wait_until("it is told", PATIENCE, || program.problems().contains("renew it"));
    program.change(self_signed("new", 2100));
    wait_until("it is over", PATIENCE, || program.problems() == "[]");
}

#[test]
fn sighup_reads_again_and_does_not_end_the_service() {
    let program = start();
    program.write(&json!({"unknown": 1}).to_string());
    let pid = program.child.id().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().unwrap().success());
    wait_until("the problem shows", PATIENCE, || program.problems().contains("unknown"));
}

#[test]
fn certificate_and_token_of_the_status_service_are_renewed() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let authorities = [Authority::new("first"), Authority::new("second")];
    let install = |authority: &Authority| {
        let issued = authority.issue("status");
        for (name, file) in [("key", issued.key.unwrap()), ("cert", issued.cert.unwrap())] {
            fs::copy(file, at("new")).unwrap();
            fs::rename(at("new"), at(name)).unwrap();
        }
    };
    install(&authorities[0]);
    fs::write(at("token"), "first-token").unwrap();
    let keys = json!({"server_cert_file": at("cert"), "server_key_file": at("key"), "admin_token_file": at("token")});
    let program = Program::start(World::single(Generation::New).with(keys));
    let url = format!("https://{}/api/v1/sync", program.address);
    let post = |token: &str, authority: usize| {
        let header = format!("Bearer {token}");
        let trusted = authorities[authority].trusting(TlsFiles::default());
        program
            .send(Method::Post, &url, &[("Authorization", &header)], Some(trusted))
            .map(|(status, _)| status)
            .ok()
    };
    assert_eq!((post("first-token", 0), post("first-token", 1)), (Some(202), None));
    install(&authorities[1]);
    fs::write(at("token"), "second-token").unwrap();
    wait_until("both are new", PATIENCE, || post("second-token", 1) == Some(202));
    assert_eq!((post("first-token", 1), post("second-token", 0)), (Some(401), None));
}
