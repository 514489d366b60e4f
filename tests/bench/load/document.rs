//! The Pods of the simulated clusters: one template, rendered by copying.
//!
//! The template is one document as the sandbox's bcs-storage shows it, whole and through the
//! service's projection, with marks where one pod differs from another.

use bcs_bkcmdb_synchronizer::convert::{Converter, Settings};
use bcs_bkcmdb_synchronizer::http::{Client, Method, Options, Request};
use bcs_bkcmdb_synchronizer::model::ClusterKind;
use bcs_bkcmdb_synchronizer::sandbox::storage::{Generation, SimStorage};
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::time::Duration;

const CLUSTER: &str = "~cluster~";
const RESTARTS: u64 = 987_654_321;

/// What differs between pods and their versions.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pod {
    /// Number of the cluster.
    pub cluster: u32,
    /// Number within the cluster: its name.
    pub number: u32,
    /// How often it was deleted and made anew.
    pub incarnation: u32,
    /// A change of this changes its record.
    pub restarts: u32,
    /// A change of this changes nothing that is recorded.
    pub noise: u32,
    pub alive: bool,
}

impl Pod {
    pub fn uuid(&self) -> String {
        format!("6d0cb7e0-4c8d-{:04x}-{:04x}-{:012x}", self.incarnation, self.cluster, self.number)
    }

    /// The document's `_id`: a pod made anew under its name keeps it.
    pub fn storage_id(&self) -> String {
        format!("{:012x}{:012x}", self.cluster, self.number)
    }

    pub fn name(&self) -> String {
        format!("web-{:06}", self.number)
    }
}

/// The id of a cluster by its number.
pub fn cluster_id(cluster: u32) -> String {
    format!("BCS-K8S-{:05}", 10_000 + cluster)
}

/// The number of a cluster by its id.
pub fn cluster_number(id: &str) -> Option<u32> {
    id.strip_prefix("BCS-K8S-")?.parse::<u32>().ok()?.checked_sub(10_000)
}

#[derive(Clone, Copy)]
enum Slot {
    Cluster,
    Id,
    Uuid,
    Name,
    Version,
    Restarts,
    Noise,
    Address,
}

const SLOTS: [(&str, Slot); 7] = [
    (CLUSTER, Slot::Cluster),
    ("~uuid~", Slot::Uuid),
    ("~name~", Slot::Name),
    ("~version~", Slot::Version),
    ("~noise~", Slot::Noise),
    ("10.255.255.254", Slot::Address),
    ("987654321", Slot::Restarts),
];

/// A document with slots: text, then slot, then text, and so on.
pub struct Template {
    parts: Vec<(String, Slot)>,
    end: String,
}

impl Template {
    fn new(text: &str, id: &str) -> Self {
        let slots: Vec<(&str, Slot)> = SLOTS.into_iter().chain([(id, Slot::Id)]).collect();
        let mut parts = Vec::new();
        let mut rest = text;
        let next = |rest: &str| {
            let found = slots.iter().filter_map(|(mark, slot)| Some((rest.find(mark)?, *mark, *slot)));
            found.min_by_key(|(at, ..)| *at).map(|(at, mark, slot)| (at, mark.len(), slot))
        };
        while let Some((at, length, slot)) = next(rest) {
            parts.push((rest[..at].to_owned(), slot));
            rest = &rest[at + length..];
        }
        Self { parts, end: rest.to_owned() }
    }

