//! `task_file`: the clusters as a JSON list somebody keeps by hand.
//!
//! Read again at each pull. A file with any mistake counts for nothing as a whole: half of a list
//! would look as if the other half had left.

use super::{Inventory, InventoryError, Source, is_plain_id};
use crate::http::{Loose, excerpt};
use crate::model::{Cluster, ClusterKind};
use serde::Deserialize;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Longest file that is read: 100 bytes a cluster, 600,000 clusters.
const MAX_FILE: u64 = 64 << 20;
/// Mistakes named at once; more are not read anyway.
const MISTAKES_SHOWN: usize = 20;

/// The file, and what it last said.
#[derive(Debug)]
pub struct FileSource {
    path: PathBuf,
    good: Option<Vec<Cluster>>,
}

impl FileSource {
    /// A source that was not read yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), good: None }
    }
}

impl Source for FileSource {
    fn pull(&mut self) -> Result<Inventory, InventoryError> {
        match read(&self.path).and_then(|bytes| parse(&bytes)) {
            Ok(clusters) => {
                self.good = Some(clusters.clone());
                Ok(Inventory::new(clusters, true, Vec::new()))
            }
            Err(reason) => {
                let error = InventoryError::File { path: self.path.display().to_string(), reason };
                let Some(good) = &self.good else { return Err(error) };
                let problem = format!("{error}; its last good content stays in force");
                Ok(Inventory::new(good.clone(), false, vec![problem]))
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes));
    read.map_err(|error: io::Error| format!("cannot be read: {error}"))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!("is longer than {MAX_FILE} bytes"));
    }
    Ok(bytes)
}

/// One entry, of whatever types its author chose.
#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    projectid: Loose<'a>,
    #[serde(borrow, default)]
    clusterid: Loose<'a>,
    #[serde(borrow, default)]
    bk_biz_id: Loose<'a>,
    #[serde(borrow, default)]
    kind: Loose<'a>,
}

/// The clusters, or all mistakes (the first ones, if there are many).
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Cluster>, String> {
    let entries: Vec<Entry<'_>> = serde_json::from_slice(bytes).map_err(|error| {
        format!("is not a JSON list of {{\"projectid\",\"clusterid\",\"bk_biz_id\"}} objects: {error}")
    })?;
    let mut clusters = Vec::with_capacity(entries.len());
    let mut mistakes = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        match cluster(entry) {
            Ok(cluster) => clusters.push(cluster),
            Err(mistake) => mistakes.push(format!("entry {}: {mistake}", index + 1)),
        }
    }
    if mistakes.is_empty() {
        return Ok(clusters);
    }
    let more = mistakes.len().saturating_sub(MISTAKES_SHOWN);
    mistakes.truncate(MISTAKES_SHOWN);
    if more > 0 {
        mistakes.push(format!("and {more} more"));
    }
    Err(mistakes.join("; "))
}

fn cluster(entry: &Entry<'_>) -> Result<Cluster, String> {
    let id = |key: &str, value: &Loose<'_>| {
        let id = value.text().into_owned();
        if is_plain_id(&id) {
            return Ok(id);
        }
        Err(format!("{key} must be an id of letters, digits and -_. (it is {:?})", excerpt(id.as_bytes())))
    };
    let cluster_id = id("clusterid", &entry.clusterid)?;
    let project_id = id("projectid", &entry.projectid)?;
    let biz = entry.bk_biz_id.int().filter(|biz| *biz > 0);
    let kind = match entry.kind.text().to_ascii_lowercase().as_str() {
        "" => ClusterKind::from_id(&cluster_id),
        "k8s" => ClusterKind::K8s,
        "mesos" => ClusterKind::Mesos,
        other => {
            return Err(format!(
                "kind of {cluster_id} must be k8s or mesos (it is {:?})",
                excerpt(other.as_bytes())
            ));
        }
    };
    Ok(Cluster {
        bk_biz_id: biz.ok_or_else(|| format!("bk_biz_id of {cluster_id} must be an integer above 0"))?,
        id: cluster_id,
        project_id,
        kind,
        previous_bk_biz_ids: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_tells_clusters_and_their_kind() {
        let clusters = parse(
            br#"[{"projectid":"p1","clusterid":"BCS-K8S-1","bk_biz_id":2,"comment":"mine"},
                 {"projectid":"p1","clusterid":"BCS-MESOS-2","bk_biz_id":"3","kind":null},
                 {"projectid":"p2","clusterid":"legacy","bk_biz_id":4,"kind":"Mesos"}]"#,
        );
        let shown: Vec<_> = clusters.unwrap().into_iter().map(|c| (c.id, c.bk_biz_id, c.kind)).collect();
        let expected = [
            ("BCS-K8S-1".to_owned(), 2, ClusterKind::K8s),
            ("BCS-MESOS-2".to_owned(), 3, ClusterKind::Mesos),
            ("legacy".to_owned(), 4, ClusterKind::Mesos),
        ];
        assert_eq!(shown, expected);
        assert_eq!(parse(b"[]"), Ok(Vec::new()));
    }

    #[test]
    fn a_mistake_anywhere_refuses_the_file_and_says_where() {
        let check = |json: &str, reason: &str| {
            let error = parse(json.as_bytes()).unwrap_err();
            assert!(error.contains(reason), "{json}: {error}");
        };
        let good = r#"{"projectid":"p","clusterid":"C","bk_biz_id":2}"#;
        check("", "not a JSON list");
        check("{}", "not a JSON list");
        check("[1]", "not a JSON list");
        check(&format!("[{good},"), "not a JSON list");
        check(&format!("[{good},{{}}]"), "entry 2: clusterid must be");
        check(r#"[{"clusterid":"C","bk_biz_id":2}]"#, "entry 1: projectid must be");
        check(r#"[{"projectid":"p","clusterid":"../x","bk_biz_id":2}]"#, "(it is \"../x\")");
        check(r#"[{"projectid":"p","clusterid":"C","bk_biz_id":0}]"#, "bk_biz_id of C must be");
        check(r#"[{"projectid":"p","clusterid":"C"}]"#, "bk_biz_id of C must be");
        check(r#"[{"projectid":"p","clusterid":"C","bk_biz_id":2,"kind":"eks"}]"#, "must be k8s or mesos");
        check(&format!("[{}{good}]", "{},".repeat(30)), "and 10 more");
        assert!(parse(b"[\"\xff\"]").is_err());
    }
}
