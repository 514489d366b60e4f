//! The one thread that writes.
//!
//! It takes whatever is waiting, up to a bound, into one transaction with one flush. A group in which
//! a write fails is undone, and each of it gets a transaction of its own: one that fails takes no
//! other with it, and those that do not fail pay for no savepoint. Nobody is told of success before
//! the commit returned. What a write changed goes into the change feed in the same transaction: the
//! feed has neither more nor less than what was committed, in that order.

use super::edit::Edit;
use super::feed::Feed;
use super::fence::Seen;
use super::keeper::Keeper;
use super::record::Draft;
use super::{FenceToken, Scope, database_fault};
use crate::container_server::codes::{self, Fault};
use crate::container_server::filter::Sql;
use crate::container_server::rules::Change;
use crate::logging::{Told, Trouble};
use crossbeam::channel::{Receiver, Sender};
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Writes that share one flush: bounds how long the first of them waits for the others.
const GROUP: usize = 256;

/// Changes a commit always may remove from the feed beside two for each it adds: so the feed
/// shrinks to its retention whatever the rate, and no commit takes long.
const PRUNE: usize = 64;

/// What is to be written.
pub enum Write {
    /// New records.
    Create {
        /// Where they belong.
        scope: Scope,
        /// What they are.
        drafts: Vec<Draft>,
    },
    /// New values for the records a condition selects.
    Update {
        /// Whose records.
        scope: Scope,
        /// Which of them.
        condition: Sql,
        /// Checked values.
        changes: Vec<Change>,
    },
    /// The end of the records a condition selects.
    Delete {
        /// Whose records.
        scope: Scope,
        /// Which of them.
        condition: Sql,
    },
    /// Nothing, under a fence: the number is remembered.
    Nothing {
        /// Whose fence.
        scope: Scope,
    },
    /// Nothing but proof that writing works.
    Heartbeat,
}

impl Write {
    /// The code of a database failure (protocol.md 2).
    pub fn failure_code(&self) -> i64 {
        match self {
            Self::Create { .. } => codes::INSERT_FAILED,
            Self::Update { .. } | Self::Nothing { .. } | Self::Heartbeat => codes::UPDATE_FAILED,
            Self::Delete { .. } => codes::DELETE_FAILED,
        }
    }
}

/// What was written.
#[derive(Debug)]
pub enum Outcome {
    /// For each record its instance id, or why there is none.
    Created(Vec<Result<i64, Fault>>),
    /// How many records were changed or deleted.
    Count(usize),
}

/// A write and who waits for it.
pub struct Job {
    /// What.
    pub write: Write,
    /// Under which lock.
    pub fence: Option<FenceToken>,
    /// Who.
    pub reply: Sender<Result<Outcome, Fault>>,
}

impl Job {
    /// Remembers the fence number, or refuses the write because a later holder was here.
    fn see_fence(&self, connection: &Connection, leaps: &mut Told) -> rusqlite::Result<Option<Fault>> {
        let Some(fence) = &self.fence else { return Ok(None) };
        let account = match &self.write {
            Write::Create { scope, .. }
            | Write::Update { scope, .. }
            | Write::Delete { scope, .. }
            | Write::Nothing { scope } => &scope.account,
            Write::Heartbeat => return Ok(None),
        };
        let FenceToken { cluster, number } = fence;
        match fence.see(connection, account)? {
            Seen::Good => Ok(None),
            Seen::Leapt(known) => {
                if leaps.is_news(cluster) {
                    log::warn!(
                        "cluster={cluster} its fence leapt from {known} to {number}: another ZooKeeper, or a number made up; \
                         if its writer is refused now, see `container-server fences`"
                    );
                }
                Ok(None)
            }
            Seen::Old(known) => {
                let message = format!(
                    "{cluster} was written under fence {known} already; {number} is no longer in force"
                );
                Ok(Some(Fault::new(codes::FENCED, message).with_status(409)))
            }
        }
    }
}

/// How much was written, for the metrics.
#[derive(Debug, Default)]
pub struct Tally {
    /// Commits.
    pub flushes: AtomicU64,
    /// Writes that were in them.
    pub writes: AtomicU64,
    /// Writes refused because a later holder was here.
    pub old_fences: AtomicU64,
    /// Writes refused because no lock has such a number.
    pub future_fences: AtomicU64,
}

