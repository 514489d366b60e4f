//! What monitoring rests on: the metrics of the service at work, as Prometheus' own tool and a real
//! Prometheus see them, and the alerts and the dashboard that are built on them.

#![allow(clippy::unwrap_used)] // Helpers of tests fail by panicking.

mod container;
mod prometheus;
#[path = "common/python.rs"]
mod python;
mod world;

use bcs_bkcmdb_synchronizer::sandbox::storage::Generation;
use bcs_bkcmdb_synchronizer::sync::snapshot::Control;
use prometheus::{Prometheus, promtool};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use world::{CLUSTER, World, pods};

const ALERTS: &str = include_str!("../packaging/prometheus/alerts.yml");
const DASHBOARD_FILE: &str = "packaging/grafana/bkcmdb-synchronizer.json";
const DASHBOARD: &str = include_str!("../packaging/grafana/bkcmdb-synchronizer.json");

/// The metrics of interface.md 4, `paused`, `unusable_records`, and those of the ports, each with its type and labels.
const INTERFACE: [(&str, &str, &[&str]); 30] = [
    ("build_info", "gauge", &["version"]),
    ("is_master", "gauge", &[]),
    ("coordination_up", "gauge", &[]),
    ("assigned_clusters", "gauge", &[]),
    ("reassignments_total", "counter", &[]),
    ("events_total", "counter", &["cluster", "type"]),
    ("event_queue_length", "gauge", &["cluster"]),
    ("sender_queue_length", "gauge", &["cluster"]),
    ("sync_lag_seconds", "histogram", &["cluster"]),
    ("full_sync_duration_seconds", "histogram", &["cluster"]),
    ("full_sync_last_success_timestamp_seconds", "gauge", &["cluster"]),
    ("full_sync_changes_total", "counter", &["cluster", "action"]),
    ("pods", "gauge", &["cluster", "side"]),
    ("rejected_pods", "gauge", &["cluster"]),
    ("watch_connected", "gauge", &["cluster"]),
    ("watch_reconnects_total", "counter", &["cluster"]),
    ("cmdb_requests_total", "counter", &["operation", "outcome"]),
    ("cmdb_request_duration_seconds", "histogram", &["operation"]),
    ("storage_requests_total", "counter", &["operation", "outcome"]),
    ("paas_requests_total", "counter", &["operation", "outcome"]),
    ("zookeeper_sessions_total", "counter", &[]),
    ("writes_refused_by_fence_total", "counter", &[]),
    ("watch_missed_total", "counter", &["cluster"]),
    ("held_back_deletes", "gauge", &["cluster"]),
    ("paused", "gauge", &["cluster"]),
    ("unusable_records", "gauge", &["cluster"]),
    ("port_connections", "gauge", &["port"]),
    ("port_accepted_total", "counter", &["port"]),
    ("port_refused_total", "counter", &["port", "reason"]),
    ("port_panics_total", "counter", &["port"]),
];
/// Those of which an instance that is alone and reads a file has no sample.
const WITHOUT_SAMPLES: [&str; 1] = ["paas_requests_total"];

/// A world that has written by full sync and by event.
fn at_work() -> World {
    let mut world = World::single(Generation::New);
    world.put(pods::pod("by-full-sync", 1));
    // No full sync that is still to come finds it before its event does.
    world.start_and_settle();
    world.put(pods::pod("by-event", 2));
    world.wait("the event is written", |world| world.status(CLUSTER).pods.cmdb == 2);
    world
}

fn metric_addr(world: &World) -> SocketAddr {
    world.service.as_ref().unwrap().metric_addr()
}

/// A scrape without a wish for a format, as `curl` does it.
fn scrape(addr: SocketAddr) -> String {
    let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
    let mut answer = agent.get(format!("http://{addr}/metrics")).call().unwrap();
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    answer.body_mut().read_to_string().unwrap()
}

