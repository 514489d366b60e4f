//! The tables, and how a database of an older version becomes one of this version.
//!
//! `PRAGMA user_version` counts the migrations a database has had. Each runs once, in one
//! transaction with its number; what was released is never edited, only followed by the next.

use crate::container_server::fields::FieldSpec;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::path::Path;
use std::time::Duration;

use super::StoreError;

/// Every migration, oldest first.
const MIGRATIONS: [&str; 3] = [
    "
CREATE TABLE pod (
    bk_pod_id INTEGER PRIMARY KEY AUTOINCREMENT,
    bk_biz_id INTEGER NOT NULL,
    bk_module_id INTEGER NOT NULL,
    bk_cloud_id INTEGER NOT NULL,
    bk_host_innerip TEXT,
    bk_pod_name TEXT NOT NULL,
    bk_pod_namespace TEXT NOT NULL,
    bk_pod_cluster TEXT NOT NULL,
    bk_pod_uuid TEXT NOT NULL,
    bk_pod_workloadtype TEXT NOT NULL,
    bk_pod_workloadname TEXT NOT NULL,
    bk_pod_clustertype TEXT,
    bk_pod_labels TEXT,
    bk_pod_annotations TEXT,
    bk_pod_ip TEXT,
    bk_pod_networkmode TEXT,
    bk_pod_networktype TEXT,
    bk_pod_containers TEXT,
    bk_pod_volumes TEXT,
    bk_pod_status TEXT,
    bk_pod_create_time TEXT,
    bk_pod_start_time TEXT,
    bk_supplier_account TEXT NOT NULL,
    create_time TEXT NOT NULL,
    last_time TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX pod_by_uuid ON pod (bk_supplier_account, bk_pod_uuid);
CREATE UNIQUE INDEX pod_by_name ON pod (bk_supplier_account, bk_pod_cluster, bk_pod_namespace, bk_pod_name);
CREATE INDEX pod_by_cluster ON pod (bk_supplier_account, bk_biz_id, bk_pod_cluster);
CREATE INDEX pod_by_module ON pod (bk_supplier_account, bk_biz_id, bk_module_id);
CREATE INDEX pod_by_host ON pod (bk_supplier_account, bk_biz_id, bk_host_innerip);
CREATE INDEX pod_by_workload ON pod (bk_supplier_account, bk_biz_id, bk_pod_workloadname, bk_pod_workloadtype);
CREATE TABLE fence (
    bk_supplier_account TEXT NOT NULL,
    cluster TEXT NOT NULL,
    number INTEGER NOT NULL,
    PRIMARY KEY (bk_supplier_account, cluster)
) STRICT, WITHOUT ROWID;
CREATE TABLE change (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    bk_supplier_account TEXT NOT NULL,
    bk_biz_id INTEGER NOT NULL,
    action TEXT NOT NULL,
    pod TEXT NOT NULL
) STRICT;
CREATE TABLE heartbeat (only INTEGER PRIMARY KEY CHECK (only = 1), at TEXT NOT NULL) STRICT;
",
    "
CREATE TABLE pod_count (
    bk_supplier_account TEXT NOT NULL,
    bk_biz_id INTEGER NOT NULL,
    bk_module_id INTEGER NOT NULL,
    pods INTEGER NOT NULL,
    PRIMARY KEY (bk_supplier_account, bk_biz_id, bk_module_id)
) STRICT, WITHOUT ROWID;
INSERT INTO pod_count
    SELECT bk_supplier_account, bk_biz_id, bk_module_id, count(*) FROM pod GROUP BY 1, 2, 3;
CREATE INDEX pod_by_business ON pod (bk_supplier_account, bk_biz_id) WHERE bk_pod_id > 0;
",
    "
CREATE TABLE pod_block (
    field TEXT NOT NULL,
    bk_supplier_account TEXT NOT NULL,
    bk_biz_id INTEGER NOT NULL,
    value ANY NOT NULL,
    block INTEGER NOT NULL,
    pods INTEGER NOT NULL,
    PRIMARY KEY (field, bk_supplier_account, bk_biz_id, value, block)
) STRICT, WITHOUT ROWID;
INSERT INTO pod_block
    SELECT 'bk_biz_id', bk_supplier_account, bk_biz_id, bk_biz_id, bk_pod_id >> 12, count(*)
        FROM pod GROUP BY 2, 3, 4, 5;
INSERT INTO pod_block
    SELECT 'bk_module_id', bk_supplier_account, bk_biz_id, bk_module_id, bk_pod_id >> 12, count(*)
        FROM pod GROUP BY 2, 3, 4, 5;
INSERT INTO pod_block
    SELECT 'bk_pod_cluster', bk_supplier_account, bk_biz_id, bk_pod_cluster, bk_pod_id >> 12, count(*)
        FROM pod GROUP BY 2, 3, 4, 5;
DROP TABLE pod_count;
",
];

/// The fields that indexes find records by.
const INDEXED: [&str; 5] =
    ["bk_pod_uuid", "bk_pod_cluster", "bk_module_id", "bk_host_innerip", "bk_pod_workloadname"];

/// What a condition gets at its end if it names no field with an index: true of every record, and the
/// key to `pod_by_business`. Left to choose, SQLite would prefer that index wherever it saves a sort, and
/// look through a whole business for a few pods of two modules.
pub fn hint(condition: &str) -> &'static str {
    let named = INDEXED.iter().any(|field| condition.contains(&format!("{field} ")));
    if named { "" } else { " AND bk_pod_id > 0" }
}

