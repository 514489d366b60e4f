//! What must hold for any bytes paas-cc answers (protocol.md 4), and for any task file.

use super::paas_wire::{Project, Verdict, cluster, list, project};
use super::{file, is_plain_id};
use crate::model::Cluster;

/// A list of projects or clusters: what is taken has an id that is a harmless segment of a path, and a
/// business; an error of the gateway is never an empty list.
pub fn paas_answer(data: &[u8]) {
    let Ok(list) = list(data) else { return };
    let value = serde_json::from_slice::<serde_json::Value>(data).unwrap_or_default();
    assert_ne!(value["result"], serde_json::Value::Bool(false), "a refusal passes for a list");
    let demo = Project { id: "demo".to_owned(), biz: 2 };
    for item in list.items {
        if let Verdict::Take(project) = project(item) {
            assert!(is_plain_id(&project.id) && project.biz > 0, "{project:?}");
        }
        for environment in ["", "prod"] {
            if let Verdict::Take(cluster) = cluster(item, &demo, environment) {
                check(&cluster);
                assert_eq!((cluster.bk_biz_id, cluster.project_id.as_str()), (2, "demo"));
            }
        }
    }
}

/// A task file: all of it or none of it.
pub fn task_file(data: &[u8]) {
    match file::parse(data) {
        Ok(clusters) => clusters.iter().for_each(check),
        Err(mistakes) => assert!(!mistakes.is_empty() && mistakes.len() < 4096, "{mistakes}"),
    }
}

fn check(cluster: &Cluster) {
    assert!(is_plain_id(&cluster.id) && is_plain_id(&cluster.project_id), "{cluster:?}");
    assert!(cluster.bk_biz_id > 0, "{cluster:?}");
}
