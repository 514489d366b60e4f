//! Reading: a pool of connections, each call within its time, and the list call.
//!
//! A list is written as JSON while its rows are read, so that its length costs no memory here.

use super::counts::{self, Total};
use super::record::write_record;
use super::writer::push_where;
use super::{Scope, StoreError, database_fault, schema};
use crate::container_server::codes::{self, Fault};
use crate::container_server::fields::FieldSpec;
use crate::container_server::filter::Sql;
use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, ErrorCode, Transaction, params_from_iter};
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long a call waits for a connection before it answers that the server is busy.
const WAIT: Duration = Duration::from_secs(10);
/// Steps of SQLite's machine between two looks at the clock: tens of microseconds.
const STEPS: i32 = 1000;

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// SQLite's own words.
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    /// What was read could not be put down.
    #[error("the answer cannot be kept: {0}")]
    Output(#[from] io::Error),
}

/// Read connections, each used by one caller at a time.
pub struct Readers {
    connections: Vec<Mutex<Connection>>,
    free: Receiver<usize>,
    back: Sender<usize>,
    timeout: Duration,
}

impl Readers {
    /// Opens `count` connections; no read on them takes longer than `timeout`.
    pub fn open(path: &Path, count: usize, timeout: Duration) -> Result<Self, StoreError> {
        let (back, free) = bounded(count);
        let mut connections = Vec::with_capacity(count);
        for index in 0..count {
            connections.push(Mutex::new(schema::open_reader(path)?));
            // The channel has room for all of them.
            let _ = back.send(index);
        }
        Ok(Self { connections, free, back, timeout })
    }

    /// Runs `read` on a connection of its own.
    pub fn with<T, E: Into<ReadError>>(
        &self,
        read: impl FnOnce(&mut Connection) -> Result<T, E>,
    ) -> Result<T, Fault> {
        let busy = |_| Fault::new(codes::SELECT_FAILED, "all read connections are in use: try again");
        let lease = Lease { index: self.free.recv_timeout(WAIT).map_err(busy)?, back: &self.back };
        let mut connection = self.connections[lease.index].lock();
        let deadline = Instant::now() + self.timeout;
        connection.progress_handler(STEPS, Some(move || Instant::now() >= deadline));
        read(&mut connection).map_err(|error| self.fault(&error.into()))
    }

    /// Closes every connection; nobody reads any more.
    pub fn close(&mut self) {
        self.connections.clear();
    }

    fn fault(&self, error: &ReadError) -> Fault {
        match error {
            ReadError::Database(error)
                if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) =>
            {
                let seconds = self.timeout.as_secs();
                let message = format!(
                    "the query took longer than {seconds} s (query_timeout): narrow its filter, or ask for smaller pages"
                );
                Fault::new(codes::SELECT_FAILED, message)
            }
            ReadError::Database(error) => database_fault(codes::SELECT_FAILED, error),
            ReadError::Output(_) => Fault::new(codes::SELECT_FAILED, error.to_string()),
        }
    }
}

/// A connection in use; free again when this is dropped, after a panic too.
struct Lease<'a> {
    index: usize,
    back: &'a Sender<usize>,
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let _ = self.back.send(self.index);
    }
}

/// A list call, translated.
#[derive(Debug)]
pub struct ListQuery {
    /// Whose records.
    pub scope: Scope,
    /// Which of them.
    pub filter: Sql,
    /// What that selects, if its number is known.
    pub total: Total,
    /// Columns to return.
    pub columns: Vec<&'static FieldSpec>,
    /// `ORDER BY` terms.
    pub order: String,
    /// Records to skip.
    pub start: u64,
    /// Records to return at most; 0: all.
    pub limit: u64,
}

/// Writes `{"info":[…],"count":N}` to `out`: the page, and how many records the filter selects in
/// all, as of one moment.
pub fn list(connection: &mut Connection, query: &ListQuery, out: &mut dyn Write) -> Result<(), ReadError> {
    let mut selection = Sql::default();
    push_where(&mut selection, &query.scope, &query.filter);
    let transaction = connection.transaction()?;
    out.write_all(b"{\"info\":[")?;
    let records = write_page(&transaction, query, &selection, out)?;
    // Only a page that is full, or lies behind the end, leaves open how many there are.
    let count = if (records == query.limit && query.limit > 0) || (records == 0 && query.start > 0) {
        count_of(&transaction, query, &selection)?
    } else {
        query.start + records
    };
    write!(out, "],\"count\":{count}}}")?;
    Ok(())
}

/// Writes the records of the page, separated by commas; returns how many.
fn write_page(
    transaction: &Transaction<'_>,
    query: &ListQuery,
    selection: &Sql,
    out: &mut dyn Write,
) -> Result<u64, ReadError> {
    // An empty projection still returns a record each.
    let columns = if query.columns.is_empty() {
        "NULL".to_owned()
    } else {
        schema::names(query.columns.iter().copied())
    };
    let text =
        format!("SELECT {columns} FROM pod{} ORDER BY {} LIMIT ? OFFSET ?", selection.text, query.order);
    let limit = if query.limit == 0 { u64::MAX } else { query.limit };
    let bounds = [limit, query.start].map(|number| Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX)));
    let mut select = transaction.prepare_cached(&text)?;
    let mut rows = select.query(params_from_iter(selection.parameters.iter().chain(&bounds)))?;
    let (mut records, mut record) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        record.clear();
        if records > 0 {
            record.push(b',');
        }
        write_record(&query.columns, row, &mut record)?;
        out.write_all(&record)?;
        records += 1;
    }
    Ok(records)
}

fn count_of(transaction: &Transaction<'_>, query: &ListQuery, selection: &Sql) -> rusqlite::Result<u64> {
    match &query.total {
        Total::Business => counts::known(transaction, &query.scope, None),
        Total::Modules(modules) => counts::known(transaction, &query.scope, Some(modules)),
        Total::Filter => transaction
            .prepare_cached(&format!("SELECT count(*) FROM pod{}", selection.text))?
            .query_row(params_from_iter(&selection.parameters), |row| row.get(0)),
    }
}

/// Whether the database can be read at all.
pub fn probe(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.query_row("SELECT count(*) FROM (SELECT 1 FROM pod LIMIT 1)", [], |_| Ok(()))
}
