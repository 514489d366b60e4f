//! Where things stand in ZooKeeper and what they look like (protocol.md 5, design.md 4).
//!
//! Pure. What others wrote is read tolerantly and within bounds; what cannot be read is left out
//! with a reason, never a panic.

use crate::model::{Cluster, ClusterKind};
use serde::{Deserialize, Deserializer, Serialize};

/// Our own tree; its creation marks a ZooKeeper without memory.
pub const ROOT: &str = "/bcs/services/bkcmdb-synchronizer";
/// One node per cluster.
pub const CLUSTERS: &str = "/bcs/services/bkcmdb-synchronizer/cluster";
/// One node per worker: the list of its clusters.
pub const WORKERS: &str = "/bcs/services/bkcmdb-synchronizer/worker";
/// One ephemeral node per cluster: the instance that synchronises it.
pub const LOCKS: &str = "/bcs/services/bkcmdb-synchronizer/lock";
/// Registrations of our instances.
pub const MEMBERS: &str = "/bcs/services/endpoints/bkcmdb-synchronizer";
/// Registrations of commands that take a lock for a while and are no workers.
pub const GUESTS: &str = "/bcs/services/bkcmdb-synchronizer/guest";
/// Registrations of bcs-storage.
pub const STORAGES: &str = "/bcs/services/endpoints/storage";

/// Digits of a sequential node's number.
const SEQUENCE_DIGITS: usize = 10;
/// Curator's protected form: `_c_`, 32 hex digits and a dash.
const PROTECTED_PREFIX: &str = "_c_";
const PROTECTED_LENGTH: usize = 3 + 32 + 1;

/// Data of a registration node. Unknown fields are tolerated, missing ones empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // The names are those of every BCS module, protocol.md 5.
pub struct ServerInfo {
    #[serde(deserialize_with = "or_default")]
    pub ip: String,
    #[serde(deserialize_with = "or_default")]
    pub port: u16,
    #[serde(deserialize_with = "or_default")]
    pub metric_port: u16,
    #[serde(deserialize_with = "or_default")]
    pub hostname: String,
    #[serde(deserialize_with = "or_default")]
    pub scheme: String,
    #[serde(deserialize_with = "or_default")]
    pub version: String,
    #[serde(deserialize_with = "or_default")]
    pub cluster: String,
    #[serde(deserialize_with = "or_default")]
    pub pid: u32,
    #[serde(deserialize_with = "or_default")]
    pub external_ip: String,
    #[serde(deserialize_with = "or_default")]
    pub external_port: u16,
    #[serde(deserialize_with = "or_default")]
    pub ipv6: String,
    #[serde(deserialize_with = "or_default")]
    pub grpc_port: u16,
    #[serde(deserialize_with = "or_default")]
    pub external_ipv6: String,
}

impl ServerInfo {
    /// Reads the data of a registration node; `None` if it is no such thing.
    pub fn parse(data: &[u8]) -> Option<Self> {
        serde_json::from_slice(data).ok()
    }

    /// `ip:port`, IPv6 in brackets; `None` without both.
    pub fn instance(&self) -> Option<String> {
        let ip = self.ip.trim();
        match (ip.is_empty() || self.port == 0, ip.contains(':') && !ip.starts_with('[')) {
            (true, _) => None,
            (false, true) => Some(format!("[{ip}]:{}", self.port)),
            (false, false) => Some(format!("{ip}:{}", self.port)),
        }
    }

    /// `scheme://ip:port`; `http` unless it says `https`.
    pub fn url(&self) -> Option<String> {
        let scheme = if self.scheme.trim().eq_ignore_ascii_case("https") { "https" } else { "http" };
        Some(format!("{scheme}://{}", self.instance()?))
    }
}

/// A cluster in a worker's list and, with more about it, as a node of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterNode {
    /// paas-cc project.
    #[serde(default, deserialize_with = "or_default")]
    pub projectid: String,
    /// The cluster id; the original's other name for it is read too.
    #[serde(default, alias = "cluster", deserialize_with = "or_default")]
    pub clusterid: String,
    /// The CMDB business.
    #[serde(default, deserialize_with = "or_default")]
    pub bk_biz_id: i64,
    /// Always 0, as the original writes it.
    #[serde(default, deserialize_with = "or_default")]
    pub bk_module_id: i64,
    /// `k8s` or `mesos`; empty is told by the id.
    #[serde(default, deserialize_with = "or_default")]
    pub kind: String,
    /// Businesses whose records of the cluster are still to be removed.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "Vec::is_empty")]
    pub previous_bk_biz_ids: Vec<i64>,
    /// When the cluster left the inventory, RFC 3339; empty while it is there.
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "String::is_empty")]
    pub left_since: String,
}

