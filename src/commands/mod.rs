//! Commands that do their work and end: `diff`, `sync`, `purge`, `check-config --connect`.
//!
//! They are put together from the parts of the service: its clients, its pure core, its locks. What
//! a command found goes to stdout, as text or as one JSON object; how it goes meanwhile, and what
//! went wrong, to stderr. Each returns its exit code. Nothing here decides what differs or what may
//! be deleted: that is `plan`, for the service and for these alike.

mod check_config;
mod comparison;
mod connect;
mod diff;
mod diff_report;
mod looks;
mod pace;
mod progress;
mod purge;
mod sync;
mod turn;

pub use check_config::{CheckOutcome, check_config};
pub use diff::diff;
pub use purge::purge;
pub use sync::sync;

use crate::cli::Output;
use crate::config::{Config, printable};
use crate::feed;
use crate::model::Cluster;
use crate::service::{self, StartError};
use crate::sync::Peers;
use serde::Serialize;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The command did what it is for, and found nothing amiss.
const GOOD: i32 = 0;
/// Something failed, or was left undone.
const FAILED: i32 = 1;
/// `diff`: both sides were read, and they differ.
const DRIFT: i32 = 3;

/// How long discovery of bcs-storage in ZooKeeper may take.
const DISCOVERY: Duration = Duration::from_secs(10);

/// Why a command cannot begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// A part cannot be put together.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The clusters are not known.
    #[error("{0}")]
    Inventory(String),
    /// A cluster that was asked for is not in the inventory.
    #[error(
        "cluster {id} is not in the inventory, or include_clusters and exclude_clusters leave it out; known: {known}"
    )]
    UnknownCluster {
        /// The cluster.
        id: String,
        /// Those that are known, as far as they fit on a line.
        known: String,
    },
}

/// The log level of a command: its results are what to read, so the log begins to tell more than
/// warnings only where `v` asks for more than the service's default.
pub fn log_level(v: i64) -> i64 {
    if v > 3 { v } else { 0 }
}

/// Clients of both sides, with limits as the configuration has them. Waits for discovery to find
/// bcs-storage; if it does not, the first listing says so.
fn peers(config: &Config) -> Result<Peers, CommandError> {
    let peers = service::peers(
        config,
        service::discovery(config).map_err(StartError::Io)?,
        &service::Requests::default(),
    )?;
    let deadline = Instant::now() + DISCOVERY;
    while !peers.storage.has_address() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(peers)
}

/// The clusters a command is about: those named, else every one of the inventory.
fn clusters(config: &Config, named: &[String]) -> Result<Vec<Cluster>, CommandError> {
    let (mut feed, _) = feed::start(config, Arc::default())?;
    let inventory = (feed.pull)().map_err(CommandError::Inventory)?;
    for problem in &inventory.problems {
        eprintln!("warning: {}", printable(problem));
    }
    if named.is_empty() {
        return match inventory.complete {
            true => Ok(inventory.clusters),
            false => Err(CommandError::Inventory(
                "the inventory is not complete: try again later, or name the clusters with --cluster"
                    .to_owned(),
            )),
        };
    }
    let mut wanted: Vec<Cluster> = Vec::new();
    for id in named {
        match inventory.clusters.iter().find(|cluster| cluster.id == *id) {
            Some(cluster) if !wanted.contains(cluster) => wanted.push(cluster.clone()),
            Some(_) => {}
            None => {
                let known = some_of(inventory.clusters.iter().map(|cluster| cluster.id.as_str()));
                return Err(CommandError::UnknownCluster { id: printable(id), known });
            }
        }
    }
    Ok(wanted)
}

/// The first few of a list, for an error message.
fn some_of<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    const SHOWN: usize = 10;
    let ids: Vec<&str> = ids.collect();
    match ids.len() {
        0 => "none".to_owned(),
        all if all <= SHOWN => ids.join(", "),
        all => format!("{} and {} more", ids[..SHOWN].join(", "), all - SHOWN),
    }
}

/// Says why a command could not begin; with JSON on stdout too.
fn not_begun(error: &dyn std::fmt::Display, output: Output, report: &impl Serialize) -> i32 {
    let code = failed(error);
    if output == Output::Json { print(output, report, String::new, code) } else { code }
}

/// Says why a command failed.
fn failed(error: &dyn std::fmt::Display) -> i32 {
    eprintln!("error: {}", printable(&error.to_string()));
    FAILED
}

/// Prints a result; the exit code, which is `code` unless the result could not be written. A reader that
/// went away has seen enough.
fn print(output: Output, result: &impl Serialize, text: impl FnOnce() -> String, code: i32) -> i32 {
    let text = match output {
        Output::Text => text(),
        Output::Json => serde_json::to_string_pretty(result).unwrap_or_default() + "\n",
    };
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            failed(&format_args!("cannot write the result: {error}"))
        }
        _ => code,
    }
}

/// "1 pod", "2 pods".
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_of_clusters_are_cut() {
        let ids: Vec<String> = (0..12).map(|number| format!("c{number}")).collect();
        let of = |count: usize| some_of(ids[..count].iter().map(String::as_str));
        assert_eq!((of(0).as_str(), of(2).as_str()), ("none", "c0, c1"));
        assert!(of(12).ends_with("c9 and 2 more"));
    }

    #[test]
    fn commands_are_quiet_unless_asked() {
        assert_eq!([log_level(0), log_level(3), log_level(4), log_level(7)], [0, 0, 4, 7]);
    }
}
