//! A cluster and whose it is.

use serde::{Deserialize, Serialize};

/// Which generation of container platform a cluster runs; decides the resource type in
/// bcs-storage (protocol.md 1.1) and the conversion (protocol.md 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterKind {
    /// Kubernetes; documents are core/v1 Pods.
    K8s,
    /// Mesos; documents are taskgroups.
    Mesos,
}

impl ClusterKind {
    /// The kind a cluster id tells: `BCS-MESOS-…` is Mesos, anything else Kubernetes
    /// (protocol.md 4).
    pub fn from_id(cluster_id: &str) -> Self {
        if cluster_id.starts_with("BCS-MESOS-") { Self::Mesos } else { Self::K8s }
    }

    /// The name used in paths, nodes and `bk_pod_clustertype`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::K8s => "k8s",
            Self::Mesos => "mesos",
        }
    }

    /// The resource type of its pods in bcs-storage (protocol.md 1.1).
    pub fn resource_type(self) -> &'static str {
        match self {
            Self::K8s => "Pod",
            Self::Mesos => "taskgroup",
        }
    }
}

/// One cluster to synchronise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The BCS cluster id, `BCS-K8S-15091`.
    pub id: String,
    /// The paas-cc project it belongs to.
    pub project_id: String,
    /// The CMDB business its pods are recorded in.
    pub bk_biz_id: i64,
    /// Kubernetes or Mesos.
    pub kind: ClusterKind,
    /// Businesses it belonged to before and whose records of it must still be removed.
    pub previous_bk_biz_ids: Vec<i64>,
}
