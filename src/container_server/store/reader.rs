//! Reading: a pool of connections, each call within its time, and the list call.
//!
//! A list is written as JSON while its rows are read, so that its length costs no memory here.

use super::counts;
use super::record::write_record;
use super::writer::push_where;
use super::{Scope, StoreError, database_fault, schema};
use crate::container_server::codes::{self, Fault};
use crate::container_server::fields::FieldSpec;
use crate::container_server::filter::{Group, Sql};
use crossbeam::channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, ErrorCode, Transaction, params_from_iter};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a call waits for a connection before it answers that the server is busy.
const WAIT: Duration = Duration::from_secs(10);
/// How long a call waits that finds as many waiting as may: pages found by an index are read by then.
const SHORT_WAIT: Duration = Duration::from_millis(100);
/// Steps of SQLite's machine between two looks at the clock: tens of microseconds.
const STEPS: i32 = 1000;

/// What keeps a page of a counted group to the ids it lies between.
const PLACE: &str = " AND bk_pod_id BETWEEN ? AND ?";

/// Why a read failed.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// SQLite's own words.
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    /// What was read could not be put down.
    #[error("the answer cannot be kept: {0}; ask for smaller pages")]
    Output(#[from] io::Error),
}

/// Read connections, each used by one caller at a time.
pub struct Readers {
    connections: Vec<Mutex<Connection>>,
    free: Receiver<usize>,
    back: Sender<usize>,
    waiting: AtomicUsize,
    patient: usize,
    timeout: Duration,
}

impl Readers {
    /// Opens `count` connections; no read on them takes longer than `timeout`, and so many callers are
    /// `patient` at the same time.
    pub fn open(path: &Path, count: usize, patient: usize, timeout: Duration) -> Result<Self, StoreError> {
        let (back, free) = bounded(count);
        let mut connections = Vec::with_capacity(count);
        for index in 0..count {
            connections.push(Mutex::new(schema::open_reader(path)?));
            // The channel has room for all of them.
            let _ = back.send(index);
        }
        Ok(Self { connections, free, back, waiting: AtomicUsize::new(0), patient, timeout })
    }

    /// Runs `read` on a connection of its own.
    pub fn with<T, E: Into<ReadError>>(
        &self,
        read: impl FnOnce(&mut Connection) -> Result<T, E>,
    ) -> Result<T, Fault> {
        let lease = self.lease()?;
        let mut connection = self.connections[lease.index].lock();
        let deadline = Instant::now() + self.timeout;
        connection.progress_handler(STEPS, Some(move || Instant::now() >= deadline));
        read(&mut connection).map_err(|error| self.fault(&error.into()))
    }

    fn lease(&self) -> Result<Lease<'_>, Fault> {
        let busy = || Fault::new(codes::SELECT_FAILED, "all read connections are in use: try again");
        let free = self.free.try_recv().ok().or_else(|| {
            let patient = self.waiting.fetch_add(1, Ordering::Relaxed) < self.patient;
            let free = self.free.recv_timeout(if patient { WAIT } else { SHORT_WAIT });
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            free.ok()
        });
        Ok(Lease { index: free.ok_or_else(busy)?, back: &self.back })
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
    /// The group they are, if they are one: then their number is known.
    pub group: Option<Group>,
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
    let selection = selection(query);
    let transaction = connection.transaction()?;
    out.write_all(b"{\"info\":[")?;
    let records = match part(&transaction, query, &selection)? {
        Some(part) => write_page(&transaction, query, &part, out)?,
        None => 0,
    };
    // Only a page that is full, or lies behind the end, leaves open how many there are.
    let count = if (records == query.limit && query.limit > 0) || (records == 0 && query.start > 0) {
        count_of(&transaction, query, &selection)?
    } else {
        query.start + records
    };
    write!(out, "],\"count\":{count}}}")?;
    Ok(())
}

/// `WHERE` and what follows.
fn selection(query: &ListQuery) -> Sql {
    let mut selection = Sql::default();
    push_where(&mut selection, &query.scope, &query.filter);
    selection.push(schema::hint(&query.filter.text), []);
    selection
}

/// The part of the selection that a page is looked for in, and its records that precede the page.
struct Part {
    selection: Sql,
    skip: u64,
}

/// Where the page is looked for: a few thousand ids if the records are a counted group, whatever
/// precedes them, else all of the selection. `None`: there is nothing on it.
fn part(transaction: &Transaction<'_>, query: &ListQuery, selection: &Sql) -> rusqlite::Result<Option<Part>> {
    let mut selection = selection.clone();
    let descending = match query.order.as_str() {
        "bk_pod_id" => false,
        "bk_pod_id DESC" => true,
        _ => return Ok(Some(Part { selection, skip: query.start })),
    };
    let Some(group) = query.group.as_ref().filter(|group| group.after.is_none()) else {
        return Ok(Some(Part { selection, skip: query.start }));
    };
    let page = (query.start, query.limit);
    let Some(place) = counts::place(transaction, &query.scope, group, descending, page)? else {
        return Ok(None);
    };
    selection.push(PLACE, [Cell::Integer(place.first), Cell::Integer(place.last)]);
    Ok(Some(Part { selection, skip: place.skip }))
}

