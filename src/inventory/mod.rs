//! Which clusters exist and whose they are: a file, or paas-cc (protocol.md 4).
//!
//! A failing or half answered pull changes nothing: the last good answer of each project stays in
//! force. Knows nothing of what is done with a cluster.

use crate::model::Cluster;

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
