//! Answers of any length in bounded memory.
//!
//! The data of a call is written to memory, and to a file without a name once it is long; it goes
//! to the client from there. So the database is done with as soon as the query is, however slowly
//! the client reads, and an answer that fails half-way never leaves.

use super::api::SUCCESS;
use super::codes::{self, Fault};
use crate::front::{Body, Response};
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::{SpooledData, SpooledTempFile, spooled_tempfile_in};

/// Bytes of an answer kept in memory: a page of 500 records fits.
const IN_MEMORY: usize = 1024 * 1024;
/// Long answers on their way to clients at the same time: each has a file and a thread.
const LONG_ANSWERS: usize = 16;
/// What a client must take of a long answer in a second, beside the patience below; slower, it would
/// keep others from theirs.
const MIN_BYTES_PER_SECOND: u64 = 256 * 1024;
/// Time every client has whatever its pace.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes moved in one piece.
const PIECE: usize = 64 * 1024;
/// Bytes an answer writes before it is looked how much room is left, and between two looks.
const LOOK: usize = 16 * 1024 * 1024;
/// Bytes that long answers leave to the database: twenty of them at once, four that are read and sixteen on
/// their way, write 320 MiB between two looks, and the log beside the database takes 100 MB.
const RESERVE: u64 = 512 * 1024 * 1024;

/// Makes answers.
pub struct Answers {
    directory: PathBuf,
    long: Arc<AtomicUsize>,
    /// Bytes that are free where a directory is.
    free: fn(&Path) -> u64,
}

impl Answers {
    /// Long answers lie in `directory` while they are sent.
    pub fn new(directory: PathBuf) -> Self {
        Self { directory, long: Arc::default(), free }
    }

    /// A successful answer with the data that `write` writes.
    pub fn success(
        &self,
        write: impl FnOnce(&mut dyn Write) -> Result<(), Fault>,
    ) -> Result<Response, Fault> {
        let file = spooled_tempfile_in(IN_MEMORY, &self.directory);
        let mut out = BufWriter::with_capacity(PIECE, Spool { file, answers: self, room: LOOK });
        out.write_all(SUCCESS).map_err(|error| kept(&error))?;
        write(&mut out)?;
        out.write_all(b"}").map_err(|error| kept(&error))?;
        let spool = out.into_inner().map_err(|error| kept(error.error()))?;
        let body = self.body(spool.file)?;
        Ok(Response { status: 200, content_type: "application/json", headers: Vec::new(), body })
    }

    fn body(&self, spool: SpooledTempFile) -> Result<Body, Fault> {
        match spool.into_inner() {
            SpooledData::InMemory(bytes) => Ok(Body::Bytes(bytes.into_inner())),
            SpooledData::OnDisk(mut file) => {
                let seat = Seat::take(&self.long, LONG_ANSWERS)?;
                file.rewind().map_err(|error| kept(&error))?;
                Ok(Body::Stream(Box::new(move |out| {
                    let sent = send(&mut file, out);
                    drop(seat);
                    sent
                })))
            }
        }
    }
}

/// An answer as it grows.
struct Spool<'a> {
    file: SpooledTempFile,
    answers: &'a Answers,
    /// Bytes until the next look.
    room: usize,
}

impl Write for Spool<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.room < bytes.len() {
            if (self.answers.free)(&self.answers.directory) < RESERVE {
                let message = format!("the disk has less than {} MiB left", RESERVE >> 20);
                return Err(io::Error::new(io::ErrorKind::StorageFull, message));
            }
            self.room = LOOK;
        }
        let written = self.file.write(bytes)?;
        self.room = self.room.saturating_sub(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// What is free on the disk of a directory, for the user of this process. Where the system does not tell, nobody
/// is held up.
fn free(directory: &Path) -> u64 {
    rustix::fs::statvfs(directory).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Sends a file to a client that keeps up.
fn send(file: &mut File, out: &mut dyn Write) -> io::Result<()> {
    let (begin, mut sent, mut piece) = (Instant::now(), 0, vec![0; PIECE]);
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            return Ok(());
        }
        out.write_all(&piece[..length])?;
        sent += length as u64;
        if begin.elapsed() > PATIENCE + Duration::from_secs(sent / MIN_BYTES_PER_SECOND) {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes its answer too slowly"));
        }
    }
}

