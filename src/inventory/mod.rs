//! Which clusters exist and whose they are: a file, or paas-cc (protocol.md 4).
//!
//! A failing or half answered pull changes nothing: the last good answer of each project stays in
//! force. Knows nothing of what is done with a cluster. A [`Source`] says what it sees,
//! [`Stability`] what to believe of it, [`Filter`] which part of it concerns this fleet.

mod file;
mod filter;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gateway;
mod paas;
mod paas_wire;
mod stability;

pub use file::FileSource;
pub use filter::{Filter, FilterError};
pub use gateway::PaasSettings;
pub use paas::PaasSource;
pub use stability::{Confirmation, Stability};

use crate::http::HttpError;
use crate::model::Cluster;

/// Longest id of a cluster or a project: the CMDB keeps 256 bytes, file systems 255.
const MAX_ID: usize = 128;

/// One pull.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The clusters, sorted by id, each id once.
    pub clusters: Vec<Cluster>,
    /// Whether every project answered; only a complete pull may remove or move a cluster.
    pub complete: bool,
    /// What went wrong or was left out, in words, for status and log.
    pub problems: Vec<String>,
}

impl Inventory {
    /// Puts the clusters of all projects in order. Of a cluster that several claim, the lowest
    /// project id wins, so that every instance and every pull decides alike.
    fn new(mut clusters: Vec<Cluster>, complete: bool, mut problems: Vec<String>) -> Self {
        clusters
            .sort_by(|a, b| (&a.id, &a.project_id, a.bk_biz_id).cmp(&(&b.id, &b.project_id, b.bk_biz_id)));
        clusters.dedup_by(|other, kept| {
            if other.id != kept.id {
                return false;
            }
            problems.push(format!(
                "cluster {} is listed by project {} (business {}) and again by project {} (business {}): \
                 the first is taken, remove the other",
                kept.id, kept.project_id, kept.bk_biz_id, other.project_id, other.bk_biz_id
            ));
            true
        });
        Self { clusters, complete, problems }
    }
}

/// Where clusters are learnt from.
pub trait Source: Send {
    /// Asks once.
    ///
    /// # Errors
    /// Only while there never was a good answer: afterwards a failure is an incomplete
    /// [`Inventory`] that holds what was last known, and names the problem.
    fn pull(&mut self) -> Result<Inventory, InventoryError>;
}

/// Why nothing is known about the clusters. The next pull may do better in every case.
#[derive(Debug, thiserror::Error)]
pub enum InventoryError {
    /// The file cannot be used.
    #[error("task_file {path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// In words, with what would be right.
        reason: String,
    },
    /// No connection, a timeout, a broken one.
    #[error("paas-cc: {0}")]
    Http(#[from] HttpError),
    /// An HTTP status that is no answer.
    #[error("paas-cc answered HTTP {status} to {path}: {excerpt}")]
    Status {
        /// What was asked.
        path: String,
        /// Status code.
        status: u16,
        /// Beginning of the body, or where it redirects to.
        excerpt: String,
    },
    /// `result: false`, or a code.
    #[error("paas-cc refused {path} with {code}: {message}")]
    Refused {
        /// What was asked.
        path: String,
        /// Its code.
        code: i64,
        /// Its words.
        message: String,
    },
    /// The answer is not what protocol.md 4 describes.
    #[error("paas-cc answered {path} with something else than its protocol: {reason}")]
    Malformed {
        /// What was asked.
        path: String,
        /// In words.
        reason: String,
    },
}

/// Whether an id may become a segment of a path, in URLs, ZooKeeper and the CMDB alike.
fn is_plain_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !id.is_empty() && id.len() <= MAX_ID && id.bytes().all(plain) && id.bytes().any(|byte| byte != b'.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ClusterKind;

    #[test]
    fn an_id_is_one_harmless_segment() {
        for id in ["BCS-K8S-15091", "b37778ec757544868a01e1f01f07037f", "a.b_c", &"x".repeat(128)] {
            assert!(is_plain_id(id), "{id}");
        }
        for id in ["", ".", "..", "a/b", "a b", "a?b", "a%2f", "ä", "a\0", "a\n", &"x".repeat(129)] {
            assert!(!is_plain_id(id), "{id:?}");
        }
    }

    #[test]
    fn of_several_claims_the_lowest_project_wins_whatever_the_order() {
        let cluster = |id: &str, project: &str, biz| Cluster {
            id: id.to_owned(),
            project_id: project.to_owned(),
            bk_biz_id: biz,
            kind: ClusterKind::K8s,
            previous_bk_biz_ids: Vec::new(),
        };
        let claims = [cluster("B", "p2", 3), cluster("A", "p9", 9), cluster("B", "p1", 7)];
        for claims in [claims.to_vec(), claims.iter().rev().cloned().collect()] {
            let inventory = Inventory::new(claims, true, Vec::new());
            assert_eq!(inventory.clusters, [cluster("A", "p9", 9), cluster("B", "p1", 7)]);
            assert_eq!(inventory.problems.len(), 1);
            assert!(inventory.problems[0].contains("cluster B is listed by project p1 (business 7)"));
        }
    }
}
