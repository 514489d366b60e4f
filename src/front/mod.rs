//! The guarded listener in front of tiny_http: owns every listening port.
//!
//! tiny_http must never meet the network (design.md 8): one hostile `Content-Length` aborts the
//! process, it knows no deadline, no limit and no modern TLS, and its accept loop ends when files
//! run out. So the front accepts, bounds connections, heads, bodies and time, ends TLS, reads one
//! whole request, and passes it in its plainest form to tiny_http on a Unix socket in a private
//! directory. There a fixed pool of threads calls the [`Handler`].
//!
//! * `listener` accepts, makes room, and stops everything; `tally` is what is counted.
//! * `connection` is one client: request after request, each within its deadline.
//! * `head`, `host`, `chunked` are the pure rules of what may pass; `body` is what one may weigh.
//! * `backend` is the tiny_http side, `stream` an answer it sends piece by piece; `answer` is what comes
//!   back, on the way to the client.
//!
//! Nothing here knows a route, a cluster or a Pod.

mod answer;
mod backend;
mod body;
mod chunked;
mod connection;
mod crew;
mod directory;
mod head;
mod host;
mod listener;
mod stream;
mod tally;
mod wire;

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

pub use host::Hosts;
pub use tally::{Counters, Meter};

/// One whole request.
#[derive(Debug)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path as sent, still percent-encoded, without the query.
    pub path: String,
    /// Query without `?`; empty if none.
    pub query: String,
    /// Headers, names in lower case. Forwarded headers are stripped: nobody stands between us and the peer.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: Vec<u8>,
    /// The peer of the TCP connection: never a forwarded header.
    pub peer: SocketAddr,
}

impl Request {
    /// The first header of that (lower case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Writes a body piece by piece.
pub type StreamBody = Box<dyn FnOnce(&mut dyn Write) -> io::Result<()> + Send>;

/// Body of an answer.
pub enum Body {
    /// All of it.
    Bytes(Vec<u8>),
    /// Written piece by piece, for as long as it takes, on a thread of its own; each flush reaches
    /// the client. Ends with the function; an error breaks the connection off, so that the client
    /// does not take the body for whole.
    ///
    /// A stream with nothing to say calls `flush` at least once a second: that fails when the
    /// client is gone or the port stops, and then the function must return.
    Stream(StreamBody),
}

/// An answer.
pub struct Response {
    /// Status code.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Body,
}

impl Response {
    /// A JSON answer.
    pub fn json(status: u16, value: &impl serde::Serialize) -> Self {
        let body = serde_json::to_vec(value).unwrap_or_else(|error| error.to_string().into_bytes());
        Self { status, content_type: "application/json", headers: Vec::new(), body: Body::Bytes(body) }
    }

    /// An error answer in the one shape all of them have: `{"error":{"code","message"}}`.
    pub fn error(status: u16, code: &str, message: &str) -> Self {
        Self::json(status, &serde_json::json!({"error": {"code": code, "message": message}}))
    }
}

/// What answers requests; called from many threads at once.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn handle(&self, request: Request) -> Response;
}

impl<F: Fn(Request) -> Response + Send + Sync + 'static> Handler for F {
    fn handle(&self, request: Request) -> Response {
        self(request)
    }
}

/// Bounds of one port.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at the same time. Beyond that the one that has been idle longest makes room; if
    /// none is idle, the one whose request has been arriving longest, if for more than a second; else
    /// the new one is closed at once.
    pub connections: usize,
    /// Bytes of request line and headers.
    pub head: usize,
    /// Bytes of a body.
    pub body: usize,
    /// Time for a whole request to arrive, from its first byte; also for a TLS handshake, and for
    /// the client to take a piece of the answer.
    pub request_time: Duration,
    /// Silence between requests of one connection.
    pub idle_time: Duration,
    /// Names it may be addressed by.
    pub hosts: Hosts,
}

impl Default for Limits {
    /// Fit for a status port: small bodies, and room for a thousand clients at one small thread each.
    fn default() -> Self {
        Self {
            connections: 1000,
            head: 16 * 1024,
            body: 1024 * 1024,
            request_time: Duration::from_secs(30),
            idle_time: Duration::from_secs(90),
            hosts: Hosts::default(),
        }
    }
}

/// A listening port at work; stops when dropped.
pub struct Front {
    inner: listener::Listening,
}

impl Front {
    /// Serves `listener` with `handler`. `name` labels the threads and log lines.
    ///
    /// # Errors
    /// When the private directory or the threads cannot be had.
    pub fn start(
        name: &str,
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> io::Result<Self> {
        Ok(Self { inner: listener::Listening::start(name, listener, tls, limits, handler)? })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.inner.addr()
    }

    /// Speaks TLS by another configuration with everybody who connects from now on.
    pub fn set_tls(&self, tls: Arc<rustls::ServerConfig>) {
        self.inner.set_tls(tls);
    }

    /// What has happened so far.
    pub fn counters(&self) -> Counters {
        self.meter().counters()
    }

    /// Reads the counters from elsewhere.
    pub fn meter(&self) -> Meter {
        self.inner.meter()
    }

    /// Takes no new connection and no further request, and waits until those that have begun are
    /// answered, at most for `patience`. Streams have to end by themselves.
    pub fn drain(&self, patience: Duration) {
        self.inner.drain(patience);
    }

    /// Stops: no new connection, open ones cut, threads joined. Takes about a second at most; a
    /// handler that does not return by then is left behind with a log line. Also done by `drop`.
    pub fn stop(mut self) {
        self.inner.stop();
    }
}
