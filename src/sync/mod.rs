//! The work on clusters: controller, reconcilers, senders.
//!
//! [`Controller`] keeps one reconciler per assigned cluster. A reconciler is a handful of threads
//! around the pure core of [`plan`](crate::plan): `watch` converts events and queues them, `gate`
//! passes them through the ledger, `full_sync` lists and compares both sides, `sender` shards carry
//! out what their lanes decide. What they share, and the order of its locks, is in `shared`.
//!
//! Knows the clients of storage and CMDB, and coordination by its face only; nothing of HTTP pages.

mod clock;
mod controller;
mod documents;
mod full_sync;
mod gate;
mod history;
#[cfg(test)]
mod interruptions;
pub mod numbers;
mod once;
mod previous_business;
mod problems;
mod reconciler;
mod run;
mod sender;
mod shard;
mod shared;
pub mod snapshot;
mod stats;
mod timings;
mod watch;
#[cfg(test)]
mod wiring;
mod writes;

pub use clock::Clock;
pub use controller::{Controller, ControllerHandle};
pub use once::{INTERRUPTED, Once, OnceProgress, OnceReport};
pub use shared::Peers;
pub use timings::Timings;