/// The statement that reads a page; its last two values are its length and its start.
fn page_text(query: &ListQuery, selected: &str) -> String {
    // An empty projection still returns a record each.
    let columns = if query.columns.is_empty() {
        "NULL".to_owned()
    } else {
        schema::names(query.columns.iter().copied())
    };
    let order = &query.order;
    match query.limit {
        0 => format!("SELECT {columns} FROM pod{selected} ORDER BY {order} LIMIT ? OFFSET ?"),
        // What is skipped or sorted away is known by its id, and never read.
        _ => format!(
            "SELECT {columns} FROM pod WHERE bk_pod_id IN \
             (SELECT bk_pod_id FROM pod{selected} ORDER BY {order} LIMIT ? OFFSET ?) ORDER BY {order}"
        ),
    }
}

/// Writes the records of the page, separated by commas; returns how many.
fn write_page(
    transaction: &Transaction<'_>,
    query: &ListQuery,
    part: &Part,
    out: &mut dyn Write,
) -> Result<u64, ReadError> {
    let text = page_text(query, &part.selection.text);
    let limit = if query.limit == 0 { u64::MAX } else { query.limit };
    let bounds = [limit, part.skip].map(|number| Cell::Integer(i64::try_from(number).unwrap_or(i64::MAX)));
    let mut select = transaction.prepare_cached(&text)?;
    let mut rows = select.query(params_from_iter(part.selection.parameters.iter().chain(&bounds)))?;
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
    let count = |sql: &Sql| -> rusqlite::Result<u64> {
        transaction
            .prepare_cached(&format!("SELECT count(*) FROM pod{}", sql.text))?
            .query_row(params_from_iter(&sql.parameters), |row| row.get(0))
    };
    let Some(group) = &query.group else { return count(selection) };
    let known = counts::known(transaction, &query.scope, group)?;
    let Some(after) = group.after else { return Ok(known) };
    let mut begun = selection.clone();
    begun.push(" AND bk_pod_id <= ?", [Cell::Integer(counts::last_unknown(after))]);
    Ok(known + count(&begun)?)
}

/// Whether the database can be read at all.
pub fn probe(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.query_row("SELECT count(*) FROM (SELECT 1 FROM pod LIMIT 1)", [], |_| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container_server::filter;
    use serde_json::{Value, json};

    /// What the list's own statement would go through, in SQLite's words.
    fn plan(connection: &Connection, rules: &Value, order: &str, bound: &str) -> String {
        let scope = Scope { account: "0".to_owned(), biz: 2 };
        let filter = match rules {
            Value::Null => filter::filter(rules),
            rules => filter::filter(&json!({"condition": "AND", "rules": rules})),
        };
        let query = ListQuery {
            scope,
            filter: filter.unwrap(),
            group: None,
            columns: Vec::new(),
            order: filter::order(order).unwrap(),
            start: 0,
            limit: 500,
        };
        let mut selection = selection(&query);
        selection.push(bound, vec![Cell::Integer(1); bound.matches('?').count()]);
        let text = format!("EXPLAIN QUERY PLAN {}", page_text(&query, &selection.text));
        let mut explain = connection.prepare(&text).unwrap();
        let parameters = selection.parameters.iter().chain(&[Cell::Integer(1), Cell::Integer(1)]);
        let lines = explain.query_map(params_from_iter(parameters), |row| row.get::<_, String>(3)).unwrap();
        lines.map(Result::unwrap).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn pages_are_found_by_index_and_those_in_order_of_the_id_are_not_sorted() {
        let directory = tempfile::tempdir().unwrap();
        let connection = schema::open_writer(&directory.path().join("a.db")).unwrap();
        let equal = |field: &str| json!({"field": field, "operator": "equal", "value": "x"});
        let module = json!({"field": "bk_module_id", "operator": "equal", "value": 5});
        let after = json!({"field": "bk_pod_id", "operator": "greater", "value": 5});
        let several = json!({"field": "bk_module_id", "operator": "in", "value": [5, 6, 7]});
        for (rules, index, sorts) in [
            (json!(null), "COVERING INDEX pod_by_business", false),
            (json!([after]), "COVERING INDEX pod_by_business", false),
            (json!([equal("bk_pod_namespace")]), "INDEX pod_by_business", false),
            (json!([equal("bk_pod_cluster")]), "COVERING INDEX pod_by_cluster", false),
            (json!([equal("bk_pod_cluster"), after]), "COVERING INDEX pod_by_cluster", false),
            (json!([module]), "COVERING INDEX pod_by_module", false),
            (json!([module, after]), "COVERING INDEX pod_by_module", false),
            (json!([several]), "COVERING INDEX pod_by_module", true),
            (json!([equal("bk_host_innerip")]), "COVERING INDEX pod_by_host", false),
            (
                json!([equal("bk_pod_workloadname"), equal("bk_pod_workloadtype")]),
                "COVERING INDEX pod_by_workload",
                false,
            ),
            (json!([equal("bk_pod_uuid")]), "INDEX pod_by_uuid", false),
        ] {
            for (order, bound) in
                [("bk_pod_id", ""), ("-bk_pod_id", ""), ("bk_pod_id", PLACE), ("-bk_pod_id", PLACE)]
            {
                let plan = plan(&connection, &rules, order, bound);
                assert!(plan.contains(&format!("{index} ")), "{rules}\n{plan}");
                assert_eq!(plan.contains("TEMP B-TREE"), sorts, "{rules}\n{plan}");
            }
        }
    }
}
