//! Pods as small as they can be and still be recorded.

use serde_json::{Value, json};

/// Where all of them are.
pub const NAMESPACE: &str = "default";

/// A running pod whose uid is `uid-NAME`.
pub fn pod(name: &str, version: u64) -> Value {
    pod_with_uid(name, &format!("uid-{name}"), version)
}

/// A running pod.
pub fn pod_with_uid(name: &str, uid: &str, version: u64) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": NAMESPACE, "uid": uid, "resourceVersion": version.to_string(),
            "creationTimestamp": "2026-11-22T08:00:00Z", "labels": {"app": "web"},
            "annotations": {"team": "core"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "web", "controller": true}],
        },
        "spec": {"containers": [{"name": "main", "image": "web:1"}], "volumes": []},
        "status": {
            "phase": "Running", "hostIP": "10.0.0.1", "podIP": "172.20.0.9",
            "startTime": "2026-11-22T08:00:01Z",
        },
    })
}

/// The same pod with the value at a JSON pointer set; the place must exist but for its last step.
pub fn with(mut pod: Value, pointer: &str, value: impl Into<Value>) -> Value {
    let (parent, key) = pointer.rsplit_once('/').expect("a JSON pointer");
    pod.pointer_mut(parent).expect("the parent exists")[key] = value.into();
    pod
}

/// The same pod in another phase.
pub fn phase(pod: Value, phase: &str) -> Value {
    with(pod, "/status/phase", phase)
}

/// A taskgroup.
pub fn taskgroup(name: &str, status: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": {"app": "web"}, "annotations": {},
            "creationTimestamp": "2026-11-22T08:00:00Z"},
        "rcname": "web", "status": status, "hostIP": "10.0.0.2", "podIP": "172.20.0.8",
        "startTime": "2026-11-22T08:00:01Z", "kind": "application",
        "containerStatuses": [{"name": "c", "containerID": "x", "status": status, "networkMode": "bridge"}],
    })
}
