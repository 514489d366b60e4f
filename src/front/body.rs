//! Request bodies: read as they arrive, within the limit of one and a budget for all of a port.
//!
//! A limit a body is not enough: a thousand clients may each stop one byte short of it. Memory
//! follows what has arrived, never what was announced.

use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::chunked::{Chunked, Step};
use super::head::{Framing, ReadError, Refusal};

/// So many bodies of full length fit into the budget of a port.
const BODIES: usize = 8;

/// Bytes of bodies that a port holds, and may hold.
pub struct Budget {
    held: AtomicUsize,
    total: usize,
    limit: usize,
}

impl Budget {
    /// For bodies of up to `limit` bytes.
    pub fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), total: limit.saturating_mul(BODIES), limit })
    }
}

/// A body, counted in the budget until it is dropped.
pub struct Body {
    bytes: Vec<u8>,
    budget: Arc<Budget>,
}

impl Body {
    /// Reads a body, and not a byte further.
    pub fn read(input: &mut impl BufRead, framing: Framing, budget: &Arc<Budget>) -> Result<Self, ReadError> {
        let mut body = Self { bytes: Vec::new(), budget: Arc::clone(budget) };
        match framing {
            Framing::Length(length) => body.read_length(input, length)?,
            Framing::Chunked => body.read_chunks(input)?,
        }
        Ok(body)
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn read_length(&mut self, input: &mut impl BufRead, length: usize) -> Result<(), ReadError> {
        while self.bytes.len() < length {
            let available = arrived(input)?;
            let used = available.len().min(length - self.bytes.len());
            self.add(&available[..used])?;
            input.consume(used);
        }
        Ok(())
    }

    fn read_chunks(&mut self, input: &mut impl BufRead) -> Result<(), ReadError> {
        let mut chunked = Chunked::new();
        loop {
            let available = arrived(input)?;
            let (used, step) =
                chunked.advance(available).map_err(|_| Refusal::bad("the body is not validly chunked"))?;
            if let Step::Data(range) = &step {
                self.add(&available[range.clone()])?;
            }
            input.consume(used);
            if step == Step::End {
                return Ok(());
            }
        }
    }

    fn add(&mut self, piece: &[u8]) -> Result<(), Refusal> {
        if self.bytes.len() + piece.len() > self.budget.limit {
            return Err(Refusal::body_too_large(self.budget.limit));
        }
        // Counted first, so that `drop` takes off what was added in any case.
        let held = self.budget.held.fetch_add(piece.len(), Ordering::Relaxed) + piece.len();
        self.bytes.extend_from_slice(piece);
        if held > self.budget.total {
            return Err(Refusal {
                status: 503,
                message: "too many large requests at once; try again".into(),
            });
        }
        Ok(())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// What has arrived, at least a byte of it.
fn arrived(input: &mut impl BufRead) -> io::Result<&[u8]> {
    match input.fill_buf()? {
        [] => Err(io::ErrorKind::UnexpectedEof.into()),
        available => Ok(available),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(mut input: &[u8], framing: Framing, budget: &Arc<Budget>) -> Result<Body, u16> {
        Body::read(&mut input, framing, budget).map_err(|error| match error {
            ReadError::Refused(refusal) => refusal.status,
            ReadError::Io(_) => 0,
        })
    }

    #[test]
    fn a_body_is_read_to_its_end_and_no_further() {
        let budget = Budget::new(10);
        let mut input = &b"bodyrest"[..];
        let body = Body::read(&mut input, Framing::Length(4), &budget).map_err(|_| ()).unwrap();
        assert_eq!((body.bytes(), input), (&b"body"[..], &b"rest"[..]));
        assert_eq!(read(b"bod", Framing::Length(4), &budget).err(), Some(0), "cut off");
        assert_eq!(read(b"3\r\nbod", Framing::Chunked, &budget).err(), Some(0), "cut off");
        assert_eq!(read(b"b\r\n01234567890", Framing::Chunked, &budget).err(), Some(413));
        assert_eq!(read(b"x", Framing::Chunked, &budget).err(), Some(400));
    }

    #[test]
    fn all_bodies_together_stay_within_the_budget_and_give_it_back() {
        let budget = Budget::new(4);
        let held: Vec<Body> =
            (0..BODIES).map(|_| read(b"body", Framing::Length(4), &budget).unwrap()).collect();
        assert_eq!(read(b"body", Framing::Length(4), &budget).err(), Some(503));
        drop(held);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
        assert!(read(b"body", Framing::Length(4), &budget).is_ok());
    }
}