/// The writer's connection and whom it tells.
pub struct Writer {
    /// Moves the log; ends before the connection closes.
    pub keeper: Keeper,
    /// Opened for writing.
    pub connection: Connection,
    /// Told of every commit.
    pub feed: Arc<Feed>,
    /// How long changes are kept.
    pub retention: Duration,
    /// Counts.
    pub tally: Arc<Tally>,
    /// The database takes no writes.
    pub trouble: Trouble,
    /// Clusters whose fence leapt.
    pub leaps: Told,
}

impl Writer {
    /// Writes until the last sender is gone.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut group = vec![first];
            group.extend(jobs.try_iter().take(GROUP - 1));
            match self.commit(&group) {
                Err(_) if group.len() > 1 => {
                    for job in group.chunks(1) {
                        let outcome = self.commit(job);
                        self.answer(job, outcome);
                    }
                }
                outcome => self.answer(&group, outcome),
            }
        }
    }

    /// Tells those who wait what became of their writes.
    fn answer(&self, group: &[Job], outcome: rusqlite::Result<Vec<Result<Outcome, Fault>>>) {
        match outcome {
            Ok(outcomes) => {
                if self.trouble.ends() {
                    log::info!("container server: writes succeed again");
                }
                self.tally.flushes.fetch_add(1, Ordering::Relaxed);
                self.tally.writes.fetch_add(group.len() as u64, Ordering::Relaxed);
                for (job, outcome) in group.iter().zip(outcomes) {
                    if outcome.as_ref().is_err_and(|fault| fault.code == codes::FENCED) {
                        self.tally.old_fences.fetch_add(1, Ordering::Relaxed);
                    }
                    // A caller that no longer waits has nothing to be told.
                    let _ = job.reply.send(outcome);
                }
            }
            Err(error) => {
                if self.trouble.begins() {
                    log::error!("container server: a write failed: {error}; callers are told to try again");
                }
                for job in group {
                    let _ = job.reply.send(Err(database_fault(job.write.failure_code(), &error)));
                }
            }
        }
    }

    /// One transaction: an outcome for each job, or an error that undid them all.
    fn commit(&mut self, group: &[Job]) -> rusqlite::Result<Vec<Result<Outcome, Fault>>> {
        let now = jiff::Timestamp::now();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(group.len());
        let mut edit = Edit::new(&transaction, now);
        for job in group {
            outcomes.push(match job.see_fence(&transaction, &mut self.leaps)? {
                Some(fault) => Err(fault),
                None => Ok(edit.apply(&job.write)?),
            });
        }
        edit.finish()?;
        let (changes, sequence) = (edit.changes, edit.sequence);
        if changes > 0 {
            prune(&transaction, now, self.retention, 2 * changes + PRUNE)?;
        }
        transaction.commit()?;
        if changes > 0 {
            self.feed.publish(sequence);
            self.keeper.committed(changes);
        }
        Ok(outcomes)
    }
}

/// Removes changes older than the retention, the oldest first, at most `most` of them.
fn prune(
    connection: &Connection,
    now: jiff::Timestamp,
    retention: Duration,
    most: usize,
) -> rusqlite::Result<()> {
    let kept = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
    let before = now.as_millisecond().saturating_sub(kept);
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT at FROM change ORDER BY sequence LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()?;
    if oldest.is_none_or(|oldest| oldest >= before) {
        return Ok(());
    }
    let mut delete = connection.prepare_cached(
        "DELETE FROM change WHERE at < ? AND sequence IN (SELECT sequence FROM change ORDER BY sequence LIMIT ?)",
    )?;
    delete.execute(params![before, most as i64])?;
    Ok(())
}

/// Appends the condition, within the scope and never beyond it.
pub fn push_where(sql: &mut Sql, scope: &Scope, condition: &Sql) {
    sql.push(
        " WHERE bk_supplier_account = ? AND bk_biz_id = ? AND (",
        [Cell::Text(scope.account.clone()), Cell::Integer(scope.biz)],
    );
    sql.push(&condition.text, condition.parameters.iter().cloned());
    sql.push(")", []);
}
