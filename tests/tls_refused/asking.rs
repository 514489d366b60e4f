//! Everything the program asks over HTTPS, by the program itself: bcs-storage, paas-cc and the CMDB,
//! for Pods and for the container server's topology. No request reaches a peer that has not proved
//! itself, and the answer says what was wrong with it.

use crate::container;
use crate::peer::Peer;
use crate::peer::certificates::Authority;
use crate::process::Process;
use bcs_bkcmdb_synchronizer::config::TlsFiles;
use bcs_bkcmdb_synchronizer::http::tls;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    Storage,
    Paas,
    Cmdb,
    Topology,
}

const PLACES: [Place; 4] = [Place::Storage, Place::Paas, Place::Cmdb, Place::Topology];

/// Has the program ask `peer` where `place` should be, with `ca` as the CA it trusts there: that of
/// the configuration for bcs-storage, else the machine's. Returns all it says.
fn ask(place: Place, peer: &Peer, ca: &Path) -> String {
    let directory = tempfile::tempdir().unwrap();
    let origin = format!("https://{}", peer.addr());
    if place == Place::Topology {
        let keys = json!({"topology_file": "", "cmdb_addr": origin});
        // On a machine that trusts that CA.
        let trusting = [("SSL_CERT_FILE", ca.to_str().unwrap())];
        let server = Process::start_with(&trusting, directory.path(), keys);
        return server.caller.create(2, &container::pod("web")).to_string();
    }
    let tasks = directory.path().join("tasks.json");
    std::fs::write(&tasks, r#"[{"projectid":"p","clusterid":"BCS-K8S-00001","bk_biz_id":2}]"#).unwrap();
    let nobody = "http://127.0.0.1:1";
    let mut config = json!({"zk": "", "cmdb_user": "tester", "cmdb_addr": nobody, "storage_addrs": [nobody],
        "task_manager_type": "file", "task_file": tasks, "address": "127.0.0.1"});
    let keys = match place {
        Place::Storage => json!({"storage_addrs": [origin], "storage_ca": ca}),
        Place::Cmdb => json!({"cmdb_addr": origin}),
        _ => json!({"task_manager_type": "paas", "paas_addr": origin, "paas_access_token": "t"}),
    };
    for (key, value) in keys.as_object().unwrap() {
        config[key] = value.clone();
    }
    connect(directory.path(), &config, ca)
}

/// `check-config --connect` on a machine that trusts `ca`.
fn connect(directory: &Path, config: &Value, ca: &Path) -> String {
    let file = directory.join("synchronizer.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer"))
        .args(["check-config", "--connect", "--config"])
        .arg(file)
        .env("SSL_CERT_FILE", ca)
        .env_remove("RUST_LOG")
        .output()
        .unwrap();
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

/// Every place asks `peer`; it is refused with `words` and sees no request, or, without words, is asked.
#[track_caller]
fn check(places: &[Place], peer: impl Fn() -> Peer, trusting: &Authority, words: Option<&str>) {
    for place in places {
        let peer = peer();
        let answer = ask(*place, &peer, &trusting.ca);
        assert_eq!(peer.requests().is_empty(), words.is_some(), "{place:?}: {answer}");
        assert!(peer.accepted() > 0, "{place:?} was not asked: {answer}");
        assert!(answer.contains(words.unwrap_or_default()), "{place:?} lacks {words:?}: {answer}");
    }
}

/// A peer with this certificate, which has an answer for everything.
fn serving(files: &TlsFiles) -> Peer {
    Peer::start_tls(tls::server_config(files).unwrap(), |mut connection| {
        while connection.request().is_some() && connection.answer(200, "{}") {}
    })
}

/// A peer that answers a handshake with TLS 1.`version - 1`, or SSL 3.0 for 0.
fn old_peer(version: u8) -> Peer {
    Peer::start(move |mut connection| {
        let mut hello = vec![22, 3, version, 0, 42, 2, 0, 0, 38, 3, version];
        hello.extend([7; 32]);
        hello.extend([0, 0xc0, 0x13, 0]);
        connection.write(&hello);
        connection.wait_for_end();
    })
}

#[test]
fn no_request_reaches_a_peer_without_a_certificate_of_our_ca_that_is_valid_today() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    check(&PLACES, || serving(&ours.issue("127.0.0.1")), &ours, None);
    check(&PLACES, || serving(&theirs.issue("127.0.0.1")), &ours, Some("not signed by a CA we trust"));
    let expired = || serving(&ours.issue_between("127.0.0.1", 2000, 2001));
    check(&PLACES, expired, &ours, Some("has expired"));
    let early = || serving(&ours.issue_between("127.0.0.1", 3000, 4000));
    check(&PLACES, early, &ours, Some("not valid yet"));
}

#[test]
fn the_name_counts_everywhere_but_for_bcs_storage() {
    let ours = Authority::new("ours");
    let other_name = || serving(&ours.issue("another.example"));
    check(&[Place::Storage], other_name, &ours, None);
    check(&[Place::Paas, Place::Cmdb, Place::Topology], other_name, &ours, Some("issued to another name"));
}

#[test]
fn no_request_reaches_a_peer_with_tls_older_than_1_2() {
    let ours = Authority::new("ours");
    for version in [0, 1, 2] {
        check(&PLACES, || old_peer(version), &ours, Some("TLS with"));
    }
}
