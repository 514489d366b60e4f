//! What must never pass for secure, at every place that promises TLS, on either side: certificates of
//! another CA, expired ones and ones that are not valid yet, none at all, and TLS older than 1.2.

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod asking;
#[path = "../container/mod.rs"]
mod container;
mod listening;
#[path = "../peer/mod.rs"]
mod peer;
#[path = "../container/process.rs"]
mod process;
#[path = "../world/mod.rs"]
mod world;
