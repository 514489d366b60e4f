//! `sandbox`, the real binary: everything in one process, and a verdict at the end.

#![allow(clippy::unwrap_used)] // Helpers of tests may fail loudly too.

mod corpus;

use bcs_bkcmdb_synchronizer::convert::Settings;
use bcs_bkcmdb_synchronizer::http::{self, Client, Method, Request};
use bcs_bkcmdb_synchronizer::sandbox::Options;
use bcs_bkcmdb_synchronizer::sandbox::world::World;
use bcs_bkcmdb_synchronizer::service::Service;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(120);

/// Starts `sandbox` with its own directory for temporary files.
fn start(arguments: &[&str], temporary: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer"));
    command.arg("sandbox").args(arguments).env("TMPDIR", temporary);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs `sandbox` to its end: exit code, and everything it printed.
fn finish(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    (output.status.code(), text)
}

#[track_caller]
fn check_equal(arguments: &[&str]) -> String {
    let temporary = tempfile::tempdir().unwrap();
    let (code, text) = finish(start(arguments, temporary.path()));
    assert!(code == Some(0) && text.contains("both sides are equal"), "exit {code:?}: {text}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0, "left behind: {text}");
    text
}

#[test]
fn generated_pods_under_churn_end_equal_and_leave_nothing_behind() {
    let text = check_equal(&["--for", "10", "--churn", "40", "--seed", "7"]);
    for shown in ["status page ", "container server ", "bcs-storage ", "paas-cc ", "BCS-MESOS-00003"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
}

#[test]
fn real_pods_under_churn_end_equal_and_every_one_is_accounted_for() {
    let Some(pods) = corpus::path("pods.ndjson") else { return };
    let count = corpus::lines("pods.ndjson").len();
    let arguments = ["--pods", pods.to_str().unwrap(), "--clusters", "3", "--churn", "50", "--for", "15"];
    let text = check_equal(&arguments);
    assert!(text.contains(&format!("pods read {count}, replaced by a later one ")), "{text}");
    println!("{text}");
}

#[test]
fn sigterm_ends_with_a_verdict() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = start(&["--clusters", "1", "--churn", "5"], temporary.path());
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().starts_with("churning")));
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let rest: Vec<_> = lines.map(Result::unwrap).collect();
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(child.wait().unwrap().success(), "{rest:?} {log}");
    assert_eq!(rest.last().map(String::as_str), Some("both sides are equal"));
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

/// Records a pod that no cluster of the sandbox has.
fn record_a_stray(cmdb: &str) {
    let pod = json!({"bk_module_id": 10001, "bk_cloud_id": 0, "bk_host_innerip": "10.0.0.1", "bk_pod_name": "stray",
        "bk_pod_namespace": "default", "bk_pod_cluster": "BCS-K8S-99999", "bk_pod_uuid": "uid-stray",
        "bk_pod_workloadtype": "Pod", "bk_pod_workloadname": "stray"});
    let body = json!({"pod": pod}).to_string();
    let headers = [
        ("BK_User", "sandbox"),
        ("HTTP_BLUEKING_SUPPLIER_ID", "0"),
        ("HTTP_BK_SUPPLIER_ACCOUNT", "0"),
        ("Content-Type", "application/json"),
    ];
    let request = Request {
        method: Method::Post,
        url: &format!("{cmdb}/create/container/bk_biz_id/100/pod"),
        headers: &headers,
        body: Some(body.as_bytes()),
        timeout: Some(PATIENCE),
        idle_timeout: None,
    };
    let answer = Client::new(&http::Options::default()).send(&request).unwrap().bytes(1 << 20).unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(answer["result"], true, "{answer}");
}

#[test]
fn sides_that_differ_end_with_exit_code_1_and_the_difference() {
    let temporary = tempfile::tempdir().unwrap();
    let mut child = start(&["--clusters", "1", "--churn", "0"], temporary.path());
    let pid = child.id().to_string();
    let end = || Command::new("kill").args(["-TERM", &pid]).status().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let cmdb = lines.find_map(|line| line.strip_prefix("container server ").map(str::to_owned)).unwrap();
    record_a_stray(&cmdb);
    // All the others are recorded, so that the stray is the only difference.
    assert!(lines.any(|line| line.starts_with("churning") && line.contains("1/1 clusters live")));
    end();
    // It is patient, but for a second signal.
    assert!(lines.any(|line| line.starts_with("settling")));
    end();
    let rest: Vec<String> = lines.collect();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest:?}");
    let stray = "difference: BCS-K8S-99999: default/stray uid-stray of business 100";
    assert!(rest.iter().any(|line| line.starts_with(stray)), "{rest:?}");
    assert!(rest.last().unwrap().starts_with("NOT EQUAL: "), "{rest:?}");
    assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
}

