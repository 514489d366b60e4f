//! The delete journal: what was deleted, when and on what proof, kept for 30 days.
//!
//! One file a day, one JSON object a line, appended by a thread of its own, so that a disk that
//! hangs holds no sender back. A disk that is full or cannot be written is a problem to show, never
//! a reason to stop: the newest deletes are in memory too, and what could not be written is written
//! as soon as that works again, as far as the bound allows. Several processes may share a directory.
//!
//! Knows records and files; nothing of how a delete comes about.

mod pages;
mod writer;

pub use pages::{Cursor, DeletePage, DeleteQuery, LIMIT};

use crossbeam::channel::{Sender, bounded};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use writer::Writer;

/// Deletes kept in memory: 1,000 × about 400 bytes.
const KEPT: usize = 1_000;
/// Deletes that wait for the disk: 10,000 × about 400 bytes.
const WAITING: usize = 10_000;
/// How a file of the journal is named: `deletes-2026-11-23.jsonl`.
const PREFIX: &str = "deletes-";
const SUFFIX: &str = ".jsonl";

/// A delete that was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedRecord {
    /// When, RFC 3339.
    pub time: String,
    /// Of which cluster.
    pub cluster_id: String,
    /// Uid of the pod; its name in Mesos.
    pub uuid: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Why it could be deleted.
    pub proof: String,
}

/// The journal of one process. What waits is written when it is dropped.
#[derive(Debug, Default)]
pub struct Journal {
    last: Mutex<VecDeque<DeletedRecord>>,
    files: Option<Files>,
}

/// Its part on disk.
#[derive(Debug)]
struct Files {
    directory: PathBuf,
    sender: Option<Sender<DeletedRecord>>,
    thread: Option<JoinHandle<()>>,
    problem: Arc<Mutex<Option<String>>>,
}

impl Journal {
    /// A journal in `directory`; without one, in memory only.
    ///
    /// # Errors
    /// The machine grants no thread. A directory that cannot be used is a [`problem`](Self::problem).
    pub fn start(directory: Option<&Path>) -> io::Result<Self> {
        let Some(directory) = directory else { return Ok(Self::default()) };
        let problem = Arc::new(Mutex::new(None));
        let (sender, receiver) = bounded(WAITING);
        let mut writer = Writer::new(directory, Arc::clone(&problem));
        let thread = std::thread::Builder::new()
            .name("delete journal".to_owned())
            .spawn(move || writer.run(&receiver))?;
        let files =
            Files { directory: directory.to_owned(), sender: Some(sender), thread: Some(thread), problem };
        Ok(Self { last: Mutex::default(), files: Some(files) })
    }

    /// Notes a delete; never waits for the disk.
    pub fn add(&self, record: DeletedRecord) {
        {
            let mut last = self.last.lock();
            if last.len() >= KEPT {
                last.pop_back();
            }
            last.push_front(record.clone());
        }
        let Some(Files { sender: Some(sender), problem, .. }) = &self.files else { return };
        if sender.try_send(record).is_err() {
            let words = "the delete journal cannot keep up: some deletes are not in it; see its disk";
            *problem.lock() = Some(words.to_owned());
        }
    }

    /// The last deletes of this process, newest first.
    pub fn last(&self) -> Vec<DeletedRecord> {
        self.last.lock().iter().cloned().collect()
    }

    /// One page, newest first: of the files, or of what is in memory where there are none or they
    /// cannot be read.
    pub fn page(&self, query: &DeleteQuery) -> DeletePage {
        let from_files = self.files.as_ref().map(|files| pages::read(&files.directory, query));
        match from_files {
            Some(Ok(page)) => page,
            Some(Err(_)) | None => DeletePage::of_memory(&self.last(), query),
        }
    }

    /// What is wrong with the files, in words.
    pub fn problem(&self) -> Option<String> {
        self.files.as_ref()?.problem.lock().clone()
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        let Some(files) = &mut self.files else { return };
        files.sender = None;
        if files.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the delete journal's thread panicked");
        }
    }
}

/// The day of a file of the journal, `2026-11-23`.
fn day_of(file: &str) -> Option<&str> {
    let day = file.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    is_day(day).then_some(day)
}

/// Whether a text is a day as the files are named.
fn is_day(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 10
        && bytes.iter().enumerate().all(|(at, byte)| match at {
            4 | 7 => *byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}

/// The file of a day.
fn file_of(directory: &Path, day: &str) -> PathBuf {
    directory.join(format!("{PREFIX}{day}{SUFFIX}"))
}

/// The days there are files of, oldest first.
fn days(directory: &Path) -> io::Result<Vec<String>> {
    let mut days = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        days.extend(name.to_str().and_then(day_of).map(str::to_owned));
    }
    days.sort();
    Ok(days)
}

#[cfg(test)]
mod tests;
