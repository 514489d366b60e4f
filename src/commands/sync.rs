//! `sync`: one full sync of each cluster without the service, one cluster after the other.

use super::progress::Progress;
use super::turn::{Turn, Work, interruption};
use super::{FAILED, GOOD, clusters, not_begun, peers, print};
use crate::cli::SyncArgs;
use crate::config::{Config, printable};
use crate::model::Cluster;
use crate::sync::{INTERRUPTED, Once, OnceReport};
use serde::Serialize;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The whole result.
#[derive(Debug, Serialize)]
struct Report {
    /// `ok`, or `failed` if any cluster did.
    outcome: &'static str,
    /// `sync`, `upsert-only` or `dry-run`, which writes nothing.
    sync_policy: &'static str,
    /// Why no cluster was begun at all.
    error: Option<String>,
    clusters: Vec<ClusterReport>,
}

/// One cluster of it.
#[derive(Debug, Serialize)]
struct ClusterReport {
    cluster_id: String,
    bk_biz_id: i64,
    /// `ok`, `incomplete` (something was left undone) or `failed`.
    outcome: &'static str,
    created: u64,
    updated: u64,
    deleted: u64,
    rejected: usize,
    pending: usize,
    held_back_deletes: usize,
    error: Option<String>,
}

/// `sync`; returns the exit code.
pub fn sync(config: &Config, flags: &SyncArgs) -> i32 {
    let sync_policy = config.sync_policy.name();
    match sync_all(config, flags) {
        Err(error) => {
            let why = Some(error.to_string());
            let report = Report { outcome: "failed", sync_policy, error: why, clusters: Vec::new() };
            not_begun(&error, flags.output, &report)
        }
        Ok(report) => {
            let code = if report.outcome == "ok" { GOOD } else { FAILED };
            print(flags.output, &report, || report.to_text(), code)
        }
    }
}

fn sync_all(config: &Config, flags: &SyncArgs) -> Result<Report, Box<dyn std::error::Error>> {
    let wanted = clusters(config, &flags.clusters)?;
    let turn = Turn::begin(config, Work::Sync)?;
    let once = Once::new(Arc::new(config.clone()), peers(config)?)?;
    let interrupted = interruption()?;
    let mut progress = Progress::new();
    let mut reports = Vec::new();
    for cluster in wanted {
        if interrupted.load(Relaxed) {
            reports.push(ClusterReport::new(cluster.id, cluster.bk_biz_id, Err(INTERRUPTED.to_owned())));
            continue;
        }
        reports.push(sync_one(&turn, &once, cluster, flags.approve_deletes, &interrupted, &mut progress));
    }
    progress.end();
    let good = reports.iter().all(|report| report.outcome == "ok");
    let outcome = if good { "ok" } else { "failed" };
    Ok(Report { outcome, sync_policy: config.sync_policy.name(), error: None, clusters: reports })
}

fn sync_one(
    turn: &Turn,
    once: &Once,
    cluster: Cluster,
    approve_deletes: bool,
    interrupted: &AtomicBool,
    progress: &mut Progress,
) -> ClusterReport {
    let (id, biz) = (cluster.id.clone(), cluster.bk_biz_id);
    progress.begin(format!("{id}: comparing and writing"), None);
    let mut show = |now: crate::sync::OnceProgress| progress.at(now.done);
    let done = turn.take(&id, interrupted).map_err(|error| error.to_string()).and_then(|fence| {
        let done = once.run(cluster, fence, approve_deletes, interrupted, &mut show);
        turn.give_back(&id);
        done.map_err(|error| format!("cannot start its threads: {error}; raise the limit of tasks"))
    });
    ClusterReport::new(id, biz, done)
}

impl ClusterReport {
    fn new(cluster_id: String, bk_biz_id: i64, done: Result<OnceReport, String>) -> Self {
        let (refused, done) = match done {
            Ok(done) => (false, done),
            Err(error) => (true, OnceReport { error: Some(error), ..OnceReport::default() }),
        };
        let left = done.rejected + done.pending + done.held_back;
        let outcome = match (&done.error, left) {
            (Some(_), _) if refused || left == 0 => "failed",
            (None, 0) => "ok",
            _ => "incomplete",
        };
        let OnceReport { created, updated, deleted, rejected, pending, held_back, error } = done;
        Self {
            cluster_id,
            bk_biz_id,
            outcome,
            created,
            updated,
            deleted,
            rejected,
            pending,
            held_back_deletes: held_back,
            error,
        }
    }

    fn to_text(&self, text: &mut String) {
        let Self { cluster_id, bk_biz_id, created, updated, deleted, .. } = self;
        let whose = format!("{} (business {bk_biz_id})", printable(cluster_id));
        let _ = match (self.outcome, &self.error) {
            ("failed", error) => {
                let error = error.as_deref().unwrap_or_default();
                writeln!(text, "{whose}: failed: {}", printable(error))
            }
            _ => writeln!(text, "{whose}: {created} created, {updated} updated, {deleted} deleted"),
        };
        let mut left = |number: usize, what: &str, next: &str| {
            if number > 0 {
                let _ = writeln!(text, "  {number} {what}: {}", printable(next));
            }
        };
        left(self.rejected, "refused by the CMDB, or without a module", "--v 4 shows each reason");
        left(self.pending, "not written", self.error.as_deref().unwrap_or("run it again"));
        left(
            self.held_back_deletes,
            "deletes held back by the guard",
            "look at diff, then run it again with --approve-deletes",
        );
    }
}

impl Report {
    fn to_text(&self) -> String {
        let mut text = String::new();
        if self.sync_policy == "dry-run" {
            text.push_str("dry-run: nothing was written; what would be:\n");
        }
        self.clusters.iter().for_each(|cluster| cluster.to_text(&mut text));
        if self.clusters.is_empty() {
            text.push_str("the inventory has no cluster\n");
        }
        text
    }
}
