//! The thread that appends: whole lines or nothing, a new file each day, old ones taken away.

use super::{DeletedRecord, WAITING, days, file_of, is_day};
use crossbeam::channel::{Receiver, RecvTimeoutError};
use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a day's file is kept.
const KEPT_DAYS: i64 = 30;
/// Between two attempts to write what could not be written.
const RETRY: Duration = Duration::from_secs(2);
/// Between two looks for files that are too old.
const SWEEP: Duration = Duration::from_secs(3600);

/// What the thread works with.
pub(super) struct Writer {
    directory: PathBuf,
    problem: Arc<Mutex<Option<String>>>,
    /// What is to be written, oldest first.
    waiting: VecDeque<DeletedRecord>,
    lost: u64,
    swept: Option<Instant>,
}

impl Writer {
    pub fn new(directory: &Path, problem: Arc<Mutex<Option<String>>>) -> Self {
        Self { directory: directory.to_owned(), problem, waiting: VecDeque::new(), lost: 0, swept: None }
    }

    /// Writes until the sending side is gone and what waits was tried once more.
    pub fn run(&mut self, receiver: &Receiver<DeletedRecord>) {
        self.step();
        loop {
            let pause = if self.waiting.is_empty() { SWEEP } else { RETRY };
            match receiver.recv_timeout(pause) {
                Ok(record) => self.take(record),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            receiver.try_iter().take(WAITING).for_each(|record| self.take(record));
            self.step();
        }
        if !self.waiting.is_empty() {
            self.step();
        }
    }

    fn take(&mut self, record: DeletedRecord) {
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
            self.lost += 1;
        }
        self.waiting.push_back(record);
    }

    /// Writes what waits, takes old files away, and says how that went.
    fn step(&mut self) {
        let done =
            fs::create_dir_all(&self.directory).and_then(|()| self.write_all()).and_then(|()| self.sweep());
        let problem = done.err().map(|error| {
            let lost = match self.lost {
                0 => String::new(),
                lost => format!("; {lost} deletes are not in it"),
            };
            format!(
                "delete journal {}: {error}{lost}; deletes go on, make room or give this service the directory",
                self.directory.display()
            )
        });
        let mut shown = self.problem.lock();
        if shown.is_some() != problem.is_some() {
            match &problem {
                Some(problem) => log::warn!("{problem}"),
                None => log::info!("delete journal {}: written again", self.directory.display()),
            }
        }
        *shown = problem;
    }

    fn write_all(&mut self) -> io::Result<()> {
        while let Some(first) = self.waiting.front() {
            let day = first.time.get(..10).filter(|day| is_day(day)).unwrap_or("1970-01-01").to_owned();
            let of_day = |record: &&DeletedRecord| record.time.starts_with(&day);
            let count = self.waiting.iter().take_while(of_day).count().max(1);
            let mut lines = Vec::new();
            for record in self.waiting.iter().take(count) {
                serde_json::to_writer(&mut lines, record)?;
                lines.push(b'\n');
            }
            append(&file_of(&self.directory, &day), &lines)?;
            self.waiting.drain(..count);
        }
        Ok(())
    }

    fn sweep(&mut self) -> io::Result<()> {
        if self.swept.is_some_and(|last| last.elapsed() < SWEEP) {
            return Ok(());
        }
        let oldest = Timestamp::from_second(Timestamp::now().as_second() - KEPT_DAYS * 24 * 3600);
        let oldest = oldest.unwrap_or(Timestamp::UNIX_EPOCH).to_string();
        for day in days(&self.directory)?.iter().filter(|day| day.as_str() < &oldest[..10]) {
            fs::remove_file(file_of(&self.directory, day))?;
        }
        self.swept = Some(Instant::now());
        Ok(())
    }
}

/// Appends whole lines, or leaves the file as it was. A line that another process left unfinished is
/// ended first.
fn append(path: &Path, lines: &[u8]) -> io::Result<()> {
    let mut file = File::options().create(true).append(true).read(true).open(path)?;
    let found = file.metadata()?;
    let before = found.len();
    if before == 0 {
        give_to_owner_of_directory(path, &file, &found);
    }
    let torn = before > 0 && !ends_with_newline(&file, before)?;
    let lines = if torn { [b"\n", lines].concat() } else { lines.to_vec() };
    file.write_all(&lines).inspect_err(|_| {
        // What remains of a line is passed over by readers; the error is what counts.
        let _ = file.set_len(before);
    })
}

/// A command that root runs may begin a file in which the service, another user, has to go on. Whoever is
/// not root can give nothing away and has no need to.
fn give_to_owner_of_directory(path: &Path, file: &File, found: &fs::Metadata) {
    let Some(directory) = path.parent().and_then(|directory| fs::metadata(directory).ok()) else { return };
    if (directory.uid(), directory.gid()) != (found.uid(), found.gid()) {
        let _ = fchown(file, Some(directory.uid()), Some(directory.gid()));
    }
}

fn ends_with_newline(file: &File, length: u64) -> io::Result<bool> {
    let mut last = [0];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut last, length - 1)?;
    Ok(last == *b"\n")
}