    /// Appends the document of a pod.
    pub fn render(&self, pod: &Pod, out: &mut Vec<u8>) {
        for (text, slot) in &self.parts {
            out.extend_from_slice(text.as_bytes());
            let value = match slot {
                Slot::Cluster => cluster_id(pod.cluster),
                Slot::Id => pod.storage_id(),
                Slot::Uuid => pod.uuid(),
                Slot::Name => pod.name(),
                Slot::Version => (1 + u64::from(pod.restarts) + u64::from(pod.noise)).to_string(),
                Slot::Restarts => pod.restarts.to_string(),
                Slot::Noise => pod.noise.to_string(),
                Slot::Address => {
                    format!("10.{}.{}.{}", pod.cluster % 250, pod.number / 250 % 250, pod.number % 250)
                }
            };
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(self.end.as_bytes());
    }
}

/// The two ways the storage shows a document.
pub struct Templates {
    /// As an event or a point read has it.
    pub whole: Template,
    /// As a listing with the service's projection has it.
    pub projected: Template,
}

impl Templates {
    pub fn new() -> Self {
        let storage = SimStorage::new(1);
        storage.add_cluster(CLUSTER, ClusterKind::K8s, Generation::Old);
        storage.put(CLUSTER, pod()).expect("a sound pod");
        let server = storage.serve(TcpListener::bind("127.0.0.1:0").expect("a free port")).expect("a thread");
        let list = |fields: &str| {
            let path = "/bcsstorage/v1/k8s/dynamic/all_resources/clusters/~cluster~/Pod";
            let document = fetch(&format!("{}{path}?limit=1&field={fields}", server.url()));
            let id = document["_id"].as_str().expect("every document has an _id").to_owned();
            Template::new(&document.to_string(), &id)
        };
        Self { whole: list(""), projected: list(converter().projection()) }
    }
}

/// A converter with the default settings.
pub fn converter() -> Converter {
    let settings = Settings {
        cloud_id: 0,
        time_zone: TimeZone::UTC,
        text_limit: 2000,
        default_set: "bkbcs".into(),
        default_module: "bkbcs".into(),
    };
    Converter::new(ClusterKind::K8s, settings)
}

fn fetch(url: &str) -> Value {
    let request = Request {
        method: Method::Get,
        url,
        headers: &[],
        body: None,
        timeout: Some(Duration::from_secs(10)),
        idle_timeout: None,
    };
    let answer = Client::new(&Options::default()).send(&request).expect("the sandbox answers");
    let bytes = answer.bytes(1 << 20).expect("a whole answer");
    let mut answer: Value = serde_json::from_slice(&bytes).expect("JSON");
    answer["data"][0].take()
}

/// A Pod of 6 KB, as the ones of real clusters: two containers, an environment, conditions, and
/// what the API server remembers about who set which field.
pub fn pod() -> Value {
    let container = |name: &str| {
        json!({"name": name, "image": format!("registry.local/shop/{name}:1.0.7"),
            "env": (0..12).map(|n| json!({"name": format!("SETTING_{n}"), "value": format!("the value of setting {n}")}))
                .collect::<Vec<_>>(),
            "ports": [{"containerPort": 8080, "name": "http", "protocol": "TCP"}],
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m", "memory": "256Mi"}},
            "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 10},
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5, "failureThreshold": 3},
            "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "runAsUser": 1000},
            "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
            "volumeMounts": [{"mountPath": "/etc/shop", "name": "config"}], "imagePullPolicy": "IfNotPresent"})
    };
    let status = |name: &str, restarts: u64| {
        json!({"name": name, "ready": true, "restartCount": restarts, "image": format!("registry.local/shop/{name}:1.0.7"),
            "imageID": format!("registry.local/shop/{name}@sha256:{}", "4d".repeat(32)),
            "containerID": "containerd://4dfa225b83417c3e8d1f6f3f4b0e", "lastState": {},
            "state": {"running": {"startedAt": "2026-01-05T08:00:03Z"}}})
    };
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastProbeTime": "~noise~", "lastTransitionTime": "2026-01-05T08:00:03Z"});
    let conditions = ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(condition);
    let managed = |manager: &str| {
        let fields: Value =
            (0..8).map(|n| (format!("f:field{n}"), json!({"f:value": {}, "f:name": {}}))).collect();
        json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "fieldsV1": {"f:spec": fields}})
    };
    let toleration = |what: &str| {
        json!({"effect": "NoExecute", "operator": "Exists", "key": format!("node.kubernetes.io/{what}"),
            "tolerationSeconds": 300})
    };
    let tolerations = ["not-ready", "unreachable"].map(toleration);
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "~name~", "namespace": "shop", "uid": "~uuid~", "resourceVersion": "~version~",
            "creationTimestamp": "2026-01-05T08:00:00Z", "generateName": "web-",
            "labels": {"app": "web", "tier": "front", "pod-template-hash": "6d4b75cb6d"},
            "annotations": {"io.tencent.bcs.clusterid": CLUSTER, "checksum/config": "4d".repeat(32)},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d4b75cb6d",
                                 "uid": "0f1e2d3c", "controller": true}],
            "managedFields": [managed("controller-manager"), managed("kubelet")]
        },
        "spec": {
            "nodeName": "node-1", "hostNetwork": false, "containers": [container("web"), container("log")],
            "volumes": [{"name": "config", "configMap": {"name": "shop"}}], "schedulerName": "default-scheduler",
            "dnsPolicy": "ClusterFirst", "restartPolicy": "Always", "serviceAccountName": "shop", "priority": 0,
            "terminationGracePeriodSeconds": 30, "preemptionPolicy": "PreemptLowerPriority",
            "tolerations": tolerations
        },
        "status": {
            "phase": "Running", "hostIP": "10.0.0.1", "podIP": "10.255.255.254", "qosClass": "Burstable",
            "startTime": "2026-01-05T08:00:01Z",
            "conditions": conditions,
            "containerStatuses": [status("web", RESTARTS), status("log", 0)]
        }
    })
}
