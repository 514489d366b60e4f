//! Outgoing HTTP: the one place that knows ureq.
//!
//! Peers differ in what they say, not in how they are reached: keep-alive connections, a bound on
//! every request, no proxy from the environment, no redirect followed behind our back, any status
//! an answer and not an error. What a caller does next depends on one question only: may the
//! request have been carried out? [`HttpError`] answers it.

mod answer;
mod client;
mod dial;
mod excerpt;
pub mod expiry;
mod handshake;
mod loose;
mod names;
mod stats;
pub mod tls;

pub use answer::Response;
pub use client::{Client, Options};
pub use excerpt::excerpt;
pub use loose::Loose;
pub use stats::{BUCKETS, OperationStats, Outcome, RequestStats, StatsSnapshot};

use std::time::Duration;

/// HTTP methods the peers use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
}

/// One request. GET and DELETE may carry a body (protocol.md 2 and 4).
#[derive(Debug)]
pub struct Request<'a> {
    /// Method.
    pub method: Method,
    /// Absolute URL, already percent-encoded.
    pub url: &'a str,
    /// Headers beside the ones HTTP itself needs.
    pub headers: &'a [(&'a str, &'a str)],
    /// Body.
    pub body: Option<&'a [u8]>,
    /// Bound on the whole exchange, reading the body included. `None` for streams: then only
    /// connecting, sending and the arrival of the head are bounded, by the client's own timeout.
    pub timeout: Option<Duration>,
    /// Longest silence while reading the body of a stream.
    pub idle_timeout: Option<Duration>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection: nothing was sent.
    #[error("cannot connect to {peer}: {reason}; is it running, and is its address right?")]
    Unreachable {
        /// `host:port`.
        peer: String,
        /// In words.
        reason: String,
    },
    /// The TLS handshake failed: nothing was sent.
    #[error("TLS with {peer} failed: {reason}")]
    Tls {
        /// `host:port`.
        peer: String,
        /// In words, with what to check.
        reason: String,
    },
    /// The time ran out after sending began: the peer may have carried the request out, or may
    /// still do so.
    #[error("no answer from {peer} within {seconds} s: it is overloaded, stuck or cut off")]
    Timeout {
        /// `host:port`.
        peer: String,
        /// The bound that was hit.
        seconds: f64,
    },
    /// The connection broke after sending began: the same doubt.
    #[error("connection to {peer} broke: {reason}")]
    Broken {
        /// `host:port`.
        peer: String,
        /// In words.
        reason: String,
    },
    /// The request cannot be made at all (a bad URL): nothing was sent.
    #[error("cannot ask {url}: {reason}")]
    Invalid {
        /// The URL, without credentials.
        url: String,
        /// In words.
        reason: String,
    },
}

impl HttpError {
    /// Whether the peer may have carried the request out, or may still do so.
    pub fn maybe_delivered(&self) -> bool {
        matches!(self, Self::Timeout { .. } | Self::Broken { .. })
    }

    /// Whether time ran out, for the `timeout` outcome of the metrics.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout { .. })
    }
}