impl ClusterNode {
    /// Reads the node of cluster `id`; the name of the node is the id whatever its data says.
    ///
    /// # Errors
    /// The data is not a JSON object.
    pub fn parse(id: &str, data: &[u8]) -> Result<Self, String> {
        let node: Self = serde_json::from_slice(data).map_err(|error| error.to_string())?;
        Ok(Self { clusterid: id.to_owned(), ..node })
    }

    /// The data of the node.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The same without what only the cluster's own node says.
    pub fn entry(&self) -> Self {
        Self { previous_bk_biz_ids: Vec::new(), left_since: String::new(), ..self.clone() }
    }

    /// As the rest of the service knows it.
    pub fn cluster(&self) -> Cluster {
        let kind = match self.kind.as_str() {
            "k8s" => ClusterKind::K8s,
            "mesos" => ClusterKind::Mesos,
            _ => ClusterKind::from_id(&self.clusterid),
        };
        Cluster {
            id: self.clusterid.clone(),
            project_id: self.projectid.clone(),
            bk_biz_id: self.bk_biz_id,
            kind,
            previous_bk_biz_ids: self.previous_bk_biz_ids.clone(),
        }
    }
}

impl From<&Cluster> for ClusterNode {
    fn from(cluster: &Cluster) -> Self {
        Self {
            projectid: cluster.project_id.clone(),
            clusterid: cluster.id.clone(),
            bk_biz_id: cluster.bk_biz_id,
            bk_module_id: 0,
            kind: cluster.kind.as_str().to_owned(),
            previous_bk_biz_ids: cluster.previous_bk_biz_ids.clone(),
            left_since: String::new(),
        }
    }
}

/// Reads a worker's list: entries sorted by cluster id, each id once (the first one counts), and
/// how many entries had to be left out.
///
/// # Errors
/// The data is not a JSON list: the list is unknown, not empty.
pub fn parse_worker(data: &[u8]) -> Result<(Vec<ClusterNode>, usize), String> {
    let values: Vec<&serde_json::value::RawValue> = match data.trim_ascii() {
        b"" | b"null" => Vec::new(),
        data => serde_json::from_slice(data).map_err(|error| error.to_string())?,
    };
    let all = values.len();
    let mut entries: Vec<ClusterNode> = values
        .into_iter()
        .filter_map(|value| serde_json::from_str::<ClusterNode>(value.get()).ok())
        .filter(|entry| valid_name(&entry.clusterid))
        .map(|entry| entry.entry())
        .collect();
    entries.sort_by(|left, right| left.clusterid.cmp(&right.clusterid));
    entries.dedup_by(|later, first| later.clusterid == first.clusterid);
    let left_out = all - entries.len();
    Ok((entries, left_out))
}

/// The data of a worker's node.
pub fn encode_worker(entries: &[ClusterNode]) -> Vec<u8> {
    serde_json::to_vec(entries).unwrap_or_default()
}