/// Types by name.
fn types(scrape: &str) -> BTreeMap<&str, &str> {
    scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

/// The metrics of ours that a text names, as they are called in the `TYPE` lines.
fn named(text: &str, types: &BTreeMap<&str, &str>) -> BTreeSet<String> {
    let pattern = regex::Regex::new(r"\b(bkcmdb_sync|process)_[a-z_]+\b").unwrap();
    let family = |name: &str| {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        match of_histogram {
            Some(base) if types.get(base) == Some(&"histogram") => base.to_owned(),
            _ => name.to_owned(),
        }
    };
    pattern.find_iter(text).map(|found| family(found.as_str())).collect()
}

/// Every expression of the dashboard, with its variables filled in.
fn dashboard_expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().clone();
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let filled = |target: &Value| {
        let text = target["expr"].as_str().unwrap();
        text.replace("$__rate_interval", "1m").replace("$job", ".*").replace("$cluster", ".*")
    };
    targets.map(filled).collect()
}

/// The query for the values of a variable of the dashboard, other variables filled in.
fn dashboard_variable(name: &str) -> String {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let variables = dashboard["templating"]["list"].as_array().unwrap();
    let variable = variables.iter().find(|variable| variable["name"] == name).unwrap();
    variable["query"]["query"].as_str().unwrap().replace("$job", ".*")
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[track_caller]
fn check_lint(scrape: &str) {
    let output = promtool(&["check", "metrics"], scrape);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn promtool_has_nothing_to_say_about_the_metrics() {
    let world = at_work();
    check_lint(&scrape(metric_addr(&world)));
    let server = container::Server::start(json!({}));
    server.caller.create(2, &container::pod("web-0"));
    let scrape = scrape(server.server.as_ref().unwrap().metric_addr());
    check_lint(&scrape);
    // And the handbook has each of them.
    let handbook = include_str!("../src/container_server/README.md");
    let ours: Vec<_> =
        types(&scrape).into_keys().filter(|name| name.starts_with("bkcmdb_container_")).collect();
    assert!(ours.len() >= 11, "{ours:?}");
    for name in ours {
        assert!(handbook.contains(&format!("`{name}")), "{name} is not in the handbook");
    }
}

#[test]
fn every_metric_of_the_interface_is_there_with_its_type_and_labels() {
    let world = at_work();
    let scrape = scrape(metric_addr(&world));
    let types = types(&scrape);
    for (name, kind, labels) in INTERFACE {
        let name = format!("bkcmdb_sync_{name}");
        assert_eq!(types.get(name.as_str()), Some(&kind), "{name}");
        assert!(scrape.contains(&format!("# HELP {name} ")), "{name} has no help");
        if WITHOUT_SAMPLES.iter().any(|without| name.ends_with(without)) {
            continue;
        }
        let sample = scrape.lines().find(|line| line.starts_with(&name)).unwrap_or_else(|| panic!("{name}"));
        for label in labels {
            assert!(sample.contains(&format!("{label}=\"")), "{label} is missing: {sample}");
        }
    }
    // And the README has this table of them.
    let table = table(&scrape, &types);
    assert!(include_str!("../README.md").contains(&table), "the README lacks this table:\n{table}");
}

#[test]
fn a_paused_cluster_is_told_from_one_that_stalls() {
    let world = at_work();
    let sample = |value: u8| format!("bkcmdb_sync_paused{{cluster=\"{CLUSTER}\"}} {value}");
    for (control, value) in [(Control::Pause, 1), (Control::Resume, 0)] {
        world.control(control);
        let scrape = scrape(metric_addr(&world));
        assert!(scrape.contains(&sample(value)), "{control:?}");
    }
}

/// The metrics of ours, as the README has to show them.
fn table(scrape: &str, types: &BTreeMap<&str, &str>) -> String {
    let mut table = String::from("| metric | type | meaning |\n|---|---|---|\n");
    for (name, help) in scrape.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' ')) {
        let Some(short) = name.strip_prefix("bkcmdb_sync_") else { continue };
        let labels = INTERFACE.iter().find(|(known, ..)| *known == short).map_or("".into(), |(_, _, all)| {
            if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
        });
        table += &format!("| `{short}{labels}` | {} | {} |\n", types[name], help.trim_end_matches('.'));
    }
    table
}

#[test]
fn the_alerts_and_the_dashboard_name_only_metrics_that_exist() {
    let world = at_work();
    let scrape = scrape(metric_addr(&world));
    let types = types(&scrape);
    for (whose, text) in [("alerts", ALERTS), ("dashboard", DASHBOARD)] {
        let named = named(text, &types);
        assert!(named.len() >= 10, "{named:?}");
        for name in named {
            assert!(types.contains_key(name.as_str()), "the {whose} name {name}, which does not exist");
        }
    }
    let shown = named(DASHBOARD, &types);
    for (name, ..) in INTERFACE {
        assert!(shown.contains(&format!("bkcmdb_sync_{name}")), "the dashboard does not show {name}");
    }
}

