//! The frame of every answer (protocol.md 2), and what to make of bytes that are not one.

use super::CmdbError;
use super::error::classify;
use crate::http::excerpt;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Whether a call may have changed something; decides what an answer nobody can read means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Intent {
    /// Nothing can have happened: ask again.
    Read,
    /// It may have been carried out: read back.
    Write,
}

impl Intent {
    /// The error for an answer that does not tell what became of the call.
    ///
    /// A 3xx or 4xx without an envelope comes from something in front of the CMDB that did not
    /// pass the call on; after any other status a write may have happened.
    pub(super) fn unclear(self, status: u16, reason: &str) -> CmdbError {
        let code = if is_success(status) { 0 } else { i64::from(status) };
        let message = match status {
            200 => reason.to_owned(),
            _ => format!("HTTP {status}: {reason}"),
        };
        match self {
            Self::Write if !(300..500).contains(&status) => CmdbError::Ambiguous(message),
            _ => CmdbError::Later { code, message },
        }
    }
}

/// `bk_error_code` and `result` are both required: a gateway's own error object has neither or
/// one of them, and must not pass for the CMDB's word.
#[derive(Deserialize)]
struct Envelope<'a> {
    result: bool,
    bk_error_code: i64,
    #[serde(default)]
    bk_error_msg: Option<String>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// The `data` of a success; `None` where it is `null` or absent.
pub(super) fn open(status: u16, body: &[u8], intent: Intent) -> Result<Option<&RawValue>, CmdbError> {
    let envelope: Envelope<'_> = serde_json::from_slice(body).map_err(|error| {
        let reason = match body {
            [] => "an empty body instead of JSON".to_owned(),
            _ => format!("not an answer of the CMDB, is cmdb_addr right? ({error}): {}", excerpt(body)),
        };
        intent.unclear(status, &reason)
    })?;
    match (envelope.result, envelope.bk_error_code) {
        (true, 0) if is_success(status) => Ok(envelope.data),
        (false, code) => {
            let words = envelope.bk_error_msg.unwrap_or_default();
            Err(classify(code, excerpt(words.as_bytes())))
        }
        (true, code) => {
            Err(intent.unclear(status, &format!("it says success and code {code} in one answer")))
        }
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(status: u16, body: &[u8], intent: Intent) -> String {
        match open(status, body, intent) {
            Ok(data) => format!("ok {}", data.map_or("none", RawValue::get)),
            Err(CmdbError::Later { code, .. }) => format!("later {code}"),
            Err(CmdbError::Ambiguous(_)) => "ambiguous".to_owned(),
            Err(CmdbError::Refused { code, .. }) => format!("refused {code}"),
            Err(other) => other.to_string(),
        }
    }

    fn check(status: u16, body: &str, read: &str, write: &str) {
        assert_eq!(class(status, body.as_bytes(), Intent::Read), read, "read: {status} {body}");
        assert_eq!(class(status, body.as_bytes(), Intent::Write), write, "write: {status} {body}");
    }

    #[test]
    fn only_a_whole_envelope_counts_as_the_cmdb_s_word() {
        check(200, r#"{"result":true,"bk_error_code":0,"data":{"a":1}}"#, "ok {\"a\":1}", "ok {\"a\":1}");
        check(
            200,
            r#"{"data":null,"permission":null,"bk_error_code":0,"result":true}"#,
            "ok none",
            "ok none",
        );
        check(200, "", "later 0", "ambiguous");
        check(200, "<html>login</html>", "later 0", "ambiguous");
        check(200, r#"{"result":true,"bk_error_code":0,"da"#, "later 0", "ambiguous");
        check(200, r#"{"result":"true","bk_error_code":0}"#, "later 0", "ambiguous");
        check(200, r#"{"result":true,"bk_error_code":"0"}"#, "later 0", "ambiguous");
        check(200, r#"{"result":true}"#, "later 0", "ambiguous");
        check(200, "null", "later 0", "ambiguous");
        check(200, "[]", "later 0", "ambiguous");
        check(200, r#"{"result":true,"bk_error_code":7}"#, "later 0", "ambiguous");
        check(500, r#"{"result":true,"bk_error_code":0}"#, "later 500", "ambiguous");
    }

    #[test]
    fn a_refusal_is_a_refusal_under_any_status() {
        let body = |code: i64| format!(r#"{{"result":false,"bk_error_code":{code},"bk_error_msg":null}}"#);
        check(200, &body(1199015), "refused 1199015", "refused 1199015");
        check(500, &body(1199027), "later 1199027", "later 1199027");
        check(200, &body(0), "later 0", "later 0");
        assert!(class(409, body(1118499).as_bytes(), Intent::Write).starts_with("not written: "));
    }

    #[test]
    fn what_stands_in_front_of_the_cmdb_is_told_apart_by_its_status() {
        check(502, "<html>bad gateway</html>", "later 502", "ambiguous");
        check(504, "", "later 504", "ambiguous");
        check(403, r#"{"code":1640001,"result":false,"message":"no"}"#, "later 403", "later 403");
        check(302, "", "later 302", "later 302");
        check(413, "too large", "later 413", "later 413");
        check(204, "", "later 0", "ambiguous");
    }

    #[test]
    fn invalid_utf8_is_not_an_answer() {
        let body = b"{\"result\":true,\"bk_error_code\":0,\"data\":\"\xff\"}";
        assert_eq!(class(200, body, Intent::Read), "later 0");
        assert_eq!(class(200, body, Intent::Write), "ambiguous");
    }
}