fn kept(error: &io::Error) -> Fault {
    Fault::new(codes::SELECT_FAILED, format!("the answer cannot be kept: {error}; ask for smaller pages"))
}

/// One of a bounded number of places; free again when this is dropped.
pub struct Seat(Arc<AtomicUsize>);

impl Seat {
    /// Takes one of `places`, or says that the server is busy (-1).
    pub fn take(taken: &Arc<AtomicUsize>, places: usize) -> Result<Self, Fault> {
        // Dropped, and so given back, if it is one too many.
        let seat = Self(taken.clone());
        if taken.fetch_add(1, Ordering::Relaxed) < places {
            return Ok(seat);
        }
        Err(Fault::new(codes::BUSY, format!("{places} others are being served already: try again")))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(answers: &Answers, bytes: usize) -> Result<Body, Fault> {
        let text = format!("\"{}\"", "x".repeat(bytes));
        let write = |out: &mut dyn Write| out.write_all(text.as_bytes()).map_err(|error| kept(&error));
        answers.success(write).map(|response| response.body)
    }

    fn bytes(body: Body) -> Vec<u8> {
        match body {
            Body::Bytes(bytes) => bytes,
            Body::Stream(stream) => {
                let mut bytes = Vec::new();
                stream(&mut bytes).unwrap();
                bytes
            }
        }
    }

    #[test]
    fn an_answer_is_whole_in_memory_and_from_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let answers = Answers::new(directory.path().to_owned());
        for (length, long) in [(0, false), (1000, false), (IN_MEMORY, true), (3 * IN_MEMORY, true)] {
            let body = answer(&answers, length).unwrap();
            assert_eq!(matches!(body, Body::Stream(_)), long, "{length}");
            let value: serde_json::Value = serde_json::from_slice(&bytes(body)).unwrap();
            assert_eq!(value["data"].as_str().map(str::len), Some(length));
        }
        // Nothing of it has a name.
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }

    #[test]
    fn long_answers_are_bounded_and_short_ones_go_on() {
        let directory = tempfile::tempdir().unwrap();
        let answers = Answers::new(directory.path().to_owned());
        let long: Vec<_> = (0..LONG_ANSWERS).map(|_| answer(&answers, 2 * IN_MEMORY).unwrap()).collect();
        assert_eq!(answer(&answers, 2 * IN_MEMORY).err().map(|fault| fault.code), Some(codes::BUSY));
        assert!(answer(&answers, 10).is_ok());
        drop(long);
        assert!(answer(&answers, 2 * IN_MEMORY).is_ok());
    }

    #[test]
    fn answers_leave_the_database_room_on_its_disk() {
        let directory = tempfile::tempdir().unwrap();
        assert_ne!(free(directory.path()), u64::MAX);
        for (free, longest) in [
            ((|_| RESERVE) as fn(&Path) -> u64, 3 * LOOK),
            // A page of any usual size is served to the last.
            (|_| RESERVE - 1, LOOK - PIECE),
        ] {
            let answers = Answers { free, ..Answers::new(directory.path().to_owned()) };
            assert!(answer(&answers, longest).is_ok());
        }
        let answers = Answers { free: |_| RESERVE - 1, ..Answers::new(directory.path().to_owned()) };
        let fault = answer(&answers, LOOK).err().unwrap();
        assert_eq!(fault.code, codes::SELECT_FAILED);
        assert!(fault.message.contains("512 MiB") && fault.message.contains("smaller pages"), "{fault}");
    }

    #[test]
    fn a_directory_that_cannot_be_written_is_said() {
        let fault = answer(&Answers::new("/no/such/directory".into()), 2 * IN_MEMORY).err().unwrap();
        assert_eq!(fault.code, codes::SELECT_FAILED);
        assert!(fault.message.contains("smaller pages"), "{fault}");
    }

    #[test]
    fn seats_are_bounded_and_come_back() {
        let taken = Arc::default();
        let seats: Vec<_> = (0..3).map(|_| Seat::take(&taken, 3).unwrap()).collect();
        assert_eq!(Seat::take(&taken, 3).err().map(|fault| fault.code), Some(codes::BUSY));
        drop(seats);
        assert!(Seat::take(&taken, 3).is_ok());
    }
}
