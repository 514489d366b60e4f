//! What the answers of bcs-storage mean (protocol.md 1): envelopes and events, as pure functions.
//!
//! One rule stands above the others: a cluster that looks empty, or a pod that looks gone, because
//! of an error must never be taken for an empty cluster or a deleted pod.

use super::page::{DataShape, Members};
use super::{EventKind, StorageError};
use crate::http::{Loose, excerpt};
use serde::Deserialize;
use serde_json::value::RawValue;

pub(super) fn malformed(peer: &str, reason: impl Into<String>) -> StorageError {
    StorageError::Malformed { peer: peer.to_owned(), reason: reason.into() }
}

/// Whether a page counts: only `result: true` with a list does, however short the list.
pub(super) fn judge_page(peer: &str, members: &Members) -> Result<(), StorageError> {
    match members.result.as_deref() {
        Some(b"true") => {}
        Some(b"false") => {
            return Err(refused(peer, members));
        }
        Some(_) => return Err(malformed(peer, "`result` is neither true nor false")),
        None => return Err(malformed(peer, "there is no `result` in it")),
    }
    match members.data {
        DataShape::List => Ok(()),
        DataShape::Absent => Err(malformed(peer, "it holds no `data`")),
        DataShape::Other => Err(malformed(peer, "`data` is no list")),
    }
}

fn refused(peer: &str, members: &Members) -> StorageError {
    let scalar = |member: &Option<Vec<u8>>| {
        let parsed = member.as_deref().and_then(|bytes| serde_json::from_slice::<Loose<'_>>(bytes).ok());
        parsed.map(|value| (value.int(), excerpt(value.text().as_bytes())))
    };
    let code = scalar(&members.code).and_then(|(code, _)| code).unwrap_or_default();
    let message = scalar(&members.message).map(|(_, text)| text).filter(|text| !text.is_empty());
    let message = message.unwrap_or_else(|| "without a message".to_owned());
    StorageError::Refused { peer: peer.to_owned(), code, message }
}

#[derive(Deserialize)]
struct One<'a> {
    result: bool,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    #[serde(rename = "resourceName")]
    name: Option<String>,
    namespace: Option<String>,
}

/// The document in the answer to a point read, or `None` if there is none: the proof that a pod is
/// gone (protocol.md 1.2). Whatever is neither clearly there nor clearly absent is an error.
pub(super) fn judge_point_read(
    peer: &str,
    body: &[u8],
    namespace: &str,
    name: &str,
) -> Result<Option<Vec<u8>>, StorageError> {
    let one: One<'_> = object(body)
        .and_then(|text| serde_json::from_str(text).map_err(|error| error.to_string()))
        .map_err(|error| malformed(peer, format!("{error}; it begins with {}", excerpt(body))))?;
    let Some(data) = one.data.map(RawValue::get).filter(|data| !is_hollow(data)) else {
        return Ok(None);
    };
    let named: Named = match data.starts_with('{') {
        true => serde_json::from_str(data).map_err(|error| malformed(peer, format!("`data`: {error}")))?,
        false => return Err(malformed(peer, "`data` is no single document")),
    };
    match named.name {
        None => Err(malformed(peer, "`data` has no `resourceName`")),
        Some(_) if !one.result => Err(malformed(peer, "`result` is false, but `data` is a document")),
        Some(found) if found != name || named.namespace.is_some_and(|found| found != namespace) => {
            Err(malformed(peer, format!("it holds {} instead of {name}", excerpt(found.as_bytes()))))
        }
        Some(_) => Ok(Some(data.as_bytes().to_vec())),
    }
}

/// `{}` or `[]`.
fn is_hollow(data: &str) -> bool {
    let between = |open, close| data.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    between('{', '}').or(between('[', ']')).is_some_and(|inner| inner.trim().is_empty())
}

/// The text of a JSON object: serde alone would take a list of the members for one, and pass over
/// bytes that are no UTF-8 where it skips.
fn object(bytes: &[u8]) -> Result<&str, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
    match text.trim_start().starts_with('{') {
        true => Ok(text),
        false => Err("a JSON object is expected".to_owned()),
    }
}

#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: i64,
    #[serde(borrow, default)]
    value: Option<&'a RawValue>,
}

