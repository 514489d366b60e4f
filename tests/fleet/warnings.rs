//! What works today and should not stay so is told by every instance it is about: versions and
//! clocks that differ, and nodes of ZooKeeper that somebody else owns.

use crate::author::{Author, servers};
use crate::log_lines::check_lines;
use crate::processes::{Fleet, PATIENCE};
use crate::zookeeper::{ZooKeepers, own_address};
use bcs_bkcmdb_synchronizer::coordination::{Role, ServerInfo, Session, layout};
use serde_json::{Value, json};

/// The message of a kind of problem that an instance shows.
fn problem(fleet: &Fleet, instance: usize, kind: &str) -> Option<String> {
    let status = fleet.get(instance, "/api/v1/status")?;
    let problems = status["instance_problems"].as_array()?.clone();
    let found = problems.into_iter().find(|problem| problem["kind"] == kind)?;
    found["message"].as_str().map(str::to_owned)
}

#[track_caller]
fn wait_problem(fleet: &Fleet, instance: usize, kind: &str, words: &[&str]) {
    fleet.wait(&format!("{kind} {words:?}"), PATIENCE, |fleet| {
        problem(fleet, instance, kind).is_some_and(|message| words.iter().all(|word| message.contains(word)))
    });
}

#[test]
fn versions_and_clocks_that_differ_are_told_until_they_agree() {
    let mut fleet = Fleet::new(ZooKeepers::single(), 2).start(1);
    // A clock ninety seconds ahead, of this process alone.
    let ahead = [
        "env",
        "LD_PRELOAD=/usr/$LIB/faketime/libfaketime.so.1",
        "FAKETIME=+90s",
        "FAKETIME_DONT_FAKE_MONOTONIC=1",
    ];
    let ahead = ahead.map(str::to_owned);
    fleet.add(&own_address(), &ahead, &json!({}));
    wait_problem(&fleet, 1, "clock", &["ahead of ZooKeeper's", "NTP"]);
    assert_eq!(problem(&fleet, 0, "clock"), None, "the other one's clock is right");
    assert_eq!(problem(&fleet, 0, "versions"), None);

    let address = own_address();
    let info = ServerInfo {
        ip: address.clone(),
        port: 1,
        version: "0.0.1-old".into(),
        pid: 1,
        ..ServerInfo::default()
    };
    let old = Session::start(servers(&fleet.zookeepers), Role::Member(info)).unwrap();
    for instance in 0..2 {
        let named = format!("0.0.1-old on {address}:1");
        wait_problem(
            &fleet,
            instance,
            "versions",
            &[&named, env!("CARGO_PKG_VERSION"), "finish the upgrade"],
        );
    }
    old.stop();
    fleet.wait("the versions agree", PATIENCE, |fleet| {
        [0, 1].iter().all(|instance| problem(fleet, *instance, "versions").is_none())
    });
    assert!(fleet.instances.iter_mut().all(|instance| instance.terminate().success()));
    let ids = fleet.clusters();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    for instance in &fleet.instances {
        check_lines(&instance.log(), &ids);
    }
}

#[test]
fn nodes_of_another_owner_shut_an_instance_out_and_it_says_whose_user_it_must_be() {
    let mut fleet = Fleet::new(ZooKeepers::single(), 1);
    Author::signed_in(&fleet.zookeepers, "somebody", "s3cret-zk").write(layout::CLUSTERS, "");
    fleet.add(&own_address(), &[], &json!({}));
    let words = ["not permitted", "zk_user and zk_password must be those of the node's creator"];
    wait_problem(&fleet, 0, "coordination", &words);
    let readiness = fleet.get(0, "/readyz").unwrap_or_default();
    assert_eq!(readiness["ok"], Value::Bool(false), "{readiness}");
    assert!(readiness["problems"].to_string().contains("not permitted"), "{readiness}");
    assert_eq!(fleet.instances[0].log().matches("not permitted").count(), 1, "it is told once");

    let keys = json!({"zk_user": "somebody", "zk_password": "s3cret-zk"});
    fleet.add(&own_address(), &[], &keys);
    fleet.wait("whoever has the password works", PATIENCE, |fleet| fleet.is_shared_by(&[1]));
    assert_eq!(problem(&fleet, 1, "coordination"), None);
}
