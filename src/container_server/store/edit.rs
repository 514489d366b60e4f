//! Writes within a transaction, each with the changes it leaves in the feed.

use super::counts::Counts;
use super::record::{Draft, insert_statement, write_record};
use super::writer::{Outcome, Write, push_where};
use super::{Scope, schema};
use crate::container_server::codes::{self, Fault};
use crate::container_server::fields::{self, FIELDS, FieldSpec};
use crate::container_server::filter::Sql;
use crate::container_server::rules::Change;
use rusqlite::types::{ToSqlOutput, Value as Cell, ValueRef};
use rusqlite::{Connection, Row, ToSql, params, params_from_iter};
use std::sync::LazyLock;

/// What a statement that changes records tells of each: all of it, for the feed.
static RETURNING: LazyLock<String> =
    LazyLock::new(|| format!(" RETURNING {}", schema::names(fields::columns())));
/// Inserts one record, if no unique rule stands against it. Returns nothing: a statement that does
/// keeps a copy of every page it touches, to be able to undo itself.
static INSERT: LazyLock<String> = LazyLock::new(insert_statement);

/// The writes of one transaction.
pub struct Edit<'a> {
    connection: &'a Connection,
    columns: Vec<&'static FieldSpec>,
    now: jiff::Timestamp,
    time: String,
    counts: Counts,
    record: Vec<u8>,
    /// Changes so far.
    pub changes: usize,
    /// The number of the last one.
    pub sequence: i64,
}

impl<'a> Edit<'a> {
    /// Begins, with `now` as the time of every change.
    pub fn new(connection: &'a Connection, now: jiff::Timestamp) -> Self {
        let time = now.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string();
        let (counts, record) = (Counts::default(), Vec::new());
        let columns = fields::columns().collect();
        Self { connection, columns, now, time, counts, record, changes: 0, sequence: 0 }
    }

    /// Carries out one write. After an error the transaction is to be undone.
    pub fn apply(&mut self, write: &Write) -> rusqlite::Result<Outcome> {
        match write {
            Write::Create { scope, drafts } => {
                let outcomes: rusqlite::Result<_> =
                    drafts.iter().map(|draft| self.create(scope, draft)).collect();
                outcomes.map(Outcome::Created)
            }
            Write::Update { scope, condition, changes } => {
                self.update(scope, condition, changes).map(Outcome::Count)
            }
            Write::Delete { scope, condition } => {
                let mut sql = Sql::default();
                sql.push("DELETE FROM pod", []);
                push_where(&mut sql, scope, condition);
                self.change("delete", scope, sql, -1).map(Outcome::Count)
            }
            Write::Nothing { .. } => Ok(Outcome::Count(0)),
            Write::Heartbeat => {
                let text = "INSERT OR REPLACE INTO heartbeat VALUES (1, ?)";
                self.connection.prepare_cached(text)?.execute([&self.time]).map(Outcome::Count)
            }
        }
    }

    /// Writes down what goes with the changes: the counts.
    pub fn finish(&self) -> rusqlite::Result<()> {
        self.counts.write(self.connection)
    }

    /// Inserts a record, or says which unique rule stands against it.
    fn create(&mut self, scope: &Scope, draft: &Draft) -> rusqlite::Result<Result<i64, Fault>> {
        let generated = [scope.account.as_str(), &self.time, &self.time];
        let values = draft.row.iter().map(|cell| cell as &dyn ToSql);
        let values = values.chain(generated.iter().map(|text| text as &dyn ToSql));
        if self.connection.prepare_cached(&INSERT)?.execute(params_from_iter(values))? == 0 {
            return self.duplicate(scope, draft).map(Err);
        }
        let id = self.connection.last_insert_rowid();
        let mut record = std::mem::take(&mut self.record);
        record.clear();
        draft.record(id, &generated, &mut record);
        self.publish("create", scope, &record)?;
        self.record = record;
        let cell = |name| fields::position(name).map(|at| &draft.row[at]);
        if let (Some(Cell::Integer(module)), Some(Cell::Text(cluster))) =
            (cell("bk_module_id"), cell("bk_pod_cluster"))
        {
            self.counts.add(scope, id, *module, cluster, 1);
        }
        Ok(Ok(id))
    }

