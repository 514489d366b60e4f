//! The CMDB: container server calls and topology (protocol.md 2 and 3).
//!
//! Knows the wire and sorts answers by what the caller does next; knows nothing of why a record is
//! written. What is sent (`body`), what an answer's frame means (`envelope`, `error`) and what is
//! in it (`answer`, `record`, `topology`) is pure; `client` carries it over HTTP.

mod answer;
mod body;
mod client;
mod envelope;
mod error;
mod found;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod pace;
mod record;
mod topology;
mod topology_cache;

pub use client::{Client, Page, Scope, Settings, Unusable};
pub use error::CmdbError;
pub use record::StoredRecord;
pub use topology_cache::TopologyCache;

/// Names of what identifies a record; never part of an update.
const IDENTITY: [&str; 5] = ["bk_biz_id", "bk_pod_cluster", "bk_pod_uuid", "bk_pod_namespace", "bk_pod_name"];
