//! What a port counts, for whoever watches it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::listener::Peers;
use crate::logging::Trouble;

/// What has happened on a port since it opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections open now.
    pub open: u64,
    /// Connections accepted, refused ones included.
    pub accepted: u64,
    /// Connections closed at once because the port was full of busy ones.
    pub refused: u64,
    /// Idle connections, and slow requests, closed to make room.
    pub evicted: u64,
    /// TLS handshakes in which client and port did not agree.
    pub handshakes: u64,
    /// Requests, handshakes and answers that took too long.
    pub timeouts: u64,
    /// Requests that are not valid, or not clear.
    pub bad_requests: u64,
    /// Requests to a name that is none of the port's.
    pub misdirected: u64,
    /// Requests whose head or body is too large.
    pub too_large: u64,
    /// Requests that found the port without the means to serve them.
    pub unavailable: u64,
    /// Handlers that panicked.
    pub panics: u64,
}

impl Counters {
    /// What was not served, by reason: a word each.
    pub fn refusals(&self) -> [(&'static str, u64); 8] {
        [
            ("full", self.refused),
            ("evicted", self.evicted),
            ("tls", self.handshakes),
            ("timeout", self.timeouts),
            ("bad_request", self.bad_requests),
            ("misdirected", self.misdirected),
            ("too_large", self.too_large),
            ("unavailable", self.unavailable),
        ]
    }
}

/// The numbers behind [`Counters`].
#[derive(Default)]
pub struct Tally {
    accepted: AtomicU64,
    refused: AtomicU64,
    evicted: AtomicU64,
    handshakes: AtomicU64,
    timeouts: AtomicU64,
    bad_requests: AtomicU64,
    misdirected: AtomicU64,
    too_large: AtomicU64,
    unavailable: AtomicU64,
    panics: AtomicU64,
    /// Requests that do not reach their handler.
    pub unreached: Trouble,
}

impl Tally {
    /// A connection was accepted.
    pub fn accept(&self) {
        add(&self.accepted);
    }

    /// A connection found no room.
    pub fn turn_away(&self) {
        add(&self.refused);
    }

    /// A connection made room for another.
    pub fn evict(&self) {
        add(&self.evicted);
    }

    /// A handler panicked.
    pub fn panic(&self) {
        add(&self.panics);
    }

    /// A request was answered with this status before it reached a handler.
    pub fn refuse(&self, status: u16) {
        add(match status {
            408 => &self.timeouts,
            413 | 431 => &self.too_large,
            421 => &self.misdirected,
            503 => &self.unavailable,
            _ => &self.bad_requests,
        });
    }

    /// A connection failed: counted if time was the reason.
    pub fn fail(&self, error: &io::Error) {
        if error.kind() == io::ErrorKind::TimedOut {
            add(&self.timeouts);
        }
    }

    /// A handshake failed. A client that left in the midst of it, or before, as whoever only tries
    /// whether the port is open does, counts as nothing.
    pub fn fail_handshake(&self, error: &io::Error) {
        match error.kind() {
            io::ErrorKind::InvalidData => add(&self.handshakes),
            _ => self.fail(error),
        }
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Reads the counters of a port, also when that is gone; keeps nothing of it alive but them.
#[derive(Clone)]
pub struct Meter {
    name: String,
    tally: Arc<Tally>,
    peers: Arc<Peers>,
}

impl Meter {
    pub(super) fn new(name: &str, tally: Arc<Tally>, peers: Arc<Peers>) -> Self {
        Self { name: name.to_owned(), tally, peers }
    }

    /// Name of the port.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let tally = &self.tally;
        Counters {
            open: self.peers.open() as u64,
            accepted: get(&tally.accepted),
            refused: get(&tally.refused),
            evicted: get(&tally.evicted),
            handshakes: get(&tally.handshakes),
            timeouts: get(&tally.timeouts),
            bad_requests: get(&tally.bad_requests),
            misdirected: get(&tally.misdirected),
            too_large: get(&tally.too_large),
            unavailable: get(&tally.unavailable),
            panics: get(&tally.panics),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_counts_under_its_reason() {
        let meter = Meter::new("x", Arc::default(), Arc::default());
        for status in [400, 408, 413, 417, 421, 431, 501, 503, 505] {
            meter.tally.refuse(status);
        }
        for kind in [io::ErrorKind::InvalidData, io::ErrorKind::TimedOut, io::ErrorKind::UnexpectedEof] {
            meter.tally.fail_handshake(&kind.into());
            meter.tally.fail(&kind.into());
        }
        let counted = [
            ("full", 0),
            ("evicted", 0),
            ("tls", 1),
            ("timeout", 3),
            ("bad_request", 4),
            ("misdirected", 1),
            ("too_large", 2),
            ("unavailable", 1),
        ];
        assert_eq!(meter.counters().refusals(), counted);
    }
}
