//! The work on clusters: controller, reconcilers, senders.

pub mod snapshot;
