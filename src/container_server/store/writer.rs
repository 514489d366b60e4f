//! The one thread that writes.
//!
//! It takes whatever is waiting, up to a bound, into one transaction with one flush; each write
//! has a savepoint of its own in it, so that one that fails takes no other with it. Nobody is told
//! of success before the commit returned. What a write changed goes into the change feed in the
//! same transaction: the feed has neither more nor less than what was committed, in that order.

use super::feed::Feed;
use super::keeper::Keeper;
use super::{FenceToken, Scope, database_fault, reader, schema};
use crate::container_server::codes::{self, Fault};
use crate::container_server::fields::{self, FIELDS, FieldSpec};
use crate::container_server::filter::Sql;
use crate::container_server::rules::{Change, Row};
use crossbeam::channel::{Receiver, Sender};
use rusqlite::types::{ToSqlOutput, Value as Cell, ValueRef};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params, params_from_iter};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

/// Writes that share one flush: bounds how long the first of them waits for the others.
const GROUP: usize = 256;

/// Bytes of a usual record.
const RECORD: usize = 2048;

/// Changes a commit always may remove from the feed beside two for each it adds: so the feed
/// shrinks to its retention whatever the rate, and no commit takes long.
const PRUNE: usize = 64;

/// What is to be written.
pub enum Write {
    /// New records.
    Create {
        /// Supplier account they belong to.
        account: String,
        /// Checked values.
        rows: Vec<Row>,
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
    /// Nothing but proof that writing works.
    Heartbeat,
}

impl Write {
    /// The code of a database failure (protocol.md 2).
    pub fn failure_code(&self) -> i64 {
        match self {
            Self::Create { .. } => codes::INSERT_FAILED,
            Self::Update { .. } | Self::Heartbeat => codes::UPDATE_FAILED,
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

/// How much was written, for the metrics.
#[derive(Debug, Default)]
pub struct Tally {
    /// Commits.
    pub flushes: AtomicU64,
    /// Writes that were in them.
    pub writes: AtomicU64,
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
}

impl Writer {
    /// Writes until the last sender is gone.
    pub fn run(mut self, jobs: &Receiver<Job>) {
        while let Ok(first) = jobs.recv() {
            let mut group = vec![first];
            group.extend(jobs.try_iter().take(GROUP - 1));
            match self.commit(&group) {
                Ok(outcomes) => {
                    self.tally.flushes.fetch_add(1, Ordering::Relaxed);
                    self.tally.writes.fetch_add(group.len() as u64, Ordering::Relaxed);
                    for (job, outcome) in group.iter().zip(outcomes) {
                        // A caller that no longer waits has nothing to be told.
                        let _ = job.reply.send(outcome);
                    }
                }
                Err(error) => {
                    log::error!("container server: {} writes failed: {error}", group.len());
                    for job in &group {
                        let _ = job.reply.send(Err(database_fault(job.write.failure_code(), &error)));
                    }
                }
            }
        }
    }

    /// One transaction: an outcome for each job, or an error that undid them all.
    fn commit(&mut self, group: &[Job]) -> rusqlite::Result<Vec<Result<Outcome, Fault>>> {
        let now = jiff::Timestamp::now();
        let mut transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut outcomes = Vec::with_capacity(group.len());
        let columns: Vec<_> = fields::columns().collect();
        let mut changes = 0;
        for job in group {
            if let Some(fault) = fence_fault(&transaction, job)? {
                outcomes.push(Err(fault));
                continue;
            }
            let mut savepoint = transaction.savepoint()?;
            let mut edit = Edit::new(&savepoint, &columns, now);
            match edit.apply(&job.write) {
                Ok(outcome) => {
                    changes += edit.changes;
                    savepoint.commit()?;
                    outcomes.push(Ok(outcome));
                }
                // A full disk and its like end the whole transaction, not the statement alone.
                Err(error) if savepoint.is_autocommit() => return Err(error),
                Err(error) => {
                    savepoint.rollback()?;
                    savepoint.commit()?;
                    outcomes.push(Err(database_fault(job.write.failure_code(), &error)));
                }
            }
        }
        if changes > 0 {
            prune(&transaction, now, self.retention, 2 * changes + PRUNE)?;
        }
        transaction.commit()?;
        if changes > 0 {
            self.feed.publish(super::feed::last_sequence(&self.connection)?);
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

/// Remembers the fence number of a write, or refuses it because a later holder was here.
fn fence_fault(connection: &Connection, job: &Job) -> rusqlite::Result<Option<Fault>> {
    let Some(fence) = &job.fence else { return Ok(None) };
    let account = match &job.write {
        Write::Create { account, .. } => account,
        Write::Update { scope, .. } | Write::Delete { scope, .. } => &scope.account,
        Write::Heartbeat => return Ok(None),
    };
    let mut select = connection
        .prepare_cached("SELECT number FROM fence WHERE bk_supplier_account = ? AND cluster = ?")?;
    let highest: Option<i64> =
        select.query_row(params![account, fence.cluster], |row| row.get(0)).optional()?;
    match highest {
        Some(highest) if fence.number < highest => {
            let message = format!(
                "{} was written under fence {highest} already; {} is no longer in force",
                fence.cluster, fence.number
            );
            Ok(Some(Fault::new(codes::FENCED, message).with_status(409)))
        }
        Some(highest) if fence.number == highest => Ok(None),
        _ => {
            let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO fence VALUES (?, ?, ?)")?;
            insert.execute(params![account, fence.cluster, fence.number])?;
            Ok(None)
        }
    }
}

/// What a statement that changes records tells of each: all of it, for the feed.
static RETURNING: LazyLock<String> =
    LazyLock::new(|| format!(" RETURNING {}", schema::names(fields::columns())));
/// Inserts one record, if no unique rule stands against it.
static INSERT: LazyLock<String> = LazyLock::new(|| {
    let marks = vec!["?"; FIELDS.len() + 3].join(",");
    format!(
        "INSERT INTO pod ({},bk_supplier_account,create_time,last_time) VALUES ({marks}) ON CONFLICT DO NOTHING{}",
        schema::names(&FIELDS),
        *RETURNING
    )
});

/// One write within its savepoint.
struct Edit<'a> {
    connection: &'a Connection,
    columns: &'a [&'static FieldSpec],
    now: jiff::Timestamp,
    time: String,
    changes: usize,
}

impl<'a> Edit<'a> {
    fn new(connection: &'a Connection, columns: &'a [&'static FieldSpec], now: jiff::Timestamp) -> Self {
        let time = now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
        Self { connection, columns, now, time, changes: 0 }
    }

    fn apply(&mut self, write: &Write) -> rusqlite::Result<Outcome> {
        match write {
            Write::Create { account, rows } => {
                let outcomes: rusqlite::Result<_> =
                    rows.iter().map(|row| self.create(account, row)).collect();
                outcomes.map(Outcome::Created)
            }
            Write::Update { scope, condition, changes } => {
                self.update(scope, condition, changes).map(Outcome::Count)
            }
            Write::Delete { scope, condition } => {
                let mut sql = Sql::default();
                sql.push("DELETE FROM pod", []);
                push_where(&mut sql, scope, condition);
                sql.push(&RETURNING, []);
                let deleted = self.change("delete", &scope.account, &sql.text, sql.parameters.iter())?;
                Ok(Outcome::Count(deleted.len()))
            }
            Write::Heartbeat => {
                let text = "INSERT OR REPLACE INTO heartbeat VALUES (1, ?)";
                self.connection.prepare_cached(text)?.execute([&self.time]).map(Outcome::Count)
            }
        }
    }

    /// Inserts a record, or says which unique rule stands against it.
    fn create(&mut self, account: &str, row: &Row) -> rusqlite::Result<Result<i64, Fault>> {
        let generated = [account, &self.time, &self.time].map(|text| Cell::Text(text.to_owned()));
        let created = self.change("create", account, &INSERT, row.iter().chain(&generated))?;
        match created.first() {
            Some(id) => Ok(Ok(*id)),
            None => self.duplicate(account, row).map(Err),
        }
    }

    /// Which unique rule a refused record violates.
    fn duplicate(&self, account: &str, row: &Row) -> rusqlite::Result<Fault> {
        for keys in fields::UNIQUE_RULES {
            let matches: Vec<_> = keys.iter().map(|key| format!("{key} = ?")).collect();
            let text = format!(
                "SELECT 1 FROM pod WHERE bk_supplier_account = ? AND {} LIMIT 1",
                matches.join(" AND ")
            );
            let account = Cell::Text(account.to_owned());
            let values = keys.iter().filter_map(|key| fields::position(key).map(|at| &row[at]));
            let values = params_from_iter(std::iter::once(&account).chain(values));
            if self.connection.prepare_cached(&text)?.exists(values)? {
                return Ok(Fault::new(codes::DUPLICATE, format!("duplicate: {}", keys.join(", "))));
            }
        }
        Ok(Fault::new(codes::DUPLICATE, "duplicate"))
    }

    fn update(&mut self, scope: &Scope, condition: &Sql, changes: &[Change]) -> rusqlite::Result<usize> {
        let mut sql = Sql::default();
        sql.push("UPDATE pod SET last_time = ?", [Cell::Text(self.time.clone())]);
        for (at, cell) in changes {
            sql.push(&format!(",{} = ?", FIELDS[*at].name), [cell.clone()]);
        }
        push_where(&mut sql, scope, condition);
        sql.push(&RETURNING, []);
        let updated = self.change("update", &scope.account, &sql.text, sql.parameters.iter())?;
        Ok(updated.len())
    }

    /// Runs a statement, which ends with [`RETURNING`], and puts the records it touched into the
    /// feed; of a deleted one, what it was. Returns their instance ids.
    fn change<'p>(
        &mut self,
        action: &str,
        account: &str,
        text: &str,
        parameters: impl Iterator<Item = &'p Cell>,
    ) -> rusqlite::Result<Vec<i64>> {
        let mut touched = Vec::new();
        let mut statement = self.connection.prepare_cached(text)?;
        let mut rows = statement.query(params_from_iter(parameters))?;
        while let Some(row) = rows.next()? {
            let mut pod = Vec::with_capacity(RECORD);
            reader::write_record(self.columns, row, &mut pod)?;
            touched.push((row.get("bk_pod_id")?, row.get::<_, i64>("bk_biz_id")?, pod));
        }
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO change (at,bk_supplier_account,bk_biz_id,action,pod) VALUES (?,?,?,?,?)",
        )?;
        for (_, biz, pod) in &touched {
            let pod = ToSqlOutput::Borrowed(ValueRef::Text(pod));
            insert.execute(params![self.now.as_millisecond(), account, biz, action, pod])?;
        }
        self.changes += touched.len();
        Ok(touched.into_iter().map(|(id, _, _)| id).collect())
    }
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