/// The number at the end of a sequential node's name.
pub fn sequence(name: &str) -> Option<u64> {
    let digits = name.get(name.len().checked_sub(SEQUENCE_DIGITS)?..)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// The name of a registration node without its number and without the protected prefix the
/// original client puts before it.
pub fn plain_name(name: &str) -> &str {
    let name = if sequence(name).is_some() { &name[..name.len() - SEQUENCE_DIGITS] } else { name };
    let protected = name.strip_prefix(PROTECTED_PREFIX).and_then(|rest| rest.get(..32)).is_some_and(|hex| {
        hex.bytes().all(|byte| byte.is_ascii_hexdigit())
            && name.as_bytes().get(PROTECTED_LENGTH - 1) == Some(&b'-')
    });
    if protected { &name[PROTECTED_LENGTH..] } else { name }
}

/// Names in the order in which their nodes were created; names without a number are left out.
pub fn in_order(names: Vec<String>) -> Vec<String> {
    let mut numbered: Vec<(u64, String)> =
        names.into_iter().filter_map(|name| Some((sequence(&name)?, name))).collect();
    numbered.sort();
    numbered.into_iter().map(|(_, name)| name).collect()
}

/// Whether a text can be one step of a path in ZooKeeper.
pub fn valid_name(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= 256
        && !matches!(name, "." | ".." | "zookeeper")
        && name.chars().all(|letter| letter != '/' && !letter.is_control() && letter != '\u{fffd}')
}

/// `parent/name`.
pub fn child(parent: &str, name: &str) -> String {
    format!("{parent}/{name}")
}

/// Reads a field of the wrong type as if it were missing.
fn or_default<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: Default + serde::de::DeserializeOwned,
    D: Deserializer<'de>,
{
    let value = serde_json::Value::deserialize(deserializer)?;
    Ok(serde_json::from_value(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registrations_are_ordered_by_the_last_ten_digits() {
        let names =
            ["n0000000012", "_c_00112233445566778899aabbccddeeff-n0000000003", "z0000000001", "junk", ""];
        let ordered = in_order(names.map(str::to_owned).to_vec());
        assert_eq!(ordered, [names[2], names[1], names[0]]);
    }

    #[test]
    fn names_are_read_with_and_without_protection() {
        for (name, plain) in [
            ("10.0.0.1:80800000000012", "10.0.0.1:8080"),
            ("_c_00112233445566778899aabbccddeeff-10.0.0.1:80800000000012", "10.0.0.1:8080"),
            ("_c_00112233445566778899aabbccddeegg-x0000000012", "_c_00112233445566778899aabbccddeegg-x"),
            ("_c_short0000000012", "_c_short"),
            ("0000000012", ""),
            ("é", "é"),
        ] {
            assert_eq!(plain_name(name), plain, "{name}");
        }
    }

    #[test]
    fn server_info_of_any_shape_is_read() {
        for (data, url) in [
            (r#"{"ip":"10.0.0.1","port":50024,"scheme":"https","more":[1]}"#, Some("https://10.0.0.1:50024")),
            (r#"{"ip":"fd00::1","port":1,"scheme":7}"#, Some("http://[fd00::1]:1")),
            (r#"{"ip":"10.0.0.1","port":70000}"#, None),
            (r#"{"ip":null,"port":80}"#, None),
            (r#"[]"#, None),
            ("", None),
        ] {
            let read = ServerInfo::parse(data.as_bytes()).and_then(|info| info.url());
            assert_eq!(read.as_deref(), url, "{data}");
        }
        assert!(ServerInfo::parse(&[0xff, 0xfe]).is_none());
    }

    #[test]
    fn a_worker_list_is_read_with_both_names_of_the_id_and_without_what_is_broken() {
        let data = br#"[{"projectid":"p","cluster":"b","bk_biz_id":2},{"clusterid":"a","bk_biz_id":"x","kind":"mesos"},
            {"clusterid":"a","bk_biz_id":9},{"clusterid":""},{"clusterid":"a/b"},7,null]"#;
        let (entries, left_out) = parse_worker(data).unwrap();
        let read: Vec<(&str, i64)> = entries.iter().map(|e| (e.clusterid.as_str(), e.bk_biz_id)).collect();
        assert_eq!(read, [("a", 0), ("b", 2)]);
        assert_eq!(left_out, 5);
        assert_eq!(entries[0].cluster().kind, ClusterKind::Mesos);
        for unknown in [&b"{}"[..], b"[", b"\xff"] {
            assert!(parse_worker(unknown).is_err());
        }
        assert_eq!(parse_worker(b" null ").unwrap(), (Vec::new(), 0));
        assert_eq!(parse_worker(b"").unwrap(), (Vec::new(), 0));
    }

    #[test]
    fn nodes_are_written_as_the_original_writes_them() {
        let node = ClusterNode {
            projectid: "p".to_owned(),
            clusterid: "BCS-K8S-1".to_owned(),
            bk_biz_id: 2,
            kind: "k8s".to_owned(),
            ..ClusterNode::default()
        };
        let expected =
            r#"{"projectid":"p","clusterid":"BCS-K8S-1","bk_biz_id":2,"bk_module_id":0,"kind":"k8s"}"#;
        assert_eq!(String::from_utf8(node.encode()).unwrap(), expected);
        assert_eq!(encode_worker(std::slice::from_ref(&node)), format!("[{expected}]").into_bytes());
        let moved = ClusterNode { previous_bk_biz_ids: vec![1], left_since: "t".to_owned(), ..node };
        assert_eq!(ClusterNode::parse("BCS-K8S-1", &moved.encode()), Ok(moved));
    }

    #[test]
    fn only_names_that_zookeeper_takes_are_valid() {
        for (name, valid) in
            [("BCS-K8S-1", true), ("", false), ("a/b", false), ("..", false), ("a\u{0}", false), ("é", true)]
        {
            assert_eq!(valid_name(name), valid, "{name:?}");
        }
        assert!(!valid_name(&"x".repeat(300)));
    }
}
