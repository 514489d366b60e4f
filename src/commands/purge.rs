//! `purge`: deletes every record of a cluster from a business.
//!
//! For clusters that left the inventory, and for records that ended up in the wrong business. It
//! asks nobody whether the pods still exist: a cluster that is still synchronised gets its records
//! back with the next full sync.

use super::progress::Progress;
use super::turn::{Turn, Work, interruption};
use super::{FAILED, GOOD, count, failed, peers, print};
use crate::cli::{Output, PurgeArgs};
use crate::cmdb::{CmdbError, Scope};
use crate::config::{Config, SyncPolicy, printable};
use crate::journal::{DeletedRecord, Journal};
use crate::plan::Proof;
use crate::sync::Peers;
use jiff::Timestamp;
use serde::Serialize;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// The result.
#[derive(Debug, Serialize)]
struct Report {
    cluster_id: String,
    bk_biz_id: i64,
    /// `ok`, `cancelled` or `failed`.
    outcome: &'static str,
    /// Records there were.
    found: usize,
    deleted: u64,
    error: Option<String>,
}

/// `purge`; returns the exit code.
pub fn purge(config: &Config, flags: &PurgeArgs) -> i32 {
    let mut report = Report {
        cluster_id: flags.cluster.clone(),
        bk_biz_id: flags.biz,
        outcome: "ok",
        found: 0,
        deleted: 0,
        error: None,
    };
    match purge_cluster(config, flags, &mut report) {
        Ok(true) => {}
        Ok(false) => report.outcome = "cancelled",
        Err(error) => {
            report.outcome = "failed";
            report.error = Some(error.to_string());
            failed(&error);
            if report.found > 0 {
                let (deleted, found) = (report.deleted, count(report.found, "record"));
                eprintln!(
                    "{deleted} of {found} deleted; run it again when nothing stands in the way: it goes on from there"
                );
            }
        }
    }
    let code = if report.outcome == "ok" { GOOD } else { FAILED };
    match flags.output == Output::Json || report.error.is_none() {
        true => print(flags.output, &report, || report.to_text(), code),
        false => code,
    }
}

/// `false` if the operator does not want it.
fn purge_cluster(
    config: &Config,
    flags: &PurgeArgs,
    report: &mut Report,
) -> Result<bool, Box<dyn std::error::Error>> {
    let policy = config.policy_of(&flags.cluster);
    if policy == SyncPolicy::UpsertOnly {
        return Err("sync_policy is upsert-only, which never deletes: give --sync_policy sync".into());
    }
    let peers = peers(config)?;
    report.found = count_records(&peers, flags)?;
    if policy == SyncPolicy::DryRun {
        return Ok(true);
    }
    if report.found > 0 && config.delete_journal.is_none() {
        eprintln!("no journal of these deletes is kept; --delete_journal DIRECTORY keeps one");
    }
    if report.found > 0 && !flags.yes && !confirmed(config, flags, report.found)? {
        return Ok(false);
    }
    let turn = Turn::begin(config, Work::Purge)?;
    let interrupted = interruption()?;
    let fence = turn.take(&flags.cluster, &interrupted)?;
    let scope = Scope { biz: flags.biz, cluster: &flags.cluster, fence: fence.as_ref() };
    let mut progress = Progress::new();
    progress.begin(format!("{}: deleting records", flags.cluster), Some(report.found));
    let journal = Journal::start(config.delete_journal.as_deref())?;
    let deleted = delete_all(&peers, &scope, &journal, &interrupted, report, &mut progress);
    progress.end();
    let forgotten = deleted.and_then(|()| Ok(turn.forget(&flags.cluster, flags.biz)?));
    turn.give_back(&flags.cluster);
    forgotten.map(|()| true)
}

fn count_records(peers: &Peers, flags: &PurgeArgs) -> Result<usize, CmdbError> {
    let (mut all, mut after) = (0, Some(0));
    while let Some(last) = after {
        let page = peers.cmdb.list_page(flags.biz, &flags.cluster, last, &mut |_| {})?;
        all += page.records;
        after = page.next;
    }
    Ok(all)
}

fn confirmed(config: &Config, flags: &PurgeArgs, found: usize) -> io::Result<bool> {
    let cmdb = format!("{}{}", config.cmdb_addr.origin, config.cmdb_addr.prefix);
    let cluster = printable(&flags.cluster);
    let what = format!("{} of cluster {cluster} in business {} of {cmdb}", count(found, "record"), flags.biz);
    if !io::stdin().is_terminal() {
        eprintln!("{what} would be deleted; nobody can be asked here, so give --yes");
        return Ok(false);
    }
    eprint!("Delete {what}? Type yes: ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

/// Deletes page by page until a listing from the start is empty; a listing none of whose records can be deleted is
/// an error.
fn delete_all(
    peers: &Peers,
    scope: &Scope<'_>,
    journal: &Journal,
    interrupted: &AtomicBool,
    report: &mut Report,
    progress: &mut Progress,
) -> Result<(), Box<dyn std::error::Error>> {
    let (mut after, mut listed, mut deleted_before) = (0, 0, 0);
    loop {
        let mut records = Vec::new();
        let page = peers
            .cmdb
            .list_page(scope.biz, scope.cluster, after, &mut |stored| records.push(stored.record))?;
        listed += page.records;
        for record in records {
            if interrupted.load(Relaxed) {
                return Err("interrupted".into());
            }
            match peers.cmdb.delete(scope, &record.uuid)? {
                0 => continue,
                deleted => report.deleted += deleted,
            }
            journal.add(DeletedRecord {
                time: now(),
                cluster_id: scope.cluster.to_owned(),
                uuid: record.uuid,
                namespace: record.namespace,
                name: record.name,
                proof: Proof::Purged.to_string(),
            });
            progress.at(report.deleted as usize);
        }
        match page.next {
            Some(next) => after = next,
            None if listed == 0 => return Ok(()),
            None if report.deleted == deleted_before => {
                return Err(format!(
                    "the CMDB lists {} of which a delete finds none; its log may tell why",
                    count(listed, "record")
                )
                .into());
            }
            // Once more: records that came while pages behind them were read.
            None => (after, listed, deleted_before) = (0, 0, report.deleted),
        }
    }
}

/// Now, RFC 3339, whole seconds.
fn now() -> String {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

impl Report {
    fn to_text(&self) -> String {
        let Self { found, deleted, bk_biz_id, .. } = self;
        let whose = format!("{} (business {bk_biz_id})", printable(&self.cluster_id));
        match (self.outcome, found) {
            ("cancelled", _) => format!("{whose}: nothing was deleted\n"),
            (_, 0) => format!("{whose}: there was no record\n"),
            (_, found) if *deleted == 0 => {
                format!("{whose}: dry-run, {} would be deleted\n", count(*found, "record"))
            }
            _ => format!("{whose}: {} deleted\n", count(*deleted as usize, "record")),
        }
    }
}
