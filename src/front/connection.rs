//! One client: request after request, each within its bounds, until it has enough or we have.

use parking_lot::RwLock;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::answer::Answer;
use super::backend::Backend;
use super::body::{Body, Budget};
use super::head::{Framing, Head, ReadError, Refusal, read_head};
use super::tally::Tally;
use super::wire::{Peer, Phase, Wire};
use super::{Body as AnswerBody, Limits, Response};

/// After a refusal what the client still sends is read and dropped for so long and so much, because
/// a close with unread input would take the answer away from it.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: u64 = 256 * 1024;

/// What connections of one port share.
pub struct Shared {
    /// The way to the handler.
    pub backend: Backend,
    /// Bounds of one connection.
    pub limits: Limits,
    /// Bound of all bodies together.
    pub budget: Arc<Budget>,
    /// TLS, if the port speaks it.
    pub tls: RwLock<Option<Arc<rustls::ServerConfig>>>,
    /// What is counted.
    pub tally: Arc<Tally>,
    /// No further request is taken.
    pub draining: AtomicBool,
}

/// A client being served.
pub struct Connection {
    id: u64,
    peer: Arc<Peer>,
    shared: Arc<Shared>,
    input: BufReader<Wire>,
}

impl Connection {
    /// Serves the client until the connection ends.
    pub fn serve(id: u64, peer: Arc<Peer>, shared: Arc<Shared>) {
        let deadline = Instant::now() + shared.limits.request_time;
        let tls = shared.tls.read().clone();
        let wire = match Wire::open(Arc::clone(&peer), tls, deadline) {
            Ok(wire) => wire,
            Err(error) => return shared.tally.fail_handshake(&error),
        };
        let mut connection = Self { id, peer, shared, input: BufReader::with_capacity(16 * 1024, wire) };
        if let Err(error) = connection.serve_requests() {
            connection.fail(error);
        }
        connection.input.get_mut().end();
    }

    fn serve_requests(&mut self) -> Result<(), ReadError> {
        while self.wait_for_request()? {
            let (head, body) = self.read_request()?;
            *self.peer.phase.lock() = Phase::Served;
            if !self.exchange(&head, body)? {
                break;
            }
        }
        Ok(())
    }

    /// Waits for the first byte of a request; false if the client went, or was silent for too long.
    fn wait_for_request(&mut self) -> io::Result<bool> {
        self.input.get_mut().set_deadline(Instant::now() + self.shared.limits.idle_time);
        *self.peer.phase.lock() = Phase::Idle(Instant::now());
        // After the line above: a drain that begins here finds an idle connection, and cuts it.
        if self.shared.draining.load(Ordering::SeqCst) {
            return Ok(false);
        }
        let arrived = match self.input.fill_buf() {
            Ok(bytes) => !bytes.is_empty(),
            Err(_) => false,
        };
        *self.peer.phase.lock() = Phase::Arriving(Instant::now());
        self.input.get_mut().set_deadline(Instant::now() + self.shared.limits.request_time);
        Ok(arrived)
    }

    fn read_request(&mut self) -> Result<(Head, Body), ReadError> {
        let limits = &self.shared.limits;
        let bytes = read_head(&mut self.input, limits.head)?;
        let head = Head::parse(&bytes, limits.body)?;
        limits.hosts.check(&head)?;
        if head.expects_continue && head.framing != Framing::Length(0) && self.input.buffer().is_empty() {
            let wire = self.input.get_mut();
            wire.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            wire.flush()?;
        }
        let body = Body::read(&mut self.input, head.framing, &self.shared.budget)?;
        Ok((head, body))
    }

    /// Passes the request on and the answer back; whether the connection can be used again.
    fn exchange(&mut self, head: &Head, body: Body) -> Result<bool, ReadError> {
        let (_service, backend) = self.shared.backend.connect().map_err(|error| self.unavailable(error))?;
        let backend = Arc::new(backend);
        self.peer.attach(Some(Arc::clone(&backend)))?;
        let outcome = self.pass(&backend, head, body);
        self.peer.attach(None)?;
        outcome
    }

    fn pass(&mut self, backend: &UnixStream, head: &Head, body: Body) -> Result<bool, ReadError> {
        let answer = self.forward(backend, head, body).map_err(|error| match self.peer.is_gone() {
            true => ReadError::Io(error),
            false => self.unavailable(error).into(),
        })?;
        if self.shared.tally.unreached.ends() {
            log::info!("requests reach their handlers again");
        }
        let more = !self.shared.draining.load(Ordering::SeqCst);
        let keep_alive = more && head.keep_alive && answer.is_delimited_for(head);
        let patience = self.shared.limits.request_time;
        match answer.copy(self.input.get_mut(), head, keep_alive, patience) {
            Ok(()) => Ok(keep_alive),
            Err(error) => {
                // Half an answer is out: the end of the connection is the only way to say so.
                self.shared.tally.fail(&error);
                self.peer.cut();
                Ok(false)
            }
        }
    }

    fn forward<'a>(&self, backend: &'a UnixStream, head: &Head, body: Body) -> io::Result<Answer<'a>> {
        let length = body.bytes().len();
        let text = self.shared.backend.head_for(head, length, self.id, &self.peer.addr.to_string());
        let mut out = backend;
        out.write_all(&text)?;
        out.write_all(body.bytes())?;
        drop(body); // The answer may take long; its memory is wanted by others.
        Answer::read(backend, head)
    }

    /// Answers what can be answered, counts, and lets the client read the answer.
    fn fail(&mut self, error: ReadError) {
        let refusal = match error {
            ReadError::Refused(refusal) => refusal,
            ReadError::Io(error) if error.kind() == io::ErrorKind::TimedOut => {
                let seconds = self.shared.limits.request_time.as_secs();
                Refusal {
                    status: 408,
                    message: format!("the request took longer than {seconds} s to arrive"),
                }
            }
            ReadError::Io(_) => return,
        };
        self.shared.tally.refuse(refusal.status);
        log::debug!("{}: {} {}", self.peer.addr, refusal.status, refusal.message);
        if self.send_refusal(&refusal).is_ok() {
            self.linger();
        }
    }

    fn unavailable(&self, error: io::Error) -> Refusal {
        if self.shared.tally.unreached.begins() {
            log::warn!("requests do not reach their handlers: {error}; they are answered 503");
        }
        Refusal { status: 503, message: format!("the service is out of resources ({error}); try again") }
    }

    fn send_refusal(&mut self, refusal: &Refusal) -> io::Result<()> {
        let wire = self.input.get_mut();
        wire.set_deadline(Instant::now() + LINGER_TIME);
        wire.write_all(&refusal_bytes(refusal))?;
        wire.flush()
    }

    fn linger(&mut self) {
        let wire = self.input.get_mut();
        wire.end();
        wire.set_deadline(Instant::now() + LINGER_TIME);
        // The client's own end, its errors and the deadline all mean: enough.
        let _ = io::copy(&mut wire.take(LINGER_BYTES), &mut io::sink());
    }
}

fn refusal_bytes(refusal: &Refusal) -> Vec<u8> {
    let reason = tiny_http::StatusCode(refusal.status).default_reason_phrase();
    let code = match refusal.status {
        408 => "timeout",
        413 | 431 => "too_large",
        421 => "misdirected",
        503 => "unavailable",
        _ => "bad_request",
    };
    let AnswerBody::Bytes(body) = Response::error(refusal.status, code, &refusal.message).body else {
        return Vec::new();
    };
    let mut bytes = format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        refusal.status,
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(&body);
    bytes
}
