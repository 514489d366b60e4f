//! Reading a database beside the server: a copy of it, and a look through all of it.

use super::{StoreError, counts, feed, schema};
use rusqlite::Connection;
use std::path::Path;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Damage, in SQLite's words; empty: none.
    pub damage: Vec<String>,
    /// Supplier account, business, and how many records it has.
    pub pods: Vec<(String, i64, i64)>,
    /// Changes in the feed.
    pub changes: i64,
    /// Version of the schema.
    pub version: i64,
}

/// How far the feed of a copy jumps ahead: further than the original goes before the copy takes its
/// place, and 8192 times that is still a number JSON readers take exactly.
const JUMP: i64 = 1 << 40;

/// Writes a compact copy of the records, as of one moment.
///
/// Its feed is empty and goes on far ahead. Were the copy to go on where the original was then, its next
/// changes would have numbers that consumers have seen already, as those of changes that are undone.
pub fn copy(database: &Path, target: &Path) -> Result<(), StoreError> {
    let connection = schema::open_reader(database)?;
    schema::is_current(&connection)?;
    connection.execute("VACUUM INTO ?", [target.to_string_lossy()])?;
    let mut copy = Connection::open(target)?;
    let transaction = copy.transaction()?;
    let latest = feed::last_sequence(&transaction)?;
    transaction.execute_batch("DELETE FROM change; DELETE FROM sqlite_sequence WHERE name = 'change'")?;
    transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('change', ?)", [latest + JUMP])?;
    transaction.commit()?;
    Ok(())
}

/// Checks structure and indexes, and counts.
pub fn inspect(database: &Path) -> Result<Report, StoreError> {
    let mut connection = schema::open_reader(database)?;
    let transaction = connection.transaction()?;
    let is_current = schema::is_current(&transaction)?;
    let mut integrity = transaction.prepare("PRAGMA integrity_check")?;
    let lines: Vec<String> = integrity.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let mut count = transaction
        .prepare("SELECT bk_supplier_account, bk_biz_id, count(*) FROM pod GROUP BY 1, 2 ORDER BY 1, 2")?;
    let pods = count
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut damage: Vec<_> = lines.into_iter().filter(|line| line != "ok").collect();
    // One of an older version has no such counts; it gets them when a server opens it.
    if is_current {
        damage.extend(counts::differences(&transaction)?);
    }
    Ok(Report {
        damage,
        pods,
        changes: transaction.query_row("SELECT count(*) FROM change", [], |row| row.get(0))?,
        version: transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?,
    })
}
