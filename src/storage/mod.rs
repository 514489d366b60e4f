//! bcs-storage, the source of truth for pods (protocol.md 1).
//!
//! Knows HTTP, framing and the envelope; hands documents out as raw JSON text and never looks into
//! a pod. Several addresses are tried in turn.

mod addresses;
mod client;
mod events;
mod framing;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod listing;
mod page;
mod permits;
mod stopper;
mod watch;
mod wire;

pub use addresses::{Addresses, StaticAddresses};
pub use client::Client;
pub use events::{EventReader, WatchEvent};
pub use framing::{Splitter, TooLarge, VALUE_LIMIT};
pub use listing::Listing;
pub use stopper::WatchStopper;
pub use watch::WatchStream;

use std::time::Duration;

/// Why bcs-storage could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// No connection, a timeout, a broken one.
    #[error("bcs-storage: {0}")]
    Http(#[from] crate::http::HttpError),
    /// An HTTP status other than 200.
    #[error("bcs-storage at {peer} answered HTTP {status}: {excerpt}; its log may tell why")]
    Status {
        /// `host:port`.
        peer: String,
        /// Status code.
        status: u16,
        /// Beginning of the body, printable.
        excerpt: String,
    },
    /// The body is not what protocol.md 1 describes.
    #[error("{peer} does not answer as bcs-storage does, is the address right? {reason}")]
    Malformed {
        /// `host:port`.
        peer: String,
        /// In words.
        reason: String,
    },
    /// `result: false`.
    #[error("bcs-storage at {peer} refused: code {code}, {message}; its log may tell why")]
    Refused {
        /// `host:port`.
        peer: String,
        /// Its code.
        code: i64,
        /// Its message.
        message: String,
    },
    /// No address is configured or known.
    #[error(
        "no bcs-storage address is known: set storage_addrs, or look whether bcs-storage registers in storage_zk"
    )]
    NoAddress,
    /// The client was stopped.
    #[error("stopped")]
    Stopped,
}

/// What a watch event claims to be (protocol.md 1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum EventKind {
    Nop,
    Add,
    Delete,
    Change,
    SelfChange,
    Break,
    /// Not an event at all; the stream goes on behind it.
    Malformed,
    /// A type this service does not know.
    Unknown(i64),
}

/// Settings of the client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Documents per list page.
    pub page_size: u32,
    /// Bound on one request.
    pub timeout: Duration,
    /// Silence after which a watch stream is given up.
    pub watch_idle_timeout: Duration,
    /// Full listings at the same time per address.
    pub list_concurrency: usize,
}
