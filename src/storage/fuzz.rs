//! What must hold for any bytes bcs-storage sends (protocol.md 1).

use super::framing::is_space;
use super::page::{Members, Page};
use super::{Splitter, TooLarge, wire};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

/// Longer values of a stream are passed over.
const LIMIT: usize = 512;

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// The values of a stream that arrives in pieces of `step` bytes, and whether it ends inside one.
fn split(stream: &[u8], step: usize) -> (Vec<Result<Vec<u8>, TooLarge>>, bool) {
    let mut splitter = Splitter::new(LIMIT);
    let mut values = Vec::new();
    for mut piece in stream.chunks(step) {
        while !piece.is_empty() {
            let (taken, complete) = splitter.feed(piece);
            assert!(complete || taken == piece.len(), "nothing is left unread without a value");
            piece = &piece[taken..];
            if complete {
                values.push(splitter.value().map(<[u8]>::to_vec));
            }
        }
    }
    (values, splitter.is_inside())
}

/// A watch stream: the values are the same however the bytes are cut, they are what stands in the
/// stream, and the document of an event is JSON. The first byte says how the stream is cut.
pub fn watch_stream(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else { return };
    let whole = split(stream, usize::MAX);
    assert_eq!(split(stream, usize::from(*cut) % 19 + 1), whole, "cut");
    let mut rest = skip_space(stream);
    for value in &whole.0 {
        let length = match value {
            // A stray delimiter is a value of no bytes.
            Ok(value) if value.is_empty() => 1,
            Ok(value) => {
                assert!(rest.starts_with(value), "a value that is not in the stream");
                value.len()
            }
            Err(too_large) => too_large.bytes as usize,
        };
        rest = skip_space(&rest[length..]);
        if let Ok(Ok((_, Some(document)))) = value.as_deref().map(wire::parse_event) {
            assert!(is_json(document), "the document of an event");
        }
    }
    assert!(whole.1 || rest.is_empty(), "bytes that belong to no value");
}

fn skip_space(bytes: &[u8]) -> &[u8] {
    let begin = bytes.iter().position(|byte| !is_space(*byte)).unwrap_or(bytes.len());
    &bytes[begin..]
}

type Parsed = Result<(Members, Vec<Vec<u8>>), String>;

fn page(body: &[u8], step: usize) -> Parsed {
    let mut page = Page::new();
    let mut elements = Vec::new();
    for piece in body.chunks(step) {
        page.feed(piece, &mut |element| elements.extend(element.map(<[u8]>::to_vec)))?;
    }
    page.finish().map(|members| (members, elements))
}

#[derive(Deserialize)]
struct Agreed<'a> {
    result: bool,
    #[serde(borrow)]
    data: Vec<&'a RawValue>,
}

/// A page of a listing: the same however the bytes are cut; and where it counts and a JSON parser
/// reads it too, both see the same documents. The first byte says how it is cut.
pub fn list_page(data: &[u8]) {
    let Some((cut, body)) = data.split_first() else { return };
    let whole = page(body, usize::MAX);
    assert_eq!(page(body, usize::from(*cut) % 19 + 1), whole, "cut");
    let Ok((members, elements)) = whole else { return };
    if wire::judge_page("peer", &members).is_err() {
        return;
    }
    if let Ok(agreed) = serde_json::from_slice::<Agreed<'_>>(body) {
        assert!(agreed.result, "a page without success counts");
        let documents: Vec<&[u8]> = agreed.data.iter().map(|document| document.get().as_bytes()).collect();
        assert_eq!(elements, documents);
    }
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// A point read: the proof that a pod is gone is an answer that is whole and holds no document;
/// a document is the one that was asked for.
pub fn point_read(data: &[u8]) {
    let Ok(found) = wire::judge_point_read("peer", data, "default", "web-0") else { return };
    let answer = serde_json::from_slice::<serde_json::Value>(data);
    match (found, answer) {
        (Some(document), _) => {
            assert!(is_json(&document));
            assert!(memchr::memmem::find(&document, b"resourceName").is_some() || document.contains(&b'\\'));
        }
        (None, Ok(answer)) => {
            let data = &answer["data"];
            let hollow = data.is_null()
                || data.as_object().is_some_and(serde_json::Map::is_empty)
                || data.as_array().is_some_and(Vec::is_empty);
            assert!(answer.is_object() && hollow, "gone, although the answer holds {data}");
        }
        (None, Err(error)) => {
            // What a value cannot be and an answer may skip: a number no double holds, half a surrogate
            // pair. Grammar is kept, and what is skipped is not the data.
            let data = serde_json::from_slice::<Data<'_>>(data).map(|answer| answer.data.map(RawValue::get));
            let hollow = |data: &str| matches!(&*data.split_whitespace().collect::<String>(), "{}" | "[]");
            assert!(data.is_ok_and(|data| data.is_none_or(hollow)), "gone, although {error}");
        }
    }
}
