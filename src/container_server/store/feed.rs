//! The change feed: every create, update and delete once, in commit order, numbered.
//!
//! The writer appends to the table `change` and publishes the last number after each commit; who
//! waits for changes waits here. Numbers grow and are never used again, also after a restart.

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::value::RawValue;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Changes looked at for one answer: bounds its size, and the time it takes where most changes
/// belong to other businesses.
const PAGE: usize = 1000;
/// Bytes of records in one answer; the one that goes beyond is still in it. An answer is made in memory, and
/// without `strict_fields` a record is as long as its writer likes.
const PAGE_BYTES: usize = 1024 * 1024;

/// Where the feed is now, for those who wait.
#[derive(Debug)]
pub struct Feed {
    latest: Mutex<i64>,
    grown: Condvar,
    ended: AtomicBool,
}

impl Feed {
    /// A feed whose last change has that number.
    pub fn new(latest: i64) -> Self {
        Self { latest: Mutex::new(latest), grown: Condvar::new(), ended: AtomicBool::new(false) }
    }

    /// Changes up to this number are committed.
    pub fn publish(&self, latest: i64) {
        *self.latest.lock() = latest;
        self.grown.notify_all();
    }

    /// Nobody waits any more.
    pub fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        // Under the lock: who is about to wait has either seen that, or is woken.
        let _latest = self.latest.lock();
        self.grown.notify_all();
    }

    /// Whether waiting has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// The last committed change.
    pub fn latest(&self) -> i64 {
        *self.latest.lock()
    }

    /// Waits for a change after `since`; returns whether there is one.
    pub fn wait(&self, since: i64, deadline: Instant) -> bool {
        let mut latest = self.latest.lock();
        while *latest <= since {
            if self.has_ended() || self.grown.wait_until(&mut latest, deadline).timed_out() {
                return *latest > since;
            }
        }
        true
    }
}

/// One change.
#[derive(Debug, serde::Serialize)]
pub struct Change {
    /// Its number.
    pub sequence: i64,
    /// When it was written, ms since 1970.
    pub time_ms: i64,
    /// `create`, `update` or `delete`.
    pub action: String,
    /// The record after the change; of a deleted one, as it was.
    pub pod: Box<RawValue>,
}

/// Changes and where to go on.
#[derive(Debug, serde::Serialize)]
pub struct ChangePage {
    /// `since` of the next call.
    pub sequence: i64,
    /// In commit order.
    pub changes: Vec<Change>,
}

/// What there is after some number.
#[derive(Debug)]
pub enum Position {
    /// These; none if nothing has happened, or nothing of interest.
    Page(ChangePage),
    /// Some changes after it are gone, or it lies ahead of everything this database has done.
    Lost {
        /// The first number that can still be asked for.
        oldest: i64,
        /// The last one.
        latest: i64,
    },
}

/// The number of the last change ever made, also if it was removed since.
pub fn last_sequence(connection: &Connection) -> rusqlite::Result<i64> {
    let text = "SELECT seq FROM sqlite_sequence WHERE name = 'change'";
    let last = connection.prepare_cached(text)?.query_row([], |row| row.get(0)).optional()?;
    Ok(last.unwrap_or(0))
}

/// Changes after `since`, as of one moment.
pub fn changes(
    connection: &mut Connection,
    account: &str,
    biz: Option<i64>,
    since: i64,
) -> rusqlite::Result<Position> {
    let transaction = connection.transaction()?;
    let latest = last_sequence(&transaction)?;
    let first: Option<i64> =
        transaction.prepare_cached("SELECT min(sequence) FROM change")?.query_row([], |row| row.get(0))?;
    let oldest = first.map_or(latest, |first| first - 1);
    if since < oldest || since > latest {
        return Ok(Position::Lost { oldest, latest });
    }
    let mut page = ChangePage { sequence: since, changes: Vec::new() };
    let mut select = transaction.prepare_cached(
        "SELECT sequence, at, action, pod, bk_supplier_account, bk_biz_id FROM change
         WHERE sequence > ? ORDER BY sequence LIMIT ?",
    )?;
    let mut rows = select.query(params![since, PAGE as i64])?;
    let mut bytes = 0;
    while bytes < PAGE_BYTES
        && let Some(row) = rows.next()?
    {
        page.sequence = row.get(0)?;
        let theirs = row.get_ref(4)?.as_str()? == account && biz.is_none_or(|biz| row.get(5) == Ok(biz));
        if theirs {
            let (time_ms, action, pod) = (row.get(1)?, row.get(2)?, row.get::<_, String>(3)?);
            bytes += pod.len();
            // Written by us as JSON; anything else would be a damaged database.
            let pod = RawValue::from_string(pod).map_err(|_| rusqlite::Error::InvalidQuery)?;
            page.changes.push(Change { sequence: page.sequence, time_ms, action, pod });
        }
    }
    Ok(Position::Page(page))
}
