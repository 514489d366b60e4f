//! An answer: status and body, and what a failing body means.

use super::HttpError;
use crate::pulse;
use std::io::{self, Read};
use std::time::Duration;

/// An answer: any status.
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `Location`, for the one peer that redirects.
    pub location: Option<String>,
    /// The body as it arrives. Read it to its end, or the connection is not used again.
    pub body: Box<dyn Read + Send>,
    /// `host:port` that answered.
    pub peer: String,
    /// The length the head announces; a hint, for the body may be compressed or break off.
    pub(super) length: Option<u64>,
}

/// What is reserved for an announced length at most: a page of records. What follows grows as it
/// comes, whatever a peer announces.
const RESERVED: u64 = 1 << 20;

impl Response {
    /// The whole body, of at most `limit` bytes; a longer one is [`HttpError::Broken`], because the
    /// rest of it is not read.
    pub fn bytes(mut self, limit: u64) -> Result<Vec<u8>, HttpError> {
        let expected = self.length.unwrap_or(0).min(limit).min(RESERVED);
        // One more byte lets the end be seen without growing.
        let mut bytes = Vec::with_capacity(expected as usize + 1);
        let read = self.body.by_ref().take(limit.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| HttpError::reading(&self.peer, &error))?;
        if bytes.len() as u64 > limit {
            let reason = format!("the answer is longer than {limit} bytes");
            return Err(HttpError::Broken { peer: self.peer, reason });
        }
        Ok(bytes)
    }
}

/// The bound a body ran into, carried inside an [`io::Error`] so that [`HttpError::reading`] can
/// tell it.
#[derive(Debug, thiserror::Error)]
#[error("nothing more came within {} s", .0.as_secs_f64())]
struct BodyTimeout(Duration);

impl HttpError {
    /// What an error of [`Response::body`] means: the request was carried out, its answer is not
    /// known.
    pub fn reading(peer: &str, error: &io::Error) -> Self {
        let peer = peer.to_owned();
        match error.get_ref().and_then(|inner| inner.downcast_ref::<BodyTimeout>()) {
            Some(BodyTimeout(bound)) => Self::Timeout { peer, seconds: bound.as_secs_f64() },
            None => Self::Broken { peer, reason: error.to_string() },
        }
    }
}

/// The body of an answer with ureq's errors put into our own terms.
pub(super) struct BodyReader {
    pub(super) inner: ureq::BodyReader<'static>,
    /// Bound on the whole exchange.
    pub(super) whole: Duration,
    /// Bound on one silence.
    pub(super) silence: Duration,
}

impl Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        pulse::within(self.whole.max(self.silence));
        let read = self.inner.read(buffer);
        pulse::beat();
        read.map_err(|error| self.in_our_terms(error))
    }
}

impl BodyReader {
    fn in_our_terms(&self, error: io::Error) -> io::Error {
        let bound = match error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>()) {
            Some(ureq::Error::Timeout(ureq::Timeout::PerRead)) => self.silence,
            Some(ureq::Error::Timeout(_)) => self.whole,
            _ => return error,
        };
        io::Error::new(io::ErrorKind::TimedOut, BodyTimeout(bound))
    }
}
