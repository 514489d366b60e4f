//! `diff`, `sync`, `purge` and `check-config --connect`: the program itself between a simulated
//! bcs-storage and a real container server.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail by panicking.

#[path = "peer/certificates.rs"]
mod certificates;
#[path = "common/documented.rs"]
mod documented;
mod world;

use bcs_bkcmdb_synchronizer::front::Response;
use bcs_bkcmdb_synchronizer::http::Method;
use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use certificates::Authority;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use world::cmdb::Fault;
use world::pods::{phase, pod, pod_with_uid, with};
use world::{BIZ, CLUSTER, ClusterSetup, PATIENCE, World, wait_until};

/// What a run of the program came to.
struct Run {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Run {
    /// What it printed as JSON, every field of which is documented.
    fn json(&self) -> Value {
        let report = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}{}", self.stdout, self.stderr));
        documented::check(&report);
        report
    }

    fn all(&self) -> String {
        format!("exit {}\n{}{}", self.code, self.stdout, self.stderr)
    }

    #[track_caller]
    fn expect(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, code, "{}", self.all());
        for part in parts {
            assert!(self.stdout.contains(part) || self.stderr.contains(part), "{part}: {}", self.all());
        }
        self
    }
}

/// Runs a command of the program with the world's configuration.
fn run(world: &World, arguments: &[&str]) -> Run {
    let config = world.config_file();
    let output: Output = Command::new(env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer"))
        .args(["--config", config.to_str().unwrap()])
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A world whose CMDB holds what its storage has had until now.
fn synced(pods: usize) -> World {
    let world = World::single(Generation::New);
    (0..pods).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    run(&world, &["sync"]).expect(0, &[]);
    world
}

/// The world again, in which web-0 changed, web-1 went and `new` came.
fn drifted() -> World {
    let world = synced(3);
    world.put(phase(pod("web-0", 2), "Failed"));
    world.delete("web-1");
    world.put(pod("new", 1));
    world
}

#[test]
fn diff_of_equal_sides_exits_0() {
    let world = synced(3);
    run(&world, &["diff"]).expect(0, &["BCS-K8S-00001 (business 2): equal, 3 pods"]);
    let report = run(&world, &["diff", "--output", "json"]).json();
    assert_eq!((&report["outcome"], &report["clusters"][0]["pods"]["cmdb"]), (&json!("equal"), &json!(3)));
}

#[test]
fn diff_names_what_a_full_sync_would_do_field_by_field_and_writes_nothing() {
    let world = drifted();
    let writes = world.cmdb.writes().len();
    run(&world, &["diff"]).expect(
        3,
        &[
            "BCS-K8S-00001 (business 2): 1 to create, 1 to update, 1 to delete",
            "create default/new uid-new",
            "update default/web-0 uid-web-0",
            "bk_pod_status: \"Running\" -> \"Failed\"",
            "delete default/web-1 uid-web-1: point read: not in bcs-storage",
            "`sync` does it now",
        ],
    );
    let report = run(&world, &["diff", "--output", "json"]).expect(3, &[]).json();
    let expected = json!({
        "cluster_id": CLUSTER, "bk_biz_id": BIZ, "outcome": "drift", "error": null,
        "pods": {"storage": 3, "cmdb": 3, "unscheduled": 0, "unplaced": 0, "invalid": 0, "repaired": 0,
            "unusable": 0},
        "create": [{"uuid": "uid-new", "namespace": "default", "name": "new"}],
        "update": [{"uuid": "uid-web-0", "namespace": "default", "name": "web-0", "fields":
            [{"field": "bk_pod_status", "cmdb": "Running", "storage": "Failed"}]}],
        "delete": [{"uuid": "uid-web-1", "namespace": "default", "name": "web-1",
            "proof": "point read: not in bcs-storage"}],
    });
    assert_eq!(report, json!({"outcome": "drift", "error": null, "clusters": [expected]}));
    assert_eq!(world.cmdb.writes().len(), writes, "diff only reads");
}

#[test]
fn diff_does_not_call_drift_what_the_cmdb_would_refuse_or_cannot_take() {
    let world = World::single(Generation::Old);
    world.put(with(pod("odd-0", 1), "/metadata/annotations", json!({"a b": "c d", "e": "f"})));
    world.put(with(pod("odd-1", 1), "/metadata/annotations", json!({"long": "x".repeat(3000)})));
    world.put(with(pod("odd-2", 1), "/status/podIP", "fd00::1"));
    world.put(with(pod("waiting", 1), "/status/hostIP", ""));
    run(&world, &["sync"]).expect(0, &["3 created"]);
    let report = run(&world, &["diff", "--output", "json"]).expect(0, &[]).json();
    let pods = &report["clusters"][0]["pods"];
    assert_eq!((&pods["repaired"], &pods["unscheduled"]), (&json!(2), &json!(1)), "{report:#}");
}

#[test]
fn diff_reads_a_pod_where_the_storage_keeps_it_and_counts_records_without_a_uuid_apart() {
    let world = World::single(Generation::Old);
    let put = |pod| world.storage.put_under(CLUSTER, ("kept", "elsewhere"), pod).unwrap();
    put(pod("odd", 1));
    world.put(pod("gone", 1));
    run(&world, &["sync"]).expect(0, &["2 created"]);
    put(phase(pod("odd", 2), "Failed"));
    world.delete("gone");
    world.cmdb.blank_uuid("uid-gone");
    run(&world, &["diff"])
        .expect(3, &["0 to create, 1 to update, 0 to delete; 1 in the CMDB without a uuid"]);
}

#[test]
fn diff_of_a_fleet_at_work_finds_no_drift_in_what_is_on_its_way() {
    let mut world = World::single(Generation::New);
    (0..40).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    world.start_and_settle();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let report = std::thread::scope(|scope| {
        let world = &world;
        let stop = &stop;
        scope.spawn(move || {
            // Each pod changes every four seconds: a machine that is busy writes it within one.
            let mut version = 2;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let (number, failed) = (version % 40, version / 40 % 2 == 0);
                let next = pod(&format!("web-{number}"), version);
                world.put(if failed { phase(next, "Failed") } else { next });
                version += 1;
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        });
        let report = run(world, &["diff"]);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        report
    });
    report.expect(0, &["equal, 40 pods"]);
    assert!(world.cmdb.calls().iter().all(|call| !call.is_write() || call.user == "tester"));
}

#[test]
fn diff_says_which_side_cannot_be_read_and_exits_1() {
    let mut world = synced(1);
    world.kill_storage();
    run(&world, &["diff"]).expect(1, &["not compared: bcs-storage: cannot connect"]);
    world.restart_storage();
    world.cmdb.break_all(Fault::Error500);
    run(&world, &["diff"]).expect(1, &["not compared: CMDB answered 500"]);
}

#[test]
fn clusters_that_are_not_in_the_inventory_are_named_with_those_that_are() {
    let world = synced(1);
    for command in ["diff", "sync"] {
        let wanted = ["cluster BCS-K8S-9 is not in the inventory", "known: BCS-K8S-00001"];
        run(&world, &[command, "--cluster", "BCS-K8S-9"]).expect(1, &wanted);
        let report =
            run(&world, &[command, "--cluster", "BCS-K8S-9", "--output", "json"]).expect(1, &[]).json();
        assert_eq!((&report["outcome"], &report["clusters"]), (&json!("failed"), &json!([])), "{report}");
        assert!(report["error"].as_str().unwrap().contains(wanted[0]), "{report}");
    }
    run(&world, &["diff", "--cluster", CLUSTER, "--exclude_clusters", CLUSTER])
        .expect(1, &["exclude_clusters"]);
}

#[test]
fn a_result_that_cannot_be_written_is_no_success() {
    let world = synced(1);
    let config = world.config_file();
    for arguments in [&["diff", "--output", "json"][..], &["sync"], &["check-config"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer"))
            .args(["--config", config.to_str().unwrap()])
            .args(arguments)
            .stdout(full)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("cannot write the result: No space left"), "{arguments:?}: {said}");
    }
}

#[test]
fn sync_makes_both_sides_equal_and_says_what_it_did() {
    let world = drifted();
    let report = run(&world, &["sync", "--output", "json"]).expect(0, &[]).json();
    let cluster = json!({"cluster_id": CLUSTER, "bk_biz_id": BIZ, "outcome": "ok", "created": 1, "updated": 1,
        "deleted": 1, "rejected": 0, "pending": 0, "held_back_deletes": 0, "error": null});
    assert_eq!(report, json!({"outcome": "ok", "sync_policy": "sync", "error": null, "clusters": [cluster]}));
    assert!(world.verdict().unwrap().is_equal());
    run(&world, &["sync"]).expect(0, &["0 created, 0 updated, 0 deleted"]);
}

/// Runs a command on a terminal of its own: exit code, and everything that appeared on it.
fn run_on_a_terminal(world: &World, arguments: &str, typed: &str) -> (Option<i32>, String) {
    let program = env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer");
    let command = format!("{program} --config {} {arguments}", world.config_file().display());
    let mut terminal = Command::new("script")
        .args(["--quiet", "--return", "--flush", "--command", &command, "/dev/null"])
        .env_remove("RUST_LOG")
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    terminal.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = terminal.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[test]
fn on_a_terminal_a_bar_shows_how_far_a_command_is_and_then_goes() {
    /// What clears the line of a terminal.
    const CLEAR: &str = "\u{1b}[2K";
    let world = World::single(Generation::New);
    (0..300).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    for (command, step, code, result) in [
        ("diff", "listing", 3, "300 to create"),
        ("sync", "comparing and writing", 0, "300 created"),
        ("diff", "listing", 0, "equal, 300 pods"),
    ] {
        let (exit, shown) = run_on_a_terminal(&world, command, "");
        assert_eq!(exit, Some(code), "{shown}");
        let (bar, rest) =
            shown.rsplit_once(CLEAR).unwrap_or_else(|| panic!("{command} shows no bar: {shown:?}"));
        assert!(bar.contains(CLUSTER) && bar.contains(step), "{shown:?}");
        assert!(rest.contains(result), "the result stands alone: {shown:?}");
    }
}

#[test]
fn elsewhere_progress_is_a_plain_line_now_and_then() {
    let world = World::single(Generation::New).with(json!({"cmdb_timeout": 6}));
    world.put(pod("web-0", 1));
    world.cmdb.break_next(&["create"], Fault::Hang, 1);
    let ran = run(&world, &["sync"]).expect(0, &["1 created"]);
    let line = format!("{CLUSTER}: comparing and writing ");
    assert!(ran.stderr.lines().any(|shown| shown.starts_with(&line)), "{}", ran.all());
    assert!(!ran.all().contains(['\u{1b}', '\r']), "{:?}", ran.all());
}

/// Starts a command, tells it to end once the CMDB has got `operation`; what became of it.
fn interrupted(world: &World, arguments: &[&str], operation: &str) -> Run {
    let config = world.config_file();
    let before = world.cmdb.calls().len();
    let child = Command::new(env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer"))
        .args(["--config", config.to_str().unwrap()])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until("it is at work", PATIENCE, || {
        world.cmdb.calls().iter().skip(before).any(|call| call.operation == operation)
    });
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn a_command_that_is_told_to_end_says_how_far_it_came() {
    let ids = [CLUSTER, "BCS-K8S-00002"];
    let world = World::new(ids.map(|id| ClusterSetup::new(id, Generation::New)).into())
        .with(json!({"shutdown_grace": 1}));
    world.put(pod("web-0", 1));
    world.cmdb.break_next(&["create"], Fault::Hang, 1);
    let report = interrupted(&world, &["sync", "--output", "json"], "create").expect(1, &[]).json();
    let outcomes: Vec<&Value> =
        report["clusters"].as_array().unwrap().iter().map(|cluster| &cluster["outcome"]).collect();
    assert_eq!(outcomes, ["incomplete", "failed"], "{report:#}");
    for cluster in report["clusters"].as_array().unwrap() {
        assert!(cluster["error"].as_str().unwrap().contains("interrupted; run it again"), "{report:#}");
    }
    world.cmdb.heal();
    run(&world, &["sync"]).expect(0, &[]);
    // Enough for a while longer than a signal takes.
    (1..1000).for_each(|number| world.put(pod(&format!("web-{number}"), 1)));
    run(&world, &["sync"]).expect(0, &["999 created"]);
    let purge = ["purge", "--cluster", CLUSTER, "--biz", "2", "--yes"];
    interrupted(&world, &purge, "delete")
        .expect(1, &["error: interrupted", "of 1000 records deleted", "run it again"]);
    assert!(!world.cmdb.records(BIZ).unwrap().is_empty());
    run(&world, &purge).expect(0, &["records deleted"]);
}

#[test]
fn sync_of_one_cluster_leaves_the_others_alone() {
    let ids = [CLUSTER, "BCS-K8S-00002"];
    let world = World::new(ids.map(|id| ClusterSetup::new(id, Generation::New)).into());
    for (id, uid) in ids.iter().zip(["one", "two"]) {
        world.storage.put(id, pod_with_uid("web-0", uid, 1)).unwrap();
    }
    run(&world, &["sync", "--cluster", ids[1]]).expect(0, &["BCS-K8S-00002 (business 2): 1 created"]);
    assert!(world.cmdb.find(BIZ, "one").is_none() && world.cmdb.find(BIZ, "two").is_some());
}

#[test]
fn sync_holds_many_deletes_back_until_they_are_approved() {
    let world = synced(60);
    (0..60).for_each(|number| world.delete(&format!("web-{number}")));
    run(&world, &["sync"]).expect(1, &["60 deletes held back", "--approve-deletes"]);
    assert_eq!(world.cmdb.records(BIZ).unwrap().len(), 60);
    run(&world, &["sync", "--approve-deletes"]).expect(0, &["60 deleted"]);
    assert_eq!(world.cmdb.records(BIZ).unwrap().len(), 0);
}

#[test]
fn sync_in_dry_run_writes_nothing() {
    let world = drifted();
    let writes = world.cmdb.writes().len();
    run(&world, &["sync", "--sync_policy", "dry-run"]).expect(0, &["dry-run: nothing was written"]);
    assert_eq!(world.cmdb.writes().len(), writes);
}

#[test]
fn sync_exits_1_when_a_pod_is_refused_or_a_side_fails() {
    let mut world = World::single(Generation::New);
    world.put(with(pod("web-0", 1), "/status/hostIP", "fd00::1"));
    world.put(with(pod("web-1", 1), "/metadata/name", "x".repeat(300)));
    run(&world, &["sync"]).expect(1, &["1 created", "1 refused by the CMDB"]);
    world.kill_storage();
    run(&world, &["sync"]).expect(1, &["failed", "bcs-storage"]);
}

#[test]
fn commands_that_write_refuse_a_cluster_that_is_at_work() {
    let mut world = synced(1);
    world.start_and_settle();
    let address = world.service.as_ref().unwrap().status_addr();
    let port = address.port().to_string();
    let writes = world.cmdb.writes().len();
    let at = ["--port", port.as_str()];
    let wanted = format!("is at work at {address}");
    run(&world, &[&["sync"], &at[..]].concat())
        .expect(1, &[&wanted, &format!("curl -X POST http://{address}/api/v1/clusters/{CLUSTER}/sync")]);
    let purge = ["purge", "--cluster", CLUSTER, "--biz", "2", "--yes"];
    let refused = run(&world, &[&purge, &at[..]].concat()).expect(1, &[&wanted, "exclude_clusters"]);
    assert!(!refused.all().contains("/sync"), "that would bring the records back: {}", refused.all());
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "s3cret-admin-token").unwrap();
    let with_token = ["sync", "--admin_token_file", token.path().to_str().unwrap()];
    run(&world, &[&with_token, &at[..]].concat())
        .expect(1, &["curl -X POST -H \"Authorization: Bearer TOKEN\" http://"]);
    assert_eq!(world.cmdb.writes().len(), writes);
    run(&world, &[&["diff"], &at[..]].concat()).expect(0, &[]);
    // Another cluster may be purged beside it.
    let other = ["purge", "--cluster", "BCS-K8S-9", "--biz", "2", "--yes"];
    run(&world, &[&other, &at[..]].concat()).expect(0, &["there was no record"]);
}

#[test]
fn a_service_that_speaks_https_is_asked_over_https() {
    let authority = Authority::new("ours");
    let (own, other) = (authority.issue("127.0.0.1"), authority.issue("other"));
    let path = |file: &Option<PathBuf>| file.as_ref().unwrap().to_str().unwrap().to_owned();
    for ca in [Some(&authority.ca), None] {
        let mut world = World::single(Generation::New)
            .with(json!({"ca_file": ca.cloned().unwrap_or_default(),
            "server_cert_file": own.cert, "server_key_file": own.key}));
        world.start_and_settle();
        let address = world.service.as_ref().unwrap().status_addr();
        let wanted = format!("curl -X POST https://{address}/api/v1/clusters/{CLUSTER}/sync");
        let port = address.port().to_string();
        run(&world, &["sync", "--port", &port]).expect(1, &[&wanted]);
        // Somebody with another certificate, of the same CA, is somebody else.
        let (cert, key) = (path(&other.cert), path(&other.key));
        let stranger = ["sync", "--port", &port, "--server_cert_file", &cert, "--server_key_file", &key];
        run(&world, &stranger).expect(1, &["does not say whether it has cluster", "certificate"]);
    }
}

#[test]
fn whoever_has_the_port_and_does_not_say_is_taken_for_the_service() {
    let world = synced(1);
    let silent = world::listen();
    let port = silent.local_addr().unwrap().port().to_string();
    run(&world, &["sync", "--port", &port]).expect(1, &["does not say whether it has cluster"]);
}

#[test]
fn purge_deletes_every_record_of_one_cluster_from_one_business() {
    let world = synced(3);
    let other = json!({"bk_module_id": 201, "bk_cloud_id": 0, "bk_host_innerip": "10.0.0.1",
        "bk_pod_name": "a", "bk_pod_namespace": "b", "bk_pod_cluster": "BCS-K8S-OTHER", "bk_pod_uuid": "other",
        "bk_pod_workloadtype": "Pod", "bk_pod_workloadname": "a"});
    world.cmdb.create(BIZ, other);
    let arguments = ["purge", "--cluster", CLUSTER, "--biz", "2"];
    run(&world, &arguments).expect(1, &["3 records of cluster BCS-K8S-00001 in business 2", "give --yes"]);
    assert_eq!(world.cmdb.records(BIZ).unwrap().len(), 4, "nobody said yes");
    let dry = [&arguments[..], &["--yes", "--sync_policy", "dry-run"]].concat();
    run(&world, &dry).expect(0, &["3 records would be deleted"]);
    let never = [&arguments[..], &["--yes", "--sync_policy", "upsert-only"]].concat();
    run(&world, &never).expect(1, &["never deletes"]);
    let report =
        run(&world, &[&arguments[..], &["--yes", "--output", "json"]].concat()).expect(0, &[]).json();
    let expected = json!({"cluster_id": CLUSTER, "bk_biz_id": 2, "outcome": "ok", "found": 3, "deleted": 3, "error": null});
    assert_eq!(report, expected);
    assert_eq!(world.cmdb.records(BIZ).unwrap().len(), 1, "the other cluster's stays");
}

#[test]
fn purge_asks_and_takes_nothing_but_yes_for_an_answer() {
    let world = synced(3);
    let command = format!("purge --cluster {CLUSTER} --biz 2");
    for (typed, code, result, left) in [
        ("\n", 1, "nothing was deleted", 3),
        ("y\n", 1, "nothing was deleted", 3),
        ("yes\n", 0, "3 records deleted", 0),
    ] {
        let (exit, shown) = run_on_a_terminal(&world, &command, typed);
        let question = format!("Delete 3 records of cluster {CLUSTER} in business 2");
        assert!(
            exit == Some(code) && shown.contains(&question) && shown.contains(result),
            "{exit:?} {shown}"
        );
        assert_eq!(world.cmdb.records(BIZ).unwrap().len(), left, "{typed:?}");
    }
}

#[test]
fn purge_says_that_no_journal_is_kept_unless_one_is() {
    let world = synced(1);
    let purge = ["purge", "--cluster", CLUSTER, "--biz", "2"];
    let line = "no journal of these deletes is kept; --delete_journal DIRECTORY keeps one";
    run(&world, &purge).expect(1, &[line]);
    let directory = tempfile::tempdir().unwrap();
    let journal = ["--yes", "--delete_journal", directory.path().to_str().unwrap()];
    let kept = run(&world, &[&purge[..], &journal].concat()).expect(0, &["1 record deleted"]);
    assert!(!kept.all().contains("no journal"), "{}", kept.all());
    assert_eq!(directory.path().read_dir().unwrap().count(), 1);
    run(&world, &[&purge[..], &["--yes"]].concat()).expect(0, &["there was no record"]);
}

#[test]
fn purge_says_what_failed_and_goes_on_where_it_ended() {
    let world = synced(3);
    let arguments = ["purge", "--cluster", CLUSTER, "--biz", "2", "--yes"];
    world.cmdb.break_next(&["delete"], Fault::Busy, 1);
    run(&world, &arguments).expect(1, &["error: CMDB answered -1", "0 of 3 records deleted", "run it again"]);
    run(&world, &arguments).expect(0, &["records deleted"]);
    assert!(world.cmdb.records(BIZ).unwrap().is_empty());
}

#[test]
fn purge_ends_where_a_delete_finds_nothing_of_what_is_listed() {
    let world = synced(3);
    let nothing = json!({"result": true, "bk_error_code": 0, "bk_error_msg": "", "permission": null,
        "data": {"deleted_count": 0}});
    world.cmdb.set_witness(Arc::new(move |call, pass_on| match call.operation.as_str() {
        "delete" => Response::json(200, &nothing),
        _ => pass_on(),
    }));
    let arguments = ["purge", "--cluster", CLUSTER, "--biz", "2", "--yes"];
    run(&world, &arguments).expect(1, &["lists 3 records of which a delete finds none", "0 of 3 records"]);
    assert_eq!(world.cmdb.writes().iter().filter(|call| call.operation == "delete").count(), 3);
}

#[test]
fn check_config_says_what_each_peer_answers() {
    let mut world = synced(1);
    let good = run(&world, &["check-config", "--connect"]);
    good.expect(
        0,
        &["ok     inventory", "1 clusters", "BCS-K8S-00001 has pods there", "topology and pods can be read"],
    );
    let report = run(&world, &["check-config", "--connect", "--output", "json"]).expect(0, &[]).json();
    let peers: Vec<&str> =
        report["peers"].as_array().unwrap().iter().map(|peer| peer["peer"].as_str().unwrap()).collect();
    assert_eq!((report["ok"].as_bool(), peers), (Some(true), vec!["inventory", "bcs-storage", "cmdb"]));
    let modules = ["--default_module", "nowhere"];
    run(&world, &[&["check-config", "--connect"], &modules[..]].concat())
        .expect(1, &["FAILED cmdb", "create both in the CMDB"]);
    world.kill_storage();
    world.cmdb.kill();
    run(&world, &["check-config", "--connect"])
        .expect(1, &["FAILED bcs-storage", "FAILED cmdb", "ok     inventory", "not every peer is"]);
    run(&world, &["check-config", "--connect", "--zk", "127.0.0.1:1"])
        .expect(1, &["FAILED zookeeper 127.0.0.1:1"]);
    run(&world, &["check-config", "--connect", "--port", "x"]).expect(2, &["port: must be"]);
}

#[test]
fn a_record_somebody_else_changed_is_drift_until_it_is_synced() {
    let world = synced(1);
    let change = json!({"condition": {"bk_pod_uuid": "uid-web-0"}, "data": {"bk_pod_ip": "10.9.9.9"}});
    world.cmdb.call(Method::Put, "/update/container/bk_biz_id/2/pod", &change);
    run(&world, &["diff"]).expect(3, &["bk_pod_ip: \"10.9.9.9\" -> \"172.20.0.9\""]);
    run(&world, &["sync"]).expect(0, &["1 updated"]);
    run(&world, &["diff"]).expect(0, &[]);
}
