//! How many records each module of each business has.
//!
//! Kept by the writer, in the transaction of the change itself: to count half a million index
//! entries takes several times as long as to read the page that the count belongs to.

use super::Scope;
use crate::container_server::filter::Sql;
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, params, params_from_iter};
use std::collections::HashMap;

/// What a list counts.
#[derive(Debug, PartialEq)]
pub enum Total {
    /// Every record of the business: known.
    Business,
    /// The records of these modules: known.
    Modules(Vec<i64>),
    /// What a filter selects: counted when asked.
    Filter,
}

/// What one transaction adds and takes away.
#[derive(Debug, Default)]
pub struct Counts(HashMap<(String, i64, i64), i64>);

impl Counts {
    /// So many more records of a module; fewer, below zero.
    pub fn add(&mut self, account: &str, biz: i64, module: i64, records: i64) {
        *self.0.entry((account.to_owned(), biz, module)).or_default() += records;
    }

    /// Writes it all down.
    pub fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut upsert = connection.prepare_cached(
            "INSERT INTO pod_count VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET pods = pods + excluded.pods",
        )?;
        for ((account, biz, module), records) in self.0.iter().filter(|(_, records)| **records != 0) {
            upsert.execute(params![account, biz, module, records])?;
        }
        Ok(())
    }
}

/// Records of a business, or of some of its modules.
pub fn known(connection: &Connection, scope: &Scope, modules: Option<&[i64]>) -> rusqlite::Result<u64> {
    let mut sql = Sql::default();
    sql.push(
        "SELECT coalesce(sum(pods), 0) FROM pod_count WHERE bk_supplier_account = ? AND bk_biz_id = ?",
        [Cell::Text(scope.account.clone()), Cell::Integer(scope.biz)],
    );
    if let Some(modules) = modules {
        sql.push(" AND ", []);
        sql.push_in("bk_module_id", modules.iter().copied().map(Cell::Integer));
    }
    connection.prepare_cached(&sql.text)?.query_row(params_from_iter(&sql.parameters), |row| row.get(0))
}

/// All records.
pub fn all(connection: &mut Connection) -> rusqlite::Result<i64> {
    let text = "SELECT coalesce(sum(pods), 0) FROM pod_count";
    connection.prepare_cached(text)?.query_row([], |row| row.get(0))
}

/// Counts that are not those of the records, in words.
pub fn differences(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut select = connection.prepare(
        "SELECT bk_supplier_account, bk_biz_id, bk_module_id, sum(kept), sum(there) FROM (
             SELECT bk_supplier_account, bk_biz_id, bk_module_id, pods AS kept, 0 AS there FROM pod_count
             UNION ALL
             SELECT bk_supplier_account, bk_biz_id, bk_module_id, 0, count(*) FROM pod GROUP BY 1, 2, 3)
         GROUP BY 1, 2, 3 HAVING sum(kept) <> sum(there)",
    )?;
    let line = |row: &rusqlite::Row<'_>| -> rusqlite::Result<String> {
        let (account, biz, module): (String, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (kept, there): (i64, i64) = (row.get(3)?, row.get(4)?);
        Ok(format!(
            "supplier account {account}, business {biz}, module {module}: {kept} pods counted, {there} there"
        ))
    };
    select.query_map([], line)?.collect()
}
