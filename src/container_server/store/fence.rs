//! The fences: who wrote for a cluster last, by a number that grows with each holder of its lock.
//!
//! The number is the caller's word, and whoever may write may send any for every cluster. So what no
//! lock can have is refused, what hardly one has is told, and an operator can see and reset them.

use super::{FenceToken, StoreError, schema};
use crate::container_server::codes::{self, Fault};
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use std::path::Path;

/// Seconds by which the clocks of ZooKeeper and of this machine may differ: a day is more than any
/// mistaken time zone makes.
const CLOCKS: i64 = 24 * 3600;
/// Elections in ZooKeeper from one holder of a lock to the next; more is hardly to be seen.
const ELECTIONS: i64 = 1000;

/// What became of a number.
#[derive(Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is the one known, the first, or a higher one as it may well be.
    Good,
    /// It is higher by far than the one known, given here: of another ZooKeeper, or made up.
    Leapt(i64),
    /// It is lower than the one known, given here.
    Old(i64),
}

impl FenceToken {
    /// Refuses a number that no lock can have. Its upper half is the second since 1970 in which its ZooKeeper's
    /// root was made and the elections since, of which there are fewer than seconds (design.md 4): never ahead
    /// of the clock.
    pub fn check(&self, now: jiff::Timestamp) -> Result<(), Fault> {
        if self.number >> 32 <= now.as_second().saturating_add(CLOCKS) {
            return Ok(());
        }
        let message = format!(
            "fence {} of {} is ahead of the clock of this server, as that of no lock is: compare it with ZooKeeper's",
            self.number, self.cluster
        );
        Err(Fault::new(codes::FENCED, message).with_status(409))
    }

    /// Remembers the number, if it is not lower than the one known.
    pub fn see(&self, connection: &Connection, account: &str) -> rusqlite::Result<Seen> {
        let mut select = connection
            .prepare_cached("SELECT number FROM fence WHERE bk_supplier_account = ? AND cluster = ?")?;
        let known: Option<i64> =
            select.query_row(params![account, self.cluster], |row| row.get(0)).optional()?;
        if let Some(known) = known.filter(|known| *known >= self.number) {
            return Ok(if known == self.number { Seen::Good } else { Seen::Old(known) });
        }
        let mut insert = connection.prepare_cached("INSERT OR REPLACE INTO fence VALUES (?, ?, ?)")?;
        insert.execute(params![account, self.cluster, self.number])?;
        let leapt = known.filter(|known| (self.number >> 32) - (known >> 32) > ELECTIONS);
        Ok(leapt.map_or(Seen::Good, Seen::Leapt))
    }
}

/// A fence as an operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceRow {
    /// `bk_supplier_account` of who wrote.
    pub account: String,
    /// Cluster and highest number.
    pub token: FenceToken,
}

/// Every fence, by cluster.
pub fn fences(database: &Path) -> Result<Vec<FenceRow>, StoreError> {
    let connection = schema::open_reader(database)?;
    schema::is_current(&connection)?;
    rows(&connection, "SELECT * FROM fence ORDER BY cluster, bk_supplier_account", &[])
}

/// Forgets the fences of a cluster, also while a server runs: the next write sets it anew, whatever its
/// number. Returns what was forgotten.
pub fn reset_fence(database: &Path, cluster: &str) -> Result<Vec<FenceRow>, StoreError> {
    let mut connection = schema::open_existing(database)?;
    schema::is_current(&connection)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let select = "SELECT * FROM fence WHERE cluster = ? ORDER BY bk_supplier_account";
    let known = rows(&transaction, select, &[cluster])?;
    transaction.execute("DELETE FROM fence WHERE cluster = ?", [cluster])?;
    transaction.commit()?;
    Ok(known)
}

fn rows(connection: &Connection, select: &str, values: &[&str]) -> Result<Vec<FenceRow>, StoreError> {
    let row = |row: &rusqlite::Row<'_>| {
        let token = FenceToken { cluster: row.get("cluster")?, number: row.get("number")? };
        Ok(FenceRow { account: row.get("bk_supplier_account")?, token })
    };
    let mut select = connection.prepare(select)?;
    let rows = select.query_map(rusqlite::params_from_iter(values), row)?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(second: i64, counted: i64) -> FenceToken {
        FenceToken { cluster: "c".to_owned(), number: (second << 32) + counted }
    }

    #[test]
    fn a_number_ahead_of_the_clock_is_refused() {
        let now = jiff::Timestamp::from_second(1_790_000_000).unwrap();
        let good = |token: FenceToken| token.check(now).is_ok();
        for second in [0, 1, 1_700_000_000, 1_790_000_000, 1_790_000_000 + CLOCKS] {
            assert!(good(token(second, 0)) && good(token(second, u32::MAX.into())), "{second}");
        }
        for second in [1_790_000_001 + CLOCKS, i64::from(i32::MAX)] {
            assert_eq!(token(second, 0).check(now).map_err(|fault| fault.code), Err(codes::FENCED));
        }
        assert!(!good(FenceToken { cluster: "c".to_owned(), number: i64::MAX }));
    }

    #[test]
    fn a_number_is_remembered_and_a_leap_of_it_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let connection = schema::open_writer(&directory.path().join("a.db")).unwrap();
        let see = |token: FenceToken| token.see(&connection, "0").unwrap();
        let first = token(1_700_000_000, 5);
        assert_eq!(see(first.clone()), Seen::Good, "the first");
        assert_eq!(see(token(1_700_000_000, 9)), Seen::Good, "the next lock");
        assert_eq!(see(token(1_700_000_003, 1)), Seen::Good, "after three elections");
        assert_eq!(see(first), Seen::Old(token(1_700_000_003, 1).number));
        assert_eq!(see(token(1_700_086_400, 1)), Seen::Leapt(token(1_700_000_003, 1).number));
        assert_eq!(see(token(1_700_086_400, 1)), Seen::Good, "told once");
    }
}