#[test]
fn grafana_s_own_types_take_the_whole_dashboard() {
    let python =
        python::programs("grafana", &repository("tests/prometheus/requirements.txt")).join("python3");
    let mut read = Command::new(python);
    read.arg(repository("tests/prometheus/dashboard.py")).arg(repository(DASHBOARD_FILE));
    python::run(&mut read, "the dashboard has what Grafana does not know");
}

#[test]
fn the_panels_of_the_dashboard_have_numbers_places_and_a_source_of_their_own() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let numbers: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(numbers.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in panels {
        let place = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        let cells = (place("y")..place("y") + place("h"))
            .flat_map(|row| (place("x")..place("x") + place("w")).map(move |column| (row, column)));
        for cell in cells {
            assert!(cell.1 < 24 && taken.insert(cell), "{} lies on another panel", panel["title"]);
        }
        let shows = panel["type"] != "row";
        assert!(!shows || panel["datasource"]["uid"] == "${datasource}", "{}", panel["title"]);
    }
}

#[test]
fn each_alert_fires_when_it_should_and_not_when_all_is_well() {
    for arguments in [
        ["check", "rules", "packaging/prometheus/alerts.yml"],
        ["test", "rules", "tests/prometheus/alerts.yml"],
    ] {
        let output = promtool(&arguments, "");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
    let cases = include_str!("prometheus/alerts.yml");
    for alert in ALERTS.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let fires = cases
            .split("- eval_time:")
            .any(|case| case.contains(&format!("alertname: {alert}\n")) && case.contains("exp_labels"));
        let rests = cases.contains(&format!("alertname: {alert}, exp_alerts: []"));
        assert!(fires && rests, "{alert} lacks a case");
    }
}

#[test]
fn a_real_prometheus_scrapes_evaluates_and_alerts() {
    let mut world = at_work();
    let prometheus = Prometheus::start(metric_addr(&world), &repository("packaging/prometheus/alerts.yml"));
    prometheus.wait_for("up{job='bkcmdb-synchronizer'} == 1");
    prometheus.wait_for("bkcmdb_sync_pods{cluster='BCS-K8S-00001',side='cmdb'} == 2");
    prometheus.wait_for("bkcmdb_sync_sync_lag_seconds_count{cluster='BCS-K8S-00001'} == 1");
    prometheus.wait_for("histogram_quantile(0.95, bkcmdb_sync_sync_lag_seconds_bucket) > 0");
    for (name, kind, _) in INTERFACE {
        let samples = format!("{{__name__=~'bkcmdb_sync_{name}(_bucket)?'}}");
        let without = WITHOUT_SAMPLES.contains(&name);
        assert!(without || !prometheus.query(&samples).is_empty(), "{name} ({kind}) was not stored");
    }
    let expressions = dashboard_expressions();
    assert!(expressions.len() > 30, "{}", expressions.len());
    for expression in &expressions {
        prometheus.query(expression);
    }
    let chosen = regex::Regex::new(r"^label_values\((.+), (\w+)\)$").unwrap();
    for variable in ["job", "cluster"] {
        let query = dashboard_variable(variable);
        let parts = chosen.captures(&query).unwrap();
        let values = prometheus.query(&format!("count by ({}) ({})", &parts[2], &parts[1]));
        assert_eq!(values.len(), 1, "{variable}: {values:?}");
    }
    let difference = expressions.iter().find(|expression| expression.contains("abs(")).unwrap();
    assert_eq!(prometheus.query(difference), Vec::<Value>::new(), "both sides are equal");

    // A fault reaches the alert it belongs to.
    world.kill_storage();
    prometheus
        .wait_for("ALERTS{alertname='BkcmdbSyncWatchDown',alertstate='pending',cluster='BCS-K8S-00001'}");
    let rules = prometheus.get("rules", &[]);
    for rule in rules["groups"][0]["rules"].as_array().unwrap() {
        assert_eq!(rule["health"], "ok", "{}: {}", rule["name"], rule["lastError"]);
    }
}
