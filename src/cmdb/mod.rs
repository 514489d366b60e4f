//! The CMDB: container server calls and topology (protocol.md 2 and 3).
//!
//! Knows the wire and sorts answers by what the caller does next; knows nothing of why a record is
//! written.

use crate::http::HttpError;
use crate::model::Field;

/// Why a call did not succeed, by what the caller does next.
#[derive(Debug, thiserror::Error)]
pub enum CmdbError {
    /// Nothing reached the CMDB: try again later.
    #[error("CMDB: {0}")]
    Unreachable(HttpError),
    /// It may have been carried out, or may still be: read back.
    #[error("CMDB: {0}; it may have been carried out")]
    Ambiguous(String),
    /// Try again later: busy, a proxy's 5xx, HTML, a database error, the caller's own fault
    /// (1199027 headers, 9900403 permission).
    #[error("CMDB answered {code}: {message}")]
    Later {
        /// `bk_error_code`, or the HTTP status, or 0.
        code: i64,
        /// Its words, or ours.
        message: String,
    },
    /// This record is refused for good.
    #[error("CMDB refused with {code}: {message}")]
    Refused {
        /// `bk_error_code`.
        code: i64,
        /// Its words.
        message: String,
        /// The field it names, if it names one that is not part of the identity.
        field: Option<Field>,
    },
    /// 1199014: a record with the same uuid or the same name exists.
    #[error("CMDB: duplicate: {message}")]
    Duplicate {
        /// Its words.
        message: String,
    },
    /// 1199019: there is no such record.
    #[error("CMDB: no such record")]
    NotFound,
    /// The fence is down: nothing was sent.
    #[error("not sent: {0}")]
    Fenced(String),
}