/// How long a connection waits for another one's lock: a backup or a check beside the server.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Statements a connection keeps prepared: the fixed ones and the usual filters.
const STATEMENTS: usize = 64;
/// Memory for pages of the writer, KiB: the upper levels of seven trees with millions of entries,
/// and what a large commit touches. SQLite's default of 2 MB makes every insert read the disk.
const WRITER_CACHE: i64 = 64 * 1024;
/// Memory for pages of the keeper, KiB: it copies pages and looks into none.
const KEEPER_CACHE: i64 = 256;
/// Memory for pages of each reader, KiB; the rest is the system's own cache.
const READER_CACHE: i64 = 16 * 1024;

/// Pages of the log at which a commit moves them into the database itself, and the log begins anew:
/// 64 MB. The keeper has moved most of them by then.
const LOG_PAGES: i64 = 16 * 1024;

/// Opens the database for writing, makes it if it is not there, and brings it to this version.
///
/// WAL with `synchronous = FULL`: a commit is on the disk when it returns.
pub fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let mut connection = Connection::open(path)?;
    prepare(&connection, WRITER_CACHE)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Journal { mode });
    }
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
    migrate(&mut connection)?;
    Ok(connection)
}

/// Opens an existing database for more than reading: moving its log, or a word of the operator's.
pub fn open_existing(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    prepare(&connection, KEEPER_CACHE)?;
    connection.execute_batch("PRAGMA synchronous = FULL")?;
    Ok(connection)
}

/// Opens an existing database for reading.
pub fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI,
    )?;
    prepare(&connection, READER_CACHE)?;
    Ok(connection)
}

fn prepare(connection: &Connection, cache: i64) -> Result<(), StoreError> {
    // Below zero: KiB, not pages.
    connection.pragma_update(None, "cache_size", -cache)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(())
}

/// Whether a database that is only read is one of ours, and has all that this version has.
pub fn is_current(connection: &Connection) -> Result<bool, StoreError> {
    match connection.query_row("PRAGMA user_version", [], |row| row.get(0))? {
        0 => Err(StoreError::Foreign),
        version => Ok(migrated(version)? == MIGRATIONS.len()),
    }
}

/// The migrations a database has had.
fn migrated(version: i64) -> Result<usize, StoreError> {
    let done = usize::try_from(version).ok().filter(|done| *done <= MIGRATIONS.len());
    done.ok_or(StoreError::Newer { version, known: MIGRATIONS.len() })
}

fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let done = migrated(version)?;
    for migration in MIGRATIONS.iter().skip(done) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", MIGRATIONS.len() as i64)?;
    transaction.commit()?;
    Ok(())
}

/// The names of some columns, separated by commas.
pub fn names<'a>(columns: impl IntoIterator<Item = &'a FieldSpec>) -> String {
    columns.into_iter().map(|field| field.name).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container_server::fields;
    use crate::container_server::store::counts;

    #[test]
    fn the_table_has_the_columns_of_the_field_table() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let connection = open_writer(&path).unwrap();
        let statement = connection.prepare("SELECT * FROM pod").unwrap();
        assert_eq!(statement.column_names().join(","), names(fields::columns()));
    }

    #[test]
    fn a_commit_is_flushed_before_it_returns() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        for connection in [open_writer(&path).unwrap(), open_existing(&path).unwrap()] {
            let pragma = |name: &str| {
                let value = |row: &rusqlite::Row<'_>| row.get::<_, rusqlite::types::Value>(0);
                connection.query_row(&format!("PRAGMA {name}"), [], value).unwrap()
            };
            // 2 is FULL: the log is flushed with each commit, and before it is moved.
            assert_eq!(pragma("synchronous"), rusqlite::types::Value::Integer(2));
            assert_eq!(pragma("journal_mode"), rusqlite::types::Value::Text("wal".to_owned()));
        }
    }

    #[test]
    fn opening_twice_migrates_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        drop(open_writer(&path).unwrap());
        let connection = open_writer(&path).unwrap();
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, MIGRATIONS.len() as i64);
    }

    #[test]
    fn the_records_of_an_older_database_are_counted_when_it_is_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        let required: Vec<_> = fields::columns().filter(|field| field.required).collect();
        for (uuid, module) in [("a", 41), ("b", 41), ("c", 42)] {
            let values: Vec<_> = required
                .iter()
                .map(|field| match field.name {
                    "bk_module_id" => module.to_string(),
                    _ if field.kind.is_int() => "2".to_owned(),
                    _ => format!("'{uuid}'"),
                })
                .collect();
            let (names, values) = (names(required.iter().copied()), values.join(","));
            old.execute_batch(&format!(
                "INSERT INTO pod ({names},bk_supplier_account,create_time,last_time) VALUES ({values},'0','','')"
            ))
            .unwrap();
        }
        drop(old);
        let connection = open_writer(&path).unwrap();
        let text = "SELECT value, pods FROM pod_block WHERE field = 'bk_module_id' ORDER BY 1";
        let mut select = connection.prepare(text).unwrap();
        let counts = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(counts.collect::<Result<Vec<(i64, i64)>, _>>().unwrap(), [(41, 2), (42, 1)]);
        assert_eq!(counts::differences(&connection).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_database_of_a_later_version_or_of_something_else_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let newer = directory.path().join("newer.db");
        open_writer(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
        assert!(matches!(open_writer(&newer), Err(StoreError::Newer { version: 99, .. })));
        let other = directory.path().join("other.db");
        std::fs::write(
            &other,
            "this is a letter, not a database; it is long enough to be read as one".repeat(20),
        )
        .unwrap();
        assert!(matches!(open_writer(&other), Err(StoreError::Database(_))));
        assert!(open_writer(&directory.path().join("no/such/directory.db")).is_err());
    }
}
