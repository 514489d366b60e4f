//! Which sets and modules a business has: from a file, or from the CMDB.
//!
//! Answers three questions: does this module exist here, which modules has this set, and what does
//! the whole tree look like. Knows nothing of pods.

mod business;
mod cmdb;
mod file;

pub use business::Business;

use crate::config::TopologySource;
use cmdb::CmdbTopology;
use file::FileTopology;
use std::path::PathBuf;
use std::sync::Arc;

/// Why the modules of a business are not known.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The file cannot be used.
    #[error("topology_file {}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong and what would be right.
        reason: String,
    },
    /// The CMDB gave no topology.
    #[error("cmdb_addr: no topology of business {biz}: {reason}")]
    Cmdb {
        /// Which business.
        biz: i64,
        /// In words.
        reason: String,
    },
    /// TLS to the CMDB cannot be set up.
    #[error("cmdb_addr: {0}")]
    Tls(#[from] crate::http::tls::TlsError),
}

/// Who asks: the CMDB is asked in the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caller {
    /// `BK_User`.
    pub user: String,
    /// `HTTP_BK_SUPPLIER_ACCOUNT`.
    pub account: String,
}

/// The topology, wherever it comes from.
pub enum Topology {
    /// A file, read again when it changes.
    File(FileTopology),
    /// The CMDB, with a cache.
    Cmdb(CmdbTopology),
}

impl Topology {
    /// Reads the file, or prepares to ask the CMDB (which may be down now).
    pub fn open(source: &TopologySource) -> Result<Self, TopologyError> {
        Ok(match source {
            TopologySource::File(path) => Self::File(FileTopology::open(path)?),
            TopologySource::Cmdb(base) => Self::Cmdb(CmdbTopology::new(base.clone())?),
        })
    }

    /// A business, or `None` if there is no such one. `modules` are those that are to be looked for in it.
    pub fn business(
        &self,
        biz: i64,
        caller: &Caller,
        modules: &[i64],
    ) -> Result<Option<Arc<Business>>, TopologyError> {
        match self {
            Self::File(file) => Ok(file.business(biz)),
            Self::Cmdb(cmdb) => cmdb.business(biz, caller, modules).map(Some),
        }
    }

    /// What is wrong at the moment although old knowledge still serves.
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::File(file) => file.problem(),
            Self::Cmdb(cmdb) => cmdb.problem(),
        }
    }
}
