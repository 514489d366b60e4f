//! Events out of the bytes of a watch stream (protocol.md 1.3), wherever the bytes come from.

use super::{EventKind, Splitter, wire};
use std::io::{self, Read};

/// Bytes taken at a time; there is one such buffer per cluster.
const READ_SIZE: usize = 16 * 1024;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent<'a> {
    /// What it claims to be.
    pub kind: EventKind,
    /// The storage document, as raw JSON; the old generation's deletes hold `_id` only.
    pub value: Option<&'a [u8]>,
    /// Why it makes no sense, if the kind is [`EventKind::Malformed`].
    pub problem: Option<String>,
}

/// Takes the events of one stream apart.
pub struct EventReader {
    buffer: Box<[u8]>,
    at: usize,
    filled: usize,
    splitter: Splitter,
    ended: bool,
}

impl Default for EventReader {
    fn default() -> Self {
        let buffer = vec![0; READ_SIZE].into_boxed_slice();
        Self { buffer, at: 0, filled: 0, splitter: Splitter::default(), ended: false }
    }
}

impl EventReader {
    /// The next event of `body`, which is always the same. `None`: the stream has ended, orderly or by
    /// a break event; what an end cuts off is no event.
    ///
    /// What is no event is one of kind [`EventKind::Malformed`], and the stream goes on.
    ///
    /// # Errors
    /// Those of `body`. What was read of an event before is kept for the next call.
    pub fn next(&mut self, body: &mut impl Read) -> io::Result<Option<WatchEvent<'_>>> {
        if self.ended || !self.read_value(body)? {
            self.ended = true;
            return Ok(None);
        }
        let parsed = match self.splitter.value() {
            Ok(bytes) => wire::parse_event(bytes),
            Err(too_large) => Err(too_large.to_string()),
        };
        Ok(match parsed {
            Ok((EventKind::Break, _)) => {
                self.ended = true;
                None
            }
            Ok((kind, value)) => Some(WatchEvent { kind, value, problem: None }),
            Err(problem) => {
                Some(WatchEvent { kind: EventKind::Malformed, value: None, problem: Some(problem) })
            }
        })
    }

    /// Reads up to the end of a value; `false` at the end of the stream.
    fn read_value(&mut self, body: &mut impl Read) -> io::Result<bool> {
        loop {
            let (taken, complete) = self.splitter.feed(&self.buffer[self.at..self.filled]);
            self.at += taken;
            if complete {
                return Ok(true);
            }
            if self.at < self.filled {
                continue;
            }
            self.at = 0;
            self.filled = 0;
            self.filled = body.read(&mut self.buffer)?;
            if self.filled == 0 {
                return Ok(false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str =
        r#"{"type":1,"value":{"_id":"}{"}}{"type":0}  {"type":7,"value":[]} x{"type":2,"value":{}}"#;
    const KINDS: [EventKind; 5] =
        [EventKind::Add, EventKind::Nop, EventKind::Unknown(7), EventKind::Malformed, EventKind::Delete];

    /// Bytes that come one at a time, with a failure before each.
    struct Halting<'a>(&'a [u8], bool);

    impl Read for Halting<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            let one = self.0.len().min(1);
            if self.1 { Err(io::ErrorKind::WouldBlock.into()) } else { self.0.read(&mut buffer[..one]) }
        }
    }

    fn kinds(stream: &str) -> Vec<EventKind> {
        let (mut events, mut body) = (EventReader::default(), Halting(stream.as_bytes(), false));
        let mut kinds = Vec::new();
        loop {
            match events.next(&mut body) {
                Ok(Some(event)) => kinds.push(event.kind),
                Ok(None) => return kinds,
                Err(_) => {}
            }
        }
    }

    #[test]
    fn events_are_the_same_however_often_the_connection_halts() {
        assert_eq!(kinds(STREAM), KINDS);
    }

    #[test]
    fn what_a_broken_stream_cuts_off_is_no_event() {
        for end in 0..STREAM.len() {
            let whole = kinds(&STREAM[..end]);
            assert!(KINDS.starts_with(&whole) && whole.len() < KINDS.len(), "{end}: {whole:?}");
        }
    }

    #[test]
    fn nothing_counts_behind_a_break_event() {
        assert_eq!(kinds(r#"{"type":0}{"type":-1,"value":null}{"type":0}"#), [EventKind::Nop]);
    }
}