    /// Which unique rule a refused record violates.
    fn duplicate(&self, scope: &Scope, draft: &Draft) -> rusqlite::Result<Fault> {
        for keys in fields::UNIQUE_RULES {
            let matches: Vec<_> = keys.iter().map(|key| format!("{key} = ?")).collect();
            let text = format!(
                "SELECT 1 FROM pod WHERE bk_supplier_account = ? AND {} LIMIT 1",
                matches.join(" AND ")
            );
            let account = Cell::Text(scope.account.clone());
            let values = keys.iter().filter_map(|key| fields::position(key).map(|at| &draft.row[at]));
            let values = params_from_iter(std::iter::once(&account).chain(values));
            if self.connection.prepare_cached(&text)?.exists(values)? {
                return Ok(Fault::new(codes::DUPLICATE, format!("duplicate: {}", keys.join(", "))));
            }
        }
        Ok(Fault::new(codes::DUPLICATE, "duplicate"))
    }

    fn update(&mut self, scope: &Scope, condition: &Sql, changes: &[Change]) -> rusqlite::Result<usize> {
        let module = fields::position("bk_module_id");
        let moves = changes.iter().any(|(at, _)| Some(*at) == module);
        if moves {
            self.leave_modules(scope, condition)?;
        }
        let mut sql = Sql::default();
        sql.push("UPDATE pod SET last_time = ?", [Cell::Text(self.time.clone())]);
        for (at, cell) in changes {
            sql.push(&format!(",{} = ?", FIELDS[*at].name), [cell.clone()]);
        }
        push_where(&mut sql, scope, condition);
        self.change("update", scope, sql, i64::from(moves))
    }

    /// Takes the records of a condition out of the counts: the modules they leave are not known
    /// afterwards.
    fn leave_modules(&mut self, scope: &Scope, condition: &Sql) -> rusqlite::Result<()> {
        let mut sql = Sql::default();
        sql.push("SELECT bk_pod_id, bk_module_id, bk_pod_cluster FROM pod", []);
        push_where(&mut sql, scope, condition);
        let mut select = self.connection.prepare_cached(&sql.text)?;
        let mut rows = select.query(params_from_iter(&sql.parameters))?;
        while let Some(row) = rows.next()? {
            self.count(scope, row, -1)?;
        }
        Ok(())
    }

    /// Runs a statement and puts the records it touched into the feed; of a deleted one, what it
    /// was. Each counts as `records` in its module. Returns how many there were.
    fn change(&mut self, action: &str, scope: &Scope, mut sql: Sql, records: i64) -> rusqlite::Result<usize> {
        sql.push(&RETURNING, []);
        let mut touched = Vec::new();
        let mut statement = self.connection.prepare_cached(&sql.text)?;
        let mut rows = statement.query(params_from_iter(&sql.parameters))?;
        while let Some(row) = rows.next()? {
            let mut record = Vec::new();
            write_record(&self.columns, row, &mut record)?;
            touched.push(record);
            if records != 0 {
                self.count(scope, row, records)?;
            }
        }
        for record in &touched {
            self.publish(action, scope, record)?;
        }
        Ok(touched.len())
    }

    /// Counts a record as so many.
    fn count(&mut self, scope: &Scope, row: &Row<'_>, records: i64) -> rusqlite::Result<()> {
        let cluster = row.get_ref("bk_pod_cluster")?.as_str()?;
        self.counts.add(scope, row.get("bk_pod_id")?, row.get("bk_module_id")?, cluster, records);
        Ok(())
    }

    /// Appends a change to the feed.
    fn publish(&mut self, action: &str, scope: &Scope, record: &[u8]) -> rusqlite::Result<()> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO change (at,bk_supplier_account,bk_biz_id,action,pod) VALUES (?,?,?,?,?)",
        )?;
        let record = ToSqlOutput::Borrowed(ValueRef::Text(record));
        let at = self.now.as_millisecond();
        self.sequence = insert.insert(params![at, scope.account, scope.biz, action, record])?;
        self.changes += 1;
        Ok(())
    }
}
