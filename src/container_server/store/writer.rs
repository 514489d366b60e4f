//! The one thread that writes.
//!
//! It takes whatever is waiting, up to a bound, into one transaction with one flush; each write
//! has a savepoint of its own in it, so that one that fails takes no other with it. Nobody is told
//! of success before the commit returned.

use super::{FenceToken, Scope, database_fault, schema};
use crate::container_server::codes::{self, Fault};
use crate::container_server::fields::{self, FIELDS};
use crate::container_server::filter::Sql;
use crate::container_server::rules::{Change, Row};
use crossbeam::channel::{Receiver, Sender};
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, OptionalExtension, Savepoint, TransactionBehavior, params, params_from_iter};

/// Writes that share one flush: bounds how long the first of them waits for the others.
const GROUP: usize = 256;

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

/// Writes until the last sender is gone.
pub fn run(mut connection: Connection, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        group.extend(jobs.try_iter().take(GROUP - 1));
        match commit(&mut connection, &group) {
            Ok(outcomes) => {
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
fn commit(connection: &mut Connection, group: &[Job]) -> rusqlite::Result<Vec<Result<Outcome, Fault>>> {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut outcomes = Vec::with_capacity(group.len());
    for job in group {
        if let Some(fault) = fence_fault(&transaction, job)? {
            outcomes.push(Err(fault));
            continue;
        }
        let mut savepoint = transaction.savepoint()?;
        match apply(&savepoint, &job.write, &now) {
            Ok(outcome) => {
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
    transaction.commit()?;
    Ok(outcomes)
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

fn apply(savepoint: &Savepoint<'_>, write: &Write, now: &str) -> rusqlite::Result<Outcome> {
    match write {
        Write::Create { account, rows } => {
            let outcomes: rusqlite::Result<_> =
                rows.iter().map(|row| create(savepoint, account, row, now)).collect();
            outcomes.map(Outcome::Created)
        }
        Write::Update { scope, condition, changes } => {
            update(savepoint, scope, condition, changes, now).map(Outcome::Count)
        }
        Write::Delete { scope, condition } => delete(savepoint, scope, condition).map(Outcome::Count),
        Write::Heartbeat => {
            let mut beat = savepoint.prepare_cached("INSERT OR REPLACE INTO heartbeat VALUES (1, ?)")?;
            beat.execute([now]).map(Outcome::Count)
        }
    }
}

/// Inserts a record, or says which unique rule stands against it.
fn create(
    connection: &Connection,
    account: &str,
    row: &Row,
    now: &str,
) -> rusqlite::Result<Result<i64, Fault>> {
    let marks = vec!["?"; FIELDS.len() + 3].join(",");
    let text = format!(
        "INSERT INTO pod ({},bk_supplier_account,create_time,last_time) VALUES ({marks}) ON CONFLICT DO NOTHING",
        schema::names(&FIELDS)
    );
    let mut insert = connection.prepare_cached(&text)?;
    let generated = [Cell::Text(account.to_owned()), Cell::Text(now.to_owned()), Cell::Text(now.to_owned())];
    if insert.execute(params_from_iter(row.iter().chain(&generated)))? == 1 {
        return Ok(Ok(connection.last_insert_rowid()));
    }
    for keys in fields::UNIQUE_RULES {
        let matches: Vec<_> = keys.iter().map(|key| format!("{key} = ?")).collect();
        let text =
            format!("SELECT 1 FROM pod WHERE bk_supplier_account = ? AND {} LIMIT 1", matches.join(" AND "));
        let values = keys.iter().filter_map(|key| fields::position(key).map(|at| &row[at]));
        let account = Cell::Text(account.to_owned());
        if connection
            .prepare_cached(&text)?
            .exists(params_from_iter(std::iter::once(&account).chain(values)))?
        {
            return Ok(Err(Fault::new(codes::DUPLICATE, format!("duplicate: {}", keys.join(", ")))));
        }
    }
    Ok(Err(Fault::new(codes::DUPLICATE, "duplicate")))
}

fn update(
    connection: &Connection,
    scope: &Scope,
    condition: &Sql,
    changes: &[Change],
    now: &str,
) -> rusqlite::Result<usize> {
    let mut sql = Sql::default();
    sql.push("UPDATE pod SET last_time = ?", [Cell::Text(now.to_owned())]);
    for (at, cell) in changes {
        sql.push(&format!(",{} = ?", FIELDS[*at].name), [cell.clone()]);
    }
    push_where(&mut sql, scope, condition);
    connection.prepare_cached(&sql.text)?.execute(params_from_iter(&sql.parameters))
}

fn delete(connection: &Connection, scope: &Scope, condition: &Sql) -> rusqlite::Result<usize> {
    let mut sql = Sql::default();
    sql.push("DELETE FROM pod", []);
    push_where(&mut sql, scope, condition);
    connection.prepare_cached(&sql.text)?.execute(params_from_iter(&sql.parameters))
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