/// Kind and value of an event (protocol.md 1.3); a `null` value is none. The error says in words
/// why it is no event.
pub(super) fn parse_event(bytes: &[u8]) -> Result<(EventKind, Option<&[u8]>), String> {
    let event: Event<'_> = object(bytes)
        .and_then(|text| serde_json::from_str(text).map_err(|error| error.to_string()))
        .map_err(|error| format!("{error}; it begins with {}", excerpt(bytes)))?;
    let kind = match event.kind {
        -1 => EventKind::Break,
        0 => EventKind::Nop,
        1 => EventKind::Add,
        2 => EventKind::Delete,
        3 => EventKind::Change,
        4 => EventKind::SelfChange,
        other => EventKind::Unknown(other),
    };
    Ok((kind, event.value.map(|value| value.get().as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::page::Page;

    fn page(body: &str) -> Result<(), StorageError> {
        let mut page = Page::new();
        page.feed(body.as_bytes(), &mut |_| ()).unwrap();
        judge_page("peer", &page.finish().unwrap())
    }

    #[test]
    fn only_a_true_result_with_a_list_is_a_page() {
        page(r#"{"result":true,"data":[]}"#).unwrap();
        page(r#"{"data":[{}],"message":null,"result":true}"#).unwrap();
        for body in [
            r#"{"result":true,"data":null}"#,
            r#"{"result":true,"data":{}}"#,
            r#"{"result":true}"#,
            r#"{"data":[]}"#,
            r#"{"result":"true","data":[]}"#,
            r#"{"result":1,"data":[]}"#,
            r#"{"result":null,"data":[]}"#,
        ] {
            let error = page(body).unwrap_err();
            assert!(matches!(error, StorageError::Malformed { .. }), "{body}: {error}");
        }
    }

    #[test]
    fn a_false_result_is_refused_with_code_and_message_whatever_data_is() {
        for (body, code, message) in [
            (
                r#"{"result":false,"code":1405085,"message":"list \n failed","data":[]}"#,
                1405085,
                "list failed",
            ),
            (r#"{"data":[{}],"message":"no","code":"7","result":false}"#, 7, "no"),
            (r#"{"result":false}"#, 0, "without a message"),
            (r#"{"result":false,"code":null,"message":{"a":1}}"#, 0, "without a message"),
        ] {
            match page(body).unwrap_err() {
                StorageError::Refused { code: found, message: words, .. } => {
                    assert_eq!((found, words.as_str()), (code, message), "{body}");
                }
                other => panic!("{body}: {other}"),
            }
        }
    }

    fn read(body: &str) -> Result<Option<Vec<u8>>, StorageError> {
        judge_point_read("peer", body.as_bytes(), "ns", "web-0")
    }

    #[test]
    fn a_point_read_finds_the_document_as_it_stands() {
        let document = r#"{"resourceName":"web-0", "namespace":"ns","data":{"x":1}}"#;
        let body = format!(r#"{{"code":0,"data":{document},"result":true}}"#);
        assert_eq!(read(&body).unwrap().unwrap(), document.as_bytes());
        assert!(read(r#"{"result":true,"data":{"resourceName":"web-0"}}"#).unwrap().is_some());
    }

    #[test]
    fn a_pod_is_gone_only_if_a_parsed_answer_holds_nothing() {
        for data in ["null", "{}", "[]", "{ }", " [\n]"] {
            for result in ["true", "false"] {
                let body = format!(r#"{{"result":{result},"code":1405087,"data":{data}}}"#);
                assert_eq!(read(&body).unwrap(), None, "{body}");
            }
        }
        assert_eq!(read(r#"{"result":false,"code":1405087,"message":"not found"}"#).unwrap(), None);
    }

    #[test]
    fn an_unclear_point_read_proves_nothing() {
        for body in [
            "",
            "{}",
            "null",
            "[]",
            "[false]",
            "<html>not found</html>",
            r#"{"result":false,"data":{}"#,
            r#"{"data":{}}"#,
            r#"{"result":"false"}"#,
            r#"{"result":null}"#,
            r#"{"result":true,"data":[{"resourceName":"web-0"}]}"#,
            r#"{"result":true,"data":{"_id":"1"}}"#,
            r#"{"result":true,"data":{"resourceName":""}}"#,
            r#"{"result":true,"data":{"resourceName":7}}"#,
            r#"{"result":true,"data":{"resourceName":"web-1"}}"#,
            r#"{"result":true,"data":{"resourceName":"web-0","namespace":"other"}}"#,
            r#"{"result":false,"data":{"resourceName":"web-0"}}"#,
            r#"{"result":false,"data":"null"}"#,
            r#"{"result":false,"data":nul}"#,
            r#"{"result":true,"result":false}"#,
            r#"{"result":false} {"result":true}"#,
        ] {
            let error = read(body).unwrap_err();
            assert!(matches!(error, StorageError::Malformed { .. }), "{body}: {error}");
        }
        assert!(judge_point_read("peer", b"{\"result\":false,\"message\":\"\xff\"}", "ns", "web-0").is_err());
    }

    #[test]
    fn events_are_told_by_type_and_may_lack_a_value() {
        for (event, kind, value) in [
            (r#"{"type":0}"#, EventKind::Nop, None),
            (r#"{"type":1,"value":{"a":1}}"#, EventKind::Add, Some(r#"{"a":1}"#)),
            (r#"{"value":{"_id":"x"},"type":2}"#, EventKind::Delete, Some(r#"{"_id":"x"}"#)),
            (r#"{"type":3,"value":null}"#, EventKind::Change, None),
            (r#"{"type":4,"value":7}"#, EventKind::SelfChange, Some("7")),
            (r#"{"type":-1,"value":null}"#, EventKind::Break, None),
            (r#"{"type":99,"value":{},"more":[]}"#, EventKind::Unknown(99), Some("{}")),
        ] {
            let expected = (kind, value.map(str::as_bytes));
            assert_eq!(parse_event(event.as_bytes()).unwrap(), expected, "{event}");
        }
    }

    #[test]
    fn what_is_no_event_is_explained() {
        for event in [
            &b""[..],
            b"<html>",
            b"{}",
            b"[1]",
            b"null",
            b"{\"type\":\"1\"}",
            b"{\"type\":1.5}",
            b"{\"type\":1,\"value\":{\"a\":\"\xff\"}}",
            b"{\"type\":1,\"type\":2}",
            b"{\"type\":99999999999999999999}",
        ] {
            let error = parse_event(event).unwrap_err();
            assert!(error.contains("begins with"), "{error}");
        }
    }
}
