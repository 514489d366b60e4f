//! The work on clusters: controller, reconcilers, senders.

pub mod numbers;
pub mod snapshot;
