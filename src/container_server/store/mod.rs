//! Where pod records are kept: SQLite, one writer thread, a pool of readers.
//!
//! A write that returned success is on the disk: commits are flushed, and writes that wait while
//! one is being flushed share the next flush. Enforces what only the database can know: both
//! unique rules and the fence. Knows nothing of HTTP, of field rules or of modules.

mod counts;
mod edit;
mod feed;
mod fence;
mod keeper;
mod reader;
mod record;
mod schema;
mod upkeep;
mod writer;

pub use feed::{ChangePage, Position};
pub use fence::{FenceRow, fences, reset_fence};
pub use reader::ListQuery;
pub use upkeep::{Report, copy, inspect};

use crate::container_server::codes::{self, Fault};
use crate::container_server::filter::Sql;
use crate::container_server::rules::{Change, Row};
use crossbeam::channel::{Sender, bounded};
use feed::Feed;
use keeper::Keeper;
use reader::Readers;
use record::Draft;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::File;
use std::io::Write as Output;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use writer::{Job, Outcome, Tally, Write, Writer};

/// Writes that may wait for the writer; further callers wait to be let in.
const WAITING_WRITES: usize = 1024;
/// Lists that are read at the same time.
const READERS: usize = 4;
/// Lists that wait for long to be. With those that are read they have twelve of the sixteen threads that
/// the front calls a handler with: the others stay for writes, whatever is asked for meanwhile.
const PATIENT: usize = 8;
/// Connections for what is read in a moment: the feed, the numbers, whether reading works. No list holds
/// these up.
const LOOKERS: usize = 1;

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// SQLite's own words.
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    /// The file system of the database cannot share memory between connections.
    #[error("the database cannot be kept in WAL mode (it says {mode:?}): put it on a local file system")]
    Journal {
        /// The journal mode in force.
        mode: String,
    },
    /// It is SQLite's, and holds something else.
    #[error("no container server has written it")]
    Foreign,
    /// The database was written by a later version.
    #[error("the database has schema version {version}, this program knows {known}: use a later program")]
    Newer {
        /// Version of the database.
        version: i64,
        /// Version of this program.
        known: usize,
    },
    /// Two servers would each know only of their own changes.
    #[error("another container server works with it: stop that one, or give this one a database of its own")]
    InUse,
    /// The file that keeps a second server away cannot be had.
    #[error("lock file {path}: {source}")]
    Lock {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start the writer thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// How long things may take and last.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// Changes stay in the feed for so long.
    pub retention: Duration,
    /// A read may take so long.
    pub query: Duration,
}

#[cfg(test)]
impl Default for Times {
    fn default() -> Self {
        Self { retention: Duration::from_secs(3600), query: Duration::from_secs(3600) }
    }
}

/// Whose records a call is about: nothing outside is ever read or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// `bk_supplier_account`.
    pub account: String,
    /// `bk_biz_id` of the path.
    pub biz: i64,
}

/// The lock a writer holds for a cluster: `X-Bkcmdb-Fence` (design.md 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FenceToken {
    /// Cluster id.
    pub cluster: String,
    /// Grows with every holder.
    pub number: i64,
}

/// The open store. Dropping it ends the writer after the writes it has taken.
pub struct Store {
    jobs: Option<Sender<Job>>,
    writer: Option<JoinHandle<()>>,
    readers: Readers,
    lookers: Readers,
    feed: Arc<Feed>,
    tally: Arc<Tally>,
    /// Closed last.
    _lock: File,
}

/// Numbers for the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// Records stored, all accounts together.
    pub pods: i64,
    /// Commits since the start.
    pub flushes: u64,
    /// Writes that shared them.
    pub writes: u64,
    /// Number of the last change.
    pub sequence: i64,
    /// Writes refused because a later holder was here.
    pub old_fences: u64,
    /// Writes refused because no lock has such a number.
    pub future_fences: u64,
}

