//! The watch stream as bytes: what the model of the storage sends is taken apart by the reader of the
//! service, in pieces of any size, and a broken stream ends at any byte.

use super::checks::{Violation, violation};
use super::storage::Generation;
use bcs_bkcmdb_synchronizer::model::Observation;
use bcs_bkcmdb_synchronizer::storage::{EventKind, EventReader};
use serde::Deserialize;
use std::collections::VecDeque;
use std::io::{self, Read};

/// Longest piece: shorter than any event, so that none is complete while another is being read.
const PIECE: usize = 16;
/// What documents may hold that looks like the end or the beginning of one.
const NOISE: [&str; 4] = [r#""}{""#, r#""\"}]\\""#, "[[{\"é\":[]}],\"\u{1F980}\"]", "-1.5e3"];
const NOP: &str = r#"{"type":0,"value":null}"#;
const BREAK: &str = r#"{"type":-1,"value":null}"#;

/// One stream.
pub struct Wire {
    reader: EventReader,
    pipe: Pipe,
    separator: &'static str,
    /// What was sent and not read; the number of the first.
    sent: VecDeque<Observation>,
    next: usize,
}

/// Bytes on their way.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// So many of them can be read by now.
    arrived: usize,
    piece: usize,
    ended: bool,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.bytes.is_empty() && self.ended {
            return Ok(0);
        }
        let most = self.arrived.min(self.piece).min(buffer.len());
        if most == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = self.bytes.read(&mut buffer[..most])?;
        self.arrived -= read;
        Ok(read)
    }
}

/// As much of a document as is sent: the rest is in [`Wire::sent`].
#[derive(Deserialize)]
struct Document {
    number: usize,
}

impl Wire {
    pub fn new(generation: Generation) -> Self {
        let separator = if generation == Generation::Old { "\n" } else { "" };
        let (reader, pipe) = (EventReader::default(), Pipe::default());
        Self { reader, pipe, separator, sent: VecDeque::new(), next: 0 }
    }

    /// Whether everything sent was read, as far as it is whole.
    pub fn is_empty(&self) -> bool {
        self.pipe.bytes.is_empty()
    }

    /// The storage sends an event.
    pub fn send(&mut self, event: Observation, rng: &mut fastrand::Rng) {
        if rng.u8(..16) == 0 {
            self.write(NOP);
        }
        let number = self.next + self.sent.len();
        let kind = match event {
            Observation::Deleted(_) => 2,
            Observation::Pod(_) => [1, 3][rng.usize(..2)],
        };
        let noise = NOISE[rng.usize(..NOISE.len())];
        self.write(&format!(r#"{{"type":{kind},"value":{{"noise":{noise},"number":{number}}}}}"#));
        self.sent.push_back(event);
    }

    fn write(&mut self, text: &str) {
        self.pipe.bytes.extend(text.bytes().chain(self.separator.bytes()));
    }

    /// All that was sent arrives, or with `halting` a part of it.
    pub fn arrive(&mut self, halting: bool, rng: &mut fastrand::Rng) {
        let length = self.pipe.bytes.len();
        self.pipe.piece = rng.usize(1..=PIECE);
        self.pipe.arrived = if halting { rng.usize(..=length) } else { length };
    }

    /// The stream ends here: at any byte, or orderly.
    pub fn cut(&mut self, rng: &mut fastrand::Rng) {
        match rng.u8(..4) {
            0 => self.write(BREAK),
            _ => self.pipe.bytes.truncate(rng.usize(..=self.pipe.bytes.len())),
        }
        self.pipe.ended = true;
    }

    /// The next event that has arrived as a whole.
    pub fn read(&mut self) -> Result<Option<Observation>, Violation> {
        loop {
            let event = match self.reader.next(&mut self.pipe) {
                Err(_) => return Ok(None),
                Ok(None) => {
                    self.pipe.bytes.clear();
                    return Ok(None);
                }
                Ok(Some(event)) => event,
            };
            if event.kind == EventKind::Nop {
                continue;
            }
            let document = event.value.and_then(|value| serde_json::from_slice::<Document>(value).ok());
            let number = document.map(|document| document.number);
            let sent = self.sent.pop_front();
            let is_delete = matches!(sent, Some(Observation::Deleted(_)));
            if number != Some(self.next) || is_delete != (event.kind == EventKind::Delete) {
                return violation(1, format!("event {} of the stream arrived as {number:?}", self.next));
            }
            self.next += 1;
            return Ok(sent);
        }
    }
}
