//! Several instances on real ZooKeeper servers.
//!
//! `members` looks at coordination alone, in one process. The others start the program itself, several
//! times, between a simulated bcs-storage and a real container server that keeps who wrote what; they
//! kill, freeze and cut off whatever there is, and ask two things: do both sides become equal again,
//! in time, and did ever two instances write for one cluster.

#![allow(clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail by panicking.

mod assignment;
mod author;
mod churn;
mod commands;
mod cut_off;
mod inventory;
#[path = "../common/log_lines.rs"]
mod log_lines;
mod members;
#[path = "../common/namespace.rs"]
mod namespace;
mod outages;
#[path = "../common/partition.rs"]
mod partition;
mod pauses;
mod processes;
#[path = "../common/secrets.rs"]
mod secrets;
mod warnings;
#[path = "../world/mod.rs"]
mod world;
#[path = "../common/zookeeper.rs"]
mod zookeeper;
