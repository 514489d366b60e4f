//! What anyone can see and an operator can steer: status JSON, page, health, metrics.
//!
//! Everything is taken from a [`StatusSource`](crate::sync::snapshot::StatusSource) and a
//! [`MetricsSource`](crate::sync::numbers::MetricsSource) at the moment it is asked for; nothing is
//! stored here, and nothing here knows how the numbers come about.

mod access;
mod exposition;
mod metrics;
mod page;
mod ports;
mod process;
mod status;

pub use metrics::MetricsServer;
pub use status::StatusServer;
