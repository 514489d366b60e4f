//! How fast one thread turns storage documents into records: `cargo bench --bench convert`.
//!
//! Over the real pods where they are at hand, else over one written here. Prints MB of JSON a
//! second, the best of several rounds, since whatever else runs on the machine only adds time.

#[path = "../corpus/mod.rs"]
mod corpus;

use std::hint::black_box;
use std::time::Instant;

use bcs_bkcmdb_synchronizer::convert::{Converter, Settings};
use bcs_bkcmdb_synchronizer::model::{ClusterKind, Modules};
use jiff::tz::TimeZone;

const ROUNDS: usize = 10;

fn main() {
    let mut pods = corpus::lines("pods.ndjson");
    if pods.is_empty() {
        pods = (0..1000).map(written_pod).collect();
    }
    let documents: Vec<Vec<u8>> = pods.iter().enumerate().map(|(index, pod)| document(index, pod)).collect();
    let settings = Settings {
        cloud_id: 0,
        time_zone: TimeZone::get("Asia/Shanghai").unwrap_or(TimeZone::UTC),
        text_limit: 2000,
        default_set: "bkbcs".into(),
        default_module: "bkbcs".into(),
    };
    let converter = Converter::new(ClusterKind::K8s, settings);
    let modules = Modules::default();
    let bytes: usize = documents.iter().map(Vec::len).sum();
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for document in &documents {
            black_box(converter.document(black_box(document), &modules)).ok();
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    let count = documents.len();
    println!(
        "{count} documents of {} bytes: {:.0} MB/s, {:.1} µs each",
        bytes / count,
        bytes as f64 / best / 1e6,
        best * 1e6 / count as f64
    );
}

fn document(index: usize, pod: &str) -> Vec<u8> {
    let envelope = format!(r#""_id":"{index:024x}","clusterId":"BCS-K8S-00001","resourceType":"Pod""#);
    format!(r#"{{{envelope},"namespace":"n","resourceName":"p","data":{pod}}}"#).into_bytes()
}

/// A pod with three containers and as many environment variables as real ones have.
fn written_pod(index: usize) -> String {
    let env: Vec<String> = (0..20)
        .map(|n| format!(r#"{{"name":"VARIABLE_{n}","value":"some value of variable {n}"}}"#))
        .collect();
    let container = format!(
        r#"{{"name":"web","image":"registry/web:1.2","env":[{}],"ports":[{{"containerPort":80,"protocol":"TCP"}}],"resources":{{"limits":{{"cpu":"1","memory":"1Gi"}}}}}}"#,
        env.join(",")
    );
    let status = r#"{"name":"web","ready":true,"restartCount":0,"containerID":"containerd://4dfa225b8341","state":{"running":{"startedAt":"2023-05-24T09:31:34Z"}}}"#;
    format!(
        r#"{{"metadata":{{"name":"web-{index}","namespace":"n","uid":"uid-{index}","resourceVersion":"{index}","creationTimestamp":"2023-05-24T09:31:28Z","labels":{{"app":"web"}},"annotations":{{"checksum/config":"4dfa225b8341"}}}},"spec":{{"containers":[{container},{container},{container}]}},"status":{{"phase":"Running","hostIP":"10.0.0.1","podIP":"10.1.0.1","startTime":"2023-05-24T09:31:28Z","containerStatuses":[{status},{status},{status}]}}}}"#
    )
}