#[test]
fn a_file_without_pods_is_refused_with_a_reason() {
    let temporary = tempfile::tempdir().unwrap();
    let (code, text) = finish(start(&["--pods", "/does/not/exist"], temporary.path()));
    assert!(code == Some(1) && text.contains("cannot read /does/not/exist"), "{code:?} {text}");
}

#[test]
fn entries_that_are_no_pods_are_named_and_the_others_recorded() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pods");
    let pod = r#"{"metadata":{"name":"a","namespace":"b","uid":"u"},"status":{"hostIP":"10.0.0.1"}}"#;
    std::fs::write(&path, format!("{pod}\nnot json\n")).unwrap();
    let pods = path.to_str().unwrap();
    let text = check_equal(&["--pods", pods, "--clusters", "1", "--churn", "0", "--for", "1"]);
    for shown in ["pods read 1,", "entries that are no pods 1", "no pod: entry 2: not JSON"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
}

/// `metadata.resourceVersion`, if it is a number.
fn version(pod: &Value) -> Option<u64> {
    pod["metadata"]["resourceVersion"].as_str()?.parse().ok()
}

#[test]
fn further_versions_of_real_pods_are_followed() {
    let Some(pods) = corpus::path("pods.ndjson") else { return };
    let options = Options {
        pods: Some(pods),
        clusters: 2,
        churn: 0,
        seed: 1,
        seconds: None,
        data: None,
        port: 0,
        metric_port: 0,
        v: 0,
    };
    let world = World::start(&options).unwrap();
    let config = world.synchronizer_config(&options).unwrap();
    let settings = Settings::from(&config);
    let service = Service::start(config).unwrap();
    await_equality(&world, &service, &settings);

    let mut living = HashMap::new();
    for cluster in &world.clusters {
        for document in world.storage.documents(&cluster.id) {
            let uid = document.data["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
            living.insert(uid, (cluster.id.clone(), version(&document.data)));
        }
    }
    let lines = corpus::lines("pods_more_versions.ndjson");
    let mut versions: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    versions.sort_by_key(version);
    let (mut newer, mut older, mut replaced) = (0, 0, 0);
    for pod in versions {
        match living.get(pod["metadata"]["uid"].as_str().unwrap_or_default()) {
            None => replaced += 1,
            // A pod never goes back, and the file holds moments before the other file's too.
            Some((_, known)) if version(&pod) < *known => older += 1,
            Some((cluster, _)) => {
                newer += 1;
                world.storage.put(cluster, pod).unwrap();
            }
        }
    }
    println!("versions: {newer} replayed, {older} older than the pod, {replaced} of replaced pods");
    await_equality(&world, &service, &settings);
    service.stop();
}

#[track_caller]
fn await_equality(world: &World, service: &Service, settings: &Settings) {
    let started = Instant::now();
    let source = service.source();
    loop {
        let verdict =
            world.verdict(settings, |cluster| source.rejected(cluster).unwrap_or_default()).unwrap();
        if verdict.is_equal() {
            return println!("{verdict}");
        }
        assert!(started.elapsed() < PATIENCE, "{verdict}");
        std::thread::sleep(Duration::from_millis(200));
    }
}
