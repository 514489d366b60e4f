//! Everything in one process, on loopback: simulated bcs-storage and paas-cc, a container server,
//! and the synchronizer at work on them through its ordinary clients.
//!
//! The simulators speak real HTTP and keep to protocol.md with its traps, so that whatever works
//! here has met them. They know the wire, never the synchronizer; only the sandbox command itself
//! knows both sides.

pub mod census;
pub mod paas;
mod progress;
mod request;
mod run;
pub mod storage;
pub mod verdict;
pub mod workload;
pub mod world;

/// How the sandbox is run; what the command line says.
pub use crate::cli::SandboxArgs as Options;
pub use run::run;
