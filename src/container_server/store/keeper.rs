//! The thread that moves the log into the database.
//!
//! SQLite would do it inside a commit, once a thousand pages: every writer then waits for two
//! flushes and a thousand scattered writes. Here it happens beside the commits, and what a commit
//! still finds to do is little.

use super::{StoreError, schema};
use crate::logging::Trouble;
use crossbeam::channel::{Receiver, Sender, bounded};
use rusqlite::Connection;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Changes after which the log is moved: at a usual rate it is short then, and its flush delays
/// nobody for long.
const CHANGES: usize = 500;
/// And not again before: under load pages change many times, and are moved once.
const INTERVAL: Duration = Duration::from_millis(400);

/// The keeper's handle, held by the writer; the thread ends when it is dropped.
pub struct Keeper {
    wake: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    changes: usize,
    woken: Instant,
}

impl Keeper {
    /// Starts the thread with a connection of its own.
    pub fn start(path: &Path) -> Result<Self, StoreError> {
        let connection = schema::open_existing(path)?;
        let (wake, woken) = bounded(1);
        let thread = std::thread::Builder::new()
            .name("store keeper".to_owned())
            .spawn(move || run(&connection, &woken))?;
        Ok(Self { wake: Some(wake), thread: Some(thread), changes: 0, woken: Instant::now() })
    }

    /// So many changes were committed.
    pub fn committed(&mut self, changes: usize) {
        self.changes += changes;
        if self.changes < CHANGES || self.woken.elapsed() < INTERVAL {
            return;
        }
        // Woken already, it will find these changes too; gone, a commit moves the log.
        let _ = self.wake.as_ref().map(|wake| wake.try_send(()));
        (self.changes, self.woken) = (0, Instant::now());
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // A panic has been printed, and commits do this work without the thread too.
            let _ = thread.join();
        }
    }
}

fn run(connection: &Connection, woken: &Receiver<()>) {
    let trouble = Trouble::default();
    while woken.recv().is_ok() {
        // Passive: waits for nobody, and nobody waits for it.
        match connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())) {
            Err(error) if trouble.begins() => {
                log::warn!("container server: the log of the database cannot be moved: {error}; tried again");
            }
            Ok(()) if trouble.ends() => {
                log::info!("container server: the log of the database is moved again")
            }
            _ => {}
        }
    }
}
