//! Invented pods and taskgroups: applications with owners, labels, annotations and states.

use super::edit::{host_ip, pod_ip, suffix, uuid};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

/// Sets and modules of the sandbox's businesses beside the default one; every third application
/// names one of them in its annotations.
pub(in crate::sandbox) const MODULES: [(&str, &str); 3] =
    [("shop", "frontend"), ("shop", "backend"), ("platform", "monitoring")];

/// Annotations that place a pod.
const SET_ANNOTATION: &str = "set.bkcmdb.bkbcs.tencent.com";
const MODULE_ANNOTATION: &str = "module.bkcmdb.bkbcs.tencent.com";

const NAMES: [&str; 12] = [
    "checkout",
    "catalog",
    "inventory",
    "gateway",
    "ledger",
    "mailer",
    "search",
    "session",
    "metrics",
    "images",
    "quotes",
    "billing",
];
const NAMESPACES: [&str; 5] = ["default", "shop", "payments", "monitoring", "kube-system"];

/// What owns the pods of an application.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owner {
    Deployment,
    StatefulSet,
    DaemonSet,
    Job,
    Nobody,
}

struct App {
    name: String,
    namespace: &'static str,
    owner: Owner,
    hash: String,
    annotations: Map<String, Value>,
    host_network: bool,
}

/// `count` Kubernetes Pods.
pub(super) fn pods(rng: &mut fastrand::Rng, count: usize, now: Timestamp) -> Vec<Value> {
    let mut pods = Vec::with_capacity(count);
    for number in 0.. {
        if pods.len() >= count {
            break;
        }
        let app = app(rng, number);
        let replicas = rng.usize(1..12).min(count - pods.len());
        pods.extend((0..replicas).map(|ordinal| pod(rng, &app, ordinal, now)));
    }
    pods
}

fn app(rng: &mut fastrand::Rng, number: usize) -> App {
    let owner = match rng.u8(..10) {
        0..5 => Owner::Deployment,
        5..7 => Owner::StatefulSet,
        7 => Owner::DaemonSet,
        8 => Owner::Job,
        _ => Owner::Nobody,
    };
    let name = format!("{}-{number}", NAMES[number % NAMES.len()]);
    let annotations = annotations(rng, &name, number);
    App {
        namespace: NAMESPACES[rng.usize(..NAMESPACES.len())],
        owner,
        hash: format!("{:08x}", rng.u32(..)),
        annotations,
        host_network: owner == Owner::DaemonSet && rng.bool(),
        name,
    }
}

fn annotations(rng: &mut fastrand::Rng, name: &str, number: usize) -> Map<String, Value> {
    let mut annotations = Map::new();
    if number.is_multiple_of(3) {
        let (set, module) = MODULES[number / 3 % MODULES.len()];
        annotations.insert(SET_ANNOTATION.into(), set.into());
        annotations.insert(MODULE_ANNOTATION.into(), module.into());
    }
    match rng.u8(..20) {
        // White space, which a strict CMDB refuses: one entry in two of these goes.
        0..3 => {
            annotations.insert("description".into(), format!("the {name} of the shop").into());
            annotations.insert("team".into(), "blue".into());
        }
        // More than the 2000 bytes a long field may have.
        3 => {
            let filler = "x".repeat(rng.usize(2100..4000));
            annotations.insert("kubectl.kubernetes.io/last-applied-configuration".into(), filler.into());
        }
        4..12 => drop(annotations.insert("prometheus.io/scrape".into(), "true".into())),
        _ => {}
    }
    annotations
}

/// Where a pod is in its life.
fn phase(rng: &mut fastrand::Rng, owner: Owner) -> &'static str {
    match (owner, rng.u8(..20)) {
        (Owner::Job, 0..12) => "Succeeded",
        (Owner::Job, 12..15) | (_, 0) => "Failed",
        (_, 1..3) => "Pending",
        _ => "Running",
    }
}

fn pod(rng: &mut fastrand::Rng, app: &App, ordinal: usize, now: Timestamp) -> Value {
    let name = match app.owner {
        Owner::Deployment => format!("{}-{}-{}", app.name, app.hash, suffix(rng)),
        Owner::StatefulSet => format!("{}-{ordinal}", app.name),
        Owner::DaemonSet | Owner::Job => format!("{}-{}", app.name, suffix(rng)),
        Owner::Nobody => format!("{}-bare-{ordinal}", app.name),
    };
    let phase = phase(rng, app.owner);
    let age = SignedDuration::from_secs(rng.i64(60..2_000_000));
    let created = now.checked_sub(age).unwrap_or(now).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let mut metadata = json!({
        "name": name, "namespace": app.namespace, "uid": uuid(rng),
        "resourceVersion": rng.u32(1000..5_000_000).to_string(),
        "creationTimestamp": created,
        "labels": {"app": app.name, "pod-template-hash": app.hash},
    });
    if !app.annotations.is_empty() {
        metadata["annotations"] = app.annotations.clone().into();
    }
    if let Some(owner) = owner_reference(app) {
        metadata["ownerReferences"] = json!([owner]);
    }
    let mut status = json!({"phase": phase, "qosClass": "Burstable",
        "conditions": [{"type": "Ready", "status": if phase == "Running" { "True" } else { "False" }}]});
    // Half of the pending pods have no host yet.
    if phase != "Pending" || rng.bool() {
        let host = host_ip(rng);
        status["podIP"] = if app.host_network { host.as_str().into() } else { pod_ip(rng).into() };
        status["hostIP"] = host.into();
        status["startTime"] = created.into();
        status["containerStatuses"] = json!([container_status(rng, app, phase)]);
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec(rng, app), "status": status})
}

