//! Reading: a pool of connections, and the list call.

use super::writer::push_where;
use super::{Scope, StoreError, database_fault, schema};
use crate::container_server::codes::{self, Fault};
use crate::container_server::fields::FieldSpec;
use crate::container_server::filter::Sql;
use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use rusqlite::types::{Value as Cell, ValueRef};
use rusqlite::{Connection, Row, params_from_iter};
use serde_json::{Map, Value};
use std::path::Path;
use std::time::Duration;

/// How long a call waits for a connection before it answers that the server is busy.
const WAIT: Duration = Duration::from_secs(10);

/// Read connections, each used by one caller at a time.
pub struct Readers {
    connections: Vec<Mutex<Connection>>,
    free: Receiver<usize>,
    back: Sender<usize>,
}

impl Readers {
    /// Opens `count` connections.
    pub fn open(path: &Path, count: usize) -> Result<Self, StoreError> {
        let (back, free) = bounded(count);
        let mut connections = Vec::with_capacity(count);
        for index in 0..count {
            connections.push(Mutex::new(schema::open_reader(path)?));
            // The channel has room for all of them.
            let _ = back.send(index);
        }
        Ok(Self { connections, free, back })
    }

    /// Runs `read` on a connection of its own.
    pub fn with<T>(&self, read: impl FnOnce(&mut Connection) -> rusqlite::Result<T>) -> Result<T, Fault> {
        let busy = |_| Fault::new(codes::SELECT_FAILED, "all read connections are in use: try again");
        let lease = Lease { index: self.free.recv_timeout(WAIT).map_err(busy)?, back: &self.back };
        let result = read(&mut self.connections[lease.index].lock());
        result.map_err(|error| database_fault(codes::SELECT_FAILED, &error))
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
    /// Columns to return.
    pub columns: Vec<&'static FieldSpec>,
    /// `ORDER BY` terms.
    pub order: String,
    /// Records to skip.
    pub start: u64,
    /// Records to return at most; 0: all.
    pub limit: u64,
}

/// Records of one list call.
#[derive(Debug, PartialEq, serde::Serialize)]
pub struct Page {
    /// How many records the filter selects.
    pub count: i64,
    /// Those of the page.
    pub info: Vec<Map<String, Value>>,
}

/// Total and page, as of one moment.
pub fn list(connection: &mut Connection, query: &ListQuery) -> rusqlite::Result<Page> {
    let mut selection = Sql::default();
    push_where(&mut selection, &query.scope, &query.filter);
    let transaction = connection.transaction()?;
    let count = transaction
        .prepare_cached(&format!("SELECT count(*) FROM pod{}", selection.text))?
        .query_row(params_from_iter(&selection.parameters), |row| row.get(0))?;
    // An empty projection still returns a record each.
    let columns = if query.columns.is_empty() {
        "NULL".to_owned()
    } else {
        schema::names(query.columns.iter().copied())
    };
    let limit = if query.limit == 0 { u64::MAX } else { query.limit };
    let bound = |number: u64| Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX));
    let text =
        format!("SELECT {columns} FROM pod{} ORDER BY {} LIMIT ? OFFSET ?", selection.text, query.order);
    selection.parameters.extend([bound(limit), bound(query.start)]);
    let info = transaction
        .prepare_cached(&text)?
        .query_map(params_from_iter(&selection.parameters), |row| record(&query.columns, row))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(Page { count, info })
}

/// A row as JSON; what is absent is `null`.
pub fn record(columns: &[&FieldSpec], row: &Row<'_>) -> rusqlite::Result<Map<String, Value>> {
    let mut record = Map::new();
    for (index, field) in columns.iter().enumerate() {
        let value = match row.get_ref(index)? {
            ValueRef::Integer(number) => number.into(),
            ValueRef::Text(text) => String::from_utf8_lossy(text).into(),
            _ => Value::Null,
        };
        record.insert(field.name.to_owned(), value);
    }
    Ok(record)
}

/// Whether the database can be read at all.
pub fn probe(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.query_row("SELECT count(*) FROM (SELECT 1 FROM pod LIMIT 1)", [], |_| Ok(()))
}

/// How many records there are.
pub fn count(connection: &mut Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM pod", [], |row| row.get(0))
}
