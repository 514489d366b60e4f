//! What the container server answers when it refuses: codes, and the refusal itself.
//!
//! The numbers are the CMDB's own (protocol.md 2). Pure; knows no HTTP beyond the status number
//! that goes with a refusal.

/// Too many callers at the same time.
pub const BUSY: i64 = -1;
/// The body is not JSON.
pub const NOT_JSON: i64 = 1199000;
/// A parameter has no meaning here.
pub const INVALID: i64 = 1199006;
/// A text field holds something else than a string.
pub const NEED_STRING: i64 = 1199007;
/// The call lacks a part of its body.
pub const MISSING: i64 = 1199008;
/// An integer field holds something else than an integer.
pub const NEED_INT: i64 = 1199009;
/// A required field is absent or empty.
pub const NEED_SET: i64 = 1199010;
/// The business in the path is not a number above 0.
pub const BAD_BUSINESS: i64 = 1199013;
/// A unique rule is violated.
pub const DUPLICATE: i64 = 1199014;
/// The text is too long.
pub const TOO_LONG: i64 = 1199015;
/// The text does not have the form its field wants.
pub const PATTERN: i64 = 1199016;
/// The database could not be read.
pub const SELECT_FAILED: i64 = 1199017;
/// The database could not take a record.
pub const INSERT_FAILED: i64 = 1199018;
/// There is no such record.
pub const NOT_FOUND: i64 = 1199019;
/// The database could not change a record.
pub const UPDATE_FAILED: i64 = 1199020;
/// The database could not delete a record.
pub const DELETE_FAILED: i64 = 1199021;
/// User or supplier headers are missing.
pub const HEADERS: i64 = 1199027;
/// A time field holds something else than a string.
pub const SHOULD_BE_STRING: i64 = 1199032;
/// The module is missing, or the business has none of that id.
pub const MODULE: i64 = 1118401;
/// The modules could not be looked up, or a create-many names one that does not exist.
pub const MODULE_QUERY: i64 = 1118402;
/// A condition names no unique rule.
pub const CONDITION: i64 = 1118403;
/// A higher fence number was seen for that cluster.
pub const FENCED: i64 = 1118499;
/// The user may not use this server.
pub const PERMISSION: i64 = 9900403;

/// A refusal, ready for the envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Fault {
    /// HTTP status: 200 but for a few (protocol.md 2).
    pub status: u16,
    /// `bk_error_code`.
    pub code: i64,
    /// `bk_error_msg`: names the field or keys and says what would be right.
    pub message: String,
}

impl Fault {
    /// A refusal as the CMDB sends them, with HTTP 200.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { status: 200, code, message: message.into() }
    }

    /// The same with another HTTP status.
    pub fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_handbook_has_a_row_for_every_code() {
        let codes = include_str!("codes.rs").lines().filter_map(|line| {
            let (_, code) = line.strip_prefix("pub const ")?.split_once(": i64 = ")?;
            code.strip_suffix(';')
        });
        let rows = include_str!("README.md").lines();
        let rows: Vec<_> = rows.filter_map(|row| row.strip_prefix("| ")?.split(' ').next()).collect();
        let (there, missing): (Vec<_>, Vec<_>) = codes.partition(|code| rows.contains(code));
        assert_eq!((there.len(), missing), (23, vec![]));
    }
}