fn owner_reference(app: &App) -> Option<Value> {
    let (kind, name) = match app.owner {
        Owner::Deployment => ("ReplicaSet", format!("{}-{}", app.name, app.hash)),
        Owner::StatefulSet => ("StatefulSet", app.name.clone()),
        Owner::DaemonSet => ("DaemonSet", app.name.clone()),
        Owner::Job => ("Job", app.name.clone()),
        Owner::Nobody => return None,
    };
    Some(json!({"apiVersion": "apps/v1", "kind": kind, "name": name, "controller": true}))
}

fn container_status(rng: &mut fastrand::Rng, app: &App, phase: &str) -> Value {
    let state = match phase {
        "Running" => json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}),
        "Pending" => json!({"waiting": {"reason": "ContainerCreating"}}),
        "Failed" => json!({"terminated": {"exitCode": 1, "reason": "Error"}}),
        _ => json!({"terminated": {"exitCode": 0, "reason": "Completed"}}),
    };
    json!({"name": "main", "image": image(app), "ready": phase == "Running", "restartCount": rng.u8(..4),
        "containerID": format!("containerd://{:016x}{:016x}", rng.u64(..), rng.u64(..)), "state": state})
}

fn image(app: &App) -> String {
    format!("registry.example/{}:1.{}", app.name, app.hash.len())
}

fn spec(rng: &mut fastrand::Rng, app: &App) -> Value {
    let mut spec = json!({
        "containers": [{"name": "main", "image": image(app),
            "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
            "env": [{"name": "MODE", "value": "production"}]}],
        "nodeName": format!("node-{}", rng.u8(1..60)), "restartPolicy": "Always",
        "volumes": [{"name": "config", "configMap": {"name": format!("{}-config", app.name)}},
            {"name": "scratch", "emptyDir": {}}],
    });
    if app.host_network {
        spec["hostNetwork"] = true.into();
    }
    if app.owner == Owner::StatefulSet {
        let claim =
            json!({"name": "data", "persistentVolumeClaim": {"claimName": format!("data-{}", app.name)}});
        spec["volumes"].as_array_mut().into_iter().for_each(|volumes| volumes.push(claim.clone()));
    }
    spec
}

/// `count` Mesos taskgroups of one cluster.
pub(super) fn taskgroups(rng: &mut fastrand::Rng, cluster: &str, count: usize, now: Timestamp) -> Vec<Value> {
    let number = cluster.rsplit('-').next().unwrap_or_default();
    (0..count).map(|index| taskgroup(rng, number, index, now)).collect()
}

fn taskgroup(rng: &mut fastrand::Rng, cluster: &str, index: usize, now: Timestamp) -> Value {
    let app = format!("{}-{}", NAMES[index % NAMES.len()], index / NAMES.len());
    let namespace = NAMESPACES[index % NAMESPACES.len()];
    let started = now.checked_sub(SignedDuration::from_secs(rng.i64(60..900_000))).unwrap_or(now).to_string();
    let mode = ["BRIDGE", "HOST", "cni"][index % 3];
    let mut group = json!({
        "metadata": {
            "name": format!("{index}.{app}.{namespace}.{cluster}.{}", rng.u64(1 << 60..1 << 61)),
            "namespace": namespace, "labels": {"app": app}, "creationTimestamp": started,
            "annotations": annotations(rng, &app, index),
        },
        "rcname": app, "kind": "Application", "status": "Running", "lastStatus": "Starting",
        "hostIP": "", "hostName": "", "podIP": "", "message": "pod is running",
        "startTime": started, "lastUpdateTime": started, "reportTime": started,
        "containerStatuses": [{"name": "main", "containerID": format!("{:032x}", rng.u128(..)),
            "status": "Running", "lastStatus": "Starting", "image": format!("registry.example/{app}:1"),
            "networkMode": mode, "restartCount": 0, "finishTime": "0001-01-01T00:00:00Z",
            "containerPort": [{"name": "http", "hostPort": 31000, "containerPort": 8080,
                "hostIP": "", "protocol": "http"}],
            "resources": {}}],
    });
    // Some are still being placed.
    if rng.u8(..20) > 0 {
        group["hostIP"] = host_ip(rng).into();
        group["podIP"] = pod_ip(rng).into();
    } else {
        group["status"] = "Staging".into();
        group["startTime"] = "0001-01-01T00:00:00Z".into();
    }
    group
}
