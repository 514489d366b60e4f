//! Records as a large installation has them.

use serde_json::{Value, json};

/// Pods of one create-many call.
pub const PODS_PER_CALL: usize = 100;
/// Pods of a cluster.
const CLUSTER: usize = 20_000;
/// Pods of a host.
const HOST: usize = 25;
/// Pods of a workload.
const WORKLOAD: usize = 10;
/// Pods, spread over all that are loaded, that share one host and one workload: more than a page.
const CROWD: usize = 600;
/// Number of that host and of that workload; no other has it.
const CROWDED: usize = 999_999;
/// Fewer would not make a page for each module.
const LEAST: usize = 20_000;
/// Modules beside the default one.
const MODULES: usize = 20;
/// Where every second pod is, as it is where nobody annotates pods.
const DEFAULT_MODULE: usize = 100;

/// What the n-th page is asked for.
pub type Rules = fn(&Load, usize) -> Value;

/// So many pods; each is the same in every run.
pub struct Load {
    pub pods: usize,
}

impl Load {
    pub fn new(pods: usize) -> Self {
        assert!(pods >= LEAST, "at least {LEAST} pods, please");
        Self { pods }
    }

    pub fn topology(&self) -> Value {
        let modules: Vec<_> = (0..=MODULES)
            .map(|module| json!({"bk_module_id": DEFAULT_MODULE + module, "bk_module_name": format!("m{module}")}))
            .collect();
        let set = json!({"bk_set_id": 10, "bk_set_name": "bkbcs", "modules": modules});
        json!({"businesses": [{"bk_biz_id": 2, "bk_biz_name": "demo", "sets": [set]}]})
    }

    /// Body of the n-th create-many call.
    pub fn create_many(&self, call: usize) -> String {
        let pods: Vec<_> = (0..PODS_PER_CALL).map(|pod| self.pod(call * PODS_PER_CALL + pod)).collect();
        format!("{{\"pod_list\":[{}]}}", pods.join(","))
    }

    /// Body of a create call for the n-th pod.
    pub fn create(&self, n: usize) -> String {
        format!("{{\"pod\":{}}}", self.pod(n))
    }

    /// Body of the n-th update call: some pod, a new status and address.
    pub fn update(&self, n: usize) -> String {
        let data = json!({"bk_pod_status": format!("Running {n}"), "bk_pod_ip": address(n)});
        json!({"condition": {"bk_pod_uuid": uuid(self.some(n)), "bk_pod_cluster": cluster(self.some(n))}, "data": data})
            .to_string()
    }

    /// What pages are read by: in words, and the filter.
    pub fn selections(&self) -> [(&'static str, Rules); 8] {
        [
            ("cluster", |load, n| all([equal("bk_pod_cluster", json!(cluster(load.some(n))))])),
            ("cluster, from an id on", |load, n| {
                let after = load.some(n) / CLUSTER * CLUSTER;
                let after = json!({"field": "bk_pod_id", "operator": "greater", "value": after});
                all([equal("bk_pod_cluster", json!(cluster(load.some(n)))), after])
            }),
            ("module", |load, n| all([equal("bk_module_id", json!(module(load.some(n) | 1)))])),
            ("the module half the pods are in", |_, _| all([equal("bk_module_id", json!(DEFAULT_MODULE))])),
            ("set, of 21 modules", |_, _| json!({"bk_set_ids": [10]})),
            ("nothing but the business", |_, _| json!({})),
            ("host IP", |_, _| all([equal("bk_host_innerip", json!(address(CROWDED)))])),
            ("workload", |_, _| {
                let name = equal("bk_pod_workloadname", json!(workload(CROWDED)));
                all([name, equal("bk_pod_workloadtype", json!("Deployment"))])
            }),
        ]
    }

    /// A filter on a field that has no index.
    pub fn without_index(&self, n: usize) -> Value {
        all([equal("bk_pod_namespace", json!(namespace(self.some(n))))])
    }

    /// One of the stored pods, scattered.
    fn some(&self, n: usize) -> usize {
        n.wrapping_mul(7_919_081) % self.pods
    }

    /// About 1.2 KB, as records of real pods are.
    fn pod(&self, n: usize) -> String {
        let step = self.pods / CROWD;
        let crowded = n.is_multiple_of(step) && n / step < CROWD;
        let (host, workload) =
            if crowded { (CROWDED, workload(CROWDED)) } else { (n / HOST, workload(n / WORKLOAD)) };
        let name = format!("{workload}-6d4b75cb6d-{n:07}");
        json!({
            "bk_module_id": module(n), "bk_cloud_id": 0, "bk_host_innerip": address(host),
            "bk_pod_name": name, "bk_pod_namespace": namespace(n), "bk_pod_cluster": cluster(n),
            "bk_pod_clustertype": "k8s", "bk_pod_uuid": uuid(n), "bk_pod_workloadtype": "Deployment",
            "bk_pod_workloadname": workload,
            "bk_pod_labels": format!("{{\"app\":\"{workload}\",\"pod-template-hash\":\"6d4b75cb6d\"}}"),
            "bk_pod_annotations": "{\"prometheus.io/port\":\"8080\",\"prometheus.io/scrape\":\"true\"}",
            "bk_pod_ip": address(n), "bk_pod_networkmode": "cni", "bk_pod_networktype": "cni",
            "bk_pod_containers": format!("{{\"containers\":[{{\"name\":\"main\",\"image\":\"registry.example/shop/{workload}:1.2.3\",\
                \"ports\":[{{\"containerPort\":8080}}],\"resources\":{{\"limits\":{{\"cpu\":\"1\",\"memory\":\"1Gi\"}}}}}}],\
                \"containerStatuses\":[{{\"name\":\"main\",\"ready\":true,\"restartCount\":0,\"containerID\":\"containerd://{n:064x}\",\
                \"state\":{{\"running\":{{\"startedAt\":\"2026-01-05T08:00:00Z\"}}}}}}]}}"),
            "bk_pod_volumes": "[{\"name\":\"config\",\"type\":\"configMap\",\"source\":\"config\"}]",
            "bk_pod_status": "Running", "bk_pod_create_time": "2026-01-05 08:00:00",
            "bk_pod_start_time": "2026-01-05 08:00:01",
        })
        .to_string()
    }
}

fn equal(field: &str, value: Value) -> Value {
    json!({"field": field, "operator": "equal", "value": value})
}

fn all<const N: usize>(rules: [Value; N]) -> Value {
    json!({"pod_property_filter": {"condition": "AND", "rules": rules.to_vec()}})
}

fn cluster(n: usize) -> String {
    format!("BCS-K8S-{:05}", n / CLUSTER)
}

fn namespace(n: usize) -> String {
    format!("team-{}", n / WORKLOAD % 100)
}

fn workload(workload: usize) -> String {
    format!("service-{workload:06}")
}

fn module(n: usize) -> usize {
    if n.is_multiple_of(2) { DEFAULT_MODULE } else { DEFAULT_MODULE + 1 + n / 2 % MODULES }
}

/// As random as a real one: neighbours in time are not neighbours in the index.
fn uuid(n: usize) -> String {
    let mixed = (n as u128 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let text = format!("{mixed:032x}");
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

fn address(n: usize) -> String {
    format!("10.{}.{}.{}", n >> 16 & 255, n >> 8 & 255, n & 255)
}