impl Store {
    /// Opens or creates the database at `path`.
    pub fn open(path: &Path, times: Times) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let connection = schema::open_writer(path)?;
        let readers = Readers::open(path, READERS, PATIENT, times.query)?;
        let lookers = Readers::open(path, LOOKERS, usize::MAX, times.query)?;
        let feed = Arc::new(Feed::new(feed::last_sequence(&connection)?));
        let tally = Arc::new(Tally::default());
        let (jobs, waiting) = bounded(WAITING_WRITES);
        let keeper = Keeper::start(path)?;
        let writer = Writer {
            keeper,
            connection,
            feed: feed.clone(),
            retention: times.retention,
            tally: tally.clone(),
            trouble: Default::default(),
            leaps: Default::default(),
        };
        let writer = std::thread::Builder::new()
            .name("store writer".to_owned())
            .spawn(move || writer.run(&waiting))?;
        Ok(Self { jobs: Some(jobs), writer: Some(writer), readers, lookers, feed, tally, _lock: lock })
    }

    /// Creates records; each has its own outcome: its instance id, or 1199014 when it violates a
    /// unique rule. A failure of the call as a whole created none.
    pub fn create(
        &self,
        scope: &Scope,
        fence: Option<FenceToken>,
        rows: Vec<Row>,
    ) -> Result<Vec<Result<i64, Fault>>, Fault> {
        let drafts = rows.into_iter().map(Draft::new).collect();
        match self.write(Write::Create { scope: scope.clone(), drafts }, fence)? {
            Outcome::Created(outcomes) => Ok(outcomes),
            Outcome::Count(_) => Err(unexpected(codes::INSERT_FAILED)),
        }
    }

    /// Changes the records of the scope that `condition` selects; returns how many.
    pub fn update(
        &self,
        scope: &Scope,
        fence: Option<FenceToken>,
        condition: Sql,
        changes: Vec<Change>,
    ) -> Result<usize, Fault> {
        self.count(Write::Update { scope: scope.clone(), condition, changes }, fence)
    }

    /// Deletes the records of the scope that `condition` selects; returns how many.
    pub fn delete(&self, scope: &Scope, fence: Option<FenceToken>, condition: Sql) -> Result<usize, Fault> {
        self.count(Write::Delete { scope: scope.clone(), condition }, fence)
    }

    /// Remembers a fence number without writing a record, or refuses it as any write under it would be.
    pub fn fence(&self, scope: &Scope, fence: FenceToken) -> Result<(), Fault> {
        self.count(Write::Nothing { scope: scope.clone() }, Some(fence)).map(|_| ())
    }

    /// Lists records: writes `{"info":[…],"count":N}` to `out`. After an error what has been
    /// written is to be thrown away.
    pub fn list(&self, query: &ListQuery, out: &mut dyn Output) -> Result<(), Fault> {
        self.readers.with(|connection| reader::list(connection, query, out))
    }

    /// The number of the last committed change.
    pub fn sequence(&self) -> i64 {
        self.feed.latest()
    }

    /// Waits until a change after `since` is committed, or `deadline`; returns whether there is one.
    pub fn wait_for_change(&self, since: i64, deadline: Instant) -> bool {
        self.feed.wait(since, deadline)
    }

    /// Ends every [`Store::wait_for_change`]: the server stops.
    pub fn end_waiting(&self) {
        self.feed.end();
    }

    /// Whether nobody is to wait for a change.
    pub fn has_ended_waiting(&self) -> bool {
        self.feed.has_ended()
    }

    /// Changes after `since` of one account, and of one business if `biz` names it.
    pub fn changes(&self, account: &str, biz: Option<i64>, since: i64) -> Result<Position, Fault> {
        self.lookers.with(|connection| feed::changes(connection, account, biz, since))
    }

    /// Numbers for the metrics.
    pub fn statistics(&self) -> Result<Statistics, Fault> {
        Ok(Statistics {
            pods: self.lookers.with(counts::all)?,
            flushes: self.tally.flushes.load(Ordering::Relaxed),
            writes: self.tally.writes.load(Ordering::Relaxed),
            sequence: self.feed.latest(),
            old_fences: self.tally.old_fences.load(Ordering::Relaxed),
            future_fences: self.tally.future_fences.load(Ordering::Relaxed),
        })
    }

    /// Whether the database can be read, written and flushed, tried out.
    pub fn check(&self) -> Result<(), Fault> {
        self.lookers.with(reader::probe)?;
        self.count(Write::Heartbeat, None).map(|_| ())
    }

    /// Whether the writer lives.
    pub fn has_writer(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| !writer.is_finished())
    }

    fn count(&self, write: Write, fence: Option<FenceToken>) -> Result<usize, Fault> {
        let code = write.failure_code();
        match self.write(write, fence)? {
            Outcome::Count(count) => Ok(count),
            Outcome::Created(_) => Err(unexpected(code)),
        }
    }

    /// Hands a write to the writer and waits until it is on the disk, or is refused.
    fn write(&self, write: Write, fence: Option<FenceToken>) -> Result<Outcome, Fault> {
        let code = write.failure_code();
        let stopped = || Fault::new(code, "the store's writer has stopped: restart the container server");
        if let Some(Err(fault)) = fence.as_ref().map(|fence| fence.check(jiff::Timestamp::now())) {
            self.tally.future_fences.fetch_add(1, Ordering::Relaxed);
            return Err(fault);
        }
        let (reply, outcome) = bounded(1);
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(Job { write, fence, reply }).map_err(|_| stopped())?;
        outcome.recv().map_err(|_| stopped())?
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // The last connection to close moves the log into the database, and a reader cannot.
        self.readers.close();
        self.lookers.close();
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            // A panic of the writer has been printed, and its callers were told.
            let _ = writer.join();
        }
    }
}

/// Keeps a second server away from the database. The file stays; the lock goes with whoever holds it, killed ones
/// too. It is not the database itself: to close that would end the locks SQLite has on it.
fn lock(database: &Path) -> Result<File, StoreError> {
    let mut path = database.as_os_str().to_owned();
    path.push("-server");
    let failed = |source| StoreError::Lock { path: path.display().to_string(), source };
    let mut options = File::options();
    let file = options.write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(StoreError::InUse),
        Err(error) => Err(failed(error.into())),
    }
}

fn unexpected(code: i64) -> Fault {
    Fault::new(code, "the store answered another question than the one asked")
}

/// A database error as the CMDB reports it.
fn database_fault(code: i64, error: &rusqlite::Error) -> Fault {
    Fault::new(code, format!("database: {error}"))
}

#[cfg(test)]
mod tests;
